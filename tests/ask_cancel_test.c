/* Asks that are given up: by the one who asked, and what the asked shard learns of it. */
#include "tests/shard_scene.h"
#include "xev/ask.h"

static xev_ask_handle handle;
static xev_ask *kept; /* shard 1's */
static int told, ended;
static xev_message message;
static sem_t entered, release;

static int ask_named(xev_shard *to, uint32_t timeout_ms, xev_ask_fn fn, xev_answer_fn answered) {
    return xev_shard_ask_with_handle(to, NULL, 0, timeout_ms, &handle, fn, &handle, answered);
}

static void keep(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    kept = ask;
}

static void never_handled(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)ask;
    (void)argument;
    (void)len;
    CHECK_FAIL("it is over");
}

static void answer_nothing(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    xev_ask_answer(ask, 0, NULL, 0);
}

static void check_cancelled(int result, const void *answer, size_t len) {
    CHECK_EQ(result, XEV_ECANCELED);
    CHECK(answer == NULL);
    CHECK_EQ(len, 0);
    CHECK(!xev_ask_cancel(handle)); /* a name of nothing by now */
    ended++;
}

static void ends_and_stops(xev_shard *self, int result, const void *answer, size_t len,
                           void *userdata) {
    CHECK(userdata == &handle);
    check_cancelled(result, answer, len);
    stop_all(self);
}

static void answered_in_full(xev_shard *self, int result, const void *answer, size_t len,
                             void *userdata) {
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_EQ(result, 0);
    CHECK(!xev_ask_cancel(handle));
    ended++;
    stop_all(self);
}

/* ---- the asking shard ---- */

static bool in_call;

static void ends_outside(xev_shard *self, int result, const void *answer, size_t len,
                         void *userdata) {
    CHECK(!in_call);
    ends_and_stops(self, result, answer, len, userdata);
}

static void zero_asks_and_cancels(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(ask_named(shard_number(self, 1), HOUR_MS, keep, ends_outside), 0);
        CHECK_NE(handle, 0);
        CHECK_EQ(counters_of(self).asks_now, 1);
        CHECK(!xev_ask_cancel(0));
        CHECK(!xev_ask_cancel(handle ^ 1));
        in_call = true;
        CHECK(xev_ask_cancel(handle));
        CHECK(!xev_ask_cancel(handle)); /* once */
        in_call = false;
    }
}

static void check_one_cancelled(xev_shard *self) {
    xev_shard_counters c = counters_of(self);
    CHECK_EQ(c.asks_cancelled, xev_shard_id(self) == 0);
    CHECK_EQ(c.asks_timed_out, 0);
    CHECK_EQ(c.asks_now, 0); /* the place is free */
}

TEST(a_cancel_is_told_to_the_callback_and_holds_no_drain) {
    sc.body = zero_asks_and_cancels;
    sc.deinit = check_one_cancelled;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(ended, 1);
}

static void zero_asks_and_names(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(ask_named(self, 0, answer_nothing, answered_in_full), 0);
    }
}

TEST(the_handle_of_an_ask_that_is_answered_names_nothing) {
    sc.body = zero_asks_and_names;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(ended, 1);
}

static void cancel_and_answer(xev_shard *self, xev_message *m, void *arg) {
    (void)m;
    (void)arg;
    CHECK_EQ(xev_shard_id(self), 1);
    CHECK(!xev_ask_cancel(handle));
    xev_ask_answer(kept, 0, NULL, 0);
}

static void zero_gives_the_handle_away(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(ask_named(shard_number(self, 1), 0, keep, answered_in_full), 0);
        CHECK_EQ(xev_shard_send(shard_number(self, 1), &message, cancel_and_answer, NULL), 0);
    }
}

TEST(a_handle_names_nothing_on_another_shard) {
    sc.body = zero_gives_the_handle_away;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(ended, 1);
}

static void zero_asks_and_names_in_vain(xev_shard *self) {
    handle = 1;
    CHECK_EQ(ask_named(self, 0, answer_nothing, answered_in_full), 0);
    xev_ask_handle first = handle;
    CHECK_EQ(ask_named(self, 0, answer_nothing, answered_in_full), XEV_EAGAIN);
    CHECK_EQ(handle, 0);
    handle = first;
}

TEST(an_ask_that_is_refused_has_no_handle) {
    sc.o.asks = 1;
    sc.body = zero_asks_and_names_in_vain;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(ended, 1);
}

/* The mailbox of shard 1 has room for the ask that holds it there. */
static void hold(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    sem_give(&entered);
    sem_take(&release);
    xev_ask_answer(ask, 0, NULL, 0);
}

static void give_release(xev_shard *self, int result, const void *answer, size_t len,
                         void *userdata) {
    (void)self;
    (void)userdata;
    check_cancelled(result, answer, len);
    sem_give(&release);
}

