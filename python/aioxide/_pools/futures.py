"""What every pool of ours hands out and shares with the others."""

from __future__ import annotations

import abc
import asyncio
import collections
import concurrent.futures
import itertools
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _aioxide
from .checks import checked_buffersize, checked_number

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import Self

_T = TypeVar("_T")
_FutureT = TypeVar("_FutureT", bound=concurrent.futures.Future[Any])


class PoolMeta(abc.ABCMeta):
    """The class of our pools: the standard library's own pools count as theirs, as asyncio's tasks do as `Task`.

    `install(namespace=True)` puts our classes in the standard names, and what asks `isinstance` there
    (`loop.set_default_executor()` does) must go on to accept pools that were made before, and
    `InterpreterPoolExecutor`. It derives from `ABCMeta` so that users can mix abstract classes in.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        standard = cls.__dict__.get("_stands_for")
        return super().__instancecheck__(instance) if standard is None else isinstance(instance, standard)

    def __subclasscheck__(cls, subclass: type) -> bool:
        standard = cls.__dict__.get("_stands_for")
        return super().__subclasscheck__(subclass) if standard is None else issubclass(subclass, standard)


class AwaitableFuture(concurrent.futures.Future[_T]):
    """A `concurrent.futures.Future` that can be awaited too: what every pool of ours returns."""

    __module__ = "aioxide"  # where users import it from

    def __await__(self) -> Generator[Any, None, _T]:
        return asyncio.wrap_future(self, loop=asyncio.get_running_loop()).__await__()

    if TYPE_CHECKING:
        # It is called with this very future, which a callback may say that it takes.
        def add_done_callback(self, fn: Callable[[Self], object]) -> None: ...


class PoolFuture(_aioxide.PoolFuture, AwaitableFuture[_T]):
    """The future of a call in a pool of threads or processes.

    Its `threading.Condition` is made when something of the standard library first asks for it; why that is
    sound stands in `calls/future.rs`.
    """

    __module__ = "aioxide"


# `<Future at ... state=pending>`, as the standard library shows its own.
AwaitableFuture.__name__ = PoolFuture.__name__ = concurrent.futures.Future.__name__


def passes_for_its_base(kind: type[_FutureT]) -> type[_FutureT]:
    """Give a private class of futures the names of the public one that it is derived from: to users it is that."""
    base: type = kind.__mro__[1]
    kind.__module__, kind.__name__, kind.__qualname__ = base.__module__, base.__name__, base.__qualname__
    return kind


_aioxide._register_future(PoolFuture)
os.register_at_fork(after_in_child=_aioxide._after_fork)


def cancel_and_tell(future: concurrent.futures.Future[Any]) -> None:
    """Cancel a future that nobody runs, and tell so: `wait()` would wait for ever for one that is only cancelled."""
    if future.cancel() and future._state == "CANCELLED":
        future.set_running_or_notify_cancel()


def map_calls(
    executor: concurrent.futures.Executor,
    fn: Callable[..., _T],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    buffersize: int | None,
) -> Iterator[_T]:
    """`Executor.map` of 3.14, for every version: `buffersize` limits how many calls are ahead of what was yielded.

    Raises:
        TypeError, ValueError, OverflowError: `buffersize` is no integer above 0, or `timeout` no number.
    """
    buffersize = checked_buffersize(buffersize)
    if timeout is not None:
        timeout = checked_number("timeout", timeout, "a number of seconds or None")
    # As long as no wait lasts is for ever.
    deadline = None if timeout is None or timeout > threading.TIMEOUT_MAX else time.monotonic() + timeout
    calls = zip(*iterables, strict=False)
    first = calls if buffersize is None else itertools.islice(calls, buffersize)
    futures = collections.deque(executor.submit(fn, *args) for args in first)
    return _results(weakref.ref(executor), fn, calls, futures, deadline)


def _results(
    executor: weakref.ref[concurrent.futures.Executor],
    fn: Callable[..., _T],
    calls: Iterator[tuple[Any, ...]],
    futures: collections.deque[concurrent.futures.Future[_T]],
    deadline: float | None,
) -> Iterator[_T]:
    try:
        while futures:
            # The iterator must not keep the pool alive: what is left to submit is not, once nobody has it.
            pool = executor()
            args = None if pool is None else next(calls, None)
            if pool is not None and args is not None:
                futures.append(pool.submit(fn, *args))
            del pool, args
            # No name for the future nor for its result here, while the caller works with it.
            yield _result_or_cancel(futures.popleft(), deadline)
    finally:
        for future in futures:
            future.cancel()


def _result_or_cancel(future: concurrent.futures.Future[_T], deadline: float | None) -> _T:
    try:
        try:
            return future.result(None if deadline is None else deadline - time.monotonic())
        finally:
            future.cancel()
    finally:
        # Its exception refers to this frame.
        del future
