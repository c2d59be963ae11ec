/* Unix sockets: names and streams, as unix.h promises them; unix_msg_test.c is about messages. */
#include <sys/stat.h>

#include "tests/unix_scene.h"

static void do_accept(struct op *op, struct net *n, xev_unix s) {
    op_new(op, n);
    xev_unix_accept(s, &n->loop, &op->c, op, op_called);
}

/* ---- names ---- */

/* A directory of this case's own. */
static const char *directory(void) {
    static char dir[80];
    const char *tmp = getenv("TEST_TMPDIR");
    /* Bazel's is too long for a name of 107 bytes: reached by a short one. */
    snprintf(dir, sizeof dir, "/tmp/xev_unix.XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    if (tmp != NULL) {
        char link[96], real[4096];
        snprintf(real, sizeof real, "%s/unix.%d", tmp, (int)getpid());
        CHECK(mkdir(real, 0700) == 0 || errno == EEXIST);
        snprintf(link, sizeof link, "%s/d", dir);
        CHECK_EQ(symlink(real, link), 0);
        snprintf(dir + strlen(dir), sizeof dir - strlen(dir), "/d");
    }
    return dir;
}

static void directory_done(const char *dir) {
    char text[96];
    snprintf(text, sizeof text, "%s", dir);
    if (strcmp(text + strlen(text) - 2, "/d") == 0) {
        char real[4096];
        ssize_t n = readlink(text, real, sizeof real - 1);
        CHECK_GT(n, 0);
        real[n] = '\0';
        CHECK_EQ(rmdir(real), 0);
        CHECK_EQ(unlink(text), 0);
        text[strlen(text) - 2] = '\0';
    }
    CHECK_EQ(rmdir(text), 0);
}

static xev_addr path_in(const char *dir, const char *name) {
    char path[128];
    xev_addr a;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_EQ(xev_addr_unix(&a, path, strlen(path)), 0);
    return a;
}

TEST(addresses_of_paths_abstract_names_and_none) {
    xev_addr a;
    size_t len;
    char name[200], text[XEV_ADDR_TEXT_BYTES], little[8];
    CHECK_EQ(xev_addr_unix(&a, "/run/a.sock", 11), 0);
    CHECK_EQ(xev_addr_family(&a), XEV_AF_UNIX);
    CHECK_EQ(xev_addr_port(&a), 0);
    CHECK_MEM_EQ(xev_addr_unix_name(&a, &len), "/run/a.sock", 11);
    CHECK_EQ(len, 11);
    CHECK_EQ(xev_addr_format(&a, text, sizeof text), 0);
    CHECK_STR_EQ(text, "/run/a.sock");
    CHECK_EQ(xev_addr_format(&a, little, sizeof little), XEV_EINVAL);

    CHECK_EQ(xev_addr_unix(&a, "\0a\0b", 4), 0);
    CHECK_MEM_EQ(xev_addr_unix_name(&a, &len), "\0a\0b", 4);
    CHECK_EQ(len, 4);
    CHECK_EQ(xev_addr_format(&a, text, sizeof text), 0);
    CHECK_STR_EQ(text, "@a@b");

    CHECK_EQ(xev_addr_unix(&a, NULL, 0), 0);
    CHECK_EQ(xev_addr_family(&a), XEV_AF_UNIX);
    (void)xev_addr_unix_name(&a, &len);
    CHECK_EQ(len, 0);
    CHECK_EQ(xev_addr_format(&a, text, sizeof text), 0);
    CHECK_STR_EQ(text, "");

    memset(name, 'n', sizeof name);
    CHECK_EQ(xev_addr_unix(&a, name, 107), 0);
    (void)xev_addr_unix_name(&a, &len);
    CHECK_EQ(len, 107);
    CHECK_EQ(xev_addr_format(&a, text, sizeof text), 0);
    CHECK_EQ(strlen(text), 107);
    CHECK_EQ(xev_addr_unix(&a, name, 108), XEV_ENAMETOOLONG);
    name[0] = '\0';
    CHECK_EQ(xev_addr_unix(&a, name, 108), 0);
    (void)xev_addr_unix_name(&a, &len);
    CHECK_EQ(len, 108);
    CHECK_EQ(xev_addr_unix(&a, name, 109), XEV_ENAMETOOLONG);
    CHECK_EQ(xev_addr_unix(&a, "a\0b", 3), XEV_EINVAL);
    CHECK_EQ(xev_addr_unix(&a, NULL, 1), XEV_EINVAL);
    CHECK_EQ(xev_addr_unix(NULL, "a", 1), XEV_EINVAL);
    CHECK_EQ(xev_addr_parse(&a, "127.0.0.1", 80), 0);
    (void)xev_addr_unix_name(&a, &len);
    CHECK_EQ(len, 0);
}

