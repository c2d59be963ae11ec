/* The completion port: slots, operations and their packets, the poll. The model stands in iocp.h.
 */
#include "xev/backends/iocp.h"
#include "xev/backends/iocp_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xev/fd.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"
#include "xev/os/process.h"
#include "xev/watchers/watchers.h"

#define PACKETS 256u
#define KEY_WAKE 1u

/* ---- slots ---- */

struct xev__iocp_slot *xev__iocp_slot_new(struct xev__iocp *p, xev_completion *c, xev_fd fd,
                                          enum xev__iocp_kind kind) {
    if (p->in_kernel - p->swept >= p->sweep_at) {
        xev__afd_sweep(p);
    }
    uint32_t number = xev__chunks_take(&p->slots);
    if (number == XEV__CHUNKS_NONE) {
        return NULL;
    }
    struct xev__iocp_slot *s = xev__iocp_slot(p, number);
    memset(&s->overlapped, 0, sizeof s->overlapped);
    s->c = c;
    s->number = number;
    s->fd = fd;
    s->kind = (uint8_t)kind;
    if (c != NULL) {
        c->slot = number + XEV__IOCP_SLOT_BASE;
    }
    p->in_kernel++;
    return s;
}

void xev__iocp_slot_free(struct xev__iocp *p, struct xev__iocp_slot *s) {
    assert(p->in_kernel > 0);
    if (s->c != NULL) {
        s->c->slot = XEV__IOCP_NO_SLOT;
        s->c = NULL;
    }
    s->gen++;
    p->in_kernel--;
    p->swept -= s->kind == XEV__IOCP_READY && s->dirs == 0;
    s->kind = XEV__IOCP_FREE;
    xev__chunks_give(&p->slots, s->number);
}

static struct xev__iocp_slot *slot_of(const struct xev__iocp *p, const xev_completion *c) {
    assert(c->slot >= XEV__IOCP_SLOT_BASE && c->slot != XEV__IOCP_NO_SLOT);
    struct xev__iocp_slot *s = xev__iocp_slot(p, c->slot - XEV__IOCP_SLOT_BASE);
    assert(s->c == c);
    return s;
}

/* xev__iocp_associate, once for an entry; a socket does not block from then on. */
static int attach(xev_loop *loop, struct xev__fd *e) {
    struct xev__iocp *p = loop->backend;
    if (e->nonblocking) {
        return xev__iocp_has(p, e->fd);
    }
    xev__count(&loop->count.syscalls, 2);
    int rc = xev__os_set_nonblocking(e->fd, true);
    rc = rc == 0 ? xev__iocp_associate(p, e->fd) : rc;
    e->nonblocking = rc >= 0;
    return rc;
}

/* ---- starting ---- */

static int begin_recv(struct xev__iocp_slot *s, const xev_completion *c) {
    WSABUF buffers[XEV__WIN_PIECES];
    uint32_t count = 1;
    if ((c->flags & XEV__F_LOAN) != 0) {
        buffers[0] = (WSABUF){.len = 0, .buf = NULL};
    } else if (c->arg.io.aux > 0) {
        count = xev__win_buffers(buffers, XEV__WIN_PIECES, c->arg.io.buf, c->arg.io.aux);
    } else {
        buffers[0] = (WSABUF){.len = c->arg.io.len_bytes, .buf = c->arg.io.buf};
    }
    DWORD flags = 0;
    int rc = WSARecv(xev__win_socket(s->fd), buffers, count, NULL, &flags, &s->overlapped, NULL);
    return xev__iocp_asked(rc == 0, (DWORD)WSAGetLastError());
}

