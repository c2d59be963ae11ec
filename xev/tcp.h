/* TCP sockets.
 *
 * xev_tcp is a value: a descriptor. It may be copied; it does not belong to a loop until an
 * operation is submitted, and from then on is to be closed by xev_tcp_close in that loop. Every
 * asynchronous call is made on the loop's thread, takes a dead completion, and reports through cb
 * only. Operations of one direction (accept, recv; connect, send, shutdown) on one descriptor
 * complete in the order of submission, but for those that are stopped; any number may be queued. No
 * SIGPIPE is ever raised. Sockets are close-on-exec.
 *
 * Results common to all: XEV_ECANCELED (cancelled, or its descriptor closed), XEV_ETIMEDOUT (see
 * xev_completion_set_timeout), XEV_EBADF (not open), XEV_ENOTSOCK, XEV_ENOMEM.
 */
#ifndef XEV_TCP_H
#define XEV_TCP_H

#include "xev/addr.h"
#include "xev/buffer.h"
#include "xev/vec.h"

typedef struct xev_tcp {
    xev_fd fd;
} xev_tcp;

XEV_BEGIN_DECLS

/* A new socket. 0 or XEV_EMFILE, XEV_ENFILE, XEV_ENOMEM, XEV_EAFNOSUPPORT. On failure tcp->fd is
 * XEV_INVALID_FD. The caller owns the descriptor. */
XEV_NODISCARD int xev_tcp_init(xev_tcp *tcp, enum xev_family family);

/* A socket the caller already has, blocking or not. */
xev_tcp xev_tcp_from_fd(xev_fd fd);

/* Bind; SO_REUSEADDR is set. reuse_port: any number of sockets of the same user may listen on this
 * address, and the kernel spreads connections over them (XEV_ENOTSUP where it does not balance). An
 * IPv6 address takes IPv6 only. 0 or XEV_EADDRINUSE, XEV_EACCES, XEV_EADDRNOTAVAIL, XEV_EINVAL (no
 * address, NULL included; bound before), ... Any thread. */
XEV_NODISCARD int xev_tcp_bind(xev_tcp tcp, const xev_addr *addr, bool reuse_port);

/* backlog: connections the kernel holds for accept, > 0; the kernel caps it (somaxconn). 0 or
 * XEV_EINVAL (backlog), XEV_EADDRINUSE, XEV_ENOTSUP (no stream socket), ... Any thread. */
XEV_NODISCARD int xev_tcp_listen(xev_tcp tcp, int backlog);

/* Accept one connection, result: its descriptor, the caller's; or on and on, xev_completion_more
 * being true. One listener reports at most 64 connections in a turn of the loop, whatever its
 * backlog holds; the others follow in the next turns.
 *
 * Two kinds of errors may pass: exhaustion (XEV_EMFILE, XEV_ENFILE, XEV_ENOBUFS, XEV_ENOMEM,
 * XEV_ENOSPC), and refusal by a rule of the system, such as a seccomp filter or a security module
 * (XEV_EACCES, XEV_ENOSYS; XEV_EPERM, 16 times in a row). They end a single accept. A multishot one
 * reports a code once until it has a connection again, with more to come. It tries again after
 * 10 ms, then after twice as long each time, to 80 ms (exhaustion) or 1.28 s (refusal). Where
 * memory is short for the loop's own record of it, it reports nothing and tries again every 10 ms.
 *
 * On epoll XEV_ENOSPC and XEV_ENOMEM may also say that the kernel watches no further descriptor
 * (fs.epoll.max_user_watches). Clients then wait in the backlog; those served before are served on.
 *
 * What is wrong with one connection only (it broke before it was accepted) is passed over in
 * silence. XEV_EINVAL: it does not listen, or was shut down. XEV_ENOTSUP: it cannot. */
void xev_tcp_accept(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);
void xev_tcp_accept_multi(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata,
                          xev_cb cb);

/* Accept without waiting: a descriptor, XEV_EAGAIN where none waits, or an error, XEV_EPERM too.
 * Only for a listener no operation is active on. Any thread. */
XEV_NODISCARD int xev_tcp_accept_now(xev_tcp tcp);

/* Connect to addr; result 0, XEV_ECONNREFUSED, XEV_ENETUNREACH, ... addr is copied, unless the
 * callback returns XEV_REARM: then it must still be there. XEV_EISCONN: connected, or a listener;
 * XEV_EINVAL: no address; XEV_EAFNOSUPPORT: of another family. For a host of several addresses:
 * dial.h. */
void xev_tcp_connect(xev_tcp tcp, xev_loop *loop, xev_completion *c, const xev_addr *addr,
                     void *userdata, xev_cb cb);

/* Receive up to len_bytes (1 to INT32_MAX) into buf, which the caller keeps until the callback.
 * Result: bytes received (> 0), XEV_EOF at the end of the stream, XEV_ECONNRESET, XEV_ENOTCONN,
 * XEV_EINVAL (len_bytes), ... */
void xev_tcp_recv(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *buf, size_t len_bytes,
                  void *userdata, xev_cb cb);

