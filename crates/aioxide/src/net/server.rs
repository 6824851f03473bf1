//! The acceptor: takes connections from a listening socket and makes their transports.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;

use aioxide_sys::epoll::Interest;
use aioxide_sys::socket;
use pyo3_ffi::*;

use super::life::start;
use super::state::Parts;
use crate::engine::loop_object::{LoopObject, io_result, loop_of};
use crate::engine::source::Owner;
use crate::ffi::held::{Held, fields};
use crate::ffi::names::intern;
use crate::ffi::object::{call, call_method, string};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Global, NULL, Obj, Raised, Raw, Ref, Res, Slot, context, error, names};
use crate::task::loop_state::{Item, LoopState};
use crate::task::{handle, handle_run, report};

/// From so many connections on that came together, another one is likely: the kernel takes fifteen times as long for an `accept` in
/// vain as for the question.
const CROWD: i64 = 16;

#[repr(C)]
struct Acceptor {
    header: PyObject,
    factory: Slot,
    server: Slot,
    /// The context in which serving was started: each connection begins with a copy.
    context: Slot,
    /// The arguments for asyncio's own `_accept_connection`, which knows what to do when descriptors run out.
    fallback: Slot,
    fd: Cell<i32>,
    /// What the connections will be, as the listening socket is.
    tcp: Cell<bool>,
    known_names: Cell<bool>,
    backlog: Cell<i64>,
    scheduled: Cell<bool>,
}

static TYPE: Global<*mut PyTypeObject> = Global::new();

// SAFETY: as laid out above; the cells hold nothing to release.
unsafe impl Held for Acceptor {
    fn slots(&self) -> impl IntoIterator<Item = &Slot> {
        [&self.factory, &self.server, &self.context, &self.fallback]
    }
}

/// # Safety
/// `raw` is an acceptor that lives for `'a`.
unsafe fn of<'a>(raw: Raw) -> &'a Acceptor {
    // SAFETY: the type of `raw` was made for it.
    unsafe { fields(raw) }
}

/// Starts accepting on a listening, non-blocking socket.
pub fn serve(owner: &LoopObject, fd: i32, factory: Raw, server: Raw, backlog: i64, fallback: Raw) -> Res<()> {
    owner.state.check_closed()?;
    // SAFETY: a zeroed object of the type, filled before the engine sees it.
    let made = unsafe { Obj::steal(PyType_GenericAlloc(*TYPE.get(), 0))? };
    // SAFETY: just made.
    let this = unsafe { of(made.as_ptr()) };
    this.factory.set(Obj::new(factory));
    this.server.set(Obj::new(server));
    this.context.set(context::copy_current()?);
    this.fallback.set(Obj::new(fallback));
    this.fd.set(fd);
    this.tcp.set(socket::is_plain_tcp(fd));
    this.known_names.set(socket::has_known_names(fd));
    this.backlog.set(backlog);
    drop(owner.engine.sources.set_owner(fd, Some(Owner::new(made.as_ptr(), on_connection))));
    io_result(owner.engine.watch(fd, Interest::IN))
}

/// Stops accepting; false if the descriptor has no acceptor.
pub fn stop(owner: &LoopObject, fd: i32) -> bool {
    let Some(acceptor) = owner.engine.sources.owner(fd) else { return false };
    // SAFETY: set at import.
    if acceptor.type_of() != unsafe { *TYPE.get() } {
        return false;
    }
    // SAFETY: an acceptor by its type.
    unsafe { of(acceptor.as_ptr()) }.fd.set(-1);
    let _ = owner.engine.watch(fd, Interest::empty());
    drop(owner.engine.sources.set_owner(fd, None));
    true
}

/// # Safety
/// `slf` is an acceptor.
unsafe fn on_connection(state: &LoopState, slf: Raw, _: Interest) {
    // SAFETY: registered with an acceptor.
    if !unsafe { of(slf) }.scheduled.replace(true) {
        state.push_or_report(Item::Job { object: Obj::new(slf), run: accept_ready });
    }
}

/// Accepts what has come, at most a backlog's worth and one, as asyncio.
///
/// # Safety
/// `slf` is an acceptor, `state` its loop's.
unsafe fn accept_ready(state: &LoopState, slf: Raw) -> Res<()> {
    // SAFETY: queued with an acceptor, for its loop.
    let (this, owner) = unsafe { (of(slf), loop_of(state)) };
    this.scheduled.set(false);
    for nth in 0..=this.backlog.get() {
        if this.fd.get() < 0 {
            return Ok(());
        }
        // Of a crowd the next one is there, nearly always: then asking first costs more than one attempt in vain.
        if (1..CROWD).contains(&nth) && !socket::has_connection(this.fd.get()) {
            return Ok(());
        }
        match socket::accept(this.fd.get()) {
            Ok((fd, peer)) => accepted(owner, this, fd, peer)?,
            Err(why) if socket::would_block(&why) || why.kind() == io::ErrorKind::ConnectionAborted => {
                return Ok(());
            }
            Err(_) => return fall_back(state, this),
        }
    }
    Ok(())
}

/// No descriptor or memory left, or the socket is broken: asyncio's own code meets the same error, reports it, and
/// begins again after a second.
#[cold]
fn fall_back(state: &LoopState, this: &Acceptor) -> Res<()> {
    let arguments = this.fallback.or_none();
    let method = crate::ffi::object::getattr(state.object, intern(c"_accept_connection")?)?;
    // SAFETY: a callable and a tuple.
    let result = Obj::steal(unsafe { PyObject_CallObject(method.as_ptr(), arguments.as_ptr()) });
    let Err(Raised) = result else { return Ok(()) };
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    // SAFETY: the slot of an object that its caller holds.
    let context = unsafe { Ref::maybe(this.context.get()) };
    let made = handle::new(state, method.borrow(), &[], context)?;
    handle_run::report_failure(&made, exception)
}

fn accepted(owner: &LoopObject, this: &Acceptor, fd: i32, peer: Option<SocketAddr>) -> Res<()> {
    // SAFETY: a live context.
    let fresh = Obj::steal(unsafe { PyContext_Copy(this.context.get()) })?;
    let made = context::run(fresh.as_ptr(), || {
        let protocol = call(this.factory.get(), &[])?;
        start(Parts {
            owner,
            fd,
            tcp: this.tcp.get(),
            protocol,
            sock: None,
            server: this.server.get(),
            peer,
            extra: NULL,
            ask_names: !this.known_names.get(),
            waiter: NULL,
            context: Some(fresh.clone()),
        })
    });
    match made {
        Ok(_) => Ok(()),
        Err(Raised) => {
            socket::close(fd);
            refused(owner)
        }
    }
}

/// A protocol factory that raises costs its connection; debug mode says why, as asyncio does.
#[cold]
fn refused(owner: &LoopObject) -> Res<()> {
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    let state = &owner.state;
    let debug = call_method(names().get_debug, &[state.object])?;
    if !crate::ffi::object::truth(debug.as_ptr())? {
        return Ok(());
    }
    let text = string("Error on transport creation for incoming connection")?;
    let n = names();
    report::report_context(state.object, &[(n.message, text.as_ptr()), (n.exception, exception.as_ptr())])
}

pub fn load() -> Res<()> {
    let made = TypeDef::new(c"aioxide.Acceptor", size_of::<Acceptor>() - size_of::<PyObject>())
        .flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
        .held::<Acceptor>()
        .build(NULL)?;
    TYPE.set(made);
    Ok(())
}
