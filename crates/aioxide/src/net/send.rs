//! Bytes out: a turn's writes leave together, in one system call a connection.

use std::cell::Cell;
use std::io::{self, IoSlice};

use aioxide_core::sendq::SendQueue;
use aioxide_sys::socket;
use pyo3_ffi::*;

use super::protocol;
use super::stream::{Chunk, Stream, connection_lost, fatal_error, of};
use crate::engine::loop_object::io_result;
use crate::ffi::names::{intern, stdlib};
use crate::ffi::object::{call_method, getattr, string};
use crate::ffi::{NULL, Obj, Raised, Raw, Res, context, error, names};
use crate::task::loop_state::{Item, LoopState};

/// asyncio's default high-water mark of a write buffer, in bytes.
pub const HIGH_WATER: usize = 64 * 1024;
/// Writes to a lost connection before asyncio starts to complain.
const LOG_THRESHOLD: u32 = 5;
/// Chunks that are gathered without an allocation.
const GATHER: usize = 16;

#[derive(Default)]
pub struct Writing {
    /// The kernel would take no more: an edge will say when it does.
    pub blocked: Cell<bool>,
    /// The edge is asked for. It stays so: taking it back would cost a system call for each.
    pub watched: Cell<bool>,
    /// So many bytes may wait for the end of the turn: `look_at_limits` has the rules.
    pub gather: Cell<usize>,
    /// Somebody else can send by the same socket, unseen: nothing may wait.
    pub at_once: Cell<bool>,
    /// The protocol is asyncio's TLS, whose own limits tell how its user wants to write.
    pub tls: Cell<bool>,
    /// In the engine's list for the end of this turn.
    flush_due: Cell<bool>,
    /// A write is in the ready queue.
    scheduled: Cell<bool>,
    pub protocol_paused: Cell<bool>,
}

/// A chunk of what the user wrote: the `bytes` object itself, or a copy of what could change later.
fn chunk_of(data: Raw) -> Res<Chunk> {
    // SAFETY: a type check on a live object.
    if unsafe { PyBytes_CheckExact(data) } != 0 {
        return Ok(Chunk(Obj::new(data)));
    }
    copy_of(View::of(data)?.bytes())
}

fn copy_of(data: &[u8]) -> Res<Chunk> {
    crate::ffi::object::bytes(data).map(Chunk)
}

/// The memory of a buffer, for the time of one copy or send.
struct View(Py_buffer);

impl View {
    /// One with gaps raises BufferError, as the socket's own `send` does.
    fn of(data: Raw) -> Res<View> {
        // SAFETY: an all-zero Py_buffer is what PyObject_GetBuffer wants to fill. Its flags ask for no pointer into the struct
        // itself but the shape of one dimension, which nobody reads after it has moved.
        unsafe {
            let mut view: Py_buffer = std::mem::zeroed();
            crate::ffi::object::check(PyObject_GetBuffer(data, &mut view, PyBUF_SIMPLE))?;
            Ok(View(view))
        }
    }

    /// Nothing that is done with them may call into Python.
    fn bytes(&self) -> &[u8] {
        if self.0.len <= 0 {
            return &[];
        }
        // SAFETY: contiguous bytes, exported until this value is dropped.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len as usize) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: filled by PyObject_GetBuffer and released once.
        unsafe { PyBuffer_Release(&mut self.0) };
    }
}

/// `write` takes three types, `writelines` every buffer.
fn check_type(data: Raw) -> Res<()> {
    // SAFETY: type checks on a live object.
    unsafe {
        if PyBytes_Check(data) != 0 || PyByteArray_Check(data) != 0 || PyMemoryView_Check(data) != 0 {
            return Ok(());
        }
        let name = getattr(Py_TYPE(data).cast(), names().dunder_name)?;
        let text = if cfg!(Py_3_14) {
            c"data argument must be a bytes, bytearray, or memoryview object, not %R"
        } else {
            c"data argument must be a bytes-like object, not %R"
        };
        error::raise_with(PyExc_TypeError, text, name.as_ptr(), NULL)
    }
}

/// `Transport.write`.
#[inline]
pub fn write(slf: Raw, this: &Stream, data: Raw) -> Res<()> {
    // SAFETY: a type check on a live object.
    if unsafe { PyBytes_CheckExact(data) } == 0 {
        check_type(data)?;
    }
    check_writable(
        this,
        c"Cannot call write() after write_eof()",
        c"unable to write; sendfile is in progress",
    )?;
    let chunk = match unsent(slf, this, data) {
        Ok(Some(chunk)) if !chunk.as_ref().is_empty() => chunk,
        Ok(_) => return Ok(()),
        Err(Raised) => return refused_buffer(slf, this),
    };
    if this.lost.get() > 0 || !this.owner.is_set() {
        return write_to_lost(this);
    }
    if this.with_queue(|queue| queue.push(chunk)).is_err() {
        return error::no_memory();
    }
    written(slf, this)
}

