/* Every call of the C library that connections make fails in turn, once, with each code that it may
 * have: the first call in one run of a scene, the second in the next, and so on until the scene
 * makes no further call. Each connection ends once, nothing leaks or hangs, and a connection that
 * nobody has used meanwhile is as it was. Linked with --wrap for the calls. */
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "tests/conn_scene.h"
#include "tests/wrap.h"
#include "xev/upstream.h"

#if !defined(XEV_NO_IO_URING)
#include <liburing.h>
#endif

typedef struct sockaddr sa;

WRAP_DONE(close, (int fd), (fd))
WRAP_DONE(connect, (int fd, const sa *a, socklen_t n), (fd, a, n))
WRAP(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev))
WRAP(int, epoll_pwait2,
     (int ep, struct epoll_event *ev, int n, const struct timespec *ts, const sigset_t *set),
     (ep, ev, n, ts, set))
WRAP_OPEN_ENDED(fcntl, int)
WRAP(int, getpeername, (int fd, sa *a, socklen_t *n), (fd, a, n))
WRAP(int, getsockopt, (int fd, int l, int o, void *v, socklen_t *n), (fd, l, o, v, n))
WRAP_OPEN_ENDED(ioctl, unsigned long)
WRAP(int, poll, (struct pollfd * p, nfds_t n, int ms), (p, n, ms))
/* A wake descriptor's 8 bytes can be interrupted only. */
ssize_t __real_read(int fd, void *buf, size_t n);
ssize_t __wrap_read(int fd, void *buf, size_t n);
ssize_t __wrap_read(int fd, void *buf, size_t n) {
    return n != 8 && fails("read") ? -1 : __real_read(fd, buf, n);
}
WRAP(ssize_t, recv, (int fd, void *buf, size_t n, int f), (fd, buf, n, f))
WRAP(ssize_t, send, (int fd, const void *buf, size_t n, int f), (fd, buf, n, f))
WRAP(ssize_t, sendfile, (int to, int from, off_t *at, size_t n), (to, from, at, n))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *m, int f), (fd, m, f))
WRAP(int, setsockopt, (int fd, int l, int o, const void *v, socklen_t n), (fd, l, o, v, n))
WRAP(int, shutdown, (int fd, int how), (fd, how))
WRAP(int, socket, (int d, int t, int p), (d, t, p))
WRAP(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))

#if !defined(XEV_NO_IO_URING)

/* The request for a receive or a send that is to fail is one of no descriptor. */
static void spoil_requests(struct io_uring *ring) {
    const struct io_uring_sq *sq = &ring->sq;
    for (unsigned i = sq->sqe_head; i != sq->sqe_tail; i++) {
        struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];
        bool meant = sqe->opcode == IORING_OP_RECV || sqe->opcode == IORING_OP_SEND ||
                     sqe->opcode == IORING_OP_SENDMSG;
        if (meant && fails("request")) {
            sqe->fd = -1;
        }
    }
}

/* liburing's calls return the code. */
#undef WRAP
#define WRAP(type, call, parameters, arguments)                                                    \
    type __real_##call parameters;                                                                 \
    type __wrap_##call parameters;                                                                 \
    type __wrap_##call parameters {                                                                \
        spoil_requests(ring);                                                                      \
        return fails(#call) ? -errno : __real_##call arguments;                                    \
    }

WRAP(int, io_uring_submit, (struct io_uring * ring), (ring))
WRAP(int, io_uring_submit_and_get_events, (struct io_uring * ring), (ring))
WRAP(int, io_uring_submit_and_wait_timeout,
     (struct io_uring * ring, struct io_uring_cqe **cqe, unsigned n, struct __kernel_timespec *ts,
      sigset_t *mask),
     (ring, cqe, n, ts, mask))

#endif

/* ---- the scene ---- */

enum { BIG = 300000, CONNS = 9 };
static char big[BIG];

