/* Reading: what arrives goes to the data handler straight from the loop's buffer. What the handler
 * leaves is copied to a block of its own, and shown again with what comes later.
 *
 * Where something is left and more arrives, the two are joined step by step: at first as many new
 * bytes as there are old ones, or as the handler said that it needs. As soon as the handler has
 * consumed what was left, it goes on in the loop's buffer. So of a stream of messages that are cut
 * at the buffer's end only those that are cut are copied.
 *
 * A pause is lazy: the receive goes on until something arrives. That is kept, and the receive ends.
 */
#include <string.h>

#include "conn/internal.h"
#include "xev/os/socket.h"

#define JOIN_MIN 512u
#define PIPE_STEP 32768u
#define READS_PER_TURN 16 /* of a transport */

/* ---- what is kept ---- */

void xev__conn_input_free(xev_conn *c) {
    struct xev__conn_more *m = c->more;
    if (m != NULL && m->in != NULL) {
        xev__block_put(c->service, m->in, m->in->block_bytes);
        m->in = NULL;
        m->need = 0;
    }
}

/* Room for len more bytes at the end of what is kept. */
static struct xev__conn_input *room_for(xev_conn *c, size_t len) {
    struct xev__conn_more *m = xev__conn_more(c);
    if (m == NULL) {
        return NULL;
    }
    struct xev__conn_input *in = m->in;
    size_t had = in != NULL ? in->len : 0, wanted = had + len > m->need ? had + len : m->need;
    if (in != NULL && in->room - in->start - in->len >= len && in->room - in->start >= m->need) {
        return in;
    }
    if (in != NULL && in->room >= wanted && in->start >= in->len) {
        memcpy(in->data, in->data + in->start, in->len); /* they do not overlap */
        in->start = 0;
        return in;
    }
    uint32_t bytes;
    struct xev__conn_input *to = xev__block_get(c->service, sizeof *to + wanted, &bytes);
    if (to == NULL) {
        return NULL;
    }
    to->start = 0;
    to->len = (uint32_t)had;
    to->block_bytes = bytes;
    to->room = bytes - (uint32_t)sizeof *to;
    if (in != NULL) {
        memcpy(to->data, in->data + in->start, had);
        xev__block_put(c->service, in, in->block_bytes);
    }
    m->in = to;
    return to;
}

bool xev__conn_keep(xev_conn *c, const void *data, size_t len_bytes) {
    struct xev__conn_input *before = c->more != NULL ? c->more->in : NULL;
    struct xev__conn_input *in = room_for(c, len_bytes);
    if (in == NULL) {
        if (xev__conn_is(c, XEV__CONN_DETACHING) && c->more != NULL) {
            c->more->lost_input = true;
        }
        xev__conn_close(c, XEV_CONN_NO_MEMORY, 0);
        return false;
    }
    memcpy(in->data + in->start + in->len, data, len_bytes);
    in->len += (uint32_t)len_bytes;
    assert(in->start + in->len <= in->room);
    if (before == NULL && !xev__conn_is(c, XEV__CONN_CLOSING)) {
        c->more->in_since = xev__conn_tick(c->service);
        xev__wheel_sooner(c);
    }
    return true;
}

bool xev__conn_copy_input(xev_conn *c, const struct xev__conn_input *from) {
    struct xev__conn_input *in = room_for(c, from->len);
    if (in != NULL) {
        memcpy(in->data, from->data + from->start, from->len);
        in->len = from->len;
    }
    return in != NULL;
}

/* The first bytes of what is kept are consumed. */
static void consume(xev_conn *c, size_t len) {
    struct xev__conn_input *in = c->more->in;
    assert(len <= in->len);
    in->start += (uint32_t)len;
    in->len -= (uint32_t)len;
    c->more->in_since = xev__conn_tick(c->service);
    if (in->len == 0) {
        xev__conn_input_free(c);
    }
}

static bool has_input(const xev_conn *c) { return c->more != NULL && c->more->in != NULL; }

