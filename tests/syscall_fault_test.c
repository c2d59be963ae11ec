/* Every call of the C library that a loop makes fails in turn: in a first run of a scene the first
 * call of the function, in a second run the second call, and so on until the scene makes no further
 * call. The operation that needed the call reports its code, or does without. Nothing leaks, and
 * the loop goes on. An interrupted call (EINTR) has no effect at all. Linked with --wrap for the
 * calls. */
#include <net/if.h>
#include <netdb.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "tests/net_scene.h"
#include "tests/wrap.h"

static atomic_int dns_answer; /* getaddrinfo's, getnameinfo's */

typedef struct sockaddr sa;
typedef struct iovec iov;

WRAP(int, accept4, (int fd, sa *a, socklen_t *n, int flags), (fd, a, n, flags))
WRAP(int, bind, (int fd, const sa *a, socklen_t n), (fd, a, n))
WRAP_DONE(close, (int fd), (fd))
WRAP_DONE(connect, (int fd, const sa *a, socklen_t n), (fd, a, n))
WRAP(ssize_t, copy_file_range, (int a, off_t *x, int b, off_t *y, size_t n, unsigned f),
     (a, x, b, y, n, f))
WRAP(int, epoll_create1, (int flags), (flags))
WRAP(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev))
WRAP(int, epoll_pwait2,
     (int ep, struct epoll_event *ev, int n, const struct timespec *ts, const sigset_t *set),
     (ep, ev, n, ts, set))
WRAP(int, eventfd, (unsigned n, int flags), (n, flags))
WRAP_OPEN_ENDED(fcntl, int)
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, fstat, (int fd, struct stat *st), (fd, st))
WRAP(int, fstatat, (int at, const char *p, struct stat *st, int f), (at, p, st, f))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, ftruncate, (int fd, off_t n), (fd, n))
WRAP(ssize_t, getdents64, (int fd, void *buf, size_t n), (fd, buf, n))
WRAP(int, getpeername, (int fd, sa *a, socklen_t *n), (fd, a, n))
WRAP(int, getsockname, (int fd, sa *a, socklen_t *n), (fd, a, n))
WRAP(int, getsockopt, (int fd, int l, int o, void *v, socklen_t *n), (fd, l, o, v, n))
WRAP(int, inotify_add_watch, (int fd, const char *p, uint32_t mask), (fd, p, mask))
WRAP(int, inotify_init1, (int flags), (flags))
WRAP_OPEN_ENDED(ioctl, unsigned long)
WRAP(int, link, (const char *a, const char *b), (a, b))
WRAP(int, listen, (int fd, int n), (fd, n))
WRAP(int, lstat, (const char *p, struct stat *st), (p, st))
WRAP(int, mkdir, (const char *p, mode_t mode), (p, mode))
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    unsigned mode = va_arg(list, unsigned);
    va_end(list);
    return fails("open") ? -1 : __real_open(path, flags, mode);
}
WRAP(int, pipe2, (int fd[2], int flags), (fd, flags))
WRAP(int, poll, (struct pollfd * p, nfds_t n, int ms), (p, n, ms))
WRAP(ssize_t, preadv, (int fd, const iov *v, int n, off_t at), (fd, v, n, at))
WRAP(ssize_t, pwritev, (int fd, const iov *v, int n, off_t at), (fd, v, n, at))
/* A wake descriptor's 8 bytes can be interrupted only. */
static bool is_wake(size_t n) { return n == 8 && error != EINTR; }
ssize_t __real_read(int fd, void *buf, size_t n);
ssize_t __wrap_read(int fd, void *buf, size_t n);
ssize_t __wrap_read(int fd, void *buf, size_t n) {
    return !is_wake(n) && fails("read") ? -1 : __real_read(fd, buf, n);
}
ssize_t __real_write(int fd, const void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n) {
    return !is_wake(n) && fails("write") ? -1 : __real_write(fd, buf, n);
}
WRAP(ssize_t, readv, (int fd, const iov *v, int n), (fd, v, n))
WRAP(ssize_t, recv, (int fd, void *buf, size_t n, int f), (fd, buf, n, f))
WRAP(int, recvmmsg, (int fd, struct mmsghdr *v, unsigned n, int f, struct timespec *t),
     (fd, v, n, f, t))
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *m, int f), (fd, m, f))
WRAP(int, rename, (const char *a, const char *b), (a, b))
WRAP(int, rmdir, (const char *p), (p))
WRAP(ssize_t, send, (int fd, const void *buf, size_t n, int f), (fd, buf, n, f))
WRAP(ssize_t, sendfile, (int to, int from, off_t *at, size_t n), (to, from, at, n))
WRAP(int, sendmmsg, (int fd, struct mmsghdr *v, unsigned n, int f), (fd, v, n, f))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *m, int f), (fd, m, f))
WRAP(int, setsockopt, (int fd, int l, int o, const void *v, socklen_t n), (fd, l, o, v, n))
WRAP(int, shutdown, (int fd, int how), (fd, how))
WRAP(int, sigaction, (int n, const struct sigaction *a, struct sigaction *b), (n, a, b))
WRAP(int, socket, (int d, int t, int p), (d, t, p))
WRAP(int, socketpair, (int d, int t, int p, int fd[2]), (d, t, p, fd))
WRAP(int, symlink, (const char *a, const char *b), (a, b))
WRAP(int, truncate, (const char *p, off_t n), (p, n))
WRAP(int, unlink, (const char *p), (p))
WRAP(int, waitid, (idtype_t t, id_t id, siginfo_t *info, int f), (t, id, info, f))
WRAP(ssize_t, writev, (int fd, const iov *v, int n), (fd, v, n))

