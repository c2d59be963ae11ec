/* Upstreams: whom the policies choose, who is left out and comes back, and what a connection goes
 * through until one answers. */
#include "tests/conn_scene.h"
#include "tests/refuse.h"
#include "xev/upstream.h"

#include <sys/resource.h>

enum { UPS = 3, RECS = 8 };

/* A group of servers, of which the test makes some listen. */
struct ups {
    struct scene scene;
    xev_upstreams *group;
    int listener[UPS]; /* bound; those that do not listen refuse */
    xev_addr addr[UPS];
    struct rec rec[RECS];
    int recs;
    int outs, backs;
    int last_code;
};

static void on_changed(xev_upstreams *group, uint32_t number, int code, void *userdata) {
    struct ups *u = userdata;
    xev_upstream_counters c;
    xev_upstream_count(group, number, &c);
    CHECK_EQ(c.out, code < 0);
    u->outs += code < 0;
    u->backs += code == 0;
    u->last_code = code;
}

static void set_listening(struct ups *u, int i) { CHECK_EQ(listen(u->listener[i], 64), 0); }

/* Upstreams of which those in the mask listen; without checks unless the options say so. */
static void ups_open(struct ups *u, unsigned listening, xev_upstreams_options options) {
    memset(u, 0, sizeof *u);
    scene_open(&u->scene);
    for (int i = 0; i < UPS; i++) {
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        u->listener[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_EQ(bind(u->listener[i], (struct sockaddr *)(void *)&sa, sizeof sa), 0);
        CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(u->listener[i]), &u->addr[i]), 0);
        if ((listening >> i & 1) != 0) {
            set_listening(u, i);
        }
    }
    options.check_ms = options.check_ms != 0 ? options.check_ms : UINT32_MAX;
    options.changed = on_changed;
    options.userdata = u;
    CHECK_EQ(xev_upstreams_new(&u->group, u->scene.service, u->addr, UPS, &options), 0);
    CHECK_EQ(xev_upstreams_count(u->group), UPS);
}

static void ups_close(struct ups *u) {
    for (int i = 0; i < UPS; i++) {
        CHECK_EQ(close(u->listener[i]), 0);
    }
    scene_close(&u->scene);
    xev_upstream_counters c;
    for (uint32_t i = 0; i < UPS; i++) {
        xev_upstream_count(u->group, i, &c);
        CHECK_EQ(c.connections, 0);
    }
    xev_upstreams_free(u->group);
    for (int i = 0; i < u->recs; i++) {
        rec_free(&u->rec[i]);
    }
}

static struct rec *ups_connect(struct ups *u) {
    CHECK_LT(u->recs, RECS);
    struct rec *r = rec_init(&u->rec[u->recs++], &u->scene);
    CHECK_EQ(xev_upstreams_connect(u->group, NULL, &r->conn), 0);
    *(struct rec **)xev_conn_user(r->conn) = r;
    r->handle = xev_conn_handle_of(r->conn);
    return r;
}

/* Connect, and say which one has answered. */
static uint32_t ups_made(struct ups *u) {
    struct rec *r = ups_connect(u);
    run_to(&u->scene, &r->opened, 1);
    return xev_upstream_number(r->conn);
}

static xev_upstream_counters ups_count(const struct ups *u, uint32_t number) {
    xev_upstream_counters c;
    xev_upstream_count(u->group, number, &c);
    return c;
}

static void ups_abort(struct rec *r) {
    xev_conn_abort(r->conn);
    run_to(r->scene, &r->closeds, 1);
}

TEST(round_robin_takes_one_after_the_other) {
    struct ups u;
    ups_open(&u, 7, (xev_upstreams_options){0});
    for (uint32_t i = 0; i < 6; i++) {
        CHECK_EQ(ups_made(&u), i % UPS);
    }
    for (uint32_t i = 0; i < UPS; i++) {
        CHECK_EQ(ups_count(&u, i).connections, 2);
        CHECK_EQ(ups_count(&u, i).connected, 2);
        CHECK_EQ(ups_count(&u, i).failed, 0);
    }
    for (int i = 0; i < u.recs; i++) {
        ups_abort(&u.rec[i]);
    }
    CHECK_EQ(ups_count(&u, 0).connections, 0);
    CHECK_EQ(u.outs + u.backs, 0);
    ups_close(&u);
}

