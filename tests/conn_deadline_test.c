/* Deadlines of connections: which of them ends it, and what keeps it alive. The times are short,
 * and looked at from below only: never early. */
#include <sys/mman.h>

#include "tests/conn_scene.h"

static xev_threadpool *pool;  /* of the loop; NULL: it needs none */
static uint32_t unsent_bytes; /* of the service */

struct pair {
    struct scene scene;
    struct rec rec;
    int peer;
    uint64_t begin_ns;
};

static void pair_open(struct pair *p, xev_conn_deadlines deadlines, bool tcp) {
    int fd[2];
    p->begin_ns = clock_ns(); /* first: the time of the loop's turn may be older than now */
    const xev_loop_options loop = {.thread_pool = pool};
    scene_open_options(&p->scene, &loop,
                       (xev_conn_options){.deadlines = deadlines, .unsent_bytes = unsent_bytes});
    if (tcp) {
        tcp_pair(fd);
    } else {
        local_pair(fd);
    }
    rec_adopt(rec_init(&p->rec, &p->scene), fd[0]);
    p->peer = fd[1];
}

/* It ends for this reason, not before ms after the beginning. */
static void ends_late(struct pair *p, xev_conn_reason reason, uint64_t ms) {
    run_to(&p->scene, &p->rec.closeds, 1);
    CHECK_GE(clock_ns() - p->begin_ns, ms * MS);
    CHECK_EQ(p->rec.reason, reason);
    CHECK_EQ(counters_of(&p->scene).closed[reason], 1);
}

static void pair_close(struct pair *p) {
    CHECK_EQ(close(p->peer), 0);
    scene_close(&p->scene);
    rec_free(&p->rec);
}

static ptrdiff_t echo(struct rec *r, const char *data, size_t len) {
    CHECK_EQ(xev_conn_write(r->conn, data, len), 0);
    return (ptrdiff_t)len;
}

static ptrdiff_t lines(struct rec *r, const char *data, size_t len) {
    (void)r;
    const char *end = memchr(data, '\n', len);
    return end != NULL ? end + 1 - data : 0;
}

/* What keeps a connection alive is done again and again, for longer than ms, which are deadlines'
 * time. False: the machine has made a pause of so long, after which it may have ended rightly. */
static bool goes_on(xev_conn_deadlines deadlines, uint32_t ms, void (*begin)(struct pair *p),
                    void (*step)(struct pair *p)) {
    struct pair p;
    bool in_time = true;
    pair_open(&p, deadlines, true);
    begin(&p);
    uint64_t before[2] = {clock_ns(), clock_ns()}; /* of this step and the one before */
    for (int i = 0; i < 12 && in_time; i++) {
        before[0] = before[1];
        before[1] = clock_ns();
        step(&p);
        (void)run_for(&p.scene.net, ms / 5);
        in_time = clock_ns() - before[0] < ms * MS;
        CHECK(!in_time || p.rec.closeds + p.rec.lates == 0);
    }
    if (in_time && deadlines.idle_ms != 0) {
        p.begin_ns = before[1];
        ends_late(&p, XEV_CONN_IDLE_LATE, deadlines.idle_ms);
    }
    pair_close(&p);
    return in_time;
}

enum { FIRST_MS = 300, LAST_MS = 10000 };

TEST(an_idle_connection_ends) {
    struct pair p;
    pair_open(&p, (xev_conn_deadlines){.idle_ms = 150, .linger_ms = 50}, true);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    ends_late(&p, XEV_CONN_IDLE_LATE, 150);
    CHECK_EQ(p.rec.lates, 1);
    CHECK_EQ(p.rec.late_for, XEV_CONN_IDLE_LATE);
    pair_close(&p);
}

static void echoes(struct pair *p) { p->rec.data = echo; }

static void echo_once(struct pair *p) {
    char byte;
    plain_send(p->peer, "x", 1);
    recv_running(&p->scene, p->peer, &byte, 1);
}

