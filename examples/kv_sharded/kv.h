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
 * by its shard's thread only, but for the field largest.
 */
#ifndef EXAMPLES_KV_H
#define EXAMPLES_KV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "xev/gather.h"
#include "xev/serve.h"

#define REQUEST_MAX (16u << 20) /* bytes of one request, and of one value */
#define INLINE_MAX 65536u
#define ARGS_MAX 65536u
#define HIGH_BYTES (256u << 10) /* of queued output: a connection reads no more */

struct slice {
    const char *p;
    size_t len;
};

static inline struct slice slice_of(const char *text) { return (struct slice){text, strlen(text)}; }

/* ---- protocol.c ---- */

/* Grows as needed. failed: memory was short, and what is in it is incomplete. */
struct buffer {
    char *p;
    size_t len, room;
    bool failed;
};

char *buffer_room(struct buffer *b, size_t len); /* for len more bytes; NULL: no memory */
void buffer_clear(struct buffer *b);
void put_bytes(struct buffer *b, const void *data, size_t len);
void put_text(struct buffer *b, const char *text);
void put_number(struct buffer *b, char mark, long long n); /* ":12\r\n" */
void put_bulk(struct buffer *b, struct slice s);
void put_nil(struct buffer *b, bool resp3);
__attribute__((format(printf, 2, 3))) void put_error(struct buffer *b, const char *format, ...);

/* Requests; the arguments point into the input, or into text. */
struct requests {
    struct slice *argv; /* of all of them */
    size_t len, room;
    size_t need;        /* of an incomplete one: how many bytes it has at least */
    const char *error;  /* of a malformed one */
    struct buffer text; /* of quoted words of an inline request */
};

/* Add the arguments of one request. Bytes used; 0: incomplete; -1: malformed. No argument is added
 * for an empty line. An inline request must be the first one. */
ptrdiff_t request_parse(struct requests *r, const char *p, size_t len);

bool word_is(struct slice s, const char *word);  /* in any case */
bool number_parse(struct slice s, long long *n); /* as Redis: "12", "-3"; not "+1", "01", " 1" */
bool glob_match(struct slice pattern, struct slice s);

/* ---- table.c ---- */

struct entry {
    struct entry *next;
    int64_t expires_ms;                /* since 1970; 0: never */
    uint32_t hash, used;               /* used: the table's clock at the last access */
    uint32_t key_len, value_len, room; /* room for the value */
    char bytes[];                      /* key, value */
};

struct table {
    struct entry ***segments; /* of SEGMENT buckets each */
    size_t segments_room, buckets, mask;
    size_t count, expiring, used_bytes, max_bytes; /* max_bytes 0: no limit */
    bool evicts;
    uint32_t clock;
    uint64_t random, sweep_at;
    uint64_t expired, evicted;
    struct trash *trash; /* what FLUSHALL has left to free */
    /* Bound of the values' lengths. Other threads read it; apart from what is written all the time.
     */
    _Alignas(64) _Atomic size_t largest;
};

#define TABLE_END (UINT64_C(1) << 32)

bool key_hash_init(uint64_t *key_seed); /* before all others; the runtime's option */
/* Its upper half chooses the shard, as xev_shard_of_key does, its lower half the bucket. */
uint64_t key_hash(struct slice key);
int64_t now_ms(void);
uint64_t random_number(uint64_t *state);
bool table_init(struct table *t);
void table_free(struct table *t);
/* NULL: not there, or expired. */
struct entry *table_find(struct table *t, struct slice key, uint64_t hash, int64_t now);
/* For a look-up that comes soon: bring into the cache, step by step, bucket, first entry, second.
 */
void table_prefetch(const struct table *t, uint64_t hash, int step);
/* Set value and expiry; extra: room for later appends. NULL: memory is short, or max_bytes. */
struct entry *table_set(struct table *t, struct slice key, uint64_t hash, struct slice value,
                        int64_t expires_ms, size_t extra);
void table_set_expiry(struct table *t, struct entry *e, int64_t expires_ms);
void table_delete(struct table *t, struct entry *e);
void table_flush(struct table *t);
struct entry *table_random(struct table *t, int64_t now);
/* Bounded housekeeping: expired keys, trash. True: there is more of it to do at once. */
bool table_sweep(struct table *t, int64_t now);
/* Walks: the keys have places from 0 to TABLE_END that never change. The chain of the bucket that
 * at belongs to; *end is where the next one begins. Entries with a place below at do not count. */
struct entry *table_walk(const struct table *t, uint64_t at, uint64_t *end);
uint64_t entry_place(const struct entry *e);

