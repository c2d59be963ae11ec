/* Moving a connection to another loop: see move.h.
 *
 *     MOVING          asked for; the loop lets go of the descriptor; slots are filled
 *     MOVING, -LIVE   it has left. Its place keeps all it had until the move's end.
 */
#include <string.h>

#include "conn/internal.h"

/* What goes with it. One that ends does not go. */
#define KEPT_FLAGS                                                                                 \
    (XEV__CONN_FULL | XEV__CONN_PAUSED | XEV__CONN_END_OUTPUT | XEV__CONN_OUTPUT_ENDED |           \
     XEV__CONN_EOF | XEV__CONN_EOF_TOLD | XEV__CONN_DRAINING | XEV__CONN_HIGH | XEV__CONN_BUSY |   \
     XEV__CONN_FRESH | XEV__CONN_WRITABLE)

void *xev__conn_accountant(const xev_conn *c, xev_conn_account_fn fn) {
    const xev_conn_options *o = &c->service->options;
    return o->account == fn ? o->account_userdata : NULL;
}

struct xev__conn_move *xev__conn_move_of(const xev_conn *c) {
    return xev__conn_is(c, XEV__CONN_MOVING) ? c->more->move : NULL;
}

/* The other loop has sent a piece that was lent, or its connection has ended. */
static void on_lent_sent(void *userdata) {
    struct xev__conn_move *mv = userdata;
    assert(mv->taken && mv->lent_left > 0);
    if (--mv->lent_left == 0) {
        mv->returned(mv);
    }
}

/* Is a part of the output lent by another loop? */
static bool has_borrowed(const xev_conn *c) {
    const struct xev__conn_output *out = xev__conn_out(c);
    const xev_conn_slot *seg = out != NULL ? out->head : NULL;
    while (seg != NULL && seg->release != on_lent_sent) {
        seg = seg->next;
    }
    return seg != NULL;
}

int xev__conn_move(xev_conn *c, struct xev__conn_move *mv) {
    xev__conn_settle(c);
    if (xev__conn_is(c, XEV__CONN_CLOSING | XEV__CONN_FINISHING | XEV__CONN_DRAINING)) {
        return XEV_EPIPE;
    }
    if (xev__conn_is(c, XEV__CONN_TRANSPORT) || (c->more != NULL && c->more->upstream != NULL)) {
        return XEV_ENOTSUP;
    }
    if (xev__conn_is(c, XEV__CONN_PIPED | XEV__CONN_CONNECTING | XEV__CONN_MOVING) ||
        has_borrowed(c)) {
        return XEV_EBUSY;
    }
    struct xev__conn_more *m = xev__conn_more(c);
    if (m == NULL) {
        return XEV_ENOMEM;
    }
    assert(m->transport == NULL && xev__conn_is(c, XEV__CONN_LIVE));
    mv->from = c;
    mv->lent_left = 0;
    mv->started = mv->releasing = mv->leaving = mv->taken = false;
    xev_completion_zero(&mv->release);
    m->move = mv;
    mv->holds = true;
    xev__hold(c->service->loop);
    xev__conn_due(c, XEV__CONN_MOVING);
    return 0;
}

/* ---- leaving ---- */

static void let_loop_end(struct xev__conn_move *mv) {
    if (mv->holds) {
        mv->holds = false;
        if (mv->from->service->loop->ops != NULL) {
            xev__unhold(mv->from->service->loop);
        }
    }
}

void xev__conn_stay(xev_conn *c) {
    struct xev__conn_move *mv = c->more->move;
    assert(xev__conn_is(c, XEV__CONN_MOVING) && mv->from == c && !mv->releasing);
    let_loop_end(mv);
    xev__conn_clear(c, XEV__CONN_MOVING);
    c->more->move = NULL;
    mv->stays(mv);
}

/* Read and send, here. */
static void go_on(xev_conn *c) {
    xev__wheel_sooner(c);
    xev__conn_due(c, XEV__CONN_PUMP);
}

static xev_cb_action on_conn_released(xev_loop *loop, xev_completion *k, int result,
                                      void *userdata) {
    xev_conn *c = userdata;
    (void)k;
    (void)result;
    c->more->move->releasing = false;
    if (loop->deinit) {
        xev__conn_stay(c); /* the service is freed next, which ends it */
    } else if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        xev__conn_start_close(c);
    } else {
        xev__conn_move_step(c);
    }
    return XEV_DISARM;
}

static void tell_leaving(xev_conn *c) {
    if (c->handlers->leaving != NULL) {
        c->more->move->leaving = true;
        xev__conn_enter(c, NULL, 0);
        c->handlers->leaving(c);
        xev__conn_leave(c);
        c->more->move->leaving = false;
    }
}

static void leave_loop(xev_conn *c) {
    struct xev__conn_move *mv = c->more->move;
    assert(!xev__conn_is(c, XEV__CONN_READING | XEV__CONN_OPENING) && c->fd != XEV_INVALID_FD);
    assert(c->more->slots == 0 && (c->more->out == NULL || !c->more->out->in_flight));
    xev__wheel_leave(c);
    mv->flags = c->flags & ~(uint32_t)XEV__CONN_DUE;
    c->flags = (c->flags & XEV__CONN_DUE) | XEV__CONN_MOVING;
    c->generation++;
    let_loop_end(mv); /* from here on the request keeps it */
    mv->go(mv);
}

