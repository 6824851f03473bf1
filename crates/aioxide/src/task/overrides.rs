//! Which methods of a loop the user has put their own in place of.
//!
//! Users override and patch loops: Sentry `close`, tracers `call_soon`, tests `time`. Native code that would go past
//! such a method asks here first. A subclass or a patched class shows in the type's version tag, a patched instance in
//! `tp_setattro`.

use std::cell::Cell;

use pyo3_ffi::*;

use crate::ffi::names::interned;
use crate::ffi::object::getattr;
use crate::ffi::{Global, Obj, Raw, Ref, Res, compat, error};

pub const CALL_SOON: u16 = 1;
pub const CALL_AT: u16 = 1 << 1;
pub const TIME: u16 = 1 << 2;
pub const GET_DEBUG: u16 = 1 << 3;
pub const CREATE_FUTURE: u16 = 1 << 4;
pub const CALL_SOON_THREADSAFE: u16 = 1 << 5;
/// Not methods, but reasons all the same not to queue work directly.
const CLOSED: u16 = 1 << 14;
const DEBUG: u16 = 1 << 15;

fn watched() -> [(Ref<'static>, u16); 6] {
    let n = interned();
    [
        (n.call_soon, CALL_SOON),
        (n.call_at, CALL_AT),
        (n.time, TIME),
        (n.get_debug, GET_DEBUG),
        (n.create_future, CREATE_FUTURE),
        (n.call_soon_threadsafe, CALL_SOON_THREADSAFE),
    ]
}

pub struct Overrides {
    /// The version tag for which `by_class` holds.
    version: Cell<u32>,
    by_class: Cell<u16>,
    by_instance: Cell<u16>,
    flags: Cell<u16>,
    /// The three above, together.
    any: Cell<u16>,
}

/// The loop type's own methods, to compare with.
static OWN: Global<Vec<Obj>> = Global::new();

/// Remembers the methods of the native loop type.
pub fn load(loop_type: Ref) -> Res<()> {
    let own = watched().iter().map(|(name, _)| getattr(loop_type, *name)).collect::<Res<Vec<_>>>()?;
    OWN.set(own);
    Ok(())
}

impl Overrides {
    pub fn new() -> Overrides {
        Overrides {
            version: Cell::new(0),
            by_class: Cell::new(0),
            by_instance: Cell::new(0),
            flags: Cell::new(0),
            any: Cell::new(0),
        }
    }

    /// Whether nothing at all stands against the direct way.
    #[inline(always)]
    pub fn none(&self, object: Ref) -> bool {
        let tag = compat::version_tag(object.type_of());
        if tag != self.version.get() || tag == 0 {
            self.look_at_class(object);
        }
        self.any.get() == 0
    }

    /// Whether the user replaced the method.
    #[inline(always)]
    pub fn has(&self, object: Ref, method: u16) -> bool {
        !self.none(object) && self.any.get() & method != 0
    }

    #[cold]
    fn look_at_class(&self, object: Ref) {
        // SAFETY: the methods were remembered at import.
        let known = unsafe { OWN.get() };
        let mut found = 0;
        for ((name, bit), own) in watched().iter().zip(known) {
            match getattr(object.class(), *name) {
                Ok(method) if method.as_ptr() == own.as_ptr() => {}
                Ok(_) => found |= bit,
                Err(_) => {
                    error::clear();
                    found |= bit;
                }
            }
        }
        self.by_class.set(found);
        // The look-ups above have given the type a tag, unless the interpreter has run out of them.
        self.version.set(compat::version_tag(object.type_of()));
        self.join();
    }

    /// An attribute of the instance was set or deleted: looks whether one of ours is hidden now.
    pub fn look_at_instance(&self, object: Ref) {
        // SAFETY: looks into a live object.
        let dict = unsafe { Obj::steal(PyObject_GenericGetDict(object.as_ptr(), std::ptr::null_mut())) };
        let Ok(dict) = dict else { return error::clear() };
        let hidden = |(name, bit): (Ref, u16)| {
            // SAFETY: a live dict and a live name.
            if unsafe { PyDict_Contains(dict.as_ptr(), name.as_ptr()) } == 1 { bit } else { 0 }
        };
        self.by_instance.set(watched().map(hidden).iter().fold(0, |bits, bit| bits | bit));
        self.join();
    }

    pub fn set_closed(&self) {
        self.flags.set(self.flags.get() | CLOSED);
        self.join();
    }

    pub fn set_debug(&self, debug: bool) {
        let rest = self.flags.get() & !DEBUG;
        self.flags.set(if debug { rest | DEBUG } else { rest });
        self.join();
    }

    fn join(&self) {
        self.any.set(self.by_class.get() | self.by_instance.get() | self.flags.get());
    }
}

/// Whether `name` is one of the methods that are looked after.
pub fn is_watched(name: Ref) -> bool {
    // SAFETY: both are str: attribute names are.
    let same = |known: Ref| unsafe { PyUnicode_Compare(known.as_ptr(), name.as_ptr()) } == 0;
    watched().iter().any(|(known, _)| *known == name || same(*known))
}

unsafe extern "C" {
    fn PyObject_GenericGetDict(object: Raw, context: *mut std::ffi::c_void) -> Raw;
}
