/* threads_posix.c: starting pool threads: stack size and signal mask. */
#include "threadpool/threads.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

const bool xev__threadpool_has_threads = true;

int xev__threadpool_attr_set_stack(pthread_attr_t *attr, uint32_t stack_size) {
    if (stack_size == 0) {
        return 0;
    }
    size_t size = stack_size;
    long least = sysconf(_SC_THREAD_STACK_MIN);
    if (least > 0 && size < (size_t)least) {
        size = (size_t)least;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size = (size + page - 1) / page * page;
    return -pthread_attr_setstacksize(attr, size);
}

int xev__threadpool_thread_create(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *),
                                  void *arg) {
    /* A new thread inherits the mask of its maker. A signal that a thread's own fault raises kills
     * the process without a handler when blocked, so those stay open for crash handlers. */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t mask;
    sigset_t saved;
    sigfillset(&mask);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        sigdelset(&mask, faults[i]);
    }
    int rc = pthread_sigmask(SIG_SETMASK, &mask, &saved);
    if (rc != 0) {
        return -rc;
    }
    rc = pthread_create(out, attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    return -rc;
}
