//! Slabs: shared memory in which large buffers travel, one copy each way. A slab belongs to the process that made it and is
//! used again when the receiver's last object over it is gone; both keep it mapped. The receiver may have its answer travel in
//! it, once it has let go of it: then it is the owner who holds it. One that the receiver held when it
//! forked is never written again (`aioxide_sys::forks`). A *shared* slab is used once: what lies in it is passed without a
//! copy, and its memory goes with its last user.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aioxide_core::extent::Extent;
use aioxide_core::frames::Place;
use aioxide_core::slab_word::{self, SlabWord};
use aioxide_core::slot::Claim;
use aioxide_sys::forks;
use aioxide_sys::memfd::{self, Mapping, Spare};
use aioxide_sys::{clock, memory};
use pyo3_ffi::PyLong_AsSsize_t;

use crate::ffi::buffer::View;
use crate::ffi::calls::call;
use crate::ffi::cells::Locked;
use crate::ffi::error::raise_io;
use crate::ffi::object::{int, string};
use crate::ffi::py::Object;
use crate::ffi::{Leaf, Py, Raised, Res, builtin, error};

/// Where the data of a slab begins; the word of its state stands before it, in a page of its own: it stays shared when a
/// fork makes the data private. Other processors than this have pages of up to 64 KiB.
const DATA: usize = if cfg!(target_arch = "x86_64") { 4096 } else { 65536 };
/// The number that no slab has: what is said to lie there lies in the body of the frame.
pub const IN_FRAME: u64 = 0;
const _: () = assert!(slab_word::SPENT == forks::SPENT);

/// What there is of a slab's data, for whoever is to write there.
#[derive(Clone, Copy, PartialEq)]
enum Pages {
    /// Nothing: a slab that was just made.
    None,
    /// Memory, which this process may not have mapped: to write through the mapping would cost a fault for each page.
    There,
    Mapped,
}

pub struct Slab {
    pub id: u64,
    /// None where nobody will be told of it any more: in its receiver, unless it is shared.
    fd: Option<OwnedFd>,
    map: Mapping,
    extent: Extent,
    pages: Cell<Pages>,
    /// In who receives in it, while that holds no data of it: what a fork will put in the place of the data.
    spare: Cell<Option<Spare>>,
    pub shared: bool,
    /// The worker that has it now.
    lent_to: Cell<u32>,
    /// The process that mapped it.
    process: u32,
}

impl Slab {
    /// Of one that is not shared there is nothing yet but its word: it is there once it was filled.
    pub fn create(size: usize, shared: bool) -> io::Result<Rc<Slab>> {
        // ENOMEM, which `no_room` explains.
        let extent = Extent::with_data(size, DATA).ok_or_else(|| io::Error::from_raw_os_error(12))?;
        let fd = if shared {
            memfd::create("aioxide-slab", extent.size())?
        } else {
            let fd = memfd::reserve("aioxide-slab", extent.size())?;
            memfd::allocate(&fd, 0..DATA)?;
            fd
        };
        let map = Mapping::new(&fd, extent.size())?;
        let slab = Slab::over(next_id(), Some(fd), map, extent, None, shared);
        slab.pages.set(if shared { Pages::There } else { Pages::None });
        Ok(slab)
    }

    /// Maps a slab that another process made.
    pub fn open(id: u64, fd: OwnedFd, size: u64, shared: bool) -> io::Result<Rc<Slab>> {
        let extent = Extent::announced(size, DATA).ok_or(io::ErrorKind::InvalidInput)?;
        let map = Mapping::new(&fd, extent.size())?;
        // Where there are no addresses left for it, what arrives is copied out.
        let spare = if shared { None } else { Spare::new(&fd, DATA, extent.size()).ok() };
        Ok(Slab::over(id, Some(fd).filter(|_| shared), map, extent, spare, shared))
    }

