//! Floor 5, the face: one function a loop operation, with bodies of a few lines that call down.
//!
//! `aioxide._aioxide.Loop` is the base that `aioxide.EventLoop` puts in front of `asyncio.SelectorEventLoop`: what is
//! here is native, the rest of `AbstractEventLoop` is asyncio's own Python.

mod attributes;
mod docs;

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use crate::calls::executor;
use crate::engine::fileno::fileno;
use crate::engine::source::Side;
use crate::engine::{Engine, LoopObject, loop_clock, turn, wake_source, watch, yield_gil};
use crate::ffi::args::{Named, Overriding};
use crate::ffi::calls::{call, call_kw, call_method, tuple};
use crate::ffi::class::{Class, Native};
use crate::ffi::guard::guarded;
use crate::ffi::names::{imported, interned, text};
use crate::ffi::object::{float, getattr, int, list, string, truth};
use crate::ffi::{Args, NULL, Raised, Raw, Ref, Res, builtin, compat, error, none, number};
use crate::net::state::Stream;
use crate::net::{connect, server, sock_calls};
use crate::task::handle::{self, Handle};
use crate::task::loop_state::{self, Item, LoopState};
use crate::task::overrides::{self, CALL_AT};
use crate::task::{future_type, registry, scheduled, task_type};

/// The method of `asyncio.BaseEventLoop` that ours of this name stands for.
#[inline(always)]
fn base<'r>(this: &'r LoopObject, name: &'static CStr) -> Overriding<'r> {
    Overriding { receiver: this.object(), class: |_| imported().base_event_loop, name }
}

// ----------------------------------------------------------------------------------------------------- callbacks

fn call_soon(this: &LoopObject, args: Args) -> Res {
    let mut named = Named::default();
    let args = args.placed(&["callback"], base(this, c"call_soon"), &mut named)?;
    let context = args.only(interned().context, base(this, c"call_soon"))?;
    let state = &this.state;
    state.check_schedule()?;
    schedule(state, args, context, c"call_soon", false)
}

fn call_soon_threadsafe(this: &LoopObject, args: Args) -> Res {
    let mut named = Named::default();
    let base = base(this, c"call_soon_threadsafe");
    let args = args.placed(&["callback"], base, &mut named)?;
    let context = args.only(interned().context, base)?;
    this.state.check_closed()?;
    let made = schedule(&this.state, args, context, c"call_soon_threadsafe", true)?;
    this.engine.wake.wake();
    yield_gil::when_behind(&this.state);
    Ok(made)
}

#[inline(always)]
fn schedule(
    state: &LoopState,
    args: Args,
    context: Option<Ref>,
    method: &'static CStr,
    thread_safe: bool,
) -> Res {
    let ([callback], rest) = args.split();
    if state.debug.get() {
        check_callback(*callback, method)?;
        return handle::queue_in_debug(state, thread_safe, *callback, rest, context);
    }
    handle::queue(state, thread_safe, *callback, rest, context)
}

/// Debug mode refuses what cannot be called, and coroutines: `BaseEventLoop._check_callback`.
#[cold]
fn check_callback(callback: Ref, method: &'static CStr) -> Res<()> {
    let check = getattr(imported().base_event_loop, text(c"_check_callback")?)?;
    // The method uses nothing of its receiver.
    call(&check, &[none().borrow(), callback, text(method)?]).map(drop)
}

fn call_later(this: &LoopObject, args: Args) -> Res {
    let mut named = Named::default();
    let base = base(this, c"call_later");
    let args = args.placed(&["delay", "callback"], base, &mut named)?;
    let ([delay, callback], rest) = args.split();
    let context = args.only(interned().context, base)?;
    if delay.is_none() {
        return error::type_error(c"delay must not be None");
    }
    let state = &this.state;
    if state.overrides.has(state.object(), CALL_AT) {
        return call_at_by_method(this, *delay, args);
    }
    arm(state, due_after(state, *delay)?, *callback, rest, context)
}

/// `time() + delay`, for whatever can be added to a float.
#[inline(always)]
fn due_after(state: &LoopState, delay: Ref) -> Res<f64> {
    let now = loop_clock::now(state)?;
    if number::is_float(delay) || number::is_int(delay) {
        return Ok(now + seconds(delay, "delay")?);
    }
    match number::add(&float(now)?, delay) {
        Ok(when) => seconds(when.borrow(), "delay"),
        // SAFETY: looks at the type of a live object.
        Err(Raised) if unsafe { PyNumber_Check(delay.as_ptr()) } == 0 => no_number(delay, "delay"),
        Err(Raised) => Err(Raised),
    }
}

