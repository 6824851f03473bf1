//! The Python type of stream transports: a real subclass of `asyncio.Transport`, one function a method.

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use super::state::{self, Next, Parts, Stream, Transport, of};
use super::{info, life, recv, send};
use crate::ffi::args::{Args, Named, Overriding, type_error_text};
use crate::ffi::guard::{fastcall, getter, guarded, noargs, onearg, overriding, setter, visit};
use crate::ffi::names::{intern, stdlib};
use crate::ffi::object::{
    boolean, bytes, call_method, check, dict, int, is_none, list, ret, string, truth, tuple,
};
use crate::ffi::typedef::{TypeDef, size_of_type};
use crate::ffi::{NULL, Obj, Raised, Raw, Res, error, names, none};

// ------------------------------------------------------------------------------------------------------- methods

/// The method of asyncio's own transport that ours of this name stands for.
#[inline(always)]
fn base(receiver: Raw, name: &'static CStr) -> Overriding {
    Overriding { receiver, class: |_| stdlib().selector_transport, name }
}

/// The one argument that a method has, given by place or by its name.
#[inline(always)]
fn only(args: Args, name: &str, method: Overriding) -> Res<Raw> {
    let mut named = Named::default();
    let args = args.placed(&[name], method, &mut named)?;
    args.no_more(1, method)?;
    Ok(args.positional()[0])
}

/// Acts on what was decided; the method answers None.
#[inline(always)]
fn done(this: Transport<'_>, decided: Res<Next>) -> Res {
    life::act(this, decided?)?;
    Ok(none())
}

fastcall!(py_write, |slf, args| {
    let data = only(args, "data", base(slf, c"write"))?;
    done(of(slf), send::write(of(slf), data))
});

fastcall!(py_writelines, |slf, args| {
    let lines = only(args, "list_of_data", base(slf, c"writelines"))?;
    done(of(slf), send::write_lines(of(slf), lines))
});

overriding!(py_write_eof, base, c"write_eof", |slf| life::write_eof(of(slf)).map(|()| none()));

overriding!(py_can_write_eof, base, c"can_write_eof", |slf| Ok(boolean(true)));

overriding!(py_close, base, c"close", |slf| life::close(of(slf)).map(|()| none()));

overriding!(py_abort, base, c"abort", |slf| life::force_close(of(slf), NULL).map(|()| none()));

onearg!(py_force_close, |slf, exception| {
    life::force_close(of(slf), if is_none(exception) { NULL } else { exception })?;
    Ok(none())
});

fastcall!(py_fatal_error, |slf, args| {
    args.require(&["exc"], "_fatal_error")?;
    let given = args.positional();
    let text = match given.get(1) {
        Some(text) => Obj::new(*text),
        None => string("Fatal error on transport")?,
    };
    let mut size = 0;
    let data = PyUnicode_AsUTF8AndSize(text.as_ptr(), &mut size);
    if data.is_null() {
        return Err(Raised);
    }
    life::fatal_error(of(slf), Obj::new(given[0]), CStr::from_ptr(data))?;
    Ok(none())
});

onearg!(py_call_connection_lost, |slf, exception| {
    life::connection_lost(of(slf), if is_none(exception) { NULL } else { exception })?;
    Ok(none())
});

overriding!(py_is_closing, base, c"is_closing", |slf| {
    let this = of(slf);
    life::act(this, send::flush_for_drain(this)?)?;
    Ok(boolean(this.closing.get()))
});

// The two that the socket which `get_extra_info` gives calls before it does something.
noargs!(py_flush, |slf| life::flush(of(slf)).map(|()| none()));

noargs!(py_write_at_once, |slf| done(of(slf), send::write_at_once(of(slf))));

overriding!(py_is_reading, base, c"is_reading", |slf| Ok(boolean(
    !of(slf).closing.get() && !of(slf).reading.paused.get()
)));

overriding!(py_pause_reading, base, c"pause_reading", |slf| {
    recv::pause(of(slf));
    Ok(none())
});

overriding!(py_resume_reading, base, c"resume_reading", |slf| {
    recv::resume(of(slf))?;
    life::read_if_due(of(slf));
    Ok(none())
});

overriding!(py_get_protocol, base, c"get_protocol", |slf| Ok(of(slf).protocol.or_none()));

