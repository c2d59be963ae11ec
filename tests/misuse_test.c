/* Misuse that ends the program: a public call with a null pointer, an active completion, or a loop
 * that is not initialised. The line on stderr names the call. Bad arguments for which the result is
 * a code are in bad_argument_test.c. api_test.sh checks that every argument of every call has a row
 * in one of the two files.
 *
 *     DIES(function, argument, values...)  these values end the program, for argument's sake
 *     SUBMITS(function, values...)         so does each wrong loop, completion (or request) and
 *                                          callback, in turn, in the place of L, C (F, D, DIAL) and
 * CB
 */
#include "tests/loop_scene.h"

/* Of calls that must not return. */
#pragma GCC diagnostic ignored "-Wunused-result"

/* What is wrong with the arguments of a submission. */
enum wrong {
    NOTHING,
    NULL_LOOP,
    ZEROED_LOOP,
    ENDED_LOOP,
    NULL_COMPLETION,
    ACTIVE_COMPLETION,
    NULL_CALLBACK,
    WRONGS
};
static const char *const wrong_names[] = {"nothing",      "null loop",       "zeroed loop",
                                          "ended loop",   "null completion", "active completion",
                                          "null callback"};

static xev_loop loop, zeroed_loop, ended_loop;
static union {
    xev_completion c;
    xev_file_req f;
    xev_dns_req d;
    xev_dial_req dial;
} good, busy;
static xev_completion spare; /* one that is not the operation's */

/* The arguments of a submission: good ones, or one of them is wrong. */
static xev_loop *L;
static xev_completion *C;
static xev_file_req *F;
static xev_dns_req *D;
static xev_dial_req *DIAL;
static xev_cb CB;

static xev_watcher watcher;
static xev_signal sig;
static xev_fs_event folder = {.fd = XEV_INVALID_FD};
static xev_process process = {.fd = XEV_INVALID_FD};
static xev_process_options options;
static xev_stream stream;
static xev_write_req request;
static xev_tcp tcp = {XEV_INVALID_FD};
static xev_udp udp = {XEV_INVALID_FD};
static xev_unix sock = {XEV_INVALID_FD};
static xev_addr addr;
static xev_datagram datagram;
static xev_unix_msg msg;
static xev_vec vec;
static xev_file_entry entry;
static xev_fs_change change;
static xev_loop_metrics metrics;
static xev_hook hook, other_hook;
static xev_fd fd;
static size_t at;
static char bytes[XEV_FILE_READDIR_MIN] __attribute__((aligned(8)));

static xev_cb_action ignore(xev_loop *l, xev_completion *c, int result, void *userdata) {
    (void)l;
    (void)c;
    (void)result;
    (void)userdata;
    return XEV_DISARM;
}

static void ignore_write(xev_loop *l, xev_stream *s, xev_write_req *req, int result,
                         void *userdata) {
    (void)l;
    (void)s;
    (void)req;
    (void)result;
    (void)userdata;
}

static void ignore_active(const xev_active *active, void *userdata) {
    (void)active;
    (void)userdata;
}

static void ignore_turn(xev_loop *l, xev_hook *h) {
    (void)l;
    (void)h;
}

static int no_work(void *userdata) {
    (void)userdata;
    return 0;
}

/* In the child: a loop of its own, with busy as an active timer. */
static void prepare(enum wrong wrong) {
    L = wrong == NULL_LOOP ? NULL : wrong == ZEROED_LOOP ? &zeroed_loop : &loop;
    if (wrong == ENDED_LOOP) {
        loop_start(&ended_loop);
        xev_loop_deinit(&ended_loop);
        L = &ended_loop;
    }
    loop_start(&loop);
    xev_async_init(&watcher);
    xev_timer_run(NULL, &loop, &busy.c, HOUR_MS, NULL, ignore);
    C = wrong == NULL_COMPLETION ? NULL : wrong == ACTIVE_COMPLETION ? &busy.c : &good.c;
    F = wrong == NULL_COMPLETION ? NULL : wrong == ACTIVE_COMPLETION ? &busy.f : &good.f;
    DIAL = wrong == NULL_COMPLETION ? NULL : wrong == ACTIVE_COMPLETION ? &busy.dial : &good.dial;
    D = wrong == NULL_COMPLETION ? NULL : wrong == ACTIVE_COMPLETION ? &busy.d : &good.d;
    CB = wrong == NULL_CALLBACK ? NULL : ignore;
}

