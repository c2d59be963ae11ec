/* A thread's call has ended the runtime, and the thread is still inside that call. The functions
 * that wake other threads are wrapped, and on one thread they return late. */
#include "shard/system.h"
#include "tests/shard_scene.h"

static _Thread_local bool slow;
static atomic_bool over; /* the slow thread is about to leave the call */
static sem_t serving, called;

static _Thread_local sem_t *held_up; /* a call waits for it before it returns */
static atomic_int held;

static void take_time(void) {
    if (held_up != NULL) {
        held++;
        sem_take(held_up);
    }
    if (slow) {
        sem_give(&called);
        usleep(100000);
        over = true;
    }
}

void __real_xev__event_signal(struct xev__event *e);
void __wrap_xev__event_signal(struct xev__event *e);
int __real_xev_async_notify(xev_watcher *w);
int __wrap_xev_async_notify(xev_watcher *w);

void __wrap_xev__event_signal(struct xev__event *e) {
    __real_xev__event_signal(e);
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

/* ---- another runtime's callers ---- */

static xev_runtime other; /* runs, on a thread of its own, while sc.rt does and ends */
static sem_t other_serves, go_on;

static void other_is_up(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    sem_give(&other_serves);
}

static int other_init(xev_shard *self, void *userdata) {
    static xev_message message;
    (void)userdata;
    return xev_shard_send(self, &message, other_is_up, NULL);
}

static void *run_other(void *arg) {
    xev_runtime_options o = {.shards = 1, .no_signals = true, .no_pin = true, .init = other_init};
    (void)arg;
    CHECK_EQ(xev_runtime_run(&other, &o), 0);
    return NULL;
}

static void nothing(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
}

static void *send_to_other(void *arg) {
    static xev_message message;
    held_up = arg;
    CHECK_EQ(xev_shard_send(xev_runtime_shard(&other, 0), &message, nothing, NULL), 0);
    return NULL;
}

static void *broadcast_to_other(void *arg) {
    static xev_message message;
    held_up = arg;
    CHECK_EQ(xev_shard_broadcast(&other, &message, nothing, NULL), 0);
    return NULL;
}

static void *stop_other(void *arg) {
    held_up = arg;
    xev_runtime_stop(&other);
    return NULL;
}

TEST(the_end_of_a_runtime_waits_for_no_call_of_another) {
    sem_new(&other_serves);
    sem_new(&go_on);
    sc.o.no_signals = true;
    pthread_t runs = thread_start(run_other, NULL);
    sem_take(&other_serves);
    pthread_t callers[] = {thread_start(send_to_other, &go_on),
                           thread_start(broadcast_to_other, &go_on)};
    while (held < 2) {
        sched_yield();
    }
    pthread_t stopper = thread_start(stop_other, &go_on);
    while (held < 3) {
        sched_yield();
    }
    sc.body = stop_all;
    CHECK_EQ(scene_run(1), 0); /* while all three are in their calls */
    for (int i = 0; i < 3; i++) {
        sem_give(&go_on);
    }
    thread_join(callers[0]);
    thread_join(callers[1]);
    thread_join(stopper);
    thread_join(runs);
}

/* ---- senders ---- */

enum { LATE_SHARDS = 3 };

static xev_sender sender;
static uint32_t late_shards;

static int open_sender(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(xev_sender_open(&sender, &sc.rt), 0);
    }
    CHECK_EQ(xev_sender_shards(&sender), late_shards);
    CHECK(xev_sender_shard(&sender, xev_shard_id(self)) == self);
    CHECK(xev_sender_shard(&sender, late_shards) == NULL);
    return 0;
}

static void check_late(void) {
    static xev_message message, messages[LATE_SHARDS];
    for (uint32_t i = 0; i < late_shards; i++) {
        xev_shard *shard = xev_sender_shard(&sender, i);
        CHECK_EQ(xev_shard_id(shard), i);
        CHECK_EQ(xev_shard_send(shard, &message, nothing, NULL), XEV_ECANCELED);
        (void)counters_of(shard);
    }
    CHECK_EQ(xev_sender_broadcast(&sender, messages, nothing, NULL), XEV_ECANCELED);
    CHECK_EQ(xev_shard_broadcast(&sc.rt, messages, nothing, NULL), XEV_ECANCELED);
    xev_runtime_stop(&sc.rt);
    xev_sender_close(&sender);
    CHECK_EQ(xev_sender_open(&sender, &sc.rt), XEV_ECANCELED);
}

