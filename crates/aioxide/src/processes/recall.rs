//! Taking back what was sent to a worker and has not begun: by `cancel()` of either kind of future, by
//! `shutdown(cancel_futures=True)`, by a call's time limit. Pool and worker agree on who has a task in one word of memory
//! (`aioxide_core::slot`).

use pyo3_ffi::PyDict_SetItem;

use super::ends::task_gone;
use super::live::in_live;
use super::pool::{Pool, PoolRef};
use super::state::State;
use super::task::TaskBox;
use super::worker::Worker;
use crate::calls::future::PoolFuture;
use crate::ffi::calls::tuple;
use crate::ffi::class::Native;
use crate::ffi::object::{boolean, check, int, none};
use crate::ffi::{First, Obj, Ref, Res};

/// Who has the call of a future that was sent.
enum Found {
    /// A worker of the process that this one was forked from.
    Parent,
    /// A worker has begun with it, or is done.
    Begun,
    /// It will not run.
    Taken(PoolRef, TaskBox),
}

/// What `look`, which may call nothing, says of the worker that has the call of a future, and of its slot. Nothing where it
/// has been answered: whoever serves the pool is about to tell the future.
fn at_worker<T>(future: Ref, mut look: impl FnMut(&Pool, &mut Worker, u16) -> T) -> Option<T> {
    in_live(future.py(), |pool| {
        pool.with(|state| {
            let at = |worker: &mut Worker| worker.slot_of(future).map(|(slot, _)| look(pool, worker, slot));
            state.workers_mut().iter_mut().find_map(at)
        })
    })
}

/// Takes the call of a future back from the worker that has it.
fn take_back(future: Ref) -> Found {
    let found = at_worker(future, |pool, worker, slot| {
        if !worker.is_here() {
            return Found::Parent;
        }
        worker.revoke_slot(slot).map_or(Found::Begun, |task| Found::Taken(pool.hold(), task))
    });
    found.unwrap_or(Found::Begun)
}

/// Whether the worker has begun with the call of a future that is with one.
#[cold]
pub fn has_begun(future: &PoolFuture) -> bool {
    at_worker(future.object(), |_, worker, slot| worker.is_here() && !worker.waits(slot)) != Some(false)
}

/// The end of a task that was taken back.
fn discard(pool: &Pool, task: TaskBox) {
    pool.counters().note_cancelled(1);
    drop(task);
    task_gone(pool);
}

/// `cancel()` of a pending `Future` whose call a worker has; false if that has begun.
#[cold]
pub fn cancel(this: &PoolFuture) -> Res<bool> {
    match take_back(this.object()) {
        Found::Begun => {
            this.note_running();
            Ok(false)
        }
        Found::Parent => {
            this.set_sent(false);
            this.cancel()
        }
        Found::Taken(pool, task) => {
            let mut raised = First::default();
            let cancelled = raised.note(this.cancel());
            // Nobody else will tell those who wait for it in `concurrent.futures.wait`.
            if this.is_cancelled() && this.set_running().is_err() {
                super::interrupts::report(this.object());
            }
            discard(&pool, task);
            raised.raise().map(|()| cancelled == Some(true))
        }
    }
}

/// A loop's future was cancelled, and a worker has its call.
#[cold]
pub fn called_off(future: Ref) {
    if let Found::Taken(pool, task) = take_back(future) {
        discard(&pool, task);
    }
}

/// `withdraw(future)`: takes its task back: True if it has not begun; `(key, id)` of the worker where it runs; None where it
/// is not to be found.
pub fn withdraw(pool: &Pool, future: Ref) -> Res {
    match pool.with(|state| state.withdraw(future)) {
        Ok(task) => {
            discard(pool, task);
            Ok(boolean(true))
        }
        Err(Some((key, id))) => tuple(&[int(key.into())?.borrow(), int(id as i64)?.borrow()]),
        Err(None) => Ok(none()),
    }
}

/// `take_pending(futures)`: takes out the tasks that no worker has been announced for; their futures, the oldest first, become
/// keys of that dict.
pub fn take_pending(pool: &Pool, futures: Ref) -> Res<()> {
    let tasks = pool.with(State::take_unannounced);
    let taken: Vec<Obj> = tasks.iter().map(|task| task.target.future().clone()).collect();
    pool.note_gone(tasks.len());
    pool.counters().note_cancelled(tasks.len());
    drop(tasks);
    for future in &taken {
        // SAFETY: raises for what is no dict.
        check(unsafe { PyDict_SetItem(futures.as_ptr(), future.as_ptr(), none().as_ptr()) })?;
    }
    Ok(())
}
