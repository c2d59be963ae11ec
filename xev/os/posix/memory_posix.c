/* Memory with an alignment, and by whole pages. */
#include "xev/os/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

void *xev__os_heap(size_t bytes, size_t alignment) {
    /* A whole number of alignments, as C17 wants it. */
    return alignment <= _Alignof(max_align_t)
               ? malloc(bytes)
               : aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void xev__os_heap_free(void *memory) { free(memory); }

void *xev__os_pages(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p != MAP_FAILED ? p : NULL;
}

void xev__os_pages_free(void *pages, size_t bytes) {
    int before = errno;
    if (munmap(pages, bytes) < 0) {
        /* There are too many mappings to split one (vm.max_map_count): only the memory goes. */
        (void)madvise(pages, bytes, MADV_DONTNEED);
    }
    errno = before; /* as free */
}
