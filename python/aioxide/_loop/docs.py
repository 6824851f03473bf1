"""The docstrings of those methods of the loop that stand in front of asyncio's."""

_SOCKET = """    sock: a non-blocking socket.socket.
"""
_REFUSED = """Raises:
    ValueError: the socket may block, in debug mode.
    TypeError: it is an ssl.SSLSocket.
    RuntimeError: a transport has its descriptor.
    OSError: the call failed.
"""

TEXTS = {
    "run_forever": """Run until stop() is called.

Raises:
    RuntimeError: this loop, or another one in this thread, runs already; this one is closed; or gevent or eventlet
        has monkey-patched `select`.

Source: asyncio.loop.run_forever.
""",
    "remove_signal_handler": """Remove the handler of a signal.

Args:
    sig: the number of the signal (signal.SIGINT).

Returns:
    False if there was none.

Raises:
    TypeError: sig is no integer.
    ValueError: there is no such signal.
    RuntimeError: sig cannot be caught.

Source: asyncio.loop.remove_signal_handler; signal(7).
""",
    "create_connection": """Connect to a TCP server.

Native where `host` is an IP address, `port` a number, and no option is given.

Args:
    protocol_factory: called without arguments; returns the asyncio.Protocol.
    host: a name or an IP address.
    port: a number from 0 to 65,535, or the name of a service.
    ssl: an ssl.SSLContext, or True for the default one: TLS. None: none.
    family: socket.AF_INET or AF_INET6; 0: either.
    proto: a number of getaddrinfo(3).
    flags: flags of getaddrinfo(3).
    sock: a connected socket to use, in place of `host` and `port`.
    local_addr: (host, port) to bind to.
    server_hostname: the name that the certificate must have; None: `host`.
    ssl_handshake_timeout: seconds for the handshake of TLS; None: 60.
    ssl_shutdown_timeout: seconds for the end of TLS; None: 30.
    happy_eyeballs_delay: seconds after which the next address is tried beside the one before; None: one by one.
    interleave: how many addresses of the first family come before those of the others; None: 0, or 1 with
        `happy_eyeballs_delay`.
    all_errors: raise an ExceptionGroup of all that went wrong, in place of one (3.12).

Returns:
    (transport, protocol).

Raises:
    OSError: no connection could be made.
    ssl.SSLError: TLS failed.
    ConnectionAbortedError: the handshake of TLS took too long.
    ValueError: the arguments do not go together.

Source: asyncio.loop.create_connection; connect(2); happy eyeballs: RFC 8305.
""",
    "create_unix_connection": """Connect to a Unix socket.

Args:
    protocol_factory: called without arguments; returns the asyncio.Protocol.
    path: of the socket: a str, bytes or path object; one that begins with a zero byte is abstract.
    ssl: an ssl.SSLContext, or True for the default one: TLS. None: none.
    sock: a connected socket to use, in place of `path`.
    server_hostname: the name that the certificate must have; needed with `ssl`.
    ssl_handshake_timeout: seconds for the handshake of TLS; None: 60.
    ssl_shutdown_timeout: seconds for the end of TLS; None: 30.

Returns:
    (transport, protocol).

Raises:
    OSError: no connection could be made.
    ssl.SSLError: TLS failed.
    ValueError: the arguments do not go together.

Source: asyncio.loop.create_unix_connection; unix(7).
""",
    "connect_accepted_socket": """Make a transport of a connection that was accepted elsewhere.

Args:
    protocol_factory: called without arguments; returns the asyncio.Protocol.
    sock: what socket.accept() has returned.
    ssl: an ssl.SSLContext: TLS. None: none.
    ssl_handshake_timeout: seconds for the handshake of TLS; None: 60.
    ssl_shutdown_timeout: seconds for the end of TLS; None: 30.

Returns:
    (transport, protocol).

Raises:
    ssl.SSLError: TLS failed.
    ValueError: `sock` is no stream socket, or the arguments do not go together.

Source: asyncio.loop.connect_accepted_socket; accept(2).
""",
    "start_tls": """Upgrade a connection to TLS.

Args:
    transport: the connection's transport. Use the returned one from then on.
    protocol: its protocol.
    sslcontext: an ssl.SSLContext.
    server_side: this is the server's end.
    server_hostname: the name that the certificate must have.
    ssl_handshake_timeout: seconds for the handshake of TLS; None: 60.
    ssl_shutdown_timeout: seconds for the end of TLS; None: 30.

Returns:
    The new transport.

Raises:
    ssl.SSLError: TLS failed.
    TypeError: sslcontext is no ssl.SSLContext, or the transport cannot do it.

Source: asyncio.loop.start_tls.
""",
    "sock_recv": f"""Receive from a socket.

Args:
{_SOCKET}    n: how many bytes at most.

Returns:
    The bytes; none at the end of the stream.

{_REFUSED}
Source: asyncio.loop.sock_recv; recv(2).
""",
    "sock_recv_into": f"""Receive from a socket into a buffer.

Args:
{_SOCKET}    buf: a writable buffer; its size is the most that is received.

Returns:
    How many bytes came; 0 at the end of the stream.

{_REFUSED}
Source: asyncio.loop.sock_recv_into; recv(2).
""",
    "sock_recvfrom": f"""Receive a message from a socket.

Args:
{_SOCKET}    bufsize: how many bytes at most; of a longer message the rest is lost.

Returns:
    The bytes, and the address that they came from.

{_REFUSED}
Source: asyncio.loop.sock_recvfrom; recvfrom(2).
""",
    "sock_recvfrom_into": f"""Receive a message from a socket into a buffer.

Args:
{_SOCKET}    buf: a writable buffer.
    nbytes: how many bytes at most; 0: as many as the buffer has room for.

Returns:
    How many bytes came, and the address that they came from.

{_REFUSED}
Source: asyncio.loop.sock_recvfrom_into; recvfrom(2).
""",
    "sock_sendall": f"""Send all of data by a socket.

Of a typed memoryview all bytes are sent. Where it fails or is cancelled, nobody can say how much was.

Args:
{_SOCKET}    data: an object with a buffer: bytes, bytearray, memoryview. Its size must not change meanwhile.

{_REFUSED}
Source: asyncio.loop.sock_sendall; send(2).
""",
    "sock_sendto": f"""Send a message to an address.

Args:
{_SOCKET}    data: an object with a buffer.
    address: as the socket's family has them.

Returns:
    How many bytes were sent.

{_REFUSED}
Source: asyncio.loop.sock_sendto; sendto(2).
""",
    "sock_accept": f"""Accept a connection.

Args:
    sock: a non-blocking socket.socket that listens.

Returns:
    A non-blocking socket, and the address of who has connected.

{_REFUSED}
Source: asyncio.loop.sock_accept; accept(2).
""",
}
