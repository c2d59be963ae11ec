/* Reads and writes of files that need no thread: what is tried on the loop, what is not, and that
 * nobody else can tell the difference. The calls are wrapped: they count, and fail as told. */
#include <sys/uio.h>

#include "tests/file_scene.h"
#include "xev/os/linux/libc.h"

enum { PAGE = 4096 };

/* What the wrapped calls are to do. */
static struct {
    int reads, writes; /* made */
    int fail_reads;    /* so many of the next fail with code */
    int fail_writes;
    int code;
    size_t read_most;   /* a read gives no more at a time, and then fails with EAGAIN; 0: all */
    size_t write_most;  /* a write takes no more; 0: all */
    bool emulate_write; /* without this flag, as for a file system that has it */
} sys;

ssize_t __real_preadv2(int fd, const struct iovec *vec, int count, off_t offset, int flags);
ssize_t __real_pwritev2(int fd, const struct iovec *vec, int count, off_t offset, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *vec, int count, off_t offset, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *vec, int count, off_t offset, int flags);

ssize_t __wrap_preadv2(int fd, const struct iovec *vec, int count, off_t offset, int flags) {
    sys.reads++;
    CHECK_EQ(flags, RWF_NOWAIT);
    if (sys.fail_reads > 0) {
        sys.fail_reads--;
        errno = sys.code;
        return -1;
    }
    struct iovec first = vec[0];
    if (sys.read_most > 0 && first.iov_len > sys.read_most) {
        first.iov_len = sys.read_most;
        sys.fail_reads = 1;
        sys.code = EAGAIN;
        return __real_preadv2(fd, &first, 1, offset, 0);
    }
    /* What the test has just written is in memory, on any file system. */
    return __real_preadv2(fd, vec, count, offset, 0);
}

ssize_t __wrap_pwritev2(int fd, const struct iovec *vec, int count, off_t offset, int flags) {
    sys.writes++;
    CHECK_EQ(flags, RWF_NOWAIT);
    if (sys.fail_writes > 0) {
        sys.fail_writes--;
        errno = sys.code;
        return -1;
    }
    struct iovec first = vec[0];
    if (sys.write_most > 0 && first.iov_len > sys.write_most) {
        first.iov_len = sys.write_most;
        return __real_pwritev2(fd, &first, 1, offset, 0);
    }
    return __real_pwritev2(fd, vec, count, offset, sys.emulate_write ? 0 : flags);
}

static uint64_t finished(struct scene *s) {
    xev_threadpool_counters n;
    xev_threadpool_stats(&s->pool, &n);
    return n.lane[XEV_LANE_FS].finished + n.lane[XEV_LANE_FS].running;
}

static char page[PAGE], got[16 * PAGE];

/* A file of one page, open; no call was made yet. */
static int start(struct scene *s) {
    scene_start(s);
    for (int i = 0; i < PAGE; i++) {
        page[i] = (char)(i * 7);
    }
    put_file(s, "a", page, PAGE);
    int fd = open_in(s, "a", XEV_OPEN_READ | XEV_OPEN_WRITE);
    memset(got, 0, sizeof got);
    memset(&sys, 0, sizeof sys);
    sys.code = EAGAIN;
    return fd;
}

static void end(struct scene *s, int fd) {
    close_file(s, fd);
    scene_end(s);
}

