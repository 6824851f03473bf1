//! A task's way to a worker: queued, pickled when a worker has room for it, and sent with others in one system call.

use pyo3_ffi::{PyDict_Size, PyTuple_GET_ITEM, PyTuple_GET_SIZE};

use super::pool::{Flag, Pool};
use super::state::State;
use super::task::{Call, Task, TaskBox};
use super::{ends, interrupts, patience};
use crate::calls::future::PoolFuture;
use crate::calls::target::Target;
use crate::ffi::calls::tuple;
use crate::ffi::{First, Obj, Raised, Ref, Res, builtin, error, none};
use crate::wire::payload::Payload;
use crate::wire::{pickle, slab};

/// Of so many bytes a slab is filled.
const LARGE: usize = 1 << 14;
/// So many waiting tasks are worth a system call though every worker is busy.
const BATCH: usize = 16;

/// `(fn, args)`, or `(fn, args, kwargs)` where there are any.
pub fn call_of(function: Ref, args: Ref, kwargs: Option<Ref>) -> Res {
    // SAFETY: raises for what is no dict, and is taken for one with items then.
    match kwargs.filter(|kwargs| unsafe { PyDict_Size(kwargs.as_ptr()) } != 0) {
        None => tuple(&[function, args]),
        Some(kwargs) => tuple(&[function, args, kwargs]),
    }
}

fn pickle_call(pool: &Pool, call: &Obj) -> Res<Payload> {
    let crowded = pool.with(|state| state.arena().is_crowded());
    let pickled = match pickle::dump(call, crowded) {
        Ok(pickled) if pool.has(Flag::ByValue) && pickled.names_main() => {
            drop(pickled);
            let pickler = pool.manager().pickler_by_value(false)?;
            pickle::dump_with(&pickler, call, crowded)?
        }
        Ok(pickled) => pickled,
        Err(Raised) => pickle_otherwise(pool, call, crowded)?,
    };
    let size = pickled.total();
    if size >= LARGE {
        // The result that this very step has awaited last: mostly nobody else has it any more, and its slab is free then.
        #[cfg(Py_3_12)]
        crate::task::stop_iteration::release(call.borrow().py());
    }
    // Views are released outside: that may run code.
    let packed = pool.with(|state| Payload::pack_borrowed(&pickled, state.arena(), None));
    Ok(packed.or_else(|why| slab::no_room(size, &why))?.with_body(pickled))
}

/// What plain pickle cannot send, cloudpickle may be able to: the function only.
#[cold]
fn pickle_otherwise(pool: &Pool, call: &Obj, crowded: bool) -> Res<pickle::Pickled> {
    if !error::matches(builtin::exception()) || error::matches(builtin::memory_error()) {
        return Err(Raised);
    }
    // SAFETY: `call_of` made it, a tuple of two or three.
    let item = |at| unsafe { Ref::new(PyTuple_GET_ITEM(call.as_ptr(), at)) };
    let function = item(0);
    let why = error::take();
    if pool.has(Flag::ByValue) {
        let pickler = pool.manager().pickler_by_value(true)?;
        if !pickler.borrow().is_none() {
            let pickled = pickle::dump_with(&pickler, call, crowded)?;
            if pickled.names_main() {
                return Ok(pickled);
            }
        }
    }
    let told = why.clone().unwrap_or_else(none);
    let portable = pool.manager().portable(function, &told);
    drop(told);
    let portable = match portable {
        Ok(portable) => portable,
        Err(Raised) if error::is_interrupted() => return Err(Raised),
        Err(Raised) => {
            error::clear();
            function.to_obj()
        }
    };
    if portable.borrow() == function {
        error::restore(why);
        return Err(Raised);
    }
    drop(why);
    // SAFETY: as above.
    let rest = (1..unsafe { PyTuple_GET_SIZE(call.as_ptr()) }).map(item);
    let items: Vec<Ref> = std::iter::once(portable.borrow()).chain(rest).collect();
    pickle::dump(&tuple(&items)?, crowded)
}

/// Queues a task, and sends it if a worker is free. `Err` is Ctrl-C.
pub fn enqueue(pool: &Pool, target: Target, call: Obj) -> Res<()> {
    let task = Task::new(pool.new_id(), target, call);
    let (waiting, free) = pool.with(|state| {
        state.queue(Box::new(task));
        (state.queued(), has_idle(state))
    });
    pool.note_queued();
    let sent = if free || waiting >= BATCH { dispatch(pool) } else { Ok(()) };
    patience::look_after(pool);
    sent
}

/// Whether a worker stands idle.
fn has_idle(state: &State) -> bool {
    state.workers().iter().any(|worker| worker.is_idle() && worker.takes())
}

/// Whether a worker should be started for the task that comes: where none is idle, and also where the standard pool would
/// start one because it does not know better (a call that could not be pickled has not finished there).
pub fn wants_worker(pool: &Pool) -> bool {
    if !pool.has(Flag::OnDemand) {
        return false;
    }
    let had_token = pool.spend_token();
    pool.with(|state| {
        let alive = state.workers().iter().filter(|worker| !worker.is_retired()).count();
        let idle = state.workers().iter().any(|worker| worker.is_idle() && worker.will_take());
        // Tasks that wait in the queue have the first claim on an idle worker.
        alive < pool.max_workers() && (!idle || !had_token || state.queued() > 0)
    })
}

/// What `dispatch` does next.
enum Next {
    /// Nobody waits for this task any more.
    Unwanted(TaskBox),
    Pickle(u64, Obj),
    /// A future with a condition, which only inherited code may change.
    Announce(u64, Obj),
    /// A worker has got a task; whether it was idle.
    Given(u32, bool),
}

