//! What `get_extra_info` tells: the socket and its addresses, made when somebody asks.

use std::ffi::CStr;
use std::net::SocketAddr;

use aioxide_sys::socket::{self, Name};
use pyo3_ffi::*;

use super::state::Stream;
use crate::ffi::calls::{call, call_kw, call_method, dict, tuple};
use crate::ffi::class::Native;
use crate::ffi::names::{imported, interned, text};
use crate::ffi::object::{bytes, check, int, string};
use crate::ffi::{Obj, Raised, Ref, Res, builtin, error, none};

/// The Python socket of the connection; made from the descriptor for a connection that `accept` made without one.
pub fn socket_of(this: &Stream) -> Res {
    if let Some(sock) = this.sock.share() {
        return Ok(sock);
    }
    if this.fd.get() < 0 {
        return closed_socket();
    }
    let fd = int(this.fd.get().into())?;
    let kwnames = tuple(&[text(c"fileno")?])?;
    let sock = call_kw(imported().socket_type, &[fd.borrow()], Some(kwnames.borrow()))?;
    set_non_blocking(&sock)?;
    this.keep_sock(sock.clone());
    Ok(sock)
}

/// The descriptor is non-blocking already; the Python object has to know.
fn set_non_blocking(sock: &Obj) -> Res<()> {
    let zero = int(0)?;
    call_method(text(c"settimeout")?, &[sock.borrow(), zero.borrow()]).map(drop)
}

/// What stands for the socket of a connection that is closed: a socket that is closed.
fn closed_socket() -> Res {
    let sock = call(imported().socket_type, &[])?;
    call_method(interned().close, &[sock.borrow()])?;
    Ok(sock)
}

/// The dict behind `get_extra_info`: what the maker of the transport gave, and what the socket knows, as asyncio fills
/// it when it makes a transport.
pub fn extra_of(this: &Stream) -> Res {
    if this.extra.is_set() && has(&this.extra.or_none(), c"socket")? {
        return Ok(this.extra.or_none());
    }
    let extra = own_extra(this)?;
    let sock = socket_of(this)?;
    let transport_socket = match this.owner.share() {
        Some(owner) => {
            call_method(text(c"_transport_socket")?, &[owner.borrow(), sock.borrow(), this.object()])?
        }
        None => call(imported().transport_socket, &[sock.borrow()])?,
    };
    put(&extra, c"socket", &transport_socket)?;
    if !has(&extra, c"sockname")? {
        let sockname = match this.local.get() {
            Some(local) => address_tuple(&local)?,
            None => address(&sock, c"getsockname")?,
        };
        put(&extra, c"sockname", &sockname)?;
    }
    if !has(&extra, c"peername")? {
        let peername = match this.peer.get() {
            Some(peer) => address_tuple(&peer)?,
            None => address(&sock, c"getpeername")?,
        };
        put(&extra, c"peername", &peername)?;
    }
    this.keep_extra(extra.clone());
    Ok(extra)
}

/// What `get_extra_info` answers so far, in a dict that can be filled: the caller's own cannot.
fn own_extra(this: &Stream) -> Res {
    match this.extra.share() {
        // SAFETY: a dict.
        Some(given) => unsafe { Obj::steal(PyDict_Copy(given.as_ptr())) },
        None => dict(&[] as &[(Ref, Ref)]),
    }
}

/// Which of what is made when somebody asks: the socket itself, or an address.
#[derive(PartialEq, Eq)]
pub enum Asked {
    Socket,
    Address,
    Other,
}

pub fn asked(name: Ref) -> Res<Asked> {
    // SAFETY: a live object.
    if unsafe { PyObject_Hash(name.as_ptr()) } == -1 {
        refuse_key(name)?;
    }
    let known = [(c"socket", Asked::Socket), (c"peername", Asked::Address), (c"sockname", Asked::Address)];
    for (known, what) in known {
        // SAFETY: live objects; names are str in nearly every call, and anything else is only compared.
        match unsafe { PyObject_RichCompareBool(text(known)?.as_ptr(), name.as_ptr(), Py_EQ) } {
            1 => return Ok(what),
            0 => {}
            // It is no name that we know: the dict says what it thinks of it.
            _ => error::clear(),
        }
    }
    Ok(Asked::Other)
}

/// What the socket answers, or None where it answers with an error.
fn address(sock: &Obj, method: &'static CStr) -> Res {
    call_method(text(method)?, &[sock.borrow()]).or_else(|Raised| {
        if error::matches(builtin::os_error()) {
            error::clear();
            return Ok(none());
        }
        Err(Raised)
    })
}

