/* io_uring: slots, operations and their events, the poll. The model stands in io_uring.h. */
#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "xev/backends/io_uring.h"
#include "xev/backends/readiness.h"
#include "xev/core/deliver.h"
#include "xev/fd.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/os/udp.h"
#include "xev/watchers/watchers.h"

/* How long the end of a loop waits for operations whose results may have been lost. */
#define GIVE_UP_NS 1000000000u

/* ---- slots ---- */

static uint32_t slot_new(struct xev__uring *u, xev_completion *c) {
    uint32_t i = xev__chunks_take(&u->slots);
    if (i != XEV__CHUNKS_NONE) {
        struct xev__uring_slot *s = xev__uring_slot(u, i);
        assert(s->c == NULL);
        *s = (struct xev__uring_slot){.c = c, .gen = s->gen};
    }
    return i;
}

/* A slot in the list of waiting slots becomes free when it leaves the list. */
static void slot_free(struct xev__uring *u, uint32_t i) {
    struct xev__uring_slot *s = xev__uring_slot(u, i);
    assert(s->c != NULL);
    s->c = NULL;
    s->gen++;
    if (!s->waiting) {
        xev__chunks_give(&u->slots, i);
    }
}

static void slot_wait(struct xev__uring *u, uint32_t i) {
    struct xev__uring_slot *s = xev__uring_slot(u, i);
    if (s->waiting) {
        return;
    }
    assert((u->wait_head == 0) == (u->wait_tail == 0));
    s->waiting = true;
    s->next = 0;
    if (u->wait_tail != 0) {
        xev__uring_slot(u, u->wait_tail - 1)->next = (i + 1) & XEV__URING_NEXT_MASK;
    } else {
        u->wait_head = i + 1;
    }
    u->wait_tail = i + 1;
}

/* Submissions are made in order, so none is made before that of a slot that waits. */
static void request_or_wait(struct xev__uring *u, uint32_t i) {
    if (u->wait_head != 0 || !xev__uring_request(u, i)) {
        slot_wait(u, i);
    }
}

static void make_waiting_requests(struct xev__uring *u) {
    while (u->wait_head != 0) {
        uint32_t i = u->wait_head - 1;
        struct xev__uring_slot *s = xev__uring_slot(u, i);
        assert(s->waiting);
        if (s->c != NULL && !xev__uring_request(u, i)) {
            return;
        }
        u->wait_head = s->next;
        if (u->wait_head == 0) {
            u->wait_tail = 0;
        }
        s->waiting = false;
        if (s->c == NULL) {
            xev__chunks_give(&u->slots, i);
        }
    }
}

/* ---- the buffer ring ---- */

static void uring_buffer_back(xev_loop *loop, uint32_t id) {
    struct xev__uring *u = loop->backend;
    if (u->buffers != NULL && u->buffers_in_ring < u->buffers_offered) {
        if (loop->buffers->trimming) { /* the first free one instead, so that chunks get free */
            xev__buffers_put(loop->buffers, id);
            id = xev__buffers_alloc(loop->buffers);
        }
        xev__uring_offer(loop, u, id, xev__buffers_at(loop->buffers, id));
    } else {
        xev__buffers_put(loop->buffers, id);
    }
}

static uint32_t uring_buffers_free(const xev_loop *loop) {
    const struct xev__uring *u = loop->backend;
    return u->buffers != NULL ? u->buffers_in_ring : xev__buffers_left(loop->buffers);
}

/* ---- operations ---- */

/* c is an operation that would first poll its descriptor. On a descriptor of the wrong kind that
 * poll might never end. Returns true if c has ended at once: with an error for such a descriptor,
 * or with its result, if it is a batch and there were datagrams, or room for them. */
static bool ends_at_once(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    int rc = 0;
    if (c->op == XEV__OP_UDP_RECV_BATCH || c->op == XEV__OP_UDP_SEND_BATCH) {
        uint32_t none;
        rc = xev__try(loop, e, c, &none);
        if (rc == XEV_EAGAIN) {
            return false;
        }
    } else if ((c->flags & XEV__F_LOAN) != 0) {
        rc = xev__os_check_endpoint(c->fd);
        if (rc == 0) {
            return false;
        }
    } else {
        return false;
    }
    xev__pend(loop, c, rc);
    return true;
}

