/* The end of a loop: every active operation gets its callback, and no descriptor is left. */
#include "tests/loop_scene.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

/* One of every kind, all of them waiting. */
struct everything {
    xev_loop loop;
    xev_threadpool pool;
    xev_watcher watcher;
    xev_tcp pair[2], listening, connecting, fill[8], full[2], idle[2];
    struct op timer, rearming, wait, recv, queued_recv, loan, multi, send, accept, accepts, connect;
    struct op timed_recv, timed_wait, timed_work, running, queued, cancel, closing, closed_recv;
    xev_stream stream;
    xev_write_req requests[3];
    uint32_t requests_done;
    char bytes[4];
    sem_t entered, go;
};

static int held_work(void *userdata) {
    struct op *o = userdata;
    struct everything *e =
        (struct everything *)(void *)((char *)o - offsetof(struct everything, running));
    sem_post(&e->entered);
    sem_take(&e->go);
    return 42;
}

static int never_run(void *userdata) {
    (void)userdata;
    abort();
}

static void request_cb(xev_loop *loop, xev_stream *s, xev_write_req *req, int result,
                       void *userdata) {
    (void)loop;
    struct everything *e = userdata;
    (void)s;
    (void)req;
    CHECK_EQ(result, XEV_ECANCELED);
    e->requests_done++;
}

/* Fill the socket, so that a send waits. */
static void stuff(xev_tcp tcp) {
    static const char block[4096];
    int flags = fcntl(tcp.fd, F_GETFL);
    CHECK_EQ(fcntl(tcp.fd, F_SETFL, flags | O_NONBLOCK), 0);
    while (send(tcp.fd, block, sizeof block, MSG_NOSIGNAL) > 0) {
    }
    CHECK_EQ(errno, EAGAIN);
    while (send(tcp.fd, block, 1, MSG_NOSIGNAL) > 0) {
    }
    CHECK_EQ(fcntl(tcp.fd, F_SETFL, flags), 0);
}