TEST(a_sender_outlives_its_runtime) {
    late_shards = LATE_SHARDS;
    sc.init = open_sender;
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(late_shards), 0);
    uint32_t fds = descriptors();
    check_late();
    CHECK_EQ(descriptors(), fds); /* it kept none */
}

static int open_and_refuse(xev_shard *self) {
    (void)open_sender(self);
    return xev_shard_id(self) == 1 ? XEV_EPERM : 0;
}

TEST(a_sender_outlives_a_start_that_failed) {
    late_shards = LATE_SHARDS;
    sc.init = open_and_refuse;
    CHECK_EQ(scene_run(late_shards), XEV_EPERM);
    check_late();
}

/* ---- a runtime that is being made ---- */

static sem_t *making; /* given when the memory of shards is asked for, which then takes its time */

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes) {
    if (making != NULL && count * bytes >= 2 * sizeof(xev_loop) + 2 * 4096) {
        sem_t *was = making;
        making = NULL;
        sem_give(was);
        sem_take(&go_on);
    }
    return __real_calloc(count, bytes);
}

static void *call_too_early(void *arg) {
    xev_message messages[2];
    xev_sender early;
    sem_take(arg);
    CHECK_EQ(xev_sender_open(&early, &sc.rt), XEV_ECANCELED);
    CHECK_EQ(xev_shard_broadcast(&sc.rt, messages, nothing, NULL), XEV_ECANCELED);
    xev_runtime_stop(&sc.rt);
    sem_give(&go_on);
    return NULL;
}

TEST(between_two_runs_other_threads_find_no_runtime) {
    sem_t made;
    sem_new(&made);
    sem_new(&go_on);
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(2), 0);
    making = &made;
    pthread_t t = thread_start(call_too_early, &made);
    CHECK_EQ(scene_run(2), 0);
    thread_join(t);
}

/* ---- floods ---- */

static atomic_uint taken, handled, cancelled;

static void count_handled(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    handled++;
    atomic_store((atomic_bool *)arg, false);
}

/* Sends for as long as it may, the whole time in calls; and tells that it may no longer. */
static void *flood(void *arg) {
    static _Thread_local xev_message message;
    static _Thread_local atomic_bool busy;
    xev_shard *to = xev_sender_shard(&sender, 0);
    (void)arg;
    for (;;) {
        if (!busy) {
            busy = true;
            int rc = xev_shard_send(to, &message, count_handled, &busy);
            if (rc == XEV_ECANCELED) {
                break;
            }
            CHECK_EQ(rc, 0);
            taken++;
        } else {
            sched_yield();
        }
    }
    cancelled++;
    return NULL;
}

static void stop_under_flood(xev_shard *self, xev_message *message, void *arg) {
    if (handled < 100) {
        CHECK_EQ(xev_shard_send(self, message, stop_under_flood, arg), 0);
    } else {
        stop_all(self);
    }
}

static void start_flood(xev_shard *self) {
    static xev_message message;
    pthread_t *threads = xev_shard_loop(self)->userdata;
    for (int i = 0; i < 3; i++) {
        threads[i] = thread_start(flood, NULL);
    }
    CHECK_EQ(xev_shard_send(self, &message, stop_under_flood, NULL), 0);
}

static pthread_t flooders[3];

static int open_for_flood(xev_shard *self) {
    xev_shard_loop(self)->userdata = flooders;
    return open_sender(self);
}

TEST(every_message_that_was_taken_is_handled_however_late) {
    late_shards = 1;
    sc.init = open_for_flood;
    sc.body = start_flood;
    sc.o.drain_ms = 1; /* messages do not cease */
    (void)scene_run(late_shards);
    for (int i = 0; i < 3; i++) {
        thread_join(flooders[i]);
    }
    CHECK_EQ(taken, handled);
    CHECK_EQ(cancelled, 3);
    xev_sender_close(&sender);
}
