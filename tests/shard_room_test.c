/* Being told that a mailbox has room again. */
#include "tests/shard_scene.h"

enum { MAILBOX = 4 };

static sem_t held, release;
static xev_message hold_message, filler[2 * MAILBOX];
static xev_request room;
static atomic_int told, handled;

static void hold(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    sem_give(&held);
    sem_take(&release);
}

static int hold_one(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        CHECK_EQ(xev_shard_send(self, &hold_message, hold, NULL), 0);
    }
    return 0;
}

static void take_filler(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    handled++;
}

static void on_room(xev_shard *self, xev_request *request, int result, void *arg) {
    static xev_message again;
    CHECK(request == &room);
    CHECK(arg == &told);
    CHECK_EQ(xev_shard_id(self), 0);
    CHECK_EQ(result, 0);
    CHECK_GE(handled, 1);
    CHECK_EQ(++told, 1);
    memset(&room, 0xa5, sizeof room); /* ours again */
    CHECK_EQ(xev_shard_send(shard_number(self, 1), &again, take_filler, NULL), 0);
    stop_all(self);
}

static xev_cb_action let_go(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    CHECK_EQ(result, 0);
    CHECK_EQ(told, 0);
    sem_give(&release);
    return XEV_DISARM;
}

static void zero_fills_and_waits(xev_shard *self) {
    static xev_completion timer;
    if (xev_shard_id(self) != 0) {
        return;
    }
    sem_take(&held);
    int n = 0;
    while (xev_shard_send(shard_number(self, 1), &filler[n], take_filler, NULL) == 0) {
        n++;
    }
    CHECK_LE(n, MAILBOX);
    CHECK_EQ(xev_shard_await_room(shard_number(self, 1), &room, &told, on_room), 0);
    /* A later turn, by when it is sent. */
    xev_timer_run(NULL, xev_shard_loop(self), &timer, 1, NULL, let_go);
}

TEST(a_sender_is_told_once_when_a_mailbox_has_room) {
    sem_new(&held);
    sem_new(&release);
    sc.o.mailbox = MAILBOX;
    sc.init = hold_one;
    sc.body = zero_fills_and_waits;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(told, 1);
}

/* ---- no timer is needed ---- */

enum { SHARDS = 3, EACH = 5000 };

/* From each to each, itself included. */
static struct lane {
    xev_message *all;
    xev_request room;
    uint32_t sent, received;
    xev_shard *to;
    bool waits;
} lanes[SHARDS][SHARDS];
static atomic_uint left, waits;

static void take_numbered(xev_shard *self, xev_message *message, void *arg) {
    struct lane *lane = arg;
    CHECK(lane->to == self);
    CHECK(message == &lane->all[lane->received]);
    lane->received++;
    if (--left == 0) {
        stop_all(self);
    }
}

static void send_on(struct lane *lane);

static void go_on(xev_shard *self, xev_request *request, int result, void *arg) {
    struct lane *lane = arg;
    (void)self;
    CHECK(request == &lane->room);
    CHECK_EQ(result, 0);
    CHECK(lane->waits);
    lane->waits = false;
    send_on(lane);
}

static void send_on(struct lane *lane) {
    while (lane->sent < rounds(EACH)) {
        int rc = xev_shard_send(lane->to, &lane->all[lane->sent], take_numbered, lane);
        if (rc == XEV_EAGAIN) {
            lane->waits = true;
            waits++;
            CHECK_EQ(xev_shard_await_room(lane->to, &lane->room, lane, go_on), 0);
            return;
        }
        CHECK_EQ(rc, 0);
        lane->sent++;
    }
}

static void send_to_all(xev_shard *self) {
    for (uint32_t i = 0; i < SHARDS; i++) {
        send_on(&lanes[xev_shard_id(self)][i]);
    }
}

static int make_lanes(xev_shard *self) {
    for (uint32_t i = 0; i < SHARDS; i++) {
        lanes[i][xev_shard_id(self)].to = self;
    }
    return 0;
}

static void check_lanes(uint32_t mailbox) {
    left = SHARDS * SHARDS * rounds(EACH);
    for (uint32_t i = 0; i < SHARDS * SHARDS; i++) {
        struct lane *lane = &lanes[i / SHARDS][i % SHARDS];
        lane->all = calloc(rounds(EACH), sizeof *lane->all);
        CHECK(lane->all != NULL);
    }
    sc.o.mailbox = mailbox;
    sc.init = make_lanes;
    sc.body = send_to_all;
    CHECK_EQ(scene_run(SHARDS), 0);
    CHECK_EQ(left, 0);
    CHECK_GE(waits, SHARDS);
    for (uint32_t i = 0; i < SHARDS * SHARDS; i++) {
        free(lanes[i / SHARDS][i % SHARDS].all);
    }
}

TEST_TIMEOUT(senders_that_wait_for_room_get_all_through, 60) { check_lanes(50); }
TEST_TIMEOUT(senders_that_wait_for_room_get_all_through_mailboxes_of_one, 60) { check_lanes(1); }

/* ---- the end ---- */

static void room_wanted_too_late(xev_shard *self) {
    CHECK_EQ(xev_shard_await_room(shard_number(self, 0), &room, &told, on_room), XEV_ECANCELED);
    CHECK_EQ(xev_shard_await_room(shard_number(self, 1), &room, &told, on_room), XEV_ECANCELED);
    handled++;
}

TEST(a_wait_for_room_of_a_shard_that_has_ended_is_refused) {
    sc.body = zero_stops_all;
    sc.deinit = room_wanted_too_late;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(handled, 2);
}

/* A timer that holds no drain waits for room again and again, while other shards end. */
static struct waiter {
    xev_completion timer;
    xev_request rooms[2];
    int waiting;
    uint32_t times;
} waiters[SHARDS];

static void on_room_again(xev_shard *self, xev_request *request, int result, void *arg) {
    struct waiter *w = arg;
    (void)request;
    CHECK(w == &waiters[xev_shard_id(self)]);
    CHECK(result == 0 || result == XEV_ECANCELED);
    w->waiting--;
}

static xev_cb_action wait_again(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_shard *self = userdata;
    struct waiter *w = &waiters[xev_shard_id(self)];
    (void)loop;
    (void)c;
    for (uint32_t i = 0; result == 0 && w->waiting == 0 && w->times < 100 && i < 2; i++) {
        xev_shard *to = shard_number(self, (xev_shard_id(self) + 1 + i) % SHARDS);
        int rc = xev_shard_await_room(to, &w->rooms[i], w, on_room_again);
        CHECK(rc == 0 || rc == XEV_ECANCELED);
        w->waiting += rc == 0;
        w->times++;
    }
    return XEV_REARM;
}

static void wait_and_stop(xev_shard *self) {
    struct waiter *w = &waiters[xev_shard_id(self)];
    xev_timer_run_ns(NULL, xev_shard_loop(self), &w->timer, 20 * 1000, self, wait_again);
    xev_completion_unref(&w->timer);
    zero_stops_all(self);
}

static void check_not_waiting(xev_shard *self) { CHECK_EQ(waiters[xev_shard_id(self)].waiting, 0); }

TEST(a_shard_does_not_end_while_it_waits_for_room) {
    sc.body = wait_and_stop;
    sc.deinit = check_not_waiting;
    for (uint32_t i = 0; i < rounds(100); i++) {
        memset(waiters, 0, sizeof waiters);
        CHECK_EQ(scene_run(SHARDS), 0);
    }
}
