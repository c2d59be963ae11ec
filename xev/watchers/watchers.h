/* Internal: functions of the watchers that other watchers, the backends and the table of kinds use.
 */
#ifndef XEV_WATCHERS_WATCHERS_H
#define XEV_WATCHERS_WATCHERS_H

#include "xev/core/core.h"

/* ---- fd.c ---- */
/* Begin the transfer op of len_bytes at buf, for the public function call. Only a read writes to
 * buf. */
void xev__transfer(const char *call, enum xev__op op, xev_fd fd, xev_loop *loop, xev_completion *c,
                   void *buf, size_t len_bytes, void *userdata, xev_cb cb);
/* The same for count pieces of memory at vec. */
void xev__transfer_vec(const char *call, enum xev__op op, xev_fd fd, xev_loop *loop,
                       xev_completion *c, const xev_vec *vec, size_t count, void *userdata,
                       xev_cb cb);
/* The bytes of all pieces together. 0: there is no byte, or too many pieces or bytes. */
uint32_t xev__vec_bytes(const xev_vec *vec, size_t count);
/* count as 32 bits: every count that is too large becomes XEV_VEC_MAX + 1. */
static inline uint32_t xev__vec_count(size_t count) {
    return count <= XEV_VEC_MAX ? (uint32_t)count : XEV_VEC_MAX + 1;
}
/* Submit a transfer that was begun, for the first time or because of XEV_REARM. c->arg.io has buf
 * and len_bytes, where 0 bytes are refused. Or it has, in buf and aux, pieces of memory and their
 * number; len_bytes is then counted here. */
void xev__transfer_start(xev_loop *loop, xev_completion *c);

/* A watcher that was zeroed and never initialised names descriptor 0, which is the program's. fd,
 * or XEV_INVALID_FD where that must be such a watcher's: of a socket, a standard stream that is no
 * socket; of what only xev makes, any standard stream. */
xev_fd xev__socket_fd(xev_fd fd);
static inline xev_fd xev__made_fd(xev_fd fd) { return fd > 2 ? fd : XEV_INVALID_FD; }

/* Begin op, whose only arguments are the descriptor and flags. */
void xev__operate(const char *call, enum xev__op op, xev_fd fd, xev_loop *loop, xev_completion *c,
                  uint16_t flags, void *userdata, xev_cb cb);

/* ---- file.c ---- */
void xev__sendfile_start(xev_loop *loop, xev_completion *c);
/* The socket may have room. XEV_EINPROGRESS: the sendfile goes on, on the pool. XEV_EAGAIN: there
 * is no room. Another code: the sendfile ends with it. */
int xev__sendfile_writable(xev_loop *loop, struct xev__fd *e, xev_completion *c);
bool xev__sendfile_stop(xev_loop *loop, xev_completion *c);
void xev__sendfile_ended(xev_loop *loop, xev_completion *c);
bool xev__file_close_named_by(xev_completion *c, const xev_completion *part);
/* No operation uses the descriptor any more. True: the pool closes it. False: the caller closes it.
 */
bool xev__file_close_start(xev_loop *loop, xev_completion *c);
bool xev__file_close_is_past(const xev_completion *c);

/* ---- stream.c ---- */
bool xev__stream_goes_on(xev_loop *loop, xev_completion *c);

/* ---- async.c ---- */
void xev__async_start(xev_loop *loop, xev_completion *c);
/* Check that call is made on the thread of the loop to which w is bound, if it is bound. */
void xev__async_check_thread(const char *call, const xev_watcher *w);
/* The wait is over: put c into its watcher's list of completions whose callback is due. */
void xev__async_due(xev_completion *c);
void xev__async_ended(xev_loop *loop, xev_completion *c);
bool xev__async_stop(xev_loop *loop, xev_completion *c);
void xev__async_each(const xev_loop *loop, xev__visit_fn fn, void *arg);
void xev__async_loop_gone(xev_loop *loop);

/* ---- timer.c ---- */
void xev__timer_again(xev_loop *loop, xev_completion *c);

/* ---- signal.c ---- */
/* Let the watcher of a signal catch it no longer. */
void xev__signal_unwatch(xev_watcher *w);

/* ---- tcp.c ---- */
/* Whether c is an accept that the error code does not end. If so, xev__accept_again tries it again,
 * at once or later; fd is the entry of c's descriptor. */
bool xev__accept_outlasts(const xev_completion *c, int code);
void xev__accept_again(xev_loop *loop, struct xev__fd *fd, xev_completion *c, int code);
/* Report the code, which does not end c, unless it was the last one that was reported. */
void xev__accept_report(xev_loop *loop, xev_completion *c, int code);
/* c has succeeded. If it is an accept, an error after this is a new one, and is reported. */
static inline void xev__accept_works(xev_completion *c) {
    if (c->op == XEV__OP_ACCEPT) {
        c->arg.accept.failures = c->arg.accept.wait_ms = 0;
        c->arg.accept.reported = 0;
    }
}
/* Begin a connect, for the public function call. */
void xev__connect(const char *call, xev_fd fd, xev_loop *loop, xev_completion *c,
                  const xev_addr *addr, void *userdata, xev_cb cb);
/* Make the system call of a connect on c->fd to c->arg.io.addr, and submit c. When c is the head of
 * its queue xev__connect_at_head goes on: it waits, calls again, or reports the result. */
void xev__connect_start(xev_loop *loop, xev_completion *c);
void xev__connect_at_head(xev_loop *loop, struct xev__fd *fd, xev_completion *c);
/* For the backend's connect: the result of c, which is not the head of its queue yet. */
void xev__connect_known(xev_completion *c, int result);
void xev__connect_ended(xev_loop *loop, xev_completion *c);

/* ---- dial.c ---- */
void xev__dial_start(xev_loop *loop, xev_completion *c);
bool xev__dial_named_by(xev_completion *c, const xev_completion *part);
bool xev__dial_stop(xev_loop *loop, xev_completion *c);

/* Whether addr is not null, not empty, and not longer than its room. */
static inline bool xev__is_addr(const xev_addr *addr) {
    return addr != NULL && addr->len_bytes > 0 && addr->len_bytes <= sizeof addr->storage;
}

/* ---- udp.c ---- */
/* Submit the UDP receive or send c on c->fd of c->arg.io.len_bytes datagrams at c->arg.io.buf. In
 * c->arg.io.aux it counts how many of them can be moved together. */
void xev__udp_start(xev_loop *loop, xev_completion *c);
/* How many bytes of a loaned buffer a datagram may fill. */
uint32_t xev__udp_room(const xev_loop *loop);

#endif
