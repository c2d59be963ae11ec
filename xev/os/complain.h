/* Internal: a line on stderr that never waits. A leaf: nothing else of the project is needed.
 *
 * stderr may be a pipe that nobody empties or a terminal that is stopped. A write there would wait
 * for ever, in the one place that is to say what is wrong; and stdio's lock may be held by a thread
 * that waits there already. */
#ifndef XEV_OS_COMPLAIN_H
#define XEV_OS_COMPLAIN_H

#include "xev/platform.h"

/* Print one line of up to 511 bytes, or nothing where it has no room at once. Raises no SIGPIPE,
 * changes no flag of the descriptor. Any thread. */
XEV_PRINTF(1, 2) void xev__complain(const char *format, ...);

#endif
