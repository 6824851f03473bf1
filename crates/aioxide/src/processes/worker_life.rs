//! The life of workers, as the manager drives it: prepared, started, stopped, told to end, buried. Methods of the pool.

use std::os::fd::AsRawFd;

use aioxide_sys::memfd::{self, Mapping};
use aioxide_sys::{channel, process};
use pyo3_ffi::PyDict_SetItem;

use super::pool::Pool;
use super::worker::Worker;
use super::{home, results, schedule};
use crate::engine::loop_object::io_result;
use crate::ffi::calls::tuple;
use crate::ffi::number::as_i64;
use crate::ffi::object::{boolean, check, int};
use crate::ffi::{Args, First, Obj, Ref, Res};
use crate::wire::page;

/// False where it is gone.
fn signal_to(pool: &Pool, key: u32, number: i32) -> bool {
    pool.with(|state| state.worker(key).is_some_and(|worker| worker.signal(number)))
}

/// `prepare(budget, replaces)`: the makings of a worker: `(key, sock, page, lifeline)`, the last three descriptors for the
/// child, which are closed when it has started. `replaces` is the key of the worker in whose place it is started, or 0.
pub fn prepare(pool: &Pool, args: Args) -> Res {
    let [budget, replaces] = args.first(["budget", "replaces"], "prepare")?;
    let replaces = as_i64(replaces)? as u32;
    let budget = if budget.is_none() { u64::MAX } else { as_i64(budget)?.max(1) as u64 };
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
    tuple(&items.each_ref().map(Obj::borrow))
}

/// `is_replaced(key)`: whether a worker was started in its place.
pub fn is_replaced(pool: &Pool, key: Ref) -> Res<bool> {
    let key = as_i64(key)? as u32;
    let is_one = |worker: &Worker| worker.replaces() == key && worker.is_here();
    Ok(pool.with(|state| state.workers().iter().any(is_one)))
}

/// `is_started(key)`: whether that is a worker, and no start that was cut short.
pub fn is_started(pool: &Pool, key: Ref) -> Res<bool> {
    let key = as_i64(key)? as u32;
    Ok(pool.with(|state| state.worker(key).is_some_and(|worker| worker.is_here())))
}

/// `started(key, pid)`: the child is there; tasks may go to it. Once, however often it is called.
pub fn started(pool: &Pool, args: Args) -> Res<()> {
    let [key, pid] = args.first(["key", "pid"], "started")?;
    let (key, pid) = (as_i64(key)? as u32, as_i64(pid)? as i32);
    io_result(pool.note_started(key, pid, process::open(pid).ok()))?;
    schedule::dispatch(pool)
}

/// `abandon(key)`: the child could not be started.
pub fn abandon(pool: &Pool, key: Ref) -> Res<()> {
    drop(pool.remove_worker(as_i64(key)? as u32));
    Ok(())
}

/// `bury(key, buried)`: the child is dead. What it had sent is received; tasks that it had not begun with are queued again, the
/// others kept for `fail_lost`; `buried[key]` says whether it was ready. Nothing where that was done before.
pub fn bury(pool: &Pool, args: Args) -> Res<()> {
    let [key, buried] = args.first(["key", "buried"], "bury")?;
    let key = as_i64(key)? as u32;
    let mut raised = First::default();
    raised.note(results::receive(pool, key));
    if let Some(mut worker) = pool.remove_worker(key) {
        let ready = boolean(worker.is_ready());
        pool.with(|state| state.bury(&mut worker));
        drop(worker);
        // SAFETY: raises for what is no dict.
        check(unsafe { PyDict_SetItem(buried.as_ptr(), int(key.into())?.as_ptr(), ready.as_ptr()) })?;
    }
    raised.raise()
}

/// `exit_worker(key)`: takes back what it has not begun with, and tells it to end when it is done.
pub fn exit_worker(pool: &Pool, key: Ref) -> Res<()> {
    let key = as_i64(key)? as u32;
    pool.with(|state| {
        let Some(worker) = state.worker(key) else { return };
        let Some(again) = worker.dismiss() else { return };
        state.requeue(again);
        state.flush(key);
    });
    schedule::dispatch(pool)
}

/// `take_back(key)`: the worker gets no more tasks, and those that it has not begun with are queued again.
pub fn take_back(pool: &Pool, key: Ref) -> Res<()> {
    let key = as_i64(key)? as u32;
    pool.with(|state| {
        let Some(worker) = state.worker(key) else { return };
        worker.retire();
        let again = worker.revoke(usize::MAX);
        state.requeue(again);
    });
    schedule::dispatch(pool)
}

/// `signal(key, number)`: false where it is gone.
pub fn signal(pool: &Pool, args: Args) -> Res<bool> {
    let [key, number] = args.first(["key", "number"], "signal")?;
    Ok(signal_to(pool, as_i64(key)? as u32, as_i64(number)? as i32))
}

/// `stop_task(key, id, number)`: interrupts a task by a signal: once, however often it is called.
pub fn stop_task(pool: &Pool, args: Args) -> Res<()> {
    let [key, id, number] = args.first(["key", "id", "number"], "stop_task")?;
    let (key, id, number) = (as_i64(key)? as u32, as_i64(id)? as u64, as_i64(number)? as i32);
    if pool.with(|state| state.worker(key).is_some_and(|worker| worker.stop(id))) {
        signal_to(pool, key, number);
    }
    Ok(())
}
