/* The write queue: requests are sent whole and in order, however little the socket takes at a time.
 */
#include <sys/mman.h>

#include "tests/stream_scene.h"

TEST(a_mebibyte_through_eight_kibibyte_buffers_is_exact) {
    enum { LEN = 1 << 20 };
    static char out[LEN];
    struct scene sc;
    struct req req = {0};
    open_scene(&sc, false);
    small_buffers(sc.fd[0]); /* small on the other end too, TCP itself takes seconds */
    pattern(out, LEN, 1);
    write_req(&sc.s, &sc.n, &req, out, LEN);
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), LEN);
    uint64_t last = LEN;
    while (req.calls == 0) {
        drain(&sc.in);
        settle(&sc.n);
        uint64_t queued = xev_stream_queued_bytes(&sc.s);
        CHECK_LE(queued, last);
        last = queued;
    }
    CHECK_EQ(req.result, LEN);
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
    drain_until(&sc.in, LEN);
    CHECK_EQ(sc.in.len, LEN);
    CHECK_MEM_EQ(sc.in.data, out, LEN);
    close_scene(&sc);
}

TEST(many_requests_of_all_sizes_arrive_in_order) {
    enum { COUNT = 500 };
    static struct req req[COUNT];
    static char out[COUNT * 1500];
    struct scene sc;
    for (int small = 0; small < 2; small++) {
        open_scene(&sc, small != 0);
        size_t total = 0;
        pattern(out, sizeof out, 2 + small);
        memset(req, 0, sizeof req);
        for (int i = 0; i < COUNT; i++) {
            size_t len = 1 + (size_t)(i * 7919) % 1500;
            write_req(&sc.s, &sc.n, &req[i], out + total, len);
            total += len;
            CHECK_EQ(xev_stream_queued_bytes(&sc.s), total);
        }
        CHECK_GT(COUNT, XEV_STREAM_BATCH);
        pump(&sc.n, &sc.in, &req[COUNT - 1].calls, 1);
        for (int i = 0; i < COUNT; i++) {
            CHECK_EQ(req[i].calls, 1);
            CHECK_EQ(req[i].result, 1 + (i * 7919) % 1500);
            CHECK(i == 0 || req[i - 1].at < req[i].at);
        }
        CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
        drain_until(&sc.in, total);
        CHECK_MEM_EQ(sc.in.data, out, total);
        close_scene(&sc);
    }
}

static void write_other(struct req *req, xev_stream *stream) {
    if (req->other != NULL) {
        write_req(stream, req->net, req->other, req->user, 5);
    }
}

/* The same request again, as often as user counts. */
static void write_again(struct req *req, xev_stream *stream) {
    int *left = req->user;
    CHECK_EQ(req->result, 5);
    if (--*left > 0) {
        write_req(stream, req->net, req, "again", 5);
    }
}

TEST(a_callback_may_write_others_and_its_own_request_again) {
    struct scene sc;
    struct req first = {0}, second = {0}, third = {0}, loop = {0};
    int left = 100;
    open_scene(&sc, false);
    first.then = write_other;
    first.other = &third;
    first.user = "third";
    write_req(&sc.s, &sc.n, &first, "first", 5);
    write_req(&sc.s, &sc.n, &second, "secnd", 5);
    run_until(&sc.n, &third.calls, 1);
    CHECK_LT(first.at, second.at);
    CHECK_LT(second.at, third.at);
    drain_until(&sc.in, 15);
    CHECK_MEM_EQ(sc.in.data, "firstsecndthird", 15);
    loop.then = write_again;
    loop.user = &left;
    write_req(&sc.s, &sc.n, &loop, "again", 5);
    while (left > 0) {
        CHECK_EQ(xev_loop_run(&sc.n.loop, XEV_RUN_ONCE), 0);
    }
    drain_until(&sc.in, 15 + 500);
    close_scene(&sc);
}