int __real_getaddrinfo(const char *h, const char *s, const struct addrinfo *a, struct addrinfo **l);
int __wrap_getaddrinfo(const char *h, const char *s, const struct addrinfo *a, struct addrinfo **l);
int __wrap_getaddrinfo(const char *h, const char *s, const struct addrinfo *a,
                       struct addrinfo **l) {
    errno = dns_answer != 0 ? error : errno;
    return dns_answer != 0 ? dns_answer : __real_getaddrinfo(h, s, a, l);
}

/* ---- scenes ---- */

struct scene {
    struct net n;
    xev_threadpool pool;
    int fds[32]; /* to be closed at the end */
    int fds_len;
    char dir[64];
    bool done; /* nothing failed */
};

/* Code is a result of the library: what was asked for, or the failure that was planned. */
static bool good(struct scene *s, int code) {
    inject_arm(false);
    if (code < 0) {
        s->done = false;
        if (inject.hits == 0 || code != -error) {
            CHECK_FAIL("%s, time %d, %s: the result is %s", target, inject.at, strerror(error),
                       xev_err_name(code));
        }
    }
    return code >= 0;
}

/* LIB(s, a call that returns a code) */
#define LIB(s, call) (inject_arm(true), good((s), (call)))

static bool made(struct scene *s, int code, const int *fd) {
    if (good(s, code)) {
        s->fds[s->fds_len++] = *fd;
        return true;
    }
    return false;
}

/* Whether the submitted op ended well. A run that fails is tried again. */
static bool went(struct scene *s, struct op *op) {
    inject_arm(true);
    for (int i = 0; op->calls == 0 && i < 100000; i++) {
        int rc = xev_loop_run(&s->n.loop, XEV_RUN_ONCE);
        if (rc < 0) {
            (void)good(s, rc);
        }
    }
    inject_arm(false);
    CHECK_GT(op->calls, 0);
    return good(s, op->result == XEV_EOF ? 0 : op->result);
}

/* RUN(s, op, xev_...(.., ARG)): submit and wait for the end. */
#define RUN(s, op, call) (op_new(op, &(s)->n), inject_arm(true), (call), went(s, op))
#define ON &s->n.loop, &op->c
#define ARG op, op_called

static xev_addr loopback(void) {
    xev_addr a;
    CHECK_EQ(xev_addr_parse(&a, "127.0.0.1", 0), 0);
    return a;
}

