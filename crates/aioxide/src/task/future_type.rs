//! The Python type `aioxide.Future`, a real subclass of `_asyncio.Future` of which nothing is used but its place in
//! memory: every method and attribute of the base is overridden here, since the base's own fields stay empty.

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use super::future::{Future, State, given, of, of_plain};
use super::loop_state::LoopState;
use super::marks::Mark;
use super::report::{aside, report_made};
use super::task::{self, raw_or_null};
use super::{cancel, classes, iter, waiters};
use crate::ffi::args::{Args, Overriding, bind_init, refuse_init};
use crate::ffi::compat::{self, layout};
use crate::ffi::freelist::FreeList;
use crate::ffi::guard::{fastcall, getter, guarded, noargs, overriding, setter};
use crate::ffi::names::stdlib;
use crate::ffi::object::{boolean, call, check, int, ret, string, truth, tuple};
use crate::ffi::typedef::{TypeDef, size_of_type};
use crate::ffi::{NULL, Obj, Raw, Res, error, names, nesting, none, snapshot};

static FREE: FreeList = FreeList::new();

/// A new pending future of a loop of ours.
#[inline(always)]
pub fn new(state: &LoopState) -> Res {
    // SAFETY: the list holds futures of exactly this type, whose fields were emptied.
    unsafe {
        let (made, tracked) = FREE.get(classes::future())?;
        of_plain(made.as_ptr()).bind(state);
        if !tracked {
            PyObject_GC_Track(made.as_ptr().cast());
        }
        Ok(made)
    }
}

/// The loop that was given, or the current one as asyncio finds it.
pub fn loop_or_current(owner: Raw) -> Res {
    let owner = given(owner);
    if owner.is_null() { call(stdlib().get_event_loop, &[]) } else { Ok(Obj::new(owner)) }
}

/// # Safety
/// `slf` is a future of ours, `args` a tuple, `kwargs` a dict or null.
unsafe extern "C" fn tp_init(slf: Raw, args: Raw, kwargs: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded(-1, || unsafe {
        let init = || -> Res<()> {
            let mut values = [NULL];
            if !bind_init(args, kwargs, &[names().loop_], 0, &mut values)? {
                return refuse_init(slf, args, kwargs, stdlib().future_type);
            }
            let owner = loop_or_current(values[0])?;
            of(slf).init(slf, owner.as_ptr())
        };
        if init().is_ok() { 0 } else { -1 }
    })
}

// ------------------------------------------------------------------------------------------------------- methods

/// The method of `_asyncio.Future` or `Task` that ours of this name stands for.
#[inline(always)]
pub fn base(receiver: Raw, name: &'static CStr) -> Overriding {
    Overriding { receiver, class: base_class, name }
}

fn base_class(receiver: Raw) -> Raw {
    let task = stdlib().task_type;
    // SAFETY: a live object has a type.
    let is_task = compat::is_subtype(unsafe { Py_TYPE(receiver) }, task.cast());
    if is_task { task } else { stdlib().future_type }
}

/// What `result` and `exception` raise where `__init__` never ran.
fn check_initialised(this: &Future) -> Res<()> {
    if this.owner.is_set() {
        return Ok(());
    }
    error::raise(stdlib().invalid_state_error, c"Future object is not initialized.")
}

noargs!(py_result, |slf| {
    check_initialised(of(slf))?;
    of(slf).result()
});

fastcall!(py_exception, |slf, args| {
    takes_none(slf, &args, c"exception")?;
    check_initialised(of(slf))?;
    Ok(of(slf).exception()?.unwrap_or_else(none))
});

overriding!(py_set_result, base, c"set_result", |slf, value| {
    of(slf).check_alive()?;
    waiters::wake(slf, of(slf).set_result(Obj::new(value))?)?;
    Ok(none())
});

overriding!(py_set_exception, base, c"set_exception", |slf, value| {
    of(slf).check_alive()?;
    waiters::wake(slf, of(slf).set_exception(value)?)?;
    Ok(none())
});

fastcall!(pub_add_done_callback, |slf, args| {
    let this = of(slf);
    args.require(&["fn"], base(slf, c"add_done_callback"))?;
    args.at_most(1, base(slf, c"add_done_callback"))?;
    let given = args.only_keyword(names().context, base(slf, c"add_done_callback"))?;
    if !this.owner.is_set() {
        return error::runtime_error(c"uninitialized Future object");
    }
    let context = snapshot::given_or_current(given)?;
    waiters::add_callback(slf, this, Obj::new(args.positional()[0]), context)?;
    Ok(none())
});

