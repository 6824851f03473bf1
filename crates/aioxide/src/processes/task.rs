//! A task: one call on its way to a worker process, and who gets its outcome.
//!
//! A call that waits is held as it was given, and pickled when it is sent. What was sent is recallable until the worker begins
//! with it (`processes::recall`), so its future stays pending: where it is asked whether it runs, it looks. Only the call for
//! which a worker stands idle is announced as running when it is sent, as the standard library's pool announces what it
//! puts into its queue.

use crate::calls::target::Target;
use crate::ffi::Obj;
use crate::wire::payload::Payload;

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
}
