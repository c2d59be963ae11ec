/* threads_linux.c: affinity and names of threads on Linux. */
#include "threadpool/threads.h"

#include <sched.h>
#include <string.h>

void xev__threadpool_cpus_note(struct xev__cpu_mask *mask) {
    cpu_set_t set[XEV__MASK_CPUS / CPU_SETSIZE];
    mask->len_bytes = 0;
    if (sched_getaffinity(0, sizeof set, set) == 0) {
        memcpy(mask->bits, set, sizeof set);
        mask->len_bytes = sizeof set;
    }
}

void xev__threadpool_cpus_use(const struct xev__cpu_mask *mask) {
    if (mask->len_bytes != 0) {
        cpu_set_t set[XEV__MASK_CPUS / CPU_SETSIZE];
        memcpy(set, mask->bits, sizeof set);
        (void)sched_setaffinity(0, sizeof set, set);
    }
}

void xev__threadpool_name_self(void) { pthread_setname_np(pthread_self(), "xev-pool"); }

int xev__threadpool_lock_init(pthread_mutex_t *lock) {
    pthread_mutexattr_t attr;
    int rc = -pthread_mutexattr_init(&attr);
    if (rc != 0) {
        return rc;
    }
#if defined(__GLIBC__)
    (void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
    rc = -pthread_mutex_init(lock, &attr);
    pthread_mutexattr_destroy(&attr);
    return rc;
}