/* What is kept will be presented again as it is: reading is held back, or goes on at the turn's
 * end. Else it is the beginning of something that is incomplete. */
static bool input_waits(const xev_conn *c) {
    return has_input(c) && xev__conn_is(c, XEV__CONN_BLOCKED | XEV__CONN_PUMP | XEV__CONN_WRITABLE);
}

void xev_conn_need(xev_conn *c, size_t len_bytes) {
    xev__conn_check_own("xev_conn_need", c);
    if (len_bytes > c->service->options.unconsumed_max_bytes) {
        xev__conn_close(c, XEV_CONN_INPUT_FULL, 0);
    } else if (xev__conn_more(c) != NULL) {
        c->more->need = (uint32_t)len_bytes;
    }
}

/* ---- to the handler ---- */

/* The handler reported an error, or consumed more than there is. */
static void refused(xev_conn *c, ptrdiff_t result) {
    if (result >= 0) {
        xev__conn_misuse("data handler", "it consumed more bytes than there are", c);
    }
    xev__conn_finish_for(c, XEV_CONN_PROTOCOL, result >= INT32_MIN ? (int)result : INT32_MIN);
}

/* The handler was called with data and reported n. Call it again while it consumes something.
 * Returns how much it consumed. */
static size_t present_rest(xev_conn *c, const uint8_t *data, size_t len, ptrdiff_t n) {
    size_t at = 0;
    for (;;) {
        if ((size_t)n > len - at) {
            refused(c, n);
            return len;
        }
        at += (size_t)n;
        if (n == 0 || at == len || xev__conn_is(c, XEV__CONN_BLOCKED | XEV__CONN_PIPED)) {
            return at;
        }
        n = c->handlers->data(c, data + at, len - at);
    }
}

static size_t present(xev_conn *c, const uint8_t *data, size_t len) {
    xev__note_call(c->service->loop, XEV__CODE(c->handlers->data));
    return present_rest(c, data, len, c->handlers->data(c, data, len));
}

/* Input is of no use any more. */
static bool drops_input(const xev_conn *c) {
    return xev__conn_is(c, XEV__CONN_FINISHING) ||
           (xev__conn_is(c, XEV__CONN_CLOSING) && !xev__conn_is(c, XEV__CONN_DETACHING));
}

/* Of data in the loop's buffer, with nothing kept before it, used bytes were consumed. */
static void keep_rest(xev_conn *c, const uint8_t *data, size_t len, size_t used) {
    if (used < len && !drops_input(c)) {
        (void)xev__conn_keep(c, data + used, len - used);
    }
}

static void present_loan(xev_conn *c, const uint8_t *data, size_t len) {
    keep_rest(c, data, len, present(c, data, len));
}

/* Data in the loop's buffer, behind what is kept. */
static void join(xev_conn *c, const uint8_t *data, size_t len) {
    while (len > 0) {
        struct xev__conn_more *m = c->more;
        size_t before = m->in->len;
        size_t step = m->need > before ? m->need - before : before > JOIN_MIN ? before : JOIN_MIN;
        step = step < len ? step : len;
        if (!xev__conn_keep(c, data, step)) {
            return;
        }
        size_t used = 0;
        if (m->in->len >= m->need) {
            m->need = 0;
            used = present(c, m->in->data + m->in->start, m->in->len);
        }
        if (drops_input(c)) {
            return;
        }
        if (used >= before) {
            xev__conn_input_free(c);
            data += used - before;
            len -= used - before;
            if (len > 0 && xev__conn_is(c, XEV__CONN_BLOCKED | XEV__CONN_PIPED)) {
                (void)xev__conn_keep(c, data, len);
            } else if (len > 0) {
                present_loan(c, data, len);
            }
            return;
        }
        if (used > 0) {
            consume(c, used);
        }
        data += step;
        len -= step;
        if (len > 0 && xev__conn_is(c, XEV__CONN_BLOCKED | XEV__CONN_PIPED)) {
            (void)xev__conn_keep(c, data, len);
            return;
        }
    }
}

