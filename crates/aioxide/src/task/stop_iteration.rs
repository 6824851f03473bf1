//! How `await` gets a result: from 3.12 on a `StopIteration` object has to be made for each, only to be taken apart at
//! once. One is kept, and used again where nobody else has it.

use pyo3_ffi::*;

use crate::ffi::calls::tuple;
use crate::ffi::cells::Locked;
use crate::ffi::refcount::{decref, refcount};
use crate::ffi::{NULL, Obj, Py, Ref, Slot, none};

static KEPT: Locked<Slot> = Locked::new(Slot::empty());

/// Raises `StopIteration(value)`; `value` is not `None`, for which the interpreter needs no object.
#[inline(always)]
pub fn raise(py: Py, value: Obj) {
    let slot = KEPT.get(py);
    // SAFETY: an exact StopIteration with no other owner, so nobody can see its fields change.
    unsafe {
        let kept = slot.get().cast::<PyStopIterationObject>();
        if kept.is_null() || !is_as_new(kept) {
            return raise_fresh(slot, value);
        }
        let before = (PyTuple_GET_ITEM((*kept).args, 0), (*kept).value);
        PyTuple_SET_ITEM((*kept).args, 0, value.clone().into_raw());
        (*kept).value = value.into_raw();
        let exception = Ref::new(kept.cast()).to_obj();
        // What they held may run any code when it goes; the exception has two owners by now, so nobody uses it again.
        decref(before.0);
        if !before.1.is_null() {
            decref(before.1);
        }
        PyErr_SetRaisedException(exception.into_raw());
    }
}

/// Whether nobody else has the exception or its arguments, and nobody who had it has left a trace in it.
///
/// # Safety
/// `kept` is a live `StopIteration`.
#[inline(always)]
unsafe fn is_as_new(kept: *mut PyStopIterationObject) -> bool {
    // SAFETY: a live StopIteration.
    unsafe {
        let this = &*kept;
        let traces = [this.traceback, this.context, this.cause, this.dict, this.notes];
        refcount(kept.cast()) == 1
            && traces.iter().all(|trace| trace.is_null())
            && PyTuple_CheckExact(this.args) != 0
            && PyTuple_GET_SIZE(this.args) == 1
            && refcount(this.args) == 1
    }
}

#[cold]
fn raise_fresh(slot: &Slot, value: Obj) {
    // SAFETY: a class of the interpreter, made with one argument: itself a tuple of one at most.
    unsafe {
        let Ok(args) = tuple(&[value.borrow()]) else { return };
        let made = Obj::steal(PyObject_Call(PyExc_StopIteration, args.as_ptr(), NULL));
        let Ok(exception) = made else { return };
        drop(args);
        slot.set(exception.clone());
        PyErr_SetRaisedException(exception.into_raw());
    }
}

/// Lets go of the result that was handed out last: called when a coroutine has been resumed, so that no result lives
/// on for longer than the step that took it.
#[inline(always)]
pub fn release(py: Py) {
    let slot = KEPT.get(py);
    // SAFETY: as `raise`.
    unsafe {
        let kept = slot.get().cast::<PyStopIterationObject>();
        if kept.is_null() || (*kept).value.is_null() {
            return;
        }
        if !is_as_new(kept) {
            return slot.clear();
        }
        let before = (PyTuple_GET_ITEM((*kept).args, 0), std::mem::replace(&mut (*kept).value, NULL));
        // Not null: the collector's `get_objects` shows the tuple to anyone.
        PyTuple_SET_ITEM((*kept).args, 0, none().into_raw());
        decref(before.0);
        decref(before.1);
    }
}
