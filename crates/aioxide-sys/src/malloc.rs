//! The allocator's threshold for memory of its own, which decides what a large read costs.
//!
//! glibc takes what is larger than a threshold from the kernel and gives it back when it is freed: mmap, a page fault for
//! each page that is touched, munmap. The threshold is 128 KiB until a larger block is freed at its full size, and then
//! that block's size; as much of the heap's end is kept for later, twice. See mallopt(3), `M_MMAP_THRESHOLD`. A read asks for 256 KiB
//! and gives back what did not come, so it never raises the threshold itself: in a fresh process each would cost two
//! page faults or more, for ever.

use std::hint::black_box;

/// 4 MiB: what may be read at a time by all that asyncio does, several times over. The heap keeps up to twice as much at its
/// end.
pub const FOR_READS: usize = 4 << 20;
/// Above this a threshold does not go.
const LARGEST: usize = (32 << 20) - 4096;

/// Has later blocks of up to `size` bytes come from the heap: allocates one, which is never touched, and frees it. Other
/// allocators (musl's, jemalloc) have rules of their own, which this does not change; neither has glibc larger blocks than
/// 32 MiB come from the heap.
pub fn raise_threshold(size: usize) {
    let mut block: Vec<u8> = Vec::new();
    if size <= LARGEST && block.try_reserve_exact(size).is_ok() {
        drop(black_box(block));
    }
}
