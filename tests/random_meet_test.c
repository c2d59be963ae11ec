/* Random programs in which the features of connections meet: echoes that other handlers write,
 * files, pipes, requests to kept upstreams, connections that are given away and taken back, all on
 * one loop. What a peer sends comes back once, in order, and whole unless something broke it; each
 * connection ends once; nothing leaks. */
#include <sys/mman.h>

#include "conn/move.h"
#include "tests/conn_scene.h"
#include "tests/random.h"
#include "xev/upstream.h"

enum { ENDS = 10, STEPS = 1200, FILE_BYTES = 1 << 20, HIGH = 20000, CALL_MAX = 30000 };

enum mode { ECHO, PIPE, CALL, MODES };

/* One connection of the service, and its peer. */
struct end {
    xev_conn *conn; /* NULL: it is gone, or being given away */
    int fd;         /* the peer's; -1: closed */
    enum mode mode;
    size_t took;         /* bytes that its handler took */
    size_t sent, got;    /* by the peer */
    struct end *partner; /* PIPE */
    struct call *call;   /* CALL: its request */
    bool broken;         /* what comes may stop anywhere */
    bool shut;           /* the peer's writing side */
    bool leaving;        /* it is given away */
    bool rest;           /* its handler has left something */
    bool ended;          /* to be finished behind its request */
    /* What another connection's handler is to write. */
    char *later;
    size_t later_len;
};

/* A request to an upstream. Its connection's user part points here. */
struct call {
    struct end *end; /* NULL: gone */
    xev_conn *conn;
    size_t len, back;
    char data[CALL_MAX];
};

static struct end ends[ENDS];
static struct scene scene;
static struct {
    uint64_t seed, rng;
    bool ending; /* nothing is held back or broken any more */
} world;
static xev_upstreams *group;
static int listener, file;
static int lent, released, opened_ends, closed_ends, calls_open;
static uint64_t given_up;

static uint32_t pick(uint32_t n) { return below(&world, n); }

static void on_release(void *userdata) {
    free(userdata);
    released++;
}

static bool went(struct end *e, int rc) {
    e->broken |= rc < 0;
    CHECK(rc == 0 || rc == XEV_EPIPE);
    return rc == 0;
}

static char *copy_of(const char *data, size_t len) {
    char *copy = malloc(len);
    CHECK(copy != NULL);
    return memcpy(copy, data, len);
}

/* ---- ways to write ---- */

static void write_later(struct end *e) {
    char *later = e->later;
    e->later = NULL;
    if (later != NULL && e->conn != NULL) {
        (void)went(e, xev_conn_write(e->conn, later, e->later_len));
    } else if (later != NULL) {
        e->broken = true;
    }
    free(later);
}

/* n bytes at data, of which the first has this place in the stream. */
static void write_somehow(struct end *e, const char *data, size_t n, size_t place) {
    xev_conn *c = e->conn;
    write_later(e);
    switch (pick(world.ending ? 2 : 6)) {
    case 0: {
        const xev_vec vec[] = {{(void *)(uintptr_t)data, n / 2},
                               {(void *)(uintptr_t)(data + n / 2), n - n / 2}};
        (void)went(e, xev_conn_writev(c, vec, 2));
        break;
    }
    case 2: {
        char *copy = copy_of(data, n);
        if (went(e, xev_conn_write_lent(c, copy, n, copy, on_release))) {
            lent++;
        } else {
            free(copy);
        }
        break;
    }
    case 3:
        if (place + n <= FILE_BYTES && pick(4) == 0) {
            char *nothing = malloc(1);
            if (went(e, xev_conn_write_file(c, file, place, n, nothing, on_release))) {
                lent++;
            } else {
                free(nothing);
            }
            break;
        } /* fall through */
    case 4:
        e->later = copy_of(data, n);
        e->later_len = n;
        break;
    case 5:
        xev_conn_cork(c); /* fall through */
    default:
        (void)went(e, xev_conn_write(c, data, n));
    }
}

/* ---- what happens at any time, in handlers and between turns ---- */

static void on_given_away(xev_fd fd, const void *data, size_t len_bytes, void *userdata);

static void give_away(struct end *e) {
    if (e->mode == ECHO && e->later == NULL && xev_conn_detach(e->conn, e, on_given_away) == 0) {
        e->conn = NULL;
        e->leaving = true;
    }
}

