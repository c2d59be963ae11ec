/* Flags, start and end of the key-value store. */
#include <stdio.h>
#include <stdlib.h>

#include "examples/kv_sharded/kv.h"
#include "examples/random.h"
#include "examples/server.h"

#define CONNECTIONS_MAX 4000000 /* descriptors are the limit */
#define SWEEP_MS 100

static void prefetch(void *userdata, const uint64_t *hashes, size_t count) {
    table_prefetch(&((struct store *)userdata)->table, hashes, count);
}

struct app app = {
    .resp = {.name = "xev-kv", .prefetch = prefetch, .dump = store_dump, .restore = store_restore},
};

static xev_cb_action on_sweep(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct store *s = userdata;
    if (result == 0) {
        bool more = table_sweep(&s->table, resp_now_ms());
        xev_timer_run(NULL, loop, c, more ? 1 : SWEEP_MS, s, on_sweep);
        xev_completion_unref(c);
    }
    return XEV_DISARM;
}

static int on_init(xev_shard *self, void *userdata) {
    const struct server *server = userdata;
    struct store *s = &app.stores[xev_shard_id(self)];
    xev_loop *loop = xev_shard_loop(self);
    resp_attach(&app.resp, loop, xev_shard_id(self));
    app.service = server->service; /* the same for all */
    xev_timer_run(NULL, loop, &s->sweep, SWEEP_MS, s, on_sweep);
    xev_completion_unref(&s->sweep);
    return 0;
}

static uint64_t max_bytes;
static bool keeps;

static bool take_max_bytes(const char *text) {
    static const char units[] = "kmg";
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    const char *unit = *end != '\0' ? strchr(units, *end | 0x20) : NULL;
    int shift = unit != NULL ? 10 * (int)(unit - units + 1) : 0;
    max_bytes = v << shift;
    return *text >= '0' && *text <= '9' && end[unit != NULL] == '\0' && v <= (1ull << 50) >> shift;
}

static bool take_policy(const char *text) {
    keeps = strcmp(text, "noeviction") == 0;
    return keeps || strcmp(text, "allkeys-lru") == 0;
}

static const struct server_flag flags[] = {
    {"maxmemory", "BYTES", "of keys, values and tables; k, m or g may follow (0: no limit)",
     .add = take_max_bytes, .takes = "a number of bytes to 1024 TiB, k, m or g"},
    {"maxmemory-policy", "allkeys-lru|noeviction",
     "a write that has no room drops keys, of five taken\n"
     "            at random the one used longest ago; or it fails (allkeys-lru)",
     .add = take_policy, .takes = "allkeys-lru or noeviction"},
    {"snapshot", "FILE", "loaded at the start where it exists; SAVE and BGSAVE write it",
     .text = &app.resp.snapshot},
    {0},
};

static bool stores_init(uint32_t shards) {
    uint64_t seed;
    app.resp.commands = commands;
    app.resp.commands_len = commands_len;
    app.stores = calloc(shards, sizeof *app.stores);
    bool ok =
        app.stores != NULL && random_fill(&seed, sizeof seed) && resp_init(&app.resp, shards, seed);
    for (uint32_t i = 0; ok && i < shards; i++) {
        struct store *s = &app.stores[i];
        s->server = &app.resp.servers[i];
        s->server->userdata = s;
        s->table.max_bytes = max_bytes / shards;
        s->table.evicts = !keeps;
        s->table.random = (seed + i) | 1;
        ok = table_clear(&s->table);
    }
    return ok;
}

int main(int argc, char **argv) {
    struct server server = {
        .program = "kv_sharded",
        .host = "127.0.0.1",
        .port = 7000,
        .flags = flags,
        .runtime = {.init = on_init, .ask_bytes = XEV_ASK_BYTES_MAX, .asks = 1u << 22},
    };
    const xev_service_options service = {
        .conns = {.handlers = &resp_handlers,
                  .user_bytes = sizeof(resp_client),
                  .connections_max = CONNECTIONS_MAX,
                  .unconsumed_max_bytes = RESP_REQUEST_MAX + (1u << 20),
                  .queued_max_bytes = XEV_ASK_BYTES_MAX,
                  .deadlines = {.idle_ms = UINT32_MAX}},
    };
    server_parse(&server, argc, argv);
    if (server.runtime.shards == 0) {
        server.runtime.shards = xev_cpu_count();
    }
    if (!stores_init(server.runtime.shards)) {
        fprintf(stderr, "kv_sharded: %s\n", xev_strerror(XEV_ENOMEM));
        return 1;
    }
    const char *wrong = resp_load(&app.resp);
    if (wrong != NULL) {
        fprintf(stderr, "kv_sharded: cannot load the snapshot %s: %s\n", app.resp.snapshot, wrong);
        return 1;
    }
    server.runtime.key_seed = app.resp.key_seed;
    return server_serve(&server, &service);
}
