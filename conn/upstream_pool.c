/* Connections to upstreams that are kept while nobody uses them, or opened ahead of their use.
 *
 * Either is in the role IDLE and in its upstream's list, the latest first. The loop goes on reading
 * from it. Its end closes it; so does any input, if somebody has used the connection before. One
 * that is kept is not given out again before the turn has ended in which it was given back, as the
 * handler that did so may still be running.
 *
 * What was opened ahead and is gone is replaced when one is taken, and after a check: so an
 * upstream that closes all of them at once costs no more than that. Where a limit of connections is
 * met none is opened: it would only be given up again for the next client, or keep that out.
 */
#include <string.h>

#include "conn/internal.h"
#include "conn/move.h"
#include "conn/upstream.h"
#include "xev/os/socket.h"

/* ---- the list ---- */

static void pool_link(struct xev__upstream *up, xev_conn *c) {
    c->more->idle_prev = NULL;
    c->more->idle_next = up->idle_first;
    if (up->idle_first != NULL) {
        up->idle_first->more->idle_prev = c;
    } else {
        up->idle_last = c;
    }
    up->idle_first = c;
    up->idle++;
    c->service->kept++;
}

void xev__pool_unlink(xev_conn *c) {
    struct xev__conn_more *m = c->more;
    struct xev__upstream *up = m->upstream;
    assert(m->upstream_role == XEV__UPSTREAM_IDLE && up->idle > 0);
    if (m->idle_prev != NULL) {
        m->idle_prev->more->idle_next = m->idle_next;
    } else {
        up->idle_first = m->idle_next;
    }
    if (m->idle_next != NULL) {
        m->idle_next->more->idle_prev = m->idle_prev;
    } else {
        up->idle_last = m->idle_prev;
    }
    m->idle_next = m->idle_prev = NULL;
    up->idle--;
    assert(c->service->kept > 0);
    c->service->kept--;
}

static void close_kept(xev_conn *c, xev_conn_reason reason, int code) {
    xev__pool_unlink(c);
    c->more->upstream_role = XEV__UPSTREAM_OVER;
    xev__conn_close(c, reason, code);
}

void xev__pool_drop(struct xev__upstream *up) {
    while (up->idle_first != NULL) {
        close_kept(up->idle_first, XEV_CONN_ENDED, 0);
    }
}

/* ---- given up, for who needs the place ---- */

uint32_t xev__conn_kept(const xev_conn_service *s) { return s->kept; }

/* NULL: none is kept. */
static xev_conn *find_longest_kept(const xev_conn_service *s) {
    xev_conn *longest = NULL;
    for (const xev_upstreams *g = s->groups; g != NULL && s->kept > 0; g = g->next) {
        for (uint32_t i = 0; i < g->count; i++) {
            xev_conn *c = g->upstream[i].idle_last;
            if (c != NULL &&
                (longest == NULL || longest->active_tick - c->active_tick < 1u << 31)) {
                longest = c;
            }
        }
    }
    return longest;
}

uint32_t xev__conn_kept_ticks(const xev_conn_service *s) {
    const xev_conn *c = find_longest_kept(s);
    return c != NULL ? xev__conn_tick(s) - c->active_tick : 0;
}

bool xev__conn_give_up_kept(xev_conn_service *s) {
    xev_conn *c = find_longest_kept(s);
    if (c == NULL) {
        return false;
    }
    close_kept(c, XEV_CONN_ENDED, 0);
    c->more->upstream_role = XEV__UPSTREAM_GIVEN_UP;
    xev__conn_account(c, false);
    xev__conn_count(s, -1);
    s->count.given_up++;
    return true;
}

bool xev__conn_is_given_up(const xev_conn *c) {
    return c->more != NULL && c->more->upstream_role == XEV__UPSTREAM_GIVEN_UP;
}

/* It is idle from now on. */
static void make_idle(xev_conn *c, uint32_t read_ms) {
    struct xev__conn_more *m = c->more;
    m->upstream_role = XEV__UPSTREAM_IDLE;
    pool_link(m->upstream, c);
    m->own_deadlines = true;
    m->deadlines = (xev_conn_deadlines){
        .idle_ms = m->upstream->group->options.idle_ms, .read_ms = read_ms, .life_ms = UINT32_MAX};
    c->active_tick = xev__conn_tick(c->service);
}

/* ---- what happens to one that is kept ---- */

static ptrdiff_t on_kept_data(xev_conn *c, const void *data, size_t len_bytes) {
    (void)data;
    close_kept(c, XEV_CONN_PROTOCOL, XEV_EPROTO); /* nobody has asked anything */
    return (ptrdiff_t)len_bytes;
}

static void on_kept_ended(xev_conn *c) { close_kept(c, XEV_CONN_ENDED, 0); }

static void on_kept_late(xev_conn *c, xev_conn_reason which) { close_kept(c, which, 0); }

static const xev_conn_handlers kept_handlers = {
    .data = on_kept_data, .ended = on_kept_ended, .late = on_kept_late};

/* ---- ahead ---- */

/* What upstreams that speak first say is kept for who takes the connection. */
static ptrdiff_t on_ahead_data(xev_conn *c, const void *data, size_t len_bytes) {
    (void)c, (void)data, (void)len_bytes;
    return 0;
}

