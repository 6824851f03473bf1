//! Reference counts as the interpreter's own headers change them: by half words.
//!
//! From 3.12 on the count is the lower half of a word, and the headers load and store just that half. `pyo3_ffi` loads
//! the whole word, which a processor cannot forward from a half that was stored a moment ago: it waits until the store
//! has reached the cache, a dozen cycles for each object that the interpreter has just touched.

#[cfg(all(Py_3_12, target_pointer_width = "64", not(py_sys_config = "Py_REF_DEBUG")))]
mod halves {
    use pyo3_ffi::PyObject;

    unsafe extern "C" {
        fn _Py_Dealloc(object: *mut PyObject);
    }

    const LOWER: usize = if cfg!(target_endian = "big") { 1 } else { 0 };

    /// # Safety
    /// `object` can be written: a live object.
    #[inline(always)]
    unsafe fn count(object: *mut PyObject) -> *mut u32 {
        // SAFETY: an object begins with its count, a word of which this is the lower half.
        unsafe { object.cast::<u32>().add(LOWER) }
    }

    /// Immortal objects have the highest bit set, whose count is not kept: `_Py_IsImmortal`.
    #[inline(always)]
    fn is_immortal(count: u32) -> bool {
        (count as i32) < 0
    }

    /// # Safety
    /// `object` is a live object.
    #[inline(always)]
    pub unsafe fn incref(object: *mut PyObject) {
        // SAFETY: an object that lives has its count to itself: the GIL is held.
        unsafe {
            let now = count(object).read();
            if !is_immortal(now) {
                count(object).write(now.wrapping_add(1));
            }
        }
    }

    /// # Safety
    /// `object` is a live object, and the caller has a reference to it, which it gives up.
    #[inline(always)]
    pub unsafe fn decref(object: *mut PyObject) {
        // SAFETY: the caller's own reference keeps it alive up to here, and the last one is gone when it ends.
        unsafe {
            let now = count(object).read();
            if is_immortal(now) {
                return;
            }
            count(object).write(now.wrapping_sub(1));
            if now == 1 {
                _Py_Dealloc(object);
            }
        }
    }

    /// # Safety
    /// `object` is a live object.
    #[inline(always)]
    pub unsafe fn refcount(object: *mut PyObject) -> usize {
        // SAFETY: the count of an object that lives is a field of its header.
        unsafe { count(object).read() as usize }
    }
}

/// 3.11 counts in whole words, and a debug build keeps a total besides.
#[cfg(not(all(Py_3_12, target_pointer_width = "64", not(py_sys_config = "Py_REF_DEBUG"))))]
mod whole {
    use pyo3_ffi::PyObject;

    pub use pyo3_ffi::{Py_DECREF as decref, Py_INCREF as incref};

    /// # Safety
    /// `object` is a live object.
    #[inline(always)]
    pub unsafe fn refcount(object: *mut PyObject) -> usize {
        // SAFETY: the count of an object that lives is a field of its header.
        unsafe { pyo3_ffi::Py_REFCNT(object) as usize }
    }
}

#[cfg(all(Py_3_12, target_pointer_width = "64", not(py_sys_config = "Py_REF_DEBUG")))]
pub use halves::{decref, incref, refcount};
#[cfg(not(all(Py_3_12, target_pointer_width = "64", not(py_sys_config = "Py_REF_DEBUG"))))]
pub use whole::{decref, incref, refcount};
