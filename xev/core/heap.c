/* Pairing heap of completions, ordered by deadline, then by arming order.
 *
 * In a server nearly all timers are cancelled before they fire: insert is O(1), removing a timer
 * that never was the minimum of anything is O(1), only taking the minimum costs O(log n) amortised.
 * prev is the left sibling, or the parent for a first child; NULL for the root.
 */
#include "xev/core/core.h"

static bool less(const xev_completion *a, const xev_completion *b) {
    if (a->deadline_ns != b->deadline_ns) {
        return a->deadline_ns < b->deadline_ns;
    }
    return (int32_t)(a->seq - b->seq) < 0;
}

static xev_completion *meld(xev_completion *a, xev_completion *b) {
    if (less(b, a)) {
        xev_completion *t = a;
        a = b;
        b = t;
    }
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
            a = meld(a, b);
        }
        a->heap.prev = pairs;
        pairs = a;
    }
    xev_completion *root = pairs;
    if (root != NULL) {
        pairs = root->heap.prev;
        while (pairs != NULL) {
            xev_completion *next = pairs->heap.prev;
            root = meld(root, pairs);
            pairs = next;
        }
        root->heap.prev = NULL;
        root->heap.next = NULL;
    }
    return root;
}

void xev__heap_insert(xev_completion **root, xev_completion *c) {
    c->heap.child = c->heap.next = c->heap.prev = NULL;
    *root = *root == NULL ? c : meld(*root, c);
}

void xev__heap_remove(xev_completion **root, xev_completion *c) {
    xev_completion *sub = meld_siblings(c->heap.child);
    if (c == *root) {
        *root = sub;
        return;
    }
    if (c->heap.prev->heap.child == c) {
        c->heap.prev->heap.child = c->heap.next;
    } else {
        c->heap.prev->heap.next = c->heap.next;
    }
    if (c->heap.next != NULL) {
        c->heap.next->heap.prev = c->heap.prev;
    }
    if (sub != NULL) {
        *root = meld(*root, sub);
    }
}