struct all {
    struct scene scene;
    xev_threadpool pool;
    xev_upstreams *group;
    int listener, file, sink;
    struct rec rec[CONNS];
    int peer[CONNS]; /* -1: none */
    int count, lent, released;
};
static struct all all;

static void on_release(void *userdata) {
    (void)userdata;
    all.released++;
}

/* A connection of the service that ends with everything else. */
static struct rec *next_rec(void) {
    struct rec *r = &all.rec[all.count++];
    CHECK_LE(all.count, CONNS);
    memset(r, 0, sizeof *r);
    r->scene = &all.scene;
    r->got = big; /* nobody looks at it */
    all.peer[all.count - 1] = -1;
    return r;
}

static struct rec *adopted(bool tcp, data_fn data) {
    int fd[2];
    struct rec *r = next_rec();
    bool armed = atomic_load(&inject.armed);
    inject_arm(false);
    if (tcp) {
        tcp_pair(fd);
    } else {
        local_pair(fd);
    }
    inject_arm(armed);
    rec_adopt(r, fd[0]);
    all.peer[all.count - 1] = fd[1];
    r->data = data;
    return r;
}

static ptrdiff_t echo(struct rec *r, const char *data, size_t len);

/* Two pipes, of which this side writes to one. */
static void adopt_pipes(void) {
    int in[2], out[2];
    struct rec *r = next_rec();
    bool armed = atomic_load(&inject.armed);
    inject_arm(false);
    CHECK_EQ(pipe2(in, O_CLOEXEC) + pipe2(out, O_CLOEXEC), 0);
    CHECK_EQ(write(in[1], "data", 4), 4);
    CHECK_EQ(close(in[1]), 0); /* so it ends by itself */
    all.sink = out[0];
    inject_arm(armed);
    int rc = xev_conn_adopt_pipes(all.scene.service, in[0], out[1], &r->conn);
    if (rc < 0) {
        CHECK_EQ(rc, -error);
        r->closeds = 1;
        inject_arm(false);
        CHECK_EQ(close(in[0]) + close(out[1]), 0);
        return;
    }
    *(struct rec **)xev_conn_user(r->conn) = r;
    r->handle = xev_conn_handle_of(r->conn);
    r->data = echo;
}

static ptrdiff_t echo(struct rec *r, const char *data, size_t len) {
    r->got_len = 0;
    (void)xev_conn_write(r->conn, data, len);
    return (ptrdiff_t)len;
}

static ptrdiff_t reply_big(struct rec *r, const char *data, size_t len) {
    static char vector[10];
    const xev_vec vec[2] = {{vector, 4}, {vector, 6}};
    (void)data;
    r->got_len = 0;
    (void)xev_conn_writev(r->conn, vec, 2);
    all.lent += xev_conn_write_lent(r->conn, big, BIG, NULL, on_release) == 0;
    return (ptrdiff_t)len;
}

static ptrdiff_t reply_file(struct rec *r, const char *data, size_t len) {
    (void)data;
    r->got_len = 0;
    (void)xev_conn_write(r->conn, data, len);
    all.lent += xev_conn_write_file(r->conn, all.file, 0, BIG, NULL, on_release) == 0;
    xev_conn_finish(r->conn);
    return (ptrdiff_t)len;
}

static void ask(struct rec *r) { (void)xev_conn_write(r->conn, "ask", 3); }

static ptrdiff_t on_up_data(xev_conn *conn, const void *data, size_t len) {
    struct rec *r = rec_of(conn);
    (void)data;
    r->closeds = 1; /* nobody is told */
    r->conn = NULL;
    xev_upstream_keep(conn);
    return (ptrdiff_t)len;
}

static const xev_conn_handlers upstream_handlers = {
    .opened = on_opened, .data = on_up_data, .ended = on_ended, .closed = on_closed};

static void connect_upstream(void) {
    struct rec *r = next_rec();
    int rc = xev_upstreams_connect(all.group, &upstream_handlers, &r->conn);
    if (rc < 0) {
        r->closeds = 1;
        return;
    }
    *(struct rec **)xev_conn_user(r->conn) = r;
    r->handle = xev_conn_handle_of(r->conn);
    r->on_opened = ask;
}

