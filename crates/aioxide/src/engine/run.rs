//! Running what is queued: one entry.

use pyo3_ffi::*;

use crate::ffi::{Obj, Raised, Res, context, error, names, snapshot};
use crate::task::loop_state::{Item, LoopState};
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
            Item::Step(task) => step::run(state, task, None).or_else(|Raised| step_failed(state)),
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
                run_done(state, callback, future, context)
            }
            Item::Finish { future, outcome } => {
                registry_leave(state);
                finish::finish(future.as_ptr(), outcome).or_else(|Raised| step_failed(state))
            }
            Item::Job { object, run } => {
                registry_leave(state);
                run(state, object.as_ptr()).or_else(|Raised| job_failed(&object))
            }
            Item::Wake { task, future } => {
                step::wake(state, task, future).or_else(|Raised| step_failed(state))
            }
            Item::Throw { task, exception } => {
                step::run_throwing(state, task, exception).or_else(|Raised| step_failed(state))
            }
        }
    }
}

#[inline(always)]
fn run_done(state: &LoopState, callback: Obj, future: Obj, context: Obj) -> Res<()> {
    if !snapshot::is_snapshot(context.as_ptr()) {
        return run_done_in(state, callback, future, context);
    }
    let entered = snapshot::enter(&state.spare_context, context)?;
    // SAFETY: live objects.
    let result = Obj::steal(unsafe { PyObject_CallOneArg(callback.as_ptr(), future.as_ptr()) });
    context::exit(entered.as_ptr());
    let result = match result {
        Ok(_) => Ok(()),
        Err(Raised) => done_failed(state, &callback, &future, &entered),
    };
    snapshot::put_back(&state.spare_context, entered);
    result
}

/// The callback was given its context.
fn run_done_in(state: &LoopState, callback: Obj, future: Obj, context: Obj) -> Res<()> {
    let result = match context::enter(context.as_ptr()) {
        Err(Raised) if context::is_context(context.as_ptr()) => Err(Raised),
        Err(Raised) => {
            error::clear();
            context::run_by_method(context.as_ptr(), callback.as_ptr(), &[future.as_ptr()])
        }
        Ok(()) => {
            // SAFETY: live objects.
            let result = Obj::steal(unsafe { PyObject_CallOneArg(callback.as_ptr(), future.as_ptr()) });
            context::exit(context.as_ptr());
            result
        }
    };
    match result {
        Ok(_) => Ok(()),
        Err(Raised) => done_failed(state, &callback, &future, &context),
    }
}

/// As if a handle had run the callback: makes one, for the report.
#[cold]
fn done_failed(state: &LoopState, callback: &Obj, future: &Obj, context: &Obj) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    let handle = handle::new(state.object, callback.as_ptr(), &[future.as_ptr()], context.as_ptr())?;
    handle_run::report_failure(&handle, exception)
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
        Obj::steal(unsafe { PyUnicode_FromString(c"Exception in callback Task.__step()".as_ptr()) })?;
    let n = names();
    report::report_context(state.object, &[(n.message, message.as_ptr()), (n.exception, exception.as_ptr())])
}

#[cold]
fn job_failed(object: &Obj) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    error::unraisable(object.borrow());
    Ok(())
}
