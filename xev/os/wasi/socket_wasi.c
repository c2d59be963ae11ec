/* WASI: stream sockets. Preview 1 can accept, receive, send and shut down. It makes no sockets: a
 * listener comes from the host, as an open descriptor. No call says "do not wait", so the sockets
 * are non-blocking: xev__os_accept and a send make them so, and the backend those on which an
 * operation starts. */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/fd.h"
#include "xev/os/wasi/wasi.h"
#include "xev/vec.h"

_Static_assert(sizeof(xev_vec) == sizeof(__wasi_iovec_t), "vec is an iovec");
_Static_assert(offsetof(xev_vec, len_bytes) == offsetof(__wasi_iovec_t, buf_len), "likewise");

int xev__os_tcp_socket(enum xev_family family, xev_fd *fd) {
    (void)family;
    *fd = XEV_INVALID_FD;
    return XEV_ENOTSUP;
}

int xev__os_bind(xev_fd fd, const xev_addr *addr, bool reuse_port) {
    (void)fd;
    (void)addr;
    (void)reuse_port;
    return XEV_ENOTSUP;
}

int xev__os_listen(xev_fd fd, int backlog) {
    (void)fd;
    (void)backlog;
    return XEV_ENOTSUP;
}

int xev__os_accept(xev_fd fd) {
    __wasi_fd_t accepted;
    __wasi_errno_t error = __wasi_sock_accept(fd, __WASI_FDFLAGS_NONBLOCK, &accepted);
    return error != 0 ? xev__wasi_code(error) : xev__os_above_std(accepted);
}

int xev__os_accept_now(xev_fd fd) {
    int rc = xev__os_set_nonblocking(fd, true);
    return rc < 0 ? rc : xev__os_accept(fd);
}

bool xev__os_is_of_connection(xev_fd listener, int code) {
    (void)listener;
    assert(code < 0);
    return code == XEV_ECONNABORTED;
}

bool xev__os_is_refused(int code) {
    assert(code < 0);
    return code == XEV_EPERM || code == XEV_EACCES || code == XEV_ENOSYS;
}

int xev__os_connect(xev_fd fd, const xev_addr *addr) {
    (void)addr;
    return xev__wasi_lacks(fd);
}

int xev__os_connect_result(xev_fd fd) {
    (void)fd;
    return XEV_ENOTSUP;
}

int xev__os_pending_error(xev_fd fd) {
    (void)fd;
    return 0;
}

/* ---- data ---- */

int xev__os_recvv(xev_fd fd, const void *vec, uint32_t count) {
    __wasi_size_t len;
    __wasi_roflags_t flags;
    assert(vec != NULL && count > 0);
    __wasi_errno_t error = __wasi_sock_recv(fd, vec, count, 0, &len, &flags);
    return error != 0 ? xev__wasi_code(error) : (int)len;
}

/* Streams and connections send before the backend has seen the socket. */
int xev__os_sendv(xev_fd fd, const void *vec, uint32_t count) {
    __wasi_size_t len;
    assert(vec != NULL && count > 0);
    int rc = xev__os_set_nonblocking(fd, true);
    if (rc < 0) {
        return rc;
    }
    __wasi_errno_t error = __wasi_sock_send(fd, vec, count, 0, &len);
    return error != 0 ? xev__wasi_code(error) : (int)len;
}

int xev__os_recv_once(xev_fd fd, void *buf, size_t len_bytes) {
    const xev_vec vec = {buf, len_bytes};
    return xev__os_recvv(fd, &vec, 1);
}

int xev__os_send_once(xev_fd fd, const void *buf, size_t len_bytes) {
    const xev_vec vec = {(void *)(uintptr_t)buf, len_bytes};
    return xev__os_sendv(fd, &vec, 1);
}

int xev__os_recv(xev_fd fd, void *buf, size_t len_bytes) {
    return xev__os_recv_once(fd, buf, len_bytes);
}

int xev__os_send(xev_fd fd, const void *buf, size_t len_bytes) {
    return xev__os_send_once(fd, buf, len_bytes);
}

int xev__os_sendmsg(xev_fd fd, const void *msg) {
    (void)fd;
    (void)msg;
    return XEV_ENOTSUP;
}

