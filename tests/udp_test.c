/* UDP: one datagram at a time, on connected and unconnected sockets; cancel, close and misuse. */
#include <sys/un.h>

#include "tests/udp_scene.h"

/* ---- one datagram ---- */

static void exchange(const char *host, bool nonblocking) {
    struct net n;
    struct op received;
    char buf[64];
    net_open(&n, NULL);
    struct pair p = pair_at(host);
    if (nonblocking) {
        CHECK_EQ(fcntl(p.in.fd, F_SETFL, O_NONBLOCK), 0);
        CHECK_EQ(fcntl(p.out.fd, F_SETFL, O_NONBLOCK), 0);
    }
    for (int waiting = 0; waiting < 2; waiting++) {
        xev_datagram d = into(buf, sizeof buf);
        if (waiting) {
            do_recv(&received, &n, p.in, &d);
            settle(&n);
            CHECK_EQ(received.calls, 0);
        }
        CHECK_EQ(send_to(&n, p.out, "hello", 5, &p.in_at), 5);
        if (!waiting) {
            do_recv(&received, &n, p.in, &d);
        }
        if (received.ends == 0) {
            run_op(&received);
        }
        CHECK_EQ(received.result, 5);
        CHECK_EQ(d.len_bytes, 5);
        CHECK_MEM_EQ(buf, "hello", 5);
        CHECK(!d.truncated);
        CHECK_EQ(d.segment_bytes, 0);
        check_same_address(&d.peer, &p.out_at);
        CHECK_EQ(xev_addr_family(&d.peer), xev_addr_family(&p.in_at));
        /* Its peer is an answer's address. */
        CHECK_EQ(send_to(&n, p.in, "hi", 2, &d.peer), 2);
        expect(&n, p.out, "hi", &p.in_at);
    }
    pair_close(&n, &p);
    CHECK_EQ(xev_loop_active(&n.loop), 0);
    net_close(&n);
}

TEST(send_and_receive_with_addresses_v4) { exchange("127.0.0.1", false); }
TEST(send_and_receive_with_addresses_v6) { exchange("::1", false); }
TEST(send_and_receive_on_a_nonblocking_descriptor) { exchange("127.0.0.1", true); }

TEST(zero_length_datagram_is_no_end) {
    struct net n;
    struct op received;
    char buf[8] = "before";
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    CHECK_EQ(send_to(&n, p.out, NULL, 0, &p.in_at), 0);
    CHECK_EQ(send_to(&n, p.out, "", 0, &p.in_at), 0);
    put(p.out.fd, "after", 5, &p.in_at);
    for (int i = 0; i < 2; i++) {
        xev_datagram d = into(buf, sizeof buf);
        do_recv(&received, &n, p.in, &d);
        run_op(&received);
        CHECK_EQ(received.result, 0);
        CHECK_EQ(d.len_bytes, 0);
        CHECK(!d.truncated);
        check_same_address(&d.peer, &p.out_at);
        CHECK_STR_EQ(buf, "before");
    }
    expect(&n, p.in, "after", &p.out_at);
    pair_close(&n, &p);
    net_close(&n);
}

TEST(truncation_is_reported) {
    struct net n;
    struct op received;
    char buf[8];
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    for (uint32_t room = 0; room < 8; room++) {
        memset(buf, '-', sizeof buf);
        put(p.out.fd, "123456", 6, &p.in_at);
        xev_datagram d = into(room > 0 ? buf : NULL, room);
        do_recv(&received, &n, p.in, &d);
        run_op(&received);
        CHECK_EQ(received.result, room < 6 ? room : 6);
        CHECK_EQ(d.len_bytes, received.result);
        CHECK_EQ(d.truncated, room < 6);
        check_same_address(&d.peer, &p.out_at);
        CHECK_MEM_EQ(buf, "123456", (size_t)received.result);
        CHECK_EQ(buf[received.result], '-');
    }
    put(p.out.fd, "next", 4, &p.in_at); /* the rest of the others is gone */
    expect(&n, p.in, "next", &p.out_at);
    pair_close(&n, &p);
    net_close(&n);
}

