//! Ping-pong on N connections, each with one message under way, from one thread.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::args::{Args, Result};
use crate::epoll::{EDGE, Epoll, READ, WRITE};
use crate::net;
use crate::window::Window;

const STALLED: Duration = Duration::from_secs(3);

struct Connection {
    stream: TcpStream,
    sent: usize,
    received: usize,
    begun: Instant,
}

impl Connection {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self.stream.write(&message[self.sent..]) {
            Ok(sent) => self.sent += sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Go on after an event; how many bytes came back. When the whole message did, nothing more can be under way, so
    /// the edge needs no second recv.
    fn ready(&mut self, message: &[u8], chunk: &mut [u8]) -> Result<usize> {
        if self.sent < message.len() {
            self.send(message)?;
        }
        let wanted = message.len() - self.received;
        match self.stream.read(&mut chunk[..wanted]) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(received) => {
                if chunk[..received] != message[self.received..self.received + received] {
                    return Err("the server sent back something else".into());
                }
                self.received += received;
                Ok(received)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn restart(&mut self, message: &[u8]) -> io::Result<()> {
        (self.sent, self.received, self.begun) = (0, 0, Instant::now());
        self.send(message)
    }
}

pub fn run(args: &Args) -> Result<()> {
    let (port, server): (u16, u32) = (args.get("port")?, args.get("pid")?);
    let (conns, size): (usize, usize) = (args.get("conns")?, args.get("size")?);
    let (warmup, length) = (args.seconds("warmup")?, args.seconds("seconds")?);
    // A pattern of period 251 (a prime): a shifted or swapped piece shows.
    let message: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
    let mut chunk = vec![0; size];
    let mut epoll = Epoll::new()?;
    let mut connections = Vec::with_capacity(conns);
    for key in 0..conns {
        let stream = net::connect(port, key)?;
        epoll.add(&stream, READ | WRITE | EDGE, key)?;
        connections.push(Connection { stream, sent: 0, received: 0, begun: Instant::now() });
    }
    for connection in &mut connections {
        connection.send(&message)?;
    }

    let begin = Instant::now();
    let mut window: Option<Window> = None;
    let (mut bytes, mut last, mut last_bytes) = (0_u64, begin, 0);
    let count = |bytes: u64| bytes as f64 / size as f64;
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(epoll.wait(1_000)?.map(|(key, _)| key));
        for &key in &ready {
            bytes += connections[key].ready(&message, &mut chunk)? as u64;
            if connections[key].received == size {
                if let Some(window) = &mut window {
                    window.answered(connections[key].begun.elapsed());
                }
                connections[key].restart(&message)?;
            }
        }
        match &mut window {
            None if begin.elapsed() >= warmup => window = Some(Window::open(server, count(bytes))?),
            Some(window) if window.elapsed() >= length => {
                window.close(count(bytes))?.print();
                return Ok(());
            }
            _ => {}
        }
        if bytes != last_bytes {
            (last, last_bytes) = (Instant::now(), bytes);
        } else if last.elapsed() > STALLED {
            return Err("no message came back for 3 s".into());
        }
    }
}
