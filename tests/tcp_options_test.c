/* TCP sockets: options, addresses, binding. */
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include "tests/tcp_scene.h"

static int option(int fd, int level, int name) {
    int value = -1;
    socklen_t len = sizeof value;
    CHECK_EQ(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

TEST(options_are_set_on_the_socket) {
    int fd[2];
    tcp_pair(fd);
    xev_tcp tcp = xev_tcp_from_fd(fd[0]);
    for (int on = 1; on >= 0; on--) {
        CHECK_EQ(xev_tcp_set_nodelay(tcp, on != 0), 0);
        CHECK_EQ(option(fd[0], IPPROTO_TCP, TCP_NODELAY), on);
        CHECK_EQ(xev_tcp_set_keepalive(tcp, on ? 30000 : 0), 0);
        CHECK_EQ(option(fd[0], SOL_SOCKET, SO_KEEPALIVE), on);
        struct linger l;
        socklen_t len = sizeof l;
        CHECK_EQ(xev_tcp_set_reset_on_close(tcp, on != 0), 0);
        CHECK_EQ(getsockopt(fd[0], SOL_SOCKET, SO_LINGER, &l, &len), 0);
        CHECK_EQ(l.l_onoff, on);
        CHECK(!on || l.l_linger == 0);
        CHECK_EQ(xev_tcp_set_linger(tcp, on ? 7000 : 0), 0);
        CHECK_EQ(getsockopt(fd[0], SOL_SOCKET, SO_LINGER, &l, &len), 0);
        CHECK_EQ(l.l_onoff, on);
        CHECK(!on || l.l_linger == 7);
    }
    CHECK_EQ(xev_tcp_set_linger(tcp, INT32_MAX * UINT64_C(1000) + 1), XEV_EINVAL);
    CHECK_EQ(xev_tcp_set_linger(tcp, INT32_MAX * UINT64_C(1000)), 0);
    CHECK_EQ(xev_tcp_set_linger(tcp, 0), 0);
    CHECK_EQ(xev_tcp_set_keepalive(tcp, 32767001), XEV_EINVAL);
    CHECK_EQ(option(fd[0], IPPROTO_TCP, TCP_KEEPIDLE), 30);
    CHECK_EQ(xev_tcp_set_keepalive(tcp, 32767000), 0);
    CHECK_EQ(option(fd[0], IPPROTO_TCP, TCP_KEEPIDLE), 32767);
    CHECK_EQ(xev_tcp_set_keepalive(tcp, 29001), 0);
    CHECK_EQ(xev_tcp_set_buffers(tcp, (uint32_t)INT32_MAX + 1, 0), XEV_EINVAL);
    CHECK_EQ(xev_tcp_set_buffers(tcp, 0, (uint32_t)INT32_MAX + 1), XEV_EINVAL);
    CHECK_EQ(option(fd[0], IPPROTO_TCP, TCP_KEEPIDLE), 30);
    CHECK_EQ(option(fd[0], IPPROTO_TCP, TCP_KEEPINTVL), 30);
    int before = option(fd[0], SOL_SOCKET, SO_SNDBUF);
    CHECK_EQ(xev_tcp_set_buffers(tcp, 0, 65536), 0);
    CHECK_GE(option(fd[0], SOL_SOCKET, SO_RCVBUF), 65536);
    CHECK_EQ(option(fd[0], SOL_SOCKET, SO_SNDBUF), before);
    CHECK_EQ(xev_tcp_set_buffers(tcp, 65536, 0), 0);
    CHECK_GE(option(fd[0], SOL_SOCKET, SO_SNDBUF), 65536);
    CHECK_EQ(xev_tcp_unread_bytes(tcp), 0);
    plain_send(fd[1], "12345", 5);
    wait_readable(fd[0]);
    CHECK_EQ(xev_tcp_unread_bytes(tcp), 5);
    CHECK_EQ(xev_tcp_close_now(tcp), 0);
    CHECK_EQ(xev_tcp_close_now(tcp), XEV_EBADF);
    CHECK_EQ(close(fd[1]), 0);
}

static void set_all(xev_tcp tcp, const int expected[5]) {
    CHECK_EQ(xev_tcp_set_nodelay(tcp, true), expected[0]);
    CHECK_EQ(xev_tcp_set_keepalive(tcp, 1000), expected[1]);
    CHECK_EQ(xev_tcp_set_buffers(tcp, 4096, 4096), expected[2]);
    CHECK_EQ(xev_tcp_set_reset_on_close(tcp, false), expected[3]);
    CHECK_EQ(xev_tcp_set_linger(tcp, 1000), expected[4]);
}

TEST(options_of_what_is_not_a_tcp_socket_report_errors) {
    static const int not_open[] = {XEV_EBADF, XEV_EBADF, XEV_EBADF, XEV_EBADF, XEV_EBADF};
    static const int no_socket[] = {XEV_ENOTSOCK, XEV_ENOTSOCK, XEV_ENOTSOCK, XEV_ENOTSOCK,
                                    XEV_ENOTSOCK};
    static const int no_tcp[] = {XEV_ENOTSUP, XEV_ENOTSUP, 0, 0, 0};
    int local[2];
    local_pair(local);
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    set_all(xev_tcp_from_fd(-1), not_open);
    set_all(xev_tcp_from_fd(1000), not_open);
    set_all(xev_tcp_from_fd(file), no_socket);
    set_all(xev_tcp_from_fd(local[0]), no_tcp);
    CHECK_EQ(xev_tcp_set_keepalive(xev_tcp_from_fd(local[0]), 0), 0);
    CHECK_EQ(close(file), 0);
    CHECK_EQ(close(local[0]), 0);
    CHECK_EQ(close(local[1]), 0);
}

TEST(reset_on_close_resets) {
    struct net n;
    struct op received;
    int fd[2];
    char buf[4];
    net_open(&n, NULL);
    tcp_pair(fd);
    do_recv(&received, &n, fd[1], buf, 4);
    settle(&n);
    CHECK_EQ(xev_tcp_set_reset_on_close(xev_tcp_from_fd(fd[0]), true), 0);
    close_fd(&n, fd[0]);
    run_op(&received);
    CHECK_EQ(received.result, XEV_ECONNRESET);
    close_fd(&n, fd[1]);
    net_close(&n);
}

/* ---- lingering ---- */

static void do_close(struct op *op, struct net *n, int fd) {
    op_new(op, n);
    xev_tcp_close(xev_tcp_from_fd(fd), &n->loop, &op->c, op, op_called);
}

/* Unsent data that nobody takes: there is more room for it than the other end would ever keep. */
static void stuff(int fd[2]) {
    int listener = plain_listener(1), takes = 1 << 16, keeps = 1 << 19;
    CHECK_EQ(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &takes, sizeof takes), 0);
    fd[0] = plain_connect(listener);
    fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK_GE(fd[1], 0);
    CHECK_EQ(close(listener), 0);
    CHECK_EQ(setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &keeps, sizeof keeps), 0);
    (void)fill(fd[0]);
}

