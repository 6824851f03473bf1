//! Bytes in: when to read, how much, and into what.
//!
//! Our registrations are edge-triggered: what is left in the kernel makes no edge of its own, so a descriptor is read
//! until it is known to be empty. What tells that:
//!
//! | descriptor | a read that filled less than its room | known to be empty |
//! |---|---|---|
//! | TCP, and nothing on top | empty, if no PRI, RDHUP, HUP or ERR came since the last EAGAIN | by that, else by EAGAIN |
//! | TCP with urgent data | ends at the mark, also with SO_OOBINLINE | EAGAIN |
//! | any with RDHUP or HUP | the end of the stream may follow under the same edge | it is read: 0 |
//! | any with ERR | an error may follow | it is read, or EAGAIN |
//! | Unix stream | ends behind each message with descriptors, where the writer changes (SO_PASSCRED), at an urgent mark | EAGAIN |
//! | Unix seqpacket, datagrams | one message | EAGAIN |
//! | pipe | ends behind each packet (O_DIRECT); and an edge comes for a first byte only, or for each write, by the kernel's version | EAGAIN |
//! | tty | ends behind each line | EAGAIN; EIO is the end |
//! | MPTCP, SCTP, vsock, TCP under kernel TLS, all else | nothing known | EAGAIN |
//!
//! EAGAIN is looked for with a peek (`socket::is_drained`), which costs a system call but no turn of the loop. epoll(7)
//! says that a short read suffices on every stream socket; `tests/net/test_drained.py` has the kernel say otherwise.

use std::io;
use std::mem::MaybeUninit;

use aioxide_sys::socket;
use pyo3_ffi::*;

use super::protocol;
use super::received::{self, LARGE_READ, READ_SIZE};
use super::state::{Kind, Next, READ_FAILED, Stream};
use crate::ffi::cells::Turn;
use crate::ffi::{Raised, Res, error};

/// Whether there may be something to read, and somebody wants it.
#[inline(always)]
pub fn is_due(this: &Stream) -> bool {
    this.reading.ready.get() && this.reading.wants() && !this.closing.get()
}

/// Reads once, and hands what came to the protocol.
#[inline(always)]
pub fn read(this: &Stream, turn: Turn) -> Res<Next> {
    match this.protocol_kind.get() {
        Kind::Streaming => read_bytes(this, turn),
        Kind::Buffered => read_into_buffer(this, turn),
        Kind::Native => read_by_protocol(this, turn),
    }
}

/// Notes whether a read of `count` bytes, where `room` was, has emptied the kernel's buffer.
#[inline(always)]
fn note(this: &Stream, turn: Turn, count: usize, room: usize) {
    let reading = &this.reading;
    reading.note_size(turn, count >= LARGE_READ);
    if count < room && !reading.is_doubtful(turn) && (reading.tcp.get() || socket::is_drained(this.fd.get()))
    {
        reading.note_empty(turn);
    }
}

#[inline(always)]
fn read_bytes(this: &Stream, turn: Turn) -> Res<Next> {
    let read = |room: &mut [MaybeUninit<u8>]| socket::recv(this.fd.get(), room);
    let received = if this.reading.was_large(turn) {
        received::large(READ_SIZE, read)
    } else {
        received::small(turn.py(), READ_SIZE, read)
    };
    match received {
        Ok(Ok(data)) => {
            // SAFETY: a `bytes` object.
            let count = unsafe { Py_SIZE(data.as_ptr()) } as usize;
            if count == 0 {
                return end_of_stream(this, turn);
            }
            note(this, turn, count, READ_SIZE);
            protocol::data_received(this, data)
        }
        Ok(Err(why)) => failed(this, turn, &why),
        Err(Raised) => Ok(Next::fatal(READ_FAILED)),
    }
}

/// Reads into the protocol's own buffer: `BufferedProtocol`.
fn read_into_buffer(this: &Stream, turn: Turn) -> Res<Next> {
    let read =
        |room: &mut [MaybeUninit<u8>]| socket::recv(this.fd.get(), room).map(|count| (count, room.len()));
    match protocol::with_buffer(this, read)? {
        Ok(Ok((0, _))) => end_of_stream(this, turn),
        Ok(Ok((count, room))) => {
            note(this, turn, count, room);
            protocol::buffer_updated(this, count)
        }
        Ok(Err(why)) => failed(this, turn, &why),
        Err(next) => Ok(next),
    }
}

/// Has our own TLS read: into memory that it shares with all others.
fn read_by_protocol(this: &Stream, turn: Turn) -> Res<Next> {
    let mut read = |room: &mut [MaybeUninit<u8>]| {
        let count = socket::recv(this.fd.get(), room)?;
        if count > 0 {
            note(this, turn, count, room.len());
        }
        Ok(count)
    };
    match protocol::receive(this, &mut read)? {
        Ok(Ok(0)) => end_of_stream(this, turn),
        Ok(Ok(_)) => Ok(Next::GoOn),
        Ok(Err(why)) => failed(this, turn, &why),
        Err(next) => Ok(next),
    }
}

/// A read failed: try again later, or the end of the connection.
fn failed(this: &Stream, turn: Turn, why: &io::Error) -> Res<Next> {
    if socket::would_block(why) {
        if why.kind() != io::ErrorKind::Interrupted {
            this.reading.note_empty(turn);
        }
        return Ok(Next::GoOn);
    }
    let Some(exception) = error::os_error(why) else { return Err(Raised) };
    Ok(Next::Fatal { exception, text: READ_FAILED })
}

/// The peer will send no more: the protocol says whether that closes the connection.
fn end_of_stream(this: &Stream, turn: Turn) -> Res<Next> {
    this.reading.note_empty(turn);
    match protocol::eof_received(this)? {
        Ok(true) => this.reading.note_end(),
        Ok(false) => return Ok(Next::Close),
        Err(next) => return Ok(next),
    }
    Ok(Next::GoOn)
}
