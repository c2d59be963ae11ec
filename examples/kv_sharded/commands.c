/* The commands, and what they do on the shard that has the key. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "examples/kv_sharded/kv.h"

#define SCAN_BUCKETS 10 /* looked at for each key that COUNT asks for */
#define SCAN_COUNT_MAX 10000
#define NAME_MAX_BYTES 256

static const char not_integer[] = "ERR value is not an integer or out of range";
static const char syntax_error[] = "ERR syntax error";
static const char no_memory[] = "OOM command not allowed when used memory > 'maxmemory'.";

const char *error_of(int code) {
    return code == XEV_ENOMEM     ? no_memory
           : code == XEV_EMSGSIZE ? "ERR the reply is too long"
           : code == XEV_EAGAIN   ? "ERR the server is busy"
                                  : "ERR the server ends";
}

/* ---- replies ---- */

static int reply_number(struct call *c, long long n) { return put_number(c->out, ':', n), DONE; }
static int reply_text(struct call *c, const char *text) { return put_text(c->out, text), DONE; }
static int reply_ok(struct call *c) { return reply_text(c, "+OK\r\n"); }
static int reply_bulk(struct call *c, struct slice s) { return put_bulk(c->out, s), DONE; }
static int reply_nil(struct call *c) { return put_nil(c->out, c->resp3), DONE; }
static int reply_error(struct call *c, const char *text) {
    return put_error(c->out, "%s", text), DONE;
}
/* format has a place for argument i, of which no more than 64 bytes are shown. */
#define REPLY_ERROR_OF(c, format, i)                                                               \
    (put_error((c)->out, format, (int)((c)->argv[i].len < 64 ? (c)->argv[i].len : 64),             \
               (c)->argv[i].p),                                                                    \
     DONE)

static int reply_value(struct call *c, const struct entry *e) {
    *(e != NULL ? &c->store->hits : &c->store->misses) += 1;
    return e != NULL ? reply_bulk(c, entry_value(e)) : reply_nil(c);
}

/* False: the reply says that the argument is none. */
static bool number_arg(struct call *c, size_t i, long long *n) {
    return number_parse(c->argv[i], n) || (reply_error(c, not_integer), false);
}

static struct entry *find(const struct call *c) {
    return table_find(&c->store->table, c->argv[1], c->hash, c->store->now);
}

/* NULL: the reply says that there is no room. */
static struct entry *set(struct call *c, struct slice value, int64_t expires_ms, size_t extra) {
    struct entry *e = table_set(&c->store->table, c->argv[1], c->hash, value, expires_ms, extra);
    if (e == NULL) {
        reply_error(c, no_memory);
    }
    return e;
}

/* ---- strings ---- */

/* A time that is given in units of so many ms, from base on; false: it is out of range. */
static bool deadline(long long n, int64_t unit_ms, int64_t base, int64_t *at) {
    return !__builtin_mul_overflow(n, unit_ms, at) && !__builtin_add_overflow(*at, base, at);
}

struct set_options {
    int64_t expires_ms;
    bool nx, xx, get, keep;
};

/* The options of SET. NULL, or what is wrong. */
static const char *set_options(const struct call *c, struct set_options *o) {
    static const struct {
        const char *name;
        int64_t unit_ms;
        bool from_now;
    } times[] = {{"ex", 1000, true}, {"px", 1, true}, {"exat", 1000, false}, {"pxat", 1, false}};
    size_t t, time = 4, time_at = 0;
    long long n;
    for (size_t i = 3; i < c->argc; i++) {
        for (t = 0; t < 4 && !word_is(c->argv[i], times[t].name);) {
            t++;
        }
        if (t < 4 && (time == 4 || time == t) && !o->keep && i + 1 < c->argc) {
            time = t;
            time_at = ++i;
        } else if (word_is(c->argv[i], "nx") && !o->xx) {
            o->nx = true;
        } else if (word_is(c->argv[i], "xx") && !o->nx) {
            o->xx = true;
        } else if (word_is(c->argv[i], "get")) {
            o->get = true;
        } else if (word_is(c->argv[i], "keepttl") && time == 4) {
            o->keep = true;
        } else {
            return syntax_error;
        }
    }
    if (time == 4) {
        return NULL;
    }
    if (!number_parse(c->argv[time_at], &n)) {
        return not_integer;
    }
    return n > 0 && deadline(n, times[time].unit_ms, times[time].from_now ? c->store->now : 0,
                             &o->expires_ms)
               ? NULL
               : "ERR invalid expire time in 'set' command";
}

