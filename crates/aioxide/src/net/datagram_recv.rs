//! Datagrams in: many by one system call, into room that is made once; each then is a `bytes` object of its size.
//!
//! The protocol is told of one in a turn, as by asyncio: what its callback schedules comes before the next datagram. So the
//! others of a batch wait in `datagram_state`.

use std::io;

use aioxide_sys::datagram::{self, Address, Received, Room};
use aioxide_sys::socket;
use pyo3_ffi::*;

use super::datagram_state::{Arrived, Come, Datagrams};
use super::{datagram_send, info};
use crate::ffi::cells::Locked;
use crate::ffi::class::Native;
use crate::ffi::names::interned;
use crate::ffi::object::{bytes, getattr};
use crate::ffi::{Leaf, Obj, Py, Raised, Res, error, none, number};

/// One for all endpoints, as receiving keeps the GIL, and nothing stays in it.
static ROOM: Locked<Leaf<Option<Room>>> = Locked::new(Leaf::new(None));

/// What comes next: of those that came together with others, or of the kernel.
pub fn next(this: &Datagrams) -> Res<Come> {
    if this.has_ahead() {
        // An error comes before what was received, as asyncio's next `recvfrom` would have found it.
        if let Some(exception) = error_of_sent(this)? {
            return Ok(Come::Error(exception));
        }
        // Nothing, if it was received in the process of which this one is a fork.
        if let Some(arrived) = this.take_ahead() {
            return tell(this, arrived);
        }
    }
    if this.family().is_none() || !has_usual_size(this)? {
        return Ok(Come::Standard);
    }
    let fd = this.fileno()?;
    match receive(this, fd, this.object().py())? {
        Ok(first) => tell(this, first),
        Err(why) if socket::would_block(&why) => Ok(Come::Nothing),
        Err(why) => error::os_error(&why).map(Come::Error).ok_or(Raised),
    }
}

/// The error that a datagram of ours has come back with since it was sent.
fn error_of_sent(this: &Datagrams) -> Res<Option<Obj>> {
    if this.take_sent_to_peer() { pending_error(this) } else { Ok(None) }
}

/// An event has come though something waits already: it may be of an error.
pub fn error_of_event(this: &Datagrams) -> Res<Option<Obj>> {
    if datagram_send::is_connected(this)? { pending_error(this) } else { Ok(None) }
}

/// The error that the kernel keeps for the next call.
fn pending_error(this: &Datagrams) -> Res<Option<Obj>> {
    match socket::connect_result(this.fileno()?) {
        Ok(()) => Ok(None),
        Err(why) => error::os_error(&why).map(Some).ok_or(Raised),
    }
}

/// Whether nobody has set another `max_size`, which asyncio's own code would keep to.
fn has_usual_size(this: &Datagrams) -> Res<bool> {
    let size = getattr(this.object(), interned().max_size)?;
    Ok(number::is_int(&size) && number::as_i64(&size)? == datagram::SIZE as i64)
}

/// Receives what there is: the first is returned, the others wait.
fn receive(this: &Datagrams, fd: i32, py: Py) -> Res<io::Result<Arrived>> {
    ROOM.get(py).with(|room| {
        if room.is_none() {
            *room = Room::new();
        }
        let Some(room) = room else { return error::no_memory() };
        let count = match room.receive(fd, this.batch()) {
            Ok(count) => count,
            Err(why) => return Ok(Err(why)),
        };
        let each = (0..count).map(|at| room.get(at));
        this.note_sizes(each.clone().map(|one| one.near.len() + one.far.len()).max().unwrap_or(0));
        let first = room.get(0);
        let first = Arrived { data: bytes_of(&first)?, address: *first.address, cut: first.cut };
        this.keep_ahead((1..count).map(|at| room.get(at)), bytes_of)?;
        Ok(Ok(first))
    })
}

/// Leaf code: `bytes` are no matter of the collector's.
fn bytes_of(received: &Received) -> Res {
    if received.far.is_empty() {
        return bytes(received.near);
    }
    let size = received.near.len() + received.far.len();
    // SAFETY: a new object of that size, which nobody else sees, is filled by its two parts.
    unsafe {
        let made = Obj::steal(PyBytes_FromStringAndSize(std::ptr::null(), size as Py_ssize_t))?;
        let start = PyBytes_AsString(made.as_ptr()).cast::<u8>();
        received.near.as_ptr().copy_to_nonoverlapping(start, received.near.len());
        received.far.as_ptr().copy_to_nonoverlapping(start.add(received.near.len()), received.far.len());
        Ok(made)
    }
}

fn tell(this: &Datagrams, arrived: Arrived) -> Res<Come> {
    let sender = sender(this, &arrived.address)?;
    Ok(Come::Datagram { data: arrived.data, sender, cut: arrived.cut })
}

/// The sender's address, as the socket module shows it.
fn sender(this: &Datagrams, address: &Address) -> Res {
    if let Some(known) = this.known_sender(address) {
        return Ok(known);
    }
    let Some(name) = address.name() else { return Ok(none()) };
    let made = info::name_object(Ok(name))?.unwrap_or_else(none);
    this.keep_sender(address, &made);
    Ok(made)
}
