/* A write queue for a stream socket, a pipe or a terminal: requests are sent whole, and in order.
 *
 *     xev_stream out;
 *     xev_stream_init(&out, &loop, tcp.fd);
 *     xev_stream_write(&out, &req, buf, len_bytes, userdata, on_written);
 *     if (xev_stream_is_full(&out)) ... stop producing until on_drain is called
 *
 * Several requests that wait go to the kernel in one system call.
 *
 * Back-pressure. Stop producing while xev_stream_is_full; the stream says when it has drained
 * (xev_stream_set_marks). Or compare xev_stream_queued_bytes with limits of your own, in the
 * callbacks of requests. The marks count bytes that are queued. A request that sends from a loaned
 * buffer (buffer.h) holds the whole buffer, however few bytes it sends: so limit the number of such
 * requests, too, or one peer that reads nothing can hold every buffer of the loop.
 *
 * Other writers. An operation on the same descriptor that must come after the queued requests
 * (xev_file_sendfile, for instance) is submitted when xev_stream_queued_bytes is 0, in the callback
 * of the last request; earlier it would overtake requests that the kernel does not have yet. The
 * end of the stream has a request of its own, xev_stream_shutdown.
 *
 * All calls: loop's thread.
 */
#ifndef XEV_STREAM_H
#define XEV_STREAM_H

#include "xev/loop.h"
#include "xev/vec.h"

#define XEV_STREAM_BATCH 16

typedef struct xev_stream xev_stream;
typedef struct xev_write_req xev_write_req;

/* A request is over. result: its whole length (0 for a shutdown), or an error: XEV_EPIPE,
 * XEV_ECONNRESET, XEV_ECANCELED, ... The request may be freed or written again.
 *
 * An error is reported to the request that met it. If no byte of that request was sent, the
 * requests behind it are still tried. If a part of it was sent, they report XEV_EPIPE, as does
 * everything that is written later: no byte may follow a part of a request. A stall
 * (xev_stream_set_timeout) is reported to all requests that are queued.
 *
 * Do not free the stream in this callback: close its descriptor first, and free the stream in the
 * callback of the close. A request that is written after the close was asked for may be reported
 * after that callback; the stream must then last until the request is reported. */
typedef void (*xev_write_cb)(xev_loop *loop, xev_stream *stream, xev_write_req *req, int result,
                             void *userdata);

/* A full stream has drained. The stream may be written to and closed in this callback, as in that
 * of a request. */
typedef void (*xev_stream_drain_cb)(xev_loop *loop, xev_stream *stream, void *userdata);

/* Caller-owned; fields private. */
struct xev_write_req {
    xev_write_req *next;
    const void *buf;
    uint32_t len_bytes;
    uint32_t sent_bytes;
    uint32_t place; /* as of a completion */
    uint8_t kind;   /* see stream.c */
    bool queued, cancelled;
    void *userdata;
    xev_write_cb callback;
};

/* Caller-owned, stays at one address while a request is queued; fields private. */
struct xev_stream {
    xev_loop *loop;
    xev_fd fd;
    xev_write_req *head, *tail;
    uint64_t queued_bytes;
    uint32_t in_flight; /* requests in the kernel's hands */
    bool delivering, sweep;
    bool stopped;    /* the request in flight was stopped by a cancel */
    bool socket;     /* a socket: send(2) is used, and not write(2) */
    bool one_by_one; /* send one request at a time, to find the one that meets an error */
    bool broken;     /* a request was sent in part, and nothing may follow */
    bool full;       /* rose above high_bytes and has not fallen to low_bytes since */
    uint64_t low_bytes, high_bytes;
    void *drain_userdata;
    xev_stream_drain_cb on_drain;
    uint64_t timeout_ns;
    uint64_t look_ns; /* next look for progress */
    uint32_t looks;   /* looks without progress, since one with; UINT32_MAX: no look yet */
    uint64_t sent_bytes, seen_sent_bytes, seen_untaken; /* seen_: at the last look */
    xev_completion send;
    xev_vec vec[XEV_STREAM_BATCH];
};

XEV_BEGIN_DECLS

/* Make a queue for a connected stream socket. The descriptor stays the caller's, and is not looked
 * at here: requests report XEV_EBADF, XEV_ENOTSOCK or XEV_EPIPE (not connected). */
