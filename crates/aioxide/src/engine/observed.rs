//! How a callback runs where somebody looks on: in debug mode, and where a program has put its own function in place of
//! `asyncio.Handle._run`. Each is shown as the handle that asyncio would have made for it, and that function is given one
//! that does the work.

use super::loop_clock::now;
use super::native_call;
use super::run::{registry_leave, run_one};
use crate::ffi::calls::{call, call_method};
use crate::ffi::names::{imported, interned, text};
use crate::ffi::object::{float, getattr, import_from, string};
use crate::ffi::{Obj, Ref, Res, none};
use crate::task::loop_state::{Item, LoopState};
use crate::task::report::seconds_attr;
use crate::task::task::TaskHead;
use crate::task::{callables, handle, handle_run, run_hook};

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
    let item = if run_hook::is_set(state.object().py()) { Item::Run(as_handle(state, item)?) } else { item };
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
    if took >= seconds_attr(state.object(), interned().slow_callback_duration)? {
        warn_slow(&shown, took)?;
    }
    Ok(())
}

/// By the program's own function if there is one. What that raises leaves the loop, as in asyncio.
fn run_for_program(state: &LoopState, item: Item) -> Res<()> {
    if let Item::Run(handle) = &item {
        // SAFETY: a handle of ours, as all that the queue runs.
        let function = unsafe { run_hook::function_for(handle::of(handle)) };
        if let Some(function) = function {
            registry_leave(state);
            // SAFETY: as above.
            return unsafe { handle_run::run_by(handle, &function) };
        }
    }
    run_one(state, item)
}

/// The task of an item that has one.
fn fields(task: &Obj) -> &TaskHead {
    // SAFETY: the items of tasks hold tasks of ours.
    unsafe { task.borrow().cast_unchecked() }
}

/// A handle that does what the entry says when its callback is called.
fn as_handle(state: &LoopState, item: Item) -> Res {
    let of_task = |task: Obj, callback: Obj, args: &[Ref]| {
        let context = fields(&task).context();
        handle::new(state, callback.borrow(), args, Some(context.borrow()))
    };
    match item {
        Item::Run(handle) => Ok(handle),
        Item::Done { callback, future, context } => {
            handle::new(state, callback.borrow(), &[future.borrow()], Some(context.borrow()))
        }
        Item::Step(task) => {
            let waited = fields(&task).waits_for.share();
            match waited {
                Some(future) => {
                    let wakeup = callables::wakeup(task.borrow())?;
                    of_task(task, wakeup, &[future.borrow()])
                }
                None => {
                    let step = callables::step(task.borrow(), None)?;
                    of_task(task, step, &[])
                }
            }
        }
        Item::Wake { task, future } => {
            let wakeup = callables::wakeup(task.borrow())?;
            of_task(task, wakeup, &[future.borrow()])
        }
        Item::Throw { task, exception } => {
            let step = callables::step(task.borrow(), Some(exception))?;
            of_task(task, step, &[])
        }
        Item::Call(_) | Item::Cancelled(_) | Item::Job { .. } | Item::Finish { .. } => {
            let call = native_call::new(state, item)?;
            handle::new(state, call.borrow(), &[], None)
        }
    }
}

/// The handle that asyncio would have made for an entry.
fn shown_as_handle(state: &LoopState, item: &Item) -> Res {
    match item {
        Item::Run(handle) => Ok(handle.clone()),
        Item::Done { callback, future, context } => {
            handle::new(state, callback.borrow(), &[future.borrow()], Some(context.borrow()))
        }
        Item::Step(task) | Item::Wake { task, .. } | Item::Throw { task, .. } => {
            let step = callables::step(task.borrow(), None)?;
            handle::new(state, step.borrow(), &[], None)
        }
        // These have become handles, or have run.
        Item::Call(_) | Item::Cancelled(_) => Ok(none()),
        Item::Job { object, .. } | Item::Finish { future: object, .. } => {
            let shown = getattr(object, text(c"__repr__")?)?;
            handle::new(state, shown.borrow(), &[], None)
        }
    }
}

fn warn_slow(shown: &Obj, took: f64) -> Res<()> {
    let text = call(imported().format_handle, &[shown.borrow()])?;
    let took = float(took)?;
    let format = string("Executing %s took %.3f seconds")?;
    // By the name under which the inherited code has it, where users put their own in its place.
    let logger = import_from(c"asyncio.base_events", c"logger")?;
    let args = [&logger, &format, &text, &took].map(Obj::borrow);
    call_method(interned().warning, &args).map(drop)
}
