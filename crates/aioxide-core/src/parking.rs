//! Sleeping on a word of memory until another thread changes it: what the lock-free parts of this crate ask the system for.

use crate::sync::AtomicU32;

pub trait Parking {
    /// Sleeps while `word` is `expected`, for at most `timeout` seconds; may return early.
    fn park(&self, word: &AtomicU32, expected: u32, timeout: Option<f64>) -> Parked;
    /// Wakes a thread that sleeps on `word`, which was changed before.
    fn unpark(&self, word: &AtomicU32);
    /// Wakes all of them.
    fn unpark_all(&self, word: &AtomicU32);
}

/// Why a thread that was parked runs again.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parked {
    /// The word has changed, or a signal came, or nobody knows.
    Look,
    TimedOut,
}

/// What a thread is to do that has looked for a call in vain, and would sleep now.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sleep {
    Begin,
    /// It has been called meanwhile.
    Called,
}

/// A futex: who parks looks at the word and falls asleep in one step. A time limit is over at once.
#[cfg(all(test, loom))]
#[derive(Default)]
pub struct Futex {
    lock: loom::sync::Mutex<()>,
    sleepers: loom::sync::Condvar,
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
impl Parking for Futex {
    fn park(&self, word: &AtomicU32, expected: u32, timeout: Option<f64>) -> Parked {
        let held = self.lock.lock().unwrap();
        if word.load(crate::sync::Ordering::SeqCst) != expected {
            return Parked::Look;
        }
        if timeout.is_some() {
            return Parked::TimedOut;
        }
        drop(self.sleepers.wait(held).unwrap());
        Parked::Look
    }

    fn unpark(&self, _word: &AtomicU32) {
        drop(self.lock.lock().unwrap());
        self.sleepers.notify_one();
    }

    fn unpark_all(&self, _word: &AtomicU32) {
        drop(self.lock.lock().unwrap());
        self.sleepers.notify_all();
    }
}
