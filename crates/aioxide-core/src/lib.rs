//! Data structures and state machines of aioxide: no fd, no clock, no Python, no unsafe code.
#![forbid(unsafe_code)]

pub mod frames;
pub mod gate;
pub mod gauge;
pub mod histogram;
pub mod rival;
pub mod sendq;
pub mod slot;
pub mod timers;
pub mod wait_word;
