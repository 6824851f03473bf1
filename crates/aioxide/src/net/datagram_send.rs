//! Datagrams out: each in the call, as by asyncio, since its errors are told there; those that had to wait by one system call for many.

use std::ffi::{c_char, c_int};
use std::io;
use std::net::SocketAddr;

use aioxide_sys::datagram::{self, Address, Family};
use aioxide_sys::socket;
use pyo3_ffi::*;

use super::datagram_state::{Datagrams, Drained, Sent};
use crate::ffi::calls::{call_method, tuple};
use crate::ffi::class::Native;
use crate::ffi::names::{interned, text};
use crate::ffi::object::{check, getattr, getattr_opt, int, setattr, truth};
use crate::ffi::{Obj, Raised, Ref, Res, buffer, builtin, error, number};

/// Where one is to go.
enum Way<'a> {
    /// To whom the socket is connected.
    Peer,
    To(Ref<'a>),
}

/// `DatagramTransport.sendto`.
pub fn send(this: &Datagrams, data: Ref, addr: Ref) -> Res<Sent> {
    if !buffer::is_data(data) {
        return Ok(Sent::Standard);
    }
    let address = this.address.or_none();
    let made_for_one = !address.borrow().is_none() && truth(&address)?;
    if made_for_one && (this.lost() > 0 || !is_none_or(addr, &address)?) {
        return Ok(Sent::Standard);
    }
    if this.queued()? > 0 {
        return Ok(Sent::Later);
    }
    let Some(sock) = this.sock.share() else { return closed() };
    let Some(family) = this.family() else { return Ok(Sent::Standard) };
    let target = if made_for_one { address.borrow() } else { addr };
    let sent = match way(this, target, made_for_one, family)? {
        Way::Peer => send_natively(this, data, None),
        Way::To(addr) => match address_of(addr, family) {
            Some(to) => audit(&sock, addr).and_then(|()| send_natively(this, data, Some(&to))),
            // A name to look up, or what is no address: the socket's own method does it, or says so.
            None => return by_method(&sock, data, addr),
        },
    };
    match sent {
        Ok(Ok(())) => Ok(Sent::Gone),
        Ok(Err(why)) => refused(&why),
        // By a hook; or the buffer cannot be sent.
        Err(Raised) => raised(),
    }
}

#[cold]
fn refused(why: &io::Error) -> Res<Sent> {
    if socket::would_block(why) {
        return Ok(Sent::Later);
    }
    error::os_error(why).map(Sent::Refused).ok_or(Raised)
}

/// `addr in (None, address)`.
fn is_none_or(addr: Ref, address: &Obj) -> Res<bool> {
    if addr.is_none() || addr == address.borrow() {
        return Ok(true);
    }
    // SAFETY: live objects.
    match unsafe { PyObject_RichCompareBool(addr.as_ptr(), address.as_ptr(), Py_EQ) } {
        -1 => Err(Raised),
        same => Ok(same == 1),
    }
}

/// asyncio sends all that a connected socket is given to its peer, whatever the address says. Here it goes where it says.
fn way<'a>(this: &Datagrams, target: Ref<'a>, made_for_one: bool, family: Family) -> Res<Way<'a>> {
    if !is_connected(this)? {
        return Ok(Way::To(target));
    }
    // What is no address at all is passed over, as by asyncio.
    Ok(if made_for_one || !may_be_address(target, family) { Way::Peer } else { Way::To(target) })
}

/// `self._extra["peername"]` is true.
pub fn is_connected(this: &Datagrams) -> Res<bool> {
    let Some(extra) = this.extra.share() else { return Ok(false) };
    // SAFETY: asks a live object, which only a dict answers; the value is borrowed from it.
    let peer = unsafe { Ref::maybe(PyDict_GetItemWithError(extra.as_ptr(), interned().peername.as_ptr())) };
    match peer.map(Ref::to_obj) {
        Some(peer) => Ok(!peer.borrow().is_none() && truth(&peer)?),
        None if error::occurred() => Err(Raised),
        None => Ok(false),
    }
}