/// Looks at the first task that waits, and gives it to a worker if it is ready to go. Nothing where there is none, or no
/// worker has room.
fn step(state: &mut State, depth: usize) -> Option<Next> {
    // The least laden; of these, the one that worked last is the one whose caches are warm.
    let takers = state.workers().iter().filter(|worker| worker.has_room(depth));
    let best = takers.min_by_key(|worker| (worker.held(), std::cmp::Reverse(worker.idle_since())))?;
    let (key, idle) = (best.key(), best.is_idle());
    let front = state.first()?;
    if !front.target.is_wanted() {
        return state.take_first().map(Next::Unwanted);
    }
    if let Some(call) = front.waiting_call() {
        return Some(Next::Pickle(front.id, call.clone()));
    }
    if idle && !front.is_announced() {
        if !front.target.announce_alone() {
            return Some(Next::Announce(front.id, front.target.future().clone()));
        }
        front.note_announced();
    }
    let task = state.take_first()?;
    match state.worker(key)?.assign(task) {
        Ok(()) => Some(Next::Given(key, idle)),
        Err(task) => {
            state.requeue(vec![task]);
            None
        }
    }
}

/// Hands waiting tasks to workers while these have room for them. `Err` is Ctrl-C.
pub fn dispatch(pool: &Pool) -> Res<()> {
    // Another thread hands them out, or this one, further up the stack: it goes on until none is left.
    if !pool.begin_dispatching() {
        return Ok(());
    }
    let was_full = pool.is_full();
    pool.with(State::tell_forgotten);
    let mut unsent = Vec::new();
    let result = hand_out(pool, &mut unsent);
    pool.with(|state| unsent.iter().for_each(|key| state.flush(*key)));
    pool.end_dispatching();
    if was_full && !pool.is_full() {
        pool.manager().on_room();
    }
    result
}

/// Goes on behind a Ctrl-C that came meanwhile, too: with all workers idle, nothing would have the rest handed out later.
fn hand_out(pool: &Pool, unsent: &mut Vec<u32>) -> Res<()> {
    let depth = pool.depth();
    let (mut given, mut interrupt) = (0, First::default());
    while let Some(next) = pool.with(|state| step(state, depth)) {
        match next {
            Next::Given(key, true) => pool.with(|state| state.flush(key)),
            Next::Given(key, false) => {
                if !unsent.contains(&key) {
                    unsent.push(key);
                }
                given += 1;
                if given % BATCH == 0 {
                    pool.with(|state| unsent.drain(..).for_each(|key| state.flush(key)));
                }
            }
            Next::Pickle(id, call) => drop(interrupt.note(pack(pool, id, &call))),
            Next::Announce(id, future) => {
                // SAFETY: a future of ours: loops' are announced alone.
                let runs = unsafe { future.borrow().cast_unchecked::<PoolFuture>() }.set_running();
                if runs.is_err() {
                    interrupts::report(future.borrow());
                }
                if !matches!(runs, Ok(false)) {
                    pool.with(|state| state.waiting(id).map(Task::note_announced));
                }
            }
            Next::Unwanted(task) => unwanted(pool, task),
        }
    }
    interrupt.raise()
}

fn unwanted(pool: &Pool, task: TaskBox) {
    if task.target.acknowledge().is_err() {
        interrupts::report(task.target.future().borrow());
    }
    drop(task);
    pool.counters().note_cancelled(1);
    ends::task_gone(pool);
}

/// Pickles a task that waits, where it stands: meanwhile it may be cancelled, or the pool break. What cannot be pickled
/// fails. `Err` is Ctrl-C, which came meanwhile.
fn pack(pool: &Pool, id: u64, call: &Obj) -> Res<()> {
    match pickle_call(pool, call) {
        Ok(payload) => {
            let unused = pool.with(|state| match state.waiting(id) {
                Some(task) => task.pack(payload),
                None => Call::Packed(payload),
            });
            drop(unused);
            Ok(())
        }
        Err(Raised) => {
            let interrupted = error::is_interrupted();
            let why = error::take().unwrap_or_else(none);
            let mut raised = First::default();
            raised.keep(interrupted.then(|| why.clone()));
            pickling_failed(pool, id, &why, interrupted, &mut raised);
            drop(why);
            raised.raise()
        }
    }
}

#[cold]
fn pickling_failed(pool: &Pool, id: u64, why: &Obj, interrupted: bool, raised: &mut First) {
    let Some(task) = pool.with(|state| state.take_waiting(|task| task.id == id)) else { return };
    if let Ok((exception, meanwhile)) = pool.manager().pickling_failed(why, interrupted) {
        raised.keep(meanwhile.exception());
        error::raise_value(exception);
    }
    let (target, call) = task.into_parts();
    ends::finish(pool, target, Err(Raised));
    drop(call);
    ends::task_gone(pool);
}

/// An idle worker takes half of what a busy one has not begun with.
pub fn steal(pool: &Pool) -> Res<()> {
    let moved = pool.with(|state| {
        if state.queued() > 0 || !has_idle(state) {
            return false;
        }
        let Some(victim) = state.workers_mut().iter_mut().max_by_key(|worker| worker.held()) else {
            return false;
        };
        if victim.held() < 2 {
            return false;
        }
        let taken = victim.revoke(victim.held() / 2);
        let moved = !taken.is_empty();
        state.requeue(taken);
        moved
    });
    if moved { dispatch(pool) } else { Ok(()) }
}
