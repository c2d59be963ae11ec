/* Writing: sent inside the call where nothing is queued; gathered while the connection's own
 * handler runs; queued where the kernel takes no more.
 *
 * The queue is a list of segments. A segment's bytes are in the kernel's hands, or are sent by
 * xev__conn_push: a system call on the spot, then an operation of the loop for what did not fit.
 *
 * What a handler writes is copied to a scratch buffer of the service, unless it is part of the data
 * that was presented: that stays as it is until the handler returns. So an echo copies nothing.
 */
#include <string.h>

#include "conn/internal.h"
#include "xev/os/socket.h"

#define SEG_ROOM_MAX (16u * 1024 - (uint32_t)sizeof(xev_conn_slot))
#define SEG_ROOM_MIN (256u - (uint32_t)sizeof(xev_conn_slot))

/* ---- segments ---- */

xev_conn_slot *xev__seg_new(xev_conn_service *s, enum xev__seg_kind kind, size_t room) {
    uint32_t bytes;
    xev_conn_slot *seg = xev__block_get(s, sizeof *seg + room, &bytes);
    if (seg != NULL) {
        *seg = (xev_conn_slot){.kind = (uint8_t)kind, .block_bytes = bytes, .service = s};
        seg->data = (const uint8_t *)(seg + 1);
        seg->room = kind == XEV__SEG_COPY ? bytes - (uint32_t)sizeof *seg : 0;
        seg->file = XEV_INVALID_FD;
    }
    return seg;
}

void xev__conn_append(struct xev__conn_output *out, xev_conn_slot *seg) {
    seg->next = NULL;
    if (out->tail != NULL) {
        out->tail->next = seg;
    } else {
        out->head = seg;
    }
    out->tail = seg;
}

static void drop_head(xev_conn *c, struct xev__conn_output *out) {
    xev_conn_slot *seg = out->head;
    out->head = seg->next;
    out->tail = out->head != NULL ? out->tail : NULL;
    if (seg->kind == XEV__SEG_LENT || seg->kind == XEV__SEG_FILE) {
        xev__conn_release_later(c->service, seg);
    } else {
        xev__block_put(c->service, seg, seg->block_bytes);
    }
}

static bool new_output(xev_conn *c) {
    uint32_t bytes;
    struct xev__conn_output *out = xev__block_get(c->service, sizeof *out, &bytes);
    if (out != NULL) {
        memset(out, 0, sizeof *out);
        xev_completion_zero(&out->send);
        out->since_tick = xev__conn_tick(c->service);
    }
    c->more->out = out;
    return out != NULL;
}

struct xev__conn_output *xev__conn_make_output(xev_conn *c) {
    xev_conn_service *s = c->service;
    xev__conn_settle(c);
    if (s->current == c && s->pieces > 0) {
        xev__conn_flush(c);
    }
    struct xev__conn_more *m = xev__conn_more(c);
    if (m == NULL || (m->out == NULL && !new_output(c))) {
        xev__conn_close(c, XEV_CONN_NO_MEMORY, 0);
        return NULL;
    }
    return m->out;
}

void xev__conn_queued(xev_conn *c, size_t len_bytes) {
    const xev_conn_options *o = &c->service->options;
    struct xev__conn_output *out = c->more->out;
    out->queued_bytes += len_bytes;
    if (out->queued_bytes > o->high_bytes) {
        c->flags |= XEV__CONN_HIGH | (o->full_reads ? 0 : XEV__CONN_FULL);
    }
}

