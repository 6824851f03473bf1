//! What wakes a loop that waits: a byte in its pair of sockets, from another thread or from the interpreter's signal
//! handler (which refuses an eventfd, hence the pair).

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use aioxide_sys::epoll::Interest;
use aioxide_sys::socket;
use pyo3_ffi::*;

use super::loop_object::{io_result, loop_of};
use super::source::Owner;
use crate::ffi::object::{bytes, call_method};
use crate::ffi::{Obj, Raw, Res, names};
use crate::task::loop_state::{Item, LoopState, thread_ident};

pub struct WakePipe {
    receiver: Cell<i32>,
    /// A descriptor of its own, so that it can be written to without the GIL, whatever becomes of the loop.
    sender: RefCell<Option<Arc<OwnedFd>>>,
    /// What the loop's thread does: one of the values below.
    wait: AtomicU8,
    /// A byte is on its way already.
    woken: Cell<bool>,
}

/// It runs, or has not begun to wait.
const RUNNING: u8 = 0;
/// It waits, or is about to, and looks at `wait` all the time.
const SPINNING: u8 = 1;
/// It waits in the kernel, or is about to.
const SLEEPING: u8 = 2;
/// It waits no more: there is something in its queue.
const WOKEN: u8 = 3;

impl WakePipe {
    pub fn new() -> WakePipe {
        WakePipe {
            receiver: Cell::new(-1),
            sender: RefCell::default(),
            wait: AtomicU8::new(RUNNING),
            woken: Cell::new(false),
        }
    }

    /// Called, with the GIL, before the wait.
    #[inline(always)]
    pub fn begin_wait(&self, spins: bool) {
        self.wait.store(if spins { SPINNING } else { SLEEPING }, Ordering::Relaxed);
    }

    /// Called without the GIL when spinning has not helped. False when there is something to do after all.
    #[inline(always)]
    pub fn begin_sleep(&self) -> bool {
        let now = self.wait.compare_exchange(SPINNING, SLEEPING, Ordering::AcqRel, Ordering::Acquire);
        now.is_ok() || now == Err(SLEEPING)
    }

    /// Asked without the GIL.
    #[inline(always)]
    pub fn is_woken(&self) -> bool {
        self.wait.load(Ordering::Acquire) == WOKEN
    }

    /// Called, with the GIL, after the wait.
    #[inline(always)]
    pub fn end_wait(&self) {
        self.wait.store(RUNNING, Ordering::Relaxed);
    }

    /// Whether the loop waits, or is about to. Asked with the GIL.
    #[inline(always)]
    pub fn is_waiting(&self) -> bool {
        self.wait.load(Ordering::Relaxed) != RUNNING
    }

    /// In a child of fork: a byte on its way is the parent's to read.
    pub fn forget(&self) {
        self.wait.store(RUNNING, Ordering::Relaxed);
        self.woken.set(false);
    }

    /// Makes the loop look at its queue. Needs the GIL: the loop says that it waits before it lets go of it, so what is
    /// queued without being told of is seen.
    #[inline(always)]
    pub fn wake(&self) {
        drop(self.bell());
    }

    /// As `wake`, but if the loop sleeps, leaves it to the caller to ring.
    #[inline(always)]
    pub fn bell(&self) -> Option<Bell> {
        if self.wait.load(Ordering::Relaxed) == RUNNING {
            return None;
        }
        if self.wait.swap(WOKEN, Ordering::AcqRel) != SLEEPING || self.woken.replace(true) {
            return None;
        }
        self.sender.borrow().clone().map(Bell)
    }
}

/// Wakes a loop that sleeps when it is dropped: at once, or after the caller has let go of the GIL, for which the loop would
/// else have to wait, asleep again.
#[must_use]
pub struct Bell(Arc<OwnedFd>);

impl Drop for Bell {
    fn drop(&mut self) {
        // A full pipe wakes the loop as well; any other failure means that the loop is gone.
        let _ = socket::send(self.0.as_raw_fd(), &[0]);
    }
}

/// How many entries may wait for a loop that runs before a thread that queues more lets it have the GIL: as many as the
/// freelists keep.
const HAND_OVER_EVERY: usize = 1024;

/// Lets a loop that is behind have the GIL for a moment. A thread that queues without a pause would else fill the queue
/// for the five milliseconds that the interpreter gives it: with tens of thousands of handles, all of them made of memory
/// that no cache has, and that is given back to the system when they have run.
#[inline(always)]
pub fn hand_over(state: &LoopState) {
    if state.ready_len() % HAND_OVER_EVERY == 0 {
        let running = state.thread.get();
        if running != 0 && running != thread_ident() {
            release_for_a_moment();
        }
    }
}

#[cold]
fn release_for_a_moment() {
    // SAFETY: nothing of ours is borrowed, and nothing between the two calls touches a Python object.
    unsafe {
        let thread = PyEval_SaveThread();
        aioxide_sys::thread::yield_core();
        PyEval_RestoreThread(thread);
    }
}

/// Watches the receiving socket of the loop's pair.
pub fn attach(state: &LoopState, receiver: i32, sender: i32) -> Res<()> {
    // SAFETY: a loop's state.
    let engine = &unsafe { loop_of(state) }.engine;
    engine.wake.receiver.set(receiver);
    // SAFETY: the loop keeps its socket open for the call.
    let sender = io_result(unsafe { socket::duplicate(sender) })?;
    *engine.wake.sender.borrow_mut() = Some(Arc::new(sender));
    let owner = Owner::new(state.object, on_readable);
    drop(engine.sources.set_owner(receiver, Some(owner)));
    io_result(engine.watch(receiver, Interest::IN))
}

/// Stops watching it: the loop is about to close the pair.
pub fn detach(state: &LoopState) {
    // SAFETY: a loop's state.
    let engine = &unsafe { loop_of(state) }.engine;
    let receiver = engine.wake.receiver.replace(-1);
    drop(engine.wake.sender.take());
    if receiver >= 0 {
        let _ = engine.watch(receiver, Interest::empty());
        drop(engine.sources.set_owner(receiver, None));
    }
}

unsafe fn on_readable(state: &LoopState, object: Raw, _: Interest) {
    state.push_or_report(Item::Job { object: Obj::new(object), run: drain });
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
