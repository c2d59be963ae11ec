/* Asks: their arguments and answers, limits, deadlines, and ends. */
#include "tests/shard_scene.h"
#include "xev/ask.h"

static atomic_int left;

static int ask_text(xev_shard *to, const char *text, uint32_t timeout_ms, xev_ask_fn fn,
                    void *userdata, xev_answer_fn answered) {
    xev_vec vec = {(void *)(uintptr_t)text, strlen(text)};
    return xev_shard_ask(to, &vec, 1, timeout_ms, fn, userdata, answered);
}

static void answer_nothing(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    xev_ask_answer(ask, 0, NULL, 0);
}

static void stop_when_all_are_there(xev_shard *self) {
    if (--left == 0) {
        stop_all(self);
    }
}

/* ---- arguments and answers ---- */

static bool inside_ask;
static int answers_of[SCENE_SHARDS];

static void answer_reversed(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    const char *text = argument;
    char back[64];
    CHECK(xev_shard_current() == self);
    CHECK_LE(len, sizeof back);
    for (size_t i = 0; i < len; i++) {
        back[i] = text[len - 1 - i];
    }
    xev_ask_answer(ask, (int)xev_shard_id(self) - 1, back, len);
}

static void take_reversed(xev_shard *self, int result, const void *answer, size_t len,
                          void *userdata) {
    int *count = userdata;
    CHECK(!inside_ask);
    CHECK_EQ(xev_shard_id(self), 0);
    CHECK_EQ(result, (int)(count - answers_of) - 1); /* any int, as it is */
    CHECK_EQ(len, 6);
    CHECK_MEM_EQ(answer, "fedcba", 6);
    (*count)++;
    stop_when_all_are_there(self);
}

static void zero_asks_all(xev_shard *self) {
    for (uint32_t i = 0; xev_shard_id(self) == 0 && i < shards_of(self); i++) {
        char text[] = "abcdef"; /* it is copied */
        const xev_vec vec[] = {{text, 2}, {NULL, 0}, {text + 2, 1}, {text + 3, 3}};
        inside_ask = true;
        CHECK_EQ(xev_shard_ask(shard_number(self, i), vec, 4, 0, answer_reversed, &answers_of[i],
                               take_reversed),
                 0);
        inside_ask = false;
        memset(text, 'x', sizeof text);
    }
}

TEST(an_ask_is_answered_on_the_askers_thread) {
    left = 4;
    sc.body = zero_asks_all;
    CHECK_EQ(scene_run(4), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(answers_of[i], 1);
    }
}

/* Arguments and answers of these sizes, each with each. */
static const uint32_t sizes[] = {0, 1, 15, 16, 60, 65, 200, 1000, 16 * 1024, 100 * 1000, 1 << 20};
enum { SIZES = sizeof sizes / sizeof sizes[0] };
static uint8_t pattern[1 << 20];
static uint32_t pair; /* its number */

static void answer_at_length(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    CHECK_EQ(len, sizes[pair / SIZES]);
    CHECK_EQ(memcmp(argument, pattern, len), 0);
    CHECK_EQ((uintptr_t)argument % _Alignof(max_align_t), 0);
    size_t back = sizes[pair % SIZES];
    if (pair % 2 == 0 || back == 0) {
        xev_ask_answer(ask, 7, pattern, back);
        return;
    }
    CHECK(xev_ask_room(ask, 1) != NULL); /* replaced */
    uint8_t *room = xev_ask_room(ask, back);
    CHECK(room != NULL);
    CHECK_EQ((uintptr_t)room % _Alignof(max_align_t), 0);
    memcpy(room, pattern, back);
    CHECK_EQ(memcmp(argument, pattern, len), 0); /* it stands beside */
    xev_ask_answer(ask, 7, room, back);
}

static void ask_next_pair(xev_shard *self);

static void take_at_length(xev_shard *self, int result, const void *answer, size_t len,
                           void *userdata) {
    CHECK(userdata == &pair);
    CHECK_EQ(result, 7);
    CHECK_EQ(len, sizes[pair % SIZES]);
    CHECK((answer == NULL) == (len == 0));
    CHECK(len == 0 || memcmp(answer, pattern, len) == 0);
    if (++pair == SIZES * SIZES) {
        stop_all(self);
    } else {
        ask_next_pair(self);
    }
}