/* Copy to the end of the queue. False: no memory. */
static bool append_copy(xev_conn *c, struct xev__conn_output *out, const uint8_t *data,
                        size_t len) {
    xev__conn_queued(c, len);
    while (len > 0) {
        xev_conn_slot *seg = out->tail;
        if (seg == NULL || seg->kind != XEV__SEG_COPY || seg->room == 0) {
            size_t room = len < SEG_ROOM_MIN   ? SEG_ROOM_MIN
                          : len < SEG_ROOM_MAX ? len
                                               : SEG_ROOM_MAX;
            seg = xev__seg_new(c->service, XEV__SEG_COPY, room);
            if (seg == NULL) {
                return false;
            }
            xev__conn_append(out, seg);
        }
        size_t n = len < seg->room ? len : seg->room;
        memcpy((uint8_t *)(uintptr_t)seg->data + seg->len, data, n);
        seg->len += (uint32_t)n;
        seg->room -= (uint32_t)n;
        data += n;
        len -= n;
    }
    return true;
}

/* The same; without memory the connection is closed. */
static bool queue_copy(xev_conn *c, struct xev__conn_output *out, const uint8_t *data, size_t len) {
    bool ok = append_copy(c, out, data, len);
    if (!ok) {
        xev__conn_close(c, XEV_CONN_NO_MEMORY, 0);
    }
    return ok;
}

bool xev__conn_queue(xev_conn *c, const void *data, size_t len_bytes) {
    struct xev__conn_output *out = xev__conn_make_output(c);
    return out != NULL && queue_copy(c, out, data, len_bytes);
}

/* ---- sending ---- */

static void start_send(xev_conn *c);

/* Up to XEV__CONN_VECS pieces from the front of the queue. 0: there is nothing to send now. */
static uint32_t gather(xev_conn *c, struct xev__conn_output *out) {
    while (out->head != NULL && out->head->kind == XEV__SEG_SLOT && out->head->filled) {
        drop_head(c, out);
    }
    uint32_t count = 0;
    for (xev_conn_slot *seg = out->head; seg != NULL && count < XEV__CONN_VECS; seg = seg->next) {
        if (seg->kind == XEV__SEG_FILE || (seg->kind == XEV__SEG_SLOT && !seg->filled)) {
            break;
        }
        if (seg->len > 0) {
            out->vec[count].base = (void *)(uintptr_t)seg->data;
            out->vec[count++].len_bytes = seg->len;
        }
    }
    return count;
}

void xev__conn_took(xev_conn *c, size_t len_bytes) {
    xev_conn_service *s = c->service;
    struct xev__conn_output *out = c->more->out;
    assert(out->queued_bytes >= len_bytes);
    out->queued_bytes -= len_bytes;
    out->sent_bytes += len_bytes;
    s->count.bytes_out += len_bytes;
    out->since_tick = c->active_tick = xev__conn_tick(s);
    while (len_bytes > 0) {
        xev_conn_slot *seg = out->head;
        size_t n = len_bytes < seg->len ? len_bytes : seg->len;
        seg->data += n;
        seg->len -= (uint32_t)n;
        len_bytes -= n;
        if (seg->len == 0) {
            drop_head(c, out);
        }
    }
    if (xev__conn_is(c, XEV__CONN_HIGH | XEV__CONN_FULL) &&
        out->queued_bytes <= s->options.low_bytes) {
        bool high = xev__conn_is(c, XEV__CONN_HIGH); /* else the handler asked to wait */
        xev__conn_clear(c, XEV__CONN_HIGH | XEV__CONN_FULL);
        xev__conn_due(c, high ? XEV__CONN_WRITABLE : XEV__CONN_PUMP);
        if (xev__conn_is(c, XEV__CONN_PIPED)) {
            xev__conn_due(c->more->peer, XEV__CONN_PUMP);
        }
    }
}

void xev__conn_output_failed(xev_conn *c, int code) { xev__conn_close(c, XEV_CONN_FAILED, code); }

