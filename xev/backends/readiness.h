/* Internal: the adaptor from readiness to completions, for backends that are told "try now".
 *
 * Try first, arm on would-block: an operation is attempted when its descriptor may be ready, and
 * waits for the backend's next word where it would block. All descriptors that may be ready stand
 * in one list; callbacks run only from xev__readiness_run, which the backend's poll calls.
 */
#ifndef XEV_BACKENDS_READINESS_H
#define XEV_BACKENDS_READINESS_H

#include "xev/core/core.h"

struct xev__readiness {
    struct xev__fd *head, *tail;
    uint32_t round; /* of the run that goes on */
    /* Have the kernel report on a descriptor from now on. 0 or a code. */
    int (*arm)(xev_loop *loop, struct xev__fd *fd);
    /* 0: the kernel would report on one more descriptor; or why not. NULL: it always would. */
    int (*has_room)(xev_loop *loop);
    /* Above 0: it did not lately, and so many connections are accepted one by one, each where there
     * is room for it. */
    uint32_t careful;
};

/* What it can do: everything, since it makes the system calls itself. */
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

/* No result of a call: see below. */
#define XEV__NO_BUFFER (-4999)

/* Attempt c once. Its result, XEV_EAGAIN where it would block, XEV__NO_BUFFER where it needs a
 * loaned buffer and none is left; *buffer is the one used, or UINT32_MAX. */
int xev__try(xev_loop *loop, struct xev__fd *fd, xev_completion *c, uint32_t *buffer);

/* For the backend's at_once: try the send c where its descriptor may take it. */
int xev__readiness_at_once(xev_loop *loop, struct xev__readiness *r, struct xev__fd *fd,
                           xev_completion *c);

/* Make the call of a read or write. On a file, or where the descriptor is non-blocking. */
int xev__read_or_write(const xev_completion *c);

/* A send that found no room where nothing announces that there is some: a Unix socket that is not
 * connected to its receiver stays writable while the receiver is full, and is even announced as
 * such by each attempt. */
bool xev__is_unannounced(const xev_completion *c);

/* Put fd on the list of those to try. */
static inline void xev__readiness_list(struct xev__readiness *r, struct xev__fd *e) {
    if (e->listed) {
        return;
    }
    e->listed = true;
    e->next_ready = NULL;
    if (r->tail != NULL) {
        r->tail->next_ready = e;
    } else {
        r->head = e;
    }
    r->tail = e;
}

/* The kernel says that fd may be ready. more: that there is something on it besides data (the end
 * of the stream, an error, an urgent byte), at which a receive may stop early. */
static inline void xev__readiness_event(struct xev__readiness *r, struct xev__fd *e, bool read,
                                        bool write, bool more) {
    if (more) {
        e->short_read = XEV__SHORT_IS_NOTHING;
    }
    e->ready[XEV__READ] |= read;
    e->ready[XEV__WRITE] |= write;
    e->edge++;
    if (e->head[XEV__POLLS] != NULL || (read && e->head[XEV__READ] != NULL) ||
        (write && e->head[XEV__WRITE] != NULL)) {
        xev__readiness_list(r, e);
    }
}

/* Try what is listed, and what these callbacks list, in a bounded number of rounds. */
void xev__readiness_run(xev_loop *loop, struct xev__readiness *r);

#endif
