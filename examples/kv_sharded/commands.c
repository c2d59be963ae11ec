/* The commands, and what they do on the shard that has the key. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "examples/kv_sharded/kv.h"

#define SCAN_BUCKETS 10 /* looked at for each key that COUNT asks for */
#define SCAN_COUNT_MAX 10000

static struct store *store_of(const resp_call *c) { return c->server->userdata; }
static struct table *table_of(const resp_call *c) { return &store_of(c)->table; }

static struct entry *find(const resp_call *c) {
    return table_find(table_of(c), c->argv[1], c->hash, c->server->now_ms);
}

static inline struct entry *put(const resp_call *c, resp_text value) {
    return store_put(store_of(c), c->argv[1], c->hash, 0, value);
}

/* Of a write: n, or that there was no room. */
static int reply_put(resp_call *c, const struct entry *e, long long n) {
    return e != NULL ? resp_put_number(c->out, ':', n) : resp_put_error(c->out, RESP_NO_MEMORY);
}

static int reply_value(resp_call *c, const struct entry *e) {
    return e != NULL ? resp_put_bulk(c->out, entry_value(e)) : resp_put_nil(c->out, c->resp3);
}

/* The time in n units of so many ms; false: it is out of range. */
static bool deadline(const resp_call *c, long long n, int64_t unit_ms, int64_t *at) {
    return !__builtin_mul_overflow(n, unit_ms, at) &&
           !__builtin_add_overflow(*at, c->server->now_ms, at);
}

/* ---- values ---- */

static int run_get(resp_call *c) { return reply_value(c, find(c)); }

/* NULL, or what is wrong with the options of a SET. */
static const char *parse_options(const resp_call *c, bool *nx, bool *xx, int64_t *expires_ms) {
    for (size_t i = 3; i < c->argc; i++) {
        int unit_ms = resp_is(c->argv[i], "ex") ? 1000 : resp_is(c->argv[i], "px");
        long long n;
        if (unit_ms > 0 && i + 1 < c->argc && *expires_ms == 0) {
            if (!resp_number(c->argv[++i], &n)) {
                return RESP_NOT_INTEGER;
            }
            if (n <= 0 || !deadline(c, n, unit_ms, expires_ms)) {
                return "ERR invalid expire time in 'set' command";
            }
        } else if (!*xx && resp_is(c->argv[i], "nx")) {
            *nx = true;
        } else if (!*nx && resp_is(c->argv[i], "xx")) {
            *xx = true;
        } else {
            return RESP_SYNTAX;
        }
    }
    return NULL;
}

/* False: there is no room. */
static inline bool set(const resp_call *c, int64_t expires_ms) {
    struct entry *e = put(c, c->argv[2]);
    if (e != NULL) {
        table_set_expiry(table_of(c), e, expires_ms);
    }
    return e != NULL;
}

static int run_set(resp_call *c) {
    bool nx = false, xx = false;
    int64_t expires_ms = 0;
    const char *error = c->argc > 3 ? parse_options(c, &nx, &xx, &expires_ms) : NULL;
    if (error != NULL) {
        return resp_put_error(c->out, "%s", error);
    }
    if ((nx || xx) && (find(c) != NULL) != xx) {
        return resp_put_nil(c->out, c->resp3);
    }
    return set(c, expires_ms) ? resp_put_text(c->out, "+OK\r\n")
                              : resp_put_error(c->out, RESP_NO_MEMORY);
}

static int run_getset(resp_call *c) {
    size_t from = c->out->len;
    reply_value(c, find(c));
    if (set(c, 0)) {
        return 0;
    }
    c->out->len = from;
    return resp_put_error(c->out, RESP_NO_MEMORY);
}

static int run_setnx(resp_call *c) {
    return find(c) != NULL ? resp_put_number(c->out, ':', 0) : reply_put(c, put(c, c->argv[2]), 1);
}

/* One of several keys: the counts of all are the reply. */
static int run_mset(resp_call *c) { return set(c, 0) ? 0 : XEV_ENOMEM; }

static int run_exists(resp_call *c) { return find(c) != NULL; }

static int run_del(resp_call *c) {
    struct entry *e = find(c);
    if (e != NULL) {
        table_delete(table_of(c), e);
    }
    return e != NULL;
}

static int run_strlen(resp_call *c) {
    const struct entry *e = find(c);
    return resp_put_number(c->out, ':', e != NULL ? e->value_len : 0);
}

static int run_type(resp_call *c) {
    return resp_put_text(c->out, find(c) != NULL ? "+string\r\n" : "+none\r\n");
}

