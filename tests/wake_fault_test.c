/* Wakes that fail: the system refuses the write to a wake descriptor, or the wait of a coordinator.
 * The next call repeats the wake, and no thread spins. The calls are wrapped. */
#include "tests/shard_scene.h"

#include <errno.h>
#include <poll.h>

static atomic_int left; /* writes to wake descriptors that fail */
static atomic_uint failed, polls;
static int code;

ssize_t __real_write(int fd, const void *buf, size_t len_bytes);
ssize_t __wrap_write(int fd, const void *buf, size_t len_bytes);
int __real_poll(struct pollfd *p, nfds_t n, int timeout_ms);
int __wrap_poll(struct pollfd *p, nfds_t n, int timeout_ms);

/* An eventfd, or a pipe. One that is full wakes as well, so it is not lost. */
static bool is_lost(size_t len_bytes) {
    return len_bytes == sizeof(uint64_t) || (len_bytes == 1 && code != EAGAIN);
}

static atomic_bool by_pipe;

ssize_t __wrap_write(int fd, const void *buf, size_t len_bytes) {
    by_pipe = by_pipe || (left > 0 && len_bytes == 1);
    if (left > 0 && is_lost(len_bytes)) {
        left--;
        failed++;
        errno = code;
        return -1;
    }
    return __real_write(fd, buf, len_bytes);
}

static bool polls_fail;

int __wrap_poll(struct pollfd *p, nfds_t n, int timeout_ms) {
    if (polls_fail) {
        polls++;
        errno = EPERM;
        return -1;
    }
    return __real_poll(p, n, timeout_ms);
}

enum { MANY = 1000000 };

/* ---- one loop ---- */

enum who { SAME_WATCHER, OTHER_WATCHER, STOP_IT, WHO };

struct sleeper {
    xev_loop loop;
    xev_watcher watcher, other;
    struct op wait, wait_other;
};

static void *run_loop(void *arg) {
    struct sleeper *s = arg;
    CHECK_EQ(xev_loop_run(&s->loop, XEV_RUN_UNTIL_DONE), 0);
    return NULL;
}

static uint64_t sleeps(const xev_loop *loop) {
    xev_loop_metrics m;
    xev_loop_metrics_get(loop, &m);
    return m.sleeps;
}

static void lose_a_wake(int error, enum who next) {
    struct sleeper s;
    memset(&s, 0, sizeof s);
    CHECK_EQ(xev_loop_init(&s.loop), 0);
    CHECK_EQ(xev_async_init(&s.watcher), 0);
    CHECK_EQ(xev_async_init(&s.other), 0);
    xev_async_wait(&s.watcher, &s.loop, &s.wait.c, &s.wait, op_cb);
    xev_async_wait(&s.other, &s.loop, &s.wait_other.c, &s.wait_other, op_cb);
    xev_completion_unref(&s.wait_other.c);
    pthread_t t = thread_start(run_loop, &s);
    while (sleeps(&s.loop) == 0) {
        sched_yield();
    }
    code = error;
    failed = 0;
    left = MANY;
    CHECK_EQ(xev_async_notify(&s.watcher), 0);
    CHECK(failed >= 1 || (by_pipe && code == EAGAIN)); /* the loop was asleep, and stays so */
    left = 0;
    switch (next) {
    case SAME_WATCHER:
        CHECK_EQ(xev_async_notify(&s.watcher), 0);
        break;
    case OTHER_WATCHER:
        CHECK_EQ(xev_async_notify(&s.other), 0);
        break;
    default:
        xev_loop_stop(&s.loop);
    }
    thread_join(t);
    CHECK_EQ(s.wait.calls, 1);
    xev_loop_deinit(&s.loop);
}

TEST(a_wake_that_failed_is_tried_again_by_the_next) {
    static const int codes[] = {EINTR, EAGAIN, EBADF, ENOMEM, EPERM};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        for (int who = 0; who < WHO; who++) {
            lose_a_wake(codes[i], (enum who)who);
        }
    }
}

/* ---- shards ---- */

static sem_t serving;
static atomic_uint delivered;

static uint64_t sleeps_before;

static void is_serving(xev_shard *self) {
    sleeps_before = counters_of(self).sleeps;
    sem_give(&serving);
}

static void count_delivered(xev_shard *self, xev_message *message, void *arg) {
    (void)message;
    (void)arg;
    if (++delivered == 2) {
        stop_all(self);
    }
}

static void *send_twice(void *arg) {
    static xev_message first, second;
    (void)arg;
    sem_take(&serving);
    xev_shard *to = xev_runtime_shard(&sc.rt, 0);
    while (counters_of(to).sleeps == sleeps_before) {
        sched_yield();
    }
    left = MANY;
    CHECK_EQ(xev_shard_send(to, &first, count_delivered, NULL), 0);
    left = 0;
    CHECK_EQ(xev_shard_send(to, &second, count_delivered, NULL), 0);
    return NULL;
}

TEST(a_message_whose_wake_failed_comes_with_the_next) {
    sem_new(&serving);
    code = EBADF;
    sc.body = is_serving;
    pthread_t t = thread_start(send_twice, NULL);
    CHECK_EQ(scene_run(1), 0);
    thread_join(t);
    CHECK_EQ(delivered, 2);
}

static void *stop_without_wakes(void *arg) {
    sem_take(&serving);
    left = (int)(intptr_t)arg;
    xev_runtime_stop(&sc.rt);
    return NULL;
}

/* The coordinator hears of it all the same, and does not leave sleeping shards to themselves. */
TEST(a_stop_is_heard_though_wakes_fail) {
    sem_new(&serving);
    code = EBADF;
    sc.body = is_serving;
    for (intptr_t n = 1; n <= 40; n += 13) {
        pthread_t t = thread_start(stop_without_wakes, (void *)n);
        CHECK_EQ(scene_run(1), 0);
        thread_join(t);
        left = 0;
    }
}

static xev_cb_action stop_now(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    stop_all(userdata);
    return XEV_DISARM;
}

static int stop_after_a_while(xev_shard *self) {
    static struct op timer;
    xev_timer_run(NULL, xev_shard_loop(self), &timer.c, 100, self, stop_now);
    return 0;
}

/* It waits by poll where kqueue is; on Linux by a futex, which nobody refuses. */
TEST(a_coordinator_whose_wait_is_refused_does_not_spin) {
    const char *backend = getenv("XEV_BACKEND");
    bool waits_by_poll = backend != NULL && strcmp(backend, "kqueue") == 0;
    sc.init = stop_after_a_while;
    polls_fail = true;
    CHECK_EQ(scene_run(1), 0);
    CHECK(!waits_by_poll || polls > 0);
    CHECK_LE(polls, 1000); /* one per ms of a while of 100 */
}
