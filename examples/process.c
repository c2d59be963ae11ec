/* Runs a program, passes on every byte that it writes, and says on standard error how it ended.
 * Usage: process PROGRAM ARG... */
#include <errno.h>
#include <stdio.h>

#include "xev/xev.h"

static struct child {
    xev_process process;
    xev_completion read, wait, close_pipe, close_process;
    char buf[4096];
    int result; /* of the wait */
    int error;  /* of reading its output or of passing it on */
} child;

static xev_cb_action on_closed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    (void)userdata;
    return XEV_DISARM;
}

static xev_cb_action on_output(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    if (result > 0) {
        size_t len = (size_t)result;
        if (fwrite(child.buf, 1, len, stdout) == len && fflush(stdout) == 0) {
            return XEV_REARM;
        }
        result = -errno;
    }
    child.error = result == XEV_EOF ? 0 : result;
    xev_fd_close(child.process.stdio[1], loop, &child.close_pipe, NULL, on_closed);
    return XEV_DISARM;
}

static xev_cb_action on_end(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    child.result = result;
    xev_process_close(&child.process, loop, &child.close_process, NULL, on_closed);
    return XEV_DISARM;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: process PROGRAM ARG...\n");
        return 2;
    }
    xev_loop loop;
    int rc = xev_loop_init(&loop);
    if (rc < 0) {
        fprintf(stderr, "process: %s\n", xev_strerror(rc));
        return 1;
    }
    xev_process_options options = {
        .argv = (const char *const *)&argv[1],
        .stdio = {[1].kind = XEV_STDIO_PIPE, [2].kind = XEV_STDIO_INHERIT},
    };
    rc = xev_process_spawn(&child.process, &options);
    if (rc < 0) {
        fprintf(stderr, "process: %s: %s\n", argv[1], xev_strerror(rc));
        xev_loop_deinit(&loop);
        return 1;
    }
    xev_fd_read(child.process.stdio[1], &loop, &child.read, child.buf, sizeof child.buf, NULL,
                on_output);
    xev_process_wait(&child.process, &loop, &child.wait, NULL, on_end);
    rc = xev_loop_run(&loop, XEV_RUN_UNTIL_DONE);
    xev_loop_deinit(&loop);
    if (rc < 0 || child.result < 0) {
        fprintf(stderr, "process: %s\n", xev_strerror(rc < 0 ? rc : child.result));
        return 1;
    }
    if (child.error < 0) {
        fprintf(stderr, "process: output: %s\n", xev_strerror(child.error));
        return 1;
    }
    int signal = xev_process_signal(child.result);
    fprintf(stderr, signal > 0 ? "process: ended by signal %d\n" : "process: exit code %d\n",
            signal > 0 ? signal : xev_process_exit_code(child.result));
    return 0;
}
