/* Signals: every loop that watches a signal gets it, once per wait. Afterwards the signal has the
 * disposition that it had before. */
#include "tests/loop_scene.h"

#include <errno.h>
#include <sys/time.h>

/* ---- scene ---- */

struct watch {
    xev_signal signal;
    struct op op;
};

static void watch_init(struct watch *w, int number) {
    memset(w, 0xa5, sizeof *w);
    CHECK_EQ(xev_signal_init(&w->signal, number), 0);
    w->op = (struct op){0};
}

static void watch_wait(struct watch *w, xev_loop *loop) {
    w->op = (struct op){0};
    xev_signal_wait(&w->signal, loop, &w->op.c, &w->op, op_cb);
}

static void (*handler_of(int number))(int) {
    struct sigaction action;
    CHECK_EQ(sigaction(number, NULL, &action), 0);
    return action.sa_handler;
}

static volatile sig_atomic_t handled;

static void count_signal(int number) {
    (void)number;
    handled++;
}

/* ---- delivery ---- */

TEST(a_signal_is_delivered_once) {
    xev_loop loop;
    struct watch w;
    uint32_t before = descriptors();
    loop_start(&loop);
    watch_init(&w, SIGUSR1);
    watch_wait(&w, &loop);
    run_no_wait(&loop);
    CHECK_EQ(w.op.calls, 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(w.op.calls, 0);
    run_for(&loop, &w.op, 1);
    CHECK_EQ(w.op.result, SIGUSR1);
    CHECK(w.op.loop == &loop);
    run_no_wait(&loop);
    CHECK_EQ(w.op.calls, 1);
    xev_signal_deinit(&w.signal);
    xev_loop_deinit(&loop);
    CHECK_EQ(descriptors(), before);
}

TEST(rearm_waits_on) {
    xev_loop loop;
    struct watch w;
    loop_start(&loop);
    watch_init(&w, SIGUSR1);
    watch_wait(&w, &loop);
    w.op.rearm = 2;
    for (uint32_t i = 1; i <= 3; i++) {
        CHECK_EQ(raise(SIGUSR1), 0);
        while (w.op.calls < i) {
            run_once(&loop);
        }
        CHECK_EQ(w.op.result, SIGUSR1);
        CHECK_EQ(is_active(&w.op), i < 3);
    }
    xev_signal_deinit(&w.signal);
    xev_loop_deinit(&loop);
}

TEST(a_signal_before_the_wait_is_remembered_once) {
    xev_loop loop;
    struct watch w;
    loop_start(&loop);
    watch_init(&w, SIGTERM);
    CHECK_EQ(raise(SIGTERM), 0);
    CHECK_EQ(raise(SIGTERM), 0);
    watch_wait(&w, &loop);
    run_for(&loop, &w.op, 1);
    CHECK_EQ(w.op.result, SIGTERM);
    watch_wait(&w, &loop);
    run_no_wait(&loop);
    run_no_wait(&loop);
    CHECK_EQ(w.op.calls, 0);
    CHECK_EQ(raise(SIGTERM), 0);
    run_for(&loop, &w.op, 1);
    CHECK_EQ(raise(SIGTERM), 0); /* between two waits */
    watch_wait(&w, &loop);
    run_for(&loop, &w.op, 1);
    xev_signal_deinit(&w.signal);
    xev_loop_deinit(&loop);
}

TEST(signals_coalesce) {
    xev_loop loop;
    struct watch w;
    loop_start(&loop);
    watch_init(&w, SIGUSR1);
    watch_wait(&w, &loop);
    w.op.rearm = UINT32_MAX;
    run_no_wait(&loop);
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(raise(SIGUSR1), 0);
    }
    run_no_wait(&loop);
    run_no_wait(&loop);
    run_no_wait(&loop);
    CHECK_EQ(w.op.calls, 1);
    xev_signal_deinit(&w.signal);
    run_for(&loop, &w.op, 2);
    CHECK_EQ(w.op.result, XEV_ECANCELED);
    xev_loop_deinit(&loop);
}

