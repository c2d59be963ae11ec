/* io_uring: joint sends. What handlers write during a turn goes out together, by the system call
 * that waits for the next events: one call for many connections, and none of its own for one.
 *
 * A joint send is a request that has no event if it succeeds (CQE_SKIP_SUCCESS): the ring carries
 * out a send inside the system call that submits it, so when that returns, the bytes are with the
 * socket, or there is an event that tells what became of them. MSG_DONTWAIT has a full socket end
 * the request with the number of bytes that it took, and MSG_WAITALL makes that a failure, which
 * has an event. The events are looked through as soon as the system call has returned, and before
 * any of them is delivered.
 *
 * That needs all of them to be in the completion queue. A joint send is taken back where it might
 * be too full (may_submit), and where its owner cannot wait: its place in the submission queue
 * becomes a no-operation, and a plain send takes its place.
 */
#include <assert.h>
#include <sys/socket.h>

#include "xev/backends/io_uring.h"
#include "xev/os/clock.h"
#include "xev/os/socket.h"

/* How many events a repeated receive may bring while it is being started (Linux 6.18 tries 32 times
 * more). A repeated accept has no such limit. */
#define EVENTS_AT_START 33u

/* Each time so many joint sends wait, they go out if the turn has lasted WAIT_MAX_NS. */
#define LOOK_AT_CLOCK 16u
#define WAIT_MAX_NS 200000u

static uint64_t user_data(const struct xev__uring_joints *j, uint32_t i) {
    return (uint64_t)XEV__URING_JOINT << 62 | (uint64_t)(j->gen & XEV__URING_GEN_MASK) << 32 | i;
}

void xev__uring_expect_events(struct xev__uring *u, const xev_completion *c) {
    bool multi = (c->flags & XEV__F_MULTI) != 0;
    uint32_t n = !multi ? 1 : c->op == XEV__OP_ACCEPT ? UINT16_MAX : EVENTS_AT_START;
    u->joint.other_events += u->joint.other_events < UINT32_MAX / 2 ? n : 0;
}

/* Whether all events of what is to be submitted find room, in the order in which they come. */
static bool may_submit(const struct xev__uring *u) {
    unsigned flags = __atomic_load_n(u->ring.sq.kflags, __ATOMIC_ACQUIRE);
    return (flags & IORING_SQ_CQ_OVERFLOW) == 0 &&
           u->joint.other_events + u->joint.len + io_uring_cq_ready(&u->ring) <=
               u->ring.cq.ring_entries;
}

static bool result_known(const struct xev__uring_joints *j, uint32_t i) {
    return i < j->submitted || j->of[i].taken_back;
}

/* Send it by a call of its own. */
static void take_joint_back(struct xev__uring *u, uint32_t i) {
    struct xev__uring_joint *s = &u->joint.of[i];
    assert(!result_known(&u->joint, i));
    struct io_uring_sqe *sqe = &u->ring.sq.sqes[s->position & u->ring.sq.ring_mask];
    assert(sqe->user_data == user_data(&u->joint, i));
    io_uring_prep_nop(sqe);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, user_data(&u->joint, i));
    s->result = xev__os_send(s->send.fd, s->send.data, s->send.len_bytes);
    s->taken_back = true;
}

static void take_all_back(struct xev__uring *u) {
    for (uint32_t i = u->joint.submitted; i < u->joint.len; i++) {
        if (!u->joint.of[i].taken_back) {
            take_joint_back(u, i);
        }
    }
}

void xev__uring_before_submit(struct xev__uring *u) {
    if (u->joint.submitted < u->joint.len && !may_submit(u)) {
        take_all_back(u);
    }
}

/* Look for those that failed among the events that have come. */
static void find_failures(struct xev__uring *u) {
    unsigned tail = io_uring_smp_load_acquire(u->ring.cq.ktail), at = u->joint.looked_at;
    assert(tail - at <= u->ring.cq.ring_entries);
    u->joint.looked_at = tail;
    const uint64_t first = user_data(&u->joint, 0);
    for (; at != tail; at++) {
        const struct io_uring_cqe *cqe = &u->ring.cq.cqes[at & u->ring.cq.ring_mask];
        if (cqe->user_data - first < u->joint.len) {
            u->joint.of[cqe->user_data - first].result = cqe->res;
        }
    }
}