static int run_set(struct call *c) {
    struct set_options o = {0};
    const char *error = c->argc > 3 ? set_options(c, &o) : NULL;
    if (error != NULL) {
        return reply_error(c, error);
    }
    size_t from = c->out->len;
    const struct entry *e = o.nx || o.xx || o.get || o.keep ? find(c) : NULL;
    if (o.get) {
        reply_value(c, e);
    }
    if ((o.nx && e != NULL) || (o.xx && e == NULL)) {
        return o.get ? DONE : reply_nil(c);
    }
    int64_t expires = o.keep && e != NULL ? e->expires_ms : o.expires_ms;
    if (table_set(&c->store->table, c->argv[1], c->hash, c->argv[2], expires, 0) == NULL) {
        c->out->len = from;
        return reply_error(c, no_memory);
    }
    return o.get ? DONE : reply_ok(c);
}

static int run_get(struct call *c) { return reply_value(c, find(c)); }

static int run_getset(struct call *c) {
    const struct slice argv[] = {c->argv[0], c->argv[1], c->argv[2], {"get", 3}};
    struct call as_set = *c;
    as_set.argv = argv;
    as_set.argc = 4;
    return run_set(&as_set);
}

static int run_setnx(struct call *c) {
    bool there = find(c) != NULL;
    return there || set(c, c->argv[2], 0, 0) != NULL ? reply_number(c, !there) : DONE;
}

static int run_strlen(struct call *c) {
    const struct entry *e = find(c);
    return reply_number(c, e != NULL ? e->value_len : 0);
}

static int run_type(struct call *c) {
    return reply_text(c, find(c) != NULL ? "+string\r\n" : "+none\r\n");
}

/* By arg, or by arg times the third argument. */
static int run_incr(struct call *c) {
    const struct entry *e = find(c);
    long long n = 0, by = 1;
    char text[24];
    if (c->argc == 3 && !number_arg(c, 2, &by)) {
        return DONE;
    }
    if (by == LLONG_MIN && c->command->arg < 0) {
        return reply_error(c, "ERR decrement would overflow");
    }
    if (e != NULL && !number_parse(entry_value(e), &n)) {
        return reply_error(c, not_integer);
    }
    if (__builtin_add_overflow(n, by * c->command->arg, &n)) {
        return reply_error(c, "ERR increment or decrement would overflow");
    }
    struct slice value = {text, (size_t)snprintf(text, sizeof text, "%lld", n)};
    e = set(c, value, e != NULL ? e->expires_ms : 0, 0);
    return e != NULL ? reply_number(c, n) : DONE;
}

