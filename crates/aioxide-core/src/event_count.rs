//! An event count: threads find under a lock that they have to wait, and sleep without it until there is news.
//!
//! ```text
//! with the lock: begin_wait    without it: sleep    with the lock again: end_wait, and look
//! with the lock: notify        counts the news, and wakes who sleeps
//! ```
//!
//! News that comes between `begin_wait` and `sleep` has changed the count, so that nobody falls asleep over it. One who was
//! woken, and goes away without having looked, must `notify` another: the news was meant for one.

use crate::parking::Parking;
use crate::sync::{AtomicU32, Ordering};

#[derive(Default)]
pub struct EventCount<P> {
    news: AtomicU32,
    /// Threads between `begin_wait` and `end_wait`. Guarded by the lock.
    waiters: AtomicU32,
    parking: P,
}

/// The news that a thread has seen which is about to sleep.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen(u32);

/// How many are to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whom {
    One,
    All,
}

impl<P: Parking> EventCount<P> {
    pub fn begin_wait(&self) -> Seen {
        self.add(1);
        Seen(self.news.load(Ordering::Relaxed))
    }

    /// Sleeps until there is news; may return early.
    pub fn sleep(&self, seen: Seen) {
        let _ = self.parking.park(&self.news, seen.0, None);
    }

    pub fn end_wait(&self) {
        self.add(-1);
    }

    fn add(&self, more: i32) {
        let now = self.waiters.load(Ordering::Relaxed).saturating_add_signed(more);
        self.waiters.store(now, Ordering::Relaxed);
    }

    /// There is news. Costs nothing where nobody waits.
    #[inline]
    pub fn notify(&self, whom: Whom) {
        if self.waiters.load(Ordering::Relaxed) > 0 {
            self.news.fetch_add(1, Ordering::Release);
            match whom {
                Whom::One => self.parking.unpark(&self.news),
                Whom::All => self.parking.unpark_all(&self.news),
            }
        }
    }

    /// In a child of fork: nobody waits there.
    pub fn forget(&self) {
        self.waiters.store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod models {
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    use super::*;
    use crate::parking::Futex;

    /// A queue's room: the lock with its free places, and whether it is closed.
    #[derive(Default)]
    struct World {
        places: Mutex<(u32, bool)>,
        count: EventCount<Futex>,
    }

    impl World {
        /// `submit`: waits for a place and takes it; false where the queue was closed. One who `gives_up` does so when it is
        /// woken, as by a signal that raises.
        fn submit(&self, gives_up: bool) -> bool {
            loop {
                let mut places = self.places.lock().unwrap();
                if places.1 {
                    return false;
                }
                if places.0 > 0 {
                    places.0 -= 1;
                    return true;
                }
                let seen = self.count.begin_wait();
                drop(places);
                self.count.sleep(seen);
                let _places = self.places.lock().unwrap();
                self.count.end_wait();
                if gives_up {
                    self.count.notify(Whom::One);
                    return false;
                }
            }
        }

        fn leave(&self) {
            let mut places = self.places.lock().unwrap();
            places.0 += 1;
            self.count.notify(Whom::One);
        }

        fn close(&self) {
            let mut places = self.places.lock().unwrap();
            places.1 = true;
            self.count.notify(Whom::All);
        }
    }

    /// One thread submits for each, and all of `main` happens meanwhile.
    fn model(give_up: &'static [bool], main: fn(&World)) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let world = Arc::new(World::default());
            let submit = |gives_up: &'static bool| {
                let world = world.clone();
                thread::spawn(move || {
                    world.submit(*gives_up);
                })
            };
            let threads: Vec<_> = give_up.iter().map(submit).collect();
            main(&world);
            threads.into_iter().for_each(|each| each.join().unwrap());
        });
    }

    #[test]
    fn room_that_is_made_is_found() {
        model(&[false], World::leave);
    }

    #[test]
    fn each_place_is_found_by_one() {
        model(&[false, false], |world| {
            world.leave();
            world.leave();
        });
    }

    #[test]
    fn the_end_reaches_all_who_sleep() {
        model(&[false, false], World::close);
    }

    #[test]
    fn one_who_gives_up_passes_the_news_on() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let world = Arc::new(World::default());
            let (first, second) = (world.clone(), world.clone());
            let first = thread::spawn(move || {
                if first.submit(true) {
                    // It did not have to wait: its call ends, and the next one has the place.
                    first.leave();
                }
            });
            let second = thread::spawn(move || assert!(second.submit(false)));
            world.leave();
            second.join().unwrap();
            world.close();
            first.join().unwrap();
        });
    }
}
