//! Numbers of Python's as Rust's.

use pyo3_ffi::*;

use super::error::{self, Raised, Res};
use super::object::Obj;
use super::py::Object;

/// What `float()` makes of it; raises where that does.
#[inline(always)]
pub fn as_f64(value: impl Object) -> Res<f64> {
    // SAFETY: a live object; what it raises is seen below.
    let number = unsafe { PyFloat_AsDouble(value.raw()) };
    if number == -1.0 && error::occurred() { Err(Raised) } else { Ok(number) }
}

/// The value of an int, or of what has an `__index__`; raises where it has none, or does not fit.
pub fn as_i64(value: impl Object) -> Res<i64> {
    // SAFETY: as above.
    let number = unsafe { PyLong_AsLongLong(value.raw()) };
    if number == -1 && error::occurred() { Err(Raised) } else { Ok(number) }
}

#[inline(always)]
pub fn is_int(value: impl Object) -> bool {
    // SAFETY: looks at the type of a live object.
    unsafe { PyLong_Check(value.raw()) != 0 }
}

/// Whether it is of the very type.
#[inline(always)]
pub fn is_float(value: impl Object) -> bool {
    // SAFETY: looks at the type of a live object.
    unsafe { PyFloat_CheckExact(value.raw()) != 0 }
}

pub fn is_bool(value: impl Object) -> bool {
    // SAFETY: looks at the type of a live object.
    unsafe { PyBool_Check(value.raw()) != 0 }
}

/// Whether it can be made a real number or an int of.
pub fn is_number(value: impl Object) -> bool {
    // SAFETY: looks at the type of a live object.
    unsafe { PyNumber_Check(value.raw()) != 0 && PyComplex_Check(value.raw()) == 0 }
}

/// `one + other`.
pub fn add(one: impl Object, other: impl Object) -> Res {
    super::leaf::none_borrowed();
    // SAFETY: both are live objects.
    unsafe { Obj::steal(PyNumber_Add(one.raw(), other.raw())) }
}
