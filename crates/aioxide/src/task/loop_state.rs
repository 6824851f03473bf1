//! What a loop has to run: the ready queue, the timers, and the flags that every schedule looks at. What looks into the
//! handles that are queued is in `scheduled`.

use std::cell::Cell;

use aioxide_core::timers::Timers;
use pyo3_ffi::*;

use super::overrides::Overrides;
use super::ready::{self, Call, Place, Shown};
use crate::ffi::class::{Native, derives};
use crate::ffi::error::{self, Res, runtime_error};
use crate::ffi::{Global, Leaf, Obj, Raw, Ref, Slot};

pub type Item = ready::Item<LoopState>;
pub type JobFn = ready::JobFn<LoopState>;
type Ready = ready::Ready<LoopState>;

/// The part of a loop that tasks and futures know.
pub struct LoopState {
    /// The loop object, borrowed: this state is a part of it.
    pub object: Raw,
    pub(super) ready: Leaf<Ready>,
    pub(super) timers: Leaf<Timers<Obj>>,
    /// Timers that were cancelled and are still in the heap.
    pub cancelled_timers: Cell<usize>,
    /// Callbacks to be called by attribute because the user has put their own in place, and what else is not plain.
    pub overrides: Overrides,
    pub closed: Cell<bool>,
    pub debug: Cell<bool>,
    /// What `set_debug` was given, if it was no bool.
    pub debug_as_set: Slot,
    pub stopping: Cell<bool>,
    /// The thread that runs the loop; 0 when none does.
    pub thread: Cell<u64>,
    /// The clock at its last reading, in seconds: what has been due then needs no new reading.
    pub now: Cell<f64>,
    pub task_factory: Slot,
    /// The task that asyncio's bookkeeping has, and holds, as current for this loop; see `registry`.
    pub entered: Cell<Raw>,
    /// The newest live task, the head of a list through their `newer` and `older` links (3.11 to 3.13).
    #[cfg(not(Py_3_14))]
    pub tasks: Cell<Raw>,
    /// Where `AbstractEventLoop` debugging shows which handle runs.
    pub current_handle: Slot,
    /// A context that nobody knows, to run what has none of its own yet; see `ffi::snapshot`.
    pub spare_context: Slot,
}

impl LoopState {
    /// # Safety
    /// It becomes the state in `object`, an instance of `LOOP_TYPE`.
    pub unsafe fn new(object: Raw) -> LoopState {
        LoopState {
            object,
            ready: Leaf::new(Ready::default()),
            timers: Leaf::new(Timers::default()),
            cancelled_timers: Cell::new(0),
            overrides: Overrides::new(),
            closed: Cell::new(false),
            debug: Cell::new(false),
            debug_as_set: Slot::empty(),
            stopping: Cell::new(false),
            thread: Cell::new(0),
            now: Cell::new(f64::NEG_INFINITY),
            task_factory: Slot::empty(),
            entered: Cell::new(std::ptr::null_mut()),
            #[cfg(not(Py_3_14))]
            tasks: Cell::new(std::ptr::null_mut()),
            current_handle: Slot::empty(),
            spare_context: Slot::empty(),
        }
    }

