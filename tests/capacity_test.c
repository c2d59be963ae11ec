/* More submissions, events, descriptors and buffers than a loop has room for at first. */
#include "tests/net_scene.h"

enum { MOST = 10240 };

static struct op ops[MOST];
static int left[MOST], right[MOST];
static char bytes[MOST];

static void allow_fds(rlim_t count) {
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < count) {
        limit.rlim_cur = count;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
}

static void make_pairs(int count) {
    allow_fds((rlim_t)(2 * count + 100));
    for (int i = 0; i < count; i++) {
        int fd[2];
        local_pair(fd);
        left[i] = fd[0];
        right[i] = fd[1];
    }
}

/* All closes are under way at once. */
static void close_pairs(struct net *n, int count) {
    for (int i = 0; i < count; i++) {
        op_new(&ops[i], n);
        xev_tcp_close(xev_tcp_from_fd(left[i]), &n->loop, &ops[i].c, &ops[i], op_called);
        CHECK_EQ(close(right[i]), 0);
    }
    for (int i = 0; i < count; i++) {
        if (ops[i].ends == 0) {
            run_op(&ops[i]);
        }
        CHECK_EQ(ops[i].result, 0);
    }
}

static xev_cb_action counted(struct op *op, int result) {
    ++*(int *)op->user;
    (void)result;
    return XEV_DISARM;
}

static void submit_recvs(struct net *n, int from, int to, int *counter) {
    for (int i = from; i < to; i++) {
        op_new(&ops[i], n);
        ops[i].then = counted;
        ops[i].user = counter;
        xev_tcp_recv(xev_tcp_from_fd(left[i]), &n->loop, &ops[i].c, &bytes[i], 1, &ops[i],
                     op_called);
    }
}

static void send_one_each(int count) {
    for (int i = 0; i < count; i++) {
        char byte = (char)(i * 31);
        plain_send(right[i], &byte, 1);
    }
}

static void check_received(int count) {
    for (int i = 0; i < count; i++) {
        CHECK_EQ(ops[i].calls, 1);
        CHECK_EQ(ops[i].result, 1);
        CHECK_EQ(bytes[i], (char)(i * 31));
    }
}

struct burst {
    struct op timer;
    int count;
    int received;
};

static xev_cb_action submit_burst(struct op *op, int result) {
    struct burst *b = op->user;
    CHECK_EQ(result, 0);
    submit_recvs(op->net, 0, b->count, &b->received);
    return XEV_DISARM;
}

TEST(more_submissions_than_the_ring_has_entries) {
    enum { COUNT = 1000 };
    const xev_loop_options few = {.entries = 4, .cq_entries = 8};
    for (int in_callback = 0; in_callback < 2; in_callback++) {
        for (int ready = 0; ready < 2; ready++) {
            struct net n;
            struct burst b = {.count = COUNT};
            net_open(&n, &few);
            make_pairs(COUNT);
            if (ready) {
                send_one_each(COUNT);
            }
            if (in_callback) {
                op_new(&b.timer, &n);
                b.timer.then = submit_burst;
                b.timer.user = &b;
                xev_timer_run(NULL, &n.loop, &b.timer.c, 0, &b.timer, op_called);
                run_op(&b.timer);
            } else {
                submit_recvs(&n, 0, COUNT, &b.received);
            }
            if (!ready) {
                settle(&n);
                CHECK_EQ(b.received, 0);
                send_one_each(COUNT);
            }
            run_until(&n, &b.received, COUNT);
            check_received(COUNT);
            close_pairs(&n, COUNT);
            net_close(&n);
        }
    }
}