fastcall!(py_set_protocol, |slf, args| {
    let protocol = only(args, "protocol", base(slf, c"set_protocol"))?;
    life::set_protocol(of(slf), Obj::new(protocol))?;
    life::read_if_due(of(slf));
    Ok(none())
});

fastcall!(py_get_extra_info, |slf, args| {
    let mut values = [NULL; 2];
    args.bind(&[names().name, names().default], 2, &mut values, base(slf, c"get_extra_info"))?;
    if values[0].is_null() {
        args.require(&["name"], base(slf, c"get_extra_info"))?;
    }
    let (this, asked) = (of(slf), info::asked(values[0])?);
    if asked == info::Asked::Socket {
        life::flush(this)?;
    }
    info::get(this, asked, values[0], values[1])
});

overriding!(py_get_write_buffer_size, base, c"get_write_buffer_size", |slf| {
    life::flush(of(slf))?;
    int(of(slf).queued() as i64)
});

overriding!(py_get_write_buffer_limits, base, c"get_write_buffer_limits", |slf| {
    let this = of(slf);
    let low = show_mark(&this, c"_low_water", this.low_water.get())?;
    let high = show_mark(&this, c"_high_water", this.high_water.get())?;
    tuple(&[low.as_ptr(), high.as_ptr()])
});

fastcall!(py_set_write_buffer_limits, |slf, args| {
    let mut values = [NULL; 2];
    args.bind(&[names().high, names().low], 2, &mut values, base(slf, c"set_write_buffer_limits"))?;
    // asyncio's own rule sets the two attributes below, or says what is wrong.
    let or_none = |value: Raw| Obj::maybe(value).unwrap_or_else(none);
    let (high, low) = (or_none(values[0]), or_none(values[1]));
    call_method(intern(c"_set_write_buffer_limits")?, &[slf, high.as_ptr(), low.as_ptr()])?;
    let this = of(slf);
    life::flush(this)?;
    send::maybe_pause_protocol(this)?;
    Ok(none())
});

/// A mark in bytes; one beyond what memory can hold is never reached, whatever it is.
fn mark(value: Raw) -> Res<usize> {
    if value.is_null() {
        return error::type_error(c"cannot delete attribute");
    }
    // SAFETY: converts or raises.
    let number = unsafe { PyFloat_AsDouble(value) };
    if number != -1.0 || !error::occurred() {
        return Ok(number as usize);
    }
    // SAFETY: a type check, and a static of the interpreter.
    if unsafe { PyLong_Check(value) != 0 && error::matches(PyExc_OverflowError) } {
        error::clear();
        return Ok(usize::MAX);
    }
    Err(Raised)
}

/// The bytes of a mark that is set. One that is no plain number of bytes, `math.inf` say, is shown again as it was given: its object is kept
/// in the instance's dict.
fn set_mark(this: Transport<'_>, name: &'static CStr, value: Raw) -> Res<usize> {
    let bytes = mark(value)?;
    let name = intern(name)?;
    // SAFETY: live objects; the dict is ours.
    unsafe {
        if PyLong_CheckExact(value) != 0 && bytes <= isize::MAX as usize {
            if let Some(marks) = this.dict.share()
                && PyDict_Contains(marks.as_ptr(), name) == 1
            {
                check(PyDict_DelItem(marks.as_ptr(), name))?;
            }
        } else {
            if !this.dict.is_set() {
                this.keep_dict(dict(&[])?);
            }
            check(PyDict_SetItem(this.dict.get(), name, value))?;
        }
    }
    Ok(bytes)
}

fn show_mark(this: &Stream, name: &'static CStr, bytes: usize) -> Res {
    if let Some(marks) = this.dict.share() {
        // SAFETY: a dict and an interned key; the value is borrowed from the dict.
        let kept = unsafe { PyDict_GetItemWithError(marks.as_ptr(), intern(name)?) };
        if !kept.is_null() {
            return Ok(Obj::new(kept));
        }
        if error::occurred() {
            return Err(Raised);
        }
    }
    int(bytes as i64)
}