fn may_be_address(value: Ref, family: Family) -> bool {
    let raw = value.as_ptr();
    // SAFETY: type checks on a live object.
    unsafe {
        match family {
            Family::Unix => PyUnicode_Check(raw) != 0 || PyBytes_Check(raw) != 0,
            Family::V4 | Family::V6 => PyTuple_Check(raw) != 0 && PyTuple_GET_SIZE(raw) > 0,
        }
    }
}

// ------------------------------------------------------------------------------------------------------ addresses

/// The address that a tuple of numbers or a path stands for; nothing where Python's socket module has to look at it.
fn address_of(addr: Ref, family: Family) -> Option<Address> {
    let raw = addr.as_ptr();
    // SAFETY: looks at the items of a live tuple, which keeps them.
    unsafe {
        if family == Family::Unix {
            return Address::unix(path(addr)?);
        }
        if PyTuple_CheckExact(raw) == 0 {
            return None;
        }
        let size = PyTuple_GET_SIZE(raw);
        if size < 2 || size > if family == Family::V6 { 4 } else { 2 } {
            return None;
        }
        let item = |at| Ref::new(PyTuple_GET_ITEM(raw, at));
        let host = datagram::ip(family, std::str::from_utf8(ascii(item(0))?).ok()?)?;
        let mut address = SocketAddr::new(host, u16::try_from(whole(item(1))?).ok()?);
        if let SocketAddr::V6(address) = &mut address {
            if size > 2 {
                address.set_flowinfo(u32::try_from(whole(item(2))?).ok().filter(|flow| *flow <= 0xF_FFFF)?);
            }
            if size > 3 {
                address.set_scope_id(u32::try_from(whole(item(3))?).ok()?);
            }
        }
        Some(Address::ip(&address))
    }
}

fn whole(value: Ref) -> Option<i64> {
    // SAFETY: looks at the type of a live object.
    if unsafe { PyLong_CheckExact(value.as_ptr()) } == 0 {
        return None;
    }
    number::as_i64(value).map_err(|Raised| error::clear()).ok()
}

/// The letters of a plain str, if all are ASCII.
fn ascii(value: Ref<'_>) -> Option<&[u8]> {
    let raw = value.as_ptr();
    // SAFETY: the str keeps its UTF-8 for as long as it lives.
    let letters = unsafe {
        if PyUnicode_CheckExact(raw) == 0 {
            return None;
        }
        let mut size = 0;
        let start = PyUnicode_AsUTF8AndSize(raw, &mut size);
        if start.is_null() {
            error::clear();
            return None;
        }
        std::slice::from_raw_parts(start.cast::<u8>(), size as usize)
    };
    Some(letters).filter(|letters| letters.is_ascii())
}

fn path(value: Ref<'_>) -> Option<&[u8]> {
    let raw = value.as_ptr();
    // SAFETY: bytes do not change while they live.
    unsafe {
        if PyBytes_CheckExact(raw) == 0 {
            return ascii(value);
        }
        Some(std::slice::from_raw_parts(PyBytes_AsString(raw).cast(), PyBytes_Size(raw) as usize))
    }
}

// -------------------------------------------------------------------------------------------------------- sending

unsafe extern "C" {
    fn PySys_Audit(event: *const c_char, format: *const c_char, ...) -> c_int;
}

/// What `socket.sendto` tells of: a hook may refuse it.
fn audit(sock: &Obj, addr: Ref) -> Res<()> {
    // SAFETY: the format says that there are two live objects.
    check(unsafe { PySys_Audit(c"socket.sendto".as_ptr(), c"OO".as_ptr(), sock.as_ptr(), addr.as_ptr()) })
}

