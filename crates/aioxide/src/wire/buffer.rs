//! What arrives in slabs, as Python objects: each holds a lease of its slab, and the slab goes back with the last of them.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aioxide_core::extent::within;
use aioxide_core::frames::Place;
use pyo3_ffi::*;

use super::slab::{IN_FRAME, Known, Slab, no_room, shared_by_id};
use crate::ffi::class::{Class, Native, derives};
use crate::ffi::guard::guarded;
use crate::ffi::{Global, Obj, Raw, Ref, Res, error};

/// The use of a received slab: when the last one of a frame is gone, the slab is given back to its owner.
pub struct Lease {
    slab: Rc<Slab>,
    /// A fork keeps what lies in it as it is: objects may be made over it.
    held: bool,
}

/// How many there are of slabs that are to be given back.
static LEASES: AtomicUsize = AtomicUsize::new(0);

/// With so many, what arrives is copied out, and its slab given back at once: a receiver that keeps all it gets must not
/// have the sender make a slab for each, which costs a descriptor there and a mapping in both.
const MOST_LEASES: usize = 64;

impl Lease {
    fn new(slab: Rc<Slab>) -> Rc<Lease> {
        LEASES.fetch_add(usize::from(!slab.shared), Ordering::Relaxed);
        let held = !slab.shared && slab.hold();
        Rc::new(Lease { slab, held })
    }

    /// What arrives is to be copied out, and not to be looked at where it is.
    fn copies(&self) -> bool {
        !self.slab.shared && (!self.held || LEASES.load(Ordering::Relaxed) > MOST_LEASES)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.slab.shared {
            return;
        }
        LEASES.fetch_sub(1, Ordering::Relaxed);
        if self.held {
            self.slab.let_go();
        }
        self.slab.give_back();
    }
}

/// What keeps the bytes of a pickle where they are until it was read.
pub enum Keeper {
    Slab {
        _lease: Rc<Lease>,
    },
    Copy {
        _bytes: Vec<u8>,
    },
    /// The decoder, which is not written to meanwhile.
    Frame,
}

/// The buffers of one frame.
pub struct Received {
    /// The pickle, where it does not make up the frame's body.
    pub body: Option<(Keeper, *const u8, usize)>,
    pub buffers: Vec<Obj>,
}

/// Makes objects over the places of a frame, whose body is `frame`.
pub fn receive(places: &[Place], body_in_slab: bool, known: &Known, frame: &[u8]) -> Res<Received> {
    let mut leases: Vec<Rc<Lease>> = Vec::new();
    let mut received = Received { body: None, buffers: Vec::new() };
    for (i, place) in places.iter().enumerate() {
        let is_body = i == 0 && body_in_slab;
        if place.slab == IN_FRAME {
            let Some(range) = within(place, frame.len()) else { return bad_place() };
            let bytes = &frame[range];
            if is_body {
                received.body = Some((Keeper::Frame, bytes.as_ptr(), bytes.len()));
            } else {
                received.buffers.push(copy_of(bytes)?);
            }
            continue;
        }
        let (lease, range) = lease_of(&mut leases, place, known)?;
        let size = range.len();
        // SAFETY: inside the mapping, as `lease_of` has checked.
        let start = unsafe { lease.slab.data().add(range.start) };
        if is_body {
            received.body = Some(body_over(lease, start, size));
        } else if lease.copies() {
            // SAFETY: the lease keeps so many bytes there, and nobody writes to what is not shared.
            received.buffers.push(copy_of(unsafe { std::slice::from_raw_parts(start, size) })?);
        } else {
            let buffer = Buffer::over(lease, start, size)?;
            // SAFETY: an object that exports a buffer.
            received.buffers.push(unsafe { Obj::steal(PyMemoryView_FromObject(buffer.as_ptr())) }?);
        }
    }
    Ok(received)
}

/// The lease of the slab that a place lies in, one for all places of a frame in it; and where in its data.
fn lease_of(leases: &mut Vec<Rc<Lease>>, place: &Place, known: &Known) -> Res<(Rc<Lease>, Range<usize>)> {
    if let Some(lease) = leases.iter().find(|lease| lease.slab.id == place.slab) {
        return lease.slab.range_of(place).map_or_else(bad_place, |range| Ok((lease.clone(), range)));
    }
    let slab = known.get(&place.slab).cloned().or_else(|| shared_by_id(place.slab));
    let slab = slab.filter(|slab| slab.shared || !slab.is_spent());
    let Some((range, slab)) = slab.and_then(|slab| Some((slab.range_of(place)?, slab))) else {
        return bad_place();
    };
    let lease = Lease::new(slab);
    leases.push(lease.clone());
    Ok((lease, range))
}

