/* The calls of the C library that services make, from the begin of xev_serve_run to its end, fail
 * in turn, once, with each code that they may have; and so do allocations. A start that fails names
 * what failed, leaves nothing, and the next one succeeds. What serves goes on serving, and its
 * drain ends. Linked with --wrap for the calls.
 *
 * Of a function the first eight calls fail, and then ever fewer of them. XEV_TEST_CALL names one
 * whose calls all do; with XEV_TEST_TRACE it tells which starts failed.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "tests/serve_scene.h"
#include "tests/system.h"
#include "tests/wrap.h"

#if !defined(XEV_NO_IO_URING)
#include <liburing.h>
#endif

typedef struct sockaddr sa;

/* ---- the calls ---- */

WRAP(int, accept4, (int fd, sa *a, socklen_t *n, int f), (fd, a, n, f))
WRAP(int, bind, (int fd, const sa *a, socklen_t n), (fd, a, n))
WRAP_DONE(close, (int fd), (fd))
WRAP_DONE(connect, (int fd, const sa *a, socklen_t n), (fd, a, n))
WRAP(int, epoll_create1, (int f), (f))
WRAP(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev))
WRAP(int, epoll_pwait2,
     (int ep, struct epoll_event *ev, int n, const struct timespec *ts, const sigset_t *set),
     (ep, ev, n, ts, set))
int __real_epoll_wait(int ep, struct epoll_event *ev, int n, int ms);
int __wrap_epoll_wait(int ep, struct epoll_event *ev, int n, int ms);
int __wrap_epoll_wait(int ep, struct epoll_event *ev, int n, int ms) {
    return fails("epoll_pwait2") ? -1 : __real_epoll_wait(ep, ev, n, ms);
}
WRAP(int, eventfd, (unsigned n, int f), (n, f))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, fchmodat, (int fd, const char *path, mode_t mode, int f), (fd, path, mode, f))
WRAP_OPEN_ENDED(fcntl, int)
WRAP(ssize_t, getrandom, (void *to, size_t n, unsigned f), (to, n, f))
WRAP(int, getpeername, (int fd, sa *a, socklen_t *n), (fd, a, n))
WRAP(int, getrlimit, (int what, struct rlimit *l), (what, l))
WRAP(int, getsockname, (int fd, sa *a, socklen_t *n), (fd, a, n))
WRAP(int, getsockopt, (int fd, int l, int o, void *v, socklen_t *n), (fd, l, o, v, n))
WRAP_OPEN_ENDED(ioctl, unsigned long)
WRAP(int, listen, (int fd, int n), (fd, n))
WRAP(int, lstat, (const char *path, struct stat *st), (path, st))
WRAP(int, poll, (struct pollfd * p, nfds_t n, int ms), (p, n, ms))
WRAP(ssize_t, recv, (int fd, void *to, size_t n, int f), (fd, to, n, f))
WRAP(int, sched_getaffinity, (pid_t pid, size_t n, cpu_set_t *set), (pid, n, set))
WRAP(int, sched_setaffinity, (pid_t pid, size_t n, const cpu_set_t *set), (pid, n, set))
WRAP(ssize_t, send, (int fd, const void *data, size_t n, int f), (fd, data, n, f))
WRAP(ssize_t, sendto, (int fd, const void *data, size_t n, int f, const sa *a, socklen_t len),
     (fd, data, n, f, a, len))
WRAP(int, setsockopt, (int fd, int l, int o, const void *v, socklen_t n), (fd, l, o, v, n))
WRAP(int, shutdown, (int fd, int how), (fd, how))
WRAP(int, sigaction, (int n, const struct sigaction *a, struct sigaction *old), (n, a, old))
WRAP(int, socket, (int d, int t, int p), (d, t, p))
WRAP(int, unlink, (const char *path), (path))

/* These return a code, or a pointer. */
#undef WRAP
#define WRAP(type, call, parameters, arguments, failure)                                           \
    type __real_##call parameters;                                                                 \
    type __wrap_##call parameters;                                                                 \
    type __wrap_##call parameters { return fails(#call) ? (failure) : __real_##call arguments; }

WRAP(int, pthread_atfork, (void (*a)(void), void (*b)(void), void (*c)(void)), (a, b, c), error)
WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg),
     (thread, attr, run, arg), error)
