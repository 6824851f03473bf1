//! State by who may touch it: what a build without the GIL has to look at.
//!
//! - `Locked<T>`: a static. Whoever holds the GIL may touch it; it is where a lock would go.
//! - A plain `Cell`, `Slot` or `Leaf` in a native object: the same. As such an object cannot be sent to another thread nor
//!   shared with one, whoever has a reference to it holds the GIL.
//! - `Local<T>`: a part of a loop that only the thread that runs the loop touches, in a turn of it. It needs no lock.

use std::cell::Cell;

use super::py::Py;
#[cfg(debug_assertions)]
use std::thread::{ThreadId, current};

/// A static value that is touched with the GIL held.
#[repr(transparent)]
pub struct Locked<T>(T);

// SAFETY: `get` wants the proof that the GIL is held, and gives nothing for longer than that holds.
unsafe impl<T> Sync for Locked<T> {}

// SAFETY: as above; and nothing happens where what can be copied ends, whatever thread that is in.
unsafe impl<T: Copy> Send for Locked<Cell<T>> {}

impl<T> Locked<T> {
    pub const fn new(value: T) -> Locked<T> {
        Locked(value)
    }

    #[inline(always)]
    pub fn get<'py>(&'py self, _: Py<'py>) -> &'py T {
        &self.0
    }
}

/// This thread runs a loop, and is in a turn of it.
#[derive(Clone, Copy)]
pub struct Turn<'t>(Py<'t>);

impl<'t> Turn<'t> {
    #[inline(always)]
    pub fn py(self) -> Py<'t> {
        self.0
    }

    /// # Safety
    /// No other thread is in a turn of the loop whose state is touched with this.
    #[inline(always)]
    pub unsafe fn begin(py: Py<'t>) -> Turn<'t> {
        Turn(py)
    }
}

/// A part of a loop that only the thread which runs it touches. A build with debug assertions checks that.
pub struct Local<T> {
    value: T,
    #[cfg(debug_assertions)]
    thread: Cell<Option<ThreadId>>,
}

impl<T> Local<T> {
    pub fn new(value: T) -> Local<T> {
        Local {
            value,
            #[cfg(debug_assertions)]
            thread: Cell::new(None),
        }
    }

    /// The loop begins to run, in this thread: it may have run in another before.
    #[inline(always)]
    pub fn adopt(&self, _: Turn) {
        #[cfg(debug_assertions)]
        self.thread.set(Some(current().id()));
    }

    #[inline(always)]
    pub fn get<'t>(&'t self, _: Turn<'t>) -> &'t T {
        #[cfg(debug_assertions)]
        assert!(
            self.thread.get() == Some(current().id()),
            "a loop's own state in a thread that does not run it"
        );
        &self.value
    }
}
