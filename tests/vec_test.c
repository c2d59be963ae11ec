/* Transfers of several pieces of memory at once, on sockets and on other descriptors. Whatever the
 * sizes of the pieces, they do what the plain transfers of tcp.h, unix.h and fd.h do. */
#include "tests/fd_scene.h"

enum kind { TCP, UNIX, PIPE, KINDS };

/* fd[0] reads, fd[1] writes. */
static void make(enum kind kind, int fd[2]) {
    if (kind == TCP) {
        tcp_pair(fd);
    } else if (kind == UNIX) {
        local_pair(fd);
    } else {
        make_pipe(fd);
    }
}

static void do_readv(struct op *op, struct net *n, enum kind kind, int fd, const xev_vec *vec,
                     size_t count) {
    op_new(op, n);
    if (kind == TCP) {
        xev_tcp_recvv(xev_tcp_from_fd(fd), &n->loop, &op->c, vec, count, op, op_called);
    } else if (kind == UNIX) {
        xev_unix_recvv(xev_unix_from_fd(fd), &n->loop, &op->c, vec, count, op, op_called);
    } else {
        xev_fd_readv(fd, &n->loop, &op->c, vec, count, op, op_called);
    }
}

static void do_writev(struct op *op, struct net *n, enum kind kind, int fd, const xev_vec *vec,
                      size_t count) {
    op_new(op, n);
    if (kind == TCP) {
        xev_tcp_sendv(xev_tcp_from_fd(fd), &n->loop, &op->c, vec, count, op, op_called);
    } else if (kind == UNIX) {
        xev_unix_sendv(xev_unix_from_fd(fd), &n->loop, &op->c, vec, count, op, op_called);
    } else {
        xev_fd_writev(fd, &n->loop, &op->c, vec, count, op, op_called);
    }
}

/* Until it takes no more before it is read: not for TCP. */
static size_t fill_any(enum kind kind, int fd) { return kind == PIPE ? fill_pipe(fd) : fill(fd); }

static void close_pair(struct net *n, int fd[2]) {
    close_fd(n, fd[0]);
    close_fd(n, fd[1]);
}

/* ---- data ---- */

TEST(pieces_go_out_and_come_in_as_one) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct net n;
        struct op in, out;
        int fd[2];
        char a[3], b[1], d[8] = "";
        const xev_vec to[] = {{a, 3}, {b, 1}, {NULL, 0}, {d, 8}};
        const xev_vec from[] = {{"ab", 2}, {"", 0}, {"cdef", 4}, {"g", 1}};
        net_open(&n, NULL);
        make((enum kind)kind, fd);
        do_readv(&in, &n, (enum kind)kind, fd[0], to, 4);
        settle(&n);
        CHECK_EQ(in.calls, 0);
        do_writev(&out, &n, (enum kind)kind, fd[1], from, 4);
        CHECK_EQ(out.calls, 0); /* no callback inside a submission */
        run_op(&in);
        CHECK_EQ(in.result, 7);
        CHECK_MEM_EQ(a, "abc", 3);
        CHECK_MEM_EQ(b, "d", 1);
        CHECK_MEM_EQ(d, "efg", 4);
        if (out.ends == 0) {
            run_op(&out);
        }
        CHECK_EQ(out.result, 7);
        /* Where there is data already, and more than there is room for. */
        do_writev(&out, &n, (enum kind)kind, fd[1], from, 4);
        run_op(&out);
        wait_readable(fd[0]);
        do_readv(&in, &n, (enum kind)kind, fd[0], to, 2);
        run_op(&in);
        CHECK_EQ(in.result, 4);
        do_readv(&in, &n, (enum kind)kind, fd[0], to, 4);
        run_op(&in);
        CHECK_EQ(in.result, 3);
        CHECK_MEM_EQ(a, "efg", 3);
        CHECK_EQ(close(fd[1]), 0);
        for (int i = 0; i < 2; i++) {
            do_readv(&in, &n, (enum kind)kind, fd[0], to, 4);
            run_op(&in);
            CHECK_EQ(in.result, XEV_EOF);
        }
        close_fd(&n, fd[0]);
        net_close(&n);
    }
}