/// `self.call_at(self.time() + delay, ...)`, where `call_at` is the user's.
#[cold]
fn call_at_by_method(this: &LoopObject, delay: Ref, args: Args) -> Res {
    let now = call_method(interned().time, &[this.object()])?;
    let when = number::add(&now, delay)?;
    let method = getattr(this.object(), interned().call_at)?;
    let mut values = args.with_keywords().to_vec();
    values[0] = when.borrow();
    call_kw(&method, &values, args.kwnames())
}

fn call_at(this: &LoopObject, args: Args) -> Res {
    let mut named = Named::default();
    let base = base(this, c"call_at");
    let args = args.placed(&["when", "callback"], base, &mut named)?;
    let ([when, callback], rest) = args.split();
    let context = args.only(interned().context, base)?;
    if when.is_none() {
        return error::type_error(c"when cannot be None");
    }
    arm(&this.state, seconds(*when, "when")?, *callback, rest, context)
}

#[inline(always)]
fn arm(state: &LoopState, when: f64, callback: Ref, args: &[Ref], context: Option<Ref>) -> Res {
    state.check_schedule()?;
    if state.debug.get() {
        check_callback(callback, c"call_at")?;
    }
    let made = handle::new_timer(state, when, callback, args, context)?;
    if state.debug.get() {
        handle::record_source(&made)?;
    }
    state.push_timer(when, made.clone())?;
    Ok(made)
}

#[inline(always)]
fn seconds(value: Ref, name: &str) -> Res<f64> {
    number::as_f64(value).or_else(|Raised| no_number(value, name))
}

/// The interpreter's own words for what is no number, or too large a one, do not say what it was given for. What a method of
/// the value's has raised stays.
#[cold]
fn no_number(value: Ref, name: &str) -> Res<f64> {
    if number::is_int(value) && error::matches(builtin::overflow_error()) {
        error::clear();
        let bits = call_method(text(c"bit_length")?, &[value])?;
        let text =
            string(&format!("{name} must be a number of seconds that a float can hold, not an int of"))?;
        return error::raise_with(builtin::overflow_error(), c"%S %S bits", &text, bits.borrow());
    }
    if !number::is_number(value) {
        let kind = error::type_name(value)?;
        let text = string(&format!("{name} must be a number of seconds, not"))?;
        return error::raise_with(builtin::type_error(), c"%S %S", &text, kind.borrow());
    }
    Err(Raised)
}

fn time(this: &LoopObject, args: Args) -> Res {
    args.none(base(this, c"time"))?;
    float(loop_clock::monotonic(this.py())?)
}

fn run_in_executor(this: &LoopObject, args: Args) -> Res {
    executor::run_in_executor(this, args)
}

// ---------------------------------------------------------------------------------------------- futures and tasks

fn create_future(this: &LoopObject, args: Args) -> Res {
    args.none(base(this, c"create_future"))?;
    let state = &this.state;
    if !compat::has_layout() {
        return inherited(this, c"create_future", &[], None);
    }
    let made = future_type::new(state)?;
    if !state.is_plain() {
        let debug = call_method(interned().get_debug, &[this.object()])?;
        if truth(&debug)? {
            // SAFETY: a future, as it was made one.
            unsafe { crate::task::future::of(&made) }.record_source()?;
        }
    }
    Ok(made)
}

fn create_task(this: &LoopObject, args: Args) -> Res {
    let mut named = Named::default();
    let base = base(this, c"create_task");
    let args = args.placed(&["coro"], base, &mut named)?;
    args.at_most(1, base)?;
    let state = &this.state;
    state.check_closed()?;
    if state.task_factory.is_set() || !compat::has_layout() {
        return inherited(this, c"create_task", args.with_keywords(), args.kwnames());
    }
    let n = interned();
    let [name, context, eager] = args.named([n.name, n.context, n.eager_start], base)?;
    let options = task_type::Options {
        name,
        context: crate::task::future::given(context),
        eager_start: eager.map_or(Ok(false), truth)?,
    };
    task_type::new(state, args.given()[0], options)
}

/// The method of `asyncio.BaseEventLoop`; `values` are the arguments without the receiver, those named in `kwnames` behind.
fn inherited(this: &LoopObject, name: &'static CStr, values: &[Ref], kwnames: Option<Ref>) -> Res {
    let method = getattr(imported().base_event_loop, text(name)?)?;
    call_kw(&method, &[&[this.object()], values].concat(), kwnames)
}

