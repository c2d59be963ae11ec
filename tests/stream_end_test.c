/* The end of a write queue: by a shutdown in the queue, or by an error within a request. */
#include "tests/stream_scene.h"

static void shut(struct scene *sc, struct req *req) {
    *req = (struct req){.net = &sc->n, .then = req->then, .other = req->other};
    xev_stream_shutdown(&sc->s, &req->r, req, written);
    CHECK_EQ(req->calls, 0);
}

/* ---- by a shutdown ---- */

TEST(a_shutdown_follows_what_is_queued) {
    enum { COUNT = 40, LEN = 10000 };
    static char out[COUNT * LEN];
    struct scene sc;
    static struct req req[COUNT];
    struct req end = {0}, late = {0};
    open_scene(&sc, true);
    memset(req, 0, sizeof req);
    pattern(out, sizeof out, 1);
    for (int i = 0; i < COUNT; i++) {
        write_req(&sc.s, &sc.n, &req[i], out + i * LEN, LEN);
    }
    shut(&sc, &end);
    write_req(&sc.s, &sc.n, &late, "late", 4);
    settle(&sc.n);
    CHECK_EQ(end.calls, 0); /* its turn has not come */
    pump(&sc.n, &sc.in, &late.calls, 1);
    CHECK_EQ(end.calls, 1);
    CHECK_EQ(end.result, 0);
    CHECK_EQ(late.result, XEV_EPIPE);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(req[i].result, LEN);
        CHECK_LT(req[i].at, end.at);
    }
    CHECK_LT(end.at, late.at);
    while (!sc.in.eof) {
        wait_readable(sc.fd[1]);
        drain(&sc.in);
    }
    CHECK_EQ(sc.in.len, sizeof out);
    CHECK_MEM_EQ(sc.in.data, out, sizeof out);
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
    close_scene(&sc);
}

static void shut_down_again(struct req *req, xev_stream *stream) {
    req->then = NULL;
    req->calls = 0;
    xev_stream_shutdown(stream, &req->r, req, written);
}

/* The system lets a socket be shut down again. */
TEST(an_idle_stream_is_shut_down_at_once_and_again) {
    struct scene sc;
    struct req first = {.then = shut_down_again}, second = {0};
    open_scene(&sc, false);
    shut(&sc, &first);
    shut(&sc, &second);
    CHECK_EQ(xev_loop_active(&sc.n.loop), 1);
    run_req(&second);
    CHECK_EQ(second.result, 0);
    CHECK_EQ(first.result, 0);
    while (first.calls == 0 || first.at < second.at) {
        CHECK_EQ(xev_loop_run(&sc.n.loop, XEV_RUN_ONCE), 0);
    }
    CHECK_EQ(first.result, 0);
    while (!sc.in.eof) {
        wait_readable(sc.fd[1]);
        drain(&sc.in);
    }
    CHECK_EQ(sc.in.len, 0);
    close_scene(&sc);
}

TEST(a_shutdown_whose_turn_has_not_come_can_be_taken_back) {
    enum { LEN = 1 << 20 };
    static char out[LEN];
    struct scene sc;
    struct req req = {0}, end = {0}, behind = {0};
    open_scene(&sc, true);
    pattern(out, LEN, 2);
    write_req(&sc.s, &sc.n, &req, out, LEN);
    shut(&sc, &end);
    write_req(&sc.s, &sc.n, &behind, "behind", 6);
    CHECK_EQ(xev_stream_cancel(&sc.s, &end.r), 0);
    CHECK_EQ(xev_stream_cancel(&sc.s, &end.r), XEV_ENOENT);
    run_req(&end);
    CHECK_EQ(end.result, XEV_ECANCELED);
    CHECK_EQ(req.calls, 0);
    pump(&sc.n, &sc.in, &behind.calls, 1);
    CHECK_EQ(req.result, LEN);
    CHECK_EQ(behind.result, 6);
    drain_until(&sc.in, LEN + 6);
    CHECK(!sc.in.eof);
    CHECK_MEM_EQ(sc.in.data, out, LEN);
    close_scene(&sc);
}

