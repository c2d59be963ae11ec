/* The commands, and what they do on the shard that has the key. */
#include <limits.h>
#include <stdio.h>

#include "examples/kv_sharded/kv.h"

#define SCAN_BUCKETS 10 /* looked at for each key that COUNT asks for */
#define SCAN_COUNT_MAX 10000

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

static int reply_number(struct call *c, long long n) { return put_number(c->out, ':', n), 0; }
static int reply_text(struct call *c, const char *text) { return put_text(c->out, text), 0; }
static int reply_ok(struct call *c) { return reply_text(c, "+OK\r\n"); }
static int reply_bulk(struct call *c, struct slice s) { return put_bulk(c->out, s), 0; }
static int reply_nil(struct call *c) { return put_nil(c->out, c->resp3), 0; }
static int reply_error(struct call *c, const char *text) {
    return put_error(c->out, "%s", text), 0;
}
/* The head of a map of so many pairs; in RESP2 an array of twice as many. */
static int reply_map(struct call *c, int pairs) {
    return put_number(c->out, c->resp3 ? '%' : '*', c->resp3 ? pairs : 2 * pairs), 0;
}

/* format has a place for argument i, of which no more than 64 bytes are shown. */
#define REPLY_ERROR_OF(c, format, i)                                                               \
    (put_error((c)->out, format, (c)->argv[i].len < 64 ? (int)(c)->argv[i].len : 64,               \
               (c)->argv[i].p),                                                                    \
     0)

static int reply_value(struct call *c, const struct entry *e) {
    stat_add(&c->store->table, e != NULL ? STAT_HITS : STAT_MISSES, 1);
    return e != NULL ? reply_bulk(c, entry_value(e)) : reply_nil(c);
}

/* False: the reply says that the argument is none. */
static bool number_arg(struct call *c, size_t i, long long *n) {
    return number_parse(c->argv[i], n) || (reply_error(c, not_integer), false);
}

/* ---- strings ---- */

static struct entry *find(const struct call *c) {
    return table_find(&c->store->table, c->argv[1], c->hash, c->store->now);
}

/* Give the key a value, after the first from bytes of the one it has. NULL: there is no room. */
static struct entry *put(struct call *c, size_t from, struct slice value, size_t spare) {
    struct entry *e = table_put(&c->store->table, c->argv[1], c->hash, from + value.len, spare);
    if (e != NULL && value.len > 0) {
        memcpy(e->bytes + e->key_len + from, value.p, value.len);
    }
    return e;
}

/* A time that is given in units of so many ms, from base on; false: it is out of range. */
static bool deadline(long long n, int64_t unit_ms, int64_t base, int64_t *at) {
    return !__builtin_mul_overflow(n, unit_ms, at) && !__builtin_add_overflow(*at, base, at);
}

enum { NX = 1, XX = 2, GET = 4, KEEP = 8, TIME = 16 };

/* Of SET. unit_ms: a number follows, a time in that unit. */
static const struct set_option {
    const char *name;
    int flag, excludes, unit_ms;
    bool from_now;
} set_options[] = {
    {"nx", NX, XX, 0, false},          {"xx", XX, NX, 0, false},       {"get", GET, 0, 0, false},
    {"keepttl", KEEP, TIME, 0, false}, {"ex", TIME, KEEP, 1000, true}, {"px", TIME, KEEP, 1, true},
    {"exat", TIME, KEEP, 1000, false}, {"pxat", TIME, KEEP, 1, false},
};

