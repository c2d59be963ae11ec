/* Failures of calls that the library makes. The test's target is linked with -Wl,--wrap=NAME, and
 * its function __wrap_NAME asks inject whether this call is to fail. Calls of all threads are
 * counted, but only while a plan is armed. */
#ifndef TESTS_INJECT_H
#define TESTS_INJECT_H

#include <stdatomic.h>
#include <stdbool.h>

enum { INJECT_ONCE, INJECT_FROM_THERE_ON };

struct inject {
    atomic_int calls; /* made while the plan was armed */
    atomic_int hits;  /* how many of them failed */
    int at;           /* the number of the first call that fails; the first call is 1 */
    int mode;
    atomic_bool armed;
};

static struct inject inject_own, *inject_used = &inject_own;
#define inject (*inject_used)

static inline void inject_plan(int at, int mode) {
    atomic_store(&inject.calls, 0);
    atomic_store(&inject.hits, 0);
    inject.at = at;
    inject.mode = mode;
    atomic_store(&inject.armed, true);
}

static inline void inject_arm(bool on) { atomic_store(&inject.armed, on); }

/* Whether this call is to fail. */
static inline bool inject_now(void) {
    if (!atomic_load(&inject.armed)) {
        return false;
    }
    int n = atomic_fetch_add(&inject.calls, 1) + 1;
    bool now = n == inject.at || (n > inject.at && inject.mode == INJECT_FROM_THERE_ON);
    atomic_fetch_add(&inject.hits, now);
    return now;
}

#endif
