/* Any descriptor, by fd.h and stream.h: pipes, terminals and descriptors that the program closes
 * itself. The polls are in poll_test.c. */
#include <pthread.h>
#include <semaphore.h>
#include <sys/eventfd.h>

#include "tests/fd_scene.h"

/* ---- pipes ---- */

TEST(pipe_open_makes_a_pipe_that_is_not_inherited) {
    struct net n;
    xev_fd fd[2];
    char buf[8];
    net_open(&n, NULL);
    CHECK_EQ(xev_pipe_open(&fd[0], &fd[1]), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(fcntl(fd[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    }
    CHECK_EQ(write_now(&n, fd[1], "hello", 5), 5);
    CHECK_EQ(read_now(&n, fd[0], buf, sizeof buf), 5);
    CHECK_MEM_EQ(buf, "hello", 5);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

TEST(pipe_open_out_of_descriptors_reports_emfile) {
    struct hoard h;
    xev_fd fd[2] = {7, 7};
    limit_fds();
    exhaust_fds(&h);
    CHECK_EQ(xev_pipe_open(&fd[0], &fd[1]), XEV_EMFILE);
    CHECK_EQ(fd[0], XEV_INVALID_FD);
    CHECK_EQ(fd[1], XEV_INVALID_FD);
    restore_fds(&h);
}

TEST(pipe_read_waits_then_gives_data_then_eof) {
    struct net n;
    struct op op;
    int fd[2];
    char buf[16];
    net_open(&n, NULL);
    make_pipe(fd);
    do_read(&op, &n, fd[0], buf, sizeof buf);
    settle(&n);
    CHECK_EQ(op.calls, 0);
    put(fd[1], "data");
    run_op(&op);
    CHECK_EQ(op.result, 4);
    CHECK_MEM_EQ(buf, "data", 4);
    put(fd[1], "more");
    CHECK_EQ(close(fd[1]), 0);
    CHECK_EQ(read_now(&n, fd[0], buf, 2), 2);
    CHECK_EQ(read_now(&n, fd[0], buf, 16), 2);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(read_now(&n, fd[0], buf, 16), XEV_EOF);
    }
    close_fd(&n, fd[0]);
    net_close(&n);
}

TEST(pipe_write_waits_for_room_and_may_be_partial) {
    enum { LEN = 1 << 18 };
    static char out[LEN], in[LEN];
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    make_pipe(fd);
    size_t filled = fill_pipe(fd[1]);
    do_write(&op, &n, fd[1], out, LEN);
    settle(&n);
    CHECK_EQ(op.calls, 0);
    CHECK_EQ(read(fd[0], in, filled / 2), (ssize_t)filled / 2);
    run_op(&op);
    CHECK_GT(op.result, 0);
    CHECK_LE(op.result, (int)filled);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

TEST(reads_and_writes_on_pipes_complete_in_order) {
    enum { COUNT = 50 };
    struct net n;
    struct op got[COUNT], put_[COUNT];
    uint32_t in[COUNT], out[COUNT];
    int fd[2];
    net_open(&n, NULL);
    make_pipe(fd);
    for (uint32_t i = 0; i < COUNT; i++) {
        do_read(&got[i], &n, fd[0], &in[i], 4);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        out[i] = i;
        do_write(&put_[i], &n, fd[1], &out[i], 4);
    }
    run_op(&got[COUNT - 1]);
    run_op(&put_[COUNT - 1]); /* whose result may come after that of the read it brought about */
    for (uint32_t i = 0; i < COUNT; i++) {
        CHECK_EQ(put_[i].result, 4);
        CHECK_EQ(got[i].result, 4);
        CHECK_EQ(in[i], i);
        CHECK(i == 0 || got[i - 1].at < got[i].at);
    }
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

/* The signal's default action would end the test. */
TEST(write_to_a_pipe_nobody_reads_reports_epipe_and_no_signal) {
    struct net n;
    struct op op;
    int fd[2];
    for (int waiting = 0; waiting < 2; waiting++) {
        signal(SIGPIPE, SIG_DFL);
        net_open(&n, NULL);
        make_pipe(fd);
        if (waiting) {
            (void)fill_pipe(fd[1]);
            do_write(&op, &n, fd[1], "x", 1);
            settle(&n);
            CHECK_EQ(op.calls, 0);
            CHECK_EQ(close(fd[0]), 0);
        } else {
            CHECK_EQ(close(fd[0]), 0);
            do_write(&op, &n, fd[1], "x", 1);
        }
        run_op(&op);
        CHECK_EQ(op.result, XEV_EPIPE);
        CHECK_EQ(write_now(&n, fd[1], "x", 1), XEV_EPIPE);
        close_fd(&n, fd[1]);
        net_close(&n);
    }
}

static sem_t submitted;

static void *run_to_the_end(void *loop) {
    while (sem_wait(&submitted) != 0) {
    }
    CHECK_EQ(xev_loop_run(loop, XEV_RUN_UNTIL_DONE), 0);
    return NULL;
}

/* What is submitted before the first run is written by the thread that runs. */
TEST(write_submitted_by_another_thread_than_the_loops_raises_no_signal) {
    struct net n;
    struct op op;
    int fd[2];
    pthread_t thread;
    signal(SIGPIPE, SIG_DFL);
    net_open(&n, NULL);
    make_pipe(fd);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(sem_init(&submitted, 0, 0), 0);
    /* Before the submission: it would inherit what that does to this thread. */
    CHECK_EQ(pthread_create(&thread, NULL, run_to_the_end, &n.loop), 0);
    do_write(&op, &n, fd[1], "x", 1);
    CHECK_EQ(sem_post(&submitted), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(op.result, XEV_EPIPE);
    xev_loop_deinit(&n.loop);
    CHECK_EQ(close(fd[1]), 0);
}

TEST(nonblocking_pipes_work_the_same) {
    struct net n;
    struct op op;
    int fd[2];
    char buf[8];
    net_open(&n, NULL);
    CHECK_EQ(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
    do_read(&op, &n, fd[0], buf, 8);
    settle(&n);
    CHECK_EQ(op.calls, 0);
    put(fd[1], "data");
    run_op(&op);
    CHECK_EQ(op.result, 4);
    size_t filled = fill_pipe(fd[1]);
    do_write(&op, &n, fd[1], "x", 1);
    settle(&n);
    CHECK_EQ(op.calls, 0);
    static char sink[1 << 20];
    CHECK_EQ(read(fd[0], sink, filled), (ssize_t)filled); /* and not what is written meanwhile */
    run_op(&op);
    CHECK_EQ(op.result, 1);
    CHECK_EQ(close(fd[1]), 0);
    CHECK_EQ(read_now(&n, fd[0], buf, 1), 1);
    CHECK_EQ(read_now(&n, fd[0], buf, 1), XEV_EOF);
    close_fd(&n, fd[0]);
    net_close(&n);
}

TEST(event_counter_is_read_when_it_is_written) {
    struct net n;
    struct op op;
    uint64_t count = 0;
    net_open(&n, NULL);
    int fd = eventfd(0, EFD_CLOEXEC);
    do_read(&op, &n, fd, &count, sizeof count);
    settle(&n);
    CHECK_EQ(op.calls, 0);
    CHECK_EQ(eventfd_write(fd, 5), 0);
    run_op(&op);
    CHECK_EQ(op.result, 8);
    CHECK_EQ(count, 5);
    close_fd(&n, fd);
    net_close(&n);
}

/* ---- cancel, close, deadline ---- */

enum kind { READ, WRITE, POLL, POLL_MULTI, KINDS };

struct waiter {
    struct op op;
    char buf[16];
    int fd[2];
    int own; /* the descriptor it waits on */
};

/* An operation that waits. */
static void start_waiting(struct waiter *w, struct net *n, enum kind kind) {
    make_pipe(w->fd);
    w->own = w->fd[0];
    switch (kind) {
    case READ:
        do_read(&w->op, n, w->own, w->buf, sizeof w->buf);
        break;
    case WRITE:
        w->own = w->fd[1];
        (void)fill_pipe(w->own);
        do_write(&w->op, n, w->own, w->buf, sizeof w->buf);
        break;
    case POLL:
        do_poll(&w->op, n, w->own, XEV_POLL_IN);
        break;
    default:
        do_poll_multi(&w->op, n, w->own, XEV_POLL_IN);
    }
}

TEST(each_operation_is_cancelled) {
    struct net n;
    for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
        for (int kind = 0; kind < KINDS; kind++) {
            struct waiter w;
            net_open(&n, NULL);
            start_waiting(&w, &n, (enum kind)kind);
            if (in_kernel) {
                settle(&n);
            }
            cancel_op(&w.op, 0);
            CHECK_EQ(w.op.result, XEV_ECANCELED);
            close_fd(&n, w.fd[0]);
            close_fd(&n, w.fd[1]);
            net_close(&n);
        }
    }
}

TEST(close_cancels_each_operation_first) {
    struct net n;
    for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
        for (int kind = 0; kind < KINDS; kind++) {
            struct waiter w;
            struct op closing;
            net_open(&n, NULL);
            start_waiting(&w, &n, (enum kind)kind);
            if (in_kernel) {
                settle(&n);
            }
            xev_fd_close(w.own, &n.loop, &op_new(&closing, &n)->c, &closing, op_called);
            run_op(&closing);
            CHECK_EQ(closing.result, 0);
            CHECK_EQ(w.op.ends, 1);
            CHECK_EQ(w.op.result, XEV_ECANCELED);
            CHECK_LT(w.op.at, closing.at);
            CHECK(!is_open(w.own));
            CHECK_EQ(close(w.own == w.fd[0] ? w.fd[1] : w.fd[0]), 0);
            net_close(&n);
        }
    }
}

TEST(each_operation_takes_a_deadline) {
    struct net n;
    for (int kind = 0; kind < KINDS; kind++) {
        struct waiter w;
        net_open(&n, NULL);
        start_waiting(&w, &n, (enum kind)kind);
        uint64_t start = clock_ns();
        xev_completion_set_timeout(&n.loop, &w.op.c, 20);
        run_op(&w.op);
        CHECK_EQ(w.op.result, XEV_ETIMEDOUT);
        CHECK_GE(clock_ns() - start, 20 * MS);
        CHECK_LT(n.turns, 20);
        close_fd(&n, w.fd[0]);
        close_fd(&n, w.fd[1]);
        net_close(&n);
    }
}

TEST(teardown_cancels_each_operation) {
    for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
        struct net n;
        struct waiter w[KINDS];
        net_open(&n, NULL);
        for (int kind = 0; kind < KINDS; kind++) {
            start_waiting(&w[kind], &n, (enum kind)kind);
        }
        if (in_kernel) {
            settle(&n);
        }
        xev_loop_deinit(&n.loop);
        for (int kind = 0; kind < KINDS; kind++) {
            CHECK_EQ(w[kind].op.ends, 1);
            CHECK_EQ(w[kind].op.result, XEV_ECANCELED);
            CHECK_EQ(close(w[kind].fd[0]), 0);
            CHECK_EQ(close(w[kind].fd[1]), 0);
        }
        CHECK_EQ(open_fds(), n.fds_before);
    }
}

/* ---- bad requests ---- */

TEST(bad_masks_lengths_and_descriptors) {
    struct net n;
    struct op op;
    int fd[2];
    char buf[4];
    net_open(&n, NULL);
    make_pipe(fd);
    CHECK_EQ(poll_now(&n, fd[0], 0), XEV_EINVAL);
    CHECK_EQ(poll_now(&n, fd[0], 32), XEV_EINVAL);
    CHECK_EQ(poll_now(&n, fd[0], XEV_POLL_IN | 0x80000000u), XEV_EINVAL);
    do_poll_multi(&op, &n, fd[0], 0);
    CHECK_EQ(op.calls, 0);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EINVAL);
    CHECK_EQ(read_now(&n, fd[0], buf, 0), XEV_EINVAL);
    CHECK_EQ(write_now(&n, fd[1], buf, (size_t)INT32_MAX + 1), XEV_EINVAL);
    for (int bad = 0; bad < 2; bad++) {
        int which = bad ? 1000 : -1;
        CHECK_EQ(read_now(&n, which, buf, 1), XEV_EBADF);
        CHECK_EQ(write_now(&n, which, buf, 1), XEV_EBADF);
        CHECK_EQ(poll_now(&n, which, XEV_POLL_IN), XEV_EBADF);
        do_poll_multi(&op, &n, which, XEV_POLL_IN);
        run_op(&op);
        CHECK_EQ(op.result, XEV_EBADF);
    }
    CHECK_EQ(read_now(&n, fd[1], buf, 1), XEV_EBADF); /* the wrong end */
    CHECK_EQ(write_now(&n, fd[0], buf, 1), XEV_EBADF);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

static void read_into_nothing(void *net) {
    struct op op;
    do_read(&op, net, 0, NULL, 1);
}

static void write_from_nothing(void *net) {
    struct op op;
    do_write(&op, net, 1, NULL, 1);
}

TEST(null_buffers_are_misuse) {
    struct net n;
    net_open(&n, NULL);
    check_misuse(read_into_nothing, &n, "xev_fd_read");
    check_misuse(write_from_nothing, &n, "xev_fd_write");
    net_close(&n);
}

/* Always ready, but nothing to wait for. */
TEST(files_are_ready_and_cannot_be_watched) {
    static const char *const paths[] = {"/proc/self/exe", "/dev/null"};
    for (int i = 0; i < 2; i++) {
        struct net n;
        struct op op;
        net_open(&n, NULL);
        int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
        CHECK_EQ(poll_now(&n, fd, XEV_POLL_IN | XEV_POLL_OUT), XEV_POLL_IN | XEV_POLL_OUT);
        CHECK_EQ(poll_now(&n, fd, XEV_POLL_HUP), XEV_EPERM);
        do_poll_multi(&op, &n, fd, XEV_POLL_IN);
        run_op(&op);
        CHECK_EQ(op.calls, 1);
        CHECK_EQ(op.result, XEV_EPERM);
        CHECK_EQ(close(fd), 0);
        net_close(&n);
    }
}

/* ---- pseudo-terminals ---- */

TEST(terminal_both_ways) {
    struct net n;
    struct op op;
    int fd[2];
    char buf[16];
    net_open(&n, NULL);
    make_terminal(fd);
    for (int from = 0; from < 2; from++) {
        do_read(&op, &n, fd[!from], buf, sizeof buf);
        settle(&n);
        CHECK_EQ(op.calls, 0);
        CHECK_EQ(write_now(&n, fd[from], "hello", 5), 5);
        run_op(&op);
        CHECK_EQ(op.result, 5);
        CHECK_MEM_EQ(buf, "hello", 5);
    }
    do_read(&op, &n, fd[0], buf, sizeof buf);
    settle(&n);
    cancel_op(&op, 0);
    CHECK_EQ(op.result, XEV_ECANCELED);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

TEST(terminal_whose_other_end_is_gone_reports_eio) {
    struct net n;
    struct op op;
    int fd[2];
    char buf[16];
    for (int waiting = 0; waiting < 2; waiting++) {
        net_open(&n, NULL);
        make_terminal(fd);
        CHECK_EQ(write_now(&n, fd[1], "last", 4), 4);
        CHECK_EQ(read_now(&n, fd[0], buf, 16), 4);
        if (waiting) {
            do_read(&op, &n, fd[0], buf, sizeof buf);
            settle(&n);
            close_fd(&n, fd[1]);
        } else {
            close_fd(&n, fd[1]);
            do_read(&op, &n, fd[0], buf, sizeof buf);
        }
        run_op(&op);
        CHECK_EQ(op.result, XEV_EIO);
        CHECK_EQ(poll_now(&n, fd[0], XEV_POLL_IN) & XEV_POLL_HUP, XEV_POLL_HUP);
        close_fd(&n, fd[0]);
        net_close(&n);
    }
}

struct long_write {
    struct op op;
    int fd;
    const char *next;
    size_t left;
};

static xev_cb_action write_rest(struct op *op, int result) {
    struct long_write *w = op->user;
    CHECK_GT(result, 0);
    w->next += result;
    w->left -= (size_t)result;
    if (w->left > 0) {
        op->ends = 0;
        xev_fd_write(w->fd, &op->net->loop, &op->c, w->next, w->left, op, op_called);
    }
    return XEV_DISARM;
}

/* More than the terminal holds must wait in the kernel and not in the loop's thread. */
TEST(long_write_to_a_terminal_does_not_block_the_loop) {
    enum { LEN = 1 << 18 };
    static char out[LEN], in[4096];
    struct net n;
    struct op timer;
    struct long_write w;
    int fd[2];
    net_open(&n, NULL);
    make_terminal(fd);
    for (int i = 0; i < LEN; i++) {
        out[i] = (char)('a' + i % 26);
    }
    w = (struct long_write){.fd = fd[1], .next = out, .left = LEN};
    do_write(&w.op, &n, fd[1], out, LEN);
    w.op.then = write_rest;
    w.op.user = &w;
    op_new(&timer, &n);
    xev_timer_run(NULL, &n.loop, &timer.c, 1, &timer, op_called);
    run_op(&timer);
    CHECK_EQ(w.op.ends, 0);
    for (size_t got = 0; got < LEN;) {
        int rc = read_now(&n, fd[0], in, sizeof in);
        CHECK_GT(rc, 0);
        CHECK_MEM_EQ(in, out + got, (size_t)rc);
        got += (size_t)rc;
    }
    run_op(&w.op);
    CHECK_EQ(w.left, 0);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

/* A child on the terminal: what it says arrives, and what it is told. */
TEST(terminal_of_a_child_process) {
    struct net n;
    struct op op;
    int fd[2];
    char buf[64];
    net_open(&n, NULL);
    make_terminal(fd);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        char line[16];
        ssize_t got = write(fd[1], "ready\n", 6) == 6 ? read(fd[1], line, sizeof line) : -1;
        _exit(got > 0 && write(fd[1], line, (size_t)got) == got ? 0 : 1);
    }
    CHECK_EQ(close(fd[1]), 0);
    CHECK_EQ(read_now(&n, fd[0], buf, sizeof buf), 6);
    CHECK_MEM_EQ(buf, "ready\n", 6);
    CHECK_EQ(write_now(&n, fd[0], "echo", 4), 4);
    CHECK_EQ(read_now(&n, fd[0], buf, sizeof buf), 4);
    CHECK_MEM_EQ(buf, "echo", 4);
    do_read(&op, &n, fd[0], buf, sizeof buf);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EIO);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    close_fd(&n, fd[0]);
    net_close(&n);
}

/* ---- the write queue on what is no socket ---- */

struct request {
    xev_write_req req;
    int calls, result, at;
};

static int request_clock;

static void on_written(xev_loop *loop, xev_stream *s, xev_write_req *req, int result,
                       void *userdata) {
    (void)loop;
    struct request *r = userdata;
    CHECK(&r->req == req);
    (void)s;
    r->calls++;
    r->result = result;
    r->at = ++request_clock;
}

/* Many requests of all sizes, far more than a pipe holds, so that writes are partial. */
static void queue_over(int write_end, int read_end) {
    enum { COUNT = 60, LONGEST = 40000 };
    static char out[COUNT][LONGEST], in[65536];
    static struct request req[COUNT];
    struct net n;
    struct op op;
    xev_stream stream;
    size_t total = 0;
    memset(req, 0, sizeof req);
    request_clock = 0;
    net_open(&n, NULL);
    xev_stream_init_fd(&stream, &n.loop, write_end);
    for (int i = 0; i < COUNT; i++) {
        size_t len = i % 3 == 0 ? LONGEST : (size_t)(1 + i * 37);
        for (size_t j = 0; j < len; j++) {
            out[i][j] = (char)(i * 7 + (int)(j % 251));
        }
        xev_stream_write(&stream, &req[i].req, out[i], len, &req[i], on_written);
        total += len;
    }
    CHECK_EQ(xev_stream_queued_bytes(&stream), total);
    settle(&n);
    CHECK_EQ(req[COUNT - 1].calls, 0);
    size_t got = 0, at = 0;
    int which = 0;
    while (got < total) {
        op_new(&op, &n);
        xev_fd_read(read_end, &n.loop, &op.c, in, sizeof in, &op, op_called);
        run_op(&op);
        CHECK_GT(op.result, 0);
        for (int i = 0; i < op.result; i++) {
            CHECK_EQ(in[i], out[which][at]);
            at++;
            if (at == req[which].req.len_bytes) {
                which++;
                at = 0;
            }
        }
        got += (size_t)op.result;
    }
    run_until(&n, &req[COUNT - 1].calls, 1);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(req[i].calls, 1);
        CHECK_EQ(req[i].at, i + 1);
        CHECK_EQ(req[i].result, (int)req[i].req.len_bytes);
    }
    CHECK_EQ(xev_stream_queued_bytes(&stream), 0);
    xev_loop_deinit(&n.loop);
}

TEST(write_queue_over_a_pipe_keeps_order_through_partial_writes) {
    int fd[2];
    CHECK_EQ(xev_pipe_open(&fd[0], &fd[1]), 0);
    queue_over(fd[1], fd[0]);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
}

TEST(write_queue_over_a_terminal_keeps_order_through_partial_writes) {
    int fd[2];
    make_terminal(fd);
    queue_over(fd[1], fd[0]);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
}

TEST(write_queue_over_a_pipe_nobody_reads_reports_epipe) {
    struct net n;
    struct request req[3] = {0};
    xev_stream stream;
    int fd[2];
    signal(SIGPIPE, SIG_DFL);
    net_open(&n, NULL);
    CHECK_EQ(xev_pipe_open(&fd[0], &fd[1]), 0);
    CHECK_EQ(close(fd[0]), 0);
    xev_stream_init_fd(&stream, &n.loop, fd[1]);
    for (int i = 0; i < 3; i++) {
        xev_stream_write(&stream, &req[i].req, "abc", 3, &req[i], on_written);
    }
    run_until(&n, &req[2].calls, 1);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(req[i].result, XEV_EPIPE);
    }
    close_fd(&n, fd[1]);
    net_close(&n);
}

TEST(write_queue_over_a_pipe_is_cancelled_timed_out_and_closed) {
    struct net n;
    struct request req[3] = {0};
    static char big[1 << 18];
    xev_stream stream;
    int fd[2];
    net_open(&n, NULL);
    CHECK_EQ(xev_pipe_open(&fd[0], &fd[1]), 0);
    xev_stream_init_fd(&stream, &n.loop, fd[1]);
    xev_stream_write(&stream, &req[0].req, big, sizeof big, &req[0], on_written);
    settle(&n);
    xev_stream_write(&stream, &req[1].req, big, 10, &req[1], on_written);
    settle(&n);
    CHECK_EQ(xev_stream_cancel(&stream, &req[0].req), XEV_EALREADY);
    CHECK_EQ(xev_stream_cancel(&stream, &req[1].req), 0);
    run_until(&n, &req[1].calls, 1);
    CHECK_EQ(req[1].result, XEV_ECANCELED);
    CHECK_EQ(req[0].calls, 0);
    xev_stream_write(&stream, &req[2].req, big, 10, &req[2], on_written);
    close_fd(&n, fd[1]);
    CHECK_EQ(req[0].result, XEV_ECANCELED);
    CHECK_EQ(req[2].result, XEV_ECANCELED);

    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(xev_pipe_open(&fd[0], &fd[1]), 0);
    xev_stream_init_fd(&stream, &n.loop, fd[1]);
    xev_stream_set_timeout(&stream, 20);
    req[0].calls = 0;
    xev_stream_write(&stream, &req[0].req, big, sizeof big, &req[0], on_written);
    run_until(&n, &req[0].calls, 1);
    CHECK_EQ(req[0].result, XEV_ETIMEDOUT);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

static xev_cb_action repeat_once(xev_loop *l, xev_completion *c, int result, void *userdata) {
    (void)l;
    (void)c;
    CHECK_EQ(result, XEV_EINVAL);
    return ++*(int *)userdata < 2 ? XEV_REARM : XEV_DISARM;
}

TEST(a_refused_length_is_refused_again_when_repeated) {
    xev_loop l;
    xev_completion c;
    int fds[2], calls = 0;
    char byte;
    memset(&c, 0x5a, sizeof c); /* what a repeat must not use */
    CHECK_EQ(xev_loop_init(&l), 0);
    CHECK_EQ(pipe(fds), 0);
    xev_fd_read(fds[0], &l, &c, &byte, 0, &calls, repeat_once);
    CHECK_EQ(xev_loop_run(&l, XEV_RUN_UNTIL_DONE), 0);
    CHECK_EQ(calls, 2);
    xev_loop_deinit(&l);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}
