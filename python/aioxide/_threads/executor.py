"""`aioxide.ThreadPoolExecutor`: the standard library's class with a native queue and native workers."""

from __future__ import annotations

import concurrent.futures.thread as _standard
import functools
import logging
import math
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _aioxide
from .._pools.checks import checked_seconds, checked_workers, optional_count
from .._pools.futures import PoolMeta, map_calls
from .._pools.stats import ThreadPoolStats
from .items import IdleSemaphore, WorkQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_T = TypeVar("_T")

StandardPool = _standard.ThreadPoolExecutor
_logger = logging.getLogger("concurrent.futures")


class ThreadPoolExecutor(_aioxide.ThreadPool, StandardPool, metaclass=PoolMeta):
    """A `concurrent.futures.ThreadPoolExecutor` whose queue and workers are native.

    It takes the arguments of the running version's class, behaves as that one does, and takes these as well:

    Args:
        max_workers: the most threads that it starts; by default what the running version's class takes.
        thread_name_prefix: what the names of its threads begin with.
        initializer: called at the start of each thread. If it raises, the pool is broken: calls that wait,
            and all later ones, raise `BrokenThreadPool`.
        initargs: arguments for it.
        idle_timeout: after how many seconds without a call a thread ends. None: never, as in the standard
            class.
        max_pending: how many calls may wait for a thread. When so many do, `submit()` blocks until one of
            them starts. None: any number. `submit()` never blocks a thread that runs an event loop, nor a
            worker of this pool, and `loop.run_in_executor()` never blocks: there the call waits its turn.
        spin: seconds that a waiting worker, or an aioxide loop or a `result()` that waits for a call of this pool,
            looks for it before it goes to sleep. 0: not at all. None: `AIOXIDE_SPIN`, which is in microseconds, or
            else 50 microseconds. Off if the process can use only one processor.
        context_options: what the `prepare_context()` of a subclass takes (3.14). This class's takes nothing.

    Raises:
        ValueError, OverflowError: a number is out of its range.
        TypeError: an argument is of the wrong kind.

    A subclass that starts its threads itself (that has its own `_adjust_thread_count`) gets the standard
    library's queue for it, and none of the keywords of ours. So does a pool to whose `_work_queue` another queue
    is assigned: from then on it works as the standard class, with that queue.
    """

    __module__ = "aioxide"  # where users import it from, and what pickles name
    _stands_for = StandardPool

    # What the standard class has; typeshed does not, or knows otherwise.
    _threads: Any
    _initializer: Any
    _initargs: Any
    _create_worker_context: Any
    _resolve_work_item_task: Any

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        idle_timeout: float | None = None,
        max_pending: int | None = None,
        spin: float | None = None,
        **context_options: Any,
    ) -> None:
        idle_timeout = checked_seconds("idle_timeout", idle_timeout)
        spin = checked_seconds("spin", spin)
        max_pending = optional_count("max_pending", max_pending)
        if max_workers is not None:
            max_workers = checked_workers(max_workers)
        self._keywords = [
            name
            for name, value in (("idle_timeout", idle_timeout), ("max_pending", max_pending), ("spin", spin))
            if value is not None
        ]
        # The running version's own checks, errors and defaults; what it makes for its queue is replaced.
        init: Any = super().__init__
        init(max_workers, thread_name_prefix, initializer, initargs, **context_options)
        if _starts_threads_itself(type(self)):
            if self._keywords:
                raise TypeError(
                    f"{type(self).__name__} starts its threads itself (_adjust_thread_count): idle_timeout, "
                    "max_pending and spin have no effect on them"
                )
            return
        queue = _aioxide.WorkQueue(_whole(self._max_workers), max_pending, idle_timeout, spin)
        self._initializer, self._initargs = initializer, initargs
        self._start_lock = threading.RLock()
        self._retired: set[threading.Thread] = set()
        self._started_threads = 0
        if _has_own_context(type(self)):
            self._resolve = self._resolve_work_item_task
        self.__dict__["_work_queue"] = WorkQueue(queue, self._resolve is not None)
        self._queue = queue
        _pools.add(self)

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_T]:
        """Return an iterator equivalent to `map(fn, *iterables)`, whose calls run in the threads.

        Args:
            fn: called with one item of each iterable.
            iterables: what is mapped over; as many calls as the shortest has items.
            timeout: seconds for the whole iteration. None: no limit.
            chunksize: ignored: it is for pools of processes.
            buffersize: how many calls are submitted ahead of the results that were yielded. None: all at
                once.

        Raises:
            TimeoutError: a result was not there in time.
            TypeError, ValueError: `buffersize` is no integer above 0, or `timeout` no number.

        Source: concurrent.futures.Executor.map (PEP 3148); `buffersize`: CPython 3.14.
        """
        return map_calls(self, fn, iterables, timeout, buffersize)

    map.__qualname__ = StandardPool.map.__qualname__  # which errors about the arguments name

    def stats(self) -> ThreadPoolStats:
        """Return what the pool does at this moment, and what it has done since it was made.

        Raises:
            TypeError: the pool has a queue of the user's, or starts its threads itself: nothing is counted.
        """
        queue = self._queue
        if queue is None:
            raise TypeError(
                f"{type(self).__name__} starts its threads itself, or has a queue of the user's: nothing is counted"
            )
        return ThreadPoolStats.from_native(len(queue.running()), queue.stats())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no calls any more.

        Args:
            wait: return only when all that is queued or runs is done, and the threads have ended.
            cancel_futures: cancel the calls that are queued.

        Source: concurrent.futures.Executor.shutdown (PEP 3148).
        """
        queue = self._queue
        if queue is None:
            super().shutdown(wait, cancel_futures=cancel_futures)
            threads = [*self.__dict__.get("_retired", ())]
        else:
            queue.shut_down(cancel_futures)
            with self._start_lock:
                threads = [*self._threads, *self._retired]
        if wait:
            for thread in threads:
                thread.join()

    # --------------------------------------------- what programs read and set, though it is the standard class's own

    @property
    def _work_queue(self) -> Any:
        return self.__dict__["_work_queue"]

    @_work_queue.setter
    def _work_queue(self, queue: Any) -> None:
        if self._queue is not None and queue is not self.__dict__["_work_queue"]:
            if self._keywords:
                raise TypeError(
                    "a queue of one's own cannot be assigned to a pool that was made with "
                    f"{', '.join(self._keywords)}: these are kept by the native queue alone"
                )
            # What is queued runs in the threads that there are, which end then; the standard class starts others.
            with self._start_lock:
                self._retired.update(self._threads)
                self._threads.clear()
            self._idle_semaphore = threading.Semaphore(0)
            self._shutdown, self._broken = self._shutdown, self._broken
            self._abandon_queue()
        self.__dict__["_work_queue"] = queue

    @property
    def _idle_semaphore(self) -> Any:
        queue = self._queue
        return self.__dict__["_idle_semaphore"] if queue is None else IdleSemaphore(queue)

    @_idle_semaphore.setter
    def _idle_semaphore(self, value: Any) -> None:
        self.__dict__["_idle_semaphore"] = value

    @property
    def _max_workers(self) -> int:
        most: int = self.__dict__["_max_workers"]
        return most

    @_max_workers.setter
    def _max_workers(self, value: int) -> None:
        queue = self._queue
        if queue is not None:
            queue.max_workers = _whole(value)
        self.__dict__["_max_workers"] = value

    @property
    def _shutdown(self) -> bool:
        queue = self._queue
        return bool(self.__dict__["_shutdown"] if queue is None else queue.is_shut_down)

    @_shutdown.setter
    def _shutdown(self, value: bool) -> None:
        queue = self._queue
        if queue is not None:
            queue.is_shut_down = value
        self.__dict__["_shutdown"] = value

    @property
    def _broken(self) -> Any:  # the reason, or False
        queue = self._queue
        return self.__dict__["_broken"] if queue is None else queue.broken

    @_broken.setter
    def _broken(self, value: Any) -> None:
        queue = self._queue
        if queue is not None and value:
            queue.break_down(getattr(self, "BROKEN", _standard.BrokenThreadPool), value)
        self.__dict__["_broken"] = value

    def _adjust_thread_count(self) -> None:
        """Called by the standard `submit`, in which a wrapper of it ends, after it has queued a work item."""
        if self._queue is None:
            super()._adjust_thread_count()
        else:
            self._provide_worker()

    def _start_worker(self) -> None:
        """Start a thread: called by the native part, which has counted it."""
        queue = self._queue
        context = self._create_worker_context() if self._resolve is not None else None
        with self._start_lock:
            name = f"{self._thread_name_prefix or self}_{self._started_threads}"
            worker = _Worker(self, context)
            thread: Any = threading.Thread(name=name, target=worker.run)
            try:
                # Until here, the native part takes it out of its count where this is interrupted.
                queue.begin()
                self._threads.add(thread)
                thread.start()
            except BaseException as error:
                # Interrupted in start(), which waits for the thread to come up, it may come up all the same.
                if isinstance(error, RuntimeError | MemoryError) or not thread._started.wait(1):
                    self._threads.discard(thread)
                    queue.withdraw()
                    raise
                self._note(thread)
                raise
            self._note(thread)

    def _note(self, thread: threading.Thread) -> None:
        self._started_threads += 1
        _workers[thread] = self._queue
        # Where programs look for the threads of all pools. What wakes them at exit is our own `_at_exit`.
        _standard._threads_queues[thread] = self._work_queue  # type: ignore[index]

    def _after_fork(self) -> None:
        """Forget the parent's threads, and the calls that they were to run."""
        self._start_lock = threading.RLock()
        self._threads.clear()
        self._retired.clear()
        self._queue.after_fork()


