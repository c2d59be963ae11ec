/* The log: levels, limits, who is told; and what the library itself says. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "tests/death.h"
#include "xev/log.h"
#include "xev/os/complain.h"
#include "xev/shard.h"

/* The last line told, and how many there were. */
struct told {
    char kind[32], text[1100];
    xev_log_level level;
    uint64_t lines, left_out;
};

static void note(const xev_log_line *line, void *userdata) {
    struct told *t = userdata;
    snprintf(t->kind, sizeof t->kind, "%s", line->kind);
    snprintf(t->text, sizeof t->text, "%s", line->text);
    CHECK_EQ(strlen(line->text), line->len_bytes);
    t->level = line->level;
    t->left_out += line->left_out;
    t->lines++;
    errno = EDOM;
}

TEST(a_line_is_told_with_its_kind_and_level) {
    static xev_log_kind kind = {.name = "a kind", .level = XEV_LOG_WARN};
    struct told t = {.lines = 0};
    xev_log_set(&t, note);
    errno = ENOENT;
    xev_log_write(&kind, "%d lines", 2);
    CHECK_EQ(errno, ENOENT);
    CHECK_EQ(t.lines, 1);
    CHECK_EQ(t.level, XEV_LOG_WARN);
    CHECK_STR_EQ(t.kind, "a kind");
    CHECK_STR_EQ(t.text, "2 lines");
}

TEST(what_is_told_is_one_line) {
    static xev_log_kind kind = {.name = "peer"};
    struct told t = {.lines = 0};
    xev_log_set(&t, note);
    xev_log_write(&kind, "said: %s", "a\nshard 1: all is well\r\n");
    CHECK_STR_EQ(t.text, "said: a shard 1: all is well  ");
    CHECK_EQ(t.lines, 1);
}

TEST(lines_below_the_level_are_not_told) {
    static const char *const names[] = {"error", "warn", "info", "debug"};
    CHECK_EQ(xev_log_get_level(), XEV_LOG_WARN);
    for (int i = 0; i < XEV_LOG_LEVELS; i++) {
        struct told t = {.lines = 0};
        xev_log_set(&t, note);
        CHECK_STR_EQ(xev_log_level_name((xev_log_level)i), names[i]);
        CHECK_EQ(xev_log_level_of(names[i]), i);
        xev_log_set_level((xev_log_level)i);
        for (int level = 0; level < XEV_LOG_LEVELS; level++) {
            xev_log_kind kind = {.name = "a", .level = (xev_log_level)level};
            xev_log_write(&kind, "a");
        }
        CHECK_EQ(t.lines, i + 1);
        CHECK_EQ(t.level, i);
    }
    CHECK_EQ(xev_log_level_of("loud"), XEV_LOG_LEVELS);
    CHECK_EQ(xev_log_left_out(), 0);
}

TEST(a_long_line_is_cut_and_says_still_what_was_left_out) {
    xev_log_kind kind = {.name = "long", .lines_max = 1, .period_ms = 1};
    struct told t = {.lines = 0};
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    xev_log_set(&t, note);
    xev_log_write(&kind, "%s", text);
    CHECK_EQ(strlen(t.text), 1022);
    while (t.left_out == 0) {
        xev_log_write(&kind, "%s", text);
    }
    CHECK_EQ(strlen(t.text), 1022);
    CHECK(strstr(t.text, "x (") != NULL);
    CHECK(strstr(t.text, " more were left out)") != NULL);
}

TEST(a_kind_has_a_limit_of_its_own) {
    xev_log_kind noisy = {.name = "noisy", .lines_max = 3, .period_ms = UINT32_MAX},
                 other = {.name = "other"}, free_one = {.name = "free", .lines_max = UINT32_MAX};
    struct told t = {.lines = 0};
    xev_log_set(&t, note);
    for (int i = 0; i < 10; i++) {
        xev_log_write(&noisy, "%d", i);
    }
    CHECK_EQ(t.lines, 3);
    CHECK_STR_EQ(t.text, "2");
    CHECK_EQ(xev_log_left_out(), 7);
    xev_log_write(&other, "a");
    CHECK_EQ(t.lines, 4);
    for (int i = 0; i < 5000; i++) {
        xev_log_write(&free_one, "a");
    }
    CHECK_EQ(t.lines, 5004);
    CHECK_EQ(t.left_out, 0);
}

/* Another thread has begun the period after this one's look at the clock, and used it up. */
TEST(a_period_that_has_begun_in_the_meantime_is_not_begun_again) {
    xev_log_kind kind = {.name = "a", .lines_max = 3, .period_ms = 1000};
    struct told t = {.lines = 0};
    struct timespec now;
    CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    kind.window = ((uint64_t)now.tv_sec * 1000 + 3600000) << 24 | 3;
    xev_log_set(&t, note);
    xev_log_write(&kind, "a");
    CHECK_EQ(t.lines, 0);
    CHECK_EQ(xev_log_left_out(), 1);
}

