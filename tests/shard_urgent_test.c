/* Urgent messages: they overtake, are limited, and starve nobody. */
#include "tests/shard_scene.h"

enum { ORDINARY = 200, URGENT = 3, IN_A_ROW = 16 };

static sem_t held, release;
static xev_message hold_message, ordinary[ORDINARY], urgent[URGENT + 1];
static int handled_ordinary, handled_urgent;

/* Shard 0 stands in a handler from held until release. */
static void hold(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    sem_give(&held);
    sem_take(&release);
}

static int hold_zero(xev_shard *self) {
    CHECK_EQ(xev_shard_send(self, &hold_message, hold, NULL), 0);
    return 0;
}

static void take_ordinary(xev_shard *self, xev_message *message, void *arg) {
    (void)arg;
    CHECK(message == &ordinary[handled_ordinary]); /* in order */
    if (++handled_ordinary == ORDINARY) {
        stop_all(self);
    }
}

static void take_urgent(xev_shard *self, xev_message *message, void *arg) {
    CHECK(xev_shard_current() == self);
    CHECK(arg == &handled_urgent);
    CHECK(message == &urgent[handled_urgent]); /* in order */
    CHECK_EQ(handled_ordinary, 0);
    handled_urgent++;
}

/* From a thread of its own, as all go out at once there. */
static pthread_t sender;

static void *send_both(void *arg) {
    xev_shard *zero = arg;
    sem_take(&held);
    for (int i = 0; i < ORDINARY; i++) {
        CHECK_EQ(xev_shard_send(zero, &ordinary[i], take_ordinary, NULL), 0);
    }
    for (int i = 0; i < URGENT; i++) {
        CHECK_EQ(xev_shard_send_urgent(zero, &urgent[i], take_urgent, &handled_urgent), 0);
    }
    sem_give(&release);
    return NULL;
}

static int hold_and_send(xev_shard *self) {
    sender = thread_start(send_both, self);
    return hold_zero(self);
}

TEST(urgent_messages_overtake_ordinary_ones) {
    sem_new(&held);
    sem_new(&release);
    sc.init = hold_and_send;
    CHECK_EQ(scene_run(1), 0);
    thread_join(sender);
    CHECK_EQ(handled_urgent, URGENT);
    CHECK_EQ(handled_ordinary, ORDINARY);
}

/* ---- limits ---- */

static void take_any(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    int *count = arg;
    ++*count;
}

static void take_last(xev_shard *self, xev_message *message, void *arg) {
    take_any(self, message, arg);
    CHECK_EQ(handled_ordinary, 0);
    if (handled_urgent == 1) { /* the one that is being handled is not counted any more */
        CHECK_EQ(xev_shard_send_urgent(self, &urgent[URGENT], take_last, &handled_urgent), 0);
        CHECK_EQ(xev_shard_send_urgent(self, message, take_last, &handled_urgent), XEV_EAGAIN);
    } else if (handled_urgent == URGENT + 1) {
        stop_all(self);
    }
}

static void *send_too_many(void *arg) {
    xev_shard *zero = arg;
    int n = 0;
    sem_take(&held);
    while (xev_shard_send(zero, &ordinary[n], take_any, &handled_ordinary) == 0) {
        n++;
    }
    CHECK_LE(n, 4);
    for (int i = 0; i < URGENT; i++) { /* into a full mailbox */
        CHECK_EQ(xev_shard_send_urgent(zero, &urgent[i], take_last, &handled_urgent), 0);
    }
    for (int i = 0; i < 3; i++) { /* what a refused one took, it gave back */
        CHECK_EQ(xev_shard_send_urgent(zero, &urgent[URGENT], take_last, &handled_urgent),
                 XEV_EAGAIN);
    }
    sem_give(&release);
    return NULL;
}

static int hold_and_send_too_many(xev_shard *self) {
    sender = thread_start(send_too_many, self);
    return hold_zero(self);
}

