//! `_aioxide.ProcessPool`: what `_processes/executor.py` and its manager call.

use std::ffi::{c_int, c_void};
use std::rc::Rc;

use aioxide_sys::epoll::Events;
use aioxide_sys::timer::Timer;
use pyo3_ffi::*;

use super::interrupts::{report, told, whole};
use super::pool::{self, Flag, Home, Pool, PoolRef};
use super::recall::{self, take_pending, withdraw};
use super::state::State;
use super::statistics::{counts, find, workers};
use super::task::TaskBox;
use super::worker_life::{
    abandon, bury, exit_worker, is_replaced, is_started, prepare, signal, started, stop_task, take_back,
};
use super::{ends, home, live, results, schedule};
use crate::calls::future::{self, PoolFuture};
use crate::calls::target::Target;
use crate::engine::loop_call::LoopCall;
use crate::engine::loop_object::io_result;
use crate::engine::{LoopObject, spin};
use crate::ffi::calls::call;
use crate::ffi::class::{Class, Collected, Native};
use crate::ffi::error::raise_io;
use crate::ffi::guard::guarded;
use crate::ffi::number::{as_f64, as_i64};
use crate::ffi::object::{check, int, none, ret, string, truth};
use crate::ffi::{Args, First, NULL, Py, Raised, Raw, Ref, Res, error, gil};

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

/// `submit(future, fn, args, kwargs)`: queues a task, and returns its future: the one that is given, or a new one for None.
/// An exception from pickling goes to it.
fn submit_task(pool: &Pool, args: Args) -> Res {
    let [future, function, args, kwargs] = args.first(["future", "fn", "args", "kwargs"], "submit")?;
    check_open(pool, true)?;
    let future = if future.is_none() { future::new()? } else { future.to_obj() };
    let call = schedule::call_of(function, args, Some(kwargs))?;
    check_still_open(pool)?;
    home::to_reactor(pool)?;
    schedule::enqueue(pool, Target::Future(future.clone()), call)?;
    Ok(future)
}

/// `run_for_loop(loop, fn, args)`: the future of a loop for a task's result; None where that loop's futures have to be made
/// or finished by methods of the user's.
fn run_for_loop(pool: &Pool, args: Args) -> Res {
    let [loop_, function, args] = args.first(["loop", "fn", "args"], "run_for_loop")?;
    check_open(pool, false)?;
    let Some(loop_) = loop_.cast::<LoopObject>() else { return Ok(none()) };
    let Some(waiting) = LoopCall::new(&loop_.state, spin::limit(pool.py()))? else { return Ok(none()) };
    let future = waiting.future().clone();
    let call = schedule::call_of(function, args, None)?;
    check_still_open(pool)?;
    home::use_from_loop(pool, loop_)?;
    schedule::enqueue(pool, Target::Loop(waiting), call)?;
    Ok(future)
}

/// Each task fails, with an exception of its own: `make(future)`.
fn fail(pool: &Pool, tasks: Vec<TaskBox>, make: Ref) -> Res {
    let (count, mut raised) = (tasks.len(), First::default());
    for task in tasks {
        if let Ok((exception, interrupt)) = whole(|| call(make, &[task.target.future().borrow()])) {
            raised.keep(interrupt.exception());
            error::raise_value(exception);
        }
        ends::finish(pool, task.target, Err(Raised));
        ends::task_gone(pool);
    }
    told((int(count as i64)?, raised))
}

// ------------------------------------------------------------------------------------------------------------ life

/// `set_timer(seconds)`: calls the manager's `on_timer` then; None takes it back.
fn set_timer(pool: &Pool, seconds: Ref) -> Res<()> {
    let seconds = if seconds.is_none() { None } else { Some(as_f64(seconds)?) };
    home::epoll_of(pool)?;
    let timer = match pool.with(|state| state.timer()) {
        Some(timer) => timer,
        None => {
            let timer = Rc::new(io_result(Timer::new())?);
            io_result(pool.with(|state| state.set_timer(timer.clone())))?;
            timer
        }
    };
    io_result(timer.set(seconds))
}

