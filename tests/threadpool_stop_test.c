/* threadpool/: work that is not to run any more: cancel, shutdown, deinit. */
#include "xev/threadpool.h"

#include <errno.h>

#include "tests/test.h"
#include "tests/threadpool_scene.h"

/* --- cancel --- */

TEST(cancelled_tasks_never_run_and_the_others_keep_their_order) {
    enum { N = 6 };
    struct scene *s = scene_new();
    struct job jobs[N];
    struct job gate;
    pool_start(s, 1);
    gate_close(s, &gate, 99);
    jobs_init(jobs, N, s);
    CHECK_EQ(schedule_n(s, jobs, N, XEV_LANE_FSYNC), 0);
    CHECK(xev_threadpool_cancel(&s->pool, &jobs[2].task));
    CHECK(xev_threadpool_cancel(&s->pool, &jobs[0].task));
    CHECK(xev_threadpool_cancel(&s->pool, &jobs[5].task));
    CHECK(!xev_threadpool_cancel(&s->pool, &jobs[2].task)); /* twice */
    memset(&jobs[2], 0xa5, sizeof jobs[2]);                 /* the caller's again */
    xev_threadpool_counters c = stats_of(s);
    CHECK_EQ(c.lane[XEV_LANE_FSYNC].queued, 3);
    CHECK_EQ(c.lane[XEV_LANE_FSYNC].cancelled, 3);
    CHECK_EQ(schedule_n(s, &jobs[0], 1, XEV_LANE_FSYNC), 0); /* again, to the end */
    gate_open(s);
    counter_wait(&s->done, 5);
    xev_threadpool_deinit(&s->pool);
    static const uint32_t expected[] = {99, 1, 3, 4, 0};
    CHECK_EQ(s->log_len, 5);
    CHECK_MEM_EQ(s->log, expected, sizeof expected);
}

TEST(cancel_of_running_finished_and_unscheduled_is_false) {
    struct scene *s = scene_new();
    struct job gate;
    struct job j;
    xev_threadpool_batch b;
    pool_start(s, 1);
    job_init(&j, s, 0);
    CHECK(!xev_threadpool_cancel(&s->pool, &j.task));
    xev_threadpool_batch_init(&b);
    xev_threadpool_batch_push_task(&b, &j.task);
    CHECK(!xev_threadpool_cancel(&s->pool, &j.task)); /* in a batch is not queued */
    gate_close(s, &gate, 1);
    CHECK(!xev_threadpool_cancel(&s->pool, &gate.task));
    gate_open(s);
    counter_wait(&s->done, 1);
    CHECK(!xev_threadpool_cancel(&s->pool, &gate.task));
    xev_threadpool_deinit(&s->pool);
    CHECK_EQ(gate.runs, 1);
    CHECK_EQ(j.runs, 0);
}

TEST(cancelling_everything_leaves_an_idle_pool) {
    enum { N = 20000 };
    struct scene *s = scene_new();
    static struct job jobs[N];
    struct job gate;
    pool_start(s, 1);
    gate_close(s, &gate, 0);
    jobs_init(jobs, N, s);
    CHECK_EQ(schedule_n(s, jobs, N, XEV_LANE_FS), 0);
    for (size_t i = 0; i < N; i++) {
        CHECK(xev_threadpool_cancel(&s->pool, &jobs[(i * 7919) % N].task)); /* all, scattered */
    }
    CHECK_EQ(stats_of(s).queued, 0);
    gate_open(s);
    while (stats_of(s).idle != 1) {
    }
    CHECK_EQ(schedule_n(s, jobs, 2, XEV_LANE_FS), 0); /* and the lane still works */
    counter_wait(&s->done, 3);
    xev_threadpool_deinit(&s->pool);
}

static void cancel_another(xev_threadpool_task *t) {
    struct job *j = job_of(t);
    CHECK(xev_threadpool_cancel(&j->scene->pool, &j[1].task));
    job_run(t);
}

TEST(cancel_from_inside_a_task) {
    struct scene *s = scene_new();
    struct job jobs[3];
    pool_start(s, 1);
    jobs_init(jobs, 3, s);
    xev_threadpool_task_init(&jobs[0].task, cancel_another);
    CHECK_EQ(schedule_n(s, jobs, 3, XEV_LANE_CPU), 0);
    counter_wait(&s->done, 2);
    xev_threadpool_deinit(&s->pool);
    CHECK_EQ(jobs[1].runs, 0);
    CHECK_EQ(jobs[2].runs, 1);
}

struct canceller {
    struct scene *scene;
    struct job *jobs;
    size_t n;
    uint32_t cancelled;
    pthread_t thread;
};

static void *canceller_main(void *arg) {
    struct canceller *c = arg;
    for (size_t i = 0; i < c->n; i++) {
        CHECK_EQ(schedule_n(c->scene, &c->jobs[i], 1, (xev_threadpool_lane)(i % 5)), 0);
        if (i >= 3 && xev_threadpool_cancel(&c->scene->pool, &c->jobs[i - i % 4].task)) {
            c->jobs[i - i % 4].is_freed = true; /* a mark: nobody else uses it now */
            c->cancelled++;
        }
    }
    return NULL;
}

