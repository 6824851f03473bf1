"""A loop that is not ours beside aioxide is told once; `replace_uvloop` has programs that name uvloop run on us."""

import importlib.util
import sys
import textwrap

import pytest

from tests.support.interpreters import output_of, run_python
from tests.support.packages import needs

needs_uvloop = needs("uvloop", "tests/entry/requirements.txt")
IN_ALL = """
import aioxide, asyncio, selectors, sys, threading
async def main():
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
class Mine(asyncio.SelectorEventLoop):
    pass
def run_on(loop):
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()
"""


def run(program, *options):
    """The program's output, and the lines of its standard error."""
    done = run_python(*options, "-c", IN_ALL + textwrap.dedent(program))
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr.splitlines()


FOREIGN = {
    "its own selector": "run_on(asyncio.SelectorEventLoop(selectors.PollSelector()))",
    "a class of its own": "run_on(Mine())",
    "by a factory": "asyncio.Runner(loop_factory=Mine).run(main())",
    "in a thread": "threading.Thread(target=lambda: run_on(Mine())).start()",
    "run_forever": "loop = Mine(); loop.call_soon(loop.stop); loop.run_forever()",
    "made before": "run_on(made_before)",
}
UVLOOP = {
    "uvloop.run": "import uvloop; uvloop.run(main())",
    "uvloop.Loop": "import uvloop; run_on(uvloop.Loop())",
    "its base in C": "from uvloop.loop import Loop as base_of_uvloop; run_on(base_of_uvloop())",
    "its base in C, imported before": "run_on(base_of_uvloop())",
    "imported before": "run_on(loops_of_uvloop())",
    "derived before": "run_on(derived_from_uvloop())",
}


@pytest.mark.parametrize("way", FOREIGN)
def test_a_foreign_loop_is_told_once(way):
    again = FOREIGN[way].replace("made_before", "Mine()")
    _, said = run(f"made_before = Mine()\naioxide.install()\n{FOREIGN[way]}\n{again}")
    [line] = said
    assert (
        line.startswith("<aioxide>:1: RuntimeWarning: a ") and "loop_factory=aioxide.new_event_loop" in line
    )


@needs_uvloop
@pytest.mark.parametrize("way", UVLOOP)
def test_uvloop_is_told_with_what_would_replace_it(way):
    before = (
        "from uvloop import new_event_loop as loops_of_uvloop, Loop\nclass derived_from_uvloop(Loop): pass\n"
        "from uvloop.loop import Loop as base_of_uvloop\n"
    )
    before = before if "before" in way else ""
    _, said = run(f"{before}aioxide.install()\n{UVLOOP[way]}\n{UVLOOP[way]}")
    [line] = said
    assert "RuntimeWarning: a " in line and "not an aioxide.EventLoop" in line and "--replace-uvloop" in line
    # And without aioxide in force, nothing.
    assert run(f"{before}aioxide.install(); aioxide.uninstall()\n{UVLOOP[way]}")[1] == []


def test_our_loops_and_uninstalled_ones_are_not_told():
    program = """
        aioxide.install()
        print(asyncio.run(main()), run_on(asyncio.SelectorEventLoop()), run_on(aioxide.EventLoop()))
        taken_over = Mine.run_until_complete, Mine.run_forever
        aioxide.uninstall()
        Mine.run_until_complete, Mine.run_forever = taken_over  # as somebody who wraps them would
        run_on(Mine())
        with aioxide.installed(): pass
        run_on(Mine())
    """
    assert run(program) == (["aioxide"] * 3, [])


def test_the_warning_is_one_that_filters_know():
    assert run("aioxide.install(); run_on(Mine())", "-W", "ignore::RuntimeWarning")[1] == []
    program = """
        import warnings
        aioxide.install()
        warnings.simplefilter("error")
        loop = Mine()
        loop.call_soon(loop.stop)
        try:
            loop.run_forever()
        except RuntimeWarning:
            print("raised", asyncio._get_running_loop(), loop.is_running())
        run_on(loop)
    """
    assert run(program, "-W", "error") == (["raised", "None", "False"], [])


