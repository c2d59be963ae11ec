/* TCP sockets.
 *
 *     xev_tcp tcp;
 *     if (xev_tcp_init(&tcp, XEV_AF_INET) == 0) {
 *         xev_tcp_connect(tcp, &loop, &c, &addr, userdata, on_connected);
 *     }
 *     (in on_connected)  xev_tcp_send(tcp, loop, c, "hello", 5, userdata, on_sent);
 *
 * xev_tcp is a value: it holds a descriptor and may be copied. The descriptor belongs to no loop
 * until an operation is submitted on it. From then on it is closed by xev_tcp_close in that loop,
 * or taken from the loop by xev_fd_release (fd.h). A zeroed xev_tcp is not empty but names
 * descriptor 0; empty is xev_tcp_from_fd(XEV_INVALID_FD). So that a watcher that was zeroed and not
 * initialised closes no standard stream, closing descriptor 0, 1 or 2 where it is no socket is
 * XEV_EBADF. The same holds for the other watchers that have a descriptor.
 *
 * Calls with a completion begin an operation. They are made on the loop's thread, take a dead
 * completion, and report through cb only; completion.h has the contract. Any number of operations
 * may be queued on one descriptor. Those of one direction (accept and recv; connect, send and
 * shutdown) finish in the order of submission, except those that are stopped. Sockets are
 * close-on-exec. SIGPIPE is never raised.
 *
 * Results that all operations have: XEV_ECANCELED (cancelled, or the descriptor was closed),
 * XEV_ETIMEDOUT (see xev_completion_set_timeout), XEV_EBADF (not open), XEV_ENOTSOCK, XEV_ENOMEM.
 * Man pages: tcp(7), socket(7).
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

/* Make a socket, in *tcp; the caller owns the descriptor. 0, or XEV_EMFILE, XEV_ENFILE, XEV_ENOMEM,
 * XEV_EAFNOSUPPORT; then tcp->fd is XEV_INVALID_FD. Any thread. */
XEV_NODISCARD int xev_tcp_init(xev_tcp *tcp, enum xev_family family);

/* A socket that the caller already has, blocking or not. Any thread. */
xev_tcp xev_tcp_from_fd(xev_fd fd);

/* Bind to an address, with SO_REUSEADDR. An IPv6 address takes IPv6 only. reuse_port
 * (SO_REUSEPORT): any number of sockets of the same user may listen on this address, and the kernel
 * spreads connections over them; XEV_ENOTSUP where the system does not balance. 0, or
 * XEV_EADDRINUSE, XEV_EACCES, XEV_EADDRNOTAVAIL, XEV_EINVAL (no address, NULL included; bound
 * before), ... Any thread. */
XEV_NODISCARD int xev_tcp_bind(xev_tcp tcp, const xev_addr *addr, bool reuse_port);

/* Listen. backlog: how many connections the kernel holds until they are accepted, above 0; the
 * kernel limits it (net.core.somaxconn). 0, or XEV_EINVAL (backlog), XEV_EADDRINUSE, XEV_ENOTSUP
 * (no stream socket), ... Any thread. */
XEV_NODISCARD int xev_tcp_listen(xev_tcp tcp, int backlog);

