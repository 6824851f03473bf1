"""`aioxide.sslproto` is `asyncio.sslproto`."""

from asyncio.sslproto import *  # noqa: F403
from asyncio.sslproto import (
    _create_transport_context as _create_transport_context,
    _SSLProtocolTransport as _SSLProtocolTransport,
)
