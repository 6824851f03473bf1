//! The one place that calls the Protocol of a stream, with asyncio's answer to each exception.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;

use pyo3_ffi::*;

use super::state::{Kind, Next, READ_FAILED, Stream};
use crate::ffi::calls::{call_kw, call_method, tuple};
use crate::ffi::class::Native;
use crate::ffi::names::{self, imported, interned};
use crate::ffi::object::{getattr, int, string, truth};
use crate::ffi::{Global, Obj, Raised, Ref, Res, buffer, error, none};
use crate::task::report;

/// A native protocol of a higher floor, which reads from the connection itself.
pub struct Reader {
    /// Whether it is for protocols of a type.
    pub is_for: fn(*mut PyTypeObject) -> bool,
    /// Has the function read once, and does what that means; no bytes and errors are handed back.
    pub receive: ReceiveFn,
    /// Hands what waits for the end of the turn to the connection.
    pub flush: fn(Ref) -> Res<()>,
}

type Fill<'a> = &'a mut dyn FnMut(&mut [MaybeUninit<u8>]) -> io::Result<usize>;
type ReceiveFn = fn(Ref, Fill) -> Res<io::Result<usize>>;

pub static READER: Global<Reader> = Global::new();

pub fn kind_of(protocol: Ref) -> Res<Kind> {
    // SAFETY: set at import, as all that can make a protocol.
    if READER.is_set() && (unsafe { READER.get() }.is_for)(protocol.type_of()) {
        return Ok(Kind::Native);
    }
    Ok(if is_a(protocol, imported().buffered_protocol)? { Kind::Buffered } else { Kind::Streaming })
}

/// Whether it is asyncio's TLS, with a transport of its own for the user.
pub fn is_tls(protocol: Ref) -> Res<bool> {
    is_a(protocol, imported().tls_protocol)
}

fn is_a(object: Ref, class: Ref) -> Res<bool> {
    // SAFETY: a live object and a class.
    match unsafe { PyObject_IsInstance(object.as_ptr(), class.as_ptr()) } {
        -1 => Err(Raised),
        is => Ok(is == 1),
    }
}

/// Calls `protocol.name(*args)`; `recv` and `send` have entered the connection's context. An exception that must leave the loop does; any
/// other is fatal to the connection. `tell` is the same for whom the answer does not matter: nothing is built that says so.
#[inline(always)]
fn ask(this: &Stream, name: Ref, args: &[Ref], text: &'static CStr) -> Res<Result<Obj, Next>> {
    // Held: the callback may close the transport or change its protocol.
    let Some(protocol) = this.protocol.share() else { return Ok(Err(Next::GoOn)) };
    match call(&protocol, name, args) {
        Ok(answer) => Ok(Ok(answer)),
        Err(Raised) => raised(text).map(Err),
    }
}

#[inline(always)]
fn tell(this: &Stream, name: Ref, args: &[Ref], text: &'static CStr) -> Res<Next> {
    let Some(protocol) = this.protocol.share() else { return Ok(Next::GoOn) };
    match call(&protocol, name, args) {
        Ok(_) => Ok(Next::GoOn),
        Err(Raised) => raised(text),
    }
}

#[inline(always)]
fn call(protocol: &Obj, name: Ref, args: &[Ref]) -> Res {
    let mut all = [protocol.borrow(); 2];
    all[1..=args.len()].copy_from_slice(args);
    call_method(name, &all[..=args.len()])
}

#[cold]
fn raised(text: &'static CStr) -> Res<Next> {
    if error::is_exit() { Err(Raised) } else { Ok(Next::fatal(text)) }
}

#[inline(always)]
pub fn data_received(this: &Stream, data: Obj) -> Res<Next> {
    let text = c"Fatal error: protocol.data_received() call failed.";
    tell(this, interned().data_received, &[data.borrow()], text)
}

/// Whether the connection stays open to write to.
pub fn eof_received(this: &Stream) -> Res<Result<bool, Next>> {
    match ask(this, interned().eof_received, &[], c"Fatal error: protocol.eof_received() call failed.")? {
        Ok(answer) => truth(&answer).map(Ok),
        Err(next) => Ok(Err(next)),
    }
}

pub fn buffer_updated(this: &Stream, count: usize) -> Res<Next> {
    updated(this, &int(count as i64)?)
}

#[inline(always)]
fn updated(this: &Stream, count: &Obj) -> Res<Next> {
    let text = c"Fatal error: protocol.buffer_updated() call failed.";
    tell(this, interned().buffer_updated, &[count.borrow()], text)
}

/// Has a native protocol read; `Err` is what becomes of the connection.
pub fn receive(this: &Stream, fill: Fill) -> Res<Result<io::Result<usize>, Next>> {
    let Some(protocol) = this.protocol.share() else { return Ok(Err(Next::GoOn)) };
    // SAFETY: a protocol is of this kind only where `READER` is set.
    match (unsafe { READER.get() }.receive)(protocol.borrow(), fill) {
        Ok(read) => Ok(Ok(read)),
        Err(Raised) => raised(c"Fatal error: protocol.buffer_updated() call failed.").map(Err),
    }
}

