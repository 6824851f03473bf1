//! asyncio's own bookkeeping: `asyncio.current_task()` and `asyncio.all_tasks()`, and through them `asyncio ps`.

#[cfg(not(Py_3_14))]
use std::cell::Cell;

#[cfg(not(Py_3_14))]
use pyo3_ffi::*;

use super::loop_state::LoopState;
use super::marks::Mark;
use super::task::TaskHead;
#[cfg(not(Py_3_14))]
use crate::ffi::Raw;
use crate::ffi::calls::call;
use crate::ffi::class::Native;
#[cfg(Py_3_14)]
use crate::ffi::compat::AllTasks;
use crate::ffi::compat::{CurrentTask, layout};
#[cfg(Py_3_14)]
use crate::ffi::none;
#[cfg(not(Py_3_14))]
use crate::ffi::object::check;
use crate::ffi::object::import_from;
#[cfg(not(Py_3_14))]
use crate::ffi::refcount::refcount;
use crate::ffi::{NULL, Obj, Ref, Res, error};

/// Makes `task` the current one of a loop of ours. The entry is kept over consecutive steps of tasks and replaced by
/// the next: `leave` is for what is not a task.
#[inline(always)]
pub fn enter(state: &LoopState, task: &TaskHead) -> Res<()> {
    let task = task.object();
    if state.entered.get() == task.as_ptr() {
        return Ok(());
    }
    #[cfg(Py_3_14)]
    if let Some(places) = &layout().places
        && let Ok(before) = places.swap(state.object(), task)
    {
        state.entered.set(task.as_ptr());
        drop(before);
        return Ok(());
    }
    set_current(state, Some(task))?;
    state.entered.set(task.as_ptr());
    Ok(())
}

/// Says that no task is current: before anything but a task runs, and before the loop waits.
#[inline(always)]
pub fn leave(state: &LoopState) {
    if !state.entered.get().is_null() {
        leave_now(state);
    }
}

fn leave_now(state: &LoopState) {
    state.entered.set(NULL);
    #[cfg(Py_3_14)]
    if let Some(places) = &layout().places
        && let Ok(before) = places.swap(state.object(), None)
    {
        return drop(before);
    }
    if set_current(state, None).is_err() {
        // Somebody else has taken the entry away; then there is nothing left to do.
        error::clear();
    }
}

/// Makes `task`, or none, the current one of the loop, by asyncio's own function.
#[cfg(Py_3_14)]
fn set_current(state: &LoopState, task: Option<Ref>) -> Res<()> {
    let CurrentTask::Swap(swap) = layout().current;
    let none = none();
    swap.call(&[state.object(), task.unwrap_or(none.borrow())])
}

/// Makes `task`, or none, the current one of the loop.
#[cfg(not(Py_3_14))]
#[inline(always)]
fn set_current(state: &LoopState, task: Option<Ref>) -> Res<()> {
    let CurrentTask::Dict(dict) = layout().current;
    // SAFETY: a dict with live keys and values.
    check(unsafe {
        match task {
            None => PyDict_DelItem(dict, state.object),
            Some(task) => PyDict_SetItem(dict, state.object, task.as_ptr()),
        }
    })
}

/// Makes `task` current for the time of a call, whatever was before: an eager start, or a step on a foreign loop.
pub struct Swapped {
    owner: Obj,
    before: Option<Obj>,
}

impl Swapped {
    /// `owner` is the task's loop.
    pub fn enter(owner: Obj, task: &TaskHead) -> Res<Swapped> {
        let before = swap(owner.borrow(), Some(task.object()))?;
        Ok(Swapped { owner, before })
    }

    /// Puts back what was current. The exception that is set, if one is, stays.
    pub fn leave(self) -> Res<()> {
        let pending = error::take();
        let result = swap(self.owner.borrow(), self.before.as_ref().map(Obj::borrow));
        if pending.is_some() {
            error::restore(pending);
        }
        result.map(drop)
    }
}

/// `asyncio.tasks._swap_current_task`, which 3.11 lacks.
#[cfg(not(Py_3_14))]
fn swap(owner: Ref, task: Option<Ref>) -> Res<Option<Obj>> {
    let CurrentTask::Dict(dict) = layout().current;
    // SAFETY: a dict with live keys and values.
    unsafe {
        let before = Ref::maybe(PyDict_GetItemWithError(dict, owner.as_ptr())).map(Ref::to_obj);
        if let Some(task) = task {
            check(PyDict_SetItem(dict, owner.as_ptr(), task.as_ptr()))?;
        } else if before.is_some() {
            check(PyDict_DelItem(dict, owner.as_ptr()))?;
        }
        Ok(before)
    }
}