TEST(cached_read_needs_no_thread) {
    struct scene s;
    int fd = start(&s);
    struct hold held;
    hold_lane(&s, &held, XEV_LANE_FS);
    struct freq f[4] = {{.calls = 0}};
    xev_vec vec[2] = {{got + 100, 50}, {got + 200, 50}};
    xev_file_pread(fd, &s.loop, &f[0].r, got, 100, 30, &f[0], freq_cb);
    xev_file_read(fd, &s.loop, &f[1].r, got + 300, 20, &f[1], freq_cb);
    xev_file_readv(fd, &s.loop, &f[2].r, vec, 2, &f[2], freq_cb);
    xev_file_preadv(fd, &s.loop, &f[3].r, vec, 2, 20, &f[3], freq_cb);
    CHECK_EQ(f[0].calls + f[1].calls + f[2].calls + f[3].calls, 0); /* never inside the call */
    for (int turn = 0; turn < 4; turn++) {
        run_no_wait(&s.loop); /* the thread is held all the time */
    }
    CHECK_EQ(f[0].calls + f[1].calls + f[2].calls + f[3].calls, 4);
    CHECK_EQ(f[0].result, 100);
    CHECK_EQ(memcmp(got, page + 30, 100), 0);
    CHECK_EQ(f[1].result, 20);
    CHECK_EQ(memcmp(got + 300, page, 20), 0);
    CHECK_EQ(f[2].result, 100);
    CHECK_EQ(f[3].result, 100);
    CHECK_EQ(memcmp(got + 100, page + 20, 50), 0); /* the same bytes by both */
    CHECK_EQ(memcmp(got + 200, page + 70, 50), 0);
    CHECK_EQ(sys.reads, 4);
    let_go(&s, &held);
    end(&s, fd);
}

TEST(what_is_not_in_memory_is_read_by_a_thread) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    uint64_t before = finished(&s);
    sys.fail_reads = 1;
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, PAGE, 0, ARG)), PAGE);
    CHECK_EQ(memcmp(got, page, PAGE), 0);
    CHECK_EQ(finished(&s), before + 1);
    end(&s, fd);
}

TEST(large_read_goes_to_a_thread_at_once) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    static char large[256 * 1024];
    uint64_t before = finished(&s);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, large, sizeof large, 0, ARG)), PAGE);
    CHECK_EQ(finished(&s), before + 1);
    CHECK_EQ(sys.reads, 0);
    end(&s, fd);
}

TEST(system_without_such_reads_is_asked_once) {
    static const int codes[] = {ENOSYS, EOPNOTSUPP, EINVAL, EPERM};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct scene s;
        int fd = start(&s);
        struct freq f;
        sys.code = codes[i];
        sys.fail_reads = 1000;
        for (int n = 0; n < 20; n++) {
            CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, PAGE, 0, ARG)), PAGE);
        }
        CHECK_EQ(memcmp(got, page, PAGE), 0);
        CHECK_EQ(sys.reads, 1);
        end(&s, fd);
    }
}

TEST(errors_are_those_of_a_thread) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    int wo = open_in(&s, "a", XEV_OPEN_WRITE), dir = open_in(&s, ".", XEV_OPEN_DIRECTORY);
    CHECK_EQ(RUN(&s, xev_file_pread(wo, &s.loop, &f.r, got, 1, 0, ARG)), XEV_EBADF);
    CHECK_EQ(RUN(&s, xev_file_pread(dir, &s.loop, &f.r, got, 1, 0, ARG)), XEV_EISDIR);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 1, UINT64_MAX, ARG)), XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 1, (uint64_t)1 << 63, ARG)),
             XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 0, 0, ARG)), XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_pread(9999, &s.loop, &f.r, got, 1, 0, ARG)), XEV_EBADF);
    close_file(&s, wo);
    close_file(&s, dir);
    end(&s, fd);
}

TEST(end_of_file_and_holes) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    uint64_t before = finished(&s);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, PAGE, PAGE - 10, ARG)), 10);
    CHECK_EQ(memcmp(got, page + PAGE - 10, 10), 0);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, PAGE, PAGE, ARG)), XEV_EOF);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, PAGE, INT64_MAX - PAGE, ARG)), XEV_EOF);
    CHECK_EQ(RUN(&s, xev_file_read(fd, &s.loop, &f.r, got, 4 * PAGE, ARG)), PAGE);
    CHECK_EQ(memcmp(got, page, PAGE), 0);
    CHECK_EQ(RUN(&s, xev_file_read(fd, &s.loop, &f.r, got, 1, ARG)), XEV_EOF);
    CHECK_EQ(ftruncate(fd, 8 * PAGE), 0);
    CHECK_EQ(RUN(&s, xev_file_read(fd, &s.loop, &f.r, got, PAGE, ARG)), PAGE);
    CHECK_EQ(got[0] | got[PAGE - 1], 0);
    CHECK_EQ(finished(&s), before);
    end(&s, fd);
}