// The two that `loop.sendfile` uses to know when what was written has left.
overriding!(py_make_empty_waiter, base, c"_make_empty_waiter", |slf| {
    let this = of(slf);
    if this.empty_waiter.is_set() {
        return error::runtime_error(c"Empty waiter is already set");
    }
    life::flush(this)?;
    let owner = this.require_loop()?;
    let waiter = call_method(names().create_future, &[owner.state.object])?;
    if this.queued() == 0 {
        call_method(intern(c"set_result")?, &[waiter.as_ptr(), none().as_ptr()])?;
    }
    this.set_empty_waiter(waiter.clone());
    Ok(waiter)
});

overriding!(py_reset_empty_waiter, base, c"_reset_empty_waiter", |slf| {
    drop(of(slf).take_empty_waiter());
    Ok(none())
});

// The two that `loop._transports` uses while `sock_sendfile` has the descriptor for itself.
noargs!(py_detach_engine, |slf| {
    life::unregister(of(slf));
    Ok(none())
});

noargs!(py_attach_engine, |slf| {
    let this = of(slf);
    if this.owner.is_set() && this.fd.get() >= 0 {
        life::register(this)?;
    }
    Ok(none())
});

/// # Safety
/// `slf` is a transport.
unsafe extern "C" fn tp_repr(slf: Raw) -> Raw {
    // SAFETY: a slot of the type.
    guarded(NULL, || unsafe { ret(string(&describe(&of(slf)))) })
}

/// As asyncio's selector transports show themselves.
fn describe(this: &Stream) -> String {
    let mut parts = vec![String::from("_SelectorSocketTransport")];
    if !this.owner.is_set() {
        parts.push("closed".into());
    } else if this.closing.get() {
        parts.push("closing".into());
    }
    parts.push(format!("fd={}", this.number.get()));
    if this.loop_object().is_some_and(|owner| !owner.state.closed.get()) {
        let polls = this.reading.begun.get() && !this.reading.paused.get() && !this.closing.get();
        parts.push(format!("read={}", if polls { "polling" } else { "idle" }));
        let writes = if this.writing.blocked.get() { "polling" } else { "idle" };
        parts.push(format!("write=<{writes}, bufsize={}>", this.queued()));
    }
    format!("<{}>", parts.join(" "))
}

// ---------------------------------------------------------------------------------------------------- attributes

getter!(get_extra, |slf| info::extra_of(of(slf)));
getter!(get_sock, |slf| {
    let this = of(slf);
    if this.fd.get() < 0 {
        return Ok(none());
    }
    // `loop.sendfile` takes it as well: it gives it back.
    if !this.empty_waiter.is_set() {
        life::act(this, send::write_at_once(this)?)?;
    }
    info::socket_of(&this)
});
getter!(get_sock_fd, |slf| int(of(slf).number.get().into()));
getter!(get_owner, |slf| Ok(of(slf).owner.or_none()));
getter!(get_protocol, |slf| Ok(of(slf).protocol.or_none()));
getter!(get_server, |slf| Ok(of(slf).server.or_none()));
getter!(get_closing, |slf| Ok(boolean(of(slf).closing.get())));
getter!(get_paused, |slf| Ok(boolean(of(slf).reading.paused.get())));
getter!(get_eof, |slf| Ok(boolean(of(slf).eof_written.get())));
getter!(get_conn_lost, |slf| int(of(slf).lost.get().into()));
getter!(get_protocol_connected, |slf| Ok(boolean(of(slf).protocol_connected.get())));
getter!(get_protocol_paused, |slf| Ok(boolean(of(slf).writing.protocol_paused.get())));
setter!(set_protocol_paused, |slf, value| {
    of(slf).writing.set_protocol_paused(!value.is_null() && truth(value)?);
    Ok(())
});
getter!(get_high_water, |slf| show_mark(&of(slf), c"_high_water", of(slf).high_water.get()));
getter!(get_low_water, |slf| show_mark(&of(slf), c"_low_water", of(slf).low_water.get()));
setter!(set_high_water, |slf, value| {
    of(slf).set_high_water(set_mark(of(slf), c"_high_water", value)?);
    send::look_at_limits(&of(slf));
    Ok(())
});
setter!(set_low_water, |slf, value| {
    of(slf).set_low_water(set_mark(of(slf), c"_low_water", value)?);
    Ok(())
});
getter!(get_empty_waiter, |slf| Ok(of(slf).empty_waiter.or_none()));
getter!(get_buffer, |slf| {
    let chunks: Vec<_> = of(slf).with_queue(|queue| queue.slices().map(<[u8]>::to_vec).collect());
    list(&chunks.iter().map(|chunk| bytes(chunk)).collect::<Res<Vec<_>>>()?)
});
getter!(get_true, |_slf| Ok(boolean(true)));
getter!(get_sendfile_mode, |_slf| Ok(Obj::new(stdlib().try_native)));

