/* Internal: the system's calls for Unix sockets. Codes are XEV_E*. */
#ifndef XEV_OS_UNIX_H
#define XEV_OS_UNIX_H

#include "xev/unix.h"

int xev__os_unix_socket(bool datagram, xev_fd *fd);
int xev__os_unix_pair(bool datagram, xev_fd *a, xev_fd *b);
int xev__os_unix_bind(xev_fd fd, const xev_addr *addr);
/* 0: addr is the path of a socket to which no process listens any more. XEV_EADDRINUSE: it is not.
 * Or the code with which that could not be found out. */
int xev__os_unix_check_stale(const xev_addr *addr);
int xev__os_unix_unlink(const xev_addr *addr);
int xev__os_unix_peer_cred(xev_fd fd, xev_unix_cred *cred);

/* Write msg->header for a send or a receive, from the public fields. After a receive: set the
 * public fields from what the kernel has stored there. */
void xev__os_unix_send(xev_unix_msg *msg);
void xev__os_unix_receive(xev_unix_msg *msg);
void xev__os_unix_received(xev_unix_msg *msg);

/* Whether a message header names its receiver, a Unix socket. */
bool xev__os_msg_is_to_unix(const void *msg);

#endif
