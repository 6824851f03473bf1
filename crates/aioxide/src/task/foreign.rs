//! Seeing that a loop which is not ours runs, whoever wrote it and in whatever language. `asyncio.get_running_loop()` works
//! in a loop because that loop has called `_asyncio._set_running_loop` with itself. Code in C has taken this function when it
//! was imported, perhaps long before: so it is the function that is changed, where it stands, not a name of it.
//!
//! Nothing of it runs in a loop of ours but a look at its type, when it starts.

use std::cell::Cell;
use std::ptr::null_mut;

use pyo3_ffi::*;

use super::loop_state::LoopHead;
use crate::ffi::calls::call;
use crate::ffi::cells::Locked;
use crate::ffi::guard::guarded;
use crate::ffi::object::{check, import_from};
use crate::ffi::{Args, NULL, Raised, Raw, Ref, Res, Slot, error};

struct Watch {
    /// What the function is made of, as the interpreter has it; null while nothing was changed.
    standard: Cell<*mut PyMethodDef>,
    /// What stands there now: made once, and kept for ever.
    ours: Cell<*mut PyMethodDef>,
    /// Called with a loop that is about to run and is not ours.
    notice: Slot,
}

static WATCH: Locked<Watch> = Locked::new(Watch {
    standard: Cell::new(null_mut()),
    ours: Cell::new(null_mut()),
    notice: Slot::empty(),
});

/// `watch_running_loops(notice)`: from now on `notice(loop)` is called with each loop that is not ours when it says that it
/// runs; None ends that. False where this interpreter's function is not one that can be watched.
pub fn watch_running_loops(module: Ref, notice: Ref) -> Res<bool> {
    let watch = WATCH.get(module.py());
    drop(watch.notice.take());
    let function = import_from(c"_asyncio", c"_set_running_loop")?;
    // SAFETY: a live object, which `_asyncio` keeps; what kind of function it is, is looked at first. The definition that
    // is put in its place lives for ever, and takes the same arguments.
    unsafe {
        let object = function.as_ptr();
        if PyCFunction_CheckExact(object) == 0 || PyCFunction_GetFlags(object) != METH_O {
            return Ok(false);
        }
        let place = &raw mut (*object.cast::<PyCFunctionObject>()).m_ml;
        if notice.is_none() {
            if !watch.standard.get().is_null() {
                *place = watch.standard.get();
            }
            return Ok(true);
        }
        if watch.ours.get().is_null() {
            let ml_meth = PyMethodDefPointer { PyCFunction: set_running_loop };
            watch.standard.set(*place);
            watch.ours.set(Box::into_raw(Box::new(PyMethodDef { ml_meth, ..**place })));
        }
        *place = watch.ours.get();
    }
    watch.notice.set(notice.to_obj());
    Ok(true)
}

/// # Safety
/// Called by the interpreter, as `_asyncio._set_running_loop`: with that module, and a loop or None.
unsafe extern "C" fn set_running_loop(module: Raw, loop_: Raw) -> Raw {
    // SAFETY: called as the function that it stands for, whose definition was kept when it was changed.
    unsafe {
        let given = Ref::new(loop_);
        let is_foreign = !given.is_none() && given.cast::<LoopHead>().is_none();
        if is_foreign && guarded(Err(Raised), || tell(given)).is_err() {
            return NULL;
        }
        ((*WATCH.get(given.py()).standard.get()).ml_meth.PyCFunction)(module, loop_)
    }
}

/// `Err` only where the loop is one that expects an exception here. Others would be left half started: an exception that
/// `notice` returns is reported, and an interrupt comes a moment later.
#[cold]
fn tell(loop_: Ref) -> Res<()> {
    let Some(notice) = WATCH.get(loop_.py()).notice.share() else { return Ok(()) };
    match call(&notice, &[loop_]) {
        Ok(told) if told.borrow().is_none() => Ok(()),
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

/// `set_in_type(class, name, value)`: as setattr, also for a class in C that refuses it; without a value, as delattr.
pub fn set_in_type(_: Ref, args: Args) -> Res<()> {
    let [class, name] = args.first(["class", "name"], "_set_in_type")?;
    let kind = class.as_ptr().cast::<PyTypeObject>();
    // SAFETY: looks whether it is a class, and has a dict, before that is changed.
    unsafe {
        if PyType_Check(class.as_ptr()) == 0 || (*kind).tp_dict.is_null() {
            return error::type_error(c"this class keeps its attributes elsewhere");
        }
        let done = match args.given().get(2) {
            None => PyDict_DelItem((*kind).tp_dict, name.as_ptr()),
            Some(value) => PyDict_SetItem((*kind).tp_dict, name.as_ptr(), value.as_ptr()),
        };
        PyType_Modified(kind);
        check(done)
    }
}
