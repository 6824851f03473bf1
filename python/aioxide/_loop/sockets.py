"""What `get_extra_info("socket")` gives: asyncio's TransportSocket, which has what was written leave before it is used.

`transport.write` gathers until the end of the loop's turn. Whoever does something with the socket itself would come
before what he wrote; so each method sends it first. Setting an option or asking for an address costs the transport
nothing more. Who takes the descriptor (`fileno`, `dup`, `_sock`) can use it at any time, unseen: from then on each
write is sent at once.
"""

from __future__ import annotations

import functools
import weakref
from asyncio import trsock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .._aioxide import SocketTransport

_Plain = trsock.TransportSocket
# The slot of the base, which the property below hides.
_slot: Any = _Plain.__dict__["_sock"]


class TransportSocket(_Plain):
    """A socket of a transport, without what would get in the transport's way: `asyncio.trsock.TransportSocket`."""

    __module__ = "aioxide.trsock"  # where its base is, of which users take it to be
    __slots__ = ("_transport",)

    def __init__(self, sock: socket.socket, transport: SocketTransport) -> None:
        _slot.__set__(self, sock)
        # The transport keeps this object; the other way round it would outlive its last user until a collection.
        self._transport = weakref.ref(transport)

    @property
    def _sock(self) -> Any:
        transport = self._transport()
        if transport is not None:
            transport._write_at_once()
        return _slot.__get__(self)


def _sending_first(name: str, gives_descriptor: bool) -> Callable[..., Any]:
    """Make the method that sends what was written, then does what asyncio's own of that name does."""
    method = getattr(_Plain, name)

    @functools.wraps(method)
    def call(self: TransportSocket, *args: Any, **kwargs: Any) -> Any:
        transport = self._transport()
        if transport is not None:
            if gives_descriptor:
                transport._write_at_once()
            else:
                transport._flush()
        return method(_Plain(_slot.__get__(self)), *args, **kwargs)

    return call


def _attribute(name: str) -> property:
    return property(lambda self: getattr(_slot.__get__(self), name))


for _name, _member in list(_Plain.__dict__.items()):
    # Of the special methods only `repr` looks at the socket; the properties (family, type, proto) are known without it.
    if _name == "__repr__" or (callable(_member) and not _name.startswith("__")):
        setattr(TransportSocket, _name, _sending_first(_name, _name in ("fileno", "dup")))
    elif isinstance(_member, property):
        setattr(TransportSocket, _name, _attribute(_name))
del _name, _member
