//! Floor 4: bytes. Stream transports and the acceptor that makes them.
//!
//! From below: `docs` (docstrings), `state` (the fields, and what can be decided) < `info` (`get_extra_info`), `received` (the `bytes`
//! of a read) < `protocol`, `recv`, `send` (they decide) < `life` (acts) < `stream_type` (what Python calls), `server` (the acceptor),
//! `connect`. Beside them `sock_calls`: a user's own socket. ARCHITECTURE.md draws the way of a byte.
//!
//! Datagrams: `datagram_state` < `datagram_recv`, `datagram_send` (they decide) < `datagram_life` (acts) < `datagram_type`.

pub mod connect;
pub mod datagram_life;
pub mod datagram_recv;
pub mod datagram_send;
pub mod datagram_state;
pub mod datagram_type;
mod docs;
pub mod info;
pub mod life;
pub mod protocol;
pub mod received;
pub mod recv;
pub mod send;
pub mod server;
pub mod sock_calls;
pub mod state;
pub mod stream_type;
