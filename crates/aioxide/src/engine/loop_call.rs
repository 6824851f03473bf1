//! A call of a loop that runs elsewhere, as the pool that runs it holds it.

use super::calls::Calls;
use super::loop_object::LoopObject;
use super::wake::Bell;
use crate::ffi::calls::call_method;
use crate::ffi::names::interned;
use crate::ffi::{Obj, Res, compat};
use crate::task::finish::Outcome;
use crate::task::loop_state::{self, Item, LoopState};
use crate::task::overrides::{CALL_SOON_THREADSAFE, CREATE_FUTURE};
use crate::task::{classes, future, future_type};

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
            if state.overrides.has(state.object(), CALL_SOON_THREADSAFE | CREATE_FUTURE) {
                return Ok(None);
            }
            // Notes in debug mode where it was made.
            let future = call_method(interned().create_future, &[state.object()])?;
            if !compat::has_layout() || future.type_of() != classes::future() {
                return Ok(None);
            }
            future
        };
        let call = LoopCall { future, spin };
        LoopObject::of(state).engine.calls.note_begin();
        if let Some(calls) = call.counted() {
            calls.begin(spin);
        }
        Ok(Some(call))
    }

    /// Where the loop counts it.
    fn counted(&self) -> Option<&Calls> {
        let state = self.state().filter(|_| self.spin > 0)?;
        Some(&LoopObject::of(state).engine.calls)
    }

    fn state(&self) -> Option<&LoopState> {
        // SAFETY: a future of ours, which keeps its loop for as long as it lives.
        unsafe { future::of(&self.future) }.native()
    }

    pub fn future(&self) -> &Obj {
        &self.future
    }

    /// Whether somebody waits for it still: false when the future was cancelled.
    #[inline(always)]
    pub fn is_wanted(&self) -> bool {
        // SAFETY: a future of ours.
        unsafe { future::of(&self.future) }.is_pending()
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
            calls.spinner.record(ran < self.spin);
        }
        self.queue(outcome)
    }

    /// As `finish_after`, where nobody knows how long the call took, and the loop is woken at once.
    pub fn finish(self, outcome: Outcome) {
        drop(self.queue(outcome));
    }

    fn queue(self, outcome: Outcome) -> Option<Bell> {
        let state = self.state().filter(|state| !state.closed.get())?;
        state.push_or_report(Item::Finish { future: self.future.clone(), outcome });
        LoopObject::of(state).engine.wake.bell()
    }
}

impl Drop for LoopCall {
    fn drop(&mut self) {
        if let Some(calls) = self.counted() {
            calls.end();
        }
    }
}