static xev_unix listener_at(const xev_addr *addr, int backlog) {
    xev_unix s;
    CHECK_EQ(xev_unix_init(&s, XEV_UNIX_STREAM), 0);
    CHECK_EQ(xev_unix_bind(s, addr, XEV_UNIX_KEEP), 0);
    CHECK_EQ(xev_unix_listen(s, backlog), 0);
    return s;
}

/* ---- streams ---- */

static void whole_life(const xev_addr *where) {
    struct net n;
    struct op accepted, connected, sent, received, shut;
    char buf[16];
    xev_addr local, peer;
    net_open(&n, NULL);
    xev_unix listener = listener_at(where, 4), client;
    CHECK_EQ(xev_unix_init(&client, XEV_UNIX_STREAM), 0);
    CHECK_EQ(xev_unix_local_addr(listener, &local), 0);
    check_same(&local, where);

    do_accept(&accepted, &n, listener);
    do_connect(&connected, &n, client, where);
    CHECK_EQ(accepted.calls + connected.calls, 0);
    run_op(&accepted);
    finish_op(&connected);
    CHECK_EQ(connected.result, 0);
    CHECK_GE(accepted.result, 0);
    xev_unix server = xev_unix_from_fd(accepted.result);
    CHECK_EQ(fcntl(server.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(fcntl(client.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(xev_unix_peer_addr(client, &peer), 0);
    check_same(&peer, where);
    size_t len;
    CHECK_EQ(xev_unix_peer_addr(server, &peer), 0);
    (void)xev_addr_unix_name(&peer, &len);
    CHECK_EQ(len, 0);

    xev_unix ends[2] = {client, server};
    for (int i = 0; i < 2; i++) {
        do_recv(&received, &n, ends[!i], buf, sizeof buf);
        do_send(&sent, &n, ends[i], "hello", 5);
        run_op(&received);
        CHECK_EQ(received.result, 5);
        CHECK_MEM_EQ(buf, "hello", 5);
        finish_op(&sent);
        CHECK_EQ(sent.result, 5);
    }
    op_new(&shut, &n);
    xev_unix_shutdown(client, &n.loop, &shut.c, &shut, op_called);
    do_recv(&received, &n, server, buf, sizeof buf);
    run_op(&received);
    CHECK_EQ(received.result, XEV_EOF);
    finish_op(&shut);
    CHECK_EQ(shut.result, 0);
    do_send(&sent, &n, client, "x", 1);
    run_op(&sent);
    CHECK_EQ(sent.result, XEV_EPIPE);
    close_fd(&n, client.fd);
    close_fd(&n, server.fd);
    struct op closing;
    xev_unix_close(listener, &n.loop, &op_new(&closing, &n)->c, &closing, op_called);
    run_op(&closing);
    CHECK_EQ(closing.result, 0);
    net_close(&n);
}

TEST(stream_by_path) {
    const char *dir = directory();
    xev_addr where = path_in(dir, "s");
    whole_life(&where);
    CHECK_EQ(xev_unix_unlink(&where), 0);
    CHECK_EQ(xev_unix_unlink(&where), XEV_ENOENT);
    directory_done(dir);
}

TEST(stream_by_abstract_name) {
    xev_addr where = abstract("s");
    whole_life(&where);
    whole_life(&where); /* the name went with its socket */
    CHECK_EQ(xev_unix_unlink(&where), 0);
}

TEST(binding_to_no_name_chooses_one) {
    xev_addr none, where;
    xev_unix s;
    size_t len;
    CHECK_EQ(xev_addr_unix(&none, NULL, 0), 0);
    CHECK_EQ(xev_unix_init(&s, XEV_UNIX_STREAM), 0);
    CHECK_EQ(xev_unix_bind(s, &none, XEV_UNIX_KEEP), 0);
    CHECK_EQ(xev_unix_local_addr(s, &where), 0);
    const char *name = xev_addr_unix_name(&where, &len);
    CHECK_GT(len, 1);
    CHECK_EQ(name[0], 0);
    CHECK_EQ(xev_unix_close_now(s), 0);
}

TEST(pair_is_connected_both_ways) {
    struct net n;
    struct op op;
    xev_unix pair[2];
    char buf[8];
    net_open(&n, NULL);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(fcntl(pair[i].fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        do_send(&op, &n, pair[i], "abc", 3);
        run_op(&op);
        CHECK_EQ(op.result, 3);
        op_new(&op, &n);
        xev_unix_recv_loan(pair[!i], &n.loop, &op.c, &op, op_called);
        run_op(&op);
        CHECK_EQ(op.result, 3);
    }
    do_recv(&op, &n, pair[0], buf, sizeof buf);
    close_fd(&n, pair[1].fd);
    finish_op(&op);
    CHECK_EQ(op.result, XEV_EOF);
    close_fd(&n, pair[0].fd);
    net_close(&n);
}

static xev_cb_action gather(struct op *op, int result) {
    char *text = op->user;
    if (result > 0) {
        strncat(text, xev_buf_data(&op->net->loop), (size_t)result);
    }
    return xev_completion_more(&op->c) ? XEV_REARM : XEV_DISARM;
}

TEST(recv_multi_goes_on_until_the_end_of_the_stream) {
    struct net n;
    struct op op;
    xev_unix pair[2];
    char text[32] = "";
    net_open(&n, NULL);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
    op_new(&op, &n);
    op.then = gather;
    op.user = text;
    xev_unix_recv_multi(pair[0], &n.loop, &op.c, &op, op_called);
    for (int i = 1; i <= 3; i++) {
        plain_send(pair[1].fd, "abc", (size_t)i);
        run_until(&n, &op.calls, i);
        CHECK_EQ(op.result, i);
        CHECK_EQ(op.ends, 0);
    }
    CHECK_STR_EQ(text, "aababc");
    CHECK_EQ(xev_unix_close_now(pair[1]), 0);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EOF);
    close_fd(&n, pair[0].fd);
    net_close(&n);
}

TEST(set_buffers_sets_those_that_are_named) {
    xev_unix pair[2];
    int before, after;
    socklen_t len = sizeof before;
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_DATAGRAM), 0);
    CHECK_EQ(getsockopt(pair[0].fd, SOL_SOCKET, SO_RCVBUF, &before, &len), 0);
    CHECK_EQ(xev_unix_set_buffers(pair[0], 32768, 0), 0);
    CHECK_EQ(getsockopt(pair[0].fd, SOL_SOCKET, SO_RCVBUF, &after, &len), 0);
    CHECK_EQ(after, before);
    CHECK_EQ(getsockopt(pair[0].fd, SOL_SOCKET, SO_SNDBUF, &after, &len), 0);
    CHECK(after >= 32768 && after <= 2 * 32768);
    CHECK_EQ(xev_unix_set_buffers(pair[0], 0, 16384), 0);
    CHECK_EQ(getsockopt(pair[0].fd, SOL_SOCKET, SO_RCVBUF, &after, &len), 0);
    CHECK(after >= 16384 && after <= 2 * 16384);
    CHECK_EQ(xev_unix_close_now(pair[0]), 0);
    CHECK_EQ(xev_unix_close_now(pair[1]), 0);
}

TEST(out_of_descriptors_reports_emfile) {
    struct hoard h;
    xev_unix s, pair[2];
    limit_fds();
    exhaust_fds(&h);
    CHECK_EQ(xev_unix_init(&s, XEV_UNIX_STREAM), XEV_EMFILE);
    CHECK_EQ(s.fd, XEV_INVALID_FD);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_DATAGRAM), XEV_EMFILE);
    CHECK_EQ(pair[0].fd, XEV_INVALID_FD);
    CHECK_EQ(pair[1].fd, XEV_INVALID_FD);
    restore_fds(&h);
}

