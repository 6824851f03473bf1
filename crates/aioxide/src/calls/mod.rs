//! Floor 4: calls in pools of either kind: their futures, what a call is finished as, and how a loop gives a pool one
//! (`run_in_executor`).
//!
//! From below: `docs` (docstrings), `counters` (`stats()`), `standard` (has somebody wrapped the standard pools' `submit`?), `room`
//! (what a future may touch of a queue) < `future` < `future_type`, `target` (who gets an outcome), `executor`
//! (`run_in_executor`).

pub mod counters;
mod docs;
pub mod executor;
pub mod future;
pub mod future_type;
pub mod room;
pub mod standard;
pub mod target;