TEST(longest_datagram_and_one_too_long) {
    enum { LONGEST = 65507 };
    static char in[LONGEST + 1], out[LONGEST + 1];
    struct net n;
    struct op received;
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    for (size_t i = 0; i < sizeof out; i++) {
        out[i] = (char)(i * 7 + i / 256);
    }
    CHECK_EQ(xev_udp_set_buffers(p.out, 1 << 18, 0), 0);
    CHECK_EQ(xev_udp_set_buffers(p.in, 0, 1 << 18), 0);
    CHECK_EQ(send_to(&n, p.out, out, LONGEST + 1, &p.in_at), XEV_EMSGSIZE);
    CHECK_EQ(send_to(&n, p.out, out, LONGEST, &p.in_at), LONGEST);
    xev_datagram d = into(in, sizeof in);
    do_recv(&received, &n, p.in, &d);
    run_op(&received);
    CHECK_EQ(received.result, LONGEST);
    CHECK(!d.truncated);
    CHECK_MEM_EQ(in, out, LONGEST);
    pair_close(&n, &p);
    net_close(&n);
}

TEST(queued_receives_complete_in_order) {
    enum { COUNT = 20 };
    struct net n;
    struct op received[COUNT];
    xev_datagram d[COUNT];
    uint32_t value[COUNT];
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    for (uint32_t i = 0; i < COUNT; i++) {
        d[i] = into(&value[i], sizeof value[i]);
        do_recv(&received[i], &n, p.in, &d[i]);
    }
    settle(&n);
    for (uint32_t i = 0; i < COUNT; i++) {
        put(p.out.fd, &i, sizeof i, &p.in_at);
    }
    run_op(&received[COUNT - 1]);
    for (uint32_t i = 0; i < COUNT; i++) {
        CHECK_EQ(received[i].ends, 1);
        CHECK_EQ(received[i].result, sizeof i);
        CHECK_EQ(value[i], i);
        CHECK_EQ(received[i].at, i + 1);
    }
    pair_close(&n, &p);
    net_close(&n);
}

static xev_cb_action three_times(struct op *op, int result) {
    (void)result;
    op->ends = op->calls == 3;
    return op->calls < 3 ? XEV_REARM : XEV_DISARM;
}

TEST(rearm_receives_and_sends_again) {
    struct net n;
    struct op received, sent;
    char buf[8];
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    xev_datagram in = into(buf, sizeof buf), out = out_of("again", 5, &p.in_at);
    do_recv(&received, &n, p.in, &in);
    received.then = three_times;
    do_send(&sent, &n, p.out, &out);
    sent.then = three_times;
    run_op(&sent);
    CHECK_EQ(sent.result, 5);
    if (received.ends == 0) {
        run_op(&received);
    }
    CHECK_EQ(received.calls, 3);
    CHECK_EQ(received.result, 5);
    check_same_address(&in.peer, &p.out_at);
    pair_close(&n, &p);
    net_close(&n);
}

static xev_cb_action next_datagram(struct op *op, int result) {
    xev_datagram *d = op->user;
    static const int wanted[] = {4, XEV_EINVAL, 2};
    CHECK_EQ(result, wanted[op->calls - 1]);
    if (op->calls == 1) {
        d->len_bytes = d->capacity_bytes = (uint32_t)INT32_MAX + 1;
    } else if (op->calls == 2) {
        d->len_bytes = d->capacity_bytes = 2;
        d->buf = (char *)d->buf + 4;
    }
    op->ends = op->calls == 3;
    return op->ends ? XEV_DISARM : XEV_REARM;
}

TEST(rearm_takes_the_datagram_as_it_is_now) {
    struct net n;
    struct op received, sent;
    char got[8] = "", data[] = "abcdef";
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    xev_datagram in = into(got, 4), out = out_of(data, 4, &p.in_at);
    do_send(&sent, &n, p.out, &out);
    sent.then = next_datagram;
    sent.user = &out;
    run_until(&n, &sent.calls, 3);
    do_recv(&received, &n, p.in, &in);
    received.then = next_datagram;
    received.user = &in;
    run_until(&n, &received.calls, 3);
    CHECK_STR_EQ(got, data);
    pair_close(&n, &p);
    net_close(&n);
}