static void look_at_what_was_written(struct req *req, xev_stream *stream) {
    CHECK(xev_stream_loop(stream) == &req->net->loop);
    CHECK_EQ(xev_stream_fd(stream), *(int *)req->user);
    bool shutdown = req->other == NULL;
    CHECK_EQ(xev_write_req_len_bytes(&req->r), shutdown ? 0 : 5);
    CHECK(shutdown ? xev_write_req_buf(&req->r) == NULL
                   : memcmp(xev_write_req_buf(&req->r), "bytes", 5) == 0);
}

TEST(a_callback_learns_all_that_its_request_was_written_with) {
    struct scene sc;
    struct req req = {.then = look_at_what_was_written, .other = &req}, end = {.then = req.then};
    open_scene(&sc, false);
    req.user = end.user = &sc.fd[0];
    write_req(&sc.s, &sc.n, &req, "bytes", 5);
    end.net = &sc.n;
    xev_stream_shutdown(&sc.s, &end.r, &end, written);
    run_req(&end);
    CHECK_EQ(req.result, 5);
    CHECK_EQ(end.result, 0);
    close_scene(&sc);
}

/* ---- errors ---- */

static void *unmapped(void) {
    void *p = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

TEST(a_bad_request_fails_alone) {
    enum { COUNT = 40 };
    void *bad = unmapped();
    for (int where = 0; where < COUNT; where += 3) {
        struct scene sc;
        static struct req req[COUNT];
        char want[COUNT * 10];
        static char out[COUNT][10];
        size_t total = 0;
        open_scene(&sc, false);
        memset(req, 0, sizeof req);
        for (int i = 0; i < COUNT; i++) {
            pattern(out[i], 10, i);
            write_req(&sc.s, &sc.n, &req[i], i == where ? bad : out[i], 10);
            if (i != where) {
                memcpy(want + total, out[i], 10);
                total += 10;
            }
        }
        pump(&sc.n, &sc.in, &req[COUNT - 1].calls, 1);
        for (int i = 0; i < COUNT; i++) {
            CHECK_EQ(req[i].calls, 1);
            if (req[i].result != (i == where ? XEV_EFAULT : 10)) {
                CHECK_FAIL("bad one %d: request %d reports %d", where, i, req[i].result);
            }
            CHECK(i == 0 || req[i - 1].at < req[i].at);
        }
        CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
        drain_until(&sc.in, total);
        CHECK_EQ(sc.in.len, total);
        CHECK_MEM_EQ(sc.in.data, want, total);
        close_scene(&sc);
    }
}

TEST(a_peer_reset_ends_every_request_with_an_error) {
    enum { COUNT = 40, LEN = 65536 };
    static char out[LEN];
    static struct req req[COUNT];
    struct scene sc;
    open_scene(&sc, false);
    small_buffers(sc.fd[0]);
    small_buffers(sc.fd[1]);
    for (int i = 0; i < COUNT; i++) {
        write_req(&sc.s, &sc.n, &req[i], out, LEN);
    }
    settle(&sc.n);
    CHECK_EQ(req[COUNT - 1].calls, 0);
    reset_close(sc.fd[1]);
    run_req(&req[COUNT - 1]);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(req[i].calls, 1);
        CHECK(req[i].result == XEV_ECONNRESET || req[i].result == XEV_EPIPE);
        CHECK(i == 0 || req[i - 1].at < req[i].at);
    }
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
    close_fd(&sc.n, sc.fd[0]);
    net_close(&sc.n);
}

TEST(writing_to_what_is_not_open_reports_ebadf) {
    struct net n;
    struct req req[3] = {0};
    xev_stream s;
    net_open(&n, NULL);
    xev_stream_init(&s, &n.loop, XEV_INVALID_FD);
    for (int i = 0; i < 3; i++) {
        write_req(&s, &n, &req[i], "x", 1);
    }
    run_req(&req[2]);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(req[i].result, XEV_EBADF);
    }
    net_close(&n);
}

