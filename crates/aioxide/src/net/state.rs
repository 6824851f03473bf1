//! The fields of a stream connection, and what becomes of it next.
//!
//! Every file of the room may look at a field. What changes one is a method of this file, with a name that says when: so
//! the states that a connection can be in are found here, and who brings it there is found by that name.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, c_int, c_void};
use std::net::SocketAddr;

use aioxide_core::sendq::SendQueue;
use aioxide_sys::epoll::Interest;
use aioxide_sys::forks;
use pyo3_ffi::*;

use crate::engine::loop_object::LoopObject;
use crate::ffi::cells::{Local, Turn};
use crate::ffi::class::{Collected, Native, derives};
use crate::ffi::guard::visit;
use crate::ffi::{Global, Obj, Ref, Res, Slot, context, error};

pub const READ_FAILED: &CStr = c"Fatal read error on socket transport";
pub const WRITE_FAILED: &CStr = c"Fatal write error on socket transport";

/// What is to become of a connection: `recv`, `send` and `protocol` decide it, `life::act` alone does it.
#[must_use]
pub enum Next {
    GoOn,
    /// What was written is to leave at the end of the turn.
    SendLater,
    /// The kernel has taken no more: the rest is sent when it has room.
    Full,
    /// The protocol wants no more: close once all has been sent.
    Close,
    /// All has been sent, and that was what closing waited for.
    Lost,
    /// It cannot go on. The text says what failed.
    Fatal {
        exception: Obj,
        text: &'static CStr,
    },
    /// The kernel refuses what was written. Who waits for all to be sent is told, too.
    Unsendable(Obj),
}

impl Next {
    /// The exception that is set is the end.
    #[cold]
    pub fn fatal(text: &'static CStr) -> Next {
        error::take().map_or(Next::GoOn, |exception| Next::Fatal { exception, text })
    }
}

/// How a protocol takes its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `asyncio.Protocol`: `data_received`.
    Streaming,
    /// `asyncio.BufferedProtocol`: `get_buffer` and `buffer_updated`.
    Buffered,
    /// Our own TLS: `protocol::READER`.
    Native,
}

/// Bytes that wait to be sent: `bytes` objects, which cannot change.
pub struct Chunk(pub Obj);

impl AsRef<[u8]> for Chunk {
    #[inline(always)]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `send` makes chunks of exact `bytes` only, which never change while the reference is held.
        unsafe {
            let data = PyBytes_AsString(self.0.as_ptr()).cast::<u8>();
            std::slice::from_raw_parts(data, PyBytes_Size(self.0.as_ptr()) as usize)
        }
    }
}

/// A field that can be looked at from everywhere, and changed in this file only.
#[repr(transparent)]
pub struct Shown<T>(T);

#[rustfmt::skip]
impl<T: Copy> Shown<Cell<T>> {
    pub fn get(&self) -> T { self.0.get() }
}

#[rustfmt::skip]
impl Shown<Slot> {
    pub fn is_set(&self) -> bool { self.0.is_set() }
    pub fn share(&self) -> Option<Obj> { self.0.share() }
    pub fn or_none(&self) -> Obj { self.0.or_none() }
}

type Flag = Shown<Cell<bool>>;

// ------------------------------------------------------------------------------------------------------- reading

pub struct Reading {
    /// `connection_made` has been called.
    pub begun: Flag,
    pub paused: Flag,
    /// The peer's end of stream was read.
    pub ended: Flag,
    /// The kernel may have bytes: an edge came, and no read has come up short since.
    pub ready: Flag,
    /// Plain TCP: a short read means that nothing follows.
    pub tcp: Flag,
    /// A read is in the ready queue.
    scheduled: Cell<bool>,
    told: Local<Told>,
}

/// What the kernel has told, in events and by reads: nobody but the loop's thread knows. All else of a connection may be
/// touched by whoever has the transport, in any thread.
#[derive(Default)]
struct Told {
    /// More than that there are bytes: an urgent mark, a hang-up, an error. Until EAGAIN or the end of the stream, a short
    /// read means nothing.
    doubt: Cell<bool>,
    /// The last read was large.
    large: Cell<bool>,
}

impl Reading {
    pub fn wants(&self) -> bool {
        self.begun.get() && !self.paused.get() && !self.ended.get()
    }

    #[inline(always)]
    fn told<'t>(&'t self, turn: Turn<'t>) -> &'t Told {
        // The loop may have run in another thread before.
        self.told.adopt(turn);
        self.told.get(turn)
    }
}