/// `wait(seconds)`: serves the pool in this thread, once something comes; for who waits for its end.
fn wait(pool: &Pool, seconds: Ref) -> Res<()> {
    let seconds = as_f64(seconds)?;
    let Some(epoll) = pool.with(|state| state.epoll()) else { return Ok(()) };
    let mut events = Events::default();
    // SAFETY: waits for descriptors; the set is held.
    let waited = unsafe { gil::without(|| epoll.wait(&mut events, Some(seconds))) };
    if let Err(why) = waited
        && why.kind() != std::io::ErrorKind::Interrupted
    {
        return raise_io(&why);
    }
    // SAFETY: with the GIL.
    check(unsafe { PyErr_CheckSignals() })?;
    results::pump(pool)
}

/// `home()`: the loop that serves it, "reactor", or None.
fn home_of(pool: &Pool) -> Res {
    match pool.home() {
        Home::None => Ok(none()),
        Home::Loop(loop_) => Ok(loop_),
        Home::Reactor | Home::Lent(_) => string("reactor"),
    }
}

/// `close()`: lets go of everything.
fn close(pool: &Pool) {
    pool.end();
    home::leave(pool);
    pool.clear();
}

/// What the manager may set, as an attribute: one that is deleted is false, but the pool closed.
fn put(pool: &Pool, flag: Flag, value: Option<Ref>) -> Res<()> {
    let value = value.map_or(Ok(matches!(flag, Flag::Closed)), truth)?;
    pool.put(flag, value);
    Ok(())
}

// Methods of the manager that it gives to others to call: as functions in C, they begin and end in one piece.

/// `collected(reference)`: the executor is gone.
fn collected(pool: &Pool, _: Ref) {
    if pool.manager().on_collected().is_err() {
        report(pool.object());
    }
}

/// `call_back(futures, future)`: calls the callbacks of a future of ours that is a key of the dict, and takes it out: once.
fn call_back(_: &Pool, args: Args) -> Res<()> {
    let [futures, future] = args.first(["futures", "future"], "call_back")?;
    let future = future.to_obj();
    // SAFETY: the manager's dict of futures.
    match unsafe { PyDict_Contains(futures.as_ptr(), future.as_ptr()) } {
        0 => return Ok(()),
        // SAFETY: as above.
        1 => check(unsafe { PyDict_DelItem(futures.as_ptr(), future.as_ptr()) })?,
        _ => return Err(Raised),
    }
    // SAFETY: a future of ours, which is held.
    unsafe { future.borrow().cast_unchecked::<PoolFuture>() }.invoke_callbacks()
}

/// # Safety
/// `kind` is the pool's type or one derived from it, `args` a tuple.
unsafe extern "C" fn tp_new(kind: *mut PyTypeObject, args: Raw, _: Raw) -> Raw {
    // SAFETY: fills the zeroed body of a fresh object; the collector may look at it only after this.
    guarded(NULL, || unsafe {
        let made = PyType_GenericAlloc(kind, 0);
        if made.is_null() {
            return NULL;
        }
        let pool = Pool::fill(made);
        live::add(&pool);
        ret(init(pool, Ref::new(args)))
    })
}

/// `ProcessPool(manager, max_workers, on_demand, max_pending)`.
fn init(pool: PoolRef, args: Ref) -> Res {
    // SAFETY: the arguments of a constructor are a tuple.
    if unsafe { PyTuple_GET_SIZE(args.as_ptr()) } != 4 {
        return error::type_error(c"ProcessPool() takes manager, max_workers, on_demand and max_pending");
    }
    // SAFETY: it has four items.
    let item = |at| unsafe { Ref::new(PyTuple_GET_ITEM(args.as_ptr(), at)) };
    let max_pending = if item(3).is_none() { None } else { Some(as_i64(item(3))?.max(1) as usize) };
    pool.set_up(item(0).to_obj(), as_i64(item(1))?.max(1) as usize, max_pending);
    pool.put(Flag::OnDemand, truth(item(2))?);
    crate::wire::pickle::load()?;
    Ok(pool.into_obj())
}

// SAFETY: visits the loop, the manager and the tasks that it holds.
unsafe impl Collected for Pool {
    unsafe fn traverse(&self, visitor: visitproc, arg: *mut c_void) -> c_int {
        // SAFETY: the visitor is the collector's.
        unsafe { self.visit(visitor, arg) }
    }

    fn clear(&self) {
        // Before anything is released: that may run code which asks for all pools.
        live::remove(self);
        Pool::clear(self);
        self.manager().clear();
    }
}

