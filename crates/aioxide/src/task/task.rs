//! Tasks: our fields. How a task runs is `step`, how it is cancelled `cancel`; the Python type around it is `task_type`.

#[cfg(not(Py_3_14))]
use std::cell::Cell;
use std::ops::Deref;

use pyo3_ffi::*;

use super::classes;
use super::future::Future;
#[cfg(not(Py_3_14))]
use crate::ffi::Raw;
use crate::ffi::class::{Head, Native};
use crate::ffi::compat::layout;
use crate::ffi::places::word;
use crate::ffi::{Obj, Ref, Slot};

/// Our fields: a future's, and behind them a task's own. Coroutine, name and context stand in the base's fields, where
/// foreign code reads them.
#[repr(C)]
pub struct Task {
    pub future: Future,
    /// What the task waits for: `_fut_waiter`.
    pub waits_for: Slot,
    /// The neighbours in the loop's list of live tasks, borrowed (3.11 to 3.13).
    #[cfg(not(Py_3_14))]
    pub newer: Cell<Raw>,
    #[cfg(not(Py_3_14))]
    pub older: Cell<Raw>,
}

/// A task, whose fields stand where those of `_asyncio.Task` end.
#[repr(transparent)]
pub struct TaskHead(Head);

// SAFETY: it is the header of an object.
unsafe impl Native for TaskHead {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        classes::are_tasks(kind)
    }
}

/// A field of the base that holds a reference.
///
/// # Safety
/// `object` is an instance of our Future or Task, in which `offset` is one of the layout's.
#[inline(always)]
pub unsafe fn base_slot(object: Ref<'_>, offset: usize) -> &Slot {
    // SAFETY: a reference or null stands at each offset of the layout: it was looked at in a specimen at import.
    unsafe { word(object.as_ptr().cast(), offset) }
}

/// A reference to a task of ours, owned.
#[repr(transparent)]
pub struct TaskObj(Obj);

impl TaskObj {
    /// # Safety
    /// `task` is an instance of our Task.
    #[inline(always)]
    pub unsafe fn new(task: Obj) -> TaskObj {
        TaskObj(task)
    }

    #[inline(always)]
    pub fn borrow(&self) -> &TaskHead {
        // SAFETY: `new` was given a task.
        unsafe { self.0.borrow().cast_unchecked() }
    }

    #[inline(always)]
    pub fn into_obj(self) -> Obj {
        self.0
    }
}

impl Deref for TaskHead {
    type Target = Task;

    #[inline(always)]
    fn deref(&self) -> &Task {
        // SAFETY: a task's body stands where the fields of the base end, as `layout` found.
        unsafe { &*self.object().as_ptr().cast::<u8>().add(layout().task_body).cast::<Task>() }
    }
}

impl TaskHead {
    #[inline(always)]
    pub fn hold(&self) -> TaskObj {
        TaskObj(self.object().to_obj())
    }

    /// A field of the base, at one of the layout's offsets.
    #[inline(always)]
    fn slot(&self, offset: usize) -> &Slot {
        // SAFETY: a task of ours.
        unsafe { base_slot(self.object(), offset) }
    }

    #[inline(always)]
    pub fn coro(&self) -> &Slot {
        self.slot(layout().coro)
    }

    #[inline(always)]
    pub fn context_slot(&self) -> &Slot {
        self.slot(layout().context)
    }

    #[inline(always)]
    pub fn name(&self) -> &Slot {
        self.slot(layout().name)
    }

    /// The fields of the base that a task fills.
    #[inline(always)]
    pub fn slots(&self) -> [&Slot; 3] {
        [self.coro(), self.name(), self.context_slot()]
    }

    /// The context of an initialised task.
    #[inline(always)]
    pub fn context(&self) -> Obj {
        self.context_slot().or_none()
    }
}
