/* Linux: clock, wake descriptor, sockets. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "xev/os/os.h"
#include "xev/os/process.h"
#include "xev/os/unix.h"

_Static_assert(sizeof(((xev_addr *)0)->storage) >= sizeof(struct sockaddr_in6), "address fits");

static int result(long rc) { return rc < 0 ? -errno : (int)rc; }

uint64_t xev__os_now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t xev__os_coarse_now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    /* It is the time of the last tick; the longest tick there is, is 10 ms. */
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + 10000000u;
}

/* Not pthread_self: a new thread may get that of one that ended. */
uint64_t xev__os_thread_id(void) {
    static _Atomic uint64_t last;
    static _Thread_local uint64_t id;
    if (id == 0) {
        id = ++last;
    }
    return id;
}

uint32_t xev__os_forks;
static int fork_watch_failed;

static void (*in_child)(void);

static void count_fork(void) {
    xev__os_forks++;
    xev__os_process_forked();
    void (*fn)(void) = __atomic_load_n(&in_child, __ATOMIC_RELAXED);
    if (fn != NULL) {
        fn();
    }
}

static void watch_forks(void) { fork_watch_failed = pthread_atfork(NULL, NULL, count_fork); }

int xev__os_watch_forks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, watch_forks);
    return -fork_watch_failed;
}

int xev__os_in_forked_child(void (*fn)(void)) {
    __atomic_store_n(&in_child, fn, __ATOMIC_RELAXED);
    return xev__os_watch_forks();
}

void xev__os_code_place(const void *code, char *text, size_t len_bytes) {
    Dl_info info;
    void *extra;
    if (dladdr1(code, &info, &extra, RTLD_DL_LINKMAP) == 0) {
        snprintf(text, len_bytes, "%p", code);
        return;
    }
    const struct link_map *map = extra;
    const char *slash = strrchr(info.dli_fname, '/');
    snprintf(text, len_bytes, "%s+%#jx", slash != NULL ? slash + 1 : info.dli_fname,
             (uintmax_t)((uintptr_t)code - map->l_addr));
}

void xev__os_sleep_ms(uint32_t ms) {
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&ts, &ts) != 0 && errno == EINTR) {
    }
}

int xev__os_wake_open(xev_fd *fd) {
    *fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return *fd < 0 ? -errno : 0;
}

void xev__os_wake_signal(xev_fd fd) {
    uint64_t one = 1;
    /* EAGAIN: the counter is full, so the waiter has been woken more than enough. */
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void xev__os_wake_drain(xev_fd fd) {
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
}

int xev__os_close(xev_fd fd) {
    /* Linux has released the descriptor when close returns, EINTR included. */
    int rc = result(close(fd));
    return rc == XEV_EINTR ? 0 : rc;
}

bool xev__os_is_open(xev_fd fd) { return fcntl(fd, F_GETFD) >= 0; }

int xev__os_set_nonblocking(xev_fd fd, bool on) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        return -errno;
    }
    int want = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return want == flags ? 0 : result(fcntl(fd, F_SETFL, want));
}

bool xev__os_exhausted(int code) {
    return code == XEV_EMFILE || code == XEV_ENFILE || code == XEV_ENOBUFS || code == XEV_ENOMEM ||
           code == XEV_ENOSPC; /* epoll's limit per user */
}

/* ---- addresses ---- */

static struct sockaddr *sa(xev_addr *a) { return (struct sockaddr *)(void *)a->storage; }
static const struct sockaddr *csa(const xev_addr *a) {
    return (const struct sockaddr *)(const void *)a->storage;
}

int xev_addr_parse(xev_addr *addr, const char *host, uint32_t port) {
    if (addr == NULL || host == NULL || port > 65535) {
        return XEV_EINVAL;
    }
    memset(addr, 0, sizeof *addr);
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)addr->storage;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        addr->len_bytes = sizeof *v4;
        return 0;
    }
    char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    size_t len = strlen(host);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (len >= sizeof text) {
        return XEV_EINVAL;
    }
    memcpy(text, host, len);
    text[len] = '\0';
    char *scope = strchr(text, '%');
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)addr->storage;
    if (scope != NULL) {
        *scope++ = '\0';
        char *end;
        unsigned long index = strtoul(scope, &end, 10);
        v6->sin6_scope_id = *end == '\0' ? (uint32_t)index : if_nametoindex(scope);
        if (v6->sin6_scope_id == 0) {
            return XEV_EINVAL;
        }
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1) {
        return XEV_EINVAL;
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    addr->len_bytes = sizeof *v6;
    return 0;
}

