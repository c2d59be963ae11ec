/* macOS and the BSDs: what their stream sockets have beyond POSIX. */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "xev/os/bsd/bsd.h"
#include "xev/os/socket.h"

/* What a new socket needs besides: fd, or its code. */
static int ready_socket(int fd) {
    fd = xev__os_above_std(fd);
    if (fd >= 0) {
#if !defined(SOCK_CLOEXEC)
        (void)xev__os_set_cloexec(fd);
#endif
#if defined(SO_NOSIGPIPE)
        /* A write to a connection that is gone raises no SIGPIPE, also in threads of the program.
         */
        (void)xev__sys_set_int(fd, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
    }
    return fd;
}

int xev__sys_socket(int domain, int type, int protocol) {
#if defined(SOCK_CLOEXEC)
    return ready_socket(xev__sys_result(socket(domain, type | SOCK_CLOEXEC, protocol)));
#else
    return ready_socket(xev__sys_result(socket(domain, type, protocol)));
#endif
}

int xev__sys_socketpair(int domain, int type, xev_fd *a, xev_fd *b) {
    int fd[2];
#if defined(SOCK_CLOEXEC)
    int rc = xev__sys_result(socketpair(domain, type | SOCK_CLOEXEC, 0, fd));
#else
    int rc = xev__sys_result(socketpair(domain, type, 0, fd));
#endif
    rc = rc == 0 ? xev__sys_pair_above_std(fd, a, b) : rc;
    if (rc == 0) {
        (void)ready_socket(*a);
        (void)ready_socket(*b);
    }
    return rc;
}

void xev__sys_arrived(int fd) {
#if defined(MSG_CMSG_CLOEXEC)
    (void)fd;
#else
    (void)xev__os_set_cloexec(fd);
#endif
}

int xev__os_tcp_socket(enum xev_family family, xev_fd *fd) {
    int domain = family == XEV_AF_INET ? AF_INET : family == XEV_AF_INET6 ? AF_INET6 : -1;
    int rc = xev__sys_socket(domain, SOCK_STREAM, 0);
    *fd = rc < 0 ? XEV_INVALID_FD : rc;
    return rc < 0 ? rc : 0;
}

int xev__os_accept(xev_fd fd) {
    int rc;
    do {
#if defined(SOCK_CLOEXEC)
        rc = xev__sys_result(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
#else
        rc = xev__sys_result(accept(fd, NULL, NULL));
#endif
    } while (rc == XEV_EINTR);
    rc = ready_socket(rc);
    if (rc >= 0) {
        (void)xev__os_set_nonblocking(rc, false); /* some inherit the listener's O_NONBLOCK */
    }
    return rc;
}

int xev__sys_reuse_port(void) {
#if defined(SO_REUSEPORT_LB)
    return SO_REUSEPORT_LB; /* FreeBSD: SO_REUSEPORT alone gives all to one of them */
#else
    return SO_REUSEPORT;
#endif
}

bool xev__os_is_of_connection(xev_fd listener, int code) {
    (void)listener;
    assert(code < 0);
    return code == XEV_ECONNABORTED || code == XEV_EPROTO || code == XEV_EPERM ||
           code == XEV_ECONNRESET;
}

bool xev__os_is_refused(int code) {
    assert(code < 0);
    return code == XEV_EPERM || code == XEV_EACCES || code == XEV_ENOSYS;
}

bool xev__os_is_tcp(xev_fd fd) {
    int on = 0;
    socklen_t len = sizeof on;
    return getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len) == 0;
}

int xev__os_set_keepalive(xev_fd fd, uint32_t idle_s) {
    if (idle_s > 32767) {
        return XEV_EINVAL;
    }
    int rc = xev__sys_set_int(fd, SOL_SOCKET, SO_KEEPALIVE, idle_s > 0);
    if (rc < 0 || idle_s == 0) {
        return rc;
    }
#if defined(TCP_KEEPIDLE)
    rc = xev__sys_set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)idle_s);
#elif defined(TCP_KEEPALIVE)
    rc = xev__sys_set_int(fd, IPPROTO_TCP, TCP_KEEPALIVE, (int)idle_s);
#else
    rc = XEV_ENOTSUP; /* OpenBSD: net.inet.tcp.keepidle, for all sockets; they are on from now on */
#endif
#if defined(TCP_KEEPINTVL)
    rc = rc == 0 ? xev__sys_set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)idle_s) : rc;
#endif
    return rc;
}

void xev__os_drop_unread(xev_fd fd) {
    char bytes[16 << 10];
    if (!xev__os_is_tcp(fd)) {
        return;
    }
    /* Bounded, where the peer goes on sending: more than a receive buffer holds. */
    for (int i = 0; i < 1024 && xev__os_recv(fd, bytes, sizeof bytes) > 0; i++) {
    }
}

int xev__os_unacked(xev_fd fd) {
    int error = 0;
    socklen_t len = sizeof error;
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof peer;
    int bytes = xev__os_is_tcp(fd) ? xev__bsd_send_queue(fd) : 0;
    if (bytes <= 0) {
        return 0; /* a close of another kind of socket does not wait for data */
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error != 0) {
        return -error;
    }
    /* A connection that is gone has no peer. */
    return getpeername(fd, (struct sockaddr *)(void *)&peer, &peer_len) == 0 ? XEV_EAGAIN
                                                                             : XEV_ECONNRESET;
}

int xev__os_unsent_bytes(xev_fd fd) { return xev__bsd_send_queue(fd); }

int xev__os_backlog_bytes(xev_fd fd, int64_t *bytes) {
    (void)fd;
    (void)bytes;
    return XEV_ENOTSUP;
}

int xev__os_set_backlog(xev_fd fd, uint32_t bytes) {
    (void)fd;
    (void)bytes;
    return XEV_ENOTSUP;
}
