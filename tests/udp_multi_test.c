/* UDP: multishot receives into loaned buffers, batches, segments (GSO and GRO). */
#include "tests/udp_scene.h"

static const xev_loop_options tiny_pool = {.buffers = 4, .buffers_max = 4, .buffer_bytes = 1024};
enum { ROOM = 1024 - XEV_DATAGRAM_OVERHEAD };

/* ---- multishot ---- */

/* What a multishot receive got, in op->user. */
struct sink {
    xev_datagram d;
    xev_addr from;
    uint32_t next; /* number expected, in the first four bytes */
    int zeros, truncated;
    xev_buf taken[64];
    int taken_count;
    int take; /* so many */
    int stop_after;
};

static xev_cb_action collect(struct op *op, int result) {
    struct sink *s = op->user;
    if (result >= 0) {
        CHECK_EQ(s->d.len_bytes, result);
        check_same_address(&s->d.peer, &s->from);
        s->truncated += s->d.truncated;
        s->zeros += result == 0;
    }
    if (result > 0) {
        uint32_t number;
        CHECK(s->d.buf == xev_buf_data(&op->net->loop));
        memcpy(&number, s->d.buf, sizeof number);
        CHECK_EQ(number, s->next);
        for (int i = sizeof number; i < result; i++) {
            CHECK_EQ(((const uint8_t *)s->d.buf)[i], (uint8_t)number);
        }
        s->next++;
        if (s->take > 0) {
            s->take--;
            xev_buf buf = xev_buf_take(&op->net->loop);
            CHECK(buf.data == s->d.buf);
            CHECK_EQ(buf.len_bytes, result);
            s->taken[s->taken_count++] = buf;
        }
    }
    bool stop = s->stop_after > 0 && --s->stop_after == 0;
    return xev_completion_more(&op->c) && !stop ? XEV_REARM : XEV_DISARM;
}

static void start_multi(struct op *op, struct net *n, const struct pair *p, struct sink *s) {
    memset(s, 0, sizeof *s);
    memset(&s->d, 0xa5, sizeof s->d);
    s->from = p->out_at;
    op_new(op, n);
    op->user = s;
    op->then = collect;
    xev_udp_recv_multi(p->in, &n->loop, &op->c, &s->d, op, op_called);
}

static void put_number(const struct pair *p, uint32_t number, size_t len) {
    static uint8_t data[65536];
    memset(data, (uint8_t)number, len);
    memcpy(data, &number, sizeof number);
    put(p->out.fd, data, len, &p->in_at);
}

static void run_until_number(struct op *op, uint32_t number) {
    struct sink *s = op->user;
    while (s->next < number) {
        CHECK_EQ(op->ends, 0);
        CHECK_EQ(xev_loop_run(&op->net->loop, XEV_RUN_ONCE), 0);
    }
}

TEST(recv_multi_goes_on) {
    for (int i = 0; i < 6; i++) {
        struct net n;
        struct op op;
        struct sink s;
        bool tiny = (i & 1) != 0, nonblocking = (i & 2) != 0, v6 = (i & 4) != 0;
        net_open(&n, tiny ? &tiny_pool : NULL);
        struct pair p = pair_at(v6 ? "::1" : "127.0.0.1");
        if (nonblocking) {
            CHECK_EQ(fcntl(p.in.fd, F_SETFL, O_NONBLOCK), 0);
        }
        start_multi(&op, &n, &p, &s);
        settle(&n);
        CHECK_EQ(op.calls, 0);
        uint32_t number = 0;
        for (; number < 20; number++) {
            put_number(&p, number, 4 + number);
            run_until_number(&op, number + 1);
        }
        /* More at once than there are buffers for. */
        for (; number < 120; number++) {
            put_number(&p, number, 4 + number);
        }
        run_until_number(&op, number);
        CHECK_EQ(s.truncated + s.zeros, 0);
        CHECK_EQ(op.ends, 0);
        CHECK_LT(run_for(&n, 20), 20); /* and then sleeps */
        cancel_op(&op, 0);
        CHECK_EQ(op.result, XEV_ECANCELED);
        pair_close(&n, &p);
        net_close(&n);
    }
}

