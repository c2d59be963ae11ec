/* Connections that move between four shards all the time, while both sides send. Every byte has a
 * value by its position, in both directions; each is checked. Output is copied, lent, filled into
 * slots and sent from a file; input is consumed in records, so that some is always kept.
 *
 * XEV_TEST_MOVES is the number of moves, XEV_TEST_SEED the seed. */
#include <poll.h>

#include "tests/random.h"
#include "tests/serve_scene.h"

enum { SHARDS = 4, CLIENTS = 12, PERIOD = 65521, RECORD = 96 };

/* Byte n of connection c, in one direction, is pattern[(n + c * 4099) % PERIOD]. */
static uint8_t pattern[2 * PERIOD + RECORD];
static int pattern_file;

static xev_service *service;
static long moves_wanted;
static atomic_long moves, refusals, lent, slots;

struct side {
    uint32_t id;
    uint64_t in, out; /* bytes */
};

/* The user's part. */
struct user {
    struct side side;
    uint64_t rng;
    uint32_t on; /* the shard */
    xev_conn_handle handle;
    bool named;
};

static uint64_t total_in[CLIENTS], total_out[CLIENTS];
static atomic_uint ended;

static const uint8_t *at(const struct side *s, uint64_t position) {
    return &pattern[(position + (uint64_t)s->id * 4099) % PERIOD];
}

static void check_bytes(struct side *s, const uint8_t *data, size_t len) {
    for (size_t done = 0; done < len;) {
        size_t n = len - done < PERIOD ? len - done : PERIOD;
        if (memcmp(data + done, at(s, s->in), n) != 0) {
            CHECK_FAIL("connection %u: wrong byte behind number %llu of %zu", s->id,
                       (unsigned long long)s->in, n);
        }
        s->in += n;
        done += n;
    }
}

static uint32_t self_id(void) { return xev_shard_id(xev_shard_current()); }

/* ---- output ---- */

struct loan {
    uint32_t shard;
    uint8_t data[];
};

static void on_loan_sent(void *userdata) {
    struct loan *l = userdata;
    CHECK_EQ(l->shard, self_id()); /* where it was lent */
    lent--;
    free(l);
}

static void on_file_sent(void *userdata) {
    CHECK_EQ((uintptr_t)userdata, self_id());
    lent--;
}

/* A slot that is filled in a later turn. */
struct later {
    xev_completion timer;
    xev_conn_slot *slot;
    size_t len;
    const uint8_t *data;
};

static xev_cb_action on_later(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct later *l = userdata;
    (void)loop;
    (void)c;
    (void)result;
    xev_conn_fill(l->slot, l->data, l->len);
    slots--;
    free(l);
    return XEV_DISARM;
}

static bool reserve(xev_conn *conn, const uint8_t *data, size_t len) {
    struct later *l = malloc(sizeof *l);
    CHECK(l != NULL);
    *l = (struct later){.slot = xev_conn_reserve(conn), .len = len, .data = data};
    if (l->slot == NULL) {
        free(l);
        return false;
    }
    slots++;
    xev_timer_run_ns(NULL, xev_shard_loop(xev_shard_current()), &l->timer, len * 100, l, on_later);
    return true;
}

static void answer(xev_conn *conn, size_t len) {
    struct user *u = xev_conn_user(conn);
    const uint8_t *data = at(&u->side, u->side.out);
    uint32_t how = rng_below(&u->rng, 16);
    int rc = 0;
    if (how == 0) {
        struct loan *l = malloc(sizeof *l + len);
        CHECK(l != NULL);
        l->shard = self_id();
        memcpy(l->data, data, len);
        lent++;
        rc = xev_conn_write_lent(conn, l->data, len, l, on_loan_sent);
    } else if (how == 1) {
        lent++;
        rc = xev_conn_write_file(conn, pattern_file, (uint64_t)(data - pattern), len,
                                 (void *)(uintptr_t)self_id(), on_file_sent);
    } else if (how < 5) {
        if (!reserve(conn, data, len)) {
            return;
        }
    } else {
        if (how == 5) {
            xev_conn_cork(conn);
        }
        rc = xev_conn_write(conn, data, len);
    }
    CHECK_EQ(rc, 0);
    u->side.out += len;
}