static void ask_next_pair(xev_shard *self) {
    const xev_vec vec = {pattern, sizes[pair / SIZES]};
    CHECK_EQ(xev_shard_ask(shard_number(self, 1 - xev_shard_id(self)), &vec, vec.len_bytes > 0, 0,
                           answer_at_length, &pair, take_at_length),
             0);
}

static void zero_asks_first_pair(xev_shard *self) {
    for (size_t i = 0; xev_shard_id(self) == 0 && i < sizeof pattern; i++) {
        pattern[i] = (uint8_t)(i * 31 + (i >> 8));
    }
    if (xev_shard_id(self) == 0) {
        ask_next_pair(self);
    }
}

TEST(arguments_and_answers_of_all_sizes) {
    sc.body = zero_asks_first_pair;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(pair, SIZES * SIZES);
}

static void answer_too_much(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    CHECK(xev_ask_room(ask, 1001) == NULL);
    xev_ask_answer(ask, 7, pattern, 1001);
}

static void take_too_much(xev_shard *self, int result, const void *answer, size_t len,
                          void *userdata) {
    (void)userdata;
    CHECK_EQ(result, XEV_EMSGSIZE);
    CHECK(answer == NULL);
    CHECK_EQ(len, 0);
    stop_all(self);
}

static void ask_too_much(xev_shard *self) {
    const xev_vec vec[] = {{pattern, 1000}, {pattern, 1}, {pattern, SIZE_MAX}};
    for (size_t count = 2; count <= 3; count++) {
        CHECK_EQ(xev_shard_ask(self, vec, count, 0, answer_too_much, NULL, take_too_much),
                 XEV_EMSGSIZE);
    }
    CHECK_EQ(xev_shard_ask(self, vec, 1, 0, answer_too_much, NULL, take_too_much), 0);
}

TEST(the_size_of_arguments_and_answers_is_limited) {
    sc.o.ask_bytes = 1000;
    sc.body = ask_too_much;
    CHECK_EQ(scene_run(1), 0);
}

static struct later {
    xev_completion timer;
    xev_ask *ask;
    const char *argument;
} laters[8];

static xev_cb_action answer_from_timer(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    struct later *l = userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    CHECK_MEM_EQ(l->argument, "later", 5); /* still there */
    CHECK(!xev_ask_is_over(l->ask));
    xev_ask_answer(l->ask, 5, "now", 3);
    return XEV_DISARM;
}

static void answer_later(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    struct later *l = &laters[xev_shard_id(self)];
    CHECK_EQ(len, 5);
    l->ask = ask;
    l->argument = argument;
    xev_timer_run(NULL, xev_shard_loop(self), &l->timer, 3, l, answer_from_timer);
}

static void take_now(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    (void)userdata;
    CHECK_EQ(result, 5);
    CHECK_EQ(len, 3);
    CHECK_MEM_EQ(answer, "now", 3);
    stop_when_all_are_there(self);
}

static void zero_asks_for_later(xev_shard *self) {
    for (uint32_t i = 0; xev_shard_id(self) == 0 && i < shards_of(self); i++) {
        CHECK_EQ(ask_text(shard_number(self, i), "later", 0, answer_later, NULL, take_now), 0);
    }
}

TEST(an_ask_may_be_answered_later) {
    left = 3;
    sc.body = zero_asks_for_later;
    CHECK_EQ(scene_run(3), 0);
}

/* ---- full mailboxes ---- */

/* Each asks the other one thousands of times at once, through mailboxes of two; and each handler
 * asks back. */
enum { AT_ONCE = 4000 };

static struct way { uint32_t handled, answered, back_handled, back_answered; } ways[2];

static void way_done(xev_shard *self) {
    const struct way *w = &ways[xev_shard_id(self)];
    if (w->answered == rounds(AT_ONCE) && w->back_answered == rounds(AT_ONCE)) {
        stop_when_all_are_there(self);
    }
}

