/* What musl's malloc needs of its C library, so that it can be preloaded into a process of glibc's: linked with musl's own
   objects (Debian: musl-dev) into one shared library by `python -m benches malloc`. Written from the symbols that those
   objects leave undefined, musl 1.2.3 on x86-64. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The beginning of musl's own state: its malloc locks where `need_locks` says so, and looks for a random secret in the
   auxiliary vector, which is empty here: the secret is made of an address then. */
static size_t no_vector[1];

struct musl_state {
    char can_do_threads, threaded, secure;
    volatile signed char need_locks;
    int threads_minus_1;
    size_t *auxv;
    char rest[256];
} __libc = {.can_do_threads = 1, .threaded = 1, .need_locks = 1, .auxv = no_vector};

int *___errno_location(void) { return &errno; }

/* 0: free; 1: held; 2: held, and somebody waits. */
void __lock(volatile int *lock)
{
    int found = 0;
    if (__atomic_compare_exchange_n(lock, &found, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(lock, 2, __ATOMIC_ACQUIRE) != 0)
        syscall(SYS_futex, lock, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

void __unlock(volatile int *lock)
{
    if (__atomic_exchange_n(lock, 0, __ATOMIC_RELEASE) == 2)
        syscall(SYS_futex, lock, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
