/* When all connections of a service together hold too much memory: those that hold the most are
 * closed. One that takes little, as it should, is not ended by others that take nothing of what
 * they asked for.
 *
 * It happens at the end of a turn, when what was written has been sent as far as that goes. Until
 * then more is given out, a quarter above the limit at most. The memory of those that are closed
 * comes back when the loop has let go of their descriptors; until then it counts as given back.
 */
#include "conn/internal.h"

/* What a connection needs besides data, to be closed for instance, is never refused. */
#define SMALL_BYTES 1024u
#define CLASSES 40

bool xev__shed_allows(xev_conn_service *s, size_t bytes) {
    uint64_t max = s->options.held_max_bytes;
    if (!s->sheds) {
        s->sheds = true;
        xev__conn_hook_in(s);
    }
    return bytes <= SMALL_BYTES || s->count.held_bytes + bytes <= max + max / 4;
}

static uint64_t held_by(const xev_conn *c) {
    const struct xev__conn_more *m = c->more;
    uint64_t bytes = 0;
    if (m != NULL && m->in != NULL) {
        bytes += m->in->block_bytes;
    }
    for (const xev_conn_slot *seg = m != NULL && m->out != NULL ? m->out->head : NULL; seg != NULL;
         seg = seg->next) {
        bytes += seg->block_bytes;
    }
    return bytes;
}

static unsigned shed_class(uint64_t bytes) {
    unsigned class = 0;
    while (class < CLASSES - 1 && bytes >> class > 1) {
        class ++;
    }
    return class;
}

/* Two looks at the table: how much the connections of each class hold (a class is a power of two),
 * then closing, from the largest class down, as many as are needed. */
void xev__shed(xev_conn_service *s) {
    uint64_t in_class[CLASSES] = {0}, max = s->options.held_max_bytes, closing = 0;
    uint32_t end = xev__chunks_end(&s->table);
    s->sheds = false;
    for (uint32_t i = 0; i < end; i++) {
        const xev_conn *c = xev__chunks_have(&s->table, i) ? xev__conn_at(s, i) : NULL;
        if (c == NULL || !xev__conn_is(c, XEV__CONN_LIVE | XEV__CONN_MOVING)) {
            continue;
        }
        if (xev__conn_is(c, XEV__CONN_CLOSING) || !xev__conn_is(c, XEV__CONN_LIVE)) {
            closing += held_by(c);
        } else {
            in_class[shed_class(held_by(c))] += held_by(c);
        }
    }
    uint64_t wanted = max - max / 8, left = s->count.held_bytes - closing;
    if (closing > s->count.held_bytes || left <= max) {
        return; /* others have ended meanwhile */
    }
    uint64_t excess = left - wanted;
    unsigned lowest = CLASSES - 1;
    while (lowest > 0 && in_class[lowest] < excess) {
        excess -= in_class[lowest--];
    }
    for (uint32_t i = 0; i < end; i++) {
        xev_conn *c = xev__conn_live_at(s, i);
        uint64_t bytes = c != NULL && !xev__conn_is(c, XEV__CONN_CLOSING) ? held_by(c) : 0;
        unsigned class = shed_class(bytes);
        if (bytes == 0 || class < lowest || (class == lowest && excess == 0)) {
            continue;
        }
        if (class == lowest) {
            excess -= bytes < excess ? bytes : excess;
        }
        xev__conn_close(c, XEV_CONN_TOTAL_FULL, 0);
    }
}