TEST(what_is_no_socket_is_not_shut_down) {
    struct net n;
    int fd[2];
    xev_stream s;
    struct req end = {.net = &n};
    net_open(&n, NULL);
    CHECK_EQ(pipe2(fd, O_CLOEXEC), 0);
    xev_stream_init_fd(&s, &n.loop, fd[1]);
    xev_stream_shutdown(&s, &end.r, &end, written);
    run_req(&end);
    CHECK_EQ(end.result, XEV_ENOTSOCK);
    close_fd(&n, fd[1]);
    CHECK_EQ(close(fd[0]), 0);
    net_close(&n);
}

TEST(close_and_teardown_cancel_a_queued_shutdown) {
    enum { LEN = 1 << 20 };
    static char out[LEN];
    for (int teardown = 0; teardown < 2; teardown++) {
        struct scene sc;
        struct req req = {0}, end = {0};
        open_scene(&sc, true);
        write_req(&sc.s, &sc.n, &req, out, LEN);
        shut(&sc, &end);
        settle(&sc.n);
        if (teardown == 0) {
            close_scene(&sc);
        } else {
            xev_loop_deinit(&sc.n.loop);
            CHECK_EQ(close(sc.fd[0]), 0);
            CHECK_EQ(close(sc.fd[1]), 0);
        }
        CHECK_EQ(req.result, XEV_ECANCELED);
        CHECK_EQ(end.calls, 1);
        CHECK_EQ(end.result, XEV_ECANCELED);
        CHECK_LT(req.at, end.at);
    }
}

/* ---- within a request ---- */

/* The first request, once a part of it is through. What is sent next has a deadline: it is sent, in
 * part again, when one of the others is taken back. */
static void time_out_within(struct scene *sc, struct req *taken) {
    settle(&sc->n);
    wait_readable(sc->fd[1]);
    xev_stream_set_timeout(&sc->s, 20);
    CHECK_EQ(xev_stream_cancel(&sc->s, &taken->r), 0);
}

static void write_late(struct req *req, xev_stream *stream) {
    write_req(stream, req->net, req->other, "late", 4);
}

TEST(no_byte_follows_a_request_that_ended_within) {
    enum { LEN = 1 << 20 };
    static char out[LEN];
    struct scene sc;
    struct req req = {0}, taken = {0}, behind = {0}, end = {0}, late = {.net = &sc.n}, later = {0};
    open_scene(&sc, true);
    pattern(out, LEN, 4);
    write_req(&sc.s, &sc.n, &req, out, LEN);
    write_req(&sc.s, &sc.n, &taken, "taken", 5);
    behind.then = write_late; /* while the rest of the queue is being ended */
    behind.other = &late;
    write_req(&sc.s, &sc.n, &behind, "behind", 6);
    shut(&sc, &end);
    time_out_within(&sc, &taken);
    run_req(&taken);
    CHECK_EQ(taken.result, XEV_ECANCELED);
    run_req(&late);
    CHECK_EQ(req.result, XEV_ETIMEDOUT);
    CHECK_EQ(behind.result, XEV_ETIMEDOUT); /* the stream has stalled, and not one request */
    CHECK_EQ(end.result, XEV_ETIMEDOUT);
    CHECK_EQ(late.result, XEV_EPIPE);
    CHECK(req.at < behind.at && behind.at < end.at && end.at < late.at);
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
    /* There is room again, and still nothing is sent. */
    drain(&sc.in);
    write_req(&sc.s, &sc.n, &later, "later", 5);
    run_req(&later);
    CHECK_EQ(later.result, XEV_EPIPE);
    shut(&sc, &end);
    run_req(&end);
    CHECK_EQ(end.result, XEV_EPIPE);
    drain(&sc.in);
    CHECK(!sc.in.eof);
    CHECK(sc.in.len > 0 && sc.in.len < LEN);
    CHECK_MEM_EQ(sc.in.data, out, sc.in.len);
    close_scene(&sc);
}

