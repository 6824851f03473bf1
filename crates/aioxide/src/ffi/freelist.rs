//! Freelists: released objects of one type, kept for the next allocation.

use std::cell::Cell;

use pyo3_ffi::*;

use super::cells::Locked;
use super::compat;
use super::error::Res;
use super::leaf::{Leaf, none_borrowed};
use super::object::{Obj, Raw};
use super::py::Py;
use super::refcount;

/// How many objects a freelist keeps. 1,024 rather than 256: a batch of a thousand tasks is common, and an object
/// from the list does not move the garbage collector's counter.
const CAPACITY: usize = 1024;

static LIMIT: Locked<Cell<usize>> = Locked::new(Cell::new(CAPACITY));

/// Turns freelists off, for test runs that want each release to reach the allocator (`AIOXIDE_FREELIST=0`).
pub fn disable(py: Py) {
    LIMIT.get(py).set(0);
}

pub struct FreeList {
    objects: Locked<Leaf<Vec<Raw>>>,
}

impl FreeList {
    pub const fn new() -> FreeList {
        FreeList { objects: Locked::new(Leaf::new(Vec::new())) }
    }

    /// An object of exactly `kind`, whose body behind the header is zeroed if it is fresh and as it was put away if not.
    /// A kind with the garbage collector's header comes *untracked* from the list and *tracked* from the allocator:
    /// the second value says which.
    ///
    /// # Safety
    /// Only objects of `kind` were put into this list.
    #[inline(always)]
    pub unsafe fn get(&self, kind: *mut PyTypeObject) -> Res<(Obj, bool)> {
        none_borrowed();
        // SAFETY: the caller makes an object, for which it holds the GIL; the one in the list was released to it by `put` and
        // has no references.
        unsafe {
            match self.objects.get(Py::assume()).with(Vec::pop) {
                Some(object) => {
                    PyObject_Init(object, kind);
                    Ok((Obj::own(object), false))
                }
                None => Ok((Obj::steal(PyType_GenericAlloc(kind, 0))?, true)),
            }
        }
    }

    /// Releases the memory of `object` into the list, or to the allocator when the list is full.
    ///
    /// # Safety
    /// Called at the end of a `tp_dealloc`: no reference to `object` is left, all that it owned is released, it is
    /// untracked, its weak references are cleared, and its type, of the garbage collector's kind, is exactly the list's.
    /// Also releases the type. `finalised` says whether its `tp_finalize` has run: the collector's mark of that stays
    /// with the memory, and its next user would go without.
    #[inline(always)]
    pub unsafe fn put(&self, object: Raw, finalised: bool) {
        // SAFETY: the caller had the last reference, and the GIL with it, so no other thread of execution leads to `object`.
        unsafe {
            let kind = Py_TYPE(object);
            let py = Py::assume();
            let kept = !finalised
                && compat::is_reusable(kind)
                && self.objects.get(py).with(|objects| {
                    let has_room = objects.len() < LIMIT.get(py).get();
                    if has_room {
                        objects.push(object);
                    }
                    has_room
                });
            if !kept {
                PyObject_GC_Del(object.cast());
            }
            refcount::decref(kind.cast());
        }
    }
}