// ------------------------------------------------------------------------------------------------------- running

fn run_until_stopped(this: &LoopObject) -> Res<()> {
    let result = turn::run_until_stopped(this);
    let raised = error::take();
    crate::processes::home::loop_stops(this.object());
    error::restore(raised);
    result
}

fn run_once(this: &LoopObject) -> Res<()> {
    this.engine.io_touched.set(true);
    turn::turn(this)
}

fn stop(this: &LoopObject, args: Args) -> Res<()> {
    args.none(base(this, c"stop"))?;
    this.state.stopping.set(true);
    Ok(())
}

fn is_running(this: &LoopObject, args: Args) -> Res<bool> {
    args.none(base(this, c"is_running"))?;
    Ok(this.state.thread.get() != 0)
}

fn is_closed(this: &LoopObject, args: Args) -> Res<bool> {
    args.none(base(this, c"is_closed"))?;
    Ok(this.state.closed.get())
}

fn get_debug(this: &LoopObject, args: Args) -> Res {
    args.none(base(this, c"get_debug"))?;
    Ok(attributes::debug_as_set(&this.state))
}

// --------------------------------------------------------------------------------------------- file descriptors

/// Nobody can have watched what is no descriptor.
fn stop_watching(this: &LoopObject, fd: Ref, side: Side) -> Res<bool> {
    match fileno(fd) {
        Ok(fd) => Ok(watch::remove(this, fd, side)? || (side == Side::Read && server::stop(this, fd))),
        Err(Raised) if error::matches(builtin::overflow_error()) => {
            error::clear();
            Ok(false)
        }
        Err(Raised) if error::matches(builtin::value_error()) => match this.engine.sources.fd_of(fd) {
            // A file or socket that was closed meanwhile.
            Some(number) => {
                error::clear();
                watch::remove(this, number, side)
            }
            None => Err(Raised),
        },
        Err(Raised) => Err(Raised),
    }
}

fn watch_side(this: &LoopObject, args: Args, side: Side, name: &'static CStr) -> Res {
    let base = Overriding { class: |_| imported().selector_event_loop, ..base(this, name) };
    let mut named = Named::default();
    let args = args.placed(&["fd", "callback"], base, &mut named)?;
    let ([file, callback], rest) = args.split();
    // From 3.15 on.
    let context = args.only(interned().context, base)?;
    watch::add(this, *file, side, *callback, rest, context)
}

fn add_callback(this: &LoopObject, given: Ref) -> Res<()> {
    let state = &this.state;
    if let Some(handle) = given.cast::<Handle>() {
        if !handle.is_cancelled() {
            state.push(Item::Run(given.to_obj()))?;
        }
    } else if !truth(&getattr(given, text(c"_cancelled")?)?)? {
        state.push(Item::Job { object: given.to_obj(), run: run_foreign_handle })?;
    }
    Ok(())
}

/// # Safety
/// `object` is a live object.
unsafe fn run_foreign_handle(_: &LoopState, object: Raw) -> Res<()> {
    // SAFETY: the queue held it, and whoever took it out does.
    call_method(text(c"_run")?, &[unsafe { Ref::new(object) }]).map(drop)
}

// `_serve(sock, protocol_factory, server, backlog, arguments of asyncio's _accept_connection)`.
fn serve(this: &LoopObject, args: Args) -> Res<()> {
    let names = ["sock", "protocol_factory", "server", "backlog", "fallback"];
    let [sock, factory, server, backlog, fallback] = args.first(names, "_serve")?;
    let backlog = number::as_i64(backlog)?;
    server::serve(this, fileno(sock)?, factory, server, backlog, fallback)
}

// `_begin_connect(host, port)`: (fd, connected), or None where the host is no literal address.
fn begin_connect(_: &LoopObject, args: Args) -> Res {
    let [host, port] = args.first(["host", "port"], "_begin_connect")?;
    connect::begin(host, port)
}

// `_finish_connect(fd, host, port, protocol, waiter)`: the transport, or the error of the connection.
fn finish_connect(this: &LoopObject, args: Args) -> Res {
    let names = ["fd", "host", "port", "protocol", "waiter"];
    let [fd, host, port, protocol, waiter] = args.first(names, "_finish_connect")?;
    connect::finish(this, fileno(fd)?, host, port, protocol, waiter)
}

