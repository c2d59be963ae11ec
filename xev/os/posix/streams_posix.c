/* POSIX: the standard streams of a process that is to be started. */
#include <unistd.h>

#include "xev/os/descriptor.h"
#include "xev/os/posix/streams.h"

void xev__sys_close_streams(const int fds[3]) {
    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
}

/* What each stream of the child is: source[i]. A pipe has an end for us and one for the child. */
int xev__sys_choose_streams(const xev_process_options *o, int source[3], int ours[3],
                            int theirs[3]) {
    /* Look which streams are closed before a pipe may take such a number. */
    for (int i = 0; i < 3; i++) {
        source[i] = xev__os_is_open(i) ? i : XEV__STREAM_CLOSED;
    }
    for (int i = 0; i < 3; i++) {
        int ends[2], rc;
        switch (o->stdio[i].kind) {
        case XEV_STDIO_PIPE:
            rc = xev__os_pipe(&ends[0], &ends[1]);
            if (rc < 0) {
                return rc;
            }
            ours[i] = ends[i == 0 ? 1 : 0];
            theirs[i] = source[i] = ends[i == 0 ? 0 : 1];
            break;
        case XEV_STDIO_FD:
            source[i] = o->stdio[i].fd;
            break;
        case XEV_STDIO_INHERIT:
            break;
        default:
            source[i] = XEV__STREAM_NULL;
        }
    }
    return 0;
}