# Loops in Python that expect no exception when they say that they run.
PYTHONIC = """
from asyncio.events import AbstractEventLoop, _set_running_loop
class Guest:
    def __init__(self):
        self.ready, self.running, self.stopping = [], False, False
    def call_soon(self, callback, *args, context=None):
        self.ready.append(asyncio.Handle(callback, args, self, context))
    def run_forever(self):
        if self.running:
            raise RuntimeError("already running")
        self.running = True
        _set_running_loop(self)
        try:
            while not self.stopping:
                self.ready.pop(0)._run()
        finally:
            _set_running_loop(None)
            self.running = self.stopping = False
    def run_until_complete(self, future):
        task = asyncio.ensure_future(future, loop=self)
        task.add_done_callback(lambda _: self.stop())
        self.run_forever()
        return task.result()
    def create_task(self, coro, **kwargs): return asyncio.Task(coro, loop=self, **kwargs)
    def stop(self): self.stopping = True
    def is_running(self): return self.running
    def close(self): pass
    def get_debug(self): return False
    async def shutdown_asyncgens(self): pass
    async def shutdown_default_executor(self, timeout=None): pass
class Derived(AbstractEventLoop):
    for name in dir(Guest):
        name.startswith("_") or exec(f"{name} = Guest.{name}")
    __init__ = Guest.__init__
"""
# Each way to run a loop, twice: the first time the warning is raised.
EACH_WAY = """
import warnings
warnings.filterwarnings("ignore", ".*never awaited")  # what an error has kept from running
warnings.filterwarnings("error", ".*not an aioxide")
async def nothing():
    began.append(1)
def run_forever(loop, _):
    loop.call_soon(loop.stop)
    loop.run_forever()
WAYS = {"run_until_complete": lambda loop, coro: loop.run_until_complete(coro), "run_forever": run_forever}
def each_way(make):
    for name, way in WAYS.items():
        aioxide.uninstall(); aioxide.install()  # anew: the first time is yet to come
        loop = make()
        pending = nothing()
        for attempt in range(2):
            try:
                way(loop, pending if attempt == 0 else nothing())
            except RuntimeWarning as error:
                assert "not an aioxide" in str(error)
                assert attempt == 0 and not loop.is_running() and asyncio._get_running_loop() is None
                assert not began, "something ran"
            else:
                assert attempt == 1, f"{name}: nothing raised"
        pending.close()
        loop.close()
        began.clear()
    aioxide.uninstall(); aioxide.install()
    for attempt in range(2):
        try:
            with asyncio.Runner(loop_factory=make) as runner:
                runner.run(nothing())
        except RuntimeWarning:
            assert attempt == 0 and not began
    assert began and asyncio._get_running_loop() is None
    began.clear()
    return "told"
began = []
"""
on_one_python = pytest.mark.by_version(sys.version_info[:2] != (3, 14), "packages are tried on one Python")


def of_package(name, make):
    missing = sys.version_info[:2] == (3, 14) and importlib.util.find_spec(name) is None
    reason = f"{name} is not installed (tests/entry/requirements.txt)"
    return pytest.param(make, id=name, marks=[on_one_python, pytest.mark.skipif(missing, reason=reason)])


