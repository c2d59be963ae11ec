/* The runtime: start, drain and end, signals, pool, placement. Messages are in
 * shard_message_test.c, listeners in listener_test.c. */
#include "tests/shard_scene.h"

#include <signal.h>
#include <sys/syscall.h>

#include "tests/refuse.h"

/* ---- order and threads ---- */

static int init_says_one(xev_shard *self) {
    (void)self;
    return 1; /* as calls do that return a number or a descriptor */
}

TEST(an_init_that_returns_a_positive_number_has_succeeded) {
    sc.init = init_says_one;
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(logged(DEINIT), 2);
}

TEST(init_runs_in_order_stop_and_deinit_in_reverse) {
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(5), 0);
    uint32_t at = 0;
    check_logged(&at, INIT, 5, 0, 1);
    CHECK_EQ(logged(DRAIN), 5);
    for (; at < 10; at++) {
        CHECK_EQ(sc.log[at].phase, DRAIN);
    }
    check_logged(&at, STOP, 5, 4, -1);
    check_logged(&at, DEINIT, 5, 4, -1);
    CHECK_EQ(at, sc.log_len);
}

TEST(each_shard_has_a_thread_of_its_own) {
    sc.body = zero_stops_all;
    CHECK(xev_shard_current() == NULL);
    CHECK_EQ(scene_run(4), 0);
    CHECK(xev_shard_current() == NULL);
    for (int i = 0; i < 4; i++) {
        CHECK(!pthread_equal(sc.thread[i], pthread_self()));
        for (int j = 0; j < i; j++) {
            CHECK(!pthread_equal(sc.thread[i], sc.thread[j]));
        }
    }
}

static struct op early;

static int timer_at_init(xev_shard *self) {
    CHECK_EQ(shards_of(self), 3);
    if (xev_shard_id(self) == 2) {
        op_timer(self, &early, 0);
    }
    return 0;
}

static void never_before_all_are_initialised(xev_shard *self) {
    CHECK_EQ(logged(INIT), 3);
    zero_stops_all(self);
}

TEST(operations_of_init_run_when_the_shard_serves) {
    sc.init = timer_at_init;
    sc.body = never_before_all_are_initialised;
    CHECK_EQ(scene_run(3), 0);
    check_op(&early, 0);
}

static int stop_at_init(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        stop_all(self);
    }
    return 0;
}

TEST(one_shard_and_no_callbacks_but_init) {
    xev_runtime_options o = {.shards = 1, .init = scene_init, .userdata = &sc};
    sc.init = stop_at_init;
    CHECK_EQ(xev_runtime_run(&sc.rt, &o), 0);
}

TEST(stop_during_init_ends_after_the_start) {
    sc.init = stop_at_init;
    CHECK_EQ(scene_run(3), 0);
    CHECK_EQ(logged(INIT), 3);
    CHECK_EQ(logged(DRAIN), 3);
    CHECK_EQ(logged(STOP), 3);
    CHECK_EQ(logged(DEINIT), 3);
}

/* ---- start that fails ---- */

static uint32_t failing;

static int fail_one(xev_shard *self) { return xev_shard_id(self) == failing ? XEV_ENOSPC : 0; }

static void check_failed_start(uint32_t k) {
    uint32_t at = 0;
    check_logged(&at, INIT, k + 1, 0, 1);
    check_logged(&at, DEINIT, k, k - 1, -1);
    CHECK_EQ(at, sc.log_len);
}

TEST(failing_init_ends_those_before_it_in_reverse) {
    sc.init = fail_one;
    for (failing = 0; failing < 5; failing++) {
        CHECK_EQ(scene_run(5), XEV_ENOSPC);
        check_failed_start(failing);
    }
}

TEST(deinit_of_the_shard_whose_init_failed_where_that_is_wanted) {
    uint32_t at = 0;
    sc.init = fail_one;
    sc.o.deinit_failed = true;
    failing = 1;
    CHECK_EQ(scene_run(3), XEV_ENOSPC);
    check_logged(&at, INIT, 2, 0, 1);
    check_logged(&at, DEINIT, 2, 1, -1);
    CHECK_EQ(at, sc.log_len);
}

static int fail_with_words(xev_shard *self) {
    char long_name[200];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    (void)xev_shard_fail(self, XEV_EBUSY, "other", "", "");
    if (failing == 0) {
        return xev_shard_fail_why(self, XEV_EACCES, "bind", "web", "127.0.0.1:80", "it is mine");
    }
    (void)xev_shard_fail(self, XEV_EACCES, "bind", long_name, long_name);
    return failing == 1 ? XEV_EACCES : XEV_ENOMEM;
}

