/* threadpool/ where the system makes no threads, or nothing of what a pool needs. The target is
 * linked with --wrap for the calls below, so that the test decides which one fails. */
#include "xev/threadpool.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/test.h"
#include "threadpool/threads.h"

int __real_xev__threadpool_thread_create(pthread_t *out, const pthread_attr_t *attr,
                                         void *(*run)(void *), void *arg);
int __wrap_xev__threadpool_thread_create(pthread_t *out, const pthread_attr_t *attr,
                                         void *(*run)(void *), void *arg);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t allowed; /* creations that will succeed */

static void allow(uint32_t n) {
    pthread_mutex_lock(&lock);
    allowed = n;
    pthread_mutex_unlock(&lock);
}

int __wrap_xev__threadpool_thread_create(pthread_t *out, const pthread_attr_t *attr,
                                         void *(*run)(void *), void *arg) {
    pthread_mutex_lock(&lock);
    bool ok = allowed > 0;
    allowed -= ok;
    pthread_mutex_unlock(&lock);
    return ok ? __real_xev__threadpool_thread_create(out, attr, run, arg) : -EAGAIN;
}

static sem_t ran;
static sem_t gate;

static void run_held(xev_threadpool_task *t) {
    (void)t;
    sem_wait(&gate);
    sem_post(&ran);
}

static void setup(xev_threadpool *pool, xev_threadpool_task *t, size_t n, xev_threadpool_batch *b) {
    xev_threadpool_config cfg;
    xev_threadpool_config_init(&cfg);
    xev_threadpool_config_set_max_threads(&cfg, 4);
    CHECK_EQ(xev_threadpool_init(pool, &cfg), 0);
    CHECK_EQ(sem_init(&ran, 0, 0), 0);
    CHECK_EQ(sem_init(&gate, 0, 0), 0);
    xev_threadpool_batch_init(b);
    for (size_t i = 0; i < n; i++) {
        xev_threadpool_task_init(&t[i], run_held);
        xev_threadpool_batch_push_task(b, &t[i]);
    }
}

static uint32_t threads_of(xev_threadpool *pool) {
    xev_threadpool_counters c;
    xev_threadpool_stats(pool, &c);
    return c.threads;
}

TEST(without_any_thread_schedule_takes_nothing) {
    xev_threadpool pool;
    xev_threadpool_task t[3];
    xev_threadpool_batch b;
    setup(&pool, t, 3, &b);
    CHECK_EQ(xev_threadpool_schedule(&pool, &b), -EAGAIN);
    CHECK_EQ(b.len, 3);
    CHECK(b.head == &t[0] && t[0].next == &t[1] && t[1].next == &t[2] && b.tail == &t[2]);
    for (size_t i = 0; i < 3; i++) {
        CHECK(!xev_threadpool_cancel(&pool, &t[i]));
    }
    CHECK_EQ(threads_of(&pool), 0);
    allow(4);
    CHECK_EQ(xev_threadpool_schedule(&pool, &b), 0); /* the same batch, later */
    for (size_t i = 0; i < 3; i++) {
        sem_post(&gate);
        sem_wait(&ran);
    }
    xev_threadpool_deinit(&pool);
}

TEST(without_any_thread_the_pool_deinitialises) {
    xev_threadpool pool;
    xev_threadpool_task t;
    xev_threadpool_batch b;
    setup(&pool, &t, 1, &b);
    CHECK_EQ(xev_threadpool_schedule(&pool, &b), -EAGAIN);
    xev_threadpool_deinit(&pool);
}

TEST(with_fewer_threads_than_wanted_all_tasks_run) {
    enum { N = 10 };
    xev_threadpool pool;
    xev_threadpool_task t[N];
    xev_threadpool_task extra;
    xev_threadpool_batch b;
    setup(&pool, t, N, &b);
    allow(1);
    CHECK_EQ(xev_threadpool_schedule(&pool, &b), 0);
    for (size_t i = 0; i < N - 2; i++) {
        sem_post(&gate);
        sem_wait(&ran);
    }
    CHECK_EQ(threads_of(&pool), 1);
    allow(1); /* better times: a later call tries again */
    xev_threadpool_task_init(&extra, run_held);
    xev_threadpool_batch_push_task(&b, &extra);
    CHECK_EQ(xev_threadpool_schedule(&pool, &b), 0);
    CHECK_EQ(threads_of(&pool), 2);
    for (size_t i = 0; i < 3; i++) {
        sem_post(&gate);
        sem_wait(&ran);
    }
    xev_threadpool_deinit(&pool);
}

/* ---- the calls that make a pool ---- */

static int fails_at; /* the number of the call that fails; 0: none */

#define FAILS_AT_ITS_NUMBER(call, parameters, ...)                                                 \
    int __real_##call parameters;                                                                  \
    int __wrap_##call parameters;                                                                  \
    int __wrap_##call parameters {                                                                 \
        return fails_at > 0 && --fails_at == 0 ? ENOMEM : __real_##call(__VA_ARGS__);              \
    }

FAILS_AT_ITS_NUMBER(pthread_attr_init, (pthread_attr_t * attr), attr)
FAILS_AT_ITS_NUMBER(pthread_attr_setstacksize, (pthread_attr_t * attr, size_t size), attr, size)
FAILS_AT_ITS_NUMBER(pthread_mutexattr_init, (pthread_mutexattr_t * attr), attr)
FAILS_AT_ITS_NUMBER(pthread_cond_init, (pthread_cond_t * cond, const pthread_condattr_t *attr),
                    cond, attr)

TEST(a_pool_that_cannot_be_made_is_an_error_and_leaves_nothing) {
    xev_threadpool_config cfg;
    xev_threadpool pool;
    int n = 0, rc;
    xev_threadpool_config_init(&cfg);
    xev_threadpool_config_set_stack_size(&cfg, 1 << 18);
    do {
        fails_at = ++n;
        rc = xev_threadpool_init(&pool, &cfg);
        CHECK_EQ(rc, fails_at == 0 ? -ENOMEM : 0);
    } while (rc < 0);
    fails_at = 0;
    CHECK_EQ(n, 4 + 1); /* each of the four has failed */
    xev_threadpool_deinit(&pool);
}