/// What the floors below have this one do.
fn serve_below() {
    // SAFETY: a lease ends, and a future is asked or cancelled, with the GIL; a future lives for the call.
    unsafe {
        crate::wire::buffer::FORGET_GONE.set(|| live::forget_gone(Py::assume()));
        crate::task::future::CALLED_OFF.set(|future| recall::called_off(Ref::new(future)));
        future::RECALL.set(future::Recall { has_begun: recall::has_begun, cancel: recall::cancel });
    }
    super::patience::LEND.set(home::lend);
}

fn attributes(class: Class<Pool>) -> Class<Pool> {
    class
        .get(c"outstanding", |pool| int(pool.outstanding() as i64))
        .get(c"full", Pool::is_full)
        .get(c"in_turn", Pool::is_served_here)
        .get(c"spin", |pool| int(spin::limit(pool.py()) as i64))
        .getset(c"stays", |pool| pool.has(Flag::Stays), |pool, value| put(pool, Flag::Stays, value))
        .getset(c"by_value", |pool| pool.has(Flag::ByValue), |pool, value| put(pool, Flag::ByValue, value))
        .getset(c"on_demand", |pool| pool.has(Flag::OnDemand), |pool, value| put(pool, Flag::OnDemand, value))
        .getset(c"closed", |pool| pool.has(Flag::Closed), |pool, value| put(pool, Flag::Closed, value))
        .getset(c"tell_idle", |pool| pool.has(Flag::TellIdle), |pool, value| put(pool, Flag::TellIdle, value))
}

/// Makes the type; the module exports it.
pub fn load() -> Res<*mut PyTypeObject> {
    crate::wire::buffer::load()?;
    serve_below();
    let methods = Class::<Pool>::new(c"aioxide._aioxide.ProcessPool")
        .also(|def| {
            def.doc(c"The native core of aioxide.ProcessPoolExecutor.").slot(Py_tp_new, tp_new as *mut c_void)
        })
        .collected()
        .fast(c"submit", submit_task, c"Queue a task for a future.")
        .fast(c"run_for_loop", run_for_loop, c"Queue a task for a loop; return the loop's future.")
        .onearg(c"find", find, c"Say where the task of a future is.")
        .onearg(c"withdraw", withdraw, c"Take the task of a future back.")
        .onearg(c"take_pending", take_pending, c"Take out the tasks that no worker has.")
        .onearg(c"collected", collected, c"Tell the manager that the executor is gone.")
        .onearg(c"stop", |pool, future| pool.manager().stop(future), c"Cancel a future though its call runs.")
        .onearg(
            c"stop_cancelled",
            |pool, future| pool.manager().stop_cancelled(future),
            c"Stop the call of a future that was cancelled.",
        )
        .onearg(
            c"begin_shutdown",
            |pool, cancel| pool.manager().begin_shutdown(cancel),
            c"Take no more calls.",
        )
        .fast(c"call_back", call_back, c"Call the callbacks of a future, once.")
        .onearg(
            c"fail_lost",
            |pool, make| fail(pool, pool.with(State::take_lost), make),
            c"Fail the tasks that were with dead workers.",
        )
        .onearg(c"fail_all", |pool, make| fail(pool, pool.with(State::take_all), make), c"Fail every task.")
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
        .noargs(c"to_reactor", home::to_reactor, c"Have the reactor thread serve the pool.")
        .noargs(
            c"has_home",
            |pool| !matches!(pool.home(), Home::None),
            c"Return True if somebody serves the pool.",
        )
        .noargs(c"home", home_of, c"Return who serves the pool.")
        .noargs(c"leave_home", home::leave, c"Have nobody serve the pool.")
        .noargs(c"close", close, c"Let go of everything.")
        .noargs(c"dispatch", schedule::dispatch, c"Give waiting tasks to workers.");
    let class = attributes(methods).build(None)?;
    pool::CLASS.set(class);
    Ok(class)
}

/// `forked_pools()`, called in a child of fork.
pub fn forked_pools(module: Ref) {
    home::forked(module.py());
}

/// `shared_memory(size)`: a new writable buffer that is passed between the processes of a pool without a copy.
pub fn shared_memory(_: Ref, size: Ref) -> Res {
    crate::wire::buffer::new_shared(crate::wire::slab::size_from(size)?)
}

/// `shared_id(buffer)`: the number of the slab that a buffer of `shared_memory` lies in.
pub fn shared_id(_: Ref, buffer: Ref) -> Res {
    crate::wire::buffer::id_of(buffer)
}
