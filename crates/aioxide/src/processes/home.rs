//! Who serves a pool: the loop that uses it, or the reactor thread.
//!
//! A pool that nothing is under way in has no home. `run_in_executor` makes the loop its home if it is free to; `submit`
//! makes it the reactor's, as whoever submits may then block on the result; and when a loop stops or closes with tasks
//! under way, its pools go to the reactor, so that every task finishes. A loop that has no time for a pool while tasks wait
//! (`processes::patience`) lends it to the reactor until it comes round again.

use aioxide_sys::epoll::{Epoll, Interest};

use super::live::live_pools;
use super::pool::{self, Flag, Home, Pool};
use super::{patience, reactor, results};
use crate::engine::loop_object::{io_result, loop_of};
use crate::engine::source::Owner;
use crate::ffi::{Obj, Raw, Res};
use crate::task::loop_state::{Item, LoopState, native_state};

/// The descriptor that is ready whenever the pool has something to serve; made when first asked for.
pub fn epoll_of(pool: &Pool) -> Res<i32> {
    if let Some(fd) = pool.epoll_fd() {
        return Ok(fd);
    }
    let epoll = std::rc::Rc::new(io_result(Epoll::new())?);
    let fd = epoll.fileno();
    pool.set_epoll(epoll);
    Ok(fd)
}

/// Makes `wanted` the pool's home if that can be.
///
/// # Safety
/// `slf` is a pool object and `wanted` a loop of ours.
pub unsafe fn use_from_loop(slf: Raw, wanted: Raw) -> Res<()> {
    // SAFETY: a pool, of which cells are lent.
    let pool = unsafe { pool::of(slf) };
    if pool.is_at(wanted) {
        return Ok(());
    }
    match pool.home() {
        Home::None => {}
        _ if pool.outstanding() == 0 => leave(slf, pool),
        // Two loops at once, or threads too: neither may wait for the other.
        Home::Loop(_) => return to_reactor(slf),
        Home::Lent(lender) if lender.as_ptr() != wanted => return to_reactor(slf),
        Home::Lent(_) | Home::Reactor => return Ok(()),
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
    drop(pool.move_to(Home::Loop(Obj::new(wanted))));
    Ok(())
}

/// The loop that serves a pool has no time for it: the reactor takes over until that loop comes round again.
pub fn lend(slf: Raw) -> Res<()> {
    // SAFETY: callers pass a pool object.
    let pool = unsafe { pool::of(slf) };
    let Home::Loop(loop_) = pool.home() else { return Ok(()) };
    let Some(state) = native_state(loop_.as_ptr()) else { return Ok(()) };
    to_reactor(slf)?;
    if matches!(pool.home(), Home::Reactor) {
        drop(pool.move_to(Home::Lent(loop_.clone())));
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
    if !pool.is_lent_by(state.object) {
        return Ok(());
    }
    leave(slf, pool);
    adopt(slf, pool, state.object)
}

/// # Safety
/// `slf` is a process pool.
unsafe fn on_ready(state: &LoopState, slf: Raw, _: Interest) {
    // SAFETY: the owner's object is a pool.
    if unsafe { pool::of(slf) }.begin_wait_in_loop() {
        state.push_or_report(Item::Job { object: Obj::new(slf), run: serve_in_loop });
    }
}

/// # Safety
/// `slf` is a process pool.
unsafe fn serve_in_loop(_: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: a pool, as `on_ready` queued it.
    unsafe {
        pool::of(slf).end_wait_in_loop();
        results::pump(slf)
    }
}

/// Makes the reactor thread the pool's home; not of one that has ended meanwhile: whoever asks may have been a moment late.
pub fn to_reactor(slf: Raw) -> Res<()> {
    // SAFETY: callers pass a pool object.
    let pool = unsafe { pool::of(slf) };
    match pool.home() {
        // That loop does not get it back.
        Home::Lent(_) => drop(pool.move_to(Home::Reactor)),
        Home::None | Home::Loop(_) if !pool.has_ended() => return move_to_reactor(slf, pool),
        _ => {}
    }
    Ok(())
}

fn move_to_reactor(slf: Raw, pool: &Pool) -> Res<()> {
    leave(slf, pool);
    let fd = epoll_of(pool)?;
    reactor::add(slf, fd)?;
    drop(pool.move_to(Home::Reactor));
    Ok(())
}

/// Leaves the home, whichever it is.
pub fn leave(slf: Raw, pool: &Pool) {
    let home = pool.move_to(Home::None);
    let Some(fd) = pool.epoll_fd() else { return };
    match home {
        Home::None => {}
        Home::Reactor | Home::Lent(_) => reactor::remove(slf, fd),
        Home::Loop(loop_) => {
            if let Some(state) = native_state(loop_.as_ptr()) {
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
        if !pool.is_at(loop_) {
            continue;
        }
        if pool.outstanding() == 0 && !pool.has(Flag::Stays) {
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
        unsafe { pool::of(slf.as_ptr()) }.disown();
    }
}
