/* Messages between shards: delivery, order, limits, wakes, and the end. Requests are in
 * shard_request_test.c. */
#include "tests/shard_scene.h"

/* ---- delivery ---- */

struct letter {
    xev_message message;
    int text; /* plain: what was written before the sending is visible to the handler */
    xev_shard *to;
};

static atomic_int left;

static void read_letter(xev_shard *self, xev_message *message, void *arg) {
    struct letter *l = arg;
    CHECK(message == &l->message);
    CHECK(xev_shard_current() == self);
    CHECK(l->to == self);
    CHECK_EQ(l->text, 42);
    l->text = 0;
    if (--left == 0) {
        stop_all(self);
    }
}

static void send_letter(xev_shard *to, struct letter *l) {
    l->to = to;
    l->text = 42;
    CHECK_EQ(xev_shard_send(to, &l->message, read_letter, l), 0);
}

static struct letter letters[SCENE_SHARDS];

static void zero_writes_to_all(xev_shard *self) {
    for (uint32_t i = 0; xev_shard_id(self) == 0 && i < shards_of(self); i++) {
        send_letter(shard_number(self, i), &letters[i]);
        CHECK_EQ(letters[i].text, 42); /* not even to itself within the call */
    }
}

TEST(send_to_other_shards_and_to_itself) {
    left = 4;
    sc.body = zero_writes_to_all;
    CHECK_EQ(scene_run(4), 0);
    CHECK_EQ(left, 0);
}

static sem_t begun;

static void zero_tells(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        sem_give(&begun);
    }
}

static void *write_from_outside(void *arg) {
    (void)arg;
    sem_take(&begun);
    for (uint32_t i = 0; i < 4; i++) {
        send_letter(xev_runtime_shard(&sc.rt, i), &letters[i]);
    }
    return NULL;
}

TEST(send_from_a_foreign_thread) {
    left = 4;
    sem_new(&begun);
    sc.body = zero_tells;
    pthread_t t = thread_start(write_from_outside, NULL);
    CHECK_EQ(scene_run(4), 0);
    thread_join(t);
    CHECK_EQ(left, 0);
}

static int write_at_init(xev_shard *self) {
    zero_writes_to_all(self);
    return 0;
}

static void check_all_up(xev_shard *self) {
    (void)self;
    CHECK_EQ(logged(INIT), 4);
}

TEST(send_during_init_arrives_when_the_shards_serve) {
    left = 4;
    sc.init = write_at_init;
    sc.body = check_all_up;
    CHECK_EQ(scene_run(4), 0);
    CHECK_EQ(left, 0);
}

static void free_letter(xev_shard *self, xev_message *message, void *arg) {
    CHECK(arg == message);
    memset(message, 0xa5, sizeof *message);
    free(message);
    if (--left == 0) {
        stop_all(self);
    }
}

static void zero_sends_heap(xev_shard *self) {
    for (int i = 0; xev_shard_id(self) == 0 && i < 1000; i++) {
        xev_message *m = malloc(sizeof *m);
        CHECK(m != NULL);
        CHECK_EQ(xev_shard_send(shard_number(self, (uint32_t)i % 2), m, free_letter, m), 0);
    }
}

TEST(a_handler_may_free_its_message) {
    left = 1000;
    sc.body = zero_sends_heap;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(left, 0);
}

/* ---- exactly once, in order ---- */

enum { FLOOD_SHARDS = 4, FLOOD_BURST = 2000 };

struct numbered {
    xev_message message;
    uint32_t from, number;
};

/* One per sender and receiver; the last sender is a foreign thread. */
struct lane {
    struct numbered *all;
    uint32_t sent;     /* the sender's */
    uint32_t received; /* the receiver's */
};
static struct lane lanes[FLOOD_SHARDS + 1][FLOOD_SHARDS];
static uint32_t flood_each;
static struct op flood_retry[FLOOD_SHARDS];
static atomic_uint flood_left;

static void take_numbered(xev_shard *self, xev_message *message, void *arg) {
    struct numbered *n = arg;
    CHECK(message == &n->message);
    struct lane *lane = &lanes[n->from][xev_shard_id(self)];
    CHECK_EQ(n->number, lane->received);
    lane->received++;
    if (--flood_left == 0) {
        stop_all(self);
    }
}

