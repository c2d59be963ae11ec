/* Internal: the way of a result to its callback, inline for the backends. A server does this for
 * every piece of data that arrives. */
#ifndef XEV_CORE_DELIVER_H
#define XEV_CORE_DELIVER_H

#include "xev/core/core.h"
#include "xev/os/probe.h"

/* As xev__run_callback, with the time that the callback takes. */
xev_cb_action xev__run_callback_timed(xev_loop *loop, xev_completion *c, int result);

static inline xev_cb_action xev__run_callback(xev_loop *loop, xev_completion *c, int result) {
    if ((c->flags & (XEV__F_INTERNAL | XEV__F_STREAM)) == 0) {
        xev__count(&loop->count.callbacks, 1);
    }
    xev__note_call(loop, XEV__CODE(c->callback));
    if (loop->options.time_callbacks) {
        return xev__run_callback_timed(loop, c, result);
    }
    XEV__PROBE3(callback__begin, loop, c, c->callback);
    xev_cb_action action = c->callback(loop, c, result, c->userdata);
    XEV__PROBE2(callback__end, loop, c);
    xev__check_fork(loop);
    return action;
}

/* Deliver a result of a multishot operation that goes on, and whose results are no descriptors. */
static inline void xev__deliver_part(xev_loop *loop, xev_completion *c, int result) {
    assert(c->loop == loop && c->state != XEV__DEAD && (c->flags & XEV__F_MORE) == 0);
    c->flags |= XEV__F_MORE;
    xev_cb_action action = xev__run_callback(loop, c, result);
    c->flags &= (uint16_t)~XEV__F_MORE;
    if (action == XEV_DISARM) {
        (void)xev__stop(loop, c);
    }
}

/* Between these two, a callback has len_bytes of data in the loaned buffer id. */
static inline void xev__lend(xev_loop *loop, uint32_t id, void *data, uint32_t len_bytes) {
    struct xev__buffers *b = loop->buffers;
    assert(loop->loan == NULL && data != NULL);
    loop->loan = data;
    b->taken = false;
    b->current_id = id;
    b->current_len = len_bytes;
}
static inline void xev__lend_no_more(xev_loop *loop) { loop->loan = NULL; }

#endif
