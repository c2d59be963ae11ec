/* threadpool.c: the pool of threadpool.h: one mutex, a list per lane, a condition variable.
 *
 * Why a mutex: tasks block for microseconds to milliseconds, the lock is held for a few dozen
 * instructions; what counts is that cancel, caps and shutdown are exact. Under the lock stand
 * list and counter updates, waking sleepers, and, at most max_threads times, a thread creation.
 *
 * Waking. `runnable` is the number of queued tasks that the caps let run now. A thread that is
 * going to look for work without being told is `covered` for one of them: it was given a wake
 * token, or it is starting. Invariant, whenever the lock is free: runnable <= covered, or no
 * thread sleeps without a token and none can be started (the busy ones look before they sleep), or
 * a starting thread will take up the rest. Only two things raise runnable: appending, which calls
 * rouse(), and the end of a task in a lane at its cap, whose thread takes a task at once.
 * Tokens, and not the condition variable's own wakes, are counted, so spurious ones do no harm.
 *
 * Waits. A task has no room for a time. Each lane has a ring of marks instead, in the order of its
 * queue: the first task of a batch, and when it came. So the wait of each batch is measured as long
 * as no more than MARKS of them wait; beyond that, of MARKS tasks spread over the queue.
 *
 * Signals are sent with the lock held: a task may run, and its creator destroy the pool, as soon
 * as the lock is free, so nothing of the pool may be touched after unlocking it.
 */
#include "xev/threadpool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "threadpool/cpus.h"
#include "threadpool/threads.h"
#include "xev/os/complain.h"
#include "xev/os/probe.h"

enum {
    LEAST_DEFAULT_THREADS = 4,
    LANE_MASK = 7, /* the low bits of a queued task's prev */
    MARKS = 32,    /* a power of two */
};

static const uint32_t CAP_DEFAULT = UINT32_MAX; /* lane_cap: the setter was not called */

static_assert(sizeof(void *) != 8 || sizeof(xev_threadpool_task) == 24, "three words");
static_assert(_Alignof(xev_threadpool_task) > LANE_MASK, "room for the lane in a pointer");
static_assert((int)XEV_LANE_COUNT <= LANE_MASK + 1, "lanes fit the mask");

struct mark {
    const xev_threadpool_task *task;
    uint64_t since_ns;
};

struct lane {
    xev_threadpool_task sentinel; /* circular list: next is the oldest, prev the newest */
    uint64_t queued;
    uint64_t finished;
    uint64_t cancelled;
    uint64_t peak_queued;
    uint64_t waits;
    uint64_t wait_ns;
    uint64_t wait_max_ns;
    uint32_t running;
    uint32_t peak_running;
    uint32_t cap;
    uint32_t first_mark; /* its place, modulo MARKS */
    uint32_t marks_len;
    struct mark marks[MARKS];
};

struct pool {
    pthread_mutex_t lock;  /* guards everything below but max_threads */
    pthread_cond_t wakeup; /* a token was given, or shutdown */
    pthread_attr_t attr;
    struct xev__cpu_mask cpus; /* of the thread that made the pool; its threads run on them, too */
    struct lane lane[XEV_LANE_COUNT];
    uint32_t next_lane; /* whose turn it is */
    uint32_t max_threads;
    uint32_t threads;  /* handles in use */
    uint32_t starting; /* of them, not yet at the lock for the first time */
    uint32_t idle;     /* of them, waiting on wakeup */
    uint32_t tokens;   /* wakes given to idle threads and not yet taken, <= idle */
    bool shutdown;
    bool runs_here;     /* without threads: a caller of schedule runs tasks */
    pthread_t thread[]; /* max_threads */
};

/* --- misuse: always looked for, other than what is asserted --- */

static _Noreturn void misuse(const char *call, const char *what, const void *which) {
    xev__complain("xev: %s: %s (%p)", call, what, which);
    abort();
}

static void check_pointer(const char *call, const char *what, const void *pointer) {
    if (pointer == NULL) {
        misuse(call, what, pointer);
    }
}

