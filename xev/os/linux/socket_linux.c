/* Linux: what its stream sockets have beyond POSIX. */
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "xev/os/posix/posix.h"
#include "xev/os/socket.h"

int xev__sys_socket(int domain, int type, int protocol) {
    return xev__sys_new_fd(socket(domain, type | SOCK_CLOEXEC, protocol));
}

int xev__sys_socketpair(int domain, int type, xev_fd *a, xev_fd *b) {
    int fd[2];
    int rc = xev__sys_result(socketpair(domain, type | SOCK_CLOEXEC, 0, fd));
    return rc == 0 ? xev__sys_pair_above_std(fd, a, b) : rc;
}

void xev__sys_arrived(int fd) { (void)fd; }

int xev__sys_reuse_port(void) { return SO_REUSEPORT; }

int xev__os_tcp_socket(enum xev_family family, xev_fd *fd) {
    int domain = family == XEV_AF_INET ? AF_INET : family == XEV_AF_INET6 ? AF_INET6 : -1;
    /* Blocking: io_uring waits in the kernel, and would fail at once on a non-blocking descriptor.
     * The other backends use MSG_DONTWAIT. */
    int rc = xev__sys_socket(domain, SOCK_STREAM, 0);
    *fd = rc < 0 ? XEV_INVALID_FD : rc;
    return rc < 0 ? rc : 0;
}

int xev__os_accept(xev_fd fd) {
    int rc;
    do {
        rc = xev__sys_new_fd(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
    } while (rc == XEV_EINTR);
    return rc;
}

bool xev__os_is_of_connection(xev_fd listener, int code) {
    assert(code < 0);
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
        /* Of the connection only where the socket is a listener. Another kind of socket has no
         * accept. */
        return getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 &&
               listening != 0;
    default:
        return false;
    }
}

bool xev__os_is_refused(int code) {
    assert(code < 0);
    return code == XEV_EPERM || code == XEV_EACCES || code == XEV_ENOSYS;
}

bool xev__os_is_tcp(xev_fd fd) {
    int protocol = 0;
    socklen_t len = sizeof protocol;
    return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 && protocol == IPPROTO_TCP;
}

int xev__os_set_keepalive(xev_fd fd, uint32_t idle_s) {
    if (idle_s > 32767) {
        return XEV_EINVAL;
    }
    int rc = xev__sys_set_int(fd, SOL_SOCKET, SO_KEEPALIVE, idle_s > 0);
    if (rc == 0 && idle_s > 0) {
        rc = xev__sys_set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)idle_s);
    }
    if (rc == 0 && idle_s > 0) {
        rc = xev__sys_set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)idle_s);
    }
    return rc;
}

void xev__os_drop_unread(xev_fd fd) {
    if (!xev__os_is_tcp(fd)) {
        return;
    }
    /* MSG_TRUNC: the kernel copies nothing. One call is enough, since 16 MiB are more than a
     * receive buffer holds; a loop might never end where the peer goes on sending. */
    ssize_t rc;
    do {
        rc = recv(fd, NULL, (size_t)16 << 20, MSG_TRUNC | MSG_DONTWAIT);
    } while (rc < 0 && errno == EINTR);
}

int xev__os_unacked(xev_fd fd) {
    struct tcp_info info;
    socklen_t len = sizeof info;
    int bytes = 0, error = 0;
    /* A close of another kind of socket does not wait for data, so nothing is missing. */
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 || ioctl(fd, SIOCOUTQ, &bytes) < 0 ||
        bytes == 0) {
        return 0;
    }
    assert(bytes > 0);
    if (info.tcpi_state != TCP_CLOSE) {
        return XEV_EAGAIN;
    }
    len = sizeof error;
    (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    assert(error >= 0);
    return error != 0 ? -error : XEV_ECONNRESET;
}

int xev__os_unsent_bytes(xev_fd fd) {
    int bytes = 0;
    int rc = xev__sys_result(ioctl(fd, SIOCOUTQ, &bytes));
    return rc < 0 ? rc : bytes;
}
