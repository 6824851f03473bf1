//! The Python type `aioxide.Task`, a real subclass of `_asyncio.Task`; see `future_type` for what that means.

use std::ffi::{c_int, c_void};

use pyo3_ffi::*;

use super::future::{FutureHead, State, given};
use super::future_type::{self, base, common, kept, loop_or_current};
use super::loop_state::LoopState;
use super::marks::Mark;
use super::overrides::GET_DEBUG;
use super::task::{Task, TaskHead};
use super::{cancel, classes, docs, registry, report, step};
use crate::ffi::args::{Args, bind_init, refuse_init};
use crate::ffi::calls::{call, call_method};
use crate::ffi::class::{Class, Native};
use crate::ffi::compat::{self, layout};
use crate::ffi::freelist::FreeList;
use crate::ffi::guard::{guarded, visit};
use crate::ffi::names::{imported, interned};
use crate::ffi::object::{int, string, truth};
use crate::ffi::typedef::size_of_type;
use crate::ffi::{
    NULL, Obj, Py, Raised, Raw, Ref, Res, Slot, builtin, context, error, nesting, none, task_names,
};

static FREE: FreeList = FreeList::new();

/// What `create_task` gives a new task besides its coroutine.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    pub name: Option<Ref<'a>>,
    pub context: Option<Ref<'a>>,
    pub eager_start: bool,
}

/// A new task on a loop of ours, scheduled.
#[inline(always)]
pub fn new(state: &LoopState, coro: Ref, options: Options) -> Res {
    // SAFETY: the list holds tasks of exactly this type, whose fields were emptied.
    unsafe {
        check_coroutine(coro)?;
        check_context(options.context)?;
        let context = context::given_or_copy(options.context)?;
        let (made, tracked) = FREE.get(classes::task())?;
        let this: &TaskHead = made.borrow().cast_unchecked();
        this.future.bind(state);
        fill(this, coro, context);
        if !tracked {
            PyObject_GC_Track(made.as_ptr().cast());
        }
        // Last: asking an object for its text runs its code, and a task that fails for it is one that was never run.
        this.name().set(name_slot(coro.py(), options.name)?);
        if (state.debug.get() || state.overrides.has(state.object(), GET_DEBUG))
            && loop_says(this, interned().get_debug)?
        {
            this.future.record_source()?;
        }
        begin(this, options.eager_start)?;
        Ok(made)
    }
}

/// What the task's loop answers to a method without arguments.
fn loop_says(task: &TaskHead, method: Ref) -> Res<bool> {
    truth(&call_method(method, &[task.future.owner.or_none().borrow()])?)
}

#[inline(always)]
fn check_coroutine(coro: Ref) -> Res<()> {
    if coro.type_of() == &raw mut PyCoro_Type { Ok(()) } else { check_coroutine_like(coro) }
}

#[cold]
fn check_coroutine_like(coro: Ref) -> Res<()> {
    if truth(&call(imported().iscoroutine, &[coro])?)? {
        return Ok(());
    }
    error::raise_with(builtin::type_error(), c"a coroutine was expected, got %R", coro, None)
}

/// Raises for what is no context, where the running version's Task does; elsewhere only the first step fails.
#[inline(always)]
fn check_context(context: Option<Ref>) -> Res<()> {
    match context {
        Some(given) if !context::is_context(given) && layout().habits.checks_context => {
            // The type's name with its module; `%T` is older than this check.
            let text = c"a contextvars.Context was expected, got %T";
            error::raise_with(builtin::type_error(), text, given, None)
        }
        _ => Ok(()),
    }
}

/// What stands in the base's name field: the name, or the number of which `get_name` makes one.
#[inline(always)]
fn name_slot(py: Py, name: Option<Ref>) -> Res {
    match given(name) {
        Some(name) => text(name),
        // SAFETY: plain constructor.
        None => unsafe { Obj::steal(PyLong_FromUnsignedLongLong(task_names::next(py))) },
    }
}

#[inline(always)]
fn text(name: Ref) -> Res {
    let raw = name.as_ptr();
    // SAFETY: a live object.
    unsafe { if PyUnicode_CheckExact(raw) != 0 { Ok(name.to_obj()) } else { Obj::steal(PyObject_Str(raw)) } }
}

/// Fills a task that nobody else has yet.
#[inline(always)]
fn fill(task: &TaskHead, coro: Ref, context: Obj) {
    task.coro().replace(Some(coro.to_obj()));
    drop(task.context_slot().replace(Some(context)));
    if let Some(is_task) = layout().is_task {
        // SAFETY: ours begin with `_asyncio.Task`'s fields, in which this offset was found.
        unsafe { *task.object().as_ptr().cast::<u8>().add(is_task) = 1 };
    }
    let marks = &task.future.marks;
    marks.put(Mark::IsTask, true);
    marks.put(Mark::MustCancel, false);
    marks.put(Mark::LogDestroyPending, true);
    task.future.cancels.set(0);
}

