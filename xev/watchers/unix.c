/* Unix sockets: the watcher calls. What they share with TCP is in fd.c and tcp.c. */
#include "xev/unix.h"

#include <assert.h>
#include <string.h>

#include "xev/core/support.h"
#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/os/unix.h"
#include "xev/watchers/watchers.h"

static bool is_unix_type(enum xev_unix_type type) {
    return type == XEV_UNIX_STREAM || type == XEV_UNIX_DATAGRAM;
}

int xev_unix_init(xev_unix *sock, enum xev_unix_type type) {
    xev__check_pointer("xev_unix_init", "socket is null", sock);
    sock->fd = XEV_INVALID_FD;
    return is_unix_type(type) ? xev__os_unix_socket(type == XEV_UNIX_DATAGRAM, &sock->fd)
                              : XEV_EINVAL;
}

int xev_unix_pair(xev_unix pair[2], enum xev_unix_type type) {
    xev__check_pointer("xev_unix_pair", "pair is null", pair);
    pair[0].fd = pair[1].fd = XEV_INVALID_FD;
    return is_unix_type(type)
               ? xev__os_unix_pair(type == XEV_UNIX_DATAGRAM, &pair[0].fd, &pair[1].fd)
               : XEV_EINVAL;
}

xev_unix xev_unix_from_fd(xev_fd fd) { return (xev_unix){fd}; }

int xev_unix_bind(xev_unix sock, const xev_addr *addr, enum xev_unix_bind policy) {
    if (!xev__is_addr(addr) || xev_addr_family(addr) != XEV_AF_UNIX ||
        (policy != XEV_UNIX_KEEP && policy != XEV_UNIX_STALE)) {
        return XEV_EINVAL;
    }
    xev_addr own;
    size_t own_len;
    int rc = xev__os_local_addr(sock.fd, &own);
    (void)xev_addr_unix_name(&own, &own_len);
    if (rc < 0 || own_len > 0) {
        return rc < 0 ? rc : XEV_EINVAL;
    }
    rc = xev__os_unix_bind(sock.fd, addr);
    if (rc != XEV_EADDRINUSE || policy != XEV_UNIX_STALE) {
        return rc;
    }
    rc = xev__os_unix_check_stale(addr);
    if (rc == 0) {
        rc = xev_unix_unlink(addr);
        rc = rc == 0 || rc == XEV_ENOENT ? xev__os_unix_bind(sock.fd, addr) : rc;
    }
    return rc;
}

int xev_unix_unlink(const xev_addr *addr) {
    if (!xev__is_addr(addr) || xev_addr_family(addr) != XEV_AF_UNIX) {
        return XEV_EINVAL;
    }
    return xev__os_unix_unlink(addr);
}

int xev_unix_listen(xev_unix sock, int backlog) {
    return backlog > 0 ? xev__os_listen(sock.fd, backlog) : XEV_EINVAL;
}

void xev_unix_accept(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb) {
    xev__operate(XEV__CALL("xev_unix_accept"), XEV__OP_ACCEPT, sock.fd, loop, c, 0, userdata, cb);
}

void xev_unix_accept_multi(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata,
                           xev_cb cb) {
    xev__operate(XEV__CALL("xev_unix_accept_multi"), XEV__OP_ACCEPT, sock.fd, loop, c, XEV__F_MULTI,
                 userdata, cb);
}

int xev_unix_accept_now(xev_unix sock) { return xev__os_accept_now(sock.fd); }

void xev_unix_connect(xev_unix sock, xev_loop *loop, xev_completion *c, const xev_addr *addr,
                      void *userdata, xev_cb cb) {
    xev__connect(XEV__CALL("xev_unix_connect"), sock.fd, loop, c, addr, userdata, cb);
}

void xev_unix_recv(xev_unix sock, xev_loop *loop, xev_completion *c, void *buf, size_t len_bytes,
                   void *userdata, xev_cb cb) {
    xev__transfer(XEV__CALL("xev_unix_recv"), XEV__OP_RECV, sock.fd, loop, c, buf, len_bytes,
                  userdata, cb);
}

