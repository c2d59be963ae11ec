/* Loaned receive buffers: the loop lends one when data is there, so an idle connection holds none.
 *
 * In the callback of a loaning receive (xev_tcp_recv_loan, xev_tcp_recv_multi) the data stands in a
 * buffer of the loop's. When the callback returns, the loop has it back, unless the callback took
 * it: then it is the caller's until xev_buf_release. When all buffers there may be are taken,
 * receives wait, unharmed, for one to come back.
 */
#ifndef XEV_BUFFER_H
#define XEV_BUFFER_H

#include "xev/loop.h"

typedef struct xev_buf {
    void *data;
    uint32_t len_bytes; /* what was received */
    uint32_t id;        /* private */
} xev_buf;

XEV_BEGIN_DECLS

/* In the callback of a loaning receive with result > 0: the data, result bytes long. Valid until
 * the callback returns. Loop's thread; elsewhere, and without data, misuse. */
const void *xev_buf_data(const xev_loop *loop);

/* There too, once: keep the buffer, which is the caller's from now on. Loop's thread. */
XEV_NODISCARD xev_buf xev_buf_take(xev_loop *loop);

/* Give a taken buffer back, once, to the loop that lent it, before that loop's deinit. Loop's
 * thread. */
void xev_buf_release(xev_loop *loop, xev_buf buf);

XEV_END_DECLS

#endif
