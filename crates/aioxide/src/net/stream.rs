//! One stream connection: its fields, and its life from `connection_made` to `connection_lost`.

use std::cell::{Cell, UnsafeCell};
use std::net::SocketAddr;

use aioxide_core::sendq::SendQueue;
use aioxide_sys::epoll::Interest;
use aioxide_sys::{forks, socket};
use pyo3_ffi::*;

use super::{protocol, recv, send, stream_type};
use crate::engine::loop_object::{LoopObject, io_result};
use crate::engine::source::{Owner, Side};
use crate::ffi::names::{intern, stdlib};
use crate::ffi::object::{call_method, getattr, is_none};
use crate::ffi::{NULL, Obj, Raised, Raw, Res, Slot, context, error, names};
use crate::task::loop_state::{Item, LoopState};
use crate::task::{handle, handle_run, report};

/// Bytes that wait to be sent: `bytes` objects, which cannot change.
pub struct Chunk(pub Obj);

impl AsRef<[u8]> for Chunk {
    #[inline(always)]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `send` makes chunks of exact `bytes` only, which never change while the reference is held.
        unsafe {
            let data = PyBytes_AsString(self.0.as_ptr()).cast::<u8>();
            std::slice::from_raw_parts(data, PyBytes_Size(self.0.as_ptr()) as usize)
        }
    }
}

/// Our fields, behind those of `asyncio.Transport`.
#[repr(C)]
pub struct Stream {
    pub weakrefs: Slot,
    pub dict: Slot,
    pub owner: Slot,
    pub protocol: Slot,
    pub server: Slot,
    /// The Python socket, once there is one: a server's connection has none until somebody asks.
    pub sock: Slot,
    /// What `get_extra_info` answers, as far as it was made.
    pub extra: Slot,
    /// The context of the protocol's callbacks.
    pub context: Slot,
    /// The context of whoever wrote more than the kernel took: sending goes on in it, and `resume_writing` is called.
    pub resume_context: Slot,
    pub empty_waiter: Slot,
    pub sending: UnsafeCell<SendQueue<Chunk>>,
    /// Who connected to us, as `accept` said: the kernel forgets when the peer hangs up. And our own address, once it was
    /// asked for. Shown when somebody asks.
    pub peer: Cell<Option<SocketAddr>>,
    pub local: Cell<Option<SocketAddr>>,
    /// `forks::count` when it was made.
    forks: Cell<u32>,
    /// -1 when it is closed.
    pub fd: Cell<i32>,
    /// The number that it had or has, to be shown.
    pub number: Cell<i32>,
    pub high_water: Cell<usize>,
    pub low_water: Cell<usize>,
    /// Counts the writes after the connection was lost, as asyncio's `_conn_lost`.
    pub lost: Cell<u32>,
    /// `close` was called, or the connection is lost.
    pub closing: Cell<bool>,
    pub eof_written: Cell<bool>,
    pub reading: recv::Reading,
    pub writing: send::Writing,
    pub protocol_kind: Cell<protocol::Kind>,
    pub protocol_connected: Cell<bool>,
}

/// The body of a transport.
///
/// # Safety
/// `raw` is an instance of our stream transport, alive for the time of use.
#[inline(always)]
pub unsafe fn of<'a>(raw: Raw) -> &'a Stream {
    // SAFETY: the body of a transport begins where the fields of its base end, and consists of cells.
    unsafe { &*raw.cast::<u8>().add(stream_type::body_offset()).cast::<Stream>() }
}

impl Stream {
    /// The loop. It is there while the transport is not closed for good.
    #[inline(always)]
    pub fn loop_object(&self) -> Option<&LoopObject> {
        // SAFETY: `owner` is a loop of ours, and keeps it alive.
        unsafe { self.owner.get().cast::<LoopObject>().as_ref() }
    }

    /// Raises where the transport was never initialised, or its connection is gone.
    pub fn require_loop(&self) -> Res<&LoopObject> {
        match self.loop_object() {
            Some(this) => Ok(this),
            None => error::runtime_error(c"unable to perform operation on a transport that is closed"),
        }
    }

    /// Short access to the queue of bytes to send. Nothing in `body` may call into Python.
    #[inline(always)]
    pub fn with_queue<T>(&self, body: impl FnOnce(&mut SendQueue<Chunk>) -> T) -> T {
        // SAFETY: under the GIL, and every `body` is leaf code. Releasing a chunk is, too: `bytes` runs no code.
        body(unsafe { &mut *self.sending.get() })
    }

    #[inline(always)]
    pub fn queued(&self) -> usize {
        self.with_queue(|queue| queue.len())
    }

