/* visit.h: lets the end of an object wait for the threads that are still inside a call on it.
 *
 * A call that may bring that end about (it wakes the thread that ends the object, say) begins its
 * visit before it has any effect and ends it when it has touched the object for the last time.
 * Whoever ends the object first makes sure that no visit begins any more, then waits. Lock-free but
 * for that wait; begin and end may be called from a signal handler.
 *
 * C only, for .c files and private headers.
 */
#ifndef XEV_MPSC_VISIT_H
#define XEV_MPSC_VISIT_H

#include <ck_pr.h>
#include <stdint.h>

#include "mpsc/handoff.h"

static inline void xev__visit_begin(uint32_t *visits) {
    ck_pr_inc_32(visits);
    ck_pr_fence_atomic(); /* before whatever the call does; nothing on x86 */
    ck_pr_fence_atomic_load();
    ck_pr_fence_atomic_store();
}

static inline void xev__visit_end(uint32_t *visits) {
    XEV_HANDOFF_RELEASE(visits);
    ck_pr_fence_release();
    ck_pr_dec_32(visits);
}

static inline void xev__visits_wait(uint32_t *visits) {
    ck_pr_fence_memory();
    while (ck_pr_load_32(visits) != 0) {
        ck_pr_stall();
    }
    ck_pr_fence_memory();
    XEV_HANDOFF_ACQUIRE(visits);
}

#endif