TEST(every_watcher_of_every_loop_is_told) {
    enum { LOOPS = 3, EACH = 4 };
    xev_loop loops[LOOPS];
    static struct watch w[LOOPS][EACH];
    for (int i = 0; i < LOOPS; i++) {
        loop_start(&loops[i]);
        for (int j = 0; j < EACH; j++) {
            watch_init(&w[i][j], j == 3 ? SIGUSR2 : SIGUSR1);
            watch_wait(&w[i][j], &loops[i]);
        }
    }
    CHECK_EQ(raise(SIGUSR1), 0);
    for (int i = 0; i < LOOPS; i++) {
        for (int j = 0; j < 3; j++) {
            run_for(&loops[i], &w[i][j].op, 1);
            CHECK_EQ(w[i][j].op.result, SIGUSR1);
        }
        run_no_wait(&loops[i]);
        CHECK_EQ(w[i][3].op.calls, 0);
    }
    CHECK_EQ(raise(SIGUSR2), 0);
    for (int i = LOOPS; i-- > 0;) {
        run_for(&loops[i], &w[i][3].op, 1);
        CHECK_EQ(w[i][3].op.result, SIGUSR2);
        CHECK_EQ(w[i][0].op.calls, 1);
        for (int j = 0; j < EACH; j++) {
            xev_signal_deinit(&w[i][j].signal);
        }
        xev_loop_deinit(&loops[i]);
    }
    CHECK(handler_of(SIGUSR1) == SIG_DFL);
    CHECK(handler_of(SIGUSR2) == SIG_DFL);
}

static xev_loop *sleeping_loop;
static atomic_bool delivered;

static void *signal_when_asleep(void *arg) {
    xev_loop_metrics m;
    do {
        xev_loop_metrics_get(sleeping_loop, &m);
        sched_yield();
    } while (m.sleeps == 0);
    /* ThreadSanitizer puts a handler off, and does not know that io_uring_enter blocks: to it a
     * signal that comes just before that call has to come again. */
    do {
        CHECK_EQ(pthread_kill(*(pthread_t *)arg, SIGUSR1), 0);
        sched_yield();
    } while (test_slowdown() > 1 && !atomic_load(&delivered));
    return NULL;
}

TEST(a_signal_wakes_a_sleeping_loop) {
    xev_loop loop;
    struct watch w;
    pthread_t thread, self = pthread_self();
    loop_start(&loop);
    sleeping_loop = &loop;
    watch_init(&w, SIGUSR1);
    watch_wait(&w, &loop);
    thread_start(&thread, signal_when_asleep, &self);
    run_for(&loop, &w.op, 1);
    CHECK_EQ(w.op.result, SIGUSR1);
    atomic_store(&delivered, true);
    thread_join(thread);
    xev_signal_deinit(&w.signal);
    xev_loop_deinit(&loop);
}

TEST(the_thread_of_the_loop_may_block_it) {
    xev_loop loop;
    struct watch w;
    pthread_t thread;
    sigset_t set;
    loop_start(&loop);
    sleeping_loop = &loop;
    watch_init(&w, SIGUSR1);
    watch_wait(&w, &loop);
    thread_start(&thread, signal_when_asleep, &thread); /* gets it itself, not blocked there */
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    run_for(&loop, &w.op, 1);
    CHECK_EQ(w.op.result, SIGUSR1);
    atomic_store(&delivered, true);
    thread_join(thread);
    xev_signal_deinit(&w.signal);
    xev_loop_deinit(&loop);
}

static atomic_uint counted;
static atomic_bool storm_over;

static xev_cb_action count_and_go_on(xev_loop *loop, xev_completion *c, int result,
                                     void *userdata) {
    (void)c;
    (void)userdata;
    if (result < 0) {
        CHECK_EQ(result, XEV_ECANCELED);
        return XEV_DISARM;
    }
    CHECK_EQ(result, SIGUSR1);
    if (atomic_fetch_add(&counted, 1) > rounds(2000)) {
        xev_loop_stop(loop);
    }
    return XEV_REARM;
}

