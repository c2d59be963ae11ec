/* UDP sockets.
 *
 *     xev_udp udp;
 *     xev_datagram d = {.buf = buf, .capacity_bytes = sizeof buf};
 *     if (xev_udp_init(&udp, XEV_AF_INET) == 0 && xev_udp_bind(udp, &addr, 0) == 0) {
 *         xev_udp_recv(udp, &loop, &c, &d, userdata, on_datagram);
 *     }
 *
 * xev_udp is a value that holds a descriptor; the rules, and the results that all operations have,
 * are those of tcp.h. Receives finish in the order of submission, and so do sends; any number may
 * be queued. The result of an empty datagram is 0; XEV_EOF does not occur.
 *
 * A datagram is described by an xev_datagram of the caller. One operation at a time uses it. It
 * stays at one address from the submission until the terminal callback, and the caller does not
 * change it meanwhile. Only the fields that a call names need a value. Man page: udp(7).
 */
#ifndef XEV_UDP_H
#define XEV_UDP_H

#include "xev/addr.h"
#include "xev/buffer.h"

typedef struct xev_udp {
    xev_fd fd;
} xev_udp;

/* A buffer that is lent for a datagram has this many bytes less than xev_loop_options.buffer_bytes
 * for data: the kernel may put the sender's address before it. */
#define XEV_DATAGRAM_OVERHEAD 128

/* The most datagrams that one batch moves. */
#define XEV_UDP_BATCH_MAX 64

typedef struct xev_datagram {
    union {
        void *buf;        /* receives: room for the data */
        const void *data; /* sends: the data */
    };
    uint32_t capacity_bytes; /* receives: bytes of room at buf */
    uint32_t len_bytes;      /* sends: bytes at data; receives: bytes that were written to buf */
    /* sends: the receiver, or zeroed: the connected peer; receives: the sender */
    xev_addr peer;
    /* Sends: if not 0, the data is several datagrams of this size, of which the last may be shorter
     * (GSO); the kernel limits their number (64) and their sum (64 KiB). Receives: if not 0, the
     * data is several datagrams of this size in the same way (GRO). */
    uint32_t segment_bytes;
    bool truncated; /* receives: the datagram was longer than the room, and the rest is lost */
    struct {
        uint64_t msg[8];
        struct {
            void *base;
            size_t len_bytes;
        } vec;
        uint64_t name[4];
        uint64_t control[10];
    } priv;
} xev_datagram;

/* How an address is shared with other sockets (socket(7)). */
enum xev_udp_bind_flag {
    /* With sockets of the same user that have this flag, too (SO_REUSEPORT): each gets the
     * datagrams of a part of the senders, and each gets every multicast datagram. */
    XEV_UDP_REUSE_PORT = 1,
    /* With sockets of any user that have this flag, too (SO_REUSEADDR): each gets every multicast
     * datagram, and one of them gets what is sent to this host alone. */
    XEV_UDP_REUSE_ADDR = 2,
};

XEV_BEGIN_DECLS

/* Make a socket, in *udp; the caller owns the descriptor. It gets the multicast of groups that it
 * joins by xev_udp_join, and not of groups that other sockets of this host have joined. 0, or
 * XEV_EMFILE, XEV_ENFILE, XEV_ENOMEM, XEV_EAFNOSUPPORT; then udp->fd is XEV_INVALID_FD. Any thread.
 */
XEV_NODISCARD int xev_udp_init(xev_udp *udp, enum xev_family family);

/* A datagram socket that the caller already has, blocking or not. Any thread. */
xev_udp xev_udp_from_fd(xev_fd fd);

/* Bind to an address. flags: XEV_UDP_REUSE_*, or 0. An IPv6 address takes IPv6 only. Port 0: the
 * kernel chooses one that no other socket has; then others can share it. 0, or
 * XEV_EADDRINUSE, XEV_EACCES, XEV_EADDRNOTAVAIL, XEV_EINVAL (flags; no address, NULL included;
 * bound before), ... Any thread. */
XEV_NODISCARD int xev_udp_bind(xev_udp udp, const xev_addr *addr, uint32_t flags);

/* Set the peer: datagrams that name no receiver go to addr, only those from addr are received, and
 * XEV_ECONNREFUSED of a later send or receive says that nobody listens there. addr NULL: no peer
 * any more. Sends nothing and does not wait. 0, or XEV_ENETUNREACH, XEV_EAFNOSUPPORT, XEV_EINVAL
 * (no address), ... Any thread. */
XEV_NODISCARD int xev_udp_connect(xev_udp udp, const xev_addr *addr);

/* Receive one datagram into d->buf, which has d->capacity_bytes of room (0 to INT32_MAX). Sets
 * len_bytes, peer, truncated and segment_bytes of d. Result: bytes in buf (0: an empty datagram),
 * XEV_ECONNREFUSED (of an earlier send of a connected socket), XEV_EINVAL (capacity_bytes, or buf
 * is NULL), ... */
void xev_udp_recv(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d, void *userdata,
                  xev_cb cb);