TEST(operations_that_found_no_entry_can_be_cancelled_and_torn_down) {
    enum { COUNT = 200 };
    const xev_loop_options few = {.entries = 4, .cq_entries = 8};
    for (int how = 0; how < 3; how++) {
        static struct op cancels[COUNT];
        struct net n;
        int received = 0;
        net_open(&n, &few);
        make_pairs(COUNT);
        submit_recvs(&n, 0, COUNT, &received);
        for (int i = COUNT - 1; i >= 0 && how < 2; i -= how + 1) {
            op_new(&cancels[i], &n);
            xev_cancel(&n.loop, &ops[i].c, &cancels[i].c, &cancels[i], op_called);
        }
        if (how < 2) {
            run_until(&n, &received, COUNT / (how + 1));
            settle(&n);
        }
        if (how == 1) {
            send_one_each(COUNT);
            run_until(&n, &received, COUNT);
        }
        if (how == 2) {
            xev_loop_deinit(&n.loop);
        }
        for (int i = 0; i < COUNT; i++) {
            bool cancelled = how != 1 || i % 2 == 1;
            CHECK_EQ(ops[i].calls, 1);
            CHECK_EQ(ops[i].result, cancelled ? XEV_ECANCELED : 1);
            if (cancelled && how < 2) {
                CHECK_EQ(cancels[i].ends, 1);
                CHECK_EQ(cancels[i].result, 0);
                CHECK_LT(ops[i].at, cancels[i].at);
            }
        }
        if (how < 2) {
            close_pairs(&n, COUNT);
            net_close(&n);
            continue;
        }
        for (int i = 0; i < COUNT; i++) {
            CHECK_EQ(close(left[i]), 0);
            CHECK_EQ(close(right[i]), 0);
        }
        CHECK_EQ(open_fds(), n.fds_before);
    }
}

static void ready_at_once(int count) {
    struct net n;
    int received = 0;
    net_open(&n, NULL);
    make_pairs(count);
    submit_recvs(&n, 0, count, &received);
    settle(&n);
    CHECK_EQ(received, 0);
    send_one_each(count);
    uint64_t before = n.turns;
    run_until(&n, &received, count);
    CHECK_EQ(received, count);
    CHECK_LT(n.turns - before, 1000);
    check_received(count);
    close_pairs(&n, count);
    net_close(&n);
}

TEST(events_at_once_257) { ready_at_once(257); }

TEST(events_at_once_1025) { ready_at_once(1025); }

TEST(events_at_once_4097) { ready_at_once(4097); }

TEST_TIMEOUT(ten_thousand_descriptors, 60) {
    enum { PAIRS = 5000 };
    struct net n;
    int received = 0;
    net_open(&n, NULL);
    make_pairs(PAIRS);
    /* Both ends of a pair are the loop's. */
    for (int i = 0; i < PAIRS; i++) {
        left[PAIRS + i] = right[i];
        right[PAIRS + i] = left[i];
    }
    submit_recvs(&n, 0, 2 * PAIRS, &received);
    settle(&n);
    send_one_each(2 * PAIRS);
    run_until(&n, &received, 2 * PAIRS);
    check_received(2 * PAIRS);
    for (int i = 0; i < 2 * PAIRS; i++) {
        op_new(&ops[i], &n);
        xev_tcp_close(xev_tcp_from_fd(left[i]), &n.loop, &ops[i].c, &ops[i], op_called);
    }
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_UNTIL_DONE), 0);
    for (int i = 0; i < 2 * PAIRS; i++) {
        CHECK_EQ(ops[i].result, 0);
    }
    net_close(&n);
}

/* ---- an echo server on loaned buffers ---- */

enum { MESSAGE = 100 };

struct echo {
    struct op recv, send, closing;
    xev_buf buf;
    struct server *server;
    int fd;
    uint32_t sent;
};

struct server {
    struct net n;
    struct op accept;
    int accepted, ended, held, most_held;
    bool multi;
    struct echo *conns;
};

static void echo_send(struct echo *e);

static xev_cb_action echo_closed(struct op *op, int result) {
    struct echo *e = op->user;
    CHECK_EQ(result, 0);
    e->server->ended++;
    return XEV_DISARM;
}

static xev_cb_action echo_sent(struct op *op, int result) {
    struct echo *e = op->user;
    CHECK_GT(result, 0);
    e->sent += (uint32_t)result;
    if (e->sent < e->buf.len_bytes) {
        echo_send(e);
        return XEV_DISARM;
    }
    xev_buf_release(&e->server->n.loop, e->buf);
    e->server->held--;
    op_new(&e->closing, &e->server->n);
    e->closing.user = e;
    e->closing.then = echo_closed;
    xev_tcp_close(xev_tcp_from_fd(e->fd), &e->server->n.loop, &e->closing.c, &e->closing,
                  op_called);
    return XEV_DISARM;
}

