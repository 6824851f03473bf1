//! The Python types behind `aioxide.ThreadPoolExecutor`: `ThreadPool`, its native base, and `WorkQueue`, which the
//! workers share with it: a worker must not keep its pool alive.

use std::ffi::{c_int, c_void};

use aioxide_sys::clock;
use pyo3_ffi::*;

use super::queue::{self, Call, Limits, Queue, QueueObject, Waiter, queue_of};
use super::{work_items, worker};
use crate::calls::standard::Standard;
use crate::calls::target::Target;
use crate::calls::{counters, future};
use crate::engine::loop_call::LoopCall;
use crate::engine::spin;
use crate::ffi::args::type_error_text;
use crate::ffi::guard::{fastcall, getter, guarded, noargs, onearg, setter, visit};
use crate::ffi::named_tuple::NamedTuple;
use crate::ffi::names::intern;
use crate::ffi::object::{
    boolean, call, call_kw, call_method, float, getattr, import_from, int, is_none, list, truth, tuple,
};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Args, Global, NULL, Obj, Raised, Raw, Res, Slot, compat, error, held, names, none};
use crate::task::loop_state::native_state;

// ------------------------------------------------------------------------------------------------------ the pool

#[repr(C)]
struct PoolObject {
    header: PyObject,
    /// A `WorkQueue`; nothing before `__init__`, and in a subclass that manages its threads itself.
    queue: Slot,
    /// What makes a task of a call (3.14's `prepare_context`), where a subclass has its own.
    resolve: Slot,
}

const POOL_BODY: usize = size_of::<PoolObject>() - size_of::<PyObject>();

/// # Safety
/// `raw` is a thread pool that lives for `'a`.
unsafe fn pool_of<'a>(raw: Raw) -> &'a PoolObject {
    // SAFETY: callers pass a pool, alive for the time of use.
    unsafe { &*raw.cast::<PoolObject>() }
}

impl PoolObject {
    /// The queue, held for the time of a call.
    #[inline(always)]
    fn queue(&self) -> Option<Obj> {
        self.queue.share()
    }
}

fastcall!(py_submit, |slf, args| {
    if args.len() == 0 {
        return missing_function();
    }
    let Some(held) = pool_of(slf).queue() else { return inherited_submit(slf, args) };
    let queue = queue_of(held.as_ptr());
    queue.check_open()?;
    if queue.limits().max_pending > 0 && queue::may_wait()? {
        queue.wait_for_room()?;
    }
    if STANDARD.is_set() && STANDARD.get().is_wrapped() {
        // It comes back by `WorkQueue.put_item` and `_adjust_thread_count`.
        return inherited_submit(slf, args);
    }
    let future = future::new()?;
    let call = make_call(slf, args, Waiter::Target(Target::Future(future.clone())))?;
    future::of(future.as_ptr()).stand_in(queue.room(), queue.limits().spin);
    queue.push(call);
    provide_worker(slf, queue, future.as_ptr())?;
    Ok(future)
});

/// `submit()` without a function, in the words of the standard one.
#[cold]
fn missing_function() -> Res {
    type_error_text("ThreadPoolExecutor.submit() missing 1 required positional argument: 'fn'".into())
}

/// # Safety
/// `slf` is a thread pool.
#[cold]
unsafe fn inherited_submit(slf: Raw, args: Args) -> Res {
    // SAFETY: set at import of `aioxide._threads`, to the standard class even if its name was replaced since.
    let base = unsafe {
        if STANDARD.is_set() {
            STANDARD.get().class().clone()
        } else {
            import_from(c"concurrent.futures.thread", c"ThreadPoolExecutor")?
        }
    };
    let method = getattr(base.as_ptr(), names().submit)?;
    let (all, kwnames) = args.all();
    let values = [&[slf], all].concat();
    call_kw(method.as_ptr(), &values, args.len() + 1, kwnames)
}

static STANDARD: Global<&'static Standard> = Global::new();

/// Remembers the standard library's class, where `class` is one of pools of threads.
pub fn note_standard(class: Raw, standard: &'static Standard) {
    // SAFETY: set when the types are made, before any class of theirs can be.
    if compat::is_subtype(class.cast(), unsafe { *POOL_TYPE.get() }) {
        STANDARD.set(standard);
    }
}