#define DIES(function, argument, ...) DIES_AFTER(prepare(NOTHING), function, argument, __VA_ARGS__)

#define SUBMITS(function, ...)                                                                     \
    for (int wrong = NOTHING + 1; wrong < WRONGS; wrong++) {                                       \
        struct death death;                                                                        \
        if (death_begins(&death)) {                                                                \
            prepare((enum wrong)wrong);                                                            \
            function(__VA_ARGS__);                                                                 \
            death_missed();                                                                        \
        }                                                                                          \
        death_check(&death, #function, wrong_names[wrong]);                                        \
    }

/* A call that takes a loop and submits nothing. */
#define ON_LOOP(function, argument, ...)                                                           \
    for (int wrong = NULL_LOOP; wrong <= ENDED_LOOP; wrong++) {                                    \
        struct death death;                                                                        \
        if (death_begins(&death)) {                                                                \
            prepare((enum wrong)wrong);                                                            \
            function(__VA_ARGS__);                                                                 \
            death_missed();                                                                        \
        }                                                                                          \
        death_check(&death, #function, wrong_names[wrong]);                                        \
    }

TEST(misuse_of_loops_is_caught) {
    DIES(xev_loop_init, loop, NULL);
    DIES(xev_loop_init_options, loop, NULL, NULL);
    ON_LOOP(xev_loop_deinit, loop, L);
    ON_LOOP(xev_loop_run, loop, L, XEV_RUN_NO_WAIT);
    ON_LOOP(xev_loop_stop, loop, L);
    ON_LOOP(xev_loop_now, loop, L);
    ON_LOOP(xev_loop_now_ns, loop, L);
    ON_LOOP(xev_loop_update_now, loop, L);
    ON_LOOP(xev_loop_alive, loop, L);
    ON_LOOP(xev_loop_active, loop, L);
    DIES(xev_loop_metrics_get, loop, NULL, &metrics);
    DIES(xev_loop_metrics_get, out, L, NULL);
    ON_LOOP(xev_loop_failed_call, loop, L);
    ON_LOOP(xev_loop_backend, loop, L);
    ON_LOOP(xev_loop_features, loop, L);
    ON_LOOP(xev_loop_fallback_reason, loop, L);
    ON_LOOP(xev_loop_thread_pool, loop, L);
    ON_LOOP(xev_loop_backend_fd, loop, L);
    ON_LOOP(xev_loop_prepare_wait_ns, loop, L);
    ON_LOOP(xev_loop_walk, loop, L, NULL, ignore_active);
    DIES(xev_loop_walk, cb, L, NULL, NULL);
    ON_LOOP(xev_loop_print_active, loop, L, stderr);
    DIES(xev_loop_print_active, to, L, NULL);
}

static void *run_it(void *l) {
    CHECK_EQ(xev_loop_run(l, XEV_RUN_NO_WAIT), 0);
    return NULL;
}

/* The loop, which another thread has run before. */
static xev_loop *run_elsewhere(void) {
    pthread_t t;
    thread_start(&t, run_it, L);
    thread_join(t);
    return L;
}

TEST(use_of_a_loop_by_a_second_thread_is_caught) {
    DIES(xev_loop_run, loop, run_elsewhere(), XEV_RUN_NO_WAIT);
    DIES(xev_loop_prepare_wait_ns, loop, run_elsewhere());
    DIES(xev_loop_backend_fd, loop, run_elsewhere());
}

TEST(misuse_of_hooks_is_caught) {
    hook.callback = ignore_turn;
    ON_LOOP(xev_loop_hook_add, loop, L, XEV_HOOK_BEFORE_POLL, &hook);
    DIES(xev_loop_hook_add, hook, L, XEV_HOOK_BEFORE_POLL, NULL);
    DIES(xev_loop_hook_add, hook, L, XEV_HOOK_AFTER_POLL, &other_hook); /* no callback */
    DIES(xev_loop_hook_add, when, L, (xev_hook_when)XEV_HOOK_TIMES, &hook);
    DIES(xev_loop_hook_add, when, L, (xev_hook_when)-1, &hook);
    ON_LOOP(xev_loop_hook_remove, loop, L, &hook);
    DIES(xev_loop_hook_remove, hook, L, NULL);
    DIES(xev_loop_hook_remove, hook, L, &hook); /* not added */
#define ADDED (xev_loop_hook_add(L, XEV_HOOK_AFTER_POLL, &hook), L)
    DIES(xev_loop_hook_add, hook, ADDED, XEV_HOOK_BEFORE_POLL, &hook);
    DIES(xev_loop_hook_remove, hook, (xev_loop_hook_remove(ADDED, &hook), L), &hook);
}

TEST(misuse_of_completions_is_caught) {
    DIES(xev_completion_zero, c, NULL);
    DIES(xev_completion_zero, c, &busy.c);
    DIES(xev_completion_state, c, NULL);
    DIES(xev_completion_more, c, NULL);
    DIES(xev_completion_ref, c, NULL);
    DIES(xev_completion_ref, c, &spare); /* dead */
    DIES(xev_completion_unref, c, NULL);
    DIES(xev_completion_unref, c, &spare);
    SUBMITS(xev_cancel, L, &spare, C, NULL, CB);
    DIES(xev_cancel, target, L, NULL, C, NULL, CB);
    DIES(xev_cancel, target, L, C, C, NULL, CB);
    ON_LOOP(xev_completion_set_timeout, loop, L, &busy.c, 1);
    DIES(xev_completion_set_timeout, c, L, NULL, 1);
    DIES(xev_completion_set_timeout, c, L, &spare, 1);
    DIES(xev_completion_set_timeout, c, L, &busy.c, 1); /* a timer */
    ON_LOOP(xev_completion_set_timeout_ns, loop, L, &busy.c, 1);
    DIES(xev_completion_set_timeout_ns, c, L, NULL, 1);
    DIES(xev_completion_set_timeout_ns, c, L, &spare, 1);
    DIES(xev_completion_set_timeout_ns, c, L, &busy.c, 1); /* a timer */
}

TEST(misuse_of_timers_is_caught) {
    SUBMITS(xev_timer_run, NULL, L, C, 1, NULL, CB);
    SUBMITS(xev_timer_run_ns, NULL, L, C, 1, NULL, CB);
    ON_LOOP(xev_timer_reset, loop, NULL, L, C, NULL, 1, NULL, CB);
    ON_LOOP(xev_timer_reset, loop, NULL, L, &busy.c, NULL, 1, NULL, CB);
    DIES(xev_timer_reset, c, NULL, L, NULL, NULL, 1, NULL, CB);
    DIES(xev_timer_reset, cb, NULL, L, C, NULL, 1, NULL, NULL);
    DIES(xev_timer_reset, cb, NULL, L, &busy.c, NULL, 1, NULL, NULL);
    SUBMITS(xev_timer_cancel, NULL, L, &spare, C, NULL, CB);
    DIES(xev_timer_cancel, c, NULL, L, NULL, C, NULL, CB);
    DIES(xev_timer_cancel, c_cancel, NULL, L, &spare, NULL, NULL, CB);
}

TEST(misuse_of_asyncs_is_caught) {
    DIES(xev_async_init, w, NULL);
    DIES(xev_async_deinit, w, NULL);
    DIES(xev_async_notify, w, NULL);
    SUBMITS(xev_async_wait, &watcher, L, C, NULL, CB);
    DIES(xev_async_wait, w, NULL, L, C, NULL, CB);
}

TEST(misuse_of_work_is_caught) {
    SUBMITS(xev_work_submit, L, C, XEV_LANE_CPU, no_work, NULL, CB);
    DIES(xev_work_submit, fn, L, C, XEV_LANE_CPU, NULL, NULL, CB);
    DIES(xev_work_submit, lane, L, C, XEV_LANE_COUNT, no_work, NULL, CB);
    DIES(xev_work_submit, lane, L, C, (enum xev_threadpool_lane)UINT32_MAX, no_work, NULL, CB);
}

TEST(misuse_of_buffers_is_caught) {
    ON_LOOP(xev_buf_data, loop, L);
    DIES(xev_buf_data, loop, L); /* outside of a callback */
    ON_LOOP(xev_buf_take, loop, L);
    DIES(xev_buf_take, loop, L);
    ON_LOOP(xev_buf_release, loop, L, (xev_buf){0});
    DIES(xev_buf_release, buf, L, (xev_buf){0}); /* not taken */
    DIES(xev_buf_release, buf, L, (xev_buf){.id = UINT32_MAX});
}

TEST(misuse_of_descriptors_is_caught) {
    DIES(xev_pipe_open, read_end, NULL, &fd);
    DIES(xev_pipe_open, write_end, &fd, NULL);
    SUBMITS(xev_fd_read, -1, L, C, bytes, 1, NULL, CB);
    DIES(xev_fd_read, buf, -1, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_fd_write, -1, L, C, bytes, 1, NULL, CB);
    DIES(xev_fd_write, buf, -1, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_fd_readv, -1, L, C, &vec, 1, NULL, CB);
    DIES(xev_fd_readv, vec, -1, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_fd_writev, -1, L, C, &vec, 1, NULL, CB);
    DIES(xev_fd_writev, vec, -1, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_fd_poll, -1, L, C, XEV_POLL_IN, NULL, CB);
    SUBMITS(xev_fd_poll_multi, -1, L, C, XEV_POLL_IN, NULL, CB);
    SUBMITS(xev_fd_close, -1, L, C, NULL, CB);
    ON_LOOP(xev_fd_release, loop, -1, L);
}

TEST(misuse_of_streams_is_caught) {
    DIES(xev_stream_init, stream, NULL, L, -1);
    ON_LOOP(xev_stream_init, loop, &stream, L, -1);
    DIES(xev_stream_init_fd, stream, NULL, L, -1);
    ON_LOOP(xev_stream_init_fd, loop, &stream, L, -1);
    DIES(xev_stream_loop, stream, NULL);
    DIES(xev_stream_fd, stream, NULL);
    DIES(xev_write_req_buf, req, NULL);
    DIES(xev_write_req_len_bytes, req, NULL);
    DIES(xev_stream_set_timeout, stream, NULL, 1);
    DIES(xev_stream_queued_bytes, stream, NULL);
    DIES(xev_stream_is_full, stream, NULL);
    DIES(xev_stream_set_marks, stream, NULL, 0, 1, NULL, NULL);
    DIES(xev_stream_cancel, stream, NULL, &request);
    DIES(xev_stream_cancel, req, &stream, NULL);
#define STREAM (xev_stream_init(&stream, L, -1), &stream)
    DIES(xev_stream_write, stream, NULL, &request, bytes, 1, NULL, ignore_write);
    DIES(xev_stream_write, req, STREAM, NULL, bytes, 1, NULL, ignore_write);
    DIES(xev_stream_write, buf, STREAM, &request, NULL, 1, NULL, ignore_write);
    DIES(xev_stream_write, cb, STREAM, &request, bytes, 1, NULL, NULL);
    DIES(xev_stream_try_write, stream, NULL, bytes, 1);
    DIES(xev_stream_try_write, buf, STREAM, NULL, 1);
    DIES(xev_stream_shutdown, stream, NULL, &request, NULL, ignore_write);
    DIES(xev_stream_shutdown, req, STREAM, NULL, NULL, ignore_write);
    DIES(xev_stream_shutdown, cb, STREAM, &request, NULL, NULL);
    /* Queued already. */
    DIES(xev_stream_write, req,
         (xev_stream_write(STREAM, &request, bytes, 1, NULL, ignore_write), &stream), &request,
         bytes, 1, NULL, ignore_write);
    DIES(xev_stream_shutdown, req,
         (xev_stream_write(STREAM, &request, bytes, 1, NULL, ignore_write), &stream), &request,
         NULL, ignore_write);
}

TEST(misuse_of_tcp_is_caught) {
    DIES(xev_tcp_init, tcp, NULL, XEV_AF_INET);
    SUBMITS(xev_tcp_accept, tcp, L, C, NULL, CB);
    SUBMITS(xev_tcp_accept_multi, tcp, L, C, NULL, CB);
    SUBMITS(xev_tcp_connect, tcp, L, C, &addr, NULL, CB);
    DIES(xev_tcp_connect, addr, tcp, L, C, NULL, NULL, CB);
    SUBMITS(xev_tcp_recv, tcp, L, C, bytes, 1, NULL, CB);
    DIES(xev_tcp_recv, buf, tcp, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_tcp_recv_loan, tcp, L, C, NULL, CB);
    SUBMITS(xev_tcp_recv_multi, tcp, L, C, NULL, CB);
    SUBMITS(xev_tcp_send, tcp, L, C, bytes, 1, NULL, CB);
    DIES(xev_tcp_send, buf, tcp, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_tcp_recvv, tcp, L, C, &vec, 1, NULL, CB);
    DIES(xev_tcp_recvv, vec, tcp, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_tcp_sendv, tcp, L, C, &vec, 1, NULL, CB);
    DIES(xev_tcp_sendv, vec, tcp, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_tcp_dial, L, DIAL, &addr, 1, 0, NULL, CB);
    DIES(xev_tcp_dial, addrs, L, DIAL, NULL, 1, 0, NULL, CB);
    SUBMITS(xev_tcp_shutdown, tcp, L, C, NULL, CB);
    SUBMITS(xev_tcp_close, tcp, L, C, NULL, CB);
    DIES(xev_tcp_local_addr, addr, tcp, NULL);
    DIES(xev_tcp_peer_addr, addr, tcp, NULL);
}

TEST(misuse_of_udp_is_caught) {
    DIES(xev_udp_init, udp, NULL, XEV_AF_INET);
    SUBMITS(xev_udp_recv, udp, L, C, &datagram, NULL, CB);
    DIES(xev_udp_recv, d, udp, L, C, NULL, NULL, CB);
    SUBMITS(xev_udp_recv_multi, udp, L, C, &datagram, NULL, CB);
    DIES(xev_udp_recv_multi, d, udp, L, C, NULL, NULL, CB);
    SUBMITS(xev_udp_recv_batch, udp, L, C, &datagram, 1, NULL, CB);
    DIES(xev_udp_recv_batch, ds, udp, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_udp_send, udp, L, C, &datagram, NULL, CB);
    DIES(xev_udp_send, d, udp, L, C, NULL, NULL, CB);
    SUBMITS(xev_udp_send_batch, udp, L, C, &datagram, 1, NULL, CB);
    DIES(xev_udp_send_batch, ds, udp, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_udp_close, udp, L, C, NULL, CB);
    DIES(xev_udp_local_addr, addr, udp, NULL);
    DIES(xev_udp_peer_addr, addr, udp, NULL);
}

TEST(misuse_of_unix_sockets_is_caught) {
    DIES(xev_addr_bytes, out, &addr, NULL);
    DIES(xev_addr_unix_name, len_bytes, &addr, NULL);
    DIES(xev_unix_init, sock, NULL, XEV_UNIX_STREAM);
    DIES(xev_unix_pair, pair, NULL, XEV_UNIX_STREAM);
    SUBMITS(xev_unix_accept, sock, L, C, NULL, CB);
    SUBMITS(xev_unix_accept_multi, sock, L, C, NULL, CB);
    SUBMITS(xev_unix_connect, sock, L, C, &addr, NULL, CB);
    DIES(xev_unix_connect, addr, sock, L, C, NULL, NULL, CB);
    SUBMITS(xev_unix_recv, sock, L, C, bytes, 1, NULL, CB);
    DIES(xev_unix_recv, buf, sock, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_unix_recv_loan, sock, L, C, NULL, CB);
    SUBMITS(xev_unix_recv_multi, sock, L, C, NULL, CB);
    SUBMITS(xev_unix_send, sock, L, C, bytes, 1, NULL, CB);
    DIES(xev_unix_send, buf, sock, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_unix_recvv, sock, L, C, &vec, 1, NULL, CB);
    DIES(xev_unix_recvv, vec, sock, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_unix_sendv, sock, L, C, &vec, 1, NULL, CB);
    DIES(xev_unix_sendv, vec, sock, L, C, NULL, 1, NULL, CB);
    SUBMITS(xev_unix_shutdown, sock, L, C, NULL, CB);
    SUBMITS(xev_unix_close, sock, L, C, NULL, CB);
    DIES(xev_unix_local_addr, addr, sock, NULL);
    DIES(xev_unix_peer_addr, addr, sock, NULL);
    DIES(xev_unix_peer_cred, cred, sock, NULL);
    SUBMITS(xev_unix_send_msg, sock, L, C, &msg, NULL, CB);
    DIES(xev_unix_send_msg, msg, sock, L, C, NULL, NULL, CB);
    DIES(xev_unix_send_msg, msg, sock, L, C, &(xev_unix_msg){.len_bytes = 1}, NULL, CB);
    DIES(xev_unix_send_msg, msg, sock, L, C, &(xev_unix_msg){.fds_len = 1}, NULL, CB);
    SUBMITS(xev_unix_recv_msg, sock, L, C, &msg, NULL, CB);
    DIES(xev_unix_recv_msg, msg, sock, L, C, NULL, NULL, CB);
    DIES(xev_unix_recv_msg, msg, sock, L, C, &(xev_unix_msg){.len_bytes = 1}, NULL, CB);
    DIES(xev_unix_recv_msg, msg, sock, L, C, &(xev_unix_msg){.fds_max = 1}, NULL, CB);
}

TEST(misuse_of_file_transfers_is_caught) {
    SUBMITS(xev_file_read, -1, L, F, bytes, 1, NULL, CB);
    DIES(xev_file_read, buf, -1, L, F, NULL, 1, NULL, CB);
    SUBMITS(xev_file_pread, -1, L, F, bytes, 1, 0, NULL, CB);
    DIES(xev_file_pread, buf, -1, L, F, NULL, 1, 0, NULL, CB);
    SUBMITS(xev_file_readv, -1, L, F, &vec, 1, NULL, CB);
    DIES(xev_file_readv, vec, -1, L, F, NULL, 1, NULL, CB);
    SUBMITS(xev_file_preadv, -1, L, F, &vec, 1, 0, NULL, CB);
    DIES(xev_file_preadv, vec, -1, L, F, NULL, 1, 0, NULL, CB);
    SUBMITS(xev_file_write, -1, L, F, bytes, 1, NULL, CB);
    DIES(xev_file_write, buf, -1, L, F, NULL, 1, NULL, CB);
    SUBMITS(xev_file_pwrite, -1, L, F, bytes, 1, 0, NULL, CB);
    DIES(xev_file_pwrite, buf, -1, L, F, NULL, 1, 0, NULL, CB);
    SUBMITS(xev_file_writev, -1, L, F, &vec, 1, NULL, CB);
    DIES(xev_file_writev, vec, -1, L, F, NULL, 1, NULL, CB);
    SUBMITS(xev_file_pwritev, -1, L, F, &vec, 1, 0, NULL, CB);
    DIES(xev_file_pwritev, vec, -1, L, F, NULL, 1, 0, NULL, CB);
    SUBMITS(xev_file_sendfile, -1, L, F, -1, 0, 1, NULL, CB);
    SUBMITS(xev_file_readdir, -1, L, F, bytes, sizeof bytes, NULL, CB);
    DIES(xev_file_readdir, buf, -1, L, F, NULL, sizeof bytes, NULL, CB);
    DIES(xev_file_readdir, buf, -1, L, F, bytes + 1, sizeof bytes - 1, NULL, CB); /* crooked */
    DIES(xev_file_next_entry, buf, NULL, 1, &at, &entry);
    DIES(xev_file_next_entry, at_bytes, bytes, 1, NULL, &entry);
    DIES(xev_file_next_entry, entry, bytes, 1, &at, NULL);
}

TEST(misuse_of_open_files_is_caught) {
    SUBMITS(xev_file_open, L, F, "x", XEV_OPEN_READ, 0, NULL, CB);
    DIES(xev_file_open, path, L, F, NULL, XEV_OPEN_READ, 0, NULL, CB);
    SUBMITS(xev_file_close, -1, L, F, NULL, CB);
    SUBMITS(xev_file_fsync, -1, L, F, NULL, CB);
    SUBMITS(xev_file_fdatasync, -1, L, F, NULL, CB);
    SUBMITS(xev_file_stat_fd, -1, L, F, NULL, CB);
    SUBMITS(xev_file_truncate, -1, L, F, 0, NULL, CB);
}

TEST(misuse_of_paths_is_caught) {
    SUBMITS(xev_file_stat_path, L, F, "x", NULL, CB);
    DIES(xev_file_stat_path, path, L, F, NULL, NULL, CB);
    SUBMITS(xev_file_lstat_path, L, F, "x", NULL, CB);
    DIES(xev_file_lstat_path, path, L, F, NULL, NULL, CB);
    SUBMITS(xev_file_truncate_path, L, F, "x", 0, NULL, CB);
    DIES(xev_file_truncate_path, path, L, F, NULL, 0, NULL, CB);
}

TEST(misuse_of_names_is_caught) {
    SUBMITS(xev_file_rename, L, F, "x", "y", NULL, CB);
    DIES(xev_file_rename, from, L, F, NULL, "y", NULL, CB);
    DIES(xev_file_rename, to, L, F, "x", NULL, NULL, CB);
    SUBMITS(xev_file_unlink, L, F, "x", NULL, CB);
    DIES(xev_file_unlink, path, L, F, NULL, NULL, CB);
    SUBMITS(xev_file_mkdir, L, F, "x", 0700, NULL, CB);
    DIES(xev_file_mkdir, path, L, F, NULL, 0700, NULL, CB);
    SUBMITS(xev_file_rmdir, L, F, "x", NULL, CB);
    DIES(xev_file_rmdir, path, L, F, NULL, NULL, CB);
}

TEST(misuse_of_links_and_copies_is_caught) {
    SUBMITS(xev_file_symlink, L, F, "x", "y", NULL, CB);
    DIES(xev_file_symlink, target, L, F, NULL, "y", NULL, CB);
    DIES(xev_file_symlink, link_path, L, F, "x", NULL, NULL, CB);
    SUBMITS(xev_file_link, L, F, "x", "y", NULL, CB);
    DIES(xev_file_link, from, L, F, NULL, "y", NULL, CB);
    DIES(xev_file_link, to, L, F, "x", NULL, NULL, CB);
    SUBMITS(xev_file_copy, L, F, "x", "y", 0, NULL, CB);
    DIES(xev_file_copy, from, L, F, NULL, "y", 0, NULL, CB);
    DIES(xev_file_copy, to, L, F, "x", NULL, 0, NULL, CB);
}

TEST(misuse_of_name_resolution_is_caught) {
    SUBMITS(xev_dns_resolve, L, D, "x", NULL, XEV_AF_INET, &addr, 1, NULL, CB);
    DIES(xev_dns_resolve, host, L, D, NULL, NULL, XEV_AF_INET, &addr, 1, NULL, CB);
    DIES(xev_dns_resolve, addrs, L, D, "x", NULL, XEV_AF_INET, NULL, 1, NULL, CB);
    SUBMITS(xev_dns_name, L, D, &addr, bytes, sizeof bytes, NULL, CB);
    DIES(xev_dns_name, addr, L, D, NULL, bytes, sizeof bytes, NULL, CB);
    DIES(xev_dns_name, name, L, D, &addr, NULL, sizeof bytes, NULL, CB);
}

TEST(misuse_of_processes_is_caught) {
    DIES(xev_process_spawn, p, NULL, &options);
    DIES(xev_process_spawn, options, &process, NULL);
    DIES(xev_process_open, p, NULL, 1);
    SUBMITS(xev_process_wait, &process, L, C, NULL, CB);
    DIES(xev_process_wait, p, NULL, L, C, NULL, CB);
    DIES(xev_process_kill, p, NULL, 0);
    DIES(xev_process_kill_group, p, NULL, 0);
    SUBMITS(xev_process_close, &process, L, C, NULL, CB);
    DIES(xev_process_close, p, NULL, L, C, NULL, CB);
    DIES(xev_process_close_now, p, NULL);
}

TEST(misuse_of_signals_and_file_changes_is_caught) {
    DIES(xev_signal_init, s, NULL, SIGUSR1);
    DIES(xev_signal_deinit, s, NULL);
    SUBMITS(xev_signal_wait, &sig, L, C, NULL, CB);
    DIES(xev_signal_wait, s, NULL, L, C, NULL, CB);
    DIES(xev_fs_event_init, w, NULL, "x");
    DIES(xev_fs_event_init, path, &folder, NULL);
    SUBMITS(xev_fs_event_wait, &folder, L, C, NULL, CB);
    DIES(xev_fs_event_wait, w, NULL, L, C, NULL, CB);
    DIES(xev_fs_event_next, w, NULL, 1, &at, &change);
    DIES(xev_fs_event_next, at_bytes, &folder, 1, NULL, &change);
    DIES(xev_fs_event_next, change, &folder, 1, &at, NULL);
    SUBMITS(xev_fs_event_close, &folder, L, C, NULL, CB);
    DIES(xev_fs_event_close, w, NULL, L, C, NULL, CB);
    DIES(xev_fs_event_close_now, w, NULL);
}
