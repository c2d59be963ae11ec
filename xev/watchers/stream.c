/* Write queue of a stream.
 *
 * Model. Requests stand in a list, in the order in which they were made. At most one operation is
 * in the kernel's hands: a send (of a socket), a write (of anything else) or a shutdown, for the
 * first in_flight requests of the list. A send for one request is a plain one, for several a
 * vectored one. The bytes it took are counted to the requests in order, and what remains is sent
 * next.
 */
#include "xev/stream.h"

#include <assert.h>
#include <string.h>

#include "xev/core/support.h"
#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/watchers/watchers.h"

static xev_cb_action on_stream_sent(xev_loop *loop, xev_completion *c, int result, void *userdata);

/* Whether r is in the queue. r's memory may hold anything, as for xev__is_active. */
static bool is_queued(const xev_stream *s, const xev_write_req *r) {
    return xev__actives_have(s->loop, &r->place) ||
           (s->loop->actives_missing > 0 && r->place == XEV__NO_PLACE && r->queued);
}

static void stream_init(const char *call, xev_stream *s, xev_loop *loop, xev_fd fd, bool socket) {
    xev__check_own_loop(call, loop);
    xev__check_pointer(call, "stream is null", s);
    memset(s, 0, sizeof *s);
    s->loop = loop;
    s->fd = fd;
    s->socket = socket;
    s->low_bytes = s->high_bytes = UINT64_MAX;
}

void xev_stream_init(xev_stream *s, xev_loop *loop, xev_fd fd) {
    stream_init("xev_stream_init", s, loop, fd, true);
}

void xev_stream_init_fd(xev_stream *s, xev_loop *loop, xev_fd fd) {
    stream_init("xev_stream_init_fd", s, loop, fd, false);
}

xev_loop *xev_stream_loop(const xev_stream *s) {
    xev__check_pointer("xev_stream_loop", "stream is null", s);
    return s->loop;
}

xev_fd xev_stream_fd(const xev_stream *s) {
    xev__check_pointer("xev_stream_fd", "stream is null", s);
    return s->fd;
}

const void *xev_write_req_buf(const xev_write_req *r) {
    xev__check_pointer("xev_write_req_buf", "request is null", r);
    return r->buf;
}

size_t xev_write_req_len_bytes(const xev_write_req *r) {
    xev__check_pointer("xev_write_req_len_bytes", "request is null", r);
    return r->len_bytes;
}

/* A stream without requests may outlive its loop, so only a stream with requests looks at it. */
static void stream_check_thread(const char *call, const xev_stream *s) {
    if (s->head != NULL) {
        xev__check_thread(call, s->loop);
    }
}

enum request_kind {
    BYTES,
    SHUTDOWN,
    EMPTY,   /* 0 bytes: it succeeds without the kernel when it is the first */
    TOO_LONG /* it is refused when it is the first */
};

static bool is_closing(const xev_stream *s) {
    const struct xev__fd *e = xev__fds_find(s->loop->fds, s->fd);
    return e != NULL && e->closer != NULL;
}

/* ---- the time-out ----
 *
 * A send has a deadline, after an eighth of the time-out. At the deadline the loop looks whether
 * there was progress since the last look, and sets the next deadline. LOOKS looks in a row without
 * progress are the time-out. So a send that is taken at once costs no measurement. And a thread
 * that was held up for a while counts one look for it, not the whole while. The first look only
 * takes stock: its deadline was counted from the loop's time, which may be older than the write. */

#define LOOKS 8u

static uint64_t next_look_ns(const xev_stream *s) {
    return xev__deadline(s->loop->now_ns, s->timeout_ns / LOOKS + 1);
}

static void start_timeout(xev_stream *s) {
    if (s->timeout_ns > 0) {
        s->looks = UINT32_MAX;
        s->look_ns = next_look_ns(s);
    }
}

