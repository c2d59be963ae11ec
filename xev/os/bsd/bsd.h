/* Internal: what the files of this folder share. */
#ifndef XEV_OS_BSD_BSD_H
#define XEV_OS_BSD_BSD_H

#include "xev/os/posix/posix.h"

/* The bytes in a socket's send queue, which the peer's system has not acknowledged; or a code. */
int xev__bsd_send_queue(xev_fd fd);

#endif