/// An address as the socket module gives it.
pub fn address_tuple(address: &SocketAddr) -> Res {
    let host = string(&address.ip().to_string())?;
    let port = int(address.port().into())?;
    match address {
        SocketAddr::V4(_) => tuple(&[host.borrow(), port.borrow()]),
        SocketAddr::V6(address) => {
            let (flow, scope) = (int(address.flowinfo().into())?, int(address.scope_id().into())?);
            tuple(&[host.borrow(), port.borrow(), flow.borrow(), scope.borrow()])
        }
    }
}

fn has(extra: &Obj, key: &'static CStr) -> Res<bool> {
    // SAFETY: a dict and an interned key.
    match unsafe { PyDict_Contains(extra.as_ptr(), text(key)?.as_ptr()) } {
        -1 => Err(Raised),
        found => Ok(found == 1),
    }
}

fn put(extra: &Obj, key: &'static CStr, value: &Obj) -> Res<()> {
    // SAFETY: a dict, an interned key and a live value.
    check(unsafe { PyDict_SetItem(extra.as_ptr(), text(key)?.as_ptr(), value.as_ptr()) })
}

/// Asks for the names as asyncio does when it makes a transport: once the peer has reset the connection, nobody knows its
/// name. Addresses that only Python's socket knows how to show are asked of it.
pub fn remember_at_start(this: &Stream) -> Res<()> {
    match socket::local_name(this.fd.get()) {
        Ok(Name::Other) => extra_of(this).map(drop),
        local => remember(this, || local),
    }
}

/// Fetches the names while the kernel still knows them, so that they can be asked for when the connection is gone.
pub fn remember_before_close(this: &Stream) {
    if this.fd.get() >= 0 && remember(this, || socket::local_name(this.fd.get())).is_err() {
        error::clear();
    }
}

fn remember(this: &Stream, local: impl FnOnce() -> std::io::Result<Name>) -> Res<()> {
    let known = |key| if this.extra.is_set() { has(&this.extra.or_none(), key) } else { Ok(false) };
    let wants_local = this.local.get().is_none() && !known(c"sockname")?;
    let wants_peer = this.peer.get().is_none() && !known(c"peername")?;
    if !wants_local && !wants_peer {
        return Ok(());
    }
    if wants_local {
        keep(this, Stream::keep_local, c"sockname", local())?;
    }
    if wants_peer {
        keep(this, Stream::keep_peer, c"peername", socket::peer_name(this.fd.get()))?;
    }
    Ok(())
}

/// Keeps a name for whoever asks: of an IP address the number, as few do; any other as it will be shown.
fn keep(
    this: &Stream,
    keep_number: fn(&Stream, SocketAddr),
    key: &'static CStr,
    name: std::io::Result<Name>,
) -> Res<()> {
    if let Ok(Name::Ip(address)) = &name {
        keep_number(this, *address);
        return Ok(());
    }
    let Some(name) = name_object(name)? else { return Ok(()) };
    let extra = own_extra(this)?;
    put(&extra, key, &name)?;
    this.keep_extra(extra);
    Ok(())
}

/// A name as the socket module gives it; nothing where the kernel, or we, do not know it.
pub fn name_object(name: std::io::Result<Name>) -> Res<Option<Obj>> {
    match name {
        Ok(Name::Ip(address)) => address_tuple(&address).map(Some),
        Ok(Name::Abstract(name)) => bytes(&name).map(Some),
        // SAFETY: makes a str of so many bytes.
        Ok(Name::Path(path)) => unsafe {
            Obj::steal(PyUnicode_DecodeFSDefaultAndSize(path.as_ptr().cast(), path.len() as Py_ssize_t))
        }
        .map(Some),
        Ok(Name::Other) | Err(_) => Ok(None),
    }
}

/// Raises what a dict raises for what cannot be a key.
#[cold]
fn refuse_key(name: Ref) -> Res<()> {
    error::clear();
    let empty = dict(&[] as &[(Ref, Ref)])?;
    call_method(text(c"get")?, &[empty.borrow(), name]).map(drop)
}

/// `extra.get(name, default)`. Only who asks for the socket or an address has a socket made.
pub fn get(this: &Stream, asked: Asked, name: Ref, default: Option<Ref>) -> Res {
    let extra = if asked == Asked::Other { this.extra.share() } else { Some(extra_of(this)?) };
    let found = extra.map_or(Ok(None), |extra| item(&extra, name))?;
    Ok(found.or_else(|| default.map(Ref::to_obj)).unwrap_or_else(none))
}

/// What a dict has for a key.
pub fn item(dict: &Obj, key: Ref) -> Res<Option<Obj>> {
    // SAFETY: a dict and a live key; the value is borrowed from the dict.
    let found = unsafe { Ref::maybe(PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr())) };
    if found.is_none() && error::occurred() { Err(Raised) } else { Ok(found.map(Ref::to_obj)) }
}
