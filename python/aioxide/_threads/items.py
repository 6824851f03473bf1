"""`pool._work_queue` of a thread pool, as programs know it of the standard library's, over the native queue.

It is private there, and yet used: to read its length, to drain it (google-cloud-pubsub), and by the standard `submit`,
in which a wrapper of that one (a tracer's) ends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import concurrent.futures.thread as _standard
import queue
import sys
import threading
from typing import TYPE_CHECKING, Any

from .._pools.checks import checked_seconds
from .._pools.futures import AwaitableFuture, cancel_and_tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from .. import _aioxide


class WorkQueue:
    """A look at a pool's native queue with the methods of the `queue.SimpleQueue` that the standard pool has.

    Its items are the standard library's work items of the running version, made when they are taken out.
    """

    def __init__(self, native: _aioxide.WorkQueue, resolved: bool) -> None:
        self._native = native
        self._resolved = resolved  # functions in it are tasks of the pool's own worker context (3.14)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put a work item in; None wakes a thread that waits, to look whether it should end.

        Raises:
            TypeError: it is neither.
            RuntimeError: the pool is shut down.
        """
        if item is None:
            self._native.put_none()
            return
        if not callable(getattr(item, "run", None)):
            raise TypeError(
                "the queue of a ThreadPoolExecutor takes None and work items, which have a method run(), "
                f"not {type(item).__name__}: use submit()"
            )
        future = getattr(item, "future", None)
        if type(future) is concurrent.futures.Future:
            future.__class__ = AwaitableFuture  # as every future of our pools can be awaited
        self._native.put_item(item, _function_of(item))

    def put_nowait(self, item: Any) -> None:
        """`put(item)`."""
        self.put(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the next work item out: nobody else runs it then. None where `put(None)` has put that, and, for a
        thread that waits, when the pool is over.

        Args:
            block: wait for one.
            timeout: for how many seconds at most. None: for ever.

        Raises:
            queue.Empty: there was none.
            TypeError, ValueError: `timeout` is no number, or negative.
        """
        seconds = checked_seconds("timeout", timeout) if block else 0.0
        taken: Any = self._native.take(seconds)
        if taken is False:
            raise queue.Empty
        if taken is None:
            return None
        return taken[0] if len(taken) == 1 else self._made_of(*taken)

    def get_nowait(self) -> Any:
        """`get(block=False)`."""
        return self.get(block=False)

    def qsize(self) -> int:
        """Return how many calls are queued."""
        return self._native.qsize()

    def empty(self) -> bool:
        """Return True if no call is queued."""
        return self._native.empty()

    def _made_of(self, future: Any, is_of_loop: bool, *call: Any) -> Any:
        if is_of_loop:
            future = _standing_for(future)
        if sys.version_info >= (3, 14):
            return _standard._WorkItem(future, call[0] if self._resolved else call)
        return _standard._WorkItem(future, *call)


class IdleSemaphore(threading.Semaphore):
    """What stands where the standard pool counts its idle threads: `_value` is their number, and nothing is counted
    by taking and giving back.
    """

    def __init__(self, native: _aioxide.WorkQueue) -> None:
        self._native = native

    @property
    def _value(self) -> int:  # type: ignore[override]
        return self._native.stats().idle

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Return True if a thread is idle."""
        return self._value > 0

    __enter__ = acquire

    def release(self, n: int = 1) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        return f"<idle threads of an aioxide.ThreadPoolExecutor: {self._value}>"


def _standing_for(waiting: asyncio.Future[Any]) -> concurrent.futures.Future[Any]:
    """A future for the taker of a call that a loop waits for: the loop's is finished with it, and cancels it."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    asyncio.futures._chain_future(future, waiting)  # type: ignore[attr-defined]
    return future


def _function_of(item: Any) -> Callable[..., Any]:
    """What the item calls, to be told of it; itself where that is not known."""
    task = getattr(item, "task", None)
    function = task[0] if isinstance(task, tuple) and task else getattr(item, "fn", None)
    return function if callable(function) else item  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------- called by the native part

if sys.version_info >= (3, 14):
    _PLAIN = _standard.WorkerContext(None, ())  # type: ignore[call-overload,unused-ignore]

    def _run(item: Any, run_of_context: Any) -> None:
        item.run(_PLAIN if run_of_context is None else run_of_context.__self__)

else:

    def _run(item: Any, run_of_context: Any) -> None:
        item.run()


def run(item: Any, run_of_context: Any) -> bool | None:
    """Have an item run; return whether it has raised, and None if it was cancelled."""
    _run(item, run_of_context)
    future = _future_of(item)
    if future is None or not future.done():
        return False
    return None if future.cancelled() else future.exception() is not None


def refuse(item: Any, exception: BaseException | None) -> None:
    """End an item's future, with an exception or cancelled."""
    future = _future_of(item)
    if future is None:
        return
    if exception is not None:
        future.set_exception(exception)
    else:
        cancel_and_tell(future)


def leave_behind(item: Any) -> None:
    """In a child of fork: nobody may wait for an item of the parent's. Its lock may be held by a thread that is not
    there.
    """
    future = _future_of(item)
    if future is not None:
        future._state = "CANCELLED_AND_NOTIFIED"


def _future_of(item: Any) -> concurrent.futures.Future[Any] | None:
    future = getattr(item, "future", None)
    return future if isinstance(future, concurrent.futures.Future) else None
