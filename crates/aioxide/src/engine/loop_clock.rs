//! What time it is for a loop: `time.monotonic`, or a clock of the program's own in its place.

use aioxide_sys::clock;
use pyo3_ffi::*;

use crate::ffi::object::call_method;
use crate::ffi::{Raised, Res, error, monotonic, names};
use crate::task::loop_state::LoopState;
use crate::task::overrides::TIME;

/// `time.monotonic()`, of which the standard library may hold a program's own.
#[inline(always)]
pub fn monotonic() -> Res<f64> {
    monotonic::replaced().unwrap_or_else(|| Ok(clock::monotonic()))
}

/// Whether the loop's clock is, or may be, one that the program has put in place.
#[inline(always)]
pub fn has_own_clock(state: &LoopState) -> bool {
    monotonic::has_changed() || state.overrides.has(state.object, TIME)
}

/// The loop's clock: `time.monotonic`, or the user's.
pub fn now(state: &LoopState) -> Res<f64> {
    let now = if state.overrides.has(state.object, TIME) {
        let value = call_method(names().time, &[state.object])?;
        // SAFETY: converts or raises.
        let now = unsafe { PyFloat_AsDouble(value.as_ptr()) };
        if now == -1.0 && error::occurred() {
            return Err(Raised);
        }
        now
    } else {
        monotonic()?
    };
    state.now.set(now);
    Ok(now)
}
