/* Histograms of times, sizes or any other numbers, log-linear as HdrHistogram's: 32 buckets of
 * one width between a power of two and the next, so that a bucket is at most 1/32 of its values
 * wide. All 64-bit numbers fit, 15 KiB are all it takes, and recording is a few instructions.
 *
 *     static xev_histogram times[SHARDS];   // one for each thread that records; all zero: empty
 *
 *     xev_histogram_record(&times[id], now_ns - begun_ns);
 *
 *     xev_histogram all = {0};              // on any thread, while they go on
 *     for (i = 0; i < shards; i++) xev_histogram_merge(&all, &times[i]);
 *     p99_ns = xev_histogram_percentile(&all, 99);
 *
 * One thread at a time records in a histogram, without locked instructions. Others may read it at
 * the same time: count, sum and buckets are each read by themselves, and need not be of one moment;
 * max is never below a value that is counted. A null pointer is misuse, which ends the program, as
 * in completion.h. xev/metrics.h tells one to Prometheus.
 *
 * Source: G. Tene, HdrHistogram (http://hdrhistogram.org).
 */
#ifndef XEV_HISTOGRAM_H
#define XEV_HISTOGRAM_H

#include "xev/platform.h"

#define XEV_HISTOGRAM_BUCKETS 1920

/* Fields private. */
typedef struct xev_histogram {
    uint64_t sum, max; /* atomic for readers, one writer; as all of it */
    uint64_t buckets[XEV_HISTOGRAM_BUCKETS];
} xev_histogram;

XEV_BEGIN_DECLS

/* Record one value. The thread that records in h. */
void xev_histogram_record(xev_histogram *h, uint64_t value);

/* Add all that is in from to into, which nobody else uses meanwhile, and which is not from
 * (misuse). Any thread. */
void xev_histogram_merge(xev_histogram *into, const xev_histogram *from);

/* How many values were recorded; their sum, modulo 2^64; the largest one, exactly (0: none). Any
 * thread. */
uint64_t xev_histogram_count(const xev_histogram *h);
uint64_t xev_histogram_sum(const xev_histogram *h);
uint64_t xev_histogram_max(const xev_histogram *h);

/* The value that percent of all values do not pass. Let v be the value at place
 * ceil(percent / 100 * count), at least 1, of the sorted values: what is returned is never below v,
 * and at most v / 32 above it. 0: there are none. percent: 0 to 100; what is below or above counts
 * as 0 or 100. Any thread. */
uint64_t xev_histogram_percentile(const xev_histogram *h, double percent);

/* How many values are below value: exact where value is a power of two or at most 64; otherwise
 * those of its own bucket are not counted. Any thread. */
uint64_t xev_histogram_count_below(const xev_histogram *h, uint64_t value);

XEV_END_DECLS

#endif
