/* The adaptor from readiness to completions. Its model stands in readiness.h. */
#include "xev/backends/readiness.h"

#include <assert.h>
#include "xev/fd.h"
#include "xev/os/descriptor.h"
#include "xev/os/fs_event.h"
#include "xev/os/process.h"
#include "xev/os/socket.h"
#include "xev/os/udp.h"
#include "xev/os/unix.h"
#include "xev/watchers/watchers.h"

/* How often the head of one queue is tried in a row before other descriptors are tried. */
#define TRIES_IN_A_ROW 16
/* Rounds over the list in one poll. More than one, since an operation that a callback submits need
 * not wait for another system call. Bounded, since I/O must not keep timers waiting for long. */
#define ROUNDS 16
/* Rounds of one poll in which a listener accepts connections. */
#define ACCEPT_ROUNDS (XEV__ACCEPTS_PER_TURN / TRIES_IN_A_ROW)
_Static_assert(ACCEPT_ROUNDS > 0 && ACCEPT_ROUNDS < ROUNDS,
               "a listener accepts no more than its share of a turn");

static bool is_ready(const struct xev__fd *e, enum xev__dir d) {
    return (e->ready & xev__bit(d)) != 0;
}

static int make_nonblocking(struct xev__fd *e) {
    int rc = e->nonblocking ? 0 : xev__os_set_nonblocking(e->fd, true);
    e->nonblocking = rc == 0;
    return rc;
}

static int try_udp_recv(xev_loop *loop, xev_completion *c, uint32_t *buffer) {
    xev_datagram *d = c->arg.io.buf;
    if ((c->flags & XEV__F_LOAN) == 0) {
        return xev__os_udp_recv(c->fd, d, d->buf, d->capacity_bytes);
    }
    *buffer = xev__buffers_alloc(loop->buffers);
    if (*buffer == UINT32_MAX) {
        return XEV__NO_BUFFER;
    }
    void *buf = xev__buffers_at(loop->buffers, *buffer);
    int rc = xev__os_udp_recv(c->fd, d, buf, xev__udp_room(loop));
    if (rc < 0) {
        xev__buffers_put(loop->buffers, *buffer);
        *buffer = UINT32_MAX;
    } else {
        d->buf = rc > 0 ? buf : NULL;
    }
    return rc;
}

void xev__readiness_learn_short_read(struct xev__fd *e) {
    e->short_read = xev__os_is_tcp(e->fd) ? XEV__SHORT_IS_EMPTY : XEV__SHORT_IS_NOTHING;
}

int xev__read_or_write(const xev_completion *c) {
    assert(c->op == XEV__OP_READ || c->op == XEV__OP_WRITE);
    void *buf = c->arg.io.buf;
    uint32_t len = c->arg.io.len_bytes, count = c->arg.io.aux;
    assert(len > 0);
    if (c->op == XEV__OP_WRITE) {
        return count > 0 ? xev__os_writev(c->fd, buf, count) : xev__os_write(c->fd, buf, len);
    }
    int rc = count > 0 ? xev__os_readv(c->fd, buf, count) : xev__os_read(c->fd, buf, len);
    return rc == 0 ? XEV_EOF : rc;
}

static int try_recv(xev_loop *loop, struct xev__fd *e, xev_completion *c, uint32_t *buffer) {
    void *buf = c->arg.io.buf;
    uint32_t len = c->arg.io.len_bytes;
    int rc;
    if ((c->flags & XEV__F_LOAN) != 0) {
        *buffer = xev__buffers_alloc(loop->buffers);
        if (*buffer == UINT32_MAX) {
            return XEV__NO_BUFFER;
        }
        buf = xev__buffers_at(loop->buffers, *buffer);
        len = loop->buffers->size_bytes;
        rc = xev__os_recv(e->fd, buf, len);
        if (rc <= 0) {
            xev__buffers_put(loop->buffers, *buffer);
            *buffer = UINT32_MAX;
        }
    } else {
        rc = c->arg.io.aux > 0 ? xev__os_recvv(e->fd, buf, c->arg.io.aux)
                               : xev__os_recv(e->fd, buf, len);
    }
    /* A descriptor that is not registered yet gets no events. deliver_result then registers it,
     * which pays for a multishot receive only. */
    if (rc > 0 && (uint32_t)rc < len &&
        ((e->reports & xev__bit(XEV__READ)) != 0 || (c->flags & XEV__F_MULTI) != 0) &&
        xev__readiness_is_empty(e)) {
        e->ready &= (uint8_t)~xev__bit(XEV__READ);
    }
    return rc == 0 ? XEV_EOF : rc;
}