/* By arg, or by the third argument. */
static int run_incr(resp_call *c) {
    const struct entry *e = find(c);
    long long n = 0, by = c->command->arg;
    char text[24];
    if ((c->argc == 3 && !resp_number(c->argv[2], &by)) ||
        (e != NULL && !resp_number(entry_value(e), &n))) {
        return resp_put_error(c->out, RESP_NOT_INTEGER);
    }
    if (__builtin_add_overflow(n, by, &n)) {
        return resp_put_error(c->out, "ERR increment or decrement would overflow");
    }
    snprintf(text, sizeof text, "%lld", n);
    return reply_put(c, put(c, resp_text_of(text)), n);
}

static int run_append(resp_call *c) {
    const struct entry *e = find(c);
    size_t from = e != NULL ? e->value_len : 0, len = from + c->argv[2].len;
    if (c->argv[1].len + len > RESP_REQUEST_MAX) {
        return resp_put_error(c->out,
                              "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    }
    e = store_put(store_of(c), c->argv[1], c->hash, from, c->argv[2]);
    return reply_put(c, e, (long long)len);
}

/* ---- expiry: arg is the unit in ms ---- */

static int run_expire(resp_call *c) {
    long long n;
    int64_t at;
    struct entry *e = find(c);
    if (!resp_number(c->argv[2], &n)) {
        return resp_put_error(c->out, RESP_NOT_INTEGER);
    }
    if (!deadline(c, n, c->command->arg, &at)) {
        return resp_put_error(c->out, "ERR invalid expire time in '%s' command", c->command->name);
    }
    if (e != NULL && at <= c->server->now_ms) {
        table_delete(table_of(c), e);
    } else if (e != NULL) {
        table_set_expiry(table_of(c), e, at);
    }
    return resp_put_number(c->out, ':', e != NULL);
}

static int run_ttl(resp_call *c) {
    const struct entry *e = find(c);
    int unit = c->command->arg;
    if (e == NULL || e->expires_ms == 0) {
        return resp_put_number(c->out, ':', e == NULL ? -2 : -1);
    }
    return resp_put_number(c->out, ':', (e->expires_ms - c->server->now_ms + unit / 2) / unit);
}

static int run_persist(resp_call *c) {
    struct entry *e = find(c);
    bool expires = e != NULL && e->expires_ms != 0;
    if (expires) {
        table_set_expiry(table_of(c), e, 0);
    }
    return resp_put_number(c->out, ':', expires);
}

/* ---- all keys ---- */

static int run_dbsize(resp_call *c) { return (int)stat_get(table_of(c), STAT_KEYS); }

static xev_cb_action on_freed(xev_loop *loop, xev_completion *work, int result, void *regions) {
    (void)loop;
    if (result < 0) { /* no thread of the pool took it */
        (void)regions_free(regions);
    }
    free(work);
    return XEV_DISARM;
}

static int run_flushall(resp_call *c) {
    struct region *old = table_of(c)->regions;
    xev_completion *work = malloc(sizeof *work);
    if (work == NULL || !table_clear(table_of(c))) {
        free(work);
        return XEV_ENOMEM;
    }
    xev_work_submit(xev_shard_loop(xev_shard_current()), work, XEV_LANE_CPU, regions_free, old,
                    on_freed);
    return 0;
}

static int run_randomkey(resp_call *c) {
    const struct entry *e = table_random(table_of(c), c->server->now_ms);
    if (e != NULL) {
        resp_put(c->out, e->bytes, e->key_len);
    }
    return e != NULL ? run_dbsize(c) : 0;
}

/* Append the keys that match and have a place from *at on, until there are count or so many buckets
 * were looked at. Returns how many; *at moves on, to 0 at the end. */
static int put_keys(const resp_call *c, uint32_t *at, resp_text pattern, int count, int buckets,
                    resp_out *out) {
    int found = 0;
    do {
        uint32_t from = *at;
        for (struct entry *e = table_walk(table_of(c), at); e != NULL; e = e->next) {
            if (e->hash >= from && !entry_expired(e, c->server->now_ms) &&
                resp_glob(pattern, entry_key(e))) {
                resp_put_bulk(out, entry_key(e));
                found++;
            }
        }
    } while (*at != 0 && found < count && --buckets > 0);
    return found;
}

static int run_keys(resp_call *c) {
    uint32_t at = 0;
    return put_keys(c, &at, c->argv[1], INT_MAX, INT_MAX, c->out);
}

/* A cursor is a shard and a place in its table; -1: it is none. */
static long long cursor_of(const resp_call *c) {
    long long n;
    return resp_number(c->argv[1], &n) && n >= 0 && n >> 32 < app.resp.shards ? n : -1;
}

static uint32_t shard_of_cursor(const resp_call *c) {
    long long cursor = cursor_of(c);
    return cursor < 0 ? 0 : (uint32_t)(cursor >> 32);
}

static int run_scan(resp_call *c) {
    long long cursor = cursor_of(c), count = 10;
    uint32_t at = (uint32_t)cursor;
    resp_text pattern = {"*", 1, 0};
    resp_out *keys = &store_of(c)->text;
    char text[24];
    if (cursor < 0) {
        return resp_put_error(c->out, "ERR invalid cursor");
    }
    for (size_t i = 2; i < c->argc; i += 2) {
        bool match = resp_is(c->argv[i], "match");
        if (i + 1 == c->argc || (!match && !resp_is(c->argv[i], "count"))) {
            return resp_put_error(c->out, RESP_SYNTAX);
        }
        if (!match && !resp_number(c->argv[i + 1], &count)) {
            return resp_put_error(c->out, RESP_NOT_INTEGER);
        }
        pattern = match ? c->argv[i + 1] : pattern;
    }
    if (count < 1) {
        return resp_put_error(c->out, RESP_SYNTAX);
    }
    int most = count < SCAN_COUNT_MAX ? (int)count : SCAN_COUNT_MAX;
    resp_clear(keys);
    int found = put_keys(c, &at, pattern, most, most * SCAN_BUCKETS, keys);
    long long shard = (cursor >> 32) + (at == 0); /* behind the last place comes the next shard */
    snprintf(text, sizeof text, "%lld", shard < app.resp.shards ? shard << 32 | at : 0);
    resp_put_text(c->out, "*2\r\n");
    resp_put_bulk(c->out, resp_text_of(text));
    resp_put_number(c->out, '*', found);
    resp_put(c->out, keys->at, keys->len);
    c->out->failed |= keys->failed;
    return 0;
}

static int run_info(resp_call *c) {
    unsigned long long stats[STATS] = {0}, clients = 0, requests = 0;
    char text[512];
    for (uint32_t i = 0; i < app.resp.shards; i++) {
        xev_service_counters counters;
        xev_service_count(app.service, i, &counters);
        clients += counters.connections;
        requests += atomic_load_explicit(&app.resp.servers[i].commands, memory_order_relaxed);
        for (int k = 0; k < STATS; k++) {
            stats[k] += stat_get(&app.stores[i].table, (enum count)k);
        }
    }
    snprintf(text, sizeof text,
             "shards:%u\r\nconnected_clients:%llu\r\ntotal_commands_processed:%llu\r\n"
             "keys:%llu\r\nexpires:%llu\r\nused_memory:%llu\r\nexpired_keys:%llu\r\n"
             "evicted_keys:%llu\r\nrdb_bgsave_in_progress:%d\r\nrdb_last_save_failed:%d\r\n",
             app.resp.shards, clients, requests, stats[STAT_KEYS], stats[STAT_EXPIRES],
             stats[STAT_MEMORY], stats[STAT_EXPIRED], stats[STAT_EVICTED], app.resp.saving,
             app.resp.save_failed);
    return resp_put_bulk(c->out, resp_text_of(text));
}

/* ---- the table of commands ---- */

const resp_command commands[] = {
    {"append", RESP_KEY, 3, .run = run_append},
    {"dbsize", RESP_ALL, 1, .run = run_dbsize, .sum = RESP_COUNT},
    {"decr", RESP_KEY, 2, .run = run_incr, .arg = -1},
    {"del", RESP_PARTS, -2, .run = run_del, .step = 1, .sum = RESP_COUNT},
    {"exists", RESP_PARTS, -2, .run = run_exists, .step = 1, .sum = RESP_COUNT},
    {"expire", RESP_KEY, 3, .run = run_expire, .arg = 1000},
    {"flushall", RESP_ALL, -1, .run = run_flushall, .sum = RESP_OK},
    {"get", RESP_KEY, 2, .run = run_get, .value = true},
    {"getset", RESP_KEY, 3, .run = run_getset, .value = true},
    {"incr", RESP_KEY, 2, .run = run_incr, .arg = 1},
    {"incrby", RESP_KEY, 3, .run = run_incr},
    {"info", RESP_HERE, -1, .run = run_info},
    {"keys", RESP_ALL, 2, .run = run_keys, .sum = RESP_ARRAY},
    {"mget", RESP_EACH, -2, .one = "get"},
    {"mset", RESP_PARTS, -3, .run = run_mset, .step = 2, .sum = RESP_OK},
    {"persist", RESP_KEY, 2, .run = run_persist},
    {"pexpire", RESP_KEY, 3, .run = run_expire, .arg = 1},
    {"pttl", RESP_KEY, 2, .run = run_ttl, .arg = 1},
    {"randomkey", RESP_ALL, 1, .run = run_randomkey, .sum = RESP_ONE},
    {"scan", RESP_SHARD, -2, .run = run_scan, .shard = shard_of_cursor},
    {"set", RESP_KEY, -3, .run = run_set},
    {"setnx", RESP_KEY, 3, .run = run_setnx},
    {"strlen", RESP_KEY, 2, .run = run_strlen},
    {"ttl", RESP_KEY, 2, .run = run_ttl, .arg = 1000},
    {"type", RESP_KEY, 2, .run = run_type},
};

const size_t commands_len = sizeof commands / sizeof *commands;
