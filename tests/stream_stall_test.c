/* The progress that a write queue reports, and its time-out where the peer takes nothing. */
#include "tests/stream_scene.h"

/* ---- progress ---- */

static void drained(xev_loop *loop, xev_stream *stream, void *userdata) {
    (void)loop;
    (void)stream;
    ++*(int *)userdata;
}

/* A batch goes to the kernel in one call, and what of it is sent is known all the same. */
TEST(a_large_batch_makes_progress_while_it_is_sent) {
    enum { LEN = 1 << 18 };
    static char out[XEV_STREAM_BATCH][LEN];
    static struct req req[XEV_STREAM_BATCH];
    struct scene sc;
    int drains = 0;
    open_scene(&sc, true);
    const uint64_t all = sizeof out;
    CHECK_EQ(xev_stream_set_marks(&sc.s, all * 3 / 4, all - 1, &drains, drained), 0);
    memset(req, 0, sizeof req);
    for (int i = 0; i < XEV_STREAM_BATCH; i++) {
        pattern(out[i], LEN, i);
        write_req(&sc.s, &sc.n, &req[i], out[i], LEN);
    }
    CHECK(xev_stream_is_full(&sc.s));
    uint64_t last = all;
    settle(&sc.n);
    while (sc.in.len < all / 2) {
        wait_readable(sc.fd[1]);
        drain(&sc.in);
        settle(&sc.n);
        uint64_t queued = xev_stream_queued_bytes(&sc.s);
        CHECK_LE(queued, last);
        CHECK_LE(queued, all - sc.in.len); /* what has arrived was sent */
        last = queued;
    }
    CHECK_EQ(drains, 1);
    for (int i = 0; i < XEV_STREAM_BATCH / 2 - 1; i++) {
        CHECK_EQ(req[i].calls, 1);
    }
    pump(&sc.n, &sc.in, &req[XEV_STREAM_BATCH - 1].calls, 1);
    drain_until(&sc.in, all);
    CHECK_MEM_EQ(sc.in.data, out, all);
    close_scene(&sc);
}

/* ---- a stalled stream ---- */

enum { COUNT = 20, PIECE = 4096 };
static char piece[PIECE];

static struct req requests[COUNT];

/* Nothing is read. */
static void write_into_full(struct scene *sc) {
    open_scene(sc, true);
    (void)fill(sc->fd[0]);
    memset(requests, 0, sizeof requests);
    for (int i = 0; i < COUNT; i++) {
        write_req(&sc->s, &sc->n, &requests[i], piece, PIECE);
    }
}

TEST(a_stalled_stream_ends_all_that_is_queued_at_once) {
    struct scene sc;
    write_into_full(&sc);
    CHECK_EQ(xev_stream_cancel(&sc.s, &requests[COUNT - 1].r), 0);
    run_req(&requests[COUNT - 1]);
    CHECK_EQ(requests[COUNT - 1].result, XEV_ECANCELED);
    xev_stream_set_timeout(&sc.s, 20);
    run_req(&requests[0]);
    for (int i = 0; i < COUNT - 1; i++) { /* no turn later */
        CHECK_EQ(requests[i].calls, 1);
        CHECK_EQ(requests[i].result, XEV_ETIMEDOUT);
        CHECK(i == 0 || requests[i - 1].at < requests[i].at);
    }
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
    CHECK_EQ(xev_loop_active(&sc.n.loop), 0);
    close_scene(&sc);
}

TEST(a_stall_is_never_found_early) {
    struct scene sc;
    write_into_full(&sc);
    struct timespec from, to;
    /* The loop's time is older than the call by then. */
    usleep(50000);
    clock_gettime(CLOCK_MONOTONIC, &from);
    xev_stream_set_timeout(&sc.s, 40);
    run_req(&requests[0]);
    clock_gettime(CLOCK_MONOTONIC, &to);
    int64_t took_ns = (int64_t)(to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec;
    CHECK_GE(took_ns, (int64_t)(40 * MS));
    close_scene(&sc);
}

TEST(a_time_out_counts_for_what_is_being_sent_and_can_be_taken_away) {
    struct scene sc;
    write_into_full(&sc);
    settle(&sc.n); /* the kernel has it */
    xev_stream_set_timeout(&sc.s, 20);
    xev_stream_set_timeout(&sc.s, 0);
    (void)run_for(&sc.n, 60);
    CHECK_EQ(requests[0].calls, 0);
    xev_stream_set_timeout(&sc.s, 20);
    run_req(&requests[COUNT - 1]);
    CHECK_EQ(requests[0].result, XEV_ETIMEDOUT);
    close_scene(&sc);
}

static void write_same_again(struct req *req, xev_stream *stream) {
    req->then = NULL;
    req->calls = 0;
    xev_stream_write(stream, &req->r, piece, PIECE, req, written);
}

TEST(what_is_written_as_a_stall_is_reported_has_its_own_time) {
    struct scene sc;
    write_into_full(&sc);
    requests[0].then = requests[3].then = write_same_again;
    xev_stream_set_timeout(&sc.s, 40);
    run_req(&requests[COUNT - 1]);
    xev_stream_set_timeout(&sc.s, 0); /* nor is it over if this thread is held up now */
    CHECK_EQ(requests[0].calls, 0);
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 2 * PIECE);
    pump(&sc.n, &sc.in, &requests[3].calls, 1); /* not one byte of the others was sent */
    CHECK_EQ(requests[0].result, PIECE);
    CHECK_EQ(requests[3].result, PIECE);
    close_scene(&sc);
}

