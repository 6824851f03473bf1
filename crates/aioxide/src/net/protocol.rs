//! The one place that calls a Protocol, with asyncio's answer to each exception.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use pyo3_ffi::*;

use super::state::{Kind, Next, READ_FAILED, Stream, Transport};
use crate::ffi::buffer;
use crate::ffi::names::{intern, stdlib};
use crate::ffi::object::{call_method, call_method_kw, int, string, truth, tuple};
use crate::ffi::{Obj, Raised, Raw, Res, error, names};
use crate::task::report;

pub fn kind_of(protocol: Raw) -> Res<Kind> {
    // SAFETY: a live object and a class.
    match unsafe { PyObject_IsInstance(protocol, stdlib().buffered_protocol) } {
        -1 => Err(Raised),
        0 => Ok(Kind::Streaming),
        _ => Ok(Kind::Buffered),
    }
}

/// Whether it is asyncio's TLS, with a transport of its own for the user.
pub fn is_tls(protocol: Raw) -> Res<bool> {
    // SAFETY: a live object and a class.
    match unsafe { PyObject_IsInstance(protocol, stdlib().tls_protocol) } {
        -1 => Err(Raised),
        is => Ok(is == 1),
    }
}

/// Calls `protocol.name(*args)`; `recv` and `send` have entered the connection's context. An exception that must leave the loop does; any
/// other is fatal to the connection. `tell` is the same for whom the answer does not matter: nothing is built that says so.
#[inline(always)]
fn ask(this: Transport<'_>, name: Raw, args: &[Raw], text: &'static CStr) -> Res<Result<Obj, Next>> {
    // Held: the callback may close the transport or change its protocol.
    let Some(protocol) = this.protocol.share() else { return Ok(Err(Next::GoOn)) };
    match call(&protocol, name, args) {
        Ok(answer) => Ok(Ok(answer)),
        Err(Raised) => raised(text).map(Err),
    }
}

#[inline(always)]
fn tell(this: Transport<'_>, name: Raw, args: &[Raw], text: &'static CStr) -> Res<Next> {
    let Some(protocol) = this.protocol.share() else { return Ok(Next::GoOn) };
    match call(&protocol, name, args) {
        Ok(_) => Ok(Next::GoOn),
        Err(Raised) => raised(text),
    }
}

#[inline(always)]
fn call(protocol: &Obj, name: Raw, args: &[Raw]) -> Res {
    let mut all = [protocol.as_ptr(); 2];
    all[1..=args.len()].copy_from_slice(args);
    call_method(name, &all[..=args.len()])
}

#[cold]
fn raised(text: &'static CStr) -> Res<Next> {
    if error::is_exit() { Err(Raised) } else { Ok(Next::fatal(text)) }
}

#[inline(always)]
pub fn data_received(this: Transport<'_>, data: Obj) -> Res<Next> {
    let text = c"Fatal error: protocol.data_received() call failed.";
    tell(this, names().data_received, &[data.as_ptr()], text)
}

/// Whether the connection stays open to write to.
pub fn eof_received(this: Transport<'_>) -> Res<Result<bool, Next>> {
    match ask(this, names().eof_received, &[], c"Fatal error: protocol.eof_received() call failed.")? {
        Ok(answer) => truth(answer.as_ptr()).map(Ok),
        Err(next) => Ok(Err(next)),
    }
}

pub fn buffer_updated(this: Transport<'_>, count: usize) -> Res<Next> {
    updated(this, &int(count as i64)?)
}

#[inline(always)]
fn updated(this: Transport<'_>, count: &Obj) -> Res<Next> {
    let text = c"Fatal error: protocol.buffer_updated() call failed.";
    tell(this, names().buffer_updated, &[count.as_ptr()], text)
}

