//! What waits for a future: tasks, and done callbacks.

use pyo3_ffi::*;

use super::future::{Future, State, Waiter, Woken};
use super::loop_state::Item;
use super::marks::Mark;
use super::overrides::CALL_SOON;
use super::task::{TaskHead, TaskObj};
use super::{callables, registry};
use crate::ffi::calls::call_method_kw;
use crate::ffi::class::Native;
use crate::ffi::names::interned;
use crate::ffi::{Obj, Raised, Ref, Res, error, snapshot};

/// Tells all that waited for `slf`, in order. A task is in the list of all tasks no more.
#[inline(always)]
pub fn wake(slf: Ref, woken: Woken) -> Res<()> {
    let Woken(future) = woken;
    if future.marks.has(Mark::IsTask) {
        // SAFETY: the mark says that `slf` is a task.
        registry::unregister(unsafe { slf.cast_unchecked::<TaskHead>() });
    }
    let more = future.take_more();
    if let Some(waiter) = future.take_first() {
        tell(slf, future, waiter)?;
    }
    if more.is_empty() { Ok(()) } else { tell_rest(slf, future, more) }
}

#[inline(never)]
fn tell_rest(slf: Ref, future: &Future, more: Vec<Waiter>) -> Res<()> {
    more.into_iter().try_for_each(|waiter| tell(slf, future, waiter))
}

#[inline(always)]
fn tell(slf: Ref, future: &Future, waiter: Waiter) -> Res<()> {
    let Some(state) = future.native() else { return tell_by_method(slf, future, waiter) };
    if !state.is_plain() {
        // In debug mode the method looks at the callback, and notes where it was called.
        let noted = state.debug.get() && waiter.context.is_some();
        if noted || state.overrides.has(state.object(), CALL_SOON) {
            return tell_by_method(slf, future, waiter);
        }
        state.check_schedule()?;
    }
    match waiter.context {
        Some(context) => state.push(Item::Done { callback: waiter.callback, future: slf.to_obj(), context }),
        None if future.state() == State::Returned => state.push(Item::Step(waiter.callback)),
        // What the future ended with is thrown in, even where it was yielded by our own iterator: that need not be in the
        // chain of awaits any more.
        None => state.push(Item::Wake { task: waiter.callback, future: slf.to_obj() }),
    }
}

/// `loop.call_soon(callback, slf, context=context)`: for loops that are not ours, and methods that are not.
#[cold]
fn tell_by_method(slf: Ref, future: &Future, waiter: Waiter) -> Res<()> {
    let (callback, context) = shown(waiter)?;
    let owner = future.owner.or_none();
    let args = [owner.borrow(), callback.borrow(), slf, context.borrow()];
    call_method_kw(interned().call_soon, &args, interned().kw_context).map(drop)
}

/// A waiter as Python has it: a callback and its context.
pub fn shown(waiter: Waiter) -> Res<(Obj, Obj)> {
    match waiter.context {
        Some(context) => Ok((waiter.callback, snapshot::shown(context)?)),
        None => {
            // SAFETY: a waiter without context is a task.
            let task = unsafe { TaskObj::new(waiter.callback) };
            let task = task.borrow();
            Ok((callables::wakeup(task.object())?, task.context()))
        }
    }
}

/// `add_done_callback`: called by the loop, at once if the future is done.
pub fn add_callback(slf: Ref, future: &Future, callback: Obj, context: Obj) -> Res<()> {
    let waiter = Waiter { callback, context: Some(context) };
    if future.is_pending() {
        return future.add_waiter(waiter).or_else(|_| error::no_memory());
    }
    tell(slf, future, waiter)
}

/// `remove_done_callback`: of all callbacks that compare equal, and of the method by which a task is shown.
pub fn remove_callback(future: &Future, callback: Ref) -> Res<isize> {
    future.remove_waiters(|waiter| {
        // SAFETY: looks at the type of a live object.
        let is_method = || unsafe { PyCFunction_CheckExact(callback.as_ptr()) } != 0;
        let shown = match waiter.context {
            Some(_) => waiter.callback.clone(),
            None if is_method() => callables::wakeup(waiter.callback.borrow())?,
            None => return Ok(false),
        };
        // SAFETY: both are alive.
        match unsafe { PyObject_RichCompareBool(shown.as_ptr(), callback.as_ptr(), Py_EQ) } {
            -1 => Err(Raised),
            answer => Ok(answer == 1),
        }
    })
}