static int run_append(struct call *c) {
    struct entry *e = find(c);
    struct slice head = e != NULL ? entry_value(e) : slice_of(""), tail = c->argv[2];
    struct buffer *whole = &c->store->more;
    if (head.len + tail.len > REQUEST_MAX) {
        return reply_error(c, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    }
    if (e != NULL && head.len + tail.len <= e->room) {
        memcpy(e->bytes + e->key_len + head.len, tail.p, tail.len);
        e->value_len += (uint32_t)tail.len;
        return reply_number(c, e->value_len);
    }
    buffer_clear(whole);
    put_bytes(whole, head.p, head.len);
    put_bytes(whole, tail.p, tail.len);
    if (whole->failed) {
        return reply_error(c, no_memory);
    }
    e = set(c, (struct slice){whole->p, whole->len}, e != NULL ? e->expires_ms : 0,
            e != NULL ? whole->len / 2 : 0);
    return e != NULL ? reply_number(c, e->value_len) : DONE;
}

/* ---- expiry: arg is the unit in ms ---- */

static int run_expire(struct call *c) {
    long long n;
    int64_t at;
    struct entry *e = find(c);
    if (c->argc > 3) {
        return REPLY_ERROR_OF(c, "ERR Unsupported option %.*s", 3);
    }
    if (!number_arg(c, 2, &n)) {
        return DONE;
    }
    if (!deadline(n, c->command->arg, c->store->now, &at)) {
        put_error(c->out, "ERR invalid expire time in '%s' command", c->command->name);
        return DONE;
    }
    if (e != NULL && at <= c->store->now) {
        table_delete(&c->store->table, e);
    } else if (e != NULL) {
        table_set_expiry(&c->store->table, e, at);
    }
    return reply_number(c, e != NULL);
}

static int run_ttl(struct call *c) {
    const struct entry *e = find(c);
    int unit = c->command->arg;
    return reply_number(c, e == NULL ? -2
                           : e->expires_ms == 0
                               ? -1
                               : (e->expires_ms - c->store->now + unit / 2) / unit);
}

static int run_persist(struct call *c) {
    struct entry *e = find(c);
    bool expires = e != NULL && e->expires_ms != 0;
    if (expires) {
        table_set_expiry(&c->store->table, e, 0);
    }
    return reply_number(c, expires);
}

/* ---- each of several keys ---- */

static int run_exists(struct call *c) { return find(c) != NULL; }

static int run_del(struct call *c) {
    struct entry *e = find(c);
    if (e != NULL) {
        table_delete(&c->store->table, e);
    }
    return e != NULL;
}

static int run_mset(struct call *c) {
    return table_set(&c->store->table, c->argv[1], c->hash, c->argv[2], 0, 0) != NULL ? 0
                                                                                      : XEV_ENOMEM;
}

/* ---- all keys ---- */

/* Append the keys that match and have a place from *at on, until there are count or so many buckets
 * were looked at. Returns how many; *at moves on. */
static uint32_t put_keys(const struct table *t, uint64_t *at, struct slice pattern, uint64_t count,
                         uint64_t buckets, int64_t now, struct buffer *out) {
    uint32_t found = 0;
    while (*at < TABLE_END && found < count && buckets-- > 0) {
        uint64_t end;
        for (struct entry *e = table_walk(t, *at, &end); e != NULL; e = e->next) {
            if (entry_place(e) >= *at && !entry_expired(e, now) &&
                glob_match(pattern, entry_key(e))) {
                put_bulk(out, entry_key(e));
                found++;
            }
        }
        *at = end;
    }
    return found;
}

/* A cursor is a shard and a place. */
static bool cursor_parse(struct slice s, uint64_t *shard, uint64_t *at) {
    long long n;
    bool ok = number_parse(s, &n) && n >= 0;
    *shard = ok ? (uint64_t)n / (2 * TABLE_END) : 0;
    *at = ok ? (uint64_t)n % (2 * TABLE_END) : 0;
    return ok && *shard < app.shards && *at <= TABLE_END;
}

uint32_t scan_shard(struct slice cursor) {
    uint64_t shard, at;
    (void)cursor_parse(cursor, &shard, &at);
    return shard < app.shards ? (uint32_t)shard : 0;
}

static int run_scan(struct call *c) {
    uint64_t shard, at;
    struct slice pattern = {"*", 1};
    long long count = 10;
    bool strings = true;
    struct buffer *keys = &c->store->more;
    if (!cursor_parse(c->argv[1], &shard, &at)) {
        return reply_error(c, "ERR invalid cursor");
    }
    for (size_t i = 2; i < c->argc; i += 2) {
        bool value = i + 1 < c->argc;
        if (value && word_is(c->argv[i], "count")) {
            if (!number_arg(c, i + 1, &count)) {
                return DONE;
            }
        } else if (value && word_is(c->argv[i], "match")) {
            pattern = c->argv[i + 1];
        } else if (value && word_is(c->argv[i], "type")) {
            strings = word_is(c->argv[i + 1], "string");
        } else {
            count = 0;
        }
        if (count < 1) {
            return reply_error(c, syntax_error);
        }
    }
    count = count < SCAN_COUNT_MAX ? count : SCAN_COUNT_MAX;
    buffer_clear(keys);
    uint32_t found = put_keys(&c->store->table, &at, pattern, (uint64_t)count,
                              (uint64_t)count * SCAN_BUCKETS, c->store->now, keys);
    if (!strings) {
        found = 0;
        buffer_clear(keys);
    }
    uint64_t next = at < TABLE_END           ? shard * 2 * TABLE_END + at
                    : shard + 1 < app.shards ? (shard + 1) * 2 * TABLE_END
                                             : 0;
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)next);
    put_text(c->out, "*2\r\n");
    put_bulk(c->out, slice_of(text));
    put_number(c->out, '*', found);
    put_bytes(c->out, keys->p, keys->len);
    c->out->failed |= keys->failed;
    return DONE;
}

