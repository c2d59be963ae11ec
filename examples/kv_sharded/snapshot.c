/* The snapshot: all keys in one file.
 *
 * Shard 0 writes it. It asks the shards, one after the other, for the keys of a range of places,
 * and writes each answer, while all shards go on serving. So a key is saved as it was at some
 * moment between the command and the end of the save: whatever was answered before the command is
 * in the file, unless it was changed after that. The name belongs to a complete snapshot always
 * (xev/replace.h).
 *
 *     "xevkv 3\n", for each key an array of key, value and time of expiry; CRC-32 of all that
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "examples/kv_sharded/kv.h"
#include "xev/replace.h"

#define CHUNK_BYTES (128u << 10)
#define CHUNK_BUCKETS 4096

static const char magic[] = {'x', 'e', 'v', 'k', 'v', ' ', '3', '\n'};

static struct {
    xev_replace file;
    resp_out text;  /* what is being written */
    uint32_t shard; /* whose keys come next; all of them are written: it is the number of shards */
    uint32_t at;    /* the place where they begin */
    uint32_t sum;
    bool committed;
    xev_ask *asked; /* the SAVE that is answered at the end; NULL: it was BGSAVE */
} save;

/* On each shard: the keys from a place on, and in front of them where the next ones begin, or 0. */
static void on_chunk_asked(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    struct store *s = &app.stores[xev_shard_id(self)];
    int64_t now = resp_now_ms();
    uint32_t at;
    char time[24];
    memcpy(&at, argument, len_bytes);
    resp_clear(&s->text);
    resp_put(&s->text, &at, sizeof at);
    for (int buckets = 0; buckets < CHUNK_BUCKETS && s->text.len < CHUNK_BYTES; buckets++) {
        uint32_t from = at;
        for (const struct entry *e = table_walk(&s->table, &at); e != NULL; e = e->next) {
            if (e->hash >= from && !entry_expired(e, now)) {
                snprintf(time, sizeof time, "%lld", (long long)e->expires_ms);
                resp_put_number(&s->text, '*', 3);
                resp_put_bulk(&s->text, entry_key(e));
                resp_put_bulk(&s->text, entry_value(e));
                resp_put_bulk(&s->text, resp_text_of(time));
            }
        }
        if (at == 0) {
            break;
        }
    }
    if (!s->text.failed) {
        memcpy(s->text.at, &at, sizeof at);
    }
    resp_answer(ask, &s->text);
}

/* ---- a save, step by step, on shard 0 ---- */

static void on_chunk(xev_shard *self, int result, const void *answer, size_t len_bytes,
                     void *userdata) {
    (void)self, (void)userdata;
    if (result == 0) {
        memcpy(&save.at, answer, sizeof save.at);
        resp_put(&save.text, (const char *)answer + sizeof save.at, len_bytes - sizeof save.at);
        save.sum = (uint32_t)crc32_z(save.sum, (const void *)save.text.at, save.text.len);
        save.shard += save.at == 0;
        if (save.shard == app.resp.shards) {
            resp_put(&save.text, &save.sum, sizeof save.sum);
        }
        result = save.text.failed ? XEV_ENOMEM : 0;
    }
    if (result < 0) {
        xev_replace_abandon(&save.file, result);
    } else {
        xev_replace_write(&save.file, save.text.at, save.text.len);
    }
}

static void end(int result) {
    struct table *t = &app.stores[0].table;
    stat_set(t, STAT_SAVING, 0);
    stat_set(t, STAT_SAVE_FAILED, result < 0);
    resp_clear(&save.text);
    if (result < 0) {
        resp_put_error(&save.text, "ERR the snapshot was not saved: %s", xev_strerror(result));
    } else {
        resp_put_text(&save.text, "+OK\r\n");
    }
    if (save.asked != NULL) {
        resp_answer(save.asked, &save.text);
    }
}