/* A part was in memory. Callers are told of fewer bytes near the end of the file only. */
TEST(part_in_memory_is_read_whole) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    xev_vec vec[2] = {{got + 100, 50}, {got + 200, 50}};
    sys.read_most = 20;
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 100, 7, ARG)), 100);
    CHECK_EQ(memcmp(got, page + 7, 100), 0);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 10, 0, ARG)), 10);
    CHECK_EQ(RUN(&s, xev_file_read(fd, &s.loop, &f.r, got, 100, ARG)), 100);
    CHECK_EQ(memcmp(got, page, 100), 0);
    for (int i = 0; i < 40; i++) { /* until it is tried again */
        CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 10, 0, ARG)), 10);
    }
    int tries = sys.reads;
    CHECK_EQ(RUN(&s, xev_file_readv(fd, &s.loop, &f.r, vec, 2, ARG)), 100);
    CHECK_EQ(memcmp(got + 100, page + 100, 50), 0);
    CHECK_EQ(memcmp(got + 200, page + 150, 50), 0);
    CHECK_GT(sys.reads, tries);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 200);
    end(&s, fd);
}

TEST(misses_in_a_row_make_tries_rare) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    sys.fail_reads = 1000;
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, PAGE, 0, ARG)), PAGE);
    }
    CHECK_LT(sys.reads, 20);
    /* And one that is in memory makes them common again. */
    sys.fail_reads = 0;
    for (int i = 0; i < 40; i++) {
        CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, PAGE, 0, ARG)), PAGE);
    }
    sys.reads = 0;
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, PAGE, 0, ARG)), PAGE);
    CHECK_EQ(sys.reads, 1);
    end(&s, fd);
}

/* Reads at the position follow each other, whichever of them need a thread. */
TEST(order_holds_between_tries_and_threads) {
    enum { N = 60 };
    struct scene s;
    int fd = start(&s);
    static struct freq f[N];
    memset(f, 0, sizeof f);
    sys.fail_reads = 2;
    for (int i = 0; i < N; i++) {
        xev_file_read(fd, &s.loop, &f[i].r, got + i, 1, &f[i], freq_cb);
    }
    run_done(&s.loop);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(f[i].calls, 1);
        CHECK_EQ(f[i].result, 1);
        CHECK(i == 0 || f[i].order > f[i - 1].order);
    }
    CHECK_EQ(memcmp(got, page, N), 0);
    CHECK_GT(sys.reads, 2);
    end(&s, fd);
}

TEST(order_holds_between_reads_and_queued_writes) {
    struct scene s;
    int fd = start(&s);
    struct freq f[5];
    for (int emulate = 0; emulate < 2; emulate++) {
        memset(f, 0, sizeof f);
        sys.emulate_write = emulate == 1;
        CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
        xev_file_read(fd, &s.loop, &f[0].r, got, 10, &f[0], freq_cb);
        xev_file_write(fd, &s.loop, &f[1].r, "ABCDEFGHIJ", 10, &f[1], freq_cb);
        xev_file_read(fd, &s.loop, &f[2].r, got + 10, 10, &f[2], freq_cb);
        xev_file_write(fd, &s.loop, &f[3].r, "abcdefghij", 10, &f[3], freq_cb);
        xev_file_read(fd, &s.loop, &f[4].r, got + 20, 10, &f[4], freq_cb);
        run_done(&s.loop);
        for (int i = 0; i < 5; i++) {
            CHECK_EQ(f[i].result, 10);
            CHECK(i == 0 || f[i].order > f[i - 1].order);
        }
        CHECK_EQ(memcmp(got, page, 10), 0);
        CHECK_EQ(memcmp(got + 10, page + 20, 10), 0);
        CHECK_EQ(memcmp(got + 20, page + 40, 10), 0);
        CHECK_EQ(pread(fd, got, 40, 0), 40);
        CHECK_EQ(memcmp(got + 10, "ABCDEFGHIJ", 10), 0);
        CHECK_EQ(memcmp(got + 30, "abcdefghij", 10), 0);
    }
    end(&s, fd);
}

