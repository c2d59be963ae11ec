/* Internal: which CPU each shard is bound to. What there is to choose from is read by
 * system_topology.c; the choice is a pure function of it. */
#ifndef SHARD_TOPOLOGY_H
#define SHARD_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

/* A CPU that the process may run on. */
struct xev__cpu {
    uint32_t number; /* the system's */
    uint32_t core;   /* of the machine; CPUs of one core share what it has */
    uint32_t node;   /* of memory */
};

/* At most max of the CPUs that the process may run on, in ascending order; how many. Without hwloc
 * each is a core of its own, on one node. */
uint32_t xev__topology_read(struct xev__cpu *cpus, uint32_t max);

struct xev__choice {
    uint32_t shards; /* at least 1 */
    uint32_t cores;  /* of the CPUs */
    bool bind;       /* shard i to cpus[i % len]; else the system places them */
};

/* Choose for len (at least 1) CPUs: put them in the order in which shards get them. One of each
 * core comes before a second one of any; of those one node's cores come before the next one's. So
 * shards that are fewer share neither cores nor, if that is possible, nodes with others.
 *
 * wanted: how many shards; 0: one per CPU, as far as quota allows. Shards that are as many as the
 * CPUs, or more, are bound. So are those that are as many as the cores, where there is no quota:
 * the process has the machine for itself. Fewer are placed by the system, which knows what else
 * runs; as are those under a quota, since others have the same first CPUs. */
struct xev__choice xev__topology_choose(struct xev__cpu *cpus, uint32_t len, uint32_t quota,
                                        uint32_t wanted);

#endif
