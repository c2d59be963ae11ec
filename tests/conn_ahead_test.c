/* Connections to an upstream that are opened ahead of their use. */
#include "tests/conn_scene.h"
#include "xev/upstream.h"

enum { AHEAD = 3, PEERS = 64, FAR = 3600000 };

struct ahead {
    struct scene scene;
    xev_upstreams *group;
    int listener, outs, backs;
    int peer[PEERS];
    int peers;
    struct rec rec;
};

static void on_changed(xev_upstreams *group, uint32_t number, int code, void *userdata) {
    struct ahead *a = userdata;
    (void)group, (void)number;
    *(code < 0 ? &a->outs : &a->backs) += 1;
}

static void ahead_open(struct ahead *a, uint32_t check_ms, uint32_t idle_ms) {
    xev_addr addr;
    memset(a, 0, sizeof *a);
    scene_open(&a->scene);
    a->listener = plain_listener(64);
    CHECK_EQ(fcntl(a->listener, F_SETFL, O_NONBLOCK), 0);
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(a->listener), &addr), 0);
    const xev_upstreams_options options = {.ahead = AHEAD,
                                           .check_ms = check_ms,
                                           .idle_ms = idle_ms,
                                           .out_ms = 1,
                                           .out_max_ms = 1,
                                           .changed = on_changed,
                                           .userdata = a};
    CHECK_EQ(xev_upstreams_new(&a->group, a->scene.service, &addr, 1, &options), 0);
    rec_init(&a->rec, &a->scene);
}

static xev_upstream_counters count(const struct ahead *a) {
    xev_upstream_counters c;
    xev_upstream_count(a->group, 0, &c);
    return c;
}

/* The others know it when this returns. */
static void close_peers(struct ahead *a) {
    while (a->peers > 0) {
        int fd = a->peer[--a->peers];
        (void)shutdown(fd, SHUT_WR); /* of one that was reset there is no end to tell */
        wait_arrived(fd);
        CHECK_EQ(close(fd), 0);
    }
}

static void ahead_close(struct ahead *a) {
    CHECK_EQ(close(a->listener), 0);
    close_peers(a);
    scene_close(&a->scene);
    CHECK_EQ(count(a).connections + count(a).idle, 0);
    xev_upstreams_free(a->group);
    rec_free(&a->rec);
}

