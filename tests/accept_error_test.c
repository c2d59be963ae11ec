/* Accepts that fail because of one connection, and not because of the listener. The test replaces
 * the kernel's results: those of accept4, and those that come through the ring. It is linked with
 * --wrap=accept4 and --wrap=io_uring_peek_batch_cqe. */
#include <sys/epoll.h>
#include <sys/stat.h>

#include "tests/net_scene.h"

#if !defined(XEV_NO_IO_URING)
#include <liburing.h>
#endif

static int error_to_tell, errors_left;
static int accepts_tried;
/* The connection is still next after its error; or, where the kernel has accepted it already,
 * another one takes its place at this listener. */
static bool connection_stays;
static int stays_at;

int __real_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    accepts_tried++;
    if (errors_left == 0) {
        return __real_accept4(fd, addr, len, flags);
    }
    if (poll(&p, 1, 0) != 1) { /* one that comes now is the next to fail */
        errno = EAGAIN;
        return -1;
    }
    errors_left--;
    if (!connection_stays) {
        CHECK_EQ(close(__real_accept4(fd, addr, len, flags)), 0);
    }
    errno = error_to_tell;
    return -1;
}

#if !defined(XEV_NO_IO_URING)

unsigned __real_io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes,
                                        unsigned count);
unsigned __wrap_io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes,
                                        unsigned count);

/* The result of an accept is the only one in this file that is a socket's number. */
static bool is_accepted(const struct io_uring_cqe *cqe) {
    struct stat st;
    return cqe->user_data >> 62 == 0 && cqe->res > STDERR_FILENO && fstat(cqe->res, &st) == 0 &&
           S_ISSOCK(st.st_mode);
}

unsigned __wrap_io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes,
                                        unsigned count) {
    unsigned n = __real_io_uring_peek_batch_cqe(ring, cqes, count);
    for (unsigned i = 0; i < n && errors_left > 0; i++) {
        if (!is_accepted(cqes[i])) {
            continue;
        }
        errors_left--;
        accepts_tried++;
        CHECK_EQ(close(cqes[i]->res), 0);
        cqes[i]->res = -error_to_tell;
        if ((cqes[i]->flags & IORING_CQE_F_MORE) != 0) {
            /* An error ends the kernel's multishot. */
            cqes[i]->flags &= ~IORING_CQE_F_MORE;
            struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
            CHECK(sqe != NULL);
            io_uring_prep_cancel64(sqe, cqes[i]->user_data, 0);
            io_uring_sqe_set_data64(sqe, UINT32_MAX); /* no slot's */
            /* It is carried out before another connection comes, and before another accept waits:
             * a connection wakes one of them only, and may choose the one that is cancelled. */
            CHECK_GE(io_uring_submit(ring), 1);
            CHECK_GE(io_uring_get_events(ring), 0);
        }
        if (connection_stays) {
            CHECK_EQ(close(plain_connect(stays_at)), 0);
        }
    }
    return n;
}

#endif

static const int errors[] = {ECONNABORTED, EPROTO, ENETDOWN,     ENOPROTOOPT, EHOSTDOWN,
                             ENONET,       EPERM,  EHOSTUNREACH, EOPNOTSUPP,  ENETUNREACH};
enum { ERRORS = sizeof errors / sizeof errors[0] };

static void accept_on(struct op *op, struct net *n, int listener, bool multi) {
    op_new(op, n);
    xev_tcp tcp = xev_tcp_from_fd(listener);
    if (multi) {
        xev_tcp_accept_multi(tcp, &n->loop, &op->c, op, op_called);
    } else {
        xev_tcp_accept(tcp, &n->loop, &op->c, op, op_called);
    }
}

