//! epoll(7): which file descriptors are ready.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

/// What a file descriptor is ready for, or what is wanted of it: epoll's own bits.
pub type Interest = EventFlags;

/// Events that one `wait` returns at most; more are left for the next.
const BATCH: usize = 1024;

pub struct Epoll {
    fd: OwnedFd,
    /// The kernel refused `epoll_pwait2`: timeouts are whole milliseconds then, rounded up.
    coarse: AtomicBool,
}

/// Room for the events of one wait.
#[derive(Default)]
pub struct Events(Vec<epoll::Event>);

impl Events {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Data and flags, an event each.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (u64, Interest)> {
        self.0.iter().map(|event| (event.data.u64(), event.flags))
    }
}

/// Borrows a descriptor by number. The kernel answers EBADF where it is not open, so nothing worse can come of it.
fn borrow(fd: RawFd) -> io::Result<BorrowedFd<'static>> {
    if fd < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: not -1; used for one system call, which checks the number.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll { fd: epoll::create(CreateFlags::CLOEXEC)?, coarse: AtomicBool::new(false) })
    }

    pub fn fileno(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Watches `fd`; one that is watched already is changed instead.
    pub fn add(&self, fd: RawFd, interest: Interest, data: u64) -> io::Result<()> {
        match epoll::add(&self.fd, borrow(fd)?, EventData::new_u64(data), interest) {
            Err(Errno::EXIST) => {
                Ok(epoll::modify(&self.fd, borrow(fd)?, EventData::new_u64(data), interest)?)
            }
            other => Ok(other?),
        }
    }

    /// Changes what `fd` is watched for; one that the kernel has dropped (it was closed, and the number used again) is
    /// added.
    pub fn modify(&self, fd: RawFd, interest: Interest, data: u64) -> io::Result<()> {
        match epoll::modify(&self.fd, borrow(fd)?, EventData::new_u64(data), interest) {
            Err(Errno::NOENT) => Ok(epoll::add(&self.fd, borrow(fd)?, EventData::new_u64(data), interest)?),
            other => Ok(other?),
        }
    }

    /// Stops watching `fd`; an error where it was not watched.
    pub fn delete(&self, fd: RawFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, borrow(fd)?)?)
    }

    /// Waits until something is ready, for at most `timeout` seconds; `None` waits for ever.
    pub fn wait(&self, events: &mut Events, timeout: Option<f64>) -> io::Result<()> {
        events.0.clear();
        events.0.try_reserve(BATCH).map_err(|_| io::Error::from(Errno::NOMEM))?;
        match self.wait_once(events, timeout) {
            Err(Errno::NOSYS | Errno::PERM) if !self.coarse.swap(true, Ordering::Relaxed) => {
                Ok(self.wait_once(events, timeout)?)
            }
            other => Ok(other?),
        }
    }

    fn wait_once(&self, events: &mut Events, timeout: Option<f64>) -> Result<(), Errno> {
        let limit = timeout.map(|seconds| self.timespec(seconds));
        epoll::wait(&self.fd, rustix::buffer::spare_capacity(&mut events.0), limit.as_ref()).map(drop)
    }

    /// Rounds up: a timer must not be early.
    fn timespec(&self, seconds: f64) -> Timespec {
        let unit = if self.coarse.load(Ordering::Relaxed) { 1e3 } else { 1e9 };
        let units = (seconds.max(0.0) * unit).ceil();
        let per_second = unit as i64;
        let units = units as i64;
        let nanoseconds = (units % per_second) * (1_000_000_000 / per_second);
        Timespec { tv_sec: units / per_second, tv_nsec: nanoseconds as _ }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    fn wait(epoll: &Epoll, timeout: Option<f64>) -> Vec<(u64, Interest)> {
        let mut events = Events::default();
        epoll.wait(&mut events, timeout).unwrap();
        events.iter().collect()
    }

    #[test]
    fn reports_what_is_ready_with_its_data() {
        let (mut a, b) = UnixStream::pair().unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(b.as_raw_fd(), Interest::IN, 42).unwrap();
        assert_eq!(wait(&epoll, Some(0.0)), []);
        a.write_all(b"x").unwrap();
        assert_eq!(wait(&epoll, None), [(42, Interest::IN)]);
        epoll.delete(b.as_raw_fd()).unwrap();
        assert_eq!(wait(&epoll, Some(0.0)), []);
        assert!(epoll.delete(b.as_raw_fd()).is_err());
        epoll.modify(b.as_raw_fd(), Interest::IN, 7).unwrap();
        assert_eq!(wait(&epoll, None), [(7, Interest::IN)]);
        assert!(epoll.add(-1, Interest::IN, 0).is_err());
    }

    #[test]
    fn is_never_early() {
        for coarse in [false, true] {
            let epoll = Epoll::new().unwrap();
            epoll.coarse.store(coarse, Ordering::Relaxed);
            for seconds in [0.000_01, 0.000_5, 0.001_2] {
                let start = Instant::now();
                assert_eq!(wait(&epoll, Some(seconds)), []);
                assert!(start.elapsed().as_secs_f64() >= seconds);
            }
        }
    }
}
