/* Internal: what the files of POSIX and of the systems with POSIX share. */
#ifndef XEV_OS_POSIX_POSIX_H
#define XEV_OS_POSIX_POSIX_H

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "xev/addr.h"
#include "xev/error.h"

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

/* open(2), which goes on after a signal. */
int xev__sys_open(const char *path, int how, mode_t mode);

#endif
