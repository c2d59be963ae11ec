/* Programs that were started with their standard streams closed. No descriptor that xev makes gets
 * the number of such a stream. Else what the program prints would go there, and a child would
 * inherit it. */
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "tests/fd_scene.h"

static void close_streams(void) {
    for (int i = 0; i < 3; i++) {
        (void)close(i);
    }
}

static void check_streams_closed(void) {
    for (int i = 0; i < 3; i++) {
        if (is_open(i)) {
            CHECK_FAIL("descriptor %d is open", i);
        }
    }
}

static int kept(int fd) {
    CHECK_GT(fd, 2);
    CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    check_streams_closed();
    return fd;
}

TEST(what_a_loop_makes_for_itself_is_no_standard_stream) {
    struct net n;
    xev_fs_event watch;
    xev_threadpool pool;
    xev_signal sig;
    close_streams();
    CHECK_EQ(xev_threadpool_init(&pool, NULL), 0);
    const xev_loop_options options = {.thread_pool = &pool};
    net_open(&n, &options);
    check_streams_closed();
    (void)kept(xev_loop_backend_fd(&n.loop));
    CHECK_EQ(xev_fs_event_init(&watch, "/"), 0);
    check_streams_closed();
    CHECK_EQ(xev_signal_init(&sig, SIGUSR1), 0);
    check_streams_closed();
    settle(&n);
    check_streams_closed();
    xev_signal_deinit(&sig);
    CHECK_EQ(xev_fs_event_close_now(&watch), 0);
    net_close(&n);
    xev_threadpool_deinit(&pool);
    check_streams_closed();
}

TEST(sockets_and_pipes_are_no_standard_stream) {
    struct net n;
    struct op op;
    xev_tcp tcp;
    xev_udp udp;
    xev_unix one, pair[2];
    xev_fd ends[2];
    xev_addr at;
    close_streams();
    net_open(&n, NULL);
    CHECK_EQ(xev_udp_init(&udp, XEV_AF_INET), 0);
    CHECK_EQ(close(kept(udp.fd)), 0);
    CHECK_EQ(xev_unix_init(&one, XEV_UNIX_STREAM), 0);
    CHECK_EQ(close(kept(one.fd)), 0);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_STREAM), 0);
    CHECK_EQ(close(kept(pair[0].fd)), 0);
    CHECK_EQ(close(kept(pair[1].fd)), 0);
    CHECK_EQ(xev_pipe_open(&ends[0], &ends[1]), 0);
    CHECK_EQ(close(kept(ends[0])), 0);
    CHECK_EQ(close(kept(ends[1])), 0);
    CHECK_EQ(xev_tcp_init(&tcp, XEV_AF_INET), 0);
    (void)kept(tcp.fd);
    CHECK_EQ(xev_addr_parse(&at, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_tcp_bind(tcp, &at, false), 0);
    CHECK_EQ(xev_tcp_listen(tcp, 4), 0);
    for (int way = 0; way < 3; way++) {
        int holds = fcntl(tcp.fd, F_DUPFD_CLOEXEC, 0); /* so that the client is not the lowest */
        CHECK_EQ(holds, 0);
        int fillers[2] = {fcntl(tcp.fd, F_DUPFD_CLOEXEC, 0), fcntl(tcp.fd, F_DUPFD_CLOEXEC, 0)};
        int client = plain_connect(tcp.fd);
        close_streams();
        CHECK_LE(fillers[1], 2);
        int fd;
        if (way == 0) {
            while ((fd = xev_tcp_accept_now(tcp)) == XEV_EAGAIN) {
            }
        } else {
            op_new(&op, &n);
            if (way == 1) {
                xev_tcp_accept(tcp, &n.loop, &op.c, &op, op_called);
            } else {
                xev_tcp_accept_multi(tcp, &n.loop, &op.c, &op, op_called);
            }
            run_until(&n, &op.calls, 1);
            fd = op.result;
        }
        CHECK_EQ(close(kept(fd)), 0);
        CHECK_EQ(close(client), 0);
    }
    close_fd(&n, tcp.fd);
    check_streams_closed();
    CHECK_EQ(op.ends, 1);
    net_close(&n);
}

