//! The arguments of a fast call, and the error texts of Python functions for wrong ones.

use std::ffi::CString;

use pyo3_ffi::*;

use super::error::{Raised, Res};
use super::object::{NULL, Obj, Raw, tuple};

/// Positional arguments, and keyword arguments behind them, borrowed for the time of one call.
#[derive(Clone, Copy)]
pub struct Args {
    values: *const Raw,
    count: usize,
    kwnames: Raw,
}

/// Keeps what `Args::placed` has moved, for the time of one call.
#[derive(Default)]
pub struct Named {
    values: Vec<Raw>,
    kwnames: Option<Obj>,
}

impl Args {
    /// # Safety
    /// The three are what the interpreter handed to a `METH_FASTCALL | METH_KEYWORDS` function.
    #[inline(always)]
    pub unsafe fn new(values: *const Raw, count: Py_ssize_t, kwnames: Raw) -> Args {
        Args { values, count: count as usize, kwnames }
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The positional arguments.
    #[inline(always)]
    pub fn positional(&self) -> &[Raw] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: the interpreter passes `count` values.
        unsafe { std::slice::from_raw_parts(self.values, self.count) }
    }

    /// The positional argument at `i`, which is below `len()`.
    #[inline(always)]
    pub fn get(&self, i: usize) -> Raw {
        debug_assert!(i < self.count);
        // SAFETY: by the contract of this function; the interpreter passes `count` values.
        unsafe { *self.values.add(i) }
    }

    /// The positional arguments from `i` on.
    pub fn after<'a>(self, i: usize) -> &'a [Raw] {
        if self.count <= i {
            return &[];
        }
        // SAFETY: the interpreter passes `count` values, which live for the time of the call.
        unsafe { std::slice::from_raw_parts(self.values.add(i), self.count - i) }
    }

    /// Positional and keyword values as they lie in memory, and the names: for passing a call on.
    pub fn all(&self) -> (&[Raw], Raw) {
        let total = self.count + self.keyword_count();
        if total == 0 {
            return (&[], NULL);
        }
        // SAFETY: the interpreter passes the keyword values right behind the positional ones.
        (unsafe { std::slice::from_raw_parts(self.values, total) }, self.kwnames)
    }

    fn keyword_count(&self) -> usize {
        if self.kwnames.is_null() {
            return 0;
        }
        // SAFETY: kwnames is a tuple.
        unsafe { PyTuple_GET_SIZE(self.kwnames) as usize }
    }

    fn keyword(&self, i: usize) -> (Raw, Raw) {
        // SAFETY: `i` is below keyword_count().
        unsafe { (PyTuple_GET_ITEM(self.kwnames, i as Py_ssize_t), *self.values.add(self.count + i)) }
    }

    /// The one keyword that the function takes (null where absent or `None`); any other raises as a Python function does.
    #[inline(always)]
    pub fn only_keyword(&self, name: Raw, function: &str) -> Res<Raw> {
        if self.kwnames.is_null() {
            return Ok(NULL);
        }
        let mut found = [NULL];
        self.keywords(&[name], &mut found, function)?;
        // SAFETY: compares with the address of None.
        Ok(if found[0] == unsafe { Py_None() } { NULL } else { found[0] })
    }