static void accept_all(struct ahead *a) {
    for (int fd; (fd = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; a->peers++) {
        CHECK_LT(a->peers, PEERS);
        a->peer[a->peers] = fd;
    }
}

/* Turns until n of them are there, with the other ends of all that were made by now. */
static void run_to_idle(struct ahead *a, uint32_t n) {
    while (count(a).idle != n) {
        turn(&a->scene);
    }
    settle_conn(&a->scene); /* no more come, and they may be taken */
    CHECK_EQ(count(a).idle, n);
    do { /* what is connected here may come there a moment later */
        accept_all(a);
    } while ((uint32_t)a->peers < n + count(a).connections);
}

/* At the same port. */
static void listen_again(struct ahead *a, const struct sockaddr_in *at) {
    int on = 1;
    a->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK_GE(a->listener, 0);
    CHECK_EQ(setsockopt(a->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    while (bind(a->listener, (const struct sockaddr *)at, sizeof *at) != 0) {
        CHECK_EQ(errno, EADDRINUSE); /* until the last of the connections there has gone */
        turn(&a->scene);
    }
    CHECK_EQ(listen(a->listener, 64), 0);
}

static void take_one(struct ahead *a, bool is_ahead) {
    struct rec *r = &a->rec;
    CHECK_EQ(xev_upstreams_connect(a->group, NULL, &r->conn), 0);
    CHECK_EQ(xev_upstream_was_kept(r->conn), is_ahead);
    CHECK(*(struct rec **)xev_conn_user(r->conn) == NULL);
    *(struct rec **)xev_conn_user(r->conn) = r;
    r->handle = xev_conn_handle_of(r->conn);
}

/* The other end of the one that was taken. They may be accepted in another order than connected. */
static int peer_of_taken(const struct ahead *a) {
    struct sockaddr_in own, other;
    socklen_t len = sizeof own;
    CHECK_EQ(getsockname(xev_conn_fd(a->rec.conn), (struct sockaddr *)&own, &len), 0);
    for (int i = 0; i < a->peers; i++) {
        CHECK_EQ(getpeername(a->peer[i], (struct sockaddr *)&other, &len), 0);
        if (other.sin_port == own.sin_port) {
            return a->peer[i];
        }
    }
    CHECK_FAIL("nobody has accepted it");
}

TEST(they_are_open_before_they_are_needed_and_are_replaced) {
    struct ahead a;
    char got[8];
    ahead_open(&a, FAR, 0);
    run_to_idle(&a, AHEAD);
    CHECK_EQ(a.peers, AHEAD);
    CHECK_EQ(count(&a).connected, AHEAD);
    CHECK_EQ(count(&a).connections, 0); /* nobody's */
    take_one(&a, true);
    CHECK_EQ(xev_conn_write(a.rec.conn, "first", 5), 0);
    CHECK_EQ(count(&a).idle, AHEAD - 1);
    CHECK_EQ(count(&a).connections, 1);
    int peer = peer_of_taken(&a);
    recv_running(&a.scene, peer, got, 5);
    CHECK_MEM_EQ(got, "first", 5);
    run_to_idle(&a, AHEAD);
    CHECK_EQ(a.rec.opened, 1);
    CHECK_EQ(a.peers, AHEAD + 1);
    CHECK_EQ(count(&a).reused, 1);
    plain_send(peer, "answer", 6);
    run_to_got(&a.rec, 6);
    ahead_close(&a);
}

TEST(they_are_closed_when_the_upstream_fails_and_come_when_it_is_back) {
    struct ahead a;
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    ahead_open(&a, 50, 0);
    run_to_idle(&a, AHEAD);
    CHECK_EQ(getsockname(a.listener, (struct sockaddr *)&at, &len), 0);
    CHECK_EQ(close(a.listener), 0);
    while (a.outs == 0) {
        turn(&a.scene);
    }
    CHECK_EQ(count(&a).idle, 0); /* nobody is to be given one */
    for (int i = 0; i < AHEAD; i++) {
        CHECK_EQ(end_running(&a.scene, a.peer[i]), 0);
    }
    close_peers(&a);
    listen_again(&a, &at);
    run_to_idle(&a, AHEAD);
    CHECK_EQ(a.backs, 1);
    take_one(&a, true);
    ahead_close(&a);
}

TEST(one_that_the_upstream_has_closed_is_not_given_out) {
    struct ahead a;
    ahead_open(&a, FAR, 0);
    run_to_idle(&a, AHEAD);
    close_peers(&a);
    take_one(&a, false); /* whether the loop has heard of it or not */
    CHECK_EQ(count(&a).idle, 0);
    run_to(&a.scene, &a.rec.opened, 1);
    settle_conn(&a.scene);
    CHECK_EQ(count(&a).connected, AHEAD + 1); /* they wait for the check */
    ahead_close(&a);
}

TEST(those_that_the_upstream_closes_are_replaced_by_the_next_check) {
    struct ahead a;
    ahead_open(&a, 50, 0);
    for (int round = 0; round < 3; round++) {
        while (count(&a).idle < AHEAD) {
            turn(&a.scene);
        }
        do {
            for (int fd; (fd = accept4(a.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
                CHECK_EQ(close(fd), 0); /* those of checks, too */
            }
            turn(&a.scene);
        } while (count(&a).idle > 0);
    }
    CHECK_EQ(a.outs, 0); /* that is no failure */
    ahead_close(&a);
}

TEST(one_that_has_waited_long_is_closed) {
    struct ahead a;
    ahead_open(&a, FAR, 1);
    while (a.peers < AHEAD) {
        turn(&a.scene);
        accept_all(&a);
    }
    for (int i = 0; i < AHEAD; i++) {
        CHECK_EQ(end_running(&a.scene, a.peer[i]), 0);
    }
    CHECK_EQ(count(&a).idle, 0);
    CHECK_EQ(count(&a).connected, AHEAD);
    ahead_close(&a);
}

/* What an upstream says before it is asked, into a handler and into a pipe. */
TEST(a_greeting_waits_for_who_takes_the_connection) {
    for (int piped = 0; piped < 2; piped++) {
        struct ahead a;
        struct rec client;
        char got[8];
        int fd[2];
        ahead_open(&a, FAR, 0);
        run_to_idle(&a, AHEAD);
        for (int i = 0; i < AHEAD; i++) {
            plain_send(a.peer[i], "hello", 5);
        }
        settle_conn(&a.scene);
        CHECK_EQ(count(&a).idle, AHEAD);
        take_one(&a, true);
        if (piped) {
            tcp_pair(fd);
            rec_adopt(rec_init(&client, &a.scene), fd[1]);
            CHECK_EQ(xev_conn_pipe(client.conn, a.rec.conn), 0);
            recv_running(&a.scene, fd[0], got, 5);
            plain_send(fd[0], "thanks", 6);
        } else {
            run_to_got(&a.rec, 5);
            memcpy(got, a.rec.got, 5);
            CHECK_EQ(xev_conn_write(a.rec.conn, "thanks", 6), 0);
        }
        CHECK_MEM_EQ(got, "hello", 5);
        recv_running(&a.scene, peer_of_taken(&a), got, 6);
        CHECK_MEM_EQ(got, "thanks", 6);
        if (piped) {
            CHECK_EQ(close(fd[0]), 0);
        }
        ahead_close(&a);
        if (piped) {
            rec_free(&client);
        }
    }
}

TEST(a_greeting_and_the_end_are_not_given_out) {
    struct ahead a;
    ahead_open(&a, FAR, 0);
    run_to_idle(&a, AHEAD);
    for (int i = 0; i < AHEAD; i++) {
        plain_send(a.peer[i], "too many", 8);
    }
    close_peers(&a);
    take_one(&a, false);
    ahead_close(&a);
}

/* At any step of their connects. */
TEST(they_end_with_the_drain_or_the_loop) {
    for (int how = 0; how < 2; how++) {
        for (int turns = 0; turns < 6; turns++) {
            struct ahead a;
            ahead_open(&a, 1, 0);
            for (int i = 0; i < turns; i++) {
                turn(&a.scene);
            }
            if (how == 1) {
                xev_conn_service_drain(a.scene.service);
                while (counters_of(&a.scene).connections > 0) {
                    turn(&a.scene);
                }
                settle_conn(&a.scene);
                CHECK_EQ(count(&a).idle, 0);
            }
            ahead_close(&a);
        }
    }
}

TEST(without_checks_there_are_none) {
    struct scene s;
    xev_addr addr;
    xev_upstreams *group;
    scene_open(&s);
    CHECK_EQ(xev_addr_from_text(&addr, "127.0.0.1:1"), 0);
    const xev_upstreams_options options = {.ahead = 1, .check_ms = UINT32_MAX};
    CHECK_EQ(xev_upstreams_new(&group, s.service, &addr, 1, &options), XEV_EINVAL);
    CHECK_STR_EQ(xev_err_why(), "ahead is set, and check_ms says no checks");
    CHECK(group == NULL);
    scene_close(&s);
}
