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
int xev__os_accept(xev_fd fd);     /* descriptor or code; does not wait on a non-blocking one */
int xev__os_accept_now(xev_fd fd); /* never waits */
/* Whether an accept failed for the connection that was next, and not for the listener: accept(2)
 * says to try again after network errors and after what a firewall forbids. */
bool xev__os_is_of_connection(xev_fd listener, int code);
/* Whether a code says that a rule of the system (seccomp, a security module) refuses the call. Such
 * a rule may be for good; the connection stays where it was. */
bool xev__os_is_refused(int code);
int xev__os_connect(xev_fd fd, const xev_addr *addr);     /* XEV_EINPROGRESS: under way */
int xev__os_connect_result(xev_fd fd);                    /* XEV_EAGAIN: still under way */
int xev__os_recv(xev_fd fd, void *buf, size_t len_bytes); /* never waits; 0: end of stream */
int xev__os_send(xev_fd fd, const void *buf, size_t len_bytes);
/* The same with count pieces {base, len}. */
int xev__os_recvv(xev_fd fd, const void *vec, uint32_t count);
int xev__os_sendv(xev_fd fd, const void *vec, uint32_t count);
int xev__os_sendmsg(xev_fd fd, const void *msg);
int xev__os_recvmsg(xev_fd fd, void *msg);
int xev__os_shutdown_write(xev_fd fd);
/* 0; or it is no socket, or XEV_ENOTCONN: a listener, on which no data will ever come or go. */
int xev__os_check_endpoint(xev_fd fd);
bool xev__os_is_tcp(xev_fd fd);
int xev__os_unread_bytes(xev_fd fd);
int xev__os_set_nodelay(xev_fd fd, bool on);
int xev__os_set_keepalive(xev_fd fd, uint32_t idle_s);
int xev__os_set_buffers(xev_fd fd, uint32_t send_bytes, uint32_t recv_bytes);
/* What close does with what is unsent: on and 0 s: drop it, and reset. */
int xev__os_set_linger(xev_fd fd, bool on, uint32_t timeout_s);
uint32_t xev__os_linger_s(xev_fd fd); /* how long close would wait, 0: not */
/* 0: the peer has taken all that was sent; XEV_EAGAIN: not yet; a code: the connection is gone. */
int xev__os_unacked(xev_fd fd);
/* Bytes that were sent and that the peer's system has not taken, or a code. */
int xev__os_unsent_bytes(xev_fd fd);
/* Drop what has arrived on a TCP socket and was not read: close would reset the connection for it,
 * and undo what was sent. */
void xev__os_drop_unread(xev_fd fd);
int xev__os_local_addr(xev_fd fd, xev_addr *addr);
int xev__os_peer_addr(xev_fd fd, xev_addr *addr);

/* The platform's message header (for os_sendmsg) in msg: count pieces {base, len} at vec. */
void xev__os_msg_init(uint64_t msg[8], const void *vec, size_t count);

/* Whether this is a stream socket. */
bool xev__os_is_stream(xev_fd fd);

#endif