static xev_cb_action tick(struct op *op, int result) {
    if (result < 0) {
        return XEV_DISARM;
    }
    op->ends = 0; /* it starts over */
    return XEV_REARM;
}

static xev_cb_action file_closed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct op *op = userdata;
    (void)loop;
    (void)c;
    op->result = result;
    op->ends++;
    return XEV_DISARM;
}

/* The kernel would block in close for a second, on a non-blocking descriptor as well. Repeated
 * until the loop has gone on meanwhile: a machine that holds this thread up looks like such a
 * close. */
TEST(a_lingering_close_does_not_block_the_loop_and_then_resets) {
    for (int nonblocking = 0, went_on = 0; nonblocking < 2; nonblocking += went_on) {
        struct net n;
        struct op closing, ticking, received;
        static char sink[1 << 16];
        int fd[2];
        net_open(&n, NULL);
        stuff(fd);
        if (nonblocking) {
            CHECK_EQ(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
        }
        CHECK_EQ(xev_tcp_set_linger(xev_tcp_from_fd(fd[0]), 1000), 0);
        op_new(&ticking, &n);
        ticking.then = tick;
        uint64_t start = clock_ns();
        xev_timer_run(NULL, &n.loop, &ticking.c, 5, &ticking, op_called);
        do_close(&closing, &n, fd[0]);
        CHECK_EQ(closing.calls, 0);
        run_op(&closing);
        CHECK_GE(clock_ns() - start, 1000 * MS);
        CHECK_EQ(closing.result, XEV_ETIMEDOUT);
        CHECK(!is_open(fd[0]));
        went_on = ticking.calls > 5; /* of 200 */
        CHECK_LT(n.turns, 2000);
        cancel_op(&ticking, 0);
        do { /* what had been sent, and no proper end */
            do_recv(&received, &n, fd[1], sink, sizeof sink);
            run_op(&received);
        } while (received.result > 0);
        CHECK_EQ(received.result, XEV_ECONNRESET);
        close_fd(&n, fd[1]);
        net_close(&n);
    }
}

TEST(every_close_of_a_loop_lingers) {
    enum { WAYS = 4 };
    struct net n;
    struct op op[WAYS];
    xev_file_req req;
    xev_threadpool pool;
    int fd[WAYS][2];
    CHECK_EQ(xev_threadpool_init(&pool, NULL), 0);
    const xev_loop_options options = {.thread_pool = &pool};
    net_open(&n, &options);
    for (int i = 0; i < WAYS; i++) {
        stuff(fd[i]);
        CHECK_EQ(xev_tcp_set_linger(xev_tcp_from_fd(fd[i][0]), 1000), 0);
        op_new(&op[i], &n);
    }
    xev_tcp_close(xev_tcp_from_fd(fd[0][0]), &n.loop, &op[0].c, &op[0], op_called);
    xev_unix_close(xev_unix_from_fd(fd[1][0]), &n.loop, &op[1].c, &op[1], op_called);
    xev_fd_close(fd[2][0], &n.loop, &op[2].c, &op[2], op_called);
    xev_file_close(fd[3][0], &n.loop, &req, &op[3], file_closed);
    for (int i = 0; i < WAYS; i++) {
        if (op[i].ends == 0) {
            run_op(&op[i]);
        }
        CHECK_EQ(op[i].result, XEV_ETIMEDOUT);
        CHECK(!is_open(fd[i][0]));
        CHECK_EQ(close(fd[i][1]), 0);
    }
    net_close(&n);
    xev_threadpool_deinit(&pool);
}

TEST(a_lingering_close_reports_when_the_peer_has_all) {
    struct net n;
    struct op closing, received;
    static char sink[1 << 16];
    int fd[2];
    net_open(&n, NULL);
    stuff(fd);
    CHECK_EQ(xev_tcp_set_linger(xev_tcp_from_fd(fd[0]), 100000), 0);
    do_close(&closing, &n, fd[0]);
    (void)run_for(&n, 50);
    CHECK_EQ(closing.ends, 0);
    CHECK(is_open(fd[0]));
    /* No operation any more, and no second close. */
    do_recv(&received, &n, fd[0], sink, 1);
    run_op(&received);
    CHECK_EQ(received.result, XEV_ECANCELED);
    do_close(&received, &n, fd[0]);
    run_op(&received);
    CHECK_EQ(received.result, XEV_EBADF);
    CHECK_EQ(closing.ends, 0);
    do {
        do_recv(&received, &n, fd[1], sink, sizeof sink);
        run_op(&received);
    } while (received.result > 0);
    CHECK_EQ(received.result, XEV_EOF); /* need not wait for the close */
    if (closing.ends == 0) {
        run_op(&closing);
    }
    CHECK_EQ(closing.result, 0);
    CHECK(!is_open(fd[0]));
    close_fd(&n, fd[1]);
    net_close(&n);
}

static int tcp_state(int fd) {
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    CHECK_EQ(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return info.tcpi_state;
}

/* The kernel resets a connection that is closed with unread bytes, and drops what is unsent. */
TEST(a_lingering_close_drops_what_was_not_read_and_the_answer_arrives) {
    for (int stuffed = 0; stuffed < 2; stuffed++) {
        struct net n;
        struct op closing;
        static char sink[1 << 16];
        int fd[2];
        net_open(&n, NULL);
        if (stuffed) {
            stuff(fd);
        } else {
            tcp_pair(fd);
            plain_send(fd[0], "answer", 6);
        }
        plain_send(fd[1], "request", 7);
        CHECK_EQ(xev_tcp_set_linger(xev_tcp_from_fd(fd[0]), 100000), 0);
        do_close(&closing, &n, fd[0]);
        settle(&n);
        plain_send(fd[1], "more", 4); /* comes while it lingers, or to nobody */
        while (closing.ends == 0) {
            CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_NO_WAIT), 0);
            (void)!recv(fd[1], sink, sizeof sink, MSG_DONTWAIT);
        }
        CHECK_EQ(closing.result, 0);
        if (stuffed) {
            ssize_t rc;
            while ((rc = recv(fd[1], sink, sizeof sink, 0)) > 0) {
            }
            CHECK_EQ(rc, 0);
            CHECK_EQ(tcp_state(fd[1]), TCP_CLOSE_WAIT);
        }
        CHECK_EQ(close(fd[1]), 0);
        xev_loop_deinit(&n.loop);
    }
}

