/* The completion state machine (drawn in core.h): submission, queues per descriptor, cancel,
 * deadlines, close and delivery, the same for all backends. */
#include "xev/core/core.h"
#include "xev/core/deliver.h"
#include "xev/core/support.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"
#include "xev/os/socket.h"

#include <assert.h>
#include <stdlib.h>

/* Two cache lines where pointers have 64 bits: what an operation costs its owner. */
_Static_assert(sizeof(void *) != 8 || sizeof(xev_completion) <= 128,
               "the public header promises it");

void xev__misuse(const char *call, const char *what, const void *which) {
    xev__complain("xev: %s: %s (%p)", call, what, which);
    abort();
}

/* ---- lists ---- */

void xev__list_push(struct xev__list *list, xev_completion *c) {
    c->at.link.next = NULL;
    c->at.link.prev = list->tail;
    if (list->tail != NULL) {
        list->tail->at.link.next = c;
    } else {
        list->head = c;
    }
    list->tail = c;
}

void xev__list_remove(struct xev__list *list, xev_completion *c) {
    if (c->at.link.prev != NULL) {
        c->at.link.prev->at.link.next = c->at.link.next;
    } else {
        list->head = c->at.link.next;
    }
    if (c->at.link.next != NULL) {
        c->at.link.next->at.link.prev = c->at.link.prev;
    } else {
        list->tail = c->at.link.prev;
    }
}

/* ---- begin ---- */

bool xev__begin(const char *call, xev_loop *loop, xev_completion *c, enum xev__op op,
                void *userdata, xev_cb cb) {
    if (loop == NULL || c == NULL || cb == NULL) {
        xev__misuse(call, "loop, completion or callback is null", c);
    }
    if (loop->ops == NULL) {
        xev__misuse(call, "the loop is not initialised", loop);
    }
    xev__check_thread(call, loop);
    if (xev__forked(loop)) {
        xev__misuse(call, "the loop was made before fork(): the child needs its own", loop);
    }
    if (xev__actives_have(loop, &c->place)) { /* c's memory may hold anything */
        xev__misuse_active(call, c);
    }
#if !defined(NDEBUG)
    if (c->loop != loop && xev__loop_of(c) != NULL) {
        xev__misuse(call, "the completion is active in another loop", c);
    }
    xev__starts_put(loop, (struct xev__start){c, call, xev__call_from});
    xev__call_from = NULL;
#endif
    c->userdata = userdata;
    c->callback = cb;
    c->loop = loop;
    c->at.link.next = c->at.link.prev = c->at.link.cancels = NULL;
    xev__actives_put(loop, &c->place);
    c->op = (uint8_t)op;
    c->state = XEV__QUEUED;
    c->flags = 0;
    c->result = 0;
    loop->active++;
    loop->referenced++;
    xev__count(&loop->count.ops[op], 1);
    if (loop->deinit && op != XEV__OP_CANCEL && op != XEV__OP_CLOSE) {
        c->fd = XEV_INVALID_FD;
        xev__pend(loop, c, XEV_ECANCELED);
        return false;
    }
    return true;
}

static void unref_completion(xev_completion *c) {
    if ((c->flags & XEV__F_UNREF) == 0) {
        assert(c->loop->referenced > 0);
        c->flags |= XEV__F_UNREF;
        c->loop->referenced--;
    }
}

void xev__make_internal(xev_loop *loop, xev_completion *c) {
    if ((c->flags & XEV__F_INTERNAL) == 0) {
        c->flags |= XEV__F_INTERNAL;
        loop->internal++;
        unref_completion(c);
    }
}

/* ---- descriptors' queues ---- */

static void queue_append(struct xev__fd *e, enum xev__dir d, xev_completion *c) {
    xev_completion *head = e->head[d];
    c->at.link.next = NULL;
    if (head == NULL) {
        e->head[d] = c->at.link.prev = c;
        return;
    }
    assert(head->at.link.prev->at.link.next == NULL);
    c->at.link.prev = head->at.link.prev;
    head->at.link.prev->at.link.next = c;
    head->at.link.prev = c;
}

