//! Handles: what `call_soon`, `call_later` and `add_reader` return.
//!
//! The garbage collector learns of a handle only when somebody has kept it beyond its use: nearly none are, and a batch
//! of callbacks is twice as fast for it. Until then the loop visits what a queued handle holds. `__class__` says
//! `asyncio.Handle` and `asyncio.TimerHandle`; what is rare (`repr`, comparison) is asyncio's own code.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use pyo3_ffi::*;

use super::loop_state::{LoopHead, LoopState, thread_ident};
use super::overrides::GET_DEBUG;
use super::report::{callback_message, report_context};
use crate::ffi::freelist::FreeList;
use crate::ffi::guard::{getter, guarded, noargs, setter, visit, visit_opt};
use crate::ffi::names::stdlib;
use crate::ffi::object::{boolean, call, call_method, call_method_kw, float, is_none, ret, truth, tuple};
use crate::ffi::refcount::refcount;
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Global, Leaf, NULL, Obj, Raised, Raw, Res, Slot, context, error, names, nesting, none};

#[repr(C)]
pub struct Handle {
    header: PyObject,
    weakrefs: Slot,
    owner: Slot,
    callback: Slot,
    /// The one argument, or a tuple of several.
    args: Slot,
    context: Slot,
    extra: Leaf<Option<Box<Extra>>>,
    /// When it is due, in seconds on the loop's clock: timers only.
    when: Cell<f64>,
    count: Cell<u32>,
    cancelled: Cell<bool>,
    /// In the heap of timers.
    scheduled: Cell<bool>,
    kind: Cell<Kind>,
    /// Runs right now, in its loop's thread: kept for `Kind::ThreadSafe` only.
    running: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Once,
    /// Watches a file descriptor: runs many times, and keeps its callback until it is cancelled.
    Repeats,
    /// Of `call_soon_threadsafe` from 3.14 on: another thread that cancels it waits while it runs.
    ThreadSafe,
}

/// What few handles need: those of debug mode, and those for whose end another thread waits.
#[derive(Default)]
struct Extra {
    source_traceback: Option<Obj>,
    repr: Option<Obj>,
    /// A lock that is held until the callback has returned.
    ended: Option<Obj>,
}

struct Types {
    handle: *mut PyTypeObject,
    thread_safe: *mut PyTypeObject,
    timer: *mut PyTypeObject,
}

static TYPES: Global<Types> = Global::new();
static HANDLES: FreeList = FreeList::new();

#[inline(always)]
unsafe fn of<'a>(raw: Raw) -> &'a Handle {
    // SAFETY: callers pass a handle, alive for the time of use.
    unsafe { &*raw.cast::<Handle>() }
}

/// Makes a handle for `call_soon` and its kin; `context` null copies the current one.
#[inline(always)]
pub fn new(owner: Raw, callback: Raw, args: &[Raw], context: Raw) -> Res {
    // SAFETY: types are set at import.
    fill(unsafe { TYPES.get().handle }, owner, callback, args, context)
}

/// Makes a handle for `call_soon_threadsafe`.
#[inline(always)]
pub fn new_thread_safe(owner: Raw, callback: Raw, args: &[Raw], context: Raw) -> Res {
    if !stdlib().has_thread_safe_handles() {
        return new(owner, callback, args, context);
    }
    // SAFETY: as `new`.
    unsafe {
        let handle = fill(TYPES.get().thread_safe, owner, callback, args, context)?;
        of(handle.as_ptr()).kind.set(Kind::ThreadSafe);
        Ok(handle)
    }
}

/// Makes a timer handle; arming it is the caller's part.
#[inline(always)]
pub fn new_timer(owner: Raw, when: f64, callback: Raw, args: &[Raw], context: Raw) -> Res {
    // SAFETY: as `new`.
    unsafe {
        let timer = fill(TYPES.get().timer, owner, callback, args, context)?;
        of(timer.as_ptr()).when.set(when);
        of(timer.as_ptr()).scheduled.set(true);
        Ok(timer)
    }
}

/// Makes a handle that runs each time its file descriptor is ready.
pub fn new_repeating(owner: Raw, callback: Raw, args: &[Raw], context: Raw) -> Res {
    let handle = new(owner, callback, args, context)?;
    // SAFETY: just made.
    unsafe { of(handle.as_ptr()).kind.set(Kind::Repeats) };
    Ok(handle)
}

/// Cancels a handle, as its method `cancel` does.
pub fn cancel(handle: &Obj) -> Res<()> {
    crate::ffi::object::call_method(names().cancel, &[handle.as_ptr()]).map(drop)
}

