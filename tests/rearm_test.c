/* XEV_REARM of operations that are seldom repeated: each does once more what it did. */
#include "tests/net_scene.h"

static xev_cb_action three_times(struct op *op, int result) {
    (void)result;
    op->ends = op->calls == 3; /* op_called wants to see one end */
    return op->ends ? XEV_DISARM : XEV_REARM;
}

TEST(a_loaning_receive_is_repeated) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    local_pair(fd);
    op_new(&op, &n)->then = three_times;
    xev_tcp_recv_loan(xev_tcp_from_fd(fd[0]), &n.loop, &op.c, &op, op_called);
    for (int i = 1; i <= 3; i++) {
        plain_send(fd[1], "data", (size_t)i);
        run_until(&n, &op.calls, i);
        CHECK_EQ(op.result, i);
    }
    CHECK_EQ(op.ends, 1);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(a_refused_connect_is_repeated) {
    struct net n;
    struct op op;
    xev_tcp tcp;
    xev_addr at;
    net_open(&n, NULL);
    int listener = plain_listener(1);
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(listener), &at), 0);
    CHECK_EQ(close(listener), 0);
    CHECK_EQ(xev_tcp_init(&tcp, XEV_AF_INET), 0);
    op_new(&op, &n)->then = three_times;
    xev_tcp_connect(tcp, &n.loop, &op.c, &at, &op, op_called);
    run_until(&n, &op.calls, 3);
    CHECK_EQ(op.results[0], XEV_ECONNREFUSED);
    for (int i = 1; i < 3; i++) { /* Linux says the other once in between */
        CHECK(op.results[i] == XEV_ECONNREFUSED || op.results[i] == XEV_ECONNABORTED);
    }
    close_fd(&n, tcp.fd);
    net_close(&n);
}
