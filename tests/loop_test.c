/* The loop: run modes, stop, time, references, threads. Hooks are in hook_test.c, its end is in
 * teardown_test.c, states of completions, misuse and options are in contract_test.c. */
#include "tests/loop_scene.h"

#include <sys/time.h>

static const xev_run_mode_t modes[] = {XEV_RUN_NO_WAIT, XEV_RUN_ONCE, XEV_RUN_UNTIL_DONE};

/* --- run --- */

TEST(run_of_an_empty_loop_returns_at_once) {
    xev_loop loop;
    loop_start(&loop);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 3; i++) {
            CHECK_EQ(xev_loop_run(&loop, modes[i]), 0);
        }
    }
    xev_loop_deinit(&loop);
}

TEST(until_done_ends_when_the_last_completion_disarms) {
    xev_loop loop;
    loop_start(&loop);
    struct op a = {.rearm = 4}, b = {0};
    xev_timer_run(NULL, &loop, &a.c, 1, &a, op_cb);
    xev_timer_run(NULL, &loop, &b.c, 2, &b, op_cb);
    CHECK_EQ(xev_loop_active(&loop), 2);
    run_done(&loop);
    CHECK_EQ(a.calls, 5);
    CHECK_EQ(b.calls, 1);
    CHECK_EQ(xev_loop_active(&loop), 0);
    xev_loop_deinit(&loop);
}

TEST(no_wait_does_not_block) {
    xev_loop loop;
    loop_start(&loop);
    xev_watcher w;
    xev_tcp pair[2];
    char byte;
    struct op timer = {0}, wait = {0}, recv = {0};
    CHECK_EQ(xev_async_init(&w), 0);
    socket_pair(pair);
    xev_timer_run(NULL, &loop, &timer.c, HOUR_MS, &timer, op_cb);
    xev_async_wait(&w, &loop, &wait.c, &wait, op_cb);
    xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
    for (int i = 0; i < 100; i++) {
        run_no_wait(&loop);
    }
    CHECK_EQ(timer.calls + wait.calls + recv.calls, 0);
    CHECK_EQ(xev_loop_active(&loop), 3);
    xev_loop_deinit(&loop);
    CHECK_EQ(timer.result, XEV_ECANCELED);
    CHECK_EQ(wait.result, XEV_ECANCELED);
    CHECK_EQ(recv.result, XEV_ECANCELED);
}

TEST(no_wait_reaps_what_is_ready_before_submission) {
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    put_bytes(pair[1], "xy", 2);
    char buf[8];
    struct op recv = {0};
    xev_tcp_recv(pair[0], &loop, &recv.c, buf, sizeof buf, &recv, op_cb);
    CHECK_EQ(recv.calls, 0);
    run_no_wait(&loop);
    CHECK_EQ(recv.calls, 1);
    CHECK_EQ(recv.result, 2);
    CHECK_MEM_EQ(buf, "xy", 2);
    xev_loop_deinit(&loop);
}

TEST(no_wait_reaps_what_became_ready_since) {
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    for (int i = 0; i < 100; i++) {
        char byte = 0;
        struct op recv = {0};
        xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
        run_no_wait(&loop);
        CHECK_EQ(recv.calls, 0);
        put_bytes(pair[1], "z", 1);
        run_no_wait(&loop);
        CHECK_EQ(recv.calls, 1);
        CHECK_EQ(recv.result, 1);
        CHECK_EQ(byte, 'z');
    }
    xev_loop_deinit(&loop);
}

TEST(no_wait_runs_timers_that_are_due) {
    xev_loop loop;
    loop_start(&loop);
    struct op timer = {0};
    xev_timer_run_ns(NULL, &loop, &timer.c, 1, &timer, op_cb);
    sleep_ms(1);
    run_no_wait(&loop);
    CHECK_EQ(timer.calls, 1);
    xev_loop_deinit(&loop);
}

