/* The loop's table of descriptors: who waits on which, in what order.
 *
 * Descriptor numbers are shared by all loops of a process, so a table by number would hold room in
 * every loop for the connections of all. Four bytes per number lead to an entry instead, and only
 * descriptors this loop works on have one.
 */
#include <assert.h>
#include <string.h>

#include "xev/core/core.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"

struct xev__fds *xev__fds_new(const xev_allocator *a) {
    struct xev__fds *fds = xev__alloc_zeroed(a, sizeof *fds, _Alignof(max_align_t));
    if (fds != NULL) {
        fds->allocator = a;
    }
    return fds;
}

void xev__fds_free(struct xev__fds *fds) {
    if (fds == NULL) {
        return;
    }
    const xev_allocator *a = fds->allocator;
    for (uint32_t i = 0; i < fds->chunks_len; i++) {
        xev__free(a, fds->chunks[i], XEV__FD_CHUNK * sizeof *fds->chunks[i]);
    }
    xev__free(a, fds->chunks, fds->chunks_room * sizeof *fds->chunks);
    xev__free(a, fds->index, fds->index_len * sizeof *fds->index);
    xev__free(a, fds, sizeof *fds);
}

static bool grow_index(struct xev__fds *fds, uint32_t want) {
    uint32_t len = fds->index_len != 0 ? fds->index_len : 64;
    while (len <= want) {
        len *= 2;
    }
    uint32_t *p = fds->index;
    p = xev__grow(fds->allocator, p, fds->index_len * sizeof *p, len * sizeof *p);
    if (p == NULL) {
        return false;
    }
    fds->index = p;
    fds->index_len = len;
    return true;
}

static bool grow_entries(struct xev__fds *fds) {
    struct xev__fd **p = fds->chunks;
    if (fds->chunks_len == fds->chunks_room) {
        uint32_t room = fds->chunks_room != 0 ? 2 * fds->chunks_room : 8;
        p = xev__grow(fds->allocator, p, fds->chunks_room * sizeof *p, room * sizeof *p);
        if (p == NULL) {
            return false;
        }
        fds->chunks = p;
        fds->chunks_room = room;
    }
    struct xev__fd *chunk =
        xev__alloc_zeroed(fds->allocator, XEV__FD_CHUNK * sizeof *chunk, _Alignof(max_align_t));
    if (chunk == NULL) {
        return false;
    }
    for (uint32_t i = XEV__FD_CHUNK; i-- > 0;) {
        chunk[i].index = fds->chunks_len * XEV__FD_CHUNK + i;
        chunk[i].fd = XEV_INVALID_FD;
        chunk[i].ops = fds->free_head;
        fds->free_head = chunk[i].index + 1;
    }
    p[fds->chunks_len++] = chunk;
    return true;
}

struct xev__fd *xev__fds_get(struct xev__fds *fds, xev_fd fd) {
    struct xev__fd *e = xev__fds_find(fds, fd);
    if (e != NULL) {
        return e;
    }
    /* A number that is no descriptor's may be of any size: no room is made for it. */
    if ((uint32_t)fd >= fds->index_len &&
        (!xev__os_is_open(fd) || !grow_index(fds, (uint32_t)fd))) {
        return NULL;
    }
    if (fds->free_head == 0 && !grow_entries(fds)) {
        return NULL;
    }
    e = xev__fds_entry(fds, fds->free_head - 1);
    fds->free_head = e->ops;
    fds->index[fd] = e->index + 1;
    uint32_t index = e->index, gen = e->gen;
    memset(e, 0, sizeof *e);
    e->index = index;
    e->gen = gen;
    e->fd = fd;
    e->ready[XEV__READ] = e->ready[XEV__WRITE] = true;
    return e;
}

void xev__fds_reclaim(struct xev__fds *fds, struct xev__fd *e) {
    if (e->fd == XEV_INVALID_FD && !e->listed && !e->waits[0] && !e->waits[1]) {
        e->ops = fds->free_head;
        fds->free_head = e->index + 1;
    }
}

void xev__fds_drop(struct xev__fds *fds, struct xev__fd *e) {
    fds->index[e->fd] = 0;
    e->fd = XEV_INVALID_FD;
    e->gen++;
    xev__fds_reclaim(fds, e);
}

/* ---- heads that wait for a resource ---- */

