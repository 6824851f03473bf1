//! `WorkQueue`, which the workers of a thread pool share with it: a worker must not keep its pool alive.

use std::ffi::{c_int, c_void};

use pyo3_ffi::*;

use super::queue::{self, Limits, Queue, QueueObject, queue_of};
use super::{work_items, worker};
use crate::calls::counters;
use crate::engine::spin;
use crate::ffi::guard::{fastcall, getter, guarded, noargs, onearg, setter, visit};
use crate::ffi::named_tuple::NamedTuple;
use crate::ffi::object::{boolean, float, int, is_none, list, truth, tuple};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Global, NULL, Obj, Raised, Raw, Res, error, held, none};

/// `WorkQueue(max_workers, max_pending, idle_timeout, spin)`: checked by `aioxide._threads`; `spin` in seconds, or
/// `None` for the process's own limit.
///
/// # Safety
/// `kind` is the queue's type, `args` a tuple.
unsafe extern "C" fn queue_new(kind: *mut PyTypeObject, args: Raw, _: Raw) -> Raw {
    // SAFETY: a slot of the type; fills the zeroed body of a fresh object.
    guarded(NULL, || unsafe {
        let make = || -> Res {
            if PyTuple_GET_SIZE(args) != 4 {
                return error::type_error(c"WorkQueue is made by aioxide.ThreadPoolExecutor");
            }
            let most = workers_of(PyTuple_GET_ITEM(args, 0))?;
            let limits = limits_of(|at| PyTuple_GET_ITEM(args, at))?;
            let made = Obj::steal(PyType_GenericAlloc(kind, 0))?;
            queue::fill(made.as_ptr(), Queue::new(most, limits));
            Ok(made)
        };
        crate::ffi::object::ret(make())
    })
}

/// # Safety
/// `item(i)` is a live object for each i below 4.
unsafe fn limits_of(item: impl Fn(Py_ssize_t) -> Raw) -> Res<Limits> {
    // SAFETY: converts what `aioxide._threads` has checked, or raises.
    unsafe {
        let whole = |at| if is_none(item(at)) { Ok(0) } else { PyLong_AsUnsignedLongLong_(item(at)) };
        let real = |at| if is_none(item(at)) { None } else { Some(PyFloat_AsDouble(item(at))) };
        let limits = Limits {
            max_pending: whole(1)? as usize,
            idle_timeout: real(2),
            spin: match real(3) {
                None => spin::limit(),
                Some(_) if spin::processors() < 2 => 0,
                Some(seconds) => spin::ticks(seconds * 1e6),
            },
        };
        if error::occurred() { Err(Raised) } else { Ok(limits) }
    }
}

fn workers_of(value: Raw) -> Res<u32> {
    // SAFETY: converts or raises.
    Ok(unsafe { PyLong_AsUnsignedLongLong_(value) }?.min(u64::from(u32::MAX)) as u32)
}

/// # Safety
/// `value` is a live object.
#[allow(non_snake_case)]
unsafe fn PyLong_AsUnsignedLongLong_(value: Raw) -> Res<u64> {
    // SAFETY: converts or raises.
    let number = unsafe { PyLong_AsUnsignedLongLong(value) };
    if error::occurred() { Err(Raised) } else { Ok(number) }
}

onearg!(py_serve, |slf, run| {
    Ok(boolean(worker::serve(queue_of(slf), if is_none(run) { NULL } else { run })))
});

noargs!(py_qsize, |slf| int(queue_of(slf).len() as i64));
noargs!(py_empty, |slf| Ok(boolean(queue_of(slf).len() == 0)));

noargs!(py_wake, |slf| {
    queue_of(slf).call_all();
    Ok(none())
});

onearg!(py_shut_down, |slf, cancel| {
    queue_of(slf).shut_down(truth(cancel)?);
    Ok(none())
});

fastcall!(py_break_down, |slf, args| {
    args.require(&["cls", "reason"], "WorkQueue.break_down")?;
    queue_of(slf).break_down(Obj::new(args.get(0)), Obj::new(args.get(1)));
    Ok(none())
});

// A thread that was started never came to serve: its initializer failed.
// `begin()`: the thread that was counted is asked to start: from here on `withdraw` has to be called if it does not come.
noargs!(py_begin, |slf| {
    queue_of(slf).note_asked();
    Ok(none())
});

noargs!(py_withdraw, |slf| {
    queue_of(slf).uncount();
    Ok(none())
});

// A call of a loop may have been cancelled: a thread that waits for room looks.
onearg!(py_tell_of_room, |slf, _future| {
    queue_of(slf).room().tell(false);
    Ok(none())
});

noargs!(py_after_fork, |slf| {
    queue_of(slf).after_fork();
    Ok(none())
});

// Pairs of (thread identifier, function, seconds since its start), one for each worker that runs a call.
noargs!(py_running, |slf| {
    let mut rows = Vec::new();
    for seat in queue_of(slf).seats() {
        if let Some((function, begun)) = seat.running() {
            let thread = Obj::steal(PyLong_FromUnsignedLongLong(seat.thread))?;
            let seconds = float(spin::seconds(queue::since(begun)))?;
            rows.push(tuple(&[thread.as_ptr(), function.as_ptr(), seconds.as_ptr()])?);
        }
    }
    list(&rows)
});

