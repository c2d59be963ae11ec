/* What the tests of sockets share: a loop that checks at its end that no descriptor is left over,
 * an operation that records its callbacks, and sockets that are made by plain system calls, so that
 * a test uses xev only for what it tests.
 */
#ifndef TESTS_NET_SCENE_H
#define TESTS_NET_SCENE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/sockios.h>
#include <sys/ioctl.h>
#endif

#include "tests/system.h"
#include "tests/test.h"
#include "xev/xev.h"

#define MS UINT64_C(1000000)

/* Turns are counted, so that a test can find a loop that spins. */
struct net {
    xev_loop loop;
    xev_hook hook;
    uint64_t turns;
    int fds_before;
    int clock; /* counts callbacks, to tell their order */
};

struct op {
    xev_completion c;
    struct net *net;
    int calls, ends;                                  /* all callbacks; the terminal ones */
    int result;                                       /* of the last callback */
    int results[8];                                   /* of the first callbacks */
    int at;                                           /* net.clock at the last callback */
    xev_cb_action (*then)(struct op *op, int result); /* NULL: go on as long as there is more */
    void *user;
    int64_t sum; /* for the test */
};

static inline int open_fds(void) { return test_open_descriptors(); }

static inline bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static inline uint64_t clock_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline void count_turn(xev_loop *loop, xev_hook *hook) {
    (void)hook;
    ((struct net *)loop->userdata)->turns++;
}

static inline void net_open(struct net *n, const xev_loop_options *options) {
    memset(n, 0, sizeof *n);
    n->fds_before = open_fds();
    CHECK_EQ(options != NULL ? xev_loop_init_options(&n->loop, options) : xev_loop_init(&n->loop),
             0);
    const char *wanted = getenv("XEV_BACKEND");
    if (wanted != NULL && (options == NULL || options->backend == XEV_BACKEND_AUTO)) {
        CHECK_STR_EQ(xev_loop_backend(&n->loop), wanted);
    }
    n->loop.userdata = n;
    n->hook.callback = count_turn;
    xev_loop_hook_add(&n->loop, XEV_HOOK_BEFORE_POLL, &n->hook);
}

static inline void count_active(const xev_active *active, void *userdata) {
    CHECK_EQ(xev_completion_state(active->completion), XEV_COMPLETION_ACTIVE);
    ++*(uint32_t *)userdata;
}

/* Check that a walk visits as many completions as are active. */
static inline void check_walk(const xev_loop *loop) {
    uint32_t found = 0;
    xev_loop_walk(loop, &found, count_active);
    CHECK_EQ(found, xev_loop_active(loop));
}

/* Called when the test has closed its own descriptors. */
static inline void net_close(struct net *n) {
    check_walk(&n->loop);
    xev_loop_deinit(&n->loop);
    CHECK_EQ(open_fds(), n->fds_before);
}

static inline xev_cb_action op_called(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    struct op *op = userdata;
    bool more = xev_completion_more(c);
    CHECK(c == &op->c);
    CHECK(loop == &op->net->loop);
    CHECK_EQ(xev_completion_state(c), more ? XEV_COMPLETION_ACTIVE : XEV_COMPLETION_DEAD);
    CHECK_EQ(op->ends, 0);
    if (op->calls < 8) {
        op->results[op->calls] = result;
    }
    op->calls++;
    op->ends += !more;
    op->result = result;
    op->at = ++op->net->clock;
    if (op->then != NULL) {
        return op->then(op, result);
    }
    return more ? XEV_REARM : XEV_DISARM;
}

/* Make op ready to be submitted, or submitted again. */
static inline struct op *op_new(struct op *op, struct net *n) {
    memset(op, 0, sizeof *op);
    op->net = n;
    return op;
}

/* Run turns until *counter has reached at_least. */
static inline void run_until(struct net *n, const int *counter, int at_least) {
    for (int i = 0; *counter < at_least; i++) {
        CHECK_LT(i, 1000000);
        CHECK_GT(xev_loop_active(&n->loop), 0);
        if (xev_loop_active(&n->loop) < 100) {
            check_walk(&n->loop);
        }
        CHECK_EQ(xev_loop_run(&n->loop, XEV_RUN_ONCE), 0);
    }
}

static inline void run_op(struct op *op) { run_until(op->net, &op->ends, 1); }

/* Run turns until each operation waits where it has to, and what was ready has been delivered. */
static inline void settle(struct net *n) {
    for (int i = 0; i < 4; i++) {
        check_walk(&n->loop);
        CHECK_EQ(xev_loop_run(&n->loop, XEV_RUN_NO_WAIT), 0);
    }
}

/* Run for ms. Only to see that nothing happens, never to wait for something. Returns the number of
 * turns. */
static inline uint64_t run_for(struct net *n, uint64_t ms) {
    struct op timer;
    uint64_t before = n->turns;
    xev_timer_run(NULL, &n->loop, &op_new(&timer, n)->c, ms, &timer, op_called);
    run_op(&timer);
    CHECK_EQ(timer.result, 0);
    return n->turns - before;
}

