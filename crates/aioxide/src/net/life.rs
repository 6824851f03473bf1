//! The life of a connection from `connection_made` to `connection_lost`: the one file that acts on what `recv`, `send` and
//! `protocol` decide, and so the one whose functions the engine calls for a transport.

use std::ffi::CStr;

use aioxide_core::sendq::SendQueue;
use aioxide_sys::epoll::Interest;
use aioxide_sys::socket;
use pyo3_ffi::*;

use super::state::{self, Next, Parts, Transport, of, present};
use super::{info, protocol, recv, send};
use crate::engine::loop_object::io_result;
use crate::engine::source::{Owner, Side};
use crate::ffi::names::{imported, intern};
use crate::ffi::object::{call, call_method, getattr, string, truth};
use crate::ffi::{NULL, Obj, Raised, Raw, Ref, Res, context, error, names};
use crate::task::loop_state::{Item, LoopState};
use crate::task::{handle, handle_run};

/// Does what was decided.
#[inline(always)]
pub fn act(this: Transport<'_>, next: Next) -> Res<()> {
    match next {
        Next::GoOn => Ok(()),
        Next::SendLater => send_later(this),
        Next::Close | Next::Lost | Next::Fatal { .. } | Next::Unsendable(_) => act_on_end(this, next),
    }
}

#[inline(never)]
fn act_on_end(this: Transport<'_>, next: Next) -> Res<()> {
    match next {
        Next::GoOn | Next::SendLater => Ok(()),
        Next::Close => close(this),
        Next::Lost => connection_lost(this, NULL),
        Next::Fatal { exception, text } => fatal_error(this, exception, text),
        Next::Unsendable(exception) => {
            let waiter = this.empty_waiter.share();
            fatal_error(this, exception.clone(), state::WRITE_FAILED)?;
            if let Some(waiter) = waiter {
                call_method(intern(c"set_exception")?, &[waiter.as_ptr(), exception.as_ptr()])?;
                drop(this.take_empty_waiter());
            }
            Ok(())
        }
    }
}

#[inline(always)]
fn send_later(this: Transport<'_>) -> Res<()> {
    if this.require_loop()?.engine.flush_later(this.object(), flush_at_end_of_turn) {
        this.writing.set_flush_due(true);
        return Ok(());
    }
    send_after_all(this)
}

/// What cannot be noted for later is sent now. By `act_on_end`, as a function that calls itself is not inlined.
#[cold]
fn send_after_all(this: Transport<'_>) -> Res<()> {
    act_on_end(this, send::send_now(this)?)
}

/// Sends what waits for the end of the turn, so that what the caller does next sees what asyncio's `write` would have
/// left.
pub fn flush(this: Transport<'_>) -> Res<()> {
    act(this, send::flush_queued(this)?)
}

/// Queues a read if there may be something to read and somebody wants it. Where there is no memory for that, which
/// `sys.unraisablehook` is told, the next event or `resume_reading` tries again.
#[inline(always)]
pub fn schedule_read(state: &LoopState, this: Transport<'_>) {
    if recv::is_due(&this) && this.reading.schedule() {
        state.push_or_report(Item::Job { object: Obj::new(this.object()), run: read_ready });
    }
}

/// The same for who has no loop at hand: reading was resumed, or another protocol may want what the old one had no use for.
pub fn read_if_due(this: Transport<'_>) {
    if let Some(owner) = this.loop_object() {
        schedule_read(&owner.state, this);
    }
}

// ------------------------------------------------------------------------------------------------------ beginning

/// Makes the transport of a connected, non-blocking socket, and schedules `connection_made`, then reading, then the
/// waiter's result, each in a callback of its own, as asyncio does.
pub fn start(parts: Parts<'_>) -> Res {
    let made = state::alloc()?;
    // SAFETY: just made.
    let this = unsafe { of(made.as_ptr()) };
    if prepare(parts, this).is_err() {
        // The descriptor goes back to the caller.
        drop(this.take_socket());
        return Err(Raised);
    }
    Ok(made)
}

