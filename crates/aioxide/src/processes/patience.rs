//! A loop serves its pool without any thread, as long as it comes round. While more calls are under way than there are
//! workers, a thread watches that it does: where results have waited for `PATIENCE` and the loop has not looked at them (a
//! callback of a user's computes, or sleeps in a library), it lends the pool to the reactor, so that the workers go on.
//!
//! The hot path pays a comparison at each call and a count at each look for results. The thread needs the GIL only to lend;
//! it sleeps while no results come, but for a look each second, and ends when there has been nothing to watch for a while.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aioxide_core::wake_word::Wake;
use aioxide_core::watched::{Look, Watched, Watcher};
use aioxide_sys::poll::readable;
use aioxide_sys::wakeup::Wakeup;

use super::live::in_live;
use super::pool::Pool;
use super::service_threads::start_thread;
use crate::ffi::cells::Locked;
use crate::ffi::class::Native;
use crate::ffi::guard::guarded;
use crate::ffi::{Global, Leaf, Py, Res, error, gil};

/// How long results may wait for the loop.
const PATIENCE: Duration = Duration::from_millis(5);
/// For how many seconds the thread waits for the next pool to watch.
const LINGER: f64 = 0.2;
/// For how many seconds it sleeps without a look at what it watches: a pool that has ended wakes nobody.
const LONGEST_SLEEP: f64 = 1.0;

#[derive(Default)]
struct Pools {
    /// Each with the address of its pool, only to compare with.
    pools: Vec<(usize, Arc<Watched>)>,
    /// The thread is there.
    runs: bool,
    ended: bool,
}

/// How a pool is lent: `processes::home` stands above.
pub static LEND: Global<fn(&Pool) -> Res<()>> = Global::new();

struct Shared {
    watched: Mutex<Pools>,
    wakeup: Wakeup,
    watcher: Watcher,
}

/// It belongs to the thread, and goes with it.
static WATCH: Locked<Leaf<Weak<Shared>>> = Locked::new(Leaf::new(Weak::new()));

/// A task was queued.
#[inline(always)]
pub fn look_after(pool: &Pool) {
    if pool.is_at_loop() && has_more(pool) && !pool.seen().is_armed() {
        arm(pool);
    }
}

/// Results were looked for.
#[inline(always)]
pub fn served(pool: &Pool) {
    let seen = pool.seen();
    seen.note_served();
    if seen.is_armed() && !(pool.is_at_loop() && has_more(pool)) {
        seen.disarm();
    }
}

/// Calls wait behind others.
#[inline(always)]
fn has_more(pool: &Pool) -> bool {
    pool.outstanding() > pool.with(|state| state.workers().len())
}

#[cold]
fn arm(pool: &Pool) {
    // Without the thread, a loop that has no time is all that there is: as good as can be.
    let Ok(shared) = shared(pool.py()) else { return };
    pool.seen().arm();
    let address = std::ptr::from_ref(pool) as usize;
    let (known, runs) = {
        let mut watched = shared.lock();
        let known = watched.pools.iter().any(|(_, seen)| Arc::ptr_eq(seen, pool.seen()));
        if !known {
            watched.pools.push((address, pool.seen().clone()));
        }
        (known, std::mem::replace(&mut watched.runs, true))
    };
    if !runs {
        let for_thread = shared.clone();
        if start_thread(pool.py(), move || watch(&for_thread)).is_err() {
            shared.lock().runs = false;
        }
    } else if !known && shared.watcher.wake() == Wake::Ring {
        shared.wakeup.wake();
    }
}

fn shared(py: Py) -> io::Result<Arc<Shared>> {
    if let Some(shared) = WATCH.get(py).with(|place| place.upgrade()) {
        return Ok(shared);
    }
    let made =
        Arc::new(Shared { watched: Mutex::default(), wakeup: Wakeup::new()?, watcher: Watcher::default() });
    WATCH.get(py).with(|place| *place = Arc::downgrade(&made));
    Ok(made)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pools> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pools to watch; nothing when the thread is to end.
    fn look(&self) -> Option<Vec<(usize, Arc<Watched>)>> {
        let mut watched = self.lock();
        watched.pools.retain(|(_, seen)| seen.is_armed());
        (!watched.ended).then(|| watched.pools.clone())
    }

    /// Sleeps until results come for one of these, or there is another to watch; false when the time is over.
    fn sleep(&self, pools: &[(usize, Arc<Watched>)], timeout: Option<f64>) -> bool {
        self.watcher.fall_asleep();
        let changed = self.look().is_none_or(|now| now.len() > pools.len());
        let mut woken = true;
        if !changed {
            let mut fds = vec![self.wakeup.fileno()];
            fds.extend(pools.iter().filter_map(|(_, seen)| seen.descriptor()));
            woken = readable(&fds, timeout).is_ok_and(|ready| ready.contains(&true));
        }
        self.watcher.get_up();
        self.wakeup.clear();
        woken
    }

    /// False where there is a pool to watch after all.
    fn end(&self) -> bool {
        let mut watched = self.lock();
        watched.runs = !watched.pools.is_empty() && !watched.ended;
        !watched.runs
    }
}

/// The thread's life.
fn watch(shared: &Shared) {
    while let Some(pools) = shared.look() {
        if pools.is_empty() {
            if !shared.sleep(&pools, Some(LINGER)) && shared.end() {
                return;
            }
            continue;
        }
        let late = late(&pools);
        if late.is_empty() {
            shared.sleep(&pools, Some(LONGEST_SLEEP));
        }
        std::thread::sleep(PATIENCE);
        for (slf, seen, look) in late {
            if seen.has_waited(look) {
                lend(slf, &seen, look);
            }
        }
    }
}

/// The pools for which results wait, each with what was seen of it before it was found so.
fn late(pools: &[(usize, Arc<Watched>)]) -> Vec<(usize, Arc<Watched>, Look)> {
    let live =
        pools.iter().filter_map(|(slf, seen)| Some((seen.descriptor()?, (*slf, seen.clone(), seen.look()))));
    let (fds, seen): (Vec<i32>, Vec<_>) = live.unzip();
    let ready = readable(&fds, Some(0.0)).unwrap_or_default();
    seen.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(seen, _)| seen).collect()
}

/// Lends a pool to the reactor, if its loop has not served it in the meantime.
fn lend(address: usize, seen: &Arc<Watched>, look: Look) {
    let lend = |py: Py| {
        let found = in_live(py, |pool| {
            let is_it = std::ptr::from_ref(pool) as usize == address && Arc::ptr_eq(pool.seen(), seen);
            is_it.then(|| pool.hold())
        });
        let Some(pool) = found.filter(|pool| pool.is_at_loop() && !pool.is_being_served()) else { return };
        // SAFETY: set before the first pool was made.
        if seen.has_waited(look) && unsafe { LEND.get() }(&pool).is_err() {
            error::unraisable(pool.object());
        }
    };
    // SAFETY: `end` waits for this thread before the interpreter takes the GIL away.
    guarded((), || unsafe { gil::with(lend) });
}

/// At interpreter exit: the thread ends, for whoever waits for it.
pub fn end(py: Py) {
    if let Some(shared) = WATCH.get(py).with(|place| place.upgrade()) {
        shared.lock().ended = true;
        shared.wakeup.wake();
    }
}

/// In a child of fork: the thread is not there, and may have held the lock.
pub fn forked(py: Py) {
    WATCH.get(py).with(|place| *place = Weak::new());
}
