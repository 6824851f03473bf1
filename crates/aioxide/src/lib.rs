//! Floor 7: the extension module `aioxide._aioxide`, a list of exports.

mod calls;
mod child;
mod engine;
mod event_loop;
mod ffi;
mod net;
mod processes;
mod task;
mod threads;
mod wire;

use std::ffi::{CStr, c_int, c_void};

use pyo3_ffi::*;

use ffi::class::{function, function_fast};
use ffi::object::{boolean, check, dict, none, string};
use ffi::py::Object;
use ffi::{Obj, Raw, Ref, Res, compat, error};

fn load(module: Ref) -> Res<()> {
    let py = module.py();
    if std::env::var_os("AIOXIDE_FREELIST").is_some_and(|value| value == "0") {
        ffi::freelist::disable(py);
    }
    aioxide_sys::clock::calibrate();
    ffi::names::load()?;
    ffi::snapshot::load()?;
    ffi::monotonic::load(py)?;
    ffi::async_exc::load(py)?;
    task::handle_type::load()?;
    task::iter::load()?;
    task::step::load()?;
    task::callables::load(task::step::run_called, task::step::wake_called)?;
    task::run_hook::load(py)?;
    engine::native_call::load()?;
    let missing = compat::Layout::probe()?.err();
    if missing.is_none() {
        task::future_type::load()?;
        task::task_type::load()?;
        task::classes::load()?;
        add(module, c"Future", &Obj::new(task::classes::future().cast()))?;
        add(module, c"Task", &Obj::new(task::classes::task().cast()))?;
    }
    net::server::load()?;
    add(module, c"SocketTransport", &Obj::new(net::stream_type::load()?.cast()))?;
    add(module, c"PoolFuture", &Obj::new(calls::future_type::load()?.cast()))?;
    add(module, c"ThreadPool", &Obj::new(threads::pool_type::load()?.cast()))?;
    add(module, c"WorkQueue", &Obj::new(threads::queue_type::load()?.cast()))?;
    add(module, c"Loop", &Obj::new(event_loop::load()?.cast()))?;
    add(module, c"ProcessPool", &Obj::new(processes::pool_type::load()?.cast()))?;
    BUILD.set(build_info(missing)?);
    Ok(())
}

static BUILD: ffi::Global<Obj> = ffi::Global::new();

ffi::guard::noargs!(py_build_info, |_module| {
    // SAFETY: set at import.
    Obj::steal(PyDict_Copy(BUILD.get().as_ptr()))
});

ffi::guard::onearg!(py_register_future, |_module, class| {
    calls::future::set_class(Obj::new(class));
    Ok(none())
});

ffi::guard::onearg!(py_register_pool, |_module, args| {
    let item = |at| Obj::steal(PySequence_GetItem(args, at));
    let (class, standard) = (item(0)?, calls::standard::Standard::watch(item(1)?, item(2)?));
    threads::pool_type::note_standard(class.as_ptr(), standard);
    calls::executor::register(class.as_ptr(), standard)?;
    Ok(none())
});

ffi::guard::onearg!(py_submit_is_wrapped, |_module, class| {
    Ok(boolean(calls::executor::is_wrapped(class)))
});

ffi::guard::noargs!(py_end_pools, |_module| {
    threads::queue::end_all();
    Ok(none())
});

ffi::guard::onearg!(py_end_process_pools, |_module, end| {
    let mut raised = ffi::First::default();
    raised.note(ffi::object::call(end, &[]));
    processes::reactor::end();
    raised.raise().map(|()| none())
});

ffi::guard::noargs!(py_after_fork, |_module| {
    ffi::gil::after_fork();
    threads::seat::after_fork();
    Ok(none())
});

ffi::guard::onearg!(py_run_file, |_module, args| ffi::program::run_file(args));

/// What `aioxide.build_info()` shows of the native part.
fn build_info(missing: Option<&str>) -> Res {
    let key = ffi::names::intern;
    let layout = if compat::has_layout() { Some(*compat::layout()) } else { None };
    let features = dict(&[
        (key(c"native_tasks")?, boolean(missing.is_none()).as_ptr()),
        (key(c"native_tasks_missing")?, missing.map_or(Ok(none()), string)?.as_ptr()),
        (key(c"task_is_task")?, boolean(layout.is_some_and(|layout| layout.is_task.is_some())).as_ptr()),
        (
            key(c"tasks_listed_in_place")?,
            boolean(layout.is_some_and(|layout| layout.lists_in_place())).as_ptr(),
        ),
        (key(c"context_snapshots")?, boolean(ffi::snapshot::can_be_taken()).as_ptr()),
        (key(c"call_graph")?, boolean(layout.is_some_and(|layout| layout.awaited_by.is_some())).as_ptr()),
    ])?;
    dict(&[
        (key(c"version")?, string(env!("CARGO_PKG_VERSION"))?.as_ptr()),
        (key(c"rustc")?, string(env!("AIOXIDE_RUSTC"))?.as_ptr()),
        (key(c"profile")?, string(if cfg!(debug_assertions) { "debug" } else { "release" })?.as_ptr()),
        (key(c"profile_guided")?, boolean(cfg!(profile_guided)).as_ptr()),
        (key(c"target")?, string(env!("AIOXIDE_TARGET"))?.as_ptr()),
        (key(c"python")?, string(built_for())?.as_ptr()),
        (key(c"features")?, features.as_ptr()),
    ])
}

