/* A function on every shard, as an ask to each, and what comes of it on the asking one. */
#include <assert.h>

#include "shard/internal.h"
#include "xev/ask.h"

struct reduction;

struct part {
    struct reduction *of;
    int code; /* why it was never asked, or 0 */
};

/* In the pool of the asking shard, from the call to the last callback. */
struct reduction {
    const xev_map *map;
    void *userdata;
    xev_mapped_fn done;
    uint32_t left, count, block_bytes;
    int result; /* 0, or the first code */
    struct part parts[];
};

static void fold_part(xev_shard *self, struct part *p, int result, const void *answer, size_t len) {
    struct reduction *r = p->of;
    if (result < 0 && r->result == 0) {
        r->result = result;
    }
    if (r->map->fold != NULL) {
        xev__note_call(&self->loop, XEV__CODE(r->map->fold));
        r->map->fold(self, (uint32_t)(p - r->parts), result, answer, len, r->userdata);
    }
}

static void on_part_answer(xev_shard *self, int result, const void *answer, size_t len,
                           void *userdata) {
    struct part *p = userdata;
    struct reduction *r = p->of;
    assert(p->code == 0 && r->left > 0);
    fold_part(self, p, result, answer, len);
    if (--r->left > 0) {
        return;
    }
    for (uint32_t i = 0; i < r->count; i++) {
        if (r->parts[i].code < 0) {
            fold_part(self, &r->parts[i], r->parts[i].code, NULL, 0);
        }
    }
    struct reduction last = *r;
    xev__asks_put_block(self, r, r->block_bytes);
    xev__note_call(&self->loop, XEV__CODE(last.done));
    last.done(self, last.result, last.userdata);
}

int xev_shard_map_reduce(xev_runtime *handle, const xev_vec *vec, size_t count, uint32_t timeout_ms,
                         const xev_map *map, void *userdata, xev_mapped_fn done) {
    xev__shard_check(handle != NULL && (vec != NULL || count == 0) && map != NULL &&
                         map->map != NULL && done != NULL,
                     "xev_shard_map_reduce", "runtime, vec, map or done is null");
    xev_shard *self = xev_shard_current();
    if (self == NULL || self->handle != handle) {
        return XEV_EINVAL;
    }
    struct xev__runtime *rt = self->rt;
    if (!xev__asks_left(self, rt->count)) {
        return XEV_EAGAIN;
    }
    uint32_t bytes;
    struct reduction *r =
        xev__asks_get_block(self, sizeof *r + rt->count * sizeof r->parts[0], &bytes);
    if (r == NULL) {
        return XEV_ENOMEM;
    }
    *r = (struct reduction){
        .map = map, .userdata = userdata, .done = done, .count = rt->count, .block_bytes = bytes};
    int first = 0;
    for (uint32_t i = 0; i < rt->count; i++) {
        r->parts[i] = (struct part){.of = r};
        int rc = xev_shard_ask(&rt->shards[i], vec, count, timeout_ms, map->map, &r->parts[i],
                               on_part_answer);
        r->parts[i].code = rc;
        r->left += rc == 0;
        first = first < 0 ? first : rc;
    }
    if (r->left == 0) { /* nobody was asked */
        assert(first < 0);
        xev__asks_put_block(self, r, bytes);
        return first;
    }
    return 0;
}