TEST(recv_multi_reports_zero_length_and_truncation) {
    struct net n;
    struct op op;
    struct sink s;
    net_open(&n, &tiny_pool);
    struct pair p = pair_at("127.0.0.1");
    start_multi(&op, &n, &p, &s);
    for (uint32_t i = 0; i < 40; i += 4) {
        put(p.out.fd, "", 0, &p.in_at);
        put_number(&p, i, 4);
        put_number(&p, i + 1, ROOM);
        put(p.out.fd, "", 0, &p.in_at);
        put(p.out.fd, "", 0, &p.in_at);
        put_number(&p, i + 2, ROOM + 1);
        put_number(&p, i + 3, 2000);
        run_until_number(&op, i + 4);
        CHECK_EQ(s.d.len_bytes, ROOM);
        CHECK_EQ(s.truncated, i / 2 + 2);
        CHECK_EQ(s.zeros, 3 * (i / 4 + 1));
    }
    cancel_op(&op, 0);
    pair_close(&n, &p);
    net_close(&n);
}

TEST(disarm_ends_recv_multi_and_the_rest_stays) {
    for (int stop = 1; stop < 8; stop += 3) {
        struct net n;
        struct op op;
        struct sink s;
        net_open(&n, &tiny_pool);
        struct pair p = pair_at("127.0.0.1");
        for (uint32_t i = 0; i < 10; i++) {
            put_number(&p, i, 100);
        }
        start_multi(&op, &n, &p, &s);
        s.stop_after = stop;
        run_op(&op);
        CHECK_EQ(op.result, XEV_ECANCELED);
        CHECK_GE(op.calls, stop + 1);
        uint32_t got = s.next;
        start_multi(&op, &n, &p, &s);
        s.next = got;
        run_until_number(&op, 10);
        cancel_op(&op, 0);
        pair_close(&n, &p);
        net_close(&n);
    }
}

TEST(recv_multi_waits_for_a_buffer) {
    struct net n;
    struct op op;
    struct sink s;
    net_open(&n, &tiny_pool);
    struct pair p = pair_at("127.0.0.1");
    start_multi(&op, &n, &p, &s);
    s.take = 4 + 3;
    for (uint32_t i = 0; i < 12; i++) {
        put_number(&p, i, 50 + i);
    }
    run_until_number(&op, 4);
    CHECK_LT(run_for(&n, 20), 20); /* no spinning meanwhile */
    CHECK_EQ(s.next, 4);
    CHECK_EQ(op.ends, 0);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_EQ(s.taken[i].len_bytes, 50 + i);
        CHECK_EQ(((const uint8_t *)s.taken[i].data)[49], (uint8_t)i);
        xev_buf_release(&n.loop, s.taken[i]);
        run_until_number(&op, 5 + i < 8 ? 5 + i : 12); /* three more are taken, then none */
    }
    for (int i = 4; i < 7; i++) {
        xev_buf_release(&n.loop, s.taken[i]);
    }
    put_number(&p, 12, 50);
    run_until_number(&op, 13);
    cancel_op(&op, 0);
    CHECK_EQ(op.result, XEV_ECANCELED);
    pair_close(&n, &p);
    net_close(&n);
}

TEST(starved_recv_multi_is_cancelled_and_closed) {
    struct net n;
    struct op op, other, closing;
    struct sink s, t;
    net_open(&n, &tiny_pool);
    struct pair p = pair_at("127.0.0.1"), q = pair_at("127.0.0.1");
    start_multi(&op, &n, &p, &s);
    s.take = 4;
    for (uint32_t i = 0; i < 6; i++) {
        put_number(&p, i, 50);
    }
    run_until_number(&op, 4);
    start_multi(&other, &n, &q, &t);
    put_number(&q, 0, 50);
    settle(&n);
    CHECK_EQ(other.calls, 0);
    cancel_op(&op, 0);
    CHECK_EQ(op.result, XEV_ECANCELED);
    xev_udp_close(q.in, &n.loop, &op_new(&closing, &n)->c, &closing, op_called);
    run_op(&closing);
    CHECK_EQ(other.ends, 1);
    CHECK_EQ(other.result, XEV_ECANCELED);
    for (int i = 0; i < 4; i++) {
        xev_buf_release(&n.loop, s.taken[i]);
    }
    start_multi(&op, &n, &p, &s);
    s.next = 4;
    run_until_number(&op, 6);
    cancel_op(&op, 0);
    close_fd(&n, q.out.fd);
    pair_close(&n, &p);
    net_close(&n);
}