void xev_unix_recv_loan(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata,
                        xev_cb cb) {
    xev__operate(XEV__CALL("xev_unix_recv_loan"), XEV__OP_RECV, sock.fd, loop, c, XEV__F_LOAN,
                 userdata, cb);
}

void xev_unix_recv_multi(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata,
                         xev_cb cb) {
    xev__operate(XEV__CALL("xev_unix_recv_multi"), XEV__OP_RECV, sock.fd, loop, c,
                 XEV__F_LOAN | XEV__F_MULTI, userdata, cb);
}

void xev_unix_send(xev_unix sock, xev_loop *loop, xev_completion *c, const void *buf,
                   size_t len_bytes, void *userdata, xev_cb cb) {
    void *bytes = (void *)(uintptr_t)buf;
    xev__transfer(XEV__CALL("xev_unix_send"), XEV__OP_SEND, sock.fd, loop, c, bytes, len_bytes,
                  userdata, cb);
}

void xev_unix_recvv(xev_unix sock, xev_loop *loop, xev_completion *c, const xev_vec *vec,
                    size_t count, void *userdata, xev_cb cb) {
    xev__transfer_vec(XEV__CALL("xev_unix_recvv"), XEV__OP_RECV, sock.fd, loop, c, vec, count,
                      userdata, cb);
}

void xev_unix_sendv(xev_unix sock, xev_loop *loop, xev_completion *c, const xev_vec *vec,
                    size_t count, void *userdata, xev_cb cb) {
    xev__transfer_vec(XEV__CALL("xev_unix_sendv"), XEV__OP_SEND, sock.fd, loop, c, vec, count,
                      userdata, cb);
}

void xev_unix_shutdown(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata,
                       xev_cb cb) {
    xev__operate(XEV__CALL("xev_unix_shutdown"), XEV__OP_SHUTDOWN, sock.fd, loop, c, 0, userdata,
                 cb);
}

void xev_unix_close(xev_unix sock, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb) {
    xev__close(XEV__CALL("xev_unix_close"), loop, c, xev__socket_fd(sock.fd), userdata, cb);
}

int xev_unix_close_now(xev_unix sock) { return xev__os_close(xev__socket_fd(sock.fd)); }

int xev_unix_set_buffers(xev_unix sock, uint32_t send_bytes, uint32_t recv_bytes) {
    return xev__os_set_buffers(sock.fd, send_bytes, recv_bytes);
}

int xev_unix_local_addr(xev_unix sock, xev_addr *addr) {
    xev__check_pointer("xev_unix_local_addr", "room for the address is null", addr);
    return xev__os_local_addr(sock.fd, addr);
}

int xev_unix_peer_addr(xev_unix sock, xev_addr *addr) {
    xev__check_pointer("xev_unix_peer_addr", "room for the address is null", addr);
    return xev__os_peer_addr(sock.fd, addr);
}

int xev_unix_peer_cred(xev_unix sock, xev_unix_cred *cred) {
    xev__check_pointer("xev_unix_peer_cred", "room for the credentials is null", cred);
    return xev__os_unix_peer_cred(sock.fd, cred);
}

/* ---- messages ---- */

static void check_msg(const char *call, const xev_unix_msg *msg, uint32_t fds, xev_cb cb) {
    if (msg == NULL || cb == NULL) {
        xev__misuse(call, "message or callback is null", msg);
    }
    if ((msg->buf == NULL && msg->len_bytes > 0) || (msg->fds == NULL && fds > 0)) {
        xev__misuse(call, "the message's buffer or descriptors are null", msg);
    }
}

/* Write the kernel's header of the message from its public fields, as they are now. Sets
 * c->arg.io.len_bytes to 1, or to 0 where the message is a bad one, which is then refused. */
