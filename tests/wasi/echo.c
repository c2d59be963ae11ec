/* An echo server of one shard, at the listener that the host has given the program as descriptor
 * 1024: echo_test.mjs is its client. It ends when a client has sent a message of one byte, 0x04. */
#include <stdio.h>

#include "xev/serve.h"

static xev_runtime runtime;

static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    xev_conn_write(conn, data, len_bytes);
    if (len_bytes == 1 && *(const char *)data == 4) {
        xev_runtime_stop(&runtime);
    }
    return (ptrdiff_t)len_bytes;
}

int main(void) {
    static const xev_conn_handlers handlers = {.data = on_data};
    const xev_service_options echo = {
        .name = "echo",
        .address = "fd:1024",
        .policy = XEV_SERVE_SINGLE,
        .conns = {.handlers = &handlers, .high_bytes = 64 * 1024},
    };
    const xev_runtime_options two = {.shards = 2};
    xev_serve *serve;
    xev_service *service;
    /* A pipe, of which Node says that it is a socket; nothing here closes a standard stream. */
    if (xev_tcp_close_now(xev_tcp_from_fd(1)) != XEV_EBADF) {
        return 2;
    }
    int rc = xev_serve_new(&serve);
    if (rc == 0) {
        rc = xev_serve_add(serve, &echo, &service);
    }
    if (rc == 0 && xev_runtime_run(&runtime, &two) != XEV_ENOTSUP) {
        puts("two shards were not refused");
        return 1;
    }
    rc = rc == 0 ? xev_serve_run(serve, &runtime, &(xev_runtime_options){.drain_ms = 2000}) : rc;
    if (rc < 0) {
        xev_runtime_failure failure;
        xev_runtime_failure_get(&runtime, &failure);
        printf("echo: %s: %s\n", failure.call, xev_strerror(rc));
    }
    xev_serve_free(serve);
    return rc < 0;
}
