/* The smallest TCP echo server on one loop: each connection has one buffer, which is filled and
 * sent in turn. For a real server begin with echo_sharded.c. Usage: tcp_echo [PORT] */
#include <stdio.h>
#include <stdlib.h>

#include "examples/log.h"
#include "xev/xev.h"

struct conn {
    xev_tcp tcp;
    xev_completion c; /* one operation at a time: receive, write, close */
    xev_stream out;
    xev_write_req write;
    char buf[4096];
};

static xev_cb_action on_closed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    free(userdata); /* nothing of this connection is active any more */
    return XEV_DISARM;
}

static xev_cb_action on_received(xev_loop *loop, xev_completion *c, int result, void *userdata);

static void on_written(xev_loop *loop, xev_stream *out, xev_write_req *req, int result,
                       void *userdata) {
    struct conn *k = userdata;
    (void)out;
    (void)req;
    if (result < 0) {
        xev_tcp_close(k->tcp, loop, &k->c, k, on_closed);
    } else {
        xev_tcp_recv(k->tcp, loop, &k->c, k->buf, sizeof k->buf, k, on_received);
    }
}

static xev_cb_action on_received(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct conn *k = userdata;
    (void)c;
    if (result < 0) { /* XEV_EOF, XEV_ECONNRESET, ... */
        xev_tcp_close(k->tcp, loop, &k->c, k, on_closed);
    } else {
        xev_stream_write(&k->out, &k->write, k->buf, (size_t)result, k, on_written);
    }
    return XEV_DISARM;
}

static xev_cb_action on_accept(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)c;
    (void)userdata;
    if (result < 0) {
        log_line("tcp_echo: accept: %s", xev_strerror(result));
        return xev_completion_more(c) ? XEV_REARM : XEV_DISARM; /* goes on by itself */
    }
    struct conn *k = calloc(1, sizeof *k);
    if (k == NULL) {
        (void)xev_tcp_close_now(xev_tcp_from_fd(result));
        return XEV_REARM;
    }
    k->tcp = xev_tcp_from_fd(result);
    xev_stream_init(&k->out, loop, result);
    xev_tcp_recv(k->tcp, loop, &k->c, k->buf, sizeof k->buf, k, on_received);
    return XEV_REARM;
}

static int failed(const char *what, int rc) {
    fprintf(stderr, "tcp_echo: %s: %s\n", what, xev_strerror(rc));
    return 1;
}

int main(int argc, char **argv) {
    xev_loop loop;
    xev_tcp listener;
    xev_completion accept;
    xev_addr addr;
    char text[XEV_ADDR_TEXT_BYTES];
    char *end = "";
    unsigned long port = argc > 1 ? strtoul(argv[1], &end, 10) : 7000;
    if (*end != '\0' || port > 65535) {
        return failed(argv[1], XEV_EINVAL);
    }
    int rc = xev_addr_parse(&addr, "127.0.0.1", (uint32_t)port);
    if (rc < 0 || (rc = xev_tcp_init(&listener, XEV_AF_INET)) < 0 ||
        (rc = xev_tcp_bind(listener, &addr, false)) < 0 ||
        (rc = xev_tcp_set_nodelay(listener, true)) < 0 ||
        (rc = xev_tcp_set_keepalive(listener, 60000)) < 0 || /* connections inherit both */
        (rc = xev_tcp_listen(listener, 1024)) < 0 ||
        (rc = xev_tcp_local_addr(listener, &addr)) < 0 || (rc = xev_loop_init(&loop)) < 0) {
        return failed("start", rc);
    }
    (void)xev_addr_format(&addr, text, sizeof text);
    printf("listening on %s\n", text);
    fflush(stdout);
    log_open();
    xev_tcp_accept_multi(listener, &loop, &accept, NULL, on_accept);
    rc = xev_loop_run(&loop, XEV_RUN_UNTIL_DONE); /* that is, until the accept has failed */
    xev_loop_deinit(&loop);
    (void)xev_tcp_close_now(listener);
    return rc < 0 ? failed("run", rc) : 1;
}
