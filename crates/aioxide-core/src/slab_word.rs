//! Who may write to a slab, shared memory that travels between two processes: a word that both see, before its data.
//!
//! ```text
//!       claim           release
//! FREE ------> BUSY ------------> FREE        a fork, while BUSY: the bit SPENT, for ever
//! ```
//!
//! A slab is BUSY while it is filled, on its way, or held by its receiver. Who holds it and forks has it SPENT: the child sees
//! the bytes for as long as it lives, so they are never written again. SPENT alone means that nobody but such a child looks.

use crate::slot::Claim;
use crate::sync::{AtomicU32, Ordering};

const FREE: u32 = 0;
const BUSY: u32 = 1;
/// The bit that a fork sets.
pub const SPENT: u32 = 2;

/// All zero is free, as fresh memory is.
#[derive(Default)]
#[repr(transparent)]
pub struct SlabWord(AtomicU32);

impl SlabWord {
    /// Takes it where it is free. Its owner and the one whom it is lent to may try at the same time.
    pub fn claim(&self) -> Claim {
        match self.0.compare_exchange(FREE, BUSY, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Claim::Won,
            Err(_) => Claim::Lost,
        }
    }

    /// Who has claimed it, or has got it, does not look at it any more.
    pub fn release(&self) {
        self.0.fetch_and(!BUSY, Ordering::AcqRel);
    }

    pub fn is_free(&self) -> bool {
        self.0.load(Ordering::Acquire) == FREE
    }

    /// A fork may show this data, for ever: it is not to be written again.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Acquire) & SPENT != 0
    }

    /// Nobody looks at it but a fork of its receiver.
    pub fn is_of_no_use(&self) -> bool {
        self.0.load(Ordering::Acquire) == SPENT
    }

    /// The word, for code that runs in the midst of a fork and sets `SPENT` itself (`aioxide_sys::forks`).
    pub fn bits(&self) -> &AtomicU32 {
        &self.0
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod models {
    use loom::cell::UnsafeCell;
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    use super::*;

    /// loom reports two users of `data` at a time, and one who does not see what the last one left there.
    #[derive(Default)]
    struct Slab {
        word: SlabWord,
        data: UnsafeCell<u32>,
        /// The receiver's: whether it holds the slab, so that a fork has to spend it.
        held: Mutex<bool>,
    }

    impl Slab {
        fn write(&self) -> Claim {
            let claim = self.word.claim();
            if claim == Claim::Won {
                self.data.with_mut(|_| ());
            }
            claim
        }
    }

    #[test]
    fn of_owner_and_receiver_one_writes_at_a_time() {
        loom::model(|| {
            let slab = Arc::new(Slab::default());
            let receiver = slab.clone();
            let receiver = thread::spawn(move || {
                let claim = receiver.write();
                if claim == Claim::Won {
                    receiver.word.release();
                }
                claim
            });
            let ours = slab.write();
            assert!(ours == Claim::Won || receiver.join().unwrap() == Claim::Won, "nobody has it");
        });
    }

    #[test]
    fn what_was_given_back_is_written_after_it_was_read() {
        loom::model(|| {
            let slab = Arc::new(Slab::default());
            assert_eq!(slab.write(), Claim::Won);
            let receiver = slab.clone();
            let receiver = thread::spawn(move || {
                receiver.data.with(|_| ());
                receiver.word.release();
            });
            let _ = slab.write();
            receiver.join().unwrap();
        });
    }

    /// One thread of the receiver's forks while another lets go of the slab: `aioxide_sys::forks` has a lock for it.
    #[test]
    fn what_a_fork_has_seen_is_never_written_again() {
        loom::model(|| {
            let slab = Arc::new(Slab::default());
            assert_eq!(slab.write(), Claim::Won);
            *slab.held.lock().unwrap() = true;
            let (forks, lets_go) = (slab.clone(), slab.clone());
            let forks = thread::spawn(move || {
                let held = forks.held.lock().unwrap();
                if *held {
                    forks.word.bits().fetch_or(SPENT, Ordering::AcqRel);
                }
                *held
            });
            let lets_go = thread::spawn(move || {
                *lets_go.held.lock().unwrap() = false;
                lets_go.word.release();
            });
            let written = slab.write();
            lets_go.join().unwrap();
            if forks.join().unwrap() {
                assert!(written == Claim::Lost && slab.word.is_of_no_use());
            }
        });
    }
}
