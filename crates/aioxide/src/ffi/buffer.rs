//! The memory that an object lends (PEP 3118).

use std::ffi::c_int;
use std::mem::MaybeUninit;

use pyo3_ffi::*;

use super::object::{Raised, Res, check};
use super::py::{Object, Ref};

/// Whether it is of the three types that asyncio's transports take.
#[inline(always)]
pub fn is_data(data: Ref) -> bool {
    let raw = data.as_ptr();
    // SAFETY: type checks on a live object.
    unsafe { PyBytes_Check(raw) != 0 || PyByteArray_Check(raw) != 0 || PyMemoryView_Check(raw) != 0 }
}

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

/// Hands the memory of `object` to `body`, which must not call into Python; without an allocation. One with gaps raises BufferError,
/// as the socket's own `send` does.
pub fn lend<T>(object: impl Object, body: impl FnOnce(&[u8]) -> T) -> Res<T> {
    // SAFETY: so many bytes, which stay where they are while the view is held.
    with_view(object, PyBUF_SIMPLE, |start, size| body(unsafe { std::slice::from_raw_parts(start, size) }))
}

/// The same, to be written to.
pub fn lend_to_fill<T>(object: impl Object, body: impl FnOnce(&mut [MaybeUninit<u8>]) -> T) -> Res<T> {
    with_view(object, PyBUF_WRITABLE, |start, size| {
        // SAFETY: so many bytes, which can be written, and stay where they are while the view is held.
        body(unsafe { std::slice::from_raw_parts_mut(start.cast(), size) })
    })
}

fn with_view<T>(object: impl Object, flags: c_int, body: impl FnOnce(*mut u8, usize) -> T) -> Res<T> {
    struct Release<'a>(&'a mut Py_buffer);
    impl Drop for Release<'_> {
        fn drop(&mut self) {
            // SAFETY: filled by PyObject_GetBuffer, released once.
            unsafe { PyBuffer_Release(self.0) };
        }
    }
    // SAFETY: a zeroed view is what PyObject_GetBuffer fills; it stays where it is until it is released.
    let mut view: Py_buffer = unsafe { std::mem::zeroed() };
    // SAFETY: as above, and a live object.
    check(unsafe { PyObject_GetBuffer(object.raw(), &mut view, flags) })?;
    let view = Release(&mut view);
    let size = view.0.len.max(0) as usize;
    Ok(body(if size == 0 { std::ptr::dangling_mut() } else { view.0.buf.cast() }, size))
}