static void happen(void) {
    struct end *e = &ends[pick(ENDS)];
    xev_conn *c = e->conn;
    if (c == NULL || world.ending) {
        return;
    }
    switch (pick(15)) {
    case 14:
        given_up += xev__conn_give_up_kept(scene.service);
        break;
    case 0:
        xev_conn_cork(c);
        break;
    case 1:
        xev_conn_pause(c);
        break;
    case 2:
        (void)xev_conn_fd(c);
        break;
    case 3:
        xev_conn_set_busy(c, pick(2) == 0);
        break;
    case 4:
    case 5:
        give_away(e);
        break;
    case 6:
        if (pick(6) == 0) {
            e->broken = true;
            if (e->partner != NULL) {
                e->partner->broken = true;
            }
            switch (pick(4)) {
            case 0:
                xev_conn_abort(c);
                break;
            case 1:
                xev_conn_finish(c);
                break;
            case 2:
                xev_conn_drain(c);
                break;
            default:
                xev_conn_end_output(c);
            }
        }
        break;
    case 7:
        CHECK_EQ(xev_conn_set_deadlines(c, &(xev_conn_deadlines){.idle_ms = 60000}), 0);
        break;
    default:
        if (e->later != NULL) {
            write_later(e);
        } else if (e->call == NULL) {
            xev_conn_resume(c);
        }
    }
}

/* ---- upstreams ---- */

static struct call *call_of(xev_conn *c) { return *(struct call **)xev_conn_user(c); }

static void call_opened(xev_conn *c) {
    struct call *call = call_of(c);
    (void)xev_conn_write(c, call->data, call->len); /* its end tells */
    if (pick(3) == 0) {
        happen();
    }
}

static void end_call(struct call *call) {
    struct end *e = call->end;
    if (e != NULL) {
        e->call = NULL;
        if (e->conn != NULL && e->ended) {
            write_later(e);
        }
        if (e->conn != NULL && e->ended) {
            xev_conn_finish(e->conn);
        } else if (e->conn != NULL) {
            xev_conn_resume(e->conn);
        }
    }
    calls_open--;
    free(call);
}

static ptrdiff_t call_data(xev_conn *c, const void *data, size_t len_bytes) {
    struct call *call = call_of(c);
    struct end *e = call->end;
    CHECK_LE(call->back + len_bytes, call->len);
    CHECK_MEM_EQ(call->data + call->back, data, len_bytes);
    if (e != NULL && e->conn != NULL) {
        write_somehow(e, data, len_bytes, e->took - call->len + call->back);
    }
    call->back += len_bytes;
    if (call->back == call->len) {
        *(struct call **)xev_conn_user(c) = NULL;
        end_call(call);
        xev_upstream_keep(c);
    } else if (pick(20) == 0 && !world.ending) {
        xev_conn_abort(c);
    }
    return (ptrdiff_t)len_bytes;
}

static void call_closed(xev_conn *c, xev_conn_reason reason, int code) {
    struct call *call = call_of(c);
    (void)reason;
    (void)code;
    if (call != NULL) {
        if (call->end != NULL) {
            call->end->broken = true;
            if (call->end->conn != NULL) {
                xev_conn_abort(call->end->conn); /* a part of its reply is lost */
            }
        }
        end_call(call);
    }
}

static const xev_conn_handlers call_handlers = {
    .opened = call_opened, .data = call_data, .closed = call_closed};

static void begin_call(struct end *e, const char *data, size_t len) {
    struct call *call = malloc(sizeof *call);
    CHECK(call != NULL && e->call == NULL);
    *call = (struct call){.end = e, .len = len};
    memcpy(call->data, data, len);
    CHECK_EQ(xev_upstreams_connect(group, &call_handlers, &call->conn), 0);
    *(struct call **)xev_conn_user(call->conn) = call;
    e->call = call;
    calls_open++;
    xev_conn_pause(e->conn);
}

/* The upstream: it echoes. */
static ptrdiff_t server_data(xev_conn *c, const void *data, size_t len_bytes) {
    (void)xev_conn_write(c, data, len_bytes);
    if (pick(4) == 0) {
        happen();
    }
    return (ptrdiff_t)len_bytes;
}

static const xev_conn_handlers server_handlers = {.data = server_data};

static void take_in_servers(void) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        xev_conn *c;
        CHECK_EQ(fcntl(fd, F_SETFL, 0), 0);
        CHECK_EQ(xev_conn_adopt(scene.service, fd, &c), 0);
        xev_conn_set_handlers(c, &server_handlers);
    }
}

/* ---- ends ---- */

static struct end *end_of(xev_conn *c) { return *(struct end **)xev_conn_user(c); }

