//! The native programs of the benchmarks: the limit server that says what the kernel alone costs, and the
//! clients that load a server from one epoll thread. Everything stays on the loopback interface.

mod args;
mod connect_load;
mod datagrams;
mod echo_load;
mod echo_server;
mod epoll;
mod hold;
mod net;
mod wake_load;
mod window;

use std::process::ExitCode;

const USAGE: &str = "usage: benchnet COMMAND [--OPTION VALUE]...
  echo-server  [--greet 1] [--answer BYTES]     a level-triggered epoll server; prints `port N`. It sends back what it
                                                gets; or greets each connection with one byte; or answers each read
                                                with an HTTP response whose body has so many bytes
  datagram-server                               the same for datagrams, which it sends back
  echo-load    --port P --pid PID --conns N --size BYTES --warmup S --seconds S
  datagram-load --port P --pid PID --conns N --size BYTES --warmup S --seconds S
  connect-load --port P --pid PID --conns N [--size BYTES] --warmup S --seconds S
                                                connect, get one byte (or have BYTES echoed), close
  wake-load    --port P --pid PID --conns N --size BYTES --pause S --times T
                                                N connections that rest for S before a message to all of them, T times
  hold         --port P --conns N --size BYTES  opens N connections, prints `held N`, holds them until EOF on stdin
PID is the server's: its CPU time and page faults are read at both ends of the measured window.";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let result = args::Args::parse(words).and_then(|args| match command.as_str() {
        "echo-server" => echo_server::run(&args),
        "datagram-server" => datagrams::serve(&args),
        "echo-load" => echo_load::run(&args),
        "datagram-load" => datagrams::load(&args),
        "connect-load" => connect_load::run(&args),
        "wake-load" => wake_load::run(&args),
        "hold" => hold::run(&args),
        _ => Err(USAGE.into()),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benchnet {command}: {error}");
            ExitCode::FAILURE
        }
    }
}
