/* io_uring: datagrams one at a time, which are sent by system calls.
 *
 * A send of one datagram is over when the system call returns. By the ring it would cost an entry
 * into the kernel all the same, for each datagram of an operation that is repeated, and its event
 * besides. So a poll makes these calls itself, a bounded number. Where the socket is full the ring
 * polls it, as for other operations that wait for readiness.
 */
#include <assert.h>

#include "xev/backends/io_uring.h"

/* How often one poll goes through the list. More than once, so that an operation that is repeated
 * does not cost a turn for each datagram. Bounded, since other events must not wait for long. */
#define ROUNDS 16

void xev__uring_list_send(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    struct xev__uring *u = loop->backend;
    assert(c->op == XEV__OP_UDP_SEND && c == e->head[XEV__WRITE] && c->state == XEV__STARTED);
    c->slot = XEV__URING_NONE;
    xev__readiness_list(loop, &u->sends, e);
}

static void send_one(xev_loop *loop, struct xev__fd *e) {
    xev_completion *c = e->head[XEV__WRITE];
    if (c == NULL || !xev__uring_is_listed_send(c)) {
        return; /* it was cancelled since */
    }
    uint32_t no_buffer;
    int rc = xev__try(loop, e, c, &no_buffer);
    if (rc == XEV_EAGAIN) {
        xev__uring_start_polled(loop, c);
        return;
    }
    xev__count(&loop->count.events, 1);
    xev__finish(loop, c, rc, false);
}

void xev__uring_run_sends(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    for (int round = 0; round < ROUNDS && u->sends.head != NULL; round++) {
        const struct xev__fd *last = u->sends.tail;
        for (struct xev__fd *e = NULL; e != last;) {
            e = xev__readiness_pop(loop, &u->sends);
            if (e->fd == XEV_INVALID_FD) {
                xev__fds_reclaim(loop->fds, e);
            } else {
                send_one(loop, e);
            }
        }
    }
}
