/* A loop inside a program that has its own poll loop: a GUI, a runtime, another library. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "xev/xev.h"

static int ticks;

static xev_cb_action on_tick(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    if (result < 0) {
        return XEV_DISARM;
    }
    printf("loop: tick %d\n", ++ticks);
    return ticks < 3 ? XEV_REARM : XEV_DISARM;
}

/* One round of the host: it waits for its own descriptor and the loop's, as long as the loop
 * allows. */
static int host_round(xev_loop *loop, xev_fd loop_fd, int own_fd) {
    uint64_t ns = xev_loop_prepare_wait_ns(loop);
    int limit_ms = ns / 1000000 < INT_MAX ? (int)((ns + 999999) / 1000000) : INT_MAX;
    limit_ms = ns == UINT64_MAX ? -1 : limit_ms;
    struct pollfd fds[] = {{.fd = loop_fd, .events = POLLIN}, {.fd = own_fd, .events = POLLIN}};
    int n = poll(fds, 2, limit_ms);
    if (n < 0 && errno != EINTR) {
        return -errno;
    }
    char byte;
    if (n > 0 && (fds[1].revents & POLLIN) != 0 && read(own_fd, &byte, 1) == 1) {
        printf("host: got '%c'\n", byte);
    }
    return xev_loop_run(loop, XEV_RUN_NO_WAIT);
}

int main(void) {
    xev_loop loop;
    int own[2] = {-1, -1};
    int rc = xev_loop_init(&loop);
    if (rc < 0) {
        fprintf(stderr, "embed: %s\n", xev_strerror(rc));
        return 1;
    }
    xev_fd fd = xev_loop_backend_fd(&loop);
    rc = fd < 0 ? fd : xev_pipe_open(&own[0], &own[1]);
    if (rc == 0 && write(own[1], "x", 1) != 1) {
        rc = -errno;
    }
    xev_completion tick;
    xev_timer_run(NULL, &loop, &tick, 10, NULL, on_tick);
    xev_loop_print_active(&loop, stderr); /* what keeps it going? */
    while (rc == 0 && xev_loop_alive(&loop)) {
        rc = host_round(&loop, fd, own[0]);
    }
    if (rc < 0) {
        fprintf(stderr, "embed: %s\n", xev_strerror(rc));
    }
    xev_loop_deinit(&loop);
    (void)close(own[0]);
    (void)close(own[1]);
    return rc < 0;
}