TEST(least_connections_takes_who_has_the_fewest) {
    struct ups u;
    ups_open(&u, 7, (xev_upstreams_options){.policy = XEV_UPSTREAM_LEAST_CONNECTIONS});
    for (uint32_t i = 0; i < UPS; i++) {
        CHECK_EQ(ups_made(&u), i); /* equal: in turn */
    }
    ups_abort(&u.rec[1]);
    CHECK_EQ(ups_made(&u), 1);
    ups_abort(&u.rec[2]);
    ups_abort(&u.rec[3]);
    CHECK_EQ(ups_count(&u, 0).connections, 1);
    CHECK_NE(ups_made(&u), 0);
    CHECK_NE(ups_made(&u), 0);
    CHECK_EQ(ups_count(&u, 1).connections, 1);
    CHECK_EQ(ups_count(&u, 2).connections, 1);
    ups_close(&u);
}

TEST(where_one_refuses_the_next_gets_what_was_written) {
    struct ups u;
    char back[5];
    ups_open(&u, 4, (xev_upstreams_options){.out_ms = 3600000, .out_max_ms = 3600000});
    struct rec *r = ups_connect(&u);
    CHECK_EQ(xev_conn_write(r->conn, "hello", 5), 0);
    run_to(&u.scene, &r->opened, 1);
    CHECK_EQ(xev_upstream_number(r->conn), 2);
    int peer = accept4(u.listener[2], NULL, NULL, SOCK_CLOEXEC);
    recv_running(&u.scene, peer, back, 5);
    CHECK_MEM_EQ(back, "hello", 5);
    CHECK_EQ(u.outs, 2);
    CHECK_EQ(u.last_code, XEV_ECONNREFUSED);
    CHECK_EQ(ups_made(&u), 2); /* the others are left out: nobody asks them */
    CHECK_EQ(ups_made(&u), 2);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK(ups_count(&u, i).out);
        CHECK_EQ(ups_count(&u, i).out_ms, 3600000);
        CHECK_EQ(ups_count(&u, i).failed, 1);
        CHECK_EQ(ups_count(&u, i).code, XEV_ECONNREFUSED);
        CHECK_EQ(ups_count(&u, i).connections, 0);
    }
    CHECK_EQ(ups_count(&u, 2).connections, 3);
    CHECK_EQ(close(peer), 0);
    ups_close(&u);
}

TEST(where_all_refuse_the_last_code_is_told_and_all_are_tried_again) {
    struct ups u;
    ups_open(&u, 0, (xev_upstreams_options){.out_ms = 3600000, .out_max_ms = 3600000});
    for (uint64_t i = 1; i < 4; i++) {
        struct rec *r = ups_connect(&u);
        run_to(&u.scene, &r->closeds, 1);
        CHECK_EQ(r->reason, XEV_CONN_UNCONNECTED);
        CHECK_EQ(r->code, XEV_ECONNREFUSED);
        for (uint32_t k = 0; k < UPS; k++) {
            CHECK_EQ(ups_count(&u, k).failed, i);
        }
    }
    CHECK_EQ(u.outs, UPS);
    set_listening(&u, 1);
    CHECK_EQ(ups_made(&u), 1);
    CHECK_EQ(u.backs, 1);
    CHECK(!ups_count(&u, 1).out);
    ups_close(&u);
}

TEST(no_more_are_tried_than_the_options_say) {
    struct ups u;
    ups_open(&u, 4, (xev_upstreams_options){.tries = 2, .fails_max = 100});
    struct rec *r = ups_connect(&u);
    run_to(&u.scene, &r->closeds, 1);
    CHECK_EQ(r->reason, XEV_CONN_UNCONNECTED);
    CHECK_EQ(ups_count(&u, 0).failed, 1);
    CHECK_EQ(ups_count(&u, 1).failed, 1);
    CHECK_EQ(u.outs, 0); /* not yet */
    CHECK_EQ(ups_made(&u), 2);
    ups_close(&u);
}

TEST(who_is_left_out_is_checked_and_comes_back) {
    struct ups u;
    ups_open(&u, 6, (xev_upstreams_options){.out_ms = 1, .out_max_ms = 8, .check_ms = 3600000});
    CHECK_EQ(ups_made(&u), 1);
    CHECK_EQ(u.outs, 1);
    for (uint64_t failed = 0; failed < 7;) { /* checks fail, and it waits longer and longer */
        xev_upstream_counters count = ups_count(&u, 0);
        failed = count.failed;
        CHECK_EQ(count.out_ms, failed > 3 ? 8 : failed == 0 ? 0 : 1u << (failed - 1));
        turn(&u.scene);
    }
    set_listening(&u, 0);
    run_to(&u.scene, &u.backs, 1);
    CHECK_EQ(ups_count(&u, 0).out_ms, 0);
    CHECK_EQ(u.outs, 1);
    CHECK_EQ(ups_made(&u), 2);
    CHECK_EQ(ups_made(&u), 0);
    ups_close(&u);
}

