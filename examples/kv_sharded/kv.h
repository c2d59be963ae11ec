/* A key-value store that speaks Redis's protocol; keys are spread over the shards by their hash.
 *
 *     protocol.c   requests in, replies out
 *     table.c      one shard's keys: hash table, expiry, eviction
 *     commands.c   the commands, and what they do on the shard that has the key
 *     route.c      which shard that is; the connections
 *     snapshot.c   the file
 *     main.c       flags, start, end
 *
 * Everything but main and the loading of the snapshot runs on shards' threads; a store is touched
 * by its shard's thread only, but for its statistics, which any thread may read.
 */
#ifndef EXAMPLES_KV_H
#define EXAMPLES_KV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xev/gather.h"
#include "xev/serve.h"

#define REQUEST_MAX (16u << 20) /* bytes of one request */
#define ARGS_MAX 65536u
#define BUFFER_KEPT (1u << 20) /* bytes; a larger one is given back */
#define NAME_BYTES 32          /* of a client, with its NUL */

struct slice {
    const char *p;
    uint32_t len;
    uint32_t shard; /* of a key, in a command of several */
};

static inline struct slice slice_of(const char *text) {
    return (struct slice){text, (uint32_t)strlen(text), 0};
}

/* ---- protocol.c ---- */

/* Grows as needed. failed: memory was short, and what is in it is incomplete. */
struct buffer {
    char *p;
    size_t len, room;
    bool failed;
};

void buffer_free(struct buffer *b);
static inline void buffer_clear(struct buffer *b) {
    if (b->room > BUFFER_KEPT) {
        buffer_free(b);
    }
    b->len = 0;
    b->failed = false;
}
void put_bytes(struct buffer *b, const void *data, size_t len);
void put_text(struct buffer *b, const char *text);
void put_number(struct buffer *b, char mark, long long n); /* ":12\r\n" */
void put_bulk(struct buffer *b, struct slice s);
void put_nil(struct buffer *b, bool resp3);
__attribute__((format(printf, 2, 3))) void put_error(struct buffer *b, const char *format, ...);

/* Requests; the arguments point into the input. */
struct requests {
    struct buffer args; /* slices, of all of them */
    size_t need;        /* of an incomplete one: how many bytes it has at least */
    const char *error;  /* of a malformed one */
};

/* Add the arguments of one request. Bytes used; 0: incomplete; -1: malformed. No argument is added
 * for an empty line. */
ptrdiff_t request_parse(struct requests *r, const char *p, size_t len);

bool word_is(struct slice s, const char *word);  /* in any case */
bool number_parse(struct slice s, long long *n); /* as Redis: "12", "-3"; not "+1", "01", " 1" */
bool glob_match(struct slice pattern, struct slice s);

/* ---- table.c ---- */

enum count { /* in the order in which INFO tells them */
             STAT_KEYS,
             STAT_EXPIRES,
             STAT_MEMORY,
             STAT_COMMANDS,
             STAT_HITS,
             STAT_MISSES,
             STAT_EXPIRED,
             STAT_EVICTED,
             STAT_SAVING, /* these are shard 0's */
             STAT_SAVE_FAILED,
             STAT_LAST_SAVE, /* in s since 1970 */
             STATS
};

struct entry {
    struct entry *next;
    int64_t expires_ms;                /* since 1970; 0: never */
    uint32_t hash, used;               /* used: the table's clock at the last access */
    uint32_t key_len, value_len, room; /* room for the value */
    char bytes[];                      /* key, value */
};

struct table {
    struct region *regions;
    size_t max_bytes; /* 0: no limit */
    bool evicts;
    uint32_t clock, sweep_at;
    uint64_t random;
    _Atomic uint64_t stats[STATS];
    /* No value is longer. Other threads read it, so it is apart from what is written often. */
    _Alignas(64) _Atomic size_t largest;
};

extern uint64_t key_seed; /* secret: else peers could choose keys that all stand in one bucket */

int64_t now_ms(void);
bool table_init(struct table *t);
void table_free(struct table *t);
/* NULL: not there, or expired. */
struct entry *table_find(struct table *t, struct slice key, uint64_t hash, int64_t now);
/* For a look-up that comes soon: bring into the cache, step by step, bucket, first entry, second.
 */
void table_prefetch(const struct table *t, uint64_t hash, int step);
/* The key's entry, made where there is none, with so long a value for the caller to write; as much
 * of the old one as fits is there. spare: room for later appends. NULL: memory is short, or
 * max_bytes. */