/* ---- cancel ---- */

TEST(cancel_of_an_unsent_request_takes_it_out) {
    enum { COUNT = 40 };
    static struct req req[COUNT];
    static char out[COUNT][100];
    struct scene sc;
    for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
        open_scene(&sc, true);
        size_t filled = fill(sc.fd[0]);
        memset(req, 0, sizeof req);
        for (int i = 0; i < COUNT; i++) {
            pattern(out[i], 100, i);
            write_req(&sc.s, &sc.n, &req[i], out[i], 100);
        }
        if (in_kernel) {
            settle(&sc.n);
        }
        uint64_t queued = xev_stream_queued_bytes(&sc.s);
        CHECK_EQ(queued, COUNT * 100);
        /* One in the kernel's hands, two behind, the last. */
        const int which[] = {0, 3, 20, COUNT - 1};
        for (int i = 0; i < 4; i++) {
            CHECK_EQ(xev_stream_cancel(&sc.s, &req[which[i]].r), 0);
        }
        CHECK_EQ(req[0].calls, 0); /* never inside the call */
        for (int i = 0; i < 4; i++) {
            if (req[which[i]].calls == 0) {
                run_req(&req[which[i]]);
            }
            CHECK_EQ(req[which[i]].result, XEV_ECANCELED);
            CHECK_EQ(xev_stream_cancel(&sc.s, &req[which[i]].r), XEV_ENOENT);
        }
        CHECK_EQ(xev_stream_queued_bytes(&sc.s), (COUNT - 4) * 100);
        pump(&sc.n, &sc.in, &req[COUNT - 2].calls, 1);
        drain_until(&sc.in, filled + (COUNT - 4) * 100);
        size_t at = filled;
        for (int i = 0; i < COUNT; i++) {
            CHECK_EQ(req[i].calls, 1);
            if (i == 0 || i == 3 || i == 20 || i == COUNT - 1) {
                continue;
            }
            CHECK_EQ(req[i].result, 100);
            CHECK_MEM_EQ(sc.in.data + at, out[i], 100);
            at += 100;
        }
        CHECK_EQ(sc.in.len, at);
        CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
        close_scene(&sc);
    }
}

TEST(cancel_of_a_finished_request_reports_enoent) {
    struct scene sc;
    struct req req = {0};
    open_scene(&sc, false);
    write_req(&sc.s, &sc.n, &req, "x", 1);
    run_req(&req);
    CHECK_EQ(req.result, 1);
    CHECK_EQ(xev_stream_cancel(&sc.s, &req.r), XEV_ENOENT);
    close_scene(&sc);
}

TEST(a_partly_sent_request_goes_on) {
    enum { LEN = 1 << 20 };
    static char out[LEN];
    struct scene sc;
    struct req req = {0}, behind = {0};
    open_scene(&sc, true);
    pattern(out, LEN, 3);
    write_req(&sc.s, &sc.n, &req, out, LEN);
    write_req(&sc.s, &sc.n, &behind, "behind", 6);
    settle(&sc.n);
    wait_readable(sc.fd[1]); /* part of it is through */
    int rc = xev_stream_cancel(&sc.s, &req.r);
    CHECK(rc == XEV_EALREADY || rc == 0); /* 0: asked for, the kernel has it */
    settle(&sc.n);
    CHECK_EQ(req.calls, 0);
    CHECK_EQ(xev_stream_cancel(&sc.s, &req.r), XEV_EALREADY);
    CHECK_LT(xev_stream_queued_bytes(&sc.s), LEN);
    pump(&sc.n, &sc.in, &behind.calls, 1);
    CHECK_EQ(req.result, LEN);
    CHECK_EQ(behind.result, 6);
    drain_until(&sc.in, LEN + 6);
    CHECK_MEM_EQ(sc.in.data, out, LEN);
    CHECK_MEM_EQ(sc.in.data + LEN, "behind", 6);
    close_scene(&sc);
}

