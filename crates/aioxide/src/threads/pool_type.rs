//! `ThreadPool`, the native base of `aioxide.ThreadPoolExecutor`.

use std::ffi::{c_int, c_void};

use aioxide_sys::clock;
use pyo3_ffi::*;

use super::call::{Call, Waiter};
use super::queue::{self, Queue, queue_of};
use super::queue_type::is_queue;
use crate::calls::future;
use crate::calls::standard::Standard;
use crate::calls::target::Target;
use crate::engine::loop_call::LoopCall;
use crate::ffi::args::type_error_text;
use crate::ffi::guard::{fastcall, getter, guarded, noargs, setter, visit};
use crate::ffi::names::intern;
use crate::ffi::object::{call, call_kw, call_method, getattr, import_from, is_none, tuple};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Args, Global, NULL, Obj, Raised, Raw, Res, Slot, compat, error, held, names, none};
use crate::task::loop_state::native_state;

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
    if value.is_null() || !is_queue(value) {
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

static POOL_TYPE: Global<*mut PyTypeObject> = Global::new();

/// Makes the type; the module exports it.
pub fn load() -> Res<*mut PyTypeObject> {
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
    POOL_TYPE.set(pool);
    Ok(pool)
}
