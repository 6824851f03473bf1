"""`aioxide.run` and `aioxide.Runner`: asyncio's own behaviour, on our loop."""

import asyncio
import contextvars
import gc
import signal
import sys
import weakref

import aioxide
import pytest

from tests.support.interpreters import run_python


async def type_of_running_loop():
    return type(asyncio.get_running_loop())


def test_run_uses_our_loop_and_returns_the_result():
    assert aioxide.run(type_of_running_loop()) is aioxide.EventLoop


def test_run_takes_a_factory_on_every_version():
    class Loop(asyncio.SelectorEventLoop):
        pass

    assert aioxide.run(type_of_running_loop(), loop_factory=Loop) is Loop


@pytest.mark.parametrize("debug", [True, False])
def test_run_sets_debug(debug):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert aioxide.run(main(), debug=debug) is debug


def test_run_closes_the_loop_and_cancels_what_is_left():
    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(asyncio.current_task())

    async def main():
        task = asyncio.ensure_future(forever())
        await asyncio.sleep(0)
        return task

    ended = []
    task = aioxide.run(main())
    assert ended == [task]
    assert task.cancelled() and task.get_loop().is_closed()


def test_run_raises_what_main_raises():
    async def main():
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        aioxide.run(main())


@pytest.mark.parametrize("namespace", [asyncio, aioxide])
def test_run_inside_a_running_loop_is_refused(namespace):
    async def main():
        inner = type_of_running_loop()
        try:
            namespace.run(inner)
        finally:
            inner.close()

    with pytest.raises(RuntimeError, match=r"^asyncio\.run\(\) cannot be called from a running event loop$"):
        aioxide.run(main())


@pytest.mark.parametrize("main", [None, 7, type_of_running_loop])
def test_run_refuses_what_asyncio_refuses(main):
    with pytest.raises((TypeError, ValueError)) as theirs:
        asyncio.run(main)
    with pytest.raises(type(theirs.value)) as ours:
        aioxide.run(main)
    assert str(ours.value) == str(theirs.value)


def test_runner_is_asyncios_runner():
    with aioxide.Runner() as runner:
        assert isinstance(runner, asyncio.Runner)
        assert type(runner.get_loop()) is aioxide.EventLoop
        variable = contextvars.ContextVar("variable", default=0)

        async def count():
            variable.set(variable.get() + 1)
            return variable.get()

        assert [runner.run(count()), runner.run(count())] == [1, 2]
    with pytest.raises(RuntimeError, match="Runner is closed"):
        runner.get_loop()


@pytest.mark.parametrize("factory", [None, asyncio.SelectorEventLoop])
@pytest.mark.parametrize("namespace", [asyncio, aioxide])
def test_runner_sets_the_current_loop_only_without_a_factory(namespace, factory):
    asyncio.set_event_loop(None)
    with namespace.Runner(loop_factory=factory) as runner:
        loop = runner.get_loop()
        if factory is None:
            assert asyncio.get_event_loop() is loop
        else:
            with pytest.raises(RuntimeError, match="no current event loop"):
                asyncio.get_event_loop()
    with pytest.raises(RuntimeError, match="no current event loop"):
        asyncio.get_event_loop()


@pytest.mark.parametrize("used", [True, False])
def test_runner_is_freed_without_the_collector(used):
    if used:
        with aioxide.Runner() as runner:
            runner.get_loop()
        gc.disable()
        try:
            gone = weakref.ref(runner)
            del runner
            assert gone() is None
        finally:
            gc.enable()
    else:
        gone = weakref.ref(aioxide.Runner())
        gc.collect()
        assert gone() is None


@pytest.mark.parametrize("prefix", ["", "import aioxide; aioxide.install()"])
def test_ctrl_c_cancels_main_and_becomes_keyboard_interrupt(prefix):
    program = f"""if True:
        import aioxide, asyncio, os, signal
        {prefix}
        async def main():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                print("cancelled")
                raise
        aioxide.run(main())
    """
    done = run_python("-c", program)
    assert done.stdout == "cancelled\n"
    assert done.returncode == -signal.SIGINT
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.by_version(sys.version_info < (3, 12), "asyncio.run has no loop_factory before 3.12")
def test_asyncio_run_with_our_factory():
    assert asyncio.run(type_of_running_loop(), loop_factory=aioxide.new_event_loop) is aioxide.EventLoop
    assert asyncio.run(type_of_running_loop(), loop_factory=aioxide.EventLoop) is aioxide.EventLoop


def test_asyncio_runner_with_our_factory():
    with asyncio.Runner(loop_factory=aioxide.new_event_loop) as runner:
        assert runner.run(type_of_running_loop()) is aioxide.EventLoop
