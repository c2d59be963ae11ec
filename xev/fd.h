/* Any descriptor: pipes, terminals, files, and descriptors that another library works on.
 *
 *     xev_fd_read(fd, &loop, &c, buf, sizeof buf, userdata, on_read);
 *     xev_fd_poll(their_fd, &loop, &c, XEV_POLL_IN, userdata, on_ready);
 *
 * Rules and common results are those of tcp.h.
 *
 * A regular file or a disk is read and written at its position, by a system call on the loop's
 * thread, on every backend. Nothing else keeps the position right where several loops or processes
 * share an open file, such as a log that is their standard output. A small write goes to the page
 * cache and is quick; for large ones, or slow disks, see file.h.
 *
 * Reading or writing makes the open file non-blocking: on io_uring only terminals and other
 * devices, on epoll and kqueue any. Everyone who shares the open file sees that. A poll changes
 * nothing; a descriptor that is only polled is its owner's to close, at any time at which no poll
 * is active on it.
 */
#ifndef XEV_FD_H
#define XEV_FD_H

#include "xev/loop.h"
#include "xev/vec.h"

/* What to poll for, and what a poll found (poll(2)). */
enum xev_poll_mask {
    XEV_POLL_IN = 1,  /* can be read */
    XEV_POLL_OUT = 2, /* can be written */
    /* The other end is gone: reported whether or not mask has this bit. With the bit in mask it is
     * also reported that the other end has ended its writing (a half-close), and may still read. A
     * TCP peer that has closed looks like one that has ended its writing, until it answers with a
     * reset. To wait only for the end of the other side, poll for XEV_POLL_ERR. */
    XEV_POLL_HUP = 4,
    /* an error, always reported; for the writer of a pipe: the reader is gone */
    XEV_POLL_ERR = 8,
    /* exceptional condition, such as urgent data; alone, on kqueue: XEV_ENOTSUP */
    XEV_POLL_PRI = 16,
};

XEV_BEGIN_DECLS

/* Make a pipe: what is written to *write_end is read from *read_end. Both are the caller's,
 * close-on-exec and blocking. 0, or XEV_EMFILE, XEV_ENFILE; both are then XEV_INVALID_FD. Any
 * thread. */
XEV_NODISCARD int xev_pipe_open(xev_fd *read_end, xev_fd *write_end);

/* Read up to len_bytes (1 to INT32_MAX) into buf, as soon as there is at least one byte. The caller
 * keeps buf until the callback. Result: bytes (> 0), XEV_EOF, XEV_EIO (a terminal whose other end
 * is gone), XEV_EISDIR, XEV_EINVAL (len_bytes), ... */
void xev_fd_read(xev_fd fd, xev_loop *loop, xev_completion *c, void *buf, size_t len_bytes,
                 void *userdata, xev_cb cb);

/* Write up to len_bytes (1 to INT32_MAX) from buf. The caller keeps buf until the callback. Result:
 * bytes (> 0, may be fewer), XEV_EPIPE, XEV_EINVAL (len_bytes), and of a file XEV_ENOSPC,
 * XEV_EDQUOT, XEV_EFBIG, ... If an error comes after a part was written, the result is the length
 * of that part, and the next write reports the error. From the first call on, SIGPIPE and SIGXFSZ
 * are blocked in the loop's thread. */
void xev_fd_write(xev_fd fd, xev_loop *loop, xev_completion *c, const void *buf, size_t len_bytes,
                  void *userdata, xev_cb cb);

/* The same with count pieces (1 to XEV_VEC_MAX) of together 1 to INT32_MAX bytes, in their order;
 * outside these ranges XEV_EINVAL. The caller keeps vec itself until the callback, too. */
void xev_fd_readv(xev_fd fd, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                  void *userdata, xev_cb cb);
void xev_fd_writev(xev_fd fd, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                   void *userdata, xev_cb cb);

/* Wait until a condition of mask holds (XEV_POLL_*, not 0). Result: the conditions that hold;
 * XEV_EINVAL (mask); XEV_EPERM (a multishot poll of a file: there is nothing to wait for, and a
 * single poll reports it readable and writable). Any number of polls may wait on one descriptor,
 * beside other operations.
 *
 * A multishot poll goes on, and reports when a condition of mask comes about, also when more of the
 * same arrives. A condition that merely lasts is not reported again and again, but it may be
 * reported once more when another comes about. */
void xev_fd_poll(xev_fd fd, xev_loop *loop, xev_completion *c, uint32_t mask, void *userdata,
                 xev_cb cb);
void xev_fd_poll_multi(xev_fd fd, xev_loop *loop, xev_completion *c, uint32_t mask, void *userdata,
                       xev_cb cb);

/* Close fd, as xev_tcp_close does. */
void xev_fd_close(xev_fd fd, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);

/* Have the loop forget fd, of any watcher, which stays open and is the caller's. The next operation
 * on the number, in this loop too, is as on a descriptor that the loop never saw.
 *
 * Call it when the loop has worked on fd, has no operation on it any more, and fd goes another way
 * than through a close in this loop: before it is closed by close(2), replaced by dup2(2), given to
 * another loop, or passed to another process and closed here. Without it a loop on epoll is woken
 * for as long as anybody has the file open. And if another file gets the number in the turn of the
 * loop that brought the last result, an operation on that file may wait for ever.
 *
 * 0, also where the loop does not know fd; XEV_EBUSY (operations on it are active, a close
 * included; cancel them, or wait, until their callbacks have run), XEV_EBADF (negative),
 * XEV_EFORKED. The file stays non-blocking where an operation has made it so. Loop's thread. */
XEV_NODISCARD int xev_fd_release(xev_fd fd, xev_loop *loop);

XEV_END_DECLS

#endif
