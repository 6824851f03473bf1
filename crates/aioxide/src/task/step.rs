//! How a task runs: resume the coroutine in its context, then see what came out.

use std::ffi::CStr;

use pyo3_ffi::*;

use super::future::{self, Future, FutureHead, Waiter};
use super::loop_state::{Item, LoopState};
use super::marks::Mark;
use super::overrides::CALL_SOON;
use super::task::{self, TaskHead, TaskObj};
use super::{callables, cancel, classes, handle, handle_run, registry, report, waiters};
use crate::ffi::calls::{call, call_method, call_method_kw};
use crate::ffi::class::Native;
use crate::ffi::compat::{CFunction, layout};
use crate::ffi::names::{imported, interned};
use crate::ffi::object::{boolean, getattr_opt, import_from, setattr, truth};
use crate::ffi::{Global, NULL, Obj, Raised, Raw, Ref, Res, builtin, context, error, none};

type SendFn = unsafe extern "C" fn(Raw, Raw, *mut Raw) -> PySendResult;

/// `am_send` of the interpreter's own coroutines, to spare the detour through `PyIter_Send`.
static CORO_SEND: Global<SendFn> = Global::new();

pub fn load() -> Res<()> {
    // SAFETY: a static type; its async slots exist in every supported version.
    let send = unsafe { (*PyCoro_Type.tp_as_async).am_send };
    match send {
        Some(send) => CORO_SEND.set(send),
        None => return error::runtime_error(c"coroutines of this interpreter have no am_send"),
    }
    Ok(())
}

/// What a coroutine did when it was resumed.
enum Resumed {
    Yielded(Obj),
    Returned(Obj),
    Raised,
}

/// A step of a task on a loop of ours, from the ready queue: `exception` is thrown in if there is one. `Err` is what
/// `asyncio.Handle._run` would see: `SystemExit` and `KeyboardInterrupt` leave the loop, the rest is reported.
#[inline(always)]
pub fn run(state: &LoopState, task: TaskObj, exception: Option<Obj>) -> Res<()> {
    let this = task.borrow();
    let exception = match prepare(this, exception) {
        Ok(exception) => exception,
        Err(Raised) => return failed(state, this),
    };
    if registry::enter(state, this).is_err() {
        return failed(state, this);
    }
    // SAFETY: borrowed, and nothing writes it before it is entered; from then on the interpreter holds it.
    let context = unsafe { Ref::new(this.context_slot().get()) };
    if context::enter(context).is_err() {
        return refused(state, this, exception);
    }
    let resumed = resume(this, exception);
    context::exit(context);
    settle(task, resumed)
}

/// As `run`, apart from it: few steps throw, and a turn is faster for being short.
#[inline(never)]
pub fn run_throwing(state: &LoopState, task: TaskObj, exception: Obj) -> Res<()> {
    run(state, task, Some(exception))
}

/// Resumes a task whose future has ended in an exception or was cancelled, which is thrown in.
#[inline(never)]
pub fn wake(state: &LoopState, task: TaskObj, future: Obj) -> Res<()> {
    let exception = exception_of(future)?;
    run(state, task, exception)
}

/// The exception that `future.result()` raises, if it does.
fn exception_of(future: Obj) -> Res<Option<Obj>> {
    let result = if classes::is_exactly_ours(future.borrow()) {
        // SAFETY: the type was just looked at.
        unsafe { future::of(&future) }.result()
    } else {
        call_method(interned().result, &[future.borrow()])
    };
    match result {
        Ok(_) => Ok(None),
        Err(Raised) => Ok(error::take()),
    }
}

/// The context was refused: it is entered already, or it is no context but something with its method `run`.
#[cold]
fn refused(state: &LoopState, task: &TaskHead, exception: Option<Obj>) -> Res<()> {
    let context = task.context();
    if !context::is_context(&context) {
        error::clear();
        let step = callables::step(task.object(), exception)?;
        if context::run_by_method(&context, &step, &[]).is_ok() {
            return Ok(());
        }
    }
    failed(state, task)
}

/// Reports a step that failed for a reason that is not the coroutine's, as asyncio reports a failed callback: the task
/// will not be stepped again.
#[cold]
fn failed(state: &LoopState, task: &TaskHead) -> Res<()> {
    report::unless_exit(|exception| {
        let step = callables::step(task.object(), None)?;
        let handle = handle::new(state, step.borrow(), &[], Some(task.context().borrow()))?;
        handle_run::report_failure(&handle, exception)
    })
}

