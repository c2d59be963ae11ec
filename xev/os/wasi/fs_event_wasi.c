/* WASI: nothing tells of changes of files. */
#include "xev/error.h"
#include "xev/os/fs_event.h"

int xev__os_fs_event_open(const char *path, xev_fd *fd, xev_fd *file, void *buffer) {
    (void)file;
    (void)buffer;
    (void)path;
    *fd = XEV_INVALID_FD;
    return XEV_ENOTSUP;
}

int xev__os_fs_event_read(xev_fd fd, void *buffer, size_t len_bytes) {
    (void)fd;
    (void)buffer;
    (void)len_bytes;
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
