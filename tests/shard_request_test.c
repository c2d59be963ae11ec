/* Requests between shards, and their replies. */
#include "tests/shard_scene.h"

#include <signal.h>

static atomic_int left;

struct question {
    xev_request request;
    uint32_t asker, asked;
    xev_completion later;
    bool deferred, replied;
};

static struct question questions[SCENE_SHARDS];

static xev_cb_action reply_from_timer(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    struct question *q = userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    xev_shard_reply(&q->request, -77);
    return XEV_DISARM;
}

static void on_question(xev_shard *self, xev_request *request, void *arg) {
    struct question *q = arg;
    CHECK(request == &q->request);
    CHECK(xev_shard_current() == self);
    CHECK_EQ(xev_shard_id(self), q->asked);
    if (q->deferred) {
        xev_timer_run(NULL, xev_shard_loop(self), &q->later, 5, q, reply_from_timer);
    } else {
        xev_shard_reply(request, -77);
    }
}

static void on_reply(xev_shard *self, xev_request *request, int result, void *arg) {
    struct question *q = arg;
    CHECK(request == &q->request);
    CHECK(xev_shard_current() == self);
    CHECK_EQ(xev_shard_id(self), q->asker);
    CHECK_EQ(result, -77); /* any int, as it is */
    CHECK(!q->replied);
    q->replied = true;
    memset(&q->request, 0xa5, sizeof q->request); /* ours again */
    if (--left == 0) {
        stop_all(self);
    }
}

static void zero_asks_all(xev_shard *self) {
    for (uint32_t i = 0; xev_shard_id(self) == 0 && i < shards_of(self); i++) {
        struct question *q = &questions[i];
        q->asked = i;
        int rc = xev_shard_submit_to(shard_number(self, i), &q->request, on_question, q, on_reply);
        CHECK_EQ(rc, 0);
        CHECK(!q->replied);
    }
}

TEST(submit_to_is_answered_on_the_askers_thread) {
    left = 4;
    sc.body = zero_asks_all;
    CHECK_EQ(scene_run(4), 0);
    CHECK_EQ(left, 0);
}

TEST(submit_to_may_be_answered_later) {
    left = 4;
    for (int i = 0; i < 4; i++) {
        questions[i].deferred = true;
    }
    sc.body = zero_asks_all;
    CHECK_EQ(scene_run(4), 0);
    CHECK_EQ(left, 0);
}

/* Requests in flight as many as will go, both ways, through mailboxes of four; and the handler of
 * each asks back once. */
enum { EACH_WAY = 5000 };

struct way {
    struct question slots[16];
    uint32_t asked, answered, asked_back;
    struct op retry;
};
static struct way ways[2];

static void ask_some(xev_shard *self);

static void on_way_reply(xev_shard *self, xev_request *request, int result, void *arg) {
    struct question *q = arg;
    struct way *way = &ways[xev_shard_id(self)];
    CHECK(request == &q->request);
    CHECK_EQ(result, (int)xev_shard_id(self));
    q->replied = true;
    way->answered++;
    ask_some(self);
    if (way->answered == rounds(EACH_WAY) && --left == 0) {
        stop_all(self);
    }
}

static void on_way_question(xev_shard *self, xev_request *request, void *arg) {
    (void)arg;
    ask_some(self);
    xev_shard_reply(request, (int)(1 - xev_shard_id(self)));
}

static void ask_some(xev_shard *self) {
    struct way *way = &ways[xev_shard_id(self)];
    xev_shard *other = shard_number(self, 1 - xev_shard_id(self));
    for (int i = 0; i < 16 && way->asked < rounds(EACH_WAY); i++) {
        struct question *q = &way->slots[i];
        if (!q->replied) {
            continue; /* in flight */
        }
        int rc = xev_shard_submit_to(other, &q->request, on_way_question, q, on_way_reply);
        if (rc == XEV_EAGAIN) {
            return;
        }
        CHECK_EQ(rc, 0);
        q->replied = false;
        way->asked++;
    }
}

