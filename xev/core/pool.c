/* Operations on the thread pool. The completion holds the pool's task. A pool thread gives the
 * completion back through the loop's inbox. */
#include <assert.h>
#include <ck_pr.h>

#include "mpsc/visit.h"
#include "xev/core/core.h"
#include "xev/os/clock.h"

/* The loop's deinit must find every completion that is on the pool. One with a deadline stands
 * among the timers. One without a deadline stands in loop->works, linked by its unused heap node.
 */
void xev__work_link(xev_loop *loop, xev_completion *c) {
    assert((c->flags & (XEV__F_WORKS | XEV__F_DEADLINE)) == 0);
    c->flags |= XEV__F_WORKS;
    c->heap.prev = NULL;
    c->heap.next = loop->works;
    if (c->heap.next != NULL) {
        c->heap.next->heap.prev = c;
    }
    loop->works = c;
}

void xev__work_unlink(xev_loop *loop, xev_completion *c) {
    assert((c->flags & XEV__F_WORKS) != 0 && loop->works != NULL);
    c->flags &= (uint16_t)~XEV__F_WORKS;
    if (c->heap.prev != NULL) {
        c->heap.prev->heap.next = c->heap.next;
    } else {
        loop->works = c->heap.next;
    }
    if (c->heap.next != NULL) {
        c->heap.next->heap.prev = c->heap.prev;
    }
}

static struct xev__request *request_of(xev_completion *c) {
    return (struct xev__request *)(void *)c;
}

/* The argument of the work function. A request's function belongs to the library and gets the
 * request, since the userdata belongs to the user. */
static void *work_argument(xev_completion *c) {
    return c->op == XEV__OP_REQUEST ? (void *)c : c->userdata;
}

static xev_completion *completion_of(const xev_threadpool_task *task) {
    return (xev_completion *)((uintptr_t)task - offsetof(xev_completion, at));
}

/* On a thread of the pool. */
static void run_work(xev_threadpool_task *task) {
    xev_completion *c = completion_of(task);
    xev_loop *loop = c->loop;
    c->result = c->arg.work(work_argument(c));
    /* As soon as c is pushed, the loop may finish c and end. While this count is held it does not
     * end. */
    xev__visit_begin(&loop->notifiers);
    if (xev_mpsc_push(loop->inbox, &c->at.inbox.node)) {
        xev__signal(loop);
    }
    xev__visit_end(&loop->notifiers);
}

/* ---- to the pool ----
 *
 * What a turn submits goes to the pool in one piece: the pool's lock is taken once for all of it,
 * and its threads find many pieces of work when they wake instead of one after the other. A turn
 * that submits many gives them in several pieces, so that the threads need not wait for its end.
 */
#define PIECE_MAX 64u

/* The list has the work of all lanes, in order of submission. Returns the lanes with work, as bits;
 * their batches are set. */
static uint32_t to_batches(xev_loop *loop, xev_threadpool_batch *batches) {
    uint32_t lanes = 0;
    for (xev_completion *c = loop->to_pool.head, *next; c != NULL; c = next) {
        assert(c->state == XEV__TO_POOL && c->at.link.cancels == NULL);
        next = c->at.link.next;
        c->state = XEV__POOL;
        if ((c->flags & XEV__F_DEADLINE) == 0) {
            xev__work_link(loop, c);
        }
        xev_threadpool_task_init(&c->at.task, run_work);
        if ((lanes >> c->slot & 1) == 0) {
            batches[c->slot] = (xev_threadpool_batch){NULL, NULL, 0};
            lanes |= 1u << c->slot;
        }
        xev_threadpool_batch_push_task(&batches[c->slot], &c->at.task);
    }
    loop->to_pool = (struct xev__list){NULL, NULL};
    loop->to_pool_len = 0;
    return lanes;
}

/* The pool has not taken the tasks of the batch. */
static void pend_batch(xev_loop *loop, const xev_threadpool_batch *batch, int code) {
    const xev_threadpool_task *task = batch->head;
    for (size_t left = batch->len; left > 0; left--) {
        xev_completion *c = completion_of(task);
        task = task->next;
        c->at.link.cancels = NULL;
        xev__pend(loop, c, code);
    }
}

void xev__hand_over(xev_loop *loop) {
    if (loop->to_pool.head == NULL) {
        return;
    }
    xev_threadpool_batch batches[XEV_LANE_COUNT];
    for (uint32_t lanes = to_batches(loop, batches); lanes != 0; lanes &= lanes - 1) {
        int lane = __builtin_ctz(lanes);
        int rc = xev_threadpool_schedule_lane(loop->options.thread_pool, &batches[lane],
                                              (enum xev_threadpool_lane)lane);
        if (rc < 0) {
            pend_batch(loop, &batches[lane], rc);
        }
    }
}

