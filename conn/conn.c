/* The states of a connection: its beginning, its end in order and at once, and what is between.
 *
 *     OPENING --turn's end--> open --finish, the peer's end, a deadline--> FINISHING
 *     open, FINISHING --both directions have ended, abort, error, limit--> CLOSING
 *     CLOSING --the loop has closed the descriptor--> closed handler, no longer LIVE
 *
 * CLOSING is entered once (xev__conn_close) and left once (xev__conn_gone). The close of the loop
 * cancels the receive and the send, so their last callbacks come before xev__conn_gone.
 */
#include <string.h>

#include "conn/internal.h"
#include "conn/move.h"
#include "xev/os/probe.h"
#include "xev/os/socket.h"

/* ---- parts ---- */

struct xev__conn_more *xev__conn_more(xev_conn *c) {
    if (c->more == NULL) {
        uint32_t bytes;
        struct xev__conn_more *m = xev__block_get(c->service, sizeof *m, &bytes);
        if (m == NULL) {
            return NULL;
        }
        *m = (struct xev__conn_more){.write_fd = XEV_INVALID_FD};
        c->more = m;
    }
    return c->more;
}

void xev__conn_trim(xev_conn *c) {
    struct xev__conn_more *m = c->more;
    const uint32_t keeps = XEV__CONN_PIPED | XEV__CONN_TRANSPORT | XEV__CONN_CONNECTING |
                           XEV__CONN_DRAINING | XEV__CONN_CLOSING | XEV__CONN_MOVING;
    if (m != NULL && m->in == NULL && m->out == NULL && m->slots == 0 && !m->outgoing &&
        m->code == 0 && !m->own_deadlines && !xev__conn_is(c, keeps)) {
        xev__block_put(c->service, m, (uint32_t)xev__block_size(sizeof *m));
        c->more = NULL;
    }
}

/* ---- beginning ---- */

int xev_conn_adopt(xev_conn_service *s, xev_fd fd, xev_conn **conn) {
    xev__conn_check_service("xev_conn_adopt", s);
    int code = XEV_EBADF;
    xev_conn *c = fd >= 0 ? xev__conn_new(s, &code) : NULL;
    if (conn != NULL) {
        *conn = c;
    }
    if (c == NULL) {
        return code;
    }
    c->fd = fd;
    c->flags |= XEV__CONN_FRESH;
    xev__conn_due(c, XEV__CONN_OPENING);
    return 0;
}

void *xev_conn_user(xev_conn *c) {
    xev__conn_check("xev_conn_user", c);
    return c + 1;
}

xev_conn_service *xev_conn_service_of(const xev_conn *c) {
    xev__conn_check("xev_conn_service_of", c);
    return c->service;
}

xev_fd xev_conn_fd(const xev_conn *c) {
    xev__conn_check_own("xev_conn_fd", c);
    xev__conn_settle(c); /* the caller may write to it */
    return c->fd;
}

uint32_t xev_conn_number(const xev_conn *c) {
    xev__conn_check_own("xev_conn_number", c);
    return c->number;
}

void xev_conn_set_handlers(xev_conn *c, const xev_conn_handlers *handlers) {
    xev__conn_check_own("xev_conn_set_handlers", c);
    if (handlers == NULL || handlers->data == NULL) {
        xev__conn_misuse("xev_conn_set_handlers", "handlers or data handler is null", c);
    }
    c->handlers = handlers;
}

int xev_conn_set_deadlines(xev_conn *c, const xev_conn_deadlines *deadlines) {
    xev__conn_check_own("xev_conn_set_deadlines", c);
    xev__conn_check("xev_conn_set_deadlines", deadlines);
    struct xev__conn_more *m = xev__conn_more(c);
    if (m == NULL) {
        return XEV_ENOMEM;
    }
    m->own_deadlines = true;
    m->deadlines = *deadlines;
    xev__wheel_sooner(c);
    return 0;
}

/* ---- the end: closing ---- */