fn prepare(mut parts: Parts<'_>, this: Transport<'_>) -> Res<()> {
    let state = &parts.owner.state;
    this.fill(&mut parts)?;
    this.set_high_water(send::HIGH_WATER);
    this.set_low_water(send::HIGH_WATER / 4);
    set_protocol(this, parts.protocol)?;
    if parts.ask_names {
        info::remember_at_start(this)?;
    }
    // A socket that is not TCP refuses; nobody minds.
    let _ = socket::set_nodelay(parts.fd);
    protocol::attach_server(this)?;
    let connection_made = getattr(this.protocol.get(), names().client_connected)?;
    // SAFETY: the transport, which its caller holds.
    let own = unsafe { Ref::new(this.object()) };
    let made = handle::new(state, connection_made.borrow(), &[own], None)?;
    if state.debug.get() {
        handle::record_source(&made)?;
    }
    state.push(Item::Run(made))?;
    state.push(Item::Job { object: Obj::new(this.object()), run: begin })?;
    if let Some(waiter) = present(parts.waiter) {
        let nothing = crate::ffi::none();
        let args = [waiter.borrow(), nothing.borrow()];
        let told = handle::new(state, imported().set_result_unless_cancelled, &args, None)?;
        state.push(Item::Run(told))?;
    }
    Ok(())
}

/// Puts another protocol in place.
pub fn set_protocol(this: Transport<'_>, given: Obj) -> Res<()> {
    let kind = protocol::kind_of(given.as_ptr())?;
    let tls = kind == state::Kind::Buffered && protocol::is_tls(given.as_ptr())?;
    let before = this.change_protocol(given, kind, tls);
    send::look_at_limits(&this);
    drop(before);
    Ok(())
}

/// Tells the kernel what is wanted: edges, so one registration serves the connection's whole life.
pub fn register(this: Transport<'_>) -> Res<()> {
    let engine = &this.require_loop()?.engine;
    drop(engine.sources.set_owner(this.fd.get(), Some(Owner::new(this.object(), on_event))));
    io_result(engine.watch(this.fd.get(), this.interest()))
}

// --------------------------------------------------------------------------------------------- what the engine calls

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
            this.reading.note_doubt();
        }
        this.reading.note_edge();
        schedule_read(state, this);
    }
    if flags.intersects(Interest::OUT | Interest::HUP | Interest::ERR)
        && this.writing.blocked.get()
        && this.writing.schedule()
    {
        state.push_or_report(Item::Job { object: Obj::new(slf), run: write_ready });
    }
}

/// The first look at the descriptor, after `connection_made`.
///
/// # Safety
/// `slf` is a transport.
unsafe fn begin(state: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: a transport, which consists of cells and is kept alive by the job that runs this.
    let this = unsafe { of(slf) };
    this.reading.begin();
    // One that `connection_made` has closed may have more to send than the kernel took.
    if (this.closing.get() && !this.writing.blocked.get()) || !this.owner.is_set() {
        return Ok(());
    }
    if let Err(Raised) = register(this) {
        return act(this, Next::fatal(state::READ_FAILED));
    }
    schedule_read(state, this);
    Ok(())
}

/// # Safety
/// `slf` is a transport.
unsafe fn read_ready(state: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: queued with a transport.
    let this = unsafe { of(slf) };
    this.reading.job_begins();
    if this.lost.get() > 0 || this.closing.get() || !this.reading.wants() {
        return Ok(());
    }
    let done = this.in_context(|| act(this, recv::read(this)?));
    if done.is_err() && error::is_exit() {
        // Whatever leaves the loop leaves the bytes, or the end of them, where they are: they are due when it runs again.
        this.reading.note_edge();
    }
    schedule_read(state, this);
    done
}

/// # Safety
/// `slf` is a transport.
unsafe fn write_ready(_: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: queued with a transport.
    let this = unsafe { of(slf) };
    this.writing.job_begins();
    let Some(context) = this.resume_context.share() else { return this.in_context(|| go_on_sending(this)) };
    let result = context::run(context.as_ptr(), || go_on_sending(this));
    if !this.writing.blocked.get() {
        this.change_resume_context(None);
    }
    result
}

fn go_on_sending(this: Transport<'_>) -> Res<()> {
    if this.lost.get() > 0 || this.queued() == 0 {
        return Ok(());
    }
    act(this, send::send_queued(this)?)?;
    if this.lost.get() > 0 {
        return Ok(());
    }
    let resumed = send::maybe_resume_protocol(this);
    // What leaves the loop from there must not keep the connection from its end: no other edge would come.
    also(resumed, this.object(), || {
        this.hold();
        if this.queued() == 0 && this.lost.get() == 0 { act(this, send::drained(&this)?) } else { Ok(()) }
    })
}

