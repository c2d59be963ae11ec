/* Loaned buffers: a store that grows by chunks up to a limit. The first free buffer is lent, so
 * that what a quiet loop touches stays small and chunks beyond its need are free as a whole.
 *
 * Those are given back. What one burst needed is likely to be needed by the next, so the trimmer
 * looks once a second how few buffers were free since it looked last; only what nobody used
 * meanwhile is given back, but for a reserve.
 */
#include "xev/buffer.h"

#include "xev/core/core.h"

#define PER_CHUNK XEV__BUFFERS_PER_CHUNK
#define PER_WORD XEV__BUFFERS_PER_WORD

#define TRIM_CHUNKS 16u       /* given back at a time */
#define KEPT (2u * PER_CHUNK) /* free ones that are kept in any case */

static enum xev__trim trim_buffers(xev_loop *loop, struct xev__trimmer *t);

static uint32_t chunk_len(const struct xev__buffers *b, uint32_t chunk) {
    uint32_t rest = b->max - chunk * PER_CHUNK;
    return rest < PER_CHUNK ? rest : PER_CHUNK;
}

static uint32_t chunks_max(const struct xev__buffers *b) {
    return (b->max + PER_CHUNK - 1) / PER_CHUNK;
}

static uint32_t words(const struct xev__buffers *b) {
    return (chunks_max(b) + PER_WORD - 1) / PER_WORD;
}

/* What free_in says of a chunk of which nothing is in use. */
static uint32_t all_free(const struct xev__buffers *b, uint32_t chunk) {
    return UINT32_MAX >> (PER_CHUNK - chunk_len(b, chunk));
}

struct xev__buffers *xev__buffers_new(xev_loop *loop, uint32_t size_bytes, uint32_t max) {
    const xev_allocator *a = &loop->options.allocator;
    const size_t aligned = _Alignof(max_align_t);
    struct xev__buffers *b = xev__alloc_zeroed(a, sizeof *b, aligned);
    if (b == NULL) {
        return NULL;
    }
    b->allocator = a;
    b->max = max;
    b->chunks = xev__alloc_zeroed(a, chunks_max(b) * sizeof *b->chunks, aligned);
    b->free_in = xev__alloc_zeroed(a, chunks_max(b) * sizeof *b->free_in, aligned);
    b->some_free = xev__alloc_zeroed(a, words(b) * sizeof *b->some_free, aligned);
    b->out = xev__alloc_zeroed(a, max * sizeof *b->out, aligned);
    if (b->chunks == NULL || b->free_in == NULL || b->some_free == NULL || b->out == NULL) {
        xev__buffers_free(b);
        return NULL;
    }
    b->size_bytes = size_bytes;
    b->trim_at = KEPT + PER_CHUNK;
    b->trimmer.trim = trim_buffers;
    xev__trimmer_add(loop, &b->trimmer);
    return b;
}

void xev__buffers_free(struct xev__buffers *b) {
    if (b == NULL) {
        return;
    }
    const xev_allocator *a = b->allocator;
    for (uint32_t i = 0; b->chunks != NULL && i < chunks_max(b); i++) {
        xev__free(a, b->chunks[i], (size_t)chunk_len(b, i) * b->size_bytes);
    }
    xev__free(a, b->chunks, chunks_max(b) * sizeof *b->chunks);
    xev__free(a, b->free_in, chunks_max(b) * sizeof *b->free_in);
    xev__free(a, b->some_free, words(b) * sizeof *b->some_free);
    xev__free(a, b->out, b->max * sizeof *b->out);
    xev__free(a, b, sizeof *b);
}

void xev__buffers_grow(struct xev__buffers *b) {
    uint32_t i = 0;
    while (i < chunks_max(b) && b->chunks[i] != NULL) {
        i++;
    }
    if (i == chunks_max(b)) {
        return;
    }
    uint32_t n = chunk_len(b, i);
    b->chunks[i] = xev__alloc(b->allocator, (size_t)n * b->size_bytes, _Alignof(max_align_t));
    if (b->chunks[i] == NULL) {
        return;
    }
    assert(b->free_in[i] == 0);
    b->free_in[i] = all_free(b, i);
    b->some_free[i / PER_WORD] |= (uint64_t)1 << i % PER_WORD;
    b->free_len += n;
    b->total += n;
}

uint32_t xev__buffers_left(const struct xev__buffers *b) { return b->free_len + b->max - b->total; }