static void turns(int n) {
    for (int i = 0; i < n; i++) {
        int rc = xev_loop_run(&all.scene.net.loop, XEV_RUN_NO_WAIT);
        CHECK(rc == 0 || rc == -error);
    }
}

/* The upstream answers whoever has asked. */
static int serve_upstream(int fd) {
    char buf[16];
    bool armed = atomic_load(&inject.armed);
    inject_arm(false);
    struct pollfd p = {.fd = fd >= 0 ? fd : all.listener, .events = POLLIN};
    if (fd < 0 && poll(&p, 1, 0) == 1) {
        fd = accept4(all.listener, NULL, NULL, SOCK_CLOEXEC);
        CHECK_GE(fd, 0);
    }
    if (fd >= 0 && recv(fd, buf, sizeof buf, MSG_DONTWAIT) > 0) {
        (void)send(fd, "reply", 5, MSG_NOSIGNAL);
    }
    inject_arm(armed);
    return fd;
}

static void to_peers(const void *data, size_t len) {
    bool armed = atomic_load(&inject.armed);
    inject_arm(false);
    for (int i = 1; i < all.count; i++) {
        if (all.peer[i] >= 0) {
            (void)send(all.peer[i], data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    }
    inject_arm(armed);
}

static void from_peers(void) {
    static char to[65536];
    bool armed = atomic_load(&inject.armed);
    inject_arm(false);
    for (int i = 1; i < all.count; i++) {
        while (all.peer[i] >= 0 && recv(all.peer[i], to, sizeof to, MSG_DONTWAIT) > 0) {
        }
    }
    inject_arm(armed);
}

static void check_bystander(void) {
    char back[4];
    CHECK_EQ(all.rec[0].closeds, 0);
    plain_send(all.peer[0], "ping", 4);
    recv_running(&all.scene, all.peer[0], back, 4);
    CHECK_MEM_EQ(back, "ping", 4);
}

static void open_all(void) {
    memset(&all, 0, sizeof all);
    xev_addr at;
    all.file = memfd_create("big", MFD_CLOEXEC);
    CHECK_EQ(write(all.file, big, BIG), BIG);
    all.listener = plain_listener(8);
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(all.listener), &at), 0);
    CHECK_EQ(xev_threadpool_init(&all.pool, &(xev_threadpool_config){.max_threads = 1}), 0);
    const xev_loop_options options = {.thread_pool = &all.pool};
    scene_open_options(&all.scene, &options, (xev_conn_options){.high_bytes = 100000});
    const xev_upstreams_options up = {.check_ms = UINT32_MAX, .idle_max = 2};
    CHECK_EQ(xev_upstreams_new(&all.group, all.scene.service, &at, 1, &up), 0);
    (void)adopted(true, echo); /* the bystander */
    settle_conn(&all.scene);
    check_bystander();
}

static void use_all(void) {
    int up = -1;
    (void)adopted(true, echo);
    (void)adopted(false, reply_big);
    (void)adopted(true, reply_file);
    struct rec *piped[2] = {adopted(true, NULL), adopted(false, NULL)};
    adopt_pipes();
    CHECK_EQ(xev_conn_pipe(piped[0]->conn, piped[1]->conn), 0);
    connect_upstream();
    for (int i = 0; i < 4; i++) {
        turns(3);
        to_peers("data", 4);
        up = serve_upstream(up);
    }
    connect_upstream(); /* one that was kept, as a rule */
    for (int i = 0; i < 4; i++) {
        from_peers();
        turns(3);
        up = serve_upstream(up);
    }
    if (all.rec[1].conn != NULL) {
        xev_conn_finish(all.rec[1].conn);
    }
    while (all.released < all.lent) { /* the file goes by the pool */
        from_peers();
        CHECK_EQ(xev_loop_run(&all.scene.net.loop, XEV_RUN_ONCE), 0);
    }
    inject_arm(false);
    check_bystander();
    if (up >= 0) {
        CHECK_EQ(close(up), 0);
    }
}

