/* Timers. No test has an upper limit on a time, since a machine may stop for a while. */
#include "tests/loop_scene.h"

static xev_loop loop;

static void arm(struct op *o, uint64_t ms) { xev_timer_run(NULL, &loop, &o->c, ms, o, op_cb); }

static xev_cb_action repeat_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    (void)op_cb(l, c, result, userdata);
    return XEV_REARM;
}

/* --- one timer --- */

TEST(timer_fires_once_and_not_early) {
    loop_start(&loop);
    static const uint64_t timeouts_ns[] = {0, 1, 999, 1000, 999999, 1000001, 5 * 1000 * 1000};
    for (size_t i = 0; i < sizeof timeouts_ns / sizeof timeouts_ns[0]; i++) {
        struct op o = {0};
        uint64_t start = clock_ns();
        xev_timer_run_ns(NULL, &loop, &o.c, timeouts_ns[i], &o, op_cb);
        run_done(&loop);
        CHECK_GE(clock_ns() - start, timeouts_ns[i]);
        CHECK_GE(xev_loop_now_ns(&loop) - start, timeouts_ns[i]);
        CHECK_EQ(o.calls, 1);
        CHECK_EQ(o.result, 0);
    }
    xev_loop_deinit(&loop);
}

TEST(timer_in_ms_is_not_early) {
    loop_start(&loop);
    xev_watcher w;
    CHECK_EQ(xev_timer_init(&w), 0);
    for (uint64_t ms = 0; ms < 8; ms++) {
        struct op o = {0};
        uint64_t start = clock_ns();
        xev_timer_run(&w, &loop, &o.c, ms, &o, op_cb);
        run_done(&loop);
        CHECK_GE(clock_ns() - start, ms * MS_NS);
    }
    xev_timer_deinit(&w);
    xev_loop_deinit(&loop);
}

struct late {
    struct op first, second;
    uint64_t armed_at;
};

static xev_cb_action sleepy_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct late *late = userdata;
    (void)op_cb(l, c, result, &late->first);
    sleep_ms(50); /* the loop's time is old now */
    late->armed_at = clock_ns();
    xev_timer_run(NULL, l, &late->second.c, 20, &late->second, op_cb);
    return XEV_DISARM;
}

TEST(timer_armed_after_a_long_callback_is_not_early) {
    loop_start(&loop);
    struct late late = {0};
    xev_timer_run(NULL, &loop, &late.first.c, 0, &late, sleepy_cb);
    run_done(&loop);
    CHECK_EQ(late.second.calls, 1);
    CHECK_GE(clock_ns() - late.armed_at, 20 * MS_NS);
    xev_loop_deinit(&loop);
}

TEST(timer_armed_long_before_the_first_run_is_not_early) {
    loop_start(&loop);
    sleep_ms(30);
    struct op o = {0};
    uint64_t start = clock_ns();
    arm(&o, 20);
    run_done(&loop);
    CHECK_GE(clock_ns() - start, 20 * MS_NS);
    xev_loop_deinit(&loop);
}

/* --- order --- */

TEST(equal_timeouts_fire_in_arming_order) {
    enum { N = 2000 };
    static struct op o[N];
    loop_start(&loop);
    for (uint64_t timeout = 0; timeout < 3; timeout++) {
        memset(o, 0, sizeof o);
        for (int i = 0; i < N; i++) {
            arm(&o[i], timeout);
        }
        run_done(&loop);
        for (int i = 0; i < N; i++) {
            CHECK_EQ(o[i].calls, 1);
            CHECK(i == 0 || o[i].order == o[i - 1].order + 1);
        }
    }
    xev_loop_deinit(&loop);
}

/* Those of one deadline, exactly: the clock gave two arms the same ns now and then, and all that is
 * clamped is at 2^64 - 1. */
TEST(equal_deadlines_are_cancelled_and_reset_without_harm) {
    enum { N = 1000 };
    static struct op o[N], cancel[N];
    loop_start(&loop);
    for (int i = 0; i < N; i++) {
        xev_timer_run_ns(NULL, &loop, &o[i].c, UINT64_MAX, &o[i], op_cb);
    }
    for (int i = 0; i < N; i += 2) {
        xev_cancel(&loop, &o[i].c, &cancel[i].c, &cancel[i], op_cb);
    }
    for (int i = N - 1; i >= 0; i -= 2) {
        xev_timer_reset(NULL, &loop, &o[i].c, NULL, 1, &o[i], op_cb);
    }
    run_done(&loop);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(o[i].calls, 1);
        CHECK_EQ(o[i].result, i % 2 == 0 ? XEV_ECANCELED : 0);
        CHECK(i % 2 == 0 || i == 1 || o[i].order < o[i - 2].order);
    }
    xev_loop_deinit(&loop);
}

