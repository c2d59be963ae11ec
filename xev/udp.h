/* UDP sockets.
 *
 * xev_udp is a value: a descriptor, with the rules of xev_tcp (see tcp.h), which also has the
 * results common to all operations. Receives and sends each complete in the order of submission;
 * any number may be queued. The result of a zero-length datagram is 0, never XEV_EOF.
 *
 * A datagram is described by an xev_datagram of the caller's. It is in use by one operation at a
 * time, stays at one address from submission until the terminal callback and is not changed by the
 * caller meanwhile. It needs no initialisation but of the fields the call names.
 */
#ifndef XEV_UDP_H
#define XEV_UDP_H

#include "xev/addr.h"
#include "xev/buffer.h"

typedef struct xev_udp {
    xev_fd fd;
} xev_udp;

/* A buffer lent for a datagram holds so many bytes less than xev_loop_options.buffer_bytes: the
 * kernel may put the address before the data. */
#define XEV_DATAGRAM_OVERHEAD 128

/* Most datagrams that one batch moves. */
#define XEV_UDP_BATCH_MAX 64

typedef struct xev_datagram {
    union {
        void *buf;        /* receives: where to */
        const void *data; /* sends: what */
    };
    uint32_t capacity_bytes; /* receives: room at buf */
    uint32_t len_bytes;      /* sends: at data; receives: what arrived of it at buf */
    xev_addr peer;           /* to whom, zeroed: the connected peer; from whom */
    /* Sends: if not 0, the data is many datagrams of this size, the last one may be shorter (GSO);
     * the kernel sets limits to their number (64) and sum (64 KiB). Receives: if not 0, so it
     * arrived (GRO). */
    uint32_t segment_bytes;
    bool truncated; /* receives: it was longer, and the rest is lost */
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

/* How an address is shared with other sockets. */
enum xev_udp_bind_flag {
    /* With sockets of the same user that say so too: each gets its part of the senders
     * (SO_REUSEPORT), and each gets every multicast datagram. */
    XEV_UDP_REUSE_PORT = 1,
    /* With sockets of any user that say so too: each gets every multicast datagram, and one of them
     * whatever is sent to this host alone. */
    XEV_UDP_REUSE_ADDR = 2,
};

XEV_BEGIN_DECLS

/* A new socket. 0 or XEV_EMFILE, XEV_ENFILE, XEV_ENOMEM, XEV_EAFNOSUPPORT. On failure udp->fd is
 * XEV_INVALID_FD. The caller owns the descriptor. It gets the multicast of the groups joined by
 * xev_udp_join, not of those that others on this host have joined. */
XEV_NODISCARD int xev_udp_init(xev_udp *udp, enum xev_family family);

/* A datagram socket the caller already has, blocking or not. */
xev_udp xev_udp_from_fd(xev_fd fd);

/* Bind; flags: XEV_UDP_REUSE_*. An IPv6 address takes IPv6 only. 0 or XEV_EADDRINUSE, XEV_EACCES,
 * XEV_EADDRNOTAVAIL, XEV_EINVAL (flags; no address, NULL included; bound before), ... Any
 * thread. */
XEV_NODISCARD int xev_udp_bind(xev_udp udp, const xev_addr *addr, uint32_t flags);

/* From now on send to addr where a datagram names no peer, receive from addr only, and learn that
 * nobody listens there (XEV_ECONNREFUSED, of a later send or receive). NULL: no longer. Sends
 * nothing, does not wait. 0 or XEV_ENETUNREACH, XEV_EAFNOSUPPORT, XEV_EINVAL (no address), ... Any
 * thread. */
XEV_NODISCARD int xev_udp_connect(xev_udp udp, const xev_addr *addr);

/* Receive one datagram into d->buf (d->capacity_bytes, 0 to INT32_MAX); len_bytes, peer, truncated
 * and segment_bytes are set. Result: its bytes in buf (0: a datagram of no bytes), XEV_ECONNREFUSED
 * (of an earlier send of a connected socket), XEV_EINVAL (capacity_bytes, buf is NULL), ... */
void xev_udp_recv(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d, void *userdata,
                  xev_cb cb);

/* Receive on and on, until an error ends it, into buffers that the loop lends (see buffer.h): in
 * each callback with result >= 0, d->buf is the data and the rest of d describes it. With result >
 * 0 xev_buf_take keeps it, d excepted. When there is no buffer the datagrams wait in the socket,
 * which drops what it has no room for. It stops as
 * xev_tcp_recv_multi does, after what the kernel has taken by then. XEV_EINVAL where the loop's
 * buffers are not larger than XEV_DATAGRAM_OVERHEAD. With GRO, buffers of 64 KiB and more hold what
 * may come. */
void xev_udp_recv_multi(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d,
                        void *userdata, xev_cb cb);

/* Receive what there is, at least one datagram, into ds[0] and following; each as by xev_udp_recv.
 * count: above 0, else XEV_EINVAL; at most XEV_UDP_BATCH_MAX are received, and those before one
 * that xev_udp_recv would refuse. Result: how many. One system call where the platform has one for
 * it. */
void xev_udp_recv_batch(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *ds,
                        uint32_t count, void *userdata, xev_cb cb);

/* Send d->len_bytes (0 to INT32_MAX) at d->data to d->peer; d->segment_bytes 0 for one datagram.
 * Result: len_bytes, or XEV_EMSGSIZE (longer than a datagram can be), XEV_EDESTADDRREQ (no peer),
 * XEV_EACCES (broadcast not allowed), XEV_ECONNREFUSED (of an earlier send of a connected socket),
 * XEV_ENETUNREACH, XEV_ENOTSUP (segments, and the system has no GSO), XEV_EINVAL (len_bytes,
 * segment_bytes above 65 535, peer, or data is NULL), ... */
void xev_udp_send(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d, void *userdata,
                  xev_cb cb);

/* Send ds[0] and following, each as by xev_udp_send; count: above 0, else XEV_EINVAL; at most
 * XEV_UDP_BATCH_MAX are sent. Result: how many (> 0); fewer than that where the socket was full or
 * the next one met an error, which a send that begins with it reports. */
void xev_udp_send_batch(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *ds,
                        uint32_t count, void *userdata, xev_cb cb);

/* As xev_tcp_close and xev_tcp_close_now. */
void xev_udp_close(xev_udp udp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);
int xev_udp_close_now(xev_udp udp);

/* Options. 0 or a code; XEV_EINVAL for a value out of range. Any thread. */

/* interface_index: as of if_nametoindex; 0: the system's choice. source: only what it sends; NULL:
 * all. A group may be joined once per interface: XEV_EADDRINUSE. Leaving names what the join named,
 * or is XEV_EADDRNOTAVAIL; a close leaves all. XEV_EINVAL: not a multicast address; XEV_ENODEV: no
 * such interface, or none that the system would choose. */
XEV_NODISCARD int xev_udp_join(xev_udp udp, const xev_addr *group, const xev_addr *source,
                               uint32_t interface_index);
XEV_NODISCARD int xev_udp_leave(xev_udp udp, const xev_addr *group, const xev_addr *source,
                                uint32_t interface_index);

/* Where multicast is sent from. */
XEV_NODISCARD int xev_udp_set_multicast_interface(xev_udp udp, uint32_t interface_index);
/* How many routers it may pass plus one, 0 to 255. As created: 1. */
XEV_NODISCARD int xev_udp_set_multicast_ttl(xev_udp udp, uint32_t ttl);
/* Whether this host's members get what is sent by this socket too. As created: yes. */
XEV_NODISCARD int xev_udp_set_multicast_loop(xev_udp udp, bool on);
/* Time to live (IPv4) or hop limit (IPv6) of everything else, 1 to 255. */
XEV_NODISCARD int xev_udp_set_ttl(xev_udp udp, uint32_t ttl);
/* Whether it may send to broadcast addresses. As created: no. */
XEV_NODISCARD int xev_udp_set_broadcast(xev_udp udp, bool on);
/* Let the system join datagrams of one size from one sender: see segment_bytes, and offer room for
 * 64 KiB. XEV_ENOTSUP where it cannot. */
XEV_NODISCARD int xev_udp_set_gro(xev_udp udp, bool on);
/* As xev_tcp_set_buffers. */
XEV_NODISCARD int xev_udp_set_buffers(xev_udp udp, uint32_t send_bytes, uint32_t recv_bytes);

/* Whether xev_udp_send knows segments: the same for every UDP socket. Any thread. */
bool xev_udp_has_gso(xev_udp udp);

/* This end's address (the real port after binding to 0), and that of a connected peer; as
 * xev_tcp_local_addr. */
XEV_NODISCARD int xev_udp_local_addr(xev_udp udp, xev_addr *addr);
XEV_NODISCARD int xev_udp_peer_addr(xev_udp udp, xev_addr *addr);

XEV_END_DECLS

#endif
