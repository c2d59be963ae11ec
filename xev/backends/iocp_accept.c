/* Accepting, by AcceptEx: several at a time for a multishot accept, so that clients that come
 * together need no new call before the second. Their slots are a list, which begins at the
 * completion's slot.
 *
 * What fails is one attempt; it is the accept's failure only when it was the last one. */
#include "xev/backends/iocp.h"
#include "xev/os/descriptor.h"

#define ATTEMPTS 8u

/* Ask the system for s, which is for a listener. */
static int ask_accept(struct xev__iocp_slot *s) {
    LPFN_ACCEPTEX function = xev__iocp_accept_ex(s->fd);
    xev_addr local;
    int rc = xev__os_local_addr(s->fd, &local);
    if (function == NULL || rc < 0) {
        return rc < 0 ? rc : XEV_ENOTSUP;
    }
    rc = xev__win_new_socket(xev__win_addr(&local)->sa_family, SOCK_STREAM, &s->u.accept.fd);
    if (rc < 0) {
        return rc;
    }
    DWORD n;
    const DWORD room = sizeof s->u.accept.addresses / 2;
    BOOL ok = function(xev__win_socket(s->fd), xev__win_socket(s->u.accept.fd),
                       s->u.accept.addresses, 0, room, room, &n, &s->overlapped);
    rc = xev__iocp_asked(ok, (DWORD)WSAGetLastError());
    if (rc < 0) {
        (void)closesocket(xev__win_socket(s->u.accept.fd));
        /* Where fd does not listen Winsock says that an argument is wrong. */
    }
    return rc;
}

static int attempt_accept(xev_loop *loop, xev_completion *c) {
    struct xev__iocp *p = loop->backend;
    struct xev__iocp_slot *s = xev__iocp_slot_new(p, NULL, c->fd, XEV__IOCP_OPERATION);
    if (s == NULL) {
        return XEV_ENOMEM;
    }
    xev__count(&loop->count.syscalls, 1);
    int rc = ask_accept(s);
    if (rc < 0) {
        xev__iocp_slot_free(p, s);
        return rc;
    }
    s->c = c;
    s->u.accept.next = c->slot;
    c->slot = s->number + XEV__IOCP_SLOT_BASE;
    return 0;
}

static struct xev__iocp_slot *accept_at(const struct xev__iocp *p, uint32_t slot) {
    return slot != XEV__IOCP_NO_SLOT ? xev__iocp_slot(p, slot - XEV__IOCP_SLOT_BASE) : NULL;
}

int xev__iocp_accept_fill(xev_loop *loop, xev_completion *c) {
    const struct xev__iocp *p = loop->backend;
    uint32_t wanted = (c->flags & XEV__F_MULTI) != 0 ? ATTEMPTS : 1;
    uint32_t found = 0;
    for (const struct xev__iocp_slot *s = accept_at(p, c->slot); s != NULL;
         s = accept_at(p, s->u.accept.next)) {
        found++;
    }
    int rc = 0;
    for (; found < wanted && rc == 0; found++) {
        rc = attempt_accept(loop, c);
    }
    return c->slot != XEV__IOCP_NO_SLOT ? 0 : rc;
}

void xev__iocp_accept_cancel(const struct xev__iocp *p, const xev_completion *c) {
    for (struct xev__iocp_slot *s = accept_at(p, c->slot); s != NULL;
         s = accept_at(p, s->u.accept.next)) {
        /* Where there is nothing to cancel any more, the packet is on its way. */
        (void)CancelIoEx(xev__win_handle(s->fd), &s->overlapped);
    }
}

int xev__iocp_accept_take(struct xev__iocp *p, struct xev__iocp_slot *s, int rc) {
    SOCKET listener = xev__win_socket(s->fd), made = xev__win_socket(s->u.accept.fd);
    if (rc >= 0 && setsockopt(made, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (const char *)&listener,
                              sizeof listener) != 0) {
        /* The connection has ended already. Or the listener has: then the next attempt says so. */
        rc = xev__win_socket_code();
        rc = xev__os_exhausted(rc) ? rc : XEV_ECONNABORTED;
    }
    if (rc < 0) {
        (void)closesocket(made);
    } else {
        rc = s->u.accept.fd;
    }
    uint32_t *at = &s->c->slot;
    while (*at != s->number + XEV__IOCP_SLOT_BASE) {
        at = &accept_at(p, *at)->u.accept.next;
    }
    *at = s->u.accept.next;
    s->c = NULL;
    xev__iocp_slot_free(p, s);
    return rc;
}
