/* A function on every shard, and one callback when all have run. */
#include "tests/shard_scene.h"
#include "xev/ask.h"

enum { SHARDS = 5 };

static atomic_uint ran[SHARDS];
static uint32_t folded[SHARDS], sum;
static int dones;
static bool inside;
static int fails_at, code_of[SHARDS];

static void run_square(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    uint32_t id = xev_shard_id(self), factor;
    CHECK_EQ(len, sizeof factor);
    memcpy(&factor, argument, len);
    ran[id]++;
    uint32_t square = id * id * factor;
    xev_ask_answer(ask, (int)id == fails_at ? XEV_ENOENT : 0, &square, sizeof square);
}

static void add_square(xev_shard *self, uint32_t shard, int result, const void *answer, size_t len,
                       void *userdata) {
    CHECK(!inside);
    CHECK(userdata == &sum);
    CHECK_EQ(xev_shard_id(self), 1);
    CHECK_LT(shard, SHARDS);
    CHECK_EQ(dones, 0);
    folded[shard]++;
    code_of[shard] = result;
    if (len > 0) {
        uint32_t square;
        CHECK_EQ(len, sizeof square);
        memcpy(&square, answer, len);
        sum += square;
    }
}

static void expect_done(int result) {
    CHECK(!inside);
    CHECK_EQ(result, fails_at < 0 ? 0 : XEV_ENOENT);
    for (int i = 0; i < SHARDS; i++) {
        CHECK_EQ(ran[i], 1);
    }
    CHECK_EQ(++dones, 1);
}

static void done(xev_shard *self, int result, void *userdata) {
    CHECK(userdata == &sum);
    expect_done(result);
    stop_all(self);
}

static xev_map map = {run_square, add_square};

static void one_reduces(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        uint32_t factor = 3;
        const xev_vec vec = {&factor, sizeof factor};
        inside = true;
        CHECK_EQ(xev_shard_map_reduce(&sc.rt, &vec, 1, 0, &map, &sum, done), 0);
        inside = false;
        factor = 0;
    }
}

static void check_reduced(void) {
    CHECK_EQ(scene_run(SHARDS), 0);
    CHECK_EQ(dones, 1);
    for (int i = 0; map.fold != NULL && i < SHARDS; i++) {
        CHECK_EQ(folded[i], 1);
        CHECK_EQ(code_of[i], i == fails_at ? XEV_ENOENT : 0);
    }
    CHECK_EQ(sum, map.fold != NULL ? 3 * (1 + 4 + 9 + 16) : 0);
}

TEST(map_reduce_folds_the_answers_of_all_shards) {
    fails_at = -1;
    sc.body = one_reduces;
    check_reduced();
}

TEST(map_reduce_without_a_fold_tells_when_all_have_run) {
    fails_at = -1;
    map.fold = NULL;
    sc.body = one_reduces;
    check_reduced();
}

TEST(map_reduce_reports_an_error_of_one) {
    fails_at = 3;
    sc.body = one_reduces;
    check_reduced();
}

TEST(map_reduce_through_mailboxes_of_one) {
    fails_at = -1;
    sc.o.mailbox = 1;
    sc.body = one_reduces;
    check_reduced();
}

/* ---- one that does not answer ---- */

static void keep_quiet_on_two(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    CHECK_EQ(len, 0);
    (void)argument;
    if (xev_shard_id(self) != 2) {
        xev_ask_answer(ask, 0, NULL, 0);
    }
}

static void note_code(xev_shard *self, uint32_t shard, int result, const void *answer, size_t len,
                      void *userdata) {
    (void)self;
    (void)answer;
    (void)userdata;
    CHECK_EQ(len, 0);
    folded[shard]++;
    code_of[shard] = result;
}

static int expected;

static void done_without_two(xev_shard *self, int result, void *userdata) {
    (void)userdata;
    CHECK_EQ(result, expected);
    for (int i = 0; i < SHARDS; i++) {
        CHECK_EQ(folded[i], 1);
        /* On a slow machine others may be late as well. */
        CHECK(code_of[i] == expected || (i != 2 && code_of[i] == 0));
    }
    CHECK_EQ(++dones, 1);
    if (expected == XEV_ETIMEDOUT) {
        stop_all(self);
    }
}

static const xev_map quiet = {keep_quiet_on_two, note_code};

static void zero_reduces_with_deadline(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(xev_shard_map_reduce(&sc.rt, NULL, 0, 20, &quiet, NULL, done_without_two), 0);
    }
}

