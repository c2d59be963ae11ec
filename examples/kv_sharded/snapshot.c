/* What a snapshot keeps of each key: an array of key, value and time of expiry. */
#include <stdio.h>

#include "examples/kv_sharded/kv.h"

#define DUMP_BYTES (128u << 10)
#define DUMP_BUCKETS 4096

void store_dump(resp_server *server, uint32_t *at, resp_out *out) {
    const struct table *t = &((struct store *)server->userdata)->table;
    int buckets = 0;
    char time[24];
    do {
        uint32_t from = *at;
        for (const struct entry *e = table_walk(t, at); e != NULL; e = e->next) {
            if (e->hash >= from && !entry_expired(e, server->now_ms)) {
                snprintf(time, sizeof time, "%lld", (long long)e->expires_ms);
                resp_put_number(out, '*', 3);
                resp_put_bulk(out, entry_key(e));
                resp_put_bulk(out, entry_value(e));
                resp_put_bulk(out, resp_text_of(time));
            }
        }
    } while (*at != 0 && out->len < DUMP_BYTES && ++buckets < DUMP_BUCKETS);
}

bool store_restore(resp_server *server, uint64_t hash, resp_text *argv, size_t argc) {
    struct store *s = server->userdata;
    long long expires_ms;
    struct entry *e = NULL;
    if (argc == 3 && resp_number(argv[2], &expires_ms) &&
        (e = store_put(s, argv[0], hash, 0, argv[1])) != NULL) {
        table_set_expiry(&s->table, e, expires_ms);
    }
    return e != NULL;
}
