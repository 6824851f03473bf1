//! Floor 4: bytes. Stream transports and the acceptor that makes them.
//!
//! `recv`, `send` and `protocol` decide, `life` acts; the fields, and what can be decided, are in `state`. ARCHITECTURE.md draws the
//! way of a byte.

pub mod connect;
pub mod info;
pub mod life;
pub mod protocol;
pub mod recv;
pub mod send;
pub mod server;
pub mod state;
pub mod stream_type;