static xev_cb_action close_in_callback(struct op *op, int result) {
    if (result > 0 && op->calls == 1) {
        struct op *closing = op->user;
        xev_udp_close(xev_udp_from_fd((xev_fd)op->sum), &op->net->loop, &closing->c, closing,
                      op_called);
    }
    return xev_completion_more(&op->c) ? XEV_REARM : XEV_DISARM;
}

TEST(close_in_the_callback_of_recv_multi) {
    struct net n;
    struct op op, closing;
    xev_datagram d;
    net_open(&n, &tiny_pool);
    struct pair p = pair_at("127.0.0.1");
    for (int i = 0; i < 3; i++) {
        put(p.out.fd, "x", 1, &p.in_at);
    }
    op_new(&op, &n);
    op.user = op_new(&closing, &n);
    op.sum = p.in.fd;
    op.then = close_in_callback;
    xev_udp_recv_multi(p.in, &n.loop, &op.c, &d, &op, op_called);
    run_op(&closing);
    CHECK_EQ(op.ends, 1);
    CHECK_EQ(op.result, XEV_ECANCELED);
    CHECK_LT(op.at, closing.at);
    close_fd(&n, p.out.fd);
    net_close(&n);
}

TEST(recv_multi_ends_with_an_error) {
    struct net n;
    struct op op;
    struct sink s;
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    CHECK_EQ(xev_udp_connect(p.in, &p.out_at), 0);
    start_multi(&op, &n, &p, &s);
    put_number(&p, 0, 10);
    run_until_number(&op, 1);
    CHECK_EQ(xev_udp_close_now(p.out), 0);
    CHECK_EQ(send_to(&n, p.in, "x", 1, NULL), 1);
    if (op.ends == 0) {
        run_op(&op);
    }
    CHECK_EQ(op.result, XEV_ECONNREFUSED);
    CHECK_EQ(op.calls, 2);
    close_fd(&n, p.in.fd);
    net_close(&n);
}

TEST(recv_multi_needs_room_for_the_overhead) {
    static const xev_loop_options small = {.buffer_bytes = XEV_DATAGRAM_OVERHEAD};
    static const xev_loop_options enough = {.buffer_bytes = XEV_DATAGRAM_OVERHEAD + 1};
    struct net n;
    struct op op;
    struct sink s;
    net_open(&n, &small);
    struct pair p = pair_at("127.0.0.1");
    start_multi(&op, &n, &p, &s);
    CHECK_EQ(op.calls, 0);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EINVAL);
    pair_close(&n, &p);
    net_close(&n);
    net_open(&n, &enough);
    p = pair_at("127.0.0.1");
    xev_datagram d;
    op_new(&op, &n);
    xev_udp_recv_multi(p.in, &n.loop, &op.c, &d, &op, op_called);
    put(p.out.fd, "xy", 2, &p.in_at);
    run_until(&n, &op.calls, 1);
    CHECK_EQ(op.result, 1);
    CHECK(d.truncated);
    cancel_op(&op, 0);
    pair_close(&n, &p);
    net_close(&n);
}

/* Datagrams on several sockets at once, as many as fit the sockets: none is lost, nobody starves.
 */
TEST(many_sockets_share_few_buffers) {
    enum { SOCKETS = 24, EACH = 20 };
    struct net n;
    struct op op[SOCKETS];
    struct sink s[SOCKETS];
    struct pair p[SOCKETS];
    net_open(&n, &tiny_pool);
    for (int i = 0; i < SOCKETS; i++) {
        p[i] = pair_at("127.0.0.1");
        start_multi(&op[i], &n, &p[i], &s[i]);
    }
    for (uint32_t number = 0; number < EACH; number++) {
        for (int i = 0; i < SOCKETS; i++) {
            put_number(&p[i], number, 64);
        }
    }
    for (int i = 0; i < SOCKETS; i++) {
        run_until_number(&op[i], EACH);
        cancel_op(&op[i], 0);
        pair_close(&n, &p[i]);
    }
    net_close(&n);
}

