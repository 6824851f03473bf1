//! How a connection gets its SSL object: always by the user's own `context.wrap_bio`.
//!
//! For the engine that calls OpenSSL itself, our own BIOs stand in two `ssl.MemoryBIO`s while `wrap_bio` runs, so that CPython builds a
//! genuine `ssl.SSLObject` which reads and writes what the loop has. Where that does not fit, the `MemoryBIO`s stay what they are, and the
//! SSL object is read and written through Python. Which of the two can be had is found out at first use, with objects that are thrown
//! away (`check`).

use std::ffi::{CStr, CString};
use std::sync::{Arc, OnceLock};

use aioxide_sys::library::Library;
use pyo3_ffi::*;

use super::library::{self, Failure, Functions, Pointer, RELEASE_BUFFERS, SET_MODE};
use super::state::Tls;
use super::wire::{Bio, Wire};
use crate::ffi::calls::{call, call_method, call_method_kw, tuple};
use crate::ffi::names::text;
use crate::ffi::object::{boolean, getattr, getattr_opt, import, import_from, setattr, string};
use crate::ffi::typedef::size_of_type;
use crate::ffi::{Global, Obj, Raised, Ref, Res, builtin, error, none};

/// Objects of the modules `ssl` and `_ssl`.
pub struct Ssl {
    memory_bio: Obj,
    /// `_ssl._SSLSocket`: what is in an `ssl.SSLObject`.
    raw_type: Obj,
    object_read: Obj,
    object_write: Obj,
    object_type: Obj,
    /// The exceptions that mean: later.
    pub again: Obj,
    pub zero_return: Obj,
    pub error: Obj,
}

static SSL: Global<Ssl> = Global::new();

pub fn ssl() -> &'static Ssl {
    // SAFETY: set at import, or `choice` has raised before anything else could come here.
    unsafe { SSL.get() }
}

/// Without the ssl module, with which not every interpreter is built, there is no TLS, and everything else is as ever.
pub fn load() -> Res<()> {
    if let Err(Raised) = import(c"_ssl") {
        if error::matches(builtin::import_error()) {
            error::clear();
            return Ok(());
        }
        return Err(Raised);
    }
    let object_type = import_from(c"ssl", c"SSLObject")?;
    SSL.set(Ssl {
        memory_bio: import_from(c"ssl", c"MemoryBIO")?,
        raw_type: import_from(c"_ssl", c"_SSLSocket")?,
        object_read: getattr(&object_type, text(c"read")?)?,
        object_write: getattr(&object_type, text(c"write")?)?,
        object_type,
        again: import_from(c"asyncio.sslproto", c"SSLAgainErrors")?,
        zero_return: import_from(c"ssl", c"SSLZeroReturnError")?,
        error: import_from(c"ssl", c"SSLError")?,
    });
    Ok(())
}

// -------------------------------------------------------------------------------------------------- which engine

/// The engine of this process, and why it is that.
pub struct Choice {
    pub direct: bool,
    pub why: String,
}

static CHOICE: OnceLock<Choice> = OnceLock::new();
const FORCE: &str = "AIOXIDE_TLS_ENGINE";

/// Chooses at first use.
pub fn choice() -> Res<&'static Choice> {
    if let Some(choice) = CHOICE.get() {
        return Ok(choice);
    }
    if !SSL.is_set() {
        return error::runtime_error(c"stdlib ssl module not available");
    }
    let forced = std::env::var(FORCE).unwrap_or_default();
    let choice = match forced.as_str() {
        "memory-bio" => Choice { direct: false, why: format!("{FORCE} says so") },
        "" | "direct" => match check()? {
            Ok(()) => Choice { direct: true, why: "OpenSSL was found as _ssl uses it".into() },
            Err(why) if forced.is_empty() => Choice { direct: false, why },
            Err(why) => return refuse(&format!("{FORCE} is \"direct\", but {why}")),
        },
        _ => return refuse(&format!("{FORCE} is \"{forced}\"; it can be \"direct\" or \"memory-bio\"")),
    };
    Ok(CHOICE.get_or_init(|| choice))
}

fn refuse<T>(text: &str) -> Res<T> {
    let text = CString::new(text).unwrap_or_default();
    error::runtime_error(&text)
}

