/* Connections, and the way of a command to the shards that have its keys.
 *
 * A command whose key is this shard's is carried out at once. For another shard's it asks, and
 * reserves the place of the reply (a slot); so replies keep their order. What one connection sends
 * about one key is carried out in its order; commands about keys of different shards may be carried
 * out at the same time. MGET, MSET, DEL and EXISTS are one ask for each key, and not atomic.
 *
 * Memory. A connection has so many bytes under way (requests to other shards, and what their
 * replies may be at most) and no more, or one ask; then it is paused. One command of many keys goes
 * on where it stopped: it stays in the connection's input, and client.next says what is done of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/kv_sharded/kv.h"

#define CLIENT_BYTES_MAX (256u << 10) /* under way */
#define SHARD_BYTES_MAX (256u << 20)  /* of all of a shard's connections; then one ask each */
#define ASK_BYTES 1024                /* what an ask counts at least */
#define OUT_BYTES (64u << 10)         /* of replies, before the connection may send them */
#define ASK_ARGS_MAX 16
#define AHEAD 16 /* requests of a pipeline that are looked at together */
#define NAME_MAX_BYTES 256

/* A command that has several answers, and one reply. */
struct job {
    xev_conn_slot *slot;
    uint32_t left; /* answers that are to come */
    bool issued;   /* all asks were made */
    bool resp3;
    uint8_t id;
    uint64_t count, stats[STATS];
    const char *error;
    struct buffer data;
};

struct client {
    struct job *job; /* of the command that is partly carried out */
    char *name;
    uint32_t under_way; /* bytes */
    uint32_t next : 29; /* the first part of it that is not yet carried out */
    uint32_t begun : 1; /* some of it is */
    uint32_t paused : 1;
    uint32_t resp3 : 1;
};

const uint32_t client_bytes = sizeof(struct client);

/* One ask under way. */
struct pending {
    xev_conn_slot *slot;
    struct job *job; /* NULL: the answer is the reply */
    uint32_t bytes;
};

struct head { /* of an ask's argument; then the arguments' lengths, then they */
    uint64_t hash;
    uint32_t argc;
    uint8_t id;
    bool resp3;
};

/* ---- jobs ---- */

static void put_info(struct job *job, struct buffer *out) {
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
    char line[96];
    struct buffer *text = &job->data;
    snprintf(line, sizeof line, "# Server\r\nserver_name:xev-kv\r\nshards:%u\r\nbackend:%s\r\n",
             app.shards, app.backend);
    put_text(text, line);
    for (int i = 0; i < STATS; i++) {
        snprintf(line, sizeof line, "%s:%llu\r\n", names[i], (unsigned long long)job->stats[i]);
        put_text(text, line);
    }
    if (job->stats[STAT_KEYS] > 0) {
        snprintf(line, sizeof line, "# Keyspace\r\ndb0:keys=%llu,expires=%llu,avg_ttl=0\r\n",
                 (unsigned long long)job->stats[STAT_KEYS],
                 (unsigned long long)job->stats[STAT_EXPIRES]);
        put_text(text, line);
    }
    if (job->resp3) {
        put_number(out, '=', (long long)text->len + 4);
        put_text(out, "txt:");
        put_bytes(out, text->p, text->len);
        put_text(out, "\r\n");
    } else {
        put_bulk(out, (struct slice){text->p, text->len});
    }
}

static void job_put_reply(struct job *job, struct buffer *out) {
    if (job->error != NULL) {
        put_error(out, "%s", job->error);
    } else if (job->id == CMD_INFO) {
        put_info(job, out);
    } else if (job->id == CMD_KEYS) {
        put_number(out, '*', (long long)job->count);
        put_bytes(out, job->data.p, job->data.len);
    } else if (job->id == CMD_RANDOMKEY && job->count == 0) {
        put_nil(out, job->resp3);
    } else if (job->id == CMD_RANDOMKEY) {
        put_bulk(out, (struct slice){job->data.p, job->data.len});
    } else if (job->id == CMD_MSET || job->id == CMD_FLUSHALL) {
        put_text(out, "+OK\r\n");
    } else {
        put_number(out, ':', (long long)job->count);
    }
    if (out->failed || job->data.failed) {
        buffer_clear(out);
        put_error(out, "ERR out of memory");
    }
}

static void job_check_done(struct store *s, struct job *job) {
    if (job->left == 0 && job->issued) {
        buffer_clear(&s->more);
        job_put_reply(job, &s->more);
        xev_conn_fill(job->slot, s->more.p, s->more.len);
        free(job->data.p);
        free(job);
    }
}