/* Every answer to a command for all shards begins with these. count: what was found. */
static void put_stats(struct call *c, uint64_t count) {
    struct store *s = c->store;
    const struct table *t = &s->table;
    xev_conn_counters conns;
    xev_conn_service_count(s->conns, &conns);
    uint64_t stats[STATS] = {
        [STAT_KEYS] = t->count,        [STAT_EXPIRES] = t->expiring,
        [STAT_MEMORY] = t->used_bytes, [STAT_COMMANDS] = s->commands,
        [STAT_HITS] = s->hits,         [STAT_MISSES] = s->misses,
        [STAT_EXPIRED] = t->expired,   [STAT_EVICTED] = t->evicted,
        [STAT_COUNT] = count,          [STAT_CLIENTS] = conns.connections,
    };
    if (s->id == 0) {
        snapshot_stats(stats);
    }
    put_bytes(c->out, stats, sizeof stats);
}

static int run_stats(struct call *c) { return put_stats(c, c->store->table.count), DONE; }

static int run_flushall(struct call *c) {
    table_flush(&c->store->table);
    return run_stats(c);
}

static int run_randomkey(struct call *c) {
    const struct entry *e = table_random(&c->store->table, c->store->now);
    put_stats(c, e != NULL ? c->store->table.count : 0);
    if (e != NULL) {
        put_bytes(c->out, e->bytes, e->key_len);
    }
    return DONE;
}

static int run_keys(struct call *c) {
    struct buffer *out = c->out;
    size_t head = out->len;
    uint64_t at = 0, count;
    put_stats(c, 0);
    count = put_keys(&c->store->table, &at, c->argv[1], UINT64_MAX, UINT64_MAX, c->store->now, out);
    if (!out->failed) {
        memcpy(out->p + head + STAT_COUNT * sizeof count, &count, sizeof count);
    }
    return DONE;
}

/* ---- the replies of many shards ---- */

static void finish_ok(struct sum *sum, struct buffer *out) {
    (void)sum;
    put_text(out, "+OK\r\n");
}

static void finish_count(struct sum *sum, struct buffer *out) {
    put_number(out, ':', (long long)sum->stats[STAT_COUNT]);
}

static void finish_keys(struct sum *sum, struct buffer *out) {
    put_number(out, '*', (long long)sum->stats[STAT_COUNT]);
    put_bytes(out, sum->data.p, sum->data.len);
}

static void finish_randomkey(struct sum *sum, struct buffer *out) {
    if (sum->stats[STAT_COUNT] == 0) {
        put_nil(out, sum->resp3);
    } else {
        put_bulk(out, (struct slice){sum->data.p, sum->data.len});
    }
}

