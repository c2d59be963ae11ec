/* Internal: the system's calls for changes of files. Codes are XEV_E*. */
#ifndef XEV_OS_FS_EVENT_H
#define XEV_OS_FS_EVENT_H

#include "xev/fs_event.h"

/* Watch path, by a new descriptor; then the change at *at of what was read from that. buffer: where
 * waits will put it; a system may keep something there. */
int xev__os_fs_event_open(const char *path, xev_fd *fd, void *buffer);
bool xev__os_fs_event_next(const void *buffer, size_t len_bytes, size_t *at, xev_fs_change *change);

#endif
