//! Memory that processes share: memfds that have no name, so that nothing of them outlives its last user, and whose size
//! is sealed, so that nobody can cut a mapping short.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{self, FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{self, MapFlags, ProtFlags};

/// Makes shared memory of `size` bytes, which are really there: where there is no room, it fails here and not when the
/// bytes are touched. It looks before it asks: the kernel refuses nothing that would fit an empty machine, and has its
/// OOM killer make room.
pub fn create(name: &str, size: usize) -> io::Result<OwnedFd> {
    if size > available().saturating_sub(RESERVE) {
        return Err(Errno::NOMEM.into());
    }
    let fd = fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    fs::ftruncate(&fd, size as u64)?;
    fs::fallocate(&fd, FallocateFlags::empty(), 0, size as u64)?;
    fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// What is left alone of the memory that is available, in bytes.
const RESERVE: usize = 32 << 20;

/// How much memory this process could still get: what the machine has, and what the control group (version 2) allows.
pub fn available() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    let machine = kibibytes.map_or(usize::MAX, |kibibytes| kibibytes.saturating_mul(1024));
    machine.min(left_in_group())
}

fn left_in_group() -> usize {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::")) else { return usize::MAX };
    let number = |file: &str| -> Option<usize> {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup{path}/{file}")).ok()?;
        text.trim().parse().ok()
    };
    match (number("memory.max"), number("memory.current")) {
        (Some(limit), Some(used)) => limit.saturating_sub(used),
        _ => usize::MAX,
    }
}

/// How many bytes a descriptor of `create` has.
pub fn size(fd: impl AsFd) -> io::Result<usize> {
    Ok(fs::fstat(fd)?.st_size as usize)
}

/// A mapping of shared memory, readable and writable.
pub struct Mapping {
    start: NonNull<u8>,
    size: usize,
}

impl Mapping {
    /// Maps the first `size` bytes, which must be there.
    pub fn new(fd: impl AsFd, size: usize) -> io::Result<Mapping> {
        if size == 0 || self::size(&fd)? < size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at a place that the kernel chooses, of bytes that the file has and (sealed) keeps.
        let start = unsafe { mm::mmap(std::ptr::null_mut(), size, access, MapFlags::SHARED, fd, 0)? };
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Mapping { start, size }),
            None => Err(Errno::NOMEM.into()),
        }
    }

    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub fn len(&self) -> usize {
        self.size
    }

    pub fn is_empty(&self) -> bool {
        self.size == 0
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and who uses it holds this value.
        let _ = unsafe { mm::munmap(self.start.as_ptr().cast(), self.size) };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_show_the_same_bytes_and_the_size_is_sealed() {
        let fd = create("aioxide-test", 8192).unwrap();
        let (a, b) = (Mapping::new(&fd, 8192).unwrap(), Mapping::new(&fd, 4096).unwrap());
        // SAFETY: both are mapped.
        unsafe {
            *a.start().add(7) = 42;
            assert_eq!(*b.start().add(7), 42);
        }
        assert!(fs::ftruncate(&fd, 4096).is_err() && fs::ftruncate(&fd, 16384).is_err());
        assert_eq!(size(&fd).unwrap(), 8192);
        assert!(Mapping::new(&fd, 8193).is_err());
    }

    #[test]
    fn where_there_is_no_room_it_says_so() {
        assert!(available() > RESERVE);
        let why = create("aioxide-test", available().saturating_add(1 << 30)).unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::OutOfMemory);
    }
}
