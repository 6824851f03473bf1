//! Which process pools there are.

use super::pool;
use super::state::State;
use crate::ffi::{Leaf, Obj, Raw};

struct Live(Leaf<Vec<Raw>>);

// SAFETY: used under the GIL.
unsafe impl Sync for Live {}

/// Every pool object that exists; each takes itself out before it goes.
static LIVE: Live = Live(Leaf::new(Vec::new()));

fn live<T>(body: impl FnOnce(&mut Vec<Raw>) -> T) -> T {
    LIVE.0.with(body)
}

pub fn add(slf: Raw) {
    live(|pools| pools.push(slf));
}

pub fn remove(slf: Raw) {
    live(|pools| pools.retain(|other| *other != slf));
}

pub fn live_pools() -> Vec<Obj> {
    live(|pools| pools.iter().map(|raw| Obj::new(*raw)).collect())
}

/// The first pool for which `look`, which may call nothing, finds something.
pub fn in_live<T>(look: impl FnMut(Raw) -> Option<T>) -> Option<T> {
    live(|pools| pools.iter().copied().find_map(look))
}

/// Where shared memory has gone, workers that have it mapped let go of it now, not with their next task.
#[inline(always)]
pub fn forget_gone() {
    if crate::wire::slab::take_gone() {
        // SAFETY: the list holds pools; what is done with them is leaf code too.
        live(|pools| pools.iter().for_each(|slf| unsafe { pool::of(*slf) }.with(State::forget_gone)));
    }
}