/* ---- moving ---- */

static void move_on(xev_conn *conn) {
    struct user *u = xev_conn_user(conn);
    if (moves >= moves_wanted || rng_below(&u->rng, 4) == 0) {
        return;
    }
    uint32_t to = (self_id() + 1 + rng_below(&u->rng, SHARDS - 1)) % SHARDS;
    int rc = xev_serve_move(conn, to);
    if (rc != 0) {
        CHECK_EQ(rc, XEV_EBUSY); /* it moves already, or has output that was lent elsewhere */
        refusals++;
    }
}

static void moving_leaving(xev_conn *conn) {
    struct user *u = xev_conn_user(conn);
    CHECK_EQ(u->on, self_id());
    CHECK_EQ(u->handle, xev_conn_handle_of(conn));
    CHECK(xev_conn_reserve(conn) == NULL);
    answer(conn, 1 + rng_below(&u->rng, 100));
    u->on = UINT32_MAX;
}

static void moving_moved(xev_conn *conn) {
    struct user *u = xev_conn_user(conn);
    CHECK_EQ(u->on, UINT32_MAX);
    CHECK_NE(xev_conn_handle_id(u->handle), self_id());
    CHECK_EQ(xev_conn_handle_id(xev_conn_handle_of(conn)), self_id());
    u->on = self_id();
    u->handle = xev_conn_handle_of(conn);
    moves++;
    answer(conn, 1 + rng_below(&u->rng, 100));
    move_on(conn);
}

static void moving_opened(xev_conn *conn) {
    struct user *u = xev_conn_user(conn);
    u->on = self_id();
    u->handle = xev_conn_handle_of(conn);
}

static ptrdiff_t moving_data(xev_conn *conn, const void *data, size_t len) {
    struct user *u = xev_conn_user(conn);
    const uint8_t *bytes = data;
    CHECK_EQ(u->on, self_id());
    if (!u->named) { /* its first byte is the number of the client */
        u->side.id = bytes[0];
        u->rng = 1000 + bytes[0];
        u->named = true;
        return 1;
    }
    size_t records = len / RECORD;
    size_t n = records > 0 ? (1 + rng_below(&u->rng, (uint32_t)records)) * RECORD : 0;
    check_bytes(&u->side, data, n);
    if (n > 0) {
        answer(conn, 1 + rng_below(&u->rng, n < 20000 ? (uint32_t)n : 40000));
        move_on(conn);
    } else if (rng_below(&u->rng, 2) == 0) {
        xev_conn_need(conn, RECORD);
    }
    return (ptrdiff_t)n;
}

static void moving_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    struct user *u = xev_conn_user(conn);
    CHECK_EQ(reason, XEV_CONN_ENDED);
    CHECK_EQ(code, 0);
    total_in[u->side.id] = u->side.in;
    total_out[u->side.id] = u->side.out;
    ended++;
}

static const xev_conn_handlers moving = {
    .opened = moving_opened,
    .data = moving_data,
    .closed = moving_closed,
    .leaving = moving_leaving,
    .moved = moving_moved,
};

/* ---- the clients, in one thread ---- */

struct peer {
    struct side side;
    int fd;
    bool over, at_end;
    uint64_t rng;
};

static struct peer peers[CLIENTS];

/* Whole records in all. */
static void client_send(struct peer *p) {
    size_t want = 1 + rng_below(&p->rng, rng_below(&p->rng, 8) > 0 ? 1000 : 30000);
    if (moves >= moves_wanted) {
        want = (RECORD - p->side.out % RECORD) % RECORD;
    }
    ssize_t n = want == 0 ? 0 : send(p->fd, at(&p->side, p->side.out), want, MSG_DONTWAIT);
    if (n > 0) {
        p->side.out += (uint64_t)n;
    } else if (n < 0) {
        CHECK_EQ(errno, EAGAIN);
    }
    if (moves >= moves_wanted && p->side.out % RECORD == 0) {
        CHECK_EQ(shutdown(p->fd, SHUT_WR), 0);
        p->over = true;
    }
}