static void check_limit(xev_conn *c) {
    if (has_input(c) && !xev__conn_is(c, XEV__CONN_BLOCKED | XEV__CONN_PIPED) &&
        c->more->in->len > c->service->options.unconsumed_max_bytes) {
        xev__conn_close(c, XEV_CONN_INPUT_FULL, 0);
    }
}

static void check_drained(xev_conn *c) {
    if (xev__conn_is(c, XEV__CONN_DRAINING) && c->more->drain_left == 0 &&
        !xev__conn_is(c, XEV__CONN_CLOSING | XEV__CONN_FINISHING | XEV__CONN_BUSY) &&
        !input_waits(c)) {
        xev__conn_finish_for(c, XEV_CONN_ENDED, 0);
    }
}

/* Its first input was handled: a drain that has waited for that begins. */
static void check_first(xev_conn *c) {
    if (xev__conn_is(c, XEV__CONN_FRESH) && !has_input(c)) {
        xev__conn_clear(c, XEV__CONN_FRESH);
        if (c->service->draining) {
            xev_conn_drain(c);
        }
    }
}

/* Something arrives that is not simply the handler's. */
static void arrived_rare(xev_conn *c, const uint8_t *data, size_t len) {
    if (drops_input(c)) {
        return;
    }
    if (xev__conn_is(c, XEV__CONN_DRAINING) && c->more->drain_left > 0) {
        int64_t left = c->more->drain_left - (int64_t)len;
        c->more->drain_left = left > 0 ? left : 0;
    }
    if (xev__conn_is(c, XEV__CONN_PIPED) && !has_input(c)) {
        xev__pipe_data(c, data, len);
    } else if (xev__conn_is(c, XEV__CONN_BLOCKED | XEV__CONN_PIPED)) {
        (void)xev__conn_keep(c, data, len);
    } else {
        xev__conn_enter(c, data, len);
        if (has_input(c)) {
            join(c, data, len);
        } else {
            present_loan(c, data, len);
        }
        xev__conn_leave(c);
        check_limit(c);
        check_first(c);
        check_drained(c);
    }
}

/* Something arrives at a connection that is not idle, or of which not all was consumed before. */
static void arrived(xev_conn *c, const uint8_t *data, size_t len) {
    c->service->count.bytes_in += len;
    if (!xev__conn_is(c, XEV__CONN_CLOSING)) {
        c->active_tick = xev__conn_tick(c->service);
    }
    if (xev__conn_is(c, XEV__CONN_RARE)) {
        arrived_rare(c, data, len);
        return;
    }
    xev__conn_enter(c, data, len);
    if (has_input(c)) {
        join(c, data, len);
    } else {
        if (c->more != NULL) {
            c->more->need = 0;
        }
        present_loan(c, data, len);
    }
    xev__conn_leave(c);
    if (c->more != NULL) {
        check_limit(c);
        xev__conn_trim(c);
    }
}

/* Something arrives at an idle connection. As a rule the handler consumes all of it, what it writes
 * goes out whole, and nothing is left to do. */
static inline void arrived_idle(xev_loop *loop, xev_conn *c, const uint8_t *data, size_t len) {
    xev_conn_service *s = c->service;
    assert(c->more == NULL && !xev__conn_is(c, XEV__CONN_RARE));
    s->count.bytes_in += len;
    c->active_tick = xev__conn_tick(s);
    xev__conn_enter(c, data, len);
    xev__note_call(loop, XEV__CODE(c->handlers->data));
    ptrdiff_t n = c->handlers->data(c, data, len);
    if (n != (ptrdiff_t)len) {
        keep_rest(c, data, len, present_rest(c, data, len, n));
    }
    xev__conn_leave(c);
    if (c->more != NULL) {
        check_limit(c);
        xev__conn_trim(c);
    }
}

/* ---- the peer's end ---- */

