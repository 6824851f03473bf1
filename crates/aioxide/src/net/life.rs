//! The life of a connection from `connection_made` to `connection_lost`: the one file that acts on what `recv`, `send` and
//! `protocol` decide, and so the one whose functions the engine calls for a transport.

use std::ffi::CStr;

use aioxide_core::sendq::SendQueue;
use aioxide_sys::epoll::Interest;
use aioxide_sys::socket;
use pyo3_ffi::*;

use super::state::{self, Next, Parts, Stream, present};
use super::{info, protocol, recv, send};
use crate::engine::loop_object::io_result;
use crate::engine::source::{Owner, Side};
use crate::ffi::calls::{call, call_method};
use crate::ffi::cells::Turn;
use crate::ffi::class::Native;
use crate::ffi::names::{self, imported, interned};
use crate::ffi::object::{check, getattr, string, truth};
use crate::ffi::{Obj, Raised, Ref, Res, builtin, context, error, none};
use crate::task::loop_state::{Item, LoopState};
use crate::task::{handle, handle_run};

/// Does what was decided.
#[inline(always)]
pub fn act(this: &Stream, next: Next) -> Res<()> {
    match next {
        Next::GoOn => Ok(()),
        Next::SendLater => send_later(this),
        Next::Full | Next::Close | Next::Lost | Next::Fatal { .. } | Next::Unsendable(_) => {
            act_seldom(this, next)
        }
    }
}

#[inline(never)]
fn act_seldom(this: &Stream, next: Next) -> Res<()> {
    match next {
        Next::GoOn | Next::SendLater => Ok(()),
        Next::Full => {
            wait_for_room(this)?;
            send::maybe_pause_protocol(this)
        }
        Next::Close => close(this),
        Next::Lost => connection_lost(this, None),
        Next::Fatal { exception, text } => fatal_error(this, exception, text),
        Next::Unsendable(exception) => {
            let waiter = this.empty_waiter.share();
            fatal_error(this, exception.clone(), state::WRITE_FAILED)?;
            if let Some(waiter) = waiter {
                call_method(names::text(c"set_exception")?, &[waiter.borrow(), exception.borrow()])?;
                drop(this.take_empty_waiter());
            }
            Ok(())
        }
    }
}

#[inline(always)]
fn send_later(this: &Stream) -> Res<()> {
    if this.require_loop()?.engine.flush_later(this, flush_at_end_of_turn) {
        this.writing.set_flush_due(true);
        return Ok(());
    }
    send_after_all(this)
}

/// What cannot be noted for later is sent now. By `act_seldom`, as a function that calls itself is not inlined.
#[cold]
fn send_after_all(this: &Stream) -> Res<()> {
    act_seldom(this, send::send_queued(this)?)
}

/// Has the engine say when the kernel takes more.
fn wait_for_room(this: &Stream) -> Res<()> {
    if !this.resume_context.is_set() {
        this.change_resume_context(Some(context::copy_current()?));
    }
    this.hold();
    // What is written in `connection_made` comes before the descriptor is watched at all: `begin` does that.
    if this.writing.watch() && this.reading.begun.get() {
        return io_result(this.require_loop()?.engine.watch(this.fd.get(), this.interest()));
    }
    Ok(())
}

/// Sends what waits for the end of the turn, so that what the caller does next sees what asyncio's `write` would have
/// left.
pub fn flush(this: &Stream) -> Res<()> {
    protocol::flush(this)?;
    act(this, send::flush_queued(this)?)
}

/// Somebody else has the socket from here on: what was written leaves before he can use it.
pub fn write_at_once(this: &Stream) -> Res<()> {
    flush(this)?;
    act(this, send::write_at_once(this)?)
}

/// Queues a read if there may be something to read and somebody wants it. Where there is no memory for that, which
/// `sys.unraisablehook` is told, the next event or `resume_reading` tries again.
#[inline(always)]
pub fn schedule_read(state: &LoopState, this: &Stream) {
    if recv::is_due(this) && this.reading.schedule() {
        state.push_or_report(Item::job(this, read_ready));
    }
}

/// The same for who has no loop at hand: reading was resumed, or another protocol may want what the old one had no use for.
pub fn read_if_due(this: &Stream) {
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
    let this = unsafe { made.borrow().cast_unchecked::<Stream>() };
    if prepare(parts, this).is_err() {
        // The descriptor goes back to the caller.
        drop(this.take_socket());
        return Err(Raised);
    }
    Ok(made)
}

fn prepare(mut parts: Parts<'_>, this: &Stream) -> Res<()> {
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
    let connection_made = getattr(&this.protocol.or_none(), interned().client_connected)?;
    let made = handle::new(state, connection_made.borrow(), &[this.object()], None)?;
    if state.debug.get() {
        handle::record_source(&made)?;
    }
    state.push(Item::Run(made))?;
    state.push(Item::job(this, begin))?;
    if let Some(waiter) = present(parts.waiter) {
        let nothing = none();
        let args = [waiter.borrow(), nothing.borrow()];
        let told = handle::new(state, imported().set_result_unless_cancelled, &args, None)?;
        state.push(Item::Run(told))?;
    }
    Ok(())
}

