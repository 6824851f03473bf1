//! Floor 4: bytes. Stream transports and the acceptor that makes them; datagrams.
//!
//! From below: `docs` (docstrings), `state` (the fields, and what can be decided) < `info` (`get_extra_info`), `received` (the `bytes`
//! of a read) < `protocol`, `recv`, `send` (they decide) < `life` (acts) < `stream_type` (what Python calls), `server` (the acceptor),
//! `connect`. Beside them `sock_calls`: a user's own socket. Datagrams, in the same way: `datagram_state` < `datagram_send`,
//! `datagram_recv` < `datagram_life` < `datagram_type`. ARCHITECTURE.md draws the ways of a byte and of a datagram.

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
