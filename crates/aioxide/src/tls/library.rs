//! The functions of OpenSSL that are called directly, of the very library that `_ssl` is linked with.
//!
//! Only what OpenSSL documents, and exports in 1.1.1 as in 3.x and 4.x, is in the list.

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use std::sync::OnceLock;

use aioxide_sys::library::Library;

/// Answers of `SSL_get_error`.
pub const WANT_NOTHING_ERROR: c_int = 1;
pub const WANT_READ: c_int = 2;
pub const WANT_NOTHING_END: c_int = 6;

/// `SSL_CTRL_MODE`, and one of the modes.
pub const SET_MODE: c_int = 33;
pub const RELEASE_BUFFERS: c_long = 0x10;

/// `SSL *`, `BIO *`, `SSL_CTX *` or `BIO_METHOD *`: what they point to is OpenSSL's alone.
pub type Pointer = *mut c_void;

// Fields and variables have OpenSSL's own names.
macro_rules! functions {
    ($($name:ident: fn($($arg:ty),*) $(-> $answer:ty)?,)*) => {
        /// One field a function, by its own name.
        #[allow(non_snake_case)]
        pub struct Functions {
            $(pub $name: unsafe extern "C" fn($($arg),*) $(-> $answer)?,)*
            raise: Raise,
        }

        impl Functions {
            /// Says which one is missing.
            #[allow(non_snake_case)]
            pub fn find(library: &Library) -> Result<Functions, String> {
                let find = |name: &str| {
                    CStr::from_bytes_with_nul(name.as_bytes())
                        .ok()
                        .and_then(|name| library.find(name))
                        .ok_or_else(|| format!("libssl has no {}", name.trim_end_matches('\0')))
                };
                $(let $name = find(concat!(stringify!($name), "\0"))?;)*
                let raise = Raise::find(library).ok_or("libcrypto cannot be told of an error")?;
                Ok(Functions {
                    // SAFETY: OpenSSL's documentation has these signatures for these names.
                    $($name: unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($arg),*) $(-> $answer)?>($name.as_ptr()) },)*
                    raise,
                })
            }
        }
    };
}

pub type BioRead = unsafe extern "C" fn(Pointer, *mut c_char, c_int) -> c_int;
pub type BioWrite = unsafe extern "C" fn(Pointer, *const c_char, c_int) -> c_int;
pub type BioControl = unsafe extern "C" fn(Pointer, c_int, c_long, Pointer) -> c_long;
pub type BioDestroy = unsafe extern "C" fn(Pointer) -> c_int;

functions! {
    OpenSSL_version: fn(c_int) -> *const c_char,
    OpenSSL_version_num: fn() -> c_ulong,
    BIO_get_new_index: fn() -> c_int,
    BIO_meth_new: fn(c_int, *const c_char) -> Pointer,
    BIO_meth_set_read: fn(Pointer, BioRead) -> c_int,
    BIO_meth_set_write: fn(Pointer, BioWrite) -> c_int,
    BIO_meth_set_ctrl: fn(Pointer, BioControl) -> c_int,
    BIO_meth_set_destroy: fn(Pointer, BioDestroy) -> c_int,
    BIO_new: fn(Pointer) -> Pointer,
    BIO_free: fn(Pointer) -> c_int,
    BIO_set_data: fn(Pointer, Pointer),
    BIO_get_data: fn(Pointer) -> Pointer,
    BIO_set_init: fn(Pointer, c_int),
    BIO_set_flags: fn(Pointer, c_int),
    BIO_clear_flags: fn(Pointer, c_int),
    SSL_get_rbio: fn(Pointer) -> Pointer,
    SSL_get_wbio: fn(Pointer) -> Pointer,
    SSL_get_SSL_CTX: fn(Pointer) -> Pointer,
    SSL_read_ex: fn(Pointer, *mut c_void, usize, *mut usize) -> c_int,
    SSL_write_ex: fn(Pointer, *const c_void, usize, *mut usize) -> c_int,
    SSL_get_error: fn(Pointer, c_int) -> c_int,
    SSL_ctrl: fn(Pointer, c_int, c_long, Pointer) -> c_long,
    ERR_clear_error: fn(),
    ERR_peek_last_error: fn() -> c_ulong,
}

/// How an error is put into OpenSSL's queue: 3.0 has other functions for it than 1.1.1.
enum Raise {
    Set { new: unsafe extern "C" fn(), set: unsafe extern "C" fn(c_int, c_int, *const c_char, ...) },
    Put(unsafe extern "C" fn(c_int, c_int, c_int, *const c_char, c_int)),
}

impl Raise {
    fn find(library: &Library) -> Option<Raise> {
        let (new, set) = (library.find(c"ERR_new"), library.find(c"ERR_set_error"));
        // SAFETY: OpenSSL's documentation has these signatures for these names.
        unsafe {
            if let (Some(new), Some(set)) = (new, set) {
                return Some(Raise::Set {
                    new: std::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(new.as_ptr()),
                    set: std::mem::transmute::<
                        *mut c_void,
                        unsafe extern "C" fn(c_int, c_int, *const c_char, ...),
                    >(set.as_ptr()),
                });
            }
            let put = library.find(c"ERR_put_error")?;
            Some(Raise::Put(std::mem::transmute::<
                *mut c_void,
                unsafe extern "C" fn(c_int, c_int, c_int, *const c_char, c_int),
            >(put.as_ptr())))
        }
    }
}

/// An error of OpenSSL's: of which library, and why.
#[derive(Clone, Copy)]
pub struct Failure {
    library: c_int,
    reason: c_int,
}

impl Failure {
    /// For a try: `ERR_LIB_SSL`, `SSL_R_WRONG_VERSION_NUMBER`.
    pub const WRONG_VERSION_NUMBER: Failure = Failure { library: 20, reason: 267 };
}

impl Functions {
    /// The last error in this thread's queue.
    pub fn last_failure(&self) -> Option<Failure> {
        // SAFETY: reads the queue of this thread.
        let (code, version) = unsafe { ((self.ERR_peek_last_error)(), (self.OpenSSL_version_num)()) };
        let library_at = if version >= 0x3000_0000 { 23 } else { 24 };
        let reasons = if version >= 0x3000_0000 { 0x7f_ffff } else { 0xfff };
        let failure =
            Failure { library: (code >> library_at & 0xff) as c_int, reason: (code & reasons) as c_int };
        (code != 0).then_some(failure)
    }

    /// Puts an error into the queue of this thread.
    pub fn fail_with(&self, failure: Failure) {
        // SAFETY: numbers that the queue had before, and no text.
        unsafe {
            match self.raise {
                Raise::Set { new, set } => {
                    new();
                    set(failure.library, failure.reason, std::ptr::null());
                }
                Raise::Put(put) => put(failure.library, 0, failure.reason, c"tls".as_ptr(), 0),
            }
        }
    }
}

static FOUND: OnceLock<Functions> = OnceLock::new();

/// Keeps what was found; the first one stays.
pub fn keep(functions: Functions) -> &'static Functions {
    FOUND.get_or_init(|| functions)
}

/// The functions, once they were found: then only are there BIOs of ours, and direct calls.
pub fn functions() -> Option<&'static Functions> {
    FOUND.get()
}
