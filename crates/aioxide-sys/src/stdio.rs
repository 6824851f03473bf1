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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_opens_and_what_is_none_says_why() {
        assert!(open(c"/dev/null").is_ok_and(|file| !file.is_null()));
        let why = open(c"/dev/null/nothing").expect_err("a file in no folder");
        assert_eq!(why.raw_os_error(), Some(libc::ENOTDIR));
    }
}
