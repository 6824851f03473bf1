//! The word on which one thread waits until another calls it: spinning first, asleep then.
//!
//! ```text
//!         begin_wait          stop_spinning
//! BUSY ------------> SPINNING -------------> ASLEEP        call, from either: CALLED
//!   ^                                                      end_wait, from any: BUSY
//! ```
//!
//! Who calls takes the thread off a list first, so that it is called once; and it begins to wait before it is on that list.

use crate::parking::{Parked, Parking, Sleep};
use crate::sync::{AtomicU32, Ordering};

/// It does something else.
const BUSY: u32 = 0;
/// It waits, and looks at the word all the time.
const SPINNING: u32 = 1;
/// It waits in the kernel, or is about to.
const ASLEEP: u32 = 2;
/// It is to come.
const CALLED: u32 = 3;

#[derive(Default)]
pub struct WaitWord<P> {
    word: AtomicU32,
    parking: P,
}

impl<P: Parking> WaitWord<P> {
    /// Says that the thread is about to wait; before anybody can call it.
    #[inline]
    pub fn begin_wait(&self, spins: bool) {
        self.word.store(if spins { SPINNING } else { ASLEEP }, Ordering::Relaxed);
    }

    /// Has the thread come.
    #[inline]
    pub fn call(&self) {
        if self.word.swap(CALLED, Ordering::AcqRel) == ASLEEP {
            self.parking.unpark(&self.word);
        }
    }

    #[inline]
    pub fn is_called(&self) -> bool {
        self.word.load(Ordering::Acquire) == CALLED
    }

    /// For the thread that waits: it looks no more, and will sleep.
    pub fn stop_spinning(&self) -> Sleep {
        match self.word.compare_exchange(SPINNING, ASLEEP, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Sleep::Begin,
            Err(_) => Sleep::Called,
        }
    }

    /// For the thread that waits: sleeps until it is called, or until nothing is `left`, in seconds, where that is some.
    pub fn sleep(&self, mut left: impl FnMut() -> Option<f64>) {
        while !self.is_called() && self.parking.park(&self.word, ASLEEP, left()) == Parked::Look {}
    }

    /// For the thread that waits: sleeps until it is called, or a signal comes, or for `timeout` seconds.
    pub fn nap(&self, timeout: Option<f64>) {
        if !self.is_called() {
            let _ = self.parking.park(&self.word, ASLEEP, timeout);
        }
    }

    /// The thread waits no more.
    pub fn end_wait(&self) {
        self.word.store(BUSY, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod models {
    use loom::cell::UnsafeCell;
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    use super::*;
    use crate::parking::Futex;

    struct Shared {
        wait: WaitWord<Futex>,
        work: UnsafeCell<u32>,
    }

    /// What is handed over before the call is there after it, whether the thread spun, was about to sleep, or slept.
    fn hands_over(spins: bool) {
        loom::model(move || {
            let shared = Arc::new(Shared { wait: WaitWord::default(), work: UnsafeCell::new(0) });
            shared.wait.begin_wait(spins);
            let worker = shared.clone();
            let waiting = thread::spawn(move || {
                let called =
                    spins && (worker.wait.is_called() || worker.wait.stop_spinning() == Sleep::Called);
                if !called {
                    worker.wait.sleep(|| None);
                }
                worker.wait.end_wait();
                worker.work.with(|work| work as usize)
            });
            shared.work.with_mut(|_| ());
            shared.wait.call();
            assert!(waiting.join().is_ok());
        });
    }

    #[test]
    fn a_call_reaches_who_spins() {
        hands_over(true);
    }

    #[test]
    fn a_call_reaches_who_sleeps() {
        hands_over(false);
    }

    /// A worker that has waited for long enough takes itself off the list of idle ones, unless somebody has, to call it:
    /// then it has been called.
    #[test]
    fn a_wait_that_ends_by_itself_misses_no_call() {
        loom::model(|| {
            let wait = Arc::new(WaitWord::<Futex>::default());
            let idle = Arc::new(Mutex::new(true));
            wait.begin_wait(false);
            let (word, list) = (wait.clone(), idle.clone());
            let waiting = thread::spawn(move || {
                word.sleep(|| Some(0.0));
                let mut idle = list.lock().unwrap();
                let retires = std::mem::take(&mut *idle);
                assert_eq!(word.is_called(), !retires);
                word.end_wait();
            });
            let mut idle = idle.lock().unwrap();
            if std::mem::take(&mut *idle) {
                wait.call();
            }
            drop(idle);
            waiting.join().unwrap();
        });
    }
}