/// A step called as a Python function, in whatever context the caller is: on a foreign loop, or by a handle.
pub fn run_called(task: TaskObj, exception: Option<Obj>) -> Res<()> {
    let this = task.borrow();
    let exception = prepare(this, exception)?;
    let owner = this.future.owner.or_none();
    if let Some(state) = this.future.native() {
        registry::leave(state);
    }
    let pair = [owner.borrow(), this.object()];
    call(&import_from(c"asyncio.tasks", c"_enter_task")?, &pair)?;
    let resumed = resume(this, exception);
    let result = settle(this.hold(), resumed);
    let pending = if result.is_err() { error::take() } else { None };
    call(&import_from(c"asyncio.tasks", c"_leave_task")?, &pair)?;
    if pending.is_some() {
        error::restore(pending);
    }
    result
}

/// As `run_called`, with a finished future's outcome: what a foreign future calls back.
pub fn wake_called(task: TaskObj, future: Obj) -> Res<()> {
    run_called(task, exception_of(future)?)
}

/// The first step of an eager task that is not registered yet, inside the call that makes it.
pub fn start_eagerly(task: &TaskHead) -> Res<()> {
    let swapped = registry::Swapped::enter(task.future.owner.or_none(), task)?;
    registry::register(task)?;
    let context = task.context();
    let result = context::run(&context, || {
        let resumed = resume(task, None);
        settle(task.hold(), resumed)
    });
    if let Some(state) = task.future.native()
        && state.entered.get() == task.object().as_ptr()
    {
        // `Swapped` puts asyncio's record back; ours must not claim that this task is still in it.
        state.entered.set(NULL);
    }
    swapped.leave()?;
    result?;
    if !task.future.is_pending() {
        // Not empty: `_asyncio.Task.get_coro` of 3.12 takes for granted that something stands there.
        task.coro().set(none());
    }
    Ok(())
}

/// Takes the task out of its wait, and turns a cancellation that was asked for into an exception to throw.
#[inline(always)]
fn prepare(task: &TaskHead, exception: Option<Obj>) -> Res<Option<Obj>> {
    if !task.future.is_pending() {
        return already_done(task, exception);
    }
    let exception = if task.future.marks.has(Mark::MustCancel) {
        cancelled_instead(&task.future, exception)?
    } else {
        exception
    };
    if let Some(waited) = task.waits_for.take() {
        stop_waiting(task, waited);
    }
    Ok(exception)
}

#[cold]
fn already_done(task: &TaskHead, exception: Option<Obj>) -> Res<Option<Obj>> {
    let shown = exception.unwrap_or_else(none);
    let text = c"__step(): already done: %R %R";
    error::raise_with(imported().invalid_state_error, text, task.object(), shown.borrow())
}

#[cold]
fn cancelled_instead(future: &Future, exception: Option<Obj>) -> Res<Option<Obj>> {
    future.marks.put(Mark::MustCancel, false);
    match exception {
        Some(exception) if error::is_instance(&exception, imported().cancelled_error) => Ok(Some(exception)),
        _ => future.make_cancelled_error().map(Some),
    }
}

#[inline(always)]
fn stop_waiting(task: &TaskHead, waited: Obj) {
    let Some(at) = layout().awaited_by else { return };
    let waited = waited.borrow();
    if classes::is_exactly_ours(waited) || classes::are_ours(waited.type_of()) {
        // SAFETY: ours begin with `_asyncio`'s fields, in which the offset was found.
        let awaited_by = unsafe { task::base_slot(waited, at) };
        if awaited_by.get() == task.object().as_ptr() {
            return awaited_by.clear();
        }
    }
    tell_graph(layout().discard_awaited_by, waited, task);
}

/// Records for the call graph that the task awaits `future`.
#[inline(always)]
fn note_awaited_by(future: &FutureHead, task: &TaskHead) {
    let future = future.object();
    let Some(at) = layout().awaited_by else { return };
    // SAFETY: ours begin with `_asyncio`'s fields, in which the offset was found.
    let awaited_by = unsafe { task::base_slot(future, at) };
    if awaited_by.is_set() {
        tell_graph(layout().add_awaited_by, future, task);
    } else {
        awaited_by.replace(Some(task.object().to_obj()));
    }
}

/// `future_add_to_awaited_by` or `future_discard_from_awaited_by`, which look themselves whether the two are futures.
#[cold]
fn tell_graph(function: Option<CFunction>, future: Ref, task: &TaskHead) {
    if let Some(function) = function
        && function.call(&[future, task.object()]).is_err()
    {
        error::clear();
    }
}

