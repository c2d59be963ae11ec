/* Histograms against exact percentiles. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "tests/random.h"
#include "tests/test.h"
#include "xev/histogram.h"

enum { VALUES = 20000 };

static xev_histogram h, other;
static uint64_t values[VALUES];

static int by_value(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void check_percentiles(size_t len) {
    static const double percents[] = {-5,  0,    0.01, 1,    5,     25,   50,  75,
                                      90,  95,   99,   99.9, 99.99, 100,  150, 33.3,
                                      0.5, 12.5, 66.6, 98.6, 99.5,  99.7, 2.5, 1e-9};
    qsort(values, len, sizeof values[0], by_value);
    for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++) {
        double p = percents[i] < 0 ? 0 : percents[i] > 100 ? 100 : percents[i];
        size_t rank = 0;
        while (rank < len && (double)rank * 100 < p * (double)len) {
            rank++;
        }
        uint64_t exact = values[rank > 0 ? rank - 1 : 0];
        uint64_t got = xev_histogram_percentile(&h, percents[i]);
        if (got < exact || got - exact > exact / 32) {
            CHECK_FAIL("%g%% of %zu: %llu, exactly %llu", percents[i], len, (unsigned long long)got,
                       (unsigned long long)exact);
        }
    }
    CHECK(xev_histogram_percentile(&h, 100) == values[len - 1]);
}

static void check_same(const xev_histogram *a, const xev_histogram *b) {
    CHECK_MEM_EQ(a->buckets, b->buckets, sizeof a->buckets);
    CHECK(xev_histogram_sum(a) == xev_histogram_sum(b));
    CHECK(xev_histogram_max(a) == xev_histogram_max(b));
}

TEST(an_empty_one_has_nothing) {
    CHECK_EQ(xev_histogram_count(&h), 0);
    CHECK_EQ(xev_histogram_sum(&h), 0);
    CHECK_EQ(xev_histogram_max(&h), 0);
    CHECK_EQ(xev_histogram_percentile(&h, 50), 0);
    CHECK_EQ(xev_histogram_count_below(&h, UINT64_MAX), 0);
}

/* Around every power of two and every bucket's edge. */
TEST(every_value_has_its_bucket) {
    for (int bit = 0; bit < 64; bit++) {
        for (uint64_t sub = 0; sub < 64; sub++) {
            uint64_t base = (uint64_t)1 << bit;
            uint64_t value = base + (bit < 6 ? sub : (base >> 6) * sub);
            for (int d = -1; d <= 1; d++) {
                memset(&h, 0, sizeof h);
                uint64_t v = value + (uint64_t)(int64_t)d;
                xev_histogram_record(&h, v);
                CHECK_EQ(xev_histogram_count(&h), 1);
                CHECK(xev_histogram_percentile(&h, 50) == v); /* never above the largest */
                CHECK(xev_histogram_sum(&h) == v);
                xev_histogram_record(&h, UINT64_MAX);
                uint64_t got = xev_histogram_percentile(&h, 50);
                CHECK(got >= v && got - v <= v / 32);
            }
        }
    }
}

TEST(percentiles_are_at_most_a_32nd_above_the_exact_ones) {
    for (uint32_t round = 0; round < 60; round++) {
        uint64_t r = mix(round + 1);
        size_t len = round < 20 ? round + 1 : round < 50 ? 1 + rng_below(&r, VALUES) : VALUES;
        memset(&h, 0, sizeof h);
        for (size_t i = 0; i < len; i++) {
            uint64_t v = (r = mix(r));
            switch (round % 5) {
            case 0: /* of every size alike */
                values[i] = v >> (v % 64);
                break;
            case 1: /* like latencies: most are short, few are long */
                values[i] = v % 100 < 95 ? 20000 + v % 5000 : v % 1000000000;
                break;
            case 2:
                values[i] = v % 100;
                break;
            case 3:
                values[i] = v;
                break;
            default:
                values[i] = 123456789;
            }
            xev_histogram_record(&h, values[i]);
        }
        CHECK_EQ(xev_histogram_count(&h), len);
        check_percentiles(len);
    }
}

TEST(counts_below_a_power_of_two_are_exact) {
    uint64_t r = mix(7);
    for (int i = 0; i < VALUES; i++) {
        uint64_t v = (r = mix(r));
        values[i] = v >> (v % 64);
        xev_histogram_record(&h, values[i]);
    }
    for (int bit = 0; bit < 128; bit++) {
        uint64_t bound = bit < 64 ? (uint64_t)1 << bit : (uint64_t)(bit - 64), n = 0;
        for (int i = 0; i < VALUES; i++) {
            n += values[i] < bound;
        }
        CHECK_EQ(xev_histogram_count_below(&h, bound), n);
    }
}

TEST(a_merge_is_as_if_all_had_been_recorded_in_one) {
    static xev_histogram parts[4], all;
    uint64_t r = mix(3);
    for (int i = 0; i < VALUES; i++) {
        values[i] = (r = mix(r)) >> (i % 64);
        xev_histogram_record(&parts[i % 4], values[i]);
        xev_histogram_record(&h, values[i]);
    }
    for (int i = 0; i < 4; i++) {
        xev_histogram_merge(&all, &parts[i]);
    }
    check_same(&all, &h);
    check_percentiles(VALUES);
}

/* ---- two threads ---- */

static atomic_bool recorded;

static void *record_all(void *arg) {
    for (int i = 0; i < 1000000; i++) {
        xev_histogram_record(&h, (uint64_t)i);
    }
    recorded = true;
    return arg;
}

TEST(another_thread_reads_what_is_being_recorded) {
    pthread_t thread;
    uint64_t before = 0;
    CHECK_EQ(pthread_create(&thread, NULL, record_all, NULL), 0);
    for (bool last = false; !last;) {
        last = recorded;
        memset(&other, 0, sizeof other);
        xev_histogram_merge(&other, &h);
        uint64_t now = xev_histogram_count(&other);
        CHECK_GE(now, before);
        CHECK_LE(xev_histogram_percentile(&h, 99), 1000000);
        before = now;
    }
    CHECK_EQ(before, 1000000);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    check_same(&h, &other);
}

/* ---- a reader in the middle of a record ---- */

#if defined(__linux__)

#define LARGE (UINT64_C(1) << 40)

static xev_histogram *halved; /* its sum and max end a page, on which nobody may write */
static char *first_page;
static size_t page_bytes;
static uint64_t seen_count, seen_last;

/* The record is about to write sum or max, for the first time. */
static void read_in_between(int number) {
    (void)number;
    seen_count = xev_histogram_count(halved);
    seen_last = xev_histogram_percentile(halved, 100);
    (void)mprotect(first_page, page_bytes, PROT_READ | PROT_WRITE);
}

TEST(a_percentile_is_never_below_a_value_that_is_counted) {
    const struct sigaction action = {.sa_handler = read_in_between};
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = page_bytes + (sizeof *halved / page_bytes + 1) * page_bytes;
    first_page = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(first_page != MAP_FAILED);
    halved = (xev_histogram *)(void *)(first_page + page_bytes - offsetof(xev_histogram, buckets));
    xev_histogram_record(halved, 10);
    CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
    CHECK_EQ(mprotect(first_page, page_bytes, PROT_READ), 0);
    xev_histogram_record(halved, LARGE);
    CHECK_GE(seen_count, 1);
    CHECK(seen_last >= (seen_count == 2 ? LARGE : 10));
    CHECK_EQ(xev_histogram_count(halved), 2);
    CHECK(xev_histogram_percentile(halved, 100) == LARGE);
    CHECK_EQ(munmap(first_page, room), 0);
}

#endif
