/* Async watchers: one thread waits, any thread notifies. */
#include "tests/loop_scene.h"

static xev_loop loop;
static xev_watcher w;

static void start(void) {
    loop_start(&loop);
    memset(&w, 0xa5, sizeof w);
    CHECK_EQ(xev_async_init(&w), 0);
}

static void notify(xev_watcher *watcher) { CHECK_EQ(xev_async_notify(watcher), 0); }

static void wait_for(struct op *o) { xev_async_wait(&w, &loop, &o->c, o, op_cb); }

static void turns(int n) {
    for (int i = 0; i < n; i++) {
        run_no_wait(&loop);
    }
}

TEST(wait_then_notify) {
    start();
    struct op o = {0};
    wait_for(&o);
    turns(3);
    CHECK_EQ(o.calls, 0);
    notify(&w);
    CHECK_EQ(o.calls, 0);
    run_once(&loop);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(o.result, 0);
    xev_loop_deinit(&loop);
    CHECK_EQ(o.calls, 1);
}

/* Before any wait: the watcher has no loop yet. */
TEST(notify_before_the_first_wait_is_remembered_once) {
    start();
    struct op first = {0}, second = {0};
    notify(&w);
    notify(&w);
    turns(2);
    wait_for(&first);
    CHECK_EQ(first.calls, 0);
    run_done(&loop);
    CHECK_EQ(first.calls, 1);
    CHECK_EQ(first.result, 0);
    wait_for(&second);
    turns(10);
    CHECK_EQ(second.calls, 0);
    xev_loop_deinit(&loop);
    CHECK_EQ(second.result, XEV_ECANCELED);
}

TEST(notify_between_waits_is_remembered_once) {
    start();
    for (int how = 0; how < 2; how++) {
        struct op first = {0}, second = {0}, third = {0};
        wait_for(&first);
        notify(&w);
        run_done(&loop);
        CHECK_EQ(first.calls, 1);
        notify(&w);
        if (how == 1) {
            turns(3); /* seen by the loop while nobody waits */
        }
        notify(&w);
        wait_for(&second);
        run_done(&loop);
        CHECK_EQ(second.calls, 1);
        CHECK_EQ(second.result, 0);
        struct op cancel = {0};
        wait_for(&third);
        turns(5);
        CHECK_EQ(third.calls, 0);
        xev_cancel(&loop, &third.c, &cancel.c, &cancel, op_cb);
        run_done(&loop);
    }
    xev_loop_deinit(&loop);
}

/* The loop has taken it in before anybody asks. */
TEST(notify_that_a_turn_saw_without_a_waiter_is_remembered_once) {
    start();
    struct op first = {0}, second = {0}, third = {0};
    wait_for(&first); /* the watcher is the loop's from here on */
    notify(&w);
    run_done(&loop);
    CHECK_EQ(first.calls, 1);
    struct op timer = {0};
    notify(&w);
    xev_timer_run(NULL, &loop, &timer.c, 1, &timer, op_cb); /* or there were no turn */
    run_done(&loop);
    wait_for(&second);
    run_done(&loop);
    CHECK_EQ(second.calls, 1);
    CHECK_EQ(second.result, 0);
    wait_for(&third);
    turns(5);
    CHECK_EQ(third.calls, 0);
    xev_loop_deinit(&loop);
    CHECK_EQ(third.result, XEV_ECANCELED);
}

TEST(notifies_coalesce_to_one_callback) {
    start();
    struct op o = {.rearm = 100};
    wait_for(&o);
    for (uint32_t round = 1; round <= 20; round++) {
        for (int i = 0; i < 5; i++) {
            notify(&w);
        }
        run_once(&loop);
        turns(5);
        CHECK_EQ(o.calls, round);
    }
    xev_loop_deinit(&loop);
}

static xev_cb_action notify_self_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct op *o = userdata;
    (void)op_cb(l, c, result, o);
    if (result == 0) {
        notify(&w);
    }
    return XEV_REARM;
}

TEST(notify_from_the_watchers_own_callback_gives_another) {
    start();
    struct op o = {0};
    xev_async_wait(&w, &loop, &o.c, &o, notify_self_cb);
    notify(&w);
    run_for(&loop, &o, 1);
    run_for(&loop, &o, 2);
    run_for(&loop, &o, 10);
    xev_loop_deinit(&loop);
    CHECK_EQ(o.calls, 11);
    CHECK_EQ(o.result, XEV_ECANCELED);
}

