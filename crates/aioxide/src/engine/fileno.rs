//! Descriptors as Python code hands them in.

use pyo3_ffi::*;

use crate::ffi::object::call_method;
use crate::ffi::{NULL, Obj, Raised, Raw, Res, error, names};

/// A descriptor by number or by `fileno()`, with the errors of `selectors`.
///
/// # Safety
/// `value` is a live object.
pub unsafe fn fileno(value: Raw) -> Res<i32> {
    // SAFETY: type checks and conversions on a live object.
    unsafe {
        let number = if PyLong_Check(value) != 0 { Obj::new(value) } else { fileno_of(value)? };
        let mut overflow = 0;
        let wide = PyLong_AsLongLongAndOverflow(number.as_ptr(), &mut overflow);
        if overflow < 0 || (overflow == 0 && wide < 0) {
            return error::raise_with(
                PyExc_ValueError,
                c"Invalid file descriptor: %R",
                number.as_ptr(),
                NULL,
            );
        }
        match i32::try_from(wide) {
            Ok(fd) if overflow == 0 => Ok(fd),
            _ => error::raise(PyExc_OverflowError, c"Python int too large to convert to C int"),
        }
    }
}

/// `int(value.fileno())`.
///
/// # Safety
/// `value` is a live object.
unsafe fn fileno_of(value: Raw) -> Res {
    // SAFETY: as `fileno`.
    unsafe {
        let found = call_method(names().fileno, &[value]);
        found.and_then(|found| Obj::steal(PyNumber_Long(found.as_ptr()))).or_else(|Raised| {
            let usual = [PyExc_AttributeError, PyExc_TypeError, PyExc_ValueError];
            if !usual.into_iter().any(error::matches) {
                return Err(Raised);
            }
            error::clear();
            error::raise_with(PyExc_ValueError, c"Invalid file object: %R", value, NULL)
        })
    }
}