#[inline(always)]
fn fill(kind: *mut PyTypeObject, owner: Raw, callback: Raw, args: &[Raw], given: Raw) -> Res {
    let context = context::given_or_copy(given)?;
    let args_slot = match args {
        [] => None,
        [only] => Some(Obj::new(*only)),
        many => Some(tuple(many)?),
    };
    // SAFETY: the list holds handles of either type, which share a layout; every slot was empty when it was put away.
    unsafe {
        let (handle, tracked) = HANDLES.get(kind)?;
        if tracked {
            PyObject_GC_UnTrack(handle.as_ptr().cast());
        }
        let this = of(handle.as_ptr());
        this.owner.replace(Some(Obj::new(owner)));
        this.callback.replace(Some(Obj::new(callback)));
        this.args.replace(args_slot);
        this.context.replace(Some(context));
        this.count.set(args.len() as u32);
        this.cancelled.set(false);
        this.scheduled.set(false);
        this.kind.set(Kind::Once);
        this.running.set(false);
        Ok(handle)
    }
}

/// Records where the handle was made, for debug mode.
#[cold]
pub fn record_source(handle: &Obj) -> Res<()> {
    let frames = call(stdlib().helpers_extract_stack, &[])?;
    // SAFETY: a handle.
    let this = unsafe { of(handle.as_ptr()) };
    drop(this.with_extra(|extra| extra.source_traceback.replace(frames)));
    Ok(())
}

/// # Safety
/// `raw` is a handle.
#[inline(always)]
pub unsafe fn is_cancelled(raw: Raw) -> bool {
    // SAFETY: by the contract of this function.
    unsafe { of(raw).cancelled.get() }
}

/// # Safety
/// `raw` is a handle.
pub unsafe fn set_unscheduled(raw: Raw) {
    // SAFETY: by the contract of this function.
    unsafe { of(raw).scheduled.set(false) }
}

