"""What every pool of ours hands out and shares with the others."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any, TypeVar

from . import _aioxide

if TYPE_CHECKING:
    from collections.abc import Generator

_T = TypeVar("_T")


class Future(_aioxide.PoolFuture, concurrent.futures.Future[_T]):
    """The future of a call in a pool of aioxide: a `concurrent.futures.Future`, which can be awaited too.

    Its `threading.Condition` is made when something of the standard library first asks for it; why that is
    sound stands in `pools/future.rs`.
    """

    def __await__(self) -> Generator[Any, None, _T]:
        return asyncio.wrap_future(self, loop=asyncio.get_running_loop()).__await__()


_aioxide._register_future(Future)
