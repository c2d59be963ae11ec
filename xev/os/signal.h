/* Internal: the system's calls for signals. Codes are XEV_E*. */
#ifndef XEV_OS_SIGNAL_H
#define XEV_OS_SIGNAL_H

#include <stdbool.h>

#define XEV__SIGNALS 64

/* 0: a handler for the signal can be installed, and may return; XEV_EINVAL; XEV_ENOTSUP: the system
 * has no signals. */
int xev__os_signal_check(int number);
enum xev__disposition { XEV__DEFAULT, XEV__IGNORED, XEV__HANDLED };
enum xev__disposition xev__os_signal_disposition(int number);
/* Install handler, and keep the signal's disposition until now; 0 or a code. And install that
 * disposition again, unless another handler was installed since. The caller holds the lock. */
int xev__os_signal_catch(int number, void (*handler)(int));
void xev__os_signal_restore(int number, void (*handler)(int));
/* A lock. No handler runs in the thread that holds it, or the handler might wait for that lock. */
void xev__os_signals_lock(void);
void xev__os_signals_unlock(void);
/* For a forked child: its copy of the lock may be held by a thread that it does not have. */
void xev__os_signals_forked(void);

#endif