static void zero_cancels_one_that_waits(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        xev_shard *to = shard_number(self, 1);
        CHECK_EQ(xev_shard_ask(to, NULL, 0, 0, hold, NULL, answered_in_full), 0);
        CHECK_EQ(ask_named(to, 0, never_handled, give_release), 0);
        CHECK_GE(counters_of(self).asks_waited, 1);
        CHECK(xev_ask_cancel(handle));
    }
}

TEST(one_that_waits_for_room_is_cancelled_and_not_handled) {
    sem_new(&entered);
    sem_new(&release);
    sc.o.mailbox = 1;
    sc.body = zero_cancels_one_that_waits;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(ended, 2);
}

/* Shard 1 has spared itself the work, and says so before the timer of shard 0 can. */
static xev_message flushed;

static void tell_flushed(xev_shard *self, xev_message *m, void *arg) {
    (void)self;
    (void)m;
    (void)arg;
    sem_give(&entered);
}

static void hold_until_cancelled(xev_shard *self, xev_message *m, void *arg) {
    (void)m;
    (void)arg;
    sem_give(&entered);
    sem_take(&release);
    CHECK_EQ(xev_shard_send(self, &flushed, tell_flushed, NULL), 0); /* behind this turn */
}

static void cancel_and_wait_for_reply(xev_shard *self, xev_message *m, void *arg) {
    (void)self;
    (void)m;
    (void)arg;
    sem_take(&entered);
    CHECK(xev_ask_cancel(handle));
    sem_give(&release);
    sem_take(&entered);
}

static void zero_is_told_so(xev_shard *self) {
    static xev_message hold_it, cancel_it;
    if (xev_shard_id(self) == 0) {
        xev_shard *to = shard_number(self, 1);
        CHECK_EQ(xev_shard_send(to, &hold_it, hold_until_cancelled, NULL), 0);
        CHECK_EQ(ask_named(to, 0, never_handled, ends_and_stops), 0);
        CHECK_EQ(xev_shard_send(self, &cancel_it, cancel_and_wait_for_reply, NULL), 0);
    }
}

TEST(a_cancel_that_the_asked_shard_answers_is_counted) {
    sem_new(&entered);
    sem_new(&release);
    sc.body = zero_is_told_so;
    sc.deinit = check_one_cancelled;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(ended, 1);
}

/* Each callback asks and cancels once more. Nothing else may wait for the end of this. */
enum { CHAIN = 1000 };
static bool passed;

static void pass(xev_shard *self, xev_message *m, void *arg) {
    (void)self;
    (void)m;
    (void)arg;
    CHECK_LT(ended, CHAIN);
    passed = true;
}

static void cancel_once_more(xev_shard *self, int result, const void *answer, size_t len,
                             void *userdata) {
    (void)userdata;
    check_cancelled(result, answer, len);
    if (ended == CHAIN) {
        CHECK(passed);
        stop_all(self);
        return;
    }
    CHECK_EQ(ask_named(self, 0, never_handled, cancel_once_more), 0);
    CHECK(xev_ask_cancel(handle));
}

static void begin_chain(xev_shard *self) {
    CHECK_EQ(xev_shard_send(self, &message, pass, NULL), 0);
    CHECK_EQ(ask_named(self, 0, never_handled, cancel_once_more), 0);
    CHECK(xev_ask_cancel(handle));
}

TEST(callbacks_that_cancel_again_leave_the_loop_its_turns) {
    sc.body = begin_chain;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(ended, CHAIN);
}

/* ---- the asked shard ---- */

static xev_shard *asker;

static void ask_again(xev_shard *self, xev_message *m, void *arg) {
    (void)m;
    (void)arg;
    CHECK_EQ(ended, 1); /* and its place is free */
    CHECK_EQ(ask_named(shard_number(self, 1), 0, answer_nothing, answered_in_full), 0);
}

static void free_poll(xev_shard *self, xev_ask *ask, void *userdata) {
    CHECK_EQ(xev_shard_id(self), 1);
    CHECK(xev_shard_current() == self);
    CHECK(ask == kept && userdata == &kept);
    CHECK(xev_ask_is_over(ask));
    CHECK(!xev_ask_watch(ask, &kept, free_poll));
    CHECK_EQ(++told, 1);
    xev_ask_answer(ask, XEV_ECANCELED, "nobody", 6);
    CHECK_EQ(xev_shard_send(asker, &message, ask_again, NULL), 0);
}

static void cancel_now(xev_shard *self, xev_message *m, void *arg) {
    (void)self;
    (void)m;
    (void)arg;
    CHECK(xev_ask_cancel(handle));
}

/* Watched by who is told nothing, and then by free_poll. */
static void never_told(xev_shard *self, xev_ask *ask, void *userdata) {
    (void)self;
    (void)ask;
    (void)userdata;
    CHECK_FAIL("it is replaced, or the ask is answered");
}

static void keep_and_watch(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    keep(self, ask, argument, len);
    CHECK(xev_ask_watch(ask, NULL, never_told));
    CHECK(xev_ask_watch(ask, &kept, free_poll));
    CHECK(!xev_ask_is_over(ask));
}