// ------------------------------------------------------------------------------------------------ life and death

/// # Safety
/// `args` is a tuple, `kwargs` a dict or null.
unsafe extern "C" fn tp_new(_: *mut PyTypeObject, args: Raw, kwargs: Raw) -> Raw {
    // SAFETY: a slot of the type.
    guarded(NULL, || unsafe { ret(construct(args, kwargs)) })
}

/// All is done by `tp_new`; the base's `__init__` would only set an attribute that ours hides.
extern "C" fn tp_init(_: Raw, _: Raw, _: Raw) -> c_int {
    0
}

/// `SocketTransport(loop, sock, protocol, waiter, extra, server)`: what `_make_socket_transport` calls.
///
/// # Safety
/// As `tp_new`.
unsafe fn construct(args: Raw, kwargs: Raw) -> Res {
    // SAFETY: a tuple and a dict or null, as the interpreter passes them.
    unsafe {
        if !kwargs.is_null() || PyTuple_GET_SIZE(args) != 6 {
            return type_error_text(
                "SocketTransport is made by the loop: use loop.create_connection()".into(),
            );
        }
        let item = |at| PyTuple_GET_ITEM(args, at);
        let (owner, sock) = (item(0), item(1));
        if crate::task::loop_state::native_state(owner).is_none() {
            return error::type_error(c"SocketTransport needs a loop of aioxide");
        }
        let fd = call_method(names().fileno, &[sock])?;
        let fd = PyLong_AsLong(fd.as_ptr()) as i32;
        let tcp = aioxide_sys::socket::is_plain_tcp(fd);
        life::start(Parts {
            owner: &*owner.cast::<crate::engine::LoopObject>(),
            fd,
            tcp,
            protocol: Obj::new(item(2)),
            sock: Some(Obj::new(sock)),
            server: item(5),
            peer: None,
            extra: item(4),
            ask_names: true,
            waiter: item(3),
            context: None,
        })
    }
}

/// # Safety
/// `slf` is a transport.
unsafe extern "C" fn tp_finalize(slf: Raw) {
    // SAFETY: a slot of the type.
    guarded((), || unsafe {
        if of(slf).fd.get() >= 0 {
            life::abandon(of(slf));
        }
    });
}

/// # Safety
/// `slf` is a transport; the visitor is the collector's, which runs no Python.
unsafe extern "C" fn tp_traverse(slf: Raw, visitor: visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: a slot of the type: the interpreter calls it with an instance.
    unsafe {
        // The base is a Python class: its own function would look for the first that is not, and call this one.
        visit!(Py_TYPE(slf).cast(), visitor, arg);
        of(slf).traverse(visitor, arg)
    }
}

/// # Safety
/// `slf` is a transport.
unsafe extern "C" fn tp_clear(slf: Raw) -> c_int {
    // SAFETY: a slot of the type.
    guarded((), || unsafe { of(slf).clear() });
    0
}

/// # Safety
/// `slf` is a transport, to which no reference is left.
unsafe extern "C" fn tp_dealloc(slf: Raw) {
    // SAFETY: the last reference is gone, unless the finaliser makes a new one.
    guarded((), || unsafe {
        let this = of(slf);
        if this.fd.get() >= 0 && PyObject_CallFinalizerFromDealloc(slf) < 0 {
            return;
        }
        PyObject_GC_UnTrack(slf.cast());
        this.end(slf);
        let kind = Py_TYPE(slf);
        PyObject_GC_Del(slf.cast());
        Py_DECREF(kind.cast());
    });
}

