/* Connecting to one of several addresses.
 *
 * The request's own completion is STEPPING while attempts, each a connect and, where it is not the
 * one, a close of the same completion, and the timer between them are active. It ends when none is.
 */
#include "xev/dial.h"

#include "xev/os/socket.h"
#include "xev/watchers/watchers.h"

static xev_cb_action on_connected(xev_loop *loop, xev_completion *c, int result, void *userdata);
static xev_cb_action on_timer(xev_loop *loop, xev_completion *c, int result, void *userdata);

/* No further attempt is wanted. */
static bool is_decided(const xev_loop *loop, const xev_dial_req *r) {
    return r->fd != XEV_INVALID_FD || (r->c.flags & XEV__F_CANCEL) != 0 || loop->deinit;
}

static bool is_local(int error) {
    return error == XEV_ENETUNREACH || error == XEV_EADDRNOTAVAIL || error == XEV_EAFNOSUPPORT;
}

static void failed(xev_dial_req *r, int error) {
    if (!is_local(error) || r->error == XEV_EINVAL || is_local(r->error)) {
        r->error = error;
    }
}

/* Of a part, which was zeroed when the dial began. */
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

/* The next to be tried, of which there are some left: the families take turns. */
static const xev_addr *take_next(xev_dial_req *r) {
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
    xev_completion *c = idle_attempt(r);
    if (c == NULL) {
        return;
    }
    while (r->left > 0) {
        const xev_addr *addr = take_next(r);
        xev_fd fd;
        int rc = xev__os_tcp_socket(xev_addr_family(addr), &fd);
        if (rc == 0) {
            xev__connect("xev_tcp_dial", fd, loop, c, addr, r, on_connected);
            xev__make_internal(loop, c);
            break;
        }
        failed(r, rc);
    }
    if (r->left == 0) {
        (void)xev__stop(loop, &r->timer);
    } else if (r->stagger_ms > 0) {
        xev_timer_reset(NULL, loop, &r->timer, NULL, r->stagger_ms, r, on_timer);
        xev__make_internal(loop, &r->timer);
    }
}

/* Its first active part names it, so that it is named once. */
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
        (void)xev__stop(loop, &r->attempts[i]); /* a close goes on */
    }
}

static void end_if_over(xev_loop *loop, xev_dial_req *r) {
    bool waits = !is_idle(&r->timer);
    for (int i = 0; i < XEV_DIAL_PARALLEL; i++) {
        waits |= !is_idle(&r->attempts[i]);
    }
    if (!waits) {
        int failure = is_decided(loop, r) ? XEV_ECANCELED : r->error;
        xev__pend(loop, &r->c, r->fd != XEV_INVALID_FD ? (int)r->fd : failure);
    }
}

static xev_cb_action on_closed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_dial_req *r = userdata;
    (void)c;
    (void)result;
    if (!is_decided(loop, r)) {
        try_next(loop, r);
    }
    end_if_over(loop, r);
    return XEV_DISARM;
}

static xev_cb_action on_connected(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_dial_req *r = userdata;
    if (result == 0 && !is_decided(loop, r)) {
        r->fd = c->fd;
        stop_parts(loop, r);
        end_if_over(loop, r);
        return XEV_DISARM;
    }
    if (result < 0) {
        failed(r, result);
    }
    xev__close("xev_tcp_dial", loop, c, c->fd, r, on_closed);
    xev__make_internal(loop, c);
    return XEV_DISARM;
}

static xev_cb_action on_timer(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_dial_req *r = userdata;
    (void)c;
    if (result == 0 && !is_decided(loop, r)) {
        try_next(loop, r);
    }
    end_if_over(loop, r);
    return XEV_DISARM;
}

bool xev__dial_stop(xev_loop *loop, xev_completion *c) {
    xev_dial_req *r = (xev_dial_req *)(void *)c;
    if (r->fd != XEV_INVALID_FD) {
        return false; /* the result has arrived */
    }
    c->flags |= XEV__F_CANCEL;
    stop_parts(loop, r);
    return true;
}

void xev__dial_start(xev_loop *loop, xev_completion *c) {
    xev_dial_req *r = (xev_dial_req *)(void *)c;
    c->state = XEV__STEPPING;
    r->left = r->count;
    r->next[0] = r->next[1] = 0;
    r->ipv6 = r->count > 0 && is_ipv6(r, 0);
    r->fd = XEV_INVALID_FD;
    r->error = XEV_EINVAL;
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