/* There was progress where bytes were sent, or where the other side has taken bytes of what the
 * kernel holds. The second comes earlier: the kernel reports room only when there is much of it. */
static bool has_progressed(const xev_stream *s, uint64_t untaken) {
    return s->sent_bytes != s->seen_sent_bytes || untaken < s->seen_untaken;
}

bool xev__stream_goes_on(xev_loop *loop, xev_completion *c) {
    (void)loop;
    if ((c->flags & XEV__F_STREAM) == 0) {
        return false; /* a send of the program's own, not of a stream */
    }
    xev_stream *s = c->userdata;
    assert(s->loop == loop && s->in_flight > 0 && s->timeout_ns > 0);
    uint64_t untaken = xev__os_untaken(s->fd);
    bool first = s->looks == UINT32_MAX;
    s->looks = first || has_progressed(s, untaken) ? 0 : s->looks + 1;
    s->seen_sent_bytes = s->sent_bytes;
    s->seen_untaken = untaken;
    s->look_ns = c->deadline_ns = next_look_ns(s);
    return s->looks < LOOKS;
}

void xev_stream_set_timeout(xev_stream *s, uint64_t timeout_ms) {
    xev__check_pointer("xev_stream_set_timeout", "stream is null", s);
    stream_check_thread("xev_stream_set_timeout", s);
    s->timeout_ns = xev__ms_to_ns(timeout_ms);
    start_timeout(s);
    if (s->in_flight > 0) {
        xev_completion_set_timeout(s->loop, &s->send, 0);
        if (timeout_ms > 0) {
            xev__set_deadline(s->loop, &s->send, s->look_ns);
        }
    }
}

/* ---- sending ---- */

/* Begin an operation for the n requests at the head. */
static bool stream_begin(xev_stream *s, const char *call, enum xev__op op, uint32_t n) {
    assert(s->in_flight == 0 && s->head != NULL && n > 0 && n <= XEV_STREAM_BATCH);
    s->in_flight = n;
    bool begun = xev__begin(call, s->loop, &s->send, op, s, on_stream_sent);
    s->send.flags |= XEV__F_STREAM;
    if (begun) {
        s->send.fd = s->fd;
    }
    return begun;
}

static void stream_submit(xev_stream *s) {
    assert(s->in_flight > 0 && s->send.userdata == s);
    xev__submit(s->loop, &s->send);
    if (s->timeout_ns > 0) {
        xev__set_deadline(s->loop, &s->send, s->look_ns);
    }
}

static void send_head(xev_stream *s) {
    uint32_t n = 0;
    uint64_t total = 0;
    uint32_t limit = s->one_by_one ? 1 : XEV_STREAM_BATCH;
    for (xev_write_req *r = s->head; r != NULL && n < limit && r->kind == BYTES; r = r->next) {
        assert(r->sent_bytes < r->len_bytes);
        uint32_t left = r->len_bytes - r->sent_bytes;
        if (n > 0 && total + left > INT32_MAX) {
            break; /* the result is an int */
        }
        total += left;
        s->vec[n].base = (char *)(uintptr_t)r->buf + r->sent_bytes;
        s->vec[n].len_bytes = left;
        n++;
    }
    if (stream_begin(s, "xev_stream_write", s->socket ? XEV__OP_SEND : XEV__OP_WRITE, n)) {
        s->send.arg.io.buf = n == 1 ? s->vec[0].base : s->vec;
        s->send.arg.io.len_bytes = (uint32_t)total;
        s->send.arg.io.aux = n == 1 ? 0 : n;
        stream_submit(s);
    }
}

/* The first request needs nothing of the kernel. Its callback must not run inside the submitting
 * call, so its result is reported from the loop. */
static void pend_head(xev_stream *s, const char *call, int result) {
    if (stream_begin(s, call, XEV__OP_SEND, 1)) {
        /* Where the descriptor is being closed, its number may belong to another file when this
         * result is delivered, and the requests behind this one would be sent to that file. */
        xev__pend(s->loop, &s->send, is_closing(s) ? XEV_ECANCELED : result);
    }
}