static void tell_ended(xev_conn *c) {
    assert(xev__conn_is(c, XEV__CONN_EOF) && !xev__conn_is(c, XEV__CONN_EOF_TOLD));
    c->flags |= XEV__CONN_EOF_TOLD;
    xev__conn_enter(c, NULL, 0);
    if (c->handlers->ended != NULL) {
        c->handlers->ended(c);
    } else {
        xev__conn_finish_for(c, XEV_CONN_ENDED, 0);
    }
    xev__conn_leave(c);
    xev__conn_push(c); /* what ends now need not wait for the turn's end */
    xev__conn_check_end(c);
}

/* The end of the input, where nothing is left to present before it. */
static void end_of_input(xev_conn *c) {
    if (xev__conn_is(c, XEV__CONN_CLOSING | XEV__CONN_EOF_TOLD | XEV__CONN_MOVING)) {
        return;
    }
    if (xev__conn_is(c, XEV__CONN_PIPED)) {
        if (!has_input(c)) {
            c->flags |= XEV__CONN_EOF_TOLD;
            xev__pipe_ended(c);
            xev__conn_check_end(c);
        }
    } else if (xev__conn_is(c, XEV__CONN_FINISHING)) {
        xev__conn_check_end(c);
    } else if (!input_waits(c) && (c->handlers->ended != NULL || !xev__conn_is(c, XEV__CONN_BUSY) ||
                                   xev__conn_awaits(c))) {
        tell_ended(c);
    }
}

/* The receive ended with a code. stopped: it was to end. */
static void ended(xev_conn *c, int result, bool stopped) {
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        return;
    }
    if (result == XEV_EOF) {
        c->flags |= XEV__CONN_EOF;
        end_of_input(c);
    } else if (result != XEV_ECANCELED) {
        xev__conn_close(c, XEV_CONN_FAILED, result);
    } else if (!stopped) {
        xev__conn_close(c, XEV_CONN_LOOP_ENDED, 0);
    }
}

/* ---- the receive ---- */

static bool wants_input(const xev_conn *c) {
    if (xev__conn_is(c, XEV__CONN_CLOSING | XEV__CONN_EOF | XEV__CONN_OPENING |
                            XEV__CONN_CONNECTING | XEV__CONN_MOVING)) {
        return false;
    }
    if (xev__conn_is(c, XEV__CONN_FINISHING) || (c->more != NULL && c->more->send_waits)) {
        return true;
    }
    if (xev__conn_is(c, XEV__CONN_PIPED)) {
        return xev__pipe_open(c);
    }
    return !xev__conn_is(c, XEV__CONN_BLOCKED) &&
           !(xev__conn_is(c, XEV__CONN_DRAINING) && c->more->drain_left <= 0);
}

/* How much the kernel holds of what is still to be handled. */
static void measure_drain(xev_conn *c) {
    int unread = xev__conn_is(c, XEV__CONN_EOF) ? 0 : xev__os_unread_bytes(c->fd);
    c->more->drain_left = unread > 0 ? unread : 0;
    if (xev__conn_is(c, XEV__CONN_TRANSPORT) && !xev__conn_is(c, XEV__CONN_EOF)) {
        c->more->drain_left += XEV__CONN_SCRATCH; /* what it may hold; less where it has no more */
        c->more->recv_again = true;
    }
    check_drained(c);
}

static void recv_ended(xev_conn *c, int result) {
    bool stopped = xev__conn_is(c, XEV__CONN_STOPPING);
    xev__conn_clear(c, XEV__CONN_READING | XEV__CONN_STOPPING);
    ended(c, result, stopped);
    if (!xev__conn_is(c, XEV__CONN_CLOSING)) {
        if (xev__conn_is(c, XEV__CONN_DRAINING) && c->more->drain_left < 0) {
            measure_drain(c);
        }
        xev__conn_read(c);
    }
}

static xev_cb_action on_recv(xev_loop *loop, xev_completion *k, int result, void *userdata) {
    xev_conn *c = userdata;
    assert(xev_completion_more(k) == (result > 0)); /* the receive is a repeated one */
    (void)k;
    if (result <= 0) {
        recv_ended(c, result);
        return XEV_DISARM;
    }
    if (c->more == NULL && !xev__conn_is(c, XEV__CONN_RARE)) {
        arrived_idle(loop, c, xev__loan(loop), (size_t)result);
    } else {
        arrived(c, xev__loan(loop), (size_t)result);
    }
    if (!xev__conn_is(c, XEV__CONN_RARE) || wants_input(c)) {
        return XEV_REARM;
    }
    c->flags |= XEV__CONN_STOPPING;
    return XEV_DISARM;
}