void xev__conn_push(xev_conn *c) {
    xev__conn_settle(c);
    struct xev__conn_output *out = xev__conn_out(c);
    if (xev__conn_is(c, XEV__CONN_HELD | XEV__CONN_CONNECTING)) {
        return;
    }
    uint32_t count;
    while (out != NULL && !out->in_flight && (count = gather(c, out)) > 0) {
        int rc = xev__conn_send_now(c, out->vec, count);
        if (rc == XEV_EAGAIN) {
            start_send(c);
            return;
        }
        if (rc < 0) {
            xev__conn_output_failed(c, rc);
            return;
        }
        xev__conn_took(c, (size_t)rc);
    }
    if (out != NULL && !out->in_flight && out->head != NULL && out->head->kind == XEV__SEG_FILE) {
        xev__conn_send_file(c);
        return;
    }
    xev__conn_output_idle(c);
}

xev_cb_action xev__conn_on_output_sent(xev_loop *loop, xev_completion *k, int result,
                                       void *userdata) {
    xev_conn *c = userdata;
    struct xev__conn_output *out = c->more->out;
    (void)loop;
    (void)k;
    assert(out->in_flight);
    out->in_flight = false;
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        return XEV_DISARM;
    }
    if (result < 0) {
        if (result == XEV_ECANCELED && !xev__conn_is(c, XEV__CONN_MOVING)) {
            xev__conn_close(c, XEV_CONN_LOOP_ENDED, 0);
        } else if (result != XEV_ECANCELED) {
            xev__conn_output_failed(c, result);
        }
        return XEV_DISARM;
    }
    if (out->flight_bytes > 0) { /* else it was a poll */
        xev__conn_took(c, (size_t)result);
        if ((uint32_t)result < out->flight_bytes && !xev__conn_is(c, XEV__CONN_MOVING) &&
            gather(c, out) > 0) {
            start_send(c);
            return XEV_DISARM;
        }
    } else {
        out->writable = true;
    }
    xev__conn_push(c);
    return XEV_DISARM;
}

/* What gather found goes by an operation of the loop, which waits. */
static void start_send(xev_conn *c) {
    struct xev__conn_output *out = c->more->out;
    xev_loop *loop = c->service->loop;
    assert(!out->in_flight);
    out->flight_bytes = 0;
    if (xev__conn_is(c, XEV__CONN_TRANSPORT)) {
        out->in_flight = xev__transport_wait(c, &out->send, xev__conn_on_output_sent);
        xev__wheel_sooner(c);
        return;
    }
    out->in_flight = true;
    xev__wheel_sooner(c);
    if (xev__conn_backlog_wait(c, &out->send, xev__conn_on_output_sent)) {
        return;
    }
    uint32_t count = gather(c, out);
    for (uint32_t i = 0; i < count; i++) {
        out->flight_bytes += (uint32_t)out->vec[i].len_bytes;
    }
    xev_tcp_sendv(xev_tcp_from_fd(c->fd), loop, &out->send, out->vec, count, c,
                  xev__conn_on_output_sent);
}

static void end_output(xev_conn *c) {
    if (xev__conn_is(c, XEV__CONN_TRANSPORT)) {
        int rc = xev__transport_shutdown(c);
        if (rc == XEV_EAGAIN && xev__conn_make_output(c) != NULL) {
            start_send(c);
        }
        if (rc == XEV_EAGAIN) {
            return;
        }
    } else {
        (void)xev__os_shutdown_write(c->fd); /* fails where the peer is gone: the receive says so */
    }
    c->flags |= XEV__CONN_OUTPUT_ENDED;
    if (xev__conn_is(c, XEV__CONN_FINISHING)) {
        c->opened_tick = xev__conn_tick(c->service);
        xev__wheel_sooner(c);
    }
    xev__conn_check_end(c);
}

void xev__conn_output_idle(xev_conn *c) {
    struct xev__conn_more *m = c->more;
    if (m != NULL && m->out != NULL) {
        if (m->out->head != NULL || m->out->in_flight) {
            return;
        }
        assert(m->out->queued_bytes == 0);
        xev__block_put(c->service, m->out, xev__block_size(sizeof *m->out));
        m->out = NULL;
    }
    if (xev__conn_is(c, XEV__CONN_END_OUTPUT) &&
        !xev__conn_is(c, XEV__CONN_OUTPUT_ENDED | XEV__CONN_OPENING)) {
        end_output(c);
    }
    xev__conn_trim(c);
}

