//! Stream sockets: bytes in, bytes out, connections in.
//!
//! Descriptors are numbers here: a transport shares its socket with Python objects that may close it at any time, and
//! the kernel then answers EBADF.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny, SocketAddrUnix,
    SocketFlags, SocketType,
};

/// Chunks that one `send_vectored` takes: the kernel's UIO_MAXIOV.
pub const MAX_CHUNKS: usize = 1024;

pub(crate) fn borrow(fd: RawFd) -> io::Result<BorrowedFd<'static>> {
    if fd < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: not -1; used for one system call, which checks the number.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Fails with EBADF where no descriptor of this number is open.
pub fn check_open(fd: RawFd) -> io::Result<()> {
    rustix::io::fcntl_getfd(borrow(fd)?)?;
    Ok(())
}

/// Receives into `buffer`; 0 is the end of the stream.
#[inline]
pub fn recv(fd: RawFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    let ((filled, _), _) = net::recv(borrow(fd)?, buffer, RecvFlags::empty())?;
    Ok(filled.len())
}

/// As `recv`, and never waits, whatever the socket is set to.
#[inline]
pub fn recv_now(fd: RawFd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    let ((filled, _), _) = net::recv(borrow(fd)?, buffer, RecvFlags::DONTWAIT)?;
    Ok(filled.len())
}

/// How many bytes wait to be received; of messages, those of the next.
pub fn waiting(fd: RawFd) -> io::Result<usize> {
    Ok(rustix::io::ioctl_fionread(borrow(fd)?)? as usize)
}

/// Whether nothing is there to be received now: what comes later makes an edge. False where the end of the stream or an
/// error is, and where the kernel would not say.
#[inline]
pub fn is_drained(fd: RawFd) -> bool {
    let mut one = [MaybeUninit::uninit(); 1];
    let looked =
        borrow(fd).and_then(|fd| Ok(net::recv(fd, &mut one, RecvFlags::PEEK | RecvFlags::DONTWAIT)?));
    looked.is_err_and(|why| why.kind() == io::ErrorKind::WouldBlock)
}

/// Whether it is a TCP socket and nothing else: no Multipath TCP, and no protocol on top in the kernel (TLS), which both
/// end a read where it suits them.
pub fn is_plain_tcp(fd: RawFd) -> bool {
    let look = || -> io::Result<bool> {
        let fd = borrow(fd)?;
        Ok(matches!(net::sockopt::socket_domain(fd)?, AddressFamily::INET | AddressFamily::INET6)
            && net::sockopt::socket_type(fd)? == SocketType::STREAM
            && net::sockopt::socket_protocol(fd)? == Some(net::ipproto::TCP))
    };
    look().unwrap_or(false) && !has_upper_layer(fd)
}

/// Whether a protocol of the kernel stands on top of a TCP socket: `TCP_ULP`, tcp(7).
fn has_upper_layer(fd: RawFd) -> bool {
    let mut name = [0_u8; 16];
    let mut size = name.len() as libc::socklen_t;
    // SAFETY: `name` has room for `size` bytes; the kernel checks the descriptor.
    let status = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_ULP, name.as_mut_ptr().cast(), &raw mut size)
    };
    status == 0 && name[0] != 0
}

/// Sends one chunk, without SIGPIPE.
#[inline]
pub fn send(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    Ok(net::send(borrow(fd)?, data, SendFlags::NOSIGNAL)?)
}

/// As `send`, and never waits, whatever the socket is set to.
#[inline]
pub fn send_now(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    Ok(net::send(borrow(fd)?, data, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

/// Sends several chunks in one system call, without SIGPIPE; at most `MAX_CHUNKS` of them.
pub fn send_vectored(fd: RawFd, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
    let chunks = &chunks[..chunks.len().min(MAX_CHUNKS)];
    let mut no_control = SendAncillaryBuffer::default();
    Ok(net::sendmsg(borrow(fd)?, chunks, &mut no_control, SendFlags::NOSIGNAL)?)
}

/// Accepts one connection: non-blocking, closed on exec; and who connected, if it was over IP.
pub fn accept(fd: RawFd) -> io::Result<(RawFd, Option<SocketAddr>)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (connection, peer) = net::acceptfrom_with(borrow(fd)?, flags)?;
    Ok((connection.into_raw_fd(), peer.and_then(|peer| SocketAddr::try_from(peer).ok())))
}

/// Whether a connection waits to be accepted. Trying to accept where none does takes the kernel fifteen times as long: it
/// makes the new socket first.
pub fn has_connection(fd: RawFd) -> bool {
    let Ok(listener) = borrow(fd) else { return false };
    let mut asked = [PollFd::from_borrowed_fd(listener, PollFlags::IN)];
    // Where the kernel would not say, `accept` does.
    event::poll(&mut asked, Some(&Timespec::default())).map_or(true, |ready| ready > 0)
}

/// Starts a TCP connection: the descriptor, and whether it is connected already. To an address of this machine it
/// nearly always is: the peer's kernel answers while the call runs, and a second call finds that out.
///
/// The outer error is of the call itself, the inner one the answer of the network.
pub fn connect(address: &SocketAddr) -> io::Result<(RawFd, io::Result<bool>)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, Some(net::ipproto::TCP))?;
    let answer = match net::connect(&socket, address) {
        Ok(()) => Ok(true),
        Err(Errno::INPROGRESS) => match net::connect(&socket, address) {
            Ok(()) => Ok(true),
            Err(Errno::INPROGRESS | Errno::ALREADY) => Ok(false),
            Err(why) => Err(why.into()),
        },
        Err(why) => return Err(why.into()),
    };
    Ok((socket.into_raw_fd(), answer))
}

