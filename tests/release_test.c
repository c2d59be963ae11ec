/* Descriptors that a program closes itself, by close(2), or gives away after the loop has worked on
 * them. When another file has the number, an operation on it must hear of that file. */
#include "tests/fd_scene.h"

/* What is done with the file that gets the number. */
enum kind {
    RECV,
    RECV_LOAN,
    RECV_MULTI,
    READ,
    POLL,
    POLL_MULTI,
    SEND,
    WRITE,
    ACCEPT,
    UDP_RECV,
    KINDS
};

/* What has become of the file that had it before. */
enum fate {
    CLOSED,   /* by close(2) */
    REPLACED, /* by dup2(2) */
    PASSED,   /* closed here; another process, or another number, still has it */
    FATES
};

/* How the last operation on that one has ended. */
enum last { DATA, END, CANCELLED, LASTS };

struct file {
    int fd, peer;
};

static char buf[64];
static const char zeros[4096];

/* A file of which nothing can be had yet. */
static struct file file_new(enum kind kind) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd[2];
    switch (kind) {
    case READ:
        make_pipe(fd);
        break;
    case WRITE:
        make_pipe(fd);
        (void)fill_pipe(fd[1]);
        return (struct file){fd[1], fd[0]};
    case ACCEPT:
        return (struct file){plain_listener(4), -1};
    case UDP_RECV:
        fd[0] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        fd[1] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        CHECK_EQ(bind(fd[0], (struct sockaddr *)(void *)&any, sizeof any), 0);
        plain_connect_fd(fd[1], fd[0]);
        break;
    default:
        local_pair(fd);
        if (kind == SEND) {
            (void)fill(fd[0]);
        }
    }
    return (struct file){fd[0], fd[1]};
}

static void file_make_ready(enum kind kind, struct file *f) {
    switch (kind) {
    case READ:
        put(f->peer, "data");
        break;
    case SEND:
    case WRITE:
        drain(f->peer);
        break;
    case ACCEPT:
        f->peer = plain_connect(f->fd);
        break;
    default:
        plain_send(f->peer, "data", 4);
    }
}

static int expected_result(enum kind kind) {
    return kind == POLL || kind == POLL_MULTI ? XEV_POLL_IN : kind == SEND || kind == WRITE ? 1 : 4;
}

/* A multishot operation ends, too, after its first result. */
static xev_cb_action once(struct op *op, int result) {
    (void)op;
    (void)result;
    return XEV_DISARM;
}

static void begin(struct op *op, struct net *n, enum kind kind, int fd) {
    static xev_datagram datagram;
    xev_loop *loop = &n->loop;
    op_new(op, n);
    op->then = once;
    switch (kind) {
    case RECV:
        xev_tcp_recv(xev_tcp_from_fd(fd), loop, &op->c, buf, sizeof buf, op, op_called);
        break;
    case RECV_LOAN:
        xev_tcp_recv_loan(xev_tcp_from_fd(fd), loop, &op->c, op, op_called);
        break;
    case RECV_MULTI:
        xev_tcp_recv_multi(xev_tcp_from_fd(fd), loop, &op->c, op, op_called);
        break;
    case READ:
        xev_fd_read(fd, loop, &op->c, buf, sizeof buf, op, op_called);
        break;
    case POLL:
        xev_fd_poll(fd, loop, &op->c, XEV_POLL_IN, op, op_called);
        break;
    case POLL_MULTI:
        xev_fd_poll_multi(fd, loop, &op->c, XEV_POLL_IN, op, op_called);
        break;
    case SEND:
        xev_tcp_send(xev_tcp_from_fd(fd), loop, &op->c, zeros, 1, op, op_called);
        break;
    case WRITE:
        xev_fd_write(fd, loop, &op->c, zeros, 1, op, op_called);
        break;
    case ACCEPT:
        xev_tcp_accept(xev_tcp_from_fd(fd), loop, &op->c, op, op_called);
        break;
    default:
        datagram = (xev_datagram){.buf = buf, .capacity_bytes = sizeof buf};
        xev_udp_recv(xev_udp_from_fd(fd), loop, &op->c, &datagram, op, op_called);
    }
}

/* A socket on which the loop has waited, and waits no more. */
static struct file file_used(struct net *n, enum last last) {
    struct file f = file_new(RECV);
    struct op op;
    begin(&op, n, RECV, f.fd);
    settle(n);
    if (last == CANCELLED) {
        cancel_op(&op, 0);
        return f;
    }
    if (last == DATA) {
        plain_send(f.peer, "data", 4);
    } else {
        CHECK_EQ(shutdown(f.peer, SHUT_WR), 0);
    }
    run_op(&op);
    CHECK_EQ(op.result, last == DATA ? 4 : XEV_EOF);
    return f;
}

