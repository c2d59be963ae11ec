/* Internal: the system's calls for stream sockets and messages. Codes are XEV_E*. */
#ifndef XEV_OS_SOCKET_H
#define XEV_OS_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xev/addr.h"

int xev__os_tcp_socket(enum xev_family family, xev_fd *fd);
int xev__os_bind(xev_fd fd, const xev_addr *addr, bool reuse_port);
int xev__os_listen(xev_fd fd, int backlog);
/* A connection's descriptor, or a code. The first waits where the listener is blocking, the second
 * never. */
int xev__os_accept(xev_fd fd);
int xev__os_accept_now(xev_fd fd);
/* Whether an accept failed because of the connection that was next in the backlog, and not because
 * of the listener. accept(2) says that one should try again after a network error, and after an
 * error by which a firewall forbids the connection. */
bool xev__os_is_of_connection(xev_fd listener, int code);
/* Whether a code says that a rule of the system (seccomp, a security module) refuses the call. The
 * connection then stays in the backlog. The rule may never be taken away. */
bool xev__os_is_refused(int code);
int xev__os_connect(xev_fd fd, const xev_addr *addr); /* XEV_EINPROGRESS: under way */
int xev__os_connect_result(xev_fd fd);                /* XEV_EAGAIN: still under way */
/* The error that waits at a socket, a reset for instance, as a code, and takes it. 0: none, or only
 * who reads is told on this system (Windows, WASI). */
int xev__os_pending_error(xev_fd fd);
int xev__os_recv(xev_fd fd, void *buf, size_t len_bytes); /* never waits; 0: end of stream */
int xev__os_send(xev_fd fd, const void *buf, size_t len_bytes);
/* The same, but XEV_EINTR is a result. A caller that repeats the call itself need not keep the
 * arguments across it. */
int xev__os_recv_once(xev_fd fd, void *buf, size_t len_bytes);
int xev__os_send_once(xev_fd fd, const void *buf, size_t len_bytes);
/* The same with count pieces {base, len}. */
int xev__os_recvv(xev_fd fd, const void *vec, uint32_t count);
int xev__os_sendv(xev_fd fd, const void *vec, uint32_t count);
int xev__os_sendmsg(xev_fd fd, const void *msg);
int xev__os_recvmsg(xev_fd fd, void *msg);
int xev__os_shutdown_write(xev_fd fd);
/* 0 where data can be sent and received over fd. XEV_ENOTCONN: a listener; XEV_ENOTSOCK, XEV_EBADF.
 */
int xev__os_check_endpoint(xev_fd fd);
bool xev__os_is_tcp(xev_fd fd);
int xev__os_unread_bytes(xev_fd fd);
/* Nothing has arrived that was not read: no data, no end of the stream, no error. */
bool xev__os_is_silent(xev_fd fd);
int xev__os_set_nodelay(xev_fd fd, bool on);
int xev__os_set_keepalive(xev_fd fd, uint32_t idle_s);
int xev__os_set_buffers(xev_fd fd, uint32_t send_bytes, uint32_t recv_bytes);
/* SO_LINGER: how long close waits for unsent data to go. On, with 0 s: close drops the data and
 * resets the connection. */
int xev__os_set_linger(xev_fd fd, bool on, uint32_t timeout_s);
uint32_t xev__os_linger_s(xev_fd fd); /* how long close would wait; 0: it would not */
/* 0: the peer's system has acknowledged all that was sent. XEV_EAGAIN: not yet. Another code: the
 * connection is gone. */
int xev__os_unacked(xev_fd fd);
/* How many bytes that were sent the peer's system has not acknowledged, or a code. */
int xev__os_unsent_bytes(xev_fd fd);
/* Of a TCP socket, in *bytes: what it holds and cannot send now, the windows of the peer and of the
 * congestion being full; negative: it can send so much more than it holds. 0 or a code; XEV_ENOTSUP
 * where the system does not tell. */
int xev__os_backlog_bytes(xev_fd fd, int64_t *bytes);
/* Let a TCP socket be writable only while it holds less than half of bytes that it cannot send now.
 * 0 or a code. */
int xev__os_set_backlog(xev_fd fd, uint32_t bytes);
/* Drop the data that has arrived on a TCP socket and was not read. A close with unread data resets
 * the connection, and the peer may then lose what was sent to it before. */
void xev__os_drop_unread(xev_fd fd);
int xev__os_local_addr(xev_fd fd, xev_addr *addr);
int xev__os_peer_addr(xev_fd fd, xev_addr *addr);

/* Make msg the system's message header for xev__os_sendmsg, with count pieces {base, len} at vec.
 */
void xev__os_msg_init(uint64_t msg[8], const void *vec, size_t count);

/* Whether this is a stream socket. */
bool xev__os_is_stream(xev_fd fd);

#endif
