/* Connections that ask: for one slot, by gathers that end with their connection and by those that
 * do not, while they come, go in order, are reset, abort, and move between three shards. Asks are
 * answered at once, kept and watched, kept and not watched, or never answered in time. Every reply
 * comes in its order; every callback once; and in the end nobody keeps anything.
 *
 * XEV_TEST_STEPS is the number of what clients do, XEV_TEST_SEED the seed. */
#include "tests/random.h"
#include "tests/serve_scene.h"
#include "xev/gather.h"

enum { SHARDS = 3, CLIENTS = 8, MOST = 3000 };

enum kind { NOW, WATCHED, UNWATCHED, UNWATCHED_TOO, GATHER, DETACHED, WRITE, MOVE, CHAIN, KINDS };
#define ABORT 255 /* the byte */

static xev_service *service;
static atomic_long asks, answered, gathers, gathered, told, cancelled, late;
static uint64_t seed;
static atomic_bool drains;

struct user {
    xev_gather_share share, detached_share;
};

/* ---- the asked shard ---- */

struct kept {
    struct kept *next, **at;
    xev_ask *ask;
    char byte;
};

static struct {
    struct kept *first;
    uint64_t rng;
} on[SHARDS];

static uint32_t self_id(void) { return xev_shard_id(xev_shard_current()); }

static uint32_t pick(uint32_t n) { return rng_below(&on[self_id()].rng, n); }

static void answer_kept(struct kept *k) {
    *k->at = k->next;
    if (k->next != NULL) {
        k->next->at = k->at;
    }
    xev_ask_answer(k->ask, 0, &k->byte, 1);
    free(k);
}

static void on_over(xev_shard *self, xev_ask *ask, void *userdata) {
    struct kept *k = userdata;
    CHECK(xev_shard_current() == self && k->ask == ask && xev_ask_is_over(ask));
    told++;
    answer_kept(k);
}

static void on_byte(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    const char *byte = argument;
    uint32_t id = xev_shard_id(self);
    CHECK_EQ(len, 2);
    while (on[id].first != NULL && pick(3) > 0) {
        answer_kept(on[id].first);
    }
    if (byte[1] == NOW || drains || pick(3) == 0) {
        xev_ask_answer(ask, 0, byte, 1);
        return;
    }
    struct kept *k = malloc(sizeof *k);
    CHECK(k != NULL);
    *k = (struct kept){on[id].first, &on[id].first, ask, byte[0]};
    if (k->next != NULL) {
        k->next->at = &k->next;
    }
    on[id].first = k;
    if (byte[1] == WATCHED && !xev_ask_watch(ask, k, on_over)) {
        answer_kept(k);
    }
}

/* ---- the asking one ---- */

static void check_answer(char byte, int result, const void *answer, size_t len) {
    answered++;
    if (result == 0) {
        CHECK_EQ(len, 1);
        CHECK_EQ(*(const char *)answer, byte);
    } else {
        CHECK(result == XEV_ECANCELED || result == XEV_ETIMEDOUT || result == XEV_EAGAIN);
        CHECK_EQ(len, 0);
        cancelled += result == XEV_ECANCELED;
        late += result == XEV_ETIMEDOUT;
    }
}

struct one {
    xev_conn_slot *slot;
    char argument[2];
    uint32_t left; /* CHAIN: to be asked again */
};

static void on_one(xev_shard *self, int result, const void *answer, size_t len, void *userdata);

static bool ask_one(struct one *o) {
    static const uint32_t times_ms[] = {1, 20, 50};
    const xev_vec vec = {o->argument, 2};
    int rc = xev_conn_ask(o->slot, xev_runtime_shard(&runtime, pick(SHARDS)), &vec, 1,
                          times_ms[pick(3)], on_byte, o, on_one);
    CHECK(rc == 0 || rc == XEV_EAGAIN);
    asks += rc == 0;
    return rc == 0;
}