// `_watch_once(fd, writable, future)`: finishes the future when the descriptor is ready; its handle.
fn watch_once(this: &LoopObject, args: Args) -> Res {
    let [fd, writable, future] = args.first(["fd", "writable", "future"], "_watch_once")?;
    watch::once(this, fileno(fd)?, side_of(writable)?, future)
}

// `_end_watch(fd, writable, handle)`.
fn end_watch(this: &LoopObject, args: Args) -> Res<()> {
    let [fd, writable, handle] = args.first(["fd", "writable", "handle"], "_end_watch")?;
    watch::end_once(this, fileno(fd)?, side_of(writable)?, handle)
}

fn side_of(writable: Ref) -> Res<Side> {
    Ok(if truth(writable)? { Side::Write } else { Side::Read })
}

fn recv_now(this: &LoopObject, args: Args) -> Res {
    let [sock, size] = args.first(["sock", "n"], "_recv_now")?;
    sock_calls::recv(this, sock, size)
}

fn recv_into_now(this: &LoopObject, args: Args) -> Res {
    let [sock, target] = args.first(["sock", "buf"], "_recv_into_now")?;
    sock_calls::recv_into(this, sock, target)
}

fn send_now(this: &LoopObject, args: Args) -> Res {
    let [sock, data, start] = args.first(["sock", "data", "start"], "_send_now")?;
    sock_calls::send(this, sock, data, start)
}

// `_transport_of(fd)`: the native transport that owns a descriptor, or None.
fn transport_of(this: &LoopObject, fd: Ref) -> Res {
    let owner = this.engine.sources.owner(fileno(fd)?);
    Ok(owner.filter(|owner| owner.borrow().cast::<Stream>().is_some()).unwrap_or_else(none))
}

// `_watched()`: rows of (fd, reader, writer, transport).
fn watched(this: &LoopObject) -> Res {
    let sources = &this.engine.sources;
    let row = |fd: i32| {
        let parts = [sources.handle(fd, Side::Read), sources.handle(fd, Side::Write), sources.owner(fd)];
        let [reader, writer, owner] = parts.map(|object| object.unwrap_or_else(none));
        tuple(&[int(fd.into())?.borrow(), reader.borrow(), writer.borrow(), owner.borrow()])
    };
    list(&sources.watched().into_iter().map(row).collect::<Res<Vec<_>>>()?)
}

// ---------------------------------------------------------------------------------------------- life of the loop

fn attach_wake(this: &LoopObject, args: Args) -> Res<()> {
    let [receiver, sender] = args.first(["receiver", "sender"], "_attach_wake")?;
    wake_source::attach(this, fileno(receiver)?, fileno(sender)?)
}

// In the thread that is about to fork. A loop of another thread does not go on in the child.
fn before_fork(this: &LoopObject) -> Res<()> {
    if this.state.thread.get() == loop_state::thread_ident() {
        this.engine.flush_now()?;
    }
    Ok(())
}

fn close_engine(this: &LoopObject) -> Res<()> {
    crate::processes::home::loop_stops(this.object());
    this.engine.close();
    Ok(())
}

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
        if status == 0 && overrides::is_watched(Ref::new(name)) {
            let slf = Ref::new(slf);
            slf.cast_unchecked::<LoopObject>().state.overrides.look_at_instance(slf);
        }
        status
    })
}

/// Makes the type; the module exports it.
pub fn load() -> Res<*mut PyTypeObject> {
    let kind = attributes::add(methods())
        .collected()
        .also(|def| {
            def.flags(Py_TPFLAGS_BASETYPE)
                .doc(c"The native core of aioxide.EventLoop.")
                .slot(Py_tp_new, tp_new as *mut c_void)
                .slot(Py_tp_setattro, tp_setattro as *mut c_void)
        })
        .build(None)?;
    loop_state::LOOP_TYPE.set(kind);
    // SAFETY: the type that was just made, which is kept for ever.
    overrides::load(unsafe { Ref::new(kind.cast()) })?;
    Ok(kind)
}