static void prepare_send(xev_completion *c, xev_unix_msg *msg) {
    assert(c->op == XEV__OP_SENDMSG && c->arg.io.buf == msg->header);
    bool valid = msg->len_bytes <= INT32_MAX && msg->fds_len <= XEV_UNIX_FDS_MAX &&
                 (msg->len_bytes > 0 || !xev__os_is_stream(c->fd));
    if (valid) {
        xev__os_unix_send(msg);
    }
    c->arg.io.len_bytes = valid;
}

static void prepare_receive(xev_completion *c, xev_unix_msg *msg) {
    assert(c->op == XEV__OP_RECVMSG && c->arg.io.buf == msg->header);
    bool valid =
        msg->len_bytes > 0 && msg->len_bytes <= INT32_MAX && msg->fds_max <= XEV_UNIX_FDS_MAX;
    if (valid) {
        xev__os_unix_receive(msg);
    }
    c->arg.io.len_bytes = valid;
}

static bool is_repeated(xev_cb_action action, int result) {
    return action == XEV_REARM && result != XEV_ECANCELED && result != XEV_ETIMEDOUT;
}

/* The operation's callback is this function, and the user's callback stands in the message. What
 * the kernel stored is taken apart before the user's callback runs. That callback may change the
 * message, so the kernel's header is written anew where it answers XEV_REARM. */
static xev_cb_action on_msg_received(xev_loop *loop, xev_completion *c, int result,
                                     void *userdata) {
    xev_unix_msg *msg = userdata;
    if (result >= 0) {
        xev__os_unix_received(msg);
        assert(msg->fds_len <= msg->fds_max);
    }
    if (result == 0 && xev__os_is_stream(c->fd)) {
        result = XEV_EOF;
    }
    xev__note_call(loop, XEV__CODE(msg->callback));
    xev_cb_action action = msg->callback(loop, c, result, msg->userdata);
    if (is_repeated(action, result)) {
        check_msg("XEV_REARM", msg, msg->fds_max, msg->callback);
        prepare_receive(c, msg);
    }
    return action;
}

static xev_cb_action on_msg_sent(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_unix_msg *msg = userdata;
    xev__note_call(loop, XEV__CODE(msg->callback));
    xev_cb_action action = msg->callback(loop, c, result, msg->userdata);
    if (is_repeated(action, result)) {
        check_msg("XEV_REARM", msg, msg->fds_len, msg->callback);
        prepare_send(c, msg);
    }
    return action;
}

static void begin_msg(xev_completion *c, xev_fd fd, xev_unix_msg *msg, xev_cb on_result) {
    assert(c->callback != NULL && c->callback != on_result);
    msg->userdata = c->userdata;
    msg->callback = c->callback;
    c->userdata = msg;
    c->callback = on_result;
    c->fd = fd;
    c->arg.io.buf = msg->header;
    c->arg.io.aux = 0;
}

void xev_unix_send_msg(xev_unix sock, xev_loop *loop, xev_completion *c, xev_unix_msg *msg,
                       void *userdata, xev_cb cb) {
    check_msg("xev_unix_send_msg", msg, msg != NULL ? msg->fds_len : 0, cb);
    if (xev__begin(XEV__CALL("xev_unix_send_msg"), loop, c, XEV__OP_SENDMSG, userdata, cb)) {
        begin_msg(c, sock.fd, msg, on_msg_sent);
        prepare_send(c, msg);
        xev__transfer_start(loop, c);
    }
}

void xev_unix_recv_msg(xev_unix sock, xev_loop *loop, xev_completion *c, xev_unix_msg *msg,
                       void *userdata, xev_cb cb) {
    check_msg("xev_unix_recv_msg", msg, msg != NULL ? msg->fds_max : 0, cb);
    if (xev__begin(XEV__CALL("xev_unix_recv_msg"), loop, c, XEV__OP_RECVMSG, userdata, cb)) {
        msg->fds_len = 0;
        begin_msg(c, sock.fd, msg, on_msg_received);
        prepare_receive(c, msg);
        xev__transfer_start(loop, c);
    }
}
