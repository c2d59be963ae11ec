/* Changes of a file, or of what is in a folder.
 *
 * A folder's watcher reports its entries, not those of folders below. A file's watcher follows the
 * file, not its name: of a file that is replaced by renaming another over it (editors do) it sees
 * the old one go. To follow a name, watch the folder.
 *
 * A file that is removed or replaced while a program has it open exists until the last of them
 * closes it. Its watcher then reports XEV_FS_ATTRIBUTES when the name goes (one link less), and
 * XEV_FS_REMOVED and XEV_FS_ENDED at the last close, which may be never. The watcher of the folder
 * reports XEV_FS_REMOVED when the name goes.
 *
 * Several changes of one kind to one name, one after the other, may be reported as one.
 */
#ifndef XEV_FS_EVENT_H
#define XEV_FS_EVENT_H

#include "xev/loop.h"

/* What happened; any combination. */
enum xev_fs_change_kind {
    XEV_FS_CHANGED = 1,    /* contents */
    XEV_FS_ATTRIBUTES = 2, /* mode, owner, times, number of links */
    XEV_FS_CREATED = 4,    /* with RENAMED: moved to here */
    XEV_FS_REMOVED = 8,    /* with RENAMED: moved away from here */
    XEV_FS_RENAMED = 16,   /* alone: what is watched has itself been moved; it is still watched */
    XEV_FS_OVERFLOW = 32,  /* changes were lost, there were too many: look for yourself */
    XEV_FS_ENDED = 64,     /* the last one: what was watched is gone; a wait after it has no end */
    XEV_FS_FOLDER = 128,   /* it is about a folder */
};

typedef struct xev_fs_change {
    uint32_t kind;    /* XEV_FS_* */
    uint32_t cookie;  /* the same for the two sides of one move, if both are watched; else 0 */
    const char *name; /* in the folder; "" for what is watched itself. Until the next wait. */
} xev_fs_change;

/* Private, but for reading fd. Uninitialised memory until xev_fs_event_init; then it stays at one
 * address while a wait is active. */
typedef struct xev_fs_event {
    xev_fd fd;
    bool waited;          /* since init */
    uint64_t buffer[512]; /* as the kernel fills it */
} xev_fs_event;

XEV_BEGIN_DECLS

/* Watch a file or a folder (a link: what it points to) from now on; changes before the first wait
 * are kept. 0 or XEV_ENOENT, XEV_EACCES, XEV_ENOSPC (too many watches), XEV_EMFILE (descriptors, or
 * the user's inotify instances, of which each watcher is one: fs.inotify.max_user_instances, 128 as
 * a rule). On failure fd is XEV_INVALID_FD and nothing needs closing. Any thread. */
XEV_NODISCARD int xev_fs_event_init(xev_fs_event *w, const char *path);

/* Wait for changes; result > 0: there are some, see xev_fs_event_next. XEV_REARM waits on. What the
 * callback has not looked at when the next wait begins is lost. Loop's thread. */
void xev_fs_event_wait(xev_fs_event *w, xev_loop *loop, xev_completion *c, void *userdata,
                       xev_cb cb);

/* In the callback, the changes one by one, in their order. result: the callback's; *at: 0 at first.
 * False: no more. change->name is in the watcher. Loop's thread.
 *
 *     size_t at = 0;
 *     for (xev_fs_change change; xev_fs_event_next(w, result, &at, &change);) ...
 */
bool xev_fs_event_next(const xev_fs_event *w, int result, size_t *at_bytes, xev_fs_change *change);

/* Stop watching. As xev_tcp_close; w may go when cb is called. And without a loop, if nothing was
 * ever submitted: 0 or XEV_EBADF. */
void xev_fs_event_close(xev_fs_event *w, xev_loop *loop, xev_completion *c, void *userdata,
                        xev_cb cb);
int xev_fs_event_close_now(xev_fs_event *w);

XEV_END_DECLS

#endif
