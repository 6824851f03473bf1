//! Slabs: shared memory in which large buffers travel, one copy each way. A slab belongs to the process that made it and is
//! used again when the receiver's last object over it is gone; both keep it mapped. A *shared* slab is used once: what
//! lies in it is passed without a copy, and its memory goes with its last user.

use std::cell::{Cell, UnsafeCell};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use aioxide_core::frames::{LARGEST, Place};
use aioxide_sys::memfd::{self, Mapping};
use aioxide_sys::{clock, process};
use pyo3_ffi::*;

use super::process_pickle::Pickled;
use crate::ffi::error::raise_io;
use crate::ffi::guard::guarded;
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Global, NULL, Obj, Raised, Raw, Res, error};

/// Where the data of a slab begins; the word of its state stands before it.
const DATA: usize = 4096;
/// Buffers begin at multiples of this, as numpy's own do.
const ALIGN: usize = 64;
/// A pickle of this many bytes travels in a slab too. Measured with strings of bytes, as in `process_pickle`: no difference at
/// 16 KiB one at a time, at 32 KiB 0.85 and 0.4 of the time through the socket, at 128 KiB 0.6 and 0.75.
const LARGE_BODY: usize = 1 << 15;
/// A pickle of more bytes does so in any case: a frame does not hold it.
const LARGEST_SENT: usize = LARGEST as usize / 2;
/// What a process keeps of its own free slabs, in bytes; and always one.
const KEEP: usize = 512 << 20;

const FREE: u32 = 0;
const BUSY: u32 = 1;

pub struct Slab {
    pub id: u64,
    /// None where nobody will be told of it any more: in its receiver, unless it is shared.
    fd: Option<OwnedFd>,
    map: Mapping,
    pub shared: bool,
    /// The worker that has it now.
    pub lent_to: Cell<u32>,
    /// The process that mapped it.
    process: u32,
}

impl Slab {
    fn create(size: usize, shared: bool) -> io::Result<Rc<Slab>> {
        let size = DATA + size;
        let fd = memfd::create("aioxide-slab", size)?;
        let map = Mapping::new(&fd, size)?;
        Ok(Slab::over(next_id(), Some(fd), map, shared))
    }

    /// Maps a slab that another process made.
    pub fn open(id: u64, fd: OwnedFd, size: usize, shared: bool) -> io::Result<Rc<Slab>> {
        let map = Mapping::new(&fd, size)?;
        Ok(Slab::over(id, Some(fd).filter(|_| shared), map, shared))
    }

    fn over(id: u64, fd: Option<OwnedFd>, map: Mapping, shared: bool) -> Rc<Slab> {
        let slab = Rc::new(Slab { id, fd, map, shared, lent_to: Cell::new(0), process: std::process::id() });
        if shared {
            shared_slabs(|slabs| slabs.insert(slab.map.start() as usize, Rc::downgrade(&slab)));
        }
        slab
    }

    /// What another process is told of it with.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Makes a slab to share, of `size` bytes.
    pub fn shared(size: usize) -> io::Result<Rc<Slab>> {
        Slab::create(size.max(1), true)
    }

    fn state(&self) -> &AtomicU32 {
        // SAFETY: the first word of a mapping that lives as long as `self`; only ever used as an atomic.
        unsafe { &*self.map.start().cast::<AtomicU32>() }
    }

    fn release(&self) {
        self.state().store(FREE, Ordering::Release);
    }

    /// False in a child of fork: what it inherited is not for it to give back.
    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    /// All of it, as a descriptor shows it.
    pub fn size(&self) -> usize {
        self.map.len()
    }

    fn capacity(&self) -> usize {
        self.map.len() - DATA
    }

    fn data(&self) -> *mut u8 {
        // SAFETY: every slab is larger than DATA.
        unsafe { self.map.start().add(DATA) }
    }

