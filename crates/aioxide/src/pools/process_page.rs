//! The control page of a worker: one page of memory that pool and worker both see. It says which tasks have begun, so that
//! the pool can take others back, knows whom a crash hit, and measures time limits, all without a message.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aioxide_sys::memfd::Mapping;

/// Tasks that a worker can hold at a time.
pub const SLOTS: usize = 512;
pub const SIZE: usize = 4096;

const FREE: u32 = 0;
const QUEUED: u32 = 1;
const RUNNING: u32 = 2;
const REVOKED: u32 = 3;

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
    slots: [AtomicU32; SLOTS],
}

/// # Safety
/// The mapping is a control page and lives as long as the result is used.
pub unsafe fn of<'a>(mapping: &Mapping) -> &'a Page {
    const { assert!(size_of::<Page>() <= SIZE) };
    // SAFETY: page-aligned, large enough, all atomics, and alive by the contract.
    unsafe { &*mapping.start().cast::<Page>() }
}

impl Page {
    fn slot(&self, slot: u16) -> &AtomicU32 {
        &self.slots[slot as usize % SLOTS]
    }

    /// The pool hands a task over.
    pub fn queue(&self, slot: u16) {
        self.slot(slot).store(QUEUED, Ordering::Release);
    }

    /// The worker begins with a task; false where the pool has taken it back.
    pub fn begin(&self, slot: u16) -> bool {
        let slot = self.slot(slot);
        if slot.compare_exchange(QUEUED, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return true;
        }
        slot.store(FREE, Ordering::Release);
        false
    }

    /// The pool takes a task back; false where the worker has begun with it.
    pub fn revoke(&self, slot: u16) -> bool {
        self.slot(slot).compare_exchange(QUEUED, REVOKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The worker is done with a slot.
    pub fn free(&self, slot: u16) {
        self.slot(slot).store(FREE, Ordering::Release);
    }

    /// The worker has passed over the revoked task.
    pub fn is_free(&self, slot: u16) -> bool {
        self.slot(slot).load(Ordering::Acquire) == FREE
    }
}
