/* TCP sockets: the watcher calls, and what an accept and a connect of any stream socket do over
 * several attempts. */
#include "xev/tcp.h"

#include <assert.h>
#include <limits.h>

#include "xev/os/clock.h"
#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/watchers/watchers.h"

int xev_tcp_init(xev_tcp *tcp, enum xev_family family) {
    xev__check_pointer("xev_tcp_init", "socket is null", tcp);
    tcp->fd = XEV_INVALID_FD;
    return xev__os_tcp_socket(family, &tcp->fd);
}

xev_tcp xev_tcp_from_fd(xev_fd fd) { return (xev_tcp){fd}; }

int xev_tcp_bind(xev_tcp tcp, const xev_addr *addr, bool reuse_port) {
    return xev__is_addr(addr) ? xev__os_bind(tcp.fd, addr, reuse_port) : XEV_EINVAL;
}

int xev_tcp_listen(xev_tcp tcp, int backlog) {
    return backlog > 0 ? xev__os_listen(tcp.fd, backlog) : XEV_EINVAL;
}

static void tcp_operate(const char *call, enum xev__op op, xev_tcp tcp, xev_loop *loop,
                        xev_completion *c, uint16_t flags, void *userdata, xev_cb cb) {
    xev__operate(call, op, tcp.fd, loop, c, flags, userdata, cb);
}

void xev_tcp_accept(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb) {
    tcp_operate(XEV__CALL("xev_tcp_accept"), XEV__OP_ACCEPT, tcp, loop, c, 0, userdata, cb);
}

void xev_tcp_accept_multi(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata,
                          xev_cb cb) {
    tcp_operate(XEV__CALL("xev_tcp_accept_multi"), XEV__OP_ACCEPT, tcp, loop, c, XEV__F_MULTI,
                userdata, cb);
}

/* An accept that finds a broken connection tries the next one at once. After this many in a row it
 * waits for a little. A rule of the system may refuse every accept with the code of a broken
 * connection, and leave the connection in the backlog. That must not keep the thread busy for ever.
 * From then on the code counts as a refusal. */
#define BROKEN_AT_ONCE 16

/* An accept that an error does not end is tried again after RETRY_MS, then after twice as long each
 * time, up to a limit. Descriptors and memory come back soon, as a rule, so that limit is short. A
 * rule of the system is seldom taken away, so that limit is long. */
#define RETRY_MS 10
#define RETRY_EXHAUSTED_MAX_MS 80
#define RETRY_REFUSED_MAX_MS 1280

static bool is_accept_refused(const xev_completion *c, int code) {
    return xev__os_is_refused(code) &&
           (!xev__os_is_of_connection(c->fd, code) || c->arg.accept.failures + 1 >= BROKEN_AT_ONCE);
}

bool xev__accept_outlasts(const xev_completion *c, int code) {
    if (c->op != XEV__OP_ACCEPT || code >= 0) {
        return false;
    }
    if (xev__os_exhausted(code) || is_accept_refused(c, code)) {
        return (c->flags & XEV__F_MULTI) != 0;
    }
    return xev__os_is_of_connection(c->fd, code);
}

/* Try the accept again later. max_ms: the longest time between two attempts. */
static void pause_accept(xev_loop *loop, struct xev__fd *e, xev_completion *c, uint32_t max_ms) {
    uint32_t ms = c->arg.accept.wait_ms * 2;
    ms = ms < RETRY_MS ? RETRY_MS : ms > max_ms ? max_ms : ms;
    assert(ms >= RETRY_MS && ms <= max_ms);
    c->arg.accept.wait_ms = ms;
    c->arg.accept.again_ns = xev__deadline(xev__os_now_ns(), (uint64_t)ms * 1000000);
    xev__fds_pause_accept(loop, e, c);
}

void xev__accept_report(xev_loop *loop, xev_completion *c, int code) {
    if (c->arg.accept.reported != code) {
        c->arg.accept.reported = code;
        xev__finish(loop, c, code, true);
    }
}

