/* The store of items in chunks, by itself: numbers, generations, what its trimmer gives back, and
 * refusals. The trimmer is called as the loop calls it, at the times that a test wants. */
#include <stdlib.h>

#include "tests/memory_scene.h"
#include "xev/core/core.h"

struct item {
    uint64_t content;
    uint32_t link, gen;
};

enum { MANY = 40000 }; /* ten chunks, and a part of one */

static uint32_t numbers[MANY];

struct store {
    xev_loop loop;
    struct xev__chunks s;
};

static void store_open(struct store *t) {
    const xev_loop_options options = {.allocator = counted_allocator};
    CHECK_EQ(xev_loop_init_options(&t->loop, &options), 0);
    t->s = (struct xev__chunks){.loop = &t->loop,
                                .item_bytes = sizeof(struct item),
                                .alignment = _Alignof(struct item),
                                .link_at = offsetof(struct item, link),
                                .gen_at = offsetof(struct item, gen)};
    xev__chunks_init(&t->s);
}

static void store_close(struct store *t) {
    xev__chunks_free(&t->s);
    xev_loop_deinit(&t->loop);
    CHECK_EQ(held_bytes(), 0);
}

static struct item *item_at(struct store *t, uint32_t number) {
    CHECK(xev__chunks_have(&t->s, number));
    return xev__chunks_at(&t->s, number);
}

static void take_many(struct store *t, int count) {
    for (int i = 0; i < count; i++) {
        numbers[i] = xev__chunks_take(&t->s);
        CHECK_NE(numbers[i], XEV__CHUNKS_NONE);
    }
}

/* In an order that leaves no chunk empty before the end. */
static void give_many(struct store *t, int count) {
    for (int first = 0; first < 7; first++) {
        for (int i = first; i < count; i += 7) {
            item_at(t, numbers[i])->gen++;
            xev__chunks_give(&t->s, numbers[i]);
        }
    }
}

static enum xev__trim call_trimmer(struct store *t) {
    return t->s.trimmer.trim(&t->loop, &t->s.trimmer);
}

static void trim_all(struct store *t) {
    enum xev__trim left;
    for (int i = 0; (left = call_trimmer(t)) != XEV__TRIM_DONE; i++) {
        CHECK_LT(i, 1000);
    }
}

static uint32_t per_chunk(const struct store *t) { return 1u << t->s.shift; }

TEST(items_have_numbers_of_their_own_and_begin_as_zero) {
    struct store t;
    store_open(&t);
    take_many(&t, MANY);
    for (int i = 0; i < MANY; i++) {
        struct item *item = item_at(&t, numbers[i]);
        CHECK_EQ(item->content, 0);
        item->content = (uint64_t)i + 1;
    }
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(item_at(&t, numbers[i])->content, (uint64_t)i + 1);
    }
    CHECK(!xev__chunks_have(&t.s, XEV__CHUNKS_NONE));
    CHECK(!xev__chunks_have(&t.s, xev__chunks_end(&t.s)));
    store_close(&t);
}

TEST(what_nobody_needed_for_a_period_is_given_back) {
    struct store t;
    store_open(&t);
    int64_t before = held_bytes();
    take_many(&t, MANY);
    int64_t peak = held_bytes();
    CHECK_GT(peak - before, MANY * (int64_t)sizeof(struct item));
    give_many(&t, MANY);
    CHECK_NE(t.s.trimmer.due_ns, 0); /* the loop will call it */
    CHECK_EQ(call_trimmer(&t), XEV__TRIM_LATER);
    CHECK_EQ(held_bytes(), peak); /* it was needed since the beginning */
    trim_all(&t);
    CHECK_LE(held_bytes() - before, 2 * XEV__CHUNK_BYTES);
    CHECK_EQ(call_trimmer(&t), XEV__TRIM_DONE);
    store_close(&t);
}

TEST(a_call_gives_back_a_piece) {
    struct store t;
    store_open(&t);
    take_many(&t, MANY);
    give_many(&t, MANY);
    (void)call_trimmer(&t);
    int calls = 1;
    for (uint32_t before = t.s.with_memory; call_trimmer(&t) == XEV__TRIM_MORE; calls++) {
        CHECK_LT(t.s.with_memory, before);
        CHECK_LE((before - t.s.with_memory) * per_chunk(&t), 2048 + per_chunk(&t));
        before = t.s.with_memory;
    }
    CHECK_GT(calls, 3);
    store_close(&t);
}

TEST(a_load_that_swings_allocates_nothing) {
    struct store t;
    store_open(&t);
    take_many(&t, MANY);
    give_many(&t, MANY);
    unsigned before = allocations();
    for (int i = 0; i < 20; i++) {
        (void)call_trimmer(&t);
        take_many(&t, MANY);
        (void)call_trimmer(&t);
        give_many(&t, MANY);
    }
    CHECK_EQ(allocations(), before);
    store_close(&t);
}

TEST(chunks_that_are_in_use_stay) {
    struct store t;
    store_open(&t);
    take_many(&t, MANY);
    uint32_t kept = numbers[MANY / 2];
    struct item *item = item_at(&t, kept);
    item->content = 4711;
    for (int i = 0; i < MANY; i++) {
        if (numbers[i] != kept) {
            xev__chunks_give(&t.s, numbers[i]);
        }
    }
    trim_all(&t);
    CHECK_LE(t.s.with_memory, 2);
    CHECK(item_at(&t, kept) == item);
    CHECK_EQ(item->content, 4711);
    take_many(&t, MANY - 1);
    for (int i = 0; i < MANY - 1; i++) {
        CHECK_NE(numbers[i], kept);
    }
    CHECK_EQ(item->content, 4711);
    store_close(&t);
}

TEST(a_number_with_a_generation_names_one_use) {
    static uint32_t next_gen[2 * MANY];
    struct store t;
    store_open(&t);
    for (int round = 0; round < 6; round++) {
        int count = MANY / (round % 3 + 1);
        take_many(&t, count);
        for (int i = 0; i < count; i++) {
            CHECK_LT(numbers[i], 2 * MANY);
            CHECK_GE(item_at(&t, numbers[i])->gen, next_gen[numbers[i]]);
            next_gen[numbers[i]] = item_at(&t, numbers[i])->gen + 1;
        }
        give_many(&t, count);
        trim_all(&t);
        CHECK_LE(t.s.with_memory, 1);
    }
    store_close(&t);
}

TEST(a_refusal_leaves_the_store_as_it_was) {
    struct store t;
    store_open(&t);
    for (int at = 1; at < 5; at++) {
        int taken = 0;
        inject_plan(at, INJECT_FROM_THERE_ON);
        for (; taken < MANY; taken++) {
            numbers[taken] = xev__chunks_take(&t.s);
            if (numbers[taken] == XEV__CHUNKS_NONE) {
                break;
            }
        }
        CHECK_LT(taken, MANY);
        CHECK_EQ(xev__chunks_take(&t.s), XEV__CHUNKS_NONE);
        inject_arm(false);
        numbers[taken] = xev__chunks_take(&t.s);
        CHECK_NE(numbers[taken], XEV__CHUNKS_NONE);
        give_many(&t, taken + 1);
        trim_all(&t);
    }
    store_close(&t);
}