/* Of several pieces the first that is not empty: a transfer may be in part. */
static int begin_pipe(struct xev__iocp_slot *s, const xev_completion *c) {
    void *base = c->arg.io.buf;
    DWORD len = c->arg.io.len_bytes;
    if (c->arg.io.aux > 0) {
        const xev_vec *vec = c->arg.io.buf;
        while (vec->len_bytes == 0) {
            vec++;
        }
        base = vec->base;
        len = (DWORD)vec->len_bytes;
    }
    HANDLE h = xev__win_handle(s->fd);
    BOOL ok = c->op == XEV__OP_READ ? ReadFile(h, base, len, NULL, &s->overlapped)
                                    : WriteFile(h, base, len, NULL, &s->overlapped);
    DWORD error = ok ? 0 : GetLastError();
    if (error == ERROR_BROKEN_PIPE && c->op == XEV__OP_READ) {
        return XEV_EOF;
    }
    if (error == ERROR_ACCESS_DENIED) {
        return XEV_EBADF; /* the other end, as POSIX says it */
    }
    return xev__iocp_asked(ok, error);
}

static VOID CALLBACK on_exit_wait(PVOID arg, BOOLEAN timed_out) {
    struct xev__iocp_slot *s = arg;
    (void)timed_out;
    __atomic_store_n(&s->u.exit.posted, 1, __ATOMIC_RELEASE);
    (void)PostQueuedCompletionStatus(s->u.exit.port, 0, 0, &s->overlapped);
}

static int begin_exit(struct xev__iocp *p, struct xev__iocp_slot *s) {
    if (!xev__win_is_process(s->fd)) {
        return XEV_EBADF;
    }
    s->u.exit.port = p->port;
    s->u.exit.posted = 0;
    return RegisterWaitForSingleObject(&s->u.exit.wait, xev__win_handle(s->fd), on_exit_wait, s,
                                       INFINITE, WT_EXECUTEONLYONCE)
               ? 0
               : xev__win_last_code();
}

static bool is_changes(const xev_completion *c) {
    return (c->flags & XEV__F_CHANGES) != 0 && c->op == XEV__OP_READ && xev__win_is_folder(c->fd);
}

static int begin_changes(struct xev__iocp_slot *s, const xev_completion *c) {
    bool ok = xev__win_changes_begin(s->fd, c->arg.io.buf, &s->overlapped);
    return xev__iocp_asked(ok, ok ? 0 : GetLastError());
}

static int begin_direct(struct xev__iocp *p, struct xev__iocp_slot *s, const xev_completion *c) {
    switch ((enum xev__iocp_kind)s->kind) {
    case XEV__IOCP_EXIT:
        return begin_exit(p, s);
    case XEV__IOCP_POLL:
        return xev__afd_ask(p->afd, s, c->arg.io.aux);
    case XEV__IOCP_CHANGES:
        return begin_changes(s, c);
    default:
        return c->op == XEV__OP_RECV ? begin_recv(s, c) : begin_pipe(s, c);
    }
}

static enum xev__iocp_kind slot_kind(const xev_completion *c) {
    return c->op == XEV__OP_PROCESS ? XEV__IOCP_EXIT
           : c->op == XEV__OP_POLL  ? XEV__IOCP_POLL
           : is_changes(c)          ? XEV__IOCP_CHANGES
                                    : XEV__IOCP_OPERATION;
}

/* 0 or a code: c is not with the system. */
static int begin_in_slot(xev_loop *loop, xev_completion *c) {
    struct xev__iocp *p = loop->backend;
    struct xev__iocp_slot *s = xev__iocp_slot_new(p, c, c->fd, slot_kind(c));
    if (s == NULL) {
        return XEV_ENOMEM;
    }
    xev__count(&loop->count.syscalls, 1);
    int rc = begin_direct(p, s, c);
    if (rc < 0) {
        xev__iocp_slot_free(p, s);
    }
    return rc;
}

/* Begin c by an overlapped call. */
static void start_direct(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    int rc = c->op == XEV__OP_ACCEPT ? xev__iocp_accept_fill(loop, c) : begin_in_slot(loop, c);
    if (rc == 0) {
        if (c->op != XEV__OP_POLL) {
            e->ready &= (uint8_t)~xev__bit(xev__dir(c)); /* not for the adaptor to try */
        }
        return;
    }
    if (xev__accept_outlasts(c, rc)) {
        xev__accept_again(loop, e, c, rc);
    } else {
        xev__pend(loop, c, rc);
    }
}