TEST(the_number_of_urgent_messages_is_limited) {
    sem_new(&held);
    sem_new(&release);
    sc.o.mailbox = 4;
    sc.o.urgent = URGENT;
    sc.init = hold_and_send_too_many;
    CHECK_EQ(scene_run(1), 0);
    thread_join(sender);
    CHECK_EQ(handled_urgent, URGENT + 1);
}

/* ---- fairness ---- */

static int since_ordinary, most_since_ordinary;

/* It sends itself again and again. */
static void take_endless(xev_shard *self, xev_message *message, void *arg) {
    since_ordinary++;
    if (since_ordinary > most_since_ordinary) {
        most_since_ordinary = since_ordinary;
    }
    if (handled_ordinary < ORDINARY) {
        CHECK_EQ(xev_shard_send_urgent(self, message, take_endless, arg), 0);
    }
}

static void take_ordinary_between(xev_shard *self, xev_message *message, void *arg) {
    since_ordinary = 0;
    take_ordinary(self, message, arg);
}

static void *send_endless(void *arg) {
    xev_shard *zero = arg;
    sem_take(&held);
    for (int i = 0; i < ORDINARY; i++) {
        CHECK_EQ(xev_shard_send(zero, &ordinary[i], take_ordinary_between, NULL), 0);
    }
    CHECK_EQ(xev_shard_send_urgent(zero, &urgent[0], take_endless, NULL), 0);
    sem_give(&release);
    return NULL;
}

static int hold_and_send_endless(xev_shard *self) {
    sender = thread_start(send_endless, self);
    return hold_zero(self);
}

TEST(urgent_messages_without_end_let_ordinary_ones_through) {
    sem_new(&held);
    sem_new(&release);
    sc.init = hold_and_send_endless;
    CHECK_EQ(scene_run(1), 0);
    thread_join(sender);
    CHECK_EQ(handled_ordinary, ORDINARY);
    CHECK_GE(most_since_ordinary, 1);
    CHECK_LE(most_since_ordinary, 2 * IN_A_ROW); /* twice where a turn ends in between */
}

static bool ends;
static struct op timer;

static void take_until_the_timer(xev_shard *self, xev_message *message, void *arg) {
    if (timer.calls == 0) {
        CHECK_EQ(xev_shard_send_urgent(self, message, take_until_the_timer, arg), 0);
    } else {
        ends = true;
        stop_all(self);
    }
}

static void send_until_the_timer(xev_shard *self) {
    op_timer(self, &timer, 1);
    CHECK_EQ(xev_shard_send_urgent(self, &urgent[0], take_until_the_timer, NULL), 0);
}

TEST(urgent_messages_without_end_let_timers_fire) {
    sc.body = send_until_the_timer;
    CHECK_EQ(scene_run(1), 0);
    check_op(&timer, 0);
    CHECK(ends);
}

/* ---- all together ---- */

enum { SHARDS = 3, EACH = 20000 };

struct numbered {
    xev_message message;
    uint32_t from, number;
};

/* Of each sender and receiver: [0] ordinary, [1] urgent. The last sender is a foreign thread. */
static struct lane {
    struct numbered *all;
    uint32_t sent, received;
} lanes[SHARDS + 1][SHARDS][2];
static struct op retry[SHARDS];
static atomic_uint left;

static void take_numbered(xev_shard *self, struct numbered *n, int kind) {
    struct lane *lane = &lanes[n->from][xev_shard_id(self)][kind];
    CHECK_EQ(n->number, lane->received);
    lane->received++;
    if (--left == 0) {
        stop_all(self);
    }
}

static void take_numbered_ordinary(xev_shard *self, xev_message *message, void *arg) {
    CHECK(arg == message);
    take_numbered(self, arg, 0);
}

static void take_numbered_urgent(xev_shard *self, xev_message *message, void *arg) {
    CHECK(arg == message);
    take_numbered(self, arg, 1);
}

