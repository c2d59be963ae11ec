/* CPUs that the program binds its shards to. */
#include "tests/refuse.h"
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

static void check_no_cpu(uint32_t none, bool alone) {
    const uint32_t cpus[] = {last_cpu(), none};
    xev_runtime_failure f;
    char object[32];
    snprintf(object, sizeof object, "CPU %u", none);
    sc.o.cpus = alone ? &cpus[1] : cpus;
    sc.o.cpus_len = alone ? 1 : 2;
    sc.o.alone = alone;
    sc.init = note_cpus;
    CHECK_EQ(scene_run(0), XEV_EINVAL);
    CHECK_EQ(logged(INIT), alone ? 0 : 1); /* the first one's is there */
    xev_runtime_failure_get(&sc.rt, &f);
    CHECK_EQ(f.code, XEV_EINVAL);
    CHECK_EQ(f.shard, alone ? 0 : 1);
    CHECK_STR_EQ(f.call, "cpus");
    CHECK_STR_EQ(f.object, object);
    CHECK_STR_EQ(f.why, "there is no such CPU, or the process may not use it");
}

/* The second number is negative as an int. */
TEST(a_cpu_that_is_not_there_ends_the_start) {
    for (int i = 0; i < 4; i++) {
        check_no_cpu(i < 2 ? 60000 : UINT32_MAX - 1, i % 2 == 1);
    }
}

/* Of more CPUs than shards the others are nobody's. */
TEST(a_cpu_that_no_shard_gets_is_not_looked_at) {
    const uint32_t cpus[] = {last_cpu(), 60000};
    sc.o.cpus = cpus;
    sc.o.cpus_len = 2;
    sc.init = note_cpus;
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(bound_to[0], cpus[0]);
}

TEST(where_the_system_binds_no_threads_they_run_unbound) {
    const uint32_t cpu = last_cpu();
    refuse(SYS_sched_setaffinity, EPERM); /* as a container's rule does */
    sc.o.cpus = &cpu;
    sc.o.cpus_len = 1;
    sc.init = note_cpus;
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(bound_to[0], XEV_NO_CPU);
    CHECK_EQ(bound_to[1], XEV_NO_CPU);
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