// What happens, and what it changes; a `bool` says whether it was not so before.
#[rustfmt::skip]
impl Reading {
    pub fn begin(&self) { self.begun.0.set(true); }
    pub fn pause(&self) { self.paused.0.set(true); }
    pub fn resume(&self) -> bool { self.paused.0.replace(false) }
    pub fn note_edge(&self) { self.ready.0.set(true); }
    pub fn note_doubt(&self, turn: Turn) { self.told(turn).doubt.set(true); }
    pub fn is_doubtful(&self, turn: Turn) -> bool { self.told(turn).doubt.get() }
    /// Whatever comes from now on makes an edge, whose flags say anew what it is.
    pub fn note_empty(&self, turn: Turn) { self.ready.0.set(false); self.told(turn).doubt.set(false); }
    pub fn note_end(&self) { self.ended.0.set(true); }
    pub fn note_size(&self, turn: Turn, large: bool) { self.told(turn).large.set(large); }
    pub fn was_large(&self, turn: Turn) -> bool { self.told(turn).large.get() }
    pub fn schedule(&self) -> bool { !self.scheduled.replace(true) }
    pub fn job_begins(&self) { self.scheduled.set(false); }
}

// ------------------------------------------------------------------------------------------------------- writing

pub struct Writing {
    /// The kernel would take no more: an edge will say when it does.
    pub blocked: Flag,
    /// The edge is asked for. It stays so: taking it back would cost a system call for each.
    pub watched: Flag,
    /// So many bytes may wait for the end of the turn: `send::look_at_limits` has the rules.
    pub gather: Shown<Cell<usize>>,
    /// Somebody else can send by the same socket, unseen: nothing may wait.
    pub at_once: Flag,
    /// The protocol is asyncio's TLS, whose own limits tell how its user wants to write.
    pub tls: Flag,
    /// In the engine's list for the end of this turn.
    pub flush_due: Flag,
    /// A write is in the ready queue.
    scheduled: Cell<bool>,
    pub protocol_paused: Flag,
}

#[rustfmt::skip]
impl Writing {
    pub fn block(&self) { self.blocked.0.set(true); }
    pub fn unblock(&self) { self.blocked.0.set(false); }
    pub fn watch(&self) -> bool { !self.watched.0.replace(true) }
    pub fn set_gather(&self, size: usize) { self.gather.0.set(size); }
    pub fn share_socket(&self) { self.at_once.0.set(true); }
    pub fn set_flush_due(&self, due: bool) { self.flush_due.0.set(due); }
    pub fn schedule(&self) -> bool { !self.scheduled.replace(true) }
    pub fn job_begins(&self) { self.scheduled.set(false); self.unblock(); }
    /// Gives back what it was before.
    pub fn set_protocol_paused(&self, paused: bool) -> bool { self.protocol_paused.0.replace(paused) }
}

// -------------------------------------------------------------------------------------------------- the connection

/// Our fields, behind those of `asyncio.Transport`.
#[repr(C)]
pub struct Stream {
    weakrefs: Slot,
    pub dict: Shown<Slot>,
    pub owner: Shown<Slot>,
    pub protocol: Shown<Slot>,
    pub server: Shown<Slot>,
    /// The Python socket, once there is one: a server's connection has none until somebody asks.
    pub sock: Shown<Slot>,
    /// What `get_extra_info` answers, as far as it was made.
    pub extra: Shown<Slot>,
    /// The context of the protocol's callbacks.
    context: Slot,
    /// The context of whoever wrote more than the kernel took: sending goes on in it, and `resume_writing` is called.
    pub resume_context: Shown<Slot>,
    pub empty_waiter: Shown<Slot>,
    queue: UnsafeCell<SendQueue<Chunk>>,
    /// Who connected to us, as `accept` said: the kernel forgets when the peer hangs up. And our own address, once it was
    /// asked for. Shown when somebody asks.
    pub peer: Shown<Cell<Option<SocketAddr>>>,
    pub local: Shown<Cell<Option<SocketAddr>>>,
    /// `forks::count` when it was made.
    forks: Cell<u32>,
    /// -1 when it is closed.
    pub fd: Shown<Cell<i32>>,
    /// The number that it had or has, to be shown.
    pub number: Shown<Cell<i32>>,
    pub high_water: Shown<Cell<usize>>,
    pub low_water: Shown<Cell<usize>>,
    /// Counts the writes after the connection was lost, as asyncio's `_conn_lost`.
    pub lost: Shown<Cell<u32>>,
    /// `close` was called, or the connection is lost.
    pub closing: Flag,
    pub eof_written: Flag,
    pub reading: Reading,
    pub writing: Writing,
    pub protocol_kind: Shown<Cell<Kind>>,
    pub protocol_connected: Flag,
}

