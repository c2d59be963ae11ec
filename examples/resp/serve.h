/* Redis's protocol on the connections of a service, for a server whose data is spread over shards
 * by keys: requests are read, a table says what each command does and which shards it concerns,
 * replies go out in the order of the requests.
 *
 *     static int run_get(resp_call *call) {
 *         resp_put_bulk(call->out, find(call->server->userdata, call->argv[1], call->hash));
 *         return 0;
 *     }
 *     static const resp_command commands[] = {{"get", RESP_KEY, 2, run_get}, ...};
 *     static resp_service service = {.name = "kv", .commands = commands, .commands_len = ...};
 *
 *     resp_init(&service, shards, key_seed);   // before the runtime, whose key_seed is the same
 *     service.servers[id].userdata = data;     // of each shard
 *     resp_attach(&service, loop, id);         // in its init callback
 *
 *     xev_service_options options = {.conns = {.handlers = &resp_handlers,
 *                                              .user_bytes = sizeof(resp_client), ...}};
 *
 * A command whose key is this shard's is carried out at once. Another shard is asked by a gather
 * (xev/gather.h), which keeps the place of the reply. What one
 * connection sends about one key is carried out in its order; commands about keys of different
 * shards may be carried out at the same time.
 *
 * PING, ECHO, SELECT 0, QUIT, HELLO, CLIENT (ID GETNAME SETNAME SETINFO), COMMAND, SAVE and BGSAVE
 * are here.
 *
 * Memory: a gather's limits hold for what is under way, and above 64 KiB of output replies go
 * out before the next request is looked at. The runtime's ask_bytes are to hold a request, and the
 * longest reply.
 */
#ifndef EXAMPLES_RESP_SERVE_H
#define EXAMPLES_RESP_SERVE_H

#include <stdatomic.h>

#include "examples/resp/resp.h"
#include "xev/gather.h"

#define RESP_PREFETCH_MAX 16

/* Which shards a command concerns. */
typedef enum resp_kind {
    RESP_HERE,  /* that which has the connection */
    RESP_KEY,   /* that which has the key, argv[1] */
    RESP_SHARD, /* that which the command's shard says */
    RESP_LATER, /* the same; where run returns 1 it answers later, by resp_answer */
    RESP_EACH,  /* an array: for each key the reply of the command's one */
    RESP_PARTS, /* those that have some of the keys */
    RESP_ALL,   /* all */
} resp_kind;

/* What becomes of the counts and data of RESP_PARTS and RESP_ALL. */
typedef enum resp_sum {
    RESP_OK,    /* +OK */
    RESP_COUNT, /* the sum of the counts */
    RESP_ARRAY, /* an array of so many, of all data */
    RESP_ONE,   /* one shard's data, which is not RESP; chosen at random, by the counts */
} resp_sum;

typedef struct resp_call {
    const struct resp_command *command;
    struct resp_server *server; /* of the shard that carries it out */
    resp_text *argv;
    size_t argc;
    size_t len;    /* private: bytes of the request */
    uint64_t hash; /* RESP_KEY, RESP_PARTS: of the key, argv[1] */
    bool resp3;
    xev_conn *conn; /* RESP_HERE only */
    xev_ask *ask;   /* RESP_LATER only */
    resp_out *out;  /* where the reply goes */
} resp_call;

typedef struct resp_command {
    const char *name; /* lower case, letters only */
    resp_kind kind;
    int arity; /* as Redis's: with the name; below 0: at least so many */
    /* Append the reply to out, and return 0. RESP_HERE: below 0 ends the connection behind
     * the replies so far. RESP_ALL, and
     * RESP_PARTS, of which it is called for each key: append data, and return a count, or
     * XEV_ENOMEM. */
    int (*run)(resp_call *call);
    int arg;  /* for run */
    int step; /* RESP_PARTS: how many arguments belong to a key, with it */
    resp_sum sum;
    bool value; /* RESP_KEY: the reply has a value in it, of value_max bytes at most */
    uint32_t (*shard)(const resp_call *call); /* RESP_SHARD, RESP_LATER; NULL: shard 0 */
    const char *one;                          /* RESP_EACH: a command of RESP_KEY */
} resp_command;