TEST(racing_cancel_and_run_give_each_task_one_of_both) {
    enum { THREADS = 4, MOST = 4000 };
    struct scene *s = scene_new();
    static struct job jobs[THREADS][MOST];
    struct canceller c[THREADS];
    size_t each = scaled(MOST);
    uint32_t cancelled = 0;
    uint32_t ran = 0;
    pool_start(s, 3);
    for (size_t i = 0; i < THREADS; i++) {
        jobs_init(jobs[i], each, s);
        c[i] = (struct canceller){.scene = s, .jobs = jobs[i], .n = each};
        CHECK_EQ(pthread_create(&c[i].thread, NULL, canceller_main, &c[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(c[i].thread, NULL);
        cancelled += c[i].cancelled;
    }
    counter_wait(&s->done, (uint32_t)(THREADS * each) - cancelled);
    xev_threadpool_deinit(&s->pool);
    for (size_t i = 0; i < THREADS * each; i++) {
        struct job *j = &jobs[i / each][i % each];
        CHECK_EQ(j->runs, j->is_freed ? 0 : 1);
        ran += j->runs;
    }
    CHECK_EQ(ran + cancelled, THREADS * each);
}

/* --- shutdown --- */

TEST(shutdown_runs_what_is_queued_and_refuses_the_rest) {
    enum { N = 20 };
    struct scene *s = scene_new();
    struct job jobs[N];
    struct job late[2];
    struct job gate;
    xev_threadpool_batch b;
    pool_start(s, 2);
    gate_close(s, &gate, 99);
    jobs_init(jobs, N, s);
    jobs_init(late, 2, s);
    CHECK_EQ(schedule_n(s, jobs, N, XEV_LANE_PROCESS), 0);
    xev_threadpool_shutdown(&s->pool);
    xev_threadpool_shutdown(&s->pool);
    xev_threadpool_batch_init(&b);
    xev_threadpool_batch_push_task(&b, &late[0].task);
    xev_threadpool_batch_push_task(&b, &late[1].task);
    CHECK_EQ(xev_threadpool_schedule(&s->pool, &b), -ECANCELED);
    CHECK_EQ(b.len, 2);
    CHECK(b.head == &late[0].task && b.tail == &late[1].task && b.head->next == b.tail);
    CHECK(!xev_threadpool_cancel(&s->pool, &late[0].task));
    gate_open(s);
    xev_threadpool_deinit(&s->pool);
    CHECK_EQ(counter_get(&s->done), 1 + N);
    CHECK_EQ(late[0].runs + late[1].runs, 0);
}

TEST(shutdown_runs_what_waits_for_its_lane) {
    enum { EACH = 100 };
    struct scene *s = scene_new();
    struct job jobs[XEV_LANE_COUNT][EACH];
    xev_threadpool_config cfg;
    xev_threadpool_config_init(&cfg);
    xev_threadpool_config_set_max_threads(&cfg, 4);
    for (unsigned int lane = 0; lane < XEV_LANE_COUNT; lane++) {
        xev_threadpool_config_set_lane_cap(&cfg, (xev_threadpool_lane)lane, 1);
    }
    CHECK_EQ(xev_threadpool_init(&s->pool, &cfg), 0);
    for (unsigned int lane = 0; lane < XEV_LANE_COUNT; lane++) {
        jobs_init(jobs[lane], EACH, s);
        CHECK_EQ(schedule_n(s, jobs[lane], EACH, (xev_threadpool_lane)lane), 0);
    }
    xev_threadpool_deinit(&s->pool);
    CHECK_EQ(counter_get(&s->done), XEV_LANE_COUNT * EACH);
}

TEST(cancel_works_after_shutdown) {
    struct scene *s = scene_new();
    struct job gate;
    struct job j;
    pool_start(s, 1);
    gate_close(s, &gate, 0);
    job_init(&j, s, 1);
    CHECK_EQ(schedule_n(s, &j, 1, XEV_LANE_CPU), 0);
    xev_threadpool_shutdown(&s->pool);
    CHECK(xev_threadpool_cancel(&s->pool, &j.task));
    gate_open(s);
    xev_threadpool_deinit(&s->pool);
    CHECK_EQ(j.runs, 0);
}

static void shut_down_and_schedule(xev_threadpool_task *t) {
    struct job *j = job_of(t);
    xev_threadpool_shutdown(&j->scene->pool);
    CHECK_EQ(schedule_n(j->scene, j, 1, XEV_LANE_CPU), -ECANCELED);
    counter_add(&j->scene->done);
}

TEST(shutdown_from_inside_a_task) {
    struct scene *s = scene_new();
    struct job j;
    pool_start(s, 2);
    job_init(&j, s, 0);
    xev_threadpool_task_init(&j.task, shut_down_and_schedule);
    CHECK_EQ(schedule_n(s, &j, 1, XEV_LANE_CPU), 0);
    counter_wait(&s->done, 1);
    xev_threadpool_deinit(&s->pool);
}

TEST(deinit_without_any_thread) {
    struct scene *s = scene_new();
    struct job j;
    pool_start(s, 4);
    xev_threadpool_deinit(&s->pool);
    xev_threadpool_deinit(&s->pool); /* nothing left to do */
    pool_start(s, 4);
    xev_threadpool_shutdown(&s->pool);
    job_init(&j, s, 0);
    CHECK_EQ(schedule_n(s, &j, 1, XEV_LANE_CPU), -ECANCELED);
    CHECK_EQ(stats_of(s).threads, 0);
    xev_threadpool_deinit(&s->pool);
}

/* The scheduling thread may still be on its way out of schedule() when the pool goes. */
TEST(deinit_as_soon_as_the_task_has_run) {
    struct scene *s = scene_new();
    struct job j;
    uint32_t rounds = scaled(2000);
    for (uint32_t i = 0; i < rounds; i++) {
        struct scheduler sch = {.scene = s, .jobs = &j, .n = 1};
        pool_start(s, 2);
        job_init(&j, s, i);
        CHECK_EQ(pthread_create(&sch.thread, NULL, scheduler_main, &sch), 0);
        counter_wait(&s->done, i + 1);
        xev_threadpool_deinit(&s->pool);
        pthread_join(sch.thread, NULL);
    }
}
