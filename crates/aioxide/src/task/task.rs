//! Tasks: our fields. How a task runs is `step`, how it is cancelled `cancel`; the Python type around it is `task_type`.

#[cfg(not(Py_3_14))]
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Deref;

use super::future::Future;
use crate::ffi::compat::layout;
use crate::ffi::{NULL, Obj, Raw, Slot};

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

/// # Safety
/// `raw` is an instance of our Task that somebody holds for `'a`.
#[inline(always)]
pub unsafe fn of<'a>(raw: Raw) -> TaskRef<'a> {
    TaskRef { raw, held: PhantomData }
}

/// A field of the base that holds a reference.
///
/// # Safety
/// `raw` is an instance of our Task and `offset` one of the layout's.
#[inline(always)]
pub unsafe fn base_slot<'a>(raw: Raw, offset: usize) -> &'a Slot {
    // SAFETY: a reference or null stands at each offset of the layout: it was looked at in a specimen at import.
    unsafe { &*raw.cast::<u8>().add(offset).cast::<Slot>() }
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
    pub fn borrow(&self) -> TaskRef<'_> {
        TaskRef { raw: self.0.as_ptr(), held: PhantomData }
    }

    #[inline(always)]
    pub fn into_obj(self) -> Obj {
        self.0
    }
}

/// A task of ours that somebody holds for `'a`.
#[derive(Clone, Copy)]
pub struct TaskRef<'a> {
    raw: Raw,
    held: PhantomData<&'a TaskObj>,
}

impl Deref for TaskRef<'_> {
    type Target = Task;

    #[inline(always)]
    fn deref(&self) -> &Task {
        // SAFETY: as `future::of`: a task's body stands where the fields of the base end.
        unsafe { &*self.raw.cast::<u8>().add(layout().task_body).cast::<Task>() }
    }
}

impl<'a> TaskRef<'a> {
    #[inline(always)]
    pub fn as_ptr(self) -> Raw {
        self.raw
    }

    #[inline(always)]
    pub fn hold(self) -> TaskObj {
        TaskObj(Obj::new(self.raw))
    }

    /// A field of the base, at one of the layout's offsets.
    #[inline(always)]
    fn slot(self, offset: usize) -> &'a Slot {
        // SAFETY: a task of ours, which is held.
        unsafe { base_slot(self.raw, offset) }
    }

    #[inline(always)]
    pub fn coro(self) -> &'a Slot {
        self.slot(layout().coro)
    }

    #[inline(always)]
    pub fn context_slot(self) -> &'a Slot {
        self.slot(layout().context)
    }

    #[inline(always)]
    pub fn name(self) -> &'a Slot {
        self.slot(layout().name)
    }

    /// The fields of the base that a task fills.
    #[inline(always)]
    pub fn slots(self) -> [&'a Slot; 3] {
        [self.coro(), self.name(), self.context_slot()]
    }

    /// The context of an initialised task.
    #[inline(always)]
    pub fn context(self) -> Obj {
        self.context_slot().or_none()
    }
}

/// Null or an object, as the C API has it.
#[inline(always)]
pub fn raw_or_null(object: &Option<Obj>) -> Raw {
    object.as_ref().map_or(NULL, Obj::as_ptr)
}
