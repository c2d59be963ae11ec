/* Outgoing connections: addresses in turn, tries, deadlines, ends in the middle. */
#include "tests/conn_scene.h"

struct out {
    struct scene scene;
    struct rec rec;
};

static xev_addr addr_of(int listener) {
    xev_addr a;
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(listener), &a), 0);
    return a;
}

/* Nobody listens there. */
static xev_addr dead_addr(void) {
    int fd = plain_listener(1);
    xev_addr a = addr_of(fd);
    CHECK_EQ(close(fd), 0);
    return a;
}

static void out_connect(struct out *o, const xev_addr *addrs, size_t count,
                        const xev_conn_connect_options *options) {
    CHECK_EQ(xev_conn_connect(o->scene.service, addrs, count, options, &o->rec.conn), 0);
    *(struct rec **)xev_conn_user(o->rec.conn) = &o->rec;
    o->rec.handle = xev_conn_handle_of(o->rec.conn);
}

static void out_open(struct out *o) {
    scene_open(&o->scene);
    rec_init(&o->rec, &o->scene);
}

static void out_close(struct out *o) {
    scene_close(&o->scene);
    rec_free(&o->rec);
}

static int accept_fd(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK_GE(fd, 0);
    return fd;
}

TEST(a_connection_is_made_to_the_first_address_that_answers) {
    struct out o;
    int listener = plain_listener(4);
    char back[5];
    const xev_addr addrs[] = {dead_addr(), addr_of(listener)};
    out_open(&o);
    out_connect(&o, addrs, 2, NULL);
    CHECK_EQ(xev_conn_fd(o.rec.conn), XEV_INVALID_FD);
    CHECK_EQ(xev_conn_write(o.rec.conn, "hello", 5), 0); /* waits for it */
    run_to(&o.scene, &o.rec.opened, 1);
    int peer = accept_fd(listener);
    recv_running(&o.scene, peer, back, 5);
    CHECK_MEM_EQ(back, "hello", 5);
    plain_send(peer, "world", 5);
    run_to_got(&o.rec, 5);
    end_by_peer(&o.rec, peer, XEV_CONN_ENDED);
    out_close(&o);
    CHECK_EQ(close(listener), 0);
}

TEST(where_nobody_answers_the_last_code_is_told) {
    struct out o;
    const xev_addr addrs[] = {dead_addr(), dead_addr()};
    out_open(&o);
    out_connect(&o, addrs, 2, &(xev_conn_connect_options){.tries = 3, .delay_ms = 1});
    CHECK_EQ(xev_conn_write(o.rec.conn, "lost", 4), 0);
    run_to(&o.scene, &o.rec.closeds, 1);
    CHECK_EQ(o.rec.opened, 0);
    CHECK_EQ(o.rec.reason, XEV_CONN_UNCONNECTED);
    CHECK_EQ(o.rec.code, XEV_ECONNREFUSED);
    out_close(&o);
}

TEST(a_later_try_may_succeed) {
    struct out o;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0); /* and does not listen */
    xev_addr addr = addr_of(fd);
    out_open(&o);
    out_connect(&o, &addr, 1,
                &(xev_conn_connect_options){.tries = UINT32_MAX, .delay_ms = 1, .delay_max_ms = 5});
    (void)run_for(&o.scene.net, 30);
    CHECK_EQ(o.rec.opened + o.rec.closeds, 0);
    CHECK_EQ(listen(fd, 1), 0);
    run_to(&o.scene, &o.rec.opened, 1);
    int peer = accept_fd(fd);
    end_by_peer(&o.rec, peer, XEV_CONN_ENDED);
    out_close(&o);
    CHECK_EQ(close(fd), 0);
}

TEST(a_connection_may_be_aborted_at_any_step_of_its_making) {
    for (int turns = 0; turns < 6; turns++) {
        for (int kind = 0; kind < 3; kind++) {
            struct out o;
            int listener = plain_listener(4);
            xev_addr addr = kind == 0 ? dead_addr() : addr_of(listener);
            if (kind == 2) {
                CHECK_EQ(xev_addr_unix(&addr, "/nowhere/to/be/found", 20), 0);
            }
            out_open(&o);
            out_connect(&o, &addr, 1,
                        &(xev_conn_connect_options){.tries = UINT32_MAX, .delay_ms = 1});
            for (int i = 0; i < turns; i++) {
                CHECK_EQ(xev_loop_run(&o.scene.net.loop, XEV_RUN_NO_WAIT), 0);
            }
            xev_conn_abort(o.rec.conn);
            run_to(&o.scene, &o.rec.closeds, 1);
            CHECK_EQ(o.rec.reason, XEV_CONN_ABORTED);
            out_close(&o);
            CHECK_EQ(close(listener), 0);
        }
    }
}

