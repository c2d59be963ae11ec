/* The loop's table of descriptors. The entry of a descriptor holds the queues of the operations on
 * it.
 *
 * All loops of a process share the descriptor numbers. A table of entries by number would give each
 * loop the memory for the connections of all loops. So the table by number has four bytes per
 * number, which lead to an entry, and only the descriptors that this loop works on have entries.
 */
#include <assert.h>
#include <string.h>

#include "xev/core/core.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"

/* ---- the table by number ---- */

#define INDEX_FIRST_LEN 64u
#define INDEX_LOOKS 65536u /* numbers that the trimmer looks at in one call: some 20 us */

static bool resize_index(struct xev__fds *fds, uint32_t len) {
    uint32_t *p = xev__alloc_zeroed(fds->allocator, len * sizeof *p, _Alignof(max_align_t));
    if (p == NULL) {
        return false;
    }
    uint32_t both = len < fds->index_len ? len : fds->index_len;
    if (both > 0) {
        memcpy(p, fds->index, both * sizeof *p);
    }
    xev__free(fds->allocator, fds->index, fds->index_len * sizeof *p);
    fds->index = p;
    fds->index_len = len;
    return true;
}

static uint32_t index_len_for(uint32_t numbers) {
    uint32_t len = INDEX_FIRST_LEN;
    while (len < numbers) {
        len = xev__table_len(2 * len, sizeof(uint32_t));
    }
    return len;
}

/* So many numbers fit into half of a smaller table. */
static uint32_t low_numbers(const struct xev__fds *fds) {
    return fds->index_len > INDEX_FIRST_LEN
               ? xev__table_len_before(fds->index_len, sizeof *fds->index) / 2
               : 0;
}

/* A larger table is made when a number does not fit. When no number that would not fit into half of
 * a smaller one had an entry for a second, there is a smaller one. */
static enum xev__trim trim_index(xev_loop *loop, struct xev__trimmer *t) {
    struct xev__fds *fds = loop->fds;
    uint32_t top = fds->index_top, low = low_numbers(fds);
    (void)t;
    for (uint32_t n = 0; top > 0 && fds->index[top - 1] == 0; n++, top--) {
        if (n == INDEX_LOOKS) {
            fds->index_top = top;
            return XEV__TRIM_MORE;
        }
    }
    bool was_needed = fds->index_top > low;
    fds->index_top = top;
    if (top > low || fds->index_len == INDEX_FIRST_LEN) {
        return XEV__TRIM_DONE; /* until one of those numbers is dropped */
    }
    return !was_needed && resize_index(fds, index_len_for(2 * top)) ? XEV__TRIM_DONE
                                                                    : XEV__TRIM_LATER;
}

/* ---- beginning and end ---- */

static void init_entry(void *entry, uint32_t number) {
    (void)number;
    ((struct xev__fd *)entry)->fd = XEV_INVALID_FD;
}

struct xev__fds *xev__fds_new(xev_loop *loop) {
    const xev_allocator *a = &loop->options.allocator;
    struct xev__fds *fds = xev__alloc_zeroed(a, sizeof *fds, _Alignof(max_align_t));
    if (fds == NULL) {
        return NULL;
    }
    fds->allocator = a;
    fds->entries = (struct xev__chunks){
        .loop = loop,
        .item_bytes = sizeof(struct xev__fd),
        .alignment = 64, /* a cache line */
        .link_at = offsetof(struct xev__fd, ops),
        .gen_at = offsetof(struct xev__fd, gen),
        .init = init_entry,
    };
    xev__chunks_init(&fds->entries);
    fds->index_trimmer.trim = trim_index;
    xev__trimmer_add(loop, &fds->index_trimmer);
    return fds;
}

