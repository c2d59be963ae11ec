/* A page belongs to the node whose CPU touches it first. So nothing but a shard's own thread
 * touches the memory of its loop, and what stands beside it. */
#include <malloc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/test.h"
#include "xev/shard.h"

enum { SHARDS = 64 };

/* A sanitizer has an allocator of its own, which may write to all that it gives out. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_ALLOCATOR 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OWN_ALLOCATOR 1
#endif
#endif
#ifndef OWN_ALLOCATOR
#define OWN_ALLOCATOR 0
#endif

static bool is_touched(const void *memory) {
    unsigned char resident;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    CHECK_EQ(mincore((void *)((uintptr_t)memory / page * page), 1, &resident), 0);
    return (resident & 1) != 0;
}

static int look(xev_shard *self, void *userdata) {
    xev_runtime *rt = xev_shard_runtime(self);
    bool whole_pages = sysconf(_SC_PAGESIZE) == 4096 && !OWN_ALLOCATOR;
    (void)userdata;
    for (uint32_t i = 0; i < SHARDS; i++) {
        const xev_loop *loop = xev_shard_loop(xev_runtime_shard(rt, i));
        if (i <= xev_shard_id(self)) {
            CHECK(is_touched(loop));
        } else if (whole_pages) {
            CHECK(!is_touched(loop));
            CHECK(!is_touched((const char *)(loop + 1) - 1));
        }
    }
    if (xev_shard_id(self) == SHARDS - 1) {
        xev_runtime_stop(rt);
    }
    return 0;
}

TEST(a_shards_pages_are_first_touched_by_its_thread) {
    CHECK_EQ(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
    int rc = mallopt(M_MMAP_THRESHOLD, 65536); /* fresh from the system */
    CHECK(rc != 0 || OWN_ALLOCATOR);
    xev_runtime rt;
    xev_runtime_options o = {.shards = SHARDS,
                             .init = look,
                             .sample_messages = 1,
                             .loop = {.entries = 8, .buffers = 1, .time_callbacks = true}};
    CHECK_EQ(xev_runtime_run(&rt, &o), 0);
}

/* Of shards that have not begun there is nothing yet. */
static int ask_about_others(xev_shard *self, void *userdata) {
    xev_runtime *rt = xev_shard_runtime(self);
    static xev_histogram times;
    xev_shard_counters count;
    xev_shard_delays delays;
    (void)userdata;
    for (uint32_t i = xev_shard_id(self) + 1; i < SHARDS; i++) {
        xev_shard *other = xev_runtime_shard(rt, i);
        xev_shard_count(other, &count);
        CHECK_EQ(count.accepted + count.messages_sent + count.sleeps, 0);
        for (int which = 0; which < XEV_SHARD_TIMES; which++) {
            xev_shard_times(other, (xev_shard_time)which, &times);
        }
        CHECK_EQ(xev_histogram_count(&times), 0);
        xev_shard_delays_get(other, 0, &delays);
        CHECK_EQ(delays.samples, 0);
    }
    if (xev_shard_id(self) == SHARDS - 1) {
        xev_runtime_stop(rt);
    }
    return 0;
}

TEST(shards_that_have_not_begun_may_be_asked_for_their_counts) {
    xev_runtime rt;
    xev_runtime_options o = {.shards = SHARDS,
                             .init = ask_about_others,
                             .sample_messages = 1,
                             .loop = {.entries = 8, .buffers = 1, .time_callbacks = true}};
    CHECK_EQ(xev_runtime_run(&rt, &o), 0);
}
