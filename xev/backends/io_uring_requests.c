/* io_uring: submissions. Each takes a place in the submission queue and fills it in. Where no place
 * is free the caller puts the slot into the list of waiting slots. */
#include <assert.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "xev/backends/io_uring.h"
#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/os/udp.h"
#include "xev/watchers/watchers.h"

static uint64_t user_data_of(const struct xev__uring *u, enum xev__uring_kind kind, uint32_t slot) {
    uint64_t gen = xev__uring_slot(u, slot)->gen & XEV__URING_GEN_MASK;
    return (uint64_t)kind << 62 | gen << 32 | slot;
}

/* A free place in the submission queue, or NULL. A full queue is submitted first, unless the ring
 * is not enabled yet. */
struct io_uring_sqe *xev__uring_take_sqe(struct xev__uring *u) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe == NULL && u->owner != 0) {
        xev__uring_before_submit(u);
        (void)io_uring_submit(&u->ring);
        xev__uring_after_submit(u);
        sqe = io_uring_get_sqe(&u->ring);
    }
    return sqe;
}

static struct msghdr *vec_header(struct xev__uring *u, const struct io_uring_sqe *sqe,
                                 const xev_completion *c) {
    uint64_t *header = u->headers[sqe - u->ring.sq.sqes];
    xev__os_msg_init(header, c->arg.io.buf, c->arg.io.aux);
    return (struct msghdr *)(void *)header;
}

static void prepare_recv(struct xev__uring *u, struct io_uring_sqe *sqe, xev_completion *c) {
    if (c->arg.io.aux > 0) {
        io_uring_prep_recvmsg(sqe, c->fd, vec_header(u, sqe, c), 0);
        return;
    }
    if ((c->flags & XEV__F_LOAN) == 0) {
        io_uring_prep_recv(sqe, c->fd, c->arg.io.buf, c->arg.io.len_bytes, 0);
        return;
    }
    if ((c->flags & XEV__F_MULTI) != 0 && (c->flags & XEV__F_ONE_SHOT) == 0 &&
        xev__uring_has(u, XEV_FEATURE_MULTISHOT_RECV)) {
        io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
    } else {
        io_uring_prep_recv(sqe, c->fd, NULL, 0, 0);
    }
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = XEV__URING_BUFFER_GROUP;
}

static void prepare_udp_recv(struct xev__uring *u, struct io_uring_sqe *sqe, xev_completion *c) {
    xev_datagram *d = c->arg.io.buf;
    if ((c->flags & XEV__F_LOAN) == 0) {
        xev__os_udp_prepare_recv(d, d->buf, d->capacity_bytes);
        io_uring_prep_recvmsg(sqe, c->fd, (struct msghdr *)(void *)d->priv.msg, 0);
        return;
    }
    bool multishot =
        (c->flags & XEV__F_ONE_SHOT) == 0 && xev__uring_has(u, XEV_FEATURE_MULTISHOT_RECV);
    xev__uring_slot(u, c->slot)->headed = multishot;
    /* A multishot receive is given no length: the kernel fills a whole buffer, beginning with its
     * header. */
    xev__os_udp_prepare_recv(d, NULL, multishot ? 0 : xev__udp_room(c->loop));
    io_uring_prep_recvmsg(sqe, c->fd, (struct msghdr *)(void *)d->priv.msg, 0);
    sqe->ioprio |= multishot ? IORING_RECV_MULTISHOT : 0;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = XEV__URING_BUFFER_GROUP;
}

#define HEADER_BYTES ((int)sizeof(struct io_uring_recvmsg_out))
#define NAME_BYTES ((int)sizeof(((xev_datagram *)0)->priv.name))
#define CONTROL_BYTES ((int)sizeof(((xev_datagram *)0)->priv.control))
_Static_assert(HEADER_BYTES + NAME_BYTES + CONTROL_BYTES == XEV_DATAGRAM_OVERHEAD,
               "the overhead of the public header is that of the kernel's layout");