TEST(cancelled_before_its_try_has_no_effect) {
    struct scene s;
    int fd = start(&s);
    struct freq read, behind, other;
    struct op cancels[2];
    memset(&read, 0, sizeof read);
    memset(&behind, 0, sizeof behind);
    memset(&other, 0, sizeof other);
    xev_file_read(fd, &s.loop, &read.r, got, 10, &read, freq_cb);
    xev_file_read(fd, &s.loop, &behind.r, got + 10, 10, &behind, freq_cb);
    xev_file_pread(fd, &s.loop, &other.r, got + 20, 10, 0, &other, freq_cb);
    cancel_op(&s, &read.r.c, &cancels[0]);
    cancel_op(&s, &read.r.c, &cancels[1]);
    run_done(&s.loop);
    CHECK_EQ(read.result, XEV_ECANCELED);
    CHECK_EQ(got[1], 0); /* untouched */
    CHECK_EQ(cancels[0].result, 0);
    CHECK_EQ(cancels[1].result, XEV_ENOENT);
    CHECK_GT(cancels[0].order, read.order);
    CHECK_EQ(behind.result, 10);
    CHECK_EQ(memcmp(got + 10, page, 10), 0); /* from where the first would have read */
    CHECK_EQ(other.result, 10);
    end(&s, fd);
}

TEST(deadline_and_close_before_the_try) {
    struct scene s;
    int fd = start(&s);
    struct freq f, late, timely, closing, closed;
    memset(&late, 0, sizeof late);
    memset(&timely, 0, sizeof timely);
    memset(&closing, 0, sizeof closing);
    memset(&closed, 0, sizeof closed);
    xev_file_pread(fd, &s.loop, &late.r, got, 10, 0, &late, freq_cb);
    xev_completion_set_timeout_ns(&s.loop, &late.r.c, 1);
    xev_file_pread(fd, &s.loop, &timely.r, got + 10, 10, 0, &timely, freq_cb);
    xev_completion_set_timeout(&s.loop, &timely.r.c, 3600 * 1000);
    run_done(&s.loop);
    CHECK_EQ(late.result, XEV_ETIMEDOUT);
    CHECK_EQ(got[1], 0);
    CHECK_EQ(timely.result, 10);
    /* The deadline goes with it to a thread, and can be taken away there. */
    memset(&timely, 0, sizeof timely);
    sys.fail_reads = 1;
    xev_file_pread(fd, &s.loop, &timely.r, got, 10, 0, &timely, freq_cb);
    xev_completion_set_timeout(&s.loop, &timely.r.c, 3600 * 1000);
    run_no_wait(&s.loop);
    CHECK_EQ(sys.fail_reads, 0);
    if (timely.calls == 0) {
        xev_completion_set_timeout(&s.loop, &timely.r.c, 0);
    }
    CHECK_EQ(wait_for(&s, &timely), 10);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 10, 0, ARG)),
             10); /* no try, for once */
    xev_file_pread(fd, &s.loop, &closing.r, got, 10, 0, &closing, freq_cb);
    xev_file_close(fd, &s.loop, &closed.r, &closed, freq_cb);
    CHECK_EQ(wait_for(&s, &closed), 0);
    CHECK_EQ(closing.result, XEV_ECANCELED);
    CHECK_GT(closed.order, closing.order);
    scene_end(&s);
}