/* Of one deadline to the ns. The loop's time is put ahead of the clock, and nothing is armed for
 * before that, so all of them are for the ns after it. A reset arms anew. */
TEST(timers_of_one_deadline_fire_in_arming_order) {
    enum { N = 3000 };
    static struct op o[N], cancel[N];
    loop_start(&loop);
    loop.now_ns += 200 * MS_NS; /* private: the clock does not give one ns to many arms */
    for (int i = 0; i < N; i++) {
        xev_timer_run_ns(NULL, &loop, &o[i].c, 0, &o[i], op_cb);
    }
    CHECK_EQ(o[0].c.deadline_ns, loop.now_ns + 1); /* private */
    for (int i = 0; i < N; i++) {
        if (i % 5 == 0) {
            xev_cancel(&loop, &o[i].c, &cancel[i].c, &cancel[i], op_cb);
        } else if (i % 7 == 0) {
            xev_timer_reset(NULL, &loop, &o[i].c, NULL, 0, &o[i], op_cb);
        }
    }
    run_done(&loop);
    uint32_t last = 0;
    for (int pass = 0; pass < 2; pass++) { /* as they were armed, then the reset ones */
        for (int i = 0; i < N; i++) {
            CHECK_EQ(o[i].calls, 1);
            CHECK_EQ(o[i].result, i % 5 == 0 ? XEV_ECANCELED : 0);
            if (i % 5 != 0 && (i % 7 == 0) == (pass == 1)) {
                CHECK_LT(last, o[i].order);
                last = o[i].order;
            }
        }
    }
    xev_loop_deinit(&loop);
}

struct sample {
    xev_completion c;
    uint64_t not_before, not_after; /* what its deadline lies between */
    struct sampler *all;
};

struct sampler {
    uint32_t fired;
    uint64_t latest; /* of the fired ones' earliest possible deadlines */
};

static xev_cb_action sample_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct sample *s = userdata;
    (void)c;
    CHECK_EQ(result, 0);
    CHECK_LE(s->not_before, xev_loop_now_ns(l));
    /* One that surely was due earlier has not waited until now. */
    CHECK_GE(s->not_after, s->all->latest);
    if (s->not_before > s->all->latest) {
        s->all->latest = s->not_before;
    }
    s->all->fired++;
    return XEV_DISARM;
}

TEST_TIMEOUT(a_million_random_deadlines_come_out_sorted, 120) {
    uint32_t n = rounds(1000 * 1000);
    struct sample *s = calloc(n, sizeof *s);
    CHECK(s != NULL);
    struct sampler all = {0};
    uint64_t seed = clock_ns() | 1;
    printf("seed %llu\n", (unsigned long long)seed);
    loop_start(&loop);
    for (uint32_t i = 0; i < n; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        uint64_t timeout = seed % (1500 * MS_NS);
        if (i % 4 == 0) {
            timeout -= timeout % (10 * MS_NS); /* runs of near equals */
        }
        s[i].all = &all;
        s[i].not_before = clock_ns() + timeout;
        xev_timer_run_ns(NULL, &loop, &s[i].c, timeout, &s[i], sample_cb);
        s[i].not_after = clock_ns() + timeout;
    }
    run_done(&loop);
    CHECK_EQ(all.fired, n);
    xev_loop_deinit(&loop);
    free(s);
}

