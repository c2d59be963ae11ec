/* What the commands do, on the shard that has the key. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "examples/kv_sharded/kv.h"

#define SCAN_BUCKETS 10 /* looked at for each key that COUNT asks for */
#define SCAN_COUNT_MAX 10000

static const char not_integer[] = "ERR value is not an integer or out of range";
static const char syntax_error[] = "ERR syntax error";
static const char no_memory[] = "OOM command not allowed when used memory > 'maxmemory'.";

/* ---- the table of commands ---- */

const struct command commands[COMMANDS] = {
    {"append", sizeof "append" - 1, CMD_APPEND, KIND_KEY, 3, false},
    {"bgsave", sizeof "bgsave" - 1, CMD_BGSAVE, KIND_SAVE, -1, false},
    {"client", sizeof "client" - 1, CMD_CLIENT, KIND_LOCAL, -2, false},
    {"command", sizeof "command" - 1, CMD_COMMAND, KIND_LOCAL, -1, false},
    {"config", sizeof "config" - 1, CMD_CONFIG, KIND_LOCAL, -2, false},
    {"dbsize", sizeof "dbsize" - 1, CMD_DBSIZE, KIND_ALL, 1, false},
    {"decr", sizeof "decr" - 1, CMD_DECR, KIND_KEY, 2, false},
    {"decrby", sizeof "decrby" - 1, CMD_DECRBY, KIND_KEY, 3, false},
    {"del", sizeof "del" - 1, CMD_DEL, KIND_EACH, -2, false},
    {"echo", sizeof "echo" - 1, CMD_ECHO, KIND_LOCAL, 2, false},
    {"exists", sizeof "exists" - 1, CMD_EXISTS, KIND_EACH, -2, false},
    {"expire", sizeof "expire" - 1, CMD_EXPIRE, KIND_KEY, -3, false},
    {"flushall", sizeof "flushall" - 1, CMD_FLUSHALL, KIND_ALL, -1, false},
    {"get", sizeof "get" - 1, CMD_GET, KIND_KEY, 2, true},
    {"getset", sizeof "getset" - 1, CMD_GETSET, KIND_KEY, 3, true},
    {"hello", sizeof "hello" - 1, CMD_HELLO, KIND_LOCAL, -1, false},
    {"incr", sizeof "incr" - 1, CMD_INCR, KIND_KEY, 2, false},
    {"incrby", sizeof "incrby" - 1, CMD_INCRBY, KIND_KEY, 3, false},
    {"info", sizeof "info" - 1, CMD_INFO, KIND_ALL, -1, false},
    {"keys", sizeof "keys" - 1, CMD_KEYS, KIND_ALL, 2, false},
    {"lastsave", sizeof "lastsave" - 1, CMD_LASTSAVE, KIND_SAVE, 1, false},
    {"mget", sizeof "mget" - 1, CMD_MGET, KIND_EACH, -2, true},
    {"mset", sizeof "mset" - 1, CMD_MSET, KIND_EACH, -3, false},
    {"persist", sizeof "persist" - 1, CMD_PERSIST, KIND_KEY, 2, false},
    {"pexpire", sizeof "pexpire" - 1, CMD_PEXPIRE, KIND_KEY, -3, false},
    {"ping", sizeof "ping" - 1, CMD_PING, KIND_LOCAL, -1, false},
    {"pttl", sizeof "pttl" - 1, CMD_PTTL, KIND_KEY, 2, false},
    {"quit", sizeof "quit" - 1, CMD_QUIT, KIND_LOCAL, -1, false},
    {"randomkey", sizeof "randomkey" - 1, CMD_RANDOMKEY, KIND_ALL, 1, false},
    {"save", sizeof "save" - 1, CMD_SAVE, KIND_SAVE, 1, false},
    {"scan", sizeof "scan" - 1, CMD_SCAN, KIND_SCAN, -2, false},
    {"select", sizeof "select" - 1, CMD_SELECT, KIND_LOCAL, 2, false},
    {"set", sizeof "set" - 1, CMD_SET, KIND_KEY, -3, true},
    {"setnx", sizeof "setnx" - 1, CMD_SETNX, KIND_KEY, 3, false},
    {"strlen", sizeof "strlen" - 1, CMD_STRLEN, KIND_KEY, 2, false},
    {"ttl", sizeof "ttl" - 1, CMD_TTL, KIND_KEY, 2, false},
    {"type", sizeof "type" - 1, CMD_TYPE, KIND_KEY, 2, false},
    {"unlink", sizeof "unlink" - 1, CMD_UNLINK, KIND_EACH, -2, false},
};

