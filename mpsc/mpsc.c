/* mpsc.c: the queue of mpsc.h. The argument for its memory order stands there.
 *
 * Invariants. Followed from `tail`, the links end at a NULL: that of the newest node, `head`, or of
 * a node whose successor has been exchanged and not linked yet. The stub is in the queue at most
 * once, and is in it while tail or head points to it; so the queue is empty exactly when both do.
 * `tail` is the consumer's alone. A producer writes to one node that is not its own, once: its
 * predecessor's `next`. The consumer lets go of a node only after it has seen that write.
 *
 * Fences are named by Concurrency Kit for what they order; on x86 (TSO) all but store_load are
 * compiler barriers, because the exchange is a full fence there.
 */
#include "xev/mpsc.h"

#include <assert.h>
#include <ck_pr.h>
#include <stddef.h>
#include <stdint.h>

#include "mpsc/handoff.h"

static_assert(offsetof(xev_mpsc, tail) == XEV_MPSC_CACHE_LINE, "producer side is one line");
static_assert(sizeof(xev_mpsc) == 2 * (size_t)XEV_MPSC_CACHE_LINE, "consumer side is one line");

void xev_mpsc_init(xev_mpsc *q) {
    assert((uintptr_t)q % XEV_MPSC_CACHE_LINE == 0);
    q->stub.next = NULL;
    q->head = &q->stub;
    q->parked = 0;
    q->tail = &q->stub;
}

static void append(xev_mpsc *q, xev_mpsc_node *first, xev_mpsc_node *last) {
    assert(first != NULL && last != NULL);
    ck_pr_store_ptr(&last->next, NULL);
    /* The nodes' contents, and last->next, before anybody can find them. */
    ck_pr_fence_release();
    xev_mpsc_node *prev = ck_pr_fas_ptr(&q->head, last);
    assert(prev != NULL && prev != last); /* or the node was in the queue already */
    /* Full: push's side of the wake protocol, before `parked` is read. */
    ck_pr_fence_atomic_load();
    /* Until this store `first` and all behind it cannot be reached: spurious empty. It may become
     * visible even after the wake; then the woken consumer finds pop NULL and park false. */
    ck_pr_store_ptr(&prev->next, first);
}

/* Of all who see the consumer parked, one gets true. One load while it is awake. */
static bool take_wake_duty(xev_mpsc *q) {
    return ck_pr_load_uint(&q->parked) == 1 && ck_pr_fas_uint(&q->parked, 0) == 1;
}

bool xev_mpsc_push_batch(xev_mpsc *q, xev_mpsc_node *first, xev_mpsc_node *last) {
    assert(first != NULL && last != NULL);
    if (XEV_HANDOFF_ENABLED) {
        for (xev_mpsc_node *n = first; n != last;) {
            xev_mpsc_node *given = n;
            n = n->next; /* before the release, which ends our right to look */
            XEV_HANDOFF_RELEASE(given);
        }
    }
    XEV_HANDOFF_RELEASE(last);
    append(q, first, last);
    return take_wake_duty(q);
}

bool xev_mpsc_push(xev_mpsc *q, xev_mpsc_node *n) { return xev_mpsc_push_batch(q, n, n); }

/* n is the oldest node, and next stands behind it: n leaves the queue. */
static xev_mpsc_node *take_node(xev_mpsc *q, xev_mpsc_node *n, xev_mpsc_node *next) {
    assert(n != NULL && n != &q->stub && next != NULL && next != n);
    q->tail = next;
    /* The producer's writes before the consumer's reads, and before it writes over them. */
    ck_pr_fence_acquire();
    XEV_HANDOFF_ACQUIRE(n);
    return n;
}

xev_mpsc_node *xev_mpsc_pop(xev_mpsc *q) {
    xev_mpsc_node *tail = q->tail;
    xev_mpsc_node *next = ck_pr_load_ptr(&tail->next);
    if (tail == &q->stub) {
        if (next == NULL) {
            return NULL;
        }
        q->tail = next;
        tail = next;
        next = ck_pr_load_ptr(&tail->next);
    }
    if (next != NULL) {
        return take_node(q, tail, next);
    }
    if (ck_pr_load_ptr(&q->head) != tail) {
        return NULL; /* a producer has exchanged and not linked yet */
    }
    /* tail is the last node. It cannot be let go before somebody stands behind it: the stub. */
    append(q, &q->stub, &q->stub);
    next = ck_pr_load_ptr(&tail->next);
    if (next != NULL) {
        return take_node(q, tail, next);
    }
    return NULL; /* a producer came in before the stub and has not linked yet */
}

bool xev_mpsc_empty(const xev_mpsc *q) {
    return q->tail == &q->stub && ck_pr_load_ptr(&q->head) == &q->stub;
}

bool xev_mpsc_park(xev_mpsc *q) {
    /* Saves the fence, and the producers a needless wake; proves nothing. */
    if (!xev_mpsc_empty(q)) {
        return false;
    }
    ck_pr_store_uint(&q->parked, 1);
    ck_pr_fence_store_load();
    if (xev_mpsc_empty(q)) {
        return true;
    }
    ck_pr_store_uint(&q->parked, 0);
    return false;
}

void xev_mpsc_unpark(xev_mpsc *q) { ck_pr_store_uint(&q->parked, 0); }

bool xev_mpsc_wake(xev_mpsc *q) {
    ck_pr_fence_store_load();
    return take_wake_duty(q);
}

void xev_mpsc_not_woken(xev_mpsc *q) {
    ck_pr_fence_memory();
    ck_pr_store_uint(&q->parked, 1);
    ck_pr_fence_memory();
}