/* Begin what the first request of the queue needs. */
static void send_next(xev_stream *s) {
    assert(s->in_flight == 0 && !s->delivering);
    const char *write = "xev_stream_write";
    if (s->head == NULL) {
        s->one_by_one = false;
    } else if (s->broken) {
        pend_head(s, write, XEV_EPIPE);
    } else if (s->head->kind == EMPTY) {
        pend_head(s, write, 0);
    } else if (s->head->kind == TOO_LONG) {
        pend_head(s, write, XEV_EINVAL);
    } else if (s->head->kind == SHUTDOWN) {
        if (stream_begin(s, "xev_stream_shutdown", XEV__OP_SHUTDOWN, 1)) {
            stream_submit(s);
        }
    } else {
        send_head(s);
    }
}

/* r is over: report it. From its callback on its memory is the caller's. */
static void finish_request(xev_stream *s, xev_write_req *r, int result) {
    xev__actives_take(s->loop, r, &r->place);
    assert(r->queued && r->callback != NULL);
    r->queued = false;
    xev__count(&s->loop->count.callbacks, 1);
    xev__note_call(s->loop, XEV__CODE(r->callback));
    r->callback(s->loop, s, r, result, r->userdata);
    xev__check_fork(s->loop);
}

static void complete_head(xev_stream *s, int result) {
    xev_write_req *r = s->head;
    assert(r != NULL && s->in_flight == 0);
    assert(r->sent_bytes <= r->len_bytes && s->queued_bytes >= r->len_bytes - r->sent_bytes);
    s->head = r->next;
    if (s->head == NULL) {
        s->tail = NULL;
    }
    s->queued_bytes -= r->len_bytes - r->sent_bytes;
    assert(s->head != NULL || s->queued_bytes == 0);
    finish_request(s, r, result);
}

/* End the requests that were cancelled and of which nothing was sent. */
static void sweep_cancelled(xev_stream *s) {
    for (xev_write_req **p = &s->head, *prev = NULL; *p != NULL;) {
        xev_write_req *r = *p;
        if (!r->cancelled || r->sent_bytes > 0) {
            prev = r;
            p = &r->next;
            continue;
        }
        *p = r->next;
        if (s->tail == r) {
            s->tail = prev;
        }
        assert(s->queued_bytes >= r->len_bytes);
        s->queued_bytes -= r->len_bytes;
        finish_request(s, r, XEV_ECANCELED);
        p = &s->head; /* the callback may have changed the queue */
        prev = NULL;
    }
}

/* End every request that is queued now. What the callbacks write stays. */
static void end_all(xev_stream *s, int result) {
    for (xev_write_req *last = s->tail, *done = NULL; s->head != NULL && done != last;) {
        done = s->head;
        assert(s->tail != NULL && s->tail->next == NULL);
        complete_head(s, done->cancelled && done->sent_bytes == 0 ? XEV_ECANCELED : result);
    }
}

