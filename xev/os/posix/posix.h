/* Internal: what the files of this folder share with those of the systems that have POSIX. */
#ifndef XEV_OS_POSIX_POSIX_H
#define XEV_OS_POSIX_POSIX_H

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "xev/addr.h"
#include "xev/error.h"
#include "xev/os/complain.h"
#include "xev/os/descriptor.h"

/* The result of a system call, or errno's code. */
static inline int xev__sys_result(long rc) {
    assert(rc >= -1 && rc <= INT_MAX);
    return rc < 0 ? -errno : (int)rc;
}

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

/* The result of a system call that makes a descriptor: the descriptor, above the standard streams,
 * or a code. */
static inline int xev__sys_new_fd(long rc) {
    int fd = xev__os_above_std(xev__sys_result(rc));
    assert(fd < 0 || fd > 2);
    return fd;
}

/* Move both descriptors that a system call has just made by xev__os_above_std. Where that fails,
 * the result is a code and both are closed. */
int xev__sys_pair_above_std(const int fd[2], xev_fd *a, xev_fd *b);

/* open(2), which does not wait for a pipe's other end. It is repeated after a signal. */
int xev__sys_open(const char *path, int how, mode_t mode);

#endif
