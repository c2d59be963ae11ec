/* Which thread may call what. A loop belongs to the thread that ran it first. In builds without
 * NDEBUG another thread's call ends the program with a line that says so. The calls that any thread
 * may make work. */
#include "tests/loop_scene.h"

/* Of calls that must not return. */
#pragma GCC diagnostic ignored "-Wunused-result"

static xev_loop loop;
static xev_watcher w;
static struct op ticks, idle;
static struct {
    pthread_t thread;
    sem_t go, done;
    bool run_to_end;
} owner;

static void *own_main(void *arg) {
    (void)arg;
    sem_wait(&owner.go);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_NO_WAIT), 0);
    sem_post(&owner.done);
    if (!owner.run_to_end) {
        sem_wait(&owner.go); /* alive, and elsewhere */
    }
    return NULL;
}

static void run_elsewhere(void) {
    CHECK_EQ(sem_init(&owner.go, 0, 0), 0);
    CHECK_EQ(sem_init(&owner.done, 0, 0), 0);
    thread_start(&owner.thread, own_main, NULL);
    sem_post(&owner.go);
    sem_wait(&owner.done);
}

/* The loop, with a timer and a waiter on it, is run by another thread. */
static void owned_elsewhere(bool run_to_end) {
    loop_start(&loop);
    CHECK_EQ(xev_async_init(&w), 0);
    xev_timer_run(NULL, &loop, &ticks.c, HOUR_MS, &ticks, op_cb);
    xev_async_wait(&w, &loop, &idle.c, &idle, op_cb);
    owner.run_to_end = run_to_end;
    run_elsewhere();
}

#if !defined(NDEBUG)

static xev_completion c;
static xev_hook hook;
static xev_stream stream;
static xev_write_req write_req;
static xev_signal sig;
static xev_file_req file_req;
static xev_dns_req dns_req;
static xev_dial_req dial_req;
static xev_addr addr;
static xev_vec vec;
static xev_unix_msg msg;
static xev_datagram datagram;
static xev_fs_event folder = {.fd = XEV_INVALID_FD};
static xev_process process = {.fd = XEV_INVALID_FD};
static char bytes[64];
static const xev_fd no_fd = XEV_INVALID_FD;

static void on_hook(xev_loop *l, xev_hook *h) {
    (void)l;
    (void)h;
}

static int no_work(void *arg) {
    (void)arg;
    return 0;
}

static void walked(const xev_active *active, void *userdata) {
    (void)active;
    (void)userdata;
}

static void written(xev_loop *l, xev_stream *s, xev_write_req *r, int result, void *userdata) {
    (void)l;
    (void)s;
    (void)r;
    (void)result;
    (void)userdata;
}

static void prepare_loop(void) {
    owned_elsewhere(false);
    hook.callback = on_hook;
}