static const char *error_of(int code) {
    return code == XEV_ENOMEM     ? "OOM command not allowed when used memory > 'maxmemory'."
           : code == XEV_EMSGSIZE ? "ERR the reply is too long"
           : code == XEV_EAGAIN   ? "ERR the server is busy"
                                  : "ERR the server ends";
}

/* One answer of several. */
static void job_merge(struct store *s, struct job *job, int result, const char *answer,
                      size_t len) {
    uint64_t count = 0;
    if (result < 0) {
        job->error = error_of(result);
    } else if (commands[job->id].kind == KIND_EACH) {
        job->count += (uint64_t)result;
    } else if (job->id == CMD_INFO) {
        uint64_t stats[STATS];
        memcpy(stats, answer, sizeof stats);
        for (int i = 0; i < STATS; i++) {
            job->stats[i] += stats[i];
        }
    } else {
        memcpy(&count, answer, sizeof count);
        job->count += count;
        if (job->id == CMD_RANDOMKEY) { /* of each shard's, by how many keys it has */
            if (count == 0 || random_number(&s->table.random) % job->count >= count) {
                return;
            }
            buffer_clear(&job->data);
        }
        put_bytes(&job->data, answer + sizeof count, len - sizeof count);
    }
}

/* ---- asks ---- */

/* On the shard that is asked. */
static void on_ask(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    struct store *s = store_of(self);
    struct head head;
    struct slice argv[ASK_ARGS_MAX];
    uint32_t lens[ASK_ARGS_MAX];
    const char *p = argument;
    (void)len_bytes;
    memcpy(&head, p, sizeof head);
    memcpy(lens, p + sizeof head, head.argc * sizeof *lens);
    p += sizeof head + head.argc * sizeof *lens;
    for (uint32_t i = 0; i < head.argc; i++) {
        argv[i] = (struct slice){p, lens[i]};
        p += lens[i];
    }
    if (commands[head.id].kind == KIND_SAVE) {
        snapshot_ask(self, ask, (enum command_id)head.id);
        return;
    }
    buffer_clear(&s->out);
    s->now = now_ms();
    int rc =
        command_run(s, (enum command_id)head.id, argv, head.argc, head.hash, head.resp3, &s->out);
    xev_ask_answer(ask, s->out.failed ? XEV_EMSGSIZE : rc, s->out.p, s->out.len);
}

/* Back on the shard that has asked. */
static void on_answer(xev_shard *self, int result, const void *answer, size_t len_bytes,
                      void *userdata) {
    struct store *s = store_of(self);
    struct pending *pending = userdata;
    struct job *job = pending->job;
    xev_conn *conn = xev_conn_slot_conn(job != NULL ? job->slot : pending->slot);
    s->under_way_bytes -= pending->bytes;
    if (conn != NULL) {
        struct client *client = xev_conn_user(conn);
        client->under_way -= pending->bytes;
        if (client->paused && client->under_way <= CLIENT_BYTES_MAX / 2) {
            client->paused = false;
            xev_conn_resume(conn);
        }
    }
    if (job != NULL) {
        job_merge(s, job, result, answer, len_bytes);
        job->left--;
        job_check_done(s, job);
    } else if (result < 0) {
        buffer_clear(&s->more);
        put_error(&s->more, "%s", error_of(result));
        xev_conn_fill(pending->slot, s->more.p, s->more.len);
    } else {
        xev_conn_fill(pending->slot, answer, len_bytes);
    }
    free(pending);
}

/* May the connection have so much more under way? */
static bool may_ask(const struct store *s, const struct client *client, size_t bytes) {
    return client->under_way == 0 || (client->under_way + bytes <= CLIENT_BYTES_MAX &&
                                      s->under_way_bytes + bytes <= SHARD_BYTES_MAX);
}

static size_t bytes_of(uint32_t to, const struct command *c, const struct slice *argv,
                       size_t argc) {
    size_t bytes = ASK_BYTES;
    for (size_t i = 0; i < argc; i++) {
        bytes += argv[i].len;
    }
    if (c->reads && (c->id != CMD_SET || argc > 3)) {
        bytes += atomic_load_explicit(&app.stores[to].table.largest, memory_order_relaxed);
    }
    return bytes;
}

