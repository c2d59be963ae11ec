/* The pool of a runtime: which work may keep which waiting. */
#include "tests/shard_scene.h"

#include "xev/file.h"

enum { THREADS = 3 };

static struct op computing[THREADS + 1];
static xev_file_req look;
static sem_t entered, looked;
static atomic_int computed;

static uint32_t cap_of(xev_shard *self, xev_threadpool_lane lane) {
    xev_threadpool_counters c;
    xev_threadpool_stats(xev_loop_thread_pool(xev_shard_loop(self)), &c);
    CHECK(sc.o.pool_threads == 0 || c.max_threads == sc.o.pool_threads);
    return c.lane[lane].cap;
}

static uint32_t computing_at_once(xev_shard *self) { return cap_of(self, XEV_LANE_CPU); }

static int compute_until_looked(void *userdata) {
    (void)userdata;
    sem_give(&entered);
    sem_take(&looked);
    computed++;
    return 0;
}

static xev_cb_action on_look(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    CHECK_EQ(result, 0);
    CHECK_EQ(computed, 0);
    for (int i = 0; i <= THREADS; i++) {
        sem_give(&looked);
    }
    stop_all(xev_shard_current()); /* the drain waits for the work */
    return XEV_DISARM;
}

static void look_at_file(xev_shard *self, xev_message *message, void *arg) {
    (void)message;
    (void)arg;
    for (uint32_t i = 0; i < computing_at_once(self); i++) {
        sem_take(&entered);
    }
    xev_file_stat_path(xev_shard_loop(self), &look, "/", NULL, on_look);
}

static void compute_and_look(xev_shard *self) {
    static xev_message message;
    for (int i = 0; i <= THREADS; i++) {
        xev_work_submit(xev_shard_loop(self), &computing[i].c, XEV_LANE_CPU, compute_until_looked,
                        &computing[i], op_cb);
    }
    /* The work goes to the pool at the end of this turn. */
    CHECK_EQ(xev_shard_send(self, &message, look_at_file, NULL), 0);
}

TEST(computing_leaves_a_thread_to_files) {
    sem_new(&entered);
    sem_new(&looked);
    sc.body = compute_and_look;
    sc.o.pool_threads = THREADS;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(computed, THREADS + 1);
    for (int i = 0; i <= THREADS; i++) {
        check_op(&computing[i], 0);
    }
}

static void compute_on_one(xev_shard *self) {
    CHECK_EQ(computing_at_once(self), 1);
    stop_all(self);
}

TEST(one_thread_does_all) {
    sc.body = compute_on_one;
    sc.o.pool_threads = 1;
    CHECK_EQ(scene_run(1), 0);
}

/* ---- caps of the lanes ---- */

static sem_t all_entered;
static atomic_int flushing;

/* All threads are in here at once. */
static int flush_together(void *userdata) {
    (void)userdata;
    if (++flushing == THREADS) {
        for (int i = 0; i < THREADS; i++) {
            sem_give(&all_entered);
        }
    }
    sem_take(&all_entered);
    return 0;
}

static void flush_on_all(xev_shard *self) {
    CHECK_EQ(cap_of(self, XEV_LANE_FSYNC), THREADS);
    CHECK_EQ(cap_of(self, XEV_LANE_CPU), 1);
    CHECK_EQ(cap_of(self, XEV_LANE_FS), THREADS - 1); /* the default */
    for (int i = 0; i < THREADS; i++) {
        xev_work_submit(xev_shard_loop(self), &computing[i].c, XEV_LANE_FSYNC, flush_together,
                        &computing[i], op_cb);
    }
    stop_all(self);
}

TEST(a_lane_has_the_cap_that_is_set) {
    sem_new(&all_entered);
    sc.body = flush_on_all;
    sc.o.pool_threads = THREADS;
    sc.o.pool_lane_caps[XEV_LANE_FSYNC] = THREADS; /* instead of the half of them */
    sc.o.pool_lane_caps[XEV_LANE_CPU] = 1;         /* instead of all but one */
    CHECK_EQ(scene_run(1), 0);
    for (int i = 0; i < THREADS; i++) {
        check_op(&computing[i], 0);
    }
}

static void cap_without_threads(xev_shard *self) {
    CHECK_EQ(cap_of(self, XEV_LANE_DNS), 1);
    stop_all(self);
}

TEST(a_lane_of_a_pool_of_its_own_size_has_a_cap) {
    sc.body = cap_without_threads;
    sc.o.pool_lane_caps[XEV_LANE_DNS] = 1;
    CHECK_EQ(scene_run(1), 0);
}

static void check_refused(const char *object, const char *why) {
    xev_runtime_failure f;
    CHECK_EQ(scene_run(1), XEV_EINVAL);
    xev_runtime_failure_get(&sc.rt, &f);
    CHECK_STR_EQ(f.call, "options");
    CHECK_STR_EQ(f.object, object);
    CHECK_STR_EQ(f.why, why);
}

TEST(a_cap_above_the_threads_is_refused_by_name) {
    sc.o.pool_lane_caps[XEV_LANE_PROCESS] = XEV_THREADPOOL_MAX_THREADS + 1;
    check_refused("pool_lane_caps[XEV_LANE_PROCESS]", "it is above 1024");
    sc.o.pool_lane_caps[XEV_LANE_FSYNC] = THREADS + 1;
    sc.o.pool_threads = THREADS;
    check_refused("pool_lane_caps[XEV_LANE_FSYNC]", "it is above pool_threads");
    sc.o.pool_threads = XEV_THREADPOOL_MAX_THREADS + 1;
    check_refused("pool_threads", "it is above 1024");
}
