//! The atomics of what is lock-free here: the standard library's; in models loom's, which try every order of threads.

#[cfg(all(test, loom))]
pub use loom::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, Ordering};
#[cfg(not(all(test, loom)))]
pub use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, Ordering};
