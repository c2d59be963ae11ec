/* Signals, delivered to any number of loops.
 *
 * From xev_signal_init to xev_signal_deinit (or the deinit of the loop that waits for it) the
 * signal is caught: it reaches every watcher of its number, in every loop, and its disposition (a
 * handler, ignored, or the default) is put aside. The first watcher of a number puts it aside, the
 * last one to go puts it back, unless the program has set another in between.
 *
 * Coalescing: one or more signals since a watcher's last callback give it one callback; how many
 * they were is not known, nor who sent them. One that comes while nobody waits is remembered, once,
 * so none is missed between two waits.
 *
 * A signal reaches a thread of this program that does not block it; some thread must not. The
 * handler takes no lock and allocates nothing; it writes to the loop's wake descriptor if the loop
 * sleeps. Interrupted system calls of other threads are restarted (SA_RESTART).
 *
 * Children of xev_process_spawn start with the default. After fork, the child's watchers are dead
 * and its dispositions are those that had been put aside; it may have watchers and loops of its
 * own, and must not run those it has inherited.
 */
#ifndef XEV_SIGNAL_H
#define XEV_SIGNAL_H

#include "xev/async.h"

/* Private: one that catches a signal. */
typedef struct xev__catcher {
    struct xev__catcher *next; /* atomic; catchers of the same number */
    void (*caught)(struct xev__catcher *c);
    int number;
    bool catching; /* by the registry's lock */
} xev__catcher;

/* Private. Uninitialised memory until xev_signal_init; then it stays at one address. */
typedef struct xev_signal {
    xev_watcher async;
    xev__catcher catcher;
} xev_signal;

XEV_BEGIN_DECLS

/* Catch a signal from now on. 0 or XEV_ENOMEM, or XEV_EINVAL: not a signal, or one that cannot be
 * caught (SIGKILL, SIGSTOP), or that must not be returned from (SIGSEGV, SIGBUS, SIGFPE, SIGILL).
 * Nothing needs deinit then. Any thread. */
XEV_NODISCARD int xev_signal_init(xev_signal *s, int signal_number);

/* Catch it no longer. On the thread of the loop that waited on s (any thread if none ever did). A
 * waiter that is still there gets XEV_ECANCELED. After the loop's deinit it does nothing. When it
 * returns no handler is in s any more. */
void xev_signal_deinit(xev_signal *s);

/* Wait for the signal once; result: its number. XEV_REARM waits on. Rules as for xev_async_wait:
 * the first wait binds s to loop, and one waiter at a time (a second reports XEV_EBUSY). Loop's
 * thread. */
void xev_signal_wait(xev_signal *s, xev_loop *loop, xev_completion *c, void *userdata, xev_cb cb);

XEV_END_DECLS

#endif
