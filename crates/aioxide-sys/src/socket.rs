//! Stream sockets: bytes in, bytes out, connections in.
//!
//! Descriptors are numbers here: a transport shares its socket with Python objects that may close it at any time, and
//! the kernel then answers EBADF.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType};

/// Chunks that one `send_vectored` takes: the kernel's UIO_MAXIOV.
pub const MAX_CHUNKS: usize = 1024;

fn borrow(fd: RawFd) -> io::Result<BorrowedFd<'static>> {
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

/// Sends one chunk, without SIGPIPE.
#[inline]
pub fn send(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    Ok(net::send(borrow(fd)?, data, SendFlags::NOSIGNAL)?)
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

/// The address that an IP socket is bound to.
pub fn local_address(fd: RawFd) -> io::Result<Option<SocketAddr>> {
    Ok(SocketAddr::try_from(net::getsockname(borrow(fd)?)?).ok())
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
