//! The Python type of stream transports: a real subclass of `asyncio.Transport`, one function a method.

use std::ffi::{CStr, c_int, c_void};

use aioxide_sys::socket;
use pyo3_ffi::*;

use super::state::{self, Parts, Stream};
use super::{docs, info, life, send};
use crate::engine::LoopObject;
use crate::ffi::args::{Args, Named, Overriding, type_error_text};
use crate::ffi::calls::{call_method, dict, tuple};
use crate::ffi::class::{Class, Native, receiver};
use crate::ffi::guard::guarded;
use crate::ffi::held;
use crate::ffi::names::{imported, interned, text};
use crate::ffi::object::{bytes, check, int, list, ret, string, truth};
use crate::ffi::typedef::{TypeDef, size_of_type};
use crate::ffi::{NULL, Raised, Raw, Ref, Res, builtin, error, none, number};

// ------------------------------------------------------------------------------------------------------- methods

/// The method of asyncio's own transport that ours of this name stands for.
#[inline(always)]
fn base<'r>(this: &'r Stream, name: &'static CStr) -> Overriding<'r> {
    Overriding { receiver: this.object(), class: |_| imported().selector_transport, name }
}

/// The one argument that a method has, given by place or by its name; `named` keeps it.
#[inline(always)]
fn only<'n>(args: Args<'n>, name: &str, method: Overriding, named: &'n mut Named) -> Res<Ref<'n>> {
    let args = args.placed(&[name], method, named)?;
    args.no_more(1, method)?;
    Ok(args.given()[0])
}

fn write(this: &Stream, args: Args) -> Res<()> {
    let mut named = Named::default();
    let data = only(args, "data", base(this, c"write"), &mut named)?;
    life::act(this, send::write(this, data)?)
}

fn write_lines(this: &Stream, args: Args) -> Res<()> {
    let mut named = Named::default();
    let lines = only(args, "list_of_data", base(this, c"writelines"), &mut named)?;
    life::act(this, send::write_lines(this, lines)?)
}

fn write_eof(this: &Stream, args: Args) -> Res<()> {
    args.none(base(this, c"write_eof"))?;
    life::write_eof(this)
}

fn can_write_eof(this: &Stream, args: Args) -> Res<bool> {
    args.none(base(this, c"can_write_eof")).map(|()| true)
}

fn close(this: &Stream, args: Args) -> Res<()> {
    args.none(base(this, c"close"))?;
    life::close(this)
}

fn abort(this: &Stream, args: Args) -> Res<()> {
    args.none(base(this, c"abort"))?;
    life::force_close(this, None)
}

/// What an exception or None stands for.
fn given(exception: Ref) -> Option<Ref> {
    Some(exception).filter(|exception| !exception.is_none())
}

fn fatal_error(this: &Stream, args: Args) -> Res<()> {
    let [exception] = args.first(["exc"], "_fatal_error")?;
    let text = match args.given().get(1) {
        Some(text) => text.to_obj(),
        None => string("Fatal error on transport")?,
    };
    // SAFETY: raises for what is no str; else the text is the object's own, which ends in a NUL.
    let text = unsafe {
        let data = PyUnicode_AsUTF8AndSize(text.as_ptr(), &mut 0);
        if data.is_null() {
            return Err(Raised);
        }
        CStr::from_ptr(data)
    };
    life::fatal_error(this, exception.to_obj(), text)
}

fn is_closing(this: &Stream, args: Args) -> Res<bool> {
    args.none(base(this, c"is_closing"))?;
    life::act(this, send::flush_for_drain(this)?)?;
    Ok(this.closing.get())
}

fn is_reading(this: &Stream, args: Args) -> Res<bool> {
    args.none(base(this, c"is_reading"))?;
    Ok(!this.closing.get() && !this.reading.paused.get())
}

fn pause_reading(this: &Stream, args: Args) -> Res<()> {
    args.none(base(this, c"pause_reading"))?;
    life::pause_reading(this);
    Ok(())
}

fn resume_reading(this: &Stream, args: Args) -> Res<()> {
    args.none(base(this, c"resume_reading"))?;
    life::resume_reading(this)
}

fn get_protocol(this: &Stream, args: Args) -> Res {
    args.none(base(this, c"get_protocol"))?;
    Ok(this.protocol.or_none())
}

fn set_protocol(this: &Stream, args: Args) -> Res<()> {
    let mut named = Named::default();
    let protocol = only(args, "protocol", base(this, c"set_protocol"), &mut named)?;
    life::set_protocol(this, protocol.to_obj())?;
    life::read_if_due(this);
    Ok(())
}