/// Takes leave of a handle that will not run again: if others hold it, it is theirs and the collector's from now on.
///
/// # Safety
/// `raw` is a handle.
#[inline(always)]
pub unsafe fn retire(raw: Raw) {
    // SAFETY: by the contract of this function.
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
/// `raw` is a handle; called from a `tp_traverse`.
pub unsafe fn traverse_queued(raw: Raw, visitor: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: by the contract of this function.
    unsafe {
        visit!(raw, visitor, arg);
        if PyObject_GC_IsTracked(raw) == 0 && refcount(raw) == 1 { tp_traverse(raw, visitor, arg) } else { 0 }
    }
}

unsafe extern "C" fn tp_traverse(raw: Raw, visitor: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: a slot of the type: the interpreter calls it with an instance.
    unsafe {
        visit!(Py_TYPE(raw).cast(), visitor, arg);
        let this = of(raw);
        for slot in [&this.callback, &this.args, &this.context, &this.owner] {
            visit!(slot.get(), visitor, arg);
        }
        if let Some(extra) = this.extra.visited() {
            visit_opt!(extra.source_traceback, visitor, arg);
        }
    }
    0
}

/// Keeps the loop: methods rely on it.
unsafe extern "C" fn tp_clear(raw: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded((), || unsafe {
        of(raw).forget();
        of(raw).context.clear();
    });
    0
}

impl Handle {
    /// Leaf code on what few handles have, which this one gets if it had none.
    fn with_extra<T>(&self, body: impl FnOnce(&mut Extra) -> T) -> T {
        self.extra.with(|extra| body(extra.get_or_insert_default()))
    }

    fn source_traceback(&self) -> Option<Obj> {
        self.extra.with(|extra| extra.as_ref().and_then(|extra| extra.source_traceback.clone()))
    }

    #[inline(always)]
    fn forget(&self) {
        self.callback.clear();
        self.args.clear();
        self.count.set(0);
    }

    /// The arguments as a tuple.
    fn args_tuple(&self) -> Res {
        match self.count.get() {
            0 => tuple(&[]),
            1 => tuple(&[self.args.get()]),
            _ => Ok(self.args.or_none()),
        }
    }

    fn state(&self) -> &LoopState {
        // SAFETY: handles are made for loops of ours only, and hold a reference to it.
        unsafe { &(*self.owner.get().cast::<LoopHead>()).state }
    }
}

/// Runs a handle in its context, unless it was cancelled. An exception of the callback goes to the loop's exception
/// handler; `Err` is an exception that must leave the loop.
///
/// # Safety
/// `handle` is a handle.
#[inline(always)]
pub unsafe fn run(handle: Obj) -> Res<()> {
    // SAFETY: by the contract of this function.
    unsafe {
        let this = of(handle.as_ptr());
        // Held here, since the callback may cancel its own handle.
        let (false, Some(callback), Some(context)) =
            (this.cancelled.get(), this.callback.share(), this.context.share())
        else {
            return Ok(());
        };
        run_once(&handle, this, || {
            let result = match context::enter(context.as_ptr()) {
                Err(Raised) => refused(callback.as_ptr(), this, &context),
                Ok(()) => {
                    let result = invoke(callback.as_ptr(), this);
                    context::exit(context.as_ptr());
                    result
                }
            };
            result.map(drop).or_else(|Raised| failed(&handle))
        })
    }
}

/// As `run`, but by a function that the program has put in place of `asyncio.Handle._run`. What that raises is raised.
///
/// # Safety
/// `handle` is a handle.
pub unsafe fn run_by(handle: &Obj, function: &Obj) -> Res<()> {
    // SAFETY: by the contract of this function.
    unsafe {
        let this = of(handle.as_ptr());
        if this.cancelled.get() {
            return Ok(());
        }
        run_once(handle, this, || call(function.as_ptr(), &[handle.as_ptr()]).map(drop))
    }
}

#[inline(always)]
unsafe fn run_once(handle: &Obj, this: &Handle, body: impl FnOnce() -> Res<()>) -> Res<()> {
    if this.kind.get() == Kind::ThreadSafe {
        this.running.set(thread_ident() == this.state().thread.get());
    }
    let result = body();
    if this.kind.get() != Kind::Repeats {
        // SAFETY: a handle, by the callers.
        unsafe { retire(handle.as_ptr()) };
        if this.running.get() {
            ended(this);
        }
    }
    result
}

/// A thread-safe handle has run: whoever waits for that goes on.
fn ended(this: &Handle) {
    this.running.set(false);
    if let Some(lock) = this.extra.with(|extra| extra.as_mut().and_then(|extra| extra.ended.take())) {
        let pending = error::take();
        if call_method(names().release, &[lock.as_ptr()]).is_err() {
            error::unraisable(lock.as_ptr());
        }
        error::restore(pending);
    }
}

/// Waits while a thread-safe handle runs in another thread, as asyncio's `_ThreadSafeHandle` does by a lock that each
/// of them has. In the thread that runs it there is nothing to wait for.
#[inline(always)]
fn wait_until_ended(this: &Handle) -> Res<()> {
    if this.running.get() { wait_for_other_thread(this) } else { Ok(()) }
}

#[cold]
fn wait_for_other_thread(this: &Handle) -> Res<()> {
    while this.running.get() && this.state().thread.get() != thread_ident() {
        let fresh = call(stdlib().allocate_lock, &[])?;
        call_method(names().acquire, &[fresh.as_ptr()])?;
        // Those calls may have let the callback end. From here to the wait, nothing can.
        if !this.running.get() {
            break;
        }
        let lock = this.with_extra(|extra| extra.ended.get_or_insert_with(|| fresh.clone()).clone());
        call_method(names().acquire, &[lock.as_ptr()])?;
        // For the next who waits.
        call_method(names().release, &[lock.as_ptr()])?;
    }
    Ok(())
}

/// The context was refused: it is entered already, or it is no context but something with its method `run`.
#[cold]
fn refused(callback: Raw, this: &Handle, context: &Obj) -> Res {
    if context::is_context(context.as_ptr()) {
        return Err(Raised);
    }
    error::clear();
    let args = this.args_tuple()?;
    // SAFETY: a live tuple, whose items are borrowed for the call.
    let items: Vec<Raw> =
        unsafe { (0..PyTuple_GET_SIZE(args.as_ptr())).map(|i| PyTuple_GET_ITEM(args.as_ptr(), i)).collect() };
    context::run_by_method(context.as_ptr(), callback, &items)
}

#[inline(always)]
unsafe fn invoke(callback: Raw, this: &Handle) -> Res {
    // SAFETY: called with an instance of the type, as every function of this file.
    unsafe {
        match this.count.get() {
            0 => Obj::steal(PyObject_CallNoArgs(callback)),
            1 => {
                let only = this.args.share();
                let args = [NULL, only.as_ref().map_or(NULL, Obj::as_ptr)];
                let count = 1 | PY_VECTORCALL_ARGUMENTS_OFFSET;
                Obj::steal(PyObject_Vectorcall(callback, args.as_ptr().add(1), count, NULL))
            }
            _ => {
                let args = this.args.or_none();
                Obj::steal(PyObject_Call(callback, args.as_ptr(), NULL))
            }
        }
    }
}

/// What `asyncio.Handle._run` does with an exception.
#[cold]
unsafe fn failed(handle: &Obj) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    error::take().map_or(Ok(()), |exception| report_failure(handle, exception))
}

