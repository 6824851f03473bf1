//! A private way to another process: bytes, and descriptors beside them. unix(7), `SCM_RIGHTS`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::socket::borrow;

/// Two connected sockets of the Unix family, for a private way to another process.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// A descriptor of nothing: sending to it fails, and receiving too.
pub fn nothing() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?)
}

/// Descriptors that one `send` can take along.
pub const MAX_FDS: usize = 64;

/// Sends bytes, and beside the first of them a descriptor. Does not wait unless `wait` says so.
pub fn send(fd: RawFd, data: &[u8], passed: Option<BorrowedFd<'_>>, wait: bool) -> io::Result<usize> {
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    let Some(passed) = passed else { return Ok(net::send(borrow(fd)?, data, flags)?) };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights = [passed];
    control.push(SendAncillaryMessage::ScmRights(&rights));
    Ok(net::sendmsg(borrow(fd)?, &[IoSlice::new(data)], &mut control, flags)?)
}

/// Receives bytes, and the descriptors that came beside them; 0 is the end of the stream. Does not wait unless `wait`
/// says so.
pub fn recv(fd: RawFd, room: &mut [u8], passed: &mut Vec<OwnedFd>, wait: bool) -> io::Result<usize> {
    let flags = if wait { RecvFlags::CMSG_CLOEXEC } else { RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = net::recvmsg(borrow(fd)?, &mut [IoSliceMut::new(room)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            passed.extend(fds);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::socket::would_block;
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn bytes_and_descriptors_go_through_a_pair() {
        let (a, b) = pair().unwrap();
        let (c, d) = pair().unwrap();
        send(a.as_raw_fd(), b"one", None, true).unwrap();
        send(a.as_raw_fd(), b"two", Some(c.as_fd()), true).unwrap();
        let (mut room, mut passed, mut got) = ([0; 64], Vec::new(), Vec::new());
        while got.len() < 6 {
            let count = recv(b.as_raw_fd(), &mut room, &mut passed, true).unwrap();
            got.extend_from_slice(&room[..count]);
        }
        assert_eq!(got, b"onetwo");
        assert_eq!(passed.len(), 1);
        assert!(would_block(&recv(b.as_raw_fd(), &mut room, &mut passed, false).unwrap_err()));
        send(passed[0].as_raw_fd(), b"x", None, true).unwrap();
        assert_eq!(recv(d.as_raw_fd(), &mut room, &mut passed, true).unwrap(), 1);
        drop(a);
        assert_eq!(recv(b.as_raw_fd(), &mut room, &mut passed, true).unwrap(), 0);
    }
}
