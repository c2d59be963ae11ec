/* Blocking work on the thread pool, completed on the submitting loop. */
#ifndef XEV_WORK_H
#define XEV_WORK_H

#include "xev/loop.h"

/* Private: what a request that embeds a completion (file.h, dns.h) has beside it. */
struct xev__request_link {
    xev_completion *next, *prev; /* among those on the same descriptor */
    uint32_t stop;               /* atomic: asks the thread that runs it to end early */
    bool in_order;               /* one after the other on its descriptor */
    bool makes_fd;               /* its result is a new descriptor */
    int refused;                 /* the code for bad arguments, at each submission, or 0 */
    /* Sets refused at each submission, where the arguments are in memory that may have changed. */
    int (*check)(xev_completion *request);
    /* Set at each submission. NULL: a thread carries it out. Else the loop's thread tries it first,
     * if that needs no waiting: the result, or XEV_EAGAIN and a thread is needed after all. */
    int (*try_now)(xev_completion *request);
    uint32_t try_bytes; /* what try_now may copy */
};

XEV_BEGIN_DECLS

/* Run fn(userdata) on a thread of the loop's pool, in lane (below XEV_LANE_COUNT, else misuse), and
 * then call back on the loop with fn's return value (>= 0, or a negative code of the caller's
 * choice). What fn wrote is visible to the callback. XEV_ENOPOOL: the loop has no pool.
 * XEV_ECANCELED: cancelled while queued, or the pool is shut down. XEV_EAGAIN: no thread could be
 * started. Loop's thread. */
void xev_work_submit(xev_loop *loop, xev_completion *c, enum xev_threadpool_lane lane,
                     xev_work_fn fn, void *userdata, xev_cb cb);

XEV_END_DECLS

#endif
