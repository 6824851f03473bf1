//! Which process pools there are.

use super::pool::{Pool, PoolRef};
use super::state::State;
use crate::ffi::cells::Locked;
use crate::ffi::class::Native;
use crate::ffi::{Leaf, Py, Raw, Ref};

/// Every pool object that exists; each takes itself out before it goes.
static LIVE: Locked<Leaf<Vec<Raw>>> = Locked::new(Leaf::new(Vec::new()));

pub fn add(pool: &Pool) {
    LIVE.get(pool.py()).with(|pools| pools.push(pool.object().as_ptr()));
}

pub fn remove(pool: &Pool) {
    LIVE.get(pool.py()).with(|pools| pools.retain(|other| *other != pool.object().as_ptr()));
}

/// The first pool for which `look`, which may call nothing, finds something.
pub fn in_live<T>(py: Py, mut look: impl FnMut(&Pool) -> Option<T>) -> Option<T> {
    LIVE.get(py).with(|pools| {
        // SAFETY: the list holds pools, and none goes before it is taken out.
        pools.iter().find_map(|pool| look(unsafe { Ref::new(*pool).cast_unchecked() }))
    })
}

fn for_all(py: Py, mut body: impl FnMut(&Pool)) {
    in_live(py, |pool| {
        body(pool);
        None::<()>
    });
}

pub fn live_pools(py: Py) -> Vec<PoolRef> {
    let mut held = Vec::new();
    for_all(py, |pool| held.push(pool.hold()));
    held
}

/// Where shared memory has gone, workers that have it mapped let go of it now, not with their next task.
#[inline(always)]
pub fn forget_gone(py: Py) {
    if crate::wire::slab::take_gone() {
        // What is done with them is leaf code too.
        for_all(py, |pool| pool.with(State::forget_gone));
    }
}
