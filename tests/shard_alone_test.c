/* A runtime whose one shard runs on the thread in xev_runtime_run, with no thread beside it. */
#include "tests/shard_scene.h"

#include <signal.h>

#include "tests/death.h"

#include "xev/work.h"

static pthread_t caller;
static uint32_t threads_before; /* ThreadSanitizer has one of its own */

static void on_caller_alone(void) {
    CHECK(pthread_equal(pthread_self(), caller));
    wait_for_threads(threads_before);
}

static int check_init(xev_shard *self) {
    CHECK_EQ(xev_runtime_shards(xev_shard_runtime(self)), 1);
    on_caller_alone();
    return 0;
}

static void check_and_stop(xev_shard *self) {
    on_caller_alone();
    stop_all(self);
}

static int run_alone(void) {
    caller = pthread_self();
    threads_before = threads();
    CHECK(signal(SIGTERM, SIG_DFL) != SIG_ERR && signal(SIGHUP, SIG_DFL) != SIG_ERR);
    sc.o.alone = true;
    return scene_run(sc.o.shards);
}

TEST(its_callbacks_run_on_the_caller_and_there_is_no_other_thread) {
    sc.init = check_init;
    sc.body = check_and_stop;
    uint32_t before = descriptors();
    for (uint32_t i = 0; i < 3; i++) { /* 0: as many shards as can be, which is one */
        sc.o.shards = i % 2;
        CHECK_EQ(run_alone(), 0);
        uint32_t at = 0;
        for (enum phase p = INIT; p <= DEINIT; p++) {
            check_logged(&at, p, 1, 0, 1);
        }
        CHECK_EQ(descriptors(), before);
    }
}

TEST(what_does_not_go_with_it_is_refused) {
    xev_runtime_failure f;
    sc.o.shards = 2;
    CHECK_EQ(run_alone(), XEV_EINVAL);
    xev_runtime_failure_get(&sc.rt, &f);
    CHECK_STR_EQ(f.call, "options");
    CHECK_STR_EQ(f.object, "shards with alone");
    sc.o.shards = 1;
    sc.o.slow_ms = 50;
    CHECK_EQ(run_alone(), XEV_EINVAL);
    xev_runtime_failure_get(&sc.rt, &f);
    CHECK_STR_EQ(f.object, "slow_ms with alone");
    CHECK_EQ(sc.log_len, 0);
}

static void raise_term(xev_shard *self) {
    (void)self;
    CHECK_EQ(kill(getpid(), SIGTERM), 0);
}

TEST(a_signal_ends_it_in_a_callback) {
    sc.body = raise_term;
    CHECK_EQ(run_alone(), 0);
    CHECK_EQ(logged(DEINIT), 1);
}

static void raise_until_the_end(xev_shard *self) {
    for (;;) { /* those of one moment are one */
        raise_term(self);
        sched_yield();
    }
}

TEST(the_third_signal_ends_the_process_in_a_callback_that_never_returns) {
    struct death d;
    sc.body = raise_until_the_end;
    if (death_begins(&d)) {
        (void)run_alone();
        death_missed();
    }
    death_check_words(&d, "shard 0", "a callback that never returns", "the third signal");
}

static void raise_thrice(xev_shard *self) {
    for (int i = 0; i < 3; i++) {
        raise_term(self);
        usleep(130000); /* what comes within 100 ms is one */
    }
}

TEST(it_may_be_told_to_wait_for_ever) {
    sc.o.stuck_ms = UINT32_MAX;
    sc.body = raise_thrice;
    CHECK_EQ(run_alone(), XEV_EINTR);
    CHECK_EQ(logged(DEINIT), 1);
}

/* Sends a signal, or stops, when the shard sleeps, or is about to. */
static void *send_signal(void *arg) {
    usleep((useconds_t)(uintptr_t)arg);
    CHECK_EQ(kill(getpid(), SIGHUP), 0);
    return NULL;
}

static void *stop_later(void *arg) {
    usleep((useconds_t)(uintptr_t)arg);
    xev_runtime_stop(&sc.rt);
    return NULL;
}

static pthread_t other;
static void *(*other_does)(void *);
static uint32_t delay_us;

static int start_other(xev_shard *self) {
    (void)self;
    other = thread_start(other_does, (void *)(uintptr_t)delay_us);
    return 0;
}

