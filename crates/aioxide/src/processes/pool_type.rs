//! `_aioxide.ProcessPool`: what `_processes/executor.py` and its manager call.

use std::ffi::{c_int, c_void};
use std::rc::Rc;

use aioxide_sys::epoll::Events;
use aioxide_sys::timer::Timer;
use pyo3_ffi::*;

use super::interrupts::{report, told, whole};
use super::pool::{self, Flag, Home, Pool, PoolObject};
use super::recall::{self, take_pending, withdraw};
use super::state::State;
use super::statistics::{counts, find, workers};
use super::task::TaskBox;
use super::worker_life::{
    abandon, bury, exit_worker, integer, is_replaced, is_started, prepare, signal, started, stop_task,
    take_back,
};
use super::{ends, home, live, results, schedule};
use crate::calls::future;
use crate::calls::target::Target;
use crate::engine::loop_call::LoopCall;
use crate::engine::loop_object::io_result;
use crate::engine::spin;
use crate::ffi::error::raise_io;
use crate::ffi::guard::{fastcall, getter, guarded, noargs, onearg, setter};
use crate::ffi::object::{boolean, call, check, int, is_none, none, truth};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{First, NULL, Obj, Raised, Raw, Res, error};
use crate::task::loop_state::native_state;

/// # Safety
/// `slf` is a pool object, as every receiver of a method below.
#[inline(always)]
unsafe fn of<'a>(slf: Raw) -> &'a Pool {
    // SAFETY: the receiver of a method of the type, alive for the call.
    unsafe { pool::of(slf) }
}

// ---------------------------------------------------------------------------------------------------------- tasks

/// While a worker was started and objects were made, other threads may have run: the pool may be shut down or broken by now.
fn check_still_open(pool: &Pool) -> Res<()> {
    if pool.has(Flag::Closed) { pool.manager().admit() } else { Ok(()) }
}

fn check_open(pool: &Pool, may_wait: bool) -> Res<()> {
    if pool.has(Flag::Closed) || (may_wait && pool.is_full()) {
        pool.manager().admit()?;
    }
    if schedule::wants_worker(pool) {
        pool.manager().start_worker()?;
    }
    Ok(())
}

// `submit(future, fn, args, kwargs)`: queues a task, and returns its future: the one that is given, or a new one for None.
// An exception from pickling goes to it.
fastcall!(submit_task, |slf, args| {
    args.require(&["future", "fn", "args", "kwargs"], "submit")?;
    let (pool, given) = (of(slf), args.positional());
    check_open(pool, true)?;
    let future = if is_none(given[0]) { future::new()? } else { Obj::new(given[0]) };
    let call = schedule::call_of(given[1], given[2], given[3])?;
    check_still_open(pool)?;
    home::to_reactor(slf)?;
    schedule::enqueue(pool, Target::Future(future.clone()), call)?;
    Ok(future)
});

// `run_for_loop(loop, fn, args)`: the future of a loop for a task's result; None where that loop's futures have to be made
// or finished by methods of the user's.
fastcall!(run_for_loop, |slf, args| {
    args.require(&["loop", "fn", "args"], "run_for_loop")?;
    let (pool, given) = (of(slf), args.positional());
    check_open(pool, false)?;
    let Some(state) = native_state(given[0]) else { return Ok(none()) };
    let Some(waiting) = LoopCall::new(&*state, spin::limit())? else { return Ok(none()) };
    let future = waiting.future().clone();
    let call = schedule::call_of(given[1], given[2], NULL)?;
    check_still_open(pool)?;
    home::use_from_loop(slf, given[0])?;
    schedule::enqueue(pool, Target::Loop(waiting), call)?;
    Ok(future)
});

// `fail_lost(make)`: the tasks that were with dead workers fail, each with an exception of its own: `make(future)`.
onearg!(fail_lost, |slf, make| {
    let tasks = of(slf).with(State::take_lost);
    fail(of(slf), tasks, make)
});

// `fail_all(make)`: every task fails.
onearg!(fail_all, |slf, make| {
    let tasks = of(slf).with(State::take_all);
    fail(of(slf), tasks, make)
});

