//! The fields of a datagram endpoint, and what becomes of it next.
//!
//! What is done once for an endpoint is asyncio's own Python code, which the transport inherits (`_loop/datagrams.py`): it sets these
//! fields, in asyncio's names, and looks at them. What is done for each datagram is in `datagram_recv` and `datagram_send`, which
//! decide, and in `datagram_life`, which acts.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::process;

use aioxide_sys::datagram::{self, Address, Family, Received};
use aioxide_sys::forks;
use pyo3_ffi::*;

use super::state::present;
use crate::engine::loop_object::LoopObject;
use crate::ffi::calls::call_method;
use crate::ffi::class::{Collected, Native, derives};
use crate::ffi::guard::visit;
use crate::ffi::names::{imported, interned};
use crate::ffi::{Global, Leaf, Obj, Raised, Ref, Res, Slot, error, number};

/// What comes next to an endpoint.
pub enum Come {
    Datagram {
        data: Obj,
        sender: Obj,
        /// There was more of it, which is lost.
        cut: bool,
    },
    /// What the kernel has to say of something that was sent or received.
    Error(Obj),
    Nothing,
    /// asyncio's own code is to look.
    Standard,
}

/// What has become of a datagram that was to be sent.
pub enum Sent {
    Gone,
    /// It has to wait.
    Later,
    /// The kernel, or whoever has hooked the call, refuses it.
    Refused(Obj),
    /// asyncio's own code is to do it, or to say what is wrong.
    Standard,
}

/// What has become of those that waited.
pub enum Drained {
    /// All have gone, or the kernel takes no more.
    AsFarAsItGoes,
    /// The first is refused, and gone.
    Refused(Obj),
}

/// One that was received and not told yet.
pub struct Arrived {
    pub data: Obj,
    pub address: Address,
    /// There was more of it, which is lost.
    pub cut: bool,
}

/// Datagrams that were received together: the protocol is told of each in a turn of its own, as by asyncio.
#[derive(Default)]
struct Ahead {
    waiting: VecDeque<Arrived>,
    /// `forks::count` and the process that received them: in a child of fork they are not its own.
    forks: u32,
    process: u32,
}

/// The last senders, by what their addresses add up to, and the tuples that tell of them.
type Senders = [Option<(Sender, Obj)>; SENDERS];
const SENDERS: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Sender {
    size: u8,
    bytes: [u8; Sender::MOST],
}

impl Sender {
    /// An IPv6 address; that of a Unix socket is a str or bytes, and made anew each time.
    const MOST: usize = 28;

    fn of(address: &Address) -> Option<Sender> {
        let bytes = address.as_bytes();
        let mut sender = Sender { size: bytes.len() as u8, bytes: [0; Sender::MOST] };
        sender.bytes.get_mut(..bytes.len()).filter(|room| !room.is_empty())?.copy_from_slice(bytes);
        Some(sender)
    }

    fn place(&self) -> usize {
        let sum = self.bytes.chunks_exact(4).fold(0_u32, |sum, part| {
            (sum ^ u32::from_le_bytes([part[0], part[1], part[2], part[3]])).wrapping_mul(0x9E37_79B1)
        });
        (sum >> 26) as usize % SENDERS
    }
}

/// A reference that can be looked at from everywhere, and changed in this file only.
#[repr(transparent)]
pub struct Kept(Slot);

#[rustfmt::skip]
impl Kept {
    pub fn is_set(&self) -> bool { self.0.is_set() }
    pub fn share(&self) -> Option<Obj> { self.0.share() }
    pub fn or_none(&self) -> Obj { self.0.or_none() }
    /// Gives back the one before, which may run code of its own when it is dropped.
    fn swap(&self, value: Option<Obj>) -> Option<Obj> { self.0.replace(value) }
}

/// Our fields, behind those of `asyncio.transports._FlowControlMixin`, of which ours take the places.
#[repr(C)]
pub struct Datagrams {
    pub owner: Kept,
    pub protocol: Kept,
    pub sock: Kept,
    pub extra: Kept,
    /// The peer, where the endpoint was made for one.
    pub address: Kept,
    /// A deque of those that wait to be sent, with their addresses.
    pub buffer: Kept,
    pub high_water: Kept,
    pub low_water: Kept,
    pub protocol_paused: Kept,
    /// Counts what was sent after the end was settled, as asyncio's `_conn_lost`.
    lost: Cell<i64>,
    closing: Cell<bool>,
    paused: Cell<bool>,
    /// A plain socket of this family: another's own methods are called, by asyncio.
    plain: Cell<bool>,
    family: Cell<Family>,
    /// The number of the socket when it was given.
    number: Cell<i32>,
    /// Something was sent to the peer of a connected socket since the kernel was last asked for an error: of others it has none.
    sent: Cell<bool>,
    /// How many are received at a time.
    batch: Cell<usize>,
    /// A job that goes on telling is in the ready queue.
    scheduled: Cell<bool>,
    /// That job runs the reader's handle.
    in_job: Cell<bool>,
    ahead: Leaf<Option<Box<Ahead>>>,
    senders: Leaf<Option<Box<Senders>>>,
}