static void echo_send(struct echo *e) {
    const char *from = e->buf.data;
    op_new(&e->send, &e->server->n);
    e->send.user = e;
    e->send.then = echo_sent;
    xev_tcp_send(xev_tcp_from_fd(e->fd), &e->server->n.loop, &e->send.c, from + e->sent,
                 e->buf.len_bytes - e->sent, &e->send, op_called);
}

static xev_cb_action echo_received(struct op *op, int result) {
    struct echo *e = op->user;
    if (result == XEV_ECANCELED) {
        return XEV_DISARM;
    }
    CHECK_EQ(result, MESSAGE); /* the client sends no more than this */
    e->buf = xev_buf_take(&e->server->n.loop);
    e->server->held++;
    if (e->server->most_held < e->server->held) {
        e->server->most_held = e->server->held;
    }
    echo_send(e);
    return xev_completion_more(&op->c) ? XEV_REARM : XEV_DISARM;
}

static void serve(struct server *s, struct echo *e, int fd) {
    e->server = s;
    e->fd = fd;
    op_new(&e->recv, &s->n);
    e->recv.user = e;
    e->recv.then = echo_received;
    xev_tcp tcp = xev_tcp_from_fd(fd);
    if (s->multi) {
        xev_tcp_recv_multi(tcp, &s->n.loop, &e->recv.c, &e->recv, op_called);
    } else {
        xev_tcp_recv_loan(tcp, &s->n.loop, &e->recv.c, &e->recv, op_called);
    }
}

static xev_cb_action served(struct op *op, int result) {
    struct server *s = op->user;
    if (result == XEV_ECANCELED) {
        return XEV_DISARM;
    }
    CHECK_GE(result, 0);
    serve(s, &s->conns[s->accepted++], result);
    return XEV_REARM;
}

static void send_message(int fd, int i) {
    char text[MESSAGE];
    memset(text, 'a' + i % 26, sizeof text);
    plain_send(fd, text, sizeof text);
}

static void check_echo(int fd, int i) {
    char text[MESSAGE], want[MESSAGE];
    memset(want, 'a' + i % 26, sizeof want);
    plain_recv(fd, text, sizeof text);
    CHECK_MEM_EQ(text, want, MESSAGE);
    CHECK_EQ(recv(fd, text, 1, 0), 0);
}

TEST_TIMEOUT(four_buffers_serve_a_thousand_connections, 60) {
    enum { COUNT = 1000 };
    const xev_loop_options options = {.buffers = 4, .buffers_max = 4, .buffer_bytes = 1024};
    for (int variant = 0; variant < 4; variant++) {
        struct server s = {.multi = variant % 2 != 0};
        bool ready_before = variant / 2 != 0;
        s.conns = calloc(COUNT, sizeof *s.conns);
        net_open(&s.n, &options);
        make_pairs(COUNT);
        for (int i = 0; i < COUNT; i++) {
            if (ready_before) {
                send_message(right[i], i);
            }
            serve(&s, &s.conns[i], left[i]);
        }
        settle(&s.n);
        for (int i = 0; i < COUNT && !ready_before; i++) {
            send_message(right[i], i);
        }
        run_until(&s.n, &s.ended, COUNT);
        CHECK_EQ(s.held, 0);
        CHECK_LE(s.most_held, 4);
        CHECK_LT(s.n.turns, 20 * COUNT);
        for (int i = 0; i < COUNT; i++) {
            check_echo(right[i], i);
            CHECK_EQ(close(right[i]), 0);
        }
        CHECK_EQ(xev_loop_active(&s.n.loop), 0);
        net_close(&s.n);
        free(s.conns);
    }
}

