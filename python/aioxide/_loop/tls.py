"""TLS over a stream transport: a native core first in the bases, asyncio's own `SSLProtocol` behind it.

What runs for each read and write is native (`_aioxide.TlsProtocol`). What runs once for a connection, its handshake and
its end, is inherited from the running version's `asyncio.sslproto`, but for what is plainly a bug there:
docs/explanation/differences.md has these.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import StreamReaderProtocol, constants, sslproto
from typing import TYPE_CHECKING, Any, NamedTuple

from .._aioxide import SocketTransport, TlsProtocol, _tls_engine

if TYPE_CHECKING:
    import contextvars
    import socket
    import ssl

    from .._aioxide import StandardTls
else:
    StandardTls = sslproto.SSLProtocol
    # None where the interpreter was built without it: asyncio works there, but for TLS, and so do we.
    ssl = sslproto.ssl

_STANDARD = sslproto.SSLProtocol
_State = sslproto.SSLProtocolState
_AppState = sslproto.AppProtocolState
# What a native transport lets wait, unless it is told otherwise.
_HIGH, _LOW = 64 * 1024, 16 * 1024
_BUFFER_SIZE = 64 * 1024
# Seconds that a protocol has for an answer, once the peer has ended and its `eof_received` has returned True.
_LINGER = 1.0


class TlsEngine(NamedTuple):
    """How TLS calls OpenSSL, and why so: "direct", its own functions, or "memory-bio", through the `ssl` module."""

    name: str
    reason: str


def engine() -> TlsEngine:
    """Return the engine of this process, which is chosen at first use."""
    return TlsEngine(*_tls_engine())


class _SSLProtocolTransport(sslproto._SSLProtocolTransport):
    """The transport that the user's protocol gets."""

    _ssl_protocol: Any
    _closed: bool

    def __init__(self, loop: Any, ssl_protocol: Any) -> None:
        super().__init__(loop, ssl_protocol)
        # A call of this runs no Python frame.
        self.write = ssl_protocol._write  # type: ignore[method-assign]

    def is_closing(self) -> bool:
        self._ssl_protocol._asked()
        return super().is_closing()

    def close(self) -> None:
        if self._closed and self._ssl_protocol._transport is not None:
            # Said twice: whoever keeps the transport from here on does not keep the context, as on asyncio.
            self._ssl_protocol._lets_go = True
        self._closed = True
        self._ssl_protocol._start_shutdown()

    def _let_go(self) -> None:
        self._ssl_protocol = _Ended(self._ssl_protocol)
        self.write = self._ssl_protocol._write  # type: ignore[method-assign]

    def abort(self) -> None:
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        self._closed = True
        self._ssl_protocol._abort(exc)

    def _test__append_write_backlog(self, data: bytes) -> None:
        self._ssl_protocol._append(data)


_SSLProtocolTransport.__module__ = sslproto.__name__
_SSLProtocolTransport.__qualname__ = _SSLProtocolTransport.__name__


