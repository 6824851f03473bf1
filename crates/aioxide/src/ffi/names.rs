//! Interned names and the standard library's objects that the native code calls: looked up once, at import.

use std::ffi::CStr;

use pyo3_ffi::*;

use super::calls::tuple;
use super::error::Res;
use super::object::{Global, NULL, Obj, check, import_from};
use super::py::Ref;

macro_rules! interned {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// Interned strings, one field a name.
        pub struct Names {
            $(pub $name: Ref<'static>,)*
            /// Keyword-name tuples for calls made with keywords.
            pub kw_context: Ref<'static>,
            pub kw_msg: Ref<'static>,
        }

        impl Names {
            fn load() -> Res<Names> {
                $(let $name = text($text)?;)*
                let kw_context = for_ever(tuple(&[text(c"context")?])?);
                let kw_msg = for_ever(tuple(&[text(c"msg")?])?);
                Ok(Names { $($name,)* kw_context, kw_msg })
            }
        }
    };
}

interned! {
    acquire = c"acquire",
    add_done_callback = c"add_done_callback",
    asyncio_future_blocking = c"_asyncio_future_blocking",
    attach = c"_attach",
    buffer_updated = c"buffer_updated",
    call_connection_lost = c"_call_connection_lost",
    call_at = c"call_at",
    call_exception_handler = c"call_exception_handler",
    call_soon = c"call_soon",
    call_soon_threadsafe = c"call_soon_threadsafe",
    cancel = c"cancel",
    client_connected = c"connection_made",
    close = c"close",
    connection_lost = c"connection_lost",
    context = c"context",
    coro = c"coro",
    create_future = c"create_future",
    data_received = c"data_received",
    datagram_received = c"datagram_received",
    data = c"data",
    addr = c"addr",
    default = c"default",
    check_default_executor = c"_check_default_executor",
    default_executor = c"_default_executor",
    executor = c"executor",
    executor_shutdown_called = c"_executor_shutdown_called",
    func = c"func",
    make_default_executor = c"_make_default_executor",
    run_for_loop = c"_run_for_loop",
    submit = c"submit",
    timeout = c"timeout",
    co_name = c"co_name",
    drain = c"drain",
    detach = c"_detach",
    dunder_name = c"__name__",
    eager_start = c"eager_start",
    eof_received = c"eof_received",
    error_received = c"error_received",
    exception = c"exception",
    file = c"file",
    fileno = c"fileno",
    future = c"future",
    get_buffer = c"get_buffer",
    get_debug = c"get_debug",
    get_loop = c"get_loop",
    handle = c"handle",
    header_size = c"_header_size",
    high = c"high",
    is_closing = c"is_closing",
    is_running = c"is_running",
    is_transport_closing = c"_is_transport_closing",
    limit = c"limit",
    loop_ = c"loop",
    low = c"low",
    max_size = c"max_size",
    message = c"message",
    msg = c"msg",
    name = c"name",
    peername = c"peername",
    pause_writing = c"pause_writing",
    private_loop = c"_loop",
    private_run = c"_run",
    process_cpu_count = c"process_cpu_count",
    process_self_data = c"_process_self_data",
    protocol = c"protocol",
    resume_writing = c"resume_writing",
    release = c"release",
    result = c"result",
    run = c"run",
    sendto = c"sendto",
    sendto_ready = c"_sendto_ready",
    slow_callback_duration = c"slow_callback_duration",
    source_traceback = c"source_traceback",
    task = c"task",
    throw = c"throw",
    time = c"time",
    transport = c"transport",
    warning = c"warning",
}

static NAMES: Global<Names> = Global::new();

#[inline(always)]
pub fn interned() -> &'static Names {
    // SAFETY: filled by `load` at import, before any slot can run.
    unsafe { NAMES.get() }
}

/// An object that is never released.
fn for_ever(object: Obj) -> Ref<'static> {
    // SAFETY: the reference is given up with the object still counted.
    unsafe { Ref::new(object.into_raw()) }
}

/// All strings that `intern` has given out. It keeps them alive, with one reference each however often they are asked for.
static INTERNED: Global<Obj> = Global::new();

/// The interned string, borrowed for ever.
pub fn text(name: &CStr) -> Res<Ref<'static>> {
    // SAFETY: a NUL-terminated text; `load` has made the set before it asks for the first name, and never empties it.
    unsafe {
        let name = Obj::steal(PyUnicode_InternFromString(name.as_ptr()))?;
        check(PySet_Add(INTERNED.get().as_ptr(), name.as_ptr()))?;
        Ok(Ref::new(name.as_ptr()))
    }
}

