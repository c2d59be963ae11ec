/* Calls of the C library that fail, by name: with --wrap=NAME for each, and inject.h, which says
 * when. */
#ifndef TESTS_WRAP_H
#define TESTS_WRAP_H

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/inject.h"

static const char *target; /* the call that fails */
/* Read by threads, too: a wake may still be on its way when what it told of was handled. */
static atomic_int error; /* with this */
/* Calls of this thread do not fail, and are not counted. */
static _Thread_local bool spared;

/* Calls of child processes are counted, too: those of a fork that starts a program. */
__attribute__((constructor)) static void inject_share(void) {
    inject_used =
        mmap(NULL, sizeof inject, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (inject_used == MAP_FAILED) {
        abort();
    }
}

static bool fails(const char *call) {
    if (target == NULL || spared || strcmp(call, target) != 0 || !inject_now()) {
        return false;
    }
    errno = error;
    return true;
}

/* ---- the calls ---- */

/* parameters and arguments in parentheses */
#define WRAP(type, call, parameters, arguments)                                                    \
    type __real_##call parameters;                                                                 \
    type __wrap_##call parameters;                                                                 \
    type __wrap_##call parameters { return fails(#call) ? (type)-1 : __real_##call arguments; }

/* What is done although it fails: the descriptor is gone, the connection is being made. Where it
 * succeeds it changes errno, as POSIX allows. */
#define WRAP_DONE(call, parameters, arguments)                                                     \
    int __real_##call parameters;                                                                  \
    int __wrap_##call parameters;                                                                  \
    int __wrap_##call parameters {                                                                 \
        bool now = fails(#call);                                                                   \
        int rc =                                                                                   \
            now && error != EINTR && strcmp(#call, "connect") == 0 ? -1 : __real_##call arguments; \
        errno = now ? error : rc == 0 ? EDOM : errno;                                              \
        return now ? -1 : rc;                                                                      \
    }

/* One more argument, that may not be there. F_GETFD has no failure of its own. */
#define WRAP_OPEN_ENDED(call, type)                                                                \
    int __real_##call(int a, type b, ...);                                                         \
    int __wrap_##call(int a, type b, ...);                                                         \
    int __wrap_##call(int a, type b, ...) {                                                        \
        va_list list;                                                                              \
        va_start(list, b);                                                                         \
        void *last = va_arg(list, void *);                                                         \
        va_end(list);                                                                              \
        return b != F_GETFD && fails(#call) ? -1 : __real_##call(a, b, last);                      \
    }

#endif