void xev__conn_output_free(xev_conn *c) {
    struct xev__conn_output *out = xev__conn_out(c);
    if (out == NULL) {
        return;
    }
    assert(!out->in_flight || c->service->loop->ops == NULL);
    while (out->head != NULL) {
        xev_conn_slot *seg = out->head;
        if (seg->kind == XEV__SEG_SLOT && !seg->filled) {
            out->head = seg->next; /* whoever is to fill it has it, and frees it so */
            seg->conn = NULL;
            c->service->count.orphans++;
            if (seg->gone != NULL) {
                seg->gone(seg->gone_what);
            }
        } else {
            drop_head(c, out);
        }
    }
    xev__block_put(c->service, out, xev__block_size(sizeof *out));
    c->more->out = NULL;
}

/* ---- of another loop's connection ---- */

static bool copy_segment(xev_conn *c, const xev_conn_slot *seg, struct xev__conn_move *mv,
                         xev_conn_release_fn sent) {
    struct xev__conn_output *out = c->more->out;
    if (seg->kind == XEV__SEG_SLOT) {
        assert(seg->filled);
        return true; /* what has filled it follows */
    }
    if (seg->kind == XEV__SEG_COPY) {
        return append_copy(c, out, seg->data, seg->len);
    }
    xev_conn_slot *lent = xev__seg_new(c->service, (enum xev__seg_kind)seg->kind, 0);
    if (lent == NULL) {
        return false;
    }
    lent->data = seg->data;
    lent->len = seg->len;
    lent->file = seg->file;
    lent->offset = seg->offset;
    lent->release = sent;
    lent->userdata = mv;
    mv->lent_left++;
    xev__conn_append(out, lent);
    if (seg->kind == XEV__SEG_LENT) {
        xev__conn_queued(c, seg->len);
    }
    return true;
}

bool xev__conn_copy_output(xev_conn *c, const struct xev__conn_output *from,
                           struct xev__conn_move *mv, xev_conn_release_fn sent) {
    assert(c->more->out == NULL);
    if (!new_output(c)) {
        return false;
    }
    c->more->out->since_tick = from->since_tick;
    for (const xev_conn_slot *seg = from->head; seg != NULL; seg = seg->next) {
        if (!copy_segment(c, seg, mv, sent)) {
            return false;
        }
    }
    return true;
}

bool xev__conn_queue_rest(xev_conn *c, const uint8_t *data, size_t len) {
    bool first = xev__conn_out(c) == NULL;
    if (!xev__conn_queue(c, data, len)) {
        return false;
    }
    if (first) {
        xev__conn_begin_to_wait(c, c->more->out);
    }
    if (first && !xev__conn_is(c, XEV__CONN_HELD | XEV__CONN_CONNECTING)) {
        start_send(c);
    }
    return true;
}

/* ---- gathering ---- */

/* The pieces that were not sent, from byte sent on, are queued. */
static void queue_pieces(xev_conn *c, uint32_t count, size_t sent) {
    xev_conn_service *s = c->service;
    struct xev__conn_output *out = xev__conn_make_output(c);
    bool waits = out != NULL && out->head == NULL;
    for (uint32_t i = 0; i < count; i++) {
        size_t len = s->piece[i].len_bytes, gone = sent < len ? sent : len;
        const uint8_t *data = (const uint8_t *)s->piece[i].base + gone;
        xev_conn_slot *lent = s->piece_lent[i];
        sent -= gone;
        len -= gone;
        if (lent != NULL && (len == 0 || out == NULL)) {
            xev__conn_release_later(s, lent);
        } else if (lent != NULL) {
            lent->data = data;
            lent->len = (uint32_t)len;
            xev__conn_append(out, lent);
            xev__conn_queued(c, len);
        } else if (len > 0 && out != NULL && !queue_copy(c, out, data, len)) {
            out = NULL;
        }
    }
    if (waits && out != NULL) {
        xev__conn_begin_to_wait(c, out);
    }
}