TEST(what_is_to_be_tried_belongs_to_its_descriptor) {
    struct scene s;
    int fd = start(&s);
    int other = open_in(&s, "a", XEV_OPEN_READ);
    struct freq f[3], beside, closed;
    memset(f, 0, sizeof f);
    memset(&beside, 0, sizeof beside);
    memset(&closed, 0, sizeof closed);
    for (int i = 0; i < 3; i++) {
        xev_file_pread(fd, &s.loop, &f[i].r, got, 10, 0, &f[i], freq_cb);
    }
    xev_file_pread(other, &s.loop, &beside.r, got + 10, 10, 0, &beside, freq_cb);
    CHECK_EQ(xev_fd_release(fd, &s.loop), XEV_EBUSY);
    check_walk(&s.loop);
    xev_file_close(fd, &s.loop, &closed.r, &closed, freq_cb);
    run_done(&s.loop);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(f[i].calls, 1);
        CHECK_EQ(f[i].result, XEV_ECANCELED);
        CHECK_GT(closed.order, f[i].order);
    }
    CHECK_EQ(closed.result, 0);
    CHECK_EQ(beside.result, 10);
    CHECK_EQ(sys.reads, 1);
    CHECK_EQ(xev_fd_release(other, &s.loop), 0);
    CHECK_EQ(close(other), 0);
    scene_end(&s);
}

/* userdata: the request of the close. */
static xev_cb_action close_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct freq *closed = userdata;
    CHECK_EQ(result, 10);
    xev_file_close(c->fd, loop, &closed->r, closed, freq_cb);
    return XEV_DISARM;
}

TEST(a_close_in_the_callback_of_a_try_ends_the_tries_behind_it) {
    struct scene s;
    int fd = start(&s);
    xev_file_req first;
    struct freq behind, closed;
    memset(&first, 0, sizeof first);
    memset(&behind, 0, sizeof behind);
    memset(&closed, 0, sizeof closed);
    xev_file_pread(fd, &s.loop, &first, got, 10, 0, &closed, close_cb);
    xev_file_pread(fd, &s.loop, &behind.r, got, 10, 0, &behind, freq_cb);
    run_done(&s.loop);
    CHECK_EQ(behind.result, XEV_ECANCELED);
    CHECK_EQ(closed.result, 0);
    CHECK_GT(closed.order, behind.order);
    CHECK_EQ(sys.reads, 1);
    scene_end(&s);
}

TEST(teardown_ends_what_is_to_be_tried) {
    struct scene s;
    int fd = start(&s);
    struct freq f[3];
    memset(f, 0, sizeof f);
    xev_file_read(fd, &s.loop, &f[0].r, got, 1, &f[0], freq_cb);
    xev_file_read(fd, &s.loop, &f[1].r, got, 1, &f[1], freq_cb);
    xev_file_pread(fd, &s.loop, &f[2].r, got, 1, 0, &f[2], freq_cb);
    xev_completion_set_timeout(&s.loop, &f[2].r.c, 3600 * 1000);
    xev_loop_deinit(&s.loop);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(f[i].calls, 1);
        CHECK_EQ(f[i].result, XEV_ECANCELED);
    }
    CHECK_EQ(sys.reads, 0);
    CHECK_EQ(close(fd), 0);
    loop_start(&s.loop); /* for scene_end */
    scene_end(&s);
}

