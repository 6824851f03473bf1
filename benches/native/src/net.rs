//! Loopback connections, and the CPU clock of another process.

use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::args::Result;

/// One source address offers about 28,000 ports, and a port rests in TIME_WAIT after use: take turns.
const SOURCES: usize = 64;

fn loopback(last: u8, port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::new(127, 0, 0, last)).to_be() },
        sin_zero: [0; 8],
    }
}

/// Begin a non-blocking connection to 127.0.0.1:`port`; `nth` picks the source address.
pub fn start_connect(port: u16, nth: usize) -> io::Result<TcpStream> {
    const LEN: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let source = loopback(2 + (nth % SOURCES) as u8, 0);
    let target = loopback(1, port);
    let on: libc::c_int = 1;
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: each pointer is to a local that outlives its call, with that local's own size; the descriptor is
    // owned by `fd` from the moment that it is known to be valid.
    unsafe {
        let raw = libc::socket(libc::AF_INET, kind, 0);
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = OwnedFd::from_raw_fd(raw);
        // The port is chosen at connect, by the whole 4-tuple, and not at bind, where it would have to be free.
        let option = libc::IP_BIND_ADDRESS_NO_PORT;
        if libc::setsockopt(raw, libc::IPPROTO_IP, option, (&raw const on).cast(), size_of_val(&on) as _) < 0
            || libc::bind(raw, (&raw const source).cast(), LEN) < 0
        {
            return Err(io::Error::last_os_error());
        }
        if libc::connect(raw, (&raw const target).cast(), LEN) < 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINPROGRESS) {
                return Err(error);
            }
        }
        Ok(TcpStream::from(fd))
    }
}

/// A connected non-blocking stream, with Nagle's delay off.
pub fn connect(port: u16, nth: usize) -> Result<TcpStream> {
    let stream = start_connect(port, nth)?;
    let mut poll = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    if unsafe { libc::poll(&mut poll, 1, 5_000) } != 1 {
        return Err("the server did not take the connection within 5 s".into());
    }
    if let Some(error) = stream.take_error()? {
        return Err(error.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Page faults so far of process `pid` that needed no disk: memory that it got for the first time, or again.
pub fn minor_faults(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc_pid_stat(5): minflt is field 10, and the name, field 2, ends with the last parenthesis.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let field = after_name.split_whitespace().nth(7).ok_or("no minflt in the process's stat file")?;
    Ok(field.parse()?)
}

/// User and system time so far of all threads of process `pid`, to the nanosecond.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    // The kernel's encoding of "the CPU clock of process pid" (clock_getcpuclockid(3)): CPUCLOCK_SCHED is 2.
    let clock = (!(pid as libc::clockid_t) << 3) | 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    if unsafe { libc::clock_gettime(clock, &mut time) } < 0 {
        return Err(format!("process {pid}: {}", io::Error::last_os_error()).into());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}
