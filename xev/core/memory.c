/* A loop's own memory, from its allocator or the system's.
 *
 * The heap gives memory back to the system only from its end: one small block that stands there
 * keeps all that is free below it. So large pieces are not taken from the heap, but by whole pages.
 */
#include <string.h>

#include "xev/core/core.h"
#include "xev/os/memory.h"

static bool is_pages(const xev_allocator *a, size_t bytes) {
    return a->allocate == NULL && bytes >= XEV__PAGES_FROM_BYTES;
}

void *xev__alloc(const xev_allocator *a, size_t bytes, size_t alignment) {
    if (a->allocate != NULL) {
        return a->allocate(bytes, alignment, a->userdata);
    }
    if (is_pages(a, bytes)) {
        return xev__os_pages(bytes);
    }
    return xev__os_heap(bytes, alignment);
}

void *xev__heap(size_t bytes, size_t alignment) { return xev__os_heap(bytes, alignment); }
void xev__heap_free(void *memory) { xev__os_heap_free(memory); }

void *xev__alloc_zeroed(const xev_allocator *a, size_t bytes, size_t alignment) {
    void *p = xev__alloc(a, bytes, alignment);
    return p != NULL && !is_pages(a, bytes) ? memset(p, 0, bytes) : p;
}

void *xev__grow(const xev_allocator *a, void *old, size_t old_bytes, size_t bytes) {
    char *p = xev__alloc(a, bytes, _Alignof(max_align_t));
    if (p == NULL) {
        return NULL;
    }
    if (old != NULL) {
        memcpy(p, old, old_bytes);
    }
    if (!is_pages(a, bytes)) {
        memset(p + old_bytes, 0, bytes - old_bytes);
    }
    xev__free(a, old, old_bytes);
    return p;
}

void xev__free(const xev_allocator *a, void *memory, size_t bytes) {
    if (memory == NULL) {
        return;
    }
    if (a->release != NULL) {
        a->release(memory, bytes, a->userdata);
    } else if (is_pages(a, bytes)) {
        xev__os_pages_free(memory, bytes);
    } else {
        xev__os_heap_free(memory);
    }
}