/// Puts another protocol in place.
pub fn set_protocol(this: &Stream, given: Obj) -> Res<()> {
    let kind = protocol::kind_of(given.borrow())?;
    let tls = kind == state::Kind::Buffered && protocol::is_tls(given.borrow())?;
    let before = this.change_protocol(given, kind, tls);
    send::look_at_limits(this);
    drop(before);
    Ok(())
}

/// Tells the kernel what is wanted: edges, so one registration serves the connection's whole life.
pub fn register(this: &Stream) -> Res<()> {
    let engine = &this.require_loop()?.engine;
    drop(engine.sources.set_owner(this.fd.get(), Some(Owner::of(this, on_event))));
    io_result(engine.watch(this.fd.get(), this.interest()))
}

/// `Transport.pause_reading`.
pub fn pause_reading(this: &Stream) {
    if !this.closing.get() {
        this.reading.pause();
        this.hold();
    }
}

/// `Transport.resume_reading`.
///
/// From here on the protocol is called in the context of whoever resumed; from 3.15 on it keeps the one it began with.
pub fn resume_reading(this: &Stream) -> Res<()> {
    if this.closing.get() || !this.reading.resume() {
        return Ok(());
    }
    if cfg!(not(Py_3_15)) {
        this.change_context(context::copy_current()?);
    }
    this.hold();
    read_if_due(this);
    Ok(())
}

// --------------------------------------------------------------------------------------------- what the engine calls

/// What the kernel says. Leaf code: notes it and queues work.
fn on_event(state: &LoopState, this: &Stream, turn: Turn, flags: Interest) {
    let more = Interest::PRI | Interest::RDHUP | Interest::HUP | Interest::ERR;
    if flags.intersects(Interest::IN | more) {
        if flags.intersects(more) {
            this.reading.note_doubt(turn);
        }
        this.reading.note_edge();
        schedule_read(state, this);
    }
    if flags.intersects(Interest::OUT | Interest::HUP | Interest::ERR)
        && this.writing.blocked.get()
        && this.writing.schedule()
    {
        state.push_or_report(Item::job(this, write_ready));
    }
}

