/* Replies that other shards make. */
#include "xev/gather.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "conn/move.h"
#include "serve/internal.h"
#include "shard/ask.h"

#define CONN_MAX_BYTES (256u << 10)
#define MAX_BYTES (256u << 20)
#define USER_BYTES_MAX (1u << 20)

/* An ask under way. */
struct part {
    xev_gather *gather;
    struct part *next, **at; /* at: what points to it */
    xev_ask *ask;
    uint32_t bytes;
};

struct xev_gather {
    xev_gatherer *gatherer;
    xev_conn_slot *slot; /* NULL: filled; then the connection is named by these: */
    xev_conn_service *service;
    xev_conn_handle conn;
    struct part *parts;
    uint32_t left; /* answers that are to come */
    bool ended, in_part;
    bool bound;        /* the connection does not move before the last answer */
    struct part first; /* many replies have one part: that takes no memory of its own */
    _Alignas(max_align_t) unsigned char user[];
};

static uint32_t conn_max_bytes(const xev_gatherer *of) {
    return of->conn_max_bytes != 0 ? of->conn_max_bytes : CONN_MAX_BYTES;
}

static xev_gather_share *share_of(const xev_gatherer *of, xev_conn *conn) {
    return (xev_gather_share *)(void *)((unsigned char *)xev_conn_user(conn) + of->share_offset);
}

/* NULL: it has gone. */
static xev_conn *conn_of(const xev_gather *g) {
    xev_conn *conn = NULL;
    if (g->slot != NULL) {
        return xev_conn_slot_conn(g->slot);
    }
    return g->service != NULL && xev_conn_find(g->service, g->conn, &conn) == 0 ? conn : NULL;
}

static uint32_t counted(size_t bytes) {
    return bytes < UINT32_MAX / 2 ? (uint32_t)bytes : UINT32_MAX / 2;
}

bool xev_gather_may_ask(xev_gatherer *gatherer, xev_conn *conn, size_t bytes) {
    xev__serve_check(gatherer != NULL && conn != NULL, "xev_gather_may_ask",
                     "gatherer or connection is null");
    xev_gather_share *share = share_of(gatherer, conn);
    uint64_t max = gatherer->max_bytes != 0 ? gatherer->max_bytes : MAX_BYTES;
    if (xev_conn_queued_bytes(conn) > conn_max_bytes(gatherer)) {
        xev__conn_hold_output(conn); /* the same input comes again when its output has gone */
        return false;
    }
    if (share->bytes == 0 || ((uint64_t)share->bytes + bytes <= conn_max_bytes(gatherer) &&
                              gatherer->under_way_bytes + bytes <= max)) {
        return true;
    }
    if (!share->held) {
        share->held = true;
        xev__conn_hold(conn);
    }
    return false;
}

static void cancel_ask(uint64_t handle) { (void)xev_ask_cancel(handle); }

static void cancel_parts(uint64_t gather) {
    const xev_gather *g = (const xev_gather *)(uintptr_t)gather;
    for (const struct part *p = g->parts; p != NULL; p = p->next) {
        xev__ask_cancel(p->ask);
    }
}

int xev_conn_ask(xev_conn_slot *slot, xev_shard *to, const xev_vec *vec, size_t count,
                 uint32_t timeout_ms, xev_ask_fn fn, void *userdata, xev_answer_fn answered) {
    xev_ask_handle ask;
    xev__serve_check(slot != NULL && to != NULL && (vec != NULL || count == 0) && fn != NULL &&
                         answered != NULL,
                     "xev_conn_ask", "slot, shard, vec, fn or answered is null");
    int rc = xev_shard_ask_with_handle(to, vec, count, timeout_ms, &ask, fn, userdata, answered);
    if (rc == 0) {
        xev__conn_slot_watch(slot, ask, cancel_ask);
    }
    return rc;
}

xev_gather *xev_gather_new(xev_gatherer *gatherer, xev_conn *conn, size_t user_bytes) {
    xev__serve_check(gatherer != NULL && gatherer->ask != NULL && gatherer->part != NULL &&
                         conn != NULL,
                     "xev_gather_new", "gatherer, its ask or part, or the connection is null");
    xev_gather *g = user_bytes <= USER_BYTES_MAX ? malloc(sizeof *g + user_bytes) : NULL;
    xev_conn_slot *slot = g != NULL ? xev_conn_reserve(conn) : NULL;
    if (slot == NULL) {
        free(g);
        return NULL;
    }
    *g = (xev_gather){.gatherer = gatherer, .slot = slot};
    memset(g->user, 0, user_bytes);
    if (!gatherer->detached) {
        xev__conn_slot_watch(slot, (uintptr_t)g, cancel_parts);
    }
    return g;
}