/* NULL, or what is wrong. */
static const char *parse_options(const struct call *c, int *flags, int64_t *expires_ms) {
    const struct set_option *end = set_options + sizeof set_options / sizeof *set_options, *o;
    const struct set_option *time = NULL;
    size_t time_at = 0;
    long long n;
    for (size_t i = 3; i < c->argc; i++) {
        for (o = set_options; o < end && !word_is(c->argv[i], o->name);) {
            o++;
        }
        if (o == end || (*flags & o->excludes) != 0 ||
            (o->unit_ms > 0 && (++i == c->argc || (time != NULL && time != o)))) {
            return syntax_error;
        }
        *flags |= o->flag;
        time = o->unit_ms > 0 ? o : time;
        time_at = o->unit_ms > 0 ? i : time_at;
    }
    if (time != NULL && !number_parse(c->argv[time_at], &n)) {
        return not_integer;
    }
    return time == NULL || (n > 0 && deadline(n, time->unit_ms, time->from_now ? c->store->now : 0,
                                              expires_ms))
               ? NULL
               : "ERR invalid expire time in 'set' command";
}

static int set(struct call *c, int flags, int64_t expires_ms) {
    size_t from = c->out->len;
    struct entry *e = (flags & ~TIME) != 0 ? find(c) : NULL;
    if ((flags & GET) != 0) {
        reply_value(c, e);
    }
    if (((flags & NX) != 0 && e != NULL) || ((flags & XX) != 0 && e == NULL)) {
        return (flags & GET) != 0 ? 0 : reply_nil(c);
    }
    expires_ms = (flags & KEEP) != 0 && e != NULL ? e->expires_ms : expires_ms;
    if ((e = put(c, 0, c->argv[2], 0)) == NULL) {
        c->out->len = from;
        return reply_error(c, no_memory);
    }
    table_set_expiry(&c->store->table, e, expires_ms);
    return (flags & GET) != 0 ? 0 : reply_ok(c);
}

static int run_set(struct call *c) {
    int flags = 0;
    int64_t expires_ms = 0;
    const char *error = c->argc > 3 ? parse_options(c, &flags, &expires_ms) : NULL;
    return error != NULL ? reply_error(c, error) : set(c, flags, expires_ms);
}

static int run_get(struct call *c) { return reply_value(c, find(c)); }

static int run_getset(struct call *c) { return set(c, GET, 0); }

static int run_setnx(struct call *c) {
    bool there = find(c) != NULL;
    return there || put(c, 0, c->argv[2], 0) != NULL ? reply_number(c, !there)
                                                     : reply_error(c, no_memory);
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
        return 0;
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
    snprintf(text, sizeof text, "%lld", n);
    return put(c, 0, slice_of(text), 0) != NULL ? reply_number(c, n) : reply_error(c, no_memory);
}