TEST(accept_multi_and_accept_now) {
    struct net n;
    struct op accepted;
    int client[3];
    net_open(&n, NULL);
    xev_addr where = abstract("m");
    xev_unix listener = listener_at(&where, 8);
    CHECK_EQ(xev_unix_accept_now(listener), XEV_EAGAIN);
    op_new(&accepted, &n);
    xev_unix_accept_multi(listener, &n.loop, &accepted.c, &accepted, op_called);
    for (int i = 0; i < 3; i++) {
        client[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_EQ(connect(client[i], (struct sockaddr *)(void *)where.storage, where.len_bytes), 0);
    }
    run_until(&n, &accepted.calls, 3);
    CHECK_EQ(accepted.ends, 0);
    for (int i = 0; i < 3; i++) {
        close_fd(&n, accepted.results[i]);
        CHECK_EQ(close(client[i]), 0);
    }
    close_fd(&n, listener.fd);
    CHECK_EQ(accepted.result, XEV_ECANCELED);
    net_close(&n);
}

static void start_accept(struct op *op, struct net *n, xev_unix listener, bool multi) {
    op_new(op, n);
    if (multi) {
        xev_unix_accept_multi(listener, &n->loop, &op->c, op, op_called);
    } else {
        xev_unix_accept(listener, &n->loop, &op->c, op, op_called);
    }
}

/* Who waits is given out before. The system then says only that nobody is there now. */
static void accept_of_shut_down(int how, bool before, bool multi, bool nonblocking) {
    struct net n;
    struct op accepted;
    net_open(&n, NULL);
    xev_addr where = abstract("s");
    xev_unix listener = listener_at(&where, 8);
    if (nonblocking) {
        CHECK_EQ(xev_unix_accept_now(listener), XEV_EAGAIN);
        CHECK_EQ(fcntl(listener.fd, F_SETFL, O_NONBLOCK), 0);
    }
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(client, (struct sockaddr *)(void *)where.storage, where.len_bytes), 0);
    if (before) {
        CHECK_EQ(shutdown(listener.fd, how), 0);
    }
    start_accept(&accepted, &n, listener, multi);
    run_until(&n, &accepted.calls, 1);
    CHECK_GE(accepted.result, 0);
    close_fd(&n, accepted.result);
    if (!multi) {
        start_accept(&accepted, &n, listener, multi);
    }
    if (!before) {
        CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_NO_WAIT), 0);
        CHECK_EQ(shutdown(listener.fd, how), 0);
    }
    run_op(&accepted);
    CHECK_EQ(accepted.result, XEV_EINVAL);
    /* Again, at once. */
    start_accept(&accepted, &n, listener, multi);
    run_op(&accepted);
    CHECK_EQ(accepted.result, XEV_EINVAL);
    CHECK_EQ(close(client), 0);
    close_fd(&n, listener.fd);
    net_close(&n);
}