/* Accept one connection, or (multi) one after the other, xev_completion_more being true. Result:
 * the descriptor of the connection, which is the caller's. One listener reports at most 64
 * connections in a turn of the loop, whatever its backlog holds; the others follow in the next
 * turns.
 *
 * Two kinds of errors may pass by themselves. One is exhaustion: XEV_EMFILE, XEV_ENFILE,
 * XEV_ENOBUFS, XEV_ENOMEM, XEV_ENOSPC. The other is refusal by a rule of the system, such as a
 * seccomp filter or a security module: XEV_EACCES, XEV_ENOSYS, and XEV_EPERM 16 times in a row.
 * Both end a single accept. A multishot accept reports such a code once, with more callbacks to
 * come, and not again before it has had a connection. It tries again after 10 ms, then after twice
 * as long each time, up to 80 ms (exhaustion) or 1.28 s (refusal). Where memory is short for the
 * loop's own record of the listener it reports nothing and tries again every 10 ms.
 *
 * On epoll XEV_ENOSPC and XEV_ENOMEM may also say that the kernel watches no further descriptor
 * (fs.epoll.max_user_watches). Clients then wait in the backlog; those served before are served on.
 *
 * Other results: XEV_EINVAL (it does not listen, or was shut down), XEV_ENOTSUP (no stream socket).
 * An error of one connection only (it broke before it was accepted) is not reported.
 *
 * Where other processes accept at the same socket, a client wakes one of them only, on io_uring and
 * in accept(2). When an accept was cancelled, its client may still wait, and the others not know of
 * it: take it by xev_tcp_accept_now. */
void xev_tcp_accept(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);
void xev_tcp_accept_multi(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata,
                          xev_cb cb);

/* Accept without waiting: a descriptor, XEV_EAGAIN if no connection waits, or an error, XEV_EPERM
 * included. No operation may be active on the listener. Any thread. */
XEV_NODISCARD int xev_tcp_accept_now(xev_tcp tcp);

/* Connect. Result: 0, XEV_ECONNREFUSED, XEV_ENETUNREACH, XEV_EISCONN (connected before, or a
 * listener), XEV_EINVAL (no address), XEV_EAFNOSUPPORT (an address of another family), ... addr is
 * copied; only where the callback returns XEV_REARM it must still be there. To connect to one of
 * several addresses of a host see dial.h. */
void xev_tcp_connect(xev_tcp tcp, xev_loop *loop, xev_completion *c, const xev_addr *addr,
                     void *userdata, xev_cb cb);

/* Receive up to len_bytes (1 to INT32_MAX) into buf. The caller keeps buf until the callback.
 * Result: bytes received (> 0), XEV_EOF (end of stream), XEV_ECONNRESET, XEV_ENOTCONN, XEV_EINVAL
 * (len_bytes), ... */
void xev_tcp_recv(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *buf, size_t len_bytes,
                  void *userdata, xev_cb cb);

/* Receive into a buffer that the loop lends (see buffer.h): once, or (multi) until an error or
 * XEV_EOF ends it. Results as of xev_tcp_recv.
 *
 * A multishot receive does not stop at once. After XEV_DISARM, a cancel or a time-out, callbacks
 * still bring the data that the kernel has taken off the socket by then: on io_uring up to what the
 * buffers of the loop hold (xev_loop_options.buffers times buffer_bytes, 8 MiB by default), on
 * epoll none. A program that wants its peer to wait uses xev_tcp_recv_loan: data that it has not
 * asked for stays in the socket. */
void xev_tcp_recv_loan(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);
void xev_tcp_recv_multi(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);

/* Send up to len_bytes (1 to INT32_MAX) from buf. The caller keeps buf until the callback. Result:
 * bytes that the kernel took (> 0, may be fewer than len_bytes: stream.h has a queue that sends
 * all), XEV_EPIPE (also: not connected), XEV_ECONNRESET, XEV_EINVAL (len_bytes), ... */
void xev_tcp_send(xev_tcp tcp, xev_loop *loop, xev_completion *c, const void *buf, size_t len_bytes,
                  void *userdata, xev_cb cb);

/* The same with count pieces (1 to XEV_VEC_MAX) of together 1 to INT32_MAX bytes, in their order;
 * outside these ranges XEV_EINVAL. The caller keeps vec itself until the callback, too. */
void xev_tcp_recvv(xev_tcp tcp, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                   void *userdata, xev_cb cb);
void xev_tcp_sendv(xev_tcp tcp, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                   void *userdata, xev_cb cb);

/* Shut the writing side down, after the sends that were submitted before: the peer reads the end of
 * the stream. Result: 0, or XEV_ENOTCONN. */
void xev_tcp_shutdown(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);