static void *run_a_watching_loop(void *arg) {
    xev_loop loop;
    struct watch w;
    sem_t *ready = arg;
    loop_start(&loop);
    for (uint32_t i = 0; i < rounds(5000); i++) { /* watchers come and go in the storm */
        watch_init(&w, SIGUSR1);
        xev_signal_deinit(&w.signal);
        memset(&w, 0x5a, sizeof w);
    }
    for (int i = 0; i < 3; i++) {
        watch_init(&w, SIGUSR1);
        watch_wait(&w, &loop);
        run_for(&loop, &w.op, 1);
        xev_signal_deinit(&w.signal);
    }
    watch_init(&w, SIGUSR1);
    w.op = (struct op){0};
    xev_signal_wait(&w.signal, &loop, &w.op.c, NULL, count_and_go_on);
    run_done(&loop);
    CHECK_EQ(sem_post(ready), 0);
    xev_loop_deinit(&loop); /* unwatches, in the middle of it */
    xev_signal_deinit(&w.signal);
    return NULL;
}

static void *make_a_storm(void *arg) {
    (void)arg;
    while (!atomic_load(&storm_over)) {
        CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    }
    return NULL;
}

TEST_TIMEOUT(loops_and_watchers_come_and_go_in_a_storm_of_signals, 60) {
    enum { LOOPS = 3 };
    struct watch keeper; /* or the signal would end the program between two */
    pthread_t loops[LOOPS], storm;
    sem_t ready;
    CHECK_EQ(sem_init(&ready, 0, 0), 0);
    watch_init(&keeper, SIGUSR1);
    thread_start(&storm, make_a_storm, NULL);
    for (int i = 0; i < LOOPS; i++) {
        thread_start(&loops[i], run_a_watching_loop, &ready);
    }
    for (int i = 0; i < LOOPS; i++) {
        sem_take(&ready);
    }
    for (int i = 0; i < LOOPS; i++) {
        thread_join(loops[i]);
    }
    atomic_store(&storm_over, true);
    thread_join(storm);
    xev_signal_deinit(&keeper.signal);
    CHECK(handler_of(SIGUSR1) == SIG_DFL);
}

/* The handler interrupts the loop's own thread anywhere: in its queue, its callbacks, its waits. */
TEST_TIMEOUT(a_loop_interrupted_everywhere_loses_nothing, 60) {
    xev_loop loop;
    struct watch w;
    struct itimerval every = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    xev_watcher async;
    struct op waiting = {0};
    loop_start(&loop);
    watch_init(&w, SIGALRM);
    CHECK_EQ(xev_async_init(&async), 0);
    watch_wait(&w, &loop);
    w.op.rearm = UINT32_MAX;
    xev_async_wait(&async, &loop, &waiting.c, &waiting, op_cb);
    waiting.rearm = UINT32_MAX;
    CHECK_EQ(setitimer(ITIMER_REAL, &every, NULL), 0);
    uint32_t n = rounds(20000);
    for (uint32_t i = 1; i <= n; i++) {
        CHECK_EQ(xev_async_notify(&async), 0);
        while (waiting.calls < i) {
            run_once(&loop);
        }
        CHECK_EQ(waiting.calls, i);
    }
    uint32_t before = w.op.calls;
    while (w.op.calls < before + 3) {
        run_once(&loop);
    }
    CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    xev_loop_deinit(&loop);
    CHECK_EQ(w.op.result, XEV_ECANCELED);
    CHECK_EQ(waiting.result, XEV_ECANCELED);
    xev_signal_deinit(&w.signal);
}

TEST(errno_survives_the_handler) {
    struct watch w;
    watch_init(&w, SIGUSR1);
    errno = 4711;
    (void)raise(SIGUSR1);
    CHECK_EQ(errno, 4711);
    xev_signal_deinit(&w.signal);
}

TEST(one_waiter_at_a_time) {
    xev_loop loop;
    struct watch w;
    struct op second = {0};
    loop_start(&loop);
    watch_init(&w, SIGUSR1);
    watch_wait(&w, &loop);
    xev_signal_wait(&w.signal, &loop, &second.c, &second, op_cb);
    run_for(&loop, &second, 1);
    CHECK_EQ(second.result, XEV_EBUSY);
    CHECK_EQ(w.op.calls, 0);
    CHECK_EQ(raise(SIGUSR1), 0);
    run_for(&loop, &w.op, 1);
    CHECK_EQ(w.op.result, SIGUSR1);
    xev_signal_deinit(&w.signal);
    xev_loop_deinit(&loop);
}

