/* A turn gives the pool its work in one piece, when it is over. */
#include "tests/loop_scene.h"

enum { PIECE = 64, MOST = 200 }; /* PIECE: a turn that submits so many gives them before its end */

static xev_threadpool pool;

struct scene {
    xev_hook hook; /* first: its address is the scene's */
    xev_loop loop;
    struct op starter; /* its callback submits */
    sem_t entered, go;
    xev_completion holding; /* keeps the pool's only thread */
    uint32_t submits, done;
    int last_result;
    xev_completion works[MOST];
    atomic_int ran;
};

static int hold_fn(void *userdata) {
    struct scene *s = userdata;
    sem_post(&s->entered);
    sem_take(&s->go);
    return 0;
}

static xev_cb_action on_held(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    CHECK_EQ(result, 0);
    return XEV_DISARM;
}

static void scene_start(struct scene *s, uint32_t submits) {
    xev_threadpool_config cfg;
    memset(s, 0, sizeof *s);
    s->submits = submits;
    xev_threadpool_config_init(&cfg);
    xev_threadpool_config_set_max_threads(&cfg, 1);
    CHECK_EQ(xev_threadpool_init(&pool, &cfg), 0);
    xev_loop_options options = {.thread_pool = &pool};
    loop_start_options(&s->loop, &options);
    CHECK_EQ(sem_init(&s->entered, 0, 0), 0);
    CHECK_EQ(sem_init(&s->go, 0, 0), 0);
    /* Outside a run there is no turn to wait for. */
    xev_work_submit(&s->loop, &s->holding, XEV_LANE_CPU, hold_fn, s, on_held);
    sem_take(&s->entered);
}

static void scene_end(struct scene *s) {
    xev_loop_deinit(&s->loop);
    xev_threadpool_deinit(&pool);
}

static uint64_t queued(void) {
    xev_threadpool_counters counters;
    xev_threadpool_stats(&pool, &counters);
    return counters.queued;
}

static xev_cb_action on_work(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct scene *s = userdata;
    (void)loop;
    (void)c;
    s->done++;
    s->last_result = result;
    return XEV_DISARM;
}

static int work_fn(void *userdata) {
    struct scene *s = userdata;
    return atomic_fetch_add(&s->ran, 1);
}

static void submit_all(struct scene *s) {
    for (uint32_t i = 0; i < s->submits; i++) {
        xev_work_submit(&s->loop, &s->works[i], XEV_LANE_CPU, work_fn, s, on_work);
        CHECK_EQ(queued(), (i + 1) / PIECE * PIECE);
    }
}

static xev_cb_action start_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    submit_all(userdata);
    return XEV_DISARM;
}

/* One turn, in which a timer's callback submits. */
static void submitting_turn(struct scene *s, xev_cb cb) {
    xev_timer_run(NULL, &s->loop, &s->starter.c, 0, s, cb);
    do {
        run_no_wait(&s->loop);
    } while (is_active(&s->starter));
}

TEST(work_of_a_turn_is_given_when_the_turn_is_over) {
    static const uint32_t submits[] = {1, 10, PIECE - 1, PIECE, PIECE + 1, MOST};
    for (size_t i = 0; i < sizeof submits / sizeof submits[0]; i++) {
        static struct scene s;
        scene_start(&s, submits[i]);
        submitting_turn(&s, start_cb);
        CHECK_EQ(queued(), submits[i]); /* the run is over, so nothing is left behind */
        sem_post(&s.go);
        run_done(&s.loop);
        CHECK_EQ(s.done, submits[i]);
        CHECK_EQ(atomic_load(&s.ran), (int)submits[i]);
        scene_end(&s);
    }
}

/* --- whoever submits, the loop does not sleep on it --- */

static void submit_once(xev_loop *loop, xev_hook *hook) {
    struct scene *s = (struct scene *)(void *)hook;
    if (s->submits == 0) {
        s->submits = 3;
        submit_all(s);
        sem_post(&s->go);
    }
    CHECK(loop == &s->loop);
}

TEST(the_loop_does_not_sleep_on_work_that_a_hook_submits) {
    for (int when = XEV_HOOK_BEFORE_POLL; when < XEV_HOOK_TIMES; when++) {
        static struct scene s;
        scene_start(&s, 0);
        s.hook.callback = submit_once;
        xev_loop_hook_add(&s.loop, (xev_hook_when)when, &s.hook);
        struct op timer = {0}; /* a turn that wakes, for the hook behind the poll */
        xev_timer_run(NULL, &s.loop, &timer.c, 1, &timer, op_cb);
        run_done(&s.loop);
        CHECK_EQ(s.done, 3);
        xev_loop_hook_remove(&s.loop, &s.hook);
        scene_end(&s);
    }
}