static void client_receive(struct peer *p) {
    static uint8_t data[40000];
    ssize_t n = recv(p->fd, data, 1 + rng_below(&p->rng, sizeof data), MSG_DONTWAIT);
    if (n < 0) {
        CHECK_EQ(errno, EAGAIN);
        return;
    }
    p->at_end = n == 0;
    check_bytes(&p->side, data, (size_t)n);
}

static void run_peers(void) {
    struct pollfd polls[CLIENTS];
    uint32_t left = CLIENTS;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct peer *p = &peers[i];
        uint8_t name = (uint8_t)i;
        *p = (struct peer){.side = {.id = i}, .fd = connect_to(service), .rng = i + 7};
        CHECK_EQ(send(p->fd, &name, 1, 0), 1);
    }
    while (left > 0) {
        for (uint32_t i = 0; i < CLIENTS; i++) {
            const struct peer *p = &peers[i];
            polls[i].fd = p->at_end ? -1 : p->fd;
            polls[i].events = (short)(POLLIN | (p->over ? 0 : POLLOUT));
        }
        CHECK_GT(poll(polls, CLIENTS, -1), 0);
        for (uint32_t i = 0; i < CLIENTS; i++) {
            struct peer *p = &peers[i];
            if (!p->over && (polls[i].revents & POLLOUT) != 0) {
                client_send(p);
            }
            if (!p->at_end && (polls[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
                rng_below(&p->rng, 3) > 0) {
                client_receive(p);
                left -= p->at_end;
            }
        }
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        CHECK(peers[i].over);
        CHECK_EQ(close(peers[i].fd), 0);
    }
}

/* ---- the test ---- */

static void move_under_load(xev_service_options o) {
    const char *wanted = getenv("XEV_TEST_MOVES");
    uint64_t rng = 5;
    char path[] = "/tmp/xev-move-XXXXXX";
    moves_wanted = wanted != NULL ? atol(wanted) : (long)rounds(4000);
    for (uint32_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = i < PERIOD ? (uint8_t)rng_below(&rng, 256) : pattern[i - PERIOD];
    }
    pattern_file = mkstemp(path);
    CHECK_GE(pattern_file, 0);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(write(pattern_file, pattern, sizeof pattern), sizeof pattern);
    o.policy = XEV_SERVE_LEAST;
    o.conns.handlers = &moving;
    o.conns.user_bytes = sizeof(struct user);
    service = add_service(&o);
    run_with_clients(SHARDS, run_peers);
    CHECK_GE(moves, moves_wanted);
    CHECK_EQ(ended, CLIENTS);
    CHECK_EQ(lent, 0);
    CHECK_EQ(slots, 0);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        CHECK_EQ(total_in[i], peers[i].side.out);
        CHECK_EQ(total_out[i], peers[i].side.in);
    }
    xev_service_counters c = count_of(service);
    CHECK_EQ(c.served, CLIENTS);
    CHECK_EQ(c.connections, 0);
    CHECK_EQ(c.moved_in, moves);
    CHECK_EQ(c.moved_out, moves);
    for (uint32_t i = 0; i < SHARDS; i++) {
        CHECK_EQ(xev_serve_live(serve, i), 0);
    }
    printf("%ld moves, %ld refused\n", (long)moves, (long)refusals);
    CHECK_EQ(close(pattern_file), 0);
    xev_serve_free(serve);
}

TEST_TIMEOUT(moved_connections_lose_and_repeat_no_byte, 3000) {
    move_under_load(service_options("m", "127.0.0.1:0"));
}

TEST_TIMEOUT(moved_unix_connections_lose_and_repeat_no_byte, 3000) {
    move_under_load(service_options("m", abstract_address()));
}

/* Requests to move wait for room in the mailbox. */
TEST_TIMEOUT(moves_through_full_mailboxes_lose_nothing, 3000) {
    xev_service_options o = service_options("m", "127.0.0.1:0");
    options.mailbox = 1;
    move_under_load(o);
}

/* The output is small, here and in the system, and reading stops and goes on often. */
TEST_TIMEOUT(moves_of_connections_that_are_held_back_lose_nothing, 3000) {
    xev_service_options o = service_options("m", "127.0.0.1:0");
    o.conns.high_bytes = 4096;
    o.unsent_bytes = 4096;
    o.conns.slots_max = 2;
    move_under_load(o);
}
