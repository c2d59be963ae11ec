/* What the tests of Unix sockets share. */
#ifndef TESTS_UNIX_SCENE_H
#define TESTS_UNIX_SCENE_H

#include <inttypes.h>
#include <sys/random.h>

#include "tests/net_scene.h"

static inline void do_connect(struct op *op, struct net *n, xev_unix s, const xev_addr *addr) {
    op_new(op, n);
    xev_unix_connect(s, &n->loop, &op->c, addr, op, op_called);
}

static inline void do_recv(struct op *op, struct net *n, xev_unix s, void *buf, size_t len) {
    op_new(op, n);
    xev_unix_recv(s, &n->loop, &op->c, buf, len, op, op_called);
}

static inline void do_send(struct op *op, struct net *n, xev_unix s, const void *buf, size_t len) {
    op_new(op, n);
    xev_unix_send(s, &n->loop, &op->c, buf, len, op, op_called);
}

static inline void do_recv_msg(struct op *op, struct net *n, xev_unix s, xev_unix_msg *msg) {
    op_new(op, n);
    xev_unix_recv_msg(s, &n->loop, &op->c, msg, op, op_called);
}

static inline void do_send_msg(struct op *op, struct net *n, xev_unix s, xev_unix_msg *msg) {
    op_new(op, n);
    xev_unix_send_msg(s, &n->loop, &op->c, msg, op, op_called);
}

static inline void finish_op(struct op *op) {
    if (op->ends == 0) {
        run_op(op);
    }
}

static inline int send_msg(struct net *n, xev_unix s, xev_unix_msg *msg) {
    struct op op;
    do_send_msg(&op, n, s, msg);
    run_op(&op);
    return op.result;
}

static inline int recv_msg(struct net *n, xev_unix s, xev_unix_msg *msg) {
    struct op op;
    do_recv_msg(&op, n, s, msg);
    run_op(&op);
    return op.result;
}

static inline xev_unix_msg message(void *buf, size_t len) {
    return (xev_unix_msg){.buf = buf, .len_bytes = len};
}

/* An abstract name that no other test has. The process number would not do: a sandbox gives every
 * test the same number, but all sandboxes share the abstract names. */
static inline xev_addr abstract(const char *suffix) {
    static uint64_t id;
    char name[64] = "";
    xev_addr a;
    if (id == 0) {
        CHECK_EQ(getrandom(&id, sizeof id, 0), (ssize_t)sizeof id);
    }
    int len = snprintf(name + 1, sizeof name - 1, "xev_unix_test.%" PRIx64 ".%s", id, suffix);
    CHECK_EQ(xev_addr_unix(&a, name, (size_t)len + 1), 0);
    return a;
}

static inline void check_same(const xev_addr *a, const xev_addr *b) {
    size_t la, lb;
    const char *na = xev_addr_unix_name(a, &la), *nb = xev_addr_unix_name(b, &lb);
    CHECK_EQ(xev_addr_family(a), XEV_AF_UNIX);
    CHECK_EQ(la, lb);
    CHECK_MEM_EQ(na, nb, la);
}

#endif