/// # Safety
/// `slf` is a transport.
unsafe fn flush_at_end_of_turn(slf: Raw) -> Res<()> {
    // SAFETY: registered with a transport.
    let this = unsafe { of(slf) };
    this.writing.set_flush_due(false);
    if this.loop_object().is_some_and(|owner| owner.state.closed.get()) {
        send::offer_queued(&this);
        return Ok(());
    }
    let sent = this.in_context(|| act(this, send::flush_queued(this)?));
    if sent.is_err() && !error::is_exit() {
        error::unraisable(slf);
        return Ok(());
    }
    sent
}

// --------------------------------------------------------------------------------------------------------- ending

/// `Transport.write_eof`.
pub fn write_eof(this: Transport<'_>) -> Res<()> {
    if this.closing.get() || this.eof_written.get() || !this.owner.is_set() {
        return Ok(());
    }
    flush(this)?;
    send::end(&this)
}

/// Closes once what is queued has been sent: `Transport.close`.
pub fn close(this: Transport<'_>) -> Res<()> {
    if this.closing.get() || !this.owner.is_set() {
        return Ok(());
    }
    flush(this)?;
    if this.note_closing() && this.queued() == 0 {
        this.count_lost();
        return schedule_lost(this, NULL);
    }
    Ok(())
}

/// Closes now: `_force_close`. What was written in this turn is offered to the kernel once, as `write` does in asyncio;
/// what it would not take is dropped.
pub fn force_close(this: Transport<'_>, exception: Raw) -> Res<()> {
    also(flush(this), NULL, || {
        if this.lost.get() > 0 || !this.owner.is_set() {
            return Ok(());
        }
        drop(this.with_queue(SendQueue::take));
        this.writing.unblock();
        let _ = this.note_closing();
        this.count_lost();
        schedule_lost(this, exception)
    })
}

/// Does the second thing whatever became of the first. Of two exceptions the first is raised; `source` is said to have raised
/// the other.
fn also(first: Res<()>, source: Raw, second: impl FnOnce() -> Res<()>) -> Res<()> {
    if first.is_ok() {
        return second();
    }
    let pending = error::take();
    if second().is_err() {
        error::unraisable(source);
    }
    error::restore(pending);
    first
}

/// `loop.call_soon(self._call_connection_lost, exc)`.
fn schedule_lost(this: Transport<'_>, exception: Raw) -> Res<()> {
    let state = &this.require_loop()?.state;
    let method = getattr(this.object(), names().call_connection_lost)?;
    let none = crate::ffi::none();
    let exception = if exception.is_null() { none.as_ptr() } else { exception };
    let args = [state.object, method.as_ptr(), exception];
    call_method(names().call_soon, &args).map(drop)
}

/// An error that ends the connection: `_fatal_error`. OSErrors are the network's business, all else is reported.
pub fn fatal_error(this: Transport<'_>, exception: Obj, message: &CStr) -> Res<()> {
    // SAFETY: reads a static of the interpreter.
    let is_os_error = error::is_instance(exception.as_ptr(), unsafe { PyExc_OSError });
    // What was written leaves before anyone hears of the end, and may end the process. Where the network has failed
    // already, that failure counts, not the one of this attempt.
    let flushed = if is_os_error {
        send::offer_queued(&this);
        drop(this.with_queue(SendQueue::take));
        Ok(())
    } else {
        flush(this)
    };
    also(flushed, NULL, || report_fatal(this, &exception, is_os_error, message))
}

fn report_fatal(this: Transport<'_>, exception: &Obj, is_os_error: bool, message: &CStr) -> Res<()> {
    if !this.owner.is_set() {
        return Ok(());
    }
    if is_os_error {
        protocol::log_fatal(this, exception, message)?;
    } else {
        protocol::report(this, &this.protocol.or_none(), exception, message)?;
    }
    force_close(this, exception.as_ptr())
}