/* The start of the backend's table. e is NULL where restart_operation starts c in another form. */
static void uring_start(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    struct xev__uring *u = loop->backend;
    if (c->op == XEV__OP_UDP_SEND && e != NULL) {
        xev__uring_list_send(loop, e, c);
        return;
    }
    if (xev__io_uring_ops.how[c->op] == XEV__HOW_READY ||
        ((c->flags & XEV__F_LOAN) != 0 && u->buffers == NULL)) {
        c->flags |= XEV__F_POLLED;
        if (e != NULL && ends_at_once(loop, e, c)) {
            return;
        }
    }
    if (c->op == XEV__OP_READ || c->op == XEV__OP_WRITE) {
        enum xev__os_kind kind = xev__os_kind(c->fd);
        if (kind == XEV__OS_FILE) {
            /* Not through the ring: it (Linux 6.18) takes no lock on the position, so that several
             * writers of one log overwrite each other. Nor does it move the position past a write
             * that was cut short. */
            xev__count(&loop->count.syscalls, 1);
            xev__pend(loop, c, xev__read_or_write(c));
            return;
        }
        if (kind == XEV__OS_DEVICE) {
            /* A terminal's driver heeds only O_NONBLOCK: a long write through the ring would block
             * this thread. */
            c->flags |= XEV__F_POLLED;
        }
        if (kind == XEV__OS_SOCKET && c->op == XEV__OP_WRITE) {
            c->op = XEV__OP_SEND; /* does the same, and can be told not to wait */
        }
    }
    if (c->op == XEV__OP_ACCEPT && (c->flags & (XEV__F_MULTI | XEV__F_ONE_SHOT)) == XEV__F_MULTI &&
        !xev__os_is_tcp(c->fd)) {
        /* Of a Unix socket that is shut down the multishot form never hears (Linux 6.18). */
        c->flags |= XEV__F_ONE_SHOT;
    }
    c->slot = slot_new(u, c);
    if (c->slot == XEV__CHUNKS_NONE) {
        if (xev__accept_outlasts(c, XEV_ENOMEM)) {
            xev__fds_pause(loop, xev__fds_find(loop->fds, c->fd), c);
        } else {
            xev__pend(loop, c, XEV_ENOMEM);
        }
        return;
    }
    request_or_wait(u, c->slot);
}

static void uring_cancel(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    struct xev__uring *u = loop->backend;
    (void)e;
    if (xev__uring_is_listed_send(c)) {
        xev__pend(loop, c, XEV_ECANCELED);
        return;
    }
    assert(xev__uring_slot(u, c->slot)->c == c);
    if (!xev__uring_slot(u, c->slot)->submitted) {
        slot_free(u, c->slot); /* it leaves the list later */
        xev__pend(loop, c, XEV_ECANCELED);
        return;
    }
    request_or_wait(u, c->slot);
}

static void uring_forget(xev_loop *loop, struct xev__fd *e) {
    (void)loop;
    (void)e;
}

/* Start c once more, in the form that its flags name by now. Its slot is free. */
static void restart_operation(xev_loop *loop, xev_completion *c) {
    if ((c->flags & XEV__F_CANCEL) != 0) {
        xev__finish(loop, c, XEV_ECANCELED, false);
        return;
    }
    uring_start(loop, NULL, c);
}

void xev__uring_start_polled(xev_loop *loop, xev_completion *c) {
    c->flags |= XEV__F_POLLED;
    restart_operation(loop, c);
}

