/* Threads that are still inside a call when the runtime has ended because of it. What wakes others
 * is wrapped, and on one thread takes its time afterwards. */
#include "tests/shard_scene.h"

static _Thread_local bool slow;
static atomic_bool over; /* the slow thread is about to leave the call */
static sem_t serving, called;

static void take_time(void) {
    if (slow) {
        sem_give(&called);
        usleep(100000);
        over = true;
    }
}

void __real_xev__event_signal(int fd);
void __wrap_xev__event_signal(int fd);
int __real_xev_async_notify(xev_watcher *w);
int __wrap_xev_async_notify(xev_watcher *w);

void __wrap_xev__event_signal(int fd) {
    __real_xev__event_signal(fd);
    take_time();
}

int __wrap_xev_async_notify(xev_watcher *w) {
    int rc = __real_xev_async_notify(w);
    take_time();
    return rc;
}

static void on_message(xev_shard *self, xev_message *message, void *arg) {
    (void)message;
    (void)arg;
    stop_all(self);
}

static void *stop_slowly(void *arg) {
    (void)arg;
    sem_take(&serving);
    slow = true;
    xev_runtime_stop(&sc.rt);
    return NULL;
}

static void *send_slowly(void *arg) {
    static xev_message message;
    (void)arg;
    sem_take(&serving);
    slow = true;
    CHECK_EQ(xev_shard_send(xev_runtime_shard(&sc.rt, 0), &message, on_message, NULL), 0);
    return NULL;
}

static void *broadcast_slowly(void *arg) {
    static xev_message messages[1];
    (void)arg;
    sem_take(&serving);
    slow = true;
    CHECK_EQ(xev_shard_broadcast(&sc.rt, messages, on_message, NULL), 0);
    return NULL;
}

static void is_serving(xev_shard *self) {
    (void)self;
    sem_give(&serving);
}

static void check_waits(void *(*call)(void *)) {
    sem_new(&serving);
    sem_new(&called);
    over = false;
    sc.body = is_serving;
    pthread_t t = thread_start(call, NULL);
    CHECK_EQ(scene_run(1), 0);
    CHECK(over);
    thread_join(t);
    sem_take(&called);
}

TEST(the_end_waits_for_the_stop_that_brought_it_about) { check_waits(stop_slowly); }
TEST(the_end_waits_for_a_send) { check_waits(send_slowly); }
TEST(the_end_waits_for_a_broadcast) { check_waits(broadcast_slowly); }