    #[inline(always)]
    pub fn object(&self) -> Ref<'_> {
        // SAFETY: this is a part of it.
        unsafe { Ref::new(self.object) }
    }

    /// Queues an item; MemoryError where there is no memory for that.
    #[inline(always)]
    pub fn push(&self, item: Item) -> Res<()> {
        self.open()?;
        // SAFETY: there is room.
        self.ready.with(|ready| unsafe { ready.push(item) });
        Ok(())
    }

    #[inline(always)]
    pub fn push_call(&self, call: Call) -> Res<()> {
        self.open()?;
        // SAFETY: there is room.
        self.ready.with(|ready| unsafe { ready.push_call(call) });
        Ok(())
    }

    /// Asked before there is an item to give up: what it holds is released out of the cell.
    #[inline(always)]
    fn open(&self) -> Res<()> {
        if self.ready.with(|ready| ready.has_room() || ready.open()) { Ok(()) } else { error::no_memory() }
    }

    /// As `push`, where nobody is there to raise to: `sys.unraisablehook` is told.
    pub fn push_or_report(&self, item: Item) {
        if self.push(item).is_err() {
            error::unraisable(self.object());
        }
    }

    /// Whether so many items can be pushed, at most a block's.
    #[inline(always)]
    pub fn make_room(&self, count: usize) -> bool {
        self.ready.with(|ready| ready.make_room(count))
    }

    /// Called before the loop looks at its descriptors: gives back what a deep queue has needed, once all of that has run.
    #[inline(always)]
    pub fn trim_ready(&self) {
        self.ready.with(|ready| {
            if ready.has_excess() && ready.len() == 0 {
                ready.trim();
            }
        });
    }

    #[inline(always)]
    pub fn pop(&self) -> Option<Item> {
        self.ready.with(Ready::pop)
    }

    #[inline(always)]
    pub fn ready_len(&self) -> usize {
        self.ready.with(|ready| ready.len())
    }

    /// Whether work may be queued past the Python method `call_soon`: not overridden, not closed, not in debug mode.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.overrides.none(self.object())
    }

    /// Raises what `call_soon` raises on a loop that is closed, or (debug mode) on the wrong thread.
    pub fn check_schedule(&self) -> Res<()> {
        self.check_closed()?;
        if self.debug.get() { self.check_thread() } else { Ok(()) }
    }

    #[inline(always)]
    pub fn check_closed(&self) -> Res<()> {
        if self.closed.get() { runtime_error(c"Event loop is closed") } else { Ok(()) }
    }

    pub fn check_thread(&self) -> Res<()> {
        let running = self.thread.get();
        if running == 0 || running == thread_ident() {
            return Ok(());
        }
        runtime_error(c"Non-thread-safe operation invoked on an event loop other than the current one")
    }

    /// Arms a timer handle. No number is due at once, as it is in asyncio whenever its heap comes to look at it.
    #[inline]
    pub fn push_timer(&self, when: f64, timer: Obj) -> Res<()> {
        let when = if when.is_nan() { f64::NEG_INFINITY } else { when };
        match self.timers.with(|timers| timers.push(when, timer)) {
            Ok(()) => Ok(()),
            Err(_) => error::no_memory(),
        }
    }

    pub fn timer_count(&self) -> usize {
        self.timers.with(|timers| timers.len())
    }

    /// What is held beside the queues.
    pub(super) fn slots(&self) -> [&Slot; 4] {
        [&self.task_factory, &self.current_handle, &self.debug_as_set, &self.spare_context]
    }

    /// What `_ready` has to show; see `handle::ready`.
    pub fn ready_shown(&self) -> Vec<Shown> {
        self.ready.with(|ready| ready.shown())
    }

    /// Gives a queued call a handle; see `Ready::link`.
    pub fn link_ready(&self, index: usize, callback: &Obj, place: &Place) -> bool {
        self.ready.with(|ready| ready.link(index, callback, place))
    }

    pub fn timer_handles(&self) -> Vec<Obj> {
        self.timers.with(|timers| timers.iter().cloned().collect())
    }
}

/// The head of every loop object: all that this floor needs to know of its layout.
#[repr(C)]
pub struct LoopHead {
    pub header: PyObject,
    pub state: LoopState,
}

/// The type of loop objects, which is made above.
pub static LOOP_TYPE: Global<*mut PyTypeObject> = Global::new();

// SAFETY: every instance of that type begins with it; its fields are cells.
unsafe impl Native for LoopHead {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &LOOP_TYPE)
    }
}

/// `threading.get_ident()`.
#[inline(always)]
pub fn thread_ident() -> u64 {
    // SAFETY: needs nothing.
    unsafe { PyThread_get_thread_ident() as u64 }
}

unsafe extern "C" {
    fn PyThread_get_thread_ident() -> std::ffi::c_ulong;
}
