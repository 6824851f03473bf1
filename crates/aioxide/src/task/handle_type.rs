//! The Python types of handles. What is rare (`repr`, comparison) is asyncio's own code.

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use super::handle::{self, HANDLES, Handle, Types, of, tp_clear, tp_traverse, types};
use super::handle_run::{run, wait_until_ended};
use super::overrides::GET_DEBUG;
use super::scheduled;
use crate::ffi::args::Overriding;
use crate::ffi::guard::{getter, guarded, noargs, overriding, setter};
use crate::ffi::names::stdlib;
use crate::ffi::object::{boolean, call, call_method_kw, float, is_none, ret, truth};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{NULL, Obj, Raised, Raw, Res, names, nesting, none};

/// The method of asyncio's class that ours of this name stands for.
#[inline(always)]
fn base(receiver: Raw, name: &'static CStr) -> Overriding {
    Overriding { receiver, class: class_of, name }
}

overriding!(py_cancel, base, c"cancel", |slf| {
    let this = of(slf);
    wait_until_ended(this)?;
    if this.cancelled.replace(true) {
        return Ok(none());
    }
    let state = this.state();
    if state.overrides.has(state.object, GET_DEBUG) || state.debug.get() {
        remember_repr(slf, this)?;
    }
    // What was asked for may have let it run.
    this.settle();
    drop(this.place.cancel());
    this.forget();
    if this.scheduled.get() {
        scheduled::timer_cancelled(state);
    }
    Ok(none())
});

/// In debug mode a cancelled handle still shows what it was.
///
/// # Safety
/// `slf` is a handle, and `this` its fields.
#[cold]
unsafe fn remember_repr(slf: Raw, this: &Handle) -> Res<()> {
    // SAFETY: the caller has the handle, which has its loop.
    unsafe {
        let debug = call_method_kw(names().get_debug, &[this.owner.get()], 1, NULL)?;
        if truth(debug.as_ptr())? {
            let text = Obj::steal(PyObject_Repr(slf))?;
            drop(this.with_extra(|extra| extra.repr.replace(text)));
        }
        Ok(())
    }
}

overriding!(py_cancelled, base, c"cancelled", |slf| {
    wait_until_ended(of(slf))?;
    Ok(boolean(of(slf).cancelled.get()))
});
overriding!(py_get_context, base, c"get_context", |slf| of(slf).true_context());
overriding!(py_when, base, c"when", |slf| float(of(slf).when.get()));

noargs!(py_run, |slf| {
    run(Obj::new(slf))?;
    Ok(none())
});

/// The class of asyncio that a handle passes for.
///
/// # Safety
/// `slf` is a handle.
pub fn class_of(slf: Raw) -> Raw {
    let types = types();
    // SAFETY: live objects, under the GIL.
    match unsafe { Py_TYPE(slf) } {
        kind if kind == types.timer => stdlib().timer_handle_type,
        kind if kind == types.thread_safe => stdlib().thread_safe_handle_type,
        _ => stdlib().handle_type,
    }
}

/// The function of asyncio's own class for what is rare.
fn inherited(slf: Raw, name: &CStr) -> Res {
    // SAFETY: a handle, a live class and a NUL-terminated name.
    Obj::steal(unsafe { PyObject_GetAttrString(class_of(slf), name.as_ptr()) })
}

noargs!(py_repr_info, |slf| {
    let function = inherited(slf, c"_repr_info")?;
    call(function.as_ptr(), &[slf])
});

/// # Safety
/// `slf` is a handle.
unsafe extern "C" fn tp_repr(slf: Raw) -> Raw {
    // SAFETY: a slot of the handle types.
    guarded(NULL, || ret(inherited(slf, c"__repr__").and_then(|function| call(function.as_ptr(), &[slf]))))
}

/// # Safety
/// `slf` is a timer handle.
unsafe extern "C" fn tp_hash(slf: Raw) -> Py_hash_t {
    // SAFETY: a slot of the timer type: a timer hashes as the number that `when` gives.
    guarded(-1, || unsafe {
        match float(of(slf).when.get()) {
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
    guarded(NULL, || ret(inherited(slf, name).and_then(|function| call(function.as_ptr(), &[slf, other]))))
}

getter!(get_class, |slf| Ok(Obj::new(class_of(slf))));
getter!(get_callback, |slf| {
    of(slf).settle();
    Ok(of(slf).callback.or_none())
});
getter!(get_args, |slf| {
    let this = of(slf);
    this.settle();
    if this.callback.is_set() { this.args_tuple() } else { Ok(none()) }
});
getter!(get_cancelled, |slf| Ok(boolean(of(slf).cancelled.get())));
getter!(get_scheduled, |slf| Ok(boolean(of(slf).scheduled.get())));
getter!(get_when, |slf| float(of(slf).when.get()));
getter!(get_owner, |slf| Ok(of(slf).owner.or_none()));
getter!(get_private_context, |slf| of(slf).true_context());
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

/// # Safety
/// `slf` is a handle, to which no reference is left.
unsafe extern "C" fn tp_dealloc(slf: Raw) {
    // SAFETY: a slot of the type. Before `release`, which may come later, nothing leads to the handle any more.
    guarded((), || unsafe {
        of(slf).place.leave();
        nesting::bounded(slf, release);
    });
}

/// # Safety
/// As `tp_dealloc`; nothing of the loop leads to the handle any more.
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

fn common(name: &'static CStr) -> TypeDef {
    TypeDef::new(name, size_of::<Handle>() - size_of::<PyObject>())
        .flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
        .collector(tp_traverse, tp_clear, tp_dealloc)
        .slot(Py_tp_repr, tp_repr as *mut c_void)
        .offset_member(c"__weaklistoffset__", WEAKREFS_AT)
        .fast(c"cancel", py_cancel, c"Cancel the callback; a second call does nothing.")
        .fast(c"cancelled", py_cancelled, c"Return True if the callback was cancelled.")
        .fast(c"get_context", py_get_context, c"Return the contextvars.Context of the callback.")
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
        .fast(c"when", py_when, c"Return the time when it is due, in seconds on the loop's clock.")
        .get(c"_when", get_when)
        .get(c"_scheduled", get_scheduled)
        .build(NULL)?;
    handle::set_types(Types { handle, thread_safe, timer });
    Ok(())
}