overriding!(pub_remove_done_callback, base, c"remove_done_callback", |slf, callback| {
    of(slf).check_alive()?;
    int(waiters::remove_callback(of(slf), callback)? as i64)
});

fastcall!(py_cancel, |slf, args| {
    of(slf).check_alive()?;
    let mut message = [NULL];
    args.bind(&[names().msg], 1, &mut message, base(slf, c"cancel"))?;
    Ok(boolean(cancel::end(slf, of(slf), message[0])?))
});

noargs!(pub_cancelled, |slf| Ok(boolean(of(slf).state() == State::Cancelled)));
noargs!(pub_done, |slf| Ok(boolean(of(slf).owner.is_set() && !of(slf).is_pending())));

/// What takes no arguments: 3.12's `_asyncio` does not look at keywords there.
fn takes_none(slf: Raw, args: &Args, name: &'static CStr) -> Res<()> {
    let ignored = cfg!(all(Py_3_12, not(Py_3_13))) && args.len() == 0;
    if ignored { Ok(()) } else { args.none(base(slf, name)) }
}

fastcall!(pub_get_loop, |slf, args| {
    takes_none(slf, &args, c"get_loop")?;
    of(slf).check_alive()?;
    Ok(of(slf).owner.or_none())
});

noargs!(pub_make_cancelled_error, |slf| of(slf).make_cancelled_error());

/// # Safety
/// `slf` is a future of ours.
unsafe extern "C" fn tp_iter(slf: Raw) -> Raw {
    // SAFETY: a slot of the type.
    guarded(NULL, || unsafe { ret(of(slf).check_alive().and_then(|()| iter::new(slf))) })
}

/// # Safety
/// `slf` is a future of ours.
unsafe extern "C" fn tp_repr(slf: Raw) -> Raw {
    // SAFETY: a slot of the type.
    guarded(NULL, || unsafe { ret(of(slf).check_alive().and_then(|()| call(stdlib().future_repr, &[slf]))) })
}

// ---------------------------------------------------------------------------------------------------- attributes

getter!(get_blocking, |slf| Ok(boolean(of(slf).blocking.get())));
setter!(set_blocking, |slf, value| {
    refuse_delete(value)?;
    of(slf).check_alive()?;
    of(slf).blocking.set(truth(value)?);
    Ok(())
});

fn refuse_delete(value: Raw) -> Res<()> {
    if !value.is_null() {
        return Ok(());
    }
    // SAFETY: reads a static of the interpreter.
    error::raise(unsafe { PyExc_AttributeError }, c"cannot delete attribute")
}

getter!(get_log_traceback, |slf| {
    of(slf).check_alive()?;
    Ok(boolean(of(slf).log_traceback.get()))
});
setter!(set_log_traceback, |slf, value| {
    refuse_delete(value)?;
    if truth(value)? {
        return error::value_error(c"_log_traceback can only be set to False");
    }
    of(slf).log_traceback.set(false);
    Ok(())
});

getter!(get_state, |slf| {
    of(slf).check_alive()?;
    string(match of(slf).state() {
        State::Pending => "PENDING",
        State::Cancelled => "CANCELLED",
        State::Returned | State::Raised => "FINISHED",
    })
});

getter!(get_owner, |slf| Ok(of(slf).owner.or_none()));

getter!(get_result, |slf| {
    of(slf).check_alive()?;
    let this = of(slf);
    Ok(if this.state() == State::Returned { this.outcome() } else { None }.unwrap_or_else(none))
});

getter!(get_exception, |slf| {
    of(slf).check_alive()?;
    let this = of(slf);
    Ok(if this.state() == State::Raised { this.outcome() } else { None }.unwrap_or_else(none))
});

getter!(get_source_traceback, |slf| Ok(of(slf).source_traceback().unwrap_or_else(none)));

getter!(get_cancel_message, |slf| Ok(of(slf).cancel_message().unwrap_or_else(none)));
setter!(set_cancel_message, |slf, value| {
    refuse_delete(value)?;
    of(slf).set_cancel_message(value);
    Ok(())
});

getter!(get_callbacks, |slf| {
    of(slf).check_alive()?;
    let waiters = of(slf).waiters();
    if waiters.is_empty() {
        return Ok(none());
    }
    let list = Obj::steal(PyList_New(0))?;
    for waiter in waiters {
        let (callback, context) = waiters::shown(waiter)?;
        let pair = tuple(&[callback.as_ptr(), context.as_ptr()])?;
        check(PyList_Append(list.as_ptr(), pair.as_ptr()))?;
    }
    Ok(list)
});

