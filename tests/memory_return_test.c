/* What a peak of connections and operations made a loop and a service take from their allocator
 * they give back when it is over. Counted in bytes of the allocator, after as many turns as it
 * takes. */
#include "tests/memory_scene.h"
#include "tests/net_scene.h"
#include "xev/conn.h"
#include "xev/stream.h"

enum { FEW = 20, MOST = 2000 };

/* What may stay of a peak: an empty chunk or two of each store, and small tables. */
enum { KEPT_BYTES = 500 * 1024 };

struct server {
    struct net net;
    xev_conn_service *service;
    xev_completion ticker; /* so that a run never sleeps for long */
    int opened, datas, closed;
    bool keeps;         /* all but the first byte of the input */
    size_t write_bytes; /* by each connection when it is opened */
};

static int peers[MOST];
static xev_conn_handle handles[MOST], old_handles[MOST];

static struct server *server_of(const xev_conn *conn) {
    return xev_conn_service_userdata(xev_conn_service_of(conn));
}

static char zeros[400000];

static void opened(xev_conn *conn) {
    struct server *s = server_of(conn);
    s->opened++;
    if (s->write_bytes > 0) {
        CHECK_EQ(xev_conn_write(conn, zeros, s->write_bytes), 0);
    }
}

static ptrdiff_t data(xev_conn *conn, const void *bytes, size_t len_bytes) {
    struct server *s = server_of(conn);
    (void)bytes;
    if (s->keeps) {
        s->datas++;
        return len_bytes == 100;
    }
    return (ptrdiff_t)len_bytes;
}

static void closed(xev_conn *conn, xev_conn_reason reason, int code) {
    (void)reason;
    (void)code;
    server_of(conn)->closed++;
}

static const xev_conn_handlers handlers = {.opened = opened, .data = data, .closed = closed};

static xev_cb_action ticks(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    return result == 0 ? XEV_REARM : XEV_DISARM;
}

static void server_open(struct server *s) {
    memset(s, 0, sizeof *s);
    struct rlimit limit = {2 * MOST + 300, 2 * MOST + 300}, now;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &now), 0);
    if (now.rlim_cur < limit.rlim_cur) {
        limit.rlim_max = now.rlim_max;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    net_open(&s->net, &(xev_loop_options){.allocator = counted_allocator});
    const xev_conn_options options = {.handlers = &handlers, .user_bytes = 100, .userdata = s};
    CHECK_EQ(xev_conn_service_new(&s->service, &s->net.loop, &options), 0);
    xev_timer_run(NULL, &s->net.loop, &s->ticker, 5, NULL, ticks);
}

static void server_close(struct server *s) {
    xev_loop_deinit(&s->net.loop);
    xev_conn_service_free(s->service);
    CHECK_EQ(held_bytes(), 0);
    CHECK_EQ(open_fds(), s->net.fds_before);
}

static void run_server(struct server *s, const int *counter, int at_least) {
    while (*counter < at_least) {
        CHECK_EQ(xev_loop_run(&s->net.loop, XEV_RUN_ONCE), 0);
    }
}

static void adopt_one(struct server *s, int i) {
    int fd[2];
    xev_conn *conn;
    local_pair(fd);
    CHECK_EQ(xev_conn_adopt(s->service, fd[0], &conn), 0);
    handles[i] = xev_conn_handle_of(conn);
    peers[i] = fd[1];
}

static void adopt(struct server *s, int count) {
    s->opened = s->datas = s->closed = 0;
    for (int i = 0; i < count; i++) {
        adopt_one(s, i);
    }
    run_server(s, &s->opened, count);
}

static void leave(struct server *s, int from, int count) {
    for (int i = from; i < count; i++) {
        CHECK_EQ(close(peers[i]), 0);
    }
    run_server(s, &s->closed, count - from);
}

static void run_down_to(struct server *s, int64_t bytes) {
    while (held_bytes() > bytes) {
        CHECK_EQ(xev_loop_run(&s->net.loop, XEV_RUN_ONCE), 0);
    }
}

TEST_TIMEOUT(connections_that_left_have_given_their_memory_back, 60) {
    struct server s;
    server_open(&s);
    adopt(&s, FEW);
    leave(&s, 0, FEW);
    int64_t before = held_bytes();
    for (int round = 0; round < 2; round++) {
        adopt(&s, MOST);
        CHECK_GT(held_bytes(), before + KEPT_BYTES);
        leave(&s, 0, MOST);
        run_down_to(&s, before + KEPT_BYTES);
    }
    server_close(&s);
}