static ptrdiff_t end_data(xev_conn *c, const void *data, size_t len_bytes) {
    struct end *e = end_of(c);
    CHECK(e->conn == c);
    check_pattern(data, len_bytes, e->took);
    size_t n = pick(3) == 0 && !world.ending ? pick((uint32_t)len_bytes + 1) : len_bytes;
    n = n < CALL_MAX ? n : CALL_MAX;
    if (pick(4) == 0) {
        happen();
    }
    e->rest = n < len_bytes;
    if (n == 0 || e->conn == NULL) {
        e->rest = true;
        return 0;
    }
    e->took += n;
    if (e->mode == CALL) {
        begin_call(e, data, n);
    } else {
        write_somehow(e, data, n, e->took - n);
    }
    if (pick(4) == 0) {
        happen();
    }
    return (ptrdiff_t)n;
}

static void end_ended(xev_conn *c) {
    struct end *e = end_of(c);
    e->broken |= e->rest; /* which is lost */
    e->ended = true;
    if (e->call == NULL) {
        write_later(e);
        xev_conn_finish(c);
    }
}

static void end_closed(xev_conn *c, xev_conn_reason reason, int code) {
    struct end *e = end_of(c);
    (void)code;
    closed_ends++;
    if (reason == XEV_CONN_DETACHED) {
        return; /* it goes on as another one */
    }
    CHECK(e->conn == c || e->leaving);
    e->broken |= reason != XEV_CONN_ENDED;
    e->conn = NULL;
    e->leaving = false;
    if (e->call != NULL) {
        e->call->end = NULL;
        e->call = NULL;
    }
    write_later(e);
}

static const xev_conn_handlers end_handlers = {
    .data = end_data, .ended = end_ended, .closed = end_closed};

static void adopt_end(struct end *e, int fd) {
    CHECK_EQ(xev_conn_adopt(scene.service, fd, &e->conn), 0);
    xev_conn_set_handlers(e->conn, &end_handlers);
    *(struct end **)xev_conn_user(e->conn) = e;
    opened_ends++;
}

/* It is taken back at once. What was not handled yet is echoed here. */
static void on_given_away(xev_fd fd, const void *data, size_t len_bytes, void *userdata) {
    struct end *e = userdata;
    e->leaving = false;
    if (fd == XEV_INVALID_FD) {
        e->broken = true;
        return;
    }
    adopt_end(e, fd);
    e->rest = false;
    if (len_bytes > 0) {
        check_pattern(data, len_bytes, e->took);
        e->took += len_bytes;
        write_somehow(e, data, len_bytes, e->took - len_bytes);
    }
}

