"""`install()`, `uninstall()`, `installed()`: every loop that the process makes is ours, and it can be taken
back.
"""

import asyncio
import contextlib
import selectors
import sys
import unittest
import warnings
from asyncio import SelectorEventLoop as captured_class, new_event_loop as captured_function

import aioxide
import pytest
from aioxide._entry import namespace

from tests.support.interpreters import output_of

if sys.version_info >= (3, 13):
    from asyncio import EventLoop as captured_event_loop
else:
    captured_event_loop = asyncio.SelectorEventLoop


@pytest.fixture(autouse=True)
def nothing_installed():
    aioxide.uninstall()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    aioxide.uninstall()


def type_made_by(factory):
    with contextlib.closing(factory()) as loop:
        return type(loop)


async def type_of_running_loop():
    return type(asyncio.get_running_loop())


def by_isolated_test_case():
    class Case(unittest.IsolatedAsyncioTestCase):
        async def test(self):
            made.append(await type_of_running_loop())

    made = []
    assert Case("test").run().wasSuccessful()
    return made[0]


def by_runner():
    with asyncio.Runner() as runner:
        return runner.run(type_of_running_loop())


def by_policy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return type_made_by(asyncio.get_event_loop_policy().new_event_loop)


WAYS = {
    "asyncio.run": lambda: asyncio.run(type_of_running_loop()),
    "Runner": by_runner,
    "new_event_loop": lambda: type_made_by(asyncio.new_event_loop),
    "events.new_event_loop": lambda: type_made_by(asyncio.events.new_event_loop),
    "captured new_event_loop": lambda: type_made_by(captured_function),
    "SelectorEventLoop": lambda: type_made_by(asyncio.SelectorEventLoop),
    "captured SelectorEventLoop": lambda: type_made_by(captured_class),
    "captured EventLoop": lambda: type_made_by(captured_event_loop),
    "policy": by_policy,
    "IsolatedAsyncioTestCase": by_isolated_test_case,
}
if sys.version_info >= (3, 13):
    WAYS["EventLoop"] = lambda: type_made_by(asyncio.EventLoop)
    WAYS["unix_events.EventLoop"] = lambda: type_made_by(asyncio.unix_events.EventLoop)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:There is no current event loop")
def test_every_way_to_make_a_loop(way):
    standard = asyncio.unix_events._UnixSelectorEventLoop
    assert WAYS[way]() is standard
    aioxide.install()
    assert WAYS[way]() is aioxide.EventLoop
    aioxide.uninstall()
    assert WAYS[way]() is standard


def is_default_policy(value):
    return value is None or type(value).__module__ == "asyncio.unix_events"


def namespaces():
    """What asyncio's modules and our hooks' places hold, by identity."""
    modules = [asyncio, *namespace.submodules().values()]
    return {
        (m.__name__, name): value
        for m in modules
        for name, value in vars(m).items()
        # asyncio makes its default policy when it is first asked for one, by whomever.
        if name != "__warningregistry__" and not (name == "_event_loop_policy" and is_default_policy(value))
    }


@pytest.mark.parametrize("namespace", [False, True])
def test_uninstall_puts_every_name_back(namespace):
    before = namespaces()
    aioxide.install(namespace)
    assert namespaces() != before
    aioxide.uninstall()
    assert namespaces() == before


def test_install_twice_is_install_once():
    before = namespaces()
    aioxide.install()
    once = namespaces()
    aioxide.install()
    assert namespaces() == once
    aioxide.uninstall()
    assert namespaces() == before


def test_uninstall_without_install_does_nothing():
    before = namespaces()
    aioxide.uninstall()
    assert namespaces() == before


def test_nested_installed_restores_what_was_there():
    before = namespaces()
    with aioxide.installed():
        outer = namespaces()
        with aioxide.installed(namespace=True):
            with aioxide.installed():
                pass
        assert namespaces() == outer
        assert WAYS["asyncio.run"]() is aioxide.EventLoop
    assert namespaces() == before


def test_installed_restores_after_an_exception_and_as_a_decorator():
    before = namespaces()
    with pytest.raises(LookupError), aioxide.installed():
        raise LookupError

    @aioxide.installed()
    def decorated():
        return WAYS["asyncio.run"]()

    assert decorated() is aioxide.EventLoop
    assert namespaces() == before


def test_installed_inside_install_leaves_it_installed():
    aioxide.install()
    with aioxide.installed():
        pass
    assert WAYS["asyncio.run"]() is aioxide.EventLoop


def test_an_inner_uninstall_does_not_confuse_the_outer_block():
    before = namespaces()
    with aioxide.installed():
        aioxide.uninstall()
        assert namespaces() == before
    assert namespaces() == before


def test_a_name_that_somebody_wrapped_since_is_left_alone(monkeypatch):
    # A tracer that wraps ours is called by others through asyncio: taking its wrapper away would break the
    # tracer.
    aioxide.install()
    ours = asyncio.new_event_loop
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: ours())
    wrapper = asyncio.new_event_loop
    aioxide.uninstall()
    assert asyncio.new_event_loop is wrapper


def test_what_was_patched_before_comes_back(monkeypatch):
    def patched():
        return captured_function()

    monkeypatch.setattr(asyncio, "new_event_loop", patched)
    with aioxide.installed():
        assert asyncio.new_event_loop is aioxide.new_event_loop
    assert asyncio.new_event_loop is patched