static void take_back_other(struct req *req, xev_stream *stream) {
    CHECK_EQ(xev_stream_cancel(stream, &req->other->r), 0);
}

TEST(what_is_taken_back_from_a_broken_stream_was_taken_back) {
    enum { LEN = 1 << 20 };
    static char out[LEN];
    struct scene sc;
    struct req req = {0}, taken = {0}, last = {0};
    open_scene(&sc, true);
    req.then = take_back_other; /* as programs do with what is left */
    req.other = &last;
    write_req(&sc.s, &sc.n, &req, out, LEN);
    write_req(&sc.s, &sc.n, &taken, "taken", 5);
    write_req(&sc.s, &sc.n, &last, "last", 4);
    time_out_within(&sc, &taken);
    run_req(&last);
    CHECK_EQ(req.result, XEV_ETIMEDOUT);
    CHECK_EQ(last.result, XEV_ECANCELED);
    write_req(&sc.s, &sc.n, &last, "last", 4);
    CHECK_EQ(xev_stream_cancel(&sc.s, &last.r), 0);
    run_req(&last);
    CHECK_EQ(last.result, XEV_ECANCELED);
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
    close_scene(&sc);
}

/* ---- by a close ---- */

struct reuse {
    int calls, fd[2];
};

static xev_cb_action open_others(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct reuse *reuse = userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    reuse->calls++;
    local_pair(reuse->fd);
    return XEV_DISARM;
}

TEST(what_is_written_behind_a_close_goes_nowhere_even_if_some_is_taken_back) {
    struct scene sc;
    struct reuse reuse = {0};
    struct req taken = {0}, other = {0};
    xev_completion closing = {0};
    char byte;
    open_scene(&sc, true);
    xev_tcp_close(xev_tcp_from_fd(sc.fd[0]), &sc.n.loop, &closing, &reuse, open_others);
    write_req(&sc.s, &sc.n, &taken, "taken", 5);
    write_req(&sc.s, &sc.n, &other, "other", 5);
    CHECK_EQ(xev_stream_cancel(&sc.s, &taken.r), 0);
    run_until(&sc.n, &reuse.calls, 1);
    run_req(&other);
    CHECK_EQ(taken.result, XEV_ECANCELED);
    CHECK_EQ(other.result, XEV_ECANCELED);
    CHECK_EQ(reuse.fd[0], sc.fd[0]); /* the number is in use again */
    CHECK_EQ(recv(sc.fd[1], &byte, 1, MSG_DONTWAIT), 0);
    CHECK_EQ(recv(reuse.fd[1], &byte, 1, MSG_DONTWAIT), -1);
    sc.fd[0] = reuse.fd[0];
    CHECK_EQ(close(reuse.fd[1]), 0);
    close_scene(&sc);
}

static void count_drains(xev_loop *loop, xev_stream *stream, void *userdata) {
    (void)loop;
    (void)stream;
    ++*(int *)userdata;
}

/* An empty request takes no part in the close, and what follows it must not start afterwards. A
 * stream that is full by then has nobody to tell. */
TEST(what_is_written_behind_a_close_and_an_empty_request_goes_nowhere) {
    struct scene sc;
    struct reuse reuse = {0};
    struct req empty = {0}, other = {0};
    xev_completion closing = {0};
    char byte;
    int drains = 0;
    open_scene(&sc, true);
    CHECK_EQ(xev_stream_set_marks(&sc.s, 0, 0, &drains, count_drains), 0);
    xev_tcp_close(xev_tcp_from_fd(sc.fd[0]), &sc.n.loop, &closing, &reuse, open_others);
    write_req(&sc.s, &sc.n, &empty, NULL, 0);
    write_req(&sc.s, &sc.n, &other, "other", 5);
    CHECK(xev_stream_is_full(&sc.s));
    run_until(&sc.n, &reuse.calls, 1);
    run_req(&other);
    CHECK_EQ(empty.result, XEV_ECANCELED);
    CHECK_EQ(other.result, XEV_ECANCELED);
    CHECK_EQ(drains, 0);
    CHECK_EQ(reuse.fd[0], sc.fd[0]);
    CHECK_EQ(recv(reuse.fd[1], &byte, 1, MSG_DONTWAIT), -1);
    sc.fd[0] = reuse.fd[0];
    CHECK_EQ(close(reuse.fd[1]), 0);
    close_scene(&sc);
}