/* ---- connected ---- */

TEST(connected_socket_sends_to_and_hears_its_peer_only) {
    struct net n;
    xev_addr where;
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    xev_udp other = bound("127.0.0.1", &where);
    CHECK_EQ(send_to(&n, p.out, "?", 1, NULL), XEV_EDESTADDRREQ);
    CHECK_EQ(xev_udp_peer_addr(p.out, &where), XEV_ENOTCONN);
    CHECK_EQ(xev_udp_connect(p.out, &p.in_at), 0);
    CHECK_EQ(xev_udp_connect(p.in, &p.out_at), 0);
    CHECK_EQ(xev_udp_peer_addr(p.out, &where), 0);
    check_same_address(&where, &p.in_at);
    put(other.fd, "stranger", 8, &p.in_at);
    CHECK_EQ(send_to(&n, p.out, "friend", 6, NULL), 6);
    expect(&n, p.in, "friend", &p.out_at);
    /* And no longer. */
    CHECK_EQ(xev_udp_connect(p.in, NULL), 0);
    CHECK_EQ(xev_udp_peer_addr(p.in, &where), XEV_ENOTCONN);
    put(other.fd, "stranger", 8, &p.in_at);
    CHECK_EQ(xev_udp_local_addr(other, &where), 0);
    expect(&n, p.in, "stranger", &where);
    close_fd(&n, other.fd);
    pair_close(&n, &p);
    net_close(&n);
}

/* The address it got for that peer is not its own from then on; its port is. */
TEST(disconnected_socket_hears_at_every_address_again) {
    static const char *const hosts[] = {"127.0.0.1", "::1"}, *const others[] = {"127.0.0.2", "::1"};
    for (int i = 0; i < 2; i++) {
        struct net n;
        xev_addr peer, at, now;
        xev_udp udp;
        net_open(&n, NULL);
        xev_udp sender = bound(hosts[i], &peer);
        CHECK_EQ(xev_udp_init(&udp, xev_addr_family(&peer)), 0);
        CHECK_EQ(xev_udp_connect(udp, &peer), 0);
        CHECK_EQ(xev_udp_local_addr(udp, &at), 0);
        CHECK_EQ(xev_udp_connect(udp, NULL), 0);
        CHECK_EQ(xev_udp_local_addr(udp, &now), 0);
        CHECK_EQ(xev_addr_port(&now), xev_addr_port(&at));
        xev_addr any = address(i == 0 ? "0.0.0.0" : "::", xev_addr_port(&at));
        check_same_address(&now, &any);
        xev_addr other = address(others[i], xev_addr_port(&at));
        put(sender.fd, "hello", 5, &other);
        expect(&n, udp, "hello", &peer);
        close_fd(&n, udp.fd);
        close_fd(&n, sender.fd);
        net_close(&n);
    }
}

TEST(refused_port_reports_econnrefused) {
    struct net n;
    struct op received;
    char buf[8];
    net_open(&n, NULL);
    for (int i = 0; i < 4; i++) {
        bool waiting = (i & 1) != 0, nonblocking = (i & 2) != 0;
        struct pair p = pair_at("127.0.0.1");
        if (nonblocking) {
            CHECK_EQ(fcntl(p.out.fd, F_SETFL, O_NONBLOCK), 0);
        }
        CHECK_EQ(xev_udp_close_now(p.in), 0);
        CHECK_EQ(xev_udp_connect(p.out, &p.in_at), 0);
        xev_datagram d = into(buf, sizeof buf);
        if (waiting) {
            do_recv(&received, &n, p.out, &d);
            settle(&n);
        }
        CHECK_EQ(send_to(&n, p.out, "anyone?", 7, NULL), 7);
        if (!waiting) {
            do_recv(&received, &n, p.out, &d);
        }
        if (received.ends == 0) {
            run_op(&received);
        }
        CHECK_EQ(received.result, XEV_ECONNREFUSED);
        /* By the next send, and only once. */
        CHECK_EQ(send_to(&n, p.out, "1", 1, NULL), 1);
        wait_readable(p.out.fd); /* the refusal, which comes in its own time */
        CHECK_EQ(send_to(&n, p.out, "2", 1, NULL), XEV_ECONNREFUSED);
        CHECK_EQ(send_to(&n, p.out, "3", 1, NULL), 1);
        close_fd(&n, p.out.fd);
    }
    net_close(&n);
}

