//! Datagrams there and back: a server that does epoll, recvmmsg and sendmmsg and nothing else, and its clients, each with one
//! datagram under way.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::args::{Args, Result};
use crate::epoll::{Epoll, READ};
use crate::window::Window;

const STALLED: Duration = Duration::from_secs(3);
/// What asyncio reads at most at a time; no datagram is so large.
const CHUNK: usize = 256 * 1024;
/// So many are received and sent by one call.
const BATCH: usize = 32;
/// Room in the kernel for what is under way of all clients, as the servers under test ask for it: datagrams are not to be
/// lost. The kernel gives less where its limit (net.core.rmem_max) is lower.
const ROOM: libc::c_int = 4 << 20;

fn open() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let room = ROOM;
    let (level, size) = (libc::SOL_SOCKET, size_of_val(&room) as libc::socklen_t);
    // SAFETY: `room` outlives the call, and `size` is its size.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, libc::SO_RCVBUF, (&raw const room).cast(), size)
    };
    if done < 0 { Err(std::io::Error::last_os_error().into()) } else { Ok(socket) }
}

pub fn serve(_args: &Args) -> Result<()> {
    let socket = open()?;
    println!("port {}", socket.local_addr()?.port());
    let mut epoll = Epoll::new()?;
    epoll.add(&socket, READ, 0)?;
    let mut room = vec![0_u8; BATCH * CHUNK];
    loop {
        if epoll.wait(-1)?.next().is_none() {
            continue;
        }
        while echo_batch(&socket, &mut room)? == BATCH {}
    }
}

/// Sends back up to `BATCH` datagrams: one call to receive them, one to send them. Says how many.
fn echo_batch(socket: &UdpSocket, room: &mut [u8]) -> Result<usize> {
    let fd = socket.as_raw_fd();
    // SAFETY: of numbers and pointers; zero is a value of each.
    let (mut senders, mut parts, mut headers): (
        [libc::sockaddr_in; BATCH],
        [libc::iovec; BATCH],
        [libc::mmsghdr; BATCH],
    ) = unsafe { std::mem::zeroed() };
    for (at, chunk) in room.chunks_exact_mut(CHUNK).enumerate() {
        parts[at] = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: CHUNK };
        let header = &mut headers[at].msg_hdr;
        header.msg_iov = &raw mut parts[at];
        header.msg_iovlen = 1;
        header.msg_name = (&raw mut senders[at]).cast();
        header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    }
    let (list, most) = (headers.as_mut_ptr(), BATCH as libc::c_uint);
    // SAFETY: as many headers, which name memory that outlives the call.
    let count = unsafe { libc::recvmmsg(fd, list, most, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
    if count < 0 {
        let error = std::io::Error::last_os_error();
        return if error.kind() == ErrorKind::WouldBlock { Ok(0) } else { Err(error.into()) };
    }
    for at in 0..count as usize {
        parts[at].iov_len = headers[at].msg_len as usize;
    }
    // SAFETY: the same, of which `count` were filled.
    let sent = unsafe { libc::sendmmsg(fd, list, count as libc::c_uint, 0) };
    if sent == count { Ok(count as usize) } else { Err(std::io::Error::last_os_error().into()) }
}

struct Client {
    socket: UdpSocket,
    begun: Instant,
}

impl Client {
    fn new(port: u16) -> Result<Self> {
        let socket = open()?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        Ok(Self { socket, begun: Instant::now() })
    }

    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.begun = Instant::now();
        self.socket.send(message)?;
        Ok(())
    }

    /// Whether the answer has come.
    fn answered(&self, message: &[u8], chunk: &mut [u8]) -> Result<bool> {
        match self.socket.recv(chunk) {
            Ok(size) if chunk[..size] == *message => Ok(true),
            Ok(_) => Err("the server sent back something else".into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Everything under way has to arrive: a client whose datagram is lost would rest, and load the server less.
fn none_is_lost<'a>(waiting: impl Iterator<Item = &'a Client>) -> Result<()> {
    match waiting.filter(|client| client.begun.elapsed() > STALLED).count() {
        0 => Ok(()),
        lost => Err(format!("{lost} datagrams did not come back within 3 s").into()),
    }
}

pub fn load(args: &Args) -> Result<()> {
    let (port, server): (u16, u32) = (args.get("port")?, args.get("pid")?);
    let (conns, size): (usize, usize) = (args.get("conns")?, args.get("size")?);
    let (warmup, length) = (args.seconds("warmup")?, args.seconds("seconds")?);
    let message: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    let mut chunk = vec![0; size + 1];
    let mut epoll = Epoll::new()?;
    let mut clients = (0..conns).map(|_| Client::new(port)).collect::<Result<Vec<_>>>()?;
    for (key, client) in clients.iter_mut().enumerate() {
        epoll.add(&client.socket, READ, key)?;
        client.send(&message)?;
    }

    let begin = Instant::now();
    let mut window: Option<Window> = None;
    let mut count = 0;
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(epoll.wait(1_000)?.map(|(key, _)| key));
        for &key in &ready {
            if !clients[key].answered(&message, &mut chunk)? {
                continue;
            }
            count += 1;
            if let Some(window) = &mut window {
                window.answered(clients[key].begun.elapsed());
            }
            clients[key].send(&message)?;
        }
        match &mut window {
            None if begin.elapsed() >= warmup => window = Some(Window::open(server, count as f64)?),
            Some(window) if window.elapsed() >= length => {
                let totals = window.close(count as f64)?;
                settle(&mut epoll, &mut clients, &message, &mut chunk)?;
                totals.print();
                return Ok(());
            }
            _ if ready.is_empty() => none_is_lost(clients.iter())?,
            _ => {}
        }
    }
}

/// Wait for the answers that are still under way.
fn settle(epoll: &mut Epoll, clients: &mut [Client], message: &[u8], chunk: &mut [u8]) -> Result<()> {
    let mut missing: Vec<bool> = vec![true; clients.len()];
    while missing.contains(&true) {
        let ready: Vec<usize> = epoll.wait(100)?.map(|(key, _)| key).collect();
        for key in ready {
            if clients[key].answered(message, chunk)? {
                missing[key] = false;
            }
        }
        none_is_lost(
            clients.iter().zip(&missing).filter(|(_, missing)| **missing).map(|(client, _)| client),
        )?;
    }
    Ok(())
}
