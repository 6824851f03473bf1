//! Tuples whose items have names too, as `os.stat_result` is one.

use std::ffi::CStr;

use pyo3_ffi::*;

use super::object::{Global, Obj, Res};

/// A type of such tuples, made when the first is.
pub struct NamedTuple<const N: usize> {
    name: &'static CStr,
    fields: [&'static CStr; N],
    kind: Global<*mut PyTypeObject>,
}

impl<const N: usize> NamedTuple<N> {
    /// `name` with its module; the names of the items in their order.
    pub const fn new(name: &'static CStr, fields: [&'static CStr; N]) -> NamedTuple<N> {
        NamedTuple { name, fields, kind: Global::new() }
    }

    pub fn make(&self, items: [Obj; N]) -> Res {
        let kind = self.kind()?;
        // SAFETY: a type of N items; each slot of the fresh object takes a reference over.
        unsafe {
            let made = Obj::steal(PyStructSequence_New(kind))?;
            for (at, item) in items.into_iter().enumerate() {
                PyStructSequence_SetItem(made.as_ptr(), at as Py_ssize_t, item.into_raw());
            }
            Ok(made)
        }
    }

    fn kind(&self) -> Res<*mut PyTypeObject> {
        if self.kind.is_set() {
            // SAFETY: just looked.
            return Ok(unsafe { *self.kind.get() });
        }
        let field =
            |name: &'static CStr| PyStructSequence_Field { name: name.as_ptr(), doc: std::ptr::null() };
        let mut fields: Vec<_> = self.fields.into_iter().map(field).collect();
        fields.push(PyStructSequence_Field { name: std::ptr::null(), doc: std::ptr::null() });
        let mut description = PyStructSequence_Desc {
            name: self.name.as_ptr(),
            doc: std::ptr::null(),
            fields: fields.as_mut_ptr(),
            n_in_sequence: N as std::ffi::c_int,
        };
        // SAFETY: what the description points to is copied, but for names that live for ever.
        let made = unsafe { Obj::steal(PyStructSequence_NewType(&raw mut description).cast())? };
        self.kind.set(made.into_raw().cast());
        // SAFETY: just set.
        Ok(unsafe { *self.kind.get() })
    }
}