/* A completion for a close, which may linger and so takes a whole one. NULL: later. */
static xev_completion *take_completion(xev_conn_service *s) {
    uint32_t bytes;
    xev_completion *k = xev__block_get(s, sizeof *k, &bytes);
    if (k == NULL && !s->spare_used) {
        s->spare_used = true;
        k = &s->spare;
    }
    if (k != NULL) {
        xev_completion_zero(k);
    }
    return k;
}

static void put_completion(xev_conn_service *s, xev_completion *k) {
    if (k == &s->spare) {
        s->spare_used = false;
    } else {
        xev__block_put(s, k, (uint32_t)xev__block_size(sizeof *k));
    }
    if (s->waiting_close != 0) {
        xev_conn *next = xev__conn_at(s, s->waiting_close - 1);
        s->waiting_close = next->wheel_next;
        next->wheel_next = 0;
        xev__conn_start_close(next);
    }
}

static xev_cb_action on_conn_closed(xev_loop *loop, xev_completion *k, int result, void *userdata) {
    xev_conn *c = userdata;
    (void)result;
    assert(xev__conn_is(c, XEV__CONN_CLOSING) && !xev__conn_is(c, XEV__CONN_READING));
    struct xev__conn_more *m = c->more;
    if (m != NULL && m->write_fd != XEV_INVALID_FD) {
        xev_fd fd = m->write_fd;
        m->write_fd = XEV_INVALID_FD;
        xev_fd_close(fd, loop, k, c, on_conn_closed);
        return XEV_DISARM;
    }
    put_completion(c->service, k);
    if (!xev__conn_is(c, XEV__CONN_DETACHING)) {
        c->fd = XEV_INVALID_FD;
    }
    xev__conn_gone(c);
    return XEV_DISARM;
}

static xev_conn_reason reason_of(const xev_conn *c) {
    return (xev_conn_reason)(c->flags >> XEV__CONN_REASON_SHIFT);
}

/* A peer must not take a stream that lacks something for one that has ended. */
static bool lacks_output(const xev_conn *c) {
    return !xev__conn_is(c, XEV__CONN_OUTPUT_ENDED) &&
           (xev__conn_out(c) != NULL ||
            (reason_of(c) == XEV_CONN_LOOP_ENDED && xev__conn_is(c, XEV__CONN_BUSY)));
}

void xev__conn_reset_or_end(const xev_conn *c) {
    xev_conn_reason reason = reason_of(c);
    if (reason == XEV_CONN_ABORTED || reason == XEV_CONN_WRITE_LATE ||
        reason == XEV_CONN_OUTPUT_FULL || reason == XEV_CONN_NO_MEMORY ||
        reason == XEV_CONN_TOTAL_FULL || reason == XEV_CONN_PIPE_BROKEN ||
        reason == XEV_CONN_FAILED || lacks_output(c)) {
        (void)xev__os_set_linger(c->fd, true, 0); /* not a socket: nothing to reset */
    }
}

void xev__conn_start_close(xev_conn *c) {
    xev_conn_service *s = c->service;
    xev_completion *k = take_completion(s);
    if (k == NULL) {
        c->wheel_next = s->waiting_close;
        s->waiting_close = c->number + 1;
        return;
    }
    if (xev__conn_is(c, XEV__CONN_DETACHING)) {
        xev__release(s->loop, k, c->fd, c, on_conn_closed);
        return;
    }
    xev__conn_reset_or_end(c);
    xev_fd_close(c->fd, s->loop, k, c, on_conn_closed);
}

