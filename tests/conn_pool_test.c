/* Connections to an upstream that are kept and given out again. */
#include "tests/conn_scene.h"
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

static void pool_open(struct pool *p, xev_upstreams_options options) {
    xev_addr addr;
    memset(p, 0, sizeof *p);
    scene_open(&p->scene);
    p->listener = plain_listener(16);
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(p->listener), &addr), 0);
    options.check_ms = UINT32_MAX;
    CHECK_EQ(xev_upstreams_new(&p->group, p->scene.service, &addr, 1, &options), 0);
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
            pool_keep(first);
            settle_conn(&p.scene);
            if (resets) {
                struct linger l = {.l_onoff = 1};
                CHECK_EQ(setsockopt(p.peer[0], SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
            }
            CHECK_EQ(close(p.peer[0]), 0);
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

TEST(one_that_nobody_wants_is_closed_in_time) {
    struct pool p;
    pool_open(&p, (xev_upstreams_options){.idle_max = 2, .idle_ms = 50});
    pool_keep(pool_connect(&p, false));
    uint64_t begin = clock_ns();
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
