/* What shards measure: turns, callbacks, and how long messages wait. */
#include "tests/shard_scene.h"

static xev_histogram seen;

static uint64_t recorded(const xev_shard *shard, xev_shard_time which) {
    memset(&seen, 0, sizeof seen);
    xev_shard_times(shard, which, &seen);
    return xev_histogram_count(&seen);
}

static struct op ticks;

static void tick_and_stop(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        op_timer(self, &ticks, 1);
        stop_all(self);
    }
}

static void turns_are_recorded(xev_shard *self) {
    CHECK_GT(recorded(self, XEV_SHARD_TURNS), 0);
    CHECK_EQ(recorded(self, XEV_SHARD_CALLBACKS) > 0, sc.o.loop.time_callbacks);
    xev_loop_metrics m;
    xev_loop_metrics_get(xev_shard_loop(self), &m);
    CHECK_EQ(xev_histogram_max(&seen), sc.o.loop.time_callbacks ? m.longest_callback_ns : 0);
}

static void run_with_a_timer(void) {
    sc.body = tick_and_stop;
    sc.stop = turns_are_recorded;
    CHECK_EQ(scene_run(2), 0);
}

TEST(turns_are_recorded_always) { run_with_a_timer(); }

TEST(callbacks_are_recorded_where_that_is_asked_for) {
    sc.o.loop.time_callbacks = true;
    run_with_a_timer();
}