static void release_pieces(xev_conn_service *s, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (s->piece_lent[i] != NULL) {
            xev__conn_release_later(s, s->piece_lent[i]);
        }
    }
}

void xev__conn_drop_pieces(xev_conn_service *s) {
    release_pieces(s, s->pieces);
    s->pieces = s->scratch_used = 0;
}

void xev__conn_flush(xev_conn *c) {
    xev_conn_service *s = c->service;
    int rc = XEV_EAGAIN;
    if (!xev__conn_is(c, XEV__CONN_HELD)) {
        rc = xev__conn_send_now(c, s->piece, s->pieces);
    }
    xev__conn_flush_rest(c, rc);
}

void xev__conn_flush_rest(xev_conn *c, int rc) {
    xev_conn_service *s = c->service;
    uint32_t count = s->pieces;
    size_t total = 0;
    if (rc == XEV_EINTR) {
        rc = xev__conn_send_now(c, s->piece, count);
    }
    s->pieces = 0; /* what is queued below must not flush again */
    s->scratch_used = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += s->piece[i].len_bytes;
    }
    if (rc > 0) {
        s->count.bytes_out += (size_t)rc;
    }
    if (rc > 0 && (size_t)rc == total) {
        release_pieces(s, count);
        return;
    }
    if (rc < 0 && rc != XEV_EAGAIN) {
        xev__conn_output_failed(c, rc);
    }
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        release_pieces(s, count);
        return;
    }
    queue_pieces(c, count, rc > 0 ? (size_t)rc : 0);
    if (!xev__conn_is(c, XEV__CONN_HELD)) {
        start_send(c);
    }
}

/* Is it to be gathered? Only the handler's own connection, with nothing queued. */
static bool gathers(const xev_conn *c) {
    return c->service->current == c && xev__conn_out(c) == NULL;
}

static bool can_send_now(const xev_conn *c) {
    return xev__conn_out(c) == NULL && !xev__conn_is(c, XEV__CONN_HELD | XEV__CONN_CONNECTING);
}

static void add_piece(xev_conn_service *s, const void *data, size_t len, xev_conn_slot *lent) {
    s->piece[s->pieces].base = (void *)(uintptr_t)data;
    s->piece[s->pieces].len_bytes = len;
    s->piece_lent[s->pieces++] = lent;
}

/* Gather; what has no room there is sent first. False: it must go another way now. */
static bool gather_copy(xev_conn *c, const uint8_t *data, size_t len) {
    xev_conn_service *s = c->service;
    bool loaned = (uintptr_t)data - (uintptr_t)s->loan < s->loan_bytes && s->loan != NULL;
    if (s->pieces > 0 &&
        (s->pieces == XEV__CONN_VECS ||
         (!loaned && s->scratch_from + s->scratch_used + len > XEV__CONN_SCRATCH))) {
        xev__conn_flush(c);
    }
    if (!loaned && s->scratch_from + len > XEV__CONN_SCRATCH && s->scratch_from > 0) {
        xev__settle(s->loop, NULL);
        xev__conn_reuse_scratch(s); /* there may have been no joint send left */
    }
    if (!gathers(c) || xev__conn_is(c, XEV__CONN_CLOSING) || (!loaned && len > XEV__CONN_SCRATCH)) {
        return false;
    }
    if (!loaned) {
        uint8_t *to = s->scratch + s->scratch_from + s->scratch_used;
        memcpy(to, data, len);
        s->scratch_used += (uint32_t)len;
        data = to;
    }
    xev_vec *last = s->pieces > 0 ? &s->piece[s->pieces - 1] : NULL;
    /* A loan may stand next to the copies, but each of the two is kept in its own way. */
    if (last != NULL && s->piece_lent[s->pieces - 1] == NULL &&
        (const uint8_t *)last->base + last->len_bytes == data &&
        xev__conn_is_copy(s, last->base) == !loaned) {
        last->len_bytes += len;
    } else {
        add_piece(s, data, len, NULL);
    }
    return true;
}