TEST(a_lingering_close_has_nothing_to_wait_for_where_all_is_acknowledged) {
    struct net n;
    struct op closing;
    char buf[4];
    int fd[2], local[2];
    net_open(&n, NULL);
    tcp_pair(fd);
    plain_send(fd[0], "sent", 4);
    plain_recv(fd[1], buf, 4);
    for (int left = 1; left > 0;) {
        CHECK_EQ(ioctl(fd[0], SIOCOUTQ, &left), 0);
    }
    CHECK_EQ(xev_tcp_set_linger(xev_tcp_from_fd(fd[0]), 100000), 0);
    do_close(&closing, &n, fd[0]);
    settle(&n);
    CHECK_EQ(closing.ends, 1);
    CHECK_EQ(closing.result, 0);
    CHECK_EQ(recv(fd[1], buf, 4, 0), 0);
    close_fd(&n, fd[1]);
    /* What is no TCP does not linger, and what does not connect has nothing to send. */
    local_pair(local);
    (void)fill(local[0]);
    xev_tcp fresh;
    CHECK_EQ(xev_tcp_init(&fresh, XEV_AF_INET), 0);
    int others[] = {local[0], local[1], plain_listener(1), fresh.fd};
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(xev_tcp_set_linger(xev_tcp_from_fd(others[i]), 100000), 0);
        do_close(&closing, &n, others[i]);
        settle(&n);
        CHECK_EQ(closing.ends, 1);
        CHECK_EQ(closing.result, 0);
    }
    net_close(&n);
}

