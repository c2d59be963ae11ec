/* File operations on the pool: cancel, deadline, close, lanes, many at once, no pool, the loop's
 * end. */
#include "tests/file_scene.h"

TEST(cancelled_while_queued_has_no_effect) {
    struct scene s;
    scene_start(&s);
    struct hold held;
    hold_lane(&s, &held, XEV_LANE_FS);
    struct freq unlinked = {0}, opened = {0};
    struct op cancels[3];
    put_file(&s, "kept", "x", 1);
    uint32_t before = descriptors();
    xev_file_unlink(&s.loop, &unlinked.r, path_in(&s, "kept"), &unlinked, freq_cb);
    xev_file_open(&s.loop, &opened.r, path_in(&s, "kept"), XEV_OPEN_READ, 0, &opened, freq_cb);
    cancel_op(&s, &unlinked.r.c, &cancels[0]);
    cancel_op(&s, &opened.r.c, &cancels[1]);
    cancel_op(&s, &opened.r.c, &cancels[2]);
    CHECK_EQ(wait_for(&s, &unlinked), XEV_ECANCELED);
    CHECK_EQ(wait_for(&s, &opened), XEV_ECANCELED);
    for (int i = 0; i < 3; i++) {
        run_for(&s.loop, &cancels[i], 1);
        CHECK_EQ(cancels[i].result, i < 2 ? 0 : XEV_ENOENT);
        CHECK_GT(cancels[i].order, i == 0 ? unlinked.order : opened.order);
    }
    let_go(&s, &held);
    CHECK_EQ(access(path_in(&s, "kept"), F_OK), 0);
    CHECK_EQ(descriptors(), before);
    scene_end(&s);
}

/* A read that runs until a byte is put into the pipe. */
static void start_read(struct scene *s, int ends[2], struct freq *f, char *byte) {
    CHECK_EQ(pipe(ends), 0);
    memset(f, 0, sizeof *f);
    xev_file_read(ends[0], &s->loop, &f->r, byte, 1, f, freq_cb);
    wait_until_running(s, XEV_LANE_FS);
}

TEST(cancelled_while_running_reports_the_real_result) {
    struct scene s;
    scene_start(&s);
    int ends[2];
    struct freq f;
    char byte = 0;
    start_read(&s, ends, &f, &byte);
    struct op cancels[2];
    cancel_op(&s, &f.r.c, &cancels[0]);
    cancel_op(&s, &f.r.c, &cancels[1]);
    run_no_wait(&s.loop);
    CHECK_EQ(f.calls + cancels[0].calls, 0);
    CHECK_EQ(write(ends[1], "z", 1), 1);
    CHECK_EQ(wait_for(&s, &f), 1);
    CHECK_EQ(byte, 'z');
    for (int i = 0; i < 2; i++) {
        run_for(&s.loop, &cancels[i], 1);
        CHECK_EQ(cancels[i].result, XEV_ENOENT);
        CHECK_GT(cancels[i].order, f.order);
    }
    cancel_op(&s, &f.r.c, &cancels[0]); /* and when it is over */
    run_for(&s.loop, &cancels[0], 1);
    CHECK_EQ(cancels[0].result, XEV_ENOENT);
    close_file(&s, ends[0]);
    close_file(&s, ends[1]);
    scene_end(&s);
}

struct canceller {
    xev_completion timer;
    struct op cancel;
    xev_completion *target;
};

static xev_cb_action cancel_in_callback(xev_loop *loop, xev_completion *c, int result,
                                        void *userdata) {
    struct canceller *k = userdata;
    (void)c;
    CHECK_EQ(result, 0);
    xev_cancel(loop, k->target, &k->cancel.c, &k->cancel, op_cb);
    return XEV_DISARM;
}

/* The result of the first is in, and not reported yet, when the second is cancelled: the turn then
 * is the third's. */