static void wait_push(struct xev__fds *fds, enum xev__wait wait, struct xev__fd *e) {
    if (e->waits[wait]) {
        return; /* from an operation cancelled since, or the other direction: one entry serves */
    }
    e->waits[wait] = true;
    e->next_waiting[wait] = NULL;
    if (fds->waiting[wait].tail != NULL) {
        fds->waiting[wait].tail->next_waiting[wait] = e;
    } else {
        fds->waiting[wait].head = e;
    }
    fds->waiting[wait].tail = e;
}

static struct xev__fd *wait_pop(struct xev__fds *fds, enum xev__wait wait) {
    struct xev__fd *e = fds->waiting[wait].head;
    fds->waiting[wait].head = e->next_waiting[wait];
    if (fds->waiting[wait].head == NULL) {
        fds->waiting[wait].tail = NULL;
    }
    e->waits[wait] = false;
    return e;
}

/* Restart the heads of e's queues that starved; they may have been cancelled since. True: the one
 * that reads is started. */
static bool restart(xev_loop *loop, struct xev__fd *e) {
    xev_completion *c = e->head[XEV__WRITE];
    if (c != NULL && c->state == XEV__STARVED) {
        c->state = XEV__STARTED;
        e->ready[XEV__WRITE] = true;
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

/* Arm the loop's timer for what waits, unless it comes earlier anyway. */
static void retry_by(xev_loop *loop, uint64_t deadline_ns) {
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

/* How long something waits that nothing announces: memory, or room at a Unix socket. Whatever frees
 * it in the meantime is not known to us: other threads and other libraries do so too. */
#define RETRY_NS 10000000u

void xev__fds_starve(xev_loop *loop, struct xev__fd *e, bool want_buffer) {
    if (!want_buffer) {
        xev__fds_pause(loop, e, e->head[XEV__READ]);
        return;
    }
    e->head[XEV__READ]->state = XEV__STARVED;
    xev__count(&loop->count.starved, 1);
    wait_push(loop->fds, XEV__WAIT_BUFFER, e);
}

void xev__fds_pause(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    c->state = XEV__STARVED;
    xev__count(&loop->count.paused, 1);
    wait_push(loop->fds, XEV__WAIT_TIME, e);
    retry_by(loop, xev__deadline(xev__os_now_ns(), RETRY_NS));
}

void xev__fds_pause_accept(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    assert(c == e->head[XEV__READ] && c->op == XEV__OP_ACCEPT);
    c->state = XEV__STARVED;
    xev__count(&loop->count.paused, 1);
    wait_push(loop->fds, XEV__WAIT_TIME, e);
    retry_by(loop, c->arg.accept.again_ns);
}

bool xev__fds_feed(xev_loop *loop) {
    struct xev__fds *fds = loop->fds;
    if (fds->waiting[XEV__WAIT_BUFFER].head == NULL) {
        return false;
    }
    uint32_t limit = loop->ops->buffers_free(loop);
    while (limit > 0 && fds->waiting[XEV__WAIT_BUFFER].head != NULL) {
        if (restart(loop, wait_pop(fds, XEV__WAIT_BUFFER))) {
            limit--;
        }
    }
    return fds->waiting[XEV__WAIT_BUFFER].head != NULL && loop->ops->buffers_free(loop) > 0;
}

/* An accept whose time has not come. */
static bool waits_longer(const xev_loop *loop, const struct xev__fd *e) {
    const xev_completion *c = e->head[XEV__READ], *writer = e->head[XEV__WRITE];
    return c != NULL && c->op == XEV__OP_ACCEPT && c->state == XEV__STARVED &&
           c->arg.accept.again_ns > loop->now_ns &&
           (writer == NULL || writer->state != XEV__STARVED);
}

void xev__fds_resume_paused(xev_loop *loop) {
    struct xev__fds *fds = loop->fds;
    const struct xev__fd *e = NULL, *last = fds->waiting[XEV__WAIT_TIME].tail;
    while (e != last) {
        struct xev__fd *next = wait_pop(fds, XEV__WAIT_TIME);
        if (waits_longer(loop, next)) {
            wait_push(fds, XEV__WAIT_TIME, next);
            retry_by(loop, next->head[XEV__READ]->arg.accept.again_ns);
        } else {
            (void)restart(loop, next);
        }
        e = next;
    }
}
