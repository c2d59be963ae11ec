/* What shards measure: turns, callbacks, and how long messages wait. */
#include "tests/shard_scene.h"

static xev_histogram seen;

static uint64_t recorded(const xev_shard *shard, xev_shard_time which) {
    memset(&seen, 0, sizeof seen);
    xev_shard_times(shard, which, &seen);
    return xev_histogram_count(&seen);
}

static struct op ticks;

static void tick_and_stop(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        op_timer(self, &ticks, 1);
        stop_all(self);
    }
}

static void turns_are_recorded(xev_shard *self) {
    CHECK_GT(recorded(self, XEV_SHARD_TURNS), 0);
    CHECK_EQ(recorded(self, XEV_SHARD_CALLBACKS) > 0, sc.o.loop.time_callbacks);
    xev_loop_metrics m;
    xev_loop_metrics_get(xev_shard_loop(self), &m);
    CHECK_EQ(xev_histogram_max(&seen), sc.o.loop.time_callbacks ? m.longest_callback_ns : 0);
}

static void run_with_a_timer(void) {
    sc.body = tick_and_stop;
    sc.stop = turns_are_recorded;
    CHECK_EQ(scene_run(2), 0);
}

TEST(turns_are_recorded_always) { run_with_a_timer(); }

TEST(callbacks_are_recorded_where_that_is_asked_for) {
    sc.o.loop.time_callbacks = true;
    run_with_a_timer();
}

/* ---- delays of messages ---- */

enum { SHARDS = 3, MESSAGES = 200 };

static atomic_uint handled, replied;
static xev_message messages[SHARDS][SHARDS][MESSAGES];
static xev_request requests[SHARDS];

static xev_shard_delays delay_of(const xev_shard *to, uint32_t from) {
    xev_shard_delays d;
    xev_shard_delays_get(to, from, &d);
    return d;
}

static void stop_after_all(xev_shard *self) {
    if (handled == SHARDS * SHARDS * MESSAGES && replied == SHARDS) {
        stop_all(self);
    }
}

static void handle_message(xev_shard *self, xev_message *m, void *arg) {
    uint32_t from = (uint32_t)((uintptr_t)arg - 1), id = xev_shard_id(self);
    CHECK_LT(from, SHARDS);
    CHECK(m >= messages[from][id] && m < messages[from][id] + MESSAGES);
    handled++;
    stop_after_all(self);
}

static void handle_asked(xev_shard *self, xev_request *r, void *arg) {
    (void)self;
    CHECK(arg == &replied);
    xev_shard_reply(r, 5);
}

static void on_replied(xev_shard *self, xev_request *r, int result, void *arg) {
    CHECK(r == &requests[xev_shard_id(self)]);
    CHECK(arg == &replied);
    CHECK_EQ(result, 5);
    replied++;
    stop_after_all(self);
}

static void send_to_all(xev_shard *self) {
    uint32_t id = xev_shard_id(self);
    void *arg = (void *)((uintptr_t)id + 1);
    for (int i = 0; i < MESSAGES; i++) {
        for (uint32_t to = 0; to < SHARDS; to++) {
            CHECK_EQ(
                xev_shard_send(shard_number(self, to), &messages[id][to][i], handle_message, arg),
                0);
        }
    }
    CHECK_EQ(xev_shard_submit_to(shard_number(self, (id + 1) % SHARDS), &requests[id], handle_asked,
                                 &replied, on_replied),
             0);
}

static void check_delays(xev_shard *self) {
    uint64_t samples = 0, sum_ns = 0, max_ns = 0, wanted = recorded(self, XEV_SHARD_DELAYS);
    for (uint32_t from = 0; from < SHARDS; from++) {
        xev_shard_delays d = delay_of(self, from);
        samples += d.samples;
        sum_ns += d.sum_ns;
        max_ns = d.max_ns > max_ns ? d.max_ns : max_ns;
        CHECK_LE(d.max_ns, d.sum_ns);
        CHECK(sc.o.sample_messages == 0 || d.samples > 0);
    }
    CHECK_EQ(samples, wanted);
    CHECK_EQ(sum_ns, xev_histogram_sum(&seen));
    CHECK_EQ(max_ns, xev_histogram_max(&seen));
    CHECK_EQ(delay_of(self, SHARDS).samples, 0); /* no such shard */
    CHECK_LE(samples, sc.o.sample_messages > 0 ? SHARDS * (MESSAGES + 1) : 0);
}

static void run_with_messages(uint32_t sample_messages) {
    sc.o.sample_messages = sample_messages;
    sc.body = send_to_all;
    sc.stop = check_delays;
    CHECK_EQ(scene_run(SHARDS), 0);
    CHECK_EQ(handled, SHARDS * SHARDS * MESSAGES);
    CHECK_EQ(replied, SHARDS);
}

TEST(no_message_is_measured_by_default) { run_with_messages(0); }
TEST(all_messages_may_be_measured_and_arrive_as_ever) { run_with_messages(1); }
TEST(one_in_seven_messages_is_measured) { run_with_messages(7); }

/* ---- a message waits for a shard that is busy ---- */

static sem_t goes_on;
static xev_message first, late;
static atomic_bool arrived;

static void arrive(xev_shard *self, xev_message *m, void *arg) {
    (void)arg;
    CHECK(m == &late);
    arrived = true;
    CHECK_EQ(xev_shard_id(self), 1);
}

/* While the other one sends. */
static void wait_for_the_other(xev_shard *self, xev_message *m, void *arg) {
    (void)m;
    (void)arg;
    CHECK_EQ(xev_shard_id(self), 1);
    sem_take(&goes_on);
}

static uint64_t time_after_ns(uint64_t begin_ns) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec - begin_ns;
}

static xev_cb_action let_it_go(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    uint64_t sent_ns = *(uint64_t *)userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    if (time_after_ns(sent_ns) < 20000000) {
        return XEV_REARM;
    }
    sem_give(&goes_on);
    stop_all(xev_shard_current());
    return XEV_DISARM;
}

static void send_to_a_busy_one(xev_shard *self) {
    static uint64_t sent_ns;
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(xev_shard_send(shard_number(self, 1), &first, wait_for_the_other, NULL), 0);
        CHECK_EQ(xev_shard_send(shard_number(self, 1), &late, arrive, NULL), 0);
        sent_ns = time_after_ns(0);
        xev_timer_run(NULL, xev_shard_loop(self), &ticks.c, 5, &sent_ns, let_it_go);
    }
}

static void check_late(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        CHECK(arrived);
        CHECK_EQ(delay_of(self, 0).samples, 2);
        CHECK_GE(delay_of(self, 0).max_ns, 20000000);
    }
}

TEST(the_time_that_a_message_waits_for_its_shard_is_its_delay) {
    sem_new(&goes_on);
    sc.o.sample_messages = 1;
    sc.body = send_to_a_busy_one;
    sc.stop = check_late;
    CHECK_EQ(scene_run(2), 0);
}
