/* UDP sockets: the watcher calls. Datagrams are checked here, before the system sees them. */
#include "xev/udp.h"

#include <assert.h>

#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/os/udp.h"
#include "xev/watchers/watchers.h"

int xev_udp_init(xev_udp *udp, enum xev_family family) {
    xev__check_pointer("xev_udp_init", "socket is null", udp);
    udp->fd = XEV_INVALID_FD;
    return xev__os_udp_socket(family, &udp->fd);
}

xev_udp xev_udp_from_fd(xev_fd fd) { return (xev_udp){fd}; }

int xev_udp_bind(xev_udp udp, const xev_addr *addr, uint32_t flags) {
    bool ok =
        xev__is_addr(addr) && (flags & ~(uint32_t)(XEV_UDP_REUSE_PORT | XEV_UDP_REUSE_ADDR)) == 0;
    return ok ? xev__os_udp_bind(udp.fd, addr, flags) : XEV_EINVAL;
}

int xev_udp_connect(xev_udp udp, const xev_addr *addr) {
    return addr == NULL || xev__is_addr(addr) ? xev__os_udp_connect(udp.fd, addr) : XEV_EINVAL;
}

/* ---- operations ---- */

static bool is_receivable(const xev_datagram *d) {
    return d->capacity_bytes <= INT32_MAX && (d->buf != NULL || d->capacity_bytes == 0);
}

static bool is_sendable(const xev_datagram *d) {
    return d->len_bytes <= INT32_MAX && (d->data != NULL || d->len_bytes == 0) &&
           d->peer.len_bytes <= sizeof d->peer.storage && d->segment_bytes <= UINT16_MAX;
}

static int check_datagram(const xev_completion *c, const xev_datagram *d) {
    if (xev__dir(c) != XEV__WRITE) {
        return is_receivable(d) ? 0 : XEV_EINVAL;
    }
    bool lacks_gso = d->segment_bytes > 0 && !xev__os_udp_has_gso(c->fd) && xev__os_is_open(c->fd);
    return !is_sendable(d) ? XEV_EINVAL : lacks_gso ? XEV_ENOTSUP : 0;
}

/* Count in c->arg.io.aux how many of the datagrams can be moved: those before the first bad one. 0,
 * or a code where the first is bad. */
static int check_datagrams(xev_loop *loop, xev_completion *c) {
    const xev_datagram *d = c->arg.io.buf;
    assert(d != NULL || c->arg.io.len_bytes == 0);
    if ((c->flags & XEV__F_LOAN) != 0) {
        return loop->options.buffer_bytes > XEV_DATAGRAM_OVERHEAD ? 0 : XEV_EINVAL;
    }
    int rc = XEV_EINVAL;
    uint32_t n = 0;
    while (n < c->arg.io.len_bytes && n < XEV_UDP_BATCH_MAX &&
           (rc = check_datagram(c, &d[n])) == 0) {
        n++;
    }
    assert(n <= XEV_UDP_BATCH_MAX && n <= c->arg.io.len_bytes);
    c->arg.io.aux = n;
    return n > 0 ? 0 : rc;
}

uint32_t xev__udp_room(const xev_loop *loop) {
    uint32_t size_bytes = loop->buffers->size_bytes;
    XEV_ASSERT(size_bytes > XEV_DATAGRAM_OVERHEAD); /* else a datagram would leave its buffer */
    return size_bytes - XEV_DATAGRAM_OVERHEAD;
}

void xev__udp_start(xev_loop *loop, xev_completion *c) {
    assert(c->loop == loop && c->op >= XEV__OP_ACCEPT && c->op < XEV__OP_COUNT);
    int rc = check_datagrams(loop, c);
    if (rc < 0) {
        xev__pend(loop, c, rc);
    } else {
        xev__submit(loop, c);
    }
}

static void udp_begin(const char *call, enum xev__op op, xev_udp udp, xev_loop *loop,
                      xev_completion *c, xev_datagram *ds, uint32_t count, uint16_t flags,
                      void *userdata, xev_cb cb) {
    if (ds == NULL && count > 0) {
        xev__misuse(call, "datagram is null", c);
    }
    if (xev__begin(call, loop, c, op, userdata, cb)) {
        c->fd = udp.fd;
        c->flags |= flags;
        c->arg.io.buf = ds;
        c->arg.io.len_bytes = count;
        xev__udp_start(loop, c);
    }
}

