/* Internal: the adaptor from readiness to completions. It serves backends whose kernel interface
 * reports that a descriptor is ready, and not that an operation is complete.
 *
 * An operation is tried first. Where the attempt would block, the adaptor has the kernel report on
 * the descriptor and waits for the next report. All descriptors that may be ready stand in one
 * list. Callbacks run only from xev__readiness_event and xev__readiness_run, which the backend's
 * poll calls.
 */
#ifndef XEV_BACKENDS_READINESS_H
#define XEV_BACKENDS_READINESS_H

#include "xev/core/core.h"
#include "xev/core/deliver.h"
#include "xev/os/socket.h"

/* The state of such a backend begins with this. */
struct xev__readiness {
    struct xev__fd *head, *tail; /* the entries whose descriptors may be ready */
    uint32_t round;              /* the number of the round within xev__readiness_run */
    /* Have the kernel report on a descriptor from now on, in these directions (bits) at least: set
     * e->reports. Returns 0 or a code. The kernel may also refuse later, in the backend's poll: see
     * xev__readiness_refused. */
    int (*arm)(xev_loop *loop, struct xev__fd *fd, uint8_t dirs);
    /* Returns 0 if the kernel would report on one more descriptor, else the code of its refusal.
     * NULL: the kernel never refuses. */
    int (*has_room)(xev_loop *loop);
    /* Above 0: the kernel has refused lately. The next connections, as many as this number, are
     * accepted one by one, each after a call of has_room. */
    uint32_t careful;
};

/* For the backend's table: the adaptor can do every operation, since it makes the system calls
 * itself. */
#define XEV__HOW_BY_READINESS                                                                      \
    {                                                                                              \
        [XEV__OP_ACCEPT] = XEV__HOW_READY, [XEV__OP_RECV] = XEV__HOW_READY,                        \
        [XEV__OP_RECVMSG] = XEV__HOW_READY, [XEV__OP_UDP_RECV] = XEV__HOW_READY,                   \
        [XEV__OP_UDP_RECV_BATCH] = XEV__HOW_READY, [XEV__OP_PROCESS] = XEV__HOW_READY,             \
        [XEV__OP_READ] = XEV__HOW_READY, [XEV__OP_CONNECT] = XEV__HOW_READY,                       \
        [XEV__OP_SEND] = XEV__HOW_READY, [XEV__OP_SENDMSG] = XEV__HOW_READY,                       \
        [XEV__OP_UDP_SEND] = XEV__HOW_READY, [XEV__OP_UDP_SEND_BATCH] = XEV__HOW_READY,            \
        [XEV__OP_WRITE] = XEV__HOW_READY, [XEV__OP_SENDFILE] = XEV__HOW_READY,                     \
        [XEV__OP_SHUTDOWN] = XEV__HOW_CALL, [XEV__OP_POLL] = XEV__HOW_READY                        \
    }

/* Returned by xev__try, and by no system call: the operation needs a loaned buffer. */
#define XEV__NO_BUFFER (-4999)

/* Attempt c once. Returns c's result; XEV_EAGAIN if c would block; XEV__NO_BUFFER if c needs a
 * loaned buffer and none is left; XEV_EINPROGRESS if c, a sendfile, has gone on to the pool.
 * *buffer is the number of the loaned buffer with the data, or UINT32_MAX. */
int xev__try(xev_loop *loop, struct xev__fd *fd, xev_completion *c, uint32_t *buffer);

/* The functions of these names in the backend's table. at_once tries the send c, unless its
 * descriptor is known to be full. */
void xev__readiness_start(xev_loop *loop, struct xev__fd *fd, xev_completion *c);
int xev__readiness_at_once(xev_loop *loop, struct xev__fd *fd, xev_completion *c);
void xev__readiness_cancel(xev_loop *loop, struct xev__fd *fd, xev_completion *c);
bool xev__readiness_prepare(xev_loop *loop);
uint32_t xev__readiness_features(const xev_loop *loop);
void xev__readiness_buffer_back(xev_loop *loop, uint32_t id);
uint32_t xev__readiness_buffers_free(const xev_loop *loop);

/* Make the system call of the read or write c. Only for a file or a non-blocking descriptor, since
 * the call would otherwise block the loop. */
int xev__read_or_write(const xev_completion *c);

/* Whether the kernel will not report when the send c, which found no room, may be tried again. That
 * is so for a Unix socket that is not connected to its receiver. Such a socket is writable while
 * the receiver is full, and each attempt to send makes the kernel report it as writable. */
bool xev__is_unannounced(const xev_completion *c);

/* The slot of a poll: whether it has looked since the kernel last reported on its descriptor. */
enum { XEV__POLL_CHECKED = 0, XEV__POLL_DUE = 1 };