/* function(...), on a thread that is not the loop's, ends the program. */
#define FOREIGN(function, ...)                                                                     \
    do {                                                                                           \
        struct death death;                                                                        \
        if (death_begins(&death)) {                                                                \
            prepare();                                                                             \
            function(__VA_ARGS__);                                                                 \
            death_missed();                                                                        \
        }                                                                                          \
        death_check_words(&death, #function, "thread", "the loop belongs to another thread");      \
    } while (0)

TEST_TIMEOUT(a_loop_is_the_thread_s_that_ran_it, 60) {
#define prepare prepare_loop
    FOREIGN(xev_loop_run, &loop, XEV_RUN_NO_WAIT);
    FOREIGN(xev_loop_deinit, &loop);
    FOREIGN(xev_loop_now, &loop);
    FOREIGN(xev_loop_now_ns, &loop);
    FOREIGN(xev_loop_update_now, &loop);
    FOREIGN(xev_loop_alive, &loop);
    FOREIGN(xev_loop_active, &loop);
    FOREIGN(xev_loop_hook_add, &loop, XEV_HOOK_BEFORE_POLL, &hook);
    FOREIGN(xev_loop_hook_remove, &loop, &hook);
    FOREIGN(xev_loop_backend_fd, &loop);
    FOREIGN(xev_loop_prepare_wait_ns, &loop);
    FOREIGN(xev_loop_walk, &loop, NULL, walked);
    FOREIGN(xev_completion_set_timeout, &loop, &idle.c, 1);
    FOREIGN(xev_completion_set_timeout_ns, &loop, &idle.c, 1);
    FOREIGN(xev_cancel, &loop, &ticks.c, &c, NULL, op_cb);
    FOREIGN(xev_completion_state, &idle.c);
    FOREIGN(xev_completion_ref, &idle.c);
    FOREIGN(xev_completion_unref, &idle.c);
    FOREIGN(xev_completion_more, &idle.c);
    FOREIGN(xev_buf_data, &loop);
    FOREIGN(xev_buf_take, &loop);
    FOREIGN(xev_buf_release, &loop, (xev_buf){0});
#undef prepare
}

TEST_TIMEOUT(operations_begin_on_the_loop_s_thread, 60) {
#define prepare prepare_loop
    FOREIGN(xev_timer_run, NULL, &loop, &c, 1, NULL, op_cb);
    FOREIGN(xev_timer_run_ns, NULL, &loop, &c, 1, NULL, op_cb);
    FOREIGN(xev_timer_reset, NULL, &loop, &ticks.c, NULL, 1, NULL, op_cb);
    FOREIGN(xev_timer_reset, NULL, &loop, &c, NULL, 1, NULL, op_cb);
    FOREIGN(xev_timer_cancel, NULL, &loop, &ticks.c, &c, NULL, op_cb);
    FOREIGN(xev_async_wait, &w, &loop, &c, NULL, op_cb);
    FOREIGN(xev_async_deinit, &w);
    FOREIGN(xev_signal_wait, &sig, &loop, &c, NULL, op_cb);
    FOREIGN(xev_work_submit, &loop, &c, XEV_LANE_CPU, no_work, NULL, op_cb);
    FOREIGN(xev_tcp_accept, (xev_tcp){no_fd}, &loop, &c, NULL, op_cb);
    FOREIGN(xev_tcp_connect, (xev_tcp){no_fd}, &loop, &c, &addr, NULL, op_cb);
    FOREIGN(xev_tcp_recv, (xev_tcp){no_fd}, &loop, &c, bytes, 1, NULL, op_cb);
    FOREIGN(xev_tcp_recv_multi, (xev_tcp){no_fd}, &loop, &c, NULL, op_cb);
    FOREIGN(xev_tcp_send, (xev_tcp){no_fd}, &loop, &c, bytes, 1, NULL, op_cb);
    FOREIGN(xev_tcp_sendv, (xev_tcp){no_fd}, &loop, &c, &vec, 1, NULL, op_cb);
    FOREIGN(xev_tcp_shutdown, (xev_tcp){no_fd}, &loop, &c, NULL, op_cb);
    FOREIGN(xev_tcp_close, (xev_tcp){no_fd}, &loop, &c, NULL, op_cb);
    FOREIGN(xev_tcp_dial, &loop, &dial_req, &addr, 1, 0, NULL, op_cb);
    FOREIGN(xev_udp_recv, (xev_udp){no_fd}, &loop, &c, &datagram, NULL, op_cb);
    FOREIGN(xev_udp_send, (xev_udp){no_fd}, &loop, &c, &datagram, NULL, op_cb);
    FOREIGN(xev_unix_recv_msg, (xev_unix){no_fd}, &loop, &c, &msg, NULL, op_cb);
    FOREIGN(xev_unix_send_msg, (xev_unix){no_fd}, &loop, &c, &msg, NULL, op_cb);
    FOREIGN(xev_fd_read, no_fd, &loop, &c, bytes, 1, NULL, op_cb);
    FOREIGN(xev_fd_write, no_fd, &loop, &c, bytes, 1, NULL, op_cb);
    FOREIGN(xev_fd_poll, no_fd, &loop, &c, XEV_POLL_IN, NULL, op_cb);
    FOREIGN(xev_fd_close, no_fd, &loop, &c, NULL, op_cb);
    FOREIGN(xev_fd_release, no_fd, &loop);
    FOREIGN(xev_file_stat_path, &loop, &file_req, "/", NULL, op_cb);
    FOREIGN(xev_dns_resolve, &loop, &dns_req, "::1", NULL, XEV_AF_UNSPEC, &addr, 1, NULL, op_cb);
    FOREIGN(xev_process_wait, &process, &loop, &c, NULL, op_cb);
    FOREIGN(xev_fs_event_wait, &folder, &loop, &c, NULL, op_cb);
#undef prepare
}

static void prepare_stream(void) {
    int fd[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    loop_start(&loop);
    xev_stream_init(&stream, &loop, fd[0]);
    static char much[1 << 20];
    xev_stream_write(&stream, &write_req, much, sizeof much, NULL, written);
    run_elsewhere();
}

TEST_TIMEOUT(a_stream_is_its_loop_s, 60) {
#define prepare prepare_stream
    static xev_write_req other;
    FOREIGN(xev_stream_write, &stream, &other, bytes, 1, NULL, written);
    FOREIGN(xev_stream_shutdown, &stream, &other, NULL, written);
    FOREIGN(xev_stream_cancel, &stream, &write_req);
    FOREIGN(xev_stream_queued_bytes, &stream);
    FOREIGN(xev_stream_is_full, &stream);
    FOREIGN(xev_stream_set_marks, &stream, 1, 2, NULL, NULL);
    FOREIGN(xev_stream_set_timeout, &stream, 1);
    FOREIGN(xev_stream_init, &stream, &loop, no_fd);
#undef prepare
}

static void watch_elsewhere(void) {
    CHECK_EQ(xev_signal_init(&sig, SIGUSR2), 0);
    loop_start(&loop);
    xev_signal_wait(&sig, &loop, &c, NULL, op_cb);
    run_elsewhere();
}

static void watch_folder_elsewhere(void) {
    CHECK_EQ(xev_fs_event_init(&folder, "/"), 0);
    loop_start(&loop);
    xev_fs_event_wait(&folder, &loop, &c, NULL, op_cb);
    run_elsewhere();
}

TEST(changes_of_files_are_their_loop_s) {
    size_t at = 0;
    xev_fs_change change;
#define prepare watch_folder_elsewhere
    FOREIGN(xev_fs_event_next, &folder, 1, &at, &change);
#undef prepare
}

TEST(a_signal_is_its_loop_s) {
#define prepare watch_elsewhere
    FOREIGN(xev_signal_deinit, &sig);
#undef prepare
}

#endif

/* Which is the one thread that matters to it. */
TEST(a_loop_that_nobody_has_run_is_anybody_s) {
    struct op extra = {0};
    loop_start(&loop);
    CHECK_EQ(xev_async_init(&w), 0);
    xev_timer_run(NULL, &loop, &ticks.c, HOUR_MS, &ticks, op_cb);
    xev_async_wait(&w, &loop, &idle.c, &idle, op_cb);
    xev_timer_run(NULL, &loop, &extra.c, 0, &extra, op_cb);
    CHECK_EQ(sem_init(&owner.go, 0, 0), 0);
    CHECK_EQ(sem_init(&owner.done, 0, 0), 0);
    owner.run_to_end = true;
    thread_start(&owner.thread, own_main, NULL);
    xev_completion_unref(&ticks.c); /* still nobody's */
    CHECK_EQ(xev_loop_active(&loop), 3);
    sem_post(&owner.go);
    sem_wait(&owner.done);
    thread_join(owner.thread);
    xev_loop_deinit(&loop);
    CHECK_EQ(ticks.result, XEV_ECANCELED);
    CHECK_EQ(extra.calls, 1);
}

TEST(another_thread_ends_the_loop_of_one_that_has_ended) {
    owned_elsewhere(true);
    thread_join(owner.thread);
    CHECK_EQ(xev_loop_active(&loop), 2);
    while (xev_completion_state(&ticks.c) == XEV_COMPLETION_DEAD) {
        usleep(100); /* the join may return a moment before the kernel has forgotten the thread */
    }
    xev_completion_unref(&ticks.c);
    xev_completion_unref(&idle.c);
    xev_async_deinit(&w);
    xev_loop_deinit(&loop);
    CHECK_EQ(ticks.result, XEV_ECANCELED);
    CHECK_EQ(idle.result, XEV_ECANCELED);
}

TEST(any_thread_may_notify_stop_and_look) {
    xev_loop_metrics metrics;
    owned_elsewhere(false);
    CHECK_EQ(xev_async_notify(&w), 0);
    xev_loop_stop(&loop);
    xev_loop_metrics_get(&loop, &metrics);
    CHECK_GE(metrics.turns, 1);
    CHECK(xev_loop_backend(&loop) != NULL);
    (void)xev_loop_features(&loop);
    (void)xev_loop_fallback_reason(&loop);
    FILE *nothing = fopen("/dev/null", "we");
    CHECK(nothing != NULL);
    xev_loop_print_active(&loop, nothing); /* by a debugger, whichever thread it is in */
    CHECK_EQ(fclose(nothing), 0);
    sem_post(&owner.go);
    thread_join(owner.thread);
    xev_loop_deinit(&loop);
}
