//! How many processors this process may run on.

use rustix::thread::sched_getaffinity;

/// Processors in the affinity mask of the calling thread; 1 where the kernel does not say.
pub fn usable() -> usize {
    sched_getaffinity(None).map_or(1, |set| set.count() as usize).max(1)
}