TEST(rearm_waits_on) {
    start();
    struct op o = {.rearm = 2};
    wait_for(&o);
    for (uint32_t i = 1; i <= 3; i++) {
        notify(&w);
        run_for(&loop, &o, i);
        CHECK_EQ(is_active(&o), i < 3);
    }
    notify(&w);
    turns(3);
    CHECK_EQ(o.calls, 3);
    xev_loop_deinit(&loop);
}

TEST(second_waiter_is_refused_and_the_first_unharmed) {
    start();
    struct op first = {0}, second = {0};
    wait_for(&first);
    wait_for(&second);
    run_for(&loop, &second, 1);
    CHECK_EQ(second.result, XEV_EBUSY);
    CHECK_EQ(first.calls, 0);
    notify(&w);
    run_done(&loop);
    CHECK_EQ(first.calls, 1);
    CHECK_EQ(first.result, 0);
    wait_for(&second);
    notify(&w);
    run_done(&loop);
    CHECK_EQ(second.result, 0);
    xev_loop_deinit(&loop);
}

TEST(notify_wakes_no_other_watcher) {
    enum { N = 300 };
    static xev_watcher many[N];
    static struct op o[N];
    start();
    for (int i = 0; i < N; i++) {
        CHECK_EQ(xev_async_init(&many[i]), 0);
        xev_async_wait(&many[i], &loop, &o[i].c, &o[i], op_cb);
    }
    for (int i = 0; i < N; i += 3) {
        notify(&many[i]);
    }
    turns(3);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(o[i].calls, i % 3 == 0);
    }
    xev_loop_deinit(&loop);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(o[i].result, i % 3 == 0 ? 0 : XEV_ECANCELED);
    }
}

/* What has been written to the process's eventfds and not been read. */
static uint64_t eventfd_writes(void) {
    uint64_t sum = 0;
    DIR *dir = opendir("/proc/self/fdinfo");
    CHECK(dir != NULL);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        char path[300], line[128];
        snprintf(path, sizeof path, "/proc/self/fdinfo/%s", e->d_name);
        FILE *f = e->d_name[0] != '.' ? fopen(path, "r") : NULL;
        while (f != NULL && fgets(line, sizeof line, f) != NULL) {
            unsigned long long count;
            if (sscanf(line, "eventfd-count: %llx", &count) == 1) {
                sum += count;
            }
        }
        if (f != NULL) {
            fclose(f);
        }
    }
    closedir(dir);
    return sum;
}

TEST(notify_of_a_loop_that_is_awake_writes_to_no_descriptor) {
    start();
    struct op o = {.rearm = 10};
    xev_watcher other;
    struct op p = {0};
    CHECK_EQ(xev_async_init(&other), 0);
    xev_async_wait(&other, &loop, &p.c, &p, op_cb);
    wait_for(&o);
    for (uint32_t i = 1; i <= 5; i++) {
        turns(2);
        CHECK_EQ(eventfd_writes(), 0);
        notify(&w);
        notify(&other);
        CHECK_EQ(eventfd_writes(), 0);
        run_once(&loop);
        CHECK_EQ(o.calls, i);
    }
    xev_loop_deinit(&loop);
}

/* --- cancel --- */

TEST(cancel_of_a_waiter) {
    start();
    struct op o = {.rearm = 1}, cancel = {0}, again = {0};
    wait_for(&o);
    xev_cancel(&loop, &o.c, &cancel.c, &cancel, op_cb);
    run_done(&loop);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(o.result, XEV_ECANCELED);
    CHECK_EQ(cancel.result, 0);
    CHECK_LT(o.order, cancel.order);
    /* A notification meanwhile is for the next waiter. */
    notify(&w);
    wait_for(&again);
    run_done(&loop);
    CHECK_EQ(again.result, 0);
    xev_loop_deinit(&loop);
}

TEST(cancel_after_notify_loses_no_notification) {
    start();
    for (int turn = 0; turn < 2; turn++) {
        struct op o = {0}, cancel = {0}, again = {0};
        wait_for(&o);
        notify(&w);
        xev_cancel(&loop, &o.c, &cancel.c, &cancel, op_cb);
        run_done(&loop);
        CHECK_EQ(o.calls, 1);
        CHECK_LT(o.order, cancel.order);
        if (o.result == XEV_ECANCELED) {
            CHECK_EQ(cancel.result, 0);
            wait_for(&again); /* the notification is still there */
            run_done(&loop);
            CHECK_EQ(again.calls, 1);
        } else {
            CHECK_EQ(o.result, 0);
            CHECK_EQ(cancel.result, XEV_ENOENT);
        }
    }
    xev_loop_deinit(&loop);
}