/// The first look at the descriptor, after `connection_made`.
fn begin(state: &LoopState, this: &Stream, _: Turn) -> Res<()> {
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

fn read_ready(state: &LoopState, this: &Stream, turn: Turn) -> Res<()> {
    this.reading.job_begins();
    if this.lost.get() > 0 || this.closing.get() || !this.reading.wants() {
        return Ok(());
    }
    let done = this.in_context(|| act(this, recv::read(this, turn)?));
    if done.is_err() && error::is_exit() {
        // Whatever leaves the loop leaves the bytes, or the end of them, where they are: they are due when it runs again.
        this.reading.note_edge();
    }
    schedule_read(state, this);
    done
}

fn write_ready(_: &LoopState, this: &Stream, _: Turn) -> Res<()> {
    this.writing.job_begins();
    let Some(context) = this.resume_context.share() else { return this.in_context(|| go_on_sending(this)) };
    let result = context::run(&context, || go_on_sending(this));
    if !this.writing.blocked.get() {
        this.change_resume_context(None);
    }
    result
}

fn go_on_sending(this: &Stream) -> Res<()> {
    if this.lost.get() > 0 || this.queued() == 0 {
        return Ok(());
    }
    match send::send_queued(this)? {
        // Only who writes is told that too much waits.
        Next::Full => wait_for_room(this)?,
        next => act(this, next)?,
    }
    if this.lost.get() > 0 {
        return Ok(());
    }
    let resumed = send::maybe_resume_protocol(this);
    // What leaves the loop from there must not keep the connection from its end: no other edge would come.
    also(resumed, Some(this.object()), || {
        this.hold();
        if this.queued() == 0 && this.lost.get() == 0 { act(this, send::drained(this)?) } else { Ok(()) }
    })
}

fn flush_at_end_of_turn(this: &Stream) -> Res<()> {
    this.writing.set_flush_due(false);
    if this.loop_object().is_some_and(|owner| owner.state.closed.get()) {
        send::offer_queued(this);
        return Ok(());
    }
    let sent = this.in_context(|| act(this, send::flush_queued(this)?));
    if sent.is_err() && !error::is_exit() {
        error::unraisable(this.object());
        return Ok(());
    }
    sent
}

// --------------------------------------------------------------------------------------------------------- ending

/// `Transport.write_eof`.
pub fn write_eof(this: &Stream) -> Res<()> {
    if this.closing.get() || this.eof_written.get() || !this.owner.is_set() {
        return Ok(());
    }
    flush(this)?;
    send::end(this)
}

/// Closes once what is queued has been sent: `Transport.close`.
pub fn close(this: &Stream) -> Res<()> {
    if this.closing.get() || !this.owner.is_set() {
        return Ok(());
    }
    flush(this)?;
    if this.note_closing() && this.queued() == 0 {
        this.count_lost();
        return schedule_lost(this, None);
    }
    Ok(())
}

/// Closes now: `_force_close`. What was written in this turn is offered to the kernel once, as `write` does in asyncio;
/// what it would not take is dropped.
pub fn force_close(this: &Stream, exception: Option<Ref>) -> Res<()> {
    also(flush(this), None, || {
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
fn also(first: Res<()>, source: Option<Ref>, second: impl FnOnce() -> Res<()>) -> Res<()> {
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
fn schedule_lost(this: &Stream, exception: Option<Ref>) -> Res<()> {
    let owner = this.require_loop()?;
    let method = getattr(this.object(), interned().call_connection_lost)?;
    let none = none();
    let args = [owner.object(), method.borrow(), exception.unwrap_or(none.borrow())];
    call_method(interned().call_soon, &args).map(drop)
}

/// An error that ends the connection: `_fatal_error`. OSErrors are the network's business, all else is reported.
pub fn fatal_error(this: &Stream, exception: Obj, message: &CStr) -> Res<()> {
    let is_os_error = error::is_instance(&exception, builtin::os_error());
    // What was written leaves before anyone hears of the end, and may end the process. Where the network has failed
    // already, that failure counts, not the one of this attempt.
    let flushed = if is_os_error {
        send::offer_queued(this);
        drop(this.with_queue(SendQueue::take));
        Ok(())
    } else {
        flush(this)
    };
    also(flushed, None, || report_fatal(this, &exception, is_os_error, message))
}

fn report_fatal(this: &Stream, exception: &Obj, is_os_error: bool, message: &CStr) -> Res<()> {
    if !this.owner.is_set() {
        return Ok(());
    }
    if is_os_error {
        protocol::log_fatal(this, exception, message)?;
    } else {
        protocol::report(this, &this.protocol.or_none(), exception, message)?;
    }
    force_close(this, Some(exception.borrow()))
}

/// Tells the protocol, then lets go of everything: the end of `_call_connection_lost`.
pub fn connection_lost(this: &Stream, exception: Option<Ref>) -> Res<()> {
    if !this.owner.is_set() {
        return Ok(());
    }
    send::offer_queued(this);
    let told =
        if this.protocol_connected.get() { protocol::call_connection_lost(this, exception) } else { Ok(()) };
    also(told, None, || release(this))
}

fn release(this: &Stream) -> Res<()> {
    info::remember_before_close(this);
    let sendfile = sendfile_under_way(this);
    unregister_to_close(this);
    close_socket(this)?;
    let server = this.take_server();
    let waiter = this.take_empty_waiter();
    this.let_go();
    // It waits for a descriptor that is no more: it finds that out, and ends with an error.
    // SAFETY: a handle, as the table holds no others.
    let told = sendfile.map_or(Ok(()), |watch| unsafe { handle_run::run(watch) });
    also(told, None, || {
        if let Some(server) = server {
            protocol::detach_server(this, &server)?;
        }
        waiter.map_or(Ok(()), |waiter| refuse_waiter(&waiter))
    })
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

/// Tells who waits for all to be sent that it never will be. Where all had been, a `sendfile` came after it.
fn refuse_waiter(waiter: &Obj) -> Res<()> {
    if truth(&call_method(names::text(c"done")?, &[waiter.borrow()])?)? {
        return Ok(());
    }
    let text = string("Connection is closed by peer")?;
    let gone = call(builtin::connection_error(), &[text.borrow()])?;
    call_method(names::text(c"set_exception")?, &[waiter.borrow(), gone.borrow()]).map(drop)
}

/// Takes the descriptor out of the engine's table.
pub fn unregister(this: &Stream) {
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
fn unregister_to_close(this: &Stream) {
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
fn close_socket(this: &Stream) -> Res<()> {
    match this.take_socket() {
        (Some(sock), _) => call_method(interned().close, &[sock.borrow()]).map(drop),
        (None, fd) => {
            socket::close(fd);
            Ok(())
        }
    }
}

/// The last user has dropped it while it was open: it says so, and closes.
pub fn abandon(this: &Stream) {
    let pending = error::take();
    let blame = |done: Res<()>| done.unwrap_or_else(|Raised| error::unraisable(this.object()));
    let shown = this.object().as_ptr();
    // SAFETY: formats one object.
    blame(check(unsafe { PyErr_ResourceWarning(shown, 1, c"unclosed transport %R".as_ptr(), shown) }));
    unregister(this);
    let server = this.take_server();
    blame(close_socket(this));
    if let Some(server) = server.filter(|_| cfg!(Py_3_13)) {
        blame(protocol::detach_server(this, &server));
    }
    error::restore(pending);
}