static void cancel_other(struct req *req, xev_stream *stream) {
    *(int *)req->user = xev_stream_cancel(stream, &req->other->r);
}

TEST(a_callback_may_cancel_a_later_request) {
    struct scene sc;
    struct req req[4] = {0};
    int rc = 1;
    open_scene(&sc, false);
    req[0].then = cancel_other;
    req[0].other = &req[2];
    req[0].user = &rc;
    for (int i = 0; i < 4; i++) {
        write_req(&sc.s, &sc.n, &req[i], &"abcde"[i], 1);
    }
    run_req(&req[3]);
    /* It may have been sent already, in one call with the first. */
    bool stopped = req[2].result == XEV_ECANCELED;
    CHECK(stopped || req[2].result == 1);
    CHECK(!stopped || rc == 0);
    drain_until(&sc.in, stopped ? 3 : 4);
    CHECK_MEM_EQ(sc.in.data, stopped ? "abd" : "abcd", sc.in.len);
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
    close_scene(&sc);
}

static void rewrite_cancelled(struct req *req, xev_stream *stream) {
    if (req->result == XEV_ECANCELED) {
        req->then = NULL;
        write_req(stream, req->net, req, "fresh", 5);
    }
}

TEST(a_cancelled_request_may_be_written_again_from_its_callback) {
    struct scene sc;
    struct req req = {0};
    open_scene(&sc, true);
    size_t filled = fill(sc.fd[0]);
    req.then = rewrite_cancelled;
    write_req(&sc.s, &sc.n, &req, "stale", 5);
    CHECK_EQ(xev_stream_cancel(&sc.s, &req.r), 0);
    while (req.then != NULL) {
        CHECK_EQ(xev_loop_run(&sc.n.loop, XEV_RUN_ONCE), 0);
    }
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 5);
    pump(&sc.n, &sc.in, &req.calls, 1);
    CHECK_EQ(req.result, 5);
    drain_until(&sc.in, filled + 5);
    CHECK_MEM_EQ(sc.in.data + filled, "fresh", 5);
    close_scene(&sc);
}

/* ---- water marks ---- */

struct marks {
    struct net *net;
    int drained, at;    /* calls, stamp of the last */
    uint64_t queued;    /* then */
    struct req *more;   /* to write then */
    struct op *closing; /* to close by then */
    struct req *back;   /* to take back then */
};

static void drained(xev_loop *loop, xev_stream *stream, void *userdata) {
    struct marks *m = userdata;
    CHECK(loop == xev_stream_loop(stream));
    CHECK(!xev_stream_is_full(stream));
    m->drained++;
    m->at = ++m->net->clock;
    m->queued = xev_stream_queued_bytes(stream);
    if (m->more != NULL) {
        static const char byte = 'm';
        write_req(stream, m->net, m->more, &byte, 1);
        CHECK(!xev_stream_is_full(stream));
        m->more = NULL;
    }
    if (m->closing != NULL) {
        op_new(m->closing, m->net);
        xev_tcp_close(xev_tcp_from_fd(xev_stream_fd(stream)), loop, &m->closing->c, m->closing,
                      op_called);
        m->closing = NULL;
    }
    if (m->back != NULL) {
        CHECK_EQ(xev_stream_cancel(stream, &m->back->r), 0);
        m->back = NULL;
    }
}

enum { PIECE = 4096, PIECES = 100, HIGH = 64 * PIECE, LOW = 16 * PIECE };
static char piece[PIECE];
static struct req pieces[PIECES];