static struct pool *check_pool(const char *call, const xev_threadpool *pool) {
    if (pool == NULL || pool->impl == NULL) {
        misuse(call, "pool is null or deinitialised", pool);
    }
    return pool->impl;
}

static void check_lane(const char *call, xev_threadpool_lane lane) {
    if ((unsigned int)lane >= XEV_LANE_COUNT) {
        misuse(call, "no such lane", NULL);
    }
}

/* --- lists: the lane of a queued task is in the low bits of its prev --- */

static xev_threadpool_task *with_lane(xev_threadpool_task *prev, unsigned int lane) {
    return (xev_threadpool_task *)((uintptr_t)prev | lane);
}

static unsigned int lane_of(const xev_threadpool_task *t) {
    return (unsigned int)((uintptr_t)t->prev & LANE_MASK);
}

static xev_threadpool_task *prev_of(const xev_threadpool_task *t) {
    return (xev_threadpool_task *)((uintptr_t)t->prev & ~(uintptr_t)LANE_MASK);
}

static uint64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static struct mark *mark_at(struct lane *lane, uint32_t i) {
    assert(i < lane->marks_len);
    return &lane->marks[(lane->first_mark + i) % MARKS];
}

static void add_mark(struct lane *lane, const xev_threadpool_task *t, uint64_t since_ns) {
    if (lane->marks_len < MARKS) {
        lane->marks_len++;
        *mark_at(lane, lane->marks_len - 1) = (struct mark){t, since_ns};
    }
}

/* t, the first one of its lane, begins to run. */
static void measure_wait(struct lane *lane, const xev_threadpool_task *t) {
    if (lane->marks_len == 0 || mark_at(lane, 0)->task != t) {
        return;
    }
    uint64_t since = mark_at(lane, 0)->since_ns, now = now_ns();
    uint64_t wait = now > since ? now - since : 0;
    lane->first_mark++;
    lane->marks_len--;
    lane->waits++;
    lane->wait_ns += wait;
    if (wait > lane->wait_max_ns) {
        lane->wait_max_ns = wait;
    }
}

/* t has been cancelled. */
static void drop_mark(struct lane *lane, const xev_threadpool_task *t) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < lane->marks_len; i++) {
        if (mark_at(lane, i)->task != t) {
            *mark_at(lane, kept++) = *mark_at(lane, i);
        }
    }
    lane->marks_len = kept;
}

static void lane_append(struct pool *p, unsigned int id, const xev_threadpool_batch *batch,
                        uint64_t at_ns) {
    xev_threadpool_task *sentinel = &p->lane[id].sentinel;
    xev_threadpool_task *prev = prev_of(sentinel);
    xev_threadpool_task *t = batch->head;
    size_t n = 0;
    assert(id < XEV_LANE_COUNT && t != NULL && batch->tail != NULL);
    assert(prev->next == sentinel);
    batch->tail->next = sentinel;
    while (t != sentinel) {
        if (t->prev != NULL) {
            misuse("xev_threadpool_schedule_lane", "a task of the batch is queued already", t);
        }
        prev->next = t;
        t->prev = with_lane(prev, id);
        prev = t;
        t = t->next;
        n++;
    }
    sentinel->prev = with_lane(prev, id);
    assert(n == batch->len);
    struct lane *lane = &p->lane[id];
    lane->queued += n;
    if (lane->queued > lane->peak_queued) {
        lane->peak_queued = lane->queued;
    }
    add_mark(lane, batch->head, at_ns);
    XEV__PROBE3(pool__submit, id, batch->head, n);
}

static void lane_remove(struct pool *p, xev_threadpool_task *t) {
    assert(t->prev != NULL && lane_of(t) < XEV_LANE_COUNT);
    assert(prev_of(t)->next == t && prev_of(t->next) == t);
    struct lane *lane = &p->lane[lane_of(t)];
    prev_of(t)->next = t->next;
    t->next->prev = t->prev; /* with the same lane */
    t->next = NULL;
    t->prev = NULL;
    assert(lane->queued > 0);
    lane->queued--;
}

/* --- choosing and covering work; the lock is held --- */

