//! Floor 5, the face: one function a loop operation, with bodies of a few lines that call down.
//!
//! `aioxide._aioxide.Loop` is the base that `aioxide.EventLoop` puts in front of `asyncio.SelectorEventLoop`: what is
//! here is native, the rest of `AbstractEventLoop` is asyncio's own Python.

mod attributes;

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use crate::calls::executor;
use crate::engine::fileno::fileno;
use crate::engine::loop_object::of;
use crate::engine::source::Side;
use crate::engine::{Engine, LoopObject, loop_clock, turn, wake_source, watch, yield_gil};
use crate::ffi::args::{Named, Overriding};
use crate::ffi::guard::{fastcall, guarded, noargs, onearg, overriding};
use crate::ffi::names::{intern, stdlib};
use crate::ffi::object::{boolean, call, call_kw, call_method, float, getattr, int, is_none, string, truth};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Args, NULL, Obj, Raised, Raw, Res, compat, error, held, names, none};
use crate::net::{connect, server, state};
use crate::task::loop_state::{self, Item, LoopState};
use crate::task::overrides::{self, CALL_AT};
use crate::task::{future_type, handle, registry, scheduled, task_type};

/// The method of `asyncio.BaseEventLoop` that ours of this name stands for.
#[inline(always)]
fn base(receiver: Raw, name: &'static CStr) -> Overriding {
    Overriding { receiver, class: |_| stdlib().base_event_loop, name }
}

// ----------------------------------------------------------------------------------------------------- callbacks

fastcall!(call_soon, |slf, args| {
    let mut named = Named::default();
    let args = args.placed(&["callback"], base(slf, c"call_soon"), &mut named)?;
    let context = args.only_keyword(names().context, base(slf, c"call_soon"))?;
    let state = &of(slf).state;
    state.check_schedule()?;
    schedule(state, args, context, c"call_soon", false)
});

fastcall!(call_soon_threadsafe, |slf, args| {
    let mut named = Named::default();
    let args = args.placed(&["callback"], base(slf, c"call_soon_threadsafe"), &mut named)?;
    let context = args.only_keyword(names().context, base(slf, c"call_soon_threadsafe"))?;
    let this = of(slf);
    this.state.check_closed()?;
    let made = schedule(&this.state, args, context, c"call_soon_threadsafe", true)?;
    this.engine.wake.wake();
    yield_gil::when_behind(&this.state);
    Ok(made)
});

#[inline(always)]
fn schedule(state: &LoopState, args: Args, context: Raw, method: &'static CStr, thread_safe: bool) -> Res {
    let given = args.positional();
    if state.debug.get() {
        check_callback(given[0], method)?;
        return handle::queue_in_debug(state, thread_safe, given[0], &given[1..], context);
    }
    handle::queue(state, thread_safe, given[0], &given[1..], context)
}

/// Debug mode refuses what cannot be called, and coroutines: `BaseEventLoop._check_callback`.
#[cold]
fn check_callback(callback: Raw, method: &'static CStr) -> Res<()> {
    let check = getattr(stdlib().base_event_loop, intern(c"_check_callback")?)?;
    let method = Obj::new(intern(method)?);
    // The method uses nothing of its receiver.
    call(check.as_ptr(), &[none().as_ptr(), callback, method.as_ptr()]).map(drop)
}

fastcall!(call_later, |slf, args| {
    let mut named = Named::default();
    let args = args.placed(&["delay", "callback"], base(slf, c"call_later"), &mut named)?;
    let context = args.only_keyword(names().context, base(slf, c"call_later"))?;
    let given = args.positional();
    if is_none(given[0]) {
        return error::type_error(c"delay must not be None");
    }
    let state = &of(slf).state;
    if state.overrides.has(slf, CALL_AT) {
        return call_at_by_method(slf, args);
    }
    arm(state, due_after(state, given[0])?, args, context)
});

/// `time() + delay`, for whatever can be added to a float.
///
/// # Safety
/// `delay` is a live object.
#[inline(always)]
unsafe fn due_after(state: &LoopState, delay: Raw) -> Res<f64> {
    // SAFETY: type checks and an addition of live objects.
    unsafe {
        let now = loop_clock::now(state)?;
        if PyFloat_CheckExact(delay) != 0 || PyLong_Check(delay) != 0 {
            return Ok(now + number(delay, "delay")?);
        }
        let now = float(now)?;
        match Obj::steal(PyNumber_Add(now.as_ptr(), delay)) {
            Ok(when) => number(when.as_ptr(), "delay"),
            Err(Raised) if PyNumber_Check(delay) == 0 => no_number(delay, "delay"),
            Err(Raised) => Err(Raised),
        }
    }
}