/// Tells the protocol, then lets go of everything: the end of `_call_connection_lost`.
pub fn connection_lost(this: Transport<'_>, exception: Raw) -> Res<()> {
    if !this.owner.is_set() {
        return Ok(());
    }
    send::offer_queued(&this);
    let told =
        if this.protocol_connected.get() { protocol::call_connection_lost(&this, exception) } else { Ok(()) };
    also(told, NULL, || release(this))
}

fn release(this: Transport<'_>) -> Res<()> {
    info::remember_before_close(&this);
    let sendfile = sendfile_under_way(this);
    unregister_to_close(this);
    close_socket(this)?;
    let server = this.take_server();
    let waiter = this.take_empty_waiter();
    this.let_go();
    // It waits for a descriptor that is no more: it finds that out, and ends with an error.
    // SAFETY: a handle, as the table holds no others.
    let told = sendfile.map_or(Ok(()), |watch| unsafe { handle_run::run(watch) });
    also(told, NULL, || {
        if let Some(server) = server {
            protocol::detach_server(this, &server)?;
        }
        waiter.map_or(Ok(()), |waiter| refuse_waiter(&waiter))
    })
}

/// The watch of a `loop.sendfile`, which has the descriptor for itself meanwhile; taken out of the table.
fn sendfile_under_way(this: Transport<'_>) -> Option<Obj> {
    let engine = &this.loop_object()?.engine;
    if !this.empty_waiter.is_set() || this.fd.get() < 0 || engine.sources.owner(this.fd.get()).is_some() {
        return None;
    }
    let handle = engine.sources.set_handle(this.fd.get(), Side::Write, None)?;
    let _ = engine.watch(this.fd.get(), Interest::empty());
    Some(handle)
}

/// Tells who waits for all to be sent that it never will be. Where all had been, a `sendfile` came after it.
fn refuse_waiter(waiter: &Obj) -> Res<()> {
    if truth(call_method(intern(c"done")?, &[waiter.as_ptr()])?.as_ptr())? {
        return Ok(());
    }
    let text = string("Connection is closed by peer")?;
    // SAFETY: reads a static of the interpreter.
    let gone = call(unsafe { PyExc_ConnectionError }, &[text.as_ptr()])?;
    call_method(intern(c"set_exception")?, &[waiter.as_ptr(), gone.as_ptr()]).map(drop)
}

/// Takes the descriptor out of the engine's table.
pub fn unregister(this: Transport<'_>) {
    if let Some(engine) = this.loop_object().map(|owner| &owner.engine)
        && engine.sources.is_owner(this.fd.get(), this.object())
    {
        let _ = engine.watch(this.fd.get(), Interest::empty());
        drop(engine.sources.set_owner(this.fd.get(), None));
    }
}

/// The same just before the descriptor is closed. Where nobody else can have it, the kernel forgets it with that, untold. Who has
/// copied it unseen (SCM_RIGHTS, /proc) makes an event now and then that belongs to nobody, at which the engine takes a fresh
/// epoll set.
fn unregister_to_close(this: Transport<'_>) {
    if this.may_be_shared() {
        return unregister(this);
    }
    if let Some(owner) = this.loop_object()
        && this.fd.get() >= 0
    {
        drop(owner.engine.sources.forget(this.fd.get(), this.object()));
    }
}

/// Closes the descriptor, by its Python socket where there is one.
fn close_socket(this: Transport<'_>) -> Res<()> {
    match this.take_socket() {
        (Some(sock), _) => call_method(names().close, &[sock.as_ptr()]).map(drop),
        (None, fd) => {
            socket::close(fd);
            Ok(())
        }
    }
}

/// The last user has dropped it while it was open: it says so, and closes.
pub fn abandon(this: Transport<'_>) {
    let pending = error::take();
    let blame = |done: Res<()>| done.unwrap_or_else(|Raised| error::unraisable(this.object()));
    // SAFETY: formats one object.
    blame(crate::ffi::object::check(unsafe {
        PyErr_ResourceWarning(this.object(), 1, c"unclosed transport %R".as_ptr(), this.object())
    }));
    unregister(this);
    let server = this.take_server();
    blame(close_socket(this));
    if let Some(server) = server.filter(|_| cfg!(Py_3_13)) {
        blame(protocol::detach_server(this, &server));
    }
    error::restore(pending);
}