int xev__os_recvmsg(xev_fd fd, void *msg) {
    (void)fd;
    (void)msg;
    return XEV_ENOTSUP;
}

void xev__os_msg_init(uint64_t msg[8], const void *vec, size_t count) {
    (void)vec;
    (void)count;
    memset(msg, 0, 8 * sizeof *msg);
}

int xev__os_shutdown_write(xev_fd fd) {
    return xev__wasi_code(__wasi_sock_shutdown(fd, __WASI_SDFLAGS_WR));
}

/* ---- what is known of a socket ---- */

static __wasi_filetype_t filetype_of(xev_fd fd) {
    __wasi_fdstat_t stat;
    return __wasi_fd_fdstat_get(fd, &stat) == 0 ? stat.fs_filetype : __WASI_FILETYPE_UNKNOWN;
}

/* A listener and a connection cannot be told apart; nor can a pipe, in a host like Node, so the
 * standard streams are none of them. */
int xev__os_check_endpoint(xev_fd fd) {
    bool is_std = fd >= 0 && fd <= STDERR_FILENO;
    return !is_std && filetype_of(fd) == __WASI_FILETYPE_SOCKET_STREAM ? 0
           : xev__os_is_open(fd)                                       ? XEV_ENOTSOCK
                                                                       : XEV_EBADF;
}

bool xev__os_is_stream(xev_fd fd) { return filetype_of(fd) == __WASI_FILETYPE_SOCKET_STREAM; }
bool xev__os_is_tcp(xev_fd fd) { return xev__os_is_stream(fd); }

int xev__os_unread_bytes(xev_fd fd) {
    const __wasi_subscription_t subs[] = {
        {.u = {.tag = __WASI_EVENTTYPE_FD_READ, .u.fd_read.file_descriptor = fd}},
        {.u = {.tag = __WASI_EVENTTYPE_CLOCK, .u.clock = {.id = __WASI_CLOCKID_MONOTONIC}}},
    };
    __wasi_event_t events[2];
    __wasi_size_t n = 0;
    __wasi_errno_t error = __wasi_poll_oneoff(subs, events, 2, &n);
    uint64_t bytes = 0;
    for (__wasi_size_t i = 0; error == 0 && i < n; i++) {
        if (events[i].type == __WASI_EVENTTYPE_FD_READ) {
            error = events[i].error;
            bytes = events[i].fd_readwrite.nbytes;
        }
    }
    return error != 0 ? xev__wasi_code(error) : bytes > INT_MAX ? INT_MAX : (int)bytes;
}

bool xev__os_is_silent(xev_fd fd) { return xev__os_poll_now(fd, XEV_POLL_IN) == XEV_EAGAIN; }

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

/* What is there by now, up to a limit, since a peer may go on sending. */
void xev__os_drop_unread(xev_fd fd) {
    char buf[4096];
    if (xev__os_set_nonblocking(fd, true) < 0) {
        return;
    }
    for (int i = 0; i < 256 && xev__os_recv_once(fd, buf, sizeof buf) > 0; i++) {
    }
}

int xev__os_local_addr(xev_fd fd, xev_addr *addr) {
    *addr = (xev_addr){0};
    return xev__wasi_lacks(fd);
}

int xev__os_peer_addr(xev_fd fd, xev_addr *addr) { return xev__os_local_addr(fd, addr); }

/* ---- options: there are none ---- */

int xev__os_set_nodelay(xev_fd fd, bool on) {
    (void)on;
    return xev__wasi_lacks(fd);
}

int xev__os_set_keepalive(xev_fd fd, uint32_t idle_s) {
    (void)idle_s;
    return xev__wasi_lacks(fd);
}

int xev__os_set_buffers(xev_fd fd, uint32_t send_bytes, uint32_t recv_bytes) {
    (void)send_bytes;
    (void)recv_bytes;
    return xev__wasi_lacks(fd);
}

int xev__os_set_linger(xev_fd fd, bool on, uint32_t timeout_s) {
    (void)on;
    (void)timeout_s;
    return xev__wasi_lacks(fd);
}

uint32_t xev__os_linger_s(xev_fd fd) {
    (void)fd;
    return 0;
}
