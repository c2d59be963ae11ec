/* XEV_REARM. Operations that are seldom repeated do the same once more. An operation that repeats
 * without end does not hold up the others. */
#include "tests/net_scene.h"

static xev_cb_action three_times(struct op *op, int result) {
    (void)result;
    op->ends = op->calls == 3; /* op_called wants to see one end */
    return op->ends ? XEV_DISARM : XEV_REARM;
}

TEST(a_loaning_receive_is_repeated) {
    struct net n;
    struct op op;
    int fd[2];
    net_open(&n, NULL);
    local_pair(fd);
    op_new(&op, &n)->then = three_times;
    xev_tcp_recv_loan(xev_tcp_from_fd(fd[0]), &n.loop, &op.c, &op, op_called);
    for (int i = 1; i <= 3; i++) {
        plain_send(fd[1], "data", (size_t)i);
        run_until(&n, &op.calls, i);
        CHECK_EQ(op.result, i);
    }
    CHECK_EQ(op.ends, 1);
    close_fd(&n, fd[0]);
    CHECK_EQ(close(fd[1]), 0);
    net_close(&n);
}

TEST(a_refused_connect_is_repeated) {
    struct net n;
    struct op op;
    xev_tcp deaf, tcp;
    xev_addr at;
    net_open(&n, NULL);
    /* Bound, so that nobody else can listen there. */
    CHECK_EQ(xev_tcp_init(&deaf, XEV_AF_INET), 0);
    CHECK_EQ(xev_addr_parse(&at, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_tcp_bind(deaf, &at, false), 0);
    CHECK_EQ(xev_tcp_local_addr(deaf, &at), 0);
    CHECK_EQ(xev_tcp_init(&tcp, XEV_AF_INET), 0);
    op_new(&op, &n)->then = three_times;
    xev_tcp_connect(tcp, &n.loop, &op.c, &at, &op, op_called);
    run_until(&n, &op.calls, 3);
    CHECK_EQ(op.results[0], XEV_ECONNREFUSED);
    for (int i = 1; i < 3; i++) { /* Linux says the other once in between */
        CHECK(op.results[i] == XEV_ECONNREFUSED || op.results[i] == XEV_ECONNABORTED);
    }
    close_fd(&n, tcp.fd);
    close_fd(&n, deaf.fd);
    net_close(&n);
}

/* ---- without end ---- */

enum endless { RECV, RECV_MULTI, SEND, REFUSED, ENDLESS };

/* Sees to it that it could go on at once: there is always data, or room, or the same mistake. */
struct glutton {
    struct net *n;
    xev_completion c;
    int fd, peer;
    enum endless kind;
    char byte;
    int calls;
    bool stop, ended;
};

static xev_cb_action more(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct glutton *g = userdata;
    (void)loop;
    g->calls++;
    if (g->stop) {
        g->ended = !xev_completion_more(c);
        return XEV_DISARM;
    }
    CHECK_EQ(result, g->kind == REFUSED ? XEV_EBADF : 1);
    if (g->kind == SEND) {
        plain_recv(g->peer, &g->byte, 1);
    } else if (g->kind != REFUSED) {
        plain_send(g->peer, "x", 1);
    }
    return XEV_REARM;
}

/* It waits first, as most do, and is told that it can go on. */
static void begin(struct glutton *g) {
    static char sink[1 << 22];
    xev_tcp tcp = xev_tcp_from_fd(g->kind == REFUSED ? XEV_INVALID_FD : g->fd);
    size_t filled = g->kind == SEND ? fill(g->fd) : 0;
    CHECK_LE(filled, sizeof sink);
    if (g->kind == SEND) {
        xev_tcp_send(tcp, &g->n->loop, &g->c, "x", 1, g, more);
    } else if (g->kind == RECV_MULTI) {
        xev_tcp_recv_multi(tcp, &g->n->loop, &g->c, g, more);
    } else {
        xev_tcp_recv(tcp, &g->n->loop, &g->c, &g->byte, 1, g, more);
    }
    settle(g->n);
    CHECK(g->calls == 0 || g->kind == REFUSED);
    if (g->kind == SEND) {
        plain_recv(g->peer, sink, filled);
    } else {
        plain_send(g->peer, "x", 1);
    }
}

TEST(what_can_always_be_repeated_starves_nobody) {
    for (int kind = 0; kind < ENDLESS; kind++) {
        struct net n;
        struct op timer, received;
        int fd[2], other[2];
        char byte;
        net_open(&n, NULL);
        local_pair(fd);
        local_pair(other);
        struct glutton g = {.n = &n, .fd = fd[0], .peer = fd[1], .kind = (enum endless)kind};
        begin(&g);
        for (int i = 0; i < 20; i++) { /* each of them ends */
            CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_NO_WAIT), 0);
        }
        xev_timer_run(NULL, &n.loop, &op_new(&timer, &n)->c, 1, &timer, op_called);
        run_op(&timer);
        CHECK_GT(g.calls, 1);
        xev_tcp_recv(xev_tcp_from_fd(other[0]), &n.loop, &op_new(&received, &n)->c, &byte, 1,
                     &received, op_called);
        settle(&n);
        CHECK_EQ(received.calls, 0);
        plain_send(other[1], "y", 1);
        run_op(&received);
        CHECK_EQ(received.result, 1);
        g.stop = true;
        while (!g.ended) {
            CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_ONCE), 0);
        }
        close_fd(&n, fd[0]);
        close_fd(&n, other[0]);
        CHECK_EQ(close(fd[1]), 0);
        CHECK_EQ(close(other[1]), 0);
        net_close(&n);
    }
}

static xev_cb_action for_ever(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    ++*(int *)userdata;
    return result == 0 ? XEV_REARM : XEV_DISARM;
}

TEST(what_is_unreferenced_stays_so_when_it_is_repeated) {
    struct net n;
    struct op timer;
    xev_completion repeated;
    int calls = 0;
    net_open(&n, NULL);
    xev_timer_run_ns(NULL, &n.loop, &repeated, 1000, &calls, for_ever);
    xev_completion_unref(&repeated);
    xev_timer_run(NULL, &n.loop, &op_new(&timer, &n)->c, 5, &timer, op_called);
    while (calls < 3) { /* the loop is alive as long as the other is waited for */
        CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_ONCE), 0);
        CHECK_EQ(xev_loop_alive(&n.loop), timer.ends == 0);
        if (timer.ends > 0 && calls < 3) {
            xev_timer_run(NULL, &n.loop, &op_new(&timer, &n)->c, 5, &timer, op_called);
        }
    }
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_UNTIL_DONE), 0);
    CHECK_EQ(timer.ends, 1);
    CHECK(!xev_loop_alive(&n.loop));
    CHECK_EQ(xev_loop_active(&n.loop), 1);
    net_close(&n);
}
