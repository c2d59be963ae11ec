/* io_uring: slots, operations and their events, the poll. The model stands in io_uring.h. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "xev/backends/io_uring.h"
#include "xev/backends/readiness.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/os/udp.h"
#include "xev/watchers/watchers.h"

/* How soon to try again what nothing announces. */
#define LOOK_AGAIN_NS 10000000u
/* How long the end of a loop waits for operations whose results may have been lost. */
#define GIVE_UP_NS 1000000000u

/* ---- slots ---- */

static uint32_t slot_new(xev_loop *loop, xev_completion *c) {
    struct xev__uring *u = loop->backend;
    if (u->free_slot == XEV__URING_NONE) {
        uint32_t len = u->slots_len != 0 ? u->slots_len * 2 : 256;
        struct xev__uring_slot *p = u->slots;
        p = xev__grow(&loop->options.allocator, p, u->slots_len * sizeof *p, len * sizeof *p);
        if (p == NULL) {
            return XEV__URING_NONE;
        }
        u->slots = p;
        for (uint32_t i = len; i-- > u->slots_len;) {
            p[i] = (struct xev__uring_slot){.next = u->free_slot};
            u->free_slot = i;
        }
        u->slots_len = len;
    }
    uint32_t i = u->free_slot;
    u->free_slot = u->slots[i].next;
    u->slots[i] = (struct xev__uring_slot){.c = c, .gen = u->slots[i].gen};
    return i;
}

static void slot_free(struct xev__uring *u, uint32_t i) {
    struct xev__uring_slot *s = &u->slots[i];
    s->c = NULL;
    s->gen++;
    if (!s->waiting) {
        s->next = u->free_slot;
        u->free_slot = i;
    }
}

static void slot_wait(struct xev__uring *u, uint32_t i) {
    if (u->slots[i].waiting) {
        return;
    }
    u->slots[i].waiting = true;
    u->slots[i].next = XEV__URING_NONE;
    if (u->wait_tail != XEV__URING_NONE) {
        u->slots[u->wait_tail].next = i;
    } else {
        u->wait_head = i;
    }
    u->wait_tail = i;
}

static void request_or_wait(struct xev__uring *u, uint32_t i) {
    if (u->wait_head != XEV__URING_NONE || !xev__uring_request(u, i)) {
        slot_wait(u, i);
    }
}

static void make_waiting_requests(struct xev__uring *u) {
    while (u->wait_head != XEV__URING_NONE) {
        uint32_t i = u->wait_head;
        struct xev__uring_slot *s = &u->slots[i];
        if (s->c != NULL && !xev__uring_request(u, i)) {
            return;
        }
        u->wait_head = s->next;
        if (u->wait_head == XEV__URING_NONE) {
            u->wait_tail = XEV__URING_NONE;
        }
        s->waiting = false;
        if (s->c == NULL) {
            s->next = u->free_slot;
            u->free_slot = i;
        }
    }
}

/* ---- the buffer ring ---- */

static void offer(xev_loop *loop, uint32_t id) {
    struct xev__uring *u = loop->backend;
    struct xev__buffers *b = loop->buffers;
    io_uring_buf_ring_add(u->buffers, xev__buffers_at(b, id), b->size_bytes, (unsigned short)id,
                          io_uring_buf_ring_mask(loop->options.buffers), 0);
    io_uring_buf_ring_advance(u->buffers, 1);
    u->offered++;
}

void xev__uring_offer_more(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    while (u->offered < loop->options.buffers) {
        uint32_t id = xev__buffers_alloc(loop->buffers);
        if (id == XEV__URING_NONE) {
            return;
        }
        offer(loop, id);
    }
}

static void uring_buffer_back(xev_loop *loop, uint32_t id) {
    struct xev__uring *u = loop->backend;
    if (u->buffers != NULL && u->offered < loop->options.buffers) {
        offer(loop, id);
    } else {
        xev__buffers_put(loop->buffers, id);
    }
}

static uint32_t uring_buffers_free(const xev_loop *loop) {
    const struct xev__uring *u = loop->backend;
    return u->buffers != NULL ? u->offered : xev__buffers_left(loop->buffers);
}

/* ---- operations ---- */