/* ---- dispositions ---- */

TEST(the_last_unwatch_restores_the_default) {
    xev_loop loop;
    struct watch a, b;
    loop_start(&loop);
    signal(SIGTERM, SIG_DFL); /* the runner has a handler */
    watch_init(&a, SIGTERM);
    watch_init(&b, SIGTERM);
    CHECK(handler_of(SIGTERM) != SIG_DFL);
    xev_signal_deinit(&a.signal);
    CHECK(handler_of(SIGTERM) != SIG_DFL);
    watch_wait(&b, &loop);
    CHECK_EQ(raise(SIGTERM), 0);
    run_for(&loop, &b.op, 1);
    CHECK_EQ(b.op.result, SIGTERM);
    xev_signal_deinit(&b.signal);
    CHECK(handler_of(SIGTERM) == SIG_DFL);
    xev_loop_deinit(&loop);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        raise(SIGTERM);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

TEST(a_handler_of_before_is_put_back) {
    struct watch w;
    struct sigaction before = {.sa_handler = count_signal, .sa_flags = SA_NODEFER}, after;
    sigemptyset(&before.sa_mask);
    sigaddset(&before.sa_mask, SIGHUP);
    CHECK_EQ(sigaction(SIGUSR1, &before, NULL), 0);
    signal(SIGUSR2, SIG_IGN);
    for (int i = 0; i < 3; i++) {
        struct watch ignored;
        handled = 0;
        watch_init(&w, SIGUSR1);
        watch_init(&ignored, SIGUSR2);
        CHECK_EQ(raise(SIGUSR1), 0);
        CHECK_EQ(handled, 0);
        xev_signal_deinit(&w.signal);
        xev_signal_deinit(&ignored.signal);
        CHECK_EQ(raise(SIGUSR1), 0);
        CHECK_EQ(handled, 1);
        CHECK(handler_of(SIGUSR2) == SIG_IGN);
        CHECK_EQ(sigaction(SIGUSR1, NULL, &after), 0);
        CHECK_EQ(after.sa_flags & SA_NODEFER, SA_NODEFER);
        CHECK_EQ(sigismember(&after.sa_mask, SIGHUP), 1);
    }
}

TEST(a_handler_set_in_between_stays) {
    struct watch w;
    watch_init(&w, SIGUSR1);
    signal(SIGUSR1, count_signal);
    xev_signal_deinit(&w.signal);
    CHECK(handler_of(SIGUSR1) == count_signal);
}

TEST(a_signal_that_cannot_be_watched_is_refused) {
    static const int bad[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, 0, -1, 65, 32, 33};
    xev_signal s;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQ(xev_signal_init(&s, bad[i]), XEV_EINVAL);
    }
    CHECK_EQ(xev_signal_init(&s, SIGRTMAX), 0);
    CHECK_EQ(raise(SIGRTMAX), 0);
    xev_signal_deinit(&s);
    CHECK_EQ(xev_signal_init(&s, SIGCHLD), 0);
    xev_signal_deinit(&s);
}

TEST(the_callers_mask_stays) {
    sigset_t before, after;
    struct watch w;
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &before), 0);
    watch_init(&w, SIGUSR1);
    xev_signal_deinit(&w.signal);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
    for (int i = 1; i <= 64; i++) {
        CHECK_EQ(sigismember(&before, i), sigismember(&after, i));
    }
}

/* ---- cancel, deinit, teardown ---- */

TEST(a_cancelled_wait_leaves_the_signal_caught) {
    xev_loop loop;
    struct watch w;
    struct op cancel = {0};
    loop_start(&loop);
    watch_init(&w, SIGTERM);
    watch_wait(&w, &loop);
    xev_cancel(&loop, &w.op.c, &cancel.c, &cancel, op_cb);
    run_for(&loop, &cancel, 1);
    CHECK_EQ(cancel.result, 0);
    CHECK_EQ(w.op.result, XEV_ECANCELED);
    CHECK_LT(w.op.order, cancel.order);
    CHECK_EQ(raise(SIGTERM), 0);
    watch_wait(&w, &loop);
    run_for(&loop, &w.op, 1);
    CHECK_EQ(w.op.result, SIGTERM);
    xev_signal_deinit(&w.signal);
    xev_loop_deinit(&loop);
}

