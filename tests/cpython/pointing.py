"""Point asyncio's factories at aioxide, and count what the tests then make.

CPython's tests reach a loop, a task or a future by these roads, and each is led to aioxide:

* ``asyncio.new_event_loop()``, ``asyncio.run``, ``IsolatedAsyncioTestCase``: the default policy's
  ``_loop_factory``;
* ``asyncio.SelectorEventLoop(...)``, ``asyncio.EventLoop``, ``asyncio.BaseEventLoop()``: names in the
  package;
* ``base_events.BaseEventLoop()`` in test_base_events: a view of the module, because mock loops elsewhere
  inherit from the real one;
* ``tasks._CTask`` and ``futures._CFuture``: the hooks that test_tasks, test_futures and others run over;
* ``asyncio.Task`` and ``asyncio.Future``: names in the package and in ``tasks`` and ``futures``;
* ``script_helper.assert_python_ok("-c", code)``: the child is pointed before the code runs.
"""

import asyncio
import asyncio.base_events
import asyncio.futures
import asyncio.selector_events
import asyncio.tasks
import asyncio.unix_events
import collections
import sys
import types
import unittest.mock
from pathlib import Path

STOCK_LOOP = asyncio.unix_events._UnixSelectorEventLoop
STOCK_TASK = asyncio.tasks.Task
STOCK_FUTURE = asyncio.futures.Future

# Roads to a loop or to the machinery around it that must stay asyncio's: the tests steer them by the policy.
NOT_NATIVE_NAMES = frozenset(
    "run Runner EventLoop SelectorEventLoop BaseEventLoop new_event_loop get_event_loop set_event_loop "
    "EventLoopPolicy DefaultEventLoopPolicy AbstractEventLoopPolicy get_event_loop_policy "
    "set_event_loop_policy".split()
)


class Census:
    """Counts the loops made since the last `take`: ours, and those that should have been ours."""

    def __init__(self) -> None:
        self.ours = 0
        self.foreign: collections.Counter[str] = collections.Counter()

    def count_ours(self) -> None:
        self.ours += 1

    def count_other(self, cls: type) -> None:
        # A mock that a test defines over BaseEventLoop can't poll, so no behaviour of ours is missed by it;
        # a loop with the standard library's poller is one that the pointing let through.
        if issubclass(cls, STOCK_LOOP):
            self.foreign[f"{cls.__module__}.{cls.__qualname__}"] += 1

    def take(self) -> tuple[int, dict[str, int]]:
        """Return (ours, foreign by class) since the last call, and begin anew."""
        taken = self.ours, dict(self.foreign)
        self.ours = 0
        self.foreign.clear()
        return taken


census = Census()


def native_classes() -> tuple[type | None, type | None]:
    """aioxide's own (Task, Future), or (None, None) as long as the extension module has none.

    :raises RuntimeError: if the extension has them but the package doesn't export them
    """
    import aioxide

    found = []
    for name, stock in (("Task", STOCK_TASK), ("Future", STOCK_FUTURE)):
        exported = getattr(aioxide, name, None)
        native = exported if exported is not stock else None
        if native is None and hasattr(extension_module(), name):
            raise RuntimeError(
                f"aioxide._aioxide has {name}, but aioxide.{name} is {exported!r}: nothing would be tested"
            )
        found.append(native)
    return found[0], found[1]


def extension_module() -> types.ModuleType | None:
    """The extension module, or None if the package at hand doesn't use one."""
    return sys.modules.get("aioxide._aioxide")


def polls_by_itself(loop_class: type) -> bool:
    """Whether the loop is built on the native core, not on a Python selector.

    Tests of ``BaseEventLoop()`` put a mock in its selector's place, which only such a loop takes unharmed (see
    `_let_selectors_be_mocked`).
    """
    core = getattr(extension_module(), "Loop", None)
    return core is not None and issubclass(loop_class, core)


def _factory_class(loop_class: type) -> type:
    """A stand-in for a loop class's name: calling it makes a counted, exact `loop_class`.

    It is a subclass only so that ``class X(asyncio.SelectorEventLoop)`` in a test inherits from ours;
    instances are of `loop_class` itself, because a subclass could switch fast paths off.
    """

    class Meta(type(loop_class)):  # type: ignore[misc]
        def __call__(cls, *args, **kwargs):
            census.count_ours()
            if cls is not stand_in:
                return super().__call__(*args, **kwargs)
            # A test that gives a selector means "with this poller"; ours polls by itself.
            selector = args[0] if args else kwargs.get("selector")
            if selector is not None:
                selector.close()
            return loop_class()

        def __instancecheck__(cls, instance):
            return (
                isinstance(instance, loop_class) if cls is stand_in else super().__instancecheck__(instance)
            )

        def __subclasscheck__(cls, subclass):
            return (
                issubclass(subclass, loop_class) if cls is stand_in else super().__subclasscheck__(subclass)
            )

    stand_in = None
    stand_in = Meta(loop_class.__name__, (loop_class,), {"__doc__": loop_class.__doc__})
    return stand_in