/// The call that the arguments of `submit` describe.
///
/// # Safety
/// As `inherited_submit`; there is an argument at least.
#[inline(always)]
unsafe fn make_call(slf: Raw, args: Args, waiter: Waiter) -> Res<Call> {
    let (all, kwnames) = args.all();
    let mut call = Call {
        function: Obj::new(all[0]),
        args: if all.len() > 1 { Some(tuple(&all[1..])?) } else { None },
        positional: args.len() - 1,
        kwnames: Obj::maybe(kwnames),
        waiter,
        queued: clock::ticks(),
    };
    // SAFETY: a pool.
    if let Some(resolve) = unsafe { pool_of(slf) }.resolve.share() {
        resolve_call(&mut call, &resolve)?;
    }
    Ok(call)
}

/// `resolve(fn, args, kwargs)` makes the task that a worker context runs.
#[cold]
fn resolve_call(call_: &mut Call, resolve: &Obj) -> Res<()> {
    let (args, kwargs) = call_.arguments()?;
    let task = call(resolve.as_ptr(), &[call_.function.as_ptr(), args.as_ptr(), kwargs.as_ptr()])?;
    call_.function = task;
    (call_.args, call_.positional, call_.kwnames) = (None, 0, None);
    Ok(())
}

/// Calls an idle worker, or starts a thread, for a call that was queued.
///
/// # Safety
/// `slf` is a thread pool, `queue` its own, `future` what was queued.
#[inline(always)]
unsafe fn provide_worker(slf: Raw, queue: &Queue, future: Raw) -> Res<()> {
    if queue.wants_thread() {
        return start_thread(slf, queue, future);
    }
    queue.call_worker();
    Ok(())
}

#[cold]
fn start_thread(slf: Raw, queue: &Queue, future: Raw) -> Res<()> {
    queue.begin_start();
    let started = call_method(intern(c"_start_worker")?, &[slf]);
    queue.end_start(started.is_err());
    let Err(Raised) = started else { return Ok(()) };
    let pending = error::take();
    if !queue.has_threads() {
        // Nobody would ever run it.
        drop(queue.take_back(future));
        error::restore(pending);
        return Err(Raised);
    }
    // SAFETY: reads a static of the interpreter.
    let exception =
        pending.filter(|pending| !error::is_instance(pending.as_ptr(), unsafe { PyExc_Exception }));
    if exception.is_none() {
        return Ok(());
    }
    error::restore(exception);
    Err(Raised)
}

fastcall!(py_run_for_loop, |slf, args| {
    args.require(&["loop", "func", "args"], "ThreadPoolExecutor._run_for_loop")?;
    let (owner, function, values) = (args.get(0), args.get(1), args.get(2));
    let Some(held) = pool_of(slf).queue() else { return through_submit(slf, owner, function, values) };
    let queue = queue_of(held.as_ptr());
    queue.check_open()?;
    let made = match native_state(owner) {
        Some(state) => LoopCall::new(&*state, queue.limits().spin)?,
        None => None,
    };
    let Some(loop_call) = made else { return through_submit(slf, owner, function, values) };
    let future = loop_call.future().clone();
    let count = PyTuple_GET_SIZE(values) as usize;
    let mut call = Call {
        function: Obj::new(function),
        args: if count > 0 { Some(Obj::new(values)) } else { None },
        positional: count,
        kwnames: None,
        waiter: Waiter::Target(Target::Loop(loop_call)),
        queued: clock::ticks(),
    };
    if let Some(resolve) = pool_of(slf).resolve.share() {
        resolve_call(&mut call, &resolve)?;
    }
    queue.push(call);
    if queue.limits().max_pending > 0 {
        watch(&held, &future)?;
    }
    provide_worker(slf, queue, future.as_ptr())?;
    Ok(future)
});

/// Has the queue told when the loop's future is cancelled: threads may wait for its place.
#[cold]
fn watch(queue: &Obj, future: &Obj) -> Res<()> {
    let told = getattr(queue.as_ptr(), intern(c"tell_of_room")?)?;
    call_method(intern(c"add_done_callback")?, &[future.as_ptr(), told.as_ptr()]).map(drop)
}

/// `asyncio.wrap_future(self.submit(func, *args), loop=loop)`.
///
/// # Safety
/// All are live objects, `values` a tuple.
#[cold]
unsafe fn through_submit(slf: Raw, owner: Raw, function: Raw, values: Raw) -> Res {
    let mut all = vec![slf, function];
    // SAFETY: a tuple, whose items are borrowed for the call.
    all.extend(unsafe { (0..PyTuple_GET_SIZE(values)).map(|i| PyTuple_GET_ITEM(values, i)) });
    let future = call_method(names().submit, &all)?;
    let wrap = import_from(c"asyncio.futures", c"wrap_future")?;
    let keywords = tuple(&[names().loop_])?;
    call_kw(wrap.as_ptr(), &[future.as_ptr(), owner], 1, keywords.as_ptr())
}

