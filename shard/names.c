/* Handles of what a shard has: the shard, a number, a generation; so a stale one names nothing. */
#include <stddef.h>

#include "shard/internal.h"

/* Of one handle. */
struct named {
    void *what; /* NULL: none now */
    uint32_t link, generation;
};

static void init_named(void *item, uint32_t number) {
    struct named *n = item;
    (void)number;
    n->generation += n->generation == 0; /* so that no handle is 0 */
}

uint32_t xev__name_new(struct xev__chunks *names, xev_shard *s, void *what, uint64_t *handle) {
    if (names->loop == NULL) {
        names->loop = &s->loop;
        names->item_bytes = sizeof(struct named);
        names->alignment = _Alignof(struct named);
        names->link_at = offsetof(struct named, link);
        names->gen_at = offsetof(struct named, generation);
        names->init = init_named;
        xev__chunks_init(names);
    }
    uint32_t number = xev__chunks_take(names);
    if (number >= XEV__NAMES) { /* no memory, or none that a handle has room for */
        if (number != XEV__CHUNKS_NONE) {
            xev__chunks_give(names, number);
        }
        return 0;
    }
    struct named *n = xev__chunks_at(names, number);
    assert(n->what == NULL && n->generation != 0);
    n->what = what;
    *handle = (uint64_t)s->id << 54 | (uint64_t)number << 32 | n->generation;
    return number + 1;
}

void *xev__name_find(const struct xev__chunks *names, const xev_shard *s, uint64_t handle) {
    uint32_t number = (uint32_t)(handle >> 32) & XEV__NAMES;
    if (handle >> 54 != s->id || !xev__chunks_have(names, number)) {
        return NULL;
    }
    const struct named *n = xev__chunks_at(names, number);
    return n->generation == (uint32_t)handle ? n->what : NULL;
}

void xev__name_forget(struct xev__chunks *names, uint32_t name) {
    if (name == 0) {
        return;
    }
    struct named *n = xev__chunks_at(names, name - 1);
    assert(n->what != NULL);
    n->what = NULL;
    if (++n->generation != 0) { /* else all that the place can have are used up */
        xev__chunks_give(names, name - 1);
    }
}

void xev__names_free(struct xev__chunks *names) {
    if (names->loop != NULL) {
        xev__chunks_free(names);
    }
}
