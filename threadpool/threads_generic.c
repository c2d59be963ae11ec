/* threads_generic.c: Unix systems without thread names and affinities. */
#include "threadpool/threads.h"

void xev__threadpool_cpus_note(struct xev__cpu_mask *mask) { mask->len_bytes = 0; }
void xev__threadpool_cpus_use(const struct xev__cpu_mask *mask) { (void)mask; }

void xev__threadpool_name_self(void) {}

int xev__threadpool_lock_init(pthread_mutex_t *lock) { return -pthread_mutex_init(lock, NULL); }