static inline struct slice entry_key(const struct entry *e) {
    return (struct slice){e->bytes, e->key_len};
}
static inline struct slice entry_value(const struct entry *e) {
    return (struct slice){e->bytes + e->key_len, e->value_len};
}
static inline bool entry_expired(const struct entry *e, int64_t now) {
    return e->expires_ms != 0 && e->expires_ms <= now;
}

/* ---- stores ---- */

enum store_stat {
    STAT_KEYS,
    STAT_EXPIRES,
    STAT_MEMORY,
    STAT_COMMANDS,
    STAT_HITS,
    STAT_MISSES,
    STAT_EXPIRED,
    STAT_EVICTED,
    STAT_CLIENTS,
    STAT_SAVING, /* these are shard 0's */
    STAT_SAVE_FAILED,
    STAT_LAST_SAVE,
    STAT_COUNT, /* of what a command has found */
    STATS
};

/* Of one shard. */
struct store {
    _Alignas(64) struct table table;
    uint32_t id;
    uint64_t commands, hits, misses;
    struct buffer out, more; /* replies as they are made */
    struct requests requests;
    int64_t now; /* ms since 1970 */
    xev_gatherer gatherer;
    xev_conn_service *conns;
    xev_completion sweep; /* its timer */
};

struct app {
    xev_runtime *runtime;
    struct store *stores;
    uint32_t shards;
    const char *snapshot; /* path; NULL: none */
    const char *backend;
};

extern struct app app;

static inline struct store *store_of(xev_shard *shard) { return &app.stores[xev_shard_id(shard)]; }

static inline uint32_t shard_of(uint64_t hash) {
    return (uint32_t)((hash >> 32) * app.shards >> 32);
}

/* ---- commands.c ---- */

struct client {
    xev_gather_share share;
    xev_gather *gather; /* of the command that is partly carried out */
    char *name;
    uint32_t next : 29; /* the first part of it that is not yet carried out */
    uint32_t begun : 1; /* some of it is */
    uint32_t resp3 : 1;
};

enum kind {
    KIND_LOCAL, /* no key */
    KIND_KEY,   /* the key is argv[1] */
    KIND_EACH,  /* several keys, of any shards */
    KIND_ALL,   /* asks every shard */
    KIND_SCAN,  /* the cursor names the shard */
    KIND_SAVE,  /* shard 0 */
};

/* What becomes of a command. */
enum outcome {
    DONE,
    HOLD, /* it goes on later, from the connection's input */
    END,  /* the connection ends */
};

/* A command that is carried out. */
struct call {
    const struct command *command;
    struct store *store;
    const struct slice *argv;
    size_t argc;
    uint64_t hash; /* of the key */
    bool resp3;
    xev_conn *conn; /* LOCAL only */
    struct buffer *out;
};

/* Of a command for many shards: what they have answered by now. */
struct sum {
    const struct command
        *command; /* NULL: one shard's answer is the reply, and this is all of it */
    bool resp3;
    uint64_t stats[STATS];
    const char *error;
    struct buffer data;
};

struct command {
    const char *name;
    uint8_t name_len, kind;
    int8_t arity;       /* as Redis: with the name; below 0: at least */
    uint8_t value_argc; /* with so many arguments or more the reply has a value in it; 0: never */
    /* Carry it out on the shard that has what it is about. Appends to out: of EACH nothing, and
     * returns 1, 0 or XEV_ENOMEM; of ALL stats and what else the asking shard merges; of others the
     * reply, and returns an outcome. */
    int (*run)(struct call *call);
    /* Of EACH and ALL: the reply, when all is there. NULL: each key has a reply of its own. */
    void (*finish)(struct sum *sum, struct buffer *out);
    int arg; /* for run; of EACH: how many arguments belong to a key */
};

enum { SAVE, BGSAVE, LASTSAVE }; /* arg of SAVE */

extern const struct command commands[];
void commands_init(void);
uint32_t scan_shard(struct slice cursor);              /* 0 for one that is none */
const struct command *command_find(struct slice name); /* NULL: unknown */
/* One shard's answer to an EACH or ALL. */
void sum_add(struct store *s, struct sum *sum, int result, const char *answer, size_t len);
const char *error_of(int code);

/* ---- route.c ---- */

extern const xev_conn_handlers client_handlers;
void route_init(struct store *s);
bool client_flush(xev_conn *conn, struct store *s); /* out is sent. False: the connection ends */

/* ---- snapshot.c ---- */

void snapshot_ask(xev_shard *self, xev_ask *ask, int what); /* on shard 0 */
void snapshot_stats(uint64_t *stats);                       /* STAT_SAVING and the like */
/* Outside a run, in this thread. 0 or a code; load says on stderr what is wrong. */
int snapshot_load(void);
int snapshot_save_now(void);

#endif
