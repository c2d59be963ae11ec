/* POSIX: threads and forked children. */
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>

#include "xev/os/process.h"
#include "xev/os/thread.h"

/* Not pthread_self: a new thread may get the value of one that has ended. */
uint64_t xev__os_thread_id(void) {
    static _Atomic uint64_t last;
    static _Thread_local uint64_t id;
    if (id == 0) {
        id = ++last;
    }
    assert(id > 0);
    return id;
}

uint32_t xev__os_forks;

static void (*in_child)(void);

static void count_fork(void) {
    xev__os_forks++;
    xev__os_process_forked();
    assert(xev__os_forks > 0);
    void (*fn)(void) = __atomic_load_n(&in_child, __ATOMIC_RELAXED);
    if (fn != NULL) {
        fn();
    }
}

int xev__os_watch_forks(void) {
    static int watched; /* atomic */
    if (__atomic_load_n(&watched, __ATOMIC_ACQUIRE) == 0) {
        /* Two threads may get here at once. Each fork is then counted twice, which does no harm:
         * the count is only compared for equality. */
        int rc = pthread_atfork(NULL, NULL, count_fork);
        if (rc != 0) {
            return -rc; /* for want of memory: the next call tries again */
        }
        __atomic_store_n(&watched, 1, __ATOMIC_RELEASE);
    }
    return 0;
}

int xev__os_in_forked_child(void (*fn)(void)) {
    void (*before)(void) = __atomic_load_n(&in_child, __ATOMIC_RELAXED);
    assert(fn != NULL && (before == NULL || before == fn)); /* there is room for one */
    (void)before;
    __atomic_store_n(&in_child, fn, __ATOMIC_RELAXED);
    return xev__os_watch_forks();
}

void xev__os_block_write_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigaddset(&set, SIGXFSZ);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}
