//! Floor 5: TLS over a stream transport, with the user's own `ssl.SSLContext`. What runs for each read and write is here; what runs
//! once for a connection is asyncio's own `SSLProtocol`, inherited (`_loop/tls.py`).
//!
//! From below: `library` (the libssl that `_ssl` is linked with) < `wire` (bytes between OpenSSL and the connection) < `state` (the
//! fields) < `scratch` (memory that all connections share), `attach` (how an SSL object is made) < `engine` (reads and writes one) <
//! `flow` (what is read and written when) < `entry` (what the transport below calls), `protocol_type` (what Python calls).

mod attach;
mod engine;
mod entry;
mod flow;
mod library;
pub mod protocol_type;
mod scratch;
mod state;
mod wire;
