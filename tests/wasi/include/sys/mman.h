/* Memory of its own kind: a test that maps some is left out. */
#ifndef TESTS_WASI_SYS_MMAN_H
#define TESTS_WASI_SYS_MMAN_H

#pragma GCC system_header

#include <sys/types.h>

enum {
    PROT_NONE = 0,
    PROT_READ = 1,
    PROT_WRITE = 2,
    MAP_SHARED = 1,
    MAP_PRIVATE = 2,
    MAP_ANONYMOUS = 0x20,
    MAP_NORESERVE = 0x4000
};
#define MAP_FAILED ((void *)-1)

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);
int munmap(void *at, size_t len);
int mprotect(void *at, size_t len, int protection);

#endif
