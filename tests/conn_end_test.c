/* The end of connections, handles, detach, the service. */
#include "tests/conn_scene.h"

static ptrdiff_t echo(struct rec *r, const char *data, size_t len) {
    CHECK_EQ(xev_conn_write(r->conn, data, len), 0);
    return (ptrdiff_t)len;
}

struct pair {
    struct scene scene;
    struct rec rec;
    int peer;
};

static void pair_open(struct pair *p, xev_conn_options options, bool tcp) {
    int fd[2];
    scene_open_options(&p->scene, NULL, options);
    if (tcp) {
        tcp_pair(fd);
    } else {
        local_pair(fd);
    }
    rec_adopt(rec_init(&p->rec, &p->scene), fd[0]);
    p->peer = fd[1];
}

static void pair_close(struct pair *p) {
    scene_close(&p->scene);
    rec_free(&p->rec);
}

/* ---- the end ---- */

static ptrdiff_t quits(struct rec *r, const char *data, size_t len) {
    static char big[200000];
    (void)data;
    pattern(big, sizeof big, 0);
    CHECK_EQ(xev_conn_write(r->conn, big, sizeof big), 0);
    xev_conn_finish(r->conn);
    CHECK_EQ(xev_conn_write(r->conn, "more", 4), XEV_EPIPE);
    return (ptrdiff_t)len;
}

TEST(finish_sends_what_is_queued_then_waits_for_the_peers_end) {
    struct pair p;
    static char back[200000];
    pair_open(&p, (xev_conn_options){0}, true);
    p.rec.data = quits;
    plain_send(p.peer, "quit", 4);
    recv_running(&p.scene, p.peer, back, sizeof back);
    check_pattern(back, sizeof back, 0);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    plain_send(p.peer, "not heard", 9);
    settle_conn(&p.scene);
    CHECK_EQ(p.rec.closeds, 0);
    CHECK_EQ(p.rec.datas, 1);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    CHECK_EQ(p.rec.endeds, 0);
    pair_close(&p);
}

/* Takes one byte of what it is shown each time it is called for the second time: first it pauses,
 * and goes on at once. */
static ptrdiff_t yields(struct rec *r, const char *data, size_t len) {
    (void)data;
    (void)len;
    if (r->number++ % 2 == 0) {
        xev_conn_pause(r->conn);
        xev_conn_resume(r->conn);
        return 0;
    }
    return 1;
}

