"""`ProcessPoolExecutor.schedule()`: time limits, retries, context variables; and `map_progress()`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import _aioxide_worker

from .. import _aioxide
from .._pools.checks import checked_count, checked_iterable, checked_seconds, refuse_item
from .._pools.futures import PoolFuture, passes_for_its_base
from .errors import WorkerDied
from .items import inner_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from .timers import Timers

_T = TypeVar("_T")

# Calls that `map_progress` has in the pool at a time, for each worker.
_AHEAD = 64


def schedule(
    submit: Callable[..., PoolFuture[Any]],
    timers: Timers,
    fn: Callable[..., _T],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    timeout: float | None,
    retries: int,
    context: Any,
) -> PoolFuture[_T]:
    """See `ProcessPoolExecutor.schedule`; `submit` is the pool's, and `timers` those of its manager."""
    timeout = checked_seconds("timeout", timeout, above_zero=True)
    retries = checked_count("retries", retries, least=0)
    if context is not None:
        # The function stays a part of the function, as cloudpickle is asked for that alone.
        fn = partial(_aioxide_worker.call_in_context, _named_values(context), fn)
        args, kwargs = (args, kwargs), {}
    if timeout is None and retries == 0:
        return submit(fn, *args, **kwargs)
    call = _Call(timers, partial(submit, fn, *args, **kwargs), timeout, retries)
    call.attempt()
    return call.outcome


@passes_for_its_base
class _ScheduledFuture(PoolFuture[_T]):
    _call: _Call | None = None

    def cancel(self) -> bool:
        """Cancel the call: the attempt that is under way too, as the pool's `cancel_running` has it."""
        call = self._call
        if call is None or self.done():
            return super().cancel()
        if call.inner is not None and not call.inner.cancel() and call.inner.running():
            return False
        return super().cancel()


class _Call:
    """One call with a time limit or retries: its attempts, and the future for what becomes of it."""

    def __init__(
        self, timers: Timers, submit: Callable[[], Any], timeout: float | None, retries: int
    ) -> None:
        self.outcome: _ScheduledFuture[Any] = _ScheduledFuture()
        self.outcome._call = self
        self.inner: Any = None
        self._timers = timers
        self._submit: Callable[[], Any] | None = submit
        self._timeout = timeout
        self._retries = retries
        self._too_late = False
        # The last attempt for which another was counted.
        self._failed: Any = None
        # The attempt that has its callback.
        self._watched: Any = None

    def attempt(self) -> None:
        """Submit it (once more)."""
        if self._submit is None:
            return
        self._too_late = False
        self.inner = inner_of(self._submit())
        self._watch(self.inner)

    def _watch(self, inner: Any) -> None:
        # By its own name: it may be done, and all of this over, as soon as it has its callback.
        if self._timeout is not None and not inner.done():
            self._look_later(inner, self._timeout)
        # In one piece: an interrupt of the thread that serves the pool must not leave the outcome open.
        inner.add_done_callback(partial(_aioxide._whole, self._done))
        if self.inner is inner:
            self._watched = inner

    def _look_later(self, inner: Any, seconds: float) -> None:
        self._timers.call_later(seconds, lambda: self._look(inner))

    def _look(self, inner: Any) -> None:
        if inner is not self.inner or inner.done() or self._timeout is None:
            return
        where = self._timers.pool.find(inner)
        if where is None:
            return
        ran = where[2]
        # What has not begun by now cannot be late before that much time has passed again.
        left = self._timeout if ran is None else self._timeout - ran * 1e-9
        if left > 0:
            self._look_later(inner, left)
            return
        self._too_late = True
        self._timers.pool.stop(inner)

    def _done(self, inner: Any) -> None:
        if inner is not self.inner:
            # It was tried again; an interrupt may have come right behind that.
            if self.inner is not None and self._watched is not self.inner:
                self._watch(self.inner)
            return
        if self.outcome.done():
            self._end()
            return
        error: BaseException | None
        if self._too_late:
            error = TimeoutError(f"The call ran for longer than {self._timeout} seconds.")
        elif inner.cancelled():
            outcome = self.outcome
            if PoolFuture.cancel(outcome) and outcome._state == "CANCELLED":
                outcome.set_running_or_notify_cancel()
            self._end()
            return
        else:
            error = inner.exception()
        if error is not None and (self._retries > 0 or self._failed is inner) and _may_try_again(error):
            if self._failed is not inner:
                self._failed = inner
                self._retries -= 1
            try:
                self.attempt()
            except Exception as refused:
                error = refused
            else:
                return
        outcome = self.outcome
        if outcome.running() or outcome.set_running_or_notify_cancel():
            if error is None:
                outcome.set_result(inner.result())
            else:
                outcome.set_exception(error)
        self._end()

    def _end(self) -> None:
        # The arguments, and the cycle between the future and this.
        self._submit = self.inner = self._failed = self._watched = None
        self.outcome._call = None


def _may_try_again(error: BaseException) -> bool:
    if isinstance(error, concurrent.futures.CancelledError):
        return False
    return isinstance(error, Exception) and (
        not isinstance(error, BrokenProcessPool) or isinstance(error, WorkerDied)
    )


def _named_values(context: Any) -> list[tuple[str, str, Any]]:
    """(module, attribute, value) of each context variable."""
    wanted = "a contextvars.Context, an iterable of ContextVars or None"
    if isinstance(context, contextvars.Context):
        values = list(context.items())
    else:
        variables = list(checked_iterable("context", context, wanted))
        for variable in variables:
            if not isinstance(variable, contextvars.ContextVar):
                refuse_item("context", wanted, context, variable)
        # One without a value here has none there.
        current = contextvars.copy_context()
        values = [(variable, current[variable]) for variable in variables if variable in current]
    return [(*_name_of(variable), value) for variable, value in values]


def _name_of(variable: contextvars.ContextVar[Any]) -> tuple[str, str]:
    for name, module in list(sys.modules.items()):
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is variable:
                return name, attribute
    raise ValueError(
        f"{variable!r} is no attribute of a module, so that a worker process cannot find it; "
        "pass the variables that it needs as a list"
    )


async def map_progress(
    executor: concurrent.futures.Executor,
    workers: int,
    fn: Callable[..., _T],
    iterables: tuple[Iterable[Any], ...],
    ordered: bool,
    chunksize: int,
) -> AsyncIterator[tuple[int, int, _T]]:
    """See `ProcessPoolExecutor.map_progress`."""
    calls = list(zip(*iterables, strict=False))
    total = len(calls)
    chunks = [calls[at : at + chunksize] for at in range(0, total, chunksize)]
    loop = asyncio.get_running_loop()
    done: asyncio.Queue[asyncio.Future[list[_T]]] = asyncio.Queue()
    under_way: set[asyncio.Future[list[_T]]] = set()
    waiting = iter(chunks)
    # As in `map()`: the function stays a part of the function, as cloudpickle is asked for that alone.
    call: Any = fn if chunksize == 1 else partial(_aioxide_worker.call_chunk, fn)

    def start() -> None:
        for chunk in waiting:
            args: Any = chunk[0] if chunksize == 1 else (chunk,)
            future = loop.run_in_executor(executor, call, *args)
            under_way.add(future)
            if ordered:
                done.put_nowait(future)
            else:
                future.add_done_callback(done.put_nowait)
            return

    count = 0
    try:
        for _ in range(workers * _AHEAD):
            start()
        for _ in chunks:
            future = await done.get()
            results: Any = await future
            under_way.discard(future)
            start()
            for result in [results] if chunksize == 1 else results:
                count += 1
                yield count, total, result
    finally:
        for future in under_way:
            future.cancel()