/* The poll that c made of its descriptor has ended with res. c's slot is free. */
static void try_polled(xev_loop *loop, xev_completion *c, int res) {
    const struct xev__uring *u = loop->backend;
    if (res >= 0 && (c->flags & XEV__F_LOAN) != 0 && u->buffers != NULL) {
        c->flags &= (uint16_t)~XEV__F_POLLED; /* the kernel takes a buffer out of the ring */
        restart_operation(loop, c);
        return;
    }
    struct xev__fd *e = xev__fds_find(loop->fds, c->fd);
    uint32_t buffer = XEV__URING_NONE;
    if ((c->flags & XEV__F_CANCEL) != 0) {
        xev__finish(loop, c, XEV_ECANCELED, false); /* no data was taken from the descriptor */
        return;
    }
    if (c->op == XEV__OP_ACCEPT) {
        e->short_read = XEV__SHORT_IS_NOTHING; /* the poll may have told of a shutdown */
    }
    int rc = res < 0 ? res : xev__try(loop, e, c, &buffer);
    if (rc == XEV_EAGAIN && xev__is_unannounced(c)) {
        xev__fds_pause(loop, e, c);
        return;
    }
    if (rc == XEV_EAGAIN) {
        restart_operation(loop, c);
        return;
    }
    if (rc == XEV_EINPROGRESS) {
        return; /* a sendfile has gone on to the pool */
    }
    if (xev__accept_outlasts(c, rc)) {
        xev__accept_again(loop, e, c, rc);
        return;
    }
    if (rc == XEV__NO_BUFFER) {
        xev__fds_starve(loop, e, xev__buffers_expected(loop->buffers));
        return;
    }
    bool more = rc >= 0 && (c->flags & XEV__F_MULTI) != 0;
    if (rc >= 0) {
        xev__accept_works(c);
    }
    if (more) {
        restart_operation(loop, c); /* first: the callback may cancel c or close the descriptor */
    }
    if (buffer != XEV__URING_NONE) {
        xev__finish_loan(loop, c, buffer, rc, more);
    } else {
        xev__finish(loop, c, rc, more);
    }
}

/* A terminal event of the kernel that need not end c: res names a state that passes, or a form of
 * the operation that this kernel lacks. True: c was started again, was made to wait or has ended
 * here. False: res is c's result. */
static bool continue_operation(xev_loop *loop, xev_completion *c, int res) {
    const struct xev__uring *u = loop->backend;
    bool multi = (c->flags & XEV__F_MULTI) != 0;
    struct xev__fd *e = xev__fds_find(loop->fds, c->fd);
    if (res == XEV_EAGAIN) {
        /* A send never waits in the kernel. Other operations do not where the descriptor is
         * non-blocking. */
        xev__uring_start_polled(loop, c);
        return true;
    }
    bool no_buffer = res == XEV_ENOBUFS && (c->flags & XEV__F_LOAN) != 0;
    if ((c->flags & XEV__F_CANCEL) != 0) {
        bool refused = multi && res == XEV_EINVAL && (c->flags & XEV__F_ONE_SHOT) == 0;
        if (res == XEV_EINTR || no_buffer || refused || xev__accept_outlasts(c, res)) {
            xev__finish(loop, c, XEV_ECANCELED, false); /* not cancelled, it would go on */
            return true;
        }
        return false;
    }
    if (res == XEV_EINTR) {
        restart_operation(loop, c);
        return true;
    }
    if (no_buffer) {
        /* One receive at a time from now on, so that no connection takes all the buffers. */
        c->flags |= XEV__F_ONE_SHOT;
        xev__uring_offer_more(loop);
        xev__fds_starve(loop, e, u->buffers_in_ring > 0 || xev__buffers_expected(loop->buffers));
        return true;
    }
    if (multi && res == XEV_EINVAL && (c->flags & XEV__F_ONE_SHOT) == 0) {
        /* A kernel without the multishot form answers EINVAL. Where the operation itself is
         * invalid, the one-shot form is answered so, too. */
        c->flags |= XEV__F_ONE_SHOT | XEV__F_PROBING;
        restart_operation(loop, c);
        return true;
    }
    if (!xev__accept_outlasts(c, res)) {
        return false;
    }
    xev__accept_again(loop, e, c, res);
    return true;
}

/* The terminal event of a poll. Its slot is free. found: the events that were asked for and hold.
 */