static xev_cb_action ask_more(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_shard *self = userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    ask_some(self);
    return ways[xev_shard_id(self)].asked < rounds(EACH_WAY) ? XEV_REARM : XEV_DISARM;
}

static void ask_the_other(xev_shard *self) {
    struct way *way = &ways[xev_shard_id(self)];
    for (int i = 0; i < 16; i++) {
        way->slots[i].replied = true;
    }
    xev_timer_run(NULL, xev_shard_loop(self), &way->retry.c, 0, self, ask_more);
}

TEST(two_shards_that_ask_each_other_through_full_mailboxes) {
    left = 2;
    sc.o.mailbox = 4;
    sc.body = ask_the_other;
    CHECK_EQ(scene_run(2), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(ways[i].answered, rounds(EACH_WAY));
    }
}

enum { SMALL = 8 };

static sem_t release;
static xev_message hold_message, filler[SMALL];
static int fillers;

static void take_filler(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    fillers++;
}

static int fill_up(xev_shard *to) {
    for (int i = 0; i < SMALL; i++) {
        int rc = xev_shard_send(to, &filler[i], take_filler, NULL);
        if (rc != 0) {
            CHECK_EQ(rc, XEV_EAGAIN);
            return i;
        }
    }
    return SMALL;
}

/* The asker stands in a handler, its mailbox filled behind it, when the reply comes. */
static void fill_asker_and_reply(xev_shard *self, xev_request *request, void *arg) {
    (void)arg;
    int n = fill_up(shard_number(self, 0));
    CHECK_GE(n, SMALL - 2);
    CHECK_LT(n, SMALL);
    xev_shard_reply(request, 5);
    sem_give(&release);
}

static void on_five(xev_shard *self, xev_request *request, int result, void *arg) {
    (void)request;
    (void)arg;
    CHECK_EQ(result, 5);
    left--;
    stop_all(self);
}

static void wait_in_handler(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    sem_take(&release);
}

static void ask_then_be_full(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        struct question *q = &questions[0];
        xev_shard *one = shard_number(self, 1);
        CHECK_EQ(xev_shard_submit_to(one, &q->request, fill_asker_and_reply, q, on_five), 0);
        CHECK_EQ(xev_shard_send(self, &hold_message, wait_in_handler, NULL), 0);
    }
}

TEST(a_reply_needs_no_room) {
    sem_new(&release);
    left = 1;
    sc.o.mailbox = SMALL;
    sc.body = ask_then_be_full;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(left, 0);
    CHECK_GE(fillers, SMALL - 2);
}

/* ---- the end ---- */

/* Where an answer takes longer than a tick they would ask without a pause, and never drain. */
enum { ASK_MOST = 100 };

static struct ticker {
    xev_completion tick;
    xev_request request;
    bool asking;
    uint32_t asked, answers;
} tickers[3];

static void reply_at_once(xev_shard *self, xev_request *request, void *arg) {
    (void)self;
    (void)arg;
    xev_shard_reply(request, 3);
}

static void on_tick_reply(xev_shard *self, xev_request *request, int result, void *arg) {
    struct ticker *t = &tickers[xev_shard_id(self)];
    CHECK(request == &t->request);
    CHECK(arg == t);
    CHECK_EQ(result, 3);
    CHECK(t->asking);
    t->asking = false;
    t->answers++;
}

static xev_cb_action on_tick(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_shard *self = userdata;
    struct ticker *t = &tickers[xev_shard_id(self)];
    (void)loop;
    (void)c;
    if (result == 0 && !t->asking && t->asked < ASK_MOST) {
        xev_shard *next = shard_number(self, (xev_shard_id(self) + 1) % shards_of(self));
        int rc = xev_shard_submit_to(next, &t->request, reply_at_once, t, on_tick_reply);
        CHECK(rc == 0 || rc == XEV_ECANCELED);
        t->asking = rc == 0;
        t->asked++;
    }
    return XEV_REARM;
}

