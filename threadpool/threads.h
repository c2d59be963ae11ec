/* threads.h: what the pool needs of the system beyond plain POSIX threads. Private to //threadpool.
 * Thread creation: threads_posix.c, or threads_none.c where there are no threads. Names, affinity,
 * the lock: one of threads_linux.c and threads_generic.c. */
#ifndef XEV_THREADPOOL_THREADS_H
#define XEV_THREADPOOL_THREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the system has threads. Where it has none, who schedules tasks runs them. */
extern const bool xev__threadpool_has_threads;

/* Gives the calling thread a name for debuggers and top, where the system has such. */
void xev__threadpool_name_self(void);

/* Sets the stack size of attr: stack_size bytes, rounded up to whole pages and to the system's
 * minimum; 0 leaves the default. Returns 0 or -EINVAL. */
int xev__threadpool_attr_set_stack(pthread_attr_t *attr, uint32_t stack_size);

/* Which CPUs a thread may run on. As wide as Linux's largest mask, see sched_setaffinity(2). */
enum { XEV__MASK_CPUS = 8192 };
struct xev__cpu_mask {
    uint64_t bits[XEV__MASK_CPUS / 64];
    size_t len_bytes; /* 0: not known */
};

/* Those of the calling thread, where the system has such. */
void xev__threadpool_cpus_note(struct xev__cpu_mask *mask);
/* The calling thread may run on them from now on. Where that is not allowed, or none of them is
 * left, it stays as it is: as the thread that made it. */
void xev__threadpool_cpus_use(const struct xev__cpu_mask *mask);

/* pthread_create with all signals blocked in the new thread but those that a fault in itself
 * raises. Returns 0 or -errno. */
int xev__threadpool_thread_create(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *),
                                  void *arg);

/* Makes a lock that is held for a moment only: who finds it held looks again for a while before it
 * sleeps, where the system has such. Returns 0 or -errno. */
int xev__threadpool_lock_init(pthread_mutex_t *lock);

#endif /* XEV_THREADPOOL_THREADS_H */