/// Tells the loop's exception handler that the callback of `handle` raised.
pub fn report_failure(handle: &Obj, exception: Obj) -> Res<()> {
    // SAFETY: a handle.
    let this = unsafe { of(handle.as_ptr()) };
    let (callback, args) = (this.callback.or_none(), this.args_tuple()?);
    let message = callback_message(this.state(), callback.as_ptr(), args.as_ptr())?;
    let n = names();
    let mut pairs =
        vec![(n.message, message.as_ptr()), (n.exception, exception.as_ptr()), (n.handle, handle.as_ptr())];
    let frames = this.source_traceback();
    if let Some(frames) = &frames {
        pairs.push((n.source_traceback, frames.as_ptr()));
    }
    report_context(this.owner.get(), &pairs)
}

// ------------------------------------------------------------------------------------------------ the Python types

noargs!(py_cancel, |slf| {
    let this = of(slf);
    wait_until_ended(this)?;
    if this.cancelled.replace(true) {
        return Ok(none());
    }
    let state = this.state();
    if state.overrides.has(state.object, GET_DEBUG) || state.debug.get() {
        remember_repr(slf, this)?;
    }
    this.forget();
    if this.scheduled.get() {
        state.timer_cancelled();
    }
    Ok(none())
});

/// In debug mode a cancelled handle still shows what it was.
#[cold]
unsafe fn remember_repr(slf: Raw, this: &Handle) -> Res<()> {
    // SAFETY: called with an instance of the type, as every function of this file.
    unsafe {
        let debug = call_method_kw(names().get_debug, &[this.owner.get()], 1, NULL)?;
        if truth(debug.as_ptr())? {
            let text = Obj::steal(PyObject_Repr(slf))?;
            drop(this.with_extra(|extra| extra.repr.replace(text)));
        }
        Ok(())
    }
}

noargs!(py_cancelled, |slf| {
    wait_until_ended(of(slf))?;
    Ok(boolean(of(slf).cancelled.get()))
});
noargs!(py_get_context, |slf| Ok(of(slf).context.or_none()));
noargs!(py_when, |slf| float(of(slf).when.get()));

noargs!(py_run, |slf| {
    run(Obj::new(slf))?;
    Ok(none())
});

/// The class of asyncio that a handle passes for.
pub fn class_of(slf: Raw) -> Raw {
    // SAFETY: types are set at import.
    let types = unsafe { TYPES.get() };
    // SAFETY: live objects, under the GIL.
    match unsafe { Py_TYPE(slf) } {
        kind if kind == types.timer => stdlib().timer_handle_type,
        kind if kind == types.thread_safe => stdlib().thread_safe_handle_type,
        _ => stdlib().handle_type,
    }
}

/// The function of asyncio's own class for what is rare.
fn inherited(slf: Raw, name: &std::ffi::CStr) -> Res {
    // SAFETY: a live class and a NUL-terminated name.
    Obj::steal(unsafe { PyObject_GetAttrString(class_of(slf), name.as_ptr()) })
}

noargs!(py_repr_info, |slf| {
    let function = inherited(slf, c"_repr_info")?;
    call(function.as_ptr(), &[slf])
});

unsafe extern "C" fn tp_repr(slf: Raw) -> Raw {
    // SAFETY: a slot of the handle types.
    guarded(NULL, || ret(inherited(slf, c"__repr__").and_then(|function| call(function.as_ptr(), &[slf]))))
}

unsafe extern "C" fn tp_hash(slf: Raw) -> Py_hash_t {
    // SAFETY: a slot of the timer type: a timer hashes as the number that `when` gives.
    guarded(-1, || unsafe { float(of(slf).when.get()).map_or(-1, |when| PyObject_Hash(when.as_ptr())) })
}

unsafe extern "C" fn tp_richcompare(slf: Raw, other: Raw, op: c_int) -> Raw {
    // In the order of the interpreter's numbers for them.
    let names = [c"__lt__", c"__le__", c"__eq__", c"__ne__", c"__gt__", c"__ge__"];
    let name = names[(op as usize).min(5)];
    // SAFETY: a slot of the timer type.
    guarded(NULL, || ret(inherited(slf, name).and_then(|function| call(function.as_ptr(), &[slf, other]))))
}