/// The outer error is of the buffer, the inner one the kernel's.
#[inline(always)]
fn send_natively(this: &Datagrams, data: Ref, to: Option<&Address>) -> Res<io::Result<()>> {
    let fd = this.fileno()?;
    let sent = buffer::lend(data, |bytes| datagram::send(fd, bytes, to));
    if to.is_none() {
        this.note_sent_to_peer();
    }
    // What another endpoint of this loop gets it is to see in the next turn. Amid a batch it is soon enough when the time for a look has
    // come, as it does while callbacks are ready.
    if !this.has_ahead()
        && let Some(owner) = this.loop_object()
    {
        owner.engine.io_touched.set(true);
    }
    sent
}

fn by_method(sock: &Obj, data: Ref, addr: Ref) -> Res<Sent> {
    match call_method(interned().sendto, &[sock.borrow(), data, addr]) {
        Ok(_) => Ok(Sent::Gone),
        Err(Raised) if error::matches(builtin::blocking_io_error()) => later(),
        Err(Raised) if error::matches(builtin::interrupted_error()) => later(),
        Err(Raised) => raised(),
    }
}

fn later() -> Res<Sent> {
    error::clear();
    Ok(Sent::Later)
}

/// What must leave the loop does; all else is the protocol's.
#[cold]
fn raised() -> Res<Sent> {
    if error::is_exit() {
        return Err(Raised);
    }
    error::take().map(Sent::Refused).ok_or(Raised)
}

/// asyncio raises the same here, about what it has put in the place of its loop.
#[cold]
fn closed() -> Res<Sent> {
    error::raise(builtin::attribute_error(), c"unable to send: the datagram transport is closed")
}

// -------------------------------------------------------------------------------------------------------- waiting

/// Puts one at the end of those that wait; as bytes, as what was given may change. The first is for the kernel to say when.
pub fn queue(this: &Datagrams, data: Ref, addr: Ref) -> Res<()> {
    let address = this.address.or_none();
    let made_for_one = truth(&address)?;
    let data = bytes_of(data)?;
    let Some(buffer) = this.buffer.share() else { return closed().map(drop) };
    if this.queued()? == 0 {
        let fd = int(this.number().into())?;
        let ready = getattr(this.object(), interned().sendto_ready)?;
        let owner = this.owner.or_none();
        call_method(text(c"_add_writer")?, &[owner.borrow(), fd.borrow(), ready.borrow()])?;
    }
    let item = tuple(&[data.borrow(), if made_for_one { address.borrow() } else { addr }])?;
    call_method(text(c"append")?, &[buffer.borrow(), item.borrow()])?;
    // SAFETY: bytes.
    change_size(this, unsafe { PyBytes_Size(data.as_ptr()) } as i64 + header_size(this)?)?;
    call_method(text(c"_maybe_pause_protocol")?, &[this.object()]).map(drop)
}

fn bytes_of(data: Ref) -> Res {
    // SAFETY: a live object, of which a copy is made unless it is bytes.
    unsafe {
        if PyBytes_CheckExact(data.as_ptr()) != 0 {
            return Ok(data.to_obj());
        }
        Obj::steal(PyBytes_FromObject(data.as_ptr()))
    }
}

/// What the running version counts for one beside its bytes.
fn header_size(this: &Datagrams) -> Res<i64> {
    getattr_opt(this.object(), interned().header_size)?.map_or(Ok(0), |bytes| number::as_i64(&bytes))
}

fn change_size(this: &Datagrams, by: i64) -> Res<()> {
    let name = text(c"_buffer_size")?;
    let size = number::as_i64(&getattr(this.object(), name)?)?;
    setattr(this.object(), name, &int(size + by)?)
}

/// Sends what waits. Each is taken out before somebody is told of it.
pub fn drain(this: &Datagrams) -> Res<Drained> {
    loop {
        let Some(first) = waiting(this, 0)? else { return Ok(Drained::AsFarAsItGoes) };
        match send_first(this, &first)? {
            Sent::Later => return Ok(Drained::AsFarAsItGoes),
            Sent::Gone | Sent::Standard => {}
            Sent::Refused(exception) => {
                take(this, 1)?;
                return Ok(Drained::Refused(exception));
            }
        }
    }
}

