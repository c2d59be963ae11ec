/* threads_generic.c: Unix systems without thread names and affinities. */
#include "threadpool/threads.h"

void xev__threadpool_attr_set_cpus(pthread_attr_t *attr) { (void)attr; }
void xev__threadpool_attr_unset_cpus(pthread_attr_t *attr) { (void)attr; }

void xev__threadpool_name_self(void) {}