pub const WEAKREFS: usize = std::mem::offset_of!(Stream, weakrefs);
pub const DICT: usize = std::mem::offset_of!(Stream, dict);

/// What a new transport is made of.
pub struct Parts<'a> {
    pub owner: &'a LoopObject,
    pub fd: i32,
    /// The kernel's protocol is TCP, with nothing on top: `socket::is_plain_tcp`.
    pub tcp: bool,
    pub protocol: Obj,
    pub sock: Option<Obj>,
    pub server: Option<Ref<'a>>,
    pub peer: Option<SocketAddr>,
    pub extra: Option<Ref<'a>>,
    /// The names of the socket are asked for now, as asyncio does; else `accept` or the caller has told them, or they can be
    /// had when the connection ends.
    pub ask_names: bool,
    pub waiter: Option<Ref<'a>>,
    /// What the protocol is called in, if the maker has made a context for that: else a copy of the current one.
    pub context: Option<Obj>,
}

pub fn present(value: Option<Ref>) -> Option<Obj> {
    value.filter(|value| !value.is_none()).map(Ref::to_obj)
}

impl Stream {
    /// Takes over what a new transport is made of, but for its protocol.
    pub fn fill(&self, parts: &mut Parts<'_>) -> Res<()> {
        self.fd.0.set(parts.fd);
        self.number.0.set(parts.fd);
        self.owner.0.set(parts.owner.object().to_obj());
        drop(self.sock.0.replace(parts.sock.take()));
        drop(self.server.0.replace(present(parts.server)));
        drop(self.extra.0.replace(present(parts.extra)));
        self.peer.0.set(parts.peer);
        self.reading.tcp.0.set(parts.tcp);
        self.context.set(parts.context.take().map_or_else(context::copy_current, Ok)?);
        self.forks.set(forks::count());
        Ok(())
    }

    /// The loop. It is there while the transport is not closed for good.
    #[inline(always)]
    pub fn loop_object(&self) -> Option<&LoopObject> {
        // SAFETY: a loop of ours, by `fill`, which is kept until `let_go`.
        unsafe { self.owner.0.peek().map(|owner| owner.cast_unchecked()) }
    }

    /// Raises where the transport was never initialised, or its connection is gone.
    pub fn require_loop(&self) -> Res<&LoopObject> {
        match self.loop_object() {
            Some(this) => Ok(this),
            None => error::runtime_error(c"unable to perform operation on a transport that is closed"),
        }
    }

    /// Short access to the queue of bytes to send. Nothing in `body` may call into Python.
    #[inline(always)]
    pub fn with_queue<T>(&self, body: impl FnOnce(&mut SendQueue<Chunk>) -> T) -> T {
        // SAFETY: under the GIL, and every `body` is leaf code. Releasing a chunk is, too: `bytes` runs no code.
        body(unsafe { &mut *self.queue.get() })
    }

    pub fn queued(&self) -> usize {
        self.with_queue(|queue| queue.len())
    }

    /// Runs `body` in the context of the protocol's callbacks.
    #[inline(always)]
    pub fn in_context<T>(&self, body: impl FnOnce() -> Res<T>) -> Res<T> {
        match self.context.share() {
            Some(context) => context::run(&context, body),
            None => body(),
        }
    }

    pub fn interest(&self) -> Interest {
        let mut wanted = Interest::IN | Interest::PRI | Interest::RDHUP | Interest::ET;
        wanted.set(Interest::OUT, self.writing.watched.get());
        wanted
    }

    /// Somebody else may have the descriptor: as a Python socket was made that could have been copied, or a process forked.
    pub fn may_be_shared(&self) -> bool {
        self.sock.is_set() || self.writing.at_once.get() || self.forks.get() != forks::count()
    }

    /// Gives back the one before, which may run code of its own when it is dropped.
    pub fn change_protocol(&self, given: Obj, kind: Kind, tls: bool) -> Option<Obj> {
        self.writing.tls.0.set(tls);
        self.protocol_kind.0.set(kind);
        self.protocol_connected.0.set(true);
        self.protocol.0.replace(Some(given))
    }

    /// The Python socket, if there is one, and the descriptor: who takes them has to close them.
    pub fn take_socket(&self) -> (Option<Obj>, i32) {
        (self.sock.0.take(), self.fd.0.replace(-1))
    }

    /// The connection has ended: nobody will be called any more.
    pub fn let_go(&self) {
        drop((
            self.protocol.0.take(),
            self.owner.0.take(),
            self.context.take(),
            self.resume_context.0.take(),
        ));
    }