getter!(get_awaited_by, |slf| {
    let Some(at) = layout().awaited_by else { return Ok(none()) };
    let awaited_by = task::base_slot(slf, at).get();
    if awaited_by.is_null() {
        return Ok(none());
    }
    // One awaiter stands there itself, several in a set.
    let all = Obj::steal(PyFrozenSet_New(if PyAnySet_Check(awaited_by) != 0 { awaited_by } else { NULL }))?;
    if PyAnySet_Check(awaited_by) == 0 {
        check(PySet_Add(all.as_ptr(), awaited_by))?;
    }
    Ok(all)
});

// ------------------------------------------------------------------------------------------- the end of a future

/// "... exception was never retrieved".
///
/// # Safety
/// `slf` is an instance of our Future or Task.
pub unsafe fn report_unretrieved(slf: Raw) {
    // SAFETY: the object is alive: its finaliser runs, or its caller holds it.
    unsafe {
        let this = of(slf);
        if !this.log_traceback.replace(false) || !this.owner.is_set() {
            return;
        }
        let exception = this.outcome();
        let report = || -> Res<()> {
            let class = Py_TYPE(slf).cast();
            let name = crate::ffi::object::getattr(class, names().dunder_name)?;
            let text = PyUnicode_FromFormat(c"%S exception was never retrieved".as_ptr(), name.as_ptr());
            let message = Obj::steal(text)?;
            let pairs = [(names().exception, raw_or_null(&exception)), (names().future, slf)];
            report(slf, message, &pairs)
        };
        aside(slf, report);
    }
}

/// Tells the loop's exception handler, with the traceback of where the object was made.
///
/// # Safety
/// As `report_unretrieved`.
pub unsafe fn report(slf: Raw, message: Obj, pairs: &[(Raw, Raw)]) -> Res<()> {
    // SAFETY: as the caller says.
    let this = unsafe { of(slf) };
    let all = [pairs, &[(names().message, message.as_ptr())]].concat();
    report_made(this.owner.get(), &all, this.source_traceback())
}

/// # Safety
/// `slf` is a future of ours.
unsafe extern "C" fn tp_finalize(slf: Raw) {
    // SAFETY: a slot of the type.
    guarded((), || unsafe {
        of(slf).marks.put(Mark::Finalised, true);
        report_unretrieved(slf)
    });
}

/// # Safety
/// `slf` is a future of ours; the visitor is the collector's, which runs no Python.
unsafe extern "C" fn tp_traverse(slf: Raw, visit: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: a slot of the type: the interpreter calls it with an instance.
    unsafe { traverse_with_base(slf, of_plain(slf), stdlib().future_type, visit, arg) }
}

/// Visits the base's fields, which foreign code may have filled, the type, the `__dict__`, and ours.
///
/// # Safety
/// Called from a `tp_traverse`; `this` is the body of `slf`, and `base` the base of its type.
pub unsafe fn traverse_with_base(
    slf: Raw,
    this: &Future,
    base: Raw,
    visit: visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the base's own function is given what it would get as `tp_traverse` of the base.
    unsafe {
        if let Some(traverse) = (*base.cast::<PyTypeObject>()).tp_traverse {
            let stop = traverse(slf, visit, arg);
            if stop != 0 {
                return stop;
            }
        }
        this.traverse(visit, arg)
    }
}

/// # Safety
/// `slf` is a future of ours.
unsafe extern "C" fn tp_clear(slf: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded((), || unsafe {
        clear_base(slf, stdlib().future_type);
        of_plain(slf).release();
    });
    0
}

/// Empties the base's fields by the base's own function.
///
/// # Safety
/// `base` is the base of the type of `slf`.
pub unsafe fn clear_base(slf: Raw, base: Raw) {
    // SAFETY: the base's own function is given what it would get as `tp_clear` of the base.
    unsafe {
        if let Some(clear) = (*base.cast::<PyTypeObject>()).tp_clear {
            clear(slf);
        }
    }
}

/// Empties the base's fields if any of them is not empty: rarely so, since only foreign code writes there. Says whether
/// it was.
///
/// # Safety
/// As `clear_base`; `size` is the base's size.
#[inline(always)]
pub unsafe fn clear_base_if_used(slf: Raw, base: Raw, size: usize) -> bool {
    // SAFETY: the base's fields end at `size`, and the offsets in them were found at import.
    unsafe {
        compat::clear_managed_dict(slf);
        if let Some(is_task) = layout().is_task {
            *slf.cast::<u8>().add(is_task) = 0;
        }
        let fields = std::slice::from_raw_parts(slf.cast::<u64>().add(2), size / 8 - 2);
        // All of them, without a branch for each.
        let used = fields.iter().fold(0, |bits, word| bits | word) != 0;
        if used {
            clear_base(slf, base);
        }
        used
    }
}