TEST(once_runs_at_least_one_callback) {
    xev_loop loop;
    loop_start(&loop);
    struct op a = {0}, b = {0};
    xev_timer_run(NULL, &loop, &a.c, 5, &a, op_cb);
    xev_timer_run(NULL, &loop, &b.c, HOUR_MS, &b, op_cb);
    run_once(&loop);
    CHECK_EQ(a.calls, 1);
    CHECK_EQ(b.calls, 0);
    xev_loop_deinit(&loop);
}

/* The turn that only takes a notification nobody waits for is not what once is after. */
TEST(once_does_not_return_for_a_wake_without_a_callback) {
    xev_loop loop;
    loop_start(&loop);
    xev_watcher w;
    CHECK_EQ(xev_async_init(&w), 0);
    struct op wait = {0}, timer = {0};
    xev_async_wait(&w, &loop, &wait.c, &wait, op_cb);
    xev_async_notify(&w);
    run_once(&loop);
    CHECK_EQ(wait.calls, 1);
    xev_timer_run(NULL, &loop, &timer.c, 20, &timer, op_cb);
    xev_async_notify(&w);
    run_once(&loop);
    CHECK_EQ(wait.calls, 1);
    CHECK_EQ(timer.calls, 1);
    xev_loop_deinit(&loop);
}

TEST(once_returns_when_nothing_is_active_any_more) {
    xev_loop loop;
    loop_start(&loop);
    struct op a = {0};
    xev_timer_run(NULL, &loop, &a.c, 0, &a, op_cb);
    run_once(&loop);
    CHECK_EQ(a.calls, 1);
    run_once(&loop);
    xev_loop_deinit(&loop);
}

struct nested {
    uint32_t calls;
    int codes[3];
};

static xev_cb_action nested_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct nested *n = userdata;
    (void)c;
    (void)result;
    n->calls++;
    for (size_t i = 0; i < 3; i++) {
        n->codes[i] = xev_loop_run(loop, modes[i]);
    }
    return XEV_DISARM;
}

TEST(nested_run_is_refused_in_every_mode) {
    for (size_t m = 0; m < 3; m++) {
        xev_loop loop;
        loop_start(&loop);
        struct nested n = {0};
        xev_completion c = {0};
        xev_timer_run(NULL, &loop, &c, 0, &n, nested_cb);
        while (n.calls == 0) {
            CHECK_EQ(xev_loop_run(&loop, modes[m]), 0);
        }
        for (size_t i = 0; i < 3; i++) {
            CHECK_EQ(n.codes[i], XEV_EBUSY);
        }
        xev_loop_deinit(&loop);
    }
}

TEST(run_from_a_callback_of_deinit_is_refused) {
    xev_loop loop;
    loop_start(&loop);
    struct nested n = {0};
    xev_completion c = {0};
    xev_timer_run(NULL, &loop, &c, HOUR_MS, &n, nested_cb);
    xev_loop_deinit(&loop);
    CHECK_EQ(n.calls, 1);
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(n.codes[i], XEV_EBUSY);
    }
}

TEST(spinning_before_sleep_finds_the_same) {
    xev_loop loop;
    xev_loop_options options = {.spin_ns = 2 * MS_NS};
    loop_start_options(&loop, &options);
    xev_tcp pair[2];
    socket_pair(pair);
    char byte;
    struct op timer = {.rearm = 20}, recv = {0}, later = {0};
    xev_timer_run(NULL, &loop, &timer.c, 1, &timer, op_cb);
    xev_timer_run(NULL, &loop, &later.c, 10, &later, op_cb);
    xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
    run_for(&loop, &later, 1);
    CHECK_EQ(recv.calls, 0);
    put_bytes(pair[1], "a", 1);
    run_done(&loop);
    CHECK_EQ(recv.result, 1);
    CHECK_EQ(timer.calls, 21);
    xev_loop_deinit(&loop);
}