/* What is polled for before it is tried would wait for ever on a descriptor of another kind. True:
 * c is over, with that or, datagrams being there or room for them, with its result. */
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

/* e is NULL where c goes on in another form. */
static void uring_start(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    struct xev__uring *u = loop->backend;
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
            /* The ring (Linux 6.18) takes no lock on the position, so that several writers of one
             * log overwrite each other, and does not move it past a write that was cut short. */
            xev__count(&loop->count.syscalls, 1);
            xev__pend(loop, c, xev__read_or_write(c));
            return;
        }
        if (kind == XEV__OS_DEVICE) {
            /* A terminal's driver heeds O_NONBLOCK only: a long write would block this thread. */
            c->flags |= XEV__F_POLLED;
        }
    }
    c->slot = slot_new(loop, c);
    if (c->slot == XEV__URING_NONE) {
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
    if (!u->slots[c->slot].submitted) {
        slot_free(u, c->slot); /* leaves the list later */
        xev__pend(loop, c, XEV_ECANCELED);
        return;
    }
    request_or_wait(u, c->slot);
}

static void uring_forget(xev_loop *loop, struct xev__fd *e) {
    (void)loop;
    (void)e;
}

/* Put the operation back into the kernel, in whatever form its flags now say. */
static void again(xev_loop *loop, xev_completion *c) {
    if ((c->flags & XEV__F_CANCEL) != 0) {
        xev__finish(loop, c, XEV_ECANCELED, false);
        return;
    }
    uring_start(loop, NULL, c);
}

/* A poll said that the descriptor is ready. Its slot is free again. */
static void try_polled(xev_loop *loop, xev_completion *c, int res) {
    const struct xev__uring *u = loop->backend;
    if (res >= 0 && (c->flags & XEV__F_LOAN) != 0 && u->buffers != NULL) {
        c->flags &= (uint16_t)~XEV__F_POLLED; /* the ring has the buffers */
        again(loop, c);
        return;
    }
    struct xev__fd *e = xev__fds_find(loop->fds, c->fd);
    uint32_t buffer = XEV__URING_NONE;
    if ((c->flags & XEV__F_CANCEL) != 0) {
        xev__finish(loop, c, XEV_ECANCELED, false); /* nothing was taken from the descriptor yet */
        return;
    }
    int rc = res < 0 ? res : xev__try(loop, e, c, &buffer);
    if (rc == XEV_EAGAIN && xev__is_unannounced(c)) {
        xev__fds_pause(loop, e, c);
        return;
    }
    if (rc == XEV_EAGAIN) {
        again(loop, c);
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
        again(loop, c); /* before the callback, which may cancel it or close the descriptor */
    }
    if (buffer != XEV__URING_NONE) {
        xev__finish_loan(loop, c, buffer, rc, more);
    } else {
        xev__finish(loop, c, rc, more);
    }
}

/* The terminal event of a request that its operation survives. True: taken care of. */
static bool survives(xev_loop *loop, xev_completion *c, int res) {
    const struct xev__uring *u = loop->backend;
    bool multi = (c->flags & XEV__F_MULTI) != 0;
    struct xev__fd *e = xev__fds_find(loop->fds, c->fd);
    if ((c->flags & XEV__F_POLLED) != 0) {
        try_polled(loop, c, res);
        return true;
    }
    if (res == XEV_EAGAIN) {
        /* The descriptor is non-blocking: io_uring does not wait on such a one by itself. */
        c->flags |= XEV__F_POLLED;
        again(loop, c);
        return true;
    }
    bool no_buffer = res == XEV_ENOBUFS && (c->flags & XEV__F_LOAN) != 0;
    if ((c->flags & XEV__F_CANCEL) != 0) {
        bool refused = multi && res == XEV_EINVAL && (c->flags & XEV__F_ONE_SHOT) == 0;
        if (res == XEV_EINTR || no_buffer || refused || xev__accept_outlasts(c, res)) {
            xev__finish(loop, c, XEV_ECANCELED, false); /* it would have gone on */
            return true;
        }
        return false;
    }
    if (res == XEV_EINTR) {
        again(loop, c);
        return true;
    }
    if (no_buffer) {
        /* One at a time from now on, so that no connection takes all the buffers there are. */
        c->flags |= XEV__F_ONE_SHOT;
        xev__uring_offer_more(loop);
        xev__fds_starve(loop, e, u->offered > 0 || xev__buffers_expected(loop->buffers));
        return true;
    }
    if (multi && res == XEV_EINVAL && (c->flags & XEV__F_ONE_SHOT) == 0) {
        /* A kernel without the multishot form says so like this. A bad request says it again. */
        c->flags |= XEV__F_ONE_SHOT | XEV__F_PROBING;
        again(loop, c);
        return true;
    }
    if (!xev__accept_outlasts(c, res)) {
        return false;
    }
    xev__accept_again(loop, e, c, res);
    return true;
}