/* A burst to each; true where there is more to send. */
static bool flood_some(uint32_t from, uint32_t shards) {
    bool more = false;
    for (uint32_t to = 0; to < shards; to++) {
        struct lane *lane = &lanes[from][to];
        for (int i = 0; i < FLOOD_BURST && lane->sent < flood_each; i++) {
            struct numbered *n = &lane->all[lane->sent];
            n->from = from;
            n->number = lane->sent;
            xev_shard *s = xev_runtime_shard(&sc.rt, to);
            int rc = xev_shard_send(s, &n->message, take_numbered, n);
            if (rc == XEV_EAGAIN) {
                break;
            }
            CHECK_EQ(rc, 0);
            lane->sent++;
        }
        more = more || lane->sent < flood_each;
    }
    return more;
}

static xev_cb_action flood_on(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_shard *self = userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    return flood_some(xev_shard_id(self), shards_of(self)) ? XEV_REARM : XEV_DISARM;
}

static void flood(xev_shard *self) {
    struct op *o = &flood_retry[xev_shard_id(self)];
    /* Whoever is refused leaves the CPU to the receivers for a while. */
    xev_timer_run_ns(NULL, xev_shard_loop(self), &o->c, 200 * 1000, self, flood_on);
    if (xev_shard_id(self) == 0) {
        sem_give(&begun);
    }
}

static void *flood_from_outside(void *arg) {
    uint32_t shards = *(uint32_t *)arg;
    sem_take(&begun);
    while (flood_some(FLOOD_SHARDS, shards)) {
        sched_yield();
    }
    return NULL;
}

static void check_flood(uint32_t shards, uint32_t each, uint32_t mailbox) {
    sem_new(&begun);
    flood_each = rounds(each);
    flood_left = flood_each * shards * (shards + 1);
    for (uint32_t from = 0; from <= FLOOD_SHARDS; from++) {
        for (uint32_t to = 0; to < shards; to++) {
            struct lane *lane = &lanes[from][to];
            *lane = (struct lane){.all = calloc(flood_each, sizeof *lane->all)};
            CHECK(lane->all != NULL);
        }
    }
    sc.body = flood;
    sc.o.mailbox = mailbox;
    pthread_t t = thread_start(flood_from_outside, &shards);
    CHECK_EQ(scene_run(shards), 0);
    thread_join(t);
    CHECK_EQ(flood_left, 0);
    for (uint32_t from = 0; from <= FLOOD_SHARDS; from++) {
        bool took_part = from < shards || from == FLOOD_SHARDS;
        for (uint32_t to = 0; to < shards; to++) {
            CHECK_EQ(lanes[from][to].received, took_part ? flood_each : 0);
            free(lanes[from][to].all);
        }
    }
}

TEST_TIMEOUT(every_message_arrives_once_and_in_order, 60) { check_flood(3, 100000, 0); }
TEST_TIMEOUT(every_message_arrives_once_and_in_order_by_small_mailboxes, 60) {
    check_flood(4, 5000, 16);
}
TEST_TIMEOUT(every_message_arrives_once_by_mailboxes_of_one, 60) { check_flood(2, 2000, 1); }

/* ---- limits ---- */

enum { SMALL = 8 };

static sem_t held, release;
static xev_message hold_message;
static struct letter many[4 * SMALL];
static uint32_t accepted, refused;

/* Shard 1 stands in a handler from held until release. */
static void hold(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    sem_give(&held);
    sem_take(&release);
}

static xev_cb_action send_rest(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_shard *self = userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    while (accepted < 4 * SMALL) {
        struct letter *l = &many[accepted];
        l->to = shard_number(self, 1);
        l->text = 42;
        int rc = xev_shard_send(l->to, &l->message, read_letter, l);
        if (rc == XEV_EAGAIN) {
            refused++;
            CHECK_EQ(counters_of(self).messages_refused, refused);
            return XEV_REARM;
        }
        CHECK_EQ(rc, 0);
        accepted++;
    }
    return XEV_DISARM;
}