/* Put e at the end of the list of entries to try, unless it is listed. */
static inline void xev__readiness_list(const xev_loop *loop, struct xev__readiness *r,
                                       struct xev__fd *e) {
    if (e->listed) {
        return;
    }
    e->listed = true;
    e->next_ready = 0;
    assert((r->head == NULL) == (r->tail == NULL));
    if (r->tail != NULL) {
        r->tail->next_ready = xev__fds_number(loop->fds, e) + 1;
    } else {
        r->head = e;
    }
    r->tail = e;
}

/* Take the first entry off the list, which is not empty. Its descriptor may be closed by now. */
static inline struct xev__fd *xev__readiness_pop(const xev_loop *loop, struct xev__readiness *r) {
    struct xev__fd *e = r->head;
    assert(e != NULL && e->listed);
    r->head = e->next_ready != 0 ? xev__fds_entry(loop->fds, e->next_ready - 1) : NULL;
    if (r->head == NULL) {
        r->tail = NULL;
    }
    e->listed = false;
    return e;
}

/* Whether c is a repeated receive into loaned buffers that is with the backend. */
static inline bool xev__is_repeated_loan(const xev_completion *c) {
    return c->op == XEV__OP_RECV && c->state == XEV__STARTED &&
           (c->flags & (XEV__F_MULTI | XEV__F_LOAN)) == (XEV__F_MULTI | XEV__F_LOAN);
}

/* Whether a receive that returned less than it had room for has emptied the stream. That holds for
 * TCP: the kernel reports the next byte by a new event. The end of the stream has its event, too;
 * where that event has come, short_read is XEV__SHORT_IS_NOTHING. It does not hold where a receive
 * may stop early: at an urgent byte, and on Unix sockets at passed descriptors. */
void xev__readiness_learn_short_read(struct xev__fd *e);
static inline bool xev__readiness_is_empty(struct xev__fd *e) {
    if (e->short_read == XEV__SHORT_NOT_KNOWN) {
        xev__readiness_learn_short_read(e);
    }
    return e->short_read == XEV__SHORT_IS_EMPTY;
}

/* Attempt c, a repeated loan at the head of its queue, once. The kernel reports on e. False:
 * another attempt would find nothing now. */
bool xev__readiness_received_none(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                                  xev_completion *c, int rc);
static inline bool xev__readiness_receive(xev_loop *loop, struct xev__readiness *r,
                                          struct xev__fd *e, xev_completion *c) {
    struct xev__buffers *b = loop->buffers;
    assert(e->head[XEV__READ] == c && xev__is_repeated_loan(c));
    assert((e->reports & xev__bit(XEV__READ)) != 0);
    int rc = XEV__NO_BUFFER;
    if (xev__buffers_hold(b)) {
        xev__count(&loop->count.syscalls, 1);
        do {
            rc = xev__os_recv_once(e->fd, b->held, b->size_bytes);
        } while (rc == XEV_EINTR);
    }
    if (rc <= 0) {
        return xev__readiness_received_none(loop, r, e, c, rc);
    }
    if ((uint32_t)rc < b->size_bytes && xev__readiness_is_empty(e)) {
        e->ready &= (uint8_t)~xev__bit(XEV__READ);
    }
    xev__count(&loop->count.events, 1);
    xev__lend(loop, b->held_id, b->held, (uint32_t)rc);
    xev__deliver_part(loop, c, rc);
    xev__lend_no_more(loop);
    return true;
}

/* The kernel reports that e's descriptor may be ready, in the directions that are bits of ready.
 * more: there is something besides data on it (the end of the stream, an error, an urgent byte). A
 * receive may stop early there, so a short read no longer shows that the stream is empty. A
 * repeated loan is attempted at once; what else waits is listed. */
void xev__readiness_other_event(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                                uint8_t ready, bool more);
static inline void xev__readiness_event(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                                        uint8_t ready, bool more) {
    assert(e->fd != XEV_INVALID_FD);
    xev_completion *c = e->head[XEV__READ];
    if (more || c == NULL || (ready & xev__bit(XEV__READ)) == 0 || e->listed ||
        e->head[XEV__WRITE] != NULL || e->head[XEV__POLLS] != NULL || !xev__is_repeated_loan(c)) {
        xev__readiness_other_event(loop, r, e, ready, more);
        return;
    }
    uint32_t gen = e->gen; /* a callback may close the descriptor */
    e->ready |= ready;
    if (xev__readiness_receive(loop, r, e, c) && e->gen == gen &&
        (e->ready & xev__bit(XEV__READ)) != 0 && e->head[XEV__READ] != NULL) {
        xev__readiness_list(loop, r, e);
    }
}

/* The kernel does not report on e in the directions dirs, though arm has succeeded: the operations
 * that wait for such a report end with code, or go on where they outlast it. From the backend's
 * poll. */
void xev__readiness_refused(xev_loop *loop, struct xev__fd *e, uint8_t dirs, int code);

/* Try the operations of the listed entries, and of the entries that the callbacks list meanwhile,
 * in a bounded number of rounds. The end of the backend's poll. */
void xev__readiness_run(xev_loop *loop, struct xev__readiness *r);

#endif
