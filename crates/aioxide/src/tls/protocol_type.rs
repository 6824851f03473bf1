//! The native base of the class that stands between a stream transport and the user's protocol: what asyncio's own `SSLProtocol`,
//! which is the other base, does for each read and write.

use std::ffi::c_void;

use pyo3_ffi::*;

use super::state::{self, Phase, Tls};
use super::{attach, engine, entry, flow};
use crate::ffi::args::{Args, Named, Overriding};
use crate::ffi::calls::call_method;
use crate::ffi::class::{Class, Native};
use crate::ffi::guard::guarded;
use crate::ffi::names::{imported, interned};
use crate::ffi::object::{getattr, int, ret, string, truth};
use crate::ffi::{NULL, Obj, Raised, Raw, Ref, Res, Slot, buffer, error};
use crate::net::send;

/// Writes to a lost connection before asyncio starts to complain.
const LOG_THRESHOLD: usize = 5;

/// # Safety
/// `kind` is the type, or one derived from it.
unsafe extern "C" fn tp_new(kind: *mut PyTypeObject, _: Raw, _: Raw) -> Raw {
    // SAFETY: a slot of the type.
    guarded(NULL, || ret(unsafe { state::alloc(kind) }))
}

// ------------------------------------------------------------------------------------------------------- methods

fn begin(this: &Tls, args: Args) -> Res {
    let [context, server_side, hostname] =
        args.first(["sslcontext", "server_side", "server_hostname"], "_begin")?;
    attach::begin(this, context, server_side, hostname)?;
    Ok(this.ssl_object.or_none())
}

/// What a transport below that is not ours has received.
fn feed(this: &Tls, data: Ref) -> Res<()> {
    engine::keep_object(this, data)?;
    flow::go_on(this, this.phase.get())
}

/// `Transport.write`.
fn write(this: &Tls, args: Args) -> Res<()> {
    let mut named = Named::default();
    let base = Overriding { receiver: this.object(), class: |_| imported().tls_transport, name: c"write" };
    let args = args.placed(&["data"], base, &mut named)?;
    args.no_more(1, base)?;
    let data = args.given()[0];
    if !buffer::is_data(data) {
        return refuse_type(data);
    }
    if is_over(this)? {
        return Ok(());
    }
    append(this, data)?;
    if this.backlog_size() > 0 { flow::appended(this) } else { Ok(()) }
}

#[cold]
fn refuse_type(data: Ref) -> Res<()> {
    let name = getattr(data.class(), interned().dunder_name)?;
    let kind = crate::ffi::builtin::type_error();
    error::raise_with(kind, c"data: expecting a bytes-like instance, got %S", &name, None)
}

fn append(this: &Tls, data: Ref) -> Res<()> {
    let chunk = send::chunk_of(data)?;
    if this.with_backlog(|backlog| backlog.push(chunk)).is_err() { error::no_memory() } else { Ok(()) }
}

/// Nothing can be written any more; who goes on is told in the log after a while.
#[inline]
fn is_over(this: &Tls) -> Res<bool> {
    if matches!(this.phase.get(), Phase::Handshake | Phase::Wrapped) {
        return Ok(false);
    }
    if this.lost.get() >= LOG_THRESHOLD {
        let text = string("SSL connection is closed")?;
        call_method(interned().warning, &[imported().logger, text.borrow()])?;
    }
    this.lost.set(this.lost.get() + 1);
    Ok(true)
}

/// asyncio's `_write_appdata`. What is no buffer ends the connection, after what came before it.
fn write_lines(this: &Tls, lines: Ref) -> Res<()> {
    if is_over(this)? {
        return Ok(());
    }
    let mut refused = None;
    // SAFETY: live objects; each item is held while it is looked at.
    unsafe {
        let iterator = Obj::steal(PyObject_GetIter(lines.as_ptr()))?;
        while let Ok(item) = Obj::steal(PyIter_Next(iterator.as_ptr())) {
            if append(this, item.borrow()).is_err() {
                refused = error::take();
                break;
            }
        }
    }
    if refused.is_none() && error::occurred() {
        return Err(Raised);
    }
    if this.backlog_size() > 0 {
        flow::appended(this)?;
    }
    let Some(refused) = refused else { return Ok(()) };
    flow::flush(this)?;
    flow::fatal(this, &refused)
}

fn get_write_buffer_size(this: &Tls) -> Res {
    flow::flush(this)?;
    int(flow::write_buffer_size(this)? as i64)
}

fn pause_writing(this: &Tls) -> Res<()> {
    this.below_writing_paused.set(true);
    Ok(())
}

/// Sends what was written if a `drain` asks whether the transport is closing, as over TCP.
fn asked(this: &Tls) -> Res<()> {
    if this.backlog_size() > 0 && send::asked_by_drain()? { flow::flush(this) } else { Ok(()) }
}

/// All that was written, encrypted: for the end of the connection, which cannot wait for the transport below.
fn send_all(this: &Tls) -> Res<()> {
    flow::send_backlog(this, false)
}

// ---------------------------------------------------------------------------------------------------- attributes

fn set_slot(slot: &Slot, value: Option<Ref>) -> Res<()> {
    drop(slot.replace(value.filter(|value| !value.is_none()).map(Ref::to_obj)));
    Ok(())
}

fn flag(cell: &std::cell::Cell<bool>, value: Option<Ref>) -> Res<()> {
    cell.set(value.map_or(Ok(false), truth)?);
    Ok(())
}

