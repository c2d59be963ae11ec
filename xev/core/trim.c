/* The timer that has the parts of a loop give back what a peak has left. */
#include "xev/core/core.h"

#define LATER_NS 1000000000u
#define MORE_NS 10000000u

static xev_cb_action on_trim(xev_loop *loop, xev_completion *c, int result, void *userdata);

/* Have the timer expire at due_ns at the latest. */
static void arm_trim(xev_loop *loop, uint64_t due_ns) {
    xev_completion *timer = &loop->trim;
    if (timer->state == XEV__DEAD) {
        (void)xev__begin("the loop's trim", loop, timer, XEV__OP_TIMER, NULL, on_trim);
        xev__timer_arm(loop, timer, due_ns);
        xev__make_internal(loop, timer);
    } else if (timer->state == XEV__TIMER && timer->deadline_ns > due_ns) {
        xev__timers_remove(&loop->timers, timer);
        xev__timer_arm(loop, timer, due_ns);
    }
}

static xev_cb_action on_trim(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    for (struct xev__trimmer *t = loop->trimmers; t != NULL && result == 0; t = t->next) {
        if (t->due_ns != 0 && t->due_ns <= loop->now_ns) {
            enum xev__trim left = t->trim(loop, t);
            uint64_t wait_ns = left == XEV__TRIM_MORE ? MORE_NS : LATER_NS;
            t->due_ns = left != XEV__TRIM_DONE ? xev__deadline(loop->now_ns, wait_ns) : 0;
        }
        if (t->due_ns != 0) {
            arm_trim(loop, t->due_ns);
        }
    }
    return XEV_DISARM;
}

void xev__trimmer_add(xev_loop *loop, struct xev__trimmer *t) {
    assert(t->trim != NULL && t->due_ns == 0);
    t->next = loop->trimmers;
    loop->trimmers = t;
}

void xev__trim_soon(xev_loop *loop, struct xev__trimmer *t) {
    assert(t->trim != NULL);
    if (t->due_ns == 0 && loop->ops != NULL && !loop->deinit) {
        t->due_ns = xev__deadline(loop->now_ns, LATER_NS);
        arm_trim(loop, t->due_ns);
    }
}
