/* Linux: descriptors that wake a thread, pipes, and what the kernel says of descriptors. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "xev/os/clock.h"
#include "xev/os/descriptor.h"
#include "xev/os/posix/posix.h"

int xev__os_wake_open(xev_fd *fd) {
    int rc = xev__sys_new_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    *fd = rc < 0 ? XEV_INVALID_FD : rc;
    return rc < 0 ? rc : 0;
}

int xev__os_wake_signal(xev_fd fd) {
    enum { TRIES = 8 };
    const uint64_t one = 1;
    int saved = errno, rc = 0; /* a signal handler may be the caller, and must keep errno */
    for (int i = 0; i < TRIES; i++) {
        rc = write(fd, &one, sizeof one) == (ssize_t)sizeof one ? 0 : -errno;
        if (rc == 0) {
            break;
        }
    }
    assert(rc <= 0);
    errno = saved;
    return rc;
}

void xev__os_wake_drain(xev_fd fd) {
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
}

void xev__os_wake_wait(xev_fd fd, uint32_t timeout_ms) {
    assert(fd >= 0 && timeout_ms <= INT_MAX);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n = poll(&p, 1, (int)timeout_ms);
    bool refused = n < 0 && errno != EINTR;
    if (refused || (n > 0 && (p.revents & POLLIN) == 0)) {
        xev__os_sleep_ms(timeout_ms);
    }
    xev__os_wake_drain(fd);
}

int xev__os_pipe(xev_fd *read_end, xev_fd *write_end) {
    int fd[2];
    int rc = xev__sys_result(pipe2(fd, O_CLOEXEC));
    return rc == 0 ? xev__sys_pair_above_std(fd, read_end, write_end) : rc;
}

bool xev__os_can_watch(xev_fd fd) {
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {0};
    bool refused = ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0 && errno == EPERM;
    if (ep >= 0) {
        (void)close(ep);
    }
    return !refused;
}

uint64_t xev__os_untaken(xev_fd fd) {
    int bytes = 0;
    /* TIOCOUTQ is SIOCOUTQ. A TCP socket counts the bytes that are not acknowledged. A Unix socket
     * counts a piece until a reader has read the whole of it, with the memory around it. A terminal
     * counts what it has not put out. A pipe has no such request, but FIONREAD counts what is in
     * it, at either end. */
    if (ioctl(fd, TIOCOUTQ, &bytes) < 0 && (errno != ENOTTY || ioctl(fd, FIONREAD, &bytes) < 0)) {
        return 0;
    }
    return bytes > 0 ? (uint64_t)bytes : 0;
}