static void start_by_readiness(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    struct xev__iocp *p = loop->backend;
    c->slot = XEV__IOCP_NO_SLOT;
    if ((e->reports & xev__bit(xev__dir(c))) == 0) {
        e->ready |= xev__bit(xev__dir(c));
    }
    if ((e->ready & xev__bit(xev__dir(c))) != 0) {
        xev__readiness_list(loop, &p->ready, e);
    }
}

/* A read or write of what may be no socket. */
static void start_transfer(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    switch (xev__os_kind(c->fd)) {
    case XEV__OS_SOCKET:
        c->op = c->op == XEV__OP_READ ? XEV__OP_RECV : XEV__OP_SEND;
        loop->ops->start(loop, e, c);
        return;
    case XEV__OS_FILE:
        if (is_changes(c)) {
            int rc = attach(loop, e);
            if (rc > 0) {
                start_direct(loop, e, c);
            } else {
                xev__pend(loop, c, rc < 0 ? rc : XEV_ENOTSUP); /* another port's */
            }
            return;
        }
        xev__count(&loop->count.syscalls, 1);
        if (c->op == XEV__OP_READ && xev__win_is_folder(c->fd)) {
            xev__pend(loop, c, XEV_EISDIR);
            return;
        }
        int done = xev__read_or_write(c);
        xev__pend(loop, c, done == XEV_EACCES ? XEV_EBADF : done); /* not opened for this */
        return;
    case XEV__OS_DEVICE:
        /* A read of a console waits, and nothing would end that. */
        xev__pend(loop, c, c->op == XEV__OP_WRITE ? xev__read_or_write(c) : XEV_ENOTSUP);
        return;
    default: {
        int rc = attach(loop, e);
        if (rc > 0) {
            start_direct(loop, e, c);
        } else {
            /* A pipe that was not opened for overlapped operations, or is another port's. */
            xev__pend(loop, c, rc < 0 ? rc : XEV_ENOTSUP);
        }
    }
    }
}

/* As POSIX, a file is ready at any time. Of all else that is no socket nothing tells. */
static int poll_of_no_socket(const xev_completion *c) {
    uint32_t ready = c->arg.io.aux & (XEV_POLL_IN | XEV_POLL_OUT);
    bool once = (c->flags & XEV__F_MULTI) == 0 && ready != 0;
    return once && xev__os_kind(c->fd) == XEV__OS_FILE ? (int)ready : XEV_EPERM;
}

static void iocp_start(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    if (c->op == XEV__OP_CONNECT && c->slot != XEV__IOCP_NO_SLOT) {
        return; /* under way since iocp_connect */
    }
    c->slot = XEV__IOCP_NO_SLOT;
    if (c->op == XEV__OP_PROCESS) {
        start_direct(loop, e, c);
        return;
    }
    if (c->op == XEV__OP_READ || c->op == XEV__OP_WRITE) {
        start_transfer(loop, e, c);
        return;
    }
    int rc = xev__win_is_socket(c->fd) ? attach(loop, e)
             : xev__os_is_open(c->fd)  ? XEV_ENOTSOCK
                                       : XEV_EBADF;
    if (rc == XEV_ENOTSOCK && c->op == XEV__OP_POLL) {
        rc = poll_of_no_socket(c);
    }
    if (rc < 0 || (c->op == XEV__OP_POLL && !e->nonblocking)) {
        xev__pend(loop, c, rc);
    } else if (c->op == XEV__OP_POLL) {
        if ((c->flags & XEV__F_MULTI) != 0) {
            xev__pend(loop, c, XEV_ENOTSUP); /* AFD reports conditions, not changes of them */
        } else {
            start_direct(loop, e, c);
        }
    } else if (rc > 0 && (c->op == XEV__OP_ACCEPT || c->op == XEV__OP_RECV)) {
        /* AcceptEx would wait for ever at what does not listen. */
        rc = xev__os_check_endpoint(c->fd);
        if (c->op == XEV__OP_ACCEPT && (rc == 0 || rc == XEV_ENOTCONN)) {
            rc = rc < 0 ? 0 : xev__os_is_stream(c->fd) ? XEV_EINVAL : XEV_ENOTSUP;
        }
        if (rc < 0) {
            xev__pend(loop, c, rc);
        } else if (c->op == XEV__OP_ACCEPT && !xev__os_is_tcp(c->fd)) {
            start_by_readiness(loop, e, c); /* a slot has no room for two Unix addresses */
        } else {
            start_direct(loop, e, c);
        }
    } else {
        start_by_readiness(loop, e, c);
    }
}