/* A loop that reads for ever goes on with everything else, and what a turn does has a limit. */
TEST(endless_reads_starve_nobody) {
    enum { N = 200 };
    struct scene s;
    int fd = start(&s), ends[2];
    static struct freq f[N];
    memset(f, 0, sizeof f);
    for (int i = 0; i < N; i++) {
        f[i].rearm = UINT32_MAX;
        xev_file_pread(fd, &s.loop, &f[i].r, got, PAGE, 0, &f[i], freq_cb);
    }
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    struct op read = {0}, timer = {0};
    char byte;
    xev_fd_read(ends[0], &s.loop, &read.c, &byte, 1, &read, op_cb);
    xev_timer_run_ns(NULL, &s.loop, &timer.c, 0, &timer, op_cb);
    for (int turn = 0; turn < 5; turn++) {
        int before = sys.reads;
        run_no_wait(&s.loop);
        CHECK_GT(sys.reads, before);
        CHECK_LE(sys.reads - before, 32);
    }
    CHECK_EQ(read.result, 1);
    CHECK_EQ(timer.calls, 1);
    for (int turn = 0; turn < 200; turn++) {
        run_no_wait(&s.loop);
    }
    for (int i = 0; i < N; i++) {
        CHECK_GT(f[i].calls, 0); /* each in its turn */
        f[i].rearm = 0;
    }
    run_done(&s.loop);
    CHECK_EQ(close(ends[0]) + close(ends[1]), 0);
    end(&s, fd);
}

static xev_cb_action stop_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)freq_cb(loop, c, result, userdata);
    xev_loop_stop(loop);
    return XEV_REARM;
}

TEST(stop_ends_the_tries_of_a_turn) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    memset(&f, 0, sizeof f);
    xev_file_pread(fd, &s.loop, &f.r, got, PAGE, 0, &f, stop_cb);
    run_done(&s.loop);
    CHECK_EQ(f.calls, 1);
    run_done(&s.loop);
    CHECK_EQ(f.calls, 2);
    CHECK_EQ(xev_loop_active(&s.loop), 1);
    xev_loop_deinit(&s.loop);
    CHECK_EQ(f.calls, 3);
    CHECK_EQ(f.result, XEV_ECANCELED);
    CHECK_EQ(close(fd), 0);
    loop_start(&s.loop);
    scene_end(&s);
}

TEST(repeated_read_sees_what_was_written_since) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    memset(&f, 0, sizeof f);
    f.rearm = 1;
    sys.fail_reads = 1; /* once by a thread, once without */
    xev_file_pread(fd, &s.loop, &f.r, got, 3, 0, &f, freq_cb);
    while (f.calls < 1) {
        run_once(&s.loop);
    }
    CHECK_EQ(pwrite(fd, "xyz", 3, 0), 3);
    (void)wait_calls(&s, &f, 2);
    CHECK_EQ(f.result, 3);
    end(&s, fd);
}

TEST(cached_read_is_one_system_call) {
    enum { N = 640 };
    struct scene s;
    int fd = start(&s);
    struct freq f;
    memset(&f, 0, sizeof f);
    f.rearm = N - 1;
    xev_loop_metrics before, after;
    xev_loop_metrics_get(&s.loop, &before);
    xev_file_pread(fd, &s.loop, &f.r, got, PAGE, 0, &f, freq_cb);
    run_done(&s.loop);
    xev_loop_metrics_get(&s.loop, &after);
    CHECK_EQ(f.calls, N);
    CHECK_EQ(sys.reads, N);
    /* A look at the file now and then, and the turns between. */
    CHECK_LE(after.syscalls - before.syscalls, N + 2 * (N / 64 + 1) + (after.turns - before.turns));
    end(&s, fd);
}