static int listener_of(bool nonblocking) {
    int fd = plain_listener(64);
    if (nonblocking) {
        CHECK_EQ(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    }
    return fd;
}

/* One connection that is broken; runs until the loop was told. */
static void connect_broken(struct net *n, int listener, int error) {
    error_to_tell = error;
    errors_left = 1;
    CHECK_EQ(close(plain_connect(listener)), 0);
    while (errors_left > 0) {
        CHECK_EQ(xev_loop_run(&n->loop, XEV_RUN_NO_WAIT), 0);
    }
}

static void check_connected(int client, int server) {
    struct sockaddr_in a = address_of(client), b;
    socklen_t len = sizeof b;
    CHECK_EQ(getpeername(server, (struct sockaddr *)(void *)&b, &len), 0);
    CHECK_EQ(a.sin_port, b.sin_port);
}

TEST(a_broken_connection_is_passed_over_in_silence) {
    for (int how = 0; how < 4; how++) {
        bool multi = how % 2 != 0, nonblocking = how / 2 != 0;
        for (int i = 0; i < ERRORS; i++) {
            struct net n;
            struct op op;
            net_open(&n, NULL);
            int listener = listener_of(nonblocking);
            accept_on(&op, &n, listener, multi);
            settle(&n);
            for (int j = 0; j < 3; j++) {
                connect_broken(&n, listener, errors[i]);
            }
            settle(&n);
            CHECK_EQ(op.calls, 0);
            for (int j = 0; j <= multi; j++) {
                int client = plain_connect(listener);
                run_until(&n, &op.calls, j + 1);
                check_connected(client, op.result);
                CHECK_EQ(close(op.result), 0);
                CHECK_EQ(close(client), 0);
                if (multi) {
                    connect_broken(&n, listener, errors[i]);
                }
            }
            CHECK_EQ(op.ends, !multi);
            if (multi) {
                cancel_op(&op, 0);
                CHECK_EQ(op.result, XEV_ECANCELED);
                CHECK_EQ(op.calls, 3);
            }
            close_fd(&n, listener);
            net_close(&n);
        }
    }
}

/* More of them than are tried again at once. */
TEST(many_broken_connections_are_passed_over) {
    for (int how = 0; how < 4; how++) {
        struct net n;
        struct op op;
        net_open(&n, NULL);
        int listener = listener_of(how / 2 != 0);
        accept_on(&op, &n, listener, how % 2 != 0);
        settle(&n);
        for (int i = 0; i < 50; i++) {
            connect_broken(&n, listener, ECONNABORTED);
            if (i % 10 == 9) {
                CHECK_LT(run_for(&n, 15), 20);
            }
        }
        int client = plain_connect(listener);
        run_until(&n, &op.calls, 1);
        check_connected(client, op.result);
        CHECK_EQ(close(op.result), 0);
        CHECK_EQ(close(client), 0);
        close_fd(&n, listener);
        net_close(&n);
    }
}

/* How many waits of 10 ms, 20, 40, ... fit into so long. */
static int doublings(uint64_t ns) {
    int n = 0;
    for (uint64_t wait = 10 * MS; ns >= wait; wait *= 2) {
        ns -= wait;
        n++;
    }
    return n;
}

/* A multishot accept tells what refuses it once, tries again at growing intervals, and goes on when
 * the rule is gone. As by a filter: the connection is there all the time. */
static void refuse_multishot(int error, bool nonblocking, bool recovers) {
    struct net n;
    struct op op, closing;
    net_open(&n, NULL);
    int listener = listener_of(nonblocking);
    error_to_tell = error;
    connection_stays = true;
    stays_at = listener;
    accept_on(&op, &n, listener, true);
    settle(&n);
    errors_left = 1000000;
    accepts_tried = 0;
    uint64_t start = clock_ns();
    int client = plain_connect(listener);
    run_until(&n, &op.calls, 1);
    CHECK_EQ(op.result, -error);
    CHECK_EQ(op.ends, 0);
    int tried = accepts_tried;
    CHECK_LE(tried, 16); /* EPERM may be of a connection; not so often */
    CHECK_LT(run_for(&n, 300), 60);
    CHECK_GE(accepts_tried, tried + 1);
    CHECK_LE(accepts_tried, tried + doublings(clock_ns() - start));
    CHECK_EQ(op.calls, 1);
    if (recovers) {
        errors_left = 0;
        run_until(&n, &op.calls, 2);
        CHECK_GE(op.result, 0);
        CHECK_EQ(close(op.result), 0);
        close_fd(&n, listener);
        CHECK_EQ(op.ends, 1);
    } else {
        op_new(&closing, &n);
        xev_tcp_close(xev_tcp_from_fd(listener), &n.loop, &closing.c, &closing, op_called);
        run_op(&closing);
        CHECK_EQ(op.ends, 1);
        CHECK_EQ(op.calls, 2);
        CHECK_LT(op.at, closing.at);
    }
    CHECK_EQ(op.result, XEV_ECANCELED);
    errors_left = 0;
    connection_stays = false;
    CHECK_EQ(close(client), 0);
    net_close(&n);
}

static const int refusals[] = {EPERM, EACCES, ENOSYS};
enum { REFUSALS = sizeof refusals / sizeof refusals[0] };

TEST(a_refusal_that_lasts_is_told_once_and_tried_again_more_and_more_seldom) {
    for (int i = 0; i < REFUSALS; i++) {
        refuse_multishot(refusals[i], false, i % 2 == 0);
        refuse_multishot(refusals[i], true, i % 2 != 0);
    }
}

TEST(a_refusal_that_lasts_ends_a_single_accept) {
    for (int i = 0; i < 2 * REFUSALS; i++) {
        struct net n;
        struct op op;
        net_open(&n, NULL);
        int listener = listener_of(i % 2 != 0);
        error_to_tell = refusals[i / 2];
        connection_stays = true;
        stays_at = listener;
        errors_left = 1000000;
        accept_on(&op, &n, listener, false);
        settle(&n);
        accepts_tried = 0;
        int client = plain_connect(listener);
        run_op(&op);
        CHECK_EQ(op.calls, 1);
        CHECK_EQ(op.result, -refusals[i / 2]);
        CHECK_LE(accepts_tried, 16);
        errors_left = 0;
        connection_stays = false;
        accept_on(&op, &n, listener, false);
        run_op(&op);
        CHECK_GE(op.result, 0);
        CHECK_EQ(close(op.result), 0);
        CHECK_EQ(close(client), 0);
        close_fd(&n, listener);
        net_close(&n);
    }
}

TEST(an_accept_that_is_cancelled_as_it_fails_is_cancelled) {
    for (int how = 0; how < 4; how++) {
        struct net n;
        struct op op;
        net_open(&n, NULL);
        int listener = listener_of(how / 2 != 0);
        accept_on(&op, &n, listener, how % 2 != 0);
        settle(&n);
        error_to_tell = ECONNABORTED;
        errors_left = 1;
        int client = plain_connect(listener);
        cancel_op(&op, 0);
        CHECK_EQ(op.result, XEV_ECANCELED);
        CHECK_EQ(op.calls, 1);
        errors_left = 0;
        CHECK_EQ(close(client), 0);
        close_fd(&n, listener);
        net_close(&n);
    }
}

TEST(accept_now_passes_over_them_too) {
    int listener = plain_listener(8);
    xev_tcp tcp = xev_tcp_from_fd(listener);
    error_to_tell = ECONNABORTED;
    errors_left = 3;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(close(plain_connect(listener)), 0);
    }
    int client = plain_connect(listener);
    wait_connections(listener, 4);
    int fd = xev_tcp_accept_now(tcp);
    check_connected(client, fd);
    CHECK_EQ(errors_left, 0);
    CHECK_EQ(close(fd), 0);
    error_to_tell = EPERM;
    errors_left = 1000;
    connection_stays = true;
    int other = plain_connect(listener);
    wait_connections(listener, 1);
    CHECK_EQ(xev_tcp_accept_now(tcp), XEV_EPERM); /* and does not try for ever */
    errors_left = 0;
    connection_stays = false;
    CHECK_EQ(close(client), 0);
    CHECK_EQ(close(other), 0);
    CHECK_EQ(close(listener), 0);
}