enum xev_family xev_addr_family(const xev_addr *addr) {
    if (addr == NULL || addr->len_bytes == 0) {
        return XEV_AF_UNSPEC;
    }
    return csa(addr)->sa_family == AF_INET    ? XEV_AF_INET
           : csa(addr)->sa_family == AF_INET6 ? XEV_AF_INET6
           : csa(addr)->sa_family == AF_UNIX  ? XEV_AF_UNIX
                                              : XEV_AF_UNSPEC;
}

uint32_t xev_addr_port(const xev_addr *addr) {
    if (addr == NULL) {
        return 0;
    }
    const struct sockaddr_in *v4 = (const void *)addr->storage;
    const struct sockaddr_in6 *v6 = (const void *)addr->storage;
    switch (xev_addr_family(addr)) {
    case XEV_AF_INET:
        return ntohs(v4->sin_port);
    case XEV_AF_INET6:
        return ntohs(v6->sin6_port);
    default:
        return 0;
    }
}

int xev_addr_format(const xev_addr *addr, char *out, size_t len_bytes) {
    char ip[INET6_ADDRSTRLEN] = "", scope[16] = "";
    bool v6 = xev_addr_family(addr) == XEV_AF_INET6;
    if (out == NULL || len_bytes == 0) {
        return XEV_EINVAL;
    }
    out[0] = '\0';
    if (xev_addr_family(addr) == XEV_AF_UNIX) {
        return xev__os_unix_format(addr, out, len_bytes);
    }
    if (v6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)addr->storage;
        inet_ntop(AF_INET6, &a->sin6_addr, ip, sizeof ip);
        if (a->sin6_scope_id != 0) {
            snprintf(scope, sizeof scope, "%%%u", a->sin6_scope_id);
        }
    } else if (xev_addr_family(addr) == XEV_AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)addr->storage;
        inet_ntop(AF_INET, &a->sin_addr, ip, sizeof ip);
    } else {
        return XEV_EINVAL;
    }
    int n = snprintf(out, len_bytes, v6 ? "[%s%s]:%u" : "%s%s:%u", ip, scope, xev_addr_port(addr));
    return n >= 0 && (size_t)n < len_bytes ? 0 : XEV_EINVAL;
}

/* ---- sockets ---- */

static int set_int(xev_fd fd, int level, int name, int value) {
    return result(setsockopt(fd, level, name, &value, sizeof value));
}

int xev__os_tcp_socket(enum xev_family family, xev_fd *fd) {
    int domain = family == XEV_AF_INET ? AF_INET : family == XEV_AF_INET6 ? AF_INET6 : -1;
    /* Blocking: io_uring waits by itself, and fails at once on a non-blocking descriptor; the
     * readiness backends say MSG_DONTWAIT. */
    *fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return *fd < 0 ? -errno : 0;
}