/// The CPython that this module was built for.
fn built_for() -> &'static str {
    match () {
        () if cfg!(Py_3_15) => "3.15",
        () if cfg!(Py_3_14) => "3.14",
        () if cfg!(Py_3_13) => "3.13",
        () if cfg!(Py_3_12) => "3.12",
        () => "3.11",
    }
}

fn add(module: impl Object, name: &CStr, value: &Obj) -> Res<()> {
    // SAFETY: a live module; the reference is taken over by it on success only, so it gets one of its own.
    check(unsafe { PyModule_AddObjectRef(module.raw(), name.as_ptr(), value.as_ptr()) })
}

/// # Safety
/// `module` is the module that is being imported.
unsafe extern "C" fn exec(module: Raw) -> c_int {
    ffi::guard::guarded(-1, || {
        if let Err(ffi::Raised) = refuse_second_interpreter() {
            return -1;
        }
        // SAFETY: the interpreter runs the `exec` of a module that it holds.
        if load(unsafe { Ref::new(module) }).is_ok() { 0 } else { -1 }
    })
}

/// The module keeps its objects in statics: it can live in one interpreter only.
fn refuse_second_interpreter() -> Res<()> {
    // SAFETY: compares addresses.
    if unsafe { PyInterpreterState_Get() == PyInterpreterState_Main() } {
        return Ok(());
    }
    // SAFETY: reads a static of the interpreter.
    error::raise(
        unsafe { PyExc_ImportError },
        c"aioxide does not support subinterpreters: import it in the main interpreter only",
    )
}

static mut SLOTS: ffi::module::Slots = ffi::module::slots(exec as *mut c_void);

static mut METHODS: [PyMethodDef; 15] = [
    method(
        c"build_info",
        py_build_info,
        METH_NOARGS,
        c"Say how the native module was built and what it found in this interpreter.",
    ),
    method(c"_register_future", py_register_future, METH_O, c"Tell which class the futures of pools are of."),
    method(
        c"_register_pool",
        py_register_pool,
        METH_VARARGS,
        c"Tell of a class of pools with a method _run_for_loop(loop, func, args), the standard class that it stands for, and \
          a name that the body of that one's submit() uses.",
    ),
    method(
        c"_submit_is_wrapped",
        py_submit_is_wrapped,
        METH_O,
        c"Whether somebody has wrapped submit() of the standard class that a registered one stands for.",
    ),
    method(
        c"_end_pools",
        py_end_pools,
        METH_NOARGS,
        c"The interpreter ends: thread pools take no calls any more, and their workers end when idle.",
    ),
    method(c"_after_fork", py_after_fork, METH_NOARGS, c"In a child of fork: forget the parent's threads."),
    method(
        c"_forked_pools",
        processes::pool_type::forked_pools,
        METH_NOARGS,
        c"Close, in a child of fork, what it inherited of the parent's process pools.",
    ),
    method(
        c"_end_process_pools",
        py_end_process_pools,
        METH_O,
        c"The interpreter ends: end its process pools by calling that function, and wait for the threads that served them.",
    ),
    method(
        c"_shared_memory",
        processes::pool_type::shared_memory,
        METH_O,
        c"Return a new buffer that worker processes get without a copy.",
    ),
    method(
        c"_shared_id",
        processes::pool_type::shared_id,
        METH_O,
        c"Return the number of the memory that a buffer of _shared_memory lies in.",
    ),
    method(
        c"_run_file",
        py_run_file,
        METH_VARARGS,
        c"_run_file(path, globals, fd): run a source file, or a descriptor by that name, as the interpreter does its main one.",
    ),
    method(
        c"_whole",
        processes::interrupts::py_whole,
        METH_VARARGS,
        c"_whole(function, *args): call it, again where an interrupt cuts it short, which is raised then.",
    ),
    function(
        c"_watch_running_loops",
        task::foreign::watch_running_loops,
        c"Have a function called with each loop that is not ours when it begins to run; None ends that.",
    ),
    function_fast(
        c"_set_in_type",
        task::foreign::set_in_type,
        c"_set_in_type(class, name[, value]): set or delete an attribute of a class in C.",
    ),
    PyMethodDef::zeroed(),
];

const fn method(name: &'static CStr, function: PyCFunction, flags: c_int, doc: &'static CStr) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: PyMethodDefPointer { PyCFunction: function },
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }
}

static mut DEFINITION: PyModuleDef = ffi::module::definition(
    c"aioxide._aioxide",
    c"The native part of aioxide.",
    &raw mut METHODS as *mut PyMethodDef,
    &raw mut SLOTS as *mut PyModuleDef_Slot,
);

/// The entry point that the interpreter calls.
#[allow(non_snake_case)]
#[unsafe(no_mangle)]
pub extern "C" fn PyInit__aioxide() -> Raw {
    // SAFETY: the definition lives for ever and is written by the interpreter only.
    unsafe { PyModuleDef_Init(&raw mut DEFINITION) }
}