TEST(a_failing_init_says_what_failed) {
    xev_runtime_failure f;
    sc.init = fail_with_words;
    for (failing = 0; failing < 3; failing++) {
        int code = failing < 2 ? XEV_EACCES : XEV_ENOMEM; /* it speaks of another code */
        CHECK_EQ(scene_run(2), code);
        xev_runtime_failure_get(&sc.rt, &f);
        CHECK_EQ(f.code, code);
        CHECK_EQ(f.shard, 0);
        CHECK_STR_EQ(f.call, failing < 2 ? "bind" : "init");
        CHECK_EQ(strlen(f.part), failing == 0 ? 3 : failing == 1 ? sizeof f.part - 1 : 0);
        CHECK_EQ(strlen(f.object), failing == 0 ? 12 : failing == 1 ? sizeof f.object - 1 : 0);
        CHECK_STR_EQ(f.why, failing == 0 ? "it is mine" : "");
    }
}

static xev_message mail[SCENE_SHARDS];
static atomic_int got[SCENE_SHARDS];

static void count_mail(xev_shard *self, xev_message *message, void *arg) {
    (void)arg;
    CHECK(message == &mail[xev_shard_id(self)]);
    got[xev_shard_id(self)]++;
}

static int zero_mails_all_then_two_fails(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        for (uint32_t i = 0; i < shards_of(self); i++) {
            CHECK_EQ(xev_shard_send(shard_number(self, i), &mail[i], count_mail, NULL), 0);
        }
    }
    return xev_shard_id(self) == 2 ? XEV_ENOSPC : 0;
}

static void check_mail_came(xev_shard *self) { CHECK_EQ(got[xev_shard_id(self)], 1); }

/* The one to the shard that fails is on its way in a shard that never gets to serve. */
TEST(failing_init_with_messages_on_their_way) {
    sc.init = zero_mails_all_then_two_fails;
    sc.deinit = check_mail_came;
    CHECK_EQ(scene_run(4), XEV_ENOSPC);
    check_failed_start(2);
}

static struct op started;

static int start_then_fail(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        op_timer(self, &started, HOUR_MS);
        return XEV_EPERM;
    }
    return 0;
}

TEST(operations_of_a_failing_init_are_cancelled) {
    sc.init = start_then_fail;
    CHECK_EQ(scene_run(2), XEV_EPERM);
    check_op(&started, XEV_ECANCELED);
}

TEST(bad_options_are_refused_without_a_callback) {
    CHECK_EQ(scene_run(XEV_SHARDS_MAX + 1), XEV_EINVAL);
    CHECK_EQ(sc.log_len, 0);
    sc.o.loop.entries = 3;
    CHECK_EQ(scene_run(2), XEV_EINVAL);
    CHECK_EQ(sc.log_len, 0);
    xev_runtime_failure f;
    xev_runtime_failure_get(&sc.rt, &f);
    CHECK_STR_EQ(f.why, "entries is no power of two to 4096");
}

TEST(a_backend_that_is_not_there_is_named) {
    xev_runtime_failure f;
    CHECK_EQ(setenv("XEV_BACKEND", "fast", 1), 0);
    CHECK_EQ(scene_run(2), XEV_EINVAL);
    CHECK_EQ(sc.log_len, 0);
    xev_runtime_failure_get(&sc.rt, &f);
    CHECK_STR_EQ(f.call, "xev_loop_init");
    CHECK_STR_EQ(f.object, "XEV_BACKEND: no such backend: fast");
    CHECK_STR_EQ(f.why, "");
}

/* ---- stop ---- */

static sem_t serving, go_on;

static void tell_serving(xev_shard *self) {
    (void)self;
    sem_give(&serving);
}

static void *stop_from_outside(void *arg) {
    uint32_t shards = *(uint32_t *)arg;
    CHECK(xev_shard_current() == NULL);
    for (uint32_t i = 0; i < shards; i++) {
        sem_take(&serving);
    }
    CHECK_EQ(xev_runtime_shards(&sc.rt), shards);
    xev_runtime_stop(&sc.rt);
    return NULL;
}

TEST(stop_from_another_thread) {
    uint32_t shards = 3;
    sem_new(&serving);
    sc.body = tell_serving;
    pthread_t t = thread_start(stop_from_outside, &shards);
    CHECK_EQ(scene_run(shards), 0);
    thread_join(t);
}

