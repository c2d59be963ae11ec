/* What it costs to wake a shard: one write, no read, and only where it sleeps. Wrappers count the
 * calls on wake descriptors, which are the only ones here that are 8 bytes long. */
#include "tests/shard_scene.h"
#include "xev/ask.h"

static atomic_uint reads, writes;

ssize_t __real_read(int fd, void *data, size_t len);
ssize_t __wrap_read(int fd, void *data, size_t len);
ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);

ssize_t __wrap_read(int fd, void *data, size_t len) {
    reads += len == sizeof(uint64_t);
    return __real_read(fd, data, len);
}

ssize_t __wrap_write(int fd, const void *data, size_t len) {
    writes += len == sizeof(uint64_t);
    return __real_write(fd, data, len);
}

/* ---- one ask at a time: both shards sleep in between ---- */

enum { ASKS = 200 }; /* each waits twice for a turn on a processor */

static uint32_t asked;

static void answer_nothing(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    xev_ask_answer(ask, 0, NULL, 0);
}

static void ask_next(xev_shard *self);

static void on_answer(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_EQ(result, 0);
    ask_next(self);
}

static void ask_next(xev_shard *self) {
    if (asked++ == ASKS) {
        CHECK_LE(writes, 2 * ASKS);
        CHECK_EQ(reads, 0);
        stop_all(self);
        return;
    }
    xev_shard *one = shard_number(self, 1);
    CHECK_EQ(xev_shard_ask(one, NULL, 0, 0, answer_nothing, NULL, on_answer), 0);
}

static void zero_asks_one_by_one(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        reads = writes = 0;
        ask_next(self);
    }
}

TEST(an_ask_and_its_answer_cost_two_writes_and_no_read) {
    sc.body = zero_asks_one_by_one;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(asked, ASKS + 1);
}

/* ---- many messages of one turn ---- */

enum { TURNS = 100, BURST = 100 };

static xev_message burst[BURST];
static atomic_int burst_left;
static struct op next_burst;
static uint32_t bursts;

static void take_one(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    burst_left--;
}

static xev_cb_action send_burst(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    if (burst_left > 0) {
        return XEV_REARM; /* the messages are still the other shard's */
    }
    if (bursts++ == TURNS) {
        CHECK_LE(writes, TURNS);
        CHECK_EQ(reads, 0);
        stop_all(userdata);
        return XEV_DISARM;
    }
    burst_left = BURST;
    for (int i = 0; i < BURST; i++) {
        CHECK_EQ(xev_shard_send(shard_number(userdata, 1), &burst[i], take_one, NULL), 0);
    }
    return XEV_REARM;
}

static void zero_sends_bursts(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        reads = writes = 0;
        xev_timer_run_ns(NULL, xev_shard_loop(self), &next_burst.c, 50 * 1000, self, send_burst);
    }
}

TEST(the_messages_of_a_turn_cost_one_write) {
    sc.body = zero_sends_bursts;
    CHECK_EQ(scene_run(2), 0);
}

/* ---- a shard that is awake ---- */

static sem_t held, release;
static xev_message hold_message, urgent;

static void hold(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    sem_give(&held);
    sem_take(&release);
}

static int hold_one(xev_shard *self) {
    return xev_shard_id(self) == 1 ? xev_shard_send(self, &hold_message, hold, NULL) : 0;
}

static xev_cb_action send_another(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    if (bursts == BURST) {
        CHECK_EQ(writes, 0);
        CHECK_EQ(reads, 0);
        sem_give(&release);
        stop_all(userdata);
        return XEV_DISARM;
    }
    xev_shard *one = shard_number(userdata, 1);
    if (bursts == 0) {
        CHECK_EQ(xev_shard_send_urgent(one, &urgent, take_one, NULL), 0);
    }
    CHECK_EQ(xev_shard_send(one, &burst[bursts++], take_one, NULL), 0);
    return XEV_REARM; /* each in a turn of its own */
}

static void zero_sends_while_one_is_awake(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        sem_take(&held);
        reads = writes = 0;
        xev_timer_run_ns(NULL, xev_shard_loop(self), &next_burst.c, 50 * 1000, self, send_another);
    }
}

TEST(a_shard_that_is_awake_is_not_woken) {
    sem_new(&held);
    sem_new(&release);
    sc.init = hold_one;
    sc.body = zero_sends_while_one_is_awake;
    CHECK_EQ(scene_run(2), 0);
}
