/* System calls that fail unexpectedly. Each error is the result of an operation or of the run, and
 * nothing hangs, spins or leaks. On epoll only, since a filter can refuse its calls one by one.
 * Linux only. */
#include "tests/net_scene.h"
#include "tests/refuse.h"

static const xev_loop_options by_epoll = {.backend = XEV_BACKEND_EPOLL};

static char buf[64];

static void do_recv(struct op *op, struct net *n, int fd) {
    op_new(op, n);
    xev_tcp_recv(xev_tcp_from_fd(fd), &n->loop, &op->c, buf, sizeof buf, op, op_called);
}

static void do_send(struct op *op, struct net *n, int fd) {
    op_new(op, n);
    xev_tcp_send(xev_tcp_from_fd(fd), &n->loop, &op->c, buf, sizeof buf, op, op_called);
}

static void registration_fails(int error) {
    struct net n;
    struct op op[6];
    int fd[2];
    net_open(&n, &by_epoll);
    local_pair(fd);
    (void)fill(fd[0]);
    refuse(SYS_epoll_ctl, error);
    do_recv(&op[0], &n, fd[0]);
    do_recv(&op[1], &n, fd[0]);
    do_recv(&op[2], &n, fd[0]);
    do_send(&op[3], &n, fd[0]);
    do_send(&op[4], &n, fd[0]);
    op_new(&op[5], &n);
    xev_tcp_recv_multi(xev_tcp_from_fd(fd[0]), &n.loop, &op[5].c, &op[5], op_called);
    for (int j = 0; j < 6; j++) {
        if (op[j].ends == 0) {
            run_op(&op[j]);
        }
        CHECK_EQ(op[j].calls, 1);
        CHECK_EQ(op[j].result, -error);
    }
    CHECK_LT(n.turns, 20);
    /* What need not wait works. */
    plain_send(fd[1], "x", 1);
    do_recv(&op[0], &n, fd[0]);
    run_op(&op[0]);
    CHECK_EQ(op[0].result, 1);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    xev_loop_deinit(&n.loop);
    CHECK_EQ(open_fds(), n.fds_before);
}

TEST(a_failed_registration_is_told_to_every_operation) { registration_fails(ENOMEM); }

TEST(a_registration_over_the_limit_is_told_to_every_operation) { registration_fails(ENOSPC); }

