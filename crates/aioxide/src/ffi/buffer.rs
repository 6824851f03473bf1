//! The memory that an object lends (PEP 3118).

use std::ffi::c_int;

use pyo3_ffi::*;

use super::object::{Raised, Res};
use super::py::Object;

/// A buffer of an object, held until it is released.
pub struct View(Box<Py_buffer>);

impl View {
    /// `flags` as PyObject_GetBuffer takes them; raises where the object has no such buffer.
    pub fn new(object: impl Object, flags: c_int) -> Res<View> {
        // SAFETY: a zeroed view is what PyObject_GetBuffer fills; boxed, as its address must not change.
        unsafe {
            let mut view: Box<Py_buffer> = Box::new(std::mem::zeroed());
            if PyObject_GetBuffer(object.raw(), &mut *view, flags) < 0 {
                return Err(Raised);
            }
            Ok(View(view))
        }
    }

    pub fn start(&self) -> *const u8 {
        self.0.buf.cast()
    }

    pub fn len(&self) -> usize {
        self.0.len as usize
    }

    pub fn bytes(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: the exporter keeps so many bytes there as long as the view is held.
        unsafe { std::slice::from_raw_parts(self.start(), self.len()) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: filled by PyObject_GetBuffer, released once.
        unsafe { PyBuffer_Release(&mut *self.0) };
    }
}