/// Starts a task that is filled: at once if it is eager and its loop runs, else in the loop's next iteration.
#[inline(always)]
fn begin(task: &TaskHead, eager: bool) -> Res<()> {
    if eager && loop_says(task, interned().is_running)? {
        return step::start_eagerly(task);
    }
    step::schedule(task.hold(), None)?;
    registry::register(task)
}

/// Before 3.14, `_asyncio.Task.get_coro` and `get_context` take for granted that `__init__` has run.
///
/// # Safety
/// `kind` is the task's type or one derived from it; `args` and `kwargs` are as the interpreter passes them.
unsafe extern "C" fn tp_new(kind: *mut PyTypeObject, args: Raw, kwargs: Raw) -> Raw {
    // SAFETY: a slot of the type; the fields of a fresh object are empty.
    guarded(NULL, || unsafe {
        let made = PyType_GenericNew(kind, args, kwargs);
        if !made.is_null() {
            let this: &TaskHead = Ref::new(made).cast_unchecked();
            this.slots().into_iter().for_each(|slot| slot.set(none()));
        }
        made
    })
}

/// # Safety
/// `slf` is a task of ours, `args` a tuple, `kwargs` a dict or null.
unsafe extern "C" fn tp_init(slf: Raw, args: Raw, kwargs: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded(-1, || unsafe { if init(slf, args, kwargs).is_ok() { 0 } else { -1 } })
}

/// # Safety
/// As `tp_init`.
unsafe fn init(slf: Raw, args: Raw, kwargs: Raw) -> Res<()> {
    // SAFETY: `values` are borrowed from the arguments, which the interpreter holds for the call.
    unsafe {
        let n = interned();
        let known = [n.coro, n.loop_, n.name, n.context, n.eager_start];
        let Some([Some(coro), owner, name, context, eager]) = bind_init(args, kwargs, known, 1)? else {
            return refuse_init(slf, args, kwargs, imported().task_type);
        };
        // First, as asyncio does: it may raise, and there is no task then.
        let eager = eager.map_or(Ok(false), truth)?;
        let owner = loop_or_current(owner)?;
        let this: &TaskHead = Ref::new(slf).cast_unchecked();
        if !layout().habits.init_once {
            registry::unregister(this);
        }
        this.future.init(this.object(), owner.borrow())?;
        if check_coroutine(coro).and_then(|()| check_context(given(context))).is_err() {
            // Nothing is pending then, and `__del__` must not say so.
            this.future.marks.put(Mark::LogDestroyPending, false);
            return Err(Raised);
        }
        let context = context::given_or_copy(given(context))?;
        this.waits_for.clear();
        fill(this, coro, context);
        this.name().set(name_slot(coro.py(), name)?);
        begin(this, eager)
    }
}

// ------------------------------------------------------------------------------------------------------- methods

fn set_result(this: &TaskHead, args: Args) -> Res<()> {
    args.one(base(this.object(), c"set_result"))?;
    error::runtime_error(c"Task does not support set_result operation")
}

fn set_exception(this: &TaskHead, args: Args) -> Res<()> {
    args.one(base(this.object(), c"set_exception"))?;
    error::runtime_error(c"Task does not support set_exception operation")
}

fn py_cancel(this: &TaskHead, args: Args) -> Res<bool> {
    let [message] = args.bound([interned().msg], 1, base(this.object(), c"cancel"))?;
    cancel::request(this, message)
}

fn get_name(this: &TaskHead) -> Res {
    let slot = this.name();
    // SAFETY: the slot has a reference, or null, that is looked at before anything else runs.
    unsafe {
        if slot.is_set() && PyLong_CheckExact(slot.get()) != 0 {
            slot.set(Obj::steal(PyUnicode_FromFormat(c"Task-%S".as_ptr(), slot.get()))?);
        }
    }
    Ok(slot.or_none())
}

fn get_stack(this: &TaskHead, args: Args) -> Res {
    let base = base(this.object(), c"get_stack");
    args.at_most(0, base)?;
    let [limit] = args.named([interned().limit], base)?;
    let none = none();
    call(imported().task_get_stack, &[this.object(), limit.unwrap_or(none.borrow())])
}

fn print_stack(this: &TaskHead, args: Args) -> Res {
    let base = base(this.object(), c"print_stack");
    args.at_most(0, base)?;
    let none = none();
    let [limit, file] =
        args.named([interned().limit, interned().file], base)?.map(|value| value.unwrap_or(none.borrow()));
    call(imported().task_print_stack, &[this.object(), limit, file])
}

fn repr(this: &TaskHead) -> Res {
    this.future.check_alive()?;
    call(imported().task_repr, &[this.object()])
}

fn set_log_destroy_pending(this: &TaskHead, value: Option<Ref>) -> Res<()> {
    let value = truth(kept(value)?)?;
    this.future.marks.put(Mark::LogDestroyPending, value);
    Ok(())
}

// --------------------------------------------------------------------------------------------- the end of a task