TEST_TIMEOUT(a_64_entry_completion_queue_serves_4096_connections, 120) {
    enum { COUNT = 4096, BATCH = 256 };
    const xev_loop_options options = {.entries = 64, .cq_entries = 64};
    static int clients[COUNT];
    struct server s = {.multi = false};
    allow_fds(3 * COUNT);
    s.conns = calloc(COUNT, sizeof *s.conns);
    net_open(&s.n, &options);
    int listener = plain_listener(BATCH);
    op_new(&s.accept, &s.n);
    s.accept.user = &s;
    s.accept.then = served;
    xev_tcp_accept_multi(xev_tcp_from_fd(listener), &s.n.loop, &s.accept.c, &s.accept, op_called);
    for (int i = 0; i < COUNT; i += BATCH) {
        for (int j = i; j < i + BATCH; j++) {
            clients[j] = plain_connect(listener);
        }
        run_until(&s.n, &s.accepted, i + BATCH);
    }
    settle(&s.n);
    for (int i = 0; i < COUNT; i++) {
        send_message(clients[i], i);
    }
    run_until(&s.n, &s.ended, COUNT);
    for (int i = 0; i < COUNT; i++) {
        check_echo(clients[i], i);
        CHECK_EQ(close(clients[i]), 0);
    }
    cancel_op(&s.accept, 0);
    close_fd(&s.n, listener);
    net_close(&s.n);
    free(s.conns);
}

/* Every operation's event is in the queue before the first is taken out. */
TEST(a_full_completion_queue_loses_nothing) {
    enum { COUNT = 4096 };
    const xev_loop_options options = {.entries = 64, .cq_entries = 64};
    struct net n;
    int received = 0;
    net_open(&n, &options);
    make_pairs(COUNT);
    send_one_each(COUNT);
    submit_recvs(&n, 0, COUNT, &received);
    run_until(&n, &received, COUNT);
    check_received(COUNT);
    close_pairs(&n, COUNT);
    net_close(&n);
}

/* ---- memory ---- */

static long resident_kib(void) {
    FILE *f = fopen("/proc/self/statm", "r");
    long size, resident;
    CHECK(f != NULL);
    CHECK_EQ(fscanf(f, "%ld %ld", &size, &resident), 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static xev_cb_action count_bytes(struct op *op, int result) {
    if (result > 0) {
        *(int *)op->user += result;
        CHECK_EQ(*(const char *)xev_buf_data(&op->net->loop), 'm');
    }
    return xev_completion_more(&op->c) ? XEV_REARM : XEV_DISARM;
}

TEST_TIMEOUT(an_idle_connection_holds_no_buffer, 60) {
    enum { COUNT = 4000, LIMIT_KIB = 16 * 1024 }; /* with a buffer each it were 64 MiB */
    struct net n;
    int received = 0;
    net_open(&n, NULL);
    make_pairs(COUNT);
    memset(ops, 0, sizeof ops); /* resident from now on */
    long before = resident_kib();
    for (int i = 0; i < COUNT; i++) {
        op_new(&ops[i], &n);
        ops[i].then = count_bytes;
        ops[i].user = &received;
        xev_tcp_recv_multi(xev_tcp_from_fd(left[i]), &n.loop, &ops[i].c, &ops[i], op_called);
    }
    settle(&n);
    long idle = resident_kib();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            plain_send(right[i], "mmmmmmmm", 8);
        }
        run_until(&n, &received, 8 * COUNT * (round + 1));
    }
    long after = resident_kib();
    printf("KiB per connection: idle %.2f, after a burst %.2f\n", (double)(idle - before) / COUNT,
           (double)(after - before) / COUNT);
    if (test_slowdown() == 1) { /* sanitizers have memory of their own */
        CHECK_LT(idle - before, LIMIT_KIB);
        CHECK_LT(after - before, LIMIT_KIB);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(ops[i].ends, 0);
    }
    for (int i = 0; i < COUNT; i++) {
        struct op closing;
        op_new(&closing, &n);
        xev_tcp_close(xev_tcp_from_fd(left[i]), &n.loop, &closing.c, &closing, op_called);
        run_op(&closing);
        CHECK_EQ(close(right[i]), 0);
    }
    net_close(&n);
}

static size_t held_bytes;

static void *count_allocate(size_t bytes_wanted, size_t alignment, void *userdata) {
    (void)userdata;
    held_bytes += bytes_wanted;
    return aligned_alloc(alignment, (bytes_wanted + alignment - 1) / alignment * alignment);
}

static void count_release(void *memory, size_t bytes_given, void *userdata) {
    (void)userdata;
    CHECK_GE(held_bytes, bytes_given);
    held_bytes -= bytes_given;
    free(memory);
}

