"""asyncio's TLS transport, before 3.14 taught to ask the transport below whether it is closing.

`StreamWriter.drain` asks the transport that it has, and the native transport sends what was written when `drain` asks.
From 3.14 on asyncio's TLS hands the question down; before, it knows the answer itself, and `drain` would not be heard.
"""

from __future__ import annotations

from asyncio import sslproto
from typing import Any

_HANDS_DOWN = hasattr(sslproto.SSLProtocol, "_is_transport_closing")


class _SSLProtocolTransport(sslproto._SSLProtocolTransport):
    __slots__ = ()

    def is_closing(self) -> bool:
        below = getattr(self._ssl_protocol, "_transport", None)
        if below is not None:
            below.is_closing()
        return super().is_closing()


_SSLProtocolTransport.__module__ = sslproto.__name__
_SSLProtocolTransport.__qualname__ = _SSLProtocolTransport.__name__


def heard(transport: Any) -> Any:
    """Return the TLS transport, which from now on hands the question down."""
    if not _HANDS_DOWN and type(transport) is sslproto._SSLProtocolTransport:
        transport.__class__ = _SSLProtocolTransport
    return transport