TEST(end_of_stream_ends_a_waiting_read) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct net n;
        struct op in;
        int fd[2];
        char a[2], b[2];
        const xev_vec to[] = {{a, 2}, {b, 2}};
        net_open(&n, NULL);
        make((enum kind)kind, fd);
        do_readv(&in, &n, (enum kind)kind, fd[0], to, 2);
        settle(&n);
        CHECK_EQ(close(fd[1]), 0);
        run_op(&in);
        CHECK_EQ(in.result, XEV_EOF);
        close_fd(&n, fd[0]);
        net_close(&n);
    }
}

TEST(as_many_pieces_as_there_may_be) {
    static char in[XEV_VEC_MAX], out[XEV_VEC_MAX];
    static xev_vec to[XEV_VEC_MAX], from[XEV_VEC_MAX];
    for (int i = 0; i < XEV_VEC_MAX; i++) {
        out[i] = (char)(i * 31 + i / 255);
        from[i] = (xev_vec){&out[i], 1};
        to[XEV_VEC_MAX - 1 - i] = (xev_vec){&in[i], 1};
    }
    for (int kind = 0; kind < KINDS; kind++) {
        struct net n;
        struct op op;
        int fd[2];
        net_open(&n, NULL);
        make((enum kind)kind, fd);
        do_writev(&op, &n, (enum kind)kind, fd[1], from, XEV_VEC_MAX);
        run_op(&op);
        CHECK_EQ(op.result, XEV_VEC_MAX);
        wait_readable(fd[0]);
        do_readv(&op, &n, (enum kind)kind, fd[0], to, XEV_VEC_MAX);
        run_op(&op);
        CHECK_EQ(op.result, XEV_VEC_MAX);
        for (int i = 0; i < XEV_VEC_MAX; i++) {
            CHECK_EQ(in[XEV_VEC_MAX - 1 - i], out[i]);
        }
        close_pair(&n, fd);
        net_close(&n);
    }
}

/* The result counts into the pieces, wherever it ends. */
TEST(a_write_waits_for_room_and_may_be_partial) {
    enum { PIECE = 100003, PIECES = 7 };
    static char out[PIECES][PIECE], in[PIECES * PIECE];
    for (int i = 0; i < PIECES * PIECE; i++) {
        out[i / PIECE][i % PIECE] = (char)(i * 31 + i / 255);
    }
    for (int kind = UNIX; kind < KINDS; kind++) {
        struct net n;
        struct op op;
        int fd[2];
        xev_vec from[PIECES];
        for (int i = 0; i < PIECES; i++) {
            from[i] = (xev_vec){out[i], PIECE};
        }
        net_open(&n, NULL);
        make((enum kind)kind, fd);
        size_t filled = fill_any((enum kind)kind, fd[1]);
        do_writev(&op, &n, (enum kind)kind, fd[1], from, PIECES);
        settle(&n);
        CHECK_EQ(op.calls, 0);
        char *sink = malloc(filled);
        for (size_t got = 0; got < filled;) {
            ssize_t rc = read(fd[0], sink, filled - got);
            CHECK_GT(rc, 0);
            got += (size_t)rc;
        }
        free(sink);
        run_op(&op);
        CHECK_GT(op.result, 0);
        CHECK_LT(op.result, PIECES * PIECE);
        for (int got = 0; got < op.result;) {
            ssize_t rc = read(fd[0], in + got, (size_t)(op.result - got));
            CHECK_GT(rc, 0);
            got += (int)rc;
        }
        CHECK_MEM_EQ(in, &out[0][0], (size_t)op.result);
        close_pair(&n, fd);
        net_close(&n);
    }
}

