//! Where one worker of a thread pool sits: what it waits on, and what others may know of it.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use aioxide_core::parking::Sleep;
use aioxide_core::wait_word::WaitWord;
use aioxide_sys::clock;

use crate::engine::futex::Futex;
use crate::engine::spin;
use crate::engine::wake::Bell;
use crate::ffi::cells::Locked;
use crate::ffi::{NULL, Obj, Py, Raw, Ref, gil};
use crate::task::loop_state::thread_ident;

pub struct Seat {
    word: WaitWord<Futex>,
    pub thread: u64,
    running: Locked<Cell<Running>>,
}

/// What runs, borrowed from the call that runs; null between calls.
#[derive(Clone, Copy)]
struct Running {
    function: Raw,
    /// In ticks.
    since: u64,
    /// Null where there is none, or a loop's.
    future: Raw,
}

const NOTHING: Running = Running { function: NULL, since: 0, future: NULL };

/// How many workers spin, in all pools: one processor is left to whoever has something to do.
static SPINNERS: AtomicUsize = AtomicUsize::new(0);

impl Seat {
    pub fn new() -> Seat {
        Seat { word: WaitWord::default(), thread: thread_ident(), running: Locked::new(Cell::new(NOTHING)) }
    }

    /// A call begins: what runs, and for which future of `concurrent.futures`.
    #[inline(always)]
    pub fn begin(&self, function: Ref, since: u64, future: Option<Ref>) {
        let running =
            Running { function: function.as_ptr(), since, future: future.map_or(NULL, Ref::as_ptr) };
        self.running.get(function.py()).set(running);
    }

    #[inline(always)]
    pub fn end(&self, py: Py) {
        self.running.get(py).set(NOTHING);
    }

    /// What runs, and since when in ticks.
    pub fn running(&self, py: Py) -> Option<(Obj, u64)> {
        let Running { function, since, .. } = self.running.get(py).get();
        // SAFETY: the call that runs holds it.
        unsafe { Ref::maybe(function) }.map(|function| (function.to_obj(), since))
    }

    /// In a child of fork: the future of the call that ran in the parent's thread, which is not in this process.
    pub fn left_behind(&self, py: Py) -> Option<Obj> {
        let future = self.running.get(py).get().future;
        // SAFETY: the call that runs holds it, on the stack of a thread that is not here to let go of it.
        if self.thread == thread_ident() { None } else { unsafe { Ref::maybe(future) }.map(Ref::to_obj) }
    }

    /// Has the worker come. It was taken off the stack of idle workers.
    #[inline(always)]
    pub fn call(&self) {
        self.word.call();
    }

    /// Says, with the GIL, that the worker is about to wait.
    pub fn begin_wait(&self, spins: bool) {
        self.word.begin_wait(spins);
    }

    /// Waits with the GIL released until the worker is called, or for `timeout` seconds. Spins for `limit` ticks first:
    /// true when the worker was called within them.
    pub fn wait(&self, limit: u64, timeout: Option<f64>, bell: Option<Bell>) -> bool {
        // SAFETY: only the word is touched until the GIL is taken.
        let released = unsafe { gil::release() };
        drop(bell);
        let won = limit > 0 && self.spin(limit);
        if !won {
            self.sleep(timeout);
        }
        // Who has called is about to wait for what it called for, and to let go of the GIL.
        released.take(limit);
        won
    }

    /// Sleeps with the GIL released until it is called, or a signal comes, or for `timeout` seconds.
    pub fn nap(&self, timeout: Option<f64>) {
        // SAFETY: only the word is touched until the GIL is taken.
        let released = unsafe { gil::release() };
        self.word.nap(timeout);
        released.take(0);
    }

    fn spin(&self, limit: u64) -> bool {
        let won = spin::spin(limit, || self.word.is_called());
        SPINNERS.fetch_sub(1, Ordering::Relaxed);
        won || self.word.stop_spinning() == Sleep::Called
    }

    fn sleep(&self, timeout: Option<f64>) {
        let deadline = timeout.map(|seconds| clock::monotonic() + seconds);
        self.word.sleep(|| deadline.map(|deadline| deadline - clock::monotonic()));
    }

    /// The worker waits no more.
    pub fn end_wait(&self) {
        self.word.end_wait();
    }
}

/// Takes one of the places for workers that spin; false when all are taken. `Seat::wait` gives it back.
pub fn may_spin(processors: usize) -> bool {
    let most = processors.saturating_sub(1);
    SPINNERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < most).then_some(now + 1)).is_ok()
}

/// A child of fork has one thread, and that one does not spin.
pub fn after_fork() {
    SPINNERS.store(0, Ordering::Relaxed);
}
