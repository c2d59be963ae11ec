/* Timers: the watcher calls. The loop's heap of timers is in core/timers.c. */
#include "xev/timer.h"

#include <assert.h>

#include "xev/os/clock.h"
#include "xev/watchers/watchers.h"

int xev_timer_init(xev_watcher *w) {
    if (w != NULL) {
        *w = (xev_watcher){0};
    }
    return 0;
}

void xev_timer_deinit(xev_watcher *w) { (void)w; }

static void timer_start(const char *call, xev_loop *loop, xev_completion *c, uint64_t timeout_ns,
                        void *userdata, xev_timer_cb cb) {
    if (!xev__begin(call, loop, c, XEV__OP_TIMER, userdata, cb)) {
        return;
    }
    c->arg.interval_ns = timeout_ns;
    /* Counted from the clock. The loop's time may be older, and the timer would come too early. */
    xev__timer_arm(loop, c, xev__deadline(xev__os_now_ns(), timeout_ns));
}

void xev__timer_again(xev_loop *loop, xev_completion *c) {
    assert(c->op == XEV__OP_TIMER && c->loop == loop);
    uint64_t now = xev__os_now_ns();
    uint64_t every = c->arg.interval_ns;
    uint64_t next = xev__deadline(c->deadline_ns, every);
    if (next <= now && every > 0) {
        next += (now - next) / every * every + every; /* missed ones are skipped */
    }
    assert(every == 0 || next > now);
    xev__timer_arm(loop, c, next);
}

void xev_timer_run_ns(xev_watcher *w, xev_loop *loop, xev_completion *c, uint64_t timeout_ns,
                      void *userdata, xev_timer_cb cb) {
    (void)w;
    timer_start(XEV__CALL("xev_timer_run_ns"), loop, c, timeout_ns, userdata, cb);
}

void xev_timer_run(xev_watcher *w, xev_loop *loop, xev_completion *c, uint64_t next_ms,
                   void *userdata, xev_timer_cb cb) {
    (void)w;
    timer_start(XEV__CALL("xev_timer_run"), loop, c, xev__ms_to_ns(next_ms), userdata, cb);
}

void xev_timer_reset(xev_watcher *w, xev_loop *loop, xev_completion *c, xev_completion *c_cancel,
                     uint64_t next_ms, void *userdata, xev_timer_cb cb) {
    (void)w;
    (void)c_cancel;
    xev__check_loop("xev_timer_reset", loop);
    if (c == NULL || !xev__is_active(loop, c)) {
        timer_start(XEV__CALL("xev_timer_reset"), loop, c, xev__ms_to_ns(next_ms), userdata, cb);
        return;
    }
    if (c->op != XEV__OP_TIMER || cb == NULL) {
        xev__misuse("xev_timer_reset", "not a timer, or callback is null", c);
    }
    xev__check_thread("xev_timer_reset", loop);
    c->userdata = userdata;
    c->callback = cb;
    if (c->state != XEV__TIMER) {
        return; /* it was cancelled, and reports that to the new callback */
    }
    assert((c->flags & XEV__F_CANCEL) == 0);
    xev__timers_remove(&loop->timers, c);
    c->arg.interval_ns = xev__ms_to_ns(next_ms);
    xev__timer_arm(loop, c, xev__deadline(xev__os_now_ns(), c->arg.interval_ns));
}

void xev_timer_cancel(xev_watcher *w, xev_loop *loop, xev_completion *c, xev_completion *c_cancel,
                      void *userdata, xev_timer_cb cb) {
    (void)w;
    xev__cancel(XEV__CALL("xev_timer_cancel"), loop, c, c_cancel, userdata, cb);
}
