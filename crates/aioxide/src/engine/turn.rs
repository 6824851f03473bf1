//! One iteration of the loop, in asyncio's order: file descriptors, timers, then all that was ready by then.

use std::cell::RefCell;
use std::io;

use aioxide_sys::epoll::Events;

use super::loop_clock::{has_own_clock, now};
use super::loop_object::{Engine, LoopObject, check_open, io_result};
use super::run::{registry_leave, run_item};
use super::source::Delivered;
use super::{observed, watch};
use crate::ffi::cells::Turn;
use crate::ffi::class::Native;
use crate::ffi::object::check;
use crate::ffi::{Raised, Res, async_exc, error};
use crate::task::loop_state::{Item, LoopState};
use crate::task::{handle, run_hook, scheduled};

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
        error::unraisable(None);
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

/// One iteration.
pub fn turn(this: &LoopObject) -> Res<()> {
    let (state, engine) = (&this.state, &this.engine);
    // SAFETY: asyncio's `run_forever` refuses a loop that runs; only tests call `_run_once`, on one that does not.
    let turn = unsafe { engine.begin_turn(this.py()) };
    // What was written while the loop did not run, or by what the last flush called.
    engine.flush_now()?;
    let idle = state.ready_len() == 0;
    let polls = idle || state.stopping.get() || engine.poll_due(turn);
    if polls {
        poll(this, turn)?;
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
        if state.debug.get() || run_hook::is_set(this.py()) {
            observed::run_next(state)?;
        } else {
            let Some(item) = state.pop() else { break };
            run_item(state, item)?;
        }
    }
    engine.flush_now()
}

/// Timers that were due at the last reading of the clock, which each poll renews, are run without another.
#[inline(never)]
fn run_due_timers(this: &LoopObject) {
    let state = &this.state;
    if let Some(when) = scheduled::next_timer(state)
        && when <= state.now.get()
    {
        scheduled::take_due_timers(state, state.now.get());
    }
}

/// Looks at the file descriptors; waits when there is nothing else to do.
#[inline(never)]
fn poll(this: &LoopObject, turn: Turn) -> Res<()> {
    let (state, engine) = (&this.state, &this.engine);
    check_open(engine)?;
    state.trim_ready();
    let nothing_to_do = || state.ready_len() == 0 && !state.stopping.get() && !engine.has_to_flush();
    let timeout = match scheduled::next_timer(state) {
        Some(when) if nothing_to_do() => Some((when - now(state)?).clamp(0.0, LONGEST_WAIT)),
        _ => None,
    };
    // Looked at last: the user's own clock may have scheduled something, or let another thread do it.
    let timeout = if nothing_to_do() { timeout } else { Some(0.0) };
    engine.io_touched.set(false);
    let events = if timeout == Some(0.0) {
        engine.look(turn)
    } else {
        registry_leave(state);
        engine.wait(turn, timeout)
    };
    match events {
        Ok(events) => {
            let result = queue_events(this, &events);
            engine.recycle(turn, events);
            result?;
        }
        Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
        Err(why) => return io_result(Err(why)),
    }
    // Behind the events, which come once: the program's own clock may raise.
    if state.timer_count() > 0 {
        now(state)?;
    }
    // Python's own signal handlers, in the main thread.
    // SAFETY: needs the GIL only.
    check(unsafe { pyo3_ffi::PyErr_CheckSignals() })?;
    async_exc::check(turn.py())
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
        if state.debug.get() || run_hook::is_set(state.object().py()) {
            observed::run_next(state)?;
        } else if let Some(item) = state.pop() {
            run_item(state, item)?;
        }
    }
    Ok(())
}

fn queue_events(this: &LoopObject, events: &Events) -> Res<()> {
    let (state, engine) = (&this.state, &this.engine);
    let mut stale = false;
    let cancelled = RefCell::new(Vec::new());
    for (data, flags) in events.iter() {
        if !state.make_room(ITEMS_OF_AN_EVENT) {
            run_until_room(state)?;
        }
        let delivered = engine.sources.deliver(state, data, flags, |handle| {
            // SAFETY: the table holds handles only.
            if unsafe { handle::of(&handle).is_cancelled() } {
                // Kept: nothing is released while the table is looked at.
                cancelled.borrow_mut().push((data as u32 as i32, handle));
            } else {
                state.push_or_report(Item::Run(handle));
            }
        });
        match delivered {
            Delivered::Done => {}
            // Closed meanwhile: nobody can wait for it any more.
            Delivered::Again(fd) => drop(engine.watch(fd, engine.sources.wanted(fd))),
            Delivered::Stale => stale = true,
        }
    }
    for (fd, _) in cancelled.into_inner() {
        watch::drop_cancelled(this, fd);
    }
    if stale {
        io_result(engine.rebuild())?;
    }
    Ok(())
}