/* Let old go, and have fresh take over its number. Returns a number that old still has, or -1. */
static int take_number(struct file *fresh, struct file *old, enum fate fate) {
    int elsewhere = fate == PASSED ? fcntl(old->fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (fate != REPLACED) {
        CHECK_EQ(close(old->fd), 0);
    }
    CHECK_EQ(dup3(fresh->fd, old->fd, O_CLOEXEC), old->fd);
    CHECK_EQ(close(fresh->fd), 0);
    fresh->fd = old->fd;
    return elsewhere;
}

static void close_number(int fd) {
    if (fd >= 0) {
        CHECK_EQ(close(fd), 0);
    }
}

static void run_case(enum kind kind, enum fate fate, enum last last) {
    struct net n;
    struct op op;
    net_open(&n, NULL);
    struct file old = file_used(&n, last), fresh = file_new(kind);
    int elsewhere = take_number(&fresh, &old, fate);
    begin(&op, &n, kind, fresh.fd);
    settle(&n);
    CHECK_EQ(op.calls, 0);
    if (elsewhere >= 0 && last != END) { /* the new one hears nothing of the old one */
        plain_send(old.peer, "x", 1);
        settle(&n);
        CHECK_EQ(op.calls, 0);
    }
    file_make_ready(kind, &fresh);
    run_op(&op);
    if (kind == ACCEPT) {
        CHECK_GE(op.results[0], 0);
        CHECK_EQ(close(op.results[0]), 0);
    } else {
        CHECK_EQ(op.results[0], expected_result(kind));
    }
    close_number(elsewhere);
    close_number(old.peer);
    close_number(fresh.peer);
    close_fd(&n, fresh.fd);
    net_close(&n);
}

static void run_cases(enum last last) {
    for (int kind = 0; kind < KINDS; kind++) {
        for (int fate = 0; fate < FATES; fate++) {
            run_case((enum kind)kind, (enum fate)fate, last);
        }
    }
}

TEST(a_number_that_had_data_is_another_files) { run_cases(DATA); }

TEST(a_number_that_had_ended_is_another_files) { run_cases(END); }

TEST(a_number_that_was_cancelled_on_is_another_files) { run_cases(CANCELLED); }

/* ---- in the callback that reports the end ---- */

struct reuse {
    struct net n;
    struct file old, fresh;
    struct op recv, op;
    enum kind kind;
};

static xev_cb_action close_and_reuse(struct op *op, int result) {
    struct reuse *r = op->user;
    (void)result;
    r->fresh = file_new(r->kind);
    CHECK_EQ(take_number(&r->fresh, &r->old, CLOSED), -1);
    begin(&r->op, &r->n, r->kind, r->fresh.fd);
    return XEV_DISARM;
}

/* The file that has the number gets something, and the operation on it hears of that alone. */
static void end_reuse(struct reuse *r) {
    settle(&r->n);
    CHECK_EQ(r->op.calls, 0);
    file_make_ready(r->kind, &r->fresh);
    run_op(&r->op);
    close_number(r->kind == ACCEPT ? r->op.result : -1);
    close_number(r->fresh.peer);
    close_fd(&r->n, r->fresh.fd);
}

static void run_reuse(enum kind kind, bool cancels) {
    struct reuse r = {.kind = kind};
    net_open(&r.n, NULL);
    r.old = file_new(RECV);
    begin(&r.recv, &r.n, RECV, r.old.fd);
    r.recv.then = close_and_reuse;
    r.recv.user = &r;
    settle(&r.n);
    if (cancels) {
        cancel_op(&r.recv, 0);
    } else {
        CHECK_EQ(close(r.old.peer), 0);
        run_op(&r.recv);
    }
    end_reuse(&r);
    close_number(cancels ? r.old.peer : -1);
    net_close(&r.n);
}

TEST(a_number_is_another_files_in_the_callback_of_its_end) {
    for (int kind = 0; kind < KINDS; kind++) {
        run_reuse((enum kind)kind, false);
        run_reuse((enum kind)kind, true);
    }
}

TEST(a_number_is_another_files_in_a_callback_of_a_later_turn) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct reuse r = {.kind = (enum kind)kind};
        net_open(&r.n, NULL);
        r.old = file_used(&r.n, DATA);
        op_new(&r.recv, &r.n);
        r.recv.then = close_and_reuse;
        r.recv.user = &r;
        xev_timer_run(NULL, &r.n.loop, &r.recv.c, 0, &r.recv, op_called);
        run_op(&r.recv);
        end_reuse(&r);
        CHECK_EQ(close(r.old.peer), 0);
        net_close(&r.n);
    }
}

