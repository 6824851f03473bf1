//! The only place of aioxide that talks to the operating system: one file per mechanism, `io::Result` everywhere.
//!
//! What a system has to supply. A port writes these files anew, with the same functions in each.
//!
//! | file | supplies | here by | who cannot do without |
//! |---|---|---|---|
//! | `epoll` | which descriptors are ready: registered once, edge- or level-triggered, a number of ours given back with each event, its own descriptor waitable | epoll(7) | every loop, process pools |
//! | `park` | a thread sleeps on a word of memory until it changes, with a time limit | futex(2) | thread pools, futures of pools |
//! | `clock` | a monotonic clock that is Python's, and one that costs a few cycles | clock_gettime(2); the time stamp counter | timers; when to poll, how long to spin |
//! | `socket` | stream sockets; whether a short read means that one is drained; descriptors passed along | send(2), accept4(2), `TCP_ULP`, `SCM_RIGHTS` | transports; the wire of process pools |
//! | `process` | a descriptor that is ready when a process has ended, and by which it is signalled; a timer and a wake-up as descriptors; the end with one's parent | pidfd_open(2), timerfd_create(2), eventfd(2), `F_SETOWN` | process pools |
//! | `memfd` | memory without a name that processes share, of a size that is sealed; its pages given back | memfd_create(2), fcntl(2) seals, mremap(2) | process pools |
//! | `forks` | a call before and after each fork, by whomever | pthread_atfork(3) | what processes share |
//! | `memory` | which addresses are mapped writable | proc_pid_maps(5) | names of tasks that count on as asyncio's do |
//! | `pages` | pages that go back to the system when they are released; may be the allocator's | mmap(2), munmap(2) | the memory that a deep queue leaves |
//! | `thread`, `cpus` | whether this is the main thread; giving up the processor; how many there are | sched_yield(2), sched_getaffinity(2) | pools |
//! | `malloc` | blocks of some 100 KiB that are kept when freed; may do nothing | mallopt(3) | the speed of large reads |
//! | `copy` | a copy past the caches; may be memcpy(3) | streaming stores | the speed of large arrays |
//! | `stdio` | a `FILE *` of a path or a descriptor | fopen(3) | `python -m aioxide` |

pub mod clock;
pub mod copy;
pub mod cpus;
pub mod epoll;
pub mod forks;
pub mod malloc;
pub mod memfd;
pub mod memory;
pub mod pages;
pub mod park;
pub mod process;
pub mod socket;
pub mod stdio;
pub mod thread;
