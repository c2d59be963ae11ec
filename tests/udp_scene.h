/* What the tests of UDP share: pairs of sockets, datagrams, and operations on them. */
#ifndef TESTS_UDP_SCENE_H
#define TESTS_UDP_SCENE_H

#include "tests/net_scene.h"

static inline xev_addr address(const char *host, uint32_t port) {
    xev_addr a;
    CHECK_EQ(xev_addr_parse(&a, host, port), 0);
    return a;
}

static inline void check_same_address(const xev_addr *a, const xev_addr *b) {
    char x[XEV_ADDR_TEXT_BYTES], y[XEV_ADDR_TEXT_BYTES];
    CHECK_EQ(xev_addr_format(a, x, sizeof x), 0);
    CHECK_EQ(xev_addr_format(b, y, sizeof y), 0);
    CHECK_STR_EQ(x, y);
}

/* A socket bound to a free port, and its address. */
static inline xev_udp bound(const char *host, xev_addr *where) {
    xev_addr any = address(host, 0);
    xev_udp udp;
    CHECK_EQ(xev_udp_init(&udp, xev_addr_family(&any)), 0);
    CHECK_EQ(xev_udp_bind(udp, &any, 0), 0);
    CHECK_EQ(xev_udp_local_addr(udp, where), 0);
    CHECK_GT(xev_addr_port(where), 0);
    return udp;
}

/* A receiver and a sender, with their addresses. */
struct pair {
    xev_udp in, out;
    xev_addr in_at, out_at;
};

static inline struct pair pair_at(const char *host) {
    struct pair p;
    p.in = bound(host, &p.in_at);
    p.out = bound(host, &p.out_at);
    CHECK_EQ(fcntl(p.in.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    return p;
}

static inline void pair_close(struct net *n, struct pair *p) {
    close_fd(n, p->in.fd);
    close_fd(n, p->out.fd);
}

static inline xev_datagram into(void *buf, uint32_t capacity) {
    xev_datagram d;
    memset(&d, 0xa5, sizeof d); /* fields that the call does not read need not be initialised */
    d.buf = buf;
    d.capacity_bytes = capacity;
    return d;
}

static inline xev_datagram out_of(const void *data, uint32_t len, const xev_addr *peer) {
    xev_datagram d;
    memset(&d, 0xa5, sizeof d);
    d.data = data;
    d.len_bytes = len;
    d.peer = peer != NULL ? *peer : (xev_addr){0};
    d.segment_bytes = 0;
    return d;
}

static inline void do_recv(struct op *op, struct net *n, xev_udp udp, xev_datagram *d) {
    op_new(op, n);
    xev_udp_recv(udp, &n->loop, &op->c, d, op, op_called);
}

static inline void do_send(struct op *op, struct net *n, xev_udp udp, xev_datagram *d) {
    op_new(op, n);
    xev_udp_send(udp, &n->loop, &op->c, d, op, op_called);
}

static inline void do_recv_batch(struct op *op, struct net *n, xev_udp udp, xev_datagram *ds,
                                 uint32_t k) {
    op_new(op, n);
    xev_udp_recv_batch(udp, &n->loop, &op->c, ds, k, op, op_called);
}

static inline void do_send_batch(struct op *op, struct net *n, xev_udp udp, xev_datagram *ds,
                                 uint32_t k) {
    op_new(op, n);
    xev_udp_send_batch(udp, &n->loop, &op->c, ds, k, op, op_called);
}

/* Send by xev, and run until it is over. */
static inline int send_to(struct net *n, xev_udp udp, const void *data, size_t len,
                          const xev_addr *peer) {
    struct op sent;
    xev_datagram d = out_of(data, (uint32_t)len, peer);
    do_send(&sent, n, udp, &d);
    CHECK_EQ(sent.calls, 0);
    run_op(&sent);
    return sent.result;
}

static inline void put(int fd, const void *data, size_t len, const xev_addr *to) {
    const struct sockaddr *sa = (const struct sockaddr *)(const void *)to->storage;
    CHECK_EQ(sendto(fd, data, len, 0, sa, to->len_bytes), (ssize_t)len);
}

/* Wait until that many datagrams have arrived at fd. Where the kernel is busy, its network threads
 * deliver them some time after the send. */
static inline void wait_datagrams(int fd, int count) {
    int at = 0;
    char byte;
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &at, sizeof at), 0);
    for (int i = 0; i < count; i++) {
        wait_readable(fd);
        CHECK_GE(recv(fd, &byte, 1, MSG_PEEK | MSG_TRUNC), 0);
    }
    at = -1;
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &at, sizeof at), 0);
}

/* Check that the next datagram is text, and that it comes from this address, or from any for NULL.
 */
static inline void expect(struct net *n, xev_udp udp, const char *text, const xev_addr *from) {
    char buf[256];
    struct op received;
    xev_datagram d = into(buf, sizeof buf);
    do_recv(&received, n, udp, &d);
    run_op(&received);
    CHECK_EQ(received.result, strlen(text));
    CHECK_EQ(d.len_bytes, strlen(text));
    CHECK_MEM_EQ(buf, text, strlen(text));
    CHECK(!d.truncated);
    CHECK_EQ(d.segment_bytes, 0);
    if (from != NULL) {
        check_same_address(&d.peer, from);
    }
}

/* The three forms of a receive. Each receives one datagram here. */
enum form { SINGLE, MULTI, BATCH, FORMS };

static inline void do_form(enum form form, struct op *op, struct net *n, xev_udp udp,
                           xev_datagram *d) {
    op_new(op, n);
    if (form == SINGLE) {
        xev_udp_recv(udp, &n->loop, &op->c, d, op, op_called);
    } else if (form == MULTI) {
        xev_udp_recv_multi(udp, &n->loop, &op->c, d, op, op_called);
    } else {
        xev_udp_recv_batch(udp, &n->loop, &op->c, d, 1, op, op_called);
    }
}

#endif
