/* Callbacks that last: each is told once, with its shard and its name. */
#include <signal.h>

#include "shard/system.h"
#include "tests/shard_scene.h"
#include "xev/log.h"
#include "xev/os/thread.h"

enum { BLOCKERS = 2 };

static sem_t told[BLOCKERS]; /* of each shard */
static atomic_uint lines[BLOCKERS];
static char texts[BLOCKERS][1100];
static pthread_mutex_t texts_lock = PTHREAD_MUTEX_INITIALIZER;

static void on_line(const xev_log_line *line, void *userdata) {
    uint32_t shard;
    (void)userdata;
    CHECK_STR_EQ(line->kind, "slow");
    CHECK_EQ(line->level, XEV_LOG_WARN);
    CHECK_EQ(sscanf(line->text, "xev: shard %u: slow: for ", &shard), 1);
    CHECK_LT(shard, BLOCKERS);
    if (strstr(line->text, shard == 0 ? "on_begin_other, " : "on_first, ") == NULL) {
        return; /* the machine gave this thread no time */
    }
    pthread_mutex_lock(&texts_lock);
    if (lines[shard]++ == 0) {
        snprintf(texts[shard], sizeof texts[shard], "%s", line->text);
    }
    pthread_mutex_unlock(&texts_lock);
    sem_give(&told[shard]);
}

XEV__NOINLINE static void block_until_told(uint32_t shard) {
    sem_take(&told[shard]);
    while (lines[shard] == 0) { /* no tail call: this function is on the stack */
    }
}

static xev_cb_action on_blocking(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    block_until_told(*(uint32_t *)userdata);
    return XEV_DISARM;
}

static uint32_t numbers[BLOCKERS] = {0, 1};
static xev_completion timers[BLOCKERS];
static xev_message begin_other;

/* Shard 0 blocks after shard 1 has been told; meanwhile that one's turn might be told again. */
static void on_begin_other(xev_shard *self, xev_message *m, void *arg) {
    (void)m;
    (void)arg;
    CHECK_EQ(xev_shard_id(self), 0);
    block_until_told(0);
    stop_all(self);
}

static xev_cb_action on_first(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_cb_action action = on_blocking(loop, c, result, userdata);
    CHECK_EQ(
        xev_shard_send_urgent(xev_runtime_shard(&sc.rt, 0), &begin_other, on_begin_other, NULL), 0);
    while (lines[0] == 0) { /* the same callback lasts on, and computes now */
        sched_yield();
    }
    return action;
}

static void one_after_the_other(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        xev_timer_run(NULL, xev_shard_loop(self), &timers[1], 1, &numbers[1], on_first);
    }
}

static void check_text(uint32_t shard, const char *words) {
    if (strstr(texts[shard], words) == NULL) {
        CHECK_FAIL("\"%s\" is not in: %s", words, texts[shard]);
    }
}

static void run_slow(void) {
    for (int i = 0; i < BLOCKERS; i++) {
        sem_new(&told[i]);
    }
    xev_log_set(NULL, on_line);
    CHECK_EQ(scene_run(BLOCKERS), 0);
}

static void check_counter(xev_shard *self) {
    CHECK_GE(lines[xev_shard_id(self)], 1);
    CHECK_GE(counters_of(self).slow, lines[xev_shard_id(self)]);
}

TEST(a_callback_that_blocks_is_told_with_its_shard_and_its_name) {
    sc.o.slow_ms = 200;
    sc.body = one_after_the_other;
    sc.stop = check_counter;
    run_slow();
    check_text(1, " ms in one callback of its loop; last callback at on_first, ");
    check_text(1, "; its thread is ");
    check_text(0, " ms in one ");
    check_text(0, "; last callback at on_begin_other, ");
    CHECK(strstr(texts[1], "stack: ") == NULL);
    CHECK_EQ(lines[1], 1); /* though it lasted on, until the other one was told */
}

TEST(a_thread_tells_its_stack_by_a_signal) {
    sc.o.slow_ms = 200;
    sc.o.slow_signal = SIGRTMIN + 5;
    sc.body = one_after_the_other;
    run_slow();
    uintptr_t frames[2];
    xev__stack_prepare();
    if (xev__stack(frames, 2) > 0) { /* else there is no unwinder, as in a static program */
        check_text(1, "; stack: ");
        check_text(1, " < block_until_told, ");
        check_text(1, " < on_first, ");
        check_text(0, " < on_begin_other, ");
    } else {
        CHECK(strstr(texts[1], "stack: ") == NULL);
    }
    struct sigaction now;
    CHECK_EQ(sigaction(SIGRTMIN + 5, NULL, &now), 0);
    CHECK(now.sa_handler == SIG_DFL); /* as before */
}

TEST(a_signal_that_cannot_be_had_fails_the_start) {
    sc.o.slow_ms = 200;
    sc.o.slow_signal = SIGKILL;
    CHECK_EQ(scene_run(BLOCKERS), XEV_EINVAL);
    xev_runtime_failure why;
    xev_runtime_failure_get(&sc.rt, &why);
    CHECK_STR_EQ(why.call, "slow_signal");
}

TEST(nothing_is_told_by_default) {
    xev_log_set(NULL, on_line);
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(BLOCKERS), 0);
    CHECK_EQ(lines[0] + lines[1], 0);
}

TEST(static_functions_have_names) {
    char name[32];
    CHECK(xev__os_code_name((const void *)(uintptr_t)on_first, name, sizeof name));
    CHECK_STR_EQ(name, "on_first");
    CHECK(xev__os_code_name((const void *)((uintptr_t)block_until_told + 1), name, sizeof name));
    CHECK_STR_EQ(name, "block_until_told");
    CHECK(!xev__os_code_name(name, name, sizeof name)); /* no code */
    CHECK(xev__os_code_name((const void *)(uintptr_t)sem_wait, name, sizeof name));
}
