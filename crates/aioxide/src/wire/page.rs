//! The control page of a worker: one page of memory that pool and worker both see. It says which tasks have begun, so that
//! the pool can take others back, knows whom a crash hit, and measures time limits, all without a message.

use std::sync::atomic::AtomicU64;

use aioxide_core::slot::Slot;
use aioxide_sys::memfd::Mapping;

/// Tasks that a worker can hold at a time.
pub const SLOTS: usize = 512;
pub const SIZE: usize = 4096;

/// All zero at first, as fresh memory is.
#[repr(C)]
pub struct Page {
    /// Counts what the pool has sent: a worker that spins watches it.
    pub sent: AtomicU64,
    /// Counts what the worker has sent.
    pub published: AtomicU64,
    /// The number of the task whose function runs now; 0 for none.
    pub running: AtomicU64,
    /// When that task began: nanoseconds of CLOCK_MONOTONIC.
    pub started: AtomicU64,
    /// The number of the task that is to be stopped by an exception.
    pub stop: AtomicU64,
    slots: [Slot; SLOTS],
}

/// # Safety
/// The mapping is a control page and lives as long as the result is used.
pub unsafe fn of<'a>(mapping: &Mapping) -> &'a Page {
    const { assert!(size_of::<Page>() <= SIZE) };
    // SAFETY: page-aligned, large enough, all atomics, and mapped for as long as the result is used.
    unsafe { &*mapping.start().cast::<Page>() }
}

impl Page {
    /// Where pool and worker settle who has a task.
    pub fn slot(&self, slot: u16) -> &Slot {
        &self.slots[slot as usize % SLOTS]
    }
}
