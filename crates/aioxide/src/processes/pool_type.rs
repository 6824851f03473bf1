//! `_aioxide.ProcessPool`: what `_processes.py` and its manager call.

use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use aioxide_sys::epoll::{Events, Interest};
use aioxide_sys::memfd::{self, Mapping};
use aioxide_sys::process::{self, Timer};
use aioxide_sys::socket;
use pyo3_ffi::*;

use super::pool::{self, Event, Home, Pool, PoolObject, event_data};
use super::recall::{self, take_pending, withdraw};
use super::statistics::{counts, find, workers};
use super::task::{Target, TaskBox};
use super::worker::Worker;
use super::{ends, home, live, manager, results, schedule};
use crate::calls::future;
use crate::engine::loop_call::LoopCall;
use crate::engine::loop_object::io_result;
use crate::engine::spin;
use crate::ffi::error::raise_io;
use crate::ffi::guard::{fastcall, getter, guarded, noargs, onearg, setter};
use crate::ffi::names::intern;
use crate::ffi::object::{boolean, call, call_method, check, int, is_none, none, truth, tuple};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{NULL, Obj, Raised, Raw, Res, error};
use crate::task::loop_state::{native_state, thread_ident};
use crate::wire::page;
use crate::wire::payload::Payload;

/// # Safety
/// `slf` is a pool object, as every receiver of a method below.
#[inline(always)]
unsafe fn of<'a>(slf: Raw) -> &'a Pool {
    // SAFETY: the receiver of a method of the type, alive for the call.
    unsafe { pool::of(slf) }
}

fn integer(value: Raw) -> Res<i64> {
    // SAFETY: converts or raises.
    let number = unsafe { PyLong_AsLongLong(value) };
    if number == -1 && error::occurred() { Err(Raised) } else { Ok(number) }
}

// ---------------------------------------------------------------------------------------------------------- tasks

/// Asks the manager first where the pool is not simply open: it raises, or waits for room.
#[cold]
fn admit(pool: &Pool) -> Res<()> {
    let manager = pool.manager.or_none();
    call_method(intern(c"admit")?, &[manager.as_ptr()]).map(drop)
}

/// While a worker was started and objects were made, other threads may have run: the pool may be shut down or broken by now.
fn check_still_open(pool: &Pool) -> Res<()> {
    if pool.closed.get() { admit(pool) } else { Ok(()) }
}

fn check_open(pool: &Pool, may_wait: bool) -> Res<()> {
    if pool.closed.get() || (may_wait && pool.is_full()) {
        admit(pool)?;
    }
    if schedule::wants_worker(pool) {
        // Not repeated: whoever submits gets what is raised. But nothing stays half started.
        let (name, first_key) = (intern(c"start_worker")?, pool.next_key.get());
        let started = call_method(name, &[pool.manager.or_none().as_ptr()]);
        if started.is_err() {
            manager::undo_starts(pool, first_key);
        }
        started?;
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
    schedule::enqueue(pool, Target::Call(waiting), call)?;
    Ok(future)
});

// `fail_lost(make)`: the tasks that were with dead workers fail, each with an exception of its own: `make(future)`.
onearg!(fail_lost, |slf, make| {
    let tasks = of(slf).with(|state| std::mem::take(&mut state.lost));
    fail(of(slf), tasks, make)
});

// `fail_all(make)`: every task fails.
onearg!(fail_all, |slf, make| {
    let tasks = of(slf).with(|state| {
        let mut tasks = std::mem::take(&mut state.lost);
        for worker in &mut state.workers {
            tasks.extend(worker.slots.iter_mut().filter_map(Option::take));
            worker.inflight = 0;
            worker.closing = true;
        }
        tasks.sort_by_key(|task| task.id);
        tasks.extend(std::mem::take(&mut state.pending));
        tasks
    });
    fail(of(slf), tasks, make)
});

fn fail(pool: &Pool, tasks: Vec<TaskBox>, make: Raw) -> Res {
    let (count, mut raised) = (tasks.len(), None);
    for task in tasks {
        if let Ok((exception, interrupt)) = manager::whole(|| call(make, &[task.target.future().as_ptr()])) {
            raised = raised.or(interrupt);
            error::raise_value(exception);
        }
        ends::finish(pool, task.target, Err(Raised));
        ends::task_gone(pool);
    }
    manager::told((int(count as i64)?, raised))
}

// --------------------------------------------------------------------------------------------------------- workers

