/* Internal: what the files of the io_uring backend share.
 *
 *   io_uring.c           slots, operations, events, the poll, the table of the backend
 *   io_uring_requests.c  the submissions that an operation, a cancel or the wake is made of
 *   io_uring_setup.c     the ring and its buffers: made, bound to their thread, ended
 *
 * Every operation in the kernel has a slot; user_data is the slot's number and generation, never a
 * pointer, so a late or repeated event finds nothing. A slot is free again only when its terminal
 * event was seen: until then the kernel may write to the caller's memory, and a cancelled operation
 * is not reported before.
 *
 * The ring is created disabled and enabled by the first poll: SINGLE_ISSUER then binds it to the
 * thread that runs the loop, whoever initialised it. Operations that find no room in the submission
 * queue wait in a list of slots.
 */
#ifndef XEV_BACKENDS_IO_URING_H
#define XEV_BACKENDS_IO_URING_H

#include <liburing.h>

#include "xev/core/core.h"
#include "xev/os/thread.h"

#define XEV__URING_BUFFER_GROUP 0
#define XEV__URING_NONE UINT32_MAX /* no slot; no buffer */

/* user_data: kind (2 bits), generation (30), slot (32). */
enum xev__uring_kind { XEV__URING_OP = 0, XEV__URING_CANCEL = 1, XEV__URING_WAKE = 2 };
#define XEV__URING_GEN_MASK ((1u << 30) - 1)

struct xev__uring_slot {
    xev_completion *c; /* NULL: free, or waiting only to leave the list */
    uint32_t gen;
    uint32_t next;  /* free list, or list of waiting slots */
    bool waiting;   /* in the list: has a request to be made */
    bool submitted; /* the kernel has it, so the waiting request is a cancel */
    bool headed;    /* datagrams come with a header before them */
    bool stuck;     /* could not be cancelled yet */
};

struct xev__uring {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers; /* NULL: not in use */
    uint32_t offered;                  /* buffers in the ring */
    uint32_t features;
    uint64_t owner;    /* thread the ring is bound to, 0: not yet enabled */
    uint64_t slack_ns; /* of that thread's timers */
    bool foreign;      /* that thread is gone, and another ends the loop */
    bool wake_armed;
    uint64_t wake_retry_ns; /* the kernel refused to: when to ask again; 0: it did not */
    uint32_t accepts_left;  /* in this turn */
    bool stuck;             /* some slot is, and is tried again from then on: */
    uint64_t stuck_until_ns;
    bool results_lost;   /* the kernel said so */
    uint64_t give_up_ns; /* when the end of the loop waits no longer; 0: not known yet */
    xev_fd wake;
    /* For somebody else to wait for: an epoll of wake and of what the ring signals, or none yet. */
    xev_fd host, ring_signal;
    struct xev__uring_slot *slots;
    uint32_t slots_len, free_slot;
    uint32_t wait_head, wait_tail;
    /* For vectored requests on sockets, one per place in the submission queue: the kernel has
     * copied it (SUBMIT_STABLE) when the place is free again. */
    uint64_t (*headers)[8];
};

static inline bool xev__uring_has(const struct xev__uring *u, uint32_t feature) {
    return (u->features & feature) != 0;
}

/* The ring is not for this thread: bound to another, or its parent process's. */
static inline bool xev__uring_is_foreign(const xev_loop *loop) {
    const struct xev__uring *u = loop->backend;
    return u->foreign || xev__forked(loop) || (u->owner != 0 && u->owner != xev__os_thread_id());
}

/* ---- io_uring.c ---- */

/* As many free buffers into the ring as it has places. */
void xev__uring_offer_more(xev_loop *loop);

/* ---- io_uring_requests.c ---- */

/* Make the request that slot i is there for, or its cancel. False: no room. */
bool xev__uring_request(struct xev__uring *u, uint32_t i);

/* Ask to be told of xev__os_wake_signal; where there is no room, u->wake_armed stays false. */
void xev__uring_arm_wake(struct xev__uring *u);

/* ---- io_uring_setup.c ---- */

/* Of the backend's table. */
int xev__uring_init(xev_loop *loop, char *why, size_t why_len);
void xev__uring_deinit(xev_loop *loop);

/* Bind the ring to this thread, before it is entered for the first time. 0 or a code. */
int xev__uring_attach(struct xev__uring *u);

#endif