macro_rules! imported {
    ($($field:ident = $module:literal . $name:literal),* $(,)?) => {
        /// Objects of the standard library.
        pub struct Stdlib {
            $(pub $field: Ref<'static>,)*
            /// `asyncio.constants._SendfileMode.TRY_NATIVE`.
            pub try_native: Ref<'static>,
            /// `asyncio.events._ThreadSafeHandle`, or `Handle` where there is none (before 3.14).
            pub thread_safe_handle_type: Ref<'static>,
        }

        impl Stdlib {
            fn load() -> Res<Stdlib> {
                let mode = import_from(c"asyncio.constants", c"_SendfileMode")?;
                let try_native = for_ever(super::object::getattr(&mode, text(c"TRY_NATIVE")?)?);
                let events = super::object::import(c"asyncio.events")?;
                let handle = super::object::getattr_opt(&events, text(c"_ThreadSafeHandle")?)?;
                let thread_safe_handle_type = match handle {
                    Some(handle) => handle,
                    None => import_from(c"asyncio.events", c"Handle")?,
                };
                Ok(Stdlib {
                    $($field: for_ever(import_from($module, $name)?),)*
                    try_native,
                    thread_safe_handle_type: for_ever(thread_safe_handle_type),
                })
            }
        }
    };
}

imported! {
    base_event_loop = c"asyncio.base_events" . c"BaseEventLoop",
    cancelled_error = c"asyncio.exceptions" . c"CancelledError",
    invalid_state_error = c"asyncio.exceptions" . c"InvalidStateError",
    future_type = c"_asyncio" . c"Future",
    task_type = c"_asyncio" . c"Task",
    handle_type = c"asyncio.events" . c"Handle",
    timer_handle_type = c"asyncio.events" . c"TimerHandle",
    selector_event_loop = c"asyncio.selector_events" . c"BaseSelectorEventLoop",
    selector_transport = c"asyncio.selector_events" . c"_SelectorSocketTransport",
    datagram_transport = c"asyncio.selector_events" . c"_SelectorDatagramTransport",
    transport_type = c"asyncio.transports" . c"_FlowControlMixin",
    iscoroutine = c"asyncio.coroutines" . c"iscoroutine",
    get_event_loop = c"asyncio.events" . c"get_event_loop",
    get_running_loop = c"asyncio.events" . c"_get_running_loop",
    future_repr = c"asyncio.base_futures" . c"_future_repr",
    task_repr = c"asyncio.base_tasks" . c"_task_repr",
    task_get_stack = c"asyncio.base_tasks" . c"_task_get_stack",
    task_print_stack = c"asyncio.base_tasks" . c"_task_print_stack",
    format_callback_source = c"asyncio.format_helpers" . c"_format_callback_source",
    format_handle = c"asyncio.base_events" . c"_format_handle",
    helpers_extract_stack = c"asyncio.format_helpers" . c"extract_stack",
    allocate_lock = c"_thread" . c"allocate_lock",
    extract_stack = c"traceback" . c"extract_stack",
    logger = c"asyncio.log" . c"logger",
    buffered_protocol = c"asyncio.protocols" . c"BufferedProtocol",
    set_result_unless_cancelled = c"asyncio.futures" . c"_set_result_unless_cancelled",
    pool_future = c"concurrent.futures._base" . c"Future",
    pool_cancelled_error = c"concurrent.futures._base" . c"CancelledError",
    pool_invalid_state_error = c"concurrent.futures._base" . c"InvalidStateError",
    condition = c"threading" . c"Condition",
    socket_type = c"socket" . c"socket",
    tls_protocol = c"asyncio.sslproto" . c"SSLProtocol",
    tls_transport = c"asyncio.sslproto" . c"_SSLProtocolTransport",
    transport_socket = c"asyncio.trsock" . c"TransportSocket",
}

impl Stdlib {
    #[inline(always)]
    pub fn has_thread_safe_handles(&self) -> bool {
        self.thread_safe_handle_type != self.handle_type
    }
}

static STDLIB: Global<Stdlib> = Global::new();

#[inline(always)]
pub fn imported() -> &'static Stdlib {
    // SAFETY: filled by `load` at import, before any slot can run.
    unsafe { STDLIB.get() }
}

/// Makes it possible to intern names; unless the other module of this library, a worker's, has.
pub fn load_interned() -> Res<()> {
    if !INTERNED.is_set() {
        // SAFETY: makes an empty set.
        INTERNED.set(unsafe { Obj::steal(PySet_New(NULL)) }?);
    }
    Ok(())
}

pub fn load() -> Res<()> {
    load_interned()?;
    NAMES.set(Names::load()?);
    STDLIB.set(Stdlib::load()?);
    Ok(())
}
