/* Connecting to one of several addresses.
 *
 * Model. A request has parts: a timer, and attempts that run side by side. An attempt connects a
 * new socket. Where it fails, or another attempt was first, the same completion then closes the
 * socket. The request's own completion is STEPPING as long as a part is active, and ends after the
 * last.
 */
#include "xev/dial.h"

#include <assert.h>

#include "xev/os/socket.h"
#include "xev/watchers/watchers.h"

static xev_cb_action on_attempt_connected(xev_loop *loop, xev_completion *c, int result,
                                          void *userdata);
static xev_cb_action on_stagger_over(xev_loop *loop, xev_completion *c, int result, void *userdata);

/* No further attempt is wanted. */
static bool is_decided(const xev_loop *loop, const xev_dial_req *r) {
    return r->fd != XEV_INVALID_FD || (r->c.flags & XEV__F_CANCEL) != 0 || loop->deinit;
}

/* An error of this host rather than of the address's: it has no route, or no such family. */
static bool is_local_error(int error) {
    return error == XEV_ENETUNREACH || error == XEV_EADDRNOTAVAIL || error == XEV_EAFNOSUPPORT;
}

/* The request reports the last error, but one of this host only where there was no other. */
static void note_attempt_error(xev_dial_req *r, int error) {
    assert(error < 0);
    if (!is_local_error(error) || r->error == 0 || is_local_error(r->error)) {
        r->error = error;
    }
}

/* Whether a part is active. It was zeroed when the dial began, so its state can be read. */
static bool is_idle(const xev_completion *part) { return part->state == XEV__DEAD; }

static xev_completion *idle_attempt(xev_dial_req *r) {
    for (int i = 0; i < XEV_DIAL_PARALLEL; i++) {
        if (is_idle(&r->attempts[i])) {
            return &r->attempts[i];
        }
    }
    return NULL;
}

static bool is_ipv6(const xev_dial_req *r, size_t i) {
    return xev_addr_family(&r->addrs[i]) == XEV_AF_INET6;
}

/* The address to be tried next. There must be one left. The families take turns. */
static const xev_addr *take_next_addr(xev_dial_req *r) {
    XEV_ASSERT(r->left > 0 && r->left <= r->count);
    for (;; r->ipv6 = !r->ipv6) {
        for (size_t *i = &r->next[r->ipv6]; *i < r->count; ++*i) {
            if (is_ipv6(r, *i) == r->ipv6) {
                r->left--;
                r->ipv6 = !r->ipv6;
                return &r->addrs[(*i)++];
            }
        }
    }
}

static void try_next(xev_loop *loop, xev_dial_req *r) {
    assert(!is_decided(loop, r));
    xev_completion *c = idle_attempt(r);
    if (c == NULL) {
        return;
    }
    while (r->left > 0) {
        const xev_addr *addr = take_next_addr(r);
        xev_fd fd;
        int rc = xev__os_tcp_socket(xev_addr_family(addr), &fd);
        if (rc == 0) {
            xev__connect("xev_tcp_dial", fd, loop, c, addr, r, on_attempt_connected);
            xev__make_internal(loop, c);
            break;
        }
        note_attempt_error(r, rc);
    }
    if (r->left == 0) {
        (void)xev__stop(loop, &r->timer);
    } else if (r->stagger_ms > 0) {
        xev_timer_reset(NULL, loop, &r->timer, NULL, r->stagger_ms, r, on_stagger_over);
        xev__make_internal(loop, &r->timer);
    }
}

/* A walk finds the parts, and names the request at its first active part, so only once. */
bool xev__dial_named_by(xev_completion *c, const xev_completion *part) {
    xev_dial_req *r = (xev_dial_req *)(void *)c;
    xev_completion *first = &r->timer;
    for (int i = 0; i < XEV_DIAL_PARALLEL && is_idle(first); i++) {
        first = &r->attempts[i];
    }
    return first == part;
}

static void stop_parts(xev_loop *loop, xev_dial_req *r) {
    (void)xev__stop(loop, &r->timer);
    for (int i = 0; i < XEV_DIAL_PARALLEL; i++) {
        (void)xev__stop(loop, &r->attempts[i]); /* a close is not stopped */
    }
}

