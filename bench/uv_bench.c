/*
 * The micro-benchmarks for libuv: timers, async, thread pool, processes. Their twins stand in the
 * same order in xev_bench.c. Usage: uv_bench --list
 */
#include "bench/uv_bench.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

void uv_bench_ok(const char *what, int rc) {
    if (rc < 0) {
        loop_bench_fail("%s: %s", what, uv_strerror(rc));
    }
}

void uv_bench_loop_init(uv_loop_t *loop, struct loop_bench_run *run) {
    uv_bench_ok("loop", uv_loop_init(loop));
    run->backend = "epoll";
}

void uv_bench_loop_run(uv_loop_t *loop) {
    loop_bench_expect("handles left active", uv_run(loop, UV_RUN_DEFAULT), 0);
}

void uv_bench_loop_close(uv_loop_t *loop) { uv_bench_ok("close", uv_loop_close(loop)); }

/* ---- timers ---- */

static void on_timer(uv_timer_t *timer) {
    int64_t *fired = timer->data;
    ++*fired;
}

static void close_timers(uv_timer_t *timers, int64_t count, bool active) {
    for (int64_t i = 0; i < count; i++) {
        loop_bench_expect("timer is active", uv_is_active((uv_handle_t *)&timers[i]) != 0, active);
        uv_close((uv_handle_t *)&timers[i], NULL);
    }
}

void bench_million_timers(struct loop_bench_run *run) {
    uv_loop_t loop;
    uv_timer_t *timers = loop_bench_memory((size_t)run->count, sizeof *timers);
    uv_bench_loop_init(&loop, run); /* now, as delays count from the loop's time */
    int64_t fired = 0;
    loop_bench_begin(run);
    struct loop_bench_clock start = loop_bench_now();
    uint64_t timeout_ms = 0;
    for (int64_t i = 0; i < run->count; i++) {
        timeout_ms += i % 1000 == 0;
        uv_bench_ok("timer", uv_timer_init(&loop, &timers[i]));
        timers[i].data = &fired;
        uv_bench_ok("timer", uv_timer_start(&timers[i], on_timer, timeout_ms, 0));
    }
    loop_bench_part(run, "arm_ns", "arm_cpu_ns", &start);
    start = loop_bench_now();
    uv_bench_loop_run(&loop);
    loop_bench_part(run, "dispatch_ns", "dispatch_cpu_ns", &start);
    loop_bench_end(run);
    loop_bench_expect("timers fired", fired, run->count);
    close_timers(timers, run->count, false);
    uv_bench_loop_run(&loop);
    uv_bench_loop_close(&loop);
    free(timers);
}

static void on_timer_that_must_not_fire(uv_timer_t *timer) {
    (void)timer;
    loop_bench_fail("a timer fired that was stopped or far off");
}

static uv_timer_t *new_timers(uv_loop_t *loop, int count) {
    uv_timer_t *timers = loop_bench_memory((size_t)count, sizeof *timers);
    for (int i = 0; i < count; i++) {
        uv_bench_ok("timer", uv_timer_init(loop, &timers[i]));
    }
    return timers;
}

static void start_timer(uv_timer_t *timer, int64_t i) {
    uv_bench_ok("timer",
                uv_timer_start(timer, on_timer_that_must_not_fire, loop_bench_delay_ms(i), 0));
}