static void on_back(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    struct way *w = &ways[xev_shard_id(self)];
    CHECK_EQ(len, sizeof w->back_handled);
    CHECK_MEM_EQ(argument, &w->back_handled, len); /* in the order in which they were made */
    w->back_handled++;
    xev_ask_answer(ask, 0, NULL, 0);
}

static void back_answered(xev_shard *self, int result, const void *answer, size_t len,
                          void *userdata) {
    (void)answer;
    (void)userdata;
    CHECK_EQ(result, 0);
    CHECK_EQ(len, 0);
    ways[xev_shard_id(self)].back_answered++;
    way_done(self);
}

static void on_way(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    struct way *w = &ways[xev_shard_id(self)];
    CHECK_EQ(len, sizeof w->handled);
    CHECK_MEM_EQ(argument, &w->handled, len);
    const xev_vec vec = {&w->handled, sizeof w->handled};
    CHECK_EQ(xev_shard_ask(shard_number(self, 1 - xev_shard_id(self)), &vec, 1, 0, on_back, NULL,
                           back_answered),
             0);
    xev_ask_answer(ask, (int)w->handled, NULL, 0);
    w->handled++;
}

static void way_answered(xev_shard *self, int result, const void *answer, size_t len,
                         void *userdata) {
    struct way *w = &ways[xev_shard_id(self)];
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_EQ(result, (int)w->answered);
    w->answered++;
    way_done(self);
}

static void ask_the_other(xev_shard *self) {
    for (uint32_t i = 0; i < rounds(AT_ONCE); i++) {
        const xev_vec vec = {&i, sizeof i};
        CHECK_EQ(xev_shard_ask(shard_number(self, 1 - xev_shard_id(self)), &vec, 1, 0, on_way, NULL,
                               way_answered),
                 0);
    }
}

static void check_ways(uint32_t mailbox) {
    left = 2;
    sc.o.mailbox = mailbox;
    sc.body = ask_the_other;
    CHECK_EQ(scene_run(2), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(ways[i].answered, rounds(AT_ONCE));
        CHECK_EQ(ways[i].back_answered, rounds(AT_ONCE));
    }
}

TEST_TIMEOUT(shards_that_ask_each_other_through_full_mailboxes, 60) { check_ways(2); }
TEST_TIMEOUT(shards_that_ask_each_other_through_mailboxes_of_one, 60) { check_ways(1); }

/* Many shards to one, which asks itself as well. */
static atomic_uint crowd_answers;

static void crowd_answered(xev_shard *self, int result, const void *answer, size_t len,
                           void *userdata) {
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_EQ(result, 0);
    crowd_answers++;
    stop_when_all_are_there(self);
}

static void crowd_asks(xev_shard *self) {
    for (uint32_t i = 0; i < rounds(1000); i++) {
        CHECK_EQ(ask_text(shard_number(self, 0), "?", 0, answer_nothing, NULL, crowd_answered), 0);
    }
}

TEST_TIMEOUT(many_shards_ask_one_through_a_full_mailbox, 60) {
    left = 6 * (int)rounds(1000);
    sc.o.mailbox = 3;
    sc.body = crowd_asks;
    CHECK_EQ(scene_run(6), 0);
    CHECK_EQ(crowd_answers, 6 * rounds(1000));
}

static void crowd_asks_and_stops(xev_shard *self) {
    crowd_asks(self);
    zero_stops_all(self);
}

/* Those that wait at the stop are answered in the drain. */
TEST_TIMEOUT(asks_that_wait_hold_the_drain, 60) {
    left = INT32_MAX;
    sc.o.mailbox = 2;
    sc.body = crowd_asks_and_stops;
    for (uint32_t i = 0; i < 5; i++) {
        crowd_answers = 0;
        CHECK_EQ(scene_run(3), 0);
        CHECK_EQ(crowd_answers, 3 * rounds(1000));
    }
}

static int limited_answers;

static void limited_answered(xev_shard *self, int result, const void *answer, size_t len,
                             void *userdata) {
    (void)answer;
    (void)len;
    CHECK_EQ(result, 0);
    limited_answers++;
    if (userdata == NULL) {
        stop_all(self);
    } else if (limited_answers == 4) { /* three, and the one that is being answered */
        CHECK_EQ(ask_text(self, "", 0, answer_nothing, NULL, limited_answered), 0);
    }
}