// `prepare(budget, replaces)`: the makings of a worker: `(key, sock, page, lifeline)`, the last three descriptors for the
// child, which are closed when it has started. `replaces` is the key of the worker in whose place it is started, or 0.
fastcall!(prepare, |slf, args| {
    args.require(&["budget", "replaces"], "prepare")?;
    let (pool, budget) = (of(slf), args.positional()[0]);
    let replaces = integer(args.positional()[1])? as u32;
    let budget = if is_none(budget) { u64::MAX } else { integer(budget)?.max(1) as u64 };
    home::epoll_of(pool)?;
    let (ours, theirs) = io_result(socket::pair())?;
    let (reading, writing) = io_result(process::lifeline())?;
    let page = io_result(memfd::create_page("aioxide-page"))?;
    let map = io_result(Mapping::new(&page, page::SIZE))?;
    let key = pool.next_key.get();
    pool.next_key.set(key + 1);
    let given = [theirs, page, reading];
    let numbers = given.each_ref().map(AsRawFd::as_raw_fd);
    let mut worker = Worker::new(key, ours, writing, map, budget);
    (worker.theirs, worker.replaces) = (Some(given), replaces);
    pool.with(|state| state.workers.push(worker));
    let items = [int(key.into())?, int(numbers[0].into())?, int(numbers[1].into())?, int(numbers[2].into())?];
    tuple(&items.each_ref().map(Obj::as_ptr))
});

// `is_replaced(key)`: whether a worker was started in its place.
onearg!(is_replaced, |slf, key| {
    let key = integer(key)? as u32;
    let is_one = |worker: &Worker| worker.replaces == key && worker.pid != 0;
    Ok(boolean(of(slf).with(|state| state.workers.iter().any(is_one))))
});

// `is_started(key)`: whether that is a worker, and no start that was cut short.
onearg!(is_started, |slf, key| {
    let key = integer(key)? as u32;
    Ok(boolean(of(slf).with(|state| state.worker(key).is_some_and(|worker| worker.pid != 0))))
});

// `started(key, pid)`: the child is there; tasks may go to it. Once, however often it is called.
fastcall!(started, |slf, args| {
    args.require(&["key", "pid"], "started")?;
    let (pool, key) = (of(slf), integer(args.positional()[0])? as u32);
    let pid = integer(args.positional()[1])? as i32;
    let pidfd = process::open(pid);
    let registered = pool.with(|state| {
        let Some(epoll) = state.epoll.clone() else { return Ok(()) };
        let Some(worker) = state.worker(key).filter(|worker| worker.pid == 0) else { return Ok(()) };
        epoll.add(worker.sock.as_raw_fd(), Interest::IN, event_data(key, Event::Socket))?;
        if let Ok(pidfd) = pidfd {
            epoll.add(pidfd.as_raw_fd(), Interest::IN, event_data(key, Event::Death))?;
            worker.pidfd = Some(pidfd);
        }
        worker.pid = pid;
        worker.theirs = None;
        Ok(())
    });
    registered.or_else(|why: std::io::Error| raise_io(&why))?;
    schedule::dispatch(pool)?;
    Ok(none())
});

// `abandon(key)`: the child could not be started.
onearg!(abandon, |slf, key| {
    drop(of(slf).remove_worker(integer(key)? as u32));
    Ok(none())
});

// `bury(key, buried)`: the child is dead. What it had sent is received; tasks that it had not begun with are queued again, the
// others kept for `fail_lost`; `buried[key]` says whether it was ready. Nothing where that was done before.
fastcall!(bury, |slf, args| {
    args.require(&["key", "buried"], "bury")?;
    let (pool, key, buried) = (of(slf), integer(args.positional()[0])? as u32, args.positional()[1]);
    let received = results::receive(pool, key);
    let raised = if received.is_err() { error::take() } else { None };
    let Some(mut worker) = pool.remove_worker(key) else { return manager::told((none(), raised)) };
    let mut again = worker.revoke(usize::MAX);
    again.sort_by_key(|task| std::cmp::Reverse(task.id));
    let lost: Vec<TaskBox> = worker.slots.iter_mut().filter_map(Option::take).collect();
    lost.iter().filter_map(|task| task.payload()).for_each(Payload::take_back);
    let ready = boolean(worker.ready);
    pool.with(|state| {
        again.into_iter().for_each(|task| state.pending.push_front(task));
        state.lost.extend(lost);
    });
    drop(worker);
    check(PyDict_SetItem(buried, int(key.into())?.as_ptr(), ready.as_ptr()))?;
    manager::told((none(), raised))
});

// `exit_worker(key)`: takes back what it has not begun with, and tells it to end when it is done.
onearg!(exit_worker, |slf, key| {
    let (pool, key) = (of(slf), integer(key)? as u32);
    pool.with(|state| {
        let Some(worker) = state.worker(key) else { return };
        if worker.exit_sent {
            return;
        }
        let again = if worker.budget == u64::MAX { Vec::new() } else { worker.revoke(usize::MAX) };
        worker.send_exit();
        again.into_iter().for_each(|task| state.pending.push_front(task));
        state.flush(key);
    });
    schedule::dispatch(pool)?;
    Ok(none())
});

// `take_back(key)`: the worker gets no more tasks, and those that it has not begun with are queued again.
onearg!(take_back, |slf, key| {
    let (pool, key) = (of(slf), integer(key)? as u32);
    pool.with(|state| {
        let Some(worker) = state.worker(key) else { return };
        worker.closing = true;
        let again = worker.revoke(usize::MAX);
        again.into_iter().for_each(|task| state.pending.push_front(task));
    });
    schedule::dispatch(pool)?;
    Ok(none())
});