static bool lane_may_run(const struct lane *lane) {
    return lane->queued > 0 && lane->running < lane->cap;
}

static uint64_t count_runnable(const struct pool *p) {
    uint64_t n = 0;
    for (unsigned int id = 0; id < XEV_LANE_COUNT; id++) {
        const struct lane *lane = &p->lane[id];
        assert(lane->running <= lane->cap);
        uint64_t room = lane->cap - lane->running;
        n += lane->queued < room ? lane->queued : room;
    }
    return n;
}

/* Takes the next task to run off its lane, which is *from then, and counts it as running. NULL: no
 * task may run. */
static xev_threadpool_task *take_next_task(struct pool *p, struct lane **from) {
    for (unsigned int i = 0; i < XEV_LANE_COUNT; i++) {
        unsigned int id = (p->next_lane + i) % XEV_LANE_COUNT;
        struct lane *lane = &p->lane[id];
        if (!lane_may_run(lane)) {
            continue;
        }
        p->next_lane = (id + 1) % XEV_LANE_COUNT;
        xev_threadpool_task *t = lane->sentinel.next;
        assert(t != &lane->sentinel && lane_of(t) == id);
        measure_wait(lane, t);
        lane_remove(p, t);
        lane->running++;
        assert(lane->running <= lane->cap);
        if (lane->peak_running < lane->running) {
            lane->peak_running = lane->running;
        }
        *from = lane;
        return t;
    }
    return NULL;
}

static void *worker(void *arg);

static int start_thread(struct pool *p) {
    assert(p->threads < p->max_threads);
    int rc = xev__threadpool_thread_create(&p->thread[p->threads], &p->attr, worker, p);
    if (rc == 0) {
        p->threads++;
        p->starting++;
    }
    return rc;
}

/* Restores the invariant after at most new_tasks tasks became runnable: wakes as many sleeping
 * threads and, where these are not enough, starts one thread. That one starts the next, so that no
 * caller pays for the start of many. */
static void rouse(struct pool *p, uint64_t new_tasks, bool may_start) {
    assert(p->tokens <= p->idle && p->idle + p->starting <= p->threads);
    may_start = may_start && p->threads < p->max_threads;
    if (p->tokens == p->idle && !may_start) {
        return; /* nobody is left to be woken or started */
    }
    uint64_t runnable = count_runnable(p);
    uint64_t covered = (uint64_t)p->tokens + p->starting;
    while (new_tasks > 0 && covered < runnable && p->tokens < p->idle) {
        p->tokens++;
        pthread_cond_signal(&p->wakeup);
        covered++;
        new_tasks--;
    }
    if (may_start && new_tasks > 0 && covered < runnable) {
        (void)start_thread(p); /* else those that exist do the work */
    }
}

/* --- threads --- */

static void sleep_until_roused(struct pool *p) {
    assert(p->idle < p->threads && p->tokens <= p->idle);
    p->idle++;
    while (p->tokens == 0 && !p->shutdown) {
        pthread_cond_wait(&p->wakeup, &p->lock);
    }
    if (p->tokens > 0) {
        p->tokens--;
    }
    assert(p->idle > p->tokens);
    p->idle--;
}

/* t was taken off lane. The lock is held, but not while t runs. */
static void run_task(struct pool *p, struct lane *lane, xev_threadpool_task *t) {
    xev_task_cb cb = t->cb;
    pthread_mutex_unlock(&p->lock);
    XEV__PROBE2(pool__start, (unsigned int)(lane - p->lane), t);
    cb(t);
    XEV__PROBE2(pool__end, (unsigned int)(lane - p->lane), t);
    pthread_mutex_lock(&p->lock);
    assert(lane->running > 0);
    lane->running--;
    lane->finished++;
}

