//! What `await future` iterates: yields the future once, and is resumed when it is done.

use std::ffi::c_void;

use pyo3_ffi::*;

use super::future::{Future, FutureHead};
#[cfg(Py_3_12)]
use super::stop_iteration;
use crate::ffi::calls::call;
use crate::ffi::class::{Class, Native, derives};
use crate::ffi::compat::layout;
use crate::ffi::freelist::FreeList;
use crate::ffi::guard::guarded;
use crate::ffi::held::Held;
use crate::ffi::object::check;
use crate::ffi::{Args, Global, NULL, Obj, Py, Raised, Raw, Ref, Res, Slot, builtin, error, none};

#[repr(C)]
struct FutureIter {
    header: PyObject,
    future: Slot,
}

static TYPE: Global<*mut PyTypeObject> = Global::new();
static FREE: FreeList = FreeList::new();

// SAFETY: as laid out above, for the type that `load` makes.
unsafe impl Native for FutureIter {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &TYPE)
    }
}

// SAFETY: as laid out above.
unsafe impl Held for FutureIter {
    fn slots(&self) -> impl IntoIterator<Item = &Slot> {
        [&self.future]
    }
}

/// An iterator over `future`.
#[inline(always)]
pub fn new(future: &FutureHead) -> Res {
    // SAFETY: the list holds iterators only; the slot is filled before the collector sees the object.
    unsafe {
        let (made, tracked) = FREE.get(*TYPE.get())?;
        let this: &FutureIter = made.borrow().cast_unchecked();
        this.future.replace(Some(future.object().to_obj()));
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
#[inline(always)]
fn step(this: &FutureIter) -> Res<Step> {
    // SAFETY: nothing writes the slot before the future is done with.
    let Some(future) = (unsafe { this.future.peek() }) else { return Ok(Step::Return(none())) };
    // SAFETY: iterators are made for futures of ours.
    let body: &Future = unsafe { future.cast_unchecked::<FutureHead>() };
    if body.is_pending() {
        if body.blocking.get() {
            return error::runtime_error(c"await wasn't used with future");
        }
        body.blocking.set(true);
        return Ok(Step::Yield(future.to_obj()));
    }
    let result = body.result();
    if !layout().habits.iterates_again {
        // May release the future; `result` holds its own reference.
        this.future.clear();
    }
    result.map(Step::Return)
}

/// # Safety
/// `slf` is a future's iterator.
unsafe extern "C" fn tp_iternext(slf: Raw) -> Raw {
    // SAFETY: a slot of the iterator's type.
    guarded(NULL, || unsafe {
        let this: &FutureIter = Ref::new(slf).cast_unchecked();
        match step(this) {
            Ok(Step::Yield(future)) => future.into_raw(),
            Ok(Step::Return(value)) => {
                // Null without an exception is StopIteration(None).
                if !value.borrow().is_none() {
                    set_stop_iteration(this.py(), value);
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
        match step(Ref::new(slf).cast_unchecked()) {
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
fn set_stop_iteration(py: Py, value: Obj) {
    stop_iteration::raise(py, value);
}

#[cfg(not(Py_3_12))]
#[allow(deprecated)]
fn set_stop_iteration(_: Py, value: Obj) {
    // SAFETY: a value that is neither tuple nor exception needs no instance: normalising makes StopIteration(value).
    unsafe {
        if PyTuple_Check(value.as_ptr()) != 0 || PyExceptionInstance_Check(value.as_ptr()) != 0 {
            if let Ok(exception) = call(builtin::stop_iteration(), &[value.borrow()]) {
                error::raise_value(exception);
            }
        } else {
            PyErr_Restore(builtin::stop_iteration().to_obj().into_raw(), value.into_raw(), NULL);
        }
    }
}

fn send(this: &FutureIter, _: Ref) -> Res {
    match step(this)? {
        Step::Yield(future) => Ok(future),
        Step::Return(value) => {
            let value = Some(value.borrow()).filter(|value| !value.is_none());
            error::raise_value(call(builtin::stop_iteration(), value.as_slice())?);
            Err(Raised)
        }
    }
}

// With the checks of asyncio's own, in its words; the future stays until all of them are passed.
fn throw(this: &FutureIter, args: Args) -> Res {
    args.refuse_names("aioxide.FutureIter.throw")?;
    args.between(1, 3, "throw")?;
    let given = args.given();
    if cfg!(Py_3_12) && given.len() > 1 {
        let text =
            c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.";
        // SAFETY: a NUL-terminated text.
        check(unsafe { PyErr_WarnEx(PyExc_DeprecationWarning, text.as_ptr(), 1) })?;
    }
    let other_than_none = |at: usize| given.get(at).copied().filter(|value| !value.is_none());
    let (kind, value, traceback) = (given[0], other_than_none(1), other_than_none(2));
    // SAFETY: these look at the types of live objects.
    let is_traceback = |object: Ref| unsafe { PyTraceBack_Check(object.as_ptr()) } != 0;
    // SAFETY: as above.
    let is_exception = unsafe { PyExceptionInstance_Check(kind.as_ptr()) } != 0;
    if !traceback.is_none_or(is_traceback) {
        return error::type_error(c"throw() third argument must be a traceback");
    }
    let exception = if is_exception {
        if value.is_some() {
            return error::type_error(c"instance exception may not have a separate value");
        }
        kind.to_obj()
    // SAFETY: as above.
    } else if unsafe { PyExceptionClass_Check(kind.as_ptr()) } != 0 {
        instance(kind, value)?
    } else {
        let text = c"exceptions must be classes deriving BaseException or instances of such a class";
        return error::type_error(text);
    };
    if let Some(traceback) = traceback {
        // SAFETY: an exception and a traceback.
        check(unsafe { PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) })?;
    }
    this.future.clear();
    error::raise_value(exception);
    Err(Raised)
}

/// An exception of class `kind` for the value that was thrown with it, as the interpreter makes one: a tuple is its arguments.
fn instance(kind: Ref, value: Option<Ref>) -> Res {
    let Some(value) = value else { return call(kind, &[]) };
    if error::is_instance(value, kind) {
        return Ok(value.to_obj());
    }
    // SAFETY: a live class, and a tuple where it is called with that.
    unsafe {
        if PyTuple_Check(value.as_ptr()) != 0 {
            return Obj::steal(PyObject_Call(kind.as_ptr(), value.as_ptr(), NULL));
        }
    }
    call(kind, &[value])
}

/// # Safety
/// `slf` is a future's iterator, to which no reference is left.
unsafe extern "C" fn tp_dealloc(slf: Raw) {
    // SAFETY: the last reference is gone.
    guarded((), || unsafe {
        PyObject_GC_UnTrack(slf.cast());
        Ref::new(slf).cast_unchecked::<FutureIter>().future.clear();
        FREE.put(slf, false);
    });
}

pub fn load() -> Res<()> {
    let class = Class::<FutureIter>::new(c"aioxide.FutureIter")
        .unary(Py_tp_iter, |this| this.object().to_obj())
        .onearg(c"send", send, c"Resume.")
        .fast(c"throw", throw, c"Raise an exception at the await.")
        .noargs(c"close", |this| this.future.clear(), c"Let go of the future.")
        .also(|def| {
            def.flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
                .collected::<FutureIter>(tp_dealloc)
                .slot(Py_tp_iternext, tp_iternext as *mut c_void)
                .slot(Py_am_send, am_send as *mut c_void)
        });
    class.build(None).map(|made| TYPE.set(made))
}
