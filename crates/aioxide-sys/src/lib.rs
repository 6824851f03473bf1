//! The only place of aioxide that talks to the operating system: one file per mechanism, `io::Result` everywhere.

pub mod clock;
pub mod copy;
pub mod cpus;
pub mod epoll;
pub mod forks;
pub mod malloc;
pub mod memfd;
pub mod memory;
pub mod pages;
pub mod park;
pub mod process;
pub mod socket;
pub mod stdio;
pub mod thread;
