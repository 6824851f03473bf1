//! What wakes a loop that waits: a byte in its pair of sockets, from another thread or from the interpreter's signal
//! handler (which refuses an eventfd, hence the pair).

use std::cell::Cell;
use std::mem::MaybeUninit;

use aioxide_sys::epoll::Interest;
use aioxide_sys::socket;
use pyo3_ffi::*;

use super::loop_object::{io_result, loop_of};
use super::source::Owner;
use crate::ffi::object::{bytes, call_method};
use crate::ffi::{Obj, Raw, Res, names};
use crate::task::loop_state::{Item, LoopState};

pub struct WakePipe {
    receiver: Cell<i32>,
    sender: Cell<i32>,
    /// The loop waits, or is about to, and the GIL is free.
    waiting: Cell<bool>,
    /// A byte is on its way already.
    woken: Cell<bool>,
}

impl WakePipe {
    pub fn new() -> WakePipe {
        WakePipe {
            receiver: Cell::new(-1),
            sender: Cell::new(-1),
            waiting: Cell::new(false),
            woken: Cell::new(false),
        }
    }

    /// Called, with the GIL, around the wait.
    #[inline(always)]
    pub fn set_waiting(&self, waiting: bool) {
        self.waiting.set(waiting);
    }

    #[inline(always)]
    pub fn is_waiting(&self) -> bool {
        self.waiting.get()
    }

    /// In a child of fork: a byte on its way is the parent's to read.
    pub fn forget(&self) {
        self.waiting.set(false);
        self.woken.set(false);
    }

    /// Makes the loop look at its queue. Needs the GIL, which is what makes the two flags enough: the loop sets
    /// `waiting` before it lets go of it.
    #[inline(always)]
    pub fn wake(&self) {
        if self.waiting.get() && !self.woken.replace(true) {
            // A full pipe wakes the loop as well; any other failure means that the loop is gone.
            let _ = socket::send(self.sender.get(), &[0]);
        }
    }
}

/// Watches the receiving socket of the loop's pair.
pub fn attach(state: &LoopState, receiver: i32, sender: i32) -> Res<()> {
    // SAFETY: a loop's state.
    let engine = &unsafe { loop_of(state) }.engine;
    engine.wake.receiver.set(receiver);
    engine.wake.sender.set(sender);
    let owner = Owner::new(state.object, on_readable);
    drop(engine.sources.set_owner(receiver, Some(owner)));
    io_result(engine.watch(receiver, Interest::IN))
}

/// Stops watching it: the loop is about to close the pair.
pub fn detach(state: &LoopState) {
    // SAFETY: a loop's state.
    let engine = &unsafe { loop_of(state) }.engine;
    let receiver = engine.wake.receiver.replace(-1);
    engine.wake.sender.set(-1);
    if receiver >= 0 {
        let _ = engine.watch(receiver, Interest::empty());
        drop(engine.sources.set_owner(receiver, None));
    }
}

unsafe fn on_readable(state: &LoopState, object: Raw, _: Interest) {
    state.push(Item::Job { object: Obj::new(object), run: drain });
}

/// Empties the pair. Bytes other than 0 are numbers of signals that came: inherited code runs their handlers.
unsafe fn drain(state: &LoopState, _: Raw) -> Res<()> {
    // SAFETY: a loop's state.
    let wake = &unsafe { loop_of(state) }.engine.wake;
    wake.woken.set(false);
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
    call_method(names().process_self_data, &[state.object, signals.as_ptr()]).map(drop)
}

/// Runs Python's own signal handlers, in the main thread.
pub fn check_signals() -> Res<()> {
    // SAFETY: needs the GIL only.
    crate::ffi::object::check(unsafe { PyErr_CheckSignals() })
}
