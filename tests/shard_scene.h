/* What the tests of shard/ share: one runtime on the backend under test, a log of its callbacks,
 * and a function (body) that each shard calls when it has started.
 *
 * Threads wait for each other by semaphores and atomics, never by a sleep. A wait that does not end
 * is ended by the harness's timeout. */
#ifndef TESTS_SHARD_SCENE_H
#define TESTS_SHARD_SCENE_H

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xev/shard.h"
#include "tests/system.h"
#include "tests/test.h"

enum { SCENE_SHARDS = 64, HOUR_MS = 3600 * 1000 };

enum phase { INIT, DRAIN, STOP, DEINIT };

struct event {
    enum phase phase;
    uint32_t shard;
};

/* The fields before the line are set by the test. All of them are optional. */
struct scene {
    xev_runtime_options o;
    int (*init)(xev_shard *self);
    void (*body)(xev_shard *self); /* called when the shard has started */
    void (*drain)(xev_shard *self);
    void (*stop)(xev_shard *self);
    void (*deinit)(xev_shard *self);
    /* ---- */
    xev_runtime rt;
    pthread_mutex_t lock;
    struct event log[4 * SCENE_SHARDS];
    uint32_t log_len;
    pthread_t thread[SCENE_SHARDS];
    xev_message begin[SCENE_SHARDS];
};

/* There is one, as each case runs in a process of its own. */
static struct scene sc = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void scene_log(enum phase phase, xev_shard *self) {
    CHECK(xev_shard_current() == self);
    CHECK(xev_shard_runtime(self) == &sc.rt);
    uint32_t id = xev_shard_id(self);
    CHECK(xev_runtime_shard(&sc.rt, id) == self);
    if (phase != INIT) {
        CHECK(pthread_equal(sc.thread[id], pthread_self()));
    }
    pthread_mutex_lock(&sc.lock);
    CHECK_LT(sc.log_len, 4 * SCENE_SHARDS);
    sc.log[sc.log_len++] = (struct event){phase, id};
    pthread_mutex_unlock(&sc.lock);
}

static inline void scene_begin(xev_shard *self, xev_message *message, void *arg) {
    CHECK(message == &sc.begin[xev_shard_id(self)]);
    CHECK(arg == &sc);
    CHECK(xev_shard_current() == self);
    sc.body(self);
}

static inline int scene_init(xev_shard *self, void *userdata) {
    CHECK(userdata == &sc);
    uint32_t id = xev_shard_id(self);
    CHECK_LT(id, SCENE_SHARDS);
    sc.thread[id] = pthread_self();
    scene_log(INIT, self);
    const char *wanted = getenv("XEV_BACKEND");
    if (wanted != NULL) {
        CHECK_STR_EQ(xev_loop_backend(xev_shard_loop(self)), wanted);
    }
    if (sc.body != NULL) {
        CHECK_EQ(xev_shard_send(self, &sc.begin[id], scene_begin, &sc), 0);
    }
    return sc.init != NULL ? sc.init(self) : 0;
}

static inline void scene_drain(xev_shard *self, void *userdata) {
    CHECK(userdata == &sc);
    scene_log(DRAIN, self);
    if (sc.drain != NULL) {
        sc.drain(self);
    }
}

static inline void scene_stop(xev_shard *self, void *userdata) {
    CHECK(userdata == &sc);
    scene_log(STOP, self);
    if (sc.stop != NULL) {
        sc.stop(self);
    }
}

static inline void scene_deinit(xev_shard *self, void *userdata) {
    CHECK(userdata == &sc);
    scene_log(DEINIT, self);
    if (sc.deinit != NULL) {
        sc.deinit(self);
    }
}