static void close_all(void) {
    CHECK_EQ(close(all.listener) + close(all.sink), 0);
    for (int i = 0; i < all.count; i++) {
        if (all.peer[i] >= 0) {
            CHECK_EQ(close(all.peer[i]), 0);
        }
    }
    for (int i = 0; i < all.count; i++) {
        if (all.rec[i].closeds == 0 && all.peer[i] < 0) {
            xev_conn_abort(all.rec[i].conn); /* its server is gone, and may have told before */
        }
    }
    for (int i = 0; i < all.count; i++) {
        run_to(&all.scene, &all.rec[i].closeds, 1);
    }
    while (counters_of(&all.scene).connections > 0) { /* those that are kept */
        turn(&all.scene);
    }
    settle_conn(&all.scene);
    CHECK_EQ(all.released, all.lent);
    CHECK_EQ(counters_of(&all.scene).held_bytes, 0);
    CHECK_EQ(close(all.file), 0);
    xev_loop_deinit(&all.scene.net.loop);
    xev_conn_service_free(all.scene.service);
    xev_upstreams_free(all.group);
    xev_threadpool_deinit(&all.pool);
}

/* ---- the table ---- */

static const struct {
    const char *call;
    int codes[6]; /* 0: no more */
} rows[] = {
    {"close", {EIO, EINTR}},
    {"connect", {ECONNREFUSED, EADDRNOTAVAIL, ENETUNREACH, EINTR, ENOBUFS}},
    {"epoll_ctl", {ENOMEM, ENOSPC}},
    {"epoll_pwait2", {EINTR, ENOMEM}},
    {"fcntl", {ENOMEM}},
    {"getpeername", {ENOTCONN, ENOBUFS}},
    {"getsockopt", {ENOBUFS, ENOMEM}},
    {"io_uring_submit", {EINTR, EAGAIN, EBUSY, ENOMEM}},
    {"io_uring_submit_and_get_events", {EINTR, EAGAIN, EBUSY, ENOMEM}},
    {"io_uring_submit_and_wait_timeout", {EINTR, EAGAIN, EBUSY, ENOMEM}},
    {"ioctl", {EINVAL, ENOTTY}},
    {"poll", {EINTR, ENOMEM}},
    {"read", {EIO, EINTR}},
    {"request", {EBADF}}, /* io_uring's */
    {"recv", {ECONNRESET, ETIMEDOUT, ENOMEM, EINTR}},
    {"send", {EPIPE, ECONNRESET, ENOBUFS, ENOMEM, EINTR, EHOSTUNREACH}},
    {"sendfile", {EPIPE, EIO, EINTR, ENOMEM}},
    {"sendmsg", {EPIPE, ECONNRESET, ENOBUFS, ENOMEM, EINTR}},
    {"setsockopt", {ENOMEM, EINVAL, ENOBUFS}},
    {"shutdown", {ENOTCONN, ENOBUFS}},
    {"socket", {EMFILE, ENOBUFS, ENOMEM}},
    {"writev", {EPIPE, EINTR}},
};

TEST_TIMEOUT(a_call_that_fails_ends_its_connection_once_and_no_other, 300) {
    int fds = open_fds(), failures = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int k = 0; k < 6 && rows[i].codes[k] != 0; k++) {
            bool failed = true;
            for (int at = 1; failed && at < 400; at++) {
                target = rows[i].call;
                error = rows[i].codes[k];
                open_all();
                inject_plan(at, INJECT_ONCE);
                use_all();
                failed = inject.hits > 0;
                failures += failed;
                close_all();
                CHECK_EQ(open_fds(), fds);
            }
            if (getenv("XEV_TEST_TRACE") != NULL) {
                fprintf(stderr, "%s %d: %d\n", target, error, failures);
            }
        }
    }
    CHECK_GT(failures, 50);
}
