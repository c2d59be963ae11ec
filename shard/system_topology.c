/* The CPUs that the process may run on, with their cores and nodes: by hwloc, where the build has
 * it (XEV_HWLOC). hwloc takes a made-up machine from HWLOC_SYNTHETIC or HWLOC_XMLFILE; then all of
 * that machine's CPUs are told. */
#include "shard/system.h"
#include "shard/topology.h"
#include "threadpool/cpus.h"

#ifdef XEV_HWLOC
#include <hwloc.h>

static struct xev__cpu describe_cpu(hwloc_topology_t machine, hwloc_obj_t pu) {
    hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(machine, HWLOC_OBJ_CORE, pu);
    int node = pu->nodeset != NULL ? hwloc_bitmap_first(pu->nodeset) : 0;
    return (struct xev__cpu){
        .number = pu->os_index,
        .core = core != NULL ? core->logical_index : pu->logical_index,
        .node = node > 0 ? (uint32_t)node : 0,
    };
}

/* 0: hwloc cannot tell. */
static uint32_t read_machine(struct xev__cpu *cpus, uint32_t max) {
    hwloc_topology_t machine;
    uint32_t len = 0;
    if (hwloc_topology_init(&machine) < 0) {
        return 0;
    }
    hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
    if (allowed != NULL && hwloc_topology_load(machine) == 0) {
        bool real = hwloc_topology_is_thissystem(machine) != 0;
        if (!real || hwloc_get_cpubind(machine, allowed, HWLOC_CPUBIND_THREAD) < 0) {
            hwloc_bitmap_fill(allowed);
        }
        int last = hwloc_bitmap_last(hwloc_topology_get_topology_cpuset(machine));
        for (int cpu = hwloc_bitmap_first(allowed); cpu >= 0 && cpu <= last && len < max;
             cpu = hwloc_bitmap_next(allowed, cpu)) {
            hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(machine, (unsigned)cpu);
            if (pu != NULL) {
                cpus[len++] = describe_cpu(machine, pu);
            }
        }
    }
    hwloc_bitmap_free(allowed);
    hwloc_topology_destroy(machine);
    return len;
}
#else
static uint32_t read_machine(struct xev__cpu *cpus, uint32_t max) {
    (void)cpus;
    (void)max;
    return 0;
}
#endif

uint32_t xev__topology_read(struct xev__cpu *cpus, uint32_t max) {
    uint32_t len = read_machine(cpus, max);
    uint32_t allowed = len == 0 ? xev__cpu_allowed() : 0;
    for (uint32_t i = 0; i < allowed && len < max; i++) {
        int number = xev__cpu_nth(i);
        if (number >= 0) {
            cpus[len] = (struct xev__cpu){.number = (uint32_t)number, .core = len};
            len++;
        }
    }
    return len;
}