TEST(they_keep_their_order_among_plain_ones) {
    enum { COUNT = 60 };
    for (int kind = 0; kind < KINDS; kind++) {
        struct net n;
        static struct op got[COUNT], put_[COUNT];
        static uint32_t in[COUNT], out[COUNT];
        static xev_vec to[COUNT][2], from[COUNT][2];
        int fd[2];
        net_open(&n, NULL);
        make((enum kind)kind, fd);
        for (uint32_t i = 0; i < COUNT; i++) {
            out[i] = i * 2654435761u;
            char *at = (char *)&in[i], *of = (char *)&out[i];
            to[i][0] = (xev_vec){at, 1};
            to[i][1] = (xev_vec){at + 1, 3};
            from[i][0] = (xev_vec){of, 3};
            from[i][1] = (xev_vec){of + 3, 1};
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            if (i % 3 != 0) {
                do_readv(&got[i], &n, (enum kind)kind, fd[0], to[i], 2);
            } else if (kind == PIPE) {
                do_read(&got[i], &n, fd[0], &in[i], 4);
            } else {
                op_new(&got[i], &n);
                xev_tcp_recv(xev_tcp_from_fd(fd[0]), &n.loop, &got[i].c, &in[i], 4, &got[i],
                             op_called);
            }
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            if (i % 5 != 0) {
                do_writev(&put_[i], &n, (enum kind)kind, fd[1], from[i], 2);
            } else if (kind == PIPE) {
                do_write(&put_[i], &n, fd[1], &out[i], 4);
            } else {
                op_new(&put_[i], &n);
                xev_tcp_send(xev_tcp_from_fd(fd[1]), &n.loop, &put_[i].c, &out[i], 4, &put_[i],
                             op_called);
            }
        }
        run_op(&got[COUNT - 1]);
        for (uint32_t i = 0; i < COUNT; i++) {
            CHECK_EQ(put_[i].result, 4);
            CHECK_EQ(got[i].result, 4);
            CHECK_EQ(in[i], out[i]);
            CHECK(i == 0 || got[i - 1].at < got[i].at);
            CHECK(i == 0 || put_[i - 1].at < put_[i].at);
        }
        close_pair(&n, fd);
        net_close(&n);
    }
}

/* Each in the kernel's hands with its own pieces, however small the queue to it. */
TEST(many_descriptors_at_once_through_a_small_queue) {
    enum { PAIRS = 50 };
    static struct op in[PAIRS], out[PAIRS];
    static int fd[PAIRS][2];
    static char got[PAIRS][8], put_[PAIRS][8];
    static xev_vec to[PAIRS][2], from[PAIRS][2];
    const xev_loop_options options = {.entries = 4, .cq_entries = 64};
    struct net n;
    net_open(&n, &options);
    for (int i = 0; i < PAIRS; i++) {
        local_pair(fd[i]);
        for (int j = 0; j < 8; j++) {
            put_[i][j] = (char)(8 * i + j);
        }
        for (int j = 0; j < 2; j++) {
            to[i][j] = (xev_vec){got[i] + 4 * j, 4};
            from[i][j] = (xev_vec){put_[i] + (j ? 3 : 0), j ? 5 : 3};
        }
    }
    for (int round = 0; round < 3; round++) {
        memset(got, 0, sizeof got);
        for (int i = 0; i < PAIRS; i++) {
            do_readv(&in[i], &n, UNIX, fd[i][0], to[i], 2);
        }
        for (int i = 0; i < PAIRS; i++) {
            do_writev(&out[i], &n, UNIX, fd[i][1], from[i], 2);
        }
        for (int i = 0; i < PAIRS; i++) {
            if (in[i].ends == 0) {
                run_op(&in[i]);
            }
            CHECK_EQ(in[i].result, 8);
            CHECK_EQ(out[i].result, 8);
            CHECK_MEM_EQ(got[i], put_[i], 8);
        }
    }
    for (int i = 0; i < PAIRS; i++) {
        close_pair(&n, fd[i]);
    }
    net_close(&n);
}

static xev_cb_action again(struct op *op, int result) {
    if (result < 0 || ++op->sum == 4) {
        return XEV_DISARM;
    }
    op->ends = 0; /* it starts over */
    return XEV_REARM;
}