/* ---- descriptors that the kernel does not report on ---- */

static int watches_left = 1000000; /* for sockets */

int __real_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev);

int __wrap_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev) {
    struct stat st;
    if (op != EPOLL_CTL_ADD) {
        return __real_epoll_ctl(ep, op, fd, ev);
    }
    if (watches_left == 0) {
        errno = ENOSPC;
        return -1;
    }
    CHECK_EQ(fstat(fd, &st), 0);
    watches_left -= S_ISSOCK(st.st_mode);
    return __real_epoll_ctl(ep, op, fd, ev);
}

enum { PLACES = 3, CLIENTS = 12 };

struct served {
    struct op recv;
    char byte;
    int fd;
};
static struct served served[CLIENTS];
static int served_len;

static xev_cb_action serve_one(struct op *op, int result) {
    if (result >= 0) {
        struct served *s = &served[served_len++];
        s->fd = result;
        op_new(&s->recv, op->net);
        xev_tcp_recv(xev_tcp_from_fd(result), &op->net->loop, &s->recv.c, &s->byte, 1, &s->recv,
                     op_called);
    }
    return xev_completion_more(&op->c) ? XEV_REARM : XEV_DISARM;
}

static int waiting_now(void) {
    int n = 0;
    for (int i = 0; i < served_len; i++) {
        n += served[i].recv.calls == 0;
    }
    return n;
}

