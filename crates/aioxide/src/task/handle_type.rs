//! The Python types of handles. What is rare (`repr`, comparison) is asyncio's own code.

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use super::handle::{self, HANDLES, Handle, Types, types};
use super::handle_run::{run, wait_until_ended};
use super::overrides::GET_DEBUG;
use super::scheduled;
use crate::ffi::args::{Args, Overriding};
use crate::ffi::calls::{call, call_method};
use crate::ffi::class::{Class, Native};
use crate::ffi::guard::guarded;
use crate::ffi::names::{imported, interned, text};
use crate::ffi::object::{float, getattr, ret, truth};
use crate::ffi::{NULL, Obj, Raised, Raw, Ref, Res, nesting, none};

/// The method of asyncio's class that ours of this name stands for.
#[inline(always)]
fn base<'r>(this: &'r Handle, name: &'static CStr) -> Overriding<'r> {
    // SAFETY: the receiver, which is a handle.
    let class = |slf: Ref| class_of(unsafe { slf.cast_unchecked() });
    Overriding { receiver: this.object(), class, name }
}

fn cancel(this: &Handle, args: Args) -> Res<()> {
    args.none(base(this, c"cancel"))?;
    wait_until_ended(this)?;
    if this.cancelled.replace(true) {
        return Ok(());
    }
    let state = this.state();
    if state.overrides.has(state.object(), GET_DEBUG) || state.debug.get() {
        remember_repr(this)?;
    }
    // What was asked for may have let it run.
    this.settle();
    drop(this.place.cancel());
    this.forget();
    if this.scheduled.get() {
        scheduled::timer_cancelled(state);
    }
    Ok(())
}

/// In debug mode a cancelled handle still shows what it was.
#[cold]
fn remember_repr(this: &Handle) -> Res<()> {
    if truth(&call_method(interned().get_debug, &[this.state().object()])?)? {
        // SAFETY: a live object.
        let text = unsafe { Obj::steal(PyObject_Repr(this.object().as_ptr())) }?;
        drop(this.with_extra(|extra| extra.repr.replace(text)));
    }
    Ok(())
}

fn cancelled(this: &Handle, args: Args) -> Res<bool> {
    args.none(base(this, c"cancelled"))?;
    wait_until_ended(this)?;
    Ok(this.cancelled.get())
}

fn get_context(this: &Handle, args: Args) -> Res {
    args.none(base(this, c"get_context"))?;
    this.true_context()
}

fn when(this: &Handle, args: Args) -> Res {
    args.none(base(this, c"when"))?;
    float(this.when.get())
}

/// The class of asyncio that a handle passes for.
pub fn class_of(this: &Handle) -> Ref<'static> {
    let types = types();
    match this.object().type_of() {
        kind if kind == types.timer => imported().timer_handle_type,
        kind if kind == types.thread_safe => imported().thread_safe_handle_type,
        _ => imported().handle_type,
    }
}

/// What asyncio's own class does for what is rare.
fn inherited(this: &Handle, name: &CStr, args: &[Ref]) -> Res {
    call(&getattr(class_of(this), text(name)?)?, args)
}

/// # Safety
/// `slf` is a timer handle.
unsafe extern "C" fn tp_hash(slf: Raw) -> Py_hash_t {
    // SAFETY: a slot of the timer type: a timer hashes as the number that `when` gives.
    guarded(-1, || unsafe {
        match float(Ref::new(slf).cast_unchecked::<Handle>().when.get()) {
            Ok(when) => PyObject_Hash(when.as_ptr()),
            Err(Raised) => -1,
        }
    })
}

/// # Safety
/// `slf` is a timer handle, `other` a live object.
unsafe extern "C" fn tp_richcompare(slf: Raw, other: Raw, op: c_int) -> Raw {
    // In the order of the interpreter's numbers for them.
    let names = [c"__lt__", c"__le__", c"__eq__", c"__ne__", c"__gt__", c"__ge__"];
    let name = names[(op as usize).min(5)];
    // SAFETY: a slot of the timer type.
    let (this, other) = unsafe { (Ref::new(slf).cast_unchecked::<Handle>(), Ref::new(other)) };
    guarded(NULL, || ret(inherited(this, name, &[this.object(), other])))
}