    /// Sorts the keyword values into `into`, in the order of `names`; a name that is not there raises.
    pub fn keywords(&self, names: &[Raw], into: &mut [Raw], function: &str) -> Res<()> {
        'next: for i in 0..self.keyword_count() {
            let (key, value) = self.keyword(i);
            for (slot, name) in into.iter_mut().zip(names) {
                if same_name(key, *name)? {
                    *slot = value;
                    continue 'next;
                }
            }
            return unexpected(function, key);
        }
        Ok(())
    }

    /// Binds a signature of which the first `positional` names may be given by position: the way of Argument Clinic.
    pub fn bind(&self, names: &[Raw], positional: usize, into: &mut [Raw], function: &str) -> Res<()> {
        if self.count > positional {
            let plural = if positional == 1 { "" } else { "s" };
            return type_error_text(format!(
                "{function}() takes at most {positional} positional argument{plural} ({} given)",
                self.count
            ));
        }
        let given = self.positional();
        into[..given.len()].copy_from_slice(given);
        let mut named = [NULL; 8];
        self.keywords(names, &mut named[..names.len()], function)?;
        for (i, value) in named[..names.len()].iter().enumerate() {
            if value.is_null() {
                continue;
            }
            if i < given.len() {
                return type_error_text(format!(
                    "argument for {function}() given by name ({:?}) and position ({})",
                    text_of(names[i]),
                    i + 1
                ));
            }
            into[i] = *value;
        }
        Ok(())
    }

    /// The same arguments with the first `names.len()` by position, wherever the caller named them; raises where one is
    /// missing. `named` keeps what has to be moved for that.
    #[inline(always)]
    pub fn placed(self, names: &[&str], function: &str, named: &mut Named) -> Res<Args> {
        if self.count >= names.len() { Ok(self) } else { self.place(names, function, named) }
    }

    #[cold]
    fn place(self, names: &[&str], function: &str, named: &mut Named) -> Res<Args> {
        let rest = &names[self.count..];
        let mut placed = vec![NULL; rest.len()];
        let (mut others, mut keys) = (Vec::new(), Vec::new());
        for i in 0..self.keyword_count() {
            let (key, value) = self.keyword(i);
            let text = text_of(key);
            match rest.iter().position(|name| *name == text) {
                Some(at) => placed[at] = value,
                None if names.contains(&text.as_str()) => {
                    return type_error_text(format!(
                        "{function}() got multiple values for argument '{text}'"
                    ));
                }
                None => {
                    others.push(value);
                    keys.push(key);
                }
            }
        }
        let lacking: Vec<&str> =
            rest.iter().zip(&placed).filter(|(_, value)| value.is_null()).map(|(name, _)| *name).collect();
        if !lacking.is_empty() {
            return missing(function, &lacking);
        }
        let count = names.len();
        named.kwnames = Some(tuple(&keys)?);
        named.values = [self.positional(), &placed, &others].concat();
        Ok(Args {
            values: named.values.as_ptr(),
            count,
            kwnames: named.kwnames.as_ref().map_or(NULL, Obj::as_ptr),
        })
    }

    /// Raises where fewer than `names.len()` positional arguments were given.
    #[inline(always)]
    pub fn require(&self, names: &[&str], function: &str) -> Res<()> {
        if self.count >= names.len() { Ok(()) } else { missing(function, &names[self.count..]) }
    }

    /// Raises where more than `at_most` positional arguments were given, or any by name.
    #[inline(always)]
    pub fn no_more(&self, at_most: usize, function: &str) -> Res<()> {
        if !self.kwnames.is_null() {
            self.keywords(&[], &mut [], function)?;
        }
        self.at_most(at_most, function)
    }

    /// Raises where a method without arguments beyond `at_most` positional ones got more.
    pub fn at_most(&self, at_most: usize, function: &str) -> Res<()> {
        if self.count <= at_most {
            return Ok(());
        }
        // A Python method counts its receiver.
        type_error_text(format!(
            "{function}() takes {} positional argument{} but {} were given",
            at_most + 1,
            if at_most == 0 { "" } else { "s" },
            self.count + 1
        ))
    }
}

#[inline(always)]
fn same_name(key: Raw, name: Raw) -> Res<bool> {
    if key == name {
        return Ok(true);
    }
    // SAFETY: both are str; keyword names always are.
    match unsafe { PyUnicode_Compare(key, name) } {
        0 => Ok(true),
        -1 if super::error::occurred() => Err(Raised),
        _ => Ok(false),
    }
}

#[cold]
fn missing<T>(function: &str, names: &[&str]) -> Res<T> {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    type_error_text(format!(
        "{function}() missing {} required positional argument{plural}: {}",
        names.len(),
        quoted.join(" and ")
    ))
}

#[cold]
fn unexpected<T>(function: &str, key: Raw) -> Res<T> {
    type_error_text(format!("{function}() got an unexpected keyword argument '{}'", text_of(key)))
}

fn text_of(name: Raw) -> String {
    // SAFETY: `name` is a str; the UTF-8 is owned by it and copied at once.
    unsafe {
        let mut size = 0;
        let data = PyUnicode_AsUTF8AndSize(name, &mut size);
        if data.is_null() {
            super::error::clear();
            return String::from("?");
        }
        String::from_utf8_lossy(std::slice::from_raw_parts(data.cast(), size as usize)).into_owned()
    }
}

#[cold]
pub fn type_error_text<T>(text: String) -> Res<T> {
    let text = CString::new(text.replace('\0', "?")).unwrap_or_default();
    super::error::type_error(&text)
}

/// Binds the arguments of a constructor (`tp_init`'s tuple and dict) to `names`, of which the first `positional` may be
/// given by position. Values stay borrowed from the caller; absent ones are null.
///
/// # Safety
/// `args` is a tuple and `kwargs` a dict or null, as the interpreter hands them to `tp_init`.
pub unsafe fn bind_init(
    args: Raw,
    kwargs: Raw,
    names: &[Raw],
    positional: usize,
    into: &mut [Raw],
    function: &str,
) -> Res<()> {
    // SAFETY: by the contract; the dict's items are borrowed from it.
    unsafe {
        let count = PyTuple_GET_SIZE(args) as usize;
        if count > positional {
            return type_error_text(match positional {
                0 => format!("{function}() takes no positional arguments"),
                _ => format!("{function}() takes at most {positional} positional argument ({count} given)"),
            });
        }
        for (i, slot) in into.iter_mut().enumerate().take(count) {
            *slot = PyTuple_GET_ITEM(args, i as Py_ssize_t);
        }
        if kwargs.is_null() {
            return Ok(());
        }
        let (mut at, mut key, mut value) = (0, NULL, NULL);
        'next: while PyDict_Next(kwargs, &mut at, &mut key, &mut value) != 0 {
            for (slot, name) in into.iter_mut().zip(names) {
                if same_name(key, *name)? {
                    *slot = value;
                    continue 'next;
                }
            }
            return unexpected(function, key);
        }
        Ok(())
    }
}