WRAP(int, pthread_attr_setstacksize, (pthread_attr_t * attr, size_t n), (attr, n), error)
WRAP(FILE *, fopen, (const char *path, const char *how), (path, how), NULL)

#define WRAP_MEMORY(type, call, parameters, arguments, failure)                                    \
    type __real_##call parameters;                                                                 \
    type __wrap_##call parameters;                                                                 \
    type __wrap_##call parameters { return fails("memory") ? (failure) : __real_##call arguments; }

WRAP_MEMORY(void *, aligned_alloc, (size_t align, size_t n), (align, n), NULL)
WRAP_MEMORY(void *, calloc, (size_t n, size_t size), (n, size), NULL)
WRAP_MEMORY(void *, malloc, (size_t n), (n), NULL)
WRAP_MEMORY(int, posix_memalign, (void **out, size_t align, size_t n), (out, align, n), ENOMEM)
WRAP_MEMORY(void *, realloc, (void *p, size_t n), (p, n), NULL)
WRAP_MEMORY(char *, strdup, (const char *text), (text), NULL)
WRAP_MEMORY(void *, xev__os_pages, (size_t n), (n), NULL)

#if !defined(XEV_NO_IO_URING)

/* The request that is to fail is one of no descriptor. */
static void spoil_requests(struct io_uring *ring) {
    const struct io_uring_sq *sq = &ring->sq;
    for (unsigned i = sq->sqe_head; i != sq->sqe_tail; i++) {
        struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];
        bool meant = sqe->opcode == IORING_OP_ACCEPT || sqe->opcode == IORING_OP_RECV ||
                     sqe->opcode == IORING_OP_SEND || sqe->opcode == IORING_OP_POLL_ADD;
        if (meant && fails("request")) {
            sqe->fd = -1;
        }
    }
}

#define WRAP_SUBMIT(call, parameters, arguments)                                                   \
    int __real_##call parameters;                                                                  \
    int __wrap_##call parameters;                                                                  \
    int __wrap_##call parameters {                                                                 \
        spoil_requests(ring);                                                                      \
        return fails(#call) ? -errno : __real_##call arguments;                                    \
    }

WRAP_SUBMIT(io_uring_submit, (struct io_uring * ring), (ring))
WRAP_SUBMIT(io_uring_submit_and_get_events, (struct io_uring * ring), (ring))
WRAP_SUBMIT(io_uring_submit_and_wait_timeout,
            (struct io_uring * ring, struct io_uring_cqe **cqe, unsigned n,
             struct __kernel_timespec *ts, sigset_t *mask),
            (ring, cqe, n, ts, mask))
WRAP(int, io_uring_queue_init_params,
     (unsigned n, struct io_uring *ring, struct io_uring_params *p), (n, ring, p), -error)
WRAP(int, io_uring_register_buf_ring,
     (struct io_uring * ring, struct io_uring_buf_reg *reg, unsigned f), (ring, reg, f), -error)
WRAP(int, io_uring_register_probe, (struct io_uring * ring, struct io_uring_probe *p, unsigned n),
     (ring, p, n), -error)
WRAP(int, io_uring_register_ring_fd, (struct io_uring * ring), (ring), -error)

#endif

/* ---- the scene ---- */

enum { SHARDS = 2, SERVICES = 4, HELD_FD = 200, TRIES = 3 };

static xev_service *services[SERVICES];
static const char *unix_path;
static int manager;
static atomic_int inits, deinits, clients_began;
static atomic_bool run_over;

/* A socket's file at which nobody listens. */
static void leave_stale_file(void) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", unix_path);
    (void)unlink(unix_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    CHECK_EQ(bind(fd, (sa *)(void *)&un, sizeof un), 0);
    CHECK_EQ(close(fd), 0);
}

static void open_manager(void) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const char *name = file_of(abstract_address()); /* "@..." */
    size_t len = strlen(name);
    memcpy(un.sun_path + 1, name + 1, len - 1);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(
        bind(manager, (sa *)(void *)&un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
        0);
    CHECK_EQ(setenv("NOTIFY_SOCKET", name, 1), 0);
}

