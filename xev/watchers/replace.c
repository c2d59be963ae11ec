/* Replacing a file: operations of file.h, one after the other. */
#include "xev/replace.h"

#include <stdio.h>
#include <string.h>

#include "xev/os/descriptor.h"
#include "xev/timer.h"
#include "xev/watchers/watchers.h"

enum step {              /* where one is under way; one after the other */
            REMOVE_LEFT, /* what somebody has left beside it; then OPEN, again */
            OPEN,
            WRITE,
            FLUSH,
            CLOSE,
            RENAME,
            OPEN_FOLDER, /* the new file is in its place */
            FLUSH_FOLDER,
            CLOSE_FOLDER,
            GIVE_UP, /* code says why */
            CLOSE_GIVEN_UP,
            REMOVE,
};

static xev_cb_action on_replace_step(xev_loop *loop, xev_completion *c, int result, void *userdata);

static void make_folder_name(char *path) {
    char *slash = strrchr(path, '/');
    if (slash == NULL) {
        strcpy(path, ".");
    } else {
        slash[slash == path] = '\0';
    }
}

static void start_step(xev_replace *r, enum step step) {
    xev_file_req *req = &r->req;
    r->step = (int)step;
    switch (step) {
    case OPEN: /* nobody else's file: not through a link, nor with permissions that it has had */
        xev_file_open(r->loop, req, r->temporary,
                      XEV_OPEN_WRITE | XEV_OPEN_CREATE | XEV_OPEN_EXCLUSIVE, r->mode, r,
                      on_replace_step);
        break;
    case FLUSH:
    case FLUSH_FOLDER:
        xev_file_fsync(r->fd, r->loop, req, r, on_replace_step);
        break;
    case CLOSE:
    case CLOSE_FOLDER:
    case CLOSE_GIVEN_UP: {
        xev_fd fd = r->fd;
        r->fd = XEV_INVALID_FD;
        xev_file_close(fd, r->loop, req, r, on_replace_step);
        break;
    }
    case RENAME:
        xev_file_rename(r->loop, req, r->temporary, r->path, r, on_replace_step);
        break;
    case OPEN_FOLDER:
        make_folder_name(r->temporary);
        xev_file_open(r->loop, req, r->temporary, XEV_OPEN_READ | XEV_OPEN_DIRECTORY, 0, r,
                      on_replace_step);
        break;
    case REMOVE:
    case REMOVE_LEFT:
        xev_file_unlink(r->loop, req, r->temporary, r, on_replace_step);
        break;
    default: /* a report that is due, and waits for the loop only */
        xev_timer_run(NULL, r->loop, &req->c, 0, r, on_replace_step);
        break;
    }
}

/* Some file systems cannot flush a folder. */
static bool is_refusal(int result) {
    return result == XEV_EINVAL || result == XEV_ENOTSUP || result == XEV_EACCES ||
           result == XEV_EBADF;
}

static void tell_result(xev_replace *r, int result) {
    xev__note_call(r->loop, XEV__CODE(r->callback));
    r->callback(r, result, r->userdata);
}

/* After an error, which is in code: what comes after step. */
static void clean_up(xev_replace *r, enum step step) {
    if (r->fd != XEV_INVALID_FD) {
        start_step(r, step >= OPEN_FOLDER && step <= CLOSE_FOLDER ? CLOSE_FOLDER : CLOSE_GIVEN_UP);
    } else if (step == WRITE || step == FLUSH || step == CLOSE || step == RENAME ||
               step == CLOSE_GIVEN_UP) {
        start_step(r, REMOVE);
    } else {
        tell_result(r, r->code);
    }
}

static xev_cb_action on_replace_step(xev_loop *loop, xev_completion *c, int result,
                                     void *userdata) {
    xev_replace *r = userdata;
    enum step step = (enum step)r->step;
    (void)c;
    if (step == FLUSH_FOLDER && is_refusal(result)) {
        result = 0;
    }
    if (step == OPEN && result == XEV_EEXIST && !r->removed && !loop->deinit) {
        r->removed = true;
        start_step(r, REMOVE_LEFT);
        return XEV_DISARM;
    }
    if (step == REMOVE_LEFT && result == XEV_ENOENT) {
        result = 0;
    }
    if (result < 0 && r->code == 0) {
        r->code = result;
    } else if (step == OPEN || step == OPEN_FOLDER) {
        r->fd = result;
    }
    if (loop->deinit) {
        if (r->fd != XEV_INVALID_FD) {
            xev__os_close(r->fd);
        }
        tell_result(r, XEV_ECANCELED);
    } else if (r->code < 0) {
        clean_up(r, step);
    } else if (step == OPEN || step == WRITE || step == CLOSE_FOLDER) {
        tell_result(r, 0);
    } else {
        start_step(r, (enum step)(step + 1));
    }
    return XEV_DISARM;
}

void xev_replace_begin(xev_loop *loop, xev_replace *replace, const char *path, uint32_t mode,
                       void *userdata, xev_replace_fn cb) {
    if (loop == NULL || replace == NULL || path == NULL || cb == NULL) {
        xev__misuse("xev_replace_begin", "loop, replace, path or callback is null", NULL);
    }
    replace->loop = loop;
    replace->callback = cb;
    replace->userdata = userdata;
    replace->path = path;
    replace->fd = XEV_INVALID_FD;
    replace->code = 0;
    replace->mode = mode;
    replace->removed = false;
    if (strlen(path) >= XEV_REPLACE_PATH_MAX) {
        replace->code = XEV_ENAMETOOLONG;
        start_step(replace, GIVE_UP);
        return;
    }
    (void)snprintf(replace->temporary, sizeof replace->temporary, "%s.tmp", path);
    start_step(replace, OPEN);
}

void xev_replace_write(xev_replace *replace, const void *data, size_t len_bytes) {
    if (replace == NULL || data == NULL) {
        xev__misuse("xev_replace_write", "replace or data is null", NULL);
    }
    replace->step = WRITE;
    xev_file_write(replace->fd, replace->loop, &replace->req, data, len_bytes, replace,
                   on_replace_step);
}

void xev_replace_commit(xev_replace *replace) {
    if (replace == NULL) {
        xev__misuse("xev_replace_commit", "replace is null", NULL);
    }
    start_step(replace, FLUSH);
}

void xev_replace_abandon(xev_replace *replace, int code) {
    if (replace == NULL || code >= 0) {
        xev__misuse("xev_replace_abandon", "replace is null, or code is none", NULL);
    }
    replace->code = code;
    start_step(replace, CLOSE_GIVEN_UP);
}
