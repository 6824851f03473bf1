"""What programs put in place of asyncio's insides, and a native loop does not call: said at once, not passed over."""

from __future__ import annotations

import asyncio
import operator
import select
import selectors
import sys
import time
import warnings
from asyncio import base_events, events, selector_events
from types import FunctionType
from typing import Any, NoReturn

# What asyncio's loop calls for each iteration or each wake-up, and ours does natively.
_STEPS = ("_run_once", "_process_events", "_read_from_self", "_write_to_self")

# What monitors wrap on asyncio's own class (New Relic: `BaseEventLoop.create_task`), and our class has anew.
_METHODS = (
    *("call_soon", "call_soon_threadsafe", "call_later", "call_at", "time"),
    *("create_task", "create_future", "run_in_executor"),
)

# The class itself: its name may lead elsewhere later.
_STOCK = asyncio.SelectorEventLoop

_OWN_NAMESPACES = (base_events.__dict__, selector_events.__dict__)


def _is_asyncios(name: str) -> bool:
    """Whether asyncio's loop has its own method: by namespace, as it may have been replaced before our import."""
    function = getattr(_STOCK, name)
    # A wrapper may pass for what it wraps.
    return type(function) is FunctionType and function.__globals__ in _OWN_NAMESPACES


# All at once, as each start of a loop looks: what they are, unless one had been replaced before.
_on_class = operator.attrgetter(*_STEPS, *_METHODS)
_AS_THEY_ARE = _on_class(_STOCK) if all(map(_is_asyncios, _STEPS + _METHODS)) else None

_PARTS: list[tuple[str, Any, str, Any]] = [
    ("asyncio.events.Handle", events, "Handle", events.Handle),
    ("asyncio.events.TimerHandle", events, "TimerHandle", events.TimerHandle),
    ("asyncio.base_events.time", base_events, "time", time),
    ("selectors.DefaultSelector", selectors, "DefaultSelector", selectors.DefaultSelector),
]
if hasattr(selectors, "EpollSelector"):  # see `refuse_greenlets`
    _Epoll = selectors.EpollSelector
    _PARTS.append(("selectors.EpollSelector.select()", _Epoll, "select", _Epoll.select))

_told: set[str] = set()


def refuse_greenlets() -> None:
    """Refuse to make or to run a loop where a library of greenlets has patched `select`.

    Such a library (gevent, eventlet) lets other greenlets run while one waits, by functions of its own in place of
    `select`'s; what it has none for, `select.epoll`, it takes away. A native wait would stop them all, and for a thread
    that is a greenlet of the same thread it would never end.

    Raises:
        RuntimeError: `select.epoll` was taken away.
    """
    if hasattr(select, "epoll"):
        return
    who = next((name for name in ("gevent", "eventlet") if name in sys.modules), "some library")
    raise RuntimeError(
        f"aioxide's event loop cannot run in a process whose select module {who} has monkey-patched: it waits "
        "natively, and no other greenlet would run meanwhile; use asyncio's own loop (asyncio.SelectorEventLoop()), or "
        "leave select and thread out of the patching (gevent.monkey.patch_all(select=False, thread=False))"
    )


def refuse_selector() -> NoReturn:
    """Refuse what is put in place of the selector, or of one of its methods.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        "aioxide's event loop has no selector to wait with: it waits natively, and would never call what is put in "
        "its place; for a clock of your own override time() and call_at() (docs/how-to/tests.md has one), else run "
        "this program on asyncio's own loop (asyncio.SelectorEventLoop())"
    )


def refuse_queue(name: str) -> NoReturn:
    """Refuse what is put in place of the ready queue or of the heap of timers.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        f"aioxide's event loop keeps what is to run natively: what is put in place of {name} would never be looked at; "
        "override call_soon(), call_at() or create_task(), or run this program on asyncio's own loop"
    )


def warn_of_steps(loop: asyncio.AbstractEventLoop, own: type) -> None:
    """Warn, once for each, of what `loop`, its class or asyncio has got that is not called; `own` is our class.

    Warns:
        RuntimeWarning: names it.
    """
    kind, instance = type(loop), loop.__dict__
    found = [f"{name}() of this event loop" for name in _STEPS if name in instance]
    for name in _STEPS:
        if kind is not own and getattr(kind, name) is not getattr(own, name):
            found.append(f"{kind.__qualname__}.{name}()")
    found += [what for what, owner, name, known in _PARTS if getattr(owner, name, None) is not known]
    methods = []
    if _on_class(_STOCK) != _AS_THEY_ARE:
        found += [f"asyncio's BaseEventLoop.{name}()" for name in _STEPS if not _is_asyncios(name)]
        methods = [f"asyncio's BaseEventLoop.{name}()" for name in _METHODS if not _is_asyncios(name)]
    if found:
        _tell(found, _NATIVE)
    if methods:
        _tell(methods, _OWN_METHOD)


_NATIVE = (
    "does that part natively and will not call it; override or replace call_soon(), call_at(), time() or "
    "asyncio.Handle._run, which it does call"
)
_OWN_METHOD = "has a method of its own in its place; replace that of aioxide.EventLoop as well"


def _tell(found: list[str], why: str) -> None:
    for what in found:
        if what in _told:
            continue
        _told.add(what)
        warnings.warn(
            f"{what} was replaced, but aioxide's event loop {why}, or run this program on asyncio's own loop "
            "(asyncio.SelectorEventLoop())",
            RuntimeWarning,
            stacklevel=5,
        )
