//! The control page of a worker: one page of memory that pool and worker both see. It says which tasks have begun, so that
//! the pool can take others back, knows whom a crash hit, and measures time limits, all without a message.
//!
//! Either side may find any number in any word: the other's memory may be damaged. So nothing here is a size or a place.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::slot::TaskSlot;

/// Tasks that a worker can hold at a time.
pub const SLOTS: usize = 512;
/// What a page has at least, in bytes.
pub const SIZE: usize = 4096;

/// All zero at first, as fresh memory is.
#[repr(C)]
pub struct Page {
    /// Counts what the pool has sent: a worker that spins watches it.
    sent: AtomicU64,
    /// Counts what the worker has sent.
    published: AtomicU64,
    /// The number of the task whose function runs now; 0 for none.
    running: AtomicU64,
    /// When that task began: nanoseconds of CLOCK_MONOTONIC.
    started: AtomicU64,
    /// The number of the task that is to be stopped by an exception.
    stop: AtomicU64,
    slots: [TaskSlot; SLOTS],
}

#[cfg(not(all(test, loom)))]
const _: () = assert!(size_of::<Page>() <= SIZE);

impl Page {
    /// Where pool and worker settle who has a task.
    #[inline]
    pub fn slot(&self, slot: u16) -> &TaskSlot {
        &self.slots[slot as usize % SLOTS]
    }

    /// The pool has sent something.
    pub fn note_sent(&self) {
        self.sent.fetch_add(1, Ordering::Release);
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// The worker has sent something.
    pub fn note_published(&self) {
        self.published.fetch_add(1, Ordering::Release);
    }

    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// The worker begins with a task.
    pub fn begin(&self, task: u64, now: u64) {
        self.started.store(now, Ordering::Release);
        self.running.store(task, Ordering::Release);
    }

    /// The task's function has returned.
    pub fn end(&self) {
        self.running.store(0, Ordering::Release);
    }

    /// For how many nanoseconds the task that runs, or the last that ran, has run.
    pub fn since_begun(&self, now: u64) -> u64 {
        now.saturating_sub(self.started.load(Ordering::Acquire))
    }

    /// For how many nanoseconds some task has run; None where none does.
    pub fn runs_for(&self, now: u64) -> Option<u64> {
        (self.running.load(Ordering::Acquire) != 0).then(|| self.since_begun(now))
    }

    /// For how many nanoseconds that task has run; None where it does not.
    pub fn task_runs_for(&self, task: u64, now: u64) -> Option<u64> {
        (self.running.load(Ordering::Acquire) == task).then(|| self.since_begun(now))
    }

    /// The pool wants that task stopped.
    pub fn stop(&self, task: u64) {
        self.stop.store(task, Ordering::Release);
    }

    /// Whether the task that runs now is the one that is to be stopped.
    pub fn is_to_stop(&self) -> bool {
        let running = self.running.load(Ordering::Acquire);
        running != 0 && self.stop.load(Ordering::Acquire) == running
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::slot::Claim;
    use proptest::prelude::*;

    fn page(words: [u64; 5]) -> Page {
        let [sent, published, running, started, stop] = words.map(AtomicU64::new);
        Page { sent, published, running, started, stop, slots: std::array::from_fn(|_| TaskSlot::default()) }
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), 0u64..4, (u64::MAX - 3)..=u64::MAX]
    }

    proptest! {
        #[test]
        fn whatever_stands_there_can_be_asked(words in prop::array::uniform5(number()), slot: u16, task in number(), now in number()) {
            let page = page(words);
            let [sent, published, running, started, stop] = words;
            prop_assert_eq!((page.sent(), page.published()), (sent, published));
            prop_assert!(page.since_begun(now) <= now);
            prop_assert_eq!(page.runs_for(now).is_some(), running != 0);
            prop_assert_eq!(page.task_runs_for(task, now), (running == task).then(|| now.saturating_sub(started)));
            prop_assert_eq!(page.is_to_stop(), running != 0 && running == stop);
            page.note_sent();
            page.note_published();
            prop_assert_eq!((page.sent(), page.published()), (sent.wrapping_add(1), published.wrapping_add(1)));
            prop_assert_eq!(page.slot(slot).revoke(), Claim::Lost);
        }

        #[test]
        fn a_task_runs_from_its_begin_to_its_end(task in 1..=u64::MAX, other in number(), begun in number(), now in number()) {
            let page = page([0; 5]);
            prop_assert_eq!(page.runs_for(now), None);
            page.begin(task, begun);
            page.stop(other);
            prop_assert_eq!(page.task_runs_for(task, now), Some(now.saturating_sub(begun)));
            prop_assert_eq!(page.is_to_stop(), other == task);
            page.end();
            prop_assert!(page.runs_for(now).is_none() && !page.is_to_stop());
        }
    }
}