static struct op hour[SCENE_SHARDS];

static void start_hour_then_stop(xev_shard *self) {
    op_timer(self, &hour[xev_shard_id(self)], HOUR_MS);
    zero_stops_all(self);
}

static void check_hour_cancelled(xev_shard *self) {
    check_op(&hour[xev_shard_id(self)], XEV_ECANCELED);
}

static void check_hour_active(xev_shard *self) { CHECK_EQ(hour[xev_shard_id(self)].calls, 0); }

TEST(drain_deadline_cancels_what_is_left) {
    sc.body = start_hour_then_stop;
    sc.stop = check_hour_active;
    sc.deinit = check_hour_cancelled;
    sc.o.drain_ms = 30;
    CHECK_EQ(scene_run(3), XEV_ETIMEDOUT);
    uint32_t at = 6;
    check_logged(&at, STOP, 3, 2, -1);
    check_logged(&at, DEINIT, 3, 2, -1);
}

TEST(second_stop_ends_the_drain_at_once) {
    sc.body = start_hour_then_stop;
    sc.drain = zero_stops_all;
    sc.stop = check_hour_active;
    sc.deinit = check_hour_cancelled;
    sc.o.drain_ms = HOUR_MS;
    CHECK_EQ(scene_run(3), XEV_EINTR);
    uint32_t at = 6;
    check_logged(&at, STOP, 3, 2, -1);
    check_logged(&at, DEINIT, 3, 2, -1);
}

static void stop_twice(xev_shard *self) {
    start_hour_then_stop(self);
    zero_stops_all(self);
}

TEST(two_stops_before_the_drain_end_it_at_once) {
    sc.body = stop_twice;
    sc.deinit = check_hour_cancelled;
    sc.o.drain_ms = HOUR_MS;
    CHECK_EQ(scene_run(2), XEV_EINTR);
    CHECK_EQ(logged(DRAIN), 2);
}

/* ---- what the drain waits for ---- */

static struct op soon[SCENE_SHARDS];

static void start_soon_then_stop(xev_shard *self) {
    op_timer(self, &soon[xev_shard_id(self)], 10 * (xev_shard_id(self) + 1));
    zero_stops_all(self);
}

static void check_all_soon_fired(xev_shard *self) {
    for (uint32_t i = 0; i < shards_of(self); i++) {
        check_op(&soon[i], 0);
    }
}

TEST(drain_waits_for_timers) {
    sc.body = start_soon_then_stop;
    sc.stop = check_all_soon_fired; /* on each: no stop callback before all are drained */
    CHECK_EQ(scene_run(3), 0);
}

static void start_soon(xev_shard *self) { op_timer(self, &soon[xev_shard_id(self)], 5); }

TEST(drain_waits_for_what_its_callback_starts) {
    sc.body = zero_stops_all;
    sc.drain = start_soon;
    sc.stop = check_all_soon_fired;
    CHECK_EQ(scene_run(3), 0);
}

static void unreferenced_hour_then_stop(xev_shard *self) {
    op_timer(self, &hour[xev_shard_id(self)], HOUR_MS);
    xev_completion_unref(&hour[xev_shard_id(self)].c);
    zero_stops_all(self);
}

TEST(drain_does_not_wait_for_unreferenced_operations) {
    sc.body = unreferenced_hour_then_stop;
    sc.deinit = check_hour_cancelled;
    sc.o.drain_ms = HOUR_MS;
    CHECK_EQ(scene_run(3), 0);
}

static int hops;

static void hop(xev_shard *self, xev_message *message, void *arg) {
    if (++hops < 2000) {
        xev_shard *next = shard_number(self, (xev_shard_id(self) + 1) % shards_of(self));
        CHECK_EQ(xev_shard_send(next, message, hop, arg), 0);
    }
}

static void zero_starts_hops(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(xev_shard_send(shard_number(self, 1), &mail[0], hop, NULL), 0);
    }
}

static void check_hops(xev_shard *self) {
    (void)self;
    CHECK_EQ(hops, 2000);
}

TEST(drain_waits_for_messages) {
    sc.body = zero_stops_all;
    sc.drain = zero_starts_hops;
    sc.stop = check_hops;
    CHECK_EQ(scene_run(3), 0);
}

static xev_request ask;
static atomic_bool answered;
static xev_completion later;

static void answer(xev_shard *self, xev_request *request, int result, void *arg) {
    CHECK_EQ(xev_shard_id(self), 0);
    CHECK(request == &ask);
    CHECK(arg == &answered);
    CHECK_EQ(result, 42);
    answered = true;
}

