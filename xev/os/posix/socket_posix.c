/* POSIX: stream sockets, and messages of any socket. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "xev/error.h"
#include "xev/os/descriptor.h"
#include "xev/os/posix/posix.h"
#include "xev/os/socket.h"

int xev__os_bind(xev_fd fd, const xev_addr *addr, bool reuse_port) {
    int rc = xev__sys_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (rc == 0 && reuse_port) {
        rc = xev__sys_set_int(fd, SOL_SOCKET, xev__sys_reuse_port(), 1);
    }
    if (rc == 0 && xev_addr_family(addr) == XEV_AF_INET6) {
        rc = xev__sys_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    return rc == 0 ? xev__sys_result(bind(fd, xev__sys_addr(addr), addr->len_bytes)) : rc;
}

int xev__os_listen(xev_fd fd, int backlog) { return xev__sys_result(listen(fd, backlog)); }

int xev__os_accept_now(xev_fd fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int rc = fd < 0 ? XEV_EBADF : xev__sys_poll(&p); /* poll(2) ignores a negative one */
    if (rc <= 0) {
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    if ((p.revents & POLLNVAL) != 0) {
        return XEV_EBADF;
    }
    assert((p.revents & (POLLIN | POLLERR | POLLHUP)) != 0);
    /* Another process may accept the connection between poll and accept. */
    rc = xev__os_set_nonblocking(fd, true);
    for (int tries = 0; (rc == 0 || xev__os_is_of_connection(fd, rc)) && tries < 16; tries++) {
        rc = xev__os_accept(fd);
        if (rc >= 0) {
            return rc;
        }
    }
    return rc;
}

int xev__os_connect(xev_fd fd, const xev_addr *addr) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        return -errno;
    }
    if ((flags & O_NONBLOCK) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return -errno;
    }
    assert(addr->len_bytes <= sizeof addr->storage);
    int rc = xev__sys_result(connect(fd, xev__sys_addr(addr), addr->len_bytes));
    if ((flags & O_NONBLOCK) == 0) {
        (void)fcntl(fd, F_SETFL, flags);
    }
    return rc == XEV_EINTR ? XEV_EINPROGRESS : rc;
}

int xev__os_pending_error(xev_fd fd) {
    int error = 0;
    socklen_t len = sizeof error;
    int rc = xev__sys_result(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
    assert(error >= 0);
    return rc < 0 ? rc : -error;
}

int xev__os_connect_result(xev_fd fd) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int rc = xev__sys_poll(&p);
    if (rc <= 0) {
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    rc = xev__os_pending_error(fd);
    if (rc == 0 && (p.revents & POLLHUP) != 0) {
        /* The connection is closed. A receive may have run before this function, and the kernel has
         * reported the error there. */
        struct sockaddr_storage peer;
        socklen_t len = sizeof peer;
        return xev__sys_result(getpeername(fd, (struct sockaddr *)(void *)&peer, &len));
    }
    return rc;
}

int xev__os_recv_once(xev_fd fd, void *buf, size_t len_bytes) {
    int rc = xev__sys_result(recv(fd, buf, len_bytes, MSG_DONTWAIT));
    assert(rc < 0 || (size_t)rc <= len_bytes);
    return rc;
}

int xev__os_send_once(xev_fd fd, const void *buf, size_t len_bytes) {
    int rc = xev__sys_result(send(fd, buf, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL));
    assert(rc < 0 || (size_t)rc <= len_bytes);
    return rc;
}

int xev__os_recv(xev_fd fd, void *buf, size_t len_bytes) {
    int rc;
    do {
        rc = xev__os_recv_once(fd, buf, len_bytes);
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_send(xev_fd fd, const void *buf, size_t len_bytes) {
    int rc;
    do {
        rc = xev__os_send_once(fd, buf, len_bytes);
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_sendmsg(xev_fd fd, const void *msg) {
    int rc;
    do {
        rc = xev__sys_result(sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_recvmsg(xev_fd fd, void *msg) {
    int rc;
    do {
        rc = xev__sys_result(recvmsg(fd, msg, MSG_DONTWAIT | XEV__SYS_CMSG_CLOEXEC));
    } while (rc == XEV_EINTR);
    return rc;
}

_Static_assert(sizeof(struct msghdr) <= 8 * sizeof(uint64_t), "message header fits");
_Static_assert(offsetof(struct iovec, iov_len) == sizeof(void *), "vec is an iovec");

void xev__os_msg_init(uint64_t msg[8], const void *vec, size_t count) {
    assert(vec != NULL && count > 0);
    struct msghdr *m = (struct msghdr *)(void *)msg;
    memset(m, 0, sizeof *m);
    m->msg_iov = (struct iovec *)(uintptr_t)vec;
    m->msg_iovlen = (__typeof__(m->msg_iovlen))count;
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

int xev__os_shutdown_write(xev_fd fd) { return xev__sys_result(shutdown(fd, SHUT_WR)); }

int xev__os_check_endpoint(xev_fd fd) {
    int listens = 0;
    socklen_t len = sizeof listens;
    int rc = xev__sys_result(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len));
    return rc == 0 && listens != 0 ? XEV_ENOTCONN : rc;
}

int xev__os_unread_bytes(xev_fd fd) {
    int n = 0;
    int rc = xev__os_check_endpoint(fd); /* FIONREAD answers for a file, too */
    rc = rc == 0 ? xev__sys_result(ioctl(fd, FIONREAD, &n)) : rc;
    assert(n >= 0);
    return rc < 0 ? rc : n;
}

bool xev__os_is_silent(xev_fd fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

int xev__os_set_nodelay(xev_fd fd, bool on) {
    return xev__sys_set_int(fd, IPPROTO_TCP, TCP_NODELAY, on);
}

int xev__os_set_buffers(xev_fd fd, uint32_t send_bytes, uint32_t recv_bytes) {
    if (send_bytes > INT32_MAX || recv_bytes > INT32_MAX) {
        return XEV_EINVAL;
    }
    int rc = send_bytes > 0 ? xev__sys_set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)send_bytes) : 0;
    if (rc == 0 && recv_bytes > 0) {
        rc = xev__sys_set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)recv_bytes);
    }
    return rc;
}

int xev__os_set_linger(xev_fd fd, bool on, uint32_t timeout_s) {
    if (timeout_s > INT32_MAX) {
        return XEV_EINVAL;
    }
    struct linger l = {.l_onoff = on, .l_linger = (int)timeout_s};
    return xev__sys_result(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
}

uint32_t xev__os_linger_s(xev_fd fd) {
    struct linger l = {0};
    socklen_t len = sizeof l;
    bool on = getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len) == 0 && l.l_onoff != 0;
    return on && l.l_linger > 0 ? (uint32_t)l.l_linger : 0;
}

int xev__os_local_addr(xev_fd fd, xev_addr *addr) {
    socklen_t len = sizeof addr->storage;
    *addr = (xev_addr){0};
    int rc = xev__sys_result(getsockname(fd, xev__sys_addr_out(addr), &len));
    assert(rc < 0 || len <= sizeof addr->storage);
    addr->len_bytes = rc == 0 ? len : 0;
    return rc;
}

int xev__os_peer_addr(xev_fd fd, xev_addr *addr) {
    socklen_t len = sizeof addr->storage;
    *addr = (xev_addr){0};
    int rc = xev__sys_result(getpeername(fd, xev__sys_addr_out(addr), &len));
    assert(rc < 0 || len <= sizeof addr->storage);
    addr->len_bytes = rc == 0 ? len : 0;
    return rc;
}

bool xev__os_is_stream(xev_fd fd) {
    int type = 0;
    socklen_t len = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}
