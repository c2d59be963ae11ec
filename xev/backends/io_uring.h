/* Internal: the declarations that the files of the io_uring backend share.
 *
 *   io_uring.c           slots, operations, events, the poll, the table of the backend
 *   io_uring_requests.c  the submissions, and the header of a received datagram
 *   io_uring_own.c       the end of a wait, by a wake or by the alarm
 *   io_uring_sends.c     datagrams that are sent one at a time
 *   io_uring_joint.c     what handlers of connections write, sent together
 *   io_uring_setup.c     the creation of the ring and its buffers, their thread, their end
 *
 * Every operation in the kernel has a slot. user_data is the number and the generation of the slot,
 * never a pointer, so a late or repeated event finds nothing. Until the terminal event has come the
 * kernel may write to the caller's memory. So the slot is freed at that event and not earlier, and
 * a cancelled operation is reported at that event and not earlier.
 *
 * The ring is created disabled and enabled by the first poll. SINGLE_ISSUER then binds it to the
 * thread that runs the loop, which need not be the thread that initialised it. An operation that
 * finds no room in the submission queue waits: its slot stands in a list.
 */
#ifndef XEV_BACKENDS_IO_URING_H
#define XEV_BACKENDS_IO_URING_H

#include <liburing.h>

#include "xev/backends/alarm.h"
#include "xev/backends/readiness.h"
#include "xev/core/core.h"
#include "xev/os/thread.h"

#define XEV__URING_BUFFER_GROUP 0
#define XEV__URING_NONE UINT32_MAX /* no slot; no buffer */
/* How long to wait before another attempt where the kernel reports no change. */
#define XEV__URING_LOOK_AGAIN_NS 10000000u

/* user_data: kind (2 bits), generation (30), slot (32). */
enum xev__uring_kind {
    XEV__URING_OP = 0,
    XEV__URING_CANCEL = 1,
    XEV__URING_OWN = 2,   /* the loop's own: enum xev__uring_own instead of a slot */
    XEV__URING_JOINT = 3, /* a joint send that failed: known before events are delivered */
};
enum xev__uring_own {
    XEV__URING_WAKE,
    XEV__URING_ALARM,      /* the alarm (alarm.h) rings; or it cannot be set */
    XEV__URING_ALARM_MOVE, /* it was set to another time, or had rung already, or cannot be */
};
#define XEV__URING_GEN_MASK ((1u << 30) - 1)

struct xev__uring_slot {
    xev_completion *c; /* NULL: the slot is free, or it will be when it leaves the list */
    uint32_t gen;
    union {
        uint32_t next_free; /* while it is free */
        struct {
            uint32_t next : 28; /* in the list of waiting slots: number + 1, or 0 */
            bool waiting : 1;   /* in the list: a submission is to be made for the slot */
            bool submitted : 1; /* the kernel has the operation: its cancel is submitted next */
            bool headed : 1;    /* the kernel writes a header in front of each datagram */
            bool stuck : 1;     /* the kernel could not cancel the operation yet */
        };
    };
};
_Static_assert(sizeof(void *) != 8 || sizeof(struct xev__uring_slot) == 16,
               "each idle connection has one");
#define XEV__URING_NEXT_MASK ((1u << 28) - 1)

/* How many joint sends wait for one system call at most. */
#define XEV__URING_JOINTS 128u

struct xev__uring_joint {
    struct xev__joint_send send;
    uint32_t position; /* in the submission queue */
    uint32_t buffer;   /* that is kept for it, or XEV__URING_NONE */
    int result;        /* where it was submitted or taken back */
    bool taken_back, told;
};

struct xev__uring_joints {
    uint32_t len, submitted; /* the first ones were submitted */
    uint32_t gen;            /* of the present ones, in the user_data */
    uint32_t other_events;   /* that other submissions may bring when they are submitted, at most */
    unsigned looked_at;      /* up to here the completion queue was looked through */
    struct xev__uring_joint of[XEV__URING_JOINTS];
};

struct xev__uring {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers; /* NULL: not in use */
    uint32_t buffers_in_ring;
    uint32_t buffers_offered; /* how many the ring is filled up to; grows to options.buffers */
    uint32_t features;
    uint64_t owner;    /* the thread that the ring is bound to; 0: the ring is not enabled yet */
    uint64_t slack_ns; /* the timer slack of that thread */
    bool foreign;      /* that thread has ended, and another thread ends the loop */
    bool wake_armed;   /* the kernel has the poll of the wake descriptor */
    uint64_t wake_retry_ns; /* the kernel refused that poll: when to ask again; 0: it did not */
    uint32_t accepts_left;  /* connections that may still be reported in this turn */
    bool stuck;             /* some slot is stuck, and is cancelled again at stuck_until_ns */
    uint64_t stuck_until_ns;
    struct xev__alarm alarm;
    struct __kernel_timespec alarm_at; /* until it is submitted */
    bool alarm_runs;                   /* the kernel has it: it is moved, and no second one made */
    bool no_alarm;                     /* the kernel has no such timers */
    bool results_lost;                 /* the kernel had no memory for some results */
    uint64_t give_up_ns; /* when the loop's end stops waiting for results; 0: not set yet */
    xev_fd wake;
    /* host is an epoll descriptor that a foreign event loop may wait for. It watches wake and
     * ring_signal, the eventfd that the ring signals. XEV_INVALID_FD until the program asks. */
    xev_fd host, ring_signal;
    struct xev__chunks slots;
    uint32_t wait_head, wait_tail; /* number + 1, or 0 */
    struct xev__readiness sends;   /* only the list: entries whose datagrams are to be sent */
    /* One message header per place in the submission queue, for vectored operations on sockets. The
     * kernel has copied the header (SUBMIT_STABLE) by the time the place is free again. */
    uint64_t (*headers)[8];
    struct xev__uring_joints joint;
};

