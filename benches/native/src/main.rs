//! The native programs of the benchmarks: the limit server that says what the kernel alone costs, and the
//! clients that load a server from one epoll thread. Everything stays on the loopback interface.

mod args;
mod connect_load;
mod echo_load;
mod echo_server;
mod epoll;
mod hold;
mod net;

use std::process::ExitCode;

const USAGE: &str = "usage: benchnet COMMAND [--OPTION VALUE]...
  echo-server                                   a level-triggered epoll echo server; prints `port N`
  echo-load    --port P --pid PID --conns N --size BYTES --warmup S --seconds S
  connect-load --port P --pid PID --conns N --warmup S --seconds S
  hold         --port P --conns N --size BYTES  opens N connections, prints `held N`, holds them until EOF on stdin
PID is the server's: its CPU time is read at both ends of the measured window.";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let result = args::Args::parse(words).and_then(|args| match command.as_str() {
        "echo-server" => echo_server::run(),
        "echo-load" => echo_load::run(&args),
        "connect-load" => connect_load::run(&args),
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
