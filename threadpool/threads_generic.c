/* threads_generic.c: CPU count for Unix systems without a reader of their own; no thread names. */
#include "threadpool/threads.h"

#include <unistd.h>

uint32_t xev__threadpool_cpu_count(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

void xev__threadpool_attr_set_cpus(pthread_attr_t *attr) { (void)attr; }
void xev__threadpool_attr_unset_cpus(pthread_attr_t *attr) { (void)attr; }

void xev__threadpool_name_self(void) {}
