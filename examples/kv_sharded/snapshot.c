/* The snapshot: all keys in one file.
 *
 * Shard 0 writes it. It asks the shards, one after the other, for the keys of a range of places,
 * and has a thread of the pool write each answer, while all shards go on serving. So a key is saved
 * as it was at some moment between the command and the end of the save: whatever was answered
 * before the command is in the file, unless it was changed after that.
 *
 * The file is written beside its final name (.tmp), flushed, renamed, and the folder is flushed. So
 * whenever the process dies, the name belongs to a complete snapshot, the old one or the new one.
 *
 *     "xevkv 1\n", frames, the last frame
 *     a frame: its length in bytes (u64), its check sum (u64), entries
 *     an entry: lengths of key and value (u32 each), expiry in ms since 1970 (i64, 0: never), both
 *     the last frame: 0, check sum of the number of entries (u64), which follows
 *
 * All numbers are in this machine's byte order. The check sums name the frame's number too, so
 * frames that are missing or out of order are noticed.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "examples/kv_sharded/kv.h"

#define CHUNK_BYTES (128u << 10)
#define CHUNK_BUCKETS 4096
#define WAITING_MAX 64 /* SAVE commands that wait for their reply */

static const char magic[] = {'x', 'e', 'v', 'k', 'v', ' ', '1', '\n'};

struct frame_head {
    uint64_t len, check;
};

struct entry_head {
    uint32_t key_len, value_len;
    int64_t expires_ms;
};

/* What is being written. */
struct writer {
    int fd;
    uint64_t frames, entries;
    struct buffer chunk; /* head and entries of a frame */
    char temporary[PATH_MAX];
};

static struct {
    struct writer writer;
    bool running, failed;
    int code;       /* what went wrong so far */
    uint32_t shard; /* whose keys come next; all of them are written: it is app.shards */
    uint64_t at;    /* ... from this place on */
    bool committed;
    xev_ask *asked; /* the SAVE that is answered at the end; NULL: it was BGSAVE */
    int64_t last_save_ms;
    xev_completion work;
    xev_loop *loop;
} save;

/* ---- check sums ---- */

static uint64_t check_sum(uint64_t frame, const char *p, size_t len) {
    uint64_t h = frame * UINT64_C(0x9E3779B97F4A7C15) ^ len, word;
    for (size_t at = 0; at < len; at += 8) {
        word = 0;
        memcpy(&word, p + at, len - at < 8 ? len - at : 8);
        h = (h ^ word) * UINT64_C(0xBF58476D1CE4E5B9);
        h ^= h >> 29;
    }
    return h;
}

/* ---- writing: in a thread of the pool, or outside a run ---- */

static int write_all(int fd, const char *p, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int writer_open(void *userdata) {
    struct writer *w = userdata;
    int n = snprintf(w->temporary, sizeof w->temporary, "%s.tmp", app.snapshot);
    w->frames = w->entries = 0;
    if (n >= (int)sizeof w->temporary) {
        return XEV_ENAMETOOLONG;
    }
    w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return w->fd < 0 ? -errno : write_all(w->fd, magic, sizeof magic);
}

/* chunk has room for the head before the entries. */
static int writer_put(void *userdata) {
    struct writer *w = userdata;
    struct frame_head head = {w->chunk.len - sizeof head, 0};
    head.check = check_sum(w->frames++, w->chunk.p + sizeof head, head.len);
    memcpy(w->chunk.p, &head, sizeof head);
    return write_all(w->fd, w->chunk.p, w->chunk.len);
}

static int flush_folder(void) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", app.snapshot);
    int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return rc;
}

static int writer_commit(void *userdata) {
    struct writer *w = userdata;
    struct frame_head head = {0, check_sum(w->frames, (char *)&w->entries, sizeof w->entries)};
    int rc = write_all(w->fd, (char *)&head, sizeof head);
    rc = rc < 0 ? rc : write_all(w->fd, (char *)&w->entries, sizeof w->entries);
    rc = rc < 0 || fsync(w->fd) == 0 ? rc : -errno;
    rc = close(w->fd) == 0 || rc < 0 ? rc : -errno;
    w->fd = -1;
    rc = rc < 0 || rename(w->temporary, app.snapshot) == 0 ? rc : -errno;
    return rc < 0 ? rc : flush_folder();
}

/* After an error: what there is of the file is of no use. */
static int writer_abandon(void *userdata) {
    struct writer *w = userdata;
    if (w->fd >= 0) {
        (void)close(w->fd);
        w->fd = -1;
        (void)unlink(w->temporary);
    }
    return 0;
}

/* ---- one shard's entries ---- */

