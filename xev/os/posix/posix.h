/* Internal: what the files of this folder share with those of the systems that have POSIX, sockets
 * included. */
#ifndef XEV_OS_POSIX_POSIX_H
#define XEV_OS_POSIX_POSIX_H

#include <poll.h>
#include <sys/socket.h>

#include "xev/addr.h"
#include "xev/os/complain.h"
#include "xev/os/posix/sys.h"

static inline int xev__sys_set_int(xev_fd fd, int level, int name, int value) {
    return xev__sys_result(setsockopt(fd, level, name, &value, sizeof value));
}

static inline struct sockaddr *xev__sys_addr_out(xev_addr *a) {
    return (struct sockaddr *)(void *)a->storage;
}

static inline const struct sockaddr *xev__sys_addr(const xev_addr *a) {
    return (const struct sockaddr *)(const void *)a->storage;
}

/* poll(2) of one descriptor, which does not wait. It is repeated after a signal. */
int xev__sys_poll(struct pollfd *p);

/* Move both descriptors that a system call has just made by xev__os_above_std. Where that fails,
 * the result is a code and both are closed. */
int xev__sys_pair_above_std(const int fd[2], xev_fd *a, xev_fd *b);

#endif
