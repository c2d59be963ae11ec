/* Connections, and the way of a command to the shards that have its keys.
 *
 * A command whose key is this shard's is carried out at once. Another shard is asked with the text
 * of the request, by a gather, which keeps the place of the reply; so replies keep their order.
 * What one connection sends about one key is carried out in its order; commands about keys of
 * different shards may be carried out at the same time.
 *
 * MGET is one GET for each key. It goes on where it stopped for want of room: it stays in the
 * connection's input, and client.next says what is done of it. MSET, DEL and EXISTS are one request
 * for each shard that has some of the keys.
 */
#include <stdio.h>

#include "examples/kv_sharded/kv.h"

#define ASK_BYTES 1024        /* what an ask counts at least */
#define OUT_BYTES (64u << 10) /* of replies, before the connection may send them */
#define AHEAD 16              /* requests of a pipeline that are looked at together */

/* What becomes of a command. */
enum outcome {
    DONE,
    HOLD, /* it goes on later, from the connection's input */
    END,  /* the connection ends */
};

/* What another shard is asked; behind it the request. */
struct head {
    const struct command *command;
    uint64_t hash;
    bool resp3;
};

/* ---- answers ---- */

static void on_part(xev_gather *g, int result, const void *answer, size_t len_bytes) {
    struct store *s = xev_gather_gatherer(g)->userdata;
    struct sum *sum = xev_gather_user(g);
    if (sum->command != NULL) {
        sum_add(s, sum, result, answer, len_bytes);
    } else if (result < 0) {
        buffer_clear(&s->more);
        put_error(&s->more, "%s", error_of(result));
        xev_gather_fill(g, s->more.p, s->more.len);
    } else {
        xev_gather_fill(g, answer, len_bytes);
    }
}

static void on_all(xev_gather *g) {
    struct store *s = xev_gather_gatherer(g)->userdata;
    struct sum *sum = xev_gather_user(g);
    if (sum->command != NULL) {
        buffer_clear(&s->more);
        sum_finish(sum, &s->more);
        xev_gather_fill(g, s->more.p, s->more.len);
    }
}

/* Carry out a request that is a text. */
static int run_text(struct call *c) {
    struct requests *r = &c->store->asked;
    r->args.len = 0;
    if (request_parse(r, c->text.p, c->text.len) < 0) {
        return XEV_ENOMEM;
    }
    c->argv = (struct slice *)(void *)r->args.p;
    c->argc = r->args.len / sizeof *c->argv;
    return c->command->run(c);
}

/* On the shard that is asked. */
static void on_ask(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    struct store *s = store_of(self);
    const struct head *head = argument;
    struct call call = {.command = head->command,
                        .store = s,
                        .text = {(const char *)(head + 1), (uint32_t)(len_bytes - sizeof *head), 0},
                        .hash = head->hash,
                        .resp3 = head->resp3,
                        .ask = ask,
                        .out = &s->out};
    buffer_clear(&s->out);
    s->now = now_ms();
    int rc = run_text(&call);
    if (call.command->kind != KIND_SAVE) {
        xev_ask_answer(ask, s->out.failed ? XEV_EMSGSIZE : rc, s->out.p, s->out.len);
    }
}

void route_init(struct store *s) {
    s->gatherer = (xev_gatherer){.ask = on_ask,
                                 .part = on_part,
                                 .all = on_all,
                                 .share_offset = offsetof(struct client, share),
                                 .userdata = s};
}

/* ---- asks ---- */

bool client_flush(xev_conn *conn, struct store *s) {
    bool ok = !s->out.failed && xev_conn_write(conn, s->out.p, s->out.len) == 0;
    buffer_clear(&s->out);
    if (!ok) {
        xev_conn_abort(conn);
    }
    return ok;
}

/* The place of a reply behind those so far. NULL: the connection ends. */
static xev_gather *begin(const struct call *c, size_t bytes) {
    xev_gather *g = NULL;
    if (client_flush(c->conn, c->store) &&
        (g = xev_gather_new(&c->store->gatherer, c->conn, bytes)) == NULL) {
        xev_conn_abort(c->conn);
    }
    return g;
}

static void ask_shard(const struct call *c, uint32_t to, xev_gather *g, size_t bytes) {
    const struct head head = {c->command, c->hash, c->resp3};
    const xev_vec vec[] = {{(void *)(uintptr_t)&head, sizeof head},
                           {(void *)(uintptr_t)c->text.p, c->text.len}};
    xev_gather_ask(g, xev_runtime_shard(app.runtime, to), vec, 2, bytes);
}

static inline enum outcome run_here(struct call *c) {
    (void)c->command->run(c);
    return DONE;
}