static int run_append(struct call *c) {
    const struct entry *e = find(c);
    size_t from = e != NULL ? e->value_len : 0, len = from + c->argv[2].len;
    if (c->argv[1].len + len > REQUEST_MAX) {
        return reply_error(c, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    }
    e = put(c, from, c->argv[2], e != NULL ? len / 2 : 0);
    return e != NULL ? reply_number(c, (long long)len) : reply_error(c, no_memory);
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
        return 0;
    }
    if (!deadline(n, c->command->arg, c->store->now, &at)) {
        put_error(c->out, "ERR invalid expire time in '%s' command", c->command->name);
        return 0;
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

/* ---- several keys, all keys ---- */

/* Of DEL, EXISTS and MSET, for each of the keys. */
static int run_each(struct call *c, int (*run)(struct call *one)) {
    int sum = 0, rc = 0;
    struct call one = *c;
    for (size_t i = 1; i < c->argc && rc >= 0; i += (size_t)c->command->step) {
        one.argv = c->argv + i - 1; /* the key is argv[1] */
        one.hash = key_hash(c->argv[i]);
        rc = run(&one);
        sum += rc;
    }
    return rc < 0 ? rc : sum;
}

static int exists_one(struct call *c) { return find(c) != NULL; }
static int del_one(struct call *c) {
    struct entry *e = find(c);
    if (e != NULL) {
        table_delete(&c->store->table, e);
    }
    return e != NULL;
}
static int mset_one(struct call *c) {
    struct entry *e = put(c, 0, c->argv[2], 0);
    return e != NULL ? (table_set_expiry(&c->store->table, e, 0), 0) : XEV_ENOMEM;
}

static int run_exists(struct call *c) { return run_each(c, exists_one); }
static int run_del(struct call *c) { return run_each(c, del_one); }
static int run_mset(struct call *c) { return run_each(c, mset_one); }

static int run_dbsize(struct call *c) { return (int)stat_get(&c->store->table, STAT_KEYS); }

/* What FLUSHALL has left for a thread of the pool to free. */
struct flushed {
    xev_completion work;
    struct table table;
};

static int free_flushed(void *userdata) {
    struct flushed *f = userdata;
    table_free(&f->table);
    return 0;
}

static xev_cb_action on_flushed(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop, (void)c;
    if (result < 0) { /* no thread took it */
        (void)free_flushed(userdata);
    }
    free(userdata);
    return XEV_DISARM;
}

static int run_flushall(struct call *c) {
    struct table *t = &c->store->table;
    struct flushed *f = aligned_alloc(_Alignof(struct flushed), sizeof *f);
    if (f == NULL) {
        return XEV_ENOMEM;
    }
    f->table = *t;
    if (!table_init(t)) {
        table_free(t);
        *t = f->table;
        free(f);
        return XEV_ENOMEM;
    }
    xev_work_submit(xev_shard_loop(xev_shard_current()), &f->work, XEV_LANE_CPU, free_flushed, f,
                    on_flushed);
    return 0;
}

static int run_randomkey(struct call *c) {
    const struct entry *e = table_random(&c->store->table, c->store->now);
    if (e != NULL) {
        put_bytes(c->out, e->bytes, e->key_len);
    }
    return e != NULL ? run_dbsize(c) : 0;
}

/* Append the keys that match and have a place from *at on, until there are count or so many buckets
 * were looked at. Returns how many; *at moves on, to 0 at the end. */
static int put_keys(struct call *c, uint32_t *at, struct slice pattern, int count, int buckets,
                    struct buffer *out) {
    int found = 0;
    do {
        uint32_t from = *at;
        for (struct entry *e = table_walk(&c->store->table, at); e != NULL; e = e->next) {
            if (e->hash >= from && !entry_expired(e, c->store->now) &&
                glob_match(pattern, entry_key(e))) {
                put_bulk(out, entry_key(e));
                found++;
            }
        }
    } while (*at != 0 && found < count && --buckets > 0);
    return found;
}

static int run_keys(struct call *c) {
    uint32_t at = 0;
    return put_keys(c, &at, c->argv[1], INT_MAX, INT_MAX, c->out);
}

bool cursor_parse(struct slice s, uint32_t *shard, uint32_t *at) {
    long long n;
    bool ok = number_parse(s, &n) && n >= 0 && n >> 32 < app.shards;
    *shard = ok ? (uint32_t)(n >> 32) : 0;
    *at = ok ? (uint32_t)n : 0;
    return ok;
}

static int run_scan(struct call *c) {
    uint32_t shard, at;
    struct slice pattern = {"*", 1, 0};
    long long count = 10;
    struct buffer *keys = &c->store->more;
    char text[24];
    if (!cursor_parse(c->argv[1], &shard, &at)) {
        return reply_error(c, "ERR invalid cursor");
    }
    for (size_t i = 2; i < c->argc; i += 2) {
        if (i + 1 < c->argc && word_is(c->argv[i], "match")) {
            pattern = c->argv[i + 1];
        } else if (i + 1 == c->argc || !word_is(c->argv[i], "count")) {
            return reply_error(c, syntax_error);
        } else if (!number_arg(c, i + 1, &count)) {
            return 0;
        }
    }
    if (count < 1) {
        return reply_error(c, syntax_error);
    }
    int most = count < SCAN_COUNT_MAX ? (int)count : SCAN_COUNT_MAX;
    buffer_clear(keys);
    int found = put_keys(c, &at, pattern, most, most * SCAN_BUCKETS, keys);
    shard += at == 0; /* the next one */
    snprintf(text, sizeof text, "%llu",
             shard < app.shards ? (unsigned long long)shard << 32 | at : 0ull);
    put_text(c->out, "*2\r\n");
    put_bulk(c->out, slice_of(text));
    put_number(c->out, '*', found);
    put_bytes(c->out, keys->p, keys->len);
    c->out->failed |= keys->failed;
    return 0;
}

void sum_add(struct store *s, struct sum *sum, int result, const void *data, size_t len) {
    if (result < 0) {
        sum->error = error_of(result);
        return;
    }
    sum->count += (uint64_t)result;
    if (sum->command->reply == SUM_ONE) { /* of each shard's, by how many keys it has */
        s->table.random = s->table.random * UINT64_C(6364136223846793005) + 1442695040888963407;
        if (result == 0 || (s->table.random >> 32) % sum->count >= (uint64_t)result) {
            return;
        }
        buffer_clear(&sum->data);
    }
    put_bytes(&sum->data, data, len);
}

void sum_finish(struct sum *sum, struct buffer *out) {
    const struct buffer *data = &sum->data;
    if (sum->error != NULL || data->failed) {
        put_error(out, "%s", sum->error != NULL ? sum->error : no_memory);
    } else if (sum->command->reply == SUM_OK) {
        put_text(out, "+OK\r\n");
    } else if (sum->command->reply == SUM_COUNT) {
        put_number(out, ':', (long long)sum->count);
    } else if (sum->command->reply == SUM_ARRAY) {
        put_number(out, '*', (long long)sum->count);
        put_bytes(out, data->p, data->len);
    } else if (sum->count > 0) {
        put_bulk(out, (struct slice){data->p, (uint32_t)data->len, 0});
    } else {
        put_nil(out, sum->resp3);
    }
    free(data->p);
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
    return !number_arg(c, 1, &n) ? 0
           : n == 0              ? reply_ok(c)
                                 : reply_error(c, "ERR DB index is out of range");
}

/* There is nothing to get; redis-benchmark asks. */
static int run_config(struct call *c) {
    return word_is(c->argv[1], "get") ? reply_map(c, 0) : reply_error(c, "ERR CONFIG has GET only");
}

static int run_quit(struct call *c) {
    reply_ok(c);
    if (client_flush(c->conn, c->store)) {
        xev_conn_finish(c->conn);
    }
    return -1;
}

/* False: the reply says what is wrong with it. */
static bool set_name(struct call *c, struct slice name) {
    struct client *client = xev_conn_user(c->conn);
    for (uint32_t i = 0; i < name.len; i++) {
        if (name.p[i] < '!' || name.p[i] > '~') {
            reply_error(c,
                        "ERR Client names cannot contain spaces, newlines or special characters.");
            return false;
        }
    }
    if (name.len >= NAME_BYTES) {
        reply_error(c, "ERR the name is too long");
        return false;
    }
    snprintf(client->name, NAME_BYTES, "%.*s", (int)name.len, name.p);
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
        return 0;
    }
    c->resp3 = client->resp3 = version == 3;
    reply_map(c, 7);
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
        return client->name[0] != '\0' ? reply_bulk(c, slice_of(client->name)) : reply_nil(c);
    }
    if (word_is(what, "setname") && c->argc == 3) {
        return set_name(c, c->argv[2]) ? reply_ok(c) : 0;
    }
    if (word_is(what, "setinfo") && c->argc == 4) {
        return reply_ok(c);
    }
    return REPLY_ERROR_OF(c, "ERR unknown subcommand or wrong number of arguments for '%.*s'", 1);
}