static xev_cb_action reply_later(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    xev_shard_reply(userdata, 42);
    return XEV_DISARM;
}

/* Unreferenced, so that only the asker's waiting holds the drain. */
static void defer(xev_shard *self, xev_request *request, void *arg) {
    (void)arg;
    CHECK_EQ(xev_shard_id(self), 1);
    xev_timer_run(NULL, xev_shard_loop(self), &later, 20, request, reply_later);
    xev_completion_unref(&later);
}

static void zero_asks(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        xev_shard *one = shard_number(self, 1);
        CHECK_EQ(xev_shard_submit_to(one, &ask, defer, &answered, answer), 0);
    }
}

static void check_answered(xev_shard *self) {
    (void)self;
    CHECK(answered);
}

TEST(drain_waits_for_an_awaited_reply) {
    sc.body = zero_stops_all;
    sc.drain = zero_asks;
    sc.stop = check_answered;
    CHECK_EQ(scene_run(2), 0);
}

static int wait_until_drained(void *userdata) {
    (void)userdata;
    sem_take(&go_on);
    return 7;
}

static void submit_work(xev_shard *self) {
    struct op *o = &soon[xev_shard_id(self)];
    xev_work_submit(xev_shard_loop(self), &o->c, XEV_LANE_CPU, wait_until_drained, o, op_cb);
}

static void let_work_go_on(xev_shard *self) {
    (void)self;
    sem_give(&go_on);
}

static void work_and_zero_stops(xev_shard *self) {
    submit_work(self);
    zero_stops_all(self);
}

static void check_all_worked(xev_shard *self) {
    for (uint32_t i = 0; i < shards_of(self); i++) {
        check_op(&soon[i], 7);
    }
}

TEST(drain_waits_for_work_on_the_pool) {
    sem_new(&go_on);
    sc.body = work_and_zero_stops;
    sc.drain = let_work_go_on;
    sc.stop = check_all_worked;
    CHECK_EQ(scene_run(3), 0);
}

/* ---- signals ---- */

static int wanted_signal;

static void zero_raises(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(kill(getpid(), wanted_signal), 0);
    }
}

static void mask_now(sigset_t *mask) { CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, mask), 0); }

static bool same_mask(const sigset_t *a, const sigset_t *b) {
    for (int i = 1; i < 32; i++) {
        if (sigismember(a, i) != sigismember(b, i)) {
            return false;
        }
    }
    return true;
}

static void check_signal_stops(int signal_number) {
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    wanted_signal = signal_number;
    sc.body = zero_raises;
    CHECK_EQ(scene_run(3), 0);
    CHECK_EQ(logged(DRAIN), 3);
    CHECK_EQ(logged(DEINIT), 3);
    mask_now(&after);
    CHECK(same_mask(&before, &after));
}

TEST(sigterm_starts_the_drain_and_the_mask_is_restored) { check_signal_stops(SIGTERM); }
TEST(sigint_starts_the_drain_and_the_mask_is_restored) { check_signal_stops(SIGINT); }

static void start_hour_and_raise(xev_shard *self) {
    op_timer(self, &hour[xev_shard_id(self)], HOUR_MS);
    zero_raises(self);
}

static void zero_raises_again(xev_shard *self) {
    usleep(120000); /* a signal within 100 ms of the first is the same request */
    zero_raises(self);
}

TEST(second_signal_ends_the_drain_at_once) {
    wanted_signal = SIGTERM;
    sc.body = start_hour_and_raise;
    sc.drain = zero_raises_again;
    sc.deinit = check_hour_cancelled;
    sc.o.drain_ms = HOUR_MS;
    CHECK_EQ(scene_run(2), XEV_EINTR);
}

/* The end they ask for has come: they must not end the process as well. */
TEST(signal_during_the_end_is_not_left_pending) {
    wanted_signal = SIGTERM;
    sc.body = zero_raises;
    sc.deinit = zero_raises;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(logged(DEINIT), 2);
}

TEST(mask_is_restored_after_a_failed_start) {
    sigset_t before, after;
    mask_now(&before);
    sc.init = fail_one;
    failing = 1;
    CHECK_EQ(scene_run(2), XEV_ENOSPC);
    mask_now(&after);
    CHECK(same_mask(&before, &after));
}

static atomic_int handled;

static void on_signal(int signal_number) {
    (void)signal_number;
    handled++;
}