TEST_TIMEOUT(memory_of_connections_that_left_is_given_back, 60) {
    enum { COUNT = 4000, PEAK = 300 * 1024, KEPT = 160 * 1024 };
    const xev_loop_options options = {.allocator = {count_allocate, count_release, NULL}};
    struct net n;
    size_t before = 0;
    net_open(&n, &options);
    for (int round = 0; round < 2; round++) {
        make_pairs(COUNT);
        memset(ops, 0, sizeof ops);
        before = round == 0 ? held_bytes : before;
        for (int i = 0; i < COUNT; i++) {
            op_new(&ops[i], &n);
            xev_tcp_recv(xev_tcp_from_fd(left[i]), &n.loop, &ops[i].c, &bytes[i], 1, &ops[i],
                         op_called);
        }
        settle(&n);
        CHECK_GE(held_bytes, before + PEAK);
        for (int i = 0; i < COUNT;
             i++) { /* each is told of, and the table of entries is as before */
            plain_send(right[i], "m", 1);
        }
        for (int i = 0; i < COUNT; i++) {
            run_until(&n, &ops[i].ends, 1);
            CHECK_EQ(ops[i].result, 1);
        }
        close_pairs(&n, COUNT);
        while (held_bytes > before + KEPT) {
            (void)run_for(&n, 20);
        }
    }
    net_close(&n);
    CHECK_EQ(held_bytes, 0);
}

enum { BUFFER_BYTES = 32 * 1024, QUIET_BYTES = 8 * 1024 * 1024 };
static xev_buf taken[MOST];

static xev_cb_action take_buffer(struct op *op, int result) {
    if (result > 0) {
        taken[op - ops] = xev_buf_take(&op->net->loop);
        ++*(int *)op->user;
    }
    return xev_completion_more(&op->c) ? XEV_REARM : XEV_DISARM;
}

static void take_one_each(struct net *n, int count, int *received) {
    int before = *received;
    for (int i = 0; i < count; i++) {
        plain_send(right[i], "m", 1);
    }
    run_until(n, received, before + count);
}

/* The test's limit of time is for the loop's patience. */
static void run_until_quiet(struct net *n) {
    while (held_bytes > QUIET_BYTES) {
        (void)run_for(n, 20);
    }
}

TEST_TIMEOUT(loaned_buffers_of_a_burst_are_given_back, 60) {
    enum { COUNT = 1000, FEW = 8 };
    const xev_loop_options options = {.allocator = {count_allocate, count_release, NULL}};
    struct net n;
    int received = 0;
    net_open(&n, &options);
    make_pairs(COUNT);
    for (int i = 0; i < COUNT; i++) {
        op_new(&ops[i], &n);
        ops[i].then = take_buffer;
        ops[i].user = &received;
        xev_tcp_recv_multi(xev_tcp_from_fd(left[i]), &n.loop, &ops[i].c, &ops[i], op_called);
    }
    for (int round = 0; round < 2; round++) {
        take_one_each(&n, COUNT, &received);
        CHECK_GE(held_bytes, (size_t)COUNT * BUFFER_BYTES);
        if (round == 1) { /* first all but one of a chunk, which keep everything for a while */
            for (int i = 0; i < COUNT; i++) {
                if (i % 32 != 0) {
                    xev_buf_release(&n.loop, taken[i]);
                }
            }
            (void)run_for(&n, 2500);
            CHECK_GE(held_bytes, (size_t)COUNT / 2 * BUFFER_BYTES);
        }
        for (int i = 0; i < COUNT; i += round == 0 ? 1 : 32) {
            xev_buf_release(&n.loop, taken[i]);
        }
        /* What the kernel's ring holds comes back with the traffic of a few. */
        for (int i = 0; i < 40; i++) {
            take_one_each(&n, FEW, &received);
            for (int j = 0; j < FEW; j++) {
                xev_buf_release(&n.loop, taken[j]);
            }
        }
        run_until_quiet(&n);
    }
    take_one_each(&n, COUNT, &received);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(*(const char *)taken[i].data, 'm');
        xev_buf_release(&n.loop, taken[i]);
        cancel_op(&ops[i], 0);
    }
    close_pairs(&n, COUNT);
    net_close(&n);
    CHECK_EQ(held_bytes, 0);
    CHECK_EQ(held_bytes, 0);
}
