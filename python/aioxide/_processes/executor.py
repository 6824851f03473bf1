"""`aioxide.ProcessPoolExecutor`: the standard one's interface and behaviour; better behaviour by keyword."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import threading
from concurrent.futures import process as stdlib
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

import _aioxide_worker

from .. import _aioxide
from .._pools.checks import (
    checked_arguments,
    checked_callable,
    checked_chunksize,
    checked_count,
    checked_iterable,
    checked_seconds,
    checked_workers,
    optional_count,
    refuse,
    shown,
)
from .._pools.futures import PoolFuture, PoolMeta, map_calls, passes_for_its_base
from .manager import Manager
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from contextvars import Context, ContextVar
    from multiprocessing.context import BaseContext

    from .._pools.stats import ProcessPoolStats, WorkerInfo

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _ManagerThread:
    """What stands where the standard pool has its manager thread: to wait for the pool's end."""

    name = "aioxide-pools"
    daemon = True

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def join(self, timeout: float | None = None) -> None:
        """Wait until the pool has ended, for at most `timeout` seconds."""
        self._manager.join(timeout)

    def is_alive(self) -> bool:
        """Return True until the pool has ended."""
        return not self._manager.finished.is_set()


class _CallQueue:
    """What stands where the standard pool has its queue of calls: there is none to join."""

    def close(self) -> None:
        """Do nothing."""

    def join_thread(self) -> None:
        """Do nothing."""


@passes_for_its_base
class _RunningFuture(PoolFuture[_T]):
    """The future of a pool with `cancel_running=True`: `cancel()` stops the call too."""

    _stop: Callable[[Any], bool] | None = None

    def cancel(self) -> bool:
        """Cancel the call, if need be while it runs; False if it has finished."""
        return super().cancel() or (self._stop is not None and self._stop(self))