TEST(another_thread_ends_it_at_any_moment) {
    void *(*const ways[])(void *) = {send_signal, stop_later};
    /* ThreadSanitizer has a handler run in a call that it knows to wait, and neither that of a ring
     * nor epoll_pwait2 is one. */
    bool signals = test_slowdown() == 1;
    sc.init = start_other;
    for (uint32_t i = 0; i < rounds(400); i++) {
        other_does = ways[signals ? i % 2 : 1];
        delay_us = i * 2;
        CHECK_EQ(run_alone(), 0);
        thread_join(other);
        CHECK_EQ(logged(DEINIT), 1);
    }
}

/* ---- the drain ---- */

static struct op busy;

static int start_busy(xev_shard *self) {
    memset(&busy, 0, sizeof busy);
    op_timer(self, &busy, HOUR_MS);
    return 0;
}

TEST(the_drain_ends_at_its_deadline) {
    sc.init = start_busy;
    sc.body = stop_all;
    sc.o.drain_ms = 20;
    CHECK_EQ(run_alone(), XEV_ETIMEDOUT);
    check_op(&busy, XEV_ECANCELED);
}

static struct op again;

static xev_cb_action stop_again(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    CHECK_EQ(result, 0);
    xev_runtime_stop(&sc.rt);
    return XEV_DISARM;
}

static void stop_in_a_moment(xev_shard *self) {
    xev_timer_run(NULL, xev_shard_loop(self), &again.c, 20, &again, stop_again);
}

TEST(a_second_stop_cuts_the_drain_short) {
    sc.init = start_busy;
    sc.body = stop_all;
    sc.drain = stop_in_a_moment;
    CHECK_EQ(run_alone(), XEV_EINTR);
    check_op(&busy, XEV_ECANCELED);
}

static int start_short(xev_shard *self) {
    memset(&busy, 0, sizeof busy);
    op_timer(self, &busy, 50);
    return 0;
}

TEST(the_drain_waits_for_what_is_under_way) {
    sc.init = start_short;
    sc.body = stop_all;
    CHECK_EQ(run_alone(), 0);
    check_op(&busy, 0);
}

/* ---- messages of other threads, and work ---- */

enum { MESSAGES = 1000 };
static xev_message messages[MESSAGES];
static uint32_t handled;

static void on_message(xev_shard *self, xev_message *message, void *arg) {
    CHECK(xev_shard_current() == self && message == &messages[handled] && arg == NULL);
    handled++;
    if (handled == MESSAGES) {
        stop_all(self);
    }
}

static void *send_all(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        int rc;
        while ((rc = xev_shard_send(xev_runtime_shard(&sc.rt, 0), &messages[i], on_message,
                                    NULL)) == XEV_EAGAIN) {
            sched_yield();
        }
        CHECK_EQ(rc, 0);
    }
    return NULL;
}

TEST(other_threads_send_it_messages) {
    sc.o.mailbox = 16;
    sc.init = start_other;
    other_does = send_all;
    CHECK_EQ(run_alone(), 0);
    thread_join(other);
    CHECK_EQ(handled, MESSAGES);
}

static struct op work_op;

static int work(void *userdata) {
    CHECK(userdata == &work_op);
    return pthread_equal(pthread_self(), caller) ? XEV_EINVAL : 7;
}

static xev_cb_action on_worked(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    CHECK(pthread_equal(pthread_self(), caller));
    xev_runtime_stop(&sc.rt);
    return op_cb(loop, c, result, userdata);
}

static void start_work(xev_shard *self) {
    xev_work_submit(xev_shard_loop(self), &work_op.c, XEV_LANE_CPU, work, &work_op, on_worked);
}

TEST(the_pool_has_threads_when_it_is_used) {
    sc.body = start_work;
    CHECK_EQ(run_alone(), 0);
    check_op(&work_op, 7);
}

/* ---- a start that fails ---- */

static int fail(xev_shard *self) {
    (void)self;
    return XEV_ENOMEM;
}

TEST(an_init_that_fails_is_reported) {
    sc.init = fail;
    CHECK_EQ(run_alone(), XEV_ENOMEM);
    sc.init = check_init;
    sc.body = check_and_stop;
    CHECK_EQ(run_alone(), 0);
}