TEST(input_that_is_to_be_shown_again_comes_before_the_peers_end) {
    struct pair p;
    pair_open(&p, (xev_conn_options){0}, true);
    p.rec.data = yields;
    plain_send(p.peer, "question", 8);
    CHECK_EQ(shutdown(p.peer, SHUT_WR), 0);
    run_to(&p.scene, &p.rec.endeds, 1);
    CHECK_EQ(p.rec.got_len, 8);
    CHECK_MEM_EQ(p.rec.got, "question", 8);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

TEST(input_that_is_to_be_shown_again_is_part_of_a_drain) {
    struct pair p;
    pair_open(&p, (xev_conn_options){0}, true);
    p.rec.data = yields;
    settle_conn(&p.scene);
    plain_send(p.peer, "question", 8);
    wait_arrived(p.peer);
    xev_conn_drain(p.rec.conn);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    CHECK_EQ(p.rec.got_len, 8);
    CHECK_MEM_EQ(p.rec.got, "question", 8);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

static void goes_on(struct rec *r) { r->number++; }

TEST(a_half_closed_connection_still_writes) {
    struct pair p;
    char back[3];
    pair_open(&p, (xev_conn_options){0}, true);
    p.rec.on_ended = goes_on;
    CHECK_EQ(shutdown(p.peer, SHUT_WR), 0);
    run_to(&p.scene, &p.rec.endeds, 1);
    settle_conn(&p.scene);
    CHECK_EQ(p.rec.closeds, 0);
    CHECK_EQ(xev_conn_write(p.rec.conn, "yes", 3), 0);
    plain_recv(p.peer, back, 3);
    xev_conn_end_output(p.rec.conn);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_ENDED);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

TEST(a_connection_that_ended_its_output_still_reads) {
    struct pair p;
    pair_open(&p, (xev_conn_options){0}, true);
    run_to(&p.scene, &p.rec.opened, 1);
    xev_conn_end_output(p.rec.conn);
    CHECK_EQ(xev_conn_write(p.rec.conn, "no", 2), XEV_EPIPE);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    plain_send(p.peer, "still", 5);
    run_to_got(&p.rec, 5);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    CHECK_EQ(p.rec.endeds, 1);
    pair_close(&p);
}

TEST(abort_resets_the_peer) {
    struct pair p;
    pair_open(&p, (xev_conn_options){0}, true);
    run_to(&p.scene, &p.rec.opened, 1);
    xev_conn_abort(p.rec.conn);
    xev_conn_abort(p.rec.conn);
    xev_conn_finish(p.rec.conn);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_ABORTED);
    CHECK_EQ(end_running(&p.scene, p.peer), ECONNRESET);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

/* Behind the peer's end nothing is read, so only the output can find the reset. */
TEST(a_reset_ends_what_waits_for_room_in_the_system) {
    struct pair p;
    static char big[4 << 20];
    for (uint32_t unsent = 1; unsent <= 1 << 20; unsent *= 32) {
        pair_open(&p, (xev_conn_options){.unsent_bytes = unsent}, true);
        run_to(&p.scene, &p.rec.opened, 1);
        CHECK_EQ(xev_conn_write(p.rec.conn, big, sizeof big), 0);
        CHECK_EQ(shutdown(p.peer, SHUT_WR), 0);
        run_to(&p.scene, &p.rec.endeds, 1);
        settle_conn(&p.scene);
        CHECK_GT(xev_conn_queued_bytes(p.rec.conn), 0);
        reset_close(p.peer);
        run_to(&p.scene, &p.rec.closeds, 1);
        CHECK_EQ(p.rec.reason, XEV_CONN_FAILED);
        pair_close(&p);
    }
}

TEST(a_reset_by_the_peer_is_told_with_its_code) {
    struct pair p;
    pair_open(&p, (xev_conn_options){0}, true);
    run_to(&p.scene, &p.rec.opened, 1);
    reset_close(p.peer);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_FAILED);
    CHECK_EQ(p.rec.code, XEV_ECONNRESET);
    CHECK_EQ(p.rec.endeds, 0);
    pair_close(&p);
}

TEST(what_is_no_connection_fails) {
    struct scene s;
    struct rec r;
    int fds[2];
    scene_open(&s);
    rec_adopt(rec_init(&r, &s), plain_listener(1));
    run_to(&s, &r.closeds, 1);
    CHECK_EQ(r.reason, XEV_CONN_FAILED);
    CHECK_EQ(r.code, XEV_ENOTCONN);
    rec_free(&r);
    CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
    rec_adopt(rec_init(&r, &s), fds[0]);
    run_to(&s, &r.closeds, 1);
    CHECK_EQ(r.code, XEV_ENOTSOCK);
    CHECK_EQ(close(fds[1]), 0);
    CHECK_EQ(xev_conn_adopt(s.service, XEV_INVALID_FD, &r.conn), XEV_EBADF);
    CHECK(r.conn == NULL);
    scene_close(&s);
    rec_free(&r);
}

TEST(the_loops_end_closes_what_is_left) {
    struct pair p;
    struct rec paused, unopened;
    int a[2], b[2];
    pair_open(&p, (xev_conn_options){0}, true);
    tcp_pair(a);
    rec_adopt(rec_init(&paused, &p.scene), a[0]);
    run_to(&p.scene, &paused.opened, 1);
    xev_conn_pause(paused.conn);
    plain_send(a[1], "x", 1);
    settle_conn(&p.scene);
    tcp_pair(b);
    rec_adopt(rec_init(&unopened, &p.scene), b[0]);
    CHECK_EQ(close(p.peer), 0);
    CHECK_EQ(close(a[1]), 0);
    CHECK_EQ(close(b[1]), 0);
    p.rec.on_ended = goes_on;
    pair_close(&p);
    CHECK_EQ(p.rec.closeds, 1);
    CHECK_EQ(paused.closeds, 1);
    CHECK_EQ(paused.reason, XEV_CONN_LOOP_ENDED);
    CHECK_EQ(unopened.closeds, 1);
    CHECK_EQ(unopened.opened, 0);
    rec_free(&paused);
    rec_free(&unopened);
}

/* How the stream ends for a peer that reads all of it: 0, or an errno. */
static int end_of_stream(int fd) {
    char got[65536];
    ssize_t n;
    do {
        n = recv(fd, got, sizeof got, 0);
    } while (n > 0);
    return n == 0 ? 0 : errno;
}

static ptrdiff_t writes_much(struct rec *r, const char *data, size_t len) {
    static char big[8 << 20];
    (void)data;
    CHECK_EQ(xev_conn_write(r->conn, big, sizeof big), 0);
    if (r->number == 1) {
        xev_conn_finish(r->conn);
    }
    return (ptrdiff_t)len;
}

static ptrdiff_t reserves(struct rec *r, const char *data, size_t len) {
    (void)data;
    CHECK(xev_conn_reserve(r->conn) != NULL);
    return (ptrdiff_t)len;
}

static ptrdiff_t becomes_busy(struct rec *r, const char *data, size_t len) {
    (void)data;
    xev_conn_set_busy(r->conn, true);
    return (ptrdiff_t)len;
}

static ptrdiff_t joins(struct rec *r, const char *data, size_t len) {
    (void)data;
    CHECK_EQ(xev_conn_pipe(r->conn, r->other->conn), 0);
    return (ptrdiff_t)len;
}

TEST(the_loops_end_resets_both_ends_of_a_pipe) {
    struct pair p;
    struct rec other;
    int fd[2];
    pair_open(&p, (xev_conn_options){0}, true);
    tcp_pair(fd);
    rec_adopt(rec_init(&other, &p.scene), fd[0]);
    run_to(&p.scene, &other.opened, 1);
    p.rec.other = &other;
    p.rec.data = joins;
    plain_send(p.peer, "go", 2);
    run_to_got(&p.rec, 2);
    settle_conn(&p.scene);
    xev_loop_deinit(&p.scene.net.loop);
    xev_conn_service_free(p.scene.service);
    CHECK_EQ(end_of_stream(p.peer), ECONNRESET);
    CHECK_EQ(end_of_stream(fd[1]), ECONNRESET);
    CHECK_EQ(close(p.peer), 0);
    CHECK_EQ(close(fd[1]), 0);
    rec_free(&p.rec);
    rec_free(&other);
}

TEST(the_loops_end_is_no_end_of_an_incomplete_stream) {
    static const data_fn lack[] = {writes_much, writes_much, reserves, becomes_busy};
    for (size_t i = 0; i <= sizeof lack / sizeof lack[0]; i++) {
        for (int paused = 0; paused < 2; paused++) { /* then neither reads nor writes go on */
            struct pair p;
            bool lacks = i < sizeof lack / sizeof lack[0];
            pair_open(&p, (xev_conn_options){0}, true);
            p.rec.data = lacks ? lack[i] : NULL;
            p.rec.number = i;
            plain_send(p.peer, "go", 2);
            run_to_got(&p.rec, 2);
            settle_conn(&p.scene);
            if (paused) {
                xev_conn_pause(p.rec.conn);
                plain_send(p.peer, "kept", 4);
                settle_conn(&p.scene);
            }
            xev_loop_deinit(&p.scene.net.loop);
            xev_conn_service_free(p.scene.service);
            CHECK_EQ(p.rec.reason, XEV_CONN_LOOP_ENDED);
            CHECK_EQ(end_of_stream(p.peer), lacks ? ECONNRESET : 0);
            CHECK_EQ(close(p.peer), 0);
            CHECK_EQ(open_fds(), p.scene.net.fds_before);
            rec_free(&p.rec);
        }
    }
}

static void aborts_other(struct rec *r) {
    if (r->other != NULL && r->other->conn != NULL) {
        xev_conn_abort(r->other->conn);
    }
}

static ptrdiff_t aborts_both(struct rec *r, const char *data, size_t len) {
    (void)data;
    aborts_other(r);
    xev_conn_abort(r->conn);
    CHECK_EQ(xev_conn_write(r->conn, "x", 1), XEV_EPIPE);
    return len > 1 ? 1 : 0;
}

TEST(handlers_may_end_their_own_connection_and_others) {
    struct scene s;
    struct rec r[2];
    int fd[2][2];
    scene_open(&s);
    for (int i = 0; i < 2; i++) {
        local_pair(fd[i]);
        rec_adopt(rec_init(&r[i], &s), fd[i][0]);
        r[i].other = &r[1 - i];
        r[i].data = aborts_both;
        r[i].on_closed = aborts_other;
    }
    run_to(&s, &r[1].opened, 1);
    plain_send(fd[0][1], "xx", 2);
    plain_send(fd[1][1], "xx", 2);
    run_to(&s, &r[0].closeds, 1);
    run_to(&s, &r[1].closeds, 1);
    CHECK_EQ(r[0].datas + r[1].datas, 1);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(close(fd[i][1]), 0);
        rec_free(&r[i]);
    }
    scene_close(&s);
}

