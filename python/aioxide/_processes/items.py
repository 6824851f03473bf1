"""What the standard library's `ProcessPoolExecutor.submit` works on, for pools of ours: a wrapper of it (a tracer's)
ends in it, with our pool as its `self`.
"""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _aioxide
from .._pools.futures import AwaitableFuture, passes_for_its_base

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class PendingItems(dict[int, Any]):
    """`pool._pending_work_items`: what is put in it is submitted, and nothing stays."""

    def __init__(self, submit: Callable[..., concurrent.futures.Future[Any]]) -> None:
        super().__init__()
        self._submit = submit

    def __setitem__(self, key: int, item: Any) -> None:
        outer = item.future
        inner = self._submit(item.fn, item.args, item.kwargs)
        kind: Any = type(outer)
        if kind is concurrent.futures.Future:
            outer.__class__ = _StandingFuture
            outer._inner = inner
        inner.add_done_callback(lambda _: _aioxide._whole(_hand_over, inner, outer))


class Ignored:
    """`pool._work_ids` and `pool._executor_manager_thread_wakeup`: there is nobody to be told."""

    def put(self, key: int) -> None:
        """Do nothing."""

    def wakeup(self) -> None:
        """Do nothing."""


@passes_for_its_base
class _StandingFuture(AwaitableFuture[_T]):
    """A future that the standard `submit` has made; `_inner` is the pool's own, of the same call."""

    _inner: concurrent.futures.Future[_T]

    def cancel(self) -> bool:
        """Cancel the call; False if it runs or has finished."""
        self._inner.cancel()
        return super().cancel()

    def running(self) -> bool:
        """Return True while the call runs."""
        return not self.done() and self._inner.running()


def inner_of(future: Any) -> Any:
    """The pool's own future of a call that `submit` has returned this one for."""
    return getattr(future, "_inner", future)


def _hand_over(inner: concurrent.futures.Future[_T], outer: concurrent.futures.Future[_T]) -> None:
    if inner.cancelled():
        concurrent.futures.Future.cancel(outer)
    if outer.done() and outer._state != "CANCELLED":
        return  # it was all done before an interrupt came
    if not (outer.running() or outer.set_running_or_notify_cancel()):
        return
    error = inner.exception()
    if error is not None:
        outer.set_exception(error)
    else:
        outer.set_result(inner.result())
