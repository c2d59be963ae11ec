/* Histograms: see the header. A leaf, as log.c is.
 *
 * Bucket i holds, below 32, the value i; from there on, with e = i / 32 + 4 and s = i % 32, the
 * 2^(e-5) values from (32 + s) * 2^(e-5) on: e is the place of their highest bit, and s the five
 * bits behind it. */
#include "xev/histogram.h"

#include <stdlib.h>

#include "xev/os/complain.h"

#define SUB_BITS 5
#define SUBS (1u << SUB_BITS)

_Static_assert((64 - SUB_BITS + 1) * SUBS == XEV_HISTOGRAM_BUCKETS, "a bucket for each value");

static void check_histogram(const char *call, const xev_histogram *h) {
    if (h == NULL) {
        xev__complain("xev: %s: histogram is null", call);
        abort();
    }
}

static uint32_t bucket_of(uint64_t value) {
    if (value < SUBS) {
        return (uint32_t)value;
    }
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - SUB_BITS;
    return (shift + 1) * SUBS + ((uint32_t)(value >> shift) & (SUBS - 1));
}

static uint64_t highest_of(uint32_t bucket) {
    if (bucket < SUBS) {
        return bucket;
    }
    uint32_t shift = bucket / SUBS - 1;
    uint64_t low = (uint64_t)(SUBS + bucket % SUBS) << shift;
    return low + (((uint64_t)1 << shift) - 1);
}

static uint64_t read_number(const uint64_t *number) {
    return __atomic_load_n(number, __ATOMIC_RELAXED);
}

/* Of the only thread that writes it. */
static void add_number(uint64_t *number, uint64_t by) {
    __atomic_store_n(number, read_number(number) + by, __ATOMIC_RELAXED);
}

/* A reader that sees a value in its bucket sees a max that is not below it. */
static void add_to_bucket(uint64_t *bucket, uint64_t by) {
    __atomic_store_n(bucket, read_number(bucket) + by, __ATOMIC_RELEASE);
}

static uint64_t read_bucket(const uint64_t *bucket) {
    return __atomic_load_n(bucket, __ATOMIC_ACQUIRE);
}

static void raise_number(uint64_t *number, uint64_t to) {
    if (to > read_number(number)) {
        __atomic_store_n(number, to, __ATOMIC_RELAXED);
    }
}

void xev_histogram_record(xev_histogram *h, uint64_t value) {
    check_histogram("xev_histogram_record", h);
    raise_number(&h->max, value);
    add_number(&h->sum, value);
    add_to_bucket(&h->buckets[bucket_of(value)], 1);
}

void xev_histogram_merge(xev_histogram *into, const xev_histogram *from) {
    check_histogram("xev_histogram_merge", into);
    check_histogram("xev_histogram_merge", from);
    if (into == from) {
        xev__complain("xev: xev_histogram_merge: a histogram is added to itself");
        abort();
    }
    for (uint32_t i = 0; i < XEV_HISTOGRAM_BUCKETS; i++) {
        uint64_t n = read_bucket(&from->buckets[i]);
        if (n > 0) {
            add_to_bucket(&into->buckets[i], n);
        }
    }
    add_number(&into->sum, read_number(&from->sum));
    raise_number(&into->max, read_number(&from->max));
}

static uint64_t count_to(const xev_histogram *h, uint32_t buckets) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < buckets; i++) {
        n += read_bucket(&h->buckets[i]);
    }
    return n;
}

uint64_t xev_histogram_count(const xev_histogram *h) {
    check_histogram("xev_histogram_count", h);
    return count_to(h, XEV_HISTOGRAM_BUCKETS);
}

uint64_t xev_histogram_sum(const xev_histogram *h) {
    check_histogram("xev_histogram_sum", h);
    return read_number(&h->sum);
}

uint64_t xev_histogram_max(const xev_histogram *h) {
    check_histogram("xev_histogram_max", h);
    return read_number(&h->max);
}

/* ceil(percent / 100 * count), from 1 to count. */
static uint64_t rank_of(double percent, uint64_t count) {
    if (!(percent < 100)) {
        return count;
    }
    double exact = percent > 0 ? percent * (double)count / 100 : 0;
    uint64_t rank = (uint64_t)exact;
    rank += (double)rank < exact;
    return rank == 0 ? 1 : rank < count ? rank : count;
}

uint64_t xev_histogram_percentile(const xev_histogram *h, double percent) {
    check_histogram("xev_histogram_percentile", h);
    uint64_t count = count_to(h, XEV_HISTOGRAM_BUCKETS), seen = 0;
    if (count == 0) {
        return 0;
    }
    uint64_t rank = rank_of(percent, count);
    uint32_t bucket = 0;
    while ((seen += read_bucket(&h->buckets[bucket])) < rank) { /* they only grow */
        bucket++;
    }
    uint64_t highest = highest_of(bucket), max = read_number(&h->max); /* after the buckets */
    return highest < max ? highest : max;
}

uint64_t xev_histogram_count_below(const xev_histogram *h, uint64_t value) {
    check_histogram("xev_histogram_count_below", h);
    return count_to(h, bucket_of(value));
}
