"""What programs put in place of asyncio's insides, and a native loop does not call: said at once, not passed over."""

from __future__ import annotations

import asyncio
import select
import sys
import warnings
from asyncio import base_events, events, selector_events
from typing import NoReturn

# What asyncio's loop calls for each iteration or each wake-up, and ours does natively.
_STEPS = ("_run_once", "_process_events", "_read_from_self", "_write_to_self")

# The class itself: its name may lead elsewhere later.
_STOCK = asyncio.SelectorEventLoop

_OWN_NAMESPACES = (base_events.__dict__, selector_events.__dict__)

_HANDLES = {name: getattr(events, name) for name in ("Handle", "TimerHandle")}

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
        "its place; for a clock of your own override time() and call_at() (docs/ways-in.md has one), else run this "
        "program on asyncio's own loop (asyncio.SelectorEventLoop())"
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
        # By its namespace: it may have been replaced before this module was imported.
        if getattr(getattr(_STOCK, name), "__globals__", None) not in _OWN_NAMESPACES:
            found.append(f"asyncio's BaseEventLoop.{name}()")
    found += [
        f"asyncio.events.{name}" for name, known in _HANDLES.items() if getattr(events, name) is not known
    ]
    if found:
        _tell(found)


def _tell(found: list[str]) -> None:
    for what in found:
        if what in _told:
            continue
        _told.add(what)
        warnings.warn(
            f"{what} was replaced, but aioxide's event loop does that part natively and will not call it; override or "
            "replace call_soon(), call_at(), time() or asyncio.Handle._run, which it does call, or run this program on "
            "asyncio's own loop (asyncio.SelectorEventLoop())",
            RuntimeWarning,
            stacklevel=5,
        )