static int run_info(struct call *c) {
    static const char *const names[STATS] = {"keys",
                                             "expires",
                                             "used_memory",
                                             "total_commands_processed",
                                             "keyspace_hits",
                                             "keyspace_misses",
                                             "expired_keys",
                                             "evicted_keys",
                                             "rdb_bgsave_in_progress",
                                             "rdb_last_save_failed",
                                             "rdb_last_save_time"};
    unsigned long long stats[STATS] = {0}, clients = 0;
    char text[1024];
    for (uint32_t i = 0; i < app.shards; i++) {
        xev_service_counters counters;
        xev_service_count(app.service, i, &counters);
        clients += counters.connections;
        for (int k = 0; k < STATS; k++) {
            stats[k] += stat_get(&app.stores[i].table, (enum count)k);
        }
    }
    int len = snprintf(text, sizeof text,
                       "# Server\r\nserver_name:xev-kv\r\nshards:%u\r\nbackend:%s\r\n"
                       "connected_clients:%llu\r\n# Keyspace\r\ndb0:keys=%llu,expires=%llu\r\n",
                       app.shards, app.backend, clients, stats[STAT_KEYS], stats[STAT_EXPIRES]);
    for (int k = 0; k < STATS; k++) {
        len += snprintf(text + len, sizeof text - (size_t)len, "%s:%llu\r\n", names[k], stats[k]);
    }
    if (c->resp3) {
        put_number(c->out, '=', len + 4);
        put_text(c->out, "txt:");
        put_text(c->out, text);
        return reply_text(c, "\r\n");
    }
    return reply_bulk(c, slice_of(text));
}

