//! Handles: what `call_soon`, `call_later` and `add_reader` return.
//!
//! Mostly nobody keeps one, and then it is gone before its call runs. One that is kept has the call's parts from when somebody
//! asks for them, or from when the call runs.
//!
//! The garbage collector learns of a handle only when somebody has kept it beyond its use: nearly none are, and a batch
//! of callbacks is twice as fast for it. Until then the loop visits what a queued handle holds. `__class__` says
//! `asyncio.Handle` and `asyncio.TimerHandle`; what is rare (`repr`, comparison) is asyncio's own code.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use pyo3_ffi::*;

use super::loop_state::{Item, LoopHead, LoopState};
use super::ready::{Call, Place, Shown};
use crate::ffi::calls::{call, call_method, tuple};
use crate::ffi::class::{Collected, Native};
use crate::ffi::freelist::FreeList;
use crate::ffi::guard::{visit, visit_opt};
use crate::ffi::names::{imported, interned};
use crate::ffi::refcount::refcount;
use crate::ffi::{Global, Leaf, Obj, Ref, Res, Slot, snapshot};

#[repr(C)]
pub struct Handle {
    header: PyObject,
    pub(super) weakrefs: Slot,
    pub(super) owner: Slot,
    /// Where the call is that it stands for, as long as that is queued.
    pub(super) place: Place,
    pub(super) callback: Slot,
    /// The one argument, or a tuple of several.
    pub(super) args: Slot,
    /// A context, or a snapshot of one until somebody wants to see it.
    pub(super) context: Slot,
    pub(super) extra: Leaf<Option<Box<Extra>>>,
    /// When it is due, in seconds on the loop's clock: timers only.
    pub(super) when: Cell<f64>,
    /// `args` is a tuple of several.
    pub(super) several: Cell<bool>,
    pub(super) cancelled: Cell<bool>,
    /// In the heap of timers.
    pub(super) scheduled: Cell<bool>,
    pub(super) kind: Cell<Kind>,
    /// Runs right now, in its loop's thread: kept for `Kind::ThreadSafe` only.
    pub(super) running: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Once,
    /// Watches a file descriptor: runs many times, and keeps its callback until it is cancelled.
    Repeats,
    /// Of `call_soon_threadsafe` from 3.14 on: another thread that cancels it waits while it runs.
    ThreadSafe,
    /// Of `call_later` and `call_at`.
    Timer,
}

/// What few handles need: those of debug mode, and those for whose end another thread waits.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) source_traceback: Option<Obj>,
    pub(super) repr: Option<Obj>,
    /// A lock that is held until the callback has returned.
    pub(super) ended: Option<Obj>,
}

pub(super) struct Types {
    pub handle: *mut PyTypeObject,
    pub thread_safe: *mut PyTypeObject,
    pub timer: *mut PyTypeObject,
}

static TYPES: Global<Types> = Global::new();
pub(super) static HANDLES: FreeList = FreeList::new();

/// Tells this file the types, which `handle_type` makes.
pub(super) fn set_types(types: Types) {
    TYPES.set(types);
}

#[inline(always)]
pub(super) fn types() -> &'static Types {
    // SAFETY: set at import.
    unsafe { TYPES.get() }
}

const PLACE_AT: usize = std::mem::offset_of!(Handle, place);

// SAFETY: as laid out above, for the three types that `handle_type` makes; its fields are cells.
unsafe impl Native for Handle {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        TYPES.is_set() && [types().handle, types().thread_safe, types().timer].contains(&kind)
    }
}

/// # Safety
/// The object is a handle.
#[inline(always)]
pub unsafe fn of(handle: &Obj) -> &Handle {
    // SAFETY: as the caller says.
    unsafe { handle.borrow().cast_unchecked() }
}

