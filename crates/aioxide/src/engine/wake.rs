//! What wakes a loop that waits: a byte in its pair of sockets, from another thread or from the interpreter's signal
//! handler (which refuses an eventfd, hence the pair).

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use aioxide_core::wake_word::{Wake, WakeWord};
use aioxide_sys::socket;

/// The pair of sockets, and the word that says whether a byte is needed. The word's lock is the GIL.
pub struct WakePair {
    pub(super) receiver: Cell<i32>,
    /// A descriptor of its own, so that it can be written to without the GIL, whatever becomes of the loop.
    pub(super) sender: RefCell<Option<Arc<OwnedFd>>>,
    pub word: WakeWord,
}

impl WakePair {
    pub fn new() -> WakePair {
        WakePair { receiver: Cell::new(-1), sender: RefCell::default(), word: WakeWord::default() }
    }

    /// Makes the loop look at its queue. Needs the GIL: the loop says that it waits before it lets go of it, so what is
    /// queued without being told of is seen.
    #[inline(always)]
    pub fn wake(&self) {
        drop(self.bell());
    }

    /// As `wake`, but if the loop sleeps, leaves it to the caller to ring.
    #[inline(always)]
    pub fn bell(&self) -> Option<Bell> {
        match self.word.wake() {
            Wake::Known => None,
            Wake::Ring => self.sender.borrow().clone().map(Bell),
        }
    }
}

/// Wakes a loop that sleeps when it is dropped: at once, or after the caller has let go of the GIL, for which the loop would
/// else have to wait, asleep again.
#[must_use]
pub struct Bell(Arc<OwnedFd>);

impl Drop for Bell {
    fn drop(&mut self) {
        // A full pipe wakes the loop as well; any other failure means that the loop is gone.
        let _ = socket::send(self.0.as_raw_fd(), &[0]);
    }
}
