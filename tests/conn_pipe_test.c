/* Connections that are piped to each other; two pipes as a connection; other transports. */
#include "tests/conn_scene.h"

#if defined(__linux__)
#include <linux/sockios.h>
#include <sys/ioctl.h>
#endif

/* client[i] <-> r[i], and r[0] is piped to r[1]. */
struct proxy {
    struct scene scene;
    struct rec r[2];
    int client[2];
};

static void proxy_open(struct proxy *p, xev_conn_options options, bool tcp) {
    scene_open_options(&p->scene, NULL, options);
    for (int i = 0; i < 2; i++) {
        int fd[2];
        if (tcp) {
            tcp_pair(fd);
        } else {
            local_pair(fd);
        }
        rec_adopt(rec_init(&p->r[i], &p->scene), fd[0]);
        p->client[i] = fd[1];
    }
}

static void proxy_close(struct proxy *p) {
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(p->r[i].closeds, 1);
        CHECK_EQ(p->r[i].datas + p->r[i].endeds + p->r[i].writables, 0);
        rec_free(&p->r[i]);
    }
    scene_close(&p->scene);
}

/* Both clients end. */
static void close_both(struct proxy *p) {
    CHECK_EQ(close(p->client[0]), 0);
    CHECK_EQ(close(p->client[1]), 0);
    run_to(&p->scene, &p->r[0].closeds, 1);
    run_to(&p->scene, &p->r[1].closeds, 1);
    proxy_close(p);
}

/* Client 0 has ended its side. The other one still says something, and ends in order. */
static void say_bye_and_end(struct proxy *p) {
    char back[3];
    plain_send(p->client[1], "bye", 3);
    recv_running(&p->scene, p->client[0], back, 3);
    CHECK_MEM_EQ(back, "bye", 3);
    CHECK_EQ(close(p->client[1]), 0);
    CHECK_EQ(end_running(&p->scene, p->client[0]), 0);
    run_to(&p->scene, &p->r[0].closeds, 1);
    run_to(&p->scene, &p->r[1].closeds, 1);
    CHECK_EQ(p->r[0].reason, XEV_CONN_ENDED);
    CHECK_EQ(p->r[1].reason, XEV_CONN_ENDED);
    CHECK_EQ(close(p->client[0]), 0);
    proxy_close(p);
}