static void on_step(xev_replace *file, int result, void *userdata) {
    const xev_vec at = {&save.at, sizeof save.at};
    (void)userdata;
    if (result < 0 || save.committed) {
        end(result);
    } else if (save.shard == app.resp.shards) {
        save.committed = true;
        xev_replace_commit(file);
    } else {
        resp_clear(&save.text);
        resp_put(&save.text, magic, save.shard == 0 && save.at == 0 ? sizeof magic : 0);
        result = xev_shard_ask(xev_runtime_shard(app.resp.runtime, save.shard), &at, 1, 0,
                               on_chunk_asked, NULL, on_chunk);
        if (result < 0) {
            xev_replace_abandon(file, result);
        }
    }
}

int run_save(resp_call *c) {
    struct table *t = &app.stores[0].table;
    bool begins = app.snapshot != NULL && stat_get(t, STAT_SAVING) == 0, waits = c->command->arg;
    if (begins) {
        stat_set(t, STAT_SAVING, 1);
        save.asked = waits ? c->ask : NULL;
        save.committed = false;
        save.shard = save.at = 0;
        save.sum = 0;
        xev_replace_begin(xev_shard_loop(xev_shard_current()), &save.file, app.snapshot, 0644, NULL,
                          on_step);
    }
    if (!begins || !waits) {
        resp_put_text(c->out, begins ? "+Background saving started\r\n"
                              : app.snapshot == NULL
                                  ? "-ERR the server was started without "
                                    "--snapshot\r\n"
                                  : "-ERR Background save already in progress\r\n");
        resp_answer(c->ask, c->out);
    }
    return 0;
}

/* ---- loading ---- */

/* NULL, or what is wrong. */
static const char *load(const char *p, size_t len) {
    static const char corrupt[] = "it is cut off or corrupt",
                      short_of[] = "there is not memory enough for it, or --maxmemory is too low";
    resp_requests r = {0};
    uint32_t sum;
    ptrdiff_t used = 0;
    const char *wrong = NULL;
    if (len < sizeof magic || memcmp(p, magic, sizeof magic) != 0) {
        return "it is no snapshot of this program";
    }
    if (len < sizeof magic + sizeof sum) {
        return corrupt;
    }
    len -= sizeof sum;
    memcpy(&sum, p + len, sizeof sum);
    if (sum != (uint32_t)crc32_z(0, (const void *)p, len)) {
        return corrupt;
    }
    for (size_t at = sizeof magic; at < len && wrong == NULL; at += (size_t)used) {
        long long expires_ms;
        resp_clear(&r.args);
        used = resp_parse(&r, p + at, len - at);
        const resp_text *argv = resp_args(&r);
        if (used <= 0 || resp_count(&r) != 3 || !resp_number(argv[2], &expires_ms)) {
            wrong = corrupt;
            break;
        }
        uint64_t hash = resp_hash(&app.resp, argv[0]);
        struct store *s = &app.stores[resp_shard_of(&app.resp, hash)];
        struct entry *e = store_put(s, argv[0], hash, 0, argv[1]);
        if (e == NULL) {
            wrong = short_of;
        } else {
            table_set_expiry(&s->table, e, expires_ms);
        }
    }
    resp_free(&r.args);
    return wrong;
}

bool snapshot_load(void) {
    struct stat st;
    size_t len = 0;
    void *p = MAP_FAILED;
    int fd = app.snapshot != NULL ? open(app.snapshot, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 && (app.snapshot == NULL || errno == ENOENT)) {
        return true;
    }
    if (fd >= 0 && fstat(fd, &st) == 0) {
        len = (size_t)st.st_size;
        p = mmap(NULL, len > 0 ? len : 1, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    const char *wrong = p == MAP_FAILED ? strerror(errno) : load(p, len);
    if (wrong != NULL) {
        fprintf(stderr, "kv_sharded: cannot load the snapshot %s: %s\n", app.snapshot, wrong);
        return false;
    }
    (void)munmap(p, len > 0 ? len : 1);
    (void)close(fd);
    return true;
}