static int iocp_at_once(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    if (!e->nonblocking && (!xev__win_is_socket(c->fd) || attach(loop, e) < 0)) {
        return XEV_EAGAIN; /* start will say why */
    }
    return xev__readiness_at_once(loop, e, c);
}

/* ---- connecting ---- */

static int begin_connect(struct xev__iocp_slot *s, const xev_addr *addr) {
    LPFN_CONNECTEX function = xev__iocp_connect_ex(s->fd);
    if (function == NULL) {
        return XEV_ENOTSUP;
    }
    /* ConnectEx wants a bound socket. On one that is bound this fails, and does no harm. */
    struct sockaddr_storage any = {.ss_family = (short)xev__win_addr(addr)->sa_family};
    (void)bind(xev__win_socket(s->fd), (const struct sockaddr *)&any,
               any.ss_family == AF_INET6 ? (int)sizeof(struct sockaddr_in6)
                                         : (int)sizeof(struct sockaddr_in));
    BOOL ok = function(xev__win_socket(s->fd), xev__win_addr(addr), (int)addr->len_bytes, NULL, 0,
                       NULL, &s->overlapped);
    return xev__iocp_asked(ok, (DWORD)WSAGetLastError());
}

static int iocp_connect(xev_loop *loop, xev_completion *c, const xev_addr *addr) {
    struct xev__iocp *p = loop->backend;
    c->slot = XEV__IOCP_NO_SLOT;
    if (!xev__os_is_open(c->fd)) {
        return XEV_EBADF;
    }
    if (!xev__win_is_socket(c->fd)) {
        return XEV_ENOTSOCK;
    }
    int rc = xev__iocp_associate(p, c->fd);
    /* ConnectEx has room for an address of TCP only, and bind knows no "any" of Unix sockets. */
    if (rc <= 0 || xev_addr_family(addr) == XEV_AF_UNIX || !xev__os_is_stream(c->fd)) {
        return rc < 0 ? rc : xev__os_connect(c->fd, addr);
    }
    struct xev__iocp_slot *s = xev__iocp_slot_new(p, c, c->fd, XEV__IOCP_OPERATION);
    rc = s != NULL ? begin_connect(s, addr) : XEV_ENOMEM;
    if (rc < 0 && s != NULL) {
        xev__iocp_slot_free(p, s);
    }
    return rc < 0 ? rc : XEV_EINPROGRESS;
}

/* Nobody waits for s any more. Its packet frees it. */
static void orphan(struct xev__iocp_slot *s, HANDLE h) {
    s->c->slot = XEV__IOCP_NO_SLOT;
    s->c = NULL;
    (void)CancelIoEx(h, &s->overlapped);
}

static void iocp_connect_over(xev_loop *loop, xev_completion *c) {
    struct xev__iocp *p = loop->backend;
    uint32_t number =
        c->slot - XEV__IOCP_SLOT_BASE; /* c may have ended before it was begun: anything */
    if (xev__chunks_have(&p->slots, number) && xev__iocp_slot(p, number)->c == c) {
        orphan(xev__iocp_slot(p, number), xev__win_handle(c->fd));
    }
}

/* ---- cancelling ---- */

