/* A file is sent to a socket: the whole of it, in its turn among other sends, and no thread of the
 * pool waits for the socket. */
#include <netinet/in.h>

#include "tests/file_scene.h"
#include "tests/refuse.h"

enum { LEN = 3000000 };
static char bytes[LEN], back[LEN + 100];

static int start(struct scene *s, int pair[2]) {
    scene_start(s);
    for (uint32_t i = 0; i < LEN; i++) {
        bytes[i] = (char)(i * 2654435761u >> 24);
    }
    put_file(s, "file", bytes, LEN);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    return open_in(s, "file", XEV_OPEN_READ);
}

static void end(struct scene *s, int file, int pair[2]) {
    run_done(&s->loop);
    close_file(s, file);
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0) {
            close_in(&s->loop, xev_tcp_from_fd(pair[i]));
        }
    }
    scene_end(s);
}

/* Read exactly len at the other end, by the loop. */
static void take(struct scene *s, int fd, size_t len) {
    size_t got = 0;
    while (got < len) {
        struct op o = {0};
        xev_tcp_recv(xev_tcp_from_fd(fd), &s->loop, &o.c, back + got, len - got, &o, op_cb);
        run_for(&s->loop, &o, 1);
        CHECK_GT(o.result, 0);
        got += (size_t)o.result;
    }
}

static bool is_blocking(int fd) { return (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0; }

TEST(sendfile_sends_all_of_it_in_turn) {
    struct scene s;
    int pair[2], file = start(&s, pair);
    struct freq f[2] = {{.calls = 0}};
    struct op head = {0}, middle = {0}, tail = {0};
    xev_tcp out = xev_tcp_from_fd(pair[0]);
    xev_tcp_send(out, &s.loop, &head.c, "head", 4, &head, op_cb);
    xev_file_sendfile(pair[0], &s.loop, &f[0].r, file, 0, LEN, &f[0], freq_cb);
    xev_tcp_send(out, &s.loop, &middle.c, "middle", 6, &middle, op_cb);
    xev_file_sendfile(pair[0], &s.loop, &f[1].r, file, 1000, 7, &f[1], freq_cb);
    xev_tcp_shutdown(out, &s.loop, &tail.c, &tail, op_cb);
    take(&s, pair[1], 4 + LEN + 6 + 7);
    run_done(&s.loop);
    CHECK_EQ(f[0].result, LEN);
    CHECK_EQ(f[0].r.done_bytes, LEN);
    CHECK_EQ(f[1].result, 7);
    CHECK_EQ(head.result, 4);
    CHECK_EQ(middle.result, 6);
    CHECK_EQ(tail.result, 0);
    CHECK(head.order < f[0].order && f[0].order < middle.order && middle.order < f[1].order);
    CHECK_MEM_EQ(back, "head", 4);
    CHECK_MEM_EQ(back + 4, bytes, LEN);
    CHECK_MEM_EQ(back + 4 + LEN, "middle", 6);
    CHECK_MEM_EQ(back + 10 + LEN, bytes + 1000, 7);
    CHECK(is_blocking(pair[0]));
    end(&s, file, pair);
}

TEST(sendfile_over_tcp) {
    struct scene s;
    int pair[2], file = start(&s, pair);
    xev_addr at;
    xev_tcp listening = listener(&at, 1), client;
    struct op accepted = {0}, connected = {0};
    CHECK_EQ(xev_tcp_init(&client, XEV_AF_INET), 0);
    CHECK_EQ(xev_tcp_set_buffers(client, 8192, 0), 0);
    xev_tcp_accept(listening, &s.loop, &accepted.c, &accepted, op_cb);
    xev_tcp_connect(client, &s.loop, &connected.c, &at, &connected, op_cb);
    run_done(&s.loop);
    CHECK_EQ(connected.result, 0);
    CHECK_GE(accepted.result, 0);
    struct freq f = {0};
    xev_file_sendfile(client.fd, &s.loop, &f.r, file, 0, LEN, &f, freq_cb);
    take(&s, accepted.result, LEN);
    CHECK_EQ(wait_for(&s, &f), LEN);
    CHECK_MEM_EQ(back, bytes, LEN);
    close_in(&s.loop, listening);
    close_in(&s.loop, client);
    close_in(&s.loop, xev_tcp_from_fd(accepted.result));
    end(&s, file, pair);
}

TEST(sendfile_ends_at_the_end_of_the_file) {
    struct scene s;
    struct freq f;
    int pair[2], file = start(&s, pair);
    xev_loop *l = &s.loop;
    CHECK_EQ(RUN(&s, xev_file_sendfile(pair[0], l, &f.r, file, LEN - 10, 1000, ARG)), 10);
    CHECK_EQ(RUN(&s, xev_file_sendfile(pair[0], l, &f.r, file, LEN, 1000, ARG)), XEV_EOF);
    CHECK_EQ(RUN(&s, xev_file_sendfile(pair[0], l, &f.r, file, 0, 0, ARG)), XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_sendfile(pair[0], l, &f.r, file, INT64_MAX, 1, ARG)), XEV_EINVAL);
    memset(&f, 0, sizeof f);
    f.rearm = 1; /* refused again */
    xev_file_sendfile(pair[0], l, &f.r, file, 0, 0, &f, freq_cb);
    run_done(l);
    CHECK_EQ(f.calls, 2);
    CHECK_EQ(f.result, XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_sendfile(pair[0], l, &f.r, -1, 0, 1, ARG)), XEV_EBADF);
    CHECK_EQ(RUN(&s, xev_file_sendfile(-1, l, &f.r, file, 0, 1, ARG)), XEV_EBADF);
    CHECK_EQ(RUN(&s, xev_file_sendfile(pair[0], l, &f.r, 987654, 0, 1, ARG)), XEV_EBADF);
    take(&s, pair[1], 10);
    CHECK_MEM_EQ(back, bytes + LEN - 10, 10);
    /* Repeated, it starts over. */
    memset(&f, 0, sizeof f);
    f.rearm = 2;
    xev_file_sendfile(pair[0], l, &f.r, file, 5, 10, &f, freq_cb);
    CHECK_EQ(wait_calls(&s, &f, 3), 10);
    CHECK_EQ(f.total, 30);
    take(&s, pair[1], 30);
    CHECK_MEM_EQ(back + 20, bytes + 5, 10);
    end(&s, file, pair);
}

