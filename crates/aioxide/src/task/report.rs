//! What goes to the loop's exception handler, in asyncio's words.

use pyo3_ffi::*;

use super::loop_state::LoopState;
use crate::ffi::names::stdlib;
use crate::ffi::object::{boolean, call, dict, getattr, tuple};
use crate::ffi::{Obj, Raised, Raw, Res, error, names};

/// Has `report` tell of the exception that is set, unless that must leave the loop.
#[cold]
pub fn unless_exit(report: impl FnOnce(Obj) -> Res<()>) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    error::take().map_or(Ok(()), report)
}

/// Runs `body` with the exception that is set put aside; `sys.unraisablehook` is told what it raises, about `object`.
pub fn aside(object: Raw, body: impl FnOnce() -> Res<()>) {
    let pending = error::take();
    if body().is_err() {
        error::unraisable(object);
    }
    error::restore(pending);
}

/// "Exception in callback ...", with the text that asyncio of the running version gives for a callback.
pub fn callback_message(state: &LoopState, callback: Raw, args: Raw) -> Res {
    let text = if cfg!(Py_3_13) {
        let kwnames = tuple(&[crate::ffi::names::intern(c"debug")?])?;
        let debug = boolean(state.debug.get());
        let all = [callback, args, debug.as_ptr()];
        crate::ffi::object::call_kw(stdlib().format_callback_source, &all, 2, kwnames.as_ptr())?
    } else {
        call(stdlib().format_callback_source, &[callback, args])?
    };
    // SAFETY: formats one object.
    Obj::steal(unsafe { PyUnicode_FromFormat(c"Exception in callback %U".as_ptr(), text.as_ptr()) })
}

/// `loop.call_exception_handler(dict(pairs))`.
pub fn report_context(owner: Raw, pairs: &[(Raw, Raw)]) -> Res<()> {
    let details = dict(pairs)?;
    crate::ffi::object::call_method(names().call_exception_handler, &[owner, details.as_ptr()]).map(drop)
}

/// The same, with where the object was made that it is about, if that is known.
pub fn report_made(owner: Raw, pairs: &[(Raw, Raw)], made: Option<Obj>) -> Res<()> {
    let made = made.as_ref().map(|frames| (names().source_traceback, frames.as_ptr()));
    let all: Vec<_> = pairs.iter().copied().chain(made).collect();
    report_context(owner, &all)
}

/// The loop's attribute `name` as a number of seconds, for the debug mode's limits.
pub fn seconds_attr(owner: Raw, name: Raw) -> Res<f64> {
    let value = getattr(owner, name)?;
    // SAFETY: converts or raises.
    let seconds = unsafe { PyFloat_AsDouble(value.as_ptr()) };
    if seconds == -1.0 && error::occurred() { Err(Raised) } else { Ok(seconds) }
}
