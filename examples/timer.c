/* A timer that repeats, and one that is cancelled. */
#include <stdio.h>

#include "xev/xev.h"

static int ticks;

static xev_cb_action on_tick(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    if (result < 0) {
        return XEV_DISARM;
    }
    printf("tick %d\n", ++ticks);
    return ticks < 3 ? XEV_REARM : XEV_DISARM; /* REARM: again 10 ms after this deadline */
}

static xev_cb_action on_late(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    printf("late timer: %s\n", xev_err_name(result));
    return XEV_DISARM;
}

static xev_cb_action on_cancelled(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    printf("cancel: %s\n", xev_err_name(result));
    return XEV_DISARM;
}

int main(void) {
    xev_loop loop;
    int rc = xev_loop_init(&loop);
    if (rc < 0) {
        fprintf(stderr, "timer: %s\n", xev_strerror(rc));
        return 1;
    }
    xev_completion tick, late, cancel; /* dead until submitted; ours until their callbacks */
    xev_timer_run(NULL, &loop, &tick, 10, NULL, on_tick);
    xev_timer_run(NULL, &loop, &late, 3600 * 1000, NULL, on_late);
    xev_cancel(&loop, &late, &cancel, NULL, on_cancelled);
    rc = xev_loop_run(&loop, XEV_RUN_UNTIL_DONE);
    xev_loop_deinit(&loop);
    if (rc < 0) {
        fprintf(stderr, "timer: %s\n", xev_strerror(rc));
    }
    return rc < 0;
}