TEST(a_received_descriptor_is_no_standard_stream) {
    struct net n;
    xev_unix pair[2];
    char byte = 'x';
    xev_fd in[2], out[2] = {-1, -1};
    close_streams();
    net_open(&n, NULL);
    CHECK_EQ(xev_unix_pair(pair, XEV_UNIX_DATAGRAM), 0);
    CHECK_EQ(xev_pipe_open(&in[0], &in[1]), 0);
    xev_unix_msg sent = {.buf = &byte, .len_bytes = 1, .fds = in, .fds_len = 2};
    xev_unix_msg got = {.buf = &byte, .len_bytes = 1, .fds = out, .fds_max = 2};
    struct op op;
    xev_unix_send_msg(pair[0], &n.loop, &op_new(&op, &n)->c, &sent, &op, op_called);
    run_op(&op);
    CHECK_EQ(op.result, 1);
    xev_unix_recv_msg(pair[1], &n.loop, &op_new(&op, &n)->c, &got, &op, op_called);
    run_op(&op);
    CHECK_EQ(op.result, 1);
    CHECK_EQ(got.fds_len, 2);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(close(kept(out[i])), 0);
        CHECK_EQ(close(in[i]), 0);
    }
    close_fd(&n, pair[0].fd);
    close_fd(&n, pair[1].fd);
    net_close(&n);
}

static int opened_fd;

static xev_cb_action on_opened(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    opened_fd = result;
    return XEV_DISARM;
}

TEST(files_are_no_standard_stream) {
    struct net n;
    xev_threadpool pool;
    xev_file_req req;
    close_streams();
    CHECK_EQ(xev_threadpool_init(&pool, NULL), 0);
    const xev_loop_options options = {.thread_pool = &pool};
    net_open(&n, &options);
    xev_file_open(&n.loop, &req, "/dev/null", XEV_OPEN_READ, 0, NULL, on_opened);
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_UNTIL_DONE), 0);
    CHECK_EQ(close(kept(opened_fd)), 0);
    net_close(&n);
    xev_threadpool_deinit(&pool);
}

TEST(a_closed_standard_input_is_not_open) {
    struct net n;
    char buf[8];
    close_streams();
    net_open(&n, NULL);
    CHECK_EQ(read_now(&n, 0, buf, sizeof buf), XEV_EBADF);
    CHECK_EQ(write_now(&n, 1, "log", 3), XEV_EBADF);
    CHECK_EQ(write_now(&n, 2, "log", 3), XEV_EBADF);
    net_close(&n);
}

TEST(a_child_inherits_closed_streams_as_closed_and_its_pipes_work) {
    struct net n;
    struct op op;
    xev_process p;
    char buf[16] = "";
    close_streams();
    net_open(&n, NULL);
    const char *const inherits[] = {
        "/bin/sh", "-c", "for i in 0 1 2; do [ -e /proc/$$/fd/$i ] && exit 1; done; exit 0", NULL};
    xev_process_options o = {.argv = inherits};
    for (int i = 0; i < 3; i++) {
        o.stdio[i].kind = XEV_STDIO_INHERIT;
    }
    CHECK_EQ(xev_process_spawn(&p, &o), 0);
    (void)kept(p.fd);
    xev_process_wait(&p, &n.loop, &op_new(&op, &n)->c, &op, op_called);
    run_op(&op);
    CHECK_EQ(op.result, 0);
    xev_process again;
    CHECK_EQ(xev_process_open(&again, getpid()), 0);
    CHECK_EQ(close(kept(again.fd)), 0);
    close_fd(&n, p.fd);

    const char *const echoes[] = {"/bin/sh", "-c", "read a; echo $a $a; exit 3", NULL};
    o = (xev_process_options){.argv = echoes};
    o.stdio[0].kind = o.stdio[1].kind = XEV_STDIO_PIPE;
    CHECK_EQ(xev_process_spawn(&p, &o), 0);
    (void)kept(p.stdio[0]);
    (void)kept(p.stdio[1]);
    CHECK_EQ(write(p.stdio[0], "ab\n", 3), 3);
    for (size_t got = 0; got < 6;) {
        int rc = read_now(&n, p.stdio[1], buf + got, 6 - got);
        CHECK_GT(rc, 0);
        got += (size_t)rc;
    }
    CHECK_STR_EQ(buf, "ab ab\n");
    xev_process_wait(&p, &n.loop, &op_new(&op, &n)->c, &op, op_called);
    run_op(&op);
    CHECK_EQ(op.result, 3);
    close_fd(&n, p.stdio[0]);
    close_fd(&n, p.stdio[1]);
    close_fd(&n, p.fd);
    net_close(&n);
}

