/* The store of numbered items in chunks, of which the empty ones are given back. */
#include "xev/core/chunks.h"

#include <string.h>

#include "xev/core/core.h"

/* How many items the trimmer looks at in one call: some 0.1 ms. */
#define ITEMS_AT_A_TIME 2048u
/* An empty chunk is kept in any case, if it is not larger. */
#define KEPT_CHUNK_BYTES XEV__CHUNK_BYTES

static size_t chunk_bytes(const struct xev__chunks *s) { return (size_t)s->item_bytes << s->shift; }

static uint32_t *gen_of(const struct xev__chunks *s, uint32_t number) {
    return (uint32_t *)(void *)((uint8_t *)xev__chunks_at(s, number) + s->gen_at);
}

/* ---- lists ---- */

static void store_push(struct xev__chunks *s, uint32_t *list, uint32_t number) {
    struct xev__chunk *chunk = &s->chunks[number];
    chunk->prev = 0;
    chunk->next = *list;
    if (*list != 0) {
        s->chunks[*list - 1].prev = number + 1;
    }
    *list = number + 1;
}

static void store_remove(struct xev__chunks *s, uint32_t *list, uint32_t number) {
    const struct xev__chunk *chunk = &s->chunks[number];
    assert(chunk->prev != 0 || *list == number + 1);
    if (chunk->prev != 0) {
        s->chunks[chunk->prev - 1].next = chunk->next;
    } else {
        *list = chunk->next;
    }
    if (chunk->next != 0) {
        s->chunks[chunk->next - 1].prev = chunk->prev;
    }
}

/* ---- growth ---- */

/* The number of a chunk without memory, or XEV__CHUNKS_NONE. */
static uint32_t store_vacant(struct xev__chunks *s) {
    if (s->vacant != 0) {
        return s->vacant - 1;
    }
    if (s->chunks_len == s->chunks_room) {
        uint32_t room = s->chunks_room != 0 ? 2 * s->chunks_room : 8;
        struct xev__chunk *p = s->chunks;
        p = xev__grow(&s->loop->options.allocator, p, s->chunks_room * sizeof *p, room * sizeof *p);
        if (p == NULL) {
            return XEV__CHUNKS_NONE;
        }
        s->chunks = p;
        s->chunks_room = room;
    }
    s->chunks[s->chunks_len] = (struct xev__chunk){.items = NULL};
    store_push(s, &s->vacant, s->chunks_len);
    return s->chunks_len++;
}

static bool make_chunk(struct xev__chunks *s) {
    uint32_t number = store_vacant(s);
    if (number == XEV__CHUNKS_NONE) {
        return false;
    }
    uint8_t *items = xev__alloc(&s->loop->options.allocator, chunk_bytes(s), s->alignment);
    if (items == NULL) {
        return false;
    }
    store_remove(s, &s->vacant, number);
    struct xev__chunk *chunk = &s->chunks[number];
    assert(chunk->items == NULL && chunk->used == 0 && chunk->made == 0 && chunk->free_head == 0);
    chunk->items = items;
    store_push(s, &s->empty, number);
    s->with_memory++;
    s->empty_len++;
    return true;
}

uint32_t xev__chunks_make_item(struct xev__chunks *s, uint32_t chunk) {
    struct xev__chunk *of = &s->chunks[chunk];
    assert(of->free_head == 0 && of->made == of->used && of->made < 1u << s->shift);
    uint32_t number = (chunk << s->shift) + of->made++;
    void *item = memset(xev__chunks_at(s, number), 0, s->item_bytes);
    *gen_of(s, number) = of->first_gen;
    if (s->init != NULL) {
        s->init(item, number);
    }
    return number;
}

bool xev__chunks_make_room(struct xev__chunks *s) {
    assert(s->partial == 0);
    if (s->empty == 0 && !make_chunk(s)) {
        return false;
    }
    uint32_t number = s->empty - 1;
    assert(s->chunks[number].used == 0 && s->empty_len > 0);
    store_remove(s, &s->empty, number);
    store_push(s, &s->partial, number);
    s->empty_len--;
    s->fewest_empty = s->empty_len < s->fewest_empty ? s->empty_len : s->fewest_empty;
    return true;
}

void xev__chunks_filled(struct xev__chunks *s, uint32_t chunk) {
    assert(s->chunks[chunk].used == 1u << s->shift);
    store_remove(s, &s->partial, chunk);
}

/* ---- giving back ---- */

static uint32_t chunks_to_keep(const struct xev__chunks *s) {
    assert(s->empty_len <= s->with_memory);
    return (chunk_bytes(s) <= KEPT_CHUNK_BYTES) + (s->with_memory - s->empty_len) / 4;
}

void xev__chunks_emptied(struct xev__chunks *s, uint32_t chunk, bool was_full) {
    if (was_full) {
        store_push(s, &s->partial, chunk);
    }
    if (s->chunks[chunk].used > 0) {
        return;
    }
    store_remove(s, &s->partial, chunk);
    store_push(s, &s->empty, chunk);
    s->empty_len++;
    if (s->empty_len > chunks_to_keep(s)) {
        xev__trim_soon(s->loop, &s->trimmer);
    }
}

static void give_chunk_back(struct xev__chunks *s, uint32_t number) {
    struct xev__chunk *chunk = &s->chunks[number];
    assert(chunk->used == 0 && chunk->items != NULL && s->empty_len > 0);
    for (uint32_t i = 0; i < chunk->made; i++) {
        uint32_t gen = *gen_of(s, (number << s->shift) + i);
        chunk->first_gen = gen > chunk->first_gen ? gen : chunk->first_gen;
    }
    store_remove(s, &s->empty, number);
    xev__free(&s->loop->options.allocator, chunk->items, chunk_bytes(s));
    chunk->items = NULL;
    chunk->made = chunk->free_head = 0;
    store_push(s, &s->vacant, number);
    s->with_memory--;
    s->empty_len--;
}

static enum xev__trim trim_chunks(xev_loop *loop, struct xev__trimmer *t) {
    struct xev__chunks *s =
        (struct xev__chunks *)(void *)((char *)t - offsetof(struct xev__chunks, trimmer));
    (void)loop;
    assert(s->fewest_empty <= s->empty_len);
    for (uint32_t items = 0; s->fewest_empty > chunks_to_keep(s); items += 1u << s->shift) {
        if (items >= ITEMS_AT_A_TIME) {
            return XEV__TRIM_MORE;
        }
        give_chunk_back(s, s->empty - 1);
        s->fewest_empty--;
    }
    s->fewest_empty = s->empty_len;
    return s->empty_len > chunks_to_keep(s) ? XEV__TRIM_LATER : XEV__TRIM_DONE;
}

/* ---- beginning and end ---- */

void xev__chunks_init(struct xev__chunks *s) {
    assert(s->loop != NULL && s->item_bytes > 0 && s->alignment > 0 && s->chunks == NULL);
    s->shift = xev__chunk_shift(s->item_bytes);
    s->trimmer.trim = trim_chunks;
    xev__trimmer_add(s->loop, &s->trimmer);
}

void xev__chunks_free(struct xev__chunks *s) {
    const xev_allocator *a = &s->loop->options.allocator;
    for (uint32_t i = 0; i < s->chunks_len; i++) {
        xev__free(a, s->chunks[i].items, chunk_bytes(s));
    }
    xev__free(a, s->chunks, s->chunks_room * sizeof *s->chunks);
    s->chunks = NULL;
    s->chunks_len = s->chunks_room = 0;
}