TEST(turn_passes_over_one_that_is_cancelled) {
    struct scene s;
    scene_start(&s);
    int ends[2];
    struct freq f, second = {0}, third = {0};
    struct canceller k = {.target = &second.r.c};
    char byte = 0, bytes[2] = "";
    start_read(&s, ends, &f, &byte);
    xev_file_read(ends[0], &s.loop, &second.r, &bytes[0], 1, &second, freq_cb);
    xev_file_read(ends[0], &s.loop, &third.r, &bytes[1], 1, &third, freq_cb);
    CHECK_EQ(write(ends[1], "xy", 2), 2);
    xev_threadpool_counters n;
    do {
        sched_yield();
        xev_threadpool_stats(&s.pool, &n);
    } while (n.lane[XEV_LANE_FS].running > 0);
    xev_timer_run_ns(NULL, &s.loop, &k.timer, 0, &k, cancel_in_callback);
    run_done(&s.loop);
    CHECK_EQ(f.result, 1);
    CHECK_EQ(second.result, XEV_ECANCELED);
    CHECK_EQ(third.result, 1);
    CHECK_EQ(f.calls + second.calls + third.calls, 3);
    CHECK_EQ(k.cancel.result, 0);
    CHECK_EQ(byte, 'x');
    CHECK_EQ(bytes[1], 'y');
    close_file(&s, ends[0]);
    close_file(&s, ends[1]);
    scene_end(&s);
}

TEST(deadline_ends_what_waits_and_not_what_runs) {
    struct scene s;
    scene_start(&s);
    int ends[2];
    struct freq f, queued = {0}, behind = {0};
    char byte = 0, other = 0;
    start_read(&s, ends, &f, &byte);
    xev_completion_set_timeout_ns(&s.loop, &f.r.c, 1);
    xev_file_stat_path(&s.loop, &queued.r, "/", &queued, freq_cb);
    xev_completion_set_timeout_ns(&s.loop, &queued.r.c, 1);
    /* In order behind the first, so not with the pool yet. */
    xev_file_read(ends[0], &s.loop, &behind.r, &other, 1, &behind, freq_cb);
    xev_completion_set_timeout_ns(&s.loop, &behind.r.c, 1);
    CHECK_EQ(wait_for(&s, &queued), XEV_ETIMEDOUT);
    while (behind.calls == 0) {
        run_once(&s.loop);
    }
    CHECK_EQ(behind.result, XEV_ETIMEDOUT);
    CHECK_EQ(f.calls, 0);
    CHECK_EQ(write(ends[1], "zy", 2), 2);
    CHECK_EQ(wait_for(&s, &f), 1);
    run_done(&s.loop);
    CHECK_EQ(f.calls + queued.calls + behind.calls, 3);
    /* A long deadline is given up with the operation; one behind another keeps its own. */
    memset(&f, 0, sizeof f);
    memset(&behind, 0, sizeof behind);
    xev_file_read(ends[0], &s.loop, &f.r, &byte, 1, &f, freq_cb);
    xev_file_read(ends[0], &s.loop, &behind.r, &other, 1, &behind, freq_cb);
    xev_completion_set_timeout(&s.loop, &f.r.c, HOUR_MS);
    xev_completion_set_timeout(&s.loop, &behind.r.c, HOUR_MS);
    CHECK_EQ(wait_for(&s, &f), 1);
    CHECK_EQ(byte, 'y');
    wait_until_running(&s, XEV_LANE_FS);
    xev_completion_set_timeout(&s.loop, &behind.r.c, 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_EQ(wait_for(&s, &behind), 1);
    CHECK_EQ(other, 'x');
    close_file(&s, ends[0]);
    close_file(&s, ends[1]);
    scene_end(&s);
}

TEST(close_waits_for_what_runs_and_cancels_what_waits) {
    struct scene s;
    scene_start(&s);
    int ends[2];
    struct freq f, side = {0}, behind = {0}, late = {0}, closed = {0};
    struct op cancel;
    char byte = 0;
    start_read(&s, ends, &f, &byte);
    xev_file_stat_fd(ends[0], &s.loop, &side.r, &side, freq_cb);
    xev_file_read(ends[0], &s.loop, &behind.r, &byte, 1, &behind, freq_cb);
    xev_file_close(ends[0], &s.loop, &closed.r, &closed, freq_cb);
    xev_file_read(ends[0], &s.loop, &late.r, &byte, 1, &late, freq_cb);
    CHECK_EQ(wait_for(&s, &side), XEV_ECANCELED);
    CHECK_EQ(wait_for(&s, &behind), XEV_ECANCELED);
    CHECK_EQ(wait_for(&s, &late), XEV_ECANCELED);
    CHECK_EQ(closed.calls, 0);
    CHECK_EQ(fcntl(ends[0], F_GETFD), 0); /* not pulled away from under the read */
    cancel_op(&s, &closed.r.c, &cancel);
    CHECK_EQ(write(ends[1], "z", 1), 1);
    CHECK_EQ(wait_for(&s, &f), 1);
    CHECK_EQ(wait_for(&s, &closed), 0);
    run_for(&s.loop, &cancel, 1);
    CHECK_EQ(cancel.result, XEV_ENOENT);
    CHECK_GT(closed.order, f.order);
    CHECK_EQ(fcntl(ends[0], F_GETFD), -1);
    /* The loop's other closes know of requests too. */
    start_read(&s, ends, &f, &byte);
    struct op plain = {0};
    xev_fd_close(ends[0], &s.loop, &plain.c, &plain, op_cb);
    run_no_wait(&s.loop);
    CHECK_EQ(plain.calls, 0);
    CHECK_EQ(write(ends[1], "z", 1), 1);
    CHECK_EQ(wait_for(&s, &f), 1);
    run_for(&s.loop, &plain, 1);
    CHECK_EQ(plain.result, 0);
    CHECK_EQ(fcntl(ends[0], F_GETFD), -1);
    run_done(&s.loop);
    scene_end(&s);
}

TEST(close_cannot_be_cancelled_while_the_pool_has_it) {
    struct scene s;
    scene_start(&s);
    int fd = create_in(&s, "a");
    struct hold held;
    hold_lane(&s, &held, XEV_LANE_FS);
    struct freq closed = {0};
    struct op cancel;
    xev_file_close(fd, &s.loop, &closed.r, &closed, freq_cb);
    run_no_wait(&s.loop); /* it is with the pool now */
    cancel_op(&s, &closed.r.c, &cancel);
    run_no_wait(&s.loop);
    CHECK_EQ(closed.calls + cancel.calls, 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    let_go(&s, &held);
    CHECK_EQ(wait_for(&s, &closed), 0);
    run_for(&s.loop, &cancel, 1);
    CHECK_EQ(cancel.result, XEV_ENOENT);
    CHECK_EQ(fcntl(fd, F_GETFD), -1);
    scene_end(&s);
}

TEST(fsync_never_blocks_reads) {
    enum { N = 100 };
    struct scene s;
    scene_start(&s);
    put_file(&s, "a", "abcdefgh", 8);
    int fd = open_in(&s, "a", XEV_OPEN_READ | XEV_OPEN_WRITE);
    struct hold flushing;
    hold_lane(&s, &flushing, XEV_LANE_FSYNC);
    static struct freq syncs[2 * N];
    memset(syncs, 0, sizeof syncs);
    for (int i = 0; i < N; i++) {
        xev_file_fsync(fd, &s.loop, &syncs[i].r, &syncs[i], freq_cb);
        xev_file_fdatasync(fd, &s.loop, &syncs[N + i].r, &syncs[N + i], freq_cb);
    }
    for (int i = 0; i < N; i++) {
        struct freq f;
        char c = 0;
        CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, &c, 1, (uint64_t)i % 8, ARG)), 1);
        CHECK_EQ(c, "abcdefgh"[i % 8]);
        CHECK_EQ(RUN(&s, xev_file_stat_fd(fd, &s.loop, &f.r, ARG)), 0);
    }
    for (int i = 0; i < 2 * N; i++) {
        CHECK_EQ(syncs[i].calls, 0);
    }
    let_go(&s, &flushing);
    for (int i = 0; i < 2 * N; i++) {
        CHECK_EQ(wait_for(&s, &syncs[i]), 0);
    }
    close_file(&s, fd);
    scene_end(&s);
}

