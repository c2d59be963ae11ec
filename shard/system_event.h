/* The flag of an event (system.h), which is what counts on every system; each wakes the waiter in
 * its own way. */
#ifndef XEV_SHARD_SYSTEM_EVENT_H
#define XEV_SHARD_SYSTEM_EVENT_H

#include <ck_pr.h>

#include "mpsc/handoff.h"
#include "shard/system.h"

/* True: the waiter is to be woken. One wake does for all signals since the flag was taken. */
static inline bool xev__event_set(struct xev__event *e) {
    XEV_HANDOFF_RELEASE(&e->signalled);
    ck_pr_fence_memory();
    return ck_pr_fas_32(&e->signalled, 1) == 0;
}

/* A look before the caller's: a signal from now on is a new one. */
static inline bool xev__event_take(struct xev__event *e) {
    if (ck_pr_fas_32(&e->signalled, 0) == 0) {
        return false;
    }
    ck_pr_fence_memory();
    XEV_HANDOFF_ACQUIRE(&e->signalled);
    return true;
}

#endif
