/* Connecting to one of several addresses: order, stagger, errors, cancel, and that no descriptor is
 * left over on any way out. */
#include "tests/net_scene.h"

struct dial {
    xev_dial_req req;
    struct net *net;
    int calls, result, at;
    int rearm; /* so many times */
};

static xev_cb_action dialled(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct dial *d = userdata;
    CHECK(c == &d->req.c);
    CHECK(loop == &d->net->loop);
    CHECK_EQ(xev_completion_state(c), XEV_COMPLETION_DEAD);
    CHECK(!xev_completion_more(c));
    d->calls++;
    d->result = result;
    d->at = ++d->net->clock;
    if (d->rearm > 0) {
        d->rearm--;
        if (result >= 0) {
            CHECK_EQ(close(result), 0);
        }
        return XEV_REARM;
    }
    memset(&d->req, 0xa5, sizeof d->req); /* the caller's again, all of it */
    return XEV_DISARM;
}

static void dial(struct dial *d, struct net *n, const xev_addr *addrs, size_t count,
                 uint64_t stagger_ms) {
    memset(d, 0x5a, sizeof *d);
    d->net = n;
    d->calls = d->rearm = 0;
    xev_tcp_dial(&n->loop, &d->req, addrs, count, stagger_ms, d, dialled);
    CHECK_EQ(d->calls, 0); /* no callback inside a submission */
}

static void run_dial(struct dial *d) { run_until(d->net, &d->calls, 1); }

/* ---- addresses of each kind ---- */

static xev_addr addr_of(int listener) {
    xev_addr a;
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(listener), &a), 0);
    return a;
}

/* Nobody listens there. */
static xev_addr refusing(void) {
    int listener = plain_listener(1);
    xev_addr a = addr_of(listener);
    CHECK_EQ(close(listener), 0);
    return a;
}

/* The system has no socket for it. */
static const xev_addr none;

/* A listener that does not answer: its backlog is full. */
struct hole {
    int listener, fds[4];
};

static xev_addr dig(struct hole *h) {
    h->listener = plain_listener(1);
    CHECK_EQ(fcntl(h->listener, F_SETFL, O_NONBLOCK), 0);
    struct sockaddr_in sa = address_of(h->listener);
    for (int i = 0; i < 4; i++) {
        h->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(h->fds[i], (struct sockaddr *)(void *)&sa, sizeof sa);
    }
    wait_connections(h->listener, 2);
    return addr_of(h->listener);
}

static void fill_up(struct hole *h) {
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(close(h->fds[i]), 0);
    }
    CHECK_EQ(close(h->listener), 0);
}

static bool was_connected_to(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        CHECK_EQ(close(fd), 0);
    }
    return fd >= 0;
}