/* ---- batches ---- */

TEST(batches_move_many_datagrams) {
    enum { COUNT = 100 };
    struct net n;
    struct op op;
    xev_datagram out[COUNT], in[COUNT];
    uint32_t sent_value[COUNT], value[COUNT];
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    for (uint32_t i = 0; i < COUNT; i++) {
        sent_value[i] = i;
        out[i] = out_of(&sent_value[i], i % 5, &p.in_at); /* zero-length ones too */
        in[i] = into(&value[i], 3);
    }
    uint32_t sent = 0;
    while (sent < COUNT) {
        do_send_batch(&op, &n, p.out, out + sent, COUNT - sent);
        CHECK_EQ(op.calls, 0);
        run_op(&op);
        CHECK_GT(op.result, 0);
        CHECK_LE(op.result, XEV_UDP_BATCH_MAX);
        sent += (uint32_t)op.result;
    }
    wait_datagrams(p.in.fd, COUNT);
    uint32_t got = 0;
    int calls = 0;
    while (got < COUNT) {
        do_recv_batch(&op, &n, p.in, in + got, COUNT - got);
        run_op(&op);
        CHECK_GT(op.result, 0);
        CHECK_LE(op.result, XEV_UDP_BATCH_MAX);
        got += (uint32_t)op.result;
        calls++;
    }
    CHECK_EQ(calls, 2);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t len = i % 5 < 3 ? i % 5 : 3;
        CHECK_EQ(in[i].len_bytes, len);
        CHECK_EQ(in[i].truncated, i % 5 > 3);
        CHECK_MEM_EQ(&value[i], &i, len);
        CHECK_EQ(in[i].segment_bytes, 0);
        check_same_address(&in[i].peer, &p.out_at);
    }
    pair_close(&n, &p);
    net_close(&n);
}

TEST(recv_batch_waits_for_the_first_only) {
    struct net n;
    struct op op;
    char buf[4][8];
    xev_datagram in[4];
    net_open(&n, NULL);
    struct pair p = pair_at("::1");
    for (int i = 0; i < 4; i++) {
        in[i] = into(buf[i], sizeof buf[i]);
    }
    for (int round = 0; round < 3; round++) {
        do_recv_batch(&op, &n, p.in, in, 4);
        settle(&n);
        CHECK_EQ(op.calls, 0);
        put(p.out.fd, "one", 3, &p.in_at);
        run_op(&op);
        CHECK_EQ(op.result, 1);
        CHECK_EQ(in[0].len_bytes, 3);
        CHECK_MEM_EQ(buf[0], "one", 3);
        check_same_address(&in[0].peer, &p.out_at);
    }
    pair_close(&n, &p);
    net_close(&n);
}

TEST(send_batch_stops_before_an_error) {
    static char big[70000];
    struct net n;
    struct op op;
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    xev_datagram out[3] = {out_of("ok", 2, &p.in_at), out_of(big, sizeof big, &p.in_at),
                           out_of("never", 5, &p.in_at)};
    do_send_batch(&op, &n, p.out, out, 3);
    run_op(&op);
    CHECK_EQ(op.result, 1);
    do_send_batch(&op, &n, p.out, out + 1, 2);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EMSGSIZE);
    put(p.out.fd, "end", 3, &p.in_at);
    expect(&n, p.in, "ok", &p.out_at);
    expect(&n, p.in, "end", &p.out_at);
    pair_close(&n, &p);
    net_close(&n);
}

