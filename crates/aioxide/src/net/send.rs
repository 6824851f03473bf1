//! Bytes out: a turn's writes leave together, in one system call a connection.

use std::io::{self, IoSlice};

use aioxide_core::sendq::SendQueue;
use aioxide_sys::socket;
use pyo3_ffi::*;

use super::protocol;
use super::state::{Chunk, Next, Stream, WRITE_FAILED};
use crate::engine::loop_object::io_result;
use crate::ffi::calls::call_method;
use crate::ffi::names::{imported, interned, text};
use crate::ffi::object::{bytes, getattr, string, truth};
use crate::ffi::{Obj, Raised, Ref, Res, buffer, builtin, error, none};

/// asyncio's default high-water mark of a write buffer, in bytes.
pub const HIGH_WATER: usize = 64 * 1024;
/// Writes to a lost connection before asyncio starts to complain.
const LOG_THRESHOLD: u32 = 5;
/// Chunks that are gathered without an allocation.
const GATHER: usize = 16;

/// A chunk of what the user wrote: the `bytes` object itself, or a copy of what could change later.
pub fn chunk_of(data: Ref) -> Res<Chunk> {
    if is_fixed(data) { Ok(Chunk(data.to_obj())) } else { buffer::lend(data, copy_of)? }
}

/// Whether it can be sent later without a copy.
#[inline(always)]
fn is_fixed(data: Ref) -> bool {
    // SAFETY: a type check on a live object.
    unsafe { PyBytes_CheckExact(data.as_ptr()) != 0 }
}

fn copy_of(data: &[u8]) -> Res<Chunk> {
    bytes(data).map(Chunk)
}

/// `write` takes three types, `writelines` every buffer.
fn check_type(data: Ref) -> Res<()> {
    if buffer::is_data(data) {
        return Ok(());
    }
    // SAFETY: a live object has a type, which is one.
    let name = getattr(unsafe { Ref::new(data.type_of().cast()) }, interned().dunder_name)?;
    let text = if cfg!(Py_3_14) {
        c"data argument must be a bytes, bytearray, or memoryview object, not %R"
    } else {
        c"data argument must be a bytes-like object, not %R"
    };
    error::raise_with(builtin::type_error(), text, &name, None)
}

/// `Transport.write`.
#[inline]
pub fn write(this: &Stream, data: Ref) -> Res<Next> {
    let fixed = is_fixed(data);
    if !fixed {
        check_type(data)?;
    }
    check_writable(
        this,
        c"Cannot call write() after write_eof()",
        c"unable to write; sendfile is in progress",
    )?;
    let chunk = if fixed {
        Chunk(data.to_obj())
    } else {
        match unsent(this, data) {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(next)) => return Ok(next),
            Err(Raised) => return refused_buffer(),
        }
    };
    if chunk.as_ref().is_empty() {
        return Ok(Next::GoOn);
    }
    if this.lost.get() > 0 || !this.owner.is_set() {
        return write_to_lost(this);
    }
    if this.with_queue(|queue| queue.push(chunk)).is_err() {
        return error::no_memory();
    }
    written(this)
}

/// Of data that could change: what is larger than may wait for the end of the turn is sent from where it lies, and only what the
/// kernel would not take is copied.
fn unsent(this: &Stream, data: Ref) -> Res<Result<Chunk, Next>> {
    buffer::lend(data, |bytes| {
        let writing = &this.writing;
        let goes_at_once = bytes.len() > writing.gather.get()
            && !(writing.tls.get() || writing.blocked.get() || this.closing.get() || this.lost.get() > 0)
            && this.queued() == 0;
        if !goes_at_once || this.fd.get() < 0 {
            return copy_of(bytes).map(Ok);
        }
        match socket::send(this.fd.get(), bytes) {
            // Half a message is worth nothing, and what follows it would not be understood.
            Ok(sent) if sent > 0 => Ok(copy_of(&bytes[sent..]).map_err(|Raised| Next::fatal(WRITE_FAILED))),
            Err(why) if !socket::would_block(&why) => failed(this, &why).map(Err),
            _ => copy_of(bytes).map(Ok),
        }
    })?
}

