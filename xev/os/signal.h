/* Internal: the system's calls for signals. Codes are XEV_E*. */
#ifndef XEV_OS_SIGNAL_H
#define XEV_OS_SIGNAL_H

#include <stdbool.h>

#define XEV__SIGNALS 64

/* Whether a handler for it may be installed and return. */
bool xev__os_signal_valid(int number);
enum xev__disposition { XEV__DEFAULT, XEV__IGNORED, XEV__HANDLED };
enum xev__disposition xev__os_signal_disposition(int number);
/* Install handler and put the disposition aside; 0 or a code. And back, if handler is still there.
 * Both with the lock held. */
int xev__os_signal_catch(int number, void (*handler)(int));
void xev__os_signal_restore(int number, void (*handler)(int));
/* A lock during which the thread that holds it runs no handler. */
void xev__os_signals_lock(void);
void xev__os_signals_unlock(void);
/* In a forked child: whoever held it, it is free. */
void xev__os_signals_forked(void);

#endif