TEST(what_is_read_or_sent_keeps_it_alive) {
    uint32_t ms = FIRST_MS;
    while (!goes_on((xev_conn_deadlines){.idle_ms = ms, .linger_ms = 50}, ms, echoes, echo_once)) {
        ms *= 2;
        CHECK_LE(ms, LAST_MS);
    }
}

static void says_so(struct rec *r) { CHECK_EQ(xev_conn_write(r->conn, "408", 3), 0); }

TEST(a_message_that_does_not_become_complete_ends_it) {
    struct pair p;
    char back[3];
    pair_open(&p, (xev_conn_deadlines){.read_ms = 200, .linger_ms = 50}, true);
    p.rec.data = lines;
    p.rec.on_late = says_so;
    (void)run_for(&p.scene.net, 100);
    p.begin_ns = clock_ns();
    for (int i = 0; p.rec.lates == 0; i++) { /* bytes are no progress */
        CHECK_LT(i, 1000);
        (void)send(p.peer, "x", 1, MSG_NOSIGNAL);
        (void)run_for(&p.scene.net, 20);
    }
    CHECK_EQ(p.rec.late_for, XEV_CONN_READ_LATE);
    recv_running(&p.scene, p.peer, back, 3);
    CHECK_MEM_EQ(back, "408", 3);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    ends_late(&p, XEV_CONN_READ_LATE, 200);
    pair_close(&p);
}

static void takes_lines(struct pair *p) { p->rec.data = lines; }

/* Something is always incomplete. */
static void end_a_line(struct pair *p) { plain_send(p->peer, "abc\nde", 6); }

TEST(messages_that_become_complete_keep_it_alive) {
    uint32_t ms = FIRST_MS;
    while (!goes_on((xev_conn_deadlines){.read_ms = ms}, ms, takes_lines, end_a_line)) {
        ms *= 2;
        CHECK_LE(ms, LAST_MS);
    }
}

TEST(a_pause_of_its_own_does_not_count_as_the_peers) {
    struct pair p;
    pair_open(&p, (xev_conn_deadlines){.read_ms = 70}, true);
    run_to(&p.scene, &p.rec.opened, 1);
    xev_conn_pause(p.rec.conn);
    plain_send(p.peer, "abc", 3);
    (void)run_for(&p.scene.net, 400);
    CHECK_EQ(p.rec.lates + p.rec.closeds, 0);
    xev_conn_resume(p.rec.conn);
    run_to_got(&p.rec, 3);
    pair_close(&p);
}

TEST(a_peer_that_takes_nothing_is_reset) {
    for (int tcp = 0; tcp < 3; tcp++) {
        struct pair p;
        static char bytes[1 << 22];
        unsent_bytes = tcp == 2 ? 20000 : 0;
        pair_open(&p, (xev_conn_deadlines){.write_ms = 200}, tcp != 0);
        run_to(&p.scene, &p.rec.opened, 1);
        small_buffers(p.peer);
        p.begin_ns = clock_ns();
        while (xev_conn_queued_bytes(p.rec.conn) == 0) {
            CHECK_EQ(xev_conn_write(p.rec.conn, bytes, sizeof bytes), 0);
        }
        ends_late(&p, XEV_CONN_WRITE_LATE, 200);
        CHECK_EQ(p.rec.lates, 0);
        pair_close(&p);
    }
    unsent_bytes = 0;
}

static void write_much(struct pair *p) {
    static char bytes[1 << 22];
    run_to(&p->scene, &p->rec.opened, 1);
    small_buffers(p->peer);
    while (xev_conn_queued_bytes(p->rec.conn) == 0) {
        CHECK_EQ(xev_conn_write(p->rec.conn, bytes, sizeof bytes), 0);
    }
}

/* So little that the socket is not writable again for long: the peer's system took it. */
static void read_a_little(struct pair *p) {
    static char back[4096];
    for (int k = 0; k < 8; k++) {
        (void)recv(p->peer, back, sizeof back, MSG_DONTWAIT);
    }
}

