/* TCP: connect, transfer, errors, cancel and deadlines, as tcp.h promises them. */
#include "tests/tcp_scene.h"

static void do_send(struct op *op, struct net *n, int fd, const void *buf, size_t len) {
    op_new(op, n);
    xev_tcp_send(xev_tcp_from_fd(fd), &n->loop, &op->c, buf, len, op, op_called);
}

static void do_accept(struct op *op, struct net *n, int fd) {
    op_new(op, n);
    xev_tcp_accept(xev_tcp_from_fd(fd), &n->loop, &op->c, op, op_called);
}

static void do_connect(struct op *op, struct net *n, int fd, const xev_addr *addr) {
    op_new(op, n);
    xev_tcp_connect(xev_tcp_from_fd(fd), &n->loop, &op->c, addr, op, op_called);
}

static xev_addr addr_of_listener(int fd) {
    xev_addr a;
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(fd), &a), 0);
    return a;
}

/* One connection's whole life; returns what the server saw of the client. */
static void whole_life(const char *host) {
    struct net n;
    struct op accepted, connected, sent, received, shut;
    char buf[16];
    xev_addr where, client_addr, peer;
    net_open(&n, NULL);
    xev_tcp listener = xev_listener(host, &where), client;
    CHECK_EQ(xev_tcp_init(&client, xev_addr_family(&where)), 0);

    do_accept(&accepted, &n, listener.fd);
    do_connect(&connected, &n, client.fd, &where);
    CHECK_EQ(accepted.calls + connected.calls, 0); /* no callback inside a submission */
    run_op(&accepted);
    if (connected.ends == 0) {
        run_op(&connected);
    }
    CHECK_EQ(connected.result, 0);
    CHECK_GE(accepted.result, 0);
    xev_tcp server = xev_tcp_from_fd(accepted.result);
    CHECK_EQ(fcntl(server.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(fcntl(client.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);

    CHECK_EQ(xev_tcp_local_addr(client, &client_addr), 0);
    CHECK_EQ(xev_tcp_peer_addr(server, &peer), 0);
    char a[XEV_ADDR_TEXT_BYTES], b[XEV_ADDR_TEXT_BYTES];
    CHECK_EQ(xev_addr_format(&client_addr, a, sizeof a), 0);
    CHECK_EQ(xev_addr_format(&peer, b, sizeof b), 0);
    CHECK_STR_EQ(a, b);
    CHECK_EQ(xev_addr_family(&peer), xev_addr_family(&where));
    CHECK(strstr(a, host) != NULL);
    CHECK_EQ(xev_tcp_peer_addr(client, &peer), 0);
    CHECK_EQ(xev_addr_port(&peer), xev_addr_port(&where));

    do_recv(&received, &n, server.fd, buf, sizeof buf);
    do_send(&sent, &n, client.fd, "hello", 5);
    run_op(&received);
    CHECK_EQ(received.result, 5);
    CHECK_MEM_EQ(buf, "hello", 5);
    if (sent.ends == 0) {
        run_op(&sent);
    }
    CHECK_EQ(sent.result, 5);

    op_new(&shut, &n);
    xev_tcp_shutdown(client, &n.loop, &shut.c, &shut, op_called);
    do_recv(&received, &n, server.fd, buf, sizeof buf);
    run_op(&received);
    CHECK_EQ(received.result, XEV_EOF);
    if (shut.ends == 0) {
        run_op(&shut);
    }
    CHECK_EQ(shut.result, 0);
    /* Again, and the other direction still works. */
    do_recv(&received, &n, server.fd, buf, sizeof buf);
    run_op(&received);
    CHECK_EQ(received.result, XEV_EOF);
    do_send(&sent, &n, server.fd, "bye", 3);
    do_recv(&received, &n, client.fd, buf, sizeof buf);
    run_op(&received);
    CHECK_EQ(received.result, 3);
    close_fd(&n, client.fd);
    close_fd(&n, server.fd);
    close_fd(&n, listener.fd);
    CHECK_EQ(xev_loop_active(&n.loop), 0);
    net_close(&n);
}

TEST(accept_connect_send_recv_shutdown_eof_close) { whole_life("127.0.0.1"); }

TEST(ipv6_with_full_peer_address) { whole_life("::1"); }

TEST(connection_refused) {
    struct net n;
    struct op connected;
    xev_tcp client;
    net_open(&n, NULL);
    int listener = plain_listener(1);
    xev_addr where = addr_of_listener(listener);
    CHECK_EQ(close(listener), 0);
    CHECK_EQ(xev_tcp_init(&client, XEV_AF_INET), 0);
    do_connect(&connected, &n, client.fd, &where);
    memset(&where, 0xee, sizeof where); /* was copied */
    run_op(&connected);
    CHECK_EQ(connected.result, XEV_ECONNREFUSED);
    close_fd(&n, client.fd);
    net_close(&n);
}

/* A receive that is begun before there is a connection takes the reason why there is none. */
TEST(connect_fails_where_a_receive_was_told_why) {
    struct net n;
    struct op connected, received;
    xev_tcp client;
    char byte;
    net_open(&n, NULL);
    int listener = plain_listener(1);
    xev_addr where = addr_of_listener(listener);
    CHECK_EQ(close(listener), 0);
    CHECK_EQ(xev_tcp_init(&client, XEV_AF_INET), 0);
    do_connect(&connected, &n, client.fd, &where);
    xev_tcp_recv(client, &n.loop, &op_new(&received, &n)->c, &byte, 1, &received, op_called);
    run_op(&received);
    CHECK(received.result == XEV_ECONNREFUSED || received.result == XEV_ENOTCONN ||
          received.result == XEV_EOF);
    if (connected.ends == 0) {
        run_op(&connected);
    }
    CHECK(connected.result == XEV_ECONNREFUSED || connected.result == XEV_ENOTCONN);
    close_fd(&n, client.fd);
    net_close(&n);
}

/* Connections that fill the backlog of 1: two wait, and there is no answer for any other. */
static void fill_backlog(int listener, int fds[4]) {
    struct sockaddr_in sa = address_of(listener);
    for (int i = 0; i < 4; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fds[i], (struct sockaddr *)(void *)&sa, sizeof sa);
    }
    wait_connections(listener, 2);
}

static void close_all(const int *fds, int count) {
    for (int i = 0; i < count; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
}

TEST(connect_to_a_full_backlog_times_out_once) {
    struct net n;
    struct op connected;
    xev_tcp client;
    int fds[4];
    net_open(&n, NULL);
    int listener = plain_listener(1);
    fill_backlog(listener, fds);
    xev_addr where = addr_of_listener(listener);
    CHECK_EQ(xev_tcp_init(&client, XEV_AF_INET), 0);
    uint64_t start = clock_ns();
    do_connect(&connected, &n, client.fd, &where);
    xev_completion_set_timeout(&n.loop, &connected.c, 100);
    run_op(&connected);
    CHECK_EQ(connected.result, XEV_ETIMEDOUT);
    CHECK_GE(clock_ns() - start, 100 * MS);
    CHECK_LT(n.turns, 50);
    settle(&n);
    CHECK_EQ(connected.calls, 1);
    close_fd(&n, client.fd);
    close_all(fds, 4);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

TEST(cancelled_connect_reports_ecanceled) {
    struct net n;
    struct op connected;
    xev_tcp client;
    int fds[4];
    for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
        net_open(&n, NULL);
        int listener = plain_listener(1);
        fill_backlog(listener, fds);
        xev_addr where = addr_of_listener(listener);
        CHECK_EQ(xev_tcp_init(&client, XEV_AF_INET), 0);
        do_connect(&connected, &n, client.fd, &where);
        if (in_kernel) {
            settle(&n);
        }
        cancel_op(&connected, 0);
        CHECK_EQ(connected.result, XEV_ECANCELED);
        close_fd(&n, client.fd);
        close_all(fds, 4);
        CHECK_EQ(close(listener), 0);
        net_close(&n);
    }
}

TEST(peer_reset_reports_econnreset) {
    struct net n;
    struct op received;
    int fd[2];
    char buf[16];
    for (int waiting = 0; waiting < 2; waiting++) {
        net_open(&n, NULL);
        tcp_pair(fd);
        if (!waiting) {
            reset_close(fd[1]);
        }
        do_recv(&received, &n, fd[0], buf, sizeof buf);
        if (waiting) {
            settle(&n);
            reset_close(fd[1]);
        }
        run_op(&received);
        CHECK_EQ(received.result, XEV_ECONNRESET);
        close_fd(&n, fd[0]);
        net_close(&n);
    }
}

TEST(write_after_peer_close_is_an_error_and_no_signal) {
    struct net n;
    struct op sent;
    int fd[2];
    signal(SIGPIPE, SIG_DFL);
    net_open(&n, NULL);
    tcp_pair(fd);
    CHECK_EQ(close(fd[1]), 0);
    do_send(&sent, &n, fd[0], "x", 1);
    run_op(&sent);
    CHECK_EQ(sent.result, 1); /* the peer answers it with a reset */
    struct pollfd p = {.fd = fd[0], .events = 0};
    while (poll(&p, 1, -1) != 1) {
    }
    for (int i = 0; i < 2; i++) {
        do_send(&sent, &n, fd[0], "x", 1);
        run_op(&sent);
        CHECK(sent.result == XEV_EPIPE || (i == 0 && sent.result == XEV_ECONNRESET));
    }
    close_fd(&n, fd[0]);
    net_close(&n);
}

TEST(send_after_shutdown_reports_epipe) {
    struct net n;
    struct op shut, sent;
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    op_new(&shut, &n);
    xev_tcp_shutdown(xev_tcp_from_fd(fd[0]), &n.loop, &shut.c, &shut, op_called);
    do_send(&sent, &n, fd[0], "x", 1);
    run_op(&sent);
    CHECK_EQ(shut.ends, 1);
    CHECK_LT(shut.at, sent.at);
    CHECK_EQ(sent.result, XEV_EPIPE);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(shutdown_comes_after_the_sends_before_it) {
    enum { LEN = 1 << 20 };
    static char in[LEN], out[LEN];
    struct net n;
    struct op sent[2], shut, received;
    int fd[2];
    net_open(&n, NULL);
    local_pair(fd);
    small_buffers(fd[0]);
    memset(out, 'a', LEN);
    size_t filled = fill(fd[0]);
    do_send(&sent[0], &n, fd[0], out, 4000);
    do_send(&sent[1], &n, fd[0], out, 4000);
    op_new(&shut, &n);
    xev_tcp_shutdown(xev_tcp_from_fd(fd[0]), &n.loop, &shut.c, &shut, op_called);
    settle(&n);
    CHECK_EQ(shut.ends, 0);
    size_t got = 0;
    do {
        do_recv(&received, &n, fd[1], in, LEN);
        run_op(&received);
        got += received.result > 0 ? (size_t)received.result : 0;
    } while (received.result > 0);
    CHECK_EQ(received.result, XEV_EOF);
    if (shut.ends == 0) {
        run_op(&shut);
    }
    CHECK_LT(sent[0].at, sent[1].at);
    CHECK_LT(sent[1].at, shut.at);
    CHECK_EQ(got, filled + (size_t)sent[0].result + (size_t)sent[1].result);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

/* ---- transfers ---- */

enum { BULK = 1 << 18 };

/* Half of a bulk transfer: goes on until BULK bytes are through. */
static xev_cb_action transfer_on(struct op *op, int result) {
    CHECK_GT(result, 0);
    op->sum += result;
    if (op->sum == BULK) {
        return XEV_DISARM;
    }
    int64_t sum = op->sum;
    char *base = op->user;
    struct net *n = op->net;
    int fd = op->results[7];
    bool sending = op->results[6] != 0;
    op_new(op, n);
    op->then = transfer_on;
    op->user = base;
    op->sum = sum;
    op->results[7] = fd;
    op->results[6] = sending;
    size_t left = (size_t)(BULK - sum);
    if (sending) {
        xev_tcp_send(xev_tcp_from_fd(fd), &n->loop, &op->c, base + sum, left, op, op_called);
    } else {
        xev_tcp_recv(xev_tcp_from_fd(fd), &n->loop, &op->c, base + sum, left, op, op_called);
    }
    return XEV_DISARM;
}

static void transfer(struct op *op, struct net *n, int fd, char *base, bool sending) {
    if (sending) {
        do_send(op, n, fd, base, BULK);
    } else {
        do_recv(op, n, fd, base, BULK);
    }
    op->then = transfer_on;
    op->user = base;
    op->results[7] = fd;
    op->results[6] = sending;
}

TEST(read_and_write_at_once_on_one_descriptor) {
    static char out[2][BULK], in[2][BULK];
    struct net n;
    struct op op[4];
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    for (int i = 0; i < 2; i++) {
        small_buffers(fd[i]);
        for (int j = 0; j < BULK; j++) {
            out[i][j] = (char)(j * 31 + j / 255 + i);
        }
    }
    for (int i = 0; i < 2; i++) {
        transfer(&op[2 * i], &n, fd[i], out[i], true);
        transfer(&op[2 * i + 1], &n, fd[i], in[i], false);
    }
    for (int i = 0; i < 4; i++) {
        while (op[i].sum < BULK) {
            CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_ONCE), 0);
        }
    }
    CHECK_MEM_EQ(in[0], out[1], BULK);
    CHECK_MEM_EQ(in[1], out[0], BULK);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

TEST(two_reads_on_one_descriptor_complete_in_order) {
    struct net n;
    struct op first, second;
    int fd[2];
    char a[4], b[4];
    net_open(&n, NULL);
    tcp_pair(fd);
    do_recv(&first, &n, fd[0], a, 4);
    do_recv(&second, &n, fd[0], b, 4);
    settle(&n);
    plain_send(fd[1], "11112222", 8);
    run_op(&second);
    CHECK_EQ(first.ends, 1);
    CHECK_LT(first.at, second.at);
    CHECK_MEM_EQ(a, "1111", 4);
    CHECK_MEM_EQ(b, "2222", 4);
    /* And where the second is there when the first has ended long ago. */
    do_recv(&first, &n, fd[0], a, 4);
    do_recv(&second, &n, fd[0], b, 4);
    plain_send(fd[1], "33", 2);
    run_op(&first);
    CHECK_EQ(first.result, 2);
    settle(&n);
    CHECK_EQ(second.ends, 0);
    plain_send(fd[1], "44", 2);
    run_op(&second);
    CHECK_MEM_EQ(b, "44", 2);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(many_queued_sends_and_recvs_keep_their_order) {
    enum { COUNT = 200 };
    struct net n;
    static struct op sent[COUNT], received[COUNT];
    static uint32_t out[COUNT], in[COUNT];
    int fd[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    for (uint32_t i = 0; i < COUNT; i++) {
        out[i] = i;
        do_recv(&received[i], &n, fd[1], &in[i], 4);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        do_send(&sent[i], &n, fd[0], &out[i], 4);
    }
    run_op(&received[COUNT - 1]);
    for (uint32_t i = 0; i < COUNT; i++) {
        CHECK_EQ(sent[i].result, 4);
        CHECK_EQ(received[i].result, 4);
        CHECK_EQ(in[i], i);
        CHECK(i == 0 || sent[i - 1].at < sent[i].at);
        CHECK(i == 0 || received[i - 1].at < received[i].at);
    }
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

TEST(recv_and_send_of_no_bytes_are_invalid) {
    struct net n;
    struct op op;
    int fd[2];
    char buf[4];
    net_open(&n, NULL);
    tcp_pair(fd);
    do_recv(&op, &n, fd[0], buf, 0);
    CHECK_EQ(op.calls, 0);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EINVAL);
    do_send(&op, &n, fd[0], buf, 0);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EINVAL);
    do_recv(&op, &n, fd[0], buf, (size_t)INT32_MAX + 1);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EINVAL);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

static xev_cb_action again(struct op *op, int result) {
    if (result == XEV_EOF) {
        return XEV_DISARM;
    }
    CHECK_EQ(result, 1);
    CHECK_EQ(*(char *)op->user, 'a' + op->sum);
    op->sum++;
    op->ends = 0; /* it starts over */
    return XEV_REARM;
}

TEST(rearm_repeats_a_recv) {
    struct net n;
    struct op received;
    int fd[2];
    char buf[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    do_recv(&received, &n, fd[0], buf, 1);
    received.user = buf;
    received.then = again;
    plain_send(fd[1], "abcde", 5);
    CHECK_EQ(shutdown(fd[1], SHUT_WR), 0);
    run_until(&n, &received.calls, 6);
    CHECK_EQ(received.sum, 5);
    CHECK_EQ(received.result, XEV_EOF);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

/* Operations on descriptors that the caller made non-blocking. */
TEST(nonblocking_descriptors_work_the_same) {
    struct net n;
    struct op op, sent;
    int fd[2];
    char buf[8];
    net_open(&n, NULL);
    int listener = plain_listener(4);
    CHECK_EQ(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    do_accept(&op, &n, listener);
    settle(&n);
    CHECK_EQ(op.ends, 0);
    fd[0] = plain_connect(listener);
    run_op(&op);
    CHECK_GE(op.result, 0);
    fd[1] = op.result;
    CHECK_EQ(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
    CHECK_EQ(fcntl(fd[1], F_SETFL, O_NONBLOCK), 0);

    do_recv(&op, &n, fd[0], buf, 8);
    settle(&n);
    CHECK_EQ(op.ends, 0);
    plain_send(fd[1], "data", 4);
    run_op(&op);
    CHECK_EQ(op.result, 4);
    do_recv(&op, &n, fd[0], buf, 8);
    settle(&n);
    cancel_op(&op, 0);
    CHECK_EQ(op.result, XEV_ECANCELED);

    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    local_pair(fd);
    CHECK_EQ(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
    size_t filled = fill(fd[0]);
    do_send(&sent, &n, fd[0], "after", 5);
    settle(&n);
    CHECK_EQ(sent.ends, 0);
    char *sink = malloc(filled);
    plain_recv(fd[1], sink, filled);
    free(sink);
    run_op(&sent);
    CHECK_EQ(sent.result, 5);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    close_fd(&n, listener);
    net_close(&n);
}

TEST(nonblocking_connect_works_the_same) {
    struct net n;
    struct op connected;
    xev_tcp client;
    net_open(&n, NULL);
    int listener = plain_listener(4);
    xev_addr where = addr_of_listener(listener);
    CHECK_EQ(xev_tcp_init(&client, XEV_AF_INET), 0);
    CHECK_EQ(fcntl(client.fd, F_SETFL, O_NONBLOCK), 0);
    do_connect(&connected, &n, client.fd, &where);
    run_op(&connected);
    CHECK_EQ(connected.result, 0);
    close_fd(&n, client.fd);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

/* ---- cancel and deadlines of transfers ---- */

TEST(cancelled_accept_reports_ecanceled) {
    struct net n;
    struct op op;
    for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
        net_open(&n, NULL);
        int listener = plain_listener(4);
        do_accept(&op, &n, listener);
        if (in_kernel) {
            settle(&n);
        }
        cancel_op(&op, 0);
        CHECK_EQ(op.result, XEV_ECANCELED);
        /* The listener is none the worse. */
        int fd = plain_connect(listener);
        do_accept(&op, &n, listener);
        run_op(&op);
        CHECK_GE(op.result, 0);
        close_fd(&n, op.result);
        CHECK_EQ(close(fd), 0);
        close_fd(&n, listener);
        net_close(&n);
    }
}

TEST(cancelled_recv_reports_ecanceled_and_loses_no_data) {
    struct net n;
    struct op op, behind;
    int fd[2];
    char buf[8], buf2[8];
    for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
        net_open(&n, NULL);
        tcp_pair(fd);
        do_recv(&op, &n, fd[0], buf, 8);
        do_recv(&behind, &n, fd[0], buf2, 8);
        if (in_kernel) {
            settle(&n);
        }
        cancel_op(&op, 0);
        CHECK_EQ(op.result, XEV_ECANCELED);
        CHECK_EQ(behind.ends, 0);
        plain_send(fd[1], "kept", 4);
        run_op(&behind);
        CHECK_EQ(behind.result, 4);
        CHECK_MEM_EQ(buf2, "kept", 4);
        close_fd(&n, fd[0]);
        CHECK_EQ(close(fd[1]), 0);
        net_close(&n);
    }
}

TEST(cancelled_send_reports_ecanceled_when_blocked) {
    struct net n;
    struct op op, behind;
    int fd[2];
    for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
        net_open(&n, NULL);
        local_pair(fd);
        (void)fill(fd[0]);
        do_send(&op, &n, fd[0], "x", 1);
        do_send(&behind, &n, fd[0], "y", 1);
        if (in_kernel) {
            settle(&n);
        }
        CHECK_EQ(op.ends, 0);
        cancel_op(&behind, 0); /* queued */
        CHECK_EQ(behind.result, XEV_ECANCELED);
        cancel_op(&op, 0);
        CHECK_EQ(op.result, XEV_ECANCELED);
        close_fd(&n, fd[0]);
        CHECK_EQ(close(fd[1]), 0);
        net_close(&n);
    }
}

TEST(cancel_of_a_finished_recv_reports_enoent) {
    struct net n;
    struct op op, cancel;
    int fd[2];
    char buf[8];
    net_open(&n, NULL);
    tcp_pair(fd);
    plain_send(fd[1], "data", 4);
    do_recv(&op, &n, fd[0], buf, 8);
    run_op(&op);
    xev_cancel(&n.loop, &op.c, &op_new(&cancel, &n)->c, &cancel, op_called);
    run_op(&cancel);
    CHECK_EQ(cancel.result, XEV_ENOENT);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(a_deadline_ends_recv_send_and_accept_with_etimedout) {
    struct net n;
    struct op op[3];
    int fd[2];
    char buf[8];
    net_open(&n, NULL);
    local_pair(fd);
    (void)fill(fd[0]);
    int listener = plain_listener(4);
    do_recv(&op[0], &n, fd[0], buf, 8);
    do_send(&op[1], &n, fd[0], "x", 1);
    do_accept(&op[2], &n, listener);
    uint64_t start = clock_ns();
    for (int i = 0; i < 3; i++) {
        xev_completion_set_timeout(&n.loop, &op[i].c, 20);
    }
    for (int i = 0; i < 3; i++) {
        if (op[i].ends == 0) {
            run_op(&op[i]);
        }
        CHECK_EQ(op[i].result, XEV_ETIMEDOUT);
    }
    CHECK_GE(clock_ns() - start, 20 * MS);
    CHECK_LT(n.turns, 50);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    close_fd(&n, listener);
    net_close(&n);
}

TEST(a_deadline_that_is_met_or_taken_away_changes_nothing) {
    struct net n;
    struct op op;
    int fd[2];
    char buf[8];
    net_open(&n, NULL);
    tcp_pair(fd);
    plain_send(fd[1], "data", 4);
    do_recv(&op, &n, fd[0], buf, 8);
    xev_completion_set_timeout(&n.loop, &op.c, 10000);
    run_op(&op);
    CHECK_EQ(op.result, 4);
    do_recv(&op, &n, fd[0], buf, 8);
    xev_completion_set_timeout(&n.loop, &op.c, 5);
    xev_completion_set_timeout(&n.loop, &op.c, 0);
    (void)run_for(&n, 20);
    CHECK_EQ(op.ends, 0);
    /* Behind another, too; and one deadline does not touch the other. */
    struct op queued;
    do_recv(&queued, &n, fd[0], buf + 4, 4);
    xev_completion_set_timeout(&n.loop, &queued.c, 5);
    run_op(&queued);
    CHECK_EQ(queued.result, XEV_ETIMEDOUT);
    CHECK_EQ(op.ends, 0);
    plain_send(fd[1], "more", 4);
    run_op(&op);
    CHECK_EQ(op.result, 4);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}
