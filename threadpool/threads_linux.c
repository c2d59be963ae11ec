/* threads_linux.c: affinity and names of threads on Linux. */
#include "threadpool/threads.h"

#include <sched.h>
#include <stddef.h>
#include <unistd.h>

/* Above this the kernel's mask does not fit a fixed cpu_set_t, see sched_setaffinity(2). */
enum { MOST_CPUS = 8192 };

void xev__threadpool_attr_set_cpus(pthread_attr_t *attr) {
    cpu_set_t set[MOST_CPUS / CPU_SETSIZE];
    if (sched_getaffinity(0, sizeof set, set) == 0) {
        (void)pthread_attr_setaffinity_np(attr, sizeof set, set); /* else as their maker */
    }
}

void xev__threadpool_attr_unset_cpus(pthread_attr_t *attr) {
    static const cpu_set_t none;
    (void)pthread_attr_setaffinity_np(attr, 0, &none); /* of 0 bytes: glibc drops what it has */
}

void xev__threadpool_name_self(void) { pthread_setname_np(pthread_self(), "xev-pool"); }
