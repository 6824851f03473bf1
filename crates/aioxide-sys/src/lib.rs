//! The only place of aioxide that talks to the operating system: one file a mechanism, `io::Result` everywhere.
//!
//! What a system has to supply, and by which names. A port writes these files anew with the same surface, which the house test
//! `test_the_list_for_a_port...` compares with the files; what each function promises is said at it.
//!
//! | file | supplies | here by | who cannot do without | surface |
//! |---|---|---|---|---|
//! | `epoll` | which descriptors are ready: registered once, edge- or level-triggered, a number of ours given back with each event, its own descriptor waitable | epoll(7) | every loop, process pools | `Interest`, `Events`: `is_empty`, `clear`, `iter`; `Epoll`: `new`, `fileno`, `add`, `modify`, `delete`, `wait` |
//! | `socket` | stream sockets by number, which somebody else may close; whether a short read means that one is drained | send(2), accept4(2), `TCP_ULP` | transports, the loop's wake-up | `recv`, `recv_now`, `waiting`, `is_drained`, `is_plain_tcp`, `send`, `send_now`, `MAX_CHUNKS`, `send_vectored`, `accept`, `has_connection`, `connect`, `connect_result`, `Name`, `local_name`, `peer_name`, `has_known_names`, `shutdown_write`, `set_nodelay`, `close`, `check_open`, `would_block`, `duplicate` |
//! | `datagram` | datagrams with their addresses, many by one system call | recvmmsg(2), sendmmsg(2) | datagram transports | `MOST`, `SIZE`, `Address`: `ip`, `unix`, `as_bytes`, `name`; `Family`, `family`, `ip`, `Received`; `Room`: `new`, `receive`, `get`; `send`, `send_many` |
//! | `clock` | a monotonic clock that is Python's, and one that costs a few cycles | clock_gettime(2); the time stamp counter | timers; when to poll, how long to spin | `monotonic`, `nanos`, `ticks`, `ticks_per_second`, `calibrate` |
//! | `park` | a thread sleeps on a word of memory until it changes, with a time limit | futex(2) | thread pools, futures of pools | `Unparked`, `park`, `unpark` |
//! | `thread`, `cpus` | whether this is the main thread; giving up the processor; how many there are | sched_yield(2), sched_getaffinity(2) | pools | `yield_core`, `is_main`, `usable` |
//! | `channel` | a private way to another process: bytes, and descriptors beside them | socketpair(2), `SCM_RIGHTS` | process pools | `pair`, `nothing`, `send`, `recv`, `MAX_FDS` |
//! | `process` | a descriptor that is ready when a process has ended, and by which it is signalled; the end with one's parent, and at once | pidfd_open(2), `F_SETOWN`, getrlimit(2) | process pools | `open`, `signal`, `lifeline`, `die_with`, `descriptor_limit`, `end` |
//! | `timer`, `wakeup` | a timer and a wake-up from another thread, as descriptors that `epoll` can watch | timerfd_create(2), eventfd(2) | process pools | `Timer`: `new`, `set`, `clear`, `fileno`; `Wakeup`: `new`, `wake`, `clear`, `fileno` |
//! | `poll` | a few descriptors are waited for without a set of them | poll(2) | process pools | `readable`, `wait_writable` |
//! | `memfd` | memory without a name that processes share, of a size that is sealed; its pages given back; a private view that takes a shared one's place | memfd_create(2), fcntl(2) seals, mremap(2) | process pools | `create`, `reserve`, `allocate`, `write`, `create_page`, `largest`, `size`; `Mapping`: `new`, `start`, `len`, `is_empty`, `touch`, `discard`; `Spare`: `new`, `replace` |
//! | `forks` | a call before and after each fork, by whomever | pthread_atfork(3) | what processes share | `count`, `SPENT`, `hold`, `let_go` |
//! | `memory` | which addresses are mapped writable; how much memory is left, and how much a process uses | proc_pid_maps(5), proc_meminfo(5), cgroups(7) | names of tasks that count on as asyncio's do; process pools | `writable_around`, `available`, `resident` |
//! | `pages` | pages that go back to the system when they are released; may be the allocator's | mmap(2), munmap(2) | the memory that a deep queue leaves | `take`, `give_back` |
//! | `malloc` | blocks of some 100 KiB that are kept when freed; may do nothing | mallopt(3) | the speed of large reads | `FOR_READS`, `raise_threshold` |
//! | `copy` | a copy past the caches; may be memcpy(3) | streaming stores | the speed of large arrays | `copy` |
//! | `library` | functions of a library that is loaded | dlopen(3), dlsym(3) | TLS by OpenSSL itself; else it goes through Python | `Library`: `loaded`, `find` |
//! | `stdio` | a `FILE *` of a path or a descriptor | fopen(3) | `python -m aioxide` | `open`, `open_fd` |

pub mod channel;
pub mod clock;
pub mod copy;
pub mod cpus;
pub mod datagram;
pub mod epoll;
pub mod forks;
pub mod library;
pub mod malloc;
pub mod memfd;
pub mod memory;
pub mod pages;
pub mod park;
pub mod poll;
pub mod process;
pub mod socket;
pub mod stdio;
pub mod thread;
pub mod timer;
pub mod wakeup;
