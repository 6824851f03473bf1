//! The Python type `aioxide.Future`, a real subclass of `_asyncio.Future` of which nothing is used but its place in
//! memory: every method and attribute of the base is overridden here, since the base's own fields stay empty.

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use super::future::{Future, FutureHead, State, given, of_plain};
use super::loop_state::LoopState;
use super::marks::Mark;
use super::report::{aside, report_made};
use super::{cancel, classes, docs, iter, task, waiters};
use crate::ffi::args::{Args, Overriding, bind_init, refuse_init};
use crate::ffi::calls::{call, tuple};
use crate::ffi::class::{Class, Native};
use crate::ffi::compat::{self, layout};
use crate::ffi::freelist::FreeList;
use crate::ffi::guard::guarded;
use crate::ffi::names::{imported, interned};
use crate::ffi::object::{check, getattr, int, string, truth};
use crate::ffi::typedef::size_of_type;
use crate::ffi::{NULL, Obj, Raw, Ref, Res, builtin, error, nesting, none, snapshot};

static FREE: FreeList = FreeList::new();

/// A new pending future of a loop of ours.
#[inline(always)]
pub fn new(state: &LoopState) -> Res {
    // SAFETY: the list holds futures of exactly this type, whose fields were emptied.
    unsafe {
        let (made, tracked) = FREE.get(classes::future())?;
        of_plain(made.borrow()).bind(state);
        if !tracked {
            PyObject_GC_Track(made.as_ptr().cast());
        }
        Ok(made)
    }
}

/// The loop that was given, or the current one as asyncio finds it.
pub fn loop_or_current(owner: Option<Ref>) -> Res {
    given(owner).map_or_else(|| call(imported().get_event_loop, &[]), |owner| Ok(owner.to_obj()))
}

/// # Safety
/// `slf` is a future of ours, `args` a tuple, `kwargs` a dict or null.
unsafe extern "C" fn tp_init(slf: Raw, args: Raw, kwargs: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded(-1, || unsafe {
        let init = || -> Res<()> {
            let Some([owner]) = bind_init(args, kwargs, [interned().loop_], 0)? else {
                return refuse_init(slf, args, kwargs, imported().future_type);
            };
            let owner = loop_or_current(owner)?;
            let this: &FutureHead = Ref::new(slf).cast_unchecked();
            this.init(this.object(), owner.borrow())
        };
        if init().is_ok() { 0 } else { -1 }
    })
}

// ------------------------------------------------------------------------------------------------------- methods

/// The method of `_asyncio.Future` or `Task` that ours of this name stands for.
#[inline(always)]
pub fn base<'r>(receiver: Ref<'r>, name: &'static CStr) -> Overriding<'r> {
    Overriding { receiver, class: base_class, name }
}

fn base_class(receiver: Ref) -> Ref<'static> {
    let task = imported().task_type;
    let is_task = compat::is_subtype(receiver.type_of(), task.as_ptr().cast());
    if is_task { task } else { imported().future_type }
}

/// What `result` and `exception` raise where `__init__` never ran.
fn check_initialised(this: &Future) -> Res<()> {
    if this.owner.is_set() {
        return Ok(());
    }
    error::raise(imported().invalid_state_error, c"Future object is not initialized.")
}

fn result(this: &FutureHead) -> Res {
    let this: &Future = this;
    check_initialised(this)?;
    this.result()
}

fn exception(this: &FutureHead, args: Args) -> Res {
    takes_none(this, args, c"exception")?;
    check_initialised(this)?;
    Ok(this.exception()?.unwrap_or_else(none))
}

fn set_result(this: &FutureHead, args: Args) -> Res<()> {
    let (slf, this): (_, &Future) = (this.object(), this);
    let value = args.one(base(slf, c"set_result"))?;
    this.check_alive()?;
    waiters::wake(slf, this.set_result(value.to_obj())?)
}

fn set_exception(this: &FutureHead, args: Args) -> Res<()> {
    let value = args.one(base(this.object(), c"set_exception"))?;
    this.check_alive()?;
    waiters::wake(this.object(), this.set_exception(value)?)
}

fn add_done_callback(this: &FutureHead, args: Args) -> Res<()> {
    let base = base(this.object(), c"add_done_callback");
    let [callback] = args.first(["fn"], base)?;
    args.at_most(1, base)?;
    let given = args.only(interned().context, base)?;
    if !this.owner.is_set() {
        return error::runtime_error(c"uninitialized Future object");
    }
    let context = snapshot::given_or_current(given)?;
    waiters::add_callback(this.object(), this, callback.to_obj(), context)
}

