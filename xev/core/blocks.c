/* Memory in blocks of size classes, each twice the one before.
 *
 * Small blocks are cut from slabs, so a connection that waits for the rest of a short message holds
 * some hundred bytes. What is free stays for the next one: a busy server neither allocates nor
 * gives memory back. Only of blocks above 16 KiB no more than KEPT_MAX are kept.
 */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "xev/core/support.h"

#define SLAB_BYTES (64u * 1024)
#define LARGEST_OF_SLAB (16u * 1024)
#define KEPT_MAX (64u << 20)

struct xev__block {
    struct xev__block *next;
};

static unsigned class_of(size_t bytes) {
    unsigned class = 0;
    while (((size_t)XEV__BLOCK_MIN << class) < bytes) {
        class ++;
    }
    return class;
}

/* Cut a new slab into free blocks of a class. The first piece of it heads the list of slabs. */
static bool cut_slab(struct xev__blocks *s, unsigned class) {
    uint8_t *slab = xev__alloc(&s->allocator, SLAB_BYTES, _Alignof(max_align_t));
    if (slab == NULL) {
        return false;
    }
    s->bytes += SLAB_BYTES;
    struct xev__block *head = (struct xev__block *)(void *)slab;
    head->next = s->slabs;
    s->slabs = head;
    size_t bytes = (size_t)XEV__BLOCK_MIN << class;
    size_t first = bytes; /* the head of the list of slabs takes one block */
    for (size_t at = SLAB_BYTES - bytes; at >= first; at -= bytes) {
        struct xev__block *b = (struct xev__block *)(void *)(slab + at);
        b->next = s->free[class];
        s->free[class] = b;
    }
    return true;
}

void *xev__blocks_get(struct xev__blocks *s, size_t bytes, uint32_t *block_bytes) {
    unsigned class = class_of(bytes);
    if (class >= XEV__BLOCK_CLASSES) {
        return NULL;
    }
    size_t size = (size_t)XEV__BLOCK_MIN << class;
    *block_bytes = (uint32_t)size;
    struct xev__block *b = s->free[class];
    if (b == NULL && size <= LARGEST_OF_SLAB && cut_slab(s, class)) {
        b = s->free[class];
    }
    if (b != NULL) {
        s->free[class] = b->next;
        s->kept_bytes -= size > LARGEST_OF_SLAB ? size : 0;
        return b;
    }
    if (size <= LARGEST_OF_SLAB) {
        return NULL;
    }
    b = xev__alloc(&s->allocator, size, _Alignof(max_align_t));
    s->bytes += b != NULL ? size : 0;
    return b;
}

void xev__blocks_put(struct xev__blocks *s, void *block, uint32_t block_bytes) {
    unsigned class = class_of(block_bytes);
    assert(block != NULL && class < XEV__BLOCK_CLASSES);
    assert(block_bytes == XEV__BLOCK_MIN << class);
#if !defined(NDEBUG)
    memset(block, 0xdb, block_bytes < 256 ? block_bytes : 256); /* who still uses it is found out */
#endif
    if (block_bytes > LARGEST_OF_SLAB) {
        if (s->kept_bytes + block_bytes > KEPT_MAX) {
            xev__free(&s->allocator, block, block_bytes);
            s->bytes -= block_bytes;
            return;
        }
        s->kept_bytes += block_bytes;
    }
    struct xev__block *b = block;
    b->next = s->free[class];
    s->free[class] = b;
}

void xev__blocks_free(struct xev__blocks *s) {
    const xev_allocator *a = &s->allocator;
    for (unsigned class = 0; class < XEV__BLOCK_CLASSES; class ++) {
        size_t size = (size_t)XEV__BLOCK_MIN << class;
        for (struct xev__block *b = s->free[class], *next; b != NULL; b = next) {
            next = b->next;
            if (size > LARGEST_OF_SLAB) {
                xev__free(a, b, size);
            }
        }
        s->free[class] = NULL;
    }
    for (struct xev__block *b = s->slabs, *next; b != NULL; b = next) {
        next = b->next;
        xev__free(a, b, SLAB_BYTES);
    }
    s->slabs = NULL;
}
