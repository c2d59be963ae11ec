/* The counters of a loop. */
#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/loop_scene.h"

static uint64_t submitted(const xev_loop_metrics *m, const char *name) {
    for (int i = 0; i < XEV_OPS; i++) {
        if (strcmp(m->ops[i].name, name) == 0) {
            return m->ops[i].count;
        }
    }
    CHECK_FAIL("no operation is called %s", name);
}

static xev_cb_action four_times(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    return ++*(int *)userdata < 4 ? XEV_REARM : XEV_DISARM;
}

static uint64_t slept_ns(xev_loop *loop) {
    xev_loop_metrics m;
    xev_loop_metrics_get(loop, &m);
    CHECK(m.asleep_ns == 0 || m.sleeps > 0);
    return m.asleep_ns;
}

/* However often the machine holds us up until the timer is due, and there is no sleep. */
static xev_cb_action until_10_ms_asleep(xev_loop *loop, xev_completion *c, int result,
                                        void *userdata) {
    (void)c;
    (void)userdata;
    CHECK_EQ(result, 0);
    return slept_ns(loop) < 10 * 1000 * 1000 ? XEV_REARM : XEV_DISARM;
}

/* By the clock the loop goes by: where ticks come late, it is late as well. */
static xev_cb_action blocks_for_100_ms(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    (void)userdata;
    for (uint64_t begin = clock_ns(); clock_ns() - begin < 100 * MS_NS;) {
        usleep(1000);
    }
    return XEV_DISARM;
}

static xev_cb_action on_byte(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    CHECK_EQ(result, 1);
    return XEV_DISARM;
}

TEST(a_new_loop_has_counted_nothing) {
    xev_loop loop;
    xev_loop_metrics m;
    loop_start(&loop);
    xev_loop_metrics_get(&loop, &m);
    CHECK_EQ(m.turns, 0);
    CHECK_EQ(m.callbacks, 0);
    CHECK_EQ(m.submissions, 0);
    CHECK_EQ(m.sleeps, 0);
    CHECK_EQ(m.wakes, 0);
    xev_loop_deinit(&loop);
}

TEST(operations_and_callbacks_are_counted) {
    xev_loop loop;
    xev_completion timer, read;
    xev_loop_metrics m;
    int fired = 0, fds[2];
    char byte;
    loop_start(&loop);
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    xev_timer_run(NULL, &loop, &timer, 5, &fired, four_times);
    xev_fd_read(fds[0], &loop, &read, &byte, 1, NULL, on_byte);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    xev_loop_metrics_get(&loop, &m);
    CHECK_EQ(submitted(&m, "timer"), 4); /* repeats included */
    CHECK_EQ(submitted(&m, "read"), 1);
    CHECK_EQ(m.submissions, 5);
    CHECK_EQ(m.callbacks, 5);
    CHECK_GE(m.events, 1);
    CHECK_GE(m.turns, 4);
    CHECK_EQ(m.wakes, 0);
    CHECK_GT(m.awake_ns, 0);
    xev_loop_deinit(&loop);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

/* What a stream brought, one call at a time. */
struct stream {
    int results[4], len;
};

static xev_cb_action on_stream(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct stream *s = userdata;
    (void)loop;
    CHECK_LT(s->len, 4);
    s->results[s->len++] = result;
    return xev_completion_more(c) ? XEV_REARM : XEV_DISARM;
}

static void tcp_pair(int fds[2]) {
    xev_addr at;
    xev_tcp l = listener(&at, 1);
    struct sockaddr_in peer = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((uint16_t)xev_addr_port(&at))};
    fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fds[1], 0);
    CHECK_EQ(connect(fds[1], (struct sockaddr *)(void *)&peer, sizeof peer), 0);
    wait_connections(l, 1);
    fds[0] = xev_tcp_accept_now(l);
    CHECK_GE(fds[0], 0);
    CHECK_EQ(xev_tcp_close_now(l), 0);
}

/* By epoll: the wait, the receive and the registration; what the socket holds is known by then. By
 * io_uring one call does it all. */