/* With the system's limits of what it holds, and with a limit of the service. */
static void wait_for_slow(bool idle, void (*begin)(struct pair *p)) {
    for (unsent_bytes = 0; unsent_bytes <= 20000; unsent_bytes += 20000) {
        uint32_t ms = FIRST_MS;
        while (!goes_on(idle ? (xev_conn_deadlines){.idle_ms = ms, .write_ms = 2 * ms}
                             : (xev_conn_deadlines){.write_ms = ms},
                        ms, begin, read_a_little)) {
            ms *= 2;
            CHECK_LE(ms, LAST_MS);
        }
    }
    unsent_bytes = 0;
}

TEST(a_peer_that_reads_slowly_is_waited_for) { wait_for_slow(false, write_much); }

TEST(a_peer_that_reads_slowly_is_not_idle) { wait_for_slow(true, write_much); }

/* ---- the same through a transport, of which the system holds other bytes ---- */

static int plain_transport_recv(xev_conn *conn, void *state, void *buf, size_t len) {
    (void)state;
    ssize_t n = recv(xev_conn_fd(conn), buf, len, MSG_DONTWAIT);
    return n > 0 ? (int)n : n == 0 ? XEV_EOF : -errno;
}

static int plain_transport_send(xev_conn *conn, void *state, const xev_vec *vec, size_t count) {
    (void)state;
    (void)count;
    ssize_t n = send(xev_conn_fd(conn), vec->base, vec->len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n > 0 ? (int)n : -errno;
}

static int plain_transport_end(xev_conn *conn, void *state) {
    (void)state;
    return shutdown(xev_conn_fd(conn), SHUT_WR) == 0 ? 0 : -errno;
}

static const xev_conn_transport plain_transport = {plain_transport_recv, plain_transport_send,
                                                   plain_transport_end, NULL};

static void write_much_by_transport(struct pair *p) {
    CHECK_EQ(xev_conn_set_transport(p->rec.conn, &plain_transport, NULL), 0);
    write_much(p);
}

TEST(a_peer_that_reads_slowly_from_a_transport_is_waited_for) {
    wait_for_slow(false, write_much_by_transport);
}

TEST(a_peer_that_takes_nothing_of_a_transport_is_reset) {
    struct pair p;
    pair_open(&p, (xev_conn_deadlines){.write_ms = 200}, true);
    p.begin_ns = clock_ns();
    write_much_by_transport(&p);
    ends_late(&p, XEV_CONN_WRITE_LATE, 200);
    pair_close(&p);
}

static int files, releases;

static void on_file_sent(void *userdata) {
    CHECK_EQ(close(*(int *)userdata), 0);
    releases++;
}

/* A part of the file takes longer than the deadline. */
static void write_large_file(struct pair *p) {
    static int file;
    char path[] = "/tmp/xev-large-XXXXXX";
    file = mkstemp(path);
    CHECK_GE(file, 0);
    CHECK_EQ(unlink(path), 0);
    files++;
    CHECK_EQ(ftruncate(file, 1 << 22), 0);
    run_to(&p->scene, &p->rec.opened, 1);
    small_buffers(p->peer);
    small_buffers(xev_conn_fd(p->rec.conn));
    CHECK_EQ(xev_conn_write_file(p->rec.conn, file, 0, 1 << 22, &file, on_file_sent), 0);
}

TEST(a_peer_that_reads_a_file_slowly_is_waited_for) {
    xev_threadpool one;
    CHECK_EQ(xev_threadpool_init(&one, &(xev_threadpool_config){.max_threads = 1}), 0);
    pool = &one;
    wait_for_slow(false, write_large_file);
    CHECK_EQ(releases, files);
    pool = NULL;
    xev_threadpool_deinit(&one);
}

TEST(a_lifetime_ends_a_busy_connection) {
    struct pair p;
    char byte;
    pair_open(&p, (xev_conn_deadlines){.life_ms = 200, .linger_ms = 50}, true);
    p.rec.data = echo;
    while (p.rec.lates == 0) {
        if (send(p.peer, "x", 1, MSG_NOSIGNAL) == 1 && p.rec.lates == 0) {
            turn(&p.scene);
            (void)recv(p.peer, &byte, 1, MSG_DONTWAIT);
        }
    }
    CHECK_EQ(p.rec.late_for, XEV_CONN_LIFE_LATE);
    ends_late(&p, XEV_CONN_LIFE_LATE, 200);
    pair_close(&p);
}

TEST(a_peer_that_does_not_end_is_closed_after_the_linger_time) {
    struct pair p;
    pair_open(&p, (xev_conn_deadlines){.linger_ms = 150}, true);
    run_to(&p.scene, &p.rec.opened, 1);
    p.begin_ns = clock_ns();
    xev_conn_finish(p.rec.conn);
    CHECK_EQ(end_running(&p.scene, p.peer), 0);
    ends_late(&p, XEV_CONN_LINGERED, 150);
    pair_close(&p);
}

TEST(one_connection_may_have_deadlines_of_its_own) {
    struct pair p;
    pair_open(&p, (xev_conn_deadlines){.linger_ms = 50}, true);
    run_to(&p.scene, &p.rec.opened, 1);
    CHECK_EQ(xev_conn_set_deadlines(p.rec.conn, &(xev_conn_deadlines){.idle_ms = 100}), 0);
    ends_late(&p, XEV_CONN_IDLE_LATE, 100);
    pair_close(&p);
}

TEST(a_deadline_may_be_taken_away) {
    struct pair p;
    pair_open(&p, (xev_conn_deadlines){.idle_ms = 100}, true);
    CHECK_EQ(xev_conn_set_deadlines(p.rec.conn, &(xev_conn_deadlines){.idle_ms = UINT32_MAX}), 0);
    (void)run_for(&p.scene.net, 400);
    CHECK_EQ(p.rec.lates + p.rec.closeds, 0);
    pair_close(&p);
}

TEST(many_connections_end_by_their_deadlines) {
    struct scene s;
    enum { N = 300 };
    static struct rec r[N];
    static int fd[N][2];
    scene_open_options(&s, NULL, (xev_conn_options){.deadlines = {.idle_ms = 50, .linger_ms = 50}});
    for (int i = 0; i < N; i++) {
        local_pair(fd[i]);
        memset(&r[i], 0, sizeof r[i]);
        r[i].scene = &s;
        rec_adopt(&r[i], fd[i][0]);
        if (i % 3 != 0) {
            const xev_conn_deadlines own = {.idle_ms = (uint32_t)(100 + i)};
            CHECK_EQ(xev_conn_set_deadlines(r[i].conn, &own), 0);
        }
        r[i].other = &r[(i + 1) % N];
    }
    for (int i = 0; i < N; i++) {
        run_to(&s, &r[i].closeds, 1);
        CHECK_EQ(r[i].reason, XEV_CONN_IDLE_LATE);
        CHECK_EQ(close(fd[i][1]), 0);
    }
    CHECK_EQ(counters_of(&s).connections, 0);
    scene_close(&s);
}

static void aborts_other(struct rec *r) {
    if (r->other->conn != NULL) {
        xev_conn_abort(r->other->conn);
    }
}

TEST(a_late_handler_may_end_those_that_are_late_with_it) {
    struct scene s;
    enum { N = 20 };
    static struct rec r[N];
    static int fd[N][2];
    scene_open_options(&s, NULL, (xev_conn_options){.deadlines = {.idle_ms = 50, .linger_ms = 50}});
    for (int i = 0; i < N; i++) {
        local_pair(fd[i]);
        memset(&r[i], 0, sizeof r[i]);
        r[i].scene = &s;
        r[i].other = &r[N - 1 - i];
        r[i].on_late = aborts_other;
        rec_adopt(&r[i], fd[i][0]);
    }
    for (int i = 0; i < N; i++) {
        run_to(&s, &r[i].closeds, 1);
        CHECK_EQ(close(fd[i][1]), 0);
    }
    scene_close(&s);
}