fn remove_done_callback(this: &FutureHead, args: Args) -> Res {
    let callback = args.one(base(this.object(), c"remove_done_callback"))?;
    this.check_alive()?;
    int(waiters::remove_callback(this, callback)? as i64)
}

fn py_cancel(this: &FutureHead, args: Args) -> Res<bool> {
    this.check_alive()?;
    let [message] = args.bound([interned().msg], 1, base(this.object(), c"cancel"))?;
    cancel::end(this.object(), this, message)
}

fn done(this: &FutureHead) -> bool {
    let this: &Future = this;
    this.owner.is_set() && !this.is_pending()
}

/// What takes no arguments: 3.12's `_asyncio` does not look at keywords there.
fn takes_none(this: &FutureHead, args: Args, name: &'static CStr) -> Res<()> {
    let ignored = cfg!(all(Py_3_12, not(Py_3_13))) && args.len() == 0;
    if ignored { Ok(()) } else { args.none(base(this.object(), name)) }
}

fn get_loop(this: &FutureHead, args: Args) -> Res {
    takes_none(this, args, c"get_loop")?;
    this.check_alive()?;
    Ok(this.owner.or_none())
}

fn iterator(this: &FutureHead) -> Res {
    this.check_alive()?;
    iter::new(this)
}

fn repr(this: &FutureHead) -> Res {
    this.check_alive()?;
    call(imported().future_repr, &[this.object()])
}

// ---------------------------------------------------------------------------------------------------- attributes

fn set_blocking(this: &FutureHead, value: Option<Ref>) -> Res<()> {
    let value = kept(value)?;
    this.check_alive()?;
    this.blocking.set(truth(value)?);
    Ok(())
}

/// The value for an attribute that cannot be deleted.
pub fn kept(value: Option<Ref>) -> Res<Ref> {
    value.map_or_else(|| error::raise(builtin::attribute_error(), c"cannot delete attribute"), Ok)
}

fn get_log_traceback(this: &FutureHead) -> Res<bool> {
    this.check_alive()?;
    Ok(this.log_traceback.get())
}

fn set_log_traceback(this: &FutureHead, value: Option<Ref>) -> Res<()> {
    if truth(kept(value)?)? {
        return error::value_error(c"_log_traceback can only be set to False");
    }
    this.log_traceback.set(false);
    Ok(())
}

fn get_state(this: &FutureHead) -> Res {
    this.check_alive()?;
    string(match this.state() {
        State::Pending => "PENDING",
        State::Cancelled => "CANCELLED",
        State::Returned | State::Raised => "FINISHED",
    })
}

/// The outcome, if it came about by `state`.
fn outcome(this: &Future, state: State) -> Res {
    this.check_alive()?;
    Ok(if this.state() == state { this.outcome() } else { None }.unwrap_or_else(none))
}

fn get_callbacks(this: &FutureHead) -> Res {
    this.check_alive()?;
    let waiters = this.waiters();
    if waiters.is_empty() {
        return Ok(none());
    }
    // SAFETY: plain constructor.
    let list = unsafe { Obj::steal(PyList_New(0)) }?;
    for waiter in waiters {
        let (callback, context) = waiters::shown(waiter)?;
        let pair = tuple(&[callback.borrow(), context.borrow()])?;
        // SAFETY: a list that nobody else knows, and a live object.
        check(unsafe { PyList_Append(list.as_ptr(), pair.as_ptr()) })?;
    }
    Ok(list)
}

fn get_awaited_by(this: &FutureHead) -> Res {
    let Some(at) = layout().awaited_by else { return Ok(none()) };
    // SAFETY: one of ours, in whose base the offset was found.
    let Some(awaited_by) = unsafe { task::base_slot(this.object(), at) }.share() else { return Ok(none()) };
    // SAFETY: one awaiter stands there itself, several in a set; the set that is made is filled before anyone sees it.
    unsafe {
        let are_several = PyAnySet_Check(awaited_by.as_ptr()) != 0;
        let all = Obj::steal(PyFrozenSet_New(if are_several { awaited_by.as_ptr() } else { NULL }))?;
        if !are_several {
            check(PySet_Add(all.as_ptr(), awaited_by.as_ptr()))?;
        }
        Ok(all)
    }
}

// ------------------------------------------------------------------------------------------- the end of a future

/// "... exception was never retrieved".
pub fn report_unretrieved(slf: Ref, this: &Future) {
    if !this.log_traceback.replace(false) || !this.owner.is_set() {
        return;
    }
    let Some(exception) = this.outcome() else { return };
    aside(slf, || {
        let name = getattr(slf.class(), interned().dunder_name)?;
        // SAFETY: formats one object.
        let text = unsafe {
            Obj::steal(PyUnicode_FromFormat(c"%S exception was never retrieved".as_ptr(), name.as_ptr()))?
        };
        let pairs = [(interned().exception, exception.borrow()), (interned().future, slf)];
        report(this, text, &pairs)
    });
}

