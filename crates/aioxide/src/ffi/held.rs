//! Native objects that keep all their references in slots: what the collector does with them, and how they end, is the same
//! for all.

use std::ffi::{c_int, c_void};

use pyo3_ffi::*;

use super::guard::{guarded, visit};
use super::object::{Raw, Slot};

/// What an instance consists of.
///
/// # Safety
/// Instances of the type, and of types derived from it, begin with this struct, which is laid out as C does and begins with
/// the header of an object. `slots` are all of its fields that hold anything, and the rest are cells.
pub unsafe trait Held: Sized {
    fn slots(&self) -> impl IntoIterator<Item = &Slot>;
}

/// # Safety
/// `raw` is an instance of the type of `T` that lives for `'a`.
#[inline(always)]
pub unsafe fn fields<'a, T: Held>(raw: Raw) -> &'a T {
    // SAFETY: `Held` says so of the layout, and shared references to cells may be many.
    unsafe { &*raw.cast::<T>() }
}

/// # Safety
/// As `fields`; the visitor is the collector's, which runs no Python.
pub unsafe extern "C" fn traverse<T: Held>(slf: Raw, visitor: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: an instance, by which the collector has come here; nothing changes while it visits.
    unsafe {
        visit!(Py_TYPE(slf).cast(), visitor, arg);
        for slot in fields::<T>(slf).slots() {
            visit!(slot.get(), visitor, arg);
        }
    }
    0
}

/// # Safety
/// As `fields`.
pub unsafe extern "C" fn clear<T: Held>(slf: Raw) -> c_int {
    guarded((), || {
        // SAFETY: whoever calls this holds the object while what it held is released.
        for slot in unsafe { fields::<T>(slf) }.slots() {
            slot.clear();
        }
    });
    0
}

/// # Safety
/// As `fields`; no reference to the object is left.
pub unsafe extern "C" fn dealloc<T: Held>(slf: Raw) {
    // SAFETY: the collector forgets the object before its slots are emptied; nothing else of it needs an end.
    guarded((), || unsafe {
        PyObject_GC_UnTrack(slf.cast());
        clear::<T>(slf);
        free(slf);
    });
}

/// Gives an object's memory back, as its type wants it, and its reference to the type.
///
/// # Safety
/// The end of a `tp_dealloc`: no reference to the object is left, and none in it. Its type is a heap type.
pub unsafe fn free(slf: Raw) {
    // SAFETY: an instance of a heap type has a reference to it, which outlives the memory here.
    unsafe {
        let kind = Py_TYPE(slf);
        if let Some(free) = (*kind).tp_free {
            free(slf.cast());
        }
        Py_DECREF(kind.cast());
    }
}