/* Append those from *at on, some of them; *at moves on. Returns how many. */
static uint64_t put_entries(const struct table *t, uint64_t *at, struct buffer *out) {
    uint64_t count = 0, end;
    int64_t now = now_ms();
    size_t from = out->len;
    for (int i = 0; i < CHUNK_BUCKETS && *at < TABLE_END && out->len - from < CHUNK_BYTES; i++) {
        for (const struct entry *e = table_walk(t, *at, &end); e != NULL; e = e->next) {
            if (entry_place(e) >= *at && !entry_expired(e, now)) {
                struct entry_head head = {e->key_len, e->value_len, e->expires_ms};
                put_bytes(out, &head, sizeof head);
                put_bytes(out, e->bytes, (size_t)e->key_len + e->value_len);
                count++;
            }
        }
        *at = end;
    }
    return count;
}

/* Before the entries in an answer; a frame's head takes its place. */
struct chunk_head {
    uint64_t at, count;
};

/* On the shard that has them. */
static void on_chunk_asked(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    struct store *s = store_of(self);
    struct chunk_head head = {0, 0};
    memcpy(&head.at, argument, len_bytes);
    buffer_clear(&s->more);
    put_bytes(&s->more, &head, sizeof head);
    head.count = put_entries(&s->table, &head.at, &s->more);
    if (!s->more.failed) {
        memcpy(s->more.p, &head, sizeof head);
    }
    xev_ask_answer(ask, s->more.failed ? XEV_ENOMEM : 0, s->more.p, s->more.len);
}

/* ---- a save, step by step, on shard 0 ---- */

static void save_step(int result);

static xev_cb_action on_written(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop, (void)c, (void)userdata;
    save_step(result);
    return XEV_DISARM;
}

static void on_pool(enum xev_threadpool_lane lane, int (*fn)(void *userdata)) {
    xev_work_submit(save.loop, &save.work, lane, fn, &save.writer, on_written);
}

static void on_chunk(xev_shard *self, int result, const void *answer, size_t len_bytes,
                     void *userdata) {
    struct chunk_head head = {0, 0};
    struct buffer *chunk = &save.writer.chunk;
    (void)self, (void)userdata;
    if (result == 0) {
        memcpy(&head, answer, sizeof head);
        save.at = head.at;
        save.writer.entries += head.count;
        buffer_clear(chunk);
        put_bytes(chunk, answer, len_bytes);
        result = chunk->failed ? XEV_ENOMEM : 0;
    }
    if (result == 0 && head.count > 0) {
        on_pool(XEV_LANE_FS, writer_put);
    } else {
        save_step(result);
    }
}

static void save_end(void) {
    save.running = false;
    save.failed = save.code < 0;
    save.last_save_ms = save.failed ? save.last_save_ms : now_ms();
    if (save.asked != NULL) {
        struct buffer *out = &app.stores[0].more;
        buffer_clear(out);
        if (save.failed) {
            put_error(out, "ERR the snapshot was not saved: %s", xev_strerror(save.code));
        } else {
            put_text(out, "+OK\r\n");
        }
        xev_ask_answer(save.asked, 0, out->p, out->len);
    }
}

/* The step before has ended: open, chunks, commit; or, after an error, abandon. */
static void save_step(int result) {
    if (save.code < 0) {
        if (result < 0) { /* the pool has no thread for it */
            (void)writer_abandon(&save.writer);
        }
        save_end();
        return;
    }
    if (save.at == TABLE_END) {
        save.at = 0;
        save.shard++;
    }
    if (result == 0 && save.shard < app.shards) {
        const xev_vec vec = {&save.at, sizeof save.at};
        result = xev_shard_ask(xev_runtime_shard(app.runtime, save.shard), &vec, 1, 0,
                               on_chunk_asked, NULL, on_chunk);
    } else if (result == 0 && !save.committed) {
        save.committed = true;
        on_pool(XEV_LANE_FSYNC, writer_commit);
    } else if (result == 0) {
        save_end();
    }
    if (result < 0) {
        save.code = result;
        on_pool(XEV_LANE_FS, writer_abandon);
    }
}

void snapshot_ask(xev_shard *self, xev_ask *ask, int what) {
    struct buffer *out = &store_of(self)->out;
    buffer_clear(out);
    if (what == LASTSAVE) {
        put_number(out, ':', save.last_save_ms / 1000);
    } else if (app.snapshot == NULL) {
        put_error(out, "ERR the server was started without --snapshot");
    } else if (save.running) {
        put_error(out, "ERR Background save already in progress");
    } else {
        save.asked = what == SAVE ? ask : NULL;
        save.running = true;
        save.committed = false;
        save.code = 0;
        save.shard = 0;
        save.at = 0;
        save.loop = xev_shard_loop(self);
        on_pool(XEV_LANE_FS, writer_open);
        if (what == SAVE) {
            return;
        }
        put_text(out, "+Background saving started\r\n");
    }
    xev_ask_answer(ask, 0, out->p, out->len);
}

