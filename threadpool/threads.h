/* threads.h: what the pool needs of the system beyond plain POSIX threads. Private to //threadpool.
 * Thread creation: threads_posix.c. Names and affinity: one of threads_linux.c and
 * threads_generic.c. */
#ifndef XEV_THREADPOOL_THREADS_H
#define XEV_THREADPOOL_THREADS_H

#include <pthread.h>
#include <stdint.h>

/* Gives the calling thread a name for debuggers and top, where the system has such. */
void xev__threadpool_name_self(void);

/* Sets the stack size of attr: stack_size bytes, rounded up to whole pages and to the system's
 * minimum; 0 leaves the default. Returns 0 or -EINVAL. */
int xev__threadpool_attr_set_stack(pthread_attr_t *attr, uint32_t stack_size);

/* Threads made with attr may run on the CPUs that the calling thread may run on now, whatever CPU
 * the thread that makes them is bound to by then. */
void xev__threadpool_attr_set_cpus(pthread_attr_t *attr);
/* Takes that back: threads made with attr may run on the CPUs of the thread that makes them. */
void xev__threadpool_attr_unset_cpus(pthread_attr_t *attr);

/* pthread_create with all signals blocked in the new thread but those that a fault in itself
 * raises. Returns 0 or -errno. */
int xev__threadpool_thread_create(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *),
                                  void *arg);

#endif /* XEV_THREADPOOL_THREADS_H */
