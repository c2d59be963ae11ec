/* The timers of a loop, in order of deadline, then of arming: a list, and a forest of pairing
 * heaps.
 *
 * In a server nearly all timers are cancelled, and many of them soon after they were armed. So a
 * timer is first put into a list, the nursery, in any order: arming it and taking it away costs a
 * few stores. The nursery is sorted into the forest when it is full, or when the first of all
 * timers may be in it. Then a timer has cost one comparison, and taking it away costs as many as it
 * has children: one on average.
 *
 * One pairing heap has these costs too, but not at each call: a million timers armed in a row
 * become children of the first of them, and the removal of that one goes through them all (60 to
 * 100 ms). So the forest has many heaps, one per rank: two of the same rank become one of the next
 * rank, as when a binary counter is incremented. A timer gets one child per rank in this way.
 *
 * Within a heap: child is the first child, next the right sibling, prev the left sibling or, of a
 * first child, the parent; a root has neither prev nor next. In the nursery child is the timer
 * itself, and next and prev are its neighbours.
 */
#include <assert.h>

#include "xev/core/core.h"

/* How many timers an arming may have to sort. That takes 10 to 50 us. */
#define NURSERY_MAX 512u

static bool is_earlier(const xev_completion *a, const xev_completion *b) {
    if (a->deadline_ns != b->deadline_ns) {
        return a->deadline_ns < b->deadline_ns;
    }
    return (int32_t)(a->seq - b->seq) < 0;
}

/* The root that is earlier becomes the parent of the other root. Returns it. */
static xev_completion *meld_heaps(xev_completion *a, xev_completion *b) {
    if (is_earlier(b, a)) {
        xev_completion *t = a;
        a = b;
        b = t;
    }
    assert(a != b);
    b->heap.prev = a;
    b->heap.next = a->heap.child;
    if (b->heap.next != NULL) {
        b->heap.next->heap.prev = b;
    }
    a->heap.child = b;
    return a;
}

/* Two passes over a list of siblings: meld them in pairs, left to right, then the pairs together,
 * right to left. The pairs are chained by heap.prev meanwhile. */
static xev_completion *meld_siblings(xev_completion *c) {
    xev_completion *pairs = NULL;
    while (c != NULL) {
        xev_completion *a = c, *b = c->heap.next;
        c = b != NULL ? b->heap.next : NULL;
        a->heap.next = NULL;
        if (b != NULL) {
            b->heap.next = NULL;
            a = meld_heaps(a, b);
        }
        a->heap.prev = pairs;
        pairs = a;
    }
    xev_completion *root = pairs;
    if (root != NULL) {
        pairs = root->heap.prev;
        while (pairs != NULL) {
            xev_completion *next = pairs->heap.prev;
            root = meld_heaps(root, pairs);
            pairs = next;
        }
        root->heap.prev = NULL;
        root->heap.next = NULL;
    }
    return root;
}

/* Two heaps of one rank become one heap of the next rank. A heap of the last rank may hold any
 * number of timers. */
static void add_heap(struct xev__forest *f, xev_completion *root) {
    uint32_t rank = 0;
    while ((f->used & 1u << rank) != 0 && rank < XEV__FOREST_RANKS - 1) {
        root = meld_heaps(root, f->roots[rank]);
        f->used &= ~(1u << rank);
        rank++;
    }
    if ((f->used & 1u << rank) != 0) {
        root = meld_heaps(root, f->roots[rank]);
    }
    assert(root->heap.prev == NULL && root->heap.next == NULL);
    f->roots[rank] = root;
    f->used |= 1u << rank;
}