TEST(deadline_of_a_wait) {
    start();
    struct op o = {0}, again = {0};
    wait_for(&o);
    uint64_t begin = clock_ns();
    xev_completion_set_timeout(&loop, &o.c, 3);
    run_done(&loop);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(o.result, XEV_ETIMEDOUT);
    CHECK_GE(clock_ns() - begin, 3 * MS_NS);
    wait_for(&again);
    notify(&w);
    run_done(&loop);
    CHECK_EQ(again.result, 0);
    xev_loop_deinit(&loop);
}

/* --- ends --- */

TEST(deinit_of_the_loop_with_a_waiter_cancels_it) {
    start();
    struct op o = {.rearm = 1};
    wait_for(&o);
    xev_loop_deinit(&loop);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(o.result, XEV_ECANCELED);
    xev_async_deinit(&w);
}

TEST(notify_after_the_loop_is_gone_does_nothing) {
    start();
    struct op o = {0}, other = {0};
    wait_for(&o);
    notify(&w);
    run_done(&loop);
    notify(&w);
    xev_loop_deinit(&loop);
    memset(&loop, 0xa5, sizeof loop);
    notify(&w);
    notify(&w);
    CHECK_EQ(o.calls, 1);
    xev_async_deinit(&w);
    /* The memory serves again. */
    start();
    wait_for(&other);
    turns(3);
    CHECK_EQ(other.calls, 0);
    notify(&w);
    run_done(&loop);
    CHECK_EQ(other.calls, 1);
    xev_loop_deinit(&loop);
}

TEST(deinit_of_the_watcher_cancels_its_waiter) {
    start();
    struct op o = {.rearm = 1};
    wait_for(&o);
    turns(1);
    xev_async_deinit(&w);
    memset(&w, 0xa5, sizeof w);
    CHECK_EQ(o.calls, 0);
    run_done(&loop);
    CHECK_EQ(o.calls, 1);
    CHECK_EQ(o.result, XEV_ECANCELED);
    xev_loop_deinit(&loop);
}

TEST(deinit_of_a_notified_watcher_leaves_nothing_behind) {
    enum { N = 5 };
    start();
    xev_watcher *many[N];
    struct op o[N] = {0};
    for (int i = 0; i < N; i++) {
        many[i] = malloc(sizeof *many[i]);
        CHECK_EQ(xev_async_init(many[i]), 0);
        xev_async_wait(many[i], &loop, &o[i].c, &o[i], op_cb);
        notify(many[i]);
    }
    xev_async_deinit(many[2]);
    memset(many[2], 0xa5, sizeof *many[2]);
    free(many[2]);
    run_done(&loop);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(o[i].calls, 1);
        CHECK(o[i].result == 0 || (i == 2 && o[i].result == XEV_ECANCELED));
    }
    /* Nobody waits and nobody took the notification. */
    for (int i = 0; i < N; i++) {
        if (i != 2) {
            notify(many[i]);
            xev_async_deinit(many[i]);
            memset(many[i], 0xa5, sizeof *many[i]);
            free(many[i]);
        }
    }
    turns(2);
    struct op timer = {0};
    xev_timer_run(NULL, &loop, &timer.c, 1, &timer, op_cb);
    run_done(&loop);
    xev_loop_deinit(&loop);
}

TEST(deinit_of_a_watcher_that_never_waited) {
    start();
    xev_async_deinit(&w);
    CHECK_EQ(xev_async_init(&w), 0);
    notify(&w);
    xev_async_deinit(&w);
    xev_loop_deinit(&loop);
}

/* --- threads --- */

enum { THREADS = 8 };

struct producer {
    atomic_uint wanted; /* what this thread has asked for */
    uint32_t n;
    xev_watcher *watcher;
};

static struct producer producers[THREADS];
static uint32_t seen[THREADS];

static void *producer_main(void *arg) {
    struct producer *p = arg;
    for (uint32_t i = 1; i <= p->n; i++) {
        atomic_store_explicit(&p->wanted, i, memory_order_relaxed);
        (void)xev_async_notify(p->watcher);
    }
    return NULL;
}

