/* Windows: stream sockets. */
#include <stddef.h>
#include <string.h>

#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/os/windows/windows_base.h"

int xev__win_new_socket(int domain, int type, xev_fd *fd) {
    *fd = XEV_INVALID_FD;
    SOCKET s =
        WSASocketW(domain, type, 0, NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (s == INVALID_SOCKET) {
        return xev__win_socket_code();
    }
    xev_fd made = xev__win_fd((uintptr_t)s);
    int rc = xev__os_set_nonblocking(made, true);
    if (rc < 0) {
        (void)closesocket(s);
        return rc;
    }
    *fd = made;
    return 0;
}

int xev__os_tcp_socket(enum xev_family family, xev_fd *fd) {
    int domain = family == XEV_AF_INET ? AF_INET : family == XEV_AF_INET6 ? AF_INET6 : -1;
    *fd = XEV_INVALID_FD;
    return domain < 0 ? XEV_EAFNOSUPPORT : xev__win_new_socket(domain, SOCK_STREAM, fd);
}

int xev__win_bind(xev_fd fd, const xev_addr *addr) {
    int rc = xev__win_socket_result(
        fd, bind(xev__win_socket(fd), xev__win_addr(addr), (int)addr->len_bytes));
    return rc == XEV_EACCES ? XEV_EADDRINUSE : rc; /* another socket has it for itself */
}

int xev__os_bind(xev_fd fd, const xev_addr *addr, bool reuse_port) {
    if (!xev__win_is_socket(fd)) {
        return xev__os_is_open(fd) ? XEV_ENOTSOCK : XEV_EBADF;
    }
    if (reuse_port) {
        return XEV_ENOTSUP; /* no option of Windows lets several listeners share a port's clients */
    }
    /* SO_REUSEADDR would let any process take the port over. Connections in TIME_WAIT do not keep a
     * listener from binding here; what a former one accepted, and has not ended yet, may. */
    int rc = xev__win_set_int(fd, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1);
    if (rc == 0 && xev_addr_family(addr) == XEV_AF_INET6) {
        rc = xev__win_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    return rc == 0 ? xev__win_bind(fd, addr) : rc;
}

int xev__os_listen(xev_fd fd, int backlog) {
    int rc = xev__win_socket_result(fd, listen(xev__win_socket(fd), backlog));
    return rc == XEV_EINVAL && !xev__os_is_stream(fd) ? XEV_ENOTSUP : rc;
}

int xev__os_accept(xev_fd fd) {
    SOCKET s = accept(xev__win_socket(fd), NULL, NULL);
    if (s == INVALID_SOCKET) {
        return xev__win_socket_code();
    }
    xev_fd made = xev__win_fd((uintptr_t)s);
    (void)SetHandleInformation((HANDLE)s, HANDLE_FLAG_INHERIT, 0);
    int rc = xev__os_set_nonblocking(made, true);
    if (rc < 0) {
        (void)closesocket(s);
        return rc;
    }
    return made;
}

int xev__os_accept_now(xev_fd fd) {
    if (!xev__os_is_open(fd)) {
        return XEV_EBADF;
    }
    int rc = xev__os_set_nonblocking(fd, true);
    rc = rc == 0 && !xev__win_is_socket(fd) ? XEV_ENOTSOCK : rc;
    for (int tries = 0; (rc == 0 || xev__os_is_of_connection(fd, rc)) && tries < 16; tries++) {
        rc = xev__os_accept(fd);
        if (rc >= 0) {
            return rc;
        }
    }
    return rc;
}

bool xev__os_is_of_connection(xev_fd listener, int code) {
    (void)listener;
    assert(code < 0);
    /* XEV_EBUSY: in Wine 8, of an AcceptEx, where another loop's accept was faster. */
    return code == XEV_EBUSY || code == XEV_ECONNRESET || code == XEV_ECONNABORTED ||
           code == XEV_ENETDOWN || code == XEV_ENETUNREACH || code == XEV_EHOSTUNREACH ||
           code == XEV_ETIMEDOUT;
}

bool xev__os_is_refused(int code) {
    assert(code < 0);
    return code == XEV_EPERM || code == XEV_EACCES;
}

int xev__os_connect(xev_fd fd, const xev_addr *addr) {
    if (xev__os_set_nonblocking(fd, true) < 0) {
        return XEV_EBADF;
    }
    int rc = xev__win_socket_result(
        fd, connect(xev__win_socket(fd), xev__win_addr(addr), (int)addr->len_bytes));
    return rc == XEV_EAGAIN ? XEV_EINPROGRESS : rc;
}

/* By select, since WSAPoll says nothing of a connect that has failed before Windows 10, 2004. */
int xev__os_connect_result(xev_fd fd) {
    fd_set done = {.fd_count = 1, .fd_array = {xev__win_socket(fd)}}, failed = done;
    struct timeval now = {0};
    int rc = xev__win_socket_result(fd, select(0, NULL, &done, &failed, &now));
    if (rc <= 0) {
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    int error = 0, len = sizeof error;
    rc = xev__win_socket_result(
        fd, getsockopt(xev__win_socket(fd), SOL_SOCKET, SO_ERROR, (char *)&error, &len));
    return rc < 0                ? rc
           : error != 0          ? xev__win_code((DWORD)error)
           : failed.fd_count > 0 ? XEV_ECONNREFUSED
                                 : 0;
}

int xev__os_pending_error(xev_fd fd) {
    (void)fd;
    return 0;
}

/* ---- data ---- */

uint32_t xev__win_buffers(WSABUF *out, uint32_t room, const void *vec, uint32_t count) {
    const struct {
        void *base;
        size_t len_bytes;
    } *pieces = vec;
    uint32_t n = count < room ? count : room;
    for (uint32_t i = 0; i < n; i++) {
        out[i].buf = pieces[i].base;
        out[i].len = (ULONG)pieces[i].len_bytes;
    }
    return n;
}

static int receive(xev_fd fd, WSABUF *buffers, uint32_t count) {
    DWORD n = 0, flags = 0;
    int rc = WSARecv(xev__win_socket(fd), buffers, count, &n, &flags, NULL, NULL);
    return rc == 0 ? (int)n : xev__win_socket_code();
}

/* Winsock takes a send as a whole as long as there is any room, and holds it in memory that is
 * never paged out: whatever the size. So what it is given at a time is limited. */
#define SEND_MAX ((ULONG)1 << 20)

static uint32_t limit_send(WSABUF *buffers, uint32_t count) {
    ULONG left = SEND_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (buffers[i].len >= left) {
            buffers[i].len = left;
            return i + 1;
        }
        left -= buffers[i].len;
    }
    return count;
}

static int transmit(xev_fd fd, WSABUF *buffers, uint32_t count) {
    DWORD n = 0;
    count = limit_send(buffers, count);
    if (WSASend(xev__win_socket(fd), buffers, count, &n, 0, NULL, NULL) == 0) {
        return (int)n;
    }
    int code = xev__win_socket_code();
    return code == XEV_ENOTCONN ? XEV_EPIPE : code; /* as POSIX says it */
}

int xev__os_recv(xev_fd fd, void *buf, size_t len_bytes) {
    WSABUF one = {.buf = buf, .len = (ULONG)len_bytes};
    return receive(fd, &one, 1);
}

int xev__os_send(xev_fd fd, const void *buf, size_t len_bytes) {
    WSABUF one = {.buf = (char *)(uintptr_t)buf, .len = (ULONG)len_bytes};
    return transmit(fd, &one, 1);
}

int xev__os_recv_once(xev_fd fd, void *buf, size_t len_bytes) {
    return xev__os_recv(fd, buf, len_bytes);
}

int xev__os_send_once(xev_fd fd, const void *buf, size_t len_bytes) {
    return xev__os_send(fd, buf, len_bytes);
}

int xev__os_recvv(xev_fd fd, const void *vec, uint32_t count) {
    WSABUF buffers[XEV__WIN_PIECES];
    return receive(fd, buffers, xev__win_buffers(buffers, XEV__WIN_PIECES, vec, count));
}

int xev__os_sendv(xev_fd fd, const void *vec, uint32_t count) {
    WSABUF buffers[XEV__WIN_PIECES];
    return transmit(fd, buffers, xev__win_buffers(buffers, XEV__WIN_PIECES, vec, count));
}

/* A message header here is {vec, count}. */
struct message {
    const void *vec;
    size_t count;
};
_Static_assert(sizeof(struct message) <= 8 * sizeof(uint64_t), "message header fits");

void xev__os_msg_init(uint64_t msg[8], const void *vec, size_t count) {
    assert(vec != NULL && count > 0);
    struct message *m = (struct message *)(void *)msg;
    memset(msg, 0, 8 * sizeof msg[0]);
    m->vec = vec;
    m->count = count;
}

int xev__os_sendmsg(xev_fd fd, const void *msg) {
    const struct message *m = msg;
    return xev__os_sendv(fd, m->vec, (uint32_t)m->count);
}

int xev__os_recvmsg(xev_fd fd, void *msg) {
    const struct message *m = msg;
    return xev__os_recvv(fd, m->vec, (uint32_t)m->count);
}

int xev__os_shutdown_write(xev_fd fd) {
    return xev__win_socket_result(fd, shutdown(xev__win_socket(fd), SD_SEND));
}

int xev__os_check_endpoint(xev_fd fd) {
    int listens = 0, len = sizeof listens;
    if (!xev__os_is_open(fd)) {
        return XEV_EBADF;
    }
    int rc = xev__win_socket_result(
        fd, getsockopt(xev__win_socket(fd), SOL_SOCKET, SO_ACCEPTCONN, (char *)&listens, &len));
    return rc == 0 && listens != 0 ? XEV_ENOTCONN : rc;
}

static bool has_type(xev_fd fd, int wanted) {
    int type = 0, len = sizeof type;
    return getsockopt(xev__win_socket(fd), SOL_SOCKET, SO_TYPE, (char *)&type, &len) == 0 &&
           type == wanted;
}

bool xev__os_is_stream(xev_fd fd) { return has_type(fd, SOCK_STREAM); }

bool xev__os_is_tcp(xev_fd fd) {
    xev_addr addr;
    return has_type(fd, SOCK_STREAM) && xev__os_local_addr(fd, &addr) == 0 &&
           xev_addr_family(&addr) != XEV_AF_UNIX;
}

int xev__os_unread_bytes(xev_fd fd) {
    u_long n = 0;
    int rc = xev__os_check_endpoint(fd);
    rc = rc == 0 ? xev__win_socket_result(fd, ioctlsocket(xev__win_socket(fd), (long)FIONREAD, &n))
                 : rc;
    return rc < 0 ? rc : n < INT_MAX ? (int)n : INT_MAX;
}

/* Not by a recv that peeks: in Wine 8 none finds anything while an overlapped one waits. */
bool xev__os_is_silent(xev_fd fd) {
    WSAPOLLFD p = {.fd = xev__win_socket(fd), .events = POLLRDNORM};
    return WSAPoll(&p, 1, 0) == 0;
}

/* ---- options ---- */

int xev__os_set_nodelay(xev_fd fd, bool on) {
    return xev__win_set_int(fd, IPPROTO_TCP, TCP_NODELAY, on);
}

int xev__os_set_keepalive(xev_fd fd, uint32_t idle_s) {
    if (idle_s > 32767) {
        return XEV_EINVAL;
    }
    struct tcp_keepalive values = {
        .onoff = idle_s > 0, .keepalivetime = idle_s * 1000, .keepaliveinterval = idle_s * 1000};
    DWORD n;
    return xev__win_socket_result(fd, WSAIoctl(xev__win_socket(fd), SIO_KEEPALIVE_VALS, &values,
                                               sizeof values, NULL, 0, &n, NULL, NULL));
}

int xev__os_set_buffers(xev_fd fd, uint32_t send_bytes, uint32_t recv_bytes) {
    if (send_bytes > INT32_MAX || recv_bytes > INT32_MAX) {
        return XEV_EINVAL;
    }
    int rc = send_bytes > 0 ? xev__win_set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)send_bytes) : 0;
    if (rc == 0 && recv_bytes > 0) {
        rc = xev__win_set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)recv_bytes);
    }
    return rc;
}