/* Carry it out on one shard. */
static enum outcome run_on_one(struct call *c, uint32_t to) {
    const struct command *command = c->command;
    size_t bytes = ASK_BYTES + c->text.len;
    xev_gather *g;
    if (to == c->store->id && command->kind != KIND_SAVE) {
        return run_here(c);
    }
    if (command->value_argc > 0 && c->argc >= (size_t)command->value_argc) {
        bytes += atomic_load_explicit(&app.stores[to].table.largest, memory_order_relaxed);
    }
    if (!xev_gather_may_ask(&c->store->gatherer, c->conn, bytes)) {
        return HOLD;
    }
    if ((g = begin(c, sizeof(struct command *))) == NULL) {
        return END;
    }
    ask_shard(c, to, g, bytes);
    xev_gather_end(g);
    return DONE;
}

/* ---- commands of several keys ---- */

static enum outcome run_each(const struct call *whole) {
    struct client *client = xev_conn_user(whole->conn);
    struct store *s = whole->store;
    struct slice argv[2] = {slice_of("get")};
    struct call c = *whole;
    size_t from = s->out.len;
    c.command = command_find(argv[0]);
    c.argv = argv;
    c.argc = 2;
    if (client->next == 0) {
        put_number(&s->out, '*', (long long)whole->argc - 1);
    }
    for (; client->next < whole->argc - 1; client->next++) {
        argv[1] = whole->argv[1 + client->next];
        c.hash = key_hash(argv[1]);
        buffer_clear(&s->text);
        put_number(&s->text, '*', 2);
        put_bulk(&s->text, argv[0]);
        put_bulk(&s->text, argv[1]);
        c.text = (struct slice){s->text.p, (uint32_t)s->text.len, 0};
        enum outcome o =
            xev_gather_may_ask(&s->gatherer, c.conn, 0) ? run_on_one(&c, shard_of(c.hash)) : HOLD;
        if (o == HOLD && client->next == 0) {
            s->out.len = from;
        }
        if (o != DONE || (s->out.len > OUT_BYTES && !client_flush(c.conn, s))) {
            return o != DONE ? o : END;
        }
    }
    client->next = 0;
    return DONE;
}

/* Make text a request with those keys of a SUM that are a shard's. How many arguments it has. */
static size_t put_part(const struct call *c, uint32_t shard, struct buffer *text) {
    size_t argc = 1;
    for (size_t i = 1; i < c->argc; i++) {
        argc += c->argv[i].shard == shard;
    }
    buffer_clear(text);
    put_number(text, '*', (long long)argc);
    put_bulk(text, c->argv[0]);
    for (size_t i = 1; i < c->argc; i++) {
        if (c->argv[i].shard == shard) {
            put_bulk(text, c->argv[i]);
        }
    }
    return argc;
}

/* Carry out what is this shard's. */
static void run_own(struct call *c, struct sum *sum, int (*run)(struct call *c)) {
    struct store *s = c->store;
    buffer_clear(&s->more);
    c->out = &s->more;
    int rc = run(c);
    sum_add(s, sum, s->more.failed ? XEV_ENOMEM : rc, s->more.p, s->more.len);
}

static enum outcome run_sum(struct call *c) {
    struct store *s = c->store;
    struct sum sum = {.command = c->command, .resp3 = c->resp3};
    size_t step = (size_t)c->command->step;
    bool elsewhere = step == 0 && app.shards > 1;
    for (size_t i = 1; step > 0 && i < c->argc; i++) {
        bool is_key = (i - 1) % step == 0;
        c->argv[i].shard = is_key ? shard_of(key_hash(c->argv[i])) : c->argv[i - 1].shard;
        elsewhere |= c->argv[i].shard != s->id;
    }
    if (!elsewhere) {
        run_own(c, &sum, c->command->run);
        sum_finish(&sum, &s->out);
        return DONE;
    }
    size_t bytes = app.shards * (size_t)ASK_BYTES + c->text.len * (step > 0 ? 1 : app.shards);
    if (!xev_gather_may_ask(&s->gatherer, c->conn, bytes)) {
        return HOLD;
    }
    xev_gather *g = begin(c, sizeof sum);
    if (g == NULL) {
        return END;
    }
    *(struct sum *)xev_gather_user(g) = sum;
    for (uint32_t to = 0; to < app.shards; to++) {
        struct call part = *c;
        if (step > 0 && put_part(c, to, &s->text) == 1) {
            continue; /* no key is this shard's */
        }
        if (step > 0) {
            part.text = (struct slice){s->text.p, (uint32_t)s->text.len, 0};
        }
        if (to == s->id) {
            run_own(&part, xev_gather_user(g), run_text);
        } else {
            ask_shard(&part, to, g, ASK_BYTES + part.text.len);
        }
    }
    xev_gather_end(g);
    return DONE;
}

