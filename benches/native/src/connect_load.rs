//! Connections one after the other, N at a time: connect, wait for the server's one byte of greeting, close. Or, where
//! a size is given: connect, send a message of so many bytes, wait until it came back, close.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::args::{Args, Result};
use crate::epoll::{Epoll, READ, WRITE};
use crate::net;
use crate::window::Window;

const STALLED: Duration = Duration::from_secs(3);

struct Connection {
    stream: TcpStream,
    begun: Instant,
    sent: bool,
    received: usize,
}

impl Connection {
    fn open(epoll: &Epoll, port: u16, nth: usize, slot: usize, message: &[u8]) -> Result<Self> {
        let begun = Instant::now();
        let stream = net::start_connect(port, nth)?;
        epoll.add(&stream, if message.is_empty() { READ } else { WRITE }, slot)?;
        Ok(Self { stream, begun, sent: message.is_empty(), received: 0 })
    }

    /// Go on after an event; true when the connection has had what it came for. The greeting, or the echo, proves
    /// that the server's own code had it, not just the kernel's backlog.
    fn ready(&mut self, epoll: &Epoll, slot: usize, message: &[u8]) -> Result<bool> {
        if !self.sent {
            if self.stream.write(message)? != message.len() {
                return Err("the kernel did not take a whole message at once".into());
            }
            self.sent = true;
            epoll.modify(&self.stream, READ, slot)?;
            return Ok(false);
        }
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(received) => self.received += received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let wanted = message.len().max(1);
        if self.received > wanted {
            return Err(
                format!("the server sent {} bytes, something else than {wanted}", self.received).into()
            );
        }
        Ok(self.received == wanted)
    }
}

pub fn run(args: &Args) -> Result<()> {
    let (port, server): (u16, u32) = (args.get("port")?, args.get("pid")?);
    let conns: usize = args.get("conns")?;
    let message = vec![b'x'; args.get_or("size", 0)?];
    if message.len() > 4096 {
        return Err("--size: at most 4096, which one read takes".into());
    }
    let (warmup, length) = (args.seconds("warmup")?, args.seconds("seconds")?);
    let mut epoll = Epoll::new()?;
    let mut slots = (0..conns)
        .map(|slot| Connection::open(&epoll, port, slot, slot, &message))
        .collect::<Result<Vec<_>>>()?;

    let begin = Instant::now();
    let mut window: Option<Window> = None;
    let (mut count, mut last) = (0_u64, begin);
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(epoll.wait(1_000)?.map(|(key, _)| key));
        for &slot in &ready {
            if !slots[slot].ready(&epoll, slot, &message)? {
                continue;
            }
            count += 1;
            if let Some(window) = &mut window {
                window.answered(slots[slot].begun.elapsed());
            }
            slots[slot] = Connection::open(&epoll, port, conns + count as usize, slot, &message)?;
        }
        match &mut window {
            None if begin.elapsed() >= warmup => window = Some(Window::open(server, count as f64)?),
            Some(window) if window.elapsed() >= length => {
                window.close(count as f64)?.print();
                return Ok(());
            }
            _ => {}
        }
        if !ready.is_empty() {
            last = Instant::now();
        } else if last.elapsed() > STALLED {
            return Err("no connection was accepted for 3 s".into());
        }
    }
}