/// Sends what our own TLS has written, which was gathered already: now, from where it lies. Only what the kernel would not take is
/// copied.
pub fn write_now(this: &Stream, data: &[u8]) -> Res<Next> {
    if this.lost.get() > 0 || !this.owner.is_set() {
        return write_to_lost(this);
    }
    let sent = if this.queued() > 0 || this.writing.blocked.get() || this.fd.get() < 0 {
        0
    } else {
        match socket::send(this.fd.get(), data) {
            Ok(sent) => sent,
            Err(why) if socket::would_block(&why) => 0,
            Err(why) => return failed(this, &why),
        }
    };
    if sent == data.len() {
        return Ok(Next::GoOn);
    }
    let rest = copy_of(&data[sent..])?;
    if this.with_queue(|queue| queue.push(rest)).is_err() {
        return error::no_memory();
    }
    if this.writing.blocked.get() {
        return maybe_pause_protocol(this).map(|()| Next::GoOn);
    }
    send_queued(this)
}

/// `Transport.writelines`.
pub fn write_lines(this: &Stream, lines: Ref) -> Res<Next> {
    if cfg!(not(Py_3_12)) {
        // There `writelines` is one `write` of all.
        let joined = call_method(text(c"join")?, &[bytes(b"")?.borrow(), lines])?;
        return write(this, joined.borrow());
    }
    check_writable(
        this,
        c"Cannot call writelines() after write_eof()",
        c"unable to writelines; sendfile is in progress",
    )?;
    if !truth(lines)? {
        return Ok(Next::GoOn);
    }
    if this.lost.get() > 0 || !this.owner.is_set() {
        return write_to_lost(this);
    }
    let items = buffers_of(lines)?;
    let Ok(chunks) = chunks_of(&items) else { return refused_buffer() };
    // Converting may have run code of the buffers' own.
    if this.lost.get() > 0 || !this.owner.is_set() {
        return Ok(Next::GoOn);
    }
    if this.with_queue(|queue| queue.extend(chunks)).is_err() {
        return error::no_memory();
    }
    if this.queued() == 0 { Ok(Next::GoOn) } else { written(this) }
}

fn chunks_of(items: &[Obj]) -> Res<Vec<Chunk>> {
    let mut chunks = Vec::new();
    chunks.try_reserve_exact(items.len()).or_else(|_| error::no_memory())?;
    for item in items {
        chunks.push(chunk_of(item.borrow())?);
    }
    Ok(chunks)
}

/// What an iterable gives, as `bytes` or views of memory: asyncio looks at all before it sends any.
fn buffers_of(lines: Ref) -> Res<Vec<Obj>> {
    // SAFETY: live objects; each item is held until it is converted.
    unsafe {
        let iterator = Obj::steal(PyObject_GetIter(lines.as_ptr()))?;
        let mut items = Vec::new();
        while let Ok(item) = Obj::steal(PyIter_Next(iterator.as_ptr())) {
            let exact = is_fixed(item.borrow());
            items.try_reserve(1).or_else(|_| error::no_memory())?;
            items.push(if exact { item } else { Obj::steal(PyMemoryView_FromObject(item.as_ptr()))? });
        }
        if error::occurred() { Err(Raised) } else { Ok(items) }
    }
}

fn check_writable(this: &Stream, after_eof: &std::ffi::CStr, sendfile: &std::ffi::CStr) -> Res<()> {
    if this.eof_written.get() {
        return error::runtime_error(after_eof);
    }
    if this.empty_waiter.is_set() {
        return error::runtime_error(sendfile);
    }
    Ok(())
}

/// A buffer with gaps ends the connection, as the socket's refusal does in asyncio; one that is no more is the caller's
/// mistake.
#[cold]
fn refused_buffer() -> Res<Next> {
    if error::matches(builtin::buffer_error()) { Ok(Next::fatal(WRITE_FAILED)) } else { Err(Raised) }
}