static void tick_and_stop(xev_shard *self) {
    struct ticker *t = &tickers[xev_shard_id(self)];
    xev_timer_run_ns(NULL, xev_shard_loop(self), &t->tick, 20 * 1000, self, on_tick);
    xev_completion_unref(&t->tick);
    zero_stops_all(self);
}

static void check_not_asking(xev_shard *self) { CHECK(!tickers[xev_shard_id(self)].asking); }

/* The timer holds no drain, but what it asks does. */
TEST(a_shard_does_not_end_while_it_waits_for_a_reply) {
    sc.body = tick_and_stop;
    sc.deinit = check_not_asking;
    for (uint32_t i = 0; i < rounds(500); i++) {
        memset(tickers, 0, sizeof tickers);
        CHECK_EQ(scene_run(3), 0);
    }
}

static void stop_asks(xev_shard *self) {
    struct ticker *t = &tickers[xev_shard_id(self)];
    xev_shard *next = shard_number(self, (xev_shard_id(self) + 1) % shards_of(self));
    t->asking = true;
    CHECK_EQ(xev_shard_submit_to(next, &t->request, reply_at_once, t, on_tick_reply), 0);
}

static void check_answered_once(xev_shard *self) {
    struct ticker *t = &tickers[xev_shard_id(self)];
    CHECK(!t->asking);
    CHECK_EQ(t->answers, 1);
}

TEST(what_stop_asks_is_answered_before_deinit) {
    sc.body = zero_stops_all;
    sc.stop = stop_asks;
    sc.deinit = check_answered_once;
    for (uint32_t i = 0; i < rounds(200); i++) {
        memset(tickers, 0, sizeof tickers);
        CHECK_EQ(scene_run(3), 0);
    }
}

static xev_request asked_at_last;

static void not_answered(xev_shard *self, xev_request *request, int result, void *arg) {
    (void)self;
    (void)request;
    (void)arg;
    CHECK_FAIL("answered with %d", result);
}

static bool signal_too;

static void keep_quiet(xev_shard *self, xev_request *request, void *arg) {
    (void)self;
    (void)arg;
    CHECK(request == &asked_at_last);
    CHECK_EQ(signal_too ? kill(getpid(), SIGTERM) : 0, 0);
}

static void one_asks_at_last(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        CHECK_EQ(xev_shard_submit_to(shard_number(self, 0), &asked_at_last, keep_quiet, NULL,
                                     not_answered),
                 0);
    }
}

TEST(a_second_signal_ends_the_wait_for_an_answer_to_stop) {
    signal_too = true;
    sc.body = zero_stops_all;
    sc.stop = one_asks_at_last;
    CHECK_EQ(scene_run(2), XEV_EINTR);
}

TEST(what_stop_asks_in_vain_is_told) {
    sc.o.drain_ms = 100;
    sc.body = zero_stops_all;
    sc.stop = one_asks_at_last;
    CHECK_EQ(scene_run(2), XEV_ETIMEDOUT);
}

/* ---- counters ---- */

static xev_shard_counters sum;

static void add_counters(xev_shard *self) {
    xev_shard_counters c = counters_of(self);
    sum.messages_sent += c.messages_sent;
    sum.messages_received += c.messages_received;
    sum.messages_refused += c.messages_refused;
    CHECK_EQ(c.accepted, 0);
}

TEST(counters_of_messages_agree) {
    left = 4;
    sc.body = zero_asks_all;
    sc.deinit = add_counters;
    CHECK_EQ(scene_run(4), 0);
    CHECK_EQ(sum.messages_sent, 4 + 4 + 4); /* the scene's own, requests, replies */
    CHECK_EQ(sum.messages_received, sum.messages_sent);
    CHECK_EQ(sum.messages_refused, 0);
}