static void on_one(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    struct one *o = userdata;
    CHECK(xev_shard_current() == self);
    check_answer(o->argument[0], result, answer, len);
    if (o->left > 0 && o->left-- > 0 && ask_one(o)) {
        return; /* also where the connection has gone: that is cancelled at once */
    }
    if (result == XEV_ECANCELED && !drains) {
        CHECK(xev_conn_slot_conn(o->slot) == NULL);
    }
    xev_conn_fill(o->slot, o->argument, 1);
    free(o);
}

static void on_part(xev_gather *g, int result, const void *answer, size_t len) {
    const char *user = xev_gather_user(g);
    check_answer(user[0], result, answer, len);
}

static void on_all(xev_gather *g) {
    const char *user = xev_gather_user(g);
    gathered++;
    xev_gather_fill(g, user, 1);
}

static xev_gatherer gatherers[SHARDS][2]; /* whose asks end with the connection; detached */

static bool gather(xev_conn *c, char byte, enum kind kind) {
    xev_gatherer *of = &gatherers[self_id()][kind == DETACHED];
    if (!xev_gather_may_ask(of, c, 10)) {
        return false;
    }
    xev_gather *g = xev_gather_new(of, c, 1);
    if (g == NULL) {
        return true; /* it was just found out to be reset */
    }
    gathers++;
    *(char *)xev_gather_user(g) = byte;
    for (uint32_t i = 0; i < SHARDS; i++) {
        char argument[2] = {byte, (char)pick(4)};
        const xev_vec vec = {argument, 2};
        asks++;
        xev_gather_ask(g, xev_runtime_shard(&runtime, i), &vec, 1, 10);
    }
    xev_gather_end(g);
    return true;
}

static bool take_byte(xev_conn *c, char byte) {
    enum kind kind = (enum kind)((unsigned char)byte % KINDS);
    if ((unsigned char)byte == ABORT) {
        xev_conn_abort(c);
        return true;
    }
    if (kind == GATHER || kind == DETACHED) {
        return gather(c, byte, kind);
    }
    if (kind == WRITE || kind == MOVE) {
        (void)xev_conn_write(c, &byte, 1);
        if (kind == MOVE) {
            (void)!xev_serve_move(c, (self_id() + 1 + pick(SHARDS - 1)) % SHARDS);
        }
        return true;
    }
    struct one *o = malloc(sizeof *o);
    CHECK(o != NULL);
    *o = (struct one){.slot = xev_conn_reserve(c), .argument = {byte, (char)kind}};
    if (o->slot == NULL) {
        free(o);
        return true;
    }
    if (kind == CHAIN) {
        o->left = 2;
        o->argument[1] = (char)pick(4);
    }
    if (!ask_one(o)) {
        xev_conn_fill(o->slot, &byte, 1);
        free(o);
    }
    return true;
}

/* One at a time: what it does may hold back the rest. */
static ptrdiff_t on_data(xev_conn *c, const void *data, size_t len) {
    (void)len;
    return take_byte(c, *(const char *)data);
}

/* ---- the clients ---- */

struct peer {
    int fd; /* -1: none */
    size_t sent, got;
    bool broken;
    char bytes[MOST];
};

static struct peer peers[CLIENTS];
static uint64_t rng;

static void send_some(struct peer *p) {
    size_t n = 1 + rng_below(&rng, 20);
    if (p->sent + n > MOST) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t b = rng_below(&rng, 2000);
        p->bytes[p->sent + i] = (char)(b == 0 ? ABORT : b % ABORT);
        p->broken |= b == 0;
    }
    if (send(p->fd, p->bytes + p->sent, n, MSG_NOSIGNAL) == (ssize_t)n) {
        p->sent += n;
    } else {
        CHECK(p->broken);
    }
}

/* False: it has ended. */
static bool receive_some(struct peer *p, int flags) {
    char in[300];
    ssize_t n = recv(p->fd, in, sizeof in, flags);
    if (n <= 0) {
        CHECK(n == 0 || p->broken || errno == EAGAIN);
        return n < 0 && errno == EAGAIN;
    }
    CHECK_LE(p->got + (size_t)n, p->sent);
    CHECK_MEM_EQ(in, p->bytes + p->got, (size_t)n);
    p->got += (size_t)n;
    return true;
}

