/* Internal: what the files share that any system with a C library like POSIX's can have, one
 * without sockets included. */
#ifndef XEV_OS_POSIX_SYS_H
#define XEV_OS_POSIX_SYS_H

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sys/types.h>

#include "xev/error.h"
#include "xev/os/descriptor.h"
#include "xev/os/file.h"

/* The result of a system call, or errno's code. */
static inline int xev__sys_result(long rc) {
    assert(rc >= -1 && rc <= INT_MAX);
    return rc < 0 ? -errno : (int)rc;
}

/* The result of a system call that makes a descriptor: the descriptor, above the standard streams,
 * or a code. */
static inline int xev__sys_new_fd(long rc) {
    int fd = xev__os_above_std(xev__sys_result(rc));
    assert(fd < 0 || fd > 2);
    return fd;
}

/* open(2), which does not wait for a pipe's other end. It is repeated after a signal. */
int xev__sys_open(const char *path, int how, mode_t mode);
/* fsync(2), or what writes the data alone; once. 0 or a code. */
int xev__sys_sync(int fd, bool data_only);
/* The times of a file, of which macOS has other names. */
struct stat;
void xev__sys_times(const struct stat *st, xev_file_stat *out);
/* O_DIRECT, or 0: the system has no such flag. */
extern const int xev__sys_o_direct;
/* Whether O_NOFOLLOW follows a link all the same, so that an open has to look before. */
extern const bool xev__sys_follows;

/* Copy a piece without the data passing through the program, from the positions of both files on.
 * Bytes; 0: the end; XEV_ENOTSUP: these files have no such way, or the system has none. */
int xev__sys_copy_piece(struct xev__os_copy *copy);

/* The number of a network interface; 0: there is none of that name, or no names. */
uint32_t xev__sys_interface_index(const char *name);

#endif
