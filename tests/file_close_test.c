/* Files are closed on the pool. What may be done with the descriptor between the call and the
 * callback. */
#include <sys/syscall.h>

#include "tests/file_scene.h"

/* ---- a close that is held inside its system call: the number is free, the call is not back ----
 */

static atomic_int slow_fd = -1;
static sem_t released, go_on;

int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd) {
    int rc = __real_close(fd);
    int slow = fd;
    if (atomic_compare_exchange_strong(&slow_fd, &slow, -1)) {
        sem_post(&released);
        sem_take(&go_on);
    }
    return rc;
}

static void slow_close(struct scene *s, int fd, struct freq *closed) {
    CHECK_EQ(sem_init(&released, 0, 0), 0);
    CHECK_EQ(sem_init(&go_on, 0, 0), 0);
    atomic_store(&slow_fd, fd);
    memset(closed, 0, sizeof *closed);
    xev_file_close(fd, &s->loop, &closed->r, closed, freq_cb);
    run_no_wait(&s->loop);
    sem_take(&released);
    CHECK_EQ(closed->calls, 0);
}

/* ---- operations of all sorts ---- */

enum { CLOSE, FILE_CLOSE, PREAD, FILE_READ, FSYNC, READ, WRITE, POLL, SENDFILE, KINDS };

struct any {
    struct op op;
    struct freq f;
    int kind;
};

static void submit(struct scene *s, struct any *a, int kind, int fd) {
    static char byte[KINDS];
    struct freq *f = &a->f;
    struct op *op = &a->op;
    memset(a, 0, sizeof *a);
    a->kind = kind;
    switch (kind) {
    case CLOSE:
        xev_fd_close(fd, &s->loop, &op->c, op, op_cb);
        break;
    case FILE_CLOSE:
        xev_file_close(fd, &s->loop, &f->r, f, freq_cb);
        break;
    case PREAD:
        xev_file_pread(fd, &s->loop, &f->r, &byte[kind], 1, 0, f, freq_cb);
        break;
    case FILE_READ:
        xev_file_read(fd, &s->loop, &f->r, &byte[kind], 1, f, freq_cb);
        break;
    case FSYNC:
        xev_file_fsync(fd, &s->loop, &f->r, f, freq_cb);
        break;
    case READ:
        xev_fd_read(fd, &s->loop, &op->c, &byte[kind], 1, op, op_cb);
        break;
    case WRITE:
        xev_fd_write(fd, &s->loop, &op->c, &byte[kind], 1, op, op_cb);
        break;
    case POLL:
        xev_fd_poll(fd, &s->loop, &op->c, XEV_POLL_IN, op, op_cb);
        break;
    default:
        xev_file_sendfile(fd, &s->loop, &f->r, fd, 0, 1, f, freq_cb);
    }
}

static bool is_file_request(int kind) {
    return kind == FILE_CLOSE || kind == PREAD || kind == FILE_READ || kind == FSYNC ||
           kind == SENDFILE;
}

static int result_of(struct scene *s, struct any *a) {
    if (is_file_request(a->kind)) {
        return wait_for(s, &a->f);
    }
    run_for(&s->loop, &a->op, 1);
    return a->op.result;
}

TEST(a_descriptor_is_closing_until_the_pool_has_closed_it) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct scene s;
        scene_start(&s);
        int fd =
            kind == SENDFILE ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : create_in(&s, "a");
        struct hold held;
        struct freq closed = {0};
        struct any a;
        hold_lane(&s, &held, XEV_LANE_FS);
        xev_file_close(fd, &s.loop, &closed.r, &closed, freq_cb);
        run_no_wait(&s.loop); /* the pool has it, and no thread for it */
        submit(&s, &a, kind, fd);
        int result = result_of(&s, &a);
        bool closes = kind == CLOSE || kind == FILE_CLOSE;
        if (kind != SENDFILE) { /* which looks at its socket first */
            CHECK_EQ(result, closes ? XEV_EBADF : XEV_ECANCELED);
        }
        CHECK_LT(result, 0);
        CHECK_EQ(closed.calls, 0);
        CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
        let_go(&s, &held);
        CHECK_EQ(wait_for(&s, &closed), 0);
        CHECK_EQ(fcntl(fd, F_GETFD), -1);
        scene_end(&s);
    }
}

