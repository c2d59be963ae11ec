/* Internal: what the core does for the libraries above it, besides the public interface. */
#ifndef XEV_CORE_SUPPORT_H
#define XEV_CORE_SUPPORT_H

#include "xev/signal.h"

/* ---- signals (watchers/signal.c) ---- */

/* Which dispositions a catcher replaces; where it does not, the signal is left as it is. Other
 * catchers of the same number are none: it is caught already, and they share it. */
enum xev__catch_when {
    XEV__CATCH_ALWAYS,
    XEV__CATCH_UNLESS_IGNORED,
    XEV__CATCH_IF_DEFAULT,
};

/* From now on c->caught runs in the signal's handler, on any thread. It may do what a handler may.
 * c->caught is set by the caller; c stays at one address until xev__uncatch. 0 or a code, as of
 * xev_signal_init; then, and where the disposition was left alone, c->catching is false. */
int xev__catch(xev__catcher *c, int signal_number, enum xev__catch_when when);

/* No longer; where it is not caught, nothing. When it returns no handler is in c any more. */
void xev__uncatch(xev__catcher *c);

#endif