/* Writes until the stream is full and a little more; nothing is read. */
static void fill_up(struct scene *sc, struct marks *m) {
    open_scene(sc, true);
    memset(pieces, 0, sizeof pieces);
    *m = (struct marks){.net = &sc->n};
    (void)fill(sc->fd[0]);
    CHECK_EQ(xev_stream_set_marks(&sc->s, LOW, HIGH, m, drained), 0);
    for (int i = 0; i < PIECES; i++) {
        CHECK_EQ(xev_stream_is_full(&sc->s), i * PIECE > HIGH);
        write_req(&sc->s, &sc->n, &pieces[i], piece, PIECE);
    }
    settle(&sc->n);
    CHECK(xev_stream_is_full(&sc->s));
    CHECK_EQ(m->drained, 0);
}

TEST(a_full_stream_tells_once_when_it_has_drained) {
    struct scene sc;
    struct marks m;
    struct req more = {0};
    fill_up(&sc, &m);
    m.more = &more;
    pump(&sc.n, &sc.in, &m.drained, 1);
    CHECK_LE(m.queued, LOW);
    /* After the callbacks of what was sent, before those of what was not. */
    for (int i = 0; i < PIECES; i++) {
        CHECK(pieces[i].calls == 1 ? pieces[i].at < m.at : pieces[i].at == 0);
    }
    pump(&sc.n, &sc.in, &more.calls, 1);
    CHECK_EQ(more.result, 1);
    CHECK_EQ(pieces[PIECES - 1].result, PIECE);
    CHECK_EQ(m.drained, 1);
    /* Up to the mark is not above it. */
    for (int round = 0; round < 2; round++) {
        memset(pieces, 0, sizeof pieces);
        for (int i = 0; i < HIGH / PIECE + round; i++) {
            write_req(&sc.s, &sc.n, &pieces[i], piece, PIECE);
        }
        CHECK_EQ(xev_stream_is_full(&sc.s), round);
        pump(&sc.n, &sc.in, &pieces[HIGH / PIECE + round - 1].calls, 1);
        CHECK_EQ(m.drained, 1 + round);
    }
    close_scene(&sc);
}

TEST(a_drained_stream_may_be_closed_at_once) {
    struct scene sc;
    struct marks m;
    struct op closing;
    fill_up(&sc, &m);
    m.closing = &closing;
    pump(&sc.n, &sc.in, &m.drained, 1);
    run_op(&closing);
    for (int i = 0; i < PIECES; i++) {
        CHECK_EQ(pieces[i].calls, 1);
        CHECK(pieces[i].result == PIECE || pieces[i].result == XEV_ECANCELED);
        CHECK_LT(pieces[i].at, closing.at);
    }
    CHECK_EQ(m.drained, 1);
    free(sc.in.data);
    CHECK_EQ(close(sc.fd[1]), 0);
    net_close(&sc.n);
}

TEST(a_drained_stream_gives_requests_back_at_once) {
    struct scene sc;
    struct marks m;
    fill_up(&sc, &m);
    m.back = &pieces[PIECES - 1];
    pump(&sc.n, &sc.in, &m.drained, 1);
    CHECK_EQ(pieces[PIECES - 1].calls, 1); /* though the peer reads no more */
    CHECK_EQ(pieces[PIECES - 1].result, XEV_ECANCELED);
    pump(&sc.n, &sc.in, &pieces[PIECES - 2].calls, 1);
    CHECK_EQ(pieces[PIECES - 2].result, PIECE);
    CHECK_EQ(m.drained, 1);
    CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
    close_scene(&sc);
}

TEST(a_full_stream_that_is_closed_or_torn_down_does_not_drain) {
    for (int teardown = 0; teardown < 2; teardown++) {
        struct scene sc;
        struct marks m;
        fill_up(&sc, &m);
        if (teardown) {
            xev_loop_deinit(&sc.n.loop);
            CHECK_EQ(close(sc.fd[0]), 0);
        } else {
            close_fd(&sc.n, sc.fd[0]);
            xev_loop_deinit(&sc.n.loop);
        }
        CHECK_EQ(pieces[PIECES - 1].result, XEV_ECANCELED);
        CHECK_EQ(m.drained, 0);
        CHECK_EQ(close(sc.fd[1]), 0);
        free(sc.in.data);
    }
}

