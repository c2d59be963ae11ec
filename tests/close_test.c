/* Closing a descriptor: how its operations end, in which order, and what is possible afterwards. */
#include "tests/net_scene.h"

static char buf[64];

enum pending { ACCEPT, ACCEPT_MULTI, CONNECT, RECV, RECV_LOAN, RECV_MULTI, SEND, SHUTDOWN, KINDS };

static void submit(enum pending kind, struct op *op, struct net *n, int fd, const xev_addr *addr) {
    xev_tcp tcp = xev_tcp_from_fd(fd);
    op_new(op, n);
    switch (kind) {
    case ACCEPT:
        xev_tcp_accept(tcp, &n->loop, &op->c, op, op_called);
        break;
    case ACCEPT_MULTI:
        xev_tcp_accept_multi(tcp, &n->loop, &op->c, op, op_called);
        break;
    case CONNECT:
        xev_tcp_connect(tcp, &n->loop, &op->c, addr, op, op_called);
        break;
    case RECV:
        xev_tcp_recv(tcp, &n->loop, &op->c, buf, sizeof buf, op, op_called);
        break;
    case RECV_LOAN:
        xev_tcp_recv_loan(tcp, &n->loop, &op->c, op, op_called);
        break;
    case RECV_MULTI:
        xev_tcp_recv_multi(tcp, &n->loop, &op->c, op, op_called);
        break;
    case SEND:
        xev_tcp_send(tcp, &n->loop, &op->c, buf, sizeof buf, op, op_called);
        break;
    default:
        xev_tcp_shutdown(tcp, &n->loop, &op->c, op, op_called);
    }
}

static void submit_close(struct op *op, struct net *n, int fd) {
    op_new(op, n);
    xev_tcp_close(xev_tcp_from_fd(fd), &n->loop, &op->c, op, op_called);
}

/* The descriptor is open in the callbacks of its operations. */
static xev_cb_action still_open(struct op *op, int result) {
    CHECK_EQ(result, XEV_ECANCELED);
    CHECK(is_open((int)op->sum));
    return XEV_REARM; /* means nothing after a cancel */
}

static xev_cb_action closed_now(struct op *op, int result) {
    CHECK_EQ(result, 0);
    CHECK(!is_open((int)op->sum));
    return XEV_DISARM;
}

struct scene {
    int fd, peer; /* the descriptor in question, and what keeps it company */
    int extra[4]; /* a full backlog */
    int extra_count;
    xev_addr addr;
};

/* A descriptor on which kind blocks. */
static void blocked(struct scene *s, enum pending kind) {
    int pair[2];
    s->extra_count = 0;
    if (kind == ACCEPT || kind == ACCEPT_MULTI) {
        s->fd = plain_listener(4);
        s->peer = -1;
    } else if (kind == CONNECT) {
        s->peer = plain_listener(1);
        struct sockaddr_in sa = address_of(s->peer);
        while (s->extra_count < 4) {
            int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
            (void)connect(fd, (struct sockaddr *)(void *)&sa, sizeof sa);
            s->extra[s->extra_count++] = fd;
        }
        wait_connections(s->peer, 2);
        CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(s->peer), &s->addr), 0);
        s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    } else {
        if (kind == SEND || kind == SHUTDOWN) {
            local_pair(pair);
            (void)fill(pair[0]);
        } else {
            tcp_pair(pair);
        }
        s->fd = pair[0];
        s->peer = pair[1];
    }
}

static void leave(struct scene *s) {
    if (s->peer >= 0) {
        CHECK_EQ(close(s->peer), 0);
    }
    while (s->extra_count > 0) {
        CHECK_EQ(close(s->extra[--s->extra_count]), 0);
    }
}

TEST(close_cancels_what_is_pending_then_closes_then_calls_back) {
    for (int kind = 0; kind < KINDS; kind++) {
        for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
            struct net n;
            struct op op[3], closing;
            struct scene s;
            blocked(&s, (enum pending)kind);
            net_open(&n, NULL);
            for (int i = 0; i < 3; i++) {
                /* A shutdown blocks behind a send only. */
                enum pending k = kind == SHUTDOWN && i == 0 ? SEND : (enum pending)kind;
                if (kind == CONNECT && i > 0) {
                    k = SEND; /* queues behind the connect */
                }
                submit(k, &op[i], &n, s.fd, &s.addr);
                op[i].then = still_open;
                op[i].sum = s.fd;
            }
            if (in_kernel) {
                settle(&n);
                CHECK_EQ(op[0].calls, 0);
            }
            submit_close(&closing, &n, s.fd);
            closing.then = closed_now;
            closing.sum = s.fd;
            CHECK(is_open(s.fd));
            CHECK_EQ(op[0].calls + op[1].calls + op[2].calls + closing.calls, 0);
            run_op(&closing);
            for (int i = 0; i < 3; i++) {
                CHECK_EQ(op[i].calls, 1);
                CHECK_EQ(op[i].ends, 1);
                CHECK_LT(op[i].at, closing.at);
            }
            CHECK_EQ(xev_loop_active(&n.loop), 0);
            xev_loop_deinit(&n.loop);
            leave(&s);
            CHECK_EQ(open_fds(), n.fds_before - 1 - (s.peer >= 0) - (kind == CONNECT ? 4 : 0));
        }
    }
}

