//! What an echo, a greeting or an HTTP response costs when nothing but the kernel does any work: epoll, recv, send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use crate::args::{Args, Result};
use crate::epoll::{Epoll, READ, WRITE};

/// What asyncio reads at most at a time.
const CHUNK: usize = 256 * 1024;
const BACKLOG: libc::c_int = 4096;

/// What the server does instead of sending back what it gets.
struct Manners {
    /// Send one byte to each new connection.
    greet: bool,
    /// Answer each read with this.
    answer: Option<Vec<u8>>,
}

impl Manners {
    fn new(args: &Args) -> Result<Self> {
        let body: usize = args.get_or("answer", 0)?;
        let answer = (body > 0).then(|| {
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {body}\r\n\r\n");
            [head.into_bytes(), vec![b'x'; body]].concat()
        });
        Ok(Self { greet: args.get_or("greet", 0)? == 1, answer })
    }
}

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

    fn echo(&mut self, chunk: &mut [u8], manners: &Manners) -> io::Result<Next> {
        let received = match self.stream.read(chunk) {
            Ok(0) => return Ok(Next::Close),
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Keep),
            Err(error) => return Err(error),
        };
        let answer = manners.answer.as_deref().unwrap_or(&chunk[..received]);
        let sent = match self.stream.write(answer) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if sent == answer.len() {
            return Ok(Next::Keep);
        }
        self.unsent.extend_from_slice(&answer[sent..]);
        Ok(Next::Watch(WRITE))
    }

    fn ready(&mut self, chunk: &mut [u8], manners: &Manners) -> Next {
        let done = if self.unsent.is_empty() { self.echo(chunk, manners) } else { self.flush() };
        // A peer that reset the connection is no failure of the server.
        done.unwrap_or(Next::Close)
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection>>,
    manners: &Manners,
) -> io::Result<()> {
    let (mut stream, _) = match listener.accept() {
        Ok(accepted) => accepted,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    if manners.greet {
        stream.write_all(b"!")?;
    }
    let key = stream.as_raw_fd() as usize;
    epoll.add(&stream, READ, key)?;
    if connections.len() <= key {
        connections.resize_with(key + 1, || None);
    }
    connections[key] = Some(Connection { stream, unsent: Vec::new() });
    Ok(())
}

pub fn run(args: &Args) -> Result<()> {
    let manners = Manners::new(args)?;
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
                accept(&listener, &epoll, &mut connections, &manners)?;
                continue;
            }
            let Some(connection) = connections[key].as_mut() else { continue };
            match connection.ready(&mut chunk, &manners) {
                Next::Keep => {}
                Next::Watch(interest) => epoll.modify(&connection.stream, interest, key)?,
                Next::Close => connections[key] = None,
            }
        }
    }
}
