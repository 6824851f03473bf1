//! Running a source file as the interpreter runs its main program.

use std::ffi::{CStr, c_void};

use aioxide_sys::stdio;
use pyo3_ffi::*;

use super::error::{Res, raise_io, type_error};
use super::object::{Obj, Raw, is_none};

/// Runs the file at `args[0]`, or the descriptor `args[2]` under that name, in the dict `args[1]`. Its text is read by the interpreter's own reader of files: `compile`
/// of the same bytes finds other errors in other places, where their encoding is not what it should be.
///
/// # Safety
/// `args` is a tuple.
pub unsafe fn run_file(args: Raw) -> Res {
    // SAFETY: `args` is a tuple; the parser closes the file. The path is owned by `bytes` meanwhile.
    unsafe {
        if PyTuple_GET_SIZE(args) != 3 || PyDict_Check(PyTuple_GET_ITEM(args, 1)) == 0 {
            return type_error(c"_run_file takes a path, a dict, and a descriptor or None");
        }
        let globals = PyTuple_GET_ITEM(args, 1);
        let mut converted: Raw = std::ptr::null_mut();
        let into = (&raw mut converted).cast::<c_void>();
        if PyUnicode_FSConverter(PyTuple_GET_ITEM(args, 0), into) == 0 {
            return Err(super::Raised);
        }
        let bytes = Obj::own(converted);
        let path = CStr::from_ptr(PyBytes_AS_STRING(bytes.as_ptr()));
        let descriptor = PyTuple_GET_ITEM(args, 2);
        if is_none(descriptor) {
            return run(stdio::open(path), path, globals);
        }
        let descriptor = PyLong_AsLong(descriptor);
        if descriptor == -1 && !PyErr_Occurred().is_null() {
            return Err(super::Raised);
        }
        run(stdio::open_fd(i32::try_from(descriptor).unwrap_or(-1)), path, globals)
    }
}

/// # Safety
/// `file` is a `FILE *`, which is closed here; `globals` is a dict.
unsafe fn run(file: std::io::Result<*mut c_void>, name: &CStr, globals: Raw) -> Res {
    match file {
        // SAFETY: the file is open, and handed over to be closed (the 1); the dict is the caller's for the call.
        Ok(file) => unsafe {
            let (start, flags) = (Py_file_input, std::ptr::null_mut());
            Obj::steal(PyRun_FileExFlags(file.cast(), name.as_ptr(), start, globals, globals, 1, flags))
        },
        Err(why) => raise_io(&why),
    }
}