/// What is larger than may wait for the end of the turn, and could change, is sent from where it lies, and only what the kernel
/// would not take is copied. `None`: all has been done, and told.
fn unsent(slf: Raw, this: &Stream, data: Raw) -> Res<Option<Chunk>> {
    // SAFETY: a type check on a live object.
    if unsafe { PyBytes_CheckExact(data) } != 0 {
        return Ok(Some(Chunk(Obj::new(data))));
    }
    let view = View::of(data)?;
    let (bytes, writing) = (view.bytes(), &this.writing);
    let goes_at_once = bytes.len() > writing.gather.get()
        && !(writing.tls.get() || writing.blocked.get() || this.closing.get() || this.lost.get() > 0)
        && this.queued() == 0;
    if !goes_at_once || this.fd.get() < 0 {
        return copy_of(bytes).map(Some);
    }
    match socket::send(this.fd.get(), bytes) {
        // Half a message is worth nothing, and what follows it would not be understood.
        Ok(sent) if sent > 0 => copy_of(&bytes[sent..]).map(Some).or_else(|Raised| {
            let Some(exception) = error::take() else { return Ok(None) };
            fatal_error(slf, this, exception, c"Fatal write error on socket transport").map(|()| None)
        }),
        Err(why) if !socket::would_block(&why) => failed(slf, this, &why).map(|()| None),
        _ => copy_of(bytes).map(Some),
    }
}

/// `Transport.writelines`.
pub fn write_lines(slf: Raw, this: &Stream, lines: Raw) -> Res<()> {
    if cfg!(not(Py_3_12)) {
        // There `writelines` is one `write` of all.
        let joined = call_method(intern(c"join")?, &[crate::ffi::object::bytes(b"")?.as_ptr(), lines])?;
        return write(slf, this, joined.as_ptr());
    }
    check_writable(
        this,
        c"Cannot call writelines() after write_eof()",
        c"unable to writelines; sendfile is in progress",
    )?;
    if !crate::ffi::object::truth(lines)? {
        return Ok(());
    }
    if this.lost.get() > 0 || !this.owner.is_set() {
        return write_to_lost(this);
    }
    let items = buffers_of(lines)?;
    let Ok(chunks) = chunks_of(&items) else { return refused_buffer(slf, this) };
    // Converting may have run code of the buffers' own.
    if this.lost.get() > 0 || !this.owner.is_set() {
        return Ok(());
    }
    if this.with_queue(|queue| queue.extend(chunks)).is_err() {
        return error::no_memory();
    }
    if this.queued() == 0 { Ok(()) } else { written(slf, this) }
}

fn chunks_of(items: &[Obj]) -> Res<Vec<Chunk>> {
    let mut chunks = Vec::new();
    chunks.try_reserve_exact(items.len()).or_else(|_| error::no_memory())?;
    for item in items {
        chunks.push(chunk_of(item.as_ptr())?);
    }
    Ok(chunks)
}

