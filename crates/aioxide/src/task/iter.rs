//! What `await future` iterates: yields the future once, and is resumed when it is done.

use std::ffi::c_void;

use pyo3_ffi::*;

use super::future;
#[cfg(Py_3_12)]
use super::stop_iteration;
use crate::ffi::compat::layout;
use crate::ffi::freelist::FreeList;
use crate::ffi::guard::{fastcall, guarded, noargs, onearg};
use crate::ffi::held::{Held, fields};
use crate::ffi::object::{call, check, is_none};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Global, NULL, Obj, Raised, Raw, Res, Slot, error, none};

#[repr(C)]
struct FutureIter {
    header: PyObject,
    future: Slot,
}

static TYPE: Global<*mut PyTypeObject> = Global::new();
static FREE: FreeList = FreeList::new();

/// # Safety
/// `raw` is a future's iterator that lives for `'a`.
unsafe fn of<'a>(raw: Raw) -> &'a FutureIter {
    // SAFETY: the type of `raw` was made for it.
    unsafe { fields(raw) }
}

// SAFETY: as laid out above.
unsafe impl Held for FutureIter {
    fn slots(&self) -> impl IntoIterator<Item = &Slot> {
        [&self.future]
    }
}

/// An iterator over `future`.
#[inline(always)]
pub fn new(future: Raw) -> Res {
    // SAFETY: the list holds iterators only; the slot is filled before the collector sees the object.
    unsafe {
        let (made, tracked) = FREE.get(*TYPE.get())?;
        of(made.as_ptr()).future.replace(Some(Obj::new(future)));
        if !tracked {
            PyObject_GC_Track(made.as_ptr().cast());
        }
        Ok(made)
    }
}

enum Step {
    Yield(Obj),
    Return(Obj),
}

/// One step: yields the future while it is pending, then returns its result or raises: once, or from 3.14 on
/// as often as it is asked.
///
/// # Safety
/// `slf` is a future's iterator.
#[inline(always)]
unsafe fn step(slf: Raw) -> Res<Step> {
    // SAFETY: callers pass an iterator of this type, whose future is one of ours.
    unsafe {
        let raw = of(slf).future.get();
        if raw.is_null() {
            return Ok(Step::Return(none()));
        }
        let body = future::of(raw);
        if body.is_pending() {
            if body.blocking.get() {
                return error::runtime_error(c"await wasn't used with future");
            }
            body.blocking.set(true);
            return Ok(Step::Yield(Obj::new(raw)));
        }
        let result = body.result();
        if !layout().habits.iterates_again {
            // May release the future; `result` holds its own reference.
            of(slf).future.clear();
        }
        result.map(Step::Return)
    }
}

/// # Safety
/// `slf` is a future's iterator.
unsafe extern "C" fn tp_iternext(slf: Raw) -> Raw {
    // SAFETY: a slot of the iterator's type.
    guarded(NULL, || unsafe {
        match step(slf) {
            Ok(Step::Yield(future)) => future.into_raw(),
            Ok(Step::Return(value)) => {
                // Null without an exception is StopIteration(None).
                if !is_none(value.as_ptr()) {
                    set_stop_iteration(value);
                }
                NULL
            }
            Err(Raised) => NULL,
        }
    })
}

/// # Safety
/// `slf` is a future's iterator, `out` is to be written.
unsafe extern "C" fn am_send(slf: Raw, _: Raw, out: *mut Raw) -> PySendResult {
    // SAFETY: a slot of the iterator's type; `out` is where the interpreter wants the value.
    guarded(PySendResult::PYGEN_ERROR, || unsafe {
        *out = NULL;
        match step(slf) {
            Ok(Step::Yield(future)) => {
                *out = future.into_raw();
                PySendResult::PYGEN_NEXT
            }
            Ok(Step::Return(value)) => {
                *out = value.into_raw();
                PySendResult::PYGEN_RETURN
            }
            Err(Raised) => PySendResult::PYGEN_ERROR,
        }
    })
}

/// From 3.12 on the interpreter wants an exception object.
#[cfg(Py_3_12)]
fn set_stop_iteration(value: Obj) {
    stop_iteration::raise(value);
}