    fn contains(&self, place: &Place) -> bool {
        let end = place.offset.checked_add(place.size);
        end.is_some_and(|end| end <= self.capacity() as u64)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        if self.shared {
            shared_slabs(|slabs| slabs.remove(&(self.map.start() as usize)));
            GONE.fetch_or(self.is_ours(), Ordering::Relaxed);
        }
    }
}

/// A shared slab has gone since somebody asked.
static GONE: AtomicBool = AtomicBool::new(false);

/// Whether a shared slab has gone since the last call, so that others who have it mapped are to be told.
#[inline(always)]
pub fn take_gone() -> bool {
    GONE.load(Ordering::Relaxed) && GONE.swap(false, Ordering::Relaxed)
}

/// A number that no other process of ours uses: process and time.
fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = (u64::from(std::process::id()) << 42) | ((clock::nanos() >> 10) & ((1 << 42) - 1));
    let id = now.max(LAST.load(Ordering::Relaxed) + 1);
    LAST.store(id, Ordering::Relaxed);
    id
}

struct SharedSlabs(UnsafeCell<BTreeMap<usize, Weak<Slab>>>);

// SAFETY: used under the GIL, in closures that call nothing.
unsafe impl Sync for SharedSlabs {}

static SHARED: SharedSlabs = SharedSlabs(UnsafeCell::new(BTreeMap::new()));

fn shared_slabs<T>(body: impl FnOnce(&mut BTreeMap<usize, Weak<Slab>>) -> T) -> T {
    // SAFETY: under the GIL, and every `body` in this file is leaf code.
    body(unsafe { &mut *SHARED.0.get() })
}

/// The shared slab in which these bytes lie, and where.
pub fn find_shared(start: *const u8, size: usize) -> Option<(Rc<Slab>, Place)> {
    let at = start as usize;
    let slab = shared_slabs(|slabs| slabs.range(..=at).next_back().and_then(|(_, slab)| slab.upgrade()))?;
    let offset = at.checked_sub(slab.data() as usize)? as u64;
    let place = Place { slab: slab.id, offset, size: size as u64 };
    slab.contains(&place).then_some((slab, place))
}

/// A shared slab that is mapped here, by its number: one of this process's own that comes back, or of a third's.
fn shared_by_id(id: u64) -> Option<Rc<Slab>> {
    shared_slabs(|slabs| slabs.values().filter_map(Weak::upgrade).find(|slab| slab.id == id))
}

/// The slabs that this process has made to send in.
#[derive(Default)]
pub struct Arena {
    slabs: Vec<Rc<Slab>>,
    /// Slabs that were let go, and that the other side has not been told of.
    pub forgotten: Vec<u64>,
}

impl Arena {
    fn is_free(slab: &Rc<Slab>) -> bool {
        Rc::strong_count(slab) == 1 && slab.state().load(Ordering::Acquire) == FREE
    }

    fn take(&mut self, size: usize) -> io::Result<Rc<Slab>> {
        let fits = |slab: &&Rc<Slab>| {
            slab.capacity() >= size && slab.capacity() <= size.max(1 << 20) * 2 && Arena::is_free(slab)
        };
        let found = self.slabs.iter().filter(fits).min_by_key(|slab| slab.capacity()).cloned();
        let slab = match found {
            Some(slab) => slab,
            None => {
                self.trim();
                self.forget_one();
                let slab = Slab::create(rounded(size), false)?;
                self.slabs.push(slab.clone());
                slab
            }
        };
        slab.state().store(BUSY, Ordering::Release);
        Ok(slab)
    }

    /// Lets free slabs go, the oldest first, until what is kept is little enough.
    fn trim(&mut self) {
        let mut kept: usize =
            self.slabs.iter().filter(|slab| Arena::is_free(slab)).map(|slab| slab.size()).sum();
        self.slabs.retain(|slab| {
            let drop = kept > KEEP && Arena::is_free(slab);
            if drop {
                kept -= slab.size();
                self.forgotten.push(slab.id);
            }
            !drop
        });
    }

