/* Two connections, each reading what the other writes. */
#include "conn/internal.h"

bool xev__pipe_open(const xev_conn *c) {
    const xev_conn *peer = c->more->peer;
    return !xev__conn_is(peer, XEV__CONN_HIGH | XEV__CONN_CONNECTING | XEV__CONN_OPENING);
}

void xev__pipe_data(xev_conn *c, const void *data, size_t len_bytes) {
    xev_conn *peer = c->more->peer;
    assert(xev__conn_is(c, XEV__CONN_PIPED) && peer->more->peer == c);
    if (!xev__pipe_open(c)) {
        (void)xev__conn_keep(c, data, len_bytes);
        return;
    }
    (void)xev_conn_write(peer, data, len_bytes); /* where that breaks the peer, it breaks c */
}

void xev__pipe_ended(xev_conn *c) { xev_conn_end_output(c->more->peer); }

void xev__pipe_break(xev_conn *c, xev_conn_reason reason, int code) {
    xev_conn *peer = c->more->peer;
    assert(peer->more->peer == c);
    xev__conn_clear(c, XEV__CONN_PIPED);
    c->more->peer = NULL;
    if (reason == XEV_CONN_ENDED && xev__conn_is(peer, XEV__CONN_EOF_TOLD)) {
        /* c has both ends. The peer's output may still be on its way; nothing is read for it. */
        xev__conn_clear(peer, XEV__CONN_PIPED);
        peer->more->peer = NULL;
        return;
    }
    xev__conn_clear(peer, XEV__CONN_PIPED);
    peer->more->peer = NULL;
    xev__conn_close(peer, XEV_CONN_PIPE_BROKEN, code);
}

int xev_conn_pipe(xev_conn *a, xev_conn *b) {
    xev__conn_check_own("xev_conn_pipe", a);
    xev__conn_check_own("xev_conn_pipe", b);
    if (a == b || a->service->loop != b->service->loop) {
        return XEV_EINVAL;
    }
    if (xev__conn_is(a, XEV__CONN_PIPED | XEV__CONN_MOVING) ||
        xev__conn_is(b, XEV__CONN_PIPED | XEV__CONN_MOVING)) {
        return XEV_EBUSY;
    }
    if (xev__conn_is(a, XEV__CONN_MUTE | XEV__CONN_FINISHING) ||
        xev__conn_is(b, XEV__CONN_MUTE | XEV__CONN_FINISHING)) {
        return XEV_EPIPE;
    }
    if (xev__conn_more(a) == NULL || xev__conn_more(b) == NULL) {
        xev__conn_trim(a);
        return XEV_ENOMEM;
    }
    a->flags |= XEV__CONN_PIPED;
    b->flags |= XEV__CONN_PIPED;
    a->more->peer = b;
    b->more->peer = a;
    a->more->need = b->more->need = 0;
    xev__conn_due(a, XEV__CONN_PUMP);
    xev__conn_due(b, XEV__CONN_PUMP);
    return 0;
}
