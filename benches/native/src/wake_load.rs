//! N connections that rest, then one message to each of them, and the same again until the time is over.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::args::{Args, Result};
use crate::epoll::{Epoll, READ};
use crate::net;
use crate::window::{Totals, Window};

const STALLED: Duration = Duration::from_secs(5);

/// Wait until each of `streams` has sent `message` back.
fn collect(
    epoll: &mut Epoll,
    streams: &mut [TcpStream],
    message: &[u8],
    answered: &mut dyn FnMut(),
) -> Result<()> {
    let (mut missing, mut last) = (streams.len(), Instant::now());
    let mut received = vec![0; streams.len()];
    let mut chunk = vec![0; message.len() + 1];
    let mut ready = Vec::new();
    while missing > 0 {
        ready.clear();
        ready.extend(epoll.wait(1_000)?.map(|(key, _)| key));
        if !ready.is_empty() {
            last = Instant::now();
        } else if last.elapsed() > STALLED {
            return Err("no message came back for 5 s".into());
        }
        for &key in &ready {
            match streams[key].read(&mut chunk) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(count) => received[key] += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            if received[key] > message.len() {
                return Err("the server sent back something else".into());
            }
            if received[key] == message.len() {
                missing -= 1;
                answered();
            }
        }
    }
    Ok(())
}

fn open(port: u16, nth: usize, message: &[u8]) -> Result<TcpStream> {
    let mut stream = net::connect(port, nth)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(STALLED))?;
    stream.write_all(message)?;
    // There and back: the server has accepted it, and used it once.
    stream.read_exact(&mut vec![0; message.len()])?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

pub fn run(args: &Args) -> Result<()> {
    let (port, server): (u16, u32) = (args.get("port")?, args.get("pid")?);
    let (conns, size): (usize, usize) = (args.get("conns")?, args.get("size")?);
    let (pause, times): (_, usize) = (args.seconds("pause")?, args.get("times")?);
    let message = vec![b'x'; size];
    let mut streams = (0..conns).map(|nth| open(port, nth, &message)).collect::<Result<Vec<_>>>()?;
    let mut epoll = Epoll::new()?;
    for (key, stream) in streams.iter().enumerate() {
        epoll.add(stream, READ, key)?;
    }
    let mut total = Totals::default();
    for _ in 0..times {
        sleep(pause);
        let mut window = Window::open(server, 0.0)?;
        let begin = Instant::now();
        for stream in &mut streams {
            stream.write_all(&message)?;
        }
        collect(&mut epoll, &mut streams, &message, &mut || window.answered(begin.elapsed()))?;
        total.add(window.close(conns as f64)?);
    }
    total.print();
    Ok(())
}