int xev__os_set_linger(xev_fd fd, bool on, uint32_t timeout_s) {
    if (timeout_s > INT32_MAX) {
        return XEV_EINVAL;
    }
    struct linger l = {.l_onoff = on,
                       .l_linger = (u_short)(timeout_s < UINT16_MAX ? timeout_s : UINT16_MAX)};
    return xev__win_socket_result(
        fd, setsockopt(xev__win_socket(fd), SOL_SOCKET, SO_LINGER, (const char *)&l, sizeof l));
}

uint32_t xev__os_linger_s(xev_fd fd) {
    struct linger l = {0};
    int len = sizeof l;
    bool on =
        getsockopt(xev__win_socket(fd), SOL_SOCKET, SO_LINGER, (char *)&l, &len) == 0 && l.l_onoff;
    return on ? l.l_linger : 0;
}

/* Windows does not say how much a peer has acknowledged, so a close that lingers waits for nothing:
 * closesocket sends the rest in the background. */
int xev__os_unacked(xev_fd fd) {
    (void)fd;
    return 0;
}

int xev__os_unsent_bytes(xev_fd fd) {
    (void)fd;
    return XEV_ENOTSUP;
}

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

void xev__os_drop_unread(xev_fd fd) {
    char dropped[4096];
    for (int tries = 0; tries < 256 && recv(xev__win_socket(fd), dropped, sizeof dropped, 0) > 0;
         tries++) {
    }
}

