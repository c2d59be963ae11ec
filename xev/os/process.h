/* Internal: the system's calls for child processes. Codes are XEV_E*. */
#ifndef XEV_OS_PROCESS_H
#define XEV_OS_PROCESS_H

#include "xev/process.h"

int xev__os_process_spawn(xev_process *p, const xev_process_options *o);
int xev__os_process_open(int32_t pid, xev_fd *fd);
/* 0: fd is a child of this process, running or ended. XEV_ECHILD: it is another process's child.
 * XEV_EBADF. The child is not collected. */
int xev__os_process_check(xev_fd fd);
/* Collect the child, and tell how it ended as xev_process_wait does. XEV_EAGAIN: it is running. */
int xev__os_process_wait(xev_fd fd);
int xev__os_process_kill(xev_fd fd, int signal_number);
/* Likewise to the group that the process leads; pid is its number. */
int xev__os_process_kill_group(xev_fd fd, int32_t pid, int signal_number);
/* For a forked child: its copies of the locks here may be held by threads that it does not have.
 * Afterwards it may spawn. */
void xev__os_process_forked(void);
/* Close fd. Where it is a child that was not collected, that is done when the child has ended, by a
 * later call of this function or of spawn. */
int xev__os_process_give_up(xev_fd fd);

#endif