void xev__uring_after_submit(struct xev__uring *u) {
    unsigned head = io_uring_smp_load_acquire(u->ring.sq.khead);
    if (head == u->ring.sq.sqe_tail) {
        u->joint.other_events = 0;
    }
    /* Each time, also where nothing is looked for: the counts wrap. */
    unsigned delivered = *u->ring.cq.khead;
    if ((int32_t)(delivered - u->joint.looked_at) > 0) {
        u->joint.looked_at = delivered;
    }
    uint32_t before = u->joint.submitted;
    while (u->joint.submitted < u->joint.len &&
           (int32_t)(u->joint.of[u->joint.submitted].position - head) < 0) {
        u->joint.submitted++;
    }
    if (u->joint.submitted > before) {
        find_failures(u);
    }
}

static inline void tell_joint(xev_loop *loop, struct xev__uring_joint *s) {
    assert(!s->told);
    s->told = true;
    s->send.sent(&s->send, s->result);
    if (s->buffer != XEV__URING_NONE) {
        loop->ops->buffer_back(loop, s->buffer);
    }
}

void xev__uring_end_joint(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    take_all_back(u);
    u->joint.submitted = u->joint.len;
    for (uint32_t i = 0; i < u->joint.len; i++) {
        if (!u->joint.of[i].told) {
            tell_joint(loop, &u->joint.of[i]);
        }
    }
    u->joint.len = u->joint.submitted = 0;
    u->joint.gen++;
}

static void settle_all(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    xev__uring_before_submit(u);
    if (u->joint.submitted < u->joint.len) {
        xev__count(&loop->count.syscalls, 1);
        (void)io_uring_submit(&u->ring); /* what it leaves is taken back */
        xev__uring_after_submit(u);
    }
    xev__uring_end_joint(loop);
}

void xev__uring_settle(xev_loop *loop, const void *owner) {
    struct xev__uring *u = loop->backend;
    bool forked = xev__forked(loop);
    if (owner == NULL && !xev__uring_is_foreign(loop)) {
        settle_all(loop);
        return;
    }
    for (uint32_t i = 0; i < u->joint.len; i++) {
        struct xev__uring_joint *s = &u->joint.of[i];
        if (s->told || (owner != NULL && s->send.owner != owner)) {
            continue;
        }
        if (!result_known(&u->joint, i) && !forked) {
            take_joint_back(u, i);
        } /* in a forked child nothing is: the parent sends it */
        tell_joint(loop, s);
    }
}

bool xev__uring_joins(const xev_loop *loop) {
    const uint32_t needed = XEV_FEATURE_DEFER_TASKRUN | XEV_FEATURE_SUBMIT_ALL;
    const struct xev__uring *u = loop->backend;
    return (u->features & needed) == needed;
}

/* Whether the kernel can do without one more buffer until the turn's end. */
static bool spares_buffer(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    if (u->buffers_in_ring < (u->buffers_offered + 1) / 2 &&
        u->buffers_offered < loop->options.buffers) {
        u->buffers_offered *= 2;
        xev__uring_offer_more(loop);
        if (u->buffers_in_ring < u->buffers_offered) { /* the program holds the rest */
            u->buffers_offered /= 2;
        }
    }
    return !loop->buffers->taken && u->buffers_in_ring >= (u->buffers_offered + 1) / 2;
}

/* Whether those that wait must go out now: there is no room for more, or the handlers of this turn
 * are slow, and the first of them would wait for too long. */
static bool is_full(const xev_loop *loop) {
    const struct xev__uring *u = loop->backend;
    return u->joint.len == XEV__URING_JOINTS ||
           (u->joint.len > 0 && u->joint.len % LOOK_AT_CLOCK == 0 &&
            xev__os_now_ns() - loop->looked_ns > WAIT_MAX_NS);
}

bool xev__uring_send_joint(xev_loop *loop, const struct xev__joint_send *send, bool loaned) {
    struct xev__uring *u = loop->backend;
    struct xev__buffers *b = loop->buffers;
    assert(xev__uring_joins(loop));
    if (loop->deinit || (loaned && !spares_buffer(loop))) {
        return false;
    }
    if (is_full(loop)) {
        settle_all(loop);
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe == NULL) {
        return false;
    }
    uint32_t i = u->joint.len++;
    io_uring_prep_send(sqe, send->fd, send->data, send->len_bytes,
                       MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, user_data(&u->joint, i));
    struct xev__uring_joint *s = &u->joint.of[i];
    s->send = *send;
    s->position = u->ring.sq.sqe_tail - 1;
    s->buffer = loaned ? b->current_id : XEV__URING_NONE;
    s->result = (int)send->len_bytes; /* unless there is an event */
    s->taken_back = s->told = false;
    b->taken = b->taken || loaned;
    return true;
}