/// Hands the memory of the buffer that the protocol gives to `body`, which must not call into Python.
pub fn with_buffer<T>(
    this: Transport<'_>,
    body: impl FnOnce(&mut [MaybeUninit<u8>]) -> T,
) -> Res<Result<T, Next>> {
    let text = c"Fatal error: protocol.get_buffer() call failed.";
    let hint = int(-1)?;
    let given = match ask(this, names().get_buffer, &[hint.as_ptr()], text)? {
        Ok(given) => given,
        Err(next) => return Ok(Err(next)),
    };
    if check_length(given.as_ptr()).is_err() {
        return raised(text).map(Err);
    }
    match buffer::lend_to_fill(given.as_ptr(), body) {
        Ok(done) => Ok(Ok(done)),
        Err(Raised) => {
            error::clear();
            refuse_buffer(this, &given).map(Err)
        }
    }
}

/// asyncio asks for the length first.
fn check_length(given: Raw) -> Res<()> {
    // SAFETY: a live object.
    match unsafe { PyObject_Size(given) } {
        -1 => Err(Raised),
        0 => error::runtime_error(c"get_buffer() returned an empty buffer"),
        _ => Ok(()),
    }
}

/// A buffer that nothing can be read into: the socket's own `recv_into` says what is wrong with it.
#[cold]
fn refuse_buffer(this: Transport<'_>, given: &Obj) -> Res<Next> {
    let sock = super::info::socket_of(&this)?;
    match call_method(intern(c"recv_into")?, &[sock.as_ptr(), given.as_ptr()]) {
        // It took it after all: its exporter has changed its mind, and the bytes are in it.
        Ok(count) => updated(this, &count),
        Err(Raised) => raised(READ_FAILED),
    }
}

/// `connection_lost`, run in the context of whoever runs the callback; its exceptions are the callback's.
pub fn call_connection_lost(this: &Stream, exception: Raw) -> Res<()> {
    let Some(protocol) = this.protocol.share() else { return Ok(()) };
    let none = crate::ffi::none();
    let exception = if exception.is_null() { none.as_ptr() } else { exception };
    call_method(names().connection_lost, &[protocol.as_ptr(), exception]).map(drop)
}

/// `pause_writing` or `resume_writing`: an exception is reported, and the connection lives on.
pub fn flow(this: Transport<'_>, name: Raw, text: &CStr) -> Res<()> {
    let Some(protocol) = this.protocol.share() else { return Ok(()) };
    if call_method(name, &[protocol.as_ptr()]).is_ok() {
        return Ok(());
    }
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    report(this, &protocol, &exception, text)
}

/// Tells the loop's exception handler.
pub fn report(this: Transport<'_>, protocol: &Obj, exception: &Obj, text: &CStr) -> Res<()> {
    let Some(owner) = this.owner.share() else { return Ok(()) };
    let n = names();
    let pairs = [
        (n.message, intern(text)?),
        (n.exception, exception.as_ptr()),
        (n.transport, this.object()),
        (n.protocol, protocol.as_ptr()),
    ];
    report::report_context(owner.as_ptr(), &pairs)
}

/// Debug mode says why a connection ended: `logger.debug("%r: %s", self, message, exc_info=exc)`.
pub fn log_fatal(this: Transport<'_>, exception: &Obj, text: &CStr) -> Res<()> {
    if !this.loop_object().is_some_and(|owner| owner.state.debug.get()) {
        return Ok(());
    }
    let kwnames = tuple(&[intern(c"exc_info")?])?;
    let format = string("%r: %s")?;
    let args = [stdlib().logger, format.as_ptr(), this.object(), intern(text)?, exception.as_ptr()];
    call_method_kw(intern(c"debug")?, &args, 4, kwnames.as_ptr()).map(drop)
}

/// Tells the server that it has one more connection.
pub fn attach_server(this: Transport<'_>) -> Res<()> {
    match this.server.share() {
        Some(server) => tell_server(this, &server, names().attach),
        None => Ok(()),
    }
}

/// Tells the server that the connection is gone.
pub fn detach_server(this: Transport<'_>, server: &Obj) -> Res<()> {
    tell_server(this, server, names().detach)
}

/// From 3.13 on a server keeps its transports, before it counted them.
fn tell_server(this: Transport<'_>, server: &Obj, name: Raw) -> Res<()> {
    let args = [server.as_ptr(), this.object()];
    call_method(name, &args[..if cfg!(Py_3_13) { 2 } else { 1 }]).map(drop)
}
