//! A timer as a descriptor: timerfd_create(2).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::Timespec;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

use crate::poll::timespec;

/// A timer that is a descriptor: readable when it is due.
pub struct Timer(OwnedFd);

impl Timer {
    pub fn new() -> io::Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Timer(rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// Due in `seconds`; `None` is never.
    pub fn set(&self, seconds: Option<f64>) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // All zero would mean never.
        let it_value = seconds.map_or(zero, |seconds| timespec(seconds.max(1e-6)));
        let new = Itimerspec { it_interval: zero, it_value };
        rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &new)?;
        Ok(())
    }

    /// Takes the mark away that it was due.
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
    fn a_timer_is_due_once_and_never_when_it_was_taken_back() {
        let timer = Timer::new().unwrap();
        timer.set(Some(0.001)).unwrap();
        assert_eq!(readable(&[timer.fileno()], Some(10.0)).unwrap(), [true]);
        timer.clear();
        timer.set(Some(1000.0)).unwrap();
        timer.set(None).unwrap();
        assert_eq!(readable(&[timer.fileno()], Some(0.0)).unwrap(), [false]);
    }
}
