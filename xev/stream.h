/* Write queue of a stream socket, pipe or terminal: requests are sent whole and in order.
 *
 * Several requests that wait go to the kernel in one call. Back-pressure: stop producing while
 * xev_stream_is_full, go on when the stream says that it has drained (xev_stream_set_marks); or by
 * marks of your own for xev_stream_queued_bytes, from a request's callback. The marks count bytes,
 * and a request that sends from a loaned buffer (buffer.h) keeps all of it, however little is in
 * it: limit the number of those too (examples/echo_conn.c), or one peer that reads nothing may keep
 * every buffer of the loop.
 *
 * What else is to be done to the descriptor after the queued requests (xev_file_sendfile, say) is
 * submitted when xev_stream_queued_bytes is 0, from the last one's callback: it would overtake
 * those that are not in the kernel's hands yet. The end of the stream has a request of its own
 * (xev_stream_shutdown).
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

/* Callbacks get their loop first, as all callbacks of a loop do; the accessors below give the rest.
 *
 * The request is over: result is its whole length (of a shutdown: 0), or an error (XEV_EPIPE,
 * XEV_ECONNRESET, XEV_ECANCELED, ...). It may be freed or written again. An error is reported to
 * the request that met it. Where nothing of that was sent, those behind it are still tried; where a
 * part was, they report XEV_EPIPE, as does all that is written later: no byte follows a part. A
 * stall (xev_stream_set_timeout) is reported to all that are queued.
 * Do not free the stream here: close its descriptor first and free it in the close callback; but
 * what is written once the close was asked for may be reported after that, and the stream must last
 * until it is. */
typedef void (*xev_write_cb)(xev_loop *loop, xev_stream *stream, xev_write_req *req, int result,
                             void *userdata);

/* A full stream has drained. It may be written to and closed here, as in a request's callback. */
typedef void (*xev_stream_drain_cb)(xev_loop *loop, xev_stream *stream, void *userdata);

/* Caller-owned; fields private. */
struct xev_write_req {
    xev_write_req *next;
    const void *buf;
    uint32_t len_bytes;
    uint32_t sent_bytes;
    uint32_t place; /* as a completion's */
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
    bool stopped;    /* what is in flight, by a cancel */
    bool socket;     /* send, and not write */
    bool one_by_one; /* until an error has found its request */
    bool broken;     /* ended within a request */
    bool full;       /* rose above high_bytes and has not fallen to low_bytes since */
    uint64_t low_bytes, high_bytes;
    void *drain_userdata;
    xev_stream_drain_cb on_drain;
    uint64_t timeout_ns;
    uint64_t look_ns; /* when progress is looked for next */
    uint32_t looks;   /* that found none, since one that did; UINT32_MAX: none at all yet */
    uint64_t sent_bytes, seen_sent_bytes, seen_untaken; /* seen: by the last look */
    xev_completion send;
    xev_vec vec[XEV_STREAM_BATCH];
};

XEV_BEGIN_DECLS

/* A stream socket of the caller's, connected. Takes no ownership of the descriptor, and does not
 * look at it: requests report XEV_EBADF, XEV_ENOTSOCK, XEV_EPIPE (not connected). */
void xev_stream_init(xev_stream *stream, xev_loop *loop, xev_fd fd);

/* A pipe, a terminal or another descriptor that is written to; see fd.h for what that does to it,
 * and to SIGPIPE and SIGXFSZ. */
void xev_stream_init_fd(xev_stream *stream, xev_loop *loop, xev_fd fd);

/* What the stream was initialised with. */
xev_loop *xev_stream_loop(const xev_stream *stream);
xev_fd xev_stream_fd(const xev_stream *stream);

/* The time-out of the stream, not of a request: the longest for which the peer's system may take
 * nothing while requests are queued; 0, as at first: for ever. Then the stream has stalled, and all
 * that is queued reports XEV_ETIMEDOUT. The time begins with the write to an empty queue, with this
 * call, and with all that the peer takes, be it a byte. Never early, and up to a quarter late; a
 * thread that is stopped itself does not take the peer for stalled. A Unix socket's peer has taken
 * what its program has read, in pieces of up to 64 KiB. Costs no system call while there is
 * progress within an eighth of the time, and no clock is read for a write. */
void xev_stream_set_timeout(xev_stream *stream, uint64_t timeout_ms);

/* Queue len_bytes from buf; req and buf are the queue's until the callback. req needs no
 * initialisation, but must not be queued. 0 bytes are a success like any other: their callback
 * reports 0 in their turn (buf may be NULL). Above INT32_MAX: XEV_EINVAL, likewise. */
void xev_stream_write(xev_stream *stream, xev_write_req *req, const void *buf, size_t len_bytes,
                      void *userdata, xev_write_cb cb);

/* Send what the kernel takes at once of len_bytes (to INT32_MAX, else XEV_EINVAL) at buf, without a
 * request and without a callback. Returns the bytes taken: 0 where there is no room, where
 * something is queued before, or where the stream is no socket; or an error, as a request would
 * report it.
 * What is not taken is the caller's: queue it by xev_stream_write. This is the cheapest way to send
 * to a peer that reads; buf is the caller's again at once. */
XEV_NODISCARD int xev_stream_try_write(xev_stream *stream, const void *buf, size_t len_bytes);

/* Queue the end of the stream: once what is queued before it is sent, the peer finds no more to
 * read (SHUT_WR), and what is written later reports XEV_EPIPE. req as above; it is 0 bytes long. On
 * what is no socket XEV_ENOTSOCK: close the descriptor. */
void xev_stream_shutdown(xev_stream *stream, xev_write_req *req, void *userdata, xev_write_cb cb);

/* What a request was written with, from then on and in its callback; of a shutdown NULL and 0. */
const void *xev_write_req_buf(const xev_write_req *req);
size_t xev_write_req_len_bytes(const xev_write_req *req);

/* Take a request back that has not begun to be sent: it then reports XEV_ECANCELED. 0, or
 * XEV_ENOENT where it is over, or XEV_EALREADY where part of it is sent: it goes on. Where the
 * kernel has it at the moment, 0 means that this was asked for; the callback tells. */
int xev_stream_cancel(xev_stream *stream, xev_write_req *req);

/* Bytes accepted and not yet sent. */
uint64_t xev_stream_queued_bytes(const xev_stream *stream);

/* Water marks: a stream is full from the write that takes its queued bytes above high_bytes until
 * they have fallen to low_bytes (not above high_bytes) or below. Then on_drain (NULL: none) is
 * called, once, after the callbacks of the requests that are over by then; not where the descriptor
 * is being closed or the loop ends. A full stream still takes what is written. New marks say at
 * once whether it is full, without a call. At first, and with UINT64_MAX for both, it never is.
 * 0, or XEV_EINVAL (low_bytes is above high_bytes): the marks are as they were. */
XEV_NODISCARD int xev_stream_set_marks(xev_stream *stream, uint64_t low_bytes, uint64_t high_bytes,
                                       void *userdata, xev_stream_drain_cb on_drain);
bool xev_stream_is_full(const xev_stream *stream);

XEV_END_DECLS

#endif