/// Whether OpenSSL can be called directly: why not, if it cannot. An exception of the objects that are tried means that it cannot.
fn check() -> Res<Result<(), String>> {
    match try_out() {
        Ok(result) => Ok(result),
        Err(Raised) if error::is_exit() => Err(Raised),
        Err(Raised) => {
            error::clear();
            Ok(Err("the ssl module does not behave as expected".into()))
        }
    }
}

fn try_out() -> Res<Result<(), String>> {
    let functions = match find()? {
        Ok(functions) => functions,
        Err(why) => return Ok(Err(why)),
    };
    if !has_words()? {
        return Ok(Err("the ssl module's objects are smaller than expected".into()));
    }
    let context = plain_context()?;
    let (incoming, outgoing) = memory_bios()?;
    let object = wrap_bio(context.borrow(), &incoming, &outgoing, boolean(false).borrow(), none().borrow())?;
    let raw = getattr(&object, text(c"_sslobj")?)?;
    // SAFETY: `has_words` has seen that the words are there, and these are objects of the very types.
    let fits = unsafe {
        let ssl = *word(raw.borrow(), 1);
        !ssl.is_null()
            && (functions.SSL_get_SSL_CTX)(ssl) == *word(context.borrow(), 0)
            && (functions.SSL_get_rbio)(ssl) == *word(incoming.borrow(), 0)
            && (functions.SSL_get_wbio)(ssl) == *word(outgoing.borrow(), 0)
    };
    if !fits {
        return Ok(Err("the ssl module's objects are not laid out as expected".into()));
    }
    let functions = library::keep(functions);
    try_our_bios(functions, &context)
}

/// A handshake with our BIOs that begins, and fails as we tell it.
fn try_our_bios(functions: &'static Functions, context: &Obj) -> Res<Result<(), String>> {
    let differs = |what: &str| Ok(Err(format!("{what} with a BIO of ours")));
    let Wrapped::Direct { object, raw, ssl: pointer, wire } =
        wrap_with_ours(functions, context.borrow(), boolean(false).borrow(), none().borrow())?
    else {
        return differs("the ssl module does not work");
    };
    let mut count = 0;
    let mut room = [0u8; 8];
    // SAFETY: an SSL object that `raw` keeps, and room for so many bytes. It has no keys yet: it begins its handshake, and wants to read.
    let wants = unsafe {
        (functions.ERR_clear_error)();
        let status = (functions.SSL_read_ex)(pointer, room.as_mut_ptr().cast(), room.len(), &mut count);
        (functions.SSL_get_error)(pointer, status)
    };
    if wants != library::WANT_READ || wire.written() == 0 {
        return differs("a handshake does not begin");
    }
    drop((raw, object));
    if Arc::strong_count(&wire) != 1 {
        return differs("an SSL object does not end");
    }
    let Err(Raised) = raise(functions, Failure::WRONG_VERSION_NUMBER) else {
        return differs("an error is not seen");
    };
    let Some(raised) = error::take() else { return differs("an error is not seen") };
    let reason = getattr(&raised, text(c"reason")?)?;
    let expected = string("WRONG_VERSION_NUMBER")?;
    // SAFETY: two live objects.
    match unsafe { PyObject_RichCompareBool(reason.as_ptr(), expected.as_ptr(), Py_EQ) } {
        1 => Ok(Ok(())),
        -1 => Err(Raised),
        _ => differs("an error is another one"),
    }
}

/// The functions of the library that `_ssl` is linked with, which is the one that it says it has.
fn find() -> Res<Result<Functions, String>> {
    let module = import(c"_ssl")?;
    let Some(file) = getattr_opt(&module, text(c"__file__")?)? else {
        return Ok(Err("the ssl module is built into the interpreter".into()));
    };
    let Some(library) = Library::loaded(&path(file.borrow())?) else {
        return Ok(Err("the library of the ssl module cannot be opened".into()));
    };
    let functions = match Functions::find(&library) {
        Ok(functions) => functions,
        Err(why) => return Ok(Err(why)),
    };
    let named = getattr(&module, text(c"OPENSSL_VERSION")?)?;
    // SAFETY: a `str` has its text for as long as it lives; OpenSSL's lives for ever.
    let same = unsafe {
        let ours = CStr::from_ptr((functions.OpenSSL_version)(0));
        let theirs = PyUnicode_AsUTF8AndSize(named.as_ptr(), &mut 0);
        if theirs.is_null() {
            return Err(Raised);
        }
        ours == CStr::from_ptr(theirs)
    };
    Ok(if same { Ok(functions) } else { Err("two libraries of OpenSSL are in this process".into()) })
}