KINDS = [
    pytest.param("lambda: asyncio.SelectorEventLoop(selectors.PollSelector())", id="asyncio"),
    pytest.param("Mine", id="derived"),
    pytest.param("Derived", id="in Python"),
    pytest.param("__import__('uvloop').Loop", id="uvloop", marks=needs_uvloop),
    pytest.param("__import__('uvloop.loop').loop.Loop", id="uvloop's base", marks=needs_uvloop),
    *(
        of_package(name, f"__import__('{name}').new_event_loop")
        for name in ("blazio", "rloop", "rsloop", "zuvloop")
    ),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("make", KINDS)
def test_a_warning_that_is_an_error_is_raised_before_the_loop_starts(make, when):
    steps = [f"{PYTHONIC}\nmake = {make}", "aioxide.install()"]
    program = "\n".join(
        [EACH_WAY, *(steps if when == "before" else reversed(steps)), "print(each_way(make))"]
    )
    out, said = run(program, "-W", "ignore::ResourceWarning")
    assert (out, said) == (["told"], [])


def test_a_loop_of_no_known_class_is_seen_and_its_error_reported():
    """It expects no exception where it is seen: it would be left half started."""
    program = f"""
aioxide.install()
{PYTHONIC}
import warnings
reported = []
sys.unraisablehook = lambda hint: reported.append((type(hint.exc_value), type(hint.object)))
with warnings.catch_warnings():
    warnings.simplefilter("error")
    print(run_on(Guest()))
assert reported == [(RuntimeWarning, Guest)], reported
aioxide.uninstall(); aioxide.install()
loop = Guest()
loop.run_until_complete(main()); loop.run_until_complete(main())
loop.close()
"""
    out, said = run(program)
    assert out == ["__main__"] and len(said) == 1 and "Guest runs in process" in said[0]


def test_an_interrupt_while_a_loop_is_seen_comes_when_it_has_been():
    """Code in C that says that it runs has nothing between that and its first callback where to expect one."""
    program = f"""
aioxide.install()
{PYTHONIC}
import signal, warnings
def interrupt(*_):
    told.append(1)
    signal.raise_signal(signal.SIGINT)
    sum(range(10))
told = []
warnings.showwarning = interrupt
try:
    list(map(_set_running_loop, [Guest(), None]))
except KeyboardInterrupt:
    print("interrupted", told, asyncio._get_running_loop())
"""
    assert run(program) == (["interrupted", "[1]", "None"], [])


def test_what_is_wrapped_is_put_back():
    program = """
        import importlib.machinery
        def own():
            yield asyncio.events._set_running_loop
            yield importlib.machinery.ExtensionFileLoader.exec_module
            yield vars(asyncio.AbstractEventLoop).get("__init_subclass__")
            yield vars(Own)["run_forever"]
            yield from (vars(kind).get("run_forever") for kind in made)
        class Own(asyncio.AbstractEventLoop):
            def run_forever(self): pass
        made = []
        try:
            import uvloop, uvloop.loop
            made += uvloop.Loop, uvloop.loop.Loop
        except ImportError: pass
        before = list(own())
        for _ in range(2):
            aioxide.install()
            assert before != list(own()) and before[0] is asyncio.events._set_running_loop
            aioxide.uninstall()
            assert before == list(own())
    """
    assert run(program) == ([], [])


CHILDREN = """
    import asyncio, multiprocessing, sys
    class Mine(asyncio.SelectorEventLoop): pass
    async def main(): pass
    def work():
        loop = Mine()
        loop.run_until_complete(main())
        loop.close()
    if __name__ == "__main__":
        for _ in range(2):
            child = multiprocessing.get_context(sys.argv[1]).Process(target=work)
            child.start(); child.join()
            assert child.exitcode == 0
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_tell_of_theirs(tmp_path, method):
    (tmp_path / "program.py").write_text(textwrap.dedent(CHILDREN))
    done = run_python("-m", "aioxide", tmp_path / "program.py", method)
    said = done.stderr.splitlines()
    assert done.returncode == 0 and len(said) == 2, done.stderr
    assert all("Mine runs in process " in line for line in said) and said[0] != said[1]


# Programs that name uvloop, as theirs do.
NAMES_UVLOOP = textwrap.dedent(
    """
    import asyncio, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    import uvloop, uvloop.loop
    from uvloop import new_event_loop

    async def main():
        loop = asyncio.get_running_loop()
        assert isinstance(loop, uvloop.Loop) and isinstance(loop, uvloop.loop.Loop)
        return type(loop).__module__.partition(".")[0]

    def in_child():
        return list(ways())

    def ways():
        yield uvloop.run(main())
        yield uvloop.run(main(), debug=True, loop_factory=uvloop.Loop)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            yield runner.run(main())
        uvloop.install()
        yield asyncio.run(main())
        assert isinstance(asyncio.get_event_loop_policy(), uvloop.EventLoopPolicy)
        asyncio.set_event_loop_policy(None)
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        loop = asyncio.new_event_loop()
        yield loop.run_until_complete(main())
        loop.close()
        asyncio.set_event_loop_policy(None)

    if __name__ == "__main__":
        print(*ways())
        try:
            uvloop.run(main(), loop_factory=lambda: asyncio.SelectorEventLoop(__import__("selectors").PollSelector()))
        except TypeError as error:
            print(error)
        names = {"Loop", "new_event_loop", "run", "install", "EventLoopPolicy", "__version__"}
        print(names <= set(dir(uvloop)), set(uvloop.__all__) <= names, uvloop.__version__.count("."))
        import importlib.util
        print(importlib.util.find_spec("uvloop").name, repr(uvloop)[:16])
        from multiprocessing import get_context
        for method in sys.argv[1:]:
            with get_context(method).Pool(1) as pool:
                print(method, pool.apply(in_child))
    """
)


def test_a_program_that_names_uvloop_runs_on_us(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(NAMES_UVLOOP)
    done = run_python(
        "-W", "ignore::RuntimeWarning", "-m", "aioxide", "--replace-uvloop", path, "spawn", "forkserver"
    )
    assert done.returncode == 0, done.stderr
    ways, error, names, spec, *children = done.stdout.splitlines()
    assert ways == " ".join(["aioxide"] * 5)
    assert error == "uvloop.run() uses a non-uvloop event loop"
    assert (names, spec) == ("True True 2", "uvloop <module 'uvloop'")
    assert children == [f"{method} {['aioxide'] * 5}" for method in ("spawn", "forkserver")]


def test_uvloop_need_not_be_installed_and_comes_back():
    program = """
        class Hides:
            def find_spec(self, name, path, target=None):
                if name.partition(".")[0] == "uvloop":
                    raise ImportError("hidden")
            def find_distributions(self, context): return ()
        sys.meta_path.insert(0, Hides())
        sys.path[:] = [path for path in sys.path if "site-packages" not in path]
        aioxide.install(replace_uvloop=True)
        import uvloop
        from uvloop.loop import Loop
        aioxide.install()  # takes nothing away
        import uvloop
        print(Loop is uvloop.Loop is aioxide.EventLoop, uvloop.__version__)
        aioxide.uninstall()
        try:
            import uvloop
        except ImportError as error:
            print(error)
        with aioxide.installed(replace_uvloop=True):
            import uvloop
        print([name for name in sys.modules if "uvloop" in name and "aioxide" not in name])
    """
    out, said = run(program)
    assert out[0] == "True" and out[2:] == ["hidden", "[]"] and said == []
    assert out[1].split(".") >= ["0", "20"]


@needs_uvloop
def test_uvloop_that_was_imported_before_gets_our_names_and_has_its_own_back():
    program = """
        import uvloop, uvloop.loop, importlib.metadata
        before = {name: getattr(uvloop, name, None) for name in ("Loop", "run", "new_event_loop")}
        with aioxide.installed(replace_uvloop=True):
            again = __import__("uvloop")
            print(again is uvloop, uvloop.run(main()), uvloop.loop.Loop is uvloop.Loop is aioxide.EventLoop)
        assert all(getattr(uvloop, name) is value for name, value in before.items())
        print(uvloop.run(main()), uvloop.__version__ == importlib.metadata.version("uvloop"))
        del sys.modules["uvloop"], sys.modules["uvloop.loop"]
        with aioxide.installed(replace_uvloop=True):
            import uvloop as ours
            print(ours.__version__ == importlib.metadata.version("uvloop"), ours is not uvloop)
    """
    assert run(program) == (["True", "aioxide", "True", "uvloop", "True", "True", "True"], [])


def test_no_way_in_imports_multiprocessing(tmp_path):
    """At its import it takes what `__main__` is for the program; a launcher's install() comes before that."""
    found = "print([name for name in sys.modules if name.startswith('multiprocessing') or name.endswith('.process')])"
    for way in (
        "aioxide.install()",
        "aioxide.install(namespace=True, replace_uvloop=True)",
        "aioxide.run(main())",
    ):
        assert run(f"{way}\n{found}") == (["[]"], []), way
    with_executor = "aioxide.run(asyncio.wait_for(asyncio.to_thread(print), 5))"
    assert run(f"aioxide.install(); {with_executor}; asyncio.set_event_loop(None)\n{found}") == (["[]"], [])
    (tmp_path / "program.py").write_text(f"import sys\n{found}")
    for options in ([], ["--namespace"]):
        assert output_of("-m", "aioxide", *options, tmp_path / "program.py") == "[]\n"


LAUNCHED = """
import asyncio, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
class Custom(Exception):
    pass
def fail():
    loop = asyncio.new_event_loop()
    loop.close()
    raise Custom(type(loop).__name__)
async def main():
    with ProcessPoolExecutor(1, multiprocessing.get_context(sys.argv[1])) as pool:
        try:
            await asyncio.get_running_loop().run_in_executor(pool, fail)
        except Custom as error:
            print(repr(error))
if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_launcher_that_installs_and_then_runs_a_program_by_runpy(tmp_path, method):
    (tmp_path / "program.py").write_text(LAUNCHED)
    (tmp_path / "launcher.py").write_text(
        "import aioxide, runpy, sys\n"
        "if __name__ == '__main__':\n"
        "    aioxide.install()\n"
        "    runpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
    )
    done = run_python("-W", "ignore::DeprecationWarning", "launcher.py", "program.py", method, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Custom('EventLoop')\n", "")


def test_what_is_imported_after_install_is_as_it_was():
    program = """
        aioxide.install(namespace=True)
        import multiprocessing.spawn as spawn, concurrent.futures.process as process, inspect
        assert "aioxide" in spawn.get_preparation_data("x")
        assert process.ProcessPoolExecutor is aioxide.ProcessPoolExecutor
        for module in (spawn, process):
            assert module.__loader__ is module.__spec__.loader
            assert type(module.__loader__).__name__ == "SourceFileLoader"
            assert inspect.getsource(module)
        aioxide.uninstall()
        assert "aioxide" not in spawn.get_preparation_data("x")
        assert process.ProcessPoolExecutor.__module__ == "concurrent.futures.process"
        assert not any(type(finder).__module__.startswith("aioxide") for finder in sys.meta_path)
        print("done")
    """
    assert run(program) == (["done"], [])
    first = "aioxide.install(namespace=True); from aioxide._processes import WorkerDied; import concurrent.futures as c"
    assert run(f"{first}; print(c.ProcessPoolExecutor is aioxide.ProcessPoolExecutor)") == (["True"], [])
    uninstalled = "aioxide.install(); aioxide.uninstall(); from multiprocessing import spawn"
    assert run(f"{uninstalled}; print('aioxide' in spawn.get_preparation_data('x'))") == (["False"], [])