static void queue_remove(struct xev__fd *e, enum xev__dir d, xev_completion *c) {
    xev_completion *head = e->head[d], *next = c->at.link.next, *prev = c->at.link.prev;
    assert(head != NULL && (c == head || prev->at.link.next == c));
    if (c == head) {
        e->head[d] = head = next;
    } else {
        prev->at.link.next = next;
    }
    if (next != NULL) {
        next->at.link.prev = prev;
    } else if (head != NULL) {
        head->at.link.prev = prev;
    }
}

/* Why xev__fds_get made no entry for fd. */
static int no_entry_code(xev_fd fd) { return xev__os_is_open(fd) ? XEV_ENOMEM : XEV_EBADF; }

/* The entry for an operation on e's descriptor, which is being closed. If the pool has closed it
 * already and another file has the number, that file gets a new entry. Else NULL and a code. */
static struct xev__fd *closing_entry(xev_loop *loop, struct xev__fd *e, int *code) {
    xev_fd fd = e->fd;
    if (!xev__kinds[XEV__OP_CLOSE].close_is_past(e->closer)) {
        *code = XEV_ECANCELED;
        return NULL;
    }
    assert(e->ops == 0);
    if (!xev__os_is_open(fd)) {
        *code = XEV_EBADF; /* the entry stays, so that the next call checks the number again */
        return NULL;
    }
    xev__fds_drop(loop->fds, e);
    e = xev__fds_get(loop->fds, fd);
    *code = XEV_ENOMEM;
    return e;
}

struct xev__fd *xev__entry_for(xev_loop *loop, xev_fd fd, int *code) {
    struct xev__fd *e = xev__fds_find(loop->fds, fd);
    if (e == NULL && (e = xev__fds_get(loop->fds, fd)) == NULL) {
        *code = no_entry_code(fd);
        return NULL;
    }
    return e->closer == NULL ? e : closing_entry(loop, e, code);
}

void xev__start(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    if (xev__kinds[c->op].at_head != NULL) {
        xev__kinds[c->op].at_head(loop, e, c);
    } else {
        loop->ops->start(loop, e, c);
    }
}

/* A result of queue d waits for its delivery. There is only one at a time, since it keeps the next
 * operation of the queue from starting. */
static void set_undelivered(struct xev__fd *e, enum xev__dir d) {
    assert(d != XEV__POLLS && (e->undelivered_result & xev__bit(d)) == 0);
    e->undelivered_result |= xev__bit(d);
}

static void list_pending(xev_loop *loop, xev_completion *c, int result) {
    c->state = XEV__PENDING;
    c->result = result;
    xev__list_push(&loop->pending, c);
}

void xev__submit(xev_loop *loop, xev_completion *c) {
    if (c->fd < 0 || loop->ops->how[c->op] == XEV__HOW_NOT) {
        xev__pend(loop, c, c->fd < 0 ? XEV_EBADF : XEV_ENOTSUP);
        return;
    }
    int code = XEV_ENOMEM;
    struct xev__fd *e = xev__entry_for(loop, c->fd, &code);
    if (e != NULL && xev__registered(e) && e->ops == 0) {
        e = xev__fds_check(loop, e);
    }
    if (e == NULL) {
        xev__pend(loop, c, code);
        return;
    }
    enum xev__dir d = xev__dir(c);
    e->ours |= d != XEV__POLLS;
    e->ops++;
    c->flags |= XEV__F_COUNTED;
    bool waits =
        d != XEV__POLLS && (e->head[d] != NULL || (e->undelivered_result & xev__bit(d)) != 0);
    if (!waits && xev__kinds[c->op].at_once && loop->ops->at_once != NULL) {
        int result = loop->ops->at_once(loop, e, c);
        if (result != XEV_EAGAIN) {
            set_undelivered(e, d);
            list_pending(loop, c, result);
            return;
        }
    }
    queue_append(e, d, c);
    c->state = waits ? XEV__QUEUED : XEV__STARTED;
    if (!waits) {
        xev__start(loop, e, c);
    }
}