/* A transport may hold data for which the descriptor does not become readable: so it is waited for
 * only after XEV_EAGAIN. That is the end of a drain's data, too. False: enough for this turn. */
static bool recv_transport(xev_conn *c) {
    xev_conn_service *s = c->service;
    struct xev__conn_more *m = c->more;
    int rc = m->transport->recv(c, m->transport_state, s->read_scratch, XEV__CONN_SCRATCH);
    m->recv_again = rc > 0;
    m->send_waits = false;
    if (rc > 0) {
        arrived(c, s->read_scratch, (size_t)rc);
        return true;
    }
    if (rc != XEV_EAGAIN) {
        ended(c, rc == 0 ? XEV_EOF : rc, false);
    }
    if (xev__conn_is(c, XEV__CONN_DRAINING)) {
        m->drain_left = 0;
        check_drained(c);
    }
    return false;
}

static void read_transport(xev_conn *c) {
    bool waited = c->more->send_waits;
    for (int i = 0; i < READS_PER_TURN && wants_input(c) && recv_transport(c); i++) {
    }
    if (waited && !c->more->send_waits && !xev__conn_is(c, XEV__CONN_CLOSING)) {
        xev__conn_push(c);
    }
}

static xev_cb_action on_readable(xev_loop *loop, xev_completion *k, int result, void *userdata) {
    xev_conn *c = userdata;
    (void)loop;
    (void)k;
    xev__conn_clear(c, XEV__CONN_READING | XEV__CONN_STOPPING);
    if (result < 0) {
        ended(c, result, false);
        return XEV_DISARM;
    }
    read_transport(c);
    xev__conn_read(c);
    return XEV_DISARM;
}

void xev__conn_read(xev_conn *c) {
    if (!wants_input(c)) {
        xev__wheel_deaf(c);
        return;
    }
    if (xev__conn_is(c, XEV__CONN_TRANSPORT) && c->more->recv_again) {
        xev__conn_due(c, XEV__CONN_PUMP);
        return;
    }
    if (xev__conn_is(c, XEV__CONN_READING)) {
        return;
    }
    c->flags |= XEV__CONN_READING;
    if (xev__conn_is(c, XEV__CONN_TRANSPORT)) {
        xev_fd_poll(c->fd, c->service->loop, xev__conn_recv(c), XEV_POLL_IN, c, on_readable);
    } else {
        xev_tcp_recv_multi(xev_tcp_from_fd(c->fd), c->service->loop, xev__conn_recv(c), c, on_recv);
    }
}

void xev__conn_pump(xev_conn *c) {
    if (c->more != NULL && c->more->drain_waits && !xev__conn_is(c, XEV__CONN_BUSY)) {
        c->more->drain_waits = false;
        xev_conn_drain(c);
    }
    if (xev__conn_is(c, XEV__CONN_CLOSING | XEV__CONN_CONNECTING)) {
        return;
    }
    if (xev__conn_is(c, XEV__CONN_FINISHING)) {
        xev__conn_input_free(c);
        xev__conn_check_end(c);
    } else if (has_input(c) && xev__conn_is(c, XEV__CONN_PIPED)) {
        while (has_input(c) && xev__conn_is(c, XEV__CONN_PIPED) && xev__pipe_open(c)) {
            struct xev__conn_input *in = c->more->in;
            size_t len = in->len < PIPE_STEP ? in->len : PIPE_STEP;
            xev__pipe_data(c, in->data + in->start, len);
            consume(c, len);
        }
    } else if (has_input(c) && !xev__conn_is(c, XEV__CONN_BLOCKED)) {
        struct xev__conn_more *m = c->more;
        m->in_since = xev__conn_tick(c->service);
        if (m->in->len >= m->need) {
            m->need = 0;
            xev__conn_enter(c, NULL, 0);
            size_t used = present(c, m->in->data + m->in->start, m->in->len);
            xev__conn_leave(c);
            if (used > 0) {
                consume(c, used);
            }
            check_first(c);
        }
        check_limit(c);
    }
    if (xev__conn_is(c, XEV__CONN_TRANSPORT) && c->more->recv_again) {
        read_transport(c);
    }
    check_drained(c);
    if (xev__conn_is(c, XEV__CONN_EOF)) {
        end_of_input(c);
    }
    xev__conn_read(c);
    xev__wheel_sooner(c);
    xev__conn_trim(c);
}