static void ask_beyond_the_limit(xev_shard *self) {
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(ask_text(self, "", 0, answer_nothing, &limited_answers, limited_answered), 0);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(ask_text(self, "", 0, answer_nothing, NULL, limited_answered), XEV_EAGAIN);
    }
}

TEST(the_number_of_asks_is_limited) {
    sc.o.asks = 4;
    sc.o.mailbox = 2;
    sc.body = ask_beyond_the_limit;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(limited_answers, 5);
}

/* ---- deadlines ---- */

static sem_t release;
static xev_ask *kept[8];
static atomic_int kept_len;

static void keep(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    kept[kept_len++] = ask;
}

static void timed_out(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    (void)userdata;
    CHECK_EQ(result, XEV_ETIMEDOUT);
    CHECK(answer == NULL);
    CHECK_EQ(len, 0);
    stop_when_all_are_there(self);
}

static void zero_asks_in_vain(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(ask_text(shard_number(self, 1), "", 1, keep, NULL, timed_out), 0);
        CHECK_EQ(ask_text(shard_number(self, 1), "", 30, keep, NULL, timed_out), 0);
        CHECK_EQ(ask_text(self, "", 5000, keep, NULL, timed_out), 0); /* beyond one revolution */
    }
}

TEST(an_ask_that_is_never_answered_times_out_and_holds_no_drain) {
    left = 3;
    sc.body = zero_asks_in_vain;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(left, 0);
    CHECK_GE(kept_len, 1);
    CHECK_LE(kept_len, 3); /* what is over before it is handled is not handled */
}

static void answer_kept(xev_shard *self) {
    for (int i = 0; xev_shard_id(self) == 1 && i < kept_len; i++) {
        CHECK(xev_ask_is_over(kept[i]));
        uint8_t *room = xev_ask_room(kept[i], 5000);
        CHECK(room != NULL);
        memset(room, i, 5000);
        xev_ask_answer(kept[i], 0, room, 5000);
    }
}

static void zero_asks_one(xev_shard *self) {
    for (int i = 0; xev_shard_id(self) == 0 && i < 3; i++) {
        CHECK_EQ(ask_text(shard_number(self, 1), "", 1, keep, NULL, timed_out), 0);
    }
}

TEST(an_answer_after_the_deadline_goes_nowhere) {
    left = 3;
    sc.body = zero_asks_one;
    sc.drain = answer_kept;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(left, 0);
}

TEST(an_answer_after_the_end_of_the_asker_goes_nowhere) {
    left = 3;
    sc.body = zero_asks_one;
    sc.deinit = answer_kept;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(left, 0);
}

static void hold_shard(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    sem_take(&release);
    xev_ask_answer(ask, 0, NULL, 0);
}

static void held_answered(xev_shard *self, int result, const void *answer, size_t len,
                          void *userdata) {
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_EQ(result, 0);
    CHECK_EQ(left, 0);
    stop_all(self);
}

static void not_handled(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)ask;
    (void)argument;
    (void)len;
    CHECK_FAIL("nobody waits for the answer");
}

static void release_when_all_timed_out(xev_shard *self, int result, const void *answer, size_t len,
                                       void *userdata) {
    (void)self;
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_EQ(result, XEV_ETIMEDOUT);
    if (--left == 0) {
        sem_give(&release);
    }
}

static void zero_asks_who_is_held(xev_shard *self) {
    if (xev_shard_id(self) != 0) {
        return;
    }
    CHECK_EQ(ask_text(shard_number(self, 1), "", 0, hold_shard, NULL, held_answered), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(
            ask_text(shard_number(self, 1), "", 1, not_handled, NULL, release_when_all_timed_out),
            0);
    }
}

