/* A loop's wait that fails. A lack of memory is waited out, and an interruption has no effect. Any
 * other error ends the run, and all shards with it, in order and with the name of the call. And a
 * wait that blocks although it has a time limit of 0. The calls are wrapped. */
#include "tests/shard_scene.h"

#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>

#if !defined(XEV_NO_IO_URING)
#include <liburing.h>
#endif

#include "xev/fd.h"
#include "xev/log.h"

/* While it is above 0, waits of the thread that may fail do, with code. */
static atomic_int left;
static int code;
static atomic_uint failures;
static _Thread_local bool may_fail;

/* The next wait of a thread that has set it blocks until the shard was told to be slow. */
static _Thread_local bool blocks;
static sem_t told;

static bool fails(void) {
    if (blocks) {
        blocks = false;
        sem_take(&told);
    }
    if (!may_fail || left == 0) {
        return false;
    }
    left--;
    failures++;
    errno = code;
    return true;
}

int __real_epoll_pwait2(int ep, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask);
int __wrap_epoll_pwait2(int ep, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask);
int __real_epoll_wait(int ep, struct epoll_event *events, int max, int timeout);
int __wrap_epoll_wait(int ep, struct epoll_event *events, int max, int timeout);

int __wrap_epoll_pwait2(int ep, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask) {
    return fails() ? -1 : __real_epoll_pwait2(ep, events, max, timeout, mask);
}

int __wrap_epoll_wait(int ep, struct epoll_event *events, int max, int timeout) {
    return fails() ? -1 : __real_epoll_wait(ep, events, max, timeout);
}

#if !defined(XEV_NO_IO_URING)

int __real_io_uring_submit_and_get_events(struct io_uring *ring);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring);
int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask);

int __wrap_io_uring_submit_and_get_events(struct io_uring *ring) {
    return fails() ? -code : __real_io_uring_submit_and_get_events(ring);
}

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask) {
    return fails() ? -code : __real_io_uring_submit_and_wait_timeout(ring, cqe, n, ts, mask);
}

#endif

enum { FOR_EVER = 1000000000 };

static void plan(int error, int times) {
    code = error;
    failures = 0;
    left = times;
    may_fail = true;
}

static const int shortages[] = {ENOMEM, ENOBUFS, EAGAIN, EBUSY};
enum { SHORTAGES = sizeof shortages / sizeof shortages[0] };

static void check_call(const char *call) {
    CHECK(call != NULL);
    CHECK(strcmp(call, "io_uring_enter") == 0 || strcmp(call, "epoll_pwait2") == 0 ||
          strcmp(call, "epoll_wait") == 0 || strcmp(call, "kevent") == 0);
}

/* ---- one loop ---- */

static xev_cb_action timer_fired(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    *(int *)userdata = result;
    return XEV_DISARM;
}

/* Until no wait is to fail any more, however long that takes. */
static xev_cb_action timer_fired_until_then(xev_loop *loop, xev_completion *c, int result,
                                            void *userdata) {
    (void)timer_fired(loop, c, result, userdata);
    return result == 0 && left > 0 ? XEV_REARM : XEV_DISARM;
}

static void loop_open(xev_loop *loop, xev_completion *timer, uint64_t ms, int *result) {
    may_fail = false;
    CHECK_EQ(xev_loop_init(loop), 0);
    xev_timer_run(NULL, loop, timer, ms, result, timer_fired);
}

static uint64_t turns(const xev_loop *loop) {
    xev_loop_metrics m;
    xev_loop_metrics_get(loop, &m);
    return m.turns;
}

TEST(a_wait_that_fails_for_a_moment_is_tried_again) {
    for (int i = 0; i < SHORTAGES; i++) {
        xev_loop loop;
        xev_completion timer;
        int result = 1;
        may_fail = false;
        CHECK_EQ(xev_loop_init(&loop), 0);
        xev_timer_run(NULL, &loop, &timer, 20, &result, timer_fired_until_then);
        plan(shortages[i], 6);
        CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
        CHECK_EQ(left, 0);
        CHECK_EQ(result, 0);
        CHECK(xev_loop_failed_call(&loop) == NULL);
        xev_loop_deinit(&loop);
    }
}

TEST(a_shortage_that_lasts_ends_the_run_without_spinning) {
    for (int i = 0; i < SHORTAGES; i++) {
        xev_loop loop;
        xev_completion soon, late;
        int soon_result = 1, late_result = 1;
        loop_open(&loop, &late, HOUR_MS, &late_result);
        xev_timer_run(NULL, &loop, &soon, 20, &soon_result, timer_fired);
        plan(shortages[i], FOR_EVER);
        CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), -shortages[i]);
        CHECK_EQ(soon_result, 0); /* timers are served meanwhile */
        check_call(xev_loop_failed_call(&loop));
        CHECK_GE(failures, 10);
        CHECK_LE(turns(&loop), 100);
        xev_loop_deinit(&loop);
        CHECK_EQ(late_result, XEV_ECANCELED);
    }
}