void xev_stream_init(xev_stream *stream, xev_loop *loop, xev_fd fd);

/* The same for a pipe, a terminal or another descriptor that is written to. fd.h says what writing
 * does to such a descriptor, and to SIGPIPE and SIGXFSZ. */
void xev_stream_init_fd(xev_stream *stream, xev_loop *loop, xev_fd fd);

/* The loop and the descriptor that the stream was initialised with. */
xev_loop *xev_stream_loop(const xev_stream *stream);
xev_fd xev_stream_fd(const xev_stream *stream);

/* Give the stream a time-out: for how long the peer's system may take no byte while requests are
 * queued. 0, as at first: without limit. When the time is over the stream has stalled, and all
 * requests that are queued report XEV_ETIMEDOUT. The time starts anew with a write to an empty
 * queue, with this call, and with every byte that the peer's system takes. The peer of a Unix
 * socket has taken the bytes that its program has read, counted in pieces of up to 64 KiB.
 *
 * Never early, and up to a quarter of the time late. If this program itself was stopped for some
 * time, its peers are not taken for stalled. Costs no system call while there is progress within an
 * eighth of the time, and a write reads no clock. */
void xev_stream_set_timeout(xev_stream *stream, uint64_t timeout_ms);

/* Queue len_bytes from buf. req and buf belong to the queue until the callback. req needs no
 * initialisation; it must not be queued already (misuse). 0 bytes are allowed (buf may be NULL):
 * the callback reports 0 when the requests before it are over. More than INT32_MAX bytes: the
 * callback reports XEV_EINVAL, in the same order. */
void xev_stream_write(xev_stream *stream, xev_write_req *req, const void *buf, size_t len_bytes,
                      void *userdata, xev_write_cb cb);

/* Send what the kernel takes at once of len_bytes at buf (to INT32_MAX, else XEV_EINVAL), without a
 * request and without a callback. Returns how many bytes it took: 0 if it has no room, if requests
 * are queued, or if the stream is no socket; or an error, as a request would report it. buf is the
 * caller's again when the call returns; queue the rest by xev_stream_write. This is the cheapest
 * way to send to a peer that reads. */
XEV_NODISCARD int xev_stream_try_write(xev_stream *stream, const void *buf, size_t len_bytes);

/* Queue the end of the stream. When the requests before it are sent the writing side is shut down
 * (SHUT_WR): the peer reads to its end, and requests that are written later report XEV_EPIPE. req
 * as in xev_stream_write; its length is 0. Not a socket: XEV_ENOTSOCK, and the way to end it is to
 * close the descriptor. */
void xev_stream_shutdown(xev_stream *stream, xev_write_req *req, void *userdata, xev_write_cb cb);

/* The buf and len_bytes that a request was written with, from then on and in its callback; NULL and
 * 0 for a shutdown. */
const void *xev_write_req_buf(const xev_write_req *req);
size_t xev_write_req_len_bytes(const xev_write_req *req);

/* Take back a request of which no byte was sent: it then reports XEV_ECANCELED. 0, or XEV_ENOENT
 * (it is over), or XEV_EALREADY (a part of it was sent: it goes on). If the kernel has the request
 * at this moment, 0 only means that the cancel was asked for; the callback of the request tells the
 * outcome. */
int xev_stream_cancel(xev_stream *stream, xev_write_req *req);

/* Bytes that were written to the queue and are not sent yet. */
uint64_t xev_stream_queued_bytes(const xev_stream *stream);

/* Set the water marks. A stream is full from the write that takes its queued bytes above high_bytes
 * until they have fallen to low_bytes or below. Then on_drain (NULL: none) is called, once, after
 * the callbacks of the requests that are over by then; it is not called while the descriptor is
 * being closed or the loop ends. A full stream still takes every write. At first both marks are
 * UINT64_MAX, and the stream is never full. New marks take effect at once, without a call of
 * on_drain. 0, or XEV_EINVAL (low_bytes is above high_bytes; the marks stay as they were). */
XEV_NODISCARD int xev_stream_set_marks(xev_stream *stream, uint64_t low_bytes, uint64_t high_bytes,
                                       void *userdata, xev_stream_drain_cb on_drain);
bool xev_stream_is_full(const xev_stream *stream);

XEV_END_DECLS

#endif