static void finish_info(struct sum *sum, struct buffer *out) {
    static const char *const names[STATS] = {
        [STAT_KEYS] = "keys",
        [STAT_EXPIRES] = "expires",
        [STAT_MEMORY] = "used_memory",
        [STAT_COMMANDS] = "total_commands_processed",
        [STAT_HITS] = "keyspace_hits",
        [STAT_MISSES] = "keyspace_misses",
        [STAT_EXPIRED] = "expired_keys",
        [STAT_EVICTED] = "evicted_keys",
        [STAT_CLIENTS] = "connected_clients",
        [STAT_SAVING] = "rdb_bgsave_in_progress",
        [STAT_SAVE_FAILED] = "rdb_last_save_failed",
        [STAT_LAST_SAVE] = "rdb_last_save_time",
    };
    char text[2048];
    const uint64_t *stats = sum->stats;
    int len =
        snprintf(text, sizeof text, "# Server\r\nserver_name:xev-kv\r\nshards:%u\r\nbackend:%s\r\n",
                 app.shards, app.backend);
    for (int i = 0; i < STAT_COUNT; i++) {
        len += snprintf(text + len, sizeof text - (size_t)len, "%s:%llu\r\n", names[i],
                        (unsigned long long)stats[i]);
    }
    if (stats[STAT_KEYS] > 0) {
        snprintf(text + len, sizeof text - (size_t)len,
                 "# Keyspace\r\ndb0:keys=%llu,expires=%llu,avg_ttl=0\r\n",
                 (unsigned long long)stats[STAT_KEYS], (unsigned long long)stats[STAT_EXPIRES]);
    }
    if (sum->resp3) {
        put_number(out, '=', (long long)strlen(text) + 4);
        put_text(out, "txt:");
        put_text(out, text);
        put_text(out, "\r\n");
    } else {
        put_bulk(out, slice_of(text));
    }
}

void sum_add(struct store *s, struct sum *sum, int result, const char *answer, size_t len) {
    uint64_t stats[STATS];
    if (result < 0) {
        sum->error = error_of(result);
        return;
    }
    if (sum->command->kind == KIND_EACH) {
        sum->stats[STAT_COUNT] += (uint64_t)result;
        return;
    }
    memcpy(stats, answer, sizeof stats);
    for (int i = 0; i < STATS; i++) {
        sum->stats[i] += stats[i];
    }
    if (sum->command->run == run_randomkey) { /* of each shard's, by how many keys it has */
        uint64_t count = stats[STAT_COUNT];
        if (count == 0 || random_number(&s->table.random) % sum->stats[STAT_COUNT] >= count) {
            return;
        }
        buffer_clear(&sum->data);
    }
    put_bytes(&sum->data, answer + sizeof stats, len - sizeof stats);
}

/* ---- connections ---- */

static int run_ping(struct call *c) {
    return c->argc == 1   ? reply_text(c, "+PONG\r\n")
           : c->argc == 2 ? reply_bulk(c, c->argv[1])
                          : reply_error(c, "ERR wrong number of arguments for 'ping' command");
}

static int run_echo(struct call *c) { return reply_bulk(c, c->argv[1]); }

static int run_select(struct call *c) {
    long long n;
    return !number_arg(c, 1, &n) ? DONE
           : n == 0              ? reply_ok(c)
                                 : reply_error(c, "ERR DB index is out of range");
}

/* There is nothing to get; redis-benchmark asks. */
static int run_config(struct call *c) {
    return word_is(c->argv[1], "get") ? (put_number(c->out, c->resp3 ? '%' : '*', 0), DONE)
                                      : reply_error(c, "ERR CONFIG has GET only");
}

static int run_quit(struct call *c) {
    reply_ok(c);
    if (client_flush(c->conn, c->store)) {
        xev_conn_finish(c->conn);
    }
    return END;
}

/* False: the reply says what is wrong with it. */
static bool set_name(struct call *c, struct slice name) {
    struct client *client = xev_conn_user(c->conn);
    char *copy = NULL;
    for (size_t i = 0; i < name.len; i++) {
        if (name.p[i] < '!' || name.p[i] > '~') {
            reply_error(c,
                        "ERR Client names cannot contain spaces, newlines or special characters.");
            return false;
        }
    }
    if (name.len > 0 && (name.len > NAME_MAX_BYTES || (copy = strndup(name.p, name.len)) == NULL)) {
        reply_error(c, "ERR the name is too long");
        return false;
    }
    free(client->name);
    client->name = copy;
    return true;
}