struct entry *table_put(struct table *t, struct slice key, uint64_t hash, size_t value_len,
                        size_t spare);
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
static inline struct slice entry_key(const struct entry *e) {
    return (struct slice){e->bytes, e->key_len, 0};
}
static inline struct slice entry_value(const struct entry *e) {
    return (struct slice){e->bytes + e->key_len, e->value_len, 0};
}
static inline bool entry_expired(const struct entry *e, int64_t now) {
    return e->expires_ms != 0 && e->expires_ms <= now;
}

/* ---- stores ---- */

/* Of one shard. */
struct store {
    struct table table;
    uint32_t id;
    struct buffer out, more, text; /* replies and requests as they are made */
    struct requests requests, asked;
    int64_t now; /* ms since 1970 */
    xev_gatherer gatherer;
    xev_completion sweep; /* its timer */
};

struct app {
    xev_runtime *runtime;
    struct store *stores;
    uint32_t shards;
    const char *snapshot; /* path; NULL: none */
    const char *backend;
    xev_service *service;
};

extern struct app app;

static inline struct store *store_of(xev_shard *shard) { return &app.stores[xev_shard_id(shard)]; }

/* Its upper half chooses the shard, as xev_shard_of_key does, its lower half the bucket. */
static inline uint64_t key_hash(struct slice key) { return xev_key_hash(key.p, key.len, key_seed); }
static inline uint32_t shard_of(uint64_t hash) {
    return (uint32_t)((hash >> 32) * app.shards >> 32);
}

/* ---- commands.c ---- */

struct client {
    xev_gather_share share;
    uint32_t next; /* the first key of an MGET that was not yet looked up */
    bool resp3;
    char name[NAME_BYTES];
};

enum kind {
    KIND_LOCAL, /* no key: carried out where the connection is */
    KIND_KEY,   /* on the shard that has the key, argv[1] */
    KIND_SCAN,  /* on the shard that the cursor names */
    KIND_SAVE,  /* on shard 0, which answers later */
    KIND_EACH,  /* GET of each key: an array of their replies */
    KIND_SUM,   /* on each shard with those keys that it has; step 0: on all shards */
};

/* A command that is carried out. */
struct call {
    const struct command *command;
    struct store *store;
    struct slice *argv;
    size_t argc;
    struct slice text; /* the request, as it came */
    uint64_t hash;     /* of the key */
    bool resp3;
    xev_conn *conn; /* LOCAL only */
    xev_ask *ask;   /* SAVE only */
    struct buffer *out;
};

/* What the results and data of a SUM become. */
enum sum_reply { SUM_OK, SUM_COUNT, SUM_ARRAY, SUM_ONE };

/* Of a SUM: what shards have answered by now. */
struct sum {
    const struct command *command; /* NULL: one shard's answer is the reply; this is all of it */
    bool resp3;
    uint64_t count;
    const char *error;
    struct buffer data;
};

struct command {
    const char *name;
    enum kind kind;
    int arity; /* as Redis: with the name; below 0: at least */
    /* Carry it out. Appends the reply to out, and returns 0; of LOCAL below 0 where the connection
     * ends. Of SUM: returns a count, or XEV_ENOMEM, and appends data. */
    int (*run)(struct call *call);
    int arg;              /* for run */
    int step;             /* of SUM: how many arguments belong to a key */
    enum sum_reply reply; /* of SUM */
    int value_argc;       /* with so many arguments or more the reply has a value in it; 0: never */
    uint32_t len;         /* of the name; as word is: see command_find */
    uint64_t word;
};

void commands_init(void);
const struct command *command_find(struct slice name); /* NULL: unknown */
const char *error_of(int code);
void sum_add(struct store *s, struct sum *sum, int result, const void *data, size_t len);
void sum_finish(struct sum *sum, struct buffer *out);
/* A cursor is a shard and a place; false: it is none, and shard 0. */
bool cursor_parse(struct slice s, uint32_t *shard, uint32_t *at);

/* ---- route.c ---- */

extern const xev_conn_handlers client_handlers;
void route_init(struct store *s);
bool client_flush(xev_conn *conn, struct store *s); /* out is sent. False: the connection ends */

/* ---- snapshot.c ---- */

int run_save(struct call *call); /* arg: whether the reply comes at the end */
bool snapshot_load(void);        /* outside a run; says on stderr what is wrong */

#endif