/* The replies so far go out, before a slot or at the end. False: the connection ends. */
static bool client_flush(xev_conn *conn, struct store *s) {
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

/* NULL: the connection ends. */
static xev_conn_slot *client_slot(xev_conn *conn, struct store *s) {
    xev_conn_slot *slot = client_flush(conn, s) ? xev_conn_reserve(conn) : NULL;
    if (slot == NULL) {
        xev_conn_abort(conn);
    }
    return slot;
}

static struct job *job_new(xev_conn *conn, struct store *s, const struct command *c) {
    const struct client *client = xev_conn_user(conn);
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL || (job->slot = client_slot(conn, s)) == NULL) {
        free(job);
        xev_conn_abort(conn);
        return NULL;
    }
    job->id = c->id;
    job->resp3 = client->resp3;
    return job;
}

/* What becomes of a command. */
enum outcome {
    DONE,
    HOLD, /* it goes on later, from the connection's input */
    END,  /* the connection ends */
};

/* Ask a shard; with a job, or for the reply itself. */
static enum outcome ask_shard(xev_conn *conn, struct store *s, uint32_t to, const struct command *c,
                              const struct slice *argv, size_t argc, uint64_t hash,
                              struct job *job) {
    struct client *client = xev_conn_user(conn);
    size_t bytes = bytes_of(to, c, argv, argc);
    if (argc > ASK_ARGS_MAX) {
        put_error(&s->out, "ERR syntax error");
        return DONE;
    }
    if (!may_ask(s, client, bytes)) {
        return HOLD;
    }
    struct pending *pending = malloc(sizeof *pending);
    xev_conn_slot *slot = pending != NULL && job == NULL ? client_slot(conn, s) : NULL;
    if (pending == NULL || (job == NULL && slot == NULL)) {
        free(pending);
        xev_conn_abort(conn);
        return END;
    }
    struct head head = {hash, (uint32_t)argc, c->id, client->resp3};
    uint32_t lens[ASK_ARGS_MAX];
    xev_vec vec[2 + ASK_ARGS_MAX] = {{&head, sizeof head}, {lens, argc * sizeof *lens}};
    for (size_t i = 0; i < argc; i++) {
        lens[i] = (uint32_t)argv[i].len;
        vec[2 + i] = (xev_vec){(void *)(uintptr_t)argv[i].p, argv[i].len};
    }
    *pending = (struct pending){slot, job, (uint32_t)bytes};
    client->under_way += pending->bytes;
    s->under_way_bytes += pending->bytes;
    if (job != NULL) {
        job->left++;
    }
    int rc = xev_shard_ask(xev_runtime_shard(app.runtime, to), vec, 2 + argc, 0, on_ask, pending,
                           on_answer);
    if (rc < 0) {
        on_answer(xev_shard_current(), rc, NULL, 0, pending);
    }
    return DONE;
}

/* ---- commands ---- */

static enum outcome run_key(xev_conn *conn, struct store *s, const struct command *c,
                            const struct slice *argv, size_t argc, uint64_t hash) {
    const struct client *client = xev_conn_user(conn);
    uint32_t to = c->kind == KIND_KEY    ? shard_of(hash)
                  : c->kind == KIND_SCAN ? scan_shard(argv[1])
                                         : 0;
    if (to != s->id || c->kind == KIND_SAVE) {
        return ask_shard(conn, s, to, c, argv, argc, hash, NULL);
    }
    (void)command_run(s, (enum command_id)c->id, argv, argc, hash, client->resp3, &s->out);
    return DONE;
}

/* One of the parts of a command: of EACH a key, of ALL a shard. */
static enum outcome run_part(xev_conn *conn, struct store *s, const struct command *c,
                             const struct slice *argv, size_t argc, uint32_t part) {
    const struct client *client = xev_conn_user(conn);
    struct slice keyed[3] = {argv[0]};
    uint64_t hash = 0;
    uint32_t to = part;
    if (c->kind == KIND_EACH) {
        size_t each = c->id == CMD_MSET ? 2 : 1;
        memcpy(keyed + 1, argv + 1 + part * each, each * sizeof *keyed);
        hash = key_hash(keyed[1]);
        to = shard_of(hash);
        argv = keyed;
        argc = 1 + each;
    }
    if (to != s->id) {
        return ask_shard(conn, s, to, c, argv, argc, hash, client->job);
    }
    if (c->id == CMD_MGET) {
        (void)command_run(s, CMD_MGET, argv, argc, hash, client->resp3, &s->out);
        return s->out.len <= OUT_BYTES ? DONE : client_flush(conn, s) ? DONE : END;
    }
    buffer_clear(&s->more);
    int rc = command_run(s, (enum command_id)c->id, argv, argc, hash, client->resp3, &s->more);
    job_merge(s, client->job, s->more.failed ? XEV_ENOMEM : rc, s->more.p, s->more.len);
    return DONE;
}