TEST(accepts_of_a_listener_that_is_shut_down_end) {
    for (int i = 0; i < 16; i++) {
        accept_of_shut_down((i & 1) != 0 ? SHUT_RD : SHUT_RDWR, (i & 2) != 0, (i & 4) != 0,
                            (i & 8) != 0);
    }
}

static int connect_result(struct net *n, const xev_addr *addr, enum xev_unix_type type) {
    struct op op;
    xev_unix s;
    CHECK_EQ(xev_unix_init(&s, type), 0);
    do_connect(&op, n, s, addr);
    run_op(&op);
    close_fd(n, s.fd);
    return op.result;
}

TEST(connect_reports_what_is_wrong) {
    struct net n;
    net_open(&n, NULL);
    const char *dir = directory();
    xev_addr where = path_in(dir, "s");
    CHECK_EQ(connect_result(&n, &where, XEV_UNIX_STREAM), XEV_ENOENT);
    xev_unix s = listener_at(&where, 1);
    CHECK_EQ(connect_result(&n, &where, XEV_UNIX_DATAGRAM), XEV_EPROTOTYPE);
    close_fd(&n, s.fd);
    CHECK_EQ(connect_result(&n, &where, XEV_UNIX_STREAM), XEV_ECONNREFUSED);
    CHECK_EQ(xev_unix_unlink(&where), 0);
    where = abstract("nobody");
    CHECK_EQ(connect_result(&n, &where, XEV_UNIX_STREAM), XEV_ECONNREFUSED);
    directory_done(dir);
    net_close(&n);
}