TEST(what_was_left_out_is_told_by_the_next_line) {
    xev_log_kind kind = {.name = "a", .lines_max = 2, .period_ms = 1};
    struct told t = {.lines = 0};
    uint64_t written = 0;
    xev_log_set(&t, note);
    while (t.left_out < 1000) {
        uint64_t told = t.lines, left_out = t.left_out;
        xev_log_write(&kind, "line");
        written++;
        if (t.lines > told && t.left_out > left_out) {
            char want[64];
            snprintf(want, sizeof want, "line (%llu more were left out)",
                     (unsigned long long)(t.left_out - left_out));
            CHECK_STR_EQ(t.text, want);
        }
    }
    CHECK_EQ(t.lines + t.left_out, written);
    CHECK_EQ(xev_log_left_out(), t.left_out);
}

/* ---- threads ---- */

enum { THREADS = 4, LINES = 20000 };

static xev_log_kind shared_kind = {.name = "shared", .lines_max = 100, .period_ms = 1};
static atomic_ullong told_lines, told_left_out;

static void add_up(const xev_log_line *line, void *userdata) {
    atomic_int *usable = userdata;
    CHECK_EQ(*usable, 1);
    told_lines++;
    told_left_out += line->left_out;
}

static void *write_lines(void *arg) {
    for (int i = 0; i < LINES; i++) {
        xev_log_write(&shared_kind, "a");
    }
    return arg;
}

TEST(no_line_is_lost_between_threads_and_none_reaches_a_function_that_was_replaced) {
    static atomic_int usable[2] = {1, 1};
    pthread_t threads[THREADS];
    xev_log_set(&usable[0], add_up);
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, write_lines, NULL), 0);
    }
    for (int i = 0; i < 1000; i++) {
        usable[1 - i % 2] = 1;
        xev_log_set(&usable[1 - i % 2], add_up);
        usable[i % 2] = 0;
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(told_lines + told_left_out + shared_kind.left_out, THREADS * LINES);
}

/* ---- what the library says ---- */

static void to_pipe(const xev_log_line *line, void *userdata) {
    dprintf(*(int *)userdata, "xev: told: %s %s: %s\n", xev_log_level_name(line->level), line->kind,
            line->text);
}

static void misuse_with_a_callback(void) {
    static int err = STDERR_FILENO;
    xev_log_set_level(XEV_LOG_ERROR);
    xev_log_set(&err, to_pipe);
    (void)xev_shard_id(NULL);
}

TEST(misuse_is_told_to_the_callback_and_ends_the_program) {
    struct death d;
    if (death_begins(&d)) {
        misuse_with_a_callback();
        death_missed();
    }
    death_check_words(&d, "told", "misuse", "error misuse: xev: xev_shard_id: shard is null");
}

enum { FAILS_AT = __LINE__ + 5 };

static void fail_again(const xev_log_line *line, void *userdata) {
    (void)line;
    (void)userdata;
    XEV_ASSERT(userdata != NULL);
}

static void misuse_in_a_callback(void) {
    xev_log_set(NULL, fail_again);
    (void)xev_shard_id(NULL);
}

TEST(misuse_by_the_callback_goes_to_stderr) {
    struct death d;
    if (death_begins(&d)) {
        misuse_in_a_callback();
        death_missed();
    }
    char place[32];
    snprintf(place, sizeof place, "tests/log_test.c:%d", FAILS_AT);
    death_check_words(&d, place, "assertion", "assertion failed: userdata != NULL");
}

static int stop_at_once(xev_shard *shard, void *userdata) {
    (void)userdata;
    xev_runtime_stop(xev_shard_runtime(shard));
    return 0;
}

static char all[4096];

static void gather(const xev_log_line *line, void *userdata) {
    (void)userdata;
    size_t len = strlen(all);
    snprintf(all + len, sizeof all - len, "%s: %s\n", line->kind, line->text);
}

TEST(a_runtime_says_what_it_does) {
    const xev_runtime_options o = {.shards = 1, .init = stop_at_once};
    xev_runtime rt;
    xev_log_set(NULL, gather);
    CHECK_EQ(xev_runtime_run(&rt, &o), 0);
    CHECK_STR_EQ(all, ""); /* by default nothing */
    xev_log_set_level(XEV_LOG_INFO);
    CHECK_EQ(xev_runtime_run(&rt, &o), 0);
    CHECK(strstr(all, "runtime: xev: 1 shards serve\n") != NULL);
    CHECK(strstr(all, "runtime: xev: the drain begins, for 10000 ms at most\n") != NULL);
    CHECK(strstr(all, "runtime: xev: the drain is over\n") != NULL);
}

TEST(a_loop_says_why_it_is_not_on_the_preferred_backend) {
    xev_loop_options o = {.disable = 0};
    xev_loop loop;
    CHECK_EQ(unsetenv("XEV_BACKEND"), 0);
    xev_log_set(NULL, gather);
    xev_log_set_level(XEV_LOG_INFO);
    CHECK_EQ(xev_loop_init_options(&loop, &o), 0);
    CHECK_EQ(strstr(all, "backend: xev: a loop is on epoll; ") != NULL,
             xev_loop_fallback_reason(&loop) != NULL);
    xev_loop_deinit(&loop);
}