/// What asyncio documents.
fn public() -> Class<LoopObject> {
    Class::new(c"aioxide._aioxide.Loop")
        .fast(c"call_soon", call_soon, docs::CALL_SOON)
        .fast(c"call_soon_threadsafe", call_soon_threadsafe, docs::CALL_SOON_THREADSAFE)
        .fast(c"call_later", call_later, docs::CALL_LATER)
        .fast(c"call_at", call_at, docs::CALL_AT)
        .fast(c"run_in_executor", run_in_executor, docs::RUN_IN_EXECUTOR)
        .fast(c"time", time, docs::TIME)
        .fast(c"create_future", create_future, docs::CREATE_FUTURE)
        .fast(c"create_task", create_task, docs::CREATE_TASK)
        .fast(c"stop", stop, docs::STOP)
        .fast(c"is_running", is_running, docs::IS_RUNNING)
        .fast(c"is_closed", is_closed, docs::IS_CLOSED)
        .fast(c"get_debug", get_debug, docs::GET_DEBUG)
}

/// What asyncio's own methods call of the loop, and `_loop/loop.py`.
fn called() -> Class<LoopObject> {
    public()
        .noargs(c"_run_until_stopped", run_until_stopped, c"Iterate until stop() is called.")
        .noargs(c"_run_once", run_once, c"Run one iteration.")
        .noargs(
            c"_check_closed",
            |this| this.state.check_closed(),
            c"Raise RuntimeError if the loop is closed.",
        )
        .onearg(c"_timer_handle_cancelled", |_, _| (), c"Called by asyncio's own timer handles.")
        .fast(
            c"_add_reader",
            |this, args| watch_side(this, args, Side::Read, c"_add_reader"),
            c"Watch a descriptor for reading.",
        )
        .fast(
            c"_add_writer",
            |this, args| watch_side(this, args, Side::Write, c"_add_writer"),
            c"Watch a descriptor for writing.",
        )
        .onearg(
            c"_remove_reader",
            |this, fd| stop_watching(this, fd, Side::Read),
            c"Stop watching a descriptor for reading.",
        )
        .onearg(
            c"_remove_writer",
            |this, fd| stop_watching(this, fd, Side::Write),
            c"Stop watching a descriptor for writing.",
        )
        .onearg(c"_add_callback", add_callback, c"Queue a handle.")
        .fast(c"_watch_once", watch_once, c"Finish a future when a descriptor is ready.")
        .fast(c"_end_watch", end_watch, c"Stop watching for who waits no more.")
        .fast(c"_recv_now", recv_now, c"Receive what is there.")
        .fast(c"_recv_into_now", recv_into_now, c"Receive what is there into a buffer.")
        .fast(c"_send_now", send_now, c"Send what the kernel takes.")
        .fast(c"_serve", serve, c"Accept connections on a listening socket.")
        .onearg(
            c"_transport_of",
            transport_of,
            c"Return the native transport that owns a descriptor, or None.",
        )
        .fast(c"_begin_connect", begin_connect, c"Start to connect to a literal address.")
        .fast(c"_finish_connect", finish_connect, c"Make the transport of a connection that was begun.")
        .noargs(c"_watched", watched, c"List what is watched.")
}

/// All of them, with what begins and ends a loop, and shows its queues.
fn methods() -> Class<LoopObject> {
    called()
        .noargs(c"_open", |this| this.engine.open(), c"Make the epoll set.")
        .fast(c"_attach_wake", attach_wake, c"Watch the pair of sockets that wakes the loop.")
        .noargs(c"_detach_wake", wake_source::detach, c"Stop watching it.")
        .noargs(c"_before_fork", before_fork, c"Send what was written: the child must not send it too.")
        .noargs(
            c"_after_fork",
            |this| this.engine.after_fork(),
            c"Share nothing with the parent process from now on.",
        )
        .noargs(c"_close_engine", close_engine, c"Let go of the epoll set.")
        .noargs(c"_clear_ready", |this| scheduled::clear_ready(&this.state), c"Forget the ready queue.")
        .noargs(c"_clear_timers", |this| scheduled::clear_timers(&this.state), c"Forget the timers.")
        .noargs(
            c"_ready_handles",
            |this| list(&handle::ready(&this.state)?),
            c"List the handles in the ready queue.",
        )
        .noargs(c"_timer_handles", |this| list(&this.state.timer_handles()), c"List the timer handles.")
        .noargs(
            c"_ready_count",
            |this| int(this.state.ready_len() as i64),
            c"Return how much is ready to run.",
        )
        .noargs(
            c"_live_tasks",
            |this| list(&registry::live_tasks(&this.state)),
            c"List the live native tasks.",
        )
        .noargs(
            c"_poller_fileno",
            |this| int(this.engine.fileno().into()),
            c"Return the descriptor of the epoll set.",
        )
}