/// Sends `None` into the coroutine, or throws.
#[inline(always)]
fn resume(task: &TaskHead, exception: Option<Obj>) -> Resumed {
    // Held: the coroutine's own code can make the task let go of it.
    let Some(coro) = task.coro().share() else { return no_coro() };
    if let Some(exception) = exception {
        return throw(coro.borrow(), exception);
    }
    // SAFETY: the coroutine is held here; `out` is filled with a reference unless an error is told.
    unsafe {
        let mut out = NULL;
        let sent = if coro.type_of() == &raw mut PyCoro_Type {
            CORO_SEND.get()(coro.as_ptr(), Py_None(), &mut out)
        } else {
            PyIter_Send(coro.as_ptr(), Py_None(), &mut out)
        };
        #[cfg(Py_3_12)]
        super::stop_iteration::release(task.object().py());
        match sent {
            PySendResult::PYGEN_NEXT => Resumed::Yielded(Obj::own(out)),
            PySendResult::PYGEN_RETURN => Resumed::Returned(Obj::own(out)),
            PySendResult::PYGEN_ERROR => Resumed::Raised,
        }
    }
}

#[cold]
fn no_coro() -> Resumed {
    let _ = error::runtime_error::<()>(c"Task object is not initialized.");
    Resumed::Raised
}

#[cold]
fn throw(coro: Ref, exception: Obj) -> Resumed {
    match call_method(interned().throw, &[coro, exception.borrow()]) {
        Ok(yielded) => Resumed::Yielded(yielded),
        Err(Raised) if error::matches(builtin::stop_iteration()) => match error::take() {
            Some(stop) => Resumed::Returned(stop_value(&stop)),
            None => Resumed::Raised,
        },
        Err(Raised) => Resumed::Raised,
    }
}

fn stop_value(stop: &Obj) -> Obj {
    // SAFETY: an instance of StopIteration or of a subclass, which all begin with these fields.
    let value = unsafe { Ref::maybe((*stop.as_ptr().cast::<PyStopIterationObject>()).value) };
    value.map_or_else(none, Ref::to_obj)
}

#[inline(always)]
fn settle(task: TaskObj, resumed: Resumed) -> Res<()> {
    let this = task.borrow();
    match resumed {
        Resumed::Yielded(out) => wait_for(task, out),
        Resumed::Returned(value) if this.future.marks.has(Mark::MustCancel) => {
            // Cancelled in the very step that returned.
            drop(value);
            this.future.marks.put(Mark::MustCancel, false);
            let message = this.future.cancel_message();
            cancel::end(this.object(), &this.future, message.as_ref().map(Obj::borrow)).map(drop)
        }
        Resumed::Returned(value) => waiters::wake(this.object(), this.future.set_result(value)?),
        Resumed::Raised => end_with_exception(this),
    }
}

#[cold]
fn end_with_exception(task: &TaskHead) -> Res<()> {
    let Some(exception) = error::take() else { return Ok(()) };
    let (slf, future) = (task.object(), &task.future);
    if error::is_instance(&exception, imported().cancelled_error) {
        future.keep_cancelled_error(exception);
        return cancel::end(slf, future, None).map(drop);
    }
    waiters::wake(slf, future.set_exception(exception.borrow())?)?;
    let leaving = [builtin::keyboard_interrupt(), builtin::system_exit()];
    if leaving.iter().any(|kind| error::is_instance(&exception, *kind)) {
        error::restore(Some(exception));
        return Err(Raised);
    }
    Ok(())
}

/// The coroutine yielded: a future of ours in nearly every case.
#[inline(always)]
fn wait_for(task: TaskObj, out: Obj) -> Res<()> {
    let (this, yielded) = (task.borrow(), out.borrow());
    if yielded.is_none() {
        return schedule(task, None);
    }
    if classes::is_exactly_ours(yielded) && yielded != this.object() {
        // SAFETY: the type was just looked at; `out` is held here, then by `waits_for`.
        let head: &FutureHead = unsafe { Ref::new(yielded.as_ptr()).cast_unchecked() };
        let future: &Future = head;
        if future.owner.get() == this.future.owner.get() && future.blocking.replace(false) {
            note_awaited_by(head, this);
            this.waits_for.replace(Some(out));
            if !future.is_pending() {
                // Done since it was yielded: by a coroutine or wrapper that did not hand it on at once.
                return schedule_wake(this, future);
            }
            // The future has the task from here on.
            let cancelled = this.future.marks.has(Mark::MustCancel).then(|| this.hold());
            if let Err(waiter) = future.add_waiter(Waiter { callback: task.into_obj(), context: None }) {
                // SAFETY: the task, handed back.
                return cannot_wait(unsafe { TaskObj::new(waiter.callback) });
            }
            return cancelled.map_or(Ok(()), |task| cancel_waited(task.borrow()));
        }
    }
    wait_for_other(this, out).or_else(|Raised| match this.future.native() {
        Some(state) => failed(state, this),
        None => Err(Raised),
    })
}

