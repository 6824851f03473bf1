//! A thread of ours lets another one have the GIL before the interpreter makes it.

use aioxide_sys::thread::yield_core;
use pyo3_ffi::*;

use crate::task::loop_state::{LoopState, thread_ident};

/// How many entries may wait for a loop that runs before a thread that queues more lets it have the GIL: as many as the
/// freelists keep.
const YIELD_EVERY: usize = 1024;

/// Lets a loop that is behind have the GIL for a moment. A thread that queues without a pause would else fill the queue
/// for the five milliseconds that the interpreter gives it: with tens of thousands of handles, all of them made of memory
/// that no cache has, and that is given back to the system when they have run.
#[inline(always)]
pub fn when_behind(state: &LoopState) {
    if state.ready_len().is_multiple_of(YIELD_EVERY) {
        let running = state.thread.get();
        if running != 0 && running != thread_ident() {
            release_for_a_moment();
        }
    }
}

#[cold]
fn release_for_a_moment() {
    // SAFETY: nothing of ours is borrowed, and nothing between the two calls touches a Python object.
    unsafe {
        let thread = PyEval_SaveThread();
        yield_core();
        PyEval_RestoreThread(thread);
    }
}
