"""Telling the user when a loop that is not ours runs although aioxide is installed."""

import asyncio
import functools
import importlib.machinery
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from .. import _aioxide
from .._loop import EventLoop
from .patch import Patch

# For Python's own rule that a warning is shown once: where `installed()` blocks follow each other.
_registry: dict[Any, Any] = {}
_told: dict[int, object] = {}


class Watch:
    """Sees every loop that is not ours when it begins to run, until `undo()`.

    A loop tells asyncio that it runs by `_set_running_loop`, in whatever language it is written and whenever it has
    taken that function; the native core calls us then. But most loops don't expect an exception there: where warnings
    are errors, they would be left half started. So what classes of loops have as their `run_forever` and
    `run_until_complete` is wrapped too: these are the places to raise. Both happen when a loop starts; nothing that
    happens per callback gets slower. Such classes are those derived from `AbstractEventLoop`, and those in C that
    derive from nothing.

    Args:
        in_force: whether aioxide is installed.
    """

    def __init__(self, in_force: Callable[[], bool]) -> None:
        _told.clear()
        self._in_force = in_force
        self._made: list[Any] = []
        _aioxide._watch_running_loops(self._runs)
        for owner, name, value in _ways_to_new_classes(self._follow):
            Patch.make(owner, name, value, self._made)
        for kind in _kinds_of_loops():
            self._follow(kind)

    def undo(self) -> None:
        """Put back what was wrapped."""
        while self._made:
            self._made[-1].undo()
            self._made.pop()
        _aioxide._watch_running_loops(None)

    def _follow(self, kind: type) -> None:
        """Wrap what runs a loop of this class, where it or one that it is derived from has a way of its own."""
        for base in kind.__mro__:
            if (
                base in EventLoop.__mro__
                or issubclass(base, EventLoop)
                or base.__module__.startswith("asyncio.")
            ):
                continue
            for name in ("run_forever", "run_until_complete"):
                run = vars(base).get(name)
                if callable(run) and not hasattr(run, _MARK):
                    Patch.make(base, name, _followed(run, self._in_force), self._made)

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


def _ways_to_new_classes(follow: Callable[[type], None]) -> Iterator[tuple[Any, str, Any]]:
    """What to replace so that `follow` is called with classes of loops that are made later."""

    def __init_subclass__(cls: Any, /, **kwargs: Any) -> None:
        super(asyncio.AbstractEventLoop, cls).__init_subclass__(**kwargs)
        follow(cls)

    yield asyncio.AbstractEventLoop, "__init_subclass__", classmethod(__init_subclass__)
    loader = importlib.machinery.ExtensionFileLoader
    standard = loader.exec_module

    @functools.wraps(standard)
    def exec_module(self: Any, module: Any) -> None:
        standard(self, module)
        for each in list(vars(module).values()):
            if _is_loop(each):
                follow(each)

    yield loader, "exec_module", exec_module


def _kinds_of_loops() -> Iterator[type]:
    yield from filter(_is_loop, type.__subclasses__(object))
    kinds: list[type] = [asyncio.AbstractEventLoop]
    while kinds:
        kind = kinds.pop()
        yield kind
        kinds += type.__subclasses__(kind)


def _is_loop(value: object) -> bool:
    # By no attribute: asking for one may run code of a metaclass's.
    return isinstance(value, type) and "run_forever" in type.__getattribute__(value, "__dict__")


def _followed(run: Any, in_force: Callable[[], bool]) -> Any:
    @functools.wraps(run)
    def followed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if in_force():
            _tell(self)
        return run(self, *args, **kwargs)

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
