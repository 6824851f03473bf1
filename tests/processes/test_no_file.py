"""Process pools of programs whose `__main__` no worker can import: `python -c`, standard input, a pipe, the REPL."""

import multiprocessing.spawn
import os
import subprocess
import sys
import textwrap
import zipfile

import pytest
from aioxide._processes import by_value

from tests.support.interpreters import environment
from tests.support.packages import needs

needs_cloudpickle = needs("cloudpickle", "tests/processes/requirements.txt")
METHODS = ["spawn", "forkserver", "fork"]

# What a program defines in its `__main__`, and does with it; `call` is what it calls in a worker.
PROGRAM = textwrap.dedent(
    """
    import asyncio, multiprocessing, operator, sys, warnings
    from contextvars import ContextVar
    from dataclasses import dataclass
    from functools import cache, lru_cache, partial
    import aioxide
    warnings.simplefilter("ignore", DeprecationWarning)
    METHOD = sys.argv[1]
    OFFSET, COUNT, STATE = 10, 0, None
    VARIABLE = ContextVar("VARIABLE", default=3)

    @dataclass
    class Point:
        x: int
        def moved(self, by):
            return Point(self.x + by)
        @staticmethod
        def of(x):
            return Point(helper(x))
    class Custom(Exception):
        pass
    def helper(x):
        return x + OFFSET
    def add(x, *, more=0):
        return helper(x) + more
    def fail(x):
        raise Custom("mine", x)
    def init(value):
        global STATE
        STATE = value
    def state():
        return STATE
    def count():
        global COUNT
        COUNT += 1
        return COUNT
    def variable():
        return VARIABLE.get()
    def factorial(n):
        return 1 if n < 2 else n * factorial(n - 1)
    @cache
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
    @lru_cache(maxsize=2)
    def remembered(n):
        return counted(n)
    def counted(n):
        global COUNT
        COUNT += 100
        return COUNT
    def nested():
        with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(Point.of, 1).result(30)

    def check(pool):
        def call(*args, **kwargs):
            return pool.submit(*args, **kwargs).result(30)
        assert call(add, 1, more=2) == 13
        assert call(state) == Point(7) and type(call(state)) is Point
        assert call(partial(add, more=5), 1) == 16
        assert call(Point(1).moved, 2) == Point(3) and call(Point.of, 2) == Point(12)
        assert call(operator.attrgetter("x"), Point(4)) == 4
        assert call(operator.attrgetter("x"), pool.share(Point(9))) == 9
        assert call(lambda: OFFSET) == 10 and call(factorial, 5) == 120
        assert call(type, Point(1)) is Point
        error = pool.submit(fail, 1).exception(30)
        assert type(error) is Custom and error.args == ("mine", 1) and "fail" in str(error.__cause__)
        assert list(pool.map(add, range(5))) == list(pool.map(add, range(5), chunksize=2)) == [10, 11, 12, 13, 14]
        assert pool.schedule(add, (1,), {"more": 1}, retries=1).result(30) == 12
        # What a function assigns in its worker stays there, as in a module.
        assert [call(count) for _ in range(3)] == [1, 2, 3]
        assert call(fibonacci, 30) == 832040 and call(lambda: fibonacci(31)) == 1346269
        assert [call(remembered, 1) for _ in range(3)] == [103, 103, 103]
        assert pool.schedule(variable, context=[VARIABLE]).result(30) == 3
        VARIABLE.set(8)
        assert pool.schedule(variable, context=[VARIABLE]).result(30) == 8
        async def main():
            loop = asyncio.get_running_loop()
            progress = [result async for *_, result in pool.map_progress(add, range(3), ordered=True)]
            return await loop.run_in_executor(pool, add, 3), progress
        assert aioxide.run(main()) == (13, [10, 11, 12])
        assert call(nested) == Point(11)

    def check_what_comes_later(pool):
        # Defined, and defined again, when the workers have long been there: as in a notebook.
        global add, later
        def later(x):
            return add(x) * 2
        assert pool.submit(later, 1).result(30) == 22
        def add(x):
            return "new", helper(x)
        assert pool.submit(add, 1).result(30) == ("new", 11)

    with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context(METHOD), init, (Point(7),)) as pool:
        check(pool)
        check_what_comes_later(pool)
    print("done")
    """
)

# Says what becomes of a call where cloudpickle cannot be imported.
WITHOUT = textwrap.dedent(
    """
    import multiprocessing, sys
    sys.modules["cloudpickle"] = None
    import aioxide
    class Thing:
        pass
    def square(number):
        return number ** 2
    with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context(sys.argv[1])) as pool:
        for call in (square, 3), (id, Thing()), (lambda: 1,):
            future = pool.submit(*call)
            error = future.exception(30)
            print(type(error).__name__, error or future.result(), *getattr(error, "__notes__", ()))
        def later():
            return 5
        print(type(pool.submit(later).exception(30)).__name__, pool.submit(later).exception(30))
        print(pool.submit(pow, 2, 3).result(30))
        print(pool.submit(str.upper, "__main__").result(30))
    """
)


