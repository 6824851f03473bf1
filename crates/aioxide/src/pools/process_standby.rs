//! How a second thread learns that the one that serves the pools is held up in the middle of a turn: by a done callback
//! of a user's that waits, for instance for a call in another pool. None of it needs the GIL.
//!
//! As long as turns are short, the standby costs them one look at a word; it wakes once in `PATIENCE` at the most, and
//! not at all while nothing is served.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use aioxide_sys::park::{park, unpark};

/// How long a turn may last before another thread takes over.
const PATIENCE: Duration = Duration::from_millis(10);

// Values of `Gate::standby`.
const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

#[derive(Default)]
pub struct Gate {
    /// Changes with every turn that begins or ends; odd during one.
    turn: AtomicU32,
    /// What the standby sleeps on.
    standby: AtomicU32,
    ended: AtomicBool,
}

impl Gate {
    /// A turn begins.
    #[inline]
    pub fn enter(&self) {
        self.turn.fetch_add(1, SeqCst);
        self.wake();
    }

    /// The turn has ended, or is no longer that of who serves the pools.
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
        if self.standby.load(SeqCst) == ASLEEP && self.standby.swap(AWAKE, SeqCst) == ASLEEP {
            unpark(&self.standby, 1);
        }
    }

    /// Whether that turn is still under way.
    pub fn lasts(&self, turn: u32) -> bool {
        turn % 2 == 1 && self.turn.load(SeqCst) == turn
    }

    /// For the standby: waits for a turn that lasts too long, and returns it; None when nobody serves any more.
    pub fn watch(&self) -> Option<u32> {
        while !self.ended.load(SeqCst) {
            let turn = self.turn.load(SeqCst);
            std::thread::sleep(PATIENCE);
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
        if self.turn.load(SeqCst) == turn && !self.ended.load(SeqCst) {
            park(&self.standby, ASLEEP, None);
        }
        self.standby.store(AWAKE, SeqCst);
    }
}