static bool all_seen(void) {
    for (int i = 0; i < THREADS; i++) {
        if (seen[i] < producers[i].n) {
            return false;
        }
    }
    return true;
}

/* A notification that is lost leaves the loop asleep with something unseen. */
static xev_cb_action see_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    uint32_t *calls = userdata;
    (void)l;
    (void)c;
    CHECK_EQ(result, 0);
    ++*calls;
    for (int i = 0; i < THREADS; i++) {
        seen[i] = atomic_load_explicit(&producers[i].wanted, memory_order_relaxed);
    }
    return all_seen() ? XEV_DISARM : XEV_REARM;
}

TEST_TIMEOUT(notify_from_8_threads_loses_none, 60) {
    start();
    pthread_t t[THREADS];
    uint32_t calls = 0;
    xev_completion c = {0};
    xev_async_wait(&w, &loop, &c, &calls, see_cb);
    for (int i = 0; i < THREADS; i++) {
        producers[i] = (struct producer){.n = rounds(100000), .watcher = &w};
    }
    for (int i = 0; i < THREADS; i++) {
        thread_start(&t[i], producer_main, &producers[i]);
    }
    run_done(&loop);
    for (int i = 0; i < THREADS; i++) {
        thread_join(t[i]);
    }
    CHECK(all_seen());
    CHECK_LE(calls, THREADS * producers[0].n);
    xev_loop_deinit(&loop);
    xev_async_deinit(&w);
}

static xev_cb_action deinit_async(xev_loop *l, xev_completion *c, int result, void *userdata) {
    (void)l;
    (void)c;
    CHECK_EQ(result, 0);
    xev_async_deinit(userdata);
    memset(userdata, 0x5a, sizeof(xev_watcher));
    return XEV_DISARM;
}

/* It is taken from the inbox before the timers of a turn run, and its waiter called after them. */
TEST(a_waiter_whose_callback_is_due_hears_of_the_deinit) {
    start();
    struct op wait = {.rearm = 1};
    xev_completion timer;
    xev_async_wait(&w, &loop, &wait.c, &wait, op_cb);
    run_no_wait(&loop);
    xev_timer_run(NULL, &loop, &timer, 0, &w, deinit_async);
    CHECK_EQ(xev_async_notify(&w), 0);
    run_done(&loop);
    CHECK_EQ(wait.calls, 2); /* what had come, and the end when it waited on */
    CHECK_EQ(wait.result, XEV_ECANCELED);
    xev_loop_deinit(&loop);
}

static xev_watcher itself;

/* userdata: struct op of a receive that is to come to its end all the same. */
static xev_cb_action notify_itself(xev_loop *l, xev_completion *c, int result, void *userdata) {
    static uint32_t times;
    (void)l;
    (void)c;
    CHECK_EQ(result, 0);
    CHECK_LT(times++, 100);
    if (((struct op *)userdata)->calls > 0) {
        return XEV_DISARM;
    }
    CHECK_EQ(xev_async_notify(&itself), 0);
    return XEV_REARM;
}

TEST(a_loop_that_spins_does_io_although_its_inbox_is_never_empty) {
    xev_loop_options options = {.spin_ns = 50000};
    xev_completion wait;
    xev_tcp pair[2];
    struct op recv = {0};
    char byte;
    loop_start_options(&loop, &options);
    socket_pair(pair);
    CHECK_EQ(xev_async_init(&itself), 0);
    xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
    run_no_wait(&loop);
    xev_async_wait(&itself, &loop, &wait, &recv, notify_itself);
    CHECK_EQ(xev_async_notify(&itself), 0);
    put_bytes(pair[1], "x", 1);
    run_done(&loop);
    CHECK_EQ(recv.result, 1);
    xev_async_deinit(&itself);
    close_in(&loop, pair[0]);
    CHECK_EQ(close(pair[1].fd), 0);
    xev_loop_deinit(&loop);
}

/* One at a time, each seen before the next: the loop falls asleep in between. */
struct ping {
    xev_watcher to_loop;
    sem_t pong;
    uint32_t n, calls;
    uint32_t plain; /* not atomic: notify and callback order it */
};