// `signal(key, number)`: false where it is gone.
fastcall!(signal, |slf, args| {
    args.require(&["key", "number"], "signal")?;
    let given = args.positional();
    Ok(boolean(of(slf).signal(integer(given[0])? as u32, integer(given[1])? as i32)))
});

// `stop_task(key, id, number)`: interrupts a task by a signal: once, however often it is called.
fastcall!(stop_task, |slf, args| {
    args.require(&["key", "id", "number"], "stop_task")?;
    let given = args.positional();
    let (key, id, number) = (integer(given[0])? as u32, integer(given[1])? as u64, integer(given[2])? as i32);
    let fresh = of(slf).with(|state| {
        let Some(worker) = state.worker(key).filter(|worker| worker.stopping != id) else { return false };
        worker.stopping = id;
        worker.page().stop.store(id, Ordering::Release);
        true
    });
    if fresh {
        of(slf).signal(key, number);
    }
    Ok(none())
});

// ------------------------------------------------------------------------------------------------------------ life

// `set_timer(seconds)`: calls the manager's `on_timer` then; None takes it back.
onearg!(set_timer, |slf, seconds| {
    let pool = of(slf);
    let seconds = if is_none(seconds) { None } else { Some(PyFloat_AsDouble(seconds)) };
    if error::occurred() {
        return Err(Raised);
    }
    home::epoll_of(pool)?;
    let timer = match pool.with(|state| state.timer.clone()) {
        Some(timer) => timer,
        None => {
            let timer = Rc::new(io_result(Timer::new())?);
            let added = pool.with(|state| {
                let epoll = state.epoll.clone()?;
                state.timer = Some(timer.clone());
                Some(epoll.add(timer.fileno(), Interest::IN, event_data(0, Event::Timer)))
            });
            io_result(added.unwrap_or(Ok(())))?;
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
    let Some(epoll) = of(slf).with(|state| state.epoll.clone()) else { return Ok(none()) };
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

noargs!(has_home, |slf| Ok(boolean(of(slf).home.get() != Home::None)));

// `leave_home()`: nobody serves it, until somebody uses it or waits for it.
noargs!(leave_home, |slf| {
    home::leave(slf, of(slf));
    Ok(none())
});

// `home()`: the loop that serves it, "reactor", or None.
noargs!(home_of, |slf| {
    match of(slf).home.get() {
        Home::None => Ok(none()),
        Home::Loop => Ok(of(slf).home_loop.or_none()),
        Home::Reactor => crate::ffi::object::string("reactor"),
    }
});

// `close()`: lets go of everything.
noargs!(close, |slf| {
    let pool = of(slf);
    pool.closed.set(true);
    pool.ended.set(true);
    pool.tell_idle.set(false);
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
getter!(get_in_turn, |slf| Ok(boolean(of(slf).pumping.get() == thread_ident())));
getter!(get_stays, |slf| Ok(boolean(of(slf).stays.get())));
setter!(set_stays, |slf, value| {
    of(slf).stays.set(!value.is_null() && truth(value)?);
    Ok(())
});
getter!(get_by_value, |slf| Ok(boolean(of(slf).by_value.get())));
setter!(set_by_value, |slf, value| {
    of(slf).by_value.set(!value.is_null() && truth(value)?);
    Ok(())
});
getter!(get_on_demand, |slf| Ok(boolean(of(slf).on_demand.get())));
setter!(set_on_demand, |slf, value| {
    of(slf).on_demand.set(!value.is_null() && truth(value)?);
    Ok(())
});
getter!(get_full, |slf| Ok(boolean(of(slf).is_full())));
getter!(get_outstanding, |slf| int(of(slf).outstanding.get() as i64));
getter!(get_closed, |slf| Ok(boolean(of(slf).closed.get())));
setter!(set_closed, |slf, value| {
    of(slf).closed.set(value.is_null() || truth(value)?);
    Ok(())
});
getter!(get_tell_idle, |slf| Ok(boolean(of(slf).tell_idle.get())));
setter!(set_tell_idle, |slf, value| {
    of(slf).tell_idle.set(!value.is_null() && truth(value)?);
    Ok(())
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
        (&raw mut (*made.cast::<PoolObject>()).pool).write(Pool::new());
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
        pool.manager.set(Obj::new(item(0)));
        pool.max_workers.set(integer(item(1))?.max(1) as usize);
        pool.on_demand.set(truth(item(2))?);
        if !is_none(item(3)) {
            pool.max_pending.set(integer(item(3))?.max(1) as usize);
        }
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
        of(slf).manager.clear();
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
        std::ptr::drop_in_place(&raw mut (*slf.cast::<PoolObject>()).pool);
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
        .onearg(c"collected", manager::collected, c"Tell the manager that the executor is gone.")
        .onearg(c"stop", manager::stop, c"Cancel a future though its call runs.")
        .onearg(c"stop_cancelled", manager::stop_cancelled, c"Stop the call of a future that was cancelled.")
        .onearg(c"begin_shutdown", manager::begin_shutdown, c"Take no more calls.")
        .fast(c"call_back", manager::call_back, c"Call the callbacks of a future, once.")
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