void xev__accept_again(xev_loop *loop, struct xev__fd *e, xev_completion *c, int code) {
    assert(c->op == XEV__OP_ACCEPT && c->state == XEV__STARTED && e->head[XEV__READ] == c);
    assert(code < 0);
    bool exhausted = xev__os_exhausted(code);
    bool lasts = exhausted || is_accept_refused(c, code);
    c->arg.accept.failures++;
    if (!lasts && c->arg.accept.failures % BROKEN_AT_ONCE != 0) {
        loop->ops->start(loop, e, c);
        return;
    }
    pause_accept(loop, e, c,
                 !lasts      ? RETRY_MS
                 : exhausted ? RETRY_EXHAUSTED_MAX_MS
                             : RETRY_REFUSED_MAX_MS);
    if (lasts) {
        xev__accept_report(loop, c, code);
    }
}

int xev_tcp_accept_now(xev_tcp tcp) { return xev__os_accept_now(tcp.fd); }

/* What a connect does when it becomes the head of its queue, in arg.io.aux: wait for the network,
 * make the system call again, or report the result that is known already. */
enum { CONNECT_WAITS = 0, CONNECT_AGAIN = 1, CONNECT_OVER = 2 };

void xev__connect_start(xev_loop *loop, xev_completion *c) {
    assert(c->op == XEV__OP_CONNECT && c->loop == loop);
    struct xev__fd *e = xev__fds_find(loop->fds, c->fd);
    if (e != NULL && e->closer != NULL && !xev__file_close_is_past(e->closer)) {
        xev__pend(loop, c, XEV_ECANCELED);
        return;
    }
    xev__forget_stale(loop, c->fd); /* the first operation of a new socket, as a rule */
    const xev_addr *addr = c->arg.io.addr;
    int rc = !xev__is_addr(addr)          ? XEV_EINVAL
             : loop->ops->connect != NULL ? loop->ops->connect(loop, c, addr)
                                          : xev__os_connect(c->fd, addr);
    bool again = rc == XEV_EAGAIN && xev_addr_family(addr) == XEV_AF_UNIX;
    c->arg.io.aux = again ? CONNECT_AGAIN : rc == XEV_EINPROGRESS ? CONNECT_WAITS : CONNECT_OVER;
    c->result = rc;
    /* Queued even where it is over: a send that is queued behind it must be reported after it. */
    xev__submit(loop, c);
}

void xev__connect_at_head(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    assert(c->op == XEV__OP_CONNECT && e->head[XEV__WRITE] == c);
    if (c->arg.io.aux == CONNECT_WAITS) {
        loop->ops->start(loop, e, c);
        return;
    }
    bool over = c->arg.io.aux == CONNECT_OVER;
    int rc = over ? c->result : xev__os_connect(c->fd, c->arg.io.addr);
    if (rc == XEV_EAGAIN) {
        xev__fds_pause(loop, e, c);
    } else {
        xev__pend(loop, c, rc);
    }
}

void xev__connect_known(xev_completion *c, int result) {
    assert(c->op == XEV__OP_CONNECT && c->arg.io.aux == CONNECT_WAITS);
    c->arg.io.aux = CONNECT_OVER;
    c->result = result;
}

void xev__connect_ended(xev_loop *loop, xev_completion *c) {
    if (loop->ops->connect_over != NULL) {
        loop->ops->connect_over(loop, c);
    }
}

void xev_tcp_connect(xev_tcp tcp, xev_loop *loop, xev_completion *c, const xev_addr *addr,
                     void *userdata, xev_cb cb) {
    xev__connect(XEV__CALL("xev_tcp_connect"), tcp.fd, loop, c, addr, userdata, cb);
}

void xev__connect(const char *call, xev_fd fd, xev_loop *loop, xev_completion *c,
                  const xev_addr *addr, void *userdata, xev_cb cb) {
    if (addr == NULL) {
        xev__misuse(call, "address is null", c);
    }
    if (xev__begin(call, loop, c, XEV__OP_CONNECT, userdata, cb)) {
        c->fd = fd;
        c->arg.io.addr = addr;
        xev__connect_start(loop, c);
    }
}