static int accept_one(struct xev__fd *e) {
    int rc = e->nonblocking ? 0 : make_nonblocking(e);
    if (rc < 0) {
        return rc;
    }
    rc = xev__os_accept(e->fd);
    if (rc == XEV_EAGAIN && e->short_read == XEV__SHORT_IS_NOTHING) {
        /* A Unix socket that was shut down says for ever that nobody is there now (Linux 6.18),
         * where it is non-blocking. Otherwise it says EINVAL, as TCP does in any case. */
        int found = xev__os_poll_now(e->fd, XEV_POLL_HUP);
        rc = found > 0 && (found & XEV_POLL_HUP) != 0 ? XEV_EINVAL : rc;
    }
    return rc;
}

int xev__try(xev_loop *loop, struct xev__fd *e, xev_completion *c, uint32_t *buffer) {
    *buffer = UINT32_MAX;
    xev__count(&loop->count.syscalls, 1);
    switch ((enum xev__op)c->op) {
    case XEV__OP_ACCEPT:
        return accept_one(e);
    case XEV__OP_RECV:
        return try_recv(loop, e, c, buffer);
    case XEV__OP_RECVMSG:
        return xev__os_recvmsg(e->fd, c->arg.io.buf);
    case XEV__OP_UDP_RECV:
        return try_udp_recv(loop, c, buffer);
    case XEV__OP_UDP_RECV_BATCH:
        return xev__os_udp_recv_batch(e->fd, c->arg.io.buf, c->arg.io.aux);
    case XEV__OP_UDP_SEND:
        return xev__os_udp_send(e->fd, c->arg.io.buf);
    case XEV__OP_UDP_SEND_BATCH:
        return xev__os_udp_send_batch(e->fd, c->arg.io.buf, c->arg.io.aux);
    case XEV__OP_READ:
    case XEV__OP_WRITE: {
        if ((c->flags & XEV__F_CHANGES) != 0) {
            return xev__os_fs_event_read(c->fd, c->arg.io.buf, c->arg.io.len_bytes);
        }
        int rc = make_nonblocking(e);
        return rc < 0 ? rc : xev__read_or_write(c);
    }
    case XEV__OP_PROCESS:
        return xev__os_process_wait(e->fd);
    case XEV__OP_POLL:
        return xev__os_poll_now(e->fd, c->arg.io.aux);
    case XEV__OP_CONNECT:
        return xev__os_connect_result(e->fd);
    case XEV__OP_SEND:
        return c->arg.io.aux > 0 ? xev__os_sendv(e->fd, c->arg.io.buf, c->arg.io.aux)
                                 : xev__os_send(e->fd, c->arg.io.buf, c->arg.io.len_bytes);
    case XEV__OP_SENDMSG:
        return xev__os_sendmsg(e->fd, c->arg.io.buf);
    case XEV__OP_SHUTDOWN:
        return xev__os_shutdown_write(e->fd);
    case XEV__OP_SENDFILE:
        return xev__sendfile_writable(loop, e, c);
    default:
        return XEV_ENOTSUP;
    }
}

bool xev__is_unannounced(const xev_completion *c) {
    return c->op == XEV__OP_SENDMSG && xev__os_msg_is_to_unix(c->arg.io.buf);
}

/* How many connections are accepted one by one after the kernel refused to report on a descriptor.
 */
#define CAREFUL_ACCEPTS 1024

static int arm_descriptor(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                          uint8_t dirs) {
    int rc = (e->reports & dirs) == dirs ? 0 : r->arm(loop, e, dirs);
    assert(rc < 0 || (e->reports & dirs) == dirs);
    if (xev__os_exhausted(rc) && r->has_room != NULL) {
        r->careful = CAREFUL_ACCEPTS;
    }
    return rc;
}

/* Have the kernel report when direction d of e is ready. Returns 0 or a code. After a code the
 * kernel will report nothing, so e stays marked as ready and the next operation is tried at once.
 */