pub fn load() -> Res<*mut PyTypeObject> {
    let base = stdlib().transport_type;
    let body = size_of_type(base).next_multiple_of(align_of::<Stream>());
    let padding = body - size_of_type(base);
    let def = TypeDef::new(c"aioxide._SelectorSocketTransport", padding + size_of::<Stream>())
        .doc(c"A stream connection, TCP or Unix: an asyncio.Transport, native.")
        .slot(Py_tp_new, tp_new as *mut c_void)
        .slot(Py_tp_init, tp_init as *mut c_void)
        .collector(tp_traverse, tp_clear, tp_dealloc)
        .slot(Py_tp_finalize, tp_finalize as *mut c_void)
        .slot(Py_tp_repr, tp_repr as *mut c_void)
        .offset_member(c"__weaklistoffset__", body + state::WEAKREFS)
        .offset_member(c"__dictoffset__", body + state::DICT);
    let made = attributes(methods(def)).build(base)?;
    // SAFETY: the import; our fields begin there in each instance of the type.
    unsafe { state::load(made, body) };
    Ok(made)
}

fn methods(def: TypeDef) -> TypeDef {
    def.fast(
        c"write",
        py_write,
        c"write($self, data)\n--\n\nSend bytes; they leave at the end of this turn of the loop, in order.",
    )
    .fast(c"writelines", py_writelines, c"writelines($self, list_of_data)\n--\n\nSend several bytes objects.")
    .fast(c"write_eof", py_write_eof, c"Close the sending side once all has been sent.")
    .fast(c"can_write_eof", py_can_write_eof, c"Return True: the sending side can be closed alone.")
    .fast(c"close", py_close, c"Close once all has been sent.")
    .fast(c"abort", py_abort, c"Close now; what was not sent is lost.")
    .fast(c"is_closing", py_is_closing, c"Return True if it is closing or closed.")
    .fast(c"is_reading", py_is_reading, c"Return True if it receives.")
    .fast(c"pause_reading", py_pause_reading, c"Stop receiving.")
    .fast(c"resume_reading", py_resume_reading, c"Receive again.")
    .fast(c"get_protocol", py_get_protocol, c"Return the protocol.")
    .fast(c"set_protocol", py_set_protocol, c"set_protocol($self, protocol)\n--\n\nSet another protocol.")
    .fast(c"get_extra_info", py_get_extra_info, c"Return what is known by that name, or default.")
    .fast(c"get_write_buffer_size", py_get_write_buffer_size, c"Return how many bytes wait to be sent.")
    .fast(c"get_write_buffer_limits", py_get_write_buffer_limits, c"Return (low, high), in bytes.")
    .fast(c"set_write_buffer_limits", py_set_write_buffer_limits, c"Set the marks of flow control, in bytes.")
    .fast(c"_make_empty_waiter", py_make_empty_waiter, c"A future that is done when all has been sent.")
    .fast(c"_reset_empty_waiter", py_reset_empty_waiter, c"Forget that future.")
    .noargs(c"_flush", py_flush, c"Send what was written in this turn.")
    .noargs(
        c"_write_at_once",
        py_write_at_once,
        c"Send what was written, and from now on each write in the call.",
    )
    .noargs(c"_detach_engine", py_detach_engine, c"Take the descriptor out of the loop.")
    .noargs(c"_attach_engine", py_attach_engine, c"Give the descriptor back to the loop.")
    .onearg(c"_force_close", py_force_close, c"Close now, because of an exception.")
    .fast(c"_fatal_error", py_fatal_error, c"Report an exception and close now.")
    .onearg(
        c"_call_connection_lost",
        py_call_connection_lost,
        c"Tell the protocol and release everything.",
    )
}

fn attributes(def: TypeDef) -> TypeDef {
    def.getset(c"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict)
        .get(c"_extra", get_extra)
        .get(c"_sock", get_sock)
        .get(c"_sock_fd", get_sock_fd)
        .get(c"_loop", get_owner)
        .get(c"_protocol", get_protocol)
        .get(c"_server", get_server)
        .get(c"_closing", get_closing)
        .get(c"_paused", get_paused)
        .get(c"_eof", get_eof)
        .get(c"_conn_lost", get_conn_lost)
        .get(c"_protocol_connected", get_protocol_connected)
        .getset(c"_protocol_paused", get_protocol_paused, set_protocol_paused)
        .getset(c"_high_water", get_high_water, set_high_water)
        .getset(c"_low_water", get_low_water, set_low_water)
        .get(c"_empty_waiter", get_empty_waiter)
        .get(c"_buffer", get_buffer)
        .get(c"_start_tls_compatible", get_true)
        .get(c"_sendfile_compatible", get_sendfile_mode)
}