    /// A free slab makes way where there are as many as there may be.
    fn forget_one(&mut self) {
        if self.slabs.len() >= most_slabs()
            && let Some(at) = self.slabs.iter().position(Arena::is_free)
        {
            self.forgotten.push(self.slabs.remove(at).id);
        }
    }

    /// There are as many slabs as there may be, none of them free: each holds a descriptor. What comes now had better stay in
    /// the pickle.
    pub fn is_crowded(&self) -> bool {
        self.slabs.len() >= most_slabs() && !self.slabs.iter().any(Arena::is_free)
    }

    /// A worker is gone: nobody will give back what it had.
    pub fn worker_died(&self, worker: u32) {
        for slab in self.slabs.iter().filter(|slab| slab.lent_to.get() == worker) {
            if Rc::strong_count(slab) == 1 {
                slab.release();
            }
        }
    }

    pub fn bytes(&self) -> usize {
        self.slabs.iter().map(|slab| slab.size()).sum()
    }
}

/// How many slabs a process makes to send in: a quarter of the descriptors that it may have.
fn most_slabs() -> usize {
    static MOST: AtomicUsize = AtomicUsize::new(0);
    if MOST.load(Ordering::Relaxed) == 0 {
        MOST.store((process::descriptor_limit() / 4).clamp(16, 1024), Ordering::Relaxed);
    }
    MOST.load(Ordering::Relaxed)
}

/// A size that later buffers of about the same size fit in.
fn rounded(size: usize) -> usize {
    let unit = (size.next_power_of_two() / 8).max(1 << 16);
    size.div_ceil(unit) * unit
}

/// What one frame carries: the pickle, and where its buffers lie.
pub struct Payload {
    pub body: Vec<u8>,
    pub places: Vec<Place>,
    /// The pickle lies in the first place.
    pub body_in_slab: bool,
    /// The slabs that the receiver must know.
    pub slabs: Vec<Rc<Slab>>,
    /// The slab that was filled for this payload alone.
    own: Option<Rc<Slab>>,
    /// It is the receiver who gives `own` back.
    pub handed_over: Cell<bool>,
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Some(own) = &self.own
            && !self.handed_over.get()
            && own.is_ours()
        {
            own.release();
        }
    }
}

impl Payload {
    pub fn lend_to(&self, worker: u32) {
        self.handed_over.set(true);
        if let Some(own) = &self.own {
            own.lent_to.set(worker);
        }
    }

    /// Copies large buffers, and a large pickle, into a slab of `arena`.
    pub fn pack(pickled: Pickled, arena: &mut Arena) -> io::Result<Payload> {
        let mut payload = Payload::pack_borrowed(&pickled, arena)?;
        if !payload.body_in_slab {
            payload.body = pickled.into_body();
        }
        Ok(payload)
    }

    /// As `pack`, but leaves the pickle where it is, and the buffers held.
    pub fn pack_borrowed(pickled: &Pickled, arena: &mut Arena) -> io::Result<Payload> {
        let mut payload = Payload {
            body: Vec::new(),
            places: Vec::new(),
            body_in_slab: pickled.len() >= LARGE_BODY
                && (pickled.len() > LARGEST_SENT || !arena.is_crowded()),
            slabs: Vec::new(),
            own: None,
            handed_over: Cell::new(false),
        };
        if pickled.buffers.is_empty() && !payload.body_in_slab {
            return Ok(payload);
        }
        let mut parts = Vec::new();
        if payload.body_in_slab {
            parts.push(Part { pieces: pickled.pieces(), shared: None });
        }
        for view in &pickled.buffers {
            let shared = find_shared(view.start(), view.len());
            parts.push(Part { pieces: vec![(view.start(), view.len())], shared });
        }
        payload.place(parts, arena)?;
        Ok(payload)
    }

