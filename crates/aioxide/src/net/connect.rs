//! Connecting to one address given as a number, which needs no resolver, no task and no Python socket.

use std::net::{IpAddr, SocketAddr};

use aioxide_sys::socket;
use pyo3_ffi::*;

use super::info::address_tuple;
use super::life::start;
use super::state::Parts;
use crate::engine::loop_object::{LoopObject, io_result};
use crate::ffi::calls::{call, tuple};
use crate::ffi::object::{boolean, int};
use crate::ffi::{Obj, Raised, Ref, Res, builtin, error, none};

/// The address, if host and port are given as `"127.0.0.1"` or `"::1"` and a number.
fn literal(host: Ref, port: Ref) -> Option<SocketAddr> {
    // SAFETY: type checks on live objects; the text is borrowed from the string for the parse.
    unsafe {
        if PyUnicode_CheckExact(host.as_ptr()) == 0 || PyLong_CheckExact(port.as_ptr()) == 0 {
            return None;
        }
        let mut size = 0;
        let data = PyUnicode_AsUTF8AndSize(host.as_ptr(), &mut size);
        let port = PyLong_AsLong(port.as_ptr());
        if data.is_null() || (port == -1 && error::occurred()) {
            error::clear();
            return None;
        }
        let text = std::str::from_utf8(std::slice::from_raw_parts(data.cast(), size as usize)).ok()?;
        Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, u16::try_from(port).ok()?))
    }
}

/// Starts to connect: `(fd, connected)`, or None where the address is no literal.
pub fn begin(host: Ref, port: Ref) -> Res {
    let Some(address) = literal(host, port) else { return Ok(none()) };
    match socket::connect(&address) {
        Ok((fd, Err(why))) => {
            socket::close(fd);
            refused(&why, &address)
        }
        Ok((fd, Ok(connected))) => {
            let (fd, connected) = (int(fd.into())?, boolean(connected));
            tuple(&[fd.borrow(), connected.borrow()])
        }
        // The call itself failed: asyncio lets the socket's own words pass.
        Err(why) => io_result(Err(why)),
    }
}

/// Raises what asyncio raises: `OSError(errno, "Connect call failed ('127.0.0.1', 80)")`.
fn refused(why: &std::io::Error, address: &SocketAddr) -> Res {
    let number = int(why.raw_os_error().unwrap_or(0).into())?;
    let shown = address_tuple(address)?;
    // SAFETY: formats one object.
    let text =
        unsafe { Obj::steal(PyUnicode_FromFormat(c"Connect call failed %R".as_ptr(), shown.as_ptr())) }?;
    error::raise_value(call(builtin::os_error(), &[number.borrow(), text.borrow()])?);
    Err(Raised)
}

/// Makes the transport of a connection that was begun; raises if it has failed meanwhile.
pub fn finish(owner: &LoopObject, fd: i32, host: Ref, port: Ref, protocol: Ref, waiter: Ref) -> Res {
    let peer = literal(host, port);
    if let (Err(why), Some(address)) = (socket::connect_result(fd), peer) {
        return refused(&why, &address);
    }
    start(Parts {
        owner,
        fd,
        tcp: true,
        protocol: protocol.to_obj(),
        sock: None,
        server: None,
        peer: peer.map(|peer| answering(fd, peer)),
        extra: None,
        ask_names: false,
        waiter: Some(waiter),
        context: None,
    })
}

/// Who answers: whoever is asked for "any address" does so under one that the kernel knows while the connection lives.
fn answering(fd: i32, asked: SocketAddr) -> SocketAddr {
    if !asked.ip().is_unspecified() {
        return asked;
    }
    match socket::peer_name(fd) {
        Ok(socket::Name::Ip(peer)) => peer,
        _ => asked,
    }
}