/// # Safety
/// `slf` is a future of ours, to which no reference is left.
unsafe extern "C" fn tp_dealloc(slf: Raw) {
    // SAFETY: a slot of the type; nothing is done before `release`.
    guarded((), || unsafe { nesting::bounded(slf, release) });
}

/// # Safety
/// As `tp_dealloc`.
unsafe fn release(slf: Raw) {
    // SAFETY: the last reference is gone, unless the finaliser makes a new one.
    unsafe {
        let this = of_plain(slf);
        if this.log_traceback.get() && PyObject_CallFinalizerFromDealloc(slf) < 0 {
            return;
        }
        PyObject_GC_UnTrack(slf.cast());
        compat::clear_weakrefs(slf, classes::future());
        this.release();
        this.release_owner();
        clear_base_if_used(slf, stdlib().future_type, size_of_type(stdlib().future_type));
        if Py_TYPE(slf) == classes::future() {
            FREE.put(slf, this.marks.has(Mark::Finalised));
        } else {
            free_subclass(slf);
        }
    }
}

/// Frees an instance of a subclass.
///
/// # Safety
/// The end of a `tp_dealloc`.
pub unsafe fn free_subclass(slf: Raw) {
    // SAFETY: nobody has the object any more; an instance of a heap type owns a reference to it.
    unsafe {
        let kind = Py_TYPE(slf);
        PyObject_GC_Del(slf.cast());
        Py_DECREF(kind.cast());
    }
}

/// The attributes and methods that Future and Task have in common.
pub fn common(def: TypeDef) -> TypeDef {
    let def = def
        .slot(Py_tp_iter, tp_iter as *mut c_void)
        .slot(Py_am_await, tp_iter as *mut c_void)
        .noargs(
            c"result",
            py_result,
            c"Return the result; raise the exception, CancelledError or InvalidStateError.",
        )
        .fast(c"exception", py_exception, c"Return the exception that was set, or None.")
        .fast(c"add_done_callback", pub_add_done_callback, c"Call fn(self) when done, in the given context.")
        .fast(
            c"remove_done_callback",
            pub_remove_done_callback,
            c"Remove all instances of a callback; return how many.",
        )
        .noargs(c"cancelled", pub_cancelled, c"Return True if it was cancelled.")
        .noargs(c"done", pub_done, c"Return True if it is done: result, exception or cancellation.")
        .fast(c"get_loop", pub_get_loop, c"Return the event loop it is bound to.")
        .noargs(c"_make_cancelled_error", pub_make_cancelled_error, c"Return the CancelledError to raise.")
        .getset(c"_asyncio_future_blocking", get_blocking, set_blocking)
        .getset(c"_log_traceback", get_log_traceback, set_log_traceback)
        .getset(c"_cancel_message", get_cancel_message, set_cancel_message)
        .get(c"_state", get_state)
        .get(c"_loop", get_owner)
        .get(c"_result", get_result)
        .get(c"_exception", get_exception)
        .get(c"_source_traceback", get_source_traceback)
        .get(c"_callbacks", get_callbacks);
    if cfg!(Py_3_14) { def.get(c"_asyncio_awaited_by", get_awaited_by) } else { def }
}

const DOC: &CStr =
    c"Future(*, loop=None)\n--\n\nThe result of an operation, when it is there: asyncio.Future, native.";

pub fn load() -> Res<()> {
    let padding = layout().future_body - size_of_type(stdlib().future_type);
    let def = TypeDef::new(c"aioxide.Future", padding + size_of::<Future>())
        .flags(Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE)
        .doc(DOC)
        .slot(Py_tp_init, tp_init as *mut c_void)
        .collector(tp_traverse, tp_clear, tp_dealloc)
        .slot(Py_tp_finalize, tp_finalize as *mut c_void)
        .slot(Py_tp_repr, tp_repr as *mut c_void)
        .fast(c"set_result", py_set_result, c"Mark it done with a result.")
        .fast(c"set_exception", py_set_exception, c"Mark it done with an exception.")
        .fast(c"cancel", py_cancel, c"Cancel it; return False if it was done already.");
    let made = common(def).build(stdlib().future_type)?;
    classes::set_future(made);
    Ok(())
}
