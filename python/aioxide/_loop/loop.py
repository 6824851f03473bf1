"""The event loop class: a Rust core first in the bases, asyncio's own selector loop behind it.

What runs per callback, per byte or per message is native (`_aioxide.Loop`); what runs per loop or per connection is
inherited from the running version's `asyncio.SelectorEventLoop`, whose selector and self-pipe are not made.
"""

from __future__ import annotations

import asyncio
import collections.abc
import concurrent.futures
import contextlib
import contextvars
import functools
import os
import selectors
import socket
import sys
import threading
import warnings
import weakref
from asyncio import events
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .._aioxide import Loop, SocketTransport
from . import datagrams, docs, patched, sock_calls, tls
from .registry import add_loop
from .sockets import TransportSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .._aioxide import StandardLoop
else:
    StandardLoop = asyncio.SelectorEventLoop

_main_thread = threading.main_thread
_Method = TypeVar("_Method", bound="Callable[..., Any]")


class _Handles(collections.abc.Collection[asyncio.Handle]):
    """What stands where asyncio keeps `_ready` and `_scheduled`: a look at the native queue, as handles.

    Entries that are no handles (steps of tasks, callbacks of futures) count in `len`, but are not shown.
    """

    def __init__(
        self,
        handles: Callable[[], Sequence[asyncio.Handle]],
        count: Callable[[], int],
        clear: Callable[[], None],
    ) -> None:
        self._handles = handles
        self._count = count
        self.clear = clear

    def __iter__(self) -> Iterator[asyncio.Handle]:
        return iter(self._handles())

    def __len__(self) -> int:
        return self._count()

    def __contains__(self, handle: object) -> bool:
        return handle in self._handles()

    def __getitem__(self, index: Any) -> Any:
        return self._handles()[index]

    def __repr__(self) -> str:
        return repr(self._handles())


class _Transports(weakref.WeakValueDictionary[int, Any]):
    """`loop._transports`: native transports by descriptor, which cost nothing to keep here, then inherited ones.

    `loop.sendfile` takes a transport out while it has the descriptor for itself, and puts it back.
    """

    def __init__(self, loop: EventLoop) -> None:
        super().__init__()
        self._loop = weakref.ref(loop)

    def _native(self, fd: Any) -> Any:
        loop = self._loop()
        return (
            loop._transport_of(fd) if loop is not None and isinstance(fd, int) and 0 <= fd < 1 << 31 else None
        )

    def _descriptors(self) -> list[int]:
        loop = self._loop()
        rows = loop._watched() if loop is not None else ()
        return [fd for fd, *_ in rows if self._native(fd) is not None]

    def __getitem__(self, fd: int) -> Any:
        native = self._native(fd)
        return super().__getitem__(fd) if native is None else native

    def __setitem__(self, fd: int, transport: Any) -> None:
        if isinstance(transport, SocketTransport):
            transport._attach_engine()
        else:
            super().__setitem__(fd, transport)

    def __delitem__(self, fd: int) -> None:
        native = self._native(fd)
        if native is None:
            super().__delitem__(fd)
        else:
            native._detach_engine()

    def get(self, fd: int, default: Any = None) -> Any:
        native = self._native(fd)
        return super().get(fd, default) if native is None else native

    def __contains__(self, fd: object) -> bool:
        return self._native(fd) is not None or super().__contains__(fd)

    def __iter__(self) -> Iterator[int]:
        yield from self._descriptors()
        yield from super().__iter__()

    def __len__(self) -> int:
        return len(self._descriptors()) + super().__len__()

    def _pairs(self) -> list[tuple[int, Any]]:
        """Return what is there now, native transports first."""
        natives = [(fd, self._native(fd)) for fd in self._descriptors()]
        return [*(pair for pair in natives if pair[1] is not None), *super().items()]

    # The views of a WeakValueDictionary are generators over its own dict; these go over both.

    def keys(self) -> Iterator[int]:  # type: ignore[override]
        return (fd for fd, _ in self._pairs())

    def values(self) -> Iterator[Any]:  # type: ignore[override]
        return (transport for _, transport in self._pairs())

    def items(self) -> Iterator[tuple[int, Any]]:  # type: ignore[override]
        return iter(self._pairs())

    def itervaluerefs(self) -> Iterator[weakref.KeyedRef[int, Any]]:
        return iter(self.valuerefs())

    def valuerefs(self) -> list[weakref.KeyedRef[int, Any]]:
        return [weakref.KeyedRef(transport, None, fd) for fd, transport in self._pairs()]  # type: ignore[arg-type]

    def copy(self) -> weakref.WeakValueDictionary[int, Any]:
        return weakref.WeakValueDictionary(self._pairs())

    __copy__ = copy

    def pop(self, fd: int, *default: Any) -> Any:
        native = self._native(fd)
        if native is None:
            return super().pop(fd, *default)
        del self[fd]
        return native


