//! A wake-up as a descriptor: eventfd(2).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::{self, EventfdFlags};

/// What one thread wakes another with that waits in epoll.
pub struct Wakeup(OwnedFd);

impl Wakeup {
    pub fn new() -> io::Result<Wakeup> {
        Ok(Wakeup(event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    pub fn wake(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }

    pub fn fileno(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::poll::readable;

    #[test]
    fn two_wake_ups_are_one_until_it_is_cleared() {
        let wakeup = Wakeup::new().unwrap();
        let is_woken = || readable(&[wakeup.fileno()], Some(0.0)).unwrap() == [true];
        assert!(!is_woken());
        wakeup.wake();
        wakeup.wake();
        assert!(is_woken());
        wakeup.clear();
        assert!(!is_woken());
        wakeup.clear();
    }
}
