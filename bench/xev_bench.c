/*
 * The micro-benchmarks for xev: timers, async, thread pool, processes. Their twins stand in the
 * same order in uv_bench.c. Usage: xev_bench --list
 */
#include "bench/xev_bench.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void xev_bench_ok(const char *what, int rc) {
    if (rc < 0) {
        loop_bench_fail("%s: %s", what, xev_strerror(rc));
    }
}

xev_loop_options xev_bench_options(const struct loop_bench_run *run, xev_threadpool *pool) {
    xev_loop_options options = {.thread_pool = pool};
    if (run->backend != NULL) {
        bool epoll = strcmp(run->backend, "epoll") == 0;
        options.backend = epoll ? XEV_BACKEND_EPOLL : XEV_BACKEND_IO_URING;
    }
    return options;
}

void xev_bench_loop_init(xev_loop *loop, struct loop_bench_run *run, xev_threadpool *pool) {
    xev_loop_options options = xev_bench_options(run, pool);
    xev_bench_ok("loop", xev_loop_init_options(loop, &options));
    run->backend = xev_loop_backend(loop);
}

void xev_bench_loop_run(xev_loop *loop) {
    xev_bench_ok("run", xev_loop_run(loop, XEV_RUN_UNTIL_DONE));
}

/* ---- timers ---- */

static xev_cb_action on_timer(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    int64_t *fired = userdata;
    (void)loop;
    (void)c;
    xev_bench_ok("timer", result);
    ++*fired;
    return XEV_DISARM;
}

void bench_million_timers(struct loop_bench_run *run) {
    xev_loop loop;
    xev_completion *timers = loop_bench_memory((size_t)run->count, sizeof *timers);
    xev_bench_loop_init(&loop, run, NULL);
    int64_t fired = 0;
    loop_bench_begin(run);
    struct loop_bench_clock start = loop_bench_now();
    uint64_t timeout_ms = 0;
    for (int64_t i = 0; i < run->count; i++) {
        timeout_ms += i % 1000 == 0;
        xev_timer_run(NULL, &loop, &timers[i], timeout_ms, &fired, on_timer);
    }
    loop_bench_part(run, "arm_ns", "arm_cpu_ns", &start);
    start = loop_bench_now();
    xev_bench_loop_run(&loop);
    loop_bench_part(run, "dispatch_ns", "dispatch_cpu_ns", &start);
    loop_bench_end(run);
    loop_bench_expect("timers fired", fired, run->count);
    xev_loop_deinit(&loop);
    free(timers);
}

static xev_cb_action on_live_timer(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    loop_bench_expect("timer that stays", result, XEV_ECANCELED);
    return XEV_DISARM;
}

static xev_completion *arm_live_timers(xev_loop *loop) {
    xev_completion *timers = loop_bench_memory(LOOP_BENCH_LIVE_TIMERS, sizeof *timers);
    for (int i = 0; i < LOOP_BENCH_LIVE_TIMERS; i++) {
        xev_timer_run(NULL, loop, &timers[i], loop_bench_delay_ms(-i - 1), NULL, on_live_timer);
    }
    return timers;
}

struct cancelled {
    xev_completion timer, cancel;
    int64_t *done;
};

static xev_cb_action on_cancelled(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    loop_bench_expect("timer", result, XEV_ECANCELED);
    return XEV_DISARM;
}

static xev_cb_action on_cancel(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    int64_t *done = userdata;
    (void)loop;
    (void)c;
    loop_bench_expect("cancel", result, 0);
    ++*done;
    return XEV_DISARM;
}

/* The whole cycle: two completions, two callbacks; the cancel's comes a turn after its target's. */
void bench_timers_cancelled(struct loop_bench_run *run) {
    xev_loop loop;
    xev_bench_loop_init(&loop, run, NULL);
    xev_completion *live = arm_live_timers(&loop);
    struct cancelled *slots = loop_bench_memory((size_t)run->window, sizeof *slots);
    int64_t done = 0;
    loop_bench_begin(run);
    for (int64_t at = 0; at < run->count;) {
        int n = run->count - at < run->window ? (int)(run->count - at) : run->window;
        for (int i = 0; i < n; i++) {
            xev_timer_run(NULL, &loop, &slots[i].timer, loop_bench_delay_ms(at + i), NULL,
                          on_cancelled);
        }
        for (int i = 0; i < n; i++) {
            xev_cancel(&loop, &slots[i].timer, &slots[i].cancel, &done, on_cancel);
        }
        at += n;
        while (done < at) {
            xev_bench_ok("run", xev_loop_run(&loop, XEV_RUN_NO_WAIT));
        }
    }
    loop_bench_end(run);
    loop_bench_expect("timers cancelled", done, run->count);
    xev_loop_deinit(&loop);
    free(slots);
    free(live);
}

struct waiting {
    xev_watcher watcher;
    xev_completion c;
};

static xev_cb_action on_waiting(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    loop_bench_expect("operation with a deadline", result, XEV_ECANCELED);
    return XEV_DISARM;
}