static void poll_ended(xev_loop *loop, xev_completion *c, int res, int found) {
    bool multi = (c->flags & XEV__F_MULTI) != 0 && c->op == XEV__OP_POLL;
    if (!multi && c->result > 0) {
        res = found = c->result; /* on_poll had the kernel end the poll */
    }
    c->result = 0;
    if (!multi && res >= 0 && found == 0 && xev__dir(c) != XEV__READ) {
        c->flags |= XEV__F_PROBING;
        restart_operation(loop, c);
    } else if (c->op != XEV__OP_POLL) {
        try_polled(loop, c, res);
    } else if (res < 0) {
        xev__finish(loop, c, res == XEV_EINVAL ? XEV_EPERM : res, false); /* cannot be polled */
    } else if (!multi) {
        xev__finish(loop, c, found, false);
    } else if (!xev__os_can_watch(c->fd)) {
        xev__finish(loop, c, XEV_EPERM, false);
    } else {
        /* The kernel ran out of room for results. Restarted before the callback, which may close
         * the descriptor. */
        bool cancelled = (c->flags & XEV__F_CANCEL) != 0;
        if (!cancelled) {
            restart_operation(loop, c);
        }
        if (found > 0) {
            xev__finish(loop, c, found, true);
        }
        if (cancelled) {
            xev__finish(loop, c, XEV_ECANCELED, false);
        }
    }
}

/* An event of a poll: of an operation that is a poll, or of one that tries again once its
 * descriptor is ready. The kernel reports the end of the peer's stream to every poll, even to a
 * poll that did not ask for it. A one-shot poll would then end at once, each time it is started. So
 * c waits in the multishot form (XEV__F_PROBING), which reports only changes, and is ended when an
 * event that c asked for has come. */
static void on_poll(xev_loop *loop, uint32_t i, int res, bool more) {
    struct xev__uring *u = loop->backend;
    xev_completion *c = xev__uring_slot(u, i)->c;
    /* A reader tries whatever has come. */
    uint32_t mask = c->op == XEV__OP_POLL ? c->arg.io.aux : XEV_POLL_OUT;
    int found = res > 0 ? (int)xev__os_poll_result((uint32_t)res, mask) : 0;
    if (!more) {
        slot_free(u, i);
        poll_ended(loop, c, res, found);
    } else if (found > 0 && (c->flags & XEV__F_MULTI) != 0) {
        xev__finish(loop, c, found, true);
    } else if (found > 0) {
        bool first = c->result == 0;
        c->result |= found;
        if (first) {
            request_or_wait(u, i);
        }
    }
}

static void on_operation(xev_loop *loop, uint32_t i, int res, uint32_t cqe_flags) {
    struct xev__uring *u = loop->backend;
    xev_completion *c = xev__uring_slot(u, i)->c;
    xev__count(&loop->count.events, 1);
    bool more = (cqe_flags & IORING_CQE_F_MORE) != 0, headed = xev__uring_slot(u, i)->headed;
    uint32_t buffer = XEV__URING_NONE;
    assert(c->slot == i && xev__uring_slot(u, i)->submitted);
    assert(c->op != XEV__OP_ACCEPT || u->accepts_left > 0); /* deliver_events bounds the batch */
    u->accepts_left -= c->op == XEV__OP_ACCEPT;
    if (c->op == XEV__OP_POLL || (c->flags & XEV__F_POLLED) != 0) {
        on_poll(loop, i, res, more);
        return;
    }
    if ((cqe_flags & IORING_CQE_F_BUFFER) != 0) {
        buffer = cqe_flags >> IORING_CQE_BUFFER_SHIFT;
        assert(buffer < loop->buffers->max && u->buffers_in_ring > 0);
        u->buffers_in_ring--;
    }
    if (c->op == XEV__OP_ACCEPT) {
        res = xev__os_above_std(res);
    }
    if (!more) {
        slot_free(u, i);
        if (res < 0 && continue_operation(loop, c, res)) {
            return;
        }
    }
    if (c->op == XEV__OP_SHUTDOWN && res == 0) {
        /* The shutdown is now the head of its queue. The system call does not block. The ring would
         * start a kernel thread for it. */
        bool stopped = (c->flags & XEV__F_CANCEL) != 0;
        res = stopped ? XEV_ECANCELED : xev__os_shutdown_write(c->fd);
    }
    if (res == 0 && (c->op == XEV__OP_RECV || c->op == XEV__OP_READ)) {
        res = XEV_EOF;
    }
    if (res >= 0 && c->op == XEV__OP_UDP_RECV) {
        res = xev__uring_datagram_arrived(loop, c, headed, buffer, res);
    }
    bool success = res >= 0;
    bool cancelled = false;
    if (success) {
        if ((c->flags & XEV__F_PROBING) != 0) {
            u->features &= c->op == XEV__OP_ACCEPT ? ~(uint32_t)XEV_FEATURE_MULTISHOT_ACCEPT
                                                   : ~(uint32_t)XEV_FEATURE_MULTISHOT_RECV;
        }
        c->flags &= (uint16_t)~XEV__F_PROBING;
        xev__accept_works(c);
        if (!more && (c->flags & XEV__F_MULTI) != 0) {
            /* The kernel's operation has ended, and c goes on. It is started again before the
             * callback, which may cancel c or close the descriptor. */
            more = true;
            cancelled = (c->flags & XEV__F_CANCEL) != 0;
            if (!cancelled) {
                if ((c->flags & XEV__F_LOAN) != 0 &&
                    loop->fds->waiting[XEV__WAIT_BUFFER].head == 0) {
                    c->flags &= (uint16_t)~XEV__F_ONE_SHOT;
                }
                restart_operation(loop, c);
            }
        }
    }
    if (buffer != XEV__URING_NONE && success) {
        if (u->buffers_in_ring < u->buffers_offered / 2) {
            xev__uring_offer_more(loop);
        }
        xev__finish_loan(loop, c, buffer, res, more);
    } else {
        if (buffer != XEV__URING_NONE) {
            uring_buffer_back(loop, buffer);
        }
        xev__finish(loop, c, res, more);
    }
    if (cancelled) {
        xev__finish(loop, c, XEV_ECANCELED, false);
    }
}

