/* Random programs of connections that are piped: sockets, pipes, transports and connects, with ends
 * of one direction, resets, pauses and short queues. What goes in on one side comes out on the
 * other, in order, and whole unless something broke the two; no peer takes a part for the whole;
 * each connection ends once. */
#include "tests/conn_scene.h"
#include "tests/random.h"

enum { PAIRS = 5, SIDES = 2 * PAIRS, STEPS = 1500, HIGH = 20000 };

enum kind { TCP, LOCAL, CONNECTING, PIPES, FLIPPED, KINDS };

struct side {
    xev_conn *conn; /* NULL: closed */
    int in, out;    /* its peer's descriptors, for a socket one; -1: none, or closed */
    enum kind kind;
    bool shut;        /* the peer has ended its output */
    bool ended;       /* the peer has seen the end */
    bool over;        /* or cannot read any more */
    size_t sent, got; /* by the peer */
    xev_conn_reason reason;
    int opened, closed;
    struct pair *pair;
    struct side *other;
};

struct pair {
    struct side side[2];
    bool piped, broken;
};

static struct pair pairs[PAIRS];
static struct scene scene;
static struct {
    uint64_t seed, rng;
    bool ending; /* nothing is held back or broken any more */
} world;
static int listener;

static uint32_t pick(uint32_t n) { return below(&world, n); }

static size_t place_of(const struct side *e, size_t at) {
    return at + 7919u * (e->pair->side == e);
}

/* ---- a transport that turns over every byte, and takes few of them ---- */

static void turn_over(char *data, size_t len) {
    for (size_t i = 0; i < len; i++) {
        data[i] = (char)~data[i];
    }
}

static int flip_recv(xev_conn *conn, void *state, void *buf, size_t len) {
    (void)state;
    ssize_t n = recv(xev_conn_fd(conn), buf, len, MSG_DONTWAIT);
    turn_over(buf, n > 0 ? (size_t)n : 0);
    return n > 0 ? (int)n : n == 0 ? XEV_EOF : -errno;
}

static int flip_send(xev_conn *conn, void *state, const xev_vec *vec, size_t count) {
    char some[1000];
    size_t len = vec->len_bytes < sizeof some ? vec->len_bytes : sizeof some;
    (void)state;
    (void)count;
    memcpy(some, vec->base, len);
    turn_over(some, len);
    ssize_t n = send(xev_conn_fd(conn), some, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n > 0 ? (int)n : -errno;
}

static int flip_shutdown(xev_conn *conn, void *state) {
    (void)state;
    return shutdown(xev_conn_fd(conn), SHUT_WR) == 0 ? 0 : -errno;
}

static const xev_conn_transport flip = {flip_recv, flip_send, flip_shutdown, NULL};

/* ---- the service's side ---- */

static struct side *side_of(xev_conn *c) { return *(struct side **)xev_conn_user(c); }

static void side_opened(xev_conn *c) { CHECK_EQ(side_of(c)->opened++, 0); }

static ptrdiff_t side_data(xev_conn *c, const void *data, size_t len_bytes) {
    (void)data;
    (void)len_bytes;
    CHECK(!side_of(c)->pair->piped || side_of(c)->pair->broken);
    return 0; /* it waits for the pipe */
}

static void side_ended(xev_conn *c) { (void)c; }

static void side_closed(xev_conn *c, xev_conn_reason reason, int code) {
    struct side *e = side_of(c);
    (void)code;
    CHECK_EQ(e->closed++, 0);
    e->conn = NULL;
    e->reason = reason;
    if (!e->pair->broken && reason != XEV_CONN_ENDED) {
        CHECK_FAIL("seed %" PRIu64 ": kind %d beside %d: %s", world.seed, e->kind, e->other->kind,
                   xev_conn_reason_name(reason));
    }
}

static const xev_conn_handlers side_handlers = {
    .opened = side_opened, .data = side_data, .ended = side_ended, .closed = side_closed};

static void join_pair(struct pair *p) {
    xev_conn *a = p->side[0].conn, *b = p->side[1].conn;
    if (!p->piped && a != NULL && b != NULL) {
        int rc = xev_conn_pipe(a, b);
        CHECK(rc == 0 || p->broken);
        p->piped = rc == 0;
    }
}

/* ---- beginning ---- */

/* Not while a connection may be made and the loop has not said so: nobody knows whose it is. */
static bool one_connects(void) {
    bool found = false;
    for (int i = 0; i < SIDES; i++) {
        const struct side *e = &pairs[i / 2].side[i % 2];
        found |= e->kind == CONNECTING && e->conn != NULL && xev_conn_fd(e->conn) < 0;
    }
    return found;
}

static void accept_all(void) {
    int fd;
    if (one_connects()) {
        return;
    }
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    while ((fd = accept4(listener, (struct sockaddr *)(void *)&from, &len, SOCK_CLOEXEC)) >= 0) {
        bool known = false;
        for (int i = 0; i < SIDES; i++) {
            struct side *e = &pairs[i / 2].side[i % 2];
            if (e->kind == CONNECTING && e->conn != NULL && e->in < 0 && !e->over &&
                xev_conn_fd(e->conn) >= 0 &&
                address_of(xev_conn_fd(e->conn)).sin_port == from.sin_port) {
                e->in = e->out = fd;
                known = true;
                break;
            }
        }
        if (!known) {
            reset_close(fd); /* its connection is closed */
        }
    }
}

static void begin_side(struct side *e, struct pair *p) {
    int fd[2], back[2];
    xev_addr at;
    memset(e, 0, sizeof *e);
    e->pair = p;
    e->other = &p->side[e == &p->side[0]];
    e->kind = (enum kind)pick(KINDS);
    e->in = e->out = -1;
    if (e->kind == CONNECTING) {
        CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(listener), &at), 0);
        CHECK_EQ(xev_conn_connect(scene.service, &at, 1, NULL, &e->conn), 0);
    } else if (e->kind == PIPES) {
        CHECK_EQ(pipe2(fd, O_CLOEXEC), 0);
        CHECK_EQ(pipe2(back, O_CLOEXEC), 0);
        CHECK_EQ(xev_conn_adopt_pipes(scene.service, fd[0], back[1], &e->conn), 0);
        CHECK_EQ(fcntl(fd[1], F_SETFL, O_NONBLOCK), 0);
        CHECK_EQ(fcntl(back[0], F_SETFL, O_NONBLOCK), 0);
        e->in = back[0];
        e->out = fd[1];
    } else {
        if (e->kind == TCP || (e->kind == FLIPPED && pick(2) == 0)) {
            tcp_pair(fd);
        } else {
            local_pair(fd);
        }
        if (pick(2) == 0) {
            int bytes = 8192;
            CHECK_EQ(setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
        }
        CHECK_EQ(xev_conn_adopt(scene.service, fd[0], &e->conn), 0);
        if (e->kind == FLIPPED) {
            CHECK_EQ(xev_conn_set_transport(e->conn, &flip, NULL), 0);
        }
        e->in = e->out = fd[1];
    }
    xev_conn_set_handlers(e->conn, &side_handlers);
    *(struct side **)xev_conn_user(e->conn) = e;
}