def run(how, method, program=PROGRAM, folder=None):
    """What a program prints that has no file: by -c, from standard input, from a pipe, or in a zip file."""
    arguments, options = ["-c", program, method], {"stdin": subprocess.DEVNULL}
    if how == "stdin":
        arguments, options = ["-", method], {"input": program}
    elif how == "pipe":
        reader, writer = os.pipe()
        os.write(writer, program.encode())
        os.close(writer)
        arguments, options = [f"/dev/fd/{reader}", method], {"pass_fds": [reader]}
    elif how == "zip":
        with zipfile.ZipFile(folder / "app.zip", "w") as archive:
            archive.writestr("__main__.py", f"if __name__ == '__main__':\n{textwrap.indent(program, '    ')}")
        arguments = [folder / "app.zip", method]
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        **options,
    )
    if how == "pipe":
        os.close(reader)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@needs_cloudpickle
@pytest.mark.parametrize(
    ("how", "method"),
    [
        *(("-c", method) for method in METHODS),
        *(("stdin", method) for method in METHODS),
        ("pipe", "forkserver"),
    ],
)
def test_functions_and_classes_of_a_program_without_a_file_are_sent_by_value(how, method):
    assert run(how, method) == "done\n"


@needs_cloudpickle
def test_and_those_of_a_main_module_that_no_worker_imports(tmp_path):
    assert run("zip", "spawn", folder=tmp_path) == "done\n"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_without_cloudpickle_the_error_names_the_remedy(method):
    *refused, builtin, text = run("-c", method, WITHOUT).splitlines()
    assert (builtin, text) == ("8", "__MAIN__")
    assert len(refused) == 4
    for line in refused:
        assert "Error Can't pickle <" in line and "pip install cloudpickle" in line, line
    # The third is a lambda, which could not be sent from a program with a file either.
    for line in (*refused[:2], refused[3]):
        assert line.startswith("PicklingError") and "a notebook, python -c, standard input" in line, line


def test_without_cloudpickle_a_fork_runs_what_it_has_inherited():
    square, thing, local, later, *others = run("stdin", "fork", WITHOUT).splitlines()
    assert square == "NoneType 9" and thing.startswith("NoneType ")
    assert "pip install cloudpickle" in local and "pip install cloudpickle" in later
    assert others == ["8", "__MAIN__"]


def test_a_main_with_a_file_goes_the_standard_way(tmp_path):
    """By its name: the function that runs is the worker's own, and so are its globals."""
    (tmp_path / "program.py").write_text(
        "import os, aioxide\nimported_by = os.getpid()\ndef where():\n    return imported_by\n"
        "if __name__ == '__main__':\n    with aioxide.ProcessPoolExecutor(1) as pool:\n"
        "        print(pool._pool.by_value, pool.submit(where).result(30) == os.getpid())\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    forks = sys.version_info < (3, 14)
    assert (done.returncode, done.stdout) == (0, f"False {forks}\n"), done.stderr


@needs_cloudpickle
def test_what_is_not_of_main_is_refused_as_elsewhere():
    """Results and arguments of local classes of a module: by value goes what `__main__` defines, and no more."""
    program = textwrap.dedent(
        """
        import multiprocessing, sys
        import aioxide
        from tests.support import process_tasks as tasks
        with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context(sys.argv[1])) as pool:
            print(type(pool.submit(tasks.local_result).exception(30)).__name__)
            print(type(pool.submit(tasks.same, tasks.local_result()).exception(30)).__name__)
            print(pool.submit(lambda: 3).result(30))
        """
    )
    *refused, sent = run("-c", "spawn", program).splitlines()
    assert sent == "3" and len(refused) == 2 and set(refused) <= {"PicklingError", "AttributeError"}


ARRAYS = """
import concurrent.futures, multiprocessing, sys
import numpy
import aioxide

def look(array):
    return array.flags.writeable, array.dtype.str, float(array.sum())

kept = numpy.arange(20_000.0)
kept.flags.writeable = False
swapped = numpy.arange(20_000, dtype=">f8")
small = numpy.arange(10, dtype=">i4")
fork = multiprocessing.get_context("fork")
with concurrent.futures.ProcessPoolExecutor(1, fork) as pool:
    standard = [pool.submit(look, array).result(30) for array in (kept, swapped, small)]
with aioxide.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
    ours = [pool.submit(look, array).result(30) for array in (kept, swapped, small)]
assert ours == standard, (ours, standard)
print("done")
"""


@needs_cloudpickle
@needs("numpy", "tests/processes/requirements.txt")
def test_arrays_beside_functions_by_value_arrive_as_from_the_standard_pool():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ARRAYS],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize("late_first", [False, True])
def test_a_start_that_ends_late_leaves_the_next_one_alone(late_first, monkeypatch):
    """A `with` block that was cut short before its body ends when its generator is collected."""

    def standard(name):
        return {"init_main_from_path": name}

    monkeypatch.setattr(multiprocessing.spawn, "get_preparation_data", standard)
    late, next_one = by_value.no_main(True), by_value.no_main(True)
    late.__enter__()
    next_one.__enter__()
    if late_first:
        late.gen.close()
    assert multiprocessing.spawn.get_preparation_data("child") == {}
    next_one.__exit__(None, None, None)
    late.gen.close()
    assert multiprocessing.spawn.get_preparation_data is standard