static void tcp_scene(struct scene *s) {
    struct op ops[3], *op = &ops[0], *other = &ops[1];
    xev_tcp listener, client, server;
    xev_addr at = loopback(), where;
    char buf[16];
    inject_arm(true);
    if (!made(s, xev_tcp_init(&listener, XEV_AF_INET), &listener.fd) ||
        !LIB(s, xev_tcp_bind(listener, &at, true)) || !LIB(s, xev_tcp_listen(listener, 4)) ||
        !LIB(s, xev_tcp_local_addr(listener, &at))) {
        return;
    }
    inject_arm(true);
    if (!made(s, xev_tcp_init(&client, XEV_AF_INET), &client.fd) ||
        !LIB(s, xev_tcp_set_buffers(client, 65536, 65536)) ||
        !LIB(s, xev_tcp_set_nodelay(client, true)) ||
        !LIB(s, xev_tcp_set_keepalive(client, 9000)) ||
        !RUN(s, op, xev_tcp_connect(client, ON, &at, ARG)) ||
        !LIB(s, xev_tcp_peer_addr(client, &where)) ||
        !RUN(s, op, xev_tcp_accept(listener, ON, ARG))) {
        return;
    }
    server = xev_tcp_from_fd(op->result);
    s->fds[s->fds_len++] = server.fd;
    /* The receiver waits before there is anything. */
    op_new(other, &s->n);
    inject_arm(true);
    xev_tcp_recv(server, &s->n.loop, &other->c, buf, 4, other, op_called);
    bool sent = RUN(s, op, xev_tcp_send(client, ON, "data", 4, ARG));
    if (!sent && other->calls == 0) {
        plain_send(client.fd, "data", 4);
    }
    if (!went(s, other) || !sent) {
        return;
    }
    if (!RUN(s, op, xev_tcp_send(client, ON, "data", 4, ARG)) ||
        !LIB(s, xev_tcp_unread_bytes(server)) || !RUN(s, op, xev_tcp_recv_loan(server, ON, ARG)) ||
        !RUN(s, op, xev_tcp_shutdown(client, ON, ARG)) ||
        !RUN(s, op, xev_tcp_recv(server, ON, buf, 4, ARG)) || op->result != XEV_EOF ||
        !LIB(s, xev_tcp_set_reset_on_close(server, true))) {
        return;
    }
    int late = plain_connect(listener.fd);
    wait_readable(listener.fd);
    s->fds[s->fds_len++] = late;
    inject_arm(true);
    int now = xev_tcp_accept_now(listener);
    if (made(s, now, &now)) {
        s->fds_len--;
        op_new(op, &s->n);
        (void)RUN(s, op, xev_tcp_close(xev_tcp_from_fd(now), ON, ARG));
        CHECK(!is_open(now)); /* whatever it said */
    }
}

static void udp_scene(struct scene *s) {
    struct op one, *op = &one;
    xev_addr at[2], group;
    xev_udp udp[2];
    char buf[2][64];
    CHECK_EQ(xev_addr_parse(&group, "239.1.2.3", 0), 0);
    for (int i = 0; i < 2; i++) {
        at[i] = loopback();
        inject_arm(true);
        if (!made(s, xev_udp_init(&udp[i], XEV_AF_INET), &udp[i].fd) ||
            !LIB(s, xev_udp_bind(udp[i], &at[i], XEV_UDP_REUSE_ADDR | XEV_UDP_REUSE_PORT)) ||
            !LIB(s, xev_udp_local_addr(udp[i], &at[i]))) {
            return;
        }
    }
    if (!LIB(s, xev_udp_connect(udp[0], &at[1])) || !LIB(s, xev_udp_connect(udp[0], NULL)) ||
        !LIB(s, xev_udp_connect(udp[0], &at[1])) || !LIB(s, xev_udp_set_broadcast(udp[0], true)) ||
        !LIB(s, xev_udp_set_ttl(udp[0], 8)) || !LIB(s, xev_udp_set_multicast_ttl(udp[0], 2)) ||
        !LIB(s, xev_udp_set_multicast_loop(udp[0], true)) ||
        !LIB(s, xev_udp_set_multicast_interface(udp[0], 0)) ||
        !LIB(s, xev_udp_set_buffers(udp[0], 65536, 65536)) || !LIB(s, xev_udp_set_gro(udp[0], 1))) {
        return;
    }
    xev_datagram out[2] = {{.data = "one", .len_bytes = 3}, {.data = "two", .len_bytes = 3}};
    xev_datagram in[2] = {{.buf = buf[0], .capacity_bytes = 64},
                          {.buf = buf[1], .capacity_bytes = 64}};
    if (RUN(s, op, xev_udp_send(udp[0], ON, &out[0], ARG)) &&
        RUN(s, op, xev_udp_recv(udp[1], ON, &in[0], ARG)) &&
        RUN(s, op, xev_udp_send_batch(udp[0], ON, out, 2, ARG)) &&
        RUN(s, op, xev_udp_recv_batch(udp[1], ON, in, 2, ARG)) &&
        RUN(s, op, xev_udp_send(udp[0], ON, &out[1], ARG))) {
        (void)RUN(s, op, xev_udp_recv_multi(udp[1], ON, &in[0], ARG));
        if (op->ends == 0) {
            cancel_op(op, 0);
        }
    }
}