TEST(a_wait_takes_a_deadline) {
    xev_loop loop;
    struct watch w;
    loop_start(&loop);
    watch_init(&w, SIGTERM);
    watch_wait(&w, &loop);
    xev_completion_set_timeout(&loop, &w.op.c, 1);
    run_for(&loop, &w.op, 1);
    CHECK_EQ(w.op.result, XEV_ETIMEDOUT);
    xev_signal_deinit(&w.signal);
    xev_loop_deinit(&loop);
}

TEST(deinit_cancels_the_waiter) {
    xev_loop loop;
    struct watch w;
    loop_start(&loop);
    for (int signalled = 0; signalled < 2; signalled++) {
        watch_init(&w, SIGUSR1);
        watch_wait(&w, &loop);
        if (signalled) {
            CHECK_EQ(raise(SIGUSR1), 0);
        }
        xev_signal_deinit(&w.signal);
        memset(&w.signal, 0x5a, sizeof w.signal);
        CHECK_EQ(w.op.calls, 0);
        run_for(&loop, &w.op, 1);
        CHECK_EQ(w.op.result, signalled ? SIGUSR1 : XEV_ECANCELED);
    }
    xev_loop_deinit(&loop);
    CHECK(handler_of(SIGUSR1) == SIG_DFL);
}

static xev_cb_action deinit_it(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct watch *w = userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, SIGUSR1);
    xev_signal_deinit(&w->signal);
    memset(w, 0x5a, sizeof *w);
    return XEV_DISARM;
}

TEST(deinit_in_the_callback) {
    xev_loop loop;
    struct watch w;
    loop_start(&loop);
    watch_init(&w, SIGUSR1);
    xev_signal_wait(&w.signal, &loop, &w.op.c, &w, deinit_it);
    CHECK_EQ(raise(SIGUSR1), 0);
    run_done(&loop);
    CHECK(handler_of(SIGUSR1) == SIG_DFL);
    xev_loop_deinit(&loop);
}

TEST(teardown_of_the_loop_unwatches) {
    xev_loop loop, other;
    struct watch a, b, idle;
    for (int signalled = 0; signalled < 2; signalled++) {
        loop_start(&loop);
        loop_start(&other);
        watch_init(&a, SIGUSR1);
        watch_init(&b, SIGUSR1);
        watch_init(&idle, SIGUSR1);
        watch_wait(&a, &loop);
        watch_wait(&b, &other);
        run_no_wait(&loop);
        if (signalled) {
            CHECK_EQ(raise(SIGUSR1), 0);
        }
        xev_loop_deinit(&loop);
        CHECK_EQ(a.op.terminal, 1);
        CHECK(handler_of(SIGUSR1) != SIG_DFL);
        CHECK_EQ(raise(SIGUSR1), 0);
        run_for(&other, &b.op, 1);
        CHECK_EQ(b.op.result, SIGUSR1);
        watch_wait(&a, &other); /* it is over */
        run_for(&other, &a.op, 1);
        CHECK_EQ(a.op.result, XEV_EINVAL);
        xev_loop_deinit(&other);
        CHECK(handler_of(SIGUSR1) != SIG_DFL); /* idle was never any loop's */
        xev_signal_deinit(&idle.signal);
        CHECK(handler_of(SIGUSR1) == SIG_DFL);
        xev_signal_deinit(&a.signal);
        xev_signal_deinit(&b.signal);
        CHECK(handler_of(SIGUSR1) == SIG_DFL);
    }
}

/* ---- misuse ---- */

static void init_null(void) { CHECK_EQ(xev_signal_init(NULL, SIGUSR1), 0); }

static void deinit_null(void) { xev_signal_deinit(NULL); }

static void wait_null(void) {
    xev_loop loop;
    xev_completion c = {0};
    loop_start(&loop);
    xev_signal_wait(NULL, &loop, &c, NULL, op_cb);
}

TEST(misuse_ends_the_program) {
    check_dies(init_null, "xev_signal_init");
    check_dies(deinit_null, "xev_signal_deinit");
    check_dies(wait_null, "xev_signal_wait");
}
