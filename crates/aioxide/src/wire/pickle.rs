//! Pickling as `multiprocessing` does it: its reducers, and the protocol that is the version's default. The memory of
//! large numpy arrays is kept apart.
//!
//! Up to 3.13 that protocol is 4, which has no buffers to keep apart. The pickle is of protocol 5 all the same, but every
//! object is asked for what it says to 4 (`wire::reduce`).

use std::cell::Cell;
use std::ffi::c_void;

use pyo3_ffi::*;

pub use super::pickled::Pickled;
use super::{reduce, slab};
use crate::ffi::buffer::View;
use crate::ffi::guard::{guarded, onearg};
use crate::ffi::names::intern;
use crate::ffi::object::{
    boolean, bytes, call, call_kw, call_method, getattr, import_from, is_none, none, setattr, tuple,
};
use crate::ffi::typedef::TypeDef;
use crate::ffi::{Global, Leaf, NULL, Obj, Raised, Raw, Res, error};

/// Buffers of this size and more are kept apart: for small ones, a copy through the socket costs no more than a place in a
/// slab. Measured there and back, one at a time and 40 at a time: at 4 to 8 KiB there is no difference, at 16 KiB a slab
/// takes 0.95 and 0.8 of the time, at 32 KiB 0.85 and 0.7, at 64 KiB 0.6 and 0.4, at 512 KiB 0.15 and 0.3.
const LARGE_BUFFER: usize = 1 << 14;

/// What a pickler writes into.
#[repr(C)]
struct Sink {
    header: PyObject,
    body: Leaf<Vec<u8>>,
    inserts: Leaf<Vec<(usize, View)>>,
    buffers: Leaf<Vec<View>>,
    /// Buffers of this size and more are kept apart.
    small: Cell<usize>,
    /// The `PickleBuffer` that an array has just been reduced to; only compared with.
    of_array: Cell<Raw>,
}

/// Above this size no buffer of an array stays in a pickle, however scarce the memory to send in is.
const LARGEST_KEPT: usize = 16 << 20;

/// So many bytes are held where they are until they are copied into a slab.
const LARGE_INSERT: usize = 1 << 20;

onearg!(sink_write, |slf, data| {
    let (view, sink) = (View::new(data, PyBUF_ANY_CONTIGUOUS)?, &*slf.cast::<Sink>());
    if view.len() >= LARGE_INSERT {
        let at = sink.body.with(|body| body.len());
        sink.inserts.with(|inserts| inserts.push((at, view)));
    } else {
        sink.body.with(|body| body.extend_from_slice(view.bytes()));
    }
    Ok(none())
});

// False keeps the buffer apart, true leaves it in the pickle: what unpickles an array takes any kind of buffer, but others
// get what the standard library gives them, bytes or a bytearray.
onearg!(sink_buffer, |slf, object| {
    let sink = &*slf.cast::<Sink>();
    let of_array = sink.of_array.replace(NULL) == object;
    let Ok(view) = View::new(object, PyBUF_ANY_CONTIGUOUS) else {
        // The pickler has the words for a buffer that cannot be pickled.
        error::clear();
        return Ok(boolean(true));
    };
    let apart = of_array && view.len() >= sink.small.get();
    if !apart && slab::find_shared(view.start(), view.len()).is_none() {
        return Ok(boolean(true));
    }
    sink.buffers.with(|buffers| buffers.push(view));
    Ok(boolean(false))
});

// What an array is reduced to.
onearg!(sink_reduce_array, |slf, array| {
    let sink = &*slf.cast::<Sink>();
    let (reduced, buffer) = reduce::array(array, sink.small.get())?;
    sink.of_array.set(buffer);
    Ok(reduced)
});

// What any other object is reduced to, up to 3.13.
onearg!(sink_reduce, |_slf, object| reduce::by_default_protocol(object));

/// # Safety
/// `slf` is a sink, to which no reference is left.
unsafe extern "C" fn sink_dealloc(slf: Raw) {
    // SAFETY: the last reference is gone.
    guarded((), || unsafe {
        let kind = Py_TYPE(slf);
        let this = slf.cast::<Sink>();
        std::ptr::drop_in_place(&raw mut (*this).body);
        std::ptr::drop_in_place(&raw mut (*this).inserts);
        std::ptr::drop_in_place(&raw mut (*this).buffers);
        PyObject_Free(slf.cast());
        Py_DECREF(kind.cast());
    });
}

/// `ForkingPickler`'s table of reducers, looked up live: what is registered later counts. And ours for arrays.
#[repr(C)]
struct Table {
    header: PyObject,
    extra: Raw,
    usual: Raw,
    for_arrays: Raw,
}