/* ---- detach ---- */

struct detached {
    int calls;
    xev_fd fd;
    char data[64];
    size_t len;
};

static void on_detached(xev_fd fd, const void *data, size_t len, void *userdata) {
    struct detached *d = userdata;
    d->calls++;
    d->fd = fd;
    d->len = len;
    if (len > 0) {
        CHECK_LE(len, sizeof d->data);
        memcpy(d->data, data, len);
    }
}

static struct detached away;

static ptrdiff_t detaches(struct rec *r, const char *data, size_t len) {
    const char *end = memchr(data, '\n', len);
    if (end == NULL) {
        return 0;
    }
    CHECK_EQ(xev_conn_detach(r->conn, &away, on_detached), 0);
    CHECK_EQ(xev_conn_detach(r->conn, &away, on_detached), XEV_EPIPE);
    return end + 1 - data;
}

TEST(detach_gives_descriptor_and_unread_bytes_away) {
    struct pair p;
    struct rec again;
    char back[4];
    away = (struct detached){0};
    pair_open(&p, (xev_conn_options){0}, true);
    p.rec.data = detaches;
    plain_send(p.peer, "switch\nrest", 11);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_DETACHED);
    CHECK_EQ(away.calls, 1);
    CHECK(is_open(away.fd));
    CHECK_EQ(away.len, 4);
    CHECK_MEM_EQ(away.data, "rest", 4);
    rec_adopt(rec_init(&again, &p.scene), away.fd); /* it works as before, in the same loop too */
    again.data = echo;
    plain_send(p.peer, "ping", 4);
    recv_running(&p.scene, p.peer, back, 4);
    end_by_peer(&again, p.peer, XEV_CONN_ENDED);
    rec_free(&again);
    pair_close(&p);
}

