//! What is done with what `datagram_recv` and `datagram_send` decide: the one file of the two that calls the protocol of a datagram
//! endpoint, with asyncio's answer to what it raises: none. It goes up to whoever has called: the reader's handle, which reports it,
//! or the program, from `sendto`.

use std::ffi::CStr;

use pyo3_ffi::*;

use super::datagram_state::{Come, Datagrams, Drained, Sent};
use super::{datagram_recv, datagram_send};
use crate::engine::loop_object::LoopObject;
use crate::engine::source::Side;
use crate::ffi::calls::{call, call_method};
use crate::ffi::cells::Turn;
use crate::ffi::class::Native;
use crate::ffi::names::{imported, interned, text};
use crate::ffi::object::{getattr, int, string};
use crate::ffi::{Obj, Raised, Ref, Res, builtin, error, none};
use crate::task::loop_state::{Item, LoopState};
use crate::task::{handle, handle_run};

// ------------------------------------------------------------------------------------------------------ receiving

/// `_read_ready`: what the reader's handle calls when something has come, and our job for what came with it.
pub fn read_ready(this: &Datagrams) -> Res<()> {
    let in_job = this.set_in_job(false);
    if !in_job && this.is_scheduled() {
        // The job comes later in this turn; but what the kernel complains of comes before what it goes on with.
        return match datagram_recv::error_of_event(this)? {
            Some(exception) => error_received(this, exception),
            None => Ok(()),
        };
    }
    if this.lost() > 0 {
        return Ok(());
    }
    for count in 1.. {
        let (told, done) = match datagram_recv::next(this) {
            Ok(Come::Nothing) => return Ok(()),
            Ok(come) => (matches!(come, Come::Datagram { .. }), act(this, come)),
            Err(Raised) => (false, failed(this)),
        };
        if done.is_err() || !goes_on(this, count) {
            // Once more after the last: an event of this turn is not to tell of another one.
            if this.has_ahead() || (in_job && told) {
                go_on_later(this);
            }
            return done;
        }
    }
    Ok(())
}

fn act(this: &Datagrams, come: Come) -> Res<()> {
    match come {
        Come::Datagram { data, sender, cut } => {
            if cut {
                tell_of_cut(this, &data)?;
            }
            datagram_received(this, &data, &sender)
        }
        Come::Error(exception) => error_received(this, exception),
        Come::Nothing => Ok(()),
        Come::Standard => standard(this, c"_read_ready", &[]),
    }
}

/// What came was not the kernel's error, nor the protocol's: no memory, say.
#[cold]
fn failed(this: &Datagrams) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    fatal_error(this, &exception, "Fatal read error on datagram transport")
}

#[inline(always)]
fn datagram_received(this: &Datagrams, data: &Obj, sender: &Obj) -> Res<()> {
    // Held: the callback may close the transport or change its protocol.
    let Some(protocol) = this.protocol.share() else { return Ok(()) };
    call_method(interned().datagram_received, &[protocol.borrow(), data.borrow(), sender.borrow()]).map(drop)
}

fn error_received(this: &Datagrams, exception: Obj) -> Res<()> {
    let Some(protocol) = this.protocol.share() else { return Ok(()) };
    call_method(interned().error_received, &[protocol.borrow(), exception.borrow()]).map(drop)
}

/// So many are told before the loop's turn ends, which then may look at the descriptors: some 30 microseconds' worth, as long as it
/// runs callbacks without looking.
const BEFORE_A_LOOK: usize = 8;

/// Whether the protocol can be told of the next one now, after so many: nothing else would come in between.
fn goes_on(this: &Datagrams, told: usize) -> bool {
    let Some(owner) = this.loop_object() else { return false };
    let (state, engine) = (&owner.state, &owner.engine);
    told < BEFORE_A_LOOK
        && this.wants()
        && this.has_ahead()
        && state.ready_len() == 0
        && !(state.stopping.get() || state.debug.get() || engine.has_to_flush())
}

