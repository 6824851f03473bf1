//! `ThreadPool`, the native base of `aioxide.ThreadPoolExecutor`.

use std::ffi::{CStr, c_int, c_void};
use std::ops::Deref;

use aioxide_sys::clock;
use pyo3_ffi::*;

use super::call::{Call, Waiter};
use super::queue::{self, Queue, WorkQueue};
use crate::calls::executor;
use crate::calls::future::{self, PoolFuture};
use crate::calls::standard::Standard;
use crate::calls::target::Target;
use crate::engine::LoopObject;
use crate::engine::loop_call::LoopCall;
use crate::ffi::args::type_error_text;
use crate::ffi::calls::{call, call_kw, call_method, tuple};
use crate::ffi::class::{Class, Collected, Native, derives};
use crate::ffi::guard::visit;
use crate::ffi::names::{interned, text};
use crate::ffi::object::{getattr, import_from};
use crate::ffi::py::Object;
use crate::ffi::{Args, Global, Obj, Raised, Ref, Res, Slot, builtin, error};

#[repr(C)]
struct ThreadPool {
    header: PyObject,
    /// A `WorkQueue`; nothing before `__init__`, and in a subclass that manages its threads itself.
    queue: Slot,
    /// What makes a task of a call (3.14's `prepare_context`), where a subclass has its own.
    resolve: Slot,
}

static POOL_TYPE: Global<*mut PyTypeObject> = Global::new();

// SAFETY: as laid out above.
unsafe impl Native for ThreadPool {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &POOL_TYPE)
    }
}

// SAFETY: it holds what is in the two slots.
unsafe impl Collected for ThreadPool {
    unsafe fn traverse(&self, visitor: visitproc, arg: *mut c_void) -> c_int {
        // SAFETY: the visitor is the collector's.
        unsafe {
            visit!(self.queue.get(), visitor, arg);
            visit!(self.resolve.get(), visitor, arg);
        }
        0
    }

    /// The pool is lost: its workers end when they have run what is queued.
    fn clear(&self) {
        self.resolve.clear();
        self.abandon_queue();
    }
}

/// The queue of a pool, held for the time of a call.
struct HeldQueue(Obj);

impl Deref for HeldQueue {
    type Target = WorkQueue;

    #[inline(always)]
    fn deref(&self) -> &WorkQueue {
        // SAFETY: made of what is in a pool's slot, which takes nothing else.
        unsafe { self.0.borrow().cast_unchecked() }
    }
}

impl ThreadPool {
    #[inline(always)]
    fn queue(&self) -> Option<HeldQueue> {
        self.queue.share().map(HeldQueue)
    }

    /// The pool goes on with a queue of the user's: what is in this one still runs.
    fn abandon_queue(&self) {
        if let Some(held) = self.queue.take().map(HeldQueue) {
            held.queue.orphan();
        }
    }
}

fn submit(this: &ThreadPool, args: Args) -> Res {
    if args.len() == 0 {
        return missing_function();
    }
    let Some(held) = this.queue() else { return inherited_submit(this, args) };
    let queue = &held.queue;
    queue.check_open()?;
    if queue.limits().max_pending > 0 && queue::may_wait()? {
        queue.wait_for_room()?;
    }
    if standard().is_some_and(Standard::is_wrapped) {
        // It comes back by `WorkQueue.put_item` and `_adjust_thread_count`.
        return inherited_submit(this, args);
    }
    let future = future::new()?;
    let call = make_call(this, args, Waiter::Target(Target::Future(future.clone())))?;
    // SAFETY: just made.
    let body: &PoolFuture = unsafe { future.borrow().cast_unchecked() };
    body.stand_in(queue.room(), queue.limits().spin);
    queue.push(call);
    provide_worker(this, queue, Some(future.borrow()))?;
    Ok(future)
}

/// `submit()` without a function, in the words of the standard one.
#[cold]
fn missing_function() -> Res {
    type_error_text("ThreadPoolExecutor.submit() missing 1 required positional argument: 'fn'".into())
}

