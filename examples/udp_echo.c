/* A UDP echo server. Every datagram is received into a buffer that the loop lends, which has room
 * for the longest datagram, and is sent back from that buffer. Where all replies are under way the
 * next datagram is dropped, as UDP may do. Usage: udp_echo [PORT] */
#include <stdio.h>
#include <stdlib.h>

#include "xev/xev.h"

#define REPLIES 64

struct reply {
    xev_completion c;
    xev_datagram datagram;
    xev_buf buf; /* lent until it is sent; an empty datagram has none */
};

static struct server {
    xev_udp udp;
    xev_completion c;
    xev_datagram incoming;
    struct reply replies[REPLIES];
    int error; /* that ended the receive */
} server;

static xev_cb_action on_sent(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct reply *r = userdata;
    (void)c;
    (void)result; /* nobody there, say: the next sender may be */
    if (r->buf.len_bytes > 0) {
        xev_buf_release(loop, r->buf);
    }
    return XEV_DISARM;
}

static void answer(xev_loop *loop, int len) {
    for (int i = 0; i < REPLIES; i++) {
        struct reply *r = &server.replies[i];
        if (xev_completion_state(&r->c) == XEV_COMPLETION_DEAD) {
            r->buf = len > 0 ? xev_buf_take(loop) : (xev_buf){.data = ""};
            r->datagram.data = r->buf.data;
            r->datagram.len_bytes = (uint32_t)len;
            r->datagram.segment_bytes = 0;
            r->datagram.peer = server.incoming.peer;
            xev_udp_send(server.udp, loop, &r->c, &r->datagram, r, on_sent);
            return;
        }
    }
}

static xev_cb_action on_datagram(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)userdata;
    if (result >= 0) { /* 0: an empty datagram, not the end of anything */
        answer(loop, result);
    }
    if (!xev_completion_more(c)) {
        server.error = result;
        return XEV_DISARM;
    }
    return XEV_REARM;
}

static int failed(const char *what, int rc) {
    fprintf(stderr, "udp_echo: %s: %s\n", what, xev_strerror(rc));
    return 1;
}

int main(int argc, char **argv) {
    xev_loop loop;
    xev_addr addr;
    char text[XEV_ADDR_TEXT_BYTES];
    xev_loop_options options = {.buffer_bytes = 65536 + XEV_DATAGRAM_OVERHEAD};
    char *end = "";
    unsigned long port = argc > 1 ? strtoul(argv[1], &end, 10) : 7000;
    if (*end != '\0' || port > 65535) {
        return failed(argv[1], XEV_EINVAL);
    }
    int rc = xev_addr_parse(&addr, "127.0.0.1", (uint32_t)port);
    if (rc < 0 || (rc = xev_udp_init(&server.udp, XEV_AF_INET)) < 0 ||
        (rc = xev_udp_bind(server.udp, &addr, 0)) < 0 ||
        (rc = xev_udp_local_addr(server.udp, &addr)) < 0 ||
        (rc = xev_loop_init_options(&loop, &options)) < 0) {
        return failed("start", rc);
    }
    (void)xev_addr_format(&addr, text, sizeof text);
    printf("listening on %s\n", text);
    fflush(stdout);
    xev_udp_recv_multi(server.udp, &loop, &server.c, &server.incoming, &server, on_datagram);
    rc = xev_loop_run(&loop, XEV_RUN_UNTIL_DONE); /* that is, until an error ends the receive */
    rc = rc < 0 ? rc : server.error;
    xev_loop_deinit(&loop);
    (void)xev_udp_close_now(server.udp);
    return failed("receive", rc);
}