/* A listener whose backlog is full: the next connect waits. */
static void full_backlog(struct everything *e, xev_addr *at) {
    e->listening = listener(at, 1);
    for (size_t i = 0; i < sizeof e->fill / sizeof e->fill[0]; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        CHECK_GE(fd, 0);
        e->fill[i] = xev_tcp_from_fd(fd);
        (void)connect(fd, (const struct sockaddr *)(const void *)at->storage, at->len_bytes);
    }
    /* Those that wait to be accepted, and how many may. */
    struct tcp_info info;
    socklen_t len = sizeof info;
    do {
        CHECK_EQ(getsockopt(e->listening.fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    } while (info.tcpi_unacked <= info.tcpi_sacked);
}

static void start_everything(struct everything *e, bool with_running_work) {
    memset(e, 0, sizeof *e);
    CHECK_EQ(sem_init(&e->entered, 0, 0), 0);
    CHECK_EQ(sem_init(&e->go, 0, 0), 0);
    xev_threadpool_config cfg;
    xev_threadpool_config_init(&cfg);
    xev_threadpool_config_set_max_threads(&cfg, 1);
    CHECK_EQ(xev_threadpool_init(&e->pool, &cfg), 0);
    xev_loop_options options = {.thread_pool = &e->pool};
    xev_loop *loop = &e->loop;
    loop_start_options(loop, &options);
    CHECK_EQ(xev_async_init(&e->watcher), 0);
    socket_pair(e->pair);
    socket_pair(e->full);
    socket_pair(e->idle);
    xev_addr at;
    full_backlog(e, &at);
    CHECK_EQ(xev_tcp_init(&e->connecting, XEV_AF_INET), 0);
    stuff(e->full[0]);
    xev_timer_run(NULL, loop, &e->timer.c, HOUR_MS, &e->timer, op_cb);
    xev_timer_run_ns(NULL, loop, &e->rearming.c, UINT64_MAX, &e->rearming, op_cb);
    e->rearming.rearm = 1;
    xev_async_wait(&e->watcher, loop, &e->wait.c, &e->wait, op_cb);
    xev_completion_set_timeout(loop, &e->wait.c, 3600 * 1000);
    xev_tcp_recv(e->pair[0], loop, &e->recv.c, &e->bytes[0], 1, &e->recv, op_cb);
    xev_tcp_recv(e->pair[0], loop, &e->queued_recv.c, &e->bytes[1], 1, &e->queued_recv, op_cb);
    xev_tcp_recv_loan(e->pair[1], loop, &e->loan.c, &e->loan, op_cb);
    xev_tcp_recv_multi(e->pair[1], loop, &e->multi.c, &e->multi, op_cb);
    xev_tcp_recv_multi(e->full[0], loop, &e->timed_recv.c, &e->timed_recv, op_cb);
    xev_completion_set_timeout(loop, &e->timed_recv.c, 3600 * 1000);
    xev_tcp_send(e->full[0], loop, &e->send.c, "x", 1, &e->send, op_cb);
    xev_stream_init(&e->stream, loop, e->full[0].fd);
    for (int i = 0; i < 3; i++) {
        xev_stream_write(&e->stream, &e->requests[i], "y", 1, e, request_cb);
    }
    xev_tcp_connect(e->connecting, loop, &e->connect.c, &at, &e->connect, op_cb);
    xev_tcp idle_listener = listener(&at, 8);
    e->fill[0].fd = (xev_tcp_close_now(e->fill[0]), idle_listener.fd);
    xev_tcp_accept(idle_listener, loop, &e->accept.c, &e->accept, op_cb);
    xev_tcp_accept_multi(idle_listener, loop, &e->accepts.c, &e->accepts, op_cb);
    if (with_running_work) {
        xev_work_submit(loop, &e->running.c, XEV_LANE_CPU, held_work, &e->running, op_cb);
        sem_take(&e->entered);
        xev_work_submit(loop, &e->queued.c, XEV_LANE_CPU, never_run, &e->queued, op_cb);
        xev_work_submit(loop, &e->timed_work.c, XEV_LANE_FS, never_run, &e->timed_work, op_cb);
        xev_completion_set_timeout(loop, &e->timed_work.c, 3600 * 1000);
    }
}

static void check_everything_ended(struct everything *e, bool with_running_work) {
    struct op *cancelled[] = {&e->timer,       &e->rearming,  &e->wait,   &e->recv,
                              &e->queued_recv, &e->loan,      &e->multi,  &e->timed_recv,
                              &e->send,        &e->connect,   &e->accept, &e->accepts,
                              &e->queued,      &e->timed_work};
    for (size_t i = 0; i < sizeof cancelled / sizeof cancelled[0]; i++) {
        if (!with_running_work && (cancelled[i] == &e->queued || cancelled[i] == &e->timed_work)) {
            continue;
        }
        if (cancelled[i]->calls != 1 || cancelled[i]->result != XEV_ECANCELED) {
            CHECK_FAIL("operation %zu: %u calls, result %d", i, cancelled[i]->calls,
                       cancelled[i]->result);
        }
        CHECK(!is_active(cancelled[i]));
    }
    CHECK_EQ(e->requests_done, 3);
    if (with_running_work) {
        CHECK_EQ(e->running.calls, 1);
        CHECK_EQ(e->running.result, 42);
    }
}

/* The loop was not told to close them, so they must be open. */
static void close_everything(struct everything *e) {
    xev_threadpool_deinit(&e->pool);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(xev_tcp_close_now(e->pair[i]), 0);
        CHECK_EQ(xev_tcp_close_now(e->full[i]), 0);
    }
    CHECK_EQ(xev_tcp_close_now(e->idle[1]), 0); /* the loop's end has closed the other one */
    for (size_t i = 0; i < sizeof e->fill / sizeof e->fill[0]; i++) {
        CHECK_EQ(xev_tcp_close_now(e->fill[i]), 0);
    }
    CHECK_EQ(xev_tcp_close_now(e->listening), 0);
    CHECK_EQ(xev_tcp_close_now(e->connecting), 0);
}

static struct everything every;

/* Once deinit has taken the queued work back. */
static void *open_the_gate(void *arg) {
    struct everything *e = arg;
    xev_threadpool_counters c;
    do {
        sched_yield();
        xev_threadpool_stats(&e->pool, &c);
    } while (c.cancelled < 2);
    sem_post(&e->go);
    return NULL;
}

static void *nothing(void *arg) { return arg; }

/* turns: how far the operations got before. */
static void end_of_everything(int turns) {
    pthread_t first; /* ThreadSanitizer starts one of its own along with it */
    thread_start(&first, nothing, NULL);
    thread_join(first);
    uint32_t fds = descriptors(), threads = entries_of("/proc/self/task");
    start_everything(&every, true);
    for (int i = 0; i < turns; i++) {
        run_no_wait(&every.loop);
    }
    pthread_t t;
    thread_start(&t, open_the_gate, &every);
    xev_cancel(&every.loop, &every.queued.c, &every.cancel.c, &every.cancel, op_cb);
    xev_tcp_recv(every.idle[0], &every.loop, &every.closed_recv.c, &every.bytes[2], 1,
                 &every.closed_recv, op_cb);
    xev_tcp_close(every.idle[0], &every.loop, &every.closing.c, &every.closing, op_cb);
    xev_loop_deinit(&every.loop);
    thread_join(t);
    check_everything_ended(&every, true);
    CHECK_EQ(every.cancel.calls, 1);
    CHECK_EQ(every.cancel.result, 0);
    CHECK_GT(every.cancel.order, every.queued.order);
    CHECK_EQ(every.closed_recv.result, XEV_ECANCELED);
    CHECK_EQ(every.closing.calls, 1);
    CHECK_EQ(every.closing.result, 0); /* it was told to close this one */
    CHECK_GT(every.closing.order, every.closed_recv.order);
    CHECK(fcntl(every.idle[0].fd, F_GETFD) < 0);
    close_everything(&every);
    CHECK_EQ(descriptors(), fds);
    wait_for_threads(threads);
}

TEST(deinit_of_a_loop_that_never_ran_cancels_everything) { end_of_everything(0); }

TEST(deinit_after_a_turn_cancels_everything) { end_of_everything(1); }

TEST(deinit_after_many_turns_cancels_everything) { end_of_everything(10); }

/* --- what had happened already is told --- */

TEST(deinit_delivers_results_that_had_arrived) {
    xev_loop loop;
    loop_start(&loop);
    xev_tcp pair[2];
    socket_pair(pair);
    char byte;
    struct op closing = {0}, recv = {0}, bad = {0}, cancel = {0};
    xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
    run_no_wait(&loop);
    xev_tcp_recv(xev_tcp_from_fd(XEV_INVALID_FD), &loop, &bad.c, &byte, 1, &bad, op_cb);
    xev_cancel(&loop, &recv.c, &cancel.c, &cancel, op_cb);
    xev_tcp_close(pair[1], &loop, &closing.c, &closing, op_cb);
    xev_loop_deinit(&loop);
    CHECK_EQ(bad.result, XEV_EBADF);
    CHECK_EQ(recv.result, XEV_ECANCELED);
    CHECK_EQ(cancel.result, 0);
    CHECK_EQ(closing.result, 0);
    CHECK_EQ(bad.calls + recv.calls + cancel.calls + closing.calls, 4);
    CHECK_EQ(xev_tcp_close_now(pair[0]), 0);
}

/* --- what callbacks of deinit submit --- */

struct chain {
    xev_completion c;
    struct op timer, recv, wait, closing, cancel;
    xev_watcher w;
    xev_tcp pair[2];
    char byte;
    uint32_t calls;
};

static xev_cb_action chain_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct chain *ch = userdata;
    (void)c;
    ch->calls++;
    CHECK_EQ(result, XEV_ECANCELED);
    xev_timer_run(NULL, loop, &ch->timer.c, 0, &ch->timer, op_cb);
    xev_async_wait(&ch->w, loop, &ch->wait.c, &ch->wait, op_cb);
    xev_tcp_recv(ch->pair[0], loop, &ch->recv.c, &ch->byte, 1, &ch->recv, op_cb);
    xev_cancel(loop, &ch->timer.c, &ch->cancel.c, &ch->cancel, op_cb);
    xev_tcp_close(ch->pair[0], loop, &ch->closing.c, &ch->closing, op_cb);
    return XEV_REARM;
}