/* A poll's terminal event, the slot is free again. found: what holds of what was asked for. */
static void poll_ended(xev_loop *loop, xev_completion *c, int res, int found) {
    bool multi = (c->flags & XEV__F_MULTI) != 0;
    if (!multi && c->result > 0) {
        xev__finish(loop, c, c->result, false); /* found before, and the kernel told to stop */
    } else if (res < 0) {
        xev__finish(loop, c, res == XEV_EINVAL ? XEV_EPERM : res, false); /* nothing to wait on */
    } else if (!multi && found > 0) {
        xev__finish(loop, c, found, false);
    } else if (!multi) {
        c->flags |= XEV__F_PROBING;
        again(loop, c);
    } else if (!xev__os_can_watch(c->fd)) {
        xev__finish(loop, c, XEV_EPERM, false);
    } else {
        /* The kernel ran out of room for results. Before the callback, which may close it. */
        bool cancelled = (c->flags & XEV__F_CANCEL) != 0;
        if (!cancelled) {
            again(loop, c);
        }
        if (found > 0) {
            xev__finish(loop, c, found, true);
        }
        if (cancelled) {
            xev__finish(loop, c, XEV_ECANCELED, false);
        }
    }
}

/* The kernel reports the end of the peer's stream to every poll, asked for or not. A one-shot poll
 * that would return for that at once, again and again, waits in the multishot form (PROBING), which
 * tells of changes only, and is ended when it has found something. */