/* Receive once, or on and on until an error or XEV_EOF ends it, into a buffer that the loop lends:
 * see buffer.h.
 *
 * Receiving on and on does not stop at once. After XEV_DISARM, a cancel or a deadline, calls still
 * bring what the kernel has taken off the socket by then: on io_uring as much as the loop's buffers
 * hold (xev_loop_options.buffers times buffer_bytes, 2 MiB by default), on epoll nothing. A program
 * that wants the peer to wait receives one loan at a time: what it does not ask for stays in the
 * socket. */
void xev_tcp_recv_loan(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);
void xev_tcp_recv_multi(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);

/* Send up to len_bytes (1 to INT32_MAX) from buf, which the caller keeps until the callback.
 * Result: bytes taken by the kernel (> 0, may be fewer: see stream.h for a queue that sends all),
 * XEV_EPIPE (not connected, too), XEV_ECONNRESET, XEV_EINVAL (len_bytes), ... */
void xev_tcp_send(xev_tcp tcp, xev_loop *loop, xev_completion *c, const void *buf, size_t len_bytes,
                  void *userdata, xev_cb cb);

/* Receive into, or send from, count pieces (1 to XEV_VEC_MAX) of 1 to INT32_MAX bytes together, in
 * their order; otherwise as recv and send. vec itself is kept until the callback too. XEV_EINVAL:
 * too many pieces, or bytes, or none. */
void xev_tcp_recvv(xev_tcp tcp, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                   void *userdata, xev_cb cb);
void xev_tcp_sendv(xev_tcp tcp, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                   void *userdata, xev_cb cb);

/* Close the writing side, after the sends submitted before; the peer reads end of stream. Result: 0
 * or XEV_ENOTCONN. */
void xev_tcp_shutdown(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);

/* Cancel everything active on the descriptor in this loop, deliver those callbacks, close the
 * descriptor, then call cb with 0 (XEV_EBADF: not open or being closed). No operation may be
 * submitted on it from now on; one that is reports XEV_ECANCELED. What is unsent the system goes on
 * sending in the background. Not so where the peer has sent what nobody has read here, or goes on
 * sending: then the system resets the connection, and the peer may lose what was sent to it. To
 * answer a peer that may not be through, shut the writing side down, receive to the end and then
 * close; or see xev_tcp_set_linger. Never blocks the loop. */
void xev_tcp_close(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);

/* Close a descriptor that no operation was ever submitted on, or that its loop's deinit left open.
 * 0 or XEV_EBADF. Any thread, which the system holds up for the time of xev_tcp_set_linger, if
 * there is one. */
int xev_tcp_close_now(xev_tcp tcp);

/* Options. Any thread. 0, XEV_EBADF, XEV_ENOTSOCK, or what the option says. */

/* Send at once, and do not wait for more to fill a packet. Not TCP: XEV_ENOTSUP. */
XEV_NODISCARD int xev_tcp_set_nodelay(xev_tcp tcp, bool on);
/* idle_ms: silence before the first probe and between probes, to 32 767 000; rounded up to whole
 * seconds, the system's unit; 0: off. XEV_EINVAL: above that. Not TCP: XEV_ENOTSUP, unless it is 0.
 */
XEV_NODISCARD int xev_tcp_set_keepalive(xev_tcp tcp, uint64_t idle_ms);
/* Bytes; the kernel may round, double or cut them down. 0 leaves one as it is. XEV_EINVAL: above
 * INT32_MAX. */
XEV_NODISCARD int xev_tcp_set_buffers(xev_tcp tcp, uint32_t send_bytes, uint32_t recv_bytes);
/* The next close sends a reset and drops what is unsent. Takes a linger time away. */
XEV_NODISCARD int xev_tcp_set_reset_on_close(xev_tcp tcp, bool on);
/* timeout_ms: for which the next close waits for the peer to acknowledge what was sent; rounded up
 * to whole seconds, to INT32_MAX of them (above: XEV_EINVAL); 0, as at first: it does not wait.
 * Takes a reset on close away. Also SO_LINGER, as set by whomever. A close that waits,
 * xev_tcp_close or another of a loop, shuts the writing side down (for all who have the socket),
 * and looks every 10 ms while its loop goes on. What arrives meanwhile, or has arrived and was not
 * read, is dropped, so that it does not make the system reset the connection. Then it closes the
 * descriptor and reports 0: all is acknowledged; XEV_ETIMEDOUT: the time is over, and what is left
 * was dropped with a reset; XEV_ECONNRESET, ...: the connection broke before; XEV_ECANCELED: the
 * loop ended, and the system goes on in the background. */
XEV_NODISCARD int xev_tcp_set_linger(xev_tcp tcp, uint64_t timeout_ms);

/* This end's address (the real port after binding to 0), and the peer's. 0 or a code, XEV_ENOTCONN
 * where there is no peer; *addr is then no address. Any thread. */
XEV_NODISCARD int xev_tcp_local_addr(xev_tcp tcp, xev_addr *addr);
XEV_NODISCARD int xev_tcp_peer_addr(xev_tcp tcp, xev_addr *addr);

/* Bytes the kernel has received and nobody has read, or a code. Any thread. */
XEV_NODISCARD int xev_tcp_unread_bytes(xev_tcp tcp);

XEV_END_DECLS

#endif