static ptrdiff_t answers_and_detaches(struct rec *r, const char *data, size_t len) {
    CHECK_MEM_EQ(data, "upgrade", len);
    CHECK_EQ(xev_conn_write(r->conn, "switched", 8), 0);
    CHECK_EQ(xev_conn_detach(r->conn, &away, on_detached), 0);
    return (ptrdiff_t)len;
}

/* As a server does that leaves HTTP for another protocol. */
TEST(detach_sends_first_what_its_handler_has_written) {
    struct pair p;
    char back[8];
    away = (struct detached){0};
    pair_open(&p, (xev_conn_options){0}, true);
    p.rec.data = answers_and_detaches;
    plain_send(p.peer, "upgrade", 7);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_DETACHED);
    CHECK_EQ(away.calls, 1);
    CHECK_EQ(away.len, 0);
    recv_running(&p.scene, p.peer, back, 8);
    CHECK_MEM_EQ(back, "switched", 8);
    CHECK_EQ(close(away.fd), 0);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

TEST(detach_is_refused_while_output_waits) {
    struct pair p;
    away = (struct detached){0};
    pair_open(&p, (xev_conn_options){0}, false);
    run_to(&p.scene, &p.rec.opened, 1);
    fill(xev_conn_fd(p.rec.conn));
    CHECK_EQ(xev_conn_write(p.rec.conn, "x", 1), 0);
    CHECK_EQ(xev_conn_detach(p.rec.conn, &away, on_detached), XEV_EBUSY);
    xev_conn_finish(p.rec.conn);
    CHECK_EQ(xev_conn_detach(p.rec.conn, &away, on_detached), XEV_EPIPE);
    xev_conn_abort(p.rec.conn);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_ABORTED);
    CHECK_EQ(away.calls, 0);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

