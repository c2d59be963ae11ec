/* A key-value store that speaks Redis's protocol; keys are spread over the shards by their hash.
 *
 *     table.c      one shard's keys: hash table, expiry, eviction
 *     commands.c   the commands, on the shard that has the key
 *     snapshot.c   what a snapshot keeps of them
 *     main.c       flags, start, end
 *
 * The protocol, the connections, the way of a command to its shards, and the file of the snapshot
 * are in examples/resp.
 *
 * Everything but main and the loading of the snapshot runs on shards' threads; a store is touched
 * by its shard's thread only, but for its statistics, which any thread may read.
 */
#ifndef EXAMPLES_KV_H
#define EXAMPLES_KV_H

#include "examples/resp/serve.h"
#include "xev/serve.h"

/* ---- table.c ---- */

/* What INFO tells. */
enum count { STAT_KEYS, STAT_EXPIRES, STAT_MEMORY, STAT_EXPIRED, STAT_EVICTED, STATS };

struct entry {
    struct entry *next;
    int64_t expires_ms;  /* since 1970; 0: never */
    uint32_t hash, used; /* used: the table's clock at the last access */
    uint32_t key_len, value_len;
    char bytes[]; /* key, value */
};

struct table {
    struct region *regions;
    size_t max_bytes; /* 0: no limit */
    bool evicts;
    uint32_t clock, sweep_at;
    uint64_t random; /* not 0 */
    _Atomic uint64_t stats[STATS];
};

/* Make it empty: also at the beginning. What was in it is for regions_free, on any thread. False:
 * no memory, and it is as it was. */
bool table_clear(struct table *t);
int regions_free(void *regions);
/* NULL: not there, or expired. */
struct entry *table_find(struct table *t, resp_text key, uint64_t hash, int64_t now);
/* For look-ups that come soon: bring buckets and entries into the cache. */
void table_prefetch(const struct table *t, const uint64_t *hashes, size_t count);
/* The key's entry, made where there is none, with so long a value for the caller to write; as much
 * of the old one as fits is there. NULL: memory is short, or max_bytes. */
struct entry *table_put(struct table *t, resp_text key, uint64_t hash, size_t value_len);
void table_set_expiry(struct table *t, struct entry *e, int64_t expires_ms);
void table_delete(struct table *t, struct entry *e);
struct entry *table_random(struct table *t, int64_t now);
/* Remove expired keys, of a bounded number of keys. True: there are many. */
bool table_sweep(struct table *t, int64_t now);
/* The chain of keys at place *at, which moves on to the next one, and to 0 behind the last. A key's
 * place never changes: a walk meets each key exactly once that is there all the time. Entries
 * whose hash is below *at do not count: they were met before the table shrank. */
struct entry *table_walk(const struct table *t, uint32_t *at);

/* The shard's thread only. */
static inline void stat_add(struct table *t, enum count which, size_t n) {
    uint64_t now = atomic_load_explicit(&t->stats[which], memory_order_relaxed);
    atomic_store_explicit(&t->stats[which], now + n, memory_order_relaxed);
}
static inline void stat_set(struct table *t, enum count which, uint64_t n) {
    atomic_store_explicit(&t->stats[which], n, memory_order_relaxed);
}
static inline uint64_t stat_get(const struct table *t, enum count which) {
    return atomic_load_explicit(&t->stats[which], memory_order_relaxed);
}
static inline resp_text entry_key(const struct entry *e) {
    return (resp_text){e->bytes, e->key_len, 0};
}
static inline resp_text entry_value(const struct entry *e) {
    return (resp_text){e->bytes + e->key_len, e->value_len, 0};
}
static inline bool entry_expired(const struct entry *e, int64_t now) {
    return e->expires_ms != 0 && e->expires_ms <= now;
}

/* ---- the whole ---- */

/* Of one shard. */
struct store {
    struct table table;
    resp_server *server;
    resp_out text;        /* keys or entries, on their way out */
    xev_completion sweep; /* its timer */
};

struct app {
    resp_service resp;
    struct store *stores; /* one per shard */
    xev_service *service;
};

extern struct app app;

/* Give the key a value, after the first from bytes of the one it has. NULL: there is no room. */
static inline struct entry *store_put(struct store *s, resp_text key, uint64_t hash, size_t from,
                                      resp_text value) {
    struct entry *e = table_put(&s->table, key, hash, from + value.len);
    if (e != NULL) {
        memcpy(e->bytes + e->key_len + from, value.at, value.len);
        resp_note_value(s->server, e->value_len);
    }
    return e;
}

/* ---- commands.c ---- */

extern const resp_command commands[];
extern const size_t commands_len;

/* ---- snapshot.c: as resp_service asks for them ---- */

void store_dump(resp_server *server, uint32_t *at, resp_out *out);
bool store_restore(resp_server *server, uint64_t hash, resp_text *argv, size_t argc);

#endif
