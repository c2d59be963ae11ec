/* Internal: how many CPUs and how much memory this process may use. Here because it is the pool and
 * the shards that ask, and the pool is the lower of the two. */
#ifndef XEV_THREADPOOL_CPUS_H
#define XEV_THREADPOOL_CPUS_H

#include <stdint.h>

/* CPUs that this process may run on (its affinity), at least 1. Any thread. */
uint32_t xev__cpu_allowed(void);

/* CPUs that the quota of the process's cgroups comes to, rounded down, at least 1; UINT32_MAX: no
 * quota. root is put before /proc and /sys: "", or in tests a folder that has both. Any thread. */
uint32_t xev__cpu_quota(const char *root);

/* The smaller of the two. xev__cpu_root is the root that the quota is read with; tests set it. */
extern const char *xev__cpu_root;
uint32_t xev__cpu_count(void);

/* Bytes of memory that this process may have: see xev_memory_limit. Any thread. */
uint64_t xev__memory_limit(void);

#endif
