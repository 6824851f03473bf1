//! The receiving end of a loop's pair of sockets, as a descriptor that the loop watches.

use std::mem::MaybeUninit;
use std::sync::Arc;

use aioxide_sys::epoll::Interest;
use aioxide_sys::socket;

use super::loop_object::{LoopObject, io_result};
use super::source::Owner;
use crate::ffi::calls::call_method;
use crate::ffi::cells::Turn;
use crate::ffi::class::Native;
use crate::ffi::names::interned;
use crate::ffi::object::bytes;
use crate::ffi::{Raw, Res};
use crate::task::loop_state::{Item, LoopState};

/// Watches the receiving socket of the loop's pair.
pub fn attach(this: &LoopObject, receiver: i32, sender: i32) -> Res<()> {
    let engine = &this.engine;
    engine.wake.receiver.set(receiver);
    // SAFETY: the loop keeps its socket open for the call.
    let sender = io_result(unsafe { socket::duplicate(sender) })?;
    *engine.wake.sender.borrow_mut() = Some(Arc::new(sender));
    let owner = Owner::of(this, on_readable);
    drop(engine.sources.set_owner(receiver, Some(owner)));
    io_result(engine.watch(receiver, Interest::IN))
}

/// Stops watching it: the loop is about to close the pair.
pub fn detach(this: &LoopObject) {
    let engine = &this.engine;
    let receiver = engine.wake.receiver.replace(-1);
    drop(engine.wake.sender.take());
    if receiver >= 0 {
        let _ = engine.watch(receiver, Interest::empty());
        drop(engine.sources.set_owner(receiver, None));
    }
}

fn on_readable(state: &LoopState, this: &LoopObject, _: Turn, _: Interest) {
    state.push_or_report(Item::Job { object: this.object().to_obj(), run: drain });
}

/// Empties the pair. Bytes other than 0 are numbers of signals that came: inherited code runs their handlers.
///
/// # Safety
/// `state` is a part of a loop object, as a loop's own always is.
unsafe fn drain(state: &LoopState, _: Raw) -> Res<()> {
    let wake = &LoopObject::of(state).engine.wake;
    wake.word.heard();
    let mut signals = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    while let Ok(count @ 1..) = socket::recv(wake.receiver.get(), &mut buffer) {
        // SAFETY: `recv` has filled so many bytes.
        let filled = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), count) };
        signals.extend(filled.iter().copied().filter(|byte| *byte != 0));
        if count < buffer.len() {
            break;
        }
    }
    if signals.is_empty() {
        return Ok(());
    }
    let signals = bytes(&signals)?;
    call_method(interned().process_self_data, &[state.object(), signals.borrow()]).map(drop)
}