/* A repeated receive has data and goes on: as on_operation, for what a server gets most often. */
static inline void on_received_part(xev_loop *loop, xev_completion *c, int res, uint32_t buffer) {
    struct xev__uring *u = loop->backend;
    struct xev__buffers *b = loop->buffers;
    assert((c->flags & (XEV__F_MULTI | XEV__F_LOAN)) == (XEV__F_MULTI | XEV__F_LOAN));
    assert((c->flags & (XEV__F_PROBING | XEV__F_POLLED)) == 0 && b->offset == 0);
    assert(buffer < b->max && u->buffers_in_ring > 0);
    xev__count(&loop->count.events, 1);
    u->buffers_in_ring--;
    if (u->buffers_in_ring < u->buffers_offered / 2) {
        xev__uring_offer_more(loop);
    }
    void *memory = xev__buffers_at(b, buffer);
    xev__lend(loop, buffer, memory, (uint32_t)res);
    xev__deliver_part(loop, c, res);
    xev__lend_no_more(loop);
    if (b->taken) {
        return;
    }
    if (b->trimming || u->buffers_in_ring >= u->buffers_offered) {
        uring_buffer_back(loop, buffer);
    } else {
        xev__uring_offer(loop, u, buffer, memory);
    }
}

static void on_event(xev_loop *loop, uint64_t data, int res, uint32_t cqe_flags) {
    struct xev__uring *u = loop->backend;
    uint32_t i = (uint32_t)data, gen = (uint32_t)(data >> 32) & XEV__URING_GEN_MASK;
    enum xev__uring_kind kind = (enum xev__uring_kind)(data >> 62);
    if (kind == XEV__URING_JOINT) {
        return;
    }
    if (kind == XEV__URING_OWN) {
        xev__uring_own_event(loop, (enum xev__uring_own)i, res, cqe_flags);
        return;
    }
    const struct xev__uring_slot *s = xev__chunks_have(&u->slots, i) ? xev__uring_slot(u, i) : NULL;
    if (s == NULL || s->c == NULL || (s->gen & XEV__URING_GEN_MASK) != gen) {
        return; /* the operation has ended already */
    }
    const uint32_t part = IORING_CQE_F_MORE | IORING_CQE_F_BUFFER;
    if (kind == XEV__URING_OP && (cqe_flags & part) == part && res > 0 &&
        s->c->op == XEV__OP_RECV) {
        on_received_part(loop, s->c, res, cqe_flags >> IORING_CQE_BUFFER_SHIFT);
    } else if (kind == XEV__URING_OP) {
        on_operation(loop, i, res, cqe_flags);
    } else if (res == XEV_EALREADY) {
        /* A kernel thread carries out the operation. It was told to stop, but may not do so for
         * long. */
        u->stuck = xev__uring_slot(u, i)->stuck = true;
        u->stuck_until_ns = xev__os_now_ns() + XEV__URING_LOOK_AGAIN_NS;
    } else if (res < 0) {
        /* The kernel did not find the operation, which was passing from one of its lists to
         * another. Unless the operation ends by itself, the next cancel will find it. */
        request_or_wait(u, i);
    }
}

