/* Async: wakes a loop from any thread.
 *
 * Notifications coalesce: one or more since the last callback give one callback. One that comes
 * before the wait is remembered, once. While the loop is awake a notify costs one atomic exchange
 * or less and no system call.
 */
#ifndef XEV_ASYNC_H
#define XEV_ASYNC_H

#include "xev/loop.h"

typedef xev_cb xev_async_cb;

/* Private. Uninitialised memory until xev_async_init; then it stays at one address. */
struct xev_watcher {
    void *word;         /* atomic: the bound loop, or NULL; bit 0: notified and not yet seen */
    uint32_t notifiers; /* atomic: threads inside xev_async_notify */
    struct {
        xev_mpsc_node node;
        uintptr_t arrived;
    } inbox;
    xev_completion *waiter;
    xev_completion *due; /* no longer waiters, their callbacks still to run */
    xev_watcher *next, *prev;
    bool remembered; /* notified while nobody waited */
    int32_t result;  /* of its waits: 0, or the number if it is a signal's */
};

XEV_BEGIN_DECLS

/* Make w a watcher that no loop knows, not notified. Any thread; always 0. */
int xev_async_init(xev_watcher *w);

/* On the thread of the loop that waited on w (any thread if none ever did). A waiter that is still
 * there gets XEV_ECANCELED. In its own callback, which must then not wait on: XEV_DISARM. No notify
 * may run at the same time or come later. */
void xev_async_deinit(xev_watcher *w);

/* Wake the waiter. Any thread; always 0. Where the system refuses the wake, the next notify of any
 * watcher of the loop, or a stop, tries again. Everything written before is visible to the
 * callback. Must not race with the watcher's deinit; with its loop's it may, and then does nothing.
 */
int xev_async_notify(xev_watcher *w);

/* Wait for one notification; result 0. XEV_REARM waits on. The first wait binds w to loop for
 * good; one waiter at a time (a second reports XEV_EBUSY). c must be dead. Loop's thread. */
void xev_async_wait(xev_watcher *w, xev_loop *loop, xev_completion *c, void *userdata,
                    xev_async_cb cb);

XEV_END_DECLS

#endif
