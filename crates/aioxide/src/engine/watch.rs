//! Watching descriptors for users: `add_reader` and its kin, level-triggered, as `selectors` does; and once, for who waits for one
//! thing (`sock_recv`).

use super::fileno::fileno;
use super::loop_object::{LoopObject, io_result};
use super::source::Side;
use crate::ffi::names::imported;
use crate::ffi::{Obj, Raised, Ref, Res, builtin, error, none, number};
use crate::task::handle;

/// Calls `callback(*args)` whenever `object`, a descriptor or what has one, is ready; replaces, and cancels, the handle that was
/// there.
///
/// `context` is the one that the callback runs in, none for a copy of the current one.
pub fn add(
    this: &LoopObject,
    object: Ref,
    side: Side,
    callback: Ref,
    args: &[Ref],
    context: Option<Ref>,
) -> Res {
    let fd = fileno(object)?;
    this.state.check_closed()?;
    if let Some(owner) = this.engine.sources.owner(fd) {
        return used_by(fd, &owner);
    }
    note_bool(object)?;
    let made = handle::new_repeating(&this.state, callback, args, context)?;
    if this.state.debug.get() {
        handle::record_source(&made)?;
    }
    let sources = &this.engine.sources;
    io_result(sources.reserve(fd))?;
    let first = sources.wanted(fd).is_empty();
    let before = sources.set_handle(fd, side, Some(made.clone()));
    if let Err(why) = this.engine.watch(fd, sources.wanted(fd)) {
        // Nothing has changed for the user: the handle that worked before, if one did, stays.
        let refused = sources.set_handle(fd, side, before);
        drop(refused);
        return io_result(Err(why));
    }
    // As in `selectors`, a number says nothing about the object that the other side was set for.
    if !number::is_int(object) {
        drop(sources.set_object(fd, Some(object.to_obj())));
    } else if first {
        drop(sources.set_object(fd, None));
    }
    if let Some(before) = before {
        handle::cancel(&before)?;
    }
    Ok(made)
}

/// Finishes `future` when `fd` is ready, and watches no longer; replaces, and cancels, the handle that was there, as asyncio's
/// `sock_recv` does. Returns the handle, for `end_once`.
pub fn once(this: &LoopObject, fd: i32, side: Side, future: Ref) -> Res {
    this.state.check_closed()?;
    let sources = &this.engine.sources;
    if let Some(owner) = sources.owner(fd) {
        return used_by(fd, &owner);
    }
    let nothing = none();
    let args = [future, nothing.borrow()];
    let made = handle::new(&this.state, imported().set_result_unless_cancelled, &args, None)?;
    io_result(sources.reserve(fd))?;
    let before = sources.set_once(fd, side, made.clone());
    if sources.handle(fd, side.other()).is_none() {
        // What an `add_reader` was given, whose place this takes.
        drop(sources.set_object(fd, None));
    }
    if let Err(why) = this.engine.watch(fd, sources.wanted(fd)) {
        drop(sources.set_handle(fd, side, None));
        return io_result(Err(why));
    }
    if let Some(before) = before {
        handle::cancel(&before)?;
    }
    Ok(made)
}

/// Who waited does so no more: stops watching, unless somebody else watches that side by now.
pub fn end_once(this: &LoopObject, fd: i32, side: Side, made: Ref) -> Res<()> {
    if this.engine.sources.handle(fd, side).is_some_and(|handle| handle.borrow() == made) {
        drop_side(this, fd, side);
    }
    handle::cancel(&made.to_obj())
}

/// Stops watching one side. That the descriptor was closed meanwhile is no error: nobody waits for it any more.
fn drop_side(this: &LoopObject, fd: i32, side: Side) {
    let sources = &this.engine.sources;
    drop(sources.set_handle(fd, side, None));
    let wanted = sources.wanted(fd);
    let _ = this.engine.watch(fd, wanted);
    if wanted.is_empty() {
        drop(sources.set_object(fd, None));
    }
}

/// From 3.14 on the interpreter warns of a bool that is used as a descriptor, which is hardly meant.
#[inline(always)]
fn note_bool(object: Ref) -> Res<()> {
    // SAFETY: converts a live object, or raises.
    if !number::is_bool(object) || unsafe { pyo3_ffi::PyObject_AsFileDescriptor(object.as_ptr()) } >= 0 {
        return Ok(());
    }
    Err(Raised)
}

/// Two who read from one descriptor would lose each other's bytes: asyncio's own words for it.
#[cold]
fn used_by(fd: i32, owner: &Obj) -> Res {
    let fd = crate::ffi::object::int(fd.into())?;
    let text = c"File descriptor %R is used by transport %R";
    error::raise_with(builtin::runtime_error(), text, &fd, owner.borrow())
}

/// Stops watching one side of `fd`; false if it was not watched.
pub fn remove(this: &LoopObject, fd: i32, side: Side) -> Res<bool> {
    if this.state.closed.get() {
        return Ok(false);
    }
    if this.engine.sources.handle(fd, side).is_none() {
        if this.engine.sources.wanted(fd).is_empty() {
            drop(this.engine.sources.set_object(fd, None));
        }
        return Ok(false);
    }
    let before = this.engine.sources.set_handle(fd, side, None);
    let wanted = this.engine.sources.wanted(fd);
    let object = if wanted.is_empty() { this.engine.sources.set_object(fd, None) } else { None };
    io_result(this.engine.watch(fd, wanted))?;
    drop(object);
    if let Some(before) = &before {
        handle::cancel(before)?;
    }
    Ok(true)
}

/// A handle was cancelled by hand and its descriptor fired: stops watching, as `_process_events` does.
pub fn drop_cancelled(this: &LoopObject, fd: i32) {
    for side in [Side::Read, Side::Write] {
        let cancelled = |handle: &Obj| {
            // SAFETY: the table holds handles only.
            unsafe { handle::of(handle).is_cancelled() }
        };
        if this.engine.sources.handle(fd, side).as_ref().is_some_and(cancelled) {
            drop_side(this, fd, side);
        }
    }
}