TEST(the_loops_end_ends_what_is_being_connected) {
    for (int turns = 0; turns < 4; turns++) {
        struct out o;
        xev_addr addr = dead_addr();
        out_open(&o);
        out_connect(&o, &addr, 1, &(xev_conn_connect_options){.tries = UINT32_MAX, .delay_ms = 1});
        for (int i = 0; i < turns; i++) {
            CHECK_EQ(xev_loop_run(&o.scene.net.loop, XEV_RUN_NO_WAIT), 0);
        }
        out_close(&o);
        CHECK_EQ(o.rec.closeds, 1);
        CHECK_EQ(o.rec.reason, XEV_CONN_LOOP_ENDED);
    }
}

TEST(finish_of_one_that_is_being_connected_sends_what_was_written) {
    struct out o;
    int listener = plain_listener(4);
    char back[5];
    xev_addr addr = addr_of(listener);
    out_open(&o);
    out_connect(&o, &addr, 1, NULL);
    CHECK_EQ(xev_conn_write(o.rec.conn, "short", 5), 0);
    xev_conn_finish(o.rec.conn);
    run_to(&o.scene, &o.rec.opened, 1);
    int peer = accept_fd(listener);
    recv_running(&o.scene, peer, back, 5);
    CHECK_EQ(end_running(&o.scene, peer), 0);
    end_by_peer(&o.rec, peer, XEV_CONN_ENDED);
    out_close(&o);
    CHECK_EQ(close(listener), 0);
}

static void toggles(struct rec *r) {
    xev_conn_set_busy(r->conn, false);
    xev_conn_set_busy(r->conn, true); /* the next question */
}

static ptrdiff_t asks_again(struct rec *r, const char *data, size_t len) {
    (void)data;
    toggles(r);
    return (ptrdiff_t)len;
}

/* Who is to be answered reads the answer first. The drain begins while it is being connected, or
 * when it is connected, or before it is made; it is its own or the service's. */
TEST(a_drain_waits_for_the_answer_to_who_is_busy) {
    enum { CONNECTING, CONNECTED, BEFORE, WHENS };
    for (int i = 0; i < 2 * WHENS - 1; i++) {
        struct out o;
        int when = i % WHENS, listener = plain_listener(4);
        bool own = i >= WHENS;
        char asked[3];
        const xev_addr addr = addr_of(listener);
        out_open(&o);
        o.rec.data = asks_again;
        if (when == BEFORE) {
            xev_conn_service_drain(o.scene.service);
        }
        out_connect(&o, &addr, 1, NULL);
        xev_conn_set_busy(o.rec.conn, true);
        CHECK_EQ(xev_conn_write(o.rec.conn, "ask", 3), 0);
        if (when == CONNECTED) {
            run_to(&o.scene, &o.rec.opened, 1);
        }
        if (own) {
            xev_conn_drain(o.rec.conn);
        } else if (when != BEFORE) {
            xev_conn_service_drain(o.scene.service);
        }
        run_to(&o.scene, &o.rec.opened, 1);
        settle_conn(&o.scene);
        int peer = accept_fd(listener);
        recv_running(&o.scene, peer, asked, 3);
        plain_send(peer, "one", 3);
        run_to_got(&o.rec, 3);
        settle_conn(&o.scene);
        CHECK_EQ(xev_conn_write(o.rec.conn, "ask", 3), 0);
        recv_running(&o.scene, peer, asked, 3);
        plain_send(peer, "two", 3);
        run_to_got(&o.rec, 6);
        xev_conn_set_busy(o.rec.conn, false);
        CHECK_EQ(end_running(&o.scene, peer), 0);
        CHECK_EQ(o.rec.closeds, 0);
        end_by_peer(&o.rec, peer, XEV_CONN_ENDED);
        out_close(&o);
        CHECK_EQ(close(listener), 0);
    }
}