static void start_next(xev_loop *loop, struct xev__fd *e, enum xev__dir d) {
    if ((e->starting >> d & 1) != 0) {
        return; /* called by an operation that ended inside xev__start below; the loop goes on */
    }
    e->starting = (e->starting | 1u << d) & 3u;
    while (e->head[d] != NULL && e->head[d]->state == XEV__QUEUED && e->closer == NULL &&
           (e->undelivered_result & xev__bit(d)) == 0) {
        e->head[d]->state = XEV__STARTED;
        xev__start(loop, e, e->head[d]);
    }
    e->starting = e->starting & ~(1u << d) & 3u;
}

void xev__dequeue(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    enum xev__dir d = xev__dir(c);
    bool was_head = e->head[d] == c && d != XEV__POLLS;
    queue_remove(e, d, c);
    c->state = XEV__PENDING;
    if (was_head && e->head[d] != NULL) {
        start_next(loop, e, d);
    }
}

/* The entry of the descriptor on which c is counted, or NULL. */
static struct xev__fd *counted_entry(const xev_loop *loop, const xev_completion *c) {
    return (c->flags & XEV__F_COUNTED) != 0 ? xev__fds_find(loop->fds, c->fd) : NULL;
}

/* Whether c, which is counted on a descriptor, stands in one of that descriptor's queues. */
static bool is_in_queue(const xev_completion *c) {
    return c->op != XEV__OP_REQUEST && (c->state == XEV__QUEUED || c->state == XEV__STARTED ||
                                        c->state == XEV__STARVED || c->state == XEV__STEPPING);
}

/* c no longer uses its descriptor, whose entry is e. Returns true if it was the last operation
 * there and the program may close the descriptor now. Then e has forgotten what it knew of the
 * file. */
static bool release_entry(xev_loop *loop, struct xev__fd *e, xev_completion *c, int result) {
    assert(e->fd == c->fd && e->ops > 0);
    c->flags &= (uint16_t)~XEV__F_COUNTED;
    if (c->op == XEV__OP_REQUEST) {
        xev__request_detach(loop, e, c);
    }
    if (--e->ops > 0) {
        return false;
    }
    if (e->closer != NULL) {
        xev__pend(loop, e->closer, 0);
    } else if (!xev__registered(e) || !e->ours) {
        /* The program closes it, and the kernel may then reuse the number: nothing that was known
         * of the file holds any more. */
        loop->ops->forget(loop, e);
        xev__fds_renew(e);
        return true;
    } else {
        /* After an end or an error the program may close it at once: no turn is this one. */
        e->idle_turn = (uint32_t)loop->count.turns - (result < 0);
    }
    return false;
}

/* ---- delivery ---- */

/* An operation queued behind c must not start before c's result is delivered; else its callback
 * could run first. */
static bool blocks_queue(const xev_completion *c, int result) {
    return c->op != XEV__OP_REQUEST && xev__dir(c) != XEV__POLLS && result != XEV_ECANCELED;
}

/* c's result is about to be delivered, so the next operation of its queue may start. */
static void leave_queue(xev_loop *loop, struct xev__fd *e, xev_completion *c, int result) {
    if (is_in_queue(c)) {
        xev__dequeue(loop, e, c);
    } else if (c->state == XEV__PENDING && blocks_queue(c, result)) {
        enum xev__dir d = xev__dir(c);
        assert((e->undelivered_result & xev__bit(d)) != 0);
        e->undelivered_result &= (uint8_t)~xev__bit(d);
        if (e->head[d] != NULL) {
            start_next(loop, e, d);
        }
    }
}