/* Arms, cancels and resets at random, against a plain array. */
TEST_TIMEOUT(random_arms_cancels_and_resets_lose_no_timer, 60) {
    enum { N = 500 };
    static struct op o[N], cancel[N];
    static uint32_t fired[N], cancelled[N];
    uint64_t seed = clock_ns() | 1;
    printf("seed %llu\n", (unsigned long long)seed);
    loop_start(&loop);
    uint32_t armed = 0, done = 0;
    for (uint32_t i = 0; i < rounds(200000); i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        uint32_t k = (uint32_t)(seed >> 32) % N;
        uint64_t timeout = (seed & 0xffff) * 50;
        if (!is_active(&o[k])) {
            xev_timer_run_ns(NULL, &loop, &o[k].c, timeout, &o[k], op_cb);
            armed++;
        } else if (seed % 3 == 0 && !is_active(&cancel[k])) {
            xev_cancel(&loop, &o[k].c, &cancel[k].c, &cancel[k], op_cb);
            cancelled[k]++;
        } else if (seed % 3 == 1) {
            xev_timer_reset(NULL, &loop, &o[k].c, NULL, timeout / 1000000, &o[k], op_cb);
        }
        if (i % 64 == 0) {
            run_no_wait(&loop);
        }
    }
    run_done(&loop);
    (void)fired;
    for (int k = 0; k < N; k++) {
        done += o[k].calls;
        CHECK_EQ(cancel[k].calls, cancelled[k]);
    }
    CHECK_EQ(done, armed);
    xev_loop_deinit(&loop);
}

/* The order of arming is counted in 32 bits, and a server arms more than that in an hour. */
/* What the removal of c goes through. Private: the alternative is to measure time. */
static uint32_t children(const xev_completion *c) {
    uint32_t n = 0;
    for (const xev_completion *k = c->heap.child; k != NULL && k != c; k = k->heap.next) {
        n++;
    }
    return n;
}

static uint32_t most_children(const struct op *o, uint32_t n) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool active = o[i].c.callback != NULL && o[i].terminal == 0;
        uint32_t of_this = active ? children(&o[i].c) : 0;
        most = of_this > most ? of_this : most;
    }
    return most;
}

enum order { RISING, FALLING, RANDOM, WITH_SHORT_ONES, ORDERS };

static uint64_t delay_ms(enum order order, uint32_t i, uint32_t n) {
    switch (order) {
    case RISING:
        return HOUR_MS + i;
    case FALLING:
        return HOUR_MS + n - i;
    case RANDOM:
        return HOUR_MS + (uint32_t)rand() % n;
    default:
        return i % 2 == 0 ? HOUR_MS / 2 + i : 0; /* the even ones stay, the odd ones fire */
    }
}

/* Else a loop that has armed a million would stand still for 100 ms when the first one fires. */
TEST_TIMEOUT(no_timer_has_to_be_paid_for_by_the_removal_of_another, 60) {
    enum { LIMIT = 400 }; /* the square of the number of ranks in use; and not n */
    uint32_t n = rounds(200000);
    struct op *o = calloc(n, sizeof *o), *by = calloc(n, sizeof *by);
    CHECK(o != NULL && by != NULL);
    for (enum order order = RISING; order < ORDERS; order++) {
        memset(o, 0, n * sizeof *o);
        memset(by, 0, n * sizeof *by);
        loop_start(&loop);
        for (uint32_t i = 0; i < n; i++) {
            arm(&o[i], delay_ms(order, i, n));
            if (order == WITH_SHORT_ONES && i % 16 == 15) {
                CHECK_EQ(xev_loop_run(&loop, XEV_RUN_NO_WAIT), 0); /* the scene's looks at all */
            }
        }
        run_no_wait(&loop);
        CHECK_LE(most_children(o, n), LIMIT);
        for (uint32_t i = 0; i < n; i += 3) { /* and when they go */
            if (o[i].terminal == 0) {
                xev_cancel(&loop, &o[i].c, &by[i].c, &by[i], op_cb);
            }
        }
        run_no_wait(&loop);
        CHECK_LE(most_children(o, n), LIMIT);
        xev_loop_deinit(&loop);
        for (uint32_t i = 0; i < n; i++) {
            CHECK_EQ(o[i].terminal, 1);
        }
    }
    free(o);
    free(by);
}

TEST(timer_armed_two_thousand_million_arms_ago_still_fires) {
    loop_start(&loop);
    struct op old = {0}, young = {0};
    arm(&old, 5);
    loop.timer_seq += UINT32_C(1) << 31; /* private: instead of arming them */
    arm(&young, 6);
    run_done(&loop);
    CHECK_EQ(old.calls, 1);
    CHECK_EQ(young.calls, 1);
    CHECK_LT(old.order, young.order);
    xev_loop_deinit(&loop);
}

/* --- a turn ends --- */

