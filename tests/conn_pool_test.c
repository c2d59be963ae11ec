/* Connections to an upstream that are kept and given out again. */
#include "tests/conn_scene.h"
#include "tests/random.h"
#include "xev/upstream.h"

enum { RECS = 8 };

struct pool {
    struct scene scene;
    xev_upstreams *group;
    int listener;
    struct rec rec[RECS];
    int peer[RECS];
    int recs;
};

static void pool_open_in(struct pool *p, xev_upstreams_options options, xev_conn_options conns) {
    xev_addr addr;
    memset(p, 0, sizeof *p);
    scene_open_options(&p->scene, NULL, conns);
    p->listener = plain_listener(16);
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(p->listener), &addr), 0);
    options.check_ms = UINT32_MAX;
    CHECK_EQ(xev_upstreams_new(&p->group, p->scene.service, &addr, 1, &options), 0);
}

static void pool_open(struct pool *p, xev_upstreams_options options) {
    pool_open_in(p, options, (xev_conn_options){0});
}

static void pool_close(struct pool *p) {
    CHECK_EQ(close(p->listener), 0);
    scene_close(&p->scene);
    xev_upstream_counters c;
    xev_upstream_count(p->group, 0, &c);
    CHECK_EQ(c.connections, 0);
    CHECK_EQ(c.idle, 0);
    xev_upstreams_free(p->group);
    for (int i = 0; i < p->recs; i++) {
        rec_free(&p->rec[i]);
    }
}

static xev_upstream_counters pool_count(const struct pool *p) {
    xev_upstream_counters c;
    xev_upstream_count(p->group, 0, &c);
    return c;
}

/* A connection, opened; made or kept as the test says. Of one that is made the peer is accepted. */
static struct rec *pool_connect(struct pool *p, bool kept) {
    CHECK_LT(p->recs, RECS);
    struct rec *r = rec_init(&p->rec[p->recs], &p->scene);
    CHECK_EQ(xev_upstreams_connect(p->group, NULL, &r->conn), 0);
    struct rec **part = xev_conn_user(r->conn);
    CHECK(*part == NULL); /* zeroed */
    *part = r;
    r->handle = xev_conn_handle_of(r->conn);
    CHECK_EQ(xev_upstream_was_kept(r->conn), kept);
    run_to(&p->scene, &r->opened, 1);
    if (!kept) {
        p->peer[p->recs] = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
        CHECK_GE(p->peer[p->recs], 0);
    }
    p->recs++;
    return r;
}

/* As a user would: it is not ours any more. */
static void pool_keep(struct rec *r) {
    xev_upstream_keep(r->conn);
    r->conn = NULL;
}

/* One request and its answer, over a peer's socket. */
static void ask_peer(struct rec *r, int peer, const char *text) {
    char back[16];
    size_t len = strlen(text), before = r->got_len;
    CHECK_EQ(xev_conn_write(r->conn, text, len), 0);
    recv_running(r->scene, peer, back, len);
    CHECK_MEM_EQ(back, text, len);
    plain_send(peer, "ok", 2);
    run_to_got(r, before + 2);
}

TEST(a_kept_connection_is_given_out_again) {
    struct pool p;
    xev_conn *found;
    pool_open(&p, (xev_upstreams_options){.idle_max = 2});
    struct rec *first = pool_connect(&p, false);
    ask_peer(first, p.peer[0], "one");
    pool_keep(first);
    CHECK_EQ(pool_count(&p).idle, 1);
    CHECK_EQ(pool_count(&p).connections, 0);
    settle_conn(&p.scene);
    struct rec *second = pool_connect(&p, true);
    CHECK_EQ(pool_count(&p).idle, 0);
    CHECK_EQ(pool_count(&p).connections, 1);
    CHECK_EQ(pool_count(&p).reused, 1);
    CHECK_EQ(pool_count(&p).connected, 1);
    CHECK_NE(first->handle, second->handle); /* who had it before does not find it */
    CHECK_EQ(xev_conn_find(p.scene.service, first->handle, &found), XEV_ESTALE);
    CHECK_EQ(xev_conn_find(p.scene.service, second->handle, &found), 0);
    ask_peer(second, p.peer[0], "two");
    CHECK_EQ(first->got_len, 2);
    struct rec *third = pool_connect(&p, false); /* nobody keeps any */
    pool_keep(second);
    pool_keep(third);
    settle_conn(&p.scene);
    struct rec *fourth = pool_connect(&p, true); /* the latest: the third's */
    ask_peer(fourth, p.peer[2], "three");
    xev_conn_abort(fourth->conn);
    run_to(&p.scene, &fourth->closeds, 1);
    CHECK_EQ(first->closeds + second->closeds + third->closeds, 0);
    CHECK_EQ(close(p.peer[0]), 0);
    CHECK_EQ(close(p.peer[2]), 0);
    pool_close(&p);
}