void xev__conn_close(xev_conn *c, xev_conn_reason reason, int code) {
    xev__conn_settle(c); /* it may find out that the connection is broken */
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        return;
    }
    assert(xev__conn_is(c, XEV__CONN_LIVE));
    if (reason == XEV_CONN_FAILED && code == XEV_ENOMEM) {
        reason = XEV_CONN_NO_MEMORY; /* the loop's or the system's; the peer has broken nothing */
    }
    if (reason_of(c) != XEV_CONN_ENDED) {
        reason = reason_of(c); /* it was to end in order, for that */
        code = c->more != NULL ? c->more->code : 0;
    }
    xev__wheel_leave(c);
    c->flags |= XEV__CONN_CLOSING | (uint32_t)reason << XEV__CONN_REASON_SHIFT;
    c->code = code;
    if (xev__conn_is(c, XEV__CONN_PIPED)) {
        c->flags |= XEV__CONN_BUSY; /* what the other one has not read yet is lacking */
        xev__pipe_break(c, reason, code);
    }
    if (c->service->loop->ops == NULL) {
        return; /* the service is being freed, and does the rest */
    }
    if (xev__conn_is(c, XEV__CONN_CONNECTING)) {
        xev__connect_stop(c);
    } else if (c->fd == XEV_INVALID_FD) {
        xev__conn_due(c, 0); /* closed is called then */
    } else if (xev__conn_is(c, XEV__CONN_MOVING) && c->more->move->releasing) {
        /* The loop is about to let go of the descriptor; the close follows. */
    } else {
        xev__conn_start_close(c);
    }
}

static void tell_detached(xev_conn *c) {
    struct xev__conn_more *m = c->more;
    xev_conn_detach_fn fn = m->detached;
    m->detached = NULL;
    if (m->lost_input || !xev__conn_is(c, XEV__CONN_DETACHING)) {
        (void)xev_tcp_close_now(xev_tcp_from_fd(c->fd));
        fn(XEV_INVALID_FD, NULL, 0, m->detached_userdata);
        c->flags = (c->flags & ((1u << XEV__CONN_REASON_SHIFT) - 1)) |
                   (uint32_t)XEV_CONN_NO_MEMORY << XEV__CONN_REASON_SHIFT;
        return;
    }
    xev__conn_backlog_limit(c, false);
    const struct xev__conn_input *in = m->in;
    fn(c->fd, in != NULL ? in->data + in->start : NULL, in != NULL ? in->len : 0,
       m->detached_userdata);
}

void xev__conn_gone(xev_conn *c) {
    xev_conn_service *s = c->service;
    assert(xev__conn_is(c, XEV__CONN_CLOSING) && xev__conn_is(c, XEV__CONN_LIVE));
    assert(c->due_tick == 0 && s->current != c);
    struct xev__conn_more *m = c->more;
    xev__conn_output_free(c);
    if (xev__conn_is(c, XEV__CONN_MOVING)) {
        xev__conn_stay(c);
    }
    if (m != NULL && m->detached != NULL) {
        tell_detached(c);
    }
    if (m != NULL && m->transport != NULL && m->transport->close != NULL) {
        m->transport->close(c, m->transport_state);
    }
    if (m != NULL && m->upstream != NULL) {
        xev__upstream_gone(c);
    }
    c->fd = XEV_INVALID_FD;
    xev_conn_reason reason = reason_of(c);
    s->count.closed[reason]++;
    XEV__PROBE3(conn__closed, c, (int)reason, (int)c->code);
    if (c->handlers->closed != NULL) {
        c->handlers->closed(c, reason, c->code);
    }
    bool counts = !xev__conn_is_given_up(c);
    if (counts) {
        xev__conn_account(c, false);
    }
    xev__conn_input_free(c);
    if (m != NULL) {
        xev__connect_free(c);
        assert(m->out == NULL && m->in == NULL);
        xev__block_put(s, m, (uint32_t)xev__block_size(sizeof *m));
        c->more = NULL;
    }
    if (counts) {
        xev__conn_count(s, -1);
    }
    c->generation++;
    c->flags &= XEV__CONN_DUE;
    xev__conn_recycle(c);
}

/* ---- the end: in order ---- */

void xev__conn_check_end(xev_conn *c) {
    if (xev__conn_is(c, XEV__CONN_OUTPUT_ENDED) && xev__conn_is(c, XEV__CONN_EOF) &&
        xev__conn_is(c, XEV__CONN_EOF_TOLD | XEV__CONN_FINISHING)) {
        xev__conn_close(c, XEV_CONN_ENDED, 0);
    }
}