/* Two closes of one number must not close what got the number in between. */
TEST(a_second_close_closes_nobody_elses_file) {
    struct scene s;
    scene_start(&s);
    int fd = create_in(&s, "a");
    put_file(&s, "other", "o", 1);
    struct freq closed, second = {0};
    slow_close(&s, fd, &closed);
    xev_file_close(fd, &s.loop, &second.r, &second, freq_cb); /* nobody has the number now */
    int other = open(path_in(&s, "other"), O_RDONLY | O_CLOEXEC);
    CHECK_EQ(other, fd);
    CHECK_EQ(wait_for(&s, &second), XEV_EBADF);
    CHECK_EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
    sem_post(&go_on);
    CHECK_EQ(wait_for(&s, &closed), 0);
    CHECK_EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
    close_file(&s, other);
    scene_end(&s);
}

/* The same where the first close is over, and reported. */
TEST(a_close_of_what_is_not_open_closes_nobody_elses_file) {
    struct scene s;
    scene_start(&s);
    int fd = create_in(&s, "a");
    close_file(&s, fd);
    struct op plain = {0};
    struct freq again = {0};
    xev_fd_close(fd, &s.loop, &plain.c, &plain, op_cb);
    xev_file_close(fd, &s.loop, &again.r, &again, freq_cb);
    int other = open(path_in(&s, "a"), O_RDONLY | O_CLOEXEC);
    CHECK_EQ(other, fd);
    run_for(&s.loop, &plain, 1);
    CHECK_EQ(plain.result, XEV_EBADF);
    CHECK_EQ(wait_for(&s, &again), XEV_EBADF);
    CHECK_EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
    close_file(&s, other);
    scene_end(&s);
}

/* The kernel gives a number away before the close is back, and long before its callback. */
TEST(a_number_that_is_another_files_by_now_can_be_used_before_the_close_reports) {
    for (int kind = 0; kind < SENDFILE; kind++) {
        struct scene s;
        scene_start(&s);
        int fd = create_in(&s, "a");
        struct freq closed;
        struct any a;
        slow_close(&s, fd, &closed);
        int ends[2] = {-1, -1};
        if (kind == READ || kind == WRITE || kind == POLL) {
            CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
            CHECK_EQ(write(ends[1], "x", 1), 1);
        } else {
            put_file(&s, "b", "b", 1);
            ends[0] = open(path_in(&s, "b"), O_RDONLY | O_CLOEXEC);
        }
        CHECK_EQ(ends[0], fd);
        submit(&s, &a, kind, fd);
        if (is_file_request(kind)) {
            sem_post(&go_on); /* the lane's one thread is in the close */
        }
        int result = result_of(&s, &a);
        int wanted = kind == PREAD || kind == FILE_READ || kind == READ || kind == WRITE ? 1
                     : kind == POLL ? XEV_POLL_IN
                                    : 0;
        CHECK_EQ(result, wanted);
        if (!is_file_request(kind)) {
            CHECK_EQ(closed.calls, 0);
            sem_post(&go_on);
        }
        while (closed.calls == 0) {
            run_once(&s.loop);
        }
        CHECK_EQ(closed.result, 0);
        bool closes = kind == CLOSE || kind == FILE_CLOSE;
        CHECK_EQ(fcntl(fd, F_GETFD), closes ? -1 : FD_CLOEXEC);
        if (!closes) {
            close_file(&s, fd);
        }
        if (ends[1] >= 0) {
            CHECK_EQ(close(ends[1]), 0);
        }
        scene_end(&s);
    }
}

/* A call that finds the number to be nobody's leaves the descriptor closing for the next call. */
TEST(a_read_after_a_second_close_reads_nobody_elses_file) {
    struct scene s;
    scene_start(&s);
    int fd = create_in(&s, "a");
    put_file(&s, "other", "o", 1);
    struct freq closed, second = {0}, read = {0};
    char byte = 0;
    slow_close(&s, fd, &closed);
    xev_file_close(fd, &s.loop, &second.r, &second, freq_cb);
    xev_file_pread(fd, &s.loop, &read.r, &byte, 1, 0, &read, freq_cb);
    int other = open(path_in(&s, "other"), O_RDONLY | O_CLOEXEC);
    CHECK_EQ(other, fd);
    sem_post(&go_on);
    CHECK_EQ(wait_for(&s, &second), XEV_EBADF);
    CHECK_EQ(wait_for(&s, &read), XEV_EBADF);
    CHECK_EQ(byte, 0);
    CHECK_EQ(wait_for(&s, &closed), 0);
    close_file(&s, other);
    scene_end(&s);
}

