//! The acceptor: takes connections from a listening socket and makes their transports.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;

use aioxide_sys::epoll::Interest;
use aioxide_sys::socket;
use pyo3_ffi::*;

use super::life::start;
use super::state::Parts;
use crate::engine::loop_object::{LoopObject, io_result};
use crate::engine::source::Owner;
use crate::ffi::calls::{call, call_method};
use crate::ffi::cells::Turn;
use crate::ffi::class::{Class, Native, derives};
use crate::ffi::held::Held;
use crate::ffi::names::{interned, text};
use crate::ffi::object::{getattr, string, truth};
use crate::ffi::{Global, Obj, Raised, Ref, Res, Slot, context, error};
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

// SAFETY: as above.
unsafe impl Native for Acceptor {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &TYPE)
    }
}

/// Starts accepting on a listening, non-blocking socket.
pub fn serve(owner: &LoopObject, fd: i32, factory: Ref, server: Ref, backlog: i64, fallback: Ref) -> Res<()> {
    owner.state.check_closed()?;
    // SAFETY: a zeroed object of the type, filled before the engine sees it.
    let made = unsafe { Obj::steal(PyType_GenericAlloc(*TYPE.get(), 0))? };
    // SAFETY: just made.
    let this = unsafe { made.borrow().cast_unchecked::<Acceptor>() };
    this.factory.set(factory.to_obj());
    this.server.set(server.to_obj());
    this.context.set(context::copy_current()?);
    this.fallback.set(fallback.to_obj());
    this.fd.set(fd);
    this.tcp.set(socket::is_plain_tcp(fd));
    this.known_names.set(socket::has_known_names(fd));
    this.backlog.set(backlog);
    drop(owner.engine.sources.set_owner(fd, Some(Owner::of(this, on_connection))));
    io_result(owner.engine.watch(fd, Interest::IN))
}

/// Stops accepting; false if the descriptor has no acceptor.
pub fn stop(owner: &LoopObject, fd: i32) -> bool {
    let Some(acceptor) = owner.engine.sources.owner(fd) else { return false };
    let Some(this) = acceptor.borrow().cast::<Acceptor>() else { return false };
    this.fd.set(-1);
    let _ = owner.engine.watch(fd, Interest::empty());
    drop(owner.engine.sources.set_owner(fd, None));
    true
}

fn on_connection(state: &LoopState, this: &Acceptor, _: Turn, _: Interest) {
    if !this.scheduled.replace(true) {
        state.push_or_report(Item::job(this, accept_ready));
    }
}

/// Accepts what has come, at most a backlog's worth and one, as asyncio.
fn accept_ready(state: &LoopState, this: &Acceptor, _: Turn) -> Res<()> {
    let owner = LoopObject::of(state);
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
            Err(_) => return fall_back(owner, this),
        }
    }
    Ok(())
}

/// No descriptor or memory left, or the socket is broken: asyncio's own code meets the same error, reports it, and
/// begins again after a second.
#[cold]
fn fall_back(owner: &LoopObject, this: &Acceptor) -> Res<()> {
    let arguments = this.fallback.or_none();
    let method = getattr(owner.object(), text(c"_accept_connection")?)?;
    // SAFETY: a callable and a tuple.
    let result = unsafe { Obj::steal(PyObject_CallObject(method.as_ptr(), arguments.as_ptr())) };
    let Err(Raised) = result else { return Ok(()) };
    if error::is_exit() {
        return Err(Raised);
    }
    let Some(exception) = error::take() else { return Ok(()) };
    let context = this.context.share();
    let made = handle::new(&owner.state, method.borrow(), &[], context.as_ref().map(Obj::borrow))?;
    handle_run::report_failure(&made, exception)
}

fn accepted(owner: &LoopObject, this: &Acceptor, fd: i32, peer: Option<SocketAddr>) -> Res<()> {
    // SAFETY: a context, as `serve` has put it there; only its end empties a slot of an acceptor.
    let (fresh, server) = unsafe { (Obj::steal(PyContext_Copy(this.context.get()))?, this.server.peek()) };
    let made = context::run(&fresh, || {
        let protocol = call(&this.factory.or_none(), &[])?;
        start(Parts {
            owner,
            fd,
            tcp: this.tcp.get(),
            protocol,
            sock: None,
            server,
            peer,
            extra: None,
            ask_names: !this.known_names.get(),
            waiter: None,
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
    let n = interned();
    if !truth(&call_method(n.get_debug, &[owner.object()])?)? {
        return Ok(());
    }
    let text = string("Error on transport creation for incoming connection")?;
    let pairs = [(n.message, text.borrow()), (n.exception, exception.borrow())];
    report::report_context(owner.object(), &pairs)
}

pub fn load() -> Res<()> {
    let class = Class::<Acceptor>::new(c"aioxide.Acceptor");
    TYPE.set(class.also(|def| def.flags(Py_TPFLAGS_DISALLOW_INSTANTIATION).held::<Acceptor>()).build(None)?);
    Ok(())
}
