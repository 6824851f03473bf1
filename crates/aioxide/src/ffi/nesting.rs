//! Chains of objects that hold each other, a future as the result of a future and so on: released without recursing as
//! deep as the chain is long, which could overflow the C stack. From 3.14 on the interpreter itself sees to it.

use std::cell::{Cell, RefCell};

use pyo3_ffi::*;

use super::object::Raw;

pub type Release = unsafe fn(Raw);

/// Deallocators that may be at work inside each other: as many as CPython's trashcan allows, times what a frame of ours
/// is smaller.
const DEEPEST: u32 = 200;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static WAIT: Cell<bool> = const { Cell::new(false) };
    static LATER: RefCell<Vec<(Raw, Release)>> = const { RefCell::new(Vec::new()) };
}

struct Level(u32);

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(self.0);
    }
}

/// Calls `release(object)`, now or, from a certain depth on, when the outermost call returns.
///
/// # Safety
/// Called by the `tp_dealloc` of a type with the garbage collector's header, with nothing done to `object` yet; and
/// `release` is all of that `tp_dealloc`.
#[inline(always)]
pub unsafe fn bounded(object: Raw, release: Release) {
    // SAFETY: it has no references any more, so nobody but `release` ends it, and it stays ours until that has run.
    unsafe {
        if cfg!(Py_3_14) {
            return release(object);
        }
        let depth = DEPTH.get();
        if depth >= DEEPEST {
            PyObject_GC_UnTrack(object.cast());
            LATER.with_borrow_mut(|later| later.push((object, release)));
            WAIT.set(true);
            return;
        }
        let level = Level(depth);
        DEPTH.set(depth + 1);
        release(object);
        if depth == 0 && WAIT.get() {
            release_later();
        }
        drop(level);
    }
}

/// # Safety
/// No object that was put off is being released by a caller.
#[cold]
unsafe fn release_later() {
    while let Some((object, release)) = LATER.with_borrow_mut(Vec::pop) {
        // SAFETY: put there by `bounded`; a finaliser wants its object as the interpreter hands it over, tracked.
        unsafe {
            PyObject_GC_Track(object.cast());
            release(object);
        }
    }
    WAIT.set(false);
}