void xev__fds_free(struct xev__fds *fds) {
    if (fds == NULL) {
        return;
    }
    const xev_allocator *a = fds->allocator;
    xev__chunks_free(&fds->entries);
    xev__free(a, fds->requests, fds->requests_room * sizeof *fds->requests);
    xev__free(a, fds->index, fds->index_len * sizeof *fds->index);
    xev__free(a, fds, sizeof *fds);
}

/* ---- entries ---- */

struct xev__fd *xev__fds_get(struct xev__fds *fds, xev_fd fd) {
    struct xev__fd *e = xev__fds_find(fds, fd);
    if (e != NULL) {
        return e;
    }
    /* The program may pass any number. The table grows only for the number of an open descriptor.
     */
    if ((uint32_t)fd >= fds->index_len &&
        (!xev__os_is_open(fd) || !resize_index(fds, index_len_for((uint32_t)fd + 1)))) {
        return NULL;
    }
    uint32_t number = xev__chunks_take(&fds->entries);
    if (number == XEV__CHUNKS_NONE) {
        return NULL;
    }
    fds->index[fd] = number + 1;
    if ((uint32_t)fd >= fds->index_top) {
        fds->index_top = (uint32_t)fd + 1;
    }
    e = xev__fds_entry(fds, number);
    assert(e->fd == XEV_INVALID_FD);
    *e = (struct xev__fd){
        .fd = fd, .gen = e->gen, .ready = xev__bit(XEV__READ) | xev__bit(XEV__WRITE)};
    return e;
}

void xev__fds_reclaim(struct xev__fds *fds, struct xev__fd *e) {
    if (e->fd == XEV_INVALID_FD && !e->listed && e->waits == 0) {
        xev__chunks_give(&fds->entries, xev__fds_number(fds, e));
    }
}

void xev__fds_drop(struct xev__fds *fds, struct xev__fd *e) {
    uint32_t number = xev__fds_number(fds, e);
    assert(e->fd != XEV_INVALID_FD && e->ops == 0 && !e->has_requests);
    assert(e == xev__fds_entry(fds, number));
    fds->index[e->fd] = 0;
    if (fds->index_len > INDEX_FIRST_LEN && (uint32_t)e->fd >= low_numbers(fds)) {
        xev__trim_soon(fds->entries.loop, &fds->index_trimmer);
    }
    e->fd = XEV_INVALID_FD;
    e->ops = number;
    e->gen++;
    xev__fds_reclaim(fds, e);
}

void xev__forget_stale(xev_loop *loop, xev_fd fd) {
    struct xev__fd *e = xev__fds_find(loop->fds, fd);
    if (e != NULL && e->ops == 0 && e->closer == NULL) {
        xev__fds_drop(loop->fds, e);
    }
}

struct xev__fd *xev__fds_check(xev_loop *loop, struct xev__fd *e) {
    assert(xev__registered(e) && e->ops == 0 && e->closer == NULL);
    bool same_turn = loop->running && e->idle_turn == (uint32_t)loop->count.turns;
    if (same_turn || loop->ops->still_reports(loop, e)) {
        return e;
    }
    xev_fd fd = e->fd;
    xev__fds_drop(loop->fds, e);
    return xev__fds_get(loop->fds, fd);
}

int xev__fds_release(xev_loop *loop, xev_fd fd) {
    struct xev__fd *e = xev__fds_find(loop->fds, fd);
    if (xev__tries_have(loop, fd)) {
        return XEV_EBUSY;
    }
    xev__forget_hint(loop, fd);
    if (e == NULL) {
        return 0;
    }
    if (e->closer != NULL && xev__kinds[XEV__OP_CLOSE].close_is_past(e->closer)) {
        return 0; /* another file has the number, and the loop does not know it */
    }
    if (e->ops > 0 || e->closer != NULL) {
        return XEV_EBUSY;
    }
    loop->ops->forget(loop, e);
    xev__fds_drop(loop->fds, e);
    return 0;
}

/* ---- records of requests ---- */