fn fail(pool: &Pool, tasks: Vec<TaskBox>, make: Raw) -> Res {
    let (count, mut raised) = (tasks.len(), First::default());
    for task in tasks {
        if let Ok((exception, interrupt)) = whole(|| call(make, &[task.target.future().as_ptr()])) {
            raised.keep(interrupt.exception());
            error::raise_value(exception);
        }
        ends::finish(pool, task.target, Err(Raised));
        ends::task_gone(pool);
    }
    told((int(count as i64)?, raised))
}

// ------------------------------------------------------------------------------------------------------------ life

// `set_timer(seconds)`: calls the manager's `on_timer` then; None takes it back.
onearg!(set_timer, |slf, seconds| {
    let pool = of(slf);
    let seconds = if is_none(seconds) { None } else { Some(PyFloat_AsDouble(seconds)) };
    if error::occurred() {
        return Err(Raised);
    }
    home::epoll_of(pool)?;
    let timer = match pool.with(|state| state.timer()) {
        Some(timer) => timer,
        None => {
            let timer = Rc::new(io_result(Timer::new())?);
            io_result(pool.with(|state| state.set_timer(timer.clone())))?;
            timer
        }
    };
    io_result(timer.set(seconds))?;
    Ok(none())
});

// `wait(seconds)`: serves the pool in this thread, once something comes; for who waits for its end.
onearg!(wait, |slf, seconds| {
    let seconds = PyFloat_AsDouble(seconds);
    if error::occurred() {
        return Err(Raised);
    }
    let Some(epoll) = of(slf).with(|state| state.epoll()) else { return Ok(none()) };
    let mut events = Events::default();
    // Nothing between the two calls touches a Python object; the set is held.
    let thread = PyEval_SaveThread();
    let waited = epoll.wait(&mut events, Some(seconds));
    PyEval_RestoreThread(thread);
    if let Err(why) = waited
        && why.kind() != std::io::ErrorKind::Interrupted
    {
        return raise_io(&why);
    }
    check(PyErr_CheckSignals())?;
    results::pump(slf)?;
    Ok(none())
});

noargs!(to_reactor, |slf| {
    home::to_reactor(slf)?;
    Ok(none())
});

noargs!(has_home, |slf| Ok(boolean(!matches!(of(slf).home(), Home::None))));

// `leave_home()`: nobody serves it, until somebody uses it or waits for it.
noargs!(leave_home, |slf| {
    home::leave(slf, of(slf));
    Ok(none())
});

// `home()`: the loop that serves it, "reactor", or None.
noargs!(home_of, |slf| {
    match of(slf).home() {
        Home::None => Ok(none()),
        Home::Loop(loop_) => Ok(loop_),
        Home::Reactor | Home::Lent(_) => crate::ffi::object::string("reactor"),
    }
});

// `close()`: lets go of everything.
noargs!(close, |slf| {
    let pool = of(slf);
    pool.end();
    home::leave(slf, pool);
    pool.clear();
    Ok(none())
});

// `dispatch()`: gives waiting tasks to workers that have room.
noargs!(dispatch, |slf| {
    schedule::dispatch(of(slf))?;
    Ok(none())
});

getter!(get_spin, |_slf| int(spin::limit() as i64));
// Whether the caller runs inside a turn of the pool's, as a done callback does.
getter!(get_in_turn, |slf| Ok(boolean(of(slf).is_served_here())));
getter!(get_full, |slf| Ok(boolean(of(slf).is_full())));
getter!(get_outstanding, |slf| int(of(slf).outstanding() as i64));

/// What the manager may set, as an attribute; `$deleted` is what it is when it is deleted.
macro_rules! flag {
    ($get:ident, $set:ident, $flag:expr, $deleted:literal) => {
        getter!($get, |slf| Ok(boolean(of(slf).has($flag))));
        setter!($set, |slf, value| {
            let value = if value.is_null() { $deleted } else { truth(value)? };
            of(slf).put($flag, value);
            Ok(())
        });
    };
}

flag!(get_stays, set_stays, Flag::Stays, false);
flag!(get_by_value, set_by_value, Flag::ByValue, false);
flag!(get_on_demand, set_on_demand, Flag::OnDemand, false);
flag!(get_closed, set_closed, Flag::Closed, true);
flag!(get_tell_idle, set_tell_idle, Flag::TellIdle, false);

