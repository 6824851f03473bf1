//! N connections that were used once (a message there and back) and then do nothing.

use std::io::{Read, Write, stdin};

use crate::args::{Args, Result};
use crate::net;

pub fn run(args: &Args) -> Result<()> {
    let (port, conns, size): (u16, usize, usize) = (args.get("port")?, args.get("conns")?, args.get("size")?);
    let message = vec![b'x'; size];
    let mut answer = vec![0; size];
    let mut held = Vec::with_capacity(conns);
    for nth in 0..conns {
        let mut stream = net::connect(port, nth)?;
        stream.set_nonblocking(false)?;
        stream.write_all(&message)?;
        stream.read_exact(&mut answer)?;
        if answer != message {
            return Err("the server sent back something else".into());
        }
        held.push(stream);
    }
    println!("held {conns}");
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
