/* Blocking work on the thread pool, completed on the loop that submitted it. */
#include "tests/loop_scene.h"

static xev_threadpool pool;

static void pool_start(uint32_t threads) {
    xev_threadpool_config cfg;
    xev_threadpool_config_init(&cfg);
    xev_threadpool_config_set_max_threads(&cfg, threads);
    CHECK_EQ(xev_threadpool_init(&pool, &cfg), 0);
}

static void start(xev_loop *loop) {
    xev_loop_options options = {.thread_pool = &pool};
    loop_start_options(loop, &options);
}

/* --- a piece of work that can be held --- */

struct job {
    struct op op;
    int input, output;
    pthread_t ran_on;
    atomic_uint runs;
    bool held;
    sem_t entered, go;
};

static void job_init(struct job *j, int input) {
    memset(j, 0, sizeof *j);
    j->input = input;
    CHECK_EQ(sem_init(&j->entered, 0, 0), 0);
    CHECK_EQ(sem_init(&j->go, 0, 0), 0);
}

static int job_fn(void *userdata) {
    struct job *j = userdata;
    atomic_fetch_add(&j->runs, 1);
    j->ran_on = pthread_self();
    if (j->held) {
        sem_post(&j->entered);
        sem_take(&j->go);
    }
    j->output = j->input * 2;
    return j->input;
}

/* job and its op share their address, so one userdata serves both. */
static void submit(xev_loop *loop, struct job *j, enum xev_threadpool_lane lane) {
    xev_work_submit(loop, &j->op.c, lane, job_fn, j, op_cb);
}

static void hold(xev_loop *loop, struct job *j) {
    job_init(j, 1000);
    j->held = true;
    submit(loop, j, XEV_LANE_CPU);
    sem_take(&j->entered);
}

/* Turns until the pool has nothing to do, so that a result is at the loop's door. */
static void wait_for_pool(void) {
    xev_threadpool_counters c;
    do {
        sched_yield();
        xev_threadpool_stats(&pool, &c);
    } while (c.queued + c.running > 0);
}

/* --- results --- */

TEST(result_of_work_is_delivered_on_the_loop) {
    static const int values[] = {0, 1, INT32_MAX, -1, XEV_EIO, XEV_EOF, INT32_MIN};
    xev_loop loop;
    pool_start(2);
    start(&loop);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct job j;
        job_init(&j, values[i] / 2);
        submit(&loop, &j, XEV_LANE_CPU);
        CHECK(is_active(&j.op));
        run_done(&loop);
        CHECK_EQ(j.op.calls, 1);
        CHECK_EQ(j.op.result, values[i] / 2);
        CHECK_EQ(j.output, values[i] / 2 * 2);
        CHECK_EQ(atomic_load(&j.runs), 1);
        CHECK(!pthread_equal(j.ran_on, pthread_self()));
    }
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