TEST(a_lingering_close_reports_that_the_connection_broke) {
    struct net n;
    struct op closing;
    int fd[2];
    net_open(&n, NULL);
    stuff(fd);
    CHECK_EQ(xev_tcp_set_linger(xev_tcp_from_fd(fd[0]), 100000), 0);
    do_close(&closing, &n, fd[0]);
    (void)run_for(&n, 20);
    CHECK_EQ(closing.ends, 0);
    reset_close(fd[1]);
    run_op(&closing);
    /* What the kernel says of a reset depends on what was unread on either side. */
    CHECK(closing.result == XEV_ECONNRESET || closing.result == XEV_EPIPE);
    net_close(&n);
}

TEST(a_lingering_close_cannot_be_cancelled_and_ends_with_its_loop) {
    struct net n;
    struct op closing, cancel, received;
    char sink[1 << 12];
    int fd[2];
    net_open(&n, NULL);
    stuff(fd);
    CHECK_EQ(xev_tcp_set_linger(xev_tcp_from_fd(fd[0]), 100000), 0);
    do_recv(&received, &n, fd[0], sink, sizeof sink);
    do_close(&closing, &n, fd[0]);
    settle(&n);
    CHECK_EQ(received.result, XEV_ECANCELED); /* is not kept waiting */
    xev_cancel(&n.loop, &closing.c, &op_new(&cancel, &n)->c, &cancel, op_called);
    (void)run_for(&n, 30);
    CHECK_EQ(closing.ends, 0);
    xev_loop_deinit(&n.loop);
    CHECK_EQ(closing.ends, 1);
    CHECK_EQ(closing.result, XEV_ECANCELED);
    CHECK_EQ(cancel.result, XEV_ENOENT);
    CHECK_LT(closing.at, cancel.at);
    CHECK(!is_open(fd[0]));
    /* The system sends the rest. */
    ssize_t got;
    do {
        got = recv(fd[1], sink, sizeof sink, 0);
    } while (got > 0);
    CHECK_EQ(got, 0);
    CHECK_EQ(close(fd[1]), 0);
    CHECK_EQ(open_fds(), n.fds_before);
}