void bench_deadlines(struct loop_bench_run *run) {
    xev_loop loop;
    xev_bench_loop_init(&loop, run, NULL);
    xev_completion *live = arm_live_timers(&loop);
    struct waiting *slots = loop_bench_memory((size_t)run->window, sizeof *slots);
    for (int i = 0; i < run->window; i++) {
        (void)xev_async_init(&slots[i].watcher);
        xev_async_wait(&slots[i].watcher, &loop, &slots[i].c, NULL, on_waiting);
    }
    loop_bench_begin(run);
    for (int64_t at = 0; at < run->count;) {
        int n = run->count - at < run->window ? (int)(run->count - at) : run->window;
        for (int i = 0; i < n; i++) {
            xev_completion_set_timeout(&loop, &slots[i].c, loop_bench_delay_ms(at + i));
        }
        for (int i = 0; i < n; i++) {
            xev_completion_set_timeout(&loop, &slots[i].c, 0);
        }
        at += n;
        xev_bench_ok("run", xev_loop_run(&loop, XEV_RUN_NO_WAIT));
    }
    loop_bench_end(run);
    loop_bench_expect("operations still active", xev_loop_active(&loop),
                      run->window + LOOP_BENCH_LIVE_TIMERS);
    xev_loop_deinit(&loop);
    free(slots);
    free(live);
}

/* ---- async ---- */

struct pummel {
    struct loop_bench_run *run;
    xev_watcher watcher;
    int64_t callbacks;
    atomic_bool stop;
    atomic_llong notifies;
};

static void *pummel_thread(void *arg) {
    struct pummel *p = arg;
    long long notifies = 0;
    for (; !atomic_load_explicit(&p->stop, memory_order_relaxed); notifies++) {
        (void)xev_async_notify(&p->watcher);
    }
    atomic_fetch_add(&p->notifies, notifies);
    return NULL;
}

static xev_cb_action on_pummel(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct pummel *p = userdata;
    (void)loop;
    (void)c;
    xev_bench_ok("wait", result);
    if (++p->callbacks < p->run->count) {
        return XEV_REARM;
    }
    loop_bench_end(p->run);
    atomic_store_explicit(&p->stop, true, memory_order_relaxed);
    return XEV_DISARM;
}

void bench_async_pummel(struct loop_bench_run *run) {
    xev_loop loop;
    xev_completion wait;
    struct pummel p = {.run = run};
    struct loop_bench_thread threads[LOOP_BENCH_THREADS_MAX];
    xev_bench_loop_init(&loop, run, NULL);
    (void)xev_async_init(&p.watcher);
    xev_async_wait(&p.watcher, &loop, &wait, &p, on_pummel);
    loop_bench_begin(run);
    for (int i = 0; i < run->threads; i++) {
        threads[i] = loop_bench_thread_start(pummel_thread, &p);
    }
    xev_bench_loop_run(&loop);
    for (int i = 0; i < run->threads; i++) {
        loop_bench_thread_join(threads[i]);
    }
    loop_bench_expect("callbacks", p.callbacks, run->count);
    loop_bench_pummel_figures(run, atomic_load(&p.notifies));
    xev_async_deinit(&p.watcher);
    xev_loop_deinit(&loop);
}

struct player {
    struct loop_bench_run *run;
    xev_loop loop;
    xev_completion wait;
    xev_watcher watcher;
    struct player *other;
    int64_t seen;
    int64_t to_send;
};

static xev_cb_action on_ping(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct player *p = userdata;
    (void)loop;
    (void)c;
    xev_bench_ok("wait", result);
    p->seen++;
    if (p->to_send > 0) {
        p->to_send--;
        (void)xev_async_notify(&p->other->watcher);
    }
    return p->seen < p->run->count ? XEV_REARM : XEV_DISARM;
}

static void *player_thread(void *arg) {
    struct player *p = arg;
    xev_bench_loop_run(&p->loop);
    return NULL;
}

void bench_async_ping(struct loop_bench_run *run) {
    /* The first serves: it sends one before the first callback. */
    static struct player players[2];
    players[0].to_send = run->count - 1;
    players[1].to_send = run->count;
    for (int i = 0; i < 2; i++) {
        struct player *p = &players[i];
        p->run = run;
        p->other = &players[1 - i];
        xev_bench_loop_init(&p->loop, run, NULL);
        (void)xev_async_init(&p->watcher);
        xev_async_wait(&p->watcher, &p->loop, &p->wait, p, on_ping);
    }
    loop_bench_begin(run);
    struct loop_bench_thread thread = loop_bench_thread_start(player_thread, &players[1]);
    (void)xev_async_notify(&players[1].watcher);
    xev_bench_loop_run(&players[0].loop);
    loop_bench_thread_join(thread);
    loop_bench_end(run);
    for (int i = 0; i < 2; i++) {
        loop_bench_expect("notifications seen", players[i].seen, run->count);
        xev_async_deinit(&players[i].watcher);
        xev_loop_deinit(&players[i].loop);
    }
}

/* ---- thread pool ---- */