static inline void cancel_op(struct op *target, int expected) {
    struct op cancel;
    xev_cancel(&target->net->loop, &target->c, &op_new(&cancel, target->net)->c, &cancel,
               op_called);
    run_op(&cancel);
    CHECK_EQ(cancel.result, expected);
    CHECK_EQ(target->ends, 1);
    CHECK_LT(target->at, cancel.at);
}

static inline void close_fd(struct net *n, int fd) {
    struct op closing;
    xev_tcp_close(xev_tcp_from_fd(fd), &n->loop, &op_new(&closing, n)->c, &closing, op_called);
    run_op(&closing);
    CHECK_EQ(closing.result, 0);
    CHECK(!is_open(fd));
}

/* ---- plain sockets ---- */

static inline int plain_listener(int backlog) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK_GE(fd, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    CHECK_EQ(listen(fd, backlog), 0);
    return fd;
}

static inline struct sockaddr_in address_of(int fd) {
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    CHECK_EQ(getsockname(fd, (struct sockaddr *)(void *)&sa, &len), 0);
    return sa;
}

static inline void plain_connect_fd(int fd, int listener) {
    struct sockaddr_in sa = address_of(listener);
    CHECK_EQ(connect(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
}

static inline int plain_connect(int listener) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    plain_connect_fd(fd, listener);
    return fd;
}

static inline void tcp_pair(int fd[2]) { test_tcp_pair(fd); }

/* Cheaper than tcp_pair, for a test that does not need TCP. */
static inline void local_pair(int fd[2]) {
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
}

static inline void plain_send(int fd, const void *data, size_t len) {
    CHECK_EQ(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static inline void plain_recv(int fd, void *data, size_t len) {
    CHECK_EQ(recv(fd, data, len, MSG_WAITALL), (ssize_t)len);
}

/* Wait until fd has data, the end of the stream or a connection. */
static inline void wait_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;
    do { /* the kernel may interrupt poll to do a ring's work on this thread */
        n = poll(&p, 1, -1);
    } while (n < 0 && errno == EINTR);
    CHECK_EQ(n, 1);
}

/* Wait until that many connections are in a listener's backlog. A connect may return before: where
 * the kernel is busy, its network threads do the last step of the handshake later. */
static inline void wait_connections(int listener, uint32_t count) {
    struct tcp_info info;
    do {
        socklen_t len = sizeof info;
        CHECK_EQ(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
        usleep(info.tcpi_unacked < count ? 100 : 0);
    } while (info.tcpi_unacked < count);
}

/* Wait until the peer's system has all that fd has sent, and its end. TCP takes its time where the
 * kernel is busy, as above. */
static inline void wait_arrived(int fd) {
#if defined(__linux__)
    for (int left = 1; left > 0;) {
        CHECK_EQ(ioctl(fd, SIOCOUTQ, &left), 0);
        usleep(left > 0 ? 100 : 0);
    }
#else
    (void)fd;
#endif
}

/* The next close of fd resets the connection. */
static inline void reset_close(int fd) {
    struct linger l = {.l_onoff = 1, .l_linger = 0};
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
    CHECK_EQ(close(fd), 0);
}

/* Write to one end of a local_pair until the kernel takes no more. It takes more only when the
 * other end has been read (TCP might take more a moment later). Returns the number of bytes it
 * took. */
static inline size_t fill(int fd) {
    static const char zeros[4096];
    size_t total = 0;
    ssize_t n;
    while ((n = send(fd, zeros, sizeof zeros, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) {
        total += (size_t)n;
    }
    CHECK_EQ(errno, EAGAIN);
    return total;
}

static inline void small_buffers(int fd) {
    int size = 8192;
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
}

/* Descriptors that a test opens so that none is left. The kernel may check the limit early
 * (io_uring: when an accept is submitted). So a test lowers the limit first, and then opens the
 * descriptors. */
enum { FEW_FDS = 128 };

struct hoard {
    int fds[FEW_FDS];
    int count;
};

static inline void limit_fds(void) {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = FEW_FDS;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static inline void exhaust_fds(struct hoard *h) {
    int fd;
    h->count = 0;
    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) {
        h->fds[h->count++] = fd;
    }
    CHECK_EQ(errno, EMFILE);
    CHECK_GT(h->count, 0);
}

static inline void restore_fds(struct hoard *h) {
    while (h->count > 0) {
        CHECK_EQ(close(h->fds[--h->count]), 0);
    }
}

/* Check that body ends the program by SIGABRT, with a line on stderr that names call. */
static inline void check_misuse(void (*body)(void *), void *arg, const char *call) {
    int out[2];
    CHECK_EQ(pipe(out), 0);
    int pid = test_fork(out[1]);
    CHECK_GE(pid, 0);
    if (pid == 0) {
        body(arg);
        _exit(0);
    }
    CHECK_EQ(close(out[1]), 0);
    if (test_repeats()) {
        CHECK_EQ(close(out[0]), 0);
        return;
    }
    char text[512] = "";
    size_t len = 0;
    ssize_t n;
    while (len < sizeof text - 1 && (n = read(out[0], text + len, sizeof text - 1 - len)) > 0) {
        len += (size_t)n;
    }
    CHECK_EQ(close(out[0]), 0);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || strstr(text, call) == NULL) {
        CHECK_FAIL("%s: status %x, said: %s", call, (unsigned)status, text);
    }
}

#endif
