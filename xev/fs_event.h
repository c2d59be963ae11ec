/* Changes of a file, or of the entries of a folder.
 *
 *     xev_fs_event w;
 *     if (xev_fs_event_init(&w, "/etc/app") == 0) xev_fs_event_wait(&w, &loop, &c, &w, on_change);
 *     (in on_change)
 *     size_t at_bytes = 0;
 *     for (xev_fs_change change; xev_fs_event_next(&w, result, &at_bytes, &change);) ...
 *
 * The watcher of a folder reports changes of its entries, but not those in folders below. The
 * watcher of a file follows the file and not its name: if another file is renamed over it, as
 * editors do, it reports the end of the old one. To follow a name, watch its folder.
 *
 * A file that is removed or replaced while a program has it open exists until the last program
 * closes it. Its watcher then reports XEV_FS_ATTRIBUTES when the name goes (the file has one link
 * less), and XEV_FS_REMOVED and XEV_FS_ENDED at the last close, which may never come. The watcher
 * of the folder reports XEV_FS_REMOVED when the name goes.
 *
 * Several changes of one kind to one name, one after the other, may be reported as one. Man page:
 * inotify(7).
 *
 * On macOS and the BSDs (kqueue) a watcher tells what kind of thing has happened to the watched
 * file or folder itself, each kind once since it was last asked, in no order, and never a name or a
 * cookie. Of a folder: XEV_FS_CHANGED with XEV_FS_FOLDER, when entries came, went or were renamed
 * (a change of an entry's contents is none of the folder's), so read the folder again. The watcher
 * keeps the file open, so it needs the right to read it. XEV_FS_REMOVED and XEV_FS_ENDED come with
 * the end of the last name. On WASI: XEV_ENOTSUP.
 */
#ifndef XEV_FS_EVENT_H
#define XEV_FS_EVENT_H

#include "xev/loop.h"

/* What happened; any combination. */
enum xev_fs_change_kind {
    XEV_FS_CHANGED = 1,    /* contents */
    XEV_FS_ATTRIBUTES = 2, /* mode, owner, times, number of links */
    XEV_FS_CREATED = 4,    /* with RENAMED: moved to this place */
    XEV_FS_REMOVED = 8,    /* with RENAMED: moved away from this place */
    /* alone: the watched file or folder itself was moved; it is still watched */
    XEV_FS_RENAMED = 16,
    /* too many changes: some were lost, so read the folder or file again */
    XEV_FS_OVERFLOW = 32,
    /* the last change: the watched file or folder is gone; a wait after it never ends */
    XEV_FS_ENDED = 64,
    XEV_FS_FOLDER = 128, /* the change is one of a folder */
};

typedef struct xev_fs_change {
    uint32_t kind; /* XEV_FS_* */
    /* the same number for both sides of one move, if both are watched; else 0 */
    uint32_t cookie;
    /* name in the folder; "" for the watched one itself; valid until the next wait */
    const char *name;
} xev_fs_change;

/* Private, except that fd may be read. xev_fs_event_init fills it in. It stays at one address while
 * a wait is active. */
typedef struct xev_fs_event {
    xev_fd fd;
    xev_fd file;          /* another that fd depends on, or XEV_INVALID_FD */
    xev_loop *loop;       /* that a wait was submitted to, or NULL */
    uint64_t buffer[512]; /* events as the kernel writes them */
} xev_fs_event;

XEV_BEGIN_DECLS

/* Watch a file or a folder from now on; of a symbolic link, the file that it points to. Changes
 * before the first wait are kept. 0, or XEV_ENOENT, XEV_EACCES, XEV_ENOSPC (too many watches),
 * XEV_EMFILE (too many descriptors, or too many inotify instances of this user: each watcher is
 * one, and fs.inotify.max_user_instances is 128 as a rule; with kqueue each takes two descriptors).
 * After an error w->fd is XEV_INVALID_FD, and there is nothing to close. Any thread. */
XEV_NODISCARD int xev_fs_event_init(xev_fs_event *w, const char *path);

/* Wait for changes. Result: > 0, and xev_fs_event_next gives the changes one by one. XEV_REARM
 * waits for more. Changes that the callback has not read are lost when the next wait begins. Loop's
 * thread. */
void xev_fs_event_wait(xev_fs_event *w, xev_loop *loop, xev_completion *c, void *userdata,
                       xev_cb cb);

/* In the callback of a wait: the changes one by one, in their order. result: that of the callback.
 * *at_bytes: 0 at first; each call moves it on. Returns false when there are no more. change->name
 * points into the watcher. Loop's thread. */
bool xev_fs_event_next(const xev_fs_event *w, int result, size_t *at_bytes, xev_fs_change *change);

/* Stop watching, as xev_tcp_close does; w may be freed in cb. close_now: without a loop, if no wait
 * was ever submitted; 0 or XEV_EBADF, any thread. */
void xev_fs_event_close(xev_fs_event *w, xev_loop *loop, xev_completion *c, void *userdata,
                        xev_cb cb);
int xev_fs_event_close_now(xev_fs_event *w);

XEV_END_DECLS

#endif