static STATS: NamedTuple<9> = NamedTuple::new(
    c"aioxide._aioxide.ThreadPoolCounts",
    [c"queued", c"idle", c"threads", c"submitted", c"done", c"failed", c"cancelled", c"wait", c"run"],
);

noargs!(py_stats, |slf| {
    let queue = queue_of(slf);
    let now = [queue.len(), queue.idle_len(), queue.seats().len()];
    let [submitted, done, failed, cancelled] = queue.counters().numbers()?;
    let [wait, run] = queue.counters().times(spin::seconds)?;
    let [queued, idle, threads] = now.map(|number| counters::count(number as u64));
    STATS.make([queued?, idle?, threads?, submitted, done, failed, cancelled, wait, run])
});

setter!(set_max_workers, |slf, value| {
    let most =
        if value.is_null() { return error::type_error(c"cannot delete it") } else { workers_of(value)? };
    queue_of(slf).room().set_max_workers(most);
    Ok(())
});
getter!(get_max_workers, |slf| int(i64::from(queue_of(slf).room().max_workers())));
getter!(get_shutdown, |slf| Ok(boolean(queue_of(slf).is_shut_down())));
setter!(set_shutdown, |slf, value| {
    queue_of(slf).set_shut_down(!value.is_null() && truth(value)?);
    Ok(())
});
getter!(get_broken, |slf| Ok(queue_of(slf).why_broken().unwrap_or_else(|| boolean(false))));

/// # Safety
/// `slf` is a queue; the visitor is the collector's, which runs no Python.
unsafe extern "C" fn queue_traverse(slf: Raw, visitor: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: a slot of the type.
    unsafe {
        visit!(Py_TYPE(slf).cast(), visitor, arg);
        queue_of(slf).traverse(visitor, arg)
    }
}

/// # Safety
/// `slf` is a queue.
unsafe extern "C" fn queue_clear(slf: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded((), || unsafe { queue_of(slf).clear() });
    0
}

/// # Safety
/// `slf` is a queue, to which no reference is left.
unsafe extern "C" fn queue_dealloc(slf: Raw) {
    // SAFETY: the last reference is gone: each worker has one, so there is none.
    guarded((), || unsafe {
        PyObject_GC_UnTrack(slf.cast());
        queue_clear(slf);
        queue::empty(slf);
        held::free(slf);
    });
}

static QUEUE_TYPE: Global<*mut PyTypeObject> = Global::new();

/// Whether that is a queue of this type.
///
/// # Safety
/// `raw` is a live object.
pub unsafe fn is_queue(raw: Raw) -> bool {
    // SAFETY: the type is made at import, before any pool.
    unsafe { Py_TYPE(raw) == *QUEUE_TYPE.get() }
}

/// Makes the type; the module exports it.
pub fn load() -> Res<*mut PyTypeObject> {
    let queue = TypeDef::new(c"aioxide._aioxide.WorkQueue", size_of::<QueueObject>() - size_of::<PyObject>())
        .doc(c"The calls and the workers of a thread pool.")
        .slot(Py_tp_new, queue_new as *mut c_void)
        .collector(queue_traverse, queue_clear, queue_dealloc)
        .onearg(c"serve", py_serve, c"serve($self, run, /)\n--\n\nRun calls until the pool is over; return True if the worker retires for having been idle.")
        .noargs(c"qsize", py_qsize, c"qsize($self)\n--\n\nReturn how many calls are queued.")
        .noargs(c"empty", py_empty, c"empty($self)\n--\n\nReturn True if no call is queued.")
        .noargs(c"wake", py_wake, c"Have idle workers look whether they should end.")
        .fast(c"put_item", work_items::py_put_item, c"put_item($self, item, function, /)\n--\n\nQueue a work item of the standard library's.")
        .noargs(c"put_none", work_items::py_put_none, c"Queue what wakes one who waits, and is no call.")
        .fast(c"take", work_items::py_take, c"take($self, timeout, /)\n--\n\nTake out what is next: see aioxide._threads.items.")
        .onearg(c"shut_down", py_shut_down, c"Take no more calls; with True, cancel those that are queued.")
        .fast(c"break_down", py_break_down, c"Fail all calls, now and later, with cls(reason).")
        .noargs(c"begin", py_begin, c"A thread is asked to start.")
        .noargs(c"withdraw", py_withdraw, c"A thread that was started does not come to serve.")
        .onearg(c"tell_of_room", py_tell_of_room, c"tell_of_room($self, future, /)\n--\n\nHave a thread that waits in submit() look for room.")
        .noargs(c"after_fork", py_after_fork, c"Forget the parent's threads and calls.")
        .noargs(c"running", py_running, c"List what the workers run: (thread identifier, function, seconds).")
        .noargs(c"stats", py_stats, c"Return the numbers behind ThreadPoolExecutor.stats().")
        .getset(c"is_shut_down", get_shutdown, set_shutdown)
        .getset(c"max_workers", get_max_workers, set_max_workers)
        .get(c"broken", get_broken)
        .build(NULL)?;
    QUEUE_TYPE.set(queue);
    Ok(queue)
}
