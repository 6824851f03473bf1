//! How a callback runs where somebody looks on: in debug mode, and where a program has put its own function in place of
//! `asyncio.Handle._run`. Each is shown as the handle that asyncio would have made for it, and that function is given one
//! that does the work.

use super::loop_clock::now;
use super::native_call;
use super::run::{registry_leave, run_one};
use crate::ffi::names::{intern, stdlib};
use crate::ffi::object::{call, call_method, import_from};
use crate::ffi::{NULL, Obj, Res, names, none};
use crate::task::loop_state::{Item, LoopState};
use crate::task::report::seconds_attr;
use crate::task::{callables, handle, handle_run, run_hook, task};

/// Runs the next entry, if there is one.
#[cold]
#[inline(never)]
pub fn run_next(state: &LoopState) -> Res<()> {
    let Some(item) = state.pop() else { return Ok(()) };
    let item = match item {
        // SAFETY: it has just left the queue.
        Item::Call(call) => Item::Run(unsafe { handle::of_call(state, call) }?),
        item @ Item::Cancelled(_) => return run_one(state, item),
        item => item,
    };
    let item = if run_hook::is_set() { Item::Run(as_handle(state, item)?) } else { item };
    if !state.debug.get() {
        return run_for_program(state, item);
    }
    let shown = shown_as_handle(state, &item)?;
    let start = now(state)?;
    state.current_handle.set(shown.clone());
    let result = run_for_program(state, item);
    state.current_handle.clear();
    result?;
    let took = now(state)? - start;
    if took >= seconds_attr(state.object, names().slow_callback_duration)? {
        warn_slow(&shown, took)?;
    }
    Ok(())
}

/// By the program's own function if there is one. What that raises leaves the loop, as in asyncio.
fn run_for_program(state: &LoopState, item: Item) -> Res<()> {
    if let Item::Run(handle) = &item
        && let Some(function) = run_hook::function_for(handle.as_ptr())
    {
        registry_leave(state);
        // SAFETY: a handle of ours, as all that the queue runs.
        return unsafe { handle_run::run_by(handle, &function) };
    }
    run_one(state, item)
}

/// A handle that does what the entry says when its callback is called.
fn as_handle(state: &LoopState, item: Item) -> Res {
    let of_task = |task: Obj, callback: Obj, args: &[crate::ffi::Raw]| {
        // SAFETY: the items of tasks hold tasks of ours.
        let context = unsafe { task::of(task.as_ptr()) }.context();
        handle::new(state.object, callback.as_ptr(), args, context.as_ptr())
    };
    match item {
        Item::Run(handle) => Ok(handle),
        Item::Done { callback, future, context } => {
            handle::new(state.object, callback.as_ptr(), &[future.as_ptr()], context.as_ptr())
        }
        Item::Step(task) => {
            // SAFETY: an item of a task holds a task of ours.
            let waited = unsafe { task::of(task.as_ptr()) }.waits_for.share();
            match waited {
                Some(future) => {
                    let wakeup = callables::wakeup(task.as_ptr())?;
                    of_task(task, wakeup, &[future.as_ptr()])
                }
                None => {
                    let step = callables::step(task.as_ptr(), None)?;
                    of_task(task, step, &[])
                }
            }
        }
        Item::Wake { task, future } => {
            let wakeup = callables::wakeup(task.as_ptr())?;
            of_task(task, wakeup, &[future.as_ptr()])
        }
        Item::Throw { task, exception } => {
            let step = callables::step(task.as_ptr(), Some(exception))?;
            of_task(task, step, &[])
        }
        Item::Call(_) | Item::Cancelled(_) | Item::Job { .. } | Item::Finish { .. } => {
            let call = native_call::new(state, item)?;
            handle::new(state.object, call.as_ptr(), &[], NULL)
        }
    }
}

/// The handle that asyncio would have made for an entry.
fn shown_as_handle(state: &LoopState, item: &Item) -> Res {
    match item {
        Item::Run(handle) => Ok(handle.clone()),
        Item::Done { callback, future, context } => {
            handle::new(state.object, callback.as_ptr(), &[future.as_ptr()], context.as_ptr())
        }
        Item::Step(task) | Item::Wake { task, .. } | Item::Throw { task, .. } => {
            let step = callables::step(task.as_ptr(), None)?;
            handle::new(state.object, step.as_ptr(), &[], NULL)
        }
        // These have become handles, or have run.
        Item::Call(_) | Item::Cancelled(_) => Ok(none()),
        Item::Job { object, .. } | Item::Finish { future: object, .. } => {
            let shown = crate::ffi::object::getattr(object.as_ptr(), intern(c"__repr__")?)?;
            handle::new(state.object, shown.as_ptr(), &[], NULL)
        }
    }
}

fn warn_slow(shown: &Obj, took: f64) -> Res<()> {
    let text = call(stdlib().format_handle, &[shown.as_ptr()])?;
    let took = crate::ffi::object::float(took)?;
    let format = crate::ffi::object::string("Executing %s took %.3f seconds")?;
    // By the name under which the inherited code has it, where users put their own in its place.
    let logger = import_from(c"asyncio.base_events", c"logger")?;
    let args = [logger.as_ptr(), format.as_ptr(), text.as_ptr(), took.as_ptr()];
    call_method(names().warning, &args).map(drop)
}