/// As before 3.14.
#[cfg(Py_3_14)]
#[inline(always)]
fn swap(owner: Ref, task: Option<Ref>) -> Res<Option<Obj>> {
    match layout().places.as_ref().map(|places| places.swap(owner, task)) {
        Some(Ok(before)) => Ok(before),
        _ => swap_called(owner, task),
    }
}

/// By asyncio's own function, for a loop that does not run in this thread.
#[cfg(Py_3_14)]
#[cold]
fn swap_called(owner: Ref, task: Option<Ref>) -> Res<Option<Obj>> {
    let function = import_from(c"_asyncio", c"_swap_current_task")?;
    let none = none();
    let before = call(&function, &[owner, task.unwrap_or(none.borrow())])?;
    Ok(Some(before).filter(|before| !before.borrow().is_none()))
}

/// Enters a task that is about to take its first step into the list of all tasks.
#[inline(always)]
pub fn register(task: &TaskHead) -> Res<()> {
    #[cfg(Py_3_14)]
    match &layout().places {
        // SAFETY: a task, which takes itself out of the list before it goes.
        Some(places) => unsafe { places.append(task.object().as_ptr()) },
        None => {
            let AllTasks::Register { add, .. } = layout().all;
            add.call(&[task.object()])?;
        }
    }
    #[cfg(not(Py_3_14))]
    match task.future.native() {
        Some(state) => link(state, task),
        None => {
            let function = import_from(c"asyncio.tasks", c"_register_task")?;
            return call(&function, &[task.object()]).map(drop);
        }
    }
    task.future.marks.put(Mark::Registered, true);
    Ok(())
}

/// Takes a task that is done, or about to go, out of the list.
#[inline(always)]
pub fn unregister(task: &TaskHead) {
    if !task.future.marks.take(Mark::Registered) {
        return;
    }
    #[cfg(Py_3_14)]
    match &layout().places {
        // SAFETY: a task of ours.
        Some(places) => unsafe { places.remove(task.object().as_ptr()) },
        None => unlink_foreign(task),
    }
    #[cfg(not(Py_3_14))]
    if let Some(state) = task.future.native() {
        unlink(state, task);
    }
}

/// Takes a task that is about to go out of asyncio's own list, where other code than ours may have put it.
pub fn unlink_foreign(task: &TaskHead) {
    #[cfg(Py_3_14)]
    {
        let AllTasks::Register { remove, .. } = layout().all;
        if remove.call(&[task.object()]).is_err() {
            error::unraisable(None);
        }
    }
    #[cfg(not(Py_3_14))]
    let _ = task;
}

/// The task that a pointer of the list's leads to.
///
/// # Safety
/// `link` is a loop's `tasks`, or a task's `newer` or `older`.
#[cfg(not(Py_3_14))]
unsafe fn in_list(link: &Cell<Raw>) -> Option<&TaskHead> {
    // SAFETY: whoever is in the list is alive: a task takes itself out before it goes.
    unsafe { Ref::maybe(link.get()).map(|task| task.cast_unchecked()) }
}

/// Puts a task that is in no list into that of its loop.
#[cfg(not(Py_3_14))]
fn link(state: &LoopState, task: &TaskHead) {
    let raw = task.object().as_ptr();
    // SAFETY: the list's head.
    if let Some(head) = unsafe { in_list(&state.tasks) } {
        head.newer.set(raw);
    }
    task.newer.set(NULL);
    task.older.set(state.tasks.replace(raw));
}

#[cfg(not(Py_3_14))]
fn unlink(state: &LoopState, task: &TaskHead) {
    // SAFETY: the list's links.
    let (newer, older) = unsafe { (in_list(&task.newer), in_list(&task.older)) };
    newer.map_or(&state.tasks, |newer| &newer.older).set(task.older.get());
    if let Some(older) = older {
        older.newer.set(task.newer.get());
    }
    task.newer.set(NULL);
    task.older.set(NULL);
}

/// New references to the live tasks of a loop, newest first: what 3.11 to 3.13 cannot find by themselves.
#[cfg(Py_3_14)]
pub fn live_tasks(_: &LoopState) -> Vec<Obj> {
    Vec::new()
}

#[cfg(not(Py_3_14))]
pub fn live_tasks(state: &LoopState) -> Vec<Obj> {
    // One whose count has reached zero, and whose finaliser is running, must not be handed out.
    // SAFETY: a task in the list is alive.
    let lives = |task: &Ref| unsafe { refcount(task.as_ptr()) } > 0;
    // SAFETY: the list's head and links.
    let all = unsafe { std::iter::successors(in_list(&state.tasks), |task| in_list(&task.older)) };
    all.map(TaskHead::object).filter(lives).map(Ref::to_obj).collect()
}