static xev_cb_action on_stream_sent(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_stream *s = userdata;
    assert(s->loop == loop && c == &s->send && s->in_flight > 0 && s->head != NULL);
    (void)c;
    bool in_company = s->in_flight > 1;
    /* Cancelled, but not by xev_stream_cancel: the descriptor is being closed, or the loop ends. */
    bool ends = result == XEV_ECANCELED && !s->stopped;
    s->stopped = false;
    s->in_flight = 0;
    s->delivering = true; /* what the callbacks write is sent together, at the end */
    if (result == XEV_EFAULT && in_company) {
        /* No byte was sent. Any of the requests may have the bad address: try them singly. */
        s->one_by_one = true;
    } else {
        s->one_by_one &= result >= 0;
    }
    if (ends) {
        end_all(s, XEV_ECANCELED);
    } else if (result == XEV_ETIMEDOUT) {
        s->broken |= s->head->sent_bytes > 0;
        end_all(s, XEV_ETIMEDOUT);
        start_timeout(s); /* for what the callbacks wrote meanwhile */
    } else if (result < 0 && result != XEV_ECANCELED && !s->one_by_one) {
        if (!s->broken) {
            s->broken = s->head->sent_bytes > 0;
            start_timeout(s); /* of the request behind it, which has not been tried yet */
            complete_head(s, result);
        }
        if (s->broken) {
            end_all(s, XEV_EPIPE);
        }
    } else if (result == 0 && s->head->kind != BYTES) {
        start_timeout(s); /* as above: no bytes have moved, but the queue has */
        complete_head(s, 0);
    }
    for (uint64_t left = result > 0 ? (uint64_t)result : 0; left > 0;) {
        xev_write_req *r = s->head;
        assert(r != NULL && r->kind == BYTES); /* the kernel takes no more than it was given */
        uint32_t want = r->len_bytes - r->sent_bytes;
        uint32_t got = left < want ? (uint32_t)left : want;
        left -= got;
        r->sent_bytes += got;
        s->queued_bytes -= got;
        s->sent_bytes += got;
        if (got == want) {
            complete_head(s, (int)r->len_bytes);
        }
    }
    for (bool drained = true; drained;) { /* the drain callback may cancel requests */
        while (s->sweep) {
            s->sweep = false;
            sweep_cancelled(s);
        }
        drained =
            s->full && s->queued_bytes <= s->low_bytes && !ends && !is_closing(s) && !loop->deinit;
        s->full &= !drained;
        if (drained && s->on_drain != NULL) {
            xev__count(&loop->count.callbacks, 1);
            s->on_drain(loop, s, s->drain_userdata);
            xev__check_fork(loop);
        }
    }
    if (is_closing(s)) {
        end_all(s, XEV_ECANCELED); /* these callbacks come before that of the close */
    }
    s->delivering = false;
    send_next(s);
    return XEV_DISARM;
}

static void enqueue(const char *call, xev_stream *s, xev_write_req *req, enum request_kind kind,
                    const void *buf, size_t len_bytes, void *userdata, xev_write_cb cb) {
    xev__check_thread(call, s->loop);
    if (xev__actives_have(s->loop, &req->place)) {
        xev__misuse(call, "the request is queued already", req);
    }
    *req = (xev_write_req){.buf = buf,
                           .len_bytes = (uint32_t)len_bytes,
                           .kind = (uint8_t)kind,
                           .queued = true,
                           .userdata = userdata,
                           .callback = cb};
    xev__actives_put(s->loop, &req->place);
    s->queued_bytes += len_bytes;
    assert(s->queued_bytes >= len_bytes && (s->head == NULL) == (s->tail == NULL));
    s->full |= s->queued_bytes > s->high_bytes;
    if (s->tail != NULL) {
        s->tail->next = req;
    } else {
        s->head = req;
        start_timeout(s);
    }
    s->tail = req;
    assert(s->head != NULL && s->tail->next == NULL);
    if (!s->socket) {
        xev__block_write_signals(s->loop);
    }
    if (s->in_flight == 0 && !s->delivering) {
        send_next(s);
    }
}

void xev_stream_write(xev_stream *s, xev_write_req *req, const void *buf, size_t len_bytes,
                      void *userdata, xev_write_cb cb) {
    const char *call = "xev_stream_write";
    if (s == NULL || req == NULL || cb == NULL || (buf == NULL && len_bytes > 0)) {
        xev__misuse(call, "stream, request, buffer or callback is null", req);
    }
    bool too_long = len_bytes > INT32_MAX;
    enum request_kind kind = len_bytes == 0 ? EMPTY : too_long ? TOO_LONG : BYTES;
    enqueue(call, s, req, kind, buf, too_long ? 0 : len_bytes, userdata, cb);
}

