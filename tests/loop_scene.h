/* What the conformance tests share: a loop on the backend under test, operations that record their
 * callbacks, sockets, counts of descriptors and threads.
 *
 * Threads wait for each other by semaphores or atomics, never by a sleep. A wait that does not end
 * is ended by the harness's timeout. */
#ifndef TESTS_LOOP_SCENE_H
#define TESTS_LOOP_SCENE_H

#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/death.h"
#include "tests/system.h"
#include "tests/test.h"
#include "xev/xev.h"

#define MS_NS ((uint64_t)1000000)
#define HOUR_MS ((uint64_t)3600 * 1000)

/* Fewer rounds under a sanitizer. */
static inline uint32_t rounds(uint32_t n) { return test_slowdown() > 1 ? (n + 9) / 10 : n; }

static inline uint64_t clock_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Let time pass. Not a way to wait for another thread. */
static inline void sleep_ms(uint32_t ms) {
    uint64_t end = clock_ns() + ms * MS_NS;
    while (clock_ns() < end) {
        usleep(500);
    }
}

/* --- loops --- */

static inline void loop_start_options(xev_loop *loop, const xev_loop_options *options) {
    memset(loop, 0xa5, sizeof *loop);
    CHECK_EQ(xev_loop_init_options(loop, options), 0);
    const char *wanted = getenv("XEV_BACKEND");
    if (wanted != NULL) {
        CHECK_STR_EQ(xev_loop_backend(loop), wanted);
    }
}

static inline void loop_start(xev_loop *loop) { loop_start_options(loop, NULL); }

static inline void count_active(const xev_active *active, void *userdata) {
    CHECK_EQ(xev_completion_state(active->completion), XEV_COMPLETION_ACTIVE);
    ++*(uint32_t *)userdata;
}

/* Check that a walk visits as many completions as are active. Called after every run of a loop. */
static inline void check_walk(const xev_loop *loop) {
    uint32_t found = 0;
    xev_loop_walk(loop, &found, count_active);
    CHECK_EQ(found, xev_loop_active(loop));
}

static inline void run_in(xev_loop *loop, xev_run_mode_t mode) {
    check_walk(loop);
    CHECK_EQ(xev_loop_run(loop, mode), 0);
    check_walk(loop);
}

static inline void run_once(xev_loop *loop) { run_in(loop, XEV_RUN_ONCE); }
static inline void run_done(xev_loop *loop) { run_in(loop, XEV_RUN_UNTIL_DONE); }
static inline void run_no_wait(xev_loop *loop) { run_in(loop, XEV_RUN_NO_WAIT); }

/* --- an operation that records its callbacks --- */

struct op {
    xev_completion c;
    uint32_t calls;    /* all callbacks */
    uint32_t terminal; /* the terminal ones */
    int result;        /* of the last callback */
    uint32_t order;    /* number of the last callback among all callbacks of this process */
    uint32_t rearm;    /* how many more times it answers XEV_REARM */
    xev_loop *loop;    /* argument of the last callback */
};

static atomic_uint op_clock;

static inline xev_cb_action op_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct op *o = userdata;
    CHECK(c == &o->c);
    bool more = xev_completion_more(c);
    /* Dead when the terminal callback is entered, active in all others. */
    CHECK_EQ(xev_completion_state(c), more ? XEV_COMPLETION_ACTIVE : XEV_COMPLETION_DEAD);
    o->calls++;
    o->terminal += !more;
    o->result = result;
    o->loop = loop;
    o->order = atomic_fetch_add(&op_clock, 1) + 1;
    if (o->rearm > 0) {
        o->rearm--;
        return XEV_REARM;
    }
    return more ? XEV_REARM : XEV_DISARM;
}

/* Run the loop until o's terminal callback number n. */
static inline void run_for(xev_loop *loop, struct op *o, uint32_t n) {
    while (o->terminal < n) {
        CHECK_GT(xev_loop_active(loop), 0);
        run_once(loop);
    }
    CHECK_EQ(o->terminal, n);
}

static inline bool is_active(struct op *o) {
    return xev_completion_state(&o->c) == XEV_COMPLETION_ACTIVE;
}

/* --- sockets --- */

static inline void socket_pair(xev_tcp pair[2]) {
    int fd[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    pair[0] = xev_tcp_from_fd(fd[0]);
    pair[1] = xev_tcp_from_fd(fd[1]);
}

static inline void put_bytes(xev_tcp tcp, const void *bytes, size_t len) {
    CHECK_EQ(send(tcp.fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Close by the loop, which must still exist and be able to run. */
static inline void close_in(xev_loop *loop, xev_tcp tcp) {
    struct op closing = {0};
    xev_tcp_close(tcp, loop, &closing.c, &closing, op_cb);
    run_for(loop, &closing, 1);
    CHECK_EQ(closing.result, 0);
}

static inline xev_tcp listener(xev_addr *at, int backlog) {
    xev_tcp tcp;
    CHECK_EQ(xev_tcp_init(&tcp, XEV_AF_INET), 0);
    CHECK_EQ(xev_addr_parse(at, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_tcp_bind(tcp, at, false), 0);
    CHECK_EQ(xev_tcp_listen(tcp, backlog), 0);
    CHECK_EQ(xev_tcp_local_addr(tcp, at), 0);
    return tcp;
}

/* Wait until that many connections are in a listener's backlog. A connect may return before: where
 * the kernel is busy, its network threads do the last step of the handshake later. */
static inline void wait_connections(xev_tcp at, uint32_t count) {
    struct tcp_info info;
    do {
        socklen_t len = sizeof info;
        CHECK_EQ(getsockopt(at.fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
        usleep(info.tcpi_unacked < count ? 100 : 0);
    } while (info.tcpi_unacked < count);
}

/* --- descriptors and threads of this process --- */

static inline uint32_t entries_of(const char *path) {
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    uint32_t n = 0;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        n += e->d_name[0] != '.';
    }
    closedir(dir);
    return n;
}

static inline uint32_t descriptors(void) { return (uint32_t)test_open_descriptors(); }

/* The kernel threads of a ring, and threads that were joined, may be listed for a moment longer. */
static inline void wait_for_threads(uint32_t n) {
    while (entries_of("/proc/self/task") > n) {
        sched_yield();
    }
}

/* --- threads --- */

static inline void thread_start(pthread_t *t, void *(*run)(void *), void *arg) {
    CHECK_EQ(pthread_create(t, NULL, run, arg), 0);
}

static inline void thread_join(pthread_t t) { CHECK_EQ(pthread_join(t, NULL), 0); }

static inline void sem_take(sem_t *s) {
    while (sem_wait(s) != 0) {
    }
}

#endif