/// Queues a call for `call_soon`, or for `call_soon_threadsafe`; without a context, in a copy of the current one. Returns its
/// handle.
#[inline(always)]
pub fn queue(state: &LoopState, thread_safe: bool, callback: Ref, args: &[Ref], context: Option<Ref>) -> Res {
    let context = snapshot::given_or_current(context)?;
    let (args, several) = gathered(args)?;
    let kind = if thread_safe { thread_safe_kind() } else { Kind::Once };
    // SAFETY: the handle is alive for the call, and leaves its place before it goes.
    unsafe {
        let handle = blank(kind, state)?;
        let place = &handle.borrow().cast_unchecked::<Handle>().place;
        state.push_call(Call { callback: callback.to_obj(), args, several, context, handle: place })?;
        Ok(handle)
    }
}

#[inline(always)]
fn thread_safe_kind() -> Kind {
    if imported().has_thread_safe_handles() { Kind::ThreadSafe } else { Kind::Once }
}

/// As `queue`, in debug mode: the handle knows where it was made, and the queue keeps it.
#[cold]
pub fn queue_in_debug(
    state: &LoopState,
    thread_safe: bool,
    callback: Ref,
    args: &[Ref],
    context: Option<Ref>,
) -> Res {
    let kind = if thread_safe { thread_safe_kind() } else { Kind::Once };
    let handle = fill(kind, state, callback, args, context)?;
    record_source(&handle)?;
    state.push(Item::Run(handle.clone()))?;
    Ok(handle)
}

/// The arguments of a call as one object, and whether they are several.
#[inline(always)]
fn gathered(args: &[Ref]) -> Res<(Option<Obj>, bool)> {
    Ok(match args {
        [] => (None, false),
        [only] => (Some(only.to_obj()), false),
        many => (Some(tuple(many)?), true),
    })
}

/// Makes a handle that is not queued, and runs in the given context or in a copy of the current one.
#[inline(always)]
pub fn new(state: &LoopState, callback: Ref, args: &[Ref], context: Option<Ref>) -> Res {
    fill(Kind::Once, state, callback, args, context)
}

/// Makes a timer handle; arming it is the caller's part.
#[inline(always)]
pub fn new_timer(state: &LoopState, when: f64, callback: Ref, args: &[Ref], context: Option<Ref>) -> Res {
    let timer = fill(Kind::Timer, state, callback, args, context)?;
    // SAFETY: just made.
    unsafe { of(&timer) }.when.set(when);
    Ok(timer)
}

/// Makes a handle that runs each time its file descriptor is ready.
pub fn new_repeating(state: &LoopState, callback: Ref, args: &[Ref], context: Option<Ref>) -> Res {
    let handle = fill(Kind::Repeats, state, callback, args, context)?;
    // SAFETY: just made. What a callback does to its context holds for the next time.
    unsafe { of(&handle) }.true_context()?;
    Ok(handle)
}

/// Cancels a handle, as its method `cancel` does.
pub fn cancel(handle: &Obj) -> Res<()> {
    call_method(interned().cancel, &[handle.borrow()]).map(drop)
}

#[inline(always)]
fn fill(kind: Kind, state: &LoopState, callback: Ref, args: &[Ref], given: Option<Ref>) -> Res {
    let context = snapshot::given_or_current(given)?;
    let (args, several) = gathered(args)?;
    let handle = blank(kind, state)?;
    // SAFETY: just made.
    unsafe { of(&handle) }.hold(callback.to_obj(), args, several, context);
    Ok(handle)
}

/// A handle without a call, of a loop of ours.
#[inline(always)]
fn blank(kind: Kind, state: &LoopState) -> Res {
    let owner = state.object();
    let class = match kind {
        Kind::Once | Kind::Repeats => types().handle,
        Kind::ThreadSafe => types().thread_safe,
        Kind::Timer => types().timer,
    };
    // SAFETY: the list holds handles of these types, which share a layout; every slot was empty when it was put away.
    unsafe {
        let (handle, tracked) = HANDLES.get(class)?;
        if tracked {
            PyObject_GC_UnTrack(handle.as_ptr().cast());
        }
        let this: &Handle = handle.borrow().cast_unchecked();
        this.owner.replace(Some(owner.to_obj()));
        this.several.set(false);
        this.cancelled.set(false);
        this.scheduled.set(kind == Kind::Timer);
        this.kind.set(kind);
        this.running.set(false);
        Ok(handle)
    }
}

