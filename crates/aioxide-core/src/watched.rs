//! What a thread that watches over a loop may see of what the loop serves, without the lock that guards all else: Python's.
//!
//! The loop counts its looks; the watcher remembers the count that it saw when there was something to be served, and comes
//! back after a while. Where nothing was served since, it asks again with the lock, under which alone the loop counts.

use crate::sync::{
    AtomicBool, AtomicI32, AtomicU32,
    Ordering::{Relaxed, SeqCst},
};
use crate::wake_word::Wake;

#[derive(Default)]
pub struct Watched {
    /// Counts the looks of who serves. Written with the lock only.
    served: AtomicU32,
    /// It is to be watched.
    armed: AtomicBool,
    /// The descriptor that is ready when there is something to serve; 0 for none.
    descriptor: AtomicI32,
}

/// What the watcher saw: as long as `has_waited` says so, nobody has served since.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    served: u32,
}

impl Watched {
    /// There is something that may have to wait. With the lock.
    pub fn arm(&self) {
        self.armed.store(true, Relaxed);
    }

    pub fn disarm(&self) {
        self.armed.store(false, Relaxed);
    }

    #[inline(always)]
    pub fn is_armed(&self) -> bool {
        self.armed.load(Relaxed)
    }

    /// Who serves has looked. With the lock.
    #[inline(always)]
    pub fn note_served(&self) {
        self.served.store(self.served.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub fn set_descriptor(&self, descriptor: i32) {
        self.descriptor.store(descriptor, Relaxed);
    }

    pub fn descriptor(&self) -> Option<i32> {
        Some(self.descriptor.load(Relaxed)).filter(|descriptor| *descriptor > 0)
    }

    /// There is nothing to watch any more.
    pub fn close(&self) {
        self.disarm();
        self.set_descriptor(0);
    }

    pub fn look(&self) -> Look {
        Look { served: self.served.load(Relaxed) }
    }

    /// Whether nobody has served since that look, and somebody should have. The answer holds as long as the lock is held.
    pub fn has_waited(&self, since: Look) -> bool {
        self.is_armed() && self.look() == since
    }
}

/// Whether the watcher sleeps, so that who has something new for it must wake it. What is new stands in a list under a lock:
/// the watcher says first that it falls asleep, and looks at the list then; the others put something in first, and then ask.
#[derive(Default)]
pub struct Watcher {
    asleep: AtomicBool,
}

impl Watcher {
    // Exchanges, all of them: loom has a store and an exchange of another thread in either order, whatever that has read.

    pub fn fall_asleep(&self) {
        self.asleep.swap(true, SeqCst);
    }

    pub fn get_up(&self) {
        self.asleep.swap(false, SeqCst);
    }

    /// There is something new.
    pub fn wake(&self) -> Wake {
        if self.asleep.swap(false, SeqCst) { Wake::Ring } else { Wake::Known }
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod models {
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    use super::*;

    /// The lock guards how often the loop has served, and whether the watcher took its pool away.
    #[derive(Default)]
    struct World {
        state: Mutex<(u32, bool)>,
        watched: Watched,
    }

    impl World {
        fn serve(&self, last: bool) {
            let mut state = self.state.lock().unwrap();
            if !state.1 {
                state.0 += 1;
                self.watched.note_served();
                if last {
                    self.watched.disarm();
                }
            }
        }
    }

    /// Whoever comes first: no pool is lent whose loop has served it since the look, nor one that has nothing left.
    fn lends_rightly(last: bool) {
        loom::model(move || {
            let world = Arc::new(World::default());
            world.watched.arm();
            let serving = world.clone();
            let serving = thread::spawn(move || serving.serve(last));
            let look = world.watched.look();
            if world.watched.has_waited(look) {
                let mut state = world.state.lock().unwrap();
                if world.watched.has_waited(look) {
                    assert_eq!(state.0, look.served, "served since");
                    assert!(!last || state.0 == 0, "nothing is left");
                    state.1 = true;
                }
            }
            serving.join().unwrap();
        });
    }

    #[test]
    fn what_was_served_meanwhile_is_not_lent() {
        lends_rightly(false);
    }

    #[test]
    fn what_has_ended_meanwhile_is_not_lent() {
        lends_rightly(true);
    }

    /// The watcher's list, as a count, and the descriptor that wakes it.
    #[derive(Default)]
    struct List {
        entries: Mutex<u32>,
        watcher: Watcher,
        wakeup: Mutex<bool>,
        woken: Condvar,
    }

    impl List {
        fn add(&self) {
            *self.entries.lock().unwrap() += 1;
            if self.watcher.wake() == Wake::Ring {
                *self.wakeup.lock().unwrap() = true;
                self.woken.notify_one();
            }
        }

        fn watch_until(&self, wanted: u32) {
            while *self.entries.lock().unwrap() < wanted {
                self.watcher.fall_asleep();
                if *self.entries.lock().unwrap() < wanted {
                    let mut wakeup = self.wakeup.lock().unwrap();
                    while !*wakeup {
                        wakeup = self.woken.wait(wakeup).unwrap();
                    }
                }
                self.watcher.get_up();
                *self.wakeup.lock().unwrap() = false;
            }
        }
    }

    #[test]
    fn the_watcher_sees_all_that_is_new() {
        for others in [1, 2] {
            let mut model = loom::model::Builder::new();
            model.preemption_bound = Some(3);
            model.check(move || {
                let list = Arc::new(List::default());
                let add = |_| {
                    let list = list.clone();
                    thread::spawn(move || list.add())
                };
                let threads: Vec<_> = (0..others).map(add).collect();
                list.watch_until(others);
                threads.into_iter().for_each(|each| each.join().unwrap());
            });
        }
    }
}
