/* Which CPUs shards are bound to, on machines of all kinds: the choice is made from numbers only.
 */
#include <stdio.h>
#include <string.h>

#include "shard/topology.h"
#include "tests/test.h"

enum { CPUS_MAX = 64 };

/* CPUs are numbered over nodes and cores first, siblings last, as Linux does; or, with
 * siblings_first, core by core. */
struct machine {
    uint32_t nodes, cores, siblings; /* cores of a node, CPUs of a core */
    bool siblings_first;
};

static uint32_t make_machine(const struct machine *m, struct xev__cpu *cpus) {
    uint32_t cores = m->nodes * m->cores, len = cores * m->siblings;
    CHECK_LE(len, CPUS_MAX);
    for (uint32_t i = 0; i < len; i++) {
        uint32_t core = m->siblings_first ? i / m->siblings : i % cores;
        cpus[i] = (struct xev__cpu){i, core, core / m->cores};
    }
    return len;
}

static const struct {
    struct machine machine;
    uint32_t quota, wanted, shards, cores;
    bool bind;
    const char *order;
} table[] = {
    /* without siblings: one each */
    {{1, 4, 1, false}, UINT32_MAX, 0, 4, 4, true, "0 1 2 3"},
    {{1, 4, 1, false}, UINT32_MAX, 3, 3, 4, false, "0 1 2 3"},
    {{1, 4, 1, false}, UINT32_MAX, 9, 9, 4, true, "0 1 2 3"},
    /* cores before siblings, however they are numbered */
    {{1, 4, 2, false}, UINT32_MAX, 0, 8, 4, true, "0 1 2 3 4 5 6 7"},
    {{1, 4, 2, true}, UINT32_MAX, 0, 8, 4, true, "0 2 4 6 1 3 5 7"},
    {{1, 2, 4, true}, UINT32_MAX, 0, 8, 2, true, "0 4 1 5 2 6 3 7"},
    /* one shard per core of two nodes; a node's cores before the next one's */
    {{2, 2, 2, false}, UINT32_MAX, 4, 4, 4, true, "0 1 2 3 4 5 6 7"},
    {{2, 2, 2, true}, UINT32_MAX, 4, 4, 4, true, "0 2 4 6 1 3 5 7"},
    {{2, 2, 2, true}, UINT32_MAX, 3, 3, 4, false, "0 2 4 6 1 3 5 7"},
    {{2, 2, 2, true}, UINT32_MAX, 6, 6, 4, true, "0 2 4 6 1 3 5 7"},
    /* a quota bounds the number, and then the system places them */
    {{2, 2, 2, true}, 4, 0, 4, 4, false, "0 2 4 6 1 3 5 7"},
    {{2, 2, 2, true}, 1, 0, 1, 4, false, "0 2 4 6 1 3 5 7"},
    {{2, 2, 2, true}, 7, 5, 5, 4, false, "0 2 4 6 1 3 5 7"},
    {{2, 2, 2, true}, 8, 0, 8, 4, true, "0 2 4 6 1 3 5 7"},
    {{2, 2, 2, true}, 2, 8, 8, 4, true, "0 2 4 6 1 3 5 7"},
    {{1, 1, 1, false}, UINT32_MAX, 0, 1, 1, true, "0"},
};

TEST(cores_come_before_siblings_and_a_quota_bounds_the_number) {
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct xev__cpu cpus[CPUS_MAX];
        char order[200];
        int at = 0;
        uint32_t len = make_machine(&table[i].machine, cpus);
        struct xev__choice c = xev__topology_choose(cpus, len, table[i].quota, table[i].wanted);
        for (uint32_t k = 0; k < len; k++) {
            at += snprintf(order + at, sizeof order - (size_t)at, "%s%u", k > 0 ? " " : "",
                           cpus[k].number);
        }
        CHECK_STR_EQ(order, table[i].order);
        CHECK_EQ(c.shards, table[i].shards);
        CHECK_EQ(c.cores, table[i].cores);
        CHECK_EQ(c.bind, table[i].bind);
    }
}

/* Nodes whose numbers are not in the order of the cores, and an affinity with holes. */
TEST(nodes_are_filled_one_after_the_other) {
    struct xev__cpu cpus[] = {{1, 0, 1}, {3, 5, 0}, {4, 0, 1}, {6, 2, 0}, {9, 7, 1}, {12, 5, 0}};
    static const uint32_t wanted[] = {6, 3, 1, 9, 12, 4};
    struct xev__choice c = xev__topology_choose(cpus, 6, UINT32_MAX, 0);
    CHECK_EQ(c.cores, 4);
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(cpus[i].number, wanted[i]);
    }
    CHECK_EQ(cpus[0].node, 0);
    CHECK_EQ(cpus[4].node, 0);
    CHECK_EQ(cpus[5].node, 1);
}