TEST(a_wait_that_is_interrupted_for_ever_neither_ends_nor_spins) {
    xev_loop loop;
    xev_completion timer;
    int result = 1;
    loop_open(&loop, &timer, 1500, &result);
    plan(EINTR, FOR_EVER);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    CHECK_EQ(result, 0);
    CHECK_LE(turns(&loop), 300);
    left = 0;
    xev_loop_deinit(&loop);
}

TEST(what_trying_again_cannot_help_ends_the_run_at_once) {
    static const int codes[] = {EINVAL, EBADF, EBADR, EFAULT, ENXIO};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        xev_loop loop;
        xev_completion timer;
        int result = 1;
        loop_open(&loop, &timer, HOUR_MS, &result);
        plan(codes[i], 1);
        CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), -codes[i]);
        CHECK_EQ(turns(&loop), 1);
        check_call(xev_loop_failed_call(&loop));
        /* The next run begins anew. */
        CHECK_EQ(xev_loop_run(&loop, XEV_RUN_NO_WAIT), 0);
        CHECK(xev_loop_failed_call(&loop) == NULL);
        xev_loop_deinit(&loop);
        CHECK_EQ(result, XEV_ECANCELED);
    }
}

static xev_loop napping;

static void *stop_napping(void *arg) {
    (void)arg;
    while (failures < 5) {
        sched_yield();
    }
    xev_loop_stop(&napping);
    return NULL;
}

/* The kernel's wait fails, and still another thread reaches the loop. */
TEST(a_stop_is_heard_while_the_wait_fails) {
    xev_completion timer;
    int result = 1;
    loop_open(&napping, &timer, HOUR_MS, &result);
    plan(EAGAIN, FOR_EVER);
    pthread_t t = thread_start(stop_napping, NULL);
    CHECK_EQ(xev_loop_run(&napping, XEV_RUN_UNTIL_DONE), 0);
    thread_join(t);
    left = 0;
    xev_loop_deinit(&napping);
}

/* ---- shards ---- */

static void one_may_fail(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        plan(code, (int)(uintptr_t)xev_shard_loop(self)->userdata);
    }
}

static void check_ended_in_order(void) {
    CHECK_EQ(logged(DRAIN), 3);
    CHECK_EQ(logged(STOP), 3);
    CHECK_EQ(logged(DEINIT), 3);
}

static int times;
static struct op stopper;

static xev_cb_action stop_later(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    if (result == 0 && left > 0) {
        return XEV_REARM; /* however long the failing waits take */
    }
    stop_all(userdata);
    return XEV_DISARM;
}

static int prepare(xev_shard *self) {
    xev_shard_loop(self)->userdata = (void *)(uintptr_t)times;
    if (xev_shard_id(self) == 1 && times < FOR_EVER) {
        xev_timer_run(NULL, xev_shard_loop(self), &stopper.c, 30, self, stop_later);
    }
    return 0;
}

TEST(a_shards_wait_that_fails_for_a_moment_ends_nothing) {
    xev_runtime_failure f;
    sc.init = prepare;
    sc.body = one_may_fail;
    for (int i = 0; i < SHORTAGES; i++) {
        code = shortages[i];
        times = 5;
        CHECK_EQ(scene_run(3), 0);
        CHECK_EQ(left, 0);
        CHECK_EQ(failures, 5);
        xev_runtime_failure_get(&sc.rt, &f);
        CHECK_EQ(f.code, 0);
        CHECK_STR_EQ(f.call, "");
        check_ended_in_order();
    }
}

TEST(a_shards_wait_that_fails_for_good_is_named_with_shard_and_call) {
    static const int codes[] = {EINVAL, EBADR, EAGAIN};
    xev_runtime_failure f;
    sc.init = prepare;
    sc.body = one_may_fail;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        code = codes[i];
        times = FOR_EVER;
        CHECK_EQ(scene_run(3), -codes[i]);
        xev_runtime_failure_get(&sc.rt, &f);
        CHECK_EQ(f.code, -codes[i]);
        CHECK_EQ(f.shard, 1);
        check_call(f.call);
        check_ended_in_order();
    }
}

static void may_fail_for_ever(xev_shard *self) {
    (void)self;
    plan(code, FOR_EVER);
}

/* Its coordinator is the thread whose wait fails. */
TEST(a_runtime_alone_whose_wait_fails_for_good_ends_in_order) {
    xev_runtime_failure f;
    code = EINVAL;
    sc.o.alone = true;
    sc.body = may_fail_for_ever;
    CHECK_EQ(scene_run(1), -code);
    left = 0;
    xev_runtime_failure_get(&sc.rt, &f);
    CHECK_EQ(f.code, -code);
    CHECK_EQ(f.shard, 0);
    check_call(f.call);
    CHECK_EQ(logged(DRAIN), 1);
    CHECK_EQ(logged(STOP), 1);
    CHECK_EQ(logged(DEINIT), 1);
}

