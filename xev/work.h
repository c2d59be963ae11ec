/* Blocking work: a function that runs on the thread pool, and a callback on the loop when it is
 * done.
 *
 *     xev_work_submit(&loop, &c, XEV_LANE_CPU, hash_the_file, job, on_hashed);
 *
 * The loop needs a pool: xev_loop_options.thread_pool.
 */
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

/* Run fn(userdata) on a thread of the loop's pool, in a lane of it (below XEV_LANE_COUNT, else
 * misuse), then call back on the loop. Result: what fn returned (>= 0, or a negative code that the
 * caller chooses). XEV_ENOPOOL: the loop has no pool. XEV_ECANCELED: it was cancelled before a
 * thread began it, or the pool is shut down. XEV_EAGAIN: no thread could be started. What fn wrote
 * is visible to the callback. Submitted inside xev_loop_run, it goes to the pool with all that the
 * turn submits, at the turn's end or 64 at a time: so a callback must not wait for it. Loop's
 * thread. */
void xev_work_submit(xev_loop *loop, xev_completion *c, enum xev_threadpool_lane lane,
                     xev_work_fn fn, void *userdata, xev_cb cb);

XEV_END_DECLS

#endif