    fn place(&mut self, parts: Vec<Part>, arena: &mut Arena) -> io::Result<()> {
        let own = parts.iter().filter(|part| part.shared.is_none());
        let total: usize = own.map(|part| part.size().next_multiple_of(ALIGN)).sum();
        self.own = if total > 0 { Some(arena.take(total)?) } else { None };
        let mut offset = 0;
        for part in parts {
            let size = part.size();
            if let Some((slab, place)) = part.shared {
                self.places.push(place);
                self.slabs.push(slab);
                continue;
            }
            let slab = self.own.as_ref().map_or(0, |slab| slab.id);
            self.places.push(Place { slab, offset: offset as u64, size: size as u64 });
            let mut at = offset;
            for (start, size) in part.pieces {
                if let Some(own) = &self.own {
                    // SAFETY: `size` bytes are there in the source, and by the sum above in the slab, at `at`; the slab
                    // is ours alone until it is sent.
                    unsafe { aioxide_sys::copy::copy(start, own.data().add(at), size) };
                }
                at += size;
            }
            offset += size.next_multiple_of(ALIGN);
        }
        self.slabs.extend(self.own.clone());
        Ok(())
    }
}

/// Bytes that are to lie together: in pieces here, or in a shared slab already.
struct Part {
    pieces: Vec<(*const u8, usize)>,
    shared: Option<(Rc<Slab>, Place)>,
}

impl Part {
    fn size(&self) -> usize {
        self.pieces.iter().map(|(_, size)| size).sum()
    }
}

/// Slabs of the other side that are mapped here.
pub type Known = HashMap<u64, Rc<Slab>>;

/// The use of a received slab: when the last one of a frame is gone, the slab is given back to its owner.
pub struct Lease {
    slab: Rc<Slab>,
}

/// How many there are of slabs that are to be given back.
static LEASES: AtomicUsize = AtomicUsize::new(0);

/// With so many, what arrives is copied out, and its slab given back at once: a receiver that keeps all it gets must not
/// have the sender make a slab for each, which costs a descriptor there and a mapping in both.
const MOST_LEASES: usize = 64;

impl Lease {
    fn new(slab: Rc<Slab>) -> Rc<Lease> {
        LEASES.fetch_add(usize::from(!slab.shared), Ordering::Relaxed);
        Rc::new(Lease { slab })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        LEASES.fetch_sub(usize::from(!self.slab.shared), Ordering::Relaxed);
        if !self.slab.shared && self.slab.is_ours() {
            self.slab.release();
        }
    }
}

/// The buffers of one frame.
pub struct Received {
    /// The pickle, where it lies in a slab.
    pub body: Option<(Rc<Lease>, *const u8, usize)>,
    pub buffers: Vec<Obj>,
}