TEST(a_thousand_operations_at_once) {
    enum { N = 1000 };
    static struct freq files[N], reads[N];
    static char names[N][64], bytes[N];
    struct scene s;
    scene_start(&s);
    xev_loop_deinit(&s.loop);
    xev_threadpool_deinit(&s.pool);
    CHECK_EQ(xev_threadpool_init(&s.pool, NULL), 0);
    xev_loop_options options = {.thread_pool = &s.pool};
    loop_start_options(&s.loop, &options);
    memset(files, 0, sizeof files);
    memset(reads, 0, sizeof reads);
    CHECK_EQ(chdir(s.dir), 0);
    int fd = create_in(&s, "numbers");
    static char numbers[N];
    for (int i = 0; i < N; i++) {
        numbers[i] = (char)(i * 7);
    }
    CHECK_EQ(write(fd, numbers, N), N);
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "dir%d", i);
        xev_file_mkdir(&s.loop, &files[i].r, names[i], 0700, &files[i], freq_cb);
        xev_file_pread(fd, &s.loop, &reads[i].r, &bytes[i], 1, (uint64_t)i, &reads[i], freq_cb);
    }
    CHECK_EQ(xev_loop_active(&s.loop), 2 * N);
    run_done(&s.loop);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(files[i].calls + reads[i].calls, 2);
        CHECK_EQ(files[i].result, 0);
        CHECK_EQ(reads[i].result, 1);
        CHECK_EQ(bytes[i], numbers[i]);
        CHECK_EQ(access(names[i], F_OK), 0);
    }
    close_file(&s, fd);
    CHECK_EQ(chdir("/"), 0);
    scene_end(&s);
}