    /// Runs `body` in the context of the protocol's callbacks.
    #[inline(always)]
    pub fn in_context<T>(&self, body: impl FnOnce() -> Res<T>) -> Res<T> {
        match self.context.share() {
            Some(context) => context::run(context.as_ptr(), body),
            None => body(),
        }
    }

    /// The engine keeps a transport alive while it reads or waits to send. One that does neither is its users' to keep:
    /// when they drop it, it says so and closes.
    pub fn hold(&self, slf: Raw) {
        if let Some(this) = self.loop_object() {
            let idle = self.reading.paused.get() && !self.writing.blocked.get();
            drop(this.engine.sources.hold(self.fd.get(), slf, !idle));
        }
    }

    /// Tells the kernel what is wanted: edges, so one registration serves the connection's whole life.
    pub fn register(&self, slf: Raw) -> Res<()> {
        let this = self.require_loop()?;
        let owner = Owner::new(slf, on_event);
        drop(this.engine.sources.set_owner(self.fd.get(), Some(owner)));
        io_result(this.engine.watch(self.fd.get(), self.interest()))
    }

    pub fn interest(&self) -> Interest {
        let mut wanted = Interest::IN | Interest::PRI | Interest::RDHUP | Interest::ET;
        wanted.set(Interest::OUT, self.writing.watched.get());
        wanted
    }

    /// Takes the descriptor out of the engine's table.
    pub fn unregister(&self) {
        if let Some(this) = self.loop_object()
            && self.fd.get() >= 0
        {
            // SAFETY: a body knows its object by its offset.
            if this.engine.sources.is_owner(self.fd.get(), unsafe { self.object() }) {
                let _ = this.engine.watch(self.fd.get(), Interest::empty());
                drop(this.engine.sources.set_owner(self.fd.get(), None));
            }
        }
    }

    /// The same just before the descriptor is closed. Where nobody else can have it, the kernel forgets it with that, untold:
    /// no Python socket was made that could have been copied, and no process forked. Who has copied it unseen (SCM_RIGHTS, /proc)
    /// makes an event now and then that belongs to nobody, at which the engine takes a fresh epoll set.
    fn unregister_to_close(&self) {
        if self.sock.is_set() || self.writing.at_once.get() || self.forks.get() != forks::count() {
            return self.unregister();
        }
        if let Some(this) = self.loop_object()
            && self.fd.get() >= 0
        {
            // SAFETY: a body knows its object by its offset.
            drop(this.engine.sources.forget(self.fd.get(), unsafe { self.object() }));
        }
    }

    /// # Safety
    /// `self` is the body of a transport object.
    pub unsafe fn object(&self) -> Raw {
        // SAFETY: the object begins so many bytes before its body.
        unsafe { std::ptr::from_ref(self).cast::<u8>().sub(stream_type::body_offset()).cast_mut().cast() }
    }
}

/// What a new transport is made of.
pub struct Parts<'a> {
    pub owner: &'a LoopObject,
    pub fd: i32,
    /// The kernel's protocol is TCP, with nothing on top: `socket::is_plain_tcp`.
    pub tcp: bool,
    pub protocol: Obj,
    pub sock: Option<Obj>,
    pub server: Raw,
    pub peer: Option<SocketAddr>,
    pub extra: Raw,
    /// The names of the socket are asked for now, as asyncio does; else `accept` or the caller has told them, or they can be
    /// had when the connection ends.
    pub ask_names: bool,
    pub waiter: Raw,
    /// What the protocol is called in, if the maker has made a context for that: else a copy of the current one.
    pub context: Option<Obj>,
}

/// Makes the transport of a connected, non-blocking socket, and schedules `connection_made`, then reading, then the
/// waiter's result, each in a callback of its own, as asyncio does.
pub fn start(parts: Parts<'_>) -> Res {
    let made = stream_type::alloc()?;
    // SAFETY: just made.
    let this = unsafe { of(made.as_ptr()) };
    if begin(parts, made.as_ptr(), this).is_err() {
        // The descriptor goes back to the caller.
        this.fd.set(-1);
        return Err(Raised);
    }
    Ok(made)
}