/* A sendfile to a peer that does not read, once it has come to a stand. */
static void start_stuck(struct scene *s, int pair[2], int file, struct freq *f) {
    memset(f, 0, sizeof *f);
    xev_file_sendfile(pair[0], &s->loop, &f->r, file, 0, LEN, f, freq_cb);
    while (f->r.done_bytes == 0) { /* the first piece is as much as the socket takes */
        run_once(&s->loop);        /* the callbacks of a timer, so that it comes back */
    }
}

static xev_cb_action tick(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    return result == 0 ? XEV_REARM : XEV_DISARM;
}

TEST(sendfile_to_a_peer_that_does_not_read_holds_no_thread) {
    struct scene s;
    int pair[2], file = start(&s, pair);
    struct freq f, g;
    struct op cancel;
    xev_completion timer;
    xev_timer_run(NULL, &s.loop, &timer, 1, NULL, tick);
    start_stuck(&s, pair, file, &f);
    memset(&g, 0, sizeof g); /* the lane has one thread, and it is free */
    xev_file_stat_fd(file, &s.loop, &g.r, &g, freq_cb);
    CHECK_EQ(wait_for(&s, &g), 0);
    CHECK_EQ(f.calls, 0);
    /* And none is asked again and again. */
    xev_threadpool_counters first, last;
    xev_threadpool_stats(&s.pool, &first);
    for (int i = 0; i < 20; i++) {
        run_once(&s.loop);
    }
    xev_threadpool_stats(&s.pool, &last);
    CHECK_LE(last.finished, first.finished + 1); /* the last piece may only now be counted */
    cancel_op(&s, &f.r.c, &cancel);
    CHECK_EQ(wait_for(&s, &f), XEV_ECANCELED);
    run_for(&s.loop, &cancel, 1);
    CHECK_EQ(cancel.result, 0);
    uint64_t sent = f.r.done_bytes;
    CHECK(sent > 0 && sent < LEN);
    CHECK(is_blocking(pair[0]));
    /* What was sent is there, and nothing else; the next one goes on from there. */
    xev_file_sendfile(pair[0], &s.loop, &g.r, file, sent, LEN - (size_t)sent, &g, freq_cb);
    take(&s, pair[1], LEN);
    CHECK_EQ(wait_calls(&s, &g, 2), LEN - (int)sent);
    CHECK_MEM_EQ(back, bytes, LEN);
    struct op stop_timer;
    cancel_op(&s, &timer, &stop_timer);
    end(&s, file, pair);
}