TEST(map_reduce_reports_who_does_not_answer_in_time) {
    expected = XEV_ETIMEDOUT;
    sc.body = zero_reduces_with_deadline;
    CHECK_EQ(scene_run(SHARDS), 0);
    CHECK_EQ(dones, 1);
}

static void zero_reduces_and_stops(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(xev_shard_map_reduce(&sc.rt, NULL, 0, 0, &quiet, NULL, done_without_two), 0);
        stop_all(self);
    }
}

TEST(map_reduce_is_cancelled_at_the_end) {
    expected = XEV_ECANCELED;
    sc.o.drain_ms = 200;
    sc.body = zero_reduces_and_stops;
    CHECK_EQ(scene_run(SHARDS), XEV_ETIMEDOUT);
    CHECK_EQ(dones, 1);
}

/* ---- limits ---- */

static void never_done(xev_shard *self, int result, void *userdata) {
    (void)self;
    (void)userdata;
    CHECK_FAIL("done with %d", result);
}

static void reduce_beyond_the_limit(xev_shard *self) {
    CHECK_EQ(xev_shard_map_reduce(&sc.rt, NULL, 0, 0, &quiet, NULL, never_done), XEV_EAGAIN);
    zero_stops_all(self);
}

TEST(map_reduce_makes_all_asks_or_none) {
    sc.o.asks = SHARDS - 1;
    sc.body = reduce_beyond_the_limit;
    CHECK_EQ(scene_run(SHARDS), 0);
}

static void reduce_at_the_end(xev_shard *self) {
    (void)self;
    CHECK_EQ(xev_shard_map_reduce(&sc.rt, NULL, 0, 0, &quiet, NULL, never_done), XEV_ECANCELED);
    dones++;
}

TEST(map_reduce_of_a_shard_that_has_ended_is_refused) {
    sc.body = zero_stops_all;
    sc.deinit = reduce_at_the_end;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(dones, 2);
}

/* A timer that holds no drain reduces again and again, while other shards end. */
static xev_completion again;
static uint32_t reducing, reductions, parts_now;

static void answer_at_once(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    xev_ask_answer(ask, 0, argument, len);
}

static void count_part(xev_shard *self, uint32_t shard, int result, const void *answer, size_t len,
                       void *userdata) {
    (void)self;
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK(result == 0 || (result == XEV_ECANCELED && shard > 0));
    parts_now++;
}

static void reduced_again(xev_shard *self, int result, void *userdata) {
    (void)self;
    (void)userdata;
    CHECK(result == 0 || result == XEV_ECANCELED);
    CHECK_EQ(parts_now, 3);
    parts_now = 0;
    CHECK_EQ(reducing--, 1);
}

static xev_cb_action reduce_again(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    static const xev_map count = {answer_at_once, count_part};
    (void)loop;
    (void)c;
    (void)userdata;
    if (result == 0 && reducing == 0 && reductions++ < 100) {
        int rc = xev_shard_map_reduce(&sc.rt, NULL, 0, 0, &count, NULL, reduced_again);
        CHECK(rc == 0 || rc == XEV_ECANCELED);
        reducing += rc == 0;
    }
    return XEV_REARM;
}

static void zero_reduces_while_they_end(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        xev_timer_run_ns(NULL, xev_shard_loop(self), &again, 20 * 1000, NULL, reduce_again);
        xev_completion_unref(&again);
        stop_all(self);
    }
}

TEST(map_reduce_while_shards_end_is_done_once) {
    sc.body = zero_reduces_while_they_end;
    for (uint32_t i = 0; i < rounds(100); i++) {
        reductions = 0;
        CHECK_EQ(scene_run(3), 0);
        CHECK_EQ(reducing, 0);
    }
}

/* Many at once, from all shards. */
enum { EACH = 300 };
static atomic_int left;

static void one_of_many_done(xev_shard *self, int result, void *userdata) {
    (void)userdata;
    CHECK_EQ(result, 0);
    if (--left == 0) {
        stop_all(self);
    }
}

static void reduce_many(xev_shard *self) {
    (void)self;
    static const xev_map at_once = {answer_at_once, NULL};
    for (uint32_t i = 0; i < rounds(EACH); i++) {
        CHECK_EQ(xev_shard_map_reduce(&sc.rt, NULL, 0, HOUR_MS, &at_once, NULL, one_of_many_done),
                 0);
    }
}

TEST(map_reduce_of_all_shards_at_once) {
    left = 4 * (int)rounds(EACH);
    sc.o.mailbox = 8;
    sc.body = reduce_many;
    CHECK_EQ(scene_run(4), 0);
    CHECK_EQ(left, 0);
}
