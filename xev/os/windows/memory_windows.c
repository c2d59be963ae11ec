/* Windows: memory with an alignment, and by whole pages. */
#include "xev/os/memory.h"

#include <malloc.h>

#include "xev/os/windows/windows_base.h"

/* The C library has no aligned_alloc, and its free does not take what has another alignment. */
void *xev__os_heap(size_t bytes, size_t alignment) { return _aligned_malloc(bytes, alignment); }

void xev__os_heap_free(void *memory) { _aligned_free(memory); }

void *xev__os_pages(size_t bytes) {
    return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void xev__os_pages_free(void *pages, size_t bytes) {
    (void)bytes; /* what VirtualAlloc gave is released as a whole */
    BOOL ok = VirtualFree(pages, 0, MEM_RELEASE);
    assert(ok);
    (void)ok;
}