static void raise_and_go_on(xev_shard *self) {
    sigset_t mask;
    mask_now(&mask);
    CHECK_EQ(sigismember(&mask, SIGTERM), 0);
    CHECK_EQ(sigismember(&mask, SIGINT), 0);
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(kill(getpid(), SIGTERM), 0);
        while (handled == 0) {
            sched_yield();
        }
        CHECK_EQ(logged(DRAIN), 0);
        stop_all(self);
    }
}

TEST(no_signals_leaves_them_to_the_program) {
    struct sigaction act = {.sa_handler = on_signal};
    CHECK_EQ(sigaction(SIGTERM, &act, NULL), 0);
    sc.o.no_signals = true;
    sc.body = raise_and_go_on;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(handled, 1);
}

/* ---- the pool ---- */

struct job {
    struct op op;
    pthread_t thread;
    cpu_set_t cpus; /* where they are wanted */
};
static struct job jobs[SCENE_SHARDS];
static bool wants_cpus;
static atomic_int jobs_left;

static int note_thread(void *userdata) {
    struct job *job = userdata;
    job->thread = pthread_self();
    if (wants_cpus) {
        CHECK_EQ(sched_getaffinity(0, sizeof job->cpus, &job->cpus), 0);
    }
    CHECK(xev_shard_current() == NULL);
    return (int)(job - jobs);
}

static xev_cb_action on_job(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct job *job = userdata;
    CHECK_EQ(result, job - jobs);
    CHECK(xev_shard_loop(xev_shard_current()) == loop);
    CHECK_EQ(xev_shard_id(xev_shard_current()), job - jobs);
    (void)op_cb(loop, c, result, &job->op);
    if (--jobs_left == 0) {
        stop_all(xev_shard_current());
    }
    return XEV_DISARM;
}

static void submit_job(xev_shard *self) {
    struct job *job = &jobs[xev_shard_id(self)];
    xev_work_submit(xev_shard_loop(self), &job->op.c, XEV_LANE_CPU, note_thread, job, on_job);
}

TEST(the_pool_is_shared_by_all_shards) {
    jobs_left = 4;
    sc.body = submit_job;
    sc.o.pool_threads = 1;
    CHECK_EQ(scene_run(4), 0);
    for (uint32_t i = 0; i < 4; i++) {
        check_op(&jobs[i].op, (int)i);
        CHECK(pthread_equal(jobs[i].thread, jobs[0].thread));
    }
}

/* A pool thread is started by a shard, which is bound to one CPU: the pool is not. */
TEST(pool_threads_run_on_any_cpu) {
    cpu_set_t allowed;
    CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    wants_cpus = true;
    jobs_left = 2;
    sc.body = submit_job;
    CHECK_EQ(scene_run(2), 0);
    for (int i = 0; i < 2; i++) {
        CHECK(CPU_EQUAL(&jobs[i].cpus, &allowed));
    }
}

/* ---- placement ---- */

static cpu_set_t placed[SCENE_SHARDS];

static int note_cpus(xev_shard *self) {
    cpu_set_t *cpus = &placed[xev_shard_id(self)];
    CHECK_EQ(sched_getaffinity(0, sizeof *cpus, cpus), 0);
    return 0;
}

static size_t nth_cpu(const cpu_set_t *set, int n) {
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, set) || n-- > 0) {
        cpu++;
    }
    return cpu;
}

TEST(shards_are_bound_to_the_allowed_cpus_in_turn) {
    cpu_set_t allowed, after;
    CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    int count = CPU_COUNT(&allowed);
    uint32_t shards = (uint32_t)count * 2 + 1 < SCENE_SHARDS ? (uint32_t)count * 2 + 1 : 8;
    sc.init = note_cpus;
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(shards), 0);
    for (uint32_t i = 0; i < shards; i++) {
        CHECK_EQ(CPU_COUNT(&placed[i]), 1);
        CHECK(CPU_ISSET(nth_cpu(&allowed, (int)i % count), &placed[i]));
    }
    CHECK_EQ(sched_getaffinity(0, sizeof after, &after), 0);
    CHECK(CPU_EQUAL(&allowed, &after));
}

/* Other processes here may have the same idea of which CPUs come first. */
TEST(fewer_shards_than_cpus_are_placed_by_the_system) {
    cpu_set_t allowed;
    CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    uint32_t shards = (uint32_t)CPU_COUNT(&allowed) - 1;
    if (shards > 0 && shards <= SCENE_SHARDS) {
        sc.init = note_cpus;
        sc.body = zero_stops_all;
        CHECK_EQ(scene_run(shards), 0);
        for (uint32_t i = 0; i < shards; i++) {
            CHECK(CPU_EQUAL(&placed[i], &allowed));
        }
    }
}