void xev__keep_from_pool(xev_loop *loop, xev_completion *c) {
    assert(c->state == XEV__TO_POOL && loop->to_pool_len > 0);
    xev__list_remove(&loop->to_pool, c);
    loop->to_pool_len--;
}

static void schedule_work(xev_loop *loop, xev_completion *c) {
    assert(c->at.link.cancels == NULL && c->slot < XEV_LANE_COUNT);
    c->state = XEV__TO_POOL;
    xev__list_push(&loop->to_pool, c);
    if (++loop->to_pool_len == PIECE_MAX || !loop->running) {
        xev__hand_over(loop);
    }
}

/* ---- requests that may not need a thread ---- */

/* The limits of one turn, so that timers, messages and connections are not kept waiting: the number
 * of tries; the bytes copied, to which each try adds EACH_BYTES for its own cost; the time since
 * the turn read the clock, callbacks included. The clock is read once in LOOK_BYTES of that. */
#define TURN_TRIES 32u
#define TURN_BYTES ((uint64_t)256 << 10)
#define EACH_BYTES 4096u
#define TURN_NS 50000u
#define LOOK_BYTES ((uint64_t)64 << 10)

static void list_try(xev_loop *loop, xev_completion *c) {
    c->state = XEV__TRY;
    xev__list_push(&loop->tries, c);
}

/* Begin a request that need not wait for another request. */
static void begin_request(xev_loop *loop, xev_completion *c) {
    if (request_of(c)->link.try_now != NULL) {
        list_try(loop, c);
    } else {
        schedule_work(loop, c);
    }
}

/* Whether c may be tried before it is counted on its descriptor. Most tries end it at once, so a
 * place in the list of tries is all that it needs: who stops a descriptor's requests looks there,
 * too. */
static bool is_tried_first(const xev_loop *loop, xev_completion *c) {
    const struct xev__request_link *link = &request_of(c)->link;
    if (link->try_now == NULL || link->in_order) {
        return false;
    }
    const struct xev__fd *e = xev__fds_find(loop->fds, c->fd);
    return e == NULL || e->closer == NULL;
}

static bool request_attach(xev_loop *loop, xev_completion *c);

/* Whether a turn that has made n tries and copied so many bytes may make another try. *look: how
 * many bytes it may have copied before the clock is read. */
static bool may_try(const xev_loop *loop, uint32_t n, uint64_t bytes, uint64_t *look) {
    if (n >= TURN_TRIES || bytes >= TURN_BYTES || ck_pr_load_32(&loop->stop) != 0) {
        return false;
    }
    if (bytes < *look) {
        return true;
    }
    *look = bytes + LOOK_BYTES;
    return xev__os_now_ns() - loop->now_ns < TURN_NS;
}

void xev__run_tries(xev_loop *loop) {
    uint64_t bytes = 0, look = LOOK_BYTES;
    for (uint32_t n = 0; loop->tries.head != NULL && may_try(loop, n, bytes, &look); n++) {
        xev_completion *c = loop->tries.head;
        const struct xev__request_link *link = &request_of(c)->link;
        assert(c->state == XEV__TRY && c->at.link.cancels == NULL);
        xev__list_remove(&loop->tries, c);
        xev__count(&loop->count.syscalls, 1);
        bytes += link->try_bytes + EACH_BYTES;
        int rc = link->try_now(c);
        if (rc != XEV_EAGAIN) {
            xev__finish(loop, c, rc, false);
        } else if ((c->flags & XEV__F_COUNTED) != 0 || request_attach(loop, c)) {
            schedule_work(loop, c);
        }
    }
}

/* ---- requests on a descriptor ---- */

/* Count c on its descriptor. False: it waits for another request, or has ended. */
static bool request_attach(xev_loop *loop, xev_completion *c) {
    int code;
    struct xev__fd *e = xev__entry_for(loop, c->fd, &code);
    if (e == NULL) {
        xev__pend(loop, c, code);
        return false;
    }
    struct xev__fd_requests *r = xev__fds_make_requests(loop->fds, e);
    if (r == NULL) {
        if (e->ops == 0 && !xev__registered(e)) {
            xev__fds_drop(loop->fds, e); /* no operation is left that would drop it */
        }
        xev__pend(loop, c, XEV_ENOMEM);
        return false;
    }
    e->ops++;
    c->flags |= XEV__F_COUNTED;
    struct xev__request_link *link = &request_of(c)->link;
    link->next = link->prev = NULL;
    if (!link->in_order) {
        link->next = r->side_by_side;
        if (link->next != NULL) {
            request_of(link->next)->link.prev = c;
        }
        r->side_by_side = c;
        return true;
    }
    link->prev = r->in_order_tail;
    if (link->prev != NULL) {
        request_of(link->prev)->link.next = c;
    } else {
        r->in_order = c;
    }
    r->in_order_tail = c;
    if (r->in_order_now != NULL) {
        c->state = XEV__QUEUED;
        return false;
    }
    r->in_order_now = c;
    return true;
}

