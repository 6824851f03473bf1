//! The fields of a TLS connection that each read and write looks at. The rest are in the instance's dict: they are asyncio's.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::sync::Arc;

use aioxide_core::sendq::SendQueue;
use pyo3_ffi::*;

use super::library::Pointer;
use super::wire::Wire;
use crate::ffi::class::{Collected, Head, Native, derives};
use crate::ffi::guard::visit;
use crate::ffi::object::getattr;
use crate::ffi::{Global, Obj, Raised, Ref, Res, Slot, builtin, error, number, object};
use crate::net::state::{Chunk, Stream};

/// asyncio's `SSLProtocolState`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Unwrapped,
    Handshake,
    Wrapped,
    Flushing,
    Shutdown,
}

/// The members of `SSLProtocolState`, in the order of `Phase`.
static PHASES: Global<[(Phase, Obj); 5]> = Global::new();

fn load_phases() -> Res<()> {
    let class = object::import_from(c"asyncio.sslproto", c"SSLProtocolState")?;
    let member = |phase, name| Ok((phase, getattr(&class, crate::ffi::names::text(name)?)?));
    PHASES.set([
        member(Phase::Unwrapped, c"UNWRAPPED")?,
        member(Phase::Handshake, c"DO_HANDSHAKE")?,
        member(Phase::Wrapped, c"WRAPPED")?,
        member(Phase::Flushing, c"FLUSHING")?,
        member(Phase::Shutdown, c"SHUTDOWN")?,
    ]);
    Ok(())
}

/// A water mark, shown as it was given.
pub struct Mark {
    shown: Slot,
    bytes: Cell<usize>,
}

impl Mark {
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub fn show(&self) -> Obj {
        self.shown.or_none()
    }

    /// One beyond what memory can hold is never reached, whatever it is.
    pub fn set(&self, value: Option<Ref>) -> Res<()> {
        let Some(value) = value else { return error::type_error(c"cannot delete attribute") };
        let bytes = match number::as_f64(value) {
            Err(Raised) if number::is_int(value) && error::matches(builtin::overflow_error()) => {
                error::clear();
                usize::MAX
            }
            number => number? as usize,
        };
        self.bytes.set(bytes);
        self.shown.set(value.to_obj());
        Ok(())
    }
}

#[repr(C)]
pub struct Tls {
    header: Head,
    /// The loop.
    pub owner: Slot,
    /// The user's protocol.
    pub app: Slot,
    /// The transport that carries the ciphertext.
    pub below: Slot,
    /// The `ssl.SSLObject`, and the `_ssl._SSLSocket` in it.
    pub ssl_object: Slot,
    pub raw: Slot,
    /// The two `ssl.MemoryBIO`s of the engine that goes through Python.
    pub incoming: Slot,
    pub outgoing: Slot,
    pub incoming_high: Mark,
    pub incoming_low: Mark,
    pub outgoing_high: Mark,
    pub outgoing_low: Mark,
    /// `SSL *` of `raw`, for the engine that calls OpenSSL itself; else null.
    pub ssl: Cell<Pointer>,
    wire: UnsafeCell<Option<Arc<Wire>>>,
    backlog: UnsafeCell<SendQueue<Chunk>>,
    /// Counts the writes after the end, as asyncio's `_conn_lost`.
    pub lost: Cell<usize>,
    pub phase: Cell<Phase>,
    /// The user's protocol is an `asyncio.BufferedProtocol`.
    pub buffered: Cell<bool>,
    pub app_reading_paused: Cell<bool>,
    pub app_writing_paused: Cell<bool>,
    pub below_reading_paused: Cell<bool>,
    /// The transport below wants nothing for now.
    pub below_writing_paused: Cell<bool>,
    /// In the engine's list for the end of this turn.
    pub flush_due: Cell<bool>,
    pub flushing: Cell<bool>,
    /// OpenSSL is at work on it: what a callback of the user's, called from there, writes or reads has to wait.
    pub busy: Cell<bool>,
}

impl Tls {
    #[inline(always)]
    pub fn below_stream(&self) -> Option<&Stream> {
        // SAFETY: who holds on to it holds `this` too, and keeps what is below itself where Python may run.
        unsafe { self.below.peek() }.and_then(Ref::cast::<Stream>)
    }