/* The whole cycle: a stop has no callback. */
void bench_timers_cancelled(struct loop_bench_run *run) {
    uv_loop_t loop;
    uv_bench_loop_init(&loop, run);
    uv_timer_t *live = new_timers(&loop, LOOP_BENCH_LIVE_TIMERS);
    for (int i = 0; i < LOOP_BENCH_LIVE_TIMERS; i++) {
        start_timer(&live[i], -i - 1);
    }
    uv_timer_t *slots = new_timers(&loop, run->window);
    loop_bench_begin(run);
    for (int64_t at = 0; at < run->count;) {
        int n = run->count - at < run->window ? (int)(run->count - at) : run->window;
        for (int i = 0; i < n; i++) {
            start_timer(&slots[i], at + i);
        }
        for (int i = 0; i < n; i++) {
            uv_bench_ok("stop", uv_timer_stop(&slots[i]));
        }
        at += n;
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    loop_bench_end(run);
    close_timers(slots, run->window, false);
    close_timers(live, LOOP_BENCH_LIVE_TIMERS, true);
    uv_bench_loop_run(&loop);
    uv_bench_loop_close(&loop);
    free(slots);
    free(live);
}

/* An operation of libuv has its deadline by a timer beside it. */
void bench_deadlines(struct loop_bench_run *run) { bench_timers_cancelled(run); }

/* ---- async ---- */

struct pummel {
    struct loop_bench_run *run;
    uv_async_t async;
    int64_t callbacks;
    atomic_bool stop;
    atomic_llong notifies;
};

static void *pummel_thread(void *arg) {
    struct pummel *p = arg;
    long long notifies = 0;
    for (; !atomic_load_explicit(&p->stop, memory_order_relaxed); notifies++) {
        uv_bench_ok("send", uv_async_send(&p->async));
    }
    atomic_fetch_add(&p->notifies, notifies);
    return NULL;
}

static void on_pummel(uv_async_t *async) {
    struct pummel *p = async->data;
    if (++p->callbacks == p->run->count) {
        loop_bench_end(p->run);
        atomic_store_explicit(&p->stop, true, memory_order_relaxed);
        uv_stop(async->loop);
    }
}

void bench_async_pummel(struct loop_bench_run *run) {
    uv_loop_t loop;
    struct pummel p = {.run = run};
    struct loop_bench_thread threads[LOOP_BENCH_THREADS_MAX];
    uv_bench_loop_init(&loop, run);
    uv_bench_ok("async", uv_async_init(&loop, &p.async, on_pummel));
    p.async.data = &p;
    loop_bench_begin(run);
    for (int i = 0; i < run->threads; i++) {
        threads[i] = loop_bench_thread_start(pummel_thread, &p);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    for (int i = 0; i < run->threads; i++) {
        loop_bench_thread_join(threads[i]);
    }
    loop_bench_expect("callbacks", p.callbacks, run->count);
    loop_bench_pummel_figures(run, atomic_load(&p.notifies));
    uv_close((uv_handle_t *)&p.async, NULL);
    uv_bench_loop_run(&loop);
    uv_bench_loop_close(&loop);
}

struct player {
    struct loop_bench_run *run;
    uv_loop_t loop;
    uv_async_t async;
    struct player *other;
    int64_t seen;
    int64_t to_send;
};

static void on_ping(uv_async_t *async) {
    struct player *p = async->data;
    p->seen++;
    if (p->to_send > 0) {
        p->to_send--;
        uv_bench_ok("send", uv_async_send(&p->other->async));
    }
    if (p->seen == p->run->count) {
        uv_stop(&p->loop); /* closed below, when nobody sends any more */
    }
}

static void *player_thread(void *arg) {
    struct player *p = arg;
    (void)uv_run(&p->loop, UV_RUN_DEFAULT);
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
        uv_bench_loop_init(&p->loop, run);
        uv_bench_ok("async", uv_async_init(&p->loop, &p->async, on_ping));
        p->async.data = p;
    }
    loop_bench_begin(run);
    struct loop_bench_thread thread = loop_bench_thread_start(player_thread, &players[1]);
    uv_bench_ok("send", uv_async_send(&players[1].async));
    (void)uv_run(&players[0].loop, UV_RUN_DEFAULT);
    loop_bench_thread_join(thread);
    loop_bench_end(run);
    for (int i = 0; i < 2; i++) {
        loop_bench_expect("notifications seen", players[i].seen, run->count);
        uv_close((uv_handle_t *)&players[i].async, NULL);
        uv_bench_loop_run(&players[i].loop);
        uv_bench_loop_close(&players[i].loop);
    }
}

/* ---- thread pool ---- */

void uv_bench_pool_init(int threads) {
    char text[16];
    (void)snprintf(text, sizeof text, "%d", threads);
    uv_bench_ok("pool", uv_os_setenv("UV_THREADPOOL_SIZE", text));
}

struct piece {
    uv_work_t work;
    int64_t *left;
    int64_t asked, ran; /* ran: by the pool */
};

static void no_work(uv_work_t *work) {
    struct piece *piece = work->data;
    piece->ran++;
}

static void on_worked(uv_work_t *work, int status) {
    struct piece *piece = work->data;
    uv_bench_ok("work", status);
    loop_bench_expect("runs of a piece of work", piece->ran, piece->asked);
    if (*piece->left > 0) {
        --*piece->left;
        piece->asked++;
        uv_bench_ok("work", uv_queue_work(work->loop, work, no_work, on_worked));
    }
}

void bench_queue_work(struct loop_bench_run *run) {
    uv_loop_t loop;
    uv_bench_pool_init(run->threads);
    uv_bench_loop_init(&loop, run);
    struct piece *pieces = loop_bench_memory((size_t)run->window, sizeof *pieces);
    int64_t left = run->count, ran = 0;
    loop_bench_begin(run);
    for (int i = 0; i < run->window && left > 0; i++, left--) {
        pieces[i].left = &left;
        pieces[i].asked = 1;
        pieces[i].work.data = &pieces[i];
        uv_bench_ok("work", uv_queue_work(&loop, &pieces[i].work, no_work, on_worked));
    }
    uv_bench_loop_run(&loop);
    loop_bench_end(run);
    for (int i = 0; i < run->window; i++) {
        ran += pieces[i].ran;
    }
    loop_bench_expect("pieces of work", ran, run->count);
    uv_bench_loop_close(&loop);
    free(pieces);
}

struct stat_call {
    uv_fs_t req;
    int64_t *left, *done;
};

static void on_stat(uv_fs_t *req) {
    struct stat_call *call = req->data;
    uv_bench_ok("stat", (int)req->result);
    loop_bench_expect("file type", (int64_t)(req->statbuf.st_mode & S_IFMT), S_IFDIR);
    ++*call->done;
    uv_fs_req_cleanup(req);
    if (*call->left > 0) {
        --*call->left;
        uv_bench_ok("stat", uv_fs_stat(req->loop, req, ".", on_stat));
    }
}

void bench_fs_stat(struct loop_bench_run *run) {
    uv_loop_t loop;
    uv_bench_pool_init(run->threads);
    uv_bench_loop_init(&loop, run);
    struct stat_call *calls = loop_bench_memory((size_t)run->window, sizeof *calls);
    int64_t left = run->count, done = 0;
    loop_bench_begin(run);
    for (int i = 0; i < run->window && left > 0; i++, left--) {
        calls[i].left = &left;
        calls[i].done = &done;
        calls[i].req.data = &calls[i];
        uv_bench_ok("stat", uv_fs_stat(&loop, &calls[i].req, ".", on_stat));
    }
    uv_bench_loop_run(&loop);
    loop_bench_end(run);
    loop_bench_expect("stat calls", done, run->count);
    uv_bench_loop_close(&loop);
    free(calls);
}

/* ---- processes ---- */

struct spawner {
    struct loop_bench_run *run;
    uv_process_t process;
    int64_t ended;
};

static void spawn_one(struct spawner *s, uv_loop_t *loop);

static void on_process_closed(uv_handle_t *handle) {
    struct spawner *s = handle->data;
    if (++s->ended < s->run->count) {
        spawn_one(s, handle->loop);
    }
}

static void on_process_end(uv_process_t *process, int64_t exit_status, int term_signal) {
    loop_bench_expect("exit status", exit_status, 0);
    loop_bench_expect("signal", term_signal, 0);
    uv_close((uv_handle_t *)process, on_process_closed);
}

static void spawn_one(struct spawner *s, uv_loop_t *loop) {
    static char program[] = "/bin/true";
    static char *argv[] = {program, NULL};
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE}, {.flags = UV_IGNORE}, {.flags = UV_IGNORE}};
    uv_process_options_t options = {
        .exit_cb = on_process_end, .file = program, .args = argv, .stdio_count = 3, .stdio = stdio};
    s->process.data = s;
    uv_bench_ok("spawn", uv_spawn(loop, &s->process, &options));
}

void bench_spawn(struct loop_bench_run *run) {
    uv_loop_t loop;
    struct spawner s = {.run = run};
    uv_bench_loop_init(&loop, run);
    loop_bench_begin(run);
    spawn_one(&s, &loop);
    uv_bench_loop_run(&loop);
    loop_bench_end(run);
    loop_bench_expect("processes", s.ended, run->count);
    loop_bench_figure(run, "children_cpu_ns",
                      (double)run->used.children_cpu_ns / (double)run->count);
    uv_bench_loop_close(&loop);
}

int main(int argc, char **argv) {
    static const char *const backends[] = {"epoll", NULL};
    static const struct loop_bench benches[] = {LOOP_BENCHES(LOOP_BENCH_ROW){0}};
    return loop_bench_main(argc, argv, "uv", backends, benches);
}
