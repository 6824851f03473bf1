//! Floor 3: one iteration of a loop. Waits for file descriptors, then runs what is ready.

pub mod calls;
pub mod fileno;
pub mod futex;
mod hold;
pub mod loop_call;
pub mod loop_clock;
pub mod loop_object;
pub mod native_call;
mod observed;
mod polls;
mod run;
pub mod source;
pub mod spin;
pub mod spinner;
pub mod turn;
pub mod wake;
pub mod wake_source;
pub mod watch;
pub mod yield_gil;

pub use loop_object::{Engine, LoopObject};