/* ---- handles, service ---- */

TEST(a_handle_is_stale_when_its_connection_is_gone) {
    struct scene s;
    struct rec r[2];
    int fd[2];
    xev_conn *found;
    scene_open_options(&s, NULL, (xev_conn_options){.id = 1023});
    local_pair(fd);
    rec_adopt(rec_init(&r[0], &s), fd[0]);
    CHECK_EQ(xev_conn_handle_id(r[0].handle), 1023);
    CHECK_EQ(xev_conn_find(s.service, r[0].handle, &found), 0);
    CHECK(found == r[0].conn);
    end_by_peer(&r[0], fd[1], XEV_CONN_ENDED);
    CHECK_EQ(xev_conn_find(s.service, r[0].handle, &found), XEV_ESTALE);
    CHECK(found == NULL);
    local_pair(fd);
    xev_conn *before = found;
    rec_adopt(rec_init(&r[1], &s), fd[0]); /* in the same place */
    CHECK(before == NULL);
    CHECK_NE(r[1].handle, r[0].handle);
    CHECK_EQ(xev_conn_find(s.service, r[0].handle, &found), XEV_ESTALE);
    CHECK_EQ(xev_conn_find(s.service, r[1].handle ^ UINT64_C(1) << 60, &found), XEV_ESTALE);
    CHECK_EQ(xev_conn_find(s.service, 0, &found), XEV_ESTALE);
    CHECK_EQ(xev_conn_find(s.service, UINT64_MAX, &found), XEV_ESTALE);
    end_by_peer(&r[1], fd[1], XEV_CONN_ENDED);
    scene_close(&s);
    rec_free(&r[0]);
    rec_free(&r[1]);
}

TEST(more_connections_than_the_limit_are_refused) {
    struct scene s;
    struct rec r[3];
    int fd[3][2];
    scene_open_options(&s, NULL, (xev_conn_options){.connections_max = 2});
    for (int i = 0; i < 3; i++) {
        local_pair(fd[i]);
    }
    rec_adopt(rec_init(&r[0], &s), fd[0][0]);
    rec_adopt(rec_init(&r[1], &s), fd[1][0]);
    CHECK_EQ(xev_conn_adopt(s.service, fd[2][0], NULL), XEV_ENOBUFS);
    CHECK_EQ(counters_of(&s).refused, 1);
    CHECK(is_open(fd[2][0]));
    xev_conn_abort(r[0].conn);
    run_to(&s, &r[0].closeds, 1);
    rec_adopt(rec_init(&r[2], &s), fd[2][0]);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(close(fd[i][1]), 0);
    }
    run_to(&s, &r[2].closeds, 1);
    run_to(&s, &r[1].closeds, 1);
    scene_close(&s);
    for (int i = 0; i < 3; i++) {
        rec_free(&r[i]);
    }
}