class _Worker:
    """What a thread of a pool does. It must not keep the pool alive: a pool that nobody has ends."""

    def __init__(self, pool: ThreadPoolExecutor, context: Any) -> None:
        self._queue = pool._queue
        self._threads, self._retired = pool._threads, pool._retired
        self._initializer, self._initargs = pool._initializer, pool._initargs
        self._context = context
        self._broken_class = getattr(pool, "BROKEN", _standard.BrokenThreadPool)

    def run(self) -> None:
        context = self._context
        try:
            if context is not None:
                context.initialize()
            elif self._initializer is not None:
                self._initializer(*self._initargs)
        except BaseException:
            _logger.critical("Exception in initializer:", exc_info=True)
            self._queue.withdraw()
            self._queue.break_down(self._broken_class, _BROKEN)
            return
        try:
            retires = self._queue.serve(None if context is None else context.run)
        finally:
            if context is not None:
                context.finalize()
        if retires:
            # It is on its way out, and shutdown() waits for it too.
            self._retired.difference_update([thread for thread in self._retired if not thread.is_alive()])
            self._retired.add(threading.current_thread())
            self._threads.discard(threading.current_thread())


def _whole(workers: float) -> int:
    """How many threads a number of workers means: the standard class starts one as long as there are fewer."""
    return math.ceil(min(max(workers, 0), _MOST_WORKERS))


