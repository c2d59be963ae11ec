/* threads_none.c: a system without threads. */
#include "threadpool/threads.h"

#include <errno.h>

const bool xev__threadpool_has_threads = false;

int xev__threadpool_attr_set_stack(pthread_attr_t *attr, uint32_t stack_size) {
    (void)attr;
    (void)stack_size;
    return 0;
}

int xev__threadpool_thread_create(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *),
                                  void *arg) {
    (void)out;
    (void)attr;
    (void)run;
    (void)arg;
    return -ENOTSUP;
}
