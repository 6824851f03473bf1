"""The thread pool as a type checker sees it.

The module itself works on private names of the standard class, which typeshed leaves out or knows otherwise. What users
get is compared with it by stubtest.
"""

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from .._aioxide import ThreadPool
from .._pools.futures import PoolMeta
from .._pools.stats import ThreadPoolStats

_T = TypeVar("_T")

StandardPool = concurrent.futures.ThreadPoolExecutor

class ThreadPoolExecutor(ThreadPool, concurrent.futures.ThreadPoolExecutor, metaclass=PoolMeta):
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
    ) -> None: ...
    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_T]: ...
    def stats(self) -> ThreadPoolStats: ...
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None: ...
