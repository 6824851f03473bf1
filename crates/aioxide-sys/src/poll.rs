//! Waiting for a few descriptors without a set of them: poll(2).

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::event::{self, PollFd, PollFlags, Timespec};

/// Waits for at most `timeout` seconds.
pub(crate) fn poll(fd: BorrowedFd<'_>, events: PollFlags, timeout: Option<f64>) -> io::Result<PollFlags> {
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    let limit = timeout.map(timespec);
    event::poll(&mut fds, limit.as_ref())?;
    Ok(fds[0].revents())
}

/// Which of the descriptors can be read from, or have ended; waits for at most `timeout` seconds for one. One that is closed
/// never can.
pub fn readable(fds: &[RawFd], timeout: Option<f64>) -> io::Result<Vec<bool>> {
    // SAFETY: used for one system call, which checks the numbers.
    let borrowed = fds.iter().map(|fd| unsafe { BorrowedFd::borrow_raw((*fd).max(0)) });
    let mut polled: Vec<PollFd<'_>> =
        borrowed.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let limit = timeout.map(timespec);
    event::poll(&mut polled, limit.as_ref())?;
    let told = |each: &PollFd<'_>| each.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
    Ok(polled.iter().zip(fds).map(|(each, fd)| *fd > 0 && told(each)).collect())
}

pub fn wait_writable(fd: RawFd) -> io::Result<()> {
    // SAFETY: used for one system call, which checks the number.
    poll(unsafe { BorrowedFd::borrow_raw(fd) }, PollFlags::OUT, None).map(drop)
}

pub(crate) fn timespec(seconds: f64) -> Timespec {
    let seconds = seconds.clamp(0.0, 1e9);
    Timespec { tv_sec: seconds as i64, tv_nsec: ((seconds.fract()) * 1e9) as _ }
}