TEST(deinit_cancels_what_its_callbacks_submit) {
    xev_loop loop;
    loop_start(&loop);
    struct chain ch = {0};
    socket_pair(ch.pair);
    put_bytes(ch.pair[1], "x", 1);
    CHECK_EQ(xev_async_init(&ch.w), 0);
    xev_async_notify(&ch.w);
    xev_timer_run(NULL, &loop, &ch.c, HOUR_MS, &ch, chain_cb);
    xev_loop_deinit(&loop);
    CHECK_EQ(ch.calls, 1);
    struct op *ops[] = {&ch.timer, &ch.recv, &ch.wait};
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(ops[i]->calls, 1);
        CHECK_EQ(ops[i]->result, XEV_ECANCELED);
    }
    CHECK_EQ(ch.cancel.calls, 1);
    CHECK_EQ(ch.closing.calls, 1);
    CHECK_EQ(ch.closing.result, 0);
    CHECK(fcntl(ch.pair[0].fd, F_GETFD) < 0);
    xev_async_deinit(&ch.w);
}

static xev_cb_action greedy_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    uint32_t *left = userdata;
    (void)result;
    if (--*left > 0) {
        xev_timer_run(NULL, loop, c, 0, userdata, greedy_cb);
    }
    return XEV_DISARM;
}

