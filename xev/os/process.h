/* Internal: the operating system's calls for processes, signals and changes of files. As os.h. */
#ifndef XEV_OS_PROCESS_H
#define XEV_OS_PROCESS_H

#include "xev/fs_event.h"
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

#define XEV__SIGNALS 64

/* Whether a handler for it may be installed and return. */
bool xev__os_signal_valid(int number);
/* Install handler and put the disposition aside; 0 or a code. And back, if handler is still there.
 * Both with the lock held. */
int xev__os_signal_catch(int number, void (*handler)(int));
void xev__os_signal_restore(int number, void (*handler)(int));
/* A lock during which the thread that holds it runs no handler. */
void xev__os_signals_lock(void);
void xev__os_signals_unlock(void);
/* In a forked child: whoever held it, it is free. */
void xev__os_signals_forked(void);

int xev__os_fs_event_open(const char *path, xev_fd *fd);
bool xev__os_fs_event_next(const void *buffer, size_t len_bytes, size_t *at, xev_fs_change *change);

#endif