void xev__pend(xev_loop *loop, xev_completion *c, int result) {
    assert(c->state != XEV__DEAD && c->state != XEV__PENDING);
    struct xev__fd *e = counted_entry(loop, c);
    if (e != NULL && is_in_queue(c)) {
        if (blocks_queue(c, result)) {
            set_undelivered(e, xev__dir(c));
        }
        xev__dequeue(loop, e, c);
    }
    list_pending(loop, c, result);
}

xev_cb_action xev__run_callback_timed(xev_loop *loop, xev_completion *c, int result) {
    uint64_t since = xev__os_now_ns();
    XEV__PROBE3(callback__begin, loop, c, c->callback);
    xev_cb_action action = c->callback(loop, c, result, c->userdata);
    XEV__PROBE2(callback__end, loop, c);
    xev__check_fork(loop);
    uint64_t took = xev__os_now_ns() - since;
    xev__count_longest(&loop->count.longest_callback_ns, took);
    if (loop->options.callback_times != NULL) {
        xev_histogram_record(loop->options.callback_times, took);
    }
    return action;
}

static void resubmit(xev_loop *loop, xev_completion *c, uint16_t flags) {
    enum xev__op op = (enum xev__op)c->op;
    if (!xev__begin("XEV_REARM", loop, c, op, c->userdata, c->callback)) {
        return;
    }
    c->flags = flags & (XEV__F_MULTI | XEV__F_LOAN | XEV__F_STREAM | XEV__F_CHANGES);
    if ((flags & XEV__F_UNREF) != 0) {
        unref_completion(c);
    }
    if (xev__kinds[op].again != NULL) {
        xev__kinds[op].again(loop, c);
    } else {
        xev__submit(loop, c);
    }
}

/* The target of the cancels in chain has ended with result, so they end, too. The last cancel
 * stands first in the chain, since a cancel joins it at its head. The order is reversed here. */
static void release_cancels(xev_loop *loop, xev_completion *chain, int result) {
    xev_completion *cancels = NULL;
    while (chain != NULL) {
        xev_completion *next = chain->at.link.next;
        chain->at.link.next = cancels;
        cancels = chain;
        chain = next;
    }
    while (cancels != NULL) {
        assert(cancels->op == XEV__OP_CANCEL && cancels->state == XEV__CHAINED);
        xev_completion *next = cancels->at.link.next;
        xev__pend(loop, cancels, cancels->result == 0 && result == XEV_ECANCELED ? 0 : XEV_ENOENT);
        cancels = next;
    }
}

/* The kernel has just made fd. A close of this number that is still active has closed the file that
 * had the number before. */
static void forget_closed(xev_loop *loop, xev_fd fd) {
    xev__forget_hint(loop, fd);
    struct xev__fd *e = xev__fds_find(loop->fds, fd);
    if (e != NULL && e->closer != NULL && e->closer->state == XEV__STEPPING) {
        assert(e->ops == 0);
        xev__fds_drop(loop->fds, e);
        return;
    }
    xev__forget_stale(loop, fd);
}

/* Take c out of the timers and of the list of work. Returns the result to report. */
static int leave_timers_and_pool(xev_loop *loop, xev_completion *c, int result) {
    if ((c->flags & XEV__F_DEADLINE) != 0) {
        xev__timers_remove(&loop->timers, c);
    }
    if ((c->flags & XEV__F_WORKS) != 0) {
        xev__work_unlink(loop, c);
    }
    bool timed_out = (c->flags & XEV__F_TIMEOUT) != 0 && result == XEV_ECANCELED;
    return timed_out ? XEV_ETIMEDOUT : result;
}

