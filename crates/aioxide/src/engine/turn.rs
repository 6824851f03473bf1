//! One iteration of the loop, in asyncio's order: file descriptors, timers, then all that was ready by then.

use std::cell::RefCell;
use std::io;

use aioxide_sys::clock;
use aioxide_sys::epoll::Events;
use pyo3_ffi::*;

use super::loop_object::{Engine, LoopObject, check_open, io_result};
use super::{observed, signals, watch};
use crate::ffi::object::call_method;
use crate::ffi::{NULL, Obj, Raised, Raw, Res, async_exc, context, error, monotonic, names, snapshot};
use crate::task::loop_state::{Item, LoopState};
use crate::task::overrides::TIME;
use crate::task::report;
use crate::task::{finish, handle, handle_run};
use crate::task::{registry, run_hook, step};

/// asyncio's `MAXIMUM_SELECT_TIMEOUT`, in seconds.
const LONGEST_WAIT: f64 = 24.0 * 3600.0;

/// Runs until `stop` is called. `Err` is what must leave the loop; all that was not run yet stays queued.
pub fn run_until_stopped(this: &LoopObject) -> Res<()> {
    let engine = &this.engine;
    engine.io_touched.set(true);
    let result = loop {
        if let Err(Raised) = turn(this) {
            break Err(Raised);
        }
        if this.state.stopping.get() {
            break Ok(());
        }
    };
    registry_leave(&this.state);
    // What was written in the last turn still leaves, and what that made others write.
    let pending = error::take();
    let flushed = flush_the_rest(engine);
    if pending.is_none() {
        return result.and(flushed);
    }
    if flushed.is_err() {
        error::unraisable(NULL);
    }
    error::restore(pending);
    result
}

/// Sends until nobody writes any more: a log that goes over a connection may write because another one failed. Each can
/// fail once; who makes new ones for ever has the rest sent when the loop closes.
fn flush_the_rest(engine: &Engine) -> Res<()> {
    let mut rounds = 100;
    while engine.has_to_flush() && rounds > 0 {
        engine.flush_now()?;
        rounds -= 1;
    }
    Ok(())
}

pub fn registry_leave(state: &LoopState) {
    if crate::ffi::compat::has_layout() {
        registry::leave(state);
    }
}

/// One iteration.
pub fn turn(this: &LoopObject) -> Res<()> {
    let (state, engine) = (&this.state, &this.engine);
    // What was written while the loop did not run, or by what the last flush called.
    engine.flush_now()?;
    let idle = state.ready_len() == 0;
    let polls = idle || state.stopping.get() || engine.poll_due();
    if polls {
        poll(this)?;
    }
    if state.timer_count() > 0 {
        // A clock of the program's own may have been put forward since: asyncio reads it in every turn.
        if !polls && has_own_clock(state) {
            now(state)?;
        }
        run_due_timers(this);
    }
    let batch = state.ready_len();
    for _ in 0..batch {
        // Asked first: nothing may come between a call's leaving the queue and its run. Taken out where it is used: an entry
        // that is handed on goes through memory.
        if state.debug.get() || run_hook::is_set() {
            observed::run_next(state)?;
        } else {
            let Some(item) = state.pop() else { break };
            run_item(state, item)?;
        }
    }
    engine.flush_now()
}

/// `time.monotonic()`, of which the standard library may hold a program's own.
#[inline(always)]
pub fn monotonic() -> Res<f64> {
    monotonic::replaced().unwrap_or_else(|| Ok(clock::monotonic()))
}

/// Whether the loop's clock is, or may be, one that the program has put in place.
#[inline(always)]
fn has_own_clock(state: &LoopState) -> bool {
    monotonic::has_changed() || state.overrides.has(state.object, TIME)
}

/// The loop's clock: `time.monotonic`, or the user's.
pub fn now(state: &LoopState) -> Res<f64> {
    let now = if state.overrides.has(state.object, TIME) {
        let value = call_method(names().time, &[state.object])?;
        // SAFETY: converts or raises.
        let now = unsafe { PyFloat_AsDouble(value.as_ptr()) };
        if now == -1.0 && error::occurred() {
            return Err(Raised);
        }
        now
    } else {
        monotonic()?
    };
    state.now.set(now);
    Ok(now)
}

/// Timers that were due at the last reading of the clock, which each poll renews, are run without another.
#[inline(never)]
fn run_due_timers(this: &LoopObject) {
    let state = &this.state;
    if let Some(when) = state.next_timer()
        && when <= state.now.get()
    {
        state.take_due_timers(state.now.get());
    }
}

/// Looks at the file descriptors; waits when there is nothing else to do.
#[inline(never)]
fn poll(this: &LoopObject) -> Res<()> {
    let (state, engine) = (&this.state, &this.engine);
    check_open(engine)?;
    state.trim_ready();
    let nothing_to_do = || state.ready_len() == 0 && !state.stopping.get() && !engine.has_to_flush();
    let timeout = match state.next_timer() {
        Some(when) if nothing_to_do() => Some((when - now(state)?).clamp(0.0, LONGEST_WAIT)),
        _ => None,
    };
    // Looked at last: the user's own clock may have scheduled something, or let another thread do it.
    let timeout = if nothing_to_do() { timeout } else { Some(0.0) };
    engine.io_touched.set(false);
    let events = if timeout == Some(0.0) {
        engine.look()
    } else {
        registry_leave(state);
        engine.wait(timeout)
    };
    if state.timer_count() > 0 {
        now(state)?;
    }
    match events {
        Ok(events) => {
            let result = dispatch(this, &events);
            engine.recycle(events);
            result?;
        }
        Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
        Err(why) => return io_result(Err(why)),
    }
    signals::check_signals()?;
    async_exc::check()
}

