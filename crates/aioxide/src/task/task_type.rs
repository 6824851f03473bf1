//! The Python type `aioxide.Task`, a real subclass of `_asyncio.Task`; see `future_type` for what that means.

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use super::future::{State, given};
use super::future_type::{self, base, common, loop_or_current};
use super::loop_state::LoopState;
use super::marks::Mark;
use super::overrides::GET_DEBUG;
use super::task::{Task, TaskRef, of};
use super::{cancel, classes, registry, report, step};
use crate::ffi::args::{bind_init, refuse_init};
use crate::ffi::compat::{self, layout};
use crate::ffi::freelist::FreeList;
use crate::ffi::guard::{fastcall, getter, guarded, noargs, onearg, overriding, setter, visit};
use crate::ffi::names::stdlib;
use crate::ffi::object::{boolean, call, call_method, int, ret, string, truth};
use crate::ffi::typedef::{TypeDef, size_of_type};
use crate::ffi::{NULL, Obj, Raised, Raw, Res, Slot, context, error, names, nesting, none, task_names};

static FREE: FreeList = FreeList::new();

/// What `create_task` gives a new task besides its coroutine; null stands for absent.
#[derive(Clone, Copy)]
pub struct Options {
    pub name: Raw,
    pub context: Raw,
    pub eager_start: bool,
}

/// A new task on a loop of ours, scheduled.
#[inline(always)]
pub fn new(state: &LoopState, coro: Raw, options: Options) -> Res {
    // SAFETY: the list holds tasks of exactly this type, whose fields were emptied.
    unsafe {
        check_coroutine(coro)?;
        check_context(options.context)?;
        let context = context::given_or_copy(options.context)?;
        let (made, tracked) = FREE.get(classes::task())?;
        let this = of(made.as_ptr());
        this.future.bind(state);
        fill(this, coro, context);
        if !tracked {
            PyObject_GC_Track(made.as_ptr().cast());
        }
        // Last: asking an object for its text runs its code, and a task that fails for it is one that was never run.
        this.name().set(name_slot(options.name)?);
        if (state.debug.get() || state.overrides.has(state.object, GET_DEBUG))
            && loop_says(this, names().get_debug)?
        {
            this.future.record_source()?;
        }
        begin(this, options.eager_start)?;
        Ok(made)
    }
}

/// What the task's loop answers to a method without arguments.
fn loop_says(task: TaskRef, method: Raw) -> Res<bool> {
    truth(call_method(method, &[task.future.owner.get()])?.as_ptr())
}

#[inline(always)]
fn check_coroutine(coro: Raw) -> Res<()> {
    // SAFETY: a live object.
    if unsafe { Py_TYPE(coro) } == &raw mut PyCoro_Type { Ok(()) } else { check_coroutine_like(coro) }
}

#[cold]
fn check_coroutine_like(coro: Raw) -> Res<()> {
    let answer = call(stdlib().iscoroutine, &[coro])?;
    if truth(answer.as_ptr())? {
        return Ok(());
    }
    // SAFETY: reads a static of the interpreter.
    error::raise_with(unsafe { PyExc_TypeError }, c"a coroutine was expected, got %R", coro, NULL)
}

/// Raises for what is no context, where the running version's Task does; elsewhere only the first step fails.
#[inline(always)]
fn check_context(context: Raw) -> Res<()> {
    if context.is_null() || context::is_context(context) || !layout().habits.checks_context {
        return Ok(());
    }
    // SAFETY: reads a static of the interpreter.
    let kind = unsafe { PyExc_TypeError };
    // The type's name with its module; `%T` is older than this check.
    error::raise_with(kind, c"a contextvars.Context was expected, got %T", context, NULL)
}

/// What stands in the base's name field: the name, or the number of which `get_name` makes one.
#[inline(always)]
fn name_slot(name: Raw) -> Res {
    let name = given(name);
    if name.is_null() {
        // SAFETY: plain constructor.
        return Obj::steal(unsafe { PyLong_FromUnsignedLongLong(task_names::next()) });
    }
    text(name)
}

#[inline(always)]
fn text(name: Raw) -> Res {
    // SAFETY: a live object.
    unsafe {
        if PyUnicode_CheckExact(name) != 0 { Ok(Obj::new(name)) } else { Obj::steal(PyObject_Str(name)) }
    }
}

/// Fills a task that nobody else has yet.
#[inline(always)]
fn fill(task: TaskRef, coro: Raw, context: Obj) {
    task.coro().replace(Some(Obj::new(coro)));
    drop(task.context_slot().replace(Some(context)));
    if let Some(is_task) = layout().is_task {
        // SAFETY: ours begin with `_asyncio.Task`'s fields, in which this offset was found.
        unsafe { *task.as_ptr().cast::<u8>().add(is_task) = 1 };
    }
    let marks = &task.future.marks;
    marks.put(Mark::IsTask, true);
    marks.put(Mark::MustCancel, false);
    marks.put(Mark::LogDestroyPending, true);
    task.future.cancels.set(0);
}

