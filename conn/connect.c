/* Outgoing connections: the addresses in turn, within a time, some number of times. */
#include <string.h>

#include "conn/internal.h"
#include "xev/os/socket.h"

struct xev__conn_connect {
    xev_conn *conn;
    xev_dial_req dial; /* its completion is also that of a Unix connect, a close, the delay */
    xev_completion cancel;
    xev_fd fd; /* of a Unix connect; or what closing has to close */
    int code;  /* of the last try */
    xev_conn_connect_options options;
    uint32_t tries, delay_ms;
    uint32_t block_bytes, count;
    uint64_t tried; /* upstreams, a bit each */
    xev_addr addrs[];
};

static void try_addresses(struct xev__conn_connect *cn);

void xev__connect_free(xev_conn *c) {
    struct xev__conn_connect *cn = c->more->connect;
    if (cn != NULL) {
        xev__block_put(c->service, cn, cn->block_bytes);
        c->more->connect = NULL;
    }
}

static void connected(struct xev__conn_connect *cn, xev_fd fd) {
    xev_conn *c = cn->conn;
    c->fd = fd;
    xev__conn_clear(c, XEV__CONN_CONNECTING);
    c->active_tick = xev__conn_tick(c->service);
    if (cn->fd == XEV_INVALID_FD) {
        (void)xev__os_set_nodelay(fd, true); /* as of an accepted one; it goes on without */
    }
    if (c->more->upstream != NULL) {
        xev__upstream_connected(c);
    }
    xev__connect_free(c);
    if (c->more->out != NULL) {
        xev__conn_begin_to_wait(c, c->more->out);
    }
    xev__conn_due(c, XEV__CONN_OPENING);
}

/* A timer of the connect has fired. False: the connection ends, and nothing more is to be tried. */
static bool goes_on(struct xev__conn_connect *cn, int result) {
    xev_conn *c = cn->conn;
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        return false; /* by a cancel, which does the rest */
    }
    if (result < 0) {
        xev__conn_clear(c, XEV__CONN_CONNECTING);
        xev__conn_close(c, XEV_CONN_LOOP_ENDED, 0);
    }
    return result >= 0;
}

static xev_cb_action on_delay_over(xev_loop *loop, xev_completion *k, int result, void *userdata) {
    struct xev__conn_connect *cn = userdata;
    (void)loop;
    (void)k;
    if (goes_on(cn, result)) {
        try_addresses(cn);
    }
    return XEV_DISARM;
}

/* One try has failed, and has no descriptor any more. */
static void try_failed(struct xev__conn_connect *cn) {
    xev_conn *c = cn->conn;
    bool ended = cn->code == XEV_ECANCELED;
    if (!ended && c->more->upstream != NULL) {
        const xev_addr *next = xev__upstream_failed(c, cn->code, &cn->tried);
        if (next != NULL) {
            cn->addrs[0] = *next;
            try_addresses(cn);
            return;
        }
    }
    if (ended || (cn->tries != UINT32_MAX && --cn->tries == 0)) {
        xev__conn_clear(c, XEV__CONN_CONNECTING);
        xev__conn_close(c, ended ? XEV_CONN_LOOP_ENDED : XEV_CONN_UNCONNECTED, cn->code);
        return;
    }
    uint32_t delay = cn->delay_ms;
    cn->delay_ms = delay < cn->options.delay_max_ms / 2 ? delay * 2 : cn->options.delay_max_ms;
    xev_timer_run(NULL, c->service->loop, &cn->dial.c, delay, cn, on_delay_over);
}

static xev_cb_action on_no_socket(xev_loop *loop, xev_completion *k, int result, void *userdata) {
    struct xev__conn_connect *cn = userdata;
    (void)loop;
    (void)k;
    if (goes_on(cn, result)) {
        try_failed(cn);
    }
    return XEV_DISARM;
}

static xev_cb_action on_try_closed(xev_loop *loop, xev_completion *k, int result, void *userdata) {
    struct xev__conn_connect *cn = userdata;
    (void)loop;
    (void)k;
    (void)result;
    cn->fd = XEV_INVALID_FD;
    if (!xev__conn_is(cn->conn, XEV__CONN_CLOSING)) {
        try_failed(cn);
    }
    return XEV_DISARM;
}

static xev_cb_action on_tried(xev_loop *loop, xev_completion *k, int result, void *userdata) {
    struct xev__conn_connect *cn = userdata;
    bool is_unix = cn->fd != XEV_INVALID_FD;
    (void)k;
    cn->code = result;
    if (xev__conn_is(cn->conn, XEV__CONN_CLOSING)) {
        cn->fd = !is_unix && result >= 0 ? result : cn->fd;
        return XEV_DISARM; /* by a cancel, which does the rest */
    }
    if (result >= 0) {
        connected(cn, is_unix ? cn->fd : result);
    } else if (is_unix) {
        xev_fd_close(cn->fd, loop, &cn->dial.c, cn, on_try_closed);
    } else {
        try_failed(cn);
    }
    return XEV_DISARM;
}

