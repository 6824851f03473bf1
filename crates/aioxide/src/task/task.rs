//! Tasks: our fields. How a task runs is `step`, how it is cancelled `cancel`; the Python type around it is `task_type`.

#[cfg(not(Py_3_14))]
use std::cell::Cell;

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
/// `raw` is an instance of our Task, alive for the time of use.
#[inline(always)]
pub unsafe fn of<'a>(raw: Raw) -> &'a Task {
    // SAFETY: as `future::of`: a task's body stands where the fields of the base end, and all its fields are cells.
    unsafe { &*raw.cast::<u8>().add(layout().task_body).cast::<Task>() }
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

/// # Safety
/// `raw` is an instance of our Task.
#[inline(always)]
pub unsafe fn coro_of<'a>(raw: Raw) -> &'a Slot {
    // SAFETY: the offset is the layout's.
    unsafe { base_slot(raw, layout().coro) }
}

/// The context of an initialised task.
///
/// # Safety
/// `raw` is an instance of our Task.
#[inline(always)]
pub unsafe fn context_of(raw: Raw) -> Obj {
    // SAFETY: a live task; the reference is shared before anything runs.
    unsafe { context_slot(raw).or_none() }
}

/// # Safety
/// `raw` is an instance of our Task.
#[inline(always)]
pub unsafe fn context_slot<'a>(raw: Raw) -> &'a Slot {
    // SAFETY: the offset is the layout's.
    unsafe { base_slot(raw, layout().context) }
}

/// Null or an object, as the C API has it.
#[inline(always)]
pub fn raw_or_null(object: &Option<Obj>) -> Raw {
    object.as_ref().map_or(NULL, Obj::as_ptr)
}
