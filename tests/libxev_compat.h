/* Programs written for libxev's C header. They call its 27 functions only, and are compiled as C
 * and as C++. As in libxev's own programs, completions and watchers are not initialised, userdata
 * is often NULL, and constants are used as array bounds. */
#include <xev.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- a timer that fires --- */

static xev_cb_action program_timer_cb(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    (void)loop;
    (void)c;
    if (result == 0) {
        *(int *)userdata += 1;
    }
    return XEV_DISARM;
}

static int program_timer(void) {
    xev_loop loop;
    xev_watcher w;
    xev_completion c;
    int fired = 0;
    if (xev_loop_init(&loop) != 0) {
        return 1;
    }
    if (xev_timer_init(&w) != 0) {
        return 2;
    }
    xev_timer_run(&w, &loop, &c, 5, &fired, program_timer_cb);
    if (xev_completion_state(&c) != XEV_COMPLETION_ACTIVE) {
        return 3;
    }
    if (xev_loop_run(&loop, XEV_RUN_UNTIL_DONE) != 0) {
        return 4;
    }
    xev_timer_deinit(&w);
    xev_loop_deinit(&loop);
    return fired == 1 && xev_completion_state(&c) == XEV_COMPLETION_DEAD ? 0 : 5;
}

/* --- one that repeats, and the loop's time --- */

struct tick_count {
    int n;
    int64_t last;
};

static xev_cb_action program_tick_cb(xev_loop *loop, xev_completion *c, int result,
                                     void *userdata) {
    struct tick_count *t = (struct tick_count *)userdata;
    (void)c;
    (void)result;
    int64_t now = xev_loop_now(loop);
    if (now < t->last) {
        abort();
    }
    t->last = now;
    return ++t->n < 10 ? XEV_REARM : XEV_DISARM;
}

static int program_ticks(void) {
    xev_loop loop;
    xev_watcher w;
    xev_completion c;
    struct tick_count t = {0, 0};
    if (xev_loop_init(&loop) != 0 || xev_timer_init(&w) != 0) {
        return 1;
    }
    xev_loop_update_now(&loop);
    int64_t start = xev_loop_now(&loop);
    xev_completion_zero(&c);
    xev_timer_run(&w, &loop, &c, 1, &t, program_tick_cb);
    while (t.n < 10) {
        if (xev_loop_run(&loop, XEV_RUN_ONCE) != 0) {
            return 2;
        }
    }
    xev_loop_update_now(&loop);
    if (start <= 0 || xev_loop_now(&loop) - start < 9) {
        return 3;
    }
    xev_timer_deinit(&w);
    xev_loop_deinit(&loop);
    return 0;
}

/* --- reset and cancel --- */

struct program_results {
    int timer, cancel, resets;
};

static xev_cb_action program_result_cb(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    (void)loop;
    (void)c;
    ((struct program_results *)userdata)->timer = result;
    return XEV_DISARM;
}

static xev_cb_action program_cancel_cb(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    (void)loop;
    (void)c;
    ((struct program_results *)userdata)->cancel = result;
    return XEV_DISARM;
}

static int program_reset_and_cancel(void) {
    xev_loop loop;
    xev_watcher w;
    xev_completion c, c_cancel;
    struct program_results r = {1, 1, 0};
    if (xev_loop_init(&loop) != 0 || xev_timer_init(&w) != 0) {
        return 1;
    }
    xev_completion_zero(&c_cancel);
    xev_timer_run(&w, &loop, &c, 100000, &r, program_result_cb);
    xev_timer_reset(&w, &loop, &c, &c_cancel, 1, &r, program_result_cb);
    xev_loop_run(&loop, XEV_RUN_UNTIL_DONE);
    if (r.timer != 0) {
        return 2;
    }
    r.timer = 1;
    xev_timer_run(&w, &loop, &c, 100000, &r, program_result_cb);
    xev_loop_run(&loop, XEV_RUN_NO_WAIT);
    xev_timer_cancel(&w, &loop, &c, &c_cancel, &r, program_cancel_cb);
    xev_loop_run(&loop, XEV_RUN_UNTIL_DONE);
    if (r.timer >= 0 || r.cancel != 0) {
        return 3;
    }
    xev_timer_deinit(&w);
    xev_loop_deinit(&loop);
    return 0;
}

/* --- async --- */

static xev_cb_action program_async_cb(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    (void)loop;
    (void)c;
    if (result != 0) {
        abort();
    }
    return --*(int *)userdata > 0 ? XEV_REARM : XEV_DISARM;
}

static void *program_notifier(void *arg) {
    xev_async_notify((xev_watcher *)arg);
    return NULL;
}

