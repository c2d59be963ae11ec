/* Internal: the system's calls for child processes. Codes are XEV_E*. */
#ifndef XEV_OS_PROCESS_H
#define XEV_OS_PROCESS_H

#include "xev/process.h"

int xev__os_process_spawn(xev_process *p, const xev_process_options *o);
int xev__os_process_open(int32_t pid, xev_fd *fd);
/* 0: a child, running or ended; XEV_ECHILD, XEV_EBADF. Collects nothing. */
int xev__os_process_check(xev_fd fd);
/* A wait's result, or XEV_EAGAIN: it is running. */
int xev__os_process_wait(xev_fd fd);
int xev__os_process_kill(xev_fd fd, int signal_number);
/* In a forked child: whatever other threads were at, it may spawn. */
void xev__os_process_forked(void);
/* Takes fd, and collects the child when it has ended, if it is one that was not collected. */
int xev__os_process_give_up(xev_fd fd);

#endif