TEST(an_idle_stream_has_no_time_out) {
    struct scene sc;
    struct req req = {0};
    open_scene(&sc, true);
    xev_stream_set_timeout(&sc.s, 5);
    write_req(&sc.s, &sc.n, &req, "x", 1);
    run_req(&req);
    CHECK_EQ(req.result, 1);
    CHECK_LT(run_for(&sc.n, 30), 5); /* nobody looks */
    write_req(&sc.s, &sc.n, &req, "y", 1);
    run_req(&req);
    CHECK_EQ(req.result, 1);
    close_scene(&sc);
}

/* ---- a slow one ---- */

/* Reads a little whenever its timer fires, often enough, until it has counted down. */
struct reader {
    xev_completion c;
    int fd, left;
    size_t bytes;
};

static xev_cb_action read_a_little(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    static char sink[65536];
    struct reader *r = userdata;
    (void)loop;
    (void)c;
    if (result == XEV_ECANCELED) {
        return XEV_DISARM; /* by the loop's end */
    }
    CHECK_EQ(result, 0);
    CHECK_GT(read(r->fd, sink, r->bytes), 0);
    return --r->left > 0 ? XEV_REARM : XEV_DISARM;
}

/* 40 times a little in a tenth of the time-out. False: this thread was held up for so long that the
 * stream may have ended rightly. */
static bool check_slow_reader(struct scene *sc, size_t bytes, uint32_t timeout_ms) {
    enum { LEN = 8 << 20, LAST = 4 };
    static char out[LEN];
    struct req req = {0};
    struct reader r = {.fd = sc->fd[1], .left = 40, .bytes = bytes};
    uint64_t ends[LAST]; /* of the last turns */
    bool in_time = true;
    xev_stream_set_timeout(&sc->s, timeout_ms);
    for (int i = 0; i < LAST; i++) {
        ends[i] = clock_ns();
    }
    write_req(&sc->s, &sc->n, &req, out, LEN);
    settle(&sc->n);
    xev_timer_run(NULL, &sc->n.loop, &r.c, timeout_ms / 10, &r, read_a_little);
    for (int turn = 0; r.left > 0 && in_time; turn++) {
        CHECK_EQ(xev_loop_run(&sc->n.loop, XEV_RUN_ONCE), 0);
        uint64_t now = clock_ns();
        in_time = now - ends[turn % LAST] < timeout_ms * MS;
        CHECK(!in_time || req.calls == 0); /* it takes its time, and takes what comes */
        ends[turn % LAST] = now;
    }
    if (in_time) {
        run_req(&req); /* now it takes nothing */
        CHECK_EQ(req.result, XEV_ETIMEDOUT);
    }
    xev_loop_deinit(&sc->n.loop); /* with what is left where it was not in time */
    CHECK_EQ(close(sc->fd[0]) + close(sc->fd[1]), 0);
    CHECK_EQ(open_fds(), sc->n.fds_before);
    return in_time;
}

enum { FIRST_MS = 80, LAST_MS = 10000 };

TEST(a_peer_that_reads_slowly_has_not_stalled) {
    struct scene sc;
    uint32_t ms = FIRST_MS;
    do {
        CHECK_LE(ms, LAST_MS);
        open_scene(&sc, false); /* TCP: its receive buffer of 8 KiB, and what the kernel keeps */
        small_buffers(sc.fd[1]);
        ms *= 2;
    } while (!check_slow_reader(&sc, 8192, ms / 2));
}

TEST(a_unix_peer_that_reads_slowly_has_not_stalled) {
    struct scene sc;
    uint32_t ms = FIRST_MS;
    do {
        CHECK_LE(ms, LAST_MS);
        net_open(&sc.n, NULL);
        local_pair(sc.fd);
        xev_stream_init(&sc.s, &sc.n.loop, sc.fd[0]);
        ms *= 2;
    } while (!check_slow_reader(&sc, 8192, ms / 2));
}

TEST(a_pipe_whose_reader_is_slow_has_not_stalled) {
    struct scene sc;
    uint32_t ms = FIRST_MS;
    do {
        int fd[2];
        CHECK_LE(ms, LAST_MS);
        net_open(&sc.n, NULL);
        CHECK_EQ(pipe2(fd, O_CLOEXEC), 0);
        sc.fd[0] = fd[1];
        sc.fd[1] = fd[0];
        xev_stream_init_fd(&sc.s, &sc.n.loop, sc.fd[0]);
        ms *= 2;
        /* 40 of them are less than a page, which alone makes room. */
    } while (!check_slow_reader(&sc, 64, ms / 2));
}