// What happens, and what it changes.
#[rustfmt::skip]
impl Datagrams {
    pub fn set_owner(&self, owner: Option<Obj>) { drop(self.owner.swap(owner)); }
    pub fn set_protocol(&self, protocol: Option<Obj>) { drop(self.protocol.swap(protocol)); }
    pub fn set_extra(&self, extra: Option<Obj>) { drop(self.extra.swap(extra)); }
    pub fn set_address(&self, address: Option<Obj>) { drop(self.address.swap(address)); }
    pub fn set_buffer(&self, buffer: Option<Obj>) { drop(self.buffer.swap(buffer)); }
    pub fn set_high_water(&self, mark: Option<Obj>) { drop(self.high_water.swap(mark)); }
    pub fn set_low_water(&self, mark: Option<Obj>) { drop(self.low_water.swap(mark)); }
    pub fn set_protocol_paused(&self, paused: Option<Obj>) { drop(self.protocol_paused.swap(paused)); }
    pub fn lost(&self) -> i64 { self.lost.get() }
    pub fn set_lost(&self, count: i64) { self.lost.set(count); }
    pub fn closing(&self) -> bool { self.closing.get() }
    pub fn set_closing(&self, closing: bool) { self.closing.set(closing); }
    pub fn paused(&self) -> bool { self.paused.get() }
    pub fn set_paused(&self, paused: bool) { self.paused.set(paused); }
    pub fn family(&self) -> Option<Family> { self.plain.get().then(|| self.family.get()) }
    pub fn number(&self) -> i32 { self.number.get() }
    pub fn note_sent_to_peer(&self) { self.sent.set(true); }
    /// Whether the kernel may have an error that no call has told of yet.
    pub fn take_sent_to_peer(&self) -> bool { self.sent.replace(false) }
    pub fn schedule(&self) -> bool { !self.scheduled.replace(true) }
    pub fn is_scheduled(&self) -> bool { self.scheduled.get() }
    pub fn job_begins(&self) { self.scheduled.set(false); }
    pub fn set_in_job(&self, is: bool) -> bool { self.in_job.replace(is) }
    pub fn batch(&self) -> usize { self.batch.get().max(1) }
}

impl Datagrams {
    /// The loop. It is there until the protocol has been told of the end.
    #[inline(always)]
    pub fn loop_object(&self) -> Option<&LoopObject> {
        // SAFETY: looked at below; the slot keeps it while the transport is in use.
        unsafe { self.owner.0.peek() }.and_then(|owner| owner.cast())
    }

    /// Whether the protocol may be told of what has come.
    pub fn wants(&self) -> bool {
        self.lost.get() == 0 && !self.closing.get() && !self.paused.get() && self.sock.is_set()
    }

    /// Puts a socket in place, or takes it: then what it has received goes with it.
    pub fn set_sock(&self, sock: Option<Obj>) -> Res<()> {
        let sock = present(sock.as_ref().map(Obj::borrow));
        let fd = match &sock {
            Some(sock) if sock.borrow().type_of().cast() == imported().socket_type.as_ptr() => {
                i32::try_from(number::as_i64(&call_method(interned().fileno, &[sock.borrow()])?)?)
                    .unwrap_or(-1)
            }
            _ => -1,
        };
        self.number.set(fd);
        let family = datagram::family(fd);
        self.plain.set(family.is_some());
        self.family.set(family.unwrap_or(Family::V4));
        self.batch.set(datagram::MOST);
        let gone = self.ahead.with(Option::take);
        drop((self.sock.swap(sock), gone));
        Ok(())
    }

    /// The descriptor now: the program may have closed the socket, and the number may be another's by now.
    #[inline(always)]
    pub fn fileno(&self) -> Res<i32> {
        let Some(sock) = self.sock.share() else { return Ok(-1) };
        Ok(number::as_i64(&call_method(interned().fileno, &[sock.borrow()])?)? as i32)
    }

    /// How many wait to be sent.
    pub fn queued(&self) -> Res<usize> {
        let Some(buffer) = self.buffer.share() else { return Ok(0) };
        // SAFETY: asks a live object for its length.
        usize::try_from(unsafe { PyObject_Size(buffer.as_ptr()) }).map_err(|_| Raised)
    }

    // ------------------------------------------------------------------------------------------ what came with others

    pub fn has_ahead(&self) -> bool {
        self.ahead.with(|ahead| ahead.as_ref().is_some_and(|ahead| !ahead.waiting.is_empty()))
    }