/* Cancel the stuck operations once more, when it is time. Returns how long the poll may wait, which
 * is at most timeout_ns. */
static uint64_t cancel_stuck(struct xev__uring *u, uint64_t timeout_ns) {
    assert(u->stuck);
    uint64_t now = xev__os_now_ns();
    if (now < u->stuck_until_ns) {
        return timeout_ns < u->stuck_until_ns - now ? timeout_ns : u->stuck_until_ns - now;
    }
    u->stuck = false;
    for (uint32_t i = 0; i < xev__chunks_end(&u->slots); i++) {
        struct xev__uring_slot *s = xev__chunks_have(&u->slots, i) ? xev__uring_slot(u, i) : NULL;
        if (s != NULL && s->c != NULL && s->stuck) {
            s->stuck = false;
            request_or_wait(u, i);
        }
    }
    return timeout_ns;
}

/* ---- poll ---- */

/* Deliver the events that are in the ring on entry. Events that come meanwhile wait for the next
 * turn. So do the events behind the last connection that this turn may report. */
static void deliver_events(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    unsigned left = io_uring_cq_ready(&u->ring);
    u->accepts_left = XEV__ACCEPTS_PER_TURN;
    while (left > 0 && u->accepts_left > 0) {
        struct io_uring_cqe *ready[32];
        unsigned n = left < 32 ? left : 32;
        n = io_uring_peek_batch_cqe(&u->ring, ready, n < u->accepts_left ? n : u->accepts_left);
        if (n == 0) {
            return;
        }
        assert(n <= left);
        for (unsigned i = 0; i < n; i++) {
            /* Copied, and given back to the kernel, before the callback, which may submit. */
            uint64_t user_data = ready[i]->user_data;
            int res = ready[i]->res;
            uint32_t flags = ready[i]->flags;
            io_uring_cq_advance(&u->ring, 1);
            on_event(loop, user_data, res, flags);
        }
        left -= n;
    }
}

/* Whether the kernel notes, in memory it shares with us, that entering it would bring events. */
static bool kernel_says_news(const struct xev__uring *u) {
    unsigned flags = __atomic_load_n(u->ring.sq.kflags, __ATOMIC_ACQUIRE);
    return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* Whether entering the kernel may bring events. Without DEFER_TASKRUN the kernel does not note it.
 */
static bool kernel_has_news(const struct xev__uring *u) {
    return !xev__uring_has(u, XEV_FEATURE_DEFER_TASKRUN) || kernel_says_news(u);
}

static bool uring_peek(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    return io_uring_cq_ready(&u->ring) > 0 || io_uring_sq_ready(&u->ring) > 0 ||
           u->wait_head != 0 || u->sends.head != NULL || kernel_has_news(u);
}

static int submit_and_wait(xev_loop *loop, uint64_t timeout_ns) {
    struct xev__uring *u = loop->backend;
    if (timeout_ns == 0) {
        if (io_uring_sq_ready(&u->ring) == 0 && !kernel_has_news(u)) {
            return 0;
        }
        xev__count(&loop->count.syscalls, 1);
        return io_uring_submit_and_get_events(&u->ring);
    }
    xev__count(&loop->count.syscalls, 1);
    struct io_uring_cqe *cqe;
    bool for_ever = timeout_ns > INT64_MAX / 2; /* Linux 6.1 adds its clock to it unchecked */
    timeout_ns += u->slack_ns; /* Linux 6.18 adds it to every wait but that of a ring */
    struct __kernel_timespec ts = {
        .tv_sec = (int64_t)(timeout_ns / 1000000000u),
        .tv_nsec = (int64_t)(timeout_ns % 1000000000u),
    };
    return io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, for_ever ? NULL : &ts, NULL);
}