void xev_conn_pause(xev_conn *c) {
    xev__conn_check_own("xev_conn_pause", c);
    c->flags |= XEV__CONN_PAUSED;
}

void xev_conn_resume(xev_conn *c) {
    xev__conn_check_own("xev_conn_resume", c);
    if (xev__conn_is(c, XEV__CONN_PAUSED)) {
        xev__conn_clear(c, XEV__CONN_PAUSED);
        xev__conn_due(c, XEV__CONN_PUMP);
    }
}

void xev__conn_hold(xev_conn *c) {
    assert(c->more != NULL && c->more->slots > 0 && !c->more->held);
    c->more->held = true;
    c->flags |= XEV__CONN_SLOTS;
}

void xev__conn_unhold(xev_conn *c) {
    assert(c->more != NULL && c->more->slots > 0 && c->more->held);
    c->more->held = false;
    if (c->more->slots < c->service->options.slots_max) {
        xev__conn_clear(c, XEV__CONN_SLOTS);
        xev__conn_due(c, XEV__CONN_PUMP);
    }
}

void xev__conn_hold_output(xev_conn *c) {
    assert(xev_conn_queued_bytes(c) > 0);
    c->flags |= XEV__CONN_FULL;
}

/* ---- drain ---- */

static xev_cb_action on_cancelled(xev_loop *loop, xev_completion *k, int result, void *userdata) {
    (void)loop;
    (void)result;
    xev__block_put(userdata, k, (uint32_t)xev__block_size(sizeof *k));
    return XEV_DISARM;
}

void xev_conn_set_busy(xev_conn *c, bool busy) {
    xev__conn_check_own("xev_conn_set_busy", c);
    if (busy) {
        c->flags |= XEV__CONN_BUSY;
    } else if (xev__conn_is(c, XEV__CONN_BUSY)) {
        xev__conn_clear(c, XEV__CONN_BUSY);
        if ((xev__conn_is(c, XEV__CONN_DRAINING | XEV__CONN_EOF) ||
             (c->more != NULL && c->more->drain_waits)) &&
            !xev__conn_is(c, XEV__CONN_CLOSING)) {
            xev__conn_due(c, XEV__CONN_PUMP);
        }
    }
}

void xev__conn_start_drain(xev_conn *c) {
    xev_conn_service *s = c->service;
    if (xev__conn_more(c) == NULL) {
        xev__conn_finish_for(c, XEV_CONN_ENDED, 0);
        return;
    }
    c->flags |= XEV__CONN_DRAINING;
    c->more->drain_left = -1;
    if (!xev__conn_is(c, XEV__CONN_READING) || xev__conn_is(c, XEV__CONN_TRANSPORT)) {
        measure_drain(c);
        xev__conn_due(c, XEV__CONN_PUMP);
        return;
    }
    uint32_t bytes;
    xev_completion *k = xev__block_get(s, sizeof *k, &bytes);
    if (k == NULL) {
        xev__conn_finish_for(c, XEV_CONN_ENDED, 0);
        return;
    }
    /* What the receive has by now is reported before it ends; then the kernel's part is known. */
    xev_completion_zero(k);
    c->flags |= XEV__CONN_STOPPING;
    xev_cancel(s->loop, xev__conn_recv(c), k, s, on_cancelled);
}