TEST(what_one_reads_the_other_writes_both_ways) {
    struct proxy p;
    static char sent[1 << 20], back[1 << 20];
    pattern(sent, sizeof sent, 0);
    proxy_open(&p, (xev_conn_options){.high_bytes = 20000, .low_bytes = 4000}, false);
    CHECK_EQ(xev_conn_pipe(p.r[0].conn, p.r[1].conn), 0);
    for (int from = 0; from < 2; from++) {
        size_t at = 0, got = 0;
        while (got < sizeof back) {
            ssize_t n =
                send(p.client[from], sent + at, sizeof sent - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            at += n > 0 ? (size_t)n : 0;
            turn(&p.scene);
            n = recv(p.client[1 - from], back + got, 5000, MSG_DONTWAIT);
            got += n > 0 ? (size_t)n : 0;
        }
        CHECK_MEM_EQ(back, sent, sizeof sent);
    }
    CHECK_EQ(shutdown(p.client[0], SHUT_WR), 0); /* a half-close goes through */
    CHECK_EQ(end_running(&p.scene, p.client[1]), 0);
    settle_conn(&p.scene);
    CHECK_EQ(p.r[0].closeds + p.r[1].closeds, 0);
    say_bye_and_end(&p);
}

TEST(a_pipe_holds_no_more_than_its_marks) {
    struct proxy p;
    static char bytes[8192];
    proxy_open(&p, (xev_conn_options){.high_bytes = 30000, .low_bytes = 8000}, false);
    CHECK_EQ(xev_conn_pipe(p.r[0].conn, p.r[1].conn), 0);
    size_t sent = 0;
    for (int idle = 0; idle < 20; idle++) {
        pattern(bytes, sizeof bytes, sent);
        ssize_t n = send(p.client[0], bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle;
        turn(&p.scene);
    }
    CHECK_LT(xev_conn_queued_bytes(p.r[1].conn), 30000 + 65536);
    CHECK_EQ(close(p.client[0]), 0); /* all of it still arrives, and then the end */
    size_t got = 0;
    while (got < sent) {
        ssize_t n = recv(p.client[1], bytes, sizeof bytes, MSG_DONTWAIT);
        if (n > 0) {
            check_pattern(bytes, (size_t)n, got);
            got += (size_t)n;
        } else {
            turn(&p.scene);
        }
    }
    CHECK_EQ(end_running(&p.scene, p.client[1]), 0);
    CHECK_EQ(close(p.client[1]), 0);
    run_to(&p.scene, &p.r[0].closeds, 1);
    run_to(&p.scene, &p.r[1].closeds, 1);
    proxy_close(&p);
}

TEST(a_reset_goes_through_a_pipe) {
    struct proxy p;
    proxy_open(&p, (xev_conn_options){0}, true);
    CHECK_EQ(xev_conn_pipe(p.r[0].conn, p.r[1].conn), 0);
    settle_conn(&p.scene);
    reset_close(p.client[0]);
    run_to(&p.scene, &p.r[0].closeds, 1);
    run_to(&p.scene, &p.r[1].closeds, 1);
    CHECK_EQ(p.r[0].reason, XEV_CONN_FAILED);
    CHECK_EQ(p.r[1].reason, XEV_CONN_PIPE_BROKEN);
    CHECK_EQ(end_running(&p.scene, p.client[1]), ECONNRESET);
    CHECK_EQ(close(p.client[1]), 0);
    proxy_close(&p);
}

/* Of one side of a pipe. What comes for it then is not lost without a word. */
TEST(what_comes_for_an_output_that_was_ended_resets_both) {
    for (int early = 0; early < 2; early++) {
        struct proxy p;
        char back[3];
        proxy_open(&p, (xev_conn_options){0}, true);
        CHECK_EQ(xev_conn_pipe(p.r[0].conn, p.r[1].conn), 0);
        plain_send(p.client[0], "ask", 3);
        recv_running(&p.scene, p.client[1], back, 3);
        if (early) {
            plain_send(p.client[0], "more", 4);
        }
        xev_conn_end_output(p.r[1].conn);
        if (!early) {
            CHECK_EQ(end_running(&p.scene, p.client[1]), 0);
            plain_send(p.client[1], "bye", 3); /* the other direction goes on */
            recv_running(&p.scene, p.client[0], back, 3);
            CHECK_MEM_EQ(back, "bye", 3);
            plain_send(p.client[0], "more", 4);
        }
        for (int i = 0; i < 2; i++) {
            run_to(&p.scene, &p.r[i].closeds, 1);
            CHECK_EQ(p.r[i].reason, XEV_CONN_PIPE_BROKEN);
            CHECK_EQ(p.r[i].code, XEV_EPIPE);
        }
        CHECK_EQ(end_running(&p.scene, p.client[0]), ECONNRESET);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(close(p.client[i]), 0);
        }
        proxy_close(&p);
    }
}

/* Where nothing more comes it ends in order. */
TEST(a_pipe_of_which_one_output_was_ended_ends_in_order) {
    struct proxy p;
    proxy_open(&p, (xev_conn_options){0}, true);
    CHECK_EQ(xev_conn_pipe(p.r[0].conn, p.r[1].conn), 0);
    xev_conn_end_output(p.r[1].conn);
    CHECK_EQ(end_running(&p.scene, p.client[1]), 0);
    CHECK_EQ(shutdown(p.client[0], SHUT_WR), 0);
    settle_conn(&p.scene); /* else the second end may be seen first, and breaks the other */
    CHECK_EQ(close(p.client[1]), 0);
    CHECK_EQ(end_running(&p.scene, p.client[0]), 0);
    for (int i = 0; i < 2; i++) {
        run_to(&p.scene, &p.r[i].closeds, 1);
        CHECK_EQ(p.r[i].reason, XEV_CONN_ENDED);
    }
    CHECK_EQ(close(p.client[0]), 0);
    proxy_close(&p);
}

TEST(what_cannot_be_piped_is_refused) {
    struct proxy p;
    proxy_open(&p, (xev_conn_options){0}, true);
    CHECK_EQ(xev_conn_pipe(p.r[0].conn, p.r[0].conn), XEV_EINVAL);
    CHECK_EQ(xev_conn_pipe(p.r[0].conn, p.r[1].conn), 0);
    CHECK_EQ(xev_conn_pipe(p.r[1].conn, p.r[0].conn), XEV_EBUSY);
    xev_conn_finish(p.r[0].conn); /* of both */
    CHECK_EQ(xev_conn_pipe(p.r[1].conn, p.r[0].conn), XEV_EPIPE);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(end_running(&p.scene, p.client[i]), 0);
        CHECK_EQ(close(p.client[i]), 0);
        run_to(&p.scene, &p.r[i].closeds, 1);
        CHECK_EQ(p.r[i].reason, XEV_CONN_ENDED);
    }
    proxy_close(&p);
}

