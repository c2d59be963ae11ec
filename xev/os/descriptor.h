/* Internal: the system's calls for any kind of descriptor. Codes are XEV_E*. */
#ifndef XEV_OS_DESCRIPTOR_H
#define XEV_OS_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xev/platform.h"

/* fd has just been made, or is a code, which is given back. Where a program runs with one of its
 * standard streams closed, the system makes what is opened next that stream, and all that is
 * printed goes there: so it gets another number here. Close-on-exec. XEV_EMFILE: there is none, and
 * fd is closed. */
int xev__os_above_std(int fd);

/* A descriptor to wake a waiting thread with: signal from any thread, drain by the waiter. A signal
 * that fails is tried a few times; then it answers a code, and the waiter may not have been woken.
 */
int xev__os_wake_open(xev_fd *fd);
int xev__os_wake_signal(xev_fd fd);
void xev__os_wake_drain(xev_fd fd);
/* Wait for a signal, and take it, this long at most; also where the system refuses to wait. */
void xev__os_wake_wait(xev_fd fd, uint32_t timeout_ms);

int xev__os_close(xev_fd fd);
bool xev__os_is_open(xev_fd fd);
int xev__os_set_nonblocking(xev_fd fd, bool on);

/* How much of what was written to a descriptor the other side's system (of a socket), reader (of a
 * pipe) or device has not taken, in bytes or, where the system counts otherwise, in units that grow
 * with them; 0 where it does not say. */
uint64_t xev__os_untaken(xev_fd fd);

int xev__os_pipe(xev_fd *read_end, xev_fd *write_end); /* untouched on failure */
/* On a descriptor that is no socket, and is non-blocking or a file. */
int xev__os_read(xev_fd fd, void *buf, size_t len_bytes);
int xev__os_write(xev_fd fd, const void *buf, size_t len_bytes);
int xev__os_readv(xev_fd fd, const void *vec, uint32_t count); /* count pieces {base, len} */
int xev__os_writev(xev_fd fd, const void *vec, uint32_t count);
/* XEV_POLL_* that hold now, or XEV_EAGAIN; and the platform's word for a mask, and back. */
int xev__os_poll_now(xev_fd fd, uint32_t mask);
uint32_t xev__os_poll_mask(uint32_t mask);
uint32_t xev__os_poll_result(uint32_t revents, uint32_t mask);
/* Whether the kernel can report on a descriptor: files of the disk have nothing to wait for. */
bool xev__os_can_watch(xev_fd fd);
/* What reads and writes need to know of a descriptor. */
enum xev__os_kind {
    XEV__OS_FLOW,   /* a pipe, a socket, an event counter: has no position */
    XEV__OS_DEVICE, /* a terminal or the like: its driver may block although it was asked not to */
    XEV__OS_FILE,   /* a regular file or a disk: has a position, and nothing to wait for */
};
enum xev__os_kind xev__os_kind(xev_fd fd);

/* Whether a code says that descriptors or memory for one are exhausted. */
bool xev__os_exhausted(int code);

#endif