TEST(deinit_bears_with_callbacks_that_submit_again) {
    xev_loop loop;
    loop_start(&loop);
    uint32_t left = 1000;
    xev_completion c = {0};
    xev_timer_run(NULL, &loop, &c, HOUR_MS, &left, greedy_cb);
    xev_loop_deinit(&loop);
    CHECK_EQ(left, 0);
}

/* --- by another thread --- */

static void *run_main(void *arg) {
    run_done(arg);
    return NULL;
}

static void *deinit_main(void *arg) {
    xev_loop_deinit(arg);
    return NULL;
}

struct receives {
    xev_loop loop;
    xev_tcp pair[16][2];
    struct op recv[16], multi[16], timer, wait;
    xev_watcher w;
    char bytes[16];
};

static void start_receives(struct receives *r, bool run_first) {
    memset(r, 0, sizeof *r);
    loop_start(&r->loop);
    CHECK_EQ(xev_async_init(&r->w), 0);
    for (int i = 0; i < 16; i++) {
        socket_pair(r->pair[i]);
        xev_tcp_recv(r->pair[i][0], &r->loop, &r->recv[i].c, &r->bytes[i], 1, &r->recv[i], op_cb);
        xev_tcp_recv_multi(r->pair[i][1], &r->loop, &r->multi[i].c, &r->multi[i], op_cb);
    }
    xev_timer_run(NULL, &r->loop, &r->timer.c, HOUR_MS, &r->timer, op_cb);
    xev_async_wait(&r->w, &r->loop, &r->wait.c, &r->wait, op_cb);
    if (run_first) {
        /* A thread runs it, is stopped, and ends, with all receives in the kernel's hands. */
        struct op end = {0};
        xev_timer_run(NULL, &r->loop, &end.c, 2, &end, op_cb);
        for (int i = 0; i < 16; i++) {
            xev_completion_unref(&r->recv[i].c);
            xev_completion_unref(&r->multi[i].c);
        }
        xev_completion_unref(&r->timer.c);
        xev_completion_unref(&r->wait.c);
        pthread_t t;
        thread_start(&t, run_main, &r->loop);
        thread_join(t);
        CHECK_EQ(end.result, 0);
        CHECK_EQ(end.calls, 1);
    }
}

static void check_receives(struct receives *r) {
    for (int i = 0; i < 16; i++) {
        CHECK_EQ(r->recv[i].calls, 1);
        CHECK_EQ(r->recv[i].result, XEV_ECANCELED);
        CHECK_EQ(r->multi[i].calls, 1);
        CHECK_EQ(r->multi[i].result, XEV_ECANCELED);
        CHECK_EQ(xev_tcp_close_now(r->pair[i][0]), 0);
        CHECK_EQ(xev_tcp_close_now(r->pair[i][1]), 0);
    }
    CHECK_EQ(r->timer.result, XEV_ECANCELED);
    CHECK_EQ(r->wait.result, XEV_ECANCELED);
    xev_async_deinit(&r->w);
}