/* Those that could wait although they are told not to, or whose data is gone once it is read. */
TEST(pipes_devices_and_direct_files_are_not_tried) {
    struct scene s;
    int fd = start(&s), ends[2];
    struct freq f;
    char byte;
    CHECK_EQ(mkfifo(path_in(&s, "fifo"), 0600), 0);
    int fifo = open(path_in(&s, "fifo"), O_RDWR | O_CLOEXEC);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(RUN(&s, xev_file_write(ends[1], &s.loop, &f.r, "x", 1, ARG)), 1);
    CHECK_EQ(RUN(&s, xev_file_read(ends[0], &s.loop, &f.r, &byte, 1, ARG)), 1);
    CHECK_EQ(RUN(&s, xev_file_write(fifo, &s.loop, &f.r, "x", 1, ARG)), 1);
    CHECK_EQ(RUN(&s, xev_file_read(fifo, &s.loop, &f.r, &byte, 1, ARG)), 1);
    CHECK_EQ(RUN(&s, xev_file_write(null, &s.loop, &f.r, "x", 1, ARG)), 1);
    CHECK_EQ(RUN(&s, xev_file_read(null, &s.loop, &f.r, &byte, 1, ARG)), XEV_EOF);
    int direct = open(path_in(&s, "a"), O_RDWR | O_DIRECT | O_CLOEXEC);
    _Alignas(PAGE) static char aligned[PAGE];
    if (direct >= 0) { /* the file system knows it */
        CHECK_EQ(RUN(&s, xev_file_pread(direct, &s.loop, &f.r, aligned, PAGE, 0, ARG)), PAGE);
        CHECK_EQ(memcmp(aligned, page, PAGE), 0);
        CHECK_EQ(RUN(&s, xev_file_pwrite(direct, &s.loop, &f.r, aligned, PAGE, 0, ARG)), PAGE);
        close_file(&s, direct);
    }
    int sync = open(path_in(&s, "a"), O_RDWR | O_DSYNC | O_CLOEXEC);
    CHECK_EQ(RUN(&s, xev_file_pwrite(sync, &s.loop, &f.r, page, PAGE, 0, ARG)), PAGE);
    CHECK_EQ(sys.reads + sys.writes, 0);
    close_file(&s, sync);
    close_file(&s, null);
    close_file(&s, fifo);
    close_file(&s, ends[0]);
    close_file(&s, ends[1]);
    end(&s, fd);
}

/* What is known of a number is not taken for the next file that gets it. */
TEST(next_file_with_the_number_is_looked_at) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    sys.code = EOPNOTSUPP;
    sys.fail_reads = 1;
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 1, 0, ARG)), 1);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 1, 0, ARG)), 1);
    CHECK_EQ(sys.reads, 1);
    close_file(&s, fd);
    int again = open_in(&s, "a", XEV_OPEN_READ);
    CHECK_EQ(again, fd);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 1, 0, ARG)), 1);
    CHECK_EQ(sys.reads, 2);
    end(&s, fd);
}

/* The program has closed the file by itself, and a pipe has the number: what a try takes out of it
 * is delivered, since a thread would not find it again. */
TEST(what_is_taken_from_a_pipe_that_has_a_files_number_is_not_lost) {
    struct scene s;
    int fd = start(&s), ends[2];
    struct freq f;
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 1, 0, ARG)), 1);
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(dup3(ends[0], fd, O_CLOEXEC), fd);
    CHECK_EQ(write(ends[1], "hello", 5), 5);
    CHECK_EQ(RUN(&s, xev_file_read(fd, &s.loop, &f.r, got, 10, ARG)), 5);
    CHECK_EQ(memcmp(got, "hello", 5), 0);
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
    end(&s, fd);
}

TEST(without_a_pool_nothing_is_tried) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    close_file(&s, fd);
    xev_loop_deinit(&s.loop);
    loop_start(&s.loop);
    fd = open(path_in(&s, "a"), O_RDWR | O_CLOEXEC);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, got, 1, 0, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_pwrite(fd, &s.loop, &f.r, "x", 1, 0, ARG)), XEV_ENOPOOL);
    CHECK_EQ(sys.reads + sys.writes, 0);
    end(&s, fd);
}

/* ---- writes ---- */

