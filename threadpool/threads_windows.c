/* threads_windows.c: starting pool threads, over winpthreads. */
#include "threadpool/threads.h"

const bool xev__threadpool_has_threads = true;

/* The lock of winpthreads looks again for a while by itself. */
int xev__threadpool_lock_init(pthread_mutex_t *lock) { return -pthread_mutex_init(lock, NULL); }

int xev__threadpool_attr_set_stack(pthread_attr_t *attr, uint32_t stack_size) {
    enum { LEAST = 64 * 1024, GRAIN = 64 * 1024 };
    if (stack_size == 0) {
        return 0;
    }
    size_t size = stack_size < LEAST ? LEAST : stack_size;
    size = (size + GRAIN - 1) / GRAIN * GRAIN;
    return -pthread_attr_setstacksize(attr, size);
}

/* A thread begins with the affinity of the process, whatever its maker is bound to. */
void xev__threadpool_cpus_note(struct xev__cpu_mask *mask) { mask->len_bytes = 0; }
void xev__threadpool_cpus_use(const struct xev__cpu_mask *mask) { (void)mask; }

void xev__threadpool_name_self(void) { (void)pthread_setname_np(pthread_self(), "xev-pool"); }

int xev__threadpool_thread_create(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *),
                                  void *arg) {
    return -pthread_create(out, attr, run, arg);
}
