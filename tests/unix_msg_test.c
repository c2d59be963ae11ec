/* Unix sockets: datagrams, and descriptors that are passed, as unix.h promises them. */
#include "tests/unix_scene.h"

/* ---- datagrams ---- */

static xev_unix datagram_at(const xev_addr *addr) {
    xev_unix s;
    CHECK_EQ(xev_unix_init(&s, XEV_UNIX_DATAGRAM), 0);
    if (addr != NULL) {
        CHECK_EQ(xev_unix_bind(s, addr, XEV_UNIX_KEEP), 0);
    }
    return s;
}

TEST(datagrams_with_names_keep_their_bounds) {
    struct net n;
    struct op received;
    char in[16];
    net_open(&n, NULL);
    xev_addr a_at = abstract("a"), b_at = abstract("b");
    xev_unix a = datagram_at(&a_at), b = datagram_at(&b_at), nameless = datagram_at(NULL);
    xev_unix_msg out = message("hello", 5), got = message(in, sizeof in);
    out.addr = b_at;
    do_recv_msg(&received, &n, b, &got);
    settle(&n);
    CHECK_EQ(received.calls, 0);
    CHECK_EQ(send_msg(&n, a, &out), 5);
    finish_op(&received);
    CHECK_EQ(received.result, 5);
    CHECK_MEM_EQ(in, "hello", 5);
    check_same(&got.addr, &a_at);
    CHECK(!got.truncated && !got.fds_truncated);
    CHECK_EQ(got.fds_len, 0);

    /* Answered at the address it came from. */
    xev_unix_msg answer = message("me too", 6);
    answer.addr = got.addr;
    CHECK_EQ(send_msg(&n, b, &answer), 6);
    CHECK_EQ(recv_msg(&n, a, &got), 6);
    check_same(&got.addr, &b_at);

    /* Two, of which one is empty and one too long. */
    out = message("", 0);
    out.addr = b_at;
    CHECK_EQ(send_msg(&n, nameless, &out), 0);
    out = message("0123456789", 10);
    out.addr = b_at;
    CHECK_EQ(send_msg(&n, nameless, &out), 10);
    CHECK_EQ(recv_msg(&n, b, &got), 0);
    CHECK(!got.truncated);
    size_t len;
    (void)xev_addr_unix_name(&got.addr, &len);
    CHECK_EQ(len, 0);
    got.len_bytes = 4;
    CHECK_EQ(recv_msg(&n, b, &got), 4);
    CHECK(got.truncated);
    CHECK_MEM_EQ(in, "0123", 4);

    out.addr = abstract("nobody");
    CHECK_EQ(send_msg(&n, a, &out), XEV_ECONNREFUSED);
    out.addr = (xev_addr){0};
    CHECK_EQ(send_msg(&n, a, &out), XEV_ENOTCONN);
    close_fd(&n, a.fd);
    close_fd(&n, b.fd);
    close_fd(&n, nameless.fd);
    net_close(&n);
}

TEST(connected_datagrams) {
    struct net n;
    struct op connected;
    char in[16];
    net_open(&n, NULL);
    xev_addr at = abstract("d");
    xev_unix server = datagram_at(&at), client = datagram_at(NULL), pair[2];
    do_connect(&connected, &n, client, &at);
    run_op(&connected);
    CHECK_EQ(connected.result, 0);
    xev_unix_msg out = message("abc", 3), got = message(in, sizeof in);
    CHECK_EQ(send_msg(&n, client, &out), 3);
    CHECK_EQ(recv_msg(&n, server, &got), 3);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_DATAGRAM), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(send_msg(&n, pair[0], &out), 3);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(recv_msg(&n, pair[1], &got), 3);
    }
    close_fd(&n, pair[0].fd);
    close_fd(&n, pair[1].fd);
    close_fd(&n, client.fd);
    close_fd(&n, server.fd);
    net_close(&n);
}