// What the standard library's `submit` calls when it has put a work item in the queue.
noargs!(py_provide_worker, |slf| {
    if let Some(held) = pool_of(slf).queue() {
        provide_worker(slf, queue_of(held.as_ptr()), NULL)?;
    }
    Ok(none())
});

// The pool goes on with a queue of the user's: what is in this one still runs.
noargs!(py_abandon_queue, |slf| {
    if let Some(held) = pool_of(slf).queue.take() {
        queue_of(held.as_ptr()).orphan();
    }
    Ok(none())
});

getter!(get_queue, |slf| Ok(pool_of(slf).queue.or_none()));
setter!(set_queue, |slf, value| {
    if value.is_null() || Py_TYPE(value) != *QUEUE_TYPE.get() {
        return error::type_error(c"a WorkQueue is needed here");
    }
    pool_of(slf).queue.set(Obj::new(value));
    Ok(())
});
getter!(get_resolve, |slf| Ok(pool_of(slf).resolve.or_none()));
setter!(set_resolve, |slf, value| {
    let value = Obj::maybe(value).filter(|value| !is_none(value.as_ptr()));
    drop(pool_of(slf).resolve.replace(value));
    Ok(())
});

/// # Safety
/// `kind` is the pool's type or one derived from it.
unsafe extern "C" fn pool_new(kind: *mut PyTypeObject, _: Raw, _: Raw) -> Raw {
    // SAFETY: a zeroed body is a pool without a queue.
    guarded(NULL, || unsafe { PyType_GenericAlloc(kind, 0) })
}

/// # Safety
/// `slf` is a thread pool; the visitor is the collector's, which runs no Python.
unsafe extern "C" fn pool_traverse(slf: Raw, visitor: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: a slot of the type.
    unsafe {
        visit!(Py_TYPE(slf).cast(), visitor, arg);
        visit!(pool_of(slf).queue.get(), visitor, arg);
        visit!(pool_of(slf).resolve.get(), visitor, arg);
    }
    0
}

/// # Safety
/// `slf` is a thread pool.
unsafe extern "C" fn pool_clear(slf: Raw) -> c_int {
    // SAFETY: a slot of the type. The pool is lost: its workers end when they have run what is queued.
    guarded((), || unsafe {
        pool_of(slf).resolve.clear();
        if let Some(held) = pool_of(slf).queue.take() {
            queue_of(held.as_ptr()).orphan();
        }
    });
    0
}

/// # Safety
/// `slf` is a thread pool, to which no reference is left.
unsafe extern "C" fn pool_dealloc(slf: Raw) {
    // SAFETY: the last reference is gone.
    guarded((), || unsafe {
        PyObject_GC_UnTrack(slf.cast());
        pool_clear(slf);
        held::free(slf);
    });
}

// ----------------------------------------------------------------------------------------------------- the queue

static POOL_TYPE: Global<*mut PyTypeObject> = Global::new();
static QUEUE_TYPE: Global<*mut PyTypeObject> = Global::new();

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

/// Makes both types: the pool's and the queue's.
pub fn load() -> Res<(*mut PyTypeObject, *mut PyTypeObject)> {
    let pool = TypeDef::new(c"aioxide._aioxide.ThreadPool", POOL_BODY)
        .flags(Py_TPFLAGS_BASETYPE)
        .doc(c"The native part of aioxide.ThreadPoolExecutor.")
        .slot(Py_tp_new, pool_new as *mut c_void)
        .collector(pool_traverse, pool_clear, pool_dealloc)
        .fast(c"submit", py_submit, c"submit($self, fn, /, *args, **kwargs)\n--\n\nHave fn(*args, **kwargs) called in a thread of the pool; return its future.")
        .fast(c"_run_for_loop", py_run_for_loop, c"Have func(*args) called; return a future of the loop.")
        .noargs(c"_provide_worker", py_provide_worker, c"Call an idle worker, or start a thread, if one is needed.")
        .noargs(c"_abandon_queue", py_abandon_queue, c"Go on without the native queue; what it holds still runs.")
        .getset(c"_queue", get_queue, set_queue)
        .getset(c"_resolve", get_resolve, set_resolve)
        .build(NULL)?;
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
        .fast(c"take", work_items::py_take, c"take($self, timeout, /)\n--\n\nTake out what is next: see aioxide._work_items.")
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
    POOL_TYPE.set(pool);
    QUEUE_TYPE.set(queue);
    Ok((pool, queue))
}