    /// Short access to what is written and not encrypted. Nothing in `body` may call into Python.
    #[inline(always)]
    pub fn with_backlog<T>(&self, body: impl FnOnce(&mut SendQueue<Chunk>) -> T) -> T {
        // SAFETY: under the GIL, and every `body` is leaf code. Releasing a chunk is, too: `bytes` runs no code.
        body(unsafe { &mut *self.backlog.get() })
    }

    pub fn drop_backlog(&self) {
        drop(self.with_backlog(SendQueue::take));
    }

    pub fn backlog_size(&self) -> usize {
        self.with_backlog(|backlog| backlog.len())
    }

    /// What the engine that calls OpenSSL itself reads from and writes to.
    #[inline(always)]
    pub fn wire(&self) -> Option<&Wire> {
        // SAFETY: set once, before anybody reads or writes.
        unsafe { (*self.wire.get()).as_deref() }
    }

    /// The SSL object is there: made by `attach`, once.
    pub fn begin(&self, object: Obj, direct: Option<(Obj, Pointer, Arc<Wire>)>, bios: Option<(Obj, Obj)>) {
        if let Some((raw, ssl, wire)) = direct {
            // SAFETY: nobody has asked for it yet: reads and writes come after this, and it is called once (`begun`).
            unsafe { *self.wire.get() = Some(wire) };
            self.raw.set(raw);
            self.ssl.set(ssl);
        }
        if let Some((incoming, outgoing)) = bios {
            self.incoming.set(incoming);
            self.outgoing.set(outgoing);
        }
        self.ssl_object.set(object);
    }

    pub fn begun(&self) -> bool {
        self.raw.is_set() || self.incoming.is_set()
    }

    pub fn show_phase(&self) -> Obj {
        // SAFETY: set at import.
        let phases = unsafe { PHASES.get() };
        phases[self.phase.get() as usize].1.clone()
    }

    pub fn set_phase(&self, value: Option<Ref>) -> Res<()> {
        // SAFETY: set at import.
        let phases = unsafe { PHASES.get() };
        match phases.iter().find(|(_, member)| Some(member.borrow()) == value) {
            Some((phase, _)) => {
                self.phase.set(*phase);
                Ok(())
            }
            None => error::type_error(c"a state of TLS is an SSLProtocolState"),
        }
    }

    /// What it holds.
    fn slots(&self) -> [&Slot; 11] {
        [
            &self.owner,
            &self.app,
            &self.below,
            &self.ssl_object,
            &self.raw,
            &self.incoming,
            &self.outgoing,
            &self.incoming_high.shown,
            &self.incoming_low.shown,
            &self.outgoing_high.shown,
            &self.outgoing_low.shown,
        ]
    }
}

static TYPE: Global<*mut PyTypeObject> = Global::new();

/// # Safety
/// Called at import with the type whose instances are a `Tls`.
pub unsafe fn load(kind: *mut PyTypeObject) -> Res<()> {
    TYPE.set(kind);
    load_phases()
}

// SAFETY: instances of that type begin with it, and its fields are cells.
unsafe impl Native for Tls {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &TYPE)
    }
}

// SAFETY: it visits what the fields hold; chunks are `bytes`, which lead nowhere.
unsafe impl Collected for Tls {
    unsafe fn traverse(&self, visitor: visitproc, arg: *mut c_void) -> c_int {
        for slot in self.slots() {
            // SAFETY: what is held lives, and nothing changes meanwhile.
            unsafe { visit!(slot.get(), visitor, arg) };
        }
        0
    }

    fn clear(&self) {
        // The SSL object first: nothing may be called by its pointer any more.
        self.ssl.set(std::ptr::null_mut());
        self.phase.set(Phase::Unwrapped);
        self.slots().iter().for_each(|slot| slot.clear());
        self.drop_backlog();
    }
}

/// Makes one with empty fields.
///
/// # Safety
/// `kind` is the type, or one derived from it.
pub unsafe fn alloc(kind: *mut PyTypeObject) -> Res {
    // SAFETY: a zeroed body is valid but for the queue, which is written before anybody sees the object.
    unsafe {
        let made = Obj::steal(PyType_GenericAlloc(kind, 0))?;
        let body = Tls::place(made.borrow());
        std::ptr::write(&raw mut (*body).backlog, UnsafeCell::default());
        std::ptr::write(&raw mut (*body).wire, UnsafeCell::new(None));
        Ok(made)
    }
}