TEST(checks_find_who_fails_before_any_client_does) {
    struct ups u;
    ups_open(&u, 3, (xev_upstreams_options){.check_ms = 5});
    run_to(&u.scene, &u.outs, 1);
    CHECK(ups_count(&u, 2).out);
    CHECK_EQ(ups_count(&u, 0).connected, 0); /* checks are no connections of anybody's */
    set_listening(&u, 2);
    run_to(&u.scene, &u.backs, 1);
    ups_close(&u);
}

TEST(without_checks_one_connection_is_the_trial) {
    struct ups u;
    ups_open(&u, 6, (xev_upstreams_options){.out_ms = 1, .fails_max = 2});
    while (u.outs == 0) {
        ups_abort(&u.rec[(ups_made(&u), u.recs - 1)]);
        rec_free(&u.rec[--u.recs]);
    }
    CHECK_EQ(ups_count(&u, 0).failed, 2);
    while (ups_count(&u, 0).out) { /* its time passes */
        turn(&u.scene);
    }
    CHECK_EQ(u.backs, 0);
    while (u.outs == 1) { /* and the next failure is enough */
        ups_abort(&u.rec[(ups_made(&u), u.recs - 1)]);
        rec_free(&u.rec[--u.recs]);
    }
    CHECK_EQ(ups_count(&u, 0).failed, 3);
    CHECK_EQ(ups_count(&u, 0).out_ms, 2);
    while (ups_count(&u, 0).out) {
        turn(&u.scene);
    }
    set_listening(&u, 0);
    CHECK_EQ(u.backs, 0); /* not before somebody has reached it */
    while (ups_count(&u, 0).connected == 0) {
        ups_abort(&u.rec[(ups_made(&u), u.recs - 1)]);
        rec_free(&u.rec[--u.recs]);
    }
    CHECK_EQ(u.backs, 1);
    CHECK_EQ(u.outs, 2);
    CHECK_EQ(ups_count(&u, 0).out_ms, 0);
    ups_close(&u);
}

TEST(a_lack_of_descriptors_is_no_upstreams_failure) {
    struct ups u;
    struct rlimit before, none;
    ups_open(&u, 7, (xev_upstreams_options){0});
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)u.listener[0];
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct rec *r = ups_connect(&u);
    run_to(&u.scene, &r->closeds, 1);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_EQ(r->reason, XEV_CONN_UNCONNECTED);
    CHECK_EQ(r->code, XEV_EMFILE);
    CHECK_EQ(u.outs, 0);
    for (uint32_t i = 0; i < UPS; i++) {
        CHECK_EQ(ups_count(&u, i).failed, 0);
    }
    ups_close(&u);
}

TEST(connections_and_checks_may_end_at_any_step) {
    for (int turns = 0; turns < 8; turns++) {
        for (int how = 0; how < 4; how++) {
            struct ups u;
            ups_open(&u, turns % 2 == 0 ? 4 : 0, (xev_upstreams_options){.check_ms = 1});
            struct rec *r = ups_connect(&u);
            for (int i = 0; i < turns; i++) {
                CHECK_EQ(xev_loop_run(&u.scene.net.loop, XEV_RUN_NO_WAIT), 0);
                usleep(how == 1 ? 1000 : 0);
            }
            if (r->conn != NULL && how == 0) {
                ups_abort(r);
            } else if (r->conn != NULL && how == 1) {
                xev_conn_finish(r->conn);
            } else if (how == 2) {
                xev_conn_service_drain(u.scene.service);
            }
            ups_close(&u); /* the loop's end ends the rest */
            CHECK_EQ(r->closeds, 1);
        }
    }
}