static struct receives receives;

TEST(deinit_by_the_thread_that_outlives_the_runner) {
    for (int i = 0; i < 20; i++) {
        uint32_t fds = descriptors();
        start_receives(&receives, true);
        xev_loop_deinit(&receives.loop);
        check_receives(&receives);
        CHECK_EQ(descriptors(), fds);
    }
}

/* A new thread may look like the one that ended: same stack, same pthread_t. */
TEST(deinit_by_a_thread_started_after_the_runner_ended) {
    for (int i = 0; i < 20; i++) {
        uint32_t fds = descriptors();
        start_receives(&receives, true);
        pthread_t t;
        thread_start(&t, deinit_main, &receives.loop);
        thread_join(t);
        check_receives(&receives);
        CHECK_EQ(descriptors(), fds);
    }
}

TEST(deinit_by_another_thread_of_a_loop_that_never_ran) {
    start_receives(&receives, false);
    pthread_t t;
    thread_start(&t, deinit_main, &receives.loop);
    thread_join(t);
    check_receives(&receives);
}

TEST(deinit_by_another_thread_leaves_that_threads_own_loop_alone) {
    xev_loop own;
    loop_start(&own);
    xev_tcp pair[2];
    socket_pair(pair);
    for (int i = 0; i < 10; i++) {
        char byte = 0;
        struct op recv = {0};
        xev_tcp_recv(pair[0], &own, &recv.c, &byte, 1, &recv, op_cb);
        run_no_wait(&own);
        start_receives(&receives, true);
        xev_loop_deinit(&receives.loop);
        check_receives(&receives);
        CHECK_EQ(recv.calls, 0);
        put_bytes(pair[1], "a", 1);
        run_done(&own);
        CHECK_EQ(recv.result, 1);
        CHECK_EQ(byte, 'a');
    }
    xev_loop_deinit(&own);
}

/* Data that arrived between the runner's end and the teardown is told, or stays in the socket. */
TEST(deinit_by_another_thread_loses_no_data) {
    start_receives(&receives, true);
    for (int i = 0; i < 16; i++) {
        put_bytes(receives.pair[i][1], "d", 1);
    }
    xev_loop_deinit(&receives.loop);
    for (int i = 0; i < 16; i++) {
        CHECK_EQ(receives.recv[i].calls, 1);
        if (receives.recv[i].result == XEV_ECANCELED) {
            char byte;
            CHECK_EQ(recv(receives.pair[i][0].fd, &byte, 1, MSG_DONTWAIT), 1);
        } else {
            CHECK_EQ(receives.recv[i].result, 1);
            CHECK_EQ(receives.bytes[i], 'd');
        }
    }
}

static void *cycle_main(void *arg) {
    (void)arg;
    for (uint32_t i = 0; i < rounds(100); i++) {
        xev_loop loop;
        loop_start(&loop);
        xev_tcp pair[2];
        socket_pair(pair);
        char byte;
        struct op recv = {0}, timer = {0};
        xev_tcp_recv(pair[0], &loop, &recv.c, &byte, 1, &recv, op_cb);
        xev_timer_run(NULL, &loop, &timer.c, 0, &timer, op_cb);
        run_once(&loop);
        xev_loop_deinit(&loop);
        CHECK_EQ(recv.result, XEV_ECANCELED);
        CHECK_EQ(timer.result, 0);
        CHECK_EQ(xev_tcp_close_now(pair[0]), 0);
        CHECK_EQ(xev_tcp_close_now(pair[1]), 0);
    }
    return NULL;
}

TEST(loops_begin_and_end_in_four_threads_at_once) {
    uint32_t fds = descriptors();
    pthread_t t[4];
    for (int i = 0; i < 4; i++) {
        thread_start(&t[i], cycle_main, NULL);
    }
    for (int i = 0; i < 4; i++) {
        thread_join(t[i]);
    }
    CHECK_EQ(descriptors(), fds);
}
