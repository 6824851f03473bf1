//! Clocks: the one that timers go by, and a cheaper one to ask whether it is worth looking.

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in seconds: `time.monotonic()`.
#[inline]
pub fn monotonic() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// `CLOCK_MONOTONIC` in nanoseconds.
#[inline]
pub fn nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Something that counts up steadily, at one to a few steps a nanosecond, for a third of the cost of the clock.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the counter, and Linux lets user code read it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn ticks() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