static void count_one(xev_conn *conn, void *userdata) {
    (void)conn;
    ++*(int *)userdata;
}

TEST(a_service_knows_its_loop_and_its_connections) {
    struct scene s;
    struct rec r[100];
    static int fd[100][2];
    int seen = 0, mark = 0;
    scene_open_options(&s, NULL, (xev_conn_options){.userdata = &mark});
    CHECK(xev_conn_service_loop(s.service) == &s.net.loop);
    CHECK(xev_conn_service_userdata(s.service) == &mark);
    for (int i = 0; i < 100; i++) {
        local_pair(fd[i]);
        rec_adopt(rec_init(&r[i], &s), fd[i][0]);
        CHECK(xev_conn_service_of(r[i].conn) == s.service);
        CHECK_EQ(xev_conn_fd(r[i].conn), fd[i][0]);
    }
    xev_conn_service_each(s.service, &seen, count_one);
    CHECK_EQ(seen, 100);
    CHECK_EQ(counters_of(&s).connections, 100);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(close(fd[i][1]), 0);
    }
    for (int i = 0; i < 100; i++) {
        run_to(&s, &r[i].closeds, 1);
        rec_free(&r[i]);
    }
    CHECK_EQ(counters_of(&s).opened, 100);
    CHECK_EQ(counters_of(&s).closed[XEV_CONN_ENDED], 100);
    scene_close(&s);
}

static int gone_for;

static int begun_for;

static void keep_account(xev_conn *conn, bool begins, void *userdata) {
    CHECK(userdata == &gone_for);
    if (begins) {
        begun_for |= 1 << xev_conn_number(conn);
        return;
    }
    CHECK_EQ(rec_of(conn)->closeds, 1); /* its closed handler was called before */
    gone_for |= 1 << xev_conn_number(conn);
}

static const xev_conn_handlers silent = {.data = on_data};

TEST(who_keeps_account_is_told_of_every_connection) {
    struct scene s;
    struct rec r[3];
    int fd[3][2];
    gone_for = 0;
    scene_open_options(&s, NULL,
                       (xev_conn_options){.account = keep_account, .account_userdata = &gone_for});
    for (int i = 0; i < 3; i++) {
        local_pair(fd[i]);
        rec_adopt(rec_init(&r[i], &s), fd[i][0]);
        CHECK_EQ(xev_conn_number(r[i].conn), i);
        CHECK_EQ(begun_for, (2 << i) - 1); /* inside the call */
    }
    xev_conn_set_handlers(r[1].conn, &silent); /* which have no closed handler */
    r[1].closeds = 1;
    xev_conn_abort(r[0].conn);
    xev_conn_abort(r[1].conn);
    run_to(&s, &gone_for, 3);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(close(fd[i][1]), 0);
    }
    scene_close(&s); /* the third is closed by the end of its loop */
    CHECK_EQ(gone_for, 7);
    for (int i = 0; i < 3; i++) {
        rec_free(&r[i]);
    }
}

TEST(a_drain_handles_what_was_sent_and_finishes) {
    struct pair p;
    struct rec late;
    int fd[2];
    static char sent[100000], back[100000];
    pair_open(&p, (xev_conn_options){0}, false);
    p.rec.data = echo;
    run_to(&p.scene, &p.rec.opened, 1);
    pattern(sent, sizeof sent, 0);
    plain_send(p.peer, sent, sizeof sent);
    xev_conn_service_drain(p.scene.service);
    local_pair(fd);
    rec_adopt(rec_init(&late, &p.scene), fd[0]);
    late.data = echo;
    plain_send(fd[1], "me too", 6);
    recv_running(&p.scene, p.peer, back, sizeof back);
    CHECK_MEM_EQ(back, sent, sizeof sent);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    recv_running(&p.scene, fd[1], back, 6);
    CHECK_EQ(end_running(&p.scene, fd[1]), 0);
    CHECK_EQ(close(fd[1]), 0);
    run_to(&p.scene, &late.closeds, 1);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    rec_free(&late);
    pair_close(&p);
}