class _Pending:
    """What stands where asyncio keeps the two `ssl.MemoryBIO`s and the backlog: a look at what is native."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol


class _Incoming(_Pending):
    @property
    def pending(self) -> int:
        return self._protocol._get_read_buffer_size()  # type: ignore[no-any-return]

    def write(self, data: Any) -> int:
        self._protocol._keep(data)
        return len(data)


class _Outgoing(_Pending):
    @property
    def pending(self) -> int:
        return self._protocol._get_outgoing_size()  # type: ignore[no-any-return]

    def read(self) -> bytes:
        return self._protocol._take_outgoing()  # type: ignore[no-any-return]


class _Backlog(_Pending):
    def append(self, data: Any) -> None:
        self._protocol._append(data)

    def clear(self) -> None:
        self._protocol._clear_backlog()

    def __bool__(self) -> bool:
        return bool(self._protocol._backlog_size)


class _Ended:
    """What a transport still has whose connection is lost: no context, and nothing that leads to one."""

    _app_protocol = _transport = None
    _app_reading_paused = _app_writing_paused = False

    def __init__(self, protocol: Any) -> None:
        self._extra = {name: protocol._extra.get(name) for name in ("peercert", "cipher", "compression")}
        self._incoming_low_water = protocol._incoming_low_water
        self._incoming_high_water = protocol._incoming_high_water
        self._outgoing_low_water = protocol._outgoing_low_water
        self._outgoing_high_water = protocol._outgoing_high_water

    def _get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)

    def _is_transport_closing(self) -> bool:
        return True

    def _size(self) -> int:
        return 0

    def _nothing(self, *_: object) -> None:
        pass

    def _write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data: expecting a bytes-like instance, got {type(data).__name__}")

    _get_write_buffer_size = _get_read_buffer_size = _size
    _asked = _start_shutdown = _abort = _pause_reading = _resume_reading = _set_app_protocol = _nothing
    _write_appdata = _set_write_buffer_limits = _set_read_buffer_limits = _append = _nothing
    _control_app_writing = _control_ssl_reading = _nothing


class SSLProtocol(TlsProtocol, StandardTls):
    """Stands between a transport that carries ciphertext and the user's protocol."""

    _peer_ended = False
    _failing = _lets_go = False
    _linger: asyncio.TimerHandle | None = None
    _below_limited = False
    _server: Any = None
    _app_transport: Any
    _ssl_buffer = bytearray()
    _ssl_buffer_view = memoryview(_ssl_buffer)

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        app_protocol: Any,
        sslcontext: Any,
        waiter: asyncio.Future[None] | None,
        server_side: bool = False,
        server_hostname: str | None = None,
        call_connection_made: bool = True,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        if ssl is None:
            raise RuntimeError("stdlib ssl module not available")
        self._ssl_handshake_timeout = _timeout(
            "ssl_handshake_timeout", ssl_handshake_timeout, constants.SSL_HANDSHAKE_TIMEOUT
        )
        self._ssl_shutdown_timeout = _timeout(
            "ssl_shutdown_timeout", ssl_shutdown_timeout, constants.SSL_SHUTDOWN_TIMEOUT
        )
        if not sslcontext:
            sslcontext = sslproto._create_transport_context(server_side, server_hostname)
        self._server_side = server_side
        self._server_hostname = server_hostname if server_hostname and not server_side else None
        self._sslcontext = sslcontext
        self._extra = {"sslcontext": sslcontext}
        self._waiter = waiter
        self._loop = loop
        self._set_app_protocol(app_protocol)
        self._app_transport = None
        self._app_transport_created = False
        self._eof_received = False
        self._app_state = _AppState.STATE_INIT if call_connection_made else _AppState.STATE_CON_MADE
        self._begin(sslcontext, server_side, self._server_hostname)
        self._set_read_buffer_limits()
        self._set_write_buffer_limits()
        self._get_app_transport()

    # ---------------------------------------------------------------------------- what asyncio keeps in fields

    @property
    def _incoming(self) -> _Incoming:
        return _Incoming(self)

    @property
    def _outgoing(self) -> _Outgoing:
        return _Outgoing(self)

    @property
    def _write_backlog(self) -> _Backlog:
        return _Backlog(self)

    @property
    def _write_buffer_size(self) -> int:
        return self._backlog_size

    def _get_app_transport(self) -> Any:
        if self._app_transport is None:
            if self._app_transport_created:
                raise RuntimeError("Creating _SSLProtocolTransport twice")
            self._app_transport = _SSLProtocolTransport(self._loop, self)
            self._app_transport_created = True
        return self._app_transport

    def _get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            self._flush()
        return super()._get_extra_info(name, default)

    # ------------------------------------------------------------------------------------- a transport not ours

    def get_buffer(self, n: int) -> memoryview:
        if not self._ssl_buffer:
            self._ssl_buffer = bytearray(_BUFFER_SIZE)
            self._ssl_buffer_view = memoryview(self._ssl_buffer)
        return self._ssl_buffer_view

    def buffer_updated(self, nbytes: int) -> None:
        self._feed(self._ssl_buffer_view[:nbytes])

    # ----------------------------------------------------------------------------------------- flow control

    def _set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        super()._set_write_buffer_limits(high, low)
        self._limit_below()

    def _limit_below(self) -> None:
        """Have the transport below say that it has room when the user waits for that."""
        below: Any = self._transport
        high, low = self._outgoing_high_water, self._outgoing_low_water
        limited = high < _HIGH or low < _LOW
        if isinstance(below, (SocketTransport, _SSLProtocolTransport)) and (limited or self._below_limited):
            self._below_limited = limited
            below.set_write_buffer_limits(high=min(high, _HIGH), low=min(low, _LOW))

    def _size_below(self, below: Any) -> int:
        return below.get_write_buffer_size() if isinstance(below, _SSLProtocolTransport) else 0

    def _flow_failed(self, exc: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": exc, "transport": self._app_transport, "protocol": self}
        )

    # ------------------------------------------------------------------------------------- beginning and end

    def stand_for(self, transport: Any, server: Any) -> None:
        """Have the server close this connection, with close_notify, where it would have closed the transport below."""
        clients = getattr(server, "_clients", None)
        if clients is not None and transport in clients:
            self._server = server
            clients.discard(transport)
            clients.add(self._app_transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._server is not None:
            clients, self._server = self._server._clients, None
            clients.discard(self._app_transport)
            clients.add(self._transport)
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        transport: Any = self._app_transport
        super().connection_lost(exc)
        if self._lets_go:
            transport._let_go()

    def _start_handshake(self) -> None:
        self._limit_below()
        super()._start_handshake()

    def _on_handshake_complete(self, handshake_exc: Any) -> None:
        if handshake_exc is not None and self._transport is not None:
            # The peer is told why, by OpenSSL's alert.
            self._process_outgoing()
        super()._on_handshake_complete(handshake_exc)
        # The exception's traceback leads here.
        handshake_exc = None

    def _peer_has_ended(self) -> None:
        """The peer's close_notify was read. Called again by each read that finds it."""
        if self._peer_ended:
            return
        self._peer_ended = True
        # A stream's handler that runs may have an answer. Over TLS its protocol says no only for fear of asyncio's
        # warning.
        protocol = self._app_protocol
        handler = getattr(protocol, "_task", None) if isinstance(protocol, StreamReaderProtocol) else None
        keep_open = self._call_eof_received()
        if self._state is not _State.WRAPPED or self._app_transport is None:
            self._start_shutdown()
        elif handler is not None and not handler.done():
            self._app_transport._closed = True
            handler.add_done_callback(self._start_shutdown_after)
        elif keep_open:
            self._app_transport._closed = True
            self._linger = self._loop.call_later(_LINGER, self._start_shutdown)
        else:
            self._start_shutdown()

    def _start_shutdown_after(self, _: object) -> None:
        self._start_shutdown()

    def _start_shutdown(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        super()._start_shutdown()

    def _call_eof_received(self) -> bool:
        try:
            if self._app_state is _AppState.STATE_CON_MADE:
                self._app_state = _AppState.STATE_EOF
                return bool(self._app_protocol.eof_received())
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Error calling eof_received()")
        return False

    def eof_received(self) -> Any:
        if self._peer_ended and self._state is _State.WRAPPED:
            # It has said so before: what it has asked for can still be sent.
            return True
        return super().eof_received()

    def _do_flush(self) -> None:
        self._do_read()
        if self._state is _State.FLUSHING:
            self._send_all()
        if self._state is _State.FLUSHING:
            self._set_state(_State.SHUTDOWN)
            self._do_shutdown()

    def _do_shutdown(self) -> None:
        if not self._eof_received:
            try:
                # What was on its way is of no use, and no fault of the peer's.
                self._discard()
            except ssl.SSLError as exc:
                self._on_shutdown_complete(exc)
                return
        super()._do_shutdown()

    def _abort(self, exc: BaseException | None = None) -> None:
        self._flush()
        self._set_state(_State.UNWRAPPED)
        if self._transport is not None:
            self._transport._force_close(exc)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        if not self._failing:
            self._failing = True
            # What was written leaves before anyone hears of the end.
            self._flush()
        super()._fatal_error(exc, message)


SSLProtocol.__module__ = sslproto.__name__


def _timeout(name: str, given: float | None, default: float) -> float:
    if given is None:
        return default
    if given <= 0:
        raise ValueError(f"{name} should be a positive number, got {given}")
    return given


def _is_standard() -> bool:
    """Whether nobody has put a class of his own in place of asyncio's."""
    return sslproto.SSLProtocol is _STANDARD


def make_transport(
    loop: Any,
    rawsock: socket.socket,
    protocol: asyncio.BaseProtocol,
    sslcontext: Any,
    waiter: asyncio.Future[None] | None = None,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    extra: dict[str, Any] | None = None,
    server: Any = None,
    context: contextvars.Context | None = None,
    **timeouts: float | None,
) -> Any:
    """Make the transport of a connection that begins with TLS: `loop._make_ssl_transport`."""
    kind: Any = SSLProtocol if _is_standard() else sslproto.SSLProtocol
    made = kind(loop, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts)
    below = loop._make_socket_transport(rawsock, made, extra=extra, server=server, context=context)
    if server is not None and kind is SSLProtocol:
        made.stand_for(below, server)
    return made._app_transport


async def start_tls(
    loop: Any,
    transport: Any,
    protocol: Any,
    sslcontext: Any,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> Any:
    """Put TLS between a connected transport and its protocol: `loop.start_tls`."""
    if not isinstance(sslcontext, ssl.SSLContext):
        raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
    if not getattr(transport, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")
    waiter = loop.create_future()
    tls: Any = SSLProtocol(
        loop,
        protocol,
        sslcontext,
        waiter,
        server_side,
        server_hostname,
        call_connection_made=False,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
    )
    # Nothing may come before `connection_made`.
    transport.pause_reading()
    if server_side:
        tls._keep(_read_ahead(protocol))
    server = getattr(transport, "_server", None)
    transport.set_protocol(tls)
    if server is not None:
        tls.stand_for(transport, server)
    callbacks = [
        loop.call_soon(tls.connection_made, transport),
        loop.call_soon(transport.resume_reading),
    ]
    try:
        await waiter
    except BaseException:
        transport.close()
        for callback in callbacks:
            callback.cancel()
        # It has the exception, whose traceback leads here.
        del waiter
        raise
    return tls._app_transport


_SIGNATURE = inspect.signature(start_tls)


def can_start(*arguments: Any, **options: Any) -> bool:
    """Whether ours is to begin TLS; else asyncio's way, which somebody has replaced, or which says what is wrong."""
    if not _is_standard() or ssl is None:
        return False
    try:
        _SIGNATURE.bind(*arguments, **options)
    except TypeError:
        return False
    return True


def _read_ahead(protocol: Any) -> bytes:
    """Take what a client has sent already, its ClientHello, out of the stream that it went to."""
    reader = getattr(protocol, "_stream_reader", None)
    if not isinstance(protocol, StreamReaderProtocol) or reader is None:
        return b""
    data = bytes(reader._buffer)
    reader._buffer.clear()
    return data
