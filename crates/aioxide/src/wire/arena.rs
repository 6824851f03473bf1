//! The slabs that a process has made to send in: which are free, how many there may be, and what is kept of them.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aioxide_sys::process;

use super::slab::Slab;

/// What a process keeps of its own free slabs, in bytes; and always one.
const KEEP: usize = 512 << 20;
/// The pages of slabs of up to so many bytes are mapped before they are needed again: two milliseconds at most.
const MAPPED_AHEAD: usize = 32 << 20;

/// The slabs that this process has made to send in.
#[derive(Default)]
pub struct Arena {
    slabs: Vec<Rc<Slab>>,
    /// Slabs that were let go, and that the other side has not been told of.
    forgotten: Vec<u64>,
    /// One has been filled whose pages are not mapped yet.
    unmapped: bool,
}

impl Arena {
    fn is_free(slab: &Rc<Slab>) -> bool {
        Rc::strong_count(slab) == 1 && slab.is_free()
    }

    /// Its receiver has let go of it, and has forked while it held it.
    fn is_of_no_use(slab: &Rc<Slab>) -> bool {
        Rc::strong_count(slab) == 1 && slab.is_of_no_use()
    }

    /// A slab for `size` bytes that is ours alone; none for nothing. `lent` is one of the other side's, which has what is
    /// answered now and is taken where it fits: then no memory is needed for the answer, and none mapped for it.
    pub fn take_some(&mut self, size: usize, lent: Option<&Rc<Slab>>) -> io::Result<Option<Rc<Slab>>> {
        if size == 0 {
            return Ok(None);
        }
        let lent = lent.filter(|slab| slab.suits(size) && slab.claim());
        lent.map_or_else(|| self.take(size), |slab| Ok(slab.clone())).map(Some)
    }

    fn take(&mut self, size: usize) -> io::Result<Rc<Slab>> {
        let spent = Cell::new(false);
        let fits = |slab: &&Rc<Slab>| {
            let fits = slab.suits(size);
            spent.set(spent.get() || fits && slab.is_spent());
            fits && Arena::is_free(slab)
        };
        let found = self.slabs.iter().filter(fits).min_by_key(|slab| slab.capacity()).cloned();
        if spent.get() {
            self.sweep();
        }
        if let Some(slab) = found.filter(|slab| slab.claim()) {
            return Ok(slab);
        }
        self.sweep();
        self.trim();
        self.forget_one();
        let slab = Slab::create(rounded(size), false)?;
        self.slabs.push(slab.clone());
        slab.claim();
        Ok(slab)
    }

    /// Copies into a slab that `take_some` gave: each piece to its place. Where there is no room for them,
    /// what there is of the slab is given back.
    pub fn fill(&mut self, slab: &Rc<Slab>, pieces: &[(usize, &[u8])]) -> io::Result<()> {
        let filled = slab.fill(pieces);
        if filled.is_err() {
            self.slabs.retain(|kept| !Rc::ptr_eq(kept, slab));
        }
        self.unmapped |= slab.is_unmapped();
        filled
    }

    /// The slabs that were let go since the last call, to tell the other side.
    pub fn take_forgotten(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.forgotten)
    }

    /// Maps the pages that have been filled, for the next filling. Not while the other side may map them too: then both take
    /// several times as long.
    #[inline(always)]
    pub fn map_pages(&mut self) {
        if self.unmapped {
            self.map_filled();
        }
    }

    #[cold]
    fn map_filled(&mut self) {
        self.unmapped = false;
        self.slabs.iter().filter(|slab| slab.size() <= MAPPED_AHEAD).for_each(|slab| slab.map_pages());
    }

    /// A slab that this worker has, and that its answer may lie in.
    pub fn lent(&self, id: u64, worker: u32) -> Option<Rc<Slab>> {
        self.slabs.iter().find(|slab| slab.id == id && slab.is_lent_to(worker)).cloned()
    }

    /// Lets go of slabs that can never be used again.
    fn sweep(&mut self) {
        self.slabs.retain(|slab| {
            let drop = Arena::is_of_no_use(slab);
            if drop {
                self.forgotten.push(slab.id);
            }
            !drop
        });
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
        self.slabs.len() >= most_slabs()
            && !self.slabs.iter().any(|slab| Arena::is_free(slab) || Arena::is_of_no_use(slab))
    }

    /// A worker is gone: nobody will give back what it had.
    pub fn worker_died(&self, worker: u32) {
        for slab in self.slabs.iter().filter(|slab| slab.is_lent_to(worker)) {
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
