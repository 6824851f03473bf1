//! Calls of a loop that run elsewhere: in a thread, in a process. What a pool holds of one is a `LoopCall`.

use std::cell::Cell;

use super::loop_object::loop_of;
use super::signals::Bell;
use super::spin::{self, Bets};
use crate::ffi::object::call_method;
use crate::ffi::{Obj, Res, compat, names};
use crate::task::finish::Outcome;
use crate::task::loop_state::{self, Item, LoopState};
use crate::task::overrides::{CALL_SOON_THREADSAFE, CREATE_FUTURE};
use crate::task::{future, future_type};

/// How many calls are out, and whether it has paid to spin for them.
pub struct Calls {
    in_flight: Cell<u32>,
    /// The longest spin that a pool of these calls allows, in ticks.
    limit: Cell<u64>,
    bets: Bets,
    /// A call has begun since `has_short` was asked last; and when that was, in ticks.
    begun: Cell<bool>,
    begun_at: Cell<u64>,
}

/// A call that has been out for so many microseconds is not a short one.
const SHORT: f64 = 20_000.0;

impl Calls {
    pub fn new() -> Calls {
        Calls {
            in_flight: Cell::new(0),
            limit: Cell::new(0),
            bets: Bets::new(),
            begun: Cell::new(false),
            begun_at: Cell::new(0),
        }
    }

    /// For how many ticks the loop should spin before it sleeps: 0 when no call is out, or when it did not pay of late.
    #[inline(always)]
    pub fn spin_limit(&self) -> u64 {
        if self.in_flight.get() > 0 && self.bets.bet() { self.limit.get() } else { 0 }
    }

    /// The loop has spun: has what it waited for come meanwhile?
    pub fn spun(&self, won: bool) {
        if !won {
            self.bets.record(false);
        }
        self.bets.paid(won);
    }

    /// A call of this loop is about to begin elsewhere.
    pub fn note_begin(&self) {
        self.begun.set(true);
    }

    /// Whether a call may be out at `now` that began only lately.
    pub fn has_short(&self, now: u64) -> bool {
        if self.begun.replace(false) {
            self.begun_at.set(now);
        }
        now.wrapping_sub(self.begun_at.get()) < spin::ticks(SHORT)
    }

    fn begin(&self, spin: u64) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.limit.set(self.limit.get().max(spin));
    }

    fn end(&self) {
        let left = self.in_flight.get().saturating_sub(1);
        self.in_flight.set(left);
        if left == 0 {
            self.limit.set(0);
        }
    }
}

/// A call whose outcome a loop waits for: one of its futures. The loop counts it until this value is gone.
pub struct LoopCall {
    future: Obj,
    /// For how many ticks the loop may spin for it; a call for which it may not is not counted.
    spin: u64,
}

impl LoopCall {
    /// A new future of the loop; `spin` is for how many ticks its loop may spin for it. Nothing where the future has to be made
    /// or finished by a method of the user's: then the way through `asyncio.wrap_future` is the one to go.
    pub fn new(state: &LoopState, spin: u64) -> Res<Option<LoopCall>> {
        let future = if state.is_plain() && compat::has_layout() {
            future_type::new(state)?
        } else {
            if state.overrides.has(state.object, CALL_SOON_THREADSAFE | CREATE_FUTURE) {
                return Ok(None);
            }
            // Notes in debug mode where it was made.
            let future = call_method(names().create_future, &[state.object])?;
            if !compat::has_layout() || future.type_of() != future_type::exact() {
                return Ok(None);
            }
            future
        };
        let call = LoopCall { future, spin };
        // SAFETY: a loop's state.
        unsafe { loop_of(state) }.engine.calls.note_begin();
        if let Some(calls) = call.counted() {
            calls.begin(spin);
        }
        Ok(Some(call))
    }

    /// Where the loop counts it.
    fn counted(&self) -> Option<&Calls> {
        let state = self.state().filter(|_| self.spin > 0)?;
        // SAFETY: a loop's state.
        Some(&unsafe { loop_of(state) }.engine.calls)
    }

    fn state(&self) -> Option<&LoopState> {
        // SAFETY: a future of ours, which keeps its loop for as long as it lives.
        unsafe { future::of(self.future.as_ptr()) }.native()
    }

    pub fn future(&self) -> &Obj {
        &self.future
    }

    /// Whether somebody waits for it still: false when the future was cancelled.
    #[inline(always)]
    pub fn is_wanted(&self) -> bool {
        // SAFETY: a future of ours.
        unsafe { future::of(self.future.as_ptr()) }.is_pending()
    }

    /// Whether this is the thread that runs the loop, so that the future may be finished at once.
    pub fn is_here(&self) -> bool {
        self.state()
            .is_some_and(|state| !state.closed.get() && state.thread.get() == loop_state::thread_ident())
    }

    /// Has the loop finish the future, from any thread that holds the GIL. Nothing happens where the loop is closed:
    /// as in asyncio, nobody is there to tell.
    ///
    /// `ran` is how long the call took, in ticks, where that is known. A call that was short enough to spin for speaks for
    /// spinning also where the loop has slept: otherwise a loop that sleeps and a worker that sleeps would take each
    /// other for slow, and go on sleeping.
    ///
    /// The caller rings, best when it has let go of the GIL.
    pub fn finish_after(self, ran: u64, outcome: Outcome) -> Option<Bell> {
        if let Some(calls) = self.counted() {
            calls.bets.record(ran < self.spin);
        }
        self.hand_over(outcome)
    }

    /// As `finish_after`, where nobody knows how long the call took, and the loop is woken at once.
    pub fn finish(self, outcome: Outcome) {
        drop(self.hand_over(outcome));
    }

    fn hand_over(self, outcome: Outcome) -> Option<Bell> {
        let state = self.state().filter(|state| !state.closed.get())?;
        state.push_or_report(Item::Finish { future: self.future.clone(), outcome });
        // SAFETY: a loop's state.
        unsafe { loop_of(state) }.engine.wake.bell()
    }
}

impl Drop for LoopCall {
    fn drop(&mut self) {
        if let Some(calls) = self.counted() {
            calls.end();
        }
    }
}