static void begin_end(struct end *e, enum mode mode) {
    int fd[2];
    memset(e, 0, sizeof *e);
    e->mode = mode;
    bool tcp = pick(2) == 0, small = pick(2) == 0;
    if (tcp) {
        tcp_pair(fd);
    } else {
        local_pair(fd);
    }
    if (small && !tcp) { /* where both directions are full, TCP makes pauses of many seconds */
        small_buffers(fd[0]);
        small_buffers(fd[1]);
    } else if (small) {
        int bytes = 8192;
        CHECK_EQ(setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
    }
    e->fd = fd[1];
    adopt_end(e, fd[0]);
}

static void close_peer(struct end *e) {
    if (e->fd >= 0) {
        CHECK_EQ(close(e->fd), 0);
        e->fd = -1;
    }
}

static void peer_sends(struct end *e) {
    static char bytes[30000];
    size_t n = pick(4) == 0 ? pick(sizeof bytes) : pick(200);
    pattern(bytes, n, e->sent);
    ssize_t done = n > 0 ? send(e->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    e->sent += done > 0 ? (size_t)done : 0;
}

/* False: the end of the stream, or an error. */
static bool peer_reads(struct end *e) {
    static char bytes[40000];
    ssize_t n = recv(e->fd, bytes, 1 + pick(sizeof bytes - 1), MSG_DONTWAIT);
    if (n > 0) {
        check_pattern(bytes, (size_t)n, e->got);
        e->got += (size_t)n;
        CHECK_LE(e->got, e->partner != NULL ? e->partner->sent : e->sent);
    }
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static bool is_free(const struct end *e) {
    return e->conn == NULL && !e->leaving && e->call == NULL;
}

static void begin_some(int at) {
    struct end *e = &ends[at];
    if (!is_free(e) || (e->partner != NULL && !is_free(e->partner))) {
        return;
    }
    struct end *was = e->partner;
    close_peer(e);
    if (was != NULL) {
        close_peer(was);
        begin_end(was, ECHO);
    }
    int other = (int)pick(ENDS);
    enum mode mode = (enum mode)pick(MODES);
    if (mode == PIPE && (other == at || !is_free(&ends[other]) || ends[other].partner != NULL)) {
        mode = ECHO;
    }
    begin_end(e, mode);
    if (mode == PIPE) {
        struct end *o = &ends[other];
        close_peer(o);
        begin_end(o, PIPE);
        e->partner = o;
        o->partner = e;
        CHECK_EQ(xev_conn_pipe(e->conn, o->conn), 0);
    }
}

static void step(void) {
    int at = (int)pick(ENDS);
    struct end *e = &ends[at];
    if (e->conn == NULL) {
        begin_some(at);
        return;
    }
    switch (pick(16)) {
    case 0:
        if (pick(6) == 0 && e->fd >= 0) {
            e->broken = true;
            if (e->partner != NULL) {
                e->partner->broken = true;
            }
            if (pick(2) == 0) {
                reset_close(e->fd);
                e->fd = -1;
            }
            close_peer(e);
        }
        break;
    case 1:
    case 2:
    case 3:
    case 4:
        happen();
        break;
    default:
        if (e->fd >= 0 && pick(2) == 0) {
            peer_sends(e);
        } else if (e->fd >= 0) {
            (void)peer_reads(e);
        }
    }
}

/* True: nothing more comes for its peer. */
static bool finish_end(struct end *e) {
    if (e->conn != NULL) {
        xev_conn_set_busy(e->conn, false);
        write_later(e);
    }
    if (e->conn != NULL && e->call == NULL) {
        xev_conn_resume(e->conn);
    }
    if (e->fd >= 0 && !e->shut && !e->leaving) {
        e->shut = true;
        (void)shutdown(e->fd, SHUT_WR);
    }
    return e->fd < 0 || !peer_reads(e);
}

/* All that is whole arrives. */
static void finish_all(void) {
    bool over[ENDS] = {false};
    for (int left = ENDS; left > 0;) {
        for (int i = 0; i < ENDS; i++) {
            if (!over[i] && finish_end(&ends[i])) {
                over[i] = true;
                left--;
                close_peer(&ends[i]);
                CHECK(ends[i].broken || ends[i].mode == PIPE || ends[i].got == ends[i].sent);
            }
        }
        take_in_servers();
        turn(&scene);
    }
}

static void program(uint64_t seed) {
    if (getenv("XEV_TEST_TRACE") != NULL) {
        fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
    }
    world.seed = seed;
    world.rng = mix(seed);
    world.ending = false;
    lent = released = opened_ends = closed_ends = calls_open = 0;
    given_up = 0;
    memset(ends, 0, sizeof ends);
    xev_addr at;
    xev_threadpool pool;
    listener = plain_listener(64);
    CHECK_EQ(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    CHECK_EQ(xev_tcp_local_addr(xev_tcp_from_fd(listener), &at), 0);
    CHECK_EQ(xev_threadpool_init(&pool, &(xev_threadpool_config){.max_threads = 1}), 0);
    const xev_loop_options few = {
        .thread_pool = &pool, .buffers = 4, .buffer_bytes = 512, .entries = 8};
    const xev_loop_options many = {.thread_pool = &pool};
    uint32_t low = pick(HIGH) + 1, unsent = pick(2) == 0 ? 0 : 1 + pick(HIGH);
    scene_open_options(
        &scene, pick(2) == 0 ? &few : &many,
        (xev_conn_options){.high_bytes = HIGH, .low_bytes = low, .unsent_bytes = unsent});
    const xev_upstreams_options up = {.check_ms = UINT32_MAX, .idle_max = pick(4)};
    CHECK_EQ(xev_upstreams_new(&group, scene.service, &at, 1, &up), 0);
    for (int i = 0; i < ENDS; i++) {
        ends[i].fd = -1;
    }
    for (int i = 0; i < ENDS; i++) {
        begin_some(i);
    }
    for (int i = 0; i < STEPS; i++) {
        step();
        if (pick(3) == 0) {
            take_in_servers();
            CHECK_EQ(xev_loop_run(&scene.net.loop, XEV_RUN_NO_WAIT), 0);
        }
    }
    world.ending = true;
    finish_all();
    CHECK_EQ(close(listener), 0);
    CHECK_EQ(counters_of(&scene).given_up, given_up);
    xev_loop_deinit(&scene.net.loop);
    xev_conn_service_free(scene.service);
    xev_upstreams_free(group);
    xev_threadpool_deinit(&pool);
    CHECK_EQ(closed_ends, opened_ends);
    CHECK_EQ(calls_open, 0);
    CHECK_EQ(released, lent);
}

TEST_TIMEOUT(features_meet_and_lose_nothing, 120) {
    static char bytes[FILE_BYTES];
    pattern(bytes, sizeof bytes, 0);
    file = memfd_create("pattern", MFD_CLOEXEC);
    CHECK_EQ(write(file, bytes, sizeof bytes), (ssize_t)sizeof bytes);
    for_seeds(test_slowdown() > 1 ? 8 : 25, program);
    CHECK_EQ(close(file), 0);
}