/* What the manager was told since it was last asked. */
static bool manager_was_told(const char *what) {
    char text[256];
    bool told = false;
    ssize_t n;
    while ((n = recv(manager, text, sizeof text - 1, MSG_DONTWAIT)) >= 0) {
        text[n] = '\0';
        told = told || strcmp(text, what) == 0;
    }
    return told;
}

static int listening_socket(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (sa *)(void *)&in, sizeof in), 0);
    CHECK_EQ(listen(fd, 64), 0);
    return fd;
}

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }

/* A loop that must not wait ends the run. */
static bool is_fatal(void) {
    return target != NULL && (error == EBADF || error == EPERM) &&
           (strncmp(target, "io_uring_submit", 15) == 0 || is(target, "epoll_pwait2"));
}

/* ---- the clients, whose own calls do not fail ---- */

/* False, too: the run has ended, and this client waits at the socket that the test holds. */
static bool is_answered(int fd) {
    char text[4];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    bool sent = send(fd, "??", 2, MSG_NOSIGNAL) == 2;
    while (sent && !run_over && poll(&p, 1, 50) == 0) {
    }
    return sent && !run_over && recv(fd, text, 4, MSG_WAITALL) == 4;
}

/* One failure ends one connection at most. */
static int client_of(const xev_service *service) {
    for (int i = 0; i < TRIES; i++) {
        int fd = try_connect_to(service);
        if (fd >= 0 && is_answered(fd)) {
            return fd;
        }
        CHECK(fd < 0 || close(fd) == 0);
    }
    CHECK(is_fatal());
    return -1;
}

static void close_client(int fd) { CHECK(fd < 0 || close(fd) == 0); }

static void *clients_and_stop(void *arg) {
    int fds[SERVICES], lost = 0;
    (void)arg;
    spared = true;
    for (int i = 0; i < SERVICES; i++) {
        fds[i] = client_of(services[i]);
    }
    for (int i = 0; i < SERVICES; i++) {
        close_client(client_of(services[i]));
        lost += !is_answered(fds[i]);
    }
    CHECK(lost <= 1 || is_fatal());
    xev_runtime_stop(&runtime);
    for (int i = 0; i < SERVICES; i++) {
        char c;
        (void)recv(fds[i], &c, 1, is_fatal() ? MSG_DONTWAIT : 0); /* until the drain ends it */
        close_client(fds[i]);
    }
    return NULL;
}

static int begin(xev_shard *self, void *userdata) {
    (void)userdata;
    spared = true;
    if (++inits == SHARDS) {
        CHECK_EQ(xev_shard_id(self), SHARDS - 1);
        clients_thread = thread_start(clients_and_stop, NULL);
        clients_began = 1;
    }
    spared = false;
    return 0;
}

static void end(xev_shard *self, void *userdata) {
    (void)self;
    (void)userdata;
    deinits++;
}

static void reload(xev_shard *self, void *userdata) {
    (void)self;
    (void)userdata;
}

/* ---- the runs ---- */

static int mode; /* of the failures */

static int run_once(void) {
    leave_stale_file();
    /* One of its own: a broken ring's accept may stand on it until the kernel has closed the ring,
     * and a connection wakes one accept only. */
    int held = listening_socket();
    CHECK_EQ(dup3(held, HELD_FD, O_CLOEXEC), HELD_FD);
    inits = deinits = clients_began = 0;
    run_over = false;
    spared = false;
    int rc = run_services(SHARDS);
    spared = true;
    run_over = true;
    if (clients_began) {
        thread_join(clients_thread);
    }
    CHECK_EQ(close(held), 0);
    CHECK_EQ(fcntl(HELD_FD, F_GETFD), -1);
    CHECK_EQ(inits, deinits);
    return rc;
}

/* Calls that only a service makes. */
static bool is_of_a_service(const char *call) {
    return is(call, "bind") || is(call, "listen") || is(call, "fchmod") || is(call, "lstat") ||
           is(call, "getsockname");
}

/* The service that is named is one of ours, with its address. A CPU has no service, nor has what a
 * loop lacks. */