static int program_async(void) {
    xev_loop loop;
    xev_watcher w;
    xev_completion c;
    pthread_t t;
    int left = 1;
    if (xev_loop_init(&loop) != 0 || xev_async_init(&w) != 0) {
        return 1;
    }
    xev_async_wait(&w, &loop, &c, &left, program_async_cb);
    if (pthread_create(&t, NULL, program_notifier, &w) != 0) {
        return 2;
    }
    xev_loop_run(&loop, XEV_RUN_UNTIL_DONE);
    pthread_join(t, NULL);
    xev_async_deinit(&w);
    xev_loop_deinit(&loop);
    return left;
}

/* --- the thread pool, which libxev's C interface cannot attach to a loop --- */

struct program_task {
    xev_threadpool_task task;
    int done;
};

static void program_task_cb(xev_threadpool_task *t) {
    ((struct program_task *)(void *)t)->done = 1;
}

static int program_threadpool(void) {
    xev_threadpool_config config;
    xev_threadpool pool;
    xev_threadpool_batch batch, more;
    struct program_task tasks[100];
    xev_threadpool_config_init(&config);
    xev_threadpool_config_set_stack_size(&config, 256 * 1024);
    xev_threadpool_config_set_max_threads(&config, 3);
    if (xev_threadpool_init(&pool, &config) != 0) {
        return 1;
    }
    xev_threadpool_batch_init(&batch);
    xev_threadpool_batch_init(&more);
    for (int i = 0; i < 100; i++) {
        tasks[i].done = 0;
        xev_threadpool_task_init(&tasks[i].task, program_task_cb);
        xev_threadpool_batch_push_task(i < 50 ? &batch : &more, &tasks[i].task);
    }
    xev_threadpool_batch_push_batch(&batch, &more);
    xev_threadpool_schedule(&pool, &batch);
    xev_threadpool_shutdown(&pool);
    xev_threadpool_deinit(&pool);
    for (int i = 0; i < 100; i++) {
        if (!tasks[i].done) {
            return 2;
        }
    }
    return 0;
}

/* --- many timers, as in libxev's only C example --- */

enum { PROGRAM_TIMERS = 100000 };

static int program_many_fired;

static xev_cb_action program_many_cb(xev_loop *loop, xev_completion *c, int result,
                                     void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    (void)userdata;
    program_many_fired++;
    return XEV_DISARM;
}

static int program_many_timers(void) {
    xev_watcher timer;
    xev_loop loop;
    xev_completion *cs = (xev_completion *)malloc(sizeof(xev_completion) * PROGRAM_TIMERS);
    if (cs == NULL || xev_loop_init(&loop) != 0 || xev_timer_init(&timer) != 0) {
        return 1;
    }
    memset(cs, 0, sizeof(xev_completion) * PROGRAM_TIMERS);
    program_many_fired = 0;
    uint64_t timeout = 1;
    for (int i = 0; i < PROGRAM_TIMERS; i++) {
        if (i % 1000 == 0) {
            timeout++;
        }
        xev_timer_run(&timer, &loop, &cs[i], timeout, NULL, program_many_cb);
    }
    if (xev_loop_run(&loop, XEV_RUN_UNTIL_DONE) != 0) {
        return 2;
    }
    xev_timer_deinit(&timer);
    xev_loop_deinit(&loop);
    free(cs);
    return program_many_fired == PROGRAM_TIMERS ? 0 : 3;
}

/* --- names, types and constants --- */

static int program_names(void) {
    unsigned char sizes[XEV_SIZEOF_LOOP + XEV_SIZEOF_COMPLETION + XEV_SIZEOF_WATCHER];
    xev_run_mode_t modes[] = {XEV_RUN_NO_WAIT, XEV_RUN_ONCE, XEV_RUN_UNTIL_DONE};
    xev_completion_state_t states[] = {XEV_COMPLETION_DEAD, XEV_COMPLETION_ACTIVE};
    xev_task_cb task = program_task_cb;
    xev_timer_cb timer = program_timer_cb;
    xev_async_cb async = program_async_cb;
    int values = (int)modes[0] * 100 + (int)modes[1] * 10 + (int)modes[2];
    bool all = XEV_SIZEOF_THREADPOOL == sizeof(xev_threadpool) &&
               XEV_SIZEOF_THREADPOOL_BATCH == sizeof(xev_threadpool_batch) &&
               XEV_SIZEOF_THREADPOOL_TASK == sizeof(xev_threadpool_task) &&
               XEV_SIZEOF_THREADPOOL_CONFIG == sizeof(xev_threadpool_config) &&
               sizeof sizes == sizeof(xev_loop) + sizeof(xev_completion) + sizeof(xev_watcher);
    return all && values == 12 && states[0] == 0 && states[1] == 1 && XEV_DISARM == 0 &&
                   XEV_REARM == 1 && task != NULL && timer != NULL && async != NULL
               ? 0
               : 1;
}

static const struct {
    const char *name;
    int (*run)(void);
} programs[] = {
    {"timer", program_timer},
    {"ticks", program_ticks},
    {"reset and cancel", program_reset_and_cancel},
    {"async", program_async},
    {"thread pool", program_threadpool},
    {"many timers", program_many_timers},
    {"names", program_names},
};
