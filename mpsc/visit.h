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

#include <assert.h>
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
    assert(ck_pr_load_32(visits) > 0);
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

/* The same for calls that do not cease: other threads may begin them while the end waits, as often
 * as they like. Calls are counted in two phases. The waiter turns new ones to the phase that it is
 * not waiting for, so the count that it watches comes to zero however many there are. It has seen
 * each of the two at zero since it began; a call that was inside by then was counted in one of
 * them, so it is over. (A thread may look at the phase and be counted late, in the phase that is
 * being waited for. That is once per thread: its next call sees the other one.) Begin and end may
 * be called from a signal handler; one thread waits at a time. */
struct xev__callers {
    uint32_t phase;     /* atomic: 0 or 1 */
    uint32_t inside[2]; /* atomic */
};

/* The phase, for the end of the same call. */
static inline uint32_t xev__call_begin(struct xev__callers *c) {
    uint32_t phase = ck_pr_load_32(&c->phase);
    assert(phase <= 1);
    xev__visit_begin(&c->inside[phase]);
    return phase;
}

static inline void xev__call_end(struct xev__callers *c, uint32_t phase) {
    xev__visit_end(&c->inside[phase]);
}

static inline void xev__callers_wait(struct xev__callers *c) {
    for (uint32_t phase = 0; phase < 2; phase++) {
        ck_pr_store_32(&c->phase, 1 - phase);
        xev__visits_wait(&c->inside[phase]);
    }
}

#endif