TEST(rearm_repeats) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct net n;
        struct op in, out;
        int fd[2];
        char a[1], b[2], all[12];
        const xev_vec to[] = {{a, 1}, {b, 2}};
        const xev_vec from[] = {{"xy", 2}, {"z", 1}};
        net_open(&n, NULL);
        make((enum kind)kind, fd);
        do_writev(&out, &n, (enum kind)kind, fd[1], from, 2);
        out.then = again;
        run_until(&n, &out.calls, 4);
        CHECK_EQ(out.result, 3);
        for (ssize_t got = 0; got < 12;) { /* TCP may bring it in parts */
            ssize_t rc = read(fd[0], all + got, (size_t)(12 - got));
            CHECK_GT(rc, 0);
            got += rc;
        }
        CHECK_MEM_EQ(all, "xyzxyzxyzxyz", 12);
        do_readv(&in, &n, (enum kind)kind, fd[0], to, 2);
        in.then = again;
        for (int i = 1; i <= 3; i++) {
            CHECK_EQ(write(fd[1], i == 2 ? "123" : "abc", 3), 3);
            run_until(&n, &in.calls, i);
            CHECK_EQ(in.result, 3);
            CHECK_MEM_EQ(a, i == 2 ? "1" : "a", 1);
            CHECK_MEM_EQ(b, i == 2 ? "23" : "bc", 2);
        }
        CHECK_EQ(close(fd[1]), 0);
        run_until(&n, &in.calls, 4);
        CHECK_EQ(in.result, XEV_EOF);
        close_fd(&n, fd[0]);
        net_close(&n);
    }
}

/* A reader that moves its vector on by what arrived, as one does to fill a message up. */
struct filler {
    char buf[100];
    xev_vec vec;
    size_t total, wanted;
};

static xev_cb_action fill_up(struct op *op, int result) {
    struct filler *f = op->user;
    CHECK_GT(result, 0);
    CHECK_LE((size_t)result, f->vec.len_bytes);
    f->total += (size_t)result;
    f->vec.base = (char *)f->vec.base + result;
    f->vec.len_bytes -= (size_t)result;
    if (f->vec.len_bytes == 0) {
        f->vec = (xev_vec){f->buf, sizeof f->buf};
    }
    if (f->total == f->wanted) {
        return XEV_DISARM;
    }
    op->ends = 0;
    return XEV_REARM;
}

/* As long as it was before, a vector would seem not to be filled by what fills it now, and the rest
 * would be waited for that is there already. */
TEST(rearm_takes_the_vector_as_it_is_now) {
    static const char data[1000];
    for (int kind = 0; kind < KINDS; kind++) {
        struct net n;
        struct op in;
        struct filler f = {.wanted = 1060};
        int fd[2];
        f.vec = (xev_vec){f.buf, sizeof f.buf};
        net_open(&n, NULL);
        make((enum kind)kind, fd);
        do_readv(&in, &n, (enum kind)kind, fd[0], &f.vec, 1);
        in.then = fill_up;
        in.user = &f;
        settle(&n);
        CHECK_EQ(write(fd[1], data, 60), 60);
        run_until(&n, &in.calls, 1);
        CHECK_EQ(write(fd[1], data, 1000), 1000);
        run_op(&in);
        CHECK_EQ(f.total, 1060);
        close_pair(&n, fd);
        net_close(&n);
    }
}

static xev_cb_action take_back(struct op *op, int result) {
    xev_vec *vec = op->user;
    op->sum += result > 0 ? result : 0;
    if (op->calls == 1) {
        CHECK_EQ(result, 4);
        vec->len_bytes = 0; /* all of it is done */
    } else if (op->calls == 2) {
        CHECK_EQ(result, XEV_EINVAL); /* and no end of the stream */
        vec->base = (char *)vec->base + 4;
        vec->len_bytes = 2;
    } else {
        CHECK_EQ(result, 2);
        return XEV_DISARM;
    }
    op->ends = 0;
    return XEV_REARM;
}

TEST(rearm_with_an_emptied_vector_is_invalid_and_with_a_filled_one_goes_on) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct net n;
        struct op in, out;
        int fd[2];
        char got[8] = "", sent[] = "abcdef";
        xev_vec to = {got, 4}, from = {sent, 4};
        net_open(&n, NULL);
        make((enum kind)kind, fd);
        do_writev(&out, &n, (enum kind)kind, fd[1], &from, 1);
        out.then = take_back;
        out.user = &from;
        run_until(&n, &out.calls, 3);
        CHECK_EQ(out.sum, 6);
        do_readv(&in, &n, (enum kind)kind, fd[0], &to, 1);
        in.then = take_back;
        in.user = &to;
        run_until(&n, &in.calls, 3);
        CHECK_EQ(in.sum, 6);
        CHECK_STR_EQ(got, sent);
        close_pair(&n, fd);
        net_close(&n);
    }
}