/* ---- the calls ---- */

/* 0, or why c takes no more output of so many bytes. */
static int check_room(xev_conn *c, size_t len) {
    const xev_conn_options *o = &c->service->options;
    const struct xev__conn_output *out = xev__conn_out(c);
    if (xev__conn_is(c, XEV__CONN_MUTE)) {
        return XEV_EPIPE;
    }
    if (len > o->queued_max_bytes ||
        (out != NULL && out->queued_bytes + len > o->queued_max_bytes)) {
        if (!o->full_refuses) {
            xev__conn_close(c, XEV_CONN_OUTPUT_FULL, 0);
        }
        return XEV_ENOBUFS;
    }
    return 0;
}

int xev__conn_write_error(const xev_conn *c) {
    assert(xev__conn_is(c, XEV__CONN_CLOSING));
    bool memory = c->flags >> XEV__CONN_REASON_SHIFT == XEV_CONN_NO_MEMORY;
    return memory ? XEV_ENOMEM : XEV_EPIPE;
}

int xev__conn_write_through(xev_conn *c, const uint8_t *data, size_t len) {
    size_t sent = 0;
    if (can_send_now(c)) {
        xev_vec vec = {(void *)(uintptr_t)data, len};
        int rc = xev__conn_send_now(c, &vec, 1);
        if (rc < 0 && rc != XEV_EAGAIN) {
            xev__conn_output_failed(c, rc);
            return XEV_EPIPE;
        }
        sent = rc > 0 ? (size_t)rc : 0;
        c->service->count.bytes_out += sent;
        c->active_tick = xev__conn_tick(c->service);
        if (sent == len) {
            return 0;
        }
    }
    return xev__conn_queue_rest(c, data + sent, len - sent) ? 0 : xev__conn_write_error(c);
}

/* Any other write than the first of a handler. Apart, so that an echo saves no registers. */
static XEV__NOINLINE int write_other(xev_conn *c, const void *data, size_t len_bytes) {
    xev__conn_check_own("xev_conn_write", c);
    if (data == NULL && len_bytes > 0) {
        xev__conn_misuse("xev_conn_write", "data is null", c);
    }
    xev__conn_settle(c);
    int rc = check_room(c, len_bytes);
    if (rc < 0 || len_bytes == 0 || (gathers(c) && gather_copy(c, data, len_bytes))) {
        return rc;
    }
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        return XEV_EPIPE;
    }
    return xev__conn_write_through(c, data, len_bytes);
}

static XEV__NOINLINE int write_first(xev_conn_service *s, const void *data, size_t len_bytes) {
    assert(s->scratch_used == 0 && s->scratch_from + len_bytes <= XEV__CONN_SCRATCH);
    void *to = memcpy(s->scratch + s->scratch_from, data, len_bytes);
    s->scratch_used = (uint32_t)len_bytes;
    add_piece(s, to, len_bytes, NULL);
    return 0;
}

int xev_conn_write(xev_conn *c, const void *data, size_t len_bytes) {
    xev__conn_check_own("xev_conn_write", c);
    xev_conn_service *s = c->service;
    if (s->current == c && s->pieces == 0 && c->more == NULL &&
        !xev__conn_is(c, XEV__CONN_MUTE | XEV__CONN_JOINT) &&
        len_bytes <= s->options.queued_max_bytes) {
        if (len_bytes - 1 < s->loan_bytes && data == s->loan) {
            add_piece(s, data, len_bytes, NULL); /* an echo */
            return 0;
        }
        if (len_bytes - 1 < XEV__CONN_SCRATCH - s->scratch_from && data != NULL &&
            (uintptr_t)data - (uintptr_t)s->loan >= s->loan_bytes) {
            return write_first(s, data, len_bytes);
        }
    }
    return write_other(c, data, len_bytes);
}

