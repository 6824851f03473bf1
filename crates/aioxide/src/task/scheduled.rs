//! What a loop has scheduled, where that looks into the handles: timers that are due or cancelled, the end of all that was
//! to run, and what the collector visits.

use std::ffi::{c_int, c_void};

use aioxide_core::timers::Timers;
use pyo3_ffi::visitproc;

use super::handle::{self, Handle};
use super::loop_state::{Item, LoopState};
use crate::ffi::guard::visit;
use crate::ffi::{NULL, Obj, Ref, Slot};

/// One of the heap's.
#[inline(always)]
fn fields(timer: &Obj) -> &Handle {
    // SAFETY: the heap holds timer handles only.
    unsafe { handle::of(timer) }
}

fn is_cancelled(timer: &Obj) -> bool {
    fields(timer).is_cancelled()
}

/// Takes leave of a timer that will not run.
fn drop_timer(timer: Obj) {
    fields(&timer).scheduled.set(false);
    fields(&timer).retire();
}

fn drop_stale_timer(state: &LoopState, timer: Obj) {
    state.cancelled_timers.set(state.cancelled_timers.get().saturating_sub(1));
    drop_timer(timer);
}

/// When the next timer is due, cancelled ones at the head having been dropped.
pub fn next_timer(state: &LoopState) -> Option<f64> {
    loop {
        let stale = state.timers.with(|timers| match timers.first() {
            Some(timer) if is_cancelled(timer) => timers.pop(),
            _ => None,
        });
        match stale {
            Some(timer) => drop_stale_timer(state, timer),
            None => return state.timers.with(|timers| timers.next()),
        }
    }
}

/// Moves all timers that are due at `now` to the ready queue; those that it has no memory for stay for the next turn.
pub fn take_due_timers(state: &LoopState, now: f64) {
    let mut stale: Vec<Obj> = Vec::new();
    state.timers.with(|timers| {
        timers.take_due(now, |timer| {
            let cancelled = is_cancelled(&timer);
            let room = if cancelled { stale.try_reserve(1).is_ok() } else { state.make_room(1) };
            if !room {
                return Err(timer);
            }
            fields(&timer).scheduled.set(false);
            if cancelled {
                stale.push(timer);
            } else {
                state.push_or_report(Item::Run(timer));
            }
            Ok(())
        });
    });
    stale.into_iter().for_each(|timer| drop_stale_timer(state, timer));
}

/// A timer in the heap was cancelled. Sweeps when most of a large heap is: the rule of `BaseEventLoop._run_once`.
pub fn timer_cancelled(state: &LoopState) {
    let cancelled = state.cancelled_timers.get() + 1;
    state.cancelled_timers.set(cancelled);
    let total = state.timer_count();
    if total > 100 && cancelled * 2 > total {
        // Where there is no memory to list them in, a later one sweeps.
        let Ok(stale) = state.timers.with(|timers| timers.take_out(is_cancelled)) else { return };
        state.cancelled_timers.set(0);
        stale.into_iter().for_each(drop_timer);
    }
}

/// Forgets all that was to run, as `close` does.
pub fn clear_ready(state: &LoopState) {
    let mut items = state.ready.with(std::mem::take);
    while let Some(item) = items.pop() {
        // SAFETY: a handle; and what has just left the queue.
        unsafe {
            match item {
                Item::Run(handle) => handle::of(&handle).retire(),
                Item::Call(call) if !call.handle.is_null() => {
                    if let Ok(handle) = handle::of_call(state, call) {
                        handle::of(&handle).retire();
                    }
                }
                Item::Cancelled(place) => handle::retire_cancelled(place),
                _ => {}
            }
        }
    }
}

pub fn clear_timers(state: &LoopState) {
    let timers = state.timers.with(Timers::drain);
    state.cancelled_timers.set(0);
    timers.into_iter().for_each(drop_timer);
}

/// Visits what a loop's state holds.
///
/// # Safety
/// Called from the loop's `tp_traverse`.
pub unsafe fn traverse(state: &LoopState, visitor: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the visitor neither calls back into us nor changes references.
    unsafe {
        let queued = |handle, arg| Ref::new(handle).cast_unchecked::<Handle>().traverse_queued(visitor, arg);
        for (is_handle, objects) in state.ready.visited().iter() {
            if is_handle {
                visit!(objects[0], queued, arg);
                continue;
            }
            for object in objects {
                visit!(*object, visitor, arg);
            }
        }
        for timer in state.timers.visited().iter() {
            visit!(timer.as_ptr(), queued, arg);
        }
        for slot in state.slots() {
            visit!(slot.get(), visitor, arg);
        }
    }
    0
}

/// Releases what a loop's state holds.
pub fn clear(state: &LoopState) {
    clear_ready(state);
    clear_timers(state);
    state.entered.set(NULL);
    state.slots().into_iter().for_each(Slot::clear);
}