static void begin_pair(struct pair *p) {
    p->piped = p->broken = false;
    begin_side(&p->side[0], p);
    begin_side(&p->side[1], p);
    if (pick(2) == 0) {
        join_pair(p);
    }
}

/* ---- the peer's side ---- */

static void close_in(struct side *e) {
    if (e->in >= 0 && e->in != e->out) {
        CHECK_EQ(close(e->in), 0);
    }
    e->in = -1;
    e->over = true;
}

/* Only TCP tells of a reset; else it is an end. */
static void close_peer(struct side *e, bool reset) {
    int out = e->out;
    e->shut |= !reset || e->kind == PIPES || e->kind == LOCAL || e->kind == FLIPPED;
    close_in(e);
    e->out = -1;
    if (out >= 0 && reset && e->kind != PIPES) {
        reset_close(out);
    } else if (out >= 0) {
        CHECK_EQ(close(out), 0);
    }
}

static void peer_sends(struct side *e) {
    static char bytes[30000];
    size_t n = pick(4) == 0 ? 1 + pick(sizeof bytes - 1) : 1 + pick(200);
    if (e->out < 0 || e->shut) {
        return;
    }
    pattern(bytes, n, place_of(e, e->sent));
    if (e->kind == FLIPPED) {
        turn_over(bytes, n);
    }
    ssize_t done = e->kind == PIPES ? write(e->out, bytes, n)
                                    : send(e->out, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    e->sent += done > 0 ? (size_t)done : 0;
    CHECK(done >= 0 || errno == EAGAIN || e->pair->broken);
}

/* Where the end of the stream says that all has come: a pipe is never reset, and neither is a Unix
 * socket that has read all. */
static bool says_whole(const struct side *e) {
    return e->kind == TCP || e->kind == CONNECTING || !e->pair->broken;
}

static void peer_reads(struct side *e) {
    static char bytes[40000];
    size_t room = 1 + pick(sizeof bytes - 1);
    if (e->in < 0 || e->over) {
        return;
    }
    ssize_t n =
        e->kind == PIPES ? read(e->in, bytes, room) : recv(e->in, bytes, room, MSG_DONTWAIT);
    if (n > 0) {
        if (e->kind == FLIPPED) {
            turn_over(bytes, (size_t)n);
        }
        check_pattern(bytes, (size_t)n, place_of(e->other, e->got));
        e->got += (size_t)n;
        CHECK_LE(e->got, e->other->sent);
    } else if (n == 0) {
        e->ended = e->over = true;
        if (says_whole(e) && !(e->got == e->other->sent && e->other->shut)) {
            CHECK_FAIL("seed %" PRIu64 ": kind %d beside %d has ended at %zu of %zu", world.seed,
                       e->kind, e->other->kind, e->got, e->other->sent);
        }
    } else if (errno != EAGAIN) {
        CHECK(e->pair->broken);
        e->over = true;
    }
}

static void peer_ends(struct side *e) {
    if (e->out < 0 || e->shut) {
        return;
    }
    e->shut = true;
    if (e->kind == PIPES) {
        CHECK_EQ(close(e->out), 0);
        e->out = -1;
    } else {
        CHECK(shutdown(e->out, SHUT_WR) == 0 || e->pair->broken);
    }
}

/* ---- what happens ---- */

static void break_pair(struct pair *p) {
    struct side *e = &p->side[pick(2)];
    p->broken = true;
    if (e->conn == NULL || pick(2) == 0) {
        close_peer(e, pick(2) == 0);
        return;
    }
    if (pick(2) == 0 && p->piped) {
        xev_conn_abort(e->conn);
    } else if (!p->piped) {
        xev_conn_abort(e->conn);
        if (e->other->conn != NULL) {
            xev_conn_abort(e->other->conn);
        }
    } else {
        close_peer(e, true);
    }
}

static bool is_over(const struct pair *p) {
    return p->side[0].conn == NULL && p->side[1].conn == NULL;
}

static void end_pair(struct pair *p) {
    for (int i = 0; i < 2; i++) {
        struct side *e = &p->side[i];
        while (!p->broken && !e->over) {
            peer_reads(e);
        }
        if (!p->broken) {
            CHECK_EQ(e->reason, XEV_CONN_ENDED);
            CHECK(e->ended && e->other->shut && e->got == e->other->sent);
        }
        close_peer(e, false);
    }
}

static void step(void) {
    struct pair *p = &pairs[pick(PAIRS)];
    struct side *e = &p->side[pick(2)];
    if (is_over(p)) {
        end_pair(p);
        begin_pair(p);
        return;
    }
    switch (pick(24)) {
    case 0:
        if (pick(4) == 0) {
            peer_ends(e);
        }
        break;
    case 1:
        if (pick(12) == 0) {
            break_pair(p);
        }
        break;
    case 2:
        join_pair(p);
        break;
    case 3:
        if (e->conn != NULL) {
            xev_conn_pause(e->conn);
        }
        break;
    case 4:
    case 5:
        if (e->conn != NULL) {
            xev_conn_resume(e->conn);
        }
        break;
    case 6:
        if (e->conn != NULL) {
            xev_conn_cork(e->conn);
            xev_conn_set_busy(e->conn, pick(2) == 0);
        }
        break;
    case 7:
        accept_all();
        break;
    default:
        if (pick(2) == 0) {
            peer_sends(e);
        } else {
            peer_reads(e);
        }
    }
}

static void finish_pair(struct pair *p) {
    join_pair(p);
    for (int i = 0; i < 2; i++) {
        struct side *e = &p->side[i];
        if (e->conn != NULL) {
            xev_conn_resume(e->conn);
        }
        peer_ends(e);
        peer_reads(e);
        if (p->broken && !p->piped && e->conn != NULL) {
            xev_conn_abort(e->conn); /* its handlers leave everything */
        } else if (p->broken && e->over) {
            close_peer(e, false);
        }
    }
}

static void finish_all(void) {
    world.ending = true;
    bool drains = pick(2) == 0;
    for (int left = PAIRS; left > 0;) {
        left = 0;
        bool all = true;
        accept_all();
        for (int i = 0; i < PAIRS; i++) {
            finish_pair(&pairs[i]);
            left += !is_over(&pairs[i]);
            all &= pairs[i].piped || is_over(&pairs[i]);
        }
        if (drains && all) {
            drains = false;
            xev_conn_service_drain(scene.service);
        }
        if (left > 0) {
            turn(&scene);
        }
    }
    for (int i = 0; i < PAIRS; i++) {
        end_pair(&pairs[i]);
    }
}

static void program(uint64_t seed) {
    if (getenv("XEV_TEST_TRACE") != NULL) {
        fprintf(stderr, "seed %" PRIu64 "\n", seed);
    }
    world.seed = seed;
    world.rng = mix(seed);
    world.ending = false;
    listener = plain_listener(64);
    CHECK_EQ(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    const xev_loop_options few = {.buffers = 4, .buffer_bytes = 512, .entries = 8}, many = {0};
    uint32_t low = pick(HIGH) + 1, unsent = pick(2) == 0 ? 0 : 1 + pick(HIGH);
    scene_open_options(
        &scene, pick(2) == 0 ? &few : &many,
        (xev_conn_options){.high_bytes = HIGH, .low_bytes = low, .unsent_bytes = unsent});
    for (int i = 0; i < PAIRS; i++) {
        begin_pair(&pairs[i]);
    }
    for (int i = 0; i < STEPS; i++) {
        step();
        if (pick(3) == 0) {
            CHECK_EQ(xev_loop_run(&scene.net.loop, XEV_RUN_NO_WAIT), 0);
        }
    }
    finish_all();
    CHECK_EQ(counters_of(&scene).closed[XEV_CONN_OUTPUT_FULL], 0);
    CHECK_EQ(counters_of(&scene).connections, 0);
    CHECK_EQ(close(listener), 0);
    xev_loop_deinit(&scene.net.loop);
    xev_conn_service_free(scene.service);
}

TEST_TIMEOUT(what_goes_into_pipes_comes_out, 120) {
    for_seeds(test_slowdown() > 1 ? 8 : 25, program);
}