void xev_udp_recv(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d, void *userdata,
                  xev_cb cb) {
    udp_begin(XEV__CALL("xev_udp_recv"), XEV__OP_UDP_RECV, udp, loop, c, d, 1, 0, userdata, cb);
}

void xev_udp_recv_multi(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d,
                        void *userdata, xev_cb cb) {
    udp_begin(XEV__CALL("xev_udp_recv_multi"), XEV__OP_UDP_RECV, udp, loop, c, d, 1,
              XEV__F_LOAN | XEV__F_MULTI, userdata, cb);
}

void xev_udp_recv_batch(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *ds,
                        uint32_t count, void *userdata, xev_cb cb) {
    udp_begin(XEV__CALL("xev_udp_recv_batch"), XEV__OP_UDP_RECV_BATCH, udp, loop, c, ds, count, 0,
              userdata, cb);
}

void xev_udp_send(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d, void *userdata,
                  xev_cb cb) {
    udp_begin(XEV__CALL("xev_udp_send"), XEV__OP_UDP_SEND, udp, loop, c, d, 1, 0, userdata, cb);
}

void xev_udp_send_batch(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *ds,
                        uint32_t count, void *userdata, xev_cb cb) {
    udp_begin(XEV__CALL("xev_udp_send_batch"), XEV__OP_UDP_SEND_BATCH, udp, loop, c, ds, count, 0,
              userdata, cb);
}

void xev_udp_close(xev_udp udp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb) {
    xev__close(XEV__CALL("xev_udp_close"), loop, c, xev__socket_fd(udp.fd), userdata, cb);
}

int xev_udp_close_now(xev_udp udp) { return xev__os_close(xev__socket_fd(udp.fd)); }

/* ---- options ---- */

int xev_udp_join(xev_udp udp, const xev_addr *group, const xev_addr *source,
                 uint32_t interface_index) {
    bool ok = xev__is_addr(group) && (source == NULL || xev__is_addr(source));
    return ok ? xev__os_udp_membership(udp.fd, true, group, source, interface_index) : XEV_EINVAL;
}

int xev_udp_leave(xev_udp udp, const xev_addr *group, const xev_addr *source,
                  uint32_t interface_index) {
    bool ok = xev__is_addr(group) && (source == NULL || xev__is_addr(source));
    return ok ? xev__os_udp_membership(udp.fd, false, group, source, interface_index) : XEV_EINVAL;
}

int xev_udp_set_multicast_interface(xev_udp udp, uint32_t interface_index) {
    return xev__os_udp_set_multicast_interface(udp.fd, interface_index);
}

int xev_udp_set_multicast_ttl(xev_udp udp, uint32_t ttl) {
    return xev__os_udp_set_multicast_ttl(udp.fd, ttl);
}

int xev_udp_set_multicast_loop(xev_udp udp, bool on) {
    return xev__os_udp_set_multicast_loop(udp.fd, on);
}

int xev_udp_set_ttl(xev_udp udp, uint32_t ttl) { return xev__os_udp_set_ttl(udp.fd, ttl); }
int xev_udp_set_broadcast(xev_udp udp, bool on) { return xev__os_udp_set_broadcast(udp.fd, on); }
int xev_udp_set_gro(xev_udp udp, bool on) { return xev__os_udp_set_gro(udp.fd, on); }

int xev_udp_set_buffers(xev_udp udp, uint32_t send_bytes, uint32_t recv_bytes) {
    return xev__os_set_buffers(udp.fd, send_bytes, recv_bytes);
}

bool xev_udp_has_gso(xev_udp udp) { return xev__os_udp_has_gso(udp.fd); }

int xev_udp_local_addr(xev_udp udp, xev_addr *addr) {
    xev__check_pointer("xev_udp_local_addr", "room for the address is null", addr);
    return xev__os_local_addr(udp.fd, addr);
}

int xev_udp_peer_addr(xev_udp udp, xev_addr *addr) {
    xev__check_pointer("xev_udp_peer_addr", "room for the address is null", addr);
    return xev__os_peer_addr(udp.fd, addr);
}
