//! State that many reach: `Leaf`, a cell that is borrowed for leaf code only, which calls nothing of Python and releases no
//! object. Whatever does either may run a program's code (a `__del__`, a callback of the collector), and that may come back
//! to the very cell, while it is borrowed.
//!
//! A build with debug assertions checks it: while a `Leaf` is borrowed, `Obj`'s end and every call that this room makes
//! panic, and so does a second borrow of the same cell. `scripts/test-hard asan` is such a build.

#[cfg(debug_assertions)]
use std::cell::Cell;
use std::cell::UnsafeCell;

#[cfg(debug_assertions)]
use super::cells::Locked;
#[cfg(debug_assertions)]
use super::py::Py;

/// A value that is borrowed by `with` alone.
pub struct Leaf<T> {
    value: UnsafeCell<T>,
    #[cfg(debug_assertions)]
    borrowed: Cell<bool>,
}

impl<T> Leaf<T> {
    pub const fn new(value: T) -> Leaf<T> {
        Leaf {
            value: UnsafeCell::new(value),
            #[cfg(debug_assertions)]
            borrowed: Cell::new(false),
        }
    }

    /// Short access. Nothing in `body` may call into Python or release an object: it returns what is to be dropped.
    #[inline(always)]
    pub fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(debug_assertions)]
        let _open = Open::enter(&self.borrowed);
        // SAFETY: under the GIL, which leaf code does not let go of, and it comes back to no cell: no second borrow exists.
        body(unsafe { &mut *self.value.get() })
    }

    /// For the collector's visits.
    ///
    /// # Safety
    /// Called from a `tp_traverse`, which neither calls back into us nor changes references.
    #[inline(always)]
    pub unsafe fn visited(&self) -> &T {
        // SAFETY: a closure of `with` is under way never while the collector runs: such closures are leaf code, and make
        // no objects of Python's.
        unsafe { &*self.value.get() }
    }
}

impl<T: Default> Default for Leaf<T> {
    fn default() -> Leaf<T> {
        Leaf::new(T::default())
    }
}

#[cfg(debug_assertions)]
struct Open<'a>(&'a Cell<bool>);

/// How many cells are borrowed now.
#[cfg(debug_assertions)]
fn open() -> &'static Cell<u32> {
    static OPEN: Locked<Cell<u32>> = Locked::new(Cell::new(0));
    // SAFETY: cells are borrowed, objects used and released with the GIL held.
    OPEN.get(unsafe { Py::assume() })
}

#[cfg(debug_assertions)]
impl Open<'_> {
    fn enter(borrowed: &Cell<bool>) -> Open<'_> {
        assert!(!borrowed.replace(true), "a second borrow of the same state");
        open().set(open().get() + 1);
        Open(borrowed)
    }
}

#[cfg(debug_assertions)]
impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.set(false);
        open().set(open().get() - 1);
    }
}

/// Python code may run from here on: no state may be borrowed.
#[inline(always)]
pub fn none_borrowed() {
    #[cfg(debug_assertions)]
    assert!(open().get() == 0 || std::thread::panicking(), "Python may run while state of ours is borrowed");
}