TEST(nonblocking_descriptors_work_the_same) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct net n;
        struct op in, out;
        int fd[2];
        char a[3], b[3];
        const xev_vec to[] = {{a, 3}, {b, 3}};
        const xev_vec from[] = {{"12", 2}, {"3456", 4}};
        net_open(&n, NULL);
        make((enum kind)kind, fd);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(fcntl(fd[i], F_SETFL, O_NONBLOCK), 0);
        }
        do_readv(&in, &n, (enum kind)kind, fd[0], to, 2);
        settle(&n);
        CHECK_EQ(in.calls, 0);
        do_writev(&out, &n, (enum kind)kind, fd[1], from, 2);
        run_op(&in);
        CHECK_EQ(in.result, 6);
        CHECK_MEM_EQ(a, "123", 3);
        CHECK_MEM_EQ(b, "456", 3);
        if (kind != TCP) {
            size_t filled = fill_any((enum kind)kind, fd[1]);
            do_writev(&out, &n, (enum kind)kind, fd[1], from, 2);
            settle(&n);
            CHECK_EQ(out.calls, 0);
            for (size_t got = 0; got < filled + 6;) {
                static char sink[1 << 16];
                ssize_t rc = read(fd[0], sink, sizeof sink);
                got += rc > 0 ? (size_t)rc : 0;
                if (rc < 0) {
                    settle(&n);
                }
            }
            if (out.ends == 0) {
                run_op(&out);
            }
            CHECK_EQ(out.result, 6);
        }
        close_pair(&n, fd);
        net_close(&n);
    }
}

TEST(terminals_take_pieces) {
    struct net n;
    struct op in, out;
    int fd[2];
    char a[2], b[8];
    const xev_vec to[] = {{a, 2}, {b, 8}};
    const xev_vec from[] = {{"he", 2}, {"llo", 3}};
    net_open(&n, NULL);
    make_terminal(fd);
    do_readv(&in, &n, PIPE, fd[0], to, 2);
    do_writev(&out, &n, PIPE, fd[1], from, 2);
    run_op(&in);
    CHECK_EQ(in.result, 5);
    CHECK_MEM_EQ(a, "he", 2);
    CHECK_MEM_EQ(b, "llo", 3);
    if (out.ends == 0) {
        run_op(&out);
    }
    CHECK_EQ(out.result, 5);
    close_pair(&n, fd);
    net_close(&n);
}

/* The signal's default action would end the test. */
TEST(nobody_reads_is_epipe_and_no_signal) {
    for (int kind = UNIX; kind < KINDS; kind++) {
        struct net n;
        struct op out;
        int fd[2];
        const xev_vec from[] = {{"12", 2}, {"3456", 4}};
        signal(SIGPIPE, SIG_DFL);
        net_open(&n, NULL);
        make((enum kind)kind, fd);
        CHECK_EQ(close(fd[0]), 0);
        do_writev(&out, &n, (enum kind)kind, fd[1], from, 2);
        run_op(&out);
        CHECK_EQ(out.result, XEV_EPIPE);
        close_fd(&n, fd[1]);
        net_close(&n);
    }
}

/* ---- cancel, close, deadline ---- */

struct waiter {
    struct op op;
    char a[4], b[4];
    xev_vec vec[2];
    int fd[2];
    int own; /* the descriptor it waits on */
};

/* Of each kind a read, and but for TCP a write. */
enum { WAITERS = 2 * KINDS };

static bool start_waiting(struct waiter *w, struct net *n, int which) {
    enum kind kind = (enum kind)(which / 2);
    bool writing = which % 2 != 0;
    if (writing && kind == TCP) {
        return false;
    }
    make(kind, w->fd);
    w->own = w->fd[writing];
    w->vec[0] = (xev_vec){w->a, 4};
    w->vec[1] = (xev_vec){w->b, 4};
    if (writing) {
        (void)fill_any(kind, w->own);
        do_writev(&w->op, n, kind, w->own, w->vec, 2);
    } else {
        do_readv(&w->op, n, kind, w->own, w->vec, 2);
    }
    return true;
}