/// Tells the loop's exception handler, with the traceback of where the object was made.
pub fn report(this: &Future, message: Obj, pairs: &[(Ref, Ref)]) -> Res<()> {
    let owner = this.owner.or_none();
    let all = [pairs, &[(interned().message, message.borrow())]].concat();
    report_made(owner.borrow(), &all, this.source_traceback())
}

/// # Safety
/// `slf` is a future of ours.
unsafe extern "C" fn tp_finalize(slf: Raw) {
    // SAFETY: a slot of the type.
    let this: &FutureHead = unsafe { Ref::new(slf).cast_unchecked() };
    guarded((), || {
        this.marks.put(Mark::Finalised, true);
        report_unretrieved(this.object(), this);
    });
}

/// # Safety
/// `slf` is a future of ours; the visitor is the collector's, which runs no Python.
unsafe extern "C" fn tp_traverse(slf: Raw, visit: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: a slot of the type: the interpreter calls it with an instance.
    unsafe { traverse_with_base(slf, of_plain(Ref::new(slf)), imported().future_type.as_ptr(), visit, arg) }
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
        clear_base(slf, imported().future_type.as_ptr());
        of_plain(Ref::new(slf)).release();
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
        let this = of_plain(Ref::new(slf));
        if this.log_traceback.get() && PyObject_CallFinalizerFromDealloc(slf) < 0 {
            return;
        }
        PyObject_GC_UnTrack(slf.cast());
        compat::clear_weakrefs(slf, classes::future());
        this.release();
        this.release_owner();
        let base = imported().future_type;
        clear_base_if_used(slf, base.as_ptr(), size_of_type(base));
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
pub fn common(class: Class<FutureHead>) -> Class<FutureHead> {
    let class = class
        .noargs(c"result", result, docs::RESULT)
        .fast(c"exception", exception, docs::EXCEPTION)
        .fast(c"add_done_callback", add_done_callback, docs::ADD_DONE_CALLBACK)
        .fast(c"remove_done_callback", remove_done_callback, docs::REMOVE_DONE_CALLBACK)
        .noargs(c"cancelled", |this| this.state() == State::Cancelled, docs::CANCELLED)
        .noargs(c"done", done, docs::DONE)
        .fast(c"get_loop", get_loop, docs::GET_LOOP)
        .noargs(
            c"_make_cancelled_error",
            |this| this.make_cancelled_error(),
            c"Return the CancelledError to raise.",
        );
    attributes(class).unary(Py_tp_iter, iterator).unary(Py_am_await, iterator)
}

fn attributes(class: Class<FutureHead>) -> Class<FutureHead> {
    let class = class
        .getset(c"_asyncio_future_blocking", |this| this.blocking.get(), set_blocking)
        .getset(c"_log_traceback", get_log_traceback, set_log_traceback)
        .getset(
            c"_cancel_message",
            |this| this.cancel_message().unwrap_or_else(none),
            |this, value| kept(value).map(|value| this.set_cancel_message(Some(value))),
        )
        .get(c"_state", get_state)
        .get(c"_loop", |this| this.owner.or_none())
        .get(c"_result", |this| outcome(this, State::Returned))
        .get(c"_exception", |this| outcome(this, State::Raised))
        .get(c"_source_traceback", |this| this.source_traceback().unwrap_or_else(none))
        .get(c"_callbacks", get_callbacks);
    if cfg!(Py_3_14) { class.get(c"_asyncio_awaited_by", get_awaited_by) } else { class }
}

pub fn load() -> Res<()> {
    let padding = layout().future_body - size_of_type(imported().future_type);
    let class = Class::behind(c"aioxide.Future", padding + size_of::<Future>())
        .fast(c"set_result", set_result, docs::SET_RESULT)
        .fast(c"set_exception", set_exception, docs::SET_EXCEPTION)
        .fast(c"cancel", py_cancel, docs::CANCEL)
        .unary(Py_tp_repr, repr)
        .also(|def| {
            def.flags(Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE)
                .doc(docs::FUTURE)
                .slot(Py_tp_init, tp_init as *mut c_void)
                .collector(tp_traverse, tp_clear, tp_dealloc)
                .slot(Py_tp_finalize, tp_finalize as *mut c_void)
        });
    classes::set_future(common(class).build(Some(imported().future_type))?);
    Ok(())
}