TEST(one_memory_holds_one_loop_after_another) {
    xev_loop loop;
    uint32_t before = descriptors();
    for (uint32_t i = 0; i < rounds(200); i++) {
        loop_start(&loop);
        CHECK(loop.userdata == NULL);
        struct op a = {0};
        xev_timer_run(NULL, &loop, &a.c, 0, &a, op_cb);
        if (i % 2 == 0) {
            run_done(&loop);
        }
        xev_loop_deinit(&loop);
        CHECK_EQ(a.calls, 1);
        CHECK_EQ(a.result, i % 2 == 0 ? 0 : XEV_ECANCELED);
        CHECK_EQ(descriptors(), before);
    }
}

/* --- stop --- */

static xev_cb_action stop_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)op_cb(loop, c, result, userdata);
    xev_loop_stop(loop);
    return XEV_DISARM;
}

TEST(stop_from_a_callback_ends_the_run) {
    xev_loop loop;
    loop_start(&loop);
    struct op stopper = {0}, later = {0};
    xev_timer_run(NULL, &loop, &stopper.c, 1, &stopper, stop_cb);
    xev_timer_run(NULL, &loop, &later.c, HOUR_MS, &later, op_cb);
    run_done(&loop);
    CHECK_EQ(stopper.calls, 1);
    CHECK_EQ(later.calls, 0);
    CHECK(is_active(&later));
    xev_timer_reset(NULL, &loop, &later.c, NULL, 1, &later, op_cb);
    run_done(&loop);
    CHECK_EQ(later.calls, 1);
    CHECK_EQ(later.result, 0);
    xev_loop_deinit(&loop);
}

TEST(stop_from_a_callback_lets_the_turn_finish) {
    xev_loop loop;
    loop_start(&loop);
    xev_watcher w[3];
    struct op wait[3] = {0};
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(xev_async_init(&w[i]), 0);
        xev_async_wait(&w[i], &loop, &wait[i].c, &wait[i], i == 0 ? stop_cb : op_cb);
    }
    for (int i = 0; i < 3; i++) {
        xev_async_notify(&w[i]);
    }
    run_done(&loop);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(wait[i].calls, 1);
    }
    xev_loop_deinit(&loop);
}

/* The stop belongs to the run it was called in, whatever ended that run. */
TEST(stop_from_a_callback_does_not_reach_into_the_next_run) {
    for (size_t first = 0; first < 3; first++) {
        for (size_t second = 0; second < 3; second++) {
            xev_loop loop;
            loop_start(&loop);
            struct op stopper = {0};
            xev_timer_run(NULL, &loop, &stopper.c, 0, &stopper, stop_cb);
            while (stopper.calls == 0) {
                CHECK_EQ(xev_loop_run(&loop, modes[first]), 0);
            }
            xev_watcher w;
            struct op wait = {0};
            CHECK_EQ(xev_async_init(&w), 0);
            xev_async_wait(&w, &loop, &wait.c, &wait, op_cb);
            xev_async_notify(&w);
            CHECK_EQ(xev_loop_run(&loop, modes[second]), 0);
            CHECK_EQ(wait.calls, 1);
            xev_loop_deinit(&loop);
        }
    }
}

TEST(stop_before_run_ends_the_next_run_before_its_first_turn) {
    for (size_t i = 0; i < 3; i++) {
        xev_loop loop;
        loop_start(&loop);
        struct op a = {0};
        xev_timer_run(NULL, &loop, &a.c, 0, &a, op_cb);
        sleep_ms(1);
        xev_loop_stop(&loop);
        xev_loop_stop(&loop);
        CHECK_EQ(xev_loop_run(&loop, modes[i]), 0);
        CHECK_EQ(a.calls, 0);
        CHECK(is_active(&a));
        CHECK_EQ(xev_loop_run(&loop, modes[i]), 0);
        CHECK_EQ(a.calls, 1);
        xev_loop_deinit(&loop);
    }
}

struct stopper {
    xev_loop *loop;
    sem_t go;
    uint32_t n;
};