static void try_addresses(struct xev__conn_connect *cn) {
    xev_loop *loop = cn->conn->service->loop;
    xev_completion_zero(&cn->dial.c);
    cn->fd = XEV_INVALID_FD;
    if (xev_addr_family(&cn->addrs[0]) == XEV_AF_UNIX) {
        xev_unix sock;
        cn->code = xev_unix_init(&sock, XEV_UNIX_STREAM);
        if (cn->code < 0) { /* to be told from the loop, and not inside the call */
            xev_timer_run(NULL, loop, &cn->dial.c, 0, cn, on_no_socket);
            return;
        }
        cn->fd = sock.fd;
        xev_unix_connect(sock, loop, &cn->dial.c, &cn->addrs[0], cn, on_tried);
    } else {
        xev_tcp_dial(loop, &cn->dial, cn->addrs, cn->count, XEV_DIAL_STAGGER_MS, cn, on_tried);
    }
    if (cn->options.timeout_ms != UINT32_MAX) {
        xev_completion_set_timeout(loop, &cn->dial.c, cn->options.timeout_ms);
    }
}

static xev_cb_action on_connect_stopped(xev_loop *loop, xev_completion *k, int result,
                                        void *userdata) {
    struct xev__conn_connect *cn = userdata;
    xev_conn *c = cn->conn;
    (void)loop;
    (void)k;
    (void)result;
    assert(xev__conn_is(c, XEV__CONN_CLOSING));
    xev__conn_clear(c, XEV__CONN_CONNECTING);
    c->fd = cn->fd;
    if (c->fd != XEV_INVALID_FD) {
        xev__conn_start_close(c);
    } else {
        xev__conn_gone(c);
    }
    return XEV_DISARM;
}

void xev__connect_stop(xev_conn *c) {
    struct xev__conn_connect *cn = c->more->connect;
    assert(cn != NULL);
    xev_completion_zero(&cn->cancel);
    xev_cancel(c->service->loop, &cn->dial.c, &cn->cancel, cn, on_connect_stopped);
}

static void set_options(xev_conn_connect_options *to, const xev_conn_connect_options *from) {
    *to = from != NULL ? *from : (xev_conn_connect_options){0};
    to->timeout_ms = to->timeout_ms > 0 ? to->timeout_ms : 10000;
    to->tries = to->tries > 0 ? to->tries : 1;
    to->delay_ms = to->delay_ms > 0 ? to->delay_ms : 100;
    to->delay_max_ms = to->delay_max_ms > 0 ? to->delay_max_ms : 10000;
}

const char *xev__wrong_addrs(const xev_addr *addrs, size_t count, size_t most) {
    for (size_t i = 0; i < count && count <= most; i++) {
        if (xev_addr_family(&addrs[i]) == XEV_AF_UNSPEC) {
            return "an address is none";
        }
    }
    return count == 0     ? "there is no address"
           : count > most ? "there are too many addresses"
                          : NULL;
}

int xev_conn_connect(xev_conn_service *s, const xev_addr *addrs, size_t count,
                     const xev_conn_connect_options *options, xev_conn **conn) {
    xev__conn_check_service("xev_conn_connect", s);
    return xev__conn_dial(s, addrs, count, options, NULL, XEV__UPSTREAM_USE, conn);
}

int xev__conn_dial(xev_conn_service *s, const xev_addr *addrs, size_t count,
                   const xev_conn_connect_options *options, struct xev__upstream *upstream,
                   enum xev__upstream_role role, xev_conn **conn) {
    const char *call = "xev_conn_connect";
    if (addrs == NULL && count > 0) {
        xev__conn_misuse(call, "addresses are null", s);
    }
    if (options != NULL && options->handlers != NULL && options->handlers->data == NULL) {
        xev__conn_misuse(call, "data handler is null", s);
    }
    if (conn != NULL) {
        *conn = NULL;
    }
    const char *why = xev__wrong_addrs(addrs, count, XEV_CONN_ADDRS_MAX);
    for (size_t i = 0; i < count && count > 1 && why == NULL; i++) {
        why = xev_addr_family(&addrs[i]) == XEV_AF_UNIX ? "a Unix address beside others" : NULL;
    }
    if (why != NULL) {
        return xev__refuse(why, NULL);
    }
    if (role != XEV__UPSTREAM_USE && s->count.connections >= s->options.connections_max) {
        s->count.refused++; /* nobody needs it now, so none that is kept is given up for it */
        return XEV_ENOBUFS;
    }
    int code = XEV_ENOMEM;
    uint32_t bytes;
    struct xev__conn_connect *cn = xev__block_get(s, sizeof *cn + count * sizeof *addrs, &bytes);
    xev_conn *c = cn != NULL ? xev__conn_new(s, &code) : NULL;
    if (c == NULL || xev__conn_more(c) == NULL) {
        if (cn != NULL) {
            xev__block_put(s, cn, bytes);
        }
        if (c != NULL) {
            xev__conn_undo(c);
        }
        return code;
    }
    memset(cn, 0, sizeof *cn);
    cn->conn = c;
    cn->block_bytes = bytes;
    cn->count = (uint32_t)count;
    memcpy(cn->addrs, addrs, count * sizeof *addrs);
    set_options(&cn->options, options);
    cn->tries = cn->options.tries;
    cn->delay_ms = cn->options.delay_ms;
    c->handlers = cn->options.handlers != NULL ? cn->options.handlers : c->handlers;
    c->more->connect = cn;
    c->more->outgoing = true;
    c->more->upstream = upstream;
    c->more->upstream_role = (uint8_t)role;
    c->flags |= XEV__CONN_CONNECTING;
    if (conn != NULL) {
        *conn = c;
    }
    try_addresses(cn);
    return 0;
}
