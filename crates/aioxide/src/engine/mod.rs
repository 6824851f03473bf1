//! Floor 3: one iteration of a loop. Waits for file descriptors, then runs what is ready.

pub mod calls;
pub mod fileno;
mod hold;
pub mod loop_object;
pub mod native_call;
mod observed;
pub mod signals;
pub mod source;
pub mod spin;
pub mod turn;
pub mod watch;

pub use loop_object::{Engine, LoopObject};