class ProcessPoolExecutor(stdlib.ProcessPoolExecutor, metaclass=PoolMeta):
    """A pool of worker processes: `concurrent.futures.ProcessPoolExecutor`, faster, and robust where asked to be.

    Args:
        max_workers: how many processes at most; the number of processors by default.
        mp_context: a `multiprocessing` context, which says how workers are started; the interpreter's default by
            default, but a context that can start workers later where a keyword below needs one.
        initializer: called with `initargs` in each worker first. If it raises, the pool is broken.
        initargs: its arguments.
        max_tasks_per_child: calls after which a worker is replaced. The next one starts before it ends.
        on_worker_death: "break": as in the standard pool, the death of a worker breaks the pool, and fails all calls.
            "respawn": only the call that ran in it fails, with `WorkerDied`; the rest goes on, with a new worker.
            Workers that die again and again without finishing a call break the pool all the same.
        cancel_running: cancelling a future stops its call even while it runs: an exception (`TaskCancelled`) is
            raised in it, and if it has not ended two seconds later its process is killed and replaced. Cancelling the
            asyncio task that awaits it does the same.
        idle_timeout: seconds after which a worker that has nothing to do ends; it is started again when needed.
        max_pending: how many calls may wait for a worker. When so many do, `submit()` blocks until one is sent to one.
            None: any number. In a thread that runs an event loop nothing blocks, `run_in_executor` neither: what holds
            a coroutine back is that it awaits its calls. Nor in a done callback of this pool's.
        max_rss: bytes of resident memory above which a worker is replaced after the call that it runs.

    Raises:
        OverflowError: a number is out of its range.
        ValueError: an argument is out of its range, or `max_tasks_per_child`, `idle_timeout` or `max_rss` is combined
            with the start method "fork", which cannot start workers beside threads.
        TypeError: an argument is of the wrong type.
    """

    __module__ = "aioxide"  # where users import it from, and what pickles name
    _stands_for = stdlib.ProcessPoolExecutor

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        on_worker_death: Literal["break", "respawn"] = "break",
        cancel_running: bool = False,
        idle_timeout: float | None = None,
        max_pending: int | None = None,
        max_rss: int | None = None,
    ) -> None:
        # The inherited `__init__` makes queues, locks and a wake-up pipe: none of it is used here.
        if max_workers is None:
            max_workers = getattr(os, "process_cpu_count", os.cpu_count)() or 1
        max_workers = checked_count(
            "max_workers", checked_workers(max_workers), "an integer or None", most=_MOST_WORKERS
        )
        _check_context(mp_context)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if not isinstance(on_worker_death, str) or on_worker_death not in ("break", "respawn"):
            raise ValueError(f'on_worker_death must be "break" or "respawn", not {shown(on_worker_death)}')
        _check_tasks_per_child(max_tasks_per_child)
        max_pending = optional_count("max_pending", max_pending)
        max_rss = optional_count("max_rss", max_rss, "an integer (bytes)")
        idle_timeout = checked_seconds("idle_timeout", idle_timeout, above_zero=True)
        replaced = {
            "max_tasks_per_child": max_tasks_per_child,
            "idle_timeout": idle_timeout,
            "max_rss": max_rss,
        }
        context, forks = _context_for(mp_context, [name for name in replaced if replaced[name] is not None])
        # The manager goes by these, weakly: they end with this object.
        self._settings = Settings(
            max_workers,
            context,
            initializer,
            initargs,
            max_tasks_per_child,
            idle_timeout,
            max_pending,
            max_rss,
            forks,
            on_worker_death == "respawn",
        )
        # Under the standard class's names: what programs read there.
        self._max_workers = max_workers
        self._mp_context = context
        self._safe_to_dynamically_spawn_children = not forks
        self._initializer: Any = initializer
        self._initargs = initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._cancel_running = bool(cancel_running)
        self._broken: Any = False
        self._shutdown_thread = False
        self._shutdown_lock = threading.Lock()
        self._executor_manager_thread: Any = None
        self._call_queue: Any = None
        self._manager = Manager(self._settings, self._launched, self._told_broken)
        self._pool = self._manager.pool
        self._submit = self._pool.submit
        self._processes: Any = self._manager.processes

    def _launched(self) -> None:
        if self._executor_manager_thread is None and not self._shutdown_thread:
            self._executor_manager_thread = _ManagerThread(self._manager)
            self._call_queue = _CallQueue()

    def _told_broken(self, text: str) -> None:
        self._broken = text
        self._shutdown_thread = True

    # ---------------------------------------------------------------------------------------------------------- calls

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> PoolFuture[_T]:
        """Have `fn(*args, **kwargs)` called in a worker; return its future, which can be awaited too.

        Raises:
            BrokenProcessPool: the pool is broken.
            RuntimeError: it is shut down.
        """
        if _aioxide._submit_is_wrapped(ProcessPoolExecutor):
            # It comes back by `_pending_work_items`.
            return super().submit(fn, *args, **kwargs)  # type: ignore[return-value]
        return self._submit_own(fn, args, kwargs)

    def _submit_own(
        self, fn: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> PoolFuture[_T]:
        if self._cancel_running:
            future: _RunningFuture[_T] = _RunningFuture()
            future._stop = self._pool.stop
            return self._submit(future, fn, args, kwargs)  # type: ignore[no-any-return]
        return self._submit(None, fn, args, kwargs)  # type: ignore[no-any-return]

    # What the standard `submit` does with a call.

    _queue_count = 0

    @property
    def _pending_work_items(self) -> Any:  # type: ignore[override]
        from .items import PendingItems

        return PendingItems(self._submit_own)

    @property
    def _force_shutting_down(self) -> bool:
        return self._manager.forced

    @_force_shutting_down.setter
    def _force_shutting_down(self, value: bool) -> None:
        self._manager.forced = value

    @property
    def _work_ids(self) -> Any:  # type: ignore[override]
        from .items import Ignored

        return Ignored()

    _executor_manager_thread_wakeup = _work_ids

    def _adjust_process_count(self) -> None:
        """Do nothing: workers are started as calls come."""

    def _start_executor_manager_thread(self) -> None:
        """Do nothing: there is none."""

    def _run_for_loop(self, loop: Any, func: Callable[..., _T], args: tuple[Any, ...]) -> asyncio.Future[_T]:
        future = self._pool.run_for_loop(loop, func, args)
        if future is None:
            return asyncio.wrap_future(self.submit(func, *args), loop=loop)
        if self._cancel_running:
            future.add_done_callback(self._pool.stop_cancelled)
        return future  # type: ignore[no-any-return]

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_T]:
        """Return an iterator over `map(fn, *iterables)`, computed by the workers.

        Args:
            fn: called with one item of each iterable.
            iterables: what is mapped over; as many calls as the shortest has items.
            timeout: seconds that the whole iteration may take.
            chunksize: calls that are sent as one.
            buffersize: calls (or chunks) that are submitted ahead of the results that were taken; all by default.

        Raises:
            TimeoutError: a result was not there in time.
            ValueError: `chunksize` or `buffersize` is less than 1.
        """
        chunksize = checked_chunksize(chunksize)
        if chunksize == 1:
            return map_calls(self, fn, iterables, timeout, buffersize)
        items = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(items, chunksize)), [])
        call = partial(_aioxide_worker.call_chunk, fn)
        lists = map_calls(self, call, (chunks,), timeout, buffersize)
        return _flattened(lists)

    def schedule(
        self,
        fn: Callable[..., _T],
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        context: Context | Iterable[ContextVar[Any]] | None = None,
    ) -> PoolFuture[_T]:
        """Have `fn(*args, **kwargs)` called in a worker; return its future, which can be awaited too.

        Args:
            fn: the function.
            args: its positional arguments.
            kwargs: its keyword arguments.
            timeout: seconds that it may run, counted from when it begins. Then it is stopped, if need be by killing
                its process, and its future gets a `TimeoutError`.
            retries: how often it is tried again when it raises, runs out of time or loses its worker.
            context: a `contextvars.Context`, or an iterable of `ContextVar`s that stands for their present values:
                the call runs with these set. Each variable has to be an attribute of a module.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: `timeout` is 0 or negative, `retries` is negative, or a context variable cannot be found by
                name.
        """
        from .schedule import schedule

        call = checked_callable("fn", fn), *checked_arguments(args, kwargs)
        return schedule(self.submit, self._manager, *call, timeout, retries, context)

    def map_progress(
        self, fn: Callable[..., _T], *iterables: Iterable[Any], ordered: bool = False, chunksize: int = 1
    ) -> AsyncIterator[tuple[int, int, _T]]:
        """Return an async iterator of `(done, total, result)`: how many calls of how many are done, and one's result.

        Args:
            fn: called with one item of each iterable.
            iterables: what is mapped over; as many calls as the shortest has items. They are read to the end first, as
                the total is part of what is told.
            ordered: results come in the order of the items; as they are done, by default.
            chunksize: calls that are sent as one; their results come together.

        Raises:
            TypeError: `fn` cannot be called, one of `iterables` not be iterated over, or `chunksize` is no integer.
            ValueError: `chunksize` is less than 1.
            What `fn` raises, when its result would have been next; calls that have not begun are cancelled then. With a
                `chunksize`, the first that is raised stands for the whole chunk, as in `map()`.
        """
        from .schedule import map_progress

        checked_callable("fn", fn)
        for each in iterables:
            checked_iterable("iterables", each, "iterables of the function's arguments")
        chunksize = checked_count("chunksize", chunksize)
        return map_progress(self, self._max_workers, fn, iterables, ordered, chunksize)

    def share(self, value: _T) -> Any:
        """Return a handle of `value`: an argument that arrives in the workers as the value itself, without a copy.

        It is pickled once, here; each worker makes one object of it, whose buffers (of numpy arrays, say) are read-only
        views of the same memory. The memory goes when the handle and all that was made of it are gone.

        Args:
            value: what pickle can send: arrays, data frames, models, and containers of such things.

        Raises:
            MemoryError: there is no room for it.
            OSError: it is larger than a file may be in this process (`ulimit -f`).
            TypeError: pickle cannot send it: a lambda, an open file, a lock.
        """
        from ..shared import Handle

        return Handle(value)

    # ----------------------------------------------------------------------------------------------------------- ends

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the workers when those that there are have finished.

        Args:
            wait: return only when the pool has ended.
            cancel_futures: cancel the calls that have not been handed to a worker.

        Raises:
            RuntimeError: a done callback of one of the pool's own futures asks it to wait. The pool is shut down all
                the same, as in the standard library.
        """
        with self._shutdown_lock:
            self._shutdown_thread = True
            self._pool.begin_shutdown(cancel_futures)
        if wait:
            self._manager.join()
        else:
            _aioxide._whole(self._manager._stay_served)
        self._executor_manager_thread = None
        self._call_queue = None
        self._processes = None

    def _force_shutdown(self, operation: str) -> None:
        if operation not in (_TERMINATE, _KILL):
            raise ValueError(f"Unsupported operation: {operation!r}")
        with self._shutdown_lock:
            self._force_shutting_down = True
        processes = dict(self._processes or {})
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes.values():
            try:
                if process.is_alive():
                    (process.terminate if operation == _TERMINATE else process.kill)()
            except (ValueError, ProcessLookupError):
                continue

    def terminate_workers(self) -> None:
        """Send SIGTERM to every worker, and shut down: calls that are not finished fail.

        Raises nothing: a worker that has ended by itself is left out.
        """
        self._force_shutdown(operation=_TERMINATE)

    def kill_workers(self) -> None:
        """Send SIGKILL to every worker, and shut down: calls that are not finished fail.

        Raises nothing: a worker that has ended by itself is left out.
        """
        self._force_shutdown(operation=_KILL)

    # ---------------------------------------------------------------------------------------------------------- looks

    def stats(self) -> ProcessPoolStats:
        """Return what the pool does at this moment, and what it has done since it was made."""
        # Here, as a pool must start fast, and making dataclasses takes milliseconds.
        from .._pools.stats import Histogram, ProcessPoolStats

        counts = self._pool.counts()
        workers = self.workers()
        busy = sum(worker.calls > 0 for worker in workers)
        return ProcessPoolStats(
            queued=counts.queued,
            running=counts.running,
            busy=busy,
            idle=len(workers) - busy,
            workers=len(workers),
            submitted=counts.submitted,
            done=counts.done,
            failed=counts.failed,
            cancelled=counts.cancelled,
            restarts=self._manager.restarts,
            rss=sum(worker.rss for worker in workers),
            shared_bytes=counts.shared_bytes,
            wait=Histogram.from_native(counts.wait),
            run=Histogram.from_native(counts.run),
        )

    def workers(self) -> list[WorkerInfo]:
        """Return what there is to know of each worker process."""
        from .._pools.stats import WorkerInfo

        return [
            WorkerInfo(pid, rss, calls, done, running, idle, ready)
            for _key, pid, calls, done, running, idle, rss, ready in self._pool.workers()
        ]


_TERMINATE: str = getattr(stdlib, "_TERMINATE", "terminate")
_KILL: str = getattr(stdlib, "_KILL", "kill")

_aioxide._register_pool(ProcessPoolExecutor, stdlib.ProcessPoolExecutor, "_pending_work_items")


# More processes than any system has.
_MOST_WORKERS = 2**31 - 1


def _context_for(context: Any, given: list[str]) -> tuple[Any, bool]:
    """The context that workers are started by, and whether that forks: the interpreter's own if None is asked for, but
    where workers must be started later one that can.
    """
    if context is None:
        context = multiprocessing.get_context("spawn" if "max_tasks_per_child" in given else None)
        if given and context.get_start_method() == "fork":
            context = multiprocessing.get_context("spawn")
    method = context.get_start_method(allow_none=False)
    if given and method == "fork":
        raise ValueError(
            f"{given[0]} is incompatible with the 'fork' multiprocessing start method; "
            "supply a different mp_context."
        )
    if method == "forkserver":
        _preload_worker(context)
    return context, method == "fork"


def _check_context(context: Any) -> None:
    """Refuse what is no context of multiprocessing, nor of a package that is like it (torch.multiprocessing)."""
    if context is None or callable(getattr(context, "get_start_method", None)):
        return
    method = context if context in multiprocessing.get_all_start_methods() else "spawn"
    wanted = f"a context (multiprocessing.get_context({method!r})) or None"
    refuse("mp_context", wanted, context, ValueError if isinstance(context, str) else TypeError)


def _check_tasks_per_child(value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, int):
        raise TypeError("max_tasks_per_child must be an integer")
    if value <= 0:
        raise ValueError("max_tasks_per_child must be >= 1")
    checked_count("max_tasks_per_child", int(value))


def _preload_worker(context: Any) -> None:
    """Have the context's fork server import what every worker needs, beside what the user wants of it."""
    from importlib import import_module

    # Packages that have copied multiprocessing (`multiprocess`) have a server of their own.
    package = getattr(getattr(context, "reducer", None), "__package__", None) or "multiprocessing"
    forkserver = import_module(f"{package}.forkserver")
    modules = getattr(forkserver._forkserver, "_preload_modules", None)
    if isinstance(modules, list) and _aioxide_worker.__name__ not in modules:
        modules.append(_aioxide_worker.__name__)


def _flattened(lists: Iterator[list[_T]]) -> Iterator[_T]:
    for results in lists:
        results.reverse()
        while results:
            yield results.pop()