static void check_failure(const xev_runtime_failure *f, int rc) {
    CHECK_EQ(f->code, rc);
    CHECK_NE(f->call[0], '\0');
    bool of_runtime = is(f->call, "cpus") || is(f->call, "xev_loop_init");
    CHECK(of_runtime || (f->part[0] == '\0') == (f->object[0] == '\0'));
    CHECK(!of_runtime || f->part[0] == '\0');
    CHECK(f->part[0] != '\0' || !is_of_a_service(target));
    for (int i = 0; i < SERVICES && f->part[0] != '\0'; i++) {
        if (is(xev_service_name(services[i]), f->part)) {
            static const char *const addresses[] = {"127.0.0.1:0", NULL, "127.0.0.1:0", "fd:200"};
            CHECK(addresses[i] != NULL ? is(f->object, addresses[i])
                                       : strncmp(f->object, "unix:", 5) == 0);
            return;
        }
    }
    CHECK_STR_EQ(f->part, "");
}

/* False: there were not so many calls, or the first, which goes on failing, is the at-th. */
static bool run_with_failure(int at) {
    uint32_t before = (uint32_t)test_open_descriptors(), threads_before = threads();
    xev_runtime_failure f;
    inject_plan(at, mode);
    int rc = run_once();
    inject_arm(false);
    bool hit = inject.hits > 0;
    xev_runtime_failure_get(&runtime, &f);
    if (rc == 0) {
        CHECK_EQ(f.code, 0);
        CHECK_EQ(inits, SHARDS);
        bool told = is(target, "socket") || is(target, "sendto") || is(target, "memory");
        CHECK(manager_was_told("STOPPING=1") || told);
    } else {
        CHECK(hit);
        check_failure(&f, rc);
        if (getenv("XEV_TEST_TRACE") != NULL) {
            fprintf(stderr, "  %s %d, call %d: %d of %s, %s %s\n", target, (int)error, at, rc,
                    f.call, f.part, f.object);
        }
        (void)manager_was_told("");
    }
    /* A file that cannot be looked at, or removed, stays. */
    CHECK(access(unix_path, F_OK) < 0 || is(target, "lstat") || is(target, "unlink") || inits < 1);
    wait_for_threads(threads_before);
    CHECK_EQ((uint32_t)test_open_descriptors(), before);
    if (rc < 0) {
        CHECK_EQ(run_once(), 0);
        wait_for_threads(threads_before);
        CHECK_EQ((uint32_t)test_open_descriptors(), before);
        (void)manager_was_told("");
    }
    return hit;
}

static const struct {
    const char *call;
    int codes[5]; /* 0: no more */
} rows[] = {
    {"accept4", {ECONNABORTED, EMFILE, ENOMEM, EPERM}},
    {"bind", {EADDRINUSE, EACCES, ENOMEM, EROFS}},
    {"close", {EIO, EINTR}},
    {"connect", {EACCES, EAGAIN, ENOMEM}},
    {"epoll_create1", {EMFILE, ENOMEM}},
    {"epoll_ctl", {ENOMEM, ENOSPC}},
    {"epoll_pwait2", {EINTR, ENOMEM, EPERM}},
    {"eventfd", {EMFILE, ENOMEM}},
    {"fchmod", {EPERM, EROFS}},
    {"fchmodat", {EPERM, EOPNOTSUPP, EINTR}},
    {"fcntl", {ENOMEM, EBADF}},
    {"fopen", {EMFILE, EACCES, ENOMEM}},
    {"getpeername", {ENOTCONN, ENOBUFS}},
    {"getrandom", {EAGAIN, ENOSYS}},
    {"getrlimit", {EPERM}},
    {"getsockname", {ENOBUFS}},
    {"getsockopt", {ENOBUFS, ENOMEM, EPERM}},
    {"io_uring_queue_init_params", {ENOMEM, EPERM, EMFILE}},
    {"io_uring_register_buf_ring", {ENOMEM, EINVAL}},
    {"io_uring_register_probe", {ENOMEM, EPERM}},
    {"io_uring_register_ring_fd", {ENOMEM, EINVAL}},
    {"io_uring_submit", {EINTR, EAGAIN, EBUSY, ENOMEM, EPERM}},
    {"io_uring_submit_and_get_events", {EINTR, EAGAIN, EBUSY, ENOMEM, EPERM}},
    {"io_uring_submit_and_wait_timeout", {EINTR, EAGAIN, EBUSY, ENOMEM, EPERM}},
    {"ioctl", {EINVAL, ENOTTY}},
    {"listen", {EADDRINUSE, ENOBUFS}},
    {"lstat", {EACCES, ENOENT}},
    {"memory", {ENOMEM}},
    {"poll", {EINTR, ENOMEM}},
    {"pthread_atfork", {ENOMEM}},
    {"pthread_attr_setstacksize", {EINVAL}},
    {"pthread_create", {EAGAIN, EPERM}},
    {"recv", {ECONNRESET, ETIMEDOUT, ENOMEM, EINTR}},
    {"request", {EBADF}}, /* io_uring's */
    {"sched_getaffinity", {EPERM}},
    {"sched_setaffinity", {EPERM, EINVAL}},
    {"send", {EPIPE, ECONNRESET, ENOBUFS, EINTR}},
    {"sendto", {EAGAIN, ENOBUFS, ECONNREFUSED, EINTR}},
    {"setsockopt", {ENOMEM, ENOBUFS, EPERM}},
    {"shutdown", {ENOTCONN, ENOBUFS}},
    {"sigaction", {EINVAL, ENOMEM}},
    {"socket", {EMFILE, ENFILE, ENOBUFS, EACCES}},
    {"unlink", {EACCES, EROFS}},
};