/* It is connected at once, and so is the other sent. */
TEST(connect_is_reported_before_what_was_sent_behind_it) {
    struct net n;
    struct op connected, sent;
    xev_unix client;
    net_open(&n, NULL);
    xev_addr where = abstract("pipelined");
    xev_unix s = listener_at(&where, 1);
    CHECK_EQ(xev_unix_init(&client, XEV_UNIX_STREAM), 0);
    do_connect(&connected, &n, client, &where);
    do_send(&sent, &n, client, "abc", 3);
    run_op(&sent);
    CHECK_EQ(connected.result, 0);
    CHECK_EQ(sent.result, 3);
    CHECK_LT(connected.at, sent.at);
    close_fd(&n, client.fd);
    close_fd(&n, s.fd);
    net_close(&n);
}

TEST(a_bind_without_a_descriptor_to_ask_who_is_there_says_so) {
    const char *dir = directory();
    xev_addr where = path_in(dir, "s");
    xev_unix stale, sock;
    struct rlimit few;
    CHECK_EQ(xev_unix_init(&stale, XEV_UNIX_STREAM), 0);
    CHECK_EQ(xev_unix_bind(stale, &where, XEV_UNIX_KEEP), 0);
    CHECK_EQ(xev_unix_close_now(stale), 0);
    CHECK_EQ(xev_unix_init(&sock, XEV_UNIX_STREAM), 0);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &few), 0);
    struct rlimit many = few;
    few.rlim_cur = 3; /* those above stay open */
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    CHECK_EQ(xev_unix_bind(sock, &where, XEV_UNIX_STALE), XEV_EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &many), 0);
    CHECK_EQ(xev_unix_bind(sock, &where, XEV_UNIX_STALE), 0);
    CHECK_EQ(xev_unix_close_now(sock), 0);
    CHECK_EQ(xev_unix_unlink(&where), 0);
}

