/* An echo server on one loop, on connections: compare with tcp_echo.c, which does it by hand. */
#include <stdio.h>
#include <stdlib.h>

#include "xev/conn.h"
#include "xev/tcp.h"

static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    (void)xev_conn_write(conn, data, len_bytes); /* where it fails the connection ends */
    return (ptrdiff_t)len_bytes;
}

static const xev_conn_handlers handlers = {.data = on_data};

static xev_cb_action on_accept(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_conn_service *service = userdata;
    (void)loop;
    if (result < 0) {
        fprintf(stderr, "conn_echo: accept: %s\n", xev_strerror(result));
    } else if (xev_conn_adopt(service, result, NULL) < 0) {
        (void)xev_tcp_close_now(xev_tcp_from_fd(result));
    }
    return xev_completion_more(c) ? XEV_REARM : XEV_DISARM;
}

static int failed(int rc) {
    fprintf(stderr, "conn_echo: %s\n", xev_strerror(rc));
    return 1;
}

int main(int argc, char **argv) {
    xev_loop loop;
    xev_tcp listener;
    xev_completion accept;
    xev_addr addr;
    xev_conn_service *service;
    char text[XEV_ADDR_TEXT_BYTES];
    uint32_t port = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 7000;
    int rc = xev_addr_parse(&addr, "127.0.0.1", port);
    if (rc < 0 || (rc = xev_tcp_init(&listener, XEV_AF_INET)) < 0 ||
        (rc = xev_tcp_bind(listener, &addr, false)) < 0 ||
        (rc = xev_tcp_set_nodelay(listener, true)) < 0 || /* connections inherit it */
        (rc = xev_tcp_listen(listener, 1024)) < 0 ||
        (rc = xev_tcp_local_addr(listener, &addr)) < 0 || (rc = xev_loop_init(&loop)) < 0 ||
        (rc = xev_conn_service_new(&service, &loop, &(xev_conn_options){.handlers = &handlers}))) {
        return failed(rc);
    }
    (void)xev_addr_format(&addr, text, sizeof text);
    printf("listening on %s\n", text);
    fflush(stdout);
    xev_tcp_accept_multi(listener, &loop, &accept, service, on_accept);
    rc = xev_loop_run(&loop, XEV_RUN_UNTIL_DONE); /* that is, until the accept has failed */
    xev_loop_deinit(&loop);
    xev_conn_service_free(service);
    (void)xev_tcp_close_now(listener);
    return rc < 0 ? failed(rc) : 0;
}