void xev__conn_finish_for(xev_conn *c, xev_conn_reason reason, int code) {
    if (xev__conn_is(c, XEV__CONN_CLOSING | XEV__CONN_FINISHING)) {
        return;
    }
    if (xev__conn_is(c, XEV__CONN_CONNECTING) && reason != XEV_CONN_ENDED) {
        xev__conn_close(c, reason, code);
        return;
    }
    if (xev__conn_is(c, XEV__CONN_PIPED)) {
        xev_conn *peer = c->more->peer;
        xev__conn_clear(c, XEV__CONN_PIPED);
        xev__conn_clear(peer, XEV__CONN_PIPED);
        c->more->peer = peer->more->peer = NULL;
        xev__conn_finish_for(peer, XEV_CONN_ENDED, 0);
    }
    c->flags |=
        XEV__CONN_FINISHING | XEV__CONN_END_OUTPUT | (uint32_t)reason << XEV__CONN_REASON_SHIFT;
    c->opened_tick = xev__conn_tick(c->service);
    if (code != 0 && xev__conn_more(c) != NULL) {
        c->more->code = code;
    }
    xev__conn_due(c, XEV__CONN_PUMP);
}

void xev_conn_finish(xev_conn *c) {
    xev__conn_check_own("xev_conn_finish", c);
    xev__conn_finish_for(c, XEV_CONN_ENDED, 0);
}

void xev_conn_end_output(xev_conn *c) {
    xev__conn_check_own("xev_conn_end_output", c);
    if (!xev__conn_is(c, XEV__CONN_MUTE)) {
        c->flags |= XEV__CONN_END_OUTPUT;
        xev__conn_due(c, 0);
    }
}

void xev_conn_drain(xev_conn *c) {
    xev__conn_check_own("xev_conn_drain", c);
    if (xev__conn_is(c, XEV__CONN_CLOSING | XEV__CONN_FINISHING | XEV__CONN_PIPED |
                            XEV__CONN_DRAINING)) {
        return;
    }
    if (c->more != NULL && c->more->upstream != NULL &&
        c->more->upstream_role != XEV__UPSTREAM_USE) {
        xev__conn_close(c, XEV_CONN_ENDED, 0); /* nobody's */
    } else if (xev__conn_awaits(c)) {
        c->more->drain_waits = true;
    } else if (xev__conn_is(c, XEV__CONN_CONNECTING)) {
        xev__conn_finish_for(c, XEV_CONN_ENDED, 0);
    } else {
        xev__conn_start_drain(c);
    }
}

void xev_conn_abort(xev_conn *c) {
    xev__conn_check_own("xev_conn_abort", c);
    if (!xev__conn_is(c, XEV__CONN_CLOSING)) {
        c->flags &= (1u << XEV__CONN_REASON_SHIFT) - 1; /* it no longer ends in order */
        xev__conn_close(c, XEV_CONN_ABORTED, 0);
    }
}

int xev_conn_detach(xev_conn *c, void *userdata, xev_conn_detach_fn fn) {
    xev__conn_check_own("xev_conn_detach", c);
    if (fn == NULL) {
        xev__conn_misuse("xev_conn_detach", "function is null", c);
    }
    xev__conn_settle(c); /* what the socket does not take is output */
    if (xev__conn_is(c, XEV__CONN_MUTE | XEV__CONN_FINISHING)) {
        return XEV_EPIPE;
    }
    if (xev__conn_is(c, XEV__CONN_TRANSPORT)) {
        return XEV_ENOTSUP;
    }
    xev_conn_service *s = c->service;
    if (s->current == c && s->pieces > 0) {
        xev__conn_flush(c);
    }
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        return XEV_EPIPE;
    }
    if (xev__conn_is(c, XEV__CONN_PIPED | XEV__CONN_CONNECTING | XEV__CONN_MOVING) ||
        xev__conn_out(c) != NULL) {
        return XEV_EBUSY;
    }
    struct xev__conn_more *m = xev__conn_more(c);
    if (m == NULL) {
        return XEV_ENOMEM;
    }
    m->detached = fn;
    m->detached_userdata = userdata;
    c->flags |= XEV__CONN_DETACHING;
    xev__conn_close(c, XEV_CONN_DETACHED, 0);
    return 0;
}