/// `self.call_at(self.time() + delay, ...)`, where `call_at` is the user's.
///
/// # Safety
/// `slf` and the arguments are live objects.
#[cold]
unsafe fn call_at_by_method(slf: Raw, args: Args) -> Res {
    // SAFETY: adds two live objects.
    unsafe {
        let now = call_method(names().time, &[slf])?;
        let when = Obj::steal(PyNumber_Add(now.as_ptr(), args.positional()[0]))?;
        let method = getattr(slf, names().call_at)?;
        let (all, kwnames) = args.all();
        let mut values = all.to_vec();
        values[0] = when.as_ptr();
        call_kw(method.as_ptr(), &values, args.len(), kwnames)
    }
}

fastcall!(call_at, |slf, args| {
    let mut named = Named::default();
    let args = args.placed(&["when", "callback"], base(slf, c"call_at"), &mut named)?;
    let context = args.only_keyword(names().context, base(slf, c"call_at"))?;
    let given = args.positional();
    if is_none(given[0]) {
        return error::type_error(c"when cannot be None");
    }
    arm(&of(slf).state, number(given[0], "when")?, args, context)
});

#[inline(always)]
fn arm(state: &LoopState, when: f64, args: Args, context: Raw) -> Res {
    state.check_schedule()?;
    let given = args.positional();
    if state.debug.get() {
        check_callback(given[1], c"call_at")?;
    }
    let made = handle::new_timer(state.object, when, given[1], &given[2..], context)?;
    if state.debug.get() {
        handle::record_source(&made)?;
    }
    state.push_timer(when, made.clone())?;
    Ok(made)
}

#[inline(always)]
fn number(value: Raw, name: &str) -> Res<f64> {
    // SAFETY: converts, or raises.
    let number = unsafe { PyFloat_AsDouble(value) };
    if number == -1.0 && error::occurred() { no_number(value, name) } else { Ok(number) }
}

/// The interpreter's own words for what is no number, or too large a one, do not say what it was given for. What a method of
/// the value's has raised stays.
#[cold]
fn no_number(value: Raw, name: &str) -> Res<f64> {
    // SAFETY: reads statics of the interpreter, and the type of a live object.
    unsafe {
        if PyLong_Check(value) != 0 && error::matches(PyExc_OverflowError) {
            error::clear();
            let bits = call_method(intern(c"bit_length")?, &[value])?;
            let text =
                string(&format!("{name} must be a number of seconds that a float can hold, not an int of"))?;
            return error::raise_with(PyExc_OverflowError, c"%S %S bits", text.as_ptr(), bits.as_ptr());
        }
        if PyNumber_Check(value) == 0 || PyComplex_Check(value) != 0 {
            let kind = error::type_name(value)?;
            let text = string(&format!("{name} must be a number of seconds, not"))?;
            return error::raise_with(PyExc_TypeError, c"%S %S", text.as_ptr(), kind.as_ptr());
        }
    }
    Err(Raised)
}

overriding!(time, base, c"time", |slf| float(loop_clock::monotonic()?));

fastcall!(run_in_executor, |slf, args| executor::run_in_executor(&of(slf).state, args));

// ---------------------------------------------------------------------------------------------- futures and tasks

overriding!(create_future, base, c"create_future", |slf| {
    let state = &of(slf).state;
    if !compat::has_layout() {
        return inherited(slf, c"create_future", &[], NULL);
    }
    let made = future_type::new(state)?;
    if !state.is_plain() {
        let debug = call_method(names().get_debug, &[slf])?;
        if truth(debug.as_ptr())? {
            crate::task::future::of(made.as_ptr()).record_source()?;
        }
    }
    Ok(made)
});