/* The kernel was never asked to report on the old one: what was read was there already. */
TEST(a_number_is_another_files_in_the_callback_of_what_was_there) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct reuse r = {.kind = (enum kind)kind};
        net_open(&r.n, NULL);
        r.old = file_new(READ);
        file_make_ready(READ, &r.old);
        begin(&r.recv, &r.n, READ, r.old.fd);
        r.recv.then = close_and_reuse;
        r.recv.user = &r;
        run_op(&r.recv);
        CHECK_GT(r.recv.result, 0);
        end_reuse(&r);
        CHECK_EQ(close(r.old.peer), 0);
        net_close(&r.n);
    }
}

static xev_cb_action close_twice_and_reuse(struct op *op, int result) {
    struct reuse *r = op->user;
    (void)result;
    CHECK_EQ(close(r->old.fd), 0);
    xev_fd_close(r->old.fd, &r->n.loop, &op_new(&r->op, &r->n)->c, &r->op, op_called);
    r->fresh = file_new(READ);
    CHECK_EQ(r->fresh.fd, r->old.fd); /* the lowest that is free */
    return XEV_DISARM;
}

/* By then it was closed, and it is not the other file that is closed instead. */
TEST(a_number_that_its_callback_has_closed_is_not_closed_again) {
    struct reuse r = {.kind = READ};
    net_open(&r.n, NULL);
    r.old = file_new(READ);
    file_make_ready(READ, &r.old);
    begin(&r.recv, &r.n, READ, r.old.fd);
    r.recv.then = close_twice_and_reuse;
    r.recv.user = &r;
    run_op(&r.recv);
    run_op(&r.op);
    CHECK_EQ(r.op.result, XEV_EBADF);
    CHECK(is_open(r.fresh.fd));
    CHECK_EQ(close(r.old.peer), 0);
    CHECK_EQ(close(r.fresh.peer), 0);
    CHECK_EQ(close(r.fresh.fd), 0);
    net_close(&r.n);
}

/* The number has no file at all. */
TEST(an_operation_on_a_number_that_was_closed_reports_ebadf) {
    for (int last = 0; last < LASTS; last++) {
        struct net n;
        struct op op;
        net_open(&n, NULL);
        struct file f = file_used(&n, (enum last)last);
        CHECK_EQ(close(f.fd), 0);
        begin(&op, &n, RECV, f.fd);
        run_op(&op);
        CHECK_EQ(op.result, XEV_EBADF);
        CHECK_EQ(close(f.peer), 0);
        net_close(&n);
    }
}

/* ---- released ---- */

static xev_cb_action release_and_reuse(struct op *op, int result) {
    struct reuse *r = op->user;
    CHECK_EQ(xev_fd_release(r->old.fd, &r->n.loop), 0);
    CHECK_EQ(xev_fd_release(r->old.fd, &r->n.loop), 0);
    return close_and_reuse(op, result);
}

TEST(a_released_number_is_another_files_in_the_callback_of_its_data) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct reuse r = {.kind = (enum kind)kind};
        net_open(&r.n, NULL);
        r.old = file_new(RECV);
        begin(&r.recv, &r.n, RECV, r.old.fd);
        r.recv.then = release_and_reuse;
        r.recv.user = &r;
        settle(&r.n);
        plain_send(r.old.peer, "data", 4);
        run_op(&r.recv);
        CHECK_EQ(r.recv.result, 4);
        end_reuse(&r);
        CHECK_EQ(close(r.old.peer), 0);
        net_close(&r.n);
    }
}

/* Another loop takes the descriptor over, and the first one is not woken for it any more. */
TEST(a_released_descriptor_is_anothers) {
    for (int last = 0; last < LASTS; last++) {
        struct net first, second;
        struct op op;
        net_open(&first, NULL);
        struct pollfd host = {.fd = xev_loop_backend_fd(&first.loop), .events = POLLIN};
        net_open(&second, NULL);
        struct file f = file_used(&first, (enum last)last);
        CHECK_EQ(xev_fd_release(f.fd, &first.loop), 0);
        do {
            settle(&first);
        } while (xev_loop_prepare_wait_ns(&first.loop) == 0);
        begin(&op, &second, SEND, f.fd);
        run_op(&op);
        CHECK_EQ(op.result, 1);
        if (last != END) {
            begin(&op, &second, RECV, f.fd);
            settle(&second);
            plain_send(f.peer, "data", 4);
            run_op(&op);
            CHECK_EQ(op.result, 4);
        }
        CHECK_EQ(close(f.peer), 0);
        CHECK_EQ(poll(&host, 1, 0), 0);
        close_fd(&second, f.fd);
        net_close(&second);
        net_close(&first);
    }
}

