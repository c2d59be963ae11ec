/* CPU count for Unix systems without a reader of their own. */
#include "threadpool/cpus.h"

#include <unistd.h>

uint32_t xev__cpu_allowed(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

uint32_t xev__cpu_quota(const char *root) {
    (void)root;
    return UINT32_MAX;
}

const char *xev__cpu_root = "";

uint32_t xev__cpu_count(void) { return xev__cpu_allowed(); }

uint64_t xev__memory_limit(void) { return UINT64_MAX; }
