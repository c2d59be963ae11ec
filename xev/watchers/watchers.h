/* Internal: what the watchers give each other, the backends and the table of kinds. */
#ifndef XEV_WATCHERS_WATCHERS_H
#define XEV_WATCHERS_WATCHERS_H

#include "xev/core/core.h"

/* ---- fd.c ---- */
/* Begin op on len_bytes at buf (written to by reads only), for the public function call. */
void xev__transfer(const char *call, enum xev__op op, xev_fd fd, xev_loop *loop, xev_completion *c,
                   void *buf, size_t len_bytes, void *userdata, xev_cb cb);
/* The same on count pieces at vec. */
void xev__transfer_vec(const char *call, enum xev__op op, xev_fd fd, xev_loop *loop,
                       xev_completion *c, const xev_vec *vec, size_t count, void *userdata,
                       xev_cb cb);
/* All pieces together; 0: none, or more of them or of bytes than there may be. */
uint32_t xev__vec_bytes(const xev_vec *vec, size_t count);
/* How many pieces there are, or more than there may be: fits where a count is kept. */
static inline uint32_t xev__vec_count(size_t count) {
    return count <= XEV_VEC_MAX ? (uint32_t)count : XEV_VEC_MAX + 1;
}
/* Either, begun, for the first time or by XEV_REARM. c->arg.io: buf and len_bytes (0: refused), or
 * with aux above 0 the pieces and their number; their bytes are counted here. */
void xev__transfer_start(xev_loop *loop, xev_completion *c);

/* Begin op, which needs no more than the descriptor and flags. */
void xev__operate(const char *call, enum xev__op op, xev_fd fd, xev_loop *loop, xev_completion *c,
                  uint16_t flags, void *userdata, xev_cb cb);

/* ---- file.c ---- */
void xev__sendfile_start(xev_loop *loop, xev_completion *c);
/* The socket may take more. XEV_EINPROGRESS: it is stepping now, leave it alone; XEV_EAGAIN: no. */
int xev__sendfile_writable(xev_loop *loop, struct xev__fd *e, xev_completion *c);
bool xev__sendfile_stop(xev_loop *loop, xev_completion *c);
void xev__sendfile_ended(xev_loop *loop, xev_completion *c);
bool xev__file_close_named_by(xev_completion *c, const xev_completion *part);
/* The descriptor is out of use: close it on the pool. False: close it here. */
bool xev__file_close_start(xev_loop *loop, xev_completion *c);
bool xev__file_close_is_past(const xev_completion *c);

/* ---- stream.c ---- */
bool xev__stream_goes_on(xev_loop *loop, xev_completion *c);

/* ---- async.c ---- */
void xev__async_start(xev_loop *loop, xev_completion *c);
/* call is made on the thread of the loop that w is bound to, if any. */
void xev__async_check_thread(const char *call, const xev_watcher *w);
/* The wait is over: c's callback is due. */
void xev__async_due(xev_completion *c);
void xev__async_ended(xev_loop *loop, xev_completion *c);
bool xev__async_stop(xev_loop *loop, xev_completion *c);
void xev__async_each(const xev_loop *loop, xev__visit_fn fn, void *arg);
void xev__async_loop_gone(xev_loop *loop);

/* ---- timer.c ---- */
void xev__timer_again(xev_loop *loop, xev_completion *c);

/* ---- signal.c ---- */
/* The watcher of a signal catches it no longer. */
void xev__signal_unwatch(xev_watcher *w);

/* ---- tcp.c ---- */
/* Whether c is an accept that code does not end; and then, on c's descriptor: begin again, at once
 * or later. */
bool xev__accept_outlasts(const xev_completion *c, int code);
void xev__accept_again(xev_loop *loop, struct xev__fd *fd, xev_completion *c, int code);
/* c has succeeded: if it is an accept, its next error is a new one. */
static inline void xev__accept_works(xev_completion *c) {
    if (c->op == XEV__OP_ACCEPT) {
        c->arg.accept.failures = c->arg.accept.wait_ms = 0;
        c->arg.accept.reported = 0;
    }
}
/* Begin a connect, for the public function call. */
void xev__connect(const char *call, xev_fd fd, xev_loop *loop, xev_completion *c,
                  const xev_addr *addr, void *userdata, xev_cb cb);
/* Begin a connect on c->fd to c->arg.io.addr; go on where its turn has come: c->arg.io.aux says how
 * (the listener had no room before, or its result is known). */
void xev__connect_start(xev_loop *loop, xev_completion *c);
void xev__connect_at_head(xev_loop *loop, struct xev__fd *fd, xev_completion *c);

/* ---- dial.c ---- */
void xev__dial_start(xev_loop *loop, xev_completion *c);
bool xev__dial_named_by(xev_completion *c, const xev_completion *part);
bool xev__dial_stop(xev_loop *loop, xev_completion *c);

/* Not null, not empty, and no longer than it can be. */
static inline bool xev__is_addr(const xev_addr *addr) {
    return addr != NULL && addr->len_bytes > 0 && addr->len_bytes <= sizeof addr->storage;
}

/* ---- udp.c ---- */
/* Begin the UDP receive or send c on c->fd of c->arg.io.len_bytes datagrams at c->arg.io.buf, of
 * which c->arg.io.aux can be moved at once. */
void xev__udp_start(xev_loop *loop, xev_completion *c);
/* How much of a loaned buffer a datagram may fill. */
uint32_t xev__udp_room(const xev_loop *loop);

#endif
