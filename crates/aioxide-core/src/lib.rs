//! Data structures and state machines of aioxide: no fd, no clock, no Python, no unsafe code.
//!
//! | | files |
//! |---|---|
//! | lock-free: one file has all transitions of a word, and models for loom (`scripts/test-hard loom`) | `wake_word` (a loop is woken), `wait_word` (a worker is called), `done_word` (a future is done), `event_count` (there is room in a queue), `gate` (a turn lasts too long), `watched` (a loop does not come), `slot` (who has a task), `slab_word` (who may write to shared memory); `parking` is what they sleep on |
//! | what another process has written, tried with damaged bytes (`scripts/test-hard bytes`) | `frames` (a stream of messages), `extent` (places in shared memory), `page` (a worker's control page) |
//! | one thread's | `timers`, `sendq`, `gauge`, `histogram`, `rival` |
#![forbid(unsafe_code)]

pub mod done_word;
pub mod event_count;
pub mod extent;
pub mod frames;
pub mod gate;
pub mod gauge;
pub mod histogram;
pub mod page;
pub mod parking;
pub mod rival;
pub mod sendq;
pub mod slab_word;
pub mod slot;
mod sync;
pub mod timers;
pub mod wait_word;
pub mod wake_word;
pub mod watched;