/* Cancel everything that is active on the descriptor in this loop, deliver those callbacks, close
 * the descriptor, then call cb. Result: 0, or XEV_EBADF (not open, or being closed already). Never
 * blocks the loop. An operation that is submitted on the descriptor after this call reports
 * XEV_ECANCELED.
 *
 * Data that is not sent yet is sent by the system in the background. But if the peer has sent data
 * that was not read here, or sends more, the system resets the connection, and the peer may lose
 * data that was sent to it. To answer a peer that may still be sending: xev_tcp_shutdown, receive
 * until XEV_EOF, then close; or use xev_tcp_set_linger. */
void xev_tcp_close(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);

/* Close a descriptor on which no operation was ever submitted, which was released (xev_fd_release),
 * or which the deinit of its loop left open. 0, or XEV_EBADF. Any thread. With a linger time
 * (xev_tcp_set_linger) the system blocks the thread for as long. */
int xev_tcp_close_now(xev_tcp tcp);

/* Options. 0, XEV_EBADF, XEV_ENOTSOCK, or the codes that the option names. Any thread. */

/* Send small packets at once, and do not wait for more data to fill a packet (TCP_NODELAY).
 * XEV_ENOTSUP: not TCP. */
XEV_NODISCARD int xev_tcp_set_nodelay(xev_tcp tcp, bool on);
/* Probe a silent peer. idle_ms: the silence before the first probe, and the time between probes, to
 * 32 767 000 (above: XEV_EINVAL), rounded up to whole seconds, the unit of the system; 0: no
 * probes. XEV_ENOTSUP: not TCP, and idle_ms is not 0. */
XEV_NODISCARD int xev_tcp_set_keepalive(xev_tcp tcp, uint64_t idle_ms);
/* Sizes of the buffers of the kernel, to INT32_MAX (above: XEV_EINVAL); 0 leaves a size as it is.
 * The kernel may round, double or limit them (socket(7), SO_SNDBUF and SO_RCVBUF). */
XEV_NODISCARD int xev_tcp_set_buffers(xev_tcp tcp, uint32_t send_bytes, uint32_t recv_bytes);
/* Have the next close reset the connection, and drop data that is not sent. Takes a linger time
 * away. */
XEV_NODISCARD int xev_tcp_set_reset_on_close(xev_tcp tcp, bool on);
/* Have the next close wait until the peer has acknowledged all data (SO_LINGER). timeout_ms: for
 * how long, rounded up to whole seconds, to INT32_MAX of them (above: XEV_EINVAL); 0, as at first:
 * the close does not wait. Takes a reset on close away. A linger time that other code has set by
 * SO_LINGER counts the same.
 *
 * A close that waits (of any watcher of a loop) shuts the writing side down, for all who have the
 * socket, and looks every 10 ms whether all is acknowledged; the loop goes on meanwhile. Data that
 * arrives until then, or has arrived and was not read, is dropped, so that the system does not
 * reset the connection because of it. Then the descriptor is closed, and the result is 0 (all is
 * acknowledged), XEV_ETIMEDOUT (the time is over; what is left was dropped, with a reset),
 * XEV_ECONNRESET and the like (the connection broke), or XEV_ECANCELED (the loop ended; the system
 * goes on in the background). */
XEV_NODISCARD int xev_tcp_set_linger(xev_tcp tcp, uint64_t timeout_ms);

/* The address of this end (with the real port after binding to port 0), and that of the peer. 0 or
 * a code, such as XEV_ENOTCONN where there is no peer; *addr is then no address. Any thread. */
XEV_NODISCARD int xev_tcp_local_addr(xev_tcp tcp, xev_addr *addr);
XEV_NODISCARD int xev_tcp_peer_addr(xev_tcp tcp, xev_addr *addr);

/* How many bytes have arrived and were not read, or a code. Any thread. */
XEV_NODISCARD int xev_tcp_unread_bytes(xev_tcp tcp);

XEV_END_DECLS

#endif