TEST(shards_that_may_not_be_bound_run_all_the_same) {
    cpu_set_t allowed;
    CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    refuse(SYS_sched_setaffinity, EPERM);
    jobs_left = SCENE_SHARDS; /* nor may the threads of the pool */
    sc.init = note_cpus;
    sc.body = submit_job;
    CHECK_EQ(scene_run(SCENE_SHARDS), 0);
    CHECK(CPU_EQUAL(&placed[0], &allowed));
}

TEST(no_pin_leaves_the_shards_where_they_are) {
    cpu_set_t allowed;
    CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    sc.o.no_pin = true;
    sc.init = note_cpus;
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(2), 0);
    CHECK(CPU_EQUAL(&placed[0], &allowed));
    CHECK(CPU_EQUAL(&placed[1], &allowed));
}

TEST(only_cpus_of_the_affinity_are_used) {
    cpu_set_t one;
    CHECK_EQ(sched_getaffinity(0, sizeof one, &one), 0);
    size_t last = nth_cpu(&one, CPU_COUNT(&one) - 1);
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    CHECK_EQ(xev_cpu_count(), 1);
    sc.init = note_cpus;
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(2), 0);
    CHECK(CPU_EQUAL(&placed[0], &one));
    CHECK(CPU_EQUAL(&placed[1], &one));
}

TEST(more_shards_than_cpus) {
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(40), 0);
    CHECK_EQ(logged(DEINIT), 40);
}

TEST(as_many_shards_as_cpus_by_default) {
    cpu_set_t allowed;
    CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    uint32_t cpus = xev_cpu_count();
    CHECK_GE(cpus, 1);
    CHECK_LE(cpus, CPU_COUNT(&allowed));
    if (cpus <= SCENE_SHARDS) {
        sc.body = zero_stops_all;
        CHECK_EQ(scene_run(0), 0);
        CHECK_EQ(logged(INIT), cpus);
    }
}

/* ---- more than once, and nothing left ---- */

TEST(the_runtime_can_be_run_again_and_leaves_nothing) {
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(3), 0); /* whatever is made once in a process is there now */
    uint32_t fds = descriptors(), tasks = threads();
    for (int i = 0; i < 10; i++) {
        jobs_left = 3;
        sc.body = submit_job;
        memset(jobs, 0, sizeof jobs);
        CHECK_EQ(scene_run(3), 0);
        CHECK_EQ(logged(DEINIT), 3);
        CHECK_EQ(descriptors(), fds);
        wait_for_threads(tasks);
    }
}

TEST(a_failed_start_leaves_nothing) {
    sc.init = fail_one;
    failing = 2;
    CHECK_EQ(scene_run(4), XEV_ENOSPC);
    uint32_t fds = descriptors(), tasks = threads();
    CHECK_EQ(scene_run(4), XEV_ENOSPC);
    CHECK_EQ(descriptors(), fds);
    wait_for_threads(tasks);
}

/* ---- spinning ---- */

static void bounce(xev_shard *self, xev_message *message, void *arg) {
    if (++hops < 1000) {
        xev_shard *other = shard_number(self, 1 - xev_shard_id(self));
        CHECK_EQ(xev_shard_send(other, message, bounce, arg), 0);
    } else {
        sem_give(&serving);
    }
}

static void zero_bounces(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(xev_shard_send(shard_number(self, 1), &mail[0], bounce, NULL), 0);
    }
}

static void any_mail(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
}

static void *sleeps_again(void *arg) {
    (void)arg;
    sem_take(&serving);
    for (uint32_t i = 0; i < 2; i++) {
        xev_shard *s = xev_runtime_shard(&sc.rt, i);
        uint64_t before = counters_of(s).sleeps;
        CHECK_EQ(xev_shard_send(s, &mail[1 + i], any_mail, NULL), 0);
        while (counters_of(s).sleeps <= before) {
            sched_yield();
        }
    }
    xev_runtime_stop(&sc.rt);
    return NULL;
}

TEST(spinning_shards_get_their_messages_and_sleep_in_the_end) {
    sem_new(&serving);
    sc.o.loop.spin_ns = 200 * 1000;
    sc.body = zero_bounces;
    pthread_t t = thread_start(sleeps_again, NULL);
    CHECK_EQ(scene_run(2), 0);
    thread_join(t);
    CHECK_EQ(hops, 1000);
}