/* Another sender has filled the receiver, so that nothing of ours tells when there is room. */
TEST(datagram_to_a_full_receiver_waits) {
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        for (int connected = 0; connected < 2; connected++) {
            struct net n;
            struct op sent, op;
            char in[16];
            net_open(&n, NULL);
            xev_addr at = abstract("r");
            xev_unix receiver = datagram_at(&at), filler = datagram_at(NULL);
            xev_unix sender = datagram_at(NULL);
            int flags = nonblocking ? O_NONBLOCK : 0;
            CHECK_EQ(fcntl(sender.fd, F_SETFL, flags), 0);
            size_t filled = 0;
            while (sendto(filler.fd, "f", 1, MSG_DONTWAIT, (void *)at.storage, at.len_bytes) == 1) {
                filled++;
            }
            CHECK_EQ(errno, EAGAIN);
            CHECK_GT(filled, 0);
            xev_unix_msg out = message("late", 4), got = message(in, sizeof in);
            if (connected) {
                do_connect(&op, &n, sender, &at);
                run_op(&op);
                CHECK_EQ(op.result, 0);
            } else {
                out.addr = at;
            }
            do_send_msg(&sent, &n, sender, &out);
            CHECK_LT(run_for(&n, 30), 40);
            CHECK_EQ(sent.calls, 0);
            cancel_op(&sent, 0);
            CHECK_EQ(sent.result, XEV_ECANCELED);
            do_send_msg(&sent, &n, sender, &out);
            xev_completion_set_timeout(&n.loop, &sent.c, 20);
            run_op(&sent);
            CHECK_EQ(sent.result, XEV_ETIMEDOUT);
            do_send_msg(&sent, &n, sender, &out);
            settle(&n);
            for (size_t i = 0; i < filled; i++) {
                CHECK_EQ(recv(receiver.fd, in, sizeof in, 0), 1);
            }
            finish_op(&sent);
            CHECK_EQ(sent.result, 4);
            CHECK_EQ(recv_msg(&n, receiver, &got), 4);
            CHECK_MEM_EQ(in, "late", 4);
            close_fd(&n, receiver.fd);
            close_fd(&n, filler.fd);
            close_fd(&n, sender.fd);
            net_close(&n);
        }
    }
}

static xev_cb_action received_again(struct op *op, int result) {
    xev_unix_msg *msg = op->user;
    CHECK_EQ(result, (int)op->sum);
    CHECK_EQ(msg->addr.len_bytes > 0, 1);
    op->sum++;
    if (op->sum == 5) {
        return XEV_DISARM;
    }
    op->ends = 0;
    return XEV_REARM;
}

TEST(rearm_receives_the_next_message) {
    struct net n;
    struct op received;
    char in[16];
    net_open(&n, NULL);
    xev_addr a_at = abstract("a"), b_at = abstract("b");
    xev_unix a = datagram_at(&a_at), b = datagram_at(&b_at);
    xev_unix_msg got = message(in, sizeof in), out = message("01234", 0);
    out.addr = b_at;
    do_recv_msg(&received, &n, b, &got);
    received.then = received_again;
    received.user = &got;
    for (size_t i = 0; i < 5; i++) {
        out.len_bytes = i;
        CHECK_EQ(send_msg(&n, a, &out), (int)i);
    }
    finish_op(&received);
    CHECK_EQ(received.calls, 5);
    close_fd(&n, a.fd);
    close_fd(&n, b.fd);
    net_close(&n);
}

/* ---- descriptors ---- */

/* Whether a and b are the two ends of one pipe. */
static void check_pipe(int read_end, int write_end) {
    char byte = 0;
    CHECK_EQ(write(write_end, "p", 1), 1);
    CHECK_EQ(read(read_end, &byte, 1), 1);
    CHECK_EQ(byte, 'p');
}

