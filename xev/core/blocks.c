/* Memory in blocks of size classes, each twice the one before.
 *
 * Small blocks stand in chunks, so a connection that waits for the rest of a short message holds
 * some hundred bytes. Large free blocks are kept, up to KEPT_MAX, for the next who needs one. So a
 * busy server neither allocates nor gives memory back. What nobody needed for a second is given
 * back.
 */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "xev/core/support.h"

#define KEPT_MAX (64u << 20)
#define KEPT_ALWAYS (128u << 10)
#define GIVEN_BACK_AT_A_TIME 64u

/* A large block that is kept. */
struct xev__block {
    struct xev__block *next;
};

/* In front of a small block. A block is aligned as this is. */
struct small_head {
    _Alignas(max_align_t) uint32_t number; /* in the store of its class */
    uint32_t link, gen;                    /* for the store */
};

/* The smallest class whose blocks have so many bytes (> 0). */
static unsigned class_of(size_t bytes) {
    assert(bytes > 0);
    unsigned long long more = (bytes - 1) / XEV__BLOCK_MIN;
    return more == 0 ? 0 : 64 - (unsigned)__builtin_clzll(more);
}

static size_t class_bytes(unsigned class) { return (size_t)XEV__BLOCK_MIN << class; }

/* ---- small ones ---- */

static void init_small(void *item, uint32_t number) {
    ((struct small_head *)item)->number = number;
}

static void *get_small(struct xev__blocks *b, unsigned class) {
    struct xev__chunks *s = &b->small[class];
    if (s->loop == NULL) {
        s->loop = b->loop;
        s->item_bytes = (uint32_t)(sizeof(struct small_head) + class_bytes(class));
        s->alignment = _Alignof(struct small_head);
        s->link_at = offsetof(struct small_head, link);
        s->gen_at = offsetof(struct small_head, gen);
        s->init = init_small;
        xev__chunks_init(s);
    }
    uint32_t number = xev__chunks_take(s);
    return number != XEV__CHUNKS_NONE ? (struct small_head *)xev__chunks_at(s, number) + 1 : NULL;
}

/* ---- large ones ---- */

static void free_kept(struct xev__blocks *b, unsigned class) {
    struct xev__block *block = b->kept[class];
    size_t bytes = class_bytes(class);
    assert(block != NULL && b->kept_bytes >= bytes && b->large_bytes >= bytes);
    b->kept[class] = block->next;
    b->kept_bytes -= bytes;
    b->large_bytes -= bytes;
    xev__free(&b->loop->options.allocator, block, bytes);
}

static enum xev__trim trim_large(xev_loop *loop, struct xev__trimmer *t) {
    struct xev__blocks *b =
        (struct xev__blocks *)(void *)((char *)t - offsetof(struct xev__blocks, trimmer));
    unsigned class = XEV__BLOCK_CLASSES - 1;
    (void)loop;
    assert(b->fewest_kept <= b->kept_bytes);
    for (uint32_t n = 0; b->fewest_kept > KEPT_ALWAYS && class >= XEV__BLOCK_SMALL;) {
        if (b->kept[class] == NULL || class_bytes(class) > b->fewest_kept) {
            class --;
        } else if (n++ == GIVEN_BACK_AT_A_TIME) {
            return XEV__TRIM_MORE;
        } else {
            free_kept(b, class);
            b->fewest_kept -= class_bytes(class);
        }
    }
    b->fewest_kept = b->kept_bytes;
    return b->kept_bytes > KEPT_ALWAYS ? XEV__TRIM_LATER : XEV__TRIM_DONE;
}

static void *get_large(struct xev__blocks *b, unsigned class) {
    struct xev__block *block = b->kept[class];
    if (block == NULL) {
        const xev_allocator *a = &b->loop->options.allocator;
        block = xev__alloc(a, class_bytes(class), _Alignof(max_align_t));
        b->large_bytes += block != NULL ? class_bytes(class) : 0;
        return block;
    }
    b->kept[class] = block->next;
    b->kept_bytes -= class_bytes(class);
    b->fewest_kept = b->kept_bytes < b->fewest_kept ? b->kept_bytes : b->fewest_kept;
    return block;
}

static void put_large(struct xev__blocks *b, struct xev__block *block, unsigned class) {
    block->next = b->kept[class];
    b->kept[class] = block;
    b->kept_bytes += class_bytes(class);
    if (b->kept_bytes > KEPT_MAX) {
        free_kept(b, class);
    }
    if (b->trimmer.trim == NULL) {
        b->trimmer.trim = trim_large;
        xev__trimmer_add(b->loop, &b->trimmer);
    }
    if (b->kept_bytes > KEPT_ALWAYS) {
        xev__trim_soon(b->loop, &b->trimmer);
    }
}

/* ---- all ---- */

void *xev__blocks_get(struct xev__blocks *b, size_t bytes, uint32_t *block_bytes) {
    unsigned class = class_of(bytes);
    if (class >= XEV__BLOCK_CLASSES) {
        return NULL;
    }
    *block_bytes = (uint32_t)class_bytes(class);
    return class < XEV__BLOCK_SMALL ? get_small(b, class) : get_large(b, class);
}

void xev__blocks_put(struct xev__blocks *b, void *block, uint32_t block_bytes) {
    unsigned class = class_of(block_bytes);
    assert(block != NULL && class < XEV__BLOCK_CLASSES);
    assert(block_bytes == XEV__BLOCK_MIN << class);
#if !defined(NDEBUG)
    memset(block, 0xdb, block_bytes < 256 ? block_bytes : 256); /* who still uses it is found out */
#endif
    if (class < XEV__BLOCK_SMALL) {
        xev__chunks_give(&b->small[class], ((struct small_head *)block - 1)->number);
    } else {
        put_large(b, block, class);
    }
}

uint64_t xev__blocks_bytes(const struct xev__blocks *b) {
    uint64_t bytes = b->large_bytes;
    for (unsigned class = 0; class < XEV__BLOCK_SMALL; class ++) {
        bytes += b->small[class].loop != NULL ? xev__chunks_bytes(&b->small[class]) : 0;
    }
    return bytes;
}

void xev__blocks_free(struct xev__blocks *b) {
    for (unsigned class = 0; class < XEV__BLOCK_CLASSES; class ++) {
        while (b->kept[class] != NULL) {
            free_kept(b, class);
        }
        if (class < XEV__BLOCK_SMALL && b->small[class].loop != NULL) {
            xev__chunks_free(&b->small[class]);
        }
    }
}
