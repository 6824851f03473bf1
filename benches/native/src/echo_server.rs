//! What an echo costs when nothing but the kernel does any work: epoll, recv, send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use crate::args::Result;
use crate::epoll::{Epoll, READ, WRITE};

/// What asyncio reads at most at a time.
const CHUNK: usize = 256 * 1024;
const BACKLOG: libc::c_int = 4096;

struct Connection {
    stream: TcpStream,
    /// Bytes that the kernel did not take yet; reading rests as long as there are any.
    unsent: Vec<u8>,
}

enum Next {
    Keep,
    Watch(u32),
    Close,
}

impl Connection {
    fn flush(&mut self) -> io::Result<Next> {
        match self.stream.write(&self.unsent) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(if self.unsent.is_empty() { Next::Watch(READ) } else { Next::Keep })
    }

    fn echo(&mut self, chunk: &mut [u8]) -> io::Result<Next> {
        let received = match self.stream.read(chunk) {
            Ok(0) => return Ok(Next::Close),
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Keep),
            Err(error) => return Err(error),
        };
        let sent = match self.stream.write(&chunk[..received]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if sent == received {
            return Ok(Next::Keep);
        }
        self.unsent.extend_from_slice(&chunk[sent..received]);
        Ok(Next::Watch(WRITE))
    }

    fn ready(&mut self, chunk: &mut [u8]) -> Next {
        let done = if self.unsent.is_empty() { self.echo(chunk) } else { self.flush() };
        // A peer that reset the connection is no failure of the server.
        done.unwrap_or(Next::Close)
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    let stream = match listener.accept() {
        Ok((stream, _)) => stream,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let key = stream.as_raw_fd() as usize;
    epoll.add(&stream, READ, key)?;
    if connections.len() <= key {
        connections.resize_with(key + 1, || None);
    }
    connections[key] = Some(Connection { stream, unsent: Vec::new() });
    Ok(())
}

pub fn run() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // SAFETY: no pointer; a second listen(2) only sets the backlog, which std fixes at a smaller number.
    if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    listener.set_nonblocking(true)?;
    println!("port {}", listener.local_addr()?.port());
    let mut epoll = Epoll::new()?;
    let listening = listener.as_raw_fd() as usize;
    epoll.add(&listener, READ, listening)?;
    let mut connections = Vec::new();
    let mut chunk = vec![0; CHUNK];
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(epoll.wait(-1)?.map(|(key, _)| key));
        for &key in &ready {
            if key == listening {
                accept(&listener, &epoll, &mut connections)?;
                continue;
            }
            let Some(connection) = connections[key].as_mut() else { continue };
            match connection.ready(&mut chunk) {
                Next::Keep => {}
                Next::Watch(interest) => epoll.modify(&connection.stream, interest, key)?,
                Next::Close => connections[key] = None,
            }
        }
    }
}
