//! Connections one after the other, N at a time: connect, wait for the server's one byte of greeting, close.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::args::{Args, Result};
use crate::echo_load::Window;
use crate::epoll::{Epoll, READ};
use crate::net;

const STALLED: Duration = Duration::from_secs(3);

fn open(epoll: &Epoll, port: u16, nth: usize, slot: usize) -> Result<TcpStream> {
    let stream = net::start_connect(port, nth)?;
    epoll.add(&stream, READ, slot)?;
    Ok(stream)
}

/// The greeting proves that the server's own code had the connection, not just the kernel's backlog.
fn greeted(mut stream: &TcpStream) -> Result<()> {
    match stream.read(&mut [0; 2])? {
        1 => Ok(()),
        other => Err(format!("{other} bytes of greeting instead of 1").into()),
    }
}

pub fn run(args: &Args) -> Result<()> {
    let (port, server): (u16, u32) = (args.get("port")?, args.get("pid")?);
    let conns: usize = args.get("conns")?;
    let (warmup, length) = (args.seconds("warmup")?, args.seconds("seconds")?);
    let mut epoll = Epoll::new()?;
    let mut slots = (0..conns).map(|slot| open(&epoll, port, slot, slot)).collect::<Result<Vec<_>>>()?;

    let begin = Instant::now();
    let mut window: Option<Window> = None;
    let (mut count, mut last) = (0_u64, begin);
    let mut ready = Vec::new();
    loop {
        ready.clear();
        ready.extend(epoll.wait(1_000)?.map(|(key, _)| key));
        for &slot in &ready {
            greeted(&slots[slot])?;
            count += 1;
            slots[slot] = open(&epoll, port, conns + count as usize, slot)?;
        }
        match &window {
            None if begin.elapsed() >= warmup => window = Some(Window::open(server, count)?),
            Some(window) if window.elapsed() >= length => return window.close(count),
            _ => {}
        }
        if !ready.is_empty() {
            last = Instant::now();
        } else if last.elapsed() > STALLED {
            return Err("no connection was accepted for 3 s".into());
        }
    }
}
