//! What a stream transport says of itself: `help()`, and docs/reference. `inspect` reads the signature before the `--`.

use std::ffi::CStr;

pub const TRANSPORT: &CStr = c"A stream connection, TCP or Unix: a native asyncio.Transport. The loop makes it.

What a protocol writes in one iteration of the loop leaves at its end, by one system call. Methods that say so below send
it at once.

Source: asyncio.Transport; tcp(7), unix(7).";

pub const WRITE: &CStr = c"write($self, data)
--

Send bytes, in the order of the calls. Never blocks: what the kernel does not take waits in a buffer.

Args:
    data: bytes, a bytearray or a memoryview. What waits is a copy, so it may be changed afterwards.

Raises:
    TypeError: data is nothing of the kind.
    RuntimeError: write_eof() was called.
    MemoryError: the buffer cannot grow. The connection is lost then, and nothing else.

Source: asyncio.WriteTransport.write; sendmsg(2).";

pub const WRITELINES: &CStr = c"writelines($self, list_of_data)
--

Send several pieces of bytes, as one write() of all of them.

Args:
    list_of_data: an iterable of what write() takes.

Raises:
    TypeError: one of them is no bytes, a bytearray or a memoryview. None of them is sent then.
    RuntimeError: write_eof() was called.
    MemoryError: the buffer cannot grow. The connection is lost then, and nothing else.

Source: asyncio.WriteTransport.writelines; writev(2).";

pub const WRITE_EOF: &CStr = c"write_eof($self)
--

Send what waits, then end the sending side. Receiving goes on. Sends at once.

Source: asyncio.WriteTransport.write_eof; shutdown(2), SHUT_WR.";

pub const CAN_WRITE_EOF: &CStr = c"can_write_eof($self)
--

Return True: TCP and Unix streams can end the sending side alone.

Source: asyncio.WriteTransport.can_write_eof.";

pub const CLOSE: &CStr = c"close($self)
--

Send what waits, then close. Nothing more is received; connection_lost(None) comes at the end. Sends at once.

Source: asyncio.BaseTransport.close.";

pub const ABORT: &CStr = c"abort($self)
--

Close without waiting for the peer: what the kernel does not take at once is lost. connection_lost(None) comes.

Source: asyncio.WriteTransport.abort.";

pub const IS_CLOSING: &CStr = c"is_closing($self)
--

Return True if it is closing or closed.

Source: asyncio.BaseTransport.is_closing.";

pub const IS_READING: &CStr = c"is_reading($self)
--

Return True if it receives: it is neither paused nor closing.

Source: asyncio.ReadTransport.is_reading.";

pub const PAUSE_READING: &CStr = c"pause_reading($self)
--

Receive no more until resume_reading(). The kernel then slows the peer down. Does nothing if it is paused or closing.

Source: asyncio.ReadTransport.pause_reading.";

pub const RESUME_READING: &CStr = c"resume_reading($self)
--

Receive again. Does nothing unless it is paused.

Source: asyncio.ReadTransport.resume_reading.";

pub const GET_PROTOCOL: &CStr = c"get_protocol($self)
--

Return the protocol.

Source: asyncio.BaseTransport.get_protocol.";

pub const SET_PROTOCOL: &CStr = c"set_protocol($self, protocol)
--

Have another protocol called from now on.

Args:
    protocol: an asyncio.Protocol or an asyncio.BufferedProtocol.

Source: asyncio.BaseTransport.set_protocol.";

pub const GET_EXTRA_INFO: &CStr = c"get_extra_info($self, name, default=None)
--

Return something that is known about the connection.

Args:
    name: 'socket' (asks for the socket, which sends what waits first), 'sockname' or 'peername' (addresses, as
        socket.getsockname() gives them; they stay when the connection is gone), or a key of the loop's own.
    default: what to return where the name is not known.

Source: asyncio.BaseTransport.get_extra_info.";

pub const GET_WRITE_BUFFER_SIZE: &CStr = c"get_write_buffer_size($self)
--

Return how much waits to be sent. Sends at once.

Returns:
    Bytes that the kernel has not taken, an int.

Source: asyncio.WriteTransport.get_write_buffer_size.";

pub const GET_WRITE_BUFFER_LIMITS: &CStr = c"get_write_buffer_limits($self)
--

Return the marks of flow control.

Returns:
    (low, high), in bytes: see set_write_buffer_limits().

Source: asyncio.WriteTransport.get_write_buffer_limits.";

pub const SET_WRITE_BUFFER_LIMITS: &CStr = c"set_write_buffer_limits($self, high=None, low=None)
--

Set when the protocol is asked to write no more: pause_writing() above high, resume_writing() at low or below.

Args:
    high: bytes that may wait. None: four times low, or 65,536 without low. 0: each write() is sent in the call.
    low: bytes. None: a quarter of high.

Raises:
    ValueError: not high >= low >= 0.

Source: asyncio.WriteTransport.set_write_buffer_limits.";

pub const DATAGRAM_TRANSPORT: &CStr =
    c"A datagram endpoint, UDP or Unix: an asyncio.DatagramTransport. The loop makes it.

Datagrams are received many at a time, and told one in an iteration of the loop; each is sent in the call.

Source: asyncio.DatagramTransport; udp(7), unix(7).";

pub const SENDTO: &CStr = c"sendto($self, data, addr=None)
--

Send a datagram, in the call. Never blocks: what the kernel does not take waits in a buffer.

Args:
    data: bytes, a bytearray or a memoryview; may be empty.
    addr: to whom; None for the peer that the endpoint was made for, or that its socket is connected to.

Raises:
    AttributeError: the endpoint is closed, and was made for no peer.
    TypeError: data is nothing of the kind.
    ValueError: the endpoint was made for another peer.

Source: asyncio.DatagramTransport.sendto; sendto(2).";
