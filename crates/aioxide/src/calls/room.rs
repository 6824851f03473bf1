//! The room in a thread pool's queue: who waits for some, and who waits for what stands there. It is all of the queue that a
//! future may touch.

use std::cell::Cell;

use aioxide_core::event_count::{EventCount, Whom};

use crate::engine::futex::Futex;
use crate::ffi::gil;

pub struct Room {
    max_workers: Cell<u32>,
    /// Workers that wait in `Future.result()` for a call that stands in this very queue.
    blocked: Cell<u32>,
    /// What threads in `submit` sleep on that wait for room. Its lock is the GIL.
    news: EventCount<Futex>,
}

thread_local! {
    static CURRENT: Cell<*const Room> = const { Cell::new(std::ptr::null()) };
}

/// That of the queue which the calling thread serves; null for none.
#[inline(always)]
pub fn current() -> *const Room {
    CURRENT.get()
}

pub fn set_current(room: *const Room) {
    CURRENT.set(room);
}

impl Room {
    pub fn new(max_workers: u32) -> Room {
        Room { max_workers: Cell::new(max_workers), blocked: Cell::new(0), news: EventCount::default() }
    }

    pub fn max_workers(&self) -> u32 {
        self.max_workers.get()
    }

    pub fn set_max_workers(&self, most: u32) {
        self.max_workers.set(most);
    }

    /// One more worker waits for a call that stands here; false where it would be the last.
    pub fn block(&self) -> bool {
        let blocked = self.blocked.get() + 1;
        let another_runs = blocked < self.max_workers.get();
        if another_runs {
            self.blocked.set(blocked);
        }
        another_runs
    }

    /// So many of them wait no more, or for a call that has left.
    pub fn unblock(&self, workers: u32) {
        self.blocked.set(self.blocked.get().saturating_sub(workers));
    }

    /// Waits, with the GIL released, until there is room, or a signal comes. The caller has a reference to the queue.
    pub fn wait(&self) {
        let seen = self.news.begin_wait();
        // SAFETY: only the word is touched until the GIL is taken, and the caller has a reference to the queue.
        let released = unsafe { gil::release() };
        self.news.sleep(seen);
        released.take(0);
        self.news.end_wait();
    }

    /// There is room for somebody, or a reason to look again.
    pub fn tell(&self, all: bool) {
        self.news.notify(if all { Whom::All } else { Whom::One });
    }

    /// In a child of fork: nobody waits there.
    pub fn after_fork(&self) {
        self.blocked.set(0);
        self.news.forget();
    }
}