#[cold]
fn write_to_lost(this: &Stream) -> Res<Next> {
    if this.lost.get() >= LOG_THRESHOLD {
        let text = string("socket.send() raised exception.")?;
        call_method(interned().warning, &[imported().logger, text.borrow()])?;
    }
    this.count_lost();
    Ok(Next::GoOn)
}

/// Something was queued: it leaves at the end of the turn; now if it is much, or if no turn is under way whose end would
/// come.
#[inline(always)]
fn written(this: &Stream) -> Res<Next> {
    if this.writing.blocked.get() {
        return maybe_pause_protocol(this).map(|()| Next::GoOn);
    }
    let owner = this.require_loop()?;
    if (this.queued() <= this.writing.gather.get() || gathers_tls(this)) && owner.in_turn() {
        return Ok(if this.writing.flush_due.get() { Next::GoOn } else { Next::SendLater });
    }
    send_queued(this)
}

/// What may wait for the end of the turn: as much as the protocol wants to have waiting at all, unless the socket is
/// shared. Where TLS stands between, `gathers_tls` looks at each write.
pub fn look_at_limits(this: &Stream) {
    let none = this.writing.at_once.get() || this.writing.tls.get();
    this.writing.set_gather(if none { 0 } else { this.high_water.get().min(HIGH_WATER) });
}

/// Whether what TLS has written may wait: unless who writes above it wants nothing to wait (`set_write_buffer_limits(0)`,
/// of which only the TLS protocol knows).
#[cold]
fn gathers_tls(this: &Stream) -> bool {
    let writing = &this.writing;
    if !writing.tls.get() || writing.at_once.get() || this.queued() > this.high_water.get().min(HIGH_WATER) {
        return false;
    }
    let limit = text(c"_outgoing_high_water")
        .and_then(|name| getattr(&this.protocol.or_none(), name))
        .and_then(|limit| truth(&limit));
    limit.unwrap_or_else(|Raised| {
        error::clear();
        true
    })
}

/// Somebody else has the socket from here on, or its descriptor: what was written leaves before he can use it, and what
/// will be is sent at once.
pub fn write_at_once(this: &Stream) -> Res<Next> {
    this.writing.share_socket();
    look_at_limits(this);
    flush_queued(this)
}

/// Sends what was written if a `drain` asks whether the transport is closing: `StreamWriter.drain`, which asks nothing
/// else of it, and whoever has written his own like it. Servers ask before each write, and are not for that.
#[inline(always)]
pub fn flush_for_drain(this: &Stream) -> Res<Next> {
    if this.queued() == 0 || this.writing.blocked.get() || !asked_by_drain()? {
        return Ok(Next::GoOn);
    }
    flush_queued(this)
}

/// Frames between `is_closing` of a transport and a `drain` that are looked at: TLS puts two there, a wrapper or two more.
const WRAPPERS: usize = 6;

/// Whether the Python code that runs is a function named `drain`, or a wrapper's `is_closing` that one calls.
pub fn asked_by_drain() -> Res<bool> {
    let n = interned();
    // SAFETY: the frame that runs is borrowed from the thread, the others are owned; a code object has a name, which the
    // compiler has interned.
    unsafe {
        let Some(mut frame) = Ref::maybe(PyEval_GetFrame().cast()).map(Ref::to_obj) else { return Ok(false) };
        for _ in 0..WRAPPERS {
            let code = Obj::steal(PyFrame_GetCode(frame.as_ptr().cast()).cast())?;
            let name = getattr(&code, n.co_name)?;
            let name = name.borrow();
            if name == n.drain {
                return Ok(true);
            }
            if name != n.is_closing && name != n.is_transport_closing {
                return Ok(false);
            }
            let Ok(back) = Obj::steal(PyFrame_GetBack(frame.as_ptr().cast()).cast()) else { break };
            frame = back;
        }
        Ok(false)
    }
}