static xev_completion rest;

static void fill_mailbox_of_one(xev_shard *self) {
    if (xev_shard_id(self) != 0) {
        return;
    }
    sem_take(&held);
    for (uint32_t i = 0; i < 4 * SMALL; i++) {
        many[i].to = shard_number(self, 1);
        many[i].text = 42;
        int rc = xev_shard_send(many[i].to, &many[i].message, read_letter, &many[i]);
        if (rc != 0) {
            CHECK_EQ(rc, XEV_EAGAIN);
            /* Still ours: nobody will mind what becomes of it. */
            memset(&many[i], 0xa5, sizeof many[i]);
            break;
        }
        accepted++;
    }
    /* Those handled in this turn, the scene's and the held one, may still be counted. */
    CHECK_GE(accepted, SMALL - 2);
    CHECK_LE(accepted, SMALL);
    CHECK_EQ(counters_of(self).messages_refused, 1);
    CHECK_EQ(counters_of(shard_number(self, 1)).messages_refused, 0);
    refused = 1;
    sem_give(&release);
    xev_timer_run(NULL, xev_shard_loop(self), &rest, 0, self, send_rest);
}

static int hold_one(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        CHECK_EQ(xev_shard_send(self, &hold_message, hold, NULL), 0);
    }
    return 0;
}

TEST(a_full_mailbox_refuses_and_the_message_stays_the_senders) {
    sem_new(&held);
    sem_new(&release);
    left = 4 * SMALL;
    sc.o.mailbox = SMALL;
    sc.init = hold_one;
    sc.body = fill_mailbox_of_one;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(accepted, 4 * SMALL);
    CHECK_EQ(left, 0);
}

static char wide[1];
static atomic_int wide_got[3];
static xev_message wide_messages[3];

static void take_wide(xev_shard *self, xev_message *message, void *arg) {
    CHECK(message == &wide_messages[xev_shard_id(self)]);
    CHECK(arg == wide);
    wide_got[xev_shard_id(self)]++;
    if (--left == 0) {
        stop_all(self);
    }
}

static int broadcast(xev_shard *self) {
    return xev_shard_broadcast(xev_shard_runtime(self), wide_messages, take_wide, wide);
}

static void zero_broadcasts(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(broadcast(self), 0);
    }
}

TEST(broadcast_reaches_every_shard) {
    left = 3;
    sc.body = zero_broadcasts;
    CHECK_EQ(scene_run(3), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(wide_got[i], 1);
    }
}

static void *broadcast_from_outside(void *arg) {
    (void)arg;
    sem_take(&begun);
    CHECK_EQ(xev_shard_broadcast(&sc.rt, wide_messages, take_wide, wide), 0);
    return NULL;
}

TEST(broadcast_from_a_foreign_thread) {
    left = 3;
    sem_new(&begun);
    sc.body = zero_tells;
    pthread_t t = thread_start(broadcast_from_outside, NULL);
    CHECK_EQ(scene_run(3), 0);
    thread_join(t);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(wide_got[i], 1);
    }
}

static xev_message filler[3][SMALL];
static atomic_int fillers;

static void take_filler(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    fillers++;
}

static uint32_t fill_up(xev_shard *to, uint32_t id) {
    for (uint32_t i = 0; i < SMALL; i++) {
        int rc = xev_shard_send(to, &filler[id][i], take_filler, NULL);
        if (rc != 0) {
            CHECK_EQ(rc, XEV_EAGAIN);
            return i;
        }
    }
    return SMALL;
}

static xev_cb_action broadcast_until_done(xev_loop *loop, xev_completion *c, int result,
                                          void *userdata) {
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    int rc = broadcast(userdata);
    CHECK(rc == 0 || rc == XEV_EAGAIN);
    return rc == 0 ? XEV_DISARM : XEV_REARM;
}