    /// What it holds. The collector may empty all but the last two, by which the descriptor is closed.
    fn slots(&self) -> [&Slot; 9] {
        [
            &self.dict.0,
            &self.protocol.0,
            &self.server.0,
            &self.extra.0,
            &self.empty_waiter.0,
            &self.context,
            &self.resume_context.0,
            &self.owner.0,
            &self.sock.0,
        ]
    }

    /// Releases all that it holds.
    ///
    /// # Safety
    /// The object is at its end: nobody uses the body after this.
    pub unsafe fn end(&self) {
        // SAFETY: the object has no reference left; the queue is dropped once.
        unsafe {
            if self.weakrefs.is_set() {
                PyObject_ClearWeakRefs(self.object().as_ptr());
            }
            self.slots().iter().for_each(|slot| slot.clear());
            std::ptr::drop_in_place(self.queue.get());
        }
    }
}

#[rustfmt::skip]
impl Stream {
    /// From here on the protocol is called in this context.
    pub fn change_context(&self, context: Obj) { self.context.set(context); }
    /// Sending goes on in this context, or in the protocol's own.
    pub fn change_resume_context(&self, context: Option<Obj>) { drop(self.resume_context.0.replace(context)); }
    pub fn set_high_water(&self, bytes: usize) { self.high_water.0.set(bytes); }
    pub fn set_low_water(&self, bytes: usize) { self.low_water.0.set(bytes); }
    pub fn set_empty_waiter(&self, waiter: Obj) { self.empty_waiter.0.set(waiter); }
    pub fn take_empty_waiter(&self) -> Option<Obj> { self.empty_waiter.0.take() }
    pub fn take_server(&self) -> Option<Obj> { self.server.0.take() }
    pub fn keep_dict(&self, dict: Obj) { self.dict.0.set(dict); }
    pub fn keep_sock(&self, sock: Obj) { self.sock.0.set(sock); }
    pub fn keep_extra(&self, extra: Obj) { self.extra.0.set(extra); }
    pub fn keep_local(&self, address: SocketAddr) { self.local.0.set(Some(address)); }
    pub fn keep_peer(&self, address: SocketAddr) { self.peer.0.set(Some(address)); }
    pub fn note_eof_written(&self) -> bool { !self.eof_written.0.replace(true) }
    pub fn note_closing(&self) -> bool { !self.closing.0.replace(true) }
    /// The connection is lost, or was, and somebody has written to it once more.
    pub fn count_lost(&self) { self.lost.0.set(self.lost.get() + 1); }
}

// ------------------------------------------------------------------------------------------------- the object

static TYPE: Global<*mut PyTypeObject> = Global::new();
/// Where the body begins in a transport: behind the fields of its base, which are known at import.
static BODY: Global<usize> = Global::new();

/// # Safety
/// Called at import with the type of our transports, and where our fields begin in each.
pub unsafe fn load(kind: *mut PyTypeObject, body: usize) {
    TYPE.set(kind);
    BODY.set(body);
}

// SAFETY: instances of that type have our fields there, which are cells.
unsafe impl Native for Stream {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &TYPE)
    }

    #[inline(always)]
    fn place(object: Ref) -> *mut Stream {
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
unsafe impl Collected for Stream {
    unsafe fn traverse(&self, visitor: visitproc, arg: *mut c_void) -> c_int {
        for slot in self.slots() {
            // SAFETY: what is held lives, and nothing changes meanwhile.
            unsafe { visit!(slot.get(), visitor, arg) };
        }
        0
    }

    fn clear(&self) {
        self.slots()[..7].iter().for_each(|slot| slot.clear());
        drop(self.with_queue(SendQueue::take));
    }
}

/// Makes a transport with empty fields.
pub fn alloc() -> Res {
    // SAFETY: a zeroed body is valid, and what is written here is not to be zero; `fd` -1 says that nothing is open.
    unsafe {
        let made = Obj::steal(PyType_GenericAlloc(*TYPE.get(), 0))?;
        let body = Stream::place(made.borrow());
        std::ptr::write(&raw mut (*body).queue, UnsafeCell::default());
        std::ptr::write(&raw mut (*body).reading.told, Local::new(Told::default()));
        (*body).local.0.set(None);
        (*body).peer.0.set(None);
        (*body).fd.0.set(-1);
        Ok(made)
    }
}

impl Stream {
    /// The engine keeps a transport alive while it reads or waits to send. One that does neither is its users' to keep:
    /// when they drop it, it says so and closes.
    pub fn hold(&self) {
        if let Some(this) = self.loop_object() {
            let idle = self.reading.paused.get() && !self.writing.blocked.get();
            drop(this.engine.sources.hold(self.fd.get(), self.object(), !idle));
        }
    }
}
