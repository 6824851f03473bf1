//! Running a source file as the interpreter runs its main program.

use std::ffi::CStr;

use aioxide_sys::stdio;
use pyo3_ffi::*;

use super::error::{Raised, Res, raise_io, type_error};
use super::number::as_i64;
use super::object::Obj;
use super::py::{NULL, Ref};

/// `run_file(path, globals, descriptor)`: runs the file, or the descriptor under that name, in the dict. Its text is read by
/// the interpreter's own reader of files: `compile` of the same bytes finds other errors in other places, where their
/// encoding is not what it should be.
pub fn run_file(given: &[Ref]) -> Res {
    // SAFETY: looks at the type of a live object.
    let is_dict = |object: Ref| unsafe { PyDict_Check(object.as_ptr()) != 0 };
    let &[path, globals, descriptor] = given else { return refuse() };
    if !is_dict(globals) {
        return refuse();
    }
    let mut converted = NULL;
    // SAFETY: puts a new reference there, to `bytes`, or raises.
    let bytes = unsafe {
        if PyUnicode_FSConverter(path.as_ptr(), (&raw mut converted).cast()) == 0 {
            return Err(Raised);
        }
        Obj::own(converted)
    };
    // SAFETY: of `bytes`, which end in a NUL and are held below.
    let path = unsafe { CStr::from_ptr(PyBytes_AS_STRING(bytes.as_ptr())) };
    let file = if descriptor.is_none() {
        stdio::open(path)
    } else {
        stdio::open_fd(i32::try_from(as_i64(descriptor)?).unwrap_or(-1))
    };
    let (file, globals) = (file.or_else(|why| raise_io(&why))?, globals.as_ptr());
    // SAFETY: the file is open, and handed over to be closed (the 1); the dict is the caller's for the call.
    unsafe {
        let flags = std::ptr::null_mut();
        Obj::steal(PyRun_FileExFlags(file.cast(), path.as_ptr(), Py_file_input, globals, globals, 1, flags))
    }
}

fn refuse() -> Res {
    type_error(c"_run_file takes a path, a dict, and a descriptor or None")
}
