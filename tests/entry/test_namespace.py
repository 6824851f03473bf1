"""`import aioxide as asyncio`: every name is there, and it is asyncio's own object where we have none."""

import asyncio
import importlib
import inspect
import sys
import types
import warnings

import aioxide
import pytest
from aioxide._entry import namespace

from tests.support.interpreters import output_of

OURS = {
    "EventLoop",
    "EventLoopPolicy",
    "Runner",
    "build_info",
    "get_event_loop",
    "install",
    "installed",
    "new_event_loop",
    "run",
    "uninstall",
}
PUBLIC = sorted(name for name in dir(asyncio) if not name.startswith("_") and name != "sys")


def test_there_are_names_to_compare():
    assert {"TaskGroup", "Timeout", "streams", "sleep", "CancelledError"} <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name(name):
    value = getattr(aioxide, name)
    if name not in OURS and name not in namespace.NATIVE:
        assert value is getattr(asyncio, name)


@pytest.mark.parametrize("name", sorted(asyncio.__all__))
def test_every_name_of_all_is_in_ours(name):
    assert name in aioxide.__all__


def test_all_has_what_3_11_forgets_in_its_own():
    assert {"TaskGroup", "Timeout", "timeout", "timeout_at"} <= set(aioxide.__all__)


def test_all_has_no_module_and_no_double():
    assert not [name for name in aioxide.__all__ if isinstance(getattr(aioxide, name), types.ModuleType)]
    assert len(aioxide.__all__) == len(set(aioxide.__all__))


def test_star_import_gives_everything_without_a_warning():
    namespace = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec("from aioxide import *", namespace)
    assert set(aioxide.__all__) <= namespace.keys()
    assert set(asyncio.__all__) <= namespace.keys()
    assert namespace["run"] is aioxide.run


def test_dir_lists_asyncios_names_too():
    assert set(PUBLIC) | {"install", "build_info"} <= set(dir(aioxide))


@pytest.mark.parametrize("name", sorted(namespace.submodules()))
def test_submodules_are_asyncios_own(name):
    theirs = importlib.import_module(f"asyncio.{name}")
    assert getattr(aioxide, name) is theirs
    assert importlib.import_module(f"aioxide.{name}") is theirs


def test_import_statements_for_submodules():
    program = """if True:
        import asyncio, sys
        import aioxide.streams
        import aioxide.subprocess as subprocess
        from aioxide.locks import Lock, Semaphore
        from aioxide import queues, TaskGroup
        assert aioxide.streams is asyncio.streams and subprocess is asyncio.subprocess
        assert Lock is asyncio.Lock and queues is asyncio.queues and TaskGroup is asyncio.TaskGroup
        print(subprocess.PIPE)
    """
    assert output_of("-c", program) == "-1\n"


def test_private_and_later_names_are_forwarded(monkeypatch):
    assert aioxide._get_running_loop is asyncio._get_running_loop
    assert aioxide._set_running_loop is asyncio._set_running_loop
    monkeypatch.setattr(asyncio, "added_later", object(), raising=False)
    assert aioxide.added_later is asyncio.added_later


def test_unknown_names_are_refused_as_by_any_module():
    with pytest.raises(AttributeError, match=r"^module 'aioxide' has no attribute 'no_such_name'$"):
        aioxide.no_such_name
    assert not hasattr(aioxide, "__no_such_dunder__")
    with pytest.raises(ImportError, match="cannot import name 'no_such_name' from 'aioxide'"):
        exec("from aioxide import no_such_name")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("aioxide.no_such_module")


def test_our_dunders_are_our_own():
    assert aioxide.__name__ == "aioxide"
    assert aioxide.__doc__ != asyncio.__doc__
    assert aioxide.__file__ != asyncio.__file__


@pytest.mark.by_version(sys.version_info < (3, 14), "asyncio deprecates its policies from 3.14 on")
@pytest.mark.parametrize("name", ["AbstractEventLoopPolicy", "DefaultEventLoopPolicy"])
def test_deprecated_names_warn_as_asyncios_do_at_the_users_line(name):
    with warnings.catch_warnings(record=True) as theirs:
        warnings.simplefilter("always")
        expected = getattr(asyncio, name)
    with warnings.catch_warnings(record=True) as ours:
        warnings.simplefilter("always")
        assert getattr(aioxide, name) is expected
    assert [(w.category, str(w.message), w.filename) for w in ours] == [
        (w.category, str(w.message), w.filename) for w in theirs
    ]
    assert ours[0].filename == __file__


