/* Accepting: multishot, exhaustion of descriptors, several loops on one listener. */
#include <pthread.h>

#include "tests/net_scene.h"

/* Keeps what it accepted in user, an int array; results[7] is not used then. */
static xev_cb_action keep(struct op *op, int result) {
    if (result >= 0) {
        ((int *)op->user)[op->sum++] = result;
    }
    return xev_completion_more(&op->c) ? XEV_REARM : XEV_DISARM;
}

static void accept_all(struct op *op, struct net *n, int listener, int *fds) {
    op_new(op, n);
    op->then = keep;
    op->user = fds;
    xev_tcp_accept_multi(xev_tcp_from_fd(listener), &n->loop, &op->c, op, op_called);
}

static void run_until_sum(struct op *op, int64_t sum) {
    while (op->sum < sum) {
        CHECK_EQ(op->ends, 0);
        CHECK_EQ(xev_loop_run(&op->net->loop, XEV_RUN_ONCE), 0);
    }
}

static void close_all(const int *fds, int count) {
    for (int i = 0; i < count; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
}

static void check_connected(int client, int server) {
    struct sockaddr_in a = address_of(client), b;
    socklen_t len = sizeof b;
    CHECK_EQ(getpeername(server, (struct sockaddr *)(void *)&b, &len), 0);
    CHECK_EQ(a.sin_port, b.sin_port);
}

/* Each client has one of the servers. The kernel's threads need not bring the last steps of two
 * handshakes in the order of the connects. */
static void check_all_connected(const int *clients, const int *servers, int count) {
    static bool has_client[65536];
    for (int i = 0; i < count; i++) {
        has_client[address_of(clients[i]).sin_port] = true;
    }
    for (int i = 0; i < count; i++) {
        struct sockaddr_in peer;
        socklen_t len = sizeof peer;
        CHECK_EQ(getpeername(servers[i], (struct sockaddr *)(void *)&peer, &len), 0);
        CHECK(has_client[peer.sin_port]);
        has_client[peer.sin_port] = false;
    }
}

TEST(a_thousand_accepts_on_one_multishot) {
    enum { COUNT = 1000, BATCH = 50 };
    static int clients[COUNT], servers[COUNT];
    struct net n;
    struct op accepted;
    net_open(&n, NULL);
    int listener = plain_listener(BATCH);
    accept_all(&accepted, &n, listener, servers);
    for (int i = 0; i < COUNT; i += BATCH) {
        for (int j = i; j < i + BATCH; j++) {
            clients[j] = plain_connect(listener);
        }
        run_until_sum(&accepted, i + BATCH);
    }
    CHECK_EQ(accepted.calls, COUNT);
    check_all_connected(clients, servers, COUNT);
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(fcntl(servers[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    }
    cancel_op(&accepted, 0);
    CHECK_EQ(accepted.result, XEV_ECANCELED);
    close_all(clients, COUNT);
    close_all(servers, COUNT);
    close_fd(&n, listener);
    net_close(&n);
}

static xev_cb_action keep_one(struct op *op, int result) {
    (void)keep(op, result);
    return XEV_DISARM;
}

static xev_cb_action keep_and_rearm(struct op *op, int result) {
    (void)keep(op, result);
    op->ends = 0;
    return XEV_REARM;
}

TEST(disarm_stops_a_multishot_accept_with_ecanceled) {
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        struct net n;
        struct op accepted;
        int clients[8], servers[16];
        net_open(&n, NULL);
        int listener = plain_listener(16);
        if (nonblocking) {
            CHECK_EQ(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
        }
        accept_all(&accepted, &n, listener, servers);
        accepted.then = keep_one;
        settle(&n);
        for (int i = 0; i < 8; i++) {
            clients[i] = plain_connect(listener);
        }
        run_op(&accepted);
        CHECK_EQ(accepted.result, XEV_ECANCELED);
        CHECK_EQ(accepted.sum, accepted.calls - 1);
        /* None is lost: who was not accepted is still there to be. */
        struct op rest;
        accept_all(&rest, &n, listener, servers + accepted.sum);
        run_until_sum(&rest, 8 - accepted.sum);
        check_all_connected(clients, servers, 8);
        cancel_op(&rest, 0);
        close_all(clients, 8);
        close_all(servers, 8);
        close_fd(&n, listener);
        net_close(&n);
    }
}

TEST(two_accepts_on_one_listener_complete_in_order) {
    struct net n;
    struct op op[2];
    int clients[2];
    net_open(&n, NULL);
    int listener = plain_listener(4);
    for (int i = 0; i < 2; i++) {
        op_new(&op[i], &n);
        xev_tcp_accept(xev_tcp_from_fd(listener), &n.loop, &op[i].c, &op[i], op_called);
    }
    for (int i = 0; i < 2; i++) {
        clients[i] = plain_connect(listener);
    }
    run_op(&op[1]);
    CHECK_EQ(op[0].ends, 1);
    CHECK_LT(op[0].at, op[1].at);
    check_all_connected(clients, (int[]){op[0].result, op[1].result}, 2);
    for (int i = 0; i < 2; i++) {
        close_fd(&n, op[i].result);
        CHECK_EQ(close(clients[i]), 0);
    }
    close_fd(&n, listener);
    net_close(&n);
}

TEST(accept_now_never_waits) {
    int listener = plain_listener(4);
    xev_tcp tcp = xev_tcp_from_fd(listener);
    CHECK_EQ(xev_tcp_accept_now(tcp), XEV_EAGAIN);
    int client = plain_connect(listener);
    wait_readable(listener);
    int fd = xev_tcp_accept_now(tcp);
    check_connected(client, fd);
    CHECK_EQ(xev_tcp_accept_now(tcp), XEV_EAGAIN);
    CHECK_EQ(xev_tcp_accept_now(xev_tcp_from_fd(-1)), XEV_EBADF);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(close(client), 0);
    CHECK_EQ(close(listener), 0);
    CHECK_EQ(xev_tcp_accept_now(tcp), XEV_EBADF);
}

/* ---- a full backlog ---- */

struct flood {
    int fds[400];
    int64_t before, most; /* connections before this turn; in one turn, at most */
};

static void look_at_turn(struct flood *f, const struct op *accepted) {
    int64_t now = accepted->sum - f->before;
    f->before = accepted->sum;
    f->most = now > f->most ? now : f->most;
}

static void check_bounded(bool multi, bool nonblocking) {
    enum { CLIENTS = 400, TURN = 64 };
    static int clients[CLIENTS];
    static struct flood flood;
    struct net n;
    struct op accepted;
    net_open(&n, NULL);
    int listener = plain_listener(CLIENTS);
    if (nonblocking) {
        CHECK_EQ(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    }
    flood = (struct flood){0};
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = plain_connect(listener);
    }
    wait_connections(listener, CLIENTS);
    if (multi) {
        accept_all(&accepted, &n, listener, flood.fds);
    } else {
        op_new(&accepted, &n);
        accepted.user = flood.fds;
        accepted.then = keep_and_rearm;
        xev_tcp_accept(xev_tcp_from_fd(listener), &n.loop, &accepted.c, &accepted, op_called);
    }
    for (uint64_t turn = n.turns; accepted.sum < CLIENTS;) {
        CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_NO_WAIT), 0);
        CHECK_EQ(n.turns, ++turn);
        look_at_turn(&flood, &accepted);
    }
    CHECK_LE(flood.most, TURN);
    accepted.then = NULL;
    check_all_connected(clients, flood.fds, CLIENTS);
    cancel_op(&accepted, 0);
    close_all(clients, CLIENTS);
    close_all(flood.fds, CLIENTS);
    close_fd(&n, listener);
    net_close(&n);
}

TEST(a_full_backlog_leaves_the_others_their_turn) {
    check_bounded(true, false);
    check_bounded(true, true);
}

TEST(single_accepts_of_a_full_backlog_leave_the_others_their_turn) {
    check_bounded(false, false);
    check_bounded(false, true);
}

/* ---- exhaustion ---- */

/* A multishot accept through two famines. */
static void famine(bool nonblocking) {
    struct net n;
    struct op accepted;
    struct hoard hoard;
    int clients[6], servers[8];
    limit_fds();
    net_open(&n, NULL);
    int listener = plain_listener(16);
    if (nonblocking) {
        CHECK_EQ(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    }
    accept_all(&accepted, &n, listener, servers);
    settle(&n);
    for (int round = 0; round < 2; round++) {
        int before = accepted.calls;
        for (int i = 0; i < 3; i++) {
            clients[3 * round + i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        }
        exhaust_fds(&hoard);
        for (int i = 0; i < 3; i++) {
            plain_connect_fd(clients[3 * round + i], listener);
        }
        run_until(&n, &accepted.calls, before + 1);
        CHECK_EQ(accepted.result, XEV_EMFILE);
        CHECK_EQ(accepted.ends, 0);
        uint64_t turns = run_for(&n, 100);
        CHECK_LT(turns, 60);                  /* does not spin */
        CHECK_EQ(accepted.calls, before + 1); /* reported once */
        restore_fds(&hoard);
        run_until_sum(&accepted, 3 * (round + 1));
        CHECK_EQ(accepted.calls, before + 4);
    }
    xev_loop_metrics m;
    xev_loop_metrics_get(&n.loop, &m);
    CHECK_GE(m.paused, 2);
    CHECK_EQ(m.starved, 0);
    check_all_connected(clients, servers, 6);
    CHECK_LT(run_for(&n, 50), 20);
    cancel_op(&accepted, 0);
    close_all(clients, 6);
    close_all(servers, 6);
    close_fd(&n, listener);
    net_close(&n);
}

TEST(exhaustion_is_reported_once_and_multishot_accept_goes_on) { famine(false); }

TEST(exhaustion_on_a_nonblocking_listener_is_the_same) { famine(true); }

TEST(exhaustion_ends_a_single_accept) {
    struct net n;
    struct op op;
    struct hoard hoard;
    limit_fds();
    net_open(&n, NULL);
    int listener = plain_listener(4);
    int client = plain_connect(listener);
    exhaust_fds(&hoard);
    op_new(&op, &n);
    xev_tcp_accept(xev_tcp_from_fd(listener), &n.loop, &op.c, &op, op_called);
    run_op(&op);
    CHECK_EQ(op.result, XEV_EMFILE);
    restore_fds(&hoard);
    op_new(&op, &n);
    xev_tcp_accept(xev_tcp_from_fd(listener), &n.loop, &op.c, &op, op_called);
    run_op(&op);
    check_connected(client, op.result);
    close_fd(&n, op.result);
    CHECK_EQ(close(client), 0);
    close_fd(&n, listener);
    net_close(&n);
}

TEST(a_starved_accept_can_be_cancelled_closed_and_torn_down) {
    struct hoard hoard;
    limit_fds();
    for (int how = 0; how < 4; how++) {
        struct net n;
        struct op accepted, closing;
        int servers[4];
        net_open(&n, NULL);
        int listener = plain_listener(4);
        int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        accept_all(&accepted, &n, listener, servers);
        settle(&n);
        exhaust_fds(&hoard);
        plain_connect_fd(client, listener);
        run_until(&n, &accepted.calls, 1);
        CHECK_EQ(accepted.result, XEV_EMFILE);
        switch (how) {
        case 0:
            cancel_op(&accepted, 0);
            break;
        case 1:
            op_new(&closing, &n);
            xev_tcp_close(xev_tcp_from_fd(listener), &n.loop, &closing.c, &closing, op_called);
            run_op(&closing);
            CHECK_EQ(accepted.ends, 1);
            CHECK_LT(accepted.at, closing.at);
            break;
        case 2:
            xev_completion_set_timeout(&n.loop, &accepted.c, 15);
            run_op(&accepted);
            CHECK_EQ(accepted.result, XEV_ETIMEDOUT);
            break;
        default:
            break;
        }
        restore_fds(&hoard);
        if (how < 3) {
            CHECK_EQ(accepted.result, how == 2 ? XEV_ETIMEDOUT : XEV_ECANCELED);
            (void)run_for(&n, 30); /* the loop's retry finds nothing to do */
            xev_loop_deinit(&n.loop);
        } else {
            xev_loop_deinit(&n.loop);
            CHECK_EQ(accepted.ends, 1);
            CHECK_EQ(accepted.result, XEV_ECANCELED);
        }
        close_all(servers, (int)accepted.sum); /* its last try may have come after the famine */
        if (how != 1) {
            CHECK_EQ(close(listener), 0);
        }
        CHECK_EQ(close(client), 0);
        CHECK_EQ(open_fds(), n.fds_before);
    }
}

static xev_cb_action cancel_it(struct op *op, int result) {
    struct op **pair = op->user; /* the target, and the cancel */
    CHECK_EQ(result, 0);
    xev_cancel(&op->net->loop, &pair[0]->c, &pair[1]->c, pair[1], op_called);
    return XEV_DISARM;
}

/* The loop tries again after 10 ms, which fails again; in between it is told to stop. */
TEST(a_starved_accept_is_cancelled_while_it_is_tried_again) {
    struct net n;
    struct op accepted, timer, cancel, *pair[] = {&accepted, &cancel};
    struct hoard hoard;
    int servers[4];
    limit_fds();
    net_open(&n, NULL);
    int listener = plain_listener(4);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    accept_all(&accepted, &n, listener, servers);
    settle(&n);
    exhaust_fds(&hoard);
    plain_connect_fd(client, listener);
    run_until(&n, &accepted.calls, 1);
    CHECK_EQ(accepted.result, XEV_EMFILE);
    op_new(&cancel, &n);
    op_new(&timer, &n);
    timer.then = cancel_it;
    timer.user = pair;
    xev_timer_run(NULL, &n.loop, &timer.c, 10, &timer, op_called);
    /* Late for both timers, so that they come in one turn. */
    struct timespec ts = {.tv_nsec = 12000000};
    CHECK_EQ(nanosleep(&ts, NULL), 0);
    run_op(&cancel);
    CHECK_EQ(accepted.ends, 1);
    CHECK_EQ(accepted.result, XEV_ECANCELED);
    CHECK_EQ(cancel.result, 0);
    CHECK_LT(accepted.at, cancel.at);
    restore_fds(&hoard);
    CHECK_EQ(close(client), 0);
    close_fd(&n, listener);
    net_close(&n);
}

/* ---- several loops on one listener ---- */

struct racer {
    pthread_t thread;
    xev_loop loop;
    xev_completion accept;
    int accepted;
    atomic_int *total;
    struct racer *all;
    int listener;
};

enum { RACED = 400 };

static xev_cb_action raced(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct racer *r = userdata;
    (void)loop;
    if (result < 0) {
        CHECK_EQ(result, XEV_ECANCELED);
        CHECK(!xev_completion_more(c));
        return XEV_DISARM;
    }
    CHECK_EQ(close(result), 0);
    r->accepted++;
    if (atomic_fetch_add(r->total, 1) + 1 == RACED) {
        xev_loop_stop(&r->all[0].loop);
        xev_loop_stop(&r->all[1].loop);
    }
    return XEV_REARM;
}

static void *race(void *arg) {
    struct racer *r = arg;
    xev_tcp_accept_multi(xev_tcp_from_fd(r->listener), &r->loop, &r->accept, r, raced);
    CHECK_EQ(xev_loop_run(&r->loop, XEV_RUN_UNTIL_DONE), 0);
    xev_loop_deinit(&r->loop);
    return NULL;
}

static void race_two_loops(xev_backend_kind first, xev_backend_kind second) {
    static struct racer racers[2];
    atomic_int total = 0;
    int listener = plain_listener(128);
    for (int i = 0; i < 2; i++) {
        xev_loop_options options = {.backend = i == 0 ? first : second};
        racers[i] = (struct racer){.total = &total, .all = racers, .listener = listener};
        CHECK_EQ(xev_loop_init_options(&racers[i].loop, &options), 0);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < RACED; i++) {
        int fd = plain_connect(listener);
        wait_readable(fd); /* accepted, and closed by who accepted */
        CHECK_EQ(close(fd), 0);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(pthread_join(racers[i].thread, NULL), 0);
    }
    CHECK_EQ(atomic_load(&total), RACED);
    CHECK_EQ(racers[0].accepted + racers[1].accepted, RACED);
    CHECK_EQ(close(listener), 0);
}

TEST(two_loops_race_on_one_listener) { race_two_loops(XEV_BACKEND_AUTO, XEV_BACKEND_AUTO); }

TEST(two_loops_of_different_backends_race_on_one_listener) {
    /* As the target says, beside epoll; so this needs no more than what was built in. */
    race_two_loops(XEV_BACKEND_AUTO, XEV_BACKEND_EPOLL);
}
