//! Tasks: our fields, and cancellation. How a task runs is `step`; the Python type around it is `task_type`.

#[cfg(not(Py_3_14))]
use std::cell::Cell;

use pyo3_ffi::*;

use super::classes;
use super::future::{self, Future, State};
use super::marks::Mark;
use crate::ffi::compat::layout;
use crate::ffi::object::{call_method, call_method_kw, truth};
use crate::ffi::{NULL, Obj, Raised, Raw, Res, Slot, names};

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

/// Requests cancellation: `Task.cancel`.
///
/// # Safety
/// `raw` is an instance of our Task.
pub unsafe fn cancel(raw: Raw, message: Raw) -> Res<bool> {
    // SAFETY: a task, which the caller holds; what it waits for is held while its `cancel` runs.
    unsafe {
        let this = of(raw);
        // Also for one that is done: whoever cancels it has taken notice of it.
        this.future.log_traceback.set(false);
        if this.future.state() != State::Pending {
            return Ok(false);
        }
        this.future.cancels.set(this.future.cancels.get() + 1);
        if let Some(waits_for) = this.waits_for.share()
            && cancel_any(waits_for.as_ptr(), message)?
        {
            return Ok(true);
        }
        this.future.marks.put(Mark::MustCancel, true);
        this.future.set_cancel_message(message);
        Ok(true)
    }
}

/// Cancels what a task waits for: a future of ours directly, anything else by its method.
///
/// # Safety
/// `raw` is a live object.
pub unsafe fn cancel_any(raw: Raw, message: Raw) -> Res<bool> {
    // SAFETY: a live object, whose type is looked at before it is taken for one of ours.
    unsafe {
        let kind = Py_TYPE(raw);
        if kind == classes::future() {
            return future::of_plain(raw).cancel(raw, message);
        }
        if kind == classes::task() {
            // Tasks that wait for each other in a ring, or in a chain as long as one likes: as deep as Python code may go.
            if Py_EnterRecursiveCall(c" while calling a Python object".as_ptr()) != 0 {
                return Err(Raised);
            }
            let result = cancel(raw, message);
            Py_LeaveRecursiveCall();
            return result;
        }
        let n = names();
        let answer = if message.is_null() || crate::ffi::object::is_none(message) {
            call_method(n.cancel, &[raw])?
        } else {
            call_method_kw(n.cancel, &[raw, message], 1, n.kw_msg)?
        };
        truth(answer.as_ptr())
    }
}

/// `Task.uncancel`.
///
/// # Safety
/// `raw` is an instance of our Task.
pub unsafe fn uncancel(raw: Raw) -> i32 {
    // SAFETY: a task, alive for the call: no Python runs here.
    unsafe {
        let this = of(raw);
        let left = (this.future.cancels.get() - 1).max(0);
        if this.future.cancels.replace(left) > 0 && left == 0 && layout().habits.uncancel_forgets {
            this.future.marks.put(Mark::MustCancel, false);
        }
        left
    }
}

/// Null or an object, as the C API has it.
#[inline(always)]
pub fn raw_or_null(object: &Option<Obj>) -> Raw {
    object.as_ref().map_or(NULL, Obj::as_ptr)
}