/// How a connection that was started has ended: fine, or with the error of the socket.
pub fn connect_result(fd: RawFd) -> io::Result<()> {
    Ok(net::sockopt::socket_error(borrow(fd)?)??)
}

/// The address of a socket.
pub enum Name {
    Ip(SocketAddr),
    /// A path of the Unix family; empty for a socket without a name.
    Path(Vec<u8>),
    /// A name of the Unix family's abstract namespace, with the NUL in front.
    Abstract(Vec<u8>),
    /// Of a family that only Python's socket module knows.
    Other,
}

fn name_of(address: SocketAddrAny) -> Name {
    let unix = match SocketAddr::try_from(address.clone()) {
        Ok(address) => return Name::Ip(address),
        Err(_) => SocketAddrUnix::try_from(address),
    };
    let Ok(unix) = unix else { return Name::Other };
    match unix.abstract_name() {
        // Without a name at all.
        Some(b"") => Name::Path(Vec::new()),
        Some(name) => Name::Abstract([b"\0", name].concat()),
        None => Name::Path(unix.path_bytes().unwrap_or_default().to_vec()),
    }
}

/// The address that a socket is bound to.
pub fn local_name(fd: RawFd) -> io::Result<Name> {
    Ok(name_of(net::getsockname(borrow(fd)?)?))
}

/// The address of the other end; an error where the connection is gone.
pub fn peer_name(fd: RawFd) -> io::Result<Name> {
    Ok(net::getpeername(borrow(fd)?)?.map_or(Name::Other, name_of))
}

/// Whether `name_of` understands the addresses of a socket.
pub fn has_known_names(fd: RawFd) -> bool {
    !matches!(local_name(fd), Ok(Name::Other) | Err(_))
}

/// No more bytes will be sent: the peer reads the end of the stream.
pub fn shutdown_write(fd: RawFd) -> io::Result<()> {
    Ok(net::shutdown(borrow(fd)?, net::Shutdown::Write)?)
}

/// Turns Nagle's algorithm off: a small write leaves at once. Fails on what is not TCP.
pub fn set_nodelay(fd: RawFd) -> io::Result<()> {
    Ok(net::sockopt::set_tcp_nodelay(borrow(fd)?, true)?)
}

/// Closes the descriptor. EINTR and EBADF are nothing that anyone could act on.
pub fn close(fd: RawFd) {
    if fd >= 0 {
        // SAFETY: the caller owns the number; closing one that is not open only makes the kernel say EBADF.
        unsafe { rustix::io::close(fd) };
    }
}

/// Whether the operation can be tried again later.
pub fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A second descriptor of what `fd` stands for, not inherited by other programs.
///
/// # Safety
/// `fd` stays open for the call.
pub unsafe fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: open for the time of the call, as the caller vouches; it is borrowed no longer.
    Ok(rustix::io::fcntl_dupfd_cloexec(unsafe { BorrowedFd::borrow_raw(fd) }, 0)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::channel::pair;
    use std::os::fd::AsRawFd;

    #[test]
    fn names_are_told_by_family() {
        let (a, _b) = pair().unwrap();
        assert!(matches!(local_name(a.as_raw_fd()), Ok(Name::Path(path)) if path.is_empty()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        assert!(matches!(local_name(listener.as_raw_fd()), Ok(Name::Ip(name)) if name == at));
        assert!(peer_name(listener.as_raw_fd()).is_err());
        assert!(has_known_names(a.as_raw_fd()) && !has_known_names(-1));
    }

    #[test]
    fn a_connection_waits_until_it_is_accepted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = listener.as_raw_fd();
        assert!(!has_connection(fd) && !has_connection(-1));
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(has_connection(fd));
        close(accept(fd).unwrap().0);
        assert!(!has_connection(fd));
    }

    #[test]
    fn only_tcp_is_plain_tcp() {
        let (a, _b) = pair().unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(is_plain_tcp(tcp.as_raw_fd()));
        assert!(!is_plain_tcp(udp.as_raw_fd()) && !is_plain_tcp(a.as_raw_fd()) && !is_plain_tcp(-1));
    }

    #[test]
    fn it_is_drained_when_a_read_would_wait() {
        let (a, b) = pair().unwrap();
        assert!(is_drained(b.as_raw_fd()));
        send(a.as_raw_fd(), b"x").unwrap();
        assert!(!is_drained(b.as_raw_fd()) && !is_drained(b.as_raw_fd()));
        drop(a);
        let mut room = [MaybeUninit::uninit(); 4];
        assert_eq!(recv(b.as_raw_fd(), &mut room).unwrap(), 1);
        // The end is something to be read; and of a number that is nothing nobody knows.
        assert!(!is_drained(b.as_raw_fd()) && !is_drained(-1));
    }
}