fastcall!(create_task, |slf, args| {
    let mut named = Named::default();
    let args = args.placed(&["coro"], base(slf, c"create_task"), &mut named)?;
    args.at_most(1, base(slf, c"create_task"))?;
    let state = &of(slf).state;
    state.check_closed()?;
    if state.task_factory.is_set() || !compat::has_layout() {
        let (all, kwnames) = args.all();
        return inherited(slf, c"create_task", all, kwnames);
    }
    let n = names();
    let mut values = [NULL; 3];
    args.keywords(&[n.name, n.context, n.eager_start], &mut values, base(slf, c"create_task"))?;
    let [name, context, eager] = values;
    let options = task_type::Options {
        name,
        context: crate::task::future::given(context),
        eager_start: !eager.is_null() && truth(eager)?,
    };
    task_type::new(state, args.positional()[0], options)
});

/// The method of `asyncio.BaseEventLoop`; `values` are the arguments without the receiver, keywords behind.
///
/// # Safety
/// All are live objects; `kwnames` is null, or a tuple with a name for each of the last values.
unsafe fn inherited(slf: Raw, name: &'static CStr, values: &[Raw], kwnames: Raw) -> Res {
    let method = getattr(stdlib().base_event_loop, intern(name)?)?;
    let mut all = vec![slf];
    all.extend_from_slice(values);
    // SAFETY: kwnames is null or a tuple.
    let keywords = if kwnames.is_null() { 0 } else { unsafe { PyTuple_GET_SIZE(kwnames) as usize } };
    call_kw(method.as_ptr(), &all, all.len() - keywords, kwnames)
}

// ------------------------------------------------------------------------------------------------------- running

noargs!(run_until_stopped, |slf| {
    let result = turn::run_until_stopped(of(slf));
    let raised = error::take();
    crate::processes::home::loop_stops(slf);
    error::restore(raised);
    result?;
    Ok(none())
});

noargs!(run_once, |slf| {
    of(slf).engine.io_touched.set(true);
    turn::turn(of(slf))?;
    Ok(none())
});

overriding!(stop, base, c"stop", |slf| {
    of(slf).state.stopping.set(true);
    Ok(none())
});

overriding!(is_running, base, c"is_running", |slf| Ok(boolean(of(slf).state.thread.get() != 0)));
overriding!(is_closed, base, c"is_closed", |slf| Ok(boolean(of(slf).state.closed.get())));
overriding!(get_debug, base, c"get_debug", |slf| Ok(attributes::debug_as_set(&of(slf).state)));

noargs!(check_closed, |slf| {
    of(slf).state.check_closed()?;
    Ok(none())
});

onearg!(timer_handle_cancelled, |_slf, _handle| Ok(none()));

// --------------------------------------------------------------------------------------------- file descriptors

/// Nobody can have watched what is no descriptor.
///
/// # Safety
/// `slf` is a loop of ours, `fd` a live object.
unsafe fn stop_watching(slf: Raw, fd: Raw, side: Side) -> Res {
    // SAFETY: a loop and a live argument.
    unsafe {
        let this = of(slf);
        match fileno(fd) {
            Ok(fd) => {
                Ok(boolean(watch::remove(this, fd, side)? || (side == Side::Read && server::stop(this, fd))))
            }
            Err(Raised) if error::matches(PyExc_OverflowError) => {
                error::clear();
                Ok(boolean(false))
            }
            Err(Raised) if error::matches(PyExc_ValueError) => match this.engine.sources.fd_of(fd) {
                // A file or socket that was closed meanwhile.
                Some(number) => {
                    error::clear();
                    Ok(boolean(watch::remove(this, number, side)?))
                }
                None => Err(Raised),
            },
            Err(Raised) => Err(Raised),
        }
    }
}

/// # Safety
/// As `stop_watching`.
unsafe fn watch_side(slf: Raw, args: Args, side: Side, name: &'static CStr) -> Res {
    let base = Overriding { receiver: slf, class: |_| stdlib().selector_event_loop, name };
    let mut named = Named::default();
    let args = args.placed(&["fd", "callback"], base, &mut named)?;
    // From 3.15 on.
    let mut context = [NULL];
    args.keywords(&[names().context], &mut context, base)?;
    let (given, context) = (args.positional(), crate::task::future::given(context[0]));
    // SAFETY: a loop and a live argument.
    unsafe { watch::add(of(slf), given[0], fileno(given[0])?, side, given[1], &given[2..], context) }
}