fn begin(parts: Parts<'_>, slf: Raw, this: &Stream) -> Res<()> {
    let state = &parts.owner.state;
    this.fd.set(parts.fd);
    this.number.set(parts.fd);
    this.owner.set(Obj::new(state.object));
    drop(this.sock.replace(parts.sock));
    drop(this.server.replace(present(parts.server)));
    drop(this.extra.replace(present(parts.extra)));
    this.peer.set(parts.peer);
    this.reading.tcp.set(parts.tcp);
    this.context.set(parts.context.map_or_else(context::copy_current, Ok)?);
    this.forks.set(forks::count());
    this.high_water.set(send::HIGH_WATER);
    this.low_water.set(send::HIGH_WATER / 4);
    set_protocol(this, parts.protocol)?;
    if parts.ask_names {
        super::info::remember_at_start(slf, this)?;
    }
    // A socket that is not TCP refuses; nobody minds.
    let _ = socket::set_nodelay(parts.fd);
    protocol::attach_server(this, slf)?;
    let connection_made = getattr(this.protocol.get(), names().client_connected)?;
    let made = handle::new(state.object, connection_made.as_ptr(), &[slf], NULL)?;
    if state.debug.get() {
        handle::record_source(&made)?;
    }
    state.push(Item::Run(made))?;
    state.push(Item::Job { object: Obj::new(slf), run: recv::begin })?;
    if !parts.waiter.is_null() && !is_none(parts.waiter) {
        let set_result = stdlib().set_result_unless_cancelled;
        let args = [parts.waiter, crate::ffi::none().as_ptr()];
        state.push(Item::Run(handle::new(state.object, set_result, &args, NULL)?))?;
    }
    Ok(())
}

fn present(value: Raw) -> Option<Obj> {
    Obj::maybe(value).filter(|value| !is_none(value.as_ptr()))
}

/// Puts another protocol in place.
pub fn set_protocol(this: &Stream, given: Obj) -> Res<()> {
    let kind = protocol::kind_of(given.as_ptr())?;
    this.writing.tls.set(kind == protocol::Kind::Buffered && protocol::is_tls(given.as_ptr())?);
    send::look_at_limits(this);
    this.protocol_kind.set(kind);
    this.protocol.set(given);
    this.protocol_connected.set(true);
    Ok(())
}

/// What the kernel says. Leaf code: notes it and queues work.
///
/// # Safety
/// `slf` is a transport.
unsafe fn on_event(state: &LoopState, slf: Raw, flags: Interest) {
    // SAFETY: registered with a transport.
    let this = unsafe { of(slf) };
    let more = Interest::PRI | Interest::RDHUP | Interest::HUP | Interest::ERR;
    if flags.intersects(Interest::IN | more) {
        if flags.intersects(more) {
            this.reading.doubtful.set(true);
        }
        this.reading.ready.set(true);
        recv::schedule(state, slf, this);
    }
    if flags.intersects(Interest::OUT | Interest::HUP | Interest::ERR) {
        send::on_writable(state, slf, this);
    }
}

// ------------------------------------------------------------------------------------------------------- closing

/// Closes once what is queued has been sent: `Transport.close`.
pub fn close(slf: Raw, this: &Stream) -> Res<()> {
    if this.closing.get() || !this.owner.is_set() {
        return Ok(());
    }
    send::flush_queued(slf, this)?;
    if this.closing.replace(true) {
        return Ok(());
    }
    if this.queued() == 0 {
        this.lost.set(this.lost.get() + 1);
        schedule_lost(slf, this, NULL)?;
    }
    Ok(())
}

/// Closes now: `_force_close`. What was written in this turn is offered to the kernel once, as `write` does in asyncio;
/// what it would not take is dropped.
pub fn force_close(slf: Raw, this: &Stream, exception: Raw) -> Res<()> {
    let flushed = send::flush_queued(slf, this);
    also(flushed, || force_close_now(slf, this, exception))
}

/// Does the second thing whatever became of the first. Of two exceptions the first is raised.
fn also(first: Res<()>, second: impl FnOnce() -> Res<()>) -> Res<()> {
    if first.is_ok() {
        return second();
    }
    let pending = error::take();
    if second().is_err() {
        error::unraisable(NULL);
    }
    error::restore(pending);
    first
}

fn force_close_now(slf: Raw, this: &Stream, exception: Raw) -> Res<()> {
    if this.lost.get() > 0 || !this.owner.is_set() {
        return Ok(());
    }
    drop(this.with_queue(SendQueue::take));
    this.writing.blocked.set(false);
    this.closing.set(true);
    this.lost.set(this.lost.get() + 1);
    schedule_lost(slf, this, exception)
}

/// `loop.call_soon(self._call_connection_lost, exc)`.
fn schedule_lost(slf: Raw, this: &Stream, exception: Raw) -> Res<()> {
    let state = &this.require_loop()?.state;
    let method = getattr(slf, names().call_connection_lost)?;
    let none = crate::ffi::none();
    let exception = if exception.is_null() { none.as_ptr() } else { exception };
    let args = [state.object, method.as_ptr(), exception];
    call_method(names().call_soon, &args).map(drop)
}

