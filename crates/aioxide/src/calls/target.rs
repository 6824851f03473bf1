//! Who gets the outcome of a call in a pool.

use super::future;
use crate::engine::loop_call::LoopCall;
use crate::engine::wake::Bell;
use crate::ffi::{Obj, Res, error};
use crate::task::finish::Outcome;
use crate::task::future as loop_future;
use crate::task::marks::Mark;

pub enum Target {
    /// An `aioxide._pools.futures.Future`.
    Future(Obj),
    /// A loop, which has a future of its own.
    Loop(LoopCall),
}

impl Target {
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
            // SAFETY: a future of ours.
            Target::Future(future) => !unsafe { future::of(future.as_ptr()) }.is_done(),
            Target::Loop(call) => call.is_wanted(),
        }
    }

    /// Tells the future that its call runs; false where it was cancelled. May run code of users.
    #[inline(always)]
    pub fn announce(&self) -> Res<bool> {
        match self {
            // SAFETY: a future of ours.
            Target::Future(future) => unsafe { future::set_running(future.as_ptr()) },
            Target::Loop(call) => Ok(call.is_wanted()),
        }
    }

    /// As `announce`, where native code may do it: false where inherited code has to.
    pub fn announce_alone(&self) -> bool {
        match self {
            // SAFETY: a future of ours.
            Target::Future(future) => unsafe { future::of(future.as_ptr()) }.announce_alone(),
            Target::Loop(_) => true,
        }
    }

    /// The future knows that a worker process has its call: whoever cancels it has to take the call back.
    #[inline]
    pub fn set_sent(&self, sent: bool) {
        // SAFETY: a future of ours, or a loop's.
        unsafe {
            match self {
                Target::Future(future) => future::of(future.as_ptr()).set_sent(sent),
                Target::Loop(call) => {
                    loop_future::of(call.future().as_ptr()).marks.put(Mark::Sent, sent);
                }
            }
        }
    }

    /// It will not run, for it was cancelled or its pool has ended.
    pub fn refuse(self, outcome: Outcome) {
        let future = match self {
            Target::Loop(call) => return call.finish(outcome),
            Target::Future(future) => future,
        };
        // SAFETY: a future of ours, which this call holds.
        let told = unsafe {
            match outcome {
                Outcome::Raised(exception) => future::set_exception(future.as_ptr(), exception),
                // Cancelled, and told so: `wait()` would wait for ever for one that is only cancelled.
                _ => future::cancel(future.as_ptr())
                    .and_then(|_| future::acknowledge_cancelled(future.as_ptr())),
            }
        };
        if told.is_err() {
            error::unraisable(future.as_ptr());
        }
    }

    /// Who waits for it in `concurrent.futures.wait` learns that it was cancelled.
    pub fn acknowledge(&self) -> Res<()> {
        match self {
            // SAFETY: a future of ours.
            Target::Future(future) => unsafe { future::acknowledge_cancelled(future.as_ptr()) },
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
        // SAFETY: a future of ours, which this call holds.
        unsafe {
            future::note_run(future::of(future.as_ptr()), ran);
            match outcome {
                Outcome::Returned(value) => future::set_result(future.as_ptr(), value)?,
                Outcome::Raised(exception) => future::set_exception(future.as_ptr(), exception)?,
                Outcome::Cancelled => {}
            }
        }
        Ok(None)
    }
}
