//! Ctrl-C, what else a handler of a signal raises, and what another thread raises in this one (`PyThreadState_SetAsyncExc`) can
//! cut Python code short between any two bytecodes: whoever must come to an end is called again.

use pyo3_ffi::*;

use crate::ffi::calls::call;
use crate::ffi::py::Nullable;
use crate::ffi::{Args, First, Obj, Raised, Ref, Res, builtin, error};

/// So often, an exception is taken for one that only came meanwhile. What raises each time is the call's own.
pub const TRIES: usize = 6;

/// What was returned, and what had cut an earlier attempt short.
pub type Whole = (Obj, First);

/// Calls until nothing cuts it short. `Err` is an exception of its own.
pub fn whole(mut attempt: impl FnMut() -> Res) -> Res<Whole> {
    let mut first = First::default();
    for _ in 0..TRIES {
        if let Some(value) = first.note(attempt()) {
            return Ok((value, first));
        }
    }
    first.raise()?;
    Err(Raised)
}

/// As it stands where nothing is held back: the value, or what cut the call short.
pub fn told((value, raised): Whole) -> Res {
    raised.raise().map(|()| value)
}

/// For where nobody can be raised to: the exception that is set is reported; but one that is an interrupt of this thread is
/// raised in it a moment later.
pub fn report(source: impl Nullable) {
    if !error::is_interrupted() {
        return error::unraisable(source);
    }
    error::clear();
    let kind = builtin::keyboard_interrupt().as_ptr();
    // SAFETY: a class of exceptions, for this thread.
    unsafe { PyThreadState_SetAsyncExc(PyThread_get_thread_ident() as std::ffi::c_long, kind) };
}

/// `whole(function, *args)`: calls it until nothing cuts it short, and raises then what did.
pub fn py_whole(_: Ref, args: Args) -> Res {
    args.refuse_names("_whole")?;
    args.require(&["function"], "_whole")?;
    let ([function], args) = args.split();
    told(whole(|| call(*function, args))?)
}
