//! Taking back what was sent to a worker and has not begun: by `cancel()` of either kind of future, by
//! `shutdown(cancel_futures=True)`, by a call's time limit. Pool and worker agree on who has a task in one word of memory
//! (`aioxide_core::slot`).

use pyo3_ffi::PyDict_SetItem;

use super::ends::task_gone;
use super::live::in_live;
use super::pool;
use super::state::State;
use super::task::TaskBox;
use super::worker::Worker;
use crate::calls::future;
use crate::ffi::guard::onearg;
use crate::ffi::object::{boolean, check, int, none, tuple};
use crate::ffi::{First, Obj, Raw, Res};

/// Who has the call of a future that was sent.
enum Found {
    /// A worker of the process that this one was forked from.
    Parent,
    /// A worker has begun with it, or is done.
    Begun,
    /// It will not run.
    Taken(Obj, TaskBox),
}

/// What `look`, which may call nothing, says of the worker that has the call of a future, and of its slot. Nothing where it
/// has been answered: whoever serves the pool is about to tell the future.
fn at_worker<T>(future: Raw, mut look: impl FnMut(Raw, &mut Worker, u16) -> T) -> Option<T> {
    in_live(|slf| {
        // SAFETY: the list holds pools.
        unsafe { pool::of(slf) }.with(|state| {
            let at = |worker: &mut Worker| worker.slot_of(future).map(|(slot, _)| look(slf, worker, slot));
            state.workers_mut().iter_mut().find_map(at)
        })
    })
}

/// Takes the call of a future back from the worker that has it.
fn take_back(future: Raw) -> Found {
    let found = at_worker(future, |slf, worker, slot| {
        if !worker.is_here() {
            return Found::Parent;
        }
        worker.revoke_slot(slot).map_or(Found::Begun, |task| Found::Taken(Obj::new(slf), task))
    });
    found.unwrap_or(Found::Begun)
}

/// Whether the worker has begun with the call of a future that is with one.
#[cold]
pub fn has_begun(future: Raw) -> bool {
    at_worker(future, |_, worker, slot| worker.is_here() && !worker.waits(slot)) != Some(false)
}

/// The end of a task that was taken back.
fn discard(slf: &Obj, task: TaskBox) {
    // SAFETY: a pool, as `take_back` found it.
    let pool = unsafe { pool::of(slf.as_ptr()) };
    pool.counters().note_cancelled(1);
    drop(task);
    task_gone(pool);
}

/// `cancel()` of a pending `Future` whose call a worker has; false if that has begun.
///
/// # Safety
/// `future` is an `aioxide._pools.futures.Future`.
#[cold]
pub unsafe fn cancel(future: Raw) -> Res<bool> {
    // SAFETY: a pool's future, which the caller keeps alive.
    let this = unsafe { future::of(future) };
    match take_back(future) {
        Found::Begun => {
            this.note_running();
            Ok(false)
        }
        Found::Parent => {
            this.set_sent(false);
            // SAFETY: the same future.
            unsafe { future::cancel(future) }
        }
        Found::Taken(slf, task) => {
            let mut raised = First::default();
            // SAFETY: the same future.
            let cancelled = raised.note(unsafe { future::cancel(future) });
            // Nobody else will tell those who wait for it in `concurrent.futures.wait`.
            // SAFETY: the same future.
            if this.is_cancelled() && unsafe { future::set_running(future) }.is_err() {
                super::interrupts::report(future);
            }
            discard(&slf, task);
            raised.raise().map(|()| cancelled == Some(true))
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
    match pool::of(slf).with(|state| state.withdraw(future)) {
        Ok(task) => {
            discard(&Obj::new(slf), task);
            Ok(boolean(true))
        }
        Err(Some((key, id))) => tuple(&[int(key.into())?.as_ptr(), int(id as i64)?.as_ptr()]),
        Err(None) => Ok(none()),
    }
});

// `take_pending(futures)`: takes out the tasks that no worker has been announced for; their futures, the oldest first, become
// keys of that dict.
onearg!(take_pending, |slf, futures| {
    let pool = pool::of(slf);
    let tasks = pool.with(State::take_unannounced);
    let taken: Vec<Obj> = tasks.iter().map(|task| task.target.future().clone()).collect();
    pool.note_gone(tasks.len());
    pool.counters().note_cancelled(tasks.len());
    drop(tasks);
    for future in &taken {
        check(PyDict_SetItem(futures, future.as_ptr(), none().as_ptr()))?;
    }
    Ok(none())
});
