/* Writes that are carried out inside the call: without a request, or before the loop runs. */
#include "tests/stream_scene.h"

TEST(what_fits_is_written_without_a_request) {
    struct scene sc;
    open_scene(&sc, false);
    CHECK_EQ(xev_stream_try_write(&sc.s, "hello", 5), 5);
    CHECK_EQ(xev_loop_active(&sc.n.loop), 0);
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
    drain_until(&sc.in, 5);
    CHECK_MEM_EQ(sc.in.data, "hello", 5);
    CHECK_EQ(xev_stream_try_write(&sc.s, NULL, 0), 0);
    close_scene(&sc);
}

TEST(a_full_peer_takes_a_part_and_then_nothing) {
    static char out[1 << 20];
    struct scene sc;
    struct req rest = {0};
    open_scene(&sc, true);
    pattern(out, sizeof out, 3);
    size_t sent = 0;
    for (int n; (n = xev_stream_try_write(&sc.s, out + sent, sizeof out - sent)) > 0;) {
        sent += (size_t)n;
    }
    CHECK_GT(sent, 0);
    CHECK_LT(sent, sizeof out);
    CHECK_EQ(xev_stream_try_write(&sc.s, out + sent, sizeof out - sent), 0);
    write_req(&sc.s, &sc.n, &rest, out + sent, sizeof out - sent);
    pump(&sc.n, &sc.in, &rest.calls, 1);
    CHECK_EQ(rest.result, (int)(sizeof out - sent));
    drain_until(&sc.in, sizeof out);
    CHECK_MEM_EQ(sc.in.data, out, sizeof out);
    close_scene(&sc);
}

TEST(nothing_overtakes_what_is_queued) {
    static char out[1 << 20];
    struct scene sc;
    struct req first = {0};
    open_scene(&sc, true);
    pattern(out, sizeof out, 4);
    write_req(&sc.s, &sc.n, &first, out, sizeof out);
    CHECK_EQ(xev_stream_try_write(&sc.s, "late", 4), 0);
    pump(&sc.n, &sc.in, &first.calls, 1);
    drain_until(&sc.in, sizeof out);
    CHECK_EQ(xev_stream_try_write(&sc.s, "late", 4), 4);
    drain_until(&sc.in, sizeof out + 4);
    CHECK_MEM_EQ(sc.in.data, out, sizeof out);
    CHECK_MEM_EQ(sc.in.data + sizeof out, "late", 4);
    close_scene(&sc);
}

static void sends_more(struct req *req, xev_stream *stream) {
    (void)req;
    CHECK_EQ(xev_stream_try_write(stream, "x", 1), 0); /* others' callbacks may still be due */
}

TEST(a_callback_of_the_queue_is_told_to_queue) {
    struct scene sc;
    struct req first = {.then = sends_more};
    open_scene(&sc, false);
    write_req(&sc.s, &sc.n, &first, "a", 1);
    run_req(&first);
    CHECK_EQ(first.result, 1);
    close_scene(&sc);
}

static xev_cb_action count_calls(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    CHECK_GE(result, 0);
    ++*(int *)userdata;
    return XEV_DISARM;
}

/* A send of a descriptor that another part of the program writes to goes first, and so does its
 * callback. */
TEST(a_send_of_others_is_not_overtaken) {
    struct scene sc;
    struct req after = {0};
    xev_completion c;
    int ended = 0;
    open_scene(&sc, false);
    xev_tcp tcp = {sc.fd[0]};
    xev_tcp_send(tcp, &sc.n.loop, &c, "1", 1, &ended, count_calls);
    CHECK_EQ(ended, 0); /* no callback inside the call */
    CHECK_EQ(xev_stream_try_write(&sc.s, "2", 1), 0);
    write_req(&sc.s, &sc.n, &after, "2", 1);
    run_req(&after);
    CHECK_EQ(ended, 1);
    drain_until(&sc.in, 2);
    CHECK_MEM_EQ(sc.in.data, "12", 2);
    close_scene(&sc);
}

TEST(a_gone_peer_is_an_error_and_no_signal) {
    struct scene sc;
    open_scene(&sc, true);
    CHECK_EQ(shutdown(sc.fd[0], SHUT_WR), 0);
    CHECK_EQ(xev_stream_try_write(&sc.s, "x", 1), XEV_EPIPE);
    close_scene(&sc);
}

TEST(a_closing_stream_takes_nothing) {
    struct scene sc;
    xev_completion c;
    int closed = 0;
    open_scene(&sc, false);
    struct req queued = {0};
    write_req(&sc.s, &sc.n, &queued, "a", 1);
    xev_fd_close(sc.fd[0], &sc.n.loop, &c, &closed, count_calls);
    CHECK_EQ(xev_stream_try_write(&sc.s, "b", 1), XEV_ECANCELED);
    run_until(&sc.n, &closed, 1);
    CHECK_EQ(queued.calls, 1);
    free(sc.in.data);
    CHECK_EQ(close(sc.fd[1]), 0);
    net_close(&sc.n);
}

TEST(what_is_no_socket_wants_requests) {
    struct net n;
    int ends[2];
    xev_stream s;
    net_open(&n, NULL);
    CHECK_EQ(pipe(ends), 0);
    xev_stream_init_fd(&s, &n.loop, ends[1]);
    CHECK_EQ(xev_stream_try_write(&s, "x", 1), 0);
    CHECK_EQ(close(ends[0]), 0);
    CHECK_EQ(close(ends[1]), 0);
    net_close(&n);
}