TEST(each_is_cancelled) {
    for (int i = 0; i < 2 * WAITERS; i++) {
        struct net n;
        struct waiter w;
        net_open(&n, NULL);
        if (start_waiting(&w, &n, i / 2)) {
            if (i % 2 != 0) {
                settle(&n);
            }
            cancel_op(&w.op, 0);
            CHECK_EQ(w.op.result, XEV_ECANCELED);
            close_pair(&n, w.fd);
        }
        net_close(&n);
    }
}

TEST(a_cancelled_read_loses_no_data) {
    struct net n;
    struct waiter w;
    char buf[8];
    net_open(&n, NULL);
    CHECK(start_waiting(&w, &n, 0));
    settle(&n);
    cancel_op(&w.op, 0);
    plain_send(w.fd[1], "kept", 4);
    plain_recv(w.fd[0], buf, 4);
    CHECK_MEM_EQ(buf, "kept", 4);
    close_pair(&n, w.fd);
    net_close(&n);
}

TEST(close_cancels_each_first) {
    for (int i = 0; i < 2 * WAITERS; i++) {
        struct net n;
        struct waiter w;
        struct op closing;
        net_open(&n, NULL);
        if (start_waiting(&w, &n, i / 2)) {
            if (i % 2 != 0) {
                settle(&n);
            }
            xev_fd_close(w.own, &n.loop, &op_new(&closing, &n)->c, &closing, op_called);
            run_op(&closing);
            CHECK_EQ(w.op.ends, 1);
            CHECK_EQ(w.op.result, XEV_ECANCELED);
            CHECK_LT(w.op.at, closing.at);
            CHECK_EQ(close(w.own == w.fd[0] ? w.fd[1] : w.fd[0]), 0);
        }
        net_close(&n);
    }
}

TEST(each_takes_a_deadline) {
    for (int i = 0; i < WAITERS; i++) {
        struct net n;
        struct waiter w;
        net_open(&n, NULL);
        if (start_waiting(&w, &n, i)) {
            uint64_t start = clock_ns();
            xev_completion_set_timeout(&n.loop, &w.op.c, 10);
            run_op(&w.op);
            CHECK_EQ(w.op.result, XEV_ETIMEDOUT);
            CHECK_GE(clock_ns() - start, 10 * MS);
            CHECK_LT(n.turns, 20);
            close_pair(&n, w.fd);
        }
        net_close(&n);
    }
}

TEST(teardown_cancels_each) {
    for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
        struct net n;
        struct waiter w[WAITERS];
        bool used[WAITERS];
        net_open(&n, NULL);
        for (int i = 0; i < WAITERS; i++) {
            used[i] = start_waiting(&w[i], &n, i);
        }
        if (in_kernel) {
            settle(&n);
        }
        xev_loop_deinit(&n.loop);
        for (int i = 0; i < WAITERS; i++) {
            if (used[i]) {
                CHECK_EQ(w[i].op.ends, 1);
                CHECK_EQ(w[i].op.result, XEV_ECANCELED);
                CHECK_EQ(close(w[i].fd[0]), 0);
                CHECK_EQ(close(w[i].fd[1]), 0);
            }
        }
        CHECK_EQ(open_fds(), n.fds_before);
    }
}

/* ---- bad requests ---- */

