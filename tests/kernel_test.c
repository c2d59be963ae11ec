/* What a loop uses of the kernel, seen from outside. Timers and deadlines need no object and no
 * request of the kernel, and the rings have the size that was asked for. */
#include "tests/loop_scene.h"

#include <limits.h>
#include <sys/time.h>

/* -1: not told, as when the kernel has the ring in its hands. */
static int64_t number_in(const char *path, const char *key) {
    char line[256];
    size_t len = strlen(key);
    FILE *f = fopen(path, "re");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, key, len) == 0 && line[len] == ':') {
            fclose(f);
            return (int64_t)strtoull(line + len + 1, NULL, 0);
        }
    }
    fclose(f);
    return -1;
}

/* What the kernel says of the one ring of this process. -1: there is none. */
static int64_t ring_number(const char *key) {
    int64_t number = -1;
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir != NULL);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        char path[PATH_MAX], target[PATH_MAX];
        snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        if (strstr(target, "[io_uring]") != NULL) {
            CHECK_EQ(number, -1);
            snprintf(path, sizeof path, "/proc/self/fdinfo/%s", e->d_name);
            for (int i = 0; i < 1000 && (number = number_in(path, key)) < 0; i++) {
                sched_yield();
            }
            CHECK_GE(number, 0);
        }
    }
    closedir(dir);
    return number;
}

static bool on_io_uring(const xev_loop *loop) {
    return strcmp(xev_loop_backend(loop), "io_uring") == 0;
}

/* Timers of timer_create. */
static void check_no_posix_timer(void) {
    FILE *f = fopen("/proc/self/timers", "re");
    if (f != NULL) { /* a kernel may be built without it */
        CHECK_EQ(fgetc(f), EOF);
        fclose(f);
    }
}

static void check_no_interval_timer(void) {
    struct itimerval now[3];
    CHECK_EQ(getitimer(ITIMER_REAL, &now[0]), 0);
    CHECK_EQ(getitimer(ITIMER_VIRTUAL, &now[1]), 0);
    CHECK_EQ(getitimer(ITIMER_PROF, &now[2]), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(now[i].it_value.tv_sec + now[i].it_value.tv_usec, 0);
    }
}

enum { N = 200 };

static xev_loop loop;
static xev_tcp pairs[N][2];

static void open_pairs(void) {
    for (int i = 0; i < N; i++) {
        socket_pair(pairs[i]);
    }
}

static void close_pairs(void) {
    for (int i = 0; i < N; i++) {
        CHECK_EQ(xev_tcp_close_now(pairs[i][0]), 0);
        CHECK_EQ(xev_tcp_close_now(pairs[i][1]), 0);
    }
}

/* Receives that wait and then get their data. Returns the requests that were put into the ring. */
static int64_t receive_all(bool with_deadlines) {
    static struct op recvs[N];
    static char bytes[N];
    int64_t before = ring_number("SqTail");
    memset(recvs, 0, sizeof recvs);
    for (int i = 0; i < N; i++) {
        xev_tcp_recv(pairs[i][0], &loop, &recvs[i].c, &bytes[i], 1, &recvs[i], op_cb);
        if (with_deadlines) {
            xev_completion_set_timeout_ns(&loop, &recvs[i].c, 3600 * 1000 * MS_NS + (uint64_t)i);
        }
    }
    for (int i = 0; i < 3; i++) {
        run_no_wait(&loop);
    }
    uint32_t fds = descriptors();
    check_no_posix_timer();
    check_no_interval_timer();
    for (int i = 0; i < N; i++) {
        CHECK_EQ(recvs[i].calls, 0);
        put_bytes(pairs[i][1], "x", 1);
    }
    run_done(&loop);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(recvs[i].calls, 1);
        CHECK_EQ(recvs[i].result, 1);
    }
    CHECK_EQ(descriptors(), fds);
    return ring_number("SqTail") - before;
}

TEST(deadlines_cost_no_kernel_timer) {
    open_pairs();
    loop_start(&loop);
    (void)receive_all(false); /* what a loop asks for once is asked for */
    uint32_t fds = descriptors();
    int64_t without = receive_all(false), with = receive_all(true);
    /* One may be the loop's own timer, for all its deadlines. */
    CHECK_LE(with, without + 1);
    CHECK_LE(without, with + 1);
    CHECK_EQ(descriptors(), fds);
    CHECK_GE(without, on_io_uring(&loop) ? N : 0);
    xev_loop_deinit(&loop);
    close_pairs();
}

TEST(timers_cost_no_kernel_timer) {
    enum { TIMERS = 10000 };
    static struct op o[TIMERS];
    struct op first = {0};
    loop_start(&loop);
    xev_timer_run(NULL, &loop, &first.c, 1, &first, op_cb);
    run_done(&loop);
    uint32_t fds = descriptors();
    int64_t before = ring_number("SqTail");
    for (int i = 0; i < TIMERS; i++) {
        uint64_t timeout = i % 2 == 0 ? (uint64_t)i * 1000 : HOUR_MS * MS_NS;
        xev_timer_run_ns(NULL, &loop, &o[i].c, timeout, &o[i], op_cb);
    }
    for (int i = 0; i < TIMERS; i += 2) {
        while (o[i].calls == 0) {
            run_once(&loop);
        }
    }
    CHECK_EQ(descriptors(), fds);
    CHECK_EQ(ring_number("SqTail"), before);
    check_no_posix_timer();
    check_no_interval_timer();
    xev_loop_deinit(&loop);
    CHECK_EQ(o[1].result, XEV_ECANCELED);
}

/* Or what is tested with little room is not. */
TEST(rings_are_no_larger_than_asked_for) {
    static const uint32_t sizes[][2] = {{4, 8}, {64, 64}, {64, 4096}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        xev_loop_options options = {.entries = sizes[i][0], .cq_entries = sizes[i][1]};
        loop_start_options(&loop, &options);
        bool ring = on_io_uring(&loop);
        CHECK_EQ(ring_number("SqMask"), ring ? (int64_t)sizes[i][0] - 1 : -1);
        CHECK_EQ(ring_number("CqMask"), ring ? (int64_t)sizes[i][1] - 1 : -1);
        xev_loop_deinit(&loop);
    }
}