/* True: there is more to send. */
static bool flood_some(uint32_t from) {
    bool more = false;
    for (uint32_t i = 0; i < SHARDS * 2; i++) {
        struct lane *lane = &lanes[from][i / 2][i % 2];
        xev_shard *to = xev_runtime_shard(&sc.rt, i / 2);
        for (int burst = 0; burst < 100 && lane->sent < rounds(EACH); burst++) {
            struct numbered *n = &lane->all[lane->sent];
            n->from = from;
            n->number = lane->sent;
            int rc = i % 2 == 0 ? xev_shard_send(to, &n->message, take_numbered_ordinary, n)
                                : xev_shard_send_urgent(to, &n->message, take_numbered_urgent, n);
            if (rc == XEV_EAGAIN) {
                break;
            }
            CHECK_EQ(rc, 0);
            lane->sent++;
        }
        more = more || lane->sent < rounds(EACH);
    }
    return more;
}

static xev_cb_action flood_on(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    return flood_some(xev_shard_id(userdata)) ? XEV_REARM : XEV_DISARM;
}

static void flood(xev_shard *self) {
    struct op *o = &retry[xev_shard_id(self)];
    xev_timer_run_ns(NULL, xev_shard_loop(self), &o->c, 200 * 1000, self, flood_on);
    if (xev_shard_id(self) == 0) {
        sem_give(&held);
    }
}

static void *flood_from_outside(void *arg) {
    (void)arg;
    sem_take(&held);
    while (flood_some(SHARDS)) {
        sched_yield();
    }
    return NULL;
}

TEST_TIMEOUT(every_message_of_both_kinds_arrives_once_and_in_order, 60) {
    sem_new(&held);
    left = (SHARDS + 1) * SHARDS * 2 * rounds(EACH);
    for (uint32_t i = 0; i < (SHARDS + 1) * SHARDS * 2; i++) {
        struct lane *lane = &lanes[i / (SHARDS * 2)][i / 2 % SHARDS][i % 2];
        lane->all = calloc(rounds(EACH), sizeof *lane->all);
        CHECK(lane->all != NULL);
    }
    sc.o.mailbox = 300;
    sc.o.urgent = 20;
    sc.body = flood;
    pthread_t t = thread_start(flood_from_outside, NULL);
    CHECK_EQ(scene_run(SHARDS), 0);
    thread_join(t);
    CHECK_EQ(left, 0);
    for (uint32_t i = 0; i < (SHARDS + 1) * SHARDS * 2; i++) {
        free(lanes[i / (SHARDS * 2)][i / 2 % SHARDS][i % 2].all);
    }
}

/* ---- the end ---- */

static xev_sender late;

static int open_late(xev_shard *self) {
    (void)self;
    CHECK_EQ(xev_sender_open(&late, &sc.rt), 0);
    return 0;
}

TEST(an_urgent_message_to_a_shard_that_has_ended_is_refused) {
    sc.o.urgent = 1;
    sc.init = open_late;
    sc.body = zero_stops_all;
    CHECK_EQ(scene_run(1), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(xev_shard_send_urgent(xev_sender_shard(&late, 0), &urgent[0], take_any, &left),
                 XEV_ECANCELED);
    }
    xev_sender_close(&late);
}

static void send_last_word(xev_shard *self) {
    static xev_message last[SHARDS];
    uint32_t id = xev_shard_id(self);
    CHECK_EQ(xev_shard_send_urgent(shard_number(self, 0), &last[id], take_any, &handled_urgent), 0);
}

TEST(urgent_messages_of_stop_callbacks_arrive) {
    sc.body = zero_stops_all;
    sc.stop = send_last_word;
    for (uint32_t i = 0; i < rounds(200); i++) {
        handled_urgent = 0;
        CHECK_EQ(scene_run(SHARDS), 0);
        CHECK_EQ(handled_urgent, SHARDS);
    }
}