int xev__os_bind(xev_fd fd, const xev_addr *addr, bool reuse_port) {
    int rc = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (rc == 0 && reuse_port) {
        rc = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (rc == 0 && xev_addr_family(addr) == XEV_AF_INET6) {
        rc = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    return rc == 0 ? result(bind(fd, csa(addr), addr->len_bytes)) : rc;
}

int xev__os_listen(xev_fd fd, int backlog) { return result(listen(fd, backlog)); }

int xev__os_accept(xev_fd fd) {
    int rc;
    do {
        rc = result(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
    } while (rc == XEV_EINTR);
    return rc;
}

bool xev__os_is_of_connection(xev_fd listener, int code) {
    int listening = 0;
    socklen_t len = sizeof listening;
    switch (-code) {
    case ECONNABORTED:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EPERM:
    case EPROTO:
        return true;
    case EOPNOTSUPP:
        /* Or this is no kind of socket to accept from, and never will be. */
        return getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 &&
               listening != 0;
    default:
        return false;
    }
}

/* A look that does not wait, but may be interrupted. */
static int poll_now(struct pollfd *p) {
    int rc;
    do {
        rc = result(poll(p, 1, 0));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_accept_now(xev_fd fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int rc = fd < 0 ? XEV_EBADF : poll_now(&p); /* poll passes over a negative one */
    if (rc <= 0) {
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    if ((p.revents & POLLNVAL) != 0) {
        return XEV_EBADF;
    }
    /* Another process may accept it in between. */
    rc = xev__os_set_nonblocking(fd, true);
    for (int tries = 0; rc == 0 && tries < 16; tries++) {
        int accepted = xev__os_accept(fd);
        rc = xev__os_is_of_connection(fd, accepted) ? 0 : accepted;
        if (accepted >= 0) {
            return accepted;
        }
    }
    return rc == 0 ? XEV_EAGAIN : rc;
}

int xev__os_connect(xev_fd fd, const xev_addr *addr) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        return -errno;
    }
    if ((flags & O_NONBLOCK) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return -errno;
    }
    int rc = result(connect(fd, csa(addr), addr->len_bytes));
    if ((flags & O_NONBLOCK) == 0) {
        (void)fcntl(fd, F_SETFL, flags);
    }
    return rc == XEV_EINTR ? XEV_EINPROGRESS : rc;
}

int xev__os_connect_result(xev_fd fd) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int rc = poll_now(&p);
    if (rc <= 0) {
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0) {
        return -errno;
    }
    if (error == 0 && (p.revents & POLLHUP) != 0) {
        /* Closed: a receive that did not wait for us may have taken the error. */
        struct sockaddr_storage peer;
        len = sizeof peer;
        return result(getpeername(fd, (struct sockaddr *)(void *)&peer, &len));
    }
    return -error;
}

int xev__os_recv(xev_fd fd, void *buf, size_t len_bytes) {
    int rc;
    do {
        rc = result(recv(fd, buf, len_bytes, MSG_DONTWAIT));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_send(xev_fd fd, const void *buf, size_t len_bytes) {
    int rc;
    do {
        rc = result(send(fd, buf, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_sendmsg(xev_fd fd, const void *msg) {
    int rc;
    do {
        rc = result(sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_recvmsg(xev_fd fd, void *msg) {
    int rc;
    do {
        rc = result(recvmsg(fd, msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_read(xev_fd fd, void *buf, size_t len_bytes) {
    int rc;
    do {
        rc = result(read(fd, buf, len_bytes));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_write(xev_fd fd, const void *buf, size_t len_bytes) {
    int rc;
    do {
        rc = result(write(fd, buf, len_bytes));
    } while (rc == XEV_EINTR);
    return rc;
}

static const struct {
    uint32_t ours, theirs;
} poll_bits[] = {
    {XEV_POLL_IN, POLLIN},   {XEV_POLL_OUT, POLLOUT}, {XEV_POLL_PRI, POLLPRI},
    {XEV_POLL_ERR, POLLERR}, {XEV_POLL_HUP, POLLHUP}, {XEV_POLL_HUP, POLLRDHUP},
};
/* io_uring does not wake for POLLPRI alone; whoever announces that announces this too. */
#define POLL_PRI_WAKES POLLRDBAND
#define POLL_BITS (sizeof poll_bits / sizeof poll_bits[0])

uint32_t xev__os_poll_mask(uint32_t mask) {
    uint32_t theirs = 0;
    for (size_t i = 0; i < POLL_BITS; i++) {
        theirs |= (mask & poll_bits[i].ours) != 0 ? poll_bits[i].theirs : 0;
    }
    return (theirs & POLLPRI) != 0 ? theirs | POLL_PRI_WAKES : theirs;
}

uint32_t xev__os_poll_result(uint32_t revents, uint32_t mask) {
    uint32_t ours = 0;
    if ((mask & XEV_POLL_HUP) == 0) {
        revents &= ~(uint32_t)POLLRDHUP; /* io_uring reports it to everyone */
    }
    for (size_t i = 0; i < POLL_BITS; i++) {
        ours |= (revents & poll_bits[i].theirs) != 0 ? poll_bits[i].ours : 0;
    }
    return ours;
}

int xev__os_poll_now(xev_fd fd, uint32_t mask) {
    struct pollfd p = {.fd = fd, .events = (short)xev__os_poll_mask(mask)};
    int rc = poll_now(&p);
    if (rc <= 0) {
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    if ((p.revents & POLLNVAL) != 0) {
        return XEV_EBADF;
    }
    uint32_t found = xev__os_poll_result((uint32_t)(uint16_t)p.revents, mask);
    return found != 0 ? (int)found : XEV_EAGAIN;
}

void xev__os_block_sigpipe(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

_Static_assert(sizeof(struct msghdr) <= 8 * sizeof(uint64_t), "message header fits");
_Static_assert(offsetof(struct iovec, iov_len) == sizeof(void *), "vec is an iovec");

void xev__os_msg_init(uint64_t msg[8], const void *vec, size_t count) {
    struct msghdr *m = (struct msghdr *)(void *)msg;
    memset(m, 0, sizeof *m);
    m->msg_iov = (struct iovec *)(uintptr_t)vec;
    m->msg_iovlen = count;
}

int xev__os_recvv(xev_fd fd, const void *vec, uint32_t count) {
    uint64_t msg[8];
    xev__os_msg_init(msg, vec, count);
    return xev__os_recvmsg(fd, msg);
}

int xev__os_sendv(xev_fd fd, const void *vec, uint32_t count) {
    uint64_t msg[8];
    xev__os_msg_init(msg, vec, count);
    return xev__os_sendmsg(fd, msg);
}

int xev__os_shutdown_write(xev_fd fd) { return result(shutdown(fd, SHUT_WR)); }

int xev__os_check_endpoint(xev_fd fd) {
    int listens = 0;
    socklen_t len = sizeof listens;
    int rc = result(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len));
    return rc == 0 && listens != 0 ? XEV_ENOTCONN : rc;
}

bool xev__os_is_tcp(xev_fd fd) {
    int protocol = 0;
    socklen_t len = sizeof protocol;
    return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 && protocol == IPPROTO_TCP;
}

int xev__os_unread_bytes(xev_fd fd) {
    int n = 0;
    int rc = xev__os_check_endpoint(fd); /* of a file the kernel would say something, too */
    rc = rc == 0 ? result(ioctl(fd, FIONREAD, &n)) : rc;
    return rc < 0 ? rc : n;
}

int xev__os_set_nodelay(xev_fd fd, bool on) { return set_int(fd, IPPROTO_TCP, TCP_NODELAY, on); }

int xev__os_set_keepalive(xev_fd fd, uint32_t idle_s) {
    if (idle_s > 32767) {
        return XEV_EINVAL;
    }
    int rc = set_int(fd, SOL_SOCKET, SO_KEEPALIVE, idle_s > 0);
    if (rc == 0 && idle_s > 0) {
        rc = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)idle_s);
    }
    if (rc == 0 && idle_s > 0) {
        rc = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)idle_s);
    }
    return rc;
}

int xev__os_set_buffers(xev_fd fd, uint32_t send_bytes, uint32_t recv_bytes) {
    if (send_bytes > INT32_MAX || recv_bytes > INT32_MAX) {
        return XEV_EINVAL;
    }
    int rc = send_bytes > 0 ? set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)send_bytes) : 0;
    if (rc == 0 && recv_bytes > 0) {
        rc = set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)recv_bytes);
    }
    return rc;
}

int xev__os_set_linger(xev_fd fd, bool on, uint32_t timeout_s) {
    if (timeout_s > INT32_MAX) {
        return XEV_EINVAL;
    }
    struct linger l = {.l_onoff = on, .l_linger = (int)timeout_s};
    return result(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
}

uint32_t xev__os_linger_s(xev_fd fd) {
    struct linger l = {0};
    socklen_t len = sizeof l;
    bool on = getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len) == 0 && l.l_onoff != 0;
    return on && l.l_linger > 0 ? (uint32_t)l.l_linger : 0;
}

int xev__os_unacked(xev_fd fd) {
    struct tcp_info info;
    socklen_t len = sizeof info;
    int bytes = 0, error = 0;
    /* What is no TCP does not wait in close either. */
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 || ioctl(fd, SIOCOUTQ, &bytes) < 0 ||
        bytes == 0) {
        return 0;
    }
    if (info.tcpi_state != TCP_CLOSE) {
        return XEV_EAGAIN;
    }
    len = sizeof error;
    (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error != 0 ? -error : XEV_ECONNRESET;
}

int xev__os_local_addr(xev_fd fd, xev_addr *addr) {
    socklen_t len = sizeof addr->storage;
    *addr = (xev_addr){0};
    int rc = result(getsockname(fd, sa(addr), &len));
    addr->len_bytes = rc == 0 ? len : 0;
    return rc;
}

int xev__os_peer_addr(xev_fd fd, xev_addr *addr) {
    socklen_t len = sizeof addr->storage;
    *addr = (xev_addr){0};
    int rc = result(getpeername(fd, sa(addr), &len));
    addr->len_bytes = rc == 0 ? len : 0;
    return rc;
}