static void keep_until_cancelled(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    keep_and_watch(self, ask, argument, len);
    CHECK_EQ(xev_shard_send(asker, &message, cancel_now, NULL), 0);
}

static void just_ends(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    (void)self;
    (void)userdata;
    check_cancelled(result, answer, len);
}

static void zero_asks_who_watches(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        asker = self;
        CHECK_EQ(ask_named(shard_number(self, 1), 0, keep_until_cancelled, just_ends), 0);
    }
}

TEST(who_watches_an_ask_is_told_of_its_cancel_and_its_place_is_free) {
    sc.o.asks = 1;
    sc.body = zero_asks_who_watches;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(told, 1);
    CHECK_EQ(ended, 2);
}

static void times_out(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    (void)self;
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_EQ(result, XEV_ETIMEDOUT);
    CHECK(!xev_ask_cancel(handle));
    ended++;
}

static void keep_or_say_over(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    keep(self, ask, argument, len);
    if (!xev_ask_watch(ask, &kept, free_poll)) { /* the machine is slow */
        free_poll(self, ask, &kept);
    }
}

static void zero_asks_with_a_deadline(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        asker = self;
        CHECK_EQ(ask_named(shard_number(self, 1), 50, keep_or_say_over, times_out), 0);
    }
}

TEST(who_watches_an_ask_is_told_of_its_deadline) {
    sc.body = zero_asks_with_a_deadline;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(ended, 2);
}

/* Shard 0 is held until shard 1 has answered, cancels then, and has no use for the answer. */
static void hold_and_answer(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    CHECK(xev_ask_watch(ask, NULL, never_told));
    sem_give(&entered);
    sem_take(&release);
    CHECK(xev_ask_is_over(ask)); /* the note is in the mailbox */
    xev_ask_answer(ask, 0, "late", 4);
}

static void zero_cancels_one_that_is_handled(xev_shard *self, xev_message *m, void *arg) {
    (void)self;
    (void)m;
    (void)arg;
    sem_take(&entered);
    CHECK(xev_ask_cancel(handle));
}

static void release_at_the_end(xev_shard *self, int result, const void *answer, size_t len,
                               void *userdata) {
    (void)userdata;
    check_cancelled(result, answer, len);
    stop_all(self);
    sem_give(&release);
}

static void zero_asks_who_holds(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(ask_named(shard_number(self, 1), 0, hold_and_answer, release_at_the_end), 0);
        CHECK_EQ(xev_shard_send(self, &message, zero_cancels_one_that_is_handled, NULL), 0);
    }
}

TEST(an_answer_that_crosses_the_cancel_goes_nowhere) {
    sem_new(&entered);
    sem_new(&release);
    sc.body = zero_asks_who_holds;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(ended, 1);
}

static void watch_too_late(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    sem_give(&entered);
    sem_take(&release);
    CHECK(!xev_ask_watch(ask, NULL, never_told));
    CHECK(!xev_ask_watch(ask, NULL, never_told));
    xev_ask_answer(ask, 0, NULL, 0);
}

static void zero_asks_who_watches_late(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(ask_named(shard_number(self, 1), 0, watch_too_late, release_at_the_end), 0);
        CHECK_EQ(xev_shard_send(self, &message, zero_cancels_one_that_is_handled, NULL), 0);
    }
}

TEST(an_ask_that_is_over_is_not_watched) {
    sem_new(&entered);
    sem_new(&release);
    sc.body = zero_asks_who_watches_late;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(ended, 1);
}

static void watch_and_answer(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    CHECK(xev_ask_watch(ask, NULL, never_told));
    answer_nothing(self, ask, argument, len);
}

static void zero_asks_who_answers(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(ask_named(shard_number(self, 1), HOUR_MS, watch_and_answer, answered_in_full), 0);
    }
}

TEST(who_watches_an_ask_and_answers_is_told_nothing) {
    sc.body = zero_asks_who_answers;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(ended, 1);
}

/* Shard 1 ends first, and cancels what shard 0 keeps. */
static void told_at_the_end(xev_shard *self, xev_ask *ask, void *userdata) {
    (void)userdata;
    CHECK_EQ(xev_shard_id(self), 0);
    CHECK_EQ(++told, 1);
    xev_ask_answer(ask, 0, NULL, 0);
}

static void keep_until_the_end(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)argument;
    (void)len;
    CHECK(xev_ask_watch(ask, NULL, told_at_the_end));
    stop_all(self);
}

static void one_asks_zero(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        CHECK_EQ(ask_named(shard_number(self, 0), 0, keep_until_the_end, just_ends), 0);
    }
}

TEST(who_watches_an_ask_is_told_of_the_end_of_the_asker) {
    sc.o.drain_ms = 100;
    sc.body = one_asks_zero;
    CHECK_EQ(scene_run(2), XEV_ETIMEDOUT);
    CHECK_EQ(told, 1);
    CHECK_EQ(ended, 1);
}