struct busy {
    xev_completion c;
    uint32_t calls;
};

static xev_cb_action busy_rearm_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct busy *b = userdata;
    (void)l;
    (void)c;
    b->calls++;
    return result == 0 ? XEV_REARM : XEV_DISARM;
}

static xev_cb_action busy_again_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct busy *b = userdata;
    b->calls++;
    if (result == 0) {
        xev_loop_update_now(l);
        xev_timer_run_ns(NULL, l, c, 0, b, busy_again_cb);
    }
    return XEV_DISARM;
}

TEST(timer_of_0_that_repeats_lets_other_events_run) {
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    char byte;
    struct busy b[3] = {0};
    struct op recv = {0}, later = {0}, wait = {0};
    xev_watcher w;
    CHECK_EQ(xev_async_init(&w), 0);
    xev_timer_run(NULL, &loop, &b[0].c, 0, &b[0], busy_rearm_cb);
    xev_timer_run_ns(NULL, &loop, &b[1].c, 0, &b[1], busy_again_cb);
    xev_timer_run_ns(NULL, &loop, &b[2].c, 1, &b[2], busy_rearm_cb);
    xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
    arm(&later, 3);
    run_for(&loop, &later, 1);
    CHECK_EQ(recv.calls, 0);
    put_bytes(pair[1], "x", 1);
    run_for(&loop, &recv, 1);
    xev_async_wait(&w, &loop, &wait.c, &wait, op_cb);
    xev_async_notify(&w);
    run_for(&loop, &wait, 1);
    for (int i = 0; i < 3; i++) {
        CHECK_GT(b[i].calls, 1);
    }
    xev_loop_deinit(&loop);
}

TEST(no_wait_ends_though_a_timer_of_0_repeats) {
    loop_start(&loop);
    struct busy b[2] = {0};
    xev_timer_run(NULL, &loop, &b[0].c, 0, &b[0], busy_rearm_cb);
    xev_timer_run_ns(NULL, &loop, &b[1].c, 0, &b[1], busy_again_cb);
    for (uint32_t i = 0; i < 100; i++) {
        run_no_wait(&loop);
    }
    /* At most once a turn. */
    CHECK_LE(b[0].calls, 100);
    CHECK_LE(b[1].calls, 100);
    CHECK_GT(b[0].calls, 10);
    xev_loop_deinit(&loop);
}

/* --- rearm --- */

struct beat {
    xev_completion c;
    uint64_t first_not_before; /* start + interval */
    uint64_t interval;
    uint32_t calls, until;
};

static xev_cb_action beat_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct beat *b = userdata;
    (void)l;
    (void)c;
    CHECK_EQ(result, 0);
    /* The n-th beat is not before start + n intervals. */
    CHECK_GE(clock_ns(), b->first_not_before + b->calls * b->interval);
    b->calls++;
    return b->calls < b->until ? XEV_REARM : XEV_DISARM;
}

TEST(rearm_repeats_and_is_never_early) {
    loop_start(&loop);
    struct beat b = {.interval = MS_NS, .until = 50};
    b.first_not_before = clock_ns() + b.interval;
    xev_timer_run(NULL, &loop, &b.c, 1, &b, beat_cb);
    run_done(&loop);
    CHECK_EQ(b.calls, 50);
    xev_loop_deinit(&loop);
}

struct steady {
    xev_completion c;
    uint64_t armed_before, armed_after, interval;
    uint32_t calls, until;
};

/* Beats lie on the grid of the first one: from a deadline to the next it is whole intervals, though
 * each callback takes some of the time. */
static xev_cb_action steady_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct steady *s = userdata;
    (void)l;
    (void)result;
    s->calls++;
    sleep_ms(s->calls % 7 == 0 ? 7 : 1);
    uint64_t deadline = c->deadline_ns; /* private, and still there: nobody has used c since */
    uint64_t since = deadline - s->armed_before;
    CHECK_LE(since % s->interval, s->armed_after - s->armed_before);
    return s->calls < s->until ? XEV_REARM : XEV_DISARM;
}

TEST(rearm_does_not_drift) {
    loop_start(&loop);
    struct steady s = {.interval = 3 * MS_NS, .until = 40};
    s.armed_before = clock_ns();
    xev_timer_run(NULL, &loop, &s.c, 3, &s, steady_cb);
    s.armed_after = clock_ns();
    run_done(&loop);
    CHECK_EQ(s.calls, 40);
    CHECK_GE(clock_ns(), s.armed_before + 40 * s.interval);
    xev_loop_deinit(&loop);
}