static int enter_kernel(xev_loop *loop, uint64_t timeout_ns) {
    struct xev__uring *u = loop->backend;
    xev__uring_before_submit(u);
    int rc = submit_and_wait(loop, timeout_ns);
    xev__uring_after_submit(u);
    if (u->joint.len > 0) {
        xev__uring_end_joint(loop);
    }
    return rc;
}

int xev__uring_fill_submission_queue(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    if (u->owner == 0) {
        int rc = xev__uring_attach(u);
        if (rc < 0) {
            loop->failed_call = "io_uring_register";
            return rc;
        }
    }
    if (!u->wake_armed && (u->wake_retry_ns == 0 || xev__os_now_ns() >= u->wake_retry_ns)) {
        xev__uring_arm_wake(u);
    }
    make_waiting_requests(u);
    return 0;
}

bool xev__uring_prepare(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    if (u->host != XEV_INVALID_FD) {
        /* The signal is taken back, since the ring itself is looked at below. The eventfd is
         * registered anew: in Linux 6.18 a signal that the kernel gives while it signals another
         * eventfd (one that is polled and is written) is the last signal of that registration. */
        xev__count(&loop->count.syscalls, 3);
        xev__os_wake_drain(u->ring_signal);
        (void)io_uring_unregister_eventfd(&u->ring);
        if (io_uring_register_eventfd(&u->ring, u->ring_signal) < 0) {
            return true;
        }
    }
    if (xev__uring_fill_submission_queue(loop) < 0) {
        return true; /* xev_loop_run will return the error */
    }
    if (io_uring_sq_ready(&u->ring) > 0) {
        xev__count(&loop->count.syscalls, 1);
        xev__uring_before_submit(u);
        (void)io_uring_submit(&u->ring);
        xev__uring_after_submit(u);
        xev__uring_end_joint(loop);
    }
    /* No signal is given when the ring has room again for a slot that waits. */
    return io_uring_cq_ready(&u->ring) > 0 || io_uring_sq_ready(&u->ring) > 0 ||
           u->wait_head != 0 || u->sends.head != NULL || kernel_says_news(u);
}

/* Deinit after results were lost. The operations whose results were lost never end. All others end
 * soon after they are cancelled, so the loop gives up after a while. */
static void give_up_when_due(struct xev__uring *u) {
    uint64_t now = xev__os_now_ns();
    if (u->give_up_ns == 0) {
        u->give_up_ns = now + GIVE_UP_NS;
    }
    u->foreign = u->foreign || now >= u->give_up_ns;
}

static int uring_poll(xev_loop *loop, uint64_t timeout_ns) {
    struct xev__uring *u = loop->backend;
    int rc = 0;
    if (loop->deinit && u->results_lost) {
        give_up_when_due(u);
    }
    if (xev__uring_is_foreign(loop)) { /* only deinit polls such a ring */
        xev__os_wake_wait(u->wake, timeout_ns > 0 ? 10 : 0);
        return 0;
    }
    if (u->stuck) {
        timeout_ns = cancel_stuck(u, timeout_ns);
    }
    rc = xev__uring_fill_submission_queue(loop);
    if (rc < 0) {
        return rc;
    }
    if (io_uring_cq_ready(&u->ring) > 0 || u->wait_head != 0 || u->sends.head != NULL) {
        timeout_ns = 0;
    } else if (!u->wake_armed && timeout_ns > XEV__URING_LOOK_AGAIN_NS) {
        timeout_ns = XEV__URING_LOOK_AGAIN_NS; /* a wake could not end the wait */
    }
    timeout_ns = xev__alarm_limit(&u->alarm, loop, timeout_ns, xev__uring_set_alarm);
    rc = enter_kernel(loop, timeout_ns);
    xev__woke(loop);
    deliver_events(loop); /* also on EBUSY, which asks for room in the completion queue */
    xev__uring_run_sends(loop);
    if (rc >= 0 || rc == -ETIME) {
        return 0;
    }
    if (rc == -EBADR) {
        /* The kernel had no memory for some results. It does not say whose results they were. Those
         * operations will never end, so xev_loop_run returns the error. The end of the wake
         * descriptor's poll may be among them: another run can be woken, by a second poll. And what
         * became of the alarm: no wait relies on it before it is moved, or set anew. */
        u->results_lost = true;
        u->wake_armed = false;
        u->alarm.rings_ns = 0;
    }
    loop->failed_call = "io_uring_enter";
    return rc;
}

