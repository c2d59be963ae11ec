/* Connections: reading and writing. */
#include "tests/conn_scene.h"

static ptrdiff_t echo(struct rec *r, const char *data, size_t len) {
    CHECK_EQ(xev_conn_write(r->conn, data, len), 0);
    return (ptrdiff_t)len;
}

static ptrdiff_t lines(struct rec *r, const char *data, size_t len) {
    (void)r;
    const char *end = memchr(data, '\n', len);
    return end != NULL ? end + 1 - data : 0;
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

TEST(an_echo_returns_what_was_sent_and_ends_with_its_peer) {
    for (int tcp = 0; tcp < 2; tcp++) {
        struct pair p;
        char back[5];
        pair_open(&p, (xev_conn_options){0}, tcp != 0);
        p.rec.data = echo;
        plain_send(p.peer, "hello", 5);
        recv_running(&p.scene, p.peer, back, 5);
        CHECK_MEM_EQ(back, "hello", 5);
        CHECK_EQ(p.rec.opened, 1);
        CHECK_EQ(p.rec.datas, 1);
        xev_conn_counters c = counters_of(&p.scene);
        CHECK_EQ(c.connections, 1);
        CHECK_EQ(c.bytes_in, 5);
        CHECK_EQ(c.bytes_out, 5);
        end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
        CHECK_EQ(p.rec.endeds, 1);
        CHECK_EQ(counters_of(&p.scene).closed[XEV_CONN_ENDED], 1);
        pair_close(&p);
    }
}

TEST(no_handler_runs_inside_a_call) {
    struct pair p;
    pair_open(&p, (xev_conn_options){0}, true);
    CHECK_EQ(p.rec.opened, 0);
    CHECK_EQ(xev_conn_write(p.rec.conn, "early", 5), 0);
    xev_conn_abort(p.rec.conn);
    CHECK_EQ(p.rec.opened + p.rec.closeds, 0);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_ABORTED);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

TEST(what_is_left_is_presented_again_with_what_comes_later) {
    struct pair p;
    pair_open(&p, (xev_conn_options){0}, false);
    p.rec.data = lines;
    plain_send(p.peer, "one\ntw", 6);
    run_to_got(&p.rec, 4);
    int datas = p.rec.datas;
    settle_conn(&p.scene);
    CHECK_EQ(p.rec.datas, datas); /* not called again without more */
    plain_send(p.peer, "o\nthree\nfo", 10);
    run_to_got(&p.rec, 14);
    CHECK_MEM_EQ(p.rec.got, "one\ntwo\nthree\n", 14);
    plain_send(p.peer, "ur\n", 3);
    run_to_got(&p.rec, 19);
    CHECK_MEM_EQ(p.rec.got + 14, "four\n", 5);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

/* Messages of 4 bytes of length and so many bytes. */
static ptrdiff_t framed(struct rec *r, const char *data, size_t len) {
    uint32_t body;
    if (len < 4) {
        return 0;
    }
    memcpy(&body, data, 4);
    CHECK_EQ(xev_conn_write(r->conn, data + 4, 1), 0); /* the order of these shows */
    if (len < 4 + body) {
        if (r->number != 0) {
            xev_conn_need(r->conn, 4 + body);
        }
        return 0;
    }
    check_pattern(data + 4, body, body);
    return 4 + (ptrdiff_t)body;
}

static void send_frames(int with_need) {
    struct pair p;
    static char stream[600000];
    size_t total = 0;
    pair_open(&p, (xev_conn_options){0}, false);
    p.rec.data = framed;
    p.rec.number = (size_t)with_need;
    for (uint32_t i = 0, body; i < 40; i++) {
        body = i % 7 == 0 ? 50000 : i * 97 + 1;
        memcpy(stream + total, &body, 4);
        pattern(stream + total + 4, body, body);
        total += 4 + body;
    }
    for (size_t at = 0, step; at < total; at += step) { /* cut anywhere */
        step = at % 5 == 0 ? 1 : at % 3 == 0 ? 33 : 20011;
        step = step < total - at ? step : total - at;
        size_t done = 0;
        while (done < step) {
            ssize_t n = send(p.peer, stream + at + done, step - done, MSG_DONTWAIT | MSG_NOSIGNAL);
            done += n > 0 ? (size_t)n : 0;
            turn(&p.scene);
        }
    }
    run_to_got(&p.rec, total);
    CHECK_MEM_EQ(p.rec.got, stream, total);
    char sink[4096];
    while (recv(p.peer, sink, sizeof sink, MSG_DONTWAIT) > 0) {
    }
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

TEST(messages_that_are_cut_anywhere_arrive_whole) { send_frames(0); }
TEST(a_needed_length_is_waited_for) { send_frames(1); }

TEST(a_needed_length_calls_the_handler_once) {
    struct pair p;
    char body[3000];
    uint32_t len = sizeof body;
    pair_open(&p, (xev_conn_options){0}, false);
    p.rec.data = framed;
    p.rec.number = 1;
    pattern(body, len, len);
    plain_send(p.peer, &len, 4);
    run_to(&p.scene, &p.rec.datas, 1);
    for (size_t at = 0; at < sizeof body; at += 100) {
        plain_send(p.peer, body + at, 100);
        turn(&p.scene);
    }
    run_to_got(&p.rec, 4 + sizeof body);
    CHECK_EQ(p.rec.datas, 2);
    plain_recv(p.peer, body, 2);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

static ptrdiff_t greedy(struct rec *r, const char *data, size_t len) {
    (void)data;
    (void)len;
    r->number++;
    return 0;
}

TEST(input_that_is_never_consumed_ends_at_the_limit) {
    struct pair p;
    char bytes[512] = "";
    pair_open(&p, (xev_conn_options){.unconsumed_max_bytes = 4096}, true);
    p.rec.data = greedy;
    for (int i = 0; i < 32 && p.rec.closeds == 0; i++) {
        (void)send(p.peer, bytes, sizeof bytes, MSG_NOSIGNAL);
        turn(&p.scene);
    }
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_INPUT_FULL);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

static ptrdiff_t needs_too_much(struct rec *r, const char *data, size_t len) {
    (void)data;
    (void)len;
    xev_conn_need(r->conn, 5000);
    return 0;
}

TEST(a_need_beyond_the_limit_ends_it) {
    struct pair p;
    pair_open(&p, (xev_conn_options){.unconsumed_max_bytes = 4096}, true);
    p.rec.data = needs_too_much;
    plain_send(p.peer, "x", 1);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_INPUT_FULL);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

static ptrdiff_t objects(struct rec *r, const char *data, size_t len) {
    (void)data;
    (void)len;
    CHECK_EQ(xev_conn_write(r->conn, "bad\n", 4), 0);
    return XEV_EBADMSG;
}

TEST(an_error_of_the_handler_ends_the_connection_behind_what_it_wrote) {
    struct pair p;
    char back[4];
    pair_open(&p, (xev_conn_options){0}, true);
    p.rec.data = objects;
    plain_send(p.peer, "x", 1);
    recv_running(&p.scene, p.peer, back, 4);
    CHECK_MEM_EQ(back, "bad\n", 4);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    CHECK_EQ(close(p.peer), 0);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_PROTOCOL);
    CHECK_EQ(p.rec.code, XEV_EBADMSG);
    CHECK_EQ(p.rec.datas, 1);
    pair_close(&p);
}

/* ---- writing ---- */

TEST(a_write_is_sent_inside_the_call) {
    struct pair p;
    char back[9];
    const xev_vec vec[] = {{"two", 3}, {"", 0}, {"three", 5}};
    pair_open(&p, (xev_conn_options){0}, true);
    run_to(&p.scene, &p.rec.opened, 1);
    CHECK_EQ(xev_conn_write(p.rec.conn, "x", 1), 0);
    CHECK_EQ(xev_conn_writev(p.rec.conn, vec, 3), 0);
    CHECK_EQ(xev_conn_write(p.rec.conn, NULL, 0), 0);
    CHECK_EQ(xev_conn_writev(p.rec.conn, NULL, 0), 0);
    CHECK_EQ(xev_conn_queued_bytes(p.rec.conn), 0);
    plain_recv(p.peer, back, 9); /* no turn of the loop in between */
    CHECK_MEM_EQ(back, "xtwothree", 9);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

static ptrdiff_t answers_thrice(struct rec *r, const char *data, size_t len) {
    const xev_vec vec[] = {{"b", 1}, {"c", 1}};
    CHECK_EQ(xev_conn_write(r->conn, "a", 1), 0);
    CHECK_EQ(xev_conn_writev(r->conn, vec, 2), 0);
    CHECK_EQ(xev_conn_write(r->conn, data, 1), 0);
    struct pollfd peer = {.fd = (int)r->number, .events = POLLIN};
    CHECK_EQ(poll(&peer, 1, 0), 0); /* nothing has left so far */
    (void)len;
    return 1;
}

TEST(what_a_batch_writes_goes_out_when_the_handler_has_returned) {
    struct pair p;
    char back[12];
    pair_open(&p, (xev_conn_options){0}, false);
    p.rec.data = answers_thrice;
    p.rec.number = (size_t)p.peer;
    plain_send(p.peer, "xyz", 3);
    run_to(&p.scene, &p.rec.datas, 3);
    plain_recv(p.peer, back, 12);
    CHECK_MEM_EQ(back, "abcxabcyabcz", 12);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

TEST(a_cork_holds_until_the_turns_end) {
    struct pair p;
    char back[6];
    pair_open(&p, (xev_conn_options){0}, false);
    run_to(&p.scene, &p.rec.opened, 1);
    xev_conn_cork(p.rec.conn);
    CHECK_EQ(xev_conn_write(p.rec.conn, "abc", 3), 0);
    CHECK_EQ(xev_conn_write(p.rec.conn, "def", 3), 0);
    CHECK_EQ(xev_conn_queued_bytes(p.rec.conn), 6);
    CHECK_EQ(recv(p.peer, back, 6, MSG_DONTWAIT), -1);
    turn(&p.scene);
    plain_recv(p.peer, back, 6);
    CHECK_MEM_EQ(back, "abcdef", 6);
    CHECK_EQ(xev_conn_queued_bytes(p.rec.conn), 0);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

static void count_release(void *userdata) { ++*(int *)userdata; }

TEST(lent_memory_is_released_once_from_the_loop) {
    struct pair p;
    static char big[1 << 20], back[(1 << 20) + 6];
    int small = 0, large = 0, dropped = 0;
    pattern(big, sizeof big, 0);
    pair_open(&p, (xev_conn_options){.high_bytes = 1 << 22}, false);
    run_to(&p.scene, &p.rec.opened, 1);
    CHECK_EQ(xev_conn_write_lent(p.rec.conn, "abc", 3, &small, count_release), 0);
    CHECK_EQ(small, 0); /* sent, and told later */
    CHECK_EQ(xev_conn_write_lent(p.rec.conn, big, sizeof big, &large, count_release), 0);
    CHECK_EQ(xev_conn_write(p.rec.conn, "end", 3), 0);
    run_to(&p.scene, &small, 1);
    CHECK_EQ(large, 0);
    recv_running(&p.scene, p.peer, back, sizeof back);
    run_to(&p.scene, &large, 1);
    CHECK_MEM_EQ(back, "abc", 3);
    check_pattern(back + 3, sizeof big, 0);
    CHECK_MEM_EQ(back + 3 + sizeof big, "end", 3);
    CHECK_EQ(xev_conn_write_lent(p.rec.conn, big, sizeof big, &dropped, count_release), 0);
    xev_conn_abort(p.rec.conn);
    run_to(&p.scene, &p.rec.closeds, 1);
    run_to(&p.scene, &dropped, 1);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

static ptrdiff_t lends(struct rec *r, const char *data, size_t len) {
    (void)data;
    static int released;
    for (int i = 0; i < 40; i++) {
        CHECK_EQ(xev_conn_write(r->conn, "<", 1), 0);
        CHECK_EQ(xev_conn_write_lent(r->conn, "lent", 4, &released, count_release), 0);
        CHECK_EQ(xev_conn_write(r->conn, data, 1), 0);
    }
    r->number = (size_t)(uintptr_t)&released;
    return (ptrdiff_t)len;
}

TEST(pieces_of_all_kinds_keep_their_order_in_a_handler) {
    struct pair p;
    char back[240];
    pair_open(&p, (xev_conn_options){0}, false);
    p.rec.data = lends;
    plain_send(p.peer, ">", 1);
    recv_running(&p.scene, p.peer, back, sizeof back);
    for (int i = 0; i < 40; i++) {
        CHECK_MEM_EQ(back + 6 * i, "<lent>", 6);
    }
    run_to(&p.scene, (const int *)(uintptr_t)p.rec.number, 40);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

TEST(more_than_the_scratch_goes_out_of_one_handler) {
    struct pair p;
    static char sent[300000], back[300000];
    pair_open(&p, (xev_conn_options){.high_bytes = 1 << 22}, false);
    p.rec.data = echo;
    pattern(sent, sizeof sent, 0);
    size_t at = 0, got = 0;
    while (got < sizeof sent) {
        ssize_t n = send(p.peer, sent + at, sizeof sent - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        at += n > 0 ? (size_t)n : 0;
        turn(&p.scene);
        n = recv(p.peer, back + got, sizeof back - got, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
    }
    CHECK_MEM_EQ(back, sent, sizeof sent);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

TEST(high_and_low_water_stop_and_resume_the_reading) {
    struct pair p;
    static char bytes[4096], back[4096];
    size_t sent = 0, got = 0;
    pair_open(&p, (xev_conn_options){.high_bytes = 20000, .low_bytes = 5000}, false);
    small_buffers(p.peer);
    small_buffers(xev_conn_fd(p.rec.conn));
    p.rec.data = echo;
    for (int idle = 0; idle < 20; idle++) { /* the peer does not read */
        pattern(bytes, sizeof bytes, sent);
        ssize_t n = send(p.peer, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle;
        turn(&p.scene);
    }
    uint64_t queued = xev_conn_queued_bytes(p.rec.conn);
    CHECK_GT(queued, 20000);
    CHECK_LT(queued, 20000 + 65536);
    CHECK_EQ(p.rec.writables, 0);
    CHECK_LT(p.rec.got_len, sent + 1);
    while (got < sent) {
        recv_running(&p.scene, p.peer, back, 1);
        check_pattern(back, 1, got++);
        ssize_t n;
        while (got < sent && (n = recv(p.peer, back, sizeof back, MSG_DONTWAIT)) > 0) {
            check_pattern(back, (size_t)n, got);
            got += (size_t)n;
        }
    }
    CHECK_GE(p.rec.writables, 1);
    CHECK_EQ(p.rec.got_len, sent);
    end_by_peer(&p.rec, p.peer, XEV_CONN_ENDED);
    pair_close(&p);
}

TEST(output_beyond_the_limit_ends_the_connection_or_is_refused) {
    for (int refuses = 0; refuses < 2; refuses++) {
        struct pair p;
        static char bytes[60000];
        pair_open(&p,
                  (xev_conn_options){.queued_max_bytes = 100000,
                                     .high_bytes = 50000,
                                     .full_refuses = refuses != 0},
                  false);
        run_to(&p.scene, &p.rec.opened, 1);
        fill(xev_conn_fd(p.rec.conn));
        CHECK_EQ(xev_conn_write(p.rec.conn, bytes, sizeof bytes), 0);
        CHECK_EQ(xev_conn_queued_bytes(p.rec.conn), sizeof bytes);
        CHECK_EQ(xev_conn_write(p.rec.conn, bytes, sizeof bytes), XEV_ENOBUFS);
        settle_conn(&p.scene);
        CHECK_EQ(p.rec.closeds, !refuses);
        if (refuses) {
            CHECK_EQ(xev_conn_write(p.rec.conn, bytes, 1000), 0);
            xev_conn_abort(p.rec.conn);
            run_to(&p.scene, &p.rec.closeds, 1);
        }
        CHECK_EQ(p.rec.reason, refuses ? XEV_CONN_ABORTED : XEV_CONN_OUTPUT_FULL);
        CHECK_EQ(close(p.peer), 0);
        pair_close(&p);
    }
}

TEST(a_pause_keeps_what_arrives_and_a_resume_presents_it) {
    struct pair p;
    pair_open(&p, (xev_conn_options){0}, false);
    run_to(&p.scene, &p.rec.opened, 1);
    xev_conn_pause(p.rec.conn);
    plain_send(p.peer, "abc", 3);
    settle_conn(&p.scene);
    plain_send(p.peer, "def", 3);
    settle_conn(&p.scene);
    CHECK_EQ(p.rec.datas, 0);
    xev_conn_resume(p.rec.conn);
    run_to_got(&p.rec, 6);
    CHECK_MEM_EQ(p.rec.got, "abcdef", 6);
    xev_conn_pause(p.rec.conn);
    plain_send(p.peer, "g", 1);
    CHECK_EQ(shutdown(p.peer, SHUT_WR), 0);
    settle_conn(&p.scene);
    CHECK_EQ(p.rec.endeds, 0); /* the end comes behind the data */
    xev_conn_resume(p.rec.conn);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.got_len, 7);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

TEST(users_parts_may_have_any_length) {
    static const uint32_t bytes[] = {0, 1, 31, 32, 33, 64, 65, 100, 1000};
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        struct net net;
        xev_conn_service *service;
        xev_conn *conn[3];
        const xev_conn_options options = {.handlers = &recording, .user_bytes = bytes[i]};
        memset(&net, 0, sizeof net);
        net_open(&net, NULL);
        CHECK_EQ(xev_conn_service_new(&service, &net.loop, &options), 0);
        for (int k = 0; k < 3; k++) {
            int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
            CHECK_EQ(xev_conn_adopt(service, fd, &conn[k]), 0);
            CHECK_EQ((uintptr_t)xev_conn_user(conn[k]) % 16, 0);
            memset(xev_conn_user(conn[k]), 0xff, bytes[i]);
        }
        xev_loop_deinit(&net.loop);
        const xev_conn_handlers none = {.data = on_data};
        for (int k = 0; k < 3; k++) {
            xev_conn_set_handlers(conn[k], &none);
        }
        xev_conn_service_free(service);
    }
}

/* ---- the limit of what the system holds and cannot send ---- */

#if defined(__linux__) /* elsewhere unsent_bytes does nothing */

static void set_fd(xev_fd fd, const void *data, size_t len, void *userdata) {
    (void)data;
    CHECK_EQ(len, 0);
    *(xev_fd *)userdata = fd;
}

/* Who gets the socket need not know whose it was. */
TEST(detach_takes_the_limit_of_unsent_bytes_off) {
    struct pair p;
    xev_fd away = XEV_INVALID_FD;
    int limit = 4096;
    socklen_t len = sizeof limit;
    pair_open(&p, (xev_conn_options){.unsent_bytes = 4096}, true);
    /* as it inherits it from its listener */
    CHECK_EQ(setsockopt(xev_conn_fd(p.rec.conn), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &limit, len), 0);
    run_to(&p.scene, &p.rec.opened, 1);
    CHECK_EQ(xev_conn_detach(p.rec.conn, &away, set_fd), 0);
    run_to(&p.scene, &p.rec.closeds, 1);
    CHECK_EQ(p.rec.reason, XEV_CONN_DETACHED);
    CHECK_EQ(getsockopt(away, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &limit, &len), 0);
    CHECK_EQ(limit, 0);
    CHECK_EQ(close(away), 0);
    CHECK_EQ(close(p.peer), 0);
    pair_close(&p);
}

#endif
