/* What a handler wrote goes out with other connections' output, where the loop has joint sends. */
#include "conn/internal.h"

static void on_joint_sent(const struct xev__joint_send *send, int result) {
    xev_conn *c = send->owner;
    xev_conn_service *s = c->service;
    const uint8_t *data = send->data;
    xev__conn_clear(c, XEV__CONN_JOINT);
    s->scratch_joints -= xev__conn_is_copy(s, data);
    xev__conn_reuse_scratch(s);
    if (result == (int)send->len_bytes) {
        s->count.bytes_out += send->len_bytes;
        return;
    }
    if (result < 0 && result != XEV_EAGAIN && result != XEV_EINTR) {
        xev__conn_output_failed(c, result);
        return;
    }
    size_t sent = result > 0 ? (size_t)result : 0;
    s->count.bytes_out += sent;
    (void)xev__conn_queue_rest(c, data + sent, send->len_bytes - sent);
}

bool xev__conn_join(xev_conn *c) {
    xev_conn_service *s = c->service;
    xev_loop *loop = s->loop;
    const uint8_t *data = s->piece[0].base;
    size_t len = s->piece[0].len_bytes;
    bool copied = xev__conn_is_copy(s, data);
    assert(!xev__conn_is(c, XEV__CONN_JOINT) && xev__conn_out(c) == NULL);
    if (!copied && !xev__is_loaned(loop, data)) {
        return false; /* a part of what is kept, which the connection may free */
    }
    struct xev__joint_send send = {c, on_joint_sent, data, (uint32_t)len, c->fd};
    if (!xev__send_joint(loop, &send, !copied)) {
        return false;
    }
    c->flags |= XEV__CONN_JOINT;
    if (copied) {
        s->scratch_joints++;
        s->scratch_from += s->scratch_used;
    }
    s->pieces = s->scratch_used = 0;
    return true;
}