bool word_is(struct slice s, const char *word) {
    return strlen(word) == s.len && strncasecmp(s.p, word, s.len) == 0;
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
        uint64_t word = name_word((struct slice){commands[i].name, strlen(commands[i].name)});
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

/* ---- strings ---- */

static void put_value(struct store *s, const struct entry *e, bool resp3, struct buffer *out) {
    if (e == NULL) {
        s->misses++;
        put_nil(out, resp3);
    } else {
        s->hits++;
        put_bulk(out, entry_value(e));
    }
}

/* A time that is given in units of so many ms, from base on; false: it is out of range. */
static bool deadline(long long n, int64_t unit_ms, int64_t base, int64_t *at) {
    return !__builtin_mul_overflow(n, unit_ms, at) && !__builtin_add_overflow(*at, base, at);
}

struct set_options {
    int64_t expires_ms;
    bool nx, xx, get, keep;
};

/* The options of SET. NULL, or what is wrong. */
static const char *set_options(const struct slice *argv, size_t argc, int64_t now,
                               struct set_options *o) {
    static const struct {
        const char *name;
        int64_t unit_ms;
        bool from_now;
    } times[] = {{"ex", 1000, true}, {"px", 1, true}, {"exat", 1000, false}, {"pxat", 1, false}};
    size_t t, time = 4, time_at = 0;
    long long n;
    for (size_t i = 3; i < argc; i++) {
        for (t = 0; t < 4 && !word_is(argv[i], times[t].name);) {
            t++;
        }
        if (t < 4 && (time == 4 || time == t) && !o->keep && i + 1 < argc) {
            time = t;
            time_at = ++i;
        } else if (word_is(argv[i], "nx") && !o->xx) {
            o->nx = true;
        } else if (word_is(argv[i], "xx") && !o->nx) {
            o->xx = true;
        } else if (word_is(argv[i], "get")) {
            o->get = true;
        } else if (word_is(argv[i], "keepttl") && time == 4) {
            o->keep = true;
        } else {
            return syntax_error;
        }
    }
    if (time == 4) {
        return NULL;
    }
    if (!number_parse(argv[time_at], &n)) {
        return not_integer;
    }
    return n > 0 && deadline(n, times[time].unit_ms, times[time].from_now ? now : 0, &o->expires_ms)
               ? NULL
               : "ERR invalid expire time in 'set' command";
}

static void run_set(struct store *s, const struct slice *argv, size_t argc, uint64_t hash,
                    int64_t now, bool resp3, struct buffer *out) {
    struct set_options o = {0};
    const char *error = argc > 3 ? set_options(argv, argc, now, &o) : NULL;
    if (error != NULL) {
        put_error(out, "%s", error);
        return;
    }
    size_t from = out->len;
    const struct entry *e =
        o.nx || o.xx || o.get || o.keep ? table_find(&s->table, argv[1], hash, now) : NULL;
    if (o.get) {
        put_value(s, e, resp3, out);
    }
    if ((o.nx && e != NULL) || (o.xx && e == NULL)) {
        if (!o.get) {
            put_nil(out, resp3);
        }
        return;
    }
    int64_t expires = o.keep && e != NULL ? e->expires_ms : o.expires_ms;
    e = table_set(&s->table, argv[1], hash, argv[2], expires, 0);
    if (e == NULL) {
        out->len = from;
        put_error(out, "%s", no_memory);
    } else if (!o.get) {
        put_text(out, "+OK\r\n");
    }
}

static void run_incr(struct store *s, struct slice key, uint64_t hash, long long by, int64_t now,
                     struct buffer *out) {
    const struct entry *e = table_find(&s->table, key, hash, now);
    long long n = 0;
    char text[24];
    if (e != NULL && !number_parse(entry_value(e), &n)) {
        put_error(out, "%s", not_integer);
    } else if (__builtin_add_overflow(n, by, &n)) {
        put_error(out, "ERR increment or decrement would overflow");
    } else {
        int len = snprintf(text, sizeof text, "%lld", n);
        e = table_set(&s->table, key, hash, (struct slice){text, (size_t)len},
                      e != NULL ? e->expires_ms : 0, 0);
        if (e == NULL) {
            put_error(out, "%s", no_memory);
        } else {
            put_number(out, ':', n);
        }
    }
}

static void run_append(struct store *s, struct slice key, struct slice tail, uint64_t hash,
                       int64_t now, struct buffer *out) {
    struct entry *e = table_find(&s->table, key, hash, now);
    struct slice head = e != NULL ? entry_value(e) : (struct slice){"", 0};
    if (head.len + tail.len > REQUEST_MAX) {
        put_error(out, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        return;
    }
    buffer_clear(&s->more);
    put_bytes(&s->more, head.p, head.len);
    put_bytes(&s->more, tail.p, tail.len);
    bool in_place = e != NULL && head.len + tail.len <= e->room;
    if (in_place) { /* else s->more may have failed */
        memcpy(e->bytes + key.len + head.len, tail.p, tail.len);
        e->value_len += (uint32_t)tail.len;
    } else if (!s->more.failed) {
        e = table_set(&s->table, key, hash, (struct slice){s->more.p, s->more.len},
                      e != NULL ? e->expires_ms : 0, e != NULL ? s->more.len / 2 : 0);
        in_place = e != NULL;
    }
    if (in_place) {
        put_number(out, ':', e->value_len);
    } else {
        put_error(out, "%s", no_memory);
    }
}

/* ---- expiry ---- */

static void run_expire(struct store *s, enum command_id id, const struct slice *argv, size_t argc,
                       uint64_t hash, int64_t now, struct buffer *out) {
    long long n;
    int64_t at;
    struct entry *e = table_find(&s->table, argv[1], hash, now);
    if (argc > 3) {
        put_error(out, "ERR Unsupported option %.*s", argv[3].len < 64 ? (int)argv[3].len : 64,
                  argv[3].p);
    } else if (!number_parse(argv[2], &n)) {
        put_error(out, "%s", not_integer);
    } else if (!deadline(n, id == CMD_EXPIRE ? 1000 : 1, now, &at)) {
        put_error(out, "ERR invalid expire time in '%s' command", commands[id].name);
    } else if (e == NULL) {
        put_number(out, ':', 0);
    } else {
        if (at <= now) {
            table_delete(&s->table, e);
        } else {
            table_set_expiry(&s->table, e, at);
        }
        put_number(out, ':', 1);
    }
}

static long long time_left(const struct entry *e, int64_t now, bool seconds) {
    if (e == NULL || e->expires_ms == 0) {
        return e == NULL ? -2 : -1;
    }
    return seconds ? (e->expires_ms - now + 500) / 1000 : e->expires_ms - now;
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

static void run_scan(struct store *s, const struct slice *argv, size_t argc, int64_t now,
                     struct buffer *out) {
    uint64_t shard, at;
    struct slice pattern = {"*", 1};
    long long count = 10;
    bool strings = true;
    if (!cursor_parse(argv[1], &shard, &at)) {
        put_error(out, "ERR invalid cursor");
        return;
    }
    for (size_t i = 2; i < argc; i += 2) {
        bool value = i + 1 < argc;
        if (value && word_is(argv[i], "count")) {
            if (!number_parse(argv[i + 1], &count)) {
                put_error(out, "%s", not_integer);
                return;
            }
        } else if (value && word_is(argv[i], "match")) {
            pattern = argv[i + 1];
        } else if (value && word_is(argv[i], "type")) {
            strings = word_is(argv[i + 1], "string");
        } else {
            count = 0;
        }
        if (count < 1) {
            put_error(out, "%s", syntax_error);
            return;
        }
    }
    count = count < SCAN_COUNT_MAX ? count : SCAN_COUNT_MAX;
    buffer_clear(&s->more);
    uint32_t found = put_keys(&s->table, &at, pattern, (uint64_t)count,
                              (uint64_t)count * SCAN_BUCKETS, now, &s->more);
    if (!strings) {
        found = 0;
        buffer_clear(&s->more);
    }
    uint64_t next = at < TABLE_END           ? shard * 2 * TABLE_END + at
                    : shard + 1 < app.shards ? (shard + 1) * 2 * TABLE_END
                                             : 0;
    char text[24];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)next);
    put_text(out, "*2\r\n");
    put_bulk(out, (struct slice){text, (size_t)len});
    put_number(out, '*', found);
    put_bytes(out, s->more.p, s->more.len);
    out->failed |= s->more.failed;
}

static void put_stats(struct store *s, struct buffer *out) {
    const struct table *t = &s->table;
    xev_conn_counters c;
    xev_conn_service_count(s->conns, &c);
    uint64_t stats[STATS] = {
        [STAT_KEYS] = t->count,        [STAT_EXPIRES] = t->expiring, [STAT_MEMORY] = t->used_bytes,
        [STAT_COMMANDS] = s->commands, [STAT_HITS] = s->hits,        [STAT_MISSES] = s->misses,
        [STAT_EXPIRED] = t->expired,   [STAT_EVICTED] = t->evicted,  [STAT_CLIENTS] = c.connections,
    };
    if (s->id == 0) {
        snapshot_stats(stats);
    }
    put_bytes(out, stats, sizeof stats);
}

/* ---- a command ---- */

static int run_each(struct store *s, enum command_id id, const struct slice *argv, uint64_t hash,
                    int64_t now) {
    if (id == CMD_MSET) {
        return table_set(&s->table, argv[1], hash, argv[2], 0, 0) != NULL ? 0 : XEV_ENOMEM;
    }
    struct entry *e = table_find(&s->table, argv[1], hash, now);
    if (id != CMD_EXISTS && e != NULL) {
        table_delete(&s->table, e);
    }
    return e != NULL;
}

static void run_all(struct store *s, enum command_id id, const struct slice *argv, int64_t now,
                    struct buffer *out) {
    uint64_t count = s->table.count, at = 0;
    struct slice key = {NULL, 0};
    if (id == CMD_INFO) {
        put_stats(s, out);
        return;
    }
    size_t head = out->len;
    put_bytes(out, &count, sizeof count);
    if (id == CMD_FLUSHALL) {
        table_flush(&s->table);
    } else if (id == CMD_RANDOMKEY) {
        const struct entry *e = table_random(&s->table, now);
        key = e != NULL ? entry_key(e) : key;
        count = e != NULL ? count : 0;
        put_bytes(out, key.p, key.len);
    } else if (id == CMD_KEYS) {
        count = put_keys(&s->table, &at, argv[1], UINT64_MAX, UINT64_MAX, now, out);
    }
    if (!out->failed) {
        memcpy(out->p + head, &count, sizeof count);
    }
}

int command_run(struct store *s, enum command_id id, const struct slice *argv, size_t argc,
                uint64_t hash, bool resp3, struct buffer *out) {
    struct table *t = &s->table;
    int64_t now = s->now;
    struct entry *e;
    long long n = 1;
    switch (id) {
    case CMD_GET:
    case CMD_MGET:
        put_value(s, table_find(t, argv[1], hash, now), resp3, out);
        break;
    case CMD_SET:
        run_set(s, argv, argc, hash, now, resp3, out);
        break;
    case CMD_SETNX:
        e = table_find(t, argv[1], hash, now);
        if (e == NULL && table_set(t, argv[1], hash, argv[2], 0, 0) == NULL) {
            put_error(out, "%s", no_memory);
        } else {
            put_number(out, ':', e == NULL);
        }
        break;
    case CMD_GETSET: {
        const struct slice as_set[] = {argv[0], argv[1], argv[2], {"get", 3}};
        run_set(s, as_set, 4, hash, now, resp3, out);
        break;
    }
    case CMD_INCRBY:
    case CMD_DECRBY:
        if (!number_parse(argv[2], &n)) {
            put_error(out, "%s", not_integer);
            break;
        }
        if (id == CMD_DECRBY && n == LLONG_MIN) {
            put_error(out, "ERR decrement would overflow");
            break;
        } /* fall through */
    case CMD_INCR:
    case CMD_DECR:
        run_incr(s, argv[1], hash, id == CMD_DECR || id == CMD_DECRBY ? -n : n, now, out);
        break;
    case CMD_APPEND:
        run_append(s, argv[1], argv[2], hash, now, out);
        break;
    case CMD_STRLEN:
        e = table_find(t, argv[1], hash, now);
        put_number(out, ':', e != NULL ? e->value_len : 0);
        break;
    case CMD_EXPIRE:
    case CMD_PEXPIRE:
        run_expire(s, id, argv, argc, hash, now, out);
        break;
    case CMD_TTL:
    case CMD_PTTL:
        put_number(out, ':', time_left(table_find(t, argv[1], hash, now), now, id == CMD_TTL));
        break;
    case CMD_PERSIST:
        e = table_find(t, argv[1], hash, now);
        put_number(out, ':', e != NULL && e->expires_ms != 0);
        if (e != NULL) {
            table_set_expiry(t, e, 0);
        }
        break;
    case CMD_TYPE:
        put_text(out, table_find(t, argv[1], hash, now) != NULL ? "+string\r\n" : "+none\r\n");
        break;
    case CMD_SCAN:
        run_scan(s, argv, argc, now, out);
        break;
    case CMD_DEL:
    case CMD_UNLINK:
    case CMD_EXISTS:
    case CMD_MSET:
        return run_each(s, id, argv, hash, now);
    default:
        run_all(s, id, argv, now, out);
        break;
    }
    return 0;
}
