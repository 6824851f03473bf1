//! The error indicator: `Raised` says that an exception is set, and these functions read, write and route it.

use std::ffi::CStr;
use std::io;

use pyo3_ffi::*;

use super::builtin;
use super::object::{NULL, Obj};
pub use super::object::{Raised, Res};
use super::py::{Nullable, Object};

/// Sets `kind(message)`.
pub fn raise<T>(kind: impl Object, message: &CStr) -> Res<T> {
    // SAFETY: an exception class and a NUL-terminated text.
    unsafe { PyErr_SetString(kind.raw(), message.as_ptr()) };
    Err(Raised)
}

pub fn type_error<T>(message: &CStr) -> Res<T> {
    raise(builtin::type_error(), message)
}

pub fn runtime_error<T>(message: &CStr) -> Res<T> {
    raise(builtin::runtime_error(), message)
}

pub fn value_error<T>(message: &CStr) -> Res<T> {
    raise(builtin::value_error(), message)
}

/// Sets `kind(format % (first, second))`; the format takes `%R` or `%S` for each object.
pub fn raise_with<T>(kind: impl Object, format: &CStr, first: impl Object, second: impl Nullable) -> Res<T> {
    // SAFETY: the formats in this crate use at most two object conversions, and both arguments are objects.
    unsafe { PyErr_Format(kind.raw(), format.as_ptr(), first.raw(), second.raw_or_null()) };
    Err(Raised)
}

/// The name of an object's type, as `%T` shows it from 3.13 on.
pub fn type_name(object: impl Object) -> Res {
    // SAFETY: formats the name of a live type.
    unsafe { Obj::steal(PyUnicode_FromString((*Py_TYPE(object.raw())).tp_name)) }
}

/// Raises MemoryError.
#[cold]
pub fn no_memory<T>() -> Res<T> {
    // SAFETY: sets the exception.
    unsafe { PyErr_NoMemory() };
    Err(Raised)
}

/// Sets the `OSError` subclass that fits an I/O error.
pub fn raise_io<T>(error: &io::Error) -> Res<T> {
    if error.kind() == io::ErrorKind::OutOfMemory && error.raw_os_error().is_none() {
        return no_memory();
    }
    if let Some(exc) = os_error(error) {
        raise_value(exc);
    }
    Err(Raised)
}

/// The `OSError` (subclass by errno, as PEP 3151) for an I/O error; nothing if even that failed, with the exception
/// of the failure set.
pub fn os_error(error: &io::Error) -> Option<Obj> {
    let code = error.raw_os_error().unwrap_or(0);
    // SAFETY: `OSError(errno, strerror)` by the C API; the text is the C library's.
    unsafe {
        let number = Obj::steal(PyLong_FromLong(code.into())).ok()?;
        let text = Obj::steal(PyUnicode_DecodeLocale(strerror(code), c"surrogateescape".as_ptr())).ok()?;
        let kind = builtin::os_error().as_ptr();
        Obj::steal(PyObject_CallFunctionObjArgs(kind, number.as_ptr(), text.as_ptr(), NULL)).ok()
    }
}

unsafe extern "C" {
    fn strerror(code: std::ffi::c_int) -> *const std::ffi::c_char;
}

/// Raises an exception instance.
pub fn raise_value(exc: Obj) {
    // SAFETY: `exc` is an exception instance; its class is its type.
    unsafe { PyErr_SetObject(Py_TYPE(exc.as_ptr()).cast(), exc.as_ptr()) };
}

pub fn occurred() -> bool {
    // SAFETY: reads the error indicator.
    unsafe { !PyErr_Occurred().is_null() }
}

pub fn clear() {
    // SAFETY: clears the error indicator.
    unsafe { PyErr_Clear() };
}

/// Whether the exception that is set is an instance of `kind`.
pub fn matches(kind: impl Object) -> bool {
    // SAFETY: an exception is set when this is asked.
    unsafe { PyErr_ExceptionMatches(kind.raw()) != 0 }
}

/// Whether the exception that is set must leave the loop: asyncio lets only these two through.
pub fn is_exit() -> bool {
    matches(builtin::system_exit()) || is_interrupt()
}

/// Whether the exception that is set is a `KeyboardInterrupt`.
pub fn is_interrupt() -> bool {
    matches(builtin::keyboard_interrupt())
}

/// Whether the exception that is set, which came out of data, is Ctrl-C: handlers of signals run in the main
/// thread only. Elsewhere it is the data that raised it, and nobody is interrupted.
pub fn is_interrupted() -> bool {
    is_interrupt() && aioxide_sys::thread::is_main()
}

/// Has the handlers of signals run that have come, and raises what one of them raises: in the main thread.
pub fn check_signals() -> Res<()> {
    // SAFETY: needs the GIL only.
    super::object::check(unsafe { PyErr_CheckSignals() })
}

/// Whether `exc` is an instance of `kind`.
pub fn is_instance(exc: impl Object, kind: impl Object) -> bool {
    // SAFETY: both are live objects.
    unsafe { PyErr_GivenExceptionMatches(exc.raw(), kind.raw()) != 0 }
}

/// Takes the exception that is set, normalised and with its traceback; none where nothing is set.
#[cfg(Py_3_12)]
pub fn take() -> Option<Obj> {
    // SAFETY: returns an owned reference or null.
    unsafe { Obj::steal(PyErr_GetRaisedException()) }.ok()
}

#[cfg(not(Py_3_12))]
#[allow(deprecated)]
pub fn take() -> Option<Obj> {
    // SAFETY: fetches, normalises and takes over the three references of 3.11's error indicator.
    unsafe {
        let (mut kind, mut value, mut trace) = (NULL, NULL, NULL);
        PyErr_Fetch(&mut kind, &mut value, &mut trace);
        if kind.is_null() {
            return None;
        }
        PyErr_NormalizeException(&mut kind, &mut value, &mut trace);
        if !trace.is_null() {
            PyException_SetTraceback(value, trace);
            Py_DECREF(trace);
        }
        Py_DECREF(kind);
        Obj::steal(value).ok()
    }
}

/// Puts back what `take` took.
#[cfg(Py_3_12)]
pub fn restore(exc: Option<Obj>) {
    // SAFETY: hands over an owned exception, or null to clear.
    unsafe { PyErr_SetRaisedException(exc.map_or(NULL, Obj::into_raw)) };
}

#[cfg(not(Py_3_12))]
#[allow(deprecated)]
pub fn restore(exc: Option<Obj>) {
    // SAFETY: hands over owned references to class, value and traceback, or nulls to clear.
    unsafe {
        match exc {
            None => PyErr_Restore(NULL, NULL, NULL),
            Some(exc) => {
                let kind = exc.borrow().class().to_obj();
                let trace = PyException_GetTraceback(exc.as_ptr());
                PyErr_Restore(kind.into_raw(), exc.into_raw(), trace);
            }
        }
    }
}

/// Reports the exception that is set through `sys.unraisablehook`: nobody is there to raise it to.
pub fn unraisable(source: impl Nullable) {
    // SAFETY: an exception is set; `source` may be null.
    unsafe { PyErr_WriteUnraisable(source.raw_or_null()) };
}