fn get_extra_info(this: &Stream, args: Args) -> Res {
    let (n, base) = (interned(), base(this, c"get_extra_info"));
    let [name, default] = args.bound([n.name, n.default], 2, base)?;
    let name = match name {
        Some(name) => name,
        None => args.first(["name"], base)?[0],
    };
    let asked = info::asked(name)?;
    if asked == info::Asked::Socket {
        life::flush(this)?;
    }
    info::get(this, asked, name, default)
}

fn get_write_buffer_size(this: &Stream, args: Args) -> Res {
    args.none(base(this, c"get_write_buffer_size"))?;
    life::flush(this)?;
    int(this.queued() as i64)
}

fn get_write_buffer_limits(this: &Stream, args: Args) -> Res {
    args.none(base(this, c"get_write_buffer_limits"))?;
    tuple(&[low_water(this)?.borrow(), high_water(this)?.borrow()])
}

fn set_write_buffer_limits(this: &Stream, args: Args) -> Res<()> {
    let n = interned();
    let [high, low] = args.bound([n.high, n.low], 2, base(this, c"set_write_buffer_limits"))?;
    // asyncio's own rule sets the two attributes below, or says what is wrong.
    let none = none();
    let marks = [this.object(), high.unwrap_or(none.borrow()), low.unwrap_or(none.borrow())];
    call_method(text(c"_set_write_buffer_limits")?, &marks)?;
    life::flush(this)?;
    send::maybe_pause_protocol(this)
}

/// A mark in bytes; one beyond what memory can hold is never reached, whatever it is.
fn mark(value: Ref) -> Res<usize> {
    match number::as_f64(value) {
        Err(Raised) if number::is_int(value) && error::matches(builtin::overflow_error()) => {
            error::clear();
            Ok(usize::MAX)
        }
        number => Ok(number? as usize),
    }
}

/// The bytes of a mark that is set. One that is no plain number of bytes, `math.inf` say, is shown again as it was given: its object is kept
/// in the instance's dict.
fn set_mark(this: &Stream, name: &'static CStr, value: Option<Ref>) -> Res<usize> {
    let Some(value) = value else { return error::type_error(c"cannot delete attribute") };
    let (bytes, name) = (mark(value)?, text(name)?.as_ptr());
    // SAFETY: looks at the type of a live object.
    let plain = unsafe { PyLong_CheckExact(value.as_ptr()) != 0 } && bytes <= isize::MAX as usize;
    if !plain && !this.dict.is_set() {
        this.keep_dict(dict(&[] as &[(Ref, Ref)])?);
    }
    let Some(marks) = this.dict.share() else { return Ok(bytes) };
    let marks = marks.as_ptr();
    // SAFETY: live objects; the dict is ours.
    check(unsafe {
        match PyDict_Contains(marks, name) {
            _ if !plain => PyDict_SetItem(marks, name, value.as_ptr()),
            1 => PyDict_DelItem(marks, name),
            _ => 0,
        }
    })?;
    Ok(bytes)
}

fn show_mark(this: &Stream, name: &'static CStr, bytes: usize) -> Res {
    let kept = this.dict.share().map_or(Ok(None), |marks| info::item(&marks, text(name)?))?;
    kept.map_or_else(|| int(bytes as i64), Ok)
}

fn make_empty_waiter(this: &Stream, args: Args) -> Res {
    args.none(base(this, c"_make_empty_waiter"))?;
    if this.empty_waiter.is_set() {
        return error::runtime_error(c"Empty waiter is already set");
    }
    life::flush(this)?;
    let waiter = call_method(interned().create_future, &[this.require_loop()?.object()])?;
    if this.queued() == 0 {
        call_method(text(c"set_result")?, &[waiter.borrow(), none().borrow()])?;
    }
    this.set_empty_waiter(waiter.clone());
    Ok(waiter)
}

fn reset_empty_waiter(this: &Stream, args: Args) -> Res<()> {
    args.none(base(this, c"_reset_empty_waiter"))?;
    drop(this.take_empty_waiter());
    Ok(())
}

fn attach_engine(this: &Stream) -> Res<()> {
    if this.owner.is_set() && this.fd.get() >= 0 { life::register(this) } else { Ok(()) }
}

