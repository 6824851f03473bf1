//! How a task runs: resume the coroutine in its context, then see what came out.

use std::ffi::CStr;

use pyo3_ffi::*;

use super::future::{self, Future, Waiter};
use super::loop_state::{Item, LoopState};
use super::marks::Mark;
use super::overrides::CALL_SOON;
use super::task::{self, TaskObj, TaskRef, raw_or_null};
use super::{callables, cancel, classes, handle, handle_run, registry, report, waiters};
use crate::ffi::compat::{CFunction, layout};
use crate::ffi::names::stdlib;
use crate::ffi::object::{
    call, call_method, call_method_kw, getattr_opt, import_from, is_none, setattr, truth,
};
use crate::ffi::{Global, NULL, Obj, Raised, Raw, Res, context, error, names, none};

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
    // Borrowed: once entered, the interpreter holds it.
    let context = this.context_slot().get();
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
    let result = if classes::is_exactly_ours(future.as_ptr()) {
        // SAFETY: the type was just looked at.
        unsafe { future::of(future.as_ptr()) }.result()
    } else {
        call_method(names().result, &[future.as_ptr()])
    };
    match result {
        Ok(_) => Ok(None),
        Err(Raised) => Ok(error::take()),
    }
}

/// The context was refused: it is entered already, or it is no context but something with its method `run`.
#[cold]
fn refused(state: &LoopState, task: TaskRef, exception: Option<Obj>) -> Res<()> {
    let context = task.context();
    if !context::is_context(context.as_ptr()) {
        error::clear();
        let step = callables::step(task.as_ptr(), exception)?;
        if context::run_by_method(context.as_ptr(), step.as_ptr(), &[]).is_ok() {
            return Ok(());
        }
    }
    failed(state, task)
}

