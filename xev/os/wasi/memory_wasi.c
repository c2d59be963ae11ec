/* WASI: whole pages. A module's memory only grows, and has one heap; what is given back is used
 * again there. */
#include <stdlib.h>
#include <string.h>

#include "xev/os/memory.h"

void *xev__os_heap(size_t bytes, size_t alignment) {
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void xev__os_heap_free(void *memory) { free(memory); }

enum { WASM_PAGE = 65536 };

void *xev__os_pages(size_t bytes) {
    void *p = bytes <= SIZE_MAX - WASM_PAGE ? aligned_alloc(WASM_PAGE, bytes) : NULL;
    return p != NULL ? memset(p, 0, bytes) : NULL;
}

void xev__os_pages_free(void *pages, size_t bytes) {
    (void)bytes;
    free(pages);
}
