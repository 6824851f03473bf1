//! Other processes: to know when one ends, to end it, and to end with it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::poll::poll;

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

/// How many descriptors this process may have.
pub fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
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
    use crate::memory::resident;
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
}
