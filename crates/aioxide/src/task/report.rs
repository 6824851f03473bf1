//! What goes to the loop's exception handler, in asyncio's words.

use pyo3_ffi::*;

use super::loop_state::LoopState;
use crate::ffi::calls::{call, call_kw, call_method, dict, tuple};
use crate::ffi::names::{imported, interned, text};
use crate::ffi::object::{boolean, getattr};
use crate::ffi::{Obj, Raised, Ref, Res, error, number};

/// Has `report` tell of the exception that is set, unless that must leave the loop.
#[cold]
pub fn unless_exit(report: impl FnOnce(Obj) -> Res<()>) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    error::take().map_or(Ok(()), report)
}

/// Runs `body` with the exception that is set put aside; `sys.unraisablehook` is told what it raises, about `object`.
pub fn aside(object: Ref, body: impl FnOnce() -> Res<()>) {
    let pending = error::take();
    if body().is_err() {
        error::unraisable(object);
    }
    error::restore(pending);
}

/// "Exception in callback ...", with the text that asyncio of the running version gives for a callback.
pub fn callback_message(state: &LoopState, callback: Ref, args: Ref) -> Res {
    let text = if cfg!(Py_3_13) {
        let kwnames = tuple(&[text(c"debug")?])?;
        let debug = boolean(state.debug.get());
        let all = [callback, args, debug.borrow()];
        call_kw(imported().format_callback_source, &all, Some(kwnames.borrow()))?
    } else {
        call(imported().format_callback_source, &[callback, args])?
    };
    // SAFETY: formats one object.
    unsafe { Obj::steal(PyUnicode_FromFormat(c"Exception in callback %U".as_ptr(), text.as_ptr())) }
}

/// `loop.call_exception_handler(dict(pairs))`.
pub fn report_context(owner: Ref, pairs: &[(Ref, Ref)]) -> Res<()> {
    let details = dict(pairs)?;
    call_method(interned().call_exception_handler, &[owner, details.borrow()]).map(drop)
}

/// The same, with where the object was made that it is about, if that is known.
pub fn report_made(owner: Ref, pairs: &[(Ref, Ref)], made: Option<Obj>) -> Res<()> {
    let made = made.as_ref().map(|frames| (interned().source_traceback, frames.borrow()));
    let all: Vec<_> = pairs.iter().copied().chain(made).collect();
    report_context(owner, &all)
}

/// The loop's attribute `name` as a number of seconds, for the debug mode's limits.
pub fn seconds_attr(owner: Ref, name: Ref) -> Res<f64> {
    number::as_f64(&getattr(owner, name)?)
}