class _Watched:
    """What stands where asyncio keeps its selector: a look at the native table of descriptors."""

    __slots__ = ("_loop",)
    _loop: weakref.ref[EventLoop]

    def __init__(self, loop: EventLoop) -> None:
        object.__setattr__(self, "_loop", weakref.ref(loop))

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: nothing would call a method that somebody puts here.

        Raises:
            RuntimeError: always.
        """
        patched.refuse_selector()

    def __delattr__(self, name: str) -> None:
        """Refuse, as `__setattr__`: `mock.patch.object` takes back what it could not put here.

        Raises:
            RuntimeError: always.
        """
        patched.refuse_selector()

    def get_map(self) -> dict[int, selectors.SelectorKey]:
        """Return what `selectors.BaseSelector.get_map` would: a key for each descriptor with a reader or writer."""
        loop = self._loop()
        keys = {}
        for fd, reader, writer, _ in loop._watched() if loop else ():
            events = ((reader and selectors.EVENT_READ) or 0) | ((writer and selectors.EVENT_WRITE) or 0)
            if events:
                keys[fd] = selectors.SelectorKey(fd, fd, events, (reader, writer))
        return keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return the key of a descriptor, or of an object with `fileno()`.

        Raises:
            KeyError: nobody watches it.
        """
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        return self.get_map()[fd]

    def select(self, timeout: float | None = None) -> list[Any]:
        """Refuse: only the native loop waits, and nest_asyncio's `_run_once` in its place cannot.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(
            "aioxide's event loop has no selector to wait with: it waits natively, and cannot be patched to run nested "
            "(nest_asyncio); run this program on asyncio's own loop, or await instead of calling run_until_complete()"
        )

    def close(self) -> None:
        """Let go of the native table."""
        loop = self._loop()
        if loop:
            loop._close_engine()


class _Given:
    """Notes a user's socket for as long as a transport is made of it."""

    def __init__(self, given: dict[int, socket.socket], sock: socket.socket) -> None:
        self._given = given
        self._sock = sock

    def __enter__(self) -> None:
        self._given[id(self._sock)] = self._sock

    def __exit__(self, *_: object) -> None:
        self._given.pop(id(self._sock), None)


_NOTHING_GIVEN = contextlib.nullcontext()


def _in_place_of(asyncios: _Method) -> Callable[[Callable[..., Any]], _Method]:
    """Give a method the type of asyncio's for which it stands, its name in errors and reprs, and its docstring."""

    def passing(method: Any) -> _Method:
        method.__qualname__ = asyncios.__qualname__
        method.__doc__ = docs.TEXTS[method.__name__]
        # For `inspect.signature`: the options are the running version's.
        method.__wrapped__ = asyncios
        return method  # type: ignore[no-any-return]

    return passing