static int arm_or_retry(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                        enum xev__dir d) {
    int rc = arm_descriptor(loop, r, e, xev__bit(d));
    if (rc < 0) {
        e->ready |= xev__bit(d);
    } else {
        e->ready &= (uint8_t)~xev__bit(d);
    }
    return rc;
}

/* The attempt at c, the head of its queue, would have blocked. */
static void would_block(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                        enum xev__dir d, xev_completion *c) {
    int rc = arm_or_retry(loop, r, e, d);
    if (xev__accept_outlasts(c, rc)) {
        xev__accept_again(loop, e, c, rc);
        return;
    }
    if (rc < 0) {
        xev__finish(loop, c, rc, false);
        return;
    }
    if (xev__is_unannounced(c)) {
        xev__fds_pause(loop, e, c);
    }
}

void xev__readiness_start(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    struct xev__readiness *r = loop->backend;
    if (c->op == XEV__OP_POLL) {
        c->slot = XEV__POLL_DUE;
        xev__readiness_list(loop, r, e);
    } else if (is_ready(e, xev__dir(c))) {
        xev__readiness_list(loop, r, e);
    }
}

void xev__readiness_cancel(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    (void)e;
    assert(c->state == XEV__STARTED);
    xev__pend(loop, c, XEV_ECANCELED);
}

bool xev__readiness_prepare(xev_loop *loop) {
    const struct xev__readiness *r = loop->backend;
    return r->head != NULL;
}

uint32_t xev__readiness_features(const xev_loop *loop) {
    (void)loop;
    return 0;
}

void xev__readiness_buffer_back(xev_loop *loop, uint32_t id) {
    xev__buffers_put(loop->buffers, id);
}

uint32_t xev__readiness_buffers_free(const xev_loop *loop) {
    return xev__buffers_left(loop->buffers);
}

int xev__readiness_at_once(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    struct xev__readiness *r = loop->backend;
    enum xev__dir d = xev__dir(c);
    assert(e->head[d] == NULL && d != XEV__POLLS);
    if (!is_ready(e, d)) {
        return XEV_EAGAIN; /* the kernel will report when there is room */
    }
    uint32_t no_buffer;
    int rc = xev__try(loop, e, c, &no_buffer);
    if (rc == XEV_EAGAIN) {
        (void)arm_or_retry(loop, r, e, d); /* on failure try_head meets the same error */
    } else {
        xev__count(&loop->count.events, 1);
    }
    return rc;
}

/* The attempt at c, the head of its queue, has returned rc, which is no result. c stays active and
 * waits for what rc names. */
static void wait_for_result(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                            xev_completion *c, int rc) {
    if (rc == XEV_EAGAIN) {
        would_block(loop, r, e, xev__dir(c), c);
    } else if (rc == XEV__NO_BUFFER) {
        xev__count(&loop->count.events, 1);
        xev__fds_starve(loop, e, xev__buffers_expected(loop->buffers));
    } else {
        assert(rc == XEV_EINPROGRESS && c->op == XEV__OP_SENDFILE); /* gone on to the pool */
    }
}

static void deliver_result(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                           xev_completion *c, int rc, uint32_t buffer) {
    enum xev__dir d = xev__dir(c);
    assert(d != XEV__POLLS && e->head[d] == c);
    xev__count(&loop->count.events, 1);
    if (!is_ready(e, d) && (e->reports & xev__bit(d)) == 0) {
        /* An error is met again when the descriptor is found empty. */
        (void)arm_or_retry(loop, r, e, d);
    }
    bool more = rc >= 0 && (c->flags & XEV__F_MULTI) != 0;
    if (buffer != UINT32_MAX) {
        xev__finish_loan(loop, c, buffer, rc, more);
    } else {
        xev__finish(loop, c, rc, more);
    }
}

bool xev__readiness_received_none(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                                  xev_completion *c, int rc) {
    if (rc == XEV_EAGAIN || rc == XEV__NO_BUFFER) {
        wait_for_result(loop, r, e, c, rc);
        return false;
    }
    deliver_result(loop, r, e, c, rc == 0 ? XEV_EOF : rc, UINT32_MAX);
    return true;
}

