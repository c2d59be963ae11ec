/* macOS and the BSDs: changes of files, by EVFILT_VNODE.
 *
 * A watcher has a descriptor of the file, and a kqueue with EVFILT_VNODE on it: that becomes
 * readable when something has happened, and any loop can wait for it. The kernel adds up what
 * happens until it is asked. It says what kind of thing has happened to the file or the folder
 * itself, and not how often, in which order, or to which entry of the folder.
 *
 * What is read from a watcher is a row of XEV_FS_*, in the order in which they are reported. */
#include <sys/types.h>

#include <sys/event.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xev/error.h"
#include "xev/os/descriptor.h"
#include "xev/os/fs_event.h"
#include "xev/os/posix/posix.h"

#if defined(O_EVTONLY)
#define OPEN_TO_WATCH O_EVTONLY /* macOS: it does not hold up the end of a mount */
#else
#define OPEN_TO_WATCH O_RDONLY
#endif

static const struct {
    uint32_t theirs, ours;
} kinds[] = {
    {NOTE_WRITE | NOTE_EXTEND, XEV_FS_CHANGED},
    {NOTE_ATTRIB | NOTE_LINK, XEV_FS_ATTRIBUTES},
    {NOTE_RENAME, XEV_FS_RENAMED},
    {NOTE_DELETE | NOTE_REVOKE, XEV_FS_REMOVED},
};

static int change_watch(int kq, uintptr_t file, unsigned flags) {
    struct kevent ev = {0};
    ev.ident = file;
    ev.filter = EVFILT_VNODE;
    ev.flags = (__typeof__(ev.flags))flags;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        ev.fflags |= kinds[i].theirs;
    }
    return kevent(kq, &ev, 1, NULL, 0, NULL) < 0 ? -errno : 0;
}

int xev__os_fs_event_open(const char *path, xev_fd *fd, xev_fd *file, void *buffer) {
    (void)buffer;
    assert(path != NULL);
    /* Non-blocking: the open of a FIFO would wait for a writer. */
    int watched = xev__sys_open(path, OPEN_TO_WATCH | O_NONBLOCK | O_CLOEXEC, 0);
    if (watched < 0) {
        return watched;
    }
    int kq = kqueue();
    kq = xev__os_above_std(kq < 0 ? -errno : kq);
    int rc = kq < 0 ? kq : xev__os_set_cloexec(kq);
    rc = rc == 0 ? change_watch(kq, (uintptr_t)watched, EV_ADD | EV_CLEAR) : rc;
    if (rc < 0) {
        (void)(kq < 0 || close(kq));
        (void)close(watched);
        return rc;
    }
    *fd = kq;
    *file = watched;
    return 0;
}

/* A file may have other names left; a folder has one. */
static bool is_gone(const struct kevent *ev, bool *is_folder) {
    struct stat st;
    bool known = fstat((int)ev->ident, &st) == 0;
    *is_folder = known && S_ISDIR(st.st_mode);
    return (ev->fflags & NOTE_REVOKE) != 0 ||
           ((ev->fflags & NOTE_DELETE) != 0 && (!known || *is_folder || st.st_nlink == 0));
}

int xev__os_fs_event_read(xev_fd fd, void *buffer, size_t len_bytes) {
    const struct timespec at_once = {0};
    struct kevent ev;
    int n;
    do {
        n = kevent(fd, NULL, 0, &ev, 1, &at_once);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        return n < 0 ? -errno : XEV_EAGAIN;
    }
    bool is_folder, gone = is_gone(&ev, &is_folder);
    unsigned notes = ev.fflags;
    if (!gone && (notes & NOTE_DELETE) != 0) {
        notes = (notes & ~(unsigned)NOTE_DELETE) | NOTE_LINK;
    }
    uint32_t told[sizeof kinds / sizeof kinds[0] + 1];
    size_t count = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if ((notes & kinds[i].theirs) != 0) {
            told[count++] = kinds[i].ours | (is_folder ? XEV_FS_FOLDER : 0u);
        }
    }
    if (gone) {
        told[count++] = XEV_FS_ENDED;
        (void)change_watch(fd, ev.ident, EV_DELETE);
    }
    assert(len_bytes >= sizeof told);
    (void)len_bytes;
    memcpy(buffer, told, count * sizeof told[0]);
    return count > 0 ? (int)(count * sizeof told[0]) : XEV_EAGAIN;
}

bool xev__os_fs_event_next(const void *buffer, size_t len_bytes, size_t *at,
                           xev_fs_change *change) {
    *change = (xev_fs_change){.name = ""};
    if (*at > len_bytes || len_bytes - *at < sizeof change->kind) {
        return false;
    }
    memcpy(&change->kind, (const char *)buffer + *at, sizeof change->kind);
    *at += sizeof change->kind;
    const uint32_t ours = XEV_FS_CHANGED | XEV_FS_ATTRIBUTES | XEV_FS_RENAMED | XEV_FS_REMOVED |
                          XEV_FS_ENDED | XEV_FS_FOLDER;
    return (change->kind & ~ours) == 0;
}
