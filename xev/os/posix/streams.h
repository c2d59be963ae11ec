/* Internal: the standard streams of a process that is to be started. */
#ifndef XEV_OS_POSIX_STREAMS_H
#define XEV_OS_POSIX_STREAMS_H

#include "xev/process.h"

/* As the source of a stream: /dev/null; no file, so the stream is closed. */
#define XEV__STREAM_NULL (-1)
#define XEV__STREAM_CLOSED (-2)

/* What each stream of the child is: source[i]. A pipe has an end for us and one for the child; the
 * others are left at -1. 0 or a code, with what is open in ours and theirs. */
int xev__sys_choose_streams(const xev_process_options *o, int source[3], int ours[3],
                            int theirs[3]);
/* Close those that are not negative. */
void xev__sys_close_streams(const int fds[3]);

#endif
