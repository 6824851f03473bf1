//! A task: one call on its way to a worker process, and who gets its outcome.
//!
//! A call that waits is held as it was given, and pickled when it is sent. What was sent is recallable until the worker begins
//! with it (`processes::recall`), so its future stays pending: where it is asked whether it runs, it looks. Only the call for
//! which a worker stands idle is announced as running when it is sent, as the standard library's pool announces what it
//! puts into its queue.

use crate::calls::future;
use crate::engine::loop_call::LoopCall;
use crate::ffi::{Obj, Res};
use crate::task::future as loop_future;
use crate::task::marks::Mark;
use crate::wire::payload::Payload;

/// Who gets the outcome of a task.
pub enum Target {
    /// An `aioxide._futures.Future`.
    Future(Obj),
    /// A loop.
    Call(LoopCall),
}

impl Target {
    pub fn future(&self) -> &Obj {
        match self {
            Target::Future(future) => future,
            Target::Call(waiting) => waiting.future(),
        }
    }

    /// Whether somebody still waits for it.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        match self {
            // SAFETY: `submit` takes futures of ours only.
            Target::Future(future) => !unsafe { future::of(future.as_ptr()) }.is_done(),
            Target::Call(waiting) => waiting.is_wanted(),
        }
    }

    /// Tells the future that its call runs, where native code may: false where inherited code has to.
    pub fn announce_alone(&self) -> bool {
        match self {
            // SAFETY: as above.
            Target::Future(future) => unsafe { future::of(future.as_ptr()) }.announce_alone(),
            Target::Call(_) => true,
        }
    }

    /// The future knows that a worker has its call: whoever cancels it has to take the call back.
    #[inline]
    pub fn set_sent(&self, sent: bool) {
        // SAFETY: each is a future of its kind, alive as long as `self`.
        unsafe {
            match self {
                Target::Future(future) => future::of(future.as_ptr()).sent.set(sent),
                Target::Call(waiting) => {
                    loop_future::of(waiting.future().as_ptr()).marks.put(Mark::Sent, sent);
                }
            }
        }
    }
}

/// What is called.
pub enum Call {
    /// `(fn, args)`, or `(fn, args, kwargs)` where there are any: it waits.
    Waits(Obj),
    /// Ready to be sent, or sent.
    Packed(Payload),
}

pub struct Task {
    pub id: u64,
    pub target: Target,
    pub call: Call,
    /// The future knows that it runs; it is not for `shutdown(cancel_futures=True)` any more.
    pub announced: bool,
    /// When it was submitted, in nanoseconds.
    pub submitted: u64,
}

/// A task on its way from one queue to another.
pub type TaskBox = Box<Task>;

impl Task {
    pub fn payload(&self) -> Option<&Payload> {
        match &self.call {
            Call::Packed(payload) => Some(payload),
            Call::Waits(_) => None,
        }
    }

    /// Bytes that its arguments take in memory of ours.
    pub fn weight(&self) -> usize {
        let Some(payload) = self.payload() else { return 0 };
        let slabs = payload.slabs.iter().filter(|slab| !slab.shared);
        payload.body.len() + slabs.map(|slab| slab.size()).sum::<usize>()
    }

    /// Tells the future that its call runs; false where it was cancelled meanwhile. May run code of users.
    pub fn announce(future: &Obj) -> Res<bool> {
        // SAFETY: `submit` takes futures of ours only.
        unsafe { future::set_running(future.as_ptr()) }
    }
}