TEST(without_a_pool_everything_but_close_says_so) {
    struct scene s;
    scene_start(&s);
    put_file(&s, "a", "x", 1);
    xev_loop_deinit(&s.loop);
    loop_start(&s.loop);
    xev_loop *l = &s.loop;
    struct freq f;
    int fd = open(path_in(&s, "a"), O_RDWR | O_CLOEXEC);
    CHECK_GE(fd, 0);
    _Alignas(8) char buf[XEV_FILE_READDIR_MIN];
    xev_vec vec = {buf, 1};
    CHECK_EQ(RUN(&s, xev_file_open(l, &f.r, "a", XEV_OPEN_READ, 0, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_read(fd, l, &f.r, buf, 1, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, l, &f.r, buf, 1, 0, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_write(fd, l, &f.r, buf, 1, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_pwritev(fd, l, &f.r, &vec, 1, 0, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_fsync(fd, l, &f.r, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_fdatasync(fd, l, &f.r, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_stat_path(l, &f.r, "/", ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_lstat_path(l, &f.r, "/", ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_stat_fd(fd, l, &f.r, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_truncate(fd, l, &f.r, 0, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_truncate_path(l, &f.r, "a", 0, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_rename(l, &f.r, "a", "b", ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_unlink(l, &f.r, "a", ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_mkdir(l, &f.r, "d", 0700, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_rmdir(l, &f.r, "d", ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_symlink(l, &f.r, "a", "b", ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_link(l, &f.r, "a", "b", ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_readdir(fd, l, &f.r, buf, sizeof buf, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, "a", "b", 0, ARG)), XEV_ENOPOOL);
    CHECK_EQ(RUN(&s, xev_file_sendfile(fd, l, &f.r, fd, 0, 1, ARG)), XEV_ENOPOOL);
    close_file(&s, fd); /* a descriptor must never be stuck */
    CHECK_EQ(access(path_in(&s, "a"), F_OK), 0);
    scene_end(&s);
}

TEST(a_pool_that_is_shut_down_cancels_and_closes) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    int fd = create_in(&s, "a");
    xev_threadpool_shutdown(&s.pool);
    CHECK_EQ(RUN(&s, xev_file_stat_fd(fd, &s.loop, &f.r, ARG)), XEV_ECANCELED);
    CHECK_EQ(RUN(&s, xev_file_write(fd, &s.loop, &f.r, "x", 1, ARG)), XEV_ECANCELED);
    CHECK_EQ(RUN(&s, xev_file_write(fd, &s.loop, &f.r, "x", 1, ARG)), XEV_ECANCELED);
    close_file(&s, fd);
    scene_end(&s);
}

/* So large that no disk is fast enough: no allocation, until it is copied. */
static void start_huge_copy(struct scene *s, struct freq *f) {
    put_file(s, "huge", "", 0);
    CHECK_EQ(truncate(path_in(s, "huge"), (off_t)1 << 38), 0);
    memset(f, 0, sizeof *f);
    xev_file_copy(&s->loop, &f->r, path_in(s, "huge"), path_in(s, "copy"), 0, f, freq_cb);
}

TEST(copy_stops_between_pieces_and_removes_what_it_made) {
    struct scene s;
    scene_start(&s);
    struct freq f;
    struct op cancel;
    start_huge_copy(&s, &f);
    wait_until_running(&s, XEV_LANE_FS);
    cancel_op(&s, &f.r.c, &cancel);
    CHECK_EQ(wait_for(&s, &f), XEV_ECANCELED);
    run_for(&s.loop, &cancel, 1);
    CHECK_EQ(cancel.result, 0);
    CHECK_EQ(access(path_in(&s, "copy"), F_OK), -1);
    start_huge_copy(&s, &f);
    xev_completion_set_timeout(&s.loop, &f.r.c, 1);
    CHECK_EQ(wait_for(&s, &f), XEV_ETIMEDOUT);
    CHECK_EQ(access(path_in(&s, "copy"), F_OK), -1);
    scene_end(&s);
}

/* The copy was done, and not reported yet, when it was cancelled: that is no reason to stop the
 * next one. */
TEST(copy_that_was_cancelled_too_late_is_repeated) {
    struct scene s;
    scene_start(&s);
    struct freq f = {.rearm = 1};
    struct op cancel;
    xev_threadpool_counters n;
    put_file(&s, "a", "abc", 3);
    xev_file_copy(&s.loop, &f.r, path_in(&s, "a"), path_in(&s, "b"), 0, &f, freq_cb);
    do {
        sched_yield();
        xev_threadpool_stats(&s.pool, &n);
    } while (n.lane[XEV_LANE_FS].finished == 0);
    cancel_op(&s, &f.r.c, &cancel);
    CHECK_EQ(wait_calls(&s, &f, 2), 0);
    CHECK_EQ(f.r.done_bytes, 3);
    run_for(&s.loop, &cancel, 1);
    CHECK_EQ(cancel.result, XEV_ENOENT);
    scene_end(&s);
}

TEST(teardown_ends_every_request_and_leaks_no_descriptor) {
    struct scene s;
    scene_start(&s);
    uint32_t before = descriptors();
    int fd = create_in(&s, "a"), doomed = create_in(&s, "b"), ends[2];
    char byte = 0;
    struct freq f, queued[4] = {{.calls = 0}}, copy, closed = {0};
    struct hold held;
    hold_lane(&s, &held, XEV_LANE_FSYNC);
    xev_file_fsync(fd, &s.loop, &queued[0].r, &queued[0], freq_cb);
    start_huge_copy(&s, &copy); /* running, and stopped by the deinit */
    wait_until_running(&s, XEV_LANE_FS);
    CHECK_EQ(pipe(ends), 0);
    memset(&f, 0, sizeof f);
    xev_file_read(ends[0], &s.loop, &queued[1].r, &byte, 1, &queued[1], freq_cb);
    xev_file_read(ends[0], &s.loop, &queued[2].r, &byte, 1, &queued[2], freq_cb);
    xev_file_read(ends[0], &s.loop, &queued[3].r, &byte, 1, &queued[3], freq_cb);
    xev_completion_set_timeout(&s.loop, &queued[3].r.c, HOUR_MS);
    xev_file_close(doomed, &s.loop, &closed.r, &closed, freq_cb);
    run_no_wait(&s.loop); /* the close is with the pool */
    sem_post(&held.go);
    xev_loop_deinit(&s.loop);
    CHECK_EQ(held.op.calls, 1);
    CHECK_EQ(copy.calls, 1);
    CHECK_EQ(copy.result, XEV_ECANCELED);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(queued[i].calls, 1);
        CHECK(queued[i].result == XEV_ECANCELED || i == 0); /* the fsync may have had its turn */
    }
    CHECK_EQ(closed.calls, 1);
    CHECK_EQ(closed.result, 0);
    CHECK_EQ(fcntl(doomed, F_GETFD), -1);
    CHECK_EQ(close(fd) + close(ends[0]) + close(ends[1]), 0);
    loop_start(&s.loop); /* for scene_end */
    CHECK_EQ(descriptors(), before);
    scene_end(&s);
}

static xev_cb_action read_uninitialised(xev_loop *loop, xev_completion *c, int result,
                                        void *userdata) {
    static char byte;
    struct freq *f = userdata;
    (void)c;
    CHECK_EQ(result, XEV_ECANCELED);
    memset(&f->r, 0xa5, sizeof f->r);
    xev_file_pread(0, loop, &f->r, &byte, 1, 0, f, freq_cb);
    return XEV_DISARM;
}

/* The sanitizers see what is read of the request's memory. */
TEST(teardown_refuses_a_request_in_memory_with_anything_in_it) {
    struct scene s;
    struct freq f = {0};
    xev_completion timer = {0};
    scene_start(&s);
    xev_timer_run(NULL, &s.loop, &timer, HOUR_MS, &f, read_uninitialised);
    xev_loop_deinit(&s.loop);
    CHECK_EQ(f.calls, 1);
    CHECK_EQ(f.result, XEV_ECANCELED);
    xev_threadpool_deinit(&s.pool);
    CHECK_EQ(rmdir(s.dir), 0);
}