static ptrdiff_t joins(struct rec *r, const char *data, size_t len) {
    const char *end = memchr(data, '\n', len);
    CHECK(end != NULL);
    CHECK_EQ(xev_conn_pipe(r->conn, r->other->conn), 0);
    return end + 1 - data;
}

TEST(what_a_handler_left_goes_through_the_pipe_it_made) {
    struct proxy p;
    char back[4];
    proxy_open(&p, (xev_conn_options){0}, true);
    p.r[0].data = joins;
    p.r[0].other = &p.r[1];
    run_to(&p.scene, &p.r[1].opened, 1);
    plain_send(p.client[0], "CONNECT\nrest", 12);
    recv_running(&p.scene, p.client[1], back, 4);
    CHECK_MEM_EQ(back, "rest", 4);
    p.r[0].datas = 0;
    close_both(&p);
}

/* Each direction of a pipe waits for its own reader only: a client may send all that it has before
 * it reads anything. */
TEST(one_direction_of_a_pipe_does_not_hold_up_the_other) {
    struct proxy p;
    static char bytes[8192];
    enum { ENOUGH = 4 << 20 };
    proxy_open(&p, (xev_conn_options){.high_bytes = 30000, .low_bytes = 8000}, false);
    CHECK_EQ(xev_conn_pipe(p.r[0].conn, p.r[1].conn), 0);
    for (int idle = 0; idle < 20; idle++) { /* client 0 reads nothing of this */
        ssize_t n = send(p.client[1], bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        idle = n > 0 ? 0 : idle;
        turn(&p.scene);
    }
    for (size_t got = 0; got < ENOUGH;) {
        (void)send(p.client[0], bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        turn(&p.scene);
        ssize_t n = recv(p.client[1], bytes, sizeof bytes, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        CHECK_EQ(p.r[0].closeds + p.r[1].closeds, 0);
    }
    xev_conn_abort(p.r[0].conn);
    for (int i = 0; i < 2; i++) {
        run_to(&p.scene, &p.r[i].closeds, 1);
        CHECK_EQ(close(p.client[i]), 0);
    }
    proxy_close(&p);
}

/* What the other side has room for is less than what is read at a time. */
TEST(a_pipe_keeps_its_back_pressure_where_the_queue_is_short) {
    for (int refuses = 0; refuses < 2; refuses++) {
        struct proxy p;
        static char sent[1 << 20], back[1 << 20];
        pattern(sent, sizeof sent, 0);
        proxy_open(&p,
                   (xev_conn_options){
                       .high_bytes = 4000, .queued_max_bytes = 4000, .full_refuses = refuses != 0},
                   false);
        CHECK_EQ(xev_conn_pipe(p.r[0].conn, p.r[1].conn), 0);
        size_t at = 0, got = 0;
        for (int idle = 0; idle < 20; idle++) { /* nobody reads yet */
            ssize_t n = send(p.client[0], sent + at, sizeof sent - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            at += n > 0 ? (size_t)n : 0;
            idle = n > 0 ? 0 : idle;
            turn(&p.scene);
        }
        while (got < sizeof back) {
            ssize_t n = send(p.client[0], sent + at, sizeof sent - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            at += n > 0 ? (size_t)n : 0;
            turn(&p.scene);
            CHECK_EQ(p.r[0].closeds + p.r[1].closeds, 0);
            n = recv(p.client[1], back + got, 5000, MSG_DONTWAIT);
            got += n > 0 ? (size_t)n : 0;
        }
        CHECK_MEM_EQ(back, sent, sizeof sent);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(close(p.client[i]), 0);
        }
        run_to(&p.scene, &p.r[0].closeds, 1);
        run_to(&p.scene, &p.r[1].closeds, 1);
        proxy_close(&p);
    }
}

TEST(a_pause_holds_a_pipe_too) {
    struct proxy p;
    char back[6];
    proxy_open(&p, (xev_conn_options){0}, true);
    xev_conn_pause(p.r[0].conn);
    plain_send(p.client[0], "one", 3);
    settle_conn(&p.scene); /* it has arrived, and is kept */
    CHECK_EQ(xev_conn_pipe(p.r[0].conn, p.r[1].conn), 0);
    settle_conn(&p.scene);
    CHECK_EQ(recv(p.client[1], back, sizeof back, MSG_DONTWAIT), -1);
    xev_conn_resume(p.r[0].conn);
    recv_running(&p.scene, p.client[1], back, 3);
    xev_conn_pause(p.r[0].conn);
    plain_send(p.client[0], "two", 3);
    plain_send(p.client[1], "ok", 2);
    recv_running(&p.scene, p.client[0], back, 2); /* the other direction goes on */
    settle_conn(&p.scene);
    CHECK_EQ(recv(p.client[1], back, sizeof back, MSG_DONTWAIT), -1);
    xev_conn_resume(p.r[0].conn);
    recv_running(&p.scene, p.client[1], back, 3);
    CHECK_MEM_EQ(back, "two", 3);
    close_both(&p);
}

static void stay_open(struct rec *r) { (void)r; }

/* The client had ended its side before there was somebody to be piped to. */
TEST(an_end_that_was_told_before_goes_through_the_pipe) {
    struct proxy p;
    proxy_open(&p, (xev_conn_options){0}, true);
    p.r[0].on_ended = stay_open;
    CHECK_EQ(shutdown(p.client[0], SHUT_WR), 0);
    run_to(&p.scene, &p.r[0].endeds, 1);
    p.r[0].endeds = 0;
    CHECK_EQ(xev_conn_pipe(p.r[0].conn, p.r[1].conn), 0);
    CHECK_EQ(end_running(&p.scene, p.client[1]), 0);
    say_bye_and_end(&p);
}

/* The drain has begun, and the request that was on its way by then is one for somebody else. */
TEST(a_pipe_that_is_made_in_a_drain_goes_on_to_its_ends) {
    struct proxy p;
    char back[6];
    proxy_open(&p, (xev_conn_options){0}, true);
    run_to(&p.scene, &p.r[1].opened, 1);
    plain_send(p.client[0], "first\n", 6);
    run_to_got(&p.r[0], 6);
    p.r[0].data = joins;
    p.r[0].other = &p.r[1];
    plain_send(p.client[0], "CONNECT\nask", 11);
    wait_arrived(p.client[0]);
    xev_conn_drain(p.r[0].conn);
    recv_running(&p.scene, p.client[1], back, 3);
    CHECK_MEM_EQ(back, "ask", 3);
    settle_conn(&p.scene);
    plain_send(p.client[1], "answer", 6);
    recv_running(&p.scene, p.client[0], back, 6);
    CHECK_MEM_EQ(back, "answer", 6);
    plain_send(p.client[0], "more", 4);
    recv_running(&p.scene, p.client[1], back, 4);
    CHECK_MEM_EQ(back, "more", 4);
    p.r[0].datas = 0;
    close_both(&p);
}

/* ---- two pipes ---- */

static ptrdiff_t echo(struct rec *r, const char *data, size_t len) {
    CHECK_EQ(xev_conn_write(r->conn, data, len), 0);
    return (ptrdiff_t)len;
}

TEST(two_pipes_are_a_connection) {
    struct scene s;
    struct rec r;
    int to[2], from[2];
    static char sent[300000], back[300000];
    scene_open(&s);
    CHECK_EQ(pipe2(to, O_CLOEXEC | O_NONBLOCK), 0);
    CHECK_EQ(pipe2(from, O_CLOEXEC | O_NONBLOCK), 0);
    CHECK_EQ(xev_conn_adopt_pipes(s.service, to[0], to[0], NULL), XEV_EINVAL);
    CHECK_EQ(xev_conn_adopt_pipes(s.service, XEV_INVALID_FD, from[1], NULL), XEV_EBADF);
    CHECK_EQ(xev_conn_adopt_pipes(s.service, to[0], from[1], &rec_init(&r, &s)->conn), 0);
    *(struct rec **)xev_conn_user(r.conn) = &r;
    r.handle = xev_conn_handle_of(r.conn);
    r.data = echo;
    pattern(sent, sizeof sent, 0);
    size_t at = 0, got = 0;
    while (got < sizeof back) {
        ssize_t n = at < sizeof sent ? write(to[1], sent + at, sizeof sent - at) : 0;
        at += n > 0 ? (size_t)n : 0;
        turn(&s);
        n = read(from[0], back + got, 20000);
        got += n > 0 ? (size_t)n : 0;
    }
    CHECK_MEM_EQ(back, sent, sizeof sent);
    CHECK_EQ(xev_conn_write_file(r.conn, to[0], 0, 1, NULL, free), XEV_ENOTSUP);
    CHECK_EQ(close(to[1]), 0);
    run_to(&s, &r.closeds, 1);
    CHECK_EQ(r.reason, XEV_CONN_ENDED);
    CHECK_EQ(read(from[0], back, 1), 0);
    CHECK_EQ(close(from[0]), 0);
    scene_close(&s);
    rec_free(&r);
}

TEST(a_pipe_that_nobody_reads_ends_the_connection) {
    struct scene s;
    struct rec r;
    int to[2], from[2];
    scene_open(&s);
    CHECK_EQ(pipe2(to, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(from, O_CLOEXEC), 0);
    CHECK_EQ(xev_conn_adopt_pipes(s.service, to[0], from[1], &rec_init(&r, &s)->conn), 0);
    *(struct rec **)xev_conn_user(r.conn) = &r;
    r.handle = xev_conn_handle_of(r.conn);
    r.data = echo;
    CHECK_EQ(close(from[0]), 0);
    CHECK_EQ(write(to[1], "x", 1), 1);
    run_to(&s, &r.closeds, 1);
    CHECK_EQ(r.reason, XEV_CONN_FAILED);
    CHECK_EQ(r.code, XEV_EPIPE);
    CHECK_EQ(close(to[1]), 0);
    scene_close(&s);
    rec_free(&r);
}

/* ---- a transport: every byte is turned over, and the end has a last word ---- */

struct flipper {
    int closes;
    bool shut;
};

static int flip_recv(xev_conn *conn, void *state, void *buf, size_t len) {
    (void)state;
    ssize_t n = recv(xev_conn_fd(conn), buf, len, MSG_DONTWAIT);
    for (ssize_t i = 0; i < n; i++) {
        ((char *)buf)[i] = (char)~((char *)buf)[i];
    }
    return n > 0 ? (int)n : n == 0 ? XEV_EOF : -errno;
}

static int flip_send(xev_conn *conn, void *state, const xev_vec *vec, size_t count) {
    (void)state;
    char flipped[100];
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < vec[i].len_bytes && len < sizeof flipped; k++) {
            flipped[len++] = (char)~((const char *)vec[i].base)[k];
        }
    }
    ssize_t n = send(xev_conn_fd(conn), flipped, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n > 0 ? (int)n : -errno;
}

static int flip_shutdown(xev_conn *conn, void *state) {
    struct flipper *f = state;
    if (!f->shut) { /* as if there were no room for it at first */
        f->shut = true;
        return XEV_EAGAIN;
    }
    CHECK_EQ(send(xev_conn_fd(conn), "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL), 1);
    CHECK_EQ(shutdown(xev_conn_fd(conn), SHUT_WR), 0);
    return 0;
}

static void flip_close(xev_conn *conn, void *state) {
    (void)conn;
    ((struct flipper *)state)->closes++;
}

static const xev_conn_transport flip = {flip_recv, flip_send, flip_shutdown, flip_close};

static void never_detached(xev_fd fd, const void *data, size_t len, void *userdata) {
    (void)data;
    (void)len;
    (void)userdata;
    CHECK_FAIL("it has another state than its descriptor %d", (int)fd);
}

TEST(a_transport_stands_between_handlers_and_descriptor) {
    struct scene s;
    struct rec r;
    struct flipper f = {0};
    int fd[2];
    static char sent[50000], back[50001];
    scene_open(&s);
    local_pair(fd);
    rec_adopt(rec_init(&r, &s), fd[0]);
    r.data = echo;
    CHECK_EQ(xev_conn_set_transport(r.conn, &flip, &f), 0);
    CHECK_EQ(xev_conn_set_transport(r.conn, &flip, &f), XEV_EBUSY);
    CHECK_EQ(xev_conn_detach(r.conn, NULL, never_detached), XEV_ENOTSUP);
    pattern(sent, sizeof sent, 0);
    plain_send(fd[1], sent, sizeof sent);
    CHECK_EQ(shutdown(fd[1], SHUT_WR), 0);
    recv_running(&s, fd[1], back, sizeof back);
    CHECK_MEM_EQ(back, sent, sizeof sent); /* turned over twice */
    CHECK_EQ(back[sizeof sent], '!');
    run_to(&s, &r.closeds, 1);
    CHECK_EQ(r.reason, XEV_CONN_ENDED);
    CHECK_EQ(f.closes, 1);
    for (size_t i = 0; i < sizeof sent; i++) {
        r.got[i] = (char)~r.got[i];
    }
    CHECK_MEM_EQ(r.got, sent, sizeof sent);
    CHECK_EQ(close(fd[1]), 0);
    scene_close(&s);
    rec_free(&r);
}

/* ---- a transport that reads ahead: what it holds does not make the descriptor readable ---- */

struct read_ahead {
    char held[4096];
    size_t at, len;
};

/* A byte at a time. */
static int ahead_recv(xev_conn *conn, void *state, void *buf, size_t len) {
    struct read_ahead *h = state;
    (void)len;
    if (h->at == h->len) {
        ssize_t n = recv(xev_conn_fd(conn), h->held, sizeof h->held, MSG_DONTWAIT);
        if (n <= 0) {
            return n == 0 ? XEV_EOF : -errno;
        }
        h->at = 0;
        h->len = (size_t)n;
    }
    *(char *)buf = h->held[h->at++];
    return 1;
}

static int ahead_send(xev_conn *conn, void *state, const xev_vec *vec, size_t count) {
    (void)state;
    (void)count;
    ssize_t n = send(xev_conn_fd(conn), vec->base, vec->len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n > 0 ? (int)n : -errno;
}

static int ahead_shutdown(xev_conn *conn, void *state) {
    (void)state;
    return shutdown(xev_conn_fd(conn), SHUT_WR) == 0 ? 0 : -errno;
}

static const xev_conn_transport ahead = {ahead_recv, ahead_send, ahead_shutdown, NULL};

static ptrdiff_t echo_and_pause(struct rec *r, const char *data, size_t len) {
    CHECK_EQ(xev_conn_write(r->conn, data, len), 0);
    if (r->datas % 100 == 0) {
        xev_conn_pause(r->conn);
    }
    return (ptrdiff_t)len;
}

/* The peer sends all of it at once, and then waits. */
TEST(what_a_transport_holds_is_read_without_the_descriptor) {
    enum { PLAIN, PAUSES, DRAINS, DRAINS_PAUSED, HOWS };
    for (int how = 0; how < HOWS; how++) {
        struct scene s;
        struct rec r;
        struct read_ahead h = {.len = 0};
        int fd[2];
        char sent[1000], back[1000];
        scene_open(&s);
        local_pair(fd);
        rec_adopt(rec_init(&r, &s), fd[0]);
        r.data = how == PAUSES || how == DRAINS_PAUSED ? echo_and_pause : echo;
        CHECK_EQ(xev_conn_set_transport(r.conn, &ahead, &h), 0);
        pattern(sent, sizeof sent, 0);
        plain_send(fd[1], sent, 1);
        recv_running(&s, fd[1], back, 1); /* its first input is handled: a drain begins at once */
        plain_send(fd[1], sent + 1, sizeof sent - 1);
        if (how >= DRAINS) {
            xev_conn_service_drain(s.service);
        }
        while (r.got_len < sizeof sent) {
            turn(&s);
            CHECK_EQ(r.closeds, 0);
            xev_conn_resume(r.conn);
        }
        recv_running(&s, fd[1], back + 1, sizeof back - 1);
        CHECK_MEM_EQ(back, sent, sizeof sent);
        if (how >= DRAINS) {
            CHECK_EQ(end_running(&s, fd[1]), 0);
        }
        end_by_peer(&r, fd[1], XEV_CONN_ENDED);
        scene_close(&s);
        rec_free(&r);
    }
}

#if defined(__linux__)

/* Its peer reads nothing. */
TEST(the_system_holds_little_of_what_a_transport_sends) {
    struct scene s;
    struct rec r;
    struct read_ahead h = {.len = 0};
    int fd[2], unsent, before = -1;
    static char big[8 << 20];
    scene_open_options(&s, NULL, (xev_conn_options){.unsent_bytes = 8192});
    tcp_pair(fd);
    rec_adopt(rec_init(&r, &s), fd[0]);
    CHECK_EQ(xev_conn_set_transport(r.conn, &ahead, &h), 0);
    run_to(&s, &r.opened, 1);
    CHECK_EQ(xev_conn_write(r.conn, big, sizeof big), 0);
    for (;; before = unsent) {
        settle_conn(&s);
        CHECK_EQ(ioctl(fd[0], SIOCOUTQNSD, &unsent), 0);
        CHECK_LE(unsent, 8192 + 65536);
        if (unsent == before) {
            break;
        }
    }
    CHECK_GT(xev_conn_queued_bytes(r.conn), 0);
    end_by_peer(&r, fd[1], XEV_CONN_FAILED);
    scene_close(&s);
    rec_free(&r);
}

#endif

TEST(a_drain_handles_what_is_in_a_pipe) {
    struct scene s;
    struct rec r;
    int to[2], from[2];
    char sent[1000], back[1000];
    size_t got = 0;
    scene_open(&s);
    CHECK_EQ(pipe2(to, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(from, O_CLOEXEC | O_NONBLOCK), 0);
    CHECK_EQ(xev_conn_adopt_pipes(s.service, to[0], from[1], &rec_init(&r, &s)->conn), 0);
    *(struct rec **)xev_conn_user(r.conn) = &r;
    r.handle = xev_conn_handle_of(r.conn);
    r.data = echo;
    run_to(&s, &r.opened, 1);
    pattern(sent, sizeof sent, 0);
    CHECK_EQ(write(to[1], sent, sizeof sent), (ssize_t)sizeof sent);
    xev_conn_service_drain(s.service);
    while (got < sizeof back) {
        ssize_t n = read(from[0], back + got, sizeof back - got);
        CHECK_NE(n, 0);
        got += n > 0 ? (size_t)n : 0;
        turn(&s);
    }
    CHECK_MEM_EQ(back, sent, sizeof sent);
    CHECK_EQ(close(to[1]), 0);
    run_to(&s, &r.closeds, 1);
    CHECK_EQ(r.reason, XEV_CONN_ENDED);
    CHECK_EQ(close(from[0]), 0);
    scene_close(&s);
    rec_free(&r);
}

/* ---- a transport that begins with what its peer sends ---- */

struct shaker {
    bool shaken;
    int sends;
};

static int shaker_recv(xev_conn *conn, void *state, void *buf, size_t len) {
    struct shaker *h = state;
    ssize_t n = recv(xev_conn_fd(conn), buf, h->shaken ? len : 1, MSG_DONTWAIT);
    if (n == 1 && !h->shaken) {
        h->shaken = true;
        return XEV_EAGAIN; /* no data of its peer's */
    }
    return n > 0 ? (int)n : n == 0 ? XEV_EOF : -errno;
}

static int shaker_send(xev_conn *conn, void *state, const xev_vec *vec, size_t count) {
    struct shaker *h = state;
    h->sends++;
    return h->shaken ? ahead_send(conn, NULL, vec, count) : XEV_EINPROGRESS;
}

static int shaker_shutdown(xev_conn *conn, void *state) {
    struct shaker *h = state;
    h->sends++;
    return h->shaken ? ahead_shutdown(conn, NULL) : XEV_EINPROGRESS;
}

static const xev_conn_transport shakes = {shaker_recv, shaker_send, shaker_shutdown, NULL};

/* What is written before waits, however slow the peer is, and costs nothing meanwhile. */
TEST(output_waits_for_a_transport_that_needs_input_first) {
    enum { WRITES, PAUSED, FULL, FINISHES, ONLY_ENDS, HOWS };
    for (int how = 0; how < HOWS; how++) {
        struct scene s;
        struct rec r;
        struct shaker h = {.sends = 0};
        int fd[2];
        char back[6];
        scene_open_options(&s, NULL,
                           (xev_conn_options){.high_bytes = how == FULL ? 2 : 0,
                                              .low_bytes = how == FULL ? 1 : 0});
        local_pair(fd);
        rec_adopt(rec_init(&r, &s), fd[0]);
        CHECK_EQ(xev_conn_set_transport(r.conn, &shakes, &h), 0);
        run_to(&s, &r.opened, 1);
        if (how == PAUSED) {
            xev_conn_pause(r.conn);
        }
        if (how != ONLY_ENDS) {
            CHECK_EQ(xev_conn_write(r.conn, "hello!", 6), 0);
        }
        if (how >= FINISHES) {
            xev_conn_finish(r.conn);
        }
        for (int i = 0; i < 20; i++) {
            turn(&s);
        }
        CHECK_LE(h.sends, 5);
        CHECK_EQ(r.closeds, 0);
        plain_send(fd[1], "k", 1);
        if (how != ONLY_ENDS) {
            recv_running(&s, fd[1], back, 6);
            CHECK_MEM_EQ(back, "hello!", 6);
        }
        if (how >= FINISHES) {
            CHECK_EQ(end_running(&s, fd[1]), 0);
        } else {
            xev_conn_resume(r.conn);
            plain_send(fd[1], "data", 4);
            run_to_got(&r, 4);
        }
        CHECK_LE(h.sends, 8);
        end_by_peer(&r, fd[1], XEV_CONN_ENDED);
        scene_close(&s);
        rec_free(&r);
    }
}

TEST(a_peer_that_does_not_begin_a_transport_is_late) {
    for (int writes = 0; writes < 2; writes++) {
        struct scene s;
        struct rec r;
        struct shaker h = {.sends = 0};
        int fd[2];
        scene_open_options(&s, NULL, (xev_conn_options){.deadlines = {.write_ms = 1}});
        local_pair(fd);
        rec_adopt(rec_init(&r, &s), fd[0]);
        CHECK_EQ(xev_conn_set_transport(r.conn, &shakes, &h), 0);
        if (writes) {
            CHECK_EQ(xev_conn_write(r.conn, "hello!", 6), 0);
        }
        xev_conn_finish(r.conn);
        run_to(&s, &r.closeds, 1);
        CHECK_EQ(r.reason, XEV_CONN_WRITE_LATE);
        CHECK_EQ(close(fd[1]), 0);
        scene_close(&s);
        rec_free(&r);
    }
}

/* Its peer has gone without a word, as one does that only looks whether somebody listens. */
TEST(output_does_not_wait_for_input_behind_the_peers_end) {
    for (int writes = 0; writes < 2; writes++) {
        for (int later = 0; later < 2; later++) {
            struct scene s;
            struct rec r;
            struct shaker h = {.sends = 0};
            int fd[2];
            scene_open_options(&s, NULL, (xev_conn_options){.deadlines = {.write_ms = UINT32_MAX}});
            local_pair(fd);
            rec_adopt(rec_init(&r, &s), fd[0]);
            CHECK_EQ(xev_conn_set_transport(r.conn, &shakes, &h), 0);
            run_to(&s, &r.opened, 1);
            if (writes && !later) {
                CHECK_EQ(xev_conn_write(r.conn, "hello!", 6), 0);
                settle_conn(&s);
            }
            r.on_ended = stay_open;
            CHECK_EQ(close(fd[1]), 0);
            run_to(&s, &r.endeds, 1);
            if (writes && later) {
                (void)xev_conn_write(r.conn, "hello!", 6);
            }
            if (!writes) {
                xev_conn_finish(r.conn);
            }
            run_to(&s, &r.closeds, 1);
            CHECK_EQ(r.reason, writes ? XEV_CONN_FAILED : XEV_CONN_ENDED);
            CHECK_EQ(r.code, writes ? XEV_EPIPE : 0);
            scene_close(&s);
            rec_free(&r);
        }
    }
}
