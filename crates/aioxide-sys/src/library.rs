//! A shared library that the process has loaded, and where its functions are. dlopen(3), dlsym(3).

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

/// A library that stays loaded for as long as the process lives.
pub struct Library(NonNull<c_void>);

impl Library {
    /// The library of this path, if the process has it; loads nothing.
    pub fn loaded(path: &CStr) -> Option<Library> {
        // SAFETY: a NUL-terminated path. The handle is never given back, so the library stays.
        NonNull::new(unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY) }).map(Library)
    }

    /// Where a function is: in the library, or in those that it was linked with.
    pub fn find(&self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: a handle that is open, and a NUL-terminated name.
        NonNull::new(unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_is_found_and_nothing_else() {
        let library = Library::loaded(c"libc.so.6").expect("the C library is there");
        assert!(library.find(c"strlen").is_some());
        assert!(library.find(c"no_such_function_at_all").is_none());
        assert!(Library::loaded(c"/no/such/library.so").is_none());
    }
}
