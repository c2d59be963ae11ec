/* Reply slots: places in the output that are filled later, in any order, and sent in theirs. A slot
 * outlives its connection: then filling it only frees it. */
#include <string.h>

#include "conn/internal.h"

xev_conn_slot *xev_conn_reserve(xev_conn *c) {
    xev__conn_check_own("xev_conn_reserve", c);
    xev_conn_service *s = c->service;
    if (xev__conn_is(c, XEV__CONN_MUTE) ||
        (c->more != NULL && c->more->slots >= s->options.slots_max) ||
        (xev__conn_is(c, XEV__CONN_MOVING) && c->more->move->leaving)) {
        return NULL;
    }
    xev_conn_slot *slot = xev__seg_new(s, XEV__SEG_SLOT, 0);
    struct xev__conn_output *out = slot != NULL ? xev__conn_make_output(c) : NULL;
    if (out == NULL || xev__conn_is(c, XEV__CONN_CLOSING)) {
        if (slot != NULL) {
            xev__block_put(s, slot, slot->block_bytes);
        }
        return NULL;
    }
    slot->conn = c;
    slot->data = NULL;
    xev__conn_append(out, slot);
    if (++c->more->slots >= s->options.slots_max) {
        c->flags |= XEV__CONN_SLOTS;
    }
    return slot;
}

xev_conn *xev_conn_slot_conn(const xev_conn_slot *slot) {
    xev__conn_check("xev_conn_slot_conn", slot);
    assert(slot->kind == XEV__SEG_SLOT && !slot->filled);
    return slot->conn;
}

void xev__conn_slot_watch(xev_conn_slot *slot, uint64_t what, void (*gone)(uint64_t what)) {
    assert(slot->kind == XEV__SEG_SLOT && !slot->filled);
    slot->gone_what = what;
    slot->gone = gone;
    if (slot->conn == NULL) {
        gone(what);
    }
}

/* It has one slot less to wait for. */
static void slot_is_over(xev_conn *c) {
    assert(c->more != NULL && c->more->slots > 0);
    c->more->slots--;
    if (xev__conn_is(c, XEV__CONN_SLOTS) && !c->more->held &&
        c->more->slots < c->service->options.slots_max) {
        xev__conn_clear(c, XEV__CONN_SLOTS);
        xev__conn_due(c, XEV__CONN_PUMP);
    }
}

void xev__conn_bind(xev_conn *c) {
    assert(c->more != NULL && c->more->slots > 0);
    c->more->slots++;
}

void xev__conn_unbind(xev_conn *c) {
    slot_is_over(c);
    if (!xev__conn_is(c, XEV__CONN_CLOSING)) {
        xev__conn_due(c, 0);
    }
}

void xev_conn_fill(xev_conn_slot *slot, const void *data, size_t len_bytes) {
    const char *call = "xev_conn_fill";
    xev__conn_check(call, slot);
    if ((data == NULL && len_bytes > 0) || slot->kind != XEV__SEG_SLOT || slot->filled) {
        xev__conn_misuse(call, "data is null, or this is no slot that is to be filled", slot);
    }
    xev__check_thread(call, slot->service->loop);
    xev_conn *c = slot->conn;
    if (c == NULL) {
        assert(slot->service->count.orphans > 0);
        slot->service->count.orphans--;
        xev__block_put(slot->service, slot, slot->block_bytes);
        return;
    }
    struct xev__conn_more *m = c->more;
    assert(m->slots > 0 && m->out != NULL);
    slot->filled = true;
    slot_is_over(c);
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        return; /* freed with the connection */
    }
    const xev_conn_options *o = &c->service->options;
    if (m->out->queued_bytes + len_bytes > o->queued_max_bytes) {
        xev__conn_close(c, XEV_CONN_OUTPUT_FULL, 0); /* the reply cannot be left out */
        return;
    }
    xev_conn_slot *copy = len_bytes > 0 ? xev__seg_new(c->service, XEV__SEG_COPY, len_bytes) : NULL;
    if (copy != NULL) {
        memcpy(copy + 1, data, len_bytes);
        copy->len = (uint32_t)len_bytes;
        copy->room -= (uint32_t)len_bytes;
        copy->next = slot->next;
        slot->next = copy;
        m->out->tail = copy->next == NULL ? copy : m->out->tail;
        xev__conn_queued(c, len_bytes);
    } else if (len_bytes > 0) {
        xev__conn_close(c, XEV_CONN_NO_MEMORY, 0);
        return;
    }
    if (m->out->head == slot && !m->out->in_flight) {
        m->out->since_tick = xev__conn_tick(c->service);
    }
    xev__conn_due(c, 0);
}