/// Reports a step that failed for a reason that is not the coroutine's, as asyncio reports a failed callback: the task
/// will not be stepped again.
#[cold]
fn failed(state: &LoopState, task: TaskRef) -> Res<()> {
    report::unless_exit(|exception| {
        let step = callables::step(task.as_ptr(), None)?;
        let handle = handle::new(state.object, step.as_ptr(), &[], task.context().as_ptr())?;
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
    let pair = [owner.as_ptr(), this.as_ptr()];
    call(import_from(c"asyncio.tasks", c"_enter_task")?.as_ptr(), &pair)?;
    let resumed = resume(this, exception);
    let result = settle(this.hold(), resumed);
    let pending = if result.is_err() { error::take() } else { None };
    call(import_from(c"asyncio.tasks", c"_leave_task")?.as_ptr(), &pair)?;
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
pub fn start_eagerly(task: TaskRef) -> Res<()> {
    let swapped = registry::Swapped::enter(task.future.owner.or_none(), task)?;
    registry::register(task)?;
    let context = task.context();
    let result = context::run(context.as_ptr(), || {
        let resumed = resume(task, None);
        settle(task.hold(), resumed)
    });
    if let Some(state) = task.future.native()
        && state.entered.get() == task.as_ptr()
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
fn prepare(task: TaskRef, exception: Option<Obj>) -> Res<Option<Obj>> {
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
fn already_done(task: TaskRef, exception: Option<Obj>) -> Res<Option<Obj>> {
    let shown = exception.unwrap_or_else(none);
    let text = c"__step(): already done: %R %R";
    error::raise_with(stdlib().invalid_state_error, text, task.as_ptr(), shown.as_ptr())
}

#[cold]
fn cancelled_instead(future: &Future, exception: Option<Obj>) -> Res<Option<Obj>> {
    future.marks.put(Mark::MustCancel, false);
    match exception {
        Some(exception) if error::is_instance(exception.as_ptr(), stdlib().cancelled_error) => {
            Ok(Some(exception))
        }
        _ => future.make_cancelled_error().map(Some),
    }
}

#[inline(always)]
fn stop_waiting(task: TaskRef, waited: Obj) {
    let Some(at) = layout().awaited_by else { return };
    if classes::is_exactly_ours(waited.as_ptr()) || classes::is_ours(waited.as_ptr()) {
        // SAFETY: ours begin with `_asyncio`'s fields, in which the offset was found.
        let awaited_by = unsafe { task::base_slot(waited.as_ptr(), at) };
        if awaited_by.get() == task.as_ptr() {
            return awaited_by.clear();
        }
    }
    tell_graph(layout().discard_awaited_by, waited.as_ptr(), task);
}

/// Records for the call graph that the task awaits `future`.
///
/// # Safety
/// `future` is one of ours.
#[inline(always)]
unsafe fn note_awaited_by(future: Raw, task: TaskRef) {
    let Some(at) = layout().awaited_by else { return };
    // SAFETY: ours begin with `_asyncio`'s fields, in which the offset was found.
    let awaited_by = unsafe { task::base_slot(future, at) };
    if awaited_by.is_set() {
        tell_graph(layout().add_awaited_by, future, task);
    } else {
        awaited_by.replace(Some(Obj::new(task.as_ptr())));
    }
}

/// `future_add_to_awaited_by` or `future_discard_from_awaited_by`, which look themselves whether the two are futures.
#[cold]
fn tell_graph(function: Option<CFunction>, future: Raw, task: TaskRef) {
    if let Some(function) = function
        && function.call(&[future, task.as_ptr()]).is_err()
    {
        error::clear();
    }
}

/// Sends `None` into the coroutine, or throws.
#[inline(always)]
fn resume(task: TaskRef, exception: Option<Obj>) -> Resumed {
    // Held: the coroutine's own code can make the task let go of it.
    let Some(coro) = task.coro().share() else { return no_coro() };
    if let Some(exception) = exception {
        return throw(coro.as_ptr(), exception);
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
        super::stop_iteration::release();
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
fn throw(coro: Raw, exception: Obj) -> Resumed {
    match call_method(names().throw, &[coro, exception.as_ptr()]) {
        Ok(yielded) => Resumed::Yielded(yielded),
        // SAFETY: reads a static of the interpreter.
        Err(Raised) if error::matches(unsafe { PyExc_StopIteration }) => match error::take() {
            Some(stop) => Resumed::Returned(stop_value(&stop)),
            None => Resumed::Raised,
        },
        Err(Raised) => Resumed::Raised,
    }
}

fn stop_value(stop: &Obj) -> Obj {
    // SAFETY: an instance of StopIteration or of a subclass, which all begin with these fields.
    unsafe { Obj::maybe((*stop.as_ptr().cast::<PyStopIterationObject>()).value) }.unwrap_or_else(none)
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
            cancel::end(this.as_ptr(), &this.future, raw_or_null(&message)).map(drop)
        }
        Resumed::Returned(value) => waiters::wake(this.as_ptr(), this.future.set_result(value)?),
        Resumed::Raised => end_with_exception(this),
    }
}

#[cold]
fn end_with_exception(task: TaskRef) -> Res<()> {
    let Some(exception) = error::take() else { return Ok(()) };
    let (raw, future) = (task.as_ptr(), &task.future);
    if error::is_instance(exception.as_ptr(), stdlib().cancelled_error) {
        future.keep_cancelled_error(exception);
        return cancel::end(raw, future, NULL).map(drop);
    }
    waiters::wake(raw, future.set_exception(exception.as_ptr())?)?;
    // SAFETY: reads statics of the interpreter.
    let leaving = unsafe { [PyExc_KeyboardInterrupt, PyExc_SystemExit] };
    if leaving.iter().any(|kind| error::is_instance(exception.as_ptr(), *kind)) {
        error::restore(Some(exception));
        return Err(Raised);
    }
    Ok(())
}

/// The coroutine yielded: a future of ours in nearly every case.
#[inline(always)]
fn wait_for(task: TaskObj, out: Obj) -> Res<()> {
    let (this, raw) = (task.borrow(), out.as_ptr());
    if is_none(raw) {
        return schedule(task, None);
    }
    if classes::is_exactly_ours(raw) && raw != this.as_ptr() {
        // SAFETY: the type was just looked at; `out` is held here, then by `waits_for`.
        let future = unsafe { future::of(raw) };
        if future.owner.get() == this.future.owner.get() && future.blocking.replace(false) {
            // SAFETY: as above.
            unsafe { note_awaited_by(raw, this) };
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
fn schedule_wake(task: TaskRef, future: &Future) -> Res<()> {
    let waited = task.waits_for.or_none();
    let callback = callables::wakeup(task.as_ptr())?;
    waiters::add_callback(waited.as_ptr(), future, callback, task.context())
}

/// A cancellation that came during the step is passed on to what the task waits for now.
#[cold]
fn cancel_waited(task: TaskRef) -> Res<()> {
    let message = task.future.cancel_message();
    if let Some(waited) = task.waits_for.share()
        && cancel::any(waited.as_ptr(), raw_or_null(&message))?
    {
        task.future.marks.put(Mark::MustCancel, false);
    }
    Ok(())
}

/// Schedules a step: with `exception` thrown in if there is one.
#[inline(always)]
pub fn schedule(task: TaskObj, exception: Option<Obj>) -> Res<()> {
    // SAFETY: a task; it has its loop until it is done, and goes into that one's queue.
    let this = unsafe { task::of(task.borrow().as_ptr()) };
    let Some(state) = this.future.native() else { return schedule_by_method(this, exception) };
    if !state.is_plain() {
        if state.overrides.has(state.object, CALL_SOON) {
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
fn schedule_by_method(task: TaskRef, exception: Option<Obj>) -> Res<()> {
    let owner = task.future.owner.or_none();
    let context = task.context();
    let step = callables::step(task.as_ptr(), exception)?;
    let args = [owner.as_ptr(), step.as_ptr(), context.as_ptr()];
    call_method_kw(names().call_soon, &args, 2, names().kw_context).map(drop)
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
fn wait_for_other(task: TaskRef, out: Obj) -> Res<()> {
    let (raw, slf) = (out.as_ptr(), task.as_ptr());
    if raw == slf {
        return mistake(task, c"Task cannot await on itself: %R", raw, NULL);
    }
    let blocking = match getattr_opt(raw, names().asyncio_future_blocking)? {
        Some(blocking) if !is_none(blocking.as_ptr()) => truth(blocking.as_ptr())?,
        // SAFETY: looks at the type of a live object.
        _ if unsafe { PyGen_CheckExact(raw) } != 0 => {
            let text = c"yield was used instead of yield from for generator in task %R with %R";
            return mistake(task, text, slf, raw);
        }
        _ => return mistake(task, c"Task got bad yield: %R", raw, NULL),
    };
    let owner = future::loop_of(raw)?;
    if owner.as_ptr() != task.future.owner.get() {
        return mistake(task, c"Task %R got Future %R attached to a different loop", slf, raw);
    }
    if !blocking {
        return mistake(task, c"yield was used instead of yield from in task %R with %R", slf, raw);
    }
    // SAFETY: reads a static of the interpreter.
    setattr(raw, names().asyncio_future_blocking, unsafe { Py_False() })?;
    tell_graph(layout().add_awaited_by, raw, task);
    let wakeup = callables::wakeup(slf)?;
    let context = task.context();
    let args = [raw, wakeup.as_ptr(), context.as_ptr()];
    call_method_kw(names().add_done_callback, &args, 2, names().kw_context)?;
    task.waits_for.set(out);
    if task.future.marks.has(Mark::MustCancel) { cancel_waited(task) } else { Ok(()) }
}

/// Has a RuntimeError thrown into the task in its next step. The format takes `first`, or both.
#[cold]
fn mistake(task: TaskRef, format: &CStr, first: Raw, second: Raw) -> Res<()> {
    // SAFETY: reads a static of the interpreter.
    let kind = unsafe { PyExc_RuntimeError };
    let _ = error::raise_with::<()>(kind, format, first, second);
    let exception = error::take();
    schedule(task.hold(), exception)
}