void xev_tcp_recv(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *buf, size_t len_bytes,
                  void *userdata, xev_cb cb) {
    xev__transfer(XEV__CALL("xev_tcp_recv"), XEV__OP_RECV, tcp.fd, loop, c, buf, len_bytes,
                  userdata, cb);
}

void xev_tcp_recv_loan(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb) {
    tcp_operate(XEV__CALL("xev_tcp_recv_loan"), XEV__OP_RECV, tcp, loop, c, XEV__F_LOAN, userdata,
                cb);
}

void xev_tcp_recv_multi(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb) {
    tcp_operate(XEV__CALL("xev_tcp_recv_multi"), XEV__OP_RECV, tcp, loop, c,
                XEV__F_LOAN | XEV__F_MULTI, userdata, cb);
}

void xev_tcp_send(xev_tcp tcp, xev_loop *loop, xev_completion *c, const void *buf, size_t len_bytes,
                  void *userdata, xev_cb cb) {
    void *bytes = (void *)(uintptr_t)buf;
    xev__transfer(XEV__CALL("xev_tcp_send"), XEV__OP_SEND, tcp.fd, loop, c, bytes, len_bytes,
                  userdata, cb);
}

void xev_tcp_recvv(xev_tcp tcp, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                   void *userdata, xev_cb cb) {
    xev__transfer_vec(XEV__CALL("xev_tcp_recvv"), XEV__OP_RECV, tcp.fd, loop, c, vec, count,
                      userdata, cb);
}

void xev_tcp_sendv(xev_tcp tcp, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                   void *userdata, xev_cb cb) {
    xev__transfer_vec(XEV__CALL("xev_tcp_sendv"), XEV__OP_SEND, tcp.fd, loop, c, vec, count,
                      userdata, cb);
}

void xev_tcp_shutdown(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb) {
    tcp_operate(XEV__CALL("xev_tcp_shutdown"), XEV__OP_SHUTDOWN, tcp, loop, c, 0, userdata, cb);
}

void xev_tcp_close(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb) {
    xev__close(XEV__CALL("xev_tcp_close"), loop, c, xev__socket_fd(tcp.fd), userdata, cb);
}

int xev_tcp_close_now(xev_tcp tcp) { return xev__os_close(xev__socket_fd(tcp.fd)); }
int xev_tcp_set_nodelay(xev_tcp tcp, bool on) { return xev__os_set_nodelay(tcp.fd, on); }

/* The system's unit for what a socket remembers. Never less than asked for. */
static uint32_t whole_seconds(uint64_t ms) {
    uint64_t s = ms / 1000 + (ms % 1000 != 0);
    return s < UINT32_MAX ? (uint32_t)s : UINT32_MAX;
}

int xev_tcp_set_keepalive(xev_tcp tcp, uint64_t idle_ms) {
    return xev__os_set_keepalive(tcp.fd, whole_seconds(idle_ms));
}

int xev_tcp_set_buffers(xev_tcp tcp, uint32_t send_bytes, uint32_t recv_bytes) {
    return xev__os_set_buffers(tcp.fd, send_bytes, recv_bytes);
}

int xev_tcp_set_reset_on_close(xev_tcp tcp, bool on) { return xev__os_set_linger(tcp.fd, on, 0); }

int xev_tcp_set_linger(xev_tcp tcp, uint64_t timeout_ms) {
    return xev__os_set_linger(tcp.fd, timeout_ms > 0, whole_seconds(timeout_ms));
}

int xev_tcp_local_addr(xev_tcp tcp, xev_addr *addr) {
    xev__check_pointer("xev_tcp_local_addr", "room for the address is null", addr);
    return xev__os_local_addr(tcp.fd, addr);
}

int xev_tcp_peer_addr(xev_tcp tcp, xev_addr *addr) {
    xev__check_pointer("xev_tcp_peer_addr", "room for the address is null", addr);
    return xev__os_peer_addr(tcp.fd, addr);
}

int xev_tcp_unread_bytes(xev_tcp tcp) { return xev__os_unread_bytes(tcp.fd); }