TEST(bind_keeps_or_replaces_what_is_there) {
    const char *dir = directory();
    xev_addr where = path_in(dir, "s"), other;
    for (int type = 0; type < 2; type++) {
        xev_unix a, b;
        CHECK_EQ(xev_unix_init(&a, (enum xev_unix_type)type), 0);
        CHECK_EQ(xev_unix_init(&b, (enum xev_unix_type)type), 0);
        CHECK_EQ(xev_unix_bind(a, &where, XEV_UNIX_STALE), 0);
        if (type == XEV_UNIX_STREAM) {
            CHECK_EQ(xev_unix_listen(a, 1), 0);
        }
        CHECK_EQ(xev_unix_bind(b, &where, XEV_UNIX_KEEP), XEV_EADDRINUSE);
        CHECK_EQ(xev_unix_bind(b, &where, XEV_UNIX_STALE), XEV_EADDRINUSE); /* somebody is there */
        CHECK_EQ(xev_unix_close_now(a), 0);
        CHECK_EQ(xev_unix_bind(b, &where, XEV_UNIX_KEEP), XEV_EADDRINUSE);
        CHECK_EQ(xev_unix_bind(b, &where, XEV_UNIX_STALE), 0);
        CHECK_EQ(xev_unix_bind(b, &where, XEV_UNIX_STALE), XEV_EINVAL); /* has a name */
        CHECK_EQ(xev_unix_close_now(b), 0);
        CHECK_EQ(xev_unix_unlink(&where), 0);
    }
    /* A file is no socket. */
    size_t len;
    xev_unix s;
    char path[XEV_UNIX_NAME_MAX + 1] = "";
    memcpy(path, xev_addr_unix_name(&where, &len), XEV_UNIX_NAME_MAX);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(xev_unix_init(&s, XEV_UNIX_STREAM), 0);
    CHECK_EQ(xev_unix_bind(s, &where, XEV_UNIX_STALE), XEV_EADDRINUSE);
    CHECK_EQ(xev_unix_unlink(&where), XEV_ENOTSOCK);
    CHECK_EQ(unlink(path), 0);
    other = path_in(dir, "no/such");
    CHECK_EQ(xev_unix_bind(s, &other, XEV_UNIX_KEEP), XEV_ENOENT);
    CHECK_EQ(xev_addr_parse(&other, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_unix_bind(s, &other, XEV_UNIX_KEEP), XEV_EINVAL);
    CHECK_EQ(xev_unix_close_now(s), 0);
    directory_done(dir);
}

/* Connections nobody accepts, until the backlog takes no more. Returns their number. */
static int fill_backlog(const xev_addr *where, int fds[16]) {
    for (int i = 0; i < 16; i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const void *sa = where->storage;
        if (connect(fds[i], sa, where->len_bytes) != 0) {
            CHECK_EQ(errno, EAGAIN);
            CHECK_EQ(close(fds[i]), 0);
            return i;
        }
    }
    CHECK_FAIL("the backlog has no end");
}

TEST(connect_to_a_full_backlog_waits_until_there_is_room) {
    enum { CLIENTS = 5 };
    struct net n;
    struct op connected[CLIENTS], accepted;
    xev_unix client[CLIENTS];
    int fds[16];
    net_open(&n, NULL);
    xev_addr where = abstract("full");
    xev_unix listener = listener_at(&where, 1);
    int filled = fill_backlog(&where, fds);
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_EQ(xev_unix_init(&client[i], XEV_UNIX_STREAM), 0);
        do_connect(&connected[i], &n, client[i], &where);
    }
    CHECK_LT(run_for(&n, 50), 40); /* it does not spin */
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_EQ(connected[i].calls, 0);
    }
    op_new(&accepted, &n);
    xev_unix_accept_multi(listener, &n.loop, &accepted.c, &accepted, op_called);
    for (int i = 0; i < CLIENTS; i++) {
        finish_op(&connected[i]);
        CHECK_EQ(connected[i].result, 0);
    }
    run_until(&n, &accepted.calls, filled + CLIENTS);
    for (int i = 0; i < filled + CLIENTS; i++) {
        CHECK_GE(accepted.results[i], 0);
        close_fd(&n, accepted.results[i]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        close_fd(&n, client[i].fd);
    }
    for (int i = 0; i < filled; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
    close_fd(&n, listener.fd);
    net_close(&n);
}

TEST(connect_to_a_full_backlog_is_cancelled_timed_out_and_refused) {
    struct net n;
    struct op connected;
    xev_unix client;
    int fds[16];
    for (int how = 0; how < 5; how++) {
        net_open(&n, NULL);
        xev_addr where = abstract("full");
        xev_unix listener = listener_at(&where, 1);
        int filled = fill_backlog(&where, fds);
        CHECK_EQ(xev_unix_init(&client, XEV_UNIX_STREAM), 0);
        do_connect(&connected, &n, client, &where);
        if (how % 2 == 1) {
            settle(&n);
        }
        int expected = XEV_ECANCELED;
        if (how < 2) {
            cancel_op(&connected, 0);
        } else if (how < 4) {
            uint64_t start = clock_ns();
            xev_completion_set_timeout(&n.loop, &connected.c, 30);
            run_op(&connected);
            CHECK_GE(clock_ns() - start, 30 * MS);
            expected = XEV_ETIMEDOUT;
        } else {
            CHECK_EQ(close(listener.fd), 0);
            run_op(&connected);
            expected = XEV_ECONNREFUSED;
        }
        CHECK_EQ(connected.result, expected);
        close_fd(&n, client.fd);
        CHECK_EQ(connected.calls, 1);
        for (int i = 0; i < filled; i++) {
            CHECK_EQ(close(fds[i]), 0);
        }
        if (how < 4) {
            CHECK_EQ(close(listener.fd), 0);
        }
        net_close(&n);
    }
    /* Closed, and torn down with the loop. */
    for (int teardown = 0; teardown < 2; teardown++) {
        net_open(&n, NULL);
        xev_addr where = abstract("full");
        xev_unix listener = listener_at(&where, 1);
        int filled = fill_backlog(&where, fds);
        CHECK_EQ(xev_unix_init(&client, XEV_UNIX_STREAM), 0);
        do_connect(&connected, &n, client, &where);
        settle(&n);
        if (!teardown) {
            close_fd(&n, client.fd);
            CHECK_EQ(connected.result, XEV_ECANCELED);
        }
        for (int i = 0; i < filled; i++) {
            CHECK_EQ(close(fds[i]), 0);
        }
        CHECK_EQ(close(listener.fd), 0);
        xev_loop_deinit(&n.loop);
        CHECK_EQ(connected.ends, 1);
        CHECK_EQ(connected.result, XEV_ECANCELED);
        if (teardown) {
            CHECK_EQ(close(client.fd), 0);
        }
        CHECK_EQ(open_fds(), n.fds_before);
    }
}

TEST(an_address_longer_than_a_unix_one_is_refused) {
    xev_addr where;
    CHECK_EQ(xev_addr_unix(&where, "/tmp/a", 6), 0);
    size_t name_at = (size_t)where.len_bytes - 7; /* after the path comes a zero */
    memset((char *)where.storage + name_at, 'a', sizeof where.storage - name_at);
    where.len_bytes = sizeof where.storage;
    CHECK_EQ(xev_unix_unlink(&where), XEV_EINVAL);
    xev_unix sock;
    CHECK_EQ(xev_unix_init(&sock, XEV_UNIX_STREAM), 0);
    CHECK_EQ(xev_unix_bind(sock, &where, XEV_UNIX_KEEP), XEV_EINVAL);
    CHECK_EQ(xev_unix_bind(sock, &where, XEV_UNIX_STALE), XEV_EINVAL);
    CHECK_EQ(xev_unix_close_now(sock), 0);
}

TEST(peer_credentials) {
    xev_unix pair[2], s;
    xev_unix_cred cred;
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
    CHECK_EQ(xev_unix_peer_cred(pair[0], &cred), 0);
    CHECK_EQ(cred.pid, getpid());
    CHECK_EQ(cred.uid, geteuid());
    CHECK_EQ(cred.gid, getegid());
    CHECK_EQ(xev_unix_init(&s, XEV_UNIX_STREAM), 0);
    CHECK_EQ(xev_unix_peer_cred(s, &cred), XEV_ENOTCONN);
    CHECK_EQ(xev_unix_close_now(s), 0);
    CHECK_EQ(xev_unix_peer_cred(s, &cred), XEV_EBADF);
    CHECK_EQ(xev_unix_close_now(pair[0]), 0);
    CHECK_EQ(xev_unix_close_now(pair[1]), 0);
}
