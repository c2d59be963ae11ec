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
    w->fd = w->file = XEV_INVALID_FD;
    w->loop = NULL;
    int rc = xev__os_fs_event_open(path, &w->fd, &w->file, w->buffer);
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
    if (!xev__begin(XEV__CALL("xev_fs_event_wait"), loop, c, XEV__OP_READ, userdata, cb)) {
        return;
    }
    c->fd = fd;
    c->flags |= XEV__F_CHANGES;
    c->arg.io.buf = w->buffer;
    c->arg.io.len_bytes = sizeof w->buffer;
    c->arg.io.aux = 0;
    xev__transfer_start(loop, c);
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

/* The descriptor that w->fd needs, if there is one. */
static void close_file(xev_fs_event *w) {
    if (xev__made_fd(w->fd) != XEV_INVALID_FD && xev__made_fd(w->file) != XEV_INVALID_FD) {
        (void)xev__os_close(w->file);
    }
    w->file = XEV_INVALID_FD;
}

void xev_fs_event_close(xev_fs_event *w, xev_loop *loop, xev_completion *c, void *userdata,
                        xev_cb cb) {
    if (w == NULL) {
        xev__misuse("xev_fs_event_close", "watcher is null", w);
    }
    close_file(w);
    xev__close(XEV__CALL("xev_fs_event_close"), loop, c, xev__made_fd(w->fd), userdata, cb);
    w->fd = XEV_INVALID_FD;
}

int xev_fs_event_close_now(xev_fs_event *w) {
    if (w == NULL) {
        xev__misuse("xev_fs_event_close_now", "watcher is null", w);
    }
    close_file(w);
    xev_fd fd = xev__made_fd(w->fd);
    w->fd = XEV_INVALID_FD;
    return xev__os_close(fd);
}