class EventLoop(Loop, StandardLoop):
    """asyncio's event loop with a native core: `asyncio.SelectorEventLoop` in all that it does.

    Args:
        selector: must be None: the loop waits by epoll and has no selector.

    Raises:
        OSError: no descriptors are left for the epoll set and the pair of sockets that wakes the loop.
        RuntimeError: gevent or eventlet has monkey-patched `select`.
        TypeError: `selector` is not None.
    """

    __module__ = "aioxide"  # where users import it from, and what pickles name

    # Refused before there is an object, which would have to be closed.
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        patched.refuse_greenlets()
        return super().__new__(cls)

    def __init__(self, selector: None = None) -> None:
        self._open()
        # The running version's own `__init__` sets what its other methods rely on. It gets something to take for a
        # selector, and finds `_make_self_pipe` overridden: neither is made twice.
        super().__init__(_Watched(self))  # type: ignore[arg-type]
        self._transports = _Transports(self)
        # Sockets that users have made, while transports are made of them.
        self._given_sockets: dict[int, socket.socket] = {}
        add_loop(self)
        if selector is not None:
            self.close()
            raise TypeError(
                f"selector must be None, not {type(selector).__name__}: aioxide.EventLoop waits natively (epoll) and "
                "polls no selector; asyncio.SelectorEventLoop(selector) does"
            )

    def __del__(self, _warn: Any = warnings.warn) -> None:
        # Where the arguments did not fit, `__init__` has not run: there is nothing to close.
        if "_selector" in self.__dict__:
            super().__del__(_warn)

    # ------------------------------------------------------------------------------------------------- running

    @_in_place_of(asyncio.SelectorEventLoop.run_forever)
    def run_forever(self) -> None:
        self._check_closed()
        self._check_running()
        patched.refuse_greenlets()
        patched.warn_of_steps(self, EventLoop)
        self._set_coroutine_origin_tracking(self._debug)
        old_hooks = sys.get_asyncgen_hooks()
        wakeup_fd = self._borrow_wakeup_fd()
        try:
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook
            )
            events._set_running_loop(self)
            self._run_until_stopped()
        finally:
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*old_hooks)
            self._return_wakeup_fd(wakeup_fd)

    def _borrow_wakeup_fd(self) -> int | None:
        """Have every signal wake this loop while it runs in the main thread, if nobody else wants the signals.

        Without it, a signal that comes between the last bytecode and the wait is seen only when something else happens.
        """
        if threading.current_thread() is not _main_thread():
            return None
        import signal

        try:
            before = signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
        except (ValueError, OSError):
            return None
        if before not in (-1, self._csock.fileno()):
            signal.set_wakeup_fd(before)
            return None
        return before

    def _return_wakeup_fd(self, before: int | None) -> None:
        if before is None or self._signal_handlers:
            return
        import signal

        current = signal.set_wakeup_fd(-1)
        if current not in (-1, self._csock.fileno()):
            signal.set_wakeup_fd(current)

    @_in_place_of(asyncio.SelectorEventLoop.remove_signal_handler)
    def remove_signal_handler(self, sig: int) -> bool:
        removed = super().remove_signal_handler(sig)
        if removed and self.is_running():
            # The inherited method has let go of the wake-up descriptor with the last handler.
            self._borrow_wakeup_fd()
        return removed

    def _make_default_executor(self) -> concurrent.futures.ThreadPoolExecutor:
        from .. import _threads

        # Somebody may have put a class of his own in the standard name, from where asyncio takes it.
        named = concurrent.futures.ThreadPoolExecutor
        kind = _threads.ThreadPoolExecutor if named is _threads.StandardPool else named
        executor = kind(thread_name_prefix="asyncio")
        self._default_executor = executor
        return executor

    # ---------------------------------------------------------------------------------------------- transports

    @_in_place_of(asyncio.SelectorEventLoop.create_connection)
    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        **options: Any,
    ) -> Any:
        begun = None
        plain = type(self) is EventLoop and _CONNECT_STEPS.isdisjoint(self.__dict__) and not self._debug
        if plain and all(map(_is_default, options, options.values())):
            begun = self._begin_connect(host, port)
        if begun is None:
            with self._given(options.get("sock")):
                connect: Any = super().create_connection
                return await connect(protocol_factory, host, port, **options)
        fd, connected = begun
        try:
            if not connected:
                await sock_calls.until_ready(self, fd, writable=True)
            protocol = protocol_factory()
            waiter = self.create_future()
            transport = self._finish_connect(fd, host, port, protocol, waiter)
        except BaseException:
            os.close(fd)
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    @_in_place_of(asyncio.SelectorEventLoop.create_unix_connection)
    async def create_unix_connection(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], path: Any = None, **options: Any
    ) -> Any:
        with self._given(options.get("sock")):
            connect: Any = super().create_unix_connection
            return await connect(protocol_factory, path, **options)

    @_in_place_of(asyncio.SelectorEventLoop.connect_accepted_socket)
    async def connect_accepted_socket(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], sock: socket.socket, **options: Any
    ) -> Any:
        with self._given(sock):
            connect: Any = super().connect_accepted_socket
            return await connect(protocol_factory, sock, **options)

    def _given(self, sock: socket.socket | None) -> contextlib.nullcontext[None] | _Given:
        """Have the transport that is made of a user's own socket write at once: he may send by it at any time."""
        return _NOTHING_GIVEN if sock is None else _Given(self._given_sockets, sock)

    def _transport_socket(self, sock: socket.socket, transport: SocketTransport) -> TransportSocket:
        """Make what a transport gives away as its socket."""
        return TransportSocket(sock, transport)

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(sock)
        if context is None:
            made = SocketTransport(self, sock, protocol, waiter, extra, server)
        else:
            # A transport takes a copy of the context that it is made in; this one may be entered already.
            made = context.copy().run(SocketTransport, self, sock, protocol, waiter, extra, server)
        if id(sock) in self._given_sockets:
            made._write_at_once()
        return made

    _make_datagram_transport = datagrams.make_transport

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        waiter: asyncio.Future[None] | None = None,
        **options: Any,
    ) -> asyncio.Transport:
        return tls.make_transport(  # type: ignore[no-any-return]
            self, rawsock, protocol, sslcontext, waiter, **options
        )

    @_in_place_of(asyncio.SelectorEventLoop.start_tls)
    async def start_tls(self, *arguments: Any, **options: Any) -> Any:
        ours: Any = tls.can_start(self, *arguments, **options)
        upgrade: Any = functools.partial(tls.start_tls, self) if ours else super().start_tls
        return await upgrade(*arguments, **options)

    @property
    def tls_engine(self) -> tls.TlsEngine:
        """How TLS calls OpenSSL, and why so."""
        return tls.engine()

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *timeouts: Any,
        context: contextvars.Context | None = None,
        **named_timeouts: float | None,
    ) -> None:
        # 3.15 gives the context in which the server was made; before, it is the current one.
        given = {} if context is None else {"context": context}
        if sslcontext is not None or _is_replaced(self, _ACCEPT_STEPS):
            inherited = super()._start_serving
            inherited(
                protocol_factory, sock, sslcontext, server, backlog, *timeouts, **named_timeouts, **given
            )
            return
        timeouts += tuple(named_timeouts.values())
        if context is not None:
            timeouts += (*(None,) * (2 - len(timeouts)), context)
        fallback = (protocol_factory, sock, sslcontext, server, backlog, *timeouts)
        within = contextvars.copy_context() if context is None else context.copy()
        within.run(self._serve, sock, protocol_factory, server, backlog, fallback)

    # ------------------------------------------------------------------------------------------- a user's sockets

    # typeshed names the second argument as it is not.
    sock_recv = _in_place_of(asyncio.SelectorEventLoop.sock_recv)(sock_calls.sock_recv)  # type: ignore[assignment]
    sock_recv_into = _in_place_of(asyncio.SelectorEventLoop.sock_recv_into)(sock_calls.sock_recv_into)
    sock_recvfrom = _in_place_of(asyncio.SelectorEventLoop.sock_recvfrom)(sock_calls.sock_recvfrom)
    sock_recvfrom_into = _in_place_of(asyncio.SelectorEventLoop.sock_recvfrom_into)(
        sock_calls.sock_recvfrom_into
    )
    sock_sendall = _in_place_of(asyncio.SelectorEventLoop.sock_sendall)(sock_calls.sock_sendall)
    sock_sendto = _in_place_of(asyncio.SelectorEventLoop.sock_sendto)(sock_calls.sock_sendto)
    sock_accept = _in_place_of(asyncio.SelectorEventLoop.sock_accept)(sock_calls.sock_accept)

    # ----------------------------------------------------------------------------------- what the selector did

    def _make_self_pipe(self) -> None:
        self._ssock, self._csock = socket.socketpair()
        self._ssock.setblocking(False)
        self._csock.setblocking(False)
        self._internal_fds += 1
        self._attach_wake(self._ssock, self._csock)

    def _close_self_pipe(self) -> None:
        if not hasattr(self, "_csock"):  # `__init__` failed, and `__del__` closes what there is
            return
        self._detach_wake()
        self._ssock.close()
        self._ssock = None
        self._csock.close()
        self._csock = None
        self._internal_fds -= 1

    @property
    def _ready(self) -> _Handles:
        return _Handles(self._ready_handles, self._ready_count, self._clear_ready)

    @_ready.setter
    def _ready(self, queue: object) -> None:
        if "_transports" in self.__dict__:  # not the inherited `__init__`
            patched.refuse_queue("_ready")

    @property
    def _scheduled(self) -> _Handles:
        return _Handles(self._timer_handles, lambda: len(self._timer_handles()), self._clear_timers)

    @_scheduled.setter
    def _scheduled(self, queue: object) -> None:
        if "_transports" in self.__dict__:
            patched.refuse_queue("_scheduled")

    @property
    def _selector(self) -> Any:
        return self.__dict__["_selector"]

    @_selector.setter
    def _selector(self, selector: Any) -> None:
        # By the inherited `__init__` and `close`.
        if selector is not None and not isinstance(selector, _Watched):
            patched.refuse_selector()
        self.__dict__["_selector"] = selector


