/* Machines that hwloc makes up: their cores and nodes reach the choice, and the shards. */
#include <stdlib.h>

#include "shard/topology.h"
#include "tests/test.h"
#include "xev/shard.h"

static struct xev__cpu cpus[XEV_SHARDS_MAX];

static uint32_t read_synthetic(const char *machine) {
    CHECK_EQ(setenv("HWLOC_SYNTHETIC", machine, 1), 0);
    return xev__topology_read(cpus, XEV_SHARDS_MAX);
}

TEST(a_machine_of_two_nodes_with_siblings) {
    uint32_t order[16];
    CHECK_EQ(read_synthetic("numa:2 core:4 pu:2"), 16);
    for (uint32_t i = 0; i < 16; i++) {
        CHECK_EQ(cpus[i].number, i);
        CHECK_EQ(cpus[i].core, i / 2);
        CHECK_EQ(cpus[i].node, i / 8);
    }
    CHECK_EQ(xev_cpu_order(order, 16), 16);
    for (uint32_t i = 0; i < 16; i++) {
        CHECK_EQ(order[i], i < 8 ? 2 * i : 2 * i - 15);
    }
    CHECK_EQ(xev_cpu_order(order, 1), 16);
}

TEST(a_machine_without_siblings) {
    CHECK_EQ(read_synthetic("numa:4 core:2 pu:1"), 8);
    struct xev__choice c = xev__topology_choose(cpus, 8, UINT32_MAX, 0);
    CHECK_EQ(c.cores, 8);
    CHECK_EQ(cpus[7].node, 3);
}

TEST(the_real_machine) {
    CHECK_EQ(unsetenv("HWLOC_SYNTHETIC"), 0);
    uint32_t len = xev__topology_read(cpus, XEV_SHARDS_MAX);
    CHECK_GE(len, xev_cpu_count());
    for (uint32_t i = 1; i < len; i++) {
        CHECK_GT(cpus[i].number, cpus[i - 1].number);
    }
}

static uint32_t shards_seen;

static int count_and_stop(xev_shard *self, void *userdata) {
    (void)userdata;
    if (++shards_seen == xev_runtime_shards(xev_shard_runtime(self))) {
        xev_runtime_stop(xev_shard_runtime(self));
    }
    return 0;
}

TEST(there_is_a_shard_for_each_of_its_cpus) {
    xev_runtime rt;
    CHECK_EQ(setenv("HWLOC_SYNTHETIC", "numa:2 core:2 pu:2", 1), 0);
    CHECK_EQ(xev_runtime_run(&rt, &(xev_runtime_options){.init = count_and_stop}), 0);
    CHECK_EQ(shards_seen, 8);
}