TEST(too_much_and_nothing_are_invalid) {
    static xev_vec many[XEV_VEC_MAX + 1];
    static char byte;
    const xev_vec none[] = {{NULL, 0}, {&byte, 0}};
    const xev_vec long_one[] = {{&byte, (size_t)INT32_MAX + 1}};
    const xev_vec huge_one[] = {{&byte, SIZE_MAX}, {&byte, 2}};
    const xev_vec long_sum[] = {{&byte, INT32_MAX}, {&byte, 1}};
    const struct {
        const xev_vec *vec;
        size_t count;
    } bad[] = {{none, 0},     {none, 2},        {long_one, 1},          {huge_one, 2},
               {long_sum, 2}, {many, SIZE_MAX}, {many, XEV_VEC_MAX + 1}};
    for (int i = 0; i <= XEV_VEC_MAX; i++) {
        many[i] = (xev_vec){&byte, 1};
    }
    for (int kind = 0; kind < KINDS; kind++) {
        struct net n;
        struct op op;
        int fd[2];
        net_open(&n, NULL);
        make((enum kind)kind, fd);
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            for (int writing = 0; writing < 2; writing++) {
                if (writing) {
                    do_writev(&op, &n, (enum kind)kind, fd[1], bad[i].vec, bad[i].count);
                } else {
                    do_readv(&op, &n, (enum kind)kind, fd[0], bad[i].vec, bad[i].count);
                }
                CHECK_EQ(op.calls, 0);
                run_op(&op);
                CHECK_EQ(op.result, XEV_EINVAL);
            }
        }
        close_pair(&n, fd);
        const xev_vec one[] = {{&byte, 1}};
        for (int i = 0; i < 2; i++) {
            int which = i ? 1000 : -1;
            do_readv(&op, &n, (enum kind)kind, which, one, 1);
            run_op(&op);
            CHECK_EQ(op.result, XEV_EBADF);
            do_writev(&op, &n, (enum kind)kind, which, one, 1);
            run_op(&op);
            CHECK_EQ(op.result, XEV_EBADF);
        }
        net_close(&n);
    }
}

static xev_cb_action once_more(struct op *op, int result) {
    CHECK_EQ(result, XEV_EINVAL);
    op->ends = 0;
    return ++op->sum < 3 ? XEV_REARM : XEV_DISARM;
}

TEST(a_refused_one_is_refused_when_repeated) {
    struct net n;
    struct op op;
    int fd[2];
    const xev_vec none[] = {{NULL, 0}};
    net_open(&n, NULL);
    local_pair(fd);
    do_readv(&op, &n, TCP, fd[0], none, 1);
    op.then = once_more;
    run_until(&n, &op.calls, 3);
    do_writev(&op, &n, TCP, fd[0], none, 1);
    op.then = once_more;
    run_until(&n, &op.calls, 3);
    /* A count that would seem to be 1 where it is kept in half of its bits. */
    const xev_vec one[] = {{&op, 1}};
    do_writev(&op, &n, TCP, fd[0], one, ((size_t)1 << sizeof(size_t) * 4) + 1);
    op.then = once_more;
    run_until(&n, &op.calls, 3);
    close_pair(&n, fd);
    net_close(&n);
}

TEST(what_is_no_socket_is_told_so) {
    struct net n;
    struct op op;
    int fd[2];
    char byte;
    const xev_vec one[] = {{&byte, 1}};
    net_open(&n, NULL);
    make_pipe(fd);
    do_readv(&op, &n, TCP, fd[0], one, 1);
    run_op(&op);
    CHECK_EQ(op.result, XEV_ENOTSOCK);
    do_writev(&op, &n, TCP, fd[1], one, 1);
    run_op(&op);
    CHECK_EQ(op.result, XEV_ENOTSOCK);
    close_pair(&n, fd);
    net_close(&n);
}

static enum kind misused;

static void read_into_nothing(void *net) {
    struct op op;
    do_readv(&op, net, misused, 0, NULL, 1);
}

static void write_from_nothing(void *net) {
    struct op op;
    do_writev(&op, net, misused, 1, NULL, 1);
}

static void without_a_loop(void *net) {
    struct op op;
    char byte;
    const xev_vec one[] = {{&byte, 1}};
    op_new(&op, net);
    xev_fd_writev(1, NULL, &op.c, one, 1, &op, op_called);
}

TEST(nulls_are_misuse) {
    static const char *const reads[] = {"xev_tcp_recvv", "xev_unix_recvv", "xev_fd_readv"};
    static const char *const writes[] = {"xev_tcp_sendv", "xev_unix_sendv", "xev_fd_writev"};
    struct net n;
    net_open(&n, NULL);
    for (int kind = 0; kind < KINDS; kind++) {
        misused = (enum kind)kind;
        check_misuse(read_into_nothing, &n, reads[kind]);
        check_misuse(write_from_nothing, &n, writes[kind]);
    }
    check_misuse(without_a_loop, &n, "xev_fd_writev");
    net_close(&n);
}