/* ---- addresses ---- */

TEST(an_address_of_ipv6_has_nothing_of_the_ipv4_it_is_not) {
    xev_addr a;
    CHECK_EQ(xev_addr_parse(&a, "1fe::2", 80), 0);
    struct sockaddr_in6 v6;
    memcpy(&v6, a.storage, sizeof v6);
    CHECK_EQ(v6.sin6_flowinfo, 0); /* in the place of an IPv4 address */
}

TEST(addresses_parse_and_format) {
    static const char *const good[][2] = {
        {"127.0.0.1", "127.0.0.1:80"},
        {"::1", "[::1]:80"},
        {"[::1]", "[::1]:80"},
        {"::", "[::]:80"},
        {"fe80::1%1", "[fe80::1%1]:80"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:80"},
        {"::ffff:1.2.3.4", "[::ffff:1.2.3.4]:80"},
    };
    static const char *const bad[] = {
        "",           "localhost",  "1.2.3",      "1.2.3.4.5",         "[::1",      "::1]",
        "[]",         "fe80::1%",   "::1::",      "1.2.3.4:80",        "[1.2.3.4]", "fe80::1%none",
        "fe80::1%-1", "fe80::1%+1", "fe80::1% 1", "fe80::1%4294967297"};
    xev_addr a;
    char text[XEV_ADDR_TEXT_BYTES];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        CHECK_EQ(xev_addr_parse(&a, good[i][0], 80), 0);
        CHECK_EQ(xev_addr_format(&a, text, sizeof text), 0);
        CHECK_STR_EQ(text, good[i][1]);
        CHECK_EQ(xev_addr_port(&a), 80);
        CHECK_EQ(xev_addr_format(&a, text, 4), XEV_EINVAL);
        CHECK_EQ(strlen(text), 3);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (xev_addr_parse(&a, bad[i], 80) != XEV_EINVAL) {
            CHECK_FAIL("parsed: %s", bad[i]);
        }
    }
    CHECK_EQ(xev_addr_parse(&a, "127.0.0.1", 65536), XEV_EINVAL);
    CHECK_EQ(xev_addr_parse(&a, "127.0.0.1", 65535), 0);
    CHECK_EQ(xev_addr_port(&a), 65535);
    a = (xev_addr){0};
    CHECK_EQ(xev_addr_family(&a), XEV_AF_UNSPEC);
    CHECK_EQ(xev_addr_format(&a, text, sizeof text), XEV_EINVAL);
}

TEST(bind_and_listen_report_errors) {
    xev_tcp a, b;
    xev_addr where, foreign;
    a = xev_listener("127.0.0.1", &where);
    CHECK_EQ(xev_tcp_init(&b, XEV_AF_INET), 0);
    CHECK_EQ(xev_tcp_bind(b, &where, false), XEV_EADDRINUSE);
    CHECK_EQ(xev_addr_parse(&foreign, "192.0.2.1", 0), 0);
    CHECK_EQ(xev_tcp_bind(b, &foreign, false), XEV_EADDRNOTAVAIL);
    CHECK_EQ(xev_tcp_listen(b, 0), XEV_EINVAL);
    CHECK_EQ(xev_tcp_close_now(a), 0);
    CHECK_EQ(xev_tcp_close_now(b), 0);
    CHECK_EQ(xev_tcp_init(&b, XEV_AF_UNSPEC), XEV_EAFNOSUPPORT);
    CHECK_EQ(b.fd, XEV_INVALID_FD);
    struct hoard hoard;
    limit_fds();
    exhaust_fds(&hoard);
    CHECK_EQ(xev_tcp_init(&b, XEV_AF_INET), XEV_EMFILE);
    CHECK_EQ(b.fd, XEV_INVALID_FD);
    restore_fds(&hoard);
}

TEST(reuse_port_listeners_share_an_address) {
    xev_addr any = loopback("127.0.0.1"), where;
    xev_tcp a, b;
    CHECK_EQ(xev_tcp_init(&a, XEV_AF_INET), 0);
    CHECK_EQ(xev_tcp_bind(a, &any, true), 0);
    CHECK_EQ(xev_tcp_listen(a, 4), 0);
    CHECK_EQ(xev_tcp_local_addr(a, &where), 0);
    CHECK_EQ(xev_tcp_init(&b, XEV_AF_INET), 0);
    CHECK_EQ(xev_tcp_bind(b, &where, true), 0);
    CHECK_EQ(xev_tcp_listen(b, 4), 0);
    CHECK_EQ(xev_tcp_close_now(a), 0);
    CHECK_EQ(xev_tcp_close_now(b), 0);
}