/* ---- ends ---- */

TEST(cancelled_receive_reports_ecanceled_and_takes_nothing) {
    struct net n;
    struct op op, behind;
    char buf[8];
    net_open(&n, NULL);
    for (enum form form = SINGLE; form < FORMS; form++) {
        for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
            struct pair p = pair_at("127.0.0.1");
            xev_datagram d = into(buf, sizeof buf), e = into(buf, sizeof buf);
            do_form(form, &op, &n, p.in, &d);
            do_form(form, &behind, &n, p.in, &e);
            if (in_kernel) {
                settle(&n);
            }
            cancel_op(&op, 0);
            CHECK_EQ(op.result, XEV_ECANCELED);
            cancel_op(&behind, 0);
            CHECK_EQ(behind.result, XEV_ECANCELED);
            put(p.out.fd, "kept", 4, &p.in_at);
            expect(&n, p.in, "kept", &p.out_at);
            pair_close(&n, &p);
        }
    }
    net_close(&n);
}

TEST(close_ends_pending_receives_first) {
    struct net n;
    struct op op[2], closing;
    char buf[8];
    net_open(&n, NULL);
    for (enum form form = SINGLE; form < FORMS; form++) {
        xev_addr where;
        xev_udp udp = bound("127.0.0.1", &where);
        xev_datagram d[2] = {into(buf, sizeof buf), into(buf, sizeof buf)};
        do_form(form, &op[0], &n, udp, &d[0]);
        do_form(form, &op[1], &n, udp, &d[1]);
        settle(&n);
        xev_udp_close(udp, &n.loop, &op_new(&closing, &n)->c, &closing, op_called);
        CHECK_EQ(op[0].calls + op[1].calls + closing.calls, 0);
        run_op(&closing);
        CHECK_EQ(closing.result, 0);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(op[i].ends, 1);
            CHECK_EQ(op[i].result, XEV_ECANCELED);
            CHECK_LT(op[i].at, closing.at);
        }
        CHECK(!is_open(udp.fd));
        do_form(form, &op[0], &n, udp, &d[0]);
        run_op(&op[0]);
        CHECK_EQ(op[0].result, XEV_EBADF);
    }
    net_close(&n);
}

TEST(deadline_reports_etimedout_once) {
    struct net n;
    struct op op;
    char buf[8];
    net_open(&n, NULL);
    for (enum form form = SINGLE; form < FORMS; form++) {
        struct pair p = pair_at("127.0.0.1");
        xev_datagram d = into(buf, sizeof buf);
        uint64_t start = clock_ns(), turns = n.turns;
        do_form(form, &op, &n, p.in, &d);
        xev_completion_set_timeout(&n.loop, &op.c, 30);
        run_op(&op);
        CHECK_EQ(op.result, XEV_ETIMEDOUT);
        CHECK_GE(clock_ns() - start, 30 * MS);
        CHECK_LT(n.turns - turns, 50);
        put(p.out.fd, "late", 4, &p.in_at);
        settle(&n);
        CHECK_EQ(op.calls, 1);
        expect(&n, p.in, "late", &p.out_at);
        pair_close(&n, &p);
    }
    net_close(&n);
}

TEST(teardown_ends_pending_receives) {
    for (enum form form = SINGLE; form < FORMS; form++) {
        struct net n;
        struct op op;
        char buf[8];
        net_open(&n, NULL);
        xev_addr where;
        xev_udp udp = bound("127.0.0.1", &where);
        xev_datagram d = into(buf, sizeof buf);
        do_form(form, &op, &n, udp, &d);
        settle(&n);
        CHECK_EQ(xev_udp_close_now(udp), 0);
        net_close(&n);
        CHECK_EQ(op.ends, 1);
        CHECK_EQ(op.result, XEV_ECANCELED);
    }
}

/* ---- sends that wait ---- */