static void *ping_main(void *arg) {
    struct ping *p = arg;
    for (uint32_t i = 1; i <= p->n; i++) {
        p->plain = i;
        (void)xev_async_notify(&p->to_loop);
        sem_take(&p->pong);
    }
    return NULL;
}

static xev_cb_action ping_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct ping *p = userdata;
    (void)l;
    (void)c;
    CHECK_EQ(result, 0);
    CHECK_EQ(p->plain, ++p->calls);
    sem_post(&p->pong);
    return p->calls < p->n ? XEV_REARM : XEV_DISARM;
}

TEST_TIMEOUT(what_was_written_before_notify_is_visible, 60) {
    start();
    static struct ping p;
    p.n = rounds(50000);
    CHECK_EQ(xev_async_init(&p.to_loop), 0);
    CHECK_EQ(sem_init(&p.pong, 0, 0), 0);
    xev_completion c = {0};
    pthread_t t;
    thread_start(&t, ping_main, &p);
    xev_async_wait(&p.to_loop, &loop, &c, &p, ping_cb);
    run_done(&loop);
    thread_join(t);
    CHECK_EQ(p.calls, p.n);
    xev_loop_deinit(&loop);
}

/* Two loops that wake each other. */
struct side {
    xev_loop loop;
    xev_watcher watcher;
    struct side *other;
    uint32_t n, calls;
    sem_t ready;
};

static xev_cb_action side_cb(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct side *s = userdata;
    (void)l;
    (void)c;
    CHECK_EQ(result, 0);
    s->calls++;
    (void)xev_async_notify(&s->other->watcher);
    return s->calls < s->n ? XEV_REARM : XEV_DISARM;
}

static void *side_main(void *arg) {
    struct side *s = arg;
    xev_completion c = {0};
    loop_start(&s->loop);
    xev_async_wait(&s->watcher, &s->loop, &c, s, side_cb);
    run_done(&s->loop);
    xev_loop_deinit(&s->loop); /* the other may be notifying at this moment */
    return NULL;
}

TEST_TIMEOUT(two_loops_wake_each_other, 60) {
    static struct side a, b;
    a.other = &b;
    b.other = &a;
    a.n = b.n = rounds(50000);
    CHECK_EQ(xev_async_init(&a.watcher), 0);
    CHECK_EQ(xev_async_init(&b.watcher), 0);
    pthread_t t[2];
    thread_start(&t[0], side_main, &a);
    thread_start(&t[1], side_main, &b);
    (void)xev_async_notify(&a.watcher);
    thread_join(t[0]);
    thread_join(t[1]);
    CHECK_EQ(a.calls, a.n);
    CHECK_EQ(b.calls, b.n);
    xev_async_deinit(&a.watcher);
    xev_async_deinit(&b.watcher);
}

/* --- the loop ends because of the notification that is still under way --- */

struct race {
    xev_watcher watcher;
    sem_t go;
    atomic_bool end;
};

static void *race_main(void *arg) {
    struct race *r = arg;
    for (;;) {
        sem_take(&r->go);
        if (atomic_load(&r->end)) {
            return NULL;
        }
        (void)xev_async_notify(&r->watcher);
        (void)xev_async_notify(&r->watcher); /* maybe to a loop that has ended */
    }
}

static void race_with_teardown(bool wait) {
    static struct race r[2];
    pthread_t t[2];
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(sem_init(&r[i].go, 0, 0), 0);
        CHECK_EQ(xev_async_init(&r[i].watcher), 0);
        thread_start(&t[i], race_main, &r[i]);
    }
    for (uint32_t n = 0; n < rounds(4000); n++) {
        xev_loop *l = malloc(sizeof *l);
        loop_start(l);
        struct op o[2] = {0};
        for (int i = 0; i < 2; i++) {
            xev_async_wait(&r[i].watcher, l, &o[i].c, &o[i], op_cb);
            sem_post(&r[i].go);
        }
        if (wait) {
            run_once(l);
        } else if (n % 2 == 0) {
            run_no_wait(l);
        }
        xev_loop_deinit(l);
        memset(l, 0xa5, sizeof *l);
        free(l);
        CHECK_EQ(o[0].calls, 1);
        CHECK_EQ(o[1].calls, 1);
        CHECK(!wait || o[0].result == 0 || o[1].result == 0);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&r[i].end, true);
        sem_post(&r[i].go);
    }
    for (int i = 0; i < 2; i++) {
        thread_join(t[i]);
        xev_async_deinit(&r[i].watcher);
    }
}