/* The close is back, on its way to the loop, and the same file is opened again. */
TEST(a_file_opened_again_is_not_taken_for_the_one_that_closes) {
    struct scene s;
    scene_start(&s);
    put_file(&s, "a", "a", 1);
    int fd = open(path_in(&s, "a"), O_RDONLY | O_CLOEXEC);
    struct freq closed = {0}, read = {0};
    char byte = 0;
    xev_file_close(fd, &s.loop, &closed.r, &closed, freq_cb);
    run_no_wait(&s.loop);
    xev_threadpool_counters n;
    do {
        sched_yield();
        xev_threadpool_stats(&s.pool, &n);
    } while (n.lane[XEV_LANE_FS].running > 0 || n.lane[XEV_LANE_FS].queued > 0);
    CHECK_EQ(open(path_in(&s, "a"), O_RDONLY | O_CLOEXEC), fd);
    xev_file_pread(fd, &s.loop, &read.r, &byte, 1, 0, &read, freq_cb);
    while (closed.calls + read.calls < 2) {
        run_once(&s.loop);
    }
    CHECK_EQ(closed.result, 0);
    CHECK_EQ(read.result, 1);
    CHECK_EQ(byte, 'a');
    close_file(&s, fd);
    scene_end(&s);
}

/* A file that the pool opened has the number: its open reports before the close does. */
TEST(an_open_that_got_the_number_reports_a_descriptor_that_works) {
    struct scene s;
    xev_threadpool_config cfg;
    scene_start(&s);
    int fd = create_in(&s, "a");
    put_file(&s, "a", "a", 1);
    /* Two threads of a pool of its own: one is in the close, the other opens. */
    xev_threadpool pool;
    xev_threadpool_config_init(&cfg);
    xev_threadpool_config_set_max_threads(&cfg, 2);
    xev_threadpool_config_set_lane_cap(&cfg, XEV_LANE_FS, 2);
    CHECK_EQ(xev_threadpool_init(&pool, &cfg), 0);
    xev_loop_deinit(&s.loop);
    xev_loop_options options = {.thread_pool = &pool};
    loop_start_options(&s.loop, &options);
    struct freq closed, opened = {0}, read = {0};
    char byte = 0;
    slow_close(&s, fd, &closed);
    xev_file_open(&s.loop, &opened.r, path_in(&s, "a"), XEV_OPEN_READ, 0, &opened, freq_cb);
    CHECK_EQ(wait_for(&s, &opened), fd);
    CHECK_EQ(closed.calls, 0);
    xev_file_pread(fd, &s.loop, &read.r, &byte, 1, 0, &read, freq_cb);
    CHECK_EQ(wait_for(&s, &read), 1); /* though it is the same file as the one that closes */
    CHECK_EQ(byte, 'a');
    sem_post(&go_on);
    CHECK_EQ(wait_for(&s, &closed), 0);
    close_file(&s, fd);
    xev_loop_deinit(&s.loop);
    xev_threadpool_deinit(&pool);
    loop_start(&s.loop);
    scene_end(&s);
}

TEST(teardown_closes_what_waits_for_a_thread_once) {
    struct scene s;
    scene_start(&s);
    int fd = create_in(&s, "a");
    struct hold held;
    struct freq closed = {0}, second = {0};
    hold_lane(&s, &held, XEV_LANE_FS);
    xev_file_close(fd, &s.loop, &closed.r, &closed, freq_cb);
    run_no_wait(&s.loop);
    xev_file_close(fd, &s.loop, &second.r, &second, freq_cb);
    sem_post(&held.go);
    xev_loop_deinit(&s.loop);
    CHECK_EQ(held.op.terminal, 1);
    CHECK_EQ(closed.calls, 1);
    CHECK_EQ(closed.result, 0);
    CHECK_EQ(second.calls, 1);
    CHECK_EQ(second.result, XEV_EBADF);
    CHECK_EQ(fcntl(fd, F_GETFD), -1);
    loop_start(&s.loop);
    scene_end(&s);
}
