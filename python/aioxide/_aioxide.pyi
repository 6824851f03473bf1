"""The native module."""

import asyncio
import concurrent.futures
import contextvars
import socket
import sys
from asyncio.events import Handle, TimerHandle
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, TypeVar, TypeVarTuple, final

from typing_extensions import disjoint_base

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Ts = TypeVarTuple("_Ts")

def build_info() -> dict[str, Any]: ...

@disjoint_base
class Future(asyncio.Future[_T]): ...

@disjoint_base
class Task(asyncio.Task[_T_co]):
    def __init__(
        self,
        coro: Generator[Any, None, _T_co] | Coroutine[Any, Any, _T_co],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        name: object = None,
        context: contextvars.Context | None = None,
        eager_start: bool = False,
    ) -> None: ...

@final
class SocketTransport(asyncio.Transport):
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None,
        extra: dict[str, Any] | None,
        server: Any,
        /,
    ) -> None: ...
    def get_write_buffer_limits(self) -> tuple[int, int]: ...
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def write(self, data: bytes | bytearray | memoryview[Any]) -> None: ...
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None: ...

def _register_future(cls: type[concurrent.futures.Future[Any]], /) -> None: ...
def _register_pool(cls: type[concurrent.futures.Executor], /) -> None: ...
def _register_standard_pool(cls: type[concurrent.futures.ThreadPoolExecutor], /) -> None: ...
def _end_pools() -> None: ...
def _after_fork() -> None: ...

# The methods of `concurrent.futures.Future`, whose annotations hold where the two stand together.
@disjoint_base
class PoolFuture:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

# `submit` is annotated in the standard class.
@disjoint_base
class ThreadPool:
    _queue: WorkQueue
    _resolve: Callable[..., Any] | None
    def _run_for_loop(
        self, loop: asyncio.AbstractEventLoop, func: Callable[..., _T], args: tuple[Any, ...], /
    ) -> asyncio.Future[_T]: ...

@final
class WorkQueue:
    def __new__(
        cls,
        max_workers: int,
        max_pending: int | None,
        idle_timeout: float | None,
        spin: float | None,
        /,
    ) -> WorkQueue: ...
    @property
    def is_shut_down(self) -> bool: ...
    @property
    def broken(self) -> str | bool: ...
    def serve(self, run: Callable[[Any], Any] | None, /) -> bool: ...
    def qsize(self) -> int: ...
    def empty(self) -> bool: ...
    def put(self, item: None, /) -> None: ...
    def shut_down(self, cancel: bool, /) -> None: ...
    def break_down(self, cls: type[BaseException], reason: str, /) -> None: ...
    def withdraw(self) -> None: ...
    def after_fork(self) -> None: ...
    def running(self) -> list[tuple[int, Callable[..., Any], float]]: ...
    def stats(self) -> tuple[Any, ...]: ...

@disjoint_base
class Loop:
    def time(self) -> float: ...
    def stop(self) -> None: ...
    def is_running(self) -> bool: ...
    def is_closed(self) -> bool: ...
    def get_debug(self) -> bool: ...
    def create_future(self) -> asyncio.Future[Any]: ...
    if sys.version_info >= (3, 14):
        def create_task(
            self,
            coro: Generator[Any, None, _T] | Coroutine[Any, Any, _T],
            *,
            name: object = None,
            context: contextvars.Context | None = None,
            eager_start: bool | None = None,
        ) -> asyncio.Task[_T]: ...
    else:
        def create_task(
            self,
            coro: Generator[Any, None, _T] | Coroutine[Any, Any, _T],
            *,
            name: object = None,
            context: contextvars.Context | None = None,
        ) -> asyncio.Task[_T]: ...
    def call_soon(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> Handle: ...
    def call_soon_threadsafe(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> Handle: ...
    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> TimerHandle: ...
    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> TimerHandle: ...
    def run_in_executor(
        self, executor: concurrent.futures.Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts
    ) -> asyncio.Future[_T]: ...

    # What starts with an underscore is for `aioxide._loop`; of that only this is used elsewhere, in
    # `_registry`.
    def _live_tasks(self) -> list[asyncio.Task[Any]]: ...
    def _before_fork(self) -> None: ...
    def _after_fork(self) -> None: ...