static void *stopper_main(void *arg) {
    struct stopper *s = arg;
    for (uint32_t i = 0; i < s->n; i++) {
        sem_take(&s->go);
        if (i % 3 == 1) {
            sched_yield();
        } else if (i % 3 == 2) {
            usleep(50); /* so that the loop is asleep by now, more often than not */
        }
        xev_loop_stop(s->loop);
    }
    return NULL;
}

TEST_TIMEOUT(stop_from_another_thread_wakes_a_blocked_loop, 60) {
    xev_loop loop;
    loop_start(&loop);
    struct stopper s = {.loop = &loop, .n = rounds(20000)};
    CHECK_EQ(sem_init(&s.go, 0, 0), 0);
    xev_watcher w;
    struct op wait = {0}, timer = {0};
    CHECK_EQ(xev_async_init(&w), 0);
    xev_async_wait(&w, &loop, &wait.c, &wait, op_cb);
    xev_timer_run(NULL, &loop, &timer.c, HOUR_MS, &timer, op_cb);
    pthread_t t;
    thread_start(&t, stopper_main, &s);
    for (uint32_t i = 0; i < s.n; i++) {
        sem_post(&s.go);
        CHECK_EQ(xev_loop_run(&loop, i % 2 == 0 ? XEV_RUN_UNTIL_DONE : XEV_RUN_ONCE), 0);
    }
    thread_join(t);
    CHECK_EQ(wait.calls + timer.calls, 0);
    xev_loop_deinit(&loop);
}

static void *stop_once_main(void *arg) {
    xev_loop_stop(arg);
    return NULL;
}

TEST_TIMEOUT(loop_may_end_as_soon_as_a_stop_is_seen, 60) {
    for (uint32_t i = 0; i < rounds(1000); i++) {
        xev_loop *loop = malloc(sizeof *loop);
        loop_start(loop);
        struct op timer = {0};
        xev_timer_run(NULL, loop, &timer.c, HOUR_MS, &timer, op_cb);
        pthread_t t;
        thread_start(&t, stop_once_main, loop);
        run_done(loop);
        xev_loop_deinit(loop);
        memset(loop, 0xa5, sizeof *loop);
        free(loop);
        CHECK_EQ(timer.result, XEV_ECANCELED);
        thread_join(t);
    }
}

/* --- time --- */

static xev_cb_action now_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    uint64_t *last = userdata;
    (void)c;
    (void)result;
    uint64_t now = xev_loop_now_ns(loop);
    CHECK_GE(now, *last);
    CHECK_LE(now, clock_ns());
    CHECK_EQ(xev_loop_now(loop), now / MS_NS);
    *last = now;
    return XEV_REARM;
}

TEST(now_is_monotonic_and_above_zero_and_agrees_with_ns) {
    xev_loop loop;
    loop_start(&loop);
    uint64_t last = xev_loop_now_ns(&loop);
    CHECK_GT(xev_loop_now(&loop), 0);
    CHECK_EQ(xev_loop_now(&loop), last / MS_NS);
    CHECK_LE(last, clock_ns());
    xev_completion c = {0};
    struct op end = {0};
    uint64_t start = clock_ns();
    xev_timer_run_ns(NULL, &loop, &c, 100 * 1000, &last, now_cb);
    xev_timer_run(NULL, &loop, &end.c, 20, &end, op_cb);
    run_for(&loop, &end, 1);
    CHECK_GE(xev_loop_now_ns(&loop), start + 20 * MS_NS);
    xev_loop_deinit(&loop);
}

TEST(now_stands_still_until_a_turn_or_an_update) {
    xev_loop loop;
    loop_start(&loop);
    uint64_t before = xev_loop_now_ns(&loop);
    sleep_ms(3);
    CHECK_EQ(xev_loop_now_ns(&loop), before);
    uint64_t clock = clock_ns();
    xev_loop_update_now(&loop);
    CHECK_GE(xev_loop_now_ns(&loop), clock);
    CHECK_GE(xev_loop_now_ns(&loop), before + 3 * MS_NS);
    xev_loop_deinit(&loop);
}

/* --- ref and unref --- */