/* SUBMIT(code, call): the operation ends with it. */
#define SUBMIT(code, call)                                                                         \
    do {                                                                                           \
        op_new(&op, &n);                                                                           \
        call;                                                                                      \
        run_op(&op);                                                                               \
        CHECK_EQ(op.result, code);                                                                 \
        CHECK(is_open(STDIN_FILENO));                                                              \
    } while (0)
#define ARGS &n.loop, &op.c, &op, op_called

/* A watcher that was zeroed and never initialised names descriptor 0. */
TEST(a_zeroed_watcher_leaves_the_standard_input_alone) {
    struct net n;
    struct op op;
    xev_fs_event watch = {0};
    xev_process process = {0};
    int ends[2], left = 0;
    make_pipe(ends);
    put(ends[1], "input");
    CHECK_EQ(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    net_open(&n, NULL);
    SUBMIT(XEV_EBADF, xev_tcp_close((xev_tcp){0}, ARGS));
    SUBMIT(XEV_EBADF, xev_udp_close((xev_udp){0}, ARGS));
    SUBMIT(XEV_EBADF, xev_unix_close((xev_unix){0}, ARGS));
    SUBMIT(XEV_EBADF, xev_process_close(&process, ARGS));
    SUBMIT(XEV_EBADF, xev_process_wait(&process, ARGS));
    SUBMIT(XEV_EBADF, xev_fs_event_wait(&watch, ARGS));
    SUBMIT(XEV_EBADF, xev_fs_event_close(&watch, ARGS));
    watch = (xev_fs_event){0};
    CHECK_EQ(xev_tcp_close_now((xev_tcp){0}), XEV_EBADF);
    CHECK_EQ(xev_udp_close_now((xev_udp){0}), XEV_EBADF);
    CHECK_EQ(xev_unix_close_now((xev_unix){0}), XEV_EBADF);
    CHECK_EQ(xev_process_close_now(&process), XEV_EBADF);
    CHECK_EQ(xev_fs_event_close_now(&watch), XEV_EBADF);
    CHECK(is_open(STDIN_FILENO));
    CHECK_EQ(ioctl(STDIN_FILENO, FIONREAD, &left), 0);
    CHECK_EQ(left, 5);
    SUBMIT(XEV_ENOTSOCK, xev_tcp_recv_loan((xev_tcp){0}, ARGS));
    net_close(&n);
}

/* As a server that inetd has started. */
TEST(a_standard_stream_that_is_a_socket_is_served_and_closed) {
    struct net n;
    struct op op;
    int pair[2];
    char buf[4];
    local_pair(pair);
    CHECK_EQ(dup2(pair[0], STDIN_FILENO), STDIN_FILENO);
    CHECK_EQ(dup2(pair[0], STDOUT_FILENO), STDOUT_FILENO);
    CHECK_EQ(close(pair[0]), 0);
    net_open(&n, NULL);
    xev_tcp in = xev_tcp_from_fd(STDIN_FILENO), out = xev_tcp_from_fd(STDOUT_FILENO);
    plain_send(pair[1], "data", 4);
    SUBMIT(4, xev_tcp_recv(in, &n.loop, &op.c, buf, 4, &op, op_called));
    close_fd(&n, in.fd);
    CHECK_EQ(xev_tcp_close_now(out), 0);
    CHECK_EQ(recv(pair[1], buf, 4, 0), 0);
    n.fds_before -= 2;
    net_close(&n);
}

TEST(where_no_other_number_is_left_making_one_fails) {
    struct net n;
    struct rlimit old, none;
    xev_tcp tcp;
    xev_fd ends[2];
    close_streams();
    net_open(&n, NULL);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = old.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    int made = xev_tcp_init(&tcp, XEV_AF_INET), piped = xev_pipe_open(&ends[0], &ends[1]);
    xev_loop other;
    int begun = xev_loop_init(&other);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    CHECK(made < 0 && piped < 0 && begun < 0);
    CHECK_EQ(tcp.fd, XEV_INVALID_FD);
    CHECK_EQ(ends[0], XEV_INVALID_FD);
    check_streams_closed();
    net_close(&n);
}