@pytest.mark.parametrize("name", ["run", "Runner"])
def test_signatures_hold_asyncios_parameters(name):
    theirs = inspect.signature(getattr(asyncio, name)).parameters
    ours = inspect.signature(getattr(aioxide, name)).parameters
    assert [*theirs, *(["loop_factory"] if "loop_factory" not in theirs else [])] == [*ours]
    assert all(
        ours[key].kind == theirs[key].kind and ours[key].default == theirs[key].default for key in theirs
    )


def test_new_event_loop_of_the_namespace_is_ours():
    loop = aioxide.new_event_loop()
    try:
        assert type(loop) is aioxide.EventLoop
        assert isinstance(loop, asyncio.SelectorEventLoop)
    finally:
        loop.close()


GET_EVENT_LOOP = """if True:
    import aioxide as asyncio, sys, threading, warnings
    before = sys.version_info < (3, 14)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError as error:
            assert not before
            print("as asyncio:", error)
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
    warned = [(w.category, str(w.message), w.filename) for w in caught]
    expected = [(DeprecationWarning, "There is no current event loop", "<string>")]
    assert warned == (expected if (3, 12) <= sys.version_info < (3, 14) else []), warned

    assert type(loop) is asyncio.EventLoop
    assert asyncio.get_event_loop() is loop
    async def main():
        return asyncio.get_event_loop() is loop
    assert loop.run_until_complete(main())

    def in_thread():
        try:
            asyncio.get_event_loop()
        except RuntimeError as error:
            print(error)
    thread = threading.Thread(target=in_thread, name="other")
    thread.start()
    thread.join()

    asyncio.set_event_loop(None)
    try:
        asyncio.get_event_loop()
    except RuntimeError as error:
        print(error)
    loop.close()
"""


def test_get_event_loop_of_the_namespace_makes_ours_where_asyncio_makes_one():
    lines = output_of("-c", GET_EVENT_LOOP).splitlines()
    assert lines[-2:] == [
        "There is no current event loop in thread 'other'.",
        "There is no current event loop in thread 'MainThread'.",
    ]
    assert len(lines) == (2 if sys.version_info < (3, 14) else 3)


def test_get_event_loop_leaves_the_choice_to_a_policy_that_somebody_set():
    program = """if True:
        import asyncio, aioxide, warnings
        warnings.simplefilter("ignore")
        class Loop(asyncio.SelectorEventLoop): pass
        class Policy(asyncio.DefaultEventLoopPolicy):
            _loop_factory = Loop
            def get_event_loop(self):
                self.set_event_loop(self.new_event_loop())
                return super().get_event_loop()
        asyncio.set_event_loop_policy(Policy())
        loop = aioxide.get_event_loop()
        print(type(loop).__name__)
        loop.close()
    """
    assert output_of("-c", program) == "Loop\n"


INSTANCES = """if True:
    {first}
    async def main():
        loop = asyncio.get_running_loop()
        async def nothing(): pass
        tasks = [make(nothing()) for make in (asyncio.create_task, asyncio.ensure_future, loop.create_task)]
        futures = [loop.create_future(), asyncio.Future(), asyncio.gather(*tasks), asyncio.shield(tasks[0])]
        for task in tasks:
            assert isinstance(task, asyncio.Task) and isinstance(task, asyncio.Future), task
        for future in futures:
            assert isinstance(future, asyncio.Future), future
            assert not isinstance(future, asyncio.Task), future
        assert issubclass(asyncio.Task, asyncio.Future)
        assert not isinstance(nothing, asyncio.Future)
        assert type(tasks[0]) is aioxide.Task and type(futures[0]) is aioxide.Future
        await asyncio.gather(*tasks)
        return "held"
    print(asyncio.run(main()))
"""


@pytest.mark.parametrize(
    "first",
    [
        "import aioxide; import aioxide as asyncio",
        "import aioxide, asyncio; aioxide.install()",
        "import aioxide, asyncio; aioxide.install(namespace=True)",
    ],
)
def test_what_is_an_instance_of_what(first):
    # gather() makes a future of asyncio's own class, and our Task has asyncio's Task for its base.
    assert output_of("-c", INSTANCES.format(first=first)) == "held\n"