/// # Safety
/// `slf` is a table, `key` a live object.
unsafe extern "C" fn table_get(slf: Raw, key: Raw) -> Raw {
    // SAFETY: both are dicts, which live for ever; looking up a type runs no code of users but hashing of metaclasses.
    guarded(NULL, || unsafe {
        let this = &*slf.cast::<Table>();
        for dict in [this.extra, this.usual] {
            let found = PyDict_GetItemWithError(dict, key);
            if !found.is_null() {
                return Obj::new(found).into_raw();
            }
            if error::occurred() {
                return NULL;
            }
        }
        if reduce::is_array_type(key) {
            return Obj::new(this.for_arrays).into_raw();
        }
        PyErr_SetObject(PyExc_KeyError, key);
        NULL
    })
}

/// # Safety
/// `slf` is a table, to which no reference is left.
unsafe extern "C" fn table_dealloc(slf: Raw) {
    // SAFETY: the last reference is gone; the two dicts live for ever.
    guarded((), || unsafe {
        let kind = Py_TYPE(slf);
        let this = slf.cast::<Table>();
        Py_XDECREF((*this).for_arrays);
        PyObject_Free(slf.cast());
        Py_DECREF(kind.cast());
    });
}

struct Pickling {
    pickler_type: Obj,
    loads: Obj,
    table_type: *mut PyTypeObject,
    /// The reducers of `ForkingPickler`, and those of `copyreg`: dicts.
    extra: Obj,
    usual: Obj,
    sink_type: *mut PyTypeObject,
    kw_callback: Obj,
    kw_buffers: Obj,
    dump: Raw,
    clear_memo: Raw,
    dispatch_table: Raw,
    release: Raw,
    /// Picklers that nobody uses now, each with its sink.
    spare: Leaf<Vec<(Obj, Obj)>>,
}

static PICKLING: Global<Pickling> = Global::new();

fn pickling() -> &'static Pickling {
    // SAFETY: filled by `load` at import.
    unsafe { PICKLING.get() }
}

/// Looks the standard library's parts up, when the first pool is made: it imports multiprocessing.
pub fn load() -> Res<()> {
    if PICKLING.is_set() {
        return Ok(());
    }
    let sink_type = TypeDef::new(c"aioxide.PickleSink", size_of::<Sink>() - size_of::<PyObject>())
        .flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
        .onearg(c"write", sink_write, c"Append bytes.")
        .onearg(c"buffer", sink_buffer, c"Decide where a buffer travels.")
        .onearg(c"reduce_array", sink_reduce_array, c"Reduce a numpy array.")
        .onearg(c"reduce", sink_reduce, c"Reduce an object.")
        .slot(Py_tp_dealloc, sink_dealloc as *mut c_void)
        .build(NULL)?;
    let table_type = TypeDef::new(c"aioxide.ReducerTable", size_of::<Table>() - size_of::<PyObject>())
        .flags(Py_TPFLAGS_DISALLOW_INSTANTIATION)
        .slot(Py_mp_subscript, table_get as *mut c_void)
        .slot(Py_tp_dealloc, table_dealloc as *mut c_void)
        .build(NULL)?;
    let forking = import_from(c"multiprocessing.reduction", c"ForkingPickler")?;
    let extra = getattr(forking.as_ptr(), intern(c"_extra_reducers")?)?;
    let usual = import_from(c"copyreg", c"dispatch_table")?;
    // SAFETY: looks at the types of two objects that are alive.
    if unsafe { PyDict_Check(extra.as_ptr()) == 0 || PyDict_Check(usual.as_ptr()) == 0 } {
        return error::type_error(c"multiprocessing keeps its reducers in no dict");
    }
    reduce::load(&extra, &usual)?;
    PICKLING.set(Pickling {
        pickler_type: reduce::pickler_type(import_from(c"_pickle", c"Pickler")?)?,
        loads: import_from(c"_pickle", c"loads")?,
        table_type,
        extra,
        usual,
        sink_type,
        kw_callback: tuple(&[intern(c"buffer_callback")?])?,
        kw_buffers: tuple(&[intern(c"buffers")?])?,
        dump: intern(c"dump")?,
        clear_memo: intern(c"clear_memo")?,
        dispatch_table: intern(c"dispatch_table")?,
        release: intern(c"release")?,
        spare: Leaf::default(),
    });
    Ok(())
}

/// The table of one pickler, whose sink sees to arrays.
fn make_table(sink: &Obj) -> Res {
    let p = pickling();
    let for_arrays = getattr(sink.as_ptr(), intern(c"reduce_array")?)?;
    // SAFETY: the body is filled before the object is seen; the two dicts are kept for ever.
    unsafe {
        let made = Obj::steal(PyType_GenericAlloc(p.table_type, 0))?;
        let this = made.as_ptr().cast::<Table>();
        ((*this).extra, (*this).usual) = (p.extra.as_ptr(), p.usual.as_ptr());
        (*this).for_arrays = for_arrays.into_raw();
        Ok(made)
    }
}

