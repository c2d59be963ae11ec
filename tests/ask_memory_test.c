/* The memory of asks: none in the steady state, and what happens without. */
#include "tests/shard_scene.h"
#include "xev/ask.h"

static int left;
static uint8_t pattern[100 * 1000];

static int ask_nothing(xev_shard *to, xev_ask_fn fn, xev_answer_fn answered) {
    return xev_shard_ask(to, NULL, 0, 0, fn, NULL, answered);
}

static void answer_nothing(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    xev_ask_answer(ask, 0, NULL, 0);
}

static atomic_int allocations;

static void *count_allocation(size_t size, size_t alignment, void *userdata) {
    (void)userdata;
    allocations++;
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void release_memory(void *memory, size_t size, void *userdata) {
    (void)userdata;
    (void)size;
    free(memory);
}

/* ---- no memory ---- */

static int allowed = INT32_MAX; /* so many allocations */

static void *allocate_or_not(size_t size, size_t alignment, void *userdata) {
    return allowed-- <= 0 ? NULL : count_allocation(size, alignment, userdata);
}

static void answer_without_memory(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    (void)argument;
    (void)len;
    allowed = 0;
    CHECK(xev_ask_room(ask, 1000) == NULL);
    xev_ask_answer(ask, 5, pattern, 1000);
    allowed = INT32_MAX;
}

static void told_of_no_memory(xev_shard *self, int result, const void *answer, size_t len,
                              void *userdata) {
    (void)userdata;
    CHECK_EQ(result, XEV_ENOMEM);
    CHECK(answer == NULL);
    CHECK_EQ(len, 0);
    left--;
    stop_all(self);
}

static void no_answer(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    (void)self;
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_FAIL("answered with %d", result);
}

static void never_mapped(xev_shard *self, int result, void *userdata) {
    no_answer(self, result, NULL, 0, userdata);
}

/* The mailbox has room for one message, which is the one that is being handled. So an ask takes
 * five allocations: of the pool, and of its memory and a queue, each with a list of chunks. */
static void ask_without_memory(xev_shard *self) {
    static const xev_map map = {answer_nothing, NULL};
    const xev_vec large = {pattern, 100 * 1000};
    allowed = 0;
    CHECK_EQ(xev_shard_map_reduce(&sc.rt, NULL, 0, 0, &map, NULL, never_mapped), XEV_ENOMEM);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(ask_nothing(self, answer_nothing, no_answer), XEV_ENOMEM);
        allowed = 1;
    }
    CHECK_EQ(ask_nothing(self, answer_without_memory, told_of_no_memory), 0);
    allowed = 0;
    CHECK_EQ(xev_shard_ask(self, &large, 1, 0, answer_nothing, NULL, no_answer), XEV_ENOMEM);
    xev_ask_handle handle = 1; /* the ask has memory, its handle has none */
    CHECK_EQ(xev_shard_ask_with_handle(self, NULL, 0, 0, &handle, answer_nothing, NULL, no_answer),
             XEV_ENOMEM);
    CHECK_EQ(handle, 0);
    CHECK_EQ(counters_of(self).asks, 1);
    allowed = INT32_MAX;
}

TEST(asks_without_memory_are_refused_or_told) {
    left = 1;
    sc.o.loop.allocator = (xev_allocator){allocate_or_not, release_memory, NULL};
    sc.o.mailbox = 1;
    sc.body = ask_without_memory;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(left, 0);
}

/* ---- no allocation ---- */

enum { STEADY_ROUNDS = 200, STEADY_ASKS = 50 };
static int steady_round, steady_allocations;

static void answer_steady(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)self;
    xev_ask_answer(ask, 0, pattern, len * 10);
    (void)argument;
}

static void ask_steady(xev_shard *self);

static void take_steady(xev_shard *self, int result, const void *answer, size_t len,
                        void *userdata) {
    (void)answer;
    (void)userdata;
    CHECK_EQ(result, 0);
    CHECK_GT(len, 0);
    if (--left > 0) {
        return;
    }
    if (++steady_round == STEADY_ROUNDS) {
        CHECK_EQ(allocations, steady_allocations);
        stop_all(self);
        return;
    }
    if (steady_round == STEADY_ROUNDS / 2) {
        steady_allocations = allocations;
    }
    ask_steady(self);
}

static void ask_steady(xev_shard *self) {
    if (xev_shard_id(self) != 0) {
        return;
    }
    left = STEADY_ASKS;
    for (size_t i = 0; i < STEADY_ASKS; i++) {
        const xev_vec vec = {pattern, 1 + i * 61};
        xev_ask_handle handle;
        CHECK_EQ(xev_shard_ask_with_handle(shard_number(self, i % 2), &vec, 1, HOUR_MS, &handle,
                                           answer_steady, NULL, take_steady),
                 0);
    }
}

TEST(asks_allocate_nothing_once_as_many_were_under_way) {
    sc.o.loop.allocator = (xev_allocator){count_allocation, release_memory, NULL};
    sc.o.mailbox = 10;
    sc.body = ask_steady;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(steady_round, STEADY_ROUNDS);
}

/* ---- long answers ---- */

static int long_ok, long_refused, long_left;

static void answer_long(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    static const char data[10000];
    (void)self;
    (void)argument;
    (void)len;
    xev_ask_answer(ask, 5, data, sizeof data);
}

static void take_long(xev_shard *self, int result, const void *answer, size_t len, void *userdata) {
    (void)answer;
    (void)userdata;
    CHECK(result == 5 || result == XEV_ENOMEM);
    CHECK_EQ(len, result == 5 ? 10000 : 0);
    long_ok += result == 5;
    long_refused += result != 5;
    if (--long_left > 0) {
        return;
    }
    if (long_refused > 0 && long_ok < 100) { /* what was taken is room for others */
        long_ok = 100;
        long_left = 1;
        CHECK_EQ(xev_shard_ask(shard_number(self, 1), NULL, 0, 0, answer_long, NULL, take_long), 0);
        return;
    }
    stop_all(self);
}

static void ask_for_much(xev_shard *self) {
    for (int i = 0; xev_shard_id(self) == 0 && i < long_left; i++) {
        CHECK_EQ(xev_shard_ask(shard_number(self, 1), NULL, 0, 0, answer_long, NULL, take_long), 0);
    }
}

/* The asks of one turn arrive together, and are answered before any answer is taken. */
TEST(long_answers_have_a_limit) {
    long_left = 50;
    sc.o.answers_max_bytes = 100000;
    sc.body = ask_for_much;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(long_ok, 101);
    CHECK_GE(long_refused, 40);
}

TEST(a_single_answer_may_be_longer) {
    long_left = 1;
    sc.o.answers_max_bytes = 1;
    sc.body = ask_for_much;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(long_ok, 1);
}
