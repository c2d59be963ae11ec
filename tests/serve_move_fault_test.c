/* Every call of the C library that a connection makes while it moves fails in turn, once: it
 * arrives or ends, once, and another one goes on. Linked with --wrap for the calls. */
#include <sys/epoll.h>
#include <sys/uio.h>

#include "tests/serve_scene.h"
#include "tests/system.h"
#include "tests/wrap.h"

typedef struct sockaddr sa;

WRAP(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev))
WRAP(int, getsockopt, (int fd, int l, int o, void *v, socklen_t *n), (fd, l, o, v, n))
WRAP(ssize_t, recv, (int fd, void *buf, size_t n, int f), (fd, buf, n, f))
WRAP(ssize_t, send, (int fd, const void *buf, size_t n, int f), (fd, buf, n, f))

enum { SHARDS = 2, BIG = 300000, MOVES = 4 };
static char big[BIG];
static xev_service *service;
static atomic_int opened, ended, moved;

/* "m": much is written, and it moves meanwhile. */
static ptrdiff_t move_on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    for (size_t i = 0; i < len_bytes; i++) {
        (void)xev_conn_write(conn, "<", 1);
        if (((const char *)data)[i] == 'm') {
            (void)xev_conn_write(conn, big, BIG);
            int rc = xev_serve_move(conn, 1 - xev_shard_id(xev_shard_current()));
            CHECK(rc == 0 || rc == XEV_EPIPE); /* the write has failed */
        }
    }
    return (ptrdiff_t)len_bytes;
}

static void count_opened(xev_conn *conn) {
    (void)conn;
    opened++;
}

static void count_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    (void)conn;
    (void)reason;
    (void)code;
    ended++;
}

static void count_moved(xev_conn *conn) {
    (void)conn;
    moved++;
}

static const xev_conn_handlers movers = {
    .opened = count_opened, .data = move_on_data, .closed = count_closed, .moved = count_moved};

/* The clients' own calls do not fail. False: the connection has ended. */
static bool ask_and_read(int fd, const char *what, size_t len) {
    static char to[65536];
    if (__real_send(fd, what, 1, MSG_NOSIGNAL) != 1) {
        return false;
    }
    while (len > 0) {
        ssize_t n = __real_recv(fd, to, len < sizeof to ? len : sizeof to, 0);
        if (n <= 0) {
            return false;
        }
        len -= (size_t)n;
    }
    return true;
}

static void clients(void) {
    int other = connect_to(service), fd = connect_to(service);
    CHECK(ask_and_read(other, "?", 1) && ask_and_read(fd, "?", 1));
    inject_arm(true);
    bool lives = true;
    for (int i = 0; i < MOVES && lives; i++) {
        lives = ask_and_read(fd, "m", BIG + 1);
    }
    inject_arm(false);
    lives = lives && ask_and_read(fd, "?", 1);
    CHECK(lives || atomic_load(&inject.hits) > 0);
    CHECK(ask_and_read(other, "?", 1));
    CHECK_EQ(close(fd) + close(other), 0);
    while (ended < 2) {
        sched_yield();
    }
}

static const struct {
    const char *call;
    int codes[6]; /* 0: no more */
} rows[] = {
    {"epoll_ctl", {ENOMEM, ENOSPC}},
    {"getsockopt", {ENOBUFS}},
    {"recv", {ECONNRESET, ENOMEM, EINTR}},
    {"send", {EPIPE, ECONNRESET, ENOBUFS, EINTR}},
};

TEST_TIMEOUT(a_call_that_fails_during_a_move_ends_its_connection_once, 300) {
    int fds = test_open_descriptors(), failures = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int k = 0; k < 6 && rows[i].codes[k] != 0; k++) {
            bool failed = true;
            for (int at = 1; failed && at < 60; at++) {
                target = rows[i].call;
                error = rows[i].codes[k];
                opened = ended = moved = 0;
                serve = NULL;
                inject_plan(at, INJECT_ONCE);
                inject_arm(false);
                xev_service_options o = service_options("m", "127.0.0.1:0");
                o.policy = XEV_SERVE_SINGLE;
                o.conns.handlers = &movers;
                service = add_service(&o);
                run_with_clients(SHARDS, clients);
                failed = inject.hits > 0;
                failures += failed;
                CHECK_EQ(opened, 2);
                CHECK_EQ(ended, 2);
                CHECK_EQ(count_of(service).connections, 0);
                for (uint32_t id = 0; id < SHARDS; id++) {
                    CHECK_EQ(xev_serve_live(serve, id), 0);
                }
                CHECK_GE(moved, failed ? 0 : MOVES);
                xev_serve_free(serve);
                CHECK_EQ(test_open_descriptors(), fds);
            }
            if (getenv("XEV_TEST_TRACE") != NULL) {
                fprintf(stderr, "%s %d: %d\n", target, (int)error, failures);
            }
        }
    }
    CHECK_GT(failures, 10);
}
