//! How a task runs: resume the coroutine in its context, then see what came out.

use pyo3_ffi::*;

use super::future::{self, Future, State, Waiter};
use super::loop_state::{Item, LoopState};
use super::marks::Mark;
use super::overrides::CALL_SOON;
use super::task::{self, Task, raw_or_null};
use super::{callables, cancel, classes, handle, handle_run, registry, waiters};
use crate::ffi::compat::layout;
use crate::ffi::names::stdlib;
use crate::ffi::object::{call_method, call_method_kw, getattr_opt, is_none, setattr, truth};
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
enum Outcome {
    Yielded(Obj),
    Returned(Obj),
    Raised,
}

/// A step of a task on a loop of ours, from the ready queue: `exception` is thrown in if there is one. `Err` is what
/// `asyncio.Handle._run` would see: `SystemExit` and `KeyboardInterrupt` leave the loop, the rest is reported.
///
/// # Safety
/// `task` is an instance of our Task, `state` its loop's.
#[inline(always)]
pub unsafe fn run(state: &LoopState, task: Obj, exception: Option<Obj>) -> Res<()> {
    // SAFETY: `task` is held throughout, so its fields outlive whatever the coroutine does; `settle` takes it over
    // last.
    unsafe {
        let raw = task.as_ptr();
        let this = task::of(raw);
        let exception = match prepare(raw, this, exception) {
            Ok(exception) => exception,
            Err(Raised) => return failed(state, task),
        };
        if registry::enter(state, raw).is_err() {
            return failed(state, task);
        }
        // Borrowed: once entered, the interpreter holds it.
        let context = task::context_slot(raw).get();
        if context::enter(context).is_err() {
            return refused(state, task, exception);
        }
        let outcome = resume(raw, exception);
        context::exit(context);
        settle(task, this, outcome)
    }
}

/// As `run`, apart from it: few steps throw, and a turn is faster for being short.
///
/// # Safety
/// As `run`.
#[inline(never)]
pub unsafe fn run_throwing(state: &LoopState, task: Obj, exception: Obj) -> Res<()> {
    // SAFETY: the same task and state, handed on.
    unsafe { run(state, task, Some(exception)) }
}

/// The context was refused: it is entered already, or it is no context but something with its method `run`.
///
/// # Safety
/// As `run`; the exception of the refusal is set.
#[cold]
unsafe fn refused(state: &LoopState, task: Obj, exception: Option<Obj>) -> Res<()> {
    // SAFETY: a task of ours, as `run` was given it; it is held while its context is asked.
    unsafe {
        let context = task::context_of(task.as_ptr());
        if !context::is_context(context.as_ptr()) {
            error::clear();
            let step = callables::step(task.as_ptr(), exception)?;
            if context::run_by_method(context.as_ptr(), step.as_ptr(), &[]).is_ok() {
                return Ok(());
            }
        }
        failed(state, task)
    }
}

/// Reports a step that failed for a reason that is not the coroutine's, as asyncio reports a failed callback: the task
/// will not be stepped again.
///
/// # Safety
/// As `run`.
#[cold]
unsafe fn failed(state: &LoopState, task: Obj) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    let step = callables::step(task.as_ptr(), None)?;
    // SAFETY: a task of ours, held here.
    let context = unsafe { task::context_of(task.as_ptr()) };
    let handle = handle::new(state.object, step.as_ptr(), &[], context.as_ptr())?;
    handle_run::report_failure(&handle, exception)
}

