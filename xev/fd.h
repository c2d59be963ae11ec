/* Any descriptor: pipes, terminals, and foreign ones that another library works on.
 *
 * Results and rules as in tcp.h. A regular file or a disk is read and written at its position, by a
 * system call on the loop's thread, on every backend: nothing else keeps the position right where
 * several loops or processes share an open file, as they do a log that is their standard output.
 * A small write goes to the page cache and is quick; for much, or slow disks, see file.h.
 *
 * On epoll a descriptor that is read or written here is made
 * non-blocking, terminals and other devices on any backend; whoever shares the open file sees that
 * too. Poll changes nothing, and a descriptor that is only polled is its owner's to close, at any
 * time at which no poll is active on it.
 */
#ifndef XEV_FD_H
#define XEV_FD_H

#include "xev/loop.h"
#include "xev/vec.h"

/* What to poll for, and what was found. */
enum xev_poll_mask {
    XEV_POLL_IN = 1,  /* can be read */
    XEV_POLL_OUT = 2, /* can be written */
    /* The other end is gone: reported whether or not mask has this bit. With the bit in mask, also
     * that the other end has ended its writing (a half-close) and may still read. A TCP peer that
     * has closed looks like one that has ended its writing, until it answers with a reset. To wait
     * for nothing but the other end's going, poll for XEV_POLL_ERR. */
    XEV_POLL_HUP = 4,
    XEV_POLL_ERR = 8,  /* always reported; for a pipe's writer: nobody reads */
    XEV_POLL_PRI = 16, /* exceptional condition */
};

XEV_BEGIN_DECLS

/* An anonymous pipe: what is written to *write_end is read from *read_end. Both are the caller's,
 * close-on-exec and blocking. 0 or XEV_EMFILE, XEV_ENFILE; then both are XEV_INVALID_FD. Any
 * thread. */
XEV_NODISCARD int xev_pipe_open(xev_fd *read_end, xev_fd *write_end);

/* Read up to len_bytes (1 to INT32_MAX), not waiting for all of them. Result: bytes (> 0), XEV_EOF,
 * XEV_EIO (a terminal whose other end is gone), XEV_EISDIR, XEV_EINVAL (len_bytes), ... */
void xev_fd_read(xev_fd fd, xev_loop *loop, xev_completion *c, void *buf, size_t len_bytes,
                 void *userdata, xev_cb cb);

/* Write up to len_bytes (1 to INT32_MAX). Result: bytes (> 0, may be fewer), XEV_EPIPE, XEV_EINVAL
 * (len_bytes), and of a file XEV_ENOSPC, XEV_EDQUOT, XEV_EFBIG, ... What was written before an
 * error is a result of its own, and the error that of the next write. From the first call on,
 * SIGPIPE and SIGXFSZ are blocked in the loop's thread. */
void xev_fd_write(xev_fd fd, xev_loop *loop, xev_completion *c, const void *buf, size_t len_bytes,
                  void *userdata, xev_cb cb);

/* The same into or from count pieces (1 to XEV_VEC_MAX) of 1 to INT32_MAX bytes together, in their
 * order; result XEV_EINVAL otherwise. vec itself is kept until the callback too. */
void xev_fd_readv(xev_fd fd, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                  void *userdata, xev_cb cb);
void xev_fd_writev(xev_fd fd, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                   void *userdata, xev_cb cb);

/* Wait until something of mask (XEV_POLL_*, not 0) holds. Result: what does, XEV_EINVAL (mask), or
 * XEV_EPERM (a file that has nothing to wait for; a single poll still reports it readable and
 * writable). Any number of polls may wait on one descriptor, beside other operations.
 * multi: goes on, and reports when something of mask comes about, more of the same included. What
 * merely lasts is not reported over and over, but may be once more when anything else happens. */
void xev_fd_poll(xev_fd fd, xev_loop *loop, xev_completion *c, uint32_t mask, void *userdata,
                 xev_cb cb);
void xev_fd_poll_multi(xev_fd fd, xev_loop *loop, xev_completion *c, uint32_t mask, void *userdata,
                       xev_cb cb);

/* As xev_tcp_close. */
void xev_fd_close(xev_fd fd, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);

XEV_END_DECLS

#endif