static xev_cb_action slow_beat_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct op *o = userdata;
    (void)op_cb(l, c, result, o);
    if (o->calls == 1) {
        sleep_ms(50);
    }
    return XEV_REARM;
}

TEST(rearm_skips_missed_intervals) {
    loop_start(&loop);
    struct op beat = {0}, after = {0};
    xev_timer_run(NULL, &loop, &beat.c, 5, &beat, slow_beat_cb);
    run_for(&loop, &beat, 1);
    /* Ten intervals have passed: one beat for them at most, and no burst. */
    for (int i = 0; i < 3; i++) {
        run_no_wait(&loop);
    }
    uint64_t start = clock_ns();
    uint32_t calls = beat.calls;
    CHECK_LE(calls, 4);
    arm(&after, 20);
    run_for(&loop, &after, 1);
    /* One that was missed before the start is told too: what stalls may have been this thread. */
    CHECK_LE(beat.calls - calls, (clock_ns() - start) / (5 * MS_NS) + 2);
    xev_loop_deinit(&loop);
}

TEST(rearm_of_many_lets_each_have_its_turn) {
    enum { N = 50 };
    static struct op o[N];
    loop_start(&loop);
    for (int i = 0; i < N; i++) {
        o[i].rearm = 20;
        xev_timer_run_ns(NULL, &loop, &o[i].c, (uint64_t)(i + 1) * 20 * 1000, &o[i], op_cb);
    }
    run_done(&loop);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(o[i].calls, 21);
    }
    xev_loop_deinit(&loop);
}

/* --- reset --- */

TEST(reset_of_a_dead_timer_starts_it) {
    loop_start(&loop);
    struct op o = {0};
    xev_completion unused;
    memset(&unused, 0xff, sizeof unused);
    memset(&o.c, 0xff, sizeof o.c);
    uint64_t start = clock_ns();
    xev_timer_reset(NULL, &loop, &o.c, &unused, 5, &o, op_cb);
    run_done(&loop);
    CHECK_EQ(o.calls, 1);
    CHECK_GE(clock_ns() - start, 5 * MS_NS);
    CHECK_EQ(xev_completion_state(&unused), XEV_COMPLETION_DEAD);
    xev_loop_deinit(&loop);
}

/* turns: 0, before the first turn. */
static void reset_active(int turns, uint64_t from_ms, uint64_t to_ms) {
    loop_start(&loop);
    struct op old = {0}, now = {0};
    xev_timer_run(NULL, &loop, &now.c, from_ms, &old, repeat_cb); /* its callback is never called */
    for (int i = 0; i < turns; i++) {
        run_no_wait(&loop);
    }
    uint64_t start = clock_ns();
    xev_timer_reset(NULL, &loop, &now.c, NULL, to_ms, &now, op_cb);
    CHECK_EQ(xev_loop_active(&loop), 1);
    run_done(&loop);
    CHECK_EQ(old.calls, 0);
    CHECK_EQ(now.calls, 1);
    CHECK_EQ(now.result, 0);
    CHECK_GE(clock_ns() - start, to_ms * MS_NS);
    xev_loop_deinit(&loop);
}

TEST(reset_while_active_gives_the_new_time_and_callback) {
    reset_active(3, HOUR_MS, 3);
    reset_active(3, HOUR_MS / 2, 10);
}

TEST(reset_before_the_first_turn) {
    reset_active(0, HOUR_MS, 3);
    reset_active(0, 0, 10);
}

TEST(reset_after_firing_starts_it_again) {
    loop_start(&loop);
    struct op o = {0};
    arm(&o, 1);
    run_done(&loop);
    CHECK_EQ(o.calls, 1);
    xev_timer_reset(NULL, &loop, &o.c, NULL, 2, &o, op_cb);
    CHECK(is_active(&o));
    run_done(&loop);
    CHECK_EQ(o.calls, 2);
    CHECK_EQ(o.result, 0);
    xev_loop_deinit(&loop);
}

struct pair_of {
    struct op resetter, target;
    bool cancel_too;
    struct op cancel;
};

