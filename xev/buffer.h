/* Loaned receive buffers. The loop lends a buffer when data has arrived, so an idle connection
 * holds none.
 *
 *     xev_tcp_recv_loan(tcp, &loop, &c, userdata, on_data);
 *     (in on_data, result > 0:)  const void *data = xev_buf_data(loop);   (result bytes)
 *
 * In the callback of a receive with a loan (xev_tcp_recv_loan, xev_tcp_recv_multi and those of Unix
 * and UDP sockets) the data is in a buffer of the loop. When the callback returns the loop has the
 * buffer back, unless the callback took it: then the caller has it until xev_buf_release. The
 * options buffer_bytes, buffers and buffers_max of the loop say how large and how many they are.
 * While all of them are taken, receives wait for one to come back; nothing is lost.
 */
#ifndef XEV_BUFFER_H
#define XEV_BUFFER_H

#include "xev/loop.h"

typedef struct xev_buf {
    void *data;
    uint32_t len_bytes; /* bytes received */
    uint32_t id;        /* private */
} xev_buf;

XEV_BEGIN_DECLS

/* The data of the callback that is running, which must be that of a receive with a loan and with
 * result > 0: result bytes, valid until the callback returns. Anywhere else it is misuse. Loop's
 * thread. */
const void *xev_buf_data(const xev_loop *loop);

/* In the same callbacks, at most once: keep the buffer. From now on it is the caller's, until
 * xev_buf_release. Loop's thread. */
XEV_NODISCARD xev_buf xev_buf_take(xev_loop *loop);

/* Give a buffer that was taken back, once, to the loop that lent it, before the deinit of that
 * loop. Loop's thread. */
void xev_buf_release(xev_loop *loop, xev_buf buf);

XEV_END_DECLS

#endif