TEST(write_that_waits_for_nothing_needs_no_thread) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    uint64_t before = finished(&s);
    sys.emulate_write = true;
    xev_vec vec[2] = {{page + 1, 5}, {page + 9, 6}};
    CHECK_EQ(RUN(&s, xev_file_pwrite(fd, &s.loop, &f.r, "hello", 5, 100, ARG)), 5);
    CHECK_EQ(f.r.done_bytes, 5);
    CHECK_EQ(RUN(&s, xev_file_write(fd, &s.loop, &f.r, "ab", 2, ARG)), 2);
    CHECK_EQ(RUN(&s, xev_file_writev(fd, &s.loop, &f.r, vec, 2, ARG)), 11);
    CHECK_EQ(f.r.done_bytes, 11);
    CHECK_EQ(finished(&s), before);
    CHECK_EQ(sys.writes, 3);
    CHECK_EQ(pread(fd, got, PAGE, 0), PAGE);
    CHECK_EQ(memcmp(got + 100, "hello", 5), 0);
    CHECK_EQ(memcmp(got, "ab", 2), 0);
    CHECK_EQ(memcmp(got + 2, page + 1, 5), 0);
    CHECK_EQ(memcmp(got + 7, page + 9, 6), 0);
    end(&s, fd);
}

TEST(rest_of_a_write_is_written_by_a_thread) {
    struct scene s;
    int fd = start(&s);
    struct freq f;
    uint64_t before = finished(&s);
    sys.emulate_write = true;
    sys.write_most = 3;
    xev_vec vec[3] = {{"abcde", 5}, {"fgh", 3}, {"ij", 2}};
    CHECK_EQ(RUN(&s, xev_file_pwritev(fd, &s.loop, &f.r, vec, 3, 50, ARG)), 10);
    CHECK_EQ(f.r.done_bytes, 10);
    CHECK_EQ(RUN(&s, xev_file_write(fd, &s.loop, &f.r, "0123456789", 10, ARG)), 10);
    CHECK_EQ(finished(&s), before + 2);
    CHECK_EQ(sys.writes, 2);
    CHECK_EQ(pread(fd, got, PAGE, 0), PAGE);
    CHECK_EQ(memcmp(got + 50, "abcdefghij", 10), 0);
    CHECK_EQ(memcmp(got, "0123456789", 10), 0);
    CHECK_EQ(memcmp(got + 10, page + 10, 40), 0);
    end(&s, fd);
}

/* Other processes write to the same log. */
TEST(what_is_appended_stays_in_one_piece) {
    struct scene s;
    int fd = start(&s);
    int append = open_in(&s, "a", XEV_OPEN_WRITE | XEV_OPEN_APPEND);
    int other = open(path_in(&s, "a"), O_WRONLY | O_APPEND | O_CLOEXEC);
    struct hold held;
    struct freq f = {.calls = 0};
    hold_lane(&s, &held, XEV_LANE_FS);
    sys.emulate_write = true;
    sys.write_most = 3;
    xev_file_pwrite(append, &s.loop, &f.r, "appended\n", 9, 0, &f, freq_cb);
    run_no_wait(&s.loop);
    CHECK_EQ(write(other, "between\n", 8), 8);
    let_go(&s, &held);
    CHECK_EQ(wait_for(&s, &f), 9);
    CHECK_EQ(f.r.done_bytes, 9);
    CHECK_EQ(pread(fd, got, PAGE, PAGE), 17);
    CHECK_EQ(memcmp(got, "between\nappended\n", 17), 0);
    CHECK_EQ(close(other), 0);
    close_file(&s, append);
    end(&s, fd);
}

TEST(write_that_would_wait_goes_to_a_thread) {
    static const int codes[] = {EAGAIN, EOPNOTSUPP, EINVAL, ENOSYS};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct scene s;
        int fd = start(&s);
        struct freq f;
        sys.code = codes[i];
        sys.fail_writes = 1000;
        for (int n = 0; n < 10; n++) {
            CHECK_EQ(RUN(&s, xev_file_write(fd, &s.loop, &f.r, "xy", 2, ARG)), 2);
            CHECK_EQ(f.r.done_bytes, 2);
        }
        CHECK_EQ(sys.writes, codes[i] == EAGAIN ? 10 : 1);
        CHECK_EQ(pread(fd, got, 21, 0), 21);
        CHECK_EQ(memcmp(got, "xyxyxyxyxyxyxyxyxyxy", 20), 0);
        CHECK_EQ(got[20], page[20]);
        end(&s, fd);
    }
}