/// Starts a task that is filled: at once if it is eager and its loop runs, else in the loop's next iteration.
#[inline(always)]
fn begin(task: TaskRef, eager: bool) -> Res<()> {
    if eager && loop_says(task, names().is_running)? {
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
            of(made).slots().into_iter().for_each(|slot| slot.set(none()));
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
        let n = names();
        let mut values = [NULL; 5];
        let known = [n.coro, n.loop_, n.name, n.context, n.eager_start];
        if !bind_init(args, kwargs, &known, 1, &mut values)? || values[0].is_null() {
            return refuse_init(slf, args, kwargs, stdlib().task_type);
        }
        let [coro, owner, name, context, eager] = values;
        // First, as asyncio does: it may raise, and there is no task then.
        let eager = !eager.is_null() && truth(eager)?;
        let owner = loop_or_current(owner)?;
        if !layout().habits.init_once {
            registry::unregister(slf);
        }
        let this = of(slf);
        this.future.init(slf, owner.as_ptr())?;
        if check_coroutine(coro).and_then(|()| check_context(given(context))).is_err() {
            // Nothing is pending then, and `__del__` must not say so.
            this.future.marks.put(Mark::LogDestroyPending, false);
            return Err(Raised);
        }
        let context = context::given_or_copy(given(context))?;
        this.waits_for.clear();
        fill(this, coro, context);
        this.name().set(name_slot(name)?);
        begin(this, eager)
    }
}

// ------------------------------------------------------------------------------------------------------- methods

overriding!(py_set_result, base, c"set_result", |slf, _value| {
    error::runtime_error(c"Task does not support set_result operation")
});
overriding!(py_set_exception, base, c"set_exception", |slf, _value| {
    error::runtime_error(c"Task does not support set_exception operation")
});

fastcall!(py_cancel, |slf, args| {
    let mut message = [NULL];
    args.bind(&[names().msg], 1, &mut message, base(slf, c"cancel"))?;
    Ok(boolean(cancel::request(&of(slf), message[0])?))
});

noargs!(py_cancelling, |slf| int(of(slf).future.cancels.get().into()));
noargs!(py_uncancel, |slf| int(cancel::uncancel(&of(slf)).into()));
noargs!(py_get_coro, |slf| Ok(of(slf).coro().or_none()));
noargs!(py_get_context, |slf| Ok(of(slf).context()));

noargs!(py_get_name, |slf| {
    let slot = of(slf).name();
    if slot.is_set() && PyLong_CheckExact(slot.get()) != 0 {
        slot.set(Obj::steal(PyUnicode_FromFormat(c"Task-%S".as_ptr(), slot.get()))?);
    }
    Ok(slot.or_none())
});

onearg!(py_set_name, |slf, value| {
    of(slf).name().set(text(value)?);
    Ok(none())
});

fastcall!(py_get_stack, |slf, args| {
    let mut limit = [NULL];
    args.at_most(0, base(slf, c"get_stack"))?;
    args.keywords(&[names().limit], &mut limit, base(slf, c"get_stack"))?;
    call(stdlib().task_get_stack, &[slf, or_py_none(limit[0])])
});

fastcall!(py_print_stack, |slf, args| {
    let mut values = [NULL; 2];
    args.at_most(0, base(slf, c"print_stack"))?;
    args.keywords(&[names().limit, names().file], &mut values, base(slf, c"print_stack"))?;
    call(stdlib().task_print_stack, &[slf, or_py_none(values[0]), or_py_none(values[1])])
});

fn or_py_none(value: Raw) -> Raw {
    // SAFETY: None always lives.
    if value.is_null() { unsafe { Py_None() } } else { value }
}

/// # Safety
/// `slf` is a task of ours.
unsafe extern "C" fn tp_repr(slf: Raw) -> Raw {
    // SAFETY: a slot of the type.
    guarded(NULL, || unsafe {
        ret(of(slf).future.check_alive().and_then(|()| call(stdlib().task_repr, &[slf])))
    })
}

getter!(get_coro, |slf| Ok(of(slf).coro().or_none()));
getter!(get_fut_waiter, |slf| Ok(of(slf).waits_for.or_none()));
getter!(get_must_cancel, |slf| Ok(boolean(of(slf).future.marks.has(Mark::MustCancel))));
getter!(get_log_destroy_pending, |slf| Ok(boolean(of(slf).future.marks.has(Mark::LogDestroyPending))));
setter!(set_log_destroy_pending, |slf, value| {
    if value.is_null() {
        return error::raise(PyExc_AttributeError, c"cannot delete attribute");
    }
    let value = truth(value)?;
    of(slf).future.marks.put(Mark::LogDestroyPending, value);
    Ok(())
});