static const char *path_in(const struct scene *s, const char *name) {
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", s->dir, name);
    return path;
}

static void local_scene(struct scene *s) {
    struct op one, *op = &one;
    xev_unix pair[2], stale, sock;
    xev_addr at;
    xev_fd in, out, got[2];
    char buf[8];
    const char *path = path_in(s, "socket");
    CHECK_EQ(xev_addr_unix(&at, path, strlen(path)), 0);
    /* What a program that crashed leaves. */
    CHECK_EQ(xev_unix_init(&stale, XEV_UNIX_STREAM), 0);
    CHECK_EQ(xev_unix_bind(stale, &at, XEV_UNIX_KEEP), 0);
    CHECK_EQ(xev_unix_close_now(stale), 0);
    inject_arm(true);
    if (!made(s, xev_unix_init(&sock, XEV_UNIX_STREAM), &sock.fd)) {
        return;
    }
    inject_arm(true);
    int rc = xev_unix_bind(sock, &at, XEV_UNIX_STALE);
    if (rc == XEV_EADDRINUSE && inject.hits > 0) {
        rc = -error; /* the connect of the question failed */
    }
    if (!good(s, rc) || !LIB(s, xev_unix_listen(sock, 4)) || !LIB(s, xev_unix_unlink(&at))) {
        return;
    }
    inject_arm(true);
    if (!made(s, xev_unix_pair(pair, XEV_UNIX_STREAM), &pair[0].fd)) {
        return;
    }
    s->fds[s->fds_len++] = pair[1].fd;
    xev_unix_cred cred;
    xev_unix_msg send_msg = {.buf = buf, .len_bytes = 4, .fds = &pair[0].fd, .fds_len = 1};
    xev_unix_msg recv_msg = {.buf = buf, .len_bytes = 4, .fds = got, .fds_max = 1};
    if (!LIB(s, xev_unix_peer_cred(pair[0], &cred)) ||
        !LIB(s, xev_unix_set_buffers(pair[0], 65536, 65536)) ||
        !RUN(s, op, xev_unix_send_msg(pair[0], ON, &send_msg, ARG)) ||
        !RUN(s, op, xev_unix_recv_msg(pair[1], ON, &recv_msg, ARG))) {
        return;
    }
    CHECK_EQ(recv_msg.fds_len, 1);
    s->fds[s->fds_len++] = got[0];
    inject_arm(true);
    if (!made(s, xev_pipe_open(&in, &out), &in)) {
        return;
    }
    s->fds[s->fds_len++] = out;
    struct op watch;
    op_new(&watch, &s->n);
    inject_arm(true);
    xev_fd_poll(in, &s->n.loop, &watch.c, XEV_POLL_IN, &watch, op_called);
    if (!RUN(s, op, xev_fd_write(out, ON, "data", 4, ARG))) {
        CHECK_EQ(write(out, "data", 4), 4);
    }
    if (went(s, &watch)) {
        (void)RUN(s, op, xev_fd_read(in, ON, buf, 4, ARG));
    }
}

