/* Linux: changes of files, by inotify. Each watcher has an instance of its own. So a watcher reads
 * its own changes only, an overflow of one watcher's queue is not another's, and the close of the
 * descriptor ends everything. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "xev/error.h"
#include "xev/os/descriptor.h"
#include "xev/os/fs_event.h"
#include "xev/os/posix/posix.h"

static const struct {
    uint32_t theirs, ours;
} kinds[] = {
    {IN_MODIFY, XEV_FS_CHANGED},
    {IN_ATTRIB, XEV_FS_ATTRIBUTES},
    {IN_CREATE, XEV_FS_CREATED},
    {IN_DELETE | IN_DELETE_SELF | IN_UNMOUNT, XEV_FS_REMOVED},
    {IN_MOVED_FROM, XEV_FS_REMOVED | XEV_FS_RENAMED},
    {IN_MOVED_TO, XEV_FS_CREATED | XEV_FS_RENAMED},
    {IN_MOVE_SELF, XEV_FS_RENAMED},
    {IN_Q_OVERFLOW, XEV_FS_OVERFLOW},
    {IN_IGNORED, XEV_FS_ENDED},
    {IN_ISDIR, XEV_FS_FOLDER},
};

_Static_assert(sizeof(((xev_fs_event *)0)->buffer) > sizeof(struct inotify_event) + 256,
               "the buffer has room for one event, or read(2) would fail");

int xev__os_fs_event_open(const char *path, xev_fd *fd, xev_fd *file, void *buffer) {
    (void)file;
    (void)buffer;
    assert(path != NULL);
    /* Non-blocking: io_uring then polls the descriptor. A blocking one would keep a thread of the
     * kernel in read(2). */
    int inotify = xev__sys_new_fd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (inotify < 0) {
        return inotify;
    }
    uint32_t mask = IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVED_FROM |
                    IN_MOVED_TO | IN_MOVE_SELF;
    if (inotify_add_watch(inotify, path, mask) < 0) {
        int rc = -errno;
        (void)close(inotify);
        return rc;
    }
    *fd = inotify;
    return 0;
}

int xev__os_fs_event_read(xev_fd fd, void *buffer, size_t len_bytes) {
    return xev__os_read(fd, buffer, len_bytes);
}

bool xev__os_fs_event_next(const void *buffer, size_t len_bytes, size_t *at,
                           xev_fs_change *change) {
    const char *bytes = buffer;
    struct inotify_event event;
    if (*at > len_bytes || len_bytes - *at < sizeof event) {
        return false;
    }
    memcpy(&event, bytes + *at, sizeof event);
    if (event.len > len_bytes - *at - sizeof event) {
        return false;
    }
    *change = (xev_fs_change){.cookie = event.cookie, .name = ""};
    if (event.len > 0) {
        change->name = bytes + *at + sizeof event; /* ended by a zero */
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        change->kind |= (event.mask & kinds[i].theirs) != 0 ? kinds[i].ours : 0;
    }
    *at += sizeof event + event.len;
    assert(*at <= len_bytes);
    return true;
}