static void on_poll(xev_loop *loop, uint32_t i, int res, bool more) {
    struct xev__uring *u = loop->backend;
    xev_completion *c = u->slots[i].c;
    int found = res > 0 ? (int)xev__os_poll_result((uint32_t)res, c->arg.io.aux) : 0;
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

#define HEADER_BYTES ((int)sizeof(struct io_uring_recvmsg_out))
#define NAME_BYTES ((int)sizeof(((xev_datagram *)0)->priv.name))
#define CONTROL_BYTES ((int)sizeof(((xev_datagram *)0)->priv.control))
_Static_assert(HEADER_BYTES + NAME_BYTES + CONTROL_BYTES == XEV_DATAGRAM_OVERHEAD, "as promised");

/* Describe what slot i's request brought. Before it is made again: that may write to the header.
 * Returns the bytes of the datagram alone. */
static int datagram_arrived(xev_loop *loop, uint32_t i, xev_completion *c, uint32_t buffer,
                            int res) {
    const struct xev__uring *u = loop->backend;
    xev_datagram *d = c->arg.io.buf;
    if ((c->flags & XEV__F_LOAN) == 0) {
        xev__os_udp_received(d, (uint32_t)res);
        return res;
    }
    uint8_t *data = buffer != XEV__URING_NONE ? xev__buffers_at(loop->buffers, buffer) : NULL;
    if (!u->slots[i].headed || data == NULL || res < XEV_DATAGRAM_OVERHEAD) {
        d->buf = res > 0 ? data : NULL;
        xev__os_udp_received(d, (uint32_t)res);
        return res;
    }
    struct io_uring_recvmsg_out head;
    memcpy(&head, data, sizeof head);
    const uint8_t *name = data + HEADER_BYTES, *control = name + NAME_BYTES;
    res -= XEV_DATAGRAM_OVERHEAD;
    xev__os_udp_describe(d, (uint32_t)res, name, head.namelen, control, head.controllen,
                         (head.flags & MSG_TRUNC) != 0);
    d->buf = res > 0 ? data + XEV_DATAGRAM_OVERHEAD : NULL;
    loop->buffers->offset = XEV_DATAGRAM_OVERHEAD;
    return res;
}

static void on_operation(xev_loop *loop, uint32_t i, int res, uint32_t cqe_flags) {
    struct xev__uring *u = loop->backend;
    xev_completion *c = u->slots[i].c;
    xev__count(&loop->count.events, 1);
    bool more = (cqe_flags & IORING_CQE_F_MORE) != 0;
    uint32_t buffer = XEV__URING_NONE;
    if (c->op == XEV__OP_POLL) {
        on_poll(loop, i, res, more);
        return;
    }
    assert(c->op != XEV__OP_ACCEPT || u->accepts_left > 0);
    u->accepts_left -= c->op == XEV__OP_ACCEPT; /* see reap: no batch is larger than what is left */
    if ((cqe_flags & IORING_CQE_F_BUFFER) != 0) {
        buffer = cqe_flags >> IORING_CQE_BUFFER_SHIFT;
        u->offered--;
    }
    if (c->op == XEV__OP_ACCEPT && (c->flags & XEV__F_POLLED) == 0) {
        res = xev__os_above_std(res); /* a poll's result is a mask, and no descriptor */
    }
    if (!more) {
        slot_free(u, i);
        if (res < 0 || (c->flags & XEV__F_POLLED) != 0) {
            if (survives(loop, c, res)) {
                return;
            }
        }
    }
    if (c->op == XEV__OP_SHUTDOWN && res == 0) {
        /* Its turn in the queue. The call itself does not block, and the ring would start a kernel
         * thread for it. */
        bool stopped = (c->flags & XEV__F_CANCEL) != 0;
        res = stopped ? XEV_ECANCELED : xev__os_shutdown_write(c->fd);
    }
    if (res == 0 && (c->op == XEV__OP_RECV || c->op == XEV__OP_READ)) {
        res = XEV_EOF;
    }
    if (res >= 0 && c->op == XEV__OP_UDP_RECV) {
        res = datagram_arrived(loop, i, c, buffer, res); /* its slot is as it was */
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
            /* The kernel's multishot is over, or was none; ours is not. Before the callback, which
             * may cancel it or close the descriptor. */
            more = true;
            cancelled = (c->flags & XEV__F_CANCEL) != 0;
            if (!cancelled) {
                if ((c->flags & XEV__F_LOAN) != 0 &&
                    loop->fds->waiting[XEV__WAIT_BUFFER].head == NULL) {
                    c->flags &= (uint16_t)~XEV__F_ONE_SHOT;
                }
                again(loop, c);
            }
        }
    }
    if (buffer != XEV__URING_NONE && success) {
        if (u->offered < loop->options.buffers / 2) {
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

static void on_event(xev_loop *loop, uint64_t data, int res, uint32_t cqe_flags) {
    struct xev__uring *u = loop->backend;
    uint32_t i = (uint32_t)data, gen = (uint32_t)(data >> 32) & XEV__URING_GEN_MASK;
    enum xev__uring_kind kind = (enum xev__uring_kind)(data >> 62);
    if (kind == XEV__URING_WAKE) {
        xev__os_wake_drain(u->wake);
        if ((cqe_flags & IORING_CQE_F_MORE) == 0) {
            u->wake_armed = false;
            /* Refused: asking again at once would be refused again, for as long as memory lacks.
             * Until then the loop looks for wakes by itself. */
            u->wake_retry_ns = res < 0 ? xev__os_now_ns() + LOOK_AGAIN_NS : 0;
        }
        return;
    }
    if (i >= u->slots_len || u->slots[i].c == NULL ||
        (u->slots[i].gen & XEV__URING_GEN_MASK) != gen) {
        return; /* of an operation that is over */
    }
    if (kind == XEV__URING_OP) {
        on_operation(loop, i, res, cqe_flags);
    } else if (res == XEV_EALREADY) {
        /* A thread of the kernel's is at it, told to stop, and may not be able to for long. */
        u->stuck = u->slots[i].stuck = true;
        u->stuck_until_ns = xev__os_now_ns() + LOOK_AGAIN_NS;
    } else if (res < 0) {
        /* Not found: it was changing hands. If it did not end by itself, the next request will
         * find it. */
        request_or_wait(u, i);
    }
}

/* Ask once more to cancel what could not be. Returns how long to wait at most, given a limit. */
static uint64_t cancel_stuck(struct xev__uring *u, uint64_t timeout_ns) {
    uint64_t now = xev__os_now_ns();
    if (now < u->stuck_until_ns) {
        return timeout_ns < u->stuck_until_ns - now ? timeout_ns : u->stuck_until_ns - now;
    }
    u->stuck = false;
    for (uint32_t i = 0; i < u->slots_len; i++) {
        bool stuck = u->slots[i].stuck;
        u->slots[i].stuck = false;
        if (stuck && u->slots[i].c != NULL) {
            request_or_wait(u, i);
        }
    }
    return timeout_ns;
}

/* ---- poll ---- */

/* Deliver what was complete on entry. Where many connections came, the rest stays in the ring for
 * the next turn. */
static void reap(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    unsigned left = io_uring_cq_ready(&u->ring);
    u->accepts_left = XEV__ACCEPTS_PER_TURN;
    while (left > 0 && u->accepts_left > 0) {
        struct io_uring_cqe *ready[32];
        struct {
            uint64_t user_data;
            int res;
            uint32_t flags;
        } copy[32];
        unsigned n = left < 32 ? left : 32;
        n = io_uring_peek_batch_cqe(&u->ring, ready, n < u->accepts_left ? n : u->accepts_left);
        if (n == 0) {
            return;
        }
        for (unsigned i = 0; i < n; i++) {
            copy[i].user_data = ready[i]->user_data;
            copy[i].res = ready[i]->res;
            copy[i].flags = ready[i]->flags;
        }
        io_uring_cq_advance(&u->ring, n);
        for (unsigned i = 0; i < n; i++) {
            on_event(loop, copy[i].user_data, copy[i].res, copy[i].flags);
        }
        left -= n;
    }
}

/* The ring says in shared memory that entering the kernel would bring something. */
static bool kernel_says_news(const struct xev__uring *u) {
    unsigned flags = __atomic_load_n(u->ring.sq.kflags, __ATOMIC_ACQUIRE);
    return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* Whether it could, also where the ring does not say. */
static bool kernel_has_news(const struct xev__uring *u) {
    return !xev__uring_has(u, XEV_FEATURE_DEFER_TASKRUN) || kernel_says_news(u);
}

static bool uring_peek(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    return io_uring_cq_ready(&u->ring) > 0 || io_uring_sq_ready(&u->ring) > 0 ||
           u->wait_head != XEV__URING_NONE || kernel_has_news(u);
}

static int enter(xev_loop *loop, uint64_t timeout_ns) {
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
    timeout_ns += u->slack_ns; /* which the kernel gives to every wait but a ring's (6.18) */
    struct __kernel_timespec ts = {
        .tv_sec = (int64_t)(timeout_ns / 1000000000u),
        .tv_nsec = (int64_t)(timeout_ns % 1000000000u),
    };
    return io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, for_ever ? NULL : &ts, NULL);
}

/* All there is to ask of the kernel is in the submission queue, as far as there is room. */
static int make_ready(xev_loop *loop) {
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

static bool uring_prepare(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    if (u->host != XEV_INVALID_FD) {
        /* What it was for is looked for below. Registered anew: in Linux 6.18 a signal that is
         * given from within another eventfd's, as when a polled one is written, is the last one. */
        xev__count(&loop->count.syscalls, 3);
        xev__os_wake_drain(u->ring_signal);
        (void)io_uring_unregister_eventfd(&u->ring);
        if (io_uring_register_eventfd(&u->ring, u->ring_signal) < 0) {
            return true;
        }
    }
    if (make_ready(loop) < 0) {
        return true; /* the run will say why */
    }
    if (io_uring_sq_ready(&u->ring) > 0) {
        xev__count(&loop->count.syscalls, 1);
        (void)io_uring_submit(&u->ring);
    }
    /* What found no room in the ring signals nothing when there is some. */
    return io_uring_cq_ready(&u->ring) > 0 || io_uring_sq_ready(&u->ring) > 0 ||
           u->wait_head != XEV__URING_NONE || kernel_says_news(u);
}

/* The ring's own descriptor will not do: with DEFER_TASKRUN nobody who polls it is woken. */
static xev_fd uring_descriptor(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    if (u->host != XEV_INVALID_FD) {
        return u->host;
    }
    int rc = make_ready(loop);
    rc = rc == 0 ? xev__os_wake_open(&u->ring_signal) : rc;
    if (rc < 0) {
        return rc;
    }
    int ep = epoll_create1(EPOLL_CLOEXEC);
    ep = ep < 0 ? ep : xev__os_above_std(ep);
    struct epoll_event in = {.events = EPOLLIN};
    if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, u->wake, &in) < 0 ||
        epoll_ctl(ep, EPOLL_CTL_ADD, u->ring_signal, &in) < 0) {
        rc = -errno;
        (void)xev__os_close(ep);
        (void)xev__os_close(u->ring_signal);
        return rc;
    }
    u->host = ep;
    if (uring_prepare(loop)) { /* again: what was prepared before signals nothing here */
        (void)xev__os_wake_signal(u->ring_signal); /* the run looks for itself, too */
    }
    return ep;
}

/* Operations whose results were lost do not end when they are cancelled. The others do, soon. */
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
    if (xev__uring_is_foreign(loop)) { /* deinit */
        xev__os_wake_wait(u->wake, timeout_ns > 0 ? 10 : 0);
        return 0;
    }
    if (u->stuck) {
        timeout_ns = cancel_stuck(u, timeout_ns);
    }
    rc = make_ready(loop);
    if (rc < 0) {
        return rc;
    }
    if (io_uring_cq_ready(&u->ring) > 0 || u->wait_head != XEV__URING_NONE) {
        timeout_ns = 0;
    } else if (!u->wake_armed && timeout_ns > LOOK_AGAIN_NS) {
        timeout_ns = LOOK_AGAIN_NS; /* nobody could end the wait */
    }
    rc = enter(loop, timeout_ns);
    xev__woke(loop);
    reap(loop); /* EBUSY: there are results to be taken first */
    if (rc >= 0 || rc == -ETIME) {
        return 0;
    }
    if (rc == -EBADR) {
        /* There was no memory for results. Whose they were is not known, so those operations would
         * never end: the run does. */
        u->results_lost = true;
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
    /* The kernel cancelled and ended that thread's requests when it exited; what it has to say
     * about them may be in the ring or lost with the thread. */
    do {
        reap(loop);
    } while (io_uring_cq_ready(&u->ring) > 0);
    for (uint32_t i = 0; i < u->slots_len; i++) {
        xev_completion *c = u->slots[i].c;
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
            [XEV__OP_UDP_RECV_BATCH] = XEV__HOW_READY, /* the ring has no recvmmsg, ... */
            [XEV__OP_PROCESS] = XEV__HOW_READY,        /* its waitid is of Linux 6.7 */
            [XEV__OP_READ] = XEV__HOW_REQUEST,
            [XEV__OP_CONNECT] = XEV__HOW_READY, /* called at submission: addr need not stay */
            [XEV__OP_SEND] = XEV__HOW_REQUEST,
            [XEV__OP_SENDMSG] = XEV__HOW_REQUEST,
            [XEV__OP_UDP_SEND] = XEV__HOW_REQUEST,
            [XEV__OP_UDP_SEND_BATCH] = XEV__HOW_READY, /* ... and no sendmmsg */
            [XEV__OP_WRITE] = XEV__HOW_REQUEST,
            [XEV__OP_SENDFILE] = XEV__HOW_READY,
            [XEV__OP_SHUTDOWN] = XEV__HOW_CALL, /* the ring would start a thread for it */
            [XEV__OP_POLL] = XEV__HOW_MULTI,
        },
    .init = xev__uring_init,
    .deinit = xev__uring_deinit,
    .features = uring_features,
    .start = uring_start,
    .cancel = uring_cancel,
    .forget = uring_forget,
    .poll = uring_poll,
    .nap = uring_nap,
    .give_up = uring_give_up,
    .peek = uring_peek,
    .prepare = uring_prepare,
    .descriptor = uring_descriptor,
    .wake = uring_wake,
    .buffer_back = uring_buffer_back,
    .buffers_free = uring_buffers_free,
    .abandon = uring_abandon,
};