TEST(a_stream_that_was_emptied_is_not_tried_in_vain) {
    xev_loop loop;
    xev_completion recv;
    xev_loop_metrics begun, m; /* a loop on kqueue begins by calls of its own */
    int fds[2];
    struct stream s = {0};
    loop_start(&loop);
    xev_loop_metrics_get(&loop, &begun);
    tcp_pair(fds);
    CHECK_EQ(write(fds[1], "abc", 3), 3);
    struct pollfd arrived = {.fd = fds[0], .events = POLLIN};
    while (poll(&arrived, 1, -1) != 1) { /* the system may take its time */
    }
    xev_tcp_recv_multi(xev_tcp_from_fd(fds[0]), &loop, &recv, &s, on_stream);
    while (s.len < 1) {
        CHECK_EQ(xev_loop_run(&loop, XEV_RUN_ONCE), 0);
    }
    xev_loop_metrics_get(&loop, &m);
    CHECK_LE(m.syscalls - begun.syscalls, 3);
    CHECK_EQ(write(fds[1], "de", 2), 2);
    while (s.len < 2) {
        CHECK_EQ(xev_loop_run(&loop, XEV_RUN_ONCE), 0);
    }
    CHECK_EQ(close(fds[1]), 0);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    CHECK_EQ(s.len, 3);
    CHECK_EQ(s.results[0], 3);
    CHECK_EQ(s.results[1], 2);
    CHECK_EQ(s.results[2], XEV_EOF);
    xev_loop_deinit(&loop);
    CHECK_EQ(close(fds[0]), 0);
}

/* The end came with the data, before the descriptor was registered: its edge is the same. */
TEST(the_end_of_a_stream_that_came_with_its_data_is_not_missed) {
    xev_loop loop;
    xev_completion recv;
    int fds[2];
    struct stream s = {0};
    loop_start(&loop);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    CHECK_EQ(write(fds[1], "abc", 3), 3);
    CHECK_EQ(close(fds[1]), 0);
    xev_tcp_recv_multi(xev_tcp_from_fd(fds[0]), &loop, &recv, &s, on_stream);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    CHECK_EQ(s.len, 2);
    CHECK_EQ(s.results[0], 3);
    CHECK_EQ(s.results[1], XEV_EOF);
    xev_loop_deinit(&loop);
    CHECK_EQ(close(fds[0]), 0);
}

TEST(sleep_is_told_from_being_awake) {
    xev_loop loop;
    xev_completion timer;
    xev_loop_metrics m;
    loop_start(&loop);
    xev_timer_run(NULL, &loop, &timer, 5, NULL, until_10_ms_asleep);
    uint64_t begin = clock_ns();
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    uint64_t took = clock_ns() - begin;
    xev_loop_metrics_get(&loop, &m);
    CHECK_GE(m.sleeps, 1);
    CHECK_GE(m.syscalls, m.sleeps);
    CHECK_EQ(m.wakes, 0);
    CHECK_GT(m.awake_ns, 0);
    CHECK_LE(m.asleep_ns + m.awake_ns, took);
    xev_loop_deinit(&loop);
}

static void longest_of(bool time_callbacks, xev_loop_metrics *m) {
    xev_loop loop;
    xev_completion c;
    xev_loop_options options = {.time_callbacks = time_callbacks};
    CHECK_EQ(xev_loop_init_options(&loop, &options), 0);
    xev_timer_run(NULL, &loop, &c, 0, NULL, blocks_for_100_ms);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    xev_loop_metrics_get(&loop, m);
    xev_loop_deinit(&loop);
}

TEST(the_longest_turn_is_told) {
    xev_loop_metrics m;
    longest_of(false, &m);
    CHECK_GE(m.longest_turn_ns, 100 * MS_NS);
    CHECK_EQ(m.longest_callback_ns, 0);
}

TEST(the_longest_callback_is_told_where_it_is_asked_for) {
    xev_loop_metrics m;
    longest_of(true, &m);
    CHECK_GE(m.longest_callback_ns, 100 * MS_NS);
    CHECK_GE(m.longest_turn_ns, m.longest_callback_ns);
}

TEST(turns_and_callbacks_are_recorded_where_that_is_asked_for) {
    static xev_histogram turns, callbacks;
    const xev_loop_options o = {.turn_times = &turns, .callback_times = &callbacks};
    xev_loop loop;
    xev_completion blocking, timer;
    xev_loop_metrics m;
    int fired = 0;
    CHECK_EQ(xev_loop_init_options(&loop, &o), 0);
    xev_timer_run(NULL, &loop, &blocking, 1, NULL, blocks_for_100_ms);
    xev_timer_run(NULL, &loop, &timer, 5, &fired, four_times);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    xev_loop_metrics_get(&loop, &m);
    CHECK_EQ(xev_histogram_count(&callbacks), 5);
    CHECK_EQ(xev_histogram_max(&callbacks), m.longest_callback_ns);
    CHECK_GE(xev_histogram_max(&callbacks), 100 * MS_NS);
    CHECK_GE(xev_histogram_count(&turns), 4); /* one blocked, and the others each took some time */
    CHECK_LE(xev_histogram_count(&turns), m.turns + 1);
    CHECK_EQ(xev_histogram_max(&turns), m.longest_turn_ns);
    CHECK_GE(xev_histogram_max(&turns), 100 * MS_NS);
    xev_loop_deinit(&loop);
}