#[cfg(not(Py_3_12))]
#[allow(deprecated)]
fn set_stop_iteration(value: Obj) {
    // SAFETY: a value that is neither tuple nor exception needs no instance: normalising makes StopIteration(value).
    unsafe {
        if PyTuple_Check(value.as_ptr()) != 0 || PyExceptionInstance_Check(value.as_ptr()) != 0 {
            if let Ok(exception) = call(PyExc_StopIteration, &[value.as_ptr()]) {
                error::raise_value(exception);
            }
        } else {
            PyErr_Restore(Obj::new(PyExc_StopIteration).into_raw(), value.into_raw(), NULL);
        }
    }
}

onearg!(py_send, |slf, _value| {
    match step(slf)? {
        Step::Yield(future) => Ok(future),
        Step::Return(value) => {
            let args: &[Raw] = if is_none(value.as_ptr()) { &[] } else { &[value.as_ptr()] };
            error::raise_value(call(PyExc_StopIteration, args)?);
            Err(Raised)
        }
    }
});

// With the checks of asyncio's own, in its words; the future stays until all of them are passed.
fastcall!(py_throw, |slf, args| {
    args.refuse_names("aioxide.FutureIter.throw")?;
    args.between(1, 3, "throw")?;
    let given = args.positional();
    if cfg!(Py_3_12) && given.len() > 1 {
        let text =
            c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.";
        check(PyErr_WarnEx(PyExc_DeprecationWarning, text.as_ptr(), 1))?;
    }
    let other_than_none = |at: usize| given.get(at).copied().filter(|value| !is_none(*value));
    let (kind, value, traceback) = (given[0], other_than_none(1), other_than_none(2));
    if traceback.is_some_and(|traceback| PyTraceBack_Check(traceback) == 0) {
        return error::type_error(c"throw() third argument must be a traceback");
    }
    let exception = if PyExceptionInstance_Check(kind) != 0 {
        if value.is_some() {
            return error::type_error(c"instance exception may not have a separate value");
        }
        Obj::new(kind)
    } else if PyExceptionClass_Check(kind) != 0 {
        instance(kind, value)?
    } else {
        let text = c"exceptions must be classes deriving BaseException or instances of such a class";
        return error::type_error(text);
    };
    if let Some(traceback) = traceback {
        check(PyException_SetTraceback(exception.as_ptr(), traceback))?;
    }
    of(slf).future.clear();
    error::raise_value(exception);
    Err(Raised)
});

/// An exception of class `kind` for the value that was thrown with it, as the interpreter makes one: a tuple is its arguments.
///
/// # Safety
/// `kind` is a class of exceptions; it and the value are alive for the call.
unsafe fn instance(kind: Raw, value: Option<Raw>) -> Res {
    // SAFETY: a live class and a live value.
    unsafe {
        match value {
            Some(value) if error::is_instance(value, kind) => Ok(Obj::new(value)),
            Some(value) if PyTuple_Check(value) != 0 => Obj::steal(PyObject_Call(kind, value, NULL)),
            Some(value) => call(kind, &[value]),
            None => call(kind, &[]),
        }
    }
}

noargs!(py_close, |slf| {
    of(slf).future.clear();
    Ok(none())
});

/// # Safety
/// `slf` is a future's iterator, to which no reference is left.
unsafe extern "C" fn tp_dealloc(slf: Raw) {
    // SAFETY: the last reference is gone.
    guarded((), || unsafe {
        PyObject_GC_UnTrack(slf.cast());
        of(slf).future.clear();
        FREE.put(slf, false);
    });
}

extern "C" fn tp_iter(slf: Raw) -> Raw {
    Obj::new(slf).into_raw()
}

pub fn load() -> Res<()> {
    let made = TypeDef::new(c"aioxide.FutureIter", size_of::<FutureIter>() - size_of::<PyObject>())
        .flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
        .collected::<FutureIter>(tp_dealloc)
        .slot(Py_tp_iter, tp_iter as *mut c_void)
        .slot(Py_tp_iternext, tp_iternext as *mut c_void)
        .slot(Py_am_send, am_send as *mut c_void)
        .onearg(c"send", py_send, c"Resume.")
        .fast(c"throw", py_throw, c"Raise an exception at the await.")
        .noargs(c"close", py_close, c"Let go of the future.")
        .build(NULL)?;
    TYPE.set(made);
    Ok(())
}