bool xev__buffers_expected(const struct xev__buffers *b) {
    return b->free_len > 0 || b->total == b->max;
}

/* ---- giving back ---- */

void xev__buffers_came_back(struct xev__buffers *b, uint32_t chunk) {
    if (b->free_in[chunk] == all_free(b, chunk)) {
        b->trim_at = 0; /* a chunk that could not be given back so far */
    }
}

static uint32_t reserve(const struct xev__buffers *b) {
    return KEPT + (b->total - b->free_len) / 4;
}

/* Give back whole chunks out of the free buffers that were not needed lately. True: some. */
static bool give_buffers_back(struct xev__buffers *b) {
    uint32_t keep = reserve(b), spare = b->fewest_free > keep ? b->fewest_free - keep : 0;
    uint32_t chunks = 0;
    for (uint32_t i = chunks_max(b); i-- > 0 && spare >= PER_CHUNK && chunks < TRIM_CHUNKS;) {
        if (b->chunks[i] == NULL || b->free_in[i] != all_free(b, i)) {
            continue;
        }
        uint32_t n = chunk_len(b, i);
        xev__free(b->allocator, b->chunks[i], (size_t)n * b->size_bytes);
        b->chunks[i] = NULL;
        b->free_in[i] = 0;
        b->some_free[i / PER_WORD] &= ~((uint64_t)1 << i % PER_WORD);
        assert(b->free_len >= n && b->total >= n);
        b->free_len -= n;
        b->total -= n;
        spare -= n;
        chunks++;
    }
    return chunks > 0;
}

static enum xev__trim trim_buffers(xev_loop *loop, struct xev__trimmer *t) {
    struct xev__buffers *b = loop->buffers;
    assert(t == &b->trimmer);
    (void)t;
    bool was_busy = b->fewest_free < reserve(b) + PER_CHUNK;
    bool progress = give_buffers_back(b);
    b->fewest_free = b->free_len;
    bool much_left = b->free_len >= reserve(b) + PER_CHUNK;
    b->trimming = much_left;
    if (much_left && (was_busy || progress)) {
        return XEV__TRIM_LATER;
    }
    /* What is left is in chunks that are in use: put says when one is not, any more. */
    b->trim_at = much_left ? UINT32_MAX : reserve(b) + PER_CHUNK;
    return XEV__TRIM_DONE;
}

void xev__buffers_trim_soon(xev_loop *loop) {
    struct xev__buffers *b = loop->buffers;
    b->trim_at = UINT32_MAX;
    b->trimming = true;
    xev__trim_soon(loop, &b->trimmer);
}

/* ---- lending ---- */

const void *xev_buf_data(const xev_loop *loop) {
    if (loop != NULL && loop->ops != NULL) {
        xev__check_thread("xev_buf_data", loop); /* before what is the loop's is looked at */
    }
    if (loop == NULL || loop->ops == NULL || loop->loan == NULL) {
        xev__misuse("xev_buf_data", "not in the callback of a loaning receive with data", loop);
    }
    return loop->loan;
}

xev_buf xev_buf_take(xev_loop *loop) {
    if (loop != NULL && loop->ops != NULL) {
        xev__check_thread("xev_buf_take", loop); /* before what is the loop's is looked at */
    }
    if (loop == NULL || loop->ops == NULL || loop->loan == NULL || loop->buffers->taken) {
        xev__misuse("xev_buf_take", "no data was received in this callback, or taken before", loop);
    }
    struct xev__buffers *b = loop->buffers;
    b->taken = true;
    b->out[b->current_id] = true;
    if (b->held != NULL && b->held_id == b->current_id) {
        b->held = NULL;
    }
    xev__count(&loop->count.buffers_taken, 1);
    return (xev_buf){loop->loan, b->current_len, b->current_id};
}

void xev_buf_release(xev_loop *loop, xev_buf buf) {
    if (loop != NULL && loop->ops != NULL) {
        xev__check_thread("xev_buf_release", loop); /* before what is the loop's is looked at */
    }
    if (loop == NULL || loop->ops == NULL || buf.id >= loop->buffers->max ||
        !loop->buffers->out[buf.id]) {
        xev__misuse("xev_buf_release", "not a taken buffer of this loop", buf.data);
    }
    loop->buffers->out[buf.id] = false;
    xev__count(&loop->count.buffers_taken, UINT64_MAX); /* one less */
    loop->ops->buffer_back(loop, buf.id);
}