TEST(one_that_the_upstream_has_closed_is_not_given_out) {
    for (int seen = 0; seen < 2; seen++) { /* whether the loop knows it already */
        for (int resets = 0; resets < 2; resets++) {
            struct pool p;
            pool_open(&p, (xev_upstreams_options){.idle_max = 2});
            struct rec *first = pool_connect(&p, false);
            int fd = xev_conn_fd(first->conn);
            pool_keep(first);
            settle_conn(&p.scene);
            if (resets) {
                struct linger l = {.l_onoff = 1};
                CHECK_EQ(setsockopt(p.peer[0], SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
            }
            CHECK_EQ(close(p.peer[0]), 0);
            wait_readable(fd);
            while (seen && pool_count(&p).idle > 0) {
                turn(&p.scene);
            }
            struct rec *second = pool_connect(&p, false);
            ask_peer(second, p.peer[1], "two");
            CHECK_EQ(pool_count(&p).reused, 0);
            CHECK_EQ(first->closeds, 0);
            CHECK_EQ(close(p.peer[1]), 0);
            pool_close(&p);
        }
    }
}

TEST(one_that_says_something_unasked_is_closed) {
    struct pool p;
    pool_open(&p, (xev_upstreams_options){.idle_max = 2});
    struct rec *first = pool_connect(&p, false);
    pool_keep(first);
    settle_conn(&p.scene);
    plain_send(p.peer[0], "408", 3);
    wait_arrived(p.peer[0]);
    struct rec *second = pool_connect(&p, false); /* whether the loop has read it or not */
    (void)end_running(&p.scene, p.peer[0]);
    CHECK_EQ(second->got_len, 0);
    CHECK_EQ(pool_count(&p).idle, 0);
    CHECK_EQ(close(p.peer[0]), 0);
    CHECK_EQ(close(p.peer[1]), 0);
    pool_close(&p);
}

TEST(of_too_many_the_one_that_waited_longest_is_closed) {
    struct pool p;
    pool_open(&p, (xev_upstreams_options){.idle_max = 2});
    for (int i = 0; i < 3; i++) {
        (void)pool_connect(&p, false);
    }
    for (int i = 0; i < 3; i++) {
        pool_keep(&p.rec[i]);
    }
    CHECK_EQ(pool_count(&p).idle, 2);
    CHECK_EQ(end_running(&p.scene, p.peer[0]), 0);
    struct rec *r = pool_connect(&p, true);
    ask_peer(r, p.peer[2], "hi");
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(close(p.peer[i]), 0);
    }
    pool_close(&p);
}

enum { PLACES = 3 };

static void keep_account(xev_conn *conn, bool begins, void *userdata) {
    int *now = userdata;
    (void)conn;
    *now += begins ? 1 : -1;
    CHECK_GE(*now, 0);
    CHECK_LE(*now, PLACES);
}

/* Adopted by the service; the peer's end. */
static int pool_adopt(struct pool *p, struct rec *r) {
    int fd[2];
    local_pair(fd);
    rec_adopt(rec_init(r, &p->scene), fd[0]);
    return fd[1];
}

TEST(the_one_that_waited_longest_gives_its_place_to_who_needs_it) {
    struct pool p;
    struct rec client[PLACES];
    int now = 0, fd[PLACES], more[2];
    pool_open_in(&p, (xev_upstreams_options){.idle_max = PLACES},
                 (xev_conn_options){
                     .connections_max = PLACES, .account = keep_account, .account_userdata = &now});
    for (int i = 0; i < PLACES; i++) {
        (void)pool_connect(&p, false);
    }
    for (int i = 0; i < PLACES; i++) {
        pool_keep(&p.rec[i]);
        settle_conn(&p.scene);
    }
    for (int i = 0; i < PLACES; i++) {
        CHECK_EQ(pool_count(&p).idle, PLACES - i);
        fd[i] = pool_adopt(&p, &client[i]);
        CHECK_EQ(pool_count(&p).idle, PLACES - i - 1);
        CHECK_EQ(counters_of(&p.scene).connections, PLACES);
        CHECK_EQ(counters_of(&p.scene).given_up, i + 1);
        CHECK_EQ(now, PLACES);
        CHECK_EQ(end_running(&p.scene, p.peer[i]), 0);
        CHECK_EQ(close(p.peer[i]), 0);
    }
    xev_conn *none;
    local_pair(more);
    CHECK_EQ(xev_conn_adopt(p.scene.service, more[0], &none), XEV_ENOBUFS);
    CHECK_EQ(xev_upstreams_connect(p.group, NULL, &none), XEV_ENOBUFS);
    CHECK_EQ(counters_of(&p.scene).refused, 2);
    for (int i = 0; i < PLACES; i++) {
        CHECK_EQ(client[i].closeds, 0);
        CHECK_EQ(close(fd[i]), 0);
        run_to(&p.scene, &client[i].closeds, 1);
    }
    CHECK_EQ(now, 0);
    CHECK_EQ(counters_of(&p.scene).connections, 0);
    CHECK_EQ(close(more[0]) + close(more[1]), 0);
    pool_close(&p);
    for (int i = 0; i < PLACES; i++) {
        rec_free(&client[i]);
    }
}

TEST(one_that_nobody_wants_is_closed_in_time) {
    struct pool p;
    pool_open(&p, (xev_upstreams_options){.idle_max = 2, .idle_ms = 50});
    uint64_t begin = clock_ns();
    pool_keep(pool_connect(&p, false));
    CHECK_EQ(end_running(&p.scene, p.peer[0]), 0);
    CHECK_GE(clock_ns() - begin, 50 * MS);
    CHECK_EQ(pool_count(&p).idle, 0);
    CHECK_EQ(close(p.peer[0]), 0);
    pool_close(&p);
}

/* Those that are not idle are closed instead: in order, or by a reset where something is cut off.
 */
TEST(what_is_not_idle_is_not_kept) {
    static char much[8 << 20];
    for (int how = 0; how < 6; how++) {
        struct pool p;
        struct rec *first, other;
        int fd[2] = {-1, -1}, end;
        pool_open(&p, (xev_upstreams_options){.idle_max = how == 0 ? 0 : 2});
        first = pool_connect(&p, false);
        rec_init(&other, &p.scene);
        switch (how) {
        case 1: /* output waits */
            CHECK_EQ(xev_conn_write(first->conn, much, sizeof much), 0);
            break;
        case 2:
            xev_conn_finish(first->conn);
            break;
        case 3: /* a slot is not filled */
            CHECK(xev_conn_reserve(first->conn) != NULL);
            break;
        case 4:
            local_pair(fd);
            rec_adopt(&other, fd[0]);
            CHECK_EQ(xev_conn_pipe(first->conn, other.conn), 0);
            break;
        case 5:
            xev_conn_service_drain(p.scene.service);
            break;
        default:
            break;
        }
        pool_keep(first);
        CHECK_EQ(pool_count(&p).idle, 0);
        char byte[4096];
        ssize_t n;
        while ((n = recv(p.peer[0], byte, sizeof byte, MSG_DONTWAIT)) > 0 ||
               (n < 0 && errno == EAGAIN)) {
            turn(&p.scene);
        }
        end = n == 0 ? 0 : errno;
        CHECK_EQ(end, how == 1 || how == 3 || how == 4 ? ECONNRESET : 0);
        CHECK_EQ(first->closeds, 0); /* it was not its user's any more */
        if (how == 4) {
            run_to(&p.scene, &other.closeds, 1);
            CHECK_EQ(close(fd[1]), 0);
        }
        CHECK_EQ(close(p.peer[0]), 0);
        pool_close(&p);
        rec_free(&other);
    }
}

TEST(one_that_is_being_connected_is_not_kept) {
    struct pool p;
    pool_open(&p, (xev_upstreams_options){.idle_max = 2});
    struct rec *r = rec_init(&p.rec[p.recs++], &p.scene);
    CHECK_EQ(xev_upstreams_connect(p.group, NULL, &r->conn), 0);
    *(struct rec **)xev_conn_user(r->conn) = r;
    pool_keep(r);
    while (counters_of(&p.scene).connections > 0) {
        turn(&p.scene);
    }
    CHECK_EQ(r->opened + r->closeds, 0);
    pool_close(&p);
}

static ptrdiff_t keeps_at_once(struct rec *r, const char *data, size_t len) {
    (void)data;
    (void)len;
    pool_keep(r);
    struct pool *p = (struct pool *)r->scene; /* its first field */
    struct rec *next = rec_init(&p->rec[p->recs++], &p->scene);
    CHECK_EQ(xev_upstreams_connect(p->group, NULL, &next->conn), 0);
    CHECK(!xev_upstream_was_kept(next->conn)); /* the handler is still running */
    *(struct rec **)xev_conn_user(next->conn) = next;
    next->handle = xev_conn_handle_of(next->conn);
    return 2;
}

TEST(an_answer_that_is_too_long_is_nobodys) {
    struct pool p;
    pool_open(&p, (xev_upstreams_options){.idle_max = 2});
    struct rec *first = pool_connect(&p, false);
    first->data = keeps_at_once;
    plain_send(p.peer[0], "okand more", 10); /* the rest comes when it is kept already */
    (void)end_running(&p.scene, p.peer[0]);
    run_to(&p.scene, &p.rec[1].opened, 1);
    CHECK_EQ(p.rec[1].got_len, 0);
    CHECK_EQ(pool_count(&p).idle, 0);
    CHECK_EQ(close(p.peer[0]), 0);
    pool_close(&p);
}

static void counts(xev_conn *conn, void *userdata) {
    (void)conn;
    ++*(int *)userdata;
}

TEST(kept_ones_are_nobodys_and_end_with_the_drain_or_the_loop) {
    for (int drains = 0; drains < 2; drains++) {
        struct pool p;
        int n = 0;
        pool_open(&p, (xev_upstreams_options){.idle_max = 2});
        for (int i = 0; i < 3; i++) {
            (void)pool_connect(&p, false);
        }
        pool_keep(&p.rec[0]);
        pool_keep(&p.rec[1]);
        settle_conn(&p.scene);
        xev_conn_service_each(p.scene.service, &n, counts);
        CHECK_EQ(n, 1);
        if (drains) {
            xev_conn_service_drain(p.scene.service);
            CHECK_EQ(end_running(&p.scene, p.peer[0]), 0);
            CHECK_EQ(end_running(&p.scene, p.peer[1]), 0);
        }
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(close(p.peer[i]), 0);
        }
        pool_close(&p);
    }
}

