//! What the thread that watches over loops (`processes::patience`) may read of a pool.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32};

/// What can be seen of a pool without the GIL.
#[derive(Default)]
pub struct Seen {
    /// Counts the looks for results.
    pub served: AtomicU32,
    /// A loop serves it, and calls wait behind others.
    pub armed: AtomicBool,
    /// Ready when results wait. 0 for none.
    pub epoll: AtomicI32,
}

impl Seen {
    /// No loop serves it any more, or nobody does.
    pub fn disarm(&self) {
        self.armed.store(false, Relaxed);
    }
}
