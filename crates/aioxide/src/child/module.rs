//! The module `_aioxide_worker._native`, in the same library as `aioxide._aioxide`: what `_aioxide_worker` calls.

use std::cell::Cell;
use std::ffi::c_void;
use std::os::fd::{FromRawFd, OwnedFd};

use aioxide_core::page::Page;
use aioxide_sys::memfd::Mapping;
use aioxide_sys::process;
use pyo3_ffi::*;

use super::worker::Worker;
use crate::ffi::error::raise_io;
use crate::ffi::guard::fastcall;
use crate::ffi::object::{boolean, none};
use crate::ffi::{Leaf, Obj, Raised, Raw, Res, error, module};
use crate::wire::{buffer, page, pickle, slab};

struct Current(Leaf<Option<Box<Worker>>>);

// SAFETY: used under the GIL; the box is taken out while tasks are served.
unsafe impl Sync for Current {}

static CURRENT: Current = Current(Leaf::new(None));

/// The control page of this process, for the signal handler; it is never unmapped.
struct PagePointer(Cell<Option<&'static Page>>);

// SAFETY: written once, under the GIL.
unsafe impl Sync for PagePointer {}

static PAGE: PagePointer = PagePointer(Cell::new(None));

// `connect(sock, page, lifeline, failure, max_rss, spin)`: takes the three descriptors over. False if the pool is gone already.
fastcall!(connect, |_module, args| {
    args.require(&["sock", "page", "lifeline", "failure", "max_rss", "spin"], "connect")?;
    let given = args.positional();
    let number = |i: usize| {
        let number = PyLong_AsLongLong(given[i]);
        if number == -1 && error::occurred() { Err(Raised) } else { Ok(number) }
    };
    let (sock, page, lifeline, max_rss) = (number(0)?, number(1)?, number(2)?, number(4)?);
    let spin = number(5)?;
    let sock = OwnedFd::from_raw_fd(sock as i32);
    let page = OwnedFd::from_raw_fd(page as i32);
    let map = Mapping::new(&page, page::SIZE).or_else(|why| raise_io(&why))?;
    // The descriptor must stay open for its signal to come.
    let alive = process::die_with(lifeline as i32).or_else(|why| raise_io(&why))?;
    let worker = Worker::new(sock, map, Obj::new(given[3]), max_rss as u64, spin as u64);
    let second = Mapping::new(&page, page::SIZE).or_else(|why| raise_io(&why))?;
    PAGE.0.set(Some(page::of(&second)));
    std::mem::forget(second);
    drop(CURRENT.0.with(|current| current.replace(Box::new(worker))));
    Ok(boolean(alive))
});

fn with_worker<T>(body: impl FnOnce(&mut Worker) -> Res<T>) -> Res<T> {
    // Taken out of its place, so that what user code calls meanwhile finds nothing there.
    let Some(mut worker) = CURRENT.0.with(Option::take) else {
        return error::runtime_error(c"this process is no idle worker of a pool");
    };
    let result = body(&mut worker);
    drop(CURRENT.0.with(|current| current.replace(worker)));
    result
}

// `initializer_failed(text)`: tells the pool why there will be no worker.
fastcall!(initializer_failed, |_module, args| {
    args.require(&["text"], "initializer_failed")?;
    let mut size = 0;
    let text = PyUnicode_AsUTF8AndSize(args.positional()[0], &mut size);
    if text.is_null() {
        return Err(Raised);
    }
    let text = std::slice::from_raw_parts(text.cast::<u8>(), size as usize);
    with_worker(|worker| worker.say_failed(text))?;
    Ok(none())
});

// `serve(forget)`: runs tasks until the pool says that it is enough, or is gone; nothing when it has said so before.
fastcall!(serve, |_module, args| {
    args.require(&["forget"], "serve")?;
    with_worker(|worker| worker.serve(args.positional()[0])).or_else(|Raised| hung_up())?;
    Ok(none())
});

/// That the pool does not listen any more is no error of the worker's.
fn hung_up() -> Res<()> {
    // SAFETY: reads statics of the interpreter.
    let gone = unsafe { [PyExc_BrokenPipeError, PyExc_ConnectionResetError] };
    if gone.into_iter().any(error::matches) {
        error::clear();
        return Ok(());
    }
    Err(Raised)
}

// `stop_wanted()`: whether the task that runs now is the one that the pool wants stopped.
fastcall!(stop_wanted, |_module, _args| {
    let Some(page) = PAGE.0.get() else { return Ok(boolean(false)) };
    Ok(boolean(page.is_to_stop()))
});

// `shared_memory(size)`: a new writable buffer that is passed between the processes of a pool without a copy.
fastcall!(shared_memory, |_module, args| {
    args.require(&["size"], "shared_memory")?;
    buffer::new_shared(slab::size_from(args.positional()[0])?)
});

/// # Safety
/// Called by the import system, with the GIL.
unsafe extern "C" fn exec(_module: Raw) -> std::ffi::c_int {
    crate::ffi::guard::guarded(-1, || {
        let loaded =
            crate::ffi::names::load_interned().and_then(|()| buffer::load()).and_then(|()| pickle::load());
        if loaded.is_ok() { 0 } else { -1 }
    })
}

static mut SLOTS: module::Slots = module::slots(exec as *mut c_void);

const fn method(name: &'static std::ffi::CStr, function: crate::ffi::typedef::Fast) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: METH_FASTCALL | METH_KEYWORDS,
        ml_doc: std::ptr::null(),
    }
}

static mut METHODS: [PyMethodDef; 6] = [
    method(c"connect", connect),
    method(c"initializer_failed", initializer_failed),
    method(c"serve", serve),
    method(c"stop_wanted", stop_wanted),
    method(c"shared_memory", shared_memory),
    PyMethodDef::zeroed(),
];

static mut DEFINITION: PyModuleDef = module::definition(
    c"_aioxide_worker._native",
    c"The native part of a process pool's worker.",
    &raw mut METHODS as *mut PyMethodDef,
    &raw mut SLOTS as *mut PyModuleDef_Slot,
);

/// The entry point that the interpreter calls.
#[allow(non_snake_case)]
#[unsafe(no_mangle)]
pub extern "C" fn PyInit__native() -> Raw {
    // SAFETY: the definition lives for ever and is written by the interpreter only.
    unsafe { PyModuleDef_Init(&raw mut DEFINITION) }
}