struct xev__fd_requests *xev__fds_make_requests(struct xev__fds *fds, struct xev__fd *e) {
    if (!e->has_requests && fds->free_requests == 0) {
        uint32_t old = fds->requests_room, room = old != 0 ? 2 * old : 8;
        struct xev__fd_requests *p = fds->requests;
        p = xev__grow(fds->allocator, p, old * sizeof *p, room * sizeof *p);
        if (p == NULL) {
            return NULL;
        }
        for (uint32_t i = room; i-- > old;) {
            p[i].next_free = fds->free_requests;
            fds->free_requests = i + 1;
        }
        fds->requests = p;
        fds->requests_room = room;
    }
    if (!e->has_requests) {
        e->has_requests = true;
        e->requests = fds->free_requests - 1;
        struct xev__fd_requests *r = &fds->requests[e->requests];
        fds->free_requests = r->next_free;
        fds->requests_used++;
        *r = (struct xev__fd_requests){0};
    }
    return xev__fds_requests(fds, e);
}

/* The memory of so many records is kept while none is in use. */
#define REQUESTS_KEPT 64u

void xev__fds_end_requests(struct xev__fds *fds, struct xev__fd *e) {
    struct xev__fd_requests *r = xev__fds_requests(fds, e);
    assert(r != NULL && r->side_by_side == NULL && r->in_order == NULL && r->in_order_now == NULL);
    assert(fds->requests_used > 0);
    r->next_free = fds->free_requests;
    fds->free_requests = e->requests + 1;
    e->has_requests = false;
    if (--fds->requests_used == 0 && fds->requests_room > REQUESTS_KEPT) {
        xev__free(fds->allocator, fds->requests, fds->requests_room * sizeof *fds->requests);
        fds->requests = NULL;
        fds->requests_room = fds->free_requests = 0;
    }
}

/* ---- heads that wait for a resource ---- */

static void wait_push(struct xev__fds *fds, enum xev__wait wait, struct xev__fd *e) {
    if ((e->waits >> wait & 1) != 0) {
        return; /* listed for its other queue, or for an operation that was cancelled since */
    }
    uint32_t link = xev__fds_number(fds, e) + 1;
    e->waits = (e->waits | 1u << wait) & 3u;
    e->next_waiting[wait] = 0;
    if (fds->waiting[wait].tail != 0) {
        xev__fds_entry(fds, fds->waiting[wait].tail - 1)->next_waiting[wait] = link;
    } else {
        fds->waiting[wait].head = link;
    }
    fds->waiting[wait].tail = link;
}

static struct xev__fd *wait_pop(struct xev__fds *fds, enum xev__wait wait) {
    assert(fds->waiting[wait].head != 0);
    struct xev__fd *e = xev__fds_entry(fds, fds->waiting[wait].head - 1);
    assert((e->waits >> wait & 1) != 0);
    fds->waiting[wait].head = e->next_waiting[wait];
    if (fds->waiting[wait].head == 0) {
        fds->waiting[wait].tail = 0;
    }
    e->waits = e->waits & ~(1u << wait) & 3u;
    return e;
}

/* Start the heads of e's queues that are STARVED. They may have been cancelled meanwhile. True: the
 * head of the read queue was started. */
static bool restart_starved(xev_loop *loop, struct xev__fd *e) {
    xev_completion *c = e->head[XEV__WRITE];
    if (c != NULL && c->state == XEV__STARVED) {
        c->state = XEV__STARTED;
        e->ready |= xev__bit(XEV__WRITE);
        xev__start(loop, e, c);
    }
    c = e->head[XEV__READ];
    xev__fds_reclaim(loop->fds, e);
    if (c == NULL || c->state != XEV__STARVED) {
        return false;
    }
    c->state = XEV__STARTED;
    loop->ops->start(loop, e, c);
    return true;
}

static xev_cb_action retry_paused(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    if (result == 0) {
        xev__fds_resume_paused(loop);
    }
    return XEV_DISARM;
}