/// Resumes a task whose future has ended in an exception or was cancelled, which is thrown in.
///
/// # Safety
/// As `run`.
#[inline(never)]
pub unsafe fn wake(state: &LoopState, task: Obj, future: Obj) -> Res<()> {
    let exception = exception_of(future)?;
    // SAFETY: the same task and state, handed on; the future is released before the step.
    unsafe { run(state, task, exception) }
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

/// A step called as a Python function, in whatever context the caller is: on a foreign loop, or by a handle.
///
/// # Safety
/// `task` is an instance of our Task.
pub unsafe fn run_called(task: Obj, exception: Option<Obj>) -> Res<()> {
    // SAFETY: `task` is held throughout, as in `run`.
    unsafe {
        let raw = task.as_ptr();
        let this = task::of(raw);
        let exception = prepare(raw, this, exception)?;
        let owner = this.future.owner.or_none();
        if let Some(state) = this.future.native() {
            registry::leave(state);
        }
        enter_called(owner.as_ptr(), raw)?;
        let outcome = resume(raw, exception);
        let result = settle(task.clone(), this, outcome);
        leave_called(owner.as_ptr(), raw, result)
    }
}

/// As `run_called`, with a finished future's outcome: what a foreign future calls back.
///
/// # Safety
/// As `run_called`.
pub unsafe fn wake_called(task: Obj, future: Obj) -> Res<()> {
    let exception = exception_of(future)?;
    // SAFETY: the same task, handed on.
    unsafe { run_called(task, exception) }
}

fn enter_called(owner: Raw, task: Raw) -> Res<()> {
    let function = crate::ffi::object::import_from(c"asyncio.tasks", c"_enter_task")?;
    crate::ffi::object::call(function.as_ptr(), &[owner, task]).map(drop)
}

fn leave_called(owner: Raw, task: Raw, result: Res<()>) -> Res<()> {
    let pending = if result.is_err() { error::take() } else { None };
    let function = crate::ffi::object::import_from(c"asyncio.tasks", c"_leave_task")?;
    crate::ffi::object::call(function.as_ptr(), &[owner, task])?;
    if pending.is_some() {
        error::restore(pending);
    }
    result
}

/// The first step of an eager task, inside the call that makes it. True if it is done after that.
///
/// # Safety
/// `task` is an initialised instance of our Task, not registered yet.
pub unsafe fn start_eagerly(task: &Obj) -> Res<bool> {
    // SAFETY: the caller holds `task` for longer than this runs.
    unsafe {
        let raw = task.as_ptr();
        let this = task::of(raw);
        let owner = this.future.owner.or_none();
        let swapped = registry::Swapped::enter(owner.as_ptr(), raw)?;
        registry::register(raw)?;
        let context = task::context_of(raw);
        let result = context::run(context.as_ptr(), || {
            let outcome = resume(raw, None);
            settle(task.clone(), this, outcome)
        });
        if let Some(state) = this.future.native() {
            // `Swapped` puts asyncio's record back; ours must not claim that this task is still in it.
            forget_entered(state, raw);
        }
        swapped.leave()?;
        result?;
        let done = this.future.state() != State::Pending;
        if done {
            // Not empty: `_asyncio.Task.get_coro` of 3.12 takes for granted that something stands there.
            task::coro_of(raw).set(none());
        }
        Ok(done)
    }
}

fn forget_entered(state: &LoopState, raw: Raw) {
    if state.entered.get() == raw {
        state.entered.set(NULL);
    }
}

/// Takes the task out of its wait, and turns a cancellation that was asked for into an exception to throw.
///
/// # Safety
/// `raw` is a task of ours, and `this` its fields.
#[inline(always)]
unsafe fn prepare(raw: Raw, this: &Task, exception: Option<Obj>) -> Res<Option<Obj>> {
    // SAFETY: what runs below may run Python, but the caller holds the task.
    unsafe {
        if !this.future.is_pending() {
            return already_done(raw, exception);
        }
        let exception = if this.future.marks.has(Mark::MustCancel) {
            cancelled_instead(this, exception)?
        } else {
            exception
        };
        if this.waits_for.is_set() {
            stop_waiting(raw, this);
        }
        Ok(exception)
    }
}

/// # Safety
/// `raw` is a live object.
#[cold]
unsafe fn already_done(raw: Raw, exception: Option<Obj>) -> Res<Option<Obj>> {
    let shown = raw_or_null(&exception);
    // SAFETY: reads a static of the interpreter.
    let shown = if shown.is_null() { unsafe { Py_None() } } else { shown };
    error::raise_with(stdlib().invalid_state_error, c"__step(): already done: %R %R", raw, shown)
}

#[cold]
fn cancelled_instead(this: &Task, exception: Option<Obj>) -> Res<Option<Obj>> {
    this.future.marks.put(Mark::MustCancel, false);
    match exception {
        Some(exception) if error::is_instance(exception.as_ptr(), stdlib().cancelled_error) => {
            Ok(Some(exception))
        }
        _ => this.future.make_cancelled_error().map(Some),
    }
}

/// # Safety
/// `raw` is a task of ours, and `this` its fields.
#[inline(always)]
unsafe fn stop_waiting(raw: Raw, this: &Task) {
    // SAFETY: `waited` is held here; the offset is read in what was found to be of our types.
    unsafe {
        let Some(waited) = this.waits_for.take() else { return };
        if let Some(at) = layout().awaited_by {
            let ours = classes::is_exactly_ours(waited.as_ptr()) || classes::is_ours(waited.as_ptr());
            if ours && task::base_slot(waited.as_ptr(), at).get() == raw {
                task::base_slot(waited.as_ptr(), at).clear();
            } else {
                discard_awaited_by(waited.as_ptr(), raw);
            }
        }
    }
}

#[cold]
fn discard_awaited_by(waited: Raw, raw: Raw) {
    if let Some(discard) = layout().discard_awaited_by
        && discard.call(&[waited, raw]).is_err()
    {
        error::clear();
    }
}

/// Records for the call graph that the task awaits `future`, one of ours.
///
/// # Safety
/// `future` is a future of ours, `raw` a task.
#[inline(always)]
unsafe fn note_awaited_by(future: Raw, raw: Raw) {
    // SAFETY: ours begin with `_asyncio`'s fields, in which the offset was found.
    unsafe {
        if let Some(at) = layout().awaited_by {
            if !task::base_slot(future, at).is_set() {
                task::base_slot(future, at).replace(Some(Obj::new(raw)));
            } else if let Some(add) = layout().add_awaited_by
                && add.call(&[future, raw]).is_err()
            {
                error::clear();
            }
        }
    }
}

/// Sends `None` into the coroutine, or throws.
///
/// # Safety
/// `raw` is a task of ours that the caller holds.
#[inline(always)]
unsafe fn resume(raw: Raw, exception: Option<Obj>) -> Outcome {
    // SAFETY: the coroutine is held here; `out` is filled with a reference unless an error is told.
    unsafe {
        // Held: the coroutine's own code can make the task let go of it.
        let Some(coro) = task::coro_of(raw).share() else { return no_coro() };
        if let Some(exception) = exception {
            return throw(coro.as_ptr(), exception);
        }
        let mut out = NULL;
        let sent = if Py_TYPE(coro.as_ptr()) == &raw mut PyCoro_Type {
            CORO_SEND.get()(coro.as_ptr(), Py_None(), &mut out)
        } else {
            PyIter_Send(coro.as_ptr(), Py_None(), &mut out)
        };
        #[cfg(Py_3_12)]
        super::stop_iteration::release();
        match sent {
            PySendResult::PYGEN_NEXT => Outcome::Yielded(Obj::own(out)),
            PySendResult::PYGEN_RETURN => Outcome::Returned(Obj::own(out)),
            PySendResult::PYGEN_ERROR => Outcome::Raised,
        }
    }
}

#[cold]
fn no_coro() -> Outcome {
    let _ = error::runtime_error::<()>(c"Task object is not initialized.");
    Outcome::Raised
}

#[cold]
fn throw(coro: Raw, exception: Obj) -> Outcome {
    match call_method(names().throw, &[coro, exception.as_ptr()]) {
        Ok(yielded) => Outcome::Yielded(yielded),
        // SAFETY: reads a static of the interpreter.
        Err(Raised) if error::matches(unsafe { PyExc_StopIteration }) => match error::take() {
            Some(stop) => Outcome::Returned(stop_value(&stop)),
            None => Outcome::Raised,
        },
        Err(Raised) => Outcome::Raised,
    }
}

fn stop_value(stop: &Obj) -> Obj {
    // SAFETY: an instance of StopIteration or of a subclass, which all begin with these fields.
    unsafe { Obj::maybe((*stop.as_ptr().cast::<PyStopIterationObject>()).value) }.unwrap_or_else(none)
}

/// # Safety
/// `this` are the fields of `task`, a task of ours.
#[inline(always)]
unsafe fn settle(task: Obj, this: &Task, outcome: Outcome) -> Res<()> {
    // SAFETY: `task` is held until one of these calls takes it, as its last act.
    unsafe {
        match outcome {
            Outcome::Yielded(out) => wait_for(task, this, out),
            Outcome::Returned(value) if this.future.marks.has(Mark::MustCancel) => {
                // Cancelled in the very step that returned.
                drop(value);
                this.future.marks.put(Mark::MustCancel, false);
                let message = this.future.cancel_message();
                cancel::end(task.as_ptr(), &this.future, raw_or_null(&message)).map(drop)
            }
            Outcome::Returned(value) => waiters::wake(task.as_ptr(), this.future.set_result(value)?),
            Outcome::Raised => end_with_exception(task.as_ptr(), &this.future),
        }
    }
}

/// # Safety
/// `raw` is a task of ours that the caller holds, `future` its fields.
#[cold]
unsafe fn end_with_exception(raw: Raw, future: &Future) -> Res<()> {
    let Some(exception) = error::take() else { return Ok(()) };
    if error::is_instance(exception.as_ptr(), stdlib().cancelled_error) {
        future.keep_cancelled_error(exception);
        return cancel::end(raw, future, NULL).map(drop);
    }
    // SAFETY: reads statics of the interpreter.
    let leaves = unsafe {
        error::is_instance(exception.as_ptr(), PyExc_KeyboardInterrupt)
            || error::is_instance(exception.as_ptr(), PyExc_SystemExit)
    };
    waiters::wake(raw, future.set_exception(exception.as_ptr())?)?;
    if leaves {
        error::restore(Some(exception));
        return Err(Raised);
    }
    Ok(())
}

/// The coroutine yielded: a future of ours in nearly every case.
///
/// # Safety
/// `this` are the fields of `task`, a task of ours.
#[inline(always)]
unsafe fn wait_for(task: Obj, this: &Task, out: Obj) -> Res<()> {
    // SAFETY: `future` is looked at as ours after its type was; it is held by `out`, then by `waits_for`.
    unsafe {
        let raw = out.as_ptr();
        if is_none(raw) {
            return schedule(task, None);
        }
        if classes::is_exactly_ours(raw) && raw != task.as_ptr() {
            let future = future::of(raw);
            if future.owner.get() == this.future.owner.get() && future.blocking.replace(false) {
                note_awaited_by(raw, task.as_ptr());
                this.waits_for.replace(Some(out));
                if !future.is_pending() {
                    // Done since it was yielded: by a coroutine or wrapper that did not hand it on at once.
                    return schedule_wake(task, future);
                }
                if let Err(waiter) = future.add_waiter(Waiter { callback: task, context: None }) {
                    return cannot_wait(this, waiter.callback);
                }
                return if this.future.marks.has(Mark::MustCancel) { cancel_waited(this) } else { Ok(()) };
            }
        }
        let kept = task.clone();
        match (wait_for_other(task, this, out), this.future.native()) {
            (Err(Raised), Some(state)) => failed(state, kept),
            (result, _) => result,
        }
    }
}

/// # Safety
/// `task` is a task of ours that waits for `future`, one of ours.
unsafe fn schedule_wake(task: Obj, future: &Future) -> Res<()> {
    // SAFETY: `task` and `waited` are held here.
    unsafe {
        let waited = task::of(task.as_ptr()).waits_for.or_none();
        let context = task::context_of(task.as_ptr());
        let callback = callables::wakeup(task.as_ptr())?;
        waiters::add_callback(waited.as_ptr(), future, callback, context)
    }
}

/// A cancellation that came during the step is passed on to what the task waits for now.
///
/// # Safety
/// `this` is the body of a task of ours that the caller holds.
#[cold]
unsafe fn cancel_waited(this: &Task) -> Res<()> {
    // SAFETY: `waited` is held while its `cancel` runs, and the task by the caller.
    unsafe {
        let message = this.future.cancel_message();
        if let Some(waited) = this.waits_for.share()
            && cancel::any(waited.as_ptr(), raw_or_null(&message))?
        {
            this.future.marks.put(Mark::MustCancel, false);
        }
        Ok(())
    }
}

/// Schedules a step: with `exception` thrown in if there is one.
///
/// # Safety
/// `task` is an initialised instance of our Task.
#[inline(always)]
pub unsafe fn schedule(task: Obj, exception: Option<Obj>) -> Res<()> {
    // SAFETY: `task` is held here; its loop's state lives as long as the future, which has the loop.
    unsafe {
        if let Some(state) = task::of(task.as_ptr()).future.native() {
            if !state.is_plain() {
                if state.overrides.has(state.object, CALL_SOON) {
                    return schedule_by_method(task, exception);
                }
                state.check_schedule()?;
            }
            return match exception {
                None => state.push(Item::Step(task)),
                Some(exception) => state.push(Item::Throw { task, exception }),
            };
        }
        schedule_by_method(task, exception)
    }
}

/// # Safety
/// `task` is an initialised instance of our Task.
#[cold]
unsafe fn schedule_by_method(task: Obj, exception: Option<Obj>) -> Res<()> {
    // SAFETY: `task` is held here while the loop's method runs.
    unsafe {
        let owner = task::of(task.as_ptr()).future.owner.or_none();
        let context = task::context_of(task.as_ptr());
        let step = callables::step(task.as_ptr(), exception)?;
        let args = [owner.as_ptr(), step.as_ptr(), context.as_ptr()];
        call_method_kw(names().call_soon, &args, 2, names().kw_context).map(drop)
    }
}

/// A future has no memory to note that `task` waits for it: asyncio's `add_done_callback` would have raised in the step.
///
/// # Safety
/// `this` are the fields of `task`, a task of ours.
#[cold]
#[inline(never)]
unsafe fn cannot_wait(this: &Task, task: Obj) -> Res<()> {
    drop(this.waits_for.take());
    let state = this.future.native();
    // SAFETY: `task` is the caller's, a task of ours.
    error::no_memory().or_else(|Raised| state.map_or(Err(Raised), |state| unsafe { failed(state, task) }))
}

/// Something else was yielded: a future-like object, or a mistake, which is thrown back in.
///
/// # Safety
/// `this` are the fields of `task`, a task of ours.
#[cold]
unsafe fn wait_for_other(task: Obj, this: &Task, out: Obj) -> Res<()> {
    // SAFETY: `task` and `out` are held here while methods of the yielded object run.
    unsafe {
        let (raw, slf) = (out.as_ptr(), task.as_ptr());
        if raw == slf {
            return mistake(task, c"Task cannot await on itself: %R", raw, NULL);
        }
        let blocking = match getattr_opt(raw, names().asyncio_future_blocking)? {
            Some(blocking) if !is_none(blocking.as_ptr()) => truth(blocking.as_ptr())?,
            _ if PyGen_CheckExact(raw) != 0 => {
                let text = c"yield was used instead of yield from for generator in task %R with %R";
                return mistake(task, text, slf, raw);
            }
            _ => return mistake(task, c"Task got bad yield: %R", raw, NULL),
        };
        let owner = future::loop_of(raw)?;
        if owner.as_ptr() != this.future.owner.get() {
            return mistake(task, c"Task %R got Future %R attached to a different loop", slf, raw);
        }
        if !blocking {
            return mistake(task, c"yield was used instead of yield from in task %R with %R", slf, raw);
        }
        setattr(raw, names().asyncio_future_blocking, Py_False())?;
        note_awaited_by_any(raw, slf);
        let wakeup = callables::wakeup(slf)?;
        let context = task::context_of(slf);
        let args = [raw, wakeup.as_ptr(), context.as_ptr()];
        call_method_kw(names().add_done_callback, &args, 2, names().kw_context)?;
        this.waits_for.set(out);
        if this.future.marks.has(Mark::MustCancel) { cancel_waited(this) } else { Ok(()) }
    }
}

/// `future_add_to_awaited_by` looks itself whether the two are futures.
fn note_awaited_by_any(future: Raw, raw: Raw) {
    if let Some(add) = layout().add_awaited_by
        && add.call(&[future, raw]).is_err()
    {
        error::clear();
    }
}

/// Has a RuntimeError thrown into the task in its next step.
///
/// # Safety
/// `task` is a task of ours; `first` is a live object, `second` one where the format takes two.
#[cold]
unsafe fn mistake(task: Obj, format: &std::ffi::CStr, first: Raw, second: Raw) -> Res<()> {
    // SAFETY: what the format names is live: `task`'s and the yielded object's references are the caller's.
    unsafe {
        let _ = error::raise_with::<()>(PyExc_RuntimeError, format, first, second);
        let exception = error::take();
        schedule(task, exception)
    }
}