static xev_cb_action reset_other_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct pair_of *p = userdata;
    (void)op_cb(l, c, result, &p->resetter);
    xev_timer_reset(NULL, l, &p->target.c, NULL, 10, &p->target, op_cb);
    if (p->cancel_too) {
        xev_timer_cancel(NULL, l, &p->target.c, &p->cancel.c, &p->cancel, op_cb);
    }
    return XEV_DISARM;
}

/* Both are due in the same turn; the first puts the second off. */
TEST(reset_by_another_timer_of_the_same_turn) {
    loop_start(&loop);
    struct pair_of p = {0};
    xev_timer_run(NULL, &loop, &p.resetter.c, 0, &p, reset_other_cb);
    arm(&p.target, 0);
    sleep_ms(2);
    run_once(&loop);
    CHECK_EQ(p.resetter.calls, 1);
    CHECK_EQ(p.target.calls, 0);
    run_done(&loop);
    CHECK_EQ(p.target.calls, 1);
    CHECK_EQ(p.target.result, 0);
    xev_loop_deinit(&loop);
}

TEST(cancel_by_another_timer_of_the_same_turn) {
    loop_start(&loop);
    struct pair_of p = {.cancel_too = true};
    xev_timer_run(NULL, &loop, &p.resetter.c, 0, &p, reset_other_cb);
    arm(&p.target, 0);
    sleep_ms(2);
    run_done(&loop);
    CHECK_EQ(p.target.calls, 1);
    CHECK_EQ(p.target.result, XEV_ECANCELED);
    CHECK_EQ(p.cancel.result, 0);
    CHECK_LT(p.target.order, p.cancel.order);
    xev_loop_deinit(&loop);
}

TEST(reset_of_a_cancelled_timer_does_not_undo_the_cancel) {
    loop_start(&loop);
    struct op o = {0}, cancel = {0};
    arm(&o, HOUR_MS);
    xev_timer_cancel(NULL, &loop, &o.c, &cancel.c, &cancel, op_cb);
    xev_timer_reset(NULL, &loop, &o.c, NULL, 1, &o, op_cb);
    run_done(&loop);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(o.result, XEV_ECANCELED);
    CHECK_EQ(cancel.result, 0);
    xev_loop_deinit(&loop);
}

TEST(reset_in_its_own_callback) {
    loop_start(&loop);
    struct pair_of p = {0};
    /* The resetter's target is the resetter itself. */
    xev_timer_run(NULL, &loop, &p.target.c, 1, &p.target, op_cb);
    run_done(&loop);
    for (uint32_t i = 2; i < 10; i++) {
        xev_timer_reset(NULL, &loop, &p.target.c, NULL, 0, &p.target, op_cb);
        xev_timer_reset(NULL, &loop, &p.target.c, NULL, 1, &p.target, op_cb);
        run_done(&loop);
        CHECK_EQ(p.target.calls, i);
    }
    xev_loop_deinit(&loop);
}

/* --- cancel --- */

static void cancel_by(bool by_timer_name, struct op *target, struct op *cancel) {
    if (by_timer_name) {
        xev_timer_cancel(NULL, &loop, &target->c, &cancel->c, cancel, op_cb);
    } else {
        xev_cancel(&loop, &target->c, &cancel->c, cancel, op_cb);
    }
}

TEST(cancel_while_active) {
    for (int turns = 0; turns < 3; turns++) {
        for (int by = 0; by < 2; by++) {
            loop_start(&loop);
            struct op o = {.rearm = 5}, cancel = {0};
            arm(&o, HOUR_MS);
            for (int i = 0; i < turns; i++) {
                run_no_wait(&loop);
            }
            cancel_by(by == 0, &o, &cancel);
            run_done(&loop);
            CHECK_EQ(o.calls, 1);
            CHECK_EQ(o.result, XEV_ECANCELED);
            CHECK_EQ(cancel.calls, 1);
            CHECK_EQ(cancel.result, 0);
            CHECK_LT(o.order, cancel.order);
            xev_loop_deinit(&loop);
        }
    }
}

TEST(cancel_after_firing_finds_nothing) {
    loop_start(&loop);
    struct op o = {0}, cancel = {0};
    arm(&o, 0);
    run_done(&loop);
    cancel_by(true, &o, &cancel);
    run_done(&loop);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(o.result, 0);
    CHECK_EQ(cancel.result, XEV_ENOENT);
    xev_loop_deinit(&loop);
}

