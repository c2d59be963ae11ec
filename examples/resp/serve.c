/* Requests of connections, and the names of commands. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "examples/resp/internal.h"

#define AHEAD RESP_PREFETCH_MAX /* requests of a pipeline that are looked at together */

int64_t resp_now_ms(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool resp_flush(xev_conn *conn, resp_server *server) {
    bool ok = !server->out.failed && xev_conn_write(conn, server->out.at, server->out.len) == 0;
    resp_clear(&server->out);
    if (!ok) {
        xev_conn_abort(conn);
    }
    return ok;
}

/* ---- names of commands ---- */

/* In lower case (names are letters only, so no other byte becomes one), and of names of one length
 * up to eight bytes different for each. */
static inline uint64_t name_word(resp_text name) {
    uint32_t low = 0, high = 0;
    if (name.len >= 4) {
        memcpy(&low, name.at, 4);
        memcpy(&high, name.at + (name.len < 8 ? name.len - 4 : 4), 4);
    } else if (name.len > 0) {
        low = (uint8_t)name.at[0] | (uint32_t)(uint8_t)name.at[name.len / 2] << 8 |
              (uint32_t)(uint8_t)name.at[name.len - 1] << 16;
    }
    return (low | (uint64_t)high << 32) | 0x2020202020202020;
}

/* Where a name stands, or would stand: at most two of five places are taken. */
static inline struct resp_name *name_place(resp_service *service, resp_text name) {
    uint64_t word = name_word(name);
    for (size_t i = (word + name.len) * 0x9e3779b97f4a7c15 >> 56;; i = (i + 1) % 256) {
        struct resp_name *n = &service->names[i];
        if (n->command == NULL || (n->word == word && n->len == name.len &&
                                   (name.len <= 8 || resp_is(name, n->command->name)))) {
            return n;
        }
    }
}

static void add_name(resp_service *service, const resp_command *command) {
    resp_text name = resp_text_of(command->name);
    *name_place(service, name) = (struct resp_name){command, name_word(name), name.len};
}

const resp_command *resp_find(resp_service *service, resp_text name) {
    return name_place(service, name)->command;
}

/* ---- requests ---- */

static resp_outcome refuse_unknown(const resp_call *c) {
    char text[128] = "";
    int len = 0;
    for (size_t i = 1; i < c->argc && len < 64; i++) {
        len += snprintf(text + len, 60, "'%.*s' ", c->argv[i].len < 56 ? (int)c->argv[i].len : 56,
                        c->argv[i].at);
    }
    resp_put_error(c->out, "ERR unknown command '%.*s', with args beginning with: %s",
                   c->argv[0].len < 128 ? (int)c->argv[0].len : 128, c->argv[0].at, text);
    return RESP_DONE;
}

static inline resp_outcome run(resp_call *c) {
    const resp_command *command = c->command;
    if (command == NULL) {
        return c->argc > 0 ? refuse_unknown(c) : RESP_DONE;
    }
    if ((command->arity >= 0 ? c->argc != (size_t)command->arity
                             : c->argc < (size_t)-command->arity) ||
        (command->step > 0 && (c->argc - 1) % (size_t)command->step != 0)) {
        resp_put_error(c->out, "ERR wrong number of arguments for '%s' command", command->name);
        return RESP_DONE;
    }
    return resp_run(c);
}

/* Read up to AHEAD requests of a pipeline. Returns how many; *used is of the last attempt, as of
 * resp_parse. */
static int read_ahead(resp_server *s, const char *p, size_t len, resp_call *calls,
                      ptrdiff_t *used) {
    resp_service *service = s->service;
    size_t first[AHEAD], keys = 0;
    uint64_t hashes[AHEAD];
    int n = 0;
    resp_clear(&s->read.args);
    do {
        first[n] = resp_count(&s->read);
        *used = resp_parse(&s->read, p, len);
        if (*used <= 0) {
            break;
        }
        const resp_text *argv = resp_args(&s->read) + first[n];
        resp_call *c = &calls[n];
        c->argc = resp_count(&s->read) - first[n++];
        c->len = (size_t)*used;
        c->command = c->argc > 0 ? name_place(service, argv[0])->command : NULL;
        if (c->command != NULL && c->command->kind == RESP_KEY && c->argc > 1) {
            c->hash = hashes[keys++] = resp_hash(service, argv[1]);
        }
        p += *used;
        len -= (size_t)*used;
    } while (n < AHEAD && len > 0 && *p == '*');
    for (int i = 0; i < n; i++) {
        calls[i].argv = resp_args(&s->read) + first[i];
    }
    if (keys > 1 && service->prefetch != NULL) {
        service->prefetch(s->userdata, hashes, keys);
    }
    return n;
}

static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    resp_server *s = xev_conn_service_loop(xev_conn_service_of(conn))->userdata;
    const resp_client *client = xev_conn_user(conn);
    resp_call calls[AHEAD];
    const char *p = data, *end = p + len_bytes;
    ptrdiff_t used = 1;
    resp_outcome outcome = RESP_DONE;
    uint64_t done = atomic_load_explicit(&s->commands, memory_order_relaxed);
    resp_clear(&s->out);
    s->now_ms = resp_now_ms();
    while (p < end && used > 0 && outcome == RESP_DONE && s->out.len <= RESP_OUT_BYTES) {
        int count = read_ahead(s, p, (size_t)(end - p), calls, &used);
        for (int i = 0; i < count && outcome == RESP_DONE; i++) {
            resp_call *c = &calls[i];
            c->server = s;
            c->conn = conn;
            c->resp3 = client->resp3;
            c->out = &s->out;
            outcome = run(c);
            if (outcome != RESP_HOLD) {
                p += c->len;
                done++;
            }
        }
    }
    atomic_store_explicit(&s->commands, done, memory_order_relaxed);
    if (outcome == RESP_DONE && used < 0) {
        resp_put_error(&s->out, "%s", s->read.error);
    } else if (outcome == RESP_DONE && used == 0 && p == data) {
        xev_conn_need(conn, s->read.need);
    }
    if (outcome != RESP_END) {
        (void)resp_flush(conn, s);
    }
    return outcome == RESP_DONE && used < 0 ? XEV_EINVAL : p - (const char *)data;
}

const xev_conn_handlers resp_handlers = {.data = on_data};

/* ---- start and end ---- */

bool resp_init(resp_service *service, uint32_t shards, uint64_t key_seed) {
    size_t bytes = shards * sizeof *service->servers;
    service->shards = shards;
    service->key_seed = key_seed;
    for (size_t i = 0; i < RESP_COMMON; i++) {
        add_name(service, &resp_common[i]);
    }
    for (size_t i = 0; i < service->commands_len; i++) {
        add_name(service, &service->commands[i]);
    }
    if ((service->servers = aligned_alloc(_Alignof(resp_server), bytes)) == NULL) {
        return false;
    }
    memset(service->servers, 0, bytes);
    for (uint32_t i = 0; i < shards; i++) {
        resp_server *s = &service->servers[i];
        s->service = service;
        s->id = i;
        s->random = key_seed + i;
        resp_prepare(s);
    }
    return true;
}

void resp_attach(resp_service *service, xev_loop *loop, uint32_t id) {
    loop->userdata = &service->servers[id];
    if (xev_shard_current() != NULL) {
        service->runtime = xev_shard_runtime(xev_shard_current()); /* the same for all */
    }
}
