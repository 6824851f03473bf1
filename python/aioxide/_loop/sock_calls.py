"""The `sock_*` methods of the loop: the system call at once, and again each time that the descriptor is ready.

There is no task, and nothing is received or accepted while nobody waits for it: asyncio's own do that in a callback,
and lose it where the task is cancelled in between. What is called natively is in `net/sock_calls.rs`; the docstrings
are in `docs`.
"""

from __future__ import annotations

from asyncio import base_events
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

# `EventLoop`, which takes these for its methods.
_Loop = Any


async def until_ready(loop: _Loop, fd: int, writable: bool) -> None:
    """Return once a descriptor is ready.

    Raises:
        RuntimeError: a transport has it.
    """
    if fd in loop._transports.data:
        loop._ensure_fd_no_transport(fd)
    future = loop.create_future()
    handle = loop._watch_once(fd, writable, future)
    try:
        await future
    except BaseException:
        loop._end_watch(fd, writable, handle)
        raise


async def _until_done(
    loop: _Loop, sock: socket.socket, method: str, *args: Any, writable: bool = False
) -> Any:
    """Return what a method of a socket returns, once it need not wait; what is no socket for this has been refused."""
    while True:
        try:
            return getattr(sock, method)(*args)
        except (BlockingIOError, InterruptedError):
            pass  # and wait outside, or it would be the context of what is raised there
        await until_ready(loop, sock.fileno(), writable)


def _check(loop: _Loop, sock: socket.socket) -> None:
    base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
    if loop.get_debug() and sock.gettimeout() != 0:
        raise ValueError("the socket must be non-blocking")


async def sock_recv(self: _Loop, sock: socket.socket, n: int) -> bytes:
    while (received := self._recv_now(sock, n)) is None:
        await until_ready(self, sock.fileno(), writable=False)
    if received is NotImplemented:
        _check(self, sock)
        return await _until_done(self, sock, "recv", n)  # type: ignore[no-any-return]
    return received  # type: ignore[no-any-return]


async def sock_recv_into(self: _Loop, sock: socket.socket, buf: Any) -> int:
    while (received := self._recv_into_now(sock, buf)) is None:
        await until_ready(self, sock.fileno(), writable=False)
    if received is NotImplemented:
        _check(self, sock)
        return await _until_done(self, sock, "recv_into", buf)  # type: ignore[no-any-return]
    return received  # type: ignore[no-any-return]


async def sock_sendall(self: _Loop, sock: socket.socket, data: Any) -> None:
    sent = self._send_now(sock, data, 0)
    if sent is None:
        return
    if sent is NotImplemented:
        await _send_by_method(self, sock, data)
        return
    # Held until the end: nobody may change its size meanwhile.
    with memoryview(data) as view:
        while sent is not None:
            await until_ready(self, sock.fileno(), writable=True)
            before, sent = sent, self._send_now(sock, view, sent)
            if sent is NotImplemented:  # debug mode was switched on, or the method replaced
                await _send_by_method(self, sock, memoryview(view.tobytes())[before:])
                return


async def _send_by_method(loop: _Loop, sock: socket.socket, data: Any) -> None:
    _check(loop, sock)
    sent = await _until_done(loop, sock, "send", data, writable=True)
    with memoryview(data) as view:
        if sent == view.nbytes:
            return
        # In bytes: a view may have larger items.
        rest = memoryview(view.tobytes())[sent:]
        while rest:
            rest = rest[await _until_done(loop, sock, "send", rest, writable=True) :]


async def sock_recvfrom(self: _Loop, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
    _check(self, sock)
    return await _until_done(self, sock, "recvfrom", bufsize)  # type: ignore[no-any-return]


async def sock_recvfrom_into(self: _Loop, sock: socket.socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
    _check(self, sock)
    if not nbytes:
        len(buf)  # what has none fails as it does in asyncio
        nbytes = 0  # all of it, in bytes and not in items
    return await _until_done(self, sock, "recvfrom_into", buf, nbytes)  # type: ignore[no-any-return]


async def sock_sendto(self: _Loop, sock: socket.socket, data: Any, address: Any) -> int:
    _check(self, sock)
    return await _until_done(self, sock, "sendto", data, address, writable=True)  # type: ignore[no-any-return]


async def sock_accept(self: _Loop, sock: socket.socket) -> tuple[socket.socket, Any]:
    _check(self, sock)
    sock.fileno()  # what is no socket fails as it does in asyncio
    connection, address = await _until_done(self, sock, "accept")
    connection.setblocking(False)
    return connection, address