fn get_callback(this: &Handle) -> Obj {
    this.settle();
    this.callback.or_none()
}

fn get_args(this: &Handle) -> Res {
    this.settle();
    if this.callback.is_set() { this.args_tuple() } else { Ok(none()) }
}

fn get_repr(this: &Handle) -> Obj {
    this.extra.with(|extra| extra.as_ref().and_then(|extra| extra.repr.clone())).unwrap_or_else(none)
}

fn set_source_traceback(this: &Handle, value: Option<Ref>) -> Res<()> {
    let frames = value.filter(|value| !value.is_none()).map(Ref::to_obj);
    drop(this.with_extra(|extra| std::mem::replace(&mut extra.source_traceback, frames)));
    Ok(())
}

/// # Safety
/// `slf` is a handle, to which no reference is left.
unsafe extern "C" fn tp_dealloc(slf: Raw) {
    // SAFETY: a slot of the type. Before `release`, which may come later, nothing leads to the handle any more.
    guarded((), || unsafe {
        Ref::new(slf).cast_unchecked::<Handle>().place.leave();
        nesting::bounded(slf, release);
    });
}

/// # Safety
/// As `tp_dealloc`; nothing of the loop leads to the handle any more.
unsafe fn release(slf: Raw) {
    // SAFETY: the last reference is gone; slots are emptied one by one, each before what it held is released.
    unsafe {
        let this: &Handle = Ref::new(slf).cast_unchecked();
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

fn common(name: &'static CStr, doc: &'static CStr) -> Class<Handle> {
    Class::<Handle>::new(name)
        .collected_by(tp_dealloc)
        .fast(c"cancel", cancel, c"Cancel the callback; a second call does nothing.")
        .fast(c"cancelled", cancelled, c"Return True if the callback was cancelled.")
        .fast(c"get_context", get_context, c"Return the contextvars.Context of the callback.")
        // SAFETY: a handle.
        .noargs(c"_run", |this| unsafe { run(this.object().to_obj()) }, c"Run the callback in its context.")
        .noargs(
            c"_repr_info",
            |this| inherited(this, c"_repr_info", &[this.object()]),
            c"The parts of the repr.",
        )
        .unary(Py_tp_repr, |this| inherited(this, c"__repr__", &[this.object()]))
        .get(c"__class__", |this| class_of(this).to_obj())
        .get(c"_callback", get_callback)
        .get(c"_args", get_args)
        .get(c"_cancelled", |this| this.cancelled.get())
        .get(c"_loop", |this| this.owner.or_none())
        .get(c"_context", Handle::true_context)
        .get(c"_repr", get_repr)
        .getset(
            c"_source_traceback",
            |this| this.source_traceback().unwrap_or_else(none),
            set_source_traceback,
        )
        .also(|def| {
            def.flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
                .doc(doc)
                .offset_member(c"__weaklistoffset__", WEAKREFS_AT)
        })
}

/// Makes the two types.
pub fn load() -> Res<()> {
    let handle = common(
        c"aioxide.Handle",
        c"A callback scheduled with call_soon, call_soon_threadsafe, add_reader or add_writer.",
    );
    let thread_safe = common(
        c"aioxide.events._ThreadSafeHandle",
        c"A callback scheduled with call_soon_threadsafe: cancel() waits while another thread runs it.",
    );
    let timer = common(c"aioxide.TimerHandle", c"A callback scheduled with call_later or call_at.")
        .fast(c"when", when, c"Return the time when it is due, in seconds on the loop's clock.")
        .get(c"_when", |this| float(this.when.get()))
        .get(c"_scheduled", |this| this.scheduled.get())
        .also(|def| {
            def.slot(Py_tp_hash, tp_hash as *mut c_void)
                .slot(Py_tp_richcompare, tp_richcompare as *mut c_void)
        });
    let (handle, thread_safe, timer) = (handle.build(None)?, thread_safe.build(None)?, timer.build(None)?);
    handle::set_types(Types { handle, thread_safe, timer });
    Ok(())
}
