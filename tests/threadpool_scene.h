/* What the tests of threadpool/ share: a pool, jobs that record when they begin and can be held at
 * a gate, and counters to wait on. There is one scene, which each case begins anew.
 *
 * Threads wait for each other by these counters, never by a sleep. A wait that does not end is
 * ended by the harness's timeout. */
#ifndef TESTS_THREADPOOL_SCENE_H
#define TESTS_THREADPOOL_SCENE_H

#include "xev/threadpool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

/* --- a counter to wait on --- */

struct counter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    uint32_t n;
};

static inline void counter_init(struct counter *c) {
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->cond, NULL);
    c->n = 0;
}

static inline void counter_add(struct counter *c) {
    pthread_mutex_lock(&c->lock);
    c->n++;
    pthread_cond_broadcast(&c->cond);
    pthread_mutex_unlock(&c->lock);
}

static inline uint32_t counter_get(struct counter *c) {
    pthread_mutex_lock(&c->lock);
    uint32_t n = c->n;
    pthread_mutex_unlock(&c->lock);
    return n;
}

static inline void counter_wait(struct counter *c, uint32_t n) {
    pthread_mutex_lock(&c->lock);
    while (c->n < n) {
        pthread_cond_wait(&c->cond, &c->lock);
    }
    pthread_mutex_unlock(&c->lock);
}

/* --- a task that records its beginning, and may wait at the gate --- */

enum { LOG_MAX = 64 };

struct scene {
    xev_threadpool pool;
    struct counter entered;
    struct counter open; /* gate: tasks with is_held wait for 1 */
    struct counter done;
    atomic_uint running;
    atomic_uint peak;
    pthread_mutex_t lock;
    uint32_t log_len;
    uint32_t log[LOG_MAX]; /* the tasks' numbers, in the order in which they began */
};

struct job {
    xev_threadpool_task task;
    struct scene *scene;
    uint32_t id;
    bool is_held;
    bool is_freed;
    atomic_uint runs;
};

static inline struct scene *scene_new(void) {
    static struct scene s;
    memset(&s, 0, sizeof s);
    counter_init(&s.entered);
    counter_init(&s.open);
    counter_init(&s.done);
    pthread_mutex_init(&s.lock, NULL);
    return &s;
}

static inline struct job *job_of(xev_threadpool_task *t) {
    return (struct job *)(void *)((char *)t - offsetof(struct job, task));
}

static inline void scene_enter(struct scene *s, uint32_t id) {
    uint32_t running = atomic_fetch_add(&s->running, 1) + 1;
    uint32_t peak = atomic_load(&s->peak);
    while (peak < running && !atomic_compare_exchange_weak(&s->peak, &peak, running)) {
    }
    pthread_mutex_lock(&s->lock);
    if (s->log_len < LOG_MAX) {
        s->log[s->log_len++] = id;
    }
    pthread_mutex_unlock(&s->lock);
    counter_add(&s->entered);
}

static inline void job_run(xev_threadpool_task *t) {
    struct job *j = job_of(t);
    struct scene *s = j->scene;
    atomic_fetch_add(&j->runs, 1);
    scene_enter(s, j->id);
    if (j->is_held) {
        counter_wait(&s->open, 1);
    }
    if (j->is_freed) {
        memset(j, 0xa5, sizeof *j);
        free(j);
    }
    atomic_fetch_sub(&s->running, 1);
    counter_add(&s->done);
}

static inline void job_init(struct job *j, struct scene *s, uint32_t id) {
    memset(j, 0, sizeof *j);
    j->scene = s;
    j->id = id;
    xev_threadpool_task_init(&j->task, job_run);
}

static inline void jobs_init(struct job *j, size_t n, struct scene *s) {
    for (size_t i = 0; i < n; i++) {
        job_init(&j[i], s, (uint32_t)i);
    }
}

static inline int schedule_n(struct scene *s, struct job *j, size_t n, xev_threadpool_lane lane) {
    xev_threadpool_batch b;
    xev_threadpool_batch_init(&b);
    for (size_t i = 0; i < n; i++) {
        xev_threadpool_batch_push_task(&b, &j[i].task);
    }
    return xev_threadpool_schedule_lane(&s->pool, &b, lane);
}

static inline void pool_start(struct scene *s, uint32_t max_threads) {
    xev_threadpool_config cfg;
    xev_threadpool_config_init(&cfg);
    xev_threadpool_config_set_max_threads(&cfg, max_threads);
    CHECK_EQ(xev_threadpool_init(&s->pool, &cfg), 0);
}

static inline xev_threadpool_counters stats_of(struct scene *s) {
    xev_threadpool_counters c;
    xev_threadpool_stats(&s->pool, &c);
    return c;
}

/* A held task keeps the pool's thread until gate_open. */
static inline void gate_close(struct scene *s, struct job *gate, uint32_t id) {
    job_init(gate, s, id);
    gate->is_held = true;
    uint32_t before = counter_get(&s->entered);
    CHECK_EQ(schedule_n(s, gate, 1, XEV_LANE_CPU), 0);
    counter_wait(&s->entered, before + 1);
}

static inline void gate_open(struct scene *s) { counter_add(&s->open); }

static inline uint32_t scaled(uint32_t n) { return test_slowdown() > 1 ? n / 10 : n; }

/* --- a thread that schedules jobs one by one --- */

struct scheduler {
    struct scene *scene;
    struct job *jobs;
    size_t n;
    pthread_t thread;
};

static inline void *scheduler_main(void *arg) {
    struct scheduler *sch = arg;
    for (size_t i = 0; i < sch->n; i++) {
        CHECK_EQ(schedule_n(sch->scene, &sch->jobs[i], 1, XEV_LANE_CPU), 0);
    }
    return NULL;
}

#endif