/* Have the loop's retry timer expire at deadline_ns at the latest. */
static void arm_retry_timer(xev_loop *loop, uint64_t deadline_ns) {
    xev_completion *timer = &loop->retry;
    if (timer->state == XEV__DEAD) {
        (void)xev__begin("the loop's retry", loop, timer, XEV__OP_TIMER, NULL, retry_paused);
        xev__timer_arm(loop, timer, deadline_ns);
        xev__make_internal(loop, timer);
    } else if (timer->state == XEV__TIMER && timer->deadline_ns > deadline_ns) {
        xev__timers_remove(&loop->timers, timer);
        xev__timer_arm(loop, timer, deadline_ns);
    }
}

/* How long an operation waits for a resource whose return nobody reports: memory, descriptors, or
 * room at a Unix socket. Other threads and other libraries may give the resource back. */
#define RETRY_NS 10000000u

void xev__fds_starve(xev_loop *loop, struct xev__fd *e, bool want_buffer) {
    if (!want_buffer) {
        xev__fds_pause(loop, e, e->head[XEV__READ]);
        return;
    }
    assert(e->head[XEV__READ] != NULL && (e->head[XEV__READ]->flags & XEV__F_LOAN) != 0);
    e->head[XEV__READ]->state = XEV__STARVED;
    xev__count(&loop->count.starved, 1);
    wait_push(loop->fds, XEV__WAIT_BUFFER, e);
}

void xev__fds_pause(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    assert(c != NULL && c->state == XEV__STARTED && c == e->head[xev__dir(c)]);
    c->state = XEV__STARVED;
    xev__count(&loop->count.paused, 1);
    wait_push(loop->fds, XEV__WAIT_TIME, e);
    arm_retry_timer(loop, xev__deadline(xev__os_now_ns(), RETRY_NS));
}

void xev__fds_pause_accept(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    assert(c == e->head[XEV__READ] && c->op == XEV__OP_ACCEPT);
    c->state = XEV__STARVED;
    xev__count(&loop->count.paused, 1);
    wait_push(loop->fds, XEV__WAIT_TIME, e);
    arm_retry_timer(loop, c->arg.accept.again_ns);
}

bool xev__fds_feed(xev_loop *loop) {
    struct xev__fds *fds = loop->fds;
    if (fds->waiting[XEV__WAIT_BUFFER].head == 0) {
        return false;
    }
    uint32_t limit = loop->ops->buffers_free(loop);
    while (limit > 0 && fds->waiting[XEV__WAIT_BUFFER].head != 0) {
        if (restart_starved(loop, wait_pop(fds, XEV__WAIT_BUFFER))) {
            limit--;
        }
    }
    return fds->waiting[XEV__WAIT_BUFFER].head != 0 && loop->ops->buffers_free(loop) > 0;
}

/* Whether e waits only for an accept that is not due yet. */
static bool accept_must_wait(const xev_loop *loop, const struct xev__fd *e) {
    const xev_completion *c = e->head[XEV__READ], *writer = e->head[XEV__WRITE];
    return c != NULL && c->op == XEV__OP_ACCEPT && c->state == XEV__STARVED &&
           c->arg.accept.again_ns > loop->now_ns &&
           (writer == NULL || writer->state != XEV__STARVED);
}

void xev__fds_resume_paused(xev_loop *loop) {
    struct xev__fds *fds = loop->fds;
    uint32_t last = fds->waiting[XEV__WAIT_TIME].tail;
    for (uint32_t number = 0; number != last;) {
        number = fds->waiting[XEV__WAIT_TIME].head;
        struct xev__fd *e = wait_pop(fds, XEV__WAIT_TIME);
        if (accept_must_wait(loop, e)) {
            wait_push(fds, XEV__WAIT_TIME, e);
            arm_retry_timer(loop, e->head[XEV__READ]->arg.accept.again_ns);
        } else {
            (void)restart_starved(loop, e);
        }
    }
}
