"""Telling the user when a loop that is not ours runs although aioxide is installed."""

import _asyncio
import asyncio
import functools
import os
import sys
import warnings
from asyncio import events
from collections.abc import Callable, Iterator
from typing import Any

from ._loop import EventLoop

# For Python's own rule that a warning is shown once: where `installed()` blocks follow each other.
_registry: dict[Any, Any] = {}
_told = False


def replacements(in_force: Callable[[], bool]) -> Iterator[tuple[Any, str, Any]]:
    """The attributes to replace, as (owner, name, value), so that a loop which is not ours is seen when it runs.

    Every loop has to tell asyncio that it runs, by `_set_running_loop`. That happens when a loop starts and stops, so
    nothing that happens per callback gets slower; our own loop tells it in its own way. Whoever has imported that
    function by name is given ours; a loop in C that has (uvloop, when it was imported) is seen by its `run_forever`.

    Args:
        in_force: whether aioxide is installed: what has been taken over elsewhere may outlive that.
    """
    global _told
    _told = False
    standard = events._set_running_loop

    @functools.wraps(standard)
    def _set_running_loop(loop: Any, /) -> None:
        if loop is not None and not isinstance(loop, EventLoop) and in_force():
            try:
                _tell(loop)
            except RuntimeWarning:
                # Warnings are errors here. From 3.13 on, asyncio's loop does not expect any at this point.
                getattr(loop, "_run_forever_cleanup", lambda: None)()
                raise
        standard(loop)

    name = "_set_running_loop"
    for module in list(sys.modules.values()):
        # A module may be anything that somebody has put there. The function's own home stays as it is.
        if module is not _asyncio and getattr(module, "__dict__", {}).get(name) is standard:
            yield module, name, _set_running_loop
    for kind in _kinds_of_loops(asyncio.AbstractEventLoop):
        # asyncio's own are seen by the function, whichever class of theirs it is.
        if not issubclass(kind, asyncio.BaseEventLoop) and _is_outermost(kind):
            yield kind, "run_forever", _followed(kind.run_forever, in_force)


def _kinds_of_loops(kind: Any) -> Iterator[Any]:
    for each in type.__subclasses__(kind):
        yield each
        yield from _kinds_of_loops(each)


def _is_outermost(kind: type) -> bool:
    """Whether `run_forever` comes from a class in C, and this is the first class of Python's on the way to it."""
    if _is_fixed(kind) or "run_forever" in vars(kind):
        return False
    for base in kind.__mro__[1:]:
        if "run_forever" in vars(base):
            return _is_fixed(base)
        if issubclass(base, asyncio.AbstractEventLoop) and not _is_fixed(base):
            return False
    return False


def _is_fixed(kind: type) -> bool:
    return bool(kind.__flags__ & 1 << 8)  # Py_TPFLAGS_IMMUTABLETYPE


def _followed(run_forever: Any, in_force: Callable[[], bool]) -> Any:
    @functools.wraps(run_forever)
    def followed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if in_force():
            _tell(self)
        return run_forever(self, *args, **kwargs)

    return followed


def _tell(loop: Any) -> None:
    global _told
    if _told:
        return
    _told = True
    kind = type(loop)
    remedy = "make it by asyncio.new_event_loop(), or name loop_factory=aioxide.new_event_loop"
    if any(base.__module__.partition(".")[0] == "uvloop" for base in kind.__mro__):
        remedy = (
            "run it by python -m aioxide --replace-uvloop, or call aioxide.install(replace_uvloop=True) before "
            "uvloop is imported"
        )
    warnings.warn_explicit(
        f"a {kind.__module__}.{kind.__qualname__} runs in process {os.getpid()}, not an aioxide.EventLoop, although "
        f"aioxide is installed: the program asks for that loop by its name. To have it run on aioxide, {remedy}",
        RuntimeWarning,
        "<aioxide>",
        1,
        module="aioxide",
        registry=_registry,
    )
