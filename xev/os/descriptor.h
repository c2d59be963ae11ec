/* Internal: the system's calls for any kind of descriptor. Codes are XEV_E*. */
#ifndef XEV_OS_DESCRIPTOR_H
#define XEV_OS_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xev/platform.h"

/* Move a descriptor that has just been made to a number above 2, close-on-exec. The result is the
 * descriptor, or a code: fd itself where that is a code, or XEV_EMFILE where no number is free, and
 * then fd is closed. Why: a program may run with one of its standard streams closed. The system
 * would give that number to the next descriptor, and what the program prints would go there. */
int xev__os_above_std(int fd);

/* A descriptor that wakes a waiting thread. Any thread calls signal. The descriptor is readable
 * from then on until the waiter calls drain; who waits for edges is told of each signal, and need
 * not drain it (it takes 2^64 of them). A signal that fails is repeated a few times. Where it fails
 * for good the result is a code, and the waiter may not have been woken. */
int xev__os_wake_open(xev_fd *fd);
int xev__os_wake_signal(xev_fd fd);
void xev__os_wake_drain(xev_fd fd);
/* Wait for a signal that is not drained, for timeout_ms at most, and drain it. Where the system
 * refuses to wait, sleep for timeout_ms. */
void xev__os_wake_wait(xev_fd fd, uint32_t timeout_ms);

int xev__os_close(xev_fd fd);
bool xev__os_is_open(xev_fd fd);
int xev__os_set_nonblocking(xev_fd fd, bool on);
int xev__os_set_cloexec(xev_fd fd); /* for a call that makes descriptors without that flag */

/* How much of what was written to a descriptor has not been taken by the other side: by the peer's
 * system (a socket), by the reader (a pipe), by the device. In bytes, or in another unit of the
 * system that grows with them. 0 where the system does not say. */
uint64_t xev__os_untaken(xev_fd fd);

int xev__os_pipe(xev_fd *read_end, xev_fd *write_end); /* both are untouched on failure */
/* read(2) and write(2) on a descriptor that is no socket, and is non-blocking or a file. */
int xev__os_read(xev_fd fd, void *buf, size_t len_bytes);
int xev__os_write(xev_fd fd, const void *buf, size_t len_bytes);
int xev__os_readv(xev_fd fd, const void *vec, uint32_t count); /* vec: count pieces {base, len} */
int xev__os_writev(xev_fd fd, const void *vec, uint32_t count);
/* The XEV_POLL_* of mask that hold now; XEV_EAGAIN: none. */
int xev__os_poll_now(xev_fd fd, uint32_t mask);
/* The system's mask for a mask of XEV_POLL_*, and the XEV_POLL_* for the system's result. */
uint32_t xev__os_poll_mask(uint32_t mask);
uint32_t xev__os_poll_result(uint32_t revents, uint32_t mask);
/* Whether epoll can watch a descriptor. It refuses regular files, which are always ready. */
bool xev__os_can_watch(xev_fd fd);
/* What kind of file a descriptor has, as far as reads and writes differ. */
enum xev__os_kind {
    XEV__OS_FLOW,   /* a pipe, an event counter: no position */
    XEV__OS_SOCKET, /* the same, and it can be sent to */
    XEV__OS_DEVICE, /* a terminal or the like: its driver may block in spite of O_NONBLOCK */
    XEV__OS_FILE,   /* a regular file or a disk: a position, and no readiness */
};
enum xev__os_kind xev__os_kind(xev_fd fd);

/* Whether a code says that there is no descriptor left, or no memory for one. */
bool xev__os_exhausted(int code);

#endif