TEST_TIMEOUT(a_handle_of_memory_that_was_given_back_is_stale, 60) {
    struct server s;
    xev_conn *conn;
    server_open(&s);
    adopt(&s, FEW);
    leave(&s, 0, FEW);
    int64_t before = held_bytes();
    for (int round = 0; round < 3; round++) {
        adopt(&s, MOST);
        for (int i = 0; i < MOST; i++) {
            CHECK_EQ(xev_conn_find(s.service, handles[i], &conn), 0);
            CHECK(round == 0 || xev_conn_find(s.service, old_handles[i], &conn) == XEV_ESTALE);
        }
        memcpy(old_handles, handles, sizeof handles);
        leave(&s, 0, MOST);
        run_down_to(&s, before + KEPT_BYTES);
        for (int i = 0; i < MOST; i++) {
            CHECK_EQ(xev_conn_find(s.service, old_handles[i], &conn), XEV_ESTALE);
        }
    }
    server_close(&s);
}

TEST_TIMEOUT(connections_that_stay_are_served_while_memory_goes_back, 60) {
    struct server s;
    xev_conn *conn;
    server_open(&s);
    adopt(&s, FEW);
    leave(&s, 0, FEW);
    int64_t before = held_bytes();
    adopt(&s, MOST);
    leave(&s, FEW, MOST);
    run_down_to(&s, before + KEPT_BYTES);
    s.keeps = true;
    for (int i = 0; i < FEW; i++) {
        plain_send(peers[i], "x", 1);
        CHECK_EQ(xev_conn_find(s.service, handles[i], &conn), 0);
    }
    run_server(&s, &s.datas, FEW);
    s.closed = 0;
    leave(&s, 0, FEW);
    server_close(&s);
}

/* Input that is incomplete, and output that the peer does not take. */
TEST_TIMEOUT(what_connections_held_is_given_back, 60) {
    enum { MANY = 1000, SOME = 200 };
    struct server s;
    server_open(&s);
    adopt(&s, FEW);
    leave(&s, 0, FEW);
    int64_t before = held_bytes();
    s.keeps = true;
    for (int round = 0; round < 2; round++) {
        adopt(&s, MANY);
        for (int i = 0; i < MANY; i++) {
            char some[700] = {0};
            plain_send(peers[i], some, (size_t)i % sizeof some + 1);
        }
        run_server(&s, &s.datas, MANY);
        CHECK_GT(held_bytes(), before + MANY * 512);
        leave(&s, 0, MANY);
        run_down_to(&s, before + KEPT_BYTES);
        s.write_bytes = sizeof zeros;
        adopt(&s, SOME);
        CHECK_GT(held_bytes(), before + SOME * (32 << 10));
        leave(&s, 0, SOME);
        run_down_to(&s, before + KEPT_BYTES);
        s.write_bytes = 0;
    }
    server_close(&s);
}

/* The table of descriptors by number. */
TEST_TIMEOUT(a_descriptor_with_a_high_number_needs_its_memory_while_it_is_there, 60) {
    struct server s;
    struct op op;
    int pair[2];
    server_open(&s);
    adopt(&s, FEW);
    int64_t before = held_bytes();
    local_pair(pair);
    int high = fcntl(pair[0], F_DUPFD_CLOEXEC, 2 * MOST + 100);
    CHECK_GT(high, 0);
    for (int round = 0; round < 2; round++) {
        op_new(&op, &s.net);
        xev_fd_poll(high, &s.net.loop, &op.c, XEV_POLL_IN, &op, op_called);
        CHECK_GE(held_bytes(), before + 2 * MOST * (int)sizeof(uint32_t));
        plain_send(pair[1], "x", 1);
        run_op(&op);
        run_down_to(&s, before + 2048);
    }
    CHECK_EQ(close(high) + close(pair[0]) + close(pair[1]), 0);
    s.closed = 0;
    leave(&s, 0, FEW);
    server_close(&s);
}

/* ---- operations ---- */

enum { OPS_MOST = 40000, LAST = 20 };

static struct op ops[OPS_MOST], cancels[OPS_MOST];

static void start_timers(struct net *n) {
    for (int i = 0; i < OPS_MOST; i++) {
        op_new(&ops[i], n);
        xev_timer_run(NULL, &n->loop, &ops[i].c, 3600000, &ops[i], op_called);
    }
}

static void cancel_timers(struct net *n, int from, int to) {
    for (int i = from; i < to; i++) {
        op_new(&cancels[i], n);
        xev_cancel(&n->loop, &ops[i].c, &cancels[i].c, &cancels[i], op_called);
    }
    for (int i = from; i < to; i++) {
        run_op(&cancels[i]);
        CHECK_EQ(cancels[i].result, 0);
        CHECK_EQ(ops[i].result, XEV_ECANCELED);
    }
}

static void written(xev_loop *loop, xev_stream *s, xev_write_req *req, int result, void *userdata) {
    (void)loop;
    (void)s;
    (void)req;
    *(int *)userdata = result;
}

