//! The Python type of datagram transports: what is native of them. `_loop/datagrams.py` puts it in front of asyncio's own class, whose
//! methods do the rest, and set the attributes here.

use std::ffi::CStr;

use pyo3_ffi::*;

use super::datagram_state::{self, Datagrams};
use super::{datagram_life, docs};
use crate::ffi::args::{Args, Overriding};
use crate::ffi::class::{Class, Native};
use crate::ffi::names::{imported, interned};
use crate::ffi::object::{int, truth};
use crate::ffi::typedef::size_of_type;
use crate::ffi::{Ref, Res, none, number};

fn send(this: &Datagrams, args: Args) -> Res<()> {
    let nothing = none();
    if args.kwnames().is_none()
        && let [data, rest @ ..] = args.given()
        && rest.len() <= 1
    {
        return datagram_life::send(this, *data, rest.first().copied().unwrap_or(nothing.borrow()));
    }
    let base =
        Overriding { receiver: this.object(), class: |_| imported().datagram_transport, name: c"sendto" };
    let n = interned();
    let [data, addr] = args.bound([n.data, n.addr], 2, base)?;
    let data = match data {
        Some(data) => data,
        None => args.first(["data"], base)?[0],
    };
    datagram_life::send(this, data, addr.unwrap_or(nothing.borrow()))
}

/// The count that asyncio's code sets; an attribute that is deleted counts as 0.
fn set_lost(this: &Datagrams, value: Option<Ref>) -> Res<()> {
    this.set_lost(value.map_or(Ok(0), number::as_i64)?);
    Ok(())
}

fn set_closing(this: &Datagrams, value: Option<Ref>) -> Res<()> {
    this.set_closing(value.map_or(Ok(false), truth)?);
    if this.closing() {
        this.drop_ahead();
    }
    Ok(())
}

fn set_paused(this: &Datagrams, value: Option<Ref>) -> Res<()> {
    this.set_paused(value.map_or(Ok(false), truth)?);
    datagram_life::resumed(this);
    Ok(())
}

/// A setter of a reference.
macro_rules! set {
    ($method:ident) => {
        |this: &Datagrams, value: Option<Ref>| {
            this.$method(value.map(Ref::to_obj));
            Ok(())
        }
    };
}

fn attributes(class: Class<Datagrams>) -> Class<Datagrams> {
    class
        .getset(c"_loop", |this| this.owner.or_none(), set!(set_owner))
        .getset(c"_protocol", |this| this.protocol.or_none(), set!(set_protocol))
        .getset(c"_extra", |this| this.extra.or_none(), set!(set_extra))
        .getset(c"_address", |this| this.address.or_none(), set!(set_address))
        .getset(c"_buffer", |this| this.buffer.or_none(), set!(set_buffer))
        .getset(c"_high_water", |this| this.high_water.or_none(), set!(set_high_water))
        .getset(c"_low_water", |this| this.low_water.or_none(), set!(set_low_water))
        .getset(c"_protocol_paused", |this| this.protocol_paused.or_none(), set!(set_protocol_paused))
        .getset(c"_sock", |this| this.sock.or_none(), |this, value| this.set_sock(value.map(Ref::to_obj)))
        .getset(c"_conn_lost", |this| int(this.lost()), set_lost)
        .getset(c"_closing", |this| this.closing(), set_closing)
        .getset(c"_paused", |this| this.paused(), set_paused)
}

pub fn load() -> Res<*mut PyTypeObject> {
    let base = imported().transport_type;
    let body = size_of_type(base).next_multiple_of(align_of::<Datagrams>());
    let padding = body - size_of_type(base);
    const NAME: &CStr = c"aioxide._SelectorDatagramTransport";
    let class = Class::<Datagrams>::behind(NAME, padding + size_of::<Datagrams>());
    let made = attributes(class)
        .fast(c"sendto", send, docs::SENDTO)
        .noargs(c"_read_ready", datagram_life::read_ready, c"Tell the protocol what has come.")
        .noargs(c"_sendto_ready", datagram_life::write_ready, c"Send what waits.")
        .collected()
        .also(|def| def.flags(Py_TPFLAGS_BASETYPE).doc(docs::DATAGRAM_TRANSPORT))
        .build(Some(base))?;
    // SAFETY: the import; our fields begin there in each instance of the type.
    unsafe { datagram_state::load(made, body) };
    Ok(made)
}
