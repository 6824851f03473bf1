//! A task: one call on its way to a worker process, and who gets its outcome.
//!
//! A call that waits is held as it was given, and pickled when it is sent. What was sent is recallable until the worker begins
//! with it (`processes::recall`), so its future stays pending: where it is asked whether it runs, it looks. Only the call for
//! which a worker stands idle is announced as running when it is sent, as the standard library's pool announces what it
//! puts into its queue.

use aioxide_sys::clock;

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
    call: Call,
    /// The future knows that it runs; it is not for `shutdown(cancel_futures=True)` any more.
    announced: bool,
    /// When it was submitted, in nanoseconds.
    pub submitted: u64,
}

/// A task on its way from one queue to another.
pub type TaskBox = Box<Task>;

impl Task {
    /// One that waits; `call` as `Call::Waits` has it.
    pub fn new(id: u64, target: Target, call: Obj) -> Task {
        Task { id, target, call: Call::Waits(call), announced: false, submitted: clock::nanos() }
    }

    /// What is called, while that is not pickled.
    pub fn waiting_call(&self) -> Option<&Obj> {
        match &self.call {
            Call::Waits(call) => Some(call),
            Call::Packed(_) => None,
        }
    }

    /// It is ready to be sent; what is returned is to be dropped.
    pub fn pack(&mut self, payload: Payload) -> Call {
        std::mem::replace(&mut self.call, Call::Packed(payload))
    }

    pub fn is_announced(&self) -> bool {
        self.announced
    }

    pub fn note_announced(&mut self) {
        self.announced = true;
    }

    /// Who gets its outcome, and the call, to be dropped before.
    pub fn into_parts(self) -> (Target, Call) {
        (self.target, self.call)
    }

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