/* Run the runtime to its end. The result is that of xev_runtime_run. */
static inline int scene_run(uint32_t shards) {
    sc.log_len = 0;
    if (sc.o.drain_ms == 0) {
        sc.o.drain_ms = HOUR_MS; /* no deadline, so that a slow machine fails no test */
    }
    sc.o.shards = shards;
    sc.o.init = scene_init;
    sc.o.drain = scene_drain;
    sc.o.stop = scene_stop;
    sc.o.deinit = scene_deinit;
    sc.o.userdata = &sc;
    int rc = xev_runtime_run(&sc.rt, &sc.o);
    xev_runtime_failure failure;
    xev_runtime_failure_get(&sc.rt, &failure);
    if (rc == 0 || rc == XEV_ETIMEDOUT || rc == XEV_EINTR) {
        CHECK_EQ(failure.code, 0);
        CHECK_EQ(failure.shard, XEV_NO_SHARD);
        CHECK_STR_EQ(failure.call, "");
    } else {
        CHECK_EQ(failure.code, rc);
        CHECK_NE(failure.call[0], '\0');
    }
    return rc;
}

static inline uint32_t logged(enum phase phase) {
    uint32_t n = 0;
    pthread_mutex_lock(&sc.lock);
    for (uint32_t i = 0; i < sc.log_len; i++) {
        n += sc.log[i].phase == phase;
    }
    pthread_mutex_unlock(&sc.lock);
    return n;
}

/* Check that the log has count events of phase from *at on, of the shards first, first + step, ...
 */
static inline void check_logged(uint32_t *at, enum phase phase, uint32_t count, uint32_t first,
                                int step) {
    for (uint32_t i = 0; i < count; i++, (*at)++) {
        CHECK_LT(*at, sc.log_len);
        CHECK_EQ(sc.log[*at].phase, phase);
        CHECK_EQ(sc.log[*at].shard, (int64_t)first + step * (int64_t)i);
    }
}

/* ---- bodies ---- */

static inline void stop_all(xev_shard *self) { xev_runtime_stop(xev_shard_runtime(self)); }

static inline void zero_stops_all(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        stop_all(self);
    }
}

static inline xev_shard *shard_number(xev_shard *self, uint32_t id) {
    return xev_runtime_shard(xev_shard_runtime(self), id);
}

static inline uint32_t shards_of(xev_shard *self) {
    return xev_runtime_shards(xev_shard_runtime(self));
}

/* ---- an operation that records its callbacks ---- */

struct op {
    xev_completion c;
    atomic_int calls;
    atomic_int result;
};

static inline xev_cb_action op_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct op *o = userdata;
    (void)loop;
    CHECK(c == &o->c);
    o->result = result;
    o->calls++;
    return XEV_DISARM;
}

static inline void op_timer(xev_shard *self, struct op *o, uint64_t ms) {
    xev_timer_run(NULL, xev_shard_loop(self), &o->c, ms, o, op_cb);
}

static inline void check_op(struct op *o, int result) {
    CHECK_EQ(o->calls, 1);
    CHECK_EQ(o->result, result);
}

/* ---- the rest ---- */

static inline uint32_t rounds(uint32_t n) { return test_slowdown() > 1 ? (n + 9) / 10 : n; }

static inline xev_shard_counters counters_of(xev_shard *shard) {
    xev_shard_counters c;
    xev_shard_count(shard, &c);
    return c;
}

static inline void sem_take(sem_t *s) {
    while (sem_wait(s) != 0) {
    }
}

static inline void sem_new(sem_t *s) { CHECK_EQ(sem_init(s, 0, 0), 0); }

static inline void sem_give(sem_t *s) { CHECK_EQ(sem_post(s), 0); }

static inline pthread_t thread_start(void *(*run)(void *), void *arg) {
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, run, arg), 0);
    return t;
}

static inline void thread_join(pthread_t t) { CHECK_EQ(pthread_join(t, NULL), 0); }

static inline uint32_t entries_of(const char *path) {
    DIR *dir = opendir(path);
    CHECK(dir != NULL);
    uint32_t n = 0;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        n += e->d_name[0] != '.';
    }
    closedir(dir);
    return n;
}

static inline uint32_t descriptors(void) { return (uint32_t)test_open_descriptors(); }
static inline uint32_t threads(void) { return entries_of("/proc/self/task"); }

/* The kernel threads of a ring, and threads that were joined, may be listed for a moment longer. */
static inline void wait_for_threads(uint32_t n) {
    while (threads() > n) {
        sched_yield();
    }
}

#endif