TEST(without_room_for_more_watches_new_clients_wait_and_old_ones_are_served) {
    struct net n;
    struct op op;
    int clients[CLIENTS];
    net_open(&n, NULL);
    bool limited = strcmp(xev_loop_backend(&n.loop), "epoll") == 0;
    int listener = plain_listener(CLIENTS);
    accept_on(&op, &n, listener, true);
    op.then = serve_one;
    settle(&n);
    watches_left = PLACES;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = plain_connect(listener);
        if (limited) {
            wait_connections(listener, i <= PLACES ? 1 : (uint32_t)(i - PLACES));
        }
        settle(&n); /* each in a turn of its own, if it is accepted */
    }
    if (limited) {
        /* One was accepted before anybody knew. */
        run_until(&n, &op.calls, PLACES + 2);
        CHECK_EQ(op.result, XEV_ENOSPC);
        CHECK_EQ(served_len, PLACES + 1);
        CHECK_EQ(served[PLACES].recv.result, XEV_ENOSPC);
        (void)run_for(&n, 100);
        CHECK_EQ(served_len, PLACES + 1);
        CHECK_EQ(op.calls, PLACES + 2); /* told once */
        CHECK_EQ(waiting_now(), PLACES);
        /* Some more, one after the other. */
        watches_left = PLACES;
        run_until(&n, &served_len, 2 * PLACES + 1);
        (void)run_for(&n, 100);
        CHECK_EQ(served_len, 2 * PLACES + 1);
        CHECK_EQ(waiting_now(), 2 * PLACES);
        watches_left = 1000000;
    }
    run_until(&n, &served_len, CLIENTS);
    settle(&n);
    CHECK_EQ(waiting_now(), limited ? CLIENTS - 1 : CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        plain_send(clients[i], "x", 1);
    }
    for (int i = 0; i < CLIENTS; i++) {
        run_until(&n, &served[i].recv.ends, 1);
        CHECK_EQ(served[i].recv.result, limited && i == PLACES ? XEV_ENOSPC : 1);
        close_fd(&n, served[i].fd);
        CHECK_EQ(close(clients[i]), 0);
    }
    close_fd(&n, listener);
    net_close(&n);
}

/* Some of the same codes are the listener's own. */
TEST(what_can_never_accept_is_told_so) {
    for (int how = 0; how < 4; how++) {
        bool multi = how % 2 != 0, nonblocking = how / 2 != 0;
        struct net n;
        struct op op;
        net_open(&n, NULL);
        int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
        int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        accept_on(&op, &n, udp, multi);
        run_op(&op);
        CHECK_EQ(op.calls, 1);
        CHECK_EQ(op.result, XEV_ENOTSUP);
        accept_on(&op, &n, tcp, multi);
        run_op(&op);
        CHECK_EQ(op.calls, 1);
        CHECK_EQ(op.result, XEV_EINVAL);
        close_fd(&n, udp);
        close_fd(&n, tcp);
        net_close(&n);
    }
}