# What asyncio's create_connection goes through: who has put his own in place of one wants it called.
_CONNECT_STEPS = frozenset(
    ("getaddrinfo", "sock_connect", "_connect_sock", "_create_connection_transport", "_make_socket_transport")
)


# What asyncio's acceptor goes through.
_ACCEPT_STEPS = ("_accept_connection", "_accept_connection2", "_make_socket_transport")


def _is_replaced(loop: EventLoop, names: Iterable[str]) -> bool:
    """Whether a subclass, or a user on this one loop, has put something in place of our methods of these names."""
    kind = type(loop)
    return any(
        name in loop.__dict__
        or (kind is not EventLoop and getattr(kind, name) is not getattr(EventLoop, name))
        for name in names
    )


_connect: Any = asyncio.SelectorEventLoop.create_connection
_CONNECT_DEFAULTS: dict[str, Any] = _connect.__kwdefaults__


def _is_default(name: str, value: object) -> bool:
    if name == "ssl":
        return value is None or value is False
    return name in _CONNECT_DEFAULTS and value is _CONNECT_DEFAULTS[name]


def new_event_loop() -> EventLoop:
    """Return a new `EventLoop`.

    Raises:
        OSError: no descriptors are left for the epoll set and the pair of sockets that wakes the loop.
        RuntimeError: gevent or eventlet has monkey-patched `select`.

    Source: asyncio.new_event_loop; epoll(7).
    """
    return EventLoop()