// Methods of the manager that it gives to others to call: as functions in C, they begin and end in one piece.

// `collected(reference)`: the executor is gone.
onearg!(collected, |slf, _reference| {
    if of(slf).manager().on_collected().is_err() {
        report(slf);
    }
    Ok(none())
});

onearg!(stop, |slf, future| of(slf).manager().stop(future));
onearg!(stop_cancelled, |slf, future| of(slf).manager().stop_cancelled(future));
onearg!(begin_shutdown, |slf, cancel_futures| of(slf).manager().begin_shutdown(cancel_futures));

// `call_back(futures, future)`: calls the callbacks of a future of ours that is a key of the dict, and takes it out: once.
fastcall!(call_back, |_slf, args| {
    args.require(&["futures", "future"], "call_back")?;
    let given = args.positional();
    let (futures, future) = (given[0], Obj::new(given[1]));
    match PyDict_Contains(futures, future.as_ptr()) {
        0 => return Ok(none()),
        1 => check(PyDict_DelItem(futures, future.as_ptr()))?,
        _ => return Err(Raised),
    }
    future::invoke_callbacks(future.as_ptr(), future::of(future.as_ptr()))?;
    Ok(none())
});

/// # Safety
/// `kind` is the pool's type or one derived from it, `args` a tuple.
unsafe extern "C" fn tp_new(kind: *mut PyTypeObject, args: Raw, _: Raw) -> Raw {
    // SAFETY: fills the zeroed body of a fresh object; the collector may look at it only after this.
    guarded(NULL, || unsafe {
        let made = PyType_GenericAlloc(kind, 0);
        if made.is_null() {
            return NULL;
        }
        pool::fill(made);
        live::add(made);
        crate::ffi::object::ret(init(Obj::own(made), args))
    })
}

/// `ProcessPool(manager, max_workers, on_demand, max_pending)`.
fn init(made: Obj, args: Raw) -> Res {
    // SAFETY: `made` is a pool; the arguments are a tuple, whose size is checked.
    unsafe {
        if PyTuple_GET_SIZE(args) != 4 {
            return error::type_error(c"ProcessPool() takes manager, max_workers, on_demand and max_pending");
        }
        let item = |i| PyTuple_GET_ITEM(args, i);
        let pool = of(made.as_ptr());
        let max_pending = if is_none(item(3)) { None } else { Some(integer(item(3))?.max(1) as usize) };
        pool.set_up(Obj::new(item(0)), integer(item(1))?.max(1) as usize, max_pending);
        pool.put(Flag::OnDemand, truth(item(2))?);
        crate::wire::pickle::load()?;
        Ok(made)
    }
}

/// # Safety
/// `slf` is a process pool; the visitor is the collector's, which runs no Python.
unsafe extern "C" fn tp_traverse(slf: Raw, visit: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: a slot of the type: the interpreter calls it with an instance.
    unsafe {
        crate::ffi::guard::visit!(Py_TYPE(slf).cast(), visit, arg);
        of(slf).traverse(visit, arg)
    }
}

/// # Safety
/// `slf` is a process pool.
unsafe extern "C" fn tp_clear(slf: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded((), || unsafe {
        of(slf).clear();
        of(slf).manager().clear();
    });
    0
}

/// # Safety
/// `slf` is a process pool, to which no reference is left.
unsafe extern "C" fn tp_dealloc(slf: Raw) {
    // SAFETY: the last reference is gone: no home holds it, so it has none.
    guarded((), || unsafe {
        PyObject_GC_UnTrack(slf.cast());
        live::remove(slf);
        tp_clear(slf);
        pool::empty(slf);
        let kind = Py_TYPE(slf);
        if let Some(free) = (*kind).tp_free {
            free(slf.cast());
        }
        Py_DECREF(kind.cast());
    });
}

