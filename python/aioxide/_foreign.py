"""Telling the user when a loop that is not ours runs although aioxide is installed."""

import asyncio
import functools
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from . import _aioxide
from ._loop import EventLoop
from ._patch import Patch

# For Python's own rule that a warning is shown once: where `installed()` blocks follow each other.
_registry: dict[Any, Any] = {}
_told: dict[int, object] = {}


class Watch:
    """Sees every loop that is not ours when it begins to run, until `undo()`.

    A loop tells asyncio that it runs by `_set_running_loop`, in whatever language it is written and whenever it has
    taken that function; the native core calls us then. But most loops don't expect an exception there, and would be left
    half started where warnings are errors. So what classes of loops have as their `run_forever` is wrapped too: that
    is the place to raise. Both happen when a loop starts; nothing that happens per callback gets slower.

    Args:
        in_force: whether aioxide is installed.
    """

    def __init__(self, in_force: Callable[[], bool]) -> None:
        _told.clear()
        self._in_force = in_force
        self._made: list[Any] = []
        _aioxide._watch_running_loops(self._runs)
        watch = self

        def __init_subclass__(cls: Any, **kwargs: Any) -> None:
            super(asyncio.AbstractEventLoop, cls).__init_subclass__(**kwargs)
            watch._follow(cls)

        Patch.make(asyncio.AbstractEventLoop, "__init_subclass__", classmethod(__init_subclass__), self._made)
        for kind in _kinds_of_loops(asyncio.AbstractEventLoop):
            self._follow(kind)

    def undo(self) -> None:
        """Put back what was wrapped."""
        while self._made:
            self._made[-1].undo()
            self._made.pop()
        _aioxide._watch_running_loops(None)

    def _follow(self, kind: Any) -> None:
        """Wrap `run_forever` where this class of loops or one that it is derived from has one of its own."""
        for base in kind.__mro__:
            if base in EventLoop.__mro__ or issubclass(base, EventLoop) or base.__module__.startswith("asyncio."):
                continue
            run_forever = vars(base).get("run_forever")
            if callable(run_forever) and not hasattr(run_forever, _MARK):
                Patch.make(base, "run_forever", _followed(run_forever, self._in_force), self._made)

    def _runs(self, loop: Any) -> BaseException | None:
        """Tell of a loop that says that it runs: one that we have not seen when it was about to.

        Where the warning is an error, asyncio's own `run_forever` lets it through, and is left as if it had not
        been called; another one's error is returned, to be reported as those of destructors are.
        """
        if not self._in_force():
            return None
        try:
            _tell(loop)
        except Exception as error:
            if getattr(type(loop), "run_forever", None) is not asyncio.BaseEventLoop.run_forever:
                return error
            # From 3.13 on it does not expect any at this point.
            getattr(loop, "_run_forever_cleanup", lambda: None)()
            raise
        return None


_MARK = "_aioxide_follows"


def _kinds_of_loops(kind: Any) -> Iterator[Any]:
    for each in type.__subclasses__(kind):
        yield each
        yield from _kinds_of_loops(each)


def _followed(run_forever: Any, in_force: Callable[[], bool]) -> Any:
    @functools.wraps(run_forever)
    def followed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if in_force():
            _tell(self)
        return run_forever(self, *args, **kwargs)

    setattr(followed, _MARK, True)
    return followed


def _tell(loop: Any) -> None:
    """Warn, the first time in this process."""
    pid, claim = os.getpid(), object()
    if isinstance(loop, EventLoop) or _told.setdefault(pid, claim) is not claim:
        return
    kind = type(loop)
    remedy = "make it by asyncio.new_event_loop(), or name loop_factory=aioxide.new_event_loop"
    if any(base.__module__.partition(".")[0] == "uvloop" for base in kind.__mro__):
        remedy = (
            "run it by python -m aioxide --replace-uvloop, or call aioxide.install(replace_uvloop=True) before "
            "uvloop is imported"
        )
    warnings.warn_explicit(
        f"a {kind.__module__}.{kind.__qualname__} runs in process {pid}, not an aioxide.EventLoop, although "
        f"aioxide is installed: the program asks for that loop by its name. To have it run on aioxide, {remedy}",
        RuntimeWarning,
        "<aioxide>",
        1,
        module="aioxide",
        registry=_registry,
    )
