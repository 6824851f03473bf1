//! The memory of the ready queue: blocks of entries, and those that are kept for later.

use std::alloc::{self, Layout};
use std::collections::VecDeque;
use std::ptr::NonNull;

use aioxide_sys::pages;

/// Entries are made room for by so many: 20 KiB, five pages.
pub const BLOCK: usize = 512;

/// How many blocks are kept for good: with them a queue of 8,192 entries asks for no memory. They come from the allocator;
/// what a deeper queue needs comes from the kernel, and goes back to it when all has run. An allocator keeps what it
/// was given where something else stands behind it: half of what 1,000,000 tasks had queued at their start.
const SPARE: usize = 15;

struct Block<T> {
    start: NonNull<T>,
    mapped: bool,
}

impl<T> Block<T> {
    const LAYOUT: Layout = Layout::new::<[T; BLOCK]>();

    fn new(mapped: bool) -> Option<Block<T>> {
        let start = if mapped {
            pages::take(Self::LAYOUT.size()).ok()
        } else {
            // SAFETY: the size is not 0.
            NonNull::new(unsafe { alloc::alloc(Self::LAYOUT) })
        };
        start.map(|start| Block { start: start.cast(), mapped })
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        let start = self.start.cast::<u8>();
        // SAFETY: as `new` has got it, and the queue refers to it no more.
        unsafe {
            if self.mapped {
                pages::give_back(start, Self::LAYOUT.size());
            } else {
                alloc::dealloc(start.as_ptr(), Self::LAYOUT);
            }
        }
    }
}

/// The blocks in use, first to last, and the others. Both lists have room for all blocks: to use one asks for no memory, and
/// to be done with one does not either.
pub struct Blocks<T> {
    used: VecDeque<Block<T>>,
    spare: Vec<Block<T>>,
    /// How many of them come from the allocator.
    lasting: usize,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Blocks { used: VecDeque::new(), spare: Vec::new(), lasting: 0 }
    }
}

impl<T> Blocks<T> {
    /// So many entries have room in the blocks that nobody uses.
    pub fn room(&self) -> usize {
        self.spare.len() * BLOCK
    }

    /// Adds a block to the others; false where there is no memory for it.
    pub fn add(&mut self) -> bool {
        let all = self.used.len() + self.spare.len() + 1;
        if self.used.try_reserve(all - self.used.len()).is_err()
            || self.spare.try_reserve(all - self.spare.len()).is_err()
        {
            return false;
        }
        let mapped = self.lasting > SPARE; // One more is in use when all the others are spare.
        let Some(block) = Block::new(mapped) else { return false };
        self.lasting += usize::from(!mapped);
        self.spare.push(block);
        true
    }

    /// Puts one of the others behind those in use: where it begins, and whether it is the only one.
    pub fn append(&mut self) -> Option<(*mut T, bool)> {
        let block = self.spare.pop()?;
        let start = block.start.as_ptr();
        self.used.push_back(block);
        Some((start, self.used.len() == 1))
    }

    /// The first is done with: where the next begins.
    pub fn advance(&mut self) -> Option<*mut T> {
        self.spare.extend(self.used.pop_front());
        self.used.front().map(|block| block.start.as_ptr())
    }

    /// Where the entry is that is so many behind the beginning of the first.
    pub fn at(&self, index: usize) -> *mut T {
        // SAFETY: within a block.
        unsafe { self.used[index / BLOCK].start.as_ptr().add(index % BLOCK) }
    }

    /// Whether more is kept than for good.
    #[inline(always)]
    pub fn has_excess(&self) -> bool {
        self.spare.len() > SPARE + 1
    }

    /// Gives back to the kernel what came from it and is not in use.
    pub fn trim(&mut self) {
        self.spare.retain(|block| !block.mapped);
    }
}