/* Who has just connected, and whose first input is still on its way, gets its answer. */
TEST(a_drain_waits_for_the_first_input) {
    struct pair p;
    char back[6];
    pair_open(&p, (xev_conn_options){.first_ms = 3600000}, true);
    p.rec.data = echo;
    run_to(&p.scene, &p.rec.opened, 1);
    xev_conn_service_drain(p.scene.service);
    settle_conn(&p.scene);
    CHECK_EQ(p.rec.closeds, 0);
    plain_send(p.peer, "hello!", 6);
    recv_running(&p.scene, p.peer, back, 6);
    CHECK_MEM_EQ(back, "hello!", 6);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

/* The others of them end as before: at once, or when the time is over. */
TEST(a_drain_does_not_wait_for_the_first_input_for_ever) {
    for (int i = 0; i < 3; i++) {
        struct pair p;
        char back[6];
        pair_open(&p, (xev_conn_options){.first_ms = i == 0 ? UINT32_MAX : 1}, true);
        p.rec.data = echo;
        run_to(&p.scene, &p.rec.opened, 1);
        if (i == 2) { /* it is not the first any more */
            plain_send(p.peer, "hello!", 6);
            recv_running(&p.scene, p.peer, back, 6);
        }
        xev_conn_service_drain(p.scene.service);
        CHECK_EQ(end_running(&p.scene, p.peer), 0);
        end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
        pair_close(&p);
    }
}

TEST(a_drain_waits_for_who_is_busy) {
    for (int when = 0; when < 2; when++) { /* before the drain, or by what it still handles */
        struct pair p;
        char back[6];
        pair_open(&p, (xev_conn_options){0}, true);
        p.rec.data = becomes_busy;
        run_to(&p.scene, &p.rec.opened, 1);
        plain_send(p.peer, "do it", 5);
        wait_arrived(p.peer);
        if (when == 0) {
            run_to_got(&p.rec, 5);
        }
        xev_conn_service_drain(p.scene.service);
        run_to_got(&p.rec, 5);
        settle_conn(&p.scene);
        plain_send(p.peer, "again", 5); /* too late */
        settle_conn(&p.scene);
        CHECK_EQ(p.rec.got_len, 5);
        CHECK_EQ(xev_conn_write(p.rec.conn, "answer", 6), 0);
        recv_running(&p.scene, p.peer, back, 6);
        CHECK_EQ(p.rec.closeds, 0);
        xev_conn_set_busy(p.rec.conn, false);
        xev_conn_set_busy(p.rec.conn, false);
        CHECK_EQ(end_running(&p.scene, p.peer), 0);
        end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
        pair_close(&p);
    }
}

/* Nothing is read or sent on such a connection; what it waits for may come from another thread. */
TEST(a_drain_keeps_the_loop_going_until_no_connection_is_left) {
    for (int paused = 0; paused < 2; paused++) {
        struct pair p;
        xev_loop *loop;
        pair_open(&p, (xev_conn_options){.first_ms = UINT32_MAX}, true);
        loop = &p.scene.net.loop;
        run_to(&p.scene, &p.rec.opened, 1);
        xev_completion_unref(&p.scene.ticker);
        if (paused) {
            plain_send(p.peer, "hello!", 6);
            wait_arrived(p.peer);
            xev_conn_pause(p.rec.conn);
        } else {
            xev_conn_set_busy(p.rec.conn, true);
        }
        xev_conn_service_drain(p.scene.service);
        for (int i = 0; i < 30; i++) {
            CHECK_EQ(xev_loop_run(loop, XEV_RUN_NO_WAIT), 0);
        }
        CHECK(xev_loop_alive(loop));
        CHECK_EQ(p.rec.closeds, 0);
        xev_conn_resume(p.rec.conn);
        xev_conn_set_busy(p.rec.conn, false);
        CHECK_EQ(close(p.peer), 0);
        CHECK_EQ(xev_loop_run(loop, XEV_RUN_UNTIL_DONE), 0);
        CHECK_EQ(p.rec.closeds, 1);
        CHECK_EQ(p.rec.reason, XEV_CONN_ENDED);
        CHECK_EQ(p.rec.got_len, paused ? 6 : 0);
        pair_close(&p);
    }
}

TEST(the_peers_end_waits_for_who_is_busy) {
    static const xev_conn_handlers no_ended = {.data = on_data, .closed = on_closed};
    for (int drained = 0; drained < 2; drained++) {
        struct pair p;
        char back[6];
        pair_open(&p, (xev_conn_options){0}, true);
        p.rec.opened = 1; /* its handlers do not tell */
        xev_conn_set_handlers(p.rec.conn, &no_ended);
        p.rec.data = becomes_busy;
        plain_send(p.peer, "do it", 5);
        CHECK_EQ(shutdown(p.peer, SHUT_WR), 0);
        run_to_got(&p.rec, 5);
        settle_conn(&p.scene);
        if (drained) {
            xev_conn_service_drain(p.scene.service);
            settle_conn(&p.scene);
        }
        CHECK_EQ(p.rec.closeds, 0);
        CHECK_EQ(xev_conn_write(p.rec.conn, "answer", 6), 0);
        xev_conn_set_busy(p.rec.conn, false);
        recv_running(&p.scene, p.peer, back, 6);
        CHECK_EQ(end_running(&p.scene, p.peer), 0);
        run_to(&p.scene, &p.rec.closeds, 1);
        CHECK_EQ(p.rec.reason, XEV_CONN_ENDED);
        CHECK_EQ(close(p.peer), 0);
        pair_close(&p);
    }
}

TEST(an_idle_connection_is_drained_at_once) {
    struct pair p;
    pair_open(&p, (xev_conn_options){0}, true);
    run_to(&p.scene, &p.rec.opened, 1);
    xev_conn_drain(p.rec.conn);
    xev_conn_drain(p.rec.conn);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

static void switches(struct rec *r) {
    static const xev_conn_handlers quiet = {.data = on_data, .closed = on_closed};
    xev_conn_set_handlers(r->conn, &quiet);
}

TEST(handlers_can_be_exchanged) {
    struct pair p;
    pair_open(&p, (xev_conn_options){0}, true);
    p.rec.on_opened = switches;
    plain_send(p.peer, "x", 1);
    run_to_got(&p.rec, 1);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    CHECK_EQ(p.rec.endeds, 0);
    pair_close(&p);
}

TEST(reasons_have_names) {
    CHECK_STR_EQ(xev_conn_reason_name(XEV_CONN_ENDED), "ended");
    CHECK_STR_EQ(xev_conn_reason_name(XEV_CONN_LOOP_ENDED), "loop_ended");
    CHECK_STR_EQ(xev_conn_reason_name(XEV_CONN_REASONS), "");
}

TEST(idle_connections_hold_no_memory_of_their_own) {
    struct pair p;
    char byte;
    pair_open(&p, (xev_conn_options){0}, true);
    p.rec.data = echo;
    run_to(&p.scene, &p.rec.opened, 1);
    uint64_t before = counters_of(&p.scene).pool_bytes;
    for (int i = 0; i < 50; i++) {
        plain_send(p.peer, "x", 1);
        recv_running(&p.scene, p.peer, &byte, 1);
    }
    CHECK_EQ(counters_of(&p.scene).pool_bytes, before);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}