/* Receive one datagram after the other, until an error ends it, into buffers that the loop lends
 * (see buffer.h). In each callback with result >= 0, d->buf is the data, and the other fields of d
 * describe it. With result > 0 xev_buf_take keeps the buffer, but not d. While no buffer is free,
 * datagrams wait in the socket, which drops those that it has no room for. It stops like
 * xev_tcp_recv_multi: data that the kernel has taken by then is still delivered. With GRO give the
 * loop buffers of 64 KiB or more, which hold whatever may come. XEV_EINVAL: the buffers of the loop
 * are not larger than XEV_DATAGRAM_OVERHEAD. */
void xev_udp_recv_multi(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d,
                        void *userdata, xev_cb cb);

/* Receive the datagrams that are there, at least one, into ds[0] and following, each as by
 * xev_udp_recv. count: above 0 (else XEV_EINVAL), of which at most XEV_UDP_BATCH_MAX are used; an
 * entry that xev_udp_recv would refuse ends the batch before it. Result: how many were received.
 * One system call where the platform has one for it (recvmmsg(2)). */
void xev_udp_recv_batch(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *ds,
                        uint32_t count, void *userdata, xev_cb cb);

/* Send d->len_bytes (0 to INT32_MAX) at d->data to d->peer. d->segment_bytes is 0 for one datagram.
 * Result: len_bytes, or XEV_EMSGSIZE (longer than a datagram can be), XEV_EDESTADDRREQ (no
 * receiver), XEV_EACCES (broadcast is not allowed), XEV_ECONNREFUSED (of an earlier send of a
 * connected socket), XEV_ENETUNREACH, XEV_ENOTSUP (segments, and the system has no GSO), XEV_EINVAL
 * (len_bytes, segment_bytes above 65 535, peer, or data is NULL), ... */
void xev_udp_send(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d, void *userdata,
                  xev_cb cb);

/* Send ds[0] and following, each as by xev_udp_send. count: above 0 (else XEV_EINVAL), of which at
 * most XEV_UDP_BATCH_MAX are sent. Result: how many were sent (> 0). They are fewer where the
 * socket was full or the next datagram met an error; a send that begins with that datagram reports
 * the error. */
void xev_udp_send_batch(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *ds,
                        uint32_t count, void *userdata, xev_cb cb);

/* Close the socket, as xev_tcp_close and xev_tcp_close_now do. */
void xev_udp_close(xev_udp udp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);
int xev_udp_close_now(xev_udp udp);

/* Options. 0 or a code; XEV_EINVAL: a value out of its range. Any thread. */

/* Join or leave a multicast group. source: receive only what this address sends; NULL: from all.
 * interface_index: as given by if_nametoindex(3); 0: the system chooses. XEV_EADDRINUSE: joined on
 * this interface before. XEV_EADDRNOTAVAIL: a leave that does not name what a join has named.
 * XEV_EINVAL: not a multicast address. XEV_ENODEV: no such interface, or the system finds none. A
 * close leaves all groups. */
XEV_NODISCARD int xev_udp_join(xev_udp udp, const xev_addr *group, const xev_addr *source,
                               uint32_t interface_index);
XEV_NODISCARD int xev_udp_leave(xev_udp udp, const xev_addr *group, const xev_addr *source,
                                uint32_t interface_index);

/* The interface that multicast is sent from; 0: the system chooses. */
XEV_NODISCARD int xev_udp_set_multicast_interface(xev_udp udp, uint32_t interface_index);
/* Time to live of multicast, 0 to 255: the number of routers that it may pass, plus one. As
 * created: 1. */
XEV_NODISCARD int xev_udp_set_multicast_ttl(xev_udp udp, uint32_t ttl);
/* Whether members of the group on this host get what this socket sends. As created: yes. */
XEV_NODISCARD int xev_udp_set_multicast_loop(xev_udp udp, bool on);
/* Time to live (IPv4) or hop limit (IPv6) of all other datagrams, 1 to 255. */
XEV_NODISCARD int xev_udp_set_ttl(xev_udp udp, uint32_t ttl);
/* Whether the socket may send to broadcast addresses. As created: no. */
XEV_NODISCARD int xev_udp_set_broadcast(xev_udp udp, bool on);
/* Let the system join several datagrams of one size from one sender into one receive (GRO): see
 * segment_bytes, and give receives 64 KiB of room. XEV_ENOTSUP: the system cannot. */
XEV_NODISCARD int xev_udp_set_gro(xev_udp udp, bool on);
/* Sizes of the kernel's buffers, as by xev_tcp_set_buffers. */
XEV_NODISCARD int xev_udp_set_buffers(xev_udp udp, uint32_t send_bytes, uint32_t recv_bytes);

/* Whether xev_udp_send can send segments (GSO); the same for every UDP socket. Any thread. */
bool xev_udp_has_gso(xev_udp udp);

/* The address of this end (with the real port after binding to port 0), and that of a connected
 * peer, as by xev_tcp_local_addr. */
XEV_NODISCARD int xev_udp_local_addr(xev_udp udp, xev_addr *addr);
XEV_NODISCARD int xev_udp_peer_addr(xev_udp udp, xev_addr *addr);

XEV_END_DECLS

#endif