fn attributes(class: Class<Tls>) -> Class<Tls> {
    class
        .getset(c"_state", |this| this.show_phase(), |this, value| this.set_phase(value))
        .getset(c"_loop", |this| this.owner.or_none(), |this, value| set_slot(&this.owner, value))
        .getset(c"_app_protocol", |this| this.app.or_none(), |this, value| set_slot(&this.app, value))
        .getset(c"_transport", |this| this.below.or_none(), |this, value| set_slot(&this.below, value))
        .getset(c"_sslobj", |this| this.ssl_object.or_none(), |this, value| set_slot(&this.ssl_object, value))
        .getset(
            c"_app_protocol_is_buffer",
            |this| this.buffered.get(),
            |this, value| flag(&this.buffered, value),
        )
        .getset(
            c"_app_reading_paused",
            |this| this.app_reading_paused.get(),
            |this, value| flag(&this.app_reading_paused, value),
        )
        .getset(
            c"_app_writing_paused",
            |this| this.app_writing_paused.get(),
            |this, value| flag(&this.app_writing_paused, value),
        )
        .getset(
            c"_ssl_reading_paused",
            |this| this.below_reading_paused.get(),
            |this, value| flag(&this.below_reading_paused, value),
        )
        .getset(
            c"_ssl_writing_paused",
            |this| this.below_writing_paused.get(),
            |this, value| flag(&this.below_writing_paused, value),
        )
        .getset(c"_conn_lost", |this| int(this.lost.get() as i64), set_lost)
        .get(c"_backlog_size", |this| int(this.backlog_size() as i64))
}

fn set_lost(this: &Tls, value: Option<Ref>) -> Res<()> {
    let Some(value) = value else { return error::type_error(c"cannot delete attribute") };
    this.lost.set(crate::ffi::number::as_i64(value)?.max(0) as usize);
    Ok(())
}

fn marks(class: Class<Tls>) -> Class<Tls> {
    class
        .getset(
            c"_incoming_high_water",
            |this| this.incoming_high.show(),
            |this, value| this.incoming_high.set(value),
        )
        .getset(
            c"_incoming_low_water",
            |this| this.incoming_low.show(),
            |this, value| this.incoming_low.set(value),
        )
        .getset(
            c"_outgoing_high_water",
            |this| this.outgoing_high.show(),
            |this, value| this.outgoing_high.set(value),
        )
        .getset(
            c"_outgoing_low_water",
            |this| this.outgoing_low.show(),
            |this, value| this.outgoing_low.set(value),
        )
}

fn methods(class: Class<Tls>) -> Class<Tls> {
    class
        .fast(c"_begin", begin, c"Make the SSL object, by the context's own wrap_bio().")
        .onearg(c"_feed", feed, c"Ciphertext has come from a transport that is not ours.")
        .onearg(c"_keep", engine::keep_object, c"Keep ciphertext that came before the connection began.")
        .fast(c"_write", write, c"Write some bytes.")
        .onearg(c"_write_appdata", write_lines, c"Write each of several pieces.")
        .onearg(c"_append", append, c"Put bytes into the backlog, and do nothing about it.")
        .noargs(c"_take_outgoing", engine::take, c"Take the ciphertext that is to be sent.")
        .noargs(c"_clear_backlog", Tls::drop_backlog, c"Drop what was written and not encrypted.")
        .noargs(c"_do_read", flow::read, c"Hand the user what can be decrypted.")
        .noargs(c"_do_write", |this| flow::send_backlog(this, true), c"Encrypt and send what was written.")
        .noargs(c"_send_all", send_all, c"Encrypt all that was written, whatever the transport below wants.")
        .noargs(c"_process_outgoing", flow::send_written, c"Send what OpenSSL has written.")
        .noargs(c"_discard", flow::discard, c"Throw away what the peer still sends; true at its end.")
        .noargs(c"_flush", flow::flush, c"Send what was written in this turn.")
        .noargs(c"_asked", asked, c"Send what was written in this turn, if drain() asks.")
        .noargs(c"_control_app_writing", flow::control_writing, c"Pause or resume the user's writing.")
        .noargs(c"_control_ssl_reading", flow::control_reading, c"Pause or resume the transport's reading.")
        .noargs(c"_get_write_buffer_size", get_write_buffer_size, c"Bytes that have not left.")
        .noargs(
            c"_get_read_buffer_size",
            |this| int(engine::received(this)? as i64),
            c"Ciphertext that was not read.",
        )
        .noargs(c"_get_outgoing_size", |this| int(engine::written(this)? as i64), c"Ciphertext to be sent.")
        .noargs(c"pause_writing", pause_writing, c"The transport below wants no more for now.")
        .noargs(c"resume_writing", flow::resume, c"The transport below takes more.")
}

/// Makes the type; the module exports it.
pub fn load() -> Res<*mut PyTypeObject> {
    attach::load()?;
    entry::load();
    let class = Class::<Tls>::new(c"aioxide._aioxide.TlsProtocol");
    let kind = marks(attributes(methods(class)))
        .collected()
        .also(|def| {
            def.flags(Py_TPFLAGS_BASETYPE)
                .doc(c"The native part of TLS over a stream transport.")
                .slot(Py_tp_new, tp_new as *mut c_void)
        })
        .build(None)?;
    // SAFETY: the type that was just made, which is kept for ever.
    unsafe { state::load(kind)? };
    Ok(kind)
}

/// `_tls_engine()`: which one runs, and why.
pub fn tell(_: Ref) -> Res {
    attach::tell()
}
