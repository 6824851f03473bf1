//! Who gets the outcome of a call in a pool.

use super::future::PoolFuture;
use crate::engine::loop_call::LoopCall;
use crate::engine::wake::Bell;
use crate::ffi::{Obj, Res, error};
use crate::task::finish::Outcome;
use crate::task::future as loop_future;
use crate::task::marks::Mark;

pub enum Target {
    /// An `aioxide.PoolFuture`.
    Future(Obj),
    /// A loop, which has a future of its own.
    Loop(LoopCall),
}

/// That of a `Target::Future`.
#[inline(always)]
fn of(future: &Obj) -> &PoolFuture {
    // SAFETY: whoever made the target has made it of such a future.
    unsafe { future.borrow().cast_unchecked() }
}

impl Target {
    /// The future of `concurrent.futures`, if it is one.
    #[inline(always)]
    pub fn pool_future(&self) -> Option<&PoolFuture> {
        match self {
            Target::Future(future) => Some(of(future)),
            Target::Loop(_) => None,
        }
    }

    #[inline(always)]
    pub fn future(&self) -> &Obj {
        match self {
            Target::Future(future) => future,
            Target::Loop(call) => call.future(),
        }
    }

    /// Whether somebody still waits for it.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        match self {
            Target::Future(future) => !of(future).is_done(),
            Target::Loop(call) => call.is_wanted(),
        }
    }

    /// Tells the future that its call runs; false where it was cancelled. May run code of users.
    #[inline(always)]
    pub fn announce(&self) -> Res<bool> {
        match self {
            Target::Future(future) => of(future).set_running(),
            Target::Loop(call) => Ok(call.is_wanted()),
        }
    }

    /// As `announce`, where native code may do it: false where inherited code has to.
    pub fn announce_alone(&self) -> bool {
        match self {
            Target::Future(future) => of(future).announce_alone(),
            Target::Loop(_) => true,
        }
    }

    /// The future knows that a worker process has its call: whoever cancels it has to take the call back.
    #[inline]
    pub fn set_sent(&self, sent: bool) {
        match self {
            Target::Future(future) => of(future).set_sent(sent),
            Target::Loop(call) => {
                // SAFETY: a loop's future.
                unsafe { loop_future::of(call.future()) }.marks.put(Mark::Sent, sent);
            }
        }
    }

    /// It will not run, for it was cancelled or its pool has ended.
    pub fn refuse(self, outcome: Outcome) {
        let future = match self {
            Target::Loop(call) => return call.finish(outcome),
            Target::Future(future) => future,
        };
        let this = of(&future);
        let told = match outcome {
            Outcome::Raised(exception) => this.set_exception(exception),
            // Cancelled, and told so: `wait()` would wait for ever for one that is only cancelled.
            _ => this.cancel().and_then(|_| this.acknowledge_cancelled()),
        };
        if told.is_err() {
            error::unraisable(future.borrow());
        }
    }

    /// Who waits for it in `concurrent.futures.wait` learns that it was cancelled.
    pub fn acknowledge(&self) -> Res<()> {
        match self {
            Target::Future(future) => of(future).acknowledge_cancelled(),
            Target::Loop(_) => Ok(()),
        }
    }

    /// The outcome of a call that ran for so many ticks in a thread. The bell wakes the loop that waits for it.
    #[inline(always)]
    pub fn finish_after(self, ran: u64, outcome: Outcome) -> Res<Option<Bell>> {
        let future = match self {
            Target::Loop(call) => return Ok(call.finish_after(ran, outcome)),
            Target::Future(future) => future,
        };
        let this = of(&future);
        this.note_run(ran);
        match outcome {
            Outcome::Returned(value) => this.set_result(value)?,
            Outcome::Raised(exception) => this.set_exception(exception)?,
            Outcome::Cancelled => {}
        }
        Ok(None)
    }
}
