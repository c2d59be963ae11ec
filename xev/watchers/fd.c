/* Operations on any kind of descriptor: read, write, poll, close. What the other watchers share of
 * them begins here as well. */
#include "xev/fd.h"

#include <assert.h>
#include <string.h>

#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/watchers/watchers.h"

int xev_pipe_open(xev_fd *read_end, xev_fd *write_end) {
    if (read_end == NULL || write_end == NULL) {
        xev__misuse("xev_pipe_open", "room for an end is null", NULL);
    }
    *read_end = *write_end = XEV_INVALID_FD;
    int rc = xev__os_pipe(read_end, write_end);
    assert((rc == 0) == (*read_end != XEV_INVALID_FD && *write_end != XEV_INVALID_FD));
    return rc;
}

void xev__transfer(const char *call, enum xev__op op, xev_fd fd, xev_loop *loop, xev_completion *c,
                   void *buf, size_t len_bytes, void *userdata, xev_cb cb) {
    if (buf == NULL && len_bytes > 0) {
        xev__misuse(call, "buffer is null", c);
    }
    if (!xev__begin(call, loop, c, op, userdata, cb)) {
        return;
    }
    c->fd = fd;
    c->arg.io.buf = buf;
    c->arg.io.len_bytes = len_bytes > INT32_MAX ? 0 : (uint32_t)len_bytes;
    c->arg.io.aux = 0;
    xev__transfer_start(loop, c);
}

uint32_t xev__vec_bytes(const xev_vec *vec, size_t count) {
    uint64_t total = 0;
    for (size_t i = 0; i < count && count <= XEV_VEC_MAX; i++) {
        total += vec[i].len_bytes <= INT32_MAX ? vec[i].len_bytes : (uint64_t)INT32_MAX + 1;
    }
    return total <= INT32_MAX ? (uint32_t)total : 0;
}

void xev__transfer_vec(const char *call, enum xev__op op, xev_fd fd, xev_loop *loop,
                       xev_completion *c, const xev_vec *vec, size_t count, void *userdata,
                       xev_cb cb) {
    if (vec == NULL && count > 0) {
        xev__misuse(call, "vector is null", c);
    }
    if (!xev__begin(call, loop, c, op, userdata, cb)) {
        return;
    }
    c->fd = fd;
    c->arg.io.buf = (void *)(uintptr_t)vec;
    c->arg.io.len_bytes = 0;
    c->arg.io.aux = xev__vec_count(count);
    xev__transfer_start(loop, c);
}

void xev__transfer_start(xev_loop *loop, xev_completion *c) {
    assert(c->op >= XEV__OP_ACCEPT && c->op < XEV__OP_COUNT);
    assert(c->arg.io.aux == 0 || c->arg.io.buf != NULL);
    if (c->arg.io.aux > 0) { /* a callback may have changed the pieces before it repeats */
        c->arg.io.len_bytes = xev__vec_bytes(c->arg.io.buf, c->arg.io.aux);
    }
    if (c->arg.io.len_bytes == 0 && (c->flags & XEV__F_LOAN) == 0) {
        xev__pend(loop, c, XEV_EINVAL);
    } else {
        xev__submit(loop, c);
    }
}

xev_fd xev__socket_fd(xev_fd fd) {
    bool is_std = fd >= 0 && fd <= 2;
    return is_std && xev__os_check_endpoint(fd) == XEV_ENOTSOCK ? XEV_INVALID_FD : fd;
}

void xev__operate(const char *call, enum xev__op op, xev_fd fd, xev_loop *loop, xev_completion *c,
                  uint16_t flags, void *userdata, xev_cb cb) {
    if (xev__begin(call, loop, c, op, userdata, cb)) {
        c->fd = fd;
        c->flags |= flags;
        memset(&c->arg, 0, sizeof c->arg);
        xev__submit(loop, c);
    }
}

void xev_fd_read(xev_fd fd, xev_loop *loop, xev_completion *c, void *buf, size_t len_bytes,
                 void *userdata, xev_cb cb) {
    xev__transfer(XEV__CALL("xev_fd_read"), XEV__OP_READ, fd, loop, c, buf, len_bytes, userdata,
                  cb);
}

void xev_fd_write(xev_fd fd, xev_loop *loop, xev_completion *c, const void *buf, size_t len_bytes,
                  void *userdata, xev_cb cb) {
    if (loop != NULL) {
        xev__block_write_signals(loop);
    }
    void *bytes = (void *)(uintptr_t)buf;
    xev__transfer(XEV__CALL("xev_fd_write"), XEV__OP_WRITE, fd, loop, c, bytes, len_bytes, userdata,
                  cb);
}

void xev_fd_readv(xev_fd fd, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                  void *userdata, xev_cb cb) {
    xev__transfer_vec(XEV__CALL("xev_fd_readv"), XEV__OP_READ, fd, loop, c, vec, count, userdata,
                      cb);
}

void xev_fd_writev(xev_fd fd, xev_loop *loop, xev_completion *c, const xev_vec *vec, size_t count,
                   void *userdata, xev_cb cb) {
    if (loop != NULL) {
        xev__block_write_signals(loop);
    }
    xev__transfer_vec(XEV__CALL("xev_fd_writev"), XEV__OP_WRITE, fd, loop, c, vec, count, userdata,
                      cb);
}

/* Begin a poll for mask, for the public function call. */
static void poll_for(const char *call, xev_fd fd, xev_loop *loop, xev_completion *c, uint32_t mask,
                     uint16_t flags, void *userdata, xev_cb cb) {
    if (!xev__begin(call, loop, c, XEV__OP_POLL, userdata, cb)) {
        return;
    }
    c->fd = fd;
    c->flags |= flags;
    c->arg.io.aux = mask;
    if (mask == 0 || mask >= 2 * XEV_POLL_PRI) {
        xev__pend(loop, c, XEV_EINVAL);
        return;
    }
    xev__submit(loop, c);
}

void xev_fd_poll(xev_fd fd, xev_loop *loop, xev_completion *c, uint32_t mask, void *userdata,
                 xev_cb cb) {
    poll_for(XEV__CALL("xev_fd_poll"), fd, loop, c, mask, 0, userdata, cb);
}

void xev_fd_poll_multi(xev_fd fd, xev_loop *loop, xev_completion *c, uint32_t mask, void *userdata,
                       xev_cb cb) {
    poll_for(XEV__CALL("xev_fd_poll_multi"), fd, loop, c, mask, XEV__F_MULTI, userdata, cb);
}

void xev_fd_close(xev_fd fd, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb) {
    xev__close(XEV__CALL("xev_fd_close"), loop, c, fd, userdata, cb);
}

int xev_fd_release(xev_fd fd, xev_loop *loop) {
    xev__check_loop("xev_fd_release", loop);
    if (xev__forked(loop)) {
        return XEV_EFORKED; /* the registrations are its parent's, too */
    }
    xev__check_thread("xev_fd_release", loop);
    return fd < 0 ? XEV_EBADF : xev__fds_release(loop, fd);
}