void xev__finish(xev_loop *loop, xev_completion *c, int result, bool more) {
    if (more) {
        if (xev__kinds[c->op].makes_fd && result >= 0) {
            forget_closed(loop, result);
        }
        xev__deliver_part(loop, c, result);
        return;
    }
    assert(c->loop == loop && c->state != XEV__DEAD);
    struct xev__fd *e = counted_entry(loop, c);
    if (e != NULL) {
        leave_queue(loop, e, c, result);
    }
    if ((c->flags & (XEV__F_DEADLINE | XEV__F_WORKS | XEV__F_TIMEOUT)) != 0) {
        result = leave_timers_and_pool(loop, c, result);
    }
    const struct xev__kind *kind = &xev__kinds[c->op];
    /* A request that was refused by a loop that ends was never filled in. */
    if (result >= 0 && (kind->makes_fd || xev__request_makes_fd(c))) {
        forget_closed(loop, result);
    }
    if (kind->ended != NULL) {
        kind->ended(loop, c);
    }
    uint16_t flags = c->flags;
    if (c->at.link.cancels != NULL) {
        release_cancels(loop, c->at.link.cancels, result);
    }
    /* After the cancels: a close is the last to be reported. */
    const bool unused = e != NULL && release_entry(loop, e, c, result);
    const uint32_t gen = unused ? e->gen : 0;
#if !defined(NDEBUG)
    struct xev__start start = xev__starts_take(loop, c);
#endif
    xev__actives_take(loop, c, &c->place);
    assert(loop->active > 0);
    c->state = XEV__DEAD;
    c->flags &= XEV__F_INTERNAL | XEV__F_STREAM; /* for the call */
    loop->active--;
    loop->internal -= (flags & XEV__F_INTERNAL) != 0;
    if ((flags & XEV__F_UNREF) == 0) {
        assert(loop->referenced > 0);
        loop->referenced--;
    }
    xev_cb_action action = xev__run_callback(loop, c, result);
    /* From here on c may be gone, unless the callback asks for more of it. */
    if (action == XEV_REARM && result != XEV_ECANCELED && result != XEV_ETIMEDOUT &&
        c->op != XEV__OP_CANCEL && c->op != XEV__OP_CLOSE) {
        resubmit(loop, c, flags);
#if !defined(NDEBUG)
        if (start.c != NULL) {
            xev__starts_put(loop, start); /* where it was the first time */
        }
#endif
    }
    /* Dropped only now: as a rule the callback goes on with the descriptor. */
    if (unused && e->gen == gen && xev__is_unused(e)) {
        xev__fds_drop(loop->fds, e);
    }
}

void xev__finish_loan(xev_loop *loop, xev_completion *c, uint32_t id, int result, bool more) {
    struct xev__buffers *b = loop->buffers;
    bool taken = false;
    if (result > 0) {
        xev__lend(loop, id, (uint8_t *)xev__buffers_at(b, id) + b->offset, (uint32_t)result);
    }
    b->offset = 0;
    xev__finish(loop, c, result, more);
    if (result > 0) {
        taken = b->taken;
        xev__lend_no_more(loop);
    }
    if (!taken) {
        loop->ops->buffer_back(loop, id);
    }
}

/* The interval at which a lingering close checks its socket: the kernel does not report when the
 * peer has taken all data. */
#define LINGER_NS 10000000u

/* On a socket with a linger time the system call close waits, even if the descriptor is
 * non-blocking. So the linger time is taken off the socket, and the loop waits in its place.
 * Returns true while it waits. Else *result is the result of c, if the system call succeeds. */