def test_loops_that_name_their_class_or_selector_stay_theirs():
    class Loop(asyncio.SelectorEventLoop):
        def __init__(self, label, *, selector=None):
            super().__init__(selector)
            self.label = label

    # Before, during and after: a class that once had a __new__ of Python must still take its arguments.
    for change in (lambda: None, aioxide.install, aioxide.uninstall):
        change()
        assert type_made_by(lambda: Loop("label")) is Loop
        assert type_made_by(lambda: Loop(label="label", selector=selectors.PollSelector())) is Loop
        for selector in (selectors.PollSelector(), None):
            explicit = type_made_by(lambda: asyncio.SelectorEventLoop(selector))  # noqa: B023
            assert explicit is asyncio.unix_events._UnixSelectorEventLoop


def test_subclasses_with_another_base_that_has_new():
    class Counted:
        made = 0

        def __new__(cls, *args, **kwargs):
            Counted.made += 1
            return super().__new__(cls)

    class Loop(asyncio.SelectorEventLoop, Counted):
        pass

    with aioxide.installed():
        assert type_made_by(Loop) is Loop
    assert Counted.made == 1


def test_the_names_of_the_classes_stay_what_others_ask_for():
    with contextlib.closing(asyncio.SelectorEventLoop()) as earlier, aioxide.installed():
        assert isinstance(earlier, asyncio.SelectorEventLoop)
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            assert isinstance(loop, asyncio.SelectorEventLoop)
            assert isinstance(loop, asyncio.BaseEventLoop)
        assert asyncio.SelectorEventLoop is captured_class
        if sys.version_info >= (3, 13):
            assert asyncio.EventLoop is captured_event_loop


def test_the_current_loop_stays_what_it_is():
    with contextlib.closing(asyncio.SelectorEventLoop()) as loop:
        asyncio.set_event_loop(loop)
        try:
            with aioxide.installed():
                assert asyncio.get_event_loop() is loop
            assert asyncio.get_event_loop() is loop
        finally:
            asyncio.set_event_loop(None)


POLICIES = """if True:
    import asyncio, aioxide, warnings
    from asyncio import new_event_loop as captured
    warnings.simplefilter("ignore")

    class Theirs(asyncio.SelectorEventLoop): pass
    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self):
            return Theirs()

    async def running():
        return type(asyncio.get_running_loop()).__name__
    def made(factory):
        loop = factory()
        loop.close()
        return type(loop).__name__

    policy = Policy()
    loop = Theirs()
    policy.set_event_loop(loop)
    {order}
    print(asyncio.run(running()), made(asyncio.new_event_loop), {more})
    assert asyncio.get_event_loop_policy() is policy
    aioxide.uninstall()
    assert asyncio.get_event_loop_policy() is policy
    print(asyncio.run(running()), made(captured), "new_event_loop" in vars(policy))
    loop.close()
"""


def test_a_policy_set_before_stays_with_its_state_and_makes_ours():
    order = (
        "asyncio.set_event_loop_policy(policy); aioxide.install(); assert asyncio.get_event_loop() is loop"
    )
    printed = output_of("-c", POLICIES.format(order=order, more="made(captured)"))
    assert printed.splitlines() == ["EventLoop EventLoop EventLoop", "Theirs Theirs False"]


def test_a_policy_set_later_does_not_take_asyncio_run_away():
    # `python -m aioxide app.py` for an app that says uvloop.install() by itself.
    order = "aioxide.install(); asyncio.set_event_loop_policy(policy)"
    printed = output_of("-c", POLICIES.format(order=order, more="'-'"))
    assert printed.splitlines() == ["EventLoop EventLoop -", "Theirs Theirs False"]


@pytest.mark.by_version(sys.version_info >= (3, 14), "get_event_loop() makes no loop from 3.14 on")
def test_get_event_loop_makes_ours():
    program = """if True:
        import asyncio, aioxide, warnings
        warnings.simplefilter("ignore")
        aioxide.install()
        loop = asyncio.get_event_loop()
        print(type(loop) is aioxide.EventLoop)
        loop.close()
    """
    assert output_of("-c", program) == "True\n"


def test_namespace_puts_the_native_classes_into_asyncio():
    natives = namespace.NATIVE
    before = {name: getattr(asyncio, name) for name in natives}
    aioxide.install(namespace=True)
    for name, native in natives.items():
        assert getattr(asyncio, name) is native
        assert all(vars(m).get(name) is not before[name] for m in namespace.submodules().values()), name

    async def main():
        loop = asyncio.get_running_loop()
        assert type(asyncio.Future()) is asyncio.Future
        assert type(loop.create_future()) is asyncio.Future
        task = asyncio.Task(asyncio.sleep(0, "slept"), loop=loop)
        assert type(task) is asyncio.Task and isinstance(task, asyncio.Future)
        assert type(asyncio.create_task(asyncio.sleep(0))) is asyncio.Task
        return await task

    assert asyncio.run(main()) == "slept"


def test_a_later_plain_install_leaves_the_namespace():
    aioxide.install(namespace=True)
    whole = namespaces()
    aioxide.install()
    assert namespaces() == whole


@pytest.mark.by_version(sys.version_info < (3, 12), "eager tasks came with 3.12")
def test_namespace_covers_the_eager_factory():
    aioxide.install(namespace=True)

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        started = []

        async def child():
            started.append(1)

        task = asyncio.create_task(child())
        assert started == [1] and type(task) is asyncio.Task
        await task

    asyncio.run(main())
