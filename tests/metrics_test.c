/* What a loop counts of itself. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/loop_scene.h"

static uint64_t submitted(const xev_loop_metrics *m, const char *name) {
    for (int i = 0; i < XEV_OPS; i++) {
        if (strcmp(m->ops[i].name, name) == 0) {
            return m->ops[i].count;
        }
    }
    CHECK_FAIL("no operation is called %s", name);
}

static xev_cb_action four_times(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    return ++*(int *)userdata < 4 ? XEV_REARM : XEV_DISARM;
}

static xev_cb_action blocks_for_100_ms(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    struct timespec ts = {.tv_nsec = 100 * 1000 * 1000};
    (void)loop;
    (void)c;
    (void)result;
    (void)userdata;
    CHECK_EQ(nanosleep(&ts, NULL), 0);
    return XEV_DISARM;
}

static xev_cb_action on_byte(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    CHECK_EQ(result, 1);
    return XEV_DISARM;
}

TEST(a_new_loop_has_counted_nothing) {
    xev_loop loop;
    xev_loop_metrics m;
    loop_start(&loop);
    xev_loop_metrics_get(&loop, &m);
    CHECK_EQ(m.turns, 0);
    CHECK_EQ(m.callbacks, 0);
    CHECK_EQ(m.submissions, 0);
    CHECK_EQ(m.sleeps, 0);
    CHECK_EQ(m.wakes, 0);
    xev_loop_deinit(&loop);
}

TEST(operations_callbacks_and_sleep_are_counted) {
    xev_loop loop;
    xev_completion timer, read;
    xev_loop_metrics m;
    int fired = 0, fds[2];
    char byte;
    loop_start(&loop);
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    xev_timer_run(NULL, &loop, &timer, 5, &fired, four_times);
    xev_fd_read(fds[0], &loop, &read, &byte, 1, NULL, on_byte);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    xev_loop_metrics_get(&loop, &m);
    CHECK_EQ(submitted(&m, "timer"), 4); /* repeats included */
    CHECK_EQ(submitted(&m, "read"), 1);
    CHECK_EQ(m.submissions, 5);
    CHECK_EQ(m.callbacks, 5);
    CHECK_GE(m.events, 1);
    CHECK_GE(m.turns, 4);
    CHECK_GE(m.sleeps, 1);
    CHECK_GE(m.syscalls, m.sleeps);
    CHECK_EQ(m.wakes, 0);
    CHECK_GE(m.asleep_ns, 10 * 1000 * 1000); /* of 20 ms, with next to nothing to do */
    CHECK_GT(m.awake_ns, 0);
    xev_loop_deinit(&loop);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

TEST(the_longest_callback_is_told) {
    xev_loop loop;
    xev_completion c;
    xev_loop_metrics m;
    loop_start(&loop);
    xev_timer_run(NULL, &loop, &c, 0, NULL, blocks_for_100_ms);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    xev_loop_metrics_get(&loop, &m);
    CHECK_GE(m.longest_callback_ns, 90 * 1000 * 1000); /* less a tick */
    xev_loop_deinit(&loop);
}
