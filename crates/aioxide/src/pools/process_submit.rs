//! A task's way to a worker: pickled by whoever submits it, queued, and sent with others in one system call.

use aioxide_sys::clock;
use pyo3_ffi::*;

use super::process::{Pool, Target, Task, TaskBox};
use super::process_pickle as pickle;
use super::process_slab::{self as slab, Payload};
use crate::ffi::names::intern;
use crate::ffi::object::{boolean, call_method, is_none, none, tuple};
use crate::ffi::{Obj, Raised, Raw, Res, error};

/// So many waiting tasks are worth a system call though every worker is busy.
const BATCH: usize = 16;

/// Pickles `(fn, args)`, or `(fn, args, kwargs)` where there are any.
pub fn pickle_call(pool: &Pool, function: Raw, args: Raw, kwargs: Raw) -> Res<Payload> {
    // SAFETY: kwargs is null or a dict.
    let bare = kwargs.is_null() || unsafe { PyDict_Size(kwargs) } == 0;
    let call = if bare { tuple(&[function, args])? } else { tuple(&[function, args, kwargs])? };
    let crowded = pool.with(|state| state.arena.is_crowded());
    let pickled = match pickle::dump(call.as_ptr(), crowded) {
        Ok(pickled) if pool.by_value.get() && pickled.names_main() => {
            drop(pickled);
            let pickler = pickler_by_value(pool, false)?;
            pickle::dump_with(pickler.as_ptr(), call.as_ptr(), crowded)?
        }
        Ok(pickled) => pickled,
        Err(Raised) => pickle_otherwise(pool, function, &call, crowded)?,
    };
    let size = pickled.total();
    // Views are released outside: that may run code.
    let packed = pool.with(|state| Payload::pack_borrowed(&pickled, &mut state.arena));
    let mut payload = packed.or_else(|why| slab::no_room(size, &why))?;
    if !payload.body_in_slab {
        payload.body = pickled.into_body();
    }
    Ok(payload)
}

/// An exception that a task could not even be pickled with goes to its future, but for those that say that there is no
/// memory, and those that no executor catches.
pub fn may_go_to_future() -> bool {
    // SAFETY: reads statics of the interpreter.
    unsafe { error::matches(PyExc_Exception) && !error::matches(PyExc_MemoryError) }
}

/// Makes the pickler of a call of which something is defined in a `__main__` that workers cannot import.
#[cold]
fn pickler_by_value(pool: &Pool, failed: bool) -> Res {
    let manager = pool.manager.or_none();
    call_method(intern(c"pickler_by_value")?, &[manager.as_ptr(), boolean(failed).as_ptr()])
}

/// What plain pickle cannot send, cloudpickle may be able to: the function only.
#[cold]
fn pickle_otherwise(pool: &Pool, function: Raw, call: &Obj, crowded: bool) -> Res<pickle::Pickled> {
    if !may_go_to_future() {
        return Err(Raised);
    }
    let why = error::take();
    if pool.by_value.get() {
        let pickler = pickler_by_value(pool, true)?;
        if !is_none(pickler.as_ptr()) {
            let pickled = pickle::dump_with(pickler.as_ptr(), call.as_ptr(), crowded)?;
            if pickled.names_main() {
                return Ok(pickled);
            }
        }
    }
    let manager = pool.manager.or_none();
    let told = why.clone().unwrap_or_else(none);
    let portable = call_method(intern(c"portable")?, &[manager.as_ptr(), function, told.as_ptr()]);
    drop(told);
    let portable = match portable {
        Ok(portable) => portable,
        Err(Raised) => {
            error::clear();
            Obj::new(function)
        }
    };
    if portable.as_ptr() == function {
        error::restore(why);
        return Err(Raised);
    }
    drop(why);
    // SAFETY: a tuple of two or three, of which the first is replaced.
    let items = unsafe {
        let mut items: Vec<Raw> =
            (0..PyTuple_GET_SIZE(call.as_ptr())).map(|i| PyTuple_GET_ITEM(call.as_ptr(), i)).collect();
        items[0] = portable.as_ptr();
        items
    };
    pickle::dump(tuple(&items)?.as_ptr(), crowded)
}

/// Queues a task, and sends it if a worker is free.
pub fn enqueue(pool: &Pool, target: Target, payload: Payload) {
    let id = pool.next_id.get();
    pool.next_id.set(id + 1);
    let task = Task { id, target, payload, announced: false, submitted: clock::nanos() };
    let (waiting, free) = pool.with(|state| {
        state.pending.push_back(Box::new(task));
        let free = state.workers.iter().any(|worker| worker.inflight == 0 && worker.takes());
        (state.pending.len(), free)
    });
    pool.outstanding.set(pool.outstanding.get() + 1);
    pool.submitted.set(pool.submitted.get() + 1);
    if free || waiting >= BATCH {
        dispatch(pool);
    }
}