static int run_lastsave(struct call *c) {
    return reply_number(c, (long long)stat_get(&app.stores[0].table, STAT_LAST_SAVE));
}

static int run_command(struct call *c);

/* ---- the table of commands ---- */

/* By name. */
static struct command commands[] = {
    {"append", KIND_KEY, 3, .run = run_append},
    {"bgsave", KIND_SAVE, -1, .run = run_save, .arg = false},
    {"client", KIND_LOCAL, -2, .run = run_client},
    {"command", KIND_LOCAL, -1, .run = run_command},
    {"config", KIND_LOCAL, -2, .run = run_config},
    {"dbsize", KIND_SUM, 1, .run = run_dbsize, .reply = SUM_COUNT},
    {"decr", KIND_KEY, 2, .run = run_incr, .arg = -1},
    {"decrby", KIND_KEY, 3, .run = run_incr, .arg = -1},
    {"del", KIND_SUM, -2, .run = run_del, .step = 1, .reply = SUM_COUNT},
    {"echo", KIND_LOCAL, 2, .run = run_echo},
    {"exists", KIND_SUM, -2, .run = run_exists, .step = 1, .reply = SUM_COUNT},
    {"expire", KIND_KEY, -3, .run = run_expire, .arg = 1000},
    {"flushall", KIND_SUM, -1, .run = run_flushall, .reply = SUM_OK},
    {"get", KIND_KEY, 2, .run = run_get, .value_argc = 2},
    {"getset", KIND_KEY, 3, .run = run_getset, .value_argc = 3},
    {"hello", KIND_LOCAL, -1, .run = run_hello},
    {"incr", KIND_KEY, 2, .run = run_incr, .arg = 1},
    {"incrby", KIND_KEY, 3, .run = run_incr, .arg = 1},
    {"info", KIND_LOCAL, -1, .run = run_info},
    {"keys", KIND_SUM, 2, .run = run_keys, .reply = SUM_ARRAY},
    {"lastsave", KIND_LOCAL, 1, .run = run_lastsave},
    {"mget", KIND_EACH, -2, .run = NULL},
    {"mset", KIND_SUM, -3, .run = run_mset, .step = 2, .reply = SUM_OK},
    {"persist", KIND_KEY, 2, .run = run_persist},
    {"pexpire", KIND_KEY, -3, .run = run_expire, .arg = 1},
    {"ping", KIND_LOCAL, -1, .run = run_ping},
    {"pttl", KIND_KEY, 2, .run = run_ttl, .arg = 1},
    {"quit", KIND_LOCAL, -1, .run = run_quit},
    {"randomkey", KIND_SUM, 1, .run = run_randomkey, .reply = SUM_ONE},
    {"save", KIND_SAVE, 1, .run = run_save, .arg = true},
    {"scan", KIND_SCAN, -2, .run = run_scan},
    {"select", KIND_LOCAL, 2, .run = run_select},
    {"set", KIND_KEY, -3, .run = run_set, .value_argc = 4},
    {"setnx", KIND_KEY, 3, .run = run_setnx},
    {"strlen", KIND_KEY, 2, .run = run_strlen},
    {"ttl", KIND_KEY, 2, .run = run_ttl, .arg = 1000},
    {"type", KIND_KEY, 2, .run = run_type},
    {"unlink", KIND_SUM, -2, .run = run_del, .step = 1, .reply = SUM_COUNT},
};

