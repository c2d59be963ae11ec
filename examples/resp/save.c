/* SAVE and BGSAVE: what all shards have, in one file; and its loading.
 *
 * Shard 0 writes it. It asks the shards, one after the other, for what they have from a place on,
 * and writes each answer, while all shards go on serving. So a key is saved as it was at some
 * moment between the command and the end of the save: whatever was answered before the command is
 * in the file, unless it was changed after that. The name belongs to a complete snapshot always
 * (xev/replace.h).
 *
 *     "resp 1\n\n", arrays as the program has put them, CRC-32 of all that
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "examples/resp/internal.h"
#include "xev/replace.h"

static const char magic[] = {'r', 'e', 's', 'p', ' ', '1', '\n', '\n'};

struct resp_save {
    resp_service *service;
    xev_replace file;
    resp_out text;    /* what is being written */
    uint32_t shard;   /* who is asked next; number of shards: all is written; beyond: committed */
    uint32_t at, crc; /* at: the place from which it is asked */
    xev_ask *asked;   /* the SAVE that is answered at the end; NULL: it was BGSAVE */
};

/* On each shard. Before what it has from a place on stands where the next begins, or 0. */
static void on_chunk_asked(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    resp_server *s = xev_shard_loop(self)->userdata;
    uint32_t at;
    memcpy(&at, argument, len_bytes);
    s->now_ms = resp_now_ms();
    resp_clear(&s->more);
    resp_put(&s->more, &at, sizeof at);
    s->service->dump(s, &at, &s->more);
    if (!s->more.failed) {
        memcpy(s->more.at, &at, sizeof at);
    }
    resp_answer(ask, &s->more);
}

/* ---- a save, step by step, on shard 0 ---- */

static void on_chunk(xev_shard *self, int result, const void *answer, size_t len_bytes,
                     void *userdata) {
    struct resp_save *save = userdata;
    resp_out *text = &save->text;
    (void)self;
    if (result == 0) {
        memcpy(&save->at, answer, sizeof save->at);
        resp_put(text, (const char *)answer + sizeof save->at, len_bytes - sizeof save->at);
        save->crc = (uint32_t)crc32_z(save->crc, (const void *)text->at, text->len);
        save->shard += save->at == 0;
        resp_put(text, &save->crc, save->shard == save->service->shards ? sizeof save->crc : 0);
        result = text->failed ? XEV_ENOMEM : 0;
    }
    if (result < 0) {
        xev_replace_abandon(&save->file, result);
    } else {
        xev_replace_write(&save->file, text->at, text->len);
    }
}

static void end(struct resp_save *save, int result) {
    atomic_store(&save->service->save_failed, result < 0);
    atomic_store(&save->service->saving, false);
    resp_clear(&save->text);
    if (result < 0) {
        resp_put_error(&save->text, "ERR the snapshot was not saved: %s", xev_strerror(result));
    } else {
        resp_put_text(&save->text, "+OK\r\n");
    }
    if (save->asked != NULL) {
        resp_answer(save->asked, &save->text);
    }
}

static void on_step(xev_replace *file, int result, void *userdata) {
    struct resp_save *save = userdata;
    resp_service *service = save->service;
    const xev_vec at = {&save->at, sizeof save->at};
    if (result < 0 || save->shard > service->shards) {
        end(save, result);
    } else if (save->shard == service->shards) {
        save->shard++;
        xev_replace_commit(file);
    } else {
        resp_clear(&save->text);
        resp_put(&save->text, magic, save->shard == 0 && save->at == 0 ? sizeof magic : 0);
        result = xev_shard_ask(xev_runtime_shard(service->runtime, save->shard), &at, 1, 0,
                               on_chunk_asked, save, on_chunk);
        if (result < 0) {
            xev_replace_abandon(file, result);
        }
    }
}

int resp_run_save(resp_call *c) {
    resp_service *service = c->server->service;
    if (service->dump == NULL || service->snapshot == NULL) {
        return resp_put_error(c->out, "ERR the server was started without a snapshot");
    }
    if (atomic_load(&service->saving)) {
        return resp_put_error(c->out, "ERR Background save already in progress");
    }
    if (service->save == NULL && (service->save = calloc(1, sizeof *service->save)) == NULL) {
        return resp_put_error(c->out, RESP_NO_MEMORY);
    }
    struct resp_save *save = service->save;
    save->service = service;
    save->shard = save->at = save->crc = 0;
    save->asked = c->command->arg ? c->ask : NULL;
    atomic_store(&service->saving, true);
    xev_replace_begin(xev_shard_loop(xev_shard_current()), &save->file, service->snapshot, 0644,
                      save, on_step);
    return save->asked != NULL ? 1 : resp_put_text(c->out, "+Background saving started\r\n");
}

/* ---- loading ---- */

static const char *load(resp_service *service, const char *p, size_t len) {
    static resp_requests r;
    uint32_t crc;
    ptrdiff_t used;
    if (len < sizeof magic || memcmp(p, magic, sizeof magic) != 0) {
        return "it is no snapshot of this program";
    }
    size_t at = sizeof magic, end = len - sizeof crc;
    if (end >= at) {
        memcpy(&crc, p + end, sizeof crc);
    }
    if (end < at || crc != (uint32_t)crc32_z(0, (const void *)p, end)) {
        return "it is cut off or corrupt";
    }
    for (; at < end; at += (size_t)used) {
        resp_clear(&r.args);
        used = resp_parse(&r, p + at, end - at);
        if (used <= 0 || resp_count(&r) == 0) {
            return "it is cut off or corrupt";
        }
        uint64_t hash = resp_hash(service, resp_args(&r)[0]);
        resp_server *s = &service->servers[resp_shard_of(service, hash)];
        if (!service->restore(s, hash, resp_args(&r), resp_count(&r))) {
            return "there is no room for it in memory";
        }
    }
    return NULL;
}

const char *resp_load(resp_service *service) {
    struct stat st;
    const char *wrong = NULL;
    void *p = MAP_FAILED;
    int fd = service->snapshot != NULL ? open(service->snapshot, O_RDONLY | O_CLOEXEC) : -1;
    if (service->snapshot == NULL || (fd < 0 && errno == ENOENT)) {
        return NULL;
    }
    if (fd >= 0 && fstat(fd, &st) == 0) {
        p = mmap(NULL, (size_t)st.st_size + 1, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    if (p == MAP_FAILED) {
        wrong = strerror(errno);
    } else {
        wrong = load(service, p, (size_t)st.st_size);
        (void)munmap(p, (size_t)st.st_size + 1);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return wrong;
}
