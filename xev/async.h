/* Async: wakes a loop from any thread.
 *
 *     xev_watcher w;
 *     xev_async_init(&w);
 *     xev_async_wait(&w, &loop, &c, userdata, on_wake);   (on the loop's thread)
 *     xev_async_notify(&w);                               (on any thread: on_wake is called)
 *
 * Several notifications since the last callback give one callback. A notification that comes while
 * nobody waits is remembered, once, and ends the next wait at once. While the loop is awake a
 * notification costs at most one atomic exchange, and no system call.
 */
#ifndef XEV_ASYNC_H
#define XEV_ASYNC_H

#include "xev/loop.h"

typedef xev_cb xev_async_cb;

/* Private. xev_async_init fills it in; from then on it stays at one address. */
struct xev_watcher {
    void *word;         /* atomic: the bound loop, or NULL; bit 0: notified, not yet seen */
    uint32_t notifiers; /* atomic: threads inside xev_async_notify */
    struct {
        xev_mpsc_node node;
        uintptr_t arrived;
    } inbox;
    xev_completion *waiter;
    xev_completion *due; /* waits that have ended and whose callbacks are still to run */
    xev_watcher *next, *prev;
    bool remembered; /* notified while nobody waited */
    int32_t result;  /* of its waits: 0; of a signal its number */
};

XEV_BEGIN_DECLS

/* Make w a watcher that is bound to no loop and not notified. Always 0. Any thread. */
int xev_async_init(xev_watcher *w);

/* End the watcher. A wait that is still active reports XEV_ECANCELED. In the callback of a wait it
 * may be called if that callback returns XEV_DISARM. No call of xev_async_notify may be in progress
 * or come later. On the thread of the loop that waited on w; on any thread if none ever did. */
void xev_async_deinit(xev_watcher *w);

/* End the wait on w, or the next one. Always 0. What the calling thread wrote before is visible to
 * the callback. Any thread. Must not run at the same time as xev_async_deinit of w. It may run at
 * the same time as the deinit of the loop, and then does nothing. Where the system refuses to wake
 * the loop, the next notification of any watcher of that loop, or a stop, tries again. */
int xev_async_notify(xev_watcher *w);

/* Wait for one notification; result 0. XEV_REARM waits for the next. The first wait binds w to loop
 * for good, so later waits are on that loop. One wait at a time: a second reports XEV_EBUSY. c must
 * be dead. Loop's thread. */
void xev_async_wait(xev_watcher *w, xev_loop *loop, xev_completion *c, void *userdata,
                    xev_async_cb cb);

XEV_END_DECLS

#endif
