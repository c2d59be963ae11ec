/* Transports: what stands between a connection and its descriptor. Two pipes are the one that is
 * here; TLS is to be another. */
#include <limits.h>

#include "conn/internal.h"
#include "xev/os/descriptor.h"

/* Behind the peer's end there is no next recv. */
static int after_recv(xev_conn *c, int rc) {
    bool waits = rc == XEV_EINPROGRESS, over = xev__conn_is(c, XEV__CONN_EOF);
    c->more->send_waits = waits && !over;
    return !waits ? rc : over ? XEV_EPIPE : XEV_EAGAIN;
}

int xev__transport_send(xev_conn *c, const xev_vec *vec, size_t count) {
    const struct xev__conn_more *m = c->more;
    assert(m != NULL && m->transport != NULL && count > 0);
    int rc = m->transport->send(c, m->transport_state, vec, count);
    assert(rc != 0); /* not "nothing was taken": that is XEV_EAGAIN */
    return after_recv(c, rc);
}

int xev__transport_shutdown(xev_conn *c) {
    const struct xev__conn_more *m = c->more;
    return after_recv(c, m->transport->shutdown(c, m->transport_state));
}

bool xev__transport_wait(xev_conn *c, xev_completion *k, xev_cb cb) {
    const struct xev__conn_more *m = c->more;
    if (m->send_waits) {
        xev__conn_read(c);
        return false;
    }
    xev_fd fd = m->write_fd != XEV_INVALID_FD ? m->write_fd : c->fd;
    xev_fd_poll(fd, c->service->loop, k, XEV_POLL_OUT, c, cb);
    return true;
}

int xev_conn_set_transport(xev_conn *c, const xev_conn_transport *transport, void *state) {
    const char *call = "xev_conn_set_transport";
    xev__conn_check_own(call, c);
    if (transport == NULL || transport->recv == NULL || transport->send == NULL ||
        transport->shutdown == NULL) {
        xev__conn_misuse(call, "transport, or recv, send or shutdown of it, is null", c);
    }
    xev_conn_service *s = c->service;
    xev__conn_settle(c); /* it was written for the socket as it is */
    if (xev__conn_is(c, XEV__CONN_MUTE)) {
        return XEV_EPIPE;
    }
    if (xev__conn_is(c, XEV__CONN_TRANSPORT | XEV__CONN_READING | XEV__CONN_CONNECTING |
                            XEV__CONN_MOVING) ||
        xev__conn_out(c) != NULL || (s->current == c && s->pieces > 0)) {
        return XEV_EBUSY;
    }
    if (s->read_scratch == NULL) {
        s->read_scratch = xev__alloc(&s->loop->options.allocator, XEV__CONN_SCRATCH, 64);
    }
    struct xev__conn_more *m = s->read_scratch != NULL ? xev__conn_more(c) : NULL;
    if (m == NULL || xev__os_set_nonblocking(c->fd, true) < 0) {
        xev__conn_trim(c);
        return XEV_ENOMEM;
    }
    xev__conn_backlog_limit(c, true); /* a transport sends by itself: only the kernel can heed it */
    m->transport = transport;
    m->transport_state = state;
    c->flags |= XEV__CONN_TRANSPORT;
    return 0;
}

/* ---- two pipes ---- */

static int pipes_recv(xev_conn *c, void *state, void *buf, size_t len_bytes) {
    (void)state;
    int rc = xev__os_read(c->fd, buf, len_bytes);
    return rc == 0 ? XEV_EOF : rc;
}

static int pipes_send(xev_conn *c, void *state, const xev_vec *vec, size_t count) {
    (void)state;
    xev__block_write_signals(c->service->loop);
    return xev__os_writev(c->more->write_fd, vec, (uint32_t)count);
}

static xev_cb_action on_write_end_closed(xev_loop *loop, xev_completion *k, int result,
                                         void *userdata) {
    (void)loop;
    (void)result;
    xev__block_put(userdata, k, xev__block_size(sizeof *k));
    return XEV_DISARM;
}

static int pipes_shutdown(xev_conn *c, void *state) {
    (void)state;
    struct xev__conn_more *m = c->more;
    uint32_t bytes;
    xev_completion *k = xev__block_get(c->service, sizeof *k, &bytes);
    if (k == NULL) {
        return 0; /* it is closed with the connection, which needs none */
    }
    xev_completion_zero(k);
    xev_fd_close(m->write_fd, c->service->loop, k, c->service, on_write_end_closed);
    m->write_fd = XEV_INVALID_FD;
    return 0;
}

static const xev_conn_transport pipes = {pipes_recv, pipes_send, pipes_shutdown, NULL};

int xev_conn_adopt_pipes(xev_conn_service *s, xev_fd read_fd, xev_fd write_fd, xev_conn **conn) {
    xev__conn_check_service("xev_conn_adopt_pipes", s);
    if (conn != NULL) {
        *conn = NULL;
    }
    if (read_fd < 0 || write_fd < 0) {
        return XEV_EBADF;
    }
    int rc = read_fd == write_fd ? XEV_EINVAL : xev__os_set_nonblocking(write_fd, true);
    xev_conn *c = rc < 0 ? NULL : xev__conn_new(s, &rc);
    if (c == NULL) {
        return rc;
    }
    c->fd = read_fd;
    rc = xev_conn_set_transport(c, &pipes, NULL);
    if (rc < 0) {
        xev__conn_undo(c);
        return rc;
    }
    c->more->write_fd = write_fd;
    xev__conn_due(c, XEV__CONN_OPENING);
    if (conn != NULL) {
        *conn = c;
    }
    return 0;
}