/* What stays stands at the end of the table, and gets another place when that becomes smaller. */
TEST_TIMEOUT(operations_that_stay_are_found_in_a_smaller_table, 60) {
    static char much[4 << 20];
    struct server s;
    xev_stream stream;
    xev_write_req requests[LAST];
    int fd[2], results[LAST] = {0};
    server_open(&s);
    int64_t before = held_bytes();
    start_timers(&s.net);
    CHECK_GT(held_bytes(), before + KEPT_BYTES);
    local_pair(fd);
    xev_stream_init(&stream, &s.net.loop, fd[0]);
    for (int i = 0; i < LAST; i++) {
        xev_stream_write(&stream, &requests[i], much, sizeof much, &results[i], written);
    }
    cancel_timers(&s.net, 0, OPS_MOST - LAST);
    run_down_to(&s, before + KEPT_BYTES);
    check_walk(&s.net.loop);
    for (int i = 0; i < LAST; i++) {
        CHECK_EQ(xev_completion_state(&ops[OPS_MOST - 1 - i].c), XEV_COMPLETION_ACTIVE);
        CHECK_EQ(results[i], 0);
    }
    cancel_timers(&s.net, OPS_MOST - LAST, OPS_MOST);
    CHECK_EQ(close(fd[1]), 0);
    for (int i = 0; i < LAST; i++) {
        while (results[i] == 0) {
            CHECK_EQ(xev_loop_run(&s.net.loop, XEV_RUN_ONCE), 0);
        }
        CHECK_LT(results[i], 0);
    }
    close_fd(&s.net, fd[0]);
    server_close(&s);
}

TEST_TIMEOUT(memory_that_is_refused_to_a_smaller_table_loses_nothing, 60) {
    struct server s;
    server_open(&s);
    int64_t before = held_bytes();
    start_timers(&s.net);
    inject_plan(1, INJECT_FROM_THERE_ON);
    cancel_timers(&s.net, 0, OPS_MOST - LAST);
    while (atomic_load(&inject.hits) < 2) {
        CHECK_EQ(xev_loop_run(&s.net.loop, XEV_RUN_ONCE), 0);
    }
    check_walk(&s.net.loop);
    inject_arm(false);
    run_down_to(&s, before + KEPT_BYTES);
    cancel_timers(&s.net, OPS_MOST - LAST, OPS_MOST);
    server_close(&s);
}

TEST_TIMEOUT(operations_in_the_kernel_have_given_their_memory_back, 60) {
    struct server s;
    int pair[2];
    server_open(&s);
    int64_t before = held_bytes();
    for (int round = 0; round < 2; round++) {
        local_pair(pair);
        for (int i = 0; i < OPS_MOST; i++) {
            op_new(&ops[i], &s.net);
            xev_fd_poll(pair[0], &s.net.loop, &ops[i].c, XEV_POLL_IN, &ops[i], op_called);
        }
        CHECK_EQ(xev_loop_run(&s.net.loop, XEV_RUN_NO_WAIT), 0);
        CHECK_GT(held_bytes(), before + KEPT_BYTES);
        plain_send(pair[1], "x", 1);
        for (int i = 0; i < OPS_MOST; i++) {
            run_op(&ops[i]);
            CHECK_EQ(ops[i].result, XEV_POLL_IN);
        }
        close_fd(&s.net, pair[0]);
        CHECK_EQ(close(pair[1]), 0);
        run_down_to(&s, before + 150 * 1024);
    }
    server_close(&s);
}

static xev_cb_action counts(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    CHECK(result == XEV_ECANCELED || result == 0);
    ++*(int *)userdata;
    return XEV_DISARM;
}

/* Each one waits for the kernel's report, in a turn of its own. */
TEST_TIMEOUT(what_is_cancelled_again_and_again_takes_no_more_memory, 60) {
    enum { TIMES = 3000, WARM = 100 };
    struct server s;
    xev_udp udp;
    xev_addr at;
    static xev_datagram d;
    static char room[16];
    int64_t before = 0;
    server_open(&s);
    CHECK_EQ(xev_addr_parse(&at, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_udp_init(&udp, XEV_AF_INET), 0);
    CHECK_EQ(xev_udp_bind(udp, &at, 0), 0);
    for (int i = 0; i < TIMES; i++) {
        xev_completion recv = {0}, cancel = {0};
        int ended = 0;
        d = (xev_datagram){.buf = room, .capacity_bytes = sizeof room};
        xev_udp_recv(udp, &s.net.loop, &recv, &d, &ended, counts);
        CHECK_EQ(xev_loop_run(&s.net.loop, XEV_RUN_NO_WAIT), 0);
        xev_cancel(&s.net.loop, &recv, &cancel, &ended, counts);
        while (ended < 2) {
            CHECK_EQ(xev_loop_run(&s.net.loop, XEV_RUN_NO_WAIT), 0);
        }
        before = i == WARM ? held_bytes() : before;
    }
    CHECK_LE(held_bytes(), before + 200 * 1024);
    close_fd(&s.net, udp.fd);
    server_close(&s);
}
