"""`install()`: every event loop that the process makes is ours, until `uninstall()`."""

import asyncio
import contextlib
import enum
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from . import _children, _namespace
from ._loop import EventLoop, new_event_loop


class _Level(enum.IntEnum):
    NOTHING = 0
    LOOPS = 1
    NAMESPACE = 2


def install(namespace: bool = False) -> None:
    """Make every event loop that this process makes an `aioxide.EventLoop`.

    `asyncio.run`, `asyncio.Runner`, `asyncio.new_event_loop`, `asyncio.EventLoop()`,
    `asyncio.SelectorEventLoop()` and the policy (below 3.16) make ours, also where a library imported them
    earlier or sets another policy later. Loops that exist stay as they are, and so does whatever names
    another loop itself: `loop_factory=...`, `uvloop.new_event_loop()`, a subclass of asyncio's loop,
    `asyncio.SelectorEventLoop(selector)` with a selector.

    Calling it again changes nothing; `uninstall()` takes all of it back. Forked children inherit it, and
    children that `multiprocessing` starts by spawn or forkserver are told to install it before they run
    anything of theirs (a fork server may import the main module a little earlier).

    Args:
        namespace: also put the native classes (`Task`, `Future`) into asyncio's own names, and our pools
            (`ThreadPoolExecutor`, `ProcessPoolExecutor`) into those of `concurrent.futures`, for code that
            calls them directly. A later plain `install()` leaves them there.

    Warns:
        RuntimeWarning: spawned children can't be told, and will run on asyncio's own loops.
    """
    with _lock:
        _change_to(max(_level, _Level.NAMESPACE if namespace else _Level.LOOPS))


def uninstall() -> None:
    """Put back what `install()` replaced. Loops that were made meanwhile stay ours; without `install()`, a
    no-op.

    A name that somebody else has replaced since (a tracer that wrapped it, say) is left as it is.
    """
    with _lock:
        _change_to(_Level.NOTHING)


@contextlib.contextmanager
def installed(namespace: bool = False) -> Iterator[None]:
    """`install()` for the time of a `with` block or a decorated call; what was in force before comes back
    after it.

    Args:
        namespace: as for `install()`.
    """
    before = _level
    install(namespace)
    try:
        yield
    finally:
        with _lock:
            _change_to(before)


@dataclass(frozen=True)
class _Patch:
    """One attribute that we replaced, and what stood there; `_ABSENT` where the owner itself had none."""

    owner: Any
    name: str
    ours: Any
    before: Any

    def undo(self) -> None:
        if vars(self.owner).get(self.name, _ABSENT) is not self.ours:
            return
        if self.before is _ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.before)


_ABSENT: Any = object()
_lock = threading.Lock()
_level = _Level.NOTHING
_patches: dict[_Level, list[_Patch]] = {}


def _change_to(level: _Level) -> None:
    global _level
    while _level > level:
        for patch in reversed(_patches.pop(_level)):
            patch.undo()
        _level = _Level(_level - 1)
    while _level < level:
        _level = _Level(_level + 1)
        _patches[_level] = patches = []
        for owner, name, ours in _REPLACEMENTS[_level]():
            patches.append(_Patch(owner, name, ours, vars(owner).get(name, _ABSENT)))
            setattr(owner, name, ours)


def _loop_replacements() -> Iterator[tuple[Any, str, Any]]:
    yield asyncio.events, "new_event_loop", new_event_loop
    yield asyncio, "new_event_loop", new_event_loop
    _hook_selector_event_loop()
    # A policy that somebody set (uvloop's, say) makes loops of its own. It stays in force, with the loops
    # that it keeps per thread and the rest of its ways; only what it makes from now on is ours.
    policy = getattr(asyncio.events, "_event_loop_policy", None)
    if policy is not None and hasattr(policy, "__dict__"):
        yield policy, "new_event_loop", new_event_loop
    yield from _children.replacements(lambda: _level >= _Level.NAMESPACE)


def _namespace_replacements() -> Iterator[tuple[Any, str, Any]]:
    modules = [asyncio, *_namespace.submodules().values()]
    for name, native in _namespace.NATIVE.items():
        standard = getattr(asyncio, name)
        yield from ((module, name, native) for module in modules if vars(module).get(name) is standard)
    yield from _namespace.pool_replacements()


_REPLACEMENTS: dict[_Level, Callable[[], Iterator[tuple[Any, str, Any]]]] = {
    _Level.LOOPS: _loop_replacements,
    _Level.NAMESPACE: _namespace_replacements,
}


def _hook_selector_event_loop() -> None:
    """Make `asyncio.SelectorEventLoop()` ours while we are installed, without giving its name to another
    class.

    That class is `asyncio.EventLoop` too (3.13), and what asyncio's default policy makes. uvicorn's `--loop
    asyncio`, and its `auto` without uvloop, call it by name, so that `python -m aioxide -m uvicorn` would run
    on asyncio's loop. But the name has to stay asyncio's class: libraries ask `isinstance(loop,
    asyncio.SelectorEventLoop)` of loops made earlier, derive loops of their own from it, and give it a
    selector, which is a wish for a loop that polls it. So the hook is in the class's __new__: this very class
    without arguments is ours; anything else is what it was. Names that were imported earlier are covered with
    it.

    The hook stays in the class after uninstall(), as a pass-through: once __new__ was set on a class,
    deleting it leaves a class that accepts no arguments (CPython's bpo-25731, 3.11-3.15).
    """
    standard: Any = asyncio.unix_events.SelectorEventLoop
    if "__new__" in vars(standard):
        return

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if cls is standard and not args and not kwargs and _level >= _Level.LOOPS:
            return EventLoop.__new__(EventLoop)
        following = super(standard, cls).__new__
        return following(cls) if following is object.__new__ else following(cls, *args, **kwargs)

    standard.__new__ = staticmethod(new)
