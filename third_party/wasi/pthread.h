/* For a C library without threads that lacks this header, as wasi-libc did until 2023: locks and
 * conditions of a program that has one thread. A lock that is taken twice, or a wait that nobody
 * can end, ends the program. There is no call that makes a thread. */
#ifndef XEV_THIRD_PARTY_WASI_PTHREAD_H
#define XEV_THIRD_PARTY_WASI_PTHREAD_H

#include <errno.h>
#include <stdlib.h>

#define __NEED_pthread_t
#define __NEED_pthread_mutex_t
#define __NEED_pthread_cond_t
#define __NEED_pthread_attr_t
#include <bits/alltypes.h>

/* clang-format off */
#define PTHREAD_MUTEX_INITIALIZER {{{0}}}
#define PTHREAD_COND_INITIALIZER {{{0}}}
/* clang-format on */

static inline int pthread_mutex_init(pthread_mutex_t *m, const void *attr) {
    (void)attr;
    *m = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    return 0;
}

static inline int pthread_mutex_destroy(pthread_mutex_t *m) {
    (void)m;
    return 0;
}

static inline int pthread_mutex_lock(pthread_mutex_t *m) {
    if (m->__u.__i[0] != 0) {
        abort();
    }
    m->__u.__i[0] = 1;
    return 0;
}

static inline int pthread_mutex_unlock(pthread_mutex_t *m) {
    if (m->__u.__i[0] == 0) {
        abort();
    }
    m->__u.__i[0] = 0;
    return 0;
}

static inline int pthread_cond_init(pthread_cond_t *c, const void *attr) {
    (void)attr;
    *c = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    return 0;
}

static inline int pthread_cond_destroy(pthread_cond_t *c) {
    (void)c;
    return 0;
}

static inline int pthread_cond_signal(pthread_cond_t *c) {
    (void)c;
    return 0;
}

static inline int pthread_cond_broadcast(pthread_cond_t *c) {
    (void)c;
    return 0;
}

static inline int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m) {
    (void)c;
    (void)m;
    abort();
}

static inline int pthread_attr_init(pthread_attr_t *attr) {
    *attr = (pthread_attr_t){{{0}}};
    return 0;
}

static inline int pthread_attr_destroy(pthread_attr_t *attr) {
    (void)attr;
    return 0;
}

static inline pthread_t pthread_self(void) { return 0; }

static inline int pthread_equal(pthread_t a, pthread_t b) { return a == b; }

static inline int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                                 void *(*run)(void *), void *arg) {
    (void)thread;
    (void)attr;
    (void)run;
    (void)arg;
    return ENOTSUP;
}

static inline int pthread_join(pthread_t thread, void **result) {
    (void)thread;
    (void)result;
    abort();
}

/* There is no fork. */
static inline int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    (void)prepare;
    (void)parent;
    (void)child;
    return 0;
}

#endif
