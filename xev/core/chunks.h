/* Internal: memory that is given back when a peak is over.
 *
 * A trimmer gives back what one part of a loop, or of a library above it, has kept of a peak. The
 * loop calls it a while after the part has said that there may be something. It gives back only
 * what was not needed since its last call, so that a load that swings costs no allocations; and
 * only a piece at a time, so that no turn of the loop becomes long.
 *
 * A store of chunks holds items of one size. They have numbers, and never move. A chunk of which no
 * item is in use can be given back, which the store's trimmer does. A generation is part of each
 * item. The owner of the store increments it when an item ends. A number and a generation together
 * name one use of an item, also after the memory was given back and taken anew.
 */
#ifndef XEV_CORE_CHUNKS_H
#define XEV_CORE_CHUNKS_H

#include <assert.h>

#include "xev/loop.h"

/* ---- trim.c ---- */

/* t, whose trim is set, stays at its address until the loop ends. */
void xev__trimmer_add(xev_loop *loop, struct xev__trimmer *t);
/* There may be something to give back. */
void xev__trim_soon(xev_loop *loop, struct xev__trimmer *t);

/* ---- chunks.c ---- */

#define XEV__CHUNKS_NONE UINT32_MAX

/* Chunks with free items, chunks that are empty and chunks without memory each have a list. A full
 * chunk is in no list. */
struct xev__chunk {
    uint8_t *items;      /* NULL: it has no memory */
    uint32_t used;       /* items that are taken */
    uint32_t made;       /* items that were taken before; the others were never written to */
    uint32_t free_head;  /* the first free one of the items that were made, number + 1, or 0 */
    uint32_t next, prev; /* in its list: chunk number + 1 */
    uint32_t first_gen;  /* of its items when they are made */
};

struct xev__chunks {
    xev_loop *loop;
    uint32_t item_bytes;
    uint32_t alignment;                        /* of a chunk; its items follow without gaps */
    uint32_t link_at, gen_at;                  /* where an item has two uint32_t for the store */
    void (*init)(void *item, uint32_t number); /* of an item that is made, and is zero; or NULL */
    /* The store's own. */
    uint32_t shift; /* a chunk has 1 << shift items */
    struct xev__trimmer trimmer;
    struct xev__chunk *chunks;
    uint32_t chunks_len, chunks_room;
    uint32_t partial, empty, vacant; /* the lists, chunk number + 1 */
    uint32_t with_memory, empty_len; /* chunks; how many of them are empty */
    uint32_t fewest_empty;           /* since the trimmer was called last */
};

/* How many items a chunk has, as a power of two: 32 to 64 KiB, as a rule, so that a chunk that is
 * given back is given to the system. */
#define XEV__CHUNK_BYTES (64u * 1024)
static inline uint32_t xev__chunk_shift(size_t item_bytes) {
    uint32_t fit = item_bytes < XEV__CHUNK_BYTES ? XEV__CHUNK_BYTES / (uint32_t)item_bytes : 1;
    return 31u - (uint32_t)__builtin_clz(fit);
}

/* s: the first four lines are set, the rest is zero. */
void xev__chunks_init(struct xev__chunks *s);
void xev__chunks_free(struct xev__chunks *s);
/* For the functions below. Have a chunk in the list of those with free items; false: no memory. */
bool xev__chunks_make_room(struct xev__chunks *s);
/* Make the next item of a chunk that has no free item, and return its number. */
uint32_t xev__chunks_make_item(struct xev__chunks *s, uint32_t chunk);
void xev__chunks_filled(struct xev__chunks *s, uint32_t chunk);
void xev__chunks_emptied(struct xev__chunks *s, uint32_t chunk, bool was_full);

/* The item of a number that was made. */
static inline void *xev__chunks_at(const struct xev__chunks *s, uint32_t number) {
    assert(number >> s->shift < s->chunks_len);
    size_t at = number & ((1u << s->shift) - 1);
    return s->chunks[number >> s->shift].items + at * s->item_bytes;
}

/* The same, where the compiler knows the size. */
static inline void *xev__chunks_item(const struct xev__chunks *s, uint32_t number, size_t bytes) {
    const uint32_t shift = xev__chunk_shift(bytes);
    assert(bytes == s->item_bytes && number >> shift < s->chunks_len);
    return s->chunks[number >> shift].items + (number & ((1u << shift) - 1)) * bytes;
}

/* Whether the number has an item, taken or free. */
static inline bool xev__chunks_have(const struct xev__chunks *s, uint32_t number) {
    uint32_t chunk = number >> s->shift;
    return chunk < s->chunks_len && (number & ((1u << s->shift) - 1)) < s->chunks[chunk].made;
}

/* What it has taken from the allocator. */
static inline size_t xev__chunks_bytes(const struct xev__chunks *s) {
    return ((size_t)s->with_memory * s->item_bytes << s->shift) +
           s->chunks_room * sizeof *s->chunks;
}

/* All numbers are below. */
static inline uint32_t xev__chunks_end(const struct xev__chunks *s) {
    return s->chunks_len << s->shift;
}

static inline uint32_t *xev__chunks_link(const struct xev__chunks *s, uint32_t number) {
    return (uint32_t *)(void *)((uint8_t *)xev__chunks_at(s, number) + s->link_at);
}

/* The number of an item that is in use from now on; or XEV__CHUNKS_NONE: there is no memory. Chunks
 * that are in use are filled before empty ones. */
static inline uint32_t xev__chunks_take(struct xev__chunks *s) {
    if (s->partial == 0 && !xev__chunks_make_room(s)) {
        return XEV__CHUNKS_NONE;
    }
    uint32_t number, chunk_number = s->partial - 1;
    struct xev__chunk *chunk = &s->chunks[chunk_number];
    assert(chunk->used < 1u << s->shift);
    if (chunk->free_head != 0) {
        number = chunk->free_head - 1;
        chunk->free_head = *xev__chunks_link(s, number);
    } else {
        number = xev__chunks_make_item(s, chunk_number);
    }
    if (++chunk->used == 1u << s->shift) {
        xev__chunks_filled(s, chunk_number);
    }
    return number;
}

/* The item is free. It may still be read until the loop's next callback. */
static inline void xev__chunks_give(struct xev__chunks *s, uint32_t number) {
    struct xev__chunk *chunk = &s->chunks[number >> s->shift];
    bool was_full = chunk->used == 1u << s->shift;
    assert(xev__chunks_have(s, number) && chunk->used > 0);
    *xev__chunks_link(s, number) = chunk->free_head;
    chunk->free_head = number + 1;
    if (--chunk->used == 0 || was_full) {
        xev__chunks_emptied(s, number >> s->shift, was_full);
    }
}

#endif