/// Sends what waits for the end of the turn.
pub fn flush_queued(this: &Stream) -> Res<Next> {
    if this.queued() == 0 || this.writing.blocked.get() || this.lost.get() > 0 {
        return Ok(Next::GoOn);
    }
    match send_queued(this)? {
        Next::GoOn => drained(this),
        next => Ok(next),
    }
}

/// All has left: what waited for that comes now.
#[inline]
pub fn drained(this: &Stream) -> Res<Next> {
    if let Some(waiter) = this.empty_waiter.share() {
        call_method(text(c"set_result")?, &[waiter.borrow(), none().borrow()])?;
    }
    if this.closing.get() {
        if this.lost.get() == 0 {
            this.count_lost();
            return Ok(Next::Lost);
        }
    } else if this.eof_written.get() {
        shutdown_write(this)?;
    }
    Ok(Next::GoOn)
}

/// Sends what is queued: all of it, or as much as the kernel takes. A failure ends the connection.
#[inline(always)]
pub fn send_queued(this: &Stream) -> Res<Next> {
    loop {
        let unsent = this.queued();
        match this.with_queue(|queue| send_once(this.fd.get(), queue)) {
            Ok(sent) => {
                this.with_queue(|queue| queue.advance(sent, drop));
                if sent == unsent {
                    return Ok(Next::GoOn);
                }
            }
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) if socket::would_block(&why) => {
                this.writing.block();
                return Ok(Next::Full);
            }
            Err(why) => return failed(this, &why),
        }
    }
}

/// Offers what was written to the kernel, and takes its answer as it is: nobody is told.
pub fn offer_queued(this: &Stream) {
    while this.queued() > 0 && !this.writing.blocked.get() && this.lost.get() == 0 {
        match this.with_queue(|queue| send_once(this.fd.get(), queue)) {
            Ok(sent) => this.with_queue(|queue| queue.advance(sent, drop)),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn send_once(fd: i32, queue: &SendQueue<Chunk>) -> io::Result<usize> {
    let mut slices = queue.slices();
    if queue.chunk_count() == 1
        && let Some(only) = slices.next()
    {
        return socket::send(fd, only);
    }
    if queue.chunk_count() <= GATHER {
        let mut chunks = [IoSlice::new(&[]); GATHER];
        chunks.iter_mut().zip(slices).for_each(|(chunk, slice)| *chunk = IoSlice::new(slice));
        return socket::send_vectored(fd, &chunks[..queue.chunk_count()]);
    }
    let chunks: Vec<_> = slices.take(socket::MAX_CHUNKS).map(IoSlice::new).collect();
    socket::send_vectored(fd, &chunks)
}

fn failed(this: &Stream, why: &io::Error) -> Res<Next> {
    let Some(exception) = error::os_error(why) else { return Err(Raised) };
    drop(this.with_queue(SendQueue::take));
    Ok(Next::Unsendable(exception))
}

/// No more will be written: the peer is told once all has been sent.
pub fn end(this: &Stream) -> Res<()> {
    if !this.note_eof_written() || this.queued() > 0 || this.lost.get() > 0 {
        return Ok(());
    }
    shutdown_write(this)
}

fn shutdown_write(this: &Stream) -> Res<()> {
    io_result(socket::shutdown_write(this.fd.get()))
}

// -------------------------------------------------------------------------------------------------- flow control

/// Tells the protocol to stop writing once the queue is above the high-water mark.
#[inline(always)]
pub fn maybe_pause_protocol(this: &Stream) -> Res<()> {
    if this.queued() <= this.high_water.get() || this.writing.set_protocol_paused(true) {
        return Ok(());
    }
    protocol::flow(this, interned().pause_writing, c"protocol.pause_writing() failed")
}

pub fn maybe_resume_protocol(this: &Stream) -> Res<()> {
    if this.queued() > this.low_water.get() || !this.writing.set_protocol_paused(false) {
        return Ok(());
    }
    protocol::flow(this, interned().resume_writing, c"protocol.resume_writing() failed")
}
