/* Replies that other shards make: for servers whose data is spread over the shards, so that any
 * connection may ask for what any shard has.
 *
 * A gather is one reply: a place in a connection's output (a slot of conn.h), asks to the shards
 * (ask.h) that have a part of it, and what becomes of their answers. Replies go out in the order of
 * the requests, whatever the order of the answers.
 *
 *     static void on_part(xev_gather *g, int result, const void *answer, size_t len_bytes) {
 *         *(int *)xev_gather_user(g) += result < 0 ? 0 : result;
 *     }
 *     static void on_all(xev_gather *g) {
 *         char line[32];
 *         int len = snprintf(line, sizeof line, "%d keys\n", *(int *)xev_gather_user(g));
 *         xev_gather_fill(g, line, (size_t)len);
 *     }
 *
 *     if (!xev_gather_may_ask(gatherer, conn, bytes)) return used; // goes on by itself
 *     g = xev_gather_new(gatherer, conn, sizeof(int));
 *     for each part: xev_gather_ask(g, to, vec, count, bytes);
 *     xev_gather_end(g);
 *
 * When the connection ends its asks are cancelled, those of a reply that is given already excepted.
 * part is told XEV_ECANCELED. Those that no shard has begun to handle are not handled then, unless
 * detached says otherwise.
 *
 * Memory. A peer that asks and does not read must not hold more than some memory. Each ask counts
 * so many bytes as its argument has, and its answer may have at most, by the caller's estimate. A
 * connection has conn_max_bytes under way and no more, or one ask; all connections of a shard
 * max_bytes, or one ask each. Nor may one ask that has more than conn_max_bytes of output queued.
 * Who may ask no more leaves the request in the connection's input: the data handler is called
 * again with the same input when half of its bytes have come back, or its output has fallen to
 * low_bytes. So a request of many parts can go on where it stopped. A pause of the program's
 * (xev_conn_pause) is apart from that, and holds besides.
 *
 * A connection that is to move to another shard (xev_serve_move) waits for the last answer.
 *
 * Misuse (null pointers, a reply that is filled twice) ends the program, as in completion.h. All
 * calls are made on the shard's thread that has the connection.
 */
#ifndef XEV_GATHER_H
#define XEV_GATHER_H

#include "xev/ask.h"
#include "xev/conn.h"

typedef struct xev_gather xev_gather;

/* What a connection has under way: in its user's part, zeroed as that is at the beginning. Several
 * gatherers (one with a deadline, one that is detached) have one each, or one together: then
 * conn_max_bytes is for the sum. */
typedef struct xev_gather_share {
    uint32_t bytes; /* private, as is held */
    bool held;
} xev_gather_share;

/* One shard's, the caller's memory, which stays until the last gather is gone. The fields before
 * the line are set by the caller, and stay as they are. */
typedef struct xev_gatherer {
    xev_ask_fn ask; /* on the shard that is asked */
    /* An answer, as of xev_answer_fn; or, inside xev_gather_ask, the code where that could not ask.
     * Called once for each ask. It may ask again, and may end the gather. */
    void (*part)(xev_gather *gather, int result, const void *answer, size_t len_bytes);
    /* All have answered, and xev_gather_end was called. NULL: nothing is left to be done then. A
     * reply that was not filled by the end of this is empty. */
    void (*all)(xev_gather *gather);
    uint32_t share_offset;   /* of the xev_gather_share in the user's part of a connection */
    uint32_t conn_max_bytes; /* 0: 256 KiB */
    uint64_t max_bytes;      /* 0: 256 MiB */
    uint32_t timeout_ms;     /* of each ask, as of xev_shard_ask; 0: none */
    bool detached; /* asks go on when the connection has ended: for those that change something */
    void *userdata;
    /* ---- */
    uint64_t under_way_bytes; /* now, of all connections */
} xev_gatherer;

XEV_BEGIN_DECLS

/* Without a gather: ask one shard, as by xev_shard_ask, for what is to fill slot. answered fills
 * it, whatever the result. When the connection ends before that the ask is cancelled, and the slot
 * goes nowhere. 0 or a code of xev_shard_ask: then the slot is still to be filled. One at a time
 * for a slot. */
XEV_NODISCARD int xev_conn_ask(xev_conn_slot *slot, xev_shard *to, const xev_vec *vec, size_t count,
                               uint32_t timeout_ms, xev_ask_fn fn, void *userdata,
                               xev_answer_fn answered);

/* May the connection have an ask of so many bytes more (0: a part that is done here, whose reply is
 * only written)? False: its data handler is not called until there is room. Data handler. */
XEV_NODISCARD bool xev_gather_may_ask(xev_gatherer *gatherer, xev_conn *conn, size_t bytes);

/* A reply, behind what was written to the connection by now, with user_bytes (to 1 MiB) for the
 * caller, zeroed and aligned for any type. NULL: more than that, lack of memory, or the connection
 * takes no output, or has slots_max reserved: end it. */
XEV_NODISCARD xev_gather *xev_gather_new(xev_gatherer *gatherer, xev_conn *conn, size_t user_bytes);

/* Ask shard to, with a copy of count pieces at vec, as by xev_shard_ask, within timeout_ms. Counts
 * so many bytes; whether there may be so many is for xev_gather_may_ask. Where it cannot be asked
 * part is called at once, with xev_shard_ask's code or XEV_ENOMEM. */
void xev_gather_ask(xev_gather *gather, xev_shard *to, const xev_vec *vec, size_t count,
                    size_t bytes);

/* No more is asked. Where all have answered already, all is called at once; in part, when that
 * returns. The gather is gone after all. One that a connection which has gone leaves in the middle
 * is ended, too. */
void xev_gather_end(xev_gather *gather);

/* In the closed handler with XEV_CONN_LOOP_ENDED, in the place of xev_gather_end, as the reply can
 * go nowhere any more: free one that was not ended. */
void xev_gather_drop(xev_gather *gather);

/* Give the reply, once: in part, where no other part is to come, or in all. What a connection that
 * has gone is given goes nowhere. Limits and lack of memory as of xev_conn_fill. */
void xev_gather_fill(xev_gather *gather, const void *data, size_t len_bytes);

/* What it was made with: the caller's part of it, and the gatherer. */
void *xev_gather_user(xev_gather *gather);
xev_gatherer *xev_gather_gatherer(const xev_gather *gather);

/* The connection that waits for it. NULL: that has gone, or the reply was given. */
xev_conn *xev_gather_conn(const xev_gather *gather);

XEV_END_DECLS

#endif