TEST(a_descriptor_with_operations_is_not_released) {
    struct net n;
    struct op ops[2], cancel, closing;
    net_open(&n, NULL);
    CHECK_EQ(xev_fd_release(1000000, &n.loop), 0); /* not known, and not even open */
    struct file f = file_new(RECV);
    CHECK_EQ(xev_fd_release(f.fd, &n.loop), 0); /* not known yet */
    begin(&ops[0], &n, RECV, f.fd);
    CHECK_EQ(xev_fd_release(f.fd, &n.loop), XEV_EBUSY);
    begin(&ops[1], &n, RECV, f.fd);
    settle(&n);
    plain_send(f.peer, "data", 4);
    run_op(&ops[0]);
    CHECK_EQ(xev_fd_release(f.fd, &n.loop), XEV_EBUSY); /* the second one waits */
    xev_cancel(&n.loop, &ops[1].c, &op_new(&cancel, &n)->c, &cancel, op_called);
    CHECK_EQ(xev_fd_release(f.fd, &n.loop), XEV_EBUSY); /* its callback has not run */
    run_op(&cancel);
    CHECK_EQ(ops[1].result, XEV_ECANCELED);
    CHECK_EQ(xev_fd_release(f.fd, &n.loop), 0);
    begin(&ops[0], &n, SEND, f.fd); /* which may be carried out at once */
    CHECK_EQ(xev_fd_release(f.fd, &n.loop), XEV_EBUSY);
    run_op(&ops[0]);
    begin(&ops[0], &n, POLL_MULTI, f.fd);
    CHECK_EQ(xev_fd_release(f.fd, &n.loop), XEV_EBUSY);
    xev_fd_close(f.fd, &n.loop, &op_new(&closing, &n)->c, &closing, op_called);
    CHECK_EQ(xev_fd_release(f.fd, &n.loop), XEV_EBUSY);
    run_op(&closing);
    CHECK_EQ(ops[0].result, XEV_ECANCELED);
    CHECK_EQ(closing.result, 0);
    CHECK_EQ(xev_fd_release(f.fd, &n.loop), 0);
    CHECK_EQ(close(f.peer), 0);
    net_close(&n);
}

/* ---- what it costs ---- */

enum { ROUNDS = 50 };

struct relay {
    struct net n;
    struct file in, out;
    struct op recv, send;
};

static xev_cb_action relay_recv(struct op *op, int result);

static xev_cb_action relay_sent(struct op *op, int result) {
    struct relay *r = op->user;
    CHECK_EQ(result, 4);
    begin(&r->recv, &r->n, RECV, r->in.fd);
    r->recv.then = relay_recv;
    r->recv.user = r;
    return XEV_DISARM;
}

static xev_cb_action relay_recv(struct op *op, int result) {
    struct relay *r = op->user;
    if (result == XEV_ECANCELED) {
        return XEV_DISARM; /* closed at the end of the test */
    }
    CHECK_EQ(result, 4);
    op_new(&r->send, &r->n);
    r->send.then = relay_sent;
    r->send.user = r;
    xev_tcp_send(xev_tcp_from_fd(r->out.fd), &r->n.loop, &r->send.c, buf, 4, &r->send, op_called);
    return XEV_DISARM;
}

/* Neither socket has an operation all the time, but each has one in every turn: nobody asks whether
 * its number is still the same file's. A round is a receive, one more that finds nothing, and a
 * send. */
TEST(a_relay_pays_for_no_question) {
    struct relay r;
    char data[4];
    xev_loop_metrics before, after;
    net_open(&r.n, NULL);
    r.in = file_new(RECV);
    r.out = file_new(RECV);
    (void)relay_sent(&(struct op){.user = &r}, 4);
    settle(&r.n);
    xev_loop_metrics_get(&r.n.loop, &before);
    for (int i = 0; i < ROUNDS; i++) {
        plain_send(r.in.peer, "data", 4);
        settle(&r.n);
        plain_recv(r.out.peer, data, 4);
    }
    xev_loop_metrics_get(&r.n.loop, &after);
    CHECK_LE(after.syscalls - before.syscalls, 3 * ROUNDS + (after.turns - before.turns));
    close_fd(&r.n, r.in.fd);
    close_fd(&r.n, r.out.fd);
    CHECK_EQ(close(r.in.peer), 0);
    CHECK_EQ(close(r.out.peer), 0);
    net_close(&r.n);
}
