/* Misuse of the thread pool ends the program, as in misuse_test.c. Numbers out of range are codes.
 */
#include <errno.h>

#include "tests/death.h"
#include "xev/threadpool.h"

/* Of calls that must not return. */
#pragma GCC diagnostic ignored "-Wunused-result"

#define DIES(function, argument, ...) DIES_AFTER(prepare(), function, argument, __VA_ARGS__)
#define TAKES(function, argument, ...) function(__VA_ARGS__)

static xev_threadpool pool, ended;
static xev_threadpool_config cfg;
static xev_threadpool_counters counters;
static xev_threadpool_batch batch, other;
static xev_threadpool_task task, queued;

static void no_work(xev_threadpool_task *t) { (void)t; }

static void deinit_own_pool(xev_threadpool_task *t) {
    (void)t;
    xev_threadpool_deinit(&pool);
}

/* queued is so behind the tasks of one lane that its only thread does not get to. */
static void prepare(void) {
    CHECK_EQ(xev_threadpool_init(&ended, NULL), 0);
    xev_threadpool_deinit(&ended);
    CHECK_EQ(xev_threadpool_init(&pool, NULL), 0);
    xev_threadpool_config_init(&cfg);
    xev_threadpool_batch_init(&batch);
    xev_threadpool_batch_init(&other);
    xev_threadpool_task_init(&task, no_work);
    queued.prev = &task; /* what a queued task has */
}

TEST(misuse_of_a_configuration_is_caught) {
    DIES(xev_threadpool_config_init, cfg, NULL);
    DIES(xev_threadpool_config_set_stack_size, cfg, NULL, 0);
    DIES(xev_threadpool_config_set_max_threads, cfg, NULL, 0);
    DIES(xev_threadpool_config_set_lane_cap, cfg, NULL, XEV_LANE_FS, 1);
    DIES(xev_threadpool_config_set_lane_cap, lane, &cfg, XEV_LANE_COUNT, 1);
    DIES(xev_threadpool_config_set_lane_cap, lane, &cfg, (xev_threadpool_lane)UINT32_MAX, 1);
}

TEST(misuse_of_a_pool_is_caught) {
    DIES(xev_threadpool_init, pool, NULL, NULL);
    DIES(xev_threadpool_deinit, pool, NULL);
    DIES(xev_threadpool_shutdown, pool, NULL);
    DIES(xev_threadpool_shutdown, pool, &ended);
    DIES(xev_threadpool_schedule, pool, NULL, &batch);
    DIES(xev_threadpool_schedule, pool, &ended, &batch);
    DIES(xev_threadpool_schedule, batch, &pool, NULL);
    DIES(xev_threadpool_schedule_lane, pool, NULL, &batch, XEV_LANE_FS);
    DIES(xev_threadpool_schedule_lane, pool, &ended, &batch, XEV_LANE_FS);
    DIES(xev_threadpool_schedule_lane, batch, &pool, NULL, XEV_LANE_FS);
    DIES(xev_threadpool_schedule_lane, lane, &pool, &batch, XEV_LANE_COUNT);
    DIES(xev_threadpool_cancel, pool, NULL, &task);
    DIES(xev_threadpool_cancel, pool, &ended, &task);
    DIES(xev_threadpool_cancel, task, &pool, NULL);
    DIES(xev_threadpool_stats, pool, NULL, &counters);
    DIES(xev_threadpool_stats, pool, &ended, &counters);
    DIES(xev_threadpool_stats, out, &pool, NULL);
}

TEST(misuse_of_tasks_and_batches_is_caught) {
    DIES(xev_threadpool_task_init, t, NULL, no_work);
    DIES(xev_threadpool_task_init, cb, &task, NULL);
    DIES(xev_threadpool_batch_init, b, NULL);
    DIES(xev_threadpool_batch_push_task, b, NULL, &task);
    DIES(xev_threadpool_batch_push_task, t, &batch, NULL);
    DIES(xev_threadpool_batch_push_task, t, &batch, &queued);
    DIES(xev_threadpool_batch_push_batch, b, NULL, &other);
    DIES(xev_threadpool_batch_push_batch, other, &batch, NULL);
    DIES(xev_threadpool_batch_push_batch, other, &batch, &batch);
}

TEST(deinit_by_a_task_is_caught) {
    struct death death;
    if (death_begins(&death)) {
        prepare();
        xev_threadpool_task_init(&task, deinit_own_pool);
        xev_threadpool_batch_push_task(&batch, &task);
        CHECK_EQ(xev_threadpool_schedule(&pool, &batch), 0);
        for (;;) {
            pause();
        }
    }
    death_check(&death, "xev_threadpool_deinit", "from a task");
}

TEST(bad_numbers_are_refused_by_init) {
    prepare();
    TAKES(xev_threadpool_config_set_max_threads, v, &cfg, XEV_THREADPOOL_MAX_THREADS + 1);
    CHECK_EQ(xev_threadpool_init(&ended, &cfg), -EINVAL);
    TAKES(xev_threadpool_config_set_max_threads, v, &cfg, UINT32_MAX);
    CHECK_EQ(TAKES(xev_threadpool_init, cfg, &ended, &cfg), -EINVAL);
    xev_threadpool_config_init(&cfg);
    TAKES(xev_threadpool_config_set_lane_cap, max_running, &cfg, XEV_LANE_FS, UINT32_MAX);
    TAKES(xev_threadpool_config_set_stack_size, v, &cfg, 1);
    CHECK_EQ(xev_threadpool_init(&ended, &cfg), 0);
    xev_threadpool_deinit(&ended);
    xev_threadpool_deinit(&ended); /* does nothing */
    xev_threadpool_deinit(&pool);
}