/// A pickle that lies in a slab; a copy where a fork would not keep it while it is read.
fn body_over(lease: Rc<Lease>, start: *const u8, size: usize) -> (Keeper, *const u8, usize) {
    if lease.held || lease.slab.shared {
        return (Keeper::Slab { _lease: lease }, start, size);
    }
    // SAFETY: the lease keeps so many bytes there, and nobody writes to what is not shared.
    let copy = unsafe { std::slice::from_raw_parts(start, size) }.to_vec();
    let start = copy.as_ptr();
    (Keeper::Copy { _bytes: copy }, start, size)
}

fn copy_of(bytes: &[u8]) -> Res {
    // SAFETY: makes an object of a copy of that many bytes, which are there.
    unsafe { Obj::steal(PyByteArray_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as Py_ssize_t)) }
}

#[cold]
fn bad_place<T>() -> Res<T> {
    error::runtime_error(c"the other process sent a buffer that lies in no memory that it shares")
}

/// A Python object over a part of a slab: it exports the buffer protocol, writable.
#[repr(C)]
struct Buffer {
    header: PyObject,
    lease: Option<Rc<Lease>>,
    start: *mut u8,
    size: usize,
}

static BUFFER: Global<*mut PyTypeObject> = Global::new();

// SAFETY: as laid out above, with a mapping that cannot be sent.
unsafe impl Native for Buffer {
    fn is_in(kind: *mut PyTypeObject) -> bool {
        derives(kind, &BUFFER)
    }
}

/// Has workers told, where shared memory has gone: set by the room of process pools, which a worker has none of.
pub static FORGET_GONE: Global<fn()> = Global::new();

impl Buffer {
    fn over(lease: Rc<Lease>, start: *mut u8, size: usize) -> Res {
        // SAFETY: the type is made at import, before any slab; its body is zeroed and filled here.
        unsafe {
            let made = Obj::steal(PyType_GenericAlloc(*BUFFER.get(), 0))?;
            let this = Buffer::place(made.borrow());
            (&raw mut (*this).lease).write(Some(lease));
            (*this).start = start;
            (*this).size = size;
            Ok(made)
        }
    }
}

/// The number of the shared slab that a buffer of `new_shared` lies in.
pub fn id_of(buffer: Ref) -> Res {
    let Some(buffer) = buffer.cast::<Buffer>() else {
        return error::type_error(c"not a buffer of shared memory");
    };
    let id = buffer.lease.as_ref().map_or(0, |lease| lease.slab.id);
    // SAFETY: plain constructor.
    unsafe { Obj::steal(PyLong_FromUnsignedLongLong(id)) }
}

/// A new buffer of `size` bytes, all zero, in a shared slab of its own.
pub fn new_shared(size: usize) -> Res {
    let slab = match Slab::shared(size) {
        Ok(slab) => slab,
        Err(why) => return no_room(size, &why),
    };
    let start = slab.data();
    Buffer::over(Lease::new(slab), start, size)
}

/// # Safety
/// `slf` is a `Buffer`, `view` is to be filled.
unsafe extern "C" fn getbuffer(slf: Raw, view: *mut Py_buffer, flags: c_int) -> c_int {
    // SAFETY: a slot of the type; the view holds a reference to the object, which holds the memory.
    guarded(-1, || unsafe {
        let this: &Buffer = Ref::new(slf).cast_unchecked();
        PyBuffer_FillInfo(view, slf, this.start.cast(), this.size as Py_ssize_t, 0, flags)
    })
}

impl Drop for Buffer {
    fn drop(&mut self) {
        drop(self.lease.take());
        if FORGET_GONE.is_set() {
            // SAFETY: just looked.
            (unsafe { FORGET_GONE.get() })();
        }
    }
}

/// The type, which `load` has made.
pub fn class() -> *mut PyTypeObject {
    // SAFETY: set at import.
    unsafe { *BUFFER.get() }
}

/// Makes the type, unless the other module of this library has.
pub fn load() -> Res<()> {
    if BUFFER.is_set() {
        return Ok(());
    }
    let class = Class::<Buffer>::new(c"aioxide.shared.Buffer").dropped().also(|def| {
        def.flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
            .doc(c"Memory that processes share: supports the buffer protocol.")
            .slot(Py_bf_getbuffer, getbuffer as *mut c_void)
    });
    BUFFER.set(class.build(None)?);
    Ok(())
}