static void iocp_cancel(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    struct xev__iocp *p = loop->backend;
    (void)e;
    if (c->slot == XEV__IOCP_NO_SLOT) { /* the adaptor's: nothing of it is with the system */
        xev__pend(loop, c, XEV_ECANCELED);
        return;
    }
    struct xev__iocp_slot *s = slot_of(p, c);
    if (c->op == XEV__OP_ACCEPT) {
        xev__iocp_accept_cancel(p, c);
    } else if (s->kind == XEV__IOCP_POLL) {
        orphan(s, p->afd);
        xev__pend(loop, c, XEV_ECANCELED);
    } else if (c->op == XEV__OP_CONNECT) {
        /* The system has no memory of the caller's, so nobody need wait for its packet. */
        orphan(s, xev__win_handle(c->fd));
        xev__pend(loop, c, XEV_ECANCELED);
    } else if (s->kind == XEV__IOCP_EXIT) {
        /* From here on its callback does not run, or has run. */
        (void)UnregisterWaitEx(s->u.exit.wait, INVALID_HANDLE_VALUE);
        s->u.exit.wait = NULL;
        if (__atomic_load_n(&s->u.exit.posted, __ATOMIC_ACQUIRE) == 0) {
            xev__iocp_slot_free(p, s);
            xev__pend(loop, c, XEV_ECANCELED);
        } /* else the packet brings the result */
    } else {
        /* Where there is nothing to cancel any more, the packet is on its way. */
        (void)CancelIoEx(xev__win_handle(c->fd), &s->overlapped);
    }
}

/* ---- packets ---- */

static bool is_cancelled(const xev_completion *c) { return (c->flags & XEV__F_CANCEL) != 0; }

/* So many failures in a row are replaced by new attempts. Where nothing else comes the attempts
 * run out, and the last one waits before the next: see xev__accept_again. */
#define FAILURES_AT_ONCE 16u

/* One of those that were with the system for c has ended. */
static void accepted(xev_loop *loop, struct xev__fd *e, xev_completion *c, int rc) {
    bool last = c->slot == XEV__IOCP_NO_SLOT, multi = (c->flags & XEV__F_MULTI) != 0;
    if (rc >= 0) {
        xev__accept_works(c);
    }
    if (is_cancelled(c)) {
        if (rc >= 0) {
            xev__finish(loop, c, rc, multi);
        }
        if (last && (rc < 0 || multi)) {
            xev__finish(loop, c, XEV_ECANCELED, false);
        }
        return;
    }
    if (rc < 0 && last) {
        if (xev__accept_outlasts(c, rc)) {
            xev__accept_again(loop, e, c, rc);
        } else {
            xev__finish(loop, c, rc, false);
        }
        return;
    }
    bool of_connection = rc < 0 && xev__os_is_of_connection(c->fd, rc);
    if (multi && (rc >= 0 || (of_connection && c->arg.accept.failures++ < FAILURES_AT_ONCE))) {
        start_direct(loop, e, c); /* first: the callback may cancel c or close the listener */
    }
    if (rc >= 0) {
        xev__finish(loop, c, rc, multi);
    } else if (xev__os_exhausted(rc)) {
        xev__accept_report(loop, c, rc); /* the others wait on */
    }
}

static void received_loan(xev_loop *loop, struct xev__fd *e, xev_completion *c, int rc) {
    if (is_cancelled(c)) {
        xev__finish(loop, c, XEV_ECANCELED, false); /* no data was taken from the socket */
        return;
    }
    if (rc < 0) {
        xev__finish(loop, c, rc == XEV_ECANCELED ? XEV_ECONNRESET : rc, false);
        return;
    }
    uint32_t buffer = xev__buffers_alloc(loop->buffers);
    if (buffer == UINT32_MAX) {
        xev__fds_starve(loop, e, xev__buffers_expected(loop->buffers));
        return;
    }
    xev__count(&loop->count.syscalls, 1);
    rc = xev__os_recv(c->fd, xev__buffers_at(loop->buffers, buffer), loop->buffers->size_bytes);
    if (rc <= 0) {
        xev__buffers_put(loop->buffers, buffer);
        if (rc == XEV_EAGAIN) {
            start_direct(loop, e, c);
        } else {
            xev__finish(loop, c, rc == 0 ? XEV_EOF : rc, false);
        }
        return;
    }
    bool more = (c->flags & XEV__F_MULTI) != 0;
    if (more) {
        start_direct(loop, e, c);
    }
    xev__finish_loan(loop, c, buffer, rc, more);
}

