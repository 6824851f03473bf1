//! The word on which threads wait until something is done: spinning, or asleep, as many as there are.
//!
//! ```text
//!          sleep              finish
//! WAITING ------> SLEEPING ----------> DONE        finish, from WAITING: DONE; nobody is to be woken
//!                                                  reopen, from DONE: WAITING
//! ```
//!
//! Whether it is done is guarded by a lock (Python's), which is held for `finish` and `reopen`; a thread that was woken takes
//! the lock and looks. One whose time is over leaves the word SLEEPING: then `finish` makes a system call for nobody.

use crate::parking::{Parked, Parking};
use crate::sync::{AtomicU32, Ordering};

const WAITING: u32 = 0;
const SLEEPING: u32 = 1;
const DONE: u32 = 2;

/// All zero is not done.
#[derive(Default)]
pub struct DoneWord<P> {
    word: AtomicU32,
    parking: P,
}

impl<P: Parking> DoneWord<P> {
    /// It is done: who sleeps is woken.
    #[inline(always)]
    pub fn finish(&self) {
        if self.word.swap(DONE, Ordering::Release) == SLEEPING {
            self.parking.unpark_all(&self.word);
        }
    }

    /// It is not done, after all or still.
    #[inline(always)]
    pub fn reopen(&self) {
        if self.word.load(Ordering::Relaxed) == DONE {
            self.word.store(WAITING, Ordering::Release);
        }
    }

    /// Asked without the lock, by who spins.
    #[inline(always)]
    pub fn is_done(&self) -> bool {
        self.word.load(Ordering::Acquire) == DONE
    }

    /// Sleeps, without the lock, until it is done, or until nothing is `left`, in seconds, where that is some; may return early.
    pub fn sleep(&self, left: impl FnOnce() -> Option<f64>) -> Parked {
        match self.word.compare_exchange(WAITING, SLEEPING, Ordering::Relaxed, Ordering::Acquire) {
            Err(DONE) => Parked::Look,
            _ => self.parking.park(&self.word, SLEEPING, left()),
        }
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod models {
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    use super::*;
    use crate::parking::Futex;

    /// A future: the lock with its state (is it done?), and the word.
    #[derive(Default)]
    struct World {
        done: Mutex<bool>,
        word: DoneWord<Futex>,
    }

    impl World {
        fn set(&self, done: bool) {
            let mut state = self.done.lock().unwrap();
            *state = done;
            if done { self.word.finish() } else { self.word.reopen() }
        }

        fn is_done(&self) -> bool {
            *self.done.lock().unwrap()
        }

        /// `result(timeout)`: false when the time is over.
        fn wait(&self, timeout: Option<f64>) -> bool {
            while !self.is_done() {
                if self.word.sleep(|| timeout) == Parked::TimedOut {
                    return self.is_done();
                }
            }
            true
        }
    }

    /// One thread waits with each of these limits, and all of `main` happens meanwhile.
    fn model(timeouts: &'static [Option<f64>], main: fn(&World)) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let world = Arc::new(World::default());
            let wait = |timeout: &'static Option<f64>| {
                let world = world.clone();
                thread::spawn(move || assert!(world.wait(*timeout) || timeout.is_some()))
            };
            let threads: Vec<_> = timeouts.iter().map(wait).collect();
            main(&world);
            threads.into_iter().for_each(|each| each.join().unwrap());
        });
    }

    #[test]
    fn all_who_sleep_are_woken() {
        model(&[None, None], |world| world.set(true));
    }

    #[test]
    fn what_is_finished_twice_wakes_once_and_for_all() {
        model(&[None], |world| {
            world.set(true);
            world.set(true);
        });
    }

    #[test]
    fn one_whose_time_is_over_takes_nobody_elses_wake_up() {
        model(&[None, Some(0.0)], |world| world.set(true));
    }

    #[test]
    fn what_was_set_back_by_hand_can_be_waited_for_again() {
        model(&[None], |world| {
            world.set(true);
            world.set(false);
            world.set(true);
        });
    }
}