static void check_all(xev_gather *g) {
    if (g->left > 0 || !g->ended || g->in_part) {
        return;
    }
    if (g->gatherer->all != NULL) {
        g->gatherer->all(g);
    }
    if (g->slot != NULL) {
        xev_gather_fill(g, NULL, 0);
    }
    xev_conn *conn = g->bound ? conn_of(g) : NULL;
    if (conn != NULL) {
        xev__conn_unbind(conn);
    }
    free(g);
}

/* It may end the gather, which is gone when this returns then. */
static void tell_part(xev_gather *g, int result, const void *answer, size_t len_bytes) {
    bool nested = g->in_part;
    g->in_part = true;
    g->gatherer->part(g, result, answer, len_bytes);
    g->in_part = nested;
    check_all(g);
}

/* Back on the shard that has asked. */
static void gather_answered(xev_shard *self, int result, const void *answer, size_t len_bytes,
                            void *userdata) {
    struct part *part = userdata;
    xev_gather *g = part->gather;
    xev_gatherer *of = g->gatherer;
    xev_conn *conn = conn_of(g);
    (void)self;
    assert(g->left > 0 && of->under_way_bytes >= part->bytes);
    of->under_way_bytes -= part->bytes;
    if (conn != NULL) {
        xev_gather_share *share = share_of(of, conn);
        assert(share->bytes >= part->bytes);
        share->bytes -= part->bytes;
        if (share->held && share->bytes <= conn_max_bytes(of) / 2) {
            share->held = false;
            xev__conn_unhold(conn);
        }
    }
    *part->at = part->next;
    if (part->next != NULL) {
        part->next->at = part->at;
    }
    if (part == &g->first) {
        part->gather = NULL;
    } else {
        free(part);
    }
    g->left--;
    tell_part(g, result, answer, len_bytes);
}

void xev_gather_ask(xev_gather *gather, xev_shard *to, const xev_vec *vec, size_t count,
                    size_t bytes) {
    xev__serve_check(gather != NULL && !gather->ended && to != NULL && (vec != NULL || count == 0),
                     "xev_gather_ask", "gather, shard or vec is null, or it is ended");
    xev_gatherer *of = gather->gatherer;
    struct part *part = gather->first.gather == NULL ? &gather->first : malloc(sizeof *part);
    xev_conn *conn = conn_of(gather);
    if (part == NULL) {
        tell_part(gather, XEV_ENOMEM, NULL, 0);
        return;
    }
    *part = (struct part){gather, gather->parts, &gather->parts, NULL, counted(bytes)};
    if (part->next != NULL) {
        part->next->at = &part->next;
    }
    gather->parts = part;
    if (conn != NULL) {
        share_of(of, conn)->bytes += part->bytes;
    }
    of->under_way_bytes += part->bytes;
    gather->left++;
    int rc = xev__ask(to, vec, count, of->timeout_ms, &part->ask, of->ask, part, gather_answered);
    if (rc < 0) {
        gather_answered(NULL, rc, NULL, 0, part);
    } else if (conn == NULL && gather->slot != NULL && !of->detached) {
        xev__ask_cancel(part->ask);
    }
}

void xev_gather_end(xev_gather *gather) {
    xev__serve_check(gather != NULL && !gather->ended, "xev_gather_end",
                     "gather is null, or ended");
    gather->ended = true;
    check_all(gather);
}

void xev_gather_drop(xev_gather *gather) {
    xev__serve_check(gather != NULL && !gather->ended && gather->left == 0, "xev_gather_drop",
                     "gather is null, or ended, or an answer is to come");
    free(gather);
}

void xev_gather_fill(xev_gather *gather, const void *data, size_t len_bytes) {
    xev__serve_check(gather != NULL && gather->slot != NULL && (data != NULL || len_bytes == 0),
                     "xev_gather_fill", "gather or data is null, or it is filled");
    xev_conn_slot *slot = gather->slot;
    xev_conn *conn = gather->left > 0 || !gather->ended ? xev_conn_slot_conn(slot) : NULL;
    gather->slot = NULL;
    if (conn != NULL) { /* more is to come, whose bytes are the connection's */
        gather->service = xev_conn_service_of(conn);
        gather->conn = xev_conn_handle_of(conn);
        gather->bound = true;
        xev__conn_bind(conn);
    }
    xev_conn_fill(slot, data, len_bytes);
}

void *xev_gather_user(xev_gather *gather) {
    xev__serve_check(gather != NULL, "xev_gather_user", "gather is null");
    return gather->user;
}

xev_gatherer *xev_gather_gatherer(const xev_gather *gather) {
    xev__serve_check(gather != NULL, "xev_gather_gatherer", "gather is null");
    return gather->gatherer;
}

xev_conn *xev_gather_conn(const xev_gather *gather) {
    xev__serve_check(gather != NULL, "xev_gather_conn", "gather is null");
    return gather->slot != NULL ? xev_conn_slot_conn(gather->slot) : NULL;
}