static void connect_arrived(xev_loop *loop, xev_completion *c, int rc) {
    if (rc >= 0) {
        rc = xev__win_socket_result(c->fd, setsockopt(xev__win_socket(c->fd), SOL_SOCKET,
                                                      SO_UPDATE_CONNECT_CONTEXT, NULL, 0));
    }
    if (c->state == XEV__STARTED) {
        xev__finish(loop, c, rc, false);
    } else {
        xev__connect_known(c, rc); /* an operation before it has not been reported yet */
    }
}

static void on_direct(xev_loop *loop, struct xev__iocp_slot *s, int rc) {
    struct xev__iocp *p = loop->backend;
    xev_completion *c = s->c;
    struct xev__fd *e = xev__fds_find(loop->fds, c->fd);
    if (c->op == XEV__OP_ACCEPT) {
        accepted(loop, e, c, xev__iocp_accept_take(p, s, rc));
        return;
    }
    xev__iocp_slot_free(p, s);
    switch ((enum xev__op)c->op) {
    case XEV__OP_CONNECT:
        connect_arrived(loop, c, rc);
        return;
    case XEV__OP_RECV:
        if ((c->flags & XEV__F_LOAN) != 0) {
            received_loan(loop, e, c, rc);
            return;
        }
        break;
    default:
        break;
    }
    if (rc == XEV_ECANCELED && !is_cancelled(c)) {
        rc = XEV_EBADF; /* somebody has closed the descriptor */
    }
    bool reads = c->op == XEV__OP_RECV || c->op == XEV__OP_READ;
    if (reads && (rc == 0 || (rc == XEV_EPIPE && c->op == XEV__OP_READ))) {
        rc = XEV_EOF;
    }
    xev__finish(loop, c, rc, false);
}

static void changed(xev_loop *loop, struct xev__iocp_slot *s, int rc) {
    xev_completion *c = s->c;
    xev__iocp_slot_free(loop->backend, s);
    if (rc <= 0 && is_cancelled(c)) {
        xev__finish(loop, c, XEV_ECANCELED, false);
        return;
    }
    rc = xev__win_changes(c->arg.io.buf, rc);
    if (rc == 0 && !is_cancelled(c)) {
        start_direct(loop, xev__fds_find(loop->fds, c->fd), c);
    } else {
        xev__finish(loop, c, rc == 0 ? XEV_ECANCELED : rc, false);
    }
}

static void on_ready(xev_loop *loop, struct xev__iocp_slot *s) {
    struct xev__iocp *p = loop->backend;
    struct xev__fd *e = xev__fds_at(loop->fds, s->entry, s->entry_gen);
    uint8_t dirs = s->dirs;
    xev__iocp_slot_free(p, s);
    if (e == NULL) {
        return;
    }
    /* Whatever it found, the attempt tells. */
    e->reports &= (uint8_t)~dirs & 3u;
    e->ready |= dirs;
    if (e->head[XEV__READ] != NULL || e->head[XEV__WRITE] != NULL) {
        xev__readiness_list(loop, &p->ready, e);
    }
}

static void on_packet(xev_loop *loop, struct xev__iocp_slot *s) {
    struct xev__iocp *p = loop->backend;
    xev_completion *c = s->c;
    LONG status = (LONG)s->overlapped.Internal;
    int rc = status < 0 && status != XEV__IOCP_IN_PART ? xev__iocp_failure(s)
                                                       : (int)s->overlapped.InternalHigh;
    xev__count(&loop->count.events, 1);
    if (s->kind == XEV__IOCP_READY) {
        on_ready(loop, s);
        return;
    }
    if (c == NULL) {
        xev__iocp_slot_free(p, s);
        return;
    }
    assert(c->op == XEV__OP_ACCEPT || c->slot == s->number + XEV__IOCP_SLOT_BASE);
    if (s->kind == XEV__IOCP_POLL) {
        uint32_t found = xev__os_poll_result(xev__afd_answer(s), c->arg.io.aux);
        xev__iocp_slot_free(p, s);
        xev__finish(loop, c, found != 0 ? (int)found : rc < 0 ? rc : XEV_POLL_ERR, false);
    } else if (s->kind == XEV__IOCP_EXIT) {
        if (s->u.exit.wait != NULL) {
            (void)UnregisterWaitEx(s->u.exit.wait, NULL);
        }
        xev__iocp_slot_free(p, s);
        xev__finish(loop, c, xev__os_process_wait(c->fd), false);
    } else if (s->kind == XEV__IOCP_CHANGES) {
        changed(loop, s, rc);
    } else {
        on_direct(loop, s, rc);
    }
}