TEST(marks_may_change_and_need_no_callback) {
    struct scene sc;
    struct marks m;
    fill_up(&sc, &m);
    CHECK_EQ(xev_stream_set_marks(&sc.s, UINT64_MAX, UINT64_MAX, &m, drained), 0);
    CHECK(!xev_stream_is_full(&sc.s));
    CHECK_EQ(xev_stream_set_marks(&sc.s, 0, 0, NULL, NULL), 0);
    CHECK(xev_stream_is_full(&sc.s));
    pump(&sc.n, &sc.in, &pieces[PIECES - 1].calls, 1);
    CHECK(!xev_stream_is_full(&sc.s));
    CHECK_EQ(m.drained, 0);
    close_scene(&sc);
}

/* ---- close ---- */

/* The close callback frees the stream, as stream.h says it may. */
static xev_cb_action free_stream(struct op *op, int result) {
    CHECK_EQ(result, 0);
    memset(op->user, 0xdd, sizeof(xev_stream));
    free(op->user);
    return XEV_DISARM;
}

static void start_close(struct op *closing, struct net *n, xev_stream *s) {
    op_new(closing, n);
    closing->then = free_stream;
    closing->user = s;
    xev_tcp_close(xev_tcp_from_fd(xev_stream_fd(s)), &n->loop, &closing->c, closing, op_called);
}

static void close_from_callback(struct req *req, xev_stream *stream) {
    start_close(req->user, req->net, stream);
}

/* how 0: nothing sent yet, 1: one partly sent, 2: after a cancel, 3: from a request's callback. */
static void close_with_requests_queued(int how) {
    enum { COUNT = 40, LEN = 1 << 19 };
    static char out[LEN];
    static struct req req[COUNT];
    struct net n;
    struct op closing;
    int fd[2];
    xev_stream *s = malloc(sizeof *s);
    net_open(&n, NULL);
    local_pair(fd);
    xev_stream_init(s, &n.loop, fd[0]);
    memset(req, 0, sizeof req);
    op_new(&closing, &n);
    if (how == 3) {
        req[0].then = close_from_callback;
        req[0].user = &closing;
    } else {
        small_buffers(fd[0]);
    }
    if (how != 1 && how != 3) {
        (void)fill(fd[0]);
    }
    for (int i = 0; i < COUNT; i++) {
        write_req(s, &n, &req[i], out, i == 0 && how == 3 ? 1 : LEN);
    }
    if (how != 3) {
        settle(&n);
        if (how == 2) {
            CHECK_EQ(xev_stream_cancel(s, &req[1].r), 0);
            CHECK_EQ(xev_stream_cancel(s, &req[COUNT - 1].r), 0);
        }
        start_close(&closing, &n, s);
    }
    CHECK_GT(xev_stream_queued_bytes(s), 0);
    run_op(&closing);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(req[i].calls, 1);
        CHECK(req[i].result == XEV_ECANCELED || (how == 3 && i == 0));
        CHECK_LT(req[i].at, closing.at);
        CHECK(i == 0 || how == 2 || req[i - 1].at < req[i].at);
    }
    CHECK_EQ(xev_loop_active(&n.loop), 0);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(close_cancels_the_queue_in_order_before_it_calls_back) { close_with_requests_queued(0); }

TEST(close_while_a_request_is_partly_sent_cancels_the_queue_first) {
    close_with_requests_queued(1);
}

TEST(close_after_a_cancel_cancels_the_queue_first) { close_with_requests_queued(2); }

TEST(close_from_a_request_callback_cancels_the_queue_first) { close_with_requests_queued(3); }