/// A path as the system takes it.
fn path(file: Ref) -> Res<CString> {
    // SAFETY: makes `bytes` of a path, whose text is copied.
    unsafe {
        let encoded = Obj::steal(PyUnicode_EncodeFSDefault(file.as_ptr()))?;
        let text = PyBytes_AsString(encoded.as_ptr());
        if text.is_null() { Err(Raised) } else { Ok(CStr::from_ptr(text).to_owned()) }
    }
}

/// Whether the objects of `_ssl` have the words that `word` looks at.
fn has_words() -> Res<bool> {
    let context = import_from(c"_ssl", c"_SSLContext")?;
    let head = size_of::<PyObject>();
    let has = |class: &Obj, words: usize| size_of_type(class) >= head + words * size_of::<Pointer>();
    Ok(has(&ssl().memory_bio, 1) && has(&ssl().raw_type, 2) && has(&context, 1))
}

/// A word of an object, counted from its head: of a `MemoryBIO` the first is its `BIO *`, of a context its `SSL_CTX *`; of an
/// `_SSLSocket` the second is its `SSL *`.
///
/// # Safety
/// The object has so many words.
unsafe fn word(object: Ref, place: usize) -> *mut Pointer {
    // SAFETY: the caller's word.
    unsafe { object.as_ptr().add(1).cast::<Pointer>().add(place) }
}

// -------------------------------------------------------------------------------------------------- SSL objects

/// What `wrap_bio` has made.
enum Wrapped {
    Direct {
        object: Obj,
        raw: Obj,
        ssl: Pointer,
        wire: Arc<Wire>,
    },
    /// It reads and writes the two `MemoryBIO`s.
    Python {
        object: Obj,
        incoming: Obj,
        outgoing: Obj,
    },
}

/// Gives the connection its SSL object.
pub fn begin(this: &Tls, context: Ref, server_side: Ref, hostname: Ref) -> Res<()> {
    if this.begun() {
        return error::runtime_error(c"the connection has its SSL object already");
    }
    let direct = choice()?.direct && fits(context)?;
    let wrapped = match library::functions().filter(|_| direct) {
        Some(functions) => wrap_with_ours(functions, context, server_side, hostname)?,
        None => wrap_with_memory(context, server_side, hostname)?,
    };
    match wrapped {
        Wrapped::Direct { object, raw, ssl, wire } => this.begin(object, Some((raw, ssl, wire)), None),
        Wrapped::Python { object, incoming, outgoing } => {
            this.begin(object, None, Some((incoming, outgoing)));
        }
    }
    Ok(())
}

/// Whether objects of this context can be read and written without their own methods: nobody has put others in place, and no
/// callback looks at messages, whose exceptions only those methods would raise.
fn fits(context: Ref) -> Res<bool> {
    if let Some(class) = getattr_opt(context, text(c"sslobject_class")?)?
        && class.as_ptr() != ssl().object_type.as_ptr()
    {
        let same = |name, method: &Obj| {
            let found = getattr_opt(&class, text(name)?)?;
            Ok(found.is_some_and(|found| found.as_ptr() == method.as_ptr()))
        };
        if !(same(c"read", &ssl().object_read)? && same(c"write", &ssl().object_write)?) {
            return Ok(false);
        }
    }
    let callback = getattr_opt(context, text(c"_msg_callback")?)?;
    Ok(callback.is_none_or(|callback| callback.borrow().is_none()))
}

fn memory_bios() -> Res<(Obj, Obj)> {
    Ok((call(&ssl().memory_bio, &[])?, call(&ssl().memory_bio, &[])?))
}

fn wrap_bio(context: Ref, incoming: &Obj, outgoing: &Obj, server_side: Ref, hostname: Ref) -> Res {
    let kwnames = tuple(&[text(c"server_side")?, text(c"server_hostname")?])?;
    let args = [context, incoming.borrow(), outgoing.borrow(), server_side, hostname];
    call_method_kw(text(c"wrap_bio")?, &args, kwnames.borrow())
}