void snapshot_stats(uint64_t *stats) {
    stats[STAT_SAVING] = save.running;
    stats[STAT_SAVE_FAILED] = save.failed;
    stats[STAT_LAST_SAVE] = (uint64_t)(save.last_save_ms / 1000);
}

/* ---- outside a run ---- */

int snapshot_save_now(void) {
    struct writer *w = &save.writer;
    int rc = writer_open(w);
    for (uint32_t i = 0; rc == 0 && i < app.shards; i++) {
        for (uint64_t at = 0; rc == 0 && at < TABLE_END;) {
            buffer_clear(&w->chunk);
            put_bytes(&w->chunk, &(struct frame_head){0}, sizeof(struct frame_head));
            uint64_t count = put_entries(&app.stores[i].table, &at, &w->chunk);
            w->entries += count;
            rc = w->chunk.failed ? XEV_ENOMEM : count > 0 ? writer_put(w) : 0;
        }
    }
    rc = rc < 0 ? rc : writer_commit(w);
    (void)writer_abandon(w);
    free(w->chunk.p);
    return rc;
}

/* Put a frame's entries into the tables. NULL, or what is wrong. */
static const char *load_entries(const char *p, size_t len, uint64_t *count) {
    int64_t now = now_ms();
    while (len > 0) {
        struct entry_head head;
        if (len < sizeof head) {
            return "an entry is cut off";
        }
        memcpy(&head, p, sizeof head);
        p += sizeof head;
        len -= sizeof head;
        if (len < (size_t)head.key_len + head.value_len) {
            return "an entry is cut off";
        }
        struct slice key = {p, head.key_len}, value = {p + head.key_len, head.value_len};
        uint64_t hash = key_hash(key);
        p += key.len + value.len;
        len -= key.len + value.len;
        ++*count;
        if ((head.expires_ms == 0 || head.expires_ms > now) &&
            table_set(&app.stores[shard_of(hash)].table, key, hash, value, head.expires_ms, 0) ==
                NULL) {
            return "there is not memory enough for it, or --maxmemory is too low";
        }
    }
    return NULL;
}

/* NULL, or what is wrong. *place: up to which byte it was good. */
static const char *load_frames(FILE *file, uint64_t size, uint64_t *place) {
    char head[sizeof magic];
    struct buffer *payload = &save.writer.chunk;
    uint64_t count = 0, said = 0;
    struct frame_head f = {1, 0};
    if (fread(head, sizeof head, 1, file) != 1 || memcmp(head, magic, sizeof head) != 0) {
        return "it is no snapshot of this program";
    }
    for (uint64_t frame = 0; f.len > 0; frame++) {
        *place = (uint64_t)ftell(file);
        if (fread(&f, sizeof f, 1, file) != 1) {
            return "it is cut off";
        }
        uint64_t len = f.len > 0 ? f.len : sizeof said;
        if (f.len > size - *place) {
            return "it is cut off, or corrupt: a length is beyond its end";
        }
        buffer_clear(payload);
        if (buffer_room(payload, len) == NULL) {
            return "there is not memory enough for it";
        }
        if (fread(payload->p, len, 1, file) != 1) {
            return "it is cut off";
        }
        const char *wrong = check_sum(frame, payload->p, len) != f.check
                                ? "it is corrupt: wrong check sum"
                            : f.len > 0 ? load_entries(payload->p, len, &count)
                                        : NULL;
        if (wrong != NULL) {
            return wrong;
        }
    }
    memcpy(&said, payload->p, sizeof said);
    return said != count        ? "it is corrupt: wrong check sum"
           : fgetc(file) != EOF ? "it is corrupt: there is something behind its end"
                                : NULL;
}

int snapshot_load(void) {
    FILE *file = fopen(app.snapshot, "rb");
    if (file == NULL) {
        if (errno == ENOENT) {
            return 0;
        }
        fprintf(stderr, "kv_sharded: cannot open the snapshot %s: %s\n", app.snapshot,
                strerror(errno));
        return -1;
    }
    uint64_t place = 0;
    (void)fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    const char *wrong = size < 0 ? strerror(errno) : load_frames(file, (uint64_t)size, &place);
    (void)fclose(file);
    if (wrong != NULL) {
        fprintf(stderr, "kv_sharded: cannot load the snapshot %s: %s (at byte %llu)\n",
                app.snapshot, wrong, (unsigned long long)place);
        return -1;
    }
    save.last_save_ms = now_ms();
    return 0;
}
