//! Seeing that a loop which is not ours runs, whoever wrote it and in whatever language. `asyncio.get_running_loop()` works
//! in a loop because that loop has called `_asyncio._set_running_loop` with itself. Code in C has taken this function when it
//! was imported, perhaps long before: so it is the function that is changed, where it stands, not a name of it.
//!
//! Nothing of it runs in a loop of ours but a look at its type, when it starts.

use std::cell::Cell;
use std::ptr::null_mut;

use pyo3_ffi::*;

use super::loop_state::native_state;
use crate::ffi::guard::{guarded, onearg};
use crate::ffi::object::{boolean, call, import_from, is_none, none};
use crate::ffi::{NULL, Obj, Raised, Raw, Res, Slot, error};

struct Watch {
    /// What the function is made of, as the interpreter has it; null while nothing was changed.
    standard: Cell<*mut PyMethodDef>,
    /// What stands there now: made once, and kept for ever.
    ours: Cell<*mut PyMethodDef>,
    /// Called with a loop that is about to run and is not ours.
    notice: Slot,
}

// SAFETY: used under the GIL.
unsafe impl Sync for Watch {}

static WATCH: Watch =
    Watch { standard: Cell::new(null_mut()), ours: Cell::new(null_mut()), notice: Slot::empty() };

onearg!(
    /// `watch_running_loops(notice)`: from now on `notice(loop)` is called with each loop that is not ours when it says that it
    /// runs; None ends that. False where this interpreter's function is not one that can be watched.
    watch_running_loops,
    |_module, notice| {
        drop(WATCH.notice.take());
        let function = import_from(c"_asyncio", c"_set_running_loop")?;
        // SAFETY: a live object, which `_asyncio` keeps; what kind of function it is, is looked at first. The definition that
        // is put in its place lives for ever, and takes the same arguments.
        unsafe {
            let object = function.as_ptr();
            if PyCFunction_CheckExact(object) == 0 || PyCFunction_GetFlags(object) != METH_O {
                return Ok(boolean(false));
            }
            let place = &raw mut (*object.cast::<PyCFunctionObject>()).m_ml;
            if is_none(notice) {
                if !WATCH.standard.get().is_null() {
                    *place = WATCH.standard.get();
                }
                return Ok(boolean(true));
            }
            if WATCH.ours.get().is_null() {
                let ml_meth = PyMethodDefPointer { PyCFunction: set_running_loop };
                WATCH.standard.set(*place);
                WATCH.ours.set(Box::into_raw(Box::new(PyMethodDef { ml_meth, ..**place })));
            }
            *place = WATCH.ours.get();
        }
        WATCH.notice.set(Obj::new(notice));
        Ok(boolean(true))
    }
);

/// # Safety
/// Called by the interpreter, as `_asyncio._set_running_loop`: with that module, and a loop or None.
unsafe extern "C" fn set_running_loop(module: Raw, loop_: Raw) -> Raw {
    // SAFETY: called as the function that it stands for, whose definition was kept when it was changed.
    unsafe {
        if !is_none(loop_) && native_state(loop_).is_none() && guarded(Err(Raised), || tell(loop_)).is_err() {
            return NULL;
        }
        ((*WATCH.standard.get()).ml_meth.PyCFunction)(module, loop_)
    }
}

/// `Err` only where the loop is one that expects an exception here. Others would be left half started: an exception that
/// `notice` returns is reported, and an interrupt comes a moment later.
#[cold]
fn tell(loop_: Raw) -> Res<()> {
    let Some(notice) = WATCH.notice.share() else { return Ok(()) };
    match call(notice.as_ptr(), &[loop_]) {
        Ok(told) if is_none(told.as_ptr()) => Ok(()),
        Ok(told) => {
            // SAFETY: a live object.
            if unsafe { PyExceptionInstance_Check(told.as_ptr()) } != 0 {
                error::raise_value(told);
                error::unraisable(loop_);
            }
            Ok(())
        }
        Err(Raised) if error::is_interrupt() => {
            error::clear();
            // SAFETY: as if the signal came now.
            unsafe { PyErr_SetInterrupt() };
            Ok(())
        }
        Err(Raised) => Err(Raised),
    }
}

onearg!(
    /// `set_in_type((class, name, value))`: as setattr, also for a class in C that refuses it; without a value, as delattr.
    set_in_type,
    |_module, args| {
        let count = PyTuple_GET_SIZE(args);
        let (class, name) = (PyTuple_GET_ITEM(args, 0), PyTuple_GET_ITEM(args, 1));
        if PyType_Check(class) == 0 || (*class.cast::<PyTypeObject>()).tp_dict.is_null() {
            return error::type_error(c"this class keeps its attributes elsewhere");
        }
        let dict = (*class.cast::<PyTypeObject>()).tp_dict;
        let done = match count {
            2 => PyDict_DelItem(dict, name),
            _ => PyDict_SetItem(dict, name, PyTuple_GET_ITEM(args, 2)),
        };
        PyType_Modified(class.cast());
        if done < 0 { Err(Raised) } else { Ok(none()) }
    }
);