static int one_refuses(xev_shard *self) { return xev_shard_id(self) == 1 ? XEV_ENOSPC : 0; }

TEST(a_start_that_fails_is_named) {
    xev_runtime_failure f;
    sc.init = one_refuses;
    CHECK_EQ(scene_run(3), XEV_ENOSPC);
    xev_runtime_failure_get(&sc.rt, &f);
    CHECK_EQ(f.code, XEV_ENOSPC);
    CHECK_EQ(f.shard, 1);
    CHECK_STR_EQ(f.call, "init");
    CHECK_EQ(scene_run(XEV_SHARDS_MAX + 1), XEV_EINVAL);
    xev_runtime_failure_get(&sc.rt, &f);
    CHECK_EQ(f.code, XEV_EINVAL);
    CHECK_EQ(f.shard, XEV_NO_SHARD);
    CHECK_STR_EQ(f.call, "options");
    CHECK_STR_EQ(f.object, "shards");
    sc.o.loop.entries = 3;
    CHECK_EQ(scene_run(2), XEV_EINVAL);
    xev_runtime_failure_get(&sc.rt, &f);
    CHECK_EQ(f.shard, 0);
    CHECK_STR_EQ(f.call, "xev_loop_init");
}

/* ---- a wait that blocks ---- */

static char slow_line[1100];

static void on_slow(const xev_log_line *line, void *userdata) {
    (void)userdata;
    if (strcmp(line->kind, "slow") == 0 && slow_line[0] == '\0' &&
        strstr(line->text, " in one turn of its loop, in no callback; its thread is ") != NULL) {
        snprintf(slow_line, sizeof slow_line, "%s", line->text);
        sem_give(&told);
    }
}

static xev_fd pipe_ends[2];
static struct op armed, polled, soon;

static xev_cb_action on_armed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)op_cb(loop, c, result, userdata);
    /* The next wait has no time, and something to submit. */
    xev_timer_run(NULL, loop, &soon.c, 0, &soon, op_cb);
    xev_fd_poll(pipe_ends[0], loop, &polled.c, XEV_POLL_IN, &polled, op_cb);
    blocks = true;
    return XEV_DISARM;
}

static void arm(xev_shard *self) {
    xev_timer_run(NULL, xev_shard_loop(self), &armed.c, 1, &armed, on_armed);
}

static bool on_stuck(const xev_stuck *stuck, void *userdata) {
    CHECK(userdata == &sc);
    /* Earlier and later ones are of a machine that gave the thread no time. */
    if (strcmp(stuck->doing, "in its loop, in no callback") == 0) {
        CHECK(stuck->code == (void (*)(void))xev_loop_run);
        sem_give(&told);
    }
    return true;
}

static void *stop_when_told(void *arg) {
    (void)arg;
    while (soon.calls == 0) {
        sched_yield();
    }
    xev_runtime_stop(&sc.rt);
    return NULL;
}

static void cancel_poll(xev_shard *self) {
    (void)self;
    CHECK_EQ(close(pipe_ends[1]), 0); /* the poll ends, and the drain with it */
}

/* The callback that was called last has returned: it must not be blamed. */
TEST(a_loop_that_is_slow_in_the_kernel_names_no_callback) {
    sem_new(&told);
    xev_log_set(NULL, on_slow);
    CHECK_EQ(xev_pipe_open(&pipe_ends[0], &pipe_ends[1]), 0);
    sc.o.slow_ms = 100;
    sc.body = arm;
    sc.drain = cancel_poll;
    pthread_t t = thread_start(stop_when_told, NULL);
    CHECK_EQ(scene_run(1), 0);
    thread_join(t);
    CHECK(strstr(slow_line, "callback at") == NULL);
    check_op(&armed, 0);
    check_op(&soon, 0);
}

static xev_cb_action on_armed_stop(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    stop_all(xev_shard_current());
    return on_armed(loop, c, result, userdata);
}

static void arm_stop(xev_shard *self) {
    xev_timer_run(NULL, xev_shard_loop(self), &armed.c, 1, &armed, on_armed_stop);
}

TEST(a_loop_that_is_stuck_in_the_kernel_names_no_callback) {
    sem_new(&told);
    CHECK_EQ(xev_pipe_open(&pipe_ends[0], &pipe_ends[1]), 0);
    sc.o.drain_ms = sc.o.stuck_ms = 50;
    sc.o.stuck = on_stuck;
    sc.body = arm_stop;
    sc.stop = cancel_poll;
    CHECK_EQ(scene_run(1), XEV_ETIMEDOUT);
    check_op(&armed, 0);
}
