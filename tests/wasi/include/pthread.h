/* Threads: a test that makes one is left out. */
#ifndef TESTS_WASI_PTHREAD_H
#define TESTS_WASI_PTHREAD_H

#pragma GCC system_header

#include_next <pthread.h>

#define __NEED_pthread_barrier_t
#define __NEED_pthread_barrierattr_t
#include <bits/alltypes.h>
#include <signal.h>
#include <time.h>

#define pthread_create(...) wasi_pthread_create(__VA_ARGS__)
int wasi_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                        void *arg);
#define pthread_cond_wait(c, m) wasi_cond_wait(c, m)
int wasi_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
#define pthread_join(thread, result) wasi_pthread_join(thread, result)
int wasi_pthread_join(pthread_t thread, void **result);
int pthread_kill(pthread_t thread, int signal_number);
int pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);
int pthread_barrier_init(pthread_barrier_t *b, const pthread_barrierattr_t *attr, unsigned count);
int pthread_barrier_wait(pthread_barrier_t *b);
int pthread_barrier_destroy(pthread_barrier_t *b);
int pthread_detach(pthread_t thread);

#endif