/* So the close's callback may free what all three are in. */
TEST(a_cancel_reports_before_the_close) {
    for (int kind = 0; kind < KINDS; kind++) {
        for (int variant = 0; variant < 4; variant++) {
            struct net n;
            struct op op[2], cancel, closing;
            struct scene s;
            blocked(&s, (enum pending)kind);
            net_open(&n, NULL);
            for (int i = 0; i < 2; i++) {
                enum pending k = (kind == SHUTDOWN && i == 0) || (kind == CONNECT && i > 0)
                                     ? SEND
                                     : (enum pending)kind;
                submit(k, &op[i], &n, s.fd, &s.addr);
            }
            if (variant % 2 != 0) {
                settle(&n);
            }
            if (variant / 2 != 0) {
                submit_close(&closing, &n, s.fd);
            }
            xev_cancel(&n.loop, &op[1].c, &op_new(&cancel, &n)->c, &cancel, op_called);
            if (variant / 2 == 0) {
                submit_close(&closing, &n, s.fd);
            }
            run_op(&closing);
            CHECK_EQ(closing.result, 0);
            CHECK_EQ(cancel.ends, 1);
            CHECK_LT(op[1].at, cancel.at);
            CHECK_LT(cancel.at, closing.at);
            CHECK_EQ(xev_loop_active(&n.loop), 0);
            xev_loop_deinit(&n.loop);
            leave(&s);
        }
    }
}

TEST(teardown_cancels_what_is_pending_and_closes_nothing) {
    for (int kind = 0; kind < KINDS; kind++) {
        for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
            struct net n;
            struct op op[2];
            struct scene s;
            blocked(&s, (enum pending)kind);
            net_open(&n, NULL);
            for (int i = 0; i < 2; i++) {
                enum pending k = kind == SHUTDOWN && i == 0 ? SEND : (enum pending)kind;
                k = kind == CONNECT && i > 0 ? SEND : k;
                submit(k, &op[i], &n, s.fd, &s.addr);
            }
            if (in_kernel) {
                settle(&n);
            }
            xev_loop_deinit(&n.loop);
            for (int i = 0; i < 2; i++) {
                CHECK_EQ(op[i].ends, 1);
                CHECK_EQ(op[i].result, XEV_ECANCELED);
            }
            CHECK_EQ(close(s.fd), 0);
            leave(&s);
        }
    }
}

TEST(teardown_finishes_a_close_under_way) {
    struct net n;
    struct op received, closing;
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    submit(RECV, &received, &n, fd[0], NULL);
    settle(&n);
    submit_close(&closing, &n, fd[0]);
    xev_loop_deinit(&n.loop);
    CHECK_EQ(received.result, XEV_ECANCELED);
    CHECK_EQ(closing.ends, 1);
    CHECK_EQ(closing.result, 0);
    CHECK_LT(received.at, closing.at);
    CHECK(!is_open(fd[0]));
    CHECK_EQ(close(fd[1]), 0);
}

TEST(data_that_had_arrived_is_delivered_or_the_recv_is_cancelled) {
    struct net n;
    struct op received, closing;
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    submit(RECV, &received, &n, fd[0], NULL);
    settle(&n);
    plain_send(fd[1], "data", 4);
    submit_close(&closing, &n, fd[0]);
    run_op(&closing);
    CHECK(received.result == 4 || received.result == XEV_ECANCELED);
    CHECK_LT(received.at, closing.at);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(a_second_close_reports_ebadf) {
    struct net n;
    struct op first, second, third;
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    submit_close(&first, &n, fd[0]);
    submit_close(&second, &n, fd[0]);
    run_op(&first);
    if (second.ends == 0) {
        run_op(&second);
    }
    CHECK_EQ(first.result, 0);
    CHECK_EQ(second.result, XEV_EBADF);
    submit_close(&third, &n, fd[0]); /* not open any more */
    run_op(&third);
    CHECK_EQ(third.result, XEV_EBADF);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(operations_on_a_closing_descriptor_report_ecanceled) {
    struct net n;
    struct op op[KINDS], closing;
    int fd[2];
    xev_addr addr;
    net_open(&n, NULL);
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 1), 0);
    for (int kind = 0; kind < KINDS; kind++) {
        tcp_pair(fd);
        submit_close(&closing, &n, fd[0]);
        submit((enum pending)kind, &op[kind], &n, fd[0], &addr);
        run_op(&closing);
        if (op[kind].ends == 0) {
            run_op(&op[kind]);
        }
        CHECK_EQ(closing.result, 0);
        CHECK_EQ(op[kind].calls, 1);
        CHECK_EQ(op[kind].result, XEV_ECANCELED);
        CHECK_EQ(close(fd[1]), 0);
    }
    net_close(&n);
}

