/* Connections, and the way of a command to the shards that have its keys.
 *
 * A command whose key is this shard's is carried out at once. For another shard's it asks, by a
 * gather, which keeps the place of the reply; so replies keep their order. What one connection
 * sends about one key is carried out in its order; commands about keys of different shards may be
 * carried out at the same time. MGET, MSET, DEL and EXISTS are one ask for each key, and not
 * atomic.
 *
 * One command of many keys goes on where it stopped for want of room: it stays in the connection's
 * input, and client.next says what is done of it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "examples/kv_sharded/kv.h"

#define ASK_BYTES 1024        /* what an ask counts at least */
#define OUT_BYTES (64u << 10) /* of replies, before the connection may send them */
#define ASK_ARGS_MAX 16
#define AHEAD 16 /* requests of a pipeline that are looked at together */

/* What another shard is asked; behind it the arguments. */
struct head {
    uint64_t hash;
    uint8_t command, argc;
    bool resp3;
    uint32_t lens[ASK_ARGS_MAX]; /* as many as there are arguments */
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
    if (sum->command == NULL) {
        return;
    }
    buffer_clear(&s->more);
    if (sum->error != NULL) {
        put_error(&s->more, "%s", sum->error);
    } else {
        sum->command->finish(sum, &s->more);
    }
    if (s->more.failed || sum->data.failed) {
        buffer_clear(&s->more);
        put_error(&s->more, "ERR out of memory");
    }
    xev_gather_fill(g, s->more.p, s->more.len);
    free(sum->data.p);
}

/* On the shard that is asked. */
static void on_ask(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    struct store *s = store_of(self);
    const struct head *head = argument;
    const char *p = (const char *)(head->lens + head->argc);
    struct slice argv[ASK_ARGS_MAX];
    (void)len_bytes;
    for (uint32_t i = 0; i < head->argc; i++) {
        argv[i] = (struct slice){p, head->lens[i]};
        p += head->lens[i];
    }
    struct call call = {.command = &commands[head->command],
                        .store = s,
                        .argv = argv,
                        .argc = head->argc,
                        .hash = head->hash,
                        .resp3 = head->resp3,
                        .out = &s->out};
    if (call.command->kind == KIND_SAVE) {
        snapshot_ask(self, ask, call.command->arg);
        return;
    }
    buffer_clear(&s->out);
    s->now = now_ms();
    int rc = call.command->run(&call);
    xev_ask_answer(ask, s->out.failed ? XEV_EMSGSIZE : rc, s->out.p, s->out.len);
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
    if (s->out.len == 0 && !s->out.failed) {
        return true;
    }
    bool ok = !s->out.failed && xev_conn_write(conn, s->out.p, s->out.len) == 0;
    buffer_clear(&s->out);
    if (!ok) {
        xev_conn_abort(conn);
    }
    return ok;
}

/* The place of a reply behind those so far. NULL: the connection ends. */
static xev_gather *begin(const struct call *c, bool many) {
    xev_gather *g = NULL;
    size_t bytes = many ? sizeof(struct sum) : sizeof(struct command *);
    if (client_flush(c->conn, c->store) &&
        (g = xev_gather_new(&c->store->gatherer, c->conn, bytes)) == NULL) {
        xev_conn_abort(c->conn);
    }
    if (g != NULL && many) {
        *(struct sum *)xev_gather_user(g) = (struct sum){.command = c->command, .resp3 = c->resp3};
    }
    return g;
}

/* Ask a shard, for a part of the reply of g; NULL: for a reply of its own. */
static enum outcome ask_shard(const struct call *c, uint32_t to, xev_gather *g) {
    struct head head;
    xev_vec vec[1 + ASK_ARGS_MAX];
    size_t bytes = ASK_BYTES;
    bool alone = g == NULL;
    if (c->argc > ASK_ARGS_MAX) {
        put_error(c->out, "ERR syntax error");
        return DONE;
    }
    head.hash = c->hash;
    head.command = (uint8_t)(c->command - commands);
    head.argc = (uint8_t)c->argc;
    head.resp3 = c->resp3;
    vec[0] = (xev_vec){&head, offsetof(struct head, lens) + c->argc * sizeof *head.lens};
    for (size_t i = 0; i < c->argc; i++) {
        head.lens[i] = (uint32_t)c->argv[i].len;
        vec[1 + i] = (xev_vec){(void *)(uintptr_t)c->argv[i].p, c->argv[i].len};
        bytes += c->argv[i].len;
    }
    if (c->command->value_argc > 0 && c->argc >= c->command->value_argc) {
        bytes += atomic_load_explicit(&app.stores[to].table.largest, memory_order_relaxed);
    }
    if (!xev_gather_may_ask(&c->store->gatherer, c->conn, bytes)) {
        return HOLD;
    }
    if (alone && (g = begin(c, false)) == NULL) {
        return END;
    }
    xev_gather_ask(g, xev_runtime_shard(app.runtime, to), vec, 1 + c->argc, bytes);
    if (alone) {
        xev_gather_end(g);
    }
    return DONE;
}