TEST(work_runs_in_every_lane) {
    xev_loop loop;
    pool_start(4);
    start(&loop);
    static struct job j[XEV_LANE_COUNT][20];
    for (int lane = 0; lane < XEV_LANE_COUNT; lane++) {
        for (int i = 0; i < 20; i++) {
            job_init(&j[lane][i], i);
            submit(&loop, &j[lane][i], (enum xev_threadpool_lane)lane);
        }
    }
    run_done(&loop);
    for (int lane = 0; lane < XEV_LANE_COUNT; lane++) {
        for (int i = 0; i < 20; i++) {
            CHECK_EQ(j[lane][i].op.calls, 1);
            CHECK_EQ(j[lane][i].op.result, i);
        }
    }
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

TEST(rearm_runs_the_work_again) {
    xev_loop loop;
    pool_start(1);
    start(&loop);
    struct job j;
    job_init(&j, 5);
    j.op.rearm = 9;
    submit(&loop, &j, XEV_LANE_FS);
    run_done(&loop);
    CHECK_EQ(j.op.calls, 10);
    CHECK_EQ(atomic_load(&j.runs), 10);
    CHECK_EQ(j.op.result, 5);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

TEST(loop_sleeps_while_work_runs_and_other_events_go_on) {
    xev_loop loop;
    pool_start(1);
    start(&loop);
    struct job j;
    hold(&loop, &j);
    struct op timer = {.rearm = 5};
    xev_timer_run(NULL, &loop, &timer.c, 1, &timer, op_cb);
    while (timer.calls < 6) {
        run_once(&loop);
    }
    CHECK_EQ(j.op.calls, 0);
    sem_post(&j.go);
    run_done(&loop);
    CHECK_EQ(j.op.result, 1000);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

TEST(loop_without_a_pool_says_so) {
    xev_loop loop;
    loop_start(&loop);
    struct job j;
    job_init(&j, 1);
    submit(&loop, &j, XEV_LANE_CPU);
    CHECK(is_active(&j.op));
    run_done(&loop);
    CHECK_EQ(j.op.calls, 1);
    CHECK_EQ(j.op.result, XEV_ENOPOOL);
    CHECK_EQ(atomic_load(&j.runs), 0);
    xev_loop_deinit(&loop);
}

TEST(pool_that_is_shut_down_cancels) {
    xev_loop loop;
    pool_start(1);
    start(&loop);
    struct job running, queued, late;
    hold(&loop, &running);
    job_init(&queued, 2);
    job_init(&late, 3);
    submit(&loop, &queued, XEV_LANE_CPU);
    xev_threadpool_shutdown(&pool);
    submit(&loop, &late, XEV_LANE_CPU);
    run_for(&loop, &late.op, 1);
    CHECK_EQ(late.op.result, XEV_ECANCELED);
    CHECK_EQ(atomic_load(&late.runs), 0);
    sem_post(&running.go);
    run_done(&loop);
    CHECK_EQ(running.op.result, 1000);
    CHECK_EQ(queued.op.result, 2); /* it was queued before */
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

/* --- cancel --- */

TEST(cancel_of_queued_work) {
    xev_loop loop;
    pool_start(1);
    start(&loop);
    struct job running, queued[3];
    struct op cancel = {0}, again = {0};
    hold(&loop, &running);
    for (int i = 0; i < 3; i++) {
        job_init(&queued[i], i);
        submit(&loop, &queued[i], XEV_LANE_CPU);
    }
    queued[1].op.rearm = 1;
    xev_cancel(&loop, &queued[1].op.c, &cancel.c, &cancel, op_cb);
    xev_cancel(&loop, &queued[1].op.c, &again.c, &again, op_cb);
    run_for(&loop, &again, 1);
    CHECK_EQ(queued[1].op.calls, 1);
    CHECK_EQ(queued[1].op.result, XEV_ECANCELED);
    CHECK_EQ(cancel.result, 0);
    CHECK_EQ(again.result, XEV_ENOENT);
    CHECK_LT(queued[1].op.order, cancel.order);
    CHECK_LT(queued[1].op.order, again.order);
    sem_post(&running.go);
    run_done(&loop);
    CHECK_EQ(queued[0].op.result, 0);
    CHECK_EQ(queued[2].op.result, 2);
    CHECK_EQ(atomic_load(&queued[1].runs), 0);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

TEST(cancel_of_running_work_waits_for_its_result) {
    xev_loop loop;
    pool_start(1);
    start(&loop);
    struct job running;
    struct op cancel[2] = {0};
    hold(&loop, &running);
    for (int i = 0; i < 2; i++) {
        xev_cancel(&loop, &running.op.c, &cancel[i].c, &cancel[i], op_cb);
    }
    for (int i = 0; i < 5; i++) {
        run_no_wait(&loop);
    }
    CHECK_EQ(running.op.calls + cancel[0].calls + cancel[1].calls, 0);
    sem_post(&running.go);
    run_done(&loop);
    CHECK_EQ(running.op.calls, 1);
    CHECK_EQ(running.op.result, 1000);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(cancel[i].calls, 1);
        CHECK_EQ(cancel[i].result, XEV_ENOENT);
        CHECK_LT(running.op.order, cancel[i].order);
    }
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

/* Finished, but the loop has not looked yet. */
TEST(cancel_of_work_whose_result_has_arrived) {
    xev_loop loop;
    pool_start(2);
    start(&loop);
    for (uint32_t i = 0; i < rounds(2000); i++) {
        struct job j;
        struct op cancel[2] = {0};
        job_init(&j, 7);
        submit(&loop, &j, XEV_LANE_CPU);
        wait_for_pool();
        for (int k = 0; k < 2; k++) {
            xev_cancel(&loop, &j.op.c, &cancel[k].c, &cancel[k], op_cb);
        }
        run_done(&loop);
        CHECK_EQ(j.op.calls, 1);
        CHECK_EQ(j.op.result, 7);
        CHECK_EQ(cancel[0].result, XEV_ENOENT);
        CHECK_EQ(cancel[1].result, XEV_ENOENT);
        CHECK_LT(j.op.order, cancel[0].order);
    }
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

/* Any of queued, running and finished. */
TEST_TIMEOUT(cancel_of_work_at_any_moment, 60) {
    enum { N = 8 };
    xev_loop loop;
    pool_start(2);
    start(&loop);
    static struct job j[N];
    static struct op cancel[N];
    for (uint32_t round = 0; round < rounds(5000); round++) {
        memset(cancel, 0, sizeof cancel);
        for (int i = 0; i < N; i++) {
            job_init(&j[i], i);
            submit(&loop, &j[i], XEV_LANE_CPU);
        }
        for (int i = N - 1; i >= 0; i--) {
            xev_cancel(&loop, &j[i].op.c, &cancel[i].c, &cancel[i], op_cb);
        }
        run_done(&loop);
        for (int i = 0; i < N; i++) {
            CHECK_EQ(j[i].op.calls, 1);
            CHECK_EQ(cancel[i].calls, 1);
            CHECK_LT(j[i].op.order, cancel[i].order);
            bool stopped = j[i].op.result == XEV_ECANCELED;
            CHECK(stopped || j[i].op.result == i);
            CHECK_EQ(cancel[i].result, stopped ? 0 : XEV_ENOENT);
            CHECK_EQ(atomic_load(&j[i].runs), !stopped);
        }
    }
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

TEST(deadline_of_queued_work_takes_it_back) {
    xev_loop loop;
    pool_start(1);
    start(&loop);
    struct job running, queued, kept;
    hold(&loop, &running);
    job_init(&queued, 1);
    job_init(&kept, 2);
    submit(&loop, &queued, XEV_LANE_CPU);
    submit(&loop, &kept, XEV_LANE_CPU);
    xev_completion_set_timeout(&loop, &queued.op.c, 2);
    xev_completion_set_timeout(&loop, &kept.op.c, 1);
    xev_completion_set_timeout(&loop, &kept.op.c, 0);
    run_for(&loop, &queued.op, 1);
    CHECK_EQ(queued.op.result, XEV_ETIMEDOUT);
    CHECK_EQ(kept.op.calls, 0);
    sem_post(&running.go);
    run_done(&loop);
    CHECK_EQ(kept.op.result, 2);
    CHECK_EQ(queued.op.calls, 1);
    CHECK_EQ(atomic_load(&queued.runs), 0);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

/* It cannot be stopped, so its result is told. */
TEST(deadline_of_running_work_gives_its_result_once) {
    xev_loop loop;
    pool_start(1);
    start(&loop);
    struct job running;
    struct op timer = {0};
    hold(&loop, &running);
    xev_completion_set_timeout(&loop, &running.op.c, 1);
    xev_timer_run(NULL, &loop, &timer.c, 5, &timer, op_cb);
    run_for(&loop, &timer, 1);
    CHECK_EQ(running.op.calls, 0);
    sem_post(&running.go);
    run_done(&loop);
    CHECK_EQ(running.op.calls, 1);
    CHECK_EQ(running.op.result, 1000);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}

/* --- several loops --- */

struct worker {
    xev_loop loop;
    struct job jobs[16];
    uint32_t left, done;
};

static struct job *job_of(xev_completion *c) { return (struct job *)(void *)c; }

static xev_cb_action worker_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct job *j = job_of(c);
    struct worker *w = loop->userdata;
    (void)userdata;
    CHECK(loop == &w->loop);
    CHECK_EQ(result, j->input);
    CHECK_EQ(j->output, j->input * 2);
    w->done++;
    if (w->left == 0) {
        return XEV_DISARM;
    }
    w->left--;
    j->input++;
    return XEV_REARM;
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    start(&w->loop);
    w->loop.userdata = w;
    for (int i = 0; i < 16; i++) {
        job_init(&w->jobs[i], i * 1000000);
        xev_work_submit(&w->loop, &w->jobs[i].op.c, (enum xev_threadpool_lane)(i % XEV_LANE_COUNT),
                        job_fn, &w->jobs[i], worker_cb);
    }
    run_done(&w->loop);
    xev_loop_deinit(&w->loop);
    return NULL;
}

TEST_TIMEOUT(four_loops_share_one_pool, 60) {
    static struct worker w[4];
    pool_start(3);
    pthread_t t[4];
    for (int i = 0; i < 4; i++) {
        w[i].left = rounds(10000);
        thread_start(&t[i], worker_main, &w[i]);
    }
    for (int i = 0; i < 4; i++) {
        thread_join(t[i]);
        CHECK_EQ(w[i].done, rounds(10000) + 16);
    }
    xev_threadpool_deinit(&pool);
}

/* --- the end --- */

/* Once deinit has taken the queued work back. */
static void *open_gate(void *arg) {
    struct job *j = arg;
    xev_threadpool_counters c;
    do {
        sched_yield();
        xev_threadpool_stats(&pool, &c);
    } while (c.cancelled == 0);
    sem_post(&j->go);
    return NULL;
}

TEST(deinit_waits_for_running_work_and_cancels_queued) {
    for (int i = 0; i < 20; i++) {
        xev_loop loop;
        pool_start(1);
        start(&loop);
        struct job running, queued;
        hold(&loop, &running);
        job_init(&queued, 2);
        submit(&loop, &queued, XEV_LANE_FS);
        pthread_t t;
        thread_start(&t, open_gate, &running);
        xev_loop_deinit(&loop);
        CHECK_EQ(running.op.calls, 1);
        CHECK_EQ(running.op.result, 1000);
        CHECK_EQ(queued.op.calls, 1);
        CHECK_EQ(queued.op.result, XEV_ECANCELED);
        CHECK_EQ(atomic_load(&queued.runs), 0);
        thread_join(t);
        xev_threadpool_deinit(&pool);
    }
}

/* The pool's thread may still be in its hand-over when the loop is done with the result. */
TEST_TIMEOUT(loop_may_end_right_after_the_works_callback, 60) {
    pool_start(2);
    for (uint32_t i = 0; i < rounds(5000); i++) {
        xev_loop *loop = malloc(sizeof *loop);
        struct job *j = malloc(sizeof *j);
        start(loop);
        job_init(j, 3);
        submit(loop, j, XEV_LANE_CPU);
        if (i % 4 == 0) {
            wait_for_pool();
        }
        if (i % 2 == 0) {
            run_done(loop);
        }
        xev_loop_deinit(loop);
        memset(loop, 0xa5, sizeof *loop);
        free(loop);
        CHECK_EQ(j->op.calls, 1);
        CHECK(j->op.result == 3 || j->op.result == XEV_ECANCELED);
        memset(j, 0xa5, sizeof *j);
        free(j);
    }
    xev_threadpool_deinit(&pool);
}

TEST_TIMEOUT(loops_come_and_go_in_four_threads_over_one_pool, 60) {
    static struct worker w[4];
    pool_start(2);
    for (uint32_t round = 0; round < rounds(200); round++) {
        pthread_t t[4];
        for (int i = 0; i < 4; i++) {
            w[i].left = 0;
            w[i].done = 0;
            thread_start(&t[i], worker_main, &w[i]);
        }
        for (int i = 0; i < 4; i++) {
            thread_join(t[i]);
            CHECK_EQ(w[i].done, 16);
        }
    }
    xev_threadpool_deinit(&pool);
}