/* ---- the adaptor's reports ---- */

static int arm_one(xev_loop *loop, struct xev__fd *e, enum xev__dir d) {
    struct xev__iocp *p = loop->backend;
    struct xev__iocp_slot *s = xev__iocp_slot_new(p, NULL, e->fd, XEV__IOCP_READY);
    if (s == NULL) {
        return XEV_ENOMEM;
    }
    s->dirs = xev__bit(d);
    s->entry = xev__fds_number(loop->fds, e);
    s->entry_gen = e->gen;
    xev__count(&loop->count.syscalls, 1);
    int rc = xev__afd_ask(p->afd, s, d == XEV__READ ? XEV_POLL_IN | XEV_POLL_HUP : XEV_POLL_OUT);
    if (rc < 0) {
        xev__iocp_slot_free(p, s);
        return rc;
    }
    e->reports = (e->reports | xev__bit(d)) & 3u;
    return 0;
}

static int iocp_arm(xev_loop *loop, struct xev__fd *e, uint8_t dirs) {
    int rc = 0;
    for (int d = 0; d < XEV__POLLS && rc == 0; d++) {
        if ((dirs & ~e->reports & xev__bit((enum xev__dir)d)) != 0) {
            rc = arm_one(loop, e, (enum xev__dir)d);
        }
    }
    return rc;
}

/* A request that is left at AFD ends by the close of the socket, and then finds no entry. */
static void iocp_forget(xev_loop *loop, struct xev__fd *e) {
    (void)loop;
    assert(e->ops == 0);
    e->reports = 0;
}

/* Nothing here tells it. A new entry asks. */
static bool iocp_still_reports(xev_loop *loop, struct xev__fd *e) {
    iocp_forget(loop, e);
    return false;
}

/* ---- the poll ---- */

static DWORD limit_ms(uint64_t timeout_ns) {
    if (timeout_ns == UINT64_MAX) {
        return INFINITE;
    }
    /* Rounded up, or the wait would end before the timer is due. */
    uint64_t ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    return ms < INT32_MAX ? (DWORD)ms : INT32_MAX;
}

static int take_packets(xev_loop *loop, DWORD ms, ULONG *n) {
    struct xev__iocp *p = loop->backend;
    *n = 0;
    if (GetQueuedCompletionStatusEx(p->port, p->entries, PACKETS, n, ms, FALSE)) {
        return 0;
    }
    *n = 0;
    DWORD error = GetLastError();
    return error == WAIT_TIMEOUT || error == WAIT_IO_COMPLETION ? 0 : xev__win_code(error);
}

static int iocp_poll(xev_loop *loop, uint64_t timeout_ns) {
    struct xev__iocp *p = loop->backend;
    ULONG n;
    int rc = take_packets(loop, limit_ms(p->ready.head != NULL ? 0 : timeout_ns), &n);
    xev__woke(loop);
    xev__count(&loop->count.syscalls, 1);
    for (ULONG i = 0; i < n; i++) {
        if (p->entries[i].lpCompletionKey != KEY_WAKE) {
            on_packet(loop, (struct xev__iocp_slot *)(void *)p->entries[i].lpOverlapped);
        }
    }
    xev__readiness_run(loop, &p->ready);
    if (rc < 0) {
        loop->failed_call = "GetQueuedCompletionStatusEx";
    }
    return rc;
}

static void iocp_nap(xev_loop *loop, uint32_t timeout_ms) {
    (void)loop;
    xev__os_sleep_ms(timeout_ms);
}

static xev_fd iocp_descriptor(xev_loop *loop) {
    (void)loop;
    return XEV_ENOTSUP; /* no wait of a host's takes a port */
}

