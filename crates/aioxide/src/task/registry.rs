//! asyncio's own bookkeeping: `asyncio.current_task()` and `asyncio.all_tasks()`, and through them `asyncio ps`.

#[cfg(not(Py_3_14))]
use pyo3_ffi::*;

use super::loop_state::LoopState;
use super::marks::Mark;
use super::task::{self, TaskRef};
#[cfg(Py_3_14)]
use crate::ffi::compat::AllTasks;
use crate::ffi::compat::{CurrentTask, layout};
use crate::ffi::error;
#[cfg(Py_3_14)]
use crate::ffi::none;
#[cfg(not(Py_3_14))]
use crate::ffi::object::check;
use crate::ffi::object::import_from;
#[cfg(not(Py_3_14))]
use crate::ffi::refcount::refcount;
use crate::ffi::{NULL, Obj, Raw, Res};

/// Makes `task` the current one of a loop of ours. The entry is kept over consecutive steps of tasks and replaced by
/// the next: `leave` is for what is not a task.
#[inline(always)]
pub fn enter(state: &LoopState, task: TaskRef) -> Res<()> {
    let task = task.as_ptr();
    if state.entered.get() == task {
        return Ok(());
    }
    #[cfg(Py_3_14)]
    if let Some(places) = &layout().places
        && let Ok(before) = places.swap(state.object, task)
    {
        state.entered.set(task);
        drop(before);
        return Ok(());
    }
    set_current(state, task)?;
    state.entered.set(task);
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
        && let Ok(before) = places.swap(state.object, NULL)
    {
        return drop(before);
    }
    if set_current(state, NULL).is_err() {
        // Somebody else has taken the entry away; then there is nothing left to do.
        error::clear();
    }
}

/// Makes `task` the current one of the loop, or none for null, by asyncio's own function.
#[cfg(Py_3_14)]
fn set_current(state: &LoopState, task: Raw) -> Res<()> {
    let CurrentTask::Swap(swap) = layout().current;
    let task = Obj::maybe(task).unwrap_or_else(none);
    swap.call(&[state.object, task.as_ptr()])
}

