"""`EventLoopPolicy`, and the `get_event_loop` of `import aioxide as asyncio`."""

import asyncio
import sys
import threading
import warnings
from typing import Any

from .._loop import EventLoop

# The running CPython's default policy, under the name that can be looked up without asyncio's
# DeprecationWarning: child watchers, per-thread loops and what get_event_loop() does without one stay exactly
# its own.
_DefaultPolicy: Any = (
    getattr(asyncio.unix_events, "_DefaultEventLoopPolicy", None)  # 3.14 and newer
    or asyncio.DefaultEventLoopPolicy
)


class EventLoopPolicy(_DefaultPolicy):  # type: ignore[misc]
    """The default policy of the running CPython, whose loops are `aioxide.EventLoop`s.

    `asyncio.set_event_loop_policy(aioxide.EventLoopPolicy())`. CPython deprecates policies from 3.14 on
    (gh-127949), and so does the attribute `aioxide.EventLoopPolicy`; `aioxide.run` and `aioxide.install` need
    none.
    """

    __module__ = "aioxide"  # where users import it from
    _loop_factory = EventLoop


def get_event_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop or the thread's current one, as `asyncio.get_event_loop` does.

    Where asyncio's default policy would make the main thread its first loop (before 3.14), that loop is ours.
    A policy that somebody set decides for itself.

    Raises:
        RuntimeError: there is none, and none is made.
    """
    if sys.version_info < (3, 14) and asyncio._get_running_loop() is None:
        policy = asyncio.get_event_loop_policy()
        if type(policy) is _DefaultPolicy and _would_make_a_loop(policy):
            if sys.version_info >= (3, 12):
                # As asyncio does from 3.12 on, whose own warning would point at this line in place of the
                # caller's.
                warnings.warn("There is no current event loop", DeprecationWarning, stacklevel=2)
            policy.set_event_loop(EventLoop())
    return asyncio.get_event_loop()


def _would_make_a_loop(policy: Any) -> bool:
    """Whether the default policy makes a loop when asked for one: in the main thread, until one was set."""
    local = policy._local
    return (
        local._loop is None
        and not local._set_called
        and threading.current_thread() is threading.main_thread()
    )