/* ---- commands ---- */

static enum outcome run_on_one(struct call *c) {
    uint8_t kind = c->command->kind;
    uint32_t to = kind == KIND_KEY    ? shard_of(c->hash)
                  : kind == KIND_SCAN ? scan_shard(c->argv[1])
                                      : 0;
    return to != c->store->id || kind == KIND_SAVE ? ask_shard(c, to, NULL)
                                                   : (enum outcome)c->command->run(c);
}

/* One of the parts of a command: of EACH a key, of ALL a shard. */
static enum outcome run_part(const struct call *whole, uint32_t part, xev_gather *g) {
    struct store *s = whole->store;
    struct call c = *whole;
    struct slice keyed[3] = {c.argv[0]};
    uint32_t to = part;
    if (c.command->kind == KIND_EACH) {
        size_t each = (size_t)c.command->arg;
        memcpy(keyed + 1, c.argv + 1 + part * each, each * sizeof *keyed);
        c.hash = key_hash(keyed[1]);
        c.argv = keyed;
        c.argc = 1 + each;
        to = shard_of(c.hash);
    }
    if (to != s->id) {
        return ask_shard(&c, to, g);
    }
    if (g == NULL) {
        (void)c.command->run(&c);
        return s->out.len <= OUT_BYTES || client_flush(c.conn, s) ? DONE : END;
    }
    buffer_clear(&s->more);
    c.out = &s->more;
    int rc = c.command->run(&c);
    sum_add(s, xev_gather_user(g), s->more.failed ? XEV_ENOMEM : rc, s->more.p, s->more.len);
    return DONE;
}

/* A command of several parts begins, or goes on. */
static enum outcome run_parts(const struct call *c) {
    struct client *client = xev_conn_user(c->conn);
    size_t each = (size_t)c->command->arg;
    uint32_t parts = c->command->kind == KIND_ALL ? app.shards : (uint32_t)((c->argc - 1) / each);
    if (c->command->kind == KIND_EACH && (c->argc - 1) % each != 0) {
        put_error(c->out, "ERR wrong number of arguments for '%s' command", c->command->name);
        return DONE;
    }
    if (!client->begun && c->command->finish == NULL) {
        put_number(c->out, '*', parts);
    } else if (!client->begun && (client->gather = begin(c, true)) == NULL) {
        return END;
    }
    client->begun = true;
    for (; client->next < parts; client->next++) {
        if (xev_conn_queued_bytes(c->conn) > HIGH_BYTES) {
            xev_conn_pause(
                c->conn); /* called again with the same input, when its output has gone */
            xev_conn_resume(c->conn);
            return HOLD;
        }
        enum outcome o = run_part(c, client->next, client->gather);
        if (o != DONE) {
            return o;
        }
    }
    xev_gather *g = client->gather;
    client->gather = NULL;
    client->begun = false;
    client->next = 0;
    if (g != NULL) {
        xev_gather_end(g);
    }
    return DONE;
}

static void put_unknown(struct buffer *out, const struct slice *argv, size_t argc) {
    char text[128] = "";
    size_t len = 0;
    for (size_t i = 1; i < argc && len < 110; i++) {
        int room = (int)(sizeof text - 8 - len), n = argv[i].len < 64 ? (int)argv[i].len : 64;
        len += (size_t)snprintf(text + len, sizeof text - len, "'%.*s' ", n < room ? n : room,
                                argv[i].p);
    }
    put_error(out, "ERR unknown command '%.*s', with args beginning with: %s",
              argv[0].len < 128 ? (int)argv[0].len : 128, argv[0].p, text);
}

