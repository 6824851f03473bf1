//! Files of the C library, which the interpreter's parser reads from.

use std::ffi::{CStr, c_void};
use std::io;

/// Opens a file for reading: a `FILE *`, which the caller closes.
pub fn open(path: &CStr) -> io::Result<*mut c_void> {
    // "e": not inherited by programs that are started meanwhile.
    // SAFETY: NUL-terminated texts.
    let file = unsafe { libc::fopen(path.as_ptr(), c"rbe".as_ptr()) };
    if file.is_null() { Err(io::Error::last_os_error()) } else { Ok(file.cast()) }
}

/// A descriptor as a file of its own, which the caller closes: the descriptor stays open, at the place read to.
pub fn open_fd(descriptor: i32) -> io::Result<*mut c_void> {
    // SAFETY: plain calls; the new descriptor is the file's, or closed here.
    unsafe {
        let fd = libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let file = libc::fdopen(fd, c"r".as_ptr());
        if file.is_null() {
            let why = io::Error::last_os_error();
            libc::close(fd);
            return Err(why);
        }
        Ok(file.cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_opens_and_stays_open() {
        for _ in 0..2 {
            let file = open_fd(0).expect("the test has a standard input");
            // SAFETY: opened above, closed once.
            assert_eq!(unsafe { libc::fclose(file.cast()) }, 0);
        }
        assert!(open_fd(-1).is_err_and(|why| why.raw_os_error() == Some(libc::EBADF)));
    }

    #[test]
    fn a_file_opens_and_what_is_none_says_why() {
        assert!(open(c"/dev/null").is_ok_and(|file| !file.is_null()));
        let why = open(c"/dev/null/nothing").expect_err("a file in no folder");
        assert_eq!(why.raw_os_error(), Some(libc::ENOTDIR));
    }
}