static void sort_nursery(struct xev__timers *t) {
    struct xev__forest sorted;
    xev_completion *root = NULL;
    sorted.used = 0;
    while (t->nursery != NULL) {
        xev_completion *c = t->nursery;
        if (c->heap.child != c) {
            xev__actives_lost(c);
        }
        t->nursery = c->heap.next;
        c->heap.child = c->heap.next = c->heap.prev = NULL;
        add_heap(&sorted, c);
    }
    for (uint32_t rank = 0; sorted.used >> rank != 0; rank++) {
        if ((sorted.used & 1u << rank) != 0) {
            root = root != NULL ? meld_heaps(root, sorted.roots[rank]) : sorted.roots[rank];
        }
    }
    assert(root != NULL);
    if (t->first != NULL && is_earlier(root, t->first)) {
        t->first = root;
    }
    add_heap(&t->forest, root);
    t->nursery_len = 0;
    t->nursery_from_ns = UINT64_MAX;
}

void xev__timers_insert(struct xev__timers *t, xev_completion *c) {
    assert(t->nursery_len < NURSERY_MAX);
    assert((t->nursery_len == 0) == (t->nursery == NULL));
    c->heap.child = c;
    c->heap.prev = NULL;
    c->heap.next = t->nursery;
    if (t->nursery != NULL) {
        t->nursery->heap.prev = c;
    }
    t->nursery = c;
    if (t->nursery_len == 0 || c->deadline_ns < t->nursery_from_ns) {
        t->nursery_from_ns = c->deadline_ns;
    }
    if (++t->nursery_len == NURSERY_MAX) {
        sort_nursery(t);
    }
}

static void remove_root(struct xev__timers *t, const xev_completion *c, xev_completion *heir) {
    struct xev__forest *f = &t->forest;
    uint32_t rank = 0;
    while ((f->used & 1u << rank) == 0 || f->roots[rank] != c) {
        rank++;
        assert(rank < XEV__FOREST_RANKS);
    }
    f->roots[rank] = heir;
    if (heir == NULL) {
        f->used &= ~(1u << rank);
    }
    if (t->first == c) {
        t->first = NULL; /* found again by xev__timers_first */
    }
}

void xev__timers_remove(struct xev__timers *t, xev_completion *c) {
    xev_completion *prev = c->heap.prev, *next = c->heap.next, *heir = NULL;
    if (c->heap.child == c) {
        assert(t->nursery_len > 0);
        t->nursery_len--;
        if (prev == NULL) {
            t->nursery = next;
        } else {
            prev->heap.next = next;
        }
        if (next != NULL) {
            next->heap.prev = prev;
        }
        return;
    }
    assert(t->forest.used != 0);
    if (c->heap.child != NULL) {
        heir = meld_siblings(c->heap.child);
    }
    if (prev == NULL) {
        remove_root(t, c, heir);
        return;
    }
    assert(t->first != c);
    if (heir != NULL) {
        /* The earliest of its children takes its place: none of them is before its parent. */
        heir->heap.prev = prev;
        heir->heap.next = next;
        if (next != NULL) {
            next->heap.prev = heir;
        }
        next = heir;
    } else if (next != NULL) {
        next->heap.prev = prev;
    }
    if (prev->heap.child == c) {
        prev->heap.child = next;
    } else {
        prev->heap.next = next;
    }
}

static xev_completion *first_of_forest(const struct xev__forest *f) {
    xev_completion *first = NULL;
    for (uint32_t rank = 0; f->used >> rank != 0 && rank < XEV__FOREST_RANKS; rank++) {
        if ((f->used & 1u << rank) != 0 && (first == NULL || is_earlier(f->roots[rank], first))) {
            first = f->roots[rank];
        }
    }
    return first;
}

xev_completion *xev__timers_first(struct xev__timers *t) {
    if (t->first == NULL && t->forest.used != 0) {
        t->first = first_of_forest(&t->forest);
    }
    /* Of equal deadlines the one in the forest was armed before. */
    bool sorted =
        t->nursery_len == 0 || (t->first != NULL && t->first->deadline_ns <= t->nursery_from_ns);
    if (!sorted) {
        sort_nursery(t);
        t->first = t->first != NULL ? t->first : first_of_forest(&t->forest);
    }
    assert(t->first == NULL || t->first->heap.prev == NULL);
    return t->first;
}