/// # Safety
/// `slf` is a transport.
unsafe extern "C" fn tp_repr(slf: Raw) -> Raw {
    // SAFETY: a slot of the type.
    guarded(NULL, || ret(string(&describe(unsafe { receiver(slf) }))))
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

fn sock(this: &Stream) -> Res {
    if this.fd.get() < 0 {
        return Ok(none());
    }
    // `loop.sendfile` takes it as well: it gives it back.
    if !this.empty_waiter.is_set() {
        life::write_at_once(this)?;
    }
    info::socket_of(this)
}

fn set_protocol_paused(this: &Stream, value: Option<Ref>) -> Res<()> {
    this.writing.set_protocol_paused(value.map_or(Ok(false), truth)?);
    Ok(())
}

fn high_water(this: &Stream) -> Res {
    show_mark(this, c"_high_water", this.high_water.get())
}

fn low_water(this: &Stream) -> Res {
    show_mark(this, c"_low_water", this.low_water.get())
}

fn set_high_water(this: &Stream, value: Option<Ref>) -> Res<()> {
    this.set_high_water(set_mark(this, c"_high_water", value)?);
    send::look_at_limits(this);
    Ok(())
}

fn set_low_water(this: &Stream, value: Option<Ref>) -> Res<()> {
    this.set_low_water(set_mark(this, c"_low_water", value)?);
    Ok(())
}

fn buffer(this: &Stream) -> Res {
    let chunks: Vec<_> = this.with_queue(|queue| queue.slices().map(<[u8]>::to_vec).collect());
    list(&chunks.iter().map(|chunk| bytes(chunk)).collect::<Res<Vec<_>>>()?)
}

// ------------------------------------------------------------------------------------------------ life and death

/// # Safety
/// `args` is a tuple, `kwargs` a dict or null.
unsafe extern "C" fn tp_new(_: *mut PyTypeObject, args: Raw, kwargs: Raw) -> Raw {
    // SAFETY: a slot of the type; the items of a tuple live for as long as it does, and it for the call.
    let args = unsafe {
        let items = &raw const (*args.cast::<PyTupleObject>()).ob_item;
        Args::new(items.cast(), PyTuple_GET_SIZE(args), NULL)
    };
    guarded(NULL, || ret(construct(args.given(), !kwargs.is_null())))
}

/// All is done by `tp_new`; the base's `__init__` would only set an attribute that ours hides.
extern "C" fn tp_init(_: Raw, _: Raw, _: Raw) -> c_int {
    0
}

/// `SocketTransport(loop, sock, protocol, waiter, extra, server)`: what `_make_socket_transport` calls.
fn construct(given: &[Ref], by_name: bool) -> Res {
    let (&[owner, sock, protocol, waiter, extra, server], false) = (given, by_name) else {
        return type_error_text("SocketTransport is made by the loop: use loop.create_connection()".into());
    };
    let Some(owner) = owner.cast::<LoopObject>() else {
        return error::type_error(c"SocketTransport needs a loop of aioxide");
    };
    let fd = number::as_i64(&call_method(interned().fileno, &[sock])?)? as i32;
    life::start(Parts {
        owner,
        fd,
        tcp: socket::is_plain_tcp(fd),
        protocol: protocol.to_obj(),
        sock: Some(sock.to_obj()),
        server: Some(server),
        peer: None,
        extra: Some(extra),
        ask_names: true,
        waiter: Some(waiter),
        context: None,
    })
}

/// # Safety
/// `slf` is a transport.
unsafe extern "C" fn tp_finalize(slf: Raw) {
    guarded((), || {
        // SAFETY: a slot of the type.
        let this: &Stream = unsafe { receiver(slf) };
        if this.fd.get() >= 0 {
            life::abandon(this);
        }
    });
}

/// # Safety
/// `slf` is a transport, to which no reference is left.
unsafe extern "C" fn tp_dealloc(slf: Raw) {
    // SAFETY: the last reference is gone, unless the finaliser makes a new one.
    guarded((), || unsafe {
        let this: &Stream = receiver(slf);
        if this.fd.get() >= 0 && PyObject_CallFinalizerFromDealloc(slf) < 0 {
            return;
        }
        PyObject_GC_UnTrack(slf.cast());
        this.end();
        held::free(slf);
    });
}

pub fn load() -> Res<*mut PyTypeObject> {
    let base = imported().transport_type;
    let body = size_of_type(base).next_multiple_of(align_of::<Stream>());
    let padding = body - size_of_type(base);
    let class = Class::<Stream>::behind(c"aioxide._SelectorSocketTransport", padding + size_of::<Stream>());
    let made =
        attributes(methods(class)).collected_by(tp_dealloc).also(|def| slots(def, body)).build(Some(base))?;
    // SAFETY: the import; our fields begin there in each instance of the type.
    unsafe { state::load(made, body) };
    Ok(made)
}

fn slots(def: TypeDef, body: usize) -> TypeDef {
    def.doc(docs::TRANSPORT)
        .slot(Py_tp_new, tp_new as *mut c_void)
        .slot(Py_tp_init, tp_init as *mut c_void)
        .slot(Py_tp_finalize, tp_finalize as *mut c_void)
        .slot(Py_tp_repr, tp_repr as *mut c_void)
        .offset_member(c"__weaklistoffset__", body + state::WEAKREFS)
        .offset_member(c"__dictoffset__", body + state::DICT)
        .getset(c"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict)
}

/// What asyncio documents.
fn public(class: Class<Stream>) -> Class<Stream> {
    class
        .fast(c"write", write, docs::WRITE)
        .fast(c"writelines", write_lines, docs::WRITELINES)
        .fast(c"write_eof", write_eof, docs::WRITE_EOF)
        .fast(c"can_write_eof", can_write_eof, docs::CAN_WRITE_EOF)
        .fast(c"close", close, docs::CLOSE)
        .fast(c"abort", abort, docs::ABORT)
        .fast(c"is_closing", is_closing, docs::IS_CLOSING)
        .fast(c"is_reading", is_reading, docs::IS_READING)
        .fast(c"pause_reading", pause_reading, docs::PAUSE_READING)
        .fast(c"resume_reading", resume_reading, docs::RESUME_READING)
        .fast(c"get_protocol", get_protocol, docs::GET_PROTOCOL)
        .fast(c"set_protocol", set_protocol, docs::SET_PROTOCOL)
        .fast(c"get_extra_info", get_extra_info, docs::GET_EXTRA_INFO)
        .fast(c"get_write_buffer_size", get_write_buffer_size, docs::GET_WRITE_BUFFER_SIZE)
        .fast(c"get_write_buffer_limits", get_write_buffer_limits, docs::GET_WRITE_BUFFER_LIMITS)
        .fast(c"set_write_buffer_limits", set_write_buffer_limits, docs::SET_WRITE_BUFFER_LIMITS)
}

fn methods(class: Class<Stream>) -> Class<Stream> {
    public(class)
        // The two that `loop.sendfile` uses to know when what was written has left.
        .fast(c"_make_empty_waiter", make_empty_waiter, c"A future that is done when all has been sent.")
        .fast(c"_reset_empty_waiter", reset_empty_waiter, c"Forget that future.")
        // The two that the socket which `get_extra_info` gives calls before it does something.
        .noargs(c"_flush", life::flush, c"Send what was written in this turn.")
        .noargs(
            c"_write_at_once",
            life::write_at_once,
            c"Send what was written, and from now on each write in the call.",
        )
        // The two that `loop._transports` uses while `sock_sendfile` has the descriptor for itself.
        .noargs(c"_detach_engine", life::unregister, c"Take the descriptor out of the loop.")
        .noargs(c"_attach_engine", attach_engine, c"Give the descriptor back to the loop.")
        .onearg(
            c"_force_close",
            |this, exception| life::force_close(this, given(exception)),
            c"Close now, because of an exception.",
        )
        .fast(c"_fatal_error", fatal_error, c"Report an exception and close now.")
        .onearg(
            c"_call_connection_lost",
            |this, exception| life::connection_lost(this, given(exception)),
            c"Tell the protocol and release everything.",
        )
}

fn attributes(class: Class<Stream>) -> Class<Stream> {
    class
        .get(c"_extra", info::extra_of)
        .get(c"_sock", sock)
        .get(c"_sock_fd", |this| int(this.number.get().into()))
        .get(c"_loop", |this| this.owner.or_none())
        .get(c"_protocol", |this| this.protocol.or_none())
        .get(c"_server", |this| this.server.or_none())
        .get(c"_closing", |this| this.closing.get())
        .get(c"_paused", |this| this.reading.paused.get())
        .get(c"_eof", |this| this.eof_written.get())
        .get(c"_conn_lost", |this| int(this.lost.get().into()))
        .get(c"_protocol_connected", |this| this.protocol_connected.get())
        .getset(c"_protocol_paused", |this| this.writing.protocol_paused.get(), set_protocol_paused)
        .getset(c"_high_water", high_water, set_high_water)
        .getset(c"_low_water", low_water, set_low_water)
        .get(c"_empty_waiter", |this| this.empty_waiter.or_none())
        .get(c"_buffer", buffer)
        .get(c"_start_tls_compatible", |_| true)
        .get(c"_sendfile_compatible", |_| imported().try_native.to_obj())
}
