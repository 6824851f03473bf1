//! What the lock-free parts of `aioxide_core` sleep on: the system's futex.

use std::sync::atomic::AtomicU32;

use aioxide_core::parking::{Parked, Parking};
use aioxide_sys::park::{Unparked, park, unpark};

#[derive(Default)]
pub struct Futex;

impl Parking for Futex {
    fn park(&self, word: &AtomicU32, expected: u32, timeout: Option<f64>) -> Parked {
        match park(word, expected, timeout) {
            Unparked::TimedOut => Parked::TimedOut,
            Unparked::Look => Parked::Look,
        }
    }

    fn unpark(&self, word: &AtomicU32) {
        unpark(word, 1);
    }

    fn unpark_all(&self, word: &AtomicU32) {
        unpark(word, u32::MAX);
    }
}