// --------------------------------------------------------------------------------------------- the end of a task

/// # Safety
/// `slf` is a task of ours.
unsafe extern "C" fn tp_finalize(slf: Raw) {
    // SAFETY: a slot of the type.
    guarded((), || unsafe {
        let this = of(slf);
        this.future.marks.put(Mark::Finalised, true);
        if this.future.state() == State::Pending
            && this.future.marks.has(Mark::LogDestroyPending)
            && this.future.owner.is_set()
        {
            report::aside(slf, || {
                let message = string("Task was destroyed but it is pending!")?;
                future_type::report(slf, message, &[(names().task, slf)])
            });
        }
        future_type::report_unretrieved(slf);
    });
}

/// # Safety
/// `slf` is a task of ours; the visitor is the collector's, which runs no Python.
unsafe extern "C" fn tp_traverse(slf: Raw, visitor: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: a slot of the type: the interpreter calls it with an instance.
    unsafe {
        visit!(of(slf).waits_for.get(), visitor, arg);
        future_type::traverse_with_base(slf, &of(slf).future, stdlib().task_type, visitor, arg)
    }
}

/// # Safety
/// `slf` is a task of ours.
unsafe extern "C" fn tp_clear(slf: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded((), || unsafe {
        of(slf).waits_for.clear();
        future_type::clear_base(slf, stdlib().task_type);
        of(slf).future.release();
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
        let this = of(slf);
        let speaks = this.future.log_traceback.get() || this.future.state() == State::Pending;
        if speaks && PyObject_CallFinalizerFromDealloc(slf) < 0 {
            return;
        }
        PyObject_GC_UnTrack(slf.cast());
        compat::clear_weakrefs(slf, classes::task());
        registry::unregister(slf);
        this.waits_for.clear();
        this.slots().into_iter().for_each(Slot::clear);
        this.future.release();
        this.future.release_owner();
        if future_type::clear_base_if_used(slf, stdlib().task_type, size_of_type(stdlib().task_type)) {
            // The exception handler may have registered the task that was on its way out.
            registry::unlink_foreign(slf);
        }
        if Py_TYPE(slf) == classes::task() {
            FREE.put(slf, this.future.marks.has(Mark::Finalised));
        } else {
            future_type::free_subclass(slf);
        }
    }
}

const DOC: &CStr = c"Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\n\
    A coroutine wrapped in a Future: asyncio.Task, native.";

pub fn load() -> Res<()> {
    let padding = layout().task_body - size_of_type(stdlib().task_type);
    let def = TypeDef::new(c"aioxide.Task", padding + size_of::<Task>())
        .flags(Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE)
        .doc(DOC)
        .slot(Py_tp_new, tp_new as *mut c_void)
        .slot(Py_tp_init, tp_init as *mut c_void)
        .collector(tp_traverse, tp_clear, tp_dealloc)
        .slot(Py_tp_finalize, tp_finalize as *mut c_void)
        .slot(Py_tp_repr, tp_repr as *mut c_void)
        .fast(c"set_result", py_set_result, c"Raise RuntimeError: a task's result is its coroutine's.")
        .fast(c"set_exception", py_set_exception, c"Raise RuntimeError: a task's result is its coroutine's.")
        .fast(c"cancel", py_cancel, c"Request that the task cancel itself; return False if it is done.")
        .noargs(c"cancelling", py_cancelling, c"Return the number of cancellation requests that stand.")
        .noargs(c"uncancel", py_uncancel, c"Take one cancellation request back; return how many are left.")
        .noargs(c"get_coro", py_get_coro, c"Return the coroutine.")
        .noargs(c"get_context", py_get_context, c"Return the contextvars.Context that the coroutine runs in.")
        .noargs(c"get_name", py_get_name, c"Return the name.")
        .onearg(c"set_name", py_set_name, c"Set the name.")
        .fast(c"get_stack", py_get_stack, c"Return the list of stack frames of the coroutine.")
        .fast(c"print_stack", py_print_stack, c"Print the stack or traceback of the coroutine.")
        .get(c"_coro", get_coro)
        .get(c"_fut_waiter", get_fut_waiter)
        .get(c"_must_cancel", get_must_cancel)
        .getset(c"_log_destroy_pending", get_log_destroy_pending, set_log_destroy_pending);
    let made = common(def).build(stdlib().task_type)?;
    classes::set_task(made);
    Ok(())
}