/// The task waits for `future`, which is done.
fn schedule_wake(task: &TaskHead, future: &Future) -> Res<()> {
    let waited = task.waits_for.or_none();
    let callback = callables::wakeup(task.object())?;
    waiters::add_callback(waited.borrow(), future, callback, task.context())
}

/// A cancellation that came during the step is passed on to what the task waits for now.
#[cold]
fn cancel_waited(task: &TaskHead) -> Res<()> {
    let message = task.future.cancel_message();
    if let Some(waited) = task.waits_for.share()
        && cancel::any(waited.borrow(), message.as_ref().map(Obj::borrow))?
    {
        task.future.marks.put(Mark::MustCancel, false);
    }
    Ok(())
}

/// Schedules a step: with `exception` thrown in if there is one.
#[inline(always)]
pub fn schedule(task: TaskObj, exception: Option<Obj>) -> Res<()> {
    // SAFETY: a task; it has its loop until it is done, and goes into that one's queue.
    let this: &TaskHead = unsafe { Ref::new(task.borrow().object().as_ptr()).cast_unchecked() };
    let Some(state) = this.future.native() else { return schedule_by_method(this, exception) };
    if !state.is_plain() {
        if state.overrides.has(state.object(), CALL_SOON) {
            return schedule_by_method(this, exception);
        }
        state.check_schedule()?;
    }
    match exception {
        None => state.push(Item::Step(task.into_obj())),
        Some(exception) => state.push(Item::Throw { task: task.into_obj(), exception }),
    }
}

#[cold]
fn schedule_by_method(task: &TaskHead, exception: Option<Obj>) -> Res<()> {
    let owner = task.future.owner.or_none();
    let context = task.context();
    let step = callables::step(task.object(), exception)?;
    let args = [owner.borrow(), step.borrow(), context.borrow()];
    call_method_kw(interned().call_soon, &args, interned().kw_context).map(drop)
}

/// A future has no memory to note that `task` waits for it: asyncio's `add_done_callback` would have raised in the step.
#[cold]
#[inline(never)]
fn cannot_wait(task: TaskObj) -> Res<()> {
    let this = task.borrow();
    drop(this.waits_for.take());
    error::no_memory().or_else(|Raised| this.future.native().map_or(Err(Raised), |state| failed(state, this)))
}

/// Something else was yielded: a future-like object, or a mistake, which is thrown back in.
#[cold]
fn wait_for_other(task: &TaskHead, out: Obj) -> Res<()> {
    let (n, yielded, slf) = (interned(), out.borrow(), task.object());
    if yielded == slf {
        return mistake(task, c"Task cannot await on itself: %R", yielded, None);
    }
    let blocking = match getattr_opt(yielded, n.asyncio_future_blocking)? {
        Some(blocking) if !blocking.borrow().is_none() => truth(&blocking)?,
        // SAFETY: looks at the type of a live object.
        _ if unsafe { PyGen_CheckExact(yielded.as_ptr()) } != 0 => {
            let text = c"yield was used instead of yield from for generator in task %R with %R";
            return mistake(task, text, slf, Some(yielded));
        }
        _ => return mistake(task, c"Task got bad yield: %R", yielded, None),
    };
    let owner = future::loop_of(yielded)?;
    if owner.as_ptr() != task.future.owner.get() {
        return mistake(task, c"Task %R got Future %R attached to a different loop", slf, Some(yielded));
    }
    if !blocking {
        return mistake(task, c"yield was used instead of yield from in task %R with %R", slf, Some(yielded));
    }
    setattr(yielded, n.asyncio_future_blocking, &boolean(false))?;
    tell_graph(layout().add_awaited_by, yielded, task);
    let wakeup = callables::wakeup(slf)?;
    let context = task.context();
    let args = [yielded, wakeup.borrow(), context.borrow()];
    call_method_kw(n.add_done_callback, &args, n.kw_context)?;
    task.waits_for.set(out);
    if task.future.marks.has(Mark::MustCancel) { cancel_waited(task) } else { Ok(()) }
}

/// Has a RuntimeError thrown into the task in its next step. The format takes `first`, or both.
#[cold]
fn mistake(task: &TaskHead, format: &CStr, first: Ref, second: Option<Ref>) -> Res<()> {
    let _ = error::raise_with::<()>(builtin::runtime_error(), format, first, second);
    let exception = error::take();
    schedule(task.hold(), exception)
}