_MOST_WORKERS = 2**32 - 1
_BROKEN = "A thread initializer failed, the thread pool is not usable anymore"


_STANDARD_WAYS = (StandardPool._adjust_thread_count, StandardPool._initializer_failed)


def _starts_threads_itself(cls: type[StandardPool]) -> bool:
    """Whether a subclass has its own way of starting threads, as those do that want daemon threads."""
    ways = (ThreadPoolExecutor._adjust_thread_count, *_STANDARD_WAYS)
    if StandardPool._adjust_thread_count not in ways or StandardPool._initializer_failed not in ways:
        return True  # somebody has put his own in the standard class
    return cls._adjust_thread_count not in ways or cls._initializer_failed not in ways


def _has_own_context(cls: type[StandardPool]) -> bool:
    """Whether a subclass has its own `prepare_context` (3.14)."""
    own = getattr(cls, "prepare_context", None)
    return own is not None and own.__func__ is not _PREPARE_CONTEXT.__func__


_PREPARE_CONTEXT: Any = getattr(StandardPool, "prepare_context", None)

# --------------------------------------------------------------------------- the end of the interpreter, and fork

# The pools that live, and the queue that each thread of theirs serves, also when its pool is gone.
_pools: weakref.WeakSet[ThreadPoolExecutor] = weakref.WeakSet()
_workers: weakref.WeakKeyDictionary[threading.Thread, _aioxide.WorkQueue] = weakref.WeakKeyDictionary()

# After how many seconds the end of the interpreter says what it waits for; then each time after three times as long.
_PATIENCE = 5.0


def _at_exit() -> None:
    """End the idle threads, and wait for the others: as the standard library, but not in silence."""
    _aioxide._end_pools()
    for pool in list(_pools):
        if pool._queue is not None:
            with pool._start_lock:  # a thread that is being started is in _workers then
                pool._queue.wake()
    workers = dict(_workers)
    for queue in set(workers.values()):
        queue.wake()
    begun = time.monotonic()
    report_at = begun + _PATIENCE
    for thread in workers:
        while thread.is_alive():
            thread.join(max(0.0, report_at - time.monotonic()))
            now = time.monotonic()
            if thread.is_alive() and now >= report_at:
                _report(workers, now - begun)
                report_at = now + 3 * (now - begun)


def _report(workers: dict[threading.Thread, _aioxide.WorkQueue], seconds: float) -> None:
    names = {thread.ident: thread.name for thread in workers}
    queues = set(workers.values())
    running = [
        f"{names.get(ident, ident)} runs {_name_of(function)} for {ran:.1f} s"
        for queue in queues
        for ident, function, ran in queue.running()
    ]
    queued = sum(queue.qsize() for queue in queues)
    _logger.warning(
        "The interpreter ends, and waits since %.1f s for calls in thread pools: %s%s",
        seconds,
        "; ".join(running) or "none runs",
        f"; {queued} more are queued" if queued else "",
    )


def _name_of(function: Any) -> str:
    inner = function
    while isinstance(inner, functools.partial):  # asyncio.to_thread calls Context.run through one
        inner = inner.args[0] if getattr(inner.func, "__name__", "") == "run" and inner.args else inner.func
    name = getattr(inner, "__qualname__", None)
    if name is None:
        return repr(inner)
    return f"{module}.{name}" if (module := getattr(inner, "__module__", None)) else str(name)


def _after_fork() -> None:
    _workers.clear()
    for pool in list(_pools):
        pool._after_fork()


# Run before the standard library's own hook, which was registered when its module was imported, and which joins
# threads of pools that start theirs themselves.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
os.register_at_fork(after_in_child=_after_fork)
_aioxide._register_pool(ThreadPoolExecutor, StandardPool, "_work_queue")
