/* Loaned buffers: a store that grows by chunks up to a limit and lends from a stack, the most
 * recently used first, so that what a quiet loop touches stays small. */
#include "xev/buffer.h"

#include "xev/core/core.h"

static uint32_t chunk_len(const struct xev__buffers *b, uint32_t first) {
    return b->max - first < XEV__BUFFERS_PER_CHUNK ? b->max - first : XEV__BUFFERS_PER_CHUNK;
}

static size_t chunks_bytes(uint32_t max) {
    return (max + XEV__BUFFERS_PER_CHUNK - 1) / XEV__BUFFERS_PER_CHUNK * sizeof(uint8_t *);
}

struct xev__buffers *xev__buffers_new(const xev_allocator *a, uint32_t size_bytes, uint32_t max) {
    const size_t aligned = _Alignof(max_align_t);
    struct xev__buffers *b = xev__alloc_zeroed(a, sizeof *b, aligned);
    if (b == NULL) {
        return NULL;
    }
    b->allocator = a;
    b->max = max;
    b->chunks = xev__alloc_zeroed(a, chunks_bytes(max), aligned);
    b->free_ids = xev__alloc_zeroed(a, max * sizeof *b->free_ids, aligned);
    b->out = xev__alloc_zeroed(a, max * sizeof *b->out, aligned);
    if (b->chunks == NULL || b->free_ids == NULL || b->out == NULL) {
        xev__buffers_free(b);
        return NULL;
    }
    b->size_bytes = size_bytes;
    return b;
}

void xev__buffers_free(struct xev__buffers *b) {
    if (b == NULL) {
        return;
    }
    const xev_allocator *a = b->allocator;
    for (uint32_t i = 0; i < b->total; i += XEV__BUFFERS_PER_CHUNK) {
        xev__free(a, b->chunks[i / XEV__BUFFERS_PER_CHUNK],
                  (size_t)chunk_len(b, i) * b->size_bytes);
    }
    xev__free(a, b->chunks, chunks_bytes(b->max));
    xev__free(a, b->free_ids, b->max * sizeof *b->free_ids);
    xev__free(a, b->out, b->max * sizeof *b->out);
    xev__free(a, b, sizeof *b);
}

void xev__buffers_grow(struct xev__buffers *b) {
    uint32_t n = chunk_len(b, b->total);
    size_t bytes = (size_t)n * b->size_bytes;
    uint8_t *chunk = n > 0 ? xev__alloc(b->allocator, bytes, _Alignof(max_align_t)) : NULL;
    if (chunk == NULL) {
        return;
    }
    b->chunks[b->total / XEV__BUFFERS_PER_CHUNK] = chunk;
    for (uint32_t i = n; i-- > 0;) {
        b->free_ids[b->free_len++] = b->total + i;
    }
    b->total += n;
}

uint32_t xev__buffers_left(const struct xev__buffers *b) { return b->free_len + b->max - b->total; }

bool xev__buffers_expected(const struct xev__buffers *b) {
    return b->free_len > 0 || b->total == b->max;
}

static void *lent(const struct xev__buffers *b) {
    return (uint8_t *)xev__buffers_at(b, b->current_id) + b->current_offset;
}

const void *xev_buf_data(const xev_loop *loop) {
    if (loop != NULL && loop->ops != NULL) {
        xev__check_thread("xev_buf_data", loop); /* before what is the loop's is looked at */
    }
    if (loop == NULL || loop->ops == NULL || !loop->buffers->lent) {
        xev__misuse("xev_buf_data", "not in the callback of a loaning receive with data", loop);
    }
    return lent(loop->buffers);
}

xev_buf xev_buf_take(xev_loop *loop) {
    if (loop != NULL && loop->ops != NULL) {
        xev__check_thread("xev_buf_take", loop); /* before what is the loop's is looked at */
    }
    if (loop == NULL || loop->ops == NULL || !loop->buffers->lent || loop->buffers->taken) {
        xev__misuse("xev_buf_take", "no data was received in this callback, or taken before", loop);
    }
    struct xev__buffers *b = loop->buffers;
    b->taken = true;
    b->out[b->current_id] = true;
    xev__count(&loop->count.buffers_taken, 1);
    return (xev_buf){lent(b), b->current_len, b->current_id};
}

void xev_buf_release(xev_loop *loop, xev_buf buf) {
    if (loop != NULL && loop->ops != NULL) {
        xev__check_thread("xev_buf_release", loop); /* before what is the loop's is looked at */
    }
    if (loop == NULL || loop->ops == NULL || buf.id >= loop->buffers->total ||
        !loop->buffers->out[buf.id]) {
        xev__misuse("xev_buf_release", "not a taken buffer of this loop", buf.data);
    }
    loop->buffers->out[buf.id] = false;
    xev__count(&loop->count.buffers_taken, UINT64_MAX); /* one less */
    loop->ops->buffer_back(loop, buf.id);
}
