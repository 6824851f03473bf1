"""The transport of datagrams: what is native of it before asyncio's own class, whose methods do the rest.

What runs for each datagram is native (`sendto`, `_read_ready`, `_sendto_ready`); what runs once for an endpoint, when
it is paused, closes or fails, is the running version's own code.
"""

from __future__ import annotations

import _socket
import asyncio
import socket
from asyncio import selector_events
from typing import Any

from .._aioxide import DatagramTransport

_Asyncios: Any = selector_events._SelectorDatagramTransport  # type: ignore[attr-defined]

# What the running version counts for each datagram that waits, beside its bytes: 3.11 nothing, later ones eight, which
# 3.13.0 puts on in its code and never takes off.
_IN_CODE = 8 if 8 in _Asyncios.sendto.__code__.co_consts else 0
_HEADER_SIZE = getattr(_Asyncios, "_header_size", _IN_CODE)

# The socket's own methods that are called natively.
_METHODS = ("fileno", "recvfrom", "send", "sendto")
_Socket = socket.socket


# Not by a class statement: type checkers do not know asyncio's class.
_SelectorDatagramTransport: Any = type(
    "_SelectorDatagramTransport",
    (DatagramTransport, _Asyncios),
    {
        "__doc__": "A datagram endpoint: `asyncio.DatagramTransport`.",
        "_header_size": _HEADER_SIZE,
    },
)


def is_plain(sock: object) -> bool:
    """Whether it is the standard socket, with its own methods: what is done natively is what they would do."""
    return type(sock) is _Socket and all(
        getattr(_Socket, name) is getattr(_socket.socket, name) for name in _METHODS
    )


def make_transport(
    self: Any,
    sock: Any,
    protocol: asyncio.BaseProtocol,
    address: Any = None,
    waiter: asyncio.Future[None] | None = None,
    extra: dict[str, Any] | None = None,
) -> asyncio.DatagramTransport:
    """Make the transport of a socket, for the loop's method of this name in asyncio.

    asyncio's own class serves a socket whose methods somebody has overridden: it calls them.
    """
    self._ensure_fd_no_transport(sock)
    kind: Any = _SelectorDatagramTransport if is_plain(sock) else _Asyncios
    return kind(self, sock, protocol, address, waiter, extra)  # type: ignore[no-any-return]