static void on_ahead_opened(xev_conn *c) {
    struct xev__upstream *up = c->more->upstream;
    assert(c->more->upstream_role == XEV__UPSTREAM_AHEAD && up->opening > 0);
    up->opening--;
    make_idle(c, UINT32_MAX);
}

static const xev_conn_handlers ahead_handlers = {
    .opened = on_ahead_opened, .data = on_ahead_data, .ended = on_kept_ended, .late = on_kept_late};

void xev__conn_ask_room(xev_conn_service *s, bool (*has_room)(void *account_userdata)) {
    s->has_room = has_room;
}

static bool has_room_ahead(const xev_conn_service *s) {
    return s->has_room == NULL || s->has_room(s->options.account_userdata);
}

void xev__pool_fill(struct xev__upstream *up) {
    const xev_upstreams *group = up->group;
    const xev_conn_connect_options o = {.handlers = &ahead_handlers,
                                        .timeout_ms = group->options.connect_ms};
    while (!up->out && !group->service->draining && up->idle + up->opening < group->options.ahead &&
           has_room_ahead(group->service)) {
        up->opening++;
        if (xev__conn_dial(group->service, &up->addr, 1, &o, up, XEV__UPSTREAM_AHEAD, NULL) < 0) {
            up->opening--; /* no room for it now */
            return;
        }
    }
}

/* ---- back ---- */

/* Nothing is under way on it, and it may be given out again. */
static bool can_be_kept(const xev_conn *c) {
    const struct xev__conn_more *m = c->more;
    const uint32_t not_idle = XEV__CONN_OPENING | XEV__CONN_CONNECTING | XEV__CONN_FINISHING |
                              XEV__CONN_END_OUTPUT | XEV__CONN_EOF | XEV__CONN_CLOSING |
                              XEV__CONN_PIPED | XEV__CONN_DRAINING;
    return !xev__conn_is(c, not_idle) && m->out == NULL && m->slots == 0 && !c->service->draining &&
           !m->drain_waits && m->upstream->group->options.idle_max > 0 &&
           c->generation < UINT32_MAX - 1;
}

void xev_upstream_keep(xev_conn *c) {
    const char *call = "xev_upstream_keep";
    xev__conn_check_own(call, c);
    if (c->more == NULL || c->more->upstream == NULL ||
        c->more->upstream_role != XEV__UPSTREAM_USE) {
        xev__conn_misuse(call, "it is to no upstream, or has been given back", c);
    }
    struct xev__conn_more *m = c->more;
    struct xev__upstream *up = m->upstream;
    xev_conn_service *s = c->service;
    xev__conn_settle(c); /* what the socket does not take is output */
    if (s->current == c && s->pieces > 0) {
        xev__conn_flush(c);
    }
    xev_conn_set_handlers(c, &kept_handlers);
    if (!can_be_kept(c)) {
        if (m->out != NULL || xev__conn_is(c, XEV__CONN_PIPED)) {
            xev_conn_abort(c); /* the other side must not take for whole what it has got */
        } else {
            xev__conn_close(c, XEV_CONN_ENDED, 0);
        }
        return;
    }
    up->connections--;
    make_idle(c, 0);
    xev__conn_clear(c, XEV__CONN_PAUSED | XEV__CONN_BUSY);
    memset(c + 1, 0, s->options.user_bytes);
    xev__conn_due(c, XEV__CONN_PUMP);
    const xev_upstreams_options *o = &up->group->options;
    if (up->idle > (o->ahead > o->idle_max ? o->ahead : o->idle_max)) {
        close_kept(up->idle_last, XEV_CONN_ENDED, 0);
    }
}

/* ---- out again ---- */

/* Its system has not heard anything that the loop has not: it is as it was. */
static bool is_usable(const xev_conn *c) {
    return (c->more->in == NULL || c->handlers == &ahead_handlers) && xev__os_is_silent(c->fd);
}

xev_conn *xev__pool_take(struct xev__upstream *up, const xev_conn_handlers *handlers) {
    const uint32_t not_now = XEV__CONN_CLOSING | XEV__CONN_FINISHING | XEV__CONN_DUE;
    for (xev_conn *c = up->idle_first, *next; c != NULL; c = next) {
        next = c->more->idle_next;
        if (xev__conn_is(c, not_now) || c->service->current == c) {
            continue;
        }
        if (!is_usable(c)) {
            close_kept(c, XEV_CONN_ENDED, 0);
            continue;
        }
        xev__pool_unlink(c);
        c->more->upstream_role = XEV__UPSTREAM_USE;
        c->more->was_kept = true;
        c->more->own_deadlines = false;
        c->handlers = handlers != NULL ? handlers : c->service->options.handlers;
        c->generation++; /* whoever had it before must not find it */
        c->opened_tick = c->active_tick = c->more->in_since = xev__conn_tick(c->service);
        xev__conn_due(c, XEV__CONN_OPENING);
        up->reused++;
        return c;
    }
    return NULL;
}

bool xev_upstream_was_kept(const xev_conn *c) {
    xev__conn_check_own("xev_upstream_was_kept", c);
    return c->more != NULL && c->more->was_kept;
}
