//! Threads of this process.

/// Lets another thread that can run on this core do so (`sched_yield`).
pub fn yield_core() {
    std::thread::yield_now();
}

/// Whether this is the process's first thread, the one in which Python runs handlers of signals.
pub fn is_main() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}