void xev__readiness_other_event(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                                uint8_t ready, bool more) {
    if (more) {
        e->short_read = XEV__SHORT_IS_NOTHING;
    }
    e->ready |= ready;
    for (xev_completion *c = e->head[XEV__POLLS]; c != NULL; c = c->at.link.next) {
        c->slot = XEV__POLL_DUE;
    }
    bool read = (ready & xev__bit(XEV__READ)) != 0, write = (ready & xev__bit(XEV__WRITE)) != 0;
    if (e->head[XEV__POLLS] != NULL || (read && e->head[XEV__READ] != NULL) ||
        (write && e->head[XEV__WRITE] != NULL)) {
        xev__readiness_list(loop, r, e);
    }
}

/* As try_head, for an accept. */
static bool try_accept(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                       xev_completion *c) {
    uint32_t no_buffer = UINT32_MAX;
    bool careful = r->careful > 0;
    int rc = careful ? r->has_room(loop) : 0;
    if (rc < 0) {
        r->careful = CAREFUL_ACCEPTS; /* the loop could not serve the client it accepts */
    } else {
        rc = xev__try(loop, e, c, &no_buffer);
        r->careful -= careful && rc >= 0;
    }
    if (rc == XEV_EAGAIN) {
        wait_for_result(loop, r, e, c, rc);
        return false;
    }
    if (xev__accept_outlasts(c, rc)) {
        xev__count(&loop->count.events, 1);
        xev__accept_again(loop, e, c, rc);
        return false;
    }
    if (rc >= 0) {
        xev__accept_works(c);
    }
    deliver_result(loop, r, e, c, rc, no_buffer);
    return !careful;
}

/* Attempt the head of queue d once. False: another attempt would find nothing now. */
static bool try_head(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e, enum xev__dir d) {
    xev_completion *c = e->head[d];
    if (c == NULL || !is_ready(e, d) || c->state != XEV__STARTED) {
        return false;
    }
    if (c->op == XEV__OP_ACCEPT) {
        return try_accept(loop, r, e, c);
    }
    if ((e->reports & xev__bit(XEV__READ)) != 0 && xev__is_repeated_loan(c)) {
        return xev__readiness_receive(loop, r, e, c);
    }
    uint32_t buffer;
    int rc = xev__try(loop, e, c, &buffer);
    if (rc == XEV_EAGAIN || rc == XEV__NO_BUFFER || rc == XEV_EINPROGRESS) {
        wait_for_result(loop, r, e, c, rc);
        return false;
    }
    deliver_result(loop, r, e, c, rc, buffer);
    return true;
}

/* The directions on which the kernel must report for the poll c. */
static uint8_t poll_dirs(const xev_completion *c) {
    bool writes = (c->arg.io.aux & XEV_POLL_OUT) != 0;
    bool reads = !writes || (c->arg.io.aux & (XEV_POLL_IN | XEV_POLL_PRI | XEV_POLL_HUP)) != 0;
    return (uint8_t)((reads ? xev__bit(XEV__READ) : 0) | (writes ? xev__bit(XEV__WRITE) : 0));
}

/* Check a poll's condition. Returns the events that c asked for and that hold, XEV_EAGAIN if none
 * does, or another code. */
