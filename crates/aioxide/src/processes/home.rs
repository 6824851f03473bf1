//! Who serves a pool: the loop that uses it, or the reactor thread.
//!
//! A pool that nothing is under way in has no home. `run_in_executor` makes the loop its home if it is free to; `submit`
//! makes it the reactor's, as whoever submits may then block on the result; and when a loop stops or closes with tasks
//! under way, its pools go to the reactor, so that every task finishes. A loop that has no time for a pool while tasks wait
//! (`processes::patience`) lends it to the reactor until it comes round again.

use aioxide_sys::epoll::{Epoll, Interest};

use super::live::live_pools;
use super::pool::{self, Home, Pool};
use super::{patience, reactor, results};
use crate::engine::loop_object::{io_result, loop_of};
use crate::engine::source::Owner;
use crate::ffi::{Obj, Raw, Res};
use crate::task::loop_state::{Item, LoopState, native_state};

/// The descriptor that is ready whenever the pool has something to serve; made when first asked for.
pub fn epoll_of(pool: &Pool) -> Res<i32> {
    if let Some(fd) = pool.with(|state| state.epoll.as_ref().map(|epoll| epoll.fileno())) {
        return Ok(fd);
    }
    let epoll = std::rc::Rc::new(io_result(Epoll::new())?);
    let fd = epoll.fileno();
    pool.with(|state| state.epoll = Some(epoll));
    pool.seen.epoll.store(fd, std::sync::atomic::Ordering::Relaxed);
    Ok(fd)
}

/// Makes `wanted` the pool's home if that can be.
///
/// # Safety
/// `slf` is a pool object and `wanted` a loop of ours.
pub unsafe fn use_from_loop(slf: Raw, wanted: Raw) -> Res<()> {
    // SAFETY: a pool, of which cells are lent.
    let pool = unsafe { pool::of(slf) };
    match pool.home.get() {
        Home::Loop if pool.home_loop.get() == wanted => return Ok(()),
        Home::None => {}
        _ if pool.outstanding.get() == 0 => leave(slf, pool),
        // Two loops at once, or threads too: neither may wait for the other.
        Home::Loop => return to_reactor(slf),
        Home::Reactor => {
            if pool.lent.get() && pool.home_loop.get() != wanted {
                pool.lent.set(false);
            }
            return Ok(());
        }
    }
    adopt(slf, pool, wanted)
}

/// Makes a loop the home of a pool that has none.
fn adopt(slf: Raw, pool: &Pool, wanted: Raw) -> Res<()> {
    let Some(state) = native_state(wanted) else { return to_reactor(slf) };
    // SAFETY: `use_from_loop` was given a loop of ours, alive for the call; its state is a part of it.
    let engine = unsafe { &loop_of(&*state).engine };
    let fd = epoll_of(pool)?;
    drop(engine.sources.set_owner(fd, Some(Owner::new(slf, on_ready))));
    if let Err(why) = engine.watch(fd, Interest::IN) {
        drop(engine.sources.set_owner(fd, None));
        return io_result(Err(why));
    }
    pool.home.set(Home::Loop);
    pool.lent.set(false);
    pool.home_loop.set(Obj::new(wanted));
    Ok(())
}

/// The loop that serves a pool has no time for it: the reactor takes over until that loop comes round again.
pub fn lend(slf: Raw) -> Res<()> {
    // SAFETY: callers pass a pool object.
    let pool = unsafe { pool::of(slf) };
    let Some(loop_) = pool.home_loop.share() else { return Ok(()) };
    let Some(state) = native_state(loop_.as_ptr()) else { return Ok(()) };
    to_reactor(slf)?;
    if pool.home.get() == Home::Reactor {
        pool.lent.set(true);
        pool.home_loop.set(loop_.clone());
        // SAFETY: the loop is held, and its state is a part of it.
        unsafe {
            (*state).push_or_report(Item::Job { object: Obj::new(slf), run: take_home });
            drop(loop_of(&*state).engine.wake.bell());
        }
    }
    Ok(())
}

/// The loop has time again.
///
/// # Safety
/// `slf` is a process pool.
unsafe fn take_home(state: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: a pool, as `lend` queued it.
    let pool = unsafe { pool::of(slf) };
    if pool.home.get() != Home::Reactor || !pool.lent.get() || pool.home_loop.get() != state.object {
        return Ok(());
    }
    leave(slf, pool);
    adopt(slf, pool, state.object)
}

/// # Safety
/// `slf` is a process pool.
unsafe fn on_ready(state: &LoopState, slf: Raw, _: Interest) {
    // SAFETY: the owner's object is a pool.
    if !unsafe { pool::of(slf) }.queued.replace(true) {
        state.push_or_report(Item::Job { object: Obj::new(slf), run: serve_in_loop });
    }
}

/// # Safety
/// `slf` is a process pool.
unsafe fn serve_in_loop(_: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: a pool, as `on_ready` queued it.
    unsafe {
        pool::of(slf).queued.set(false);
        results::pump(slf)
    }
}

/// Makes the reactor thread the pool's home; not of one that has ended meanwhile: whoever asks may have been a moment late.
pub fn to_reactor(slf: Raw) -> Res<()> {
    // SAFETY: callers pass a pool object.
    let pool = unsafe { pool::of(slf) };
    if pool.lent.replace(false) {
        drop(pool.home_loop.take());
    }
    if pool.home.get() == Home::Reactor || pool.ended.get() {
        return Ok(());
    }
    leave(slf, pool);
    let fd = epoll_of(pool)?;
    reactor::add(slf, fd)?;
    pool.home.set(Home::Reactor);
    Ok(())
}

/// Leaves the home, whichever it is.
pub fn leave(slf: Raw, pool: &Pool) {
    let home = pool.home.replace(Home::None);
    let loop_ = pool.home_loop.take();
    let Some(fd) = pool.with(|state| state.epoll.as_ref().map(|epoll| epoll.fileno())) else { return };
    match home {
        Home::None => {}
        Home::Reactor => reactor::remove(slf, fd),
        Home::Loop => {
            if let Some(state) = loop_.as_ref().and_then(|loop_| native_state(loop_.as_ptr())) {
                // SAFETY: `loop_` is held, and its state is a part of it.
                let engine = unsafe { &loop_of(&*state).engine };
                if engine.sources.is_owner(fd, slf) {
                    let _ = engine.watch(fd, Interest::empty());
                    drop(engine.sources.set_owner(fd, None));
                }
            }
        }
    }
}

/// A loop stops running, or closes: pools with tasks under way go to the reactor, others have no home any more.
pub fn loop_stops(loop_: Raw) {
    for slf in live_pools() {
        // SAFETY: the list holds pools.
        let pool = unsafe { pool::of(slf.as_ptr()) };
        if pool.home.get() != Home::Loop || pool.home_loop.get() != loop_ {
            continue;
        }
        if pool.outstanding.get() == 0 && !pool.stays.get() {
            leave(slf.as_ptr(), pool);
        } else if to_reactor(slf.as_ptr()).is_err() {
            crate::ffi::error::unraisable(slf.as_ptr());
        }
    }
}

/// In a child of fork: the pools, their workers and the reactor are the parent's. Closes what was inherited of them, or the
/// workers would not see their parent end.
pub fn forked() {
    patience::forked();
    reactor::forked();
    for slf in live_pools() {
        // SAFETY: the list holds pools.
        let pool = unsafe { pool::of(slf.as_ptr()) };
        pool.home.set(Home::None);
        pool.closed.set(true);
        pool.tell_idle.set(false);
        pool.disown();
    }
}