static void uring_nap(xev_loop *loop, uint32_t timeout_ms) {
    const struct xev__uring *u = loop->backend;
    xev__os_wake_wait(u->wake, timeout_ms);
}

static void uring_give_up(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    assert(loop->deinit);
    if (!xev__uring_is_foreign(loop)) {
        xev__uring_end_requests(u);
    }
    u->foreign = true;
}

static int uring_wake(xev_loop *loop) {
    const struct xev__uring *u = loop->backend;
    return xev__os_wake_signal(u->wake);
}

static void uring_abandon(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    if (!xev__uring_is_foreign(loop)) {
        return;
    }
    /* The kernel cancelled the requests of the owner thread when that thread exited. Their events
     * may be in the ring, or were lost with the thread. */
    do {
        deliver_events(loop);
    } while (io_uring_cq_ready(&u->ring) > 0);
    for (uint32_t i = 0; i < xev__chunks_end(&u->slots); i++) {
        xev_completion *c = xev__chunks_have(&u->slots, i) ? xev__uring_slot(u, i)->c : NULL;
        if (c != NULL) {
            slot_free(u, i);
            xev__finish(loop, c, XEV_ECANCELED, false);
        }
    }
}

/* ---- the table ---- */

static uint32_t uring_features(const xev_loop *loop) {
    return ((const struct xev__uring *)loop->backend)->features;
}

const struct xev_backend_ops xev__io_uring_ops = {
    .name = "io_uring",
    .kind = XEV_BACKEND_IO_URING,
    .how =
        {
            [XEV__OP_ACCEPT] = XEV__HOW_MULTI,
            [XEV__OP_RECV] = XEV__HOW_MULTI,
            [XEV__OP_RECVMSG] = XEV__HOW_REQUEST,
            [XEV__OP_UDP_RECV] = XEV__HOW_MULTI,
            [XEV__OP_UDP_RECV_BATCH] = XEV__HOW_READY, /* the ring has no recvmmsg */
            [XEV__OP_PROCESS] = XEV__HOW_READY,        /* the ring's waitid needs Linux 6.7 */
            [XEV__OP_READ] = XEV__HOW_REQUEST,
            [XEV__OP_CONNECT] = XEV__HOW_READY, /* called at submission: addr need not stay */
            [XEV__OP_SEND] = XEV__HOW_REQUEST,
            [XEV__OP_SENDMSG] = XEV__HOW_REQUEST,
            [XEV__OP_UDP_SEND] = XEV__HOW_READY,       /* see io_uring_sends.c */
            [XEV__OP_UDP_SEND_BATCH] = XEV__HOW_READY, /* the ring has no sendmmsg */
            [XEV__OP_WRITE] = XEV__HOW_REQUEST,
            [XEV__OP_SENDFILE] = XEV__HOW_READY,
            [XEV__OP_SHUTDOWN] = XEV__HOW_CALL, /* the ring would start a thread for it */
            [XEV__OP_POLL] = XEV__HOW_MULTI,
        },
    .init = xev__uring_init,
    .deinit = xev__uring_deinit,
    .features = uring_features,
    .start = uring_start,
    .joins = xev__uring_joins,
    .send_joint = xev__uring_send_joint,
    .settle = xev__uring_settle,
    .cancel = uring_cancel,
    .forget = uring_forget,
    .poll = uring_poll,
    .nap = uring_nap,
    .give_up = uring_give_up,
    .peek = uring_peek,
    .prepare = xev__uring_prepare,
    .descriptor = xev__uring_descriptor,
    .wake = uring_wake,
    .buffer_back = uring_buffer_back,
    .buffers_free = uring_buffers_free,
    .abandon = uring_abandon,
};
