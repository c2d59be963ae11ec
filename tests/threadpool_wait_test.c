/* How long tasks wait for a thread, as the pool's counters tell it. */
#include "tests/threadpool_scene.h"

static xev_threadpool_lane_counters lane_of_scene(struct scene *s, xev_threadpool_lane lane) {
    return stats_of(s).lane[lane];
}

TEST(a_pool_that_did_nothing_has_measured_nothing) {
    struct scene *s = scene_new();
    pool_start(s, 1);
    for (unsigned int lane = 0; lane < XEV_LANE_COUNT; lane++) {
        xev_threadpool_lane_counters c = lane_of_scene(s, (xev_threadpool_lane)lane);
        CHECK_EQ(c.peak_queued, 0);
        CHECK_EQ(c.waits, 0);
        CHECK_EQ(c.wait_ns, 0);
        CHECK_EQ(c.wait_max_ns, 0);
        CHECK_EQ(c.oldest_ns, 0);
    }
    xev_threadpool_deinit(&s->pool);
}

TEST(a_wait_lasts_until_the_start) {
    struct scene *s = scene_new();
    struct job gate, waiting;
    pool_start(s, 1);
    gate_close(s, &gate, 0);
    CHECK_EQ(lane_of_scene(s, XEV_LANE_CPU).waits, 1);
    CHECK_EQ(lane_of_scene(s, XEV_LANE_CPU).oldest_ns, 0);
    job_init(&waiting, s, 1);
    CHECK_EQ(schedule_n(s, &waiting, 1, XEV_LANE_FS), 0);
    uint64_t waited_ns = 0;
    while (waited_ns < 2000000) {
        uint64_t now_ns = lane_of_scene(s, XEV_LANE_FS).oldest_ns;
        CHECK_GE(now_ns, waited_ns);
        waited_ns = now_ns;
    }
    CHECK_EQ(lane_of_scene(s, XEV_LANE_FS).waits, 0);
    CHECK_EQ(lane_of_scene(s, XEV_LANE_FS).queued, 1);
    gate_open(s);
    counter_wait(&s->done, 2);
    xev_threadpool_lane_counters c = lane_of_scene(s, XEV_LANE_FS);
    CHECK_EQ(c.waits, 1);
    CHECK_GE(c.wait_ns, waited_ns);
    CHECK_EQ(c.wait_max_ns, c.wait_ns);
    CHECK_EQ(c.oldest_ns, 0);
    CHECK_EQ(c.peak_queued, 1);
    CHECK_EQ(lane_of_scene(s, XEV_LANE_DNS).waits, 0);
    xev_threadpool_deinit(&s->pool);
}

TEST(each_batch_is_measured_while_few_wait_and_some_of_many) {
    enum { FEW = 30, MANY = 200, EACH = 3 };
    static struct job jobs[MANY + 2 * FEW][EACH];
    struct scene *s = scene_new();
    struct job gate;
    pool_start(s, 1);
    gate_close(s, &gate, 0);
    for (int i = 0; i < FEW; i++) {
        jobs_init(jobs[i], EACH, s);
        CHECK_EQ(schedule_n(s, jobs[i], EACH, XEV_LANE_FS), 0);
    }
    for (int i = 0; i < MANY; i++) {
        jobs_init(jobs[FEW + i], EACH, s);
        CHECK_EQ(schedule_n(s, jobs[FEW + i], EACH, XEV_LANE_DNS), 0);
    }
    CHECK_EQ(lane_of_scene(s, XEV_LANE_DNS).peak_queued, MANY * EACH);
    gate_open(s);
    counter_wait(&s->done, 1 + (FEW + MANY) * EACH);
    CHECK_EQ(lane_of_scene(s, XEV_LANE_FS).waits, FEW);
    CHECK_GE(lane_of_scene(s, XEV_LANE_DNS).waits, 32);
    CHECK_LT(lane_of_scene(s, XEV_LANE_DNS).waits, MANY);
    uint64_t before = lane_of_scene(s, XEV_LANE_DNS).waits;
    for (int i = 0; i < FEW; i++) { /* the marks go round */
        jobs_init(jobs[FEW + MANY + i], EACH, s);
        CHECK_EQ(schedule_n(s, jobs[FEW + MANY + i], EACH, XEV_LANE_DNS), 0);
        counter_wait(&s->done, 1 + (FEW + MANY + (uint32_t)i + 1) * EACH);
    }
    while (stats_of(s).running != 0) { /* done is counted before finished */
    }
    xev_threadpool_lane_counters c = lane_of_scene(s, XEV_LANE_DNS);
    CHECK_EQ(c.waits, before + FEW);
    CHECK_GE(c.wait_ns, c.wait_max_ns);
    CHECK_EQ(c.finished, (MANY + FEW) * EACH);
    CHECK_EQ(c.peak_queued, MANY * EACH);
    xev_threadpool_deinit(&s->pool);
}

TEST(a_cancelled_task_is_not_measured_and_those_behind_it_are) {
    enum { JOBS = 8 };
    static struct job jobs[JOBS];
    struct scene *s = scene_new();
    struct job gate;
    pool_start(s, 1);
    gate_close(s, &gate, 0);
    jobs_init(jobs, JOBS, s);
    for (int i = 0; i < JOBS; i++) {
        CHECK_EQ(schedule_n(s, &jobs[i], 1, XEV_LANE_FS), 0);
    }
    CHECK(xev_threadpool_cancel(&s->pool, &jobs[0].task));
    CHECK(xev_threadpool_cancel(&s->pool, &jobs[3].task));
    CHECK(xev_threadpool_cancel(&s->pool, &jobs[JOBS - 1].task));
    CHECK_GT(lane_of_scene(s, XEV_LANE_FS).oldest_ns, 0);
    gate_open(s);
    counter_wait(&s->done, 1 + JOBS - 3);
    CHECK_EQ(lane_of_scene(s, XEV_LANE_FS).waits, JOBS - 3);
    CHECK_EQ(lane_of_scene(s, XEV_LANE_FS).oldest_ns, 0);
    xev_threadpool_deinit(&s->pool);
}