static void leave(struct peer *p) {
    uint32_t how = rng_below(&rng, 4);
    if (how == 0) {
        const struct linger reset = {1, 0};
        CHECK_EQ(setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    } else if (how == 1) {
        (void)shutdown(p->fd, SHUT_WR);
        while (receive_some(p, 0)) {
        }
        CHECK(p->broken || p->got == p->sent);
    }
    CHECK_EQ(close(p->fd), 0);
    p->fd = -1;
}

static void run_peers(void) {
    const char *wanted = getenv("XEV_TEST_STEPS");
    long steps = wanted != NULL ? atol(wanted) : (long)rounds(3000);
    for (int i = 0; i < CLIENTS; i++) {
        peers[i].fd = -1;
    }
    for (; steps > 0; steps--) {
        struct peer *p = &peers[rng_below(&rng, CLIENTS)];
        uint32_t what = rng_below(&rng, 40);
        if (p->fd < 0) {
            *p = (struct peer){.fd = connect_to(service)};
        } else if (what < 20) {
            send_some(p);
        } else if (what < 35) {
            (void)receive_some(p, MSG_DONTWAIT);
        } else {
            leave(p);
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        if (peers[i].fd >= 0) {
            leave(&peers[i]);
        }
    }
}

static void on_drain(xev_shard *self, void *userdata) {
    uint32_t id = xev_shard_id(self);
    (void)userdata;
    drains = true;
    while (on[id].first != NULL) {
        answer_kept(on[id].first);
    }
}

static atomic_int ended_shards;

static void on_stop(xev_shard *self, void *userdata) {
    xev_shard_counters c;
    (void)userdata;
    xev_shard_count(self, &c);
    CHECK(on[xev_shard_id(self)].first == NULL);
    CHECK_EQ(gatherers[xev_shard_id(self)][0].under_way_bytes, 0);
    CHECK_EQ(gatherers[xev_shard_id(self)][1].under_way_bytes, 0);
    ended_shards++;
}

static void ask_under_load(void) {
    static const xev_conn_handlers handlers = {.data = on_data};
    const char *wanted = getenv("XEV_TEST_SEED");
    xev_service_options o = service_options("a", "127.0.0.1:0");
    seed = wanted != NULL ? strtoull(wanted, NULL, 0) : 1;
    rng = mix(seed);
    for (uint32_t i = 0; i < SHARDS; i++) {
        on[i].rng = mix(seed + i + 1);
        for (int k = 0; k < 2; k++) {
            gatherers[i][k] = (xev_gatherer){
                .ask = on_byte,
                .part = on_part,
                .all = on_all,
                .share_offset =
                    k == 0 ? offsetof(struct user, share) : offsetof(struct user, detached_share),
                .conn_max_bytes = 300,
                .timeout_ms = 20,
                .detached = k == 1,
            };
        }
    }
    o.conns.handlers = &handlers;
    o.conns.user_bytes = sizeof(struct user);
    o.conns.slots_max = 100;
    service = add_service(&o);
    options.drain = on_drain;
    options.stop = on_stop;
    run_with_clients(SHARDS, run_peers);
    printf("%ld asks, %ld cancelled, %ld late, %ld told\n", (long)asks, (long)cancelled, (long)late,
           (long)told);
    CHECK_EQ(ended_shards, SHARDS);
    CHECK_EQ(asks, answered);
    CHECK_EQ(gathers, gathered);
    CHECK_GT(cancelled, 0);
    xev_service_counters c = count_of(service);
    CHECK_EQ(c.connections, 0);
    CHECK_GT(c.moved_in, 0);
    for (uint32_t i = 0; i < SHARDS; i++) {
        CHECK_EQ(xev_serve_live(serve, i), 0);
    }
    xev_serve_free(serve);
}

TEST_TIMEOUT(asks_of_connections_that_come_go_and_move, 3000) { ask_under_load(); }

TEST_TIMEOUT(the_same_through_full_mailboxes, 3000) {
    options.mailbox = 2;
    options.asks = 200;
    ask_under_load();
}
