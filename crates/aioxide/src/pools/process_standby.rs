//! The gate between the thread that serves the pools and the standby (`aioxide_core::gate`), over the system's clock and
//! futex: a done callback of a user's may wait, for instance for a call in another pool. None of it needs the GIL.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use aioxide_core::gate::{self, Parking};
use aioxide_sys::park::{park, unpark};

/// How long a turn may last before another thread takes over.
const PATIENCE: Duration = Duration::from_millis(10);

pub type Gate = gate::Gate<Futex>;

#[derive(Default)]
pub struct Futex;

impl Parking for Futex {
    fn park(&self, word: &AtomicU32, expected: u32) {
        park(word, expected, None);
    }

    fn unpark(&self, word: &AtomicU32) {
        unpark(word, 1);
    }
}

/// Waits for a turn that lasts too long, and returns it; None when nobody serves any more.
pub fn watch(gate: &Gate) -> Option<u32> {
    gate.watch(|| std::thread::sleep(PATIENCE))
}