/// Tells the protocol, then lets go of everything: the end of `_call_connection_lost`.
pub fn connection_lost(slf: Raw, this: &Stream, exception: Raw) -> Res<()> {
    if !this.owner.is_set() {
        return Ok(());
    }
    send::offer_queued(this);
    let told =
        if this.protocol_connected.get() { protocol::call_connection_lost(this, exception) } else { Ok(()) };
    also(told, || release(slf, this))
}

/// The watch of a `loop.sendfile`, which has the descriptor for itself meanwhile; taken out of the table.
fn sendfile_under_way(this: &Stream) -> Option<Obj> {
    let engine = &this.loop_object()?.engine;
    if !this.empty_waiter.is_set() || this.fd.get() < 0 || engine.sources.owner(this.fd.get()).is_some() {
        return None;
    }
    let handle = engine.sources.set_handle(this.fd.get(), Side::Write, None)?;
    let _ = engine.watch(this.fd.get(), Interest::empty());
    Some(handle)
}

fn release(slf: Raw, this: &Stream) -> Res<()> {
    super::info::remember_before_close(this);
    let sendfile = sendfile_under_way(this);
    this.unregister_to_close();
    close_socket(this)?;
    let server = this.server.take();
    let waiter = this.empty_waiter.take();
    drop((this.protocol.take(), this.owner.take(), this.context.take(), this.resume_context.take()));
    // It waits for a descriptor that is no more: it finds that out, and ends with an error.
    // SAFETY: a handle, as the table holds no others.
    let told = sendfile.map_or(Ok(()), |watch| unsafe { handle_run::run(watch) });
    also(told, || {
        if let Some(server) = server {
            protocol::detach_server(&server, slf)?;
        }
        waiter.map_or(Ok(()), |waiter| refuse_waiter(&waiter))
    })
}

/// Tells who waits for all to be sent that it never will be. Where all had been, a `sendfile` came after it.
fn refuse_waiter(waiter: &Obj) -> Res<()> {
    if crate::ffi::object::truth(call_method(intern(c"done")?, &[waiter.as_ptr()])?.as_ptr())? {
        return Ok(());
    }
    let text = crate::ffi::object::string("Connection is closed by peer")?;
    // SAFETY: reads a static of the interpreter.
    let gone = crate::ffi::object::call(unsafe { PyExc_ConnectionError }, &[text.as_ptr()])?;
    call_method(intern(c"set_exception")?, &[waiter.as_ptr(), gone.as_ptr()]).map(drop)
}

/// Closes the descriptor, by its Python socket where there is one.
pub fn close_socket(this: &Stream) -> Res<()> {
    let fd = this.fd.replace(-1);
    match this.sock.take() {
        Some(sock) => call_method(names().close, &[sock.as_ptr()]).map(drop),
        None => {
            socket::close(fd);
            Ok(())
        }
    }
}

/// An error that ends the connection: `_fatal_error`. OSErrors are the network's business, all else is reported.
pub fn fatal_error(slf: Raw, this: &Stream, exception: Obj, message: &std::ffi::CStr) -> Res<()> {
    // SAFETY: reads a static of the interpreter.
    let is_os_error = error::is_instance(exception.as_ptr(), unsafe { PyExc_OSError });
    // What was written leaves before anyone hears of the end, and may end the process. Where the network has failed
    // already, that failure counts, not the one of this attempt.
    let flushed = if is_os_error {
        send::offer_queued(this);
        drop(this.with_queue(SendQueue::take));
        Ok(())
    } else {
        send::flush_queued(slf, this)
    };
    also(flushed, || report_fatal(slf, this, &exception, is_os_error, message))
}

fn report_fatal(
    slf: Raw,
    this: &Stream,
    exception: &Obj,
    is_os_error: bool,
    message: &std::ffi::CStr,
) -> Res<()> {
    let Some(owner) = this.owner.share() else { return Ok(()) };
    let text = Obj::new(intern(message)?);
    if is_os_error {
        protocol::log_fatal(this, slf, exception, &text)?;
    } else {
        let n = names();
        let protocol = this.protocol.or_none();
        let pairs = [
            (n.message, text.as_ptr()),
            (n.exception, exception.as_ptr()),
            (n.transport, slf),
            (n.protocol, protocol.as_ptr()),
        ];
        report::report_context(owner.as_ptr(), &pairs)?;
    }
    force_close(slf, this, exception.as_ptr())
}
