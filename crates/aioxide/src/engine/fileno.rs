//! Descriptors as Python code hands them in.

use pyo3_ffi::*;

use crate::ffi::calls::call_method;
use crate::ffi::names::interned;
use crate::ffi::{Obj, Raised, Ref, Res, builtin, error, number};

/// A descriptor by number or by `fileno()`, with the errors of `selectors`.
pub fn fileno(value: Ref) -> Res<i32> {
    let number = if number::is_int(value) { value.to_obj() } else { fileno_of(value)? };
    let mut overflow = 0;
    // SAFETY: an int, of this type or of one derived from it.
    let wide = unsafe { PyLong_AsLongLongAndOverflow(number.as_ptr(), &mut overflow) };
    if overflow < 0 || (overflow == 0 && wide < 0) {
        return error::raise_with(builtin::value_error(), c"Invalid file descriptor: %R", &number, None);
    }
    match i32::try_from(wide) {
        Ok(fd) if overflow == 0 => Ok(fd),
        _ => error::raise(builtin::overflow_error(), c"Python int too large to convert to C int"),
    }
}

/// `int(value.fileno())`.
fn fileno_of(value: Ref) -> Res {
    let found = call_method(interned().fileno, &[value]);
    // SAFETY: converts a live object, or raises.
    found.and_then(|found| unsafe { Obj::steal(PyNumber_Long(found.as_ptr())) }).or_else(|Raised| {
        let usual = [builtin::attribute_error(), builtin::type_error(), builtin::value_error()];
        if !usual.into_iter().any(error::matches) {
            return Err(Raised);
        }
        error::clear();
        error::raise_with(builtin::value_error(), c"Invalid file object: %R", value, None)
    })
}