/* There will be no answer: who has asked is told. */
TEST(the_peers_end_ends_who_is_busy_with_a_question) {
    static const xev_conn_handlers no_ended = {.data = on_data, .closed = on_closed};
    for (int drained = 0; drained < 2; drained++) {
        struct out o;
        int listener = plain_listener(4);
        const xev_addr addr = addr_of(listener);
        out_open(&o);
        out_connect(&o, &addr, 1, NULL);
        run_to(&o.scene, &o.rec.opened, 1);
        xev_conn_set_handlers(o.rec.conn, &no_ended);
        xev_conn_set_busy(o.rec.conn, true);
        if (drained) {
            xev_conn_service_drain(o.scene.service);
        }
        end_by_peer(&o.rec, accept_fd(listener), XEV_CONN_ENDED);
        out_close(&o);
        CHECK_EQ(close(listener), 0);
    }
}

TEST(a_drain_ends_an_outgoing_connection_that_is_not_busy) {
    struct out o;
    int listener = plain_listener(4);
    const xev_addr addr = addr_of(listener);
    out_open(&o);
    out_connect(&o, &addr, 1, NULL);
    run_to(&o.scene, &o.rec.opened, 1);
    toggles(&o.rec);
    xev_conn_set_busy(o.rec.conn, false);
    xev_conn_service_drain(o.scene.service);
    int peer = accept_fd(listener);
    CHECK_EQ(end_running(&o.scene, peer), 0);
    end_by_peer(&o.rec, peer, XEV_CONN_ENDED);
    out_close(&o);
    CHECK_EQ(close(listener), 0);
}

TEST(a_connect_that_takes_too_long_ends) {
    struct out o;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    xev_addr addr;
    char name[64] = "";
    int len = snprintf(name + 1, sizeof name - 1, "conn_test_%d", getpid());
    CHECK_EQ(xev_addr_unix(&addr, name, (size_t)len + 1), 0);
    CHECK_EQ(xev_unix_bind(xev_unix_from_fd(listener), &addr, XEV_UNIX_KEEP), 0);
    CHECK_EQ(listen(listener, 0), 0);
    int first = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); /* fills the backlog */
    CHECK_EQ(connect(first, (struct sockaddr *)(void *)addr.storage, addr.len_bytes), 0);
    out_open(&o);
    out_connect(&o, &addr, 1, &(xev_conn_connect_options){.timeout_ms = 50});
    uint64_t begin = clock_ns();
    run_to(&o.scene, &o.rec.closeds, 1);
    CHECK_GE(clock_ns() - begin, 50 * MS);
    CHECK_EQ(o.rec.reason, XEV_CONN_UNCONNECTED);
    CHECK_EQ(o.rec.code, XEV_ETIMEDOUT);
    int peer = accept_fd(listener);
    memset(&o.rec.closeds, 0, sizeof o.rec.closeds);
    out_connect(&o, &addr, 1, NULL); /* and now there is room */
    run_to(&o.scene, &o.rec.opened, 1);
    int peer2 = accept_fd(listener);
    end_by_peer(&o.rec, peer2, XEV_CONN_ENDED);
    CHECK_EQ(close(peer), 0);
    out_close(&o);
    CHECK_EQ(close(first), 0);
    CHECK_EQ(close(listener), 0);
}

TEST(addresses_that_are_none_are_refused) {
    struct out o;
    xev_addr addrs[XEV_CONN_ADDRS_MAX + 1] = {{0}}, path;
    out_open(&o);
    CHECK_EQ(xev_conn_connect(o.scene.service, NULL, 0, NULL, NULL), XEV_EINVAL);
    CHECK_STR_EQ(xev_err_why(), "there is no address");
    CHECK_EQ(xev_conn_connect(o.scene.service, addrs, 1, NULL, NULL), XEV_EINVAL);
    CHECK_STR_EQ(xev_err_why(), "an address is none");
    for (size_t i = 0; i <= XEV_CONN_ADDRS_MAX; i++) {
        addrs[i] = dead_addr();
    }
    CHECK_EQ(xev_conn_connect(o.scene.service, addrs, XEV_CONN_ADDRS_MAX + 1, NULL, NULL),
             XEV_EINVAL);
    CHECK_STR_EQ(xev_err_why(), "there are too many addresses");
    CHECK_EQ(xev_addr_unix(&path, "/a", 2), 0);
    addrs[1] = path;
    CHECK_EQ(xev_conn_connect(o.scene.service, addrs, 2, NULL, NULL), XEV_EINVAL);
    CHECK_STR_EQ(xev_err_why(), "a Unix address beside others");
    CHECK_EQ(counters_of(&o.scene).connections, 0);
    out_close(&o);
}