fastcall!(add_reader, |slf, args| watch_side(slf, args, Side::Read, c"_add_reader"));
fastcall!(add_writer, |slf, args| watch_side(slf, args, Side::Write, c"_add_writer"));
onearg!(remove_reader, |slf, fd| stop_watching(slf, fd, Side::Read));
onearg!(remove_writer, |slf, fd| stop_watching(slf, fd, Side::Write));

onearg!(add_callback, |slf, given| {
    let state = &of(slf).state;
    if handle::is_handle(given) {
        if !handle::is_cancelled(given) {
            state.push(Item::Run(Obj::new(given)))?;
        }
    } else if !truth(getattr(given, intern(c"_cancelled")?)?.as_ptr())? {
        state.push(Item::Job { object: Obj::new(given), run: run_foreign_handle })?;
    }
    Ok(none())
});

/// # Safety
/// `object` is a live object.
unsafe fn run_foreign_handle(_: &LoopState, object: Raw) -> Res<()> {
    call_method(intern(c"_run")?, &[object]).map(drop)
}

// `_serve(sock, protocol_factory, server, backlog, arguments of asyncio's _accept_connection)`.
fastcall!(serve, |slf, args| {
    args.require(&["sock", "protocol_factory", "server", "backlog", "fallback"], "_serve")?;
    let given = args.positional();
    let backlog = PyLong_AsLongLong(given[3]);
    if backlog == -1 && error::occurred() {
        return Err(Raised);
    }
    server::serve(of(slf), fileno(given[0])?, given[1], given[2], backlog, given[4])?;
    Ok(none())
});

// `_begin_connect(host, port)`: (fd, connected), or None where the host is no literal address.
fastcall!(begin_connect, |_slf, args| {
    args.require(&["host", "port"], "_begin_connect")?;
    connect::begin(args.positional()[0], args.positional()[1])
});

// `_finish_connect(fd, host, port, protocol, waiter)`: the transport, or the error of the connection.
fastcall!(finish_connect, |slf, args| {
    args.require(&["fd", "host", "port", "protocol", "waiter"], "_finish_connect")?;
    let given = args.positional();
    connect::finish(of(slf), fileno(given[0])?, given[1], given[2], given[3], given[4])
});

// `_transport_of(fd)`: the native transport that owns a descriptor, or None.
onearg!(transport_of, |slf, fd| {
    let owner = of(slf).engine.sources.owner(fileno(fd)?);
    Ok(owner.filter(|owner| state::is_transport(owner.as_ptr())).unwrap_or_else(none))
});

// `_watched()`: rows of (fd, reader, writer, transport).
noargs!(watched, |slf| {
    let sources = &of(slf).engine.sources;
    let list = Obj::steal(PyList_New(0))?;
    for fd in sources.watched() {
        let number = int(fd.into())?;
        let or_none = |object: Option<Obj>| object.unwrap_or_else(none);
        let parts = [
            or_none(sources.handle(fd, Side::Read)),
            or_none(sources.handle(fd, Side::Write)),
            or_none(sources.owner(fd)),
        ];
        let row = crate::ffi::object::tuple(&[
            number.as_ptr(),
            parts[0].as_ptr(),
            parts[1].as_ptr(),
            parts[2].as_ptr(),
        ])?;
        crate::ffi::object::check(PyList_Append(list.as_ptr(), row.as_ptr()))?;
    }
    Ok(list)
});

// ---------------------------------------------------------------------------------------------- life of the loop

noargs!(open, |slf| {
    of(slf).engine.open()?;
    Ok(none())
});

fastcall!(attach_wake, |slf, args| {
    args.require(&["receiver", "sender"], "_attach_wake")?;
    let given = args.positional();
    wake_source::attach(&of(slf).state, fileno(given[0])?, fileno(given[1])?)?;
    Ok(none())
});

noargs!(detach_wake, |slf| {
    wake_source::detach(&of(slf).state);
    Ok(none())
});

// In the thread that is about to fork. A loop of another thread does not go on in the child.
noargs!(before_fork, |slf| {
    if of(slf).state.thread.get() == loop_state::thread_ident() {
        of(slf).engine.flush_now()?;
    }
    Ok(none())
});

noargs!(after_fork, |slf| {
    of(slf).engine.after_fork();
    Ok(none())
});