TEST(operations_on_what_is_not_open_report_ebadf) {
    struct net n;
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    CHECK_EQ(close(fd[1]), 0);
    close_fd(&n, fd[0]);
    const int bad[] = {-1, fd[0], 10000, INT32_MIN, INT32_MAX};
    xev_addr addr;
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 1), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        for (int kind = 0; kind < KINDS; kind++) {
            struct op op;
            submit((enum pending)kind, &op, &n, bad[i], &addr);
            CHECK_EQ(op.calls, 0);
            run_op(&op);
            CHECK_EQ(op.calls, 1);
            CHECK_EQ(op.result, XEV_EBADF);
        }
        struct op closing;
        submit_close(&closing, &n, bad[i]);
        run_op(&closing);
        CHECK_EQ(closing.result, XEV_EBADF);
    }
    CHECK_EQ(xev_loop_active(&n.loop), 0);
    net_close(&n);
}

TEST(operations_on_what_is_no_socket_report_enotsock) {
    static const enum pending kinds[] = {ACCEPT,    ACCEPT_MULTI, CONNECT, RECV,
                                         RECV_LOAN, RECV_MULTI,   SEND,    SHUTDOWN};
    struct net n;
    xev_addr addr;
    net_open(&n, NULL);
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 1), 0);
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct op op;
        submit(kinds[i], &op, &n, fd, &addr);
        run_op(&op);
        CHECK_EQ(op.calls, 1);
        CHECK_EQ(op.result, XEV_ENOTSOCK);
    }
    close_fd(&n, fd);
    net_close(&n);
}

static xev_cb_action close_in_callback(struct op *op, int result) {
    struct op *closing = op->user;
    if (op->calls > 1) {
        return XEV_DISARM;
    }
    CHECK_GT(result, 0);
    submit_close(closing, op->net, (int)op->sum);
    CHECK_EQ(closing->calls, 0);
    return xev_completion_more(&op->c) ? XEV_REARM : XEV_DISARM;
}

TEST(a_descriptor_can_be_closed_in_its_own_callback) {
    for (int kind = RECV; kind <= RECV_MULTI; kind++) {
        struct net n;
        struct op received, behind, closing;
        int fd[2];
        net_open(&n, NULL);
        tcp_pair(fd);
        plain_send(fd[1], "data", 4);
        submit((enum pending)kind, &received, &n, fd[0], NULL);
        received.then = close_in_callback;
        received.user = &closing;
        received.sum = fd[0];
        submit(RECV, &behind, &n, fd[0], NULL);
        run_until(&n, &received.calls, 1);
        if (closing.ends == 0) {
            run_op(&closing);
        }
        CHECK_EQ(closing.result, 0);
        CHECK_EQ(received.ends, 1);
        CHECK_EQ(received.result, kind == RECV_MULTI ? XEV_ECANCELED : 4);
        CHECK_EQ(behind.result, XEV_ECANCELED);
        CHECK_LT(received.at, closing.at);
        CHECK_LT(behind.at, closing.at);
        CHECK_EQ(close(fd[1]), 0);
        net_close(&n);
    }
}

/* The lowest number is given out again at once, on the same loop, over and over. */
TEST(a_recycled_descriptor_number_starts_afresh) {
    struct net n;
    int previous = -1;
    net_open(&n, NULL);
    for (int i = 0; i < 200; i++) {
        struct op received, sent, closing;
        int fd[2];
        tcp_pair(fd);
        CHECK(previous == -1 || fd[0] == previous);
        previous = fd[0];
        submit(RECV, &received, &n, fd[0], NULL);
        if (i % 3 != 0) {
            settle(&n);
        }
        if (i % 2 != 0) {
            plain_send(fd[1], "now", 3);
            run_op(&received);
            CHECK_EQ(received.result, 3);
            submit(RECV, &received, &n, fd[0], NULL);
            submit(SEND, &sent, &n, fd[0], NULL);
            run_op(&sent);
            CHECK_EQ(sent.result, (int)sizeof buf);
        }
        submit_close(&closing, &n, fd[0]);
        run_op(&closing);
        CHECK_EQ(received.result, XEV_ECANCELED);
        CHECK_EQ(close(fd[1]), 0);
    }
    CHECK_LT(n.turns, 5000);
    net_close(&n);
}

