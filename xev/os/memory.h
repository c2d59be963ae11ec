/* Internal: memory by whole pages, apart from the heap. */
#ifndef XEV_OS_MEMORY_H
#define XEV_OS_MEMORY_H

#include <stddef.h>

/* bytes (> 0), all zero, at the beginning of a page; NULL: there is none. Until they are written to
 * the pages take address space only. */
void *xev__os_pages(size_t bytes);
/* Gives back all of it, whatever stands around it. */
void xev__os_pages_free(void *pages, size_t bytes);

#endif
