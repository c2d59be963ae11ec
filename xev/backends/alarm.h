/* Internal: a limit of waits that outlives the wait.
 *
 * For a wait with a limit the kernel starts a timer and takes it back. On a virtual machine that
 * sets the clock's device anew each time, which was seen to cost 5 % of an echo with one
 * connection. But the first deadline of a loop is most often the same from wait to wait. When it
 * has been the same for some waits, the backend sets a timer of its own to it, the alarm, and waits
 * without a limit. An alarm whose deadline has gone meanwhile is not taken back: it ends one wait
 * too early.
 */
#ifndef XEV_BACKENDS_ALARM_H
#define XEV_BACKENDS_ALARM_H

#include "xev/core/core.h"

/* An alarm is set after so many waits with the same end. To set it costs as much as a few waits
 * with a limit, and so does a wait that it ends for nothing. */
#define XEV__ALARM_WAITS 8u

struct xev__alarm {
    uint64_t rings_ns; /* 0: it is not set */
    uint64_t end_ns;   /* of the last wait that it did not end */
    uint32_t waits;    /* that have had this end */
};

/* How long a wait of a turn may last that is to end after timeout_ns: without limit where the alarm
 * ends it. set: sets the alarm to a time instead of what it was set to; false if it cannot. */
static inline uint64_t xev__alarm_limit(struct xev__alarm *a, xev_loop *loop, uint64_t timeout_ns,
                                        bool (*set)(xev_loop *loop, uint64_t at_ns)) {
    if (loop->sleeping_since_ns == 0 || timeout_ns == 0 || timeout_ns > INT64_MAX / 2) {
        return timeout_ns;
    }
    uint64_t end_ns = loop->sleeping_since_ns + timeout_ns;
    /* One that should have rung by now may be lost (EBADR of io_uring). */
    if (a->rings_ns > loop->sleeping_since_ns && a->rings_ns <= end_ns) {
        return UINT64_MAX;
    }
    a->waits = a->end_ns == end_ns ? a->waits + 1 : 1;
    a->end_ns = end_ns;
    if (a->waits <= XEV__ALARM_WAITS || !set(loop, end_ns)) {
        return timeout_ns;
    }
    a->rings_ns = end_ns;
    a->waits = 0;
    return UINT64_MAX;
}

#endif