static int run_hello(struct call *c) {
    struct client *client = xev_conn_user(c->conn);
    long long version = client->resp3 ? 3 : 2;
    if (c->argc > 1 && !number_parse(c->argv[1], &version)) {
        return reply_error(c, "ERR Protocol version is not an integer or out of range");
    }
    if (version < 2 || version > 3) {
        return reply_error(c, "NOPROTO unsupported protocol version");
    }
    if (c->argc > 2 && !(c->argc == 4 && word_is(c->argv[2], "setname"))) {
        return REPLY_ERROR_OF(c, "ERR syntax error in HELLO option '%.*s'", 2);
    }
    if (c->argc == 4 && !set_name(c, c->argv[3])) {
        return DONE;
    }
    client->resp3 = version == 3;
    put_number(c->out, client->resp3 ? '%' : '*', client->resp3 ? 7 : 14);
    put_text(c->out, "$6\r\nserver\r\n$6\r\nxev-kv\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n"
                     "$5\r\nproto\r\n");
    put_number(c->out, ':', version);
    put_text(c->out, "$2\r\nid\r\n");
    put_number(c->out, ':', (long long)xev_conn_handle_of(c->conn));
    return reply_text(c, "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
                         "$7\r\nmodules\r\n*0\r\n");
}

static int run_client(struct call *c) {
    const struct client *client = xev_conn_user(c->conn);
    struct slice what = c->argv[1];
    if (word_is(what, "id") && c->argc == 2) {
        return reply_number(c, (long long)xev_conn_handle_of(c->conn));
    }
    if (word_is(what, "getname") && c->argc == 2) {
        return client->name != NULL ? reply_bulk(c, slice_of(client->name)) : reply_nil(c);
    }
    if (word_is(what, "setname") && c->argc == 3) {
        return set_name(c, c->argv[2]) ? reply_ok(c) : DONE;
    }
    if (word_is(what, "setinfo") && c->argc == 4) {
        return reply_ok(c);
    }
    return REPLY_ERROR_OF(c, "ERR unknown subcommand or wrong number of arguments for '%.*s'", 1);
}

static int run_command(struct call *c);

/* ---- the table of commands ---- */

#define C(name) name, sizeof name - 1

const struct command commands[] = {
    /* name, kind, arity, value_argc, run, finish, arg */
    // clang-format off
    {C("append"), KIND_KEY, 3, 0, run_append, NULL, 0},
    {C("bgsave"), KIND_SAVE, -1, 0, NULL, NULL, BGSAVE},
    {C("client"), KIND_LOCAL, -2, 0, run_client, NULL, 0},
    {C("command"), KIND_LOCAL, -1, 0, run_command, NULL, 0},
    {C("config"), KIND_LOCAL, -2, 0, run_config, NULL, 0},
    {C("dbsize"), KIND_ALL, 1, 0, run_stats, finish_count, 0},
    {C("decr"), KIND_KEY, 2, 0, run_incr, NULL, -1},
    {C("decrby"), KIND_KEY, 3, 0, run_incr, NULL, -1},
    {C("del"), KIND_EACH, -2, 0, run_del, finish_count, 1},
    {C("echo"), KIND_LOCAL, 2, 0, run_echo, NULL, 0},
    {C("exists"), KIND_EACH, -2, 0, run_exists, finish_count, 1},
    {C("expire"), KIND_KEY, -3, 0, run_expire, NULL, 1000},
    {C("flushall"), KIND_ALL, -1, 0, run_flushall, finish_ok, 0},
    {C("get"), KIND_KEY, 2, 2, run_get, NULL, 0},
    {C("getset"), KIND_KEY, 3, 3, run_getset, NULL, 0},
    {C("hello"), KIND_LOCAL, -1, 0, run_hello, NULL, 0},
    {C("incr"), KIND_KEY, 2, 0, run_incr, NULL, 1},
    {C("incrby"), KIND_KEY, 3, 0, run_incr, NULL, 1},
    {C("info"), KIND_ALL, -1, 0, run_stats, finish_info, 0},
    {C("keys"), KIND_ALL, 2, 0, run_keys, finish_keys, 0},
    {C("lastsave"), KIND_SAVE, 1, 0, NULL, NULL, LASTSAVE},
    {C("mget"), KIND_EACH, -2, 2, run_get, NULL, 1},
    {C("mset"), KIND_EACH, -3, 0, run_mset, finish_ok, 2},
    {C("persist"), KIND_KEY, 2, 0, run_persist, NULL, 0},
    {C("pexpire"), KIND_KEY, -3, 0, run_expire, NULL, 1},
    {C("ping"), KIND_LOCAL, -1, 0, run_ping, NULL, 0},
    {C("pttl"), KIND_KEY, 2, 0, run_ttl, NULL, 1},
    {C("quit"), KIND_LOCAL, -1, 0, run_quit, NULL, 0},
    {C("randomkey"), KIND_ALL, 1, 0, run_randomkey, finish_randomkey, 0},
    {C("save"), KIND_SAVE, 1, 0, NULL, NULL, SAVE},
    {C("scan"), KIND_SCAN, -2, 0, run_scan, NULL, 0},
    {C("select"), KIND_LOCAL, 2, 0, run_select, NULL, 0},
    {C("set"), KIND_KEY, -3, 4, run_set, NULL, 0},
    {C("setnx"), KIND_KEY, 3, 0, run_setnx, NULL, 0},
    {C("strlen"), KIND_KEY, 2, 0, run_strlen, NULL, 0},
    {C("ttl"), KIND_KEY, 2, 0, run_ttl, NULL, 1000},
    {C("type"), KIND_KEY, 2, 0, run_type, NULL, 0},
    {C("unlink"), KIND_EACH, -2, 0, run_del, finish_count, 1},
    // clang-format on
};

