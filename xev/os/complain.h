/* Internal: how a program that has a bug ends, with a line in the log (xev/log.h) that never waits.
 * A leaf: with the log it needs nothing else of the project.
 *
 * stderr may be a pipe that nobody empties, or a stopped terminal. An ordinary write would then
 * wait for ever, and the one line that says what is wrong would never be followed by the end.
 * Another thread that waits in such a write may hold the lock of stdio, so stdio is not used
 * either. */
#ifndef XEV_OS_COMPLAIN_H
#define XEV_OS_COMPLAIN_H

#include <stddef.h>

#include "xev/platform.h"

/* One line in the log, of the kind "misuse", without a limit. errno stays as it is. Any thread. */
XEV_PRINTF(1, 2) void xev__complain(const char *format, ...);

/* Write a line, with its line feed, to stderr. Where that has no room for it at once, nothing is
 * written. Raises no SIGPIPE, and changes no flag of the descriptor. Any thread, any handler. */
void xev__put_line(const char *text, size_t len_bytes);

/* A condition that only a bug can make false. It is checked in every build, so it must be cheap: a
 * comparison of values that are at hand, not on the path of every byte or operation. Use it where a
 * false condition would corrupt memory, and assert() everywhere else. A program in which it is
 * false prints file, line and condition, and aborts. */
#define XEV_ASSERT(condition)                                                                      \
    ((condition) ? (void)0 : xev__assert_failed(__FILE__, __LINE__, #condition))

_Noreturn void xev__assert_failed(const char *file, int line, const char *condition);

#endif
