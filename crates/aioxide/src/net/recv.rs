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
//! says that a short read suffices on every stream socket; `tests/survive/test_drained.py` has the kernel say otherwise.

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::mem::MaybeUninit;

use aioxide_sys::socket;
use pyo3_ffi::*;

use super::protocol::{self, Kind};
use super::stream::{Stream, close, fatal_error, of};
use crate::ffi::object::{bytes, truth};
use crate::ffi::{Obj, Raised, Raw, Res, context, error};
use crate::task::loop_state::{Item, LoopState};

/// What one read takes at most, and with it what one connection may read in a turn: asyncio's `max_size`.
const READ_SIZE: usize = 256 * 1024;
/// From so many bytes on, the next read goes straight into a `bytes` object: copying costs more than shrinking it.
const LARGE_READ: usize = 32 * 1024;

#[derive(Default)]
pub struct Reading {
    /// `connection_made` has been called.
    pub begun: Cell<bool>,
    pub paused: Cell<bool>,
    /// The peer's end of stream was read.
    pub ended: Cell<bool>,
    /// The kernel may have bytes: an edge came, and no read has come up short since.
    pub ready: Cell<bool>,
    /// Plain TCP: a short read means that nothing follows.
    pub tcp: Cell<bool>,
    /// The kernel has said more than that there are bytes: an urgent mark, a hang-up, an error. Until EAGAIN or the end of
    /// the stream, a short read means nothing.
    pub doubtful: Cell<bool>,
    /// A read is in the ready queue.
    scheduled: Cell<bool>,
    /// The last read was large.
    large: Cell<bool>,
}

/// Where small reads land first: one buffer for all, as reading keeps the GIL.
struct Scratch(UnsafeCell<Vec<u8>>);

// SAFETY: used under the GIL, by leaf code only.
unsafe impl Sync for Scratch {}

static SCRATCH: Scratch = Scratch(UnsafeCell::new(Vec::new()));

impl Reading {
    #[inline(always)]
    fn wants(&self) -> bool {
        self.begun.get() && !self.paused.get() && !self.ended.get()
    }
}

/// Queues a read if there may be something to read and somebody wants it. Where there is no memory for that, which
/// `sys.unraisablehook` is told, the next event or `resume_reading` tries again.
#[inline(always)]
pub fn schedule(state: &LoopState, slf: Raw, this: &Stream) {
    let reading = &this.reading;
    if reading.ready.get() && reading.wants() && !this.closing.get() && !reading.scheduled.replace(true) {
        state.push_or_report(Item::Job { object: Obj::new(slf), run: read_ready });
    }
}

/// The first look at the descriptor, after `connection_made`.
///
/// # Safety
/// `slf` is a transport.
pub unsafe fn begin(state: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: a transport, which consists of cells and is kept alive by the job that runs this.
    let this = unsafe { of(slf) };
    this.reading.begun.set(true);
    if this.closing.get() || !this.owner.is_set() {
        return Ok(());
    }
    if let Err(Raised) = this.register(slf) {
        let Some(exception) = error::take() else { return Ok(()) };
        return fatal_error(slf, this, exception, c"Fatal read error on socket transport");
    }
    schedule(state, slf, this);
    Ok(())
}

/// # Safety
/// `slf` is a transport.
unsafe fn read_ready(state: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: queued with a transport.
    let this = unsafe { of(slf) };
    this.reading.scheduled.set(false);
    if this.lost.get() > 0 || this.closing.get() || !this.reading.wants() {
        return Ok(());
    }
    let result = this.in_context(|| match this.protocol_kind.get() {
        Kind::Streaming => read_bytes(slf, this),
        Kind::Buffered => read_into_buffer(slf, this),
    });
    // An exception that leaves the loop leaves the bytes where they are: they are due when it runs again.
    schedule(state, slf, this);
    result
}

/// Notes whether a read of `count` bytes, where `room` was, has emptied the kernel's buffer.
#[inline(always)]
fn note(this: &Stream, count: usize, room: usize) {
    let reading = &this.reading;
    reading.large.set(count >= LARGE_READ);
    if count < room && !reading.doubtful.get() && (reading.tcp.get() || socket::is_drained(this.fd.get())) {
        reading.ready.set(false);
    }
}

#[inline(always)]
fn read_bytes(slf: Raw, this: &Stream) -> Res<()> {
    let received = if this.reading.large.get() { recv_large(this) } else { recv_small(this) };
    match received {
        Ok(Some(data)) => protocol::data_received(slf, this, data),
        Ok(None) => end_of_stream(slf, this),
        Err(Failure::Io(why)) => failed(slf, this, &why),
        Err(Failure::Raised) => {
            let Some(exception) = error::take() else { return Ok(()) };
            fatal_error(slf, this, exception, c"Fatal read error on socket transport")
        }
    }
}

enum Failure {
    Io(io::Error),
    Raised,
}

impl From<Raised> for Failure {
    fn from(_: Raised) -> Self {
        Failure::Raised
    }
}