/// Records where the handle was made, for debug mode.
#[cold]
pub fn record_source(handle: &Obj) -> Res<()> {
    let frames = call(imported().helpers_extract_stack, &[])?;
    // SAFETY: a handle.
    let this = unsafe { of(handle) };
    drop(this.with_extra(|extra| extra.source_traceback.replace(frames)));
    Ok(())
}

// SAFETY: it visits its slots, and what `extra` has.
unsafe impl Collected for Handle {
    unsafe fn traverse(&self, visitor: visitproc, arg: *mut c_void) -> c_int {
        // SAFETY: nothing changes while the collector visits.
        unsafe {
            for slot in [&self.callback, &self.args, &self.context, &self.owner] {
                visit!(slot.get(), visitor, arg);
            }
            if let Some(extra) = self.extra.visited() {
                visit_opt!(extra.source_traceback, visitor, arg);
            }
        }
        0
    }

    /// Keeps the loop: methods rely on it.
    fn clear(&self) {
        self.forget();
        self.context.clear();
    }
}

impl Handle {
    #[inline(always)]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Whether what it calls is a method, written in C, of this object.
    pub fn calls_method_of(&self, object: Ref) -> bool {
        let callback = self.callback.get();
        // SAFETY: null, or a live object; a function in C knows whose method it is.
        unsafe {
            !callback.is_null()
                && PyCFunction_Check(callback) != 0
                && PyCFunction_GetSelf(callback) == object.as_ptr()
        }
    }

    /// Takes leave of a handle that will not run again: if others hold it, it is theirs and the collector's from now on.
    #[inline(always)]
    pub fn retire(&self) {
        let raw = self.object().as_ptr();
        // SAFETY: a handle, alive here; handles are made untracked, and only this tracks them.
        unsafe {
            if refcount(raw) > 1 && PyObject_GC_IsTracked(raw) == 0 {
                PyObject_GC_Track(raw.cast());
            }
        }
    }

    /// Visits a queued handle, or what it holds: if the collector does not know it and only the queue holds it, nothing
    /// else can reach that.
    ///
    /// # Safety
    /// Called from a `tp_traverse`.
    pub unsafe fn traverse_queued(&self, visitor: visitproc, arg: *mut c_void) -> c_int {
        let raw = self.object().as_ptr();
        // SAFETY: the queue holds it, and does not change while the collector visits.
        unsafe {
            visit!(raw, visitor, arg);
            if PyObject_GC_IsTracked(raw) != 0 || refcount(raw) != 1 {
                return 0;
            }
            visit!(Py_TYPE(raw).cast(), visitor, arg);
            self.traverse(visitor, arg)
        }
    }

    /// Leaf code on what few handles have, which this one gets if it had none.
    pub(super) fn with_extra<T>(&self, body: impl FnOnce(&mut Extra) -> T) -> T {
        self.extra.with(|extra| body(extra.get_or_insert_default()))
    }

    pub(super) fn source_traceback(&self) -> Option<Obj> {
        self.extra.with(|extra| extra.as_ref().and_then(|extra| extra.source_traceback.clone()))
    }

    /// Takes the parts of a call into slots that are empty.
    #[inline(always)]
    fn hold(&self, callback: Obj, args: Option<Obj>, several: bool, context: Obj) {
        self.several.set(several);
        drop(self.args.replace(args));
        drop(self.context.replace(Some(context)));
        drop(self.callback.replace(Some(callback)));
    }

