"""`install()`: every event loop that asyncio makes in the process is ours, until `uninstall()`."""

import asyncio
import contextlib
import enum
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .._loop import EventLoop, new_event_loop
from .namespace import NATIVE, pool_replacements, submodules


class _Part(enum.Flag):
    NOTHING = 0
    LOOPS = 1
    NAMESPACE = 2
    UVLOOP = 4


def install(namespace: bool = False, replace_uvloop: bool = False) -> None:
    """Make every event loop that this process makes an `aioxide.EventLoop`.

    `asyncio.run`, `asyncio.Runner`, `asyncio.new_event_loop`, `asyncio.EventLoop()`,
    `asyncio.SelectorEventLoop()` and the policy (below 3.16) make aioxide loops from now on, even if a library
    imported them earlier or sets another policy later. Existing loops do not change. Neither do loops that are
    asked for by name: `loop_factory=...`, `uvloop.new_event_loop()`, a subclass of asyncio's loop,
    `asyncio.SelectorEventLoop(selector)` with a selector. The first time that such a loop runs, a RuntimeWarning
    says so.

    Calling it again changes nothing; `uninstall()` undoes it. Forked children inherit it. Children that
    `multiprocessing` starts by spawn or forkserver install it before they run their target (a fork server may import
    the main module a little earlier).

    Args:
        namespace: also replace `Task` and `Future` in asyncio, and `ThreadPoolExecutor` and `ProcessPoolExecutor` in
            `concurrent.futures`, for code that uses these names directly. A later plain `install()` does not undo that.
        replace_uvloop: also make `import uvloop` give a module with uvloop's public names over aioxide, for programs
            that use uvloop where it is installed. uvloop need not be installed. Names that were imported from uvloop
            earlier stay uvloop's. A later plain `install()` does not undo that.

    Warns:
        RuntimeWarning: spawned children can't be told, and will run on asyncio's own loops.
    """
    parts = _Part.LOOPS
    if namespace:
        parts |= _Part.NAMESPACE
    if replace_uvloop:
        parts |= _Part.UVLOOP
    with _lock:
        _change_to(_parts | parts)


def uninstall() -> None:
    """Put back what `install()` replaced. Does nothing without `install()`.

    Loops that were made meanwhile stay aioxide's. A name that somebody else has replaced since, such as a tracer that
    wrapped it, is left as it is.
    """
    with _lock:
        _change_to(_Part.NOTHING)


@contextlib.contextmanager
def installed(namespace: bool = False, replace_uvloop: bool = False) -> Iterator[None]:
    """`install()` for a `with` block or a decorated function; afterwards everything is as it was before.

    Args:
        namespace: as for `install()`.
        replace_uvloop: as for `install()`.
    """
    before = _parts
    install(namespace, replace_uvloop)
    try:
        yield
    finally:
        with _lock:
            _change_to(before)


class _Undoable(Protocol):
    def undo(self) -> None: ...


_lock = threading.Lock()
_parts = _Part.NOTHING
_undo: dict[_Part, list[_Undoable]] = {}


def _change_to(parts: _Part) -> None:
    global _parts
    for part in reversed(_Part):
        if part in _undo and part not in parts:
            _parts &= ~part
            _take_back(part)
    for part in _Part:
        if part in parts and part not in _parts:
            # Here, as below: a program that never installs should not pay for the import.
            from .patch import Patch

            # What an interrupt may have left of an earlier attempt.
            _take_back(part)
            made: list[Any] = []
            _undo[part] = made
            try:
                for each in _REPLACEMENTS[part]():
                    if isinstance(each, tuple):
                        Patch.make(*each, made)
                    else:
                        made.append(each)
            except BaseException:
                _take_back(part)
                raise
            _parts |= part


def _take_back(part: _Part) -> None:
    """Undo it, the last first; what an interrupt leaves of it is found here again."""
    made = _undo.get(part, [])
    while made:
        made[-1].undo()
        made.pop()
    _undo.pop(part, None)


_Replacements = Iterator[tuple[Any, str, Any] | _Undoable]


def _in_force() -> bool:
    return _Part.LOOPS in _parts


def _options() -> dict[str, bool]:
    return {"namespace": _Part.NAMESPACE in _parts, "replace_uvloop": _Part.UVLOOP in _parts}


def _loop_replacements() -> _Replacements:
    from . import children, foreign
    from .patch import Later

    yield asyncio.events, "new_event_loop", new_event_loop
    yield asyncio, "new_event_loop", new_event_loop
    _hook_selector_event_loop()
    # A policy that somebody set (uvloop's, say) makes loops of its own. It stays in force, with the loops
    # that it keeps per thread and the rest of its ways; only what it makes from now on is ours.
    policy = getattr(asyncio.events, "_event_loop_policy", None)
    if policy is not None and hasattr(policy, "__dict__"):
        yield policy, "new_event_loop", new_event_loop
    yield foreign.Watch(_in_force)
    yield Later(children.MODULE, lambda spawn: children.replacements(spawn, _options))


def _namespace_replacements() -> _Replacements:
    from .patch import Later

    modules = [asyncio, *submodules().values()]
    for name, native in NATIVE.items():
        standard = getattr(asyncio, name)
        yield from ((module, name, native) for module in modules if vars(module).get(name) is standard)
    for submodule, replacements in pool_replacements().items():
        yield Later(submodule, replacements)


def _uvloop_replacements() -> _Replacements:
    from . import uvloop

    yield from uvloop.replacements()


_REPLACEMENTS: dict[_Part, Callable[[], _Replacements]] = {
    _Part.LOOPS: _loop_replacements,
    _Part.NAMESPACE: _namespace_replacements,
    _Part.UVLOOP: _uvloop_replacements,
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
        if cls is standard and not args and not kwargs and _in_force():
            return EventLoop.__new__(EventLoop)
        following = super(standard, cls).__new__
        return following(cls) if following is object.__new__ else following(cls, *args, **kwargs)

    standard.__new__ = staticmethod(new)