/// Reads into the common buffer and copies: nearly all messages are small.
#[inline(always)]
fn recv_small(this: &Stream) -> Result<Option<Obj>, Failure> {
    // SAFETY: leaf code under the GIL; the copy is made before anyone else can use the buffer.
    unsafe {
        let scratch = &mut *SCRATCH.0.get();
        if scratch.capacity() == 0 && scratch.try_reserve_exact(READ_SIZE).is_err() {
            PyErr_NoMemory();
            return Err(Failure::Raised);
        }
        let room = &mut scratch.spare_capacity_mut()[..READ_SIZE];
        let count = socket::recv(this.fd.get(), room).map_err(Failure::Io)?;
        if count == 0 {
            return Ok(None);
        }
        note(this, count, READ_SIZE);
        Ok(Some(bytes(std::slice::from_raw_parts(room.as_ptr().cast(), count))?))
    }
}

/// Reads into a `bytes` object of the largest size, then gives back what was not needed.
fn recv_large(this: &Stream) -> Result<Option<Obj>, Failure> {
    // SAFETY: the object is new, so nobody else sees it change; `_PyBytes_Resize` takes it over.
    unsafe {
        let target = Obj::steal(PyBytes_FromStringAndSize(std::ptr::null(), READ_SIZE as Py_ssize_t))?;
        let data = PyBytes_AsString(target.as_ptr()).cast::<MaybeUninit<u8>>();
        let room = std::slice::from_raw_parts_mut(data, READ_SIZE);
        let count = socket::recv(this.fd.get(), room).map_err(Failure::Io)?;
        if count == 0 {
            return Ok(None);
        }
        note(this, count, READ_SIZE);
        let mut raw = target.into_raw();
        if _PyBytes_Resize(&mut raw, count as Py_ssize_t) < 0 {
            return Err(Failure::Raised);
        }
        Ok(Some(Obj::own(raw)))
    }
}

unsafe extern "C" {
    fn _PyBytes_Resize(object: *mut Raw, size: Py_ssize_t) -> std::ffi::c_int;
}

/// Reads into the protocol's own buffer: `BufferedProtocol`.
fn read_into_buffer(slf: Raw, this: &Stream) -> Res<()> {
    let Some(buffer) = protocol::get_buffer(slf, this)? else { return Ok(()) };
    let received = buffer.with(|room| socket::recv(this.fd.get(), room).map(|count| (count, room.len())));
    drop(buffer);
    match received {
        Ok((0, _)) => end_of_stream(slf, this),
        Ok((count, room)) => {
            note(this, count, room);
            protocol::buffer_updated(slf, this, count)
        }
        Err(why) => failed(slf, this, &why),
    }
}

/// A read failed: try again later, or the end of the connection.
fn failed(slf: Raw, this: &Stream, why: &io::Error) -> Res<()> {
    if socket::would_block(why) {
        let interrupted = why.kind() == io::ErrorKind::Interrupted;
        this.reading.ready.set(interrupted);
        // Whatever comes from now on makes an edge, whose flags say anew what it is.
        this.reading.doubtful.set(interrupted && this.reading.doubtful.get());
        return Ok(());
    }
    let Some(exception) = error::os_error(why) else { return Err(Raised) };
    fatal_error(slf, this, exception, c"Fatal read error on socket transport")
}

/// The peer will send no more: the protocol says whether that closes the connection.
fn end_of_stream(slf: Raw, this: &Stream) -> Res<()> {
    this.reading.ready.set(false);
    let answer = protocol::eof_received(slf, this)
        .and_then(|answer| answer.map(|keep_open| truth(keep_open.as_ptr())).transpose());
    match answer {
        Ok(None) => Ok(()),
        Ok(Some(true)) => {
            this.reading.ended.set(true);
            Ok(())
        }
        Ok(Some(false)) => close(slf, this),
        Err(Raised) => {
            // The protocol has not said yet; it is asked again when the loop runs again.
            this.reading.ready.set(error::is_exit());
            Err(Raised)
        }
    }
}

/// `pause_reading`.
pub fn pause(slf: Raw, this: &Stream) {
    if !this.closing.get() {
        this.reading.paused.set(true);
        this.hold(slf);
    }
}

/// `resume_reading`: what came meanwhile made its edge already, so look without waiting for one.
///
/// From here on the protocol is called in the context of whoever resumed; from 3.15 on it keeps the one it began with.
pub fn resume(slf: Raw, this: &Stream) -> Res<()> {
    if this.closing.get() || !this.reading.paused.replace(false) {
        return Ok(());
    }
    if cfg!(not(Py_3_15)) {
        this.context.set(context::copy_current()?);
    }
    this.hold(slf);
    if let Some(owner) = this.loop_object() {
        schedule(&owner.state, slf, this);
    }
    Ok(())
}

/// A new protocol may want what the old one had no use for.
pub fn protocol_changed(slf: Raw, this: &Stream) {
    if let Some(owner) = this.loop_object() {
        schedule(&owner.state, slf, this);
    }
}