int xev__uring_datagram_arrived(xev_loop *loop, xev_completion *c, bool headed, uint32_t buffer,
                                int res) {
    xev_datagram *d = c->arg.io.buf;
    if ((c->flags & XEV__F_LOAN) == 0) {
        xev__os_udp_received(d, (uint32_t)res);
        return res;
    }
    uint8_t *data = buffer != XEV__URING_NONE ? xev__buffers_at(loop->buffers, buffer) : NULL;
    if (!headed || data == NULL || res < XEV_DATAGRAM_OVERHEAD) {
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

static void prepare_operation(struct xev__uring *u, struct io_uring_sqe *sqe, xev_completion *c) {
    if ((c->flags & XEV__F_POLLED) != 0) {
        if (xev__dir(c) == XEV__READ) {
            io_uring_prep_poll_add(sqe, c->fd, POLLIN | POLLRDHUP);
        } else if ((c->flags & XEV__F_PROBING) == 0) {
            io_uring_prep_poll_add(sqe, c->fd, POLLOUT);
        } else {
            io_uring_prep_poll_multishot(sqe, c->fd, POLLOUT);
        }
        return;
    }
    /* The kernel must not wait for room itself. Its wait ends at once where the peer has ended its
     * stream, or has sent an urgent byte. The kernel then tries 128 times, and after that has a
     * thread wait, one for each operation, which reports no part of the bytes, but only all of them
     * (Linux 6.18). */
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    switch ((enum xev__op)c->op) {
    case XEV__OP_ACCEPT:
        if ((c->flags & XEV__F_MULTI) != 0 && (c->flags & XEV__F_ONE_SHOT) == 0 &&
            xev__uring_has(u, XEV_FEATURE_MULTISHOT_ACCEPT)) {
            io_uring_prep_multishot_accept(sqe, c->fd, NULL, NULL, SOCK_CLOEXEC);
        } else {
            io_uring_prep_accept(sqe, c->fd, NULL, NULL, SOCK_CLOEXEC);
        }
        break;
    case XEV__OP_RECV:
        prepare_recv(u, sqe, c);
        break;
    case XEV__OP_SEND:
        if (c->arg.io.aux > 0) {
            io_uring_prep_sendmsg(sqe, c->fd, vec_header(u, sqe, c), (unsigned)flags);
            break;
        }
        io_uring_prep_send(sqe, c->fd, c->arg.io.buf, c->arg.io.len_bytes, flags);
        break;
    case XEV__OP_SENDMSG:
        /* Another reason for MSG_DONTWAIT: when a full Unix datagram socket has refused a message,
         * Linux 6.18 repeats the attempt with an iterator that is used up, and so sends an empty
         * message. */
        io_uring_prep_sendmsg(sqe, c->fd, c->arg.io.buf, (unsigned)flags);
        break;
    case XEV__OP_RECVMSG:
        io_uring_prep_recvmsg(sqe, c->fd, c->arg.io.buf, MSG_CMSG_CLOEXEC);
        break;
    case XEV__OP_UDP_RECV:
        prepare_udp_recv(u, sqe, c);
        break;
    case XEV__OP_READ:
        if (c->arg.io.aux > 0) {
            io_uring_prep_readv(sqe, c->fd, c->arg.io.buf, c->arg.io.aux, (uint64_t)-1);
            break;
        }
        io_uring_prep_read(sqe, c->fd, c->arg.io.buf, c->arg.io.len_bytes, (uint64_t)-1);
        break;
    case XEV__OP_WRITE:
        if (c->arg.io.aux > 0) {
            io_uring_prep_writev(sqe, c->fd, c->arg.io.buf, c->arg.io.aux, (uint64_t)-1);
            break;
        }
        io_uring_prep_write(sqe, c->fd, c->arg.io.buf, c->arg.io.len_bytes, (uint64_t)-1);
        break;
    case XEV__OP_POLL:
        if ((c->flags & (XEV__F_MULTI | XEV__F_PROBING)) != 0) {
            io_uring_prep_poll_multishot(sqe, c->fd, xev__os_poll_mask(c->arg.io.aux));
        } else {
            io_uring_prep_poll_add(sqe, c->fd, xev__os_poll_mask(c->arg.io.aux));
        }
        break;
    default:
        io_uring_prep_nop(sqe); /* a shutdown: see on_operation in io_uring.c */
    }
}

bool xev__uring_request(struct xev__uring *u, uint32_t i) {
    struct io_uring_sqe *sqe = xev__uring_take_sqe(u);
    if (sqe == NULL) {
        return false;
    }
    struct xev__uring_slot *s = xev__uring_slot(u, i);
    assert(s->c != NULL && s->c->slot == i);
    xev__uring_expect_events(u, s->c);
    if (s->submitted) {
        io_uring_prep_cancel64(sqe, user_data_of(u, XEV__URING_OP, i), 0);
        io_uring_sqe_set_data64(sqe, user_data_of(u, XEV__URING_CANCEL, i));
    } else {
        prepare_operation(u, sqe, s->c);
        io_uring_sqe_set_data64(sqe, user_data_of(u, XEV__URING_OP, i));
        s->submitted = true;
    }
    return true;
}
