/* Changes of files: the watcher calls. The kernel reports changes on a descriptor, which is read
 * like any other. */
#include "xev/fs_event.h"

#include <assert.h>

#include "xev/fd.h"
#include "xev/os/descriptor.h"
#include "xev/os/fs_event.h"
#include "xev/watchers/watchers.h"

int xev_fs_event_init(xev_fs_event *w, const char *path) {
    if (w == NULL || path == NULL) {
        xev__misuse("xev_fs_event_init", "watcher or path is null", w);
    }
    w->fd = XEV_INVALID_FD;
    w->loop = NULL;
    int rc = xev__os_fs_event_open(path, &w->fd, w->buffer);
    assert((rc == 0) == (w->fd != XEV_INVALID_FD));
    return rc;
}

void xev_fs_event_wait(xev_fs_event *w, xev_loop *loop, xev_completion *c, void *userdata,
                       xev_cb cb) {
    if (w == NULL) {
        xev__misuse("xev_fs_event_wait", "watcher is null", w);
    }
    bool is_first = w->loop != loop;
    xev_fd fd = xev__made_fd(w->fd);
    w->loop = loop;
    if (loop != NULL && fd >= 0 && is_first) {
        xev__forget_stale(loop, fd);
    }
    xev__transfer(XEV__CALL("xev_fs_event_wait"), XEV__OP_READ, fd, loop, c, w->buffer,
                  sizeof w->buffer, userdata, cb);
}

bool xev_fs_event_next(const xev_fs_event *w, int result, size_t *at, xev_fs_change *change) {
    if (w == NULL || at == NULL || change == NULL) {
        xev__misuse("xev_fs_event_next", "watcher, position or change is null", w);
    }
    xev__check_thread_of("xev_fs_event_next", w->loop);
    size_t len = result > 0 ? (size_t)result : 0;
    len = len < sizeof w->buffer ? len : sizeof w->buffer;
    bool found = xev__os_fs_event_next(w->buffer, len, at, change);
    assert(!found || *at <= len);
    return found;
}

void xev_fs_event_close(xev_fs_event *w, xev_loop *loop, xev_completion *c, void *userdata,
                        xev_cb cb) {
    if (w == NULL) {
        xev__misuse("xev_fs_event_close", "watcher is null", w);
    }
    xev__close(XEV__CALL("xev_fs_event_close"), loop, c, xev__made_fd(w->fd), userdata, cb);
    w->fd = XEV_INVALID_FD;
}

int xev_fs_event_close_now(xev_fs_event *w) {
    if (w == NULL) {
        xev__misuse("xev_fs_event_close_now", "watcher is null", w);
    }
    xev_fd fd = xev__made_fd(w->fd);
    w->fd = XEV_INVALID_FD;
    return xev__os_close(fd);
}
