/* What the tests of TCP share: sockets that are made by xev. */
#ifndef TESTS_TCP_SCENE_H
#define TESTS_TCP_SCENE_H

#include "tests/net_scene.h"

static inline xev_addr loopback(const char *host) {
    xev_addr a;
    CHECK_EQ(xev_addr_parse(&a, host, 0), 0);
    return a;
}

/* A listener made by xev, and its address. */
static inline xev_tcp xev_listener(const char *host, xev_addr *where) {
    xev_addr any = loopback(host);
    xev_tcp tcp;
    CHECK_EQ(xev_tcp_init(&tcp, xev_addr_family(&any)), 0);
    CHECK_EQ(xev_tcp_bind(tcp, &any, false), 0);
    CHECK_EQ(xev_tcp_listen(tcp, 16), 0);
    CHECK_EQ(xev_tcp_local_addr(tcp, where), 0);
    CHECK_GT(xev_addr_port(where), 0);
    return tcp;
}

static inline void do_recv(struct op *op, struct net *n, int fd, void *buf, size_t len) {
    op_new(op, n);
    xev_tcp_recv(xev_tcp_from_fd(fd), &n->loop, &op->c, buf, len, op, op_called);
}

#endif