/// What a native protocol keeps for the end of the turn comes now.
pub fn flush(this: &Stream) -> Res<()> {
    if this.protocol_kind.get() != Kind::Native {
        return Ok(());
    }
    let Some(protocol) = this.protocol.share() else { return Ok(()) };
    // SAFETY: as in `receive`.
    (unsafe { READER.get() }.flush)(protocol.borrow())
}

/// Hands the memory of the buffer that the protocol gives to `body`, which must not call into Python.
pub fn with_buffer<T>(this: &Stream, body: impl FnOnce(&mut [MaybeUninit<u8>]) -> T) -> Res<Result<T, Next>> {
    let text = c"Fatal error: protocol.get_buffer() call failed.";
    let hint = int(-1)?;
    let given = match ask(this, interned().get_buffer, &[hint.borrow()], text)? {
        Ok(given) => given,
        Err(next) => return Ok(Err(next)),
    };
    if check_length(given.borrow()).is_err() {
        return raised(text).map(Err);
    }
    match buffer::lend_to_fill(&given, body) {
        Ok(done) => Ok(Ok(done)),
        Err(Raised) => {
            error::clear();
            refuse_buffer(this, &given).map(Err)
        }
    }
}

/// asyncio asks for the length first.
fn check_length(given: Ref) -> Res<()> {
    // SAFETY: a live object.
    match unsafe { PyObject_Size(given.as_ptr()) } {
        -1 => Err(Raised),
        0 => error::runtime_error(c"get_buffer() returned an empty buffer"),
        _ => Ok(()),
    }
}

/// A buffer that nothing can be read into: the socket's own `recv_into` says what is wrong with it.
#[cold]
fn refuse_buffer(this: &Stream, given: &Obj) -> Res<Next> {
    let sock = super::info::socket_of(this)?;
    match call_method(names::text(c"recv_into")?, &[sock.borrow(), given.borrow()]) {
        // It took it after all: its exporter has changed its mind, and the bytes are in it.
        Ok(count) => updated(this, &count),
        Err(Raised) => raised(READ_FAILED),
    }
}

/// `connection_lost`, run in the context of whoever runs the callback; its exceptions are the callback's.
pub fn call_connection_lost(this: &Stream, exception: Option<Ref>) -> Res<()> {
    let Some(protocol) = this.protocol.share() else { return Ok(()) };
    let none = none();
    let args = [protocol.borrow(), exception.unwrap_or(none.borrow())];
    call_method(interned().connection_lost, &args).map(drop)
}

/// `pause_writing` or `resume_writing`: an exception is reported, and the connection lives on.
pub fn flow(this: &Stream, name: Ref, text: &CStr) -> Res<()> {
    let Some(protocol) = this.protocol.share() else { return Ok(()) };
    if call_method(name, &[protocol.borrow()]).is_ok() {
        return Ok(());
    }
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    report(this, &protocol, &exception, text)
}

/// Tells the loop's exception handler.
pub fn report(this: &Stream, protocol: &Obj, exception: &Obj, text: &CStr) -> Res<()> {
    let Some(owner) = this.owner.share() else { return Ok(()) };
    let n = interned();
    let pairs = [
        (n.message, names::text(text)?),
        (n.exception, exception.borrow()),
        (n.transport, this.object()),
        (n.protocol, protocol.borrow()),
    ];
    report::report_context(owner.borrow(), &pairs)
}

/// Debug mode says why a connection ended: `logger.debug("%r: %s", self, message, exc_info=exc)`.
pub fn log_fatal(this: &Stream, exception: &Obj, text: &CStr) -> Res<()> {
    if !this.loop_object().is_some_and(|owner| owner.state.debug.get()) {
        return Ok(());
    }
    let kwnames = tuple(&[names::text(c"exc_info")?])?;
    let (debug, format) = (getattr(imported().logger, names::text(c"debug")?)?, string("%r: %s")?);
    let args = [format.borrow(), this.object(), names::text(text)?, exception.borrow()];
    call_kw(&debug, &args, Some(kwnames.borrow())).map(drop)
}

/// Tells the server that it has one more connection.
pub fn attach_server(this: &Stream) -> Res<()> {
    match this.server.share() {
        Some(server) => tell_server(this, &server, interned().attach),
        None => Ok(()),
    }
}

/// Tells the server that the connection is gone.
pub fn detach_server(this: &Stream, server: &Obj) -> Res<()> {
    tell_server(this, server, interned().detach)
}

/// From 3.13 on a server keeps its transports, before it counted them.
fn tell_server(this: &Stream, server: &Obj, name: Ref) -> Res<()> {
    let args = [server.borrow(), this.object()];
    call_method(name, &args[..if cfg!(Py_3_13) { 2 } else { 1 }]).map(drop)
}