    fn over(
        id: u64,
        fd: Option<OwnedFd>,
        map: Mapping,
        extent: Extent,
        spare: Option<Spare>,
        shared: bool,
    ) -> Rc<Slab> {
        let (spare, lent_to, process) = (Cell::new(spare), Cell::new(0), std::process::id());
        let pages = Cell::new(Pages::There);
        let slab = Rc::new(Slab { id, fd, map, extent, pages, spare, shared, lent_to, process });
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

    fn word(&self) -> &SlabWord {
        // SAFETY: the first word of a mapping that lives as long as `self`; only ever used as an atomic.
        unsafe { &*self.map.start().cast::<SlabWord>() }
    }

    pub fn lend_to(&self, worker: u32) {
        self.lent_to.set(worker);
    }

    pub fn is_lent_to(&self, worker: u32) -> bool {
        self.lent_to.get() == worker
    }

    pub fn release(&self) {
        self.word().release();
    }

    pub fn is_free(&self) -> bool {
        self.word().is_free()
    }

    /// Takes it where it is free. Its owner and the one whom it is lent to may try at the same time.
    pub fn claim(&self) -> bool {
        self.word().claim() == Claim::Won
    }

    /// It is large enough, and not by so much that others would want for it.
    pub fn suits(&self, size: usize) -> bool {
        self.capacity() >= size && self.capacity() <= size.max(1 << 20) * 2
    }

    /// Nobody looks at it but a fork of its receiver.
    pub fn is_of_no_use(&self) -> bool {
        self.word().is_of_no_use()
    }

    pub fn is_unmapped(&self) -> bool {
        self.pages.get() == Pages::There
    }

    pub fn map_pages(&self) {
        if self.is_unmapped() {
            self.map.touch(DATA);
            self.pages.set(Pages::Mapped);
        }
    }

    /// Copies each piece to its place of the data. They are inside the slab, which is ours alone. The first
    /// time the kernel copies them, into pages that it need not clear before nor map: two thirds of the time.
    pub fn fill(&self, pieces: &[(usize, &[u8])]) -> io::Result<()> {
        if let (Pages::None, Some(fd)) = (self.pages.get(), &self.fd) {
            let mut end = 0;
            for (at, piece) in pieces {
                memfd::write(fd, DATA + at, piece)?;
                end = end.max(at + piece.len());
            }
            memfd::allocate(fd, DATA + end..self.size())?;
            self.pages.set(Pages::There);
            return Ok(());
        }
        self.map_pages();
        for (at, piece) in pieces {
            // SAFETY: there is room for the piece in the slab, which nobody else looks at.
            unsafe { aioxide_sys::copy::copy(piece.as_ptr(), self.data().add(*at), piece.len()) };
        }
        Ok(())
    }

    /// A fork may have this data mapped, for ever: it is not to be written again.
    pub fn is_spent(&self) -> bool {
        self.word().is_spent()
    }

    /// The receiver holds the data: a fork keeps it as it is. False where that cannot be, or not at this moment.
    pub fn hold(&self) -> bool {
        // Its owner gets one when it receives in it for the first time.
        let made = || self.fd.as_ref().and_then(|fd| Spare::new(fd, DATA, self.size()).ok());
        let Some(spare) = self.spare.take().or_else(made) else { return false };
        // SAFETY: the spare is of the same data; both mappings live as long as this value, which the caller keeps until
        // `let_go`; the word lies before the data.
        match unsafe { forks::hold(self.data(), spare, self.word().bits()) } {
            Ok(()) => true,
            Err(spare) => {
                self.spare.set(Some(spare));
                false
            }
        }
    }

    /// The receiver does not look at the data any more.
    pub fn let_go(&self) {
        match forks::let_go(self.data()) {
            Some(spare) => self.spare.set(Some(spare)),
            // SAFETY: nobody looks at it any more; and as there is no spare, nobody will.
            None => unsafe { self.map.discard(DATA) },
        }
    }

    /// Gives it back to who made it. Not in a child of fork: what that inherited is not for it to give back.
    pub fn give_back(&self) {
        if self.is_ours() {
            self.release();
        }
    }

    /// False in a child of fork.
    pub fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    /// All of it, as a descriptor shows it.
    pub fn size(&self) -> usize {
        self.extent.size()
    }

    pub fn capacity(&self) -> usize {
        self.extent.data()
    }

    pub fn data(&self) -> *mut u8 {
        // SAFETY: every slab is larger than DATA.
        unsafe { self.map.start().add(DATA) }
    }

    /// Where a place lies in the data, if it is inside.
    pub fn range_of(&self, place: &Place) -> Option<Range<usize>> {
        self.extent.place(place)
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

static SHARED_SLABS: Locked<Leaf<BTreeMap<usize, Weak<Slab>>>> = Locked::new(Leaf::new(BTreeMap::new()));

fn shared_slabs<T>(body: impl FnOnce(&mut BTreeMap<usize, Weak<Slab>>) -> T) -> T {
    // SAFETY: slabs are for objects to lie in: whoever has one, or asks whether an object lies in one, holds the GIL.
    SHARED_SLABS.get(unsafe { Py::assume() }).with(body)
}

/// The shared slab in which these bytes lie, and where.
pub fn find_shared(view: &View) -> Option<(Rc<Slab>, Place)> {
    let at = view.start() as usize;
    let slab = shared_slabs(|slabs| slabs.range(..=at).next_back().and_then(|(_, slab)| slab.upgrade()))?;
    let offset = at.checked_sub(slab.data() as usize)? as u64;
    let place = Place { slab: slab.id, offset, size: view.len() as u64 };
    slab.range_of(&place)?;
    Some((slab, place))
}

/// A shared slab that is mapped here, by its number: one of this process's own that comes back, or of a third's.
pub fn shared_by_id(id: u64) -> Option<Rc<Slab>> {
    shared_slabs(|slabs| slabs.values().filter_map(Weak::upgrade).find(|slab| slab.id == id))
}

/// Whether shared memory could not be made because of the limit on the size of files.
pub fn is_file_limit(why: &io::Error) -> bool {
    why.raw_os_error() == Some(27)
}

/// Slabs of the other side that are mapped here.
pub type Known = HashMap<u64, Rc<Slab>>;

/// Raises what became of an attempt to get shared memory.
#[cold]
pub fn no_room<T>(size: usize, why: &io::Error) -> Res<T> {
    if is_file_limit(why) {
        return raise_too_large(size);
    }
    if why.raw_os_error() != Some(12) && why.raw_os_error() != Some(28) {
        return raise_io(why);
    }
    let text = format!(
        "no room for {size} bytes of memory that is shared with the worker processes: {} bytes are available; \
         pass less at a time, or wait for earlier results",
        memory::available()
    );
    let text = std::ffi::CString::new(text).unwrap_or_default();
    error::raise(builtin::memory_error(), &text)
}

fn raise_too_large<T>(size: usize) -> Res<T> {
    let text = format!(
        "{size} bytes of memory that is shared with the worker processes are more than a file may have here: {} bytes \
         (RLIMIT_FSIZE, ulimit -f), which holds for shared memory too",
        memfd::largest()
    );
    let (number, text) = (int(27)?, string(&text)?);
    error::raise_value(call(builtin::os_error(), &[number.borrow(), text.borrow()])?);
    Err(Raised)
}

/// A size in bytes that Python code gave.
pub fn size_from(value: impl Object) -> Res<usize> {
    // SAFETY: converts or raises.
    let size = unsafe { PyLong_AsSsize_t(value.raw()) };
    match usize::try_from(size) {
        Ok(size) => Ok(size),
        Err(_) if error::occurred() => Err(Raised),
        Err(_) => error::value_error(c"the size of shared memory cannot be negative"),
    }
}

/// How much memory the process with this number uses; for `workers()`.
pub fn resident(pid: u32) -> u64 {
    memory::resident(pid)
}
