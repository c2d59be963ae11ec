/* Internal: memory of the heap with an alignment, and memory by whole pages, apart from the heap.
 */
#ifndef XEV_OS_MEMORY_H
#define XEV_OS_MEMORY_H

#include <stddef.h>

/* As aligned_alloc, for any alignment that is a power of two; bytes need not be a multiple of it.
 * Memory of the one is given back by the other. free may be a function of another heap. */
void *xev__os_heap(size_t bytes, size_t alignment);
void xev__os_heap_free(void *memory);

/* bytes (> 0), all zero, at the beginning of a page; NULL: there is none. Until they are written to
 * the pages take address space only. */
void *xev__os_pages(size_t bytes);
/* Gives back all of it, whatever stands around it. */
void xev__os_pages_free(void *pages, size_t bytes);

#endif