/// What an iterable gives, as `bytes` or views of memory: asyncio looks at all before it sends any.
fn buffers_of(lines: Raw) -> Res<Vec<Obj>> {
    // SAFETY: live objects; each item is held until it is converted.
    unsafe {
        let iterator = Obj::steal(PyObject_GetIter(lines))?;
        let mut items = Vec::new();
        while let Ok(item) = Obj::steal(PyIter_Next(iterator.as_ptr())) {
            let exact = PyBytes_CheckExact(item.as_ptr()) != 0;
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
fn refused_buffer(slf: Raw, this: &Stream) -> Res<()> {
    // SAFETY: reads a static of the interpreter.
    if !error::matches(unsafe { PyExc_BufferError }) {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    fatal_error(slf, this, exception, c"Fatal write error on socket transport")
}

#[cold]
fn write_to_lost(this: &Stream) -> Res<()> {
    if this.lost.get() >= LOG_THRESHOLD {
        let text = string("socket.send() raised exception.")?;
        call_method(names().warning, &[stdlib().logger, text.as_ptr()])?;
    }
    this.lost.set(this.lost.get() + 1);
    Ok(())
}

/// Something was queued: it leaves at the end of the turn; now if it is much, or if no turn is under way whose end would
/// come.
#[inline(always)]
fn written(slf: Raw, this: &Stream) -> Res<()> {
    if !this.writing.blocked.get() {
        let owner = this.require_loop()?;
        if (this.queued() <= this.writing.gather.get() || gathers_tls(this)) && owner.in_turn() {
            if this.writing.flush_due.get() {
                return Ok(());
            }
            // What cannot be noted for later is sent now.
            if owner.engine.flush_later(slf, flush_at_end_of_turn) {
                this.writing.flush_due.set(true);
                return Ok(());
            }
        }
        send_queued(slf, this)?;
    }
    maybe_pause_protocol(slf, this)
}

/// What may wait for the end of the turn: as much as the protocol wants to have waiting at all, unless the socket is
/// shared. Where TLS stands between, `gathers_tls` looks at each write.
pub fn look_at_limits(this: &Stream) {
    let none = this.writing.at_once.get() || this.writing.tls.get();
    this.writing.gather.set(if none { 0 } else { this.high_water.get().min(HIGH_WATER) });
}

/// Whether what TLS has written may wait: unless who writes above it wants nothing to wait (`set_write_buffer_limits(0)`,
/// of which only the TLS protocol knows).
#[cold]
fn gathers_tls(this: &Stream) -> bool {
    let writing = &this.writing;
    if !writing.tls.get() || writing.at_once.get() || this.queued() > this.high_water.get().min(HIGH_WATER) {
        return false;
    }
    let limit = intern(c"_outgoing_high_water")
        .and_then(|name| getattr(this.protocol.get(), name))
        .and_then(|limit| crate::ffi::object::truth(limit.as_ptr()));
    limit.unwrap_or_else(|Raised| {
        error::clear();
        true
    })
}

/// Somebody else has the socket from here on, or its descriptor: what was written leaves before he can use it, and what
/// will be is sent at once.
pub fn write_at_once(slf: Raw, this: &Stream) -> Res<()> {
    this.writing.at_once.set(true);
    look_at_limits(this);
    flush_queued(slf, this)
}

/// Sends what was written if a `drain` asks whether the transport is closing: `StreamWriter.drain`, which asks nothing
/// else of it, and whoever has written his own like it. Servers ask before each write, and are not for that.
#[inline(always)]
pub fn flush_for_drain(slf: Raw, this: &Stream) -> Res<()> {
    if this.queued() == 0 || this.writing.blocked.get() || !asked_by_drain()? {
        return Ok(());
    }
    flush_queued(slf, this)
}

/// Frames between `is_closing` of a transport and a `drain` that are looked at: TLS puts two there, a wrapper or two more.
const WRAPPERS: usize = 6;

/// Whether the Python code that runs is a function named `drain`, or a wrapper's `is_closing` that one calls.
fn asked_by_drain() -> Res<bool> {
    let n = names();
    // SAFETY: the frame that runs is borrowed from the thread, the others are owned; a code object has a name, which the
    // compiler has interned.
    unsafe {
        let Some(mut frame) = Obj::maybe(PyEval_GetFrame().cast()) else { return Ok(false) };
        for _ in 0..WRAPPERS {
            let code = Obj::steal(PyFrame_GetCode(frame.as_ptr().cast()).cast())?;
            let name = getattr(code.as_ptr(), n.co_name)?.as_ptr();
            if name == n.drain {
                return Ok(true);
            }
            if name != n.is_closing && name != n.is_transport_closing {
                return Ok(false);
            }
            let back: Raw = PyFrame_GetBack(frame.as_ptr().cast()).cast();
            if back.is_null() {
                return Ok(false);
            }
            frame = Obj::own(back);
        }
        Ok(false)
    }
}

/// # Safety
/// `slf` is a transport.
unsafe fn flush_at_end_of_turn(slf: Raw) -> Res<()> {
    // SAFETY: registered with a transport.
    let this = unsafe { of(slf) };
    this.writing.flush_due.set(false);
    if this.loop_object().is_some_and(|owner| owner.state.closed.get()) {
        offer_queued(this);
        return Ok(());
    }
    let sent = this.in_context(|| flush_queued(slf, this));
    if sent.is_err() && !error::is_exit() {
        error::unraisable(slf);
        return Ok(());
    }
    sent
}

/// Sends what waits for the end of the turn, so that what the caller does next sees what asyncio's `write` would have
/// left.
pub fn flush_queued(slf: Raw, this: &Stream) -> Res<()> {
    if this.queued() == 0 || this.writing.blocked.get() || this.lost.get() > 0 {
        return Ok(());
    }
    send_queued(slf, this)?;
    if this.queued() == 0 { drained(slf, this) } else { maybe_pause_protocol(slf, this) }
}

/// The edge came: the kernel takes bytes again.
pub fn on_writable(state: &LoopState, slf: Raw, this: &Stream) {
    if this.writing.blocked.get() && !this.writing.scheduled.replace(true) {
        state.push_or_report(Item::Job { object: Obj::new(slf), run: write_ready });
    }
}

/// # Safety
/// `slf` is a transport.
unsafe fn write_ready(_: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: queued with a transport.
    let this = unsafe { of(slf) };
    this.writing.scheduled.set(false);
    this.writing.blocked.set(false);
    let Some(context) = this.resume_context.share() else { return this.in_context(|| send_ready(slf, this)) };
    let result = context::run(context.as_ptr(), || send_ready(slf, this));
    if !this.writing.blocked.get() {
        this.resume_context.clear();
    }
    result
}

fn send_ready(slf: Raw, this: &Stream) -> Res<()> {
    if this.lost.get() > 0 || this.queued() == 0 {
        return Ok(());
    }
    send_queued(slf, this)?;
    if this.lost.get() > 0 {
        return Ok(());
    }
    let resumed = maybe_resume_protocol(slf, this);
    // What leaves the loop from there must not keep the connection from its end: no other edge would come.
    let leaves = if resumed.is_err() { error::take() } else { None };
    this.hold(slf);
    let done = if this.queued() == 0 && this.lost.get() == 0 { drained(slf, this) } else { Ok(()) };
    if leaves.is_none() {
        return done;
    }
    if done.is_err() {
        error::unraisable(slf);
    }
    error::restore(leaves);
    resumed
}

/// All has left: what waited for that comes now.
fn drained(slf: Raw, this: &Stream) -> Res<()> {
    if let Some(waiter) = this.empty_waiter.share() {
        let none = crate::ffi::none();
        call_method(intern(c"set_result")?, &[waiter.as_ptr(), none.as_ptr()])?;
    }
    if this.closing.get() {
        if this.lost.get() == 0 {
            this.lost.set(1);
            return connection_lost(slf, this, NULL);
        }
    } else if this.eof_written.get() {
        return shutdown_write(this);
    }
    Ok(())
}

/// Sends as much as the kernel takes. A failure ends the connection.
#[inline(always)]
fn send_queued(slf: Raw, this: &Stream) -> Res<()> {
    loop {
        let unsent = this.queued();
        match this.with_queue(|queue| send_once(this.fd.get(), queue)) {
            Ok(sent) => {
                this.with_queue(|queue| queue.advance(sent, drop));
                if sent == unsent {
                    return Ok(());
                }
            }
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) if socket::would_block(&why) => return wait_for_room(slf, this),
            Err(why) => return failed(slf, this, &why),
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

fn wait_for_room(slf: Raw, this: &Stream) -> Res<()> {
    this.writing.blocked.set(true);
    if !this.resume_context.is_set() {
        this.resume_context.set(context::copy_current()?);
    }
    this.hold(slf);
    if !this.writing.watched.replace(true) {
        let engine = &this.require_loop()?.engine;
        if this.reading.begun.get() {
            return io_result(engine.watch(this.fd.get(), this.interest()));
        }
        // Written in `connection_made`, before the descriptor is watched at all.
        return this.register(slf);
    }
    Ok(())
}

fn failed(slf: Raw, this: &Stream, why: &io::Error) -> Res<()> {
    let Some(exception) = error::os_error(why) else { return Err(Raised) };
    drop(this.with_queue(SendQueue::take));
    let waiter = this.empty_waiter.share();
    fatal_error(slf, this, exception.clone(), c"Fatal write error on socket transport")?;
    if let Some(waiter) = waiter {
        call_method(intern(c"set_exception")?, &[waiter.as_ptr(), exception.as_ptr()])?;
        this.empty_waiter.clear();
    }
    Ok(())
}

/// `Transport.write_eof`.
pub fn write_eof(slf: Raw, this: &Stream) -> Res<()> {
    if this.closing.get() || this.eof_written.get() || !this.owner.is_set() {
        return Ok(());
    }
    flush_queued(slf, this)?;
    if this.eof_written.replace(true) || this.queued() > 0 || this.lost.get() > 0 {
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
pub fn maybe_pause_protocol(slf: Raw, this: &Stream) -> Res<()> {
    if this.queued() <= this.high_water.get() || this.writing.protocol_paused.replace(true) {
        return Ok(());
    }
    protocol::flow(slf, this, names().pause_writing, c"protocol.pause_writing() failed")
}

fn maybe_resume_protocol(slf: Raw, this: &Stream) -> Res<()> {
    if this.queued() > this.low_water.get() || !this.writing.protocol_paused.replace(false) {
        return Ok(());
    }
    protocol::flow(slf, this, names().resume_writing, c"protocol.resume_writing() failed")
}
