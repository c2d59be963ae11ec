/* CPUs that the program binds its shards to. */
#include "tests/shard_scene.h"

#include <sched.h>

static cpu_set_t placed[SCENE_SHARDS];
static uint32_t bound_to[SCENE_SHARDS];

static int note_cpus(xev_shard *self) {
    uint32_t id = xev_shard_id(self);
    CHECK_EQ(sched_getaffinity(0, sizeof placed[id], &placed[id]), 0);
    bound_to[id] = xev_shard_cpu(self);
    return 0;
}

static uint32_t last_cpu(void) {
    uint32_t order[XEV_SHARDS_MAX], last = 0;
    uint32_t len = xev_cpu_order(order, XEV_SHARDS_MAX);
    CHECK_GE(len, 1);
    for (uint32_t i = 0; i < len; i++) {
        last = order[i] > last ? order[i] : last;
    }
    return last;
}

/* All of them get the last CPU that there is. */
TEST(shards_are_bound_to_the_cpus_that_are_given) {
    cpu_set_t set;
    const uint32_t cpus[] = {last_cpu(), last_cpu()};
    sc.o.cpus = cpus;
    sc.o.cpus_len = 2;
    sc.init = note_cpus;
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(0), 0); /* as many as are given */
    CHECK_EQ(logged(INIT), 2);
    CPU_ZERO(&set);
    CPU_SET(cpus[0], &set);
    for (int i = 0; i < 2; i++) {
        CHECK(CPU_EQUAL(&placed[i], &set));
        CHECK_EQ(bound_to[i], cpus[0]);
    }
}

TEST(a_cpu_that_is_not_there_binds_nothing) {
    const uint32_t none = 60000;
    cpu_set_t allowed;
    CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    sc.o.cpus = &none;
    sc.o.cpus_len = 1;
    sc.init = note_cpus;
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(bound_to[0], XEV_NO_CPU);
    CHECK(CPU_EQUAL(&placed[0], &allowed));
}

/* Where they are as many as the CPUs, each has one of its own, in this order. */
TEST(by_default_shards_get_cpus_in_their_order) {
    uint32_t order[XEV_SHARDS_MAX], len = xev_cpu_order(order, XEV_SHARDS_MAX);
    if (len > SCENE_SHARDS) {
        return;
    }
    sc.init = note_cpus;
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(len), 0);
    for (uint32_t i = 0; i < len; i++) {
        CHECK_EQ(bound_to[i], order[i]);
    }
}
