/* POSIX: calls for any kind of descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "xev/fd.h"
#include "xev/os/descriptor.h"
#include "xev/os/posix/posix.h"

int xev__os_close(xev_fd fd) {
    /* Linux has released the descriptor when close returns, EINTR included. */
    int rc = xev__sys_result(close(fd));
    return rc == XEV_EINTR ? 0 : rc;
}

bool xev__os_is_open(xev_fd fd) { return fcntl(fd, F_GETFD) >= 0; }

int xev__os_set_nonblocking(xev_fd fd, bool on) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        return -errno;
    }
    assert(fd >= 0);
    int want = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return want == flags ? 0 : xev__sys_result(fcntl(fd, F_SETFL, want));
}

int xev__os_set_cloexec(xev_fd fd) { return xev__sys_result(fcntl(fd, F_SETFD, FD_CLOEXEC)); }

bool xev__os_exhausted(int code) {
    return code == XEV_EMFILE || code == XEV_ENFILE || code == XEV_ENOBUFS || code == XEV_ENOMEM ||
           code == XEV_ENOSPC; /* epoll's limit per user */
}

int xev__os_read(xev_fd fd, void *buf, size_t len_bytes) {
    int rc;
    do {
        rc = xev__sys_result(read(fd, buf, len_bytes));
    } while (rc == XEV_EINTR);
    assert(rc < 0 || (size_t)rc <= len_bytes);
    return rc;
}

int xev__os_write(xev_fd fd, const void *buf, size_t len_bytes) {
    int rc;
    do {
        rc = xev__sys_result(write(fd, buf, len_bytes));
    } while (rc == XEV_EINTR);
    assert(rc < 0 || (size_t)rc <= len_bytes);
    return rc;
}

int xev__os_readv(xev_fd fd, const void *vec, uint32_t count) {
    assert(vec != NULL && count > 0);
    int rc;
    do {
        rc = xev__sys_result(readv(fd, vec, (int)count));
    } while (rc == XEV_EINTR);
    return rc;
}

int xev__os_writev(xev_fd fd, const void *vec, uint32_t count) {
    assert(vec != NULL && count > 0);
    int rc;
    do {
        rc = xev__sys_result(writev(fd, vec, (int)count));
    } while (rc == XEV_EINTR);
    return rc;
}

/* ---- readiness ---- */

/* Of Linux and FreeBSD. Elsewhere the end of the stream makes a socket readable, and no more. */
#if !defined(POLLRDHUP)
#define POLLRDHUP 0
#endif

int xev__sys_poll(struct pollfd *p) {
    int rc;
    do {
        rc = xev__sys_result(poll(p, 1, 0));
    } while (rc == XEV_EINTR);
    return rc;
}

static const struct {
    uint32_t ours, theirs;
} poll_bits[] = {
    {XEV_POLL_IN, POLLIN},   {XEV_POLL_OUT, POLLOUT}, {XEV_POLL_PRI, POLLPRI},
    {XEV_POLL_ERR, POLLERR}, {XEV_POLL_HUP, POLLHUP}, {XEV_POLL_HUP, POLLRDHUP},
};
/* io_uring does not wake for POLLPRI alone. What reports POLLPRI also reports POLLRDBAND. */
#define POLL_PRI_WAKES POLLRDBAND
#define POLL_BITS (sizeof poll_bits / sizeof poll_bits[0])

uint32_t xev__os_poll_mask(uint32_t mask) {
    uint32_t theirs = 0;
    for (size_t i = 0; i < POLL_BITS; i++) {
        theirs |= (mask & poll_bits[i].ours) != 0 ? poll_bits[i].theirs : 0;
    }
    return (theirs & POLLPRI) != 0 ? theirs | POLL_PRI_WAKES : theirs;
}

uint32_t xev__os_poll_result(uint32_t revents, uint32_t mask) {
    uint32_t ours = 0;
    if ((mask & XEV_POLL_HUP) == 0) {
        revents &= ~(uint32_t)POLLRDHUP; /* io_uring reports it though it was not asked for */
    }
    for (size_t i = 0; i < POLL_BITS; i++) {
        ours |= (revents & poll_bits[i].theirs) != 0 ? poll_bits[i].ours : 0;
    }
    return ours;
}

int xev__os_poll_now(xev_fd fd, uint32_t mask) {
    struct pollfd p = {.fd = fd, .events = (short)xev__os_poll_mask(mask)};
    int rc = xev__sys_poll(&p);
    if (rc <= 0) {
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    assert(rc == 1);
    if ((p.revents & POLLNVAL) != 0) {
        return XEV_EBADF;
    }
    uint32_t found = xev__os_poll_result((uint32_t)(uint16_t)p.revents, mask);
    assert(found <= INT_MAX);
    return found != 0 ? (int)found : XEV_EAGAIN;
}

int xev__os_above_std(int fd) {
    if (fd < 0 || fd > STDERR_FILENO) {
        return fd;
    }
    int moved = xev__sys_result(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    assert(moved < 0 || moved > STDERR_FILENO);
    (void)close(fd);
    return moved;
}

int xev__sys_pair_above_std(const int fd[2], xev_fd *a, xev_fd *b) {
    int first = xev__os_above_std(fd[0]);
    int second = xev__os_above_std(fd[1]);
    if (first < 0 || second < 0) {
        int left = first < 0 ? second : first; /* the one that is open, or a code */
        if (left >= 0) {
            (void)close(left);
        }
        return first < 0 ? first : second;
    }
    *a = first;
    *b = second;
    return 0;
}

enum xev__os_kind xev__os_kind(xev_fd fd) {
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return XEV__OS_FLOW;
    }
    return S_ISSOCK(st.st_mode)                         ? XEV__OS_SOCKET
           : S_ISCHR(st.st_mode)                        ? XEV__OS_DEVICE
           : S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ? XEV__OS_FILE
                                                        : XEV__OS_FLOW;
}
