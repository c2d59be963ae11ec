/* Linux: the functions of libc.h for libraries that lack them. They are weak, so that a library
 * which has them by now may be linked. */
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "xev/os/linux/libc.h"

#ifndef __GLIBC__

__attribute__((weak)) int epoll_pwait2(int fd, struct epoll_event *events, int max,
                                       const struct timespec *timeout, const sigset_t *mask) {
    /* The kernel's time is of 64 bits on every machine. */
    long long ts[2] = {timeout != NULL ? timeout->tv_sec : 0,
                       timeout != NULL ? timeout->tv_nsec : 0};
#ifdef SYS_epoll_pwait2
    return (int)syscall(SYS_epoll_pwait2, fd, events, max, timeout != NULL ? ts : NULL, mask,
                        (size_t)(_NSIG / 8));
#else
    (void)ts;
    errno = ENOSYS;
    return -1;
#endif
}

/* The offset is two arguments: on machines of 64 bits the first one has all of it. */
static ssize_t vector_call(long number, int fd, const struct iovec *vec, int count, off_t offset,
                           int flags) {
    return syscall(number, fd, vec, (long)count, (long)offset, (long)((uint64_t)offset >> 32),
                   flags);
}

__attribute__((weak)) ssize_t preadv2(int fd, const struct iovec *vec, int count, off_t offset,
                                      int flags) {
    return vector_call(SYS_preadv2, fd, vec, count, offset, flags);
}

__attribute__((weak)) ssize_t pwritev2(int fd, const struct iovec *vec, int count, off_t offset,
                                       int flags) {
    return vector_call(SYS_pwritev2, fd, vec, count, offset, flags);
}

__attribute__((weak)) int statx(int dir, const char *restrict path, int flags, unsigned int mask,
                                struct statx *restrict st) {
    return (int)syscall(SYS_statx, dir, path, flags, mask, st);
}

#endif
