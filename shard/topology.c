/* The choice of CPUs: see topology.h. */
#include "shard/topology.h"

#include <assert.h>
#include <stdlib.h>

static int compare(uint32_t a, uint32_t b) { return (a > b) - (a < b); }

static int by_core(const void *a, const void *b) {
    const struct xev__cpu *x = a, *y = b;
    int order = compare(x->core, y->core);
    return order != 0 ? order : compare(x->number, y->number);
}

/* While they are sorted: which CPU of its core each is stands in the high bits of node. */
#define SIBLING_SHIFT 20
#define NODE_MASK ((1u << SIBLING_SHIFT) - 1)

static int by_sibling_and_node(const void *a, const void *b) {
    const struct xev__cpu *x = a, *y = b;
    int order = compare(x->node, y->node);
    return order != 0 ? order : by_core(a, b);
}

struct xev__choice xev__topology_choose(struct xev__cpu *cpus, uint32_t len, uint32_t quota,
                                        uint32_t wanted) {
    struct xev__choice choice = {0};
    assert(len > 0 && quota > 0);
    qsort(cpus, len, sizeof *cpus, by_core);
    for (uint32_t i = 0, sibling = 0; i < len; i++) {
        sibling = i > 0 && cpus[i].core == cpus[i - 1].core ? sibling + 1 : 0;
        choice.cores += sibling == 0;
        cpus[i].node = (cpus[i].node & NODE_MASK) | sibling << SIBLING_SHIFT;
    }
    qsort(cpus, len, sizeof *cpus, by_sibling_and_node);
    for (uint32_t i = 0; i < len; i++) {
        cpus[i].node &= NODE_MASK;
    }
    choice.shards = wanted != 0 ? wanted : quota < len ? quota : len;
    choice.bind = choice.shards >= len || (choice.shards >= choice.cores && quota >= len);
    return choice;
}
