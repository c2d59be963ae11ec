/* A limit of what the kernel holds of a connection's output and cannot send, since the peer does
 * not read: unsent_bytes of the options.
 *
 * TCP_NOTSENT_LOWAT alone is no such limit. The kernel looks at it where it begins a new segment,
 * and goes on filling the last one without a look, up to 64 KiB. So it is not given more than fits.
 * It is asked (a system call) only where what it was given since it was asked last may be too much:
 * a connection that is read, and one with short answers, hardly ever asks.
 *
 * Behind a transport TCP_NOTSENT_LOWAT is all there is. What a transport sends is not what it was
 * given, and it may have to repeat a send as it was (TLS), so no send is cut to what fits.
 */
#include <limits.h>

#include "conn/internal.h"

/* The kernel holds bytes that it cannot send. */
static void note_backlog(xev_conn *c, int64_t bytes) {
    uint64_t parts = bytes > 0 ? (uint64_t)bytes / c->service->backlog_part + 1 : 0;
    bool full = parts > XEV__CONN_BACKLOG_PARTS;
    c->backlog_parts = (full ? XEV__CONN_BACKLOG_PARTS : (uint32_t)parts) & XEV__CONN_BACKLOG_PARTS;
}

/* A poll has said that the descriptor is writable: half of the limit and more is free. Or the
 * connection has failed, which only a send tells. So there is no question now, and the send is not
 * left out. */
static bool was_writable(xev_conn *c) {
    struct xev__conn_output *out = xev__conn_out(c);
    bool so = out != NULL && out->writable;
    if (so) {
        out->writable = false;
    }
    return so;
}

size_t xev__conn_backlog_take(xev_conn *c, size_t len) {
    int64_t limit = c->service->options.unsent_bytes, bytes;
    assert(len > 0);
    bool writable = was_writable(c);
    if (xev__conn_backlog_allows(c, len)) {
        return len;
    }
    if (writable) {
        size_t half = limit > 1 ? (size_t)limit / 2 : 1;
        note_backlog(c, limit);
        return len < half ? len : half;
    }
    if (xev__os_backlog_bytes(c->fd, &bytes) < 0) {
        note_backlog(c, 0); /* no TCP socket, say */
        return len;
    }
    if (bytes > limit / 2) {
        note_backlog(c, bytes);
        return 0; /* the descriptor is not writable then, either */
    }
    size_t room = (size_t)(limit - bytes), taken = len < room ? len : room;
    note_backlog(c, bytes + (int64_t)taken);
    return taken;
}

void xev__conn_backlog_limit(const xev_conn *c, bool limited) {
    if (c->service->backlog_part > 0) {
        uint32_t bytes = limited ? c->service->options.unsent_bytes : 0;
        (void)xev__os_set_backlog(c->fd, bytes); /* fails where the socket is not TCP */
    }
}

bool xev__conn_backlog_wait(xev_conn *c, xev_completion *k, xev_cb cb) {
    xev_conn_service *s = c->service;
    if (s->backlog_part == 0 || xev__os_set_backlog(c->fd, s->options.unsent_bytes) < 0) {
        return false;
    }
    xev_fd_poll(c->fd, s->loop, k, XEV_POLL_OUT, c, cb);
    return true;
}

/* At most max bytes, of at most XEV__CONN_VECS pieces. */
static int send_part(xev_conn *c, const xev_vec *vec, uint32_t count, size_t max) {
    xev_vec part[XEV__CONN_VECS];
    uint32_t n = 0;
    assert(count <= XEV__CONN_VECS && max > 0);
    while (n < count && max > 0) {
        part[n] = vec[n];
        part[n].len_bytes = part[n].len_bytes < max ? part[n].len_bytes : max;
        max -= part[n++].len_bytes;
    }
    return n == 1 ? xev__os_send(c->fd, part[0].base, part[0].len_bytes)
                  : xev__os_sendv(c->fd, part, n);
}

int xev__conn_send_now(xev_conn *c, const xev_vec *vec, uint32_t count) {
    if (xev__conn_is(c, XEV__CONN_TRANSPORT)) {
        return xev__transport_send(c, vec, count);
    }
    size_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += vec[i].len_bytes;
    }
    size_t taken = xev__conn_backlog_take(c, total);
    if (taken < total) {
        return taken > 0 ? send_part(c, vec, count, taken) : XEV_EAGAIN;
    }
    return count == 1 ? xev__os_send(c->fd, vec->base, vec->len_bytes)
                      : xev__os_sendv(c->fd, vec, count);
}
