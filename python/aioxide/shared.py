"""Memory that the worker processes of `aioxide.ProcessPoolExecutor` get without a copy.

It has no name in the system: it is gone with its last user, however that ends, and `/dev/shm` plays no part in it.
"""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import _aioxide_worker

from . import _aioxide
from ._aioxide import SharedBuffer as Buffer
from ._pools.checks import checked_count, checked_iterable, refuse

if TYPE_CHECKING:
    import numpy

__all__ = ["Buffer", "Handle", "buffer", "empty"]

_NOT_SHARED = (
    "share() takes what pickle can send, such as arrays, data frames, models, and containers of them; this value, of "
    "the type {kind}, it cannot ({why}). A function needs no share(): it is the first argument of submit()"
)

# Where parts begin: at multiples of this many bytes.
_ALIGN = 64


def buffer(size: int) -> Buffer:
    """Return `size` bytes of shared memory, all zero: an object that supports the buffer protocol, writable.

    `memoryview(...)`, `numpy.frombuffer(...)` and the like look into it. An array over it that is an argument or a
    result of a call in a pool arrives as an array over the same memory: what one process writes, the other sees.
    Nothing else synchronises the two; it is for whoever writes to know that nobody reads.

    Raises:
        MemoryError: there is no room for it.
        OSError: it is larger than a file may be in this process (`ulimit -f`).
        TypeError: `size` is no integer.
        ValueError, OverflowError: `size` is negative, or more than an address space has.
    """
    size = checked_count("size", size, "an integer (bytes)", least=0)
    return _aioxide._shared_memory(size)


def empty(shape: Any, dtype: Any = float) -> numpy.ndarray[Any, Any]:
    """Return a numpy array of the given shape and type in shared memory of its own, all zero.

    As for `buffer`: pools pass it, and slices of it that are contiguous, without a copy.

    Raises:
        ImportError: numpy is not installed.
        MemoryError: there is no room for it.
        TypeError: the type holds Python objects, which cannot be shared; or `shape` is no integer nor integers.
        ValueError, OverflowError: a dimension is negative, or too large.
    """
    import numpy

    kind = numpy.dtype(dtype)
    if kind.hasobject:
        raise TypeError(
            f"an array of {kind} holds references to Python objects, which processes cannot share"
        )
    wanted = "an integer or a sequence of integers"
    if isinstance(shape, str | bytes | Mapping):
        refuse("shape", wanted, shape)
    given = [shape] if hasattr(type(shape), "__index__") else list(checked_iterable("shape", shape, wanted))
    dimensions = [checked_count("shape", dimension, wanted, least=0) for dimension in given]
    count = math.prod(dimensions)
    if count * kind.itemsize > sys.maxsize:
        refuse("shape", "that of an array that fits into memory", shape, OverflowError)
    if count == 0:
        return numpy.empty(dimensions, kind)
    return numpy.frombuffer(buffer(count * kind.itemsize), kind, count).reshape(dimensions)


class Handle:
    """What `pool.share(value)` returns: pickled once, it arrives in every worker as the value.

    Args:
        value: anything that pickle takes.
    """

    def __init__(self, value: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        try:
            body = pickle.dumps(value, 5, buffer_callback=buffers.append)
        except (pickle.PicklingError, TypeError, AttributeError) as why:
            raise TypeError(_NOT_SHARED.format(kind=type(value).__name__, why=why)) from why
        pieces = [memoryview(body), *(found.raw() for found in buffers)]
        self._parts = [piece.nbytes for piece in pieces]
        size = sum(-(-part // _ALIGN) * _ALIGN for part in self._parts)
        self._memory = buffer(size)
        self._id = _aioxide._shared_id(self._memory)
        # Not in one statement with the next: Nuitka 4.3.3 cannot compile that.
        view = memoryview(self._memory)
        at = 0
        for piece, part in zip(pieces, self._parts, strict=True):
            view[at : at + part] = piece
            at += -(-part // _ALIGN) * _ALIGN

    def get(self) -> Any:
        """Return the value as a worker sees it: made of the shared memory, its buffers read-only."""
        return _aioxide_worker.make_of_parts(self._memory, self._parts)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if protocol < 5:
            return _aioxide_worker.make_of_parts, (bytes(self._memory), self._parts)
        return _aioxide_worker.unshare, (pickle.PickleBuffer(self._memory), self._id, self._parts)

    def __repr__(self) -> str:
        return f"<aioxide shared value of {sum(self._parts)} bytes>"