getter!(get_class, |slf| Ok(Obj::new(class_of(slf))));
getter!(get_callback, |slf| Ok(of(slf).callback.or_none()));
getter!(get_args, |slf| {
    let this = of(slf);
    if this.callback.is_set() { this.args_tuple() } else { Ok(none()) }
});
getter!(get_cancelled, |slf| Ok(boolean(of(slf).cancelled.get())));
getter!(get_scheduled, |slf| Ok(boolean(of(slf).scheduled.get())));
getter!(get_when, |slf| float(of(slf).when.get()));
getter!(get_owner, |slf| Ok(of(slf).owner.or_none()));
getter!(get_private_context, |slf| Ok(of(slf).context.or_none()));
getter!(get_repr, |slf| {
    let text = of(slf).extra.with(|extra| extra.as_ref().and_then(|extra| extra.repr.clone()));
    Ok(text.unwrap_or_else(none))
});
getter!(get_source_traceback, |slf| Ok(of(slf).source_traceback().unwrap_or_else(none)));
setter!(set_source_traceback_attr, |slf, value| {
    let frames = if value.is_null() || is_none(value) { None } else { Some(Obj::new(value)) };
    drop(of(slf).with_extra(|extra| std::mem::replace(&mut extra.source_traceback, frames)));
    Ok(())
});

unsafe extern "C" fn tp_dealloc(slf: Raw) {
    // SAFETY: a slot of the type; nothing is done before `release`.
    guarded((), || unsafe { nesting::bounded(slf, release) });
}

unsafe fn release(slf: Raw) {
    // SAFETY: the last reference is gone; slots are emptied one by one, each before what it held is released.
    unsafe {
        let this = of(slf);
        PyObject_GC_UnTrack(slf.cast());
        if this.weakrefs.is_set() {
            PyObject_ClearWeakRefs(slf);
        }
        this.forget();
        this.context.clear();
        this.owner.clear();
        drop(this.extra.with(Option::take));
        HANDLES.put(slf, false);
    }
}

const WEAKREFS_AT: usize = std::mem::offset_of!(Handle, weakrefs);

fn common(name: &'static std::ffi::CStr) -> TypeDef {
    TypeDef::new(name, size_of::<Handle>() - size_of::<PyObject>())
        .flags(Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION)
        .slot(Py_tp_traverse, tp_traverse as *mut c_void)
        .slot(Py_tp_clear, tp_clear as *mut c_void)
        .slot(Py_tp_dealloc, tp_dealloc as *mut c_void)
        .slot(Py_tp_repr, tp_repr as *mut c_void)
        .offset_member(c"__weaklistoffset__", WEAKREFS_AT)
        .noargs(c"cancel", py_cancel, c"Cancel the callback; a second call does nothing.")
        .noargs(c"cancelled", py_cancelled, c"Return True if the callback was cancelled.")
        .noargs(c"get_context", py_get_context, c"Return the contextvars.Context of the callback.")
        .noargs(c"_run", py_run, c"Run the callback in its context.")
        .noargs(c"_repr_info", py_repr_info, c"The parts of the repr.")
        .get(c"__class__", get_class)
        .get(c"_callback", get_callback)
        .get(c"_args", get_args)
        .get(c"_cancelled", get_cancelled)
        .get(c"_loop", get_owner)
        .get(c"_context", get_private_context)
        .get(c"_repr", get_repr)
        .getset(c"_source_traceback", get_source_traceback, set_source_traceback_attr)
}

/// Makes the two types.
pub fn load() -> Res<()> {
    let handle = common(c"aioxide.Handle")
        .doc(c"A callback scheduled with call_soon, call_soon_threadsafe, add_reader or add_writer.")
        .build(NULL)?;
    let thread_safe = common(c"aioxide.ThreadSafeHandle")
        .doc(c"A callback scheduled with call_soon_threadsafe: cancel() waits while another thread runs it.")
        .build(NULL)?;
    let timer = common(c"aioxide.TimerHandle")
        .doc(c"A callback scheduled with call_later or call_at.")
        .slot(Py_tp_hash, tp_hash as *mut c_void)
        .slot(Py_tp_richcompare, tp_richcompare as *mut c_void)
        .noargs(c"when", py_when, c"Return the time when it is due, in seconds on the loop's clock.")
        .get(c"_when", get_when)
        .get(c"_scheduled", get_scheduled)
        .build(NULL)?;
    TYPES.set(Types { handle, thread_safe, timer });
    Ok(())
}

/// Whether `object` is a handle of ours.
pub fn is_handle(object: Raw) -> bool {
    // SAFETY: types are set at import.
    unsafe {
        let types = TYPES.get();
        [types.handle, types.thread_safe, types.timer].contains(&Py_TYPE(object))
    }
}
