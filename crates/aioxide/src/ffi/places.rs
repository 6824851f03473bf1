//! Where the interpreter keeps what it has no function for, or a slow one. Such offsets are found at import, by what the
//! public functions do to a specimen; where they are not found, callers go the public way.

use super::object::{Raw, Slot};

pub const WORD: usize = size_of::<Raw>();

/// In bytes: no supported version's thread state is smaller, and what is looked for stands before this in all of them.
pub const THREAD_STATE: usize = 288;

/// The state of this thread.
#[inline(always)]
pub fn thread_state() -> *mut u8 {
    // SAFETY: the GIL is held, so there is one.
    unsafe { pyo3_ffi::compat::PyThreadState_GetUnchecked().cast() }
}

/// # Safety
/// A reference or null stands `offset` bytes behind `memory`, for as long as the result is used.
#[inline(always)]
pub unsafe fn word<'a>(memory: *mut u8, offset: usize) -> &'a Slot {
    // SAFETY: a slot is such a word and no more.
    unsafe { &*memory.add(offset).cast::<Slot>() }
}

/// The offsets of the words in `size` bytes of memory that are this pointer.
///
/// # Safety
/// So many bytes can be read.
pub unsafe fn words_with(memory: *mut u8, size: usize, pointer: Raw) -> Vec<usize> {
    let words = (0..=size - WORD).step_by(WORD);
    // SAFETY: within the caller's memory; what is no reference is compared only.
    words.filter(|at| unsafe { memory.add(*at).cast::<Raw>().read() } == pointer).collect()
}

/// The item, where there is just one.
pub fn only<T>(items: impl IntoIterator<Item = T>) -> Option<T> {
    let mut items = items.into_iter();
    let first = items.next()?;
    items.next().is_none().then_some(first)
}