TEST(an_ipv6_address_takes_ipv6_only) {
    int rc = XEV_EADDRINUSE;
    /* The same port is free for IPv4, unless just then some other program's connection has it. */
    for (int attempt = 0; rc == XEV_EADDRINUSE && attempt < 100; attempt++) {
        xev_addr any = loopback("::"), where;
        xev_tcp a, b;
        CHECK_EQ(xev_tcp_init(&a, XEV_AF_INET6), 0);
        CHECK_EQ(xev_tcp_bind(a, &any, false), 0);
        CHECK_EQ(xev_tcp_listen(a, 4), 0);
        CHECK_EQ(xev_tcp_local_addr(a, &where), 0);
        CHECK_EQ(xev_addr_parse(&any, "0.0.0.0", xev_addr_port(&where)), 0);
        CHECK_EQ(xev_tcp_init(&b, XEV_AF_INET), 0);
        rc = xev_tcp_bind(b, &any, false);
        CHECK_EQ(xev_tcp_close_now(a), 0);
        CHECK_EQ(xev_tcp_close_now(b), 0);
    }
    CHECK_EQ(rc, 0);
}

static void check_text(const char *text, enum xev_family family, const char *formatted) {
    xev_addr addr;
    char out[XEV_ADDR_TEXT_BYTES];
    CHECK_EQ(xev_addr_from_text(&addr, text), 0);
    CHECK_EQ(xev_addr_family(&addr), family);
    CHECK_EQ(xev_addr_format(&addr, out, sizeof out), 0);
    CHECK_STR_EQ(out, formatted);
}

TEST(addresses_are_read_from_text_with_their_ports) {
    static const char *const wrong[] = {
        "",
        "80",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "1.2.3:1",
        "localhost:1",
        "::1:80",
        "[::1]",
        "127.0.0.1:1 ",
        "127.0.0.1: 1",
        "unix:",
        "127.0.0.1:x",
        "[::1]:+1",
        "[1.2.3.4:5",
        "127.0.0.1:99999999999999999999",
    };
    char path[140] = "unix:/";
    xev_addr addr;
    check_text("127.0.0.1:80", XEV_AF_INET, "127.0.0.1:80");
    check_text("0.0.0.0:0", XEV_AF_INET, "0.0.0.0:0");
    check_text("[::1]:65535", XEV_AF_INET6, "[::1]:65535");
    check_text("unix:/run/a.sock", XEV_AF_UNIX, "/run/a.sock");
    check_text("unix:@name", XEV_AF_UNIX, "@name");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (xev_addr_from_text(&addr, wrong[i]) != XEV_EINVAL) {
            CHECK_FAIL("'%s' is taken", wrong[i]);
        }
    }
    memset(path + 6, 'a', sizeof path - 7);
    CHECK_EQ(xev_addr_from_text(&addr, path), XEV_ENAMETOOLONG);
}

TEST(addresses_are_made_of_bytes) {
    xev_addr addr, back;
    unsigned char bytes[16];
    CHECK_EQ(xev_addr_from_text(&addr, "1.2.3.4:80"), 0);
    CHECK_EQ(xev_addr_bytes(&addr, bytes), 4);
    CHECK_MEM_EQ(bytes, "\1\2\3\4", 4);
    CHECK_EQ(xev_addr_from_bytes(&back, bytes, 4, 80), 0);
    CHECK_MEM_EQ(&back, &addr, sizeof addr);
    CHECK_EQ(xev_addr_from_text(&addr, "[fe80::1]:80"), 0);
    CHECK_EQ(xev_addr_bytes(&addr, bytes), 16);
    CHECK_EQ(xev_addr_from_bytes(&back, bytes, 16, 80), 0);
    CHECK_MEM_EQ(&back, &addr, sizeof addr);
    CHECK_EQ(xev_addr_from_text(&addr, "unix:/a"), 0);
    CHECK_EQ(xev_addr_bytes(&addr, bytes), 0);
}