static int check_poll(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                      xev_completion *c) {
    assert(c->op == XEV__OP_POLL && c->slot == XEV__POLL_DUE);
    c->slot = XEV__POLL_CHECKED;
    bool multi = (c->flags & XEV__F_MULTI) != 0;
    uint8_t dirs = poll_dirs(c);
    bool armed = (e->reports & dirs) == dirs;
    int rc = 0;
    if (multi && !armed) {
        rc = arm_descriptor(loop, r, e,
                            dirs); /* the kernel then reports the events that hold now, too */
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    rc = xev__os_poll_now(e->fd, c->arg.io.aux);
    if (rc == XEV_EAGAIN && !armed) {
        rc = arm_descriptor(loop, r, e, dirs);
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    return rc;
}

/* Check every poll of e once per event. A callback may end any of the polls, so the queue is read
 * from its head again after each callback. A poll that a callback submits waits for the next round:
 * a program that polls a ready descriptor again in each callback would keep the loop here. */
static void try_polls(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e) {
    uint32_t gen = e->gen, left = 0;
    for (xev_completion *c = e->head[XEV__POLLS]; c != NULL; c = c->at.link.next) {
        left += c->slot == XEV__POLL_DUE;
    }
    xev_completion *c = e->head[XEV__POLLS];
    while (c != NULL && left > 0) {
        if (c->slot == XEV__POLL_CHECKED) {
            c = c->at.link.next;
            continue;
        }
        left--;
        int rc = check_poll(loop, r, e, c);
        if (rc == XEV_EAGAIN) {
            c = c->at.link.next;
            continue;
        }
        xev__count(&loop->count.events, 1);
        xev__finish(loop, c, rc, rc >= 0 && (c->flags & XEV__F_MULTI) != 0);
        if (e->gen != gen) {
            return;
        }
        c = e->head[XEV__POLLS];
    }
}

/* Whether the head of queue d is an accept that has used up its share of this turn. */
static bool has_had_its_turn(const struct xev__readiness *r, const struct xev__fd *e,
                             enum xev__dir d) {
    const xev_completion *c = e->head[d];
    return r->round >= ACCEPT_ROUNDS && c != NULL && c->op == XEV__OP_ACCEPT && is_ready(e, d);
}

/* Whether the head of queue d is an accept that takes one connection at a time. The listener is
 * then listed again, behind the connection it has accepted. */
static bool accepts_with_care(const struct xev__readiness *r, const struct xev__fd *e,
                              enum xev__dir d) {
    const xev_completion *c = e->head[d];
    return r->careful > 0 && c != NULL && c->op == XEV__OP_ACCEPT && c->state == XEV__STARTED &&
           is_ready(e, d);
}

static void try_direction(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e,
                          enum xev__dir d) {
    uint32_t gen = e->gen; /* callbacks may close the descriptor */
    assert(d != XEV__POLLS && e->fd != XEV_INVALID_FD);
    if (e->head[d] == NULL || !is_ready(e, d)) {
        return;
    }
    if (has_had_its_turn(r, e, d)) {
        xev__readiness_list(loop, r, e);
        return;
    }
    int tries = 0;
    while (is_ready(e, d) && tries < TRIES_IN_A_ROW && try_head(loop, r, e, d)) {
        if (e->gen != gen) {
            return;
        }
        tries++;
    }
    if (e->gen == gen && (tries == TRIES_IN_A_ROW || accepts_with_care(r, e, d))) {
        xev__readiness_list(loop, r, e);
    }
}

static void try_descriptor(xev_loop *loop, struct xev__readiness *r, struct xev__fd *e) {
    uint32_t gen = e->gen;
    if (e->head[XEV__POLLS] != NULL) {
        try_polls(loop, r, e);
    }
    for (int d = 0; d < XEV__POLLS && e->gen == gen; d++) {
        try_direction(loop, r, e, (enum xev__dir)d);
    }
}

void xev__readiness_refused(xev_loop *loop, struct xev__fd *e, uint8_t dirs, int code) {
    uint32_t gen = e->gen; /* a callback may close the descriptor */
    e->reports &= (uint8_t)~dirs & 3u;
    for (int d = 0; d < XEV__POLLS && e->gen == gen; d++) {
        xev_completion *c = e->head[d];
        if ((dirs & xev__bit((enum xev__dir)d)) == 0) {
            continue;
        }
        e->ready |= xev__bit((enum xev__dir)d); /* the next operation meets the error by itself */
        if (c != NULL && c->state == XEV__STARTED) {
            if (xev__accept_outlasts(c, code)) {
                xev__accept_again(loop, e, c, code);
            } else {
                xev__count(&loop->count.events, 1);
                xev__finish(loop, c, code, false);
            }
        }
    }
    xev_completion *c = e->gen == gen ? e->head[XEV__POLLS] : NULL;
    while (c != NULL && e->gen == gen) {
        if (c->slot == XEV__POLL_CHECKED && (poll_dirs(c) & dirs) != 0) {
            xev__count(&loop->count.events, 1);
            xev__finish(loop, c, code, false);
            c = e->gen == gen ? e->head[XEV__POLLS] : NULL; /* a callback may have ended others */
        } else {
            c = c->at.link.next;
        }
    }
}

void xev__readiness_run(xev_loop *loop, struct xev__readiness *r) {
    for (r->round = 0; r->round < ROUNDS && r->head != NULL; r->round++) {
        struct xev__fd *e, *last = r->tail;
        do {
            e = xev__readiness_pop(loop, r);
            if (e->fd == XEV_INVALID_FD) {
                xev__fds_reclaim(loop->fds, e);
            } else {
                try_descriptor(loop, r, e);
            }
        } while (e != last);
    }
    xev__buffers_let_go(loop->buffers);
}
