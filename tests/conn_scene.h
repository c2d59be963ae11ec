/* What the tests of connections share: a loop with a service, and connections whose handlers record
 * what they were told and do what the test says. */
#ifndef TESTS_CONN_SCENE_H
#define TESTS_CONN_SCENE_H

#include "tests/net_scene.h"
#include "xev/conn.h"

enum { GOT_MAX = 1 << 22 };

struct rec;
typedef ptrdiff_t (*data_fn)(struct rec *r, const char *data, size_t len);

/* Of one connection; outlives it. */
struct rec {
    struct scene *scene;
    xev_conn *conn; /* NULL: closed */
    xev_conn_handle handle;
    int opened, datas, writables, endeds, lates, closeds;
    xev_conn_reason reason, late_for;
    int code;
    char *got; /* what was consumed */
    size_t got_len;
    data_fn data; /* NULL: take all */
    void (*on_opened)(struct rec *r);
    void (*on_writable)(struct rec *r);
    void (*on_ended)(struct rec *r); /* NULL: finish */
    void (*on_late)(struct rec *r);
    void (*on_closed)(struct rec *r);
    struct rec *other;
    size_t number; /* the test's */
};

struct scene {
    struct net net;
    xev_conn_service *service;
    xev_completion ticker; /* so that a run never sleeps for long */
};

static inline struct rec *rec_of(xev_conn *conn) { return *(struct rec **)xev_conn_user(conn); }

static inline void rec_took(struct rec *r, const char *data, size_t len) {
    CHECK_LE(r->got_len + len, GOT_MAX);
    memcpy(r->got + r->got_len, data, len);
    r->got_len += len;
}

static inline void on_opened(xev_conn *conn) {
    struct rec *r = rec_of(conn);
    CHECK_EQ(r->opened++, 0);
    CHECK_EQ(r->datas + r->endeds + r->closeds, 0);
    if (r->on_opened != NULL) {
        r->on_opened(r);
    }
}

static inline ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len) {
    struct rec *r = rec_of(conn);
    CHECK_GT(len, 0);
    CHECK_EQ(r->opened, 1);
    CHECK_EQ(r->closeds, 0);
    r->datas++;
    ptrdiff_t n = r->data != NULL ? r->data(r, data, len) : (ptrdiff_t)len;
    if (n > 0) {
        rec_took(r, data, (size_t)n);
    }
    return n;
}

static inline void on_writable(xev_conn *conn) {
    struct rec *r = rec_of(conn);
    r->writables++;
    if (r->on_writable != NULL) {
        r->on_writable(r);
    }
}

static inline void on_ended(xev_conn *conn) {
    struct rec *r = rec_of(conn);
    CHECK_EQ(r->endeds++, 0);
    CHECK_EQ(r->closeds, 0);
    if (r->on_ended != NULL) {
        r->on_ended(r);
    } else {
        xev_conn_finish(conn);
    }
}

static inline void on_late(xev_conn *conn, xev_conn_reason which) {
    struct rec *r = rec_of(conn);
    r->lates++;
    r->late_for = which;
    if (r->on_late != NULL) {
        r->on_late(r);
    }
}

static inline void on_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    struct rec *r = rec_of(conn);
    xev_conn *found;
    CHECK_EQ(r->closeds++, 0);
    CHECK_EQ(xev_conn_find(xev_conn_service_of(conn), r->handle, &found), 0);
    CHECK(found == conn);
    CHECK_EQ(xev_conn_fd(conn), XEV_INVALID_FD);
    CHECK_EQ(xev_conn_write(conn, "late", 4), XEV_EPIPE);
    r->reason = reason;
    r->code = code;
    r->conn = NULL;
    if (r->on_closed != NULL) {
        r->on_closed(r);
    }
}

static const xev_conn_handlers recording = {.opened = on_opened,
                                            .data = on_data,
                                            .writable = on_writable,
                                            .ended = on_ended,
                                            .late = on_late,
                                            .closed = on_closed};

static inline xev_cb_action scene_ticks(xev_loop *loop, xev_completion *c, int result,
                                        void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    return result == 0 ? XEV_REARM : XEV_DISARM;
}

