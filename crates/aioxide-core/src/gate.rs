//! How a second thread, the standby, learns that the one which serves is held up in the middle of a turn.
//!
//! As long as turns are short, the standby costs them one look at a word; it wakes once in a while (whatever it is given as
//! `pause`), and not at all while nothing is served.

use crate::parking::Parking;
use crate::sync::{AtomicBool, AtomicU32, Ordering::SeqCst};

/// Every access here is SeqCst: of two threads that each write one word and then read the other's, one sees what the other
/// wrote. loom takes that order for AcqRel, and only fences for what they are.
#[inline]
fn in_one_order() {
    #[cfg(all(test, loom))]
    loom::sync::atomic::fence(SeqCst);
}

// Values of `standby`.
const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

#[derive(Default)]
pub struct Gate<P> {
    /// Changes with every turn that begins or ends; odd during one.
    turn: AtomicU32,
    /// What the standby sleeps on.
    standby: AtomicU32,
    ended: AtomicBool,
    parking: P,
}

impl<P: Parking> Gate<P> {
    /// A turn begins.
    #[inline]
    pub fn enter(&self) {
        self.turn.fetch_add(1, SeqCst);
        self.wake();
    }

    /// The turn has ended, or is no longer that of who serves.
    #[inline]
    pub fn leave(&self) {
        self.turn.fetch_add(1, SeqCst);
    }

    /// There is another reason to take over than there was when this turn began.
    pub fn stir(&self) {
        self.turn.fetch_add(2, SeqCst);
        self.wake();
    }

    /// Nobody serves any more.
    pub fn end(&self) {
        self.ended.store(true, SeqCst);
        self.wake();
    }

    #[inline]
    fn wake(&self) {
        in_one_order();
        if self.standby.load(SeqCst) == ASLEEP && self.standby.swap(AWAKE, SeqCst) == ASLEEP {
            self.parking.unpark(&self.standby);
        }
    }

    /// Whether that turn is still under way.
    pub fn lasts(&self, turn: u32) -> bool {
        turn % 2 == 1 && self.turn.load(SeqCst) == turn
    }

    /// For the standby: waits for a turn that lasts longer than a `pause`, and returns it; None when nobody serves any more.
    pub fn watch(&self, pause: impl Fn()) -> Option<u32> {
        while !self.ended.load(SeqCst) {
            let turn = self.turn.load(SeqCst);
            pause();
            if self.lasts(turn) {
                return Some(turn);
            }
            if self.turn.load(SeqCst) == turn {
                self.sleep(turn);
            }
        }
        None
    }

    /// For the standby: sleeps until this turn is over, if that is one, and the next begins. May return early.
    pub fn sleep(&self, turn: u32) {
        // Either the other thread sees that the standby sleeps, or this one sees what that thread has changed before.
        self.standby.store(ASLEEP, SeqCst);
        in_one_order();
        if self.turn.load(SeqCst) == turn && !self.ended.load(SeqCst) {
            let _ = self.parking.park(&self.standby, ASLEEP, None);
        }
        self.standby.store(AWAKE, SeqCst);
    }
}

/// Every order in which two threads may come: `scripts/test-hard loom`. A wake-up that is lost leaves a thread asleep for
/// ever, which loom reports.
#[cfg(all(test, loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::parking::Futex;

    #[test]
    fn the_end_is_never_missed() {
        loom::model(|| {
            let gate = Arc::new(Gate::<Futex>::default());
            let standby = gate.clone();
            let watching = thread::spawn(move || standby.watch(|| {}));
            gate.end();
            assert_eq!(watching.join().ok(), Some(None));
        });
    }

    #[test]
    fn a_turn_that_lasts_is_seen_however_late_it_begins() {
        loom::model(|| {
            let gate = Arc::new(Gate::<Futex>::default());
            let standby = gate.clone();
            let watching = thread::spawn(move || standby.watch(|| {}));
            gate.enter();
            assert_eq!(watching.join().ok(), Some(Some(1)));
        });
    }

    #[test]
    fn who_sleeps_through_a_turn_wakes_with_the_next() {
        loom::model(|| {
            let gate = Arc::new(Gate::<Futex>::default());
            gate.enter();
            let standby = gate.clone();
            let sleeping = thread::spawn(move || standby.sleep(1));
            gate.leave();
            gate.enter();
            assert!(sleeping.join().is_ok());
        });
    }
}
