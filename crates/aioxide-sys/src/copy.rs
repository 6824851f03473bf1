//! Copies of blocks that are larger than the caches.

/// From this many bytes on, a copy goes past the caches: the source would push out of them what it was copied for, and
/// lines of the target would be read only to be overwritten. Measured with arrays in a process pool, there and back, on
/// an EPYC with 32 MiB of third-level cache: a fifth less time at 8 and 16 MB, a tenth at 6 MB, no gain at 1 to 3 MB.
const PAST_CACHES: usize = 4 << 20;

/// Copies `size` bytes.
///
/// # Safety
/// As for `std::ptr::copy_nonoverlapping`.
pub unsafe fn copy(from: *const u8, to: *mut u8, size: usize) {
    // SAFETY: `size` bytes lie at either place, as the callers vouch; the parts lie end to end inside the two blocks.
    unsafe {
        let streamed = if size >= PAST_CACHES { stream(from, to, size) } else { 0 };
        std::ptr::copy_nonoverlapping(from.add(streamed), to.add(streamed), size - streamed);
    }
}

/// Copies all but less than a line at the end, and returns how many bytes that were.
///
/// # Safety
/// `size` bytes can be read at `from` and written at `to`, and the two do not overlap.
#[cfg(target_arch = "x86_64")]
unsafe fn stream(from: *const u8, to: *mut u8, size: usize) -> usize {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    const LINE: usize = 64;
    const STEP: usize = size_of::<__m128i>();
    // SAFETY: stays inside the two blocks, which are larger than a line; `head` makes the target as aligned as the stores
    // want it; the fence orders them before whatever tells another core of them.
    unsafe {
        let head = to.align_offset(LINE).min(size);
        std::ptr::copy_nonoverlapping(from, to, head);
        let end = head + (size - head) / LINE * LINE;
        for line in (head..end).step_by(LINE) {
            for at in (line..line + LINE).step_by(STEP) {
                _mm_stream_si128(to.add(at).cast(), _mm_loadu_si128(from.add(at).cast()));
            }
        }
        _mm_sfence();
        end
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn stream(_from: *const u8, _to: *mut u8, _size: usize) -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_arrives_at_every_alignment() {
        for (size, from, to) in [(PAST_CACHES + 200, 3, 0), (PAST_CACHES, 0, 5), (PAST_CACHES - 1, 1, 63)] {
            let source: Vec<u8> = (0..from + size).map(|i| (i * 7 + i / 251) as u8).collect();
            let mut target = vec![0; to + size + 1];
            // SAFETY: both have so many bytes behind these places.
            unsafe { copy(source.as_ptr().add(from), target.as_mut_ptr().add(to), size) };
            assert!(source[from..] == target[to..to + size], "{size} bytes from +{from} to +{to}");
            assert!(target[..to].iter().all(|byte| *byte == 0) && target[to + size] == 0);
        }
    }
}