/* ---- of no length, or too much ---- */

/* Between, before and behind others, all of them in order. */
TEST(empty_requests_succeed_in_their_turn) {
    enum { COUNT = 60 };
    static struct req req[COUNT];
    struct scene sc;
    struct req end = {0};
    open_scene(&sc, true);
    memset(req, 0, sizeof req);
    for (int i = 0; i < COUNT; i++) {
        bool empty = i % 3 != 1;
        write_req(&sc.s, &sc.n, &req[i], empty ? NULL : "x", empty ? 0 : 1);
    }
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), COUNT / 3);
    shut(&sc, &end);
    run_req(&end);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(req[i].calls, 1);
        CHECK_EQ(req[i].result, i % 3 != 1 ? 0 : 1);
        CHECK(i == 0 || req[i - 1].at < req[i].at);
    }
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
    while (!sc.in.eof) {
        wait_readable(sc.fd[1]);
        drain(&sc.in);
    }
    CHECK_EQ(sc.in.len, COUNT / 3);
    close_scene(&sc);
}

TEST(an_empty_request_behind_what_waits_waits_and_can_be_taken_back) {
    struct scene sc;
    struct req first = {0}, empty = {0}, taken = {0};
    open_scene(&sc, true);
    (void)fill(sc.fd[0]);
    write_req(&sc.s, &sc.n, &first, "x", 1);
    write_req(&sc.s, &sc.n, &taken, "", 0);
    write_req(&sc.s, &sc.n, &empty, "", 0);
    settle(&sc.n);
    CHECK_EQ(empty.calls, 0);
    CHECK_EQ(xev_stream_cancel(&sc.s, &taken.r), 0);
    run_req(&taken);
    CHECK_EQ(taken.result, XEV_ECANCELED);
    CHECK_EQ(empty.calls, 0);
    pump(&sc.n, &sc.in, &empty.calls, 1);
    CHECK_EQ(first.result, 1);
    CHECK_EQ(empty.result, 0);
    CHECK_LT(first.at, empty.at);
    close_scene(&sc);
}

TEST(a_request_that_is_too_long_is_refused_in_its_turn) {
    struct scene sc;
    struct req req[3] = {0};
    open_scene(&sc, true);
    write_req(&sc.s, &sc.n, &req[0], "a", 1);
    write_req(&sc.s, &sc.n, &req[1], "b", (size_t)INT32_MAX + 1);
    write_req(&sc.s, &sc.n, &req[2], "c", 1);
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 2);
    run_req(&req[2]);
    CHECK_EQ(req[0].result, 1);
    CHECK_EQ(req[1].result, XEV_EINVAL);
    CHECK_EQ(req[2].result, 1);
    CHECK(req[0].at < req[1].at && req[1].at < req[2].at);
    drain_until(&sc.in, 2);
    CHECK_MEM_EQ(sc.in.data, "ac", 2);
    close_scene(&sc);
}

TEST(close_and_teardown_cancel_empty_requests) {
    for (int teardown = 0; teardown < 2; teardown++) {
        struct scene sc;
        struct req first = {0}, empty = {0};
        open_scene(&sc, true);
        (void)fill(sc.fd[0]);
        write_req(&sc.s, &sc.n, &first, "x", 1);
        write_req(&sc.s, &sc.n, &empty, "", 0);
        settle(&sc.n);
        if (teardown == 0) {
            close_scene(&sc);
        } else {
            xev_loop_deinit(&sc.n.loop);
            CHECK_EQ(close(sc.fd[0]), 0);
            CHECK_EQ(close(sc.fd[1]), 0);
        }
        CHECK_EQ(first.result, XEV_ECANCELED);
        CHECK_EQ(empty.calls, 1);
        CHECK_EQ(empty.result, XEV_ECANCELED);
    }
}