/* A command of several parts begins, or goes on. */
static enum outcome run_parts(xev_conn *conn, struct store *s, const struct command *c,
                              const struct slice *argv, size_t argc) {
    struct client *client = xev_conn_user(conn);
    size_t each = c->id == CMD_MSET ? 2 : 1;
    uint32_t parts = c->kind == KIND_ALL ? app.shards : (uint32_t)((argc - 1) / each);
    if (c->id == CMD_MSET && argc % 2 == 0) {
        put_error(&s->out, "ERR wrong number of arguments for 'mset' command");
        return DONE;
    }
    if (!client->begun && c->id == CMD_MGET) {
        put_number(&s->out, '*', parts);
    } else if (!client->begun && (client->job = job_new(conn, s, c)) == NULL) {
        return END;
    }
    client->begun = true;
    for (; client->next < parts; client->next++) {
        enum outcome o = xev_conn_queued_bytes(conn) > HIGH_BYTES
                             ? HOLD
                             : run_part(conn, s, c, argv, argc, client->next);
        if (o != DONE) {
            return o;
        }
    }
    struct job *job = client->job;
    client->job = NULL;
    client->begun = false;
    client->next = 0;
    if (job != NULL) {
        job->issued = true;
        job_check_done(s, job);
    }
    return DONE;
}

/* False: the reply says what is wrong with it. */
static bool client_set_name(struct client *client, struct slice name, struct buffer *out) {
    char *copy = NULL;
    for (size_t i = 0; i < name.len; i++) {
        if (name.p[i] < '!' || name.p[i] > '~') {
            put_error(out, "ERR Client names cannot contain spaces, newlines or special "
                           "characters.");
            return false;
        }
    }
    if (name.len > 0 && (name.len > NAME_MAX_BYTES || (copy = strndup(name.p, name.len)) == NULL)) {
        put_error(out, "ERR the name is too long");
        return false;
    }
    free(client->name);
    client->name = copy;
    return true;
}

static void run_hello(xev_conn *conn, struct store *s, const struct slice *argv, size_t argc) {
    struct client *client = xev_conn_user(conn);
    long long version = client->resp3 ? 3 : 2;
    if (argc > 1 && !number_parse(argv[1], &version)) {
        put_error(&s->out, "ERR Protocol version is not an integer or out of range");
        return;
    }
    if (version < 2 || version > 3) {
        put_error(&s->out, "NOPROTO unsupported protocol version");
        return;
    }
    if (argc > 2 && !(argc == 4 && word_is(argv[2], "setname"))) {
        put_error(&s->out, "ERR syntax error in HELLO option '%.*s'",
                  argv[2].len < 64 ? (int)argv[2].len : 64, argv[2].p);
        return;
    }
    if (argc == 4 && !client_set_name(client, argv[3], &s->out)) {
        return;
    }
    client->resp3 = version == 3;
    put_number(&s->out, client->resp3 ? '%' : '*', client->resp3 ? 7 : 14);
    put_text(&s->out, "$6\r\nserver\r\n$6\r\nxev-kv\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n"
                      "$5\r\nproto\r\n");
    put_number(&s->out, ':', version);
    put_text(&s->out, "$2\r\nid\r\n");
    put_number(&s->out, ':', (long long)xev_conn_handle_of(conn));
    put_text(&s->out, "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
                      "$7\r\nmodules\r\n*0\r\n");
}

static void run_client(xev_conn *conn, struct store *s, const struct slice *argv, size_t argc) {
    struct client *client = xev_conn_user(conn);
    if (word_is(argv[1], "id") && argc == 2) {
        put_number(&s->out, ':', (long long)xev_conn_handle_of(conn));
    } else if (word_is(argv[1], "getname") && argc == 2) {
        if (client->name != NULL) {
            put_bulk(&s->out, (struct slice){client->name, strlen(client->name)});
        } else {
            put_nil(&s->out, client->resp3);
        }
    } else if (word_is(argv[1], "setname") && argc == 3) {
        if (client_set_name(client, argv[2], &s->out)) {
            put_text(&s->out, "+OK\r\n");
        }
    } else if (word_is(argv[1], "setinfo") && argc == 4) {
        put_text(&s->out, "+OK\r\n");
    } else {
        put_error(&s->out, "ERR unknown subcommand or wrong number of arguments for '%.*s'",
                  argv[1].len < 64 ? (int)argv[1].len : 64, argv[1].p);
    }
}