int xev_conn_writev(xev_conn *c, const xev_vec *vec, size_t count) {
    xev__conn_check_own("xev_conn_writev", c);
    if (vec == NULL && count > 0) {
        xev__conn_misuse("xev_conn_writev", "vector is null", c);
    }
    xev__conn_settle(c);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += vec[i].len_bytes;
    }
    int rc = check_room(c, total);
    size_t sent = 0;
    if (rc == 0 && can_send_now(c) && c->service->current != c && count > 0 &&
        count <= XEV__CONN_VECS && total > 0) {
        int n = xev__conn_send_now(c, vec, (uint32_t)count);
        if (n < 0 && n != XEV_EAGAIN) {
            xev__conn_output_failed(c, n);
            return XEV_EPIPE;
        }
        sent = n > 0 ? (size_t)n : 0;
        c->service->count.bytes_out += sent;
    }
    for (size_t i = 0; i < count && rc == 0; i++) {
        size_t gone = sent < vec[i].len_bytes ? sent : vec[i].len_bytes;
        sent -= gone;
        if (vec[i].len_bytes > gone) {
            rc = xev_conn_write(c, (const uint8_t *)vec[i].base + gone, vec[i].len_bytes - gone);
        }
    }
    return rc;
}

int xev_conn_write_lent(xev_conn *c, const void *data, size_t len_bytes, void *userdata,
                        xev_conn_release_fn release) {
    xev__conn_check_own("xev_conn_write_lent", c);
    if (data == NULL || release == NULL || len_bytes == 0) {
        xev__conn_misuse("xev_conn_write_lent", "data or release is null, or length 0", c);
    }
    xev__conn_settle(c);
    xev_conn_service *s = c->service;
    int rc = check_room(c, len_bytes);
    if (rc < 0) {
        return rc;
    }
    xev_conn_slot *seg = xev__seg_new(s, XEV__SEG_LENT, 0);
    if (seg == NULL) {
        xev__conn_close(c, XEV_CONN_NO_MEMORY, 0);
        return XEV_ENOMEM;
    }
    seg->data = data;
    seg->len = (uint32_t)len_bytes;
    seg->release = release;
    seg->userdata = userdata;
    if (gathers(c) && s->pieces == XEV__CONN_VECS) {
        xev__conn_flush(c);
    }
    if (gathers(c) && !xev__conn_is(c, XEV__CONN_CLOSING)) {
        add_piece(s, data, len_bytes, seg);
        return 0;
    }
    bool first = xev__conn_out(c) == NULL;
    struct xev__conn_output *out =
        xev__conn_is(c, XEV__CONN_CLOSING) ? NULL : xev__conn_make_output(c);
    if (out == NULL || xev__conn_is(c, XEV__CONN_CLOSING)) {
        xev__block_put(s, seg, seg->block_bytes);
        return xev__conn_write_error(c);
    }
    xev__conn_append(out, seg);
    xev__conn_queued(c, len_bytes);
    if (first) {
        xev__conn_begin_to_wait(c, out);
        xev__conn_push(c); /* it may be sent at once; release is called later in any case */
    }
    return 0;
}

void xev_conn_cork(xev_conn *c) {
    xev__conn_check_own("xev_conn_cork", c);
    if (!xev__conn_is(c, XEV__CONN_CLOSING)) {
        xev__conn_due(c, XEV__CONN_CORKED);
    }
}

uint64_t xev_conn_queued_bytes(const xev_conn *c) {
    xev__conn_check_own("xev_conn_queued_bytes", c);
    const struct xev__conn_output *out = xev__conn_out(c);
    return out != NULL ? out->queued_bytes : 0;
}
