/* Forked children of a process with shards. A child may have a runtime of its own, whatever the
 * parent's threads were doing. A child that returns from a callback of its parent's ends with a
 * line that names the call. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/death.h"
#include "tests/shard_scene.h"

/* ThreadSanitizer ends a forked child that starts threads, unless it is told not to. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }

/* Its children also end where a new thread gets the number of one that only the parent has. */
#if defined(__SANITIZE_THREAD__)
enum { CHILDREN = 0 };
#else
enum { CHILDREN = 20 };
#endif

/* ---- a runtime of the child's own ---- */

/* body in a forked child, whose checks are checked. */
static void in_child(void (*body)(void)) {
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        body();
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static int served;

static void serve_and_stop(xev_shard *self, xev_message *message, void *arg) {
    (void)message;
    CHECK(arg == &served);
    CHECK(xev_shard_current() == self);
    CHECK(xev_runtime_shard(xev_shard_runtime(self), 0) == self);
    served++;
    xev_runtime_stop(xev_shard_runtime(self));
}

static int send_to_itself(xev_shard *self, void *userdata) {
    static xev_message message;
    return xev_shard_send(self, &message, serve_and_stop, userdata);
}

static void run_once(xev_runtime *rt) {
    xev_runtime_options o = {
        .shards = 1, .no_pin = true, .init = send_to_itself, .userdata = &served};
    served = 0;
    CHECK(xev_shard_current() == NULL);
    CHECK_EQ(xev_runtime_run(rt, &o), 0);
    CHECK_EQ(served, 1);
}

static void run_another(void) {
    xev_runtime another;
    run_once(&another);
}

static void run_again(void) { run_once(&sc.rt); }

static atomic_bool begun, enough;

static void *stop_until_enough(void *arg) {
    (void)arg;
    begun = true;
    while (!enough) {
        xev_runtime_stop(&sc.rt); /* has ended, so nothing; but it is a call */
    }
    return NULL;
}

TEST(a_child_runs_a_runtime_though_its_parents_threads_were_in_calls) {
    sc.body = stop_all;
    CHECK_EQ(scene_run(1), 0);
    pthread_t caller = thread_start(stop_until_enough, NULL);
    while (!begun) { /* a sanitizer holds locks of its own while a thread begins */
        sched_yield();
    }
    for (int i = 0; i < CHILDREN; i++) { /* nearly each of them finds the caller inside */
        in_child(run_another);
    }
    enough = true;
    thread_join(caller);
}

static void fork_and_stop(xev_shard *self) {
    in_child(run_another);
    in_child(run_again); /* at the address of the runtime that it was forked in */
    stop_all(self);
}

TEST(a_child_made_in_a_callback_runs_a_runtime) {
    sc.body = fork_and_stop;
    CHECK_EQ(scene_run(1), 0);
}

/* ---- a child that comes back ---- */

static enum phase forks_in;
static struct death death;

/* In the phase: the child goes on as if it were the shard. */
static void fork_and_come_back(enum phase now) {
    if (now == forks_in && death.pid == 0) {
        (void)death_begins(&death);
    }
}

static int init_forks(xev_shard *self) {
    (void)self;
    fork_and_come_back(INIT);
    return 0;
}

static void drain_forks(xev_shard *self) {
    (void)self;
    fork_and_come_back(DRAIN);
}

static void stop_forks(xev_shard *self) {
    (void)self;
    fork_and_come_back(STOP);
}

static void deinit_forks(xev_shard *self) {
    (void)self;
    fork_and_come_back(DEINIT);
}

TEST(a_child_that_comes_back_from_a_callback_of_a_shard_is_named) {
    static const char *const names[] = {"init", "drain", "stop", "deinit"};
    sc.body = stop_all;
    sc.init = init_forks;
    sc.drain = drain_forks;
    sc.stop = stop_forks;
    sc.deinit = deinit_forks;
    for (forks_in = INIT; forks_in <= DEINIT; forks_in++) {
        death = (struct death){0};
        CHECK_EQ(scene_run(1), 0);
        CHECK_GT(death.pid, 0);
        death_check_words(&death, "xev_runtime_run", names[forks_in], "forked child");
    }
}

static sem_t stopped;
static bool fork_in_report(const xev_stuck *stuck, void *userdata) {
    (void)stuck;
    (void)userdata;
    if (death.pid == 0 && !death_begins(&death)) {
        sem_give(&stopped);
    }
    return true;
}

static void stop_and_block(xev_shard *self) {
    stop_all(self);
    sem_take(&stopped);
}

TEST(a_child_that_comes_back_from_the_report_of_a_stuck_shard_is_named) {
    sem_new(&stopped);
    sc.o.stuck = fork_in_report;
    sc.o.stuck_ms = sc.o.drain_ms = 1;
    sc.body = stop_and_block;
    CHECK_EQ(scene_run(1), XEV_ETIMEDOUT);
    death_check_words(&death, "xev_runtime_run", "stuck", "forked child");
}
