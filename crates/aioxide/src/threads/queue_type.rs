//! `WorkQueue`, which the workers of a thread pool share with it: a worker must not keep its pool alive.

use std::ffi::c_void;

use pyo3_ffi::*;

use super::queue::{self, Limits, Queue, TYPE, WorkQueue};
use super::{work_items, worker};
use crate::calls::counters;
use crate::engine::spin;
use crate::ffi::calls::tuple;
use crate::ffi::class::{Class, Native};
use crate::ffi::guard::guarded;
use crate::ffi::named_tuple::NamedTuple;
use crate::ffi::number::as_f64;
use crate::ffi::object::{boolean, float, int, list, ret, truth};
use crate::ffi::{Args, NULL, Obj, Raised, Raw, Ref, Res, error};

/// `WorkQueue(max_workers, max_pending, idle_timeout, spin)`: checked by `aioxide._threads`; `spin` in seconds, or
/// `None` for the process's own limit.
///
/// # Safety
/// `kind` is the queue's type, `args` a tuple.
unsafe extern "C" fn queue_new(kind: *mut PyTypeObject, args: Raw, _: Raw) -> Raw {
    guarded(NULL, || {
        // SAFETY: a tuple, which keeps its items for the call; whoever makes one of no other size looks at it no further.
        let given = unsafe {
            (PyTuple_GET_SIZE(args) == 4).then(|| [0, 1, 2, 3].map(|at| Ref::new(PyTuple_GET_ITEM(args, at))))
        };
        let Some(given) = given else {
            return ret(error::type_error(c"WorkQueue is made by aioxide.ThreadPoolExecutor"));
        };
        // SAFETY: the interpreter's word for the type.
        ret(described(given).and_then(|queue| unsafe { WorkQueue::make(kind, queue) }))
    })
}

/// Converts what `aioxide._threads` has checked.
fn described([most, pending, idle, spin]: [Ref; 4]) -> Res<Queue> {
    let real = |value: Ref| if value.is_none() { Ok(None) } else { as_f64(value).map(Some) };
    let most = workers_of(most)?;
    let limits = Limits {
        max_pending: if pending.is_none() { 0 } else { unsigned(pending)? as usize },
        idle_timeout: real(idle)?,
        spin: match real(spin)? {
            None => spin::limit(spin.py()),
            Some(_) if spin::processors(spin.py()) < 2 => 0,
            Some(seconds) => spin::ticks(seconds * 1e6),
        },
    };
    Ok(Queue::new(most, limits))
}

fn workers_of(value: Ref) -> Res<u32> {
    Ok(unsigned(value)?.min(u64::from(u32::MAX)) as u32)
}

fn unsigned(value: Ref) -> Res<u64> {
    // SAFETY: converts or raises.
    let number = unsafe { PyLong_AsUnsignedLongLong(value.as_ptr()) };
    if error::occurred() { Err(Raised) } else { Ok(number) }
}

fn break_down(this: &WorkQueue, args: Args) -> Res<()> {
    let [class, reason] = args.first(["cls", "reason"], "WorkQueue.break_down")?;
    this.queue.break_down(class.to_obj(), reason.to_obj());
    Ok(())
}

/// Rows of (thread identifier, function, seconds since its start), one for each worker that runs a call.
fn running(this: &WorkQueue) -> Res {
    let mut rows = Vec::new();
    for seat in this.queue.seats() {
        if let Some((function, begun)) = seat.running(this.py()) {
            // SAFETY: plain constructor.
            let thread = unsafe { Obj::steal(PyLong_FromUnsignedLongLong(seat.thread)) }?;
            let seconds = float(spin::seconds(queue::since(begun)))?;
            rows.push(tuple(&[&thread, &function, &seconds].map(Obj::borrow))?);
        }
    }
    list(&rows)
}

static STATS: NamedTuple<9> = NamedTuple::new(
    c"aioxide._aioxide.ThreadPoolCounts",
    [c"queued", c"idle", c"threads", c"submitted", c"done", c"failed", c"cancelled", c"wait", c"run"],
);

fn stats(this: &WorkQueue) -> Res {
    let queue = &this.queue;
    let now = [queue.len(), queue.idle_len(), queue.seats().len()];
    let [submitted, done, failed, cancelled] = queue.counters().numbers()?;
    let [wait, run] = queue.counters().times(spin::seconds)?;
    let [queued, idle, threads] = now.map(|number| counters::count(number as u64));
    STATS.make([queued?, idle?, threads?, submitted, done, failed, cancelled, wait, run])
}

fn set_max_workers(this: &WorkQueue, value: Option<Ref>) -> Res<()> {
    let Some(value) = value else { return error::type_error(c"cannot delete it") };
    this.queue.room().set_max_workers(workers_of(value)?);
    Ok(())
}

fn set_shutdown(this: &WorkQueue, value: Option<Ref>) -> Res<()> {
    this.queue.set_shut_down(value.map_or(Ok(false), truth)?);
    Ok(())
}

/// Makes the type; the module exports it.
pub fn load() -> Res<*mut PyTypeObject> {
    let class = Class::<WorkQueue>::new(c"aioxide._aioxide.WorkQueue")
        .also(|def| {
            def.doc(c"The calls and the workers of a thread pool.").slot(Py_tp_new, queue_new as *mut c_void)
        })
        .collected()
        .onearg(c"serve", |this, run| worker::serve(&this.queue, run), c"serve($self, run, /)\n--\n\nRun calls until the pool is over; return True if the worker retires for having been idle.")
        .noargs(c"qsize", |this| int(this.queue.len() as i64), c"qsize($self)\n--\n\nReturn how many calls are queued.")
        .noargs(c"empty", |this| this.queue.len() == 0, c"empty($self)\n--\n\nReturn True if no call is queued.")
        .noargs(c"wake", |this| this.queue.call_all(), c"Have idle workers look whether they should end.")
        .fast(c"put_item", work_items::put_item, c"put_item($self, item, function, /)\n--\n\nQueue a work item of the standard library's.")
        .noargs(c"put_none", |this| this.queue.put_none(), c"Queue what wakes one who waits, and is no call.")
        .fast(c"take", work_items::take, c"take($self, timeout, /)\n--\n\nTake out what is next: see aioxide._threads.items.")
        .onearg(c"shut_down", |this, cancel| truth(cancel).map(|cancel| this.queue.shut_down(cancel)), c"Take no more calls; with True, cancel those that are queued.")
        .fast(c"break_down", break_down, c"Fail all calls, now and later, with cls(reason).")
        .noargs(c"begin", |this| this.queue.note_asked(), c"The thread that was counted is asked to start: withdraw() has to be called if it does not come.")
        .noargs(c"withdraw", |this| this.queue.uncount(), c"A thread that was started does not come to serve.")
        .onearg(c"tell_of_room", |this, _| this.queue.room().tell(false), c"tell_of_room($self, future, /)\n--\n\nHave a thread that waits in submit() look for room.")
        .noargs(c"after_fork", |this| this.queue.after_fork(this.py()), c"Forget the parent's threads and calls.")
        .noargs(c"running", running, c"List what the workers run: (thread identifier, function, seconds).")
        .noargs(c"stats", stats, c"Return the numbers behind ThreadPoolExecutor.stats().")
        .getset(c"is_shut_down", |this| this.queue.is_shut_down(), set_shutdown)
        .getset(c"max_workers", |this| int(this.queue.room().max_workers().into()), set_max_workers)
        .get(c"broken", |this| this.queue.why_broken().unwrap_or_else(|| boolean(false)))
        .build(None)?;
    TYPE.set(class);
    Ok(class)
}