static int iocp_wake(xev_loop *loop) {
    const struct xev__iocp *p = loop->backend;
    return PostQueuedCompletionStatus(p->port, 0, KEY_WAKE, NULL) ? 0 : xev__win_last_code();
}

/* ---- beginning and end ---- */

static int init_failed(int code, const char *step, char *why, size_t why_len) {
    snprintf(why, why_len, "iocp: %s: %s", step, xev_strerror(code));
    return code;
}

static void free_state(xev_loop *loop, struct xev__iocp *p) {
    const xev_allocator *a = &loop->options.allocator;
    xev__free(a, p->entries, PACKETS * sizeof *p->entries);
    xev__free(a, p, sizeof *p);
}

static int iocp_init(xev_loop *loop, char *why, size_t why_len) {
    const xev_allocator *a = &loop->options.allocator;
    struct xev__iocp *p = xev__alloc_zeroed(a, sizeof *p, _Alignof(max_align_t));
    if (p == NULL) {
        return init_failed(XEV_ENOMEM, "state", why, why_len);
    }
    p->entries = xev__alloc(a, PACKETS * sizeof *p->entries, _Alignof(max_align_t));
    if (p->entries == NULL) {
        free_state(loop, p);
        return init_failed(XEV_ENOMEM, "packets", why, why_len);
    }
    p->ready.arm = iocp_arm;
    p->id = xev__iocp_new_id();
    p->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    if (p->port == NULL) {
        int rc = xev__win_last_code();
        free_state(loop, p);
        return init_failed(rc, "CreateIoCompletionPort", why, why_len);
    }
    int rc = xev__afd_open(p->port, &p->afd);
    if (rc < 0) {
        (void)CloseHandle(p->port);
        free_state(loop, p);
        return init_failed(rc, "AFD", why, why_len);
    }
    p->slots = (struct xev__chunks){
        .loop = loop,
        .item_bytes = sizeof(struct xev__iocp_slot),
        .alignment = _Alignof(max_align_t),
        .link_at = offsetof(struct xev__iocp_slot, next),
        .gen_at = offsetof(struct xev__iocp_slot, gen),
    };
    xev__chunks_init(&p->slots);
    loop->backend = p;
    return 0;
}

/* How long the end of a loop waits for packets of what nobody waits for. */
#define LAST_PACKETS_MS 5000u

static void iocp_deinit(xev_loop *loop) {
    struct xev__iocp *p = loop->backend;
    (void)CancelIoEx(p->afd, NULL);
    for (uint32_t tries = 0; p->in_kernel > 0 && tries < LAST_PACKETS_MS / 10; tries++) {
        ULONG n;
        (void)take_packets(loop, 10, &n);
        for (ULONG i = 0; i < n; i++) {
            struct xev__iocp_slot *s = (void *)p->entries[i].lpOverlapped;
            if (s != NULL) {
                assert(s->c == NULL);
                xev__iocp_slot_free(p, s);
            }
        }
    }
    (void)CloseHandle(p->afd);
    (void)CloseHandle(p->port);
    if (p->in_kernel == 0) { /* else the system may still write to the slots */
        xev__chunks_free(&p->slots);
    }
    free_state(loop, p);
}

const struct xev_backend_ops xev__iocp_ops = {
    .name = "iocp",
    .kind = XEV_BACKEND_IOCP,
    .how = XEV__HOW_IOCP,
    .init = iocp_init,
    .deinit = iocp_deinit,
    .features = xev__readiness_features,
    .start = iocp_start,
    .at_once = iocp_at_once,
    .connect = iocp_connect,
    .connect_over = iocp_connect_over,
    .cancel = iocp_cancel,
    .forget = iocp_forget,
    .still_reports = iocp_still_reports,
    .poll = iocp_poll,
    .nap = iocp_nap,
    .prepare = xev__readiness_prepare,
    .descriptor = iocp_descriptor,
    .wake = iocp_wake,
    .buffer_back = xev__readiness_buffer_back,
    .buffers_free = xev__readiness_buffers_free,
};