#define COMMANDS (sizeof commands / sizeof *commands)

/* Of each: name, arity, flags (none), first key, last key, step. */
static int run_command(struct call *c) {
    if (c->argc == 2 && word_is(c->argv[1], "count")) {
        return reply_number(c, COMMANDS);
    }
    if (c->argc > 1) { /* DOCS, which redis-cli asks for */
        return word_is(c->argv[1], "docs") ? reply_map(c, 0)
                                           : REPLY_ERROR_OF(c, "ERR unknown subcommand '%.*s'", 1);
    }
    put_number(c->out, '*', COMMANDS);
    for (const struct command *d = commands; d < commands + COMMANDS; d++) {
        bool several = d->step > 0 || d->kind == KIND_EACH, keyed = several || d->kind == KIND_KEY;
        put_text(c->out, "*6\r\n");
        put_bulk(c->out, slice_of(d->name));
        put_number(c->out, ':', d->arity);
        put_text(c->out, "*0\r\n");
        put_number(c->out, ':', keyed);
        put_number(c->out, ':', several ? -1 : keyed);
        put_number(c->out, ':', d->step > 1 ? d->step : keyed);
    }
    return 0;
}

/* The first command of each letter. */
static const struct command *first_of[256];

/* Of names of one length it tells all up to eight bytes apart. In lower case: names are letters
 * only, so no other byte becomes one. */
static inline uint64_t name_word(struct slice name) {
    uint64_t word = 0x2020202020202020;
    uint32_t low = 0, high = 0;
    if (name.len >= 8) {
        memcpy(&low, name.p, 4);
        memcpy(&high, name.p + 4, 4);
    } else if (name.len >= 4) {
        memcpy(&low, name.p, 4);
        memcpy(&high, name.p + name.len - 4, 4);
    } else if (name.len > 0) {
        low = (uint8_t)name.p[0] | (uint32_t)(uint8_t)name.p[name.len / 2] << 8 |
              (uint32_t)(uint8_t)name.p[name.len - 1] << 16;
    }
    return word | low | (uint64_t)high << 32;
}

void commands_init(void) {
    for (size_t i = COMMANDS; i-- > 0;) {
        commands[i].len = (uint32_t)strlen(commands[i].name);
        commands[i].word = name_word(slice_of(commands[i].name));
        first_of[(uint8_t)commands[i].name[0]] = &commands[i];
    }
}

const struct command *command_find(struct slice name) {
    uint64_t word = name_word(name);
    const struct command *c = name.len > 0 ? first_of[(uint8_t)*name.p | 0x20] : NULL;
    for (; c != NULL && c < commands + COMMANDS && c->name[0] == (*name.p | 0x20); c++) {
        if (c->word == word && c->len == name.len && (name.len <= 8 || word_is(name, c->name))) {
            return c;
        }
    }
    return NULL;
}