static void run_command(const struct client *client, struct buffer *out, const struct slice *argv,
                        size_t argc) {
    if (argc == 2 && word_is(argv[1], "count")) {
        put_number(out, ':', COMMANDS);
    } else if (argc > 1 && word_is(argv[1], "docs")) {
        put_number(out, client->resp3 ? '%' : '*', 0);
    } else if (argc == 2 && word_is(argv[1], "list")) {
        put_number(out, '*', COMMANDS);
        for (int i = 0; i < COMMANDS; i++) {
            put_bulk(out, (struct slice){commands[i].name, strlen(commands[i].name)});
        }
    } else if (argc == 1) { /* name, arity, flags, first key, last key, step */
        put_number(out, '*', COMMANDS);
        for (int i = 0; i < COMMANDS; i++) {
            const struct command *c = &commands[i];
            bool keyed = c->kind == KIND_KEY || c->kind == KIND_EACH;
            put_text(out, "*6\r\n");
            put_bulk(out, (struct slice){c->name, strlen(c->name)});
            put_number(out, ':', c->arity);
            put_text(out, "*0\r\n");
            put_number(out, ':', keyed);
            put_number(out, ':', !keyed ? 0 : c->kind == KIND_KEY ? 1 : -1);
            put_number(out, ':', !keyed ? 0 : c->id == CMD_MSET ? 2 : 1);
        }
    } else {
        put_error(out, "ERR unknown subcommand '%.*s'. Try COMMAND HELP.",
                  argv[1].len < 64 ? (int)argv[1].len : 64, argv[1].p);
    }
}

static enum outcome run_local(xev_conn *conn, struct store *s, const struct command *c,
                              const struct slice *argv, size_t argc) {
    struct client *client = xev_conn_user(conn);
    long long n;
    switch (c->id) {
    case CMD_PING:
        if (argc > 2) {
            put_error(&s->out, "ERR wrong number of arguments for 'ping' command");
        } else if (argc == 2) {
            put_bulk(&s->out, argv[1]);
        } else {
            put_text(&s->out, "+PONG\r\n");
        }
        break;
    case CMD_ECHO:
        put_bulk(&s->out, argv[1]);
        break;
    case CMD_HELLO:
        run_hello(conn, s, argv, argc);
        break;
    case CMD_CLIENT:
        run_client(conn, s, argv, argc);
        break;
    case CMD_COMMAND:
        run_command(client, &s->out, argv, argc);
        break;
    case CMD_CONFIG: /* there is nothing to get; redis-benchmark asks */
        if (word_is(argv[1], "get")) {
            put_number(&s->out, client->resp3 ? '%' : '*', 0);
        } else {
            put_error(&s->out, "ERR CONFIG has GET only");
        }
        break;
    case CMD_SELECT:
        if (!number_parse(argv[1], &n)) {
            put_error(&s->out, "ERR value is not an integer or out of range");
        } else if (n != 0) {
            put_error(&s->out, "ERR DB index is out of range");
        } else {
            put_text(&s->out, "+OK\r\n");
        }
        break;
    default: /* QUIT */
        put_text(&s->out, "+OK\r\n");
        if (client_flush(conn, s)) {
            xev_conn_finish(conn);
        }
        return END;
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
    const struct slice *argv = s->requests.argv + read->first;
    if (read->argc == 0) {
        return DONE;
    }
    if (c == NULL) {
        put_unknown(&s->out, argv, read->argc);
        return DONE;
    }
    if (c->arity >= 0 ? read->argc != (size_t)c->arity : read->argc < (size_t)-c->arity) {
        put_error(&s->out, "ERR wrong number of arguments for '%s' command", c->name);
        return DONE;
    }
    return c->kind == KIND_LOCAL ? run_local(conn, s, c, argv, read->argc)
           : c->kind == KIND_EACH || c->kind == KIND_ALL
               ? run_parts(conn, s, c, argv, read->argc)
               : run_key(conn, s, c, argv, read->argc, read->hash);
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
    if (outcome == END) {
        return (ptrdiff_t)at;
    }
    if (outcome == HOLD) {
        xev_conn_pause(conn);
        client->paused = client->under_way > 0;
        if (!client->paused) { /* it waits for its output only */
            xev_conn_resume(conn);
        }
    }
    (void)client_flush(conn, s);
    return (ptrdiff_t)at;
}

static void on_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    struct store *s = xev_conn_service_loop(xev_conn_service_of(conn))->userdata;
    struct client *client = xev_conn_user(conn);
    struct job *job = client->job;
    (void)code;
    if (job != NULL && reason == XEV_CONN_LOOP_ENDED) { /* no answers come any more */
        free(job->data.p);
        free(job);
    } else if (job != NULL) {
        job->issued = true;
        job_check_done(s, job);
    }
    free(client->name);
}

const xev_conn_handlers client_handlers = {.data = on_data, .closed = on_closed};