TEST(batches_stop_before_a_bad_datagram) {
    struct net n;
    struct op op;
    char buf[2][8];
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    xev_datagram out[] = {out_of("one", 3, &p.in_at), out_of("two", 3, &p.in_at),
                          out_of(NULL, 3, &p.in_at), out_of("never", 5, &p.in_at)};
    xev_datagram in[] = {into(buf[0], 8), into(NULL, 8), into(buf[1], 8)};
    do_send_batch(&op, &n, p.out, out, 4);
    run_op(&op);
    CHECK_EQ(op.result, 2);
    do_send_batch(&op, &n, p.out, out + 2, 2);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EINVAL);
    do_recv_batch(&op, &n, p.in, in, 3);
    run_op(&op);
    CHECK_EQ(op.result, 1);
    CHECK_MEM_EQ(buf[0], "one", 3);
    do_recv_batch(&op, &n, p.in, in + 1, 2);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EINVAL);
    expect(&n, p.in, "two", &p.out_at);
    pair_close(&n, &p);
    net_close(&n);
}

/* ---- segments ---- */

enum { SEGMENT = 1000, SEGMENTED = 3 * SEGMENT + 200 };

static uint8_t pattern[SEGMENTED];

static int send_segmented(struct net *n, const struct pair *p, bool batch) {
    struct op op;
    for (size_t i = 0; i < SEGMENTED; i++) {
        pattern[i] = (uint8_t)(i * 3 + i / 256);
    }
    xev_datagram d = out_of(pattern, SEGMENTED, &p->in_at);
    d.segment_bytes = SEGMENT;
    if (batch) {
        do_send_batch(&op, n, p->out, &d, 1);
    } else {
        do_send(&op, n, p->out, &d);
    }
    run_op(&op);
    return op.result;
}

/* Where the kernel has no GSO, that is what a send says. */
static bool gso_or_told(struct net *n, struct pair *p) {
    if (!xev_udp_has_gso(p->out)) {
        CHECK_EQ(send_segmented(n, p, false), XEV_ENOTSUP);
        return false;
    }
    return true;
}

/* Also where a batch is done at once, and what comes behind it within the same turn. */
TEST(batches_are_reported_in_the_order_of_submission) {
    struct net n;
    struct pair p;
    struct op ops[4];
    char text[2][8] = {"first", "second"}, buf[2][8];
    net_open(&n, NULL);
    p = pair_at("127.0.0.1");
    xev_datagram out[2], in[2];
    for (int i = 0; i < 2; i++) {
        out[i] = out_of(text[i], 8, &p.in_at);
        in[i] = into(buf[i], 8);
    }
    do_send_batch(&ops[0], &n, p.out, &out[0], 1);
    do_send(&ops[1], &n, p.out, &out[1]);
    run_op(&ops[1]);
    CHECK_EQ(ops[0].result, 1);
    CHECK_EQ(ops[1].result, 8);
    CHECK_LT(ops[0].at, ops[1].at);
    wait_datagrams(p.in.fd, 2);
    do_recv_batch(&ops[2], &n, p.in, &in[0], 1);
    do_recv(&ops[3], &n, p.in, &in[1]);
    run_op(&ops[3]);
    CHECK_EQ(ops[2].result, 1);
    CHECK_LT(ops[2].at, ops[3].at);
    CHECK_STR_EQ(buf[0], text[0]);
    CHECK_STR_EQ(buf[1], text[1]);
    pair_close(&n, &p);
    net_close(&n);
}

TEST(gso_sends_many_datagrams_at_once) {
    struct net n;
    struct op received;
    uint8_t buf[2 * SEGMENT];
    net_open(&n, NULL);
    for (int i = 0; i < 4; i++) {
        struct pair p = pair_at((i & 1) != 0 ? "::1" : "127.0.0.1");
        if (gso_or_told(&n, &p)) {
            bool batch = (i & 2) != 0;
            CHECK_EQ(send_segmented(&n, &p, batch), batch ? 1 : SEGMENTED);
            for (size_t at = 0; at < SEGMENTED; at += SEGMENT) {
                int len = at + SEGMENT < SEGMENTED ? SEGMENT : 200;
                xev_datagram d = into(buf, sizeof buf);
                do_recv(&received, &n, p.in, &d);
                run_op(&received);
                CHECK_EQ(received.result, len);
                CHECK_MEM_EQ(buf, pattern + at, (size_t)len);
                CHECK_EQ(d.segment_bytes, 0);
                check_same_address(&d.peer, &p.out_at);
            }
        }
        pair_close(&n, &p);
    }
    net_close(&n);
}

