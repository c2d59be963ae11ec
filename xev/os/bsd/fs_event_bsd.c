/* macOS and the BSDs: changes of files. EVFILT_VNODE says that something has happened to a
 * descriptor's file, and not which entry of a folder has changed. */
#include "xev/error.h"
#include "xev/os/fs_event.h"

int xev__os_fs_event_open(const char *path, xev_fd *fd, void *buffer) {
    (void)buffer;
    (void)path;
    (void)fd;
    return XEV_ENOTSUP;
}

bool xev__os_fs_event_next(const void *buffer, size_t len_bytes, size_t *at,
                           xev_fs_change *change) {
    (void)buffer;
    (void)len_bytes;
    (void)at;
    (void)change;
    return false;
}