void xev__request_detach(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    struct xev__fd_requests *r = xev__fds_requests(loop->fds, e);
    struct xev__request_link *link = &request_of(c)->link;
    assert(r != NULL);
    if (link->next != NULL) {
        request_of(link->next)->link.prev = link->prev;
    } else if (link->in_order) {
        r->in_order_tail = link->prev;
    }
    if (link->prev != NULL) {
        request_of(link->prev)->link.next = link->next;
    } else if (link->in_order) {
        r->in_order = link->next;
    } else {
        r->side_by_side = link->next;
    }
    bool was_running = r->in_order_now == c;
    if (was_running) {
        r->in_order_now = NULL;
    }
    if (r->side_by_side == NULL && r->in_order == NULL) {
        xev__fds_end_requests(loop->fds, e);
        return;
    }
    if (!was_running) {
        return;
    }
    xev_completion *next = r->in_order;
    while (next != NULL && next->state != XEV__QUEUED) {
        next = request_of(next)->link.next; /* it was cancelled, and its callback is due */
    }
    r->in_order_now = next;
    if (next != NULL && loop->deinit) {
        xev__pend(loop, next, XEV_ECANCELED);
    } else if (next != NULL) {
        begin_request(loop, next);
    }
}

void xev__tries_stop(xev_loop *loop, xev_fd fd) {
    for (xev_completion *c = loop->tries.head, *next; c != NULL; c = next) {
        next = c->at.link.next;
        if (c->fd == fd && (c->flags & XEV__F_COUNTED) == 0) {
            (void)xev__stop(loop, c);
        }
    }
}

bool xev__tries_have(const xev_loop *loop, xev_fd fd) {
    const xev_completion *c = loop->tries.head;
    while (c != NULL && c->fd != fd) {
        c = c->at.link.next;
    }
    return c != NULL;
}

void xev__requests_stop(xev_loop *loop, struct xev__fd *e) {
    xev__tries_stop(loop, e->fd);
    const struct xev__fd_requests *r = xev__fds_requests(loop->fds, e);
    if (r == NULL) {
        return;
    }
    xev_completion *first[] = {r->side_by_side, r->in_order};
    for (int i = 0; i < 2; i++) {
        for (xev_completion *c = first[i]; c != NULL; c = request_of(c)->link.next) {
            (void)xev__stop(loop, c);
        }
    }
}

void xev__request_stop_running(xev_completion *c) { ck_pr_store_32(&request_of(c)->link.stop, 1); }

/* ---- submission ---- */

void xev__work_init(xev_completion *c, enum xev_threadpool_lane lane, xev_work_fn fn) {
    c->fd = XEV_INVALID_FD;
    c->slot = (uint32_t)lane;
    c->arg.work = fn;
}

void xev__request_refuse(xev_loop *loop, xev_completion *c, int code) {
    request_of(c)->link.refused = code;
    xev__pend(loop, c, code);
}

void xev__work_start(xev_loop *loop, xev_completion *c) {
    if (c->op == XEV__OP_REQUEST) {
        struct xev__request_link *link = &request_of(c)->link;
        link->stop = 0;
        if (link->check != NULL) {
            link->refused = link->check(c);
        }
        if (link->refused != 0) {
            xev__pend(loop, c, link->refused);
            return;
        }
    }
    assert(c->op == XEV__OP_REQUEST || c->fd == XEV_INVALID_FD);
    if (c->slot == (uint32_t)XEV_LANE_COUNT) {
        xev__pend(loop, c, c->arg.work(work_argument(c)));
    } else if (loop->options.thread_pool == NULL) {
        xev__pend(loop, c, XEV_ENOPOOL);
    } else if (c->fd == XEV_INVALID_FD) {
        schedule_work(loop, c);
    } else if (is_tried_first(loop, c)) {
        list_try(loop, c);
    } else if (request_attach(loop, c)) {
        begin_request(loop, c);
    }
}