static bool close_lingers(xev_loop *loop, xev_completion *c, int *result) {
    uint64_t now = xev__os_now_ns();
    bool begins = c->arg.close.until_ns == 0;
    *result = 0;
    if (begins) {
        uint64_t timeout_ns = (uint64_t)xev__os_linger_s(c->fd) * 1000000000u;
        if (timeout_ns == 0) {
            return false;
        }
        (void)xev__os_set_linger(c->fd, false, 0);
        c->arg.close.until_ns = xev__deadline(now, timeout_ns);
    }
    xev__os_drop_unread(c->fd);
    *result = xev__os_unacked(c->fd);
    if (*result != XEV_EAGAIN) {
        return false;
    }
    if (loop->deinit) {
        *result = XEV_ECANCELED; /* the kernel goes on in the background */
        return false;
    }
    if (begins) {
        (void)xev__os_shutdown_write(c->fd); /* the peer gets the end of the stream */
    } else if (now >= c->arg.close.until_ns) {
        (void)xev__os_set_linger(c->fd, true, 0);
        *result = XEV_ETIMEDOUT;
        return false;
    }
    c->state = XEV__LINGERING;
    c->deadline_ns = xev__deadline(now, LINGER_NS);
    if (c->deadline_ns > c->arg.close.until_ns) {
        c->deadline_ns = c->arg.close.until_ns;
    }
    c->seq = loop->timer_seq++;
    xev__timers_insert(&loop->timers, c);
    return true;
}

static void stop_and_close(xev_loop *loop, struct xev__fd *e, xev_completion *c);

/* The close of xev__release. */
static int keep_open(xev_fd fd) {
    (void)fd;
    return 0;
}

static void deliver_close(xev_loop *loop, xev_completion *c) {
    int result = c->result;
    struct xev__fd *e = c->fd < 0 ? NULL : xev__fds_find(loop->fds, c->fd);
    if (e != NULL && e->closer == NULL && result == 0) {
        stop_and_close(loop, e, c); /* an entry was made since c began */
        return;
    }
    if (e != NULL ? e->closer == c : c->fd >= 0 && result == 0) {
        if (c->arg.close.by != keep_open && close_lingers(loop, c, &result)) {
            return;
        }
        if (e != NULL) {
            assert(e->ops == 0);
            loop->ops->forget(loop, e);
            c->result = result;
            if (xev__kinds[XEV__OP_CLOSE].close_on_pool(loop, c)) {
                return; /* until the pool is done, the entry marks the descriptor as closing */
            }
            xev__fds_drop(loop->fds, e);
        }
        int rc = c->arg.close.by != NULL ? c->arg.close.by(c->fd) : xev__os_close(c->fd);
        result = rc < 0 ? rc : result;
    }
    xev__finish(loop, c, result, false);
}

void xev__deliver_pending(xev_loop *loop) {
    /* A result that a callback adds waits for the next turn. Else I/O and timers might wait for
     * ever. */
    assert(loop->delivering.head == NULL);
    loop->delivering = loop->pending;
    loop->pending.head = loop->pending.tail = NULL;
    while (loop->delivering.head != NULL) {
        xev_completion *c = loop->delivering.head;
        xev__list_remove(&loop->delivering, c);
        if (c->op == XEV__OP_CLOSE) {
            deliver_close(loop, c);
            continue;
        }
        xev__finish(loop, c, c->result, false);
    }
}

void xev__drain_inbox(xev_loop *loop) {
    xev_mpsc_node *n;
    while ((n = xev_mpsc_pop(loop->inbox)) != NULL) {
        struct xev__inbox_item *item = (struct xev__inbox_item *)(void *)n;
        if (item->arrived != 0) {
            ((xev__arrived_fn)item->arrived)(loop, item);
        } else {
            char *base = (char *)item - offsetof(xev_completion, at);
            xev_completion *c = (xev_completion *)(void *)base;
            if ((c->flags & XEV__F_CHAINED) == 0) {
                c->at.link.cancels = NULL;
            }
            xev__pend(loop, c, c->result);
        }
    }
}

/* ---- cancel and close ---- */

