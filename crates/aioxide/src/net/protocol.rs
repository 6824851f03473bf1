//! The one place that calls a Protocol, with asyncio's answer to each exception.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use pyo3_ffi::*;

use super::stream::{Stream, fatal_error};
use crate::ffi::names::{intern, stdlib};
use crate::ffi::object::{call_method, call_method_kw, int, tuple};
use crate::ffi::{Obj, Raised, Raw, Res, error, names};
use crate::task::report;

/// How a protocol takes its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `asyncio.Protocol`: `data_received`.
    Streaming,
    /// `asyncio.BufferedProtocol`: `get_buffer` and `buffer_updated`.
    Buffered,
}

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

/// Calls `protocol.name(*args)`; `recv` and `send` have entered the connection's context. An exception that must leave the loop does; any other is
/// fatal to the connection, and the answer is `None`.
#[inline(always)]
fn call(slf: Raw, this: &Stream, name: Raw, args: &[Raw], message: &CStr) -> Res<Option<Obj>> {
    // Held: the callback may close the transport or change its protocol.
    let Some(protocol) = this.protocol.share() else { return Ok(None) };
    let mut all = [protocol.as_ptr(); 2];
    all[1..=args.len()].copy_from_slice(args);
    match call_method(name, &all[..=args.len()]) {
        Ok(answer) => Ok(Some(answer)),
        Err(Raised) => raised(slf, this, message).map(|()| None),
    }
}

#[cold]
fn raised(slf: Raw, this: &Stream, message: &CStr) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    match error::take() {
        Some(exception) => fatal_error(slf, this, exception, message),
        None => Ok(()),
    }
}

#[inline(always)]
pub fn data_received(slf: Raw, this: &Stream, data: Obj) -> Res<()> {
    let message = c"Fatal error: protocol.data_received() call failed.";
    call(slf, this, names().data_received, &[data.as_ptr()], message).map(drop)
}

/// What `eof_received` answers; nothing if it failed.
pub fn eof_received(slf: Raw, this: &Stream) -> Res<Option<Obj>> {
    call(slf, this, names().eof_received, &[], c"Fatal error: protocol.eof_received() call failed.")
}

pub fn buffer_updated(slf: Raw, this: &Stream, count: usize) -> Res<()> {
    let count = int(count as i64)?;
    let message = c"Fatal error: protocol.buffer_updated() call failed.";
    call(slf, this, names().buffer_updated, &[count.as_ptr()], message).map(drop)
}

/// The buffer of a `BufferedProtocol`, exported for the time of one read.
pub struct Buffer(Box<Py_buffer>);

impl Buffer {
    /// Hands the memory to `body`, which must not call into Python.
    pub fn with<T>(&self, body: impl FnOnce(&mut [MaybeUninit<u8>]) -> T) -> T {
        // SAFETY: a writable, contiguous buffer of that length, exported until this value is dropped.
        body(unsafe { std::slice::from_raw_parts_mut(self.0.buf.cast(), self.0.len as usize) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: filled by PyObject_GetBuffer and released once.
        unsafe { PyBuffer_Release(&mut *self.0) };
    }
}

pub fn get_buffer(slf: Raw, this: &Stream) -> Res<Option<Buffer>> {
    let message = c"Fatal error: protocol.get_buffer() call failed.";
    let hint = int(-1)?;
    let Some(given) = call(slf, this, names().get_buffer, &[hint.as_ptr()], message)? else {
        return Ok(None);
    };
    match check_length(given.as_ptr()) {
        Ok(()) => {}
        Err(Raised) => return raised(slf, this, message).map(|()| None),
    }
    match export(given.as_ptr()) {
        Ok(buffer) => Ok(Some(buffer)),
        Err(Raised) => {
            error::clear();
            refuse_buffer(slf, this, &given).map(|()| None)
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
fn refuse_buffer(slf: Raw, this: &Stream, given: &Obj) -> Res<()> {
    let sock = super::info::socket_of(this)?;
    match call_method(intern(c"recv_into")?, &[sock.as_ptr(), given.as_ptr()]) {
        // It took it after all: its exporter has changed its mind, and the bytes are in it.
        Ok(count) => {
            let message = c"Fatal error: protocol.buffer_updated() call failed.";
            call(slf, this, names().buffer_updated, &[count.as_ptr()], message).map(drop)
        }
        Err(Raised) => raised(slf, this, c"Fatal read error on socket transport"),
    }
}

fn export(given: Raw) -> Res<Buffer> {
    // SAFETY: an all-zero Py_buffer is what PyObject_GetBuffer wants to fill.
    unsafe {
        let mut view: Box<Py_buffer> = Box::new(std::mem::zeroed());
        crate::ffi::object::check(PyObject_GetBuffer(given, &mut *view, PyBUF_WRITABLE))?;
        Ok(Buffer(view))
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
pub fn flow(slf: Raw, this: &Stream, name: Raw, message: &CStr) -> Res<()> {
    let Some(protocol) = this.protocol.share() else { return Ok(()) };
    if call_method(name, &[protocol.as_ptr()]).is_ok() {
        return Ok(());
    }
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    let n = names();
    let text = Obj::new(intern(message)?);
    let pairs = [
        (n.message, text.as_ptr()),
        (n.exception, exception.as_ptr()),
        (n.transport, slf),
        (n.protocol, protocol.as_ptr()),
    ];
    report::report_context(this.owner.get(), &pairs)
}

/// Debug mode says why a connection ended: `logger.debug("%r: %s", self, message, exc_info=exc)`.
pub fn log_fatal(this: &Stream, slf: Raw, exception: &Obj, message: &Obj) -> Res<()> {
    let Some(owner) = this.loop_object() else { return Ok(()) };
    if !owner.state.debug.get() {
        return Ok(());
    }
    let kwnames = tuple(&[intern(c"exc_info")?])?;
    let format = crate::ffi::object::string("%r: %s")?;
    let args = [stdlib().logger, format.as_ptr(), slf, message.as_ptr(), exception.as_ptr()];
    call_method_kw(intern(c"debug")?, &args, 4, kwnames.as_ptr()).map(drop)
}

/// Tells the server that it has one more connection.
pub fn attach_server(this: &Stream, slf: Raw) -> Res<()> {
    if !this.server.is_set() {
        return Ok(());
    }
    let args = [this.server.get(), slf];
    call_method(names().attach, &args[..server_args()]).map(drop)
}

/// Tells the server that the connection is gone.
pub fn detach_server(server: &Obj, slf: Raw) -> Res<()> {
    let args = [server.as_ptr(), slf];
    call_method(names().detach, &args[..server_args()]).map(drop)
}

/// From 3.13 on a server keeps its transports, before it counted them.
const fn server_args() -> usize {
    if cfg!(Py_3_13) { 2 } else { 1 }
}