TEST(cancel_of_one_never_started_finds_nothing) {
    loop_start(&loop);
    struct op o = {0}, cancel = {0};
    cancel_by(true, &o, &cancel);
    run_done(&loop);
    CHECK_EQ(o.calls, 0);
    CHECK_EQ(cancel.result, XEV_ENOENT);
    xev_loop_deinit(&loop);
}

TEST(second_cancel_finds_nothing) {
    loop_start(&loop);
    struct op o = {0}, first = {0}, second = {0};
    arm(&o, HOUR_MS);
    cancel_by(true, &o, &first);
    cancel_by(false, &o, &second);
    run_done(&loop);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(first.result, 0);
    CHECK_EQ(second.result, XEV_ENOENT);
    CHECK_LT(o.order, first.order);
    CHECK_LT(o.order, second.order);
    xev_loop_deinit(&loop);
}

TEST(cancel_of_a_due_timer_before_its_turn_stops_it) {
    loop_start(&loop);
    struct op o = {0}, cancel = {0};
    arm(&o, 0);
    sleep_ms(1);
    cancel_by(true, &o, &cancel);
    run_done(&loop);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(o.result, XEV_ECANCELED);
    CHECK_EQ(cancel.result, 0);
    xev_loop_deinit(&loop);
}

/* --- far away --- */

struct turns {
    xev_hook hook;
    uint32_t n;
};

static void turn_cb(xev_loop *l, xev_hook *hook) {
    (void)l;
    ((struct turns *)(void *)hook)->n++;
}

static void *stop_later(void *arg) {
    sleep_ms(100);
    xev_loop_stop(arg);
    return NULL;
}

/* Neither fires nor keeps the loop busy, and can be cancelled. */
static void check_far(uint64_t timeout_ns) {
    loop_start(&loop);
    struct turns turns = {.hook.callback = turn_cb};
    xev_loop_hook_add(&loop, XEV_HOOK_BEFORE_POLL, &turns.hook);
    struct op far = {0}, near = {0}, cancel = {0};
    xev_timer_run_ns(NULL, &loop, &far.c, timeout_ns, &far, op_cb);
    pthread_t t;
    thread_start(&t, stop_later, &loop);
    run_done(&loop);
    thread_join(t);
    CHECK_LE(turns.n, 100);
    arm(&near, 5);
    run_for(&loop, &near, 1);
    CHECK_EQ(far.calls, 0);
    cancel_by(true, &far, &cancel);
    run_done(&loop);
    CHECK_EQ(far.calls, 1);
    CHECK_EQ(far.result, XEV_ECANCELED);
    CHECK_EQ(cancel.result, 0);
    xev_loop_deinit(&loop);
}

#define DAY_NS ((uint64_t)24 * 3600 * 1000 * MS_NS)

TEST(timer_of_25_days_and_of_years) {
    check_far(24 * DAY_NS); /* below and above 2^31 ms */
    check_far(25 * DAY_NS);
    check_far(50 * DAY_NS); /* 2^32 ms */
    check_far(36500 * DAY_NS);
}

TEST(timer_of_2_to_the_63_and_beyond) {
    check_far(((uint64_t)1 << 63) - 1);
    check_far((uint64_t)1 << 63);
    check_far(((uint64_t)1 << 63) + 1);
    check_far(UINT64_MAX - clock_ns());
    check_far(UINT64_MAX - 1);
    check_far(UINT64_MAX);
}

TEST(timer_in_ms_is_clamped) {
    static const uint64_t far_ms[] = {UINT64_MAX / 1000000, UINT64_MAX / 1000000 + 1,
                                      (uint64_t)1 << 63, UINT64_MAX};
    loop_start(&loop);
    struct op o[4] = {0}, reset = {0}, near = {0};
    arm(&reset, 0);
    for (int i = 0; i < 4; i++) {
        arm(&o[i], far_ms[i]);
        xev_timer_reset(NULL, &loop, &reset.c, NULL, far_ms[i], &reset, op_cb);
    }
    arm(&near, 5);
    run_for(&loop, &near, 1);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(o[i].calls, 0);
    }
    CHECK_EQ(reset.calls, 0);
    xev_loop_deinit(&loop);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(o[i].result, XEV_ECANCELED);
    }
}