TEST(a_host_that_waits_in_the_loops_stead_leaves_nothing_behind) {
    static struct scene s;
    scene_start(&s, 0);
    s.hook.callback = submit_once;
    xev_loop_hook_add(&s.loop, XEV_HOOK_FLUSH, &s.hook);
    (void)xev_loop_prepare_wait_ns(&s.loop);
    CHECK_EQ(s.submits, 3);
    run_done(&s.loop);
    CHECK_EQ(s.done, 3);
    xev_loop_hook_remove(&s.loop, &s.hook);
    scene_end(&s);
}

/* --- what ends before it is given --- */

static xev_cb_action cancel_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct scene *s = userdata;
    static struct op cancel;
    (void)c;
    CHECK_EQ(result, 0);
    submit_all(s);
    cancel = (struct op){0};
    xev_cancel(loop, &s->works[1], &cancel.c, &cancel, op_cb);
    return XEV_DISARM;
}

TEST(a_cancel_in_the_same_turn_keeps_work_from_the_pool) {
    static struct scene s;
    scene_start(&s, 3);
    submitting_turn(&s, cancel_cb);
    CHECK_EQ(queued(), 2);
    while (s.done < 1) {
        run_no_wait(&s.loop);
    }
    CHECK_EQ(s.last_result, XEV_ECANCELED);
    sem_post(&s.go);
    run_done(&s.loop);
    CHECK_EQ(s.done, 3);
    CHECK_EQ(atomic_load(&s.ran), 2);
    xev_threadpool_counters counters;
    xev_threadpool_stats(&pool, &counters);
    CHECK_EQ(counters.cancelled, 0); /* it was never there */
    scene_end(&s);
}

static xev_cb_action deadline_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct scene *s = userdata;
    CHECK_EQ(result, 0);
    (void)c;
    submit_all(s);
    xev_completion_set_timeout_ns(loop, &s->works[0], 1);
    xev_completion_set_timeout(loop, &s->works[1], HOUR_MS);
    xev_completion_set_timeout(loop, &s->works[2], HOUR_MS);
    xev_completion_set_timeout(loop, &s->works[2], 0); /* takes it away again */
    check_walk(loop);
    return XEV_DISARM;
}

TEST(deadlines_of_work_that_waits_to_be_given) {
    static struct scene s;
    scene_start(&s, 3);
    submitting_turn(&s, deadline_cb);
    while (s.done < 1) {
        run_no_wait(&s.loop);
    }
    CHECK_EQ(s.last_result, XEV_ETIMEDOUT);
    sem_post(&s.go);
    run_done(&s.loop);
    CHECK_EQ(s.done, 3);
    CHECK_EQ(atomic_load(&s.ran), 2);
    scene_end(&s);
}

static xev_cb_action shut_down_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_cb_action action = start_cb(loop, c, result, userdata);
    xev_threadpool_shutdown(&pool);
    return action;
}

TEST(a_pool_that_takes_no_more_ends_all_of_the_turns_work) {
    static struct scene s;
    scene_start(&s, 10);
    submitting_turn(&s, shut_down_cb);
    sem_post(&s.go);
    run_done(&s.loop);
    CHECK_EQ(s.done, 10);
    CHECK_EQ(s.last_result, XEV_ECANCELED);
    CHECK_EQ(atomic_load(&s.ran), 0);
    scene_end(&s);
}

/* --- order --- */

static xev_cb_action on_ordered(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct scene *s = userdata;
    (void)loop;
    CHECK_EQ(result, (int)(c - s->works)); /* the pool has one thread, which counts */
    s->done++;
    return XEV_DISARM;
}

static xev_cb_action ordered_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct scene *s = userdata;
    (void)c;
    CHECK_EQ(result, 0);
    for (uint32_t i = 0; i < s->submits; i++) {
        xev_work_submit(loop, &s->works[i], XEV_LANE_FS, work_fn, s, on_ordered);
    }
    return XEV_DISARM;
}

TEST(the_work_of_a_lane_begins_in_the_order_of_submission) {
    static struct scene s;
    scene_start(&s, MOST);
    submitting_turn(&s, ordered_cb);
    sem_post(&s.go);
    run_done(&s.loop);
    CHECK_EQ(s.done, MOST);
    scene_end(&s);
}
