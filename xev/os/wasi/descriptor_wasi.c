/* WASI: calls for any kind of descriptor. */
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "xev/fd.h"
#include "xev/os/descriptor.h"
#include "xev/os/wasi/wasi.h"

/* There is no dup. A host gives out 0, 1 and 2 where the program has closed them. */
int xev__os_above_std(int fd) {
    if (fd < 0 || fd > STDERR_FILENO) {
        return fd;
    }
    (void)close(fd);
    return XEV_EMFILE;
}

int xev__os_close(xev_fd fd) {
    if (fd < 0) {
        return XEV_EBADF; /* hosts say EINVAL */
    }
    int rc = xev__sys_result(close(fd));
    xev__wasi_directory_closed(fd);
    return rc;
}

bool xev__os_is_open(xev_fd fd) {
    __wasi_fdstat_t stat;
    return __wasi_fd_fdstat_get(fd, &stat) == 0;
}

int xev__os_set_nonblocking(xev_fd fd, bool on) {
    __wasi_fdstat_t stat;
    __wasi_errno_t error = __wasi_fd_fdstat_get(fd, &stat);
    if (error != 0) {
        return xev__wasi_code(error);
    }
    unsigned flags = stat.fs_flags & ~(unsigned)__WASI_FDFLAGS_NONBLOCK;
    flags |= on ? (unsigned)__WASI_FDFLAGS_NONBLOCK : 0;
    return flags == stat.fs_flags
               ? 0
               : xev__wasi_code(__wasi_fd_fdstat_set_flags(fd, (__wasi_fdflags_t)flags));
}

bool xev__os_exhausted(int code) {
    return code == XEV_EMFILE || code == XEV_ENFILE || code == XEV_ENOBUFS || code == XEV_ENOMEM;
}

uint64_t xev__os_untaken(xev_fd fd) {
    (void)fd;
    return 0;
}

int xev__os_pipe(xev_fd *read_end, xev_fd *write_end) {
    (void)read_end;
    (void)write_end;
    return XEV_ENOTSUP;
}

int xev__os_read(xev_fd fd, void *buf, size_t len_bytes) {
    return xev__sys_result(read(fd, buf, len_bytes));
}

int xev__os_write(xev_fd fd, const void *buf, size_t len_bytes) {
    return xev__sys_result(write(fd, buf, len_bytes));
}

int xev__os_readv(xev_fd fd, const void *vec, uint32_t count) {
    assert(vec != NULL && count > 0);
    return xev__sys_result(readv(fd, vec, (int)count));
}

int xev__os_writev(xev_fd fd, const void *vec, uint32_t count) {
    assert(vec != NULL && count > 0);
    return xev__sys_result(writev(fd, vec, (int)count));
}

/* ---- readiness ---- */

enum xev__os_kind xev__os_kind(xev_fd fd) {
    __wasi_fdstat_t stat;
    if (__wasi_fd_fdstat_get(fd, &stat) != 0) {
        return XEV__OS_FLOW;
    }
    switch (stat.fs_filetype) {
    case __WASI_FILETYPE_REGULAR_FILE:
    case __WASI_FILETYPE_DIRECTORY:
    case __WASI_FILETYPE_BLOCK_DEVICE:
        return XEV__OS_FILE;
    case __WASI_FILETYPE_CHARACTER_DEVICE:
        return XEV__OS_DEVICE;
    case __WASI_FILETYPE_SOCKET_STREAM:
    case __WASI_FILETYPE_SOCKET_DGRAM:
        return XEV__OS_SOCKET;
    default:
        return XEV__OS_FLOW;
    }
}

/* Some hosts refuse to wait for a file. It is always ready. */
bool xev__os_can_watch(xev_fd fd) { return xev__os_kind(fd) != XEV__OS_FILE; }

/* The conditions that an event tells of. */
static uint32_t conditions_of(const __wasi_event_t *event) {
    bool read = event->type == __WASI_EVENTTYPE_FD_READ;
    uint32_t found = read ? XEV_POLL_IN : XEV_POLL_OUT;
    found |= (event->fd_readwrite.flags & __WASI_EVENTRWFLAGS_FD_READWRITE_HANGUP) != 0
                 ? XEV_POLL_HUP
                 : 0;
    return event->error != 0 ? found | XEV_POLL_ERR : found;
}

int xev__os_poll_now(xev_fd fd, uint32_t mask) {
    __wasi_subscription_t subs[3];
    __wasi_event_t events[3];
    __wasi_size_t n = 0, found = 0;
    if (!xev__os_is_open(fd)) {
        return XEV_EBADF;
    }
    if (!xev__os_can_watch(fd)) {
        uint32_t now = mask & (XEV_POLL_IN | XEV_POLL_OUT);
        return now != 0 ? (int)now : XEV_EAGAIN;
    }
    bool write_only = (mask & (XEV_POLL_IN | XEV_POLL_HUP)) == 0;
    if (!write_only) {
        subs[n++] = (__wasi_subscription_t){
            .u = {.tag = __WASI_EVENTTYPE_FD_READ, .u.fd_read.file_descriptor = fd}};
    }
    if ((mask & XEV_POLL_OUT) != 0) {
        subs[n++] = (__wasi_subscription_t){
            .u = {.tag = __WASI_EVENTTYPE_FD_WRITE, .u.fd_write.file_descriptor = fd}};
    }
    subs[n++] = (__wasi_subscription_t){
        .u = {.tag = __WASI_EVENTTYPE_CLOCK, .u.clock = {.id = __WASI_CLOCKID_MONOTONIC}}};
    __wasi_errno_t error = __wasi_poll_oneoff(subs, events, n, &found);
    if (error != 0) {
        return xev__wasi_code(error);
    }
    uint32_t now = 0;
    for (__wasi_size_t i = 0; i < found; i++) {
        now |= events[i].type != __WASI_EVENTTYPE_CLOCK ? conditions_of(&events[i]) : 0;
    }
    /* As poll(2): these are reported whether or not they were asked for. */
    now &= mask | XEV_POLL_ERR | XEV_POLL_HUP;
    return now != 0 ? (int)now : XEV_EAGAIN;
}