TEST(teardown_cancels_the_queue) {
    enum { COUNT = 20 };
    static struct req req[COUNT];
    struct scene sc;
    for (int in_kernel = 0; in_kernel < 2; in_kernel++) {
        open_scene(&sc, true);
        (void)fill(sc.fd[0]);
        memset(req, 0, sizeof req);
        for (int i = 0; i < COUNT; i++) {
            write_req(&sc.s, &sc.n, &req[i], "x", 1);
        }
        if (in_kernel) {
            settle(&sc.n);
        }
        xev_loop_deinit(&sc.n.loop);
        for (int i = 0; i < COUNT; i++) {
            CHECK_EQ(req[i].calls, 1);
            CHECK_EQ(req[i].result, XEV_ECANCELED);
        }
        CHECK_EQ(xev_stream_queued_bytes(&sc.s), 0);
        CHECK_EQ(close(sc.fd[0]), 0);
        CHECK_EQ(close(sc.fd[1]), 0);
    }
}

/* A result is an int: what is more than that together is not sent together. */
TEST(requests_of_2_gib_are_sent_apart) {
    struct scene sc;
    struct req req[3] = {0};
    size_t len = INT32_MAX;
    void *zeros = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (zeros == MAP_FAILED) {
        return;
    }
    open_scene(&sc, true);
    (void)fill(sc.fd[0]);
    for (int i = 0; i < 3; i++) {
        write_req(&sc.s, &sc.n, &req[i], i > 0 ? zeros : "x", i > 0 ? len : 1);
    }
    settle(&sc.n);
    char sink[4096];
    while (req[0].calls == 0) {
        CHECK_GT(recv(sc.fd[1], sink, sizeof sink, 0), 0);
        settle(&sc.n);
    }
    CHECK_EQ(req[0].result, 1);
    CHECK_EQ(req[1].calls, 0);
    CHECK_GT(xev_stream_queued_bytes(&sc.s), len);
    xev_loop_deinit(&sc.n.loop);
    for (int i = 1; i < 3; i++) {
        CHECK_EQ(req[i].calls, 1);
        CHECK_EQ(req[i].result, XEV_ECANCELED);
    }
    CHECK_EQ(close(sc.fd[0]), 0);
    CHECK_EQ(close(sc.fd[1]), 0);
    CHECK_EQ(munmap(zeros, len), 0);
}

TEST(a_blocked_queue_does_not_spin) {
    struct scene sc;
    struct req req[3] = {0};
    open_scene(&sc, true);
    (void)fill(sc.fd[0]);
    for (int i = 0; i < 3; i++) {
        write_req(&sc.s, &sc.n, &req[i], "x", 1);
    }
    settle(&sc.n);
    CHECK_LT(run_for(&sc.n, 50), 20);
    CHECK_EQ(req[0].calls, 0);
    pump(&sc.n, &sc.in, &req[2].calls, 1);
    close_scene(&sc);
}

/* A part of a request is sent, which is nothing to the caller. */
TEST(run_once_does_not_return_for_a_part_of_a_request) {
    struct scene sc;
    struct req req = {0};
    struct op timer;
    xev_loop_metrics m;
    static char data[1 << 20];
    open_scene(&sc, true);
    write_req(&sc.s, &sc.n, &req, data, sizeof data);
    xev_timer_run(NULL, &sc.n.loop, &op_new(&timer, &sc.n)->c, 5, &timer, op_called);
    CHECK_EQ(xev_loop_run(&sc.n.loop, XEV_RUN_ONCE), 0);
    CHECK_EQ(req.calls, 0);
    CHECK_EQ(timer.calls, 1);
    xev_loop_metrics_get(&sc.n.loop, &m);
    CHECK_EQ(m.callbacks, 1);
    pump(&sc.n, &sc.in, &req.calls, 1);
    CHECK_EQ(req.result, (int)sizeof data);
    xev_loop_metrics_get(&sc.n.loop, &m);
    CHECK_EQ(m.callbacks, 2);
    close_scene(&sc);
}