static uint64_t turns(const struct scene *s) {
    xev_loop_metrics m;
    xev_loop_metrics_get(&s->loop, &m);
    return m.turns;
}

TEST(sendfile_waits_for_room_after_the_peers_end) {
    struct scene s;
    int pair[2], file = start(&s, pair);
    struct freq f;
    struct op timer = {0}, stop_ticks;
    xev_completion ticks;
    xev_timer_run(NULL, &s.loop, &ticks, 1, NULL, tick);
    start_stuck(&s, pair, file, &f);
    cancel_op(&s, &ticks, &stop_ticks);
    CHECK_EQ(shutdown(pair[1], SHUT_WR), 0);
    uint64_t before = turns(&s);
    xev_timer_run(NULL, &s.loop, &timer.c, 20, &timer, op_cb);
    run_for(&s.loop, &timer, 1);
    CHECK_LT(turns(&s), before + 10); /* it sleeps */
    CHECK_EQ(f.calls, 0);
    take(&s, pair[1], LEN);
    CHECK_EQ(wait_for(&s, &f), LEN);
    CHECK_MEM_EQ(back, bytes, LEN);
    end(&s, file, pair);
}

TEST(socket_stays_non_blocking_for_the_next_sendfile) {
    struct scene s;
    int pair[2], file = start(&s, pair);
    struct freq f, g = {.calls = 0};
    struct hold held;
    struct op cancel;
    xev_completion timer;
    xev_timer_run(NULL, &s.loop, &timer, 1, NULL, tick);
    start_stuck(&s, pair, file, &f);
    hold_lane(&s, &held, XEV_LANE_FS);
    xev_file_sendfile(pair[0], &s.loop, &g.r, file, 0, LEN, &g, freq_cb);
    size_t sent = (size_t)f.r.done_bytes;
    CHECK_EQ(recv(pair[1], back, sent, MSG_WAITALL), (ssize_t)sent); /* there is room again */
    cancel_op(&s, &f.r.c, &cancel);
    CHECK_EQ(wait_for(&s, &f), XEV_ECANCELED);
    xev_threadpool_counters n;
    do { /* until the next one's piece waits for the thread */
        run_no_wait(&s.loop);
        xev_threadpool_stats(&s.pool, &n);
    } while (n.lane[XEV_LANE_FS].queued == 0);
    CHECK(!is_blocking(pair[0]));
    let_go(&s, &held);
    take(&s, pair[1], LEN + (size_t)f.r.done_bytes - sent);
    CHECK_EQ(wait_for(&s, &g), LEN);
    CHECK(is_blocking(pair[0]));
    struct op stop_timer;
    cancel_op(&s, &timer, &stop_timer);
    end(&s, file, pair);
}