/* A request that was read. */
struct read {
    const struct command *command; /* NULL: there is none of this name */
    uint64_t hash;                 /* of the key, where the kind of the command is KEY */
    size_t first, argc;            /* of the arguments */
    size_t end;                    /* where it ends in the input */
};

static enum outcome run(xev_conn *conn, struct store *s, const struct read *read) {
    const struct command *c = read->command;
    struct call call = {.command = c,
                        .store = s,
                        .argv = s->requests.argv + read->first,
                        .argc = read->argc,
                        .hash = read->hash,
                        .resp3 = ((const struct client *)xev_conn_user(conn))->resp3,
                        .conn = conn,
                        .out = &s->out};
    if (read->argc == 0) {
        return DONE;
    }
    if (c == NULL) {
        put_unknown(&s->out, call.argv, read->argc);
        return DONE;
    }
    if (c->arity >= 0 ? read->argc != (size_t)c->arity : read->argc < (size_t)-c->arity) {
        put_error(&s->out, "ERR wrong number of arguments for '%s' command", c->name);
        return DONE;
    }
    return c->kind == KIND_LOCAL                         ? (enum outcome)c->run(&call)
           : c->kind == KIND_EACH || c->kind == KIND_ALL ? run_parts(&call)
                                                         : run_on_one(&call);
}

/* ---- connections ---- */

/* Read up to AHEAD requests from at on. Returns how many; *used is of the last attempt, as of
 * request_parse. */
static int read_ahead(struct store *s, const char *p, size_t at, size_t len, struct read *reads,
                      ptrdiff_t *used) {
    struct requests *r = &s->requests;
    int n = 0;
    r->len = 0;
    do {
        struct read *read = &reads[n];
        read->first = r->len;
        *used = request_parse(r, p + at, len - at);
        if (*used <= 0) {
            break;
        }
        at += (size_t)*used;
        read->end = at;
        read->argc = r->len - read->first;
        read->command = read->argc > 0 ? command_find(r->argv[read->first]) : NULL;
        read->hash = read->command != NULL && read->command->kind == KIND_KEY && read->argc > 1
                         ? key_hash(r->argv[read->first + 1])
                         : 0;
        n++;
    } while (n < AHEAD && at < len && p[at] == '*');
    /* The keys of a pipeline come into the cache together, and not one after the other. */
    for (int step = 0; n > 1 && step < 3; step++) {
        for (int i = 0; i < n; i++) {
            if (reads[i].hash != 0) {
                table_prefetch(&s->table, reads[i].hash, step);
            }
        }
    }
    return n;
}

static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    struct store *s = xev_conn_service_loop(xev_conn_service_of(conn))->userdata;
    struct client *client = xev_conn_user(conn);
    struct read reads[AHEAD];
    size_t at = 0;
    ptrdiff_t used = 1;
    enum outcome outcome = DONE;
    buffer_clear(&s->out);
    s->now = now_ms();
    while (at < len_bytes && used > 0 && outcome == DONE && s->out.len <= OUT_BYTES) {
        int count = read_ahead(s, data, at, len_bytes, reads, &used);
        for (int i = 0; i < count && outcome == DONE; i++) {
            outcome = run(conn, s, &reads[i]);
            s->commands += !client->begun;
            at = outcome != HOLD ? reads[i].end : at;
        }
    }
    if (used < 0 && outcome == DONE) {
        put_error(&s->out, "%s", s->requests.error);
        (void)client_flush(conn, s);
        return XEV_EINVAL;
    }
    if (used == 0 && at == 0 && outcome == DONE) {
        xev_conn_need(conn, s->requests.need);
    }
    if (outcome != END) {
        (void)client_flush(conn, s);
    }
    return (ptrdiff_t)at;
}

static void on_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    struct client *client = xev_conn_user(conn);
    xev_gather *g = client->gather;
    (void)code;
    if (g != NULL && reason == XEV_CONN_LOOP_ENDED) {
        free(((struct sum *)xev_gather_user(g))->data.p);
        xev_gather_drop(g);
    } else if (g != NULL) {
        xev_gather_end(g);
    }
    free(client->name);
}

const xev_conn_handlers client_handlers = {.data = on_data, .closed = on_closed};
