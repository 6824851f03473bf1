//! Running what is queued: one entry.

use std::ptr::null;

use pyo3_ffi::*;

use crate::ffi::names::interned;
use crate::ffi::{Obj, Raised, Res, error};
use crate::task::loop_state::{Item, LoopState};
use crate::task::ready::Call;
use crate::task::task::TaskObj;
use crate::task::{finish, handle, handle_run, registry, report, step};

pub fn registry_leave(state: &LoopState) {
    if crate::ffi::compat::has_layout() {
        registry::leave(state);
    }
}

/// Runs one entry, where few do.
#[cold]
#[inline(never)]
pub fn run_one(state: &LoopState, item: Item) -> Res<()> {
    run_item(state, item)
}

/// Runs one entry. An exception goes to the loop's exception handler, unless it must leave the loop.
#[inline(always)]
pub fn run_item(state: &LoopState, item: Item) -> Res<()> {
    // SAFETY: items hold what their names say; tasks exist only where the layout is known.
    unsafe {
        match item {
            Item::Step(task) => {
                step::run(state, TaskObj::new(task), None).or_else(|Raised| step_failed(state))
            }
            Item::Call(call) => {
                registry_leave(state);
                handle_run::run_call(state, call)
            }
            Item::Run(handle) => {
                registry_leave(state);
                handle_run::run(handle)
            }
            Item::Cancelled(place) => {
                handle::retire_cancelled(place);
                Ok(())
            }
            Item::Done { callback, future, context } => {
                registry_leave(state);
                let args = Some(future);
                handle_run::run_call(state, Call { callback, args, several: false, context, handle: null() })
            }
            Item::Finish { future, outcome } => {
                registry_leave(state);
                finish::finish(future.borrow(), outcome).or_else(|Raised| step_failed(state))
            }
            Item::Job { object, run } => {
                registry_leave(state);
                run(state, object.as_ptr()).or_else(|Raised| job_failed(&object))
            }
            Item::Wake { task, future } => {
                step::wake(state, TaskObj::new(task), future).or_else(|Raised| step_failed(state))
            }
            Item::Throw { task, exception } => {
                step::run_throwing(state, TaskObj::new(task), exception).or_else(|Raised| step_failed(state))
            }
        }
    }
}

/// A step that failed after the coroutine's part in it, when its outcome was to be told: reported as asyncio reports a
/// failed callback.
#[cold]
fn step_failed(state: &LoopState) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    // SAFETY: constant text.
    let message =
        unsafe { Obj::steal(PyUnicode_FromString(c"Exception in callback Task.__step()".as_ptr())) }?;
    let n = interned();
    let pairs = [(n.message, message.borrow()), (n.exception, exception.borrow())];
    report::report_context(state.object(), &pairs)
}

#[cold]
fn job_failed(object: &Obj) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    error::unraisable(object.borrow());
    Ok(())
}
