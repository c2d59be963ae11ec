/* The snapshot: all keys in one file, as the commands that set them.
 *
 * Shard 0 writes it. It asks the shards, one after the other, for the keys of a range of places,
 * and writes each answer, while all shards go on serving. So a key is saved as it was at some
 * moment between the command and the end of the save: whatever was answered before the command is
 * in the file, unless it was changed after that. The name belongs to a complete snapshot always
 * (xev/replace.h).
 *
 *     "xevkv 2\n", chunks, END
 *     a chunk: SET key value [PXAT time] for each key, CHECK sum: a hash of what is before it in
 *     the chunk, whose seed is the chunk's number. So chunks that are missing are noticed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "examples/kv_sharded/kv.h"
#include "xev/replace.h"

#define CHUNK_BYTES (128u << 10)
#define CHUNK_BUCKETS 4096

static const char magic[] = {'x', 'e', 'v', 'k', 'v', ' ', '2', '\n'};

/* Which chunk a shard is asked for; before the text in its answer, where the next one begins. */
struct chunk {
    uint64_t number;
    uint32_t at; /* a place; 0 in an answer: that was the last */
};

static struct {
    xev_replace file;
    struct buffer text; /* what is being written */
    struct chunk next;
    uint32_t shard; /* whose keys come next; all of them are written: it is app.shards */
    bool committed;
    xev_ask *asked; /* the SAVE that is answered at the end; NULL: it was BGSAVE */
} save;

/* ---- on each shard ---- */

static void put_entry(struct buffer *out, const struct entry *e) {
    char text[24];
    put_number(out, '*', e->expires_ms == 0 ? 3 : 5);
    put_text(out, "$3\r\nSET\r\n");
    put_bulk(out, entry_key(e));
    put_bulk(out, entry_value(e));
    if (e->expires_ms != 0) {
        snprintf(text, sizeof text, "%lld", (long long)e->expires_ms);
        put_text(out, "$4\r\nPXAT\r\n");
        put_bulk(out, slice_of(text));
    }
}

static void put_check(struct buffer *out, uint64_t check) {
    put_text(out, "*2\r\n$5\r\nCHECK\r\n");
    put_bulk(out, (struct slice){(const char *)&check, sizeof check, 0});
}

static void on_chunk_asked(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    struct store *s = store_of(self);
    struct buffer *out = &s->more;
    struct chunk chunk;
    int64_t now = now_ms();
    int buckets = 0;
    memcpy(&chunk, argument, len_bytes);
    buffer_clear(out);
    put_bytes(out, &chunk, sizeof chunk);
    do {
        uint32_t from = chunk.at;
        for (const struct entry *e = table_walk(&s->table, &chunk.at); e != NULL; e = e->next) {
            if (e->hash >= from && !entry_expired(e, now)) {
                put_entry(out, e);
            }
        }
    } while (chunk.at != 0 && out->len < CHUNK_BYTES && ++buckets < CHUNK_BUCKETS);
    if (!out->failed) {
        put_check(out, xev_key_hash(out->p + sizeof chunk, out->len - sizeof chunk, chunk.number));
        memcpy(out->p, &chunk, sizeof chunk);
    }
    xev_ask_answer(ask, out->failed ? XEV_ENOMEM : 0, out->p, out->len);
}

/* ---- a save, step by step, on shard 0 ---- */

static void on_chunk(xev_shard *self, int result, const void *answer, size_t len_bytes,
                     void *userdata) {
    (void)self, (void)userdata;
    buffer_clear(&save.text);
    if (result == 0) {
        put_bytes(&save.text, magic, save.next.number == 0 ? sizeof magic : 0);
        memcpy(&save.next, answer, sizeof save.next);
        put_bytes(&save.text, (const char *)answer + sizeof save.next,
                  len_bytes - sizeof save.next);
        save.next.number++;
        save.shard += save.next.at == 0;
        put_text(&save.text, save.shard == app.shards ? "*1\r\n$3\r\nEND\r\n" : "");
        result = save.text.failed ? XEV_ENOMEM : 0;
    }
    if (result < 0) {
        xev_replace_abandon(&save.file, result);
    } else {
        xev_replace_write(&save.file, save.text.p, save.text.len);
    }
}

static void end(int result) {
    struct table *t = &app.stores[0].table;
    struct buffer *out = &app.stores[0].more;
    stat_set(t, STAT_SAVING, 0);
    stat_set(t, STAT_SAVE_FAILED, result < 0);
    if (result == 0) {
        stat_set(t, STAT_LAST_SAVE, (uint64_t)now_ms() / 1000);
    }
    buffer_clear(out);
    if (result < 0) {
        put_error(out, "ERR the snapshot was not saved: %s", xev_strerror(result));
    } else {
        put_text(out, "+OK\r\n");
    }
    if (save.asked != NULL) {
        xev_ask_answer(save.asked, 0, out->p, out->len);
    }
}

