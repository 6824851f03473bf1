//! The word by which a thread that has queued something learns whether the loop has to be woken, and how.
//!
//! ```text
//!             begin_wait             begin_sleep
//! RUNNING ------------> SPINNING --------------> SLEEPING       wake, from either: WOKEN
//!    |                  begin_wait                  ^           end_wait, from any: RUNNING
//!    +----------------------------------------------+
//! ```
//!
//! One lock guards the loop's queue: Python's. Who wakes holds it, and so does the loop, but between `begin_wait` and
//! `end_wait`. It looks at its queue after it took the lock and before it says that it waits: what is queued while it runs
//! needs no word. A loop that sleeps does so in the kernel, on its descriptors, and a bell is rung to wake it: a byte in a
//! pair of sockets, which may be sent when the lock is no longer held.

use crate::parking::Sleep;
use crate::sync::{AtomicBool, AtomicU8, Ordering};

/// It runs, or has not begun to wait.
const RUNNING: u8 = 0;
/// It waits, or is about to, and looks at the word all the time.
const SPINNING: u8 = 1;
/// It waits in the kernel, or is about to.
const SLEEPING: u8 = 2;
/// It waits no more: there is something in its queue.
const WOKEN: u8 = 3;

/// What is left to do for who has queued something.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// Nothing: the loop will look at its queue.
    Known,
    /// The loop sleeps, and no bell is on its way: it is the caller's to ring.
    Ring,
}

#[derive(Default)]
pub struct WakeWord {
    word: AtomicU8,
    /// The bell is rung, or is about to be, and was not heard yet. Guarded by the lock.
    ringing: AtomicBool,
}

impl WakeWord {
    /// Called, with the lock, before the wait.
    #[inline(always)]
    pub fn begin_wait(&self, spins: bool) {
        self.word.store(if spins { SPINNING } else { SLEEPING }, Ordering::Relaxed);
    }

    /// Called without the lock, when spinning has not helped or was not tried.
    #[inline(always)]
    pub fn begin_sleep(&self) -> Sleep {
        match self.word.compare_exchange(SPINNING, SLEEPING, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(SLEEPING) => Sleep::Begin,
            Err(_) => Sleep::Called,
        }
    }

    /// Asked without the lock.
    #[inline(always)]
    pub fn is_woken(&self) -> bool {
        self.word.load(Ordering::Acquire) == WOKEN
    }

    /// Called, with the lock, after the wait.
    #[inline(always)]
    pub fn end_wait(&self) {
        self.word.store(RUNNING, Ordering::Relaxed);
    }

    /// Whether the loop waits, or is about to. Asked with the lock.
    #[inline(always)]
    pub fn is_waiting(&self) -> bool {
        self.word.load(Ordering::Relaxed) != RUNNING
    }

    /// Has the loop look at its queue. Called with the lock, after something was queued.
    #[inline(always)]
    pub fn wake(&self) -> Wake {
        if !self.is_waiting() {
            return Wake::Known;
        }
        if self.word.swap(WOKEN, Ordering::AcqRel) != SLEEPING || self.ringing.load(Ordering::Relaxed) {
            return Wake::Known;
        }
        self.ringing.store(true, Ordering::Relaxed);
        Wake::Ring
    }

    /// The loop has heard the bell. Called with the lock.
    pub fn heard(&self) {
        self.ringing.store(false, Ordering::Relaxed);
    }

    /// In a child of fork: a bell that is on its way is the parent's.
    pub fn forget(&self) {
        self.end_wait();
        self.heard();
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod models {
    use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    use loom::thread;

    use super::*;

    /// A loop, the lock with its queue (how many entries were ever queued), and its bell (bytes not heard yet).
    #[derive(Default)]
    struct World {
        queue: Mutex<u32>,
        word: WakeWord,
        bytes: Mutex<u32>,
        rung: Condvar,
    }

    impl World {
        /// Another thread queues an entry. The bell is rung after it let go of the lock.
        fn queue_one(&self) {
            let mut queue = self.queue.lock().unwrap();
            *queue += 1;
            let wake = self.word.wake();
            drop(queue);
            if wake == Wake::Ring {
                let mut bytes = self.bytes.lock().unwrap();
                *bytes += 1;
                assert_eq!(*bytes, 1, "one byte is enough");
                drop(bytes);
                self.rung.notify_one();
            }
        }

        /// One wait; where it ends by itself, as one with a time limit or for a descriptor, it does so at once.
        fn wait<'a>(&'a self, queue: MutexGuard<'a, u32>, spins: bool, ends: bool) -> MutexGuard<'a, u32> {
            self.word.begin_wait(spins);
            drop(queue);
            let called = spins && self.word.is_woken() || self.word.begin_sleep() == Sleep::Called;
            if !called && !ends {
                let mut bytes = self.bytes.lock().unwrap();
                while *bytes == 0 {
                    bytes = self.rung.wait(bytes).unwrap();
                }
            }
            let queue = self.queue.lock().unwrap();
            self.word.end_wait();
            if std::mem::take(&mut *self.bytes.lock().unwrap()) > 0 {
                self.word.heard();
            }
            queue
        }

        fn run_until(&self, wanted: u32, spins: bool, mut ends: bool) {
            let mut queue = self.queue.lock().unwrap();
            while *queue < wanted {
                queue = self.wait(queue, spins, std::mem::take(&mut ends));
            }
        }
    }

    /// The loop sees all that others queue, and does not sleep for ever.
    fn sees_all(others: u32, spins: bool, ends: bool) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let world = Arc::new(World::default());
            let threads: Vec<_> = (0..others)
                .map(|_| {
                    let world = world.clone();
                    thread::spawn(move || world.queue_one())
                })
                .collect();
            world.run_until(others, spins, ends);
            threads.into_iter().for_each(|each| each.join().unwrap());
        });
    }

    #[test]
    fn a_wake_up_reaches_a_loop_that_spins() {
        sees_all(1, true, false);
    }

    #[test]
    fn a_wake_up_reaches_a_loop_that_sleeps() {
        sees_all(1, false, false);
    }

    #[test]
    fn two_who_wake_at_a_time_are_both_seen_and_ring_once() {
        sees_all(2, false, false);
        sees_all(2, true, false);
    }

    /// The bell of a wait that is over rings in the next one: who wakes then counts on it.
    #[test]
    fn a_wait_that_ends_while_it_is_woken_loses_nothing() {
        sees_all(2, false, true);
        sees_all(2, true, true);
    }
}
