//! What a running loop knows of its own looks at the descriptors, and one wait for them.

use std::cell::Cell;
use std::io;

use aioxide_core::parking::Sleep;
use aioxide_core::rival::Rival;
use aioxide_sys::clock;
use aioxide_sys::epoll::{Epoll, Events};

use super::wake::WakePair;
use super::{hold, spin};
use crate::ffi::Py;

/// What the running loop knows of its own looks at the descriptors.
pub(super) struct Polls {
    /// Room for events, taken out while in use.
    pub(super) events: Cell<Events>,
    /// The tick counter at the last poll, and when it was last read.
    pub(super) polled_at: Cell<u64>,
    read_at: Cell<u64>,
    /// Turns to go until the counter is read again.
    unread_turns: Cell<u32>,
    /// Whether another thread wants the GIL all the time.
    pub(super) rival: Cell<Rival>,
}

impl Polls {
    pub(super) fn new() -> Polls {
        Polls {
            events: Cell::default(),
            polled_at: Cell::new(0),
            read_at: Cell::new(0),
            unread_turns: Cell::new(0),
            rival: Cell::new(Rival::new(hold::spans())),
        }
    }

    /// Reading the counter costs as much as the rest of a turn that runs one callback: where turns are that short, only
    /// every fourth one reads it.
    #[inline(always)]
    pub(super) fn time_is_up(&self) -> bool {
        let unread = self.unread_turns.get();
        if unread > 0 {
            self.unread_turns.set(unread - 1);
            return false;
        }
        let now = clock::ticks();
        let short = now.wrapping_sub(self.read_at.replace(now)) < SHORT_TURNS;
        self.unread_turns.set(if short { UNREAD_TURNS } else { 0 });
        now.wrapping_sub(self.polled_at.get()) > POLL_TICKS
    }

    /// A poll has ended at `now`.
    pub(super) fn note(&self, now: u64) {
        self.polled_at.set(now);
        self.read_at.set(now);
        self.unread_turns.set(0);
    }

    /// The wait was over at `asked`, and the GIL has been taken since.
    #[inline(always)]
    pub(super) fn took_gil(&self, asked: u64) {
        let now = clock::ticks();
        let mut rival = self.rival.get();
        rival.took(now.wrapping_sub(asked), now);
        self.rival.set(rival);
    }

    /// Waits for at most `limit` ticks with the GIL held. Signals that came meanwhile, and what has no descriptor, the
    /// caller looks for before the next wait.
    #[cold]
    pub(super) fn wait_holding(&self, py: Py, epoll: &Epoll, limit: u64) -> io::Result<Events> {
        let mut events = self.events.take();
        let result = hold::wait(py, epoll, &mut events, limit);
        self.note(clock::ticks());
        let mut rival = self.rival.get();
        rival.waited(!events.is_empty());
        self.rival.set(rival);
        result.map(|()| events)
    }
}

/// One wait, without the GIL.
pub(super) struct Wait<'a> {
    pub(super) epoll: &'a Epoll,
    pub(super) wake: &'a WakePair,
    pub(super) events: Events,
    pub(super) polled_at: u64,
}

impl Wait<'_> {
    fn look(&mut self, timeout: Option<f64>) -> io::Result<()> {
        let result = self.epoll.wait(&mut self.events, timeout);
        self.polled_at = clock::ticks();
        result
    }

    pub(super) fn sleep(&mut self, timeout: Option<f64>) -> io::Result<()> {
        match self.wake.word.begin_sleep() {
            Sleep::Begin => self.look(timeout),
            Sleep::Called => Ok(()),
        }
    }

    /// Looks for a call's outcome for at most `limit` ticks, and now and then at the descriptors. Nothing when neither
    /// came; and what is left of `timeout`.
    pub(super) fn spin(&mut self, limit: u64, timeout: Option<f64>) -> (Option<io::Result<()>>, Option<f64>) {
        let start = clock::ticks();
        let most = timeout.map_or(limit, |seconds| limit.min(spin::ticks(seconds * 1e6)));
        loop {
            if self.wake.word.is_woken() {
                return (Some(Ok(())), timeout);
            }
            let now = clock::ticks();
            let spent = now.wrapping_sub(start);
            if spent >= most {
                let left = timeout.map(|seconds| (seconds - spin::seconds(spent)).max(0.0));
                return (None, left);
            }
            if now.wrapping_sub(self.polled_at) > SPIN_POLL_TICKS {
                let result = self.look(Some(0.0));
                if result.is_err() || !self.events.is_empty() {
                    return (Some(result), timeout);
                }
            }
            std::hint::spin_loop();
        }
    }
}

/// How long a loop that spins goes without a look at its descriptors: 5 to 10 microseconds.
const SPIN_POLL_TICKS: u64 = 20_000;

/// How long ready work may run before file descriptors are looked at again: 30 to 50 microseconds, by the speed of the
/// tick counter. A poll costs as much as two switches between tasks.
const POLL_TICKS: u64 = 100_000;

/// How many short turns in a row go by without a look at the counter, and what they may take together, the one that
/// looks included: 3 to 5 microseconds.
const UNREAD_TURNS: u32 = 3;
const SHORT_TURNS: u64 = 10_000;
