/* What WASI has nothing for says XEV_ENOTSUP: each call by itself. */
#include <string.h>

#include "xev/xev.h"
#include "tests/net_scene.h"

static xev_addr any(void) {
    xev_addr addr;
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 9), 0);
    return addr;
}

/* Two ends of a stream: the runner's. */
static void pair(int fd[2]) { CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0); }

TEST(sockets_cannot_be_made) {
    xev_tcp tcp;
    xev_udp udp;
    xev_unix sock, both[2];
    xev_fd ends[2];
    CHECK_EQ(xev_tcp_init(&tcp, XEV_AF_INET), XEV_ENOTSUP);
    CHECK_EQ(xev_tcp_init(&tcp, XEV_AF_INET6), XEV_ENOTSUP);
    CHECK_EQ(xev_udp_init(&udp, XEV_AF_INET), XEV_ENOTSUP);
    CHECK_EQ(xev_unix_init(&sock, XEV_UNIX_STREAM), XEV_ENOTSUP);
    CHECK_EQ(xev_unix_init(&sock, XEV_UNIX_DATAGRAM), XEV_ENOTSUP);
    CHECK_EQ(xev_unix_pair(both, XEV_UNIX_STREAM), XEV_ENOTSUP);
    CHECK_EQ(xev_pipe_open(&ends[0], &ends[1]), XEV_ENOTSUP);
}

TEST(a_stream_has_no_addresses_and_options) {
    int fd[2];
    xev_addr addr = any();
    pair(fd);
    xev_tcp tcp = xev_tcp_from_fd(fd[0]);
    CHECK_EQ(xev_tcp_bind(tcp, &addr, false), XEV_ENOTSUP);
    CHECK_EQ(xev_tcp_bind(tcp, &addr, true), XEV_ENOTSUP);
    CHECK_EQ(xev_tcp_listen(tcp, 8), XEV_ENOTSUP);
    CHECK_EQ(xev_tcp_local_addr(tcp, &addr), XEV_ENOTSUP);
    CHECK_EQ(xev_tcp_peer_addr(tcp, &addr), XEV_ENOTSUP);
    CHECK_EQ(xev_tcp_set_nodelay(tcp, true), XEV_ENOTSUP);
    CHECK_EQ(xev_tcp_set_keepalive(tcp, 1000), XEV_ENOTSUP);
    CHECK_EQ(xev_tcp_set_buffers(tcp, 4096, 4096), XEV_ENOTSUP);
    CHECK_EQ(xev_tcp_set_reset_on_close(tcp, true), XEV_ENOTSUP);
    CHECK_EQ(xev_tcp_set_linger(tcp, 1000), XEV_ENOTSUP);
    CHECK_EQ(xev_tcp_close_now(tcp), 0);
    CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(fd[1])), 0);
}

TEST(datagrams) {
    int fd[2];
    xev_addr addr = any();
    pair(fd);
    xev_udp udp = xev_udp_from_fd(fd[0]);
    CHECK_EQ(xev_udp_bind(udp, &addr, 0), XEV_ENOTSUP);
    CHECK_EQ(xev_udp_connect(udp, &addr), XEV_ENOTSUP);
    CHECK_EQ(xev_udp_set_ttl(udp, 4), XEV_ENOTSUP);
    CHECK_EQ(xev_udp_set_broadcast(udp, true), XEV_ENOTSUP);
    CHECK_EQ(xev_udp_set_gro(udp, true), XEV_ENOTSUP);
    CHECK_EQ(xev_udp_set_multicast_ttl(udp, 4), XEV_ENOTSUP);
    CHECK_EQ(xev_udp_set_multicast_loop(udp, true), XEV_ENOTSUP);
    CHECK_EQ(xev_udp_set_buffers(udp, 4096, 4096), XEV_ENOTSUP);
    CHECK_EQ(xev_udp_local_addr(udp, &addr), XEV_ENOTSUP);
    CHECK_EQ(xev_udp_peer_addr(udp, &addr), XEV_ENOTSUP);
    CHECK(!xev_udp_has_gso(udp));
    CHECK_EQ(xev_udp_close_now(udp), 0);
    CHECK_EQ(close(fd[1]), 0);
}

TEST(operations_of_what_there_is_not) {
    struct net n;
    struct op op;
    int fd[2];
    char byte = 0;
    xev_addr addr = any();
    xev_datagram d = {.buf = &byte, .capacity_bytes = 1, .len_bytes = 1, .peer = addr};
    net_open(&n, NULL);
    pair(fd);
    op_new(&op, &n);
    xev_tcp_connect(xev_tcp_from_fd(fd[0]), &n.loop, &op.c, &addr, &op, op_called);
    run_op(&op);
    CHECK_EQ(op.result, XEV_ENOTSUP);
    op_new(&op, &n);
    xev_udp_recv(xev_udp_from_fd(fd[0]), &n.loop, &op.c, &d, &op, op_called);
    run_op(&op);
    CHECK_EQ(op.result, XEV_ENOTSUP);
    op_new(&op, &n);
    xev_udp_send(xev_udp_from_fd(fd[0]), &n.loop, &op.c, &d, &op, op_called);
    run_op(&op);
    CHECK_EQ(op.result, XEV_ENOTSUP);
    op_new(&op, &n);
    xev_fd_poll_multi(fd[0], &n.loop, &op.c, XEV_POLL_IN, &op, op_called);
    run_op(&op);
    CHECK_EQ(op.result, XEV_ENOTSUP);
    close_fd(&n, fd[0]);
    close_fd(&n, fd[1]);
    net_close(&n);
}

TEST(processes_signals_and_changes_of_files) {
    xev_process p;
    xev_signal s;
    xev_fs_event w;
    const char *const argv[] = {"/bin/true", NULL};
    const xev_process_options options = {.argv = argv};
    CHECK_EQ(xev_process_spawn(&p, &options), XEV_ENOTSUP);
    CHECK_EQ(xev_process_open(&p, 1), XEV_ENOTSUP);
    CHECK_EQ(xev_signal_init(&s, 15), XEV_ENOTSUP);
    CHECK_EQ(xev_fs_event_init(&w, "."), XEV_ENOTSUP);
    CHECK_EQ(w.fd, XEV_INVALID_FD);
}

TEST(names) {
    xev_addr addr;
    CHECK_EQ(xev_addr_unix(&addr, "name", 4), XEV_ENOTSUP);
}

TEST(a_loop_has_no_descriptor) {
    xev_loop loop;
    CHECK_EQ(xev_loop_init(&loop), 0);
    CHECK_EQ(xev_loop_backend_fd(&loop), XEV_ENOTSUP);
    xev_loop_deinit(&loop);
}