/// Sends the first of those that wait, and those behind it as far as that can be done by one call.
fn send_first(this: &Datagrams, first: &Obj) -> Res<Sent> {
    let Some(sock) = this.sock.share() else { return Ok(Sent::Later) };
    let (data, addr) = parts(first)?;
    let (data, addr) = (data.borrow(), addr.borrow());
    let Some(family) = this.family() else { return Ok(Sent::Later) };
    let sent = match way(this, addr, truth(&this.address.or_none())?, family)? {
        // One by one: an error that another one has come back with would be lost behind the first of many.
        Way::Peer => send_natively(this, data, None).map(|sent| sent.map(|()| 1)),
        Way::To(addr) if address_of(addr, family).is_some() => send_several(this, &sock, family),
        Way::To(addr) => {
            let sent = by_method(&sock, data, addr)?;
            if matches!(sent, Sent::Gone) {
                take(this, 1)?;
            }
            return Ok(sent);
        }
    };
    match sent {
        Ok(Ok(count)) => take(this, count).map(|()| Sent::Gone),
        Ok(Err(why)) => refused(&why),
        Err(Raised) => raised(),
    }
}

/// Sends the first ones that have plain addresses: the first has.
fn send_several(this: &Datagrams, sock: &Obj, family: Family) -> Res<io::Result<usize>> {
    let mut items: Vec<(Obj, Address)> = Vec::with_capacity(datagram::MOST);
    while items.len() < datagram::MOST
        && let Some(item) = waiting(this, items.len())?
    {
        let (data, addr) = parts(&item)?;
        let Some(to) = address_of(addr.borrow(), family) else { break };
        audit(sock, addr.borrow())?;
        items.push((data, to));
    }
    // A hook may do anything, and empty the queue: then there is nothing to send.
    if this.queued()? < items.len() || items.is_empty() {
        return Ok(Ok(0));
    }
    let fd = this.fileno()?;
    // SAFETY: the queue has bytes only, which live as long as the items here.
    let slice = |data: &Obj| unsafe {
        std::slice::from_raw_parts(
            PyBytes_AsString(data.as_ptr()).cast(),
            PyBytes_Size(data.as_ptr()) as usize,
        )
    };
    let messages: Vec<(&[u8], Address)> = items.iter().map(|(data, to)| (slice(data), *to)).collect();
    Ok(datagram::send_many(fd, &messages))
}

fn waiting(this: &Datagrams, at: usize) -> Res<Option<Obj>> {
    if at >= this.queued()? {
        return Ok(None);
    }
    let buffer = this.buffer.or_none();
    // SAFETY: asks a live object.
    unsafe { Obj::steal(PySequence_GetItem(buffer.as_ptr(), at as Py_ssize_t)) }.map(Some)
}

/// The bytes and the address of one that waits.
fn parts(item: &Obj) -> Res<(Obj, Obj)> {
    // SAFETY: raises for what is no tuple of two; the parts are borrowed from it.
    unsafe {
        let (data, addr) = (PyTuple_GetItem(item.as_ptr(), 0), PyTuple_GetItem(item.as_ptr(), 1));
        match (Ref::maybe(data), Ref::maybe(addr)) {
            (Some(data), Some(addr)) if PyBytes_Check(data.as_ptr()) != 0 => {
                Ok((data.to_obj(), addr.to_obj()))
            }
            (Some(_), Some(_)) => error::type_error(c"a datagram that waits is bytes"),
            _ => Err(Raised),
        }
    }
}

/// Takes out so many of those that wait.
fn take(this: &Datagrams, count: usize) -> Res<()> {
    for _ in 0..count.min(this.queued()?) {
        let item = call_method(text(c"popleft")?, &[this.buffer.or_none().borrow()])?;
        let (data, _) = parts(&item)?;
        // SAFETY: bytes.
        let size = unsafe { PyBytes_Size(data.as_ptr()) } as i64;
        change_size(this, -(size + header_size(this)?))?;
    }
    Ok(())
}
