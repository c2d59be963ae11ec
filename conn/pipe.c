/* Two connections, each reading what the other writes. */
#include "conn/internal.h"

/* Nothing else of c holds it up: neither c's own output, which may wait for a client that sends all
 * it has before it reads, nor slots. */
bool xev__pipe_open(const xev_conn *c) {
    const xev_conn *peer = c->more->peer;
    return !xev__conn_is(c, XEV__CONN_PAUSED) &&
           !xev__conn_is(peer, XEV__CONN_HIGH | XEV__CONN_CONNECTING | XEV__CONN_OPENING);
}

void xev__pipe_data(xev_conn *c, const void *data, size_t len_bytes) {
    xev_conn *peer = c->more->peer;
    assert(xev__conn_is(c, XEV__CONN_PIPED) && peer->more->peer == c);
    if (!xev__pipe_open(c)) {
        (void)xev__conn_keep(c, data, len_bytes);
        return;
    }
    xev__conn_settle(peer);
    if (xev__conn_is(peer, XEV__CONN_MUTE)) {
        /* The program has ended the peer's output. The sender must not believe that this was
         * delivered, so both are reset. */
        xev__conn_close(c, XEV_CONN_PIPE_BROKEN, XEV_EPIPE);
        return;
    }
    /* The high mark bounds it, and not queued_max_bytes: who has sent it cannot take it back. Where
     * it breaks the peer, it breaks c. */
    (void)xev__conn_write_through(peer, data, len_bytes);
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

static void join_to(xev_conn *c, xev_conn *peer) {
    /* Its end is to be told again, to the peer. A drain now ends it as it ends pipes. */
    xev__conn_clear(c, XEV__CONN_EOF_TOLD | XEV__CONN_DRAINING);
    c->flags |= XEV__CONN_PIPED;
    c->more->peer = peer;
    c->more->need = 0;
    c->more->drain_waits = false;
    xev__conn_due(c, XEV__CONN_PUMP);
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
    join_to(a, b);
    join_to(b, a);
    return 0;
}