fn wrap_with_memory(context: Ref, server_side: Ref, hostname: Ref) -> Res<Wrapped> {
    let (incoming, outgoing) = memory_bios()?;
    let object = wrap_bio(context, &incoming, &outgoing, server_side, hostname)?;
    Ok(Wrapped::Python { object, incoming, outgoing })
}

fn wrap_with_ours(
    functions: &'static Functions,
    context: Ref,
    server_side: Ref,
    hostname: Ref,
) -> Res<Wrapped> {
    let wire = Arc::new(Wire::default());
    let (incoming, outgoing) = memory_bios()?;
    let (Some(reads), Some(writes)) = (Bio::new(functions, &wire), Bio::new(functions, &wire)) else {
        return error::no_memory();
    };
    let (reads_from, writes_to) = (reads.pointer(), writes.pointer());
    let made = {
        let _lent = (Lent::new(&incoming, reads_from), Lent::new(&outgoing, writes_to));
        wrap_bio(context, &incoming, &outgoing, server_side, hostname)
    };
    drop((reads, writes));
    let object = made?;
    if let Some(raw) = getattr_opt(&object, text(c"_sslobj")?)?
        && raw.type_of().cast() == ssl().raw_type.as_ptr()
    {
        // SAFETY: an object of that very type, whose second word is its SSL object (`check`), which it keeps.
        let (ssl, fits) = unsafe {
            let ssl = *word(raw.borrow(), 1);
            let fits =
                (functions.SSL_get_rbio)(ssl) == reads_from && (functions.SSL_get_wbio)(ssl) == writes_to;
            (ssl, fits)
        };
        if fits {
            // SAFETY: the SSL object of `raw`. Its buffers go back to the allocator while it is idle; the context stays as it is.
            unsafe { (functions.SSL_ctrl)(ssl, SET_MODE, RELEASE_BUFFERS, std::ptr::null_mut()) };
            return Ok(Wrapped::Direct { object, raw, ssl, wire });
        }
    }
    if Arc::strong_count(&wire) == 1 {
        // Nobody has taken our BIOs: an object of somebody else's, which has the `MemoryBIO`s themselves.
        return Ok(Wrapped::Python { object, incoming, outgoing });
    }
    // They are hidden in an object of somebody else's: it gets real ones.
    drop(object);
    wrap_with_memory(context, server_side, hostname)
}

/// A BIO of ours in a `MemoryBIO`, whose own is put back at the end.
struct Lent<'a> {
    to: &'a Obj,
    own: Pointer,
}

impl Lent<'_> {
    fn new(to: &Obj, bio: Pointer) -> Lent<'_> {
        // SAFETY: the first word of a `MemoryBIO` is its BIO (`check`).
        let own = unsafe { word(to.borrow(), 0).replace(bio) };
        Lent { to, own }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // SAFETY: as in `new`.
        unsafe { word(self.to.borrow(), 0).write(self.own) };
    }
}

// -------------------------------------------------------------------------------------------------------- errors

/// A context that checks nothing, for objects that are thrown away.
fn plain_context() -> Res {
    let class = import_from(c"ssl", c"SSLContext")?;
    let context = call(&class, &[import_from(c"ssl", c"PROTOCOL_TLS_CLIENT")?.borrow()])?;
    setattr(&context, text(c"check_hostname")?, &boolean(false))?;
    setattr(&context, text(c"verify_mode")?, &import_from(c"ssl", c"CERT_NONE")?)?;
    Ok(context)
}

/// Raises an error of OpenSSL's as the ssl module does: a throw-away object meets it in its handshake.
pub fn raise(functions: &'static Functions, failure: Failure) -> Res<()> {
    let context = plain_context()?;
    let Wrapped::Direct { object, wire, raw: _raw, .. } =
        wrap_with_ours(functions, context.borrow(), boolean(false).borrow(), none().borrow())?
    else {
        return Ok(());
    };
    wire.fail_next(failure);
    call_method(text(c"do_handshake")?, &[object.borrow()]).map(drop)
}

/// What `loop.tls_engine` tells: a name, and why it is that one.
pub fn tell() -> Res {
    let choice = choice()?;
    let name = string(if choice.direct { "direct" } else { "memory-bio" })?;
    tuple(&[name.borrow(), string(&choice.why)?.borrow()])
}