fn make_pickler() -> Res<(Obj, Obj)> {
    let p = pickling();
    let (pickler, sink) = make_with(p.pickler_type.as_ptr())?;
    setattr(pickler.as_ptr(), p.dispatch_table, make_table(&sink)?.as_ptr())?;
    reduce::set_up(&pickler, || getattr(sink.as_ptr(), intern(c"reduce")?))?;
    Ok((pickler, sink))
}

/// A pickler that `make` makes, and the sink that it writes into.
fn make_with(make: Raw) -> Res<(Obj, Obj)> {
    let p = pickling();
    // SAFETY: a fresh sink, whose body is filled before it is seen.
    unsafe {
        let sink = Obj::steal(PyType_GenericAlloc(p.sink_type, 0))?;
        let this = sink.as_ptr().cast::<Sink>();
        (&raw mut (*this).body).write(Leaf::default());
        (&raw mut (*this).inserts).write(Leaf::default());
        (&raw mut (*this).buffers).write(Leaf::default());
        let callback = getattr(sink.as_ptr(), intern(c"buffer")?)?;
        let protocol = crate::ffi::object::int(5)?;
        let args = [sink.as_ptr(), protocol.as_ptr(), callback.as_ptr()];
        Ok((call_kw(make, &args, 2, p.kw_callback.as_ptr())?, sink))
    }
}

/// Pickles an object; where memory to send in is scarce (`keeps`), its buffers too. A pickler that failed, or that this very call is inside of, is not used again.
pub fn dump(object: Raw, keeps: bool) -> Res<Pickled> {
    let p = pickling();
    let (pickler, sink) = match p.spare.with(Vec::pop) {
        Some(pair) => pair,
        None => make_pickler()?,
    };
    let pickled = dump_into(&pickler, &sink, object, keeps)?;
    drop(call_method(p.clear_memo, &[pickler.as_ptr()])?);
    p.spare.with(|spare| spare.push((pickler, sink)));
    Ok(pickled)
}

/// As `dump`, with a pickler made for this once by `make(sink, protocol, buffer_callback=...)`, a callable of Python's.
pub fn dump_with(make: Raw, object: Raw, keeps: bool) -> Res<Pickled> {
    let (pickler, sink) = make_with(make)?;
    dump_into(&pickler, &sink, object, keeps)
}

/// In a worker: pickles what `_aioxide_worker` has in place of a value that plain pickle could not send, if it has something.
#[cold]
pub fn dump_portable(value: Raw, keeps: bool) -> Res<Pickled> {
    let why = error::take();
    let told = why.clone().unwrap_or_else(none);
    let portable = import_from(c"_aioxide_worker", c"portable")?;
    let instead = call(portable.as_ptr(), &[value, told.as_ptr()])?;
    if is_none(instead.as_ptr()) {
        error::restore(why);
        return Err(Raised);
    }
    dump(instead.as_ptr(), keeps)
}

fn dump_into(pickler: &Obj, sink: &Obj, object: Raw, keeps: bool) -> Res<Pickled> {
    // SAFETY: a sink, by the pair, which the caller holds.
    let this = unsafe { &*sink.as_ptr().cast::<Sink>() };
    this.small.set(if keeps { LARGEST_KEPT } else { LARGE_BUFFER });
    drop(call_method(pickling().dump, &[pickler.as_ptr(), object])?);
    Ok(Pickled {
        body: this.body.with(std::mem::take),
        inserts: this.inserts.with(std::mem::take),
        buffers: this.buffers.with(std::mem::take),
    })
}

/// Bodies up to this size are copied for the unpickler; larger ones are lent to it.
const SMALL: usize = 1 << 14;

/// Unpickles, with the buffers that were kept apart.
///
/// # Safety
/// `size` bytes are at `start` until this returns.
pub unsafe fn load_from(start: *const u8, size: usize, buffers: &[Obj]) -> Res {
    let p = pickling();
    // SAFETY: the bytes stay until this returns; a view of lent memory is released before that.
    unsafe {
        let lent = size > SMALL;
        let data = if lent {
            Obj::steal(PyMemoryView_FromMemory(start.cast_mut().cast(), size as Py_ssize_t, PyBUF_READ))?
        } else {
            bytes(if size == 0 { &[] } else { std::slice::from_raw_parts(start, size) })?
        };
        let result = if buffers.is_empty() {
            call(p.loads.as_ptr(), &[data.as_ptr()])
        } else {
            let raws: Vec<Raw> = buffers.iter().map(Obj::as_ptr).collect();
            let buffers = tuple(&raws)?;
            call_kw(p.loads.as_ptr(), &[data.as_ptr(), buffers.as_ptr()], 1, p.kw_buffers.as_ptr())
        };
        if lent {
            let raised = error::take();
            if call_method(p.release, &[data.as_ptr()]).is_err() {
                error::unraisable(data.as_ptr());
            }
            error::restore(raised);
        }
        result
    }
}