/// # Safety
/// `slf` is a task of ours.
unsafe extern "C" fn tp_finalize(slf: Raw) {
    // SAFETY: a slot of the type.
    let this: &TaskHead = unsafe { Ref::new(slf).cast_unchecked() };
    guarded((), || {
        let slf = this.object();
        this.future.marks.put(Mark::Finalised, true);
        if this.future.state() == State::Pending
            && this.future.marks.has(Mark::LogDestroyPending)
            && this.future.owner.is_set()
        {
            report::aside(slf, || {
                let message = string("Task was destroyed but it is pending!")?;
                future_type::report(&this.future, message, &[(interned().task, slf)])
            });
        }
        future_type::report_unretrieved(slf, &this.future);
    });
}

/// # Safety
/// `slf` is a task of ours; the visitor is the collector's, which runs no Python.
unsafe extern "C" fn tp_traverse(slf: Raw, visitor: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: a slot of the type: the interpreter calls it with an instance.
    unsafe {
        let this: &TaskHead = Ref::new(slf).cast_unchecked();
        visit!(this.waits_for.get(), visitor, arg);
        future_type::traverse_with_base(slf, &this.future, imported().task_type.as_ptr(), visitor, arg)
    }
}

/// # Safety
/// `slf` is a task of ours.
unsafe extern "C" fn tp_clear(slf: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded((), || unsafe {
        let this: &TaskHead = Ref::new(slf).cast_unchecked();
        this.waits_for.clear();
        future_type::clear_base(slf, imported().task_type.as_ptr());
        this.future.release();
    });
    0
}

/// # Safety
/// `slf` is a task of ours, to which no reference is left.
unsafe extern "C" fn tp_dealloc(slf: Raw) {
    // SAFETY: a slot of the type; nothing is done before `release`.
    guarded((), || unsafe { nesting::bounded(slf, release) });
}

/// # Safety
/// As `tp_dealloc`.
unsafe fn release(slf: Raw) {
    // SAFETY: the last reference is gone, unless the finaliser makes a new one.
    unsafe {
        let this: &TaskHead = Ref::new(slf).cast_unchecked();
        let speaks = this.future.log_traceback.get() || this.future.state() == State::Pending;
        if speaks && PyObject_CallFinalizerFromDealloc(slf) < 0 {
            return;
        }
        PyObject_GC_UnTrack(slf.cast());
        compat::clear_weakrefs(slf, classes::task());
        registry::unregister(this);
        this.waits_for.clear();
        this.slots().into_iter().for_each(Slot::clear);
        this.future.release();
        this.future.release_owner();
        let base = imported().task_type;
        if future_type::clear_base_if_used(slf, base.as_ptr(), size_of_type(base)) {
            // The exception handler may have registered the task that was on its way out.
            registry::unlink_foreign(this);
        }
        if Py_TYPE(slf) == classes::task() {
            FREE.put(slf, this.future.marks.has(Mark::Finalised));
        } else {
            future_type::free_subclass(slf);
        }
    }
}

pub fn load() -> Res<()> {
    let class = common(methods().also(|def| {
        def.flags(Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE)
            .doc(docs::TASK)
            .slot(Py_tp_new, tp_new as *mut c_void)
            .slot(Py_tp_init, tp_init as *mut c_void)
            .collector(tp_traverse, tp_clear, tp_dealloc)
            .slot(Py_tp_finalize, tp_finalize as *mut c_void)
    }));
    classes::set_task(class.build(Some(imported().task_type))?);
    Ok(())
}

fn methods() -> Class<FutureHead> {
    let padding = layout().task_body - size_of_type(imported().task_type);
    let class = Class::<TaskHead>::behind(c"aioxide.Task", padding + size_of::<Task>())
        .fast(c"set_result", set_result, docs::TASK_SET_RESULT)
        .fast(c"set_exception", set_exception, docs::TASK_SET_EXCEPTION)
        .fast(c"cancel", py_cancel, docs::TASK_CANCEL)
        .unary(Py_tp_repr, repr)
        .noargs(c"cancelling", |this| int(this.future.cancels.get().into()), docs::CANCELLING)
        .noargs(c"uncancel", |this| int(cancel::uncancel(this).into()), docs::UNCANCEL)
        .noargs(c"get_coro", |this| this.coro().or_none(), docs::GET_CORO)
        .noargs(c"get_context", |this| this.context(), docs::GET_CONTEXT)
        .noargs(c"get_name", get_name, docs::GET_NAME)
        .onearg(c"set_name", |this, value| text(value).map(|name| this.name().set(name)), docs::SET_NAME)
        .fast(c"get_stack", get_stack, docs::GET_STACK)
        .fast(c"print_stack", print_stack, docs::PRINT_STACK)
        .get(c"_coro", |this| this.coro().or_none())
        .get(c"_fut_waiter", |this| this.waits_for.or_none())
        .get(c"_must_cancel", |this| this.future.marks.has(Mark::MustCancel))
        .getset(
            c"_log_destroy_pending",
            |this| this.future.marks.has(Mark::LogDestroyPending),
            set_log_destroy_pending,
        );
    // SAFETY: a task is a future of ours too.
    unsafe { class.seen_as() }
}
