//! Memory that goes back to the kernel when it is released, whatever the allocator would keep.

use std::io;
use std::ptr::NonNull;

use rustix::mm::{self, MapFlags, ProtFlags};

/// Takes `size` bytes, a multiple of the page, from the kernel.
pub fn take(size: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: the kernel chooses an address where nothing is.
    let start = unsafe {
        mm::mmap_anonymous(std::ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?
    };
    NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

/// Gives them back.
///
/// # Safety
/// `start` and `size` are as `take` had them, and nobody refers to that memory any more.
pub unsafe fn give_back(start: NonNull<u8>, size: usize) {
    // SAFETY: memory of `take`'s, which nobody refers to.
    let _ = unsafe { mm::munmap(start.as_ptr().cast(), size) };
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_can_be_written_and_given_back() {
        let start = take(4096).unwrap();
        // SAFETY: so many bytes are ours.
        unsafe {
            start.write_bytes(7, 4096);
            assert_eq!(start.add(4095).read(), 7);
            give_back(start, 4096);
        }
    }

    #[test]
    fn what_no_machine_has_is_an_error() {
        assert!(take(usize::MAX & !4095).is_err());
    }
}
