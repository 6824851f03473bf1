//! Floor 3: one iteration of a loop. Waits for file descriptors, then runs what is ready.
//!
//! From below: `fileno` (descriptors as arguments), `futex`, `spin`, `yield_gil`, `wake` (a loop is woken), `source` (who watches which descriptor), `run`
//! (one entry) < `hold` (a wait with the GIL), `spinner` < `calls` (those that run elsewhere), `polls` (looks at descriptors) < `loop_object` (the
//! loop's memory) < `loop_call` (one that runs elsewhere), `loop_clock`, `native_call`, `wake_source`, `watch` (`add_reader`) < `observed` (somebody
//! looks on) < `turn`.

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