/* ---- any order ---- */

enum { STEPS = 80, PEERS = 64, SERVERS = 2 };

static int bound_socket(const xev_addr *addr) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    CHECK_GE(fd, 0);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    CHECK_EQ(bind(fd, (const struct sockaddr *)(const void *)addr->storage, addr->len_bytes), 0);
    return fd;
}

/* A listener that has its port also while it does not listen: one that the system has chosen for
 * the socket itself is given up then. */
static int lasting_listener(xev_addr *addr) {
    CHECK_EQ(xev_addr_parse(addr, "127.0.0.1", 0), 0);
    int first = bound_socket(addr);
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(first), addr), 0);
    int fd = bound_socket(addr);
    CHECK_EQ(close(first), 0);
    CHECK_EQ(listen(fd, 64), 0);
    return fd;
}

static void check_listens_at(int fd, const xev_addr *addr) {
    xev_addr now;
    CHECK_EQ(listen(fd, 64), 0);
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(fd), &now), 0);
    CHECK_EQ(now.len_bytes, addr->len_bytes);
    CHECK_MEM_EQ(now.storage, addr->storage, addr->len_bytes);
}

/* What a user and its upstreams may do, in any order. A record is in use until it is closed or
 * kept; of one that was kept no handler is called any more. */
static void any_order(uint64_t seed) {
    uint64_t rng = mix(seed);
    struct scene s;
    struct rec *recs = calloc(STEPS, sizeof *recs);
    int calls[STEPS], listener[SERVERS], peer[PEERS], recs_len = 0, peers = 0;
    bool kept[STEPS] = {false};
    xev_addr addrs[SERVERS];
    xev_upstreams *group;
    CHECK(recs != NULL);
    scene_open(&s);
    for (int i = 0; i < SERVERS; i++) {
        listener[i] = lasting_listener(&addrs[i]);
    }
    const xev_upstreams_options options = {.policy = (xev_upstream_policy)rng_below(&rng, 2),
                                           .idle_max = rng_below(&rng, 4),
                                           .idle_ms = rng_below(&rng, 2) == 0 ? 1 : 0,
                                           .ahead = rng_below(&rng, 4),
                                           .check_ms = 1 + rng_below(&rng, 3),
                                           .out_ms = 1};
    CHECK_EQ(xev_upstreams_new(&group, s.service, addrs, SERVERS, &options), 0);
    for (int step = 0; step < STEPS; step++) {
        int i = recs_len > 0 ? (int)rng_below(&rng, (uint32_t)recs_len) : 0;
        struct rec *r = recs_len > 0 && recs[i].conn != NULL ? &recs[i] : NULL;
        int k = peers > 0 ? (int)rng_below(&rng, (uint32_t)peers) : -1;
        char bytes[4096] = "";
        switch (rng_below(&rng, 10)) {
        case 0:
        case 1:
            r = rec_init(&recs[recs_len], &s);
            if (xev_upstreams_connect(group, NULL, &r->conn) == 0) {
                CHECK(*(struct rec **)xev_conn_user(r->conn) == NULL);
                *(struct rec **)xev_conn_user(r->conn) = r;
                r->handle = xev_conn_handle_of(r->conn);
                recs_len++;
            } else {
                rec_free(r);
            }
            break;
        case 2:
        case 3:
            if (r != NULL) {
                pool_keep(r);
                kept[i] = true;
                calls[i] = r->opened + r->datas + r->endeds + r->lates + r->closeds;
            }
            break;
        case 4:
            if (r != NULL && rng_below(&rng, 2) == 0) {
                xev_conn_abort(r->conn);
            } else if (r != NULL) {
                xev_conn_finish(r->conn);
            }
            break;
        case 5:
            if (r != NULL) {
                (void)xev_conn_write(r->conn, bytes, 1 + rng_below(&rng, sizeof bytes - 1));
            }
            break;
        case 6:
            for (int n = 0; n < SERVERS; n++) {
                int fd = peers < PEERS ? accept4(listener[n], NULL, NULL, SOCK_CLOEXEC) : -1;
                peer[peers] = fd;
                peers += fd >= 0;
            }
            break;
        case 7:
            if (k >= 0 && rng_below(&rng, 2) == 0) {
                (void)send(peer[k], "hi", 2, MSG_DONTWAIT | MSG_NOSIGNAL);
            } else if (k >= 0) {
                CHECK_EQ(close(peer[k]), 0); /* a reset, where something was not read */
                peer[k] = peer[--peers];
            }
            break;
        case 8:
            if (rng_below(&rng, 4) == 0) { /* one no longer listens, or does again */
                int n = (int)rng_below(&rng, SERVERS), on = 0;
                socklen_t len = sizeof on;
                CHECK_EQ(getsockopt(listener[n], SOL_SOCKET, SO_ACCEPTCONN, &on, &len), 0);
                if (on) {
                    CHECK_EQ(shutdown(listener[n], SHUT_RDWR), 0);
                } else {
                    check_listens_at(listener[n], &addrs[n]);
                }
            }
            break;
        default:
            CHECK_EQ(xev_loop_run(&s.net.loop, XEV_RUN_NO_WAIT), 0);
        }
    }
    if (rng_below(&rng, 2) == 0) {
        xev_conn_service_drain(s.service);
        CHECK_EQ(xev_loop_run(&s.net.loop, XEV_RUN_NO_WAIT), 0);
    }
    for (int n = 0; n < peers; n++) {
        CHECK_EQ(close(peer[n]), 0);
    }
    for (int n = 0; n < SERVERS; n++) {
        CHECK_EQ(close(listener[n]), 0);
    }
    scene_close(&s);
    for (uint32_t n = 0; n < SERVERS; n++) {
        xev_upstream_counters c;
        xev_upstream_count(group, n, &c);
        CHECK_EQ(c.connections + c.idle, 0);
    }
    for (int i = 0; i < recs_len; i++) {
        struct rec *r = &recs[i];
        CHECK_EQ(r->closeds, kept[i] ? 0 : 1);
        CHECK(!kept[i] || r->opened + r->datas + r->endeds + r->lates + r->closeds == calls[i]);
        rec_free(r);
    }
    xev_upstreams_free(group);
    free(recs);
}

TEST_TIMEOUT(any_order_of_calls_and_ends, 120) { for_seeds(100, any_order); }