    /// Has the parts of the call that it stands for in its own slots, if that is queued.
    #[inline(always)]
    pub(super) fn settle(&self) {
        if self.place.is_queued() && !self.callback.is_set() {
            self.settle_queued();
        }
    }

    #[cold]
    fn settle_queued(&self) {
        if let Some(call) = self.place.call() {
            self.hold(call.callback, call.args, call.several, call.context);
        }
    }

    /// The context that the callback runs in, made of the snapshot if there is only that.
    pub(super) fn true_context(&self) -> Res {
        self.settle();
        let held = self.context.or_none();
        if !snapshot::is_snapshot(&held) {
            return Ok(held);
        }
        let made = snapshot::to_context(held.clone())?;
        // To make it may have run the garbage collector, and that anything.
        if self.context.get() == held.as_ptr() {
            // The call runs in what was shown, also when this handle is gone by then.
            drop(self.place.set_context(made.clone()));
            self.context.set(made);
        }
        Ok(self.context.or_none())
    }

    #[inline(always)]
    pub(super) fn forget(&self) {
        self.callback.clear();
        self.args.clear();
        self.several.set(false);
    }

    /// The arguments as a tuple.
    pub(super) fn args_tuple(&self) -> Res {
        match self.args.share() {
            Some(several) if self.several.get() => Ok(several),
            Some(only) => tuple(&[only.borrow()]),
            None => tuple(&[]),
        }
    }

    pub(super) fn state(&self) -> &LoopState {
        // SAFETY: handles are made for loops of ours only, and hold a reference to it.
        unsafe { &Ref::new(self.owner.get()).cast_unchecked::<LoopHead>().state }
    }
}

/// The handle of a call that has just left the queue: the one that is kept, or a new one.
///
/// # Safety
/// As `run_call`.
pub unsafe fn of_call(state: &LoopState, call: Call) -> Res {
    // SAFETY: `at` finds the handle to which the call's place belongs; whoever keeps it keeps it alive until something
    // else runs.
    unsafe {
        let kept = !call.handle.is_null();
        let handle = if kept { at(call.handle) } else { blank(Kind::Once, state)? };
        if !of(&handle).callback.is_set() {
            of(&handle).hold(call.callback, call.args, call.several, call.context);
        }
        Ok(handle)
    }
}

/// The handle that has this place.
///
/// # Safety
/// It is alive.
unsafe fn at(place: *const Place) -> Obj {
    // SAFETY: places exist within handles only.
    unsafe { Ref::new(place.byte_sub(PLACE_AT).cast_mut().cast()) }.to_obj()
}

/// Takes leave of the handle of a cancelled call that has just left the queue.
///
/// # Safety
/// As `run_call`.
pub unsafe fn retire_cancelled(place: *const Place) {
    if !place.is_null() {
        // SAFETY: as the caller says.
        unsafe { of(&at(place)).retire() }
    }
}

/// The handles of all calls that wait in the ready queue, as `_ready` has them; other items have none.
pub fn ready(state: &LoopState) -> Res<Vec<Obj>> {
    let kept = |shown| match shown {
        Shown::Handle(handle) => Ok(handle),
        // SAFETY: nothing runs before each place has become its handle.
        Shown::Place(place) => Ok(unsafe { at(place) }),
        Shown::Call(call) => Err(call),
    };
    let shown: Vec<Result<Obj, Call>> = state.ready_shown().into_iter().map(kept).collect();
    let handle =
        |(index, known): (usize, Result<Obj, Call>)| known.or_else(|call| stand_for(state, index, call));
    shown.into_iter().enumerate().map(handle).collect()
}

/// A handle for a queued call that has none.
fn stand_for(state: &LoopState, index: usize, call: Call) -> Res {
    let handle = blank(Kind::Once, state)?;
    // SAFETY: just made; it leaves its place before it goes.
    let this = unsafe { of(&handle) };
    state.link_ready(index, &call.callback, &this.place);
    this.hold(call.callback, call.args, call.several, call.context);
    Ok(handle)
}