static void on_step(xev_replace *file, int result, void *userdata) {
    (void)userdata;
    if (result < 0 || save.committed) {
        end(result);
    } else if (save.shard == app.shards) {
        save.committed = true;
        xev_replace_commit(file);
    } else {
        const xev_vec vec = {&save.next, sizeof save.next};
        result = xev_shard_ask(xev_runtime_shard(app.runtime, save.shard), &vec, 1, 0,
                               on_chunk_asked, NULL, on_chunk);
        if (result < 0) {
            xev_replace_abandon(file, result);
        }
    }
}

int run_save(struct call *c) {
    if (app.snapshot == NULL) {
        put_error(c->out, "ERR the server was started without --snapshot");
    } else if (stat_get(&c->store->table, STAT_SAVING) != 0) {
        put_error(c->out, "ERR Background save already in progress");
    } else {
        stat_set(&c->store->table, STAT_SAVING, 1);
        save.asked = c->command->arg ? c->ask : NULL;
        save.committed = false;
        save.shard = 0;
        save.next = (struct chunk){0};
        xev_replace_begin(xev_shard_loop(xev_shard_current()), &save.file, app.snapshot, 0644, NULL,
                          on_step);
        put_text(c->out, "+Background saving started\r\n");
        if (save.asked != NULL) {
            return 0;
        }
    }
    xev_ask_answer(c->ask, 0, c->out->p, c->out->len);
    return 0;
}

/* ---- loading ---- */

static bool is_word(struct slice s, const char *word) {
    return s.len == strlen(word) && memcmp(s.p, word, s.len) == 0;
}

/* Carry out what is in the file. NULL, or what is wrong; *at: up to which byte it was good. */
static const char *load(const char *p, size_t len, size_t *at) {
    struct requests *r = &app.stores[0].requests;
    uint64_t number = 0, check;
    if (len < sizeof magic || memcmp(p, magic, sizeof magic) != 0) {
        return "it is no snapshot of this program";
    }
    for (size_t chunk = *at = sizeof magic; *at < len;) {
        r->args.len = 0;
        ptrdiff_t used = request_parse(r, p + *at, len - *at);
        struct slice *argv = (struct slice *)(void *)r->args.p;
        size_t argc = r->args.len / sizeof *argv;
        if (used <= 0) {
            return used == 0 ? "it is cut off" : "it is corrupt";
        }
        if (argc == 1 && is_word(argv[0], "END") && chunk == *at) {
            return *at + (size_t)used == len ? NULL : "there is something behind its end";
        }
        if (argc == 2 && is_word(argv[0], "CHECK") && argv[1].len == sizeof check) {
            memcpy(&check, argv[1].p, sizeof check);
            if (check != xev_key_hash(p + chunk, *at - chunk, number++)) {
                return "it is corrupt: wrong check sum";
            }
            chunk = *at + (size_t)used;
        } else if ((argc == 3 || argc == 5) && is_word(argv[0], "SET")) {
            uint64_t hash = key_hash(argv[1]);
            struct store *s = &app.stores[shard_of(hash)];
            struct call c = {.command = command_find(argv[0]),
                             .store = s,
                             .argv = argv,
                             .argc = argc,
                             .hash = hash,
                             .out = &s->out};
            buffer_clear(&s->out);
            (void)c.command->run(&c);
            if (s->out.failed || s->out.p[0] != '+') {
                return "there is not memory enough for it, or --maxmemory is too low";
            }
        } else {
            return "it is corrupt";
        }
        *at += (size_t)used;
    }
    return "it is cut off";
}

bool snapshot_load(void) {
    struct stat st;
    size_t at = 0, len = 0;
    void *p = MAP_FAILED;
    int fd = app.snapshot != NULL ? open(app.snapshot, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 && (app.snapshot == NULL || errno == ENOENT)) {
        return true;
    }
    if (fd >= 0 && fstat(fd, &st) == 0) {
        len = (size_t)st.st_size;
        p = mmap(NULL, len > 0 ? len : 1, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    const char *wrong = p == MAP_FAILED ? strerror(errno) : load(p, len, &at);
    if (wrong != NULL) {
        fprintf(stderr, "kv_sharded: cannot load the snapshot %s: %s (at byte %zu)\n", app.snapshot,
                wrong, at);
        return false;
    }
    (void)munmap(p, len > 0 ? len : 1);
    (void)close(fd);
    stat_set(&app.stores[0].table, STAT_LAST_SAVE, (uint64_t)now_ms() / 1000);
    return true;
}