#define COMMANDS (sizeof commands / sizeof *commands)

/* All of them: name, arity, flags, first key, last key, step; or names only. */
static int put_commands(struct call *c, bool names_only) {
    put_number(c->out, '*', COMMANDS);
    for (size_t i = 0; i < COMMANDS; i++) {
        const struct command *d = &commands[i];
        bool keyed = d->kind == KIND_KEY || d->kind == KIND_EACH;
        if (!names_only) {
            put_text(c->out, "*6\r\n");
        }
        put_bulk(c->out, slice_of(d->name));
        if (!names_only) {
            put_number(c->out, ':', d->arity);
            put_text(c->out, "*0\r\n");
            put_number(c->out, ':', keyed);
            put_number(c->out, ':', !keyed ? 0 : d->kind == KIND_KEY ? 1 : -1);
            put_number(c->out, ':', !keyed ? 0 : d->kind == KIND_KEY ? 1 : d->arg);
        }
    }
    return DONE;
}

static int run_command(struct call *c) {
    if (c->argc == 1 || (c->argc == 2 && word_is(c->argv[1], "list"))) {
        return put_commands(c, c->argc == 2);
    }
    if (c->argc == 2 && word_is(c->argv[1], "count")) {
        return reply_number(c, COMMANDS);
    }
    if (word_is(c->argv[1], "docs")) {
        return put_number(c->out, c->resp3 ? '%' : '*', 0), DONE;
    }
    return REPLY_ERROR_OF(c, "ERR unknown subcommand '%.*s'. Try COMMAND HELP.", 1);
}

#define NAMES 256u
static struct {
    uint64_t word;
    const struct command *command;
} names[NAMES]; /* by the hash of word */

/* Its first eight bytes, in lower case. Names are letters only, so no other byte becomes one. */
static uint64_t name_word(struct slice name) {
    uint64_t word = 0x2020202020202020;
    if (name.len >= 8) {
        uint64_t eight;
        memcpy(&eight, name.p, 8);
        return word | eight;
    }
    for (size_t i = 0; i < name.len; i++) {
        word |= (uint64_t)(uint8_t)name.p[i] << 8 * i;
    }
    return word;
}

static uint32_t name_slot(uint64_t word) {
    return (uint32_t)(word * UINT64_C(0x9E3779B97F4A7C15) >> 56);
}

void commands_init(void) {
    for (size_t i = 0; i < COMMANDS; i++) {
        uint64_t word = name_word(slice_of(commands[i].name));
        uint32_t at = name_slot(word);
        while (names[at].command != NULL) {
            at = (at + 1) % NAMES;
        }
        names[at].word = word;
        names[at].command = &commands[i];
    }
}

const struct command *command_find(struct slice name) {
    uint64_t word = name_word(name);
    for (uint32_t at = name_slot(word); names[at].command != NULL; at = (at + 1) % NAMES) {
        const struct command *c = names[at].command;
        if (names[at].word == word && c->name_len == name.len &&
            (name.len <= 8 || word_is(name, c->name))) {
            return c;
        }
    }
    return NULL;
}
