//! epoll(7): which file descriptors are ready.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// What a file descriptor is ready for, or what is wanted of it: epoll's own bits.
pub type Interest = EventFlags;

/// Events that one `wait` returns at most; more are left for the next.
const BATCH: usize = 1024;

pub struct Epoll {
    fd: OwnedFd,
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
        Ok(Epoll { fd: epoll::create(CreateFlags::CLOEXEC)? })
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
        match timeout {
            None => self.wait_once(events, None)?,
            Some(seconds) => self.wait_exactly(events, nanoseconds(seconds))?,
        }
        Ok(())
    }

    /// epoll_wait(2) counts in milliseconds. What is left of one is waited for by ppoll(2), to which an epoll set is a
    /// descriptor like others; epoll_pwait2(2) would count in nanoseconds, but a sandbox that is older than that kills
    /// who calls it. Of the waits that an event ends, nearly all still take one call.
    fn wait_exactly(&self, events: &mut Events, nanoseconds: i64) -> Result<(), Errno> {
        let left = nanoseconds % MILLISECOND;
        if nanoseconds == 0 || left < nanoseconds {
            self.wait_once(events, Some(timespec(nanoseconds - left)))?;
        }
        if !events.is_empty() || left == 0 {
            return Ok(());
        }
        match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timespec(left)))? {
            0 => Ok(()),
            _ => self.wait_once(events, Some(Timespec::default())),
        }
    }

    fn wait_once(&self, events: &mut Events, timeout: Option<Timespec>) -> Result<(), Errno> {
        epoll::wait(&self.fd, rustix::buffer::spare_capacity(&mut events.0), timeout.as_ref()).map(drop)
    }
}

const MILLISECOND: i64 = 1_000_000;

/// Rounded up, as a timer must not be early, and counted in whole ones from then on: a number of milliseconds that is a hair
/// too large is a whole millisecond more to epoll_wait.
fn nanoseconds(seconds: f64) -> i64 {
    (seconds.max(0.0) * 1e9).ceil() as i64
}

fn timespec(nanoseconds: i64) -> Timespec {
    Timespec { tv_sec: nanoseconds / 1_000_000_000, tv_nsec: (nanoseconds % 1_000_000_000) as _ }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

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
        let epoll = Epoll::new().unwrap();
        for seconds in [0.000_01, 0.000_5, 0.001, 0.001_2] {
            let start = Instant::now();
            assert_eq!(wait(&epoll, Some(seconds)), []);
            assert!(start.elapsed().as_secs_f64() >= seconds);
        }
    }

    /// By how many seconds waits and sleeps of this length are late at least, of so many side by side: a busy machine is
    /// late with both.
    fn least_late(seconds: f64, times: u32) -> (f64, f64) {
        let epoll = Epoll::new().unwrap();
        let late = |rest: &dyn Fn()| {
            let start = Instant::now();
            rest();
            start.elapsed().as_secs_f64() - seconds
        };
        (0..times).fold((f64::MAX, f64::MAX), |(waits, sleeps), _| {
            let wait = late(&|| assert_eq!(wait(&epoll, Some(seconds)), []));
            let sleep = late(&|| std::thread::sleep(Duration::from_secs_f64(seconds)));
            (waits.min(wait), sleeps.min(sleep))
        })
    }

    #[test]
    fn a_part_of_a_millisecond_is_no_millisecond() {
        let (waits, sleeps) = least_late(0.000_1, 100);
        assert!(waits < sleeps + 0.000_6, "waits were {waits} s late, sleeps {sleeps} s");
    }

    /// By arithmetic, for a clock would tell a busy machine. epoll_wait rounds up: 9e-3 is a hair more than nine thousandths.
    #[test]
    fn whole_milliseconds_are_not_one_more() {
        for milliseconds in 1..2_000 {
            let waited = nanoseconds(f64::from(milliseconds) * 1e-3 + 0.000_01);
            assert_eq!(waited - waited % MILLISECOND, i64::from(milliseconds) * MILLISECOND);
            assert!((10_000..=10_001).contains(&(waited % MILLISECOND)), "{milliseconds} ms: {waited} ns");
        }
    }

    #[test]
    fn an_event_ends_a_wait_for_a_part_of_a_millisecond() {
        let (mut a, b) = UnixStream::pair().unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(b.as_raw_fd(), Interest::IN | Interest::ET, 42).unwrap();
        for _ in 0..2 {
            a.write_all(b"x").unwrap();
            assert_eq!(wait(&epoll, Some(0.000_9)), [(42, Interest::IN)]);
            assert_eq!(wait(&epoll, Some(0.000_2)), []);
        }
    }
}
