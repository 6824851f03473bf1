//! Datagrams: many in and many out by one system call, each with its address.
//!
//! No call waits, whatever the socket is set to. Descriptors are numbers, as in `socket`.

use std::ffi::c_uint;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;
use std::ptr::null_mut;

use libc::{
    iovec, mmsghdr, msghdr, sa_family_t, sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un, socklen_t,
};

use crate::socket::Name;

/// How many one call receives or sends at most.
pub const MOST: usize = 32;
/// What each may have. The largest of UDP is a quarter of that.
pub const SIZE: usize = 256 * 1024;
/// What of each lands side by side with the others: nearly all are small, and stay in the cache then.
const NEAR: usize = 2048;
/// Where the path begins in the address of a Unix socket.
const PATH: usize = std::mem::offset_of!(sockaddr_un, sun_path);

/// An address as the kernel has it.
#[derive(Clone, Copy)]
pub struct Address {
    size: socklen_t,
    storage: sockaddr_storage,
}

/// What can be an address of a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    V4,
    V6,
    Unix,
}

/// The family of a datagram socket; nothing for other kinds of sockets, and for families that only Python's socket module knows.
pub fn family(fd: RawFd) -> Option<Family> {
    use rustix::net::{AddressFamily, SocketType, sockopt};
    let fd = crate::socket::borrow(fd).ok()?;
    if sockopt::socket_type(fd).ok()? != SocketType::DGRAM {
        return None;
    }
    match sockopt::socket_domain(fd).ok()? {
        AddressFamily::INET => Some(Family::V4),
        AddressFamily::INET6 => Some(Family::V6),
        AddressFamily::UNIX => Some(Family::Unix),
        _ => None,
    }
}

impl Address {
    const NONE: Address = Address {
        size: 0,
        // SAFETY: numbers and bytes, of which any value is one.
        storage: unsafe { std::mem::zeroed() },
    };

    /// # Safety
    /// `T` is an address of the kernel's, which fits in its largest, and has no gaps.
    unsafe fn of<T>(raw: T, size: usize) -> Address {
        const { assert!(size_of::<T>() <= size_of::<sockaddr_storage>()) };
        let mut address = Address { size: size as socklen_t, ..Address::NONE };
        // SAFETY: there is room, as was just seen, and it is aligned for every address.
        unsafe { (&raw mut address.storage).cast::<T>().write(raw) };
        address
    }

    pub fn ip(address: &SocketAddr) -> Address {
        // SAFETY: two addresses of the kernel's; zero is a value of each of their fields.
        unsafe {
            match address {
                SocketAddr::V4(address) => {
                    let mut raw: sockaddr_in = std::mem::zeroed();
                    raw.sin_family = libc::AF_INET as sa_family_t;
                    raw.sin_port = address.port().to_be();
                    raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
                    Address::of(raw, size_of::<sockaddr_in>())
                }
                SocketAddr::V6(address) => {
                    let mut raw: sockaddr_in6 = std::mem::zeroed();
                    raw.sin6_family = libc::AF_INET6 as sa_family_t;
                    raw.sin6_port = address.port().to_be();
                    raw.sin6_addr.s6_addr = address.ip().octets();
                    raw.sin6_flowinfo = address.flowinfo().to_be();
                    raw.sin6_scope_id = address.scope_id();
                    Address::of(raw, size_of::<sockaddr_in6>())
                }
            }
        }
    }

    /// A path, or behind a NUL a name of the abstract namespace; nothing where it does not fit, or has other NULs.
    pub fn unix(path: &[u8]) -> Option<Address> {
        let is_abstract = *path.first()? == 0;
        // SAFETY: zero is a value of each of its fields.
        let mut raw: sockaddr_un = unsafe { std::mem::zeroed() };
        let room = raw.sun_path.len() - usize::from(!is_abstract);
        if path.len() > room || (!is_abstract && path.contains(&0)) {
            return None;
        }
        raw.sun_family = libc::AF_UNIX as sa_family_t;
        for (to, from) in raw.sun_path.iter_mut().zip(path) {
            *to = *from as _;
        }
        // SAFETY: an address of the kernel's.
        Some(unsafe { Address::of(raw, PATH + path.len() + usize::from(!is_abstract)) })
    }

    /// What the kernel has told of it.
    pub fn as_bytes(&self) -> &[u8] {
        let size = (self.size as usize).min(size_of::<sockaddr_storage>());
        // SAFETY: so many bytes of the storage, each of which has a value.
        unsafe { std::slice::from_raw_parts((&raw const self.storage).cast(), size) }
    }

