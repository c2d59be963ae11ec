/* Internal: what the files of POSIX and of the systems with POSIX share. */
#ifndef XEV_OS_POSIX_POSIX_H
#define XEV_OS_POSIX_POSIX_H

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "xev/addr.h"
#include "xev/error.h"
#include "xev/os/complain.h"
#include "xev/os/descriptor.h"

/* The value of a call, or the code of errno. */
static inline int xev__sys_result(long rc) { return rc < 0 ? -errno : (int)rc; }

static inline int xev__sys_set_int(xev_fd fd, int level, int name, int value) {
    return xev__sys_result(setsockopt(fd, level, name, &value, sizeof value));
}

static inline struct sockaddr *xev__sys_addr_out(xev_addr *a) {
    return (struct sockaddr *)(void *)a->storage;
}

static inline const struct sockaddr *xev__sys_addr(const xev_addr *a) {
    return (const struct sockaddr *)(const void *)a->storage;
}

/* poll(2) of one descriptor, which does not wait and goes on after a signal. */
int xev__sys_poll(struct pollfd *p);

/* The result of a call that makes a descriptor: that, above the standard streams, or a code. */
static inline int xev__sys_new_fd(long rc) { return xev__os_above_std(xev__sys_result(rc)); }

/* The two that a call has just made, both by xev__os_above_std. 0 or a code, and both are closed.
 */
int xev__sys_pair_above_std(const int fd[2], xev_fd *a, xev_fd *b);

/* open(2), which goes on after a signal. */
int xev__sys_open(const char *path, int how, mode_t mode);

#endif