/* File requests: their completion is not an op's. */
struct request {
    xev_file_req r;
    int calls, result;
};

static xev_cb_action request_called(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct request *q = userdata;
    (void)loop;
    CHECK(c == &q->r.c);
    q->calls++;
    q->result = result;
    return XEV_DISARM;
}

static bool file_went(struct scene *s, struct request *q) {
    for (int i = 0; q->calls == 0 && i < 100000; i++) {
        int rc = xev_loop_run(&s->n.loop, XEV_RUN_ONCE);
        if (rc < 0) {
            (void)good(s, rc);
            inject_arm(true);
        }
    }
    inject_arm(false);
    CHECK_EQ(q->calls, 1);
    return good(s, q->result == XEV_EOF ? 0 : q->result);
}

/* FILE_RUN(s, xev_file_...(.., FILE_ON, .., FILE_ARG)) */
#define FILE_RUN(s, call) (q = (struct request){0}, inject_arm(true), (call), file_went((s), &q))
#define FILE_ON l, &q.r
#define FILE_ARG &q, request_called

static void file_scene(struct scene *s) {
    static struct request q;
    static _Alignas(8) char buf[4096];
    xev_loop *l = &s->n.loop;
    struct op one, *op = &one;
    char file[128], copy[128], gone[128];
    xev_vec vec[2] = {{buf, 4}, {buf, 4}};
    int pair[2];
    snprintf(file, sizeof file, "%s/file", s->dir);
    snprintf(copy, sizeof copy, "%s/copy", s->dir);
    snprintf(gone, sizeof gone, "%s/gone", s->dir);
    const uint32_t how = XEV_OPEN_READ | XEV_OPEN_WRITE | XEV_OPEN_CREATE;
    if (!FILE_RUN(s, xev_file_open(FILE_ON, file, how, 0600, FILE_ARG))) {
        return;
    }
    int fd = q.result;
    s->fds[s->fds_len++] = fd;
    if (!FILE_RUN(s, xev_file_writev(fd, FILE_ON, vec, 2, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_pwrite(fd, FILE_ON, buf, 8, 8, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_pread(fd, FILE_ON, buf, 8, 0, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_read(fd, FILE_ON, buf, 8, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_fsync(fd, FILE_ON, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_fdatasync(fd, FILE_ON, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_truncate(fd, FILE_ON, 8, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_truncate_path(FILE_ON, file, 6, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_stat_fd(fd, FILE_ON, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_stat_path(FILE_ON, file, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_lstat_path(FILE_ON, file, FILE_ARG))) {
        return;
    }
    CHECK_EQ(q.r.stat.size_bytes, 6);
    bool copied = FILE_RUN(s, xev_file_copy(FILE_ON, file, copy, 0, FILE_ARG));
    /* None, or all of it. */
    struct stat st;
    CHECK(__real_lstat(copy, &st) < 0 || (copied && st.st_size == 6));
    if (!copied || !FILE_RUN(s, xev_file_copy(FILE_ON, file, copy, 0, FILE_ARG)) || /* over it */
        !FILE_RUN(s, xev_file_rename(FILE_ON, copy, gone, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_link(FILE_ON, gone, copy, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_unlink(FILE_ON, gone, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_symlink(FILE_ON, copy, gone, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_unlink(FILE_ON, gone, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_mkdir(FILE_ON, gone, 0700, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_rmdir(FILE_ON, gone, FILE_ARG)) ||
        !FILE_RUN(s, xev_file_open(FILE_ON, s->dir, XEV_OPEN_DIRECTORY, 0, FILE_ARG))) {
        return;
    }
    int dir = q.result;
    bool listed = FILE_RUN(s, xev_file_readdir(dir, FILE_ON, buf, sizeof buf, FILE_ARG));
    bool closed = FILE_RUN(s, xev_file_close(dir, FILE_ON, FILE_ARG));
    CHECK(!is_open(dir));
    inject_arm(true);
    if (!listed || !closed ||
        !made(s, xev_unix_pair((xev_unix *)pair, XEV_UNIX_STREAM), &pair[0])) {
        return;
    }
    s->fds[s->fds_len++] = pair[1];
    if (FILE_RUN(s, xev_file_sendfile(pair[0], FILE_ON, fd, 0, 6, FILE_ARG))) {
        CHECK_EQ(q.result, 6);
        (void)RUN(s, op, xev_fd_read(pair[1], ON, buf, 6, ARG));
    }
}

static void process_scene(struct scene *s) {
    static const char *const argv[] = {"/bin/cat", NULL};
    struct op one, *op = &one;
    xev_process_options options = {.argv = argv};
    xev_process p, other;
    xev_signal hup;
    xev_fs_event changes;
    options.stdio[0].kind = options.stdio[1].kind = XEV_STDIO_PIPE;
    inject_arm(true);
    if (!made(s, xev_process_spawn(&p, &options), &p.stdio[0])) {
        CHECK_EQ(p.fd, XEV_INVALID_FD);
        return;
    }
    s->fds[s->fds_len++] = p.stdio[1];
    inject_arm(true);
    if (made(s, xev_process_open(&other, p.pid), &other.fd)) {
        (void)LIB(s, xev_process_kill(&other, 0));
    }
    CHECK_EQ(kill(p.pid, SIGKILL), 0);
    if (!RUN(s, op, xev_process_wait(&p, ON, ARG)) && s->n.fds_before > 0) {
        CHECK_EQ(waitpid(p.pid, NULL, 0), p.pid);
    }
    (void)RUN(s, op, xev_process_close(&p, ON, ARG));
    inject_arm(true);
    int rc = xev_fs_event_init(&changes, s->dir);
    if (made(s, rc, &changes.fd)) {
        if (changes.file != XEV_INVALID_FD) {
            s->fds[s->fds_len++] = changes.file;
        }
        CHECK_EQ(mkdir(path_in(s, "made"), 0700), 0);
        (void)RUN(s, op, xev_fs_event_wait(&changes, ON, ARG));
        CHECK_EQ(rmdir(path_in(s, "made")), 0);
    }
    if (LIB(s, xev_signal_init(&hup, SIGHUP))) {
        CHECK_EQ(raise(SIGHUP), 0);
        (void)RUN(s, op, xev_signal_wait(&hup, ON, ARG));
    }
    xev_signal_deinit(&hup);
}

/* The descriptor for a host, in a program without a standard input. */
static void host_scene(struct scene *s) {
    int saved = dup(STDIN_FILENO);
    CHECK_GE(saved, 0);
    CHECK_EQ(close(STDIN_FILENO), 0);
    (void)LIB(s, xev_loop_backend_fd(&s->n.loop));
    CHECK_GT(xev_loop_backend_fd(&s->n.loop), STDERR_FILENO); /* the failure does not last */
    CHECK(!is_open(STDIN_FILENO));
    CHECK_EQ(dup2(saved, STDIN_FILENO), STDIN_FILENO);
    CHECK_EQ(close(saved), 0);
}

/* ---- each call, each time ---- */

static xev_loop_options with_pool(struct scene *s) {
    xev_threadpool_config cfg;
    xev_threadpool_config_init(&cfg);
    CHECK_EQ(xev_threadpool_init(&s->pool, &cfg), 0);
    return (xev_loop_options){.thread_pool = &s->pool};
}

static void remove_left_over(const struct scene *s) {
    static const char *const names[] = {"socket", "file", "copy", "gone"};
    for (int i = 0; i < 4; i++) {
        (void)unlink(path_in(s, names[i]));
    }
    (void)rmdir(path_in(s, "gone"));
    CHECK_EQ(rmdir(s->dir), 0);
}

/* True: the call was made at least so many times. */
static bool play(void (*scene)(struct scene *), int at) {
    static struct scene s;
    memset(&s, 0, sizeof s);
    const char *tmp = getenv("TEST_TMPDIR");
    snprintf(s.dir, sizeof s.dir, "%.40s/xev.XXXXXX",
             tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
    CHECK(mkdtemp(s.dir) != NULL);
    s.done = true;
    inject_plan(at, INJECT_ONCE);
    inject_arm(false);
    int before = open_fds();
    xev_loop_options options = with_pool(&s);
    inject_arm(true);
    int rc = xev_loop_init_options(&s.n.loop, &options);
    if (good(&s, rc)) {
        s.n.fds_before = before;
        s.n.loop.userdata = &s.n;
        scene(&s);
        inject_arm(false);
        CHECK(inject.hits > 0 || s.done);
        if (error == EINTR && !s.done) {
            CHECK_FAIL("%s, time %d: the interruption was noticed", target, at);
        }
        struct op op;
        int fd[2];
        char buf[4];
        local_pair(fd); /* it goes on */
        op_new(&op, &s.n);
        xev_tcp_recv(xev_tcp_from_fd(fd[0]), &s.n.loop, &op.c, buf, 4, &op, op_called);
        settle(&s.n);
        plain_send(fd[1], "work", 4);
        run_op(&op);
        CHECK_EQ(op.result, 4);
        close_fd(&s.n, fd[0]);
        CHECK_EQ(close(fd[1]), 0);
        for (int i = 0; i < s.fds_len; i++) {
            close_fd(&s.n, s.fds[i]);
        }
        xev_loop_deinit(&s.n.loop);
    }
    xev_threadpool_deinit(&s.pool);
    if (open_fds() != before) {
        CHECK_FAIL("%s, time %d, %s: a descriptor leaks", target, at, strerror(error));
    }
    remove_left_over(&s);
    return inject.hits > 0;
}

static void (*const scenes[])(struct scene *) = {tcp_scene,  udp_scene,     local_scene,
                                                 file_scene, process_scene, host_scene};

static void each_call(const char *const *calls, int code) {
    for (const char *const *call = calls; *call != NULL; call++) {
        for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++) {
            target = *call;
            error = code;
            for (int at = 1; play(scenes[i], at); at++) {
                CHECK_LT(at, 200);
            }
        }
    }
}

static const char *const interruptible[] = {
    "accept4", "close",     "copy_file_range", "epoll_pwait2", "fdatasync", "fsync",
    "open",    "poll",      "preadv",          "pwritev",      "read",      "readv",
    "recv",    "recvmsg",   "recvmmsg",        "send",         "sendfile",  "sendmmsg",
    "sendmsg", "ftruncate", "waitid",          "truncate",     "write",     "writev",
    NULL};

TEST_TIMEOUT(interrupted_calls_are_not_noticed, 100) { each_call(interruptible, EINTR); }

/* All but those whose failure has no one to be told to: what ends or wakes something. */
static const char *const all[] = {"accept4",
                                  "bind",
                                  "connect",
                                  "copy_file_range",
                                  "epoll_create1",
                                  "epoll_ctl",
                                  "epoll_pwait2",
                                  "eventfd",
                                  "fcntl",
                                  "fdatasync",
                                  "fstat",
                                  "fstatat",
                                  "fsync",
                                  "ftruncate",
                                  "getdents64",
                                  "getpeername",
                                  "getsockname",
                                  "getsockopt",
                                  "inotify_add_watch",
                                  "inotify_init1",
                                  "ioctl",
                                  "link",
                                  "listen",
                                  "lstat",
                                  "mkdir",
                                  "open",
                                  "pipe2",
                                  "poll",
                                  "preadv",
                                  "pwritev",
                                  "read",
                                  "readv",
                                  "recv",
                                  "recvmmsg",
                                  "recvmsg",
                                  "rename",
                                  "rmdir",
                                  "send",
                                  "sendfile",
                                  "sendmmsg",
                                  "sendmsg",
                                  "setsockopt",
                                  "shutdown",
                                  "sigaction",
                                  "socket",
                                  "socketpair",
                                  "symlink",
                                  "truncate",
                                  "unlink",
                                  "waitid",
                                  "write",
                                  "writev",
                                  "close",
                                  NULL};

TEST_TIMEOUT(calls_without_memory_say_so, 100) { each_call(all, ENOMEM); }

TEST_TIMEOUT(calls_that_fail_for_good_say_so, 100) { each_call(all, EIO); }

/* The kernel knows the descriptor and then does not: the answer is the operation's. */
TEST(a_registration_that_cannot_be_renewed_is_an_error) {
    struct net n;
    struct op op;
    int fd[2];
    char buf[4];
    static const xev_loop_options by_epoll = {.backend = XEV_BACKEND_EPOLL};
    net_open(&n, &by_epoll);
    local_pair(fd);
    target = "epoll_ctl";
    error = EEXIST;
    inject_plan(1, INJECT_ONCE);
    op_new(&op, &n);
    xev_tcp_recv(xev_tcp_from_fd(fd[0]), &n.loop, &op.c, buf, 4, &op, op_called);
    run_op(&op);
    inject_arm(false);
    CHECK_EQ(op.result, XEV_ENOENT);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

/* A listener goes on, whatever is short when it is registered. */
TEST(an_accept_outlasts_a_lack_of_room_for_its_registration) {
    static const int errors[] = {ENOMEM, ENOSPC};
    static const xev_loop_options by_epoll = {.backend = XEV_BACKEND_EPOLL};
    for (int i = 0; i < 2; i++) {
        struct net n;
        struct op op;
        int listener = plain_listener(4);
        net_open(&n, &by_epoll);
        target = "epoll_ctl";
        error = errors[i];
        inject_plan(1, INJECT_ONCE);
        op_new(&op, &n);
        xev_tcp_accept_multi(xev_tcp_from_fd(listener), &n.loop, &op.c, &op, op_called);
        run_until(&n, &op.calls, 1);
        CHECK_EQ(op.result, -errors[i]);
        CHECK_EQ(op.ends, 0);
        int client = plain_connect(listener);
        run_until(&n, &op.calls, 2);
        inject_arm(false);
        CHECK_GE(op.result, 0);
        CHECK_EQ(close(op.result), 0);
        CHECK_EQ(close(client), 0);
        close_fd(&n, listener);
        n.fds_before--; /* the listener */
        net_close(&n);
    }
}

/* ---- names ---- */

static xev_cb_action dns_called(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    *(int *)userdata = result;
    return XEV_DISARM;
}

TEST(what_a_resolver_says_is_a_code) {
    static const struct {
        int theirs, error, ours;
    } cases[] = {
        {EAI_NONAME, 0, XEV_ENONAME},     {EAI_AGAIN, 0, XEV_EDNS_AGAIN},
        {EAI_SERVICE, 0, XEV_ENOSERVICE}, {EAI_FAMILY, 0, XEV_EAFNOSUPPORT},
        {EAI_MEMORY, 0, XEV_ENOMEM},      {EAI_OVERFLOW, 0, XEV_ENOBUFS},
        {EAI_SYSTEM, EMFILE, XEV_EMFILE}, {EAI_SYSTEM, 0, XEV_EDNS_FAIL},
        {EAI_FAIL, 0, XEV_EDNS_FAIL},     {EAI_BADFLAGS, 0, XEV_EDNS_FAIL},
        {EAI_ADDRFAMILY, 0, XEV_ENONAME}, {EAI_NODATA, 0, XEV_ENONAME},
    };
    static struct scene s;
    static xev_dns_req req;
    xev_addr addr;
    xev_loop_options options = with_pool(&s);
    CHECK_EQ(xev_loop_init_options(&s.n.loop, &options), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int result = 1;
        dns_answer = cases[i].theirs;
        error = cases[i].error;
        xev_dns_resolve(&s.n.loop, &req, "somewhere", "http", XEV_AF_UNSPEC, &addr, 1, &result,
                        dns_called);
        while (result == 1) {
            CHECK_EQ(xev_loop_run(&s.n.loop, XEV_RUN_ONCE), 0);
        }
        CHECK_EQ(result, cases[i].ours);
    }
    xev_loop_deinit(&s.n.loop);
    xev_threadpool_deinit(&s.pool);
}