/// Queues what is left, behind what the last callback has queued.
fn go_on_later(this: &Datagrams) {
    if this.lost() > 0 || this.closing() {
        this.drop_ahead();
    } else if this.wants()
        && let Some(owner) = this.loop_object()
        && this.schedule()
    {
        owner.state.push_or_report(Item::job(this, go_on_reading));
    }
}

/// Reading was resumed: the kernel may have no more, and make no event.
pub fn resumed(this: &Datagrams) {
    if this.has_ahead() {
        go_on_later(this);
    }
}

/// Runs the reader's handle, as an event would: in its context, and by its way to report an exception.
fn go_on_reading(state: &LoopState, this: &Datagrams, _: Turn) -> Res<()> {
    this.job_begins();
    if !this.wants() {
        return Ok(());
    }
    let engine = &LoopObject::of(state).engine;
    let Some(reader) = engine.sources.handle(this.number(), Side::Read) else { return Ok(()) };
    // SAFETY: the table has handles only.
    unsafe {
        if !handle::of(&reader).calls_method_of(this.object()) {
            return Ok(());
        }
        this.set_in_job(true);
        let done = handle_run::run(reader);
        // Still set if the handle was cancelled.
        this.set_in_job(false);
        done
    }
}

/// asyncio cuts a datagram that is larger than `max_size` without a word.
#[cold]
fn tell_of_cut(this: &Datagrams, data: &Obj) -> Res<()> {
    // SAFETY: bytes.
    let size = unsafe { PyBytes_Size(data.as_ptr()) };
    let format = string("%r has received a datagram that was cut to max_size, %d bytes")?;
    let size = int(size as i64)?;
    let args = [imported().logger, format.borrow(), this.object(), size.borrow()];
    call_method(interned().warning, &args).map(drop)
}

// -------------------------------------------------------------------------------------------------------- sending

/// `DatagramTransport.sendto`.
#[inline(always)]
pub fn send(this: &Datagrams, data: Ref, addr: Ref) -> Res<()> {
    match datagram_send::send(this, data, addr)? {
        Sent::Gone => Ok(()),
        Sent::Later => datagram_send::queue(this, data, addr),
        Sent::Refused(exception) => refused(this, exception),
        Sent::Standard => standard(this, c"sendto", &[data, addr]),
    }
}

/// The kernel's errors are the protocol's business; any other is the end.
#[cold]
fn refused(this: &Datagrams, exception: Obj) -> Res<()> {
    if error::is_instance(&exception, builtin::os_error()) {
        return error_received(this, exception);
    }
    fatal_error(this, &exception, "Fatal write error on datagram transport")
}

/// `_sendto_ready`: the kernel takes more.
pub fn write_ready(this: &Datagrams) -> Res<()> {
    if this.family().is_none() {
        return standard(this, c"_sendto_ready", &[]);
    }
    if let Drained::Refused(exception) = datagram_send::drain(this)? {
        // The others have their turn in the next one: the kernel still takes them.
        return refused(this, exception);
    }
    call_method(text(c"_maybe_resume_protocol")?, &[this.object()])?;
    if this.queued()? > 0 {
        return Ok(());
    }
    let Some(owner) = this.owner.share() else { return Ok(()) };
    let fd = int(this.number().into())?;
    call_method(text(c"_remove_writer")?, &[owner.borrow(), fd.borrow()])?;
    if !this.closing() {
        return Ok(());
    }
    let nothing = none();
    call_method(interned().call_connection_lost, &[this.object(), nothing.borrow()]).map(drop)
}

// ------------------------------------------------------------------------------------------------------ asyncio's

/// asyncio's own method of this name.
#[cold]
fn standard(this: &Datagrams, name: &'static CStr, args: &[Ref]) -> Res<()> {
    let method = getattr(imported().datagram_transport, text(name)?)?;
    call(&method, &[&[this.object()], args].concat()).map(drop)
}

#[cold]
fn fatal_error(this: &Datagrams, exception: &Obj, message: &str) -> Res<()> {
    let message = string(message)?;
    let args = [this.object(), exception.borrow(), message.borrow()];
    call_method(text(c"_fatal_error")?, &args).map(drop)
}
