/* Operations that are submitted by callbacks during the loop's deinit. Each of them ends with
 * XEV_ECANCELED, once, and changes nothing. */
#include <sys/stat.h>

#include "tests/net_scene.h"

enum { MAX = 64 };

struct late {
    struct net n;
    int fd[2];
    int submitted, calls;
    bool submitting;
    xev_completion c[MAX];
    xev_file_req file[MAX];
    xev_dns_req dns[2];
    xev_dial_req dial;
    xev_stream stream;
    xev_write_req write;
    xev_watcher async;
    xev_signal hup;
    xev_process process;
    xev_fs_event changes;
    xev_datagram datagram;
    xev_unix_msg msg;
    xev_addr addr;
    _Alignas(8) char buf[1024];
};

static xev_cb_action called(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct late *t = userdata;
    (void)loop;
    (void)c;
    CHECK(!t->submitting); /* never inside the submitting call */
    CHECK_EQ(result, XEV_ECANCELED);
    t->calls++;
    return XEV_REARM; /* is not heeded */
}

static void written(xev_loop *loop, xev_stream *s, xev_write_req *req, int result, void *userdata) {
    (void)loop;
    struct late *t = userdata;
    (void)s;
    (void)req;
    CHECK_EQ(result, XEV_ECANCELED);
    t->calls++;
}

static int never(void *userdata) {
    (void)userdata;
    CHECK_FAIL("work is done for a loop that ends");
    return 0;
}

static void submit_all(struct late *t) {
    xev_loop *l = &t->n.loop;
    xev_tcp tcp = xev_tcp_from_fd(t->fd[0]);
    xev_unix sock = xev_unix_from_fd(t->fd[0]);
    xev_udp udp = xev_udp_from_fd(t->fd[0]);
    int fd = t->fd[0], n = 0, f = 0;
    char *buf = t->buf;
    const char *path = "/nonexistent/xev";
    xev_vec vec = {buf, 8};
#define ON l, &t->c[n++]
#define FILE_ON l, &t->file[f++]
#define ARG t, called
    xev_timer_run(NULL, ON, 0, ARG);
    xev_async_wait(&t->async, ON, ARG);
    xev_signal_wait(&t->hup, ON, ARG);
    xev_work_submit(ON, XEV_LANE_FS, never, ARG);
    xev_tcp_accept(tcp, ON, ARG);
    xev_tcp_accept_multi(tcp, ON, ARG);
    xev_tcp_connect(tcp, ON, &t->addr, ARG);
    xev_tcp_recv(tcp, ON, buf, 8, ARG);
    xev_tcp_recv_loan(tcp, ON, ARG);
    xev_tcp_recv_multi(tcp, ON, ARG);
    xev_tcp_send(tcp, ON, buf, 8, ARG);
    xev_tcp_shutdown(tcp, ON, ARG);
    xev_unix_accept_multi(sock, ON, ARG);
    xev_unix_recv_loan(sock, ON, ARG);
    xev_unix_recv_multi(sock, ON, ARG);
    xev_unix_send_msg(sock, ON, &t->msg, ARG);
    xev_unix_recv_msg(sock, ON, &t->msg, ARG);
    xev_udp_recv(udp, ON, &t->datagram, ARG);
    xev_udp_recv_multi(udp, ON, &t->datagram, ARG);
    xev_udp_recv_batch(udp, ON, &t->datagram, 1, ARG);
    xev_udp_send(udp, ON, &t->datagram, ARG);
    xev_udp_send_batch(udp, ON, &t->datagram, 1, ARG);
    xev_fd_read(fd, ON, buf, 8, ARG);
    xev_fd_write(fd, ON, buf, 8, ARG);
    xev_fd_readv(fd, ON, &vec, 1, ARG);
    xev_tcp_sendv(tcp, ON, &vec, 1, ARG);
    xev_fd_poll(fd, ON, XEV_POLL_IN, ARG);
    xev_fd_poll_multi(fd, ON, XEV_POLL_IN, ARG);
    xev_process_wait(&t->process, ON, ARG);
    xev_fs_event_wait(&t->changes, ON, ARG);
    xev_file_open(FILE_ON, path, XEV_OPEN_READ, 0, ARG);
    xev_file_read(fd, FILE_ON, buf, 8, ARG);
    xev_file_pread(fd, FILE_ON, buf, 8, 0, ARG);
    xev_file_readv(fd, FILE_ON, &vec, 1, ARG);
    xev_file_write(fd, FILE_ON, buf, 8, ARG);
    xev_file_pwritev(fd, FILE_ON, &vec, 1, 0, ARG);
    xev_file_fsync(fd, FILE_ON, ARG);
    xev_file_fdatasync(fd, FILE_ON, ARG);
    xev_file_stat_fd(fd, FILE_ON, ARG);
    xev_file_stat_path(FILE_ON, path, ARG);
    xev_file_lstat_path(FILE_ON, path, ARG);
    xev_file_truncate(fd, FILE_ON, 0, ARG);
    xev_file_truncate_path(FILE_ON, path, 0, ARG);
    xev_file_rename(FILE_ON, path, path, ARG);
    xev_file_unlink(FILE_ON, path, ARG);
    xev_file_mkdir(FILE_ON, path, 0700, ARG);
    xev_file_rmdir(FILE_ON, path, ARG);
    xev_file_symlink(FILE_ON, path, path, ARG);
    xev_file_link(FILE_ON, path, path, ARG);
    xev_file_readdir(fd, FILE_ON, buf, sizeof t->buf, ARG);
    xev_file_copy(FILE_ON, path, path, 0, ARG);
    xev_file_sendfile(fd, FILE_ON, fd, 0, 8, ARG);
    xev_dns_resolve(l, &t->dns[0], "localhost", NULL, XEV_AF_UNSPEC, &t->addr, 1, ARG);
    xev_dns_name(l, &t->dns[1], &t->addr, buf, 8, ARG);
    xev_stream_write(&t->stream, &t->write, buf, 8, t, written);
    xev_tcp_dial(l, &t->dial, &t->addr, 1, 0, ARG);
    t->submitted = n + f + 4;
}