/// Makes `task` the current one of the loop, or none for null.
#[cfg(not(Py_3_14))]
#[inline(always)]
fn set_current(state: &LoopState, task: Raw) -> Res<()> {
    let CurrentTask::Dict(dict) = layout().current;
    // SAFETY: a dict with live keys and values.
    check(unsafe {
        if task.is_null() {
            PyDict_DelItem(dict, state.object)
        } else {
            PyDict_SetItem(dict, state.object, task)
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
    pub fn enter(owner: Obj, task: TaskRef) -> Res<Swapped> {
        let before = swap(owner.as_ptr(), task.as_ptr())?;
        Ok(Swapped { owner, before })
    }

    /// Puts back what was current. The exception that is set, if one is, stays.
    pub fn leave(self) -> Res<()> {
        let pending = error::take();
        let before = self.before.as_ref().map_or(NULL, Obj::as_ptr);
        let result = swap(self.owner.as_ptr(), before);
        if pending.is_some() {
            error::restore(pending);
        }
        result.map(drop)
    }
}

/// `asyncio.tasks._swap_current_task`, which 3.11 lacks; null is no task.
#[cfg(not(Py_3_14))]
fn swap(owner: Raw, task: Raw) -> Res<Option<Obj>> {
    let CurrentTask::Dict(dict) = layout().current;
    // SAFETY: a dict with live keys and values.
    unsafe {
        let before = Obj::maybe(PyDict_GetItemWithError(dict, owner));
        if !task.is_null() {
            check(PyDict_SetItem(dict, owner, task))?;
        } else if before.is_some() {
            check(PyDict_DelItem(dict, owner))?;
        }
        Ok(before)
    }
}

/// As before 3.14.
#[cfg(Py_3_14)]
#[inline(always)]
fn swap(owner: Raw, task: Raw) -> Res<Option<Obj>> {
    match layout().places.as_ref().map(|places| places.swap(owner, task)) {
        Some(Ok(before)) => Ok(before),
        _ => swap_called(owner, task),
    }
}

/// By asyncio's own function, for a loop that does not run in this thread.
#[cfg(Py_3_14)]
#[cold]
fn swap_called(owner: Raw, task: Raw) -> Res<Option<Obj>> {
    let function = import_from(c"_asyncio", c"_swap_current_task")?;
    let task = Obj::maybe(task).unwrap_or_else(none);
    let before = crate::ffi::object::call(function.as_ptr(), &[owner, task.as_ptr()])?;
    Ok(Some(before).filter(|before| !crate::ffi::object::is_none(before.as_ptr())))
}

/// Enters a task that is about to take its first step into the list of all tasks.
#[inline(always)]
pub fn register(task: TaskRef) -> Res<()> {
    #[cfg(Py_3_14)]
    match &layout().places {
        // SAFETY: a task, which takes itself out of the list before it goes.
        Some(places) => unsafe { places.append(task.as_ptr()) },
        None => {
            let AllTasks::Register { add, .. } = layout().all;
            add.call(&[task.as_ptr()])?;
        }
    }
    #[cfg(not(Py_3_14))]
    match task.future.native() {
        // SAFETY: a task of that loop, which is in no list.
        Some(state) => unsafe { link(state, task.as_ptr()) },
        None => {
            let function = import_from(c"asyncio.tasks", c"_register_task")?;
            return crate::ffi::object::call(function.as_ptr(), &[task.as_ptr()]).map(drop);
        }
    }
    task.future.marks.put(Mark::Registered, true);
    Ok(())
}

/// Takes a task that is done, or about to go, out of the list.
///
/// # Safety
/// `raw` is an instance of our Task.
#[inline(always)]
pub unsafe fn unregister(raw: Raw) {
    // SAFETY: a task of ours; what it is linked with is in the list, so alive.
    unsafe {
        if !task::of(raw).future.marks.take(Mark::Registered) {
            return;
        }
        #[cfg(Py_3_14)]
        match &layout().places {
            Some(places) => places.remove(raw),
            None => unlink_foreign(raw),
        }
        #[cfg(not(Py_3_14))]
        if let Some(state) = task::of(raw).future.native() {
            unlink(state, raw);
        }
    }
}

/// Takes a task that is about to go out of asyncio's own list, where other code than ours may have put it.
///
/// # Safety
/// `raw` is an instance of our Task.
pub unsafe fn unlink_foreign(raw: Raw) {
    #[cfg(Py_3_14)]
    {
        let AllTasks::Register { remove, .. } = layout().all;
        if remove.call(&[raw]).is_err() {
            error::unraisable(NULL);
        }
    }
    #[cfg(not(Py_3_14))]
    let _ = raw;
}

/// # Safety
/// `raw` is a task of ours in no list, `state` its loop's.
#[cfg(not(Py_3_14))]
unsafe fn link(state: &LoopState, raw: Raw) {
    // SAFETY: whoever is in the list is alive: a task takes itself out before it goes.
    unsafe {
        let head = state.tasks.replace(raw);
        task::of(raw).newer.set(NULL);
        task::of(raw).older.set(head);
        if !head.is_null() {
            task::of(head).newer.set(raw);
        }
    }
}

/// # Safety
/// `raw` is a task of ours, `state` its loop's.
#[cfg(not(Py_3_14))]
unsafe fn unlink(state: &LoopState, raw: Raw) {
    // SAFETY: whoever is in the list is alive: a task takes itself out before it goes.
    unsafe {
        let this = task::of(raw);
        let (newer, older) = (this.newer.replace(NULL), this.older.replace(NULL));
        if newer.is_null() {
            state.tasks.set(older);
        } else {
            task::of(newer).older.set(older);
        }
        if !older.is_null() {
            task::of(older).newer.set(newer);
        }
    }
}

/// New references to the live tasks of a loop, newest first: what 3.11 to 3.13 cannot find by themselves.
#[cfg(Py_3_14)]
pub fn live_tasks(_: &LoopState) -> Vec<Obj> {
    Vec::new()
}

#[cfg(not(Py_3_14))]
pub fn live_tasks(state: &LoopState) -> Vec<Obj> {
    let mut tasks = Vec::new();
    let mut at = state.tasks.get();
    while !at.is_null() {
        // SAFETY: a task unlinks itself before it goes, so each in the list is alive; but one whose count has reached
        // zero, and whose finaliser is running, must not be handed out.
        unsafe {
            if refcount(at) > 0 {
                tasks.push(Obj::new(at));
            }
            at = task::of(at).older.get();
        }
    }
    tasks
}
