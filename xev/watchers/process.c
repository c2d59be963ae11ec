/* Child processes: the watcher calls. The end of a child is waited for on a descriptor. */
#include "xev/process.h"

#include <assert.h>

#include "xev/os/descriptor.h"
#include "xev/os/process.h"
#include "xev/os/thread.h"
#include "xev/watchers/watchers.h"

static bool is_stdio_kind(enum xev_stdio_kind kind) {
    return kind == XEV_STDIO_NULL || kind == XEV_STDIO_INHERIT || kind == XEV_STDIO_PIPE ||
           kind == XEV_STDIO_FD;
}

static void process_clear(xev_process *p) {
    p->fd = p->stdio[0] = p->stdio[1] = p->stdio[2] = XEV_INVALID_FD;
    p->pid = 0;
    p->spawned = false;
}

int xev_process_spawn(xev_process *p, const xev_process_options *options) {
    if (p == NULL || options == NULL) {
        xev__misuse("xev_process_spawn", "process or options are null", p);
    }
    process_clear(p);
    if (options->argv == NULL || options->argv[0] == NULL) {
        return XEV_EINVAL;
    }
    for (int i = 0; i < 3; i++) {
        if (!is_stdio_kind(options->stdio[i].kind)) {
            return XEV_EINVAL;
        }
        if (options->stdio[i].kind == XEV_STDIO_FD && options->stdio[i].fd < 0) {
            return XEV_EBADF;
        }
    }
    int rc = xev__os_watch_forks();
    if (rc == 0) {
        rc = xev__os_process_spawn(p, options);
    }
    if (rc < 0) {
        process_clear(p);
    }
    p->spawned = rc == 0;
    assert(rc < 0 || (p->pid > 0 && p->fd > 2));
    return rc;
}

int xev_process_open(xev_process *p, int32_t pid) {
    if (p == NULL) {
        xev__misuse("xev_process_open", "process is null", p);
    }
    process_clear(p);
    int rc = pid > 0 ? xev__os_process_open(pid, &p->fd) : XEV_EINVAL;
    p->pid = rc == 0 ? pid : 0;
    assert(rc < 0 || p->fd > 2);
    return rc;
}

void xev_process_wait(const xev_process *p, xev_loop *loop, xev_completion *c, void *userdata,
                      xev_cb cb) {
    if (p == NULL) {
        xev__misuse("xev_process_wait", "process is null", p);
    }
    if (!xev__begin(XEV__CALL("xev_process_wait"), loop, c, XEV__OP_PROCESS, userdata, cb)) {
        return;
    }
    c->fd = p->fd;
    /* A process that is no child of ours cannot be waited for. Its descriptor would become readable
     * at its end, maybe in a year, and only then would the wait report XEV_ECHILD: so ask now. */
    int rc = xev__os_process_check(p->fd);
    if (rc < 0) {
        xev__pend(loop, c, rc);
        return;
    }
    assert(p->fd >= 0 && c->op == XEV__OP_PROCESS);
    xev__forget_stale(loop, p->fd);
    xev__submit(loop, c);
}

int xev_process_exit_code(int result) {
    return result >= 0 && result < XEV_PROCESS_SIGNALED ? result : -1;
}

int xev_process_signal(int result) {
    return result > XEV_PROCESS_SIGNALED ? result - XEV_PROCESS_SIGNALED : 0;
}

int xev_process_kill(const xev_process *p, int signal_number) {
    if (p == NULL) {
        xev__misuse("xev_process_kill", "process is null", p);
    }
    return xev__os_process_kill(p->fd, signal_number);
}

int xev_process_kill_group(const xev_process *p, int signal_number) {
    if (p == NULL) {
        xev__misuse("xev_process_kill_group", "process is null", p);
    }
    return xev__os_process_kill_group(p->fd, p->pid, signal_number);
}

void xev_process_close(const xev_process *p, xev_loop *loop, xev_completion *c, void *userdata,
                       xev_cb cb) {
    if (p == NULL) {
        xev__misuse("xev_process_close", "process is null", p);
    }
    xev__close(XEV__CALL("xev_process_close"), loop, c, xev__made_fd(p->fd), userdata, cb);
    c->arg.close.by = p->spawned ? xev__os_process_give_up : NULL;
}

int xev_process_close_now(const xev_process *p) {
    if (p == NULL) {
        xev__misuse("xev_process_close_now", "process is null", p);
    }
    xev_fd fd = xev__made_fd(p->fd);
    return p->spawned ? xev__os_process_give_up(fd) : xev__os_close(fd);
}