/* Over the network a sender hardly ever waits; within a host it does, for the receiver's queue. */
static void full_pair(int fd[2]) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    socklen_t len = sizeof sa;
    fd[0] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    fd[1] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd[1], (struct sockaddr *)(void *)&sa, sizeof sa.sun_family), 0);
    CHECK_EQ(getsockname(fd[1], (struct sockaddr *)(void *)&sa, &len), 0);
    CHECK_EQ(connect(fd[0], (struct sockaddr *)(void *)&sa, len), 0);
    while (send(fd[0], "full", 4, MSG_DONTWAIT) == 4) {
    }
    CHECK_EQ(errno, EAGAIN);
}

static void take_one(int fd) {
    char buf[8];
    CHECK_EQ(recv(fd, buf, sizeof buf, MSG_DONTWAIT), 4);
}

TEST(sends_wait_for_room_in_their_order) {
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        struct net n;
        struct op one, batch, last;
        int fd[2];
        net_open(&n, NULL);
        full_pair(fd);
        if (nonblocking) {
            CHECK_EQ(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
        }
        xev_udp udp = xev_udp_from_fd(fd[0]);
        xev_datagram d = out_of("one_", 4, NULL), e = out_of("last", 4, NULL);
        xev_datagram ds[2] = {out_of("two_", 4, NULL), out_of("more", 4, NULL)};
        do_send(&one, &n, udp, &d);
        do_send_batch(&batch, &n, udp, ds, 2);
        do_send(&last, &n, udp, &e);
        settle(&n);
        CHECK_EQ(one.calls + batch.calls + last.calls, 0);
        take_one(fd[1]);
        run_op(&one);
        CHECK_EQ(one.result, 4);
        settle(&n);
        CHECK_EQ(batch.calls, 0);
        take_one(fd[1]);
        run_op(&batch);
        CHECK_EQ(batch.result, 1); /* no room for the other */
        CHECK_EQ(last.calls, 0);
        uint64_t turns = run_for(&n, 20);
        CHECK_LT(turns, 20);
        take_one(fd[1]);
        run_op(&last);
        CHECK_EQ(last.result, 4);
        close_fd(&n, fd[0]);
        CHECK_EQ(close(fd[1]), 0);
        net_close(&n);
    }
}

TEST(waiting_send_is_cancelled_closed_and_timed_out) {
    struct net n;
    struct op op, closing;
    int fd[2];
    net_open(&n, NULL);
    for (int batch = 0; batch < 2; batch++) {
        full_pair(fd);
        xev_udp udp = xev_udp_from_fd(fd[0]);
        for (int end = 0; end < 3; end++) {
            xev_datagram d = out_of("late", 4, NULL);
            if (batch) {
                do_send_batch(&op, &n, udp, &d, 1);
            } else {
                do_send(&op, &n, udp, &d);
            }
            settle(&n);
            CHECK_EQ(op.calls, 0);
            if (end == 0) {
                cancel_op(&op, 0);
            } else if (end == 1) {
                xev_completion_set_timeout(&n.loop, &op.c, 10);
                run_op(&op);
            } else {
                xev_udp_close(udp, &n.loop, &op_new(&closing, &n)->c, &closing, op_called);
                run_op(&closing);
                CHECK_LT(op.at, closing.at);
            }
            CHECK_EQ(op.ends, 1);
            CHECK_EQ(op.result, end == 1 ? XEV_ETIMEDOUT : XEV_ECANCELED);
        }
        CHECK_EQ(close(fd[1]), 0);
    }
    net_close(&n);
}

/* ---- bad arguments ---- */

static xev_cb_action rearm_twice(struct op *op, int result) {
    CHECK_LT(result, 0);
    op->ends = op->calls == 3;
    return op->calls < 3 ? XEV_REARM : XEV_DISARM;
}