/* All codes on epoll, and those of a ring's calls. Elsewhere, and under a sanitizer, where a run
 * takes long, one each: what is no matter of the backend is the same. */
static int codes_of(const char *call) {
    const char *backend = getenv("XEV_BACKEND");
    bool all = backend == NULL || is(backend, "epoll") || strncmp(call, "io_uring", 8) == 0;
    return all && test_slowdown() == 1 ? 5 : 1;
}

static void open_services(void) {
    static char address[128];
    static const char *const names[SERVICES] = {"tcp", "file", "cpu", "held"};
    open_manager();
    const char *path = path_in_tmp("unix:", "fault");
    snprintf(address, sizeof address, "%s", path);
    unix_path = file_of(address);
    const char *const addresses[SERVICES] = {"127.0.0.1:0", address, "127.0.0.1:0", "fd:200"};
    for (int i = 0; i < SERVICES; i++) {
        xev_service_options o = service_options(names[i], addresses[i]);
        o.policy = i == 2 ? XEV_SERVE_CPU : XEV_SERVE_AUTO;
        o.shard_bytes = 100;
        o.file_mode = 0640;
        o.unsent_bytes = 100000;
        services[i] = add_service(&o);
    }
    options.init = begin;
    options.deinit = end;
    options.hangup = reload;
    options.listen_retry_ms = UINT32_MAX;
}

static void *no_work(void *arg) { return arg; }

TEST_TIMEOUT(a_call_that_fails_is_named_or_done_without, 600) {
    const char *only = getenv("XEV_TEST_CALL");
    int failures = 0;
    spared = true;
    thread_join(thread_start(no_work, NULL)); /* ThreadSanitizer starts one of its own with it */
    open_services();
    CHECK_EQ(run_once(), 0); /* what is made once in a process */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int k = 0; k < codes_of(rows[i].call) && rows[i].codes[k] != 0; k++) {
            bool failed = only == NULL || is(rows[i].call, only);
            for (int at = 1; failed && at < 400; at += only == NULL ? 1 + at / 8 : 1) {
                target = rows[i].call;
                error = rows[i].codes[k];
                failed = run_with_failure(at);
                failures += failed;
            }
            if (getenv("XEV_TEST_TRACE") != NULL) {
                fprintf(stderr, "%s %d: %d\n", rows[i].call, rows[i].codes[k], failures);
            }
        }
    }
    CHECK_GT(failures, only == NULL ? 200 : 0);
    xev_serve_free(serve);
    CHECK_EQ(close(manager), 0);
}

TEST_TIMEOUT(a_loop_that_must_not_wait_is_named, 300) {
    static const char *const calls[] = {"epoll_pwait2", "io_uring_submit_and_get_events",
                                        "io_uring_submit_and_wait_timeout"};
    spared = true;
    thread_join(thread_start(no_work, NULL));
    open_services();
    CHECK_EQ(run_once(), 0);
    mode = INJECT_FROM_THERE_ON;
    error = EBADF;
    for (int i = 0; i < 3; i++) {
        for (int at = 1; at < 20; at++) {
            target = calls[i];
            (void)run_with_failure(at);
        }
    }
    xev_serve_free(serve);
    CHECK_EQ(close(manager), 0);
}