TEST(alive_says_whether_until_done_would_go_on) {
    xev_loop loop;
    loop_start(&loop);
    struct op a = {0}, b = {0};
    CHECK(!xev_loop_alive(&loop));
    xev_timer_run(NULL, &loop, &a.c, 1, &a, op_cb);
    xev_timer_run(NULL, &loop, &b.c, HOUR_MS, &b, op_cb);
    CHECK(xev_loop_alive(&loop));
    xev_completion_unref(&b.c);
    CHECK(xev_loop_alive(&loop));
    run_done(&loop);
    CHECK(!xev_loop_alive(&loop)); /* b is active */
    CHECK_EQ(xev_loop_active(&loop), 1);
    xev_completion_ref(&b.c);
    CHECK(xev_loop_alive(&loop));
    xev_loop_deinit(&loop);
}

TEST(unreferenced_completions_do_not_keep_the_loop_going) {
    xev_loop loop;
    loop_start(&loop);
    xev_watcher w;
    CHECK_EQ(xev_async_init(&w), 0);
    struct op timer = {0}, wait = {0}, a = {0};
    xev_timer_run(NULL, &loop, &timer.c, HOUR_MS, &timer, op_cb);
    xev_async_wait(&w, &loop, &wait.c, &wait, op_cb);
    xev_completion_unref(&timer.c);
    xev_completion_unref(&timer.c);
    xev_completion_unref(&wait.c);
    run_done(&loop);
    run_once(&loop);
    xev_timer_run(NULL, &loop, &a.c, 1, &a, op_cb);
    run_done(&loop);
    CHECK_EQ(a.calls, 1);
    CHECK_EQ(xev_loop_active(&loop), 2);
    CHECK_EQ(timer.calls + wait.calls, 0);
    xev_loop_deinit(&loop);
    CHECK_EQ(timer.result, XEV_ECANCELED);
    CHECK_EQ(wait.result, XEV_ECANCELED);
}

TEST(unreferenced_completions_still_get_their_callbacks) {
    xev_loop loop;
    loop_start(&loop);
    struct op a = {0}, b = {0}, c = {0};
    xev_timer_run(NULL, &loop, &a.c, 1, &a, op_cb);
    xev_timer_run(NULL, &loop, &b.c, 10, &b, op_cb);
    xev_completion_unref(&a.c);
    run_done(&loop);
    CHECK_EQ(a.calls, 1);
    CHECK_EQ(b.calls, 1);
    xev_timer_run(NULL, &loop, &c.c, 0, &c, op_cb);
    xev_completion_unref(&c.c);
    while (c.calls == 0) {
        run_no_wait(&loop);
    }
    xev_loop_deinit(&loop);
}

TEST(ref_takes_unref_back_and_each_submission_starts_referenced) {
    xev_loop loop;
    loop_start(&loop);
    struct op a = {0}, cancel = {0};
    xev_timer_run(NULL, &loop, &a.c, 5, &a, op_cb);
    xev_completion_ref(&a.c);
    xev_completion_unref(&a.c);
    xev_completion_ref(&a.c);
    xev_completion_ref(&a.c);
    run_done(&loop);
    CHECK_EQ(a.calls, 1);
    xev_timer_run(NULL, &loop, &a.c, HOUR_MS, &a, op_cb);
    xev_completion_unref(&a.c);
    run_done(&loop);
    CHECK_EQ(a.calls, 1);
    xev_timer_cancel(NULL, &loop, &a.c, &cancel.c, &cancel, op_cb);
    run_done(&loop);
    CHECK_EQ(a.calls, 2);
    xev_timer_run(NULL, &loop, &a.c, 5, &a, op_cb);
    run_done(&loop);
    CHECK_EQ(a.calls, 3);
    xev_loop_deinit(&loop);
}

/* --- threads --- */

static void *runner_main(void *arg) {
    xev_loop *loop = arg;
    run_done(loop);
    xev_loop_deinit(loop);
    return NULL;
}