static void check_counters(xev_shard *self) {
    xev_shard_counters c = counters_of(self);
    uint32_t asks = xev_shard_id(self) == 0 ? 20 : 0;
    CHECK_EQ(c.asks, asks + (asks > 0));
    CHECK_EQ(c.asks_timed_out, asks);
    CHECK_GE(c.asks_waited, asks > 0 ? 17 : 0); /* the mailbox has room for four */
    CHECK_LE(c.asks_waited, asks);
}

/* Of 20 asks few have found room, and none is handled any more. */
TEST(asks_to_a_shard_that_is_held_time_out) {
    left = 20;
    sem_new(&release);
    sc.o.mailbox = 4;
    sc.body = zero_asks_who_is_held;
    sc.deinit = check_counters;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(left, 0);
}

static void answered_in_time(xev_shard *self, int result, const void *answer, size_t len,
                             void *userdata) {
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_EQ(result, 0);
    stop_when_all_are_there(self);
}

static void ask_with_deadlines(xev_shard *self) {
    for (uint32_t i = 0; i < 1000; i++) {
        CHECK_EQ(ask_text(shard_number(self, i % 2), "", HOUR_MS + i * 7, answer_nothing, NULL,
                          answered_in_time),
                 0);
    }
}

TEST(an_answer_takes_the_deadline_away) {
    left = 2000;
    sc.body = ask_with_deadlines;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(left, 0);
}

/* ---- the end ---- */

static uint32_t cancelled;

static void take_cancelled(xev_shard *self, int result, const void *answer, size_t len,
                           void *userdata) {
    (void)answer;
    (void)len;
    CHECK_EQ(result, XEV_ECANCELED);
    CHECK_EQ((uintptr_t)userdata, cancelled);
    CHECK_EQ(ask_text(self, "", 0, keep, NULL, take_cancelled), XEV_ECANCELED);
    cancelled++;
}

static void keep_some(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)ask;
    (void)argument;
    (void)len;
    if (kept_len++ == 0) {
        sem_take(&release);
    }
}

static void asks_and_stops(xev_shard *self) {
    static uint8_t large[100 * 1000];
    for (uint32_t i = 0; i < 20; i++) {
        const xev_vec vec = {large, i % 2 == 0 ? sizeof large : 1};
        CHECK_EQ(xev_shard_ask(shard_number(self, 1 - xev_shard_id(self)), &vec, 1,
                               i % 3 == 0 ? HOUR_MS : 0, keep_some, (void *)(uintptr_t)i,
                               take_cancelled),
                 0);
    }
    stop_all(self);
}

static void zero_asks_and_stops(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        asks_and_stops(self);
    }
}

static void let_go(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        sem_give(&release);
    }
}

TEST(asks_that_are_not_answered_are_cancelled_in_order_at_the_end) {
    sem_new(&release);
    sc.o.mailbox = 50;
    sc.o.drain_ms = 100;
    sc.body = zero_asks_and_stops;
    sc.drain = let_go;
    CHECK_EQ(scene_run(2), XEV_ETIMEDOUT);
    CHECK_EQ(cancelled, 20);
}

static void no_room_at_all(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    (void)arg;
    sem_take(&release);
}

static bool stuck_for_a_while(const xev_stuck *stuck, void *userdata) {
    (void)userdata;
    if (stuck->shard == 0) { /* the other one may be slow, too, where the machine is */
        sem_give(&release);
    }
    return true;
}

/* Shard 0, which ends last, stands in a handler until the drain is over, and its mailbox is full.
 */
static void fill_and_stop(xev_shard *self) {
    static xev_message hold_message;
    if (xev_shard_id(self) == 1) {
        CHECK_EQ(xev_shard_send(shard_number(self, 0), &hold_message, no_room_at_all, NULL), 0);
        asks_and_stops(self);
    }
}

TEST(asks_that_wait_for_room_are_cancelled_in_order_at_the_end) {
    sem_new(&release);
    sc.o.mailbox = 4;
    sc.o.drain_ms = 50;
    sc.o.stuck_ms = 50;
    sc.o.stuck = stuck_for_a_while;
    sc.body = fill_and_stop;
    kept_len = 1; /* nobody waits in keep_some */
    CHECK_EQ(scene_run(2), XEV_ETIMEDOUT);
    CHECK_EQ(cancelled, 20);
}

