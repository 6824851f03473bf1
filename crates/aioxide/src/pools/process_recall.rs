//! Taking back what was sent to a worker and has not begun: by `cancel()` of either kind of future, by
//! `shutdown(cancel_futures=True)`, by a call's time limit. Pool and worker agree on who has a task in one word of memory
//! (`aioxide_core::slot`).

use super::process as pool;
use super::process_home as home;
use super::process_pump as pump;
use super::process_task::TaskBox;
use crate::ffi::guard::{noargs, onearg};
use crate::ffi::object::{boolean, int, none, tuple};
use crate::ffi::{Obj, Raw, Res};

/// What became of the attempt to take a call back.
enum Found {
    /// No worker of ours has it.
    Nowhere,
    Begun,
    /// It will not run.
    Taken(Obj, TaskBox),
}

/// Takes the call of a future back from the worker that has it.
fn take_back(future: Raw) -> Found {
    let found = home::in_live(|slf| {
        // SAFETY: the list holds pools.
        unsafe { pool::of(slf) }.with(|state| {
            // A worker without a number is the parent's of this forked child: so are its calls.
            let ours = state.workers.iter_mut().filter(|worker| worker.pid != 0);
            for worker in ours {
                if let Some((slot, _)) = worker.slot_of(future) {
                    return Some(match worker.revoke_slot(slot) {
                        Some(task) => Found::Taken(Obj::new(slf), task),
                        None => Found::Begun,
                    });
                }
            }
            state.lost.iter().any(|task| task.target.future().as_ptr() == future).then_some(Found::Begun)
        })
    });
    found.unwrap_or(Found::Nowhere)
}

/// Whether the worker has begun with the call of a future that is with one.
#[cold]
pub fn has_begun(future: Raw) -> bool {
    let begun = home::in_live(|slf| {
        // SAFETY: the list holds pools.
        unsafe { pool::of(slf) }.with(|state| {
            let mut ours = state.workers.iter().filter(|worker| worker.pid != 0);
            let at = |worker: &pool::Worker| worker.slot_of(future).map(|(slot, _)| !worker.waits(slot));
            let is_lost = || state.lost.iter().any(|task| task.target.future().as_ptr() == future);
            ours.find_map(at).or_else(|| is_lost().then_some(true))
        })
    });
    begun == Some(true)
}

/// The end of a task that was taken back.
fn discard(slf: &Obj, task: TaskBox) {
    // SAFETY: a pool, as `take_back` found it.
    let pool = unsafe { pool::of(slf.as_ptr()) };
    pool.cancelled.set(pool.cancelled.get() + 1);
    drop(task);
    pump::task_gone(pool);
}

/// `cancel()` of a pending `Future` whose call a worker has; false if that has begun.
///
/// # Safety
/// `future` is an `aioxide._futures.Future`.
#[cold]
pub unsafe fn cancel(future: Raw) -> Res<bool> {
    // SAFETY: by the contract.
    let this = unsafe { super::future::of(future) };
    match take_back(future) {
        Found::Begun => {
            this.note_running();
            Ok(false)
        }
        Found::Nowhere => {
            this.sent.set(false);
            // SAFETY: by the contract.
            unsafe { super::future::cancel(future) }
        }
        Found::Taken(slf, task) => {
            // SAFETY: by the contract.
            let cancelled = unsafe { super::future::cancel(future) };
            let raised = if cancelled.is_err() { crate::ffi::error::take() } else { None };
            // Nobody else will tell those who wait for it in `concurrent.futures.wait`.
            // SAFETY: by the contract.
            if this.is_cancelled() && unsafe { super::future::set_running(future) }.is_err() {
                crate::ffi::error::unraisable(future);
            }
            discard(&slf, task);
            if cancelled.is_err() {
                crate::ffi::error::restore(raised);
            }
            cancelled
        }
    }
}

/// A loop's future was cancelled, and a worker has its call.
#[cold]
pub fn called_off(future: Raw) {
    if let Found::Taken(slf, task) = take_back(future) {
        discard(&slf, task);
    }
}

// `withdraw(future)`: takes its task back: True if it has not begun; `(key, id)` of the worker where it runs; None where it
// is not to be found.
onearg!(withdraw, |slf, future| {
    let pool = pool::of(slf);
    let (taken, running) = pool.with(|state| {
        let at = state.pending.iter().position(|task| task.target.future().as_ptr() == future);
        if let Some(at) = at {
            return (state.pending.remove(at), None);
        }
        for worker in &mut state.workers {
            if let Some((slot, id)) = worker.slot_of(future) {
                let taken = worker.revoke_slot(slot);
                return (taken, Some((worker.key, id)));
            }
        }
        (None, None)
    });
    if let Some(task) = taken {
        discard(&Obj::new(slf), task);
        return Ok(boolean(true));
    }
    let Some((key, id)) = running else { return Ok(none()) };
    tuple(&[int(key.into())?.as_ptr(), int(id as i64)?.as_ptr()])
});

// `take_pending()`: takes out the tasks that no worker has been announced for; their futures, the oldest first.
noargs!(take_pending, |slf| {
    let pool = pool::of(slf);
    let tasks: Vec<TaskBox> = pool.with(|state| {
        let mut taken = Vec::new();
        for worker in state.workers.iter_mut().filter(|worker| worker.pid != 0) {
            taken.append(&mut worker.revoke_if(|task| !task.announced));
        }
        let (kept, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.pending).into_iter().partition(|task| task.announced);
        state.pending = kept.into();
        taken.extend(waiting);
        taken.sort_unstable_by_key(|task| task.id);
        taken
    });
    let futures: Vec<Obj> = tasks.iter().map(|task| task.target.future().clone()).collect();
    pool.outstanding.set(pool.outstanding.get().saturating_sub(tasks.len()));
    pool.cancelled.set(pool.cancelled.get() + tasks.len() as u64);
    drop(tasks);
    super::process_type::list(&futures)
});