static void *worker(void *arg) {
    struct pool *p = arg;
    xev__threadpool_name_self();
    xev__threadpool_cpus_use(&p->cpus);
    pthread_mutex_lock(&p->lock);
    assert(p->starting > 0 && p->starting <= p->threads);
    p->starting--;
    bool is_first = true;
    for (;;) {
        struct lane *lane = NULL;
        xev_threadpool_task *t = take_next_task(p, &lane);
        if (t == NULL) {
            /* What is left in a lane at its cap is for the threads that are running that lane. */
            if (p->shutdown) {
                break;
            }
            sleep_until_roused(p);
            continue;
        }
        if (is_first) {
            rouse(p, UINT64_MAX, true);
            is_first = false;
        }
        run_task(p, lane, t);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Where there are no threads: run all that is queued, and what that queues. The lock is held; it is
 * free while a task runs. A task that schedules others gets here, too, and leaves them to whoever
 * runs it. */
static void run_all_here(struct pool *p) {
    struct lane *lane = NULL;
    if (p->runs_here) {
        return;
    }
    p->runs_here = true;
    for (xev_threadpool_task *t; (t = take_next_task(p, &lane)) != NULL;) {
        run_task(p, lane, t);
    }
    p->runs_here = false;
}

/* --- configuration --- */

void xev_threadpool_config_init(xev_threadpool_config *cfg) {
    check_pointer("xev_threadpool_config_init", "configuration is null", cfg);
    *cfg = (xev_threadpool_config){.stack_size = 0};
    for (unsigned int id = 0; id < XEV_LANE_COUNT; id++) {
        cfg->lane_cap[id] = CAP_DEFAULT;
    }
}

void xev_threadpool_config_set_stack_size(xev_threadpool_config *cfg, uint32_t v) {
    check_pointer("xev_threadpool_config_set_stack_size", "configuration is null", cfg);
    cfg->stack_size = v;
}

void xev_threadpool_config_set_max_threads(xev_threadpool_config *cfg, uint32_t v) {
    check_pointer("xev_threadpool_config_set_max_threads", "configuration is null", cfg);
    cfg->max_threads = v;
}

void xev_threadpool_config_set_lane_cap(xev_threadpool_config *cfg, xev_threadpool_lane lane,
                                        uint32_t max_running) {
    check_pointer("xev_threadpool_config_set_lane_cap", "configuration is null", cfg);
    check_lane("xev_threadpool_config_set_lane_cap", lane);
    cfg->lane_cap[lane] = max_running == CAP_DEFAULT ? 0 : max_running;
}

static uint32_t at_least_1(uint32_t v) { return v > 0 ? v : 1; }

/* Of lane id in a pool of n threads. is_default: the pool chose n itself. */
static uint32_t default_cap(unsigned int id, uint32_t n, bool is_default) {
    assert(n > 0);
    switch (id) {
    case XEV_LANE_CPU:
        return is_default ? n - 1 : n;
    case XEV_LANE_FS:
        return at_least_1(n - at_least_1(n / 4));
    case XEV_LANE_FSYNC:
    case XEV_LANE_DNS:
        return at_least_1(n / 2);
    default:
        return at_least_1(n / 4);
    }
}

static uint32_t default_max_threads(void) {
    uint32_t n = xev__cpu_count();
    if (n < LEAST_DEFAULT_THREADS) {
        n = LEAST_DEFAULT_THREADS;
    }
    return n < XEV_THREADPOOL_MAX_THREADS ? n + 1 : XEV_THREADPOOL_MAX_THREADS;
}

static void lanes_init(struct pool *p, const xev_threadpool_config *cfg) {
    for (unsigned int id = 0; id < XEV_LANE_COUNT; id++) {
        struct lane *lane = &p->lane[id];
        uint32_t cap = cfg->lane_cap[id];
        if (cap == CAP_DEFAULT) {
            cap = default_cap(id, p->max_threads, cfg->max_threads == 0);
        }
        lane->cap = cap == 0 || cap > p->max_threads ? p->max_threads : cap;
        assert(lane->cap > 0);
        lane->sentinel.next = &lane->sentinel;
        lane->sentinel.prev = with_lane(&lane->sentinel, id);
    }
}

/* --- pool --- */

int xev_threadpool_init(xev_threadpool *pool, xev_threadpool_config *cfg) {
    check_pointer("xev_threadpool_init", "pool is null", pool);
    xev_threadpool_config defaults;
    if (cfg == NULL) {
        xev_threadpool_config_init(&defaults);
        cfg = &defaults;
    }
    pool->impl = NULL;
    if (cfg->max_threads > XEV_THREADPOOL_MAX_THREADS) {
        return -EINVAL;
    }
    uint32_t max_threads = cfg->max_threads > 0 ? cfg->max_threads : default_max_threads();
    struct pool *p = calloc(1, sizeof *p + max_threads * sizeof p->thread[0]);
    if (p == NULL) {
        return -ENOMEM;
    }
    p->max_threads = max_threads;
    lanes_init(p, cfg);
    int rc = -pthread_attr_init(&p->attr);
    if (rc != 0) {
        goto free_pool;
    }
    xev__threadpool_cpus_note(&p->cpus);
    rc = xev__threadpool_attr_set_stack(&p->attr, cfg->stack_size);
    if (rc != 0) {
        goto destroy_attr;
    }
    rc = xev__threadpool_lock_init(&p->lock);
    if (rc != 0) {
        goto destroy_attr;
    }
    rc = -pthread_cond_init(&p->wakeup, NULL);
    if (rc != 0) {
        goto destroy_lock;
    }
    pool->impl = p;
    return 0;

destroy_lock:
    pthread_mutex_destroy(&p->lock);
destroy_attr:
    pthread_attr_destroy(&p->attr);
free_pool:
    free(p);
    return rc;
}

void xev_threadpool_shutdown(xev_threadpool *pool) {
    struct pool *p = check_pool("xev_threadpool_shutdown", pool);
    pthread_mutex_lock(&p->lock);
    p->shutdown = true;
    pthread_cond_broadcast(&p->wakeup);
    pthread_mutex_unlock(&p->lock);
}

/* Joins the i-th thread ever started; false: there is none. A thread may still start another to
 * help with what is queued, so the number is read anew each time. */
static bool join_thread(struct pool *p, uint32_t i) {
    pthread_mutex_lock(&p->lock);
    bool exists = i < p->threads;
    pthread_mutex_unlock(&p->lock);
    if (exists) {
        if (pthread_equal(p->thread[i], pthread_self())) {
            misuse("xev_threadpool_deinit", "called by a task of the pool", p);
        }
        pthread_join(p->thread[i], NULL);
    }
    return exists;
}

void xev_threadpool_deinit(xev_threadpool *pool) {
    check_pointer("xev_threadpool_deinit", "pool is null", pool);
    struct pool *p = pool->impl;
    if (p == NULL) {
        return;
    }
    xev_threadpool_shutdown(pool);
    for (uint32_t i = 0; join_thread(p, i); i++) {
    }
    assert(count_runnable(p) == 0);
    assert(p->idle == 0 && p->starting == 0 && p->tokens == 0);
    pthread_cond_destroy(&p->wakeup);
    pthread_mutex_destroy(&p->lock);
    pthread_attr_destroy(&p->attr);
    free(p);
    pool->impl = NULL;
}

static int schedule_batch(const char *call, xev_threadpool *pool, xev_threadpool_batch *batch,
                          xev_threadpool_lane lane) {
    struct pool *p = check_pool(call, pool);
    check_pointer(call, "batch is null", batch);
    check_lane(call, lane);
    uint64_t at_ns = now_ns();
    pthread_mutex_lock(&p->lock);
    int rc = 0;
    if (p->shutdown) {
        rc = -ECANCELED;
    } else if (batch->len > 0 && !xev__threadpool_has_threads) {
        lane_append(p, lane, batch, at_ns);
        xev_threadpool_batch_init(batch);
        run_all_here(p);
    } else if (batch->len > 0) {
        bool is_first = p->threads == 0;
        if (is_first && start_thread(p) != 0) {
            rc = -EAGAIN;
        } else {
            lane_append(p, lane, batch, at_ns);
            rouse(p, batch->len, !is_first);
            /* Here and not below: a task may free what the batch is part of. */
            xev_threadpool_batch_init(batch);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return rc;
}

int xev_threadpool_schedule(xev_threadpool *pool, xev_threadpool_batch *batch) {
    return schedule_batch("xev_threadpool_schedule", pool, batch, XEV_LANE_CPU);
}

int xev_threadpool_schedule_lane(xev_threadpool *pool, xev_threadpool_batch *batch,
                                 xev_threadpool_lane lane) {
    return schedule_batch("xev_threadpool_schedule_lane", pool, batch, lane);
}

bool xev_threadpool_cancel(xev_threadpool *pool, xev_threadpool_task *task) {
    struct pool *p = check_pool("xev_threadpool_cancel", pool);
    check_pointer("xev_threadpool_cancel", "task is null", task);
    pthread_mutex_lock(&p->lock);
    bool was_queued = task->prev != NULL;
    if (was_queued) {
        p->lane[lane_of(task)].cancelled++;
        drop_mark(&p->lane[lane_of(task)], task);
        lane_remove(p, task);
    }
    pthread_mutex_unlock(&p->lock);
    return was_queued;
}

void xev_threadpool_stats(xev_threadpool *pool, xev_threadpool_counters *out) {
    struct pool *p = check_pool("xev_threadpool_stats", pool);
    check_pointer("xev_threadpool_stats", "room for the counters is null", out);
    *out = (xev_threadpool_counters){.max_threads = p->max_threads};
    uint64_t now = now_ns();
    pthread_mutex_lock(&p->lock);
    out->threads = p->threads;
    out->idle = p->idle - p->tokens;
    for (unsigned int id = 0; id < XEV_LANE_COUNT; id++) {
        struct lane *lane = &p->lane[id];
        uint64_t oldest = lane->marks_len > 0 ? mark_at(lane, 0)->since_ns : now;
        out->lane[id] = (xev_threadpool_lane_counters){
            .queued = lane->queued,
            .finished = lane->finished,
            .cancelled = lane->cancelled,
            .peak_queued = lane->peak_queued,
            .waits = lane->waits,
            .wait_ns = lane->wait_ns,
            .wait_max_ns = lane->wait_max_ns,
            .oldest_ns = now > oldest ? now - oldest : 0,
            .running = lane->running,
            .peak_running = lane->peak_running,
            .cap = lane->cap,
        };
        out->queued += lane->queued;
        out->finished += lane->finished;
        out->cancelled += lane->cancelled;
        out->running += lane->running;
    }
    pthread_mutex_unlock(&p->lock);
}

/* --- tasks and batches --- */

void xev_threadpool_task_init(xev_threadpool_task *t, xev_task_cb cb) {
    if (t == NULL || cb == NULL) {
        misuse("xev_threadpool_task_init", "task or callback is null", t);
    }
    t->next = NULL;
    t->prev = NULL;
    t->cb = cb;
}

void xev_threadpool_batch_init(xev_threadpool_batch *b) {
    check_pointer("xev_threadpool_batch_init", "batch is null", b);
    b->head = NULL;
    b->tail = NULL;
    b->len = 0;
}

static void batch_append(xev_threadpool_batch *b, xev_threadpool_task *head,
                         xev_threadpool_task *tail, size_t len) {
    assert(head != NULL && tail != NULL && len > 0);
    assert(b->len == 0 || b->tail != NULL);
    if (b->len == 0) {
        b->head = head;
    } else {
        b->tail->next = head;
    }
    b->tail = tail;
    b->len += len;
}

void xev_threadpool_batch_push_task(xev_threadpool_batch *b, xev_threadpool_task *t) {
    if (b == NULL || t == NULL || t->prev != NULL) {
        misuse("xev_threadpool_batch_push_task", "batch or task is null, or the task is queued", t);
    }
    t->next = NULL;
    batch_append(b, t, t, 1);
}

void xev_threadpool_batch_push_batch(xev_threadpool_batch *b, xev_threadpool_batch *other) {
    if (b == NULL || other == NULL || b == other) {
        misuse("xev_threadpool_batch_push_batch", "a batch is null, or both are the same", other);
    }
    if (other->len > 0) {
        batch_append(b, other->head, other->tail, other->len);
    }
    xev_threadpool_batch_init(other);
}