TEST(loop_initialised_on_one_thread_runs_on_another) {
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    char byte;
    struct op timer = {0}, recv = {0};
    xev_timer_run(NULL, &loop, &timer.c, 1, &timer, op_cb);
    xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
    put_bytes(pair[1], "q", 1);
    pthread_t t;
    thread_start(&t, runner_main, &loop);
    thread_join(t);
    CHECK_EQ(timer.result, 0);
    CHECK_EQ(timer.calls, 1);
    CHECK_EQ(recv.result, 1);
    CHECK_EQ(byte, 'q');
}

struct half {
    xev_loop loop;
    xev_tcp tcp;
    char in, out;
    struct op recv, send, timer;
    uint32_t n;
};

static xev_cb_action half_recv_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct half *h = (struct half *)(void *)((char *)userdata - offsetof(struct half, recv));
    CHECK(loop == &h->loop);
    (void)op_cb(loop, c, result, &h->recv);
    CHECK_EQ(result, 1);
    if (h->recv.calls == h->n) {
        return XEV_DISARM;
    }
    /* The answer to the last one shows that it was taken; its callback may be still to come. */
    if (!is_active(&h->send)) {
        xev_tcp_send(h->tcp, loop, &h->send.c, &h->out, 1, &h->send, op_cb);
    } else {
        put_bytes(h->tcp, &h->out, 1);
    }
    return XEV_REARM;
}

static void *half_main(void *arg) {
    struct half *h = arg;
    loop_start(&h->loop);
    xev_tcp_recv(h->tcp, &h->loop, &h->recv.c, &h->in, 1, &h->recv, half_recv_cb);
    xev_timer_run(NULL, &h->loop, &h->timer.c, 1, &h->timer, op_cb);
    run_done(&h->loop);
    xev_loop_deinit(&h->loop);
    return NULL;
}

TEST(two_loops_in_two_threads_do_not_disturb_each_other) {
    static struct half a, b;
    xev_tcp pair[2];
    socket_pair(pair);
    a.tcp = pair[0];
    b.tcp = pair[1];
    a.n = b.n = rounds(10000);
    put_bytes(pair[1], "x", 1); /* to a */
    pthread_t t[2];
    thread_start(&t[0], half_main, &a);
    thread_start(&t[1], half_main, &b);
    thread_join(t[0]);
    /* a answers all but the last, so b lacks one. */
    put_bytes(pair[0], "y", 1);
    thread_join(t[1]);
    CHECK_EQ(a.recv.calls, a.n);
    CHECK_EQ(b.recv.calls, b.n);
    CHECK_EQ(a.timer.calls, 1);
    CHECK_EQ(b.timer.calls, 1);
}

/* --- signals of the program's own --- */

static atomic_uint signals;

static void count_signal(int number) {
    (void)number;
    atomic_fetch_add(&signals, 1);
}

TEST(signals_do_not_disturb_a_run) {
    xev_loop loop;
    loop_start(&loop);
    struct sigaction action = {.sa_handler = count_signal}; /* no SA_RESTART */
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    struct itimerval every = {{0, 500}, {0, 500}};
    CHECK_EQ(setitimer(ITIMER_REAL, &every, NULL), 0);
    xev_tcp pair[2];
    socket_pair(pair);
    char byte;
    struct op recv = {0}, timer = {.rearm = 100}, send = {0};
    xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
    xev_timer_run(NULL, &loop, &timer.c, 1, &timer, op_cb);
    while (timer.calls < 101 || atomic_load(&signals) < 50) {
        CHECK_EQ(recv.calls, 0);
        if (timer.calls < 101) {
            run_once(&loop);
        } else {
            run_no_wait(&loop);
        }
    }
    xev_tcp_send(pair[1], &loop, &send.c, "s", 1, &send, op_cb);
    run_done(&loop);
    CHECK_EQ(recv.result, 1);
    CHECK_EQ(send.result, 1);
    xev_loop_deinit(&loop);
    every = (struct itimerval){0};
    CHECK_EQ(setitimer(ITIMER_REAL, &every, NULL), 0);
}
