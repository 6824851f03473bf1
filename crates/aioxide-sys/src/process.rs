//! Other processes: to know when one ends, to end it, and to end with it. And what a process pool's descriptors are made
//! of besides sockets: a timer and a wake-up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{self, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

/// A descriptor that becomes readable when the process ends; of any process, not only a child.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

/// Sends a signal to that very process, whoever may have got its number since.
pub fn signal(pidfd: impl AsFd, number: i32) -> io::Result<()> {
    if number <= 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: not 0; only passed to the kernel, which checks it.
    let signal = unsafe { Signal::from_raw_unchecked(number) };
    Ok(rustix::process::pidfd_send_signal(pidfd, signal)?)
}

/// A pipe whose reading end, given to `die_with` in another process, ends that process when the writing end is gone.
pub fn lifeline() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// Has the kernel kill this process as soon as nobody holds the writing end of a pipe: whatever it is doing then, and
/// without a thread that would watch. False if that is so already.
pub fn die_with(pipe: RawFd) -> io::Result<bool> {
    const F_SETSIG: i32 = 10;
    let set = |command: i32, value: i32| {
        // SAFETY: fcntl with an integer argument changes flags of the descriptor only, and checks its number.
        if unsafe { libc::fcntl(pipe, command, value) } < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    set(F_SETSIG, libc::SIGKILL)?;
    // SAFETY: has no preconditions.
    set(libc::F_SETOWN, unsafe { libc::getpid() })?;
    set(libc::F_SETFL, libc::O_ASYNC)?;
    // SAFETY: used for one system call, which checks the number.
    let pipe = unsafe { BorrowedFd::borrow_raw(pipe) };
    Ok(poll(pipe, PollFlags::IN, Some(0.0))?.is_empty())
}

/// Waits for at most `timeout` seconds.
pub fn poll(fd: BorrowedFd<'_>, events: PollFlags, timeout: Option<f64>) -> io::Result<PollFlags> {
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

fn timespec(seconds: f64) -> Timespec {
    let seconds = seconds.clamp(0.0, 1e9);
    Timespec { tv_sec: seconds as i64, tv_nsec: ((seconds.fract()) * 1e9) as _ }
}

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

/// How many descriptors this process may have.
pub fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// The resident memory of a process in bytes; 0 where it is gone.
pub fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: u64 = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Ends this process at once: no handler, no destructor runs.
pub fn end(code: i32) -> ! {
    // SAFETY: has no preconditions.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_that_ends_is_seen_and_can_be_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = open(child.id() as i32).unwrap();
        assert!(poll(pidfd.as_fd(), PollFlags::IN, Some(0.0)).unwrap().is_empty());
        assert!(resident(child.id()) > 0);
        signal(&pidfd, libc::SIGKILL).unwrap();
        assert!(!poll(pidfd.as_fd(), PollFlags::IN, None).unwrap().is_empty());
        child.wait().unwrap();
        assert!(signal(&pidfd, libc::SIGTERM).is_err());
        assert_eq!(resident(child.id()), 0);
    }

    #[test]
    fn a_timer_is_due_once_and_never_when_it_was_taken_back() {
        let timer = Timer::new().unwrap();
        // SAFETY: the timer is open.
        let fd = unsafe { BorrowedFd::borrow_raw(timer.fileno()) };
        timer.set(Some(0.001)).unwrap();
        assert!(!poll(fd, PollFlags::IN, Some(10.0)).unwrap().is_empty());
        timer.clear();
        timer.set(Some(1000.0)).unwrap();
        timer.set(None).unwrap();
        assert!(poll(fd, PollFlags::IN, Some(0.0)).unwrap().is_empty());
    }
}