static void broadcast_past_a_full_one(xev_shard *self) {
    if (xev_shard_id(self) != 0) {
        return;
    }
    sem_take(&held);
    uint32_t n = fill_up(shard_number(self, 1), 1);
    uint64_t before = counters_of(self).messages_refused;
    for (int i = 0; i < 3 * SMALL; i++) { /* what a refused one took, it gave back */
        CHECK_EQ(broadcast(self), XEV_EAGAIN);
    }
    CHECK_EQ(counters_of(self).messages_refused, before + 3 * SMALL);
    n += fill_up(shard_number(self, 2), 2);
    CHECK_GE(n, 2 * (SMALL - 2));
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(wide_got[i], 0);
    }
    sem_give(&release);
    xev_timer_run(NULL, xev_shard_loop(self), &rest, 0, self, broadcast_until_done);
}

TEST(broadcast_sends_all_or_none) {
    sem_new(&held);
    sem_new(&release);
    left = 3;
    sc.o.mailbox = SMALL;
    sc.init = hold_one;
    sc.body = broadcast_past_a_full_one;
    CHECK_EQ(scene_run(3), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(wide_got[i], 1);
    }
}

/* A foreign thread that is refused again and again while the shards drain must not keep the drain
 * from seeing that nothing is left. */
static atomic_bool outside_ends;
static sem_t outside_ended;

static void *outside_is_refused(void *arg) {
    static xev_message spare[2];
    (void)arg;
    sem_take(&held);
    while (!outside_ends) {
        int rc = xev_shard_broadcast(&sc.rt, spare, take_filler, NULL);
        if (rc == 0) {
            break; /* theirs now */
        }
        CHECK(rc == XEV_EAGAIN || rc == XEV_ECANCELED);
    }
    sem_give(&outside_ended);
    return NULL;
}

static void zero_fills_one_and_stops(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        while (fill_up(shard_number(self, 1), 1) == SMALL) {
        }
        stop_all(self);
    }
}

static void zero_releases(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        sem_give(&release);
    }
}

static void end_outside(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        outside_ends = true;
        sem_take(&outside_ended); /* it may use the runtime only while that runs */
    }
}

TEST(refused_senders_do_not_hold_the_drain) {
    for (uint32_t i = 0; i < rounds(100); i++) {
        sem_new(&held);
        sem_new(&release);
        sem_new(&outside_ended);
        outside_ends = false;
        sc.o.mailbox = SMALL / 2;
        sc.o.drain_ms = HOUR_MS;
        sc.init = hold_one;
        sc.body = zero_fills_one_and_stops;
        sc.drain = zero_releases;
        sc.stop = end_outside;
        pthread_t t = thread_start(outside_is_refused, NULL);
        CHECK_EQ(scene_run(2), 0);
        thread_join(t);
    }
}

/* ---- wakes ---- */

enum { NAPS = 200 };
static atomic_int naps;
static atomic_ullong sleeps_seen;

static void note_sleeps(xev_shard *self, xev_message *message, void *arg) {
    (void)message;
    (void)arg;
    sleeps_seen = counters_of(self).sleeps;
    naps++;
}

static void zero_notes_sleeps_and_tells(xev_shard *self) {
    sleeps_seen = counters_of(self).sleeps;
    zero_tells(self);
}

static void *wake_from_outside(void *arg) {
    static xev_message m;
    (void)arg;
    sem_take(&begun);
    xev_shard *zero = xev_runtime_shard(&sc.rt, 0);
    for (int i = 0; i < NAPS; i++) {
        /* The first one too: a message to a shard that is about to sleep may wake it in vain. */
        while (counters_of(zero).sleeps <= sleeps_seen) {
            sched_yield();
        }
        uint64_t wakes = counters_of(zero).wakes;
        CHECK_EQ(xev_shard_send(zero, &m, note_sleeps, NULL), 0);
        while (naps == i) {
            sched_yield();
        }
        CHECK_EQ(counters_of(zero).wakes, wakes + 1);
    }
    xev_runtime_stop(&sc.rt);
    return NULL;
}

TEST(a_sleeping_shard_is_woken_once_per_sleep) {
    sem_new(&begun);
    sc.body = zero_notes_sleeps_and_tells;
    pthread_t t = thread_start(wake_from_outside, NULL);
    CHECK_EQ(scene_run(1), 0);
    thread_join(t);
}