noargs!(close_engine, |slf| {
    crate::processes::home::loop_stops(slf);
    of(slf).engine.close();
    Ok(none())
});

noargs!(clear_ready, |slf| {
    scheduled::clear_ready(&of(slf).state);
    Ok(none())
});

noargs!(clear_timers, |slf| {
    scheduled::clear_timers(&of(slf).state);
    Ok(none())
});

fn list_of(objects: Vec<Obj>) -> Res {
    let raws: Vec<Raw> = objects.iter().map(Obj::as_ptr).collect();
    let items = crate::ffi::object::tuple(&raws)?;
    // SAFETY: a live tuple.
    Obj::steal(unsafe { PySequence_List(items.as_ptr()) })
}

noargs!(ready_handles, |slf| list_of(handle::ready(&of(slf).state)?));
noargs!(timer_handles, |slf| list_of(of(slf).state.timer_handles()));
noargs!(ready_count, |slf| int(of(slf).state.ready_len() as i64));
noargs!(live_tasks, |slf| list_of(registry::live_tasks(&of(slf).state)));
noargs!(poller_fileno, |slf| int(of(slf).engine.fileno().into()));

/// # Safety
/// `kind` is the loop's type or one derived from it.
unsafe extern "C" fn tp_new(kind: *mut PyTypeObject, _: Raw, _: Raw) -> Raw {
    // SAFETY: fills the zeroed body of a fresh loop; the collector may look at it only after this.
    guarded(NULL, || unsafe {
        let made = PyType_GenericAlloc(kind, 0);
        if !made.is_null() {
            let this = made.cast::<LoopObject>();
            std::ptr::write(&raw mut (*this).state, LoopState::new(made));
            std::ptr::write(&raw mut (*this).engine, Engine::new());
        }
        made
    })
}

/// Sees which of the loop's methods a user hides in an instance.
///
/// # Safety
/// `slf` is a loop of ours, `name` a live object, `value` one or null.
unsafe extern "C" fn tp_setattro(slf: Raw, name: Raw, value: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded(-1, || unsafe {
        let status = PyObject_GenericSetAttr(slf, name, value);
        if status == 0 && overrides::is_watched(name) {
            of(slf).state.overrides.look_at_instance(slf);
        }
        status
    })
}

/// # Safety
/// `slf` is a loop of ours; the visitor is the collector's, which runs no Python.
unsafe extern "C" fn tp_traverse(slf: Raw, visit: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: a slot of the type: the interpreter calls it with an instance.
    unsafe {
        crate::ffi::guard::visit!(Py_TYPE(slf).cast(), visit, arg);
        let stop = scheduled::traverse(&of(slf).state, visit, arg);
        if stop != 0 { stop } else { of(slf).engine.sources.traverse(visit, arg) }
    }
}

/// # Safety
/// `slf` is a loop of ours.
unsafe extern "C" fn tp_clear(slf: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded((), || unsafe {
        scheduled::clear(&of(slf).state);
        of(slf).engine.close();
    });
    0
}

/// # Safety
/// `slf` is a loop of ours, to which no reference is left.
unsafe extern "C" fn tp_dealloc(slf: Raw) {
    // SAFETY: the last reference is gone. Tasks that outlive their loop do not exist: each holds a reference to it.
    guarded((), || unsafe {
        PyObject_GC_UnTrack(slf.cast());
        tp_clear(slf);
        let this = slf.cast::<LoopObject>();
        std::ptr::drop_in_place(&raw mut (*this).state);
        std::ptr::drop_in_place(&raw mut (*this).engine);
        held::free(slf);
    });
}

const CREATE_TASK_DOC: &CStr = if cfg!(Py_3_14) {
    c"create_task($self, coro, **kwargs)\n--\n\nSchedule a coroutine; return the Task."
} else {
    c"create_task($self, coro, *, name=None, context=None)\n--\n\nSchedule a coroutine; return the Task."
};

/// Makes the type; the module exports it.
pub fn load() -> Res<*mut PyTypeObject> {
    let kind = methods()
        .flags(Py_TPFLAGS_BASETYPE)
        .doc(c"The native core of aioxide.EventLoop.")
        .slot(Py_tp_new, tp_new as *mut c_void)
        .collector(tp_traverse, tp_clear, tp_dealloc)
        .slot(Py_tp_setattro, tp_setattro as *mut c_void)
        .build(NULL)?;
    overrides::load(kind)?;
    crate::task::loop_state::set_loop_type(kind);
    Ok(kind)
}

