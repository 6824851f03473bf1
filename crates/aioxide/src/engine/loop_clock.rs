//! What time it is for a loop: `time.monotonic`, or a clock of the program's own in its place.

use aioxide_sys::clock;

use super::loop_object::LoopObject;
use crate::ffi::calls::call_method;
use crate::ffi::class::Native;
use crate::ffi::names::interned;
use crate::ffi::{Py, Res, monotonic, number};
use crate::task::loop_state::LoopState;
use crate::task::overrides::TIME;

/// `time.monotonic()`, of which the standard library may hold a program's own.
#[inline(always)]
pub fn monotonic(py: Py) -> Res<f64> {
    monotonic::replaced(py).unwrap_or_else(|| Ok(clock::monotonic()))
}

/// Whether the loop's clock is, or may be, one that the program has put in place.
#[inline(always)]
pub fn has_own_clock(state: &LoopState) -> bool {
    monotonic::has_changed(LoopObject::of(state).py()) || state.overrides.has(state.object(), TIME)
}

/// The loop's clock: `time.monotonic`, or the user's.
pub fn now(state: &LoopState) -> Res<f64> {
    let now = if state.overrides.has(state.object(), TIME) {
        number::as_f64(&call_method(interned().time, &[state.object()])?)?
    } else {
        monotonic(LoopObject::of(state).py())?
    };
    state.now.set(now);
    Ok(now)
}