static atomic_int sent_to_busy;
static xev_message to_busy[200], nudge;
static xev_shard *busy;

static void send_one_per_turn(xev_shard *self, xev_message *message, void *arg) {
    int i = sent_to_busy;
    CHECK_EQ(xev_shard_send(busy, &to_busy[i], take_filler, NULL), 0);
    if (i < 99) {
        CHECK_EQ(xev_shard_send(self, message, send_one_per_turn, arg), 0);
    }
    sent_to_busy = i + 1;
}

static void *send_to_busy(void *arg) {
    (void)arg;
    for (int i = 100; i < 200; i++) {
        CHECK_EQ(xev_shard_send(busy, &to_busy[i], take_filler, NULL), 0);
    }
    return NULL;
}

/* In a later turn, when the nudge has left. */
static void stay_busy(xev_shard *self, xev_message *message, void *arg) {
    (void)message;
    (void)arg;
    uint64_t before = counters_of(self).wakes;
    pthread_t t = thread_start(send_to_busy, NULL);
    thread_join(t);
    while (sent_to_busy < 100) {
        sched_yield();
    }
    CHECK_EQ(counters_of(self).wakes, before);
    stop_all(self);
}

static void nudge_and_stay_busy(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        busy = self;
        CHECK_EQ(xev_shard_send(shard_number(self, 1), &nudge, send_one_per_turn, NULL), 0);
        CHECK_EQ(xev_shard_send(self, &hold_message, stay_busy, NULL), 0);
    }
}

TEST(a_shard_that_is_awake_is_not_woken) {
    sc.body = nudge_and_stay_busy;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(fillers, 200);
}

/* ---- the end ---- */

static xev_message last_word[SCENE_SHARDS][SCENE_SHARDS];
static uint32_t heard[SCENE_SHARDS]; /* each its receiver's */

static void hear(xev_shard *self, xev_message *message, void *arg) {
    (void)message;
    (void)arg;
    heard[xev_shard_id(self)]++;
}

static void say_to_all(xev_shard *self) {
    uint32_t id = xev_shard_id(self);
    for (uint32_t i = 0; i < shards_of(self); i++) {
        CHECK_EQ(xev_shard_send(shard_number(self, i), &last_word[id][i], hear, NULL), 0);
    }
}

static void check_heard_all(xev_shard *self) {
    CHECK_EQ(heard[xev_shard_id(self)], shards_of(self));
}

TEST(what_stop_sends_is_delivered_before_deinit) {
    sc.body = zero_stops_all;
    sc.stop = say_to_all;
    sc.deinit = check_heard_all;
    for (uint32_t i = 0; i < rounds(200); i++) {
        memset(heard, 0, sizeof heard);
        CHECK_EQ(scene_run(5), 0);
    }
}

TEST(what_drain_sends_is_delivered_before_stop) {
    sc.body = zero_stops_all;
    sc.drain = say_to_all;
    sc.stop = check_heard_all;
    CHECK_EQ(scene_run(5), 0);
}

/* Shard 1 says its last word, in memory that its deinit frees, while callbacks of shard 0 keep that
 * from handling it for as long as the coordinator needs to go on. */
static xev_message *word_of_one;
static xev_completion busy_timer;

static xev_cb_action be_busy(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    static int calls;
    if (result != 0 || calls == 3) {
        return XEV_DISARM;
    }
    if (calls++ == 0) {
        sem_give(&held);
        sem_take(&release);
    }
    usleep(50000);
    return XEV_REARM;
}

static void zero_gets_busy(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        xev_timer_run_ns(NULL, xev_shard_loop(self), &busy_timer, 100, NULL, be_busy);
        xev_completion_unref(&busy_timer);
    } else {
        sem_take(&held);
    }
}

static void one_says_its_last_word(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        xev_message *m = malloc(sizeof *m);
        CHECK(m != NULL);
        CHECK_EQ(xev_shard_send(shard_number(self, 0), m, hear, NULL), 0);
        word_of_one = m;
        sem_give(&release);
    }
}

static void one_frees_its_last_word(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        CHECK_EQ(heard[0], 1);
        free(word_of_one);
    }
}