TEST(sendfile_ends_by_deadline_close_and_reset) {
    struct scene s;
    int pair[2], file = start(&s, pair);
    struct freq f;
    xev_completion timer;
    xev_timer_run(NULL, &s.loop, &timer, 1, NULL, tick);
    start_stuck(&s, pair, file, &f);
    xev_completion_set_timeout(&s.loop, &f.r.c, 1);
    CHECK_EQ(wait_for(&s, &f), XEV_ETIMEDOUT);
    CHECK_GT(f.r.done_bytes, 0);
    /* Two, the second behind the first, and the socket closes. */
    struct freq g[2] = {{.calls = 0}};
    for (int i = 0; i < 2; i++) {
        xev_file_sendfile(pair[0], &s.loop, &g[i].r, file, 0, LEN, &g[i], freq_cb);
    }
    int other = dup(pair[0]);
    CHECK_GE(other, 0);
    struct op closing = {0};
    xev_tcp_close(xev_tcp_from_fd(pair[0]), &s.loop, &closing.c, &closing, op_cb);
    run_for(&s.loop, &closing, 1);
    CHECK_EQ(closing.result, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(g[i].calls, 1);
        CHECK_EQ(g[i].result, XEV_ECANCELED);
        CHECK_LT(g[i].order, closing.order);
    }
    CHECK_EQ(fcntl(pair[0], F_GETFD), -1);
    CHECK(is_blocking(other)); /* as before, for those who have the socket too */
    CHECK_EQ(close(other), 0);
    CHECK_EQ(close(pair[1]), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    start_stuck(&s, pair, file, &f);
    CHECK_EQ(close(pair[1]), 0);
    pair[1] = -1;
    int rc = wait_for(&s, &f);
    CHECK(rc == XEV_EPIPE || rc == XEV_ECONNRESET);
    struct op stop_timer;
    cancel_op(&s, &timer, &stop_timer);
    end(&s, file, pair);
}

TEST(sendfile_without_a_thread_says_so) {
    xev_threadpool pool;
    xev_loop loop;
    xev_tcp pair[2];
    struct freq f = {.calls = 0};
    if (test_slowdown() > 1) {
        return; /* sanitizers start threads themselves */
    }
    CHECK_EQ(xev_threadpool_init(&pool, NULL), 0);
    xev_loop_options options = {.thread_pool = &pool};
    loop_start_options(&loop, &options);
    socket_pair(pair);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK_GE(file, 0);
    refuse(SYS_clone3, EAGAIN);
    refuse(SYS_clone, EAGAIN);
    xev_file_sendfile(pair[0].fd, &loop, &f.r, file, 0, 100, &f, freq_cb);
    run_done(&loop);
    CHECK_EQ(f.calls, 1);
    CHECK_EQ(f.result, XEV_EAGAIN);
    CHECK_EQ(close(file), 0);
    close_in(&loop, pair[0]);
    CHECK_EQ(close(pair[1].fd), 0);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

TEST(sendfile_is_cancelled_while_its_piece_waits_for_a_thread) {
    struct scene s;
    int pair[2], file = start(&s, pair);
    struct freq f = {0}, next = {0};
    struct hold held;
    struct op cancel, sent = {0};
    hold_lane(&s, &held, XEV_LANE_FS);
    xev_file_sendfile(pair[0], &s.loop, &f.r, file, 0, 100, &f, freq_cb);
    xev_file_sendfile(pair[0], &s.loop, &next.r, file, 50, 3, &next, freq_cb);
    xev_tcp_send(xev_tcp_from_fd(pair[0]), &s.loop, &sent.c, "x", 1, &sent, op_cb);
    xev_threadpool_counters n;
    do { /* until the piece is in the lane */
        run_no_wait(&s.loop);
        xev_threadpool_stats(&s.pool, &n);
    } while (n.lane[XEV_LANE_FS].queued == 0);
    cancel_op(&s, &f.r.c, &cancel);
    CHECK_EQ(wait_for(&s, &f), XEV_ECANCELED);
    CHECK_EQ(f.r.done_bytes, 0);
    run_for(&s.loop, &cancel, 1);
    CHECK_EQ(cancel.result, 0);
    let_go(&s, &held);
    CHECK_EQ(wait_for(&s, &next), 3);
    run_for(&s.loop, &sent, 1);
    take(&s, pair[1], 4);
    CHECK_MEM_EQ(back, bytes + 50, 3);
    CHECK_EQ(back[3], 'x');
    CHECK(is_blocking(pair[0]));
    end(&s, file, pair);
}

TEST(teardown_ends_a_sendfile) {
    for (int held = 0; held < 2; held++) {
        struct scene s;
        int pair[2], file = start(&s, pair);
        struct freq f = {0}, g = {0};
        struct hold h;
        xev_completion timer;
        if (held) {
            hold_lane(&s, &h, XEV_LANE_FS);
            xev_file_sendfile(pair[0], &s.loop, &f.r, file, 0, LEN, &f, freq_cb);
            run_no_wait(&s.loop);
            run_no_wait(&s.loop);
            sem_post(&h.go);
        } else {
            xev_timer_run(NULL, &s.loop, &timer, 1, NULL, tick);
            start_stuck(&s, pair, file, &f);
        }
        xev_file_sendfile(pair[0], &s.loop, &g.r, file, 0, LEN, &g, freq_cb);
        xev_loop_deinit(&s.loop);
        CHECK_EQ(f.calls + g.calls, 2);
        CHECK_EQ(f.result, XEV_ECANCELED);
        CHECK_EQ(g.result, XEV_ECANCELED);
        CHECK_EQ(close(pair[0]) + close(pair[1]) + close(file), 0);
        loop_start(&s.loop);
        scene_end(&s);
    }
}