bool xev__stop(xev_loop *loop, xev_completion *c) {
    if ((c->flags & XEV__F_CANCEL) != 0 || xev__forked(loop)) {
        return false; /* a forked child must not write to the ring that it shares */
    }
    switch ((enum xev__state)c->state) {
    case XEV__STARTED:
        c->flags |= XEV__F_CANCEL;
        loop->ops->cancel(loop, xev__fds_find(loop->fds, c->fd), c);
        return true;
    case XEV__QUEUED:
    case XEV__STARVED:
        break;
    case XEV__TIMER:
        xev__timers_remove(&loop->timers, c);
        break;
    case XEV__TRY:
        xev__list_remove(&loop->tries, c);
        break;
    case XEV__TO_POOL:
        xev__keep_from_pool(loop, c);
        break;
    case XEV__POOL:
        if (!xev_threadpool_cancel(loop->options.thread_pool, &c->at.task)) {
            if (c->op != XEV__OP_REQUEST) {
                return false;
            }
            xev__request_stop_running(c);
            c->flags |= XEV__F_CANCEL;
            return true;
        }
        c->at.link.cancels = NULL;
        break;
    case XEV__ASYNC:
    case XEV__STEPPING:
        return xev__kinds[c->op].stop != NULL && xev__kinds[c->op].stop(loop, c);
    case XEV__LINGERING:
        if (!loop->deinit) {
            return false;
        }
        xev__timers_remove(&loop->timers, c);
        break;
    default:
        return false;
    }
    c->flags |= XEV__F_CANCEL;
    xev__pend(loop, c, XEV_ECANCELED);
    return true;
}

void xev__cancel(const char *call_name, xev_loop *loop, xev_completion *target, xev_completion *c,
                 void *userdata, xev_cb cb) {
    if (target == NULL || target == c) {
        xev__misuse(call_name, "target is null or the cancel itself", target);
    }
    (void)xev__begin(call_name, loop, c, XEV__OP_CANCEL, userdata, cb);
    if (!xev__is_active(loop, target)) {
        if (xev__loop_of(target) != NULL) {
            xev__misuse(call_name, "target is active in another loop", target);
        }
        xev__pend(loop, c, XEV_ENOENT);
        return;
    }
    assert(target->loop == loop);
    bool stopped = xev__stop(loop, target);
    if (target->state == XEV__POOL && (target->flags & XEV__F_CHAINED) == 0) {
        target->flags |= XEV__F_CHAINED;
        target->at.link.cancels = NULL;
    }
    c->at.link.next = target->at.link.cancels;
    target->at.link.cancels = c;
    c->result = stopped ? 0 : XEV_ENOENT;
    c->state = XEV__CHAINED;
}

void xev_cancel(xev_loop *loop, xev_completion *target, xev_completion *c, void *userdata,
                xev_cb cb) {
    xev__cancel(XEV__CALL("xev_cancel"), loop, target, c, userdata, cb);
}

static void stop_and_close(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    e->closer = c;
    c->state = XEV__CLOSING;
    for (int d = 0; d < XEV__DIRS; d++) {
        for (xev_completion *op = e->head[d], *next; op != NULL; op = next) {
            next = op->at.link.next;
            (void)xev__stop(loop, op);
        }
    }
    xev__requests_stop(loop, e);
    if (e->ops == 0) {
        xev__pend(loop, c, 0);
    }
}

void xev__close(const char *call_name, xev_loop *loop, xev_completion *c, xev_fd fd, void *userdata,
                xev_cb cb) {
    (void)xev__begin(call_name, loop, c, XEV__OP_CLOSE, userdata, cb);
    c->fd = fd;
    c->arg.close.step = NULL;
    c->arg.close.until_ns = 0;
    c->arg.close.by = NULL;
    if (fd < 0) {
        xev__pend(loop, c, XEV_EBADF);
        return;
    }
    const struct xev__fd *known = xev__fds_find(loop->fds, fd);
    if ((known == NULL || xev__is_unused(known)) && !xev__os_is_open(fd)) {
        /* Checked now: when c is delivered, another file may have the number. */
        xev__pend(loop, c, XEV_EBADF);
        return;
    }
    int code;
    struct xev__fd *e = xev__entry_for(loop, fd, &code);
    if (e == NULL && code == XEV_ENOMEM && !xev__is_closed_by_any(loop, fd)) {
        /* There is no memory for an entry, so no operation is counted on fd. */
        xev__tries_stop(loop, fd);
        xev__pend(loop, c, 0);
        return;
    }
    if (e == NULL) {
        xev__pend(loop, c, XEV_EBADF);
        return;
    }
    stop_and_close(loop, e, c);
}