void xev__conn_move_step(xev_conn *c) {
    struct xev__conn_move *mv = c->more->move;
    if (mv->releasing || xev__conn_is(c, XEV__CONN_CLOSING)) {
        return;
    }
    bool ends = xev__conn_is(c, XEV__CONN_FINISHING);
    if (!ends && !mv->started) {
        mv->started = mv->releasing = true;
        /* What the receive has by now is reported, and kept, before it ends. */
        c->flags |= xev__conn_is(c, XEV__CONN_READING) ? XEV__CONN_STOPPING : 0;
        xev__release(c->service->loop, &mv->release, c->fd, c, on_conn_released);
        return;
    }
    if (!ends) {
        if (c->more->slots > 0) {
            return; /* until the last one is filled */
        }
        tell_leaving(c);
        ends = xev__conn_is(c, XEV__CONN_FINISHING);
    }
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        return; /* by its leaving handler */
    }
    if (ends) {
        xev__conn_stay(c);
        go_on(c);
        return;
    }
    leave_loop(c);
}

/* ---- taking ---- */

static bool copy_parts(xev_conn *c, struct xev__conn_move *mv) {
    const struct xev__conn_more *from = mv->from->more;
    if (from->in == NULL && from->out == NULL && !from->own_deadlines && from->need == 0 &&
        !from->outgoing && (mv->flags & XEV__CONN_DRAINING) == 0) {
        return true;
    }
    struct xev__conn_more *m = xev__conn_more(c);
    if (m == NULL) {
        return false;
    }
    m->need = from->need;
    m->in_since = from->in_since;
    m->outgoing = from->outgoing;
    m->drain_waits = from->drain_waits;
    m->drain_left = from->drain_left;
    m->own_deadlines = from->own_deadlines;
    m->deadlines = from->deadlines;
    return (from->in == NULL || xev__conn_copy_input(c, from->in)) &&
           (from->out == NULL || xev__conn_copy_output(c, from->out, mv, on_lent_sent));
}

/* What was lent is still the old connection's. */
static void drop_parts(xev_conn *c) {
    struct xev__conn_more *m = c->more;
    if (m == NULL) {
        return;
    }
    xev__conn_input_free(c);
    if (m->out != NULL) {
        for (xev_conn_slot *seg = m->out->head, *next; seg != NULL; seg = next) {
            next = seg->next;
            xev__block_put(c->service, seg, seg->block_bytes);
        }
        xev__block_put(c->service, m->out, xev__block_size(sizeof *m->out));
        m->out = NULL;
    }
    xev__block_put(c->service, m, (uint32_t)xev__block_size(sizeof *m));
    c->more = NULL;
}

xev_conn *xev__conn_take(xev_conn_service *s, struct xev__conn_move *mv, int *code) {
    const xev_conn *from = mv->from;
    assert(!mv->taken && mv->lent_left == 0);
    if (s->options.user_bytes != from->service->options.user_bytes) {
        xev__conn_misuse("xev_serve_move", "the other service has another user part", from);
    }
    xev_conn *c = xev__conn_new(s, code);
    if (c == NULL) {
        return NULL;
    }
    c->handlers = from->handlers;
    c->active_tick = from->active_tick;
    c->opened_tick = from->opened_tick;
    memcpy(c + 1, from + 1, s->options.user_bytes);
    if (!copy_parts(c, mv)) {
        xev__conn_untake(c, mv);
        *code = XEV_ENOMEM;
        return NULL;
    }
    c->fd = from->fd;
    c->flags |= mv->flags & KEPT_FLAGS;
    return c;
}

void xev__conn_untake(xev_conn *c, struct xev__conn_move *mv) {
    drop_parts(c);
    mv->lent_left = 0;
    xev__conn_undo(c);
}

bool xev__conn_took_over(xev_conn *c, struct xev__conn_move *mv) {
    struct xev__conn_output *out = xev__conn_out(c);
    mv->taken = true;
    c->service->count.opened--;
    c->service->count.moved_in++;
    if (out != NULL) {
        uint32_t since = out->since_tick;
        xev__conn_begin_to_wait(c, out);
        out->since_tick = since;
    }
    return mv->lent_left > 0;
}

/* It is here, by a move or since that has failed. */
static void tell_moved(xev_conn *c) {
    if (c->handlers->moved != NULL) {
        xev__conn_enter(c, NULL, 0);
        c->handlers->moved(c);
        xev__conn_leave(c);
    }
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        return;
    }
    if (c->service->draining) {
        xev__conn_service_drains(c);
    }
    go_on(c);
}

void xev__conn_taken(xev_conn *c) { tell_moved(c); }

/* ---- the end ---- */

void xev__conn_moved_away(struct xev__conn_move *mv) {
    xev_conn *c = mv->from;
    xev_conn_service *s = c->service;
    assert(mv->taken && !xev__conn_is(c, XEV__CONN_LIVE));
    s->count.moved_out++;
    xev__conn_account(c, false);
    xev__conn_output_free(c);
    xev__conn_input_free(c);
    xev__block_put(s, c->more, (uint32_t)xev__block_size(sizeof *c->more));
    c->more = NULL;
    c->fd = XEV_INVALID_FD;
    xev__conn_count(s, -1);
    c->flags &= XEV__CONN_DUE;
    xev__conn_recycle(c);
}

static void come_back(struct xev__conn_move *mv) {
    xev_conn *c = mv->from;
    assert(!mv->taken && !xev__conn_is(c, XEV__CONN_LIVE));
    c->flags = (c->flags & XEV__CONN_DUE) | mv->flags;
    xev__conn_stay(c);
}

void xev__conn_moved_back(struct xev__conn_move *mv) {
    xev_conn *c = mv->from;
    come_back(mv);
    tell_moved(c);
}

void xev__conn_move_free(xev_conn *c) {
    struct xev__conn_move *mv = c->more->move;
    assert(c->service->loop->ops == NULL && !xev__conn_is(c, XEV__CONN_LIVE));
    if (mv->taken) {
        xev__conn_moved_away(mv); /* no loop sends anything any more that was lent */
    } else {
        come_back(mv);
    }
}