fn methods() -> TypeDef {
    let def = TypeDef::new(c"aioxide._aioxide.Loop", size_of::<LoopObject>() - size_of::<PyObject>());
    attributes::add(def)
        .fast(c"call_soon", call_soon, c"call_soon($self, callback, *args, context=None)\n--\n\nArrange for callback(*args) to be called in the next iteration.")
        .fast(c"call_soon_threadsafe", call_soon_threadsafe, c"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\nLike call_soon(), but thread-safe.")
        .fast(c"call_later", call_later, c"call_later($self, delay, callback, *args, context=None)\n--\n\nArrange for callback(*args) to be called after delay seconds.")
        .fast(c"call_at", call_at, c"call_at($self, when, callback, *args, context=None)\n--\n\nLike call_later(), but at an absolute time of the loop's clock.")
        .fast(c"run_in_executor", run_in_executor, c"run_in_executor($self, executor, func, *args)\n--\n\nCall func in a thread or process; return a future of the loop.")
        .fast(c"time", time, c"time($self)\n--\n\nReturn the time of the loop's clock, in seconds.")
        .fast(c"create_future", create_future, c"create_future($self)\n--\n\nCreate a Future attached to the loop.")
        .fast(c"create_task", create_task, CREATE_TASK_DOC)
        .fast(c"stop", stop, c"stop($self)\n--\n\nStop running after the current iteration.")
        .fast(c"is_running", is_running, c"is_running($self)\n--\n\nReturn True if the loop runs.")
        .fast(c"is_closed", is_closed, c"is_closed($self)\n--\n\nReturn True if the loop is closed.")
        .fast(c"get_debug", get_debug, c"get_debug($self)\n--\n\nReturn True in debug mode.")
        .noargs(c"_run_until_stopped", run_until_stopped, c"Iterate until stop() is called.")
        .noargs(c"_run_once", run_once, c"Run one iteration.")
        .noargs(c"_check_closed", check_closed, c"Raise RuntimeError if the loop is closed.")
        .onearg(c"_timer_handle_cancelled", timer_handle_cancelled, c"Called by asyncio's own timer handles.")
        .fast(c"_add_reader", add_reader, c"Watch a descriptor for reading.")
        .fast(c"_add_writer", add_writer, c"Watch a descriptor for writing.")
        .onearg(c"_remove_reader", remove_reader, c"Stop watching a descriptor for reading.")
        .onearg(c"_remove_writer", remove_writer, c"Stop watching a descriptor for writing.")
        .onearg(c"_add_callback", add_callback, c"Queue a handle.")
        .fast(c"_serve", serve, c"Accept connections on a listening socket.")
        .onearg(
            c"_transport_of",
            transport_of,
            c"Return the native transport that owns a descriptor, or None.",
        )
        .fast(c"_begin_connect", begin_connect, c"Start to connect to a literal address.")
        .fast(c"_finish_connect", finish_connect, c"Make the transport of a connection that was begun.")
        .noargs(c"_watched", watched, c"List what is watched.")
        .noargs(c"_open", open, c"Make the epoll set.")
        .fast(c"_attach_wake", attach_wake, c"Watch the pair of sockets that wakes the loop.")
        .noargs(c"_detach_wake", detach_wake, c"Stop watching it.")
        .noargs(c"_before_fork", before_fork, c"Send what was written: the child must not send it too.")
        .noargs(c"_after_fork", after_fork, c"Share nothing with the parent process from now on.")
        .noargs(c"_close_engine", close_engine, c"Let go of the epoll set.")
        .noargs(c"_clear_ready", clear_ready, c"Forget the ready queue.")
        .noargs(c"_clear_timers", clear_timers, c"Forget the timers.")
        .noargs(c"_ready_handles", ready_handles, c"List the handles in the ready queue.")
        .noargs(c"_timer_handles", timer_handles, c"List the timer handles.")
        .noargs(c"_ready_count", ready_count, c"Return how much is ready to run.")
        .noargs(c"_live_tasks", live_tasks, c"List the live native tasks.")
        .noargs(c"_poller_fileno", poller_fileno, c"Return the descriptor of the epoll set.")
}
