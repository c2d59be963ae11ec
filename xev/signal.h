/* Signals, delivered to any number of loops.
 *
 *     xev_signal hup;
 *     if (xev_signal_init(&hup, SIGHUP) == 0) {
 *         xev_signal_wait(&hup, &loop, &c, userdata, on_hup);   (XEV_REARM: wait for the next)
 *     }
 *
 * From xev_signal_init to xev_signal_deinit (or to the deinit of the loop that waits for it) the
 * signal is caught. It reaches every watcher of its number, in every loop. The disposition that it
 * had (a handler, ignored, or the default) is kept aside by the first watcher of a number, and
 * comes back with the end of the last one, unless the program has set another in between.
 *
 * Several signals since the last callback of a watcher give it one callback; their number and their
 * senders are not known. A signal that comes while nobody waits is remembered, once, so none is
 * missed between two waits.
 *
 * A signal is handled by some thread of the program that does not block it; so one thread must not
 * block it. The handler takes no lock and allocates nothing; if the loop sleeps it writes to the
 * loop's wake descriptor. Interrupted system calls of other threads are restarted (SA_RESTART). Man
 * pages: signal(7), sigaction(2).
 *
 * Children of xev_process_spawn start with the default. After fork the watchers of the child are
 * dead, and its dispositions are those that were kept aside. It may have watchers and loops of its
 * own, and must not run those of its parent.
 */
#ifndef XEV_SIGNAL_H
#define XEV_SIGNAL_H

#include "xev/async.h"

/* Private: an entry in the list of those that catch a signal. */
typedef struct xev__catcher {
    struct xev__catcher *next; /* atomic; catchers of the same number */
    void (*caught)(struct xev__catcher *c);
    int number;
    bool catching; /* guarded by the registry's lock */
} xev__catcher;

/* Private. xev_signal_init fills it in; from then on it stays at one address. */
typedef struct xev_signal {
    xev_watcher async;
    xev__catcher catcher;
} xev_signal;

XEV_BEGIN_DECLS

/* Catch a signal from now on. 0, XEV_ENOMEM, or XEV_EINVAL: no signal has this number, or it cannot
 * be caught (SIGKILL, SIGSTOP), or its handler must not return (SIGSEGV, SIGBUS, SIGFPE, SIGILL).
 * After an error there is nothing to deinitialise. Any thread. */
XEV_NODISCARD int xev_signal_init(xev_signal *s, int signal_number);

/* Catch the signal no longer. A wait that is still active reports XEV_ECANCELED. When this call
 * returns, no handler uses s any more. After the deinit of its loop it does nothing. On the thread
 * of the loop that waited on s; on any thread if none ever did. */
void xev_signal_deinit(xev_signal *s);

/* Wait for the signal; result: its number. XEV_REARM waits for the next. As with xev_async_wait,
 * the first wait binds s to loop, and a second wait at the same time reports XEV_EBUSY. Loop's
 * thread. */
void xev_signal_wait(xev_signal *s, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);

XEV_END_DECLS

#endif