/// Makes the type; the module exports it.
pub fn load() -> Res<*mut PyTypeObject> {
    crate::wire::buffer::load()?;
    crate::wire::buffer::FORGET_GONE.set(live::forget_gone);
    crate::task::future::CALLED_OFF.set(recall::called_off);
    future::RECALL.set(future::Recall { has_begun: recall::has_begun, cancel: recall::cancel });
    super::patience::LEND.set(home::lend);
    TypeDef::new(c"aioxide._aioxide.ProcessPool", size_of::<PoolObject>() - size_of::<PyObject>())
        .doc(c"The native core of aioxide.ProcessPoolExecutor.")
        .slot(Py_tp_new, tp_new as *mut c_void)
        .collector(tp_traverse, tp_clear, tp_dealloc)
        .fast(c"submit", submit_task, c"Queue a task for a future.")
        .fast(c"run_for_loop", run_for_loop, c"Queue a task for a loop; return the loop's future.")
        .onearg(c"find", find, c"Say where the task of a future is.")
        .onearg(c"withdraw", withdraw, c"Take the task of a future back.")
        .onearg(c"take_pending", take_pending, c"Take out the tasks that no worker has.")
        .onearg(c"collected", collected, c"Tell the manager that the executor is gone.")
        .onearg(c"stop", stop, c"Cancel a future though its call runs.")
        .onearg(c"stop_cancelled", stop_cancelled, c"Stop the call of a future that was cancelled.")
        .onearg(c"begin_shutdown", begin_shutdown, c"Take no more calls.")
        .fast(c"call_back", call_back, c"Call the callbacks of a future, once.")
        .onearg(c"fail_lost", fail_lost, c"Fail the tasks that were with dead workers.")
        .onearg(c"fail_all", fail_all, c"Fail every task.")
        .fast(c"prepare", prepare, c"Make what a worker needs.")
        .onearg(c"is_started", is_started, c"Return True if that worker has started.")
        .onearg(c"is_replaced", is_replaced, c"Return True if a worker was started in the place of that one.")
        .fast(c"started", started, c"Let tasks go to a worker.")
        .onearg(c"abandon", abandon, c"Forget a worker that could not be started.")
        .fast(c"bury", bury, c"Take a dead worker out.")
        .onearg(c"exit_worker", exit_worker, c"Tell a worker to end.")
        .onearg(c"take_back", take_back, c"Take back what a worker has not begun with.")
        .fast(c"signal", signal, c"Send a signal to a worker.")
        .fast(c"stop_task", stop_task, c"Interrupt a task, once.")
        .noargs(c"workers", workers, c"List the workers.")
        .noargs(c"counts", counts, c"Count tasks.")
        .onearg(c"set_timer", set_timer, c"Have the manager called later.")
        .onearg(c"wait", wait, c"Serve the pool in this thread.")
        .noargs(c"to_reactor", to_reactor, c"Have the reactor thread serve the pool.")
        .noargs(c"has_home", has_home, c"Return True if somebody serves the pool.")
        .noargs(c"home", home_of, c"Return who serves the pool.")
        .noargs(c"leave_home", leave_home, c"Have nobody serve the pool.")
        .noargs(c"close", close, c"Let go of everything.")
        .noargs(c"dispatch", dispatch, c"Give waiting tasks to workers.")
        .get(c"outstanding", get_outstanding)
        .get(c"full", get_full)
        .get(c"in_turn", get_in_turn)
        .get(c"spin", get_spin)
        .getset(c"stays", get_stays, set_stays)
        .getset(c"by_value", get_by_value, set_by_value)
        .getset(c"on_demand", get_on_demand, set_on_demand)
        .getset(c"closed", get_closed, set_closed)
        .getset(c"tell_idle", get_tell_idle, set_tell_idle)
        .build(NULL)
}

noargs!(
    /// `forked_pools()`, called in a child of fork.
    forked_pools,
    |_module| {
        home::forked();
        Ok(none())
    }
);

onearg!(
    /// `shared_memory(size)`: a new writable buffer that is passed between the processes of a pool without a copy.
    shared_memory,
    |_module, size| crate::wire::buffer::new_shared(crate::wire::slab::size_from(size)?)
);

onearg!(
    /// `shared_id(buffer)`: the number of the slab that a buffer of `shared_memory` lies in.
    shared_id,
    |_module, buffer| crate::wire::buffer::id_of(buffer)
);
