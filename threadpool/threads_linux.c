/* threads_linux.c: affinity and names of threads on Linux. */
#include "threadpool/threads.h"

#include <sched.h>

/* The kernel's mask is longs, as many as it needs; a cpu_set_t may be shorter. */
void xev__threadpool_cpus_note(struct xev__cpu_mask *mask) {
    cpu_set_t *set = (cpu_set_t *)(void *)mask->bits;
    mask->len_bytes = sched_getaffinity(0, sizeof mask->bits, set) == 0 ? sizeof mask->bits : 0;
}

void xev__threadpool_cpus_use(const struct xev__cpu_mask *mask) {
    if (mask->len_bytes != 0) {
        (void)sched_setaffinity(0, mask->len_bytes, (const cpu_set_t *)(const void *)mask->bits);
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
