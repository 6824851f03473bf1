//! What is true of a future or task, a bit each.

use std::cell::Cell;

#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Mark {
    /// Its loop is ours.
    Native = 1,
    /// A call that can be taken back is under way for it: `CALLED_OFF` is to know when it is cancelled.
    Sent = 1 << 1,
    /// `tp_finalize` has run.
    Finalised = 1 << 2,
    /// It is a task that was initialised. The rest is a task's alone.
    IsTask = 1 << 3,
    /// `_must_cancel`
    MustCancel = 1 << 4,
    /// `_log_destroy_pending`
    LogDestroyPending = 1 << 5,
    /// It is in the list of all tasks.
    Registered = 1 << 6,
}

#[repr(transparent)]
pub struct Marks(Cell<u8>);

impl Marks {
    #[inline(always)]
    pub fn has(&self, mark: Mark) -> bool {
        self.0.get() & mark as u8 != 0
    }

    #[inline(always)]
    pub fn put(&self, mark: Mark, value: bool) {
        let others = self.0.get() & !(mark as u8);
        self.0.set(if value { others | mark as u8 } else { others });
    }

    /// Whether it was there; it is not any more.
    #[inline(always)]
    pub fn take(&self, mark: Mark) -> bool {
        let had = self.has(mark);
        self.put(mark, false);
        had
    }

    /// These and no others.
    #[inline(always)]
    pub fn only(&self, marks: &[Mark]) {
        self.0.set(marks.iter().fold(0, |bits, mark| bits | *mark as u8));
    }
}
