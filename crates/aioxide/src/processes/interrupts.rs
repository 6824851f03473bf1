//! Ctrl-C, what else a handler of a signal raises, and what another thread raises in this one (`PyThreadState_SetAsyncExc`) can
//! cut Python code short between any two bytecodes: whoever must come to an end is called again.

use pyo3_ffi::*;

use crate::ffi::guard::onearg;
use crate::ffi::object::call;
use crate::ffi::{First, Obj, Raised, Raw, Res, error};

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
pub fn report(source: Raw) {
    if !error::is_interrupted() {
        return error::unraisable(source);
    }
    error::clear();
    // SAFETY: a class of exceptions, for this thread.
    unsafe {
        PyThreadState_SetAsyncExc(PyThread_get_thread_ident() as std::ffi::c_long, PyExc_KeyboardInterrupt)
    };
}

onearg!(
    /// `whole((function, *args))`: calls it until nothing cuts it short, and raises then what did.
    py_whole,
    |_module, args| {
        let function = PyTuple_GetItem(args, 0);
        if function.is_null() {
            return Err(Raised);
        }
        let items: Vec<Raw> = (1..PyTuple_GET_SIZE(args)).map(|at| PyTuple_GET_ITEM(args, at)).collect();
        told(whole(|| call(function, &items))?)
    }
);