/* Of a Unix socket's name, what stands before its zero: the system may count the whole room, and no
 * name that begins with a zero exists here. */
static uint32_t length_of(const xev_addr *addr, int len) {
    const uint32_t name_at = sizeof(ADDRESS_FAMILY);
    uint32_t bytes = (uint32_t)len;
    if (xev__win_addr(addr)->sa_family != AF_UNIX || bytes <= name_at) {
        return bytes;
    }
    const char *name = (const char *)addr->storage + name_at;
    uint32_t room = bytes - name_at, named = (uint32_t)strnlen(name, room);
    return named == 0 ? name_at : name_at + named + (named < room);
}

int xev__os_local_addr(xev_fd fd, xev_addr *addr) {
    int len = sizeof addr->storage;
    *addr = (xev_addr){0};
    int rc =
        xev__win_socket_result(fd, getsockname(xev__win_socket(fd), xev__win_addr_out(addr), &len));
    if (rc == XEV_EINVAL) { /* not bound: POSIX says the wildcard address and port 0, or no name */
        WSAPROTOCOL_INFOW info;
        int info_len = sizeof info;
        rc = xev__win_socket_result(fd, getsockopt(xev__win_socket(fd), SOL_SOCKET,
                                                   SO_PROTOCOL_INFOW, (char *)&info, &info_len));
        if (rc == 0) {
            xev__win_addr_out(addr)->sa_family = (ADDRESS_FAMILY)info.iAddressFamily;
            len = info.iAddressFamily == AF_INET6  ? (int)sizeof(struct sockaddr_in6)
                  : info.iAddressFamily == AF_UNIX ? (int)sizeof(ADDRESS_FAMILY)
                                                   : (int)sizeof(struct sockaddr_in);
        }
    }
    addr->len_bytes = rc == 0 ? length_of(addr, len) : 0;
    return rc;
}

int xev__os_peer_addr(xev_fd fd, xev_addr *addr) {
    int len = sizeof addr->storage;
    *addr = (xev_addr){0};
    int rc =
        xev__win_socket_result(fd, getpeername(xev__win_socket(fd), xev__win_addr_out(addr), &len));
    addr->len_bytes = rc == 0 ? length_of(addr, len) : 0;
    return rc;
}