TEST(a_drain_leaves_alone_who_is_piped_to_what_is_being_connected) {
    struct ups u;
    struct rec client;
    int fd[2];
    char back[5];
    ups_open(&u, 4, (xev_upstreams_options){.check_ms = 1});
    local_pair(fd);
    rec_adopt(rec_init(&client, &u.scene), fd[0]);
    plain_send(fd[1], "hello", 5);
    struct rec *up = ups_connect(&u);
    CHECK_EQ(xev_conn_pipe(client.conn, up->conn), 0);
    xev_conn_service_drain(u.scene.service);
    run_to(&u.scene, &up->opened, 1);
    int peer = accept4(u.listener[2], NULL, NULL, SOCK_CLOEXEC);
    CHECK_EQ(shutdown(fd[1], SHUT_WR), 0);
    recv_running(&u.scene, peer, back, 5);
    CHECK_MEM_EQ(back, "hello", 5);
    CHECK_EQ(end_running(&u.scene, peer), 0);
    plain_send(peer, "world", 5);
    CHECK_EQ(close(peer), 0);
    recv_running(&u.scene, fd[1], back, 5);
    CHECK_EQ(end_running(&u.scene, fd[1]), 0);
    run_to(&u.scene, &client.closeds, 1);
    run_to(&u.scene, &up->closeds, 1);
    CHECK_EQ(client.reason, XEV_CONN_ENDED);
    CHECK_EQ(close(fd[1]), 0);
    ups_close(&u);
    rec_free(&client);
}

TEST(unix_upstreams_stand_beside_others) {
    struct scene s;
    struct rec r;
    xev_addr addrs[3];
    xev_upstreams *group;
    char text[64];
    int listener = plain_listener(4);
    scene_open(&s);
    rec_init(&r, &s);
    snprintf(text, sizeof text, "unix:@conn_upstream_test_%d", getpid());
    CHECK_EQ(xev_addr_from_text(&addrs[0], "unix:/nowhere/to/be/found"), 0);
    CHECK_EQ(xev_addr_from_text(&addrs[1], text), 0);
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(listener), &addrs[2]), 0);
    CHECK_EQ(xev_upstreams_new(&group, s.service, addrs, 3, &(xev_upstreams_options){0}), 0);
    CHECK_EQ(xev_upstreams_connect(group, NULL, &r.conn), 0);
    *(struct rec **)xev_conn_user(r.conn) = &r;
    r.handle = xev_conn_handle_of(r.conn);
    run_to(&s, &r.opened, 1);
    CHECK_EQ(xev_upstream_number(r.conn), 2);
    ups_abort(&r);
    scene_close(&s);
    CHECK_EQ(close(listener), 0);
    xev_upstreams_free(group);
    rec_free(&r);
}

static bool in_call;
static int told_outs;

static void on_changed_outside_calls(xev_upstreams *group, uint32_t number, int code,
                                     void *userdata) {
    (void)group;
    (void)userdata;
    CHECK(!in_call);
    CHECK_EQ(number, 0);
    CHECK_EQ(code, XEV_EACCES);
    told_outs++;
}

/* Though that is known inside the call. */
TEST(a_socket_that_cannot_be_made_is_told_from_the_loop) {
    struct scene s;
    struct rec r;
    xev_addr addr;
    xev_upstreams *group;
    const xev_upstreams_options o = {.changed = on_changed_outside_calls};
    scene_open(&s);
    rec_init(&r, &s);
    CHECK_EQ(xev_addr_from_text(&addr, "unix:@nobody"), 0);
    CHECK_EQ(xev_upstreams_new(&group, s.service, &addr, 1, &o), 0);
    refuse_arg(SYS_socket, 0, AF_UNIX, EACCES);
    for (int i = 0; i < 3; i++) { /* it ends by itself, is aborted, or left to the loop's end */
        in_call = true;
        CHECK_EQ(xev_upstreams_connect(group, NULL, &r.conn), 0);
        in_call = false;
        CHECK(r.conn != NULL);
        *(struct rec **)xev_conn_user(r.conn) = &r;
        r.handle = xev_conn_handle_of(r.conn);
        r.closeds = 0;
        if (i == 1) {
            xev_conn_abort(r.conn);
        }
        if (i < 2) {
            run_to(&s, &r.closeds, 1);
            CHECK_EQ(r.reason, i == 0 ? XEV_CONN_UNCONNECTED : XEV_CONN_ABORTED);
        }
    }
    CHECK_EQ(told_outs, 1);
    scene_close(&s);
    CHECK_EQ(r.closeds, 1);
    CHECK_EQ(r.reason, XEV_CONN_LOOP_ENDED);
    xev_upstreams_free(group);
    rec_free(&r);
}