    /// Nothing where the sender has no address.
    pub fn name(&self) -> Option<Name> {
        let bytes = self.as_bytes();
        if bytes.is_empty() {
            return None;
        }
        // SAFETY: the storage is aligned and large enough for each; the family says which it is.
        unsafe {
            match libc::c_int::from(self.storage.ss_family) {
                libc::AF_INET => {
                    let raw = &*(&raw const self.storage).cast::<sockaddr_in>();
                    let host = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                    Some(Name::Ip(SocketAddrV4::new(host, u16::from_be(raw.sin_port)).into()))
                }
                libc::AF_INET6 => {
                    let raw = &*(&raw const self.storage).cast::<sockaddr_in6>();
                    let (host, port) = (Ipv6Addr::from(raw.sin6_addr.s6_addr), u16::from_be(raw.sin6_port));
                    let flow = u32::from_be(raw.sin6_flowinfo);
                    Some(Name::Ip(SocketAddrV6::new(host, port, flow, raw.sin6_scope_id).into()))
                }
                libc::AF_UNIX => Some(match bytes.get(PATH..).unwrap_or_default() {
                    name @ [0, ..] => Name::Abstract(name.to_vec()),
                    path => Name::Path(path.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()),
                }),
                _ => Some(Name::Other),
            }
        }
    }

    fn start(&self) -> *mut libc::c_void {
        (&raw const self.storage).cast_mut().cast()
    }
}

/// Parses an IP address of a family; no names, no zones.
pub fn ip(family: Family, text: &str) -> Option<IpAddr> {
    match family {
        Family::V4 => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Family::V6 => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        Family::Unix => None,
    }
}

// ------------------------------------------------------------------------------------------------------ receiving

/// Room for what one call receives. Of memory that nothing has ever been received in, the system keeps no pages.
pub struct Room {
    near: Vec<u8>,
    far: Vec<u8>,
    addresses: Vec<Address>,
    headers: [(u32, bool); MOST],
}

/// One that was received.
pub struct Received<'r> {
    /// Its bytes: those behind the first `NEAR` lie elsewhere.
    pub near: &'r [u8],
    pub far: &'r [u8],
    pub address: &'r Address,
    /// There was more of it, which is lost.
    pub cut: bool,
}

