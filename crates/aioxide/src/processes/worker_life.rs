//! The life of workers, as the manager drives it: prepared, started, stopped, told to end, buried. Methods of the pool.

use std::os::fd::AsRawFd;

use aioxide_sys::memfd::{self, Mapping};
use aioxide_sys::{channel, process};
use pyo3_ffi::*;

use super::pool::{self, Pool};
use super::worker::Worker;
use super::{home, results, schedule};
use crate::engine::loop_object::io_result;
use crate::ffi::error::raise_io;
use crate::ffi::guard::{fastcall, onearg};
use crate::ffi::object::{boolean, check, int, is_none, none, tuple};
use crate::ffi::{First, Obj, Raised, Raw, Res, error};
use crate::wire::page;

pub fn integer(value: Raw) -> Res<i64> {
    // SAFETY: converts or raises.
    let number = unsafe { PyLong_AsLongLong(value) };
    if number == -1 && error::occurred() { Err(Raised) } else { Ok(number) }
}

/// False where it is gone.
fn signal_to(pool: &Pool, key: u32, number: i32) -> bool {
    pool.with(|state| state.worker(key).is_some_and(|worker| worker.signal(number)))
}

// `prepare(budget, replaces)`: the makings of a worker: `(key, sock, page, lifeline)`, the last three descriptors for the
// child, which are closed when it has started. `replaces` is the key of the worker in whose place it is started, or 0.
fastcall!(prepare, |slf, args| {
    args.require(&["budget", "replaces"], "prepare")?;
    let (pool, budget) = (pool::of(slf), args.positional()[0]);
    let replaces = integer(args.positional()[1])? as u32;
    let budget = if is_none(budget) { u64::MAX } else { integer(budget)?.max(1) as u64 };
    home::epoll_of(pool)?;
    let (ours, theirs) = io_result(channel::pair())?;
    let (reading, writing) = io_result(process::lifeline())?;
    let page = io_result(memfd::create_page("aioxide-page"))?;
    let map = io_result(Mapping::new(&page, page::SIZE))?;
    let key = pool.manager().begin_start();
    let given = [theirs, page, reading];
    let numbers = given.each_ref().map(AsRawFd::as_raw_fd);
    let worker = Worker::new(key, [ours, writing], given, map, budget, replaces);
    pool.with(|state| state.add_worker(worker));
    let items = [int(key.into())?, int(numbers[0].into())?, int(numbers[1].into())?, int(numbers[2].into())?];
    tuple(&items.each_ref().map(Obj::as_ptr))
});

// `is_replaced(key)`: whether a worker was started in its place.
onearg!(is_replaced, |slf, key| {
    let key = integer(key)? as u32;
    let is_one = |worker: &Worker| worker.replaces() == key && worker.is_here();
    Ok(boolean(pool::of(slf).with(|state| state.workers().iter().any(is_one))))
});

// `is_started(key)`: whether that is a worker, and no start that was cut short.
onearg!(is_started, |slf, key| {
    let key = integer(key)? as u32;
    Ok(boolean(pool::of(slf).with(|state| state.worker(key).is_some_and(|worker| worker.is_here()))))
});

// `started(key, pid)`: the child is there; tasks may go to it. Once, however often it is called.
fastcall!(started, |slf, args| {
    args.require(&["key", "pid"], "started")?;
    let (pool, key) = (pool::of(slf), integer(args.positional()[0])? as u32);
    let pid = integer(args.positional()[1])? as i32;
    pool.note_started(key, pid, process::open(pid).ok()).or_else(|why| raise_io(&why))?;
    schedule::dispatch(pool)?;
    Ok(none())
});

// `abandon(key)`: the child could not be started.
onearg!(abandon, |slf, key| {
    drop(pool::of(slf).remove_worker(integer(key)? as u32));
    Ok(none())
});

// `bury(key, buried)`: the child is dead. What it had sent is received; tasks that it had not begun with are queued again, the
// others kept for `fail_lost`; `buried[key]` says whether it was ready. Nothing where that was done before.
fastcall!(bury, |slf, args| {
    args.require(&["key", "buried"], "bury")?;
    let (pool, key, buried) = (pool::of(slf), integer(args.positional()[0])? as u32, args.positional()[1]);
    let mut raised = First::default();
    raised.note(results::receive(pool, key));
    if let Some(mut worker) = pool.remove_worker(key) {
        let ready = boolean(worker.is_ready());
        pool.with(|state| state.bury(&mut worker));
        drop(worker);
        check(PyDict_SetItem(buried, int(key.into())?.as_ptr(), ready.as_ptr()))?;
    }
    raised.raise().map(|()| none())
});

// `exit_worker(key)`: takes back what it has not begun with, and tells it to end when it is done.
onearg!(exit_worker, |slf, key| {
    let (pool, key) = (pool::of(slf), integer(key)? as u32);
    pool.with(|state| {
        let Some(worker) = state.worker(key) else { return };
        let Some(again) = worker.dismiss() else { return };
        state.requeue(again);
        state.flush(key);
    });
    schedule::dispatch(pool)?;
    Ok(none())
});

// `take_back(key)`: the worker gets no more tasks, and those that it has not begun with are queued again.
onearg!(take_back, |slf, key| {
    let (pool, key) = (pool::of(slf), integer(key)? as u32);
    pool.with(|state| {
        let Some(worker) = state.worker(key) else { return };
        worker.retire();
        let again = worker.revoke(usize::MAX);
        state.requeue(again);
    });
    schedule::dispatch(pool)?;
    Ok(none())
});

// `signal(key, number)`: false where it is gone.
fastcall!(signal, |slf, args| {
    args.require(&["key", "number"], "signal")?;
    let given = args.positional();
    Ok(boolean(signal_to(pool::of(slf), integer(given[0])? as u32, integer(given[1])? as i32)))
});

// `stop_task(key, id, number)`: interrupts a task by a signal: once, however often it is called.
fastcall!(stop_task, |slf, args| {
    args.require(&["key", "id", "number"], "stop_task")?;
    let given = args.positional();
    let (key, id, number) = (integer(given[0])? as u32, integer(given[1])? as u64, integer(given[2])? as i32);
    let pool = pool::of(slf);
    if pool.with(|state| state.worker(key).is_some_and(|worker| worker.stop(id))) {
        signal_to(pool, key, number);
    }
    Ok(none())
});
