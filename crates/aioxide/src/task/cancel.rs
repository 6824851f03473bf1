//! Cancellation: of a future, of a task, and of what a task waits for.

use pyo3_ffi::*;

use super::future::{CALLED_OFF, Future, given, of_plain};
use super::marks::Mark;
use super::task::{Task, TaskHead};
use super::{classes, waiters};
use crate::ffi::calls::{call_method, call_method_kw};
use crate::ffi::compat::layout;
use crate::ffi::names::interned;
use crate::ffi::object::truth;
use crate::ffi::{Raised, Ref, Res};

/// Ends a future, or a task whose coroutine has ended so, as cancelled: false if it was done.
pub fn end(slf: Ref, this: &Future, message: Option<Ref>) -> Res<bool> {
    let Some(woken) = this.set_cancelled(message) else { return Ok(false) };
    waiters::wake(slf, woken)?;
    if this.marks.take(Mark::Sent) {
        // SAFETY: whoever sets the mark has set this before.
        let called_off = unsafe { CALLED_OFF.get() };
        called_off(slf.as_ptr());
    }
    Ok(true)
}

/// Requests cancellation: `Task.cancel`.
pub fn request(task: &Task, message: Option<Ref>) -> Res<bool> {
    // Also for one that is done: whoever cancels it has taken notice of it.
    task.future.log_traceback.set(false);
    if !task.future.is_pending() {
        return Ok(false);
    }
    task.future.cancels.set(task.future.cancels.get() + 1);
    if let Some(waits_for) = task.waits_for.share()
        && any(waits_for.borrow(), message)?
    {
        return Ok(true);
    }
    task.future.marks.put(Mark::MustCancel, true);
    task.future.set_cancel_message(message);
    Ok(true)
}

/// Cancels what a task waits for: a future of ours directly, anything else by its method.
pub fn any(object: Ref, message: Option<Ref>) -> Res<bool> {
    let kind = object.type_of();
    // SAFETY: its type is looked at before it is taken for one of ours.
    unsafe {
        if kind == classes::future() {
            return end(object, of_plain(object), message);
        }
        if kind == classes::task() {
            // Tasks that wait for each other in a ring, or in a chain as long as one likes: as deep as Python code may go.
            if Py_EnterRecursiveCall(c" while calling a Python object".as_ptr()) != 0 {
                return Err(Raised);
            }
            let result = request(object.cast_unchecked::<TaskHead>(), message);
            Py_LeaveRecursiveCall();
            return result;
        }
    }
    let n = interned();
    let answer = match given(message) {
        None => call_method(n.cancel, &[object])?,
        Some(message) => call_method_kw(n.cancel, &[object, message], n.kw_msg)?,
    };
    truth(&answer)
}

/// `Task.uncancel`.
pub fn uncancel(task: &Task) -> i32 {
    let left = (task.future.cancels.get() - 1).max(0);
    if task.future.cancels.replace(left) > 0 && left == 0 && layout().habits.uncancel_forgets {
        task.future.marks.put(Mark::MustCancel, false);
    }
    left
}