impl Room {
    /// Nothing where there is no memory for it.
    pub fn new() -> Option<Room> {
        let (mut near, mut far, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        near.try_reserve_exact(MOST * NEAR).ok()?;
        far.try_reserve_exact(MOST * (SIZE - NEAR)).ok()?;
        addresses.try_reserve_exact(MOST).ok()?;
        addresses.resize(MOST, Address::NONE);
        Some(Room { near, far, addresses, headers: [(0, false); MOST] })
    }

    /// Receives up to `most` datagrams; never none.
    pub fn receive(&mut self, fd: RawFd, most: usize) -> io::Result<usize> {
        let most = most.clamp(1, MOST);
        // SAFETY: all zero is a header of nothing.
        let mut headers: [mmsghdr; MOST] = unsafe { std::mem::zeroed() };
        let mut parts: [[iovec; 2]; MOST] = [[iovec { iov_base: null_mut(), iov_len: 0 }; 2]; MOST];
        for (at, (header, parts)) in headers.iter_mut().zip(&mut parts).take(most).enumerate() {
            // SAFETY: both vectors have room for `MOST` of these pieces.
            unsafe {
                parts[0] = piece(self.near.as_mut_ptr().add(at * NEAR), NEAR);
                parts[1] = piece(self.far.as_mut_ptr().add(at * (SIZE - NEAR)), SIZE - NEAR);
            }
            header.msg_hdr = message(parts, self.addresses[at].start(), size_of::<sockaddr_storage>());
        }
        // SAFETY: `most` headers, which name memory of ours that nobody else looks at meanwhile.
        let count = unsafe {
            libc::recvmmsg(fd, headers.as_mut_ptr(), most as c_uint, libc::MSG_DONTWAIT as _, null_mut())
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        for (at, header) in headers.iter().take(count as usize).enumerate() {
            self.addresses[at].size = header.msg_hdr.msg_namelen;
            self.headers[at] = (header.msg_len, header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0);
        }
        Ok(count as usize)
    }

    /// One of those that the last call has received.
    pub fn get(&self, at: usize) -> Received<'_> {
        let (size, cut) = self.headers[at];
        let size = (size as usize).min(SIZE);
        let near = size.min(NEAR);
        // SAFETY: the kernel has filled `size` bytes of the two pieces, the first of them first.
        unsafe {
            Received {
                near: std::slice::from_raw_parts(self.near.as_ptr().add(at * NEAR), near),
                far: std::slice::from_raw_parts(self.far.as_ptr().add(at * (SIZE - NEAR)), size - near),
                address: &self.addresses[at],
                cut,
            }
        }
    }
}

fn piece(start: *mut u8, size: usize) -> iovec {
    iovec { iov_base: start.cast(), iov_len: size }
}

fn message(parts: &mut [iovec], name: *mut libc::c_void, size: usize) -> msghdr {
    // SAFETY: all zero is a header of nothing; gaps, which some systems have in it, stay zero.
    let mut header: msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len() as _;
    header.msg_name = name;
    header.msg_namelen = size as socklen_t;
    header
}

// -------------------------------------------------------------------------------------------------------- sending

const SEND: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Sends one; without an address, to the peer that the socket is connected to.
#[inline]
pub fn send(fd: RawFd, data: &[u8], to: Option<&Address>) -> io::Result<()> {
    let (name, size) = to.map_or((null_mut(), 0), |to| (to.start(), to.size));
    // SAFETY: reads `data` and an address of that size; the kernel checks the descriptor.
    let sent = unsafe { libc::sendto(fd, data.as_ptr().cast(), data.len(), SEND, name.cast(), size) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends several, at most `MOST`; says how many, never none. Why no more were, the next call says.
pub fn send_many(fd: RawFd, messages: &[(&[u8], Address)]) -> io::Result<usize> {
    let messages = &messages[..messages.len().min(MOST)];
    // SAFETY: all zero is a header of nothing.
    let mut headers: [mmsghdr; MOST] = unsafe { std::mem::zeroed() };
    let mut parts = [[iovec { iov_base: null_mut(), iov_len: 0 }]; MOST];
    for ((data, to), (header, parts)) in messages.iter().zip(headers.iter_mut().zip(&mut parts)) {
        parts[0] = piece(data.as_ptr().cast_mut(), data.len());
        header.msg_hdr = message(parts, to.start(), to.size as usize);
    }
    // SAFETY: as many headers, of memory that is only read.
    let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), messages.len() as c_uint, SEND as _) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;

    fn pair() -> (UdpSocket, UdpSocket, Address) {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = Address::ip(&b.local_addr().unwrap());
        (a, b, to)
    }

    #[test]
    fn many_go_and_come_in_order_with_their_sizes() {
        let (a, b, to) = pair();
        let large = vec![7; 60_000];
        let messages: [(&[u8], Address); 3] = [(b"one", to), (b"", to), (&large, to)];
        assert_eq!(send_many(a.as_raw_fd(), &messages).unwrap(), 3);
        let mut room = Room::new().unwrap();
        assert_eq!(room.receive(b.as_raw_fd(), MOST).unwrap(), 3);
        for (at, (data, _)) in messages.iter().enumerate() {
            let received = room.get(at);
            assert_eq!([received.near, received.far].concat(), *data);
            assert!(!received.cut);
            let Some(Name::Ip(from)) = received.address.name() else { panic!("no IP address") };
            assert_eq!(from, a.local_addr().unwrap());
        }
        let nothing = room.receive(b.as_raw_fd(), MOST).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_larger_than_the_room_is_said_to_be_cut() {
        let (a, b) = UnixDatagram::pair().unwrap();
        let size: libc::c_int = 4 << 20;
        // SAFETY: an int of that size.
        unsafe {
            let (level, name) = (libc::SOL_SOCKET, libc::SO_SNDBUF);
            libc::setsockopt(a.as_raw_fd(), level, name, (&raw const size).cast(), size_of_val(&size) as u32);
        }
        let Ok(()) = send(a.as_raw_fd(), &vec![1; SIZE + 1], None) else { return };
        let mut room = Room::new().unwrap();
        assert_eq!(room.receive(b.as_raw_fd(), MOST).unwrap(), 1);
        let received = room.get(0);
        assert!(received.cut && received.address.name().is_none());
        assert_eq!(received.near.len() + received.far.len(), SIZE);
    }

    #[test]
    fn an_address_of_each_family_is_what_it_was_made_of() {
        for text in ["127.0.0.1:9", "[::1]:9", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            let Some(Name::Ip(name)) = Address::ip(&address).name() else { panic!("no IP address") };
            assert_eq!(name, address);
        }
        let path = Address::unix(b"/tmp/x").unwrap();
        assert!(matches!(path.name(), Some(Name::Path(name)) if name == b"/tmp/x"));
        let hidden = Address::unix(b"\0x\0y").unwrap();
        assert!(matches!(hidden.name(), Some(Name::Abstract(name)) if name == b"\0x\0y"));
        assert!(Address::unix(b"").is_none() && Address::unix(b"a\0b").is_none());
        assert!(Address::unix(&[b'x'; 108]).is_none() && Address::unix(&[b'x'; 107]).is_some());
    }

    #[test]
    fn only_datagram_sockets_have_a_family() {
        let (a, _, _) = pair();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (unix, _other) = UnixDatagram::pair().unwrap();
        assert!(family(a.as_raw_fd()) == Some(Family::V4) && family(unix.as_raw_fd()) == Some(Family::Unix));
        assert!(family(tcp.as_raw_fd()).is_none() && family(-1).is_none());
    }
}