TEST_TIMEOUT(loop_ended_by_a_notification_that_has_not_returned, 60) { race_with_teardown(true); }

TEST_TIMEOUT(loop_ended_while_it_is_being_notified, 60) { race_with_teardown(false); }

/* A watcher is deinitialised while others are being notified by other threads: it may stand in the
 * inbox behind one that is not linked yet. */
TEST_TIMEOUT(deinit_of_a_watcher_while_others_are_notified, 60) {
    start();
    static struct race r[2];
    pthread_t t[2];
    struct op o[2] = {0};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(sem_init(&r[i].go, 0, 0), 0);
        CHECK_EQ(xev_async_init(&r[i].watcher), 0);
        o[i].rearm = UINT32_MAX;
        xev_async_wait(&r[i].watcher, &loop, &o[i].c, &o[i], op_cb);
        thread_start(&t[i], race_main, &r[i]);
    }
    for (uint32_t n = 0; n < rounds(100000); n++) {
        sem_post(&r[0].go);
        sem_post(&r[1].go);
        xev_watcher *mine = malloc(sizeof *mine);
        struct op waiter = {0};
        CHECK_EQ(xev_async_init(mine), 0);
        xev_async_wait(mine, &loop, &waiter.c, &waiter, op_cb);
        notify(mine);
        xev_async_deinit(mine);
        memset(mine, 0xa5, sizeof *mine);
        free(mine);
        while (waiter.calls == 0) {
            run_no_wait(&loop);
        }
        CHECK(waiter.result == 0 || waiter.result == XEV_ECANCELED);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&r[i].end, true);
        sem_post(&r[i].go);
        thread_join(t[i]);
    }
    xev_loop_deinit(&loop);
}

static xev_cb_action deinit_and_count(xev_loop *l, xev_completion *c, int result, void *userdata) {
    xev_watcher *mine = userdata;
    uint32_t *calls = l->userdata;
    (void)c;
    CHECK_EQ(result, 0);
    ++*calls;
    xev_async_deinit(mine);
    memset(mine, 0xa5, sizeof *mine);
    return XEV_DISARM;
}

/* All their callbacks are due at once. With a look at each of the others per deinit this would not
 * end in the time that a test has. */
TEST(deinit_of_many_watchers_from_their_callbacks_is_not_quadratic) {
    uint32_t n = rounds(200000), calls = 0;
    xev_watcher *watchers = calloc(n, sizeof *watchers);
    xev_completion *waits = calloc(n, sizeof *waits);
    CHECK(watchers != NULL && waits != NULL);
    start();
    loop.userdata = &calls;
    for (uint32_t i = 0; i < n; i++) {
        CHECK_EQ(xev_async_init(&watchers[i]), 0);
        xev_async_wait(&watchers[i], &loop, &waits[i], &watchers[i], deinit_and_count);
        notify(&watchers[i]);
    }
    run_done(&loop);
    CHECK_EQ(calls, n);
    xev_loop_deinit(&loop);
    free(watchers);
    free(waits);
}

/* A watcher's own: its wait, those it refused, and one that found it notified. */
TEST(deinit_ends_the_repeats_of_all_callbacks_that_are_due) {
    start();
    struct op o[4] = {{.rearm = UINT32_MAX}};
    o[3].rearm = UINT32_MAX;
    xev_watcher *mine = malloc(sizeof *mine);
    CHECK_EQ(xev_async_init(mine), 0);
    for (int i = 0; i < 3; i++) {
        xev_async_wait(mine, &loop, &o[i].c, &o[i], op_cb);
    }
    notify(mine);
    xev_async_wait(&w, &loop, &o[3].c, &o[3], op_cb); /* of another, which goes on */
    xev_async_deinit(mine);
    memset(mine, 0xa5, sizeof *mine);
    free(mine);
    turns(3);
    CHECK_EQ(o[0].calls, 2); /* once notified, once for the repeat */
    CHECK_EQ(o[0].result, XEV_ECANCELED);
    CHECK_EQ(o[1].result, XEV_EBUSY);
    CHECK_EQ(o[2].result, XEV_EBUSY);
    CHECK_EQ(o[3].calls, 0);
    notify(&w);
    turns(1);
    CHECK_EQ(o[3].calls, 1);
    xev_loop_deinit(&loop);
}
