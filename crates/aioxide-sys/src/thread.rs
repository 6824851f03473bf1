//! Threads of this process.

/// Lets another thread that can run on this core do so (`sched_yield`).
pub fn yield_core() {
    std::thread::yield_now();
}