TEST(descriptors_are_passed_with_data) {
    for (int type = 0; type < 2; type++) {
        struct net n;
        int give[2], take[4] = {-1, -1, -1, -1};
        char in[16];
        xev_unix pair[2];
        net_open(&n, NULL);
        CHECK_EQ(xev_unix_pair(pair, (enum xev_unix_type)type), 0);
        CHECK_EQ(pipe2(give, O_CLOEXEC), 0);
        xev_unix_msg out = message("fds", 3), got = message(in, sizeof in);
        out.fds = give;
        out.fds_len = 2;
        got.fds = take;
        got.fds_max = 4;
        CHECK_EQ(send_msg(&n, pair[0], &out), 3);
        CHECK_EQ(close(give[0]), 0); /* the peer has its own */
        CHECK_EQ(recv_msg(&n, pair[1], &got), 3);
        CHECK_EQ(got.fds_len, 2);
        CHECK(!got.fds_truncated && !got.truncated);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(fcntl(take[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        }
        CHECK_EQ(take[2], -1);
        check_pipe(take[0], give[1]);
        check_pipe(take[0], take[1]);
        CHECK_EQ(close(take[0]), 0);
        CHECK_EQ(close(take[1]), 0);
        CHECK_EQ(close(give[1]), 0);
        close_fd(&n, pair[0].fd);
        close_fd(&n, pair[1].fd);
        net_close(&n);
    }
}

/* None must be left open, whatever room there was. */
TEST(surplus_descriptors_are_closed_and_reported) {
    enum { SENT = 5 };
    struct net n;
    int give[SENT], take[SENT];
    char in[16];
    xev_unix pair[2];
    net_open(&n, NULL);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
    for (int i = 0; i < SENT; i++) {
        give[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    int before = open_fds();
    for (uint32_t room = 0; room <= SENT; room++) {
        xev_unix_msg out = message("x", 1), got = message(in, sizeof in);
        out.fds = give;
        out.fds_len = SENT;
        got.fds = room > 0 ? take : NULL;
        got.fds_max = room;
        CHECK_EQ(send_msg(&n, pair[0], &out), 1);
        CHECK_EQ(recv_msg(&n, pair[1], &got), 1);
        CHECK_EQ(got.fds_len, room);
        CHECK_EQ(got.fds_truncated, room < SENT);
        CHECK_EQ(open_fds(), before + (int)room);
        for (uint32_t i = 0; i < room; i++) {
            CHECK_EQ(close(take[i]), 0);
        }
    }
    /* A plain receive drops them. */
    struct op op;
    xev_unix_msg out = message("x", 1);
    out.fds = give;
    out.fds_len = SENT;
    CHECK_EQ(send_msg(&n, pair[0], &out), 1);
    do_recv(&op, &n, pair[1], in, sizeof in);
    run_op(&op);
    CHECK_EQ(op.result, 1);
    CHECK_EQ(open_fds(), before);
    for (int i = 0; i < SENT; i++) {
        CHECK_EQ(close(give[i]), 0);
    }
    close_fd(&n, pair[0].fd);
    close_fd(&n, pair[1].fd);
    net_close(&n);
}

TEST(as_many_descriptors_as_the_kernel_allows) {
    struct net n;
    static int give[XEV_UNIX_FDS_MAX + 1], take[XEV_UNIX_FDS_MAX];
    char in[16];
    xev_unix pair[2];
    net_open(&n, NULL);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
    for (int i = 0; i <= XEV_UNIX_FDS_MAX; i++) {
        give[i] = pair[0].fd;
    }
    int before = open_fds();
    xev_unix_msg out = message("x", 1), got = message(in, sizeof in);
    out.fds = give;
    out.fds_len = XEV_UNIX_FDS_MAX + 1;
    CHECK_EQ(send_msg(&n, pair[0], &out), XEV_EINVAL);
    out.fds_len = XEV_UNIX_FDS_MAX;
    int rc = send_msg(&n, pair[0], &out);
#if !defined(__GLIBC__)
    if (rc == XEV_ENOMEM) { /* musl 1.2.3's sendmsg takes one less */
        out.fds_len = XEV_UNIX_FDS_MAX - 1;
        CHECK_EQ(send_msg(&n, pair[0], &out), 1);
        return;
    }
#endif
    CHECK_EQ(rc, 1);
    got.fds = take;
    got.fds_max = XEV_UNIX_FDS_MAX;
    CHECK_EQ(recv_msg(&n, pair[1], &got), 1);
    CHECK_EQ(got.fds_len, XEV_UNIX_FDS_MAX);
    CHECK(!got.fds_truncated);
    CHECK_EQ(open_fds(), before + XEV_UNIX_FDS_MAX);
    for (int i = 0; i < XEV_UNIX_FDS_MAX; i++) {
        CHECK_EQ(close(take[i]), 0);
    }
    close_fd(&n, pair[0].fd);
    close_fd(&n, pair[1].fd);
    net_close(&n);
}

TEST(received_descriptors_without_room_in_the_process) {
    struct net n;
    struct hoard h;
    int give[3], take[3];
    char in[16];
    xev_unix pair[2];
    limit_fds();
    net_open(&n, NULL);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
    for (int i = 0; i < 3; i++) {
        give[i] = pair[0].fd;
    }
    xev_unix_msg out = message("x", 1), got = message(in, sizeof in);
    out.fds = give;
    out.fds_len = 3;
    got.fds = take;
    got.fds_max = 3;
    CHECK_EQ(send_msg(&n, pair[0], &out), 1);
    exhaust_fds(&h);
    CHECK_EQ(close(h.fds[--h.count]), 0);
    CHECK_EQ(recv_msg(&n, pair[1], &got), 1);
    CHECK_EQ(got.fds_len, 1);
    CHECK(got.fds_truncated);
    CHECK_EQ(close(take[0]), 0);
    restore_fds(&h);
    close_fd(&n, pair[0].fd);
    close_fd(&n, pair[1].fd);
    net_close(&n);
}

TEST(messages_on_a_stream_end_where_descriptors_were_sent_and_at_its_end) {
    struct net n;
    struct op received;
    int take[2];
    char in[16];
    xev_unix pair[2];
    net_open(&n, NULL);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
    int give[1] = {pair[0].fd};
    xev_unix_msg plain = message("ab", 2), with = message("c", 1), got = message(in, sizeof in);
    with.fds = give;
    with.fds_len = 1;
    got.fds = take;
    got.fds_max = 2;
    do_recv_msg(&received, &n, pair[1], &got);
    settle(&n);
    CHECK_EQ(send_msg(&n, pair[0], &plain), 2);
    finish_op(&received);
    CHECK_EQ(received.result, 2);
    CHECK_EQ(got.fds_len, 0);
    CHECK_EQ(send_msg(&n, pair[0], &with), 1);
    CHECK_EQ(send_msg(&n, pair[0], &plain), 2);
    CHECK_EQ(recv_msg(&n, pair[1], &got), 1);
    CHECK_EQ(got.fds_len, 1);
    CHECK_EQ(close(take[0]), 0);
    CHECK_EQ(recv_msg(&n, pair[1], &got), 2);
    CHECK_EQ(got.fds_len, 0);
    close_fd(&n, pair[0].fd);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(recv_msg(&n, pair[1], &got), XEV_EOF);
    }
    close_fd(&n, pair[1].fd);
    net_close(&n);
}

static xev_cb_action refused_again(struct op *op, int result) {
    CHECK_EQ(result, XEV_EINVAL);
    op->ends = 0; /* it starts over */
    return ++op->sum < 3 ? XEV_REARM : XEV_DISARM;
}

TEST(a_bad_message_is_refused_when_repeated) {
    struct net n;
    struct op op;
    char in[16];
    xev_unix pair[2];
    net_open(&n, NULL);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
    xev_unix_msg msg = message(in, 0);
    do_send_msg(&op, &n, pair[0], &msg);
    op.then = refused_again;
    run_until(&n, &op.calls, 3);
    do_recv_msg(&op, &n, pair[0], &msg);
    op.then = refused_again;
    run_until(&n, &op.calls, 3);
    close_fd(&n, pair[0].fd);
    close_fd(&n, pair[1].fd);
    net_close(&n);
}

/* Each callback sees to what the next message is. */
static xev_cb_action next_message(struct op *op, int result) {
    xev_unix_msg *msg = op->user;
    static const int wanted[] = {4, XEV_EINVAL, XEV_EINVAL, 2};
    CHECK_EQ(result, wanted[op->calls - 1]);
    switch (op->calls) {
    case 1:
        msg->len_bytes = 0;
        break;
    case 2:
        msg->len_bytes = 2;
        msg->fds_len = msg->fds_max = XEV_UNIX_FDS_MAX + 1;
        break;
    case 3:
        msg->fds_len = msg->fds_max = 0;
        msg->buf = (char *)msg->buf + 4;
        break;
    default:
        return XEV_DISARM;
    }
    op->ends = 0;
    return XEV_REARM;
}

TEST(rearm_takes_the_message_as_it_is_now) {
    for (int type = XEV_UNIX_STREAM; type <= XEV_UNIX_DATAGRAM; type++) {
        struct net n;
        struct op in, out;
        char got[8] = "", sent[] = "abcdef";
        int fds[XEV_UNIX_FDS_MAX + 1] = {0};
        xev_unix pair[2];
        net_open(&n, NULL);
        CHECK_EQ(xev_unix_pair(pair, (enum xev_unix_type)type), 0);
        xev_unix_msg from = message(sent, 4), to = message(got, 4);
        from.fds = to.fds = fds;
        do_send_msg(&out, &n, pair[0], &from);
        out.user = &from;
        if (type == XEV_UNIX_STREAM) {
            out.then = next_message;
            run_until(&n, &out.calls, 4);
        } else { /* which may be empty */
            finish_op(&out);
            from = message(sent + 4, 2);
            CHECK_EQ(send_msg(&n, pair[0], &from), 2);
        }
        do_recv_msg(&in, &n, pair[1], &to);
        in.then = next_message;
        in.user = &to;
        run_until(&n, &in.calls, 4);
        CHECK_MEM_EQ(got, "abcdef", 6);
        close_fd(&n, pair[0].fd);
        close_fd(&n, pair[1].fd);
        net_close(&n);
    }
}

/* Descriptors go with the first message, and not with what a repeat sends of the rest. */
static xev_cb_action without_descriptors(struct op *op, int result) {
    xev_unix_msg *msg = op->user;
    CHECK_EQ(result, 1);
    msg->fds_len = 0;
    msg->buf = (char *)msg->buf + 1;
    op->ends = op->calls == 2;
    return op->ends ? XEV_DISARM : XEV_REARM;
}

TEST(rearm_sends_the_descriptors_there_are_now) {
    struct net n;
    struct op out;
    char got[2], sent[] = "ab";
    int ends[2], fds[2];
    xev_unix pair[2];
    net_open(&n, NULL);
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
    xev_unix_msg from = message(sent, 1);
    from.fds = ends;
    from.fds_len = 1;
    do_send_msg(&out, &n, pair[0], &from);
    out.then = without_descriptors;
    out.user = &from;
    run_until(&n, &out.calls, 2);
    xev_unix_msg to = message(got, 2);
    to.fds = fds;
    to.fds_max = 2;
    int first = recv_msg(&n, pair[1], &to);
    CHECK_EQ(to.fds_len, 1);
    CHECK_EQ(close(fds[0]), 0);
    if (first == 1) {
        to.buf = got + 1;
        to.len_bytes = 1;
        CHECK_EQ(recv_msg(&n, pair[1], &to), 1);
        CHECK_EQ(to.fds_len, 0);
    }
    CHECK_MEM_EQ(got, "ab", 2);
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
    close_fd(&n, pair[0].fd);
    close_fd(&n, pair[1].fd);
    net_close(&n);
}

TEST(bad_messages) {
    struct net n;
    char in[16];
    int bad[1] = {1000};
    xev_unix pair[2];
    net_open(&n, NULL);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
    xev_unix_msg msg = message(in, 0);
    CHECK_EQ(recv_msg(&n, pair[0], &msg), XEV_EINVAL);
    CHECK_EQ(send_msg(&n, pair[0], &msg), XEV_EINVAL); /* nothing, on a stream */
    msg = message(in, (size_t)INT32_MAX + 1);
    CHECK_EQ(recv_msg(&n, pair[0], &msg), XEV_EINVAL);
    CHECK_EQ(send_msg(&n, pair[0], &msg), XEV_EINVAL);
    msg = message(in, 1);
    msg.fds = bad;
    msg.fds_len = 1;
    CHECK_EQ(send_msg(&n, pair[0], &msg), XEV_EBADF);
    msg.fds_max = XEV_UNIX_FDS_MAX + 1;
    CHECK_EQ(recv_msg(&n, pair[0], &msg), XEV_EINVAL);
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    msg = message(in, 1);
    CHECK_EQ(recv_msg(&n, xev_unix_from_fd(fd), &msg), XEV_ENOTSOCK);
    CHECK_EQ(send_msg(&n, xev_unix_from_fd(fd), &msg), XEV_ENOTSOCK);
    CHECK_EQ(recv_msg(&n, xev_unix_from_fd(-1), &msg), XEV_EBADF);
    CHECK_EQ(close(fd), 0);
    close_fd(&n, pair[0].fd);
    close_fd(&n, pair[1].fd);
    net_close(&n);
}

static void receive_into_nothing(void *net) {
    struct op op;
    do_recv_msg(&op, net, xev_unix_from_fd(0), NULL);
}

static void send_missing_descriptors(void *net) {
    struct op op;
    xev_unix_msg msg = message("x", 1);
    msg.fds_len = 1;
    do_send_msg(&op, net, xev_unix_from_fd(0), &msg);
}

static void connect_to_nothing(void *net) {
    struct op op;
    do_connect(&op, net, xev_unix_from_fd(0), NULL);
}

TEST(null_pointers_are_misuse) {
    struct net n;
    net_open(&n, NULL);
    check_misuse(receive_into_nothing, &n, "xev_unix_recv_msg");
    check_misuse(send_missing_descriptors, &n, "xev_unix_send_msg");
    check_misuse(connect_to_nothing, &n, "xev_unix_connect");
    net_close(&n);
}

TEST(messages_are_cancelled_closed_and_timed_out) {
    struct net n;
    struct op op, closing;
    char in[16];
    for (int how = 0; how < 6; how++) {
        xev_unix pair[2];
        net_open(&n, NULL);
        CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
        bool sending = how % 2 == 1;
        xev_unix_msg msg = message(in, sizeof in);
        if (sending) {
            (void)fill(pair[0].fd);
            do_send_msg(&op, &n, pair[0], &msg);
        } else {
            do_recv_msg(&op, &n, pair[0], &msg);
        }
        settle(&n);
        CHECK_EQ(op.calls, 0);
        if (how < 2) {
            cancel_op(&op, 0);
            CHECK_EQ(op.result, XEV_ECANCELED);
        } else if (how < 4) {
            xev_completion_set_timeout(&n.loop, &op.c, 10);
            run_op(&op);
            CHECK_EQ(op.result, XEV_ETIMEDOUT);
        }
        xev_unix_close(pair[0], &n.loop, &op_new(&closing, &n)->c, &closing, op_called);
        run_op(&closing);
        CHECK_EQ(closing.result, 0);
        CHECK_EQ(op.calls, 1);
        CHECK(how < 4 || op.result == XEV_ECANCELED);
        close_fd(&n, pair[1].fd);
        net_close(&n);
    }
}
