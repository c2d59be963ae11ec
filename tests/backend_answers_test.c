/* An operation that a backend's table does not name ends with XEV_ENOTSUP. One that the backend
 * cannot begin ends with the backend's code. The other operations go on. */
#include "tests/loop_scene.h"
#include "xev/core/core.h"

TEST(operation_that_a_backend_cannot_do_reports_enotsup) {
    xev_loop loop;
    loop_start(&loop);
    struct xev_backend_ops less = *loop.ops;
    less.how[XEV__OP_RECV] = XEV__HOW_NOT;
    loop.ops = &less;
    xev_tcp pair[2];
    socket_pair(pair);
    char byte;
    struct op recv = {.rearm = 2}, multi = {0}, send = {0};
    xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
    xev_tcp_recv_multi(pair[0], &loop, &multi.c, &multi, op_cb);
    xev_tcp_send(pair[1], &loop, &send.c, "x", 1, &send, op_cb);
    CHECK_EQ(recv.calls, 0);
    run_done(&loop);
    CHECK_EQ(recv.result, XEV_ENOTSUP);
    CHECK_EQ(recv.calls, 3);
    CHECK_EQ(multi.result, XEV_ENOTSUP);
    CHECK_EQ(multi.terminal, 1);
    CHECK_EQ(send.result, 1);
    close_in(&loop, pair[0]);
    close_in(&loop, pair[1]);
    xev_loop_deinit(&loop);
}

static void start_nothing(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    (void)e;
    xev__pend(loop, c, XEV_ENOMEM);
}

/* One ends by itself, and brings the next to the head, and so on: not by recursion. */
TEST(long_queue_of_which_none_can_be_started_ends) {
    enum { N = 300000 };
    struct op *ops = calloc(N, sizeof *ops);
    CHECK(ops != NULL);
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    char byte;
    for (int i = 0; i < N; i++) {
        xev_tcp_recv(pair[0], &loop, &ops[i].c, &byte, 1, &ops[i], op_cb);
    }
    struct xev_backend_ops less = *loop.ops;
    less.start = start_nothing;
    loop.ops = &less;
    put_bytes(pair[1], "x", 1);
    run_done(&loop);
    CHECK_EQ(ops[0].result, 1);
    for (int i = 1; i < N; i++) {
        CHECK_EQ(ops[i].result, XEV_ENOMEM);
        CHECK_EQ(ops[i].order, ops[i - 1].order + 1);
    }
    close_in(&loop, pair[0]);
    close_in(&loop, pair[1]);
    xev_loop_deinit(&loop);
    free(ops);
}

static const struct xev_backend_ops *real;
static bool paused;

static void start_later(xev_loop *loop, struct xev__fd *e, xev_completion *c) {
    if (c->op == XEV__OP_RECV) {
        xev__fds_starve(loop, e, true);
    } else if (c->op == XEV__OP_SEND && !paused) {
        paused = true;
        xev__fds_pause(loop, e, c);
    } else {
        real->start(loop, e, c);
    }
}

static uint32_t no_buffers(const xev_loop *loop) {
    (void)loop;
    return 0;
}

TEST(what_waits_for_time_need_not_wait_for_a_buffer_too) {
    xev_loop loop;
    loop_start(&loop);
    real = loop.ops;
    struct xev_backend_ops less = *real;
    less.start = start_later;
    less.buffers_free = no_buffers;
    loop.ops = &less;
    xev_tcp pair[2];
    socket_pair(pair);
    struct op poll = {0}, recv = {0}, cancel = {0}, send = {0};
    xev_fd_poll(pair[0].fd, &loop, &poll.c, XEV_POLL_HUP, &poll, op_cb); /* keeps what is known */
    xev_completion_unref(&poll.c);
    xev_tcp_recv_loan(pair[0], &loop, &recv.c, &recv, op_cb);
    xev_cancel(&loop, &recv.c, &cancel.c, &cancel, op_cb);
    run_for(&loop, &cancel, 1);
    CHECK_EQ(recv.result, XEV_ECANCELED);
    xev_tcp_send(pair[0], &loop, &send.c, "x", 1, &send, op_cb);
    run_done(&loop);
    CHECK_EQ(send.result, 1);
    close_in(&loop, pair[0]);
    close_in(&loop, pair[1]);
    xev_loop_deinit(&loop);
}
