//! The gate between the thread that serves the pools and the standby (`aioxide_core::gate`), over the system's clock and
//! futex: a done callback of a user's may wait, for instance for a call in another pool. None of it needs the GIL.

use std::time::Duration;

use aioxide_core::gate;

use crate::engine::futex::Futex;

/// How long a turn may last before another thread takes over.
const PATIENCE: Duration = Duration::from_millis(10);

pub type Gate = gate::Gate<Futex>;

/// Waits for a turn that lasts too long, and returns it; None when nobody serves any more.
pub fn watch(gate: &Gate) -> Option<u32> {
    gate.watch(|| std::thread::sleep(PATIENCE))
}
