"""Child processes: a fork inherits install(), spawn and forkserver children are told, and else somebody says
so.
"""

import inspect
import textwrap
from multiprocessing import forkserver

import pytest

from tests.support.interpreters import output_of, run_python

# The child reports what it made when its main module was imported (`at_import`), and later.
PROGRAM = textwrap.dedent(
    """
    import asyncio, multiprocessing, os, sys
    from asyncio import new_event_loop as captured
    from concurrent.futures import ProcessPoolExecutor

    def made(factory):
        loop = factory()
        loop.close()
        return type(loop).__name__

    async def running():
        return type(asyncio.get_running_loop()).__name__

    at_import = made(asyncio.new_event_loop)

    def report(_=None):
        names = at_import, asyncio.run(running()), made(asyncio.SelectorEventLoop), made(captured)
        names += (asyncio.Task.__module__,)
        return (os.getppid() if METHOD == "fork" else 0), *names

    def put(queue):
        queue.put(report())

    METHOD = sys.argv[1]

    if __name__ == "__main__":
        import aioxide
        {install}
        context = multiprocessing.get_context(METHOD)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            print(*pool.submit(report).result()[1:])
        queue = context.SimpleQueue()
        process = context.Process(target=put, args=(queue,))
        process.start()
        print(*queue.get()[1:])
        process.join()
        print(process.exitcode)
    """
)
METHODS = ["spawn", "forkserver", "fork"]

# Whose main module is imported before anybody could tell the child: that of a fork is its parent's, and a
# newer fork server (gh-126631, which also went into some 3.12 and 3.13) imports it itself before it serves.
# What they make later is ours all the same.
PRELOADS_MAIN = "init_main_from_path" in inspect.getsource(forkserver.ForkServer.ensure_running)
IMPORTS_MAIN_EARLIER = {"fork", "forkserver"} if PRELOADS_MAIN else {"fork"}
STANDARD = "_UnixSelectorEventLoop"


@pytest.fixture
def program(tmp_path):
    def write(install):
        path = tmp_path / "program.py"
        path.write_text(PROGRAM.replace("{install}", install))
        return path

    return write


def children_of(path, method, *options, **more):
    # From 3.12 on a fork of a process with threads warns, and a process pool has one: not what is tested
    # here.
    lines = output_of("-W", "ignore::DeprecationWarning", *options, path, method, **more).splitlines()
    assert lines[-1] == "0"
    return [line.split() for line in lines[:-1]]


@pytest.mark.parametrize("method", METHODS)
def test_install_reaches_children(program, method):
    for child in children_of(program("aioxide.install()"), method):
        assert child[0] == (STANDARD if method in IMPORTS_MAIN_EARLIER else "EventLoop")
        assert child[1:4] == ["EventLoop"] * 3
        assert child[4] == "_asyncio"


@pytest.mark.parametrize("method", METHODS)
def test_the_namespace_reaches_children(program, method):
    import aioxide

    for child in children_of(program("aioxide.install(namespace=True)"), method):
        assert child[1] == "EventLoop"
        assert child[4] == aioxide.Task.__module__


@pytest.mark.parametrize("method", METHODS)
def test_python_dash_m_aioxide_reaches_children(program, method):
    for child in children_of(program("pass"), method, "-m", "aioxide"):
        # Here a fork's main module, too, was imported after install().
        assert child[0] == (STANDARD if method in IMPORTS_MAIN_EARLIER - {"fork"} else "EventLoop")
        assert child[1:4] == ["EventLoop"] * 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("install", ["pass", "aioxide.install(); aioxide.uninstall()"])
def test_children_of_a_plain_process_stay_plain(program, method, install):
    for child in children_of(program(install), method):
        assert child[:4] == [STANDARD] * 4


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_children_of_children(tmp_path, method):
    path = tmp_path / "program.py"
    path.write_text(
        textwrap.dedent(
            f"""
            import asyncio, multiprocessing
            context = multiprocessing.get_context({method!r})

            def report(depth):
                if depth:
                    child = context.Process(target=report, args=(depth - 1,))
                    child.start()
                    child.join()
                loop = asyncio.new_event_loop()
                loop.close()
                print(depth, type(loop).__name__, flush=True)

            if __name__ == "__main__":
                import aioxide
                with aioxide.installed():
                    report(2)
            """
        )
    )
    assert output_of(path).splitlines() == ["0 EventLoop", "1 EventLoop", "2 EventLoop"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_aioxide_found_through_a_changed_sys_path(tmp_path, method):
    # The child's sys.path has to be the parent's before aioxide is imported there.
    from tests.support.interpreters import PACKAGE_PARENT

    path = tmp_path / "program.py"
    path.write_text(
        f"import sys\nsys.path.append({PACKAGE_PARENT!r})\n"
        + PROGRAM.replace("{install}", "aioxide.install()")
    )
    done = run_python("-S", path, method, PYTHONPATH="")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stdout.split()[1] == "EventLoop"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_that_cannot_import_aioxide_says_so_and_works(tmp_path, method):
    # As with multiprocessing.set_executable() of an interpreter that lacks aioxide.
    path = tmp_path / "program.py"
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "aioxide.py").write_text("raise ImportError('not for this interpreter')")
    prepend = f"import sys; sys.path.insert(0, {str(tmp_path / 'shadow')!r})"
    path.write_text(PROGRAM.replace("{install}", f"aioxide.install(); {prepend}"))
    done = run_python(path, method)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stdout.split()[:4] == [STANDARD] * 4
    # Once in each of the two children.
    message = (
        "RuntimeWarning: aioxide.install() is not in force in this child process, its loops are asyncio's own"
    )
    assert done.stderr.count(f"{message}: not for this interpreter") == 2


def test_install_says_so_when_multiprocessing_has_changed():
    program = textwrap.dedent(
        """
        import aioxide, asyncio, warnings
        from multiprocessing import spawn
        del spawn.get_preparation_data
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            aioxide.install()
        [warning] = caught
        print(warning.category.__name__, warning.filename, warning.message)
        loop = asyncio.new_event_loop()
        print(type(loop) is aioxide.EventLoop)
        loop.close()
        aioxide.uninstall()
        """
    )
    lines = output_of("-c", program).splitlines()
    assert lines[0].startswith(
        "RuntimeWarning <string> children that multiprocessing spawns will run on asyncio's own"
    )
    assert lines[1] == "True"


def test_os_fork_inherits():
    program = textwrap.dedent(
        """
        import aioxide, asyncio, os
        aioxide.install()
        async def running():
            return type(asyncio.get_running_loop()) is aioxide.EventLoop
        pid = os.fork()
        if not pid:
            os._exit(40 + asyncio.run(running()))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert output_of("-c", program) == "41\n"