/* Whether nothing stands between a write and the kernel: no request of this queue, and no other
 * operation that writes to the descriptor. */
static bool stream_is_idle(const xev_stream *s, const struct xev__fd *e) {
    return s->head == NULL && s->in_flight == 0 && !s->delivering &&
           (e == NULL ||
            (e->head[XEV__WRITE] == NULL && (e->undelivered_result & xev__bit(XEV__WRITE)) == 0));
}

int xev_stream_try_write(xev_stream *s, const void *buf, size_t len_bytes) {
    const char *call = "xev_stream_try_write";
    if (s == NULL || (buf == NULL && len_bytes > 0)) {
        xev__misuse(call, "stream or buffer is null", s);
    }
    xev__check_thread(call, s->loop);
    const struct xev__fd *e = xev__fds_find(s->loop->fds, s->fd);
    if (e != NULL && e->closer != NULL) {
        return XEV_ECANCELED;
    }
    if (s->broken || len_bytes > INT32_MAX) {
        return s->broken ? XEV_EPIPE : XEV_EINVAL;
    }
    if (len_bytes == 0 || !s->socket || !stream_is_idle(s, e)) {
        return 0;
    }
    xev__count(&s->loop->count.syscalls, 1);
    int rc = xev__os_send(s->fd, buf, len_bytes);
    if (rc > 0) {
        s->sent_bytes += (uint64_t)rc;
    }
    return rc == XEV_EAGAIN ? 0 : rc;
}

void xev_stream_shutdown(xev_stream *s, xev_write_req *req, void *userdata, xev_write_cb cb) {
    const char *call = "xev_stream_shutdown";
    if (s == NULL || req == NULL || cb == NULL) {
        xev__misuse(call, "stream, request or callback is null", req);
    }
    enqueue(call, s, req, SHUTDOWN, NULL, 0, userdata, cb);
}

int xev_stream_cancel(xev_stream *s, xev_write_req *req) {
    if (s == NULL || req == NULL) {
        xev__misuse("xev_stream_cancel", "stream or request is null", req);
    }
    stream_check_thread("xev_stream_cancel", s);
    bool queued = is_queued(s, req);
    if (queued && req->sent_bytes > 0) {
        return XEV_EALREADY;
    }
    if (!queued || req->cancelled) {
        return XEV_ENOENT;
    }
    assert(req->queued && s->head != NULL && req->sent_bytes == 0);
    req->cancelled = true;
    s->sweep = true;
    /* Stop the send, so that the answer comes even where the peer never reads. The other requests
     * in it are sent again. While callbacks are being delivered there is no send. */
    if (s->in_flight > 0) {
        s->stopped |= xev__stop(s->loop, &s->send);
    }
    return 0;
}

uint64_t xev_stream_queued_bytes(const xev_stream *s) {
    xev__check_pointer("xev_stream_queued_bytes", "stream is null", s);
    stream_check_thread("xev_stream_queued_bytes", s);
    return s->queued_bytes;
}

int xev_stream_set_marks(xev_stream *s, uint64_t low_bytes, uint64_t high_bytes, void *userdata,
                         xev_stream_drain_cb on_drain) {
    xev__check_pointer("xev_stream_set_marks", "stream is null", s);
    stream_check_thread("xev_stream_set_marks", s);
    if (low_bytes > high_bytes) {
        return XEV_EINVAL;
    }
    s->low_bytes = low_bytes;
    s->high_bytes = high_bytes;
    s->drain_userdata = userdata;
    s->on_drain = on_drain;
    s->full = s->queued_bytes > high_bytes;
    return 0;
}

bool xev_stream_is_full(const xev_stream *s) {
    xev__check_pointer("xev_stream_is_full", "stream is null", s);
    stream_check_thread("xev_stream_is_full", s);
    return s->full;
}