/* Where an answer takes longer than a tick they would ask without a pause, and never drain. */
enum { ASK_MOST = 100 };

static struct ticker {
    xev_completion tick;
    int asking;
    uint32_t asked;
} tickers[3];

static void on_tick_answer(xev_shard *self, int result, const void *answer, size_t len,
                           void *userdata) {
    struct ticker *t = userdata;
    (void)answer;
    (void)len;
    CHECK(t == &tickers[xev_shard_id(self)]);
    CHECK(result == 0 || result == XEV_ECANCELED);
    CHECK_GT(t->asking, 0);
    t->asking--;
}

static xev_cb_action on_tick(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    xev_shard *self = userdata;
    struct ticker *t = &tickers[xev_shard_id(self)];
    (void)loop;
    (void)c;
    for (int i = 0; i < 3 && result == 0 && t->asking < 8 && t->asked < ASK_MOST; i++) {
        xev_shard *next = shard_number(self, (xev_shard_id(self) + 1) % shards_of(self));
        int rc = ask_text(next, "tick", 0, answer_nothing, t, on_tick_answer);
        CHECK(rc == 0 || rc == XEV_ECANCELED);
        t->asking += rc == 0;
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

static void check_not_asking(xev_shard *self) { CHECK_EQ(tickers[xev_shard_id(self)].asking, 0); }

/* The timer holds no drain, but what it asks does; through mailboxes that are mostly full. */
TEST(a_shard_does_not_end_while_its_asks_are_under_way) {
    sc.o.mailbox = 2;
    sc.body = tick_and_stop;
    sc.deinit = check_not_asking;
    for (uint32_t i = 0; i < rounds(100); i++) {
        memset(tickers, 0, sizeof tickers);
        CHECK_EQ(scene_run(3), 0);
    }
}

static int ask_and_fail(xev_shard *self) {
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_EQ(
            ask_text(shard_number(self, i % 2), "", 0, keep, (void *)(uintptr_t)i, take_cancelled),
            0);
    }
    return XEV_ENOSPC;
}

TEST(asks_of_a_start_that_fails_are_cancelled) {
    sc.init = ask_and_fail;
    CHECK_EQ(scene_run(2), XEV_ENOSPC);
    CHECK_EQ(cancelled, 3);
}

/* Shard 1 ends when asks of shard 0 wait for it. Who is told so and asks again is refused. */
static sem_t asked_three;
static xev_message ask_now;

static void refused_again(xev_shard *self, int result, const void *answer, size_t len,
                          void *userdata) {
    (void)answer;
    (void)userdata;
    CHECK_EQ(len, 0);
    left--;
    if (result == XEV_ECANCELED) {
        cancelled++;
        CHECK_EQ(ask_text(shard_number(self, 1), "", 0, answer_nothing, NULL, refused_again),
                 XEV_ECANCELED);
    }
}

static void ask_three(xev_shard *self, xev_message *m, void *arg) {
    (void)m;
    (void)arg;
    left = 3;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(ask_text(shard_number(self, 1), "", 0, answer_nothing, NULL, refused_again), 0);
    }
    sem_give(&asked_three);
}

/* In the end of shard 1, whose mailbox is to be closed next. */
static void have_it_asked(xev_shard *self, int result, const void *answer, size_t len,
                          void *userdata) {
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_EQ(result, XEV_ECANCELED);
    CHECK_EQ(xev_shard_send_urgent(shard_number(self, 0), &ask_now, ask_three, NULL), 0);
    sem_take(&asked_three);
}

static void one_asks_in_vain(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        CHECK_EQ(ask_text(shard_number(self, 0), "", 0, keep, NULL, have_it_asked), 0);
        stop_all(self);
    }
}

TEST(a_shard_that_has_ended_takes_no_ask_behind_those_that_wait) {
    sem_new(&asked_three);
    sc.o.mailbox = 1;
    sc.o.drain_ms = 100;
    sc.body = one_asks_in_vain;
    CHECK_EQ(scene_run(2), XEV_ETIMEDOUT);
    CHECK_EQ(left, 0);
    CHECK_EQ(cancelled, 2);
}
