/* The cost of starting and ending a runtime grows with the number of shards, not with its square.
 * The test measures no time: wrappers of the calls count waits, looks at mailboxes and bytes. */
#include "tests/shard_scene.h"
#include "xev/ask.h"

enum { FEW = 16, MANY = 128, SHARD_PAGES = 2 * 4096 };

static atomic_ulong waits, looks, bytes;

int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
uint32_t __real_xev__mailbox_depth(const xev_shard *s);
uint32_t __wrap_xev__mailbox_depth(const xev_shard *s);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock) {
    waits++;
    return __real_pthread_cond_wait(cond, lock);
}

uint32_t __wrap_xev__mailbox_depth(const xev_shard *s) {
    looks++;
    return __real_xev__mailbox_depth(s);
}

void *__wrap_calloc(size_t count, size_t size) {
    bytes += count * size;
    return __real_calloc(count, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    bytes += size;
    return __real_aligned_alloc(alignment, size);
}

/* The loops' memory is not the runtime's. */
static void *allocate(size_t size, size_t alignment, void *userdata) {
    (void)userdata;
    return __real_aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void release(void *memory, size_t size, void *userdata) {
    (void)userdata;
    (void)size;
    free(memory);
}

static xev_message last;

static void stop_from_last(xev_shard *self, xev_message *message, void *arg) {
    (void)message;
    (void)arg;
    stop_all(self);
}

static int last_stops(xev_shard *self, void *userdata) {
    bool is_last = xev_shard_id(self) + 1 == shards_of(self);
    (void)userdata;
    return is_last ? xev_shard_send(self, &last, stop_from_last, NULL) : 0;
}

static void run_shards(uint32_t shards) {
    static xev_runtime rt;
    xev_runtime_options o = {
        .shards = shards,
        .no_pin = true,
        .drain_ms = HOUR_MS,
        .init = last_stops,
        .loop = {.entries = 8, .buffers = 1, .allocator = {allocate, release, NULL}},
    };
    waits = looks = bytes = 0;
    CHECK_EQ(xev_runtime_run(&rt, &o), 0);
}

TEST(shards_do_not_wake_for_each_others_commands) {
    run_shards(MANY);
    /* Each waits for six commands, and may find one of them given before it waits. */
    CHECK_LE(waits, 8 * MANY);
    CHECK_GE(waits, MANY);
}

TEST(mailboxes_are_looked_through_when_all_shards_are_idle) {
    run_shards(MANY);
    CHECK_GE(looks, MANY);
    CHECK_LE(looks, 16 * MANY);
}

TEST(memory_of_a_shard_does_not_grow_with_their_number) {
    run_shards(FEW);
    unsigned long few = bytes / FEW;
    run_shards(64);
    unsigned long some = bytes / 64;
    run_shards(MANY);
    unsigned long many = bytes / MANY;
    CHECK_LT(few, SHARD_PAGES + 3072 + sizeof(xev_histogram));
    CHECK_LT(some, SHARD_PAGES + 4096 + sizeof(xev_histogram));
    CHECK_LE(many, some);
}

/* ---- more shards than a shard has outboxes ---- */

enum { ROUNDS = 4, RECEIVERS = 3, LETTERS = ROUNDS * RECEIVERS };

struct numbered {
    xev_message message;
    uint32_t number;
};

static struct numbered numbered[MANY][LETTERS];
static uint32_t expected[MANY][MANY]; /* of each receiver, by sender: its own to write */
static atomic_uint delivered;

static void check_order(xev_shard *self, xev_message *message, void *arg) {
    struct numbered *n = (struct numbered *)(void *)message;
    uint32_t from = (uint32_t)(uintptr_t)arg, me = xev_shard_id(self);
    CHECK_EQ(n->number, expected[me][from]++);
    if (++delivered == (uint32_t)MANY * LETTERS) {
        stop_all(self);
    }
}

static xev_message begin[MANY];

/* To three shards in turn, two of which share an outbox. */
static void send_numbered(xev_shard *self, xev_message *message, void *arg) {
    uint32_t me = xev_shard_id(self);
    (void)message;
    for (uint32_t i = 0; i < LETTERS; i++) {
        uint32_t to = (me + i % RECEIVERS * (MANY / 2) + (i % RECEIVERS == 2)) % MANY;
        numbered[me][i].number = i / RECEIVERS;
        CHECK_EQ(xev_shard_send(xev_runtime_shard(arg, to), &numbered[me][i].message, check_order,
                                (void *)(uintptr_t)me),
                 0);
    }
}

static int begin_sending(xev_shard *self, void *userdata) {
    return xev_shard_send(self, &begin[xev_shard_id(self)], send_numbered, userdata);
}

TEST(shards_that_share_an_outbox_get_their_messages_in_order) {
    static xev_runtime rt;
    xev_runtime_options o = {
        .shards = MANY,
        .no_pin = true,
        .drain_ms = HOUR_MS,
        .init = begin_sending,
        .userdata = &rt,
        .loop = {.entries = 8, .buffers = 1},
    };
    CHECK_EQ(xev_runtime_run(&rt, &o), 0);
    CHECK_EQ(delivered, MANY * LETTERS);
}

/* ---- more full mailboxes than an asking shard has lists of queues ---- */

enum { ASKS_EACH = 20 };

static uint32_t asks_seen[MANY], asks_answered, reduced;

static void answer_in_order(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    uint32_t number;
    CHECK_EQ(len, sizeof number);
    memcpy(&number, argument, len);
    CHECK_EQ(number, asks_seen[xev_shard_id(self)]++);
    xev_ask_answer(ask, 0, NULL, 0);
}

static void answer_number(xev_shard *self, xev_ask *ask, const void *argument, size_t len) {
    (void)argument;
    (void)len;
    xev_ask_answer(ask, (int)xev_shard_id(self), NULL, 0);
}

static void fold_number(xev_shard *self, uint32_t shard, int result, const void *answer, size_t len,
                        void *userdata) {
    (void)self;
    (void)answer;
    (void)len;
    (void)userdata;
    CHECK_EQ(result, shard);
    reduced++;
}

static void all_reduced(xev_shard *self, int result, void *userdata) {
    (void)userdata;
    CHECK_EQ(result, 0);
    stop_all(self);
}

static const xev_map numbers = {answer_number, fold_number};

static void count_answer(xev_shard *self, int result, const void *answer, size_t len,
                         void *userdata) {
    (void)answer;
    (void)len;
    CHECK_EQ(result, 0);
    if (++asks_answered == MANY * ASKS_EACH) {
        CHECK_EQ(xev_shard_map_reduce(xev_shard_runtime(self), NULL, 0, 0, &numbers, userdata,
                                      all_reduced),
                 0);
    }
}

static void ask_many(xev_shard *self, xev_message *message, void *arg) {
    (void)message;
    for (uint32_t i = 0; i < MANY * ASKS_EACH; i++) {
        const uint32_t number = i / MANY;
        const xev_vec vec = {(void *)(uintptr_t)&number, sizeof number};
        CHECK_EQ(xev_shard_ask(xev_runtime_shard(arg, i % MANY), &vec, 1, 0, answer_in_order, NULL,
                               count_answer),
                 0);
    }
    CHECK_GE(counters_of(self).asks_waited, ASKS_EACH); /* those to itself, at least */
}

static int begin_asking(xev_shard *self, void *userdata) {
    return xev_shard_id(self) == 0 ? xev_shard_send(self, &begin[0], ask_many, userdata) : 0;
}

TEST(asks_wait_for_each_of_many_shards_apart) {
    static xev_runtime rt;
    xev_runtime_options o = {
        .shards = MANY,
        .no_pin = true,
        .drain_ms = HOUR_MS,
        .mailbox = 1,
        .init = begin_asking,
        .userdata = &rt,
        .loop = {.entries = 8, .buffers = 1},
    };
    CHECK_EQ(xev_runtime_run(&rt, &o), 0);
    CHECK_EQ(asks_answered, MANY * ASKS_EACH);
    CHECK_EQ(reduced, MANY);
}