#[cold]
fn inherited_submit(this: &ThreadPool, args: Args) -> Res {
    let base = match standard() {
        Some(standard) => standard.class().clone(),
        None => import_from(c"concurrent.futures.thread", c"ThreadPoolExecutor")?,
    };
    let values = [&[this.object()], args.with_keywords()].concat();
    call_kw(&getattr(&base, interned().submit)?, &values, args.kwnames())
}

/// The standard class, even if its name was replaced since the import of `aioxide._threads`.
static STANDARD: Global<&'static Standard> = Global::new();

#[inline(always)]
fn standard() -> Option<&'static Standard> {
    // SAFETY: asked for first.
    STANDARD.is_set().then(|| unsafe { *STANDARD.get() })
}

/// Remembers the standard library's class, where `class` is one of pools of threads.
pub fn note_standard(class: impl Object, standard: &'static Standard) {
    if derives(class.raw().cast(), &POOL_TYPE) {
        STANDARD.set(standard);
    }
}

/// The call that the arguments of `submit`, one at least, describe.
#[inline(always)]
fn make_call(this: &ThreadPool, args: Args, waiter: Waiter) -> Res<Call> {
    let all = args.with_keywords();
    let call = Call {
        function: all[0].to_obj(),
        args: if all.len() > 1 { Some(tuple(&all[1..])?) } else { None },
        positional: args.len() - 1,
        kwnames: args.kwnames().map(Ref::to_obj),
        waiter,
        queued: clock::ticks(),
    };
    resolved(this, call)
}

/// The call as it is to be queued: where a subclass has tasks made of calls, that of its task.
#[inline(always)]
fn resolved(this: &ThreadPool, mut call: Call) -> Res<Call> {
    if let Some(resolve) = this.resolve.share() {
        resolve_call(&mut call, &resolve)?;
    }
    Ok(call)
}

/// `resolve(fn, args, kwargs)` makes the task that a worker context runs.
#[cold]
fn resolve_call(call_: &mut Call, resolve: &Obj) -> Res<()> {
    let (args, kwargs) = call_.arguments()?;
    let task = call(resolve, &[&call_.function, &args, &kwargs].map(Obj::borrow))?;
    call_.function = task;
    (call_.args, call_.positional, call_.kwnames) = (None, 0, None);
    Ok(())
}

/// Calls an idle worker, or starts a thread, for what was queued, `future` if that is one of ours.
#[inline(always)]
fn provide_worker(this: &ThreadPool, queue: &Queue, future: Option<Ref>) -> Res<()> {
    if queue.wants_thread() {
        return start_thread(this, queue, future);
    }
    queue.call_worker();
    Ok(())
}

#[cold]
fn start_thread(this: &ThreadPool, queue: &Queue, future: Option<Ref>) -> Res<()> {
    queue.begin_start();
    let started = call_method(text(c"_start_worker")?, &[this.object()]);
    queue.end_start(started.is_err());
    let Err(Raised) = started else { return Ok(()) };
    let pending = error::take();
    if !queue.has_threads() {
        // Nobody would ever run it.
        drop(future.and_then(|future| queue.take_back(future)));
        error::restore(pending);
        return Err(Raised);
    }
    let exception = pending.filter(|pending| !error::is_instance(pending, builtin::exception()));
    if exception.is_none() {
        return Ok(());
    }
    error::restore(exception);
    Err(Raised)
}

fn run_for_loop(this: &ThreadPool, args: Args) -> Res {
    let [owner, function, values] =
        args.first(["loop", "func", "args"], "ThreadPoolExecutor._run_for_loop")?;
    let Some(held) = this.queue() else { return through_submit(this, owner, function, values) };
    let queue = &held.queue;
    queue.check_open()?;
    let made = match owner.cast::<LoopObject>() {
        Some(owner) => LoopCall::new(&owner.state, queue.limits().spin)?,
        None => None,
    };
    let Some(loop_call) = made else { return through_submit(this, owner, function, values) };
    let future = loop_call.future().clone();
    // SAFETY: `run_in_executor` has made the tuple.
    let count = unsafe { PyTuple_GET_SIZE(values.as_ptr()) } as usize;
    let call = Call {
        function: function.to_obj(),
        args: if count > 0 { Some(values.to_obj()) } else { None },
        positional: count,
        kwnames: None,
        waiter: Waiter::Target(Target::Loop(loop_call)),
        queued: clock::ticks(),
    };
    queue.push(resolved(this, call)?);
    if queue.limits().max_pending > 0 {
        watch(&held, future.borrow())?;
    }
    provide_worker(this, queue, Some(future.borrow()))?;
    Ok(future)
}