static void end_if_over(xev_loop *loop, xev_dial_req *r) {
    assert(r->c.state == XEV__STEPPING);
    bool waits = !is_idle(&r->timer);
    for (int i = 0; i < XEV_DIAL_PARALLEL; i++) {
        waits |= !is_idle(&r->attempts[i]);
    }
    if (!waits) {
        int failure = is_decided(loop, r) ? XEV_ECANCELED
                      : r->error != 0     ? r->error
                                          : XEV_EINVAL; /* there are no addresses */
        xev__pend(loop, &r->c, r->fd != XEV_INVALID_FD ? (int)r->fd : failure);
    }
}

static xev_cb_action on_attempt_closed(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    xev_dial_req *r = userdata;
    (void)c;
    (void)result;
    assert(r->c.state == XEV__STEPPING && is_idle(c));
    if (!is_decided(loop, r)) {
        try_next(loop, r);
    }
    end_if_over(loop, r);
    return XEV_DISARM;
}

static xev_cb_action on_attempt_connected(xev_loop *loop, xev_completion *c, int result,
                                          void *userdata) {
    xev_dial_req *r = userdata;
    assert(r->c.state == XEV__STEPPING && c >= r->attempts && c < r->attempts + XEV_DIAL_PARALLEL);
    if (result == 0 && !is_decided(loop, r)) {
        r->fd = c->fd;
        stop_parts(loop, r);
        end_if_over(loop, r);
        return XEV_DISARM;
    }
    if (result < 0) {
        note_attempt_error(r, result);
    }
    xev__close("xev_tcp_dial", loop, c, c->fd, r, on_attempt_closed);
    xev__make_internal(loop, c);
    return XEV_DISARM;
}

static xev_cb_action on_stagger_over(xev_loop *loop, xev_completion *c, int result,
                                     void *userdata) {
    xev_dial_req *r = userdata;
    (void)c;
    assert(c == &r->timer && r->c.state == XEV__STEPPING);
    if (result == 0 && !is_decided(loop, r)) {
        try_next(loop, r);
    }
    end_if_over(loop, r);
    return XEV_DISARM;
}

bool xev__dial_stop(xev_loop *loop, xev_completion *c) {
    xev_dial_req *r = (xev_dial_req *)(void *)c;
    assert(c->op == XEV__OP_DIAL && c->state == XEV__STEPPING);
    if (r->fd != XEV_INVALID_FD) {
        return false; /* the result has arrived */
    }
    c->flags |= XEV__F_CANCEL;
    stop_parts(loop, r);
    return true;
}

void xev__dial_start(xev_loop *loop, xev_completion *c) {
    xev_dial_req *r = (xev_dial_req *)(void *)c;
    assert(c->op == XEV__OP_DIAL && is_idle(&r->timer) && idle_attempt(r) == &r->attempts[0]);
    c->state = XEV__STEPPING;
    r->left = r->count;
    r->next[0] = r->next[1] = 0;
    r->ipv6 = r->count > 0 && is_ipv6(r, 0);
    r->fd = XEV_INVALID_FD;
    r->error = 0;
    try_next(loop, r);
    end_if_over(loop, r);
}

void xev_tcp_dial(xev_loop *loop, xev_dial_req *req, const xev_addr *addrs, size_t count,
                  uint64_t stagger_ms, void *userdata, xev_cb cb) {
    if (req == NULL || (addrs == NULL && count > 0)) {
        xev__misuse("xev_tcp_dial", "request or addresses are null", req);
    }
    if (!xev__begin(XEV__CALL("xev_tcp_dial"), loop, &req->c, XEV__OP_DIAL, userdata, cb)) {
        return;
    }
    req->addrs = addrs;
    req->count = count;
    req->stagger_ms = stagger_ms;
    req->timer = (xev_completion){0};
    for (int i = 0; i < XEV_DIAL_PARALLEL; i++) {
        req->attempts[i] = (xev_completion){0};
    }
    xev__dial_start(loop, &req->c);
}