static inline void scene_open_options(struct scene *s, const xev_loop_options *loop_options,
                                      xev_conn_options options) {
    memset(s, 0, sizeof *s);
    net_open(&s->net, loop_options);
    options.handlers = &recording;
    options.user_bytes = sizeof(struct rec *);
    CHECK_EQ(xev_conn_service_new(&s->service, &s->net.loop, &options), 0);
    xev_timer_run(NULL, &s->net.loop, &s->ticker, 5, NULL, scene_ticks);
}

static inline void scene_open(struct scene *s) {
    scene_open_options(s, NULL, (xev_conn_options){0});
}

static inline void scene_close(struct scene *s) {
    check_walk(&s->net.loop);
    xev_loop_deinit(&s->net.loop);
    xev_conn_service_free(s->service);
    CHECK_EQ(open_fds(), s->net.fds_before);
}

static inline struct rec *rec_init(struct rec *r, struct scene *s) {
    memset(r, 0, sizeof *r);
    r->scene = s;
    r->got = malloc(GOT_MAX);
    CHECK(r->got != NULL);
    return r;
}

static inline void rec_free(struct rec *r) { free(r->got); }

/* r is the connection of fd from now on. */
static inline void rec_adopt(struct rec *r, xev_fd fd) {
    CHECK_EQ(xev_conn_adopt(r->scene->service, fd, &r->conn), 0);
    *(struct rec **)xev_conn_user(r->conn) = r;
    r->handle = xev_conn_handle_of(r->conn);
    CHECK_NE(r->handle, 0);
}

static inline void turn(struct scene *s) {
    check_walk(&s->net.loop);
    CHECK_EQ(xev_loop_run(&s->net.loop, XEV_RUN_ONCE), 0);
}

/* Turns until *counter has reached at_least; the harness's timeout ends what never comes. */
static inline void run_to(struct scene *s, const int *counter, int at_least) {
    while (*counter < at_least) {
        turn(s);
    }
    CHECK_EQ(*counter, at_least);
}

static inline void run_to_got(struct rec *r, size_t len) {
    while (r->got_len < len) {
        turn(r->scene);
    }
    CHECK_EQ(r->got_len, len);
}

/* Some turns, in which nothing more is expected. */
static inline void settle_conn(struct scene *s) {
    for (int i = 0; i < 6; i++) {
        turn(s);
    }
}

static inline xev_conn_counters counters_of(const struct scene *s) {
    xev_conn_counters c;
    xev_conn_service_count(s->service, &c);
    return c;
}

/* The peer closes; the connection then ends for this reason. */
static inline void end_by_peer(struct rec *r, int peer, xev_conn_reason reason) {
    CHECK_EQ(close(peer), 0);
    run_to(r->scene, &r->closeds, 1);
    CHECK_EQ(r->reason, reason);
    CHECK_EQ(counters_of(r->scene).connections, 0);
}

/* Read len bytes at the peer while the loop goes on. */
static inline void recv_running(struct scene *s, int fd, char *to, size_t len) {
    size_t at = 0;
    while (at < len) {
        ssize_t n = recv(fd, to + at, len - at, MSG_DONTWAIT);
        if (n > 0) {
            at += (size_t)n;
            continue;
        }
        CHECK_NE(n, 0);
        CHECK_EQ(errno, EAGAIN);
        turn(s);
    }
}

/* The peer finds the end of the stream, or an error, while the loop goes on. 0 or an errno. */
static inline int end_running(struct scene *s, int fd) {
    char byte;
    for (;;) {
        ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
        if (n == 0) {
            return 0;
        }
        CHECK_LT(n, 0);
        if (errno != EAGAIN) {
            return errno;
        }
        turn(s);
    }
}

/* Bytes that are a function of their place, so that lost and repeated ones show. */
static inline void pattern(char *to, size_t len, size_t from) {
    for (size_t i = 0; i < len; i++) {
        to[i] = (char)((from + i) * 31 + (from + i) / 251);
    }
}

static inline void check_pattern(const char *data, size_t len, size_t from) {
    for (size_t i = 0; i < len; i++) {
        if (data[i] != (char)((from + i) * 31 + (from + i) / 251)) {
            CHECK_FAIL("byte %zu is wrong", from + i);
        }
    }
}

#endif