/// What one event queues at most: a read and a write.
const ITEMS_OF_AN_EVENT: usize = 2;

/// An event comes once. Where there is no memory to queue what it brings, some of what was queued before runs first.
#[cold]
#[inline(never)]
fn run_until_room(state: &LoopState) -> Res<()> {
    while !state.make_room(ITEMS_OF_AN_EVENT) {
        if state.ready_len() == 0 {
            return error::no_memory();
        }
        if state.debug.get() || run_hook::is_set() {
            observed::run_next(state)?;
        } else if let Some(item) = state.pop() {
            run_item(state, item)?;
        }
    }
    Ok(())
}

fn dispatch(this: &LoopObject, events: &Events) -> Res<()> {
    let (state, engine) = (&this.state, &this.engine);
    let mut stale = false;
    let cancelled = RefCell::new(Vec::new());
    for (data, flags) in events.iter() {
        if !state.make_room(ITEMS_OF_AN_EVENT) {
            run_until_room(state)?;
        }
        let known = engine.sources.dispatch(state, data, flags, |handle| {
            // SAFETY: the table holds handles only.
            if unsafe { handle::is_cancelled(handle.as_ptr()) } {
                cancelled.borrow_mut().push(data as u32 as i32);
            } else {
                state.push_or_report(Item::Run(handle.clone()));
            }
        });
        stale |= !known;
    }
    for fd in cancelled.into_inner() {
        watch::drop_cancelled(this, fd);
    }
    if stale {
        io_result(engine.rebuild())?;
    }
    Ok(())
}

// --------------------------------------------------------------------------------------------------------- items

/// Runs one entry, where few do.
#[cold]
#[inline(never)]
pub fn run_one(state: &LoopState, item: Item) -> Res<()> {
    run_item(state, item)
}

/// Runs one entry. An exception goes to the loop's exception handler, unless it must leave the loop.
#[inline(always)]
fn run_item(state: &LoopState, item: Item) -> Res<()> {
    // SAFETY: items hold what their names say; tasks exist only where the layout is known.
    unsafe {
        match item {
            Item::Step(task) => step::run(state, task, None).or_else(|Raised| step_failed(state)),
            Item::Call(call) => {
                registry_leave(state);
                handle_run::run_call(state, call)
            }
            Item::Run(handle) => {
                registry_leave(state);
                handle_run::run(handle)
            }
            Item::Cancelled(place) => {
                handle::retire_cancelled(place);
                Ok(())
            }
            Item::Done { callback, future, context } => {
                registry_leave(state);
                run_done(state, callback, future, context)
            }
            Item::Finish { future, outcome } => {
                registry_leave(state);
                finish::finish(future.as_ptr(), outcome).or_else(|Raised| step_failed(state))
            }
            Item::Job { object, run } => {
                registry_leave(state);
                run(state, object.as_ptr()).or_else(|Raised| job_failed(object.as_ptr()))
            }
            Item::Wake { task, future } => {
                step::wake(state, task, future).or_else(|Raised| step_failed(state))
            }
            Item::Throw { task, exception } => {
                step::run_throwing(state, task, exception).or_else(|Raised| step_failed(state))
            }
        }
    }
}

#[inline(always)]
fn run_done(state: &LoopState, callback: Obj, future: Obj, context: Obj) -> Res<()> {
    if !snapshot::is_snapshot(context.as_ptr()) {
        return run_done_in(state, callback, future, context);
    }
    let entered = snapshot::enter(&state.spare_context, context)?;
    // SAFETY: live objects.
    let result = Obj::steal(unsafe { PyObject_CallOneArg(callback.as_ptr(), future.as_ptr()) });
    context::exit(entered.as_ptr());
    let result = match result {
        Ok(_) => Ok(()),
        Err(Raised) => done_failed(state, &callback, &future, &entered),
    };
    snapshot::put_back(&state.spare_context, entered);
    result
}

/// The callback was given its context.
fn run_done_in(state: &LoopState, callback: Obj, future: Obj, context: Obj) -> Res<()> {
    let result = match context::enter(context.as_ptr()) {
        Err(Raised) if context::is_context(context.as_ptr()) => Err(Raised),
        Err(Raised) => {
            error::clear();
            context::run_by_method(context.as_ptr(), callback.as_ptr(), &[future.as_ptr()])
        }
        Ok(()) => {
            // SAFETY: live objects.
            let result = Obj::steal(unsafe { PyObject_CallOneArg(callback.as_ptr(), future.as_ptr()) });
            context::exit(context.as_ptr());
            result
        }
    };
    match result {
        Ok(_) => Ok(()),
        Err(Raised) => done_failed(state, &callback, &future, &context),
    }
}

/// As if a handle had run the callback: makes one, for the report.
#[cold]
fn done_failed(state: &LoopState, callback: &Obj, future: &Obj, context: &Obj) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    let handle = handle::new(state.object, callback.as_ptr(), &[future.as_ptr()], context.as_ptr())?;
    handle_run::report_failure(&handle, exception)
}

/// A step that failed after the coroutine's part in it, when its outcome was to be told: reported as asyncio reports a
/// failed callback.
#[cold]
fn step_failed(state: &LoopState) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    // SAFETY: constant text.
    let message =
        Obj::steal(unsafe { PyUnicode_FromString(c"Exception in callback Task.__step()".as_ptr()) })?;
    let n = names();
    report::report_context(state.object, &[(n.message, message.as_ptr()), (n.exception, exception.as_ptr())])
}

#[cold]
fn job_failed(object: Raw) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    error::unraisable(object);
    Ok(())
}
