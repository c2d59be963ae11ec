/* What the tests of files and of DNS share: a loop with a pool whose lanes can be blocked, file
 * requests that record their callbacks, and a directory for each case. */
#ifndef TESTS_FILE_SCENE_H
#define TESTS_FILE_SCENE_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>

#include "tests/loop_scene.h"

struct scene {
    xev_loop loop;
    xev_threadpool pool;
    char dir[PATH_MAX / 2];
};

/* One thread per lane: a blocked lane is full, and the others are not. */
static inline void scene_start(struct scene *s) {
    xev_threadpool_config cfg;
    xev_threadpool_config_init(&cfg);
    xev_threadpool_config_set_max_threads(&cfg, XEV_LANE_COUNT);
    for (int lane = 0; lane < XEV_LANE_COUNT; lane++) {
        xev_threadpool_config_set_lane_cap(&cfg, (enum xev_threadpool_lane)lane, 1);
    }
    CHECK_EQ(xev_threadpool_init(&s->pool, &cfg), 0);
    xev_loop_options options = {.thread_pool = &s->pool};
    loop_start_options(&s->loop, &options);
    const char *tmp = getenv("TEST_TMPDIR");
    snprintf(s->dir, sizeof s->dir, "%s/xev.XXXXXX", tmp != NULL ? tmp : "/tmp");
    CHECK(mkdtemp(s->dir) != NULL);
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static inline void scene_end(struct scene *s) {
    xev_loop_deinit(&s->loop);
    xev_threadpool_deinit(&s->pool);
    CHECK_EQ(nftw(s->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* dir/name. The text stays valid for the next few calls. */
static inline const char *path_in(const struct scene *s, const char *name) {
    static char paths[8][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, PATH_MAX, "%s/%s", s->dir, name);
    return path;
}

/* Work that blocks a lane's thread until the test releases it. */
struct hold {
    struct op op;
    sem_t entered, go;
};

static inline int hold_work(void *userdata) {
    struct hold *h = userdata;
    sem_post(&h->entered);
    sem_take(&h->go);
    return 0;
}

static inline xev_cb_action hold_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct hold *h = userdata;
    return op_cb(loop, c, result, &h->op);
}

static inline void hold_lane(struct scene *s, struct hold *h, enum xev_threadpool_lane lane) {
    memset(h, 0, sizeof *h);
    CHECK_EQ(sem_init(&h->entered, 0, 0), 0);
    CHECK_EQ(sem_init(&h->go, 0, 0), 0);
    xev_work_submit(&s->loop, &h->op.c, lane, hold_work, h, hold_cb);
    sem_take(&h->entered);
}

static inline void let_go(struct scene *s, struct hold *h) {
    sem_post(&h->go);
    run_for(&s->loop, &h->op, 1);
    sem_destroy(&h->entered);
    sem_destroy(&h->go);
}

/* Wait until the lane's one thread runs the task that it was given: it is in its system call, or
 * just before. The pool may count a finished task as running for a moment longer, so no task may be
 * waiting either. */
static inline void wait_until_running(struct scene *s, enum xev_threadpool_lane lane) {
    xev_threadpool_counters n;
    do {
        sched_yield();
        xev_threadpool_stats(&s->pool, &n);
    } while (n.lane[lane].running == 0 || n.lane[lane].queued > 0);
}

/* A file request that records its callbacks. */
struct freq {
    xev_file_req r;
    uint32_t calls;
    int result;
    uint32_t order;
    uint32_t rearm; /* how many more times it answers XEV_REARM */
    uint64_t total; /* sum of the results above 0 */
};

static inline xev_cb_action freq_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct freq *f = userdata;
    (void)loop;
    CHECK(c == &f->r.c);
    CHECK_EQ(xev_completion_state(c), XEV_COMPLETION_DEAD);
    f->calls++;
    f->result = result;
    f->order = atomic_fetch_add(&op_clock, 1) + 1;
    f->total += result > 0 ? (uint64_t)result : 0;
    if (f->rearm > 0) {
        f->rearm--;
        return XEV_REARM;
    }
    return XEV_DISARM;
}

/* Run the loop until f's callback number n. */
static inline int wait_calls(struct scene *s, struct freq *f, uint32_t n) {
    while (f->calls < n) {
        CHECK_GT(xev_loop_active(&s->loop), 0);
        run_once(&s->loop);
    }
    CHECK_EQ(f->calls, n);
    return f->result;
}

static inline int wait_for(struct scene *s, struct freq *f) { return wait_calls(s, f, 1); }

/* RUN(s, xev_file_fsync(fd, &s.loop, &f.r, ARG)): submit one request and wait for its result. */
#define ARG &f, freq_cb
#define RUN(s, call) (memset(&f, 0, sizeof f), (call), wait_for((s), &f))

static inline int open_in(struct scene *s, const char *name, uint32_t flags) {
    struct freq f;
    int fd = RUN(s, xev_file_open(&s->loop, &f.r, path_in(s, name), flags, 0644, ARG));
    CHECK_GE(fd, 0);
    return fd;
}

/* Make a file with these bytes. */
static inline int create_in(struct scene *s, const char *name) {
    return open_in(s, name, XEV_OPEN_READ | XEV_OPEN_WRITE | XEV_OPEN_CREATE | XEV_OPEN_TRUNCATE);
}

static inline void put_file(const struct scene *s, const char *name, const void *bytes,
                            size_t len) {
    int fd = open(path_in(s, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK_GE(fd, 0);
    CHECK_EQ(write(fd, bytes, len), (ssize_t)len);
    CHECK_EQ(close(fd), 0);
}

static inline void close_file(struct scene *s, int fd) {
    struct freq f;
    CHECK_EQ(RUN(s, xev_file_close(fd, &s->loop, &f.r, ARG)), 0);
    CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
}

static inline void cancel_op(struct scene *s, xev_completion *target, struct op *cancel) {
    memset(cancel, 0, sizeof *cancel);
    xev_cancel(&s->loop, target, &cancel->c, cancel, op_cb);
}

#endif