static int quiet_listener(void) {
    int fd = plain_listener(16);
    CHECK_EQ(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void check_peer(int fd, const xev_addr *addr) {
    xev_addr peer;
    CHECK_GE(fd, 0);
    CHECK_EQ(xev_tcp_peer_addr(xev_tcp_from_fd(fd), &peer), 0);
    CHECK_EQ(xev_addr_port(&peer), xev_addr_port(addr));
}

/* ---- order ---- */

TEST(dial_connects_to_the_only_address) {
    for (uint64_t stagger = 0; stagger < 2; stagger++) {
        struct net n;
        struct dial d;
        struct op sent;
        char buf[8];
        net_open(&n, NULL);
        int listener = plain_listener(4);
        xev_addr addr = addr_of(listener);
        dial(&d, &n, &addr, 1, stagger * XEV_DIAL_STAGGER_MS);
        run_dial(&d);
        check_peer(d.result, &addr);
        CHECK_EQ(fcntl(d.result, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        CHECK_EQ(fcntl(d.result, F_GETFL) & O_NONBLOCK, 0);
        CHECK_EQ(xev_loop_active(&n.loop), 0);
        int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        op_new(&sent, &n);
        xev_tcp_send(xev_tcp_from_fd(d.result), &n.loop, &sent.c, "hello", 5, &sent, op_called);
        run_op(&sent);
        CHECK_EQ(sent.result, 5);
        plain_recv(server, buf, 5);
        CHECK_MEM_EQ(buf, "hello", 5);
        close_fd(&n, d.result);
        CHECK_EQ(close(server), 0);
        CHECK_EQ(close(listener), 0);
        net_close(&n);
    }
}

/* A failure does not wait for the stagger. */
TEST(addresses_are_tried_in_order_until_one_connects) {
    static const uint64_t staggers[] = {0, 100000, UINT64_MAX};
    for (int i = 0; i < 3; i++) {
        struct net n;
        struct dial d;
        net_open(&n, NULL);
        int first = quiet_listener(), second = quiet_listener();
        const xev_addr addrs[] = {none,           refusing(),      refusing(),
                                  addr_of(first), addr_of(second), refusing()};
        dial(&d, &n, addrs, 6, staggers[i]);
        run_dial(&d);
        check_peer(d.result, &addrs[3]);
        wait_connections(first, 1);
        CHECK(was_connected_to(first));
        CHECK(!was_connected_to(second));
        CHECK_EQ(xev_loop_active(&n.loop), 0);
        close_fd(&n, d.result);
        CHECK_EQ(close(first), 0);
        CHECK_EQ(close(second), 0);
        net_close(&n);
    }
}

static int listener_v6(void) {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    CHECK_EQ(listen(fd, 16), 0);
    return fd;
}

static xev_addr refusing_v6(void) {
    int listener = listener_v6();
    xev_addr a = addr_of(listener);
    CHECK_EQ(close(listener), 0);
    return a;
}

TEST(families_take_turns_while_there_are_both) {
    struct net n;
    net_open(&n, NULL);
    int four = quiet_listener(), six = listener_v6();
    const xev_addr v4 = addr_of(four), v6 = addr_of(six);
    const xev_addr no4 = refusing(), no6 = refusing_v6();
    const struct {
        xev_addr addrs[6];
        size_t count;
        enum xev_family family; /* of the one that is reached first */
    } lists[] = {
        {{no4, v4, v6}, 3, XEV_AF_INET6},
        {{no6, v6, v4}, 3, XEV_AF_INET},
        {{no4, no4, v4, no6, v6}, 5, XEV_AF_INET6}, /* 4 6 4 6 */
        {{no4, no6, no6, v4, v6}, 5, XEV_AF_INET},  /* 4 6 4 */
        {{no6, v6, v6}, 3, XEV_AF_INET6},
        {{no6, no4, no6, no6, v6}, 5, XEV_AF_INET6}, /* the last ones one after the other */
        {{no6, no6, no6, no6, no4, v4}, 6, XEV_AF_INET},
    };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct dial d;
        xev_addr peer;
        dial(&d, &n, lists[i].addrs, lists[i].count, 0);
        d.rearm = i == 0; /* in the same order again */
        run_until(&n, &d.calls, d.rearm + 1);
        CHECK_GE(d.result, 0);
        CHECK_EQ(xev_tcp_peer_addr(xev_tcp_from_fd(d.result), &peer), 0);
        if (xev_addr_family(&peer) != lists[i].family) {
            CHECK_FAIL("list %zu: family %d", i, (int)xev_addr_family(&peer));
        }
        close_fd(&n, d.result);
    }
    CHECK_EQ(close(four), 0);
    CHECK_EQ(close(six), 0);
    net_close(&n);
}

TEST(more_addresses_than_attempts_at_a_time) {
    enum { COUNT = 3 * XEV_DIAL_PARALLEL };
    struct net n;
    struct dial d;
    xev_addr addrs[COUNT];
    net_open(&n, NULL);
    int listener = quiet_listener();
    for (int i = 0; i < COUNT - 1; i++) {
        addrs[i] = refusing();
    }
    addrs[COUNT - 1] = addr_of(listener);
    dial(&d, &n, addrs, COUNT, 0);
    run_dial(&d);
    check_peer(d.result, &addrs[COUNT - 1]);
    close_fd(&n, d.result);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

TEST(ipv6_that_is_refused_gives_way_to_ipv4) {
    struct net n;
    struct dial d;
    xev_addr addrs[2];
    net_open(&n, NULL);
    int listener = quiet_listener();
    addrs[1] = addr_of(listener);
    CHECK_EQ(xev_addr_parse(&addrs[0], "::1", xev_addr_port(&addrs[1])), 0);
    dial(&d, &n, addrs, 2, XEV_DIAL_STAGGER_MS);
    run_dial(&d);
    check_peer(d.result, &addrs[1]);
    close_fd(&n, d.result);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

/* ---- stagger ---- */

TEST(after_the_stagger_the_next_is_tried_beside_the_first) {
    struct net n;
    struct dial d;
    struct hole h;
    net_open(&n, NULL);
    int listener = quiet_listener();
    const xev_addr addrs[] = {dig(&h), addr_of(listener)};
    int before = open_fds();
    uint64_t start = clock_ns();
    dial(&d, &n, addrs, 2, 30);
    run_dial(&d);
    CHECK_GE(clock_ns() - start, 30 * MS);
    check_peer(d.result, &addrs[1]);
    CHECK_EQ(open_fds(), before + 1); /* the other one is closed */
    CHECK_LT(n.turns, 30);
    close_fd(&n, d.result);
    fill_up(&h);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

TEST(each_waits_for_its_stagger) {
    struct net n;
    struct dial d;
    struct hole h;
    net_open(&n, NULL);
    int listener = quiet_listener();
    xev_addr hole = dig(&h);
    const xev_addr addrs[] = {hole, hole, hole, hole, addr_of(listener)};
    uint64_t start = clock_ns();
    dial(&d, &n, addrs, 5, 20);
    run_dial(&d);
    CHECK_GE(clock_ns() - start, 80 * MS);
    check_peer(d.result, &addrs[4]);
    close_fd(&n, d.result);
    fill_up(&h);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

TEST(the_first_may_still_win) {
    struct net n;
    struct dial d;
    struct hole first, second;
    net_open(&n, NULL);
    const xev_addr addrs[] = {dig(&first), dig(&second)};
    int before = open_fds();
    dial(&d, &n, addrs, 2, 10);
    (void)run_for(&n, 40);
    CHECK_EQ(d.calls, 0);
    CHECK_EQ(open_fds(), before + 2);
    while (d.calls == 0) { /* room again, for all who want it; the kernel tries after 1 s, 3 s */
        (void)was_connected_to(first.listener);
        (void)run_for(&n, 5);
    }
    check_peer(d.result, &addrs[0]);
    CHECK_EQ(open_fds(), before + 1);
    close_fd(&n, d.result);
    fill_up(&first);
    fill_up(&second);
    net_close(&n);
}

TEST(without_a_stagger_the_next_waits_for_the_first) {
    struct net n;
    struct dial d;
    struct hole h;
    net_open(&n, NULL);
    int listener = quiet_listener();
    const xev_addr addrs[] = {dig(&h), addr_of(listener)};
    int before = open_fds();
    dial(&d, &n, addrs, 2, 0);
    (void)run_for(&n, 30);
    CHECK_EQ(d.calls, 0);
    CHECK_EQ(open_fds(), before + 1);
    xev_completion_set_timeout(&n.loop, &d.req.c, 30);
    run_dial(&d);
    CHECK_EQ(d.result, XEV_ETIMEDOUT);
    CHECK_EQ(open_fds(), before);
    CHECK(!was_connected_to(listener));
    CHECK_EQ(xev_loop_active(&n.loop), 0);
    fill_up(&h);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

TEST(attempts_at_a_time_are_limited) {
    enum { COUNT = XEV_DIAL_PARALLEL + 4 };
    struct net n;
    struct dial d;
    struct hole h;
    struct op cancel;
    xev_addr addrs[COUNT];
    net_open(&n, NULL);
    int listener = quiet_listener();
    addrs[0] = dig(&h);
    for (int i = 1; i < COUNT - 1; i++) {
        addrs[i] = addrs[0];
    }
    addrs[COUNT - 1] = addr_of(listener);
    int before = open_fds();
    dial(&d, &n, addrs, COUNT, 1);
    while (open_fds() < before + XEV_DIAL_PARALLEL) {
        (void)run_for(&n, 5);
    }
    (void)run_for(&n, 10);
    CHECK_LT(run_for(&n, 50), 10); /* does not spin */
    CHECK_EQ(d.calls, 0);
    CHECK_EQ(open_fds(), before + XEV_DIAL_PARALLEL);
    xev_cancel(&n.loop, &d.req.c, &op_new(&cancel, &n)->c, &cancel, op_called);
    run_op(&cancel);
    CHECK_EQ(cancel.result, 0);
    CHECK_EQ(d.result, XEV_ECANCELED);
    CHECK_EQ(open_fds(), before);
    fill_up(&h);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

/* ---- failure ---- */

static int dial_fails(const xev_addr *addrs, size_t count, uint64_t stagger_ms) {
    struct net n;
    struct dial d;
    net_open(&n, NULL);
    dial(&d, &n, addrs, count, stagger_ms);
    run_dial(&d);
    CHECK_EQ(xev_loop_active(&n.loop), 0);
    settle(&n);
    CHECK_EQ(d.calls, 1);
    net_close(&n);
    return d.result;
}

TEST(where_all_fail_the_telling_error_is_the_result) {
    for (uint64_t stagger = 0; stagger < 2; stagger++) {
        const xev_addr bad = refusing();
        const xev_addr mixed[][3] = {{bad, none, none}, {none, bad, none}, {none, none, bad}};
        const xev_addr nowhere[] = {none, none};
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(dial_fails(mixed[i], 3, stagger * 1000), XEV_ECONNREFUSED);
        }
        CHECK_EQ(dial_fails(&bad, 1, stagger * 1000), XEV_ECONNREFUSED);
        CHECK_EQ(dial_fails(nowhere, 2, stagger * 1000), XEV_EAFNOSUPPORT);
        CHECK_EQ(dial_fails(nowhere, 1, stagger * 1000), XEV_EAFNOSUPPORT);
        CHECK_EQ(dial_fails(nowhere, 0, stagger * 1000), XEV_EINVAL);
    }
}

/* An address of a link without the link: the connect itself says XEV_EINVAL, where there is IPv6.
 */
TEST(an_address_that_is_wrong_counts_for_more_than_one_that_is_out_of_reach) {
    xev_addr addrs[2] = {none, none};
    CHECK_EQ(xev_addr_parse(&addrs[0], "fe80::1", 9), 0);
    if (dial_fails(addrs, 1, 0) == XEV_EINVAL) {
        CHECK_EQ(dial_fails(addrs, 2, 0), XEV_EINVAL);
    }
}

TEST(without_descriptors_the_dial_fails) {
    struct net n;
    struct dial d;
    struct hoard hoard;
    limit_fds();
    net_open(&n, NULL);
    int listener = quiet_listener();
    const xev_addr addrs[] = {addr_of(listener), addr_of(listener)};
    exhaust_fds(&hoard);
    dial(&d, &n, addrs, 2, 1);
    run_dial(&d);
    CHECK_EQ(d.result, XEV_EMFILE);
    restore_fds(&hoard);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

static void *allocate(size_t bytes, size_t alignment, void *out_of_memory) {
    void *p = NULL;
    if (*(bool *)out_of_memory) {
        return NULL;
    }
    return posix_memalign(&p, alignment < 16 ? 16 : alignment, bytes) == 0 ? p : NULL;
}

static void release(void *memory, size_t bytes, void *out_of_memory) {
    (void)out_of_memory;
    (void)bytes;
    free(memory);
}

TEST(without_memory_the_dial_fails_and_leaves_no_descriptor) {
    struct net n;
    struct dial d;
    bool out_of_memory = false;
    const xev_loop_options options = {.allocator = {allocate, release, &out_of_memory}};
    net_open(&n, &options);
    int listener = quiet_listener();
    const xev_addr addrs[] = {addr_of(listener), addr_of(listener)};
    int before = open_fds();
    out_of_memory = true;
    dial(&d, &n, addrs, 2, 0);
    run_dial(&d);
    CHECK_EQ(d.result, XEV_ENOMEM);
    CHECK_EQ(open_fds(), before);
    out_of_memory = false;
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

/* ---- ways out ---- */

/* A refused one, one that does not answer, and two that answer at once. */
struct course {
    struct hole h;
    int a, b;
    xev_addr addrs[5];
};

static void lay(struct course *k) {
    k->a = quiet_listener();
    k->b = quiet_listener();
    k->addrs[0] = refusing();
    k->addrs[1] = dig(&k->h);
    k->addrs[2] = refusing();
    k->addrs[3] = addr_of(k->a);
    k->addrs[4] = addr_of(k->b);
}

static void clear(struct course *k) {
    fill_up(&k->h);
    CHECK_EQ(close(k->a), 0);
    CHECK_EQ(close(k->b), 0);
}

enum { STEPS = 40 };

/* Stopped after each number of turns that it may take, until it was often enough too late. */
TEST(cancel_at_any_moment_leaves_nothing_behind) {
    int cancelled = 0, late = 0;
    for (int step = 0; step < STEPS || late <= 3; step++) {
        struct net n;
        struct dial d;
        struct op cancel;
        struct course k;
        lay(&k);
        net_open(&n, NULL);
        dial(&d, &n, k.addrs, 5, 1);
        for (int i = 0; i < step && d.calls == 0; i++) {
            CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_NO_WAIT), 0);
            if (i % 8 == 7) {
                struct timespec ms = {.tv_nsec = 1000000};
                (void)nanosleep(&ms, NULL);
            }
        }
        if (d.calls == 0) {
            xev_cancel(&n.loop, &d.req.c, &op_new(&cancel, &n)->c, &cancel, op_called);
            run_op(&cancel);
            CHECK_EQ(d.calls, 1);
            CHECK_LT(d.at, cancel.at);
            CHECK_EQ(cancel.result, d.result == XEV_ECANCELED ? 0 : XEV_ENOENT);
            cancelled += d.result == XEV_ECANCELED;
        } else {
            late++;
        }
        CHECK_EQ(xev_loop_active(&n.loop), 0);
        if (d.result >= 0) {
            close_fd(&n, d.result);
        } else {
            CHECK_EQ(d.result, XEV_ECANCELED);
        }
        net_close(&n);
        clear(&k);
    }
    CHECK_GE(cancelled, 3); /* it takes more than two turns, however late the loop is in each */
}

TEST(teardown_at_any_moment_leaves_nothing_behind) {
    for (int step = 0; step < STEPS; step++) {
        struct net n;
        struct dial d;
        struct course k;
        lay(&k);
        net_open(&n, NULL);
        dial(&d, &n, k.addrs, 5, 1);
        if (step % 2 != 0) {
            xev_completion_set_timeout(&n.loop, &d.req.c, 10000);
        }
        for (int i = 0; i < step / 2 && d.calls == 0; i++) {
            CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_NO_WAIT), 0);
            if (i % 4 == 3) {
                struct timespec ms = {.tv_nsec = 1000000};
                (void)nanosleep(&ms, NULL);
            }
        }
        xev_loop_deinit(&n.loop);
        CHECK_EQ(d.calls, 1);
        if (d.result >= 0) {
            CHECK_EQ(close(d.result), 0);
        } else {
            CHECK_EQ(d.result, XEV_ECANCELED);
        }
        CHECK_EQ(open_fds(), n.fds_before);
        clear(&k);
    }
}

TEST(a_deadline_ends_all_attempts) {
    struct net n;
    struct dial d;
    struct hole h;
    net_open(&n, NULL);
    xev_addr hole = dig(&h);
    const xev_addr addrs[] = {hole, hole, hole};
    int before = open_fds();
    uint64_t start = clock_ns();
    dial(&d, &n, addrs, 3, 5);
    xev_completion_set_timeout(&n.loop, &d.req.c, 50);
    run_dial(&d);
    CHECK_EQ(d.result, XEV_ETIMEDOUT);
    CHECK_GE(clock_ns() - start, 50 * MS);
    CHECK_EQ(open_fds(), before);
    CHECK_EQ(xev_loop_active(&n.loop), 0);
    CHECK_LT(n.turns, 40);
    fill_up(&h);
    net_close(&n);
}

TEST(a_deadline_that_is_met_changes_nothing) {
    struct net n;
    struct dial d;
    net_open(&n, NULL);
    int listener = quiet_listener();
    xev_addr addr = addr_of(listener);
    dial(&d, &n, &addr, 1, 0);
    xev_completion_set_timeout(&n.loop, &d.req.c, 10000);
    run_dial(&d);
    check_peer(d.result, &addr);
    close_fd(&n, d.result);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

TEST(rearm_dials_again_from_the_first) {
    struct net n;
    struct dial d;
    net_open(&n, NULL);
    int listener = quiet_listener();
    const xev_addr addrs[] = {refusing(), addr_of(listener)};
    dial(&d, &n, addrs, 2, 50);
    d.rearm = 3;
    run_until(&n, &d.calls, 4);
    check_peer(d.result, &addrs[1]);
    close_fd(&n, d.result);
    /* Failures too, and bad arguments. */
    dial(&d, &n, addrs, 1, 0);
    d.rearm = 1;
    run_until(&n, &d.calls, 2);
    CHECK_EQ(d.result, XEV_ECONNREFUSED);
    dial(&d, &n, addrs, 0, 0);
    d.rearm = 1;
    run_until(&n, &d.calls, 2);
    CHECK_EQ(d.result, XEV_EINVAL);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

TEST(an_unreferenced_dial_does_not_keep_the_loop_going) {
    struct net n;
    struct dial d;
    struct hole h;
    net_open(&n, NULL);
    xev_addr hole = dig(&h);
    const xev_addr addrs[] = {hole, hole};
    dial(&d, &n, addrs, 2, 5);
    xev_completion_unref(&d.req.c);
    CHECK(!xev_loop_alive(&n.loop));
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_UNTIL_DONE), 0);
    (void)run_for(&n, 20);
    CHECK(!xev_loop_alive(&n.loop));
    CHECK_EQ(d.calls, 0);
    xev_loop_deinit(&n.loop);
    CHECK_EQ(d.result, XEV_ECANCELED);
    fill_up(&h);
    CHECK_EQ(open_fds(), n.fds_before);
}

/* The parts of a dial are not the caller's operations. */
TEST(a_dial_is_one_callback) {
    struct net n;
    struct dial d;
    xev_loop_metrics m;
    net_open(&n, NULL);
    int listener = quiet_listener();
    const xev_addr addrs[] = {refusing(), addr_of(listener)};
    dial(&d, &n, addrs, 2, 50);
    run_dial(&d);
    xev_loop_metrics_get(&n.loop, &m);
    CHECK_EQ(m.callbacks, 1);
    int counted = 0;
    for (int i = 0; i < XEV_OPS; i++) {
        counted += strcmp(m.ops[i].name, "dial") == 0 && m.ops[i].count == 1;
    }
    CHECK_EQ(counted, 1);
    close_fd(&n, d.result);
    CHECK_EQ(close(listener), 0);
    net_close(&n);
}

/* ---- misuse ---- */

static xev_addr some[1];

static void without_a_loop(void *net) {
    static struct dial d;
    (void)net;
    xev_tcp_dial(NULL, &d.req, some, 1, 0, &d, dialled);
}

static void without_a_request(void *net) {
    xev_tcp_dial(&((struct net *)net)->loop, NULL, some, 1, 0, NULL, dialled);
}

static void without_addresses(void *net) {
    static struct dial d;
    xev_tcp_dial(&((struct net *)net)->loop, &d.req, NULL, 1, 0, &d, dialled);
}

static void without_a_callback(void *net) {
    static struct dial d;
    xev_tcp_dial(&((struct net *)net)->loop, &d.req, some, 1, 0, &d, NULL);
}

static void twice(void *net) {
    static struct dial d;
    dial(&d, net, some, 1, 0);
    xev_tcp_dial(&((struct net *)net)->loop, &d.req, some, 1, 0, &d, dialled);
}

TEST(nulls_and_active_requests_are_misuse) {
    struct net n;
    net_open(&n, NULL);
    check_misuse(without_a_loop, &n, "xev_tcp_dial");
    check_misuse(without_a_request, &n, "xev_tcp_dial");
    check_misuse(without_addresses, &n, "xev_tcp_dial");
    check_misuse(without_a_callback, &n, "xev_tcp_dial");
    check_misuse(twice, &n, "xev_tcp_dial");
    net_close(&n);
}