TEST(a_message_is_handled_before_its_senders_deinit) {
    sem_new(&held);
    sem_new(&release);
    sc.body = zero_stops_all;
    sc.drain = zero_gets_busy;
    sc.stop = one_says_its_last_word;
    sc.deinit = one_frees_its_last_word;
    CHECK_EQ(scene_run(2), 0);
}

static void never_asked(xev_shard *self, xev_request *request, void *arg) {
    (void)arg;
    CHECK_FAIL("shard %u was asked %p", xev_shard_id(self), (void *)request);
}

static void never_answered(xev_shard *self, xev_request *request, int result, void *arg) {
    (void)arg;
    CHECK_FAIL("shard %u was answered %p: %d", xev_shard_id(self), (void *)request, result);
}

static void deinit_says_to_ended(xev_shard *self) {
    static xev_request request;
    for (uint32_t i = 0; i < shards_of(self); i++) {
        xev_shard *s = shard_number(self, i);
        CHECK_EQ(xev_shard_send(s, &last_word[0][0], hear, NULL), XEV_ECANCELED);
        CHECK_EQ(xev_shard_submit_to(s, &request, never_asked, NULL, never_answered),
                 XEV_ECANCELED);
    }
    CHECK_EQ(broadcast(self), XEV_ECANCELED);
    CHECK_EQ(counters_of(self).messages_refused, 0);
}

TEST(a_message_to_an_ended_shard_is_refused) {
    sc.body = zero_stops_all;
    sc.deinit = deinit_says_to_ended;
    CHECK_EQ(scene_run(3), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(wide_got[i], 0);
        CHECK_EQ(heard[i], 0);
    }
}

/* ---- from hooks ---- */

static xev_hook_when send_when;
static uint32_t hook_calls;
static struct op soon;
static xev_message broadcasts[2];
static xev_request question;
static xev_message note;
static enum way { SENDS, BROADCASTS, ASKS, WAYS } way;

static void note_read(xev_shard *self, xev_message *message, void *arg) {
    (void)message;
    (void)arg;
    if (xev_shard_id(self) == 1) {
        stop_all(self);
    }
}

static void answer_at_once(xev_shard *self, xev_request *request, void *arg) {
    (void)self;
    (void)arg;
    xev_shard_reply(request, 0);
}

static void stop_when_answered(xev_shard *self, xev_request *request, int result, void *arg) {
    (void)request;
    (void)result;
    (void)arg;
    stop_all(self);
}

/* In the turn after the timer's callback: from then on nothing else wakes this shard. */
static void send_from_hook(xev_loop *loop, xev_hook *hook) {
    xev_shard *self = xev_shard_current();
    (void)hook;
    CHECK(loop == xev_shard_loop(self));
    hook_calls += soon.calls > 0;
    if (hook_calls != 1) {
        return;
    }
    if (way == SENDS) {
        CHECK_EQ(xev_shard_send(shard_number(self, 1), &note, note_read, NULL), 0);
    } else if (way == BROADCASTS) {
        CHECK_EQ(xev_shard_broadcast(&sc.rt, broadcasts, note_read, NULL), 0);
    } else {
        CHECK_EQ(xev_shard_submit_to(shard_number(self, 1), &question, answer_at_once, NULL,
                                     stop_when_answered),
                 0);
    }
}

static int add_sending_hook(xev_shard *self) {
    static xev_hook hook = {.callback = send_from_hook};
    if (xev_shard_id(self) == 0) {
        xev_loop_hook_add(xev_shard_loop(self), send_when, &hook);
        op_timer(self, &soon, 1);
    }
    return 0;
}

TEST(what_a_hook_sends_does_not_wait_for_the_next_event) {
    sc.init = add_sending_hook;
    for (int when = 0; when < XEV_HOOK_TIMES; when++) {
        for (int w = 0; w < WAYS; w++) {
            send_when = (xev_hook_when)when;
            way = (enum way)w;
            hook_calls = 0;
            soon.calls = 0;
            CHECK_EQ(scene_run(2), 0);
            CHECK_GE(hook_calls, 1);
        }
    }
}
