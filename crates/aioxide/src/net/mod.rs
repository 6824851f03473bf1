//! Floor 4: bytes. Stream transports and the acceptor that makes them.
//!
//! A byte's way in: kernel > `engine::source` > `recv` > `protocol` > user; out: user > `send` > kernel.

pub mod connect;
pub mod info;
pub mod life;
pub mod protocol;
pub mod recv;
pub mod send;
pub mod server;
pub mod state;
pub mod stream_type;