static xev_cb_action keep_bytes(struct op *op, int result) {
    if (result > 0) {
        memcpy(op->user, xev_buf_data(&op->net->loop), (size_t)result);
        return XEV_DISARM;
    }
    return XEV_DISARM;
}

TEST(gro_receives_joined_datagrams_and_their_size) {
    struct net n;
    struct op op;
    static uint8_t buf[65536];
    net_open(&n, NULL);
    for (enum form form = SINGLE; form < FORMS; form++) {
        for (int v6 = 0; v6 < 2; v6++) {
            struct pair p = pair_at(v6 ? "::1" : "127.0.0.1");
            int rc = xev_udp_set_gro(p.in, true);
            CHECK(rc == 0 || rc == XEV_ENOTSUP);
            if (rc == 0 && gso_or_told(&n, &p)) {
                memset(buf, 0, sizeof buf);
                xev_datagram d = into(buf, sizeof buf);
                do_form(form, &op, &n, p.in, &d);
                if (form == MULTI) {
                    op.then = keep_bytes;
                    op.user = buf;
                }
                CHECK_EQ(send_segmented(&n, &p, false), SEGMENTED);
                run_until(&n, &op.calls, 1);
                CHECK_EQ(op.results[0], form == BATCH ? 1 : SEGMENTED);
                CHECK_EQ(d.len_bytes, SEGMENTED);
                CHECK_EQ(d.segment_bytes, SEGMENT);
                CHECK(!d.truncated);
                CHECK_MEM_EQ(buf, pattern, SEGMENTED);
                check_same_address(&d.peer, &p.out_at);
                if (op.ends == 0) {
                    run_op(&op);
                }
                CHECK_EQ(xev_udp_set_gro(p.in, false), 0);
                put(p.out.fd, "alone", 5, &p.in_at);
                expect(&n, p.in, "alone", &p.out_at);
            }
            pair_close(&n, &p);
        }
    }
    net_close(&n);
}

/* ---- a send that is repeated ---- */

struct repeated {
    struct net *n;
    int left; /* sends; below 0: without end */
    int sent, result;
};

static xev_cb_action on_repeated(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct repeated *r = userdata;
    (void)loop;
    (void)c;
    r->result = result;
    r->sent += result >= 0;
    r->left -= r->left > 0;
    return r->left != 0 ? XEV_REARM : XEV_DISARM;
}

TEST(a_repeated_send_takes_no_turn_for_each_datagram) {
    struct net n;
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    struct repeated r = {.n = &n, .left = 64};
    xev_datagram d = out_of("x", 1, &p.in_at);
    xev_completion send;
    xev_udp_send(p.out, &n.loop, &send, &d, &r, on_repeated);
    CHECK_EQ(r.sent, 0); /* no callback inside the call */
    uint64_t before = n.turns;
    run_until(&n, &r.sent, 64);
    CHECK_LE(n.turns - before, 16);
    pair_close(&n, &p);
    net_close(&n);
}

TEST(a_send_that_is_repeated_without_end_keeps_nothing_waiting) {
    struct net n;
    net_open(&n, NULL);
    struct pair p = pair_at("127.0.0.1");
    struct repeated r = {.n = &n, .left = -1};
    xev_datagram d = out_of("x", 1, &p.in_at);
    struct op timer, recv, cancel;
    char buf[8];
    xev_datagram in = into(buf, sizeof buf);
    xev_completion send;
    do_recv(&recv, &n, p.in, &in);
    xev_timer_run(NULL, &n.loop, &op_new(&timer, &n)->c, 1, &timer, op_called);
    xev_udp_send(p.out, &n.loop, &send, &d, &r, on_repeated);
    run_op(&timer);
    run_op(&recv);
    CHECK_EQ(recv.result, 1);
    CHECK_GT(r.sent, 0);
    xev_cancel(&n.loop, &send, &op_new(&cancel, &n)->c, &cancel, op_called);
    int before = r.sent;
    run_op(&cancel);
    CHECK_EQ(cancel.result, 0);
    CHECK_EQ(r.result, XEV_ECANCELED);
    CHECK_EQ(r.sent, before); /* it was not under way */
    pair_close(&n, &p);
    net_close(&n);
}
