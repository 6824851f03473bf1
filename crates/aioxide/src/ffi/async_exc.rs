//! Exceptions that another thread has set for this one (`PyThreadState_SetAsyncExc`): the interpreter raises them between
//! two bytecodes. A native loop runs none, so it looks itself when it has waited; else the next callback would get what
//! was meant for the loop.

use std::cell::Cell;

use pyo3_ffi::*;

use super::builtin;
use super::calls::{call, dict};
use super::cells::Locked;
use super::error::{self, Raised, Res};
use super::object::{Global, NULL, Obj};
use super::places::{self, only, thread_state, word};
use super::py::Py;

/// The offset of `async_exc` from the thread state, in bytes; 0 where it was not found.
static PLACE: Locked<Cell<usize>> = Locked::new(Cell::new(0));

/// A Python function that does nothing: the interpreter looks for such an exception when it begins with one.
static NOTHING: Global<Obj> = Global::new();

pub fn load(py: Py) -> Res<()> {
    // SAFETY: compiles and runs a constant text in a fresh namespace.
    unsafe {
        let scope = dict(&[])?;
        let code = Obj::steal(Py_CompileString(
            c"lambda: None".as_ptr(),
            c"<what another thread has raised in this one>".as_ptr(),
            Py_eval_input,
        ))?;
        NOTHING.set(Obj::steal(PyEval_EvalCode(code.as_ptr(), scope.as_ptr(), scope.as_ptr()))?);
    }
    PLACE.get(py).set(find()?);
    Ok(())
}

/// Looks for the one word of the thread state that shows such an exception while there is one.
///
/// It is raised then, and not taken back: up to 3.12 an exception that is taken back leaves the interpreter with a note that
/// there is one, and a thread with a profile function looks for it without an end.
fn find() -> Res<usize> {
    // SAFETY: no Python code runs until the words of the thread state are read.
    unsafe {
        let marker = PyExc_BufferError;
        let thread = PyThread_get_thread_ident() as std::ffi::c_long;
        let shown = || places::words_with(thread_state(), places::THREAD_STATE, marker);
        let before = shown();
        PyThreadState_SetAsyncExc(thread, marker);
        let after = shown();
        match raise() {
            Err(Raised) if error::matches(builtin::buffer_error()) => error::clear(),
            other => {
                PyThreadState_SetAsyncExc(thread, NULL);
                other?;
            }
        }
        Ok(only(after.into_iter().filter(|at| !before.contains(at))).unwrap_or(0))
    }
}

/// Raises the exception that was set for this thread, if one was.
#[inline(always)]
pub fn check(py: Py) -> Res<()> {
    let at = PLACE.get(py).get();
    // SAFETY: a word of every thread state, found at import; a reference or null.
    if at != 0 && !unsafe { word(thread_state(), at) }.is_set() { Ok(()) } else { raise() }
}

#[cold]
fn raise() -> Res<()> {
    // SAFETY: set at import.
    call(unsafe { NOTHING.get() }, &[]).map(drop)
}