/// Makes objects over the places of a frame.
pub fn receive(places: &[Place], body_in_slab: bool, known: &Known) -> Res<Received> {
    let mut leases: Vec<Rc<Lease>> = Vec::new();
    let mut received = Received { body: None, buffers: Vec::new() };
    for (i, place) in places.iter().enumerate() {
        let lease = match leases.iter().find(|lease| lease.slab.id == place.slab) {
            Some(lease) => lease.clone(),
            None => {
                let found = known.get(&place.slab).cloned().or_else(|| shared_by_id(place.slab));
                let Some(slab) = found else { return bad_place() };
                leases.push(Lease::new(slab));
                leases[leases.len() - 1].clone()
            }
        };
        if !lease.slab.contains(place) {
            return bad_place();
        }
        // SAFETY: inside the mapping, as was just checked.
        let start = unsafe { lease.slab.data().add(place.offset as usize) };
        if i == 0 && body_in_slab {
            received.body = Some((lease, start, place.size as usize));
        } else if !lease.slab.shared && LEASES.load(Ordering::Relaxed) > MOST_LEASES {
            // SAFETY: makes an object of a copy of that many bytes, which are there.
            let copy = unsafe { PyByteArray_FromStringAndSize(start.cast(), place.size as Py_ssize_t) };
            received.buffers.push(Obj::steal(copy)?);
        } else {
            let buffer = Buffer::over(lease, start, place.size as usize)?;
            // SAFETY: an object that exports a buffer.
            received.buffers.push(Obj::steal(unsafe { PyMemoryView_FromObject(buffer.as_ptr()) })?);
        }
    }
    Ok(received)
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

impl Buffer {
    fn over(lease: Rc<Lease>, start: *mut u8, size: usize) -> Res {
        // SAFETY: the type is made at import, before any slab; its body is zeroed and filled here.
        unsafe {
            let made = Obj::steal(PyType_GenericAlloc(*BUFFER.get(), 0))?;
            let this = made.as_ptr().cast::<Buffer>();
            (&raw mut (*this).lease).write(Some(lease));
            (*this).start = start;
            (*this).size = size;
            Ok(made)
        }
    }
}

/// The number of the shared slab that a buffer of `new_shared` lies in.
///
/// # Safety
/// `buffer` is a live object.
pub unsafe fn id_of(buffer: Raw) -> Res {
    // SAFETY: the type is checked; the body of an instance was filled when it was made.
    unsafe {
        if Py_TYPE(buffer) != *BUFFER.get() {
            return error::type_error(c"not a buffer of shared memory");
        }
        let id = (*buffer.cast::<Buffer>()).lease.as_ref().map_or(0, |lease| lease.slab.id);
        Obj::steal(PyLong_FromUnsignedLongLong(id))
    }
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

/// Raises what became of an attempt to get shared memory.
#[cold]
pub fn no_room<T>(size: usize, why: &io::Error) -> Res<T> {
    if why.raw_os_error() != Some(12) && why.raw_os_error() != Some(28) {
        return raise_io(why);
    }
    let text = format!(
        "no room for {size} bytes of memory that is shared with the worker processes: {} bytes are available; \
         pass less at a time, or wait for earlier results",
        memfd::available()
    );
    let text = std::ffi::CString::new(text).unwrap_or_default();
    // SAFETY: reads a static of the interpreter.
    error::raise(unsafe { PyExc_MemoryError }, &text)
}

unsafe extern "C" fn getbuffer(slf: Raw, view: *mut Py_buffer, flags: c_int) -> c_int {
    // SAFETY: a slot of the type; the view holds a reference to the object, which holds the memory.
    guarded(-1, || unsafe {
        let this = slf.cast::<Buffer>();
        PyBuffer_FillInfo(view, slf, (*this).start.cast(), (*this).size as Py_ssize_t, 0, flags)
    })
}

unsafe extern "C" fn dealloc(slf: Raw) {
    // SAFETY: the last reference is gone.
    guarded((), || unsafe {
        let kind = Py_TYPE(slf);
        drop((*slf.cast::<Buffer>()).lease.take());
        PyObject_Free(slf.cast());
        Py_DECREF(kind.cast());
        super::process_home::forget_gone();
    });
}

/// Makes the type, unless the other module of this library has.
pub fn load() -> Res<()> {
    if BUFFER.is_set() {
        return Ok(());
    }
    let kind = TypeDef::new(c"aioxide.SharedBuffer", size_of::<Buffer>() - size_of::<PyObject>())
        .flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
        .doc(c"Memory that processes share: supports the buffer protocol.")
        .slot(Py_bf_getbuffer, getbuffer as *mut c_void)
        .slot(Py_tp_dealloc, dealloc as *mut c_void)
        .build(NULL)?;
    BUFFER.set(kind);
    Ok(())
}

/// A size in bytes that Python code gave.
///
/// # Safety
/// `value` is a live object.
pub unsafe fn size_from(value: Raw) -> Res<usize> {
    // SAFETY: converts or raises.
    let size = unsafe { PyLong_AsSsize_t(value) };
    match usize::try_from(size) {
        Ok(size) => Ok(size),
        Err(_) if error::occurred() => Err(Raised),
        Err(_) => error::value_error(c"the size of shared memory cannot be negative"),
    }
}

/// How much memory the process with this number uses; for `workers()`.
pub fn resident(pid: u32) -> u64 {
    process::resident(pid)
}
