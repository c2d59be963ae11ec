/* System calls of Linux that a C library may have no function for: musl, and an old glibc. A file
 * that makes one of them includes this after the library's headers. Where the library has the
 * function, this is only a second declaration of it. */
#ifndef XEV_OS_LIBC_H
#define XEV_OS_LIBC_H

#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#ifndef STATX_TYPE
#include <linux/stat.h>
#endif
#ifndef AT_STATX_DONT_SYNC
#define AT_STATX_DONT_SYNC 0x4000
#endif
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

#ifndef __GLIBC__
int epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout,
                 const sigset_t *mask);
ssize_t preadv2(int fd, const struct iovec *vec, int count, off_t offset, int flags);
ssize_t pwritev2(int fd, const struct iovec *vec, int count, off_t offset, int flags);
int statx(int dir, const char *restrict path, int flags, unsigned int mask,
          struct statx *restrict st);
#endif

#endif