/// Has the queue told when the loop's future is cancelled: threads may wait for its place.
#[cold]
fn watch(queue: &WorkQueue, future: Ref) -> Res<()> {
    let told = getattr(queue.object(), text(c"tell_of_room")?)?;
    call_method(text(c"add_done_callback")?, &[future, told.borrow()]).map(drop)
}

/// `asyncio.wrap_future(self.submit(func, *args), loop=loop)`.
#[cold]
fn through_submit(this: &ThreadPool, owner: Ref, function: Ref, values: Ref) -> Res {
    let mut all = vec![this.object(), function];
    // SAFETY: a tuple, whose items are borrowed for the call.
    all.extend(unsafe {
        (0..PyTuple_GET_SIZE(values.as_ptr())).map(|at| Ref::new(PyTuple_GET_ITEM(values.as_ptr(), at)))
    });
    executor::wrap(owner, &all)
}

/// What the standard library's `submit` calls when it has put a work item in the queue.
fn py_provide_worker(this: &ThreadPool) -> Res<()> {
    this.queue().map_or(Ok(()), |held| provide_worker(this, &held.queue, None))
}

fn set_queue(this: &ThreadPool, value: Option<Ref>) -> Res<()> {
    let Some(queue) = value.and_then(Ref::cast::<WorkQueue>) else {
        return error::type_error(c"a WorkQueue is needed here");
    };
    this.queue.set(queue.object().to_obj());
    Ok(())
}

fn set_resolve(this: &ThreadPool, value: Option<Ref>) -> Res<()> {
    drop(this.resolve.replace(value.filter(|value| !value.is_none()).map(Ref::to_obj)));
    Ok(())
}

const SUBMIT_DOC: &CStr = c"submit($self, fn, /, *args, **kwargs)
--

Call fn(*args, **kwargs) in a thread of the pool.

Blocks while max_pending calls wait, except in a thread that runs an event loop and in a worker of this pool.

Args:
    fn: what to call.
    args: its positional arguments.
    kwargs: its keyword arguments.

Returns:
    A concurrent.futures.Future with what fn returns or raises, which can also be awaited.

Raises:
    RuntimeError: the pool was shut down, the interpreter ends, or no thread can be started.
    BrokenThreadPool: the initializer has failed.

Source: concurrent.futures.Executor.submit (PEP 3148).";

/// Makes the type; the module exports it.
pub fn load() -> Res<*mut PyTypeObject> {
    let pool = Class::<ThreadPool>::new(c"aioxide._aioxide.ThreadPool")
        .also(|def| {
            def.flags(Py_TPFLAGS_BASETYPE)
                .doc(c"The native part of aioxide.ThreadPoolExecutor.")
                .slot(Py_tp_new, PyType_GenericNew as *mut c_void)
        })
        .collected()
        .fast(c"submit", submit, SUBMIT_DOC)
        .fast(c"_run_for_loop", run_for_loop, c"Have func(*args) called; return a future of the loop.")
        .noargs(
            c"_provide_worker",
            py_provide_worker,
            c"Call an idle worker, or start a thread, if one is needed.",
        )
        .noargs(
            c"_abandon_queue",
            ThreadPool::abandon_queue,
            c"Go on without the native queue; what it holds still runs.",
        )
        .getset(c"_queue", |this| this.queue.or_none(), set_queue)
        .getset(c"_resolve", |this| this.resolve.or_none(), set_resolve)
        .build(None)?;
    POOL_TYPE.set(pool);
    Ok(pool)
}
