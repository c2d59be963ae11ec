/* A range of a file as a part of the output: sent by the loop's sendfile, in parts, so that the
 * peer's progress is seen. */
#include <limits.h>

#include "conn/internal.h"

#define PART_BYTES (256u * 1024)

int xev_conn_write_file(xev_conn *c, xev_fd file, uint64_t offset_bytes, size_t len_bytes,
                        void *userdata, xev_conn_release_fn release) {
    xev__conn_check_own("xev_conn_write_file", c);
    if (release == NULL) {
        xev__conn_misuse("xev_conn_write_file", "release is null", c);
    }
    xev_conn_service *s = c->service;
    if (xev__conn_is(c, XEV__CONN_MUTE)) {
        return XEV_EPIPE;
    }
    if (file < 0) {
        return XEV_EBADF;
    }
    if (len_bytes == 0 || len_bytes > INT32_MAX || offset_bytes > (uint64_t)INT64_MAX - len_bytes) {
        return XEV_EINVAL;
    }
    if (xev__conn_is(c, XEV__CONN_TRANSPORT)) {
        return XEV_ENOTSUP;
    }
    xev_conn_slot *seg = xev__seg_new(s, XEV__SEG_FILE, 0);
    struct xev__conn_output *out = seg != NULL ? xev__conn_make_output(c) : NULL;
    if (out == NULL || xev__conn_is(c, XEV__CONN_CLOSING)) {
        if (seg != NULL) {
            xev__block_put(s, seg, seg->block_bytes);
        }
        xev__conn_close(c, XEV_CONN_NO_MEMORY, 0); /* unless it is closing */
        return xev__conn_write_error(c);
    }
    seg->file = file;
    seg->offset = offset_bytes;
    seg->len = (uint32_t)len_bytes;
    seg->release = release;
    seg->userdata = userdata;
    if (out->head == NULL) {
        xev__conn_begin_to_wait(c, out);
    }
    xev__conn_append(out, seg);
    xev__conn_due(c, 0); /* the turn's end begins it */
    return 0;
}

static xev_cb_action on_part(xev_loop *loop, xev_completion *k, int result, void *userdata) {
    xev_conn *c = userdata;
    struct xev__conn_output *out = c->more->out;
    (void)loop;
    (void)k;
    assert(out->in_flight && out->file != NULL);
    uint32_t asked = out->flight_bytes;
    if (result == XEV_ECANCELED && xev__conn_is(c, XEV__CONN_MOVING)) {
        asked = (uint32_t)out->file->done_bytes; /* the other loop goes on from there */
        result = (int)asked;
    }
    out->in_flight = false;
    xev__block_put(c->service, out->file, xev__block_size(sizeof *out->file));
    out->file = NULL;
    if (xev__conn_is(c, XEV__CONN_CLOSING)) {
        return XEV_DISARM;
    }
    if (result < 0 || (uint32_t)result < asked) {
        xev__conn_close(c, result == XEV_ECANCELED ? XEV_CONN_LOOP_ENDED : XEV_CONN_FAILED,
                        result < 0 ? result : XEV_EOF);
        return XEV_DISARM;
    }
    assert(out->head->kind == XEV__SEG_FILE);
    out->head->offset += (uint32_t)result;
    out->queued_bytes += (uint32_t)result; /* a file counts in no limit: it takes no memory */
    xev__conn_took(c, (size_t)result);
    xev__conn_push(c);
    return XEV_DISARM;
}

void xev__conn_send_file(xev_conn *c) {
    struct xev__conn_output *out = c->more->out;
    xev_conn_slot *seg = out->head;
    uint32_t bytes;
    assert(!out->in_flight && out->file == NULL && seg->kind == XEV__SEG_FILE);
    uint32_t part = seg->len < PART_BYTES ? seg->len : PART_BYTES;
    uint32_t taken = (uint32_t)xev__conn_backlog_take(c, part);
    if (taken == 0 && xev__conn_backlog_wait(c, &out->send, xev__conn_on_output_sent)) {
        out->in_flight = true;
        out->flight_bytes = 0;
        xev__wheel_sooner(c);
        return;
    }
    out->file = xev__block_get(c->service, sizeof *out->file, &bytes);
    if (out->file == NULL) {
        xev__conn_close(c, XEV_CONN_NO_MEMORY, 0);
        return;
    }
    xev_completion_zero(&out->file->c);
    out->in_flight = true;
    out->flight_bytes = taken > 0 ? taken : part;
    xev__wheel_sooner(c);
    xev_file_sendfile(c->fd, c->service->loop, out->file, seg->file, seg->offset, out->flight_bytes,
                      c, on_part);
}