TEST(bad_arguments_are_einval_also_when_repeated) {
    struct net n;
    struct op op;
    char buf[8];
    xev_addr bad = {.len_bytes = sizeof bad.storage + 1}, none = {0};
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    put(p.out.fd, "there", 5, &p.in_at);
    xev_datagram in[] = {into(NULL, 1), into(buf, (uint32_t)INT32_MAX + 1)};
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
        do_recv(&op, &n, p.in, &in[i]);
        op.then = rearm_twice;
        run_op(&op);
        CHECK_EQ(op.result, XEV_EINVAL);
        do_recv_batch(&op, &n, p.in, &in[i], 1);
        run_op(&op);
        CHECK_EQ(op.result, XEV_EINVAL);
    }
    xev_datagram out[] = {
        out_of(NULL, 1, &p.in_at),
        out_of(buf, (uint32_t)INT32_MAX + 1, &p.in_at),
        out_of(buf, 1, &bad),
        out_of(buf, 1, &p.in_at),
    };
    out[3].segment_bytes = 65536;
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++) {
        do_send(&op, &n, p.out, &out[i]);
        op.then = rearm_twice;
        run_op(&op);
        CHECK_EQ(op.result, XEV_EINVAL);
        do_send_batch(&op, &n, p.out, &out[i], 1);
        run_op(&op);
        CHECK_EQ(op.result, XEV_EINVAL);
    }
    do_send_batch(&op, &n, p.out, out, 0);
    op.then = rearm_twice;
    run_op(&op);
    CHECK_EQ(op.result, XEV_EINVAL);
    do_recv_batch(&op, &n, p.in, in, 0);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EINVAL);
    CHECK_EQ(xev_udp_bind(p.in, &none, 0), XEV_EINVAL);
    CHECK_EQ(xev_udp_bind(p.in, NULL, 0), XEV_EINVAL);
    CHECK_EQ(xev_udp_bind(p.in, &p.in_at, 4), XEV_EINVAL);
    CHECK_EQ(xev_udp_connect(p.in, &none), XEV_EINVAL);
    expect(&n, p.in, "there", &p.out_at);
    pair_close(&n, &p);
    net_close(&n);
}

TEST(what_is_no_open_socket_is_reported) {
    struct net n;
    struct op op;
    char buf[8];
    net_open(&n, NULL);
    xev_addr at = address("127.0.0.1", 9);
    xev_udp none = xev_udp_from_fd(XEV_INVALID_FD);
    xev_udp file = xev_udp_from_fd(open("/dev/null", O_RDWR | O_CLOEXEC));
    CHECK_GE(file.fd, 0);
    for (enum form form = SINGLE; form < FORMS; form++) {
        xev_datagram d = into(buf, sizeof buf);
        do_form(form, &op, &n, none, &d);
        run_op(&op);
        CHECK_EQ(op.result, XEV_EBADF);
        do_form(form, &op, &n, file, &d);
        run_op(&op);
        CHECK_EQ(op.result, XEV_ENOTSOCK);
    }
    xev_datagram d = out_of("x", 1, &at);
    do_send(&op, &n, none, &d);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EBADF);
    do_send(&op, &n, file, &d);
    run_op(&op);
    CHECK_EQ(op.result, XEV_ENOTSOCK);
    do_send_batch(&op, &n, file, &d, 1);
    run_op(&op);
    CHECK_EQ(op.result, XEV_ENOTSOCK);
    close_fd(&n, file.fd);
    net_close(&n);
}

static void recv_null(void *arg) {
    struct net *n = arg;
    xev_completion c = {0};
    xev_udp_recv(xev_udp_from_fd(0), &n->loop, &c, NULL, NULL, NULL);
}

static void send_null(void *arg) {
    struct net *n = arg;
    xev_completion c = {0};
    xev_udp_send(xev_udp_from_fd(0), &n->loop, &c, NULL, NULL, NULL);
}

static void recv_without_callback(void *arg) {
    struct net *n = arg;
    xev_completion c = {0};
    xev_datagram d = {0};
    xev_udp_recv(xev_udp_from_fd(0), &n->loop, &c, &d, NULL, NULL);
}

TEST(misuse_ends_the_program) {
    struct net n;
    net_open(&n, NULL);
    check_misuse(recv_null, &n, "xev_udp_recv");
    check_misuse(send_null, &n, "xev_udp_send");
    check_misuse(recv_without_callback, &n, "xev_udp_recv");
    net_close(&n);
}