static inline bool xev__uring_has(const struct xev__uring *u, uint32_t feature) {
    return (u->features & feature) != 0;
}

/* Whether this thread must not use the ring: the ring is bound to another thread, or belongs to the
 * parent process. */
static inline bool xev__uring_is_foreign(const xev_loop *loop) {
    const struct xev__uring *u = loop->backend;
    return u->foreign || xev__forked(loop) || (u->owner != 0 && u->owner != xev__os_thread_id());
}

static inline struct xev__uring_slot *xev__uring_slot(const struct xev__uring *u, uint32_t i) {
    return xev__chunks_item(&u->slots, i, sizeof(struct xev__uring_slot));
}

/* ---- io_uring.c ---- */

/* Start c, which found its descriptor not ready: a poll of the descriptor, then another attempt. */
void xev__uring_start_polled(xev_loop *loop, xev_completion *c);

/* Put everything that waits for it into the submission queue, as far as there is room. Enables the
 * ring when called for the first time. Returns 0 or a code. */
int xev__uring_fill_submission_queue(xev_loop *loop);

/* prepare of the backend's table. */
bool xev__uring_prepare(xev_loop *loop);

/* ---- io_uring_requests.c ---- */

/* Submit the operation of slot i; or its cancel, where the kernel has the operation. False: there
 * is no room in the submission queue. */
bool xev__uring_request(struct xev__uring *u, uint32_t i);

/* Describe the datagram that c received, before c is started again, since that may write to the
 * header. headed: as the slot of c said. Returns the length of the datagram without the kernel's
 * header. */
int xev__uring_datagram_arrived(xev_loop *loop, xev_completion *c, bool headed, uint32_t buffer,
                                int res);

/* A place in the submission queue; NULL: it is full, also after a submission. */
struct io_uring_sqe *xev__uring_take_sqe(struct xev__uring *u);

/* ---- io_uring_own.c ---- */

/* Submit the poll of the wake descriptor, which ends the wait when xev__os_wake_signal is called.
 * Without room in the submission queue u->wake_armed stays false. */
void xev__uring_arm_wake(struct xev__uring *u);

/* Submit the alarm (alarm.h), or its move to another time. */
bool xev__uring_set_alarm(xev_loop *loop, uint64_t at_ns);

/* An event of the loop's own. */
void xev__uring_own_event(xev_loop *loop, enum xev__uring_own what, int res, uint32_t cqe_flags);

/* ---- io_uring_sends.c ---- */

/* Have the poll send the datagram of c, the head of e's queue. */
void xev__uring_list_send(xev_loop *loop, struct xev__fd *e, xev_completion *c);

/* Whether a STARTED operation waits for that. */
static inline bool xev__uring_is_listed_send(const xev_completion *c) {
    return c->op == XEV__OP_UDP_SEND && c->state == XEV__STARTED && c->slot == XEV__URING_NONE;
}

/* Send such datagrams, as many as one poll may, and call back. */
void xev__uring_run_sends(xev_loop *loop);

/* ---- io_uring_joint.c ---- */

/* joins, send_joint and settle of the backend's table. */
bool xev__uring_joins(const xev_loop *loop);
bool xev__uring_send_joint(xev_loop *loop, const struct xev__joint_send *send, bool loaned);
void xev__uring_settle(xev_loop *loop, const void *owner);
/* Called around each system call that submits. */
void xev__uring_before_submit(struct xev__uring *u);
void xev__uring_after_submit(struct xev__uring *u);
/* Tell the owners of all joint sends, after a submission, what became of them. */
void xev__uring_end_joint(xev_loop *loop);
/* c is about to be submitted. */
void xev__uring_expect_events(struct xev__uring *u, const xev_completion *c);

/* ---- io_uring_setup.c ---- */

/* descriptor of the backend's table. */
xev_fd xev__uring_descriptor(xev_loop *loop);

/* Put free buffers into the ring until as many are there as are offered, or none is left. */
void xev__uring_offer_more(xev_loop *loop);
/* Put the buffer id, whose memory this is, into the ring, which has a place for it. */
static inline void xev__uring_offer(xev_loop *loop, struct xev__uring *u, uint32_t id,
                                    void *memory) {
    const struct xev__buffers *b = loop->buffers;
    assert(id < b->max && u->buffers_in_ring < u->buffers_offered);
    assert(memory == xev__buffers_at(b, id));
    io_uring_buf_ring_add(u->buffers, memory, b->size_bytes, (unsigned short)id,
                          io_uring_buf_ring_mask(loop->options.buffers), 0);
    io_uring_buf_ring_advance(u->buffers, 1);
    u->buffers_in_ring++;
}

/* init and deinit of the backend's table. */
int xev__uring_init(xev_loop *loop, char *why, size_t why_len);
void xev__uring_deinit(xev_loop *loop);

/* Bind the ring to this thread, before it is entered for the first time. 0 or a code. */
int xev__uring_attach(struct xev__uring *u);

/* End the requests of a ring that cannot be entered. Otherwise they stand until the kernel has
 * closed the ring, which it does some time after its descriptor was closed: until then one could
 * write to memory that its operation has given back, or take a connection. Before Linux 6.0 it has
 * no effect. */
void xev__uring_end_requests(struct xev__uring *u);

#endif
