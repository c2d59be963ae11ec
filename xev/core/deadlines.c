/* The time-outs of operations. An operation with a deadline stands among the loop's timers. core.c
 * stops it when the deadline has passed. */
#include <assert.h>

#include "xev/core/core.h"
#include "xev/os/clock.h"

uint64_t xev__ms_to_ns(uint64_t ms) {
    return ms > UINT64_MAX / 1000000 ? UINT64_MAX : ms * 1000000;
}

uint64_t xev__deadline(uint64_t now_ns, uint64_t timeout_ns) {
    return timeout_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + timeout_ns;
}

void xev__timer_arm(xev_loop *loop, xev_completion *c, uint64_t deadline_ns) {
    /* The timer expires in a later turn. Else a callback that arms its timer again with 0 ns would
     * keep the turn from ending. */
    c->deadline_ns = deadline_ns > loop->now_ns ? deadline_ns : loop->now_ns + 1;
    c->seq = loop->timer_seq++;
    c->state = XEV__TIMER;
    xev__timers_insert(&loop->timers, c);
}

void xev__set_deadline(xev_loop *loop, xev_completion *c, uint64_t deadline_ns) {
    assert(c->state != XEV__DEAD && (c->flags & (XEV__F_DEADLINE | XEV__F_WORKS)) == 0);
    c->deadline_ns = deadline_ns;
    c->seq = loop->timer_seq++;
    c->flags |= XEV__F_DEADLINE;
    xev__timers_insert(&loop->timers, c);
}

static void set_timeout(const char *call, xev_loop *loop, xev_completion *c, uint64_t timeout_ns) {
    if (loop != NULL) {
        xev__check_thread(call, loop);
    }
    xev__check_loop(call, loop);
    if (c == NULL || !xev__is_active(loop, c) || c->op == XEV__OP_TIMER ||
        c->op == XEV__OP_CANCEL || c->op == XEV__OP_CLOSE) {
        xev__misuse(call, "not an active operation of this loop", c);
    }
    if ((c->flags & XEV__F_DEADLINE) != 0) {
        xev__timers_remove(&loop->timers, c);
        c->flags &= (uint16_t)~XEV__F_DEADLINE;
    } else if ((c->flags & XEV__F_WORKS) != 0) {
        xev__work_unlink(loop, c);
    }
    if (timeout_ns > 0) {
        /* A server sets a time-out for nearly every operation. A long one need not be exact, and
         * the coarse clock is cheaper. */
        bool exact = timeout_ns < 1000000000;
        uint64_t now = exact ? xev__os_now_ns() : xev__os_coarse_now_ns();
        now = now > loop->now_ns ? now : loop->now_ns; /* the coarse clock may be late */
        xev__set_deadline(loop, c, xev__deadline(now, timeout_ns));
    } else if (c->state == XEV__POOL) {
        xev__work_link(loop, c);
    }
}

void xev_completion_set_timeout(xev_loop *loop, xev_completion *c, uint64_t timeout_ms) {
    set_timeout("xev_completion_set_timeout", loop, c, xev__ms_to_ns(timeout_ms));
}

void xev_completion_set_timeout_ns(xev_loop *loop, xev_completion *c, uint64_t timeout_ns) {
    set_timeout("xev_completion_set_timeout_ns", loop, c, timeout_ns);
}