static xev_cb_action last_words(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct late *t = userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, XEV_ECANCELED);
    t->submitting = true;
    submit_all(t);
    t->submitting = false;
    return XEV_DISARM;
}

TEST(what_is_submitted_while_the_loop_ends_is_cancelled) {
    static struct late t;
    static xev_completion timer;
    xev_threadpool pool;
    xev_threadpool_config cfg;
    xev_threadpool_config_init(&cfg);
    CHECK_EQ(xev_threadpool_init(&pool, &cfg), 0);
    xev_loop_options options = {.thread_pool = &pool};
    net_open(&t.n, &options);
    local_pair(t.fd);
    CHECK_EQ(xev_addr_parse(&t.addr, "127.0.0.1", 9), 0);
    CHECK_EQ(xev_async_init(&t.async), 0);
    CHECK_EQ(xev_signal_init(&t.hup, SIGHUP), 0);
    CHECK_EQ(xev_fs_event_init(&t.changes, "/"), 0);
    CHECK_EQ(xev_process_open(&t.process, getpid()), 0);
    xev_stream_init(&t.stream, &t.n.loop, t.fd[0]);
    t.msg = (xev_unix_msg){.buf = t.buf, .len_bytes = 8};
    t.datagram = (xev_datagram){.buf = t.buf, .capacity_bytes = 8};
    xev_timer_run(NULL, &t.n.loop, &timer, 1000, &t, last_words);
    xev_loop_deinit(&t.n.loop);
    CHECK_GT(t.submitted, 50);
    CHECK_EQ(t.calls, t.submitted);
    xev_signal_deinit(&t.hup);
    xev_async_deinit(&t.async);
    CHECK_EQ(xev_fs_event_close_now(&t.changes), 0);
    CHECK_EQ(xev_process_close_now(&t.process), 0);
    CHECK_EQ(close(t.fd[0]), 0);
    CHECK_EQ(close(t.fd[1]), 0);
    xev_threadpool_deinit(&pool);
    CHECK_EQ(open_fds(), t.n.fds_before);
}