static void transfer_fails(long nr, int error, bool sending, bool loan) {
    struct net n;
    struct op op[2];
    int fd[2];
    net_open(&n, &by_epoll);
    local_pair(fd);
    plain_send(fd[1], "data", 4);
    refuse(nr, error);
    for (int i = 0; i < 2; i++) {
        if (sending) {
            do_send(&op[i], &n, fd[0]);
        } else if (loan) {
            op_new(&op[i], &n);
            xev_tcp_recv_multi(xev_tcp_from_fd(fd[0]), &n.loop, &op[i].c, &op[i], op_called);
        } else {
            do_recv(&op[i], &n, fd[0]);
        }
    }
    for (int i = 0; i < 2; i++) {
        if (op[i].ends == 0) {
            run_op(&op[i]);
        }
        CHECK_EQ(op[i].calls, 1);
        CHECK_EQ(op[i].result, -error);
    }
    CHECK_LT(n.turns, 20);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(a_recv_without_memory_reports_it) { transfer_fails(SYS_recvfrom, ENOMEM, false, false); }

TEST(a_recv_without_kernel_buffers_reports_it) {
    transfer_fails(SYS_recvfrom, ENOBUFS, false, false);
}

TEST(a_loaning_recv_without_kernel_buffers_reports_it) {
    transfer_fails(SYS_recvfrom, ENOBUFS, false, true);
}

TEST(a_loaning_recv_without_memory_reports_it) {
    transfer_fails(SYS_recvfrom, ENOMEM, false, true);
}

TEST(a_send_without_kernel_buffers_reports_it) { transfer_fails(SYS_sendto, ENOBUFS, true, false); }

TEST(a_send_without_memory_reports_it) { transfer_fails(SYS_sendto, ENOMEM, true, false); }

static void accept_fails(int error, bool multi) {
    struct net n;
    struct op op;
    net_open(&n, &by_epoll);
    int listener = plain_listener(4);
    int client = plain_connect(listener);
    refuse(SYS_accept4, error);
    op_new(&op, &n);
    if (multi) {
        xev_tcp_accept_multi(xev_tcp_from_fd(listener), &n.loop, &op.c, &op, op_called);
        run_until(&n, &op.calls, 1);
        CHECK_EQ(op.result, -error);
        CHECK_EQ(op.ends, 0); /* goes on, and reports it once */
        CHECK_LT(run_for(&n, 60), 40);
        CHECK_EQ(op.calls, 1);
        cancel_op(&op, 0);
    } else {
        xev_tcp_accept(xev_tcp_from_fd(listener), &n.loop, &op.c, &op, op_called);
        run_op(&op);
        CHECK_EQ(op.result, -error);
    }
    close_fd(&n, listener);
    CHECK_EQ(close(client), 0);
    net_close(&n);
}

TEST(exhaustion_of_the_system_ends_a_single_accept) { accept_fails(ENFILE, false); }

TEST(exhaustion_of_the_system_is_reported_once_by_a_multishot_accept) {
    accept_fails(ENFILE, true);
}

TEST(exhaustion_of_memory_is_reported_once_by_a_multishot_accept) { accept_fails(ENOMEM, true); }

TEST(exhaustion_of_kernel_buffers_is_reported_once_by_a_multishot_accept) {
    accept_fails(ENOBUFS, true);
}

static void init_fails(long nr, int error) {
    xev_loop loop;
    int before = open_fds();
    refuse(nr, error);
    for (int backend = XEV_BACKEND_AUTO; backend <= XEV_BACKEND_EPOLL; backend++) {
        xev_loop_options options = {.backend = (xev_backend_kind)backend};
        int rc = xev_loop_init_options(&loop, &options);
        if (rc == 0) {
            /* The call is not needed for this backend. */
            CHECK(backend != XEV_BACKEND_EPOLL);
            xev_loop_deinit(&loop);
        } else {
            CHECK(rc == -error || rc == XEV_ENOTSUP);
        }
        CHECK_EQ(open_fds(), before);
    }
}

TEST(init_without_a_wake_descriptor_is_an_error) { init_fails(SYS_eventfd2, EMFILE); }

TEST(init_without_memory_for_a_wake_descriptor_is_an_error) { init_fails(SYS_eventfd2, ENOMEM); }

TEST(init_without_an_epoll_descriptor_is_an_error) { init_fails(SYS_epoll_create1, EMFILE); }

TEST(init_that_cannot_register_its_wake_descriptor_is_an_error) {
    init_fails(SYS_epoll_ctl, ENOSPC);
}

TEST(a_socket_that_cannot_be_made_is_an_error) {
    xev_tcp tcp;
    refuse(SYS_socket, ENOBUFS);
    CHECK_EQ(xev_tcp_init(&tcp, XEV_AF_INET), XEV_ENOBUFS);
    CHECK_EQ(tcp.fd, XEV_INVALID_FD);
}

#if defined(SYS_epoll_pwait2)

/* An old container runtime's filter answers EPERM to calls it does not know. */
TEST(epoll_works_where_a_filter_denies_epoll_pwait2) {
    struct net n;
    refuse(SYS_epoll_pwait2, EPERM);
    net_open(&n, &by_epoll);
    uint64_t start = clock_ns();
    CHECK_LT(run_for(&n, 30), 10);
    CHECK_GE(clock_ns() - start, 30 * MS);
    net_close(&n);
}

TEST(a_wait_that_fails_ends_the_run_with_its_code) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, &by_epoll);
    local_pair(fd);
    do_recv(&op, &n, fd[0]);
    refuse(SYS_epoll_pwait2, EBADF);
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_UNTIL_DONE), XEV_EBADF);
    xev_loop_deinit(&n.loop);
    CHECK_EQ(op.result, XEV_ECANCELED);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
    CHECK_EQ(open_fds(), n.fds_before);
}

#endif

#if !defined(XEV_NO_IO_URING)

/* A program may shut itself in after it has begun. */
TEST(a_ring_that_cannot_be_entered_any_more_ends_the_run_and_the_loop) {
    static const xev_loop_options by_io_uring = {.backend = XEV_BACKEND_IO_URING};
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, &by_io_uring);
    local_pair(fd);
    do_recv(&op, &n, fd[0]);
    settle(&n);
    refuse(SYS_io_uring_enter, EPERM);
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_ONCE), XEV_EPERM);
    xev_loop_deinit(&n.loop);
    CHECK_EQ(op.ends, 1);
    CHECK_EQ(op.result, XEV_ECANCELED);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(close(fd[1]), 0);
    CHECK_EQ(open_fds(), n.fds_before);
}

#endif