void xev_bench_pool_init(xev_threadpool *pool, int threads) {
    xev_threadpool_config config;
    xev_threadpool_config_init(&config);
    xev_threadpool_config_set_max_threads(&config, (uint32_t)threads);
    xev_threadpool_config_set_lane_cap(&config, XEV_LANE_FS, (uint32_t)threads);
    xev_bench_ok("pool", xev_threadpool_init(pool, &config));
}

struct piece {
    xev_completion c;
    int64_t *left;
    int64_t asked, ran; /* ran: by the pool */
};

static int no_work(void *userdata) {
    struct piece *piece = userdata;
    piece->ran++;
    return 0;
}

static xev_cb_action on_worked(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct piece *piece = userdata;
    (void)loop;
    (void)c;
    xev_bench_ok("work", result);
    loop_bench_expect("runs of a piece of work", piece->ran, piece->asked);
    if (*piece->left == 0) {
        return XEV_DISARM;
    }
    --*piece->left;
    piece->asked++;
    return XEV_REARM;
}

void bench_queue_work(struct loop_bench_run *run) {
    xev_threadpool pool;
    xev_loop loop;
    xev_bench_pool_init(&pool, run->threads);
    xev_bench_loop_init(&loop, run, &pool);
    struct piece *pieces = loop_bench_memory((size_t)run->window, sizeof *pieces);
    int64_t left = run->count, ran = 0;
    loop_bench_begin(run);
    for (int i = 0; i < run->window && left > 0; i++, left--) {
        pieces[i].left = &left;
        pieces[i].asked = 1;
        xev_work_submit(&loop, &pieces[i].c, XEV_LANE_CPU, no_work, &pieces[i], on_worked);
    }
    xev_bench_loop_run(&loop);
    loop_bench_end(run);
    for (int i = 0; i < run->window; i++) {
        ran += pieces[i].ran;
    }
    loop_bench_expect("pieces of work", ran, run->count);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
    free(pieces);
}

struct stat_call {
    xev_file_req req;
    int64_t *left, *done;
};

static xev_cb_action on_stat(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct stat_call *call = userdata;
    (void)loop;
    (void)c;
    xev_bench_ok("stat", result);
    loop_bench_expect("file type", call->req.stat.type, XEV_FILE_DIRECTORY);
    ++*call->done;
    if (*call->left == 0) {
        return XEV_DISARM;
    }
    --*call->left;
    return XEV_REARM;
}

void bench_fs_stat(struct loop_bench_run *run) {
    xev_threadpool pool;
    xev_loop loop;
    xev_bench_pool_init(&pool, run->threads);
    xev_bench_loop_init(&loop, run, &pool);
    struct stat_call *stats = loop_bench_memory((size_t)run->window, sizeof *stats);
    int64_t left = run->count, done = 0;
    loop_bench_begin(run);
    for (int i = 0; i < run->window && left > 0; i++, left--) {
        stats[i].left = &left;
        stats[i].done = &done;
        xev_file_stat_path(&loop, &stats[i].req, ".", &stats[i], on_stat);
    }
    xev_bench_loop_run(&loop);
    loop_bench_end(run);
    loop_bench_expect("stat calls", done, run->count);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
    free(stats);
}

/* ---- processes ---- */

struct spawner {
    struct loop_bench_run *run;
    xev_process process;
    xev_completion c;
    int64_t ended;
};

static void spawn_one(struct spawner *s, xev_loop *loop);

static xev_cb_action on_process_closed(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    struct spawner *s = userdata;
    (void)c;
    xev_bench_ok("close", result);
    if (++s->ended < s->run->count) {
        spawn_one(s, loop);
    }
    return XEV_DISARM;
}

static xev_cb_action on_process_end(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct spawner *s = userdata;
    loop_bench_expect("exit status", result, 0);
    xev_process_close(&s->process, loop, c, s, on_process_closed);
    return XEV_DISARM;
}

static void spawn_one(struct spawner *s, xev_loop *loop) {
    static const char *const argv[] = {"/bin/true", NULL};
    xev_process_options options = {.argv = argv};
    xev_bench_ok("spawn", xev_process_spawn(&s->process, &options));
    xev_process_wait(&s->process, loop, &s->c, s, on_process_end);
}

void bench_spawn(struct loop_bench_run *run) {
    xev_loop loop;
    struct spawner s = {.run = run};
    xev_bench_loop_init(&loop, run, NULL);
    loop_bench_begin(run);
    spawn_one(&s, &loop);
    xev_bench_loop_run(&loop);
    loop_bench_end(run);
    loop_bench_expect("processes", s.ended, run->count);
    loop_bench_figure(run, "children_cpu_ns",
                      (double)run->used.children_cpu_ns / (double)run->count);
    xev_loop_deinit(&loop);
}

int main(int argc, char **argv) {
    static const char *const backends[] = {"io_uring", "epoll", NULL};
    static const struct loop_bench benches[] = {LOOP_BENCHES(LOOP_BENCH_ROW) LOOP_BENCHES_THREADS(
        LOOP_BENCH_ROW) LOOP_BENCHES_XEV_ONLY(LOOP_BENCH_ROW){0}};
    return loop_bench_main(argc, argv, "xev", backends, benches);
}
