//! A thin, safe face of epoll: file descriptors go in with a number of the caller's, numbers come out.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub const READ: u32 = libc::EPOLLIN as u32;
pub const WRITE: u32 = libc::EPOLLOUT as u32;
pub const EDGE: u32 = libc::EPOLLET as u32;

pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointer, and its result is a descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    fn control(&self, op: libc::c_int, fd: BorrowedFd<'_>, interest: u32, key: usize) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest, u64: key as u64 };
        // SAFETY: both descriptors are open for as long as the borrows live, and `event` outlives the call.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd.as_raw_fd(), &mut event) }).map(drop)
    }

    pub fn add(&self, fd: impl AsFd, interest: u32, key: usize) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_fd(), interest, key)
    }

    pub fn modify(&self, fd: impl AsFd, interest: u32, key: usize) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_fd(), interest, key)
    }

    /// The keys and readiness of what is ready; empty after `timeout_ms` (-1: never).
    pub fn wait(&mut self, timeout_ms: i32) -> io::Result<impl Iterator<Item = (usize, u32)> + '_> {
        let (events, room) = (self.events.as_mut_ptr(), self.events.len() as libc::c_int);
        // SAFETY: `events` points to `room` initialised entries that are borrowed mutably here.
        let result = check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events, room, timeout_ms) });
        let ready = match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        Ok(self.events[..ready as usize].iter().map(|event| (event.u64 as usize, event.events)))
    }
}