/// Whether a worker should be started for the task that comes: where none is idle, and also where the standard pool would
/// start one because it does not know better (a call that could not be pickled has not finished there).
pub fn wants_worker(pool: &Pool) -> bool {
    if !pool.on_demand.get() {
        return false;
    }
    let tokens = pool.tokens.get();
    pool.tokens.set(tokens.saturating_sub(1));
    pool.with(|state| {
        let alive = state.workers.iter().filter(|worker| !worker.closing).count();
        let idle =
            state.workers.iter().any(|worker| worker.inflight == 0 && !worker.closing && worker.budget > 0);
        // Tasks that wait in the queue have the first claim on an idle worker.
        alive < pool.max_workers.get() && (!idle || tokens == 0 || !state.pending.is_empty())
    })
}

/// The worker that gets the next tasks, and how many.
fn choose(pool: &Pool) -> Option<(u32, usize)> {
    let depth = pool.depth();
    pool.with(|state| {
        if state.pending.is_empty() {
            return None;
        }
        let limit = |worker: &super::process::Worker| if worker.ready { depth } else { 2 };
        let takers =
            || state.workers.iter().filter(|worker| worker.takes() && worker.inflight < limit(worker));
        // The one that worked last is the one whose caches are warm.
        let best = takers().min_by_key(|worker| (worker.inflight, std::cmp::Reverse(worker.idle_since)))?;
        let share = state.pending.len().div_ceil(takers().count().max(1));
        let room = (limit(best) - best.inflight).min(usize::try_from(best.budget).unwrap_or(usize::MAX));
        Some((best.key, share.min(room)))
    })
}

/// Hands waiting tasks to workers while these have room for them.
pub fn dispatch(pool: &Pool) {
    let was_full = pool.is_full();
    while let Some((key, count)) = choose(pool) {
        let mut batch = Vec::with_capacity(count);
        while batch.len() < count {
            let Some(mut task) = pool.with(|state| state.pending.pop_front()) else { break };
            if task.announced || announce(&task) {
                task.announced = true;
                batch.push(task);
            } else {
                drop(task);
                pool.cancelled.set(pool.cancelled.get() + 1);
                super::process_pump::task_gone(pool);
            }
        }
        hand_over(pool, key, batch);
    }
    if was_full && !pool.is_full() {
        super::process_pump::tell_room(pool);
    }
}

fn hand_over(pool: &Pool, key: u32, batch: Vec<TaskBox>) {
    if batch.is_empty() {
        return;
    }
    pool.with(|state| {
        let forgotten = std::mem::take(&mut state.arena.forgotten);
        if !forgotten.is_empty() {
            state.workers.iter_mut().for_each(|worker| worker.forget(&forgotten));
        }
        let mut back = Vec::new();
        for task in batch {
            match state.workers.iter_mut().find(|worker| worker.key == key && worker.takes()) {
                Some(worker) => back.extend(worker.assign(task).err()),
                None => back.push(task),
            }
        }
        for task in back.into_iter().rev() {
            state.pending.push_front(task);
        }
        state.flush(key);
    });
}

/// Tells the future that its task runs; false where nobody wants it any more.
fn announce(task: &Task) -> bool {
    let future = match &task.target {
        Target::Call(waiting) => return waiting.is_wanted(),
        Target::Future(future) => future.as_ptr(),
    };
    // SAFETY: `submit` takes futures of ours only.
    unsafe { super::future::set_running(future) }.unwrap_or_else(|Raised| {
        error::unraisable(future);
        false
    })
}

/// An idle worker takes half of what a busy one has not begun with.
pub fn steal(pool: &Pool) {
    let moved = pool.with(|state| {
        if !state.pending.is_empty()
            || !state.workers.iter().any(|worker| worker.inflight == 0 && worker.takes())
        {
            return false;
        }
        let Some(victim) = state.workers.iter_mut().max_by_key(|worker| worker.inflight) else {
            return false;
        };
        if victim.inflight < 2 {
            return false;
        }
        let taken = victim.revoke(victim.inflight / 2);
        let moved = !taken.is_empty();
        for task in taken {
            state.pending.push_front(task);
        }
        moved
    });
    if moved {
        dispatch(pool);
    }
}