    /// Lets go of what was received in the process of which this one is a fork, and is told there.
    fn leave_parents(&self) {
        let parents = self.ahead.with(|ahead| {
            ahead.take_if(|ahead| {
                let now = forks::count();
                std::mem::replace(&mut ahead.forks, now) != now && ahead.process != process::id()
            })
        });
        drop(parents);
    }

    pub fn take_ahead(&self) -> Option<Arrived> {
        if !self.has_ahead() {
            return None;
        }
        self.leave_parents();
        self.ahead.with(|ahead| ahead.as_mut()?.waiting.pop_front())
    }

    /// Nobody will be told of what has come.
    pub fn drop_ahead(&self) {
        drop(self.ahead.with(Option::take));
    }

    /// Keeps what has come with the first one. `make` makes the bytes.
    ///
    /// # Errors
    /// There is no memory for that. What was received is lost, as asyncio loses what it has no memory for.
    pub fn keep_ahead<'r>(
        &self,
        rest: impl ExactSizeIterator<Item = Received<'r>>,
        make: impl Fn(&Received<'r>) -> Res,
    ) -> Res<()> {
        if rest.len() == 0 {
            return Ok(());
        }
        self.ahead.with(|ahead| {
            let ahead = ahead.get_or_insert_with(Box::default);
            ahead.waiting.try_reserve(rest.len()).or_else(|_| error::no_memory())?;
            (ahead.forks, ahead.process) = (forks::count(), process::id());
            for received in rest {
                let data = make(&received)?;
                ahead.waiting.push_back(Arrived { data, address: *received.address, cut: received.cut });
            }
            Ok(())
        })
    }

    /// The next batch takes no more memory than the processor's cache has, if it is like this one.
    pub fn note_sizes(&self, largest: usize) {
        self.batch.set((datagram::SIZE / largest.max(1)).clamp(1, datagram::MOST));
    }

    // ------------------------------------------------------------------------------------------------------- senders

    /// What tells of a sender, if one of the last was the same.
    pub fn known_sender(&self, address: &Address) -> Option<Obj> {
        let sender = Sender::of(address)?;
        self.senders.with(|known| match &known.as_ref()?[sender.place()] {
            Some((same, object)) if *same == sender => Some(object.clone()),
            _ => None,
        })
    }

    pub fn keep_sender(&self, address: &Address, object: &Obj) {
        let Some(sender) = Sender::of(address) else { return };
        let entry = Some((sender, object.clone()));
        let before = self.senders.with(|known| {
            let known = known.get_or_insert_with(|| Box::new([const { None }; SENDERS]));
            std::mem::replace(&mut known[sender.place()], entry)
        });
        drop(before);
    }

    /// All that it holds and that may lead back to it: what was received is bytes, and addresses are str and numbers.
    fn slots(&self) -> [&Kept; 9] {
        [
            &self.owner,
            &self.protocol,
            &self.sock,
            &self.extra,
            &self.address,
            &self.buffer,
            &self.high_water,
            &self.low_water,
            &self.protocol_paused,
        ]
    }
}

// ------------------------------------------------------------------------------------------------- the object

static TYPE: Global<*mut PyTypeObject> = Global::new();
/// Where the body begins: behind the fields of its base, which are known at import.
static BODY: Global<usize> = Global::new();

/// # Safety
/// Called at import with the type of our transports, and where our fields begin in each.
pub unsafe fn load(kind: *mut PyTypeObject, body: usize) {
    TYPE.set(kind);
    BODY.set(body);
}

// SAFETY: instances of that type have our fields there, which are cells; zeroed, each is empty.
unsafe impl Native for Datagrams {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &TYPE)
    }

    #[inline(always)]
    fn place(object: Ref) -> *mut Datagrams {
        // SAFETY: set at import, before the first is made.
        unsafe { object.as_ptr().cast::<u8>().add(*BODY.get()).cast() }
    }

    #[inline(always)]
    fn object(&self) -> Ref<'_> {
        // SAFETY: the opposite.
        unsafe { Ref::new(std::ptr::from_ref(self).cast_mut().cast::<u8>().sub(*BODY.get()).cast()) }
    }
}

// SAFETY: it visits what the fields hold, and no more.
unsafe impl Collected for Datagrams {
    unsafe fn traverse(&self, visitor: visitproc, arg: *mut c_void) -> c_int {
        for slot in self.slots() {
            // SAFETY: what is held lives, and nothing changes meanwhile.
            unsafe { visit!(slot.0.get(), visitor, arg) };
        }
        0
    }

    fn clear(&self) {
        self.slots().iter().for_each(|slot| drop(slot.swap(None)));
        let gone = (self.ahead.with(Option::take), self.senders.with(Option::take));
        drop(gone);
    }
}