/* A listener served by two loops is closed in one of them; the number goes on to a client. */
TEST(a_number_closed_by_another_loop_starts_afresh_with_connect) {
    struct net n, other;
    struct op accepted, elsewhere, connected, received;
    net_open(&n, NULL);
    net_open(&other, NULL);
    int listener = plain_listener(4), shared = plain_listener(4);
    xev_addr addr;
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(listener), &addr), 0);
    submit(ACCEPT_MULTI, &accepted, &n, shared, NULL);
    submit(ACCEPT_MULTI, &elsewhere, &other, shared, NULL);
    settle(&n);
    settle(&other);
    cancel_op(&accepted, 0);
    close_fd(&other, shared);
    xev_tcp client;
    CHECK_EQ(xev_tcp_init(&client, XEV_AF_INET), 0);
    CHECK_EQ(client.fd, shared);
    submit(CONNECT, &connected, &n, client.fd, &addr);
    run_op(&connected);
    CHECK_EQ(connected.result, 0);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    submit(RECV, &received, &n, client.fd, NULL);
    settle(&n);
    plain_send(peer, "hello", 5);
    run_op(&received);
    CHECK_EQ(received.result, 5);
    close_fd(&n, client.fd);
    CHECK_EQ(close(peer), 0);
    CHECK_EQ(close(listener), 0);
    xev_loop_deinit(&other.loop);
    xev_loop_deinit(&n.loop);
    CHECK_EQ(open_fds(), n.fds_before);
}

/* A duplicate, in another process or this one, keeps the file open when its number is closed. What
 * happens to it is nobody's business here any more. */
TEST(a_closed_descriptor_that_lives_on_elsewhere_wakes_nobody) {
    struct net n;
    struct op received, closing;
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    int elsewhere = fcntl(fd[0], F_DUPFD_CLOEXEC, 0);
    CHECK_GE(elsewhere, 0);
    submit(RECV, &received, &n, fd[0], NULL);
    settle(&n);
    submit_close(&closing, &n, fd[0]);
    run_op(&closing);
    CHECK_EQ(received.result, XEV_ECANCELED);
    settle(&n);
    CHECK_EQ(xev_loop_active(&n.loop), 0);
    struct pollfd host = {.fd = xev_loop_backend_fd(&n.loop), .events = POLLIN};
    CHECK_GE(host.fd, 0);
    while (xev_loop_prepare_wait_ns(&n.loop) == 0) { /* the host's first look */
        CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_NO_WAIT), 0);
    }
    for (int i = 0; i < 3; i++) {
        plain_send(fd[1], "x", 1);
        wait_readable(elsewhere);
        CHECK_EQ(poll(&host, 1, 0), 0);
    }
    CHECK_EQ(close(fd[1]), 0);
    char byte[4];
    plain_recv(elsewhere, byte, 3);
    CHECK_EQ(recv(elsewhere, byte, 1, 0), 0);
    CHECK_EQ(poll(&host, 1, 0), 0);
    CHECK_EQ(close(elsewhere), 0);
    xev_loop_deinit(&n.loop);
    CHECK_EQ(open_fds(), n.fds_before);
}

/* And where it goes on to a connection that is accepted. */
TEST(a_number_closed_by_another_loop_starts_afresh_with_accept) {
    for (int multi = 0; multi < 2; multi++) {
        struct net n, other;
        struct op accepted, received;
        int fd[2];
        net_open(&n, NULL);
        net_open(&other, NULL);
        tcp_pair(fd);
        int listener = plain_listener(4), client = plain_connect(listener);
        submit(RECV, &received, &n, fd[0], NULL);
        settle(&n);
        plain_send(fd[1], "first", 5);
        run_op(&received);
        CHECK_EQ(received.result, 5);
        close_fd(&other, fd[0]);
        submit(multi ? ACCEPT_MULTI : ACCEPT, &accepted, &n, listener, NULL);
        run_until(&n, &accepted.calls, 1);
        CHECK_EQ(accepted.result, fd[0]);
        submit(RECV, &received, &n, fd[0], NULL);
        settle(&n);
        CHECK_EQ(received.calls, 0);
        plain_send(client, "second", 6);
        run_op(&received);
        CHECK_EQ(received.result, 6);
        close_fd(&n, listener);
        CHECK_EQ(accepted.ends, 1);
        close_fd(&n, fd[0]);
        CHECK_EQ(close(fd[1]), 0);
        CHECK_EQ(close(client), 0);
        xev_loop_deinit(&other.loop);
        net_close(&n);
    }
}
