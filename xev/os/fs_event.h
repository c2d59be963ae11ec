/* Internal: the system's calls for changes of files. Codes are XEV_E*. */
#ifndef XEV_OS_FS_EVENT_H
#define XEV_OS_FS_EVENT_H

#include "xev/fs_event.h"

/* Watch path, by a new descriptor. *file: another one, which the first needs and which is closed
 * with it; untouched where there is no need. buffer: where waits will put what is read; a system
 * may keep something there. */
int xev__os_fs_event_open(const char *path, xev_fd *fd, xev_fd *file, void *buffer);
/* What the descriptor has to report, without waiting: bytes, or a code. Then the change at *at of
 * that. */
int xev__os_fs_event_read(xev_fd fd, void *buffer, size_t len_bytes);
bool xev__os_fs_event_next(const void *buffer, size_t len_bytes, size_t *at, xev_fs_change *change);

#endif