def _let_selectors_be_mocked(loop_class: type) -> None:
    """Have our loop take a mock for its selector; from a program it takes none, since it would never call it."""
    real = loop_class._selector  # type: ignore[attr-defined]

    def take(self, selector):
        if isinstance(selector, unittest.mock.Mock):
            self.__dict__["_selector"] = selector
        else:
            real.fset(self, selector)

    loop_class._selector = property(real.fget, take)  # type: ignore[attr-defined]


def _count_others(loop_class: type) -> None:
    original = asyncio.base_events.BaseEventLoop.__init__

    def __init__(self, *args, **kwargs):
        if not isinstance(self, loop_class):
            census.count_other(type(self))
        original(self, *args, **kwargs)

    asyncio.base_events.BaseEventLoop.__init__ = __init__


def _replace(name: str, stock: object, native: object, *modules: types.ModuleType) -> None:
    for module in modules:
        if getattr(module, name, None) is stock:
            setattr(module, name, native)


def _point_tasks_and_futures() -> None:
    task, future = native_classes()
    if task is not None:
        asyncio.tasks._CTask = task
        _replace("Task", STOCK_TASK, task, asyncio, asyncio.tasks)
    if future is not None:
        asyncio.futures._CFuture = future
        _replace("Future", STOCK_FUTURE, future, asyncio, asyncio.futures)


def _point_namespace() -> None:
    """Replace asyncio's public names of which aioxide has its own object (``import aioxide as asyncio``)."""
    import aioxide

    for name in asyncio.__all__:
        stock, native = getattr(asyncio, name), getattr(aioxide, name, None)
        if native is None or native is stock or name in NOT_NATIVE_NAMES:
            continue
        home = sys.modules.get(getattr(stock, "__module__", None) or "asyncio", asyncio)
        _replace(name, stock, native, asyncio, home)


def _point_loops(loop_class: type) -> type:
    stand_in = _factory_class(loop_class)
    _count_others(loop_class)
    asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory = stand_in
    for name in ("SelectorEventLoop", "EventLoop"):
        if hasattr(asyncio, name):
            setattr(asyncio, name, stand_in)
    if polls_by_itself(loop_class):
        asyncio.BaseEventLoop = stand_in
    for name in ("SelectorEventLoop", "EventLoop"):
        if hasattr(asyncio.unix_events, name):
            setattr(asyncio.unix_events, name, stand_in)
    return stand_in


def point(*, namespace: bool = False) -> None:
    """Lead every road named in this module's docstring to aioxide, for the rest of the process.

    :param namespace: also replace asyncio's public names by aioxide's own objects where it has them
    """
    import aioxide

    # The mocks in utils inherit from what asyncio.base_events holds at import: so before it is replaced.
    import test.test_asyncio.utils  # noqa: F401

    _point_loops(aioxide.EventLoop)
    _let_selectors_be_mocked(aioxide.EventLoop)
    _point_tasks_and_futures()
    if namespace:
        _point_namespace()
    _point_child_processes(namespace)


def _point_child_processes(namespace: bool) -> None:
    from test.support import script_helper

    paths = [str(Path(__file__).parents[2]), *(p for p in sys.path if (Path(p) / "aioxide").is_dir())]
    prelude = (
        f"import sys; sys.path[:0] = {paths!r}; from tests.cpython import pointing; "
        f"pointing.point(namespace={namespace!r}); del pointing; exec("
    )
    original = script_helper.run_python_until_end

    def run_python_until_end(*args, **env):
        args = list(args)
        if "-c" in args:
            at = args.index("-c") + 1
            args[at] = f"{prelude}{args[at]!r})"
        return original(*args, **env)

    script_helper.run_python_until_end = run_python_until_end


def summary() -> dict[str, object]:
    """What of aioxide was there to be tested: whether the loop and Task are native."""
    import aioxide

    return {
        "native_loop": polls_by_itself(aioxide.EventLoop),
        "native_task": native_classes()[0] is not None,
    }


def point_module(module: types.ModuleType) -> None:
    """Point what only a loaded test module can tell: test_base_events' own view of ``base_events``."""
    if module.__name__.endswith(".test_base_events"):
        view = types.ModuleType("asyncio.base_events")
        view.__dict__.update(vars(asyncio.base_events), BaseEventLoop=asyncio.BaseEventLoop)
        module.base_events = view


def hooks(test_class: type) -> list[type]:
    """The Task and Future classes over which a test class is parametrised."""
    return [
        cls for name in ("Task", "Future", "cls") if isinstance(cls := getattr(test_class, name, None), type)
    ]


def is_hooked(test_class: type) -> bool:
    """Whether a test class is parametrised over aioxide's Task or Future, or a subclass of them."""
    ours = tuple(filter(None, native_classes()))
    return any(issubclass(cls, ours) for cls in hooks(test_class)) if ours else False


def is_unpointed(test_class: type) -> bool:
    """Whether a test class still names CPython's own C Task or Future though aioxide has one."""
    stock = {
        s
        for s, native in zip((STOCK_TASK, STOCK_FUTURE), native_classes(), strict=True)
        if native is not None
    }
    return not stock.isdisjoint(hooks(test_class))