void xev__release(xev_loop *loop, xev_completion *c, xev_fd fd, void *userdata, xev_cb cb) {
    xev__close("xev__release", loop, c, fd, userdata, cb);
    c->arg.close.by = keep_open; /* it is delivered later, by a turn of the loop */
}

/* ---- deadlines ---- */

static void deadline_passed(xev_loop *loop, xev_completion *c) {
    xev__timers_remove(&loop->timers, c);
    c->flags &= (uint16_t)~XEV__F_DEADLINE;
    if (xev__kinds[c->op].goes_on != NULL && xev__kinds[c->op].goes_on(loop, c)) {
        assert(c->deadline_ns > loop->now_ns);
        xev__set_deadline(loop, c, c->deadline_ns);
        return;
    }
    if (c->state == XEV__POOL) {
        xev__work_link(loop, c);
    }
    if (xev__stop(loop, c)) {
        c->flags |= XEV__F_TIMEOUT;
    }
}

void xev__run_timers(xev_loop *loop) {
    /* A timer that a callback arms has a later deadline than now, even after 0 ns: see
     * xev__timer_arm. */
    uint64_t now = loop->now_ns;
    xev_completion *c;
    while ((c = xev__timers_first(&loop->timers)) != NULL && c->deadline_ns <= now) {
        if (!xev__is_active(loop, c)) {
            xev__actives_lost(c);
        }
        if (c->op == XEV__OP_TIMER) {
            xev__timers_remove(&loop->timers, c);
            xev__finish(loop, c, 0, false);
        } else if (c->state == XEV__LINGERING) {
            xev__timers_remove(&loop->timers, c);
            xev__pend(loop, c, 0);
        } else {
            deadline_passed(loop, c);
        }
    }
}

/* ---- completion.h ---- */

void xev_completion_zero(xev_completion *c) {
    if (c == NULL || xev__loop_of(c) != NULL) {
        xev__misuse("xev_completion_zero", "null or active", c);
    }
    *c = (xev_completion){0};
}

xev_completion_state_t xev_completion_state(xev_completion *c) {
    xev__check_pointer("xev_completion_state", "completion is null", c);
    if (c->state != XEV__DEAD) { /* a dead one may have come from another thread's loop */
        xev__check_thread_of("xev_completion_state", c->loop);
    }
    return xev__loop_of(c) != NULL ? XEV_COMPLETION_ACTIVE : XEV_COMPLETION_DEAD;
}

bool xev_completion_more(const xev_completion *c) {
    xev__check_pointer("xev_completion_more", "completion is null", c);
    xev__check_thread_of("xev_completion_more", c->loop);
    return (c->flags & XEV__F_MORE) != 0;
}

/* For the public function call: c must be active. */
static void check_active(const char *call, const xev_completion *c) {
    if (c != NULL) {
        xev__check_thread_of(call, c->loop);
    }
    if (c == NULL || xev__loop_of(c) == NULL) {
        xev__misuse(call, "not active", c);
    }
}

void xev_completion_ref(xev_completion *c) {
    check_active("xev_completion_ref", c);
    if ((c->flags & XEV__F_UNREF) != 0) {
        c->flags &= (uint16_t)~XEV__F_UNREF;
        c->loop->referenced++;
    }
}

void xev_completion_unref(xev_completion *c) {
    check_active("xev_completion_unref", c);
    unref_completion(c);
}