/* ---- requests ---- */

static void put_unknown(const struct call *c) {
    char text[128] = "";
    int len = 0;
    for (size_t i = 1; i < c->argc && len < 64; i++) {
        len += snprintf(text + len, 60, "'%.*s' ", c->argv[i].len < 56 ? (int)c->argv[i].len : 56,
                        c->argv[i].p);
    }
    put_error(c->out, "ERR unknown command '%.*s', with args beginning with: %s",
              c->argv[0].len < 128 ? (int)c->argv[0].len : 128, c->argv[0].p, text);
}

static enum outcome run(struct call *c) {
    const struct command *command = c->command;
    uint32_t shard = 0, place;
    if (c->argc == 0) {
        return DONE;
    }
    if (command == NULL) {
        put_unknown(c);
        return DONE;
    }
    if ((command->arity >= 0 ? c->argc != (size_t)command->arity
                             : c->argc < (size_t)-command->arity) ||
        (command->step > 0 && (c->argc - 1) % (size_t)command->step != 0)) {
        put_error(c->out, "ERR wrong number of arguments for '%s' command", command->name);
        return DONE;
    }
    switch (command->kind) {
    case KIND_LOCAL:
        return command->run(c) < 0 ? END : DONE;
    case KIND_KEY:
        shard = shard_of(c->hash);
        return shard == c->store->id ? run_here(c) : run_on_one(c, shard);
    case KIND_SCAN:
        (void)cursor_parse(c->argv[1], &shard, &place);
        return run_on_one(c, shard);
    case KIND_SAVE:
        return run_on_one(c, 0);
    case KIND_EACH:
        return run_each(c);
    default:
        return run_sum(c);
    }
}

/* Read up to AHEAD requests of a pipeline. Returns how many; *used is of the last attempt, as of
 * request_parse. */
static int read_ahead(struct store *s, const char *p, size_t len, struct call *calls,
                      ptrdiff_t *used) {
    struct requests *r = &s->requests;
    size_t first[AHEAD];
    int n = 0;
    buffer_clear(&r->args);
    do {
        first[n] = r->args.len;
        *used = request_parse(r, p, len);
        if (*used <= 0) {
            break;
        }
        const struct slice *argv = (const struct slice *)(void *)(r->args.p + first[n]);
        struct call *c = &calls[n++];
        c->store = s;
        c->argc = (r->args.len - first[n - 1]) / sizeof *argv;
        c->text = (struct slice){p, (uint32_t)*used, 0};
        c->command = c->argc > 0 ? command_find(argv[0]) : NULL;
        c->hash = c->command != NULL && c->command->kind == KIND_KEY && c->argc > 1
                      ? key_hash(argv[1])
                      : 0;
        p += *used;
        len -= (size_t)*used;
    } while (n < AHEAD && len > 0 && *p == '*');
    for (int i = 0; i < n; i++) {
        calls[i].argv = (struct slice *)(void *)(r->args.p + first[i]);
    }
    /* The keys of a pipeline come into the cache together, and not one after the other. */
    for (int step = 0; n > 1 && step < 3; step++) {
        for (int i = 0; i < n; i++) {
            if (calls[i].hash != 0) {
                table_prefetch(&s->table, calls[i].hash, step);
            }
        }
    }
    return n;
}

static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    struct store *s = xev_conn_service_loop(xev_conn_service_of(conn))->userdata;
    const struct client *client = xev_conn_user(conn);
    struct call calls[AHEAD];
    const char *p = data, *end = p + len_bytes;
    ptrdiff_t used = 1;
    enum outcome outcome = DONE;
    buffer_clear(&s->out);
    s->now = now_ms();
    while (p < end && used > 0 && outcome == DONE && s->out.len <= OUT_BYTES) {
        int count = read_ahead(s, p, (size_t)(end - p), calls, &used);
        for (int i = 0; i < count && outcome == DONE; i++) {
            calls[i].conn = conn;
            calls[i].resp3 = client->resp3;
            calls[i].out = &s->out;
            outcome = run(&calls[i]);
            if (outcome != HOLD) {
                p += calls[i].text.len;
                stat_add(&s->table, STAT_COMMANDS, 1);
            }
        }
    }
    if (outcome == DONE && used < 0) {
        put_error(&s->out, "%s", s->requests.error);
    } else if (outcome == DONE && used == 0 && p == data) {
        xev_conn_need(conn, s->requests.need);
    }
    if (outcome != END) {
        (void)client_flush(conn, s);
    }
    return outcome == DONE && used < 0 ? XEV_EINVAL : p - (const char *)data;
}

const xev_conn_handlers client_handlers = {.data = on_data};