/* Of one shard. */
typedef struct resp_server {
    struct resp_service *service;
    void *userdata; /* the program's */
    uint32_t id;
    int64_t now_ms;                    /* when these requests came, since 1970 */
    resp_out out, more, packed, asked; /* private, as is read */
    resp_requests read;
    xev_gatherer gatherer;
    uint64_t random;
    _Atomic uint64_t commands; /* that were carried out; any thread reads it */
    /* The program keeps it up to date, by resp_note_value. Others read it, so it is apart. */
    _Alignas(64) _Atomic size_t value_max;
} resp_server;

/* Set by the program before resp_init, as far as the line. */
typedef struct resp_service {
    const char *name; /* that HELLO tells */
    const resp_command *commands;
    size_t commands_len; /* to 100 */
    /* Of a pipeline: bring into the cache what the look-ups of count keys (to RESP_PREFETCH_MAX)
     * will need. NULL: nothing. */
    void (*prefetch)(void *userdata, const uint64_t *hashes, size_t count);
    /* SAVE and BGSAVE write this file; NULL: they are refused. dump, on each shard: append what is
     * stored from place *at on (0: the beginning) as arrays whose first argument is a key, 128 KiB
     * or a little more, and move *at on, to 0 at the end. What is stored all the time has one
     * place. restore, before the run: take one of them back, for the server of the key's shard;
     * false: there is no room. */
    const char *snapshot;
    void (*dump)(struct resp_server *server, uint32_t *at, resp_out *out);
    bool (*restore)(struct resp_server *server, uint64_t hash, resp_text *argv, size_t argc);
    _Atomic bool saving, save_failed; /* now; the last time */
    /* ---- */
    struct resp_save *save;
    uint32_t shards;
    uint64_t key_seed;
    xev_runtime *runtime;
    resp_server *servers;
    struct resp_name {
        const resp_command *command;
        uint64_t word;
        size_t len;
    } names[256];
} resp_service;

/* The user's part of a connection begins with it. All is private. */
typedef struct resp_client {
    xev_gather_share share;
    uint32_t next; /* the first key of a RESP_EACH whose reply is not yet asked for */
    bool resp3;
    char name[32];
} resp_client;

extern const xev_conn_handlers resp_handlers;

/* False: no memory. What it takes is kept until the end of the program. */
bool resp_init(resp_service *service, uint32_t shards, uint64_t key_seed);

/* Load the snapshot, where there is one; after resp_init, before the run. NULL, or what is wrong.
 */
const char *resp_load(resp_service *service);

/* Shard id's server becomes its loop's userdata. On its thread. */
void resp_attach(resp_service *service, xev_loop *loop, uint32_t id);

int64_t resp_now_ms(void); /* since 1970 */
static inline uint64_t resp_hash(const resp_service *service, resp_text key) {
    return xev_key_hash(key.at, key.len, service->key_seed);
}
static inline uint32_t resp_shard_of(const resp_service *service, uint64_t hash) {
    return (uint32_t)((hash >> 32) * service->shards >> 32);
}

/* The reply of a RESP_LATER, once, on its shard; a copy of it is taken. */
void resp_answer(xev_ask *ask, const resp_out *reply);

/* A value of so many bytes may be in replies. */
static inline void resp_note_value(resp_server *server, size_t len) {
    if (len > atomic_load_explicit(&server->value_max, memory_order_relaxed)) {
        atomic_store_explicit(&server->value_max, len, memory_order_relaxed);
    }
}

/* What commands refuse, as Redis says it. */
#define RESP_NOT_INTEGER "ERR value is not an integer or out of range"
#define RESP_SYNTAX "ERR syntax error"
#define RESP_NO_MEMORY "OOM command not allowed when used memory > 'maxmemory'."

#endif
