//! Handing the GIL from one thread of ours to another.
//!
//! A thread that asks for the GIL while another holds it is put to sleep, and being woken costs it 25 to 50
//! microseconds on an ordinary machine: more than most calls in a pool take. So a thread that has reason to believe that
//! the holder is about to let go (it has just finished the call, or is about to wait for one) first spins for a short
//! time until the holder says so. `HOLDER` is a hint, not a lock: threads that are not ours take and release the GIL
//! without a word. What comes of a wrong hint is the wait that there would have been without it.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use aioxide_sys::clock;
use pyo3_ffi::*;

use super::py::Py;

/// The thread of ours that took the GIL last and has not said yet that it let go; 0 for none.
static HOLDER: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static TOKEN: u8 = const { 0 };
}

/// A number for the calling thread that no other living thread has.
#[inline(always)]
fn me() -> usize {
    TOKEN.with(|token| std::ptr::from_ref(token) as usize)
}

/// The GIL is released until `take`.
#[must_use]
pub struct Released(*mut PyThreadState);

/// Lets go of the GIL.
///
/// # Safety
/// The calling thread holds it, and touches no Python object, nor a cell that others use, until `take`.
#[inline(always)]
pub unsafe fn release() -> Released {
    // SAFETY: the thread has the GIL, and no borrow of the interpreter's is in use past this line.
    let thread = unsafe { PyEval_SaveThread() };
    // Another thread may have taken it already, and said so.
    let _ = HOLDER.compare_exchange(me(), 0, Ordering::Release, Ordering::Relaxed);
    Released(thread)
}

impl Released {
    /// Takes the GIL again. Before it asks for it, it waits for at most `patience` ticks of the counter until the
    /// holder has let go: unless that has not helped of late.
    #[inline(always)]
    pub fn take(self, patience: u64) {
        if patience > 0 && HOLDER.load(Ordering::Acquire) != 0 && worth_waiting() {
            wait_for_holder(patience);
        }
        // SAFETY: this thread's own state, which `release` gave.
        unsafe { PyEval_RestoreThread(self.0) };
        HOLDER.store(me(), Ordering::Relaxed);
    }
}

/// Runs `body` without the GIL; for waits, of which nobody is told.
///
/// # Safety
/// As `release`, for `body`.
#[inline(always)]
pub unsafe fn without<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: the caller's word; what was saved is this thread's own.
    unsafe {
        let thread = PyEval_SaveThread();
        let done = body();
        PyEval_RestoreThread(thread);
        done
    }
}

/// Runs `body` with the GIL, in a thread that the interpreter need not know.
///
/// # Safety
/// The interpreter does not end before this returns.
pub unsafe fn with<T>(body: impl FnOnce(Py) -> T) -> T {
    // SAFETY: the thread has the GIL between the two calls.
    unsafe {
        let gil = PyGILState_Ensure();
        let done = body(Py::assume());
        PyGILState_Release(gil);
        done
    }
}

/// How waiting has helped: up with each time that it did, down with each that it did not. A holder that has gone into
/// other code, and has let go of the GIL there or keeps it, says nothing.
static PATIENCE: AtomicI32 = AtomicI32::new(8);

fn worth_waiting() -> bool {
    /// While it does not help, it is tried once in so many times.
    const PROBE: i32 = 32;
    let score = PATIENCE.load(Ordering::Relaxed);
    if score > 0 {
        return true;
    }
    let next = if score <= -PROBE { 1 } else { score - 1 };
    PATIENCE.store(next, Ordering::Relaxed);
    false
}

fn wait_for_holder(patience: u64) {
    let start = clock::ticks();
    while HOLDER.load(Ordering::Acquire) != 0 {
        if clock::ticks().wrapping_sub(start) >= patience {
            PATIENCE.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        std::hint::spin_loop();
    }
    PATIENCE.store((PATIENCE.load(Ordering::Relaxed) + 2).min(8), Ordering::Relaxed);
}

/// A thread of ours ends, or goes back to code that is not ours for long: nobody need wait for it to say that it let go.
pub fn leave() {
    let _ = HOLDER.compare_exchange(me(), 0, Ordering::Release, Ordering::Relaxed);
}

/// A child of fork has one thread only, and that one holds the GIL.
pub fn after_fork() {
    HOLDER.store(me(), Ordering::Relaxed);
}
